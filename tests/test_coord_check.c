/* The coordinate check on the real model: it passes for muP, fails for SP and
 * names what is wrong. */
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
#include <jansson.h>

#include "sweep/coord_check.h"
#include "tests/close.h"

static const struct coord_options options = {
    .sizes = { 64, 128, 256 },
    .n_sizes = 3,
    .steps = 3,
    .seeds = 2,
};

static struct run_config config_with(int parametrization)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.ffn_ratio = 2;
    c.mup.parametrization = parametrization;
    c.mup.base_width = 32;
    c.mup.init_std = 0.177;
    c.mup.emb_mult = 5.66;
    c.train.lr = 0.03125;
    return c;
}

static void check_with(const struct run_config *c,
                       const struct coord_options *o,
                       struct coord_result *result, char *dir)
{
    struct mup_error err = { 0 };

    snprintf(dir, 64, "/tmp/mutransfer-coord-XXXXXX");
    assert_non_null(mkdtemp(dir));
    if (coord_check_run(c, o, dir, NULL, result, &err) != MUP_OK)
        fail_msg("%s", err.text);
}

static void check(const struct run_config *c, struct coord_result *result,
                  char *dir)
{
    check_with(c, &options, result, dir);
}

static void clean(struct coord_result *result, const char *dir)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/coord.json", dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    coord_result_clear(result);
}

static const struct mup_coord_row *row(const struct coord_result *r,
                                       const char *name, int step)
{
    for (int i = 0; i < r->n_rows; i++)
        if (r->rows[i].step == step && !strcmp(r->rows[i].name, name))
            return &r->rows[i];
    fail_msg("no row '%s' at step %d", name, step);
    return NULL;
}

static void rows_of_every_kind_are_recorded(const struct coord_result *r)
{
    /* Adam moves every entry alike: what reaches a tensor is flat at once */
    assert_close(row(r, "blocks.0.attn.q.propagated", 2)->slope, 0, 0.05);
    assert_close(row(r, "stream.change", 2)->slope, 0, 0.1);
    /* epsilon follows the gradient of a hidden matrix */
    assert_close(row(r, "blocks.1.moe.up.gradient", 1)->slope, 0, 0.15);
    assert_close(row(r, "embed.gradient", 1)->slope, 0, 0.15);
    assert_int_equal(row(r, "blocks.0.moe.gate_spread", 1)->quantity,
                     MUP_GATE_SPREAD);
}

static void mup_passes(void **state)
{
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64], path[128];
    json_t *json;

    (void)state;
    check(&c, &r, dir);
    assert_int_equal(r.verdict, MUP_VERDICT_OK);
    /* a random readout of independent features: -1/2, up to finite width */
    assert_close(row(&r, "logits", 1)->slope, -0.5, 0.1);
    assert_close(row(&r, "blocks.0.moe.router.logits", 1)->slope, -0.5, 0.15);
    /* Adam's first step has the same size everywhere */
    assert_close(row(&r, "embed.update", 2)->slope, 0, 0.02);
    rows_of_every_kind_are_recorded(&r);
    snprintf(path, sizeof(path), "%s/coord.json", dir);
    json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "grow")),
                        "width");
    assert_int_equal(
        strlen(json_string_value(json_object_get(json, "config_xxh3"))), 16);
    assert_string_equal(json_string_value(json_object_get(json, "verdict")),
                        "PASS");
    assert_int_equal(json_array_size(json_object_get(json, "rows")), r.n_rows);
    for (int i = 0; i < r.n_rows; i++)
        assert_close(
            json_real_value(json_object_get(
                json_array_get(json_object_get(json, "rows"), (size_t)i),
                "off")),
            r.rows[i].off, 0);
    json_decref(json);
    clean(&r, dir);
}

static void sp_fails_and_the_hidden_updates_are_named(void **state)
{
    struct run_config c = config_with(MUP_SP);
    const struct mup_coord_row *up;
    struct coord_result r;
    char dir[64];

    (void)state;
    check(&c, &r, dir);
    assert_int_equal(r.verdict, MUP_VERDICT_FAIL);
    assert_int_equal(r.rows[r.worst].verdict, MUP_VERDICT_FAIL);
    /* Adam moves every entry alike, so x dW grows as fan-in: slope 1 */
    up = row(&r, "blocks.0.attn.q.update", 2);
    assert_close(up->slope, 1, 0.25);
    assert_int_equal(up->verdict, MUP_VERDICT_FAIL);
    assert_non_null(strstr(up->cause, "learning rate"));
    clean(&r, dir);
}

static void a_zero_readout_is_no_failure(void **state)
{
    const struct coord_options wide = { { 128, 256 }, 2, 3, 2, MUP_GROW_WIDTH };
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64];

    (void)state;
    c.mup.zero_readout = 1;
    check_with(&c, &wide, &r, dir); /* at 64 gradients are not in the limit */
    assert_int_equal(r.verdict == MUP_VERDICT_FAIL, 0);
    clean(&r, dir);
}

static void a_model_that_does_not_train_fails(void **state)
{
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64];

    (void)state;
    c.train.lr = 1e-30; /* below the last bit of every weight */
    check(&c, &r, dir);
    assert_int_equal(r.verdict, MUP_VERDICT_FAIL);
    clean(&r, dir);
}

static void more_experts_than_anything_else_fit_their_buffers(void **state)
{
    const struct coord_options small = { { 32, 64 }, 2, 1, 1, 0 };
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64];

    (void)state;
    c.model.layers = 1;
    c.model.experts = 400; /* above width and vocabulary; run with SAN=1 */
    check_with(&c, &small, &r, dir);
    clean(&r, dir);
}

/* Everything but names may differ in the last bit: forms are equal there. */
static void assert_same_verdicts(const struct coord_result *a,
                                 const struct coord_result *b)
{
    assert_int_equal(a->n_rows, b->n_rows);
    assert_int_equal(a->verdict, b->verdict);
    assert_int_equal(a->worst, b->worst);
    for (int i = 0; i < a->n_rows; i++) {
        const struct mup_coord_row *p = &a->rows[i], *q = &b->rows[i];

        assert_string_equal(p->name, q->name);
        assert_int_equal(p->step, q->step);
        assert_int_equal(p->quantity, q->quantity);
        assert_int_equal(p->verdict, q->verdict);
        assert_string_equal(p->cause, q->cause);
        if (!isnan(p->slope) || !isnan(q->slope)) {
            assert_close(p->slope, q->slope, 0);
            assert_close(p->slope_lo, q->slope_lo, 0);
            assert_close(p->slope_hi, q->slope_hi, 0);
        }
    }
}

static void what_it_wrote_gives_the_same_verdict_when_read_back(void **state)
{
    static const struct {
        int parametrization, depth, grow;
    } rows[] = {
        { MUP_MUP, MUP_DEPTH_NONE, MUP_GROW_WIDTH },
        { MUP_SP, MUP_DEPTH_NONE, MUP_GROW_WIDTH },
        { MUP_MUP, MUP_COMPLETEP, MUP_GROW_DEPTH },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct run_config c = config_with(rows[i].parametrization);
        const struct mup_coord_setup setup = {
            .grow = rows[i].grow,
            .parametrization = rows[i].parametrization,
            .depth = rows[i].depth,
        };
        struct coord_options o = { { 2, 4 }, 2, 2, 2, MUP_GROW_DEPTH }, read;
        struct coord_result a, b;
        char dir[64], again[64], path[128];
        struct mup_error err = { 0 };

        if (rows[i].grow == MUP_GROW_WIDTH) {
            o = options;
        } else {
            c.model.width = 32;
            c.mup.depth = rows[i].depth;
            c.mup.base_layers = 2;
        }
        check_with(&c, &o, &a, dir);
        snprintf(again, sizeof(again), "/tmp/mutransfer-coord-XXXXXX");
        assert_non_null(mkdtemp(again));
        snprintf(path, sizeof(path), "%s/coord.csv", dir);
        if (coord_check_csv(path, &setup, again, &read, &b, &err) != MUP_OK)
            fail_msg("%s", err.text);
        assert_int_equal(read.n_sizes, o.n_sizes);
        assert_int_equal(read.seeds, o.seeds);
        assert_int_equal(read.steps, o.steps);
        assert_same_verdicts(&a, &b);
        clean(&a, dir);
        clean(&b, again);
    }
}

/* Where every factor is a power of two, forms differ in nothing recorded:
 * widths of 4 and 16 times the base, no clipping (the norm of a gradient is not
 * the same in all forms). */
static void the_three_forms_give_the_same_bits(void **state)
{
    const struct coord_options o = { { 128, 512 }, 2, 2, 1, MUP_GROW_WIDTH };
    struct coord_result r[3];
    char dir[3][64];

    (void)state;
    for (int form = MUP_TABLE8; form <= MUP_TABLE9; form++) {
        struct run_config c = config_with(MUP_MUP);

        c.mup.form = form;
        c.train.clip = 0;
        check_with(&c, &o, &r[form], dir[form]);
    }
    assert_same_verdicts(&r[MUP_TABLE8], &r[MUP_TABLE3]);
    assert_same_verdicts(&r[MUP_TABLE8], &r[MUP_TABLE9]);
    for (int form = MUP_TABLE8; form <= MUP_TABLE9; form++)
        clean(&r[form], dir[form]);
}

static void all_zero_weights_tie_the_gates(void **state)
{
    const struct coord_options o = { { 64, 128 }, 2, 1, 1, MUP_GROW_WIDTH };
    struct run_config c = config_with(MUP_MUP);
    const struct mup_coord_row *spread;
    struct coord_result r;
    char dir[64];

    (void)state;
    c.mup.init_std = 0;
    check_with(&c, &o, &r, dir);
    spread = row(&r, "blocks.0.moe.gate_spread", 1);
    assert_int_equal(spread->verdict, MUP_VERDICT_FAIL);
    assert_non_null(strstr(spread->cause, "all gates are equal"));
    clean(&r, dir);
}

static void heads_that_grow_keep_their_number(void **state)
{
    const struct coord_options o = { { 64, 128 }, 2, 1, 1, MUP_GROW_HEAD_SIZE };
    const struct run_config c = config_with(MUP_MUP);

    (void)state;
    for (int i = 0; i < 2; i++) {
        const struct run_config at = coord_config_at(&c, &o, i, 0);

        assert_int_equal(config_heads(&at.model), 2);
        assert_int_equal(at.model.head_size, o.sizes[i] / 2);
    }
}

static void a_check_that_does_not_fit_is_refused_before_it_runs(void **state)
{
    const struct coord_options o = { { 32, 65536 }, 2, 1, 1, MUP_GROW_WIDTH };
    const struct run_config c = config_with(MUP_MUP);
    struct mup_error err = { 0 };
    struct coord_result r;
    size_t bytes = 0;

    (void)state;
    assert_int_equal(coord_check_run(&c, &o, "/nowhere", NULL, &r, &err),
                     MUP_SYSTEM);
    assert_non_null(strstr(err.text, "leave out the largest"));
    assert_int_equal(coord_check_plan(&c, &options, &bytes, &err), MUP_OK);
    assert_true(bytes > 10 << 20 && bytes < 200 << 20);
}

static void the_hash_of_a_check_follows_what_it_depends_on(void **state)
{
    struct run_config c = config_with(MUP_MUP);
    char first[17], again[17];

    (void)state;
    coord_config_hash(&c, first);
    assert_int_equal(strlen(first), 16);
    c.train.lr *= 2;
    c.model.width *= 2;
    c.run.log_every++;
    coord_config_hash(&c, again);
    assert_string_equal(first, again);
    c.mup.init_std *= 2;
    coord_config_hash(&c, again);
    assert_string_not_equal(first, again);
}

static void tables_that_cannot_be_judged_are_refused(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        { "width,step,name,value\n64,1,a,1\n", "at least two values of width" },
        { "width,step,name,value\n64,1,a,1\n128,1,a,1\n128,2,a,1\n",
          "'a' at step 2 has no value at width 64, seed 0" },
        { "width,step,seed,name,value\n64,1,1,a,1\n64,1,2,a,1\n128,1,1,a,1\n",
          "width 128 has 1 seeds, width 64 has 2" },
        { "width,step,name,value\n64,1,a,1\n64,1,a,1\n128,1,a,1\n",
          ":3: 'a' at step 1, width 64, seed 0 has a value already" },
        { "width,step,name,quantity,value\n64,1,a,grad,1\n128,1,a,grad,1\n",
          ":2: unknown quantity 'grad'" },
        { "width,step,name,value\n64,0,a,1\n128,0,a,1\n",
          ":2: step 0: steps count from 1" },
        { "width,name,value\n64,a,1\n", "step" },
        { "width,step,name,quantity,value\n64,1,a,update,1\n"
          "128,1,a,update,1\n",
          "'a' has no value at step 1" },
    };
    const struct mup_coord_setup setup = { .parametrization =
                                               MUP_COORD_UNKNOWN };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[] = "/tmp/mutransfer-table-XXXXXX";
        struct mup_error err = { 0 };
        struct coord_options o;
        struct coord_result r;
        int fd = mkstemp(path);
        FILE *f = fdopen(fd, "w");

        assert_non_null(f);
        fputs(rows[i].text, f);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(
            coord_check_csv(path, &setup, "/nowhere", &o, &r, &err), MUP_USAGE);
        if (!strstr(err.text, rows[i].sentence))
            fail_msg("'%s' lacks '%s'", err.text, rows[i].sentence);
        assert_int_equal(unlink(path), 0);
    }
}

static void impossible_options_are_usage_errors(void **state)
{
    struct run_config c = config_with(MUP_MUP);
    struct coord_options o = options;
    struct mup_error err = { 0 };
    struct coord_result r;

    (void)state;
    o.n_sizes = 1;
    assert_int_equal(coord_check_run(&c, &o, "/nowhere", NULL, &r, &err),
                     MUP_USAGE);
    o = options;
    o.sizes[1] = 40; /* no multiple of the head size */
    assert_int_equal(coord_check_run(&c, &o, "/tmp", NULL, &r, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "model.head_size"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mup_passes),
        cmocka_unit_test(sp_fails_and_the_hidden_updates_are_named),
        cmocka_unit_test(a_zero_readout_is_no_failure),
        cmocka_unit_test(a_model_that_does_not_train_fails),
        cmocka_unit_test(more_experts_than_anything_else_fit_their_buffers),
        cmocka_unit_test(what_it_wrote_gives_the_same_verdict_when_read_back),
        cmocka_unit_test(the_three_forms_give_the_same_bits),
        cmocka_unit_test(all_zero_weights_tie_the_gates),
        cmocka_unit_test(heads_that_grow_keep_their_number),
        cmocka_unit_test(a_check_that_does_not_fit_is_refused_before_it_runs),
        cmocka_unit_test(the_hash_of_a_check_follows_what_it_depends_on),
        cmocka_unit_test(tables_that_cannot_be_judged_are_refused),
        cmocka_unit_test(impossible_options_are_usage_errors),
    };

    return cmocka_run_group_tests_name("coord_check", tests, NULL, NULL);
}
