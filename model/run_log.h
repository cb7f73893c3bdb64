/* The two append-only files of a run: metrics.jsonl (one object per logged
 * step) and events.jsonl (what happened to the run).  docs/formats.md. */
#ifndef MODEL_RUN_LOG_H
#define MODEL_RUN_LOG_H

#include <jansson.h>

#include "model/fence.h"
#include "model/train.h"

struct run_log {
    int metrics, events; /* file descriptors */
    struct fence *fence; /* looked at before every line; borrowed, may be
                            NULL */
};

/* Open both for appending; metrics of steps after `step` are cut away (they
 * will be written again), a torn last line too.  Leaves out->fence. */
int run_log_open(const char *dir, int64_t step, struct run_log *out,
                 struct mup_error *err);
void run_log_close(struct run_log *log);

/* Append one object as one line; takes object (a NULL one is out of
 * memory).  Non-finite reals must be given as JSON null.  MUP_DEVICE where the
 * run is fenced off: its files are another's. */
int run_log_metric(struct run_log *log, json_t *object, struct mup_error *err);
int run_log_event(struct run_log *log, json_t *object, struct mup_error *err);

/* A real, or null where it is not finite. */
json_t *run_log_real(double value);

/* A new event object with its name, the time and the step. */
json_t *run_log_new_event(const char *name, int64_t step);

/* Step of the newest checkpoint that dir/events.jsonl tells of since the run
 * began, or 0. */
int64_t run_log_saved_step(const char *dir);

/* The result of a run that ended: 1 and *result filled if the last "done" or
 * "diverged" event of dir/events.jsonl stands, 0 if the run is not over. */
int run_log_result(const char *dir, struct train_result *result);

#endif
