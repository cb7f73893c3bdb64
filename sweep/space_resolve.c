/* From a sweep file to run configs, and the text that tells two sweeps apart.
 */
#include "sweep/space.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/sampler.h"

void space_number_text(const struct space_parameter *p, double value,
                       char text[SPACE_TEXT_BYTES])
{
    int exponent;
    char digits[32];

    if (p->integer)
        value = floor(value + 0.5);
    else if (frexp(fabs(value), &exponent) != 0.5 && value != p->min &&
             value != p->max) {
        /* Six digits are finer than any optimum; powers of two stay exact. */
        snprintf(digits, sizeof(digits), "%.6g", value);
        value = strtod(digits, NULL);
    }
    if (value < p->min)
        value = p->min;
    if (value > p->max)
        value = p->max;
    memset(text, 0, SPACE_TEXT_BYTES);
    if (p->integer)
        snprintf(text, SPACE_TEXT_BYTES, "%.0f", value);
    else
        format_real(value, text, SPACE_TEXT_BYTES);
}

int64_t space_members(const struct space *space)
{
    int64_t members = 1;

    for (int g = 0; g < space->n_groups; g++)
        members *= space->group[g].n_values;
    return members;
}

/* Which value of group g member has. */
static int member_digit(const struct space *space, int64_t member, int group)
{
    for (int g = space->n_groups - 1; g > group; g--)
        member /= space->group[g].n_values;
    return (int)(member % space->group[group].n_values);
}

const char *space_member_text(const struct space *space, int64_t member,
                              int group)
{
    assert(member >= 0 && group >= 0 && group < space->n_groups);
    return space->group[group].values[member_digit(space, member, group)];
}

int space_resolve(const struct space *space, const struct space_point *point,
                  int64_t member, int64_t seed, struct run_config *out,
                  struct mup_error *err)
{
    struct run_config config = space->base;
    char text[32], label[160];
    int rc = MUP_OK;

    for (int p = 0; p < space->n_parameters && !rc; p++)
        rc = config_set(&run_schema, &config, space->parameter[p].key,
                        point->value[p], err);
    for (int g = 0; g < space->n_groups && !rc; g++)
        rc = config_set(&run_schema, &config, space->group[g].key,
                        space_member_text(space, member, g), err);
    snprintf(text, sizeof(text), "%lld", (long long)seed);
    if (!rc)
        rc = config_set(&run_schema, &config, "train.seed", text, err);
    if (!rc)
        rc = run_config_check(&config, err);
    if (rc) {
        space_label(space, point, member, label, sizeof(label));
        if (label[0])
            mup_error_prefix(err, "%s: ", label);
        return rc;
    }
    *out = config;
    return MUP_OK;
}

int64_t space_twin(const struct space *space, const struct run_config *config,
                   int64_t member)
{
    int group = -1, digit, twin = -1;
    int64_t place = 1;

    for (int g = 0; g < space->n_groups; g++)
        if (!strcmp(space->group[g].key, "mup.parametrization"))
            group = g;
    if (group < 0 || config->model.width != config->mup.base_width ||
        config->model.head_size != config->mup.base_head_size)
        return member;
    for (int i = space->group[group].n_values - 1; i >= 0; i--)
        if (!strcmp(space->group[group].values[i], "sp") ||
            !strcmp(space->group[group].values[i], "mup"))
            twin = i;
    digit = member_digit(space, member, group);
    for (int g = space->n_groups - 1; g > group; g--)
        place *= space->group[g].n_values;
    return member + (twin - digit) * place;
}

/* A number as people say it: 2^-6, 3, 0.0123. */
static void say_value(const char *text, char *out, size_t bytes)
{
    double value;
    int exponent;

    if (parse_real(text, &value, NULL))
        snprintf(out, bytes, "%s", text);
    else if (value > 0 && value < 1 && frexp(value, &exponent) == 0.5)
        snprintf(out, bytes, "2^%d", exponent - 1);
    else if (value == floor(value) && fabs(value) < 1e15)
        snprintf(out, bytes, "%.0f", value);
    else
        snprintf(out, bytes, "%.4g", value);
}

static void say(const char *key, const char *text, char *out, size_t bytes)
{
    const char *dot = strrchr(key, '.');
    size_t used = strlen(out);
    char value[SPACE_TEXT_BYTES];
    int bare = !strcmp(key, "mup.parametrization");

    say_value(text, value, sizeof(value));
    snprintf(out + used, bytes - used, "%s%s%s%s", used ? " " : "",
             bare  ? ""
             : dot ? dot + 1
                   : key,
             bare ? "" : " ", value);
}

void space_label(const struct space *space, const struct space_point *point,
                 int64_t member, char *out, size_t bytes)
{
    out[0] = '\0';
    for (int g = 0; g < space->n_groups; g++)
        say(space->group[g].key, space_member_text(space, member, g), out,
            bytes);
    for (int p = 0; p < space->n_parameters; p++)
        say(space->parameter[p].key, point->value[p], out, bytes);
}

/* A scalar, quoted where YAML or a list would read it otherwise. */
static void put_scalar(FILE *out, const char *text)
{
    int plain = text[0] && !strchr("-.~", text[0]);

    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("_.+-/^", *c))
            plain = 0;
    if (plain) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if ((unsigned char)*c < ' ' || *c == 127)
            fprintf(out, "\\x%02x", (unsigned char)*c);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

static void put_values(FILE *out, int n, char (*values)[SPACE_TEXT_BYTES])
{
    for (int i = 0; i < n; i++) {
        fputs(i ? ", " : "", out);
        put_scalar(out, values[i]);
    }
}

static void put_parameter(FILE *out, const struct space_parameter *p)
{
    static const char *const names[] = {
        [SPACE_UNIFORM] = "uniform",
        [SPACE_LOG_UNIFORM] = "log_uniform_values",
        [SPACE_INT_UNIFORM] = "int_uniform",
    };
    char min[32], max[32];

    if (p->distribution == SPACE_VALUES) {
        fputs("{values: [", out);
        put_values(out, p->n_values, p->values);
        fputs("]}", out);
        return;
    }
    format_real(p->min, min, sizeof(min));
    format_real(p->max, max, sizeof(max));
    fprintf(out, "{distribution: %s, min: %s, max: %s}", names[p->distribution],
            min, max);
}

static void put_sweep_section(FILE *out, const struct space *space,
                              const char *base)
{
    const struct section *section = sweep_schema.sections;

    for (const struct field *f = section->fields; f->key; f++) {
        char text[FIELD_TEXT_BYTES];

        config_text(section, f, &space->sweep, text, sizeof(text));
        fprintf(out, "%s: ", f->key);
        put_scalar(out, strcmp(f->key, "base") ? text : base);
        fputc('\n', out);
    }
}

int space_dump(const struct space *space, const char *base, FILE *out,
               struct mup_error *err)
{
    put_sweep_section(out, space, base);
    fputs(space->n_parameters ? "parameters:\n" : "", out);
    for (int p = 0; p < space->n_parameters; p++) {
        fprintf(out, "  %s: ", space->parameter[p].key);
        put_parameter(out, &space->parameter[p]);
        fputc('\n', out);
    }
    fputs(space->n_groups ? "groups:\n" : "", out);
    for (int g = 0; g < space->n_groups; g++) {
        fprintf(out, "  %s: [", space->group[g].key);
        put_values(out, space->group[g].n_values, space->group[g].values);
        fputs("]\n", out);
    }
    fputs("seeds: [", out);
    for (int i = 0; i < space->n_seeds; i++)
        fprintf(out, "%s%lld", i ? ", " : "", (long long)space->seeds[i]);
    fputs("]\n", out);
    fputs(space->n_enqueued ? "enqueue:\n" : "", out);
    for (int e = 0; e < space->n_enqueued; e++) {
        for (int p = 0; p < space->n_parameters; p++) {
            fprintf(out, "%s%s: ", p ? ", " : "  - {", space->parameter[p].key);
            put_scalar(out, space->enqueued[e][p]);
        }
        fputs(space->n_parameters ? "}\n" : "  - {}\n", out);
    }
    if (ferror(out))
        return mup_fail(err, MUP_SYSTEM, "cannot write the sweep file: %s",
                        strerror(errno));
    return MUP_OK;
}

static int is_varied(const struct space *space, const char *key)
{
    for (int p = 0; p < space->n_parameters; p++)
        if (!strcmp(space->parameter[p].key, key))
            return 1;
    for (int g = 0; g < space->n_groups; g++)
        if (!strcmp(space->group[g].key, key))
            return 1;
    return !strcmp(key, "train.seed");
}

/* The keys of the base config that decide results. */
static void spec_base(FILE *out, const struct space *space)
{
    for (const struct section *s = run_schema.sections; s->name; s++)
        for (const struct field *f = s->fields; f->key; f++) {
            char key[128], text[FIELD_TEXT_BYTES];

            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            if (is_varied(space, key) || !strcmp(s->name, "run") ||
                !strcmp(s->name, "launch") || !strcmp(s->name, "slurm") ||
                !strcmp(s->name, "recover"))
                continue;
            config_text(s, f, &space->base, text, sizeof(text));
            fprintf(out, "%s\t", key);
            put_scalar(out, text);
            fputc('\n', out);
        }
}

int space_spec(const struct space *space, char **out, struct mup_error *err)
{
    const struct section *sweep = sweep_schema.sections;
    char *text = NULL, value[FIELD_TEXT_BYTES];
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    if (!f)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (const struct field *k = sweep->fields; k->key; k++) {
        if (strcmp(k->key, "method") && strcmp(k->key, "seed") &&
            strcmp(k->key, "run_cap") && strcmp(k->key, "metric"))
            continue;
        config_text(sweep, k, &space->sweep, value, sizeof(value));
        fprintf(f, "%s\t%s\n", k->key, value);
    }
    for (int p = 0; p < space->n_parameters; p++) {
        fprintf(f, "parameters.%s\t", space->parameter[p].key);
        put_parameter(f, &space->parameter[p]);
        fputc('\n', f);
    }
    for (int g = 0; g < space->n_groups; g++)
        for (int i = 0; i < space->group[g].n_values; i++) {
            fprintf(f, "groups.%s\t", space->group[g].key);
            put_scalar(f, space->group[g].values[i]);
            fputc('\n', f);
        }
    for (int i = 0; i < space->n_seeds; i++)
        fprintf(f, "seeds\t%lld\n", (long long)space->seeds[i]);
    for (int e = 0; e < space->n_enqueued; e++) {
        fputs("enqueue\t", f);
        put_values(f, space->n_parameters, space->enqueued[e]);
        fputc('\n', f);
    }
    spec_base(f, space);
    if (fclose(f)) {
        free(text);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    *out = text;
    return MUP_OK;
}

/* The next "key\tvalue" line at *at; 0 at the end. */
struct spec_line {
    const char *text;
    size_t bytes, key_bytes;
};

static int next_line(const char **at, struct spec_line *line)
{
    const char *end = strchr(*at, '\n');
    const char *tab;

    if (!end)
        return 0;
    tab = memchr(*at, '\t', (size_t)(end - *at));
    line->text = *at;
    line->bytes = (size_t)(end - *at);
    line->key_bytes = tab ? (size_t)(tab - *at) : line->bytes;
    *at = end + 1;
    return 1;
}

/* The first line of spec with the key of want (and its value, if whole). */
static int find_line(const char *spec, const struct spec_line *want, int whole,
                     struct spec_line *out)
{
    struct spec_line line;

    while (next_line(&spec, &line)) {
        size_t n = whole ? want->bytes : want->key_bytes + 1;

        if (whole && line.bytes != want->bytes)
            continue;
        if (line.key_bytes == want->key_bytes &&
            !memcmp(line.text, want->text, n)) {
            *out = line;
            return 1;
        }
    }
    return 0;
}

static const char *line_value(const struct spec_line *line, int *bytes)
{
    size_t skip = line->key_bytes + (line->key_bytes < line->bytes);

    *bytes = (int)(line->bytes - skip > 200 ? 200 : line->bytes - skip);
    return line->text + skip;
}

static int spec_differs(const struct spec_line *old,
                        const struct spec_line *now, struct mup_error *err)
{
    const struct spec_line *key = old ? old : now;
    int old_bytes = 0, now_bytes = 0;
    const char *a = old ? line_value(old, &old_bytes) : "";
    const char *b = now ? line_value(now, &now_bytes) : "";

    return mup_fail(err, MUP_USAGE,
                    "'%.*s' was %s%.*s%s and is now %s%.*s%s; only run_cap, "
                    "seeds and group values may grow, so restore it or use "
                    "another directory",
                    (int)key->key_bytes, key->text, old ? "'" : "absent",
                    old_bytes, a, old ? "'" : "", now ? "'" : "absent",
                    now_bytes, b, now ? "'" : "");
}

static int key_is(const struct spec_line *line, const char *key)
{
    size_t n = strlen(key);

    return line->key_bytes >= n && !memcmp(line->text, key, n) &&
           (key[n - 1] == '.' || line->key_bytes == n);
}

/* 0 means the whole grid, which no cap exceeds. */
static int cap_shrank(const struct spec_line *old, const struct spec_line *now)
{
    long long was = strtoll(old->text + old->key_bytes, NULL, 10);
    long long is = strtoll(now->text + now->key_bytes, NULL, 10);

    return is && (!was || is < was);
}

int space_spec_extends(const char *old, const char *now, struct mup_error *err)
{
    struct spec_line line, other;
    const char *at = old;

    while (next_line(&at, &line)) {
        if (find_line(now, &line, 1, &other))
            continue;
        if (!find_line(now, &line, 0, &other))
            return spec_differs(&line, NULL, err);
        if (!key_is(&line, "run_cap") || cap_shrank(&line, &other))
            return spec_differs(&line, &other, err);
    }
    at = now;
    while (next_line(&at, &line)) {
        int had = find_line(old, &line, 0, &other);

        if (find_line(old, &line, 1, &other) || key_is(&line, "run_cap") ||
            key_is(&line, "seeds") || (had && key_is(&line, "groups.")))
            continue;
        /* A config key that an older program did not have. */
        if (!had && !key_is(&line, "parameters.") &&
            !key_is(&line, "groups.") && !key_is(&line, "enqueue"))
            continue;
        return spec_differs(had ? &other : NULL, &line, err);
    }
    return MUP_OK;
}
