/* The supervisor's state machine in random worlds.
 *
 *     build/tests/test_supervisor_random NUMBER     one sequence, all events */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/supervisor_world.inc.h"

#define SINGLES   100000 /* sequences of one job */
#define CHAINS    10000  /* after them: of jobs that are queued again */
#define MOST_JOBS 8
#define CALM      300 /* helpful events after which there must be a result */

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
    SAY(w, .kind = EVENT_AGENT, .node = i);
    return 1;
}

static void answer(struct world *w, int i, int kind)
{
    w->place[i].healthy = w->place[i].asked && kind == EVENT_HEALTHY;
    w->place[i].asked = 0;
    SAY(w, .kind = kind, .node = i, .text = chance(w, 50) ? "sick" : NULL);
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
        SAY(w, .kind = EVENT_HEALTHY, .node = i);
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
    SAY(w, .kind = EVENT_LOST, .node = i,
        .text = chance(w, 50) ? "gone" : NULL);
    return 1;
}

static int op_sick(struct world *w)
{
    SAY(w, .kind = EVENT_SICK, .node = any_node(w));
    return 1;
}

static int op_step(struct world *w)
{
    if (!w->running || living(w) < w->options.wanted)
        return 0;
    w->step++;
    SAY(w, .kind = EVENT_STEP, .node = -1, .incarnation = w->running,
        .step = w->step);
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
        SAY(w, .kind = EVENT_SAVED, .node = -1, .incarnation = rank,
            .step = w->saved);
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
    SAY(w, .kind = EVENT_DONE, .node = -1, .incarnation = w->running,
        .status = chance(w, 80) ? MUP_STOPPED : MUP_OK);
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
    if (w->is_clearing)
        w->since_s = w->now_s;
    w->is_clearing = 0;
    SAY(w, .kind = EVENT_CLEARED, .node = -1);
    return 1;
}

static int op_wish(struct world *w)
{
    SAY(w, .kind = EVENT_WISH, .node = odd_node(w),
        .wish = below(w, WISH_CANCEL + 1));
    return 1;
}

static int op_tick(struct world *w)
{
    static const double passed[] = { 0, 0.1, 0.2, 0.3, 0.6, 1 };

    w->now_s += passed[below(w, 6)];
    SAY(w, .kind = EVENT_TICK, .node = -1);
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

/* What brings the run on, one event of it. */
static void help(struct world *w)
{
    for (int i = 0; i < w->options.nodes; i++) {
        struct place *p = &w->place[i];

        if ((p->dead || p->cut) && !p->told_lost) {
            SAY(w, .kind = EVENT_LOST, .node = i);
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
            SAY(w, .kind = EVENT_AGENT, .node = i);
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
    w->since_s = w->now_s;
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

/* A supervisor dies where it has not ended: after the lease nobody lives. */
static void go_through(int number, int is_loud, struct counts *counts)
{
    struct world w = { .number = number, .is_loud = is_loud, .counts = counts };
    int jobs = number < SINGLES ? 1 : MOST_JOBS;

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
    for (int i = 0; i < jobs && w.over != ACTION_END; i++) {
        open_job(&w);
        live_job(&w);
        supervisor_clear(&w.s);
    }
}

static void random_sequences_break_no_rule(void **state)
{
    struct counts c = { 0 };

    (void)state;
    for (int i = 0; i < SINGLES; i++)
        go_through(i, 0, &c);
    /* it was all there */
    assert_true(c.starts > SINGLES / 2 && c.trained > SINGLES / 10);
    assert_true(c.clears > SINGLES / 10 && c.ejections > SINGLES / 10);
    assert_true(c.requeues > SINGLES / 10 && c.ends > SINGLES / 10);
    assert_true(c.given_up > SINGLES / 100 && c.capped > SINGLES / 100);
    assert_true(c.stops > SINGLES / 100 && c.replaced > SINGLES / 100);
    assert_true(c.commits > SINGLES && c.refused > SINGLES / 100);
}

static void random_chains_of_jobs_keep_their_bounds(void **state)
{
    struct counts c = { 0 };

    (void)state;
    for (int i = SINGLES; i < SINGLES + CHAINS; i++)
        go_through(i, 0, &c);
    assert_true(c.jobs > 2 * CHAINS && c.starts > CHAINS);
    assert_true(c.requeues > CHAINS / 10 && c.given_up > CHAINS / 100);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sequences_break_no_rule),
        cmocka_unit_test(random_chains_of_jobs_keep_their_bounds),
    };
    struct counts counts = { 0 };

    if (argc > 1) {
        go_through((int)strtol(argv[1], NULL, 10), 1, &counts);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
