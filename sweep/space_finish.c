/* What can be checked only when the whole sweep file is read. */
#include "sweep/space_values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/sampler.h"

#define SPACE_MAX_MEMBERS 4096
#define SPACE_MAX_TRIALS  1000000

/* The place of node in front of the sentence, or the file alone: what is at
 * fault may have come from the command line. */
static int at_node(const struct space *s, const struct yaml_doc *doc,
                   const struct yaml_node *node, int rc, struct mup_error *err)
{
    if (rc && node)
        return space_at(doc, node, rc, err);
    if (rc)
        mup_error_prefix(err, "%s: ", s->path);
    return rc;
}

/* The node of a run key under "parameters:" or "groups:", or NULL. */
static const struct yaml_node *key_node(const struct yaml_doc *doc,
                                        const char *map, const char *key)
{
    return yaml_get(yaml_get(doc->root, map), key);
}

/* A range with a step becomes the list of its points. */
static int expand_range(struct space_parameter *p, struct mup_error *err)
{
    int log = p->distribution == SPACE_LOG_UNIFORM;
    double steps = log ? log2(p->max / p->min) : p->max - p->min;
    struct space_texts list = { 0 };
    int rc = MUP_OK;

    /* A millionth of a step forgives what rounding took from the last one. */
    steps = floor(steps / p->step + 1e-6);
    if (!(steps < SPACE_MAX_VALUES))
        return mup_fail(err, MUP_USAGE,
                        "'%s' has more than %d steps from min to max", p->key,
                        SPACE_MAX_VALUES);
    for (int i = 0; i <= (int)steps && !rc; i++) {
        char text[SPACE_TEXT_BYTES];

        space_number_text(
            p, log ? p->min * exp2(i * p->step) : p->min + i * p->step, text);
        rc = space_texts_add(&list, p->key, text, err);
    }
    if (!rc) {
        p->distribution = SPACE_VALUES;
        space_set_values(p, &list);
    }
    free(list.text);
    return rc;
}

static int finish_range(const struct space *s, struct space_parameter *p,
                        struct mup_error *err)
{
    char text[SPACE_TEXT_BYTES];
    int rc;

    if (isnan(p->min) || isnan(p->max))
        return mup_fail(err, MUP_USAGE, "'%s' needs values, or min and max",
                        p->key);
    if (!(p->min < p->max))
        return mup_fail(err, MUP_USAGE, "min of '%s' is not below max", p->key);
    if (p->distribution < 0)
        p->distribution = p->integer ? SPACE_INT_UNIFORM : SPACE_UNIFORM;
    if (p->distribution == SPACE_LOG_UNIFORM && p->min <= 0)
        return mup_fail(err, MUP_USAGE,
                        "min of '%s' is not above 0, as log_uniform_values "
                        "needs",
                        p->key);
    if (p->distribution == SPACE_INT_UNIFORM)
        p->integer = 1;
    if (p->integer && (p->min != floor(p->min) || p->max != floor(p->max)))
        return mup_fail(err, MUP_USAGE,
                        "min and max of '%s' must be whole numbers", p->key);
    space_number_text(p, p->min, text);
    rc = space_canonical(p->key, text, text, err);
    space_number_text(p, p->max, text);
    if (!rc)
        rc = space_canonical(p->key, text, text, err);
    if (!rc && p->step > 0)
        rc = expand_range(p, err);
    else if (!rc && s->sweep.method == SPACE_GRID)
        rc = mup_fail(err, MUP_USAGE,
                      "method grid needs values for '%s', or a step for its "
                      "range (octaves with log_uniform_values)",
                      p->key);
    return rc;
}

static int finish_parameter(const struct space *s, struct space_parameter *p,
                            struct mup_error *err)
{
    const struct section *section;
    const struct field *field = config_find(&run_schema, p->key, &section);

    for (int i = 0; i < s->n_groups; i++)
        if (!strcmp(s->group[i].key, p->key))
            return mup_fail(err, MUP_USAGE,
                            "'%s' is both a parameter and a group", p->key);
    p->integer = field->type == FIELD_INT;
    if (p->n_values) {
        if (!isnan(p->min) || !isnan(p->max) || p->step > 0 ||
            p->distribution > SPACE_VALUES)
            return mup_fail(err, MUP_USAGE,
                            "'%s' has both values and a range; keep one",
                            p->key);
        p->distribution = SPACE_VALUES;
        return MUP_OK;
    }
    if (p->distribution == SPACE_VALUES)
        return mup_fail(err, MUP_USAGE, "'%s' has no values", p->key);
    if (field->type != FIELD_INT && field->type != FIELD_REAL)
        return mup_fail(err, MUP_USAGE,
                        "'%s' takes values, not a range from min to max",
                        p->key);
    return finish_range(s, p, err);
}

/* One enqueued configuration: what it leaves out is the base config's. */
static int read_enqueued(struct space *s, const struct yaml_doc *doc,
                         const struct yaml_node *node, struct mup_error *err)
{
    char(*row)[SPACE_TEXT_BYTES] = s->enqueued[s->n_enqueued];

    if (node->kind != YAML_MAP)
        return yaml_fail(doc, node, err,
                         "an entry of 'enqueue' is no map of keys");
    for (const struct yaml_node *c = node->child; c; c = c->next) {
        int p = 0, rc;

        while (p < s->n_parameters && strcmp(s->parameter[p].key, c->key))
            p++;
        if (p == s->n_parameters)
            return yaml_fail(doc, c, err, "'%s' is no parameter of this sweep",
                             c->key);
        if (c->kind != YAML_SCALAR)
            return yaml_fail(doc, c, err, "'%s' is no scalar", c->key);
        rc = space_at(doc, c, space_canonical(c->key, c->text, row[p], err),
                      err);
        if (rc)
            return rc;
    }
    for (int p = 0; p < s->n_parameters; p++) {
        const char *key = s->parameter[p].key;
        const struct section *section;
        const struct field *field = config_find(&run_schema, key, &section);
        char text[FIELD_TEXT_BYTES];

        if (row[p][0])
            continue;
        config_text(section, field, &s->base, text, sizeof(text));
        if (space_canonical(key, text, row[p], NULL))
            return yaml_fail(doc, node, err,
                             "this entry has no '%s', and neither has the "
                             "base config",
                             key);
    }
    for (int e = 0; e < s->n_enqueued; e++)
        if (!memcmp(s->enqueued[e], row, sizeof(s->enqueued[e])))
            return yaml_fail(doc, node, err, "this entry is enqueued twice");
    s->n_enqueued++;
    return MUP_OK;
}

static int read_enqueue(struct space *s, const struct yaml_doc *doc,
                        struct mup_error *err)
{
    const struct yaml_node *list = yaml_get(doc->root, "enqueue");
    size_t n = 0;
    int rc = MUP_OK;

    if (!list)
        return MUP_OK;
    if (list->kind != YAML_LIST)
        return yaml_fail(doc, list, err, "'enqueue' is no list");
    for (const struct yaml_node *c = list->child; c; c = c->next)
        n++;
    if (n > SPACE_MAX_VALUES)
        return yaml_fail(doc, list, err, "'enqueue' has more than %d entries",
                         SPACE_MAX_VALUES);
    s->enqueued = calloc(n ? n : 1, sizeof(*s->enqueued));
    if (!s->enqueued)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (const struct yaml_node *c = list->child; c && !rc; c = c->next)
        rc = read_enqueued(s, doc, c, err);
    return rc;
}

/* The base config as its file and the fixed values make it, not yet whole:
 * parameters may be what it lacks.  from_flag: the path is relative to the
 * working directory, not to the sweep file. */
static int load_base(struct space *s, int from_flag, struct mup_error *err)
{
    const char *slash = strrchr(s->path, '/');
    char path[2048];

    if (!s->sweep.base[0])
        return run_config_read(NULL, s->fixed, s->fixed_count, &s->base, err);
    if (s->sweep.base[0] == '/' || from_flag || !slash)
        snprintf(path, sizeof(path), "%s", s->sweep.base);
    else
        snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - s->path), s->path,
                 s->sweep.base);
    return run_config_read(path, s->fixed, s->fixed_count, &s->base, err);
}

/* The node of the run key that the sentence is about: run_config_check begins
 * with it, and space_resolve puts the label before that. */
static const struct yaml_node *node_at_fault(const struct yaml_doc *doc,
                                             const char *label,
                                             const char *sentence)
{
    static const char *const maps[] = { "groups", "parameters" };
    size_t skip = strlen(label);

    if (skip && !strncmp(sentence, label, skip))
        sentence += skip + strspn(sentence + skip, ": ");
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        const struct yaml_node *map = yaml_get(doc->root, maps[i]);

        for (const struct yaml_node *c = map ? map->child : NULL; c;
             c = c->next) {
            size_t n = c->key ? strlen(c->key) : 0;

            if (n && !strncmp(sentence, c->key, n) &&
                !strchr("abcdefghijklmnopqrstuvwxyz_.", sentence[n]))
                return c;
        }
    }
    return NULL;
}

/* Members are tried in order, so the one before in the last group that is not
 * at its first value was valid: that group's value is what is wrong. */
static const struct yaml_node *group_at_fault(const struct space *s,
                                              const struct yaml_doc *doc,
                                              int64_t member)
{
    for (int g = s->n_groups - 1; g >= 0; g--) {
        if (member % s->group[g].n_values)
            return key_node(doc, "groups", s->group[g].key);
        member /= s->group[g].n_values;
    }
    return NULL;
}

/* The run config of a point, with the place of what makes it invalid. */
static int try_point(const struct space *s, const struct yaml_doc *doc,
                     const struct space_point *point, int64_t member,
                     const struct yaml_node *suspect, struct mup_error *err)
{
    struct mup_error why = { 0 };
    struct run_config config;
    char label[160];
    int rc = space_resolve(s, point, member, s->seeds[0], &config, &why);

    if (!rc)
        return MUP_OK;
    space_label(s, point, member, label, sizeof(label));
    if (!suspect)
        suspect = node_at_fault(doc, label, why.text);
    (void)mup_fail(err, rc, "%s", why.text);
    return at_node(s, doc, suspect, rc, err);
}

/* Every member must be a valid run, and so must the ends of the parameters
 * (on the first and the last member: the middle ones lie between). */
static int check_members(const struct space *s, const struct yaml_doc *doc,
                         const struct space_point *first, struct mup_error *err)
{
    int64_t members = space_members(s);
    int rc = MUP_OK;

    for (int64_t m = 0; m < members && !rc; m++) {
        rc = try_point(s, doc, first, m, group_at_fault(s, doc, m), err);
        for (int p = 0; p < s->n_parameters && !rc; p++) {
            const struct space_parameter *q = &s->parameter[p];
            int ends = q->n_values ? q->n_values : 2;

            if (m != 0 && m != members - 1)
                break;
            for (int i = 0; i < ends && !rc; i++) {
                struct space_point point = *first;

                if (q->n_values)
                    memcpy(point.value[p], q->values[i], SPACE_TEXT_BYTES);
                else
                    space_number_text(q, i ? q->max : q->min, point.value[p]);
                rc = try_point(s, doc, &point, m,
                               key_node(doc, "parameters", q->key), err);
            }
        }
    }
    return rc;
}

static int check_size(const struct space *s, struct mup_error *err)
{
    double members = 1, trials;

    for (int g = 0; g < s->n_groups; g++)
        members *= s->group[g].n_values;
    trials = (double)sampler_count(s) * members * s->n_seeds;
    if (members > SPACE_MAX_MEMBERS || trials > SPACE_MAX_TRIALS)
        return mup_fail(err, MUP_USAGE,
                        "%.3g trials (%.3g configurations x %.3g group members "
                        "x %d seeds) are more than %d; set run_cap",
                        trials, (double)sampler_count(s), members, s->n_seeds,
                        SPACE_MAX_TRIALS);
    return MUP_OK;
}

static int finish_parameters(struct space *s, const struct yaml_doc *doc,
                             struct mup_error *err)
{
    int rc = MUP_OK;

    for (const char *c = s->sweep.name; *c; c++)
        if ((unsigned char)*c < ' ')
            return at_node(
                s, doc, yaml_get(doc->root, "name"),
                mup_fail(err, MUP_USAGE,
                         "'name' has a line break or control character"),
                err);
    for (int p = 0; p < s->n_parameters && !rc; p++)
        rc = at_node(s, doc, key_node(doc, "parameters", s->parameter[p].key),
                     finish_parameter(s, &s->parameter[p], err), err);
    if (!rc && s->sweep.method != SPACE_GRID && !s->sweep.run_cap)
        rc = at_node(s, doc, yaml_get(doc->root, "method"),
                     mup_fail(err, MUP_USAGE,
                              "method %s needs 'run_cap', the number of "
                              "configurations",
                              sampler_get(s->sweep.method)->name),
                     err);
    return rc;
}

static int default_seed(struct space *s, struct mup_error *err)
{
    if (s->n_seeds)
        return MUP_OK;
    s->seeds = malloc(sizeof(*s->seeds));
    if (!s->seeds)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    s->seeds[s->n_seeds++] = s->base.train.seed;
    return MUP_OK;
}

static int check_runs(struct space *s, const struct yaml_doc *doc,
                      struct mup_error *err)
{
    struct space_point first;
    struct run_config config;
    int rc = check_size(s, err);

    if (rc)
        return at_node(s, doc, NULL, rc, err);
    sampler_propose(s, 0, NULL, 0, &first);
    rc = try_point(s, doc, &first, 0, NULL, err);
    if (rc)
        return rc;
    rc = space_resolve(s, &first, 0, s->seeds[0], &config, err);
    if (!rc)
        rc = config_require(&run_schema, &config, err);
    if (rc)
        return at_node(s, doc, NULL, rc, err);
    s->base = config;
    return check_members(s, doc, &first, err);
}

int space_finish(struct space *s, const struct yaml_doc *doc, int base_flag,
                 struct mup_error *err)
{
    int rc = finish_parameters(s, doc, err);

    if (rc)
        return rc;
    rc = load_base(s, base_flag, err);
    /* A file that cannot be read is named here, a bad one names its own line.
     */
    if (rc == MUP_SYSTEM && s->sweep.base[0] && !base_flag)
        return at_node(s, doc, yaml_get(doc->root, "base"), rc, err);
    if (!rc)
        rc = default_seed(s, err);
    if (!rc)
        rc = read_enqueue(s, doc, err);
    return rc ? rc : check_runs(s, doc, err);
}
