/* The report of a planted study: sentences, report.json and data files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sweep/report.h"
#include "sweep/report_data.h"
#include "sweep/report_text.h"
#include "tests/close.h"
#include "tests/study_fixture.inc.h"

static const struct study usual = {
    .slope = { -0.9, 0 },
    .seeds = 1,
    .finished = -1,
};

static struct study begin(struct study s)
{
    study_begin(&s);
    study_make(&s);
    return s;
}

static json_t *load(const struct study *s, const char *name)
{
    char path[512];
    json_t *o;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    o = json_load_file(path, 0, NULL);
    if (!o)
        fail_msg("'%s' is not JSON", path);
    return o;
}

static char *text_of(const struct study *s, const char *name)
{
    struct mup_error err = { 0 };
    char path[512], *text = NULL;
    size_t bytes = 0;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    if (file_read(path, (size_t)1 << 24, &text, &bytes, &err))
        fail_msg("%s", err.text);
    assert_non_null(text);
    return text;
}

static void write_report(const struct study *s, struct report *r)
{
    struct mup_error err = { 0 };

    if (report_write(s->dir, r, &err))
        fail_msg("%s", err.text);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
        n++;
    return n;
}

/* ---- the finding ----------------------------------------------------------
 */

static struct transfer_report planted(int verdict, double drift)
{
    struct transfer_report t = {
        .n_widths = 2,
        .drift = drift,
        .drift_lo = drift - 0.1,
        .drift_hi = drift + 0.1,
        .verdict = verdict,
        .regret = 0.001,
    };

    t.optimum[0].width = 32;
    t.optimum[0].log2_lr = -6.1;
    t.optimum[1].width = 256;
    return t;
}

static const char *finding(struct report *r, int sp, int mup)
{
    *r = (struct report){ .axes = axes_usual() };
    if (sp >= 0) {
        snprintf(r->name[r->n_parametrizations], REPORT_NAME_BYTES, "sp");
        r->transfer[r->n_parametrizations++] =
            planted(sp, sp == TRANSFER_DRIFTS ? -0.9 : 0.02);
    }
    if (mup >= 0) {
        snprintf(r->name[r->n_parametrizations], REPORT_NAME_BYTES, "mup");
        r->transfer[r->n_parametrizations++] =
            planted(mup, mup == TRANSFER_DRIFTS ? 0.6 : -0.05);
    }
    report_finding(r);
    return r->finding;
}

static void the_finding_of_a_success_is_one_sentence(void **state)
{
    struct report r;

    (void)state;
    assert_string_equal(
        finding(&r, TRANSFER_DRIFTS, TRANSFER_STABLE),
        "The best learning rate stays at 2^-6.1 under muP (drift -0.05 octaves "
        "per doubling, 95 % interval -0.15 to +0.05), while under SP it falls "
        "by 0.90 octaves per doubling (95 % interval -1.00 to -0.80); under "
        "muP the rate tuned at width 32 and carried to width 256 costs 0.1 % "
        "of loss.");
}

static void the_finding_claims_nothing_that_was_not_shown(void **state)
{
    struct report r;
    const char *s;

    (void)state;
    s = finding(&r, TRANSFER_STABLE, TRANSFER_STABLE);
    assert_non_null(strstr(s, "do not tell the two apart"));
    s = finding(&r, TRANSFER_INCONCLUSIVE, TRANSFER_STABLE);
    assert_non_null(strstr(s, "while under SP nothing is decided"));
    s = finding(&r, TRANSFER_DRIFTS, TRANSFER_INCONCLUSIVE);
    assert_non_null(strstr(s, "do not decide whether"));
    assert_null(strstr(s, "stays at"));
    s = finding(&r, TRANSFER_STABLE, TRANSFER_DRIFTS);
    assert_non_null(
        strstr(s, "Under muP the best learning rate rises by 0.60"));
    assert_non_null(strstr(s, "cannot be carried"));
    s = finding(&r, TRANSFER_DRIFTS, -1);
    assert_non_null(strstr(s, "Under SP the best learning rate falls"));
    assert_null(strstr(s, "muP"));
    s = finding(&r, -1, TRANSFER_STABLE);
    assert_null(strstr(s, "SP"));
    s = finding(&r, -1, -1);
    assert_non_null(strstr(s, "nothing to compare"));
}

static void every_finding_begins_and_ends_as_a_sentence(void **state)
{
    (void)state;
    for (int sp = -1; sp < 3; sp++)
        for (int mup = -1; mup < 3; mup++) {
            struct report r;
            const char *s = finding(&r, sp, mup);

            assert_true(s[0] >= 'A' && s[0] <= 'Z');
            assert_int_equal(s[strlen(s) - 1], '.');
            assert_null(strstr(s, "nan"));
            assert_true(strlen(s) + 1 < sizeof(r.finding));
        }
}

static void an_edge_and_a_divergence_are_in_the_finding(void **state)
{
    struct report r;

    (void)state;
    (void)finding(&r, -1, TRANSFER_INCONCLUSIVE);
    r.transfer[0].optimum[1].edge = 1;
    r.transfer[0].regret = INFINITY;
    report_finding(&r);
    assert_non_null(strstr(r.finding, "at width 256 the optimum lies at the "
                                      "high end of the grid"));
    assert_non_null(strstr(r.finding, "makes width 256 diverge"));
}

/* ---- the study ------------------------------------------------------------
 */

static void a_planted_study_gets_its_verdicts(void **state)
{
    struct study s = begin(usual);
    struct report r;

    (void)state;
    write_report(&s, &r);
    assert_int_equal(r.n_parametrizations, 2);
    assert_string_equal(r.name[0], "sp");
    assert_int_equal(r.transfer[0].verdict, TRANSFER_DRIFTS);
    assert_int_equal(r.transfer[1].verdict, TRANSFER_STABLE);
    /* The true drift is -0.9; its 95 % interval is about 0.1 wide. */
    assert_true(fabs(r.transfer[0].drift + 0.9) < 0.1);
    study_end(&s);
}

static void report_json_holds_the_numbers_of_the_report(void **state)
{
    struct study s = begin(usual);
    struct report r;
    json_t *o, *p;

    (void)state;
    write_report(&s, &r);
    o = load(&s, "report.json");
    assert_true(number(o, "format") == 1);
    assert_true(number(o, "ruleset") == MUP_RULESET_VERSION);
    assert_string_equal(json_string_value(json_object_get(o, "finding")),
                        r.finding);
    p = json_array_get(json_object_get(o, "parametrizations"), 0);
    assert_string_equal(json_string_value(json_object_get(p, "verdict")),
                        "drifts");
    /* Written with 10 digits. */
    assert_close(number(json_object_get(p, "drift"), "value"),
                 r.transfer[0].drift, 1e-8);
    assert_int_equal(json_array_size(json_object_get(p, "optima")), 4);
    assert_true(number(json_object_get(o, "study"), "diverged") > 0);
    assert_true(json_is_null(json_object_get(o, "target")));
    assert_int_equal(json_array_size(json_object_get(o, "coord")), 0);
    assert_string_equal(json_string_value(json_object_get(
                            json_object_get(o, "manifest"), "version")),
                        "0.1.0");
    assert_non_null(
        strstr(json_string_value(json_object_get(o, "sweep")), "train.lr"));
    json_decref(o);
    study_end(&s);
}

static void writing_twice_gives_the_same_bytes(void **state)
{
    struct study s = begin(usual);
    struct report r;
    char *first, *second;

    (void)state;
    write_report(&s, &r);
    first = text_of(&s, "report.json");
    write_report(&s, &r);
    second = text_of(&s, "report.json");
    assert_string_equal(first, second);
    free(first);
    free(second);
    study_end(&s);
}

static void the_curves_have_a_block_each_and_mark_what_diverged(void **state)
{
    struct study s = usual;
    struct report r;
    char *lr, *fit, *optimum;

    (void)state;
    s.seeds = 3;
    s = begin(s);
    write_report(&s, &r);
    lr = text_of(&s, "plots/lr.dat");
    fit = text_of(&s, "plots/fit.dat");
    optimum = text_of(&s, "plots/optimum.dat");
    assert_int_equal(count(lr, "\n\n\n"), 8); /* 2 x 4 widths */
    assert_int_equal(count(fit, "\n\n\n"), 8);
    assert_int_equal(count(optimum, "\n\n\n"), 2);
    assert_int_equal(count(optimum, "\n") - 2 * 3, 2 * 4);
    assert_non_null(strstr(lr, "NaN NaN 0 3\n")); /* all seeds diverged */
    assert_null(strstr(lr, "nan"));
    assert_null(strstr(lr, "inf"));
    free(lr);
    free(fit);
    free(optimum);
    study_end(&s);
}

static void checks_and_target_are_reported_where_they_exist(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o, *c, *t;
    char *coord, *loss, *balance;

    (void)state;
    s.coord = s.target = 1;
    s = begin(s);
    write_report(&s, &r);
    o = load(&s, "report.json");
    c = json_array_get(json_object_get(o, "coord"), 0);
    assert_string_equal(json_string_value(json_object_get(c, "verdict")),
                        "FAIL");
    /* The worst row of the planted check. */
    assert_string_equal(
        json_string_value(json_object_get(
            json_array_get(json_object_get(c, "rows"), 0), "name")),
        "logits");
    /* Four kinds of tensors, both parametrizations. */
    assert_int_equal(json_array_size(json_object_get(o, "coord_panels")), 8);
    t = json_object_get(o, "target");
    assert_true(number(t, "width") == 512);
    assert_true(number(t, "val_loss") < number(t, "best_proxy_val_loss"));
    assert_string_equal(json_string_value(json_object_get(t, "state")), "done");
    coord = text_of(&s, "plots/coord.dat");
    loss = text_of(&s, "plots/loss.dat");
    balance = text_of(&s, "plots/load.dat");
    /* 4 panels a check: three of 6 steps, the update of 5. */
    assert_int_equal(count(coord, "\n\n\n"), 2 * (3 * 6 + 5));
    assert_int_equal(count(loss, "\n\n\n"), 8 + 1);
    assert_int_equal(count(balance, "# layer"), 4);
    free(coord);
    free(loss);
    free(balance);
    json_decref(o);
    study_end(&s);
}

static void an_unfinished_study_gives_an_interim_report(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o;
    char *text;

    (void)state;
    s.finished = 20;
    s = begin(s);
    write_report(&s, &r);
    o = load(&s, "report.json");
    text = json_dumps(json_object_get(o, "warnings"), 0);
    assert_non_null(strstr(text, "60 of 80 trials are not finished"));
    free(text);
    json_decref(o);
    study_end(&s);
    s = usual;
    s.finished = 0;
    s = begin(s);
    write_report(&s, &r);
    assert_int_equal(r.n_parametrizations, 0);
    assert_non_null(strstr(r.finding, "nothing to compare"));
    study_end(&s);
}

static void a_single_parametrization_is_reported_alone(void **state)
{
    struct study s = usual;
    struct report r;

    (void)state;
    s.groups = "[sp]";
    s = begin(s);
    write_report(&s, &r);
    assert_int_equal(r.n_parametrizations, 1);
    assert_null(strstr(r.finding, "muP"));
    study_end(&s);
}

/* Trials 1 to 8 are those of the lowest rate. */
static void other_hyperparameters_are_held_at_their_best(void **state)
{
    struct study s = begin(usual);
    struct report r;
    json_t *o;
    char *text, *warmup;

    (void)state;
    for (int id = 1; id <= 8; id++) {
        char name[64];

        snprintf(name, sizeof(name), "trials/%d/config.yaml", id);
        text = text_of(&s, name);
        warmup = strstr(text, "warmup: 0.1");
        assert_non_null(warmup);
        warmup[strlen("warmup: 0.")] = '2';
        study_text(s.dir, name, text);
        free(text);
    }
    write_report(&s, &r);
    o = load(&s, "report.json");
    text = json_dumps(json_object_get(o, "warnings"), 0);
    assert_non_null(strstr(text, "the curves show the 72 of 80 runs"));
    free(text);
    json_decref(o);
    study_end(&s);
}

static void toy_sizes_are_warned_of(void **state)
{
    struct study s = begin(usual);
    struct report r;
    json_t *o;
    char *text;

    (void)state;
    write_report(&s, &r);
    o = load(&s, "report.json");
    text = json_dumps(json_object_get(o, "warnings"), 0);
    assert_non_null(strstr(text, "narrowest proxy has width 32"));
    assert_non_null(strstr(text, "train for 300 steps"));
    free(text);
    json_decref(o);
    study_end(&s);
}

static void a_damaged_check_is_named_and_the_old_report_stays(void **state)
{
    struct study s = usual;
    struct report r;
    struct mup_error err;
    char *before, *after;

    (void)state;
    s.coord = 1;
    s = begin(s);
    write_report(&s, &r);
    before = text_of(&s, "report.json");
    study_text(s.dir, "coord-sp/coord.json", "{\"rows\": 3");
    assert_int_equal(report_write(s.dir, &r, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "coord-sp/coord.json"));
    after = text_of(&s, "report.json");
    assert_string_equal(before, after);
    free(before);
    free(after);
    study_end(&s);
}

static void a_folder_without_a_study_is_an_error(void **state)
{
    struct report r = { .n_parametrizations = -3 };
    struct mup_error err = { 0 };

    (void)state;
    assert_int_not_equal(report_write("/tmp/no/such/study", &r, &err), MUP_OK);
    assert_int_equal(r.n_parametrizations, -3);
    assert_true(err.text[0] != '\0');
}

static void a_torn_line_and_a_repeated_step_count_once(void **state)
{
    struct study s = usual;
    struct report_series series;
    struct mup_error err;
    char path[512];

    (void)state;
    study_begin(&s);
    study_text(s.dir, "m.jsonl",
               "{\"step\":10,\"tokens\":100,\"loss\":3}\n"
               "{\"step\":20,\"tokens\":200,\"loss\":2.5}\n"
               "{\"step\":30,\"tokens\":300,\"loss\":null}\n"
               "{\"step\":20,\"tokens\":200,\"loss\":2.6,\"val_loss\":2}\n"
               "{\"step\":\"x\"}\n"
               "{\"step\":30,\"tok");
    snprintf(path, sizeof(path), "%s/m.jsonl", s.dir);
    assert_int_equal(report_series_open(path, &series, &err), MUP_OK);
    assert_int_equal(series.n, 2);
    assert_close(series.loss[1], 2.6, 0);
    assert_true(isnan(series.val_loss[0]));
    report_series_close(&series);
    snprintf(path, sizeof(path), "%s/absent.jsonl", s.dir);
    assert_int_equal(report_series_open(path, &series, &err), MUP_OK);
    assert_int_equal(series.n, 0);
    study_end(&s);
}

/* ---- one width, divergence, left-out widths --------------------------------
 */

static json_t *parametrization(const json_t *report, size_t i)
{
    return json_array_get(json_object_get(report, "parametrizations"), i);
}

static void a_single_width_carries_null_and_a_reason(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o, *p, *regret;
    char *text;

    (void)state;
    s.groups = "[mup]";
    s.widths = "[64]";
    s = begin(s);
    write_report(&s, &r);
    text = text_of(&s, "report.json");
    assert_null(strstr(text, "nan"));
    free(text);
    o = load(&s, "report.json");
    p = parametrization(o, 0);
    regret = json_object_get(p, "regret");
    assert_true(
        json_is_null(json_object_get(json_object_get(p, "drift"), "value")));
    assert_non_null(strstr(json_string_value(json_object_get(p, "reason")),
                           "at least two"));
    assert_true(json_is_null(json_object_get(regret, "value")));
    assert_true(json_is_false(json_object_get(regret, "diverges")));
    assert_string_equal(json_string_value(json_object_get(regret, "reason")),
                        "one width only, nothing is carried");
    json_decref(o);
    study_end(&s);
}

static void a_regret_without_end_is_a_divergence(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o, *regret;

    (void)state;
    s.groups = "[sp]";
    s.slope[MUP_SP] = -1.2; /* 3.6 octaves in all, and a cliff at 2.9 */
    s = begin(s);
    write_report(&s, &r);
    assert_true(isinf(r.transfer[0].regret));
    assert_non_null(strstr(r.finding, "makes width 256 diverge"));
    o = load(&s, "report.json");
    regret = json_object_get(parametrization(o, 0), "regret");
    assert_true(json_is_null(json_object_get(regret, "value")));
    assert_true(json_is_true(json_object_get(regret, "diverges")));
    assert_string_equal(json_string_value(json_object_get(regret, "reason")),
                        "the rate tuned at width 32 makes width 256 diverge");
    json_decref(o);
    study_end(&s);
}

/* One seed of three diverges at every rate: the other two do not count. */
static void every_width_left_out_is_told_once(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o;
    char *text;

    (void)state;
    s.groups = "[mup]";
    s.seeds = 3;
    s.dead = 128;
    s = begin(s);
    write_report(&s, &r);
    assert_int_equal(r.transfer[0].n_widths, 2);
    o = load(&s, "report.json");
    text = json_dumps(json_object_get(o, "warnings"), 0);
    assert_int_equal(count(text, "mup, width 128: every learning rate"), 1);
    assert_int_equal(count(text, "mup, width 256: every learning rate"), 1);
    free(text);
    json_decref(o);
    study_end(&s);
}

/* ---- how to reproduce -----------------------------------------------------
 */

static void assert_command(const json_t *report, size_t i, const char *format,
                           const char *dir)
{
    const char *line = json_string_value(
        json_array_get(json_object_get(report, "commands"), i));
    char expected[2048], *at = expected;

    /* D stands for the folder. */
    for (; *format; format++)
        at += snprintf(at, sizeof(expected) - (size_t)(at - expected),
                       *format == 'D' ? "%s" : "%.1s",
                       *format == 'D' ? dir : format);
    assert_non_null(line);
    assert_string_equal(line, expected);
}

static void commands_repeat_the_checks_as_they_were_made(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o;

    (void)state;
    s.coord = s.target = 1;
    s = begin(s);
    write_report(&s, &r);
    o = load(&s, "report.json");
    assert_int_equal(json_array_size(json_object_get(o, "commands")), 5);
    assert_command(o, 0, "mutransfer sweep D/sweep.yaml -o D", s.dir);
    /* Trial 48 is the winner: its config has what the sweep tuned. */
    assert_command(o, 2,
                   "mutransfer coord-check D/trials/48/config.yaml --widths "
                   "32,64,128,256 --steps 5 --seeds 3 "
                   "--mup.parametrization=mup --train.lr=0.03125 -o "
                   "D/coord-mup",
                   s.dir);
    /* There is no target.yaml: the config of the run itself. */
    assert_command(o, 3,
                   "mutransfer launch D/target/config.yaml --local 1 -o "
                   "D/target",
                   s.dir);
    assert_command(o, 4, "mutransfer report D", s.dir);
    json_decref(o);
    study_end(&s);
}

/* What 'transfer' leaves in a sweep's folder. */
static void put_transfer(const struct study *s)
{
    char *config = text_of(s, "target/config.yaml"), *text, *json;
    size_t bytes = strlen(config) + 1024;

    text = malloc(bytes);
    json = malloc(bytes);
    assert_true(text && json);
    study_text(s->dir, "wide.yaml", "model: {width: 512}\n");
    snprintf(text, bytes,
             "# Written by 'mutransfer transfer %s %s/wide.yaml'.\n%s", s->dir,
             s->dir, config);
    snprintf(json, bytes, "{\"sweep_dir\": \"%s\"}", s->dir);
    study_text(s->dir, "target.yaml", text);
    study_text(s->dir, "target.transfer.json", json);
    free(config);
    free(text);
    free(json);
}

static void commands_are_quoted_for_a_shell(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o;
    char wide[512];

    (void)state;
    s.finished = 4;
    s.target = 1;
    s.name = "my $HOME";
    s = begin(s);
    put_transfer(&s);
    write_report(&s, &r);
    o = load(&s, "report.json");
    assert_int_equal(json_array_size(json_object_get(o, "commands")), 4);
    assert_command(o, 0, "mutransfer sweep 'D/sweep.yaml' -o 'D'", s.dir);
    assert_command(o, 1,
                   "mutransfer transfer 'D' 'D/wide.yaml' -o 'D/target.yaml' "
                   "'--data.train=it'\\''s text.bin'",
                   s.dir);
    assert_command(o, 2,
                   "mutransfer launch 'D/target.yaml' --local 1 -o 'D/target'",
                   s.dir);
    json_decref(o);
    /* Without its source it cannot be transferred again, but launched. */
    snprintf(wide, sizeof(wide), "%s/wide.yaml", s.dir);
    assert_int_equal(unlink(wide), 0);
    write_report(&s, &r);
    o = load(&s, "report.json");
    assert_command(o, 1,
                   "mutransfer launch 'D/target.yaml' --local 1 -o 'D/target'",
                   s.dir);
    json_decref(o);
    study_end(&s);
}

/* ---- coordinate panels ----------------------------------------------------
 */

struct planted {
    const char *name, *quantity;
    int step;
    double slope, off;
};

static void add_row(const struct study *s, const char *file, struct planted p)
{
    json_t *check = load(s, file);
    char path[512];

    json_array_append_new(
        json_object_get(check, "rows"),
        json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:s, s:s, "
                  "s:[f,f,f,f]}",
                  "name", p.name, "quantity", p.quantity, "step", p.step,
                  "slope", p.slope, "lo", p.slope, "hi", p.slope, "expected",
                  0.0, "off", p.off, "verdict", "FAIL", "cause", "planted",
                  "mean", 1.0, 2.0, 4.0, 8.0));
    json_object_set_new(check, "verdict", json_string("FAIL"));
    json_object_set_new(check, "worst", json_string(p.name));
    snprintf(path, sizeof(path), "%s/%s", s->dir, file);
    assert_int_equal(json_dump_file(check, path, 0), 0);
    json_decref(check);
}

static const json_t *panel(const json_t *report, const char *p,
                           const char *name)
{
    const json_t *o;
    size_t i;

    json_array_foreach(json_object_get(report, "coord_panels"), i, o)
    {
        if (!strcmp(json_string_value(json_object_get(o, "name")), name) &&
            !strcmp(json_string_value(json_object_get(o, "parametrization")),
                    p))
            return o;
    }
    fail_msg("there is no panel '%s' of '%s'", name, p);
    return NULL;
}

/* Rows that decide, at another step than the last and of a kind that has no
 * panel of its own. */
static void the_panels_show_what_decides_the_verdicts(void **state)
{
    struct study s = usual;
    struct report r;
    json_t *o;

    (void)state;
    s.finished = 4;
    s.coord = 1;
    s = begin(s);
    add_row(&s, "coord-sp/coord.json",
            (struct planted){ "blocks.0.attn.out", "activation", 2, 0.9, 0.9 });
    /* less off than the next one, though its slope is larger */
    add_row(&s, "coord-mup/coord.json",
            (struct planted){ "logits", "output_logits", 3, 0.8, 0.3 });
    add_row(&s, "coord-mup/coord.json",
            (struct planted){ "blocks.1.attn.qk", "attention_logits", 3, 0.4,
                              0.4 });
    write_report(&s, &r);
    o = load(&s, "report.json");
    assert_int_equal(json_array_size(json_object_get(o, "coord_panels")),
                     2 * 5);
    assert_true(number(panel(o, "sp", "blocks.0.attn.out"), "step") == 2);
    assert_true(number(panel(o, "sp", "blocks.0.attn.out"), "slope") == 0.9);
    assert_true(number(panel(o, "mup", "blocks.1.attn.qk"), "step") == 3);
    assert_true(number(panel(o, "mup", "blocks.1.attn.qk"), "slope") == 0.4);
    assert_int_equal(json_array_size(json_object_get(
                         panel(o, "sp", "blocks.1.attn.qk"), "steps")),
                     0);
    json_decref(o);
    study_end(&s);
}

static void checks_of_every_parametrization_are_reported(void **state)
{
    static const char *const names[] = { "sp", "mup", "sp-perlayer", "umup" };
    struct study s = usual;
    struct report r;
    json_t *o, *checks;

    (void)state;
    s.finished = 4;
    s.coord = 1;
    s = begin(s);
    study_coord(&s, "umup", 0.02);
    study_coord(&s, "sp-perlayer", 0.03);
    write_report(&s, &r);
    o = load(&s, "report.json");
    checks = json_object_get(o, "coord");
    assert_int_equal(json_array_size(checks), 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(json_string_value(json_object_get(
                                json_array_get(checks, i), "parametrization")),
                            names[i]);
    json_decref(o);
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_finding_of_a_success_is_one_sentence),
        cmocka_unit_test(the_finding_claims_nothing_that_was_not_shown),
        cmocka_unit_test(every_finding_begins_and_ends_as_a_sentence),
        cmocka_unit_test(an_edge_and_a_divergence_are_in_the_finding),
        cmocka_unit_test(a_planted_study_gets_its_verdicts),
        cmocka_unit_test(report_json_holds_the_numbers_of_the_report),
        cmocka_unit_test(writing_twice_gives_the_same_bytes),
        cmocka_unit_test(the_curves_have_a_block_each_and_mark_what_diverged),
        cmocka_unit_test(checks_and_target_are_reported_where_they_exist),
        cmocka_unit_test(an_unfinished_study_gives_an_interim_report),
        cmocka_unit_test(a_single_parametrization_is_reported_alone),
        cmocka_unit_test(other_hyperparameters_are_held_at_their_best),
        cmocka_unit_test(toy_sizes_are_warned_of),
        cmocka_unit_test(a_damaged_check_is_named_and_the_old_report_stays),
        cmocka_unit_test(a_folder_without_a_study_is_an_error),
        cmocka_unit_test(a_torn_line_and_a_repeated_step_count_once),
        cmocka_unit_test(a_single_width_carries_null_and_a_reason),
        cmocka_unit_test(a_regret_without_end_is_a_divergence),
        cmocka_unit_test(every_width_left_out_is_told_once),
        cmocka_unit_test(commands_repeat_the_checks_as_they_were_made),
        cmocka_unit_test(commands_are_quoted_for_a_shell),
        cmocka_unit_test(the_panels_show_what_decides_the_verdicts),
        cmocka_unit_test(checks_of_every_parametrization_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
