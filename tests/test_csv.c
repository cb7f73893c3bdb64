/* The reader of tables: what it accepts, and a sentence with line and remedy
 * for everything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sweep/csv.h"
#include "tests/close.h"

static struct csv table(const char *text)
{
    struct mup_error err = { 0 };
    struct csv t;

    if (csv_open_text(text, strlen(text), "t.csv", &t, &err))
        fail_msg("%s", err.text);
    return t;
}

static int column(const struct csv *t, const char *name)
{
    struct mup_error err = { 0 };
    int c;

    if (csv_column(t, name, 1, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

static void assert_cell(const struct csv *t, int64_t row, const char *name,
                        const char *expected)
{
    assert_string_equal(csv_text(t, row, column(t, name)), expected);
}

/* ---- what it accepts ------------------------------------------------------
 */

static void columns_are_found_by_name_in_any_order_and_case(void **state)
{
    struct csv t = table("loss,Width, LR \n2.5,64,1e-3\n2.25,128,2^-9\n");
    int64_t width;
    double lr, loss;

    (void)state;
    assert_int_equal(t.rows, 2);
    assert_int_equal(t.columns, 3);
    assert_int_equal(csv_int(&t, 1, column(&t, "width"), &width, NULL), MUP_OK);
    assert_int_equal(csv_real(&t, 1, column(&t, "lr"), &lr, NULL), MUP_OK);
    assert_int_equal(csv_real(&t, 0, column(&t, "loss"), &loss, NULL), MUP_OK);
    assert_int_equal(width, 128);
    assert_close(lr, 1.0 / 512, 0);
    assert_close(loss, 2.5, 0);
    csv_close(&t);
}

static void a_column_that_may_be_absent_is_minus_one(void **state)
{
    struct csv t = table("a\n1\n");
    int c = 7;

    (void)state;
    assert_int_equal(csv_column(&t, "seed", 0, &c, NULL), MUP_OK);
    assert_int_equal(c, -1);
    csv_close(&t);
}

static void quotes_hold_commas_breaks_and_quotes(void **state)
{
    struct csv t = table("name,\"a \"\"b\"\"\"\n"
                         "\"x, y\",1\n"
                         "\"two\nlines\" ,\"\"\n"
                         " \" z \"\t, 3\n");

    (void)state;
    assert_int_equal(t.rows, 3);
    assert_cell(&t, 0, "name", "x, y");
    assert_cell(&t, 1, "name", "two\nlines");
    assert_cell(&t, 1, "a \"b\"", "");
    assert_cell(&t, 2, "name", "z"); /* blanks around do not count */
    assert_cell(&t, 2, "a \"b\"", "3");
    assert_int_equal(csv_line(&t, 1), 3);
    assert_int_equal(csv_line(&t, 2), 5); /* a row before it has two lines */
    csv_close(&t);
}

static void all_line_ends_and_a_byte_order_mark_are_read(void **state)
{
    static const char *const texts[] = {
        "a,b\n1,2\n3,4\n",
        "a,b\n1,2\n3,4",
        "a,b\r\n1,2\r\n3,4\r\n",
        "\xEF\xBB\xBF"
        "a,b\r\n1,2\r\n3,4",
        "a,b\r1,2\r3,4\r",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct csv t = table(texts[i]);

        assert_int_equal(t.rows, 2);
        assert_cell(&t, 0, "a", "1");
        assert_cell(&t, 1, "b", "4");
        assert_int_equal(csv_line(&t, 1), 3);
        csv_close(&t);
    }
}

static void comments_and_empty_lines_are_skipped_but_counted(void **state)
{
    struct csv t = table("# made by hand\n\n  # \"indented\na,b\n \t\n"
                         "1,2\n,\n# end, of it\n3,\n\"#x\",4\n#");

    (void)state;
    assert_int_equal(t.rows, 3);
    assert_cell(&t, 1, "b", "");
    assert_cell(&t, 2, "a", "#x");
    assert_int_equal(csv_line(&t, 0), 6);
    assert_int_equal(csv_line(&t, 1), 9);
    csv_close(&t);
}

static void columns_without_a_name_are_ignored(void **state)
{
    struct csv t = table(",a,\n0,1,x\n"); /* the index of a data frame */

    (void)state;
    assert_cell(&t, 0, "a", "1");
    csv_close(&t);
}

static void missing_values_are_nan_where_that_is_allowed(void **state)
{
    static const char *const missing[] = { "",     "nan",  "NaN",      "-nan",
                                           "inf",  "-inf", "Infinity", "+INF",
                                           "\"\"", " nan " };
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(missing) / sizeof(*missing); i++) {
        struct mup_error err;
        struct csv t;
        double v = 0;

        snprintf(text, sizeof(text), "a,b\n%s,1\n", missing[i]);
        t = table(text);
        assert_int_equal(csv_real_or_nan(&t, 0, 0, &v, &err), MUP_OK);
        assert_true(isnan(v));
        v = 5;
        assert_int_equal(csv_real(&t, 0, 0, &v, &err), MUP_USAGE);
        assert_int_equal(csv_real_or_nan(&t, 0, 1, &v, &err), MUP_OK);
        assert_close(v, 1, 0);
        csv_close(&t);
    }
}

static void the_hash_is_that_of_the_bytes(void **state)
{
    struct csv a = table("a\n1\n"), b = table("a\n1\n"), c = table("a\n2\n");

    (void)state;
    assert_int_equal(strlen(a.hash), 32);
    assert_string_equal(a.hash, b.hash);
    assert_string_not_equal(a.hash, c.hash);
    csv_close(&a);
    csv_close(&b);
    csv_close(&c);
}

/* ---- what it refuses ------------------------------------------------------
 */

static void assert_refused(const char *text, size_t bytes, const char *sentence)
{
    struct csv t = { .columns = 99 };
    struct mup_error err = { 0 };

    if (csv_open_text(text, bytes, "t.csv", &t, &err) != MUP_USAGE)
        fail_msg("'%s' is accepted", text);
    assert_string_equal(err.text, sentence);
    assert_int_equal(t.columns, 99); /* untouched */
}

static void what_is_no_table_is_refused_with_line_and_remedy(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        { "", "t.csv:1: there is no header; the first line must name the "
              "columns" },
        { "# only\n\n", "t.csv:3: there is no header; the first line must name "
                        "the columns" },
        { "64,0.1\n128,0.1\n",
          "t.csv:1: numbers where the header should be; put a line before them "
          "that names the columns (without '#')" },
        { "a;b\n1;2\n", "t.csv:1: columns are separated by semicolons; "
                        "separate them by commas" },
        { "a\tb\n1\t2\n",
          "t.csv:1: columns are separated by tabs; separate them by commas" },
        { "lr,x,LR\n", "t.csv:1: column 'LR' appears twice (1 and 3); rename "
                       "or remove one" },
        { "a,b\n\n1\n", "t.csv:3: 1 cells, but the header has 2; add what is "
                        "missing, or quote a cell that holds a comma" },
        { "a,b\n1,2,3\n", "t.csv:2: 3 cells, but the header has 2; add what is "
                          "missing, or quote a cell that holds a comma" },
        { "a,b\n1,2\n1,\"2\n3,4\n", "t.csv:3: a cell in quotes does not end; "
                                    "add the closing '\"'" },
        { "a,b\n1,2\"\n", "t.csv:2: a quote amid a cell; put the whole cell in "
                          "quotes and double those inside it" },
        { "a,b\n1,\"2\"x\n", "t.csv:2: a quote amid a cell; put the whole cell "
                             "in quotes and double those inside it" },
        { "a,b\n1,\xff\n", "t.csv:2: the text is not UTF-8; save the table as "
                           "UTF-8 text" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].sentence);
    assert_refused("a\n1\0", 4,
                   "t.csv:1: the file is no text (byte 4 is zero); save the "
                   "table as CSV in UTF-8");
}

static void assert_no_column(const char *header, const char *name,
                             const char *sentence)
{
    struct csv t = table(header);
    struct mup_error err = { 0 };
    int c = 5;

    assert_int_equal(csv_column(&t, name, 1, &c, &err), MUP_USAGE);
    assert_string_equal(err.text, sentence);
    assert_int_equal(c, 5);
    csv_close(&t);
}

static void a_missing_column_names_the_nearest(void **state)
{
    (void)state;
    assert_no_column("width,learning_rate,loss\n", "lr",
                     "t.csv:1: there is no column 'lr'; if it is "
                     "'learning_rate', rename that one");
    assert_no_column("#\nwidht,lr,loss\n", "width",
                     "t.csv:2: there is no column 'width'; if it is 'widht', "
                     "rename that one");
    assert_no_column("width,lr,Val_Loss\n", "loss",
                     "t.csv:1: there is no column 'loss'; if it is 'Val_Loss', "
                     "rename that one");
    assert_no_column("d_model,eta,,final\n", "width",
                     "t.csv:1: there is no column 'width', only 'd_model', "
                     "'eta', 'final'; add or rename one");
}

static void a_cell_that_is_no_number_is_named(void **state)
{
    struct csv t = table("lr,seed\nabc,1.5\n,x\n1e999,9e99\n");
    struct mup_error err;
    int64_t n = 3;
    double v = 3;

    (void)state;
    assert_int_equal(csv_real(&t, 0, 0, &v, &err), MUP_USAGE);
    assert_string_equal(err.text, "t.csv:2: lr: 'abc' is not a number; numbers "
                                  "look like 0.001, 1e-3 or 2^-10");
    assert_int_equal(csv_real_or_nan(&t, 0, 0, &v, &err), MUP_USAGE);
    assert_int_equal(csv_real(&t, 1, 0, &v, &err), MUP_USAGE);
    assert_string_equal(err.text, "t.csv:3: lr is empty; write a number");
    assert_int_equal(csv_real(&t, 2, 0, &v, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "t.csv:4: lr: '1e999' is too large"));
    assert_int_equal(csv_int(&t, 0, 1, &n, &err), MUP_USAGE);
    assert_string_equal(err.text,
                        "t.csv:2: seed: '1.5' is not a whole number; whole "
                        "numbers look like 1 or 2000");
    assert_int_equal(csv_int(&t, 2, 1, &n, &err), MUP_USAGE);
    assert_close(v, 3, 0);
    assert_int_equal(n, 3);
    csv_close(&t);
}

/* ---- limits ---------------------------------------------------------------
 */

/* n times text behind head; takes: caller frees. */
static char *repeat(const char *head, const char *text, size_t n)
{
    size_t h = strlen(head), b = strlen(text);
    char *out = malloc(h + n * b + 1);

    assert_non_null(out);
    memcpy(out, head, h);
    for (size_t i = 0; i < n; i++)
        memcpy(out + h + i * b, text, b);
    out[h + n * b] = '\0';
    return out;
}

static void too_many_rows_columns_and_cells_are_refused(void **state)
{
    char *rows = repeat("a\n", "1\n", CSV_MAX_ROWS + 1);
    char *columns = repeat("a", ",", CSV_MAX_COLUMNS);
    char *line = repeat("1", ",", CSV_MAX_COLUMNS - 1);
    char *cells;
    struct csv t;

    (void)state;
    assert_refused(rows, strlen(rows),
                   "t.csv:1000002: more than 1000000 rows; leave out some");
    rows[2 * (CSV_MAX_ROWS + 1)] = '\0';
    t = table(rows);
    assert_int_equal(t.rows, CSV_MAX_ROWS);
    assert_int_equal(csv_line(&t, CSV_MAX_ROWS - 1), CSV_MAX_ROWS + 1);
    csv_close(&t);
    assert_refused(columns, strlen(columns),
                   "t.csv:1: more than 1024 columns; leave out those that are "
                   "not needed");
    /* The header stands in the first of the lines. */
    line = realloc(line, strlen(line) + 2);
    assert_non_null(line);
    memcpy(line + strlen(line), "\n", 2);
    columns[CSV_MAX_COLUMNS] = '\n';
    columns = realloc(columns, CSV_MAX_COLUMNS + 2);
    assert_non_null(columns);
    columns[CSV_MAX_COLUMNS + 1] = '\0';
    cells = repeat(columns, line, CSV_MAX_CELLS / CSV_MAX_COLUMNS);
    assert_refused(cells, strlen(cells),
                   "t.csv:16385: more than 16777216 cells; leave out rows or "
                   "columns that are not needed");
    free(rows);
    free(columns);
    free(line);
    free(cells);
}

static void a_file_that_is_too_large_or_absent_is_refused(void **state)
{
    char path[] = "/tmp/mutransfer-csv-XXXXXX";
    int fd = mkstemp(path);
    struct mup_error err = { 0 };
    struct csv t;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)CSV_MAX_BYTES + 1), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(csv_open(path, &t, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "67108864 bytes"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(csv_open(path, &t, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "No such file"));
}

static void what_is_written_is_read_back(void **state)
{
    static const char *const cells[] = {
        "plain",    "a,b", "\"q\" uo\"te", "two\nlines", "cr\r",
        "#comment", "",    "caf\xC3\xA9"
    };
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    struct csv t;

    (void)state;
    assert_non_null(out);
    fputs("name,row\n", out);
    for (int i = 0; i < 8; i++) {
        csv_put_text(out, cells[i]);
        fprintf(out, ",%d\n", i);
    }
    assert_int_equal(fclose(out), 0);
    t = table(text);
    assert_int_equal(t.rows, 8);
    for (int i = 0; i < 8; i++)
        assert_cell(&t, i, "name", cells[i]);
    csv_close(&t);
    free(text);
}

static void names_hold_no_control_character(void **state)
{
    static const char *const bad[] = { "a\nb", "\x1b[2J", "\x7f",
                                       "\xC2\x9B"
                                       "0m" };

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_string_equal(csv_bad_name(bad[i]),
                            "a line break or another control character");
    assert_string_equal(csv_bad_name("a, \"b\" \xC2\xA0 caf\xC3\xA9"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_found_by_name_in_any_order_and_case),
        cmocka_unit_test(a_column_that_may_be_absent_is_minus_one),
        cmocka_unit_test(quotes_hold_commas_breaks_and_quotes),
        cmocka_unit_test(all_line_ends_and_a_byte_order_mark_are_read),
        cmocka_unit_test(comments_and_empty_lines_are_skipped_but_counted),
        cmocka_unit_test(columns_without_a_name_are_ignored),
        cmocka_unit_test(missing_values_are_nan_where_that_is_allowed),
        cmocka_unit_test(the_hash_is_that_of_the_bytes),
        cmocka_unit_test(what_is_no_table_is_refused_with_line_and_remedy),
        cmocka_unit_test(a_missing_column_names_the_nearest),
        cmocka_unit_test(a_cell_that_is_no_number_is_named),
        cmocka_unit_test(too_many_rows_columns_and_cells_are_refused),
        cmocka_unit_test(a_file_that_is_too_large_or_absent_is_refused),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(names_hold_no_control_character),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
