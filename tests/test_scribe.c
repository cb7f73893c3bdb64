/* What is put down is written, in order, and without waiting for the disk. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "launcher/journal.h"
#include "launcher/launch_log.h"
#include "launcher/scribe.h"
#include "tests/folder.inc.h"

enum { LINES = 2000 };

static int enter(void **state)
{
    static char path[64];

    *state = new_dir(path);
    return 0;
}

static int leave(void **state)
{
    remove_tree(*state);
    return 0;
}

static void put_lines(struct scribe *s, int first, int n)
{
    struct mup_error err = { 0 };

    for (int i = first; i < first + n; i++) {
        json_t *o = launch_log_new("supervisor");

        json_object_set_new(o, "job", json_integer(i));
        assert_int_equal(scribe_put(s, SCRIBE_EVENT, o, &err), MUP_OK);
    }
}

static void expect_lines(const char *dir, int n)
{
    struct launch_log log;
    json_t *event;
    size_t i;

    assert_int_equal(launch_log_read(dir, &log, NULL), MUP_OK);
    assert_int_equal(json_array_size(log.events), n);
    json_array_foreach(log.events, i, event)
        assert_int_equal(journal_int(event, "job"), i);
    launch_log_clear(&log);
}

static void lines_are_written_in_order(void **state)
{
    const char *dir = *state;
    struct scribe s;
    json_t *now;

    assert_int_equal(scribe_open(dir, &s, NULL), MUP_OK);
    put_lines(&s, 0, LINES);
    assert_int_equal(
        scribe_put(&s, SCRIBE_STATE, json_pack("{s:i}", "step", 7), NULL),
        MUP_OK);
    scribe_close(&s, 60);
    expect_lines(dir, LINES);
    now = launch_state_read(dir);
    assert_int_equal(journal_int(now, "step"), 7);
    json_decref(now);
}

static void without_a_child_lines_are_written_at_once(void **state)
{
    const char *dir = *state;
    struct scribe s = { .fd = -1, .dir = dir };

    put_lines(&s, 0, 3);
    expect_lines(dir, 3);
    scribe_close(&s, 1);
}

static void no_memory_is_an_error(void **state)
{
    const char *dir = *state;
    struct scribe s;

    assert_int_equal(scribe_open(dir, &s, NULL), MUP_OK);
    assert_int_equal(scribe_put(&s, SCRIBE_EVENT, NULL, NULL), MUP_SYSTEM);
    scribe_close(&s, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_are_written_in_order, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(
            without_a_child_lines_are_written_at_once, enter, leave),
        cmocka_unit_test_setup_teardown(no_memory_is_an_error, enter, leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
