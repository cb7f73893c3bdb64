/* What the supervisor does in recorded sequences: events in, and the actions
 * that answer them as one text.  tests/test_supervisor_random.c has the rules
 * that hold in all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/supervisor.h"

struct play {
    struct supervisor s;
    double now_s;
    char did[2000];  /* since it was last looked at */
    char text[1000]; /* of the last action */
};

static void note(struct play *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(struct play *p, const char *format, ...)
{
    size_t used = strlen(p->did);
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(p->did + used, sizeof(p->did) - used, format, ap);
    va_end(ap);
}

static void note_action(struct play *p, const struct supervisor_action *a)
{
    static const char *const names[] = { "check", "start",   "stop", "clear",
                                         "eject", "requeue", "end" };

    (void)snprintf(p->text, sizeof(p->text), "%s", a->text);
    note(p, "%s%s", *p->did ? ", " : "", names[a->kind]);
    if (a->kind == ACTION_START || a->kind == ACTION_CLEAR)
        note(p, " %lld", (long long)a->incarnation);
    if (a->kind == ACTION_CHECK || a->kind == ACTION_EJECT)
        note(p, " %d", a->node);
    if (a->kind == ACTION_EJECT)
        note(p, " %s", failure_name(a->class));
    if (a->kind == ACTION_REQUEUE && a->needs_nodes)
        note(p, " elsewhere");
    if (a->kind == ACTION_END)
        note(p, " %d", a->status);
    for (int i = 0; a->kind == ACTION_START && i < p->s.options.nodes; i++)
        if (p->s.node[i].use == NODE_TRAINING)
            note(p, "%s%d", strchr(strrchr(p->did, 's'), ':') ? " " : ": ", i);
}

static void tell(struct play *p, struct supervisor_event e)
{
    struct supervisor_action a;

    e.now_s = p->now_s;
    supervisor_event(&p->s, &e);
    while (supervisor_act(&p->s, &a))
        note_action(p, &a);
}

/* `want` is all that was done since the last call. */
#define did(p, want)                                                           \
    do {                                                                       \
        assert_string_equal((p)->did, want);                                   \
        (p)->did[0] = '\0';                                                    \
    } while (0)

/* --- the events, short --- */

static void on_node(struct play *p, int kind, int node)
{
    tell(p, (struct supervisor_event){
                .kind = kind, .node = node, .text = "so it is" });
}

static void at_step(struct play *p, int kind, int64_t step)
{
    tell(p, (struct supervisor_event){ .kind = kind,
                                       .node = -1,
                                       .incarnation = p->s.incarnation,
                                       .step = step });
}

static void wish(struct play *p, int what)
{
    tell(p, (struct supervisor_event){
                .kind = EVENT_WISH, .node = -1, .wish = what });
}

static void done(struct play *p, int status)
{
    tell(p, (struct supervisor_event){ .kind = EVENT_DONE,
                                       .node = -1,
                                       .incarnation = p->s.incarnation,
                                       .status = status,
                                       .text = "it ended" });
}

static void broke(struct play *p, int class, int node)
{
    const struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .node = node,
        .incarnation = p->s.incarnation,
        .failure = { class, 0, node >= 0 },
        .status = class == FAILURE_USER ? MUP_NEGATIVE : MUP_DEVICE,
        .text = "it broke",
    };

    tell(p, e);
}

static void cleared(struct play *p)
{
    tell(p, (struct supervisor_event){ .kind = EVENT_CLEARED, .node = -1 });
}

static void tick(struct play *p, double seconds)
{
    p->now_s += seconds;
    tell(p, (struct supervisor_event){ .kind = EVENT_TICK, .node = -1 });
}

/* --- where most begin --- */

static const struct supervisor_options usual = {
    .nodes = 4,
    .wanted = 2,
    .attempts = 3,
    .progress = 10,
    .strikes = 2,
    .may_eject = 2,
    .check_s = 30,
    .setup_s = 600,
    .stop_s = 60,
    .requeues = 5,
};

static void open_play(struct play *p, struct supervisor_options options)
{
    struct mup_error err;

    memset(p, 0, sizeof(*p));
    p->now_s = 1000;
    assert_int_equal(supervisor_init(&options, p->now_s, &p->s, &err), MUP_OK);
}

/* The preflight of all nodes passes. */
static void check_all(struct play *p)
{
    for (int i = 0; i < p->s.options.nodes; i++)
        on_node(p, EVENT_AGENT, i);
    for (int i = 0; i < p->s.options.nodes; i++)
        on_node(p, EVENT_HEALTHY, i);
    p->did[0] = '\0';
}

static void train(struct play *p, struct supervisor_options options)
{
    open_play(p, options);
    check_all(p);
    at_step(p, EVENT_STEP, 1);
    did(p, "");
    assert_int_equal(p->s.phase, SUPERVISOR_TRAINING);
}

static struct supervisor_options with_nodes(int nodes, int wanted)
{
    struct supervisor_options o = usual;

    o.nodes = nodes;
    o.wanted = wanted;
    return o;
}

/* Whatever comes, nothing is done any more. */
static void close_play(struct play *p)
{
    assert_int_equal(p->s.phase, SUPERVISOR_ENDED);
    for (int kind = EVENT_TICK; kind <= EVENT_WISH; kind++)
        for (int node = -1; node <= p->s.options.nodes; node++)
            tell(p, (struct supervisor_event){ .kind = kind,
                                               .node = node,
                                               .incarnation = p->s.incarnation,
                                               .wish = WISH_CANCEL });
    tick(p, 1e6);
    did(p, "");
    supervisor_clear(&p->s);
}

/* --- sequences --- */

static void a_run_goes_to_its_end(void **state)
{
    struct play p;

    (void)state;
    open_play(&p, usual);
    on_node(&p, EVENT_AGENT, 2);
    did(&p, "check 2");
    for (int i = 0; i < 4; i++)
        on_node(&p, EVENT_AGENT, i);
    did(&p, "check 0, check 1, check 3");
    for (int i = 3; i > 0; i--)
        on_node(&p, EVENT_HEALTHY, i);
    did(&p, "");
    on_node(&p, EVENT_HEALTHY, 0);
    did(&p, "start 1: 0 1");
    assert_int_equal(supervisor_count(&p.s, NODE_READY), 2);
    tick(&p, 599);
    at_step(&p, EVENT_STEP, 1);
    tick(&p, 1e5);
    at_step(&p, EVENT_SAVED, 100);
    did(&p, "");
    done(&p, MUP_OK);
    did(&p, "end 0");
    assert_string_equal(p.text, "it ended");
    close_play(&p);
}

static void a_lost_node_is_replaced_by_a_spare(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    on_node(&p, EVENT_LOST, 1);
    did(&p, "eject 1 node, clear 2");
    assert_int_equal(p.s.node[1].use, NODE_LOST);
    tick(&p, 1e5);
    did(&p, "");
    cleared(&p);
    did(&p, "start 2: 0 2");
    /* it comes back: too late for this job */
    on_node(&p, EVENT_AGENT, 1);
    on_node(&p, EVENT_HEALTHY, 1);
    on_node(&p, EVENT_LOST, 1);
    did(&p, "");
    done(&p, MUP_DIVERGED);
    did(&p, "end 6");
    close_play(&p);
}

static void a_lost_node_without_a_spare_needs_another_job(void **state)
{
    struct play p;

    (void)state;
    train(&p, with_nodes(2, 2));
    on_node(&p, EVENT_LOST, 0);
    cleared(&p);
    did(&p, "eject 0 node, clear 2, requeue elsewhere");
    assert_non_null(strstr(p.text, "1 of the job's 2 nodes"));
    assert_int_equal(p.s.requeues, 4);
    close_play(&p);
}

static void a_hung_rank_is_a_strike_and_the_second_ejects(void **state)
{
    struct play p;

    (void)state;
    train(&p, with_nodes(3, 2));
    broke(&p, FAILURE_HUNG, 0);
    did(&p, "clear 2");
    cleared(&p);
    did(&p, "start 2: 1 2"); /* those without a strike first */
    broke(&p, FAILURE_PROCESS, 1);
    cleared(&p);
    did(&p, "clear 3, start 3: 0 2"); /* the node goes on */
    broke(&p, FAILURE_HUNG, 0);
    did(&p, "eject 0 hung, clear 4");
    supervisor_clear(&p.s);
}

static void a_node_that_damages_data_is_ejected_at_once(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    broke(&p, FAILURE_CORRUPT, 1);
    cleared(&p);
    did(&p, "eject 1 corrupt, clear 2, start 2: 0 2");
    /* nobody knows which: all are looked at, none is ejected */
    broke(&p, FAILURE_CORRUPT, -1);
    cleared(&p);
    did(&p, "clear 3, check 0, check 2, check 3");
    supervisor_clear(&p.s);
}

static void a_final_failure_ends_the_run_with_its_status(void **state)
{
    struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .node = 1,
        .incarnation = 1,
        .failure = { FAILURE_USER, 1, 0 },
        .status = MUP_USAGE,
        .text = "unknown key 'x'",
    };
    struct play p;

    (void)state;
    train(&p, usual);
    tell(&p, e);
    did(&p, "clear 2");
    assert_int_equal(supervisor_count(&p.s, NODE_EJECTED), 0);
    cleared(&p);
    did(&p, "end 2");
    assert_string_equal(p.text, "unknown key 'x'");
    close_play(&p);
}

static void a_crash_loop_ends_after_its_attempts(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    for (int i = 2; i <= 3; i++) {
        at_step(&p, EVENT_STEP, 5);
        broke(&p, FAILURE_USER, -1);
        cleared(&p);
    }
    did(&p, "clear 2, start 2: 0 1, clear 3, start 3: 0 1");
    broke(&p, FAILURE_USER, -1);
    cleared(&p);
    did(&p, "clear 4, end 1");
    assert_string_equal(p.text,
                        "given up after 3 starts without a checkpoint of step "
                        "10 or later (recover.attempts); the last one ended by "
                        "an error of the program or its input: it broke");
    assert_int_equal(supervisor_count(&p.s, NODE_EJECTED), 0);
    close_play(&p);
}

/* Each start saves so many steps more and dies: the starts until the end. */
static int starts_with(int64_t steps, int most)
{
    struct play p;
    int64_t step = 0;
    int n = 1;

    train(&p, usual);
    while (p.s.phase != SUPERVISOR_ENDED && n < most) {
        at_step(&p, EVENT_SAVED, step += steps);
        broke(&p, FAILURE_USER, -1);
        cleared(&p);
        n += p.s.phase == SUPERVISOR_STARTING;
    }
    supervisor_clear(&p.s);
    return n;
}

static void newer_checkpoints_pay_for_new_tries(void **state)
{
    (void)state;
    assert_int_equal(starts_with(0, 99), 3);
    assert_int_equal(starts_with(10, 99), 99);
    assert_int_equal(starts_with(4, 99), 99); /* 12 in three starts */
    assert_int_equal(starts_with(3, 99), 3);  /* 9 are fewer than progress */
}

static void the_tries_of_earlier_jobs_count(void **state)
{
    struct supervisor_options o = usual;
    struct play p;

    (void)state;
    o.incarnation = 7;
    o.saved_step = 29;
    o.base_step = 20;
    o.tries = 2;
    train(&p, o);
    assert_int_equal(p.s.incarnation, 8);
    broke(&p, FAILURE_USER, -1);
    cleared(&p);
    did(&p, "clear 9, end 1");
    close_play(&p);
    o.tries = 3;
    open_play(&p, o);
    check_all(&p);
    assert_int_equal(p.s.phase, SUPERVISOR_ENDED);
    assert_string_equal(p.text,
                        "given up after 3 starts without a checkpoint of step "
                        "30 or later (recover.attempts), the last one in an "
                        "earlier job");
    close_play(&p);
    o.saved_step = 30;
    train(&p, o);
    supervisor_clear(&p.s);
}

static void the_time_limit_saves_and_queues_again(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    wish(&p, WISH_LIMIT);
    did(&p, "stop");
    wish(&p, WISH_LIMIT);
    at_step(&p, EVENT_STEP, 2);
    at_step(&p, EVENT_SAVED, 70);
    at_step(&p, EVENT_SAVED, 60);
    tick(&p, 59);
    did(&p, "");
    done(&p, MUP_STOPPED);
    did(&p, "requeue");
    assert_non_null(strstr(p.text, "is saved"));
    assert_int_equal(p.s.saved_step, 70);
    close_play(&p);
}

static void the_time_limit_does_not_wait_for_ever(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    wish(&p, WISH_LIMIT);
    tick(&p, 61);
    did(&p, "stop, clear 2");
    cleared(&p);
    did(&p, "requeue");
    assert_string_equal(p.text, "the job's time is over");
    close_play(&p);
}

static void a_run_may_end_while_it_is_asked_to_stop(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    wish(&p, WISH_LIMIT);
    done(&p, MUP_OK);
    did(&p, "stop, end 0");
    close_play(&p);
}

static void a_run_can_be_cancelled_in_every_phase(void **state)
{
    struct play p;

    (void)state;
    open_play(&p, usual); /* checking */
    wish(&p, WISH_CANCEL);
    did(&p, "end 7");
    close_play(&p);
    open_play(&p, usual); /* starting */
    check_all(&p);
    wish(&p, WISH_CANCEL);
    done(&p, MUP_STOPPED);
    did(&p, "stop, end 7");
    close_play(&p);
    train(&p, usual); /* training, and it does not listen */
    wish(&p, WISH_CANCEL);
    tick(&p, 61);
    cleared(&p);
    did(&p, "stop, clear 2, end 7");
    close_play(&p);
    train(&p, usual); /* stopping, for another reason */
    wish(&p, WISH_LIMIT);
    wish(&p, WISH_CANCEL);
    wish(&p, WISH_PREEMPT); /* counts for less */
    done(&p, MUP_STOPPED);
    did(&p, "stop, end 7");
    close_play(&p);
    train(&p, usual); /* clearing */
    broke(&p, FAILURE_HUNG, 0);
    wish(&p, WISH_CANCEL);
    did(&p, "clear 2");
    cleared(&p);
    did(&p, "end 7");
    assert_non_null(strstr(p.text, "step 0 (it broke)"));
    close_play(&p);
}

static void a_preempted_run_is_queued_again(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    wish(&p, WISH_PREEMPT);
    done(&p, MUP_STOPPED);
    did(&p, "stop, requeue");
    assert_non_null(strstr(p.text, "the scheduler takes the nodes"));
    close_play(&p);
    train(&p, usual); /* without a warning */
    broke(&p, FAILURE_PREEMPTED, -1);
    cleared(&p);
    did(&p, "clear 2, requeue");
    assert_string_equal(p.text, "the scheduler takes the nodes");
    close_play(&p);
    open_play(&p, usual); /* before it began */
    wish(&p, WISH_PREEMPT);
    did(&p, "requeue");
    close_play(&p);
}

static void a_wish_waits_until_all_is_cleared(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    on_node(&p, EVENT_LOST, 0);
    wish(&p, WISH_LIMIT);
    did(&p, "eject 0 node, clear 2");
    cleared(&p);
    did(&p, "requeue");
    close_play(&p);
    train(&p, usual);
    wish(&p, WISH_NONE); /* is none */
    did(&p, "");
    supervisor_clear(&p.s);
}

static void a_rank_that_somebody_stopped_is_started_again(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    done(&p, MUP_STOPPED);
    cleared(&p);
    did(&p, "clear 2, start 2: 0 1");
    assert_int_equal(p.s.node[0].strikes + p.s.node[1].strikes, 0);
    supervisor_clear(&p.s);
}

static void a_sick_node_is_not_started_on(void **state)
{
    struct play p;

    (void)state;
    open_play(&p, with_nodes(3, 2));
    for (int i = 0; i < 3; i++)
        on_node(&p, EVENT_AGENT, i);
    did(&p, "check 0, check 1, check 2");
    on_node(&p, EVENT_SICK, 0);
    on_node(&p, EVENT_HEALTHY, 1);
    on_node(&p, EVENT_HEALTHY, 2);
    did(&p, "eject 0 node, start 1: 1 2");
    on_node(&p, EVENT_HEALTHY, 0);
    on_node(&p, EVENT_SICK, 0);
    on_node(&p, EVENT_SICK, 1); /* shows by itself whether it can */
    did(&p, "");
    supervisor_clear(&p.s);
}

static void no_answer_is_no_health(void **state)
{
    struct play p;

    (void)state;
    open_play(&p, usual);
    for (int i = 0; i < 3; i++)
        on_node(&p, EVENT_AGENT, i);
    on_node(&p, EVENT_HEALTHY, 0);
    on_node(&p, EVENT_HEALTHY, 2);
    p.did[0] = '\0';
    tick(&p, 30);
    did(&p, "");
    tick(&p, 1);
    did(&p, "eject 1 node, eject 3 node, start 1: 0 2");
    on_node(&p, EVENT_HEALTHY, 1);
    on_node(&p, EVENT_AGENT, 3);
    did(&p, "");
    supervisor_clear(&p.s);
    open_play(&p, with_nodes(2, 2)); /* nobody comes */
    tick(&p, 31);
    did(&p, "eject 0 node, eject 1 node, requeue elsewhere");
    assert_non_null(strstr(p.text, "0 of the job's 2 nodes"));
    close_play(&p);
}

static void a_late_start_is_a_failure(void **state)
{
    struct play p;

    (void)state;
    open_play(&p, usual);
    check_all(&p);
    tick(&p, 601);
    did(&p, "clear 2");
    assert_string_equal(p.s.last_text,
                        "no first step within 600 s (recover.setup_s)");
    cleared(&p);
    did(&p, "start 2: 0 1");
    supervisor_clear(&p.s);
}

static void too_many_bad_nodes_end_the_run(void **state)
{
    struct supervisor_options o = usual;
    struct play p;

    (void)state;
    o.may_eject = 1;
    o.nodes = 6;
    train(&p, o);
    on_node(&p, EVENT_LOST, 0);
    cleared(&p);
    did(&p, "eject 0 node, clear 2, start 2: 1 2");
    broke(&p, FAILURE_CORRUPT, 1);
    cleared(&p);
    did(&p, "eject 1 corrupt, clear 3, end 4");
    assert_non_null(strstr(p.text, "it broke; no more nodes may be ejected "
                                   "(recover.max_ejected)"));
    close_play(&p);
    o.may_eject = 0; /* in preflight */
    open_play(&p, o);
    on_node(&p, EVENT_AGENT, 0);
    on_node(&p, EVENT_SICK, 0);
    did(&p, "check 0, eject 0 node, end 4");
    close_play(&p);
}

static void after_a_network_failure_all_nodes_are_checked(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    broke(&p, FAILURE_NETWORK, -1);
    on_node(&p, EVENT_LOST, 1); /* it was this one */
    cleared(&p);
    did(&p, "clear 2, eject 1 node, check 0, check 2, check 3");
    on_node(&p, EVENT_HEALTHY, 0);
    on_node(&p, EVENT_SICK, 2);
    on_node(&p, EVENT_HEALTHY, 3);
    did(&p, "eject 2 node, start 2: 0 3");
    broke(&p, FAILURE_HUNG, 3); /* this time not */
    cleared(&p);
    did(&p, "clear 3, start 3: 0 3");
    supervisor_clear(&p.s);
}

static void a_run_that_is_replaced_ends(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    broke(&p, FAILURE_FENCED, -1);
    cleared(&p);
    did(&p, "clear 2, end 4");
    close_play(&p);
    train(&p, usual); /* heard of when the fence is raised */
    on_node(&p, EVENT_LOST, 0);
    broke(&p, FAILURE_FENCED, -1);
    did(&p, "eject 0 node, clear 2");
    cleared(&p);
    did(&p, "end 4");
    close_play(&p);
}

static void spares_may_be_lost_while_others_train(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    on_node(&p, EVENT_LOST, 2);
    on_node(&p, EVENT_SICK, 3);
    did(&p, "eject 2 node, eject 3 node");
    assert_int_equal(p.s.phase, SUPERVISOR_TRAINING);
    on_node(&p, EVENT_LOST, 2);
    on_node(&p, EVENT_SICK, 3);
    did(&p, "");
    broke(&p, FAILURE_USER, -1);
    cleared(&p);
    did(&p, "clear 2, start 2: 0 1");
    supervisor_clear(&p.s);
}

static void old_incarnations_are_not_heard(void **state)
{
    struct supervisor_event e = {
        .node = 0,
        .incarnation = 1,
        .step = 500,
        .failure = { FAILURE_NODE, 1, 1 },
        .status = MUP_USAGE,
    };
    struct play p;

    (void)state;
    train(&p, usual);
    broke(&p, FAILURE_USER, -1);
    for (e.kind = EVENT_STEP; e.kind <= EVENT_DONE; e.kind++)
        tell(&p, e);
    did(&p, "clear 2");
    cleared(&p);
    did(&p, "start 2: 0 1");
    for (int other = 0; other < 4; other += 1 + (other == 1))
        for (e.kind = EVENT_STEP; e.kind <= EVENT_DONE; e.kind++) {
            e.incarnation = other;
            tell(&p, e);
        }
    cleared(&p);
    did(&p, "");
    assert_int_equal(p.s.phase, SUPERVISOR_STARTING);
    assert_int_equal(p.s.saved_step, 0);
    supervisor_clear(&p.s);
}

static void a_failure_on_a_node_of_nowhere_blames_none(void **state)
{
    struct play p;

    (void)state;
    train(&p, usual);
    broke(&p, FAILURE_HUNG, 4);
    cleared(&p);
    broke(&p, FAILURE_CORRUPT, 2147483647);
    cleared(&p);
    did(&p, "clear 2, start 2: 0 1, clear 3, check 0, check 1, check 2, "
            "check 3");
    on_node(&p, EVENT_SICK, -1);
    on_node(&p, EVENT_LOST, 4);
    did(&p, "");
    supervisor_clear(&p.s);
}

static void requeues_are_used_up(void **state)
{
    struct supervisor_options o = usual;
    struct play p;

    (void)state;
    o.requeues = 0;
    train(&p, o);
    wish(&p, WISH_LIMIT);
    done(&p, MUP_STOPPED);
    did(&p, "stop, end 7");
    assert_non_null(strstr(p.text, "slurm.requeues are used up"));
    assert_int_equal(p.s.requeues, 0);
    close_play(&p);
}

static void phases_and_uses_have_names(void **state)
{
    (void)state;
    for (int i = 0; i <= SUPERVISOR_ENDED; i++)
        assert_non_null(supervisor_phase_name(i));
    for (int i = 0; i <= NODE_EJECTED; i++)
        assert_non_null(supervisor_use_name(i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_goes_to_its_end),
        cmocka_unit_test(a_lost_node_is_replaced_by_a_spare),
        cmocka_unit_test(a_lost_node_without_a_spare_needs_another_job),
        cmocka_unit_test(a_hung_rank_is_a_strike_and_the_second_ejects),
        cmocka_unit_test(a_node_that_damages_data_is_ejected_at_once),
        cmocka_unit_test(a_final_failure_ends_the_run_with_its_status),
        cmocka_unit_test(a_crash_loop_ends_after_its_attempts),
        cmocka_unit_test(newer_checkpoints_pay_for_new_tries),
        cmocka_unit_test(the_tries_of_earlier_jobs_count),
        cmocka_unit_test(the_time_limit_saves_and_queues_again),
        cmocka_unit_test(the_time_limit_does_not_wait_for_ever),
        cmocka_unit_test(a_run_may_end_while_it_is_asked_to_stop),
        cmocka_unit_test(a_run_can_be_cancelled_in_every_phase),
        cmocka_unit_test(a_preempted_run_is_queued_again),
        cmocka_unit_test(a_wish_waits_until_all_is_cleared),
        cmocka_unit_test(a_rank_that_somebody_stopped_is_started_again),
        cmocka_unit_test(a_sick_node_is_not_started_on),
        cmocka_unit_test(no_answer_is_no_health),
        cmocka_unit_test(a_late_start_is_a_failure),
        cmocka_unit_test(too_many_bad_nodes_end_the_run),
        cmocka_unit_test(after_a_network_failure_all_nodes_are_checked),
        cmocka_unit_test(a_run_that_is_replaced_ends),
        cmocka_unit_test(spares_may_be_lost_while_others_train),
        cmocka_unit_test(old_incarnations_are_not_heard),
        cmocka_unit_test(a_failure_on_a_node_of_nowhere_blames_none),
        cmocka_unit_test(requeues_are_used_up),
        cmocka_unit_test(phases_and_uses_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
