/* From a sweep directory, or a table of runs, to result files: report.json and
 * the .dat files that plots/ draws.  Of a sweep it reads the store, the trials'
 * metrics and the coordinate checks (coord-sp/coord.json, coord-mup/coord.json)
 * where present, and the target run (target/) where present. */
#ifndef SWEEP_REPORT_H
#define SWEEP_REPORT_H

#include "sweep/transfer.h"

#define REPORT_MAX_GROUPS 8
#define REPORT_NAME_BYTES 64

/* A parametrization is known by its name, for a table of runs may bring names
 * of its own; "" where the table names none. */
struct report {
    int n_parametrizations; /* with at least one usable width */
    char name[REPORT_MAX_GROUPS][REPORT_NAME_BYTES];
    int group[REPORT_MAX_GROUPS]; /* index in report_data */
    struct transfer_report transfer[REPORT_MAX_GROUPS];
    char finding[4096]; /* the one sentence, capital letter and full stop */
};

/* dir/report.json, dir/plots/{lr,optimum,loss,load,coord}.dat.
 * MUP_INCONCLUSIVE is not an error here: the verdicts are in the report. */
int report_write(const char *dir, struct report *out, struct mup_error *err);

/* The same from a table of anyone's runs (report_data.h), into dir, which is
 * made where it is missing: report.json, plots/{lr,fit,optimum}.dat. */
int report_write_csv(const char *file, const char *dir, struct report *out,
                     struct mup_error *err);

#endif
