/* From a sweep directory, or a table of runs, to result files: report.json and
 * the .dat files that plots/ draws.  Of a sweep it reads the store, the trials'
 * metrics and, for the usual axes (learning rate over width), the coordinate
 * checks (coord-PARAMETRIZATION/coord.json) and the target run (target/) where
 * present. */
#ifndef SWEEP_REPORT_H
#define SWEEP_REPORT_H

#include "sweep/transfer.h"

#define REPORT_MAX_GROUPS 8
#define REPORT_NAME_BYTES 64

/* Groups are parametrizations unless the axes say otherwise.  One is known by
 * its name, for a table of runs may bring names of its own; "" where the table
 * names none. */
struct report {
    struct axes axes;
    int n_parametrizations; /* with at least one usable width */
    char name[REPORT_MAX_GROUPS][REPORT_NAME_BYTES];
    int group[REPORT_MAX_GROUPS]; /* index in report_data */
    struct transfer_report transfer[REPORT_MAX_GROUPS];
    char finding[4096]; /* the one sentence, capital letter and full stop */
};

/* What to report on, and where to.  out is made where it is missing; only the
 * report on the usual axes may go into the sweep's own folder, for others read
 * it there. */
struct report_request {
    const char *sweep; /* a sweep's folder, or NULL: */
    const char *csv;   /* a table of anyone's runs (report_data.h) */
    const char *out;   /* folder of the results */
    struct axes axes;
};

/* out/report.json and out/plots/{lr,fit,optimum}.dat; of a sweep also loss.dat
 * and, for the usual axes, load.dat and coord.dat.  MUP_INCONCLUSIVE is not an
 * error here: the verdicts are in the report. */
int report_write_request(const struct report_request *request,
                         struct report *out, struct mup_error *err);

/* The report on the learning rate over width into the sweep's own folder. */
int report_write(const char *dir, struct report *out, struct mup_error *err);

#endif
