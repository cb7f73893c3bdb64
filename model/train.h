/* One training run in one directory: rerun = resume. */
#ifndef MODEL_TRAIN_H
#define MODEL_TRAIN_H

#include "model/config.h"

/* One logged step, also a line of metrics.jsonl. */
struct train_step {
    int64_t step; /* from 1: after this many optimizer steps */
    int64_t steps;
    int64_t tokens;
    double loss;      /* cross-entropy, nats per token, this batch */
    double lr;        /* base learning rate times schedule */
    double grad_norm; /* before clipping */
    double tokens_per_s;
    double eta_s;
};

enum train_phase {
    TRAIN_SETUP,  /* before the ranks have found each other */
    TRAIN_JOINED, /* they have; files are read */
    TRAIN_LOADED, /* the state is there; up to here no step was taken */
    TRAIN_STEP,
    TRAIN_CHECKPOINT,
    TRAIN_EVALUATION,
    TRAIN_DONE,
};

/* A sign of life.  compute_s: the step's own work, without waiting for other
 * ranks.  saved_step: of the newest checkpoint that stands, 0: none. */
struct train_beat {
    int64_t step;
    int phase; /* enum train_phase */
    double compute_s;
    int64_t saved_step;
};

/* Called from the training loop; any may be NULL.  should_stop is asked after
 * every step: nonzero saves a checkpoint and returns MUP_STOPPED. */
struct train_hooks {
    void *context;
    void (*step)(void *context, const struct train_step *step);
    int (*should_stop)(void *context);
    /* A sentence that the user should see: a damaged checkpoint, say. */
    void (*note)(void *context, const char *sentence);
    void (*beat)(void *context, const struct train_beat *beat);
    /* The run has failed and what it had begun to save is settled; what
     * follows waits up to seconds for the other ranks. */
    void (*failed)(void *context, int status, const char *sentence);
};

struct train_result {
    int diverged; /* 1: non-finite, or above the initial loss */
    int64_t diverged_step;
    int64_t steps, tokens;
    int64_t resumed_from; /* step of the checkpoint that was continued, or 0 */
    double loss;          /* mean of the last 5 % of steps, nats per token */
    double val_loss;      /* nats per token; NaN if diverged */
    double val_bpb;       /* bits per byte; NaN if tokens are not bytes */
    double flops;         /* model FLOP of the whole run */
    double wall_s;        /* this process only */
};

/* Train config in dir (created if needed), continuing from its newest valid
 * checkpoint.  A dir that holds another config is refused (MUP_USAGE, names
 * the first differing key; the sections run, checkpoint, parallel,
 * launch and drill may differ).  Writes
 * config.yaml, manifest.json, metrics.jsonl, events.jsonl, checkpoints/.  Text
 * that changed since (by its hash) is refused, and so are checkpoints of which
 * none verifies (MUP_CORRUPT): nothing is trained anew in silence. Divergence
 * returns MUP_OK with result->diverged set.  A finished run returns its result
 * again without training. */
int train_run(const struct run_config *config, const char *dir,
              const struct train_hooks *hooks, struct train_result *result,
              struct mup_error *err);

/* events.jsonl, one object per line, appended by rank 0 (a drill's by its own
 * rank); docs/formats.md has all members:
 *   {"event":"start"|"resume","time":unix_s,"pid":n,"step":s,"ranks":n}
 *   {"event":"checkpoint","time":...,"step":s,"stall_s":x,"cost_s":x}
 *   {"event":"stopped","time":...,"step":s}
 *   {"event":"skipped"|"corruption"|"verdict"|"drill",...}
 *   {"event":"done","time":...,"step":s,"loss":x,"val_loss":x,"val_bpb":x,
 *    "tokens":n,"flops":x,"wall_s":x}
 *   {"event":"diverged","time":...,"step":s,"loss":x or null,...}
 *   {"event":"failed","time":...,"status":n,"error":"sentence"}
 * Readers ignore an unterminated last line. */

/* Memory and work of a run, without running it. */
struct train_plan {
    int64_t parameters, active_parameters;
    int64_t arena_bytes; /* all that our code allocates for the run */
    int64_t peak_bytes;  /* expected peak resident memory of the process */
    int64_t parameter_bytes, gradient_bytes, optimizer_bytes, activation_bytes;
    double flops_per_step, flops; /* model FLOP, forward + backward */
    int64_t tokens;
};
int train_plan(const struct run_config *config, struct train_plan *out,
               struct mup_error *err);

#endif
