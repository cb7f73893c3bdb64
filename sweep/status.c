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
    if (p.best_trial) {
        label_trial(dir, &trials[p.best_trial - 1], p.best_text,
                    sizeof(p.best_text));
        jobs_say_mean(&p);
    }
    jobs_clear(&jobs);
    free(trials);
    *out = p;
    return MUP_OK;
}

/* --- the winner --- */

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
    struct run_config winner = { 0 };
    struct trial *trials = NULL;
    struct store *store = NULL;
    struct job_score best = { 0 };
    struct jobs jobs;
    int rc = store_open_readonly(dir, &store, err);

    if (rc)
        return rc;
    rc = jobs_load(store, &jobs, &trials, err);
    store_close(store);
    if (rc)
        return rc;
    if (!jobs_winner(&jobs, &best))
        rc = mup_fail(err, MUP_NEGATIVE,
                      "no trial in '%s' has finished with a finite loss, "
                      "so there is no winner",
                      dir);
    if (!rc)
        rc = read_trial_config(dir, trials[best.first].id, &winner, err);
    if (!rc) {
        if (config)
            *config = winner;
        if (trial) {
            *trial = trials[best.first];
            trial->value = best.sum / (double)best.n;
        }
    }
    jobs_clear(&jobs);
    free(trials);
    return rc;
}
