#include "sweep/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POOL_MAX_WORKERS 1024
/* Words of a prefix, program and "worker" included. */
#define POOL_MAX_WORDS 64
/* A process that SIGKILL does not end so fast is not waited for. */
#define KILL_PATIENCE_S 5.0

extern char **environ;

double pool_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Set bits of "Cpus_allowed:" in /proc/self/status: taskset and cpusets. */
static int allowed_cores(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[4096];
    int n = 0;

    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "Cpus_allowed:", 13))
            continue;
        for (const char *c = line + 13; *c; c++) {
            const char *digits = "0123456789abcdef";
            const char *d = *c != '\n' ? strchr(digits, *c) : NULL;

            for (int v = d ? (int)(d - digits) : 0; v; v >>= 1)
                n += v & 1;
        }
    }
    if (f)
        (void)fclose(f); /* only read from */
    return n;
}

/* The process's place in the v2 tree, the line "0::/a/b"; "" if there is none
 * or it lies outside of what is mounted here. */
static void own_cgroup(const char *self, char *out, size_t bytes)
{
    FILE *f = fopen(self, "r");
    char line[4096];

    out[0] = '\0';
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) || strstr(line, "/.."))
            continue;
        if (strlen(line + 3) < bytes)
            memcpy(out, line + 3, strlen(line + 3) + 1);
    }
    if (f)
        (void)fclose(f); /* only read from */
}

static int cgroup_cores(const char *root, const char *group)
{
    char path[4096];
    double quota, period;
    FILE *f = NULL;
    int n = 0;

    if ((size_t)snprintf(path, sizeof(path), "%s%s/cpu.max", root, group) <
        sizeof(path))
        f = fopen(path, "r");
    /* "max 100000" is no limit */
    if (f && fscanf(f, "%lf %lf", &quota, &period) == 2 && period > 0 &&
        quota > 0 && quota / period < 1e6)
        n = (int)ceil(quota / period);
    if (f)
        (void)fclose(f); /* only read from */
    return n;
}

int pool_quota_cores(const char *self, const char *root)
{
    char group[2048];
    int least = 0;

    own_cgroup(self, group, sizeof(group));
    for (;;) {
        char *slash = strrchr(group, '/');
        int n = cgroup_cores(root, group);

        if (n && (!least || n < least))
            least = n;
        if (!slash)
            return least;
        *slash = '\0';
    }
}

int pool_cores(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int allowed = allowed_cores();
    int quota = pool_quota_cores("/proc/self/cgroup", "/sys/fs/cgroup");
    int n = online < 1 ? 1 : online > 1024 ? 1024 : (int)online;

    if (allowed && allowed < n)
        n = allowed;
    return quota && quota < n ? quota : n;
}

static int is_thread_setting(const char *variable)
{
    return !strncmp(variable, "OMP_NUM_THREADS=", 16) ||
           !strncmp(variable, "OPENBLAS_NUM_THREADS=", 21);
}

/* Ours with one thread a worker; a pointer array onto environ's texts. */
static char **make_environment(void)
{
    static const char *const one[] = { "OMP_NUM_THREADS=1",
                                       "OPENBLAS_NUM_THREADS=1" };
    size_t n = 0, used = 0;
    char **copy;

    while (environ && environ[n])
        n++;
    copy = calloc(n + 3, sizeof(*copy));
    for (size_t i = 0; copy && i < n; i++)
        if (!is_thread_setting(environ[i]))
            copy[used++] = environ[i];
    if (copy) {
        copy[used++] = (char *)one[0];
        copy[used] = (char *)one[1];
    }
    return copy;
}

int pool_open(const char *dir, const struct sweep_crew *crew, int n,
              struct pool *out, struct mup_error *err)
{
    struct pool p = { .n = n, .crew = crew, .log = -1 };

    if (n < 0 || n > POOL_MAX_WORKERS ||
        (size_t)snprintf(p.log_path, sizeof(p.log_path), "%s/workers.log",
                         dir) >= sizeof(p.log_path))
        return mup_fail(err, MUP_USAGE, "too many workers or too long a path");
    p.log = open(p.log_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (p.log < 0)
        return mup_fail(err, MUP_SYSTEM,
                        "cannot open '%s': %s; make it writable or choose "
                        "another directory",
                        p.log_path, strerror(errno));
    p.worker = calloc((size_t)n + 1, sizeof(*p.worker));
    p.environment = make_environment();
    if (!p.worker || !p.environment) {
        pool_close(&p);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    for (int i = 0; i < n; i++) {
        p.worker[i].in = p.worker[i].out = -1;
        p.worker[i].job = -1;
        p.worker[i].node = crew->n_nodes ? i % crew->n_nodes : 0;
    }
    *out = p;
    return MUP_OK;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void pool_close(struct pool *pool)
{
    for (int i = 0; pool->worker && i < pool->n; i++) {
        struct pool_worker *w = &pool->worker[i];

        close_fd(&w->in);
        close_fd(&w->out);
        if (w->pid > 0) {
            kill(w->pid, SIGKILL);
            while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        }
    }
    close_fd(&pool->log);
    free(pool->worker);
    free(pool->environment);
    memset(pool, 0, sizeof(*pool));
    pool->log = -1;
}

/* Two pipes that no other child inherits. */
static int make_pipes(int in[2], int out[2], struct mup_error *err)
{
    in[0] = in[1] = out[0] = out[1] = -1;
    if (pipe(in) || pipe(out))
        return mup_fail(err, MUP_SYSTEM, "cannot make a pipe: %s",
                        strerror(errno));
    for (int i = 0; i < 2; i++)
        if (fcntl(in[i], F_SETFD, FD_CLOEXEC) ||
            fcntl(out[i], F_SETFD, FD_CLOEXEC))
            return mup_fail(err, MUP_SYSTEM, "cannot set up a pipe: %s",
                            strerror(errno));
    if (fcntl(in[1], F_SETFL, O_NONBLOCK))
        return mup_fail(err, MUP_SYSTEM, "cannot set up a pipe: %s",
                        strerror(errno));
    return MUP_OK;
}

/* Its own process group: Ctrl-C of the terminal is the driver's to answer.
 * Default signals: what the caller ignores must not be inherited. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, defaults;

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGTERM);
    sigaddset(&defaults, SIGINT);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP |
                                                    POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETSIGMASK) ||
           posix_spawnattr_setpgroup(attributes, 0) ||
           posix_spawnattr_setsigmask(attributes, &none) ||
           posix_spawnattr_setsigdefault(attributes, &defaults);
}

/* The prefix of its node, if there is one. */
static const char *const *prefix_of(const struct pool *pool,
                                    const struct pool_worker *w)
{
    return pool->crew->n_nodes ? pool->crew->node[w->node].prefix : NULL;
}

int pool_awaits(const struct pool *pool, const struct pool_worker *w)
{
    return pool->crew->n_nodes && pool->crew->node[w->node].comes_late &&
           !w->spoke;
}

/* "PREFIX... program worker"; 0 if that is too long. */
static int make_words(const struct pool *pool, const struct pool_worker *w,
                      char *argv[POOL_MAX_WORDS])
{
    const char *const *prefix = prefix_of(pool, w);
    int n = 0;

    while (prefix && prefix[n]) {
        if (n == POOL_MAX_WORDS - 3)
            return 0;
        argv[n] = (char *)prefix[n];
        n++;
    }
    argv[n++] = (char *)pool->crew->program;
    argv[n++] = (char *)"worker";
    argv[n] = NULL;
    return 1;
}

static int spawn(struct pool *pool, char **argv, const int fds[2], pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (!rc) {
        rc = set_attributes(&attributes) ? ENOMEM : 0;
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, fds[0], 0);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, pool->log, 2);
        if (!rc)
            rc = posix_spawnp(pid, argv[0], &actions, &attributes, argv,
                              pool->environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

int pool_start(struct pool *pool, struct pool_worker *w, struct mup_error *err)
{
    char *argv[POOL_MAX_WORDS];
    int in[2], out[2];
    pid_t pid = 0;
    int rc = make_pipes(in, out, err);

    if (!rc && !make_words(pool, w, argv))
        rc = mup_fail(err, MUP_USAGE, "a prefix of more than %d words",
                      POOL_MAX_WORDS - 3);
    if (!rc) {
        const int fds[2] = { in[0], out[1] };
        int fault = spawn(pool, argv, fds, &pid);

        if (fault)
            rc = mup_fail(err, MUP_SYSTEM, "cannot start '%s%s': %s", argv[0],
                          argv[2] ? " ... worker" : " worker", strerror(fault));
    }
    close_fd(&in[0]);
    close_fd(&out[1]);
    if (rc) {
        close_fd(&in[1]);
        close_fd(&out[0]);
        return rc;
    }
    w->pid = pid;
    w->in = in[1];
    w->out = out[0];
    w->used = 0;
    w->job = -1;
    w->heard_s = pool_now_s();
    w->spoke = 0;
    w->told_s = w->killed_s = w->mute_s = 0;
    return MUP_OK;
}

/* Whole lines or nothing, and never for long: a stopped worker reads nothing.
 * One that is dead is found by pool_wait, which sees the end of its output. */
static void say(struct pool_worker *w, const char *line, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = write(w->in, line + done, bytes - done);

        if (n < 0 && errno == EAGAIN && bytes > PIPE_BUF) {
            struct pollfd p = { .fd = w->in, .events = POLLOUT };

            if (poll(&p, 1, 1000) <= 0)
                break;
        } else if (n < 0 && errno != EINTR) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    w->told_s = pool_now_s();
}

int pool_send(struct pool *pool, struct pool_worker *w,
              const struct worker_job *job, struct mup_error *err)
{
    char *line;
    int rc = worker_format_job(job, &line, err);

    if (rc)
        return rc;
    w->log_start = lseek(pool->log, 0, SEEK_END);
    say(w, line, strlen(line));
    free(line);
    return MUP_OK;
}

void pool_extend_leases(struct pool *pool, double lease_s)
{
    double now = pool_now_s();
    char line[64];
    int n = snprintf(line, sizeof(line), "{\"op\":\"alive\",\"lease_s\":%g}\n",
                     lease_s);

    for (int i = 0; i < pool->n; i++) {
        struct pool_worker *w = &pool->worker[i];

        if (w->in >= 0 && prefix_of(pool, w) && !pool_awaits(pool, w) &&
            now - w->told_s > lease_s / 5)
            say(w, line, (size_t)n);
    }
}

void pool_hang_up(struct pool_worker *w)
{
    close_fd(&w->in);
}

void pool_kill(struct pool_worker *w)
{
    if (w->pid <= 0 || w->killed_s > 0)
        return;
    kill(w->pid, SIGKILL);
    close_fd(&w->in);
    close_fd(&w->out); /* others may hold the other end */
    w->used = 0;
    w->killed_s = pool_now_s();
}

static void receive(struct pool_worker *w)
{
    ssize_t n;

    if (w->used == sizeof(w->line))
        w->used = 0; /* an endless line is no message */
    n = read(w->out, w->line + w->used, sizeof(w->line) - w->used);
    if (n > 0) {
        w->used += (size_t)n;
        w->heard_s = pool_now_s();
        w->spoke = 1;
    } else if (n == 0 || errno != EINTR) {
        close_fd(&w->out);
    }
}

void pool_wait(struct pool *pool, int timeout_ms)
{
    struct pollfd fds[POOL_MAX_WORKERS];
    int index[POOL_MAX_WORKERS], n = 0;

    for (int i = 0; i < pool->n; i++) {
        struct pool_worker *w = &pool->worker[i];

        if (w->out >= 0) {
            index[n] = i;
            fds[n++] = (struct pollfd){ .fd = w->out, .events = POLLIN };
        } else if (w->pid > 0 && timeout_ms > 10) {
            timeout_ms = 10; /* its exit status comes any moment */
        }
    }
    if (poll(fds, (nfds_t)n, timeout_ms) <= 0)
        return;
    for (int i = 0; i < n; i++)
        if (fds[i].revents)
            receive(&pool->worker[index[i]]);
}

int pool_take(struct pool_worker *w, struct worker_message *out)
{
    for (;;) {
        char *end = memchr(w->line, '\n', w->used);
        size_t n = end ? (size_t)(end - w->line) : 0;
        int rc;

        if (!end)
            return 0;
        rc = worker_parse_message(w->line, n, out, NULL);
        w->used -= n + 1;
        memmove(w->line, end + 1, w->used);
        if (!rc)
            return 1;
    }
}

/* The last line that was written to workers.log since the job began.  Workers
 * share the file, so it may be another's: a hint, not a proof. */
static void last_words(struct pool *pool, const struct pool_worker *w,
                       char *out, size_t bytes)
{
    off_t end = lseek(pool->log, 0, SEEK_END), start = w->log_start;
    char tail[513], *line;
    ssize_t n;

    out[0] = '\0';
    if (end - start > (off_t)sizeof(tail) - 1)
        start = end - ((off_t)sizeof(tail) - 1);
    n = end > start ? pread(pool->log, tail, (size_t)(end - start), start) : 0;
    while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == ' '))
        n--;
    if (n <= 0)
        return;
    tail[n] = '\0';
    line = strrchr(tail, '\n');
    snprintf(out, bytes, "%.160s", line ? line + 1 : tail);
}

int pool_reap(struct pool *pool, struct pool_worker *w, char *how, size_t bytes)
{
    char words[200];
    int status = 0, n, ended;

    if (w->pid <= 0 || w->out >= 0)
        return 0;
    ended = waitpid(w->pid, &status, WNOHANG) != 0;
    if (!ended &&
        !(w->killed_s > 0 && pool_now_s() - w->killed_s > KILL_PATIENCE_S))
        return 0;
    w->polite = !ended                ? 0
                : WIFSIGNALED(status) ? WTERMSIG(status) == SIGTERM
                                      : WEXITSTATUS(status) == MUP_STOPPED;
    if (!ended)
        n = snprintf(how, bytes, "was killed and does not end");
    else if (WIFSIGNALED(status))
        n = snprintf(how, bytes, "was killed by signal %d (%s)",
                     WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        n = snprintf(how, bytes, "exited with status %d", WEXITSTATUS(status));
    last_words(pool, w, words, sizeof(words));
    if (words[0] && n > 0 && (size_t)n < bytes)
        snprintf(how + n, bytes - (size_t)n, "; last line of workers.log: %s",
                 words);
    close_fd(&w->in);
    w->pid = 0;
    w->used = 0;
    w->spoke = 0;
    return 1;
}
