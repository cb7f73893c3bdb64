/* One batch job, of a run or of a sweep: what is asked of SLURM and the script
 * that it starts.  Pure but for job_check. */
#ifndef LAUNCHER_JOB_H
#define LAUNCHER_JOB_H

#include "launcher/cluster.h"

/* request borrows from the other members. */
struct job {
    struct cluster_request request;
    struct slurm_config slurm; /* its texts */
    char *script;
    char name[64];     /* "mutransfer-<name of DIR>-<8 digits of the uuid>" */
    char comment[64];  /* launch_log_comment */
    char output[1100]; /* DIR/job.log, absolute */
    char work_dir[1100];
    char *exclude; /* slurm.exclude and the ejected nodes */
};

/* command: words that the script executes in place of itself ("exec"), so that
 * the program gets the job's signals; every word is quoted.  dir: of the run.
 * ejected: hostlist or NULL.  The script carries the request as #SBATCH lines
 * too: it can be submitted by hand.  MUP_USAGE for texts that no #SBATCH line
 * can hold.  takes: job_clear. */
int job_make(const struct run_config *config, const char *const *command,
             const char *dir, const char *uuid, const char *ejected,
             struct job *out, struct mup_error *err);
void job_clear(struct job *j);

/* Can the cluster ever run it?  MUP_USAGE, saying which limit is in the way:
 * a partition that is not there or not up, more nodes than it has or allows,
 * more CPUs, GPUs or memory than its nodes have, more time.  SLURM itself takes
 * a job of 99 nodes on 4 and lets it wait for ever. */
int job_check(struct cluster *c, const struct job *j, struct mup_error *err);

/* Seconds before the end at which the state is saved: slurm.signal_s or what
 * stands for 0. */
int64_t job_signal_s(const struct slurm_config *s);

#endif
