/* The coordinate check on the real model: it passes for muP, fails for SP and
 * names what is wrong. */
#define _GNU_SOURCE /* mkdtemp */
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
    .widths = { 64, 128, 256 },
    .n_widths = 3,
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
    snprintf(path, sizeof(path), "%s/coord.json", dir);
    json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "verdict")),
                        "PASS");
    assert_int_equal(json_array_size(json_object_get(json, "rows")), r.n_rows);
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
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64];

    (void)state;
    c.mup.zero_readout = 1;
    check(&c, &r, dir);
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
    const struct coord_options small = { { 32, 64 }, 2, 1, 1 };
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64];

    (void)state;
    c.model.layers = 1;
    c.model.experts = 400; /* above width and vocabulary; run with SAN=1 */
    check_with(&c, &small, &r, dir);
    clean(&r, dir);
}

static void impossible_options_are_usage_errors(void **state)
{
    struct run_config c = config_with(MUP_MUP);
    struct coord_options o = options;
    struct mup_error err = { 0 };
    struct coord_result r;

    (void)state;
    o.n_widths = 1;
    assert_int_equal(coord_check_run(&c, &o, "/nowhere", NULL, &r, &err),
                     MUP_USAGE);
    o = options;
    o.widths[1] = 40; /* no multiple of the head size */
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
        cmocka_unit_test(impossible_options_are_usage_errors),
    };

    return cmocka_run_group_tests_name("coord_check", tests, NULL, NULL);
}
