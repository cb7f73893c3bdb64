/* The coordinate check on values that another framework recorded. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/coord_series.h"
#include "sweep/csv.h"

#define MAX_SEEDS 1000

struct columns {
    int size, step, seed, name, quantity, value; /* -1: not there */
};

/* Whole numbers without repetition, rising. */
struct numbers {
    int64_t value[MAX_SEEDS];
    int n, max;
};

struct reader {
    struct csv csv;
    struct columns column;
    const char *size_name; /* "width" or "depth" */
    struct numbers sizes, seeds;
    struct coord_table table;
    int64_t last_step;
};

/* ---- columns --------------------------------------------------------------
 */

/* Either of two names, the first one required where neither is there. */
static int either(const struct csv *t, const char *a, const char *b, int *out,
                  struct mup_error *err)
{
    int rc = csv_column(t, b, 0, out, err);

    return rc == MUP_OK && *out < 0 ? csv_column(t, a, 1, out, err) : rc;
}

static int find_columns(struct reader *r, int *grow, struct mup_error *err)
{
    struct columns *c = &r->column;
    int depth, rc = csv_column(&r->csv, "depth", 0, &depth, err);

    r->size_name = "width";
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "width", depth < 0, &c->size, err);
    if (rc == MUP_OK && depth >= 0 &&
        (c->size < 0 || *grow == MUP_GROW_DEPTH)) {
        c->size = depth;
        r->size_name = "depth";
        *grow = MUP_GROW_DEPTH;
    }
    if (rc == MUP_OK && *grow == MUP_GROW_DEPTH && depth < 0)
        rc = csv_column(&r->csv, "depth", 1, &c->size, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "step", 1, &c->step, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "seed", 0, &c->seed, err);
    if (rc == MUP_OK)
        rc = either(&r->csv, "name", "tensor", &c->name, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "quantity", 0, &c->quantity, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "value", 1, &c->value, err);
    return rc;
}

/* ---- sizes and seeds ------------------------------------------------------
 */

static int index_of(const struct numbers *set, int64_t value)
{
    for (int i = 0; i < set->n; i++)
        if (set->value[i] == value)
            return i;
    return -1;
}

/* 0 where the set is full. */
static int add_number(struct numbers *set, int64_t value)
{
    int at = set->n;

    if (index_of(set, value) >= 0)
        return 1;
    if (set->n == set->max)
        return 0;
    for (; at > 0 && set->value[at - 1] > value; at--)
        set->value[at] = set->value[at - 1];
    set->value[at] = value;
    set->n++;
    return 1;
}

static int seed_of(const struct reader *r, int64_t row, int64_t *seed,
                   struct mup_error *err)
{
    *seed = 0;
    return r->column.seed < 0
               ? MUP_OK
               : csv_int(&r->csv, row, r->column.seed, seed, err);
}

static int collect_axes(struct reader *r, struct mup_error *err)
{
    for (int64_t i = 0; i < r->csv.rows; i++) {
        int64_t size, seed;
        int rc = csv_int(&r->csv, i, r->column.size, &size, err);

        if (rc == MUP_OK)
            rc = seed_of(r, i, &seed, err);
        if (rc != MUP_OK)
            return rc;
        if (size < 1)
            return mup_fail(
                err, MUP_USAGE, "%s:%" PRId64 ": %s %" PRId64 " is not above 0",
                r->csv.path, csv_line(&r->csv, i), r->size_name, size);
        if (!add_number(&r->sizes, size) || !add_number(&r->seeds, seed))
            return mup_fail(err, MUP_USAGE,
                            "%s:%" PRId64 ": more than %d values of %s or %d "
                            "seeds",
                            r->csv.path, csv_line(&r->csv, i), COORD_MAX_SIZES,
                            r->size_name, MAX_SEEDS);
    }
    if (r->sizes.n < 2)
        return mup_fail(err, MUP_USAGE,
                        "%s: a slope needs at least two values of %s, the "
                        "table has %d",
                        r->csv.path, r->size_name, r->sizes.n);
    return MUP_OK;
}

/* ---- values ---------------------------------------------------------------
 */

static int parse_key(const struct reader *r, int64_t row,
                     struct coord_series *key, struct mup_error *err)
{
    const struct csv *t = &r->csv;
    const char *name = csv_text(t, row, r->column.name);
    const char *quantity =
        r->column.quantity < 0 ? "" : csv_text(t, row, r->column.quantity);
    int64_t line = csv_line(t, row), step;
    int rc = csv_int(t, row, r->column.step, &step, err);

    if (rc != MUP_OK)
        return rc;
    if (step < 1 || step > INT32_MAX)
        return mup_fail(err, MUP_USAGE,
                        "%s:%" PRId64 ": step %" PRId64 ": steps count from 1, "
                        "which is before the first update",
                        t->path, line, step);
    if (!*name || strlen(name) >= sizeof(key->name))
        return mup_fail(err, MUP_USAGE,
                        "%s:%" PRId64 ": the name must have 1 to %d bytes",
                        t->path, line, COORD_NAME_BYTES - 1);
    *key =
        (struct coord_series){ .step = (int)step, .quantity = MUP_ACTIVATION };
    snprintf(key->name, sizeof(key->name), "%s", name);
    if (*quantity)
        key->quantity =
            mup_name_find(mup_quantity_name, MUP_QUANTITY_COUNT, quantity);
    if (key->quantity < 0)
        return mup_fail(
            err, MUP_USAGE,
            "%s:%" PRId64 ": unknown quantity '%.40s'; one of "
            "activation, stream, attention_logits, router_logits, "
            "output_logits, gated_activation, update, dot_update, propagated, "
            "propagated_logits, change, gradient, dot_gradient, gate_spread, "
            "load, "
            "statistic",
            t->path, line, quantity);
    return MUP_OK;
}

static int read_row(struct reader *r, int64_t row, struct mup_error *err)
{
    struct coord_series key, *s;
    int64_t size, seed;
    double value;
    int cell, rc = parse_key(r, row, &key, err);

    if (rc == MUP_OK)
        rc = csv_int(&r->csv, row, r->column.size, &size, err);
    if (rc == MUP_OK)
        rc = seed_of(r, row, &seed, err);
    if (rc == MUP_OK)
        rc = csv_real_or_nan(&r->csv, row, r->column.value, &value, err);
    if (rc != MUP_OK)
        return rc;
    cell = index_of(&r->seeds, seed) * r->sizes.n + index_of(&r->sizes, size);
    s = coord_table_find(&r->table, key.name, key.quantity, key.step);
    if (s && (s->quantity != key.quantity || s->have[cell]))
        return mup_fail(err, MUP_USAGE,
                        "%s:%" PRId64 ": '%s' at step %d, %s %" PRId64
                        ", seed %" PRId64 " %s",
                        r->csv.path, csv_line(&r->csv, row), key.name, key.step,
                        r->size_name, size, seed,
                        s->have[cell] ? "has a value already"
                                      : "has another quantity than before");
    if (key.step > r->last_step)
        r->last_step = key.step;
    return coord_table_put(&r->table, &key, cell, value, err);
}

/* How many seeds a size has, over all rows. */
static int seeds_of(const struct reader *r, int size)
{
    int n = 0;

    for (int k = 0; k < r->seeds.n; k++) {
        int found = 0;

        for (int i = 0; i < r->table.n && !found; i++)
            found = r->table.series[i].have[k * r->sizes.n + size];
        n += found;
    }
    return n;
}

static int check_complete(const struct reader *r, struct mup_error *err)
{
    int cells = r->sizes.n * r->seeds.n, first = seeds_of(r, 0);

    for (int i = 1; i < r->sizes.n; i++)
        if (seeds_of(r, i) != first)
            return mup_fail(err, MUP_USAGE,
                            "%s: %s %" PRId64 " has %d seeds, %s %" PRId64
                            " has %d; record the same seeds at every size",
                            r->csv.path, r->size_name, r->sizes.value[i],
                            seeds_of(r, i), r->size_name, r->sizes.value[0],
                            first);
    for (int i = 0; i < r->table.n; i++) {
        const struct coord_series *s = &r->table.series[i];

        for (int c = 0; c < cells && s->seen < cells; c++)
            if (!s->have[c])
                return mup_fail(
                    err, MUP_USAGE,
                    "%s: '%s' at step %d has no value at %s %" PRId64
                    ", seed %" PRId64 "; every row needs all sizes "
                    "and seeds",
                    r->csv.path, s->name, s->step, r->size_name,
                    r->sizes.value[c % r->sizes.n],
                    r->seeds.value[c / r->sizes.n]);
    }
    return MUP_OK;
}

static int read_all(struct reader *r, int *grow, struct mup_error *err)
{
    int rc = find_columns(r, grow, err);

    if (rc == MUP_OK)
        rc = collect_axes(r, err);
    r->table.n_sizes = r->sizes.n;
    r->table.n_seeds = r->seeds.n;
    for (int64_t i = 0; rc == MUP_OK && i < r->csv.rows; i++)
        rc = read_row(r, i, err);
    return rc == MUP_OK ? check_complete(r, err) : rc;
}

int coord_check_csv(const char *path, const struct mup_coord_setup *setup,
                    const char *dir, struct coord_options *options,
                    struct coord_result *out, struct mup_error *err)
{
    struct run_config config = {
        .mup = { .parametrization = setup->parametrization,
                 .depth = setup->depth },
    };
    struct coord_options o = { .grow = setup->grow };
    const struct coord_origin origin = { &config, &o, path };
    struct reader *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    r->sizes.max = COORD_MAX_SIZES;
    r->seeds.max = MAX_SEEDS;
    rc = csv_open(path, &r->csv, err);
    if (rc == MUP_OK)
        rc = read_all(r, &o.grow, err);
    if (rc == MUP_OK) {
        o.n_sizes = r->sizes.n;
        memcpy(o.sizes, r->sizes.value, sizeof(o.sizes));
        o.seeds = r->seeds.n;
        o.steps = r->last_step - 1;
        rc = coord_conclude(&r->table, &origin, dir, out, err);
    }
    if (rc == MUP_OK)
        *options = o;
    coord_table_clear(&r->table);
    csv_close(&r->csv);
    free(r);
    return rc;
}
