/* The output of SLURM's tools, recorded from SLURM 22.05. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/command.h"
#include "launcher/slurm_parse.h"

/* takes: free. */
static char *recorded(const char *name)
{
    char path[256];
    char *text = calloc(1, 1 << 16);
    FILE *f;

    snprintf(path, sizeof(path), "tests/fuzz/slurm_parse/%s", name);
    f = fopen(path, "r");
    if (!f || !text)
        fail_msg("no '%s'", path);
    (void)!fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    return text;
}

static struct cluster_jobs all_jobs(void)
{
    struct cluster_jobs jobs;
    char *text = recorded("jobs");

    assert_int_equal(slurm_parse_jobs(text, &jobs, NULL), MUP_OK);
    free(text);
    return jobs;
}

static const struct cluster_job *named(const struct cluster_jobs *jobs,
                                       const char *name)
{
    for (int i = 0; i < jobs->n; i++)
        if (strcmp(jobs->job[i].name, name) == 0)
            return &jobs->job[i];
    fail_msg("no job '%s'", name);
    return NULL;
}

static void a_job_that_runs_has_nodes_and_times(void **state)
{
    struct cluster_jobs jobs = all_jobs();
    const struct cluster_job *j = named(&jobs, "runs");

    (void)state;
    assert_int_equal(j->id, 10);
    assert_int_equal(j->state, CLUSTER_RUNNING);
    assert_string_equal(j->state_name, "RUNNING");
    assert_string_equal(j->nodes, "node[1-2]");
    assert_string_equal(j->batch_host, "node1");
    assert_string_equal(j->comment, "a=1 Comment of a run");
    assert_string_equal(j->reason, "");
    assert_int_equal(j->submit_unix_s, 1795875678);
    assert_int_equal(j->start_unix_s, 1795875679);
    assert_int_equal(j->end_unix_s, 1795875739);
    assert_int_equal(j->restarts, 2);
    free(jobs.job);
}

static void jobs_that_ended_tell_how(void **state)
{
    struct cluster_jobs jobs = all_jobs();
    const struct cluster_job *j = named(&jobs, "node-fail");

    (void)state;
    assert_int_equal(j->state, CLUSTER_ENDED);
    assert_true(j->node_failed && !j->cancelled && !j->timed_out);
    j = named(&jobs, "time-out");
    assert_int_equal(j->state, CLUSTER_ENDED);
    assert_true(j->timed_out && !j->cancelled && !j->node_failed);
    assert_string_equal(j->reason, "TimeLimit");
    j = named(&jobs, "scancelled");
    assert_int_equal(j->state, CLUSTER_ENDED);
    assert_true(j->cancelled && !j->preempted);
    assert_int_equal(j->exit_signal, 15);
    j = named(&jobs, "fails");
    assert_int_equal(j->state, CLUSTER_ENDED);
    assert_int_equal(j->exit_status, 3);
    assert_int_equal(j->exit_signal, 0);
    assert_string_equal(j->reason, "NonZeroExitCode");
    free(jobs.job);
}

static void jobs_that_wait_are_pending_or_held(void **state)
{
    struct cluster_jobs jobs = all_jobs();
    const struct cluster_job *j = named(&jobs, "waits");

    (void)state;
    assert_int_equal(j->state, CLUSTER_PENDING);
    assert_string_equal(j->reason, "Resources");
    assert_int_equal(j->start_unix_s, 0);
    assert_string_equal(j->nodes, "");
    j = named(&jobs, "held");
    assert_int_equal(j->state, CLUSTER_HELD);
    assert_string_equal(j->reason, "JobHeldUser");
    j = named(&jobs, "too-big");
    assert_int_equal(j->state, CLUSTER_HELD);
    assert_string_equal(j->reason, "PartitionConfig");
    j = named(&jobs, "requeued");
    assert_int_equal(j->state, CLUSTER_ENDING);
    assert_string_equal(j->state_name, "COMPLETING");
    free(jobs.job);
}

static void tasks_of_an_array_have_its_id(void **state)
{
    struct cluster_jobs jobs = all_jobs();
    int tasks = 0;

    (void)state;
    for (int i = 0; i < jobs.n; i++)
        if (jobs.job[i].id == 2) {
            assert_string_equal(jobs.job[i].comment, "arr 1");
            tasks++;
        }
    assert_int_equal(tasks, 3);
    free(jobs.job);
}

static void words_to_come_are_jobs_that_run(void **state)
{
    struct cluster_job j = { 0 };

    (void)state;
    slurm_set_state(&j, "TELEPORTING", 1);
    assert_int_equal(j.state, CLUSTER_RUNNING);
    slurm_set_state(&j, "PREEMPTED", 1);
    assert_int_equal(j.state, CLUSTER_ENDED);
    assert_true(j.preempted && j.cancelled);
    slurm_set_state(&j, "PENDING", 0);
    assert_int_equal(j.state, CLUSTER_HELD);
    slurm_set_state(&j, "SUSPENDED", 1);
    assert_int_equal(j.state, CLUSTER_RUNNING);
}

static void the_queue_has_ids_states_and_comments(void **state)
{
    struct cluster_jobs jobs;

    (void)state;
    assert_int_equal(slurm_parse_queue("1\x1f"
                                       "CANCELLED\x1f(null)\n"
                                       "2\x1fRUNNING\x1f"
                                       "arr 1\n"
                                       "no line\n\n0\x1fRUNNING\x1fx\n"
                                       "3\x1fPENDING\x1f",
                                       &jobs, NULL),
                     MUP_OK);
    assert_int_equal(jobs.n, 3);
    assert_int_equal(jobs.job[0].id, 1);
    assert_int_equal(jobs.job[0].state, CLUSTER_ENDED);
    assert_string_equal(jobs.job[0].comment, "");
    assert_string_equal(jobs.job[1].comment, "arr 1");
    assert_int_equal(jobs.job[2].state, CLUSTER_PENDING);
    free(jobs.job);
}

static void nodes_are_usable_or_say_why_not(void **state)
{
    struct cluster_nodes n;
    char *text = recorded("nodes");

    (void)state;
    assert_int_equal(slurm_parse_nodes(text, &n, NULL), MUP_OK);
    assert_int_equal(n.n, 4);
    assert_string_equal(n.node[0].name, "node1");
    assert_true(n.node[0].usable);
    assert_int_equal(n.node[0].cpus, 2);
    assert_int_equal(n.node[0].memory_mib, 515000);
    assert_int_equal(n.node[0].gpus, 8);
    assert_string_equal(n.node[0].reason, "");
    assert_false(n.node[1].usable);
    assert_string_equal(n.node[1].state_name, "IDLE+DRAIN");
    assert_string_equal(n.node[1].reason, "mutransfer: wrong bits = bad");
    assert_false(n.node[3].usable);
    assert_string_equal(n.node[3].state_name, "DOWN+NOT_RESPONDING");
    assert_string_equal(n.node[3].reason, "Not responding");
    free(n.node);
    free(text);
}

static void node_states_of_all_versions_are_understood(void **state)
{
    static const char *const good[] = { "IDLE",
                                        "MIXED",
                                        "ALLOCATED+COMPLETING",
                                        "IDLE+CLOUD+POWERED_DOWN",
                                        "MIXED+PLANNED",
                                        "IDLE~",
                                        "IDLE#" };
    static const char *const bad[] = {
        "",
        "DOWN",
        "DOWN*",
        "IDLE*",
        "IDLE+DRAIN",
        "DRAINING",
        "ALLOCATED+FAIL",
        "IDLE+NOT_RESPONDING",
        "UNKNOWN",
        "IDLE+MAINT",
        "IDLE+INVALID_REG",
        "MIXED+POWERING_DOWN",
        "IDLE$",
        "FUTURE",
        "IDLE+REBOOT_ISSUED",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!slurm_node_usable(good[i]))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (slurm_node_usable(bad[i]))
            fail_msg("%s", bad[i]);
}

static void gpus_are_counted_in_gres(void **state)
{
    (void)state;
    assert_int_equal(slurm_parse_gpus(NULL), 0);
    assert_int_equal(slurm_parse_gpus("(null)"), 0);
    assert_int_equal(slurm_parse_gpus("gpu:8"), 8);
    assert_int_equal(slurm_parse_gpus("gpu:a100:4(S:0-1)"), 4);
    assert_int_equal(slurm_parse_gpus("gpu:a100:4(S:0,2),gpu:v100:2"), 6);
    assert_int_equal(slurm_parse_gpus("shard:8,gpu,gpumem:4,craynetwork:2"), 1);
    assert_int_equal(slurm_parse_gpus("gpu:a100"), 1);
    assert_int_equal(slurm_parse_gpus("gpu:999999999999999999"), 0);
}

static void partitions_have_limits(void **state)
{
    struct cluster_parts p;
    char *text = recorded("partitions");

    (void)state;
    assert_int_equal(slurm_parse_parts(text, &p, NULL), MUP_OK);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.part[0].info.name, "main");
    assert_true(p.part[0].info.is_default && p.part[0].info.up);
    assert_true(p.part[0].info.max_time_min <= 0);
    assert_int_equal(p.part[0].info.max_nodes, 0);
    assert_int_equal(p.part[0].info.nodes, 4);
    assert_string_equal(p.part[0].nodes, "node[1-4]");
    assert_false(p.part[1].info.is_default);
    assert_float_equal(p.part[1].info.max_time_min, 2, 0);
    cluster_free_parts(&p);
    free(text);
}

static void times_are_minutes(void **state)
{
    (void)state;
    assert_float_equal(slurm_parse_minutes("UNLIMITED"), 0, 0);
    assert_float_equal(slurm_parse_minutes("00:02:00"), 2, 0);
    assert_float_equal(slurm_parse_minutes("2-12:30:00"), 3630, 0);
    assert_float_equal(slurm_parse_minutes("1-02"), 1560, 0);
    assert_float_equal(slurm_parse_minutes("02:30"), 2.5, 0);
    assert_float_equal(slurm_parse_minutes("90"), 90, 0);
    assert_float_equal(slurm_parse_minutes("1:2:3:4"), 0, 0);
    assert_float_equal(slurm_parse_minutes("x-1"), 0, 0);
}

static void the_id_of_a_new_job_is_read(void **state)
{
    int64_t id = 0;

    (void)state;
    assert_int_equal(slurm_parse_id("17\n", &id, NULL), MUP_OK);
    assert_int_equal(id, 17);
    assert_int_equal(slurm_parse_id("18;north\n", &id, NULL), MUP_OK);
    assert_int_equal(id, 18);
    assert_int_equal(slurm_parse_id("Submitted batch job 1\n", &id, NULL),
                     MUP_SYSTEM);
    assert_int_equal(slurm_parse_id("", &id, NULL), MUP_SYSTEM);
    assert_int_equal(id, 18);
}

static void excluded_nodes_are_read(void **state)
{
    char *list;

    (void)state;
    assert_int_equal(slurm_parse_excluded("JobId=1 ExcNodeList=(null) "
                                          "NodeList=node3",
                                          &list, NULL),
                     MUP_OK);
    assert_string_equal(list, "");
    free(list);
    assert_int_equal(slurm_parse_excluded("JobId=1 ExcNodeList=a[1-2],b "
                                          "NodeList=node3",
                                          &list, NULL),
                     MUP_OK);
    assert_string_equal(list, "a[1-2],b");
    free(list);
}

static void complaints_have_statuses(void **state)
{
    static const struct {
        const char *errors;
        int status;
        const char *sentence;
    } cases[] = {
        { "sbatch: error: invalid partition specified: nope\n"
          "sbatch: error: Batch job submission failed: Invalid partition name "
          "specified\n",
          MUP_USAGE,
          "cannot x: SLURM refuses: Batch job submission failed: Invalid "
          "partition name specified" },
        { "slurm_load_jobs error: Unable to contact slurm controller (connect "
          "failure)\n",
          MUP_DEVICE,
          "cannot x: the SLURM controller does not answer: Unable to contact "
          "slurm controller (connect failure)" },
        { "slurm_update error: Invalid user id\n", MUP_NEGATIVE,
          "cannot x: SLURM does not permit it: Invalid user id" },
        { "scancel: error: Kill job error on job id 1: Access/permission "
          "denied\n",
          MUP_NEGATIVE,
          "cannot x: SLURM does not permit it: Kill job error on job id 1: "
          "Access/permission denied" },
        { "squeue: error: fetch_config: DNS SRV lookup failed\n"
          "squeue: fatal: Could not establish a configuration source\n",
          MUP_SYSTEM,
          "no SLURM is configured on this machine; set SLURM_CONF "
          "to the slurm.conf of your site" },
        { " \n", MUP_USAGE, "cannot x: SLURM refuses: it does not say why" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mup_error err = { 0 };

        assert_int_equal(slurm_parse_refusal(cases[i].errors, "cannot x", &err),
                         cases[i].status);
        assert_string_equal(err.text, cases[i].sentence);
    }
    assert_true(slurm_parse_no_job("slurm_load_jobs error: Invalid job id "
                                   "specified\n"));
    assert_false(slurm_parse_no_job("Unable to contact\n"));
}

/* ---- other programs --------------------------------------------------------
 */

static struct command_answer answer_of(const char *const *words,
                                       const char *input, double timeout_s)
{
    struct command c = { words, input, NULL, timeout_s };
    struct command_answer a = { 0 };
    struct mup_error err = { 0 };

    if (command_run(&c, &a, &err))
        fail_msg("%s", err.text);
    return a;
}

static void a_program_gets_its_words_and_its_input(void **state)
{
    const char *const words[] = {
        "sh", "-c", "cat; echo $1 >&2; exit 3", "sh", "$(two words)", NULL
    };
    struct command_answer a;
    char *big = malloc(1 << 20);

    (void)state;
    assert_non_null(big);
    memset(big, 'x', (1 << 20) - 1);
    big[(1 << 20) - 1] = '\0';
    a = answer_of(words, big, 60);
    assert_int_equal(a.exit_code, 3);
    assert_false(a.timed_out);
    assert_string_equal(a.output, big);
    assert_string_equal(a.errors, "$(two words)\n");
    command_answer_clear(&a);
    free(big);
}

static void one_that_does_not_listen_does_not_end_us(void **state)
{
    const char *const words[] = { "true", NULL };
    char *big = malloc(1 << 20);
    struct command_answer a;

    (void)state;
    assert_non_null(big);
    memset(big, 'x', (1 << 20) - 1);
    big[(1 << 20) - 1] = '\0';
    a = answer_of(words, big, 60);
    assert_int_equal(a.exit_code, 0);
    assert_string_equal(a.output, "");
    command_answer_clear(&a);
    free(big);
}

static void one_that_hangs_is_killed_with_its_children(void **state)
{
    const char *const asleep[] = { "sh", "-c", "echo a; sleep 600; true",
                                   NULL };
    const char *const closed[] = { "sh", "-c",
                                   "exec >/dev/null 2>&1; sleep 600; true",
                                   NULL };
    struct command_answer a;

    (void)state;
    a = answer_of(asleep, NULL, 0.3);
    assert_true(a.timed_out);
    assert_string_equal(a.output, "a\n");
    command_answer_clear(&a);
    a = answer_of(closed, NULL, 0.3);
    assert_true(a.timed_out);
    assert_int_equal(a.exit_code, 128 + 9);
    command_answer_clear(&a);
}

static void one_that_is_not_there_is_an_error(void **state)
{
    const char *const words[] = { "no-such-program-here", NULL };
    struct command c = { words, NULL, NULL, 10 };
    struct command_answer a;
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(command_run(&c, &a, &err), MUP_SYSTEM);
    assert_string_equal(err.text, "cannot start 'no-such-program-here': No "
                                  "such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_that_runs_has_nodes_and_times),
        cmocka_unit_test(jobs_that_ended_tell_how),
        cmocka_unit_test(jobs_that_wait_are_pending_or_held),
        cmocka_unit_test(tasks_of_an_array_have_its_id),
        cmocka_unit_test(words_to_come_are_jobs_that_run),
        cmocka_unit_test(the_queue_has_ids_states_and_comments),
        cmocka_unit_test(nodes_are_usable_or_say_why_not),
        cmocka_unit_test(node_states_of_all_versions_are_understood),
        cmocka_unit_test(gpus_are_counted_in_gres),
        cmocka_unit_test(partitions_have_limits),
        cmocka_unit_test(times_are_minutes),
        cmocka_unit_test(the_id_of_a_new_job_is_read),
        cmocka_unit_test(excluded_nodes_are_read),
        cmocka_unit_test(complaints_have_statuses),
        cmocka_unit_test(a_program_gets_its_words_and_its_input),
        cmocka_unit_test(one_that_does_not_listen_does_not_end_us),
        cmocka_unit_test(one_that_hangs_is_killed_with_its_children),
        cmocka_unit_test(one_that_is_not_there_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
