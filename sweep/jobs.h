/* The trials of a study in memory: which there are, in which order they are
 * started, how far all of it is.  The store is the truth, this is its image.
 *
 * Order: the first seed of everything before the second, so that curves
 * appear early; within a seed the costliest trials first, which keeps all
 * workers busy to the end (longest processing time first).  No result depends
 * on the order. */
#ifndef SWEEP_JOBS_H
#define SWEEP_JOBS_H

#include "sweep/driver.h"

struct job {
    int64_t config, member, seed;
    int64_t attempt, deaths;
    int64_t twin; /* id of the trial whose result this one shares, or 0 */
    int64_t copy; /* the reverse: id of the trial that copies this one, or 0 */
    int64_t width;
    int64_t place; /* in jobs.order */
    int avoid;     /* node that its worker died on, plus 1; 0: none */
    int state;     /* enum trial_state */
    int parametrization;
    double flops;    /* planned, or measured when done */
    double fraction; /* of its steps, while running */
    double value;
};

/* What a configuration has reached over the seeds at one width. */
struct job_score {
    int64_t first;  /* index of the trial with the first seed done */
    int64_t n, bad; /* seeds done; seeds diverged or failed */
    double sum;
};

struct jobs {
    int64_t n;
    struct job *job; /* trial id is index + 1 */
    int64_t *order;  /* indices in the order of starting; NULL when loaded */
    int64_t next;    /* place before which nothing waits */
    /* What one worker does: model FLOP over seconds of work. */
    double speed_flops, speed_s;
    int64_t workers;
    int64_t n_configs;
    struct job_score *score; /* scratch of jobs_winner, one a configuration */
};

/* The trials of an existing study.  trials: NULL, or takes: caller frees. */
int jobs_load(struct store *store, struct jobs *out, struct trial **trials,
              struct mup_error *err);
/* The same, and what the space asks for beyond them is added to the store. */
int jobs_plan(const struct space *space, struct store *store, struct jobs *out,
              struct mup_error *err);
void jobs_clear(struct jobs *jobs);

/* Index of the next trial to start, or -1. */
int64_t jobs_next(struct jobs *jobs);
/* The same for a worker on that node: one that has not lost its worker there,
 * else -1. */
int64_t jobs_next_on(struct jobs *jobs, int node);
/* A trial waits again. */
void jobs_requeue(struct jobs *jobs, int64_t index);

/* The configuration that sweep_winner describes; 0 if nothing is done. */
int jobs_winner(const struct jobs *jobs, struct job_score *out);

/* Counts, ETA and the winner so far; best_text is left empty. */
void jobs_progress(const struct jobs *jobs, struct sweep_progress *out);

/* Add to best_text that best_value is a mean, where it is. */
void jobs_say_mean(struct sweep_progress *p);

/* Model FLOP of a run. */
int jobs_flops(const struct run_config *config, double *out,
               struct mup_error *err);

#endif
