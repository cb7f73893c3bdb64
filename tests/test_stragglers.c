/* Which ranks are slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/stragglers.h"

/* As many judgements as it takes; the ranks that are slow then, "0010". */
static void judge(struct straggler_mark *mark, const double *median_s, int n,
                  const char *want)
{
    double scratch[8];
    char got[9] = "";

    for (int k = 0; k < STRAGGLER_STREAK; k++)
        straggler_judge(median_s, n, scratch, mark);
    for (int i = 0; i < n; i++)
        got[i] = mark[i].is_slow ? '1' : '0';
    assert_string_equal(got, want);
}

static void a_rank_above_the_others_is_a_straggler(void **state)
{
    struct straggler_mark mark[4] = { 0 };

    (void)state;
    judge(mark, (double[]){ 1, 1.1, 1.7, 0.9 }, 4, "0010");
    /* not gone before it is clearly gone */
    judge(mark, (double[]){ 1, 1.1, 1.3, 0.9 }, 4, "0010");
    judge(mark, (double[]){ 1, 1.1, 1.2, 0.9 }, 4, "0000");
}

static void one_of_two_is_found(void **state)
{
    struct straggler_mark mark[2] = { 0 };

    (void)state;
    judge(mark, (double[]){ 2, 1 }, 2, "10");
}

static void uniform_slowness_names_none(void **state)
{
    struct straggler_mark mark[3] = { 0 };

    (void)state;
    judge(mark, (double[]){ 9, 9.1, 9 }, 3, "000");
    judge(mark, (double[]){ 5 }, 1, "0");
    /* nor does anything before all have enough steps */
    judge(mark, (double[]){ 9, -1, 1 }, 3, "000");
    /* nor what a time slice explains */
    judge(mark, (double[]){ 0.009, 0.001, 0.001 }, 3, "000");
}

static void a_passing_slowness_is_none(void **state)
{
    struct straggler_mark mark[2] = { 0 };
    double scratch[2];

    (void)state;
    for (int i = 0; i < 100; i++) {
        double slow = i % STRAGGLER_STREAK ? 2 : 1;

        straggler_judge((double[]){ slow, 1 }, 2, scratch, mark);
        assert_false(mark[0].is_slow);
    }
    assert_true(STRAGGLER_STEPS + STRAGGLER_STREAK < 20);
}

static void it_takes_more_than_one_slow_step(void **state)
{
    struct straggler_times t = { 0 };

    (void)state;
    for (int i = 0; i < STRAGGLER_STEPS - 1; i++)
        straggler_add(&t, 1);
    assert_float_equal(straggler_median(&t), -1, 0);
    straggler_add(&t, 50);
    assert_float_equal(straggler_median(&t), 1, 0);
    for (int i = 0; i < 1000; i++)
        straggler_add(&t, 2);
    assert_float_equal(straggler_median(&t), 2, 0);
    assert_true(t.n >= STRAGGLER_STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_above_the_others_is_a_straggler),
        cmocka_unit_test(one_of_two_is_found),
        cmocka_unit_test(uniform_slowness_names_none),
        cmocka_unit_test(a_passing_slowness_is_none),
        cmocka_unit_test(it_takes_more_than_one_slow_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
