/* The sentences of a report: the finding, and warnings about what the runs
 * cannot show. */
#ifndef SWEEP_REPORT_TEXT_H
#define SWEEP_REPORT_TEXT_H

#include "sweep/report.h"

/* One sentence with capital letter and full stop, honest for every
 * combination of verdicts, into r->finding. */
void report_finding(struct report *r);

/* The same about one group, for a caption: "drifts: -0.90 octaves per doubling
 * [-1.10, -0.70]". */
void report_caption(const struct axes *axes, const struct transfer_report *t,
                    char *out, size_t bytes);

/* What the regret says, beginning with a small letter, without a full stop;
 * the only answer where it is no number. */
void report_regret(const struct axes *axes, const struct transfer_report *t,
                   char *out, size_t bytes);

/* Index of the group whose verdict counts, which the finding is about; -1 for
 * none: report_main_group of report_data.h. */
int report_main(const struct report *r);

#endif
