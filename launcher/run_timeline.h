/* What the wall time of a run under SLURM went into, from its journal. */
#ifndef LAUNCHER_RUN_TIMELINE_H
#define LAUNCHER_RUN_TIMELINE_H

#include <jansson.h>

#include "mup/mup.h"

enum span_kind { SPAN_TRAINING, SPAN_RECOVERING, SPAN_QUEUED, SPAN_KINDS };

/* Unix seconds; one follows the other, and where nothing was asked for (after
 * a run was stopped, before it was submitted again) there is none. */
struct span {
    int kind;
    double from_s, to_s;
};

struct timeline {
    int n;
    struct span *span;
    double begin_s, end_s; /* of all of it */
};

/* end_s: what is known, now or when the run ended.  Recovering is everything
 * from a fault, or from the start of a job, to the first step (of the first
 * start: to the start of the ranks, for the journal has no first step).
 * takes: timeline_clear. */
int timeline_make(const json_t *events, double end_s, struct timeline *out,
                  struct mup_error *err);
void timeline_clear(struct timeline *t);

#endif
