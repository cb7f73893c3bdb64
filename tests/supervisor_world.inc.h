/* A world around the supervisor's state machine: nodes that die and are cut
 * off, ranks that live until somebody kills them, a fence and checkpoints, with
 * books of its own.  What the machine may do is judged by them and never by
 * what it remembers itself.
 *
 *     SAY(&w, .kind = EVENT_LOST, .node = 3);     judges what the machine does
 *
 * Included by a test. */
#ifndef TESTS_SUPERVISOR_WORLD_INC_H
#define TESTS_SUPERVISOR_WORLD_INC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/supervisor.h"

#define SEED       0x5c11c0ffeeULL
#define MOST_NODES 8
#define KEPT       48 /* events and actions that a failure prints */
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
    int told_lost;
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
    int number;
    int is_loud; /* all is printed as it comes */
    uint64_t random;
    struct place place[MOST_NODES];
    double now_s;
    int rough; /* percent of what happens that is bad */
    int64_t fence;
    int is_ours;      /* the fence was raised by this supervisor */
    int64_t started;  /* newest START of all jobs */
    int64_t running;  /* started, and neither cleared nor over; or 0 */
    int64_t reserved; /* by the newest CLEAR */
    int64_t step;     /* of the ranks */
    int64_t saved;    /* newest checkpoint that was committed */
    int64_t told;     /* ... that the machine heard of */
    int64_t base;     /* step of the checkpoint that starts are counted from */
    int64_t count;    /* starts since then */
    int64_t requeues; /* that are left */
    int64_t starts;   /* of all jobs */
    int is_clearing, is_stopping;
    double since_s; /* of START, STOP, CLEARED or the begin */
    int has_stepped;
    int must_clear;  /* the event that is being told has ended `running` */
    int must_decide; /* ... or the time of a preflight */
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
    w->is_stopping = w->has_stepped = 0;
    w->since_s = w->now_s;
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
    w->reserved = a->incarnation;
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
        check(w, w->s.requeues == w->requeues, "a requeue does not count");
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
        w->since_s = w->now_s;
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

static void book_time(struct world *w)
{
    double passed = w->now_s - w->since_s;

    if (w->running && w->is_stopping)
        w->must_clear = passed > STOP_S;
    else if (w->running)
        w->must_clear = !w->has_stepped && passed > SETUP_S;
    else if (!w->is_clearing)
        w->must_decide = passed > CHECK_S;
}

/* The world's own books, before the machine hears of it. */
static void book(struct world *w, const struct supervisor_event *e)
{
    int is_current = w->running && e->incarnation == w->running;

    w->event = *e;
    w->must_clear = w->must_decide = 0;
    if (w->over)
        return;
    if (e->kind == EVENT_TICK)
        book_time(w);
    if (e->kind == EVENT_STEP && is_current)
        w->has_stepped = 1;
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
    if (w->must_decide && !w->over)
        check(w, w->running, "a preflight without an end");
}

#define SAY(w, ...) tell(w, (struct supervisor_event){ __VA_ARGS__ })

/* A CLEAR or START that the fence refused. */
static void tell_refusal(struct world *w)
{
    int64_t incarnation = w->is_clearing ? w->reserved : w->running;

    if (w->over || !incarnation || (w->is_ours && w->fence == incarnation) ||
        (w->has_verdict && w->is_clearing))
        return;
    w->has_verdict = 1;
    w->verdict = MUP_DEVICE;
    w->counts->replaced++;
    SAY(w, .kind = EVENT_FAILED, .node = -1, .incarnation = incarnation,
        .failure = { FAILURE_FENCED, 0, 0 }, .status = MUP_DEVICE,
        .text = "replaced");
}

#endif
