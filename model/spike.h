/* A guard against batches, or faults, that throw a run off its path: a
 * gradient norm far above those of late is a spike, and its step is skipped. */
#ifndef MODEL_SPIKE_H
#define MODEL_SPIKE_H

#include <stdint.h>

#define SPIKE_WINDOW 64
/* Norms that must be known before anything is called a spike. */
#define SPIKE_LEAST 16
/* So many spikes in a row are no bad batches: the run has diverged. */
#define SPIKE_MOST 10

/* Zeroed: nothing seen yet.  Part of a checkpoint's state. */
struct spike {
    double norm[SPIKE_WINDOW]; /* the last ones that were no spike, a ring */
    int64_t seen;
    int64_t skipped, in_row; /* spikes: all, and since the last step taken */
};

/* limit times the median of the window; 0 where nothing is a spike. */
double spike_threshold(const struct spike *s, double limit);

/* 1 where norm is above limit times the median of the window; else it joins
 * the window.  limit 0: never. */
int spike_is(struct spike *s, double limit, double norm);

#endif
