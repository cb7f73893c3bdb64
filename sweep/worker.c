/* The worker process: trains what the driver asks for, one run at a time. */
#include "sweep/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "model/clock.h"
#include "model/fence.h"
#include "sweep/driver.h"

/* Step lines a second, at most: the driver draws no faster. */
#define WORKER_LINE_INTERVAL_S 0.5
/* Seconds between signs of life. */
#define WORKER_ALIVE_S 1.0

/* How long a predecessor, whose driver was killed, may take to save; and one
 * whose lease has ended already, so that it is dead, or hangs, or is cut off.
 */
#define WORKER_PATIENCE_S        60.0
#define WORKER_LEASED_PATIENCE_S 5.0

/* A second thread gives the signs of life where the main one cannot: while it
 * waits for a job, reads its data or writes a checkpoint.  Within steps and
 * evaluations the main thread gives them itself, so that one that hangs is
 * found. */
struct worker {
    int in, out;
    int closed;     /* standard input has ended: save and stop */
    int terminated; /* SIGTERM came, or the lease is over: the same, and exit */
    char buffer[WORKER_LINE_BYTES];
    size_t used;
    double lease_s, heard_s; /* lease_s 0: none */
    struct worker_job job;
    double last_step_s;
    worker_train *train;
    pthread_t pulse;
    pthread_cond_t wake;
    pthread_mutex_t lock; /* for all below */
    int over;             /* the pulse shall end */
    int vouching;         /* the pulse speaks for the main thread */
    int broken;           /* nobody reads what we say: as closed */
    double said_s;        /* when the last line went out */
};

/* Drop what the driver says to show that it is there. */
static void hear(struct worker *w)
{
    char *end;

    while ((end = memchr(w->buffer, '\n', w->used)) != NULL) {
        size_t n = (size_t)(end - w->buffer);

        if (!worker_parse_lease(w->buffer, n, &w->lease_s))
            return; /* a job */
        w->used -= n + 1;
        memmove(w->buffer, end + 1, w->used);
    }
}

/* Take what has arrived; notice the end. */
static void fill(struct worker *w)
{
    ssize_t n;

    if (w->used == sizeof(w->buffer)) {
        w->closed = 1; /* no line is that long: the driver is not one */
        return;
    }
    n = read(w->in, w->buffer + w->used, sizeof(w->buffer) - w->used);
    if (n > 0) {
        w->used += (size_t)n;
        w->heard_s = clock_s();
        hear(w);
    } else if (n == 0 || errno != EINTR) {
        w->closed = 1;
    }
}

/* SIGTERM is blocked while a run is trained and asked for here, so that no
 * handler and no global is needed. */
static void look_for_term(struct worker *w)
{
    struct timespec none = { 0, 0 };
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    if (sigtimedwait(&set, NULL, &none) == SIGTERM)
        w->terminated = 1;
}

/* What has arrived within timeout_ms; is there still a driver? */
static void look_for_driver(struct worker *w, int timeout_ms)
{
    struct pollfd p = { w->in, POLLIN, 0 };

    if (!w->closed && poll(&p, 1, timeout_ms) > 0)
        fill(w);
    if (w->lease_s > 0 && clock_s() - w->heard_s > w->lease_s)
        w->terminated = 1;
    pthread_mutex_lock(&w->lock);
    if (w->broken)
        w->closed = 1;
    pthread_mutex_unlock(&w->lock);
}

static int should_stop(void *context)
{
    struct worker *w = context;

    look_for_term(w);
    look_for_driver(w, 0);
    return w->closed || w->terminated;
}

/* One line to the driver, under the lock. */
static void say(struct worker *w, const struct worker_message *message)
{
    char *line;
    size_t done = 0, bytes;

    if (worker_format_message(message, &line, NULL))
        return;
    bytes = strlen(line);
    while (done < bytes) {
        ssize_t n = write(w->out, line + done, bytes - done);

        if (n < 0 && errno != EINTR) {
            w->broken = 1;
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    w->said_s = clock_s();
    free(line);
}

static void send_line(struct worker *w, const struct worker_message *message)
{
    pthread_mutex_lock(&w->lock);
    say(w, message);
    pthread_mutex_unlock(&w->lock);
}

static void vouch(struct worker *w, int yes)
{
    const struct worker_message alive = { .event = WORKER_ALIVE };

    pthread_mutex_lock(&w->lock);
    w->vouching = yes;
    if (clock_s() - w->said_s > WORKER_ALIVE_S)
        say(w, &alive);
    pthread_mutex_unlock(&w->lock);
}

static void *pulse(void *context)
{
    const struct worker_message alive = { .event = WORKER_ALIVE };
    struct worker *w = context;

    pthread_mutex_lock(&w->lock);
    say(w, &alive); /* here we are */
    while (!w->over) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_sec += (time_t)WORKER_ALIVE_S;
        (void)pthread_cond_timedwait(&w->wake, &w->lock, &t);
        if (!w->over && w->vouching)
            say(w, &alive);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals are the main thread's. */
static int start_pulse(struct worker *w)
{
    pthread_condattr_t attributes;
    sigset_t all, before;
    int rc = pthread_condattr_init(&attributes);

    if (rc)
        return MUP_SYSTEM;
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&w->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    if (!rc)
        rc = pthread_mutex_init(&w->lock, NULL);
    w->vouching = 1;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    if (!rc)
        rc = pthread_create(&w->pulse, NULL, pulse, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? MUP_SYSTEM : MUP_OK;
}

static void end_pulse(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->over = 1;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->pulse, NULL);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
}

static void tell_step(void *context, const struct train_step *step)
{
    struct worker *w = context;
    double now = clock_s();
    struct worker_message m;

    if (now - w->last_step_s < WORKER_LINE_INTERVAL_S)
        return;
    w->last_step_s = now;
    memset(&m, 0, sizeof(m));
    m.event = WORKER_STEP;
    m.trial = w->job.trial;
    m.attempt = w->job.attempt;
    m.step = step->step;
    m.steps = step->steps;
    m.loss = step->loss;
    send_line(w, &m);
}

static void take_beat(void *context, const struct train_beat *beat)
{
    vouch(context,
          beat->phase != TRAIN_STEP && beat->phase != TRAIN_EVALUATION);
}

/* Two processes must never train in one directory: the worker of a killed
 * driver may still be saving there.  Wait for it while the pipe is open.  One
 * on a node that does not answer may hold the lock for ever: it is fenced off.
 */
static int lock_dir(struct worker *w, int *fd, struct mup_error *err)
{
    struct timespec pause = { 0, 20000000 };
    const int leased = w->lease_s > 0;
    double deadline =
        clock_s() + (leased ? WORKER_LEASED_PATIENCE_S : WORKER_PATIENCE_S);
    char path[2200];

    snprintf(path, sizeof(path), "%s/worker.lock", w->job.dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return mup_fail(err, MUP_SYSTEM,
                        "cannot open '%s': %s; make it writable or choose "
                        "another directory for the sweep",
                        path, strerror(errno));
    while (flock(*fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return mup_fail(err, MUP_SYSTEM, "cannot lock '%s': %s", path,
                            strerror(errno));
        if (should_stop(w))
            return MUP_STOPPED;
        if (clock_s() > deadline && leased)
            return MUP_OK;
        if (clock_s() > deadline)
            return mup_fail(err, MUP_SYSTEM,
                            "'%s' is held by another worker for %g s; stop "
                            "it and run the sweep again",
                            path, WORKER_PATIENCE_S);
        nanosleep(&pause, NULL);
    }
    return MUP_OK;
}

/* The attempt is the run's incarnation: earlier ones save nothing any more.  A
 * driver that hands out no leases needs none: its workers die with it. */
static int raise_fence(struct worker *w, struct mup_error *err)
{
    int64_t newest, number = w->job.attempt;
    char text[32];
    int rc;

    (void)unsetenv(FENCE_VARIABLE);
    if (!(w->lease_s > 0))
        return MUP_OK;
    rc = fence_read(w->job.dir, &newest, err);
    /* A disk may have kept us so long that the trial is another's. */
    if (!rc && should_stop(w))
        return MUP_STOPPED;
    if (!rc && newest >= number) /* somebody has trained here by hand */
        number = newest + 1;
    if (!rc)
        rc = fence_raise(w->job.dir, number, err);
    snprintf(text, sizeof(text), "%lld", (long long)number);
    if (!rc && setenv(FENCE_VARIABLE, text, 1))
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    return rc;
}

static int run_locked(struct worker *w, struct mup_error *err)
{
    struct train_hooks hooks = {
        .context = w,
        .step = tell_step,
        .should_stop = should_stop,
        .beat = take_beat,
    };
    struct train_result result;
    struct run_config config;
    char path[2200];
    int rc;

    snprintf(path, sizeof(path), "%s/config.yaml", w->job.dir);
    rc = run_config_load(path, NULL, 0, &config, err);
    if (!rc)
        rc = raise_fence(w, err);
    return rc ? rc : w->train(&config, w->job.dir, &hooks, &result, err);
}

static void run_job(struct worker *w)
{
    struct mup_error err = { 0 };
    struct worker_message end;
    sigset_t term, before;
    int fd = -1;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, &before);
    memset(&end, 0, sizeof(end));
    end.event = WORKER_END;
    end.trial = w->job.trial;
    end.attempt = w->job.attempt;
    w->last_step_s = -1;
    end.status = lock_dir(w, &fd, &err);
    if (!end.status)
        end.status = run_locked(w, &err);
    vouch(w, 1);
    if (fd >= 0)
        close(fd);
    if (end.status)
        snprintf(end.error, sizeof(end.error), "%.500s", err.text);
    send_line(w, &end);
    look_for_term(w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Cut the first line off the buffer; 0 if there is none yet. */
static int take_job(struct worker *w, int *bad)
{
    char *end = memchr(w->buffer, '\n', w->used);
    struct mup_error err;
    size_t n;

    if (!end)
        return 0;
    n = (size_t)(end - w->buffer);
    *bad = worker_parse_job(w->buffer, n, &w->job, &err);
    w->used -= n + 1;
    memmove(w->buffer, end + 1, w->used);
    return 1;
}

int worker_serve(int in, int out, worker_train *train)
{
    struct sigaction ignore;
    struct worker *w = calloc(1, sizeof(*w));
    int rc = MUP_OK;

    if (!w)
        return MUP_SYSTEM;
    w->in = in;
    w->train = train;
    w->out = fcntl(out, F_DUPFD_CLOEXEC, 3);
    /* Ctrl-C reaches every process of a terminal; the driver decides. */
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    if (w->out < 0 || (out == STDOUT_FILENO && dup2(STDERR_FILENO, out) < 0) ||
        start_pulse(w)) {
        free(w);
        return MUP_SYSTEM;
    }
    while (!rc && !w->terminated) {
        if (take_job(w, &rc)) {
            if (!rc)
                run_job(w);
        } else if (w->closed) {
            break;
        } else {
            /* SIGTERM ends an idle worker at once. */
            look_for_driver(w, (int)(1000 * WORKER_ALIVE_S));
        }
    }
    if (w->terminated)
        rc = MUP_STOPPED;
    end_pulse(w);
    close(w->out);
    free(w);
    return rc;
}

int sweep_worker(void)
{
    return worker_serve(STDIN_FILENO, STDOUT_FILENO, train_run);
}
