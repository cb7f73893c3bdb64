#include "launcher/local.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/local_view.h"
#include "launcher/paths.h"
#include "launcher/roster.h"
#include "launcher/shell.h"
#include "launcher/stop.h"
#include "launcher/tagged.h"
#include "launcher/terminal.h"
#include "launcher/units.h"
#include "model/clock.h"
#include "model/comm.h"
#include "model/fence.h"
#include "model/file.h"
#include "sweep/pool.h"

/* mpirun reports the signal of a dead rank, but of the first one that it hears
 * of: the others are killed this much later. */
#define REPORT_S 0.08
/* Others end by themselves after a rank that failed with a sentence. */
#define GRACE_S 0.5
/* mpirun itself, once all ranks are dead. */
#define MPIRUN_S 0.4
/* A start takes this long or parallel.deadline_s: processes come up, files are
 * read, the first step is taken. */
#define START_S  60.0
#define MAX_ARGS 320

enum ending {
    RUNNING,
    ENDING,  /* a rank has ended well: the others must follow */
    FAILED,  /* a rank has failed: the others may say why */
    KILLING, /* all are being killed */
};

struct local {
    const char *dir;
    int ranks;
    double deadline_s;
    struct roster roster;
    struct view_state view;
    struct tagged stream[2]; /* mpirun's stdout and stderr */
    int pipe[2];
    pid_t mpirun;
    int mpirun_status; /* of waitpid */
    int exited;
    enum ending ending;
    double since_s; /* of this ending */
    double start_s, stop_s;
    int stops;        /* signals that were passed on */
    int signalled;    /* mpirun, by us */
    const char *late; /* what the ranks should have done that were killed */
    char names[100];  /* of those ranks */
    double late_s;
    int first;     /* the rank that decides how the run ended, or -1 */
    double hung_s; /* ... because it was silent for so long; 0: not so */
    char text[HEARTBEAT_LINE_BYTES]; /* its sentence */
    struct tagged_end end;           /* what mpirun said */
};

/* --- before the start --- */

static int check(const struct run_config *config, const char *dir,
                 struct mup_error *err)
{
    int rc;

    if (!comm_has_mpi())
        return mup_fail(err, MUP_USAGE,
                        "this build has no MPI, which %lld ranks need; run "
                        "'make setup' and then 'make'",
                        (long long)config->launch.local);
    if (!path_has_program("mpirun"))
        return mup_fail(err, MUP_USAGE,
                        "mpirun is not on PATH, and %lld ranks need it; run "
                        "'make setup' or install openmpi-bin",
                        (long long)config->launch.local);
    rc = path_expect_free(dir, PATH_RUN_DIR, err);
    return rc ? rc : file_make_dirs(dir, err);
}

/* Words of mpirun's command line; texts live in `overrides`. */
struct command {
    int n;
    char *word[MAX_ARGS];
    char ranks[16], local[40];
    char *overrides; /* back to back */
};

static void add_word(struct command *c, const char *word)
{
    /* execvp's words are not const for historical reasons alone */
    c->word[c->n++] = (char *)word;
}

static int add_overrides(struct command *c, const struct args *args,
                         struct mup_error *err)
{
    size_t bytes = 1, used = 0;

    if (args->n_overrides > MAX_ARGS - 32)
        return mup_fail(err, MUP_USAGE, "more than %d keys on a command line",
                        MAX_ARGS - 32);
    for (int i = 0; i < args->n_overrides; i++)
        bytes += strlen(args->overrides[i]) + 3;
    c->overrides = malloc(bytes);
    if (!c->overrides)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; i < args->n_overrides; i++) {
        char *at = c->overrides + used;

        used +=
            (size_t)snprintf(at, bytes - used, "--%s", args->overrides[i]) + 1;
        add_word(c, at);
    }
    return MUP_OK;
}

static int make_command(struct command *c, const struct args *args,
                        const struct local *l, struct mup_error *err)
{
    int rc;

    snprintf(c->ranks, sizeof(c->ranks), "%d", l->ranks);
    snprintf(c->local, sizeof(c->local), "--launch.local=%d", l->ranks);
    add_word(c, "mpirun");
    add_word(c, "-np");
    add_word(c, c->ranks);
    /* mpirun binds rank i to core i: two runs side by side, or a run beside a
     * sweep, would share the first cores and leave the others idle. */
    add_word(c, "--bind-to");
    add_word(c, "none");
    /* It counts cores, not hardware threads, and would refuse more. */
    add_word(c, "--oversubscribe");
    add_word(c, "--tag-output");
    /* Once a rank is dead the others only wait for it: mpirun's second between
     * SIGTERM and SIGKILL would delay its report by as much. */
    add_word(c, "--mca");
    add_word(c, "odls_base_sigkill_timeout");
    add_word(c, "0");
    add_word(c, args->program);
    add_word(c, "train");
    add_word(c, "-o");
    add_word(c, l->dir);
    if (args->quiet)
        add_word(c, "-q");
    if (args->verbose)
        add_word(c, "-v");
    if (args_given(args, "json"))
        add_word(c, "--json");
    rc = add_overrides(c, args, err);
    add_word(c, c->local);
    add_word(c, "--");
    add_word(c, args->operands[0]);
    add_word(c, NULL);
    return rc;
}

int local_command(const struct args *args, const struct run_config *config,
                  const char *dir, char **out, struct mup_error *err)
{
    const struct local l = { .dir = dir, .ranks = (int)config->launch.local };
    struct command c = { 0 };
    int rc = make_command(&c, args, &l, err);

    if (rc == MUP_OK)
        rc = shell_join((const char *const *)c.word, out, err);
    free(c.overrides);
    return rc;
}

static void set_environment(const struct local *l)
{
    int threads = pool_cores() / l->ranks;
    char text[16];

    snprintf(text, sizeof(text), "%d", threads > 0 ? threads : 1);
    (void)setenv(HEARTBEAT_VARIABLE, l->roster.address, 1);
    (void)unsetenv(FENCE_VARIABLE); /* of another supervisor */
    (void)setenv("OMP_NUM_THREADS", text, 0);
    (void)setenv("OPENBLAS_NUM_THREADS", text, 0);
    if (geteuid() == 0) {
        /* containers have no other user */
        (void)setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        (void)setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
}

/* The child's side of fork: only calls that are safe there. */
static void become_mpirun(const struct command *c, const int out[2],
                          const int err[2])
{
    int null = open("/dev/null", O_RDONLY);

    /* A group of its own: Ctrl-C is for the supervisor to pass on. */
    (void)setpgid(0, 0);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(out[1], STDOUT_FILENO) < 0 || dup2(err[1], STDERR_FILENO) < 0)
        _exit(127);
    (void)signal(SIGPIPE, SIG_DFL);
    execvp("mpirun", c->word);
    _exit(127);
}

static void set_flags(int fd)
{
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int start(struct local *l, const struct command *c,
                 struct mup_error *err)
{
    int out[2] = { -1, -1 }, errors[2] = { -1, -1 };

    if (pipe(out) != 0 || pipe(errors) != 0) {
        if (out[0] >= 0) {
            close(out[0]);
            close(out[1]);
        }
        return mup_fail(err, MUP_SYSTEM, "cannot make a pipe: %s",
                        strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        set_flags(out[i]);
        set_flags(errors[i]);
    }
    fflush(stdout);
    l->mpirun = fork();
    if (l->mpirun == 0)
        become_mpirun(c, out, errors);
    close(out[1]);
    close(errors[1]);
    l->pipe[0] = out[0];
    l->pipe[1] = errors[0];
    (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    (void)fcntl(errors[0], F_SETFL, O_NONBLOCK);
    if (l->mpirun < 0)
        return mup_fail(err, MUP_SYSTEM, "cannot start mpirun: %s",
                        strerror(errno));
    (void)setpgid(l->mpirun, l->mpirun);
    return MUP_OK;
}

/* --- while it runs --- */

static void move_on(struct local *l, enum ending to)
{
    if (l->ending < to) {
        l->ending = to;
        l->since_s = clock_s();
    }
}

static void kill_ranks(struct local *l)
{
    int missing = 0;

    move_on(l, KILLING);
    for (int i = 0; i < l->ranks; i++) {
        struct rank_state *s = &l->roster.state[i];

        /* Each has a process group of its own, and one that is stopped hears
         * nothing but this.  Only while connected: else the number may be
         * another process's by now. */
        if (s->connected && !s->killed)
            (void)kill((pid_t)s->pid, SIGKILL);
        s->killed = 1;
        missing += s->pid == 0;
    }
    /* Those that have not said hello yet are mpirun's to find.  Else it ends by
     * itself: a signal while it cleans up makes it crash (Open MPI 4.1.4). */
    if (missing && !l->exited && !l->signalled) {
        l->signalled = 1;
        (void)kill(l->mpirun, SIGTERM);
    }
}

static int is_good_end(int status)
{
    return status == MUP_OK || status == MUP_STOPPED || status == MUP_DIVERGED;
}

static void hear(void *context, const struct rank_event *e)
{
    struct local *l = context;
    const struct rank_state *s = &l->roster.state[e->rank];
    int failed = e->kind == RANK_LOST ? !s->killed : !is_good_end(s->status);

    view_event(&l->view, e);
    if (e->kind != RANK_LOST && e->kind != HEARTBEAT_BYE)
        return;
    /* The first failure is the cause; what follows are consequences. */
    if (failed && l->ending < FAILED) {
        l->first = e->rank;
        snprintf(l->text, sizeof(l->text), "%s", e->message.text);
        move_on(l, FAILED);
    } else if (e->kind == HEARTBEAT_BYE && e->rank == 0 &&
               !strcmp(l->text, e->message.text)) {
        l->first = 0; /* they agreed on the sentence */
    } else if (!failed && l->ending < FAILED) {
        if (l->first < 0 || e->rank == 0) {
            l->first = e->rank;
            snprintf(l->text, sizeof(l->text), "%s", e->message.text);
        }
        move_on(l, ENDING);
    }
}

static void take_line(void *context, int rank, const char *text, int is_error)
{
    struct local *l = context;

    if (rank < 0)
        tagged_read_end(text, &l->end);
    view_line(&l->view, rank, text, is_error);
}

static void take_out(void *context, int rank, const char *text)
{
    take_line(context, rank, text, 0);
}

static void take_err(void *context, int rank, const char *text)
{
    take_line(context, rank, text, 1);
}

static void read_pipe(struct local *l, int i)
{
    char bytes[8192];
    ssize_t n;

    while (l->pipe[i] >= 0) {
        n = read(l->pipe[i], bytes, sizeof(bytes));
        if (n > 0) {
            tagged_put(&l->stream[i], bytes, (size_t)n);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        close(l->pipe[i]);
        l->pipe[i] = -1;
    }
}

static void pass_signals_on(struct local *l)
{
    int n = stop_count();

    if (n == l->stops)
        return;
    if (l->stops == 0)
        view_note(&l->view, "stopping: the ranks save their state; once more "
                            "kills them");
    if (l->stops == 0)
        l->stop_s = clock_s();
    l->stops = n;
    if (n > 1)
        kill_ranks(l);
    else
        roster_stop(&l->roster);
}

/* Ranks that never came, or that a stop does not reach. */
static void check_late(struct local *l, double now)
{
    const struct roster *r = &l->roster;
    double limit_s = l->deadline_s > START_S ? l->deadline_s : START_S;
    enum roster_missing which = ROSTER_NO_STEP;
    double since_s = 0;

    l->late = NULL;
    if (l->stops && roster_missing(r, ROSTER_NO_STEP, 0, NULL, 0) &&
        now - l->stop_s > l->deadline_s) {
        /* Before the first step nothing is lost by not waiting longer. */
        l->late = "answer the request to stop";
        which = ROSTER_SILENT;
        since_s = l->stop_s;
        limit_s = l->deadline_s;
    } else if (now - l->start_s > limit_s) {
        l->late = roster_missing(r, ROSTER_NO_HELLO, 0, NULL, 0)
                      ? "come up"
                      : "take a first step";
        if (roster_missing(r, ROSTER_NO_HELLO, 0, NULL, 0))
            which = ROSTER_NO_HELLO;
    }
    if (!l->late)
        return;
    l->late_s = limit_s;
    if (roster_missing(r, which, since_s, l->names, sizeof(l->names)))
        kill_ranks(l);
    else
        l->late = NULL;
}

/* Ranks that were there and say nothing any more. */
static void check_hung(struct local *l, double now)
{
    int hung = roster_find_hung(&l->roster, now, l->deadline_s);

    if (hung < 0)
        return;
    l->hung_s = now - l->roster.state[hung].last_s;
    l->first = hung;
    if (l->stops) {
        l->late = "answer the request to stop";
        l->late_s = now - l->stop_s;
        if (!roster_missing(&l->roster, ROSTER_SILENT, l->stop_s, l->names,
                            sizeof(l->names)))
            l->late = NULL;
    }
    kill_ranks(l);
}

/* What is due by the clock alone. */
static void check_time(struct local *l)
{
    double now = clock_s(), passed = now - l->since_s;
    int lost = l->first >= 0 && l->roster.state[l->first].lost;

    if (l->ending == RUNNING) {
        check_hung(l, now);
        if (l->ending == RUNNING)
            check_late(l, now);
    } else if ((l->ending == ENDING && passed > l->deadline_s) ||
               (l->ending == FAILED && passed > (lost ? REPORT_S : GRACE_S))) {
        kill_ranks(l);
    } else if (l->ending == KILLING && passed > MPIRUN_S && !l->exited) {
        l->signalled = 1;
        (void)kill(-l->mpirun, SIGKILL);
    }
}

static void look_after_mpirun(struct local *l)
{
    pid_t pid;

    if (l->exited)
        return;
    do
        pid = waitpid(l->mpirun, &l->mpirun_status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    l->exited = pid == l->mpirun;
}

/* One round of news from ranks and mpirun; how many there were. */
static int serve(struct local *l, struct pollfd *fds, int timeout_ms)
{
    int n = roster_watch(&l->roster, fds), ready;

    fds[n] = (struct pollfd){ l->pipe[0], POLLIN, 0 };
    fds[n + 1] = (struct pollfd){ l->pipe[1], POLLIN, 0 };
    ready = poll(fds, (nfds_t)n + 2, timeout_ms);
    for (int i = 0; ready < 0 && i < n; i++)
        fds[i].revents = 0;
    roster_serve(&l->roster, fds, n, clock_s());
    read_pipe(l, 0);
    read_pipe(l, 1);
    return ready;
}

static int watch(struct local *l, struct mup_error *err)
{
    struct pollfd *fds =
        calloc((size_t)roster_max_fds(&l->roster) + 2, sizeof(*fds));

    if (!fds) {
        kill_ranks(l);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    while (!l->exited) {
        (void)serve(l, fds, l->ending == RUNNING ? 100 : 10);
        look_after_mpirun(l);
        pass_signals_on(l);
        check_time(l);
    }
    /* What they said last; bounded, as strangers can always say more. */
    for (int i = 0; i < 100 && serve(l, fds, 0) > 0; i++)
        ;
    /* Ranks that outlive a killed mpirun: the next run shall find none. */
    kill_ranks(l);
    free(fds);
    return MUP_OK;
}

/* --- after it --- */

static int fail_dead(const struct local *l, struct mup_error *err)
{
    const struct rank_state *s = &l->roster.state[l->first];
    const char *again = "the same command continues from the last checkpoint";
    int known = l->end.rank == l->first;

    if (known && l->end.signal)
        return mup_fail(err, MUP_DEVICE,
                        "rank %d of %d was killed by signal %d (%s) at step "
                        "%lld; %s",
                        l->first, l->ranks, l->end.signal,
                        strsignal(l->end.signal), (long long)s->step, again);
    if (known && l->end.status)
        return mup_fail(
            err, l->end.status <= MUP_INCONCLUSIVE ? l->end.status : MUP_DEVICE,
            "rank %d of %d ended with exit status %d at step "
            "%lld; %s",
            l->first, l->ranks, l->end.status, (long long)s->step, again);
    return mup_fail(err, MUP_DEVICE, "rank %d of %d died at step %lld; %s",
                    l->first, l->ranks, (long long)s->step, again);
}

/* Not by us, and no rank's failure made it. */
static int mpirun_died(const struct local *l)
{
    return WIFSIGNALED(l->mpirun_status) && !l->signalled && l->end.rank < 0 &&
           (l->first < 0 || !l->roster.state[l->first].bye);
}

/* When something happened that no rank tells of. */
static struct units_text when(const struct local *l)
{
    int64_t step = roster_last_step(&l->roster);
    struct units_text u;

    if (step > 0)
        snprintf(u.text, sizeof(u.text), "at step %lld", (long long)step);
    else
        snprintf(u.text, sizeof(u.text), "before the first step");
    return u;
}

static int fail_mpirun(const struct local *l, struct mup_error *err)
{
    int number = WTERMSIG(l->mpirun_status);

    return mup_fail(err, MUP_DEVICE,
                    "mpirun was killed by signal %d (%s) %s, and the ranks "
                    "with it; the same command continues from the last "
                    "checkpoint",
                    number, strsignal(number), when(l).text);
}

static int fail_late(const struct local *l, struct mup_error *err)
{
    return mup_fail(err, MUP_DEVICE,
                    "%s of %d did not %s within %.0f s and %s killed%s; log in "
                    "'%s/log'",
                    l->names, l->ranks, l->late, l->late_s,
                    l->ranks > 1 ? "all were" : "was",
                    l->stops ? ": the same command continues from the last "
                               "checkpoint"
                             : " (does MPI start, are the files within reach? "
                               "a longer parallel.deadline_s waits longer)",
                    l->dir);
}

/* mpirun is over and no rank has said why. */
static int fail_early(struct local *l, struct mup_error *err)
{
    int status = WIFEXITED(l->mpirun_status) ? WEXITSTATUS(l->mpirun_status)
                                             : MUP_DEVICE;

    if (status == 0 || status > MUP_INCONCLUSIVE)
        status = MUP_DEVICE;
    if (l->end.rank >= 0 && l->end.rank < l->ranks) {
        view_last_words(&l->view, l->end.rank);
        if (l->end.signal)
            return mup_fail(err, MUP_DEVICE,
                            "rank %d of %d was killed by signal %d (%s) %s "
                            "(log in '%s/log')",
                            l->end.rank, l->ranks, l->end.signal,
                            strsignal(l->end.signal), when(l).text, l->dir);
        return mup_fail(err, status,
                        "rank %d of %d ended with exit status %d %s (log in "
                        "'%s/log')",
                        l->end.rank, l->ranks, l->end.status, when(l).text,
                        l->dir);
    }
    view_last_words(&l->view, -1);
    return mup_fail(err, status, "mpirun ended %s (log in '%s/log')",
                    when(l).text, l->dir);
}

static int conclude(struct local *l, struct mup_error *err)
{
    const struct rank_state *s;

    if (l->stops > 1)
        return mup_fail(err, MUP_NEGATIVE,
                        "killed at the second signal; the same command "
                        "continues from the last checkpoint");
    if (l->late)
        return fail_late(l, err);
    if (mpirun_died(l))
        return fail_mpirun(l, err);
    if (l->first < 0)
        return fail_early(l, err);
    /* Connections of one moment are read in no order of time: mpirun knows
     * which rank went first. */
    if (l->hung_s <= 0 && l->roster.state[l->first].lost && l->end.signal &&
        l->end.rank >= 0 && l->end.rank < l->ranks &&
        l->roster.state[l->end.rank].lost)
        l->first = l->end.rank;
    s = &l->roster.state[l->first];
    if (l->hung_s > 0) {
        view_last_words(&l->view, l->first);
        return mup_fail(err, MUP_DEVICE,
                        "rank %d of %d hung: nothing heard of it for %.0f s "
                        "after step %lld; the same command continues from the "
                        "last checkpoint",
                        l->first, l->ranks, l->hung_s, (long long)s->step);
    }
    if (s->lost) {
        view_last_words(&l->view, l->first);
        return fail_dead(l, err);
    }
    if (s->status == MUP_OK)
        return MUP_OK;
    if (!is_good_end(s->status))
        view_last_words(&l->view, l->first);
    if (l->first > 0 && !is_good_end(s->status))
        return mup_fail(err, s->status, "rank %d: %s", l->first, l->text);
    return mup_fail(err, s->status, "%s", l->text);
}

static void clear(struct local *l)
{
    for (int i = 0; i < 2; i++) {
        if (l->pipe[i] >= 0)
            close(l->pipe[i]);
        tagged_close(&l->stream[i]);
    }
    roster_close(&l->roster);
    view_close(&l->view);
}

static int open_streams(struct local *l, struct mup_error *err)
{
    for (int i = 0; i < 2; i++) {
        if (tagged_open(l->ranks, &l->stream[i]) != 0)
            return mup_fail(err, MUP_SYSTEM, "out of memory");
        l->stream[i].context = l;
        l->stream[i].line = i ? take_err : take_out;
    }
    return MUP_OK;
}

int local_run(const struct args *args, const struct run_config *config,
              const char *dir, struct mup_error *err)
{
    struct command command = { 0 };
    struct local l = {
        .dir = dir,
        .ranks = (int)config->launch.local,
        .deadline_s = config->parallel.deadline_s,
        .roster = { .listen = -1 },
        .view = { .log = -1 },
        .pipe = { -1, -1 },
        .first = -1,
        .end = { .rank = -1 },
    };
    int rc = check(config, dir, err);

    if (rc == MUP_OK)
        rc = view_open(&l.view, dir, l.ranks, args->quiet, err);
    if (rc == MUP_OK)
        rc = open_streams(&l, err);
    if (rc == MUP_OK)
        rc = roster_open("127.0.0.1", l.ranks, &l.roster, err);
    if (rc == MUP_OK)
        rc = make_command(&command, args, &l, err);
    if (rc == MUP_OK) {
        l.roster.event = hear;
        l.roster.context = &l;
        set_environment(&l);
        stop_watch_all();
        l.start_s = clock_s();
        rc = start(&l, &command, err);
    }
    if (rc == MUP_OK)
        rc = watch(&l, err);
    if (rc == MUP_OK)
        rc = conclude(&l, err);
    free(command.overrides);
    clear(&l);
    return rc;
}
