/* What a run or a sweep will cost, before anything runs. */
#ifndef LAUNCHER_PLAN_H
#define LAUNCHER_PLAN_H

#include "sweep/space.h"

/* Replace data that is not there yet by the synthetic source, which costs the
 * same; says so on stderr. */
void plan_replace_data(struct run_config *config);

/* Print sizes, memory, work and the time that a short benchmark of this
 * machine predicts. */
int plan_print_run(const struct run_config *config, int as_json,
                   struct mup_error *err);
int plan_print_sweep(const struct space *space, int as_json,
                     struct mup_error *err);

/* Processes that a sweep of `workers` (0 = one per core) runs at a time. */
int64_t plan_workers(int64_t workers);

/* Seconds of one optimizer step of config on this machine and of one
 * evaluation, measured for about budget_s seconds; a model too large to try is
 * extrapolated from a narrower one (measured_width says which). */
struct plan_speed {
    double step_s, evaluation_s;
    double flops_per_s;
    int64_t measured_width;
};
int plan_measure(const struct run_config *config, double budget_s,
                 struct plan_speed *out, struct mup_error *err);
/* Seconds of the whole run, evaluations included. */
double plan_run_seconds(const struct run_config *config,
                        const struct plan_speed *speed);

#endif
