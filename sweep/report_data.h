/* What a report is made from: runs as points (group, what grows, what is tuned,
 * seed, value; as a rule parametrization, width and learning rate), either the
 * finished trials of a study or the rows of a table, and the logged steps of
 * single runs. */
#ifndef SWEEP_REPORT_DATA_H
#define SWEEP_REPORT_DATA_H

#include <jansson.h>

#include "sweep/report.h"

struct report_run {
    int64_t trial;      /* whose folder holds the run; 0 = a row of a table */
    int group;          /* its parametrization, or whatever axes.by says */
    double width;       /* axes.over */
    double lr;          /* axes.of */
    double model_width; /* NaN = unknown */
    int64_t seed;
    double value;    /* the metric; NaN = diverged */
    double val_loss; /* nats per token; NaN = diverged */
    int64_t steps;   /* 0 = unknown */
    uint64_t slice;  /* equal where all other hyperparameters are */
};

struct report_data {
    struct axes axes;
    const char *sweep;      /* borrowed; the folder of a study, or NULL */
    const char *csv;        /* borrowed; the table, NULL for a study */
    const char *dir;        /* borrowed; where the results go */
    struct report_run *run; /* finished or diverged, of the chosen slice */
    int n;
    /* Groups by name: choices and numbers of a sweep's key in their order, all
     * others in the order in which they appear. */
    int n_groups;
    char group[REPORT_MAX_GROUPS][REPORT_NAME_BYTES];
    int64_t trials, done, diverged, failed, waiting;
    char name[256], created[64];
    char metric[64];
    char hash[33];  /* of the table's bytes */
    char note[512]; /* which slice was chosen, "" if there is one only */
};

/* Of a sweep.  MUP_USAGE for a run whose value cannot stand on an axis. */
int report_data_open(const struct report_request *request,
                     struct report_data *out, struct mup_error *err);

#define REPORT_CSV_MAX_RUNS 20000

/* A table of runs (csv.h) with a column loss and those of the axes (width, lr
 * and, where it is there, parametrization), and optionally seed.  A loss that
 * is empty, nan or infinite is a run that diverged.  Names of parametrizations
 * that libmup knows are taken in any case ("muP"), others are labels.  Without
 * a seed column no run may stand twice. */
int report_data_open_csv(const struct report_request *request,
                         struct report_data *out, struct mup_error *err);

/* Index of the group whose verdict counts among n names; -1 for none.  Of
 * parametrizations: muP, else the first that is not SP (a control, known to
 * drift), else SP.  Of another key: the value that a run has by default, else
 * the first. */
int report_main_group(const struct axes_by *by,
                      const char (*name)[REPORT_NAME_BYTES], int n);

/* The number of a group, added where it is new; -1 where there is no room. */
int report_data_group(struct report_data *d, const char *name);
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
