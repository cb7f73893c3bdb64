/* The sentences of a report: the finding, and warnings about what the runs
 * cannot show. */
#ifndef SWEEP_REPORT_TEXT_H
#define SWEEP_REPORT_TEXT_H

#include "sweep/report.h"

/* One sentence with capital letter and full stop, honest for every
 * combination of verdicts, into r->finding. */
void report_finding(struct report *r);

/* The same about one parametrization, for a caption: "drifts by -0.90 octaves
 * per doubling [-1.10, -0.70]". */
void report_caption(const struct transfer_report *t, char *out, size_t bytes);

/* What the regret says, beginning with a small letter, without a full stop;
 * the only answer where it is no number. */
void report_regret(const struct transfer_report *t, char *out, size_t bytes);

/* Index of the parametrization whose verdict counts, which the finding is
 * about: muP, else the first that is not SP (a control, known to drift), else
 * SP; -1 for none. */
int report_main(const struct report *r);

/* As people write it: muP, SP, a label as it is, "all runs" for "". */
const char *report_display_name(const char *name);

/* What a sentence about one width begins with: "mup, width 64". */
void report_place(const char *name, double width, char *out, size_t bytes);

#endif
