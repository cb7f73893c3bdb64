#include "sweep/coord_series.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model/file.h"
#include "sweep/coord_break.h"
#include "sweep/coord_name.h"
#include "sweep/csv.h"

/* ---- the table ------------------------------------------------------------
 */

/* The slot of a name and step, or the free one where they belong. */
static int *slot_of(const struct coord_table *t, const char *name, int step)
{
    size_t mask = (size_t)t->n_slots - 1;
    size_t at = XXH3_64bits_withSeed(name, strlen(name), (XXH64_hash_t)step);

    for (;; at++) {
        int *slot = &t->slot[at & mask];

        if (!*slot || (t->series[*slot - 1].step == step &&
                       !strcmp(t->series[*slot - 1].name, name)))
            return slot;
    }
}

static void fill_slots(struct coord_table *t)
{
    memset(t->slot, 0, (size_t)t->n_slots * sizeof(*t->slot));
    for (int i = 0; i < t->n; i++)
        *slot_of(t, t->series[i].name, t->series[i].step) = i + 1;
}

/* Room for one more; at most half of the slots are taken. */
static int grow(struct coord_table *t)
{
    int room = t->capacity ? 2 * t->capacity : 256;
    struct coord_series *series;
    int *slot;

    if (t->n < t->capacity)
        return 1;
    series = realloc(t->series, (size_t)room * sizeof(*series));
    if (!series)
        return 0;
    memset(series + t->n, 0, (size_t)(room - t->n) * sizeof(*series));
    t->series = series;
    slot = realloc(t->slot, 2 * (size_t)room * sizeof(*slot));
    if (!slot)
        return 0;
    t->slot = slot;
    t->n_slots = 2 * room;
    t->capacity = room;
    fill_slots(t);
    return 1;
}

struct coord_series *coord_table_find(const struct coord_table *t,
                                      const char *name, int step)
{
    int at = t->n_slots ? *slot_of(t, name, step) : 0;

    return at ? &t->series[at - 1] : NULL;
}

/* NULL: no memory. */
static struct coord_series *add_series(struct coord_table *t,
                                       const struct coord_series *key)
{
    size_t cells = (size_t)t->n_sizes * (size_t)t->n_seeds;
    double *value = malloc(cells * (sizeof(*value) + 1));
    struct coord_series *s;

    if (!value || !grow(t)) {
        free(value);
        return NULL;
    }
    assert(t->series && t->slot); /* as there is room */
    s = &t->series[t->n];
    *s = *key;
    s->seen = 0;
    s->value = value;
    s->have = (unsigned char *)(value + cells);
    memset(s->have, 0, cells);
    for (size_t i = 0; i < cells; i++)
        s->value[i] = NAN;
    *slot_of(t, key->name, key->step) = ++t->n;
    return s;
}

int coord_table_put(struct coord_table *t, const struct coord_series *key,
                    int cell, double value, struct mup_error *err)
{
    struct coord_series *s = coord_table_find(t, key->name, key->step);

    if (!s)
        s = add_series(t, key);
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
    if (dropped)
        fill_slots(t);
    return dropped;
}

void coord_table_clear(struct coord_table *t)
{
    for (int i = 0; i < t->n; i++)
        free(t->series[i].value);
    free(t->series);
    free(t->slot);
    *t = (struct coord_table){ 0 };
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

/* result->json */
static int make_json(const struct coord_table *t,
                     const struct coord_origin *origin,
                     struct coord_result *result, struct mup_error *err)
{
    const struct coord_options *o = origin->options;
    int p = origin->config->mup.parametrization;
    json_t *rows = json_array(), *json;

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
    if (json) {
        put_origin(json, origin, result);
        result->json = json_dumps(json, JSON_INDENT(1));
    }
    json_decref(json);
    if (!result->json)
        return mup_fail(err, MUP_SYSTEM, "out of memory for coord.json");
    return MUP_OK;
}

static int write_json(const struct coord_result *result, const char *dir,
                      struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/coord.json", dir);
    rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    fputs(result->json, f.out); /* commit checks */
    return file_replace_commit(&f, err);
}

static int write_csv(const struct coord_table *t,
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
            csv_put_text(f.out, s->name);
            fprintf(f.out, ",%s,%d,%" PRId64 ",%" PRId64 ",%s\n",
                    mup_quantity_name(s->quantity), s->step,
                    o->sizes[c % t->n_sizes],
                    origin->config->train.seed + c / t->n_sizes,
                    isfinite(s->value[c]) ? value : "");
        }
    }
    return file_replace_commit(&f, err);
}

/* A table is not written again: it may lie there, with other columns. */
static int write_files(const struct coord_table *t,
                       const struct coord_origin *origin,
                       const struct coord_result *result, const char *dir,
                       struct mup_error *err)
{
    int rc = file_make_dirs(dir, err);

    if (!rc)
        rc = write_json(result, dir, err);
    if (!rc && !origin->csv)
        rc = write_csv(t, origin, dir, err);
    return rc;
}

/* ---- the verdict ----------------------------------------------------------
 */

/* path: of the table that the series come from, or NULL. */
static int judge_rows(const struct coord_table *t, const char *path,
                      const struct mup_coord_setup *setup,
                      struct coord_result *out, struct mup_error *err)
{
    struct mup_coord_row *rows = out->rows;
    int rc = MUP_OK;

    for (int i = 0; !rc && i < t->n; i++) {
        const struct coord_series *s = &t->series[i];
        char *name = out->names + (size_t)i * COORD_NAME_BYTES;

        snprintf(name, COORD_NAME_BYTES, "%s", s->name);
        rows[i].name = name;
        rows[i].quantity = s->quantity;
        rows[i].step = s->step;
        rows[i].in_block = coord_name_in_block(name);
        rc = mup_coord_judge(&rows[i], setup, s->value, err);
        if (rc && path)
            mup_error_prefix(err, "%s:%" PRId64 ": ", path, s->line);
    }
    return rc;
}

/* The same tensor's rows at other steps and in other blocks are one kind. */
struct kind {
    const char *tail;
    int quantity, row;
};

static int by_kind(const void *a, const void *b)
{
    const struct kind *x = a, *y = b;
    int order = x->quantity - y->quantity;

    return order ? order : strcmp(x->tail, y->tail);
}

static int pool(struct coord_result *out, const struct mup_coord_setup *setup,
                struct mup_error *err)
{
    size_t n = (size_t)out->n_rows;
    struct kind *kinds = calloc(n + 1, sizeof(*kinds));
    struct mup_coord_noise *noise = calloc(n + 1, sizeof(*noise));
    int n_kinds = 0, ok = kinds && noise;

    for (int i = 0; ok && i < out->n_rows; i++)
        kinds[i] = (struct kind){ coord_name_tail(out->rows[i].name),
                                  out->rows[i].quantity, i };
    if (ok && n)
        qsort(kinds, n, sizeof(*kinds), by_kind);
    for (size_t i = 0; ok && i < n; i++) {
        n_kinds += i == 0 || by_kind(&kinds[i - 1], &kinds[i]) != 0;
        out->rows[kinds[i].row].kind = n_kinds - 1;
    }
    if (ok)
        mup_coord_pool(out->rows, out->n_rows, setup, noise, n_kinds);
    free(kinds);
    free(noise);
    return ok ? MUP_OK
              : mup_fail(err, MUP_SYSTEM, "out of memory for the verdict");
}

/* On failure out may hold memory; its owner clears it. */
static int judge(const struct coord_table *t, const char *path,
                 const struct mup_coord_setup *setup, struct coord_result *out,
                 struct mup_error *err)
{
    int worst = -1, rc;

    out->rows = calloc((size_t)t->n + 1, sizeof(*out->rows));
    out->names = calloc((size_t)t->n + 1, COORD_NAME_BYTES);
    if (!out->rows || !out->names)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the verdict");
    rc = judge_rows(t, path, setup, out, err);
    if (rc)
        return rc;
    out->n_rows = t->n;
    rc = pool(out, setup, err);
    if (rc)
        return rc;
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
    rc = judge(t, origin->csv, &setup, &result, err);
    if (!rc && !origin->csv && mup->broken) {
        result.wrong.broken = mup->broken;
        rc = coord_break_find(origin->config, o, &result, &result.wrong.found,
                              err);
    }
    if (!rc)
        rc = make_json(t, origin, &result, err);
    if (!rc && dir)
        rc = write_files(t, origin, &result, dir, err);
    if (rc)
        coord_result_clear(&result);
    else
        *out = result;
    return rc;
}
