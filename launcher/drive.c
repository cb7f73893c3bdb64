#include "launcher/drive.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launcher/array.h"
#include "launcher/cluster.h"
#include "launcher/crew.h"
#include "launcher/job.h"
#include "launcher/journal.h"
#include "launcher/launch_log.h"
#include "launcher/paths.h"
#include "launcher/patience.h"
#include "launcher/step.h"
#include "launcher/stop.h"
#include "launcher/sweeps.h"
#include "launcher/terminal.h"
#include "model/clock.h"
#include "model/node.h"

/* Between two launch.json, and between two looks whether all is over. */
#define STATE_S 2.0
#define PULSE_S 0.1
/* Between two questions to a controller that does not answer. */
#define RETRY_S 1.0

struct drive {
    const char *dir;
    struct space space;
    struct crew crew;
    struct launch_log log;
    struct terminal terminal;
    int64_t job, journal_job;
    int64_t limit_unix_s;
    int signal; /* the first that came */
    double began_s;
    char host[NODE_NAME_BYTES];
    struct step sentinels; /* one a node of a job of several */
    /* launch.json is written by a thread: it must not stand still while the
     * driver reads its data, exports results or waits for a disk. */
    pthread_t pulse;
    int has_pulse;
    pthread_mutex_t lock; /* for all below */
    struct sweep_progress progress;
    int cancelled; /* in the journal: a dead controller passes on no signal */
    int over;
};

/* --- what is told --- */

static int tell_start(const struct drive *d, struct mup_error *err)
{
    const char *restart = getenv("SLURM_RESTART_COUNT");
    json_t *e = launch_log_new("supervisor"), *nodes = json_array();
    char host[NODE_NAME_BYTES];

    node_name(host);
    for (int i = 0; i < d->crew.nodes.n; i++)
        json_array_append_new(nodes, json_string(d->crew.nodes.name[i]));
    json_object_set_new(e, "job", json_integer(d->journal_job));
    json_object_set_new(e, "restart",
                        json_integer(restart ? strtol(restart, NULL, 10) : 0));
    json_object_set_new(e, "host", json_string(host));
    json_object_set_new(e, "pid", json_integer(getpid()));
    json_object_set_new(e, "nodes", nodes);
    json_object_set_new(e, "limit_unix_s", json_integer(d->limit_unix_s));
    return launch_log_append(d->dir, e, err);
}

static int tell_end(const struct drive *d, int status, const char *text,
                    struct mup_error *err)
{
    json_t *e = launch_log_new("ended");

    json_object_set_new(e, "status", json_integer(status));
    json_object_set_new(e, "text", journal_string(text));
    json_object_set_new(e, "wall_s", json_real(clock_s() - d->began_s));
    return launch_log_append(d->dir, e, err);
}

/* How it stands, for who follows; a failure to write it harms nobody. */
static void write_state(const struct drive *d, const struct sweep_progress *p)
{
    json_t *state = json_object();
    char line[512] = "the sweep starts";

    if (p->trials > 0)
        sweeps_line(p, line, sizeof(line));
    json_object_set_new(state, "time", json_integer(time(NULL)));
    json_object_set_new(state, "job", json_integer(d->journal_job));
    json_object_set_new(state, "host", json_string(d->host));
    json_object_set_new(state, "phase", json_string("sweep"));
    json_object_set_new(state, "progress", journal_string(line));
    json_object_set_new(state, "eta_s",
                        p->eta_s < 0 ? json_null() : json_real(p->eta_s));
    json_object_set_new(state, "limit_unix_s", json_integer(d->limit_unix_s));
    (void)launch_state_write(d->dir, state, NULL);
}

/* Has somebody asked in the journal to cancel? */
static int is_cancelled(const struct drive *d)
{
    struct launch_log log;
    int cancelled;

    if (launch_log_read(d->dir, &log, NULL) != MUP_OK)
        return 0;
    cancelled = log.cancelled;
    launch_log_clear(&log);
    return cancelled;
}

static void *pulse(void *context)
{
    struct drive *d = context;
    double written_s = clock_s();

    for (;;) {
        struct sweep_progress p;
        int over;

        pthread_mutex_lock(&d->lock);
        p = d->progress;
        over = d->over;
        pthread_mutex_unlock(&d->lock);
        if (over)
            return NULL;
        if (clock_s() - written_s >= STATE_S) {
            const int cancelled = is_cancelled(d);

            write_state(d, &p);
            pthread_mutex_lock(&d->lock);
            d->cancelled = cancelled;
            pthread_mutex_unlock(&d->lock);
            written_s = clock_s();
        }
        patience_sleep(PULSE_S);
    }
}

/* Signals are the main thread's. */
static int start_pulse(struct drive *d, struct mup_error *err)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&d->pulse, NULL, pulse, d);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    d->has_pulse = rc == 0;
    return rc == 0 ? MUP_OK
                   : mup_fail(err, MUP_SYSTEM, "cannot start a thread: %s",
                              strerror(rc));
}

static void end_pulse(struct drive *d)
{
    pthread_mutex_lock(&d->lock);
    d->over = 1;
    pthread_mutex_unlock(&d->lock);
    if (d->has_pulse)
        (void)pthread_join(d->pulse, NULL);
    d->has_pulse = 0;
}

/* --- hooks of the sweep --- */

static void show_progress(void *context, const struct sweep_progress *p)
{
    struct drive *d = context;

    pthread_mutex_lock(&d->lock);
    d->progress = *p;
    pthread_mutex_unlock(&d->lock);
}

static void show_note(void *context, const char *sentence)
{
    struct drive *d = context;
    json_t *e = launch_log_new("note");

    terminal_note(&d->terminal, "%s", sentence);
    json_object_set_new(e, "text", journal_string(sentence));
    (void)launch_log_append(d->dir, e, NULL);
}

static int should_stop(void *context)
{
    struct drive *d = context;
    int number = stop_requested(NULL);

    pthread_mutex_lock(&d->lock);
    if (!number && d->cancelled)
        number = SIGTERM;
    pthread_mutex_unlock(&d->lock);
    if (number && !d->signal) {
        json_t *e = launch_log_new("wish");

        d->signal = number;
        json_object_set_new(
            e, "wish", json_string(number == SIGUSR1 ? "limit" : "preempt"));
        if (is_cancelled(d)) /* it says so */
            json_decref(e);
        else
            (void)launch_log_append(d->dir, e, NULL);
    }
    return d->signal;
}

/* --- the end --- */

static int requeue(const struct drive *d, struct mup_error *err)
{
    json_t *e = launch_log_new("requeued");
    const double end_s = clock_s() + (double)job_signal_s(&d->space.base.slurm);
    struct cluster *cluster = NULL;
    int rc;

    json_object_set_new(e, "text", json_string("the time of the job is over"));
    json_object_set_new(
        e, "requeues",
        json_integer(d->space.base.slurm.requeues - d->log.requeues - 1));
    rc = launch_log_append(d->dir, e, err);
    if (rc == MUP_OK)
        rc = cluster_open(d->space.base.slurm.by, &cluster, err);
    if (rc != MUP_OK)
        return rc;
    /* A controller that is down may come back before our time is over. */
    while ((rc = cluster_requeue(cluster, d->job, NULL, err)) == MUP_DEVICE &&
           clock_s() < end_s)
        patience_sleep(RETRY_S);
    cluster_close(cluster);
    return rc;
}

/* The sweep has stopped with status rc: goes the job on, or is it over? */
static int conclude(struct drive *d, int rc, struct mup_error *err)
{
    struct mup_error other;
    int told;

    if (rc == MUP_STOPPED && d->signal == SIGUSR1 &&
        d->log.requeues < d->space.base.slurm.requeues) {
        told = requeue(d, &other);
        if (told == MUP_OK)
            return rc;
        rc = told;
        *err = other;
    } else if (rc == MUP_STOPPED && d->signal == SIGUSR1) {
        rc = mup_fail(err, MUP_STOPPED,
                      "the time of the job is over, and it was queued again "
                      "%lld times already (slurm.requeues); the same command "
                      "goes on",
                      (long long)d->log.requeues);
    } else if (rc == MUP_STOPPED && !is_cancelled(d)) {
        return rc; /* the scheduler or its user knows what is next */
    }
    told = tell_end(d, rc, rc ? err->text : "all trials have ended", &other);
    if (told != MUP_OK && rc == MUP_OK) {
        *err = other;
        rc = told;
    }
    return rc;
}

/* --- the beginning --- */

static int open_drive(struct drive *d, const char *program,
                      struct mup_error *err)
{
    const char *job = getenv("SLURM_JOB_ID");
    const char *array = getenv("SLURM_ARRAY_JOB_ID");
    const char *nodelist = getenv("SLURM_JOB_NODELIST");
    char path[1100];
    int rc;

    if (!job || !nodelist)
        return mup_fail(err, MUP_USAGE,
                        "there is no job of SLURM around us; 'mutransfer sweep "
                        "--slurm' submits one");
    rc = path_join(d->dir, "sweep.yaml", path, sizeof(path), err);
    if (rc == MUP_OK)
        rc = space_open(path, NULL, 0, &d->space, err);
    if (rc != MUP_OK)
        return rc;
    d->job = strtoll(job, NULL, 10);
    /* What the client knows an array by. */
    d->journal_job = strtoll(array ? array : job, NULL, 10);
    d->limit_unix_s =
        (int64_t)time(NULL) + (int64_t)(60 * d->space.base.slurm.time_min);
    rc = launch_log_read(d->dir, &d->log, err);
    if (rc == MUP_OK)
        rc = array_index() == 0
                 ? crew_make_array(array_size(), d->dir, program, &d->crew, err)
                 : crew_make(nodelist, &d->space.base.slurm, program, &d->crew,
                             err);
    return rc == MUP_OK ? tell_start(d, err) : rc;
}

/* The job outlives its first node, and with it the driver: somebody else must
 * give it back to the queue then.  Without them it would only be less safe. */
static void start_sentinels(struct drive *d, const char *program)
{
    const char *command[] = { program, "sentinel", d->dir, NULL };
    struct step_request request = { .mpi = "none",
                                    .n_nodes = d->crew.nodes.n,
                                    .tasks_per_node = 1,
                                    .cpus_per_task = 1,
                                    .log = STDERR_FILENO,
                                    .command = command };
    size_t bytes = (size_t)d->crew.nodes.n * (HOSTLIST_NAME_BYTES + 1) + 1;
    char *names = malloc(bytes);
    size_t at = 0;

    for (int i = 0; names && i < d->crew.nodes.n; i++)
        at += (size_t)snprintf(names + at, bytes - at, "%s%s", i ? "," : "",
                               d->crew.nodes.name[i]);
    request.nodes = names;
    if (names && d->crew.nodes.n > 1)
        (void)step_start(&request, &d->sentinels, NULL);
    free(names);
}

/* An element of an array that is not the driver. */
static int work(const char *program, const char *dir, struct mup_error *err)
{
    struct space space = { 0 };
    char path[1100];
    int rc = path_join(dir, "sweep.yaml", path, sizeof(path), err);

    if (rc == MUP_OK)
        rc = space_open(path, NULL, 0, &space, err);
    if (rc == MUP_OK)
        rc = array_work(program, dir, &space.base.slurm, err);
    space_close(&space);
    return rc;
}

int drive_run(const char *program, const char *dir, struct mup_error *err)
{
    struct drive d = { .dir = dir,
                       .began_s = clock_s(),
                       .sentinels = { .err = -1 },
                       .progress = { .eta_s = -1 },
                       .lock = PTHREAD_MUTEX_INITIALIZER };
    const struct sweep_hooks hooks = { &d, show_progress, should_stop,
                                       show_note };
    struct sweep_progress result = { .eta_s = -1 };
    struct mup_error local = { 0 };
    int rc;

    if (array_index() > 0)
        return work(program, dir, err);
    terminal_init(&d.terminal, 0);
    node_name(d.host);
    stop_watch_job();
    rc = open_drive(&d, program, &local);
    if (rc == MUP_OK) {
        write_state(&d, &result);
        if (array_index() < 0)
            start_sentinels(&d, program);
        rc = start_pulse(&d, &local);
        if (rc == MUP_OK)
            rc = sweep_run(&d.space, dir, &d.crew.sweep, &hooks, &result,
                           &local);
        rc = conclude(&d, rc, &local);
        end_pulse(&d);
        if (rc == MUP_OK || rc == MUP_NEGATIVE || rc == MUP_STOPPED)
            write_state(&d, &result);
    }
    step_close(&d.sentinels);
    crew_clear(&d.crew);
    launch_log_clear(&d.log);
    space_close(&d.space);
    if (rc != MUP_OK && err)
        *err = local;
    return rc;
}
