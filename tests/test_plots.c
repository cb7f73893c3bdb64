/* Pictures and the page: scripts, the gnuplot process, and what happens where
 * it is missing or fails.  Pixels are not compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "plots/plot.h"
#include "sweep/report.h"
#include "tests/study_fixture.inc.h"

static const int kinds[] = { PLOT_LR, PLOT_COORD, PLOT_LOSS, PLOT_LOAD };

static struct study begin(void)
{
    struct study s = { .slope = { -0.9, 0 },
                       .seeds = 3,
                       .finished = -1,
                       .coord = 1,
                       .target = 1 };
    struct report r;
    struct mup_error err;

    study_begin(&s);
    study_make(&s);
    if (report_write(s.dir, &r, &err))
        fail_msg("%s", err.text);
    return s;
}

static char *text_of(const char *dir, const char *name)
{
    char path[512], *text;
    size_t bytes;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return file_read(path, (size_t)1 << 26, &text, &bytes, NULL) ? NULL : text;
}

static int exists(const char *dir, const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* Files in plots/ that a failed or finished drawing must not leave. */
static int leftovers(const char *dir)
{
    char command[512];

    snprintf(command, sizeof(command),
             "test -z \"$(find '%s/plots' -name '.*svg*' -o -name '.*png*' -o "
             "-name '*.tmp*')\"",
             dir);
    return system(command) != 0;
}

static void draw(const char *dir, int kind, int terminal, char **text)
{
    struct mup_error err = { 0 };

    if (plot_draw(dir, kind, terminal, text, &err))
        fail_msg("%s", err.text);
}

static void every_picture_is_drawn_with_script_and_data_beside_it(void **state)
{
    struct study s = begin();

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *kind = plot_kind_name(kinds[i]);
        char name[64], *svg, *png;

        draw(s.dir, kinds[i], PLOT_SVG, NULL);
        draw(s.dir, kinds[i], PLOT_PNG, NULL);
        snprintf(name, sizeof(name), "plots/%s.svg", kind);
        svg = text_of(s.dir, name);
        assert_non_null(strstr(svg, "<svg"));
        assert_non_null(strstr(svg, "</svg>"));
        snprintf(name, sizeof(name), "plots/%s.png", kind);
        png = text_of(s.dir, name);
        assert_memory_equal(png, "\x89PNG\r\n", 6);
        snprintf(name, sizeof(name), "plots/%s.gp", kind);
        assert_true(exists(s.dir, name));
        snprintf(name, sizeof(name), "plots/%s.dat", kind);
        assert_true(exists(s.dir, name));
        free(svg);
        free(png);
    }
    assert_false(leftovers(s.dir));
    study_end(&s);
}

static void the_script_beside_a_picture_draws_it_again(void **state)
{
    struct study s = begin();
    char command[600];

    (void)state;
    draw(s.dir, PLOT_LR, PLOT_SVG, NULL);
    snprintf(command, sizeof(command),
             "cd '%s/plots' && rm lr.svg && gnuplot lr.gp && test -s lr.svg && "
             "gnuplot -e \"term = 'png'\" lr.gp && test -s lr.png",
             s.dir);
    assert_int_equal(system(command), 0);
    study_end(&s);
}

static void the_terminal_gets_plain_text(void **state)
{
    struct study s = begin();

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *text = NULL;

        draw(s.dir, kinds[i], PLOT_DUMB, &text);
        assert_non_null(text);
        assert_true(strlen(text) > 500);
        assert_null(strchr(text, '\033'));
        if (kinds[i] == PLOT_LR) {
            assert_non_null(strstr(text, "muP  stable"));
            assert_non_null(strstr(text, "2^-5"));
        }
        free(text);
    }
    study_end(&s);
}

static void the_script_names_the_verdict_of_each_panel(void **state)
{
    struct study s = begin();
    struct mup_error err;
    char *script;

    (void)state;
    assert_int_equal(plot_script(s.dir, PLOT_LR, PLOT_SVG, &script, &err),
                     MUP_OK);
    assert_non_null(strstr(script, "set title 'SP   drifts: -0."));
    assert_non_null(strstr(script, "set title 'muP   stable: "));
    assert_non_null(strstr(script, "title 'width 256'"));
    free(script);
    assert_int_equal(plot_script(s.dir, PLOT_COORD, PLOT_SVG, &script, &err),
                     MUP_OK);
    assert_non_null(strstr(script, "slope +0.50 at step 2   FAIL"));
    assert_non_null(strstr(script, "slope +0.01 at step 2   ok"));
    free(script);
    study_end(&s);
}

/* Text of a result file is data: gnuplot would run it in double quotes. */
static void hostile_text_is_drawn_not_executed(void **state)
{
    struct study s = begin();
    json_t *o;
    char path[512], evil[600], *script, *html;
    struct mup_error err;

    (void)state;
    snprintf(path, sizeof(path), "%s/report.json", s.dir);
    o = json_load_file(path, 0, NULL);
    snprintf(evil, sizeof(evil),
             "'.system('touch %s/owned').' `touch %s/owned` \" \\\" \n "
             "<script>alert(1)</script>",
             s.dir, s.dir);
    json_object_set_new(json_object_get(o, "study"), "metric",
                        json_string(evil));
    json_object_set_new(json_object_get(o, "study"), "name", json_string(evil));
    json_object_set_new(o, "finding", json_string(evil));
    for (size_t i = 0; i < 2; i++)
        json_object_set_new(
            json_array_get(json_object_get(o, "parametrizations"), i),
            "caption", json_string(evil));
    json_object_set_new(json_array_get(json_object_get(o, "coord_panels"), 0),
                        "name", json_string(evil));
    assert_int_equal(json_dump_file(o, path, 0), 0);
    json_decref(o);
    for (int kind = PLOT_LR; kind <= PLOT_LOAD; kind++)
        draw(s.dir, kind, PLOT_SVG, NULL);
    assert_int_equal(plot_script(s.dir, PLOT_LR, PLOT_SVG, &script, &err),
                     MUP_OK);
    assert_non_null(strstr(script, "’.system(’touch"));
    free(script);
    assert_int_equal(html_write(s.dir, &err), MUP_OK);
    html = text_of(s.dir, "report.html");
    assert_null(strstr(html, "<script>"));
    assert_non_null(strstr(html, "&lt;script&gt;"));
    free(html);
    assert_false(exists(s.dir, "owned"));
    study_end(&s);
}

/* The first check lacks the fifth tensor of the second. */
static void a_panel_shows_the_step_that_decides(void **state)
{
    struct study s = begin();
    struct mup_error err = { 0 };
    struct report r;
    char path[512], *script;
    json_t *o;

    (void)state;
    snprintf(path, sizeof(path), "%s/coord-mup/coord.json", s.dir);
    o = json_load_file(path, 0, NULL);
    json_object_set_new(o, "verdict", json_string("FAIL"));
    json_array_append_new(
        json_object_get(o, "rows"),
        json_pack("{s:s, s:s, s:i, s:n, s:f, s:s, s:[n,f,f,f]}", "name", "qk",
                  "quantity", "attention_logits", "step", 3, "slope",
                  "expected", 0.0, "verdict", "FAIL", "mean", 1.0, 2.0, 3.0));
    assert_int_equal(json_dump_file(o, path, 0), 0);
    json_decref(o);
    assert_int_equal(report_write(s.dir, &r, &err), MUP_OK);
    draw(s.dir, PLOT_COORD, PLOT_SVG, NULL);
    assert_int_equal(plot_script(s.dir, PLOT_COORD, PLOT_SVG, &script, &err),
                     MUP_OK);
    assert_non_null(strstr(script, "slope +0.60 at step 2   FAIL"));
    assert_non_null(strstr(script, "no slope at step 3   FAIL"));
    assert_non_null(strstr(script, "set multiplot next"));
    assert_non_null(strstr(script, "lw 3.4"));
    assert_non_null(strstr(script, "keyentry")); /* of all steps */
    assert_non_null(strstr(script, "title 'step 6'"));
    free(script);
    study_end(&s);
}

/* The legend stands in the last panel, be it empty. */
static void a_missing_last_panel_leaves_the_legend(void **state)
{
    struct study s = begin();
    struct mup_error err = { 0 };
    char path[512], *script, *svg;
    json_t *o, *last;
    size_t n;

    (void)state;
    snprintf(path, sizeof(path), "%s/report.json", s.dir);
    o = json_load_file(path, 0, NULL);
    n = json_array_size(json_object_get(o, "coord_panels"));
    last = json_array_get(json_object_get(o, "coord_panels"), n - 1);
    json_array_clear(json_object_get(last, "steps"));
    assert_int_equal(json_dump_file(o, path, 0), 0);
    json_decref(o);
    assert_int_equal(plot_script(s.dir, PLOT_COORD, PLOT_SVG, &script, &err),
                     MUP_OK);
    assert_non_null(strstr(script, "plot NaN notitle"));
    free(script);
    draw(s.dir, PLOT_COORD, PLOT_SVG, NULL);
    draw(s.dir, PLOT_COORD, PLOT_PNG, NULL);
    svg = text_of(s.dir, "plots/coord.svg");
    assert_non_null(strstr(svg, "step 6"));
    free(svg);
    study_end(&s);
}

static void a_folder_name_with_quotes_and_spaces_works(void **state)
{
    struct study s = begin();
    char odd[300], *text = NULL;

    (void)state;
    snprintf(odd, sizeof(odd), "%s it's a $(name) %%s", s.dir);
    assert_int_equal(rename(s.dir, odd), 0);
    draw(odd, PLOT_LR, PLOT_SVG, NULL);
    draw(odd, PLOT_LR, PLOT_DUMB, &text);
    assert_true(exists(odd, "plots/lr.svg"));
    free(text);
    assert_int_equal(rename(odd, s.dir), 0);
    study_end(&s);
}

static void without_gnuplot_the_page_appears_without_pictures(void **state)
{
    struct study s = begin();
    struct mup_error err = { 0 };
    char *path = strdup(getenv("PATH")), *html, *text = NULL;

    (void)state;
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(plot_draw(s.dir, PLOT_LR, PLOT_SVG, NULL, &err),
                     MUP_SYSTEM);
    assert_non_null(strstr(err.text, "apt-get install gnuplot"));
    assert_int_equal(plot_draw(s.dir, PLOT_LR, PLOT_DUMB, &text, &err),
                     MUP_SYSTEM);
    assert_null(text);
    assert_int_equal(html_write(s.dir, &err), MUP_OK);
    setenv("PATH", path, 1);
    free(path);
    html = text_of(s.dir, "report.html");
    assert_non_null(strstr(html, "No picture"));
    assert_non_null(strstr(html, "The best learning rate stays"));
    free(html);
    assert_false(leftovers(s.dir));
    study_end(&s);
}

static void a_failed_drawing_leaves_the_old_picture(void **state)
{
    struct study s = begin();
    struct mup_error err = { 0 };
    char *before, *after, path[512];

    (void)state;
    draw(s.dir, PLOT_LR, PLOT_SVG, NULL);
    before = text_of(s.dir, "plots/lr.svg");
    snprintf(path, sizeof(path), "%s/plots/fit.dat", s.dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/plots/lr.dat", s.dir);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/plots/optimum.dat", s.dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(plot_draw(s.dir, PLOT_LR, PLOT_SVG, NULL, &err),
                     MUP_SYSTEM);
    assert_non_null(strstr(err.text, "lr.gp"));
    after = text_of(s.dir, "plots/lr.svg");
    assert_string_equal(before, after);
    free(before);
    free(after);
    assert_false(leftovers(s.dir));
    study_end(&s);
}

static void the_page_stands_alone_and_begins_with_the_finding(void **state)
{
    struct study s = begin();
    struct mup_error err;
    char *html, *finding, *table, *reproduce;

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        draw(s.dir, kinds[i], PLOT_SVG, NULL);
    assert_int_equal(html_write(s.dir, &err), MUP_OK);
    html = text_of(s.dir, "report.html");
    assert_null(strstr(html, "src="));
    assert_null(strstr(html, "<link"));
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, ">nan"));
    finding = strstr(html, "The best learning rate stays");
    table = strstr(html, "<table>");
    reproduce = strstr(html, "How to reproduce");
    assert_true(finding && table && reproduce);
    assert_true(finding < table && table < reproduce);
    assert_non_null(strstr(html,
                           "worst <code>logits</code> with slope +0.60 at "
                           "step 2"));
    assert_non_null(strstr(html, "planted &amp; &lt;plain&gt;"));
    assert_non_null(strstr(html, "a &lt;fast&gt; &amp; small one"));
    assert_non_null(strstr(html, "train.corpus.packages.1.name"));
    assert_non_null(strstr(html, "id=\"lr-")); /* ids differ by picture */
    assert_non_null(strstr(html, "id=\"coord-"));
    assert_non_null(strstr(html, "lies below that of every proxy"));
    free(html);
    study_end(&s);
}

static void absent_data_is_a_sentence_with_the_remedy(void **state)
{
    struct study s = { .slope = { 0, 0 }, .seeds = 1, .finished = 0 };
    struct mup_error err = { 0 };
    struct report r;
    char *text = NULL;
    int kind = -1;

    (void)state;
    study_begin(&s);
    assert_int_equal(plot_draw(s.dir, PLOT_LR, PLOT_SVG, &text, &err),
                     MUP_SYSTEM);
    assert_non_null(strstr(err.text, "mutransfer report"));
    study_text(s.dir, "report.json", "[1]");
    assert_int_equal(html_write(s.dir, &err), MUP_CORRUPT);
    study_make(&s);
    assert_int_equal(report_write(s.dir, &r, &err), MUP_OK);
    assert_int_equal(plot_draw(s.dir, PLOT_COORD, PLOT_SVG, &text, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "coord-check"));
    assert_int_equal(plot_kind_parse("lines", &kind, &err), MUP_USAGE);
    assert_int_equal(kind, -1);
    assert_int_equal(plot_kind_parse("load", &kind, &err), MUP_OK);
    assert_int_equal(kind, PLOT_LOAD);
    assert_int_equal(html_write(s.dir, &err), MUP_OK); /* an empty study too */
    study_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_picture_is_drawn_with_script_and_data_beside_it),
        cmocka_unit_test(the_script_beside_a_picture_draws_it_again),
        cmocka_unit_test(the_terminal_gets_plain_text),
        cmocka_unit_test(the_script_names_the_verdict_of_each_panel),
        cmocka_unit_test(hostile_text_is_drawn_not_executed),
        cmocka_unit_test(a_panel_shows_the_step_that_decides),
        cmocka_unit_test(a_missing_last_panel_leaves_the_legend),
        cmocka_unit_test(a_folder_name_with_quotes_and_spaces_works),
        cmocka_unit_test(without_gnuplot_the_page_appears_without_pictures),
        cmocka_unit_test(a_failed_drawing_leaves_the_old_picture),
        cmocka_unit_test(the_page_stands_alone_and_begins_with_the_finding),
        cmocka_unit_test(absent_data_is_a_sentence_with_the_remedy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
