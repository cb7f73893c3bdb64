/* What a report is made from: the finished trials of a study as points
 * (parametrization, width, learning rate, seed, value), and the logged steps
 * of single runs. */
#ifndef SWEEP_REPORT_DATA_H
#define SWEEP_REPORT_DATA_H

#include <jansson.h>

#include "sweep/transfer.h"

struct report_run {
    int64_t trial; /* whose folder holds the run */
    int parametrization;
    double width;
    double lr;
    int64_t seed;
    double value;    /* the metric; NaN = diverged */
    double val_loss; /* nats per token; NaN = diverged */
    int64_t steps;
    uint64_t slice; /* equal where all other hyperparameters are */
};

struct report_data {
    const char *dir;        /* borrowed */
    struct report_run *run; /* finished or diverged, of the chosen slice */
    int n;
    int64_t trials, done, diverged, failed, waiting;
    char name[256], created[64];
    char metric[64];
    char note[256]; /* which slice was chosen, "" if there is one only */
};

int report_data_open(const char *dir, struct report_data *out,
                     struct mup_error *err);
void report_data_close(struct report_data *d);

/* The logged steps of a run folder, {0} where there are none.  A step that a
 * resumed run logged again counts once. */
struct report_series {
    int n;
    double *step, *tokens, *loss, *val_loss; /* NaN where not logged */
    json_t **line;                           /* owned references */
};

int report_series_open(const char *path, struct report_series *out,
                       struct mup_error *err);
void report_series_close(struct report_series *s);

#endif
