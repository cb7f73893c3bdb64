/* Learning-rate schedules: factors in fractions of the run, so that a proxy
 * and its target follow the same shape. */
#ifndef MODEL_SCHEDULE_H
#define MODEL_SCHEDULE_H

#include "model/config.h"

/* Factor of the peak learning rate for optimizer step `step` (from 0) of
 * t->steps: linear warm-up over t->warmup of the run, then constant, cosine,
 * linear, or flat with a linear fall over the last t->decay (WSD), ending at
 * t->final_lr.  Pure. */
double schedule_factor(const struct train_config *t, int64_t step);

#endif
