#include "launcher/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "model/clock.h"

extern char **environ;

struct text {
    char *bytes; /* a zero behind used */
    size_t used, room;
};

/* Our ends: of its stdin, stdout and stderr. */
struct talk {
    pid_t pid;
    int fd[3];
    const char *input; /* what is still to be written */
    struct text text[3];
    int too_much;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Sockets, not pipes: writing to a program that has ended is an error then,
 * not a SIGPIPE. */
static int make_ends(int ours[3], int theirs[3], struct mup_error *err)
{
    for (int i = 0; i < 3; i++)
        ours[i] = theirs[i] = -1;
    for (int i = 0; i < 3; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
            return mup_fail(err, MUP_SYSTEM, "cannot make a socket: %s",
                            strerror(errno));
        ours[i] = pair[0];
        theirs[i] = pair[1];
        if (fcntl(pair[0], F_SETFD, FD_CLOEXEC) ||
            fcntl(pair[1], F_SETFD, FD_CLOEXEC))
            return mup_fail(err, MUP_SYSTEM, "cannot set up a socket: %s",
                            strerror(errno));
    }
    return MUP_OK;
}

/* Its own process group: the terminal's Ctrl-C is ours to answer, and a kill
 * reaches what it started.  What we ignore or block it must not inherit. */
static int set_attributes(posix_spawnattr_t *a)
{
    sigset_t none, defaults;

    sigemptyset(&none);
    sigfillset(&defaults);
    sigdelset(&defaults, SIGKILL);
    sigdelset(&defaults, SIGSTOP);
    return posix_spawnattr_setflags(a, POSIX_SPAWN_SETPGROUP |
                                           POSIX_SPAWN_SETSIGDEF |
                                           POSIX_SPAWN_SETSIGMASK) ||
           posix_spawnattr_setpgroup(a, 0) ||
           posix_spawnattr_setsigmask(a, &none) ||
           posix_spawnattr_setsigdefault(a, &defaults);
}

static int spawn(const struct command *c, const int theirs[3], pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (!rc) {
        rc = set_attributes(&attributes) ? ENOMEM : 0;
        for (int i = 0; i < 3 && !rc; i++)
            rc = posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
        if (!rc)
            rc = posix_spawnp(pid, c->words[0], &actions, &attributes,
                              (char *const *)c->words,
                              c->environment ? c->environment : environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void send_input(struct talk *t)
{
    size_t left = t->input ? strlen(t->input) : 0;
    ssize_t n = 0;

    if (left > 0)
        n = send(t->fd[0], t->input, left, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        t->input += n;
    /* All is said, or nobody listens: its exit code tells. */
    if ((size_t)(n > 0 ? n : 0) == left ||
        (n < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK))
        close_fd(&t->fd[0]);
}

static int make_room(struct text *t)
{
    size_t room = t->room ? 2 * t->room : 4096;
    char *more;

    if (t->room - t->used > 1)
        return 1;
    if (room > COMMAND_MAX_BYTES || !(more = realloc(t->bytes, room)))
        return 0;
    t->bytes = more;
    t->room = room;
    return 1;
}

static void receive(struct talk *t, int i)
{
    struct text *x = &t->text[i];
    ssize_t n;

    if (!make_room(x)) {
        t->too_much = 1;
        close_fd(&t->fd[i]);
        return;
    }
    n = read(t->fd[i], x->bytes + x->used, x->room - x->used - 1);
    if (n > 0)
        x->used += (size_t)n;
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        close_fd(&t->fd[i]);
    x->bytes[x->used] = '\0';
}

/* Until it has closed its outputs; 0 if the time was over before. */
static int converse(struct talk *t, double deadline_s)
{
    while (t->fd[1] >= 0 || t->fd[2] >= 0) {
        double left_s = deadline_s - clock_s();
        struct pollfd fds[3];

        if (left_s <= 0)
            return 0;
        for (int i = 0; i < 3; i++)
            fds[i] = (struct pollfd){ t->fd[i], i ? POLLIN : POLLOUT, 0 };
        if (poll(fds, 3, left_s < 1 ? (int)(left_s * 1e3) + 1 : 1000) <= 0)
            continue;
        if (fds[0].revents)
            send_input(t);
        for (int i = 1; i < 3; i++)
            if (fds[i].revents)
                receive(t, i);
    }
    return 1;
}

/* Its wait status; 0 where somebody else took it. */
static int reap(struct talk *t, double deadline_s, int *timed_out)
{
    const struct timespec pause = { 0, 2000000 };
    int status = 0;

    for (;;) {
        pid_t got = waitpid(t->pid, &status, *timed_out ? 0 : WNOHANG);

        if (got == t->pid || (got < 0 && errno != EINTR))
            return got == t->pid ? status : 0;
        if (got == 0 && clock_s() >= deadline_s) {
            *timed_out = 1;
            (void)kill(-t->pid, SIGKILL);
        } else if (got == 0) {
            (void)nanosleep(&pause, NULL);
        }
    }
}

static char *take_text(struct text *t)
{
    return t->bytes ? t->bytes : calloc(1, 1);
}

static int finish(struct talk *t, double deadline_s, struct command_answer *out,
                  struct mup_error *err)
{
    struct command_answer a = { .timed_out = !converse(t, deadline_s) };
    int status;

    if (a.timed_out)
        (void)kill(-t->pid, SIGKILL);
    status = reap(t, deadline_s, &a.timed_out);
    a.exit_code =
        WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    a.output = take_text(&t->text[1]);
    a.errors = take_text(&t->text[2]);
    if (t->too_much || !a.output || !a.errors) {
        command_answer_clear(&a);
        return mup_fail(err, MUP_SYSTEM, "its answer does not fit in memory");
    }
    *out = a;
    return MUP_OK;
}

int command_run(const struct command *command, struct command_answer *out,
                struct mup_error *err)
{
    double deadline_s = clock_s() + command->timeout_s;
    struct talk t = { .input = command->input };
    int theirs[3], fault = 0;
    int rc = make_ends(t.fd, theirs, err);

    if (rc == MUP_OK)
        fault = spawn(command, theirs, &t.pid);
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (fault)
        rc = mup_fail(err, MUP_SYSTEM, "cannot start '%s': %s",
                      command->words[0], strerror(fault));
    if (rc == MUP_OK) {
        rc = finish(&t, deadline_s, out, err);
        if (rc != MUP_OK)
            mup_error_prefix(err, "'%s': ", command->words[0]);
    }
    for (int i = 0; i < 3; i++)
        close_fd(&t.fd[i]);
    return rc;
}

void command_answer_clear(struct command_answer *a)
{
    free(a->output);
    free(a->errors);
    *a = (struct command_answer){ 0 };
}
