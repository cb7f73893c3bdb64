/* Coordinate-check statistics: slopes, intervals, verdicts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mup/coord.h"
#include "tests/close.h"

#define N_WIDTHS 4

static const double widths[N_WIDTHS] = { 32, 64, 128, 256 };

/* Unknown parametrization: logits may start falling or flat. */
static struct mup_coord_setup setup_of(int n_seeds, int grow)
{
    return (struct mup_coord_setup){ .size = widths,
                                     .n_sizes = N_WIDTHS,
                                     .n_seeds = n_seeds,
                                     .grow = grow,
                                     .parametrization = MUP_COORD_UNKNOWN };
}

static void judge(struct mup_coord_row *row, const double *value, int n_seeds,
                  int head_size_grows)
{
    const struct mup_coord_setup setup = setup_of(
        n_seeds, head_size_grows ? MUP_GROW_HEAD_SIZE : MUP_GROW_WIDTH);
    struct mup_error err = { 0 };

    if (mup_coord_judge(row, &setup, value, &err) != MUP_OK)
        fail_msg("%s", err.text);
}

/* The verdict on value = 3 * size^slope. */
static struct mup_coord_row power_law_in(const struct mup_coord_setup *setup,
                                         const char *name, int quantity,
                                         int step, double slope)
{
    struct mup_coord_row row = { .name = name,
                                 .quantity = quantity,
                                 .step = step,
                                 .in_block = !strncmp(name, "blocks.", 7) };
    struct mup_error err = { 0 };
    double value[N_WIDTHS];

    for (int w = 0; w < N_WIDTHS; w++)
        value[w] = 3 * pow(widths[w], slope);
    if (mup_coord_judge(&row, setup, value, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return row;
}

static struct mup_coord_row power_law(int quantity, int step, double slope,
                                      int head_size_grows)
{
    const struct mup_coord_setup setup =
        setup_of(1, head_size_grows ? MUP_GROW_HEAD_SIZE : MUP_GROW_WIDTH);

    return power_law_in(&setup, "x", quantity, step, slope);
}

static void a_power_law_gives_its_exponent(void **state)
{
    (void)state;
    for (double slope = -2; slope <= 2; slope += 0.25) {
        struct mup_coord_row row = power_law(MUP_ACTIVATION, 3, slope, 0);

        /* a few roundings of numbers near 10 */
        assert_close(row.slope, slope, 1e-13);
        /* the roots of what rounding leaves beside the line */
        assert_close(row.slope_lo, row.slope, 1e-6);
        assert_close(row.slope_hi, row.slope, 1e-6);
    }
}

static void uneven_widths_are_weighted_by_least_squares(void **state)
{
    struct mup_coord_row row = { .name = "x", .step = 2 };
    static const double width[] = { 1, 2, 16 }, value[] = { 1, 4, 2 };
    const struct mup_coord_setup setup = { .size = width,
                                           .n_sizes = 3,
                                           .n_seeds = 1 };
    struct mup_error err = { 0 };

    (void)state;
    /* x = 0 1 4, y = 0 2 1: sxy = 1, sxx = 26/3 */
    assert_int_equal(mup_coord_judge(&row, &setup, value, &err), MUP_OK);
    assert_close(row.slope, 3.0 / 26, 1e-15);
}

static void the_interval_is_students_over_seeds(void **state)
{
    struct mup_coord_row row = { .name = "x", .step = 2 };
    static const double slopes[] = { 0.1, 0.2, 0.6 };
    double value[3 * N_WIDTHS], half;

    (void)state;
    for (int i = 0; i < 3 * N_WIDTHS; i++)
        value[i] = pow(widths[i % N_WIDTHS], slopes[i / N_WIDTHS]);
    judge(&row, value, 3, 0);
    /* mean 0.3; squares 0.14 between seeds and none beside the lines, on
     * 2 + 3 (n - 2) degrees of freedom */
    half = mup_student_t(0.95, 3 * N_WIDTHS - 4) *
           sqrt(0.14 / (3 * N_WIDTHS - 4) / 3);
    assert_close(row.slope, 0.3, 1e-14);
    assert_close(row.slope_lo, 0.3 - half, 1e-7);
    assert_close(row.slope_hi, 0.3 + half, 1e-7);
}

static void student_quantiles_match_the_printed_tables(void **state)
{
    static const struct {
        double confidence;
        int df;
        double t;
    } rows[] = {
        { 0.95, 1, 12.706205 }, { 0.95, 2, 4.302653 },   { 0.95, 3, 3.182446 },
        { 0.95, 4, 2.776445 },  { 0.95, 5, 2.570582 },   { 0.95, 10, 2.228139 },
        { 0.95, 29, 2.045230 }, { 0.95, 120, 1.979930 }, { 0.90, 2, 2.919986 },
        { 0.99, 7, 3.499483 },  { 0.999, 3, 12.923979 }, { 0.50, 1, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_close(mup_student_t(rows[i].confidence, rows[i].df), rows[i].t,
                     6e-7); /* tables have 6 decimals */
    assert_true(isnan(mup_student_t(1, 3)));
    assert_true(isnan(mup_student_t(0, 3)));
    assert_true(isnan(mup_student_t(0.95, 0)));
}

/* A fixed stream of nearly normal numbers: the sum of 12 uniform ones. */
static double normal(uint64_t *x)
{
    double sum = -6;

    for (int i = 0; i < 12; i++) {
        *x = *x * 6364136223846793005u + 1442695040888963407u;
        sum += ldexp((double)(*x >> 11), -53);
    }
    return sum;
}

static void the_interval_covers_the_truth_95_times_in_100(void **state)
{
    int covered = 0, n = 4000;
    uint64_t x = 1;

    (void)state;
    for (int i = 0; i < n; i++) {
        struct mup_coord_row row = { .name = "x", .step = 2 };
        double value[3 * N_WIDTHS];

        for (int k = 0; k < 3 * N_WIDTHS; k++)
            value[k] = exp(0.3 * normal(&x)) * sqrt(widths[k % N_WIDTHS]);
        judge(&row, value, 3, 0);
        covered += row.slope_lo <= 0.5 && 0.5 <= row.slope_hi;
    }
    /* binomial: sd is sqrt(.95 * .05 / 4000) = 0.0034; four of them */
    assert_close((double)covered / n, 0.95, 0.014);
}

static void after_the_first_update_the_slope_alone_decides(void **state)
{
    static const int flat[] = { MUP_ACTIVATION,       MUP_STREAM,
                                MUP_ATTENTION_LOGITS, MUP_UPDATE,
                                MUP_PROPAGATED,       MUP_CHANGE,
                                MUP_GRADIENT,         MUP_STATISTIC };
    static const struct {
        double slope;
        int verdict;
    } rows[] = {
        { 0, MUP_VERDICT_OK },
        { 0.099, MUP_VERDICT_OK },
        { -0.099, MUP_VERDICT_OK },
        { 0.101, MUP_VERDICT_INCONCLUSIVE },
        { -0.101, MUP_VERDICT_INCONCLUSIVE },
        { 0.249, MUP_VERDICT_INCONCLUSIVE },
        { -0.249, MUP_VERDICT_INCONCLUSIVE },
        { 0.251, MUP_VERDICT_FAIL },
        { -0.251, MUP_VERDICT_FAIL },
        { 1, MUP_VERDICT_FAIL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int q = 0; q < 8; q++) {
            for (int step = 2; step < 5; step++) {
                struct mup_coord_row r =
                    power_law(flat[q], step, rows[i].slope, 0);

                assert_int_equal(r.verdict, rows[i].verdict);
                assert_close(r.expected, 0, 0);
                assert_int_equal(r.cause[0] != '\0',
                                 r.verdict == MUP_VERDICT_FAIL);
            }
        }
    }
}

static void logits_may_fall_as_theory_says(void **state)
{
    static const int falling[] = { MUP_ROUTER_LOGITS,    MUP_OUTPUT_LOGITS,
                                   MUP_ATTENTION_LOGITS, MUP_GATED,
                                   MUP_DOT_GRADIENT,     MUP_GATE_SPREAD };

    (void)state;
    for (int i = 0; i < 6; i++) {
        int q = falling[i];

        assert_close(power_law(q, 1, 0, 1).expected, -0.5, 0);
        /* the start still shows after an update, growth never may */
        assert_int_equal(power_law(q, 3, -0.4, 1).verdict,
                         MUP_VERDICT_EXPECTED);
        assert_int_equal(power_law(q, 3, -1, 1).verdict, MUP_VERDICT_FAIL);
        assert_int_equal(power_law(q, 3, 0.5, 1).verdict, MUP_VERDICT_FAIL);
        assert_int_equal(power_law(q, 1, -0.5, 1).verdict,
                         MUP_VERDICT_EXPECTED);
        assert_int_equal(power_law(q, 1, -0.3, 1).verdict,
                         MUP_VERDICT_EXPECTED);
        /* flat, as under the standard parametrization */
        assert_int_equal(power_law(q, 1, 0, 1).verdict, MUP_VERDICT_OK);
        /* a multiplier 1/m applied twice, or not at all */
        assert_int_equal(power_law(q, 1, -1, 1).verdict, MUP_VERDICT_FAIL);
        assert_int_equal(power_law(q, 1, 0.5, 1).verdict, MUP_VERDICT_FAIL);
    }
    /* a fixed head size gives attention logits no reason to fall */
    assert_int_equal(power_law(MUP_ATTENTION_LOGITS, 1, -0.5, 0).verdict,
                     MUP_VERDICT_FAIL);
    assert_int_equal(power_law(MUP_ACTIVATION, 1, -0.5, 1).verdict,
                     MUP_VERDICT_FAIL);
    assert_int_equal(power_law(MUP_STATISTIC, 1, 0.02, 1).verdict,
                     MUP_VERDICT_OK);
}

/* A router that starts as a hidden matrix is flat where muP's must fall. */
static void the_parametrization_decides_how_logits_start(void **state)
{
    static const struct {
        int parametrization;
        double slope;
        int verdict;
    } rows[] = {
        { MUP_MUP, -0.5, MUP_VERDICT_EXPECTED },
        { MUP_MUP, -0.3, MUP_VERDICT_EXPECTED },
        { MUP_MUP, 0, MUP_VERDICT_FAIL },
        { MUP_MUP, -1, MUP_VERDICT_FAIL },
        { MUP_UMUP, 0, MUP_VERDICT_FAIL },
        { MUP_SP, 0, MUP_VERDICT_OK },
        { MUP_SP, -0.5, MUP_VERDICT_FAIL },
        { MUP_SP_PERLAYER, 0, MUP_VERDICT_OK },
        { MUP_COORD_UNKNOWN, 0, MUP_VERDICT_OK },
        { MUP_COORD_UNKNOWN, -0.5, MUP_VERDICT_EXPECTED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_coord_setup setup = setup_of(1, MUP_GROW_WIDTH);

        setup.parametrization = rows[i].parametrization;
        assert_int_equal(
            power_law_in(&setup, "logits", MUP_OUTPUT_LOGITS, 1, rows[i].slope)
                .verdict,
            rows[i].verdict);
    }
}

static void other_parametrizations_have_other_exceptions(void **state)
{
    struct mup_coord_setup setup = setup_of(1, MUP_GROW_WIDTH);

    (void)state;
    setup.parametrization = MUP_UMUP;
    assert_int_equal(
        power_law_in(&setup, "wte", MUP_INPUT_UPDATE, 2, -0.5).verdict,
        MUP_VERDICT_EXPECTED);
    assert_int_equal(
        power_law_in(&setup, "wte", MUP_INPUT_UPDATE, 2, 0).verdict,
        MUP_VERDICT_FAIL);
    assert_int_equal(
        power_law_in(&setup, "unembed.update", MUP_UPDATE, 2, -0.5).verdict,
        MUP_VERDICT_FAIL);
    setup.parametrization = MUP_SP_PERLAYER;
    assert_int_equal(power_law_in(&setup, "unembed.propagated",
                                  MUP_PROPAGATED_LOGITS, 3, 0.5)
                         .verdict,
                     MUP_VERDICT_EXPECTED);
    assert_int_equal(
        power_law_in(&setup, "logits", MUP_OUTPUT_LOGITS, 3, 1).verdict,
        MUP_VERDICT_FAIL);
}

static void the_depth_rule_decides_what_depth_may_do(void **state)
{
    static const struct {
        int depth;
        const char *name;
        int quantity;
        double slope;
        int verdict;
    } rows[] = {
        { MUP_DEPTH_NONE, "blocks.last.moe.residual", MUP_STREAM, 0.5,
          MUP_VERDICT_FAIL },
        { MUP_COMPLETEP, "blocks.last.moe.residual", MUP_STREAM, 0.5,
          MUP_VERDICT_FAIL },
        { MUP_COMPLETEP, "blocks.last.moe.residual", MUP_STREAM, -0.3,
          MUP_VERDICT_EXPECTED },
        { MUP_DEPTH_MUP, "blocks.last.moe.residual", MUP_STREAM, -0.3,
          MUP_VERDICT_FAIL },
        { MUP_COMPLETEP, "blocks.last.attn.q.gradient", MUP_GRADIENT, 0.3,
          MUP_VERDICT_EXPECTED },
        { MUP_COMPLETEP, "blocks.first.attn.q.update", MUP_UPDATE, -0.5,
          MUP_VERDICT_FAIL },
        { MUP_DEPTH_MUP, "blocks.first.attn.q.update", MUP_UPDATE, -0.5,
          MUP_VERDICT_EXPECTED },
        { MUP_DEPTH_MUP, "blocks.first.attn.q.update", MUP_UPDATE, 0,
          MUP_VERDICT_FAIL },
        { MUP_DEPTH_MUP, "unembed.update", MUP_UPDATE, -0.5, MUP_VERDICT_FAIL },
        { MUP_COMPLETEP, "logits", MUP_OUTPUT_LOGITS, -0.5, MUP_VERDICT_FAIL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_coord_setup setup = setup_of(1, MUP_GROW_DEPTH);

        setup.parametrization = MUP_MUP;
        setup.depth = rows[i].depth;
        assert_int_equal(power_law_in(&setup, rows[i].name, rows[i].quantity, 2,
                                      rows[i].slope)
                             .verdict,
                         rows[i].verdict);
    }
}

static void a_failure_names_the_likely_cause(void **state)
{
    (void)state;
    assert_non_null(strstr(power_law(MUP_ACTIVATION, 3, 1, 0).cause,
                           "learning rate of a hidden matrix"));
    assert_non_null(strstr(power_law(MUP_ACTIVATION, 1, 0.5, 0).cause,
                           "initialisation grows"));
    assert_non_null(strstr(power_law(MUP_OUTPUT_LOGITS, 3, 1, 0).cause,
                           "lacks its forward multiplier"));
    assert_non_null(
        strstr(power_law(MUP_ROUTER_LOGITS, 1, -1, 0).cause, "applied twice"));
    assert_non_null(
        strstr(power_law(MUP_STATISTIC, 2, 1, 0).cause, "router logits"));
    assert_non_null(strstr(power_law(MUP_GRADIENT, 1, -1, 0).cause, "epsilon"));
    assert_non_null(strstr(power_law(MUP_PROPAGATED, 2, 1, 0).cause, "before"));
    assert_non_null(strstr(power_law(MUP_STREAM, 1, 1, 0).cause, "branches"));
}

static struct mup_coord_row with_one_bad(double bad, int quantity, int step)
{
    struct mup_coord_row row = { .name = "x",
                                 .quantity = quantity,
                                 .step = step };
    double value[2 * N_WIDTHS] = { 1, 1, 1, 1, 1, 1, 1, 1 };

    value[5] = bad;
    judge(&row, value, 2, 0);
    return row;
}

static void a_value_that_died_or_exploded_fails(void **state)
{
    static const double bad[] = { 0, -1, (double)NAN, (double)INFINITY };

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct mup_coord_row row = with_one_bad(bad[i], MUP_ACTIVATION, 4);

        assert_int_equal(row.verdict, MUP_VERDICT_FAIL);
        assert_true(isnan(row.slope));
        assert_non_null(strstr(row.cause, bad[i] == 0 ? "is 0" : "not finite"));
    }
    /* some zeros are no zero initialisation */
    assert_int_equal(with_one_bad(0, MUP_OUTPUT_LOGITS, 1).verdict,
                     MUP_VERDICT_FAIL);
}

static void
zero_readouts_explain_zero_logits_and_a_late_first_update(void **state)
{
    static const double zero[N_WIDTHS] = { 0 };
    static const struct {
        int quantity, step, verdict;
    } rows[] = {
        { MUP_OUTPUT_LOGITS, 1, MUP_VERDICT_EXPECTED },
        { MUP_OUTPUT_LOGITS, 2, MUP_VERDICT_FAIL },
        { MUP_ATTENTION_LOGITS, 1, MUP_VERDICT_EXPECTED },
        { MUP_UPDATE, 2, MUP_VERDICT_EXPECTED },
        { MUP_UPDATE, 3, MUP_VERDICT_FAIL },
        { MUP_PROPAGATED, 2, MUP_VERDICT_EXPECTED },
        { MUP_PROPAGATED, 3, MUP_VERDICT_FAIL },
        { MUP_CHANGE, 2, MUP_VERDICT_EXPECTED },
        { MUP_GRADIENT, 1, MUP_VERDICT_EXPECTED },
        { MUP_GRADIENT, 2, MUP_VERDICT_FAIL },
        { MUP_ACTIVATION, 1, MUP_VERDICT_FAIL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_coord_row row = { .name = "x",
                                     .quantity = rows[i].quantity,
                                     .step = rows[i].step };

        judge(&row, zero, 1, 0);
        assert_int_equal(row.verdict, rows[i].verdict);
    }
}

static void equal_gates_are_a_tie_and_no_zero_initialisation(void **state)
{
    static const double zero[N_WIDTHS] = { 0 };
    static const int quantity[] = { MUP_GATE_SPREAD, MUP_ROUTER_LOGITS };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct mup_coord_row row = { .name = "router",
                                     .quantity = quantity[i],
                                     .step = 1 };

        judge(&row, zero, 1, 0);
        assert_int_equal(row.verdict, MUP_VERDICT_FAIL);
        assert_non_null(strstr(row.cause, "all gates are equal"));
    }
}

/* Seeds whose slopes are 0.4 on average but scatter from -0.6 to 1.4. */
static void a_scattered_slope_is_no_failure(void **state)
{
    static const double slope[] = { -0.6, 0.4, 1.4 };
    struct mup_coord_row row = { .name = "x",
                                 .quantity = MUP_ACTIVATION,
                                 .step = 3 };
    double value[3 * N_WIDTHS];

    (void)state;
    for (int s = 0; s < 3; s++)
        for (int w = 0; w < N_WIDTHS; w++)
            value[s * N_WIDTHS + w] = pow(2, slope[s] * w);
    judge(&row, value, 3, 0);
    assert_close(row.slope, 0.4, 1e-12);
    assert_int_equal(row.verdict, MUP_VERDICT_INCONCLUSIVE);
}

static void scatter_beside_the_line_widens_the_interval(void **state)
{
    struct mup_coord_row row = { .name = "x", .step = 2 };
    static const double width[] = { 1, 2, 4 }, value[] = { 1, 4, 4 };
    const struct mup_coord_setup setup = { .size = width,
                                           .n_sizes = 3,
                                           .n_seeds = 1 };

    (void)state;
    /* y = 0 2 2: slope 1, 2/3 of squares beside it, sxx = 2, df = 1 */
    assert_int_equal(mup_coord_judge(&row, &setup, value, NULL), MUP_OK);
    assert_close(row.slope, 1, 1e-14);
    assert_close(row.variance, 1.0 / 3, 1e-14);
    assert_close(row.slope_hi, 1 + mup_student_t(0.95, 1) * sqrt(1.0 / 3),
                 1e-12);
    assert_int_equal(row.verdict, MUP_VERDICT_INCONCLUSIVE);
}

static void two_sizes_and_one_seed_show_no_scatter_and_get_some(void **state)
{
    struct mup_coord_row row = { .name = "x", .step = 2 };
    static const double width[] = { 1, 2 }, half[] = { 1, 1.5 },
                        twice[] = { 1, 2 };
    const struct mup_coord_setup setup = { .size = width,
                                           .n_sizes = 2,
                                           .n_seeds = 1 };

    (void)state;
    assert_int_equal(mup_coord_judge(&row, &setup, half, NULL), MUP_OK);
    assert_int_equal(row.df, 0);
    assert_int_equal(row.verdict, MUP_VERDICT_INCONCLUSIVE);
    assert_int_equal(mup_coord_judge(&row, &setup, twice, NULL), MUP_OK);
    assert_int_equal(row.verdict, MUP_VERDICT_FAIL);
}

/* Three seeds that agree by chance do not make a row sure of itself. */
static void rows_of_one_kind_share_their_scatter(void **state)
{
    static const double width[] = { 1, 2 };
    static const double calm[] = { 1, 1.3, 1, 1.3 };
    static const double wild[] = { 1, 0.7, 1, 1.5 };
    const struct mup_coord_setup setup = { .size = width,
                                           .n_sizes = 2,
                                           .n_seeds = 2 };
    struct mup_coord_row rows[] = { { .name = "a", .step = 2 },
                                    { .name = "b", .step = 3 } };
    struct mup_coord_noise noise[2];

    (void)state;
    mup_coord_judge(&rows[0], &setup, calm, NULL);
    mup_coord_judge(&rows[1], &setup, wild, NULL);
    assert_int_equal(rows[0].verdict, MUP_VERDICT_FAIL);
    rows[1].kind = 1;
    mup_coord_pool(rows, 2, &setup, noise, 2);
    assert_int_equal(rows[0].verdict, MUP_VERDICT_FAIL);
    rows[1].kind = 0;
    mup_coord_pool(rows, 2, &setup, noise, 2);
    assert_int_equal(noise[0].df, 2);
    assert_int_equal(rows[0].verdict, MUP_VERDICT_INCONCLUSIVE);
}

static void a_check_before_the_first_update_decides_nothing(void **state)
{
    struct mup_coord_row row = power_law(MUP_ACTIVATION, 1, 0, 0);

    (void)state;
    assert_int_equal(mup_coord_overall(&row, 1, NULL),
                     MUP_VERDICT_INCONCLUSIVE);
}

static void overall_is_the_worst_row_and_names_it(void **state)
{
    struct mup_coord_row rows[] = {
        power_law(MUP_ACTIVATION, 2, 0, 0),
        power_law(MUP_OUTPUT_LOGITS, 1, -0.5, 0),
        power_law(MUP_ACTIVATION, 2, 0.15, 0),
        power_law(MUP_ACTIVATION, 2, -0.2, 0),
        power_law(MUP_ACTIVATION, 2, 0.4, 0),
        power_law(MUP_ACTIVATION, 3, 0.9, 0),
        with_one_bad((double)NAN, MUP_ACTIVATION, 4),
    };
    int worst = 7;

    (void)state;
    assert_int_equal(mup_coord_overall(rows, 2, &worst), MUP_VERDICT_OK);
    assert_int_equal(worst, -1);
    /* one of three is open: still a pass, and the row is named */
    assert_int_equal(mup_coord_overall(rows, 3, &worst), MUP_VERDICT_OK);
    assert_int_equal(worst, 2);
    assert_int_equal(mup_coord_overall(rows, 4, &worst),
                     MUP_VERDICT_INCONCLUSIVE);
    assert_int_equal(worst, 3);
    assert_int_equal(mup_coord_overall(rows, 6, &worst), MUP_VERDICT_FAIL);
    assert_int_equal(worst, 5);
    assert_int_equal(mup_coord_overall(rows, 7, &worst), MUP_VERDICT_FAIL);
    assert_int_equal(worst, 6);
    /* nothing measured is nothing shown */
    assert_int_equal(mup_coord_overall(rows, 0, NULL),
                     MUP_VERDICT_INCONCLUSIVE);
}

static void too_little_to_fit_is_a_usage_error(void **state)
{
    static const double same[] = { 64, 64 }, bad[] = { 64, 0 };
    static const double value[] = { 1, 1, 1, 1 };
    struct mup_coord_row row = { .name = "x", .step = 2, .slope = -7 };
    struct mup_coord_row update = { .name = "w",
                                    .quantity = MUP_UPDATE,
                                    .step = 1 };
    struct mup_coord_row odd = { .name = "y", .quantity = 99, .step = 1 };
    struct mup_coord_setup one = setup_of(1, MUP_GROW_WIDTH), none = one;
    struct mup_coord_setup two = one, twice = one, zero = one;
    struct mup_error err = { 0 };

    (void)state;
    one.n_sizes = 1;
    two.n_sizes = twice.n_sizes = zero.n_sizes = 2;
    none.n_seeds = 0;
    twice.size = same;
    zero.size = bad;
    assert_int_equal(mup_coord_judge(&row, &one, value, &err), MUP_USAGE);
    assert_int_equal(mup_coord_judge(&row, &none, value, &err), MUP_USAGE);
    assert_int_equal(mup_coord_judge(&row, &twice, value, &err), MUP_USAGE);
    assert_int_equal(mup_coord_judge(&row, &zero, value, &err), MUP_USAGE);
    assert_int_equal(mup_coord_judge(&update, &two, value, &err), MUP_USAGE);
    assert_string_equal(err.text, "'w' has no value at step 1");
    assert_int_equal(mup_coord_judge(&odd, &two, value, &err), MUP_USAGE);
    assert_close(row.slope, -7, 0); /* untouched */
}

static void verdicts_have_the_names_that_are_printed(void **state)
{
    (void)state;
    assert_string_equal(mup_verdict_name(MUP_VERDICT_OK), "ok");
    assert_string_equal(mup_verdict_name(MUP_VERDICT_EXPECTED), "expected");
    assert_string_equal(mup_verdict_name(MUP_VERDICT_FAIL), "FAIL");
    assert_string_equal(mup_verdict_name(MUP_VERDICT_INCONCLUSIVE),
                        "inconclusive");
    assert_string_equal(mup_verdict_name(4), "unknown");
    assert_string_equal(mup_coord_overall_name(MUP_VERDICT_OK), "PASS");
    assert_string_equal(mup_coord_overall_name(MUP_VERDICT_FAIL), "FAIL");
    assert_string_equal(mup_coord_overall_name(MUP_VERDICT_INCONCLUSIVE),
                        "INCONCLUSIVE");
    for (int q = 0; q < MUP_QUANTITY_COUNT; q++)
        assert_int_equal(mup_name_find(mup_quantity_name, MUP_QUANTITY_COUNT,
                                       mup_quantity_name(q)),
                         q);
    assert_string_equal(mup_quantity_name(-1), "unknown");
    assert_string_equal(mup_grow_name(MUP_GROW_HEAD_SIZE), "head_size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_law_gives_its_exponent),
        cmocka_unit_test(uneven_widths_are_weighted_by_least_squares),
        cmocka_unit_test(the_interval_is_students_over_seeds),
        cmocka_unit_test(student_quantiles_match_the_printed_tables),
        cmocka_unit_test(the_interval_covers_the_truth_95_times_in_100),
        cmocka_unit_test(after_the_first_update_the_slope_alone_decides),
        cmocka_unit_test(logits_may_fall_as_theory_says),
        cmocka_unit_test(the_parametrization_decides_how_logits_start),
        cmocka_unit_test(other_parametrizations_have_other_exceptions),
        cmocka_unit_test(the_depth_rule_decides_what_depth_may_do),
        cmocka_unit_test(a_failure_names_the_likely_cause),
        cmocka_unit_test(equal_gates_are_a_tie_and_no_zero_initialisation),
        cmocka_unit_test(a_value_that_died_or_exploded_fails),
        cmocka_unit_test(
            zero_readouts_explain_zero_logits_and_a_late_first_update),
        cmocka_unit_test(a_scattered_slope_is_no_failure),
        cmocka_unit_test(scatter_beside_the_line_widens_the_interval),
        cmocka_unit_test(two_sizes_and_one_seed_show_no_scatter_and_get_some),
        cmocka_unit_test(rows_of_one_kind_share_their_scatter),
        cmocka_unit_test(a_check_before_the_first_update_decides_nothing),
        cmocka_unit_test(overall_is_the_worst_row_and_names_it),
        cmocka_unit_test(too_little_to_fit_is_a_usage_error),
        cmocka_unit_test(verdicts_have_the_names_that_are_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
