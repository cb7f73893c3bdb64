/* When checkpoints are due and which are kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/checkpoint_policy.h"

static int parse(const char *every, const char *keep,
                 struct checkpoint_policy *out, struct mup_error *err)
{
    struct checkpoint_config c = { .quota_gib = 2, .mtbf_hours = 24 };

    snprintf(c.every, sizeof(c.every), "%s", every);
    snprintf(c.keep, sizeof(c.keep), "%s", keep);
    return checkpoint_policy_parse(&c, out, err);
}

static void every_form_of_the_keys_is_read(void **state)
{
    static const struct {
        const char *every;
        int64_t steps;
        double seconds;
        int automatic;
    } rows[] = {
        { "0", 0, 0, 0 },
        { "200", 200, 0, 0 },
        { "200 steps", 200, 0, 0 },
        { "1 step", 1, 0, 0 },
        { "1_000", 1000, 0, 0 },
        { "10 min", 0, 600, 0 },
        { "0.5 minutes", 0, 30, 0 },
        { "auto", 0, 0, 1 },
    };
    struct checkpoint_policy p;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(parse(rows[i].every, "last 2", &p, NULL), MUP_OK);
        assert_int_equal(p.every_steps, rows[i].steps);
        assert_float_equal(p.every_s, rows[i].seconds, 0);
        assert_int_equal(p.automatic, rows[i].automatic);
    }
    assert_float_equal(p.quota_bytes, 2147483648.0, 0);
    assert_float_equal(p.mtbf_s, 86400, 0);
    assert_int_equal(parse("0", "last 3", &p, NULL), MUP_OK);
    assert_int_equal(p.keep_last, 3);
    assert_int_equal(p.keep_every, 0);
    assert_int_equal(parse("0", "last 1,every 500", &p, NULL), MUP_OK);
    assert_int_equal(p.keep_every, 500);
    assert_int_equal(parse("0", "last 3, every 1000", &p, NULL), MUP_OK);
    assert_int_equal(p.keep_every, 1000);
}

static void bad_texts_are_refused_with_their_key(void **state)
{
    static const char *const every[] = {
        "",      "-1",     "1.5",      "10 hours", "min",   "0 min", "-2 min",
        "auto ", "200min", "1e99 min", "steps",    "10  x", "2^",    "nan min",
    };
    static const char *const keep[] = {
        "",
        "last",
        "last 0",
        "last -1",
        "3",
        "last 2,",
        "last 2, every",
        "last 2, every 0",
        "every 10",
        "last x",
        "last 2, every 10, last 3",
        "last 1.5",
    };
    struct checkpoint_policy p = { .keep_last = 77 };
    struct mup_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(every) / sizeof(every[0]); i++) {
        assert_int_equal(parse(every[i], "last 2", &p, &err), MUP_USAGE);
        assert_memory_equal(err.text, "checkpoint.every: ", 18);
    }
    for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++) {
        assert_int_equal(parse("0", keep[i], &p, &err), MUP_USAGE);
        assert_memory_equal(err.text, "checkpoint.keep: ", 17);
    }
    assert_int_equal(p.keep_last, 77); /* untouched on failure */
}

static void a_bad_text_is_refused_when_the_config_is_read(void **state)
{
    char rate[] = "train.lr=0.1", keep[] = "checkpoint.keep=all";
    char *bad[] = { rate, keep };
    struct run_config config;
    struct mup_error err;

    (void)state;
    assert_int_equal(run_config_load(NULL, bad, 1, &config, &err), MUP_OK);
    assert_int_equal(run_config_load(NULL, bad, 2, &config, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "--checkpoint.keep=all"));
}

static int due(const char *every, int64_t step, double since_s, double cost_s)
{
    struct checkpoint_clock clock = { step, since_s, cost_s };
    struct checkpoint_policy p;

    assert_int_equal(parse(every, "last 2", &p, NULL), MUP_OK);
    return checkpoint_due(&p, &clock);
}

static void a_checkpoint_is_due_by_steps_or_by_time(void **state)
{
    (void)state;
    assert_false(due("0", 100, 1e9, 1));
    assert_true(due("50", 100, 0, 1));
    assert_false(due("50", 101, 1e9, 1));
    assert_false(due("10 min", 100, 599, 1));
    assert_true(due("10 min", 101, 600, 1));
    /* nothing measured yet: one after a minute, to measure */
    assert_false(due("auto", 100, 59, 0));
    assert_true(due("auto", 100, 60, 0));
    /* sqrt(2 * 10 * 86400) = 1314.5; the next terms add 3.4 and take 10 */
    assert_false(due("auto", 100, 1307, 10));
    assert_true(due("auto", 100, 1309, 10));
}

/* Fraction of time lost with checkpoints every t seconds, by Daly's own model
 * (2006, eq. 20) without restarts: failures are exponential. */
static double lost(double t, double cost, double mtbf)
{
    return mtbf * (exp((t + cost) / mtbf) - 1) / t - 1;
}

static void no_other_interval_loses_less_time(void **state)
{
    static const double mtbf = 3600;
    double worst = 1;

    (void)state;
    for (double cost = 0.01; cost < mtbf; cost *= 1.7) {
        double chosen = lost(checkpoint_interval_s(cost, mtbf), cost, mtbf);
        double best = INFINITY;

        for (double t = 0.1; t < 10 * mtbf; t *= 1.01)
            best = fmin(best, lost(t, cost, mtbf));
        worst = fmax(worst, (1 + chosen) / (1 + best));
    }
    /* Daly: within a percent of the optimum up to a cost of half the MTBF */
    assert_true(worst < 1.01);
    assert_float_equal(checkpoint_interval_s(3 * mtbf, mtbf), mtbf, 0);
    for (double cost = 0.01; cost < mtbf; cost *= 1.7)
        assert_true(checkpoint_interval_s(cost, mtbf) > 0);
}

static void the_newest_and_every_so_many_steps_are_kept(void **state)
{
    static const int64_t steps[] = { 1300, 1200, 1100, 1000, 900, 500, 100 };
    static const int last[] = { 1, 1, 0, 0, 0, 0, 0 };
    static const int both[] = { 1, 1, 0, 1, 0, 1, 0 };
    struct checkpoint_policy p;

    (void)state;
    assert_int_equal(parse("0", "last 2", &p, NULL), MUP_OK);
    for (int i = 0; i < 7; i++)
        assert_int_equal(checkpoint_keeps(&p, steps, 7, i), last[i]);
    assert_int_equal(parse("0", "last 2, every 500", &p, NULL), MUP_OK);
    for (int i = 0; i < 7; i++)
        assert_int_equal(checkpoint_keeps(&p, steps, 7, i), both[i]);
}

static void the_newest_that_is_trusted_is_kept_too(void **state)
{
    static const int64_t steps[] = { 1300, 1200, 1100, 1000, 900, 500, 100 };
    static const int kept[] = { 1, 1, 0, 0, 1, 0, 0 };
    struct checkpoint_policy p;

    (void)state;
    assert_int_equal(parse("0", "last 2", &p, NULL), MUP_OK);
    p.trusted = 999;
    for (int i = 0; i < 7; i++)
        assert_int_equal(checkpoint_keeps(&p, steps, 7, i), kept[i]);
    p.trusted = 99;
    for (int i = 0; i < 7; i++)
        assert_int_equal(checkpoint_keeps(&p, steps, 7, i), i < 2);
}

/* In which order a quota takes them. */
static void check_order(const struct checkpoint_policy *p, const int *order)
{
    int64_t steps[] = { 1300, 1200, 1100, 1000, 900, 500, 100 };
    int n = 7, i;

    while ((i = checkpoint_spares(p, steps, n)) >= 0) {
        assert_int_equal(steps[i], *order++);
        memmove(steps + i, steps + i + 1, (size_t)(--n - i) * sizeof(*steps));
    }
    assert_int_equal(*order, 0);
    assert_int_equal(n, 1);
}

static void a_quota_takes_what_is_needed_least(void **state)
{
    static const int none[] = { 100, 500, 900, 1000, 1100, 1200, 0 };
    static const int every[] = { 100, 900, 1100, 1200, 500, 1000, 0 };
    static const int trusted[] = { 100, 1100, 1200, 500, 1000, 1300, 0 };
    struct checkpoint_policy p;

    (void)state;
    assert_int_equal(parse("0", "last 2", &p, NULL), MUP_OK);
    check_order(&p, none);
    assert_int_equal(parse("0", "last 2, every 500", &p, NULL), MUP_OK);
    check_order(&p, every);
    p.trusted = 999;
    check_order(&p, trusted);
    p.trusted = 1300;
    check_order(&p, every);
    assert_int_equal(checkpoint_spares(&p, NULL, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_the_keys_is_read),
        cmocka_unit_test(bad_texts_are_refused_with_their_key),
        cmocka_unit_test(a_bad_text_is_refused_when_the_config_is_read),
        cmocka_unit_test(a_checkpoint_is_due_by_steps_or_by_time),
        cmocka_unit_test(no_other_interval_loses_less_time),
        cmocka_unit_test(the_newest_and_every_so_many_steps_are_kept),
        cmocka_unit_test(the_newest_that_is_trusted_is_kept_too),
        cmocka_unit_test(a_quota_takes_what_is_needed_least),
    };

    return cmocka_run_group_tests_name("checkpoint_policy", tests, NULL, NULL);
}
