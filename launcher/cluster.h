/* What we ask of SLURM.  Two ways behind one table: its library (slurm.c, where
 * the header was there at build time) and its command line tools
 * (slurm_tools.c), for sites whose library is of another version.
 *
 * Statuses: MUP_DEVICE where the controller does not answer (ask again later,
 * a job may well run on); MUP_USAGE where it refuses what is asked;
 * MUP_NEGATIVE where this user may not; MUP_SYSTEM where the tools are missing
 * or no SLURM is configured.  A call on a dead controller takes seconds (4
 * where its port is closed, a multiple of MessageTimeout where it is silent).
 * Not for threads: stderr is closed for others while the library is asked. */
#ifndef LAUNCHER_CLUSTER_H
#define LAUNCHER_CLUSTER_H

#include <stdint.h>

#include "launcher/hostlist.h"
#include "model/config.h"

#define CLUSTER_TEXT_BYTES 256

enum cluster_state {
    CLUSTER_NO_JOB, /* the controller knows none */
    CLUSTER_PENDING,
    CLUSTER_HELD, /* pending, and will not start by itself */
    CLUSTER_RUNNING,
    CLUSTER_ENDING, /* completing: its processes are being removed */
    CLUSTER_ENDED,
};

struct cluster_job {
    int64_t id;
    int state;           /* enum cluster_state */
    char state_name[32]; /* as SLURM says it: "NODE_FAIL" */
    int cancelled;       /* ended by scancel or preemption */
    int preempted, timed_out, node_failed;
    int64_t exit_status, exit_signal;
    int64_t restarts;
    /* 0: not known.  submit: of the last requeue; end: of a job that runs, when
     * its time is over. */
    int64_t submit_unix_s, start_unix_s, end_unix_s;
    char reason[CLUSTER_TEXT_BYTES]; /* why it does not run */
    char name[CLUSTER_TEXT_BYTES], comment[CLUSTER_TEXT_BYTES];
    char nodes[4 * CLUSTER_TEXT_BYTES]; /* hostlist; cut if longer */
    char batch_host[HOSTLIST_NAME_BYTES];
};

struct cluster_node {
    char name[HOSTLIST_NAME_BYTES];
    int usable; /* up, not drained, not down */
    char state_name[32];
    char reason[CLUSTER_TEXT_BYTES]; /* why it is drained or down */
    int64_t cpus, memory_mib, gpus;
};

struct cluster_partition {
    char name[HOSTLIST_NAME_BYTES];
    int is_default, up;
    int64_t nodes, max_nodes; /* max_nodes 0: no limit */
    double max_time_min;      /* 0: no limit */
};

/* One batch job.  Texts are borrowed; "" or 0: as the site has it. */
struct cluster_request {
    const char *script; /* the text of it, "#!/bin/bash\n..." */
    const char *name, *comment;
    const char *partition, *account, *qos, *constraint, *exclude;
    const char *work_dir;
    const char *output; /* file for stdout and stderr, appended to */
    int64_t nodes;      /* at least */
    int64_t tasks_per_node, cpus_per_task, gpus_per_node;
    int64_t array;     /* jobs 0..array-1; 0: no array */
    double memory_gib; /* per node */
    double time_min;
    int64_t signal_s; /* SIGUSR1 to the batch script before the end */
    int no_kill;      /* a dead node does not end the job */
    int requeue;
};

struct cluster;

/* by: enum slurm_by; auto takes the library if it is built in and can be
 * configured, else the tools.  Does not talk to the controller. */
int cluster_open(int by, struct cluster **out, struct mup_error *err);
void cluster_close(struct cluster *c);
const char *cluster_name(const struct cluster *c); /* "libslurm", "tools" */
int cluster_has_library(void);

int cluster_ping(struct cluster *c, struct mup_error *err);
int cluster_submit(struct cluster *c, const struct cluster_request *request,
                   int64_t *id, struct mup_error *err);
/* state CLUSTER_NO_JOB if there is none.  Of an array: its task that is most
 * alive, of ended ones one that failed. */
int cluster_job(struct cluster *c, int64_t id, struct cluster_job *out,
                struct mup_error *err);
/* The newest job of this user with that comment, ended ones only if no other;
 * CLUSTER_NO_JOB if there is none. */
int cluster_find(struct cluster *c, const char *comment,
                 struct cluster_job *out, struct mup_error *err);
/* MUP_OK also for one that has ended or is not known. */
int cluster_cancel(struct cluster *c, int64_t id, struct mup_error *err);
/* Signal the batch script alone; MUP_USAGE unless it runs. */
int cluster_signal(struct cluster *c, int64_t id, int number,
                   struct mup_error *err);
/* The job is killed and waits again under the same id; exclude (may be NULL):
 * nodes that it shall not get then, beside those that were excluded. */
int cluster_requeue(struct cluster *c, int64_t id, const char *exclude,
                    struct mup_error *err);
/* NULL or "": of the default partition.  takes: free(*out). */
int cluster_nodes(struct cluster *c, const char *partition,
                  struct cluster_node **out, int *n, struct mup_error *err);
/* "": the default one.  MUP_USAGE, naming those that there are, if missing. */
int cluster_partition(struct cluster *c, const char *name,
                      struct cluster_partition *out, struct mup_error *err);
/* reason: never empty.  MUP_NEGATIVE without operator rights. */
int cluster_drain(struct cluster *c, const char *node, const char *reason,
                  struct mup_error *err);

#endif
