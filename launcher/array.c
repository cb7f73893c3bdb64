#include "launcher/array.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/cluster.h"
#include "launcher/door.h"
#include "launcher/launch_log.h"
#include "launcher/stop.h"

extern char **environ;

static int64_t number_of(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);

    return text ? strtoll(text, NULL, 10) : otherwise;
}

int64_t array_index(void)
{
    return number_of("SLURM_ARRAY_TASK_ID", -1);
}

int64_t array_size(void)
{
    return number_of("SLURM_ARRAY_TASK_COUNT", 1);
}

static void pause_s(double s)
{
    const struct timespec t = { (time_t)s,
                                (long)(1e9 * (s - (double)(long)s)) };

    (void)nanosleep(&t, NULL);
}

/* "program worker" with the connection as both its ends. */
static int spawn_worker(const char *program, int fd, pid_t *pid)
{
    char *argv[] = { (char *)program, (char *)"worker", NULL };
    posix_spawn_file_actions_t actions;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc != 0)
        return rc;
    rc = posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclose(&actions, fd);
    if (rc == 0)
        rc = posix_spawn(pid, program, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* One stay inside. */
static int work(const char *program, int fd, struct mup_error *err)
{
    pid_t pid, ended;
    int told = 0, status;
    int rc = spawn_worker(program, fd, &pid);

    (void)close(fd);
    if (rc != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot start '%s worker': %s",
                        program, strerror(rc));
    do {
        ended = waitpid(pid, &status, WNOHANG);
        if (ended == 0 && !told && stop_requested(NULL))
            told = kill(pid, SIGTERM) == 0;
        if (ended == 0)
            pause_s(0.1);
    } while (ended == 0 || (ended < 0 && errno == EINTR));
    return MUP_OK;
}

static int is_over(const char *dir)
{
    struct launch_log log;
    int over = 0;

    if (launch_log_read(dir, &log, NULL) == MUP_OK) {
        over = log.ended;
        launch_log_clear(&log);
    }
    return over;
}

/* Other jobs of the array may have more time. */
static int requeue(const struct slurm_config *slurm, struct mup_error *err)
{
    struct cluster *cluster;
    int rc;

    if (number_of("SLURM_RESTART_COUNT", 0) >= slurm->requeues)
        return mup_fail(err, MUP_STOPPED,
                        "the job's time is over, and it was queued again %lld "
                        "times already (slurm.requeues)",
                        (long long)slurm->requeues);
    rc = cluster_open(slurm->by, &cluster, err);
    if (rc != MUP_OK)
        return rc;
    rc = cluster_requeue(cluster, number_of("SLURM_JOB_ID", 0), NULL, err);
    cluster_close(cluster);
    return rc;
}

int array_work(const char *program, const char *dir,
               const struct slurm_config *slurm, struct mup_error *err)
{
    int rc = MUP_OK;

    stop_watch_job();
    (void)setenv("OMP_NUM_THREADS", "1", 1);
    (void)setenv("OPENBLAS_NUM_THREADS", "1", 1);
    while (rc == MUP_OK && !stop_requested(NULL) && !is_over(dir)) {
        int fd = door_enter(dir, array_index());

        if (fd >= 0)
            rc = work(program, fd, err);
        else
            pause_s(0.5);
    }
    if (rc == MUP_OK && stop_requested(NULL))
        rc = stop_requested(NULL) == SIGUSR1
                 ? requeue(slurm, err)
                 : mup_fail(err, MUP_STOPPED, "stopped on request");
    return rc;
}
