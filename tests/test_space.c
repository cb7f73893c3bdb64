/* Sweep files: what they mean, what they are refused for, and when a study may
 * be continued with a changed one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/file.h"
#include "sweep/sampler.h"
#include "sweep/space.h"

#define LR "parameters:\n  train.lr: {values: [2^-6, 0.01]}\n"

static void open_text(const char *text, struct space *out)
{
    struct mup_error err = { 0 };

    if (space_open_text(text, strlen(text), "s.yaml", out, &err))
        fail_msg("%s", err.text);
}

/* The text is refused, with both words in the sentence. */
static void refused(const char *text, const char *word, const char *place)
{
    struct space space = { .n_seeds = -7 };
    struct mup_error err = { 0 };

    assert_int_equal(
        space_open_text(text, strlen(text), "s.yaml", &space, &err), MUP_USAGE);
    if (!strstr(err.text, word) || !strstr(err.text, place))
        fail_msg("'%s' lacks '%s' or '%s'", err.text, word, place);
    assert_int_equal(space.n_seeds, -7); /* out is untouched on failure */
}

static void values_are_kept_in_one_canonical_form(void **state)
{
    struct space s;

    (void)state;
    open_text(LR, &s);
    assert_int_equal(s.n_parameters, 1);
    assert_string_equal(s.parameter[0].values[0], "0.015625");
    assert_string_equal(s.parameter[0].values[1], "0.01");
    assert_string_equal(s.sweep.name, "s");
    assert_int_equal(s.n_seeds, 1);
    space_close(&s);
    refused("parameters:\n  train.lr: [0.015625, 2^-6]\n", "twice",
            "s.yaml:2: ");
}

static void a_range_with_a_step_in_octaves_is_a_list(void **state)
{
    struct space s;

    (void)state;
    open_text("parameters:\n  train.lr: {distribution: log_uniform_values, "
              "min: 2^-9, max: 2^-3, step: 2}\n",
              &s);
    assert_int_equal(s.parameter[0].n_values, 4);
    assert_string_equal(s.parameter[0].values[0], "0.001953125");
    assert_string_equal(s.parameter[0].values[3], "0.125");
    space_close(&s);
}

static void the_type_of_the_key_decides_the_distribution(void **state)
{
    struct space s;

    (void)state;
    open_text("method: random\nrun_cap: 3\nparameters:\n"
              "  train.lr: {min: 1, max: 2}\n"
              "  train.steps: {min: 10, max: 20}\n",
              &s);
    assert_int_equal(s.parameter[0].distribution, SPACE_UNIFORM);
    assert_int_equal(s.parameter[1].distribution, SPACE_INT_UNIFORM);
    space_close(&s);
}

static void a_single_value_changes_the_base_config(void **state)
{
    struct space s;

    (void)state;
    open_text(LR "  train.steps: {value: 77}\n  model.layers: 3\n", &s);
    assert_int_equal(s.n_parameters, 1);
    assert_int_equal(s.base.train.steps, 77);
    assert_int_equal(s.base.model.layers, 3);
    space_close(&s);
}

static void members_are_the_product_of_the_groups(void **state)
{
    struct space s;
    struct space_point point;
    struct run_config config;

    (void)state;
    open_text(LR "groups:\n  mup.parametrization: [sp, mup]\n"
                 "  model.width: [32, 64, 128]\nseeds: [4, 5]\n",
              &s);
    assert_int_equal(space_members(&s), 6);
    assert_string_equal(space_member_text(&s, 4, 0), "mup");
    assert_string_equal(space_member_text(&s, 4, 1), "64");
    assert_int_equal(sampler_propose(&s, 0, NULL, 0, &point), 1);
    assert_int_equal(space_resolve(&s, &point, 4, 5, &config, NULL), MUP_OK);
    assert_int_equal(config.mup.parametrization, MUP_MUP);
    assert_int_equal(config.model.width, 64);
    assert_int_equal(config.train.seed, 5);
    assert_true(config.train.lr == 0x1p-6);
    space_close(&s);
}

static void twins_exist_at_base_width_and_base_head_size_only(void **state)
{
    struct space s;
    struct space_point point;
    struct run_config config;

    (void)state;
    open_text(LR "  mup.base_width: 32\n  mup.base_head_size: 16\n"
                 "groups:\n  model.width: [32, 64]\n"
                 "  mup.parametrization: [sp, mup]\n"
                 "  model.head_size: [16, 8]\n",
              &s);
    sampler_propose(&s, 0, NULL, 0, &point);
    /* Members: (width, parametrization, head size), the last fastest. */
    static const int64_t twin[] = { 0, 1, 0, 3, 4, 5, 6, 7 };
    for (int64_t m = 0; m < 8; m++) {
        assert_int_equal(space_resolve(&s, &point, m, 1, &config, NULL), 0);
        assert_int_equal(space_twin(&s, &config, m), twin[m]);
    }
    space_close(&s);
}

static void labels_are_short(void **state)
{
    struct space s;
    struct space_point point;
    char label[100], tiny[8];

    (void)state;
    open_text(LR "groups:\n  mup.parametrization: [sp, mup]\n"
                 "  model.width: [32, 64]\n",
              &s);
    sampler_propose(&s, 0, NULL, 0, &point);
    space_label(&s, &point, 3, label, sizeof(label));
    assert_string_equal(label, "mup width 64 lr 2^-6");
    space_label(&s, &point, 3, tiny, sizeof(tiny));
    assert_string_equal(tiny, "mup wid");
    space_close(&s);
}

static void mistakes_are_refused_with_their_place(void **state)
{
    (void)state;
    refused("metod: grid\n" LR, "method", "s.yaml:1: ");
    refused("parameters:\n  train.lrr: [1]\n", "'train.lr'", "s.yaml:2: ");
    refused(LR "groups:\n  model.with: [32]\n", "'model.width'", "s.yaml:4: ");
    refused("parameters:\n  train.lr: [-1]\n", "train.lr", "s.yaml:2: ");
    refused("parameters:\n  train.lr: {min: 1, max: 2}\n", "step",
            "s.yaml:2: ");
    refused("method: random\n" LR, "run_cap", "s.yaml:1: ");
    refused("method: bayes\n" LR, "grid|random|sobol", "s.yaml:1: ");
    refused("parameters:\n  train.lr: {distribution: log_uniform, min: -6, "
            "max: -2}\n",
            "log_uniform_values", "s.yaml:2: ");
    refused("method: random\nrun_cap: 1\nparameters:\n  train.lr: "
            "{distribution: log_uniform_values, min: 0, max: 1}\n",
            "above 0", "s.yaml:4: ");
    refused("parameters:\n  train.lr: {min: 1}\n", "min and max", "s.yaml:2: ");
    refused(LR "  train.beta1:\n    min: 0.9\n    max: 0.5\n", "not below",
            "s.yaml:3: ");
    refused("parameters: {}\n", "empty", "s.yaml:1: ");
    refused(LR "groups: {}\n", "empty", "s.yaml:3: ");
    refused("seed: 1\nparameters:\n\ttrain.lr: [1]\n", "not tabs",
            "s.yaml:3: ");
    refused("parameters:\n  train.lr: {}\n", "empty", "s.yaml:2: ");
    refused("parameters:\n  train.lr: []\n", "list of values", "s.yaml:2: ");
    refused("parameters:\n  train.lr: {values: [1], mu: 3}\n", "'mu'",
            "s.yaml:2: ");
    refused("parameters:\n  train.seed: [1, 2]\n", "seeds", "s.yaml:2: ");
    refused(LR "groups:\n  train.lr: [1]\n", "both", "s.yaml:2: ");
    refused(LR "seeds: 3\n", "list", "s.yaml:3: ");
    refused(LR "seeds: [1, 1]\n", "twice", "s.yaml:3: ");
    refused(LR "seeds: [-1]\n", "train.seed", "s.yaml:3: ");
    refused(LR "metric: {name: val_loss, goal: maximize}\n", "minimize",
            "s.yaml:3: ");
    refused(LR "metric: {name: accuracy}\n", "val_loss|val_bpb|loss",
            "s.yaml:3: ");
    refused(LR "program: train.py\n", "built in", "s.yaml:3: ");
    refused(LR "early_terminate: {type: hyperband}\n", "not available",
            "s.yaml:3: ");
    refused(LR "enqueue: [{train.beta1: 1}]\n", "no parameter", "s.yaml:3: ");
    refused(LR "enqueue: [{train.lr: 0.5}, {train.lr: 2^-1}]\n", "twice",
            "s.yaml:3: ");
    refused("seeds: [1]\n", "train.lr", "s.yaml: ");
    refused(LR "groups:\n  model.width: [32, 40]\n", "40", "s.yaml:4: ");
    refused(LR "groups:\n  model.width: [32, 40]\n", "width 40", "s.yaml:4: ");
    /* The group that is at fault, not the one that varies fastest. */
    refused(LR "groups:\n  model.width: [32, 40]\n  model.layers: [1, 2]\n",
            "width 40", "s.yaml:4: ");
    refused(LR "groups:\n  model.layers: [1, 2]\n  model.width: [32, 40]\n",
            "width 40", "s.yaml:5: ");
    refused(LR "groups:\n  model.layers: [1, 2]\n  model.width: [40, 32]\n",
            "width 40", "s.yaml:5: ");
    refused("parameters:\n  train.lr: [1]\n  model.top_k: [2, 16]\n",
            "top_k 16", "s.yaml:3: ");
    refused("[1, 2]\n", "no map", "s.yaml");
    refused("method: random\nrun_cap: 1000000\n" LR "seeds: [1, 2]\n",
            "more than", "s.yaml: ");
}

static void a_file_of_wandb_keys_reads_unchanged(void **state)
{
    struct space s;

    (void)state;
    open_text("project: p\nentity: e\ndescription: text\nname: n\n"
              "method: random\nrun_cap: 5\n"
              "metric:\n  name: val_loss\n  goal: minimize\n"
              "parameters:\n"
              "  train.lr:\n    distribution: log_uniform_values\n"
              "    min: 1e-4\n    max: 1e-1\n"
              "  train.schedule:\n    values: [cosine, linear]\n"
              "  train.steps:\n    value: 10\n",
              &s);
    assert_int_equal(s.parameter[0].distribution, SPACE_LOG_UNIFORM);
    assert_int_equal(s.parameter[1].n_values, 2);
    assert_string_equal(s.sweep.name, "n");
    space_close(&s);
}

static void an_enqueued_point_is_completed_from_the_base(void **state)
{
    struct space s;

    (void)state;
    open_text("parameters:\n  train.lr: [1]\n  train.beta1: [0.5]\n"
              "enqueue: [{train.lr: 2^-3}]\n",
              &s);
    assert_string_equal(s.enqueued[0][0], "0.125");
    assert_string_equal(s.enqueued[0][1], "0.9");
    space_close(&s);
    refused("parameters:\n  train.lr: [1]\n  train.beta1: [0.5]\n"
            "enqueue: [{train.beta1: 0.7}]\n",
            "train.lr", "s.yaml:4: ");
}

/* A folder with base.yaml and sweep.yaml. */
static void write_text(const char *path, const char *text)
{
    struct file_replace f;

    assert_int_equal(file_replace_open(path, &f, NULL), MUP_OK);
    fputs(text, f.out);
    assert_int_equal(file_replace_commit(&f, NULL), MUP_OK);
}

static void overrides_reach_every_part_of_the_file(void **state)
{
    char dir[] = "/tmp/test-space-XXXXXX", path[64];
    char *overrides[] = { (char *)"sweep.run_cap=1",
                          (char *)"parameters.train.lr.values=0.5,2^-2",
                          (char *)"groups.model.width=[32, 64]",
                          (char *)"seeds=7,8",
                          (char *)"train.steps=9",
                          (char *)"parameters.train.beta1.value=0.8" };
    char *bad[] = { (char *)"train.lr=1" };
    char *unknown[] = { (char *)"parameters.train.lr.mid=1" };
    struct mup_error err;
    struct space s;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    write_text("base.yaml", "train:\n  steps: 5\n");
    snprintf(path, sizeof(path), "%s/sweep.yaml", dir);
    write_text(path, "base: base.yaml\n" LR "  train.beta1: [0.7, 0.9]\n");
    assert_int_equal(chdir("/"), 0); /* base is relative to the sweep file */
    if (space_open(path, overrides, 6, &s, &err))
        fail_msg("%s", err.text);
    assert_int_equal(s.sweep.run_cap, 1);
    assert_int_equal(s.n_parameters, 1);
    assert_string_equal(s.parameter[0].values[1], "0.25");
    assert_int_equal(s.group[0].n_values, 2);
    assert_int_equal(s.seeds[1], 8);
    assert_int_equal(s.base.train.steps, 9);
    assert_true(s.base.train.beta1 == 0.8);
    space_close(&s);
    assert_int_equal(space_open(path, bad, 1, &s, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "parameters.train.lr.value=1"));
    assert_int_equal(space_open(path, unknown, 1, &s, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "'mid'"));
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(unlink("base.yaml"), 0);
    assert_int_equal(space_open(path, NULL, 0, &s, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "/sweep.yaml:1: "));
    assert_non_null(strstr(err.text, "base.yaml"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void every_key_of_a_sweep_file_is_a_flag(void **state)
{
    char path[] = "/tmp/test-space-XXXXXX";
    char *overrides[] = { (char *)"sweep.seeds=7,8",
                          (char *)"sweep.method=random",
                          (char *)"sweep.run_cap=3" };
    char *bad[] = { (char *)"sweep.seeds=1,x" };
    struct mup_error err = { 0 };
    struct space s;

    (void)state;
    assert_true(close(mkstemp(path)) == 0);
    write_text(path, LR);
    if (space_open(path, overrides, 3, &s, &err))
        fail_msg("%s", err.text);
    assert_int_equal(s.n_seeds, 2);
    assert_int_equal(s.seeds[0], 7);
    assert_int_equal(s.seeds[1], 8);
    assert_int_equal(s.sweep.method, SPACE_RANDOM);
    assert_int_equal(s.sweep.run_cap, 3);
    space_close(&s);
    assert_int_equal(space_open(path, bad, 1, &s, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "--sweep.seeds=1,x: "));
    assert_int_equal(unlink(path), 0);
}

static void a_dump_reads_back_to_the_same_study(void **state)
{
    const char *text =
        "name: 'a \"b\": c'\nmethod: sobol\nrun_cap: 4\nworkers: 2\n"
        "parameters:\n  train.lr: {distribution: log_uniform_values, "
        "min: 1e-4, max: 0.3}\n  train.steps: {min: 3, max: 9}\n"
        "  train.optimizer: [adamw, sgd]\n"
        "groups:\n  model.width: [32, 64]\nseeds: [3, 1]\n"
        "enqueue: [{train.lr: 0.2, train.steps: 5}]\n";
    char *dumped = NULL, *spec, *again;
    size_t bytes;
    struct space s, t;
    FILE *f = open_memstream(&dumped, &bytes);

    (void)state;
    open_text(text, &s);
    assert_int_equal(space_dump(&s, "", f, NULL), MUP_OK);
    fclose(f);
    open_text(dumped, &t);
    assert_string_equal(s.sweep.name, t.sweep.name);
    assert_int_equal(t.sweep.workers, 2);
    /* Without its base file the copy has the defaults for fixed values. */
    assert_int_equal(space_spec(&s, &spec, NULL), MUP_OK);
    assert_int_equal(space_spec(&t, &again, NULL), MUP_OK);
    assert_string_equal(spec, again);
    free(spec);
    free(again);
    free(dumped);
    space_close(&s);
    space_close(&t);
}

static int extends(const char *old, const char *now, struct mup_error *err)
{
    char *a, *b;
    struct space s, t;
    int rc;

    open_text(old, &s);
    open_text(now, &t);
    assert_int_equal(space_spec(&s, &a, NULL), MUP_OK);
    assert_int_equal(space_spec(&t, &b, NULL), MUP_OK);
    rc = space_spec_extends(a, b, err);
    free(a);
    free(b);
    space_close(&s);
    space_close(&t);
    return rc;
}

static void a_study_may_grow_but_not_change(void **state)
{
    const char *old = "run_cap: 1\n" LR "groups:\n  model.width: [32, 64]\n"
                      "seeds: [1]\n";
    struct mup_error err;

    (void)state;
    assert_int_equal(extends(old, old, &err), MUP_OK);
    assert_int_equal(extends(old,
                             "run_cap: 2\nworkers: 7\n" LR
                             "groups:\n  model.width: [32, 96, 64]\n"
                             "seeds: [2, 1]\n",
                             &err),
                     MUP_OK);
    assert_int_equal(extends(old,
                             LR "groups:\n  model.width: [32, 64]\n"
                                "seeds: [1]\n",
                             &err),
                     MUP_OK); /* run_cap 0 is the whole grid */
    assert_int_equal(extends("run_cap: 2\n" LR, "run_cap: 1\n" LR, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "run_cap"));
    assert_int_equal(extends(LR, "run_cap: 1\n" LR, &err), MUP_USAGE);
    assert_int_equal(extends(old,
                             "run_cap: 1\n" LR
                             "groups:\n  model.width: [32]\nseeds: [1]\n",
                             &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "'64'"));
    assert_int_equal(extends(LR, LR "  train.steps: {value: 5}\n", &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "train.steps"));
    assert_non_null(strstr(err.text, "'1000'"));
    assert_int_equal(extends(LR, LR "groups:\n  model.width: [32]\n", &err),
                     MUP_USAGE);
    assert_int_equal(
        extends(LR, "parameters:\n  train.lr: [0.01, 2^-6]\n", &err),
        MUP_USAGE);
    assert_non_null(strstr(err.text, "parameters.train.lr"));
    assert_int_equal(extends(LR, LR "enqueue: [{train.lr: 1}]\n", &err),
                     MUP_USAGE);
    assert_int_equal(extends(LR, LR "metric: loss\n", &err), MUP_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_kept_in_one_canonical_form),
        cmocka_unit_test(a_range_with_a_step_in_octaves_is_a_list),
        cmocka_unit_test(the_type_of_the_key_decides_the_distribution),
        cmocka_unit_test(a_single_value_changes_the_base_config),
        cmocka_unit_test(members_are_the_product_of_the_groups),
        cmocka_unit_test(twins_exist_at_base_width_and_base_head_size_only),
        cmocka_unit_test(labels_are_short),
        cmocka_unit_test(mistakes_are_refused_with_their_place),
        cmocka_unit_test(a_file_of_wandb_keys_reads_unchanged),
        cmocka_unit_test(an_enqueued_point_is_completed_from_the_base),
        cmocka_unit_test(overrides_reach_every_part_of_the_file),
        cmocka_unit_test(every_key_of_a_sweep_file_is_a_flag),
        cmocka_unit_test(a_dump_reads_back_to_the_same_study),
        cmocka_unit_test(a_study_may_grow_but_not_change),
    };

    return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
