#include "launcher/step.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WORDS 64
#define MAX_READS 16

extern char **environ;

/* --- the command --- */

struct words {
    int n;
    char *word[MAX_WORDS];
    char texts[8][64];
    int n_texts;
    char *nodes;
};

static void add(struct words *w, const char *word)
{
    /* posix_spawn's words are not const for historical reasons alone */
    if (w->n < MAX_WORDS - 1)
        w->word[w->n++] = (char *)word;
}

static void add_number(struct words *w, const char *option, int number)
{
    char *text = w->texts[w->n_texts++];

    (void)snprintf(text, sizeof(w->texts[0]), "%s=%d", option, number);
    add(w, text);
}

static int make_words(struct words *w, const struct step_request *r,
                      struct mup_error *err)
{
    size_t bytes = strlen(r->nodes) + 16;

    w->nodes = malloc(bytes);
    if (!w->nodes)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    (void)snprintf(w->nodes, bytes, "--nodelist=%s", r->nodes);
    add(w, "srun");
    /* Beside other steps, on the same processors: the agents', and one that
     * SLURM still takes for alive. */
    add(w, "--overlap");
    /* What to do about faults is the supervisor's to say. */
    add(w, "--no-kill");
    add(w, "--wait=0");
    add(w, "--kill-on-bad-exit=0");
    add(w, "--export=ALL");
    add(w, "--label");
    add(w, "--distribution=block");
    add(w, "--input=none");
    add(w, !strcmp(r->mpi, "pmix") ? "--mpi=pmix" : "--mpi=none");
    add_number(w, "--nodes", r->n_nodes);
    add_number(w, "--ntasks", r->n_nodes * r->tasks_per_node);
    add_number(w, "--ntasks-per-node", r->tasks_per_node);
    add_number(w, "--cpus-per-task", r->cpus_per_task);
    if (r->gpus_per_node)
        add_number(w, "--gpus-per-node", r->gpus_per_node);
    add(w, w->nodes);
    for (int i = 0; r->command[i]; i++)
        add(w, r->command[i]);
    w->word[w->n] = NULL;
    return MUP_OK;
}

static int is_set_by(const char *variable, char *const *settings)
{
    size_t n = strcspn(variable, "=") + 1;

    for (int i = 0; settings && settings[i]; i++)
        if (!strncmp(variable, settings[i], n))
            return 1;
    return 0;
}

/* What sbatch said about its own tasks is not about this step's. */
static int is_of_batch(const char *variable)
{
    static const char *const names[] = {
        "SLURM_NTASKS=",        "SLURM_NPROCS=",
        "SLURM_NNODES=",        "SLURM_NTASKS_PER_NODE=",
        "SLURM_CPUS_PER_TASK=", "SLURM_TASKS_PER_NODE=",
        "SLURM_DISTRIBUTION=",  "SLURM_EXPORT_ENV=",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strncmp(variable, names[i], strlen(names[i])))
            return 1;
    return 0;
}

/* A pointer array onto other people's texts. */
static char **make_environment(char *const *settings)
{
    size_t n = 0, used = 0, extra = 0;
    char **copy;

    while (environ && environ[n])
        n++;
    while (settings && settings[extra])
        extra++;
    copy = calloc(n + extra + 1, sizeof(*copy));
    for (size_t i = 0; copy && i < n; i++)
        if (!is_of_batch(environ[i]) && !is_set_by(environ[i], settings))
            copy[used++] = environ[i];
    for (size_t i = 0; copy && i < extra; i++)
        copy[used++] = settings[i];
    return copy;
}

/* --- the process --- */

/* A process group of its own, so that a signal to the supervisor is not one to
 * its steps; default signals: what we ignore must not be inherited. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP |
                                                    POSIX_SPAWN_SETSIGDEF |
                                                    POSIX_SPAWN_SETSIGMASK) ||
           posix_spawnattr_setpgroup(attributes, 0) ||
           posix_spawnattr_setsigmask(attributes, &none) ||
           posix_spawnattr_setsigdefault(attributes, &all);
}

static int spawn(struct words *w, const struct step_request *r, int err_fd,
                 pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char **environment = make_environment(r->settings);
    int rc = environment ? posix_spawn_file_actions_init(&actions) : ENOMEM;

    if (rc) {
        free(environment);
        return rc;
    }
    rc = posix_spawnattr_init(&attributes);
    if (!rc) {
        rc = set_attributes(&attributes) ? ENOMEM : 0;
        if (!rc)
            rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null",
                                                  O_RDONLY, 0);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, r->log, 1);
        if (!rc)
            rc = posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
        if (!rc)
            rc = posix_spawnp(pid, "srun", &actions, &attributes, w->word,
                              environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    return rc;
}

int step_start(const struct step_request *request, struct step *out,
               struct mup_error *err)
{
    struct words w = { 0 };
    int fd[2] = { -1, -1 }, rc = make_words(&w, request, err), cause;
    pid_t pid = 0;

    if (!rc && pipe(fd) != 0)
        rc = mup_fail(err, MUP_SYSTEM, "cannot make a pipe: %s",
                      strerror(errno));
    if (!rc) {
        (void)fcntl(fd[0], F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd[1], F_SETFD, FD_CLOEXEC);
        (void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
        cause = spawn(&w, request, fd[1], &pid);
        close(fd[1]);
        if (cause) {
            close(fd[0]);
            rc = mup_fail(err, MUP_SYSTEM, "cannot start srun: %s",
                          strerror(cause));
        }
    }
    free(w.nodes);
    if (!rc)
        *out = (struct step){ .pid = pid, .err = fd[0] };
    return rc;
}

void step_read(struct step *s, void (*line)(void *context, const char *text),
               void *context)
{
    char bytes[4096];
    ssize_t n = 1;

    /* So much at one time: who waits for it has others to serve, too. */
    for (int k = 0; k < MAX_READS && s->err >= 0 && n > 0; k++) {
        n = read(s->err, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != '\n' && s->n < sizeof(s->line) - 1) {
                s->line[s->n++] = bytes[i];
                continue;
            }
            s->line[s->n] = '\0';
            s->n = 0;
            line(context, s->line);
            if (bytes[i] != '\n')
                s->line[s->n++] = bytes[i];
        }
        if (n == 0) {
            close(s->err);
            s->err = -1;
        }
    }
}

int step_reap(struct step *s)
{
    pid_t pid;

    if (s->pid <= 0 || s->exited)
        return 1;
    do
        pid = waitpid(s->pid, &s->status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    s->exited = pid != 0;
    return s->exited;
}

void step_kill(struct step *s)
{
    /* srun forks one of its own, which ends with it */
    if (s->pid > 0 && !s->exited)
        (void)kill(-s->pid, SIGKILL);
}

void step_close(struct step *s)
{
    step_kill(s);
    while (s->pid > 0 && !s->exited)
        s->exited = waitpid(s->pid, &s->status, 0) == s->pid || errno != EINTR;
    if (s->pid > 0 && s->err >= 0)
        close(s->err);
    *s = (struct step){ .err = -1 };
}

/* --- how tasks end --- */

static int number_of_signal(const char *text)
{
    static const struct {
        const char *text;
        int number;
    } known[] = {
        { "Killed", SIGKILL },
        { "Terminated", SIGTERM },
        { "Segmentation fault", SIGSEGV },
        { "Aborted", SIGABRT },
        { "Bus error", SIGBUS },
        { "Floating point exception", SIGFPE },
        { "Illegal instruction", SIGILL },
        { "Alarm clock", SIGALRM },
        { "Out Of Memory", SIGKILL },
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (!strncmp(text, known[i].text, strlen(known[i].text)))
            return known[i].number;
    return 0;
}

int step_parse_end(const char *line, struct step_end *out)
{
    static const char start[] = "srun: error: ";
    const char *at = strstr(line, ": task");
    struct step_end end = { 0 };
    char *after;

    if (strncmp(line, start, sizeof(start) - 1) || !at)
        return 0;
    at += 6;
    at += *at == 's';
    if (*at != ' ' || at[1] < '0' || at[1] > '9')
        return 0;
    end.task = (int)strtol(at + 1, &after, 10);
    at = strchr(after, ':');
    if (!at || at[1] != ' ')
        return 0;
    at += 2;
    if (!strncmp(at, "Exited with exit code ", 22))
        end.status = (int)strtol(at + 22, NULL, 10);
    else
        end.signal = number_of_signal(at);
    if (!end.signal && !end.status)
        return 0;
    *out = end;
    return 1;
}

int step_refusal(const char *line)
{
    if (strncmp(line, "srun: ", 6) != 0)
        return STEP_NOT_REFUSED;
    if (strstr(line, "nable to contact slurm controller") ||
        strstr(line, "Unable to confirm allocation"))
        return STEP_NO_CONTROLLER;
    return strstr(line, "Unable to create step") ? STEP_REFUSED
                                                 : STEP_NOT_REFUSED;
}
