/* Every rule of the linter fires on a case of its own and is silent on the
 * sound pair.  What the cases assume, test_evidence.c reads from disk. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/findings.h"
#include "tests/close.h"
#include "tests/lint_fixture.inc.h"

static const struct lint_finding *find_key(const struct pair *p,
                                           const char *key)
{
    for (int i = 0; i < p->found.n; i++)
        if (!strcmp(p->found.list[i].key, key))
            return &p->found.list[i];
    return NULL;
}

static void expect_silence(struct pair *p, const char *id)
{
    lint(p);
    if (find(p, id))
        fail_msg("%s fires: %s", id, find(p, id)->sentence);
    lint_findings_clear(&p->found);
}

/* One key of the target makes the rule fire, with this class. */
static void expect_key(const char *key, const char *value, const char *id,
                       int cls)
{
    struct pair p = sound();
    int about = 0;

    set(&p.target, key, value);
    lint(&p);
    for (int i = 0; i < p.found.n; i++)
        if (!strcmp(p.found.list[i].key, key)) {
            about++;
            assert_string_equal(p.found.list[i].rule->id, id);
            assert_int_equal(p.found.list[i].cls, cls);
            assert_non_null(strstr(p.found.list[i].sentence, key));
        }
    if (about != 1)
        fail_msg("%d findings about %s", about, key);
    lint_findings_clear(&p.found);
}

/* ---- the table ------------------------------------------------------------
 */

static void rules_are_complete_and_sorted_by_id(void **state)
{
    (void)state;
    for (const struct lint_rule *r = lint_rules; r->id; r++) {
        const char *const texts[] = { r->title,  r->compares, r->why,
                                      r->source, r->fix,      r->example };

        assert_int_equal(strlen(r->id), 4);
        assert_true(r == lint_rules || strcmp(r[-1].id, r->id) < 0);
        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
            assert_non_null(texts[i]);
            assert_true(strlen(texts[i]) > 5);
            assert_true(texts[i][strlen(texts[i]) - 1] != '.');
        }
        assert_ptr_equal(lint_rule_find(r->id), r);
    }
}

/* The page prints it; a second copy in a sentence would be forgotten. */
static void a_limit_stands_in_its_row_once(void **state)
{
    (void)state;
    for (const struct lint_rule *r = lint_rules; r->id; r++) {
        const char *const texts[] = { r->title, r->compares, r->why, r->fix };
        char limit[32];

        snprintf(limit, sizeof(limit), "%g", r->limit);
        for (size_t i = 0; r->limit > 0 && i < sizeof(texts) / sizeof(*texts);
             i++)
            if (strstr(texts[i], limit))
                fail_msg("%s: '%s' says %s", r->id, texts[i], limit);
    }
}

static void every_promised_id_exists(void **state)
{
    static const char *const ids[] = {
        "M001", "M002", "M003", "M004", "M010", "M011", "M012", "M013",
        "M014", "M015", "M016", "M017", "M018", "M019", "M020", "M021",
        "M022", "M023", "M024", "M025", "M030", "M040", "M041", "M050",
        "M051", "M060", "M070", "M071", "M072", "M073", "M080", "M090",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
        assert_non_null(lint_rule_find(ids[i]));
}

static void an_unknown_id_has_a_nearest_one(void **state)
{
    (void)state;
    assert_null(lint_rule_find("M999"));
    assert_null(lint_rule_find(""));
    assert_non_null(lint_rule_find("m012"));
    assert_string_equal(lint_rule_nearest("M999")->id, "M090");
    assert_string_equal(lint_rule_nearest("M042")->id, "M041");
    assert_non_null(lint_rule_nearest("nonsense"));
}

/* ---- one rule each --------------------------------------------------------
 */

static void a_sound_pair_has_notes_only(void **state)
{
    struct pair p = sound();

    (void)state;
    lint(&p);
    if (p.found.errors || p.found.warnings)
        fail_msg("%s", p.found.list[0].sentence);
    assert_non_null(find(&p, "M017"));
    assert_int_equal(find_key(&p, "model.width")->cls, LINT_SCALED);
    assert_non_null(find(&p, "M016")); /* train.lr */
    lint_findings_clear(&p.found);
}

static void a_toy_proxy_is_called_one(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "model.width", "128");
    expect(&p, "M001", "128, below 256");
    set(&p.proxy, "train.steps", "4999");
    expect(&p, "M002", "4999, below 5000");
    set(&p.proxy, "model.layers", "3");
    expect(&p, "M003", "3, below 4");
    set(&p.proxy, "train.batch", "31");
    expect(&p, "M004", "31 sequences, below 32");
}

static void an_optimum_on_the_edge_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.report.edge = 1;
    expect(&p, "M010", "high end of the grid");
    p.evidence.report.edge = -1;
    expect(&p, "M010", "low end of the grid");
}

static void few_points_around_the_optimum_are_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.report.points = 4;
    expect(&p, "M011", "only 4");
    p.evidence.report.points = 5;
    expect_silence(&p, "M011");
}

static void a_small_margin_to_divergence_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.report.margin = 1.5;
    expect(&p, "M012", "1.5 octaves");
    p.evidence.report.margin = INFINITY; /* nothing diverged */
    expect_silence(&p, "M012");
}

static void seeds_that_scatter_more_than_the_gap_are_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.top.noise = 0.02;
    expect(&p, "M013", "trials 12 and 17");
    p.evidence.top.noise = NAN; /* a single seed */
    expect_silence(&p, "M013");
}

static void a_changed_hyperparameter_is_an_error(void **state)
{
    (void)state;
    expect_key("train.beta2", "0.99", "M014", LINT_TRANSFERS);
    expect_key("train.lr", "0.25", "M014", LINT_TRANSFERS);
}

static void a_changed_fixed_key_is_an_error(void **state)
{
    (void)state;
    expect_key("train.optimizer", "sgd", "M015", LINT_EQUAL);
    expect_key("mup.base_width", "128", "M015", LINT_EQUAL);
}

static void what_the_target_does_not_give_is_told(void **state)
{
    struct pair p = sound();
    const struct lint_finding *f;

    (void)state;
    set(&p.proxy, "mup.init_std", "0.5");
    lint(&p);
    f = find_key(&p, "mup.init_std");
    assert_non_null(f);
    assert_string_equal(f->rule->id, "M016");
    assert_string_equal(f->proxy, "0.5");
    assert_string_equal(f->target, "not given");
    /* Without train.lr the target cannot be trained before 'transfer'. */
    assert_int_equal(f->severity, LINT_INFO);
    set(&p.target, "train.lr", "2^-6");
    expect(&p, "M016", "(default: 0.0625)");
}

static void keys_that_may_differ_have_a_class(void **state)
{
    (void)state;
    expect_key("train.batch", "64", "M017", LINT_EMPIRICAL);
    expect_key("train.steps", "9000", "M017", LINT_EMPIRICAL);
    expect_key("model.seq", "512", "M017", LINT_EMPIRICAL);
    expect_key("model.layers", "8", "M017", LINT_EMPIRICAL);
}

static void a_wider_target_that_is_not_under_mup_is_refused(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.target, "mup.parametrization", "sp");
    lint(&p);
    assert_int_equal(p.found.errors, 1); /* and not also M015 */
    expect(&p, "M018", "width 256 does not hold at width 1024");
    lint(&p);
    assert_int_equal(find_key(&p, "model.width")->cls, LINT_EMPIRICAL);
    set(&p.target, "model.width", "256");
    expect_silence(&p, "M018");
    expect(&p, "M015", "'mup.parametrization' (fixed)");
}

static void an_unfinished_sweep_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.waiting = 4;
    expect(&p, "M019", "4 of 54 trials of the sweep are not finished");
}

static void another_schedule_is_an_error(void **state)
{
    (void)state;
    expect_key("train.schedule", "cosine", "M020", LINT_EQUAL);
    expect_key("train.final_lr", "0.1", "M020", LINT_EQUAL);
}

static void a_proxy_that_does_not_decay_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "train.schedule", "constant");
    expect(&p, "M021", "ends at 100 %");
    set(&p.proxy, "train.schedule", "cosine");
    set(&p.proxy, "train.final_lr", "0.1");
    expect_silence(&p, "M021");
}

static void another_warm_up_is_an_error(void **state)
{
    (void)state;
    expect_key("train.warmup", "0.01", "M022", LINT_EMPIRICAL);
}

static void a_rounded_feed_forward_ratio_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "model.width", "32");
    set(&p.proxy, "model.ffn_ratio", "0.1");
    expect(&p, "M023", "0.0938 in the proxy and 0.0996 in the target");
    set(&p.proxy, "model.ffn_ratio", "0.5");
    expect_silence(&p, "M023");
}

static void other_heads_are_an_error(void **state)
{
    (void)state;
    expect_key("model.kv_group", "4", "M024", LINT_EQUAL);
    expect_key("model.head_size", "32", "M025", LINT_EQUAL);
}

static void coupled_weight_decay_is_a_warning(void **state)
{
    static const char *const scaling[] = { "sp-perlayer", "umup" };
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "train.decay_mode", "coupled");
    expect_silence(&p, "M030"); /* there is no decay */
    set(&p.proxy, "train.weight_decay", "0.1");
    expect(&p, "M030", "coupled");
    for (size_t i = 0; i < sizeof(scaling) / sizeof(*scaling); i++) {
        set(&p.proxy, "mup.parametrization", scaling[i]);
        set(&p.target, "mup.parametrization", scaling[i]);
        expect(&p, "M030", "coupled");
    }
    set(&p.target, "mup.parametrization", "sp"); /* one rate at any width */
    expect_silence(&p, "M030");
}

static void other_tokens_are_an_error(void **state)
{
    struct pair p = sound();

    (void)state;
    expect_key("model.vocab", "512", "M040", LINT_EQUAL);
    snprintf(p.evidence.proxy.tokenizer, 64, "bytes");
    expect_silence(&p, "M040"); /* the target's is unknown */
    snprintf(p.evidence.target.tokenizer, 64, "bpe");
    expect(&p, "M040", "by 'bytes', the target's by 'bpe'");
}

static void a_proxy_that_repeats_its_text_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.proxy.tokens = 8192000; /* 5000 x 32 x 128 are 2.5 of it */
    expect(&p, "M041", "2.5 times");
    p.evidence.target.tokens = 1000000; /* repeats as well */
    expect_silence(&p, "M041");
    p.evidence.target.tokens = 0; /* the synthetic source never ends */
    expect(&p, "M041", "0 times");
    set(&p.target, "data.train", "unknown.bin");
    expect_silence(&p, "M041");
}

static void other_experts_are_an_error(void **state)
{
    (void)state;
    expect_key("model.experts", "16", "M050", LINT_EQUAL);
    expect_key("model.top_k", "4", "M050", LINT_EQUAL);
    expect_key("model.ffn_ratio", "2", "M050", LINT_EQUAL);
}

static void an_unbalanced_load_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.load_max = 2.1;
    expect(&p, "M051", "2.1 times");
    set(&p.proxy, "model.experts", "1"); /* nothing to balance */
    set(&p.proxy, "model.top_k", "1");
    expect_silence(&p, "M051");
}

static void tied_embeddings_are_told_once(void **state)
{
    struct pair p = sound();

    (void)state;
    expect_key("model.tied", "yes", "M015", LINT_EQUAL);
    set(&p.proxy, "model.tied", "yes");
    expect(&p, "M060", "one tensor");
}

static void a_missing_coordinate_check_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    p.evidence.coord = (struct evidence_coord){ .ruleset = -1, .lr = NAN };
    expect(&p, "M070",
           "run 'mutransfer coord-check runs/q/trials/12/config.yaml -o "
           "runs/q/coord-mup'");
    set(&p.proxy, "model.width", "2048");
    expect(&p, "M070", "config.yaml --widths 512,1024,2048 -o");
    set(&p.proxy, "mup.parametrization", "umup"); /* whose folder was read */
    expect(&p, "M070", "-o runs/q/coord-umup'");
    expect_silence(&p, "M071");
}

static void a_stale_coordinate_check_says_why(void **state)
{
    struct pair p = sound();
    struct evidence_coord *c = &p.evidence.coord, fresh = *c;

    (void)state;
    c->ruleset = MUP_RULESET_VERSION - 1;
    expect(&p, "M070", "it was made with rule set");
    c->ruleset = -1;
    expect(&p, "M070", "does not say which rule set");
    *c = fresh;
    c->lr = exp2(-9);
    expect(&p, "M070", "more than 2 octaves");
    c->lr = NAN;
    expect(&p, "M070", "does not say with which learning rate");
    *c = fresh;
    c->widest = 128;
    expect(&p, "M070", "128, narrower than the proxy's 256");
    *c = fresh;
    set(&p.proxy, "model.qk_norm", "yes");
    expect(&p, "M070", "another config than the winner's");
    set(&p.proxy, "model.qk_norm", "no");
    snprintf(c->parametrization, sizeof(c->parametrization), "sp");
    expect(&p, "M070", "'sp', not of 'mup'");
}

static void a_failed_coordinate_check_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    snprintf(p.evidence.coord.verdict, 32, "FAIL");
    expect(&p, "M071", "FAIL");
    expect_silence(&p, "M070");
}

static void a_report_must_be_there_current_and_stable(void **state)
{
    struct pair p = sound();

    (void)state;
    snprintf(p.evidence.report.verdict, 32, "drifts");
    snprintf(p.evidence.report.reason, 256, "so it is");
    expect(&p, "M073", "'drifts': so it is");
    p.evidence.report.state = EVIDENCE_STALE;
    p.evidence.report.edge = 1;
    expect(&p, "M072", "'mutransfer report runs/q' again");
    expect_silence(&p, "M010"); /* of another study */
    p.evidence.report.state = EVIDENCE_MISSING;
    expect(&p, "M072", "no report says");
    expect_silence(&p, "M073");
}

static void sizes_that_do_not_divide_are_an_error(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.target, "model.width", "1000");
    expect(&p, "M080", "1000 is not a multiple of model.head_size 16");
    set(&p.target, "model.width", "1040"); /* 65 heads in groups of 2 */
    expect(&p, "M080", "65 heads");
    p = sound();
    set(&p.target, "model.top_k", "16");
    expect(&p, "M080", "model.top_k 16 is more than model.experts 8");
}

static void the_proxys_head_size_decides_what_divides(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "model.head_size", "32"); /* the target does not give it */
    set(&p.target, "model.width", "1056");  /* 33 heads in groups of 2 */
    expect(&p, "M080", "33 heads");
}

static void a_dominant_unembedding_is_a_warning(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "model.vocab", "131072");
    expect(&p, "M090", "vocabulary 131072, width 256, 4 layers");
}

/* ---- what is known --------------------------------------------------------
 */

static void without_a_sweep_its_rules_are_silent(void **state)
{
    struct pair p = sound();

    (void)state;
    evidence_init(&p.evidence);
    lint(&p);
    assert_int_equal(p.found.errors + p.found.warnings, 0);
    lint_findings_clear(&p.found);
}

static void a_target_alone_is_asked_about_itself(void **state)
{
    struct pair p = sound();
    struct lint_input in = { .target = &p.target };

    (void)state;
    assert_int_equal(lint_run(&in, &p.found, NULL), MUP_OK);
    assert_int_equal(p.found.n, 0);
    set(&p.target, "model.tied", "yes");
    set(&p.target, "mup.parametrization", "sp"); /* a baseline may be */
    assert_int_equal(lint_run(&in, &p.found, NULL), MUP_OK);
    assert_int_equal(p.found.n, 1);
    assert_string_equal(p.found.list[0].rule->id, "M060");
    assert_string_equal(p.found.list[0].proxy, "");
    lint_findings_clear(&p.found);
}

static void findings_are_sorted_errors_first(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.target, "model.experts", "16");
    set(&p.target, "train.beta2", "0.99");
    p.evidence.waiting = 1;
    set(&p.proxy, "train.batch", "8");
    lint(&p);
    for (int i = 1; i < p.found.n; i++) {
        const struct lint_finding *f = &p.found.list[i];

        assert_true(f[-1].severity > f->severity ||
                    (f[-1].severity == f->severity &&
                     strcmp(f[-1].rule->id, f->rule->id) <= 0));
    }
    assert_int_equal(p.found.errors, 2);
    assert_int_equal(p.found.warnings, 2);
    assert_int_equal(p.found.n,
                     p.found.errors + p.found.warnings + p.found.infos);
    lint_findings_clear(&p.found);
}

/* A key that a colleague adds tomorrow is compared by its role alone. */
static void every_decided_key_that_differs_is_an_error(void **state)
{
    (void)state;
    for (const struct section *s = run_schema.sections; s->name; s++)
        for (const struct field *f = s->fields; f->key; f++) {
            struct pair p = sound();
            char key[CONFIG_KEY_BYTES], text[FIELD_TEXT_BYTES];

            if (!lint_decided(f) || f->type != FIELD_BOOL)
                continue;
            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            config_text(s, f, &p.proxy, text, sizeof(text));
            set(&p.target, key, strcmp(text, "yes") ? "yes" : "no");
            lint(&p);
            assert_non_null(find_key(&p, key));
            assert_int_equal(find_key(&p, key)->severity, LINT_ERROR);
            lint_findings_clear(&p.found);
        }
}

static void carrying_fills_what_is_not_given_and_nothing_else(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "mup.init_std", "0.5");
    set(&p.target, "train.beta2", "0.99");
    assert_int_equal(lint_carry(&p.proxy, &p.target, NULL), MUP_OK);
    assert_close(p.target.train.lr, exp2(-6), 0);
    assert_close(p.target.mup.init_std, 0.5, 0);
    assert_close(p.target.train.beta2, 0.99, 0);
    assert_int_equal(p.target.model.width, 1024);
    lint(&p);
    assert_null(find(&p, "M016"));
    lint_findings_clear(&p.found);
}

static void given_keys_are_told_from_defaults(void **state)
{
    char lr[] = "train.lr=0.25";
    char *overrides[] = { lr };
    struct run_config config;

    (void)state;
    assert_int_equal(run_config_read(NULL, overrides, 1, &config, NULL),
                     MUP_OK);
    assert_true(run_config_given(&config, "train.lr"));
    assert_false(run_config_given(&config, "train.beta2"));
    assert_false(run_config_given(&config, "train.nonsense"));
}

static void a_chosen_rule_scales_what_else_must_be_equal(void **state)
{
    static const char *const rows[][4] = {
        /* key, target's value, the rule, its value */
        { "model.layers", "16", "mup.depth", "completep" },
        { "model.kv_group", "4", "mup.gqa", "experimental" },
        { "model.ffn_ratio", "8", "mup.moe", "mssp" },
        { "train.batch", "64", "mup.duration", "sde" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct pair p = sound();

        set(&p.proxy, rows[i][2], rows[i][3]);
        set(&p.target, rows[i][0], rows[i][1]);
        lint(&p);
        assert_int_equal(p.found.errors, 0);
        assert_int_equal(find_key(&p, rows[i][0])->cls, LINT_SCALED);
        lint_findings_clear(&p.found);
    }
}

static void more_experts_are_scaled_at_a_fixed_share_only(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "mup.moe", "mean_field");
    set(&p.target, "model.experts", "16");
    set(&p.target, "model.top_k", "4");
    lint(&p);
    assert_int_equal(p.found.errors, 0);
    set(&p.target, "model.top_k", "2");
    expect(&p, "M050", "'model.experts' (fixed) is 8 in the proxy and 16");
}

static void a_broken_rule_in_the_target_is_an_error(void **state)
{
    struct pair p = sound();

    (void)state;
    set(&p.proxy, "mup.break", "hidden_lr");
    expect(&p, "M061", "hidden matrices have one learning rate");
}

/* ---- a sweep file ---------------------------------------------------------
 */

static void a_sweep_files_groups_and_parameters_are_known(void **state)
{
    static const char text[] =
        "name: s\nbase: /dev/null\nmethod: grid\nparameters:\n"
        "  train.lr: {values: [2^-7, 2^-6]}\n"
        "groups:\n  mup.parametrization: [sp, mup]\n"
        "  model.width: [64, 256, 128]\n  train.beta2: [0.9, 0.95]\n";
    struct mup_error err = { 0 };
    struct pair p = sound();
    struct space space;

    (void)state;
    if (space_open_text(text, strlen(text), "s.yaml", &space, &err))
        fail_msg("%s", err.text);
    p.proxy = space.base;
    p.space = &space;
    evidence_init(&p.evidence);
    set(&p.target, "train.beta2", "0.9");
    lint(&p);
    assert_null(find(&p, "M001")); /* the widest member decides */
    assert_null(find(&p, "M018")); /* under muP */
    assert_null(find_key(&p, "train.beta2"));
    assert_string_equal(find_key(&p, "model.width")->proxy, "64|256|128");
    assert_string_equal(find_key(&p, "train.lr")->proxy, "tuned");
    assert_int_equal(p.found.errors, 0);
    set(&p.target, "train.lr", "2^-7"); /* even a value of the grid */
    expect(&p, "M014", "'train.lr' (transfer) is tuned in the proxy");
    set(&p.target, "mup.parametrization", "sp");
    expect(&p, "M018", "width 256 does not hold at width 1024");
    set(&p.target, "model.width", "128"); /* a member, so it is known */
    expect_silence(&p, "M018");
    space_close(&space);
}

static void a_finding_as_json_has_all_of_it(void **state)
{
    static const char *const fields[] = { "id",    "severity", "title",
                                          "key",   "role",     "class",
                                          "proxy", "target",   "text",
                                          "why",   "source",   "fix" };
    struct pair p = sound();
    json_t *list, *o;

    (void)state;
    lint(&p);
    list = findings_json(&p.found);
    assert_int_equal(json_array_size(list), (size_t)p.found.n);
    o = json_array_get(list, json_array_size(list) - 1);
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
        assert_true(json_is_string(json_object_get(o, fields[i])));
    assert_string_equal(json_string_value(json_object_get(o, "class")), "S");
    json_decref(list);
    lint_findings_clear(&p.found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_complete_and_sorted_by_id),
        cmocka_unit_test(a_limit_stands_in_its_row_once),
        cmocka_unit_test(every_promised_id_exists),
        cmocka_unit_test(an_unknown_id_has_a_nearest_one),
        cmocka_unit_test(a_sound_pair_has_notes_only),
        cmocka_unit_test(a_toy_proxy_is_called_one),
        cmocka_unit_test(an_optimum_on_the_edge_is_a_warning),
        cmocka_unit_test(few_points_around_the_optimum_are_a_warning),
        cmocka_unit_test(a_small_margin_to_divergence_is_a_warning),
        cmocka_unit_test(seeds_that_scatter_more_than_the_gap_are_a_warning),
        cmocka_unit_test(a_changed_hyperparameter_is_an_error),
        cmocka_unit_test(a_changed_fixed_key_is_an_error),
        cmocka_unit_test(what_the_target_does_not_give_is_told),
        cmocka_unit_test(keys_that_may_differ_have_a_class),
        cmocka_unit_test(a_wider_target_that_is_not_under_mup_is_refused),
        cmocka_unit_test(an_unfinished_sweep_is_a_warning),
        cmocka_unit_test(another_schedule_is_an_error),
        cmocka_unit_test(a_proxy_that_does_not_decay_is_a_warning),
        cmocka_unit_test(another_warm_up_is_an_error),
        cmocka_unit_test(a_rounded_feed_forward_ratio_is_a_warning),
        cmocka_unit_test(other_heads_are_an_error),
        cmocka_unit_test(coupled_weight_decay_is_a_warning),
        cmocka_unit_test(other_tokens_are_an_error),
        cmocka_unit_test(a_proxy_that_repeats_its_text_is_a_warning),
        cmocka_unit_test(other_experts_are_an_error),
        cmocka_unit_test(an_unbalanced_load_is_a_warning),
        cmocka_unit_test(tied_embeddings_are_told_once),
        cmocka_unit_test(a_missing_coordinate_check_is_a_warning),
        cmocka_unit_test(a_stale_coordinate_check_says_why),
        cmocka_unit_test(a_failed_coordinate_check_is_a_warning),
        cmocka_unit_test(a_report_must_be_there_current_and_stable),
        cmocka_unit_test(sizes_that_do_not_divide_are_an_error),
        cmocka_unit_test(the_proxys_head_size_decides_what_divides),
        cmocka_unit_test(a_dominant_unembedding_is_a_warning),
        cmocka_unit_test(without_a_sweep_its_rules_are_silent),
        cmocka_unit_test(a_target_alone_is_asked_about_itself),
        cmocka_unit_test(findings_are_sorted_errors_first),
        cmocka_unit_test(every_decided_key_that_differs_is_an_error),
        cmocka_unit_test(carrying_fills_what_is_not_given_and_nothing_else),
        cmocka_unit_test(given_keys_are_told_from_defaults),
        cmocka_unit_test(a_chosen_rule_scales_what_else_must_be_equal),
        cmocka_unit_test(more_experts_are_scaled_at_a_fixed_share_only),
        cmocka_unit_test(a_broken_rule_in_the_target_is_an_error),
        cmocka_unit_test(a_sweep_files_groups_and_parameters_are_known),
        cmocka_unit_test(a_finding_as_json_has_all_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
