#include "sweep/report_data.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model/config.h"
#include "sweep/store.h"

#define MIN_RATES 3 /* of a slice that can show a curve */

/* ---- trials ---------------------------------------------------------------
 */

/* Hash of all values that decide a run's result except the learning rate and
 * what the report compares. */
static uint64_t slice_of(const struct run_config *config)
{
    static const char *const compared[] = { "train.lr", "model.width",
                                            "mup.parametrization" };
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

static int add_run(struct report_data *d, const struct trial *t,
                   struct mup_error *err)
{
    struct report_run *r = &d->run[d->n];
    struct run_config config;
    char path[1100];
    int rc;

    r->trial = t->twin ? t->twin : t->id;
    snprintf(path, sizeof(path), "%s/trials/%lld/config.yaml", d->dir,
             (long long)r->trial);
    rc = run_config_load(path, NULL, 0, &config, err);
    if (rc != MUP_OK)
        return rc;
    r->group = t->parametrization;
    r->width = (double)t->width;
    r->lr = config.train.lr;
    r->seed = t->seed;
    r->value = t->state == TRIAL_DONE ? t->value : NAN;
    r->val_loss = t->state == TRIAL_DONE ? t->val_loss : NAN;
    r->steps = config.train.steps;
    r->slice = slice_of(&config);
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

/* Groups of a study have the numbers of libmup. */
static void name_groups(struct report_data *d)
{
    const char *name;

    while (d->n_groups < REPORT_MAX_GROUPS &&
           strcmp(name = mup_parametrization_name(d->n_groups), "unknown"))
        snprintf(d->group[d->n_groups++], REPORT_NAME_BYTES, "%s", name);
}

/* Where other hyperparameters vary too, the curves are those at the best
 * value of the others: the slice of the best run at the widest width, under
 * muP where it was run. */
static void choose_slice(struct report_data *d)
{
    const struct report_run *best = NULL;
    int slices = 1, kept = 0, top = MUP_SP;
    uint64_t slice;

    for (int i = 0; i < d->n; i++) {
        int group = d->run[i].group;

        slices += d->run[i].slice != d->run[0].slice;
        if (top != MUP_MUP && (group > top || group == MUP_MUP))
            top = group;
    }
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
                 "other hyperparameters vary together with the learning rate, "
                 "so the curves carry their scatter: a grid over train.lr "
                 "alone shows transfer best");
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

int report_data_open(const char *dir, struct report_data *out,
                     struct mup_error *err)
{
    struct report_data d = { .dir = dir };
    struct store *store;
    struct trial *trials = NULL;
    int64_t n = 0;
    int rc = store_open_readonly(dir, &store, err);

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
    if (rc == MUP_OK) {
        name_metric(&d, trials, n);
        name_groups(&d);
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
