/* Every wrong rule on the real model, in the setting where it matters: the
 * coordinate check fails and names a tensor that the rule is about; the right
 * rules pass in the same settings (under MUTRANSFER_SOAK, with three seeds). */
#define _GNU_SOURCE /* mkdtemp */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sweep/coord_break.h"
#include "tests/close.h"

/* What catches each wrong rule: the first failing row of a tensor at fault,
 * from one seed at widths 128 and 512 (2 and 8 layers), 2 steps.  slope is what
 * theory says; how far a single seed and such widths are from it, tolerance. */
static const struct {
    int broken;
    const char *row; /* without the block */
    int step;
    double slope, tolerance;
} caught[] = {
    { MUP_BREAK_ROUTER_HIDDEN, "moe.router.logits", 1, 0, 0.2 },
    { MUP_BREAK_ROUTER_NO_MULT, "moe.router.logits", 1, 0.5, 0.2 },
    { MUP_BREAK_READOUT_NO_MULT, "logits", 1, 0.5, 0.1 },
    { MUP_BREAK_READOUT_TWICE, "logits", 1, -1.5, 0.1 },
    { MUP_BREAK_READOUT_LR, "unembed.update", 2, -1, 0.25 },
    { MUP_BREAK_HIDDEN_INIT, "attn.q", 1, 0.5, 0.1 },
    { MUP_BREAK_HIDDEN_LR, "attn.q.update", 2, 1, 0.25 },
    { MUP_BREAK_HIDDEN_LR_SQRT, "attn.q.update", 2, 0.5, 0.25 },
    { MUP_BREAK_DOWN_LR, "moe.down.update", 2, 1, 0.25 },
    { MUP_BREAK_INPUT_LR, "embed.update", 2, -1, 0.1 },
    { MUP_BREAK_VECTOR_LR, "norm_in.update", 2, -1, 0.1 },
    { MUP_BREAK_TIED_RESCALED, "embed.out", 1, 0.5, 0.1 },
    { MUP_BREAK_EPS, "gradient", 1, -1, 0.25 },
    /* between 0 and -1: what Adam adds stays */
    { MUP_BREAK_DECAY, "attn.q.update", 2, -0.6, 0.2 },
    { MUP_BREAK_ATTENTION, "attn.logits", 1, 0, 0.2 },
    { MUP_BREAK_RESIDUAL, "moe.residual", 1, 0.5, 0.2 },
    { MUP_BREAK_DEPTH_LR, "attn.q.update", 2, -1, 0.25 },
    { MUP_BREAK_MUON, "attn.q.update", 2, 0.5, 0.25 },
};

#define N_CAUGHT (int)(sizeof(caught) / sizeof(caught[0]))

static struct run_config config_of(void)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.ffn_ratio = 2;
    c.model.width = 64; /* where depth grows */
    c.mup.parametrization = MUP_MUP;
    c.mup.base_width = 32;
    c.mup.base_layers = 2;
    c.mup.init_std = 0.177;
    c.mup.emb_mult = 5.66;
    c.train.lr = 0.03125;
    return c;
}

static void check(const struct run_config *c, const struct coord_options *o,
                  struct coord_result *result)
{
    char dir[64] = "/tmp/mutransfer-break-XXXXXX", path[128];
    struct mup_error err = { 0 };

    assert_non_null(mkdtemp(dir));
    if (coord_check_run(c, o, dir, NULL, result, &err) != MUP_OK)
        fail_msg("%s", err.text);
    snprintf(path, sizeof(path), "%s/coord.json", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* The config and sizes of a setting, with the wrong rule or the right one. */
static void set_up(int broken, int wrong, struct run_config *c,
                   struct coord_options *o)
{
    static const int64_t width[] = { 128, 256, 512 }, depth[] = { 2, 4, 8, 16 };
    int grow = coord_break_setting(broken)->grow;
    struct mup_error err = { 0 };

    *c = config_of();
    if (coord_break_apply(broken, c, &err) != MUP_OK)
        fail_msg("%s", err.text);
    if (!wrong)
        c->mup.broken = MUP_BREAK_NONE;
    *o = (struct coord_options){ .steps = 5, .seeds = 3, .grow = grow };
    o->n_sizes = grow == MUP_GROW_DEPTH ? 4 : 3;
    memcpy(o->sizes, grow == MUP_GROW_DEPTH ? depth : width,
           (size_t)o->n_sizes * sizeof(o->sizes[0]));
}

static void every_wrong_rule_fails_and_names_a_tensor_at_fault(void **state)
{
    int seen = 0;

    (void)state;
    for (int i = 0; i < N_CAUGHT; i++) {
        const struct mup_coord_row *row;
        struct coord_options o;
        struct coord_result r;
        struct run_config c;

        set_up(caught[i].broken, 1, &c, &o);
        o.n_sizes = 3;
        o.seeds = 2; /* few steps and one seed show little of the scatter */
        o.steps = 2;
        check(&c, &o, &r);
        assert_int_equal(r.verdict, MUP_VERDICT_FAIL);
        assert_int_equal(r.wrong.broken, caught[i].broken);
        if (r.wrong.found < 0)
            fail_msg("%s is not seen", mup_break_name(caught[i].broken));
        row = &r.rows[r.wrong.found];
        print_message("%-16s %s at t=%d, slope %+.2f\n",
                      mup_break_name(caught[i].broken), row->name, row->step,
                      row->slope);
        assert_non_null(strstr(row->name, caught[i].row));
        assert_int_equal(row->step, caught[i].step);
        assert_close(row->slope, caught[i].slope, caught[i].tolerance);
        assert_true(row->cause[0] != '\0');
        seen |= 1 << caught[i].broken;
        coord_result_clear(&r);
    }
    /* none is left out, and no new one is forgotten */
    assert_int_equal(seen, (1 << MUP_BREAK_COUNT) - 2);
}

/* The other gate, learning rates at several widths, is needed for this one. */
static void a_wrong_decay_of_usual_size_is_not_seen(void **state)
{
    /* seeds, so that noise is not taken for a failure */
    const struct coord_options o = { { 128, 512 }, 2, 2, 3, MUP_GROW_WIDTH };
    struct run_config c = config_of();
    struct coord_result r;

    (void)state;
    c.train.weight_decay = 0.1;
    c.mup.broken = MUP_BREAK_DECAY;
    check(&c, &o, &r);
    assert_int_equal(r.wrong.broken, MUP_BREAK_DECAY);
    assert_int_equal(r.wrong.found, -1);
    coord_result_clear(&r);
}

static void expect_pass(const char *what, const struct run_config *c,
                        const struct coord_options *o)
{
    struct coord_result r;

    check(c, o, &r);
    if (r.verdict == MUP_VERDICT_FAIL)
        fail_msg("%s: %s at t=%d, slope %+.2f", what, r.rows[r.worst].name,
                 r.rows[r.worst].step, r.rows[r.worst].slope);
    print_message("%-16s passes, %d rows\n", what, r.n_rows);
    coord_result_clear(&r);
}

static int soak(void)
{
    return getenv("MUTRANSFER_SOAK") != NULL;
}

/* A check that fails anyway would find every wrong rule. */
static void the_right_rules_pass_in_each_setting(void **state)
{
    (void)state;
    for (int i = 0; i < N_CAUGHT; i++) {
        const struct coord_setting *s = coord_break_setting(caught[i].broken);
        struct coord_options o;
        struct run_config c;

        if (!s->set[0] && i > 0)
            continue; /* the same as the first */
        if (!soak() && s->grow != MUP_GROW_DEPTH)
            continue;
        set_up(caught[i].broken, 0, &c, &o);
        expect_pass(mup_break_name(caught[i].broken), &c, &o);
    }
}

static void other_right_rules_pass(void **state)
{
    static const struct {
        const char *set;
        int grow;
    } rows[] = {
        { "train.optimizer=adam", MUP_GROW_WIDTH },
        { "train.optimizer=lion train.lr=2^-7", MUP_GROW_WIDTH },
        { "train.optimizer=muon", MUP_GROW_WIDTH },
        /* gradients, unlike Adam's updates, reach their limit late: from 256 */
        { "train.optimizer=sgd train.lr=0.1", MUP_GROW_WIDTH },
        /* its logits grow once aligned: stable at lower rates only */
        { "mup.parametrization=sp-perlayer train.lr=2^-8", MUP_GROW_WIDTH },
        { "mup.parametrization=umup", MUP_GROW_WIDTH },
        { "model.tied=yes", MUP_GROW_WIDTH },
        { "model.qk_norm=yes", MUP_GROW_WIDTH },
        { "model.shared_expert=yes", MUP_GROW_WIDTH },
        { "model.router_renorm=yes", MUP_GROW_WIDTH },
        { "mup.zero_readout=yes mup.zero_query=yes", MUP_GROW_WIDTH },
        { "mup.form=table3", MUP_GROW_WIDTH },
        { "mup.form=table9", MUP_GROW_WIDTH },
        { "mup.depth=completep", MUP_GROW_DEPTH },
        { "mup.depth=depth-mup", MUP_GROW_DEPTH },
        { "model.qk_norm=yes", MUP_GROW_HEAD_SIZE },
    };

    (void)state;
    if (!soak())
        skip();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct run_config c = config_of();
        struct coord_options o = { { 128, 256, 512 }, 3, 5, 3, rows[i].grow };
        struct mup_error err = { 0 };
        char text[128], *rest = text, *one;

        snprintf(text, sizeof(text), "%s", rows[i].set);
        while ((one = strtok_r(rest, " ", &rest)) != NULL) {
            char key[CONFIG_KEY_BYTES];
            const char *value;

            assert_int_equal(config_split(one, key, &value, &err), MUP_OK);
            assert_int_equal(config_set(&run_schema, &c, key, value, &err),
                             MUP_OK);
        }
        if (rows[i].grow == MUP_GROW_DEPTH)
            o = (struct coord_options){
                { 2, 4, 8, 16 }, 4, 5, 3, MUP_GROW_DEPTH
            };
        if (c.train.optimizer == MUP_SGD)
            o.sizes[0] = 256, o.sizes[1] = 512, o.sizes[2] = 1024;
        expect_pass(rows[i].set, &c, &o);
    }
}

/* Without a rule the sum over the layers grows with their number. */
static void no_depth_rule_fails_where_depth_grows(void **state)
{
    const struct coord_options o = { { 2, 4, 8 }, 3, 2, 1, MUP_GROW_DEPTH };
    const struct run_config c = config_of();
    struct coord_result r;
    int at = -1;

    (void)state;
    check(&c, &o, &r);
    assert_int_equal(r.verdict, MUP_VERDICT_FAIL);
    for (int i = 0; i < r.n_rows && at < 0; i++)
        if (!strcmp(r.rows[i].name, "blocks.last.moe.residual"))
            at = i;
    assert_true(at >= 0);
    assert_int_equal(r.rows[at].verdict, MUP_VERDICT_FAIL);
    assert_close(r.rows[at].slope, 0.5, 0.15);
    coord_result_clear(&r);
}

static void a_wrong_rule_belongs_to_mup(void **state)
{
    struct run_config c = config_of();
    struct mup_error err = { 0 };

    (void)state;
    c.mup.parametrization = MUP_SP;
    assert_int_equal(coord_break_apply(MUP_BREAK_EPS, &c, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "mup.parametrization"));
    assert_int_equal(coord_break_apply(MUP_BREAK_NONE, &c, &err), MUP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wrong_rule_fails_and_names_a_tensor_at_fault),
        cmocka_unit_test(a_wrong_decay_of_usual_size_is_not_seen),
        cmocka_unit_test(the_right_rules_pass_in_each_setting),
        cmocka_unit_test(other_right_rules_pass),
        cmocka_unit_test(no_depth_rule_fails_where_depth_grows),
        cmocka_unit_test(a_wrong_rule_belongs_to_mup),
    };

    return cmocka_run_group_tests_name("coord_break", tests, NULL, NULL);
}
