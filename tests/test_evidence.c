/* What a planted study on disk tells the linter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/shard.h"
#include "sweep/driver.h"
#include "sweep/report.h"
#include "tests/lint_fixture.inc.h"
#include "tests/study_fixture.inc.h"

static void read_study(const struct study *s, struct pair *p)
{
    struct trial winner;
    struct mup_error err = { 0 };

    if (sweep_winner(s->dir, &p->proxy, &winner, &err) ||
        evidence_read(s->dir, winner.id, &p->evidence, &err))
        fail_msg("%s", err.text);
}

static void a_finished_study_is_read_from_its_folder(void **state)
{
    struct study s = { .seeds = 3, .finished = -1, .coord = 1 };
    struct report report;
    struct pair p = sound();

    (void)state;
    study_begin(&s);
    study_make(&s);
    read_study(&s, &p);
    assert_int_equal(p.evidence.report.state, EVIDENCE_MISSING);
    assert_int_equal(report_write(s.dir, &report, NULL), MUP_OK);
    read_study(&s, &p);
    assert_int_equal(p.evidence.trials, 240);
    assert_int_equal(p.evidence.waiting, 0);
    assert_int_equal(p.evidence.report.state, EVIDENCE_CURRENT);
    assert_string_equal(p.evidence.report.verdict, "stable");
    assert_true(p.evidence.report.has_optimum);
    /* Half an octave from the planted optimum the loss is 0.012 x 0.5^2 higher
     * (study_loss), as much as a single loss scatters. */
    assert_true(fabs(p.evidence.report.log2_lr + 5.8) < 0.5);
    assert_int_equal(p.evidence.report.edge, 0);
    assert_true(p.evidence.report.margin > 2);
    assert_string_equal(p.evidence.coord.verdict, "PASS");
    assert_int_equal(p.evidence.coord.widest, 256);
    assert_int_equal(p.evidence.top.seeds, 3);
    assert_true(p.evidence.top.gap > 0 && p.evidence.top.noise > 0);
    /* The fixture's worst layer ends at 1.2 + 0.7 exp(-3): 1.24. */
    assert_true(fabs(p.evidence.load_max - 1.25) < 0.03);
    expect(&p, "M070", "does not say which rule set"); /* nor does it */
    study_end(&s);
}

static void a_study_that_grew_makes_its_report_stale(void **state)
{
    struct study s = { .seeds = 1, .finished = 60 };
    struct report report;
    struct pair p = sound();
    char path[512];
    json_t *o;

    (void)state;
    study_begin(&s);
    study_make(&s);
    assert_int_equal(report_write(s.dir, &report, NULL), MUP_OK);
    snprintf(path, sizeof(path), "%s/report.json", s.dir);
    o = json_load_file(path, 0, NULL);
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION - 1));
    assert_int_equal(json_dump_file(o, path, 0), 0);
    read_study(&s, &p); /* nor of other rules */
    assert_int_equal(p.evidence.report.state, EVIDENCE_STALE);
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION));
    assert_int_equal(json_dump_file(o, path, 0), 0);
    read_study(&s, &p);
    assert_int_equal(p.evidence.report.state, EVIDENCE_CURRENT);
    json_object_set_new(json_object_get(o, "study"), "done", json_integer(7));
    assert_int_equal(json_dump_file(o, path, 0), 0);
    json_decref(o);
    read_study(&s, &p);
    assert_int_equal(p.evidence.waiting, 20);
    assert_int_equal(p.evidence.report.state, EVIDENCE_STALE);
    assert_true(isnan(p.evidence.top.noise)); /* a single seed */
    expect(&p, "M019", "20 of 80");
    study_end(&s);
}

static void damaged_result_files_count_as_missing(void **state)
{
    struct study s = { .seeds = 1, .finished = -1, .coord = 1 };
    struct pair p = sound();
    char dir[512];

    (void)state;
    study_begin(&s);
    study_make(&s);
    study_text(s.dir, "report.json", "[1, 2");
    snprintf(dir, sizeof(dir), "%s/coord-mup", s.dir);
    study_text(dir, "coord.json", "{\"widths\": 3, \"lr\": \"x\"}");
    read_study(&s, &p);
    assert_int_equal(p.evidence.report.state, EVIDENCE_MISSING);
    expect(&p, "M070", "of the parametrization ''");
    /* Nor is one that does not say what it is about. */
    study_text(s.dir, "report.json",
               "{\"parametrizations\": [{\"name\": \"mup\"}]}");
    read_study(&s, &p);
    assert_int_equal(p.evidence.report.state, EVIDENCE_MISSING);
    study_text(dir, "coord.json", "");
    read_study(&s, &p);
    expect(&p, "M070", "there is no coordinate check");
    study_end(&s);
}

static void an_unknown_trial_is_named(void **state)
{
    struct study s = { .seeds = 1, .finished = -1 };
    struct mup_error err = { 0 };
    struct evidence e;

    (void)state;
    study_begin(&s);
    study_make(&s);
    evidence_init(&e);
    assert_int_equal(evidence_read(s.dir, 4711, &e, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "4711"));
    assert_int_equal(e.sweep, 0); /* untouched */
    assert_int_equal(evidence_read("/nonexistent", 1, &e, &err), MUP_USAGE);
    study_end(&s);
}

/* A text of 300 tokens in the folder of the study. */
static void put_shard(const struct study *s, char *path, size_t bytes)
{
    struct shard_writer *w;
    int32_t tokens[300] = { 0 };

    snprintf(path, bytes, "%s/text.bin", s->dir);
    assert_int_equal(shard_writer_open(path, 320, &w, NULL), MUP_OK);
    assert_int_equal(shard_writer_add(w, tokens, 300, NULL), MUP_OK);
    assert_int_equal(shard_writer_close(w, NULL), MUP_OK);
}

static void corpora_are_read_where_they_can_be(void **state)
{
    struct study s = { 0 };
    struct pair p = sound();
    char path[512];

    (void)state;
    study_begin(&s);
    put_shard(&s, path, sizeof(path));
    study_text(s.dir, "text.json", "{\"tokenizer\": \"bytes\"}");
    set(&p.proxy, "data.train", path);
    set(&p.target, "data.train", "/nonexistent.bin");
    evidence_init(&p.evidence);
    evidence_read_corpora(&p.proxy, &p.target, &p.evidence);
    assert_int_equal(p.evidence.proxy.tokens, 300);
    assert_string_equal(p.evidence.proxy.tokenizer, "bytes");
    assert_int_equal(p.evidence.target.tokens, 0);
    assert_string_equal(p.evidence.target.tokenizer, "");
    study_text(s.dir, "text.json", "{\"tokenizer\": {\"merges\": 256}}");
    evidence_read_corpora(NULL, &p.proxy, &p.evidence);
    assert_int_equal(strlen(p.evidence.target.tokenizer), 16); /* a hash */
    study_end(&s);
}

static void a_text_replaced_after_the_sweep_does_not_speak_for_it(void **state)
{
    struct study s = { .seeds = 1, .finished = -1 };
    struct trial winner;
    struct mup_error err = { 0 };
    struct pair p = sound();
    char path[512], dir[512];

    (void)state;
    study_begin(&s);
    study_make(&s);
    put_shard(&s, path, sizeof(path));
    study_text(s.dir, "text.json", "{\"tokenizer\": \"bpe\"}");
    assert_int_equal(sweep_winner(s.dir, &p.proxy, &winner, &err), MUP_OK);
    snprintf(dir, sizeof(dir), "%s/trials/%lld", s.dir, (long long)winner.id);
    study_text(dir, "manifest.json",
               "{\"train\": {\"tokens\": 50000000, \"corpus\": "
               "{\"tokenizer\": \"bytes\"}}}");
    read_study(&s, &p);
    set(&p.proxy, "data.train", path);
    set(&p.target, "data.train", path);
    evidence_read_corpora(&p.proxy, &p.target, &p.evidence);
    assert_int_equal(p.evidence.proxy.tokens, 50000000);
    assert_int_equal(p.evidence.target.tokens, 300);
    expect(&p, "M040", "by 'bytes', the target's by 'bpe'");
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finished_study_is_read_from_its_folder),
        cmocka_unit_test(a_study_that_grew_makes_its_report_stale),
        cmocka_unit_test(damaged_result_files_count_as_missing),
        cmocka_unit_test(an_unknown_trial_is_named),
        cmocka_unit_test(corpora_are_read_where_they_can_be),
        cmocka_unit_test(a_text_replaced_after_the_sweep_does_not_speak_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
