/* What must hold for every combination of rules: 1 at base, refused in one
 * sentence or known, a name and a source, broken rules that show. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/config.h"
#include "mup/mup.h"
#include "mup/rules.h"
#include "tests/close.h"

#define N_OF(list) (int)(sizeof(list) / sizeof((list)[0]))

static void assert_bits(double value, double expected)
{
    if (memcmp(&value, &expected, sizeof(value)) != 0)
        fail_msg("%.17g is not exactly %.17g", value, expected);
}

/* A tensor of that role with width dimensions size over base. */
static struct mup_shape shape_of(int role, struct mup_dim out,
                                 struct mup_dim in)
{
    const struct role_facts *facts = &rules_roles[role];

    return (struct mup_shape){ "t",
                               role,
                               { out.size, facts->out_scales ? out.base : 0 },
                               { role == MUP_VECTOR ? 1 : in.size,
                                 facts->in_scales ? in.base : 0 },
                               1 };
}

/* --- every combination --- */

#define N_COMBINATIONS (4 * 5 * 5 * 3 * 3 * 4 * 2 * 4 * 2)

/* Combination i of everything there is. */
static struct mup_rules combination(int i)
{
    struct mup_rules r = { 0 };
    struct {
        int *value, n;
    } axis[] = {
        { &r.parametrization, 4 },
        { &r.optimizer, 5 },
        { &r.decay, 5 },
        { &r.form, 3 },
        { &r.depth, 3 },
        { &r.moe, 4 },
        { &r.gqa, 2 },
        { &r.muon, 4 },
        { &r.atan2, 2 },
    };

    for (int a = 0; a < N_OF(axis); a++) {
        *axis[a].value = i % axis[a].n;
        i /= axis[a].n;
    }
    r.layers = (struct mup_dim){ 7, 7 };
    r.experts = (struct mup_dim){ 5, 5 };
    r.group = (struct mup_dim){ 3, 3 };
    return r;
}

/* What is known to go together, said a second time and in other words. */
static int known(const struct mup_rules *r, int role)
{
    int mup = r->parametrization == MUP_MUP, moe = r->moe != MUP_MOE_FIXED_E;
    int expert =
        role == MUP_ROUTER || role == MUP_EXPERT_UP || role == MUP_EXPERT_DOWN;

    if (!mup && (r->form != MUP_TABLE8 || moe))
        return 0;
    if (r->parametrization == MUP_SP && r->depth != MUP_DEPTH_NONE)
        return 0;
    if (r->optimizer == MUP_MUON)
        if (r->parametrization == MUP_SP_PERLAYER || moe)
            return 0;
    if (r->optimizer == MUP_SGD) {
        if (r->parametrization == MUP_SP_PERLAYER ||
            r->parametrization == MUP_UMUP)
            return 0;
        if (r->moe == MUP_MOE_MEAN_FIELD && expert)
            return 0;
    }
    return !(role == MUP_TIED && r->form == MUP_TABLE3);
}

static void assert_one_sentence(const struct mup_error *err)
{
    size_t n = strlen(err->text);

    if (n < 20 || err->text[n - 1] == '.' || strchr(err->text, '\n') ||
        (err->text[0] >= 'A' && err->text[0] <= 'Z'))
        fail_msg("not one sentence: '%s'", err->text);
}

static void assert_all_one(const struct mup_rules *r, const struct mup_scale *s,
                           int role)
{
    int decays = rules_roles[role].decays && r->decay != MUP_DECAY_NONE &&
                 r->optimizer != MUP_ADAM;

    assert_bits(s->init_std, 1);
    assert_bits(s->forward, 1);
    assert_bits(s->lr, 1);
    assert_bits(s->eps, 1);
    assert_bits(s->weight_decay, decays);
}

static void a_combination_is_one_at_base_or_one_sentence(void **state)
{
    static const int64_t sizes[] = { 1, 3, 7, 96, 127, 6144, 1000003 };
    int accepted = 0, refused = 0;

    (void)state;
    for (int i = 0; i < N_COMBINATIONS; i++)
        for (int role = 0; role < MUP_ROLE_COUNT; role++) {
            struct mup_rules r = combination(i);
            int64_t n = sizes[(i + role) % 7], k = sizes[(i / 7 + role) % 7];
            struct mup_shape shape = shape_of(role, (struct mup_dim){ n, n },
                                              (struct mup_dim){ k, k });
            struct mup_scale s = { .lr = -1 };
            struct mup_error err = { 0 };
            int rc = mup_scale(&r, &shape, &s, &err);

            assert_int_equal(rc, known(&r, role) ? MUP_OK : MUP_USAGE);
            if (rc) {
                refused++;
                assert_one_sentence(&err);
                assert_bits(s.lr, -1);
            } else {
                accepted++;
                assert_all_one(&r, &s, role);
            }
        }
    assert_true(accepted > 100000 && refused > 100000);
}

static void the_whole_network_is_one_at_base(void **state)
{
    (void)state;
    for (int i = 0; i < N_COMBINATIONS; i++) {
        struct mup_rules r = combination(i);
        struct mup_rules sp = { MUP_SP };
        int64_t k = 2 + 2 * (i % 100);

        assert_bits(mup_residual_scale(&r), 1);
        assert_bits(mup_attention_scale(&r, 0.7, k, k),
                    mup_attention_scale(&sp, 0.7, k, k));
    }
}

static void every_accepted_rule_has_a_name_and_a_source(void **state)
{
    (void)state;
    for (int i = 0; i < N_COMBINATIONS; i += 3)
        for (int role = 0; role < MUP_ROLE_COUNT; role++) {
            const struct mup_dim d = { 24, 8 };
            struct mup_rules r = combination(i);
            struct mup_shape shape = shape_of(role, d, d);
            char name[MUP_RULE_BYTES] = "";
            const char *source = NULL;

            if (!known(&r, role)) {
                assert_int_equal(mup_rule_name(&r, &shape, name, &source, NULL),
                                 MUP_USAGE);
                continue;
            }
            assert_int_equal(mup_rule_name(&r, &shape, name, &source, NULL),
                             MUP_OK);
            assert_true(source && strlen(source) > 10);
            assert_int_equal(
                strncmp(name, mup_parametrization_name(r.parametrization), 2),
                0);
            assert_non_null(strstr(name, mup_role_name(role)));
        }
}

static void rules_without_their_base_are_refused(void **state)
{
    const struct mup_dim d = { 24, 8 };
    const struct mup_shape shape = shape_of(MUP_HIDDEN, d, d);
    struct mup_rules rows[] = {
        { MUP_MUP, .depth = MUP_COMPLETEP },
        { MUP_MUP, .depth = MUP_DEPTH_MUP, .layers = { 0, 4 } },
        { MUP_MUP, .moe = MUP_MOE_MEAN_FIELD },
        { MUP_MUP, .moe = MUP_MOE_MSSP, .experts = { 8, -1 } },
        { MUP_MUP, .group = { 4, 2 } },
        { MUP_SP_PERLAYER, .group = { 4, 2 } },
    };
    struct mup_rules sp = { MUP_SP, .group = { 4, 2 } };
    struct mup_scale s = { .lr = -1 };

    (void)state;
    for (int i = 0; i < N_OF(rows); i++) {
        struct mup_error err = { 0 };

        assert_int_equal(mup_scale(&rows[i], &shape, &s, &err), MUP_USAGE);
        assert_one_sentence(&err);
    }
    assert_bits(s.lr, -1);
    /* the standard parametrization scales nothing, whatever grows */
    assert_int_equal(mup_scale(&sp, &shape, &s, NULL), MUP_OK);
}

/* Every field of the rules, one past its last value. */
static void unknown_numbers_are_refused(void **state)
{
    const struct mup_dim d = { 24, 8 };
    const struct mup_shape shape = shape_of(MUP_HIDDEN, d, d);
    struct mup_rules r = { MUP_MUP }, ok = r;
    int *const field[] = { &r.parametrization, &r.optimizer, &r.decay, &r.form,
                           &r.depth,           &r.moe,       &r.gqa,   &r.muon,
                           &r.broken };
    static const int past[] = { 4, 5, 5, 3, 3, 4, 2, 4, MUP_BREAK_COUNT };
    struct mup_scale s;

    (void)state;
    for (int i = 0; i < 2 * N_OF(field); i++) {
        struct mup_error err = { 0 };

        r = ok;
        *field[i / 2] = i % 2 ? past[i / 2] : -1;
        assert_int_equal(mup_scale(&r, &shape, &s, &err), MUP_USAGE);
        assert_int_equal(strncmp(err.text, "unknown ", 8), 0);
    }
}

/* --- sizes --- */

/* 2^62 over 1 in every direction at once is far inside a double: no sizes make
 * a factor overflow. */
static void the_largest_and_smallest_ratios_give_finite_factors(void **state)
{
    const int64_t huge = (int64_t)1 << 62;

    (void)state;
    for (int i = 0; i < N_COMBINATIONS; i++)
        for (int j = 0; j < 2 * MUP_ROLE_COUNT; j++) {
            const struct mup_dim d = j % 2 ? (struct mup_dim){ huge, 1 }
                                           : (struct mup_dim){ 1, huge };
            struct mup_rules r = combination(i);
            struct mup_shape shape = shape_of(j / 2, d, d);
            struct mup_scale s;

            if (!known(&r, j / 2))
                continue;
            r.layers = r.experts = d;
            if (r.gqa == MUP_GQA_EXPERIMENTAL)
                r.group = d;
            assert_int_equal(mup_scale(&r, &shape, &s, NULL), MUP_OK);
            assert_true(isfinite(s.init_std) && s.init_std > 0);
            assert_true(isfinite(s.lr) && s.lr > 0);
            assert_true(isfinite(s.eps) && s.eps > 0);
            assert_true(isfinite(s.forward) && s.forward > 0);
            assert_true(isfinite(s.weight_decay) && s.weight_decay >= 0);
        }
}

static void a_width_below_base_is_legal(void **state)
{
    const struct mup_dim d = { 32, 128 };
    const struct mup_shape hidden = shape_of(MUP_HIDDEN, d, d);
    const struct mup_shape out = shape_of(MUP_OUTPUT, d, d);
    const struct mup_rules r = { MUP_MUP };
    struct mup_scale s;

    (void)state;
    assert_int_equal(mup_scale(&r, &hidden, &s, NULL), MUP_OK);
    assert_bits(s.lr, 4);
    assert_bits(s.init_std, 2);
    assert_bits(s.weight_decay, 0.25);
    assert_bits(s.eps, 4);
    assert_int_equal(mup_scale(&r, &out, &s, NULL), MUP_OK);
    assert_bits(s.forward, 4);
}

/* A factor t moved from initialisation and learning rate into the multiplier:
 * SGD lr / t^2, the others lr / t, eps x t, decay x t; every form, optimizer,
 * decay, regime and depth rule, to the last bit at m = 4^j. */
static void forms_differ_by_the_abc_symmetry_alone(void **state)
{
    (void)state;
    for (int i = 0; i < N_COMBINATIONS; i++)
        for (int role = 0; role < MUP_ROLE_COUNT; role++) {
            const struct mup_dim out = { 2048, 128 }, in = { 8192, 128 };
            struct mup_rules r = combination(i), r8 = r;
            struct mup_shape shape = shape_of(role, out, in);
            struct mup_scale s, s8;
            double t, lr;

            r8.form = MUP_TABLE8;
            if (!known(&r, role))
                continue;
            assert_int_equal(mup_scale(&r, &shape, &s, NULL), MUP_OK);
            assert_int_equal(mup_scale(&r8, &shape, &s8, NULL), MUP_OK);
            t = s.forward / s8.forward;
            lr = r.optimizer == MUP_SGD ? t * t : t;
            assert_bits(s.init_std * t, s8.init_std);
            assert_bits(s.lr * lr, s8.lr);
            assert_bits(s.lr * s.weight_decay, s8.lr * s8.weight_decay);
            if (s8.eps < 1 || s.eps < 1)
                assert_bits(s.eps, s8.eps * t);
        }
}

/* --- broken rules --- */

/* Where a broken rule shows; role -1: in the attention or residual scale. */
static const struct {
    int broken, role, optimizer, parametrization;
} breaks[] = {
    { MUP_BREAK_ROUTER_HIDDEN, MUP_ROUTER, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_ROUTER_NO_MULT, MUP_ROUTER, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_READOUT_NO_MULT, MUP_OUTPUT, MUP_SGD, MUP_MUP },
    { MUP_BREAK_READOUT_TWICE, MUP_OUTPUT, MUP_LION, MUP_MUP },
    { MUP_BREAK_READOUT_LR, MUP_OUTPUT, MUP_ADAM, MUP_MUP },
    { MUP_BREAK_HIDDEN_INIT, MUP_KEY_VALUE, MUP_ADAMW, MUP_SP },
    { MUP_BREAK_HIDDEN_LR, MUP_HIDDEN, MUP_ADAMW, MUP_SP_PERLAYER },
    { MUP_BREAK_HIDDEN_LR_SQRT, MUP_EXPERT_UP, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_DOWN_LR, MUP_EXPERT_DOWN, MUP_ADAMW, MUP_UMUP },
    { MUP_BREAK_INPUT_LR, MUP_INPUT, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_VECTOR_LR, MUP_VECTOR, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_TIED_RESCALED, MUP_TIED, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_EPS, MUP_HIDDEN, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_DECAY, MUP_HIDDEN, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_ATTENTION, -1, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_RESIDUAL, -1, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_DEPTH_LR, MUP_HIDDEN, MUP_ADAMW, MUP_MUP },
    { MUP_BREAK_MUON, MUP_HIDDEN, MUP_MUON, MUP_MUP },
};

/* All factors of a tensor and of the network, under rules. */
struct factors {
    struct mup_scale s;
    double attention, residual;
};

static struct factors factors_of(const struct mup_rules *r, int role,
                                 struct mup_dim d)
{
    struct mup_shape shape = shape_of(role < 0 ? MUP_HIDDEN : role, d, d);
    struct mup_error err = { 0 };
    struct factors f;

    if (mup_scale(r, &shape, &f.s, &err))
        fail_msg("%s", err.text);
    f.attention = mup_attention_scale(r, 1, d.size, d.base);
    f.residual = mup_residual_scale(r);
    return f;
}

static void every_broken_rule_shows_away_from_base(void **state)
{
    (void)state;
    assert_int_equal(N_OF(breaks), MUP_BREAK_COUNT - 1);
    for (int i = 0; i < N_OF(breaks); i++) {
        struct mup_rules r = { breaks[i].parametrization, breaks[i].optimizer,
                               .muon = MUP_MUON_MOONLIGHT,
                               .layers = { 32, 4 } };
        struct factors right, wrong;

        assert_int_equal(breaks[i].broken, i + 1);
        if (r.parametrization != MUP_SP)
            r.depth = MUP_COMPLETEP;
        right = factors_of(&r, breaks[i].role, (struct mup_dim){ 512, 64 });
        r.broken = breaks[i].broken;
        wrong = factors_of(&r, breaks[i].role, (struct mup_dim){ 512, 64 });
        if (!memcmp(&right, &wrong, sizeof(right)))
            fail_msg("'%s' changes nothing", mup_break_name(r.broken));
        if (breaks[i].role >= 0)
            assert_memory_not_equal(&right.s, &wrong.s, sizeof(right.s));
    }
}

static void a_broken_rule_touches_its_own_roles_alone(void **state)
{
    (void)state;
    for (int broken = 1; broken < MUP_BREAK_COUNT; broken++)
        for (int i = 0; i < 5 * MUP_ROLE_COUNT; i++) {
            const struct mup_dim d = { 512, 64 };
            int role = i / 5;
            struct mup_rules r = { MUP_MUP, i % 5, .depth = MUP_DEPTH_MUP,
                                   .layers = { 32, 4 } };
            struct factors right = factors_of(&r, role, d), wrong;

            r.broken = broken;
            wrong = factors_of(&r, role, d);
            if (!(rules_mutations[broken].roles >> role & 1))
                assert_memory_equal(&right.s, &wrong.s, sizeof(right.s));
        }
}

static void a_broken_rule_changes_nothing_at_base(void **state)
{
    (void)state;
    for (int broken = 0; broken < MUP_BREAK_COUNT; broken++)
        for (int i = 0; i < 4 * 5 * 2 * MUP_ROLE_COUNT; i++) {
            const struct mup_dim d = { 96 + i % 7, 96 + i % 7 };
            int role = i / 40;
            struct mup_rules r = { i % 4, i / 4 % 5, .broken = broken,
                                   .layers = { 3, 3 } };
            struct mup_rules sp = { MUP_SP };
            struct factors f;

            if (!known(&r, role))
                continue;
            if (i / 20 % 2 && r.parametrization != MUP_SP)
                r.depth = MUP_COMPLETEP;
            f = factors_of(&r, role, d);
            assert_all_one(&r, &f.s, role);
            assert_bits(f.residual, 1);
            assert_bits(f.attention,
                        mup_attention_scale(&sp, 1, d.size, d.size));
        }
}

/* --- names --- */

static const struct {
    const char *(*name)(int);
    int n;
    const char *key; /* of the config, NULL: none */
} enums[] = {
    { mup_parametrization_name, MUP_PARAMETRIZATION_COUNT,
      "mup.parametrization" },
    { mup_optimizer_name, MUP_OPTIMIZER_COUNT, "train.optimizer" },
    { mup_form_name, MUP_FORM_COUNT, "mup.form" },
    { mup_decay_name, MUP_DECAY_COUNT, "train.decay_mode" },
    { mup_depth_name, MUP_DEPTH_COUNT, "mup.depth" },
    { mup_moe_name, MUP_MOE_COUNT, "mup.moe" },
    { mup_gqa_name, MUP_GQA_COUNT, "mup.gqa" },
    { mup_muon_name, MUP_MUON_COUNT, "train.muon_scale" },
    { mup_break_name, MUP_BREAK_COUNT, "mup.break" },
    { mup_role_name, MUP_ROLE_COUNT, NULL },
};

static void every_name_leads_back_to_its_number(void **state)
{
    (void)state;
    for (int i = 0; i < N_OF(enums); i++) {
        for (int value = 0; value < enums[i].n; value++) {
            const char *name = enums[i].name(value);

            assert_true(strlen(name) > 1);
            assert_int_equal(mup_name_find(enums[i].name, enums[i].n, name),
                             value);
        }
        assert_string_equal(enums[i].name(-1), "unknown");
        assert_string_equal(enums[i].name(enums[i].n), "unknown");
        assert_int_equal(mup_name_find(enums[i].name, enums[i].n, "unknown"),
                         -1);
        assert_int_equal(mup_name_find(enums[i].name, enums[i].n, ""), -1);
    }
    for (int value = 0; value < MUP_BREAK_COUNT; value++)
        assert_true(strlen(mup_break_text(value)) > 10);
}

static void the_choices_of_the_config_are_the_names_of_the_rules(void **state)
{
    (void)state;
    for (int i = 0; i < N_OF(enums); i++) {
        char choices[512] = "";
        const struct field *field;

        if (!enums[i].key)
            continue;
        for (int value = 0; value < enums[i].n; value++) {
            size_t used = strlen(choices);

            snprintf(choices + used, sizeof(choices) - used, "%s%s",
                     value ? "|" : "", enums[i].name(value));
        }
        field = config_find(&run_schema, enums[i].key, NULL);
        assert_non_null(field);
        assert_string_equal(field->range, choices);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_combination_is_one_at_base_or_one_sentence),
        cmocka_unit_test(the_whole_network_is_one_at_base),
        cmocka_unit_test(every_accepted_rule_has_a_name_and_a_source),
        cmocka_unit_test(rules_without_their_base_are_refused),
        cmocka_unit_test(unknown_numbers_are_refused),
        cmocka_unit_test(the_largest_and_smallest_ratios_give_finite_factors),
        cmocka_unit_test(a_width_below_base_is_legal),
        cmocka_unit_test(forms_differ_by_the_abc_symmetry_alone),
        cmocka_unit_test(every_broken_rule_shows_away_from_base),
        cmocka_unit_test(a_broken_rule_touches_its_own_roles_alone),
        cmocka_unit_test(a_broken_rule_changes_nothing_at_base),
        cmocka_unit_test(every_name_leads_back_to_its_number),
        cmocka_unit_test(the_choices_of_the_config_are_the_names_of_the_rules),
    };

    return cmocka_run_group_tests_name("rule laws", tests, NULL, NULL);
}
