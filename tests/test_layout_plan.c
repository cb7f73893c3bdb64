/* Formulas of a layout against sums by hand, against what the trainer lays
 * out, and against published numbers of Grok-1. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/comm_ops.h"
#include "model/layout_plan.h"
#include "model/trainer.h"

static struct run_config load(const char *path, const char *const *overrides)
{
    struct run_config c;
    struct mup_error err = { 0 };
    int n = 0;

    while (overrides && overrides[n])
        n++;
    if (run_config_load(path, (char *const *)overrides, n, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

#define TINY(...)                                                              \
    load("configs/tiny.yaml", (const char *const[]){ __VA_ARGS__, NULL })

static struct params table(const struct run_config *c)
{
    struct params p;
    struct mup_error err = { 0 };

    if (params_init(c, &PLACE_ALONE, &p, &err))
        fail_msg("%s", err.text);
    return p;
}

/* The plan of one rank. */
static struct layout_plan at(const struct run_config *c, const struct layout *l,
                             int64_t rank)
{
    struct params p = table(c);
    struct layout_subject s = { c, &p, DTYPE_F32 };
    struct place place = layout_place(l, rank);
    struct layout_plan plan;

    layout_plan(&s, &place, &plan);
    params_clear(&p);
    return plan;
}

/* A rank whose messages go nowhere: they are counted all the same, and what
 * others would have sent is zero. */
static void sends_nothing(struct comm *c, void *data, int64_t n, int type)
{
    (void)c, (void)data, (void)n, (void)type;
}

static void reduces_nothing(struct comm *c, const struct comm_reduction *r,
                            struct comm_request *request)
{
    (void)request;
    memset(r->out, 0, (size_t)r->counts[c->rank] * comm_type_bytes(r->type));
}

static void gathers_zeros(struct comm *c, void *data, const int64_t *counts,
                          int type, struct comm_request *request)
{
    char *at = data;

    (void)request;
    for (int i = 0; i < c->size; i++) {
        size_t bytes = (size_t)counts[i] * comm_type_bytes(type);

        if (i != c->rank)
            memset(at, 0, bytes);
        at += bytes;
    }
}

static void exchanges_nothing(struct comm *c, const struct comm_exchange *x,
                              struct comm_request *request)
{
    (void)c, (void)x, (void)request;
}

static void goes_on(struct comm *c)
{
    (void)c;
}

static const struct comm_ops mute = {
    .all_reduce = sends_nothing,
    .reduce_scatter = reduces_nothing,
    .all_gather = gathers_zeros,
    .all_to_all = exchanges_nothing,
    .progress = goes_on,
};

static void seat(struct ranks *r, const struct layout *l, int64_t rank)
{
    const struct place p = layout_place(l, rank);
    struct comm_world *w = &r->world;

    *r = (struct ranks){ .place = p };
    r->world.ops = &mute;
    r->world.rank = (int)rank;
    r->world.size = (int)layout_ranks(l);
    r->all = (struct comm){ w, (int)rank, w->size, NULL };
    r->tensor = (struct comm){ w, (int)p.tensor, (int)l->tensor, NULL };
    r->expert = (struct comm){ w, (int)p.expert, (int)l->expert, NULL };
    r->dense = (struct comm){ w, (int)layout_batch_part(&p),
                              (int)layout_batch_parts(l), NULL };
    r->data = (struct comm){ w, (int)p.data, (int)l->data, NULL };
}

static void plans_what_is_laid_out(const struct run_config *c,
                                   const struct layout *l)
{
    for (int64_t rank = 0; rank < layout_ranks(l); rank++) {
        struct layout_plan p = at(c, l, rank);
        struct ranks ranks;
        struct trainer t;
        struct mup_error err = { 0 };

        seat(&ranks, l, rank);
        if (trainer_plan(c, &ranks, &t, &err))
            fail_msg("%s", err.text);
        assert_float_equal(p.memory.weights, (double)t.model.parameter_bytes,
                           0);
        assert_float_equal(p.memory.gradients, (double)t.model.gradient_bytes,
                           0);
        assert_float_equal(p.memory.optimizer, (double)t.optimizer.bytes, 0);
        assert_float_equal(layout_memory_total(&p.memory) - p.memory.staging,
                           (double)t.arena_bytes, 0);
        trainer_close(&t);
    }
}

static void memory_is_what_the_trainer_lays_out(void **unused)
{
    static const struct layout layouts[] = {
        { 1, 1, 1 }, { 3, 1, 1 }, { 1, 3, 1 }, { 1, 1, 2 },
        { 2, 2, 2 }, { 1, 5, 1 }, { 2, 3, 2 },
    };
    struct run_config c[] = {
        TINY("run.backend=ref", "model.width=64"),
        TINY("run.backend=ref", "model.width=64", "train.micro_batch=2",
             "model.tied=yes"),
        TINY("run.backend=ref", "model.width=64", "model.qk_norm=yes",
             "model.shared_expert=yes", "model.layers=5", "model.vocab=30011"),
        TINY("run.backend=ref", "model.width=64", "train.optimizer=lion",
             "model.layers=1", "model.experts=3", "model.ffn_ratio=1.33"),
        TINY("run.backend=ref", "model.width=64", "train.optimizer=muon",
             "model.layers=3"),
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
        for (size_t j = 0; j < sizeof(c) / sizeof(*c); j++)
            if (layouts[i].tensor == 1 || c[j].train.optimizer != MUP_MUON)
                plans_what_is_laid_out(&c[j], &layouts[i]);
}

/* One step, and what its messages were counted as. */
static struct comm_stats counted(const struct run_config *c,
                                 const struct layout *l, int64_t rank)
{
    struct ranks ranks;
    struct trainer t;
    struct trainer_step step;
    struct mup_error err = { 0 };

    seat(&ranks, l, rank);
    if (trainer_open(c, &ranks, &t, &err) || trainer_step(&t, 0, &step, &err))
        fail_msg("%s", err.text);
    assert_false(step.skipped || !step.finite);
    trainer_close(&t);
    return ranks.world.stats;
}

static void sends_what_is_planned(const struct run_config *c,
                                  const struct layout *l)
{
    for (int64_t rank = 0; rank < layout_ranks(l); rank++) {
        struct layout_plan p = at(c, l, rank);
        struct comm_stats s = counted(c, l, rank);

        for (int kind = 0; kind < COMM_KINDS; kind++) {
            double calls = 0, bytes = 0;

            for (int cause = 0; cause < LAYOUT_CAUSES; cause++) {
                calls += p.calls[cause][kind];
                bytes += p.bytes[cause][kind];
            }
            assert_float_equal((double)s.calls[kind], calls, 0);
            /* how many rows leave is up to the router */
            if (kind != COMM_ALL_TO_ALL)
                assert_float_equal((double)s.bytes[kind], bytes, 0);
        }
    }
}

static void messages_are_what_a_step_sends(void **unused)
{
    static const struct layout layouts[] = {
        { 1, 1, 1 }, { 3, 1, 1 }, { 1, 3, 1 }, { 1, 1, 2 },
        { 2, 2, 2 }, { 1, 5, 1 }, { 2, 3, 2 },
    };
    struct run_config c[] = {
        TINY("model.width=64"),
        TINY("model.width=64", "train.micro_batch=1", "train.batch=5",
             "model.qk_norm=yes", "model.shared_expert=yes", "model.layers=3",
             "model.vocab=20011", "model.experts=3"),
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
        for (size_t j = 0; j < sizeof(c) / sizeof(*c); j++)
            sends_what_is_planned(&c[j], &layouts[i]);
}

static void one_rank_sends_nothing_and_never_waits(void **unused)
{
    const struct layout alone = { 1, 1, 1 };
    struct run_config c = TINY("model.shared_expert=yes", "model.tied=yes");
    struct layout_plan p = at(&c, &alone, 0);

    (void)unused;
    assert_float_equal(p.memory.exchange, 0, 0);
    assert_float_equal(layout_plan_calls(&p) + layout_plan_bytes(&p), 0, 0);
    /* sums of the same terms in another order */
    assert_float_equal(p.flops / p.even_flops, 1, 1e-12);
    assert_float_equal(p.idle_batch + p.idle_experts, 0, 0);
}

/* D 8, L 1, H 4, G 2, K 2, F 16, E 4, k 2, V 10, T 4, batch 4 on 2 x 2 x 2:
 * one sequence, N = 4 tokens, a rank. */
static struct run_config by_hand(void)
{
    return TINY("model.width=8", "model.layers=1", "model.head_size=2",
                "model.kv_group=2", "model.ffn_ratio=2", "model.experts=4",
                "model.top_k=2", "model.vocab=10", "model.seq=4",
                "train.batch=4", "mup.base_width=8", "mup.base_head_size=2");
}

static void traffic_is_as_counted_by_hand(void **unused)
{
    const struct layout l = { 2, 2, 2 };
    const double report = 7 * sizeof(struct trainer_report);
    struct run_config c = by_hand();

    (void)unused;
    for (int64_t rank = 0; rank < 8; rank++) {
        struct layout_plan p = at(&c, &l, rank);

        assert_int_equal(p.sequences, 1);
        assert_int_equal(p.passes, 1);
        /* an all-reduce of two sends as many bytes as it has: forward 3 and
         * backward 3 of (4,8) floats: 768; (4,2), (4,1), (4,2): 32 + 16 + 32 */
        assert_float_equal(p.bytes[LAYOUT_TENSOR][COMM_ALL_REDUCE], 848, 0);
        assert_float_equal(p.calls[LAYOUT_TENSOR][COMM_ALL_REDUCE], 9, 0);
        /* 4 times half of 8 rows of 8 floats; two experts a rank */
        assert_float_equal(p.bytes[LAYOUT_ROWS][COMM_ALL_TO_ALL], 512, 0);
        assert_float_equal(p.calls[LAYOUT_ROWS][COMM_ALL_TO_ALL], 8, 0);
        /* dense: gains 32, q 32, k and v 16 each, o 32, router 32, embed and
         * unembed 40 each, last gain 8: 248 on 4 ranks, 62 each; experts: 2 of
         * 3 matrices (8,8): 384 on 2 ranks, 192 each */
        assert_float_equal(p.bytes[LAYOUT_GRADIENTS][COMM_REDUCE_SCATTER],
                           4 * (186 + 192), 0);
        assert_float_equal(p.bytes[LAYOUT_WEIGHTS][COMM_ALL_GATHER],
                           4 * (62 * 3 + 192), 0);
        assert_float_equal(p.calls[LAYOUT_WEIGHTS][COMM_ALL_GATHER], 2, 0);
        /* 4 counts to one other rank; a report to 7 */
        assert_float_equal(p.bytes[LAYOUT_SMALL][COMM_ALL_GATHER], 16 + report,
                           0);
        assert_float_equal(p.calls[LAYOUT_SMALL][COMM_ALL_GATHER], 2, 0);
        assert_float_equal(layout_plan_bytes(&p),
                           848 + 512 + 1512 + 1512 + 16 + report, 0);
        assert_float_equal(layout_plan_calls(&p), 9 + 8 + 2 + 2 + 2, 0);
    }
}

static void memory_and_work_are_as_counted_by_hand(void **unused)
{
    const struct layout l = { 2, 2, 2 };
    struct run_config c = by_hand();
    struct layout_plan p = at(&c, &l, 7);

    (void)unused;
    /* 248 + 384 floats, in steps of 64 bytes */
    assert_float_equal(p.memory.weights, 2560, 0);
    assert_float_equal(p.memory.gradients, 2560, 0);
    /* both moments of 62 + 192 */
    assert_float_equal(p.memory.optimizer, 2 * 1024, 0);
    assert_float_equal(p.memory.staging, 3 * 1024, 0);
    /* the share, and what 3 other ranks send of 62, and one of 192 */
    assert_float_equal(p.memory.exchange, 1024 + 1536, 0);
    assert_float_equal(p.rows, 2 * 4 * 2, 0);
    /* 6 FLOP: 208 dense elements and 4 tokens; 384 of experts and half the 8
     * tokens of the group; attention 4 * 4 * width 4 of one sequence */
    assert_float_equal(p.flops, 6 * (208 * 4 + 384 * 4 + 64), 0);
}

static void passes_with_fewer_sequences_send_fewer_bytes(void **unused)
{
    const struct layout l = { 3, 1, 2 };
    struct run_config c = by_hand();
    struct layout_plan first, last;

    (void)unused;
    /* 4 sequences on 3 ranks: 1, 1 and 2, in two passes on all of them */
    c.train.micro_batch = 1;
    first = at(&c, &l, 0);
    last = at(&c, &l, 5);
    assert_int_equal(first.sequences, 1);
    assert_int_equal(last.sequences, 2);
    assert_int_equal(first.passes, 2);
    assert_int_equal(last.passes, 2);
    assert_float_equal(first.calls[LAYOUT_TENSOR][COMM_ALL_REDUCE], 9, 0);
    assert_float_equal(last.calls[LAYOUT_TENSOR][COMM_ALL_REDUCE], 18, 0);
    assert_float_equal(first.bytes[LAYOUT_TENSOR][COMM_ALL_REDUCE], 848, 0);
    assert_float_equal(last.bytes[LAYOUT_TENSOR][COMM_ALL_REDUCE], 1696, 0);
    assert_float_equal(last.idle_batch, 1.0 / 3, 1e-15);
}

/* Sums over all ranks of what they scatter and gather: each element goes from
 * each of its n holders to one of them, and back: n - 1 times. */
static void all_ranks_together_exchange_every_element(void **unused)
{
    struct run_config c =
        TINY("model.width=96", "mup.base_width=96", "model.experts=5",
             "model.layers=7", "model.ffn_ratio=8", "model.vocab=20011");
    struct params p = table(&c);
    int64_t experts = 0;

    (void)unused;
    for (int i = 0; i < p.n; i++)
        if (p.list[i].is_expert)
            experts += p.list[i].count;
    for (int d = 1; d <= 4; d++)
        for (int e = 1; e <= 4; e++) {
            const struct layout l = { d, e, 1 };
            double scattered = 0, gathered = 0;
            int64_t want =
                (d * e - 1) * (p.total - experts) + (d - 1) * experts;

            for (int64_t rank = 0; rank < d * e; rank++) {
                struct layout_plan plan = at(&c, &l, rank);

                scattered += plan.bytes[LAYOUT_GRADIENTS][COMM_REDUCE_SCATTER];
                gathered += plan.bytes[LAYOUT_WEIGHTS][COMM_ALL_GATHER];
            }
            assert_float_equal(scattered, 4.0 * (double)want, 0);
            assert_float_equal(gathered, 4.0 * (double)want, 0);
        }
    params_clear(&p);
}

static void the_last_rank_has_the_most(void **unused)
{
    struct run_config c =
        TINY("model.width=96", "mup.base_width=96", "model.head_size=8",
             "model.kv_group=2", "model.experts=5", "model.ffn_ratio=1.33",
             "model.vocab=331", "train.batch=17");
    static const struct layout layouts[] = {
        { 3, 2, 2 }, { 2, 3, 3 }, { 1, 4, 6 }, { 5, 1, 2 }, { 1, 7, 1 }
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++) {
        const struct layout *l = &layouts[i];
        struct layout_plan most = at(&c, l, layout_ranks(l) - 1);

        for (int64_t rank = 0; rank < layout_ranks(l); rank++) {
            struct layout_plan p = at(&c, l, rank);

            assert_true(p.flops <= most.flops);
            assert_true(p.memory.weights <= most.memory.weights);
            assert_true(p.memory.optimizer <= most.memory.optimizer);
            assert_true(p.memory.activations <= most.memory.activations);
            assert_true(p.memory.exchange <= most.memory.exchange);
            assert_true(p.memory.staging <= most.memory.staging);
        }
    }
}

static struct run_config grok(int64_t batch)
{
    struct run_config c = load("configs/grok-1.yaml", NULL);

    c.train.batch = batch;
    return c;
}

static void grok_1_has_as_many_parameters_as_it_is_said_to(void **unused)
{
    struct run_config c = grok(1);
    struct params p = table(&c);

    (void)unused;
    /* 64 layers of 4,919,992,320, the table of 805,306,368, a last gain */
    assert_int_equal(p.total, 315684820992);
    assert_int_equal(p.active, 83756587008);
    params_clear(&p);
}

static void grok_1_moves_the_rows_it_is_said_to(void **unused)
{
    /* bytes of an all-to-all of 8192 tokens in two-byte numbers */
    static const double published[][2] = { { 2, 100.7e6 },
                                           { 4, 151e6 },
                                           { 8, 176e6 } };

    (void)unused;
    for (int i = 0; i < 3; i++) {
        const struct layout l = { 1, (int64_t)published[i][0], 1 };
        struct run_config c = grok(l.expert);
        struct layout_plan p = at(&c, &l, 0);
        /* 2 forward, 2 backward */
        double bytes = p.bytes[LAYOUT_ROWS][COMM_ALL_TO_ALL] / (4 * 64);

        /* three digits are printed */
        assert_float_equal(bytes / (2 * published[i][1]), 1, 2e-3);
    }
}

static void grok_1_has_the_state_and_work_it_is_said_to(void **unused)
{
    const struct layout alone = { 1, 1, 1 };
    struct run_config c = grok(1);
    struct layout_plan p = at(&c, &alone, 0);
    const double head = 6.0 * 131072 * 6144 * 8192;
    double state = p.memory.weights + p.memory.gradients + p.memory.optimizer;

    (void)unused;
    /* published with 2 bytes of weights, 4 of gradients, 12 of master weights
     * and moments: 18 an element, here 16 */
    assert_float_equal(state / 16 * 18 / 5.67e12, 1, 3e-3);
    /* forward is a third */
    assert_float_equal((p.flops - head) / 64 / 3 / 22.1e12, 1, 3e-3);
}

static void zero_divides_the_state_as_published(void **unused)
{
    /* a rank holds 8 (N_dense/t + N_experts/e) bytes of weights and gradients,
     * and 8 (N_dense/(t d e) + N_experts/(e d)) of moments; experts go along
     * tensor too */
    const struct layout l = { 16, 8, 8 };
    const double experts = 64.0 * 8 * 603979776, dense = 315684820992 - experts;
    struct run_config c = grok(128);
    struct layout_plan p = at(&c, &l, 1023);

    (void)unused;
    /* gains and routers, 0.06 % of what is dense, are not cut */
    assert_float_equal((p.memory.weights + p.memory.gradients) /
                           (8 * (dense / 8 + experts / 64)),
                       1, 1e-3);
    assert_float_equal(
        p.memory.optimizer / (8 * (dense / 1024 + experts / 1024)), 1, 1e-3);
}

static void groups_cross_nodes_as_far_as_they_reach(void **unused)
{
    const struct layout l = { 4, 4, 4 };

    (void)unused;
    assert_float_equal(layout_crossing(&l, LAYOUT_PEERS_TENSOR, 8), 0, 0);
    /* 2 of 4 in a node: 2 of 3 others are elsewhere */
    assert_float_equal(layout_crossing(&l, LAYOUT_PEERS_EXPERT, 8), 2.0 / 3,
                       1e-15);
    assert_float_equal(layout_crossing(&l, LAYOUT_PEERS_DATA, 8), 1, 0);
    assert_float_equal(layout_crossing(&l, LAYOUT_PEERS_DENSE, 8), 14.0 / 15,
                       1e-15);
    assert_float_equal(layout_crossing(&l, LAYOUT_PEERS_ALL, 64), 0, 0);
    assert_float_equal(layout_crossing(&l, LAYOUT_PEERS_TENSOR, 1), 1, 0);
    assert_float_equal(
        layout_crossing(&(struct layout){ 1, 1, 1 }, LAYOUT_PEERS_ALL, 1), 0,
        0);
}

static void the_floor_is_bytes_over_bandwidth(void **unused)
{
    const struct layout l = { 2, 2, 2 };
    /* nodes of two ranks: what goes along tensor stays */
    const struct layout_machine machine = { 1e3, 1e2, 1e1, 2 };
    struct run_config c = by_hand();
    struct layout_plan p = at(&c, &l, 7);
    struct layout_time t = layout_plan_time(&p, &machine);
    /* reports go to 7 ranks, one of them in the node */
    const double report = sizeof(struct trainer_report);
    const double near = 848 + report;
    const double far = 512 + 1512 + 1512 + 16 + 6 * report;
    double causes = 0;

    (void)unused;
    assert_float_equal(t.compute_s, 14.592, 1e-9);
    assert_float_equal(t.node_s, near / 1e2, 1e-9);
    assert_float_equal(t.network_s, far / 1e1, 1e-9);
    assert_float_equal(t.apart_s, 14.592 + near / 1e2 + far / 1e1, 1e-9);
    assert_float_equal(t.overlap_s, far / 1e1, 1e-9);
    for (int i = 0; i < LAYOUT_CAUSES; i++)
        causes += t.cause_s[i];
    assert_float_equal(causes, t.node_s + t.network_s, 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_what_the_trainer_lays_out),
        cmocka_unit_test(messages_are_what_a_step_sends),
        cmocka_unit_test(one_rank_sends_nothing_and_never_waits),
        cmocka_unit_test(traffic_is_as_counted_by_hand),
        cmocka_unit_test(memory_and_work_are_as_counted_by_hand),
        cmocka_unit_test(passes_with_fewer_sequences_send_fewer_bytes),
        cmocka_unit_test(all_ranks_together_exchange_every_element),
        cmocka_unit_test(the_last_rank_has_the_most),
        cmocka_unit_test(grok_1_has_as_many_parameters_as_it_is_said_to),
        cmocka_unit_test(grok_1_moves_the_rows_it_is_said_to),
        cmocka_unit_test(grok_1_has_the_state_and_work_it_is_said_to),
        cmocka_unit_test(zero_divides_the_state_as_published),
        cmocka_unit_test(groups_cross_nodes_as_far_as_they_reach),
        cmocka_unit_test(the_floor_is_bytes_over_bandwidth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
