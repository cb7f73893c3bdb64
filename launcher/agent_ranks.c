/* The ranks of a run on this node, found in /proc: their parents may be dead.
 */
#define _GNU_SOURCE /* d_type is not POSIX; memmem */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/agent.h"
#include "launcher/heartbeat.h"
#include "model/fence.h"

/* An environment longer than this is none of ours. */
#define ENVIRON_BYTES ((size_t)1 << 20)

/* Up to bytes - 1 bytes of a file of /proc, as a string; -1: it has gone. */
static ssize_t slurp(const char *path, char *out, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n = -1;

    if (fd < 0)
        return -1;
    while (used < bytes - 1 && (n = read(fd, out + used, bytes - 1 - used)) > 0)
        used += (size_t)n;
    close(fd);
    out[used] = '\0';
    return n < 0 ? -1 : (ssize_t)used;
}

/* State and start time of /proc/PID/stat or .../task/TID/stat; the name in it
 * may hold anything, so that one reads from the last ')'. */
static int read_stat(const char *path, char *state, unsigned long long *start)
{
    char text[1024], *at;

    if (slurp(path, text, sizeof(text)) <= 0)
        return -1;
    at = strrchr(text, ')');
    if (!at || at[1] != ' ' || !at[2])
        return -1;
    *state = at[2];
    at += 2;
    for (int field = 3; field < 22 && at; field++) {
        at = strchr(at, ' ');
        at += at != NULL;
    }
    if (!at)
        return -1;
    *start = strtoull(at, NULL, 10);
    return 0;
}

static int is_dead(char state)
{
    return state == 'Z' || state == 'X' || state == 'x';
}

/* A thread of the process that is not dead, or 0: a process lives as long as
 * one does, also where its first thread is a zombie already. */
static pid_t find_thread(pid_t pid)
{
    char path[80];
    unsigned long long start;
    struct dirent *e;
    pid_t found = 0;
    char state;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    d = opendir(path);
    while (d && !found && (e = readdir(d)) != NULL) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%ld/task/%.16s/stat", (long)pid,
                 e->d_name);
        if (read_stat(path, &state, &start) == 0 && !is_dead(state))
            found = (pid_t)strtol(e->d_name, NULL, 10);
    }
    if (d)
        (void)closedir(d);
    return found;
}

/* The value of a variable in an environment of n bytes, or NULL. */
static const char *find_variable(const char *environment, size_t n,
                                 const char *name)
{
    const size_t length = strlen(name);

    for (const char *at = environment; at < environment + n;
         at += strlen(at) + 1)
        if (!strncmp(at, name, length) && at[length] == '=')
            return at + length + 1;
    return NULL;
}

static int is_rank(pid_t pid, pid_t thread, const char *run, const char *node)
{
    char path[80], name[32] = "", host[HEARTBEAT_HOST_BYTES] = "";
    char *environment = malloc(ENVIRON_BYTES);
    const char *value;
    ssize_t n = -1;
    int is = 0;

    snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
    (void)slurp(path, name, sizeof(name));
    name[strcspn(name, "\n")] = '\0';
    snprintf(path, sizeof(path), "/proc/%ld/task/%ld/environ", (long)pid,
             (long)thread);
    if (environment && strcmp(name, "srun") != 0)
        n = slurp(path, environment, ENVIRON_BYTES);
    if (n > 0) {
        value = find_variable(environment, (size_t)n, AGENT_RUN_VARIABLE);
        is = value && !strcmp(value, run) &&
             find_variable(environment, (size_t)n, FENCE_VARIABLE);
        value = find_variable(environment, (size_t)n, "SLURMD_NODENAME");
        if (!value && gethostname(host, sizeof(host) - 1) == 0)
            value = host;
        is = is && value && !strcmp(value, node);
    }
    free(environment);
    return is;
}

static int is_known(const struct agent_ranks *found, pid_t pid)
{
    for (int i = 0; i < found->n; i++)
        if (found->rank[i].pid == pid)
            return 1;
    return 0;
}

static void remember(struct agent_ranks *found, pid_t pid)
{
    unsigned long long start;
    char path[80], state;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    if (found->n == AGENT_MAX_RANKS || read_stat(path, &state, &start) != 0)
        return;
    found->rank[found->n].pid = pid;
    found->rank[found->n++].start = start;
}

static void find_ranks(const char *run, const char *node,
                       struct agent_ranks *found)
{
    const uid_t own = geteuid();
    DIR *d = opendir("/proc");
    struct dirent *e;
    struct stat s;

    while (d && (e = readdir(d)) != NULL) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10), thread;

        if (pid <= 1 || pid == getpid() || is_known(found, pid) ||
            fstatat(dirfd(d), e->d_name, &s, 0) != 0 || s.st_uid != own)
            continue;
        thread = find_thread(pid);
        if (thread && is_rank(pid, thread, run, node))
            remember(found, pid);
    }
    if (d)
        (void)closedir(d);
}

int agent_kill_ranks(const char *run, const char *node,
                     struct agent_ranks *found)
{
    int kept = 0;

    find_ranks(run, node, found);
    for (int i = 0; i < found->n; i++) {
        unsigned long long start;
        char path[80], state;

        snprintf(path, sizeof(path), "/proc/%ld/stat",
                 (long)found->rank[i].pid);
        if (read_stat(path, &state, &start) != 0 ||
            start != found->rank[i].start || !find_thread(found->rank[i].pid))
            continue;
        (void)kill(found->rank[i].pid, SIGKILL);
        found->rank[kept++] = found->rank[i];
    }
    found->n = kept;
    return kept;
}
