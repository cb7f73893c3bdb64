/* The report on a table of runs: the verdicts of a sweep with the same
 * numbers, planted optima, labels, and every refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "plots/plot.h"
#include "sweep/report.h"
#include "sweep/report_data.h"
#include "sweep/report_text.h"
#include "tests/close.h"
#include "tests/study_fixture.inc.h"

struct place {
    char dir[64], csv[128], out[128];
};

static struct place begin(void)
{
    struct place p = { "/tmp/mutransfer-csv-XXXXXX", "", "" };

    assert_non_null(mkdtemp(p.dir));
    snprintf(p.csv, sizeof(p.csv), "%s/runs.csv", p.dir);
    snprintf(p.out, sizeof(p.out), "%s/runs-report", p.dir);
    return p;
}

static void end(const struct place *p)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -rf '%s'", p->dir);
    assert_int_equal(system(command), 0);
}

static FILE *table(const struct place *p, const char *header)
{
    FILE *f = fopen(p->csv, "w");

    assert_non_null(f);
    fprintf(f, "%s\n", header);
    return f;
}

static int try_report(const struct place *p, const struct axes_choice *choice,
                      struct report *r, struct mup_error *err)
{
    struct report_request request = { .csv = p->csv, .out = p->out };
    int rc = axes_of_columns(choice, &request.axes, err);

    return rc == MUP_OK ? report_write_request(&request, r, err) : rc;
}

static void report(const struct place *p, FILE *f, struct report *r)
{
    const struct axes_choice usual = { 0 };
    struct mup_error err = { 0 };

    assert_int_equal(fclose(f), 0);
    if (try_report(p, &usual, r, &err))
        fail_msg("%s", err.text);
}

static json_t *load(const struct place *p)
{
    char path[256];
    json_t *o;

    snprintf(path, sizeof(path), "%s/report.json", p->out);
    o = json_load_file(path, 0, NULL);
    assert_non_null(o);
    return o;
}

/* ---- verdicts -------------------------------------------------------------
 */

static void assert_same(double a, double b)
{
    if (isnan(a) ? !isnan(b) : a != b)
        fail_msg("%.17g is not %.17g", a, b);
}

static void assert_same_transfer(const struct transfer_report *a,
                                 const struct transfer_report *b)
{
    assert_int_equal(a->verdict, b->verdict);
    assert_string_equal(a->reason, b->reason);
    assert_string_equal(a->wider_reason, b->wider_reason);
    assert_same(a->drift, b->drift);
    assert_same(a->drift_lo, b->drift_lo);
    assert_same(a->drift_hi, b->drift_hi);
    assert_same(a->regret, b->regret);
    assert_same(a->regret_hi, b->regret_hi);
    assert_int_equal(a->n_widths, b->n_widths);
    for (int w = 0; w < a->n_widths; w++) {
        assert_same(a->optimum[w].log2_lr, b->optimum[w].log2_lr);
        assert_same(a->optimum[w].log2_lr_lo, b->optimum[w].log2_lr_lo);
        assert_same(a->optimum[w].loss, b->optimum[w].loss);
        assert_same(a->optimum[w].margin, b->optimum[w].margin);
        assert_int_equal(a->optimum[w].diverged, b->optimum[w].diverged);
    }
}

static void put_study(FILE *f, const char *dir)
{
    const struct report_request request = { .sweep = dir,
                                            .out = dir,
                                            .axes = axes_usual() };
    struct mup_error err = { 0 };
    struct report_data d;

    if (report_data_open(&request, &d, &err))
        fail_msg("%s", err.text);
    assert_true(d.diverged > 0);
    for (int i = d.n - 1; i >= 0; i--) { /* any order */
        const struct report_run *run = &d.run[i];

        fprintf(f, "%.17g,%lld,%s,%.17g,", run->width, (long long)run->seed,
                d.group[run->group], run->lr);
        if (isfinite(run->value))
            fprintf(f, "%.17g\n", run->value);
        else
            fprintf(f, "%s\n", i % 2 ? "nan" : "");
    }
    report_data_close(&d);
}

static void a_table_gets_the_verdict_of_the_sweep_it_came_from(void **state)
{
    struct study s = { .slope = { -0.9, 0 }, .seeds = 3, .finished = -1 };
    struct place p = begin();
    struct report a, b;
    FILE *f = table(&p, "width,seed,parametrization,lr,loss");

    (void)state;
    study_begin(&s);
    study_make(&s);
    assert_int_equal(report_write(s.dir, &a, NULL), MUP_OK);
    put_study(f, s.dir);
    report(&p, f, &b);
    assert_int_equal(b.n_parametrizations, 2);
    assert_string_equal(b.name[0], "mup"); /* the last row stands first */
    assert_same_transfer(&a.transfer[0], &b.transfer[1]);
    assert_same_transfer(&a.transfer[1], &b.transfer[0]);
    assert_string_equal(a.finding, b.finding);
    study_end(&s);
    end(&p);
}

/* Rows of log loss = log 3 + curvature (x - (x0 + slope z))^2, z doublings. */
static void put_parabola(FILE *f, const char *name, double slope)
{
    for (int z = 0; z < 3; z++)
        for (int k = -9; k <= -3; k++) {
            double d = k - (-6.3 + slope * z);

            fprintf(f, "%s,%d,2^%d,%.17g\n", name, 64 << z, k,
                    exp(log(3) + 0.01 * d * d));
        }
}

static void the_optimum_of_a_parabola_is_its_vertex(void **state)
{
    struct place p = begin();
    struct report r;
    FILE *f = table(&p, "parametrization,width,lr,loss");

    (void)state;
    put_parabola(f, "mup", 0);
    put_parabola(f, "sp", -0.5);
    report(&p, f, &r);
    for (int w = 0; w < 3; w++) {
        /* Least squares of exact values: rounding alone. */
        assert_close(r.transfer[0].optimum[w].log2_lr, -6.3, 1e-9);
        assert_close(r.transfer[1].optimum[w].log2_lr, -6.3 - 0.5 * w, 1e-9);
        assert_close(r.transfer[0].optimum[w].loss, 3, 1e-9);
        assert_close(r.transfer[0].optimum[w].curvature, 0.01, 1e-9);
    }
    assert_close(r.transfer[0].drift, 0, 1e-9);
    assert_close(r.transfer[1].drift, -0.5, 1e-9);
    /* One octave beside the vertex at the widest width. */
    assert_close(r.transfer[1].regret, expm1(0.01), 1e-9);
    assert_int_equal(r.transfer[0].verdict, TRANSFER_STABLE);
    assert_int_equal(r.transfer[1].verdict, TRANSFER_DRIFTS);
    end(&p);
}

static void a_table_that_names_no_parametrization_is_one_group(void **state)
{
    struct place p = begin();
    struct report r;
    FILE *f = table(&p, "x,width,lr,loss"); /* column x is ignored */

    (void)state;
    put_parabola(f, "1", 0);
    report(&p, f, &r);
    assert_int_equal(r.n_parametrizations, 1);
    assert_string_equal(r.name[0], "");
    assert_non_null(strstr(r.finding, "learning rate stays at 2^-6.3 (drift"));
    assert_non_null(strstr(r.finding, "; the rate tuned at width 64"));
    end(&p);
}

static void a_drifting_table_without_names_says_so(void **state)
{
    struct place p = begin();
    struct report r;
    FILE *f = table(&p, "x,width,lr,loss");

    (void)state;
    put_parabola(f, "1", 0.5);
    report(&p, f, &r);
    assert_non_null(
        strstr(r.finding, "The best learning rate rises by 0.50 octaves"));
    end(&p);
}

static void a_single_width_decides_nothing(void **state)
{
    struct place p = begin();
    struct report r;
    FILE *f = table(&p, "width,lr,loss");

    (void)state;
    fputs("64,1,3\n64,2,2.9\n64,4,2.95\n64,8,3.1\n64,16,inf\n", f);
    report(&p, f, &r);
    assert_int_equal(r.transfer[0].verdict, TRANSFER_INCONCLUSIVE);
    assert_int_equal(r.transfer[0].optimum[0].diverged, 1);
    assert_non_null(
        strstr(r.finding, "The best learning rate at width 64 is 2^1"));
    end(&p);
}

static void a_table_of_divergence_alone_leaves_nothing_to_compare(void **state)
{
    struct place p = begin();
    struct report r;
    struct mup_error err;
    FILE *f = table(&p, "width,lr,loss");

    (void)state;
    fputs("64,1,\n64,2,nan\n128,1,-inf\n", f);
    report(&p, f, &r);
    assert_int_equal(r.n_parametrizations, 0);
    assert_non_null(strstr(r.finding, "nothing to compare"));
    assert_int_equal(html_write(p.out, &err), MUP_OK);
    end(&p);
}

/* ---- parametrizations -----------------------------------------------------
 */

static void
known_names_are_taken_in_any_case_and_others_are_labels(void **state)
{
    struct place p = begin();
    struct report r;
    FILE *f = table(&p, "parametrization,width,lr,loss");

    (void)state;
    put_parabola(f, "\"ours, new\"", -0.6);
    put_parabola(f, "muP", 0);
    put_parabola(f, "SP", -0.5);
    report(&p, f, &r);
    assert_string_equal(r.name[0], "ours, new");
    assert_string_equal(r.name[1], "mup");
    assert_string_equal(r.name[2], "sp");
    assert_int_equal(report_main(&r), 1);
    assert_non_null(strstr(r.finding, "while under ours, new it falls by"));
    end(&p);
}

static void the_verdict_that_counts_is_that_of_the_first_but_sp(void **state)
{
    struct report r = { .axes = axes_usual(), .n_parametrizations = 3 };

    (void)state;
    snprintf(r.name[0], REPORT_NAME_BYTES, "sp");
    snprintf(r.name[1], REPORT_NAME_BYTES, "ours");
    snprintf(r.name[2], REPORT_NAME_BYTES, "theirs");
    assert_int_equal(report_main(&r), 1);
    snprintf(r.name[2], REPORT_NAME_BYTES, "mup");
    assert_int_equal(report_main(&r), 2);
    r.n_parametrizations = 1;
    assert_int_equal(report_main(&r), 0);
    r.n_parametrizations = 0;
    assert_int_equal(report_main(&r), -1);
}

static void eight_long_labels_fit_the_finding(void **state)
{
    struct place p = begin();
    struct report r;
    FILE *f = table(&p, "parametrization,width,lr,loss");

    (void)state;
    for (int i = 0; i < REPORT_MAX_GROUPS; i++) {
        char name[80];

        snprintf(name, sizeof(name), "%d µ%059d", i, i); /* 63 bytes */
        put_parabola(f, name, -0.5);
    }
    report(&p, f, &r);
    assert_int_equal(r.n_parametrizations, REPORT_MAX_GROUPS);
    assert_int_equal(r.finding[strlen(r.finding) - 1], '.');
    json_decref(load(&p));
    end(&p);
}

static void labels_are_shown_not_executed(void **state)
{
    static const char evil[] = "'.system('touch owned').' `touch owned` <b>&";
    struct place p = begin();
    struct report r;
    struct mup_error err = { 0 };
    char path[256], *html;
    size_t bytes;
    FILE *f = table(&p, "parametrization,width,lr,loss");

    (void)state;
    put_parabola(f, evil, 0);
    report(&p, f, &r);
    if (plot_draw(p.out, PLOT_LR, PLOT_SVG, NULL, &err) ||
        plot_draw(p.out, PLOT_LR, PLOT_PNG, NULL, &err) ||
        html_write(p.out, &err))
        fail_msg("%s", err.text);
    snprintf(path, sizeof(path), "%s/report.html", p.out);
    assert_int_equal(file_read(path, (size_t)1 << 24, &html, &bytes, &err), 0);
    assert_null(strstr(html, "<b>"));
    assert_non_null(strstr(html, "&lt;b&gt;&amp;"));
    free(html);
    snprintf(path, sizeof(path), "%s/plots/owned", p.out);
    assert_int_not_equal(access(path, F_OK), 0);
    end(&p);
}

/* ---- other columns --------------------------------------------------------
 */

static void other_columns_are_read_and_named(void **state)
{
    const struct axes_choice choice = { "layers", "weight_decay", "mood" };
    struct place p = begin();
    struct report r;
    struct mup_error err = { 0 };
    json_t *o;
    FILE *f = table(&p, "mood,Layers,weight_decay,loss");

    (void)state;
    put_parabola(f, "mup", 0); /* no name of a parametrization here */
    put_parabola(f, "blue", -0.5);
    assert_int_equal(fclose(f), 0);
    if (try_report(&p, &choice, &r, &err))
        fail_msg("%s", err.text);
    assert_close(r.transfer[1].drift, -0.5, 1e-9);
    assert_non_null(strstr(r.finding, "The best weight decay stays at 2^-6.3 "
                                      "with mood mup (drift"));
    assert_non_null(strstr(r.finding, "carried to depth 256"));
    o = load(&p);
    assert_non_null(strstr(
        json_string_value(json_array_get(json_object_get(o, "commands"), 0)),
        " --over layers --of weight_decay --by mood -o "));
    json_decref(o);
    end(&p);
}

static void columns_that_cannot_be_axes_are_refused(void **state)
{
    struct axes a;
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(
        axes_of_columns(&(struct axes_choice){ .of = "LOSS" }, &a, &err),
        MUP_USAGE);
    assert_string_equal(err.text, "the column 'LOSS' has a meaning of its own; "
                                  "name another");
    assert_int_equal(
        axes_of_columns(&(struct axes_choice){ .of = "" }, &a, &err),
        MUP_USAGE);
    assert_int_equal(
        axes_of_columns(&(struct axes_choice){ .of = "a\nb" }, &a, &err),
        MUP_USAGE);
    assert_int_equal(
        axes_of_columns(&(struct axes_choice){ .by = "lr" }, &a, &err),
        MUP_USAGE);
}

/* ---- files ----------------------------------------------------------------
 */

static void report_json_names_the_table_and_the_command(void **state)
{
    struct place p = begin();
    struct report r;
    char command[512];
    json_t *o, *csv;
    FILE *f = table(&p, "parametrization,width,lr,loss");

    (void)state;
    put_parabola(f, "mup", 0);
    report(&p, f, &r);
    o = load(&p);
    csv = json_object_get(o, "csv");
    assert_string_equal(json_string_value(json_object_get(csv, "file")), p.csv);
    assert_int_equal(json_integer_value(json_object_get(csv, "rows")), 21);
    assert_int_equal(strlen(json_string_value(json_object_get(csv, "xxh3"))),
                     32);
    snprintf(command, sizeof(command), "mutransfer report --csv %s -o %s",
             p.csv, p.out);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(o, "commands"), 0)),
        command);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(o, "study"), "name")),
        "runs.csv");
    assert_true(json_is_null(json_object_get(o, "target")));
    assert_int_equal(json_array_size(json_object_get(o, "coord")), 0);
    /* Nothing is known about the steps, so nothing is said. */
    assert_int_equal(json_array_size(json_object_get(o, "warnings")), 1);
    json_decref(o);
    end(&p);
}

/* ---- refusals -------------------------------------------------------------
 */

static void assert_refused(const char *text, const char *sentence)
{
    const struct axes_choice usual = { 0 };
    struct place p = begin();
    struct report r = { .n_parametrizations = -3 };
    struct mup_error err = { 0 };
    FILE *f = fopen(p.csv, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    if (try_report(&p, &usual, &r, &err) != MUP_USAGE)
        fail_msg("'%s' is accepted", text);
    if (strncmp(err.text, p.csv, strlen(p.csv)) ||
        strcmp(err.text + strlen(p.csv), sentence))
        fail_msg("'%s' is not '...%s'", err.text, sentence);
    assert_int_equal(r.n_parametrizations, -3);
    assert_int_not_equal(access(p.out, F_OK), 0);
    end(&p);
}

static void what_is_no_sweep_is_refused_with_line_and_remedy(void **state)
{
    (void)state;
    assert_refused("width,lr,loss\n", ":1: there are no runs below the header");
    assert_refused("width,lr,seed\n", ":1: there is no column 'loss', only "
                                      "'width', 'lr', 'seed'; add or rename "
                                      "one");
    assert_refused("loss,lr\n1,1\n", ":1: there is no column 'width', only "
                                     "'loss', 'lr'; add or rename one");
    assert_refused("width,lr,loss\n64,0,3\n",
                   ":2: '0' is not above 0, as a width and a learning rate "
                   "must be; correct the cell or remove the row");
    assert_refused("width,lr,loss\n-64,1,3\n",
                   ":2: '-64' is not above 0, as a width and a learning rate "
                   "must be; correct the cell or remove the row");
    assert_refused("width,lr,loss\n64,1,-3\n",
                   ":2: a loss of '-3' is not above 0, but losses are compared "
                   "by their ratio; leave the cell empty where the run "
                   "diverged");
    assert_refused("width,lr,loss\n64,1,3\n64,2,3\n64,1.0,4\n",
                   ":4: the same width and learning rate stand in line 2; add "
                   "a column 'seed' that tells the runs apart");
    assert_refused("width,lr,loss,seed\n64,1,3,1\n64,1,3,2\n\n64,1,4,2\n",
                   ":5: the same width, learning rate and seed stand in line "
                   "3; remove one, or correct its seed");
    assert_refused("width,lr,loss,seed\n64,1,3,\n",
                   ":2: seed is empty; write a number");
}

static void bad_labels_are_refused(void **state)
{
    char text[1024] = "parametrization,width,lr,loss\n";
    size_t used = strlen(text);

    (void)state;
    assert_refused("width,lr,loss,parametrization\n64,1,3,\n",
                   ":2: parametrization is empty; name it in every row, or "
                   "leave the column out");
    assert_refused("width,lr,loss,parametrization\n64,1,3,\"a\nb\"\n",
                   ":2: a line break or another control character in the "
                   "parametrization; remove it");
    assert_refused("width,lr,loss,parametrization\n64,1,3,a\xc2\x9b"
                   "1m\n",
                   ":2: a line break or another control character in the "
                   "parametrization; remove it");
    for (int i = 0; i <= REPORT_MAX_GROUPS; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                                 "p%d,64,1,3\n", i);
    assert_refused(text, ":10: 'p8' is one parametrization more than the 8 "
                         "that a report compares; split the table");
    snprintf(text, sizeof(text), "parametrization,width,lr,loss\n%064d,1,1,1\n",
             0);
    assert_refused(text, ":2: the parametrization '00000000000000000000...' "
                         "has more than 63 bytes; take a shorter name");
}

static void too_many_widths_and_runs_are_refused(void **state)
{
    size_t bytes = 16 * (REPORT_CSV_MAX_RUNS + 2), used;
    char *text = malloc(bytes);

    (void)state;
    assert_non_null(text);
    used = (size_t)snprintf(text, bytes, "width,lr,loss\n");
    for (int i = 1; i <= 17; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%d,1,3\n", i);
    assert_refused(text, ": more than 16 widths, leave some out");
    used = (size_t)snprintf(text, bytes, "width,lr,loss\n");
    for (int i = 0; i <= REPORT_CSV_MAX_RUNS; i++)
        used += (size_t)snprintf(text + used, bytes - used, "64,%d,3\n", i + 1);
    assert_refused(text, ":20002: more than 20000 runs; leave out those far "
                         "from the best learning rate");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_gets_the_verdict_of_the_sweep_it_came_from),
        cmocka_unit_test(the_optimum_of_a_parabola_is_its_vertex),
        cmocka_unit_test(a_table_that_names_no_parametrization_is_one_group),
        cmocka_unit_test(a_drifting_table_without_names_says_so),
        cmocka_unit_test(a_single_width_decides_nothing),
        cmocka_unit_test(a_table_of_divergence_alone_leaves_nothing_to_compare),
        cmocka_unit_test(
            known_names_are_taken_in_any_case_and_others_are_labels),
        cmocka_unit_test(the_verdict_that_counts_is_that_of_the_first_but_sp),
        cmocka_unit_test(eight_long_labels_fit_the_finding),
        cmocka_unit_test(labels_are_shown_not_executed),
        cmocka_unit_test(other_columns_are_read_and_named),
        cmocka_unit_test(columns_that_cannot_be_axes_are_refused),
        cmocka_unit_test(report_json_names_the_table_and_the_command),
        cmocka_unit_test(what_is_no_sweep_is_refused_with_line_and_remedy),
        cmocka_unit_test(bad_labels_are_refused),
        cmocka_unit_test(too_many_widths_and_runs_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
