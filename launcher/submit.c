#include "launcher/submit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/journal.h"
#include "launcher/paths.h"
#include "launcher/shell.h"
#include "launcher/submit_sweep.h"
#include "launcher/verbs.h"
#include "model/file.h"
#include "model/run.h"

/* Its supervisor writes launch.json every few seconds. */
#define FRESH_S   20.0
#define MAX_WORDS 320

/* ---- the folder ------------------------------------------------------------
 */

int submit_absolute(const char *path, char *out, size_t bytes,
                    struct mup_error *err)
{
    char here[1024];
    int n;

    if (path[0] == '/')
        n = snprintf(out, bytes, "%s", path);
    else if (!getcwd(here, sizeof(here)))
        return mup_fail(err, MUP_SYSTEM, "cannot tell the current folder: %s",
                        strerror(errno));
    else
        n = snprintf(out, bytes, "%s/%s", strcmp(here, "/") ? here : "", path);
    if (n < 0 || (size_t)n >= bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long",
                        path);
    return MUP_OK;
}

static int open_dir(struct submit *s, const char *dir, struct mup_error *err)
{
    char path[1100], what[1100];
    int rc = submit_absolute(dir, s->dir, sizeof(s->dir), err);

    if (rc == MUP_OK)
        rc = path_expect_free(s->dir, s->space ? PATH_SWEEP_DIR : PATH_RUN_DIR,
                              err);
    if (rc == MUP_OK && !s->space)
        rc = run_check_dir(s->config, s->dir, err);
    if (rc == MUP_OK)
        rc = file_make_dirs(s->dir, err);
    if (rc == MUP_OK)
        rc = path_join(s->dir, "launch.lock", path, sizeof(path), err);
    if (rc != MUP_OK)
        return rc;
    snprintf(what, sizeof(what), "the launch in '%s'", s->dir);
    return lock_take(path, what, &s->lock, err);
}

/* The command that was typed, options first. */
static int make_command(const struct args *args, char **out,
                        struct mup_error *err)
{
    const struct option *o = args->verb->options;
    const char *words[MAX_WORDS] = { "mutransfer", args->verb->name };
    char *texts;
    size_t bytes = 1, used = 0;
    int n = 2, rc;

    if (args->n_overrides + args->n_operands > MAX_WORDS - 64)
        return mup_fail(err, MUP_USAGE, "more than %d keys on a command line",
                        MAX_WORDS - 64);
    for (int i = 0; i < args->n_overrides; i++)
        bytes += strlen(args->overrides[i]) + 3;
    for (int i = 0; o[i].name; i++)
        bytes += strlen(o[i].name) + 3;
    texts = malloc(bytes);
    if (!texts)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; o[i].name; i++) {
        if (!args->value[i])
            continue;
        words[n++] = texts + used;
        used +=
            (size_t)snprintf(texts + used, bytes - used, "--%s", o[i].name) + 1;
        if (o[i].value)
            words[n++] = args->value[i];
    }
    for (int i = 0; i < args->n_overrides; i++) {
        words[n++] = texts + used;
        used += (size_t)snprintf(texts + used, bytes - used, "--%s",
                                 args->overrides[i]) +
                1;
    }
    for (int i = 0; i < args->n_operands; i++)
        words[n++] = args->operands[i];
    rc = shell_join(words, out, err);
    free(texts);
    return rc;
}

static int64_t journal_size(const char *dir)
{
    char path[1100];
    struct stat st;

    return path_join(dir, "launch.jsonl", path, sizeof(path), NULL) == MUP_OK &&
                   stat(path, &st) == 0
               ? (int64_t)st.st_size
               : 0;
}

/* The run's name for all its jobs: made once, then the journal's. */
static int find_uuid(struct submit *s, const struct launch_log *log,
                     struct mup_error *err)
{
    int rc = MUP_OK;

    if (log->uuid[0])
        snprintf(s->uuid, sizeof(s->uuid), "%s", log->uuid);
    else
        rc = launch_log_uuid(s->uuid, err);
    launch_log_comment(s->uuid, s->comment, sizeof(s->comment));
    s->job = log->job;
    return rc;
}

/* s: what is known already. */
static int open_submit(struct submit s, const char *dir, struct submit *out,
                       struct mup_error *err)
{
    struct launch_log log = { 0 };
    int rc;

    s.lock.fd = -1;
    rc = open_dir(&s, dir, err);
    if (rc == MUP_OK)
        rc = cluster_open(s.config->slurm.by, &s.cluster, err);
    if (rc == MUP_OK)
        rc = make_command(s.args, &s.command, err);
    if (rc == MUP_OK)
        s.journal_bytes = journal_size(s.dir);
    if (rc == MUP_OK)
        rc = launch_log_read(s.dir, &log, err);
    if (rc == MUP_OK)
        rc = find_uuid(&s, &log, err);
    launch_log_clear(&log);
    if (rc != MUP_OK) {
        submit_close(&s);
        return rc;
    }
    *out = s;
    return MUP_OK;
}

int submit_open(const struct args *args, const struct run_config *config,
                const char *dir, struct terminal *terminal, struct submit *out,
                struct mup_error *err)
{
    const struct submit s = { .args = args,
                              .config = config,
                              .terminal = terminal };

    return open_submit(s, dir, out, err);
}

int submit_open_sweep(const struct args *args, const struct space *space,
                      const char *dir, struct terminal *terminal,
                      struct submit *out, struct mup_error *err)
{
    const struct submit s = { .args = args,
                              .config = &space->base,
                              .space = space,
                              .terminal = terminal };

    return open_submit(s, dir, out, err);
}

void submit_close(struct submit *s)
{
    if (s->cluster)
        cluster_close(s->cluster);
    lock_release(&s->lock);
    free(s->command);
    *s = (struct submit){ .lock = { -1 } };
}

int submit_is_fresh(const char *dir)
{
    json_t *state = launch_state_read(dir);
    double age = difftime(time(NULL), (time_t)journal_real(state, "time"));

    json_decref(state);
    return state && age < FRESH_S && age > -FRESH_S;
}

/* ---- the job ----------------------------------------------------------------
 */

int submit_make_job(const struct submit *s, const struct node_filter *filter,
                    struct job *out, struct mup_error *err)
{
    const char *const command[] = { s->args->program,
                                    s->space ? "drive" : "supervise", s->dir,
                                    NULL };
    struct run_config config = *s->config;
    char *exclude;
    int rc = node_filter_join(filter, &exclude, err);

    if (rc != MUP_OK)
        return rc;
    config.slurm.exclude[0] = 0; /* it is in the filter */
    config.slurm.array &= s->space != NULL;
    rc = job_make(&config, command, s->dir, s->uuid, exclude, out, err);
    free(exclude);
    return rc;
}

static int stopped(struct mup_error *err)
{
    return mup_fail(err, MUP_STOPPED,
                    "stopped while SLURM's controller did not answer; the same "
                    "command finds out whether a job was taken, and submits "
                    "one if not");
}

/* Until the controller answers.  MUP_STOPPED where the user did not wait. */
static int again(struct submit *s, int *rc, struct mup_error *err)
{
    if (patience_again(&s->patience, s->terminal, *rc, err))
        return 1;
    if (*rc == MUP_DEVICE)
        *rc = stopped(err);
    return 0;
}

/* The job as the cluster takes it: without nodes that it does not know. */
static int prepare(struct submit *s, struct job *job, struct mup_error *err)
{
    struct node_filter filter = { 0 };
    struct cluster_partition p;
    struct cluster_node *node = NULL;
    int n = 0, rc;

    do
        rc = cluster_partition(s->cluster, s->config->slurm.partition, &p, err);
    while (again(s, &rc, err));
    if (rc != MUP_OK)
        return rc;
    do
        rc = cluster_nodes(s->cluster, p.name, &node, &n, err);
    while (again(s, &rc, err));
    if (rc == MUP_OK)
        rc = node_filter_make(s->config, node, n, &filter, err);
    free(node);
    if (rc != MUP_OK)
        return rc;
    if (*filter.unknown)
        terminal_note(s->terminal,
                      "note: slurm.exclude names nodes that partition '%s' "
                      "does not have: %s",
                      p.name, filter.unknown);
    rc = submit_make_job(s, &filter, job, err);
    node_filter_clear(&filter);
    if (rc != MUP_OK)
        return rc;
    do
        rc = job_check(s->cluster, job, err);
    while (again(s, &rc, err));
    if (rc != MUP_OK)
        job_clear(job);
    return rc;
}

/* What the job reads, and the command that it comes from. */
static int write_config(const struct submit *s, struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    int rc;

    if (s->space)
        return submit_sweep_write(s, err);
    rc = path_join(s->dir, "launch-config.yaml", path, sizeof(path), err);
    if (rc == MUP_OK)
        rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    fprintf(f.out, "# %s\n", s->command);
    rc = config_dump(&run_schema, s->config, 0, f.out, err);
    if (rc != MUP_OK) {
        file_replace_abandon(&f);
        return rc;
    }
    return file_replace_commit(&f, err);
}

/* The command line on one line of a YAML comment. */
static int check_command(const struct submit *s, struct mup_error *err)
{
    if (strpbrk(s->command, "\n\r"))
        return mup_fail(err, MUP_USAGE,
                        "the command line has a line break in it; leave it "
                        "out");
    return MUP_OK;
}

static int journal_submitting(const struct submit *s, struct mup_error *err)
{
    json_t *e = launch_log_new("submitting");

    json_object_set_new(e, "uuid", json_string(s->uuid));
    json_object_set_new(e, "command", journal_string(s->command));
    return launch_log_append(s->dir, e, err);
}

static int journal_submitted(const struct submit *s, int why,
                             struct mup_error *err)
{
    const struct slurm_config *c = &s->config->slurm;
    json_t *e = launch_log_new("submitted");

    json_object_set_new(e, "uuid", json_string(s->uuid));
    json_object_set_new(e, "job", json_integer(s->job));
    json_object_set_new(e, "by", json_string(cluster_name(s->cluster)));
    json_object_set_new(e, "nodes", json_integer(c->nodes));
    json_object_set_new(e, "spares", json_integer(c->spares));
    json_object_set_new(e, "ranks_per_node", json_integer(c->ranks_per_node));
    json_object_set_new(e, "time_min", json_real(c->time_min));
    json_object_set_new(e, "partition", journal_string(c->partition));
    json_object_set_new(e, "again", json_integer(why));
    return launch_log_append(s->dir, e, err);
}

static int journal_adopted(const struct submit *s, struct mup_error *err)
{
    json_t *e = launch_log_new("adopted");

    json_object_set_new(e, "job", json_integer(s->job));
    return launch_log_append(s->dir, e, err);
}

/* A question that was not answered may have been heard: before it is asked
 * again, the job is looked for.  A job that was there before is not it. */
static int ask(struct submit *s, const struct job *job, struct mup_error *err)
{
    const int64_t before = s->job;
    struct cluster_job found;
    int rc;

    for (;;) {
        rc = cluster_submit(s->cluster, &job->request, &s->job, err);
        if (rc != MUP_DEVICE)
            return rc;
        (void)again(s, &rc, err);
        if (rc == MUP_STOPPED)
            return rc;
        do
            rc = cluster_find(s->cluster, s->comment, &found, err);
        while (again(s, &rc, err));
        if (rc != MUP_OK)
            return rc;
        if (found.state != CLUSTER_NO_JOB && found.id != before) {
            s->job = found.id;
            return MUP_OK;
        }
    }
}

int submit_job(struct submit *s, int why, struct mup_error *err)
{
    struct job job;
    int rc = prepare(s, &job, err);

    if (rc != MUP_OK)
        return rc;
    rc = check_command(s, err);
    if (rc == MUP_OK)
        rc = write_config(s, err);
    if (rc == MUP_OK)
        rc = journal_submitting(s, err);
    if (rc == MUP_OK)
        rc = ask(s, &job, err);
    if (rc == MUP_OK)
        rc = journal_submitted(s, why, err);
    if (rc == MUP_OK && !s->args->quiet)
        terminal_note(s->terminal, "job %lld (%s) is submitted",
                      (long long)s->job, job.name);
    job_clear(&job);
    return rc;
}

/* ---- a job that is there already
 * ---------------------------------------------
 */

int submit_look(struct submit *s, struct cluster_job *out,
                struct mup_error *err)
{
    struct cluster_job job = { .state = CLUSTER_NO_JOB }, found;
    int rc = MUP_OK;

    if (s->job > 0)
        rc = cluster_job(s->cluster, s->job, &job, err);
    if (rc != MUP_OK)
        return rc;
    if (job.state != CLUSTER_NO_JOB && strcmp(job.comment, s->comment) != 0)
        job.state = CLUSTER_NO_JOB; /* the number is somebody else's now */
    if (job.state == CLUSTER_NO_JOB || job.state == CLUSTER_ENDED) {
        rc = cluster_find(s->cluster, s->comment, &found, err);
        if (rc != MUP_OK)
            return rc;
        /* One that has ended counts by its number alone: an earlier job of
         * the run says nothing about this one. */
        if (found.state != CLUSTER_NO_JOB &&
            (found.state != CLUSTER_ENDED || s->job == 0 || found.id == s->job))
            job = found;
    }
    *out = job;
    return MUP_OK;
}

/* Is there something to follow?  What has said "ended" is on its way out. */
static int lives(const struct submit *s, const struct launch_log *log,
                 const struct cluster_job *job)
{
    switch (job->state) {
    case CLUSTER_PENDING:
    case CLUSTER_HELD:
        return 1;
    case CLUSTER_RUNNING:
    case CLUSTER_ENDING:
        return !log->ended;
    case CLUSTER_NO_JOB:
        return log->job > 0 && !log->ended && submit_is_fresh(s->dir);
    default:
        return 0;
    }
}

static int adopt(struct submit *s, const struct launch_log *log,
                 const struct cluster_job *job, struct mup_error *err)
{
    s->job = job->state == CLUSTER_NO_JOB ? log->job : job->id;
    if (!s->args->quiet)
        terminal_note(s->terminal, "job %lld of this run is there already: %s",
                      (long long)s->job,
                      job->state == CLUSTER_NO_JOB
                          ? "SLURM does not know it, but it gives signs of life"
                          : job->state_name);
    return journal_adopted(s, err);
}

static int begin(struct submit *s, const struct launch_log *log, int *begun,
                 struct mup_error *err)
{
    struct cluster_job job = { .state = CLUSTER_NO_JOB };
    int rc = MUP_OK;

    if (log->ended && (log->status == MUP_OK || log->status == MUP_DIVERGED) &&
        (!s->space || submit_sweep_is_whole(s))) {
        *begun = SUBMIT_DONE;
        return MUP_OK;
    }
    if (log->uuid[0]) {
        do
            rc = submit_look(s, &job, err);
        while (again(s, &rc, err));
    }
    if (rc != MUP_OK)
        return rc;
    if (lives(s, log, &job)) {
        *begun = SUBMIT_ADOPTED;
        return adopt(s, log, &job, err);
    }
    if (log->job > 0 && !log->ended && job.state == CLUSTER_NO_JOB)
        terminal_note(s->terminal,
                      "note: SLURM does not know job %lld of this run any "
                      "more: a new one is submitted",
                      (long long)log->job);
    *begun = SUBMIT_NEW;
    return submit_job(s, SUBMIT_BY_HAND, err);
}

int submit_begin(struct submit *s, int *begun, struct mup_error *err)
{
    struct launch_log log;
    int rc = launch_log_read(s->dir, &log, err);

    if (rc != MUP_OK)
        return rc;
    rc = begin(s, &log, begun, err);
    launch_log_clear(&log);
    return rc;
}
