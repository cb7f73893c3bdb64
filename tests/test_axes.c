/* Reports on other axes than the learning rate over width: planted optima that
 * move with depth, experts and width, the words in every file, and what is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "plots/plot.h"
#include "sweep/axes.h"
#include "sweep/evidence.h"
#include "sweep/report.h"
#include "sweep/report_text.h"
#include "tests/study_fixture.inc.h"

static const struct study depth = {
    .slope = { -0.9, 0 },
    .seeds = 1,
    .finished = -1,
    .name = "axes",
    .by = "mup.depth",
    .groups = "[none, depth-mup]",
    .over = "model.layers",
    .widths = "[2, 4, 8]",
    .extra = ", base_layers: 2",
};

static struct study begin(struct study s)
{
    study_begin(&s);
    study_make(&s);
    return s;
}

static struct axes axes_by(const struct axes_choice *choice)
{
    struct mup_error err = { 0 };
    struct axes a;

    if (axes_of_keys(choice, &a, &err))
        fail_msg("%s", err.text);
    return a;
}

/* Into the folder "out" of the study. */
static int try_report(const struct study *s, const struct axes_choice *choice,
                      struct report *r, struct mup_error *err)
{
    char out[512];
    struct report_request request = { .sweep = s->dir, .out = out };
    int rc = axes_of_keys(choice, &request.axes, err);

    snprintf(out, sizeof(out), "%s/out", s->dir);
    return rc == MUP_OK ? report_write_request(&request, r, err) : rc;
}

static void report(const struct study *s, const struct axes_choice *choice,
                   struct report *r)
{
    struct mup_error err = { 0 };

    if (try_report(s, choice, r, &err))
        fail_msg("%s", err.text);
}

static char *text_of(const struct study *s, const char *name)
{
    struct mup_error err = { 0 };
    char path[512], *text = NULL;
    size_t bytes = 0;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    if (file_read(path, (size_t)1 << 24, &text, &bytes, &err))
        fail_msg("%s", err.text);
    return text;
}

static void assert_holds(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("no '%s' in: %.4000s", what, text);
}

static void assert_lacks(const char *text, const char *what)
{
    if (strstr(text, what))
        fail_msg("'%s' in: %.4000s", what, text);
}

/* ---- verdicts -------------------------------------------------------------
 */

static const struct axes_choice over_depth = { .over = "model.layers",
                                               .by = "mup.depth" };

static void a_drift_over_depth_is_found_and_named(void **state)
{
    struct study s = begin(depth);
    struct report r;

    (void)state;
    report(&s, &over_depth, &r);
    assert_int_equal(r.n_parametrizations, 2);
    assert_string_equal(r.name[0], "none");
    assert_string_equal(r.name[1], "depth-mup");
    assert_int_equal(r.transfer[0].verdict, TRANSFER_DRIFTS);
    assert_int_equal(r.transfer[1].verdict, TRANSFER_STABLE);
    /* The true drift is -0.9; its 95 % interval is about 0.1 wide. */
    assert_true(fabs(r.transfer[0].drift + 0.9) < 0.15);
    assert_true(r.transfer[0].optimum[2].width == 8);
    assert_int_equal(report_main(&r), 0);
    assert_holds(r.finding, "With no depth rule the best learning rate falls "
                            "by ");
    assert_holds(r.finding, " octaves per doubling of depth (95 %");
    assert_holds(r.finding, "cannot be carried to a deeper model");
    assert_holds(r.finding, "; with depth rule depth-mup it stays (drift");
    assert_holds(r.finding, "tuned at depth 2 and carried to depth 8 costs");
    assert_lacks(r.finding, "width");
    study_end(&s);
}

static void the_best_weight_decay_over_width_by_decay_mode(void **state)
{
    struct study s = depth;
    struct report r;

    (void)state;
    s.of = "train.weight_decay";
    s.by = "train.decay_mode";
    s.groups = "[coupled, independent]";
    s.over = NULL;
    s.widths = NULL;
    s.slope[0] = 0;
    s.slope[1] = 0.6;
    s = begin(s);
    report(&s,
           &(struct axes_choice){ .of = "train.weight_decay",
                                  .by = "train.decay_mode" },
           &r);
    /* In the order of the choices, whatever the sweep's. */
    assert_string_equal(r.name[0], "independent");
    assert_string_equal(r.name[1], "coupled");
    assert_true(fabs(r.transfer[1].drift - 0.6) < 0.15);
    assert_holds(r.finding, "The best weight decay stays at 2^-5.");
    assert_holds(r.finding, " with decay mode independent (drift");
    assert_holds(r.finding, ", while with decay mode coupled it rises by 0.");
    assert_holds(r.finding, "the decay tuned at width 32 and carried to");
    study_end(&s);
}

static void the_best_router_multiplier_by_broken_rule(void **state)
{
    struct study s = depth;
    struct report r;

    (void)state;
    s.of = "mup.router_mult";
    s.by = "mup.break";
    s.groups = "[none, router_hidden]";
    s.over = NULL;
    s.widths = "[32, 64, 128]";
    s.slope[0] = s.slope[1] = 0;
    s = begin(s);
    report(&s,
           &(struct axes_choice){ .of = "mup.router_mult", .by = "mup.break" },
           &r);
    assert_holds(r.finding, "The best router multiplier stays at 2^-5.");
    assert_holds(r.finding, "stays with broken rule router_hidden too");
    assert_holds(r.finding, "so these widths do not tell the two apart");
    study_end(&s);
}

static void experts_are_counted_before_their_name(void **state)
{
    struct study s = depth;
    struct report r;
    char *text;

    (void)state;
    s.by = "mup.parametrization";
    s.groups = "[mup]";
    s.over = "model.experts";
    s.widths = "[2, 4, 8]";
    s.slope[1] = 0.7;
    s = begin(s);
    report(&s, &(struct axes_choice){ .over = "model.experts" }, &r);
    assert_holds(r.finding, "Under muP the best learning rate rises by");
    assert_holds(r.finding, "per doubling of experts");
    assert_holds(r.finding, "tuned at 2 experts and carried to 8 experts");
    text = text_of(&s, "out/report.json");
    assert_holds(text, "\"place\": \"8 experts\"");
    free(text);
    study_end(&s);
}

static void any_key_names_itself(void **state)
{
    struct study s = depth;
    struct report r;

    (void)state;
    s.by = "mup.parametrization";
    s.groups = "[mup]";
    s.slope[1] = 0.7;
    s = begin(s);
    report(&s,
           &(struct axes_choice){ .over = "model.layers", .by = "train.clip" },
           &r);
    assert_string_equal(r.name[0], "1");
    assert_holds(r.finding, "With train.clip 1 the best learning rate");
    study_end(&s);
}

static void one_value_only_says_nothing_about_transfer(void **state)
{
    struct study s = depth;
    struct report r;

    (void)state;
    s.groups = "[none]";
    s.widths = "[2]";
    s = begin(s);
    report(&s, &over_depth, &r);
    assert_int_equal(r.transfer[0].verdict, TRANSFER_INCONCLUSIVE);
    assert_string_equal(r.transfer[0].reason,
                        "only depth 2 was run, transfer needs at least two");
    assert_holds(r.finding, "The best learning rate with no depth rule at "
                            "depth 2 is 2^-");
    assert_holds(r.finding, "; a single depth says nothing about transfer.");
    study_end(&s);
}

/* Grown and compared keys are no hyperparameters beside; others are. */
static void only_runs_that_differ_by_the_axes_are_compared(void **state)
{
    struct study s = begin(depth);
    struct report r;
    char *text;

    (void)state;
    report(&s, &over_depth, &r);
    text = text_of(&s, "out/report.json");
    assert_lacks(text, "other hyperparameters");
    free(text);
    /* Over width the depth is one: that of the best runs. */
    report(&s, &(struct axes_choice){ .by = "mup.depth" }, &r);
    text = text_of(&s, "out/report.json");
    assert_holds(text, "the curves show the ");
    assert_holds(text, " of 60 runs that share the values of the best one");
    free(text);
    assert_int_equal(r.transfer[0].n_widths, 1);
    study_end(&s);
}

/* Without the default, "none", the first group counts.  Eight layers of the
 * second diverge at every rate, so its own best has four. */
static void
the_best_run_of_the_group_that_counts_chooses_the_slice(void **state)
{
    struct study s = depth;
    struct report r;

    (void)state;
    s.slope[1] = 0;
    s.slope[2] = -6;
    s.groups = "[depth-mup, completep]";
    s = begin(s);
    report(&s, &(struct axes_choice){ .by = "mup.depth" }, &r);
    assert_int_equal(report_main(&r), 0);
    assert_string_equal(r.name[0], "depth-mup");
    /* 2.36 with eight layers, 2.48 with four, scattering by 0.01. */
    assert_true(fabs(r.transfer[0].optimum[0].grid_loss - 2.36) < 0.04);
    study_end(&s);
}

/* At base width muP shares the runs of SP; only its own configs say what it
 * is. */
static void a_trial_without_a_run_of_its_own_keeps_its_group(void **state)
{
    struct study s = depth;
    struct report r;

    (void)state;
    s.by = s.groups = s.over = s.widths = NULL;
    s.twins = 1;
    s = begin(s);
    report(&s, &(struct axes_choice){ 0 }, &r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r.transfer[i].n_widths, 4);
        assert_true(r.transfer[i].optimum[0].width == 32);
    }
    assert_true(r.transfer[0].optimum[0].grid_loss ==
                r.transfer[1].optimum[0].grid_loss);
    study_end(&s);
}

static void the_finding_of_three_that_stay_tells_none_apart(void **state)
{
    struct report r = { .axes = axes_usual(), .n_parametrizations = 3 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        snprintf(r.name[i], REPORT_NAME_BYTES, "%s",
                 mup_parametrization_name(i));
        r.transfer[i] = (struct transfer_report){ .n_widths = 2,
                                                  .verdict = TRANSFER_STABLE,
                                                  .regret = NAN };
    }
    report_finding(&r);
    assert_holds(r.finding, "stays under SP per layer too (drift +0.00");
    assert_holds(r.finding, "so these widths do not tell the 3 apart.");
    r.transfer[0].verdict = TRANSFER_DRIFTS;
    report_finding(&r);
    assert_lacks(r.finding, "apart");
}

/* ---- files ----------------------------------------------------------------
 */

static void every_file_says_what_was_compared(void **state)
{
    struct study s = depth;
    struct report r;
    struct mup_error err;
    char out[512], *text;

    (void)state;
    s.coord = s.target = 1; /* which are about width */
    s = begin(s);
    report(&s, &over_depth, &r);
    text = text_of(&s, "out/report.json");
    assert_holds(text, "\"over\": \"model.layers\"");
    assert_holds(text, "\"of\": \"train.lr\"");
    assert_holds(text, "\"by\": \"mup.depth\"");
    assert_holds(text, "\"word\": \"depth\"");
    assert_holds(text, "\"label\": \"no depth rule\"");
    assert_holds(text, "\"place\": \"depth 8\"");
    assert_holds(text, "octaves per doubling of depth [");
    assert_holds(text, " --over model.layers --by mup.depth -o ");
    assert_holds(text, "\"target\": null");
    assert_holds(text, "\"coord\": []");
    assert_holds(text, "narrowest proxy has width 32"); /* not depth 2 */
    assert_lacks(text, "narrowest proxy has width 2;");
    free(text);
    text = text_of(&s, "out/plots/optimum.dat");
    assert_holds(text, "# no depth rule: layers lr lo hi");
    free(text);
    snprintf(out, sizeof(out), "%s/out", s.dir);
    assert_int_equal(plot_script(out, PLOT_LR, PLOT_SVG, &text, &err), 0);
    assert_holds(text, "'no depth rule");
    assert_holds(text, "title 'depth 4'");
    assert_lacks(text, "title 'width");
    free(text);
    assert_int_equal(plot_script(out, PLOT_LOSS, PLOT_SVG, &text, &err), 0);
    assert_holds(text, "no depth rule   best run of each depth'");
    assert_lacks(text, "target");
    free(text);
    assert_int_equal(plot_draw(out, PLOT_LR, PLOT_SVG, NULL, &err), 0);
    assert_int_equal(html_write(out, &err), MUP_OK);
    text = text_of(&s, "out/report.html");
    assert_holds(text, "<th>Depth rule<th>Best learning rate<th class=n>Drift, "
                       "octaves per doubling of depth<");
    assert_holds(text, "<th>Deeper is better");
    assert_holds(text, "Best learning rate of each depth</h2>");
    assert_lacks(text, " width<");
    free(text);
    study_end(&s);
}

static void another_axis_leaves_the_main_report_to_the_linter(void **state)
{
    struct study s = depth;
    struct report r;
    struct evidence e;
    struct mup_error err = { 0 };
    struct axes_choice choice = { .over = "model.layers" };
    struct report_request request = { .sweep = s.dir, .out = s.dir };
    char *before, *after;

    (void)state;
    s.by = "mup.parametrization";
    s.groups = "[mup]";
    s = begin(s);
    request.sweep = request.out = s.dir;
    assert_int_equal(report_write(s.dir, &r, &err), MUP_OK);
    before = text_of(&s, "report.json");
    report(&s, &choice, &r);
    after = text_of(&s, "report.json");
    assert_string_equal(before, after);
    assert_int_equal(evidence_read(s.dir, 1, &e, &err), MUP_OK);
    assert_int_equal(e.report.state, EVIDENCE_CURRENT);
    free(before);
    free(after);
    /* Even where one was put in its place. */
    request.axes = axes_by(&choice);
    assert_int_equal(report_write_request(&request, &r, &err), MUP_OK);
    assert_int_equal(evidence_read(s.dir, 1, &e, &err), MUP_OK);
    assert_int_equal(e.report.state, EVIDENCE_MISSING);
    study_end(&s);
}

static void folders_are_named_by_what_was_compared(void **state)
{
    const struct axes plain = axes_usual();
    struct axes a = axes_by(&over_depth);
    char text[128];

    (void)state;
    axes_folder(&a, text, sizeof(text));
    assert_string_equal(text, "lr-over-layers-by-depth");
    a = axes_by(&(struct axes_choice){ .of = "train.weight_decay" });
    axes_folder(&a, text, sizeof(text));
    assert_string_equal(text, "weight_decay-over-width");
    assert_true(axes_are_usual(&plain));
    assert_false(axes_are_usual(&a));
}

/* ---- refusals -------------------------------------------------------------
 */

static void assert_refused(const struct axes_choice *choice,
                           const char *sentence)
{
    struct axes a;
    struct mup_error err = { 0 };

    assert_int_equal(axes_of_keys(choice, &a, &err), MUP_USAGE);
    assert_string_equal(err.text, sentence);
}

static void keys_that_cannot_be_axes_are_refused(void **state)
{
    (void)state;
    assert_refused(&(struct axes_choice){ .over = "model.layer" },
                   "--over: unknown key 'model.layer' (did you mean "
                   "'model.layers'?)");
    assert_refused(&(struct axes_choice){ .of = "train.weight_decy" },
                   "--of: unknown key 'train.weight_decy' (did you mean "
                   "'train.weight_decay'?)");
    assert_refused(&(struct axes_choice){ .over = "mup.depth" },
                   "--over: 'mup.depth' is not a number; --by takes such a "
                   "key");
    assert_refused(&(struct axes_choice){ .by = "train.lr" },
                   "'train.lr' is asked for twice; --over, --of and --by must "
                   "name three different ones");
}

static void a_value_without_a_logarithm_is_refused(void **state)
{
    struct study s = begin(depth);
    struct report r = { .n_parametrizations = -3 };
    struct mup_error err = { 0 };
    const struct axes_choice choice = { .of = "train.weight_decay" };

    (void)state;
    assert_int_equal(try_report(&s, &choice, &r, &err), MUP_USAGE);
    assert_string_equal(err.text, "trial 1 has train.weight_decay 0, but drift "
                                  "is counted in octaves, for which every "
                                  "value must be above 0");
    assert_int_equal(r.n_parametrizations, -3);
    study_end(&s);
}

static void a_key_that_was_not_tuned_has_no_best_value(void **state)
{
    struct study s = begin(depth);
    struct report r;
    struct mup_error err = { 0 };
    const struct axes_choice choice = { .of = "mup.router_mult" };

    (void)state;
    assert_int_equal(try_report(&s, &choice, &r, &err), MUP_USAGE);
    assert_string_equal(err.text, "--of: every run has mup.router_mult 1; name "
                                  "a key that the sweep tuned");
    study_end(&s);
}

static void more_groups_than_a_report_compares_are_refused(void **state)
{
    struct study s = depth;
    struct report r;
    struct mup_error err = { 0 };
    const struct axes_choice choice = { .by = "model.layers" };

    (void)state;
    s.groups = "[none]";
    s.widths = "[1, 2, 3, 4, 5, 6, 7, 8, 9]";
    s = begin(s);
    assert_int_equal(try_report(&s, &choice, &r, &err), MUP_USAGE);
    assert_string_equal(err.text, "--by: 'model.layers' has more than the 8 "
                                  "values that a report compares");
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_drift_over_depth_is_found_and_named),
        cmocka_unit_test(the_best_weight_decay_over_width_by_decay_mode),
        cmocka_unit_test(the_best_router_multiplier_by_broken_rule),
        cmocka_unit_test(experts_are_counted_before_their_name),
        cmocka_unit_test(any_key_names_itself),
        cmocka_unit_test(one_value_only_says_nothing_about_transfer),
        cmocka_unit_test(only_runs_that_differ_by_the_axes_are_compared),
        cmocka_unit_test(
            the_best_run_of_the_group_that_counts_chooses_the_slice),
        cmocka_unit_test(a_trial_without_a_run_of_its_own_keeps_its_group),
        cmocka_unit_test(the_finding_of_three_that_stay_tells_none_apart),
        cmocka_unit_test(every_file_says_what_was_compared),
        cmocka_unit_test(another_axis_leaves_the_main_report_to_the_linter),
        cmocka_unit_test(folders_are_named_by_what_was_compared),
        cmocka_unit_test(keys_that_cannot_be_axes_are_refused),
        cmocka_unit_test(a_value_without_a_logarithm_is_refused),
        cmocka_unit_test(a_key_that_was_not_tuned_has_no_best_value),
        cmocka_unit_test(more_groups_than_a_report_compares_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
