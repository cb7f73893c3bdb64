/* Proposes configurations.  A sampler is a pure function of (seed, index,
 * finished trials), so a resumed study proposes what an unbroken one would. */
#ifndef SWEEP_SAMPLER_H
#define SWEEP_SAMPLER_H

#include "sweep/space.h"

/* What later, model-based samplers learn from: one finished configuration. */
struct sampler_trial {
    struct space_point point;
    double value; /* mean metric over members and seeds; NaN = diverged */
};

struct sampler {
    const char *name;
    /* Configuration `index` (0, 1, ...).  1: *out filled, 0: no more. */
    int (*propose)(const struct space *space, int64_t index,
                   const struct sampler_trial *finished, int64_t n_finished,
                   struct space_point *out);
};

/* The sampler of a method alone: index counts its own proposals. */
const struct sampler *sampler_get(int method);

/* Configuration `index` of a study: enqueued points come first, then the
 * sampler's.  1: *out filled, 0: no more. */
int sampler_propose(const struct space *space, int64_t index,
                    const struct sampler_trial *finished, int64_t n_finished,
                    struct space_point *out);

/* Number of configurations, enqueued ones included: min(run_cap, grid size),
 * or run_cap. */
int64_t sampler_count(const struct space *space);

/* Scrambled Sobol point: coordinate dim (0..SPACE_MAX_PARAMETERS-1) of point
 * index in [0,1); hash-based Owen scrambling keyed by seed. */
double sobol_point(uint64_t seed, int64_t index, int dim);

#endif
