/* Lists of nodes as SLURM writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/hostlist.h"

/* Names with blanks between them. */
static void assert_list(const char *text, const char *expected)
{
    struct mup_error err = { 0 };
    struct hostlist h;
    char joined[1024] = "";

    if (hostlist_parse(text, &h, &err))
        fail_msg("'%s': %s", text, err.text);
    for (int i = 0; i < h.n; i++) {
        size_t used = strlen(joined);

        snprintf(joined + used, sizeof(joined) - used, "%s%s", i ? " " : "",
                 h.name[i]);
    }
    assert_string_equal(joined, expected);
    hostlist_clear(&h);
}

static void assert_refused(const char *text, const char *why)
{
    struct mup_error err = { 0 };
    struct hostlist h = { 7, NULL };

    assert_int_equal(hostlist_parse(text, &h, &err), MUP_USAGE);
    if (!strstr(err.text, why))
        fail_msg("'%s' answers: %s", text, err.text);
    assert_int_equal(h.n, 7); /* untouched */
    assert_null(h.name);
}

static void plain_names_are_a_list(void **state)
{
    (void)state;
    assert_list("", "");
    assert_list("login", "login");
    assert_list("a,b-2.site_1,a", "a b-2.site_1 a");
}

static void ranges_are_counted_out(void **state)
{
    (void)state;
    assert_list("node[1-3]", "node1 node2 node3");
    assert_list("node[9-11],login", "node9 node10 node11 login");
    assert_list("node[1,3-4]-ib", "node1-ib node3-ib node4-ib");
    assert_list("[7-8]", "7 8");
}

static void padding_is_that_of_the_first_number(void **state)
{
    (void)state;
    assert_list("n[01-03,7]", "n01 n02 n03 n7");
    assert_list("n[098-101]", "n098 n099 n100 n101");
    assert_list("n[8-10]", "n8 n9 n10");
    assert_list("n[000]", "n000");
}

static void several_brackets_are_multiplied(void **state)
{
    (void)state;
    assert_list("r[1-2]n[1-3]", "r1n1 r1n2 r1n3 r2n1 r2n2 r2n3");
    assert_list("x[0-1][0-1],y", "x00 x01 x10 x11 y");
}

static void what_is_no_list_is_refused(void **state)
{
    static const char *const bad[] = {
        ",",         "a,",       ",a",
        "a,,b",      "a[",       "a[]",
        "a[1",       "a[1-]",    "a[-1]",
        "a[3-1]",    "a]",       "a[1]]",
        "a[1,]",     "a[,1]",    "a[[1]]",
        "a[1 ,2]",   "a b",      "a;b",
        "$(reboot)", "a[1-2-3]", "a[12345678901]",
        "a\nb",      "a[x-z]",   "a[1]b[",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i], "is no list of nodes");
}

static void too_many_nodes_are_refused_before_they_are_made(void **state)
{
    struct hostlist h;

    (void)state;
    assert_refused("n[1-999999999]", "more than 65536");
    assert_refused("n[0-65536]", "more than 65536");
    assert_refused("a[0-999]b[0-999]", "more than 65536");
    assert_refused("a[1-60000],b[1-60000]", "more than 65536");
    assert_int_equal(hostlist_parse("n[1-65536]", &h, NULL), MUP_OK);
    assert_int_equal(h.n, HOSTLIST_MAX);
    assert_string_equal(h.name[65535], "n65536");
    hostlist_clear(&h);
}

static void too_long_names_are_refused(void **state)
{
    char text[HOSTLIST_NAME_BYTES + 8];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[HOSTLIST_NAME_BYTES - 1] = '\0';
    assert_list(text, text);
    text[HOSTLIST_NAME_BYTES - 1] = 'a';
    text[HOSTLIST_NAME_BYTES] = '\0';
    assert_refused(text, "longer than 63 letters");
    memcpy(text + HOSTLIST_NAME_BYTES - 2, "[1-20]", 7);
    assert_refused(text, "longer than 63 letters");
}

static void a_name_is_found_or_it_is_not(void **state)
{
    struct hostlist h;

    (void)state;
    assert_int_equal(hostlist_parse("a,n[1-20]", &h, NULL), MUP_OK);
    assert_int_equal(hostlist_find(&h, "a"), 0);
    assert_int_equal(hostlist_find(&h, "n20"), 20);
    assert_int_equal(hostlist_find(&h, "n2"), 2);
    assert_int_equal(hostlist_find(&h, "n"), -1);
    assert_int_equal(hostlist_find(&h, "n21"), -1);
    hostlist_clear(&h);
    assert_int_equal(hostlist_find(&h, "a"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_names_are_a_list),
        cmocka_unit_test(ranges_are_counted_out),
        cmocka_unit_test(padding_is_that_of_the_first_number),
        cmocka_unit_test(several_brackets_are_multiplied),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(too_many_nodes_are_refused_before_they_are_made),
        cmocka_unit_test(too_long_names_are_refused),
        cmocka_unit_test(a_name_is_found_or_it_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
