/* The list of ejected nodes. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/folder.inc.h"

#include <string.h>
#include <sys/stat.h>

#include "launcher/ejected.h"

static char dir[64], list[80];

static int make(void **state)
{
    (void)state;
    new_dir(dir);
    snprintf(list, sizeof(list), "%s/ejected.jsonl", dir);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

static void add(const char *name, int64_t time, int64_t until)
{
    struct ejected_node node = { .time_unix_s = time, .until_unix_s = until };
    struct mup_error err = { 0 };

    snprintf(node.name, sizeof(node.name), "%s", name);
    snprintf(node.class, sizeof(node.class), "corrupt");
    snprintf(node.reason, sizeof(node.reason), "wrong \xe2\x88\x91 \"%s\"",
             name);
    snprintf(node.run, sizeof(node.run), "u-u-i-d");
    assert_int_equal(ejected_add(list, &node, &err), MUP_OK);
}

/* The names at a time, with commas. */
static char *names(int64_t now, const struct hostlist *known)
{
    struct ejected e = { 0 };
    struct mup_error err = { 0 };
    char *text = NULL;

    assert_int_equal(ejected_read(list, now, &e, &err), MUP_OK);
    assert_int_equal(ejected_list(&e, known, &text, &err), MUP_OK);
    ejected_clear(&e);
    return text;
}

static void assert_names(int64_t now, const char *expected)
{
    char *text = names(now, NULL);

    assert_string_equal(text, expected);
    free(text);
}

static void a_missing_file_is_an_empty_list(void **state)
{
    (void)state;
    assert_names(0, "");
}

static void an_entry_is_read_as_it_was_written(void **state)
{
    struct ejected e = { 0 };
    struct mup_error err = { 0 };

    (void)state;
    add("node-3.a_b", 100, 200);
    assert_int_equal(ejected_read(list, 150, &e, &err), MUP_OK);
    assert_int_equal(e.n, 1);
    assert_string_equal(e.node[0].name, "node-3.a_b");
    assert_string_equal(e.node[0].class, "corrupt");
    assert_string_equal(e.node[0].reason, "wrong \xe2\x88\x91 \"node-3.a_b\"");
    assert_string_equal(e.node[0].run, "u-u-i-d");
    assert_int_equal(e.node[0].time_unix_s, 100);
    assert_int_equal(e.node[0].until_unix_s, 200);
    ejected_clear(&e);
}

static void an_entry_counts_until_it_expires(void **state)
{
    (void)state;
    add("node1", 0, 200);
    add("node2", 0, 300);
    assert_names(199, "node1,node2");
    assert_names(200, "node2");
    assert_names(300, "");
}

static void a_shorter_entry_ends_no_longer_one(void **state)
{
    (void)state;
    add("node1", 0, 300);
    add("node1", 10, 100);
    assert_names(50, "node1");
    assert_names(200, "node1");
    assert_names(300, "");
}

static void until_0_takes_a_node_back(void **state)
{
    (void)state;
    add("node1", 0, 300);
    add("node2", 0, 300);
    add("node1", 10, 0);
    assert_names(50, "node2");
    add("node1", 20, 60);
    assert_names(50, "node2,node1");
    add("node9", 20, 0);
    assert_names(60, "node2");
}

static void lines_that_are_none_are_passed_over(void **state)
{
    FILE *f;

    (void)state;
    add("node1", 0, 300);
    f = fopen(list, "a");
    assert_non_null(f);
    assert_true(fputs("nonsense\n{}\n{\"node\":\"node2\"}\n"
                      "{\"node\":\"a,b\",\"until\":900}\n"
                      "{\"node\":\"n[1-3]\",\"until\":900}\n"
                      "{\"node\":\"\",\"until\":900}\n"
                      "{\"node\":\"node4\",\"until\":\"900\"}\n"
                      "{\"node\":\"node5\",\"until\":900.5}\n"
                      "{\"node\":\"torn",
                      f) >= 0);
    assert_int_equal(fclose(f), 0);
    add("node6", 0, 300);
    assert_names(0, "node1,node5,node6");
}

static void names_that_would_break_a_list_are_refused(void **state)
{
    static const char *const bad[] = { "", "a,b", "n[1-2]", "a b", "a\n" };
    struct ejected_node node = { .until_unix_s = 1 };
    struct mup_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(node.name, sizeof(node.name), "%s", bad[i]);
        assert_int_equal(ejected_add(list, &node, &err), MUP_USAGE);
    }
    assert_names(0, "");
}

static void a_reason_of_any_bytes_is_kept(void **state)
{
    struct ejected_node node = { "node1", "node", "a\xff", "", 0, 9 };
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(ejected_add(list, &node, &err), MUP_OK);
    assert_names(0, "node1");
}

static void unknown_nodes_can_be_left_out(void **state)
{
    char known[2][HOSTLIST_NAME_BYTES] = { "node2", "node3" };
    const struct hostlist h = { 2, known };
    char *text;

    (void)state;
    add("node1", 0, 300);
    add("node3", 0, 300);
    text = names(0, &h);
    assert_string_equal(text, "node3");
    free(text);
}

static void the_list_is_where_the_config_or_xdg_says(void **state)
{
    struct mup_error err = { 0 };
    char path[256], expected[256];
    struct stat st;

    (void)state;
    snprintf(expected, sizeof(expected), "%s/a/b/list", dir);
    assert_int_equal(ejected_path(expected, path, sizeof(path), &err), MUP_OK);
    assert_string_equal(path, expected);
    snprintf(expected, sizeof(expected), "%s/a/b", dir);
    assert_int_equal(stat(expected, &st), 0);
    assert_int_equal(ejected_path("list", path, sizeof(path), &err), MUP_OK);
    assert_string_equal(path, "list");
    snprintf(expected, sizeof(expected), "%s/state", dir);
    assert_int_equal(setenv("XDG_STATE_HOME", expected, 1), 0);
    assert_int_equal(ejected_path("", path, sizeof(path), &err), MUP_OK);
    snprintf(expected, sizeof(expected), "%s/state/mutransfer/ejected.jsonl",
             dir);
    assert_string_equal(path, expected);
    assert_int_equal(setenv("XDG_STATE_HOME", "relative", 1), 0);
    assert_int_equal(setenv("HOME", dir, 1), 0);
    assert_int_equal(ejected_path("", path, sizeof(path), &err), MUP_OK);
    snprintf(expected, sizeof(expected),
             "%s/.local/state/mutransfer/ejected.jsonl", dir);
    assert_string_equal(path, expected);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(ejected_path("", path, sizeof(path), &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "recover.exclude_file"));
}

#define TEST(F) cmocka_unit_test_setup_teardown(F, make, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_file_is_an_empty_list),
        TEST(an_entry_is_read_as_it_was_written),
        TEST(an_entry_counts_until_it_expires),
        TEST(a_shorter_entry_ends_no_longer_one),
        TEST(until_0_takes_a_node_back),
        TEST(lines_that_are_none_are_passed_over),
        TEST(names_that_would_break_a_list_are_refused),
        TEST(a_reason_of_any_bytes_is_kept),
        TEST(unknown_nodes_can_be_left_out),
        TEST(the_list_is_where_the_config_or_xdg_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
