/* From a sweep directory to result files: report.json and the .dat files that
 * plots/ draws.  Reads the store, the trials' metrics and the coordinate
 * checks (coord-sp/coord.json, coord-mup/coord.json) where present, and the
 * target run (target/) where present. */
#ifndef SWEEP_REPORT_H
#define SWEEP_REPORT_H

#include "sweep/transfer.h"

struct report {
    int n_parametrizations;
    int parametrization[4]; /* enum mup_parametrization */
    struct transfer_report transfer[4];
    char finding[1024]; /* the one sentence, capital letter and full stop */
};

/* dir/report.json, dir/plots/{lr,optimum,loss,load,coord}.dat.
 * MUP_INCONCLUSIVE is not an error here: the verdicts are in the report. */
int report_write(const char *dir, struct report *out, struct mup_error *err);

#endif
