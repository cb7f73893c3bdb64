/* The journal of a run under SLURM. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/folder.inc.h"

#include <string.h>

#include "launcher/journal.h"
#include "launcher/launch_log.h"

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* The log that lines of a journal make; close with launch_log_clear. */
static struct launch_log read_lines(const char *text)
{
    struct launch_log log = { 0 };
    struct mup_error err = { 0 };
    char dir[64];

    put_file(new_dir(dir), "launch.jsonl", text);
    assert_int_equal(launch_log_read(dir, &log, &err), MUP_OK);
    remove_tree(dir);
    return log;
}

#define SUBMITTING(T)                                                          \
    "{\"event\":\"submitting\",\"time\":" T ",\"uuid\":\"u\"}\n"
#define SUBMITTED(T, JOB, AGAIN)                                               \
    "{\"event\":\"submitted\",\"time\":" T ",\"uuid\":\"u\",\"job\":" JOB      \
    ",\"again\":" AGAIN "}\n"
#define SUPERVISOR(T, JOB)                                                     \
    "{\"event\":\"supervisor\",\"time\":" T ",\"job\":" JOB "}\n"
#define WISH(T) "{\"event\":\"wish\",\"time\":" T ",\"wish\":\"cancel\"}\n"
#define ENDED(T)                                                               \
    "{\"event\":\"ended\",\"time\":" T ",\"status\":7,\"text\":\"stopped\"}\n"
#define REQUEUED(T)                                                            \
    "{\"event\":\"requeued\",\"time\":" T ",\"tries\":2,\"base_step\":40}\n"

static void a_run_without_journal_has_an_empty_log(void **state)
{
    struct launch_log log = { .job = 3 };
    struct mup_error err = { 0 };
    char dir[64];

    (void)state;
    assert_int_equal(launch_log_read(new_dir(dir), &log, &err), MUP_OK);
    assert_int_equal(log.job, 0);
    assert_int_equal(json_array_size(log.events), 0);
    launch_log_clear(&log);
    assert_null(launch_state_read(dir));
    remove_tree(dir);
}

static void what_is_appended_is_read(void **state)
{
    struct launch_log log;
    struct mup_error err = { 0 };
    char dir[64];
    json_t *e = launch_log_new("submitted");

    (void)state;
    new_dir(dir);
    json_object_set_new(e, "uuid", json_string("abc"));
    json_object_set_new(e, "job", json_integer(77));
    json_object_set_new(e, "again", json_integer(0));
    assert_int_equal(launch_log_append(dir, e, &err), MUP_OK);
    e = launch_log_new("incident");
    assert_int_equal(launch_log_append(dir, e, &err), MUP_OK);
    assert_int_equal(launch_log_append(dir, NULL, &err), MUP_SYSTEM);
    assert_int_equal(launch_log_read(dir, &log, &err), MUP_OK);
    assert_int_equal(json_array_size(log.events), 2);
    assert_string_equal(log.uuid, "abc");
    assert_int_equal(log.job, 77);
    assert_int_equal(log.submissions, 1);
    assert_int_equal(log.incidents, 1);
    assert_true(journal_real(json_array_get(log.events, 0), "time") > 1e9);
    launch_log_clear(&log);
    remove_tree(dir);
}

static void a_folder_that_is_not_there_takes_no_line(void **state)
{
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(
        launch_log_append("/nowhere/at/all", launch_log_new("x"), &err),
        MUP_SYSTEM);
    assert_non_null(strstr(err.text, "/nowhere/at/all/launch.jsonl"));
}

static void a_torn_line_costs_only_itself(void **state)
{
    struct launch_log log;
    struct mup_error err = { 0 };
    char dir[64];

    (void)state;
    put_file(new_dir(dir), "launch.jsonl",
             SUBMITTED("1", "5", "0") "{\"event\":\"ended\",\"sta");
    assert_int_equal(launch_log_read(dir, &log, &err), MUP_OK);
    assert_int_equal(log.ended, 0);
    launch_log_clear(&log);
    assert_int_equal(launch_log_append(dir, launch_log_new("incident"), &err),
                     MUP_OK);
    assert_int_equal(launch_log_append(dir, launch_log_new("incident"), &err),
                     MUP_OK);
    assert_int_equal(launch_log_read(dir, &log, &err), MUP_OK);
    assert_int_equal(log.job, 5);
    assert_int_equal(log.incidents, 2);
    assert_int_equal(json_array_size(log.events), 3);
    launch_log_clear(&log);
    remove_tree(dir);
}

static void lines_that_are_no_objects_are_passed_over(void **state)
{
    struct launch_log log = read_lines("\n[1]\n7\nnull\n{}\n{\"event\":3}\n"
                                       "not json\n" SUBMITTED("1", "5", "0"));

    (void)state;
    assert_int_equal(log.job, 5);
    assert_int_equal(json_array_size(log.events), 3);
    launch_log_clear(&log);
}

static void numbers_of_any_size_are_taken(void **state)
{
    struct launch_log log = read_lines(
        "{\"event\":\"ended\",\"status\":9223372036854775807}\n"
        "{\"event\":\"incarnation\",\"incarnation\":1e300}\n"
        "{\"event\":\"requeued\",\"tries\":-1e300,\"base_step\":1.5}\n");

    (void)state;
    assert_int_equal(log.status, 2147483647);
    assert_int_equal(log.incarnations, INT64_MAX);
    assert_int_equal(log.base_step, 1);
    launch_log_clear(&log);
}

static void a_submission_without_answer_is_seen(void **state)
{
    struct launch_log log =
        read_lines(SUBMITTED("1", "5", "0") ENDED("2") SUBMITTING("3"));

    (void)state;
    assert_int_equal(log.submitting, 1);
    assert_int_equal(log.job, 5);
    assert_int_equal(log.ended, 0);
    launch_log_clear(&log);
    log = read_lines(SUBMITTED("1", "5", "0") ENDED("2")
                         SUBMITTING("3") "{\"event\":\"adopted\",\"job\":6}\n");
    assert_int_equal(log.submitting, 0);
    assert_int_equal(log.job, 6);
    launch_log_clear(&log);
}

static void a_lost_job_is_submitted_again(void **state)
{
    struct launch_log log = read_lines(SUBMITTED("1", "5", "0") SUPERVISOR(
        "2", "5") SUBMITTING("3") SUBMITTED("4", "5", "1"));

    (void)state;
    assert_int_equal(log.submissions, 2);
    assert_int_equal(log.supervised, 0); /* the id was given anew */
    launch_log_clear(&log);
    log = read_lines(SUBMITTED("1", "5", "0") SUBMITTED("2", "6", "1")
                         SUBMITTED("3", "7", "0"));
    assert_int_equal(log.submissions, 1);
    assert_int_equal(log.job, 7);
    launch_log_clear(&log);
}

static void a_job_may_start_before_its_client_knows(void **state)
{
    struct launch_log log = read_lines(SUBMITTING("1") SUPERVISOR(
        "2", "5") WISH("3") ENDED("4") SUBMITTED("5", "5", "0"));

    (void)state;
    assert_int_equal(log.job, 5);
    assert_int_equal(log.supervised, 1);
    assert_int_equal(log.cancelled, 1);
    assert_int_equal(log.ended, 1);
    assert_int_equal(log.status, 7);
    assert_string_equal(log.text, "stopped");
    launch_log_clear(&log);
}

static void restarts_are_supervisors_less_one(void **state)
{
    struct launch_log log = read_lines(SUPERVISOR("10", "5"));

    (void)state;
    assert_int_equal(log.restarts, 0);
    assert_int_equal(log.job, 5); /* submitted by hand */
    assert_int_equal(log.supervised, 1);
    launch_log_clear(&log);
    log = read_lines(SUBMITTED("1", "5", "0") SUPERVISOR("10", "5")
                         REQUEUED("11") SUPERVISOR("12", "5"));
    assert_int_equal(log.restarts, 1);
    assert_float_equal(log.first_unix_s, 10, 0);
    assert_int_equal(log.requeues, 1);
    assert_int_equal(log.tries, 2);
    assert_int_equal(log.base_step, 40);
    launch_log_clear(&log);
}

static void a_submission_by_hand_forgets_wishes_and_tries(void **state)
{
    struct launch_log log = read_lines(
        SUBMITTED("1", "5", "0") SUPERVISOR("2", "5") REQUEUED("3") WISH("4")
            ENDED("5") SUBMITTING("6") SUBMITTED("7", "6", "0"));

    (void)state;
    assert_int_equal(log.requeues, 0);
    assert_int_equal(log.tries, 0);
    assert_int_equal(log.cancelled, 0);
    assert_int_equal(log.ended, 0);
    assert_int_equal(log.supervised, 0);
    assert_string_equal(log.text, "");
    launch_log_clear(&log);
}

static void a_supervisor_after_the_end_takes_it_back(void **state)
{
    struct launch_log log = read_lines(
        SUBMITTED("1", "5", "0") SUPERVISOR("2", "5") ENDED("3")
            SUPERVISOR("4", "5") "{\"event\":\"incarnation\",\"incarnation\":4}"
                                 "\n");

    (void)state;
    assert_int_equal(log.ended, 0);
    assert_int_equal(log.incarnations, 4);
    launch_log_clear(&log);
}

static void uuids_are_random_and_of_version_4(void **state)
{
    char a[LAUNCH_UUID_BYTES], b[LAUNCH_UUID_BYTES], comment[64];
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(launch_log_uuid(a, &err), MUP_OK);
    assert_int_equal(launch_log_uuid(b, &err), MUP_OK);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    launch_log_comment(a, comment, sizeof(comment));
    assert_memory_equal(comment, "mutransfer:", 11);
    assert_string_equal(comment + 11, a);
}

static void the_state_is_replaced_and_read(void **state)
{
    struct mup_error err = { 0 };
    char dir[64];
    json_t *o;

    (void)state;
    new_dir(dir);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            launch_state_write(dir, json_pack("{s:i}", "step", i), &err),
            MUP_OK);
    o = launch_state_read(dir);
    assert_int_equal(journal_int(o, "step"), 1);
    json_decref(o);
    assert_int_equal(launch_state_write(dir, NULL, &err), MUP_SYSTEM);
    put_file(dir, "launch.json", "[]");
    assert_null(launch_state_read(dir));
    remove_tree(dir);
}

static void bytes_that_are_no_text_become_question_marks(void **state)
{
    json_t *s = journal_string("a\xff"
                               "b");

    (void)state;
    assert_string_equal(json_string_value(s), "a?b");
    json_decref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_without_journal_has_an_empty_log),
        cmocka_unit_test(what_is_appended_is_read),
        cmocka_unit_test(a_folder_that_is_not_there_takes_no_line),
        cmocka_unit_test(a_torn_line_costs_only_itself),
        cmocka_unit_test(lines_that_are_no_objects_are_passed_over),
        cmocka_unit_test(numbers_of_any_size_are_taken),
        cmocka_unit_test(a_submission_without_answer_is_seen),
        cmocka_unit_test(a_lost_job_is_submitted_again),
        cmocka_unit_test(a_job_may_start_before_its_client_knows),
        cmocka_unit_test(restarts_are_supervisors_less_one),
        cmocka_unit_test(a_submission_by_hand_forgets_wishes_and_tries),
        cmocka_unit_test(a_supervisor_after_the_end_takes_it_back),
        cmocka_unit_test(uuids_are_random_and_of_version_4),
        cmocka_unit_test(the_state_is_replaced_and_read),
        cmocka_unit_test(bytes_that_are_no_text_become_question_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
