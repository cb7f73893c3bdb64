/* SLURM's words, and the output of its tools.  Pure. */
#ifndef LAUNCHER_SLURM_PARSE_H
#define LAUNCHER_SLURM_PARSE_H

#include "launcher/cluster_ops.h"

/* state, state_name and the four flags of *job from SLURM's word for it, its
 * priority (0: held) and job->reason, which must be set.  A word that is not
 * known is a job that runs: only what surely ended has ended. */
void slurm_set_state(struct cluster_job *job, const char *name,
                     int64_t priority);

/* "IDLE+DRAIN": can it get a job? */
int slurm_node_usable(const char *state);

/* "gpu:a100:4(S:0-1),gpu:2,shard:8" has 6. */
int64_t slurm_parse_gpus(const char *gres);

#endif
