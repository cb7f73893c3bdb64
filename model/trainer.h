/* One optimizer step after another, in memory: no files, no clock.  The run
 * loop (train.c), the coordinate check and the tests stand on this. */
#ifndef MODEL_TRAINER_H
#define MODEL_TRAINER_H

#include "model/data.h"
#include "model/model.h"
#include "model/optimizer.h"

struct trainer {
    struct run_config config;
    struct backend be;
    struct model model;
    struct optimizer optimizer;
    int32_t *input, *target; /* N each: one micro-batch */
    double *host;            /* N*E: router probabilities of a layer */
    struct data train, valid;
    void *memory;
    size_t arena_bytes;
};

struct trainer_step {
    double loss;      /* cross-entropy, nats per token of this batch */
    double grad_norm; /* global, before clipping */
    double lr;        /* base learning rate times schedule */
    double balance;   /* mean over layers and sequences, 1 = balanced */
    int finite;       /* 0: loss or norm is not; no update was made */
};

/* Router statistics of one layer over the last micro-batch. */
struct trainer_balance {
    double load_max; /* largest load over the mean load */
    int64_t dead;    /* experts without a token */
    double entropy;  /* mean over tokens of the gate distribution, nats */
    double spread;   /* mean over tokens of largest minus smallest gate */
};

/* Plan and take all memory, open the data, initialise the weights. */
int trainer_open(const struct run_config *config, struct trainer *out,
                 struct mup_error *err);
void trainer_close(struct trainer *t);

/* Sizes alone: fills be, model and the byte counts; no data, no memory. */
int trainer_plan(const struct run_config *config, struct trainer *out,
                 struct mup_error *err);

/* Optimizer step `step` (from 0): forward and backward over the batch's
 * micro-batches, clip, update. */
int trainer_step(struct trainer *t, int64_t step, struct trainer_step *out,
                 struct mup_error *err);

/* Gradients of the batch of `step` without the update (sums over the batch;
 * trainer_step is this plus trainer_update). */
int trainer_gradients(struct trainer *t, int64_t step, struct trainer_step *out,
                      struct mup_error *err);
void trainer_update(struct trainer *t, int64_t step,
                    const struct trainer_step *stats);

/* Mean loss over the first data.valid_sequences held-out sequences. */
int trainer_evaluate(struct trainer *t, double *loss, struct mup_error *err);

/* load[E]: fraction of the routed tokens of each expert, last micro-batch. */
void trainer_balance(struct trainer *t, int layer, struct trainer_balance *out,
                     double *load);

#endif
