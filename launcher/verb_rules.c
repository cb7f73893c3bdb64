#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/shapes.h"
#include "launcher/paths.h"
#include "launcher/rules_table.h"
#include "launcher/verbs.h"
#include "model/file.h"
#include "model/params.h"

#define PATTERN_BYTES ((size_t)1 << 20)

static const struct option options[] = {
    { "shapes", 0, "FILE", "JSON list of tensors, '-' = stdin" },
    { "base", 0, "FILE", "base shapes, YAML as microsoft/mup saves them" },
    { "patterns", 0, "FILE",
      "lines of 'GLOB ROLE', tried before the built-in" },
    { "config", 0, "RUN.yaml",
      "the model of a run config instead of --shapes" },
    { "format", 0, "F", "json, csv or table (the default)" },
    { "parametrization", 0, "P", "sp, mup (the default), sp-perlayer, umup" },
    { "optimizer", 0, "O", "adamw (the default), sgd, adam, lion, muon" },
    { "form", 0, "F", "table8 (the default), table3, table9" },
    { "decay", 0, "D", "independent (the default), coupled, sqrt, ..." },
    { "depth", 0, "D", "none (the default), depth-mup, completep" },
    { "layers", 0, "N,BASE", "layers, and layers of the base model" },
    { "moe", 0, "M", "fixed_e (the default), mean_field, mssp, ..." },
    { "experts", 0, "N,BASE", "experts, and experts of the base model" },
    { "gqa", 0, "G", "equal (the default), experimental" },
    { "kv-group", 0, "N,BASE", "query heads per key/value head, and at base" },
    { "muon-scale", 0, "S", "spectral (the default), moonlight, ..." },
    { "atan2", 0, NULL, "Adam-atan2, which has no epsilon" },
    { "json", 0, NULL, "the same as --format json" },
    { 0 },
};

/* --- the rules from flags --- */

struct choice {
    const char *option;
    const char *(*name)(int);
    int n;
    const char *key; /* the same in a config */
};

enum {
    CHOICE_PARAMETRIZATION,
    CHOICE_OPTIMIZER,
    CHOICE_FORM,
    CHOICE_DECAY,
    CHOICE_DEPTH,
    CHOICE_MOE,
    CHOICE_GQA,
    CHOICE_MUON,
    N_CHOICES
};

static const struct choice choices[N_CHOICES] = {
    { "parametrization", mup_parametrization_name, MUP_PARAMETRIZATION_COUNT,
      "mup.parametrization" },
    { "optimizer", mup_optimizer_name, MUP_OPTIMIZER_COUNT, "train.optimizer" },
    { "form", mup_form_name, MUP_FORM_COUNT, "mup.form" },
    { "decay", mup_decay_name, MUP_DECAY_COUNT, "train.decay_mode" },
    { "depth", mup_depth_name, MUP_DEPTH_COUNT, "mup.depth" },
    { "moe", mup_moe_name, MUP_MOE_COUNT, "mup.moe" },
    { "gqa", mup_gqa_name, MUP_GQA_COUNT, "mup.gqa" },
    { "muon-scale", mup_muon_name, MUP_MUON_COUNT, "train.muon_scale" },
};

/* Leaves *value alone where the option is absent. */
static int take_choice(const struct args *args, const struct choice *choice,
                       int *value, struct mup_error *err)
{
    const char *text = args_text(args, choice->option);
    char list[128];
    size_t n = 0;
    int found = text ? mup_name_find(choice->name, choice->n, text) : *value;

    if (found >= 0) {
        *value = found;
        return MUP_OK;
    }
    for (int i = 0; i < choice->n && n < sizeof(list); i++)
        n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "",
                              choice->name(i));
    return mup_fail(err, MUP_USAGE, "--%s: unknown name '%.40s'; one of %s",
                    choice->option, text, list);
}

static int take_count(const struct args *args, const char *option,
                      struct mup_dim *out, struct mup_error *err)
{
    int64_t pair[2];
    int n, rc = args_int_list(args, option, 2, pair, &n, err);

    if (rc != MUP_OK || n == 0)
        return rc;
    if (n != 2)
        return mup_fail(err, MUP_USAGE,
                        "--%s: give the number and the base model's, as in "
                        "--%s 64,4",
                        option, option);
    *out = (struct mup_dim){ pair[0], pair[1] };
    return MUP_OK;
}

static int check_counts(const struct mup_rules *r, struct mup_error *err)
{
    if (r->depth != MUP_DEPTH_NONE && !r->layers.base)
        return mup_fail(err, MUP_USAGE,
                        "--depth %s needs the number of layers; add --layers "
                        "N,BASE",
                        mup_depth_name(r->depth));
    if (r->moe != MUP_MOE_FIXED_E && !r->experts.base)
        return mup_fail(err, MUP_USAGE,
                        "--moe %s needs the number of experts; add --experts "
                        "N,BASE",
                        mup_moe_name(r->moe));
    return MUP_OK;
}

static int take_rules(const struct args *args, struct mup_rules *out,
                      struct mup_error *err)
{
    struct mup_rules r = { .parametrization = MUP_MUP,
                           .atan2 = args_given(args, "atan2") };
    int *const values[N_CHOICES] = {
        [CHOICE_PARAMETRIZATION] = &r.parametrization,
        [CHOICE_OPTIMIZER] = &r.optimizer,
        [CHOICE_FORM] = &r.form,
        [CHOICE_DECAY] = &r.decay,
        [CHOICE_DEPTH] = &r.depth,
        [CHOICE_MOE] = &r.moe,
        [CHOICE_GQA] = &r.gqa,
        [CHOICE_MUON] = &r.muon,
    };
    int rc = MUP_OK;

    for (int i = 0; i < N_CHOICES && rc == MUP_OK; i++)
        rc = take_choice(args, &choices[i], values[i], err);
    if (rc == MUP_OK)
        rc = take_count(args, "layers", &r.layers, err);
    if (rc == MUP_OK)
        rc = take_count(args, "experts", &r.experts, err);
    if (rc == MUP_OK)
        rc = take_count(args, "kv-group", &r.group, err);
    if (rc == MUP_OK)
        rc = check_counts(&r, err);
    if (rc == MUP_OK && r.optimizer == MUP_ADAM && args_given(args, "decay") &&
        r.decay != MUP_DECAY_NONE)
        rc = mup_fail(err, MUP_USAGE,
                      "--decay %s: adam would put the decay into the gradient, "
                      "for which no width rule holds; use adamw",
                      mup_decay_name(r.decay));
    if (rc == MUP_OK)
        *out = r;
    return rc;
}

/* --- the tensors of --shapes --- */

static int start_table(int64_t n, struct rules_table *table,
                       struct mup_error *err)
{
    table->n = n;
    table->rows = calloc((size_t)n, sizeof(*table->rows));
    if (!table->rows)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %lld tensors",
                        (long long)n);
    return MUP_OK;
}

static int fill_from_shapes(const struct shapes *shapes,
                            struct rules_table *table, struct mup_error *err)
{
    int rc = shapes_check_rules(shapes, &table->rules, err);

    if (rc == MUP_OK)
        rc = start_table(shapes->n, table, err);
    for (int i = 0; i < shapes->n && rc == MUP_OK; i++) {
        const struct tensor *t = &shapes->list[i];
        struct rules_row *row = &table->rows[i];

        row->shape = t->shape;
        row->width_mult = shapes_width_mult(t);
        row->constant = shapes_is_constant(t);
        rc = rules_row_fill(&table->rules, row, err);
    }
    return rc;
}

/* What the files hold, {0} where not asked for: rows borrow names from it. */
struct inputs {
    struct role_patterns patterns;
    struct yaml_doc base;
    struct shapes shapes;
    struct params params;
};

static void close_inputs(struct inputs *in)
{
    tensor_role_patterns_close(&in->patterns);
    yaml_close(&in->base);
    shapes_close(&in->shapes);
    params_clear(&in->params);
}

static int open_patterns(const char *path, struct inputs *in,
                         struct mup_error *err)
{
    char *text;
    size_t bytes;
    int rc = file_read(path, PATTERN_BYTES, &text, &bytes, err);

    if (rc != MUP_OK)
        return rc;
    rc = tensor_role_patterns_open(text, bytes, path, &in->patterns, err);
    free(text);
    return rc;
}

static int open_shapes(const struct args *args, struct inputs *in,
                       struct mup_error *err)
{
    const char *path = args_text(args, "shapes");
    struct shapes_source source = {
        .path = strcmp(path, "-") != 0 ? path : "/dev/stdin",
        .base = in->base.path ? &in->base : NULL,
        .patterns = &in->patterns,
    };
    char *text;
    int rc =
        file_read(source.path, SHAPES_MAX_BYTES, &text, &source.bytes, err);

    if (rc != MUP_OK)
        return rc;
    source.text = text;
    rc = shapes_open(&source, &in->shapes, err);
    free(text);
    return rc;
}

static int open_inputs(const struct args *args, struct inputs *in,
                       struct mup_error *err)
{
    const char *base = args_text(args, "base");
    const char *patterns = args_text(args, "patterns");
    int rc = base ? yaml_open(base, &in->base, err) : MUP_OK;

    if (rc == MUP_OK && patterns)
        rc = open_patterns(patterns, in, err);
    return rc == MUP_OK ? open_shapes(args, in, err) : rc;
}

/* What is legal and seldom meant. */
static void print_notes(const struct shapes *shapes)
{
    const struct tensor *table = shapes_maybe_tied(shapes);

    if (!shapes_any_grows(shapes))
        fprintf(stderr, "no dimension of any tensor grows: every base shape is "
                        "null\n");
    if (table)
        fprintf(stderr,
                "no tensor is a readout; if '%s' makes the logits too, give it "
                "the role 'tied'\n",
                table->name);
}

static int rules_of_shapes(const struct args *args, struct inputs *in,
                           struct rules_table *table, struct mup_error *err)
{
    int rc;

    if (args->n_overrides)
        return mup_fail(err, MUP_USAGE,
                        "'--%.60s' sets a key of a config, and --shapes has "
                        "none; use --optimizer, --form, ...",
                        args->overrides[0]);
    rc = take_rules(args, &table->rules, err);
    if (rc == MUP_OK)
        rc = open_inputs(args, in, err);
    if (rc == MUP_OK)
        rc = fill_from_shapes(&in->shapes, table, err);
    if (rc == MUP_OK && !args->quiet)
        print_notes(&in->shapes);
    return rc;
}

/* --- the tensors of --config --- */

static int fill_from_params(const struct params *params,
                            struct rules_table *table, struct mup_error *err)
{
    int rc = start_table(params->n, table, err);

    for (int i = 0; i < params->n && rc == MUP_OK; i++) {
        const struct mup_shape *shape = &params->list[i].shape;
        struct rules_row *row = &table->rows[i];

        row->shape = *shape;
        row->width_mult =
            mup_ratio(shape->fan_in.base ? shape->fan_in : shape->fan_out);
        row->constant = shape->role == MUP_VECTOR || params->list[i].ones > 0;
        rc = rules_row_fill(&table->rules, row, err);
    }
    return rc;
}

/* With a config its keys say all; two places for one thing could differ. */
static int check_alone(const struct args *args, struct mup_error *err)
{
    static const char *const files[] = { "base", "patterns" };
    static const struct {
        const char *option, *keys;
    } counts[] = {
        { "layers", "model.layers and mup.base_layers" },
        { "experts", "model.experts and mup.base_experts" },
        { "kv-group", "model.kv_group and mup.base_kv_group" },
        { "atan2", "train.atan2" },
    };

    for (int i = 0; i < 2; i++)
        if (args_given(args, files[i]))
            return mup_fail(err, MUP_USAGE,
                            "--%s belongs to --shapes; a config knows its "
                            "tensors",
                            files[i]);
    for (int i = 0; i < N_CHOICES; i++)
        if (args_given(args, choices[i].option))
            return mup_fail(err, MUP_USAGE,
                            "--%s belongs to --shapes; with --config write "
                            "--%s=%s",
                            choices[i].option, choices[i].key,
                            args_text(args, choices[i].option));
    for (int i = 0; i < 4; i++)
        if (args_given(args, counts[i].option))
            return mup_fail(err, MUP_USAGE,
                            "--%s belongs to --shapes; with --config set %s",
                            counts[i].option, counts[i].keys);
    return MUP_OK;
}

static int rules_of_config(const struct args *args, struct inputs *in,
                           struct rules_table *table, struct mup_error *err)
{
    const char *path = args_text(args, "config");
    struct run_config config;
    int rc = check_alone(args, err);

    if (rc == MUP_OK)
        rc = path_expect(path, PATH_RUN_CONFIG, err);
    if (rc == MUP_OK)
        rc = run_config_load(path, args->overrides, args->n_overrides, &config,
                             err);
    if (rc == MUP_OK)
        rc = params_init(&config, &PLACE_ALONE, &in->params, err);
    if (rc != MUP_OK)
        return rc;
    table->rules = config_rules(&config);
    return fill_from_params(&in->params, table, err);
}

static int run(const struct args *args, struct mup_error *err)
{
    struct rules_table table = { 0 };
    struct inputs in = { 0 };
    const char *format = args_text(args, "format");
    int rc;

    if (!format)
        format = args_given(args, "json") ? "json" : "table";
    rc = rules_table_check_format(format, err);
    if (rc == MUP_OK && args_given(args, "json") && strcmp(format, "json") != 0)
        rc = mup_fail(err, MUP_USAGE,
                      "--json and --format %s contradict each other", format);
    if (rc == MUP_OK &&
        !args_given(args, "shapes") == !args_given(args, "config"))
        rc = mup_fail(err, MUP_USAGE,
                      "give either --shapes FILE or --config RUN.yaml");
    if (rc == MUP_OK && args_given(args, "config"))
        rc = rules_of_config(args, &in, &table, err);
    else if (rc == MUP_OK)
        rc = rules_of_shapes(args, &in, &table, err);
    if (rc == MUP_OK)
        rc = rules_table_print(&table, format, err);
    free(table.rows);
    close_inputs(&in);
    return rc;
}

const struct verb verb_rules = {
    "rules",
    "--shapes FILE | --config RUN.yaml",
    0,
    0,
    VERB_CONFIG,
    "what every tensor of any trainer gets under the rules",
    "For each tensor the factors, relative to the base model, on what was "
    "tuned\n"
    "there: initialisation, output, learning rate, epsilon, weight decay.  "
    "FILE is\n"
    "  [ { \"name\": \"lm_head.weight\", \"shape\": [32000, 1024],\n"
    "      \"base_shape\": [null, 128] }, ... ]\n"
    "with shapes as [fan_out, fan_in], null for what does not grow with width, "
    "and\n"
    "where needed \"role\" and \"in_block\".  Without \"base_shape\" --base "
    "has it.\n"
    "With --config the tensors are those that 'train' would train; the rules "
    "are\n"
    "then set by config keys alone.  docs/other-trainers.md shows how PyTorch "
    "and\n"
    "optax load the answer.",
    "mutransfer rules --shapes shapes.json --optimizer adamw --format csv",
    options,
    run,
};
