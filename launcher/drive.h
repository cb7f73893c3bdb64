/* The driver of a sweep inside its job of SLURM; the batch script becomes it
 * ("mutransfer drive DIR").  It runs DIR/sweep.yaml with workers on all nodes
 * of the job, and tells the journal and launch.json how it goes.  SIGUSR1,
 * which SLURM sends before the job's time is over, saves and queues the job
 * again; SIGTERM saves. */
#ifndef LAUNCHER_DRIVE_H
#define LAUNCHER_DRIVE_H

#include "mup/mup.h"

/* program: path of this binary, for the workers. */
int drive_run(const char *program, const char *dir, struct mup_error *err);

#endif
