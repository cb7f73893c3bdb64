/* Wrong rules put in place of right ones (mup.break), to see that the
 * coordinate check finds them: the setting in which each matters, and which of
 * the failing rows is about a tensor that the wrong rule touches. */
#ifndef SWEEP_COORD_BREAK_H
#define SWEEP_COORD_BREAK_H

#include "sweep/coord_check.h"

#define COORD_BREAK_KEYS 5

/* What a wrong rule needs to show: config keys, what grows, and why. */
struct coord_setting {
    const char *set[COORD_BREAK_KEYS]; /* "section.key=value", NULL ends */
    int grow;                          /* enum mup_grow */
    const char *why;
};

/* The setting of an enum mup_break. */
const struct coord_setting *coord_break_setting(int broken);

/* Put a setting into config, and the wrong rule itself; broken 0: neither.
 * MUP_USAGE where the config follows other rules than muP's. */
int coord_break_apply(int broken, struct run_config *config,
                      struct mup_error *err);

/* *found: the first failing row, by step and then by place in the network, of a
 * tensor whose factors config->mup.broken changes; -1 for none. */
int coord_break_find(const struct run_config *config,
                     const struct coord_options *options,
                     const struct coord_result *result, int *found,
                     struct mup_error *err);

#endif
