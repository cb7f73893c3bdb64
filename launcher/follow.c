#include "launcher/follow.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/follow_view.h"
#include "launcher/journal.h"
#include "launcher/paths.h"
#include "launcher/stop.h"
#include "model/clock.h"
#include "model/file.h"

#define LOOK_S     0.25 /* at the files */
#define ASK_S      2.0  /* the controller */
#define LAST_WORDS 3    /* lines of job.log */
/* Of the journal at one time; it has a few lines an incident. */
#define TAIL_BYTES ((size_t)1 << 20)

struct follow {
    struct submit *s;
    int64_t read; /* bytes of the journal */
    int ended;
    int returns;   /* the journal says that the job is queued again */
    int held;      /* job s->job is, and the user knows */
    int gone;      /* answers in a row that there is nothing to wait for */
    int unstarted; /* jobs in a row that ended without their supervisor */
    char waits[FOLLOW_LINE_BYTES]; /* why nothing runs yet */
};

/* ---- the journal -----------------------------------------------------------
 */

static void take_event(struct follow *f, const json_t *event)
{
    const char *name = journal_text(event, "event");
    char line[FOLLOW_LINE_BYTES];

    if (!strcmp(name, "ended"))
        f->ended = 1;
    if (!strcmp(name, "requeued"))
        f->returns = 1;
    if (!strcmp(name, "supervisor")) {
        f->returns = 0;
        f->unstarted = 0;
        f->ended = 0;
    }
    /* What came of a failure stands in its incident. */
    if (!strcmp(name, "failure") && !f->s->args->verbose)
        return;
    follow_event_line(event, line, sizeof(line));
    if (line[0] && (!f->s->args->quiet || !strncmp(line, "warning: ", 9)))
        terminal_note(f->s->terminal, "%s", line);
}

/* Whole lines of text[0..n); how many bytes they are. */
static size_t take_lines(struct follow *f, const char *text, size_t n)
{
    const char *line = text, *end;

    while ((end = memchr(line, '\n', n - (size_t)(line - text)))) {
        json_t *event = json_loadb(line, (size_t)(end - line), 0, NULL);

        take_event(f, event);
        json_decref(event);
        line = end + 1;
    }
    return (size_t)(line - text);
}

/* What is new.  Opened anew each time: a network file system shows what others
 * wrote when a file is opened. */
static void read_journal(struct follow *f)
{
    char path[1100], *text = NULL;
    struct stat st;
    ssize_t n = 0;
    int fd = -1;

    if (path_join(f->s->dir, "launch.jsonl", path, sizeof(path), NULL) ==
        MUP_OK)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > f->read)
        text = malloc(TAIL_BYTES);
    if (text)
        n = pread(fd, text, TAIL_BYTES, (off_t)f->read);
    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (n > 0) {
        size_t taken = take_lines(f, text, (size_t)n);

        /* No event is that long. */
        f->read += taken == 0 && (size_t)n == TAIL_BYTES ? n : (ssize_t)taken;
    }
    free(text);
}

/* ---- what the user sees
 * ------------------------------------------------------
 */

static void show(struct follow *f)
{
    char line[FOLLOW_LINE_BYTES];
    json_t *state = NULL;

    line[0] = 0;
    if (submit_is_fresh(f->s->dir))
        state = launch_state_read(f->s->dir);
    if (state)
        follow_state_line(state, line, sizeof(line));
    if (!line[0])
        snprintf(line, sizeof(line), "%s", f->waits);
    json_decref(state);
    if (line[0])
        terminal_progress(f->s->terminal, "%s", line);
}

/* The last lines of what the job printed. */
static void show_last_words(struct follow *f)
{
    char path[1100], *text, *line;
    size_t bytes;
    int lines = 0;

    if (path_join(f->s->dir, "job.log", path, sizeof(path), NULL) != MUP_OK ||
        file_read(path, TAIL_BYTES, &text, &bytes, NULL) != MUP_OK)
        return;
    while (bytes > 0 && text[bytes - 1] == '\n')
        text[--bytes] = 0;
    for (line = text + bytes; line > text; line--)
        if (line[-1] == '\n' && ++lines == LAST_WORDS)
            break;
    if (*line)
        terminal_note(f->s->terminal, "last words in '%s':\n%s", path, line);
    free(text);
}

/* ---- jobs that are no more
 * ---------------------------------------------------
 */

static void begin_job(struct follow *f)
{
    f->held = f->gone = 0;
    f->waits[0] = 0;
}

/* Why a job ended that its supervisor did not end; "" where another job would
 * fare no better. */
static void tell_end(const struct follow *f, const struct cluster_job *job,
                     char *out, size_t bytes)
{
    const long long id = job->id;

    if (job->timed_out)
        snprintf(out, bytes,
                 "job %lld reached its limit of %.0f min before the state was "
                 "saved (a larger slurm.signal_s begins earlier)",
                 id, f->s->config->slurm.time_min);
    else if (job->preempted)
        snprintf(out, bytes, "job %lld was preempted", id);
    else if (job->node_failed)
        snprintf(out, bytes, "job %lld ended as a node failed", id);
    else if (job->cancelled)
        snprintf(out, bytes, "job %lld was cancelled from outside", id);
    else
        out[0] = 0;
}

static int fail_cancelled(const struct follow *f, struct mup_error *err)
{
    return mup_fail(err, MUP_STOPPED,
                    "the run is cancelled, job %lld has ended; the same "
                    "command continues from the last checkpoint",
                    (long long)f->s->job);
}

static int fail_silent(struct follow *f, const struct cluster_job *job,
                       struct mup_error *err)
{
    int status = job->exit_status > 0 && job->exit_status <= MUP_INCONCLUSIVE
                     ? (int)job->exit_status
                     : MUP_DEVICE;

    show_last_words(f);
    if (job->exit_signal > 0)
        return mup_fail(
            err, MUP_DEVICE,
            "job %lld ended by signal %lld (%s), and its "
            "supervisor did not say why; it printed to '%s/job.log'",
            (long long)job->id, (long long)job->exit_signal, job->state_name,
            f->s->dir);
    return mup_fail(err, status,
                    "job %lld ended with exit status %lld (%s), and its "
                    "supervisor did not say why; it printed to '%s/job.log'",
                    (long long)job->id, (long long)job->exit_status,
                    job->state_name, f->s->dir);
}

static int journal_requeued(const struct follow *f,
                            const struct launch_log *log, const char *text,
                            struct mup_error *err)
{
    json_t *e = launch_log_new("requeued");

    json_object_set_new(e, "text", journal_string(text));
    json_object_set_new(e, "tries", json_integer(log->tries));
    json_object_set_new(e, "base_step", json_integer(log->base_step));
    json_object_set_new(
        e, "requeues",
        json_integer(f->s->config->slurm.requeues - log->requeues - 1));
    return launch_log_append(f->s->dir, e, err);
}

static int submit_ended(struct follow *f, const struct cluster_job *job,
                        const struct launch_log *log, struct mup_error *err)
{
    const int64_t most = f->s->config->slurm.requeues;
    const int64_t attempts = f->s->config->recover.attempts;
    char why[300], text[600];
    int rc;

    tell_end(f, job, why, sizeof(why));
    if (!why[0])
        return fail_silent(f, job, err);
    f->unstarted += !log->supervised;
    if (f->unstarted >= attempts)
        return mup_fail(err, MUP_DEVICE,
                        "%s, as %lld jobs in a row before their supervisor "
                        "spoke (recover.attempts); 'mutransfer cancel' is what "
                        "ends a run, the same command continues it",
                        why, (long long)attempts);
    if (log->requeues >= most)
        return mup_fail(err, MUP_DEVICE,
                        "%s, and the run was queued again %lld times "
                        "(slurm.requeues); the same command continues it",
                        why, (long long)log->requeues);
    snprintf(text, sizeof(text),
             "%s; the run continues in a new one ('mutransfer cancel' would "
             "end it), time %lld of at most %lld",
             why, (long long)log->requeues + 1, (long long)most);
    rc = journal_requeued(f, log, text, err);
    begin_job(f);
    return rc ? rc : submit_job(f->s, SUBMIT_ENDED, err);
}

/* Losses since the run was last submitted by hand. */
static int count_losses(const struct launch_log *log)
{
    const json_t *event;
    size_t i;
    int n = 0;

    json_array_foreach(log->events, i, event)
    {
        int64_t why = journal_int(event, "again");

        if (strcmp(journal_text(event, "event"), "submitted") != 0)
            continue;
        if (why == SUBMIT_BY_HAND)
            n = 0;
        n += why == SUBMIT_LOST;
    }
    return n;
}

static int submit_lost(struct follow *f, const struct launch_log *log,
                       struct mup_error *err)
{
    const long long id = f->s->job;

    if (count_losses(log) > 0)
        return mup_fail(err, MUP_DEVICE,
                        "SLURM does not know job %lld of this run any more, "
                        "the second that it lost; once it keeps its jobs the "
                        "same command continues",
                        id);
    terminal_note(f->s->terminal,
                  "warning: SLURM does not know job %lld any more (a "
                  "controller that was killed forgets its newest jobs): the "
                  "run is submitted again, this once",
                  id);
    begin_job(f);
    return submit_job(f->s, SUBMIT_LOST, err);
}

/* The controller says that no job of the run is there, or that it ended.  Said
 * twice it counts: the journal's "ended" may come late. */
static int job_is_gone(struct follow *f, const struct cluster_job *job,
                       struct mup_error *err)
{
    struct launch_log log;
    int rc;

    if (job->state == CLUSTER_NO_JOB && submit_is_fresh(f->s->dir)) {
        f->gone = 0; /* not gone: somebody writes its state */
        return MUP_OK;
    }
    if (++f->gone < 2)
        return MUP_OK;
    read_journal(f);
    if (f->ended)
        return MUP_OK;
    rc = launch_log_read(f->s->dir, &log, err);
    if (rc != MUP_OK)
        return rc;
    if (log.cancelled)
        rc = fail_cancelled(f, err);
    else if (job->state == CLUSTER_NO_JOB)
        rc = submit_lost(f, &log, err);
    else
        rc = submit_ended(f, job, &log, err);
    launch_log_clear(&log);
    return rc;
}

/* ---- all of it
 * ----------------------------------------------------------------
 */

/* A job goes on without a batch script when its first node dies.  Its agents
 * give it back to the queue; where they could not, it is done here. */
static void return_orphan(struct follow *f, const struct cluster_job *job)
{
    json_t *state = launch_state_read(f->s->dir);
    const char *host = journal_text(state, "host");
    struct hostlist nodes = { 0 };

    if (*host && !submit_is_fresh(f->s->dir) &&
        strlen(job->nodes) + 1 < sizeof(job->nodes) &&
        hostlist_parse(job->nodes, &nodes, NULL) == MUP_OK && nodes.n > 0 &&
        hostlist_find(&nodes, host) < 0) {
        terminal_note(f->s->terminal,
                      "warning: %s is gone, and the supervisor with it: job "
                      "%lld is queued again",
                      host, (long long)job->id);
        f->returns =
            cluster_requeue(f->s->cluster, job->id, host, NULL) == MUP_OK;
    }
    hostlist_clear(&nodes);
    json_decref(state);
}

static void take_waiting(struct follow *f, const struct cluster_job *job)
{
    char line[FOLLOW_LINE_BYTES];

    f->gone = 0;
    f->waits[0] = 0;
    if (job->state == CLUSTER_PENDING)
        follow_wait_line(job, difftime(time(NULL), 0), f->waits,
                         sizeof(f->waits));
    /* For a moment SLURM calls a job that is queued again running. */
    if (job->state == CLUSTER_RUNNING && !f->returns)
        snprintf(f->waits, sizeof(f->waits), "job %lld starts on %.400s",
                 (long long)job->id, job->nodes);
    if (job->state == CLUSTER_RUNNING && !f->returns)
        return_orphan(f, job);
    if (job->state == CLUSTER_HELD) {
        snprintf(f->waits, sizeof(f->waits), "job %lld is held",
                 (long long)job->id);
        follow_held_line(job, line, sizeof(line));
        if (!f->held)
            terminal_note(f->s->terminal, "%s", line);
    }
    f->held = job->state == CLUSTER_HELD;
}

static int ask(struct follow *f, struct mup_error *err)
{
    struct cluster_job job;
    int rc = submit_look(f->s, &job, err);

    patience_note(&f->s->patience, f->s->terminal, rc, ASK_S, err);
    if (rc == MUP_DEVICE)
        return MUP_OK;
    if (rc != MUP_OK)
        return rc;
    if (job.state == CLUSTER_NO_JOB || job.state == CLUSTER_ENDED)
        return job_is_gone(f, &job, err);
    f->s->job = job.id;
    take_waiting(f, &job);
    return MUP_OK;
}

int follow_run(struct submit *s, int *ended, struct mup_error *err)
{
    struct follow f = { .s = s, .read = s->journal_bytes };
    int rc = MUP_OK;

    while (rc == MUP_OK && !stop_requested(NULL)) {
        read_journal(&f);
        if (f.ended)
            break;
        show(&f);
        if (clock_s() >= s->patience.next_s)
            rc = ask(&f, err);
        patience_sleep(LOOK_S);
    }
    terminal_clear(s->terminal);
    s->journal_bytes = f.read;
    if (rc == MUP_OK)
        *ended = f.ended;
    return rc;
}
