/* One driver per study: dir/study.lock is held with flock, so the lock of a
 * killed driver is free at once, and names the holder's host and pid. */
#ifndef SWEEP_LOCK_H
#define SWEEP_LOCK_H

#include <stddef.h>

#include "mup/mup.h"

struct study_lock {
    int fd; /* -1: not held */
};

/* MUP_USAGE, naming host and pid, where another process holds it. */
int lock_take(const char *dir, struct study_lock *out, struct mup_error *err);
void lock_release(struct study_lock *lock);

/* Is dir on a disk that other machines see too (NFS, Lustre, GPFS, ...)? */
int lock_is_shared_disk(const char *dir);

#endif
