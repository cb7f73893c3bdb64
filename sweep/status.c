/* What a sweep directory says about itself, whether or not a driver runs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/jobs.h"
#include "sweep/trial_dir.h"

/* "mup width 64 lr 2^-6" of a trial; empty if the study's file is gone. */
static void label_trial(const char *dir, const struct trial *t, char *out,
                        size_t bytes)
{
    struct space space;
    char path[1100];

    out[0] = '\0';
    snprintf(path, sizeof(path), "%s/sweep.yaml", dir);
    if (space_open(path, NULL, 0, &space, NULL))
        return;
    if (t->member < space_members(&space))
        space_label(&space, &t->point, t->member, out, bytes);
    space_close(&space);
}

static int load_trials(const char *dir, struct trial **out, int64_t *n,
                       struct mup_error *err)
{
    struct store *store = NULL;
    int rc = store_open_readonly(dir, &store, err);

    if (rc)
        return rc;
    rc = store_trials(store, out, n, err);
    store_close(store);
    return rc;
}

int sweep_status(const char *dir, struct sweep_progress *out,
                 struct mup_error *err)
{
    struct sweep_progress p;
    struct trial *trials = NULL;
    struct store *store = NULL;
    struct jobs jobs;
    long pid;
    int rc = store_open_readonly(dir, &store, err);

    if (rc)
        return rc;
    rc = jobs_load(store, &jobs, &trials, err);
    store_close(store);
    if (rc)
        return rc;
    if (!store_has_driver(dir, NULL, 0, &pid))
        /* What a dead driver called running waits for the next one. */
        for (int64_t i = 0; i < jobs.n; i++)
            if (jobs.job[i].state == TRIAL_RUNNING)
                jobs.job[i].state = TRIAL_WAITING;
    jobs_progress(&jobs, &p);
    if (p.best_trial)
        label_trial(dir, &trials[p.best_trial - 1], p.best_text,
                    sizeof(p.best_text));
    jobs_clear(&jobs);
    free(trials);
    *out = p;
    return MUP_OK;
}

/* --- the winner --- */

struct score {
    int64_t first;  /* index of the trial with the first seed */
    int64_t n, bad; /* seeds done; seeds diverged or failed */
    double sum;
};

static int is_candidate(const struct trial *t, int mup, int64_t width)
{
    return (!mup || t->parametrization == MUP_MUP) && t->width == width;
}

/* Is configuration a better than b?  No diverged seed, then more seeds, then
 * the lower mean. */
static int beats(const struct score *a, const struct score *b)
{
    if ((a->bad > 0) != (b->bad > 0))
        return b->bad > 0;
    if (a->n != b->n)
        return a->n > b->n;
    return a->sum / (double)a->n < b->sum / (double)b->n;
}

/* The widest width at which a trial is done, under muP if mup. */
static int64_t widest(const struct trial *trials, int64_t n, int mup)
{
    int64_t width = 0;

    for (int64_t i = 0; i < n; i++)
        if (trials[i].state == TRIAL_DONE && trials[i].width > width &&
            is_candidate(&trials[i], mup, trials[i].width))
            width = trials[i].width;
    return width;
}

/* Scores by configuration over all members of that width. */
static int64_t pick(const struct trial *trials, int64_t n, struct score *score,
                    int64_t n_configs, double *mean)
{
    int mup = widest(trials, n, 1) > 0;
    int64_t width = widest(trials, n, mup), best = -1;

    for (int64_t i = 0; i < n; i++) {
        const struct trial *t = &trials[i];
        struct score *s = &score[t->config];

        if (!is_candidate(t, mup, width))
            continue;
        if (t->state == TRIAL_DONE) {
            if (!s->n++)
                s->first = i;
            s->sum += t->value;
        }
        s->bad += t->state == TRIAL_DIVERGED || t->state == TRIAL_FAILED;
    }
    for (int64_t c = 0; c < n_configs; c++)
        if (score[c].n && (best < 0 || beats(&score[c], &score[best])))
            best = c;
    if (best < 0)
        return -1;
    *mean = score[best].sum / (double)score[best].n;
    return score[best].first;
}

static int read_trial_config(const char *dir, int64_t id,
                             struct run_config *config, struct mup_error *err)
{
    char path[2048];

    trial_dir_path(dir, id, path, sizeof(path) - 16);
    memcpy(path + strlen(path), "/config.yaml", 13);
    return run_config_load(path, NULL, 0, config, err);
}

int sweep_winner(const char *dir, struct run_config *config,
                 struct trial *trial, struct mup_error *err)
{
    struct trial *trials = NULL;
    struct score *score = NULL;
    struct run_config winner = { 0 };
    int64_t n, n_configs = 0, best = -1;
    double mean = 0;
    int rc = load_trials(dir, &trials, &n, err);

    if (rc)
        return rc;
    for (int64_t i = 0; i < n; i++)
        if (trials[i].config >= n_configs)
            n_configs = trials[i].config + 1;
    /* Configurations are numbered without gaps, so n bounds them. */
    if (n_configs > n)
        rc = mup_fail(err, MUP_CORRUPT, "the study in '%s' has gaps", dir);
    if (!rc) {
        score = calloc((size_t)n_configs + 1, sizeof(*score));
        if (!score)
            rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    if (!rc) {
        best = pick(trials, n, score, n_configs, &mean);
        if (best < 0)
            rc = mup_fail(err, MUP_NEGATIVE,
                          "no trial in '%s' has finished with a finite loss, "
                          "so there is no winner",
                          dir);
    }
    if (!rc)
        rc = read_trial_config(dir, trials[best].id, &winner, err);
    if (!rc) {
        if (config)
            *config = winner;
        if (trial) {
            *trial = trials[best];
            trial->value = mean;
        }
    }
    free(score);
    free(trials);
    return rc;
}
