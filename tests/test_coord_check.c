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
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "sweep/coord_csv.h"
#include "sweep/coord_name.h"
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

/* What a table leaves behind. */
static void clean_judged(struct coord_result *result, const char *dir)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/coord.json", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    coord_result_clear(result);
}

static void clean(struct coord_result *result, const char *dir)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    assert_int_equal(unlink(path), 0);
    clean_judged(result, dir);
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
    const struct coord_options wide = {
        { 128, 256, 512 }, 3, 3, 2, MUP_GROW_WIDTH
    };
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64];

    (void)state;
    c.mup.zero_readout = 1;
    check_with(&c, &wide, &r, dir); /* narrower ones are not in the limit */
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
        clean_judged(&b, again);
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

#define TABLE_PATH "/tmp/mutransfer-table-XXXXXX"

static void write_table(char *path, const char *text)
{
    FILE *f = fdopen(mkstemp(path), "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
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
          ":2: 'a' has no value at step 1" },
        { "width,step,name,value\n64,1,\"a\nb\",1\n128,1,\"a\nb\",1\n",
          ":2: the name holds a line break or another control character" },
        { "width,step,name,quantity,value\n64,1,a,x,1\n128,1,a,x,1\n",
          "one of activation, stream, attention_logits, router_logits, "
          "output_logits, gated_activation, update, input_update, dot_update, "
          "propagated, propagated_logits, change, gradient, dot_gradient, "
          "gate_spread, load, statistic" },
        { "depth,step,name,value\n2,1,a,1\n4,1,a,1\n",
          "width is said to grow, but the table has a column 'depth' and none "
          "'width'" },
    };
    const struct mup_coord_setup setup = { .parametrization =
                                               MUP_COORD_UNKNOWN };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[] = TABLE_PATH;
        struct mup_error err = { 0 };
        struct coord_options o;
        struct coord_result r;

        write_table(path, rows[i].text);
        assert_int_equal(
            coord_check_csv(path, &setup, "/nowhere", &o, &r, &err), MUP_USAGE);
        if (!strstr(err.text, rows[i].sentence))
            fail_msg("'%s' lacks '%s'", err.text, rows[i].sentence);
        assert_int_equal(unlink(path), 0);
    }
}

/* The verdict on a table, where nothing is written. */
static struct coord_result judged(const char *text, int grow,
                                  struct coord_options *o)
{
    const struct mup_coord_setup setup = { .grow = grow,
                                           .parametrization =
                                               MUP_COORD_UNKNOWN };
    char path[] = TABLE_PATH;
    struct mup_error err = { 0 };
    struct coord_result r;

    write_table(path, text);
    if (coord_check_csv(path, &setup, NULL, o, &r, &err) != MUP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(unlink(path), 0);
    return r;
}

static void the_columns_say_what_grows_where_nobody_else_does(void **state)
{
    static const char both[] = "width,depth,step,name,value\n"
                               "64,2,1,a,1\n128,4,1,a,1\n";
    static const struct {
        const char *text;
        int grow, found;
        int64_t first;
    } rows[] = {
        { "depth,step,name,value\n2,1,a,1\n4,1,a,1\n", MUP_COORD_UNKNOWN,
          MUP_GROW_DEPTH, 2 },
        { both, MUP_COORD_UNKNOWN, MUP_GROW_WIDTH, 64 },
        { both, MUP_GROW_DEPTH, MUP_GROW_DEPTH, 2 },
        { both, MUP_GROW_HEAD_SIZE, MUP_GROW_HEAD_SIZE, 64 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct coord_options o;
        struct coord_result r = judged(rows[i].text, rows[i].grow, &o);

        assert_int_equal(o.grow, rows[i].found);
        assert_int_equal(o.sizes[0], rows[i].first);
        coord_result_clear(&r);
    }
}

static void names_of_others_are_kept_and_name_precedes_tensor(void **state)
{
    struct coord_options o;
    struct coord_result r = judged("width,step,tensor,name,value\n"
                                   "64,1,t,\"a,\"\"b\",1\n"
                                   "128,1,t,\"a,\"\"b\",1\n",
                                   MUP_COORD_UNKNOWN, &o);
    json_t *json = json_loads(r.json, 0, NULL);

    (void)state;
    assert_int_equal(r.n_rows, 1);
    assert_string_equal(r.rows[0].name, "a,\"b");
    assert_string_equal(
        json_string_value(json_object_get(
            json_array_get(json_object_get(json, "rows"), 0), "name")),
        "a,\"b");
    json_decref(json);
    coord_result_clear(&r);
}

/* Under depth-mup the updates inside blocks must fall with depth. */
static void blocks_of_other_frameworks_are_known(void **state)
{
    static const char *const names[] = { "blocks.0.q", "model.layers.0.q",
                                         "blocks.first.q", "embed" };
    const struct mup_coord_setup setup = { .grow = MUP_GROW_DEPTH,
                                           .parametrization = MUP_MUP,
                                           .depth = MUP_DEPTH_MUP };

    (void)state;
    for (int i = 0; i < 4; i++) {
        char path[] = TABLE_PATH, text[256];
        struct mup_error err = { 0 };
        struct coord_options o;
        struct coord_result r;

        snprintf(text, sizeof(text),
                 "depth,step,name,quantity,value\n4,2,%s,update,1\n"
                 "16,2,%s,update,0.5\n64,2,%s,update,0.25\n",
                 names[i], names[i], names[i]);
        write_table(path, text);
        if (coord_check_csv(path, &setup, NULL, &o, &r, &err) != MUP_OK)
            fail_msg("%s", err.text);
        assert_int_equal(r.verdict, i < 3 ? MUP_VERDICT_OK : MUP_VERDICT_FAIL);
        assert_int_equal(unlink(path), 0);
        coord_result_clear(&r);
    }
}

static void block_names_have_one_grammar(void **state)
{
    static const struct {
        const char *name, *tail;
        int in_block;
    } rows[] = {
        { "blocks.12.attn.out", "attn.out", 1 },
        { "blocks.last.moe.residual", "moe.residual", 1 },
        { "blocks.x.attn", "blocks.x.attn", 0 },
        { "subblocks.3.attn", "subblocks.3.attn", 0 },
        { "layers.3.mlp", "layers.3.mlp", 1 },
        { "embed.update", "embed.update", 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(coord_name_tail(rows[i].name), rows[i].tail);
        assert_int_equal(coord_name_in_block(rows[i].name), rows[i].in_block);
    }
}

/* 16 sizes and 1000 seeds, and a new name in every other row: 40000 series of
 * 16000 cells would be 6 GB. */
static void a_table_takes_no_more_memory_than_its_rows_can_fill(void **state)
{
    const struct mup_coord_setup setup = { .parametrization =
                                               MUP_COORD_UNKNOWN };
    char path[] = TABLE_PATH;
    struct rusage before, after;
    struct mup_error err = { 0 };
    struct coord_options o;
    struct coord_result r;
    FILE *f = fdopen(mkstemp(path), "w");

    (void)state;
    assert_non_null(f);
    fputs("width,step,seed,name,value\n", f);
    for (int i = 0; i < 16000; i++)
        fprintf(f, "%d,1,%d,a,1\n", 64 << i % 16, i / 16);
    for (int i = 0; i < 40000; i++)
        fprintf(f, "64,1,0,b%d,1\n", i);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    assert_int_equal(coord_check_csv(path, &setup, NULL, &o, &r, &err),
                     MUP_USAGE);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    assert_non_null(strstr(err.text, "'b0' at step 1 has no value at width "
                                     "128, seed 0"));
    assert_true(after.ru_maxrss - before.ru_maxrss < 256 << 10); /* KiB */
    assert_int_equal(unlink(path), 0);
}

/* Every name makes a series: with a search through all of them this would take
 * minutes. */
static void many_names_are_found_again(void **state)
{
    char path[] = TABLE_PATH;
    const struct mup_coord_setup setup = { .parametrization =
                                               MUP_COORD_UNKNOWN };
    struct mup_error err = { 0 };
    struct coord_options o;
    struct coord_result r;
    FILE *f = fdopen(mkstemp(path), "w");

    (void)state;
    assert_non_null(f);
    fputs("width,step,name,value\n", f);
    for (int i = 0; i < 200000; i++)
        fprintf(f, "%d,1,n%d,1\n", i < 100000 ? 64 : 128, i * 7919 % 100000);
    assert_int_equal(fclose(f), 0);
    if (coord_check_csv(path, &setup, NULL, &o, &r, &err) != MUP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(r.n_rows, 100000);
    assert_string_equal(r.rows[1].name, "n7919"); /* as they appear */
    coord_result_clear(&r);
    assert_int_equal(unlink(path), 0);
}

static void a_table_is_never_replaced(void **state)
{
    static const char text[] = "width,step,seed,name,value,mine\n"
                               "64,1,7,a,1,x\n64,1,9,a,1,x\n"
                               "128,1,7,a,1,x\n128,1,9,a,1,x\n";
    static const char *const files[] = { "coord.csv", "coord.json" };
    const struct mup_coord_setup setup = { .parametrization =
                                               MUP_COORD_UNKNOWN };

    (void)state;
    for (int i = 0; i < 2; i++) {
        char dir[64] = "/tmp/mutransfer-coord-XXXXXX", path[128], read[256];
        struct mup_error err = { 0 };
        struct coord_options o;
        struct coord_result r;
        size_t n;
        FILE *f;

        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(text, f);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(coord_check_csv(path, &setup, dir, &o, &r, &err),
                         i ? MUP_USAGE : MUP_OK);
        if (i)
            assert_non_null(strstr(err.text, "would replace the table"));
        f = fopen(path, "r");
        assert_non_null(f);
        n = fread(read, 1, sizeof(read) - 1, f);
        read[n] = '\0';
        assert_int_equal(fclose(f), 0);
        assert_string_equal(read, text);
        if (i) {
            assert_int_equal(unlink(path), 0);
            assert_int_equal(rmdir(dir), 0);
        } else {
            clean(&r, dir);
        }
    }
}

static void the_table_of_a_check_tells_the_seeds_that_ran(void **state)
{
    const struct coord_options o = { { 32, 64 }, 2, 1, 2, MUP_GROW_WIDTH };
    struct run_config c = config_with(MUP_MUP);
    struct coord_result r;
    char dir[64], path[128], line[256];
    int seen[3] = { 0 };
    FILE *f;

    (void)state;
    c.model.layers = 1;
    c.train.seed = 7;
    check_with(&c, &o, &r, dir);
    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f)); /* the header */
    while (fgets(line, sizeof(line), f))
        seen[strstr(line, ",7,") ? 0 : strstr(line, ",8,") ? 1 : 2]++;
    assert_int_equal(fclose(f), 0);
    assert_int_equal(seen[2], 0);
    assert_int_equal(seen[0], seen[1]);
    clean(&r, dir);
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
    o = options;
    o.grow = MUP_GROW_HEAD_SIZE;
    o.sizes[2] = (int64_t)1 << 61; /* times the size of a head is 0 */
    assert_int_equal(coord_check_run(&c, &o, "/tmp", NULL, &r, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "model.width: 2305843009213693952 is "
                                     "outside"));
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
        cmocka_unit_test(the_columns_say_what_grows_where_nobody_else_does),
        cmocka_unit_test(names_of_others_are_kept_and_name_precedes_tensor),
        cmocka_unit_test(blocks_of_other_frameworks_are_known),
        cmocka_unit_test(block_names_have_one_grammar),
        cmocka_unit_test(a_table_takes_no_more_memory_than_its_rows_can_fill),
        cmocka_unit_test(many_names_are_found_again),
        cmocka_unit_test(a_table_is_never_replaced),
        cmocka_unit_test(the_table_of_a_check_tells_the_seeds_that_ran),
        cmocka_unit_test(impossible_options_are_usage_errors),
    };

    return cmocka_run_group_tests_name("coord_check", tests, NULL, NULL);
}
