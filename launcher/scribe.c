#include "launcher/scribe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/launch_log.h"
#include "model/clock.h"

/* A disk that takes nothing for so long will not take more. */
#define QUEUE_MAX ((size_t)64 << 20)
/* Between two looks at the journal. */
#define LOOK_MS 2000

static int write_down(const char *dir, int kind, json_t *object,
                      struct mup_error *err)
{
    return kind == SCRIBE_STATE ? launch_state_write(dir, object, err)
                                : launch_log_append(dir, object, err);
}

/* The child's state. */
struct desk {
    const char *dir;
    pid_t parent;
    int fd, told;
    char *text;
    size_t n, room;
};

/* Whole lines of what has come. */
static void write_lines(struct desk *d)
{
    char *line = d->text, *end;
    struct mup_error err;

    while ((end = memchr(line, '\n', d->n - (size_t)(line - d->text)))) {
        json_t *object =
            json_loadb(line + 1, (size_t)(end - line) - 1, 0, NULL);

        err.text[0] = '\0';
        if (write_down(d->dir, line[0], object, &err) &&
            line[0] == SCRIBE_EVENT)
            fprintf(stderr, "%s\n", err.text);
        line = end + 1;
    }
    d->n -= (size_t)(line - d->text);
    memmove(d->text, line, d->n);
}

/* 0 at the end of the pipe. */
static int take(struct desk *d)
{
    char *larger = NULL;
    ssize_t n;

    if (d->room - d->n < 4096)
        larger = realloc(d->text, d->room + 65536);
    if (larger) {
        d->text = larger;
        d->room += 65536;
    }
    do
        n = read(d->fd, d->text + d->n, d->room - d->n);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 0;
    d->n += (size_t)n;
    write_lines(d);
    return 1;
}

static void look_for_cancel(struct desk *d)
{
    struct launch_log log;

    if (d->told || launch_log_read(d->dir, &log, NULL) != MUP_OK)
        return;
    d->told = log.cancelled;
    launch_log_clear(&log);
    /* One that has died has left us to a stranger. */
    if (d->told && getppid() == d->parent)
        (void)kill(d->parent, SIGTERM);
}

static void serve(const char *dir, int fd, pid_t parent)
{
    struct desk d = { .dir = dir, .parent = parent, .fd = fd };
    struct pollfd in = { fd, POLLIN, 0 };
    double looked_s = clock_s();
    int open = 1;

    while (open) {
        if (poll(&in, 1, LOOK_MS) > 0)
            open = take(&d);
        if (open && clock_s() - looked_s > 1e-3 * LOOK_MS) {
            look_for_cancel(&d);
            looked_s = clock_s();
        }
    }
    _exit(0);
}

int scribe_open(const char *dir, struct scribe *out, struct mup_error *err)
{
    struct scribe s = { .fd = -1, .dir = dir };
    const pid_t parent = getpid();
    int fd[2];

    if (pipe(fd) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot make a pipe: %s",
                        strerror(errno));
    (void)fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    s.pid = fork();
    if (s.pid == 0) {
        close(fd[1]);
        /* It ends when the supervisor has, and not by the job's signals. */
        (void)setpgid(0, 0);
        serve(dir, fd[0], parent);
    }
    close(fd[0]);
    if (s.pid < 0) {
        close(fd[1]);
        return mup_fail(err, MUP_SYSTEM, "cannot start a process: %s",
                        strerror(errno));
    }
    (void)fcntl(fd[1], F_SETFL, O_NONBLOCK);
    s.fd = fd[1];
    *out = s;
    return MUP_OK;
}

void scribe_flush(struct scribe *s)
{
    ssize_t n = 1;

    while (s->fd >= 0 && s->n && n > 0) {
        n = write(s->fd, s->queue, s->n);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        if (n > 0) {
            s->n -= (size_t)n;
            memmove(s->queue, s->queue + n, s->n);
        }
    }
}

int scribe_put(struct scribe *s, int kind, json_t *object,
               struct mup_error *err)
{
    char *text, *larger;
    size_t bytes;

    if (s->fd < 0 || !object)
        return write_down(s->dir, kind, object, err);
    text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    bytes = text ? strlen(text) + 2 : 0;
    larger = text && s->n + bytes < QUEUE_MAX ? realloc(s->queue, s->n + bytes)
                                              : NULL;
    if (!larger) {
        free(text);
        return mup_fail(err, MUP_SYSTEM,
                        "out of memory for what is to be written to '%s'",
                        s->dir);
    }
    s->queue = larger;
    s->queue[s->n] = (char)kind;
    memcpy(s->queue + s->n + 1, text, bytes - 2);
    s->queue[s->n + bytes - 1] = '\n';
    s->n += bytes;
    free(text);
    scribe_flush(s);
    return MUP_OK;
}

void scribe_close(struct scribe *s, double seconds)
{
    const double end_s = clock_s() + seconds;
    struct pollfd fd = { s->fd, POLLOUT, 0 };
    pid_t pid = 0;

    while (s->fd >= 0 && s->n && clock_s() < end_s) {
        (void)poll(&fd, 1, 100);
        scribe_flush(s);
    }
    if (s->fd >= 0)
        close(s->fd);
    while (s->pid > 0 && pid == 0 && clock_s() < end_s) {
        pid = waitpid(s->pid, NULL, WNOHANG);
        if (pid == 0)
            (void)poll(NULL, 0, 10);
    }
    free(s->queue);
    *s = (struct scribe){ .fd = -1, .dir = s->dir };
}
