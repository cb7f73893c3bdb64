/* The report of one run: DIR/report.json and the data of its pictures.
 *
 *   plots/loss.dat       as of a sweep, one block; and a second with "tokens
 *                        loss" of the steps that incidents went on from
 *   plots/incidents.dat  block 0: "from_s to_s kind" (0 training, 1 recovering,
 *                        2 queued); block 1: "number at_s total_s detect fence
 *                        replace relaunch rendezvous load first_step"
 *
 * Of a run without a scheduler there is the loss alone. */
#ifndef LAUNCHER_RUN_REPORT_H
#define LAUNCHER_RUN_REPORT_H

#include "mup/mup.h"

/* out may be dir. */
int run_report_write(const char *dir, const char *out, struct mup_error *err);

/* The answer on stdout, from out/report.json. */
int run_report_print(const char *out, struct mup_error *err);

#endif
