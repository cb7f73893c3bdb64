/* Worker processes: started without a shell, behind the prefix of their node if
 * it has one, spoken to over pipes, one thread each.  Their standard error goes
 * to dir/workers.log.  A worker lives until its standard input closes. */
#ifndef SWEEP_POOL_H
#define SWEEP_POOL_H

#include <sys/types.h>

#include "sweep/driver.h"
#include "sweep/worker.h"

struct pool_worker {
    int node;  /* index in the crew's nodes; 0 where there are none */
    pid_t pid; /* 0: not running */
    int in;    /* its standard input, -1 when closed */
    int out;   /* its standard output, -1 at its end */
    size_t used;
    char line[WORKER_LINE_BYTES];
    int polite;      /* it left because it was asked to: SIGTERM (pool_reap) */
    double heard_s;  /* when it last said anything, or was started */
    int spoke;       /* it has said something since */
    double told_s;   /* when it last heard from us */
    double killed_s; /* when pool_kill was called; 0: was not */
    double mute_s;   /* ... because it said nothing for so long */
    off_t log_start; /* end of workers.log when its job began */
    /* What the driver keeps about it. */
    int64_t job; /* index, or -1 */
    double busy_since_s, first_step_s;
    int64_t first_step, last_step, steps;
    int64_t done, failed; /* trials, by all processes of this slot */
};

/* Is it one that comes late, and not here yet? */
struct pool;
int pool_awaits(const struct pool *pool, const struct pool_worker *w);

struct pool {
    int n;
    struct pool_worker *worker;
    const struct sweep_crew *crew;
    char **environment;
    char log_path[1100];
    int log;
};

/* No process is started yet; crew is borrowed. */
int pool_open(const char *dir, const struct sweep_crew *crew, int n,
              struct pool *out, struct mup_error *err);
/* Kills what still runs. */
void pool_close(struct pool *pool);

int pool_start(struct pool *pool, struct pool_worker *w, struct mup_error *err);

/* A worker that has died meanwhile is found by pool_wait, not here. */
int pool_send(struct pool *pool, struct pool_worker *w,
              const struct worker_job *job, struct mup_error *err);
/* To those behind a prefix that have not heard from us for a while: they may
 * go on for lease_s. */
void pool_extend_leases(struct pool *pool, double lease_s);
/* Tell it to save and stop. */
void pool_hang_up(struct pool_worker *w);
/* Its last words are not waited for.  Of srun only the process itself: its
 * child sees that and has the remote step killed. */
void pool_kill(struct pool_worker *w);

/* Wait for lines or deaths, at most timeout_ms. */
void pool_wait(struct pool *pool, int timeout_ms);

/* The next message that has arrived; other lines are passed over. 0: none. */
int pool_take(struct pool_worker *w, struct worker_message *out);

/* 1 once it has died and all its messages are taken, or has outlived pool_kill
 * for seconds (it may hang in a file system); how: "was killed by signal 9
 * (Killed); its last words: ...". */
int pool_reap(struct pool *pool, struct pool_worker *w, char *how,
              size_t bytes);

/* Cores that this process may use. */
int pool_cores(void);

/* Smallest share of the process's cgroup (v2) and those above it, in cores
 * rounded up; 0 if none has a limit.  self: /proc/self/cgroup; root:
 * /sys/fs/cgroup. */
int pool_quota_cores(const char *self, const char *root);

double pool_now_s(void);

#endif
