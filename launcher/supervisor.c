#include "launcher/supervisor.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before another start after a failure of files. */
#define PAUSE_S      2.0
#define PAUSE_FACTOR 4.0
#define PAUSE_MOST_S 60.0

static const char *const phases[] = {
    [SUPERVISOR_CHECKING] = "checking",   [SUPERVISOR_STARTING] = "starting",
    [SUPERVISOR_TRAINING] = "training",   [SUPERVISOR_STOPPING] = "stopping",
    [SUPERVISOR_CLEARING] = "recovering", [SUPERVISOR_ENDED] = "ended",
};

static const char *const uses[] = {
    [NODE_AWAITED] = "awaited", [NODE_CHECKING] = "checking",
    [NODE_READY] = "ready",     [NODE_TRAINING] = "training",
    [NODE_LOST] = "lost",       [NODE_EJECTED] = "ejected",
};

const char *supervisor_phase_name(int phase)
{
    return phases[phase];
}

const char *supervisor_use_name(int use)
{
    return uses[use];
}

int supervisor_count(const struct supervisor *s, int use)
{
    int n = 0;

    for (int i = 0; i < s->options.nodes; i++)
        n += s->node[i].use == use;
    return n;
}

int supervisor_init(const struct supervisor_options *options, double now_s,
                    struct supervisor *out, struct mup_error *err)
{
    struct supervisor s = {
        .options = *options,
        .phase = SUPERVISOR_CHECKING,
        .incarnation = options->incarnation,
        .since_s = now_s,
        .saved_step = options->saved_step,
        .base_step = options->base_step,
        .tries = options->tries,
        .requeues = options->requeues,
        .last_node = -1,
        /* each node is checked and ejected once in one event at most */
        .room = 2 * options->nodes + 8,
    };

    s.node = calloc((size_t)options->nodes + 1, sizeof(*s.node));
    s.action = calloc((size_t)s.room, sizeof(*s.action));
    if (!s.node || !s.action) {
        supervisor_clear(&s);
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d nodes",
                        options->nodes);
    }
    *out = s;
    return MUP_OK;
}

void supervisor_clear(struct supervisor *s)
{
    free(s->node);
    free(s->action);
    memset(s, 0, sizeof(*s));
}

/* --- actions --- */

int supervisor_act(struct supervisor *s, struct supervisor_action *out)
{
    if (s->n_actions == 0)
        return 0;
    *out = s->action[s->first];
    s->first = (s->first + 1) % s->room;
    s->n_actions--;
    return 1;
}

static struct supervisor_action *push(struct supervisor *s, int kind)
{
    struct supervisor_action *a =
        &s->action[(s->first + s->n_actions) % s->room];

    assert(s->n_actions < s->room);
    s->n_actions++;
    *a = (struct supervisor_action){ .kind = kind, .node = -1 };
    return a;
}

static void move_to(struct supervisor *s, int phase, double now_s)
{
    s->phase = phase;
    s->since_s = now_s;
}

__attribute__((format(printf, 4, 5))) static void
end(struct supervisor *s, int status, double now_s, const char *format, ...)
{
    struct supervisor_action *a = push(s, ACTION_END);
    va_list ap;

    a->status = status;
    va_start(ap, format);
    (void)vsnprintf(a->text, sizeof(a->text), format, ap);
    va_end(ap);
    move_to(s, SUPERVISOR_ENDED, now_s);
}

/* The job goes back to the queue, as often as it may. */
static void requeue(struct supervisor *s, const char *why, int needs_nodes,
                    double now_s)
{
    struct supervisor_action *a;

    if (s->requeues <= 0) {
        end(s, MUP_STOPPED, now_s,
            "%.400s; slurm.requeues are used up, so the run stops here: the "
            "same command continues from the last checkpoint",
            why);
        return;
    }
    s->requeues--;
    a = push(s, ACTION_REQUEUE);
    a->needs_nodes = needs_nodes;
    (void)snprintf(a->text, sizeof(a->text), "%s", why);
    move_to(s, SUPERVISOR_ENDED, now_s);
}

/* --- nodes --- */

static int is_usable(const struct supervisor_node *n)
{
    return n->use == NODE_READY || n->use == NODE_TRAINING;
}

/* use: NODE_LOST or NODE_EJECTED; no START will have it. */
static void eject(struct supervisor *s, int node, int use, int class,
                  const char *why)
{
    struct supervisor_action *a;

    if (s->node[node].use >= NODE_LOST)
        return;
    s->node[node].use = use;
    s->ejected++;
    a = push(s, ACTION_EJECT);
    a->node = node;
    a->class = class;
    (void)snprintf(a->text, sizeof(a->text), "%s", why);
}

/* More bad nodes than bad luck explains: the fault is elsewhere. */
static int is_over_cap(const struct supervisor *s)
{
    return s->ejected > s->options.may_eject;
}

static void end_over_cap(struct supervisor *s, const char *why, double now_s)
{
    end(s, MUP_DEVICE, now_s,
        "%.400s; no more nodes may be ejected (recover.max_ejected), so the "
        "run stops: the last checkpoint stays, 'mutransfer status' names the "
        "nodes",
        why);
}

/* --- starting --- */

/* The ready node with the fewest strikes, the first of several; or -1. */
static int best_node(const struct supervisor *s)
{
    int best = -1;

    for (int i = 0; i < s->options.nodes; i++)
        if (s->node[i].use == NODE_READY &&
            (best < 0 || s->node[i].strikes < s->node[best].strikes))
            best = i;
    return best;
}

static void give_up(struct supervisor *s, double now_s)
{
    long long due = (long long)(s->base_step + s->options.progress);

    if (s->last.class == FAILURE_NONE)
        end(s, MUP_DEVICE, now_s,
            "given up after %d starts without a checkpoint of step %lld or "
            "later (recover.attempts), the last one in an earlier job",
            s->tries, due);
    else
        end(s, s->last_status ? s->last_status : MUP_DEVICE, now_s,
            "given up after %d starts without a checkpoint of step %lld or "
            "later (recover.attempts); the last one ended by %s: %.300s",
            s->tries, due, failure_title(s->last.class), s->last_text);
}

/* A disk that is full or away comes back, as a rule: 2, 8, 32 s. */
static double pause_s(const struct supervisor *s)
{
    double seconds = PAUSE_S;

    for (int i = 1; i < s->tries && seconds < PAUSE_MOST_S; i++)
        seconds *= PAUSE_FACTOR;
    if (seconds > s->options.check_s)
        seconds = s->options.check_s;
    return s->last.class == FAILURE_FILES ? seconds : 0;
}

static void start(struct supervisor *s, double now_s)
{
    struct supervisor_action *a;

    /* A checkpoint that is new enough pays for new tries. */
    if (s->saved_step >= s->base_step + s->options.progress) {
        s->base_step = s->saved_step;
        s->tries = 0;
    }
    if (s->tries >= s->options.attempts) {
        give_up(s, now_s);
        return;
    }
    s->tries++;
    for (int i = 0; i < s->options.wanted; i++)
        s->node[best_node(s)].use = NODE_TRAINING;
    if (!s->reserved)
        s->incarnation++;
    s->reserved = 0;
    a = push(s, ACTION_START);
    a->incarnation = s->incarnation;
    move_to(s, SUPERVISOR_STARTING, now_s);
}

/* While checking: enough is known to start, or to see that it cannot be. */
static void start_if_ready(struct supervisor *s, double now_s)
{
    int ready = supervisor_count(s, NODE_READY);
    char why[160];

    if (s->phase != SUPERVISOR_CHECKING || supervisor_count(s, NODE_AWAITED) ||
        supervisor_count(s, NODE_CHECKING))
        return;
    if (ready >= s->options.wanted) {
        if (now_s >= s->since_s + pause_s(s)) /* else at a later tick */
            start(s, now_s);
        return;
    }
    (void)snprintf(why, sizeof(why),
                   "%d of the job's %d nodes are fit, and %d are needed", ready,
                   s->options.nodes, s->options.wanted);
    requeue(s, why, 1, now_s);
}

/* --- failing --- */

static int has_node(const struct supervisor *s,
                    const struct supervisor_event *e)
{
    return e->node >= 0 && e->node < s->options.nodes;
}

static void clear_ranks(struct supervisor *s, double now_s)
{
    struct supervisor_action *a = push(s, ACTION_CLEAR);

    if (!s->reserved)
        s->incarnation++;
    s->reserved = 1;
    a->incarnation = s->incarnation;
    move_to(s, SUPERVISOR_CLEARING, now_s);
}

static int lives(const struct supervisor *s)
{
    return s->phase == SUPERVISOR_STARTING || s->phase == SUPERVISOR_TRAINING ||
           s->phase == SUPERVISOR_STOPPING;
}

static void blame(struct supervisor *s, const struct supervisor_event *e)
{
    struct supervisor_node *n = &s->node[e->node];
    int class = e->failure.class;

    n->strikes++;
    if (class == FAILURE_NODE)
        eject(s, e->node, NODE_LOST, class, e->text);
    else if (class == FAILURE_CORRUPT || n->strikes >= s->options.strikes)
        eject(s, e->node, NODE_EJECTED, class, e->text);
}

static void remember(struct supervisor *s, const struct supervisor_event *e)
{
    s->last = e->failure;
    s->last_status = e->status;
    s->last_node = has_node(s, e) ? e->node : -1;
    (void)snprintf(s->last_text, sizeof(s->last_text), "%s", e->text);
}

static void fail(struct supervisor *s, const struct supervisor_event *e)
{
    int blamed = e->failure.blames_node && has_node(s, e);

    remember(s, e);
    /* Nobody knows who is to blame: all are looked at before the next start. */
    s->recheck = e->failure.class == FAILURE_NETWORK ||
                 (e->failure.class == FAILURE_CORRUPT && !blamed);
    if (e->failure.class == FAILURE_PREEMPTED && s->wish == WISH_NONE)
        s->wish = WISH_PREEMPT;
    if (blamed)
        blame(s, e);
    clear_ranks(s, e->now_s);
}

static void fail_late(struct supervisor *s, double now_s)
{
    char text[160];
    const struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .now_s = now_s,
        .node = -1,
        .failure = { FAILURE_HUNG, 0, 0 },
        .status = MUP_DEVICE,
        .text = text,
    };

    (void)snprintf(text, sizeof(text),
                   "no first step within %.0f s (recover.setup_s)",
                   s->options.setup_s);
    fail(s, &e);
}

/* --- events --- */

static void on_agent(struct supervisor *s, int node)
{
    if (s->node[node].use != NODE_AWAITED)
        return;
    s->node[node].use = NODE_CHECKING;
    push(s, ACTION_CHECK)->node = node;
}

static void on_sick(struct supervisor *s, const struct supervisor_event *e)
{
    int use = s->node[e->node].use;

    /* what trains shows by itself whether it can */
    if (use != NODE_CHECKING && use != NODE_READY)
        return;
    eject(s, e->node, NODE_EJECTED, FAILURE_NODE, e->text);
    if (s->phase != SUPERVISOR_CHECKING)
        return;
    if (is_over_cap(s))
        end_over_cap(s, e->text, e->now_s);
    else
        start_if_ready(s, e->now_s);
}

static void on_lost(struct supervisor *s, const struct supervisor_event *e)
{
    struct supervisor_event failed = *e;

    if (s->node[e->node].use >= NODE_LOST)
        return;
    if (lives(s) && s->node[e->node].use == NODE_TRAINING) {
        failed.failure = (struct failure){ FAILURE_NODE, 0, 1 };
        failed.status = MUP_DEVICE;
        fail(s, &failed);
        return;
    }
    eject(s, e->node, NODE_LOST, FAILURE_NODE, e->text);
    if (s->phase != SUPERVISOR_CHECKING)
        return;
    if (is_over_cap(s))
        end_over_cap(s, e->text, e->now_s);
    else
        start_if_ready(s, e->now_s);
}

static void on_done(struct supervisor *s, const struct supervisor_event *e)
{
    struct supervisor_event failed = *e;

    if (e->status != MUP_STOPPED) {
        end(s, e->status, e->now_s, "%s", e->text);
        return;
    }
    if (s->wish == WISH_CANCEL) {
        end(s, MUP_STOPPED, e->now_s, "%s", *e->text ? e->text : "cancelled");
        return;
    }
    if (s->wish != WISH_NONE) {
        requeue(s,
                s->wish == WISH_LIMIT
                    ? "the job's time is over and the state is saved"
                    : "the scheduler takes the nodes and the state is saved",
                0, e->now_s);
        return;
    }
    /* Somebody signalled a rank: not the one who may stop the run. */
    failed.failure = (struct failure){ FAILURE_PROCESS, 0, 0 };
    failed.status = MUP_DEVICE;
    fail(s, &failed);
}

static void recheck(struct supervisor *s)
{
    s->recheck = 0;
    for (int i = 0; i < s->options.nodes; i++)
        if (s->node[i].use == NODE_READY) {
            s->node[i].use = NODE_CHECKING;
            push(s, ACTION_CHECK)->node = i;
        }
}

static void requeue_as_wished(struct supervisor *s, double now_s)
{
    requeue(s,
            s->wish == WISH_LIMIT ? "the job's time is over"
                                  : "the scheduler takes the nodes",
            0, now_s);
}

static void on_cleared(struct supervisor *s, const struct supervisor_event *e)
{
    const double now_s = e->now_s;

    /* of the last moment, which nobody could tell of any more */
    if (e->step > s->saved_step)
        s->saved_step = e->step;
    for (int i = 0; i < s->options.nodes; i++)
        if (s->node[i].use == NODE_TRAINING)
            s->node[i].use = NODE_READY;
    move_to(s, SUPERVISOR_CHECKING, now_s);
    if (s->last.final)
        end(s, s->last_status, now_s, "%s", s->last_text);
    else if (s->last.class == FAILURE_FENCED)
        end(s, MUP_DEVICE, now_s, "%s", s->last_text);
    else if (s->wish == WISH_CANCEL)
        end(s, MUP_STOPPED, now_s,
            "cancelled; the newest checkpoint is that of step %lld (%.300s)",
            (long long)s->saved_step, s->last_text);
    else if (s->wish != WISH_NONE)
        requeue_as_wished(s, now_s);
    else if (is_over_cap(s))
        end_over_cap(s, s->last_text, now_s);
    else if (s->recheck)
        recheck(s);
    start_if_ready(s, now_s);
}

static void on_wish(struct supervisor *s, const struct supervisor_event *e)
{
    if (e->wish > s->wish)
        s->wish = e->wish;
    if (s->phase == SUPERVISOR_CHECKING && s->wish == WISH_CANCEL) {
        end(s, MUP_STOPPED, e->now_s, "cancelled while no rank trained");
    } else if (s->phase == SUPERVISOR_CHECKING) {
        requeue_as_wished(s, e->now_s);
    } else if (s->phase == SUPERVISOR_STARTING ||
               s->phase == SUPERVISOR_TRAINING) {
        (void)push(s, ACTION_STOP);
        move_to(s, SUPERVISOR_STOPPING, e->now_s);
    }
}

static void check_awaited(struct supervisor *s, double now_s)
{
    char why[160];

    for (int i = 0; i < s->options.nodes; i++) {
        if (is_usable(&s->node[i]) || s->node[i].use >= NODE_LOST)
            continue;
        (void)snprintf(why, sizeof(why), "%s within %.0f s",
                       s->node[i].use == NODE_AWAITED
                           ? "its agent did not come up"
                           : "the check before the start gave no answer",
                       s->options.check_s);
        eject(s, i, NODE_EJECTED, FAILURE_NODE, why);
    }
    if (is_over_cap(s))
        end_over_cap(s, why, now_s);
    else
        start_if_ready(s, now_s);
}

static void on_tick(struct supervisor *s, double now_s)
{
    double passed = now_s - s->since_s;

    if (s->phase == SUPERVISOR_CHECKING && passed > s->options.check_s &&
        (supervisor_count(s, NODE_AWAITED) ||
         supervisor_count(s, NODE_CHECKING)))
        check_awaited(s, now_s);
    else if (s->phase == SUPERVISOR_CHECKING)
        start_if_ready(s, now_s);
    else if (s->phase == SUPERVISOR_STARTING && passed > s->options.setup_s)
        fail_late(s, now_s);
    else if (s->phase == SUPERVISOR_STOPPING && passed > s->options.stop_s) {
        s->last = (struct failure){ FAILURE_HUNG, 0, 0 };
        s->last_status = MUP_DEVICE;
        s->last_node = -1;
        (void)snprintf(s->last_text, sizeof(s->last_text),
                       "the state was not saved within %.0f s",
                       s->options.stop_s);
        clear_ranks(s, now_s);
    }
}

/* Of the incarnation that lives? */
static int is_current(const struct supervisor *s,
                      const struct supervisor_event *e)
{
    return lives(s) && e->incarnation == s->incarnation;
}

/* The number that CLEAR reserved is taken: another supervisor has the run. */
static int is_replaced(const struct supervisor *s,
                       const struct supervisor_event *e)
{
    return s->phase == SUPERVISOR_CLEARING &&
           e->incarnation == s->incarnation &&
           e->failure.class == FAILURE_FENCED;
}

static void take(struct supervisor *s, const struct supervisor_event *e)
{
    switch (e->kind) {
    case EVENT_TICK:
        on_tick(s, e->now_s);
        break;
    case EVENT_AGENT:
        if (has_node(s, e))
            on_agent(s, e->node);
        break;
    case EVENT_LOST:
        if (has_node(s, e))
            on_lost(s, e);
        break;
    case EVENT_HEALTHY:
        if (has_node(s, e) && s->node[e->node].use == NODE_CHECKING) {
            s->node[e->node].use = NODE_READY;
            start_if_ready(s, e->now_s);
        }
        break;
    case EVENT_SICK:
        if (has_node(s, e))
            on_sick(s, e);
        break;
    case EVENT_STEP:
        if (is_current(s, e) && s->phase == SUPERVISOR_STARTING)
            move_to(s, SUPERVISOR_TRAINING, e->now_s);
        break;
    case EVENT_SAVED:
        if (is_current(s, e) && e->step > s->saved_step)
            s->saved_step = e->step;
        break;
    case EVENT_FAILED:
        if (is_current(s, e))
            fail(s, e);
        else if (is_replaced(s, e))
            remember(s, e);
        break;
    case EVENT_DONE:
        if (is_current(s, e))
            on_done(s, e);
        break;
    case EVENT_CLEARED:
        if (s->phase == SUPERVISOR_CLEARING)
            on_cleared(s, e);
        break;
    case EVENT_WISH:
        if (e->wish > WISH_NONE)
            on_wish(s, e);
        break;
    }
}

void supervisor_event(struct supervisor *s, const struct supervisor_event *e)
{
    struct supervisor_event event = *e;

    if (!event.text)
        event.text = "";
    if (s->phase != SUPERVISOR_ENDED)
        take(s, &event);
}
