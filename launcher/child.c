#include "launcher/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/clock.h"

#define POLL_MS   10
#define KILL_WAIT 50 /* times 10 ms until a killed one is left behind */

extern char **environ;

static int spawn(const char *const *argv, int quiet, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (!rc) {
        sigemptyset(&none);
        sigemptyset(&defaults);
        sigaddset(&defaults, SIGPIPE);
        sigaddset(&defaults, SIGTERM);
        sigaddset(&defaults, SIGINT);
        rc = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP |
                                                       POSIX_SPAWN_SETSIGDEF |
                                                       POSIX_SPAWN_SETSIGMASK);
        if (!rc)
            rc = posix_spawnattr_setpgroup(&attributes, 0);
        if (!rc)
            rc = posix_spawnattr_setsigmask(&attributes, &none);
        if (!rc)
            rc = posix_spawnattr_setsigdefault(&attributes, &defaults);
        if (!rc)
            rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null",
                                                  O_RDONLY, 0);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, out, 1);
        if (!rc && quiet)
            rc = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null",
                                                  O_WRONLY, 0);
        /* posix_spawnp's words are not const for historical reasons alone */
        if (!rc)
            rc = posix_spawnp(pid, argv[0], &actions, &attributes,
                              (char *const *)argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int child_start(const char *const *argv, int quiet, struct child *out,
                struct mup_error *err)
{
    int fd[2], fault;

    *out = (struct child){ .fd = -1 };
    if (pipe(fd) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot make a pipe: %s",
                        strerror(errno));
    (void)fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
    fault = spawn(argv, quiet, fd[1], &out->pid);
    close(fd[1]);
    if (fault) {
        close(fd[0]);
        out->pid = 0;
        return mup_fail(err, MUP_SYSTEM, "cannot start '%s': %s", argv[0],
                        strerror(fault));
    }
    out->fd = fd[0];
    return MUP_OK;
}

/* All that is there; what does not fit is dropped, so that it never blocks. */
static void take(struct child *c)
{
    char rest[4096];
    ssize_t n;

    do {
        size_t room = sizeof(c->text) - 1 - c->n;

        n = room ? read(c->fd, c->text + c->n, room)
                 : read(c->fd, rest, sizeof(rest));
        if (n > 0 && room)
            c->n += (size_t)n;
    } while (n > 0 || (n < 0 && errno == EINTR));
    c->text[c->n] = '\0';
}

static void close_pipe(struct child *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

int child_poll(struct child *c)
{
    pid_t ended;

    if (c->pid == 0)
        return 1;
    take(c);
    ended = waitpid(c->pid, &c->status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR))
        return 0;
    if (ended < 0)
        c->status = -1; /* somebody else has waited for it */
    take(c);
    close_pipe(c);
    c->pid = 0;
    return 1;
}

void child_kill(struct child *c)
{
    if (c->pid > 0) {
        (void)kill(-c->pid, SIGKILL);
        (void)kill(c->pid, SIGKILL);
    }
    for (int i = 0; !child_poll(c) && i < KILL_WAIT; i++)
        (void)poll(NULL, 0, POLL_MS);
    close_pipe(c);
    c->pid = 0;
}

int child_answer(const char *const *argv, double limit_s, struct child *out,
                 struct mup_error *err)
{
    const double until_s = clock_s() + limit_s;
    int rc = child_start(argv, 1, out, err);

    if (rc != MUP_OK)
        return rc;
    while (!child_poll(out)) {
        struct pollfd fd = { out->fd, POLLIN, 0 };

        if (clock_s() > until_s) {
            child_kill(out);
            return mup_fail(err, MUP_DEVICE,
                            "'%s' gave no answer within %.0f s", argv[0],
                            limit_s);
        }
        /* At the end of its output the pipe is always ready. */
        if (poll(&fd, 1, POLL_MS) > 0 && fd.revents & POLLHUP)
            (void)poll(NULL, 0, 1);
    }
    if (!WIFEXITED(out->status) || WEXITSTATUS(out->status) != 0)
        return mup_fail(err, MUP_DEVICE, "'%s' failed", argv[0]);
    return MUP_OK;
}
