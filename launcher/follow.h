/* Watching a run under SLURM: its journal and state a few times a second, the
 * controller every two seconds.  A job that ended without the run's "ended" is
 * submitted again where that helps; so is one that the controller has lost, at
 * most once.  A controller that does not answer says nothing about the job. */
#ifndef LAUNCHER_FOLLOW_H
#define LAUNCHER_FOLLOW_H

#include "launcher/submit.h"

/* *ended: the journal of s->dir says "ended" now.  0 with *ended 0: a signal
 * asked to stop watching; the job goes on.  Else a sentence says why nothing
 * runs any more. */
int follow_run(struct submit *s, int *ended, struct mup_error *err);

#endif
