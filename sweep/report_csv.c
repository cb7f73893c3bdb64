/* A table of anyone's runs as the data of a report. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/field.h"
#include "sweep/csv.h"
#include "sweep/report_data.h"

/* Indices of the columns; -1 = the table has none. */
struct columns {
    int over, of, by; /* of the axes */
    int loss, seed;
};

static int find_columns(const struct csv *t, const struct axes *a,
                        struct columns *c, struct mup_error *err)
{
    int rc = csv_column(t, a->over.key, 1, &c->over, err);

    if (rc == MUP_OK)
        rc = csv_column(t, a->of.key, 1, &c->of, err);
    if (rc == MUP_OK)
        rc = csv_column(t, "loss", 1, &c->loss, err);
    if (rc == MUP_OK)
        rc = csv_column(t, "seed", 0, &c->seed, err);
    if (rc == MUP_OK)
        rc = csv_column(t, a->by.key, !a->by.rules, &c->by, err);
    return rc;
}

/* ---- parametrizations -----------------------------------------------------
 */

/* The name that libmup gives it, or the label itself. */
static const char *canonical(const char *label)
{
    for (int p = 0;; p++) {
        const char *name = mup_parametrization_name(p);

        if (!strcmp(name, "unknown"))
            return label;
        if (!strcasecmp(name, label))
            return name;
    }
}

static int check_label(const struct report_data *d, const struct csv *t,
                       int64_t row, const char *label, struct mup_error *err)
{
    const long long line = csv_line(t, row);
    const char *bad = csv_bad_name(label), *word = d->axes.by.word;

    if (!*label)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: %s is empty; name it in every row, or leave "
                        "the column out",
                        t->path, line, word);
    if (strlen(label) >= REPORT_NAME_BYTES)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: the %s '%.20s...' has more than %d bytes; "
                        "take a shorter name",
                        t->path, line, word, label, REPORT_NAME_BYTES - 1);
    if (*bad)
        return mup_fail(err, MUP_USAGE, "%s:%lld: %s in the %s; remove it",
                        t->path, line, bad, word);
    return MUP_OK;
}

static int take_group(struct report_data *d, const struct csv *t, int64_t row,
                      int column, struct mup_error *err)
{
    const char *label = column < 0 ? "" : csv_text(t, row, column);
    int rc = column < 0 ? MUP_OK : check_label(d, t, row, label, err);

    if (rc != MUP_OK)
        return rc;
    if (d->axes.by.rules)
        label = canonical(label);
    d->run[row].group = report_data_group(d, label);
    if (d->run[row].group >= 0)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "%s:%lld: '%s' is one %s more than the %d that a report "
                    "compares; split the table",
                    t->path, (long long)csv_line(t, row), label,
                    d->axes.by.word, REPORT_MAX_GROUPS);
}

/* ---- rows -----------------------------------------------------------------
 */

/* Logarithms are taken of both: they must be above 0. */
static int take_point(struct report_data *d, const struct csv *t, int64_t row,
                      const struct columns *c, struct mup_error *err)
{
    struct report_run *run = &d->run[row];
    int rc = csv_real(t, row, c->over, &run->width, err);
    int bad = c->over;

    if (rc == MUP_OK && run->width > 0) {
        bad = c->of;
        rc = csv_real(t, row, c->of, &run->lr, err);
    }
    if (rc != MUP_OK || (run->width > 0 && run->lr > 0))
        return rc;
    return mup_fail(err, MUP_USAGE,
                    "%s:%lld: '%.60s' is not above 0, as a %s and a %s must "
                    "be; correct the cell or remove the row",
                    t->path, (long long)csv_line(t, row), csv_text(t, row, bad),
                    d->axes.over.word, d->axes.of.word);
}

static int take_loss(const struct csv *t, int64_t row, int column, double *out,
                     struct mup_error *err)
{
    int rc = csv_real_or_nan(t, row, column, out, err);

    if (rc != MUP_OK || isnan(*out) || *out > 0)
        return rc;
    return mup_fail(err, MUP_USAGE,
                    "%s:%lld: a loss of '%.60s' is not above 0, but losses are "
                    "compared by their ratio; leave the cell empty where the "
                    "run diverged",
                    t->path, (long long)csv_line(t, row),
                    csv_text(t, row, column));
}

static int take_run(struct report_data *d, const struct csv *t, int64_t row,
                    const struct columns *c, struct mup_error *err)
{
    struct report_run *run = &d->run[row];
    int rc = take_point(d, t, row, c, err);

    run->model_width = axes_are_usual(&d->axes) ? run->width : NAN;
    run->seed = 1;
    if (rc == MUP_OK && c->seed >= 0)
        rc = csv_int(t, row, c->seed, &run->seed, err);
    if (rc == MUP_OK)
        rc = take_loss(t, row, c->loss, &run->value, err);
    if (rc == MUP_OK)
        rc = take_group(d, t, row, c->by, err);
    run->val_loss = NAN;
    return rc;
}

static int take_runs(struct report_data *d, const struct csv *t,
                     const struct columns *c, struct mup_error *err)
{
    if (t->rows == 0)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: there are no runs below the header", t->path,
                        (long long)t->line[0]);
    if (t->rows > REPORT_CSV_MAX_RUNS)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: more than %d runs; leave out those far from "
                        "the best %s",
                        t->path, (long long)csv_line(t, REPORT_CSV_MAX_RUNS),
                        REPORT_CSV_MAX_RUNS, d->axes.of.word);
    d->run = calloc((size_t)t->rows, sizeof(*d->run));
    if (!d->run)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %lld runs",
                        (long long)t->rows);
    for (int64_t i = 0; i < t->rows; i++) {
        int rc = take_run(d, t, i, c, err);

        if (rc != MUP_OK)
            return rc;
        d->n++;
        d->trials++;
        d->done += isfinite(d->run[i].value) != 0;
        d->diverged += !isfinite(d->run[i].value);
    }
    return MUP_OK;
}

/* ---- runs that stand twice ------------------------------------------------
 */

struct placed {
    const struct report_run *run;
    int64_t line;
};

static int compare(const struct report_run *a, const struct report_run *b)
{
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    if (a->width != b->width)
        return a->width < b->width ? -1 : 1;
    if (a->lr != b->lr)
        return a->lr < b->lr ? -1 : 1;
    return a->seed < b->seed ? -1 : a->seed > b->seed;
}

static int by_point(const void *a, const void *b)
{
    const struct placed *p = a, *q = b;
    int order = compare(p->run, q->run);

    return order ? order : p->line < q->line ? -1 : p->line > q->line;
}

/* The first line that repeats another. */
static int refuse_twice(const struct report_data *d, const struct csv *t,
                        const struct placed *list, int has_seed,
                        struct mup_error *err)
{
    const char *over = d->axes.over.word, *of = d->axes.of.word;
    const struct placed *again = NULL;

    for (int i = 1; i < d->n; i++)
        if (compare(list[i - 1].run, list[i].run) == 0 &&
            (!again || list[i].line < again->line))
            again = &list[i];
    if (!again)
        return MUP_OK;
    if (!has_seed)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: the same %s and %s stand in line %lld; add a "
                        "column 'seed' that tells the runs apart",
                        t->path, (long long)again->line, over, of,
                        (long long)again[-1].line);
    return mup_fail(err, MUP_USAGE,
                    "%s:%lld: the same %s, %s and seed stand in line %lld; "
                    "remove one, or correct its seed",
                    t->path, (long long)again->line, over, of,
                    (long long)again[-1].line);
}

static int check_unique(const struct report_data *d, const struct csv *t,
                        int has_seed, struct mup_error *err)
{
    struct placed *list = calloc((size_t)d->n, sizeof(*list));
    int rc;

    if (!list)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d runs", d->n);
    for (int i = 0; i < d->n; i++)
        list[i] = (struct placed){ &d->run[i], csv_line(t, i) };
    qsort(list, (size_t)d->n, sizeof(*list), by_point);
    rc = refuse_twice(d, t, list, has_seed, err);
    free(list);
    return rc;
}

/* ---- all of it ------------------------------------------------------------
 */

int report_data_open_csv(const struct report_request *request,
                         struct report_data *out, struct mup_error *err)
{
    const char *file = request->csv, *slash = strrchr(file, '/');
    struct report_data d = { .axes = request->axes,
                             .csv = file,
                             .dir = request->out };
    struct columns c = { 0 };
    struct csv t;
    int rc;

    if (!config_is_utf8(file))
        return mup_fail(err, MUP_USAGE,
                        "the name of the table is not UTF-8; rename it");
    rc = csv_open(file, &t, err);
    if (rc != MUP_OK)
        return rc;
    rc = find_columns(&t, &d.axes, &c, err);
    if (rc == MUP_OK)
        rc = take_runs(&d, &t, &c, err);
    if (rc == MUP_OK)
        rc = check_unique(&d, &t, c.seed >= 0, err);
    snprintf(d.name, sizeof(d.name), "%s", slash ? slash + 1 : file);
    snprintf(d.metric, sizeof(d.metric), "loss");
    snprintf(d.hash, sizeof(d.hash), "%s", t.hash);
    csv_close(&t);
    if (rc == MUP_OK)
        *out = d;
    else
        report_data_close(&d);
    return rc;
}
