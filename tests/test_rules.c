/* The rules beyond the plain case: forms, parametrizations, depth, experts,
 * grouped queries, Muon, decay, duration.  Numbers are worked out by hand from
 * the sources that mup/rules.c names; base d 128, f 512, 2 heads of 64 with 1
 * key/value head, 8 experts, and m = 8 unless said otherwise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mup/mup.h"
#include "mup/rules.h"
#include "tests/close.h"

#define N_OF(list) (int)(sizeof(list) / sizeof((list)[0]))

static void assert_bits(double value, double expected)
{
    if (memcmp(&value, &expected, sizeof(value)) != 0)
        fail_msg("%.17g is not exactly %.17g", value, expected);
}

static struct mup_scale scale_of(const struct mup_rules *rules,
                                 const struct mup_shape *shape)
{
    struct mup_scale scale = { 0 };
    struct mup_error err = { 0 };

    if (mup_scale(rules, shape, &scale, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return scale;
}

/* A tensor of that role: its width dimensions are out and in. */
static struct mup_shape shape_of(int role, struct mup_dim out,
                                 struct mup_dim in)
{
    const struct role_facts *facts = &rules_roles[role];

    return (struct mup_shape){ "t",
                               role,
                               { out.size, facts->out_scales ? out.base : 0 },
                               { role == MUP_VECTOR ? 1 : in.size,
                                 facts->in_scales ? in.base : 0 } };
}

/* Every width dimension is m times its base. */
static struct mup_shape grown(int role, int64_t m)
{
    const struct mup_dim d = { 128 * m, 128 };

    return shape_of(role, d, d);
}

/* --- numbers --- */

/* What microsoft/mup's MuAdamW and MuSGD give for lr 1 and weight decay 1;
 * there gains and biases decay, with 1 and 1/8, here they do not. */
static void factors_of_every_role_match_microsoft_mup(void **state)
{
    /* clang-format off */
    static const struct {
        struct mup_shape shape;
        double adamw_lr, adamw_decay, sgd_lr, sgd_decay;
    } rows[] = {
        { { "embed", MUP_INPUT, { 1024, 128 }, { 32000, 0 } }, 1, 1, 8, 0.125 },
        { { "tied", MUP_TIED, { 1024, 128 }, { 32000, 0 } }, 1, 1, 8, 0.125 },
        { { "wq", MUP_HIDDEN, { 1024, 128 }, { 1024, 128 } }, 0.125, 8, 1, 1 },
        { { "wk", MUP_KEY_VALUE, { 512, 64 }, { 1024, 128 } }, 0.125, 8, 1, 1 },
        { { "up", MUP_EXPERT_UP, { 4096, 512 }, { 1024, 128 } },
          0.125, 8, 1, 1 },
        { { "down", MUP_EXPERT_DOWN, { 1024, 128 }, { 4096, 512 } },
          0.125, 8, 1, 1 },
        { { "router", MUP_ROUTER, { 8, 0 }, { 1024, 128 } }, 1, 1, 8, 0.125 },
        { { "unembed", MUP_OUTPUT, { 32000, 0 }, { 1024, 128 } },
          1, 1, 8, 0.125 },
        { { "gain", MUP_VECTOR, { 1024, 128 }, { 1, 0 } }, 1, 0, 8, 0 },
        { { "vocab bias", MUP_FIXED, { 32000, 0 }, { 1, 0 } }, 1, 0, 1, 0 },
        /* f grows by 4 only, d by 8 */
        { { "up", MUP_EXPERT_UP, { 2048, 512 }, { 1024, 128 } },
          0.125, 8, 0.5, 2 },
        { { "down", MUP_EXPERT_DOWN, { 1024, 128 }, { 2048, 512 } },
          0.25, 4, 2, 0.5 },
    };
    /* clang-format on */

    (void)state;
    for (int i = 0; i < N_OF(rows); i++)
        for (int optimizer = MUP_ADAMW; optimizer <= MUP_LION; optimizer++) {
            struct mup_rules rules = { MUP_MUP, optimizer };
            struct mup_scale s = scale_of(&rules, &rows[i].shape);
            int sgd = optimizer == MUP_SGD;

            assert_bits(s.lr, sgd ? rows[i].sgd_lr : rows[i].adamw_lr);
            if (optimizer == MUP_ADAM)
                assert_bits(s.weight_decay, 0);
            else
                assert_bits(s.weight_decay,
                            sgd ? rows[i].sgd_decay : rows[i].adamw_decay);
        }
}

/* Where microsoft/mup counts one infinite dimension and would leave Adam's
 * learning rate alone, the tensor still sums over a growing width. */
static void a_fixed_fan_out_does_not_hide_a_growing_fan_in(void **state)
{
    const struct mup_rules adam = { MUP_MUP, MUP_ADAMW };
    const struct mup_rules sgd = { MUP_MUP, MUP_SGD };
    struct mup_shape k = { "k", MUP_KEY_VALUE, { 64, 64 }, { 1024, 128 } };
    struct mup_shape up = { "up", MUP_EXPERT_UP, { 512, 512 }, { 1024, 128 } };
    struct mup_shape down = {
        "down", MUP_EXPERT_DOWN, { 1024, 128 }, { 512, 512 }
    };

    (void)state;
    assert_bits(scale_of(&adam, &k).lr, 0.125); /* mup: 1 */
    assert_bits(scale_of(&sgd, &k).lr, 0.125);
    assert_bits(scale_of(&adam, &k).eps, 1);     /* its own fan-out */
    assert_bits(scale_of(&adam, &up).lr, 0.125); /* mup: 1 */
    assert_bits(scale_of(&adam, &up).init_std, 1 / sqrt(8));
    assert_bits(scale_of(&adam, &down).lr, 1); /* mup: 1 too */
    assert_bits(scale_of(&adam, &down).init_std, 1);
    assert_bits(scale_of(&sgd, &down).lr, 8);
}

/* Tensor Programs V, tables 8, 3, 9, at m = 16, where all factors are exact. */
static void the_three_forms_are_the_published_tables(void **state)
{
    /* clang-format off */
    static const struct {
        int role, form;
        double init, forward, sgd, adam, eps;
    } rows[] = {
        { MUP_INPUT, MUP_TABLE8, 1, 1, 16, 1, 0.0625 },
        { MUP_INPUT, MUP_TABLE3, 1, 1, 16, 1, 0.0625 },
        { MUP_INPUT, MUP_TABLE9, 0.25, 4, 1, 0.25, 0.25 },
        { MUP_VECTOR, MUP_TABLE8, 1, 1, 16, 1, 0.0625 },
        { MUP_VECTOR, MUP_TABLE3, 1, 1, 16, 1, 0.0625 },
        { MUP_VECTOR, MUP_TABLE9, 0.25, 4, 1, 0.25, 0.25 },
        { MUP_HIDDEN, MUP_TABLE8, 0.25, 1, 1, 0.0625, 0.0625 },
        { MUP_HIDDEN, MUP_TABLE3, 0.25, 1, 1, 0.0625, 0.0625 },
        { MUP_HIDDEN, MUP_TABLE9, 0.25, 1, 1, 0.0625, 0.0625 },
        { MUP_OUTPUT, MUP_TABLE8, 1, 0.0625, 16, 1, 0.0625 },
        { MUP_OUTPUT, MUP_TABLE3, 0.0625, 1, 0.0625, 0.0625, 1 },
        { MUP_OUTPUT, MUP_TABLE9, 0.25, 0.25, 1, 0.25, 0.25 },
        { MUP_ROUTER, MUP_TABLE8, 1, 0.0625, 16, 1, 0.0625 },
        { MUP_ROUTER, MUP_TABLE3, 0.0625, 1, 0.0625, 0.0625, 1 },
        { MUP_ROUTER, MUP_TABLE9, 0.25, 0.25, 1, 0.25, 0.25 },
        { MUP_FIXED, MUP_TABLE9, 1, 1, 1, 1, 1 },
    };
    /* clang-format on */

    (void)state;
    for (int i = 0; i < N_OF(rows); i++) {
        struct mup_rules rules = { MUP_MUP, MUP_ADAMW, .form = rows[i].form };
        struct mup_shape shape = grown(rows[i].role, 16);
        struct mup_scale s = scale_of(&rules, &shape);

        assert_bits(s.init_std, rows[i].init);
        assert_bits(s.forward, rows[i].forward);
        assert_bits(s.lr, rows[i].adam);
        assert_bits(s.eps, rows[i].eps);
        if (rules_roles[rows[i].role].decays)
            assert_bits(s.lr * s.weight_decay, 1);
        rules.optimizer = MUP_SGD;
        s = scale_of(&rules, &shape);
        assert_bits(s.init_std, rows[i].init);
        assert_bits(s.forward, rows[i].forward);
        assert_bits(s.lr, rows[i].sgd);
        assert_bits(s.eps, 1);
    }
}

static void the_forms_give_the_published_numbers(void **state)
{
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW };
    struct mup_shape out = grown(MUP_OUTPUT, 8), hidden = grown(MUP_HIDDEN, 8);
    struct mup_scale s = scale_of(&rules, &out);

    (void)state;
    /* tolerances: the printed digits */
    assert_close(0.02 * scale_of(&rules, &hidden).init_std, 0.00707106781,
                 5e-12);
    assert_bits(0.02 * s.init_std, 0.02);
    assert_bits(s.forward, 0.125);
    rules.form = MUP_TABLE3;
    s = scale_of(&rules, &out);
    assert_bits(0.02 * s.init_std, 0.0025);
    assert_bits(s.forward, 1);
    assert_bits(s.lr, 0.125);
    assert_bits(s.weight_decay, 8);
    rules.form = MUP_TABLE9;
    s = scale_of(&rules, &out);
    assert_close(0.02 * s.init_std, 0.00707106781, 5e-12);
    assert_close(s.forward, 0.353553391, 5e-10);
    rules = (struct mup_rules){ MUP_MUP, MUP_SGD, .form = MUP_TABLE3 };
    assert_bits(scale_of(&rules, &out).lr, 0.125);
}

static void epsilon_and_residuals_follow_the_depth_rule(void **state)
{
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW, .layers = { 64, 4 } };
    struct mup_shape hidden = grown(MUP_HIDDEN, 8), out = grown(MUP_OUTPUT, 8);

    (void)state;
    hidden.in_block = 1;
    assert_bits(1e-8 * scale_of(&rules, &hidden).eps, 1.25e-9);
    assert_bits(mup_residual_scale(&rules), 1);
    rules.depth = MUP_COMPLETEP;
    assert_bits(1e-8 * scale_of(&rules, &hidden).eps, 7.8125e-11);
    assert_bits(1e-8 * scale_of(&rules, &out).eps, 1.25e-9);
    assert_bits(mup_residual_scale(&rules), 0.0625);
    assert_bits(scale_of(&rules, &hidden).lr, 0.125);
    rules.depth = MUP_DEPTH_MUP;
    assert_bits(scale_of(&rules, &hidden).eps, 0.125 / 4);
    assert_bits(mup_residual_scale(&rules), 0.25);
    assert_bits(scale_of(&rules, &hidden).lr, 0.125 / 4);
    assert_bits(scale_of(&rules, &hidden).weight_decay, 32);
    assert_bits(scale_of(&rules, &out).lr, 1); /* outside the blocks */
}

/* m_L^(alpha-1), and m_L^(2 alpha-1) for SGD, on everything in a block. */
static void depth_reaches_every_optimizer_and_role_in_a_block(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * 5 * MUP_ROLE_COUNT; i++) {
        int optimizer = i / 2 % 5, role = i / 10;
        struct mup_rules rules = { MUP_MUP, optimizer,
                                   .depth =
                                       i % 2 ? MUP_COMPLETEP : MUP_DEPTH_MUP,
                                   .layers = { 64, 4 } };
        struct mup_shape shape = grown(role, 1);
        double adam = i % 2 ? 1 : 0.25, sgd = i % 2 ? 16 : 1;

        assert_bits(scale_of(&rules, &shape).lr, 1);
        shape.in_block = 1;
        assert_bits(scale_of(&rules, &shape).lr,
                    optimizer == MUP_SGD ? sgd : adam);
    }
}

static void attention_scales_as_published(void **state)
{
    struct mup_rules mup = { MUP_MUP }, sp = { MUP_SP };

    (void)state;
    assert_bits(mup_attention_scale(&mup, 1, 64, 64), 0.125);
    assert_bits(mup_attention_scale(&mup, 1, 128, 64), 0.0625);
    assert_close(mup_attention_scale(&sp, 1, 128, 64), 0.0883883476, 5e-11);
    mup.parametrization = MUP_UMUP;
    assert_bits(mup_attention_scale(&mup, 1, 128, 64), 0.0625);
    mup.parametrization = MUP_SP_PERLAYER;
    assert_bits(mup_attention_scale(&mup, 1, 128, 64),
                mup_attention_scale(&sp, 1, 128, 64));
}

static void duration_factors_are_the_published_numbers(void **state)
{
    struct mup_error err = { 0 };
    struct mup_duration d;

    (void)state;
    assert_int_equal(mup_duration_scale(4, 16, 0.5, &d, &err), MUP_OK);
    assert_bits(d.lr, 0.5);
    assert_bits(d.one_minus_beta, 0.25); /* 0.1 -> 0.025, 0.05 -> 0.0125 */
    assert_bits(d.eps, 2);
    assert_bits(d.weight_decay, 0.5);
    assert_bits(d.steps, 4);
    /* the same tokens: the square-root rule of batch size */
    assert_int_equal(mup_duration_scale(16, 1, 0.5, &d, &err), MUP_OK);
    assert_bits(d.lr, 4);
    assert_bits(d.steps, 0.0625);
    /* another exponent moves the rate; rate x decay x steps stays */
    assert_int_equal(mup_duration_scale(1, 16, 0.25, &d, &err), MUP_OK);
    assert_bits(d.lr, 0.5);
    assert_bits(d.lr * d.weight_decay * d.steps, 1);
    for (double x = 0; x <= 1; x += 0.125) {
        assert_int_equal(mup_duration_scale(1, 1, x, &d, &err), MUP_OK);
        assert_bits(d.lr, 1);
        assert_bits(d.weight_decay, 1);
        assert_bits(d.eps, 1);
    }
}

static void absurd_durations_are_refused(void **state)
{
    static const double bad[][3] = { { 0, 1, 0.5 },         { -1, 1, 0.5 },
                                     { 1, NAN, 0.5 },       { INFINITY, 1, 0 },
                                     { 1, 1, -0.5 },        { 1, 1, NAN },
                                     { 1e300, 1e-300, 0.5 } };

    (void)state;
    for (int i = 0; i < N_OF(bad); i++) {
        struct mup_duration d = { .lr = -1 };
        struct mup_error err = { 0 };

        assert_int_equal(
            mup_duration_scale(bad[i][0], bad[i][1], bad[i][2], &d, &err),
            MUP_USAGE);
        assert_true(strlen(err.text) > 10);
        assert_bits(d.lr, -1);
    }
}

/* --- experts, queries, decay, Muon --- */

static void mean_field_goes_by_width_and_ffn_ratio(void **state)
{
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW, .moe = MUP_MOE_MEAN_FIELD,
                               .experts = { 16, 8 } };
    struct mup_shape down = {
        "down", MUP_EXPERT_DOWN, { 1024, 128 }, { 4096, 512 }
    };
    struct mup_shape router = grown(MUP_ROUTER, 8);

    (void)state;
    assert_close(scale_of(&rules, &down).init_std, 0.353553391, 5e-10);
    assert_bits(scale_of(&rules, &down).lr, 0.125);
    down.fan_in.size = 1024; /* f / d falls from 4 to 1 */
    assert_close(scale_of(&rules, &down).init_std, 1.414213562, 5e-10);
    assert_bits(scale_of(&rules, &down).lr, 0.5);
    /* table 3 shows the source's own router: n^-1/2, n^-1 */
    rules.form = MUP_TABLE3;
    assert_bits(scale_of(&rules, &router).init_std, 1 / sqrt(8));
    assert_bits(scale_of(&rules, &router).forward, 1);
    assert_bits(scale_of(&rules, &router).lr, 0.125);
}

/* Width x4, experts x16, expert width x4 or fixed: the source's exponents in
 * its own form, table 3. */
static void mssp_is_its_source_in_table_3(void **state)
{
    /* clang-format off */
    static const struct {
        int moe, role;
        double init, adam, eps, sgd;
    } rows[] = {
        { MUP_MOE_MSSP, MUP_ROUTER, 0.5, 0.25, 0.0625, 1 },
        { MUP_MOE_MSSP, MUP_EXPERT_UP, 0.5, 0.25, 0.015625, 16 },
        { MUP_MOE_MSSP, MUP_EXPERT_DOWN, 0.5, 0.25, 0.015625, 16 },
        { MUP_MOE_MSSP_BOTTLENECK, MUP_ROUTER, 0.5, 0.25, 0.0625, 4 },
        { MUP_MOE_MSSP_BOTTLENECK, MUP_EXPERT_UP, 0.5, 0.25, 0.0625, 4 },
        { MUP_MOE_MSSP_BOTTLENECK, MUP_EXPERT_DOWN, 4, 1, 0.015625, 64 },
        { MUP_MOE_MSSP, MUP_OUTPUT, 0.25, 0.25, 1, 0.25 },
        { MUP_MOE_MSSP, MUP_INPUT, 1, 1, 0.25, 4 },
    };
    /* clang-format on */

    (void)state;
    for (int i = 0; i < N_OF(rows); i++) {
        int64_t ne = rows[i].moe == MUP_MOE_MSSP ? 4 : 1;
        struct mup_dim d = { 512, 128 }, f = { 64 * ne, 64 };
        int up = rows[i].role == MUP_EXPERT_UP;
        int down = rows[i].role == MUP_EXPERT_DOWN;
        struct mup_shape shape =
            shape_of(rows[i].role, up ? f : d, down ? f : d);
        struct mup_rules rules = { MUP_MUP, MUP_ADAMW, .moe = rows[i].moe,
                                   .form = MUP_TABLE3, .experts = { 128, 8 } };
        struct mup_scale s = scale_of(&rules, &shape);

        assert_bits(s.init_std, rows[i].init);
        assert_bits(s.forward, 1);
        assert_bits(s.lr, rows[i].adam);
        assert_bits(s.eps, rows[i].eps);
        rules.optimizer = MUP_SGD;
        assert_bits(scale_of(&rules, &shape).lr, rows[i].sgd);
    }
}

static void grouped_queries_move_adams_keys_and_values_alone(void **state)
{
    struct mup_shape k = { "k", MUP_KEY_VALUE, { 1024, 128 }, { 1024, 128 } };
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW, .gqa = MUP_GQA_EXPERIMENTAL,
                               .group = { 4, 1 } };
    struct mup_shape q = grown(MUP_HIDDEN, 8);

    (void)state;
    assert_bits(scale_of(&rules, &k).lr, 0.1875);
    assert_close(scale_of(&rules, &k).weight_decay, 5.333333, 5e-7);
    assert_bits(scale_of(&rules, &q).lr, 0.125);
    rules.optimizer = MUP_LION;
    assert_bits(scale_of(&rules, &k).lr, 0.1875);
    rules.decay = MUP_DECAY_COUPLED;
    assert_bits(scale_of(&rules, &k).weight_decay, 1);
    /* by the shape of the matrix alone */
    rules.optimizer = MUP_SGD;
    assert_bits(scale_of(&rules, &k).lr, 1);
    rules.optimizer = MUP_MUON;
    assert_bits(scale_of(&rules, &k).lr, 1);
}

static void decay_modes_are_what_they_say(void **state)
{
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW, MUP_DECAY_SQRT };
    struct mup_shape hidden = grown(MUP_HIDDEN, 8), out = grown(MUP_OUTPUT, 8);

    (void)state;
    assert_close(scale_of(&rules, &hidden).weight_decay, 2.828427125, 5e-10);
    assert_bits(scale_of(&rules, &out).weight_decay, 1);
    rules.decay = MUP_DECAY_DETACHED; /* product 1, like independent */
    assert_bits(scale_of(&rules, &hidden).weight_decay, 8);
    rules.decay = MUP_DECAY_COUPLED;
    assert_bits(scale_of(&rules, &hidden).weight_decay, 1);
    rules.form = MUP_TABLE3; /* what table 8 does, in another form */
    assert_bits(scale_of(&rules, &out).weight_decay, 8);
    rules = (struct mup_rules){ MUP_SP, MUP_ADAMW, MUP_DECAY_SQRT };
    assert_bits(scale_of(&rules, &hidden).weight_decay, 1);
}

static void muon_is_spectral_and_compensates_conventions(void **state)
{
    struct mup_shape up = { "up", MUP_EXPERT_UP, { 2048, 512 }, { 1024, 128 } };
    struct mup_shape square = grown(MUP_HIDDEN, 8);
    struct mup_rules rules = { MUP_MUP, MUP_MUON, .muon = MUP_MUON_PLAIN };

    (void)state;
    assert_bits(scale_of(&rules, &square).lr, 1);
    assert_close(scale_of(&rules, &up).lr, 0.707106781, 5e-10);
    rules.muon = MUP_MUON_SPECTRAL; /* the optimizer itself has it */
    assert_close(scale_of(&rules, &up).lr, 1, 1e-15);
    rules.muon = MUP_MUON_MOONLIGHT;
    assert_close(scale_of(&rules, &square).lr, 0.353553391, 5e-10);
    rules.muon = MUP_MUON_KELLER_JORDAN;
    assert_bits(scale_of(&rules, &square).lr, 1);
    /* what Muon leaves is AdamW's */
    for (int role = 0; role < MUP_ROLE_COUNT; role++) {
        struct mup_rules adamw = { MUP_MUP, MUP_ADAMW };
        struct mup_shape shape = grown(role, 8);

        if (mup_is_muon(role))
            continue;
        assert_bits(scale_of(&rules, &shape).lr, scale_of(&adamw, &shape).lr);
        assert_bits(scale_of(&rules, &shape).eps, scale_of(&adamw, &shape).eps);
    }
}

/* Convention times factor, relative to base, is sqrt(m_out / m_in) for every
 * convention, shape and growth. */
static void every_muon_convention_moves_a_matrix_alike(void **state)
{
    static const int64_t sizes[] = { 16, 24, 96, 100, 640 };

    (void)state;
    for (int i = 0; i < 4 * 5 * 5 * 5 * 5; i++) {
        struct mup_rules rules = { MUP_MUP, MUP_MUON, .muon = i % 4 };
        struct mup_dim out = { sizes[i / 4 % 5], sizes[i / 20 % 5] };
        struct mup_dim in = { sizes[i / 100 % 5], sizes[i / 500] };
        struct mup_shape shape = shape_of(MUP_EXPERT_UP, out, in);
        double moved = scale_of(&rules, &shape).lr *
                       mup_muon_factor(rules.muon, out.size, in.size) /
                       mup_muon_factor(rules.muon, out.base, in.base);

        /* half a dozen roundings of numbers below 7 */
        assert_close(moved, sqrt(mup_ratio(out) / mup_ratio(in)), 1e-14);
    }
}

/* Multiplier x rate: what an update does to the tensor's output.  Under SP
 * the convention's own width dependence is left in. */
static void muon_moves_outputs_alike_whatever_the_multiplier(void **state)
{
    const struct mup_dim out = { 8192, 128 }, in = { 2048, 128 };

    (void)state;
    for (int i = 0; i < 4 * MUP_ROLE_COUNT; i++) {
        struct mup_rules r = { MUP_MUP, MUP_MUON, .muon = i % 4 };
        struct mup_shape shape = shape_of(i / 4, out, in);
        struct mup_scale mup = scale_of(&r, &shape), s;

        if (!mup_is_muon(i / 4))
            continue;
        r.parametrization = MUP_UMUP;
        s = scale_of(&r, &shape);
        assert_bits(s.forward, 0.25);
        assert_bits(s.forward * s.lr, mup.forward * mup.lr);
        r.parametrization = MUP_SP;
        assert_bits(scale_of(&r, &shape).lr, 1);
    }
}

static void unit_scaled_mup_is_mup_but_for_the_embedding(void **state)
{
    struct mup_rules mup = { MUP_MUP, MUP_ADAMW }, unit = { MUP_UMUP };

    (void)state;
    for (int role = 0; role < MUP_ROLE_COUNT; role++) {
        struct mup_shape shape = grown(role, 16);
        struct mup_scale a = scale_of(&mup, &shape);
        struct mup_scale u = scale_of(&unit, &shape);
        double t = u.forward / a.forward; /* moved into the multiplier */

        assert_bits(u.init_std, 1);
        assert_bits(u.init_std * t, a.init_std);
        assert_bits(u.eps, a.eps * t);
        assert_bits(u.lr * t,
                    rules_roles[role].class == MUP_INPUT ? a.lr / 4 : a.lr);
    }
}

static void per_layer_rates_keep_the_standard_initialisation(void **state)
{
    (void)state;
    for (int role = 0; role < MUP_ROLE_COUNT; role++) {
        struct mup_rules sp = { MUP_SP }, perlayer = { MUP_SP_PERLAYER };
        struct mup_shape shape = grown(role, 16);
        struct mup_scale s = scale_of(&sp, &shape);
        struct mup_scale p = scale_of(&perlayer, &shape);
        int matrix = rules_roles[role].in_scales;

        assert_bits(s.init_std, matrix ? 0.25 : 1);
        assert_bits(p.init_std, s.init_std);
        assert_bits(p.forward, 1);
        assert_bits(s.lr, 1);
        assert_bits(s.eps, 1);
        assert_bits(p.lr, matrix ? 0.0625 : 1);
        assert_bits(p.eps, rules_roles[role].out_scales ? 0.25 : 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_of_every_role_match_microsoft_mup),
        cmocka_unit_test(a_fixed_fan_out_does_not_hide_a_growing_fan_in),
        cmocka_unit_test(the_three_forms_are_the_published_tables),
        cmocka_unit_test(the_forms_give_the_published_numbers),
        cmocka_unit_test(epsilon_and_residuals_follow_the_depth_rule),
        cmocka_unit_test(depth_reaches_every_optimizer_and_role_in_a_block),
        cmocka_unit_test(attention_scales_as_published),
        cmocka_unit_test(duration_factors_are_the_published_numbers),
        cmocka_unit_test(absurd_durations_are_refused),
        cmocka_unit_test(mean_field_goes_by_width_and_ffn_ratio),
        cmocka_unit_test(mssp_is_its_source_in_table_3),
        cmocka_unit_test(grouped_queries_move_adams_keys_and_values_alone),
        cmocka_unit_test(decay_modes_are_what_they_say),
        cmocka_unit_test(muon_is_spectral_and_compensates_conventions),
        cmocka_unit_test(every_muon_convention_moves_a_matrix_alike),
        cmocka_unit_test(muon_moves_outputs_alike_whatever_the_multiplier),
        cmocka_unit_test(unit_scaled_mup_is_mup_but_for_the_embedding),
        cmocka_unit_test(per_layer_rates_keep_the_standard_initialisation),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
