/* One on every node of an allocation, for as long as its job: the supervisor's
 * hand there.  It is alive while its beats come, two a second; it checks the
 * node, measures the way to others, and kills ranks that must not live any
 * more.
 *
 * It speaks the ranks' protocol (heartbeat.h), as rank = its place in the job's
 * list of nodes, and knows these lines of the supervisor:
 *
 *     check                      preflight; answers: progress checked {JSON}
 *     serve ROUND                progress serving ROUND PORT (0: it cannot)
 *     measure ROUND HOST PORT    progress measured ROUND BYTES_PER_S (0: no
 *                                answer)
 *     stack PID                  progress stack PID TEXT (where it waits; all
 *                                of it is in DIR/stacks/NODE-PID.txt)
 *     clear                      kill every rank of this run on this node, wait
 *                                until none is left; progress cleared N, the
 *                                number that still live after CLEAR_S
 *     stop                       end
 *
 * An order that comes again while it is being done begins anew; lines that it
 * does not know are ignored.  A check or measurement that takes longer than
 * recover.preflight_s is killed and answered by "progress checked " with
 * nothing after it or by 0.  An agent whose supervisor has gone, or says
 * nothing, for recover.lease_s kills the ranks of its node and ends; three
 * times as long where the connection stands, as it is no danger: ranks have
 * leases of their own. */
#ifndef LAUNCHER_AGENT_H
#define LAUNCHER_AGENT_H

#include <sys/types.h>

#include "model/config.h"

/* Set for all ranks of a run, so that its agents find them. */
#define AGENT_RUN_VARIABLE "MUTRANSFER_RUN"
/* By when killed ranks must be gone. */
#define AGENT_CLEAR_S 10.0

struct agent_options {
    const char *program;
    const char *config_path; /* resolved */
    const char *dir;
    const char *run; /* uuid */
    int rank, ranks; /* SLURM_PROCID, SLURM_NTASKS */
    struct run_config config;
};

/* Until it is stopped.  MUP_DEVICE where the supervisor has gone. */
int agent_run(const struct agent_options *options, struct mup_error *err);

/* Whom agent_kill_ranks has found, so that it knows them while they die: a
 * process that ends has no environment any more but may still write. */
#define AGENT_MAX_RANKS 2048
struct agent_ranks {
    int n;
    struct {
        pid_t pid;
        unsigned long long start; /* tells it from a later one of that number */
    } rank[AGENT_MAX_RANKS];
};

/* Send SIGKILL to the processes of this user on this node with
 * AGENT_RUN_VARIABLE=run and MUTRANSFER_INCARNATION (the agent and its checks
 * have none; srun is the supervisor's).  Returns how many live, zombies not
 * counted.  Nodes may share a machine: SLURMD_NODENAME tells. */
int agent_kill_ranks(const char *run, const char *node,
                     struct agent_ranks *found);

/* Where a process hangs: everything into dir/stacks/NODE-PID.txt but for its
 * frames, and the words "state T (stopped), in do_signal_stop" into out.
 * MUP_USAGE where there is no such process of this user. */
int agent_stack(const char *dir, const char *node, pid_t pid, char *out,
                size_t bytes, struct mup_error *err);
/* The names of the innermost functions in a debugger's answer. */
void agent_stack_frames(const char *text, char *out, size_t bytes);
void agent_stack_path(const char *dir, const char *node, pid_t pid, char *out,
                      size_t bytes);

#endif
