#include "launcher/supervise.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/address.h"
#include "launcher/agent.h"
#include "launcher/eject.h"
#include "launcher/job.h"
#include "launcher/journal.h"
#include "launcher/node_filter.h"
#include "launcher/paths.h"
#include "launcher/patience.h"
#include "launcher/stop.h"
#include "launcher/training.h"
#include "model/checkpoint_dir.h"
#include "model/clock.h"
#include "model/fence.h"
#include "model/file.h"
#include "model/node.h"
#include "model/run_log.h"

#define POLL_MS 50
#define STATE_S 1.0
/* Between two attempts at a controller that does not answer. */
#define REQUEUE_RETRY_S 5
/* What was put down is on the disk by then, or the disk is broken. */
#define WRITE_S    30.0
#define CHILDREN_S 10.0
/* Of the time before the job's end, kept for the queue's business. */
#define STOP_MARGIN 0.25

/* --- wishes --- */

static void wish(struct supervise *s, int what)
{
    static const char *const names[] = { "none", "limit", "preempt", "cancel" };
    struct supervisor_event e = {
        .kind = EVENT_WISH, .now_s = clock_s(), .node = -1, .wish = what
    };
    json_t *o;

    if (s->machine.wish >= what)
        return;
    o = launch_log_new("wish");
    if (o)
        json_object_set_new(o, "wish", json_string(names[what]));
    if (what != WISH_CANCEL) /* that one stands there already */
        supervise_log(s, o);
    else
        json_decref(o);
    supervise_note(s,
                   what == WISH_LIMIT ? "the job's time is over soon: the "
                                        "ranks save their state"
                   : what == WISH_CANCEL
                       ? "cancelled: the ranks save their state"
                       : "the scheduler wants the nodes: the ranks save their "
                         "state");
    supervise_tell(s, &e);
}

/* Has somebody asked in the journal to cancel? */
static int is_cancelled(struct supervise *s)
{
    struct launch_log log;
    int cancelled;

    if (launch_log_read(s->dir, &log, NULL) != MUP_OK)
        return 0;
    cancelled = log.cancelled;
    launch_log_clear(&log);
    return cancelled;
}

static void look_for_wishes(struct supervise *s)
{
    if (stop_count() != s->signals) {
        s->signals = stop_count();
        if (stop_requested(NULL) == SIGUSR1)
            wish(s, WISH_LIMIT);
        else
            wish(s, is_cancelled(s) ? WISH_CANCEL : WISH_PREEMPT);
    }
}

/* --- actions --- */

/* In a child: what the supervisor closes must be closed. */
static void leave_connections(struct supervise *s)
{
    roster_close(&s->agents);
    if (s->ranks.open)
        roster_close(&s->ranks.roster);
    close(s->scribe.fd);
    s->scribe.fd = -1; /* lines of ours are written at once */
}

static void eject(struct supervise *s, const struct supervisor_action *a)
{
    const char *name = s->nodes.name[a->node];
    const struct eject e = { .dir = s->dir,
                             .run = s->uuid,
                             .node = name,
                             .class = a->class,
                             .reason = a->text,
                             .config = &s->config };
    pid_t pid;

    snprintf(s->node[a->node].text, sizeof(s->node[a->node].text), "%s",
             a->text);
    /* More than may be: the fault is elsewhere, and the list is for all. */
    if (s->machine.ejected > s->machine.options.may_eject) {
        supervise_note(s, "%s would be ejected, too: %s", name, a->text);
        return;
    }
    supervise_note(s, "%s is ejected for %.3g h: %s", name,
                   s->config.recover.eject_h, a->text);
    /* The disk or the scheduler may take their time: a child asks them. */
    pid = fork();
    s->children += pid > 0;
    if (pid > 0)
        return;
    if (pid == 0)
        leave_connections(s);
    eject_node(&e); /* without a child: late is better than not */
    if (pid == 0)
        _exit(0);
}

static void start_ranks(struct supervise *s, const struct supervisor_action *a)
{
    struct mup_error err = { 0 };
    struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .incarnation = a->incarnation,
        .node = -1,
        .failure = { FAILURE_FILES, 0, 0 },
        .text = err.text,
    };

    supervise_note(
        s, "starting %d ranks on %d nodes (incarnation %" PRId64 ")",
        (int)(s->config.slurm.nodes * s->config.slurm.ranks_per_node),
        (int)s->config.slurm.nodes, a->incarnation);
    e.status = supervise_start_ranks(s, a->incarnation, &err);
    e.now_s = clock_s();
    if (e.status == MUP_USAGE) {
        e.failure = (struct failure){ FAILURE_FENCED, 0, 0 };
        e.status = MUP_DEVICE;
    }
    if (e.status)
        supervise_tell(s, &e);
}

static void clear(struct supervise *s, const struct supervisor_action *a)
{
    struct mup_error err = { 0 };
    double now_s = clock_s();
    struct supervisor_event replaced = {
        .kind = EVENT_FAILED,
        .now_s = now_s,
        .incarnation = a->incarnation,
        .node = -1,
        .failure = { FAILURE_FENCED, 0, 0 },
        .status = MUP_DEVICE,
        .text = err.text,
    };
    int rc;

    supervise_begin_incident(s, now_s);
    /* From here on nothing of an earlier start can become a checkpoint.  Who
     * has taken the run over must not be fenced off by us. */
    if (s->machine.last.class == FAILURE_FENCED)
        rc = MUP_OK;
    else
        rc = supervise_raise_fence(s, a->incarnation, &err);
    if (rc == MUP_USAGE) /* not newer than what is there */
        supervise_tell(s, &replaced);
    else if (rc) /* START tries again */
        supervise_note(s, "%s", err.text);
    supervise_clear_ranks(s, now_s);
}

int supervise_raise_fence(struct supervise *s, int64_t incarnation,
                          struct mup_error *err)
{
    int rc;

    if (s->raised == incarnation)
        return MUP_OK;
    rc = fence_raise(s->dir, incarnation, err);
    if (!rc)
        s->raised = incarnation;
    return rc;
}

static void log_end(struct supervise *s, int status, const char *text)
{
    json_t *o = launch_log_new("ended");
    struct train_result result;
    char described[256];

    if (status == MUP_OK && run_log_result(s->dir, &result)) {
        result.wall_s = s->trained_s; /* of all starts */
        training_describe(&result, described, sizeof(described));
        text = described;
    }
    if (o) {
        json_object_set_new(o, "status", json_integer(status));
        json_object_set_new(o, "text", json_string(text));
        json_object_set_new(o, "trained_s", json_real(s->trained_s));
        json_object_set_new(o, "wall_s",
                            json_real(s->first_unix_s > 0
                                          ? supervise_unix_s() - s->first_unix_s
                                          : 0));
    }
    supervise_log(s, o);
}

/* Nodes that this user should not get again, those of other clusters left out:
 * one that the scheduler does not know would keep it from excluding any. */
static char *excluded(const struct supervise *s, struct cluster *c)
{
    struct node_filter filter = { 0 };
    struct cluster_node *node = NULL;
    char *text = NULL;
    int n = 0;

    if (cluster_nodes(c, s->config.slurm.partition, &node, &n, NULL) ==
            MUP_OK &&
        node_filter_make(&s->config, node, n, &filter, NULL) == MUP_OK) {
        text = filter.list;
        filter.list = NULL;
    }
    node_filter_clear(&filter);
    free(node);
    return text;
}

/* The scheduler sends SIGTERM when it takes the job back and waits for our end:
 * the sooner the better. */
static int ask_for_requeue(struct supervise *s, struct mup_error *err)
{
    double end_s = clock_s() + (double)job_signal_s(&s->config.slurm);
    struct cluster *c = NULL;
    char *exclude = NULL;
    int rc = cluster_open(s->config.slurm.by, &c, err);

    if (rc == MUP_OK)
        exclude = excluded(s, c);
    while (rc == MUP_OK) {
        rc = cluster_requeue(c, s->job, exclude, err);
        if (rc == MUP_OK)
            break;
        if (rc == MUP_DEVICE && clock_s() < end_s) {
            patience_sleep(REQUEUE_RETRY_S);
            rc = MUP_OK;
        }
    }
    if (rc != MUP_OK && exclude) { /* better those nodes than none */
        supervise_note(s, "%s", err->text);
        rc = cluster_requeue(c, s->job, NULL, err);
    }
    cluster_close(c);
    free(exclude);
    return rc;
}

/* After the loop, when nobody listens to agents any more. */
static void give_back(struct supervise *s)
{
    struct mup_error err = { 0 };

    if (ask_for_requeue(s, &err) == MUP_OK)
        return;
    supervise_note(s, "%s", err.text);
    s->status = mup_fail(&s->end, MUP_STOPPED,
                         "the job could not be queued again (%.400s); the same "
                         "command continues from the last checkpoint",
                         err.text);
    log_end(s, s->status, s->end.text);
}

static void requeue(struct supervise *s, const struct supervisor_action *a)
{
    json_t *o = launch_log_new("requeued");

    if (o) {
        json_object_set_new(o, "text", json_string(a->text));
        json_object_set_new(o, "tries", json_integer(s->machine.tries));
        json_object_set_new(o, "base_step", json_integer(s->machine.base_step));
        json_object_set_new(o, "requeues", json_integer(s->machine.requeues));
    }
    supervise_log(s, o);
    supervise_note(s, "queued again: %s", a->text);
    s->ended = 1;
    s->status =
        mup_fail(&s->end, MUP_STOPPED,
                 "%.400s; the run goes on when the job runs again", a->text);
    supervise_write_state(s, clock_s());
    /* Whoever takes the nodes decides whether the job comes back. */
    s->gives_back = s->machine.wish != WISH_PREEMPT;
}

void supervise_end(struct supervise *s, int status, const char *what,
                   const char *why)
{
    if (s->ended)
        return;
    s->ended = 1;
    s->status = mup_fail(&s->end, status, "%s: %.600s", what,
                         *why ? why : "it gave no reason");
    log_end(s, status, s->end.text);
    supervise_write_state(s, clock_s());
}

static void act(struct supervise *s, const struct supervisor_action *a)
{
    switch (a->kind) {
    case ACTION_CHECK:
        supervise_check(s, a->node, clock_s());
        break;
    case ACTION_START:
        start_ranks(s, a);
        break;
    case ACTION_STOP:
        supervise_stop_ranks(s);
        break;
    case ACTION_CLEAR:
        clear(s, a);
        break;
    case ACTION_EJECT:
        eject(s, a);
        break;
    case ACTION_REQUEUE:
        requeue(s, a);
        break;
    case ACTION_END:
        s->ended = 1;
        /* the folder is a newer supervisor's then */
        if (s->machine.last.class != FAILURE_FENCED) {
            log_end(s, a->status, a->text);
            supervise_write_state(s, clock_s());
        }
        s->status = a->status;
        if (a->status)
            (void)mup_fail(&s->end, a->status, "%s", a->text);
        break;
    default:
        break;
    }
}

/* An event that waits for the actions of the one before it. */
struct supervise_waiting {
    struct supervisor_event event;
    char text[SUPERVISOR_TEXT_BYTES];
    struct supervise_waiting *next;
};

static void put(struct supervise *s, const struct supervisor_event *e)
{
    struct supervise_waiting *w = calloc(1, sizeof(*w)), **end = &s->waiting;

    if (!w) { /* it would be a moment later: silence, or a tick, tells again */
        supervise_note(s, "out of memory");
        return;
    }
    w->event = *e;
    snprintf(w->text, sizeof(w->text), "%s", e->text ? e->text : "");
    w->event.text = w->text;
    while (*end)
        end = &(*end)->next;
    *end = w;
}

/* Actions may make events of their own. */
void supervise_tell(struct supervise *s, const struct supervisor_event *e)
{
    struct supervisor_action a;

    put(s, e);
    if (s->telling)
        return;
    s->telling = 1;
    while (s->waiting) {
        struct supervise_waiting *w = s->waiting;

        s->waiting = w->next;
        supervisor_event(&s->machine, &w->event);
        free(w);
        while (supervisor_act(&s->machine, &a))
            act(s, &a);
    }
    s->telling = 0;
}

/* --- the loop --- */

static void serve(struct supervise *s, struct pollfd *fds)
{
    int n_agents = roster_watch(&s->agents, fds), n = n_agents, n_ranks = 0;
    struct supervise_ranks *r = &s->ranks;
    double now_s;

    if (r->open) {
        n_ranks = roster_watch(&r->roster, fds + n);
        n += n_ranks;
        fds[n++] = (struct pollfd){ r->step.err, POLLIN, 0 };
    }
    if (poll(fds, (nfds_t)n, POLL_MS) < 0)
        for (int i = 0; i < n; i++)
            fds[i].revents = 0;
    now_s = clock_s();
    /* Agents first: a node that is gone explains its ranks. */
    roster_serve(&s->agents, fds, n_agents, now_s);
    if (n_ranks && r->open)
        roster_serve(&r->roster, fds + n_agents, n_ranks, now_s);
}

static void take_agent_line(void *context, const char *text)
{
    struct supervise *s = context;

    (void)!write(s->log, text, strlen(text)); /* a log has no remedy */
    (void)!write(s->log, "\n", 1);
    snprintf(s->agent_words, sizeof(s->agent_words), "%s", text);
}

static void reap_children(struct supervise *s)
{
    (void)step_reap(&s->agent_step);
    if (s->ranks.open)
        (void)step_reap(&s->ranks.step);
    /* steps have process groups of their own, so these are the others */
    while (s->children > 0 && waitpid(0, NULL, WNOHANG) > 0)
        s->children--;
}

/* What they have begun stands soon; a scheduler that is down is not waited for.
 */
static void await_children(struct supervise *s)
{
    double end_s = clock_s() + CHILDREN_S;

    while (s->children > 0 && clock_s() < end_s) {
        reap_children(s);
        patience_sleep(0.05);
    }
}

/* Ranks and agents have not heard of us for so long that they have ended: no
 * node is to blame for what they seem to have done. */
static void check_own_silence(struct supervise *s)
{
    double now_s = clock_s(), silent_s = now_s - s->loop_s;
    struct supervisor_action a = { .kind = ACTION_REQUEUE };

    if (s->loop_s > 0 && silent_s > s->config.recover.lease_s) {
        snprintf(a.text, sizeof(a.text),
                 "the supervisor itself stood still for %.1f s, longer than "
                 "recover.lease_s",
                 silent_s);
        if (s->machine.requeues > 0)
            requeue(s, &a);
        else {
            a.status = MUP_DEVICE;
            a.kind = ACTION_END;
            act(s, &a);
        }
    }
    s->loop_s = now_s;
}

static int loop(struct supervise *s, struct mup_error *err)
{
    const size_t ranks =
        (size_t)(s->config.slurm.nodes * s->config.slurm.ranks_per_node);
    struct pollfd *fds =
        calloc((size_t)roster_max_fds(&s->agents) + ranks + 64, sizeof(*fds));
    struct supervisor_event tick = { .kind = EVENT_TICK, .node = -1 };

    if (!fds)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    while (!s->ended) {
        double now_s;

        check_own_silence(s);
        if (s->ended)
            break;
        serve(s, fds);
        now_s = clock_s();
        step_read(&s->agent_step, take_agent_line, s);
        reap_children(s);
        look_for_wishes(s);
        scribe_flush(&s->scribe);
        if (now_s - s->alive_s > SUPERVISE_ALIVE_S) {
            roster_alive(&s->agents);
            s->alive_s = now_s;
        }
        supervise_watch_nodes(s, now_s);
        supervise_watch_ranks(s, now_s);
        tick.now_s = now_s;
        supervise_tell(s, &tick);
        if (!s->ended && now_s - s->state_s > STATE_S)
            supervise_write_state(s, now_s);
    }
    free(fds);
    return MUP_OK;
}

/* --- before it --- */

static int read_job(struct supervise *s, struct mup_error *err)
{
    const char *id = getenv("SLURM_JOB_ID");
    const char *nodes = getenv("SLURM_JOB_NODELIST");
    const char *restart = getenv("SLURM_RESTART_COUNT");
    int rc;

    if (!id || !nodes)
        return mup_fail(err, MUP_USAGE,
                        "'supervise' runs in the batch script that 'mutransfer "
                        "launch --slurm' submits, not by hand");
    s->job = strtoll(id, NULL, 10);
    s->restart = restart ? strtoll(restart, NULL, 10) : 0;
    rc = hostlist_parse(nodes, &s->nodes, err);
    node_name(s->here);
    address_find(s->here, s->address, sizeof(s->address));
    return rc;
}

static int check_size(struct supervise *s, struct mup_error *err)
{
    s->limit_unix_s = supervise_unix_s() + 60 * s->config.slurm.time_min;
    if (s->nodes.n >= s->config.slurm.nodes)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "the job has %d nodes, and slurm.nodes asks for %lld",
                    s->nodes.n, (long long)s->config.slurm.nodes);
}

/* What earlier jobs of the run left. */
static void read_state(struct supervise *s)
{
    json_t *o = launch_state_read(s->dir), *metrics = NULL;
    char path[1200];

    s->trained_s = json_number_value(json_object_get(o, "trained_s"));
    s->best_step = json_integer_value(json_object_get(o, "best_step"));
    s->last_step = json_integer_value(json_object_get(o, "step"));
    s->saved_unix_s = json_number_value(json_object_get(o, "saved_unix_s"));
    json_decref(o);
    /* Who died without a word had not written its last second down. */
    if (path_join(s->dir, "metrics.jsonl", path, sizeof(path), NULL) == MUP_OK)
        metrics = journal_last(path);
    if (journal_int(metrics, "step") > s->last_step)
        s->last_step = journal_int(metrics, "step");
    json_decref(metrics);
}

static void log_supervisor(struct supervise *s)
{
    json_t *o = launch_log_new("supervisor"), *nodes = json_array();

    for (int i = 0; i < s->nodes.n; i++)
        json_array_append_new(nodes, json_string(s->nodes.name[i]));
    if (o) {
        json_object_set_new(o, "job", json_integer(s->job));
        json_object_set_new(o, "restart", json_integer(s->restart));
        json_object_set_new(o, "host", json_string(s->here));
        json_object_set_new(o, "pid", json_integer(getpid()));
        json_object_set(o, "nodes", nodes);
        json_object_set_new(o, "limit_unix_s", json_real(s->limit_unix_s));
    }
    if (o && s->incident.open) {
        json_object_set_new(o, "gap_unix_s",
                            json_real(s->incident.began_unix_s));
        json_object_set_new(o, "gap_text", json_string(s->incident.text));
        json_object_set_new(o, "gap_planned",
                            json_integer(s->incident.planned));
    }
    json_decref(nodes);
    supervise_log(s, o);
}

static int count_ejected(struct supervise *s)
{
    struct ejected list = { 0 };
    int n = 0;

    if (ejected_read(s->exclude_path, (int64_t)time(NULL), &list, NULL) ==
        MUP_OK)
        for (int i = 0; i < list.n; i++)
            n += !strcmp(list.node[i].run, s->uuid);
    ejected_clear(&list);
    return n;
}

int64_t supervise_newest_checkpoint(const struct supervise *s)
{
    int64_t *steps = NULL, newest = 0;
    char path[1200];
    int n = 0;

    (void)snprintf(path, sizeof(path), "%s/checkpoints", s->dir);
    if (checkpoint_list(path, &steps, &n, NULL) == MUP_OK && n > 0)
        newest = steps[0];
    free(steps);
    return newest;
}

static int init_machine(struct supervise *s, const struct launch_log *log,
                        struct mup_error *err)
{
    const struct recover_config *c = &s->config.recover;
    int most = c->max_ejected ? (int)c->max_ejected : (s->nodes.n + 3) / 4;
    double signal_s = (double)job_signal_s(&s->config.slurm);
    struct supervisor_options o = {
        .nodes = s->nodes.n,
        .wanted = (int)s->config.slurm.nodes,
        .attempts = (int)c->attempts,
        .progress = c->progress,
        .strikes = (int)c->strikes,
        .check_s = 90 + s->nodes.n + c->preflight_s,
        .setup_s = c->setup_s,
        .stop_s = signal_s * (1 - STOP_MARGIN),
        .tries = log->tries,
        .base_step = log->base_step,
        .requeues = s->config.slurm.requeues - log->requeues,
    };
    int rc;

    if (!c->max_ejected && most < 2)
        most = 2;
    /* those of earlier jobs of this run count, too */
    o.may_eject = most - count_ejected(s);
    if (o.may_eject < 0)
        o.may_eject = 0;
    rc = fence_read(s->dir, &o.incarnation, err);
    o.saved_step = s->saved_step = supervise_newest_checkpoint(s);
    return rc ? rc : supervisor_init(&o, clock_s(), &s->machine, err);
}

/* Ranks of an earlier job whose supervisor died without a word may live for
 * their lease.  Since when is not asked: clocks of hosts differ. */
static void outwait_lease(const struct supervise *s)
{
    if (s->incident.open && !s->incident.planned)
        patience_sleep(s->config.recover.lease_s);
}

static int open_all(struct supervise *s, struct mup_error *err)
{
    struct launch_log log = { 0 };
    char path[1200];
    int rc = path_join(s->dir, "launch-config.yaml", s->config_path,
                       sizeof(s->config_path), err);

    if (!rc)
        rc = read_job(s, err);
    if (!rc)
        rc = run_config_load(s->config_path, NULL, 0, &s->config, err);
    if (!rc)
        rc = check_size(s, err);
    if (!rc)
        rc = ejected_path(s->config.recover.exclude_file, s->exclude_path,
                          sizeof(s->exclude_path), err);
    if (!rc)
        rc = launch_log_read(s->dir, &log, err);
    if (rc)
        return rc;
    snprintf(s->uuid, sizeof(s->uuid), "%s", log.uuid);
    read_state(s);
    supervise_continue_incident(s, &log);
    s->first_unix_s =
        log.first_unix_s > 0 ? log.first_unix_s : supervise_unix_s();
    rc = init_machine(s, &log, err);
    launch_log_clear(&log);
    snprintf(path, sizeof(path), "%s/log", s->dir);
    if (!rc)
        rc = file_append_open(path, 0, &s->log, err);
    if (!rc)
        rc = scribe_open(s->dir, &s->scribe, err);
    log_supervisor(s);
    if (!rc)
        outwait_lease(s);
    return rc ? rc : supervise_open_agents(s, err);
}

/* One for every node and rank; logins begin with a limit of 1024. */
static void allow_connections(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int supervise_run(const struct args *args, const char *dir,
                  struct mup_error *err)
{
    struct supervise s = {
        .args = args,
        .dir = dir,
        .log = -1,
        .scribe = { .fd = -1, .dir = dir },
        .agents = { .listen = -1 },
        .agent_step = { .err = -1 },
        .ranks = { .step = { .err = -1 } },
    };
    int rc;

    stop_watch_job();
    (void)signal(SIGPIPE, SIG_IGN);
    allow_connections();
    rc = open_all(&s, err);
    if (!rc)
        rc = loop(&s, err);
    else if (s.job) /* not by hand: the journal is another's then */
        log_end(&s, rc, err ? err->text : "");
    supervise_close_ranks(&s);
    supervise_close_agents(&s);
    scribe_close(&s.scribe, WRITE_S);
    await_children(&s);
    if (s.gives_back)
        give_back(&s);
    supervisor_clear(&s.machine);
    hostlist_clear(&s.nodes);
    if (s.log >= 0)
        close(s.log);
    if (!rc && s.status) {
        rc = s.status;
        if (err)
            *err = s.end;
    }
    return rc;
}
