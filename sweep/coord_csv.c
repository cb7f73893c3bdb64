#include "sweep/coord_csv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
    /* by size and seed: whether any row has both */
    unsigned char met[COORD_MAX_SIZES][MAX_SEEDS];
    struct coord_table table;
    int64_t last_step;
};

/* ---- columns --------------------------------------------------------------
 */

/* The column of the sizes.  Where nobody says what grows, it is the width, or
 * the depth where that alone is there. */
static int find_size(struct reader *r, int *grow, struct mup_error *err)
{
    int width, depth, rc = csv_column(&r->csv, "width", 0, &width, err);

    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "depth", 0, &depth, err);
    if (rc != MUP_OK)
        return rc;
    if (*grow == MUP_COORD_UNKNOWN)
        *grow = width < 0 && depth >= 0 ? MUP_GROW_DEPTH : MUP_GROW_WIDTH;
    r->size_name = *grow == MUP_GROW_DEPTH ? "depth" : "width";
    if (*grow != MUP_GROW_DEPTH && width < 0 && depth >= 0)
        return mup_fail(err, MUP_USAGE,
                        "%s: %s is said to grow, but the table has a column "
                        "'depth' and none 'width'",
                        r->csv.path, mup_grow_name(*grow));
    return csv_column(&r->csv, r->size_name, 1, &r->column.size, err);
}

/* "name", or else "tensor". */
static int find_name(struct reader *r, struct mup_error *err)
{
    int name, tensor, rc = csv_column(&r->csv, "name", 0, &name, err);

    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "tensor", 0, &tensor, err);
    if (rc != MUP_OK)
        return rc;
    return csv_column(&r->csv, name < 0 && tensor >= 0 ? "tensor" : "name", 1,
                      &r->column.name, err);
}

static int find_columns(struct reader *r, int *grow, struct mup_error *err)
{
    struct columns *c = &r->column;
    int rc = find_size(r, grow, err);

    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "step", 1, &c->step, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "seed", 0, &c->seed, err);
    if (rc == MUP_OK)
        rc = find_name(r, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "quantity", 0, &c->quantity, err);
    if (rc == MUP_OK)
        rc = csv_column(&r->csv, "value", 1, &c->value, err);
    return rc;
}

/* ---- sizes and seeds ------------------------------------------------------
 */

/* How many are smaller. */
static int place_of(const struct numbers *set, int64_t value)
{
    int lo = 0, hi = set->n;

    while (lo < hi) {
        int middle = (lo + hi) / 2;

        if (set->value[middle] < value)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

/* 0 where the set is full. */
static int add_number(struct numbers *set, int64_t value)
{
    int at = place_of(set, value);

    if (at < set->n && set->value[at] == value)
        return 1;
    if (set->n == set->max)
        return 0;
    for (int i = set->n; i > at; i--)
        set->value[i] = set->value[i - 1];
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

static int unknown_quantity(const struct csv *t, int64_t row, const char *text,
                            struct mup_error *err)
{
    char list[400] = "";
    size_t used = 0;

    for (int i = 0; i < MUP_QUANTITY_COUNT && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
                                 i ? ", " : "", mup_quantity_name(i));
    return mup_fail(err, MUP_USAGE,
                    "%s:%" PRId64 ": unknown quantity '%.40s'; one of %s",
                    t->path, csv_line(t, row), text, list);
}

/* What a name says where no column does: the end of it, and a word before. */
static int quantity_of_name(const char *name)
{
    static const struct {
        const char *end, *word;
        int quantity;
    } rows[] = {
        { ".update", "", MUP_UPDATE },
        { ".propagated", "", MUP_PROPAGATED },
        { ".gradient", "", MUP_GRADIENT },
        { "logits", "attn", MUP_ATTENTION_LOGITS },
        { "logits", "attention", MUP_ATTENTION_LOGITS },
        { "logits", "router", MUP_ROUTER_LOGITS },
        { "logits", "gate", MUP_ROUTER_LOGITS },
        { "router", "", MUP_ROUTER_LOGITS },
        { "logits", "", MUP_OUTPUT_LOGITS },
        { "lm_head", "", MUP_OUTPUT_LOGITS },
        { "readout", "", MUP_OUTPUT_LOGITS },
    };
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t end = strlen(rows[i].end);

        if (n >= end && !strcmp(name + n - end, rows[i].end) &&
            strstr(name, rows[i].word))
            return rows[i].quantity;
    }
    return MUP_ACTIVATION;
}

static int parse_key(const struct reader *r, int64_t row,
                     struct coord_series *key, struct mup_error *err)
{
    const struct csv *t = &r->csv;
    const char *name = csv_text(t, row, r->column.name);
    const char *quantity =
        r->column.quantity < 0 ? "" : csv_text(t, row, r->column.quantity);
    const char *bad = csv_bad_name(name);
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
    if (*bad)
        return mup_fail(err, MUP_USAGE, "%s:%" PRId64 ": the name holds %s",
                        t->path, line, bad);
    *key = (struct coord_series){ .step = (int)step,
                                  .quantity = quantity_of_name(name),
                                  .line = line };
    snprintf(key->name, sizeof(key->name), "%s", name);
    if (*quantity)
        key->quantity =
            mup_name_find(mup_quantity_name, MUP_QUANTITY_COUNT, quantity);
    return key->quantity < 0 ? unknown_quantity(t, row, quantity, err) : MUP_OK;
}

/* Every series needs all cells, so that the first more than the rows can fill
 * leaves one of those before it with a hole, which is named in the end. */
static int is_full(const struct reader *r)
{
    return (int64_t)r->table.n * r->sizes.n * r->seeds.n > r->csv.rows;
}

static int read_row(struct reader *r, int64_t row, struct mup_error *err)
{
    struct coord_series key, *s;
    int64_t size, seed;
    double value;
    int at_size, at_seed, cell, rc = parse_key(r, row, &key, err);

    if (rc == MUP_OK)
        rc = csv_int(&r->csv, row, r->column.size, &size, err);
    if (rc == MUP_OK)
        rc = seed_of(r, row, &seed, err);
    if (rc == MUP_OK)
        rc = csv_real_or_nan(&r->csv, row, r->column.value, &value, err);
    if (rc != MUP_OK)
        return rc;
    at_size = place_of(&r->sizes, size);
    at_seed = place_of(&r->seeds, seed);
    r->met[at_size][at_seed] = 1;
    cell = at_seed * r->sizes.n + at_size;
    s = coord_table_find(&r->table, key.name, key.step);
    if (!s && is_full(r))
        return MUP_OK;
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

    for (int k = 0; k < r->seeds.n; k++)
        n += r->met[size][k];
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

/* 'coord.json' is no name for a table, but nobody shall lose one by it. */
static int check_place(const char *path, const char *dir, struct mup_error *err)
{
    struct stat table, result;
    char to[1100];

    if (!dir)
        return MUP_OK;
    snprintf(to, sizeof(to), "%s/coord.json", dir);
    if (stat(path, &table) || stat(to, &result) ||
        table.st_dev != result.st_dev || table.st_ino != result.st_ino)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "the result would replace the table '%s'; choose another "
                    "folder",
                    path);
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
    rc = check_place(path, dir, err);
    if (rc == MUP_OK)
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
