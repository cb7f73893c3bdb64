/* Runs a sweep: one driver, persistent worker processes, rerun = resume.
 *
 * Protocol (docs/formats.md): the driver writes one JSON object per line to a
 * worker's stdin, {"op":"run","trial":7,"attempt":1,"dir":"out/trials/7"}; the
 * worker trains that directory's config.yaml and writes to stdout
 * {"trial":7,"attempt":1,"event":"step","step":40,"steps":200,"loss":2.1} at
 * most twice a second and {"trial":7,"attempt":1,"event":"end","status":0,
 * "error":""} when events.jsonl in the directory tells the rest.  The file is
 * the authority, the pipe only wakes the driver.  A worker whose stdin closes
 * saves and stops.  {"event":"alive"} comes every second in between; a worker
 * that is silent for sweep.silence_s is killed, and its trial goes on elsewhere
 * from its last checkpoint.  A worker behind a prefix hears {"op":"alive",
 * "lease_s":15} in return and stops by itself when that does not come: killing
 * its prefix may not reach it.
 *
 * Under SP and muP the run at base width is the same bit for bit
 * (space_twin): one of the two is trained, the other is recorded as "same as
 * trial N" with the same result, at no cost. */
#ifndef SWEEP_DRIVER_H
#define SWEEP_DRIVER_H

#include "sweep/space.h"
#include "sweep/store.h"

struct sweep_progress {
    int64_t trials, done, running, waiting, diverged, failed;
    double eta_s; /* negative: unknown */
    double flops_done, flops_total;
    /* What sweep_winner would choose now: the trial of its first seed, 0 = none
     * yet, and the mean over its best_seeds finished seeds. */
    int64_t best_trial;
    double best_value;
    int64_t best_seeds;
    char best_text[256]; /* "mup width 64 lr 2^-6, mean of 3 seeds" */
    int64_t retried;
};

struct sweep_hooks {
    void *context;
    void (*progress)(void *context, const struct sweep_progress *progress);
    int (*should_stop)(void *context); /* asked several times a second */
    void (*note)(void *context, const char *sentence); /* a retried trial */
};

/* Where workers run.  Slots go round the nodes, so that few trials spread over
 * many; all members are borrowed. */
struct sweep_node {
    const char *name;          /* for people; NULL: this machine */
    const char *const *prefix; /* words before "program worker", up to NULL:
                                  "srun", "-w", "node3"; NULL: none */
    int comes_late;            /* its worker starts when it likes: it gets no
                                  trial before it has said something */
};
struct sweep_crew {
    const char *program; /* path of the mutransfer binary */
    int n_nodes;         /* 0: all workers are children on this machine */
    const struct sweep_node *node;
    int64_t workers_per_node; /* where there are nodes, in place of
                                 sweep.workers */
};

/* Run or resume the sweep in dir with workers started as "program worker",
 * each behind the prefix of its node.  Writes sweep.yaml and base.yaml (the
 * study with every override, itself a sweep file), study.db, trials/<id>/,
 * workers.log, workers.json, and at the end the exports.  MUP_STOPPED when
 * asked to stop (workers save first), MUP_NEGATIVE if trials failed for good (a
 * rerun tries them again; if all failed for one reason, its status), MUP_SYSTEM
 * when the disk is full (all results are kept).  Data that cannot be read is
 * refused before anything is written, and so is another text than the study was
 * started with (corpora.h). */
int sweep_run(const struct space *space, const char *dir,
              const struct sweep_crew *crew, const struct sweep_hooks *hooks,
              struct sweep_progress *result, struct mup_error *err);

/* State of a sweep directory, from its store; what a dead driver left running
 * counts as waiting. */
int sweep_status(const char *dir, struct sweep_progress *out,
                 struct mup_error *err);

/* trials.csv, configs.csv, best.yaml (resolved run config of the winner; none
 * where no trial has a finite metric). */
int sweep_export(const char *dir, struct mup_error *err);

/* The winner: the configuration with the lowest mean metric over seeds at the
 * widest member whose parametrization is mup (or at the last member where no
 * group varies the width); configurations with a diverged seed lose.  In an
 * unfinished sweep: the widest member that has a result, configurations with
 * more seeds first.  *trial is that of the winner's first seed, with the mean
 * as its value.  MUP_NEGATIVE if no trial has a result. */
int sweep_winner(const char *dir, struct run_config *config,
                 struct trial *trial, struct mup_error *err);

/* The worker process: reads jobs from stdin until it closes.  Returns the exit
 * code. */
int sweep_worker(void);

#endif
