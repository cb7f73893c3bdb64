/* SLURM's words, and the output of its tools.  Pure.
 *
 * The tools are asked for one record a line, times in seconds since 1970
 * (SLURM_TIME_FORMAT=%s).  What a line says that is not known is passed over,
 * a field that is missing is 0 or "": every version adds some. */
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

/* Minutes in "2-12:30:00", "12:30:00", "30:00" or "30"; 0 for "UNLIMITED" and
 * what is no time. */
double slurm_parse_minutes(const char *text);

/* The status of what a tool complains of, with its last sentence: MUP_DEVICE
 * where the controller did not answer, MUP_NEGATIVE where it does not permit,
 * MUP_SYSTEM where no SLURM is configured, else MUP_USAGE.  what: "cannot
 * submit the job". */
int slurm_parse_refusal(const char *errors, const char *what,
                        struct mup_error *err);
/* Whether that is: there is no such job. */
int slurm_parse_no_job(const char *errors);

/* "sbatch --parsable": "17" or "17;cluster". */
int slurm_parse_id(const char *text, int64_t *id, struct mup_error *err);

/* What lies between the columns of squeue: no text of a job has it. */
#define SLURM_QUEUE_FORMAT "%F\x1f%T\x1f%k"

int slurm_parse_queue(const char *text, struct cluster_jobs *out,
                      struct mup_error *err);

/* scontrol --oneliner show job, node, partition.  Lists are taken: free(),
 * cluster_free_parts(). */
int slurm_parse_jobs(const char *text, struct cluster_jobs *out,
                     struct mup_error *err);
int slurm_parse_nodes(const char *text, struct cluster_nodes *out,
                      struct mup_error *err);
int slurm_parse_parts(const char *text, struct cluster_parts *out,
                      struct mup_error *err);
/* ExcNodeList of the first job.  takes: free(*out). */
int slurm_parse_excluded(const char *text, char **out, struct mup_error *err);

#endif
