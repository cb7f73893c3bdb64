/* Coordinate checks in a report: coord-PARAMETRIZATION/coord.json of every
 * parametrization summed up, and a few telling tensors of all for the picture.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/file.h"
#include "mup/coord.h"
#include "sweep/report_files.h"

#define MAX_ROWS 12 /* of the summary */

/* Panels of the picture, left to right. */
static const char *const quantities[] = { "activation", "update",
                                          "router_logits", "output_logits" };
#define N_QUANTITIES (int)(sizeof(quantities) / sizeof(*quantities))

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static int verdict_of(const json_t *row)
{
    int verdict = mup_name_find(mup_verdict_name, MUP_VERDICT_COUNT,
                                text(row, "verdict"));

    return verdict < 0 ? MUP_VERDICT_INCONCLUSIVE : verdict;
}

/* As libmup orders rows; one that died or exploded is farthest off. */
static int worse(const json_t *a, const json_t *b)
{
    const struct mup_coord_row p = { .verdict = verdict_of(a),
                                     .off = number(a, "off") };
    const struct mup_coord_row q = { .verdict = verdict_of(b),
                                     .off = number(b, "off") };

    return mup_coord_worse(&p, &q);
}

/* ---- summary --------------------------------------------------------------
 */

static int by_badness(const void *a, const void *b)
{
    const json_t *p = *(json_t *const *)a, *q = *(json_t *const *)b;

    if (worse(p, q) || worse(q, p))
        return worse(p, q) ? -1 : 1;
    return strcmp(text(p, "name"), text(q, "name"));
}

/* The worst step of every quantity, worst first, at most MAX_ROWS. */
static json_t *worst_rows(const json_t *rows)
{
    size_t n = json_array_size(rows), kept = 0;
    json_t **list = calloc(n + 1, sizeof(json_t *)), *out = json_array();

    for (size_t i = 0; list && i < n; i++) {
        json_t *row = json_array_get(rows, i);
        size_t k = 0;

        while (k < kept && strcmp(text(list[k], "name"), text(row, "name")))
            k++;
        if (k == kept)
            list[kept++] = row;
        else if (worse(row, list[k]))
            list[k] = row;
    }
    if (list)
        qsort(list, kept, sizeof(*list), by_badness);
    for (size_t i = 0; list && i < kept && i < MAX_ROWS; i++)
        json_array_append(out, list[i]);
    free(list);
    return out;
}

static json_t *summary(const json_t *check)
{
    const json_t *rows = json_object_get(check, "rows");
    json_t *out = json_object(), *counts = json_object();
    static const char *const copied[] = {
        "parametrization", "verdict", "grow", "widths",
        "seeds",           "steps",   "lr",   "worst"
    };
    int count[MUP_VERDICT_COUNT] = { 0 };

    for (size_t i = 0; i < json_array_size(rows); i++)
        count[verdict_of(json_array_get(rows, i))]++;
    for (int i = 0; i < MUP_VERDICT_COUNT; i++)
        json_object_set_new(counts, mup_verdict_name(i),
                            json_integer(count[i]));
    for (size_t i = 0; i < sizeof(copied) / sizeof(*copied); i++) {
        json_t *v = json_object_get(check, copied[i]);

        json_object_set(out, copied[i], v ? v : json_null());
    }
    json_object_set_new(out, "counts", counts);
    json_object_set_new(out, "rows", worst_rows(rows));
    return out;
}

/* ---- panels ---------------------------------------------------------------
 */

/* The worst row, of one kind of quantity unless that is NULL, or NULL. */
static const json_t *worst_row(const json_t *check, const char *quantity)
{
    const json_t *rows = json_object_get(check, "rows"), *worst = NULL;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);

        if (quantity && strcmp(text(row, "quantity"), quantity))
            continue;
        worst = !worst || worse(row, worst) ? row : worst;
    }
    return worst;
}

#define MAX_CHECKS 8 /* parametrizations that libmup may know */

struct panels {
    const json_t *row[N_QUANTITIES + MAX_CHECKS]; /* names a tensor */
    int n;
};

static void add_panel(struct panels *p, const json_t *row)
{
    if (!row)
        return;
    for (int i = 0; i < p->n; i++)
        if (!strcmp(text(p->row[i], "name"), text(row, "name")))
            return;
    p->row[p->n++] = row;
}

/* Tensors of the picture, the same for every check: for each kind of quantity
 * the one that decided a check that did not pass, or else the worst of the
 * first check, and then what decided and has no place yet. */
static struct panels choose_panels(const json_t *const *check, int n)
{
    struct panels p = { .n = 0 };
    const json_t *decides[MAX_CHECKS] = { NULL };

    for (int k = 0; k < n; k++)
        if (strcmp(text(check[k], "verdict"),
                   mup_coord_overall_name(MUP_VERDICT_OK)))
            decides[k] = worst_row(check[k], NULL);
    for (int q = 0; q < N_QUANTITIES; q++) {
        const json_t *row = NULL;

        /* The later the check the more it must pass: muP's before SP's. */
        for (int k = 0; k < n; k++)
            if (decides[k] &&
                !strcmp(text(decides[k], "quantity"), quantities[q]))
                row = decides[k];
        add_panel(&p, row ? row : worst_row(check[0], quantities[q]));
    }
    for (int k = 0; k < n; k++)
        add_panel(&p, decides[k]);
    return p;
}

/* The block of one row; every row has one mean a width. */
static void put_row(FILE *out, const json_t *check, const json_t *row)
{
    const json_t *widths = json_object_get(check, "widths");
    const json_t *mean = json_object_get(row, "mean");

    fprintf(out, "# %s %s step %g: width mean\n",
            text(check, "parametrization"), text(row, "name"),
            number(row, "step"));
    for (size_t w = 0; w < json_array_size(widths); w++) {
        const json_t *v = json_array_get(mean, w);
        double value = json_is_number(v) ? json_number_value(v) : NAN;

        fprintf(out, "%g ", json_number_value(json_array_get(widths, w)));
        if (value > 0)
            fprintf(out, "%.10g\n", value);
        else
            fprintf(out, "NaN\n"); /* the axis is logarithmic */
    }
    fprintf(out, "\n\n");
}

/* All steps of name, none where the check lacks it; the panel tells the worst,
 * which decides. */
static json_t *put_panel(FILE *out, const json_t *check, const char *name)
{
    const json_t *rows = json_object_get(check, "rows");
    const json_t *worst = NULL, *mean;
    json_t *steps = json_array();
    double lo = INFINITY, hi = 0;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);

        if (strcmp(text(row, "name"), name))
            continue;
        put_row(out, check, row);
        mean = json_object_get(row, "mean");
        for (size_t w = 0; w < json_array_size(mean); w++) {
            double v = json_number_value(json_array_get(mean, w));

            lo = v > 0 ? fmin(lo, v) : lo;
            hi = fmax(hi, v);
        }
        json_array_append_new(steps, report_number(number(row, "step")));
        worst = !worst || worse(row, worst) ? row : worst;
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:O, s:[o,o]}",
                     "parametrization", text(check, "parametrization"), "name",
                     name, "quantity", text(worst, "quantity"), "slope",
                     report_number(number(worst, "slope")), "step",
                     report_number(number(worst, "step")), "verdict",
                     text(worst, "verdict"), "steps", steps, "widths",
                     json_object_get(check, "widths"), "range",
                     report_number(lo), report_number(hi));
}

static int write_panels(const char *dir, const json_t *const *check, int n,
                        json_t *panels, struct mup_error *err)
{
    char path[1024];
    const struct panels p = choose_panels(check, n);
    struct file_replace f;
    int rc;

    snprintf(path, sizeof(path), "%s/plots", dir);
    rc = file_make_dirs(path, err);
    snprintf(path, sizeof(path), "%s/plots/coord.dat", dir);
    if (rc == MUP_OK)
        rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < p.n; i++)
            json_array_append_new(
                panels, put_panel(f.out, check[k], text(p.row[i], "name")));
    return file_replace_commit(&f, err);
}

/* NULL and MUP_OK where no check was made. */
static int load_check(const char *dir, const char *name, json_t **out,
                      struct mup_error *err)
{
    char path[1024];
    json_error_t where;
    int depths;

    *out = NULL;
    snprintf(path, sizeof(path), "%s/coord-%s/coord.json", dir, name);
    if (access(path, F_OK) != 0)
        return MUP_OK;
    *out = json_load_file(path, 0, &where);
    if (json_is_array(json_object_get(*out, "rows")) &&
        json_is_array(json_object_get(*out, "widths")))
        return MUP_OK;
    depths = json_is_array(json_object_get(*out, "depths"));
    json_decref(*out);
    *out = NULL;
    if (depths)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' compares depths, where the report shows widths; "
                        "write it elsewhere with -o",
                        path);
    return mup_fail(err, MUP_CORRUPT,
                    "'%s' is not a coordinate check, run coord-check again",
                    path);
}

int report_write_coord(const char *sweep, const char *dir, json_t **checks,
                       json_t **panels, struct mup_error *err)
{
    json_t *check[MAX_CHECKS] = { NULL }, *sums = json_array();
    json_t *shown = json_array();
    int n = 0, rc = MUP_OK;

    for (int p = 0; p < MAX_CHECKS && rc == MUP_OK; p++) {
        const char *name = mup_parametrization_name(p);

        if (!strcmp(name, "unknown"))
            break;
        rc = load_check(sweep, name, &check[n], err);
        if (rc != MUP_OK || !check[n])
            continue;
        json_array_append_new(sums, summary(check[n]));
        n++;
    }
    if (rc == MUP_OK && n > 0)
        rc = write_panels(dir, (const json_t *const *)check, n, shown, err);
    for (int k = 0; k < MAX_CHECKS; k++)
        json_decref(check[k]);
    if (rc != MUP_OK) {
        json_decref(sums);
        json_decref(shown);
        return rc;
    }
    *checks = sums;
    *panels = shown;
    return MUP_OK;
}
