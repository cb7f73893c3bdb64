/* A worker of an array of jobs comes by itself, whenever SLURM starts its job.
 * For each the driver keeps a door, a process of its own that stands where
 * srun does for workers on the nodes of one job: it listens, says where in
 * DIR/doors/INDEX ("HOST PORT TOKEN", for the user's eyes only), lets one
 * worker in that knows the token, and passes on what both say. */
#ifndef LAUNCHER_DOOR_H
#define LAUNCHER_DOOR_H

#include <stdint.h>

#include "mup/mup.h"

/* The door's process: until standard input ends or the worker has left. */
int door_keep(const char *dir, int64_t index, struct mup_error *err);

/* The worker's side: a connection through door index of dir, or -1: nobody is
 * there now. */
int door_enter(const char *dir, int64_t index);

#endif
