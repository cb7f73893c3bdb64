/* One optimizer step after another, in memory: no files, no clock.  The run
 * loop (train.c), the coordinate check and the tests stand on this. */
#ifndef MODEL_TRAINER_H
#define MODEL_TRAINER_H

#include "model/data.h"
#include "model/guard.h"
#include "model/model.h"
#include "model/optimizer.h"
#include "model/spike.h"

/* What every rank tells all others in a step. */
struct trainer_report {
    double losses[4]; /* sums as in struct model_losses; once a sequence */
    double squares;   /* of the gradients that it owns */
    double compute_s; /* its own work in this step, without waiting */
};

/* A place for faults on purpose; bucket as in struct zero_watch. */
struct trainer_fault {
    void *context;
    void (*bucket)(void *context, int bucket, int moment);
    void (*gathered)(void *context); /* weights have just arrived */
};

struct trainer {
    struct run_config config;
    struct backend be;
    struct ranks alone, *ranks;
    struct model model;
    struct zero zero;
    struct optimizer optimizer;
    int32_t *input, *target;       /* N each: one micro-batch */
    double *host;                  /* N*E: router probabilities of a layer */
    double *balance;               /* E+4 */
    struct trainer_report *report; /* one a rank */
    int64_t *report_counts;        /* doubles of each */
    double slept_s; /* on purpose, before each step: counts as computing */
    struct spike spike;
    struct {
        void *context;
        void (*pass)(void *context); /* a forward pass begins; may be NULL */
    } alive;
    struct guard *guard;               /* NULL: no one looks; not ours */
    const struct trainer_fault *fault; /* NULL: none; not ours */
    struct data train, valid;
    void *memory;
    size_t arena_bytes;
};

struct trainer_step {
    double loss;      /* cross-entropy, nats per token of this batch */
    double grad_norm; /* global, before clipping */
    double lr;        /* base learning rate times schedule */
    double z;         /* mean of the output's lse^2 over tokens */
    double balance;   /* mean over layers and sequences, 1 = balanced */
    double router_z;  /* mean of lse^2 over layers and tokens */
    int finite;       /* 0: loss or norm is not; no update was made */
    int skipped;      /* 1: the norm is a spike; no update was made */
    double threshold; /* above it a norm is a spike; 0: not known */
    double compute_s; /* of this rank, without waiting for others */
};

/* Router statistics of one layer over the last micro-batch. */
struct trainer_balance {
    double load_max; /* largest load over the mean load */
    int64_t dead;    /* experts without a token */
    double entropy;  /* mean over tokens of the gate distribution, nats */
    double spread;   /* mean over tokens of largest minus smallest gate */
};

/* Plan and take all memory, open the data, initialise the weights.  ranks
 * (borrowed): NULL where this process trains alone.  out must not move. */
int trainer_open(const struct run_config *config, struct ranks *ranks,
                 struct trainer *out, struct mup_error *err);
void trainer_close(struct trainer *t);

/* Back to the state of trainer_open. */
void trainer_reset(struct trainer *t);

/* Sizes alone: fills be, model and the byte counts; no data, no memory. */
int trainer_plan(const struct run_config *config, struct ranks *ranks,
                 struct trainer *out, struct mup_error *err);

/* Optimizer step `step` (from 0): forward and backward over the batch's
 * micro-batches, clip, update. */
int trainer_step(struct trainer *t, int64_t step, struct trainer_step *out,
                 struct mup_error *err);

/* Gradients of the batch of `step` without the update: sums over the batch, of
 * what this rank owns in zero.grads.  trainer_step is this, plus
 * trainer_update where the norm is finite and no spike. */
int trainer_gradients(struct trainer *t, int64_t step, struct trainer_step *out,
                      struct mup_error *err);
void trainer_update(struct trainer *t, int64_t step,
                    const struct trainer_step *stats);

/* Mean loss over the first data.valid_sequences held-out sequences. */
int trainer_evaluate(struct trainer *t, double *loss, struct mup_error *err);

/* load[E]: fraction of the routed tokens of each expert, last micro-batch of
 * all ranks (collective). */
void trainer_balance(struct trainer *t, int layer, struct trainer_balance *out,
                     double *load);

#endif
