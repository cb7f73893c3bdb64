/* Numbers as people write them, and as the program does. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "configs/field.h"

static void numbers_read_as_people_write_them(void **state)
{
    static const struct {
        const char *text;
        double value;
    } rows[] = {
        { "1", 1 },
        { "-1.5", -1.5 },
        { "+.5", 0.5 },
        { "3.", 3 },
        { "1e-3", 1e-3 },
        { "1E+3", 1e3 },
        { "2^-9", 0.001953125 },
        { "2**-9", 0.001953125 },
        { "2^-9.5", 0.0013810679320049757 },
        { "-2^2", -4 },
        { "10^-3", 1e-3 },
        { "1_000", 1000 },
        { "1_000.25_5e1_0", 1000.255e10 },
        { "0", 0 },
        { "0e999", 0 },
        { "007", 7 },
        { "4.9406564584124654e-324", 4.9406564584124654e-324 },
        { "1.7976931348623157e308", 1.7976931348623157e308 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_error err = { 0 };
        double v = -7;

        if (parse_real(rows[i].text, &v, &err) != MUP_OK)
            fail_msg("%s", err.text);
        if (v != rows[i].value)
            fail_msg("'%s' is read as %.17g", rows[i].text, v);
    }
}

static void what_is_no_number_is_refused(void **state)
{
    static const char *const rows[] = {
        "",     " ",     "1 ",   " 1",    "x",     "1x",    "--1",
        "1e",   "1e+",   ".",    "-",     "e5",    "inf",   "nan",
        "-inf", "0x10",  "1,5",  "1__0",  "_1",    "1_",    "1_.5",
        "2^",   "^2",    "2^^3", "2***3", "2*3",   "2^3^4", "2^--3",
        "1e5_", "1.5.2", "\xff", "1\n",   "2^inf", "1e1e1", "1d5",
    };
    char longest[400];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_error err = { 0 };
        int64_t whole = -7;
        double real = -7;

        if (parse_real(rows[i], &real, &err) != MUP_USAGE)
            fail_msg("'%s' passes as %g", rows[i], real);
        assert_non_null(strstr(err.text, "is not a number"));
        if (parse_int(rows[i], &whole, &err) != MUP_USAGE)
            fail_msg("'%s' passes as %lld", rows[i], (long long)whole);
        assert_non_null(strstr(err.text, "is not a whole number"));
        assert_true(real == -7 && whole == -7);
    }
    memset(longest, '1', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(parse_real(longest, &(double){ 0 }, NULL), MUP_USAGE);
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
    static const char *const large[] = { "1e309", "-1e309", "10^400", "0^-1" };
    static const char *const small[] = { "1e-400", "2^-2000" };
    static const char *const whole[] = {
        "9223372036854775808", "2^63", "10^19", "1e16", "-2^63",
        "9^+5555555555",
    };
    struct mup_error err = { 0 };
    int64_t i = -7;
    double v = -7;

    (void)state;
    for (int k = 0; k < 4; k++) {
        assert_int_equal(parse_real(large[k], &v, &err), MUP_USAGE);
        assert_non_null(strstr(err.text, "too large"));
    }
    for (int k = 0; k < 2; k++) {
        assert_int_equal(parse_real(small[k], &v, &err), MUP_USAGE);
        assert_non_null(strstr(err.text, "too close to 0"));
    }
    for (int k = 0; k < 6; k++) {
        assert_int_equal(parse_int(whole[k], &i, &err), MUP_USAGE);
        assert_non_null(strstr(err.text, "too large"));
    }
    assert_true(v == -7 && i == -7);
}

static void whole_numbers_are_exact(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } rows[] = {
        { "0", 0 },
        { "-12", -12 },
        { "1_000_000", 1000000 },
        { "1e6", 1000000 },
        { "2.5e3", 2500 },
        { "2^20", 1048576 },
        { "2**62", (int64_t)1 << 62 },
        { "9^+3", 729 },
        { "3^39", 4052555153018976267 },
        { "-2^3", -8 },
        { "0^0", 1 },
        { "1^9223372036854775807", 1 },
        { "9223372036854775807", INT64_MAX },
        { "-9223372036854775808", INT64_MIN },
        { "8^1.0", 8 },
    };
    struct mup_error err = { 0 };
    int64_t v;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (parse_int(rows[i].text, &v, &err) != MUP_OK)
            fail_msg("%s", err.text);
        if (v != rows[i].value)
            fail_msg("'%s' is read as %lld", rows[i].text, (long long)v);
    }
    assert_int_equal(parse_int("1.5", &v, &err), MUP_USAGE);
    assert_string_equal(err.text, "'1.5' is not a whole number");
    assert_int_equal(parse_int("2^-1", &v, &err), MUP_USAGE);
    assert_int_equal(parse_int("5e-400", &v, &err), MUP_USAGE);
}

static void reals_are_written_short(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        { 0, "0" },
        { -0.0, "-0" },
        { 1, "1" },
        { 0.001, "0.001" },
        { 1e-5, "1e-5" },
        { 0.1, "0.1" },
        { 1.0 / 3, "0.3333333333333333" },
        { 0.1 + 0.2, "0.30000000000000004" },
        { 0.015625, "0.015625" },
        { 1000, "1000" },
        { 131072, "131072" },
        { 2e9, "2e9" },
        { 1.5e300, "1.5e300" },
        { -10000, "-10000" },
        { 4.9406564584124654e-324, "5e-324" },
        { 1.7976931348623157e308, "1.7976931348623157e308" },
        { 9007199254740993.0, "9007199254740992" },
        { 1e15, "1e15" },
        { 1e22, "1e22" },
        { (double)INFINITY, "inf" },
        { (double)-INFINITY, "-inf" },
        { (double)NAN, "nan" },
        { -(double)NAN, "nan" },
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        format_real(rows[i].value, text, sizeof(text));
        assert_string_equal(text, rows[i].text);
    }
}

static void every_double_survives_a_round_trip(void **state)
{
    uint64_t bits = 12345;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[32];
        double v, back;

        bits = bits * 6364136223846793005u + 1442695040888963407u;
        if (i % 2) /* a plain size, rounded to few digits */
            v = ldexp(floor(ldexp((double)(bits >> 40), -8)), i % 40 - 20);
        else
            memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v))
            continue;
        format_real(v, text, sizeof(text));
        if (parse_real(text, &back, NULL) != MUP_OK ||
            memcmp(&v, &back, sizeof(v)) != 0)
            fail_msg("%.17g is written as '%s'", v, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_as_people_write_them),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(whole_numbers_are_exact),
        cmocka_unit_test(reals_are_written_short),
        cmocka_unit_test(every_double_survives_a_round_trip),
    };

    return cmocka_run_group_tests_name("number", tests, NULL, NULL);
}
