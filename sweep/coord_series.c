#include "sweep/coord_series.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model/file.h"
#include "sweep/coord_break.h"

/* ---- the table ------------------------------------------------------------
 */

static int is_it(const struct coord_series *s, const char *name, int step)
{
    return s->step == step && !strcmp(s->name, name);
}

struct coord_series *coord_table_find(struct coord_table *t, const char *name,
                                      int quantity, int step)
{
    size_t cells = (size_t)t->n_sizes * (size_t)t->n_seeds;
    struct coord_series *s;

    for (int i = 0; i < t->n; i++) {
        int at = (t->next + i) % t->n;

        if (is_it(&t->series[at], name, step)) {
            t->next = at;
            return &t->series[at];
        }
    }
    if (t->n == t->capacity) {
        int grown = t->capacity ? 2 * t->capacity : 256;

        s = realloc(t->series, (size_t)grown * sizeof(*s));
        if (!s)
            return NULL;
        t->series = s;
        t->capacity = grown;
    }
    s = &t->series[t->n];
    s->value = malloc(cells * (sizeof(double) + 1));
    if (!s->value)
        return NULL;
    s->have = (unsigned char *)(s->value + cells);
    memset(s->have, 0, cells);
    for (size_t i = 0; i < cells; i++)
        s->value[i] = NAN;
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->quantity = quantity;
    s->step = step;
    s->seen = 0;
    t->next = t->n++;
    return s;
}

int coord_table_put(struct coord_table *t, const struct coord_series *key,
                    int cell, double value, struct mup_error *err)
{
    struct coord_series *s =
        coord_table_find(t, key->name, key->quantity, key->step);

    if (!s)
        return mup_fail(err, MUP_SYSTEM, "out of memory while recording");
    s->value[cell] = value;
    s->seen += !s->have[cell];
    s->have[cell] = 1;
    return MUP_OK;
}

/* Routing may send no token to the expert that it had at step 1: there is
 * nothing to subtract, which is no failure. */
int coord_table_drop_partial(struct coord_table *t)
{
    int kept = 0, dropped;

    for (int i = 0; i < t->n; i++) {
        struct coord_series *s = &t->series[i];

        if (s->quantity == MUP_PROPAGATED && s->seen < t->n_sizes * t->n_seeds)
            free(s->value);
        else
            t->series[kept++] = *s;
    }
    dropped = t->n - kept;
    t->n = kept;
    t->next = 0;
    return dropped;
}

void coord_table_clear(struct coord_table *t)
{
    for (int i = 0; i < t->n; i++)
        free(t->series[i].value);
    free(t->series);
    *t = (struct coord_table){ 0 };
}

/* ---- the verdict ----------------------------------------------------------
 */

void coord_result_clear(struct coord_result *result)
{
    free(result->rows);
    free(result->names);
    memset(result, 0, sizeof(*result));
}

static int judge_rows(const struct coord_table *t,
                      const struct mup_coord_setup *setup,
                      struct mup_coord_row *rows, char *names,
                      struct mup_error *err)
{
    int rc = MUP_OK;

    for (int i = 0; !rc && i < t->n; i++) {
        const struct coord_series *s = &t->series[i];
        char *name = names + (size_t)i * COORD_NAME_BYTES;

        snprintf(name, COORD_NAME_BYTES, "%s", s->name);
        rows[i].name = name;
        rows[i].quantity = s->quantity;
        rows[i].step = s->step;
        rc = mup_coord_judge(&rows[i], setup, s->value, err);
    }
    return rc;
}

/* On failure out may hold memory; its owner clears it. */
static int judge(const struct coord_table *t,
                 const struct mup_coord_setup *setup, struct coord_result *out,
                 struct mup_error *err)
{
    int worst = -1, rc;

    out->rows = calloc((size_t)t->n + 1, sizeof(*out->rows));
    out->names = calloc((size_t)t->n + 1, COORD_NAME_BYTES);
    if (!out->rows || !out->names)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the verdict");
    rc = judge_rows(t, setup, out->rows, out->names, err);
    if (rc)
        return rc;
    out->n_rows = t->n;
    out->verdict = mup_coord_overall(out->rows, t->n, &worst);
    out->worst = worst;
    return MUP_OK;
}

int coord_conclude(struct coord_table *t, const struct coord_origin *origin,
                   const char *dir, struct coord_result *out,
                   struct mup_error *err)
{
    const struct coord_options *o = origin->options;
    const struct mup_config *mup = &origin->config->mup;
    struct coord_result result = { .worst = -1, .wrong = { .found = -1 } };
    double size[COORD_MAX_SIZES];
    const struct mup_coord_setup setup = {
        .size = size,
        .n_sizes = o->n_sizes,
        .n_seeds = (int)o->seeds,
        .grow = o->grow,
        .parametrization = mup->parametrization,
        .depth = mup->depth,
    };
    int rc;

    for (int i = 0; i < o->n_sizes; i++)
        size[i] = (double)o->sizes[i];
    result.left_out = coord_table_drop_partial(t);
    rc = judge(t, &setup, &result, err);
    if (!rc && !origin->csv && mup->broken) {
        result.wrong.broken = mup->broken;
        rc = coord_break_find(origin->config, o, &result, &result.wrong.found,
                              err);
    }
    if (!rc)
        rc = file_make_dirs(dir, err);
    if (!rc)
        rc = coord_write_json(t, origin, &result, dir, err);
    if (!rc)
        rc = coord_write_csv(t, origin, dir, err);
    if (rc)
        coord_result_clear(&result);
    else
        *out = result;
    return rc;
}

/* ---- result files ---------------------------------------------------------
 */

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *row_json(const struct coord_table *t,
                        const struct mup_coord_row *row,
                        const struct coord_series *s)
{
    json_t *mean = json_array();

    for (int i = 0; i < t->n_sizes; i++) {
        double sum = 0;

        for (int k = 0; k < t->n_seeds; k++)
            sum += s->value[k * t->n_sizes + i];
        json_array_append_new(mean, real(sum / t->n_seeds));
    }
    return json_pack(
        "{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:o}", "name",
        row->name, "quantity", mup_quantity_name(row->quantity), "step",
        row->step, "slope", real(row->slope), "lo", real(row->slope_lo), "hi",
        real(row->slope_hi), "expected", real(row->expected), "off",
        real(row->off), "verdict", mup_verdict_name(row->verdict), "cause",
        row->cause ? row->cause : "", "mean", mean);
}

static json_t *sizes_json(const struct coord_options *o)
{
    json_t *sizes = json_array();

    for (int i = 0; i < o->n_sizes; i++)
        json_array_append_new(sizes, json_integer(o->sizes[i]));
    return sizes;
}

/* "widths" or "depths", and what a check of our own was made with. */
static void put_origin(json_t *json, const struct coord_origin *origin,
                       const struct coord_result *result)
{
    const struct run_config *c = origin->config;
    const struct coord_options *o = origin->options;
    int depth = o->grow == MUP_GROW_DEPTH;
    char hash[17];
    const char *found = result->wrong.found >= 0
                            ? result->rows[result->wrong.found].name
                            : NULL;

    json_object_set_new(json, depth ? "depths" : "widths", sizes_json(o));
    if (origin->csv) {
        json_object_set_new(json, "csv", json_string(origin->csv));
        return;
    }
    if (depth) {
        json_object_set_new(json, "width", json_integer(c->model.width));
        json_object_set_new(json, "depth",
                            json_string(mup_depth_name(c->mup.depth)));
    }
    coord_config_hash(c, hash);
    json_object_set_new(json, "lr", json_real(c->train.lr));
    json_object_set_new(json, "config_xxh3", json_string(hash));
    if (c->mup.broken)
        json_object_set_new(
            json, "break",
            json_pack("{s:s, s:s, s:s?}", "rule", mup_break_name(c->mup.broken),
                      "text", mup_break_text(c->mup.broken), "found", found));
}

int coord_write_json(const struct coord_table *t,
                     const struct coord_origin *origin,
                     const struct coord_result *result, const char *dir,
                     struct mup_error *err)
{
    const struct coord_options *o = origin->options;
    int p = origin->config->mup.parametrization;
    json_t *rows = json_array(), *json;
    struct file_replace f;
    char path[1100];
    int rc;

    for (int i = 0; i < result->n_rows; i++)
        json_array_append_new(rows,
                              row_json(t, &result->rows[i], &t->series[i]));
    json = json_pack(
        "{s:s?, s:s, s:s, s:I, s:I, s:i, s:s?, s:i, s:o}", "parametrization",
        p == MUP_COORD_UNKNOWN ? NULL : mup_parametrization_name(p), "verdict",
        mup_coord_overall_name(result->verdict), "grow", mup_grow_name(o->grow),
        "seeds", (json_int_t)o->seeds, "steps", (json_int_t)o->steps, "ruleset",
        MUP_RULESET_VERSION, "worst",
        result->worst >= 0 ? result->rows[result->worst].name : NULL,
        "left_out", result->left_out, "rows", rows);
    snprintf(path, sizeof(path), "%s/coord.json", dir);
    if (json)
        put_origin(json, origin, result);
    rc = json ? file_replace_open(path, &f, err)
              : mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    if (!rc) {
        (void)json_dumpf(json, f.out, JSON_INDENT(1)); /* commit checks */
        rc = file_replace_commit(&f, err);
    }
    json_decref(json);
    return rc;
}

int coord_write_csv(const struct coord_table *t,
                    const struct coord_origin *origin, const char *dir,
                    struct mup_error *err)
{
    const struct coord_options *o = origin->options;
    struct file_replace f;
    char path[1100], value[32];
    int rc;

    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    fprintf(f.out, "name,quantity,step,%s,seed,value\n",
            o->grow == MUP_GROW_DEPTH ? "depth" : "width");
    for (int i = 0; i < t->n; i++) {
        const struct coord_series *s = &t->series[i];

        for (int c = 0; c < t->n_sizes * t->n_seeds; c++) {
            format_real(s->value[c], value, sizeof(value));
            fprintf(f.out, "%s,%s,%d,%" PRId64 ",%d,%s\n", s->name,
                    mup_quantity_name(s->quantity), s->step,
                    o->sizes[c % t->n_sizes], c / t->n_sizes,
                    isfinite(s->value[c]) ? value : "");
        }
    }
    return file_replace_commit(&f, err);
}

void coord_config_hash(const struct run_config *config, char out[17])
{
    XXH64_hash_t hash = 0;

    for (const struct section *s = run_schema.sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++) {
            char line[2 * FIELD_TEXT_BYTES + CONFIG_KEY_BYTES];
            char value[FIELD_TEXT_BYTES + 32];
            int n;

            if (f->role != ROLE_TRANSFER && f->role != ROLE_FIXED)
                continue;
            if (!strcmp(s->name, "train") && !strcmp(f->key, "lr"))
                continue;
            config_text(s, f, config, value, sizeof(value));
            n = snprintf(line, sizeof(line), "%s.%s=%s\n", s->name, f->key,
                         value);
            hash = XXH3_64bits_withSeed(line, (size_t)n, hash);
        }
    }
    snprintf(out, 17, "%016llx", (unsigned long long)hash);
}
