/* Every op of every backend against ref in double, on fresh random inputs:
 * values, untouched padding, repetition and alignment to the bit, and every
 * gradient op against finite differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/backend.h"

#include "tests/op_runs.inc.h"

static const char *const backends[] = { "ref", "fast-v2", "fast-v3",
                                        "fast-v4" };

#define N_BACKENDS (sizeof(backends) / sizeof(backends[0]))

/* Tolerances: one rounding of a result is 0.5 (relative to its own size).  A
 * sum of n float products in vector lanes errs by about sqrt(n) roundings of
 * its largest partial sum; n is at most 131 here: 12, doubled where two such
 * sums follow each other, and some room for the largest of many elements. */
/* clang-format off */
static const struct op table[] = {
    { "zero", run_zero, NULL, { { N, D, OUT, 0 } }, .tolerance = 0 },
    /* one multiply and add */
    { "add", run_add, NULL, { { N, D, INOUT, 0 }, { N, D, IN, 0 } }, .tolerance = 1 },
    /* the same double, rounded once */
    { "normal", run_normal, NULL, { { N, D, OUT, 0 } }, .tolerance = 0.5 },
    /* sums in double, stored in float */
    { "sums", run_sums, NULL, { { ONE, TWO, OUT, 0 }, { N, V, IN, 0 } }, .tolerance = 1 },
    /* sums of up to 131 products */
    { "gemm nn", run_gemm, NULL, { { N, D, INOUT, 0 }, { N, F, IN, 0 },
      { F, D, IN, 0 } }, .tolerance = 16 },
    { "gemm tn", run_gemm, NULL, { { N, D, INOUT, 0 }, { F, N, IN, 0 },
      { F, D, IN, 0 } }, .tolerance = 16, .flag = 1 },
    { "gemm nt", run_gemm, NULL, { { N, D, INOUT, 0 }, { N, F, IN, 0 },
      { D, F, IN, 0 } }, .tolerance = 16, .flag = 2 },
    { "gemm tt", run_gemm, NULL, { { N, D, INOUT, 0 }, { F, N, IN, 0 },
      { D, F, IN, 0 } }, .tolerance = 16, .flag = 3 },
    { "gemm nt, overwriting", run_gemm, NULL, { { N, D, OUT, 0 }, { N, F, IN, 0 },
      { D, F, IN, 0 } }, .tolerance = 16, .flag = 6 },
    { "gemm_grouped", run_grouped, back_grouped, { { R, F, OUT, 3 },
      { R, D, IN, 4 }, { EF, D, IN, 5 }, { R, F, IN, 0 }, { R, D, OUT, 0 },
      { EF, D, OUT, 0 } }, .tolerance = 16 },
    { "gemm_grouped, adding", run_grouped, NULL, { { R, F, INOUT, 0 },
      { R, D, IN, 0 }, { EF, D, IN, 0 } }, .tolerance = 16, .flag = 1 },
    /* a token's rows are added one by one: at most N = 131 of them */
    { "embed", run_embed, back_embed, { { N, D, OUT, 2 }, { V, D, IN, 3 },
      { N, D, IN, 0 }, { V, D, OUT, 0 } }, .tolerance = 8 },
    /* at D = 1 the gradient is a difference of two numbers around 1 */
    { "rmsnorm", run_rmsnorm, back_rmsnorm, { { N, D, OUT, 4 },
      { N, ONE, OUT, 0 }, { N, D, IN, 5 }, { ONE, D, IN, 6 }, { N, D, IN, 0 },
      { N, D, OUT, 0 }, { ONE, D, OUT, 0 } }, .tolerance = 16, .floor = 1 },
    { "rmsnorm, adding", run_rmsnorm, back_rmsnorm, { { N, D, OUT, 4 },
      { N, ONE, OUT, 0 }, { N, D, IN, 5 }, { ONE, D, IN, 6 }, { N, D, IN, 0 },
      { N, D, OUT, 0 }, { ONE, D, OUT, 0 } }, .tolerance = 16, .floor = 1, .flag = 1 },
    { "rmsnorm, multiplied", run_rmsnorm, back_rmsnorm, { { N, D, OUT, 4 },
      { N, ONE, OUT, 0 }, { N, D, IN, 5 }, { ONE, D, IN, 6 }, { N, D, IN, 0 },
      { N, D, OUT, 0 }, { ONE, D, OUT, 0 } }, .tolerance = 16, .floor = 1, .cap = 0.3 },
    { "rope_table", run_rope_table, NULL, { { T, K, OUT, 0 } }, .tolerance = 0.5 },
    /* two products, and a table that is rounded itself */
    { "rope", run_rope, back_rope, { { N, HK, OUT, 3 }, { N, HK, IN, 4 },
      { T, K, SCRATCH, 0 }, { N, HK, IN, 0 }, { N, HK, OUT, 0 } }, .tolerance = 3 },
    /* with one key the gradients of q and k cancel;
     * logits up to about 20 err by 20 * 2 roundings, which exp turns into
     * relative errors; then sums over T of mixed signs */
    { "attention", run_attention, back_attention, { { N, HK, OUT, 6 },
      { N, H, OUT, 0 }, { N, HK, IN, 7 }, { N, GK, IN, 8 }, { N, GK, IN, 9 },
      { T3, T, SCRATCH, 0 }, { N, HK, IN, 0 }, { N, HK, OUT, 0 }, { N, GK, OUT, 0 },
      { N, GK, OUT, 0 } }, .tolerance = 40, .floor = 1 },
    { "attention, capped", run_attention, back_attention, { { N, HK, OUT, 6 },
      { N, H, OUT, 0 }, { N, HK, IN, 7 }, { N, GK, IN, 8 }, { N, GK, IN, 9 },
      { T3, T, SCRATCH, 0 }, { N, HK, IN, 0 }, { N, HK, OUT, 0 }, { N, GK, OUT, 0 },
      { N, GK, OUT, 0 } }, .tolerance = 40, .floor = 1, .cap = 5 },
    /* the short series for tanh, and a cap beyond the bound for exp */
    { "attention, barely capped", run_attention, back_attention, { { N, HK, OUT, 6 },
      { N, H, OUT, 0 }, { N, HK, IN, 7 }, { N, GK, IN, 8 }, { N, GK, IN, 9 },
      { T3, T, SCRATCH, 0 }, { N, HK, IN, 0 }, { N, HK, OUT, 0 }, { N, GK, OUT, 0 },
      { N, GK, OUT, 0 } }, .tolerance = 40, .floor = 1, .cap = 40 },
    { "attention, capped far out", run_attention, back_attention, { { N, HK, OUT, 6 },
      { N, H, OUT, 0 }, { N, HK, IN, 7 }, { N, GK, IN, 8 }, { N, GK, IN, 9 },
      { T3, T, SCRATCH, 0 }, { N, HK, IN, 0 }, { N, HK, OUT, 0 }, { N, GK, OUT, 0 },
      { N, GK, OUT, 0 } }, .tolerance = 40, .floor = 1, .cap = 200 },
    { "attention_logits", run_attention_logits, NULL, { { ONE, TWO, OUT, 0 },
      { N, HK, IN, 0 }, { N, GK, IN, 0 }, { T3, T, SCRATCH, 0 } }, .tolerance = 2, .cap = 5 },
    /* exp and tanh of few ulp on logits below 4, sums over E of 1 in all */
    { "route", run_route, back_route, { { N, E, OUT, 0 }, { N, ONE, OUT, 0 },
      { N, k, OUT, 5 }, { ONE, TWO, OUT, 6 }, { N, E, IN, 7 }, { N, k, IN, 0 },
      { ONE, TWO, POS, 0 }, { N, E, OUT, 0 } }, .tolerance = 16 },
    { "route, capped", run_route, back_route, { { N, E, OUT, 0 },
      { N, ONE, OUT, 0 }, { N, k, OUT, 5 }, { ONE, TWO, OUT, 6 },
      { N, E, IN, 7 }, { N, k, IN, 0 }, { ONE, TWO, POS, 0 }, { N, E, OUT, 0 } }, .tolerance = 16,
      .cap = 2 },
    { "route, renormalized", run_route, back_route, { { N, E, OUT, 0 },
      { N, ONE, OUT, 0 }, { N, k, OUT, 5 }, { ONE, TWO, OUT, 6 },
      { N, E, IN, 7 }, { N, k, IN, 0 }, { ONE, TWO, POS, 0 }, { N, E, OUT, 0 } }, .tolerance = 16,
      .cap = 3, .flag = 1 },
    /* a copy; sums of k */
    { "gather", run_gather, back_gather, { { R, D, OUT, 2 }, { N, D, IN, 3 },
      { R, D, IN, 0 }, { N, D, OUT, 0 } }, .tolerance = 2 },
    /* an exp of 2 ulp and half a dozen products */
    { "geglu", run_geglu, back_geglu, { { R, F, OUT, 3 }, { R, F, IN, 4 },
      { R, F, IN, 5 }, { R, F, IN, 0 }, { R, F, OUT, 0 }, { R, F, OUT, 0 } }, .tolerance = 8 },
    { "geglu_grad, dg is g", run_geglu_in_place, NULL, { { R, F, IN, 0 },
      { R, F, INOUT, 0 }, { R, F, INOUT, 0 } }, .tolerance = 8 },
    { "geglu_grad, dg is da", run_geglu_in_place, NULL, { { R, F, INOUT, 0 },
      { R, F, IN, 0 }, { R, F, INOUT, 0 } }, .tolerance = 8, .flag = 1 },
    /* sums of k, and of D for the gates */
    { "combine", run_combine, back_combine, { { N, D, OUT, 3 },
      { R, D, IN, 4 }, { N, k, POS, 5 }, { N, D, IN, 0 }, { R, D, OUT, 0 },
      { N, k, OUT, 0 } }, .tolerance = 8 },
    /* sums over V of positive terms; the loss in double */
    { "cross_entropy", run_cross_entropy, back_cross_entropy,
      { { ONE, TWO, OUT, 2 }, { N, V, IN, 3 }, { ONE, TWO, POS, 0 },
      { N, V, OUT, 0 }, { N, ONE, OUT, 0 }, { N, ONE, OUT, 0 } },
      .tolerance = 16 },
    /* ten roundings; lr is small against w */
    { "adamw", run_adamw, NULL, { { N, D, INOUT, 0 }, { N, D, IN, 0 },
      { N, D, INOUT, 0 }, { N, D, POS, 0 } }, .tolerance = 4, .contiguous = 1 },
    { "adamw, atan2", run_adamw, NULL, { { N, D, INOUT, 0 }, { N, D, IN, 0 },
      { N, D, INOUT, 0 }, { N, D, POS, 0 } }, .tolerance = 4, .contiguous = 1, .flag = 1 },
    { "lion", run_lion, NULL, { { N, D, INOUT, 0 }, { N, D, IN, 0 },
      { N, D, INOUT, 0 } }, .tolerance = 2, .contiguous = 1 },
    { "sgd", run_sgd, NULL, { { N, D, INOUT, 0 }, { N, D, IN, 0 },
      { N, D, INOUT, 0 } }, .tolerance = 2, .contiguous = 1 },
};
/* clang-format on */

#define N_OPS (sizeof(table) / sizeof(table[0]))

/* Ones; odd and prime; whole vectors; past a block of attention rows; few
 * tokens on many experts, half of them empty. */
static int n_sizes(void)
{
    return 5;
}

static struct sizes sizes_at(int i)
{
    struct sizes z;

    switch (i) {
    case 0: /* K is even by contract */
        return with_experts(sizes_of(1, 1, 1, 1, 2), 1, 1, 1, 1);
    case 1:
        return with_experts(sizes_of(3, 7, 1, 3, 6), 13, 17, 5, 3);
    case 2:
        return with_experts(sizes_of(2, 32, 2, 2, 16), 64, 128, 8, 2);
    case 3:
        return with_experts(sizes_of(1, 131, 3, 1, 10), 31, 53, 7, 1);
    default:
        z = with_experts(sizes_of(2, 4, 2, 1, 32), 129, 33, 67, 2);
        z.empty = 1;
        return z;
    }
}

static int is_compared(enum use use)
{
    return use == OUT || use == INOUT;
}

static void compare_array(const struct view *v, const double *got,
                          const double *want, const struct op *op,
                          const char *what)
{
    double largest = op->floor, worst = 0, tolerance = op->tolerance;

    for (int64_t i = 0; i < v->rows * v->stride; i++) {
        if (i % v->stride >= v->cols) {
            if (got[i] != PAD_VALUE)
                fail_msg("%s writes between rows", what);
            continue;
        }
        largest = fmax(largest, fabs(want[i]));
        if (!(fabs(got[i] - want[i]) <= worst))
            worst = fabs(got[i] - want[i]);
    }
    if (getenv("OPS_VERBOSE"))
        printf("%-60s %8.2f of %g\n", what, worst / (FLT_EPSILON * largest),
               tolerance);
    if (!(worst <= tolerance * FLT_EPSILON * largest))
        fail_msg("%s: off by %.3g of %.3g, %.3g epsilons, %g allowed", what,
                 worst, largest, worst / (FLT_EPSILON * largest), tolerance);
}

static void check_parity(const struct op *op, int at, const char *name,
                         int64_t pad)
{
    struct sizes z = sizes_at(at);
    struct context c = context_open(op, &z, 42);
    struct backend ref, be;
    struct memory want, got;

    assert_int_equal(backend_open("ref64", &ref, NULL), MUP_OK);
    if (backend_open(name, &be, NULL) == MUP_OK) {
        run(&ref, &c, pad, 0, &want);
        run(&be, &c, pad, 0, &got);
        for (int i = 0; i < got.n; i++) {
            char what[128];

            snprintf(what, sizeof(what), "%s of %s, sizes %d, pad %d, array %d",
                     op->name, name, at, (int)pad, i);
            if (is_compared(op->slot[i].use))
                compare_array(&got.view[i], got.host[i], want.host[i], op,
                              what);
        }
        memory_close(&ref, &want);
        memory_close(&be, &got);
    }
    context_close(&c);
}

static void every_op_agrees_with_the_double_reference(void **state)
{
    (void)state;
    for (size_t op = 0; op < N_OPS; op++)
        for (int at = 0; at < n_sizes(); at++)
            for (size_t b = 0; b < N_BACKENDS; b++) {
                check_parity(&table[op], at, backends[b], 0);
                check_parity(&table[op], at, backends[b], 3);
            }
}

static void expect_same_bits(const struct context *c, const struct memory *x,
                             const struct memory *y, const char *how)
{
    for (int i = 0; i < x->n; i++) {
        size_t bytes =
            (size_t)(x->view[i].rows * x->view[i].stride) * sizeof(double);

        if (is_compared(c->op->slot[i].use) &&
            memcmp(x->host[i], y->host[i], bytes))
            fail_msg("%s gives other bits %s", c->op->name, how);
    }
}

static void check_bits(const struct op *op, int at, const char *name)
{
    struct sizes z = sizes_at(at);
    struct context c = context_open(op, &z, 43);
    struct memory first, again, moved;
    struct backend be;

    if (backend_open(name, &be, NULL) == MUP_OK) {
        run(&be, &c, 0, 0, &first);
        run(&be, &c, 0, 0, &again);
        expect_same_bits(&c, &first, &again, "the second time");
        for (int64_t shift = 1; shift < 16; shift += 4) {
            run(&be, &c, 0, shift, &moved);
            expect_same_bits(&c, &first, &moved, "at another alignment");
            memory_close(&be, &moved);
        }
        memory_close(&be, &first);
        memory_close(&be, &again);
    }
    context_close(&c);
}

static void bits_do_not_depend_on_repetition_or_alignment(void **state)
{
    (void)state;
    for (size_t op = 0; op < N_OPS; op++)
        for (int at = 0; at < n_sizes(); at++)
            for (size_t b = 0; b < N_BACKENDS; b++)
                check_bits(&table[op], at, backends[b]);
}

/* sum of output * cotangent after the forward op, x[slot][i] moved by step. */
static double loss_at(struct backend *be, struct context *c, int slot,
                      int64_t i, double step)
{
    struct memory m;
    double loss = 0;

    memory_open(be, c, 0, 0, &m);
    if (slot >= 0)
        ((double *)m.view[slot].data)[i] += step;
    c->op->forward(be, m.view, c);
    memory_download(be, &m);
    for (int s = 0; s < m.n; s++) {
        int cotangent = c->op->slot[s].grad;

        if (c->op->slot[s].use != OUT || cotangent == 0)
            continue;
        for (int64_t j = 0; j < m.view[s].rows * m.view[s].cols; j++)
            loss += m.host[s][j] * m.host[cotangent][j];
    }
    memory_close(be, &m);
    return loss;
}

/* Central differences in double: with a step of 1e-4 the cubic term gives
 * about 1e-8 and rounding 1e-12, of gradients around 1. */
static void check_gradient(const struct op *op, int at)
{
    const double step = 1e-4, tolerance = 2e-6;
    struct sizes z = sizes_at(at);
    struct context c = context_open(op, &z, 44);
    struct backend be;
    struct memory m;

    assert_int_equal(backend_open("ref64", &be, NULL), MUP_OK);
    run(&be, &c, 0, 0, &m);
    for (int s = 0; s < m.n; s++) {
        int64_t elements = m.view[s].rows * m.view[s].cols;
        int64_t skip = elements / 60 + 1; /* about 60 elements an operand */
        int g = op->slot[s].grad;

        if (op->slot[s].use == OUT || g == 0)
            continue;
        for (int64_t i = 0; i < elements; i += skip) {
            double up = loss_at(&be, &c, s, i, step);
            double slope = (up - loss_at(&be, &c, s, i, -step)) / (2 * step);

            if (!(fabs(slope - m.host[g][i]) <= tolerance * (1 + fabs(slope))))
                fail_msg("%s, operand %d, element %d: gradient %.9g, slope "
                         "%.9g",
                         op->name, s, (int)i, m.host[g][i], slope);
        }
    }
    memory_close(&be, &m);
    context_close(&c);
}

static void every_gradient_is_the_slope(void **state)
{
    (void)state;
    for (size_t op = 0; op < N_OPS; op++)
        for (int at = 0; at < n_sizes(); at++)
            /* 2 and 3 are there for the blocks and vectors of fast */
            if (table[op].backward && at != 2 && at != 3)
                check_gradient(&table[op], at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_agrees_with_the_double_reference),
        cmocka_unit_test(bits_do_not_depend_on_repetition_or_alignment),
        cmocka_unit_test(every_gradient_is_the_slope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
