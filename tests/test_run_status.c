/* What status says of a run under SLURM, from folders made up here: no
 * scheduler is asked. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/launch_fixture.inc.h"

#include "launcher/run_status.h"
#include "launcher/sweep_nodes.h"

static char dir[64];

static int make(void **state)
{
    (void)state;
    new_dir(dir);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

/* How it stands t seconds after the submission. */
static struct run_status read_at(double t)
{
    struct run_status s;
    struct mup_error err;

    if (run_status_read(dir, LAUNCH_BEGAN + t, 0, &s, &err) != MUP_OK)
        fail_msg("%s", err.text);
    snprintf(s.dir, sizeof(s.dir), "runs/target");
    return s;
}

static char *text_of(const struct run_status *s)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    run_status_print(s, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_text(struct run_status *s, const char *expected)
{
    char *text = text_of(s);

    assert_string_equal(text, expected);
    free(text);
    run_status_clear(s);
}

static void assert_headline(struct run_status *s, const char *expected)
{
    char text[512];

    run_status_headline(s, text, sizeof(text));
    assert_string_equal(text, expected);
    run_status_clear(s);
}

static struct run_status with_job(double t, int state, const char *name,
                                  const char *reason)
{
    struct run_status s = read_at(t);

    s.scheduler = SCHEDULER_ANSWERED;
    s.job.id = 41;
    s.job.state = state;
    snprintf(s.job.state_name, sizeof(s.job.state_name), "%s", name);
    snprintf(s.job.reason, sizeof(s.job.reason), "%s", reason);
    return s;
}

static void a_run_that_trains_tells_all_of_it(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    launch_break(dir);
    launch_state(dir, 3900);
    launch_metrics(dir, 4400);
    s = with_job(3902, CLUSTER_RUNNING, "RUNNING", "");
    snprintf(s.job.nodes, sizeof(s.job.nodes), "node[1,4-7]");
    assert_text(
        &s,
        "runs/target: training\n"
        "  job          41, RUNNING on node[1,4-7]\n"
        "  step         4,400 of 10,000 (44.0 %)\n"
        "  loss         2.2079 nats per token\n"
        "  speed        21,340 tokens/s\n"
        "  checkpoint   step 4,350, 35 s ago\n"
        "  incarnation  4; job restarts: 1, incidents: 3\n"
        "  goodput      87.4 % (56m40s trained in 1h04m)\n"
        "  finishes     in 1h14m\n"
        "  job's time   over in 39m01s\n"
        "\n"
        "  node   use       ranks          step  work/step\n"
        "  node1  training  0-1           4,400      0.7 s\n"
        "  node4  training  2-3           4,400      0.8 s\n"
        "  node5  training  4-5,7         4,399      1.3 s  slow\n"
        "  node6  lost      6             4,100             silent\n"
        "  node7  spare\n"
        "  node3  ejected                                   until 2026-11-29 "
        "10:30:03 UTC: silent for 3.6 s (not in this job)\n"
        "  node2  ejected                                   until 2026-11-29 "
        "10:43:20 UTC: data was damaged on rank 2: blocks.3.moe.up (not in "
        "this job)\n"
        "\n"
        "  incidents:\n"
        "  1  2026-11-28 10:30:00 UTC  a dead node, node3: 9.8 s, 10 steps "
        "repeated\n"
        "     detect 3.6 s, fence 0.4 s, replace 0.1 s, relaunch 2.1 s, "
        "rendezvous "
        "1.2 s, load 1.9 s, first step 0.5 s\n"
        "  2  2026-11-28 10:43:20 UTC  damaged data, node2: 53 s, 40 steps "
        "repeated\n"
        "     detect 0.3 s, fence 0.4 s, replace 46 s, relaunch 2.4 s, "
        "rendezvous "
        "1.1 s, load 2.0 s, first step 0.6 s\n"
        "  3  2026-11-28 10:55:05 UTC  a rank that hangs, node4: 26 s, 4 steps "
        "repeated\n"
        "     detect 12 s, fence 1.2 s, replace 0.2 s, relaunch 2.2 s, "
        "rendezvous "
        "1.4 s, load 2.0 s, first step 6.5 s\n");
}

static void without_the_controller_the_journal_speaks(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    s = read_at(14);
    s.scheduler = SCHEDULER_SILENT;
    snprintf(s.no_answer, sizeof(s.no_answer),
             "the controller did not answer within 2 s");
    assert_text(&s,
                "runs/target: starting\n"
                "  job          41; the controller did not answer within 2 s, "
                "so this is from the journal\n"
                "  incarnation  1; job restarts: 0, incidents: 0\n"
                "\n"
                "  node   use       ranks          step  work/step\n"
                "  node1  training\n"
                "  node2  training\n"
                "  node3  training\n"
                "  node4  training\n"
                "  node5  spare\n");
}

static void a_supervisor_that_is_silent_is_noticed(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    s = read_at(109);
    assert_float_equal(s.silent_since_unix_s, LAUNCH_BEGAN + 13.2, 0.01);
    run_status_clear(&s);
    launch_state(dir, 3900);
    s = read_at(3919);
    assert_true(isnan(s.silent_since_unix_s));
    assert_float_equal(s.wall_s, 3891, 0.01);
    run_status_clear(&s);
    s = read_at(4000);
    assert_true(isnan(s.eta_s));
    assert_float_equal(s.wall_s, 3991, 0.01); /* time goes on without it */
    assert_headline(&s, "its supervisor has been silent since 2026-11-28 "
                        "11:05:00 UTC (1m40s)");
}

static void a_job_that_waits_says_why(void **state)
{
    struct run_status s;

    (void)state;
    launch_event(dir, "submitted", 0, "\"job\":41,\"again\":0");
    s = with_job(60, CLUSTER_PENDING, "PENDING", "Resources");
    assert_headline(&s, "waits for nodes: Resources");
    s = with_job(60, CLUSTER_HELD, "PENDING", "");
    assert_headline(&s, "waits for nodes");
    launch_event(dir, "supervisor", 70, "\"job\":41");
    launch_event(dir, "requeued", 80, "\"text\":\"time limit\"");
    launch_event(dir, "wish", 81, "\"wish\":\"cancel\"");
    s = with_job(160, CLUSTER_PENDING, "PENDING", "Priority");
    assert_headline(&s, "waits to go on: Priority, to be cancelled");
}

static void a_lost_job_is_over_and_one_without_answer_is_not(void **state)
{
    struct run_status s;

    (void)state;
    launch_event(dir, "submitting", 0, "\"uuid\":\"u\"");
    s = read_at(1);
    assert_false(run_status_is_over(&s));
    assert_headline(&s, "a submission has no answer yet; 'mutransfer launch' "
                        "finds its job or submits again");
    launch_event(dir, "submitted", 1, "\"job\":41,\"again\":0");
    s = read_at(2);
    s.scheduler = SCHEDULER_SILENT;
    assert_false(run_status_is_over(&s));
    run_status_clear(&s);
    s = with_job(60, CLUSTER_NO_JOB, "", "");
    assert_true(run_status_is_over(&s));
    assert_headline(&s, "its job is gone (the controller knows none) and left "
                        "no last word; 'mutransfer launch' continues it");
    s = with_job(60, CLUSTER_ENDED, "NODE_FAIL", "");
    assert_headline(&s, "its job is gone (NODE_FAIL) and left no last word; "
                        "'mutransfer launch' continues it");
}

static void an_ended_run_says_how(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    launch_state(dir, 8190);
    launch_end(dir, 8209);
    s = read_at(90000);
    assert_true(run_status_is_over(&s));
    assert_float_equal(s.trained_s, 7812.5, 0);
    assert_float_equal(s.wall_s, 8200, 0.01);
    assert_true(isnan(s.silent_since_unix_s));
    assert_headline(&s, "done (exit code 0)");
    s = read_at(90000);
    {
        char *text = text_of(&s);

        assert_non_null(strstr(text, "\n  trained 10,000 steps\n"));
        assert_non_null(
            strstr(text, "goodput      95.3 % (2h10m trained in 2h16m)\n"));
        assert_non_null(strstr(text, "checkpoint   step 4,350\n"));
        assert_null(strstr(text, "finishes"));
        assert_null(strstr(text, "tokens/s"));
        free(text);
    }
    run_status_clear(&s);
}

static void a_failure_stands_until_its_incident_is_over(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    launch_event(dir, "failure", 30,
                 "\"node\":\"node3\",\"text\":\"node3 is silent\"");
    s = read_at(31);
    assert_string_equal(s.failure, "node3: node3 is silent");
    run_status_clear(&s);
    launch_event(dir, "incident", 40, "\"total_s\":10");
    s = read_at(41);
    assert_string_equal(s.failure, "");
    run_status_clear(&s);
}

static void an_ejection_that_is_over_is_no_longer_told(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    launch_event(dir, "ejected", 20,
                 "\"node\":\"node9\",\"until_unix_s\":1795860100");
    s = read_at(99);
    assert_int_equal(s.n_nodes, 6);
    assert_string_equal(s.node[5].name, "node9");
    run_status_clear(&s);
    s = read_at(101);
    assert_int_equal(s.n_nodes, 5);
    run_status_clear(&s);
}

static void a_lost_node_that_was_ejected_is_called_so(void **state)
{
    struct run_status s;

    (void)state;
    launch_begin(dir);
    launch_break(dir);
    launch_state(dir, 3900); /* where node6 is lost */
    launch_event(dir, "ejected", 3901,
                 "\"node\":\"node6\",\"until_unix_s\":1795869999");
    s = read_at(3902);
    for (int i = 0; i < s.n_nodes; i++)
        if (!strcmp(s.node[i].name, "node6"))
            assert_string_equal(s.node[i].use, "ejected");
    assert_int_equal(s.node[3].until_unix_s, 1795869999);
    run_status_clear(&s);
}

static void programs_get_the_same_as_json(void **state)
{
    static const char *const members[] = {
        "dir",          "time",
        "metrics",      "headline",
        "phase",        "over",
        "ended",        "cancelled",
        "job",          "incarnation",
        "restarts",     "step",
        "steps",        "loss",
        "tokens_per_s", "eta_s",
        "saved_step",   "saved_unix_s",
        "trained_s",    "wall_s",
        "goodput",      "silent_since_unix_s",
        "failure",      "nodes",
        "incidents",
    };
    struct run_status s;
    json_t *o;

    (void)state;
    launch_begin(dir);
    launch_break(dir);
    launch_state(dir, 3900);
    launch_metrics(dir, 20);
    s = with_job(3902, CLUSTER_RUNNING, "RUNNING", "");
    o = run_status_json(&s);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        if (!json_object_get(o, members[i]))
            fail_msg("no member '%s'", members[i]);
    assert_int_equal(json_object_size(o), sizeof(members) / sizeof(members[0]));
    assert_int_equal(json_array_size(json_object_get(o, "incidents")), 3);
    assert_int_equal(json_array_size(json_object_get(o, "nodes")), 7);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(o, "job"), "state")),
        "RUNNING");
    json_decref(o);
    run_status_clear(&s);
}

static void a_run_without_scheduler_has_its_events_alone(void **state)
{
    struct run_status s = { 0 };
    struct mup_error err = { 0 };
    json_t *o;

    (void)state;
    assert_int_equal(run_status_read(dir, LAUNCH_BEGAN, 0, &s, &err),
                     MUP_CORRUPT);
    launch_add(dir, "events.jsonl", "{\"event\":\"start\",\"step\":0}");
    launch_add(dir, "events.jsonl", "{\"event\":\"done\",\"step\":50}");
    s = read_at(1);
    assert_false(s.is_launched);
    assert_true(run_status_is_over(&s));
    o = run_status_json(&s);
    assert_int_equal(json_object_size(o), 3); /* dir, time, event */
    json_decref(o);
    run_status_clear(&s);
}

static void nonsense_in_the_folder_is_survived(void **state)
{
    struct run_status s;
    char *text;

    (void)state;
    launch_add(dir, "launch.jsonl",
               "{\"event\":\"supervisor\",\"time\":\"x\",\"job\":-7}\n"
               "{\"event\":\"ejected\",\"node\":5,\"until_unix_s\":1e300}\n"
               "{\"event\":\"incident\",\"began_unix_s\":-1e300,\"class\":7}\n"
               "{\"event\":\"incarnation\",\"nodes\":[1,{},\"a\"]}");
    launch_add(
        dir, "launch.json",
        "{\"time\":null,\"step\":1e300,\"steps\":-5,\"loss\":\"x\","
        "\"nodes\":[1,{\"name\":\"b\",\"ranks\":[1,2,3,4,5,6,7,8,9,11,12,"
        "-9223372036854775807,-9223372036854775806,7]},"
        "{\"name\":3,\"ranks\":[\"x\",9223372036854775807,"
        "1,2,3,5,7,9,11,13,15,17,19,21,23,25]}],\"phase\":[]}");
    s = read_at(10);
    text = text_of(&s);
    assert_non_null(strstr(text, "runs/target"));
    free(text);
    run_status_clear(&s);
}

static void workers_of_a_node_are_told_together(void **state)
{
    struct mup_error err = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    launch_event(dir, "submitted", 0, "\"job\":41,\"again\":0");
    launch_add(dir, "workers.json",
               "{\"time\":1795860000,\"workers\":["
               "{\"node\":\"node1\",\"trial\":7,\"done\":12,\"failed\":0},"
               "{\"node\":\"node2\",\"trial\":null,\"done\":3,\"failed\":1},"
               "{\"node\":\"node1\",\"trial\":9,\"done\":11,\"failed\":1}]}");
    assert_non_null(out);
    assert_int_equal(sweep_nodes_print(dir, 0, out, &err), MUP_OK);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(
        text,
        "job 41: submitted; its job has not begun to report\n"
        "  node1        2 workers, 23 trials done, 1 failed, now trial 7, "
        "9\n"
        "  node2        1 worker, 3 trials done, 1 failed, idle\n");
    free(text);
}

#define TEST(F) cmocka_unit_test_setup_teardown(F, make, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_that_trains_tells_all_of_it),
        TEST(without_the_controller_the_journal_speaks),
        TEST(a_supervisor_that_is_silent_is_noticed),
        TEST(a_job_that_waits_says_why),
        TEST(a_lost_job_is_over_and_one_without_answer_is_not),
        TEST(an_ended_run_says_how),
        TEST(a_failure_stands_until_its_incident_is_over),
        TEST(an_ejection_that_is_over_is_no_longer_told),
        TEST(a_lost_node_that_was_ejected_is_called_so),
        TEST(programs_get_the_same_as_json),
        TEST(a_run_without_scheduler_has_its_events_alone),
        TEST(nonsense_in_the_folder_is_survived),
        TEST(workers_of_a_node_are_told_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
