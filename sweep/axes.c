#include "sweep/axes.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "model/config.h"

/* ---- words ----------------------------------------------------------------
 * The first row of each table is the usual axis. */

static const struct axes_over overs[] = {
    { "model.width", "width", "widths", "width", "a wider model", "wider",
      "narrowest", "widest", "" },
    { "model.layers", "depth", "depths", "depth", "a deeper model", "deeper",
      "shallowest", "deepest", "" },
    { "model.experts", "number of experts", "numbers of experts", "experts",
      "a model of more experts", "larger", "smallest", "largest", "experts" },
    { "train.batch", "batch size", "batch sizes", "the batch", "a larger batch",
      "larger", "smallest", "largest", "" },
    { "train.steps", "number of steps", "numbers of steps", "steps",
      "a longer training", "longer", "shortest", "longest", "steps" },
};

static const struct axes_of ofs[] = {
    { "train.lr", "learning rate", "learning rates", "rate", "rates" },
    { "train.weight_decay", "weight decay", "weight decays", "decay",
      "decays" },
    { "mup.router_mult", "router multiplier", "router multipliers",
      "multiplier", "multipliers" },
};

static const struct axes_by bys[] = {
    { "mup.parametrization", "parametrization", "mup", 1 },
    { "train.decay_mode", "decay mode", "", 0 },
    { "mup.depth", "depth rule", "", 0 },
    { "mup.break", "broken rule", "", 0 },
    { "mup.moe", "expert rule", "", 0 },
    { "train.optimizer", "optimizer", "", 0 },
};

#define COUNT(table) (sizeof(table) / sizeof(*(table)))

const char *axes_leaf(const char *key)
{
    const char *dot = strrchr(key, '.');

    return dot ? dot + 1 : key;
}

/* A key goes by its full name, the column of a table by the last part of the
 * key or by the word, in any case. */
static int is_named(const char *key, const char *word, const char *name,
                    int column)
{
    if (!column)
        return !strcmp(key, name);
    return !strcasecmp(axes_leaf(key), name) || !strcasecmp(word, name);
}

static void put(char out[AXES_TEXT_BYTES], const char *before, const char *name)
{
    snprintf(out, AXES_TEXT_BYTES, "%s%.62s", before, name);
}

static void name_over(const char *name, int column, struct axes_over *out)
{
    *out = (struct axes_over){ .more = "larger",
                               .least = "smallest",
                               .most = "largest" };
    put(out->word, "", name);
    put(out->plural, "values of ", name);
    put(out->growth, "", name);
    put(out->larger, "a larger ", name);
    for (size_t i = 0; i < COUNT(overs); i++)
        if (is_named(overs[i].key, overs[i].word, name, column))
            *out = overs[i];
    put(out->key, "", name);
}

static void name_of(const char *name, int column, struct axes_of *out)
{
    *out = (struct axes_of){ .key = "" };
    put(out->word, "", name);
    put(out->plural, "values of ", name);
    put(out->brief, "", name);
    put(out->briefs, "", "values");
    for (size_t i = 0; i < COUNT(ofs); i++)
        if (is_named(ofs[i].key, ofs[i].word, name, column))
            *out = ofs[i];
    put(out->key, "", name);
}

static void name_by(const char *name, int column, struct axes_by *out)
{
    *out = (struct axes_by){ .key = "" };
    put(out->word, "", name);
    for (size_t i = 0; i < COUNT(bys); i++)
        if (is_named(bys[i].key, bys[i].word, name, column))
            *out = bys[i];
    put(out->key, "", name);
}

static struct axes name_axes(const struct axes_choice *c, int column)
{
    struct axes a;

    name_over(c->over, column, &a.over);
    name_of(c->of, column, &a.of);
    name_by(c->by, column, &a.by);
    return a;
}

struct axes axes_usual(void)
{
    const struct axes_choice usual = { overs[0].key, ofs[0].key, bys[0].key };

    return name_axes(&usual, 0);
}

int axes_are_usual(const struct axes *a)
{
    return !strcmp(a->over.word, overs[0].word) &&
           !strcmp(a->of.word, ofs[0].word) && a->by.rules;
}

/* ---- keys and columns -----------------------------------------------------
 */

static int check_key(const char *option, const char *key, int numeric,
                     struct mup_error *err)
{
    const struct field *f = config_find(&run_schema, key, NULL);
    char near[CONFIG_KEY_BYTES];

    if (!f && config_nearest(&run_schema, key, near, sizeof(near)))
        return mup_fail(err, MUP_USAGE,
                        "%s: unknown key '%.60s' (did you mean '%s'?)", option,
                        key, near);
    if (!f)
        return mup_fail(err, MUP_USAGE, "%s: unknown key '%.60s'", option, key);
    if (numeric && f->type != FIELD_INT && f->type != FIELD_REAL)
        return mup_fail(err, MUP_USAGE,
                        "%s: '%s' is not a number; --by takes such a key",
                        option, key);
    return MUP_OK;
}

static int check_different(const struct axes_choice *c, struct mup_error *err)
{
    const char *twice = !strcmp(c->over, c->of)   ? c->over
                        : !strcmp(c->over, c->by) ? c->over
                        : !strcmp(c->of, c->by)   ? c->of
                                                  : NULL;

    if (!twice)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "'%.60s' is asked for twice; --over, --of and --by must "
                    "name three different ones",
                    twice);
}

/* Verdicts count for the value that a run has by default. */
static void find_main(struct axes_by *by)
{
    struct run_config config;
    const struct section *section;
    const struct field *f = config_find(&run_schema, by->key, &section);
    char text[FIELD_TEXT_BYTES];

    if (*by->main || !f || !f->def)
        return;
    config_defaults(&run_schema, &config);
    config_text(section, f, &config, text, sizeof(text));
    if (strlen(text) < sizeof(by->main))
        memcpy(by->main, text, strlen(text) + 1);
}

int axes_of_keys(const struct axes_choice *choice, struct axes *out,
                 struct mup_error *err)
{
    const struct axes_choice c = {
        choice->over ? choice->over : overs[0].key,
        choice->of ? choice->of : ofs[0].key,
        choice->by ? choice->by : bys[0].key,
    };
    struct axes a;
    int rc = check_key("--over", c.over, 1, err);

    if (rc == MUP_OK)
        rc = check_key("--of", c.of, 1, err);
    if (rc == MUP_OK)
        rc = check_key("--by", c.by, 0, err);
    if (rc == MUP_OK)
        rc = check_different(&c, err);
    if (rc != MUP_OK)
        return rc;
    a = name_axes(&c, 0);
    find_main(&a.by);
    *out = a;
    return MUP_OK;
}

int axes_of_columns(const struct axes_choice *choice, struct axes *out,
                    struct mup_error *err)
{
    const struct axes_choice c = {
        choice->over ? choice->over : axes_leaf(overs[0].key),
        choice->of ? choice->of : axes_leaf(ofs[0].key),
        choice->by ? choice->by : axes_leaf(bys[0].key),
    };
    const char *names[] = { c.over, c.of, c.by };
    int rc = check_different(&c, err);

    for (size_t i = 0; i < COUNT(names) && rc == MUP_OK; i++) {
        size_t n = strlen(names[i]);

        if (!strcasecmp(names[i], "loss") || !strcasecmp(names[i], "seed"))
            return mup_fail(err, MUP_USAGE,
                            "the column '%s' has a meaning of its own; name "
                            "another",
                            names[i]);
        if (n == 0 || n > 60 || !config_is_utf8(names[i]))
            rc = mup_fail(err, MUP_USAGE,
                          "'%.60s' is no name of a column; one has 1 to 60 "
                          "bytes of UTF-8",
                          config_is_utf8(names[i]) ? names[i] : "");
        for (size_t k = 0; k < n && rc == MUP_OK; k++)
            if ((unsigned char)names[i][k] < ' ' || names[i][k] == 0x7f)
                rc = mup_fail(err, MUP_USAGE,
                              "a control character in the name of a column");
    }
    if (rc == MUP_OK)
        *out = name_axes(&c, 1);
    return rc;
}

void axes_folder(const struct axes *a, char *out, size_t bytes)
{
    const char *by = a->by.rules ? "" : axes_leaf(a->by.key);

    snprintf(out, bytes, "%s-over-%s%s%s", axes_leaf(a->of.key),
             axes_leaf(a->over.key), *by ? "-by-" : "", by);
    for (char *p = out; *p; p++)
        if (*p == '/') /* of a column */
            *p = '_';
}

/* ---- phrases --------------------------------------------------------------
 */

struct phrase axes_at(const struct axes *a, double value)
{
    struct phrase p;

    if (*a->over.unit)
        snprintf(p.text, sizeof(p.text), "%g %s", value, a->over.unit);
    else
        snprintf(p.text, sizeof(p.text), "%s %g", a->over.word, value);
    return p;
}

struct phrase axes_both(const struct axes *a, double first, double second)
{
    struct phrase p;

    if (*a->over.unit)
        snprintf(p.text, sizeof(p.text), "%g and %g %s", first, second,
                 a->over.unit);
    else
        snprintf(p.text, sizeof(p.text), "%s %g and %g", a->over.plural, first,
                 second);
    return p;
}

struct phrase axes_doubling(const struct axes *a)
{
    struct phrase p = { "doubling" };

    if (strcmp(a->over.word, overs[0].word)) /* of width goes without saying */
        snprintf(p.text, sizeof(p.text), "doubling of %s", a->over.growth);
    return p;
}

struct phrase axes_group(const struct axes *a, const char *name)
{
    struct phrase p;

    if (!*name)
        snprintf(p.text, sizeof(p.text), "all runs");
    else if (a->by.rules)
        snprintf(p.text, sizeof(p.text), "%s", mup_parametrization_title(name));
    else if (!strcmp(name, "none"))
        snprintf(p.text, sizeof(p.text), "no %s", a->by.word);
    else
        snprintf(p.text, sizeof(p.text), "%s %s", a->by.word, name);
    return p;
}

struct phrase axes_under(const struct axes *a, const char *name)
{
    struct phrase p = { "" };

    if (*name)
        snprintf(p.text, sizeof(p.text), "%s %.180s",
                 a->by.rules ? "under" : "with", axes_group(a, name).text);
    return p;
}

struct phrase axes_place(const struct axes *a, const char *name, double value)
{
    struct phrase p;

    snprintf(p.text, sizeof(p.text), "%.80s%s%.100s",
             a->by.rules || !*name ? name : axes_group(a, name).text,
             *name ? ", " : "", axes_at(a, value).text);
    return p;
}
