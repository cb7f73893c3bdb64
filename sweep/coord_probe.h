/* One model of a coordinate check: trains it for a few steps on one small
 * batch and reports, at every step, the size of its activations, of what its
 * updates do and of its gradients.  (Tensor Programs V, appendix D.1; updates
 * split as in arXiv:2605.14200: activations alone are necessary, not
 * sufficient.) */
#ifndef SWEEP_COORD_PROBE_H
#define SWEEP_COORD_PROBE_H

#include "model/config.h"
#include "model/ranks.h"
#include "mup/coord.h"

#define COORD_NAME_BYTES 80

/* What a check is about, beside the config. */
struct coord_probe_options {
    int64_t steps;       /* optimizer steps; reported at 1 .. steps + 1 */
    int grow;            /* enum mup_grow */
    struct ranks *ranks; /* borrowed; NULL alone */
};

/* Receives every value.  Blocks are named by their number, or, where the number
 * of layers grows, blocks.first and blocks.last.  A quantity
 * that cannot be measured now is left out.  With many ranks each receives the
 * same values. */
struct coord_sink {
    void *context;
    void (*value)(void *context, const char *name, int quantity, int step,
                  double value);
};

/* Bytes that coord_probe_run will take on this rank. */
int coord_probe_plan(const struct run_config *config, struct ranks *ranks,
                     size_t *bytes, struct mup_error *err);

int coord_probe_run(const struct run_config *config,
                    const struct coord_probe_options *options,
                    const struct coord_sink *sink, struct mup_error *err);

#endif
