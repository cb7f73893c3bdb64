/* libmup: the rules against microsoft/mup's own numbers, and their laws. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mup/mup.h"
#include "tests/close.h"

/* The program of mup/README.md, compiled here and called below. */
int example_main(void);
#define main example_main
#include "tests/example_mup.c"
#undef main

static const struct mup_rules adamw = { MUP_MUP, MUP_ADAMW,
                                        MUP_DECAY_INDEPENDENT };
static const struct mup_rules sgd = { MUP_MUP, MUP_SGD, MUP_DECAY_INDEPENDENT };

static struct mup_scale scale_of(const struct mup_rules *rules,
                                 struct mup_shape shape)
{
    struct mup_scale scale = { 0 };
    struct mup_error err = { 0 };

    if (mup_scale(rules, &shape, &scale, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return scale;
}

static void assert_bits(double value, double expected)
{
    if (memcmp(&value, &expected, sizeof(value)) != 0)
        fail_msg("%.17g is not exactly %.17g", value, expected);
}

/* base d=128 f=512 hq=2 hkv=1 dh=64 E=8 V=32000, m = 8.  Learning rates and
 * decays are what microsoft/mup's MuAdamW and MuSGD (commit 1981497) give for
 * lr 1 and weight decay 1, except that gains and biases do not decay here. */
static const struct oracle {
    struct mup_shape shape;
    double adamw_lr, adamw_decay, sgd_lr, sgd_decay;
} oracle[] = {
    /* clang-format off */
    { { "embedding", MUP_INPUT, { 1024, 128 }, { 32000, 0 } }, 1, 1, 8, 0.125 },
    { { "wq", MUP_HIDDEN, { 1024, 128 }, { 1024, 128 } }, 0.125, 8, 1, 1 },
    { { "wk", MUP_HIDDEN, { 512, 64 }, { 1024, 128 } }, 0.125, 8, 1, 1 },
    { { "wo", MUP_HIDDEN, { 1024, 128 }, { 1024, 128 } }, 0.125, 8, 1, 1 },
    { { "up", MUP_HIDDEN, { 4096, 512 }, { 1024, 128 } }, 0.125, 8, 1, 1 },
    { { "down", MUP_HIDDEN, { 1024, 128 }, { 4096, 512 } }, 0.125, 8, 1, 1 },
    { { "router", MUP_OUTPUT, { 8, 0 }, { 1024, 128 } }, 1, 1, 8, 0.125 },
    { { "unembedding", MUP_OUTPUT, { 32000, 0 }, { 1024, 128 } },
      1, 1, 8, 0.125 },
    { { "norm gain", MUP_VECTOR, { 1024, 128 }, { 1, 0 } }, 1, 0, 8, 0 },
    { { "vocabulary bias", MUP_FIXED, { 32000, 0 }, { 1, 0 } }, 1, 0, 1, 0 },
    /* f grows by 4 only, d by 8 */
    { { "up", MUP_HIDDEN, { 2048, 512 }, { 1024, 128 } }, 0.125, 8, 0.5, 2 },
    { { "down", MUP_HIDDEN, { 1024, 128 }, { 2048, 512 } }, 0.25, 4, 2, 0.5 },
    /* clang-format on */
};

static void factors_match_the_numbers_of_microsoft_mup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(oracle) / sizeof(oracle[0]); i++) {
        const struct oracle *o = &oracle[i];
        struct mup_scale a = scale_of(&adamw, o->shape);
        struct mup_scale s = scale_of(&sgd, o->shape);

        assert_bits(a.lr, o->adamw_lr);
        assert_bits(a.weight_decay, o->adamw_decay);
        assert_bits(s.lr, o->sgd_lr);
        assert_bits(s.weight_decay, o->sgd_decay);
    }
}

static void only_hidden_matrices_start_smaller_under_mup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(oracle) / sizeof(oracle[0]); i++) {
        const struct mup_shape *shape = &oracle[i].shape;
        struct mup_scale s = scale_of(&adamw, *shape);
        double m_in = mup_ratio(shape->fan_in);

        assert_bits(s.init_std, shape->role == MUP_HIDDEN ? 1 / sqrt(m_in) : 1);
    }
    /* 0.02 / sqrt(8), to the digits of the published number */
    assert_close(0.02 * scale_of(&adamw, oracle[1].shape).init_std,
                 0.00707106781, 1e-11);
}

static void only_outputs_carry_a_forward_multiplier(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(oracle) / sizeof(oracle[0]); i++) {
        int role = oracle[i].shape.role;

        assert_bits(scale_of(&adamw, oracle[i].shape).forward,
                    role == MUP_OUTPUT ? 0.125 : 1);
        assert_bits(scale_of(&sgd, oracle[i].shape).forward,
                    role == MUP_OUTPUT ? 0.125 : 1);
    }
}

static void adam_epsilon_falls_with_the_gradient(void **state)
{
    struct mup_shape up = { "up", MUP_HIDDEN, { 2048, 512 }, { 1024, 128 } };
    struct mup_shape down = { "down", MUP_HIDDEN, { 1024, 128 }, { 4, 1 } };

    (void)state;
    for (size_t i = 0; i < 9; i++) /* all widths grow by 8 */
        assert_bits(1e-8 * scale_of(&adamw, oracle[i].shape).eps, 1.25e-9);
    assert_bits(scale_of(&adamw, oracle[9].shape).eps, 1);
    /* a hidden matrix goes by its own fan-out */
    assert_bits(scale_of(&adamw, up).eps, 0.25);
    assert_bits(scale_of(&adamw, down).eps, 0.125);
    for (size_t i = 0; i < sizeof(oracle) / sizeof(oracle[0]); i++)
        assert_bits(scale_of(&sgd, oracle[i].shape).eps, 1);
}

/* Every role at sizes out_size, in_size and the given bases. */
static struct mup_shape shape_of(int role, int64_t out, int64_t out_base,
                                 int64_t in, int64_t in_base)
{
    int out_scales = role != MUP_OUTPUT && role != MUP_FIXED;
    int in_scales = role == MUP_HIDDEN || role == MUP_OUTPUT;

    return (struct mup_shape){ "t",
                               role,
                               { out, out_scales ? out_base : 0 },
                               { in, in_scales ? in_base : 0 } };
}

static void every_factor_is_exactly_one_at_base(void **state)
{
    static const int64_t sizes[] = { 1, 3, 7, 96, 100, 127, 6144, 1000003 };

    (void)state;
    for (int i = 0; i < 2 * 2 * 5 * 8; i++) {
        struct mup_rules rules = { i % 2, i / 2 % 2, MUP_DECAY_INDEPENDENT };
        int role = i / 4 % 5;
        int64_t n = sizes[i / 20], k = sizes[(i / 20 + 3) % 8];
        struct mup_scale s = scale_of(&rules, shape_of(role, n, n, k, k));
        int decays = role != MUP_VECTOR && role != MUP_FIXED;

        assert_bits(s.init_std, 1);
        assert_bits(s.forward, 1);
        assert_bits(s.lr, 1);
        assert_bits(s.eps, 1);
        assert_bits(s.weight_decay, decays);
    }
}

static void powers_of_two_and_even_growth_are_exact(void **state)
{
    (void)state;
    for (int j = 0; j <= 40; j++) {
        int64_t n = (int64_t)64 << j;
        struct mup_shape h = shape_of(MUP_HIDDEN, n, 64, n, 64);
        struct mup_shape o = shape_of(MUP_OUTPUT, 8, 0, n, 64);
        double m = ldexp(1, j);

        assert_bits(scale_of(&adamw, h).lr, 1 / m);
        assert_bits(scale_of(&adamw, h).weight_decay, m);
        assert_bits(scale_of(&adamw, h).init_std, 1 / sqrt(m));
        assert_bits(scale_of(&adamw, o).forward, 1 / m);
        assert_bits(scale_of(&sgd, o).lr, m);
    }
    /* m_out / m_in is 1 whatever m is */
    for (int64_t n = 1; n < 2000; n++) {
        struct mup_shape h = shape_of(MUP_HIDDEN, 3 * n, 3 * 49, n, 49);

        assert_bits(scale_of(&sgd, h).lr, 1);
        assert_bits(scale_of(&sgd, h).weight_decay, 1);
    }
}

static void
standard_parametrization_scales_only_the_initialisation(void **state)
{
    (void)state;
    for (int optimizer = MUP_ADAMW; optimizer <= MUP_SGD; optimizer++) {
        for (int role = MUP_INPUT; role <= MUP_FIXED; role++) {
            struct mup_rules rules = { MUP_SP, optimizer,
                                       MUP_DECAY_INDEPENDENT };
            struct mup_scale s =
                scale_of(&rules, shape_of(role, 96, 32, 160, 32));
            int matrix = role == MUP_HIDDEN || role == MUP_OUTPUT;

            assert_bits(s.init_std, matrix ? 1 / sqrt(5.0) : 1);
            assert_bits(s.forward, 1);
            assert_bits(s.lr, 1);
            assert_bits(s.eps, 1);
            assert_bits(s.weight_decay, role <= MUP_OUTPUT);
        }
    }
}

static void independent_decay_does_not_depend_on_width(void **state)
{
    (void)state;
    for (int64_t n = 32; n < 4096; n += 37) {
        for (int role = MUP_INPUT; role <= MUP_OUTPUT; role++) {
            struct mup_scale a =
                scale_of(&adamw, shape_of(role, 3 * n, 96, n, 32));
            struct mup_scale s =
                scale_of(&sgd, shape_of(role, 3 * n, 96, n, 32));

            /* two roundings of a quotient: 2 x 2^-53 */
            assert_close(a.lr * a.weight_decay, 1, 2.3e-16);
            assert_close(s.lr * s.weight_decay, 1, 2.3e-16);
        }
    }
}

static void coupled_and_no_decay_are_what_they_say(void **state)
{
    struct mup_rules coupled = { MUP_MUP, MUP_ADAMW, MUP_DECAY_COUPLED };
    struct mup_rules none = { MUP_MUP, MUP_ADAMW, MUP_DECAY_NONE };

    (void)state;
    for (int role = MUP_INPUT; role <= MUP_FIXED; role++) {
        struct mup_shape shape = shape_of(role, 256, 32, 256, 32);

        assert_bits(scale_of(&coupled, shape).weight_decay, role <= MUP_OUTPUT);
        assert_bits(scale_of(&none, shape).weight_decay, 0);
    }
}

static void a_fixed_number_of_kv_heads_is_still_hidden(void **state)
{
    struct mup_shape wk = { "wk", MUP_HIDDEN, { 64, 64 }, { 1024, 128 } };

    (void)state;
    assert_bits(scale_of(&adamw, wk).lr, 0.125);
    assert_bits(scale_of(&sgd, wk).lr, 0.125);
}

static void attention_scale_matches_the_published_numbers(void **state)
{
    struct mup_rules sp = { MUP_SP, MUP_ADAMW, MUP_DECAY_INDEPENDENT };

    (void)state;
    assert_bits(mup_attention_scale(&adamw, 1, 64, 64), 0.125);
    assert_bits(mup_attention_scale(&adamw, 1, 128, 64), 0.0625);
    assert_bits(mup_attention_scale(&adamw, 2, 128, 64), 0.125);
    /* 1/sqrt(128), to the digits of Grok-1's constant */
    assert_close(mup_attention_scale(&sp, 1, 128, 64), 0.0883883476, 1e-10);
    for (int64_t k = 1; k < 300; k++)
        assert_bits(mup_attention_scale(&adamw, 0.7, k, k),
                    mup_attention_scale(&sp, 0.7, k, 64));
}

static void assert_refused(const struct mup_rules *rules,
                           struct mup_shape shape, const char *part)
{
    struct mup_scale scale = { .lr = -1 };
    struct mup_error err = { 0 };

    assert_int_equal(mup_scale(rules, &shape, &scale, &err), MUP_USAGE);
    assert_int_equal(err.status, MUP_USAGE);
    assert_bits(scale.lr, -1); /* out is untouched on failure */
    if (!strstr(err.text, part))
        fail_msg("'%s' does not say '%s'", err.text, part);
}

static void a_shape_that_contradicts_its_role_is_refused(void **state)
{
    /* clang-format off */
    static const struct {
        struct mup_shape shape;
        const char *part;
    } rows[] = {
        { { "a", MUP_INPUT, { 64, 0 }, { 8, 0 } }, "'a': the fan_out" },
        { { "b", MUP_INPUT, { 64, 64 }, { 8, 8 } }, "'b': the fan_in" },
        { { "c", MUP_HIDDEN, { 64, 64 }, { 8, 0 } }, "'c': the fan_in" },
        { { "d", MUP_HIDDEN, { 64, 0 }, { 8, 8 } }, "'d': the fan_out" },
        { { "e", MUP_OUTPUT, { 64, 64 }, { 8, 8 } }, "'e': the fan_out" },
        { { "f", MUP_OUTPUT, { 64, 0 }, { 8, 0 } }, "'f': the fan_in" },
        { { "g", MUP_VECTOR, { 64, 64 }, { 8, 8 } }, "'g': the fan_in" },
        { { "h", MUP_FIXED, { 64, 64 }, { 8, 0 } }, "'h': the fan_out" },
        { { "i", MUP_HIDDEN, { 64, 64 }, { 0, 8 } }, "'i': fan_in is 0" },
        { { "j", MUP_HIDDEN, { -1, 64 }, { 8, 8 } }, "'j': fan_out is -1" },
        { { "k", MUP_HIDDEN, { 64, -4 }, { 8, 8 } }, "'k': base fan_out is -4" },
        { { "l", 10, { 64, 64 }, { 8, 8 } }, "'l': unknown role 10" },
        { { NULL, -1, { 64, 64 }, { 8, 8 } }, "'?': unknown role -1" },
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_refused(&adamw, rows[i].shape, rows[i].part);
}

static void unknown_rules_are_refused(void **state)
{
    struct mup_shape shape = { "t", MUP_FIXED, { 1, 0 }, { 1, 0 } };
    struct mup_rules p = { 7, MUP_ADAMW, MUP_DECAY_NONE };
    struct mup_rules o = { MUP_MUP, -1, MUP_DECAY_NONE };
    struct mup_rules d = { MUP_MUP, MUP_SGD, 5 };

    (void)state;
    assert_refused(&p, shape, "unknown parametrization 7");
    assert_refused(&o, shape, "unknown optimizer -1");
    assert_refused(&d, shape, "unknown weight decay rule 5");
}

static void an_error_is_one_sentence_that_can_grow_in_front(void **state)
{
    struct mup_error err = { 0 };
    char text[2000];

    (void)state;
    assert_int_equal(mup_fail(NULL, MUP_SYSTEM, "lost"), MUP_SYSTEM);
    mup_error_prefix(NULL, "lost: ");
    assert_int_equal(mup_fail(&err, MUP_CORRUPT, "'%s' ends early", "x"),
                     MUP_CORRUPT);
    mup_error_prefix(&err, "%s:%d: ", "f.yaml", 3);
    assert_string_equal(err.text, "f.yaml:3: 'x' ends early");
    assert_int_equal(err.status, MUP_CORRUPT);
    /* its own text may be an argument */
    assert_int_equal(mup_fail(&err, MUP_USAGE, "(%s)", err.text), MUP_USAGE);
    assert_string_equal(err.text, "(f.yaml:3: 'x' ends early)");
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    mup_fail(&err, MUP_USAGE, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    mup_error_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void every_number_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(mup_role_name(MUP_INPUT), "input");
    assert_string_equal(mup_role_name(MUP_HIDDEN), "hidden");
    assert_string_equal(mup_role_name(MUP_OUTPUT), "output");
    assert_string_equal(mup_role_name(MUP_VECTOR), "vector");
    assert_string_equal(mup_role_name(MUP_FIXED), "fixed");
    assert_string_equal(mup_role_name(10), "unknown");
    assert_string_equal(mup_parametrization_name(MUP_SP), "sp");
    assert_string_equal(mup_parametrization_name(MUP_MUP), "mup");
    assert_string_equal(mup_parametrization_name(-1), "unknown");
    assert_string_equal(mup_parametrization_title("sp-perlayer"),
                        "SP per layer");
    assert_string_equal(mup_parametrization_title("umup"), "u-muP");
    assert_string_equal(mup_parametrization_title("ours, new"), "ours, new");
    assert_string_equal(mup_status_name(MUP_OK), "ok");
    assert_string_equal(mup_status_name(MUP_INCONCLUSIVE), "inconclusive");
    assert_string_equal(mup_status_name(9), "unknown");
}

/* The whole text of a file; freed by the caller. */
static char *text_of(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 65536);

    if (!f || !text)
        fail_msg("cannot read '%s' (tests run in the top folder)", path);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

static void the_readme_shows_the_example_that_is_compiled_here(void **state)
{
    char *readme = text_of("mup/README.md");
    char *example = text_of("tests/example_mup.c");
    char *block = strstr(readme, "```c\n"), *end;

    (void)state;
    assert_non_null(block);
    block += strlen("```c\n");
    end = strstr(block, "```");
    assert_non_null(end);
    *end = '\0';
    assert_string_equal(block, example);
    free(readme);
    free(example);
}

static void the_example_prints_what_the_readme_says(void **state)
{
    char *readme = text_of("mup/README.md");
    char line[256];
    FILE *capture = tmpfile();
    int saved, status, lines = 0;

    (void)state;
    assert_non_null(capture);
    fflush(stdout);
    saved = dup(STDOUT_FILENO);
    assert_true(saved >= 0);
    assert_true(dup2(fileno(capture), STDOUT_FILENO) >= 0);
    status = example_main();
    fflush(stdout);
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    assert_int_equal(status, 0);
    rewind(capture);
    for (; fgets(line, sizeof(line), capture); lines++) {
        if (!strstr(readme, line))
            fail_msg("mup/README.md lacks: %s", line);
    }
    assert_int_equal(lines, 3);
    fclose(capture);
    free(readme);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_match_the_numbers_of_microsoft_mup),
        cmocka_unit_test(only_hidden_matrices_start_smaller_under_mup),
        cmocka_unit_test(only_outputs_carry_a_forward_multiplier),
        cmocka_unit_test(adam_epsilon_falls_with_the_gradient),
        cmocka_unit_test(every_factor_is_exactly_one_at_base),
        cmocka_unit_test(powers_of_two_and_even_growth_are_exact),
        cmocka_unit_test(
            standard_parametrization_scales_only_the_initialisation),
        cmocka_unit_test(independent_decay_does_not_depend_on_width),
        cmocka_unit_test(coupled_and_no_decay_are_what_they_say),
        cmocka_unit_test(a_fixed_number_of_kv_heads_is_still_hidden),
        cmocka_unit_test(attention_scale_matches_the_published_numbers),
        cmocka_unit_test(a_shape_that_contradicts_its_role_is_refused),
        cmocka_unit_test(unknown_rules_are_refused),
        cmocka_unit_test(an_error_is_one_sentence_that_can_grow_in_front),
        cmocka_unit_test(every_number_has_a_name),
        cmocka_unit_test(the_readme_shows_the_example_that_is_compiled_here),
        cmocka_unit_test(the_example_prints_what_the_readme_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
