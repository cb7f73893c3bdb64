#include "launcher/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "model/clock.h"

struct answer {
    int status;
    struct mup_error err;
    struct cluster_job job;
};

static void child(int by, int64_t id, int out)
{
    struct answer a = { .status = MUP_SYSTEM };
    struct cluster *c;
    int null = open("/dev/null", O_RDWR);

    (void)setpgid(0, 0); /* the tools that it starts die with it */
    if (null >= 0) {     /* libslurm writes its errors there */
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
    a.status = cluster_open(by, &c, &a.err);
    if (a.status == MUP_OK) {
        a.status = cluster_job(c, id, &a.job, &a.err);
        cluster_close(c);
    }
    for (size_t done = 0; done < sizeof(a);) {
        ssize_t n = write(out, (const char *)&a + done, sizeof(a) - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    _exit(0);
}

/* Nonzero if all of it came in time. */
static int collect(int in, double seconds, struct answer *out)
{
    const double end = clock_s() + seconds;
    size_t got = 0;

    while (got < sizeof(*out)) {
        struct pollfd p = { .fd = in, .events = POLLIN };
        int left_ms = (int)(1000 * (end - clock_s()));
        ssize_t n;

        if (left_ms <= 0)
            return 0;
        if (poll(&p, 1, left_ms) <= 0)
            continue; /* too late, or a signal */
        n = read(in, (char *)out + got, sizeof(*out) - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        got += (size_t)n;
    }
    return 1;
}

int ask_job(int by, int64_t id, double seconds, struct cluster_job *out,
            struct mup_error *err)
{
    struct answer a;
    int fd[2], in_time;
    pid_t pid;

    if (pipe(fd) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot make a pipe: %s",
                        strerror(errno));
    (void)fflush(NULL); /* or the child would write it again */
    pid = fork();
    if (pid == 0)
        child(by, id, fd[1]);
    (void)close(fd[1]);
    if (pid < 0) {
        (void)close(fd[0]);
        return mup_fail(err, MUP_SYSTEM, "cannot start a process: %s",
                        strerror(errno));
    }
    in_time = collect(fd[0], seconds, &a);
    (void)close(fd[0]);
    (void)setpgid(pid, pid); /* whoever is first */
    (void)kill(-pid, SIGKILL);
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return mup_fail(err, MUP_DEVICE,
                        "the controller did not answer within %.0f s", seconds);
    if (a.status == MUP_OK)
        *out = a.job;
    else
        (void)mup_fail(err, a.status, "%s", a.err.text);
    return a.status;
}
