#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launcher/ask.h"
#include "launcher/journal.h"
#include "launcher/paths.h"
#include "launcher/run_status.h"
#include "launcher/stop.h"
#include "launcher/verbs.h"
#include "model/clock.h"
#include "model/lock.h"
#include "model/node.h"

static const struct option options[] = {
    { "no-wait", 0, NULL, "do not wait until the run has saved its state" },
    { 0 },
};

#define ASK_S 5

static void sleep_s(double s)
{
    const struct timespec t = { (time_t)s, (long)(1e9 * (s - floor(s))) };

    (void)nanosleep(&t, NULL);
}

/* A run that was over before we came: the answer is no. */
static int nothing_to_do(const char *dir)
{
    printf("'%s' does not run: there is nothing to cancel\n", dir);
    return MUP_NEGATIVE;
}

/* ---- on this machine ----------------------------------------------------- */

static int cancel_local(const char *dir, const char *lock_name, int wait,
                        struct mup_error *err)
{
    char path[4096], host[65], here[NODE_NAME_BYTES];
    long pid, now_pid;
    int rc = path_join(dir, lock_name, path, sizeof(path), err);

    if (rc != MUP_OK)
        return rc;
    if (!lock_holder(path, host, sizeof(host), &pid))
        return nothing_to_do(dir);
    node_name(here); /* as the lock has it */
    if (strcmp(here, host) != 0)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is run by process %ld on %s, which is another "
                        "machine; there, 'kill -INT %ld' stops it",
                        dir, pid, host, pid);
    if (kill((pid_t)pid, SIGINT) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot signal process %ld: %s", pid,
                        strerror(errno));
    while (wait && !stop_requested(NULL) &&
           lock_holder(path, NULL, 0, &now_pid) && now_pid == pid)
        sleep_s(0.1);
    if (wait && !stop_requested(NULL))
        printf("'%s' has stopped; the same command continues it\n", dir);
    else
        printf("process %ld was asked to save and stop\n", pid);
    return MUP_OK;
}

/* ---- under SLURM --------------------------------------------------------- */

/* What was done about the job. */
enum reach { REACHED, REMOVED, GONE, NOT_REACHED };

/* Signal or remove the job as its state asks; err: why it was not reached. */
static int reach_job(int by, int64_t id, int *reach, struct mup_error *err)
{
    struct cluster_job job;
    struct cluster *c;
    int rc = ask_job(by, id, ASK_S, &job, err);

    *reach = NOT_REACHED;
    if (rc == MUP_OK)
        rc = cluster_open(by, &c, err);
    if (rc != MUP_OK)
        return rc;
    switch (job.state) {
    case CLUSTER_PENDING:
    case CLUSTER_HELD:
        rc = cluster_cancel(c, id, err);
        *reach = REMOVED;
        break;
    case CLUSTER_RUNNING:
        rc = cluster_signal(c, id, SIGTERM, err);
        *reach = REACHED;
        break;
    default:
        *reach = GONE;
    }
    cluster_close(c);
    if (rc != MUP_OK)
        *reach = NOT_REACHED;
    return rc;
}

/* Is the job known to be over?  No answer is no. */
static int job_is_over(int by, int64_t id)
{
    struct cluster_job job;

    return ask_job(by, id, ASK_S, &job, NULL) == MUP_OK &&
           (job.state == CLUSTER_NO_JOB || job.state == CLUSTER_ENDED);
}

/* Until the journal has its last word or the job is gone.  *ended: the former;
 * 0 where somebody stopped us first, too. */
static int wait_for_end(const char *dir, int by, int64_t id, int *ended,
                        char text[640], struct mup_error *err)
{
    double next_s = clock_s() + 2;

    for (*ended = 0; !stop_requested(NULL); sleep_s(0.2)) {
        struct launch_log log;
        int over = 0, rc;

        if (clock_s() >= next_s) {
            over = job_is_over(by, id);
            next_s = clock_s() + 2;
        }
        rc = launch_log_read(dir, &log, err);
        if (rc != MUP_OK)
            return rc;
        *ended = log.ended;
        snprintf(text, 640, "%s", log.text);
        launch_log_clear(&log);
        if (*ended || over)
            return MUP_OK;
    }
    return MUP_OK;
}

static int leave_wish(const char *dir, struct mup_error *err)
{
    json_t *event = launch_log_new("wish");

    json_object_set_new(event, "wish", json_string("cancel"));
    return launch_log_append(dir, event, err);
}

/* A job that was removed before it began has no supervisor to say so. */
static int leave_last_word(const char *dir, struct mup_error *err)
{
    json_t *event = launch_log_new("ended");

    json_object_set_new(event, "status", json_integer(MUP_STOPPED));
    json_object_set_new(event, "text",
                        json_string("cancelled while its job was waiting"));
    return launch_log_append(dir, event, err);
}

static int finish_wait(const char *dir, int by, int64_t id,
                       struct mup_error *err)
{
    char text[640] = "";
    int ended, rc = wait_for_end(dir, by, id, &ended, text, err);

    if (rc != MUP_OK)
        return rc;
    if (ended)
        printf("'%s' has ended%s%s\n", dir, text[0] ? ": " : "", text);
    else if (stop_requested(NULL))
        printf("'%s' was asked to save and stop; its job %lld still runs\n",
               dir, (long long)id);
    else
        printf("job %lld of '%s' is gone and left no last word; the newest "
               "checkpoint stands\n",
               (long long)id, dir);
    return MUP_OK;
}

/* The scheduler was not reached: the supervisor reads the wish. */
static int rely_on_wish(const char *dir, const struct launch_log *log,
                        const struct mup_error *why, FILE *out,
                        struct mup_error *err)
{
    if (log->supervised) {
        fprintf(out,
                "the scheduler was not reached (%s); the wish stands in "
                "'%s/launch.jsonl', where the run's supervisor reads it\n",
                why->text, dir);
        return MUP_OK;
    }
    return mup_fail(err, MUP_DEVICE,
                    "job %lld was not reached: %.600s; the wish stands in "
                    "'%.200s/launch.jsonl', so that the run ends as soon as it "
                    "begins",
                    (long long)log->job, why->text, dir);
}

static int cancel_job(const char *dir, const struct launch_log *log, int wait,
                      struct mup_error *err)
{
    struct mup_error why = { 0 };
    const json_t *e;
    size_t i;
    int by = SLURM_AUTO, reach, rc;

    json_array_foreach(log->events, i, e)
    {
        if (!strcmp(journal_text(e, "by"), "tools"))
            by = SLURM_TOOLS;
    }
    rc = leave_wish(dir, err);
    if (rc != MUP_OK)
        return rc;
    (void)reach_job(by, log->job, &reach, &why);
    if (reach == REMOVED) {
        printf("job %lld, which was waiting, was removed\n",
               (long long)log->job);
        return leave_last_word(dir, err);
    }
    if (reach == GONE) {
        printf("job %lld of '%s' is over; there is nothing to cancel\n",
               (long long)log->job, dir);
        return MUP_NEGATIVE;
    }
    if (reach == NOT_REACHED)
        rc = rely_on_wish(dir, log, &why, wait ? stderr : stdout, err);
    else if (!wait)
        printf("job %lld was asked to save and stop\n", (long long)log->job);
    return rc == MUP_OK && wait ? finish_wait(dir, by, log->job, err) : rc;
}

/* ---- both ---------------------------------------------------------------- */

static int cancel_launched(const char *dir, int wait, struct mup_error *err)
{
    struct launch_log log;
    int rc = launch_log_read(dir, &log, err);

    if (rc != MUP_OK)
        return rc;
    if (log.ended || (log.job == 0 && !log.submitting))
        rc = nothing_to_do(dir);
    else if (log.submitting)
        /* The job, if there is one, is not known yet. */
        rc = leave_wish(dir, err);
    else
        rc = cancel_job(dir, &log, wait, err);
    if (log.submitting && rc == MUP_OK)
        printf("the submission of '%s' has no answer yet; the wish stands in "
               "its journal, so that a job that comes of it ends at once\n",
               dir);
    launch_log_clear(&log);
    return rc;
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *dir = args->operands[0];
    const int wait = !args_given(args, "no-wait");
    int kind, rc = path_classify(dir, &kind, err);

    if (rc != MUP_OK && (rc != MUP_USAGE || !run_status_is_launched(dir)))
        return rc;
    if (rc == MUP_OK && kind != PATH_RUN_DIR && kind != PATH_SWEEP_DIR)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a file; cancel takes the folder of a run or "
                        "of a sweep",
                        dir);
    stop_watch();
    if (run_status_is_launched(dir))
        return cancel_launched(dir, wait, err);
    return cancel_local(dir, kind == PATH_SWEEP_DIR ? "study.lock" : "run.lock",
                        wait, err);
}

const struct verb verb_cancel = {
    "cancel",
    "DIR",
    1,
    1,
    0,
    "stop a run or a sweep, its state saved",
    "Asks for the end of what runs in a folder.  Under SLURM the wish is\n"
    "written into the folder's journal and the job is signalled, or removed\n"
    "where it has not begun; where the controller does not answer the wish\n"
    "alone does it.  On this machine the process that works in the folder is\n"
    "interrupted, as by Ctrl-C.  Waits until the state is saved; Ctrl-C ends\n"
    "the waiting alone.  The command that started it continues it.\n"
    "Exit code 1 where nothing runs.",
    "mutransfer cancel runs/target",
    options,
    run,
};
