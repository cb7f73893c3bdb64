/* Elements of an array of jobs that work for a sweep: every one but the first,
 * which is the driver. */
#ifndef LAUNCHER_ARRAY_H
#define LAUNCHER_ARRAY_H

#include "model/config.h"

/* Goes through the driver's door as a worker, again and again, until the
 * sweep's journal says "ended" or the job's time is over: then it is queued
 * again. */
int array_work(const char *program, const char *dir,
               const struct slurm_config *slurm, struct mup_error *err);

/* SLURM_ARRAY_TASK_ID; -1: this job is none of an array. */
int64_t array_index(void);
int64_t array_size(void);

#endif
