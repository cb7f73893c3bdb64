/* A guard against batches, or faults, that throw a run off its path: a
 * gradient norm far above those of late is a spike, and its step is skipped. */
#ifndef MODEL_SPIKE_H
#define MODEL_SPIKE_H

#include <stdint.h>

#define SPIKE_WINDOW 64
/* Norms that must be known before anything is called a spike. */
#define SPIKE_LEAST 16

/* Zeroed: nothing seen yet.  Part of a checkpoint's state. */
struct spike {
    double norm[SPIKE_WINDOW]; /* the last ones that were no spike, a ring */
    int64_t seen;
};

/* 1 where norm is above limit times the median of the window; else it joins
 * the window.  limit 0: never. */
int spike_is(struct spike *s, double limit, double norm);

#endif
