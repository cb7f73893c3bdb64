#include "sweep/report_data.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model/config.h"
#include "sweep/csv.h"
#include "sweep/store.h"

#define MIN_RATES 3 /* of a slice that can show a curve */

/* ---- trials ---------------------------------------------------------------
 */

/* Hash of all values that decide a run's result except what the report
 * compares. */
static uint64_t slice_of(const struct axes *axes,
                         const struct run_config *config)
{
    const char *const compared[] = { axes->over.key, axes->of.key,
                                     axes->by.key };
    uint64_t hash = 0;

    for (const struct section *s = run_schema.sections; s->name; s++)
        for (const struct field *f = s->fields; f->key; f++) {
            char key[128], text[FIELD_TEXT_BYTES];
            int skip = f->role == ROLE_RUN;

            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            for (size_t i = 0; i < sizeof(compared) / sizeof(*compared); i++)
                skip |= !strcmp(key, compared[i]);
            if (skip)
                continue;
            config_text(s, f, config, text, sizeof(text));
            hash = XXH3_64bits_withSeed(key, strlen(key), hash);
            hash = XXH3_64bits_withSeed(text, strlen(text), hash);
        }
    return hash;
}

/* The value of a numeric key, whose logarithm is taken. */
static int take_value(const struct trial *t, const char *key,
                      const struct run_config *config, double *out,
                      struct mup_error *err)
{
    const struct section *s;
    const struct field *f = config_find(&run_schema, key, &s);
    const char *at = (const char *)config + s->offset + f->offset;

    *out = f->type == FIELD_INT ? (double)*(const int64_t *)(const void *)at
                                : *(const double *)(const void *)at;
    if (*out > 0)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "trial %lld has %s %g, but drift is counted in octaves, "
                    "for which every value must be above 0",
                    (long long)t->id, key, *out);
}

int report_data_group(struct report_data *d, const char *name)
{
    for (int i = 0; i < d->n_groups; i++)
        if (!strcmp(d->group[i], name))
            return i;
    if (d->n_groups == REPORT_MAX_GROUPS)
        return -1;
    snprintf(d->group[d->n_groups], REPORT_NAME_BYTES, "%s", name);
    return d->n_groups++;
}

static int take_group(struct report_data *d, const struct run_config *config,
                      int *out, struct mup_error *err)
{
    const struct section *s;
    const struct field *f = config_find(&run_schema, d->axes.by.key, &s);
    char text[FIELD_TEXT_BYTES];

    config_text(s, f, config, text, sizeof(text));
    if (!*text || strlen(text) >= REPORT_NAME_BYTES || *csv_bad_name(text))
        return mup_fail(err, MUP_USAGE,
                        "--by: a value of '%s' makes no name of a group; one "
                        "has 1 to %d bytes and no control character",
                        d->axes.by.key, REPORT_NAME_BYTES - 1);
    *out = report_data_group(d, text);
    if (*out >= 0)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "--by: '%s' has more than the %d values that a report "
                    "compares",
                    d->axes.by.key, REPORT_MAX_GROUPS);
}

/* A trial that shares another's result still has a config of its own. */
static int add_run(struct report_data *d, const struct trial *t,
                   struct mup_error *err)
{
    struct report_run *r = &d->run[d->n];
    struct run_config config;
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/trials/%lld/config.yaml", d->sweep,
             (long long)t->id);
    rc = run_config_load(path, NULL, 0, &config, err);
    if (rc == MUP_OK)
        rc = take_value(t, d->axes.over.key, &config, &r->width, err);
    if (rc == MUP_OK)
        rc = take_value(t, d->axes.of.key, &config, &r->lr, err);
    if (rc == MUP_OK)
        rc = take_group(d, &config, &r->group, err);
    if (rc != MUP_OK)
        return rc;
    r->trial = t->twin ? t->twin : t->id;
    r->model_width = (double)config.model.width;
    r->seed = t->seed;
    r->value = t->state == TRIAL_DONE ? t->value : NAN;
    r->val_loss = t->state == TRIAL_DONE ? t->val_loss : NAN;
    r->steps = config.train.steps;
    r->slice = slice_of(&d->axes, &config);
    d->n++;
    return MUP_OK;
}

static void count(struct report_data *d, const struct trial *t)
{
    d->trials++;
    d->done += t->state == TRIAL_DONE;
    d->diverged += t->state == TRIAL_DIVERGED;
    d->failed += t->state == TRIAL_FAILED;
    d->waiting += t->state == TRIAL_WAITING || t->state == TRIAL_RUNNING;
}

/* The store keeps the metric's value beside all that it could be. */
static void name_metric(struct report_data *d, const struct trial *t, int64_t n)
{
    int val = 1, bpb = 1, any = 0;

    for (int64_t i = 0; i < n; i++) {
        if (t[i].state != TRIAL_DONE)
            continue;
        any = 1;
        val &= t[i].value == t[i].val_loss;
        bpb &= t[i].value == t[i].val_bpb;
    }
    snprintf(d->metric, sizeof(d->metric), "%s",
             !any || val ? "validation loss (nats per token)"
             : bpb       ? "validation loss (bits per byte)"
                         : "training loss (nats per token)");
}

/* Rates of one curve of the slice, at the width and in the group of a. */
static int rates_of(const struct report_data *d, const struct report_run *a)
{
    int n = 0;

    for (int i = 0; i < d->n; i++) {
        const struct report_run *r = &d->run[i];
        int seen = 0;

        if (r->slice != a->slice || r->width != a->width ||
            r->group != a->group)
            continue;
        for (int k = 0; k < i && !seen; k++)
            seen = d->run[k].slice == a->slice && d->run[k].lr == r->lr &&
                   d->run[k].width == a->width && d->run[k].group == a->group;
        n += !seen;
    }
    return n;
}

/* Where a group stands: choices as the key lists them, numbers by size. */
static double rank_of(const struct field *f, const char *name)
{
    const char *p = f->range;
    size_t n = strlen(name);
    double value = 0;

    if (f->type == FIELD_INT || f->type == FIELD_REAL)
        return parse_real(name, &value, NULL) == MUP_OK ? value : 0;
    for (int i = 0; f->type == FIELD_CHOICE && p && *p; i++) {
        if (!strncmp(p, name, n) && (p[n] == '|' || p[n] == '\0'))
            return i;
        p = strchr(p, '|');
        p = p ? p + 1 : NULL;
    }
    return 0;
}

static void swap_groups(struct report_data *d, int a, int b)
{
    char name[REPORT_NAME_BYTES];

    memcpy(name, d->group[a], sizeof(name));
    memcpy(d->group[a], d->group[b], sizeof(name));
    memcpy(d->group[b], name, sizeof(name));
    for (int i = 0; i < d->n; i++) {
        int *group = &d->run[i].group;

        *group = *group == a ? b : *group == b ? a : *group;
    }
}

static void sort_groups(struct report_data *d)
{
    const struct field *f = config_find(&run_schema, d->axes.by.key, NULL);

    for (int i = 1; i < d->n_groups; i++)
        for (int k = i;
             k > 0 && rank_of(f, d->group[k - 1]) > rank_of(f, d->group[k]);
             k--)
            swap_groups(d, k - 1, k);
}

int report_main_group(const struct axes_by *by,
                      const char (*name)[REPORT_NAME_BYTES], int n)
{
    int other = -1;

    for (int i = 0; i < n; i++) {
        int control =
            by->rules && !strcmp(name[i], mup_parametrization_name(MUP_SP));

        if (*by->main && !strcmp(name[i], by->main))
            return i;
        if (other < 0 && !control)
            other = i;
    }
    return other < 0 && n > 0 ? 0 : other;
}

static int main_group(const struct report_data *d)
{
    return report_main_group(&d->axes.by, d->group, d->n_groups);
}

/* Where other hyperparameters vary too, the curves are those at the best
 * value of the others: the slice of the best run at the largest width, in the
 * group whose verdict counts. */
static void choose_slice(struct report_data *d)
{
    const struct report_run *best = NULL;
    int slices = 1, kept = 0, top = main_group(d);
    uint64_t slice;

    for (int i = 0; i < d->n; i++)
        slices += d->run[i].slice != d->run[0].slice;
    if (d->n == 0 || slices == 1)
        return;
    for (int i = 0; i < d->n; i++) {
        const struct report_run *r = &d->run[i];

        if (!isfinite(r->value) || r->group != top)
            continue;
        if (!best || r->width > best->width ||
            (r->width == best->width && r->value < best->value))
            best = r;
    }
    if (!best || rates_of(d, best) < MIN_RATES) {
        snprintf(d->note, sizeof(d->note),
                 "other hyperparameters vary together with the %s, so the "
                 "curves carry their scatter: a grid over %s alone shows "
                 "transfer best",
                 d->axes.of.word, d->axes.of.key);
        return;
    }
    slice = best->slice;
    for (int i = 0; i < d->n; i++)
        if (d->run[i].slice == slice)
            d->run[kept++] = d->run[i];
    snprintf(d->note, sizeof(d->note),
             "other hyperparameters vary too: the curves show the %d of %d "
             "runs that share the values of the best one (trial %lld)",
             kept, d->n, (long long)best->trial);
    d->n = kept;
}

/* A sweep without learning rates still has a report, of loss over width. */
static int check_tuned(const struct report_data *d, struct mup_error *err)
{
    const struct axes usual = axes_usual();

    for (int i = 1; i < d->n; i++)
        if (d->run[i].lr != d->run[0].lr)
            return MUP_OK;
    if (d->n == 0 || !strcmp(d->axes.of.key, usual.of.key))
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "--of: every run has %s %g; name a key that the sweep "
                    "tuned",
                    d->axes.of.key, d->run[0].lr);
}

int report_data_open(const struct report_request *request,
                     struct report_data *out, struct mup_error *err)
{
    struct report_data d = { .axes = request->axes,
                             .sweep = request->sweep,
                             .dir = request->out };
    struct store *store;
    struct trial *trials = NULL;
    int64_t n = 0;
    int rc = store_open_readonly(d.sweep, &store, err);

    if (rc != MUP_OK)
        return rc;
    rc = store_trials(store, &trials, &n, err);
    if (rc == MUP_OK)
        rc = store_property(store, "name", d.name, sizeof(d.name), err);
    if (rc == MUP_OK)
        rc =
            store_property(store, "created", d.created, sizeof(d.created), err);
    store_close(store);
    if (rc == MUP_OK) {
        d.run = calloc(n > 0 ? (size_t)n : 1, sizeof(*d.run));
        if (!d.run)
            rc = mup_fail(err, MUP_SYSTEM, "out of memory for %lld trials",
                          (long long)n);
    }
    for (int64_t i = 0; i < n && rc == MUP_OK; i++) {
        count(&d, &trials[i]);
        if (trials[i].state == TRIAL_DONE || trials[i].state == TRIAL_DIVERGED)
            rc = add_run(&d, &trials[i], err);
    }
    if (rc == MUP_OK)
        rc = check_tuned(&d, err);
    if (rc == MUP_OK) {
        name_metric(&d, trials, n);
        sort_groups(&d);
        choose_slice(&d);
        *out = d;
    } else {
        report_data_close(&d);
    }
    free(trials);
    return rc;
}

void report_data_close(struct report_data *d)
{
    free(d->run);
    *d = (struct report_data){ 0 };
}

/* ---- logged steps ---------------------------------------------------------
 */

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static int grow(struct report_series *s, int *room)
{
    size_t n = *room ? 2 * (size_t)*room : 256;
    double **column[] = { &s->step, &s->tokens, &s->loss, &s->val_loss };
    json_t **line;

    if (s->n < *room)
        return 1;
    for (size_t i = 0; i < sizeof(column) / sizeof(*column); i++) {
        double *p = realloc(*column[i], n * sizeof(*p));

        if (!p)
            return 0;
        *column[i] = p;
    }
    line = realloc(s->line, n * sizeof(*line));
    if (!line)
        return 0;
    s->line = line;
    *room = (int)n;
    return 1;
}

static void append(struct report_series *s, json_t *line)
{
    double step = number(line, "step");

    while (s->n > 0 && s->step[s->n - 1] >= step)
        json_decref(s->line[--s->n]);
    s->step[s->n] = step;
    s->tokens[s->n] = number(line, "tokens");
    s->loss[s->n] = number(line, "loss");
    s->val_loss[s->n] = number(line, "val_loss");
    s->line[s->n++] = line;
}

int report_series_open(const char *path, struct report_series *out,
                       struct mup_error *err)
{
    struct report_series s = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    ssize_t got;
    int room = 0, ok = 1;
    FILE *f = fopen(path, "r");

    if (!f && errno == ENOENT) {
        *out = s;
        return MUP_OK;
    }
    if (!f)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", path,
                        strerror(errno));
    while (ok && (got = getline(&text, &bytes, f)) > 0) {
        json_t *line;

        if (text[got - 1] != '\n')
            break; /* being written, or torn by a crash */
        line = json_loadb(text, (size_t)got, 0, NULL);
        if (!json_is_object(line) || !isfinite(number(line, "step"))) {
            json_decref(line);
            continue;
        }
        ok = grow(&s, &room);
        if (ok)
            append(&s, line);
        else
            json_decref(line);
    }
    free(text);
    (void)fclose(f); /* only read from */
    if (!ok) {
        report_series_close(&s);
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    }
    *out = s;
    return MUP_OK;
}

void report_series_close(struct report_series *s)
{
    for (int i = 0; i < s->n; i++)
        json_decref(s->line[i]);
    free(s->step);
    free(s->tokens);
    free(s->loss);
    free(s->val_loss);
    free(s->line);
    *s = (struct report_series){ 0 };
}
