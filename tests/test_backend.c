/* What holds for backends beyond parity: the choice by name, hand-computed
 * values of the reference, the laws of routing and dispatch, the flow of NaN,
 * the errors of exp and tanh. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "model/backend.h"
#include "model/cpu/lanes.h"
#include "model/cpu/vmath.h"
#include "tests/close.h"

static const char *const names[] = { "ref", "fast-v2", "fast-v3", "fast-v4" };

#define N_NAMES (sizeof(names) / sizeof(names[0]))

/* --- the choice ----------------------------------------------------------- */

static void an_unknown_backend_is_a_usage_error(void **state)
{
    struct backend be = { .name = "untouched" };
    struct mup_error err;

    (void)state;
    assert_int_equal(backend_open("fats", &be, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "'fats'"));
    assert_non_null(strstr(err.text, "fast-v3"));
    assert_string_equal(be.name, "untouched");
}

static void auto_opens_something_that_runs_here(void **state)
{
    struct backend be, same;
    struct mup_error err;

    (void)state;
    assert_int_equal(backend_open("auto", &be, &err), MUP_OK);
    assert_int_equal(backend_open(be.name, &same, &err), MUP_OK);
    assert_ptr_equal(be.ops, same.ops);
    assert_int_equal(be.dtype, DTYPE_F32);
    assert_int_equal(backend_open("ref64", &be, &err), MUP_OK);
    assert_int_equal(be.dtype, DTYPE_F64);
}

static void opening_a_backend_holds_openmp_to_one_thread(void **state)
{
    struct backend be;
    void *program = dlopen(NULL, RTLD_LAZY), *symbol;
    int (*threads)(void);

    (void)state;
    assert_int_equal(backend_open("auto", &be, NULL), MUP_OK);
    symbol = dlsym(program, "omp_get_max_threads");
    if (!symbol)
        skip(); /* another runtime than OpenMP */
    memcpy(&threads, &symbol, sizeof(symbol));
    assert_int_equal(threads(), 1);
    dlclose(program);
}

static void memory_is_zeroed_and_aligned(void **state)
{
    struct backend be;

    (void)state;
    assert_int_equal(backend_open("auto", &be, NULL), MUP_OK);
    for (size_t bytes = 0; bytes < 300; bytes += 37) {
        unsigned char *x = be.ops->alloc(&be, bytes);

        assert_non_null(x);
        assert_int_equal((uintptr_t)x % 64, 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(x[i], 0);
        be.ops->free(&be, x);
    }
    assert_null(be.ops->alloc(&be, SIZE_MAX));
}

static void rows_of_a_view_keep_its_stride(void **state)
{
    struct backend be = { .dtype = DTYPE_F64 };
    double x[12];
    struct view v = { x, 4, 2, 3 }, rows = view_rows(&be, v, 1, 2);

    (void)state;
    assert_ptr_equal(rows.data, x + 3);
    assert_int_equal(rows.rows, 2);
    assert_int_equal(rows.stride, 3);
}

/* --- values by hand ---------------------------------------------------------
 */

static void ref_rmsnorm_of_three_and_four(void **state)
{
    struct backend be;
    double x[] = { 3, 4 }, gain[] = { 1, 2 }, y[2], rstd[1];

    (void)state;
    assert_int_equal(backend_open("ref64", &be, NULL), MUP_OK);
    be.ops->rmsnorm(&be, view_of(y, 1, 2), view_of(rstd, 1, 1),
                    view_of(x, 1, 2), view_of(gain, 1, 2), 1, 0);
    assert_close(rstd[0], 1 / sqrt(12.5), 1e-15);
    assert_close(y[0], 3 / sqrt(12.5), 1e-15);
    assert_close(y[1], 8 / sqrt(12.5), 1e-15);
}

static void ref_cross_entropy_of_equal_logits_is_log_v(void **state)
{
    struct backend be;
    double logits[6] = { 0 }, sums[2] = { 1, 2 }, lse[2], at[2];
    const int32_t target[2] = { 0, 2 };

    (void)state;
    assert_int_equal(backend_open("ref64", &be, NULL), MUP_OK);
    be.ops->log_sum_exp(&be, view_of(lse, 2, 1), view_of(at, 2, 1),
                        view_of(logits, 2, 3), target);
    be.ops->cross_entropy(&be, sums, view_of(lse, 2, 1), view_of(at, 2, 1));
    be.ops->cross_entropy_grad(&be, view_of(logits, 2, 3), view_of(lse, 2, 1),
                               target, 0.5, 0);
    assert_close(sums[0], 1 + 2 * log(3), 1e-14);
    assert_close(sums[1], 2 + 2 * log(3) * log(3), 1e-14);
    assert_close(logits[0], 0.5 / 3 - 0.5, 1e-15);
    assert_close(logits[1], 0.5 / 3, 1e-15);
}

/* cap*tanh(s/cap) with one large key: weights known in closed form. */
static void ref_attention_weighs_values_by_capped_logits(void **state)
{
    const struct attention_shape a = { 1, 2, 1, 1, 2, 0.5, 2 };
    struct backend be;
    double q[] = { 0, 0, 2, 0 }, k[] = { 0, 0, 3, 0 }, v[] = { 1, 2, 3, 4 };
    double o[4], lse[2], scratch[12], w = exp(2 * tanh(3.0 / 2));

    (void)state;
    assert_int_equal(backend_open("ref64", &be, NULL), MUP_OK);
    be.ops->attention(&be, view_of(o, 2, 2), view_of(lse, 2, 1),
                      view_of(q, 2, 2), view_of(k, 2, 2), view_of(v, 2, 2), &a,
                      view_of(scratch, 6, 2));
    assert_close(o[0], 1, 1e-15); /* the first row sees itself alone */
    assert_close(lse[0], 0, 1e-15);
    assert_close(lse[1], log(1 + w), 1e-14);
    assert_close(o[2], (1 + 3 * w) / (1 + w), 1e-14);
}

static void ref_rope_turns_by_time_times_frequency(void **state)
{
    struct backend be;
    double table[2 * 4], x[2 * 4] = { 1, 2, 3, 4, 1, 2, 3, 4 };
    double w = pow(100, -0.5);

    (void)state;
    assert_int_equal(backend_open("ref64", &be, NULL), MUP_OK);
    be.ops->rope_table(&be, view_of(table, 2, 4), 100);
    be.ops->rope(&be, view_of(x, 2, 4), view_of(table, 2, 4), 0);
    assert_close(x[1], 2, 0); /* time 0 */
    assert_close(x[4], cos(1) - 3 * sin(1), 1e-14);
    assert_close(x[6], 3 * cos(1) + sin(1), 1e-14);
    assert_close(x[5], 2 * cos(w) - 4 * sin(w), 1e-14);
}

/* torch.optim.AdamW, weight_decay 0.1, lr 0.01, first step: moments are (1-b)g
 * and (1-b)g^2, so the step is lr * sign(g) up to eps. */
static void ref_adamw_first_step_is_lr_times_sign(void **state)
{
    const struct adamw_args args = { .lr = 0.01,
                                     .beta1 = 0.9,
                                     .beta2 = 0.999,
                                     .eps = 1e-8,
                                     .decay = 0.001,
                                     .grad_scale = 0.5,
                                     .correction1 = 0.1,
                                     .correction2 = 0.001 };
    struct backend be;
    double w[] = { 2, -1 }, g[] = { 4, -6 }, m[2] = { 0 }, v[2] = { 0 };

    (void)state;
    assert_int_equal(backend_open("ref64", &be, NULL), MUP_OK);
    be.ops->adamw(&be, view_of(w, 1, 2), view_of(g, 1, 2), view_of(m, 1, 2),
                  view_of(v, 1, 2), &args);
    assert_close(w[0], 2 * 0.999 - 0.01 * 2 / (2 + 1e-8), 1e-13);
    assert_close(w[1], -0.999 + 0.01 * 3 / (3 + 1e-8), 1e-13);
    assert_close(m[0], 0.2, 1e-15);
    assert_close(v[1], 0.009, 1e-15);
}

/* --- routing
 * ------------------------------------------------------------------ */

static void ties_go_to_the_lower_expert(void **state)
{
    const struct route_shape r = {
        .tokens = 2, .experts = 4, .top_k = 3, .time = 2
    };
    float logits[] = { 1, 2, 2, 1, 0, 0, 0, 0 }, probs[8], lse[2], gates[6];
    const int32_t want[] = { 1, 2, 0, 0, 1, 2 };
    int32_t expert[6];

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct backend be;

        if (backend_open(names[i], &be, NULL) != MUP_OK)
            continue;
        be.ops->route(&be, view_of(probs, 2, 4), view_of(lse, 2, 1),
                      view_of(gates, 2, 3), expert, view_of(logits, 2, 4), &r);
        assert_memory_equal(expert, want, sizeof(want));
    }
}

static void balanced_routing_has_balance_loss_one(void **state)
{
    enum { T = 6, E = 3 };
    const struct route_shape r = {
        .tokens = 2 * T, .experts = E, .top_k = 1, .time = T
    };
    float probs[2 * T * E], lse[2 * T] = { 0 };
    int32_t expert[2 * T];

    (void)state;
    for (int i = 0; i < 2 * T * E; i++)
        probs[i] = 1.0f / E;
    for (int i = 0; i < 2 * T; i++)
        expert[i] = i % E;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct backend be;
        double sums[2] = { 0, 0 };

        if (backend_open(names[i], &be, NULL) != MUP_OK)
            continue;
        be.ops->route_loss(&be, sums, view_of(probs, 2 * T, E),
                           view_of(lse, 2 * T, 1), expert, &r);
        /* one per sequence; 1/3 is rounded to float */
        assert_close(sums[0], 2, 2 * FLT_EPSILON);
    }
}

static void nan_keeps_experts_distinct_and_in_range(void **state)
{
    enum { E = 5, K = 3 };
    const struct route_shape r = {
        .tokens = 1, .experts = E, .top_k = K, .time = 1
    };

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++)
        for (int at = 0; at < E; at++) {
            float logits[E] = { 1, 2, 3, 4, 5 }, probs[E], lse[1], gates[K];
            int32_t expert[K];
            int seen[E] = { 0 };
            struct backend be;

            if (backend_open(names[i], &be, NULL) != MUP_OK)
                continue;
            logits[at] = NAN;
            be.ops->route(&be, view_of(probs, 1, E), view_of(lse, 1, 1),
                          view_of(gates, 1, K), expert, view_of(logits, 1, E),
                          &r);
            assert_true(isnan(lse[0]) && isnan(gates[0]));
            for (int j = 0; j < K; j++) {
                assert_in_range(expert[j], 0, E - 1);
                assert_int_equal(seen[expert[j]]++, 0);
            }
        }
}

static void dispatch_is_a_stable_sort(void **state)
{
    const int32_t expert[] = { 2, 0, 2, 3, 0, 2 };
    const int32_t offset_want[] = { 0, 2, 2, 5, 6, 6 };
    const int32_t source_want[] = { 1, 4, 0, 2, 5, 3 };
    int32_t row[6], source[6], offset[6];

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        struct backend be;

        if (backend_open(names[i], &be, NULL) != MUP_OK)
            continue;
        be.ops->dispatch(&be, row, source, offset, expert, 6, 5);
        assert_memory_equal(offset, offset_want, sizeof(offset));
        assert_memory_equal(source, source_want, sizeof(source));
        for (int s = 0; s < 6; s++)
            assert_int_equal(source[row[s]], s);
    }
}

/* --- NaN
 * -------------------------------------------------------------------------- */

static void nan_in_a_logit_reaches_the_loss(void **state)
{
    enum { V = 37 };
    float logits[V];
    const int32_t target[1] = { 20 };
    static const float bad[] = { NAN, -NAN, INFINITY };

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++)
        for (int at = 0; at < V; at++)
            for (int b = 0; b < 3; b++) {
                double sums[2] = { 0, 0 };
                float lse, at_target;
                struct backend be;

                if (backend_open(names[i], &be, NULL) != MUP_OK)
                    continue;
                for (int j = 0; j < V; j++)
                    logits[j] = (float)j / V;
                logits[at] = bad[b];
                be.ops->log_sum_exp(&be, view_of(&lse, 1, 1),
                                    view_of(&at_target, 1, 1),
                                    view_of(logits, 1, V), target);
                be.ops->cross_entropy(&be, sums, view_of(&lse, 1, 1),
                                      view_of(&at_target, 1, 1));
                be.ops->cross_entropy_grad(&be, view_of(logits, 1, V),
                                           view_of(&lse, 1, 1), target, 1, 0);
                assert_false(isfinite(sums[0]));
                assert_false(isfinite(logits[at]));
            }
}

/* A NaN in a query reaches its row of the output, one in a key or a value all
 * rows that see it; whatever the soft-cap. */
static void nan_passes_through_attention(void **state)
{
    enum { T = 37, K = 4 };
    static const double caps[] = { 0, 30, 100 };
    float x[3][T * K], o[T * K], lse[T], scratch[3 * T * T];

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++)
        for (int which = 0; which < 9; which++) {
            const struct attention_shape a = {
                1, T, 1, 1, K, 0.5, caps[which / 3]
            };
            struct backend be;

            if (backend_open(names[i], &be, NULL) != MUP_OK)
                continue;
            for (int j = 0; j < 3 * T * K; j++)
                x[j / (T * K)][j % (T * K)] = (float)(j % 7) / 7;
            x[which % 3][20 * K + 1] = NAN;
            be.ops->attention(&be, view_of(o, T, K), view_of(lse, T, 1),
                              view_of(x[0], T, K), view_of(x[1], T, K),
                              view_of(x[2], T, K), &a,
                              view_of(scratch, 3 * T, T));
            assert_true(isnan(o[20 * K + 1]));
            assert_int_equal(!!isnan(lse[36]), which % 3 == 1);
            assert_int_equal(!!isnan(o[36 * K + 1]), which % 3 != 0);
        }
}

static void nan_passes_through_elementwise_ops(void **state)
{
    enum { N = 35 };
    float g[N], u[N], a[N], rstd[1], gain[N];

    (void)state;
    for (size_t i = 0; i < N_NAMES; i++)
        for (int at = 0; at < N; at++) {
            struct backend be;
            double sum;

            if (backend_open(names[i], &be, NULL) != MUP_OK)
                continue;
            for (int j = 0; j < N; j++)
                g[j] = u[j] = gain[j] = 1;
            g[at] = NAN;
            be.ops->geglu(&be, view_of(a, 1, N), view_of(g, 1, N),
                          view_of(u, 1, N));
            assert_true(isnan(a[at]));
            be.ops->sum_squares(&be, &sum, view_of(g, 1, N));
            assert_true(isnan(sum));
            be.ops->sum_abs(&be, &sum, view_of(g, 1, N));
            assert_true(isnan(sum));
            be.ops->rmsnorm(&be, view_of(a, 1, N), view_of(rstd, 1, 1),
                            view_of(g, 1, N), view_of(gain, 1, N), 1, 1e-5);
            assert_true(isnan(rstd[0]) && isnan(a[(at + 1) % N]));
        }
}

/* --- vmath
 * ----------------------------------------------------------------------------
 */

/* Distance in units of the last place of the true value. */
static double ulps(float got, double want)
{
    int exponent;

    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, exponent - FLT_MANT_DIG);
}

static void exp_is_good_to_two_ulp(void **state)
{
    double worst = 0;

    (void)state;
    for (uint32_t u = 0; u < 0x42b0999a; u += 997) { /* up to 88.3 */
        float x = vm_float(u);

        worst = fmax(worst, ulps(vm_exp(x), exp((double)x)));
        if (x < 87.3f)
            worst = fmax(worst, ulps(vm_exp(-x), exp(-(double)x)));
        if (x <= 87)
            assert_true(vm_exp(-x) == vm_exp_bounded(-x));
    }
    assert_true(worst <= 2);
    assert_true(vm_exp(0) == 1);
    assert_true(vm_exp(-1e30f) == 0 && vm_exp(-INFINITY) == 0);
    assert_true(vm_exp(INFINITY) > 2e38f && vm_exp(1e30f) > 2e38f);
    assert_true(isnan(vm_exp(NAN)) && isnan(vm_exp(-NAN)));
    assert_true(isnan(vm_exp(vm_float(0x7f800001)))); /* any payload */
    assert_true(isnan(vm_exp(vm_float(0xffffffff))));
}

static void tanh_is_good_to_seven_ulp(void **state)
{
    double worst = 0, worst_small = 0;

    (void)state;
    /* from 1e-30: below, x^2 is denormal, but tanh(x) = x there */
    for (uint32_t u = 0x0da24260; u < 0x7f800000; u += 997) {
        float x = vm_float(u), y = vm_tanh(x);

        worst = fmax(worst, ulps(y, tanh((double)x)));
        assert_true(vm_tanh(-x) == -y && y <= 1);
        if (x <= VM_TANH_SMALL)
            worst_small =
                fmax(worst_small, ulps(vm_tanh_small(x), tanh((double)x)));
    }
    assert_true(worst <= 7); /* 6.7, around 5.9 */
    assert_true(worst_small <= 1);
    assert_true(vm_tanh(0) == 0);
    assert_true(vm_tanh(INFINITY) == 1 && vm_tanh(-INFINITY) == -1);
    assert_true(isnan(vm_tanh(NAN)) && isnan(vm_tanh(-NAN)));
    assert_true(isnan(vm_tanh_small(NAN)));
}

static void lanes_find_the_largest_wherever_it_is(void **state)
{
    float x[70];

    (void)state;
    for (int n = 1; n <= 70; n++)
        for (int at = 0; at < n; at++) {
            for (int i = 0; i < n; i++)
                x[i] = -5 - (float)i;
            x[at] = -1;
            assert_true(lanes_max(x, n) == -1);
            assert_int_equal(lanes_all_within(x, n, 4), n == 1);
            assert_true(lanes_all_within(x, n, 80));
            x[at] = NAN;
            assert_false(lanes_all_within(x, n, 80));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_backend_is_a_usage_error),
        cmocka_unit_test(auto_opens_something_that_runs_here),
        cmocka_unit_test(opening_a_backend_holds_openmp_to_one_thread),
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(rows_of_a_view_keep_its_stride),
        cmocka_unit_test(ref_rmsnorm_of_three_and_four),
        cmocka_unit_test(ref_cross_entropy_of_equal_logits_is_log_v),
        cmocka_unit_test(ref_attention_weighs_values_by_capped_logits),
        cmocka_unit_test(ref_rope_turns_by_time_times_frequency),
        cmocka_unit_test(ref_adamw_first_step_is_lr_times_sign),
        cmocka_unit_test(ties_go_to_the_lower_expert),
        cmocka_unit_test(balanced_routing_has_balance_loss_one),
        cmocka_unit_test(nan_keeps_experts_distinct_and_in_range),
        cmocka_unit_test(dispatch_is_a_stable_sort),
        cmocka_unit_test(nan_in_a_logit_reaches_the_loss),
        cmocka_unit_test(nan_passes_through_attention),
        cmocka_unit_test(nan_passes_through_elementwise_ops),
        cmocka_unit_test(exp_is_good_to_two_ulp),
        cmocka_unit_test(tanh_is_good_to_seven_ulp),
        cmocka_unit_test(lanes_find_the_largest_wherever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
