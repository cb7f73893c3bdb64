/* What the time of a run went into, and its report. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/launch_fixture.inc.h"

#include <sys/stat.h>

#include "launcher/launch_log.h"
#include "launcher/run_report.h"
#include "launcher/run_timeline.h"
#include "model/config.h"
#include "model/file.h"
#include "plots/plot.h"

static char dir[64];

static int make(void **state)
{
    (void)state;
    new_dir(dir);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

/* The spans up to t seconds after the submission as text: "queued 0-9 ...". */
static char *spans_until(double t)
{
    static const char *const kinds[] = { "trains", "recovers", "queued" };
    struct launch_log log;
    struct timeline line;
    struct mup_error err = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(launch_log_read(dir, &log, &err), MUP_OK);
    assert_int_equal(timeline_make(log.events, LAUNCH_BEGAN + t, &line, &err),
                     MUP_OK);
    for (int i = 0; i < line.n; i++)
        fprintf(out, "%s%s %.0f-%.0f", i ? ", " : "", kinds[line.span[i].kind],
                line.span[i].from_s - LAUNCH_BEGAN,
                line.span[i].to_s - LAUNCH_BEGAN);
    assert_int_equal(fclose(out), 0);
    timeline_clear(&line);
    launch_log_clear(&log);
    return text;
}

static void assert_spans(double t, const char *expected)
{
    char *text = spans_until(t);

    assert_string_equal(text, expected);
    free(text);
}

static void an_empty_journal_has_no_spans(void **state)
{
    (void)state;
    assert_spans(100, "");
}

static void a_job_waits_starts_and_trains(void **state)
{
    (void)state;
    launch_event(dir, "submitting", 0, "");
    launch_event(dir, "submitted", 1, "\"job\":41");
    assert_spans(5, "queued 0-5");
    launch_event(dir, "supervisor", 10, "\"job\":41");
    assert_spans(12, "queued 0-10, recovers 10-12");
    launch_event(dir, "incarnation", 15, "\"incarnation\":1");
    assert_spans(100, "queued 0-10, recovers 10-15, trains 15-100");
}

static void an_incident_interrupts_training(void **state)
{
    (void)state;
    launch_event(dir, "supervisor", 0, "\"job\":41");
    launch_event(dir, "incarnation", 5, "");
    launch_event(dir, "failure", 103, "");
    assert_spans(105, "recovers 0-5, trains 5-103, recovers 103-105");
    launch_event(dir, "incarnation", 104, "");
    launch_event(dir, "incident", 111,
                 "\"began_unix_s\":1795860100,\"total_s\":10");
    assert_spans(
        200, "recovers 0-5, trains 5-100, recovers 100-110, trains 110-200");
}

static void a_requeued_job_waits_inside_its_incident(void **state)
{
    (void)state;
    launch_event(dir, "supervisor", 0, "\"job\":41");
    launch_event(dir, "incarnation", 5, "");
    launch_event(dir, "requeued", 50, "");
    launch_event(dir, "supervisor", 90, "\"job\":41");
    launch_event(dir, "incarnation", 95, "");
    launch_event(dir, "incident", 101,
                 "\"began_unix_s\":1795860045,\"total_s\":55");
    assert_spans(200, "recovers 0-5, trains 5-45, recovers 45-50, queued "
                      "50-90, recovers 90-100, trains 100-200");
}

static void nothing_is_between_an_end_and_the_next_submission(void **state)
{
    (void)state;
    launch_event(dir, "supervisor", 0, "\"job\":41");
    launch_event(dir, "incarnation", 5, "");
    launch_event(dir, "ended", 50, "\"status\":7");
    launch_event(dir, "submitting", 1000, "");
    launch_event(dir, "supervisor", 1010, "\"job\":42");
    assert_spans(1020, "recovers 0-5, trains 5-50, queued 1000-1010, recovers "
                       "1010-1020");
}

static void a_supervisor_that_died_is_followed_by_the_next(void **state)
{
    (void)state;
    launch_event(dir, "supervisor", 0, "\"job\":41");
    launch_event(dir, "incarnation", 5, "");
    launch_event(dir, "supervisor", 60, "\"job\":41");
    launch_event(dir, "incarnation", 65, "");
    assert_spans(70, "recovers 0-5, trains 5-60, recovers 60-65, trains 65-70");
}

/* ---- reports ------------------------------------------------------------- */

static void put_config(void)
{
    launch_add(dir, "config.yaml",
               "model:\n  width: 64\n  layers: 2\ntrain:\n  lr: 0.01\n"
               "  steps: 10000\n");
}

static char *text_of(const char *name)
{
    char path[256], *text;
    size_t bytes;
    struct mup_error err;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (file_read(path, (size_t)1 << 26, &text, &bytes, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return text;
}

static json_t *report_of(void)
{
    struct mup_error err;
    char *text;
    json_t *o;

    if (run_report_write(dir, dir, &err) != MUP_OK)
        fail_msg("%s", err.text);
    text = text_of("report.json");
    o = json_loads(text, 0, NULL);
    free(text);
    assert_non_null(o);
    return o;
}

static void a_report_has_incidents_and_what_the_time_went_into(void **state)
{
    json_t *o, *list;

    (void)state;
    put_config();
    launch_begin(dir);
    launch_break(dir);
    launch_metrics(dir, 4400);
    launch_end(dir, 8209);
    o = report_of();
    assert_string_equal(
        json_string_value(json_object_get(o, "finding")),
        "Trained 4,400 of 10,000 steps, loss 2.2079; 3 incidents kept it from "
        "training for 1m29s; goodput 95.3 %.");
    list = json_object_get(o, "incidents");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(list, 1), "label")),
        "damaged data, node2");
    assert_float_equal(
        json_number_value(json_object_get(json_array_get(list, 0), "at_s")),
        1800, 0.01);
    assert_int_equal(json_array_size(json_object_get(o, "ejected")), 2);
    assert_int_equal(json_array_size(json_object_get(o, "spans")), 11);
    json_decref(o);
}

static void the_data_of_its_pictures_are_plain_columns(void **state)
{
    char *text;

    (void)state;
    put_config();
    launch_begin(dir);
    launch_break(dir);
    launch_metrics(dir, 4400);
    launch_end(dir, 8209);
    json_decref(report_of());
    text = text_of("plots/incidents.dat");
    assert_non_null(
        strstr(text, "\n0.000 9.000 2\n9.000 13.200 1\n13.200 1800.000 0\n"));
    assert_non_null(strstr(text, "\n2 2600 53.1 0.3 0.4 46.3 2.4 1.1 2 0.6\n"));
    free(text);
    text = text_of("plots/loss.dat");
    assert_non_null(
        strstr(text, "# tokens loss number, where incidents went on"));
    free(text);
}

static void pictures_and_page_are_made(void **state)
{
    static const int kinds[] = { PLOT_LOSS, PLOT_INCIDENTS };
    struct mup_error err;
    char *page, *text;

    (void)state;
    put_config();
    launch_begin(dir);
    launch_break(dir);
    launch_metrics(dir, 4400);
    launch_end(dir, 8209);
    json_decref(report_of());
    for (size_t i = 0; i < 2; i++) {
        if (plot_draw(dir, kinds[i], PLOT_SVG, NULL, &err) != MUP_OK ||
            plot_draw(dir, kinds[i], PLOT_DUMB, &text, &err) != MUP_OK)
            fail_msg("%s", err.text);
        assert_true(strlen(text) > 500);
        free(text);
    }
    if (html_write(dir, &err) != MUP_OK)
        fail_msg("%s", err.text);
    page = text_of("report.html");
    assert_non_null(strstr(page, "<h2>Incidents</h2>\n<figure>"));
    assert_non_null(strstr(page, "damaged data<td>node2"));
    assert_non_null(strstr(page, "<h2>Ejected nodes</h2>"));
    assert_non_null(strstr(page, "<td class=n>46.3&nbsp;s"));
    assert_null(strstr(page, "<script"));
    free(page);
}

static void texts_of_the_journal_execute_nothing(void **state)
{
    struct mup_error err;
    char *page, *script;

    (void)state;
    put_config();
    launch_begin(dir);
    launch_event(dir, "incident", 100,
                 "\"class\":\"<b>'; system('x')\",\"node\":\"<i>'`x`\","
                 "\"text\":\"<script>\",\"began_unix_s\":1795860050,"
                 "\"total_s\":5,\"detect_s\":5");
    launch_end(dir, 200);
    json_decref(report_of());
    if (plot_draw(dir, PLOT_INCIDENTS, PLOT_SVG, NULL, &err) != MUP_OK ||
        html_write(dir, &err) != MUP_OK)
        fail_msg("%s", err.text);
    page = text_of("report.html");
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<i>"));
    free(page);
    script = text_of("plots/incidents.gp");
    assert_null(strstr(script, "'; system"));
    free(script);
}

static void a_run_without_incidents_has_a_strip_alone(void **state)
{
    struct mup_error err = { 0 };
    char *text = NULL;
    json_t *o;

    (void)state;
    put_config();
    launch_begin(dir);
    launch_end(dir, 100);
    o = report_of();
    json_decref(o);
    assert_int_equal(plot_draw(dir, PLOT_INCIDENTS, PLOT_SVG, NULL, &err),
                     MUP_OK);
    assert_int_equal(plot_draw(dir, PLOT_INCIDENTS, PLOT_DUMB, &text, &err),
                     MUP_USAGE);
    assert_int_equal(plot_draw(dir, PLOT_LOSS, PLOT_SVG, NULL, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "no step was logged yet"));
}

static void a_run_on_this_machine_has_its_loss(void **state)
{
    struct mup_error err = { 0 };
    json_t *o;

    (void)state;
    put_config();
    launch_metrics(dir, 400);
    launch_add(dir, "events.jsonl",
               "{\"event\":\"done\",\"step\":10000,\"loss\":2.5,\"wall_s\":9}");
    o = report_of();
    assert_string_equal(json_string_value(json_object_get(o, "finding")),
                        "Trained 10,000 of 10,000 steps, loss 2.5000.");
    json_decref(o);
    assert_int_equal(plot_draw(dir, PLOT_LOSS, PLOT_SVG, NULL, &err), MUP_OK);
    assert_int_equal(plot_draw(dir, PLOT_INCIDENTS, PLOT_SVG, NULL, &err),
                     MUP_USAGE);
    assert_int_equal(html_write(dir, &err), MUP_OK);
}

static void a_folder_that_is_no_run_is_refused(void **state)
{
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(run_report_write(dir, dir, &err), MUP_CORRUPT);
}

#define TEST(F) cmocka_unit_test_setup_teardown(F, make, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_journal_has_no_spans),
        TEST(a_job_waits_starts_and_trains),
        TEST(an_incident_interrupts_training),
        TEST(a_requeued_job_waits_inside_its_incident),
        TEST(nothing_is_between_an_end_and_the_next_submission),
        TEST(a_supervisor_that_died_is_followed_by_the_next),
        TEST(a_report_has_incidents_and_what_the_time_went_into),
        TEST(the_data_of_its_pictures_are_plain_columns),
        TEST(pictures_and_page_are_made),
        TEST(texts_of_the_journal_execute_nothing),
        TEST(a_run_without_incidents_has_a_strip_alone),
        TEST(a_run_on_this_machine_has_its_loss),
        TEST(a_folder_that_is_no_run_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
