/* The tensors of somebody else's model: roles, fan-out and fan-in from a JSON
 * list, base shapes from YAML, and microsoft/mup's own factors for them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "configs/shapes.h"

/* Whole file, NUL-terminated; the caller frees it. */
static char *text_of(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 65536);

    if (!f || !text)
        fail_msg("cannot read '%s' (tests run in the top folder)", path);
    assert_true(fread(text, 1, 65535, f) > 0);
    fclose(f);
    return text;
}

/* Open a list; base and patterns are texts and may be NULL. */
static int open_list(const char *text, const char *base, const char *patterns,
                     struct shapes *out, struct mup_error *err)
{
    struct yaml_doc doc = { 0 };
    struct role_patterns roles = { 0 };
    struct shapes_source source = { "s.json", text, strlen(text), NULL, NULL };
    int rc = MUP_OK;

    if (base) {
        rc = yaml_open_text(base, strlen(base), "b.yaml", &doc, err);
        source.base = &doc;
    }
    if (rc == MUP_OK && patterns) {
        rc = tensor_role_patterns_open(patterns, strlen(patterns), "p.txt",
                                       &roles, err);
        source.patterns = &roles;
    }
    if (rc == MUP_OK)
        rc = shapes_open(&source, out, err);
    yaml_close(&doc);
    tensor_role_patterns_close(&roles);
    return rc;
}

static struct shapes opened(const char *text, const char *base,
                            const char *patterns)
{
    struct mup_error err = { 0 };
    struct shapes shapes = { 0 };

    if (open_list(text, base, patterns, &shapes, &err) != MUP_OK)
        fail_msg("%s: %s", text, err.text);
    return shapes;
}

static const struct tensor *find(const struct shapes *shapes, const char *name)
{
    for (int i = 0; i < shapes->n; i++)
        if (!strcmp(shapes->list[i].name, name))
            return &shapes->list[i];
    fail_msg("no tensor '%s'", name);
    return NULL;
}

static struct mup_scale scale_of(const struct mup_rules *rules,
                                 const struct tensor *t)
{
    struct mup_error err = { 0 };
    struct mup_scale s = { 0 };

    if (mup_scale(rules, &t->shape, &s, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return s;
}

/* lr and wd are what microsoft/mup's MuAdamW and MuSGD hand to torch for a
 * base rate and decay of 1, executed; std, forward as its init.py and
 * MuReadout.  Gains and biases decay there and not here: wd is then not
 * compared.  All but the square roots are powers of two, so equal means the
 * same bits. */
#define ROOT 0.35355339059327376 /* 1 / sqrt(8) */

static const struct oracle {
    const char *name;
    double width_mult, std, forward, adam, adam_wd, sgd, sgd_wd;
} oracle[] = {
    { "embed", 8, 1, 1, 1, 1, 8, 0.125 },
    { "layers.0.wq.weight", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.wk.weight", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.wv.weight", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.wo.weight", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.router", 8, 1, 0.125, 1, 1, 8, 0.125 },
    { "layers.0.moe.up", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.moe.gate", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.moe.down", 8, ROOT, 1, 0.125, 8, 1, 1 },
    { "layers.0.up_bias", 8, 1, 1, 1, 0, 8, 0 },
    { "layers.1.moe.up", 8, ROOT, 1, 0.125, 8, 0.5, 2 },
    { "layers.1.moe.down", 4, 0.5, 1, 0.25, 4, 2, 0.5 },
    { "norm", 8, 1, 1, 1, 0, 8, 0 },
    { "unembed", 8, 1, 0.125, 1, 1, 8, 0.125 },
    { "unembed_bias", 1, 1, 1, 1, 0, 1, 0 },
};

#define SAME(a, b) assert_memory_equal(&(double){ a }, &(double){ b }, 8)

static void every_factor_is_that_of_microsoft_mup(void **state)
{
    char *text = text_of("tests/data/microsoft-mup.json");
    struct shapes shapes = opened(text, NULL, NULL);
    struct mup_rules adamw = { MUP_MUP, MUP_ADAMW, MUP_DECAY_INDEPENDENT };
    struct mup_rules sgd = { MUP_MUP, MUP_SGD, MUP_DECAY_INDEPENDENT };
    int n = (int)(sizeof(oracle) / sizeof(oracle[0]));

    (void)state;
    assert_int_equal(shapes.n, n);
    for (int i = 0; i < n; i++) {
        const struct oracle *o = &oracle[i];
        const struct tensor *t = find(&shapes, o->name);
        struct mup_scale a = scale_of(&adamw, t), s = scale_of(&sgd, t);

        SAME(shapes_width_mult(t), o->width_mult);
        SAME(a.forward, o->forward);
        SAME(a.lr, o->adam);
        SAME(a.weight_decay, o->adam_wd);
        SAME(s.lr, o->sgd);
        SAME(s.weight_decay, o->sgd_wd);
        /* one rounding of the root, one of the quotient */
        assert_true(fabs(a.init_std - o->std) <= 2e-16 * o->std);
    }
    shapes_close(&shapes);
    free(text);
}

static void at_base_every_factor_is_one(void **state)
{
    static const char text[] =
        "[{\"name\":\"wte\",\"shape\":[99,48],\"base_shape\":[null,48]},"
        "{\"name\":\"w\",\"shape\":[144,48],\"base_shape\":[144,48]},"
        "{\"name\":\"router\",\"shape\":[8,48],\"base_shape\":[null,48]},"
        "{\"name\":\"g\",\"shape\":[48],\"base_shape\":[48]},"
        "{\"name\":\"lm_head\",\"shape\":[99,48],\"base_shape\":[null,48]}]";
    struct shapes shapes = opened(text, NULL, NULL);

    (void)state;
    for (int p = MUP_SP; p <= MUP_UMUP; p++)
        for (int o = MUP_ADAMW; o <= MUP_LION; o++)
            for (int i = 0; i < shapes.n && o != MUP_SGD; i++) {
                struct mup_rules rules = { p, o };
                struct mup_scale s = scale_of(&rules, &shapes.list[i]);

                SAME(s.init_std, 1);
                SAME(s.forward, 1);
                SAME(s.lr, 1);
                SAME(s.eps, 1);
            }
    shapes_close(&shapes);
}

static void a_width_below_the_base_is_legal(void **state)
{
    struct shapes shapes =
        opened("[{\"name\":\"w\",\"shape\":[32,32],\"base_shape\":[128,128]}]",
               NULL, NULL);
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW };
    struct mup_scale s = scale_of(&rules, &shapes.list[0]);

    (void)state;
    SAME(shapes_width_mult(&shapes.list[0]), 0.25);
    SAME(s.lr, 4);
    SAME(s.init_std, 2);
    shapes_close(&shapes);
}

/* --- roles --- */

#define ROW(name, shape, base)                                                 \
    "[{\"name\":\"" name "\",\"shape\":" shape ",\"base_shape\":" base "}]"

static void names_and_nulls_give_the_role(void **state)
{
    static const struct {
        const char *text;
        int role;
        int64_t out, out_base, in, in_base;
    } rows[] = {
        { ROW("transformer.wte.weight", "[50257,768]", "[null,256]"), MUP_INPUT,
          768, 256, 50257, 0 },
        { ROW("transformer.wpe.weight", "[1024,768]", "[null,256]"), MUP_INPUT,
          768, 256, 1024, 0 },
        { ROW("lm_head.weight", "[50257,768]", "[null,256]"), MUP_OUTPUT, 50257,
          0, 768, 256 },
        { ROW("output.weight", "[32000,768]", "[null,256]"), MUP_OUTPUT, 32000,
          0, 768, 256 },
        { ROW("embed", "[320,64]", "[null,32]"), MUP_INPUT, 64, 32, 320, 0 },
        { ROW("unembed", "[320,64]", "[null,32]"), MUP_OUTPUT, 320, 0, 64, 32 },
        /* a gate is a router, a gate_proj is not */
        { ROW("model.layers.0.mlp.gate.weight", "[8,64]", "[null,32]"),
          MUP_ROUTER, 8, 0, 64, 32 },
        { ROW("model.layers.0.mlp.gate_proj.weight", "[256,64]", "[128,32]"),
          MUP_HIDDEN, 256, 128, 64, 32 },
        { ROW("l.block_sparse_moe.gate.weight", "[8,64]", "[null,32]"),
          MUP_ROUTER, 8, 0, 64, 32 },
        { ROW("l.block_sparse_moe.experts.3.w2.weight", "[64,256]", "[32,128]"),
          MUP_EXPERT_DOWN, 64, 32, 256, 128 },
        { ROW("l.block_sparse_moe.experts.3.w3.weight", "[256,64]", "[128,32]"),
          MUP_EXPERT_UP, 256, 128, 64, 32 },
        { ROW("l.mlp.shared_expert.down_proj.weight", "[64,256]", "[32,128]"),
          MUP_HIDDEN, 64, 32, 256, 128 },
        { ROW("l.mlp.shared_expert_gate.weight", "[1,64]", "[null,32]"),
          MUP_ROUTER, 1, 0, 64, 32 },
        { ROW("blocks.0.moe.gate", "[8,256,64]", "[null,128,32]"),
          MUP_EXPERT_UP, 256, 128, 64, 32 },
        /* a fixed number of key/value heads, a fixed expert width */
        { ROW("l.self_attn.k_proj.weight", "[64,512]", "[null,128]"),
          MUP_KEY_VALUE, 64, 64, 512, 128 },
        { ROW("l.experts.0.w1.weight", "[64,512]", "[null,128]"), MUP_EXPERT_UP,
          64, 64, 512, 128 },
        { ROW("l.experts.0.w2.weight", "[512,64]", "[128,null]"),
          MUP_EXPERT_DOWN, 512, 128, 64, 64 },
        /* nothing but nulls to go by */
        { ROW("a", "[]", "[]"), MUP_FIXED, 1, 0, 1, 0 },
        { ROW("a", "[7]", "[null]"), MUP_FIXED, 7, 0, 1, 0 },
        { ROW("a", "[7]", "[14]"), MUP_VECTOR, 7, 14, 1, 0 },
        { ROW("a", "[7,5]", "[null,null]"), MUP_FIXED, 7, 0, 5, 0 },
        { ROW("a", "[3,7,5]", "[null,null,null]"), MUP_FIXED, 7, 0, 5, 0 },
        { ROW("a", "[8,4]", "[4,2]"), MUP_HIDDEN, 8, 4, 4, 2 },
        { ROW("patch", "[8,768]", "[4,null]"), MUP_INPUT, 8, 4, 768, 0 },
        /* names do not scale what does not grow */
        { ROW("lm_head.weight", "[9,8]", "[null,null]"), MUP_FIXED, 9, 0, 8,
          0 },
        { ROW("q_norm.weight", "[64]", "[null]"), MUP_FIXED, 64, 0, 1, 0 },
        { ROW("experts.up_bias", "[8,64]", "[null,32]"), MUP_VECTOR, 64, 32, 1,
          0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct shapes shapes = opened(rows[i].text, NULL, NULL);
        const struct mup_shape *s = &shapes.list[0].shape;

        if (s->role != rows[i].role)
            fail_msg("%s is '%s'", rows[i].text, mup_role_name(s->role));
        assert_int_equal(s->fan_out.size, rows[i].out);
        assert_int_equal(s->fan_out.base, rows[i].out_base);
        assert_int_equal(s->fan_in.size, rows[i].in);
        assert_int_equal(s->fan_in.base, rows[i].in_base);
        shapes_close(&shapes);
    }
}

static void a_given_role_wins_over_the_name(void **state)
{
    struct shapes shapes = opened(
        "[{\"name\":\"lm_head\",\"shape\":[9,8],\"base_shape\":[null,4],"
        "\"role\":\"tied\"},"
        "{\"name\":\"stack\",\"shape\":[3,9,8],\"base_shape\":[null,9,4],"
        "\"role\":\"hidden\",\"in_block\":true}]",
        NULL, NULL);

    (void)state;
    assert_int_equal(shapes.list[0].shape.role, MUP_TIED);
    assert_int_equal(shapes.list[0].shape.fan_out.base, 4);
    assert_int_equal(shapes.list[0].shape.in_block, 0);
    assert_int_equal(shapes.list[1].shape.fan_out.base, 9);
    assert_int_equal(shapes.list[1].shape.in_block, 1);
    shapes_close(&shapes);
}

static void a_file_of_patterns_is_asked_first(void **state)
{
    struct shapes shapes =
        opened(ROW("lm_head.q_proj", "[9,8]", "[null,4]"), NULL,
               "# mine\n\n lm_head.?_proj\tinput # an embedding\r\n* fixed\n");
    struct mup_error err;

    (void)state;
    assert_int_equal(shapes.list[0].shape.role, MUP_INPUT);
    shapes_close(&shapes);
    assert_int_equal(open_list("[]", NULL, "a b\nb\n", &shapes, &err),
                     MUP_USAGE);
    assert_string_equal(err.text,
                        "p.txt:1: unknown role 'b'; one of input, hidden, "
                        "output, vector, fixed, tied, router, expert_up, "
                        "expert_down, key_value");
    assert_int_equal(open_list("[]", NULL, "a fixed\nb\n", &shapes, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "p.txt:2: a line is 'GLOB ROLE'"));
    assert_int_equal(open_list(ROW("lm", "[9,8]", "[3,4]"), NULL, "l* output\n",
                               &shapes, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "'output' by 'l*' (p.txt:1), but its "
                                     "fan_out"));
}

static void roles_txt_is_the_table_that_is_built_in(void **state)
{
    char *text = text_of("configs/roles.txt");
    struct role_patterns file;
    struct mup_error err = { 0 };
    int n = 0;

    (void)state;
    if (tensor_role_patterns_open(text, strlen(text), "roles.txt", &file, &err))
        fail_msg("%s", err.text);
    for (; tensor_role_builtin[n].glob; n++) {
        assert_true(n < file.n);
        assert_string_equal(file.list[n].glob, tensor_role_builtin[n].glob);
        assert_int_equal(file.list[n].role, tensor_role_builtin[n].role);
    }
    assert_int_equal(n, file.n);
    tensor_role_patterns_close(&file);
    free(text);
}

static void names_tell_what_is_in_a_block(void **state)
{
    static const char *const in[] = { "model.layers.31.mlp.up_proj.weight",
                                      "h.0.ln_1.weight",
                                      "blocks/7/attn/q",
                                      "transformer.h_11.w",
                                      "encoder.layer.3",
                                      "layers[4].w" };
    static const char *const out[] = { "lm_head.weight", "layers.norm",
                                       "graph.3.w",      "layers.3x.w",
                                       "head.0.w",       ".",
                                       "layers.",        "h" };

    (void)state;
    for (size_t i = 0; i < sizeof(in) / sizeof(in[0]); i++)
        if (!tensor_role_in_block(in[i]))
            fail_msg("'%s' is in a block", in[i]);
    for (size_t i = 0; i < sizeof(out) / sizeof(out[0]); i++)
        if (tensor_role_in_block(out[i]))
            fail_msg("'%s' is in no block", out[i]);
}

/* --- base shapes from YAML --- */

#define NO_BASE                                                                \
    "[{\"name\":\"wte\",\"shape\":[9,8]},{\"name\":\"w\",\"shape\":[8,8]}]"

static void base_shapes_are_read_as_microsoft_mup_writes_them(void **state)
{
    static const char *const files[] = {
        "# This is a base shape file encoded in yaml\nw:\n- 4\n- 2\nwte:\n"
        "- null\n- 4\n",
        "w: [4, 2]\nwte: [null, 4]\n",
        "module.w: [4, 2]\nmodule.wte: [~, 4]\n",
        "_orig_mod.module.w: [4, 2]\nmodule.wte:\n-\n- 4\n",
    };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct shapes shapes = opened(NO_BASE, files[i], NULL);

        assert_int_equal(shapes.list[0].dim[0].base, 0);
        assert_int_equal(shapes.list[0].dim[1].base, 4);
        assert_int_equal(shapes.list[1].dim[0].base, 4);
        assert_int_equal(shapes.list[1].dim[1].base, 2);
        shapes_close(&shapes);
    }
}

static void a_bad_file_of_base_shapes_is_refused(void **state)
{
    static const struct {
        const char *base, *says;
    } rows[] = {
        { "", "b.yaml:1: no base shapes" },
        { "- 1\n", "b.yaml:1: no base shapes" },
        { "wte: [null, 4]\n",
          "s.json: tensor 'w': 'b.yaml' has no base shape for it" },
        { "wte: [null, 4]\nw: 3\n",
          "s.json: tensor 'w': b.yaml:2: no list of base dimensions" },
        { "wte: [null, 4]\nw: [1]\n", "tensor 'w': its base shape has 1 dim" },
        { "wte: [null, 4]\nw: [1, x]\n", "b.yaml:2: 'x' is no size" },
        { "wte: [null, 4]\nw: [1, 0]\n", "b.yaml:2: '0' is no size" },
        { "wte: [null, 4]\nw: [1, [2]]\n", "b.yaml:2: no whole number" },
        { "wte: [null, 4]\nw: [2, 2]\nz: [1]\n",
          "b.yaml:3: no tensor 'z' in 's.json'" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct shapes shapes = { .n = -7 };
        struct mup_error err = { 0 };

        assert_int_equal(open_list(NO_BASE, rows[i].base, NULL, &shapes, &err),
                         MUP_USAGE);
        if (!strstr(err.text, rows[i].says))
            fail_msg("'%s' instead of '%s'", err.text, rows[i].says);
        assert_int_equal(shapes.n, -7);
    }
}

/* --- refusals --- */

#define BAD(more) "[{\"name\":\"t\"," more "}]"

static const struct {
    const char *text, *says;
} refusals[] = {
    { "", "s.json:1: not JSON" },
    { "[\n{\n", "s.json:" },
    { "[{\"name\":\"a\",\"name\":\"b\"}]", "s.json:1: not JSON: duplicate" },
    { "{}", "s.json: no list of tensors" },
    { "[]", "s.json: no list of tensors" },
    { "[3]", "s.json: entry 0 is no object" },
    { "[{}]", "s.json: entry 0 is no object with a \"name\"" },
    { "[{\"name\":\"\"}]", "tensor '': its name is empty" },
    { "[{\"name\":\"a\\n\"}]", "its name holds a control character" },
    { BAD("\"base\":1"), "s.json: tensor 't': unknown key \"base\"" },
    { BAD("\"role\":\"hidden\""), "tensor 't': no \"shape\"" },
    { BAD("\"shape\":3"), "tensor 't': \"shape\" is no list" },
    { BAD("\"shape\":[1,2,3,4]"), "tensor 't': it has rank 4" },
    { BAD("\"shape\":[8,0]"), "dimension 1 of its shape is 0, must be" },
    { BAD("\"shape\":[-8]"), "dimension 0 of its shape is -8, must be" },
    { BAD("\"shape\":[8.5]"), "dimension 0 of its shape is no whole" },
    { BAD("\"shape\":[99999999999999999999]"),
      "dimension 0 of its shape is 1e+20, more" },
    { BAD("\"shape\":[4294967296,4294967296]"), "more than 2^63 - 1" },
    { BAD("\"shape\":[8]"), "tensor 't': no \"base_shape\"" },
    { BAD("\"shape\":[8],\"base_shape\":8"), "\"base_shape\" is no list" },
    { BAD("\"shape\":[8],\"base_shape\":[8,8]"),
      "its base shape has 2 dimensions, its shape has 1" },
    { BAD("\"shape\":[8],\"base_shape\":[0]"),
      "dimension 0 of its base_shape is 0" },
    { BAD("\"shape\":[8],\"base_shape\":[\"4\"]"),
      "dimension 0 of its base_shape is no whole number" },
    { BAD("\"shape\":[8],\"base_shape\":[4],\"role\":1"),
      "\"role\" is no text" },
    { BAD("\"shape\":[8],\"base_shape\":[4],\"role\":\"gain\""),
      "unknown role 'gain'; one of input, hidden" },
    { BAD("\"shape\":[8],\"base_shape\":[4],\"in_block\":1"),
      "\"in_block\" is neither true nor false" },
    { BAD("\"shape\":[9,8],\"base_shape\":[null,4]"),
      "tensor 't': base_shape [null, 4] fits an embedding" },
    { BAD("\"shape\":[3,9,8],\"base_shape\":[null,3,4]"),
      "neither its name nor a rank of 3" },
    { BAD("\"shape\":[8],\"base_shape\":[4],\"role\":\"fixed\""),
      "it has the role 'fixed', but a dimension grows" },
    { BAD("\"shape\":[8],\"base_shape\":[null],\"role\":\"vector\""),
      "'vector', but its last dimension does not grow" },
    { BAD("\"shape\":[],\"base_shape\":[],\"role\":\"vector\""),
      "'vector', but a vector has the shape [n]" },
    { BAD("\"shape\":[8],\"base_shape\":[4],\"role\":\"input\""),
      "'input', but an input has the shape" },
    { BAD("\"shape\":[8,8],\"base_shape\":[4,4],\"role\":\"input\""),
      "'input', but both dimensions grow" },
    { BAD("\"shape\":[8,8],\"base_shape\":[null,null],\"role\":\"input\""),
      "'input', but no dimension grows" },
    { BAD("\"shape\":[8,8],\"base_shape\":[4,null],\"role\":\"tied\""),
      "'tied', but the second dimension" },
    { BAD("\"shape\":[8],\"base_shape\":[4],\"role\":\"hidden\""),
      "'hidden', but a matrix has the shape" },
    { BAD("\"shape\":[8,8],\"base_shape\":[4,4],\"role\":\"output\""),
      "'output', but its fan_out" },
    { BAD("\"shape\":[8,8],\"base_shape\":[4,null],\"role\":\"router\""),
      "'router', but its fan_in" },
    { BAD("\"shape\":[8,8,8],\"base_shape\":[4,4,4],\"role\":\"hidden\""),
      "'hidden', but the number of copies grows" },
    { "[{\"name\":\"a\",\"shape\":[],\"base_shape\":[]},"
      "{\"name\":\"a\",\"shape\":[],\"base_shape\":[]}]",
      "tensor 'a': given twice" },
    { ROW("lm_head.weight", "[9,8]", "[8,4]"),
      "tensor 'lm_head.weight': its name has the role 'output' by the "
      "built-in pattern '*lm_head*', but its fan_out" },
};

static void what_has_no_meaning_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct shapes shapes = { .n = -7 };
        struct mup_error err = { 0 };

        if (open_list(refusals[i].text, NULL, NULL, &shapes, &err) != MUP_USAGE)
            fail_msg("not refused: %s", refusals[i].text);
        if (!strstr(err.text, refusals[i].says))
            fail_msg("'%s' instead of '%s'", err.text, refusals[i].says);
        assert_int_equal(shapes.n, -7);
    }
}

static void a_file_that_is_too_large_is_not_parsed(void **state)
{
    struct shapes_source source = { "s.json", "[]", SHAPES_MAX_BYTES + 1, NULL,
                                    NULL };
    struct mup_error err = { 0 };
    struct shapes shapes;

    (void)state;
    assert_int_equal(shapes_open(&source, &shapes, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "s.json: larger than 16777216 bytes"));
}

static void sizes_far_from_their_base_are_legal_while_finite(void **state)
{
    struct shapes shapes =
        opened(ROW("w", "[4611686018427387904,1]", "[1,4611686018427387904]"),
               NULL, NULL);
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW };

    (void)state;
    SAME(scale_of(&rules, &shapes.list[0]).lr, 0x1p62);
    shapes_close(&shapes);
}

/* --- rules for the whole --- */

#define EXPERTS                                                                \
    "[{\"name\":\"moe.up\",\"shape\":[64,256,128],\"base_shape\":[8,128,64]}," \
    "{\"name\":\"router\",\"shape\":[64,128],\"base_shape\":[8,64]}]"

static void a_growing_number_of_experts_needs_its_regime(void **state)
{
    struct shapes shapes = opened(EXPERTS, NULL, NULL);
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW };
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(shapes.list[1].shape.fan_out.base, 0);
    assert_int_equal(shapes_check_rules(&shapes, &rules, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "tensor 'moe.up': 64 experts against 8"));
    rules.moe = MUP_MOE_MSSP;
    rules.experts = (struct mup_dim){ 32, 8 };
    assert_int_equal(shapes_check_rules(&shapes, &rules, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "asked for 32 against 8"));
    rules.experts = (struct mup_dim){ 64, 8 };
    assert_int_equal(shapes_check_rules(&shapes, &rules, &err), MUP_OK);
    shapes_close(&shapes);
}

static void a_depth_rule_needs_a_tensor_in_a_block(void **state)
{
    struct shapes out = opened(ROW("w", "[8,8]", "[4,4]"), NULL, NULL);
    struct shapes in = opened(ROW("layers.0.w", "[8,8]", "[8,8]"), NULL, NULL);
    struct mup_rules rules = { MUP_MUP, MUP_ADAMW };
    struct mup_error err = { 0 };

    (void)state;
    rules.depth = MUP_DEPTH_MUP;
    rules.layers = (struct mup_dim){ 64, 4 };
    assert_int_equal(shapes_check_rules(&out, &rules, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "\"in_block\": true"));
    assert_int_equal(shapes_check_rules(&in, &rules, &err), MUP_OK);
    SAME(scale_of(&rules, &in.list[0]).lr, 0.25);
    shapes_close(&out);
    shapes_close(&in);
}

static void a_file_where_nothing_grows_is_noticed(void **state)
{
    struct shapes no = opened(ROW("w", "[8,8]", "[null,null]"), NULL, NULL);
    struct shapes yes = opened(ROW("w", "[8,8]", "[8,null]"), NULL, NULL);

    (void)state;
    assert_false(shapes_any_grows(&no));
    assert_true(shapes_any_grows(&yes));
    shapes_close(&no);
    shapes_close(&yes);
}

static void a_table_without_a_readout_may_be_tied(void **state)
{
    static const char table[] =
        "{\"name\":\"wte\",\"shape\":[9,8],\"base_shape\":[null,4]}";
    static const char readout[] =
        "{\"name\":\"lm_head\",\"shape\":[9,8],\"base_shape\":[null,4]}";
    char text[256];
    struct shapes shapes;

    (void)state;
    snprintf(text, sizeof(text), "[%s]", table);
    shapes = opened(text, NULL, NULL);
    assert_ptr_equal(shapes_maybe_tied(&shapes), &shapes.list[0]);
    shapes_close(&shapes);
    snprintf(text, sizeof(text), "[%s,%s]", table, readout);
    shapes = opened(text, NULL, NULL);
    assert_null(shapes_maybe_tied(&shapes));
    shapes_close(&shapes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_factor_is_that_of_microsoft_mup),
        cmocka_unit_test(at_base_every_factor_is_one),
        cmocka_unit_test(a_width_below_the_base_is_legal),
        cmocka_unit_test(names_and_nulls_give_the_role),
        cmocka_unit_test(a_given_role_wins_over_the_name),
        cmocka_unit_test(a_file_of_patterns_is_asked_first),
        cmocka_unit_test(roles_txt_is_the_table_that_is_built_in),
        cmocka_unit_test(names_tell_what_is_in_a_block),
        cmocka_unit_test(base_shapes_are_read_as_microsoft_mup_writes_them),
        cmocka_unit_test(a_bad_file_of_base_shapes_is_refused),
        cmocka_unit_test(what_has_no_meaning_is_refused_by_name),
        cmocka_unit_test(a_file_that_is_too_large_is_not_parsed),
        cmocka_unit_test(sizes_far_from_their_base_are_legal_while_finite),
        cmocka_unit_test(a_growing_number_of_experts_needs_its_regime),
        cmocka_unit_test(a_depth_rule_needs_a_tensor_in_a_block),
        cmocka_unit_test(a_file_where_nothing_grows_is_noticed),
        cmocka_unit_test(a_table_without_a_readout_may_be_tied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
