/* The client's side of a run under SLURM: one job at a time.  A job's number is
 * no identity: a controller that is killed may lose a job and give its number
 * away, so jobs are known by the run's uuid in their comment, and DIR's journal
 * says what was asked of the scheduler, before and after.
 *
 *     submit_open(args, config, dir, &terminal, &s, err);
 *     submit_begin(&s, &begun, err);       adopts a job that lives, or submits
 *     follow_run(&s, &end, err);           until the run has ended
 *     submit_close(&s);                    the job goes on
 */
#ifndef LAUNCHER_SUBMIT_H
#define LAUNCHER_SUBMIT_H

#include "launcher/args.h"
#include "launcher/cluster.h"
#include "launcher/job.h"
#include "launcher/launch_log.h"
#include "launcher/node_filter.h"
#include "launcher/patience.h"
#include "model/lock.h"
#include "sweep/space.h"

/* Why a job is submitted: the member "again" of its "submitted". */
enum submit_why {
    SUBMIT_BY_HAND,
    SUBMIT_LOST,  /* the controller knows it no more */
    SUBMIT_ENDED, /* cancelled or preempted, or its time was over */
};

struct submit {
    const struct args *args;
    const struct run_config *config;
    const struct space *space; /* of a sweep, whose base is config; else NULL */
    struct terminal *terminal;
    struct cluster *cluster;
    struct patience patience;
    struct file_lock lock; /* one client a run */
    char dir[1024];        /* absolute */
    char uuid[LAUNCH_UUID_BYTES], comment[64];
    char *command;         /* that was typed */
    int64_t job;           /* ours, 0: none yet */
    int64_t journal_bytes; /* of the journal, that are old */
};

enum submit_begun {
    SUBMIT_NEW,
    SUBMIT_ADOPTED,
    SUBMIT_DONE, /* the run has ended: nothing was submitted */
};

/* Takes the folder and opens the way to SLURM; asks nothing yet.  takes:
 * submit_close. */
int submit_open(const struct args *args, const struct run_config *config,
                const char *dir, struct terminal *terminal, struct submit *out,
                struct mup_error *err);
/* The same for a sweep. */
int submit_open_sweep(const struct args *args, const struct space *space,
                      const char *dir, struct terminal *terminal,
                      struct submit *out, struct mup_error *err);
void submit_close(struct submit *s);

/* MUP_STOPPED where a signal came while the controller did not answer. */
int submit_begin(struct submit *s, int *begun, struct mup_error *err);
/* why: enum submit_why. */
int submit_job(struct submit *s, int why, struct mup_error *err);

/* Our job as the controller knows it: by its number, else the newest with our
 * comment; CLUSTER_NO_JOB if neither is there. */
int submit_look(struct submit *s, struct cluster_job *out,
                struct mup_error *err);

/* Is there a sign of life of the run's supervisor, younger than 20 s? */
int submit_is_fresh(const char *dir);

/* The job of s without the nodes of the filter.  takes: job_clear. */
int submit_make_job(const struct submit *s, const struct node_filter *filter,
                    struct job *out, struct mup_error *err);
/* Absolute form of a path, which need not be there. */
int submit_absolute(const char *path, char *out, size_t bytes,
                    struct mup_error *err);

#endif
