/* The coordinate check as text: a line a quantity, grouped by what they are,
 * with the slope at every step. */
#ifndef LAUNCHER_COORD_TABLE_H
#define LAUNCHER_COORD_TABLE_H

#include "sweep/coord_check.h"

/* The table of a check; of several layers the worst. */
int coord_table_print(const struct coord_result *result, int grow,
                      struct mup_error *err);

/* "blocks.0.attn.q.update at t=2, slope +1.01 [+0.98, +1.04], expected +0.00",
 * without a slope where there is none; of a row that fails then "; cause". */
void coord_row_print(const struct mup_coord_row *row);

/* "PASS  mup, widths 128,256,512, 3 seeds; worst ..."; what: the
 * parametrization, or the table that was judged. */
void coord_verdict_print(const struct coord_result *result, const char *what,
                         const struct coord_options *o);

/* Whether the wrong rule of the config was found, and where. */
void coord_break_print(const struct coord_result *result);

#endif
