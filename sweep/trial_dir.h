/* The files that the driver writes into a sweep directory: sweep.yaml and
 * base.yaml (the whole study, every override included), and a directory for
 * each trial. */
#ifndef SWEEP_TRIAL_DIR_H
#define SWEEP_TRIAL_DIR_H

#include "sweep/space.h"

/* "dir/trials/7" */
void trial_dir_path(const char *dir, int64_t id, char *out, size_t bytes);

int trial_dir_study(const struct space *space, const char *dir,
                    struct mup_error *err);

/* The directory with its config.yaml: all that a worker needs. */
int trial_dir_prepare(const struct space *space, const char *dir, int64_t id,
                      int64_t config, int64_t member, int64_t seed,
                      struct mup_error *err);

/* The directory of a trial that shares the result of trial source: its own
 * config.yaml, and links to the metrics and events of source. */
int trial_dir_twin(const struct space *space, const char *dir, int64_t id,
                   int64_t source, int64_t config, int64_t member, int64_t seed,
                   struct mup_error *err);

#endif
