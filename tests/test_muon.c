/* Muon against singular values from LAPACK, and the laws of its updates. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lapacke.h>

#include "model/muon.h"
#include "model/trainer.h"
#include "tests/close.h"

#define MOST 2400 /* elements of the largest matrix here */
#define SIDE 48

static const char *const backends[] = { "ref64", "ref", "fast" };
#define N_BACKENDS (int)(sizeof(backends) / sizeof(backends[0]))

/* Rounding of a chain of 15 products with inner size up to 50, whose factors
 * up to 4.8 multiply it: some thousand roundings. */
static double tolerance_of(const struct backend *be)
{
    return be->dtype == DTYPE_F64 ? 1e-12 : 5e-4;
}

static struct backend open_backend(const char *name)
{
    struct mup_error err = { 0 };
    struct backend be;

    if (backend_open(name, &be, &err))
        fail_msg("%s", err.text);
    return be;
}

/* Memory for a matrix, its scratch and a copy; freed by the caller. */
static char *take(struct backend *be, struct muon_scratch *s)
{
    size_t e = dtype_bytes(be->dtype);
    char *memory = be->ops->alloc(be, (6 * MOST + 2 * SIDE * SIDE) * e);

    assert_non_null(memory);
    s->x = memory;
    s->y = memory + MOST * e;
    s->a = memory + 2 * MOST * e;
    s->b = memory + (2 * MOST + SIDE * SIDE) * e;
    return memory + (2 * MOST + 2 * SIDE * SIDE) * e;
}

/* --- the reference: singular values --- */

struct svd {
    int rows, cols, n; /* n = min(rows, cols) */
    double u[MOST], s[SIDE], vt[MOST];
};

static void decompose(const double *x, int rows, int cols, struct svd *d)
{
    double copy[MOST], work[SIDE];

    d->rows = rows;
    d->cols = cols;
    d->n = rows < cols ? rows : cols;
    memcpy(copy, x, (size_t)(rows * cols) * sizeof(double));
    assert_int_equal(LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'S', 'S', rows, cols,
                                    copy, cols, d->s, d->u, d->n, d->vt, cols,
                                    work),
                     0);
}

/* U diag(s) V^T */
static void compose(const struct svd *d, const double *s, double *out)
{
    for (int r = 0; r < d->rows; r++)
        for (int c = 0; c < d->cols; c++) {
            double sum = 0;

            for (int i = 0; i < d->n; i++)
                sum += d->u[r * d->n + i] * s[i] * d->vt[i * d->cols + c];
            out[r * d->cols + c] = sum;
        }
}

static double frobenius(const double *x, int n)
{
    double squares = 0;

    for (int i = 0; i < n; i++)
        squares += x[i] * x[i];
    return sqrt(squares);
}

/* What five steps of the quintic make of a singular value. */
static double quintic(double s)
{
    for (int i = 0; i < 5; i++)
        s = 3.4445 * s - 4.7750 * pow(s, 3) + 2.0315 * pow(s, 5);
    return s;
}

/* Orthogonalised x by the reference; zero stays zero. */
static void reference(const double *x, int rows, int cols, double *out)
{
    double norm = frobenius(x, rows * cols);
    struct svd d;

    memset(out, 0, (size_t)(rows * cols) * sizeof(double));
    if (!(norm > 0))
        return;
    decompose(x, rows, cols, &d);
    for (int i = 0; i < d.n; i++)
        d.s[i] = quintic(d.s[i] / norm);
    compose(&d, d.s, out);
}

/* --- orthogonalisation --- */

static const struct {
    int rows, cols;
    double falls; /* singular values fall from 1 to this; 0: as they come */
} shapes[] = {
    { 12, 48, 0 },   { 48, 12, 0 },    { 32, 32, 0 },     { 1, 50, 0 },
    { 50, 1, 0 },    { 1, 1, 0 },      { 7, 13, 0 },      { 13, 7, 0.2 },
    { 24, 24, 0.1 }, { 16, 40, 1e-6 }, { 40, 16, 1e-12 }, { 48, 48, 1e-3 },
};
#define N_SHAPES (int)(sizeof(shapes) / sizeof(shapes[0]))

static void fill(double *x, int n, uint64_t seed)
{
    struct random_key key = random_key(seed, "test", "muon");

    for (int i = 0; i < n; i++)
        x[i] = random_normal(&key, (uint64_t)i);
}

/* Matrix number i, exact in float so that every backend gets the same. */
static void matrix(int i, double *x)
{
    int rows = shapes[i].rows, cols = shapes[i].cols;

    fill(x, rows * cols, (uint64_t)i + 1);
    if (shapes[i].falls > 0) {
        struct svd d;

        decompose(x, rows, cols, &d);
        for (int j = 0; j < d.n; j++)
            d.s[j] = pow(shapes[i].falls, (double)j / (d.n - 1));
        compose(&d, d.s, x);
    }
    for (int j = 0; j < rows * cols; j++)
        x[j] = (double)(float)(0.01 * x[j]);
}

static void orthogonalise(struct backend *be, const double *x, int rows,
                          int cols, double *out)
{
    struct muon_scratch s;
    struct view result;

    take(be, &s);
    be->ops->upload(be, s.x, x, rows * cols);
    result = muon_orthogonalise(be, view_of(s.x, rows, cols), &s);
    be->ops->download(be, out, result.data, rows * cols);
    be->ops->free(be, s.x);
}

static void the_quintic_is_applied_to_every_singular_value(void **state)
{
    (void)state;
    for (int i = 0; i < N_BACKENDS * N_SHAPES; i++) {
        struct backend be = open_backend(backends[i % N_BACKENDS]);
        int at = i / N_BACKENDS;
        int rows = shapes[at].rows, cols = shapes[at].cols;
        double x[MOST], got[MOST], want[MOST];

        matrix(at, x);
        orthogonalise(&be, x, rows, cols, got);
        reference(x, rows, cols, want);
        for (int j = 0; j < rows * cols; j++)
            assert_close(got[j], want[j], tolerance_of(&be));
    }
}

/* The band that muon.h promises, by the polynomial alone. */
static void five_steps_bring_a_hundredth_into_the_band(void **state)
{
    double least = 2, most = 0;

    (void)state;
    for (double s = 0.01; s <= 1; s += 1e-5) {
        least = fmin(least, quintic(s));
        most = fmax(most, quintic(s));
    }
    assert_true(least > 0.67 && most < 1.21);
}

static void the_result_is_near_the_polar_factor(void **state)
{
    (void)state;
    for (int i = 0; i < N_BACKENDS * N_SHAPES; i++) {
        struct backend be = open_backend(backends[i % N_BACKENDS]);
        int at = i / N_BACKENDS;
        int rows = shapes[at].rows, cols = shapes[at].cols, kept = 0;
        double x[MOST], got[MOST], polar[MOST], norm;
        struct svd d, e;

        matrix(at, x);
        norm = frobenius(x, rows * cols);
        decompose(x, rows, cols, &d);
        while (kept < d.n && d.s[kept] / norm > 0.01)
            kept++;
        orthogonalise(&be, x, rows, cols, got);
        decompose(got, rows, cols, &e);
        /* below 1/100 of the norm a value is still on its way up */
        for (int j = 0; j < d.n; j++)
            assert_true(e.s[j] < 1.21 && (j >= kept || e.s[j] > 0.67));
        if (kept < d.n)
            continue;
        for (int j = 0; j < d.n; j++)
            d.s[j] = 1;
        compose(&d, d.s, polar);
        for (int j = 0; j < rows * cols; j++)
            got[j] -= polar[j];
        decompose(got, rows, cols, &e);
        assert_true(e.s[0] < 0.33); /* the band around 1 */
    }
}

static void zero_and_rank_one_matrices_are_safe(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct backend be = open_backend(backends[b]);
        double x[12 * 20] = { 0 }, got[12 * 20], want[12 * 20];

        orthogonalise(&be, x, 12, 20, got);
        for (int i = 0; i < 12 * 20; i++)
            assert_true(got[i] == 0);
        for (int i = 0; i < 12 * 20; i++) /* u v^T */
            x[i] = (double)(float)((1 + i / 20) * 0.25 * (i % 20 - 9));
        orthogonalise(&be, x, 12, 20, got);
        reference(x, 12, 20, want);
        for (int i = 0; i < 12 * 20; i++)
            assert_close(got[i], want[i], tolerance_of(&be));
    }
}

static void size_and_sign_of_a_gradient_do_not_matter(void **state)
{
    struct backend be = open_backend("ref64");
    double x[MOST], y[MOST], a[MOST], b[MOST];

    (void)state;
    matrix(0, x);
    for (int i = 0; i < 12 * 48; i++)
        y[i] = -1024 * x[i];
    orthogonalise(&be, x, 12, 48, a);
    orthogonalise(&be, y, 12, 48, b);
    for (int i = 0; i < 12 * 48; i++)
        assert_true(a[i] == -b[i]); /* a power of two is exact */
}

/* --- updates --- */

#define E     3
#define ROWS  10
#define COLS  14
#define SLICE (ROWS * COLS)
#define ALL   (E * SLICE)

/* w, g, m of E stacked matrices, in a backend. */
struct stack {
    struct backend be;
    struct muon_scratch scratch;
    void *w, *g, *m;
};

static struct stack open_stack(const char *backend)
{
    struct stack s = { .be = open_backend(backend) };
    size_t bytes = MOST * dtype_bytes(s.be.dtype);
    char *memory = take(&s.be, &s.scratch);

    s.w = memory;
    s.g = memory + bytes;
    s.m = memory + 2 * bytes;
    return s;
}

static void close_stack(struct stack *s)
{
    s->be.ops->free(&s->be, s->scratch.x);
}

static void step(struct stack *s, const double *g, int64_t slices,
                 const struct muon_args *args)
{
    int64_t rows = slices * ROWS;

    s->be.ops->upload(&s->be, s->g, g, slices * SLICE);
    muon_update(&s->be, view_of(s->w, rows, COLS), view_of(s->g, rows, COLS),
                view_of(s->m, rows, COLS), slices, args, &s->scratch);
}

/* The formula in plain loops: m = momentum m + g, Nesterov, decay. */
static void reference_step(double *w, const double *g, double *m,
                           const struct muon_args *a)
{
    for (int e = 0; e < E; e++) {
        double u[SLICE], o[SLICE];

        for (int i = 0; i < SLICE; i++) {
            double d = a->grad_scale * g[e * SLICE + i];

            m[e * SLICE + i] = a->momentum * m[e * SLICE + i] + d;
            u[i] = d + a->momentum * m[e * SLICE + i];
        }
        reference(u, ROWS, COLS, o);
        for (int i = 0; i < SLICE; i++) {
            w[e * SLICE + i] *= 1 - a->decay;
            w[e * SLICE + i] -= a->lr * o[i];
        }
    }
}

static void an_update_is_the_formula(void **state)
{
    const struct muon_args args = { 0.25, 0.9, 0.125, 0.5 };

    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct stack s = open_stack(backends[b]);
        double w[ALL], g[ALL], m[ALL] = { 0 }, got[ALL], before[ALL];

        fill(w, ALL, 5);
        for (int i = 0; i < ALL; i++)
            w[i] = (double)(float)w[i];
        s.be.ops->upload(&s.be, s.w, w, ALL);
        for (int t = 0; t < 4; t++) {
            fill(g, ALL, 6 + (uint64_t)t);
            for (int i = 0; i < ALL; i++)
                g[i] = (double)(float)(1e-3 * g[i]);
            memcpy(before, w, sizeof(w));
            step(&s, g, E, &args);
            reference_step(w, g, m, &args);
            s.be.ops->download(&s.be, got, s.w, ALL);
            for (int i = 0; i < ALL; i++) {
                assert_close(got[i], w[i], 4 * tolerance_of(&s.be));
                before[i] = got[i] - (1 - args.decay) * before[i];
            }
            /* 10 singular values in the band, times the rate */
            for (int e = 0; e < E; e++)
                assert_close(frobenius(before + e * SLICE, SLICE) /
                                 (args.lr * sqrt(ROWS)),
                             0.94, 0.27);
        }
        close_stack(&s);
    }
}

static void stacked_experts_are_separate_matrices_bit_for_bit(void **state)
{
    const struct muon_args args = { 0.02, 0.95, 0.01, 0.7 };

    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct stack all = open_stack(backends[b]);
        double w[ALL], g[ALL], got[ALL], alone[SLICE];

        fill(w, ALL, 11);
        fill(g, ALL, 12);
        all.be.ops->upload(&all.be, all.w, w, ALL);
        step(&all, g, E, &args);
        step(&all, g, E, &args);
        all.be.ops->download(&all.be, got, all.w, ALL);
        for (int e = 0; e < E; e++) {
            struct stack s = open_stack(backends[b]);

            s.be.ops->upload(&s.be, s.w, w + e * SLICE, SLICE);
            step(&s, g + e * SLICE, 1, &args);
            step(&s, g + e * SLICE, 1, &args);
            s.be.ops->download(&s.be, alone, s.w, SLICE);
            assert_memory_equal(alone, got + e * SLICE, sizeof(alone));
            close_stack(&s);
        }
        close_stack(&all);
    }
}

static void permuted_experts_have_permuted_updates(void **state)
{
    const struct muon_args args = { 0.02, 0.95, 0.01, 0.7 };

    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        double w[ALL], g[ALL], to_w[ALL], to_g[ALL], x[ALL], y[ALL];
        struct stack s = open_stack(backends[b]), t = open_stack(backends[b]);

        fill(w, ALL, 21);
        fill(g, ALL, 22);
        for (int i = 0; i < ALL; i++) {
            to_w[(i + SLICE) % ALL] = w[i];
            to_g[(i + SLICE) % ALL] = g[i];
        }
        s.be.ops->upload(&s.be, s.w, w, ALL);
        t.be.ops->upload(&t.be, t.w, to_w, ALL);
        step(&s, g, E, &args);
        step(&t, to_g, E, &args);
        s.be.ops->download(&s.be, x, s.w, ALL);
        t.be.ops->download(&t.be, y, t.w, ALL);
        for (int i = 0; i < ALL; i++)
            assert_true(y[(i + SLICE) % ALL] == x[i]);
        close_stack(&s);
        close_stack(&t);
    }
}

static void an_expert_without_tokens_stays_where_it_is(void **state)
{
    const struct muon_args args = { 0.02, 0.95, 0, 1 };

    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        struct stack s = open_stack(backends[b]);
        double w[ALL], g[ALL], got[ALL];

        fill(w, ALL, 31);
        fill(g, ALL, 32);
        for (int i = 0; i < ALL; i++)
            w[i] = (double)(float)w[i];
        memset(g + SLICE, 0, SLICE * sizeof(double));
        s.be.ops->upload(&s.be, s.w, w, ALL);
        step(&s, g, E, &args);
        s.be.ops->download(&s.be, got, s.w, ALL);
        assert_memory_equal(got + SLICE, w + SLICE, SLICE * sizeof(double));
        for (int i = 0; i < SLICE; i++)
            assert_true(isfinite(got[i]) && got[i] != w[i]);
        close_stack(&s);
    }
}

/* --- in the trainer --- */

/* Square matrices at base, so that conventions differ by a constant there; at
 * the target the experts are wider and keys fewer. */
static struct run_config target(int64_t m)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = 8 * m;
    c.model.head_size = 4;
    c.model.kv_group = 2;
    c.model.ffn_ratio = 2;
    c.model.experts = 3;
    c.model.seq = 6;
    c.mup.base_width = 8;
    c.mup.base_head_size = 4;
    c.mup.base_kv_group = 1;
    c.mup.base_ffn_ratio = 1;
    c.mup.gqa = MUP_GQA_EXPERIMENTAL;
    c.mup.init_std = 0.3;
    c.train.optimizer = MUP_MUON;
    c.train.lr = 0.02;
    c.train.batch = 2;
    c.train.steps = 20;
    c.data.valid_sequences = 2;
    snprintf(c.run.backend, sizeof(c.run.backend), "ref64");
    return c;
}

static double last_loss(const struct run_config *c)
{
    struct trainer t = { 0 };
    struct trainer_step stats = { 0 };
    struct mup_error err = { 0 };

    if (trainer_open(c, NULL, &t, &err))
        fail_msg("%s", err.text);
    for (int s = 0; s < c->train.steps; s++)
        assert_int_equal(trainer_step(&t, s, &stats, &err), MUP_OK);
    trainer_close(&t);
    return stats.loss;
}

static void conventions_train_alike_once_they_agree_at_base(void **state)
{
    (void)state;
    for (int64_t m = 1; m <= 4; m++) {
        struct run_config c = target(m);
        double loss = last_loss(&c);

        for (int muon = MUP_MUON_KELLER_JORDAN; muon <= MUP_MUON_PLAIN;
             muon++) {
            struct run_config other = c;
            double constant = mup_muon_factor(muon, 8, 8);

            other.train.muon = muon;
            other.train.lr /= constant;
            other.train.muon_adam_lr *= constant;
            /* rates that differ by a few roundings, over 20 steps */
            assert_close(last_loss(&other), loss, 1e-10);
            other.mup.broken = MUP_BREAK_MUON;
            if (m > 1 && muon != MUP_MUON_PLAIN) /* has none to compensate */
                assert_true(fabs(last_loss(&other) - loss) > 1e-6);
        }
    }
}

static void a_matrix_moves_by_the_spectral_rule_at_every_width(void **state)
{
    (void)state;
    for (int64_t m = 1; m <= 16; m *= 2) {
        struct run_config c = target(m);
        struct trainer t = { 0 };
        int matrices = 0;

        assert_int_equal(trainer_plan(&c, NULL, &t, NULL), MUP_OK);
        for (int i = 0; i < t.model.params.n; i++) {
            const struct param *p = &t.model.params.list[i];

            assert_int_equal(p->optimizer,
                             mup_is_muon(p->shape.role) ? MUP_MUON : MUP_ADAMW);
            assert_int_equal(p->has_second, p->optimizer == MUP_ADAMW);
            if (p->optimizer != MUP_MUON)
                continue;
            matrices++;
            /* three roundings of numbers below 1 */
            assert_close(p->lr,
                         c.train.lr * sqrt((double)p->rows / (double)p->cols),
                         1e-15);
        }
        assert_int_equal(matrices, 7 * c.model.layers);
        trainer_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_quintic_is_applied_to_every_singular_value),
        cmocka_unit_test(five_steps_bring_a_hundredth_into_the_band),
        cmocka_unit_test(the_result_is_near_the_polar_factor),
        cmocka_unit_test(zero_and_rank_one_matrices_are_safe),
        cmocka_unit_test(size_and_sign_of_a_gradient_do_not_matter),
        cmocka_unit_test(an_update_is_the_formula),
        cmocka_unit_test(stacked_experts_are_separate_matrices_bit_for_bit),
        cmocka_unit_test(permuted_experts_have_permuted_updates),
        cmocka_unit_test(an_expert_without_tokens_stays_where_it_is),
        cmocka_unit_test(conventions_train_alike_once_they_agree_at_base),
        cmocka_unit_test(a_matrix_moves_by_the_spectral_rule_at_every_width),
    };

    return cmocka_run_group_tests_name("muon", tests, NULL, NULL);
}
