/* Symmetries of the parametrization over whole training runs of the real
 * model, to the last bit: scaling by a power of two is exact, so a factor that
 * is moved and not lost leaves every loss as it was. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/schedule.h"
#include "model/trainer.h"
#include "tests/close.h"

#define STEPS 20
#define BASE  8

static const char *const backends[] = { "ref", "ref64", "fast" };
#define N_BACKENDS (int)(sizeof(backends) / sizeof(backends[0]))

/* Every kind of tensor that there is, m times as wide as base.  No clipping:
 * the norm of the gradient is not the same in every form. */
static struct run_config config_of(const char *backend, int64_t m)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = BASE * m;
    c.model.layers = 2;
    c.model.head_size = 4;
    c.model.kv_group = 2;
    c.model.ffn_ratio = 2;
    c.model.experts = 3;
    c.model.top_k = 2;
    c.model.seq = 6;
    c.model.qk_norm = 1;
    c.model.shared_expert = 1;
    c.mup.base_width = BASE;
    c.mup.base_head_size = 4;
    c.mup.init_std = 0.3;
    c.mup.emb_mult = 2;
    c.train.lr = 0.01;
    c.train.eps = 1e-4; /* large enough to matter */
    c.train.batch = 2;
    c.train.steps = STEPS;
    c.train.weight_decay = 0.1;
    c.train.z_loss = 0.01;
    c.train.clip = 0;
    c.data.valid_sequences = 2;
    snprintf(c.run.backend, sizeof(c.run.backend), "%s", backend);
    return c;
}

/* Losses of a run and, at its end, every weight times its multiplier. */
struct path {
    double loss[STEPS];
    double *computed;
    int64_t n;
};

/* Changes a trainer before it runs; factor as it likes. */
typedef void (*change)(struct trainer *t, int which, double factor);

static void keep_weights(struct trainer *t, struct path *out)
{
    out->n = t->model.params.total;
    out->computed = malloc((size_t)out->n * sizeof(double));
    assert_non_null(out->computed);
    t->be.ops->download(&t->be, out->computed, t->model.all_weights.data,
                        out->n);
    for (int i = 0; i < t->model.params.n; i++) {
        const struct param *p = &t->model.params.list[i];

        for (int64_t j = 0; j < p->count; j++)
            out->computed[p->first + j] *= p->forward;
    }
}

static void follow(const struct run_config *c, change edit, int which,
                   struct path *out)
{
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };

    if (trainer_open(c, NULL, &t, &err) != MUP_OK)
        fail_msg("%s", err.text);
    if (edit)
        edit(&t, which, 4);
    for (int s = 0; s < c->train.steps; s++) {
        assert_int_equal(trainer_step(&t, s, &stats, &err), MUP_OK);
        assert_true(stats.finite);
        out->loss[s] = stats.loss;
    }
    keep_weights(&t, out);
    trainer_close(&t);
}

/* Whether every loss and every weight is the same; what names the run. */
static int same_path(const struct path *a, const struct path *b, int n)
{
    return a->n == b->n &&
           !memcmp(a->loss, b->loss, (size_t)n * sizeof(double)) &&
           !memcmp(a->computed, b->computed, (size_t)a->n * sizeof(double));
}

static void compare(const struct run_config *a, const struct run_config *b,
                    change edit, int which, int same)
{
    struct path pa, pb;
    int n = (int)a->train.steps;

    follow(a, NULL, 0, &pa);
    follow(b, edit, which, &pb);
    if (same_path(&pa, &pb, n) != same)
        fail_msg(
            "%s, %s, %s, decay %s, %s against %s, width %d, change %d: "
            "%s; losses %.17g and %.17g",
            a->run.backend, mup_parametrization_name(a->mup.parametrization),
            mup_optimizer_name(a->train.optimizer),
            mup_decay_name(a->train.decay_mode), mup_form_name(a->mup.form),
            mup_form_name(b->mup.form), (int)a->model.width, which,
            same ? "not the same bits" : "the same bits", pa.loss[n - 1],
            pb.loss[n - 1]);
    free(pa.computed);
    free(pb.computed);
}

/* SGD, Adam, Lion, Muon, and AdamW with every way to decay. */
static void set_optimizer(struct run_config *c, int i)
{
    static const int optimizers[] = { MUP_SGD, MUP_ADAM, MUP_LION, MUP_MUON };

    c->train.optimizer = i < 4 ? optimizers[i] : MUP_ADAMW;
    c->train.decay_mode = i < 4 ? MUP_DECAY_INDEPENDENT : i - 4;
    c->train.lr = c->train.optimizer == MUP_SGD ? 0.1 : 0.01;
    c->train.weight_decay = c->train.optimizer == MUP_ADAM ? 0 : 0.1;
    if (c->train.decay_mode == MUP_DECAY_DETACHED)
        c->train.weight_decay = 1e-3;
    if (c->train.optimizer == MUP_LION)
        c->train.lr = 1e-3;
}
#define N_OPTIMIZERS 9

static void check_forms(struct run_config c, int form, int same)
{
    struct run_config other = c;

    other.mup.form = form;
    compare(&c, &other, NULL, 0, same);
}

static void table_3_trains_as_table_8_bit_for_bit(void **state)
{
    (void)state;
    for (int i = 0; i < N_BACKENDS * N_OPTIMIZERS * 2; i++) {
        struct run_config c =
            config_of(backends[i % N_BACKENDS], i / N_BACKENDS % 2 ? 4 : 2);

        set_optimizer(&c, i / (2 * N_BACKENDS));
        check_forms(c, MUP_TABLE3, 1);
    }
}

static void table_9_trains_as_table_8_bit_for_bit(void **state)
{
    (void)state;
    for (int i = 0; i < N_BACKENDS * N_OPTIMIZERS; i++) {
        struct run_config c = config_of(backends[i % N_BACKENDS], 4);

        set_optimizer(&c, i / N_BACKENDS);
        check_forms(c, MUP_TABLE9, 1);
    }
}

static void forms_agree_under_the_other_rules_too(void **state)
{
    (void)state;
    for (int form = MUP_TABLE3; form <= MUP_TABLE9; form++)
        for (int moe = MUP_MOE_FIXED_E; moe <= MUP_MOE_MSSP_BOTTLENECK; moe++) {
            struct run_config c = config_of("ref64", 4);

            c.mup.moe = moe;
            c.mup.base_experts = 3;
            c.model.experts = 6;
            c.mup.depth = moe % 2 ? MUP_COMPLETEP : MUP_DEPTH_MUP;
            c.mup.base_layers = 1;
            c.train.atan2 = moe > 1;
            check_forms(c, form, 1);
        }
}

static void a_clip_above_the_norm_changes_nothing(void **state)
{
    struct run_config c = config_of("ref", 4), clipped = c;

    (void)state;
    clipped.train.clip = 1e6;
    compare(&c, &clipped, NULL, 0, 1);
    check_forms(clipped, MUP_TABLE9, 1);
    c.train.clip = 1e-3; /* the norm depends on the form */
    check_forms(c, MUP_TABLE3, 0);
}

static void a_tied_table_trains_alike_in_tables_8_and_9(void **state)
{
    (void)state;
    for (int i = 0; i < N_BACKENDS * N_OPTIMIZERS; i++) {
        struct run_config c = config_of(backends[i % N_BACKENDS], 4);
        struct trainer t = { 0 };
        struct mup_error err = { 0 };

        c.model.tied = 1;
        set_optimizer(&c, i / N_BACKENDS);
        check_forms(c, MUP_TABLE9, 1);
        c.mup.form = MUP_TABLE3;
        assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_USAGE);
        assert_non_null(strstr(err.text, "'embed'"));
    }
}

/* --- what must show --- */

static void unscale_epsilon(struct trainer *t, int which, double factor)
{
    (void)which;
    (void)factor;
    for (int i = 0; i < t->model.params.n; i++)
        t->model.params.list[i].eps = t->config.train.eps;
}

/* torch's AdamW with one weight decay for all tensors */
static void unscale_decay(struct trainer *t, int which, double factor)
{
    (void)which;
    (void)factor;
    for (int i = 0; i < t->model.params.n; i++) {
        struct param *p = &t->model.params.list[i];

        if (p->shrink > 0)
            p->shrink = p->lr * t->config.train.weight_decay;
    }
}

static void forgotten_factors_are_seen(void **state)
{
    struct run_config a = config_of("ref64", 4), b = a, three;

    (void)state;
    b.mup.form = MUP_TABLE3;
    compare(&a, &b, unscale_epsilon, 0, 0);
    compare(&a, &b, unscale_decay, 0, 0);
    three = config_of("ref64", 3); /* rounding shows */
    check_forms(three, MUP_TABLE3, 0);
    check_forms(config_of("ref64", 2), MUP_TABLE9, 0);
}

/* --- at base --- */

static int refused(const struct run_config *c)
{
    struct run_config checked = *c;

    return run_config_check(&checked, NULL) != MUP_OK;
}

static void every_parametrization_is_sp_at_base(void **state)
{
    int runs = 0;

    (void)state;
    for (int i = 0; i < N_BACKENDS * N_OPTIMIZERS * 3; i++) {
        struct run_config c = config_of(backends[i % N_BACKENDS], 1), sp;

        set_optimizer(&c, i / N_BACKENDS % N_OPTIMIZERS);
        sp = c;
        sp.mup.parametrization = MUP_SP;
        c.mup.parametrization = MUP_MUP + i / (N_BACKENDS * N_OPTIMIZERS);
        if (refused(&c))
            continue;
        compare(&c, &sp, NULL, 0, 1);
        runs++;
    }
    /* no sgd under two of them, no muon under one */
    assert_int_equal(runs, N_BACKENDS * (3 * N_OPTIMIZERS - 3));
}

static void depth_and_expert_rules_do_nothing_at_their_base(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * 3 * 4; i++) {
        struct run_config c = config_of("ref", 2), plain = c;

        c.mup.depth = i % 3;
        c.mup.base_layers = c.model.layers;
        c.mup.base_experts = c.model.experts;
        c.mup.moe = i / 6;
        set_optimizer(&c, i / 3 % 2 ? 0 : 4);
        set_optimizer(&plain, i / 3 % 2 ? 0 : 4);
        /* the regimes' routers have rules of their own away from base width */
        if (c.mup.moe)
            c.model.width = plain.model.width = BASE;
        if (!refused(&c))
            compare(&c, &plain, NULL, 0, 1);
    }
}

static void depth_rules_train_other_bits_away_from_base(void **state)
{
    struct run_config plain = config_of("ref", 1), c = plain;

    (void)state;
    c.mup.base_layers = 1;
    c.mup.depth = MUP_COMPLETEP;
    compare(&plain, &c, NULL, 0, 0);
    c.mup.depth = MUP_DEPTH_MUP;
    compare(&plain, &c, NULL, 0, 0);
}

/* --- any tensor --- */

/* Move factor from the weights of tensor `which` into its multiplier. */
static void move_factor(struct trainer *t, int which, double factor)
{
    struct param *p = &t->model.params.list[which];
    void *data = t->model.weight[which].data;
    double *w = malloc((size_t)p->count * sizeof(double));

    assert_non_null(w);
    p->forward *= factor;
    if (which == t->model.params.unembed)
        t->model.params.readout *= factor;
    p->lr /= p->optimizer == MUP_SGD ? factor * factor : factor;
    p->eps *= factor;
    t->be.ops->download(&t->be, w, data, p->count);
    for (int64_t i = 0; i < p->count; i++)
        w[i] /= factor;
    t->be.ops->upload(&t->be, data, w, p->count);
    free(w);
}

static void any_tensor_may_hand_a_power_of_two_to_its_multiplier(void **state)
{
    struct trainer t = { 0 };
    struct run_config c = config_of("ref64", 2);
    int n;

    (void)state;
    assert_int_equal(trainer_plan(&c, NULL, &t, NULL), MUP_OK);
    n = t.model.params.n;
    trainer_close(&t);
    for (int i = 0; i < 4 * n; i++) {
        static const int optimizers[] = { 0, 1, 2, 4 };

        c = config_of(i % 2 ? "ref64" : "ref", 2);
        set_optimizer(&c, optimizers[i % 4]);
        c.train.steps = 5;
        compare(&c, &c, move_factor, i / 4, 1);
    }
}

static void the_norm_does_not_see_a_power_of_two(void **state)
{
    (void)state;
    for (int b = 0; b < N_BACKENDS; b++) {
        double x[3 * 40], y[2][3 * 40];
        struct backend be;

        assert_int_equal(backend_open(backends[b], &be, NULL), MUP_OK);
        for (int i = 0; i < 2; i++) {
            size_t bytes = 3 * 40 * dtype_bytes(be.dtype);
            char *memory = be.ops->alloc(&be, 4 * bytes);
            struct view v = view_of(memory, 3, 40);
            struct view to = view_of(memory + bytes, 3, 40);
            struct view gain = view_of(memory + 2 * bytes, 1, 40);
            struct view rstd = view_of(memory + 3 * bytes, 3, 1);

            for (int j = 0; j < 3 * 40; j++)
                x[j] = (i ? 64 : 1) * (double)(float)sin(1 + 0.7 * j);
            be.ops->upload(&be, v.data, x, 3 * 40);
            be.ops->upload(&be, gain.data, x + 40, 40);
            be.ops->rmsnorm(&be, to, rstd, v, gain, i ? 1 / 64.0 : 1, 0);
            be.ops->download(&be, y[i], to.data, 3 * 40);
            be.ops->free(&be, memory);
        }
        assert_memory_equal(y[0], y[1], sizeof(y[0]));
    }
}

/* --- initialisation and schedule --- */

static void a_zero_query_attends_evenly(void **state)
{
    struct run_config c = config_of("ref64", 2);
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };

    (void)state;
    c.mup.zero_query = 1;
    c.model.qk_norm = 0;
    assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_OK);
    assert_int_equal(trainer_gradients(&t, 0, &stats, &err), MUP_OK);
    for (int64_t n = 0; n < t.model.N; n++) {
        const struct block_state *s = &t.model.block[0];
        int64_t first = n / t.model.T * t.model.T, H = t.model.H;
        const double *lse = s->lse.data, *v = s->v.data, *o = s->o.data;

        for (int64_t i = 0; i < H * t.model.K; i++) {
            int64_t column = i / t.model.K / 2 * t.model.K + i % t.model.K;
            double mean = 0;

            for (int64_t j = first; j <= n; j++)
                mean += v[j * s->v.cols + column];
            mean /= (double)(n - first + 1);
            /* sums of up to 6 numbers around 1 */
            assert_close(o[n * H * t.model.K + i], mean, 1e-14);
            assert_close(lse[n * H + i / t.model.K],
                         log((double)(n - first + 1)), 1e-15);
        }
    }
    trainer_close(&t);
}

static void zero_readout_starts_at_ln_v_in_every_parametrization(void **state)
{
    struct mup_error err = { 0 };

    (void)state;
    for (int i = 0; i < 4 * 3; i++) {
        struct run_config c = config_of("ref64", 1 << i / 4);
        struct trainer t = { 0 };
        double loss;

        c.mup.parametrization = i % 4;
        c.mup.zero_readout = 1;
        assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_OK);
        assert_int_equal(trainer_evaluate(&t, &loss, &err), MUP_OK);
        assert_close(loss, log((double)c.model.vocab), 1e-13);
        trainer_close(&t);
    }
}

/* Standard deviation of multiplier x weight, whatever form it is kept in. */
static double expected_std(const struct run_config *c, const struct param *p)
{
    double m = mup_ratio(p->shape.fan_in), s = c->mup.init_std;
    int maximal =
        c->mup.parametrization == MUP_MUP || c->mup.parametrization == MUP_UMUP;

    switch (mup_role_class(p->shape.role)) {
    case MUP_INPUT:
        return c->mup.emb_mult * s;
    case MUP_OUTPUT:
        return maximal ? s / m : s / sqrt(m);
    default:
        return s / sqrt(m);
    }
}

static void check_spread(const struct run_config *c)
{
    struct trainer t = { 0 };
    struct mup_error err = { 0 };

    if (trainer_open(c, NULL, &t, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < t.model.params.n; i++) {
        const struct param *p = &t.model.params.list[i];
        const double *w = t.model.weight[i].data;
        double squares = 0, n = (double)p->count, std;

        for (int64_t j = 0; j < p->count; j++)
            squares += w[j] * w[j];
        std = p->forward * sqrt(squares / n);
        if (p->ones > 0)
            assert_close(std, 1, 1e-14);
        /* the standard error of an rms over n normals is std/sqrt(2n); 15
         * configs of 41 tensors, four of these errors */
        else if (fabs(std / expected_std(c, p) - 1) > 4 / sqrt(2 * n))
            fail_msg("%s: std %g, not %g", p->name, std, expected_std(c, p));
    }
    trainer_close(&t);
}

static void measured_std_follows_the_formula_in_every_form(void **state)
{
    (void)state;
    for (int64_t m = 2; m <= 8; m *= 2) {
        struct run_config c = config_of("ref64", m);

        for (int form = MUP_TABLE8; form <= MUP_TABLE9; form++) {
            c.mup.form = form;
            check_spread(&c);
        }
        c.mup.form = MUP_TABLE8;
        for (int p = MUP_SP; p <= MUP_UMUP; p++) {
            c.mup.parametrization = p;
            check_spread(&c);
        }
    }
}

/* Root mean square of every tensor's first gradient over its epsilon. */
static int gradients_over_eps(const struct run_config *c, double *out)
{
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };
    int n;

    if (trainer_open(c, NULL, &t, &err))
        fail_msg("%s", err.text);
    assert_int_equal(trainer_gradients(&t, 0, &stats, &err), MUP_OK);
    n = t.model.params.n;
    for (int i = 0; i < n; i++) {
        const struct param *p = &t.model.params.list[i];
        double squares;

        t.be.ops->sum_squares(&t.be, &squares, t.model.grad[i]);
        out[i] = sqrt(squares / (double)p->count) / p->scale.eps;
        /* untrained, the experts' outputs point anywhere: its gradient falls
         * by another m^-1/2 until they are aligned */
        if (p->shape.role == MUP_ROUTER)
            out[i] = 1;
    }
    trainer_close(&t);
    return n;
}

/* Measured: epsilon is derived from how gradients shrink with width. */
static void epsilon_shrinks_as_gradients_do(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        static const int parametrization[] = { MUP_MUP, MUP_MUP, MUP_MUP,
                                               MUP_SP_PERLAYER, MUP_UMUP };
        double base[64], wide[64];
        int n;

        for (int64_t m = 2; m <= 16; m *= 8) {
            struct run_config c = config_of("fast", m);

            c.mup.parametrization = parametrization[i];
            c.mup.form = i < 3 ? i : MUP_TABLE8;
            c.model.qk_norm = 0;
            c.model.seq = 32;
            c.mup.out_mult = 0.05; /* even a narrow model guesses evenly */
            c.train.batch = 16;
            c.train.balance_loss = c.train.router_z_loss = 0;
            n = gradients_over_eps(&c, m == 2 ? base : wide);
        }
        /* m grows by 8: without the rule 1/8 or 1/sqrt(8); the rest is the
         * chance of one draw */
        for (int j = 0; j < n; j++)
            if (!(wide[j] / base[j] > 0.6 && wide[j] / base[j] < 1.6))
                fail_msg("tensor %d, case %d: %g", j, i, wide[j] / base[j]);
    }
}

/* Lion moves every weight by learning rate x schedule: what a step moves,
 * over the tensor's rate, is the schedule's factor for all tensors. */
static void the_schedule_multiplies_every_group(void **state)
{
    struct run_config c = config_of("ref64", 4);
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };
    double *before;

    (void)state;
    c.train.optimizer = MUP_LION;
    c.train.weight_decay = 0;
    assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_OK);
    before = malloc((size_t)t.model.params.total * sizeof(double));
    assert_non_null(before);
    for (int s = 0; s < 10; s++) {
        const double *w = t.model.all_weights.data;

        memcpy(before, w, (size_t)t.model.params.total * sizeof(double));
        assert_int_equal(trainer_step(&t, s, &stats, &err), MUP_OK);
        for (int i = 0; i < t.model.params.n; i++) {
            const struct param *p = &t.model.params.list[i];
            double moved = 0;

            for (int64_t j = p->first; j < p->first + p->count; j++)
                moved = fmax(moved, fabs(w[j] - before[j]));
            /* a difference of numbers around 1, over rates above 1e-3 */
            assert_close(moved / p->lr, schedule_factor(&c.train, s), 1e-12);
        }
    }
    free(before);
    trainer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_3_trains_as_table_8_bit_for_bit),
        cmocka_unit_test(table_9_trains_as_table_8_bit_for_bit),
        cmocka_unit_test(forms_agree_under_the_other_rules_too),
        cmocka_unit_test(a_clip_above_the_norm_changes_nothing),
        cmocka_unit_test(a_tied_table_trains_alike_in_tables_8_and_9),
        cmocka_unit_test(forgotten_factors_are_seen),
        cmocka_unit_test(every_parametrization_is_sp_at_base),
        cmocka_unit_test(depth_and_expert_rules_do_nothing_at_their_base),
        cmocka_unit_test(depth_rules_train_other_bits_away_from_base),
        cmocka_unit_test(any_tensor_may_hand_a_power_of_two_to_its_multiplier),
        cmocka_unit_test(the_norm_does_not_see_a_power_of_two),
        cmocka_unit_test(a_zero_query_attends_evenly),
        cmocka_unit_test(zero_readout_starts_at_ln_v_in_every_parametrization),
        cmocka_unit_test(measured_std_follows_the_formula_in_every_form),
        cmocka_unit_test(epsilon_shrinks_as_gradients_do),
        cmocka_unit_test(the_schedule_multiplies_every_group),
    };

    return cmocka_run_group_tests_name("invariance", tests, NULL, NULL);
}
