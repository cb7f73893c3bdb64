/* trials.csv, configs.csv and best.yaml (docs/formats.md). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/file.h"
#include "sweep/csv.h"
#include "sweep/driver.h"

struct export
{
    const char *dir;
    struct space space;
    struct trial *trials;
    int64_t n;
};

static void put_text(FILE *out, const char *text)
{
    fputc(',', out);
    csv_put_text(out, text);
}

/* NaN is an empty field. */
static void put_real(FILE *out, double value)
{
    char text[40];

    if (isnan(value)) {
        fputc(',', out);
        return;
    }
    format_real(value, text, sizeof(text));
    fprintf(out, ",%s", text);
}

static void put_int(FILE *out, int64_t value)
{
    fprintf(out, ",%lld", (long long)value);
}

static void put_keys(FILE *out, const struct space *space)
{
    for (int g = 0; g < space->n_groups; g++)
        fprintf(out, ",group.%s", space->group[g].key);
    for (int p = 0; p < space->n_parameters; p++)
        fprintf(out, ",param.%s", space->parameter[p].key);
}

static void put_values(FILE *out, const struct space *space,
                       const struct trial *t)
{
    for (int g = 0; g < space->n_groups; g++)
        put_text(out, space_member_text(space, t->member, g));
    for (int p = 0; p < space->n_parameters; p++)
        put_text(out, t->point.value[p]);
}

static void write_trials(const struct export *e, FILE *out)
{
    fputs("trial,study,config,member,seed", out);
    put_keys(out, &e->space);
    fputs(",state,value,loss,val_loss,val_bpb,steps,tokens,flops,wall_s,"
          "attempt,same_as,error\n",
          out);
    for (int64_t i = 0; i < e->n; i++) {
        const struct trial *t = &e->trials[i];

        fprintf(out, "%lld", (long long)t->id);
        put_text(out, e->space.sweep.name);
        put_int(out, t->config);
        put_int(out, t->member);
        put_int(out, t->seed);
        put_values(out, &e->space, t);
        put_text(out, trial_state_name(t->state));
        put_real(out, t->value);
        put_real(out, t->loss);
        put_real(out, t->val_loss);
        put_real(out, t->val_bpb);
        put_int(out, t->steps);
        put_int(out, t->tokens);
        put_real(out, t->flops);
        put_real(out, t->wall_s);
        put_int(out, t->attempt);
        if (t->twin)
            put_int(out, t->twin);
        else
            fputc(',', out);
        put_text(out, t->error);
        fputc('\n', out);
    }
}

static int by_config_and_member(const void *a, const void *b)
{
    const struct trial *x = a, *y = b;

    if (x->config != y->config)
        return x->config < y->config ? -1 : 1;
    if (x->member != y->member)
        return x->member < y->member ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* One row: the seeds first..last of one configuration on one member. */
static void write_config_row(const struct export *e, int64_t first,
                             int64_t last, FILE *out)
{
    const struct trial *t = &e->trials[first];
    int64_t n = 0, diverged = 0, failed = 0;
    double sum = 0, squares = 0, mean;

    for (int64_t i = first; i <= last; i++) {
        n += e->trials[i].state == TRIAL_DONE;
        diverged += e->trials[i].state == TRIAL_DIVERGED;
        failed += e->trials[i].state == TRIAL_FAILED;
        if (e->trials[i].state == TRIAL_DONE)
            sum += e->trials[i].value;
    }
    mean = n ? sum / (double)n : (double)NAN;
    for (int64_t i = first; i <= last; i++)
        if (e->trials[i].state == TRIAL_DONE)
            squares +=
                (e->trials[i].value - mean) * (e->trials[i].value - mean);
    fprintf(out, "%lld", (long long)t->config);
    put_int(out, t->member);
    put_values(out, &e->space, t);
    put_int(out, n);
    put_real(out, mean);
    /* Standard error of the mean over seeds. */
    put_real(out,
             n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : (double)NAN);
    put_int(out, diverged);
    put_int(out, failed);
    fputc('\n', out);
}

/* Sorts the trials: call last. */
static void write_configs(const struct export *e, FILE *out)
{
    int64_t first = 0;

    fputs("config,member", out);
    put_keys(out, &e->space);
    fputs(",n,mean,sem,diverged,failed\n", out);
    if (e->n)
        qsort(e->trials, (size_t)e->n, sizeof(*e->trials),
              by_config_and_member);
    for (int64_t i = 0; i < e->n; i++)
        if (i + 1 == e->n || e->trials[i + 1].config != e->trials[i].config ||
            e->trials[i + 1].member != e->trials[i].member) {
            write_config_row(e, first, i, out);
            first = i + 1;
        }
}

static int write_file(const struct export *e, const char *name,
                      void (*write)(const struct export *e, FILE *out),
                      struct mup_error *err)
{
    struct file_replace f;
    char path[1000];
    int rc;

    snprintf(path, sizeof(path), "%.900s/%s", e->dir, name);
    rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    write(e, f.out);
    return file_replace_commit(&f, err);
}

/* The winner as a run config; no file where no trial has finished. */
static int write_best(const struct export *e, struct mup_error *err)
{
    static const char *const metrics[] = { "val_loss", "val_bpb", "loss" };
    struct run_config config;
    struct file_replace f;
    struct trial trial;
    char path[1000], value[40];
    int rc;

    snprintf(path, sizeof(path), "%.900s/best.yaml", e->dir);
    rc = sweep_winner(e->dir, &config, &trial, err);
    if (rc == MUP_NEGATIVE) {
        if (unlink(path) && errno != ENOENT)
            return mup_fail(err, MUP_SYSTEM, "cannot remove '%s': %s", path,
                            strerror(errno));
        return MUP_OK;
    }
    if (!rc)
        rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    format_real(trial.value, value, sizeof(value));
    fprintf(f.out,
            "# Winner of study '%s': trial %lld, configuration %lld, mean "
            "%s %s over its seeds; rule set %d.\n",
            e->space.sweep.name, (long long)trial.id, (long long)trial.config,
            metrics[e->space.sweep.metric], value, MUP_RULESET_VERSION);
    rc = config_dump(&run_schema, &config, 0, f.out, err);
    if (!rc)
        return file_replace_commit(&f, err);
    file_replace_abandon(&f);
    return rc;
}

int sweep_export(const char *dir, struct mup_error *err)
{
    struct export e = { .dir = dir };
    struct store *store = NULL;
    char path[1100];
    int rc = store_open_readonly(dir, &store, err);

    if (rc)
        return rc;
    rc = store_trials(store, &e.trials, &e.n, err);
    store_close(store);
    if (rc)
        return rc;
    snprintf(path, sizeof(path), "%s/sweep.yaml", dir);
    rc = space_open(path, NULL, 0, &e.space, err);
    for (int64_t i = 0; i < e.n && !rc; i++)
        if (e.trials[i].member >= space_members(&e.space))
            rc = mup_fail(err, MUP_CORRUPT,
                          "'%s' does not belong to the trials beside it", path);
    if (!rc)
        rc = write_file(&e, "trials.csv", write_trials, err);
    if (!rc)
        rc = write_best(&e, err);
    if (!rc)
        rc = write_file(&e, "configs.csv", write_configs, err);
    space_close(&e.space);
    free(e.trials);
    return rc;
}
