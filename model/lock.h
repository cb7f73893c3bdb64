/* One writer per directory: a file in it is held with flock, so the lock of a
 * killed process is free at once, and names the holder's host and pid. */
#ifndef MODEL_LOCK_H
#define MODEL_LOCK_H

#include <stddef.h>

#include "mup/mup.h"

struct file_lock {
    int fd; /* -1: not held */
};

/* Hold the file at path.  MUP_USAGE, naming host and pid, where another
 * process holds it; what: who that is, "the sweep in 'runs/a'". */
int lock_take(const char *path, const char *what, struct file_lock *out,
              struct mup_error *err);
void lock_release(struct file_lock *lock);

/* 1 and host (may be NULL) and pid of the living process that holds the file
 * at path, else 0.  Does not try the lock: that could make a starting process
 * fail.  A holder on another host is believed. */
int lock_holder(const char *path, char *host, size_t bytes, long *pid);

/* Is dir on a disk that other machines see too (NFS, Lustre, GPFS, ...)? */
int lock_is_shared_disk(const char *dir);

#endif
