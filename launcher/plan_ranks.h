/* What a run needs on many ranks, computed from its config alone. */
#ifndef LAUNCHER_PLAN_RANKS_H
#define LAUNCHER_PLAN_RANKS_H

#include "model/layout_plan.h"

struct plan_ranks {
    int64_t ranks;
    struct layout_machine machine;
    double memory_bytes; /* that one rank has */
    int layouts;         /* list the fastest ones too */
    int as_json;
    const char *command; /* that starts them, printed last; may be NULL */
};

/* What is assumed where nobody says otherwise; the options of plan, with these
 * numbers in their help, change it. */
struct plan_ranks plan_ranks_default(int64_t ranks, int as_json);

/* Print it.  MUP_USAGE where parallel.* cannot be met, MUP_NEGATIVE with an
 * empty err where it does not fit into memory: both name what would. */
int plan_print_ranks(const struct run_config *config,
                     const struct plan_ranks *query, struct mup_error *err);

/* Seconds of one step there, nothing overlapped. */
int plan_ranks_step(const struct run_config *config,
                    const struct plan_ranks *query, double *step_s,
                    struct mup_error *err);

#endif
