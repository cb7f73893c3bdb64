/* What the agents of a job do when its supervisor is gone for good.
 *
 * A job that outlives dead nodes outlives its batch host, too: SLURM takes it
 * off the list and leaves the rest of the job as it is, without a batch script.
 * The first agent that is sure of that gives the job back to the queue. */
#ifndef LAUNCHER_ORPHAN_H
#define LAUNCHER_ORPHAN_H

#include "launcher/agent.h"

/* Waits until launch.json has been silent for a while; a supervisor that still
 * writes it lives, and is only out of our reach: then, and where the run has
 * ended or waits in the queue already, nothing is done.  Else its host is
 * ejected and the job is queued again, which ends this process with it.
 * Returns when there is nothing (more) to do. */
void orphan_return_job(const struct agent_options *options);

/* Of a sweep, which has no agents: stay, and do the same when its driver on
 * another node is silent for so long; until the journal says that the job has
 * ended. */
void orphan_watch(const struct agent_options *options, double silent_s);

#endif
