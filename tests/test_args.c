/* Command lines, paths, numbers with units. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "launcher/args.h"
#include "launcher/paths.h"
#include "launcher/units.h"
#include "launcher/verbs.h"

static const struct option options[] = {
    { "output", 'o', "DIR", "where" },
    { "jobs", 'j', "N", "how many" },
    { "widths", 0, "LIST", "which" },
    { "dry-run", 'n', NULL, "not really" },
    { 0 },
};

static const struct verb verb = {
    .name = "walk",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 2,
    .flags = VERB_CONFIG,
    .options = options,
};

/* Parse words (NULL-terminated); args_parse takes main's argv but writes to
 * no word of it. */
static int parse(struct args *args, struct mup_error *err,
                 const char *const *words)
{
    int n = 0;

    while (words[n])
        n++;
    *err = (struct mup_error){ 0 };
    return args_parse(&verb, n, (char **)words, args, err);
}

#define PARSE(args, err, ...)                                                  \
    parse(args, err, (const char *const[]){ __VA_ARGS__, NULL })

static void options_take_their_argument_in_every_form(void **state)
{
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "-o", "x", "f"), MUP_OK);
    assert_string_equal(args_text(&a, "output"), "x");
    args_clear(&a);
    assert_int_equal(PARSE(&a, &err, "-ox", "f"), MUP_OK);
    assert_string_equal(args_text(&a, "output"), "x");
    args_clear(&a);
    assert_int_equal(PARSE(&a, &err, "f", "--output=x"), MUP_OK);
    assert_string_equal(args_text(&a, "output"), "x");
    args_clear(&a);
    assert_int_equal(PARSE(&a, &err, "--output", "x", "f"), MUP_OK);
    assert_string_equal(args_text(&a, "output"), "x");
    assert_null(args_text(&a, "jobs"));
    assert_int_equal(a.n_operands, 1);
    assert_string_equal(a.operands[0], "f");
    args_clear(&a);
}

static void flags_can_be_joined(void **state)
{
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "-qnj3", "f"), MUP_OK);
    assert_true(a.quiet);
    assert_false(a.verbose);
    assert_true(args_given(&a, "dry-run"));
    assert_string_equal(args_text(&a, "jobs"), "3");
    args_clear(&a);
}

static void overrides_keep_their_order(void **state)
{
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(
        PARSE(&a, &err, "--train.lr=2^-6", "f", "--model.width=64"), MUP_OK);
    assert_int_equal(a.n_overrides, 2);
    assert_string_equal(a.overrides[0], "train.lr=2^-6");
    assert_string_equal(a.overrides[1], "model.width=64");
    args_clear(&a);
}

static void two_dashes_end_the_options(void **state)
{
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "--", "-o", "--x.y=z"), MUP_OK);
    assert_int_equal(a.n_operands, 2);
    assert_int_equal(a.n_overrides, 0);
    assert_string_equal(a.operands[0], "-o");
    args_clear(&a);
}

static void a_lone_dash_is_an_operand(void **state)
{
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "-"), MUP_OK);
    assert_string_equal(a.operands[0], "-");
    args_clear(&a);
}

static void bad_lines_are_explained_and_leave_the_result_alone(void **state)
{
    static const struct {
        const char *words[4];
        const char *says;
    } bad[] = {
        { { "f", "--ouput=x" }, "did you mean '--output'" },
        { { "f", "--qiuet" }, "did you mean '--quiet'" },
        { { "f", "-x" }, "'-x'" },
        { { "f", "-o" }, "needs an argument" },
        { { "f", "--output=" }, "empty argument" },
        { { "f", "--dry-run=1" }, "takes no argument" },
        { { "f", "--train.lr" }, "write --train.lr=VALUE" },
        { { "f", "g", "h" }, "'h' is one operand too many" },
        { { "-n" }, "usage: mutransfer walk FILE" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct args a = { .n_operands = 77 };
        struct mup_error err;

        assert_int_equal(parse(&a, &err, bad[i].words), MUP_USAGE);
        assert_int_equal(a.n_operands, 77);
        if (!strstr(err.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", err.text, bad[i].says);
    }
}

static void help_excuses_missing_operands(void **state)
{
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "-h"), MUP_OK);
    assert_true(a.help);
    args_clear(&a);
}

static void numbers_are_checked_against_their_range(void **state)
{
    int64_t n = -1, list[3];
    struct mup_error err;
    struct args a;
    int count;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "f", "-j", "2^3", "--widths", "32,2^6"),
                     MUP_OK);
    assert_int_equal(args_int(&a, "jobs", 1, 8, &n, &err), MUP_OK);
    assert_int_equal(n, 8);
    assert_int_equal(args_int(&a, "jobs", 1, 7, &n, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "--jobs: 8 is outside [1,7]"));
    assert_int_equal(args_int_list(&a, "widths", 3, list, &count, &err),
                     MUP_OK);
    assert_int_equal(count, 2);
    assert_int_equal(list[1], 64);
    assert_int_equal(args_int_list(&a, "widths", 1, list, &count, &err),
                     MUP_USAGE);
    args_clear(&a);
    assert_int_equal(PARSE(&a, &err, "f", "--widths", "32,,64"), MUP_OK);
    assert_int_equal(args_int_list(&a, "widths", 3, list, &count, &err),
                     MUP_USAGE);
    args_clear(&a);
}

static void an_absent_number_leaves_the_default(void **state)
{
    int64_t n = 42;
    struct mup_error err;
    struct args a;

    (void)state;
    assert_int_equal(PARSE(&a, &err, "f"), MUP_OK);
    assert_int_equal(args_int(&a, "jobs", 1, 8, &n, &err), MUP_OK);
    assert_int_equal(n, 42);
    args_clear(&a);
}

static void edit_distance_counts_single_slips(void **state)
{
    (void)state;
    assert_int_equal(edit_distance("train", "train"), 0);
    assert_int_equal(edit_distance("trian", "train"), 1);
    assert_int_equal(edit_distance("tran", "train"), 1);
    assert_int_equal(edit_distance("traain", "train"), 1);
    assert_int_equal(edit_distance("brain", "train"), 1);
    assert_int_equal(edit_distance("", "train"), 5);
    assert_int_equal(edit_distance("train", ""), 5);
    assert_int_equal(edit_distance("sweep", "train"), 5);
}

/* The dispatch table: what the parser and the help rely on. */
static void every_verb_is_complete(void **state)
{
    (void)state;
    for (int i = 0; verbs[i]; i++) {
        int n = 0;

        assert_ptr_equal(verb_find(verbs[i]->name), verbs[i]);
        assert_non_null(verbs[i]->summary);
        assert_non_null(verbs[i]->detail);
        assert_non_null(verbs[i]->run);
        assert_true(verbs[i]->min_operands <= verbs[i]->max_operands);
        while (verbs[i]->options && verbs[i]->options[n].name)
            n++;
        assert_true(n <= ARGS_MAX_OPTIONS);
    }
    assert_null(verb_find("xyzzy"));
}

static void durations_and_sizes_carry_their_unit(void **state)
{
    (void)state;
    assert_string_equal(units_seconds(0.44).text, "0.4 s");
    assert_string_equal(units_seconds(200).text, "3m20s");
    assert_string_equal(units_seconds(59.7).text, "1m00s");
    assert_string_equal(units_seconds(7500).text, "2h05m");
    assert_string_equal(units_seconds(-1).text, "?");
    assert_string_equal(units_bytes(512).text, "512 B");
    assert_string_equal(units_bytes(1536).text, "1.5 KiB");
    assert_string_equal(units_si(20.14e12, "FLOP").text, "20.1 TFLOP");
    assert_string_equal(units_si(999.9, "").text, "1.0 k");
    assert_string_equal(units_count(409600).text, "409,600");
    assert_string_equal(units_count(-1234).text, "-1,234");
    assert_string_equal(units_count(7).text, "7");
    assert_string_equal(units_log2(0.015625).text, "2^-6");
    assert_string_equal(units_log2(0.02).text, "2^-5.64");
}

static void a_run_folder_is_named_after_its_file(void **state)
{
    struct mup_error err;
    char out[32];

    (void)state;
    assert_int_equal(
        path_default_dir("configs/tiny.yaml", out, sizeof(out), &err), MUP_OK);
    assert_string_equal(out, "runs/tiny");
    assert_int_equal(path_default_dir("a.b.yaml", out, sizeof(out), &err),
                     MUP_OK);
    assert_string_equal(out, "runs/a.b");
    assert_int_equal(
        path_default_dir("a-name-that-is-far-too-long-for-this.yaml", out,
                         sizeof(out), &err),
        MUP_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_take_their_argument_in_every_form),
        cmocka_unit_test(flags_can_be_joined),
        cmocka_unit_test(overrides_keep_their_order),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(a_lone_dash_is_an_operand),
        cmocka_unit_test(bad_lines_are_explained_and_leave_the_result_alone),
        cmocka_unit_test(help_excuses_missing_operands),
        cmocka_unit_test(numbers_are_checked_against_their_range),
        cmocka_unit_test(an_absent_number_leaves_the_default),
        cmocka_unit_test(edit_distance_counts_single_slips),
        cmocka_unit_test(every_verb_is_complete),
        cmocka_unit_test(durations_and_sizes_carry_their_unit),
        cmocka_unit_test(a_run_folder_is_named_after_its_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
