/* The supervisor's state machine in random worlds.
 *
 * A world has nodes that die and are cut off, ranks that live until somebody
 * kills them, a fence and checkpoints, and books of its own: what the machine
 * may do is judged by them and never by what it remembers itself.
 *
 *     build/tests/test_supervisor_random NUMBER     one sequence, all events */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/supervisor.h"

#define SEED       0x5c11c0ffeeULL
#define SINGLES    100000 /* sequences of one job */
#define CHAINS     10000  /* after them: of jobs that are queued again */
#define MOST_JOBS  8
#define MOST_NODES 8
#define KEPT       48  /* events and actions that a failure prints */
#define CALM       300 /* helpful events after which there must be a result */
#define CHECK_S    15.0
#define SETUP_S    20.0
#define STOP_S     5.0

#define COUNT(list) ((int)(sizeof(list) / sizeof((list)[0])))

/* A node as it is, whatever the machine believes. */
struct place {
    int dead, cut;
    int has_agent;
    int asked;   /* to check itself */
    int healthy; /* it answered, and nothing has put that in doubt since */
    int told_lost, told_sick;
    int ejected;
    int chosen;   /* by the newest START */
    int64_t rank; /* incarnation of the rank that lives on it, 0: none */
};

struct line {
    int is_action, kind, node, status, phase, class;
    int64_t incarnation, step;
};

struct counts {
    int64_t starts, clears, stops, ejections, requeues, ends, given_up, capped;
    int64_t commits, refused, replaced, trained, jobs;
};

struct world {
    struct supervisor s;
    struct supervisor_options options;
    int number, is_loud;
    uint64_t random;
    struct place place[MOST_NODES];
    double now_s;
    int rough; /* percent of what happens that is bad */
    int64_t fence;
    int is_ours;      /* the fence was raised by this supervisor */
    int64_t started;  /* newest START of all jobs */
    int64_t running;  /* started, and neither cleared nor over; or 0 */
    int64_t step;     /* of the ranks */
    int64_t saved;    /* newest checkpoint that was committed */
    int64_t told;     /* ... that the machine heard of */
    int64_t base;     /* step of the checkpoint that starts are counted from */
    int64_t count;    /* starts since then */
    int64_t requeues; /* that are left */
    int64_t starts;   /* of all jobs */
    int is_clearing, is_stopping;
    int must_clear; /* the event that is being told has ended `running` */
    int wish;
    int has_verdict, verdict; /* a failure that no start follows: its status */
    int ejected;
    int over; /* enum supervisor_action_kind of the last action, or 0 */
    struct supervisor_event event;
    int n_lines;
    struct line line[KEPT];
    struct counts *counts;
};

/* xorshift64* */
static uint64_t next(struct world *w)
{
    w->random ^= w->random >> 12;
    w->random ^= w->random << 25;
    w->random ^= w->random >> 27;
    return w->random * 0x2545f4914f6cdd1dULL >> 16;
}

static int below(struct world *w, int n)
{
    return (int)(next(w) % (uint64_t)n);
}

static int chance(struct world *w, int percent)
{
    return below(w, 100) < percent;
}

/* --- what is printed --- */

static void print_line(const struct line *l)
{
    static const char *const events[] = { "tick", "agent",   "lost",  "healthy",
                                          "sick", "step",    "saved", "failed",
                                          "done", "cleared", "wish" };
    static const char *const actions[] = { "CHECK", "START",   "STOP", "CLEAR",
                                           "EJECT", "REQUEUE", "END" };

    print_message("%s%s node %d incarnation %lld step %lld class %s status %d "
                  "(%s)\n",
                  l->is_action ? "    " : "",
                  l->is_action ? actions[l->kind] : events[l->kind], l->node,
                  (long long)l->incarnation, (long long)l->step,
                  failure_name(l->class), l->status,
                  supervisor_phase_name(l->phase));
}

static void keep(struct world *w, struct line l)
{
    l.phase = w->s.phase;
    w->line[w->n_lines++ % KEPT] = l;
    if (w->is_loud)
        print_line(&l);
}

static void check(struct world *w, int holds, const char *rule)
{
    int from = w->n_lines > KEPT ? w->n_lines - KEPT : 0;

    if (holds)
        return;
    for (int i = from; i < w->n_lines && !w->is_loud; i++)
        print_line(&w->line[i % KEPT]);
    fail_msg("sequence %d (seed %llx): %s", w->number, (unsigned long long)SEED,
             rule);
}

/* --- what the machine does --- */

static int living(const struct world *w)
{
    int n = 0;

    for (int i = 0; i < w->options.nodes; i++)
        n += w->place[i].rank != 0;
    return n;
}

static void count_start(struct world *w)
{
    if (w->told >= w->base + w->options.progress) {
        w->base = w->told;
        w->count = 0;
    }
    w->count++;
    w->starts++;
    check(w, w->count <= w->options.attempts, "too many starts");
    /* whatever was heard of: every `progress` steps pay for new tries once */
    check(w,
          w->starts <=
              w->options.attempts * (1 + w->saved / w->options.progress),
          "more starts than all checkpoints pay for");
}

static void choose(struct world *w)
{
    int n = 0;

    for (int i = 0; i < w->options.nodes; i++) {
        struct place *p = &w->place[i];

        p->chosen = w->s.node[i].use == NODE_TRAINING;
        if (!p->chosen)
            continue;
        n++;
        check(w, !p->ejected, "a start on an ejected node");
        check(w, !p->told_lost, "a start on a lost node");
        check(w, p->healthy, "a start on a node that did not pass its check");
    }
    check(w, n == w->options.wanted, "a start on too many or too few nodes");
}

/* fence_raise and fence_check, as the supervisor does before it starts. */
static int raise_fence(struct world *w, int64_t incarnation)
{
    if (incarnation > w->fence) {
        w->fence = incarnation;
        w->is_ours = 1;
    }
    return w->is_ours && w->fence == incarnation;
}

static void do_start(struct world *w, const struct supervisor_action *a)
{
    w->counts->starts++;
    check(w, living(w) == 0, "a start while ranks live");
    check(w, !w->is_clearing, "a start before all was cleared");
    check(w, w->wish == WISH_NONE, "a start after a wish to stop");
    check(w, !w->has_verdict, "a start after a failure that is final");
    check(w, w->ejected <= w->options.may_eject, "a start over the cap");
    check(w, a->incarnation > w->started, "incarnations do not increase");
    count_start(w);
    choose(w);
    w->started = w->running = a->incarnation;
    w->is_stopping = 0;
    w->step = w->saved;
    if (!raise_fence(w, a->incarnation))
        return;
    for (int i = 0; i < w->options.nodes; i++)
        if (w->place[i].chosen && !w->place[i].dead && !w->place[i].cut)
            w->place[i].rank = a->incarnation;
}

static void do_clear(struct world *w, const struct supervisor_action *a)
{
    w->counts->clears++;
    check(w, w->running != 0, "nothing to clear");
    check(w, a->incarnation > w->started, "CLEAR fences nobody off");
    w->running = 0;
    w->is_clearing = 1;
    (void)raise_fence(w, a->incarnation);
}

static void do_eject(struct world *w, const struct supervisor_action *a)
{
    const struct supervisor_event *e = &w->event;
    struct place *p = &w->place[a->node];
    int unanswered = !p->has_agent || p->asked;

    w->counts->ejections++;
    check(w, a->node >= 0 && a->node < w->options.nodes, "EJECT of no node");
    check(w, !p->ejected, "a node is ejected twice");
    if (e->kind == EVENT_TICK)
        check(w, unanswered, "a node that had answered is ejected");
    else
        check(w, e->node == a->node, "another node is ejected");
    if (e->kind == EVENT_FAILED)
        check(w, e->failure.blames_node && e->failure.class != FAILURE_USER,
              "a node is ejected that nobody blamed");
    p->ejected = 1;
    w->ejected++;
}

static void do_end(struct world *w, const struct supervisor_action *a)
{
    w->over = a->kind;
    w->running = 0;
    check(w, living(w) == 0, "the end while ranks live");
    if (a->kind == ACTION_REQUEUE) {
        w->counts->requeues++;
        check(w, w->requeues-- > 0, "no requeues are left");
        check(w, w->wish != WISH_CANCEL, "a requeue of what was cancelled");
        check(w, !w->has_verdict, "a requeue after a failure that is final");
        return;
    }
    w->counts->ends++;
    if (w->has_verdict)
        check(w, a->status == w->verdict, "another status than the failure's");
    if (strstr(a->text, "given up")) {
        w->counts->given_up++;
        check(w, w->count == w->options.attempts, "given up too early");
        check(w, w->told < w->base + w->options.progress,
              "given up in spite of a newer checkpoint");
    }
    if (strstr(a->text, "max_ejected")) {
        w->counts->capped++;
        check(w, w->ejected > w->options.may_eject, "the cap is not reached");
    }
}

static void act(struct world *w, const struct supervisor_action *a)
{
    keep(w, (struct line){ 1, a->kind, a->node, a->status, 0, a->class,
                           a->incarnation, 0 });
    check(w, !w->over, "an action after the end");
    switch (a->kind) {
    case ACTION_CHECK:
        check(w, a->node >= 0 && a->node < w->options.nodes, "no such node");
        check(w, !w->place[a->node].ejected, "the check of an ejected node");
        check(w, !w->running, "the check of a node while ranks live");
        w->place[a->node].asked = 1;
        w->place[a->node].healthy = 0;
        break;
    case ACTION_START:
        do_start(w, a);
        break;
    case ACTION_STOP:
        check(w, w->running && !w->is_stopping, "nothing to stop");
        w->counts->stops++;
        w->is_stopping = 1;
        break;
    case ACTION_CLEAR:
        do_clear(w, a);
        break;
    case ACTION_EJECT:
        do_eject(w, a);
        break;
    default:
        do_end(w, a);
    }
}

/* --- what the machine is told --- */

static int is_node(const struct world *w, int node)
{
    return node >= 0 && node < w->options.nodes;
}

static void judge(struct world *w, const struct supervisor_event *e)
{
    int blamed = e->failure.blames_node && is_node(w, e->node);

    w->must_clear = 1;
    if (e->failure.final || e->failure.class == FAILURE_FENCED) {
        w->has_verdict = 1;
        w->verdict = e->failure.final ? e->status : MUP_DEVICE;
    }
    if (e->failure.class == FAILURE_PREEMPTED && w->wish == WISH_NONE)
        w->wish = WISH_PREEMPT;
    if (e->failure.class == FAILURE_NETWORK ||
        (e->failure.class == FAILURE_CORRUPT && !blamed))
        for (int i = 0; i < w->options.nodes; i++)
            w->place[i].healthy = 0;
}

/* The world's own books, before the machine hears of it. */
static void book(struct world *w, const struct supervisor_event *e)
{
    int is_current = w->running && e->incarnation == w->running;

    w->event = *e;
    w->must_clear = 0;
    if (w->over)
        return;
    if (e->kind == EVENT_FAILED && is_current)
        judge(w, e);
    if (e->kind == EVENT_SAVED && is_current && e->step > w->told)
        w->told = e->step;
    if (e->kind == EVENT_WISH && e->wish > w->wish)
        w->wish = e->wish;
    if (e->kind == EVENT_DONE && is_current && e->status == MUP_STOPPED &&
        w->wish == WISH_NONE)
        w->must_clear = 1;
    if (e->kind == EVENT_LOST && is_node(w, e->node)) {
        struct place *p = &w->place[e->node];

        w->must_clear = w->running && p->chosen && !p->told_lost;
        p->told_lost = 1;
    }
}

static void tell(struct world *w, struct supervisor_event e)
{
    struct supervisor_action a;

    e.now_s = w->now_s;
    book(w, &e);
    supervisor_event(&w->s, &e);
    keep(w, (struct line){ 0, e.kind, e.node,
                           e.kind == EVENT_WISH ? e.wish : e.status, 0,
                           e.failure.class, e.incarnation, e.step });
    check(w, w->s.n_actions <= w->s.room, "more actions than room");
    check(w, w->s.requeues >= 0, "requeues below zero");
    while (supervisor_act(&w->s, &a))
        act(w, &a);
    if (w->must_clear && !w->over)
        check(w, w->is_clearing, "a failure after which nothing is cleared");
}

/* A CLEAR or START that the fence refused. */
static void tell_refusal(struct world *w)
{
    int64_t incarnation = w->is_clearing ? w->s.incarnation : w->running;

    if (w->over || !incarnation || (w->is_ours && w->fence == incarnation) ||
        (w->has_verdict && w->is_clearing))
        return;
    w->has_verdict = 1;
    w->verdict = MUP_DEVICE;
    w->counts->replaced++;
    tell(w, (struct supervisor_event){ .kind = EVENT_FAILED,
                                       .node = -1,
                                       .incarnation = incarnation,
                                       .failure = { FAILURE_FENCED, 0, 0 },
                                       .status = MUP_DEVICE,
                                       .text = "replaced" });
}

/* --- what happens: 0 if it cannot --- */

static int any_node(struct world *w)
{
    return below(w, w->options.nodes);
}

/* The next that has not spoken; at times one that has. */
static int op_agent(struct world *w)
{
    int i = any_node(w), n = chance(w, 5) ? 1 : w->options.nodes;

    while (n-- &&
           (w->place[i].dead || w->place[i].cut || w->place[i].has_agent))
        i = (i + 1) % w->options.nodes;
    if (w->place[i].dead || w->place[i].cut)
        return 0;
    w->place[i].has_agent = 1;
    tell(w, (struct supervisor_event){ .kind = EVENT_AGENT, .node = i });
    return 1;
}

static void answer(struct world *w, int i, int kind)
{
    w->place[i].healthy = w->place[i].asked && kind == EVENT_HEALTHY;
    w->place[i].asked = 0;
    tell(w, (struct supervisor_event){ .kind = kind,
                                       .node = i,
                                       .text = chance(w, 50) ? "sick" : NULL });
}

static int op_answer(struct world *w)
{
    int i = any_node(w);

    if (!w->place[i].asked || w->place[i].dead || w->place[i].cut)
        return 0;
    if (chance(w, 5)) {
        answer(w, i, EVENT_SICK);
        return 1;
    }
    answer(w, i, EVENT_HEALTHY);
    if (chance(w, 20)) /* twice */
        tell(w, (struct supervisor_event){ .kind = EVENT_HEALTHY, .node = i });
    return 1;
}

static int op_die(struct world *w)
{
    int i = any_node(w);

    if (w->place[i].dead)
        return 0;
    w->place[i].dead = 1;
    w->place[i].rank = 0;
    return 1;
}

static int op_cut(struct world *w)
{
    int i = any_node(w);

    w->place[i].cut = !w->place[i].cut;
    return 1;
}

static int op_lease(struct world *w)
{
    int i = any_node(w);

    if (!w->place[i].cut || !w->place[i].rank)
        return 0;
    w->place[i].rank = 0;
    return 1;
}

static int op_lost(struct world *w)
{
    int i = any_node(w);

    if (!w->place[i].dead && !w->place[i].cut)
        return 0;
    tell(w, (struct supervisor_event){ .kind = EVENT_LOST,
                                       .node = i,
                                       .text = chance(w, 50) ? "gone" : NULL });
    return 1;
}

static int op_sick(struct world *w)
{
    tell(w,
         (struct supervisor_event){ .kind = EVENT_SICK, .node = any_node(w) });
    return 1;
}

static int op_step(struct world *w)
{
    if (!w->running || living(w) < w->options.wanted)
        return 0;
    w->step++;
    tell(w, (struct supervisor_event){ .kind = EVENT_STEP,
                                       .node = -1,
                                       .incarnation = w->running,
                                       .step = w->step });
    return 1;
}

/* By any rank that lives, as fence.h says. */
static int op_commit(struct world *w)
{
    int64_t rank = w->place[any_node(w)].rank;

    if (!rank || w->step <= w->saved)
        return 0;
    if (!w->is_ours || rank != w->fence) {
        w->counts->refused++;
        return 1;
    }
    w->counts->commits++;
    check(w, rank == w->started && rank == w->running,
          "a commit by an old incarnation");
    w->saved = w->step;
    if (chance(w, 75))
        tell(w, (struct supervisor_event){ .kind = EVENT_SAVED,
                                           .node = -1,
                                           .incarnation = rank,
                                           .step = w->saved });
    return 1;
}

static int odd_node(struct world *w)
{
    int which = below(w, 12);

    return which == 0   ? -1
           : which == 1 ? w->options.nodes
           : which == 2 ? 2147483647
           : which == 3 ? -2147483647 - 1
                        : any_node(w);
}

static struct supervisor_event a_failure(struct world *w)
{
    static const struct failure all[] = {
        { FAILURE_USER, 0, 0 },      { FAILURE_USER, 1, 0 },
        { FAILURE_NODE, 0, 1 },      { FAILURE_PROCESS, 0, 1 },
        { FAILURE_PROCESS, 0, 0 },   { FAILURE_NETWORK, 0, 0 },
        { FAILURE_FILES, 0, 0 },     { FAILURE_FILES, 1, 0 },
        { FAILURE_PREEMPTED, 0, 0 }, { FAILURE_HUNG, 0, 1 },
        { FAILURE_HUNG, 0, 1 },      { FAILURE_CORRUPT, 0, 1 },
        { FAILURE_CORRUPT, 0, 0 },   { FAILURE_NETWORK, 0, 0 },
        { FAILURE_PROCESS, 0, 1 },   { FAILURE_NODE, 0, 1 },
    };

    return (struct supervisor_event){
        .kind = EVENT_FAILED,
        .node = odd_node(w),
        .incarnation = w->running,
        .failure = all[below(w, COUNT(all))],
        .status = 1 + below(w, 5),
        .text = chance(w, 80) ? "failed" : NULL,
    };
}

static int op_fail(struct world *w)
{
    if (!w->running)
        return 0;
    tell(w, a_failure(w));
    return 1;
}

static void leave(struct world *w)
{
    for (int i = 0; i < w->options.nodes; i++)
        w->place[i].rank = 0;
}

static int op_quit(struct world *w)
{
    if (!w->running)
        return 0;
    leave(w);
    tell(w, (struct supervisor_event){ .kind = EVENT_DONE,
                                       .node = -1,
                                       .incarnation = w->running,
                                       .status = chance(w, 80) ? MUP_STOPPED
                                                               : MUP_OK });
    return 1;
}

static int op_done(struct world *w)
{
    return w->is_stopping ? op_quit(w) : 0;
}

static int op_kill(struct world *w)
{
    int i = any_node(w);

    if (!w->is_clearing || w->place[i].cut || !w->place[i].rank)
        return 0;
    w->place[i].rank = 0;
    return 1;
}

/* Also where nobody waits for it. */
static int op_cleared(struct world *w)
{
    if (living(w) || (!w->is_clearing && chance(w, 80)))
        return 0;
    w->is_clearing = 0;
    tell(w, (struct supervisor_event){ .kind = EVENT_CLEARED, .node = -1 });
    return 1;
}

static int op_wish(struct world *w)
{
    tell(w, (struct supervisor_event){ .kind = EVENT_WISH,
                                       .node = odd_node(w),
                                       .wish = below(w, WISH_CANCEL + 1) });
    return 1;
}

static int op_tick(struct world *w)
{
    static const double passed[] = { 0, 0.1, 0.2, 0.3, 0.6, 1 };

    w->now_s += passed[below(w, 6)];
    tell(w, (struct supervisor_event){ .kind = EVENT_TICK, .node = -1 });
    return 1;
}

static int op_sleep(struct world *w)
{
    w->now_s += SETUP_S;
    return op_tick(w);
}

/* What an old or a future incarnation says, and events on nodes of nowhere. */
static int op_bogus(struct world *w)
{
    static const int kinds[] = { EVENT_STEP, EVENT_SAVED, EVENT_FAILED,
                                 EVENT_DONE };
    struct supervisor_event e = a_failure(w);
    int64_t other = w->started - 1 + below(w, 5);

    e.kind = kinds[below(w, 4)];
    e.incarnation = other == w->running ? -1 : other;
    e.step = 1000000;
    e.status = below(w, 9);
    if (chance(w, 25)) {
        e.kind = below(w, EVENT_SICK + 1);
        e.node = chance(w, 50) ? -1 : w->options.nodes;
    }
    tell(w, e);
    return 1;
}

/* Somebody starts a second supervisor. */
static int op_replace(struct world *w)
{
    if (chance(w, 90))
        return 0;
    w->fence += 1 + below(w, 2);
    w->is_ours = 0;
    return 1;
}

/* --- sequences --- */

/* What brings the run on, one event of it; spoken: LOST is told of all that is
 * gone. */
static void help(struct world *w)
{
    for (int i = 0; i < w->options.nodes; i++) {
        struct place *p = &w->place[i];

        if ((p->dead || p->cut) && !p->told_lost) {
            tell(w, (struct supervisor_event){ .kind = EVENT_LOST, .node = i });
            return;
        }
    }
    if (w->is_clearing) {
        leave(w);
        (void)op_cleared(w);
        return;
    }
    for (int i = 0; i < w->options.nodes; i++) {
        struct place *p = &w->place[i];

        if (p->dead || p->cut)
            continue;
        if (!p->has_agent) {
            p->has_agent = 1;
            tell(w,
                 (struct supervisor_event){ .kind = EVENT_AGENT, .node = i });
            return;
        }
        if (p->asked && !p->ejected) {
            answer(w, i, EVENT_HEALTHY);
            return;
        }
    }
    if (w->is_stopping && op_done(w))
        return;
    if (op_step(w))
        (void)op_commit(w);
    else
        (void)op_sleep(w);
}

static void happen(struct world *w)
{
    static int (*const plain[])(struct world *) = {
        op_agent, op_agent,  op_answer, op_answer, op_lease,   op_lost,
        op_step,  op_step,   op_step,   op_step,   op_commit,  op_commit,
        op_done,  op_kill,   op_kill,   op_kill,   op_cleared, op_cleared,
        op_tick,  op_commit, op_bogus,
    };
    static int (*const bad[])(struct world *) = {
        op_die,  op_cut,  op_lost, op_sick,  op_fail, op_fail,
        op_fail, op_fail, op_wish, op_sleep, op_quit, op_replace,
    };
    int did = 0;

    while (!did)
        did = chance(w, w->rough) ? bad[below(w, COUNT(bad))](w)
                                  : plain[below(w, COUNT(plain))](w);
    tell_refusal(w);
}

/* All answer, nothing breaks: there is a result soon. */
static void calm(struct world *w)
{
    for (int i = 0; i < CALM; i++) {
        if (w->over)
            return;
        if (w->s.phase == SUPERVISOR_TRAINING) {
            w->counts->trained++;
            return;
        }
        help(w);
        tell_refusal(w);
    }
    check(w, 0, "no result in a calm world");
}

static void open_job(struct world *w)
{
    struct supervisor_options *o = &w->options;

    o->incarnation = w->fence;
    o->saved_step = w->told = w->saved;
    o->base_step = w->base;
    o->tries = (int)w->count;
    o->requeues = w->requeues;
    o->may_eject = below(w, o->nodes + 2);
    memset(w->place, 0, sizeof(w->place));
    w->running = 0;
    w->is_clearing = w->is_stopping = w->wish = w->has_verdict = 0;
    w->ejected = w->over = 0;
    w->counts->jobs++;
    assert_int_equal(supervisor_init(o, w->now_s, &w->s, NULL), MUP_OK);
}

static void live_job(struct world *w)
{
    int events = 20 + below(w, 160), kind = below(w, 100);

    for (int i = 0; i < events && !w->over; i++) {
        if (chance(w, kind)) {
            help(w);
            tell_refusal(w);
        } else {
            happen(w);
        }
    }
    calm(w);
    for (int i = 0; i < 3 && w->over; i++)
        happen(w);
}

/* The supervisor dies where it has not ended: after the lease nobody lives. */
static int go_through(int number, int is_loud, struct counts *counts)
{
    struct world w = { .number = number, .is_loud = is_loud, .counts = counts };
    int jobs = number < SINGLES ? 1 : MOST_JOBS, i = 0;

    w.random = (SEED ^ (uint64_t)number * 0x9e3779b97f4a7c15ULL) | 1;
    w.options = (struct supervisor_options){ .check_s = CHECK_S,
                                             .setup_s = SETUP_S,
                                             .stop_s = STOP_S };
    w.options.nodes = 1 + below(&w, MOST_NODES);
    w.options.wanted = 1 + below(&w, w.options.nodes);
    if (w.options.wanted > 1 && chance(&w, 70)) /* spares */
        w.options.wanted -= below(&w, w.options.wanted);
    w.options.attempts = 1 + below(&w, 4);
    w.options.progress = 1 + below(&w, 4);
    w.options.strikes = 1 + below(&w, 3);
    w.rough = 1 + below(&w, chance(&w, 50) ? 10 : 40);
    w.requeues = below(&w, 4);
    for (; i < jobs && w.over != ACTION_END; i++) {
        open_job(&w);
        live_job(&w);
        supervisor_clear(&w.s);
    }
    return i;
}

static void random_sequences_break_no_rule(void **state)
{
    struct counts c = { 0 };

    (void)state;
    for (int i = 0; i < SINGLES; i++)
        (void)go_through(i, 0, &c);
    /* it was all there */
    print_message("%lld starts, %lld clears, %lld stops, %lld ejections, %lld "
                  "requeues, %lld ends, given up %lld, over the cap %lld, "
                  "%lld commits, %lld refused, %lld replaced, %lld train\n",
                  (long long)c.starts, (long long)c.clears, (long long)c.stops,
                  (long long)c.ejections, (long long)c.requeues,
                  (long long)c.ends, (long long)c.given_up, (long long)c.capped,
                  (long long)c.commits, (long long)c.refused,
                  (long long)c.replaced, (long long)c.trained);
}

static void random_chains_of_jobs_keep_their_bounds(void **state)
{
    struct counts c = { 0 };

    (void)state;
    for (int i = SINGLES; i < SINGLES + CHAINS; i++)
        (void)go_through(i, 0, &c);
    print_message("%lld jobs, %lld starts, %lld requeues, given up %lld\n",
                  (long long)c.jobs, (long long)c.starts, (long long)c.requeues,
                  (long long)c.given_up);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sequences_break_no_rule),
        cmocka_unit_test(random_chains_of_jobs_keep_their_bounds),
    };
    struct counts counts = { 0 };

    if (argc > 1) {
        (void)go_through((int)strtol(argv[1], NULL, 10), 1, &counts);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
