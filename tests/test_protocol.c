/* Lines between driver and worker, and of events.jsonl. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sweep/worker.h"

static void torn_and_foreign_lines_are_passed_over(void **state)
{
    static const char text[] =
        "{\"event\":\"start\",\"step\":0}\n"
        "not json\n"
        "[1]\n\n"
        "{\"event\":\"done\",\"step\":9,\"loss\":1.5,\"val_loss\":2,"
        "\"val_bpb\":null,\"tokens\":90,\"flops\":1e3,\"wall_s\":2}\n"
        "{\"event\":\"resume\",\"step\":9}\n"
        "{\"event\":\"diverged\",\"step\":1";
    struct run_events e;

    (void)state;
    events_parse(text, sizeof(text) - 1, &e);
    assert_int_equal(e.end, RUN_DONE);
    assert_int_equal(e.steps, 9);
    assert_true(e.loss == 1.5 && e.val_loss == 2 && isnan(e.val_bpb));
    /* Without its newline the result is not there yet. */
    for (size_t n = 0; n < (size_t)(strstr(text, "{\"event\":\"resume") - text);
         n++) {
        events_parse(text, n, &e);
        assert_int_equal(e.end, RUN_OPEN);
    }
}

static void lines_of_the_protocol_read_back(void **state)
{
    struct worker_job job = { 7, 2, "a \"dir\"\n\\" }, job_back;
    struct worker_message m = { .event = WORKER_STEP,
                                .trial = 7,
                                .attempt = 2,
                                .step = 3,
                                .steps = 9,
                                .loss = NAN },
                          back;
    char *line;

    (void)state;
    assert_int_equal(worker_format_job(&job, &line, NULL), MUP_OK);
    assert_int_equal(worker_parse_job(line, strlen(line) - 1, &job_back, NULL),
                     MUP_OK);
    assert_string_equal(job_back.dir, job.dir);
    assert_int_equal(job_back.trial, 7);
    free(line);
    assert_int_equal(worker_format_message(&m, &line, NULL), MUP_OK);
    assert_int_equal(worker_parse_message(line, strlen(line) - 1, &back, NULL),
                     MUP_OK);
    assert_int_equal(back.step, 3);
    assert_true(isnan(back.loss));
    free(line);
    m = (struct worker_message){ .event = WORKER_END,
                                 .trial = 1,
                                 .status = 3,
                                 .error = "bytes \xff that are no text" };
    assert_int_equal(worker_format_message(&m, &line, NULL), MUP_OK);
    assert_int_equal(worker_parse_message(line, strlen(line) - 1, &back, NULL),
                     MUP_OK);
    assert_int_equal(back.status, 3);
    free(line);
}

static void signs_of_life_are_understood(void **state)
{
    static const char lease[] = "{\"op\":\"alive\",\"lease_s\":1.5}";
    static const char *const bad[] = {
        "{\"op\":\"alive\"}",
        "{\"op\":\"alive\",\"lease_s\":0}",
        "{\"op\":\"run\",\"lease_s\":1}",
        "[]",
    };
    const struct worker_message alive = { .event = WORKER_ALIVE };
    struct worker_message back;
    double lease_s = 0;
    char *line;

    (void)state;
    assert_true(worker_parse_lease(lease, strlen(lease), &lease_s));
    assert_true(lease_s == 1.5);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(worker_parse_lease(bad[i], strlen(bad[i]), &lease_s));
    assert_true(lease_s == 1.5);
    assert_int_equal(worker_format_message(&alive, &line, NULL), MUP_OK);
    assert_string_equal(line, "{\"event\":\"alive\"}\n");
    assert_int_equal(worker_parse_message(line, strlen(line) - 1, &back, NULL),
                     MUP_OK);
    assert_int_equal(back.event, WORKER_ALIVE);
    free(line);
}

static void hostile_lines_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "{}",
        "{\"op\":\"run\",\"trial\":0,\"attempt\":1,\"dir\":\"x\"}",
        "{\"op\":\"run\",\"trial\":1.5,\"attempt\":1,\"dir\":\"x\"}",
        "{\"op\":\"run\",\"trial\":1,\"attempt\":1,\"dir\":\"\"}",
        "{\"op\":\"run\",\"trial\":1,\"trial\":2,\"attempt\":1,\"dir\":\"x\"}",
        "{\"trial\":1,\"attempt\":1,\"event\":\"step\",\"step\":5,\"steps\":4}",
        "{\"trial\":1,\"attempt\":1,\"event\":\"end\",\"status\":99}",
        "{\"trial\":1,\"attempt\":1,\"event\":\"end\",\"status\":-1}",
        "{\"trial\":99999999999999999999,\"attempt\":1,\"event\":\"end\"}",
    };
    struct worker_message message;
    struct worker_job job;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(worker_parse_job(bad[i], strlen(bad[i]), &job, NULL),
                         MUP_CORRUPT);
        assert_int_equal(
            worker_parse_message(bad[i], strlen(bad[i]), &message, NULL),
            MUP_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torn_and_foreign_lines_are_passed_over),
        cmocka_unit_test(lines_of_the_protocol_read_back),
        cmocka_unit_test(signs_of_life_are_understood),
        cmocka_unit_test(hostile_lines_are_refused),
    };

    return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
