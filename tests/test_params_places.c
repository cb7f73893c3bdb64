/* The rules are about whole tensors: how ranks cut a model changes no factor,
 * no learning rate and no start of any of its tensors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/params.h"

static struct run_config config_with(int optimizer, int parametrization)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = 96;
    c.model.layers = 3;
    c.model.head_size = 8;
    c.model.kv_group = 3;
    c.model.experts = 5; /* uneven along `expert`, as is F along `tensor` */
    c.model.ffn_ratio = 1.7;
    c.model.vocab = 97;
    c.model.qk_norm = 1;
    c.model.shared_expert = 1;
    c.mup.parametrization = parametrization;
    c.mup.base_width = 24;
    c.mup.base_head_size = 8;
    c.mup.base_layers = 1;
    c.mup.depth = parametrization == MUP_MUP ? MUP_DEPTH_MUP : MUP_DEPTH_NONE;
    c.train.optimizer = optimizer;
    c.train.lr = 0.0123;
    c.train.weight_decay = 0.1;
    return c;
}

static void assert_same_bits(double a, double b, const char *name)
{
    if (memcmp(&a, &b, sizeof(a)) != 0)
        fail_msg("%s: %.17g, alone %.17g", name, a, b);
}

static void assert_same_rules(const struct param *p, const struct param *q)
{
    assert_string_equal(p->name, q->name);
    assert_memory_equal(&p->shape.fan_out, &q->shape.fan_out,
                        sizeof(p->shape.fan_out));
    assert_memory_equal(&p->shape.fan_in, &q->shape.fan_in,
                        sizeof(p->shape.fan_in));
    assert_int_equal(p->shape.role, q->shape.role);
    assert_memory_equal(&p->scale, &q->scale, sizeof(p->scale));
    assert_same_bits(p->init_std, q->init_std, p->name);
    assert_same_bits(p->ones, q->ones, p->name);
    assert_same_bits(p->forward, q->forward, p->name);
    assert_same_bits(p->lr, q->lr, p->name);
    assert_same_bits(p->eps, q->eps, p->name);
    assert_same_bits(p->shrink, q->shrink, p->name);
    assert_same_bits(p->decay, q->decay, p->name);
    assert_int_equal(p->optimizer, q->optimizer);
    assert_int_equal(p->has_second, q->has_second);
    assert_true(p->slices == q->slices && p->rows == q->rows &&
                p->cols == q->cols);
}

static void check(const struct run_config *c, const struct layout *l)
{
    struct mup_error err = { 0 };
    struct params alone, here;

    assert_int_equal(params_init(c, &PLACE_ALONE, &alone, &err), MUP_OK);
    for (int64_t rank = 0; rank < layout_ranks(l); rank++) {
        const struct place place = layout_place(l, rank);
        int64_t held = 0;

        assert_int_equal(params_init(c, &place, &here, &err), MUP_OK);
        assert_int_equal(here.n, alone.n);
        for (int i = 0; i < here.n; i++) {
            assert_same_rules(&here.list[i], &alone.list[i]);
            held += here.list[i].count;
        }
        assert_same_bits(here.readout, alone.readout, "readout");
        assert_same_bits(here.attention, alone.attention, "attention");
        assert_same_bits(here.beta1, alone.beta1, "beta1");
        assert_same_bits(here.beta2, alone.beta2, "beta2");
        assert_true(here.whole == alone.whole && here.active == alone.active);
        /* and the cut is a cut */
        assert_int_equal(held, here.total);
        assert_true(held < alone.total || l->expert * l->tensor == 1);
        params_clear(&here);
    }
    params_clear(&alone);
}

static void no_layout_changes_a_rule(void **state)
{
    static const struct layout layouts[] = {
        { 8, 1, 1 }, { 1, 2, 1 }, { 1, 8, 1 }, { 1, 1, 2 },
        { 1, 1, 4 }, { 2, 3, 2 }, { 3, 2, 4 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        for (int tied = 0; tied < 2; tied++)
            for (int optimizer = MUP_ADAMW; optimizer <= MUP_MUON; optimizer++)
                for (int p = 0; p < 2; p++) {
                    struct run_config c =
                        config_with(optimizer, p ? MUP_MUP : MUP_SP);

                    c.model.tied = tied;
                    check(&c, &layouts[i]);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_layout_changes_a_rule),
    };

    return cmocka_run_group_tests_name("places", tests, NULL, NULL);
}
