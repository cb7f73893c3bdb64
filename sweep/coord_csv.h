/* The coordinate check on what another framework recorded: a table (csv.h) with
 * the columns width (or depth), step, name (or tensor), value and, optionally,
 * seed and quantity. */
#ifndef SWEEP_COORD_CSV_H
#define SWEEP_COORD_CSV_H

#include "sweep/coord_check.h"

/* Writes dir/coord.json, nothing where dir is NULL.  setup says how the models
 * were made (parametrization, depth) and what grew: MUP_COORD_UNKNOWN leaves
 * grow to the columns.  *options receives sizes, seeds, steps and what grew. */
int coord_check_csv(const char *path, const struct mup_coord_setup *setup,
                    const char *dir, struct coord_options *options,
                    struct coord_result *out, struct mup_error *err);

#endif
