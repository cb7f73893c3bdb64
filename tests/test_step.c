/* How steps end, and what incidents are made of. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "launcher/incident.h"
#include "launcher/journal.h"
#include "launcher/step.h"
#include "tests/close.h"

/* As srun 22.05.8 writes them. */
static void srun_says_how_tasks_end(void **state)
{
    static const struct {
        const char *line;
        int task, signal, status;
    } rows[] = {
        { "srun: error: node3: task 4: Killed", 4, SIGKILL, 0 },
        { "srun: error: node3: tasks 4-5: Killed", 4, SIGKILL, 0 },
        { "srun: error: node2: tasks 0,3: Segmentation fault (core dumped)", 0,
          SIGSEGV, 0 },
        { "srun: error: node1: task 12: Exited with exit code 4", 12, 0, 4 },
        { "srun: error: node1: tasks 0-2: Exited with exit code 1", 0, 0, 1 },
        { "srun: error: node1: task 0: Aborted", 0, SIGABRT, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct step_end end = { -1, -1, -1 };

        assert_int_equal(step_parse_end(rows[i].line, &end), 1);
        assert_int_equal(end.task, rows[i].task);
        assert_int_equal(end.signal, rows[i].signal);
        assert_int_equal(end.status, rows[i].status);
    }
}

static void other_lines_say_nothing_of_tasks(void **state)
{
    static const char *const lines[] = {
        "",
        "3: srun: error: node3: task 4: Killed", /* a rank says it */
        "srun: error: Node failure on node2",
        "srun: error: node3: task x: Killed",
        "srun: error: node3: task 4",
        "srun: error: node3: task 4: waits",
        "srun: Job step aborted: Waiting up to 32 seconds for job step",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct step_end end = { 7, 8, 9 };

        assert_int_equal(step_parse_end(lines[i], &end), 0);
        assert_int_equal(end.task, 7);
    }
}

static struct incident example(void)
{
    return (struct incident){
        .open = 1,
        .incarnation = 2,
        .class = "node",
        .node = "node2",
        .text = "node2 is gone",
        .at = { 10, 10.5, 11, 11, 12, 12.5, 13, 14 },
        .last_step = 108,
        .from_step = 100,
    };
}

static double sum_of_parts(const json_t *o)
{
    return journal_real(o, "detect_s") + journal_real(o, "fence_s") +
           journal_real(o, "replace_s") + journal_real(o, "relaunch_s") +
           journal_real(o, "rendezvous_s") + journal_real(o, "load_s") +
           journal_real(o, "first_step_s");
}

static void parts_of_an_incident_add_up(void **state)
{
    struct incident i = example();
    json_t *o = incident_json(&i);

    (void)state;
    assert_close(journal_real(o, "detect_s"), 0.5, 1e-12);
    assert_close(journal_real(o, "relaunch_s"), 1, 1e-12);
    assert_close(journal_real(o, "total_s"), 4, 1e-12);
    assert_close(sum_of_parts(o), 4, 1e-12);
    assert_int_equal(journal_int(o, "replayed_steps"), 8);
    json_decref(o);
}

/* Beats may be dropped: what is not known takes no time, the next part does. */
static void a_moment_that_was_missed_is_part_of_the_next(void **state)
{
    struct incident i = example();
    json_t *o;

    (void)state;
    i.at[MARK_JOINED] = i.at[MARK_LOADED] = 0;
    o = incident_json(&i);
    assert_close(journal_real(o, "rendezvous_s"), 0, 1e-12);
    assert_close(journal_real(o, "load_s"), 0, 1e-12);
    assert_close(journal_real(o, "first_step_s"), 2, 1e-12);
    assert_close(sum_of_parts(o), 4, 1e-12);
    json_decref(o);
}

static void only_the_first_moment_of_its_kind_counts(void **state)
{
    struct incident i = { .open = 1 }, closed = { 0 };

    (void)state;
    incident_mark(&i, MARK_FENCED, 3);
    incident_mark(&i, MARK_FENCED, 5);
    assert_close(i.at[MARK_FENCED], 3, 0);
    incident_mark(&closed, MARK_FENCED, 3);
    assert_close(closed.at[MARK_FENCED], 0, 0);
}

static void steps_that_were_not_lost_are_not_counted(void **state)
{
    struct incident i = example();
    json_t *o;
    char text[300];

    (void)state;
    i.from_step = 108;
    o = incident_json(&i);
    assert_int_equal(journal_int(o, "replayed_steps"), 0);
    json_decref(o);
    incident_text(&i, text, sizeof(text));
    assert_non_null(strstr(text, "training again after 4.00 s"));
}

static void a_step_that_was_not_made_is_known(void **state)
{
    static const struct {
        const char *line;
        int refusal;
    } rows[] = {
        { "srun: error: Unable to confirm allocation for job 17: Unable to "
          "contact slurm controller (connect failure)",
          STEP_NO_CONTROLLER },
        { "srun: error: Unable to create step for job 17: Memory required by "
          "task is not available",
          STEP_REFUSED },
        { "srun: error: node2: task 1: Exited with exit code 1",
          STEP_NOT_REFUSED },
        { "0: Unable to create step", STEP_NOT_REFUSED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(step_refusal(rows[i].line), rows[i].refusal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_was_not_made_is_known),
        cmocka_unit_test(srun_says_how_tasks_end),
        cmocka_unit_test(other_lines_say_nothing_of_tasks),
        cmocka_unit_test(parts_of_an_incident_add_up),
        cmocka_unit_test(a_moment_that_was_missed_is_part_of_the_next),
        cmocka_unit_test(only_the_first_moment_of_its_kind_counts),
        cmocka_unit_test(steps_that_were_not_lost_are_not_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
