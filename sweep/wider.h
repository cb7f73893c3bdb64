/* Is every wider model better, at one learning rate?  (Tensor Programs V,
 * section 8: under muP wider is always better.) */
#ifndef SWEEP_WIDER_H
#define SWEEP_WIDER_H

#include "sweep/transfer.h"

/* Fill wider_is_better and wider_reason of r, whose optima are set, at the
 * narrowest width's optimum.  runs are sorted by width.  Neighbouring widths
 * are compared in pairs of the same seed and learning rate, so that what the
 * seed does to both (the order of the data) cancels: one-sided t test, 95 %,
 * on the seeds' mean differences, their variance pooled over the widths. */
void wider_judge(const struct transfer_runs *runs, struct transfer_report *r);

#endif
