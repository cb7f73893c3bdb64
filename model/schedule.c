#include "model/schedule.h"

#include <math.h>

#define PI 3.14159265358979323846

/* From 1 down to t->final_lr as u goes from 0 to 1. */
static double fall(const struct train_config *t, double shape)
{
    return t->final_lr + (1 - t->final_lr) * shape;
}

double schedule_factor(const struct train_config *t, int64_t step)
{
    double steps = (double)t->steps;
    double warm = floor(t->warmup * steps + 0.5);
    double at = (double)step;
    double u, start;

    if (at < warm)
        return (at + 1) / warm;
    u = steps > warm ? (at - warm) / (steps - warm) : 0;
    switch (t->schedule) {
    case SCHEDULE_COSINE:
        return fall(t, 0.5 * (1 + cos(PI * u)));
    case SCHEDULE_LINEAR:
        return fall(t, 1 - u);
    case SCHEDULE_WSD:
        start = steps - floor(t->decay * steps + 0.5);
        return at < start ? 1 : fall(t, 1 - (at - start) / (steps - start));
    default:
        return 1;
    }
}
