#include "sweep/report_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/config.h"
#include "sweep/fit.h"

#define MAX_POINTS 400 /* of a loss curve */
#define MAX_STEPS  160 /* columns of the heat map */
#define FIT_POINTS 61

json_t *report_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

int report_open_data(const char *dir, const char *name, struct file_replace *f,
                     struct mup_error *err)
{
    char path[1024];

    if (snprintf(path, sizeof(path), "%s/plots", dir) >= (int)sizeof(path) - 32)
        return mup_fail(err, MUP_USAGE, "the path '%s' is too long", dir);
    if (file_make_dirs(path, err) != MUP_OK)
        return MUP_SYSTEM;
    snprintf(path, sizeof(path), "%s/plots/%s", dir, name);
    return file_replace_open(path, f, err);
}

/* gnuplot reads NaN, and C may print "-nan". */
void report_put_number(FILE *out, double value, char end)
{
    if (isfinite(value))
        fprintf(out, "%.10g%c", value, end);
    else
        fprintf(out, "NaN%c", end);
}

const struct report_run *report_best(const struct report_data *data, int group,
                                     double width)
{
    const struct report_run *best = NULL;

    for (int i = 0; i < data->n; i++) {
        const struct report_run *r = &data->run[i];

        if (r->group == group && r->width == width && isfinite(r->value) &&
            (!best || r->value < best->value))
            best = r;
    }
    return best;
}

/* ---- learning-rate curves -------------------------------------------------
 */

static int by_rate(const void *a, const void *b)
{
    double p = (*(const struct report_run *const *)a)->lr;
    double q = (*(const struct report_run *const *)b)->lr;

    return p < q ? -1 : p > q;
}

/* One line a rate: mean and standard error over the seeds that survived. */
static void put_rate(FILE *out, const struct report_run **run, int n)
{
    double sum = 0, squares = 0;
    int sound = 0;

    for (int i = 0; i < n; i++)
        if (isfinite(run[i]->value)) {
            sum += run[i]->value;
            sound++;
        }
    for (int i = 0; i < n; i++)
        if (isfinite(run[i]->value))
            squares +=
                (run[i]->value - sum / sound) * (run[i]->value - sum / sound);
    report_put_number(out, run[0]->lr, ' ');
    report_put_number(out, sound ? sum / sound : NAN, ' ');
    report_put_number(
        out, sound > 1 ? sqrt(squares / (sound - 1) / sound) : NAN, ' ');
    fprintf(out, "%d %d\n", sound, n - sound);
}

static int put_curve(FILE *out, const struct report_data *data, int group,
                     double width, struct mup_error *err)
{
    const struct report_run **run = calloc((size_t)data->n + 1, sizeof(*run));
    int n = 0;

    if (!run)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d runs", data->n);
    for (int i = 0; i < data->n; i++)
        if (data->run[i].group == group && data->run[i].width == width)
            run[n++] = &data->run[i];
    qsort(run, (size_t)n, sizeof(*run), by_rate);
    fprintf(out, "# %s %s: %s loss sem seeds diverged\n",
            axes_group(&data->axes, data->group[group]).text,
            axes_at(&data->axes, width).text, axes_leaf(data->axes.of.key));
    for (int i = 0, j; i < n; i = j) {
        for (j = i; j < n && run[j]->lr == run[i]->lr; j++)
            ;
        put_rate(out, run + i, j - i);
    }
    fprintf(out, "\n\n");
    free(run);
    return MUP_OK;
}

static int write_lr(const struct report_data *data, const struct report *r,
                    struct mup_error *err)
{
    struct file_replace f;
    int rc = report_open_data(data->dir, "lr.dat", &f, err);

    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < r->n_parametrizations && rc == MUP_OK; i++)
        for (int w = 0; w < r->transfer[i].n_widths && rc == MUP_OK; w++)
            rc = put_curve(f.out, data, r->group[i],
                           r->transfer[i].optimum[w].width, err);
    if (rc == MUP_OK)
        return file_replace_commit(&f, err);
    file_replace_abandon(&f);
    return rc;
}

/* The polynomial inside its window: beyond it means nothing. */
static void put_fit(FILE *out, const struct axes *axes, const char *name,
                    const struct transfer_optimum *o)
{
    fprintf(out, "# %s %s: %s loss\n", axes_group(axes, name).text,
            axes_at(axes, o->width).text, axes_leaf(axes->of.key));
    for (int i = 0; i < FIT_POINTS && o->degree > 0; i++) {
        double x =
            o->window_lo + (o->window_hi - o->window_lo) * i / (FIT_POINTS - 1);

        report_put_number(out, exp2(x), ' ');
        report_put_number(out, exp(fit_value(o->coefficient, x - o->center)),
                          '\n');
    }
    if (o->degree == 0)
        fprintf(out, "NaN NaN\n");
    fprintf(out, "\n\n");
}

static int write_fit(const struct report_data *data, const struct report *r,
                     struct mup_error *err)
{
    struct file_replace f;
    int rc = report_open_data(data->dir, "fit.dat", &f, err);

    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < r->n_parametrizations; i++)
        for (int w = 0; w < r->transfer[i].n_widths; w++)
            put_fit(f.out, &r->axes, r->name[i], &r->transfer[i].optimum[w]);
    return file_replace_commit(&f, err);
}

static int write_optimum(const struct report_data *data, const struct report *r,
                         struct mup_error *err)
{
    struct file_replace f;
    int rc = report_open_data(data->dir, "optimum.dat", &f, err);

    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < r->n_parametrizations; i++) {
        fprintf(f.out, "# %s: %s %s lo hi loss edge degree\n",
                axes_group(&r->axes, r->name[i]).text,
                axes_leaf(r->axes.over.key), axes_leaf(r->axes.of.key));
        for (int w = 0; w < r->transfer[i].n_widths; w++) {
            const struct transfer_optimum *o = &r->transfer[i].optimum[w];

            report_put_number(f.out, o->width, ' ');
            report_put_number(f.out, exp2(o->log2_lr), ' ');
            report_put_number(f.out, exp2(o->log2_lr_lo), ' ');
            report_put_number(f.out, exp2(o->log2_lr_hi), ' ');
            report_put_number(f.out, o->loss, ' ');
            fprintf(f.out, "%d %d\n", o->edge, o->degree);
        }
        fprintf(f.out, "\n\n");
    }
    return file_replace_commit(&f, err);
}

int report_write_curves(const struct report_data *data, const struct report *r,
                        struct mup_error *err)
{
    int rc = write_lr(data, r, err);

    if (rc == MUP_OK)
        rc = write_fit(data, r, err);
    if (rc == MUP_OK)
        rc = write_optimum(data, r, err);
    return rc;
}

/* ---- loss curves ----------------------------------------------------------
 */

/* At most MAX_POINTS lines, each the mean of its share of the steps. */
void report_put_losses(FILE *out, const struct report_series *s)
{
    int lines = s->n < MAX_POINTS ? s->n : MAX_POINTS;

    for (int k = 0; k < lines; k++) {
        int from = (int)((int64_t)s->n * k / lines);
        int to = (int)((int64_t)s->n * (k + 1) / lines), n = 0;
        double sum = 0, val = NAN;

        for (int i = from; i < to; i++) {
            if (isfinite(s->loss[i])) {
                sum += s->loss[i];
                n++;
            }
            val = isfinite(s->val_loss[i]) ? s->val_loss[i] : val;
        }
        report_put_number(out, s->tokens[to - 1], ' ');
        report_put_number(out, n ? sum / n : NAN, ' ');
        report_put_number(out, val, '\n');
    }
    if (lines == 0)
        fprintf(out, "NaN NaN NaN\n");
    fprintf(out, "\n\n");
}

/* A block: the run in dir, of a group and at a width. */
struct block {
    char dir[1100];
    const char *name;
    double width;
    int target;
};

static int put_run(FILE *out, const struct axes *axes, const struct block *b,
                   json_t *blocks, struct mup_error *err)
{
    char path[1200], label[2 * sizeof(struct phrase) + 8] = "target";
    const struct phrase group = axes_group(axes, b->name);
    const struct phrase place = axes_at(axes, b->width);
    struct report_series s;
    int rc;

    snprintf(path, sizeof(path), "%s/metrics.jsonl", b->dir);
    rc = report_series_open(path, &s, err);
    if (rc != MUP_OK || s.n == 0)
        return rc;
    if (!b->target && axes_are_usual(axes))
        snprintf(label, sizeof(label), "%s %g", group.text, b->width);
    else if (!b->target)
        snprintf(label, sizeof(label), "%s, %s", group.text, place.text);
    fprintf(out, "# %s: tokens loss val_loss\n", label);
    report_put_losses(out, &s);
    rc = json_array_append_new(
        blocks,
        json_pack("{s:s, s:s, s:s, s:s, s:f, s:b}", "label", label,
                  "parametrization", b->name, "group", group.text, "place",
                  place.text, "width", b->width, "target", b->target));
    report_series_close(&s);
    return rc ? mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path)
              : MUP_OK;
}

static int put_target(FILE *out, const struct report_data *data, json_t *blocks,
                      struct mup_error *err)
{
    char path[1100];
    struct run_config config;
    struct block b = { .target = 1 };
    int rc;

    snprintf(path, sizeof(path), "%s/target/config.yaml", data->sweep);
    if (access(path, F_OK) != 0)
        return MUP_OK;
    rc = run_config_load(path, NULL, 0, &config, err);
    if (rc != MUP_OK)
        return rc;
    b.name = mup_parametrization_name(config.mup.parametrization);
    b.width = (double)config.model.width;
    snprintf(b.dir, sizeof(b.dir), "%s/target", data->sweep);
    return put_run(out, &data->axes, &b, blocks, err);
}

static int put_all_runs(FILE *out, const struct report_data *data,
                        const struct report *r, json_t *blocks,
                        struct mup_error *err)
{
    int rc = MUP_OK;

    for (int i = 0; i < r->n_parametrizations; i++)
        for (int w = 0; w < r->transfer[i].n_widths && rc == MUP_OK; w++) {
            struct block b = { .name = r->name[i],
                               .width = r->transfer[i].optimum[w].width };
            const struct report_run *best =
                report_best(data, r->group[i], b.width);

            if (!best)
                continue;
            snprintf(b.dir, sizeof(b.dir), "%s/trials/%lld", data->sweep,
                     (long long)best->trial);
            rc = put_run(out, &data->axes, &b, blocks, err);
        }
    if (rc == MUP_OK && axes_are_usual(&data->axes))
        rc = put_target(out, data, blocks, err);
    return rc;
}

int report_write_losses(const struct report_data *data, const struct report *r,
                        json_t **out, struct mup_error *err)
{
    json_t *blocks = json_array();
    struct file_replace f;
    int rc = report_open_data(data->dir, "loss.dat", &f, err);

    if (rc != MUP_OK) {
        json_decref(blocks);
        return rc;
    }
    rc = put_all_runs(f.out, data, r, blocks, err);
    if (rc == MUP_OK)
        rc = file_replace_commit(&f, err);
    else
        file_replace_abandon(&f);
    if (rc == MUP_OK)
        *out = blocks;
    else
        json_decref(blocks);
    return rc;
}

/* ---- expert load ----------------------------------------------------------
 */

static double at(const json_t *line, const char *key, int layer, int expert)
{
    const json_t *v = json_array_get(json_object_get(line, key), layer);

    if (expert >= 0)
        v = json_array_get(v, expert);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Mean of a logged number over lines [from,to). */
static double mean_of(const struct report_series *s, int from, int to,
                      const char *key, int layer, int expert)
{
    double sum = 0;
    int n = 0;

    for (int i = from; i < to; i++) {
        double v = at(s->line[i], key, layer, expert);

        if (isfinite(v)) {
            sum += v;
            n++;
        }
    }
    return n ? sum / n : NAN;
}

static void put_layer(FILE *out, const struct report_series *s, int layer,
                      int experts)
{
    int columns = s->n < MAX_STEPS ? s->n : MAX_STEPS;

    fprintf(out, "# layer %d: step expert load (1 = an even share)\n", layer);
    for (int k = 0; k < columns; k++) {
        int from = (int)((int64_t)s->n * k / columns);
        int to = (int)((int64_t)s->n * (k + 1) / columns);

        for (int e = 0; e < experts; e++) {
            fprintf(out, "%.10g %d ", s->step[to - 1], e);
            report_put_number(
                out, experts * mean_of(s, from, to, "expert_load", layer, e),
                '\n');
        }
        fprintf(out, "\n");
    }
    fprintf(out, "\n# layer %d: step max/mean dead entropy\n", layer);
    for (int k = 0; k < columns; k++) {
        int from = (int)((int64_t)s->n * k / columns);
        int to = (int)((int64_t)s->n * (k + 1) / columns);

        report_put_number(out, s->step[to - 1], ' ');
        report_put_number(out, mean_of(s, from, to, "load_max", layer, -1),
                          ' ');
        report_put_number(out, mean_of(s, from, to, "dead", layer, -1), ' ');
        report_put_number(out, mean_of(s, from, to, "gate_entropy", layer, -1),
                          '\n');
    }
    fprintf(out, "\n\n");
}

/* The target, or the best run of the widest width, muP if there is. */
static int open_load_run(const struct report_data *data, const struct report *r,
                         struct report_series *s, char *label, size_t bytes,
                         struct mup_error *err)
{
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/target/metrics.jsonl", data->sweep);
    snprintf(label, bytes, "target");
    rc = report_series_open(path, s, err);
    if (rc != MUP_OK || s->n > 0 || r->n_parametrizations == 0)
        return rc;
    for (int i = r->n_parametrizations - 1; i >= 0; i--) {
        const struct transfer_report *t = &r->transfer[i];
        const struct report_run *best;
        double width;

        if (t->n_widths == 0)
            continue;
        width = t->optimum[t->n_widths - 1].width;
        best = report_best(data, r->group[i], width);
        if (!best)
            continue;
        snprintf(label, bytes, "%s %s", axes_group(&r->axes, r->name[i]).text,
                 axes_at(&r->axes, width).text);
        snprintf(path, sizeof(path), "%s/trials/%lld/metrics.jsonl",
                 data->sweep, (long long)best->trial);
        return report_series_open(path, s, err);
    }
    return MUP_OK;
}

int report_write_load(const struct report_data *data, const struct report *r,
                      json_t **out, struct mup_error *err)
{
    struct report_series s;
    struct file_replace f;
    char label[2 * sizeof(struct phrase)];
    const json_t *load = NULL;
    int layers, experts, rc;

    rc = open_load_run(data, r, &s, label, sizeof(label), err);
    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < s.n && !load; i++)
        load = json_object_get(s.line[i], "expert_load");
    layers = (int)json_array_size(load);
    experts = (int)json_array_size(json_array_get(load, 0));
    if (layers == 0 || experts == 0 || s.n < 2) {
        report_series_close(&s);
        *out = json_null();
        return MUP_OK;
    }
    rc = report_open_data(data->dir, "load.dat", &f, err);
    if (rc == MUP_OK) {
        for (int l = 0; l < layers; l++)
            put_layer(f.out, &s, l, experts);
        rc = file_replace_commit(&f, err);
    }
    if (rc == MUP_OK)
        *out = json_pack("{s:s, s:i, s:i, s:f, s:f}", "label", label, "layers",
                         layers, "experts", experts, "first_step", s.step[0],
                         "last_step", s.step[s.n - 1]);
    report_series_close(&s);
    return rc;
}
