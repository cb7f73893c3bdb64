/* One on every node of an allocation, for as long as its job: the supervisor's
 * hand there.  It is alive while its beats come; it checks the node, measures
 * the way to others, and kills ranks that must not live any more.
 *
 * It speaks the ranks' protocol (heartbeat.h), as rank = its place in the job's
 * list of nodes, and knows these lines of the supervisor:
 *
 *     check                      preflight; answers: progress checked {JSON}
 *     serve ROUND                progress serving ROUND PORT
 *     measure ROUND HOST PORT    progress measured ROUND BYTES_PER_S
 *     stack PID                  progress stack PID TEXT (where it waits)
 *     clear                      kill every rank of this run on this node, wait
 *                                until none is left; progress cleared N
 *     stop                       end
 *
 * A check or measurement that takes longer than recover.preflight_s is killed
 * and answered by "progress checked " with nothing readable after it.  An agent
 * whose supervisor is gone for recover.lease_s kills the ranks of its node and
 * ends. */
#ifndef LAUNCHER_AGENT_H
#define LAUNCHER_AGENT_H

#include "launcher/preflight.h"

/* Set for all ranks of a run, so that its agents find them. */
#define AGENT_RUN_VARIABLE "MUTRANSFER_RUN"

struct agent_options {
    const char *program;
    const char *config_path; /* resolved */
    const char *dir;
    const char *run; /* uuid */
    int rank, ranks; /* SLURM_PROCID, SLURM_NTASKS */
    struct run_config config;
};

/* Until it is stopped.  A status. */
int agent_run(const struct agent_options *options, struct mup_error *err);

/* Processes of this user on this node with AGENT_RUN_VARIABLE=run and another
 * role than agent (zombies are dead); kills them with SIGKILL.  Returns how
 * many still live. */
int agent_kill_ranks(const char *run, const char *node);

/* This node's name: SLURMD_NODENAME, else the host's. */
void agent_node_name(char *out, size_t bytes);

#endif
