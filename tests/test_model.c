/* The whole model: finite differences in double, and the laws that the
 * parametrization and the mixture of experts must obey. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/trainer.h"
#include "tests/close.h"

/* A model small enough for finite differences: D 8, 2 layers, 3 experts. */
static struct run_config tiny(const char *backend)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = 8;
    c.model.layers = 2;
    c.model.head_size = 2;
    c.model.kv_group = 2;
    c.model.ffn_ratio = 2;
    c.model.experts = 3;
    c.model.top_k = 2;
    c.model.seq = 6;
    c.model.attn_softcap = 2;
    c.model.router_softcap = 3;
    c.mup.base_width = 4;
    c.mup.base_head_size = 2;
    c.mup.init_std = 0.5;
    c.mup.emb_mult = 2;
    c.train.lr = 0.01;
    c.train.batch = 2;
    c.train.steps = 20;
    c.train.z_loss = 0.01;
    c.train.router_z_loss = 0.02;
    c.train.balance_loss = 0.05;
    c.data.valid_sequences = 2;
    snprintf(c.run.backend, sizeof(c.run.backend), "%s", backend);
    return c;
}

static struct trainer open_trainer(const struct run_config *c,
                                   struct trainer *t)
{
    struct mup_error err = { 0 };

    if (trainer_open(c, NULL, t, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return *t;
}

/* The scalar whose gradient the backward pass claims to compute. */
static double total_loss(struct trainer *t)
{
    const struct run_config *c = &t->config;
    const double tokens = (double)(c->train.batch * c->model.seq);
    const struct loss_scale forward_only = { 0, 0 };
    struct model_losses l = { 0 };

    for (int64_t b = 0; b < t->model.B; b++)
        data_sequence(&t->train, b, 1, t->input + b * t->model.T,
                      t->target + b * t->model.T);
    model_forward(&t->model, t->input, t->target, &forward_only, &l);
    return (l.sums[0] + c->train.z_loss * l.sums[1] +
            c->train.router_z_loss * l.router[1]) /
               tokens +
           c->train.balance_loss * l.router[0] / (double)c->train.batch;
}

/* Largest relative error of the gradient over a sample of every tensor. */
static void check_gradients(const struct run_config *c)
{
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };
    const double h = 1e-5;

    open_trainer(c, &t);
    assert_int_equal(trainer_gradients(&t, 0, &stats, &err), MUP_OK);
    for (int i = 0; i < t.model.params.n; i++) {
        const struct param *p = &t.model.params.list[i];
        double *w = t.model.weight[i].data, *g = t.model.grad[i].data;
        double error = 0, size = 0;
        int64_t stride = p->count / 60 + 1;

        for (int64_t j = 0; j < p->count; j += stride) {
            double keep = w[j], up, down, numeric;

            w[j] = keep + h;
            up = total_loss(&t);
            w[j] = keep - h;
            down = total_loss(&t);
            w[j] = keep;
            numeric = (up - down) / (2 * h);
            error += (numeric - g[j]) * (numeric - g[j]);
            size += numeric * numeric;
        }
        /* central differences err by h^2 f''' and eps/h: about 1e-9 here,
         * against gradients around 1e-3 */
        if (sqrt(error) > 1e-5 * sqrt(size) + 1e-9)
            fail_msg("gradient of %s: error %g of %g", p->name, sqrt(error),
                     sqrt(size));
    }
    trainer_close(&t);
}

static void every_gradient_matches_finite_differences(void **state)
{
    struct run_config c = tiny("ref64");

    (void)state;
    check_gradients(&c);
}

static void gradients_match_with_options_switched(void **state)
{
    struct run_config c = tiny("ref64");

    (void)state;
    c.model.tied = 1;
    c.model.router_renorm = 1;
    c.model.router_softcap = 0;
    c.model.attn_softcap = 0;
    c.mup.parametrization = MUP_SP;
    check_gradients(&c);
    c = tiny("ref64");
    c.model.ffn_ratio = 0.25; /* F 2, smaller than D */
    c.model.top_k = 1;
    check_gradients(&c);
}

/* Everything beyond the plain network: QK-norm, a shared expert, multipliers
 * on every matrix and, with 2 layers over 1, on the branches. */
static struct run_config with_extras(const char *backend)
{
    struct run_config c = tiny(backend);

    c.model.qk_norm = c.model.shared_expert = 1;
    c.mup.parametrization = MUP_UMUP;
    c.mup.depth = MUP_COMPLETEP;
    c.mup.base_layers = 1;
    return c;
}

static void gradients_match_with_every_extra_part(void **state)
{
    struct run_config c = with_extras("ref64");

    (void)state;
    check_gradients(&c);
    c.mup.parametrization = MUP_MUP;
    c.mup.depth = MUP_DEPTH_MUP;
    c.mup.form = MUP_TABLE9;
    c.mup.moe = MUP_MOE_MEAN_FIELD;
    c.mup.base_experts = 1;
    c.model.tied = 1;
    check_gradients(&c);
    /* gains of heads that grow, and each part on its own */
    c = tiny("ref64");
    c.model.qk_norm = 1;
    c.model.head_size = 4;
    c.model.kv_group = 1;
    c.mup.form = MUP_TABLE9;
    check_gradients(&c);
    c = tiny("ref64");
    c.model.shared_expert = 1;
    c.model.router_renorm = 1;
    c.mup.form = MUP_TABLE3;
    check_gradients(&c);
}

/* --- an independent forward pass --- */

/* The weights and tokens of tests/reference/forward.py. */
static void fill_by_index(struct trainer *t)
{
    for (int i = 0; i < t->model.params.n; i++) {
        const struct param *p = &t->model.params.list[i];
        double *w = t->model.weight[i].data;

        for (int64_t j = 0; j < p->count; j++)
            w[j] = p->ones ? 1 + 0.3 * cos(0.9 * (double)j + i)
                           : 0.4 * sin(0.7 * (double)j + 1.3 * i);
    }
    for (int n = 0; n < t->model.N; n++) {
        t->input[n] = (7 * n + 3) % (int)t->model.V;
        t->target[n] = (5 * n + 1) % (int)t->model.V;
    }
}

static void the_forward_pass_agrees_with_an_independent_one(void **state)
{
    /* printed by tests/reference/forward.py: cross-entropy, lse^2, balance,
     * router lse^2 */
    static const double expected[3][4] = {
        { 56.8710436769796, 262.693069219564, 4.34719168034078,
          37.1411578159341 },
        { 59.5559948470242, 298.5579193358, 4.75053621486076,
          74.0185825672567 },
        { 55.8337832803118, 263.235562757938, 4.23874232748682,
          40.029016168671 },
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        const struct loss_scale forward_only = { 0, 0 };
        struct run_config c = i == 2 ? with_extras("ref64") : tiny("ref64");
        struct model_losses l = { 0 };
        struct trainer t = { 0 };

        if (i == 1) {
            c.mup.parametrization = MUP_SP;
            c.model.tied = c.model.router_renorm = 1;
            c.model.router_softcap = c.model.attn_softcap = 0;
        }
        c.model.vocab = 96;
        open_trainer(&c, &t);
        fill_by_index(&t);
        model_forward(&t.model, t.input, t.target, &forward_only, &l);
        /* 15 digits were printed */
        assert_close(l.sums[0], expected[i][0], 1e-12);
        assert_close(l.sums[1], expected[i][1], 1e-12);
        assert_close(l.router[0], expected[i][2], 1e-12);
        assert_close(l.router[1], expected[i][3], 1e-12);
        trainer_close(&t);
    }
}

static void check_micro_batches(struct run_config c)
{
    struct trainer a = { 0 }, b = { 0 };
    struct trainer_step sa, sb;
    struct mup_error err = { 0 };
    double *ga, *gb;

    open_trainer(&c, &a);
    c.train.micro_batch = 1;
    open_trainer(&c, &b);
    assert_int_equal(trainer_gradients(&a, 3, &sa, &err), MUP_OK);
    assert_int_equal(trainer_gradients(&b, 3, &sb, &err), MUP_OK);
    /* sums in double, in another order: a few ulp */
    assert_close(sa.loss, sb.loss, 1e-13);
    assert_close(sa.balance, sb.balance, 1e-13);
    ga = a.model.all_grads.data;
    gb = b.model.all_grads.data;
    for (int64_t i = 0; i < a.model.params.total; i++)
        assert_close(ga[i], gb[i], 1e-13);
    trainer_close(&a);
    trainer_close(&b);
}

static void micro_batches_add_up_to_the_batch(void **state)
{
    (void)state;
    check_micro_batches(tiny("ref64"));
    check_micro_batches(with_extras("ref64"));
}

/* Train `steps` steps and keep the weights; caller frees. */
static void *train(const struct run_config *c, int steps, size_t *bytes)
{
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };
    void *copy;

    open_trainer(c, &t);
    for (int s = 0; s < steps; s++)
        assert_int_equal(trainer_step(&t, s, &stats, &err), MUP_OK);
    *bytes = (size_t)t.model.params.total * dtype_bytes(t.be.dtype);
    copy = malloc(*bytes);
    assert_non_null(copy);
    memcpy(copy, t.model.all_weights.data, *bytes);
    trainer_close(&t);
    return copy;
}

static void assert_same_training(const struct run_config *a,
                                 const struct run_config *b, int same)
{
    size_t na, nb;
    void *wa = train(a, 12, &na), *wb = train(b, 12, &nb);

    assert_int_equal(na, nb);
    assert_int_equal(memcmp(wa, wb, na) == 0, same);
    free(wa);
    free(wb);
}

static void mup_at_base_width_is_sp_bit_for_bit(void **state)
{
    static const char *const backends[] = { "ref", "ref64", "auto" };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        for (int optimizer = MUP_ADAMW; optimizer <= MUP_SGD; optimizer++) {
            struct run_config mup = tiny(backends[i]), sp;

            mup.mup.base_width = mup.model.width;
            mup.train.weight_decay = 0.1;
            mup.train.optimizer = optimizer;
            sp = mup;
            sp.mup.parametrization = MUP_SP;
            assert_same_training(&mup, &sp, 1);
        }
    }
}

static void mup_away_from_base_width_is_not_sp(void **state)
{
    struct run_config mup = tiny("ref"), sp = mup;

    (void)state;
    sp.mup.parametrization = MUP_SP;
    assert_same_training(&mup, &sp, 0);
}

static void the_same_seed_gives_the_same_bits(void **state)
{
    struct run_config c = tiny("auto"), other = c;

    (void)state;
    assert_same_training(&c, &c, 1);
    other.train.seed = 2;
    assert_same_training(&c, &other, 0);
}

static void zero_readout_starts_at_ln_v(void **state)
{
    struct mup_error err = { 0 };

    (void)state;
    for (int64_t width = 4; width <= 32; width *= 2) {
        struct run_config c = tiny("ref64");
        struct trainer t = { 0 };
        double loss;

        c.model.width = width;
        c.model.kv_group = 1;
        c.mup.zero_readout = 1;
        open_trainer(&c, &t);
        assert_int_equal(trainer_evaluate(&t, &loss, &err), MUP_OK);
        assert_close(loss, log((double)c.model.vocab), 1e-13);
        trainer_close(&t);
    }
}

static void measured_init_std_follows_the_rule(void **state)
{
    (void)state;
    for (int64_t width = 16; width <= 64; width *= 2) {
        struct run_config c = tiny("ref64");
        struct trainer t = { 0 };

        c.model.width = width;
        open_trainer(&c, &t);
        for (int i = 0; i < t.model.params.n; i++) {
            const struct param *p = &t.model.params.list[i];
            const double *w = t.model.weight[i].data;
            double squares = 0, n = (double)p->count;

            if (p->ones || p->init_std == 0)
                continue;
            for (int64_t j = 0; j < p->count; j++)
                squares += w[j] * w[j];
            /* the standard error of an rms over n normals is std/sqrt(2n) */
            assert_true(fabs(sqrt(squares / n) / p->init_std - 1) <
                        4 / sqrt(2 * n));
        }
        trainer_close(&t);
    }
}

/* --- mixture-of-experts laws --- */

/* Give every expert the first expert's weights. */
static void make_experts_identical(struct trainer *t)
{
    for (int l = 0; l < t->model.L; l++) {
        const struct block_params *b = &t->model.params.block[l];
        const int ids[] = { b->gate, b->up, b->down };

        for (int i = 0; i < 3; i++) {
            const struct param *p = &t->model.params.list[ids[i]];
            double *w = t->model.weight[ids[i]].data;

            for (int64_t e = 1; e < p->slices; e++)
                memcpy(w + e * p->rows * p->cols, w,
                       (size_t)(p->rows * p->cols) * sizeof(double));
        }
    }
}

static void copy_by_name(struct trainer *to, const struct trainer *from)
{
    for (int i = 0; i < to->model.params.n; i++) {
        const struct param *p = &to->model.params.list[i];
        int j = params_find(&from->model.params, p->name);
        int64_t n = p->rows * p->cols;

        if (strstr(p->name, "router"))
            continue;
        memcpy(to->model.weight[i].data, from->model.weight[j].data,
               (size_t)(p->slices * n) * sizeof(double));
    }
}

static void identical_experts_with_all_chosen_are_a_dense_ffn(void **state)
{
    struct run_config c = tiny("ref64");
    struct trainer moe = { 0 }, dense = { 0 };

    (void)state;
    c.model.top_k = c.model.experts; /* softmax gates then sum to 1 */
    c.train.balance_loss = c.train.router_z_loss = 0;
    open_trainer(&c, &moe);
    make_experts_identical(&moe);
    c.model.experts = c.model.top_k = 1;
    open_trainer(&c, &dense);
    copy_by_name(&dense, &moe);
    /* three gates sum to 1 up to rounding */
    assert_close(total_loss(&moe), total_loss(&dense), 1e-13);
    trainer_close(&moe);
    trainer_close(&dense);
}

/* Swap slices a and b of an array of slices. */
static void swap(void *data, size_t slice_bytes, int64_t a, int64_t b)
{
    char *x = (char *)data + (size_t)a * slice_bytes;
    char *y = (char *)data + (size_t)b * slice_bytes;

    for (size_t i = 0; i < slice_bytes; i++) {
        char keep = x[i];

        x[i] = y[i];
        y[i] = keep;
    }
}

/* Exchange experts 0 and 2 of every block: router rows and expert slices. */
static void swap_experts(struct trainer *t)
{
    for (int l = 0; l < t->model.L; l++) {
        const struct block_params *p = &t->model.params.block[l];
        const int ids[] = { p->gate, p->up, p->down, p->router };

        for (int i = 0; i < 4; i++) {
            const struct param *q = &t->model.params.list[ids[i]];
            int64_t n = q->slices > 1 ? q->rows * q->cols : q->cols;

            swap(t->model.weight[ids[i]].data, (size_t)n * sizeof(float), 0, 2);
        }
    }
}

/* Exchange heads 0 and 1 of every block: rows of q, k, v, columns of o. */
static void swap_heads(struct trainer *t)
{
    size_t K = (size_t)t->model.K, D = (size_t)t->model.D;

    for (int l = 0; l < t->model.L; l++) {
        const struct block_params *p = &t->model.params.block[l];
        float *o = t->model.weight[p->o].data;

        swap(t->model.weight[p->q].data, K * D * sizeof(float), 0, 1);
        swap(t->model.weight[p->k].data, K * D * sizeof(float), 0, 1);
        swap(t->model.weight[p->v].data, K * D * sizeof(float), 0, 1);
        for (size_t r = 0; r < D; r++)
            swap(o + r * D, K * sizeof(float), 0, 1);
    }
}

/* Train a model and its permuted twin; permuted back, the twin has the same
 * bits.  ref keeps sums in double and rounds once to float, so that the order
 * of a sum (over experts in the softmax, over heads in w_o) shows in a float
 * only by a coincidence of some 1e-8; clipping is off because its factor is
 * used in double. */
static void check_permutation(struct run_config *c,
                              void (*permute)(struct trainer *t))
{
    struct trainer a = { 0 }, b = { 0 };
    struct trainer_step sa, sb;
    struct mup_error err = { 0 };
    size_t bytes;

    c->train.clip = 0;
    open_trainer(c, &a);
    open_trainer(c, &b);
    bytes = (size_t)a.model.params.total * sizeof(float);
    permute(&b);
    assert_memory_not_equal(a.model.all_weights.data, b.model.all_weights.data,
                            bytes);
    for (int s = 0; s < 8; s++) {
        assert_int_equal(trainer_step(&a, s, &sa, &err), MUP_OK);
        assert_int_equal(trainer_step(&b, s, &sb, &err), MUP_OK);
        assert_true((float)sa.loss == (float)sb.loss);
    }
    permute(&b);
    assert_memory_equal(a.model.all_weights.data, b.model.all_weights.data,
                        bytes);
    trainer_close(&a);
    trainer_close(&b);
}

static void permuted_experts_train_the_same_bits(void **state)
{
    struct run_config c = tiny("ref");

    (void)state;
    check_permutation(&c, swap_experts);
}

static void permuted_heads_train_the_same_bits(void **state)
{
    struct run_config c = tiny("ref");

    (void)state;
    c.model.kv_group = 1; /* each head with its own keys */
    check_permutation(&c, swap_heads);
}

static void one_expert_gives_the_router_no_gradient(void **state)
{
    struct run_config c = tiny("ref64");
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };

    (void)state;
    c.model.experts = c.model.top_k = 1;
    c.train.router_z_loss = 0;
    open_trainer(&c, &t);
    assert_int_equal(trainer_gradients(&t, 0, &stats, &err), MUP_OK);
    for (int l = 0; l < t.model.L; l++) {
        int id = t.model.params.block[l].router;
        const double *g = t.model.grad[id].data;

        for (int64_t i = 0; i < t.model.params.list[id].count; i++)
            assert_close(g[i], 0, 1e-15);
    }
    trainer_close(&t);
}

static void a_non_finite_loss_updates_nothing(void **state)
{
    struct run_config c = tiny("auto");
    struct trainer t = { 0 };
    struct trainer_step stats;
    struct mup_error err = { 0 };
    float *w, before;

    (void)state;
    open_trainer(&c, &t);
    w = t.model.weight[t.model.params.unembed].data;
    before = w[5];
    w[0] = NAN;
    assert_int_equal(trainer_step(&t, 0, &stats, &err), MUP_OK);
    assert_false(stats.finite);
    assert_true(w[5] == before);
    trainer_close(&t);
}

static void training_lowers_the_loss(void **state)
{
    struct run_config c = tiny("auto");
    struct trainer t = { 0 };
    struct trainer_step stats = { 0 };
    struct mup_error err = { 0 };
    double before, after;

    (void)state;
    c.model.width = 16;
    c.train.batch = 8;
    c.train.steps = 60;
    c.train.lr = 0.02;
    c.data.valid_sequences = 7; /* not a multiple of the batch */
    open_trainer(&c, &t);
    assert_int_equal(trainer_evaluate(&t, &before, &err), MUP_OK);
    for (int s = 0; s < 60; s++)
        assert_int_equal(trainer_step(&t, s, &stats, &err), MUP_OK);
    assert_int_equal(trainer_evaluate(&t, &after, &err), MUP_OK);
    assert_true(after < before - 1);
    assert_true(after > synthetic_entropy_rate());
    trainer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_matches_finite_differences),
        cmocka_unit_test(gradients_match_with_options_switched),
        cmocka_unit_test(gradients_match_with_every_extra_part),
        cmocka_unit_test(the_forward_pass_agrees_with_an_independent_one),
        cmocka_unit_test(micro_batches_add_up_to_the_batch),
        cmocka_unit_test(mup_at_base_width_is_sp_bit_for_bit),
        cmocka_unit_test(mup_away_from_base_width_is_not_sp),
        cmocka_unit_test(the_same_seed_gives_the_same_bits),
        cmocka_unit_test(zero_readout_starts_at_ln_v),
        cmocka_unit_test(measured_init_std_follows_the_rule),
        cmocka_unit_test(identical_experts_with_all_chosen_are_a_dense_ffn),
        cmocka_unit_test(permuted_experts_train_the_same_bits),
        cmocka_unit_test(permuted_heads_train_the_same_bits),
        cmocka_unit_test(one_expert_gives_the_router_no_gradient),
        cmocka_unit_test(a_non_finite_loss_updates_nothing),
        cmocka_unit_test(training_lowers_the_loss),
    };

    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
