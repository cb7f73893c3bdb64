/* The run config's rules across keys: what is refused, in which words, and
 * what the accepted ones make of learning rates and decay. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/params.h"
#include "tests/close.h"

#define N_OF(list) (int)(sizeof(list) / sizeof((list)[0]))
#define MOST_KEYS  5

static int read_config(const char *const *keys, struct run_config *c,
                       struct mup_error *err)
{
    char text[MOST_KEYS + 1][128];
    char *overrides[MOST_KEYS + 1];
    int n = 0;

    snprintf(text[n], sizeof(text[n]), "train.lr=0.01");
    for (; n < MOST_KEYS && keys[n]; n++)
        snprintf(text[n + 1], sizeof(text[n + 1]), "%s", keys[n]);
    for (int i = 0; i <= n; i++)
        overrides[i] = text[i];
    return run_config_load(NULL, overrides, n + 1, c, err);
}

/* Rules that do not go together.  The sentence begins with the flag that set
 * the key at fault, where one did, then with the key. */
static const struct {
    const char *keys[MOST_KEYS];
    const char *begins, *says;
} refused[] = {
    { { "train.optimizer=adam", "train.weight_decay=0.1" },
      "--train.optimizer=adam: train.optimizer adam with",
      "use adamw" },
    { { "mup.form=table3", "model.tied=yes" },
      "--mup.form=table3: mup.form table3 cannot serve model.tied",
      "use table8 or table9" },
    { { "mup.depth=completep" },
      "--mup.depth=completep: mup.depth completep needs mup.base_layers",
      "model.layers" },
    { { "mup.moe=mean_field" },
      "--mup.moe=mean_field: mup.moe mean_field needs mup.base_experts",
      "model.experts" },
    { { "mup.duration=sde" },
      "--mup.duration=sde: mup.duration sde needs mup.base_batch",
      "train.steps" },
    { { "mup.duration=sde", "mup.base_batch=1", "mup.base_steps=16000",
        "train.batch=16" },
      "--mup.duration=sde: mup.duration sde makes a beta of Adam negative",
      "raise train.beta1" },
    { { "mup.duration=sde", "mup.base_batch=16", "mup.base_steps=100",
        "train.optimizer=sgd" },
      "--mup.duration=sde: mup.duration sde is a rule for adaptive",
      "sgd" },
    { { "train.atan2=yes", "train.optimizer=lion" },
      "--train.atan2=yes: train.atan2 is an option of Adam",
      "lion has no such quotient" },
    { { "mup.parametrization=sp", "mup.depth=completep", "mup.base_layers=1",
        "train.optimizer=sgd" },
      "--mup.depth=completep: mup.depth: the standard parametrization",
      "no depth rule 'completep'" },
    { { "mup.parametrization=umup", "mup.form=table9" },
      "--mup.form=table9: mup.form: form 'table9' is one of muP",
      "'umup' has a single form" },
    { { "mup.parametrization=sp", "mup.moe=mssp", "mup.base_experts=8" },
      "--mup.moe=mssp: mup.moe: the MoE regime 'mssp'",
      "muP alone" },
    { { "mup.parametrization=sp-perlayer", "train.optimizer=sgd" },
      "--train.optimizer=sgd: train.optimizer: ",
      "no learning-rate rule is known for sgd under 'sp-perlayer'" },
    { { "mup.moe=mean_field", "mup.base_experts=4", "train.optimizer=sgd" },
      "--train.optimizer=sgd: train.optimizer: ",
      "no learning-rate rule is known for sgd under 'mean_field'" },
    { { "mup.moe=mssp", "mup.base_experts=4", "train.optimizer=muon" },
      "--train.optimizer=muon: train.optimizer: ",
      "no rule is known for Muon with 'mssp'" },
    { { "mup.parametrization=sp-perlayer", "train.optimizer=muon" },
      "--train.optimizer=muon: train.optimizer: ",
      "no rule is known for Muon with 'sp-perlayer'" },
    { { "model.kv_group=4", "mup.base_kv_group=2" },
      "--model.kv_group=4: model.kv_group: 4 query heads",
      "keep them equal or choose the experimental one" },
    { { "mup.base_kv_group=3" },
      "mup.base_width 256 gives 16 heads, which mup.base_kv_group 3",
      "does not divide" },
};

static void rules_that_do_not_go_together_name_the_key(void **state)
{
    (void)state;
    for (int i = 0; i < N_OF(refused); i++) {
        struct run_config c = { .train.lr = -1 };
        struct mup_error err = { 0 };

        assert_int_equal(read_config(refused[i].keys, &c, &err), MUP_USAGE);
        if (strncmp(err.text, refused[i].begins, strlen(refused[i].begins)) !=
                0 ||
            !strstr(err.text, refused[i].says) || strchr(err.text, '\n'))
            fail_msg("'%s' is not '%s ... %s'", err.text, refused[i].begins,
                     refused[i].says);
        assert_true(c.train.lr < 0); /* untouched */
    }
}

static void rules_that_go_together_are_read(void **state)
{
    static const char *const rows[][MOST_KEYS] = {
        { "train.optimizer=adam" },
        { "train.optimizer=adam", "train.weight_decay=0" },
        { "mup.form=table9", "model.tied=yes" },
        { "mup.depth=completep", "mup.base_layers=2", "train.optimizer=sgd" },
        { "mup.parametrization=umup", "mup.depth=depth-mup",
          "mup.base_layers=1", "train.optimizer=lion" },
        { "mup.moe=mssp", "mup.base_experts=4", "train.optimizer=sgd",
          "mup.form=table3" },
        { "mup.gqa=experimental", "mup.base_kv_group=1",
          "train.optimizer=muon" },
        { "mup.parametrization=sp", "mup.base_kv_group=1" },
        { "mup.duration=sde", "mup.base_batch=16", "mup.base_steps=100",
          "train.optimizer=muon" },
    };

    (void)state;
    for (int i = 0; i < N_OF(rows); i++) {
        struct run_config c;
        struct params params;
        struct mup_error err = { 0 };

        if (read_config(rows[i], &c, &err) != MUP_OK ||
            params_init(&c, &PLACE_ALONE, &params, &err) != MUP_OK)
            fail_msg("%s", err.text);
        params_clear(&params);
    }
}

/* --- what they make of learning rate and decay --- */

/* Tokens count, not sequences: four times the length is four times the
 * batch. */
static void
longer_sequences_are_a_larger_batch_to_the_duration_rules(void **state)
{
    static const char *const longer[8] = {
        "mup.duration=sde", "mup.base_batch=16", "mup.base_steps=1000",
        "mup.base_seq=128", "model.seq=512",     "train.batch=16",
    };
    static const char *const larger[8] = {
        "mup.duration=sde", "mup.base_batch=16", "mup.base_steps=1000",
        "mup.base_seq=128", "model.seq=128",     "train.batch=64",
    };
    struct mup_error err = { 0 };
    struct mup_duration a, b;
    struct run_config c;

    (void)state;
    if (read_config(longer, &c, &err) || config_duration(&c, &a, &err) ||
        read_config(larger, &c, &err) || config_duration(&c, &b, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_close(a.eps, 1, 0); /* as many steps: m_D = m_B */
}

static struct run_config wide(int optimizer, int decay)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.mup.base_width = 32;
    c.train.optimizer = optimizer;
    c.train.decay_mode = decay;
    c.train.lr = 0.01;
    c.train.weight_decay = optimizer == MUP_ADAM ? 0 : 0.1;
    c.train.muon = MUP_MUON_MOONLIGHT;
    c.train.muon_adam_lr = 3;
    return c;
}

static struct params params_of(const struct run_config *c)
{
    struct mup_error err = { 0 };
    struct params params;

    if (run_config_check(c, &err) ||
        params_init(c, &PLACE_ALONE, &params, &err))
        fail_msg("%s", err.text);
    return params;
}

/* lr and decay as they are shown and exported, against what a step does. */
static void the_torch_style_decay_is_what_a_step_applies(void **state)
{
    (void)state;
    for (int i = 0; i < 5 * 5; i++) {
        struct run_config c = wide(i % 5, i / 5);
        struct params params = params_of(&c);

        for (int j = 0; j < params.n; j++) {
            const struct param *p = &params.list[j];

            /* half a dozen roundings */
            assert_close(p->lr * p->decay, p->shrink, 1e-15 * p->shrink);
            if (p->shrink > 0 && c.train.decay_mode == MUP_DECAY_INDEPENDENT)
                assert_close(p->shrink, 0.01 * 0.1, 1e-18);
            if (p->shrink > 0 && c.train.decay_mode == MUP_DECAY_DETACHED)
                assert_close(p->shrink, 0.1, 1e-16);
        }
        params_clear(&params);
    }
}

/* Decay over a whole run, and what else the duration rules move. */
static void decay_over_a_whole_run_does_not_depend_on_its_length(void **state)
{
    (void)state;
    for (int decay = MUP_DECAY_INDEPENDENT; decay <= MUP_DECAY_DETACHED;
         decay++) {
        struct run_config base = wide(MUP_ADAMW, decay), c = base;
        struct params a, b;

        c.mup.duration = 1;
        c.mup.base_batch = c.train.batch;
        c.mup.base_steps = c.train.steps;
        a = params_of(&c);
        c.train.batch *= 4;
        c.train.steps *= 4; /* 16 times the tokens */
        b = params_of(&c);
        for (int i = 0; i < a.n; i++) {
            const struct param *p = &a.list[i], *q = &b.list[i];

            assert_close(q->shrink * 4, p->shrink, 1e-15 * p->shrink);
            assert_close(q->lr, p->lr / 2, 1e-16);
            assert_close(q->eps, p->eps * 2, 1e-22);
        }
        assert_close(a.beta1, 0.9, 1e-15);
        assert_close(b.beta1, 0.975, 1e-15);
        assert_close(b.beta2, 0.9875, 1e-15);
        params_clear(&a);
        params_clear(&b);
    }
}

static void ways_of_sharing_are_numbers_or_auto(void **state)
{
    static const struct {
        const char *text, *shown;
        int64_t value;
    } good[] = { { "auto", "auto", 0 }, { "0", "auto", 0 }, { "4", "4", 4 } };
    static const char *const bad[] = { "Auto", "auto|", "-1", "2.5", "" };
    const struct section *section;
    const struct field *field =
        config_find(&run_schema, "parallel.expert", &section);
    struct run_config c;
    struct mup_error err = { 0 };
    char shown[32];

    (void)state;
    assert_non_null(field);
    config_defaults(&run_schema, &c);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        c.parallel.expert = 99;
        assert_int_equal(
            config_set(&run_schema, &c, "parallel.expert", good[i].text, &err),
            MUP_OK);
        assert_int_equal(c.parallel.expert, good[i].value);
        config_text(section, field, &c, shown, sizeof(shown));
        assert_string_equal(shown, good[i].shown);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(
            config_set(&run_schema, &c, "parallel.expert", bad[i], &err),
            MUP_USAGE);
    /* other keys do not know the word */
    assert_int_equal(config_set(&run_schema, &c, "train.batch", "auto", &err),
                     MUP_USAGE);
    assert_int_equal(c.parallel.expert, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ways_of_sharing_are_numbers_or_auto),
        cmocka_unit_test(
            longer_sequences_are_a_larger_batch_to_the_duration_rules),
        cmocka_unit_test(rules_that_do_not_go_together_name_the_key),
        cmocka_unit_test(rules_that_go_together_are_read),
        cmocka_unit_test(the_torch_style_decay_is_what_a_step_applies),
        cmocka_unit_test(decay_over_a_whole_run_does_not_depend_on_its_length),
    };

    return cmocka_run_group_tests_name("run config", tests, NULL, NULL);
}
