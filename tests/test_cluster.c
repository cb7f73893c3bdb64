/* Both ways to SLURM against a real cluster of four nodes on this machine
 * (tests/slurm/cluster.sh). */
#define _DEFAULT_SOURCE /* setgroups */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/cluster.h"
#include "launcher/command.h"
#include "model/clock.h"

#define CLUSTER_SH "tests/slurm/cluster.sh"
#define PATIENCE_S 120.0 /* of a busy machine */

static int library = SLURM_LIBSLURM, tools = SLURM_TOOLS;
static char folder[64]; /* state of the cluster */
static char work[80];   /* where jobs run */
static char missing[1024];

/* ---- the cluster -----------------------------------------------------------
 */

/* Exit code of a command; what it says of errors is kept in missing. */
static int run(const char *const *words)
{
    struct command c = { words, NULL, NULL, 300 };
    struct command_answer a = { 0 };
    struct mup_error err = { 0 };
    int code;

    if (command_run(&c, &a, &err))
        fail_msg("%s", err.text);
    code = a.timed_out ? 124 : a.exit_code;
    snprintf(missing, sizeof(missing), "%.1000s", a.errors);
    command_answer_clear(&a);
    return code;
}

static void fault(const char *verb)
{
    const char *const words[] = { CLUSTER_SH, verb, folder, NULL };

    if (run(words))
        fail_msg("%s: %s", verb, missing);
}

static int start(void **state)
{
    const char *const up[] = { CLUSTER_SH, "up", folder, "--nodes", "4", NULL };
    char conf[128];
    int code;

    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/mtclu-%ld", (long)getpid());
    snprintf(work, sizeof(work), "%s-jobs", folder);
    code = run(up);
    if (code == 2) {
        printf("skipped, no cluster: %s\n", missing);
        folder[0] = '\0';
        return 0;
    }
    if (code) {
        printf("%s\n", missing);
        return 1;
    }
    missing[0] = '\0';
    snprintf(conf, sizeof(conf), "%s/slurm.conf", folder);
    return setenv("SLURM_CONF", conf, 1) || mkdir(work, 0777) ||
           chmod(work, 0777);
}

static int stop(void **state)
{
    const char *const down[] = { CLUSTER_SH, "down", folder, "--wipe", NULL };
    const char *const clean[] = { "rm", "-rf", work, NULL };

    (void)state;
    return folder[0] ? run(down) || run(clean) : 0;
}

static struct cluster *open_cluster(void **state)
{
    struct mup_error err = { 0 };
    struct cluster *c;
    int by = **(int **)state;

    if (!folder[0] || (by == SLURM_LIBSLURM && !cluster_has_library()))
        skip();
    if (cluster_open(by, &c, &err))
        fail_msg("%s", err.text);
    assert_string_equal(cluster_name(c),
                        by == SLURM_LIBSLURM ? "libslurm" : "tools");
    return c;
}

/* ---- jobs ------------------------------------------------------------------
 */

static void nap(void)
{
    const struct timespec t = { 0, 50000000 };

    nanosleep(&t, NULL);
}

/* A job on one node; its files are work/name.*. */
static struct cluster_request request(const char *name, const char *script)
{
    static char output[128];
    struct cluster_request r = {
        .script = script,
        .name = name,
        .comment = name,
        .work_dir = work,
        .output = output,
        .nodes = 1,
        .tasks_per_node = 1,
        .cpus_per_task = 1,
        .time_min = 10,
        .requeue = 1,
    };

    snprintf(output, sizeof(output), "%s/%s.log", work, name);
    remove(output);
    return r;
}

static int64_t submit(struct cluster *c, const struct cluster_request *r)
{
    struct mup_error err = { 0 };
    int64_t id = 0;

    if (cluster_submit(c, r, &id, &err))
        fail_msg("%s", err.text);
    assert_true(id > 0);
    return id;
}

static struct cluster_job look(struct cluster *c, int64_t id)
{
    struct mup_error err = { 0 };
    struct cluster_job j;

    if (cluster_job(c, id, &j, &err))
        fail_msg("%s", err.text);
    assert_int_equal(j.id, id);
    return j;
}

static struct cluster_job await(struct cluster *c, int64_t id, int job_state)
{
    double deadline_s = clock_s() + PATIENCE_S;
    struct cluster_job j = look(c, id);

    while (j.state != job_state) {
        if (clock_s() > deadline_s)
            fail_msg("job %lld stays %s (%s)", (long long)id, j.state_name,
                     j.reason);
        nap();
        j = look(c, id);
    }
    return j;
}

static void cancel(struct cluster *c, int64_t id)
{
    struct mup_error err = { 0 };

    if (cluster_cancel(c, id, &err))
        fail_msg("%s", err.text);
    (void)await(c, id, CLUSTER_ENDED);
}

/* What the job named name wrote; "" if nothing. */
static const char *written(const char *name)
{
    static char text[4096];
    char path[128];
    size_t n = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.log", work, name);
    f = fopen(path, "r");
    if (f) {
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
    }
    text[n] = '\0';
    return text;
}

static void await_written(const char *name, const char *what)
{
    double deadline_s = clock_s() + PATIENCE_S;

    while (!strstr(written(name), what)) {
        if (clock_s() > deadline_s)
            fail_msg("'%s' has not written '%s' but '%s'", name, what,
                     written(name));
        nap();
    }
}

#define LINGER "#!/bin/sh\necho began\nexec sleep 600\n"

/* ---- the tests -------------------------------------------------------------
 */

static void a_job_waits_runs_and_ends_with_its_exit_status(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r = request(
        "exits", "#!/bin/sh\necho on $SLURM_JOB_NODELIST in $PWD\n"
                 "echo ${SLURM_NTASKS} ${SLURM_CPUS_PER_TASK} $FROM_ME$OUTER\n"
                 "until [ -e go ]; do sleep 0.05; done\nexit 3\n");
    char go[128], on[1300];
    struct cluster_job j;
    int64_t id;
    FILE *f;

    r.nodes = 2;
    setenv("FROM_ME", "mine", 1);
    setenv("SLURM_CPUS_PER_TASK", "77", 1); /* of a job that we were in */
    id = submit(c, &r);
    unsetenv("FROM_ME");
    unsetenv("SLURM_CPUS_PER_TASK");
    j = await(c, id, CLUSTER_RUNNING);
    assert_string_equal(j.name, "exits");
    assert_string_equal(j.comment, "exits");
    assert_string_equal(j.state_name, "RUNNING");
    assert_int_equal(strncmp(j.nodes, "node", 4), 0);
    assert_int_equal(strncmp(j.batch_host, "node", 4), 0);
    assert_true(j.submit_unix_s > 0 && j.start_unix_s >= j.submit_unix_s);
    assert_int_equal(j.end_unix_s, j.start_unix_s + 600);
    snprintf(go, sizeof(go), "%s/go", work);
    f = fopen(go, "w");
    assert_non_null(f);
    fclose(f);
    j = await(c, id, CLUSTER_ENDED);
    remove(go);
    assert_int_equal(j.exit_status, 3);
    assert_int_equal(j.exit_signal, 0);
    assert_string_equal(j.state_name, "FAILED");
    assert_false(j.cancelled || j.timed_out || j.node_failed);
    snprintf(on, sizeof(on), "on %s in %s\n2 1 mine\n", j.nodes, work);
    assert_string_equal(written("exits"), on);
    cluster_close(c);
}

static void a_job_is_found_by_its_comment(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r = request("found", "#!/bin/sh\nexit 0\n");
    struct cluster_job j;
    int64_t ended, lives;

    r.comment = "mutransfer uuid=1 | it's";
    assert_int_equal(cluster_find(c, "mutransfer uuid=none", &j, NULL), MUP_OK);
    assert_int_equal(j.state, CLUSTER_NO_JOB);
    ended = submit(c, &r);
    (void)await(c, ended, CLUSTER_ENDED);
    assert_int_equal(cluster_find(c, r.comment, &j, NULL), MUP_OK);
    assert_int_equal(j.id, ended);
    assert_int_equal(j.state, CLUSTER_ENDED);
    r.script = LINGER;
    lives = submit(c, &r);
    r.script = "#!/bin/sh\nexit 0\n";
    ended = submit(c, &r);
    (void)await(c, ended, CLUSTER_ENDED);
    assert_int_equal(cluster_find(c, r.comment, &j, NULL), MUP_OK);
    assert_int_equal(j.id, lives);
    assert_string_equal(j.comment, r.comment);
    cancel(c, lives);
    /* Of ended ones the newest. */
    assert_int_equal(cluster_find(c, r.comment, &j, NULL), MUP_OK);
    assert_int_equal(j.id, ended);
    cluster_close(c);
}

static void a_cancelled_job_says_so(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r = request("cancelled", LINGER);
    int64_t id = submit(c, &r);
    struct cluster_job j;

    (void)await(c, id, CLUSTER_RUNNING);
    await_written("cancelled", "began");
    cancel(c, id);
    j = look(c, id);
    assert_true(j.cancelled);
    assert_false(j.timed_out || j.node_failed || j.preempted);
    assert_string_equal(j.state_name, "CANCELLED");
    /* Once more, and one that never was. */
    assert_int_equal(cluster_cancel(c, id, NULL), MUP_OK);
    assert_int_equal(cluster_cancel(c, 987654, NULL), MUP_OK);
    cluster_close(c);
}

static void a_signal_reaches_the_batch_script_alone(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r =
        request("signal", "#!/bin/sh\ntrap 'echo got it' USR1\n"
                          "sh -c 'trap \"echo child\" USR1; echo began; "
                          "while :; do sleep 0.1; done' &\n"
                          "while :; do wait; done\n");
    int64_t id = submit(c, &r);
    struct mup_error err = { 0 };

    await_written("signal", "began");
    if (cluster_signal(c, id, SIGUSR1, &err))
        fail_msg("%s", err.text);
    await_written("signal", "got it");
    assert_null(strstr(written("signal"), "child"));
    cancel(c, id);
    assert_int_equal(cluster_signal(c, id, SIGUSR1, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "it is CANCELLED"));
    assert_int_equal(cluster_signal(c, 987654, SIGUSR1, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "no such job"));
    cluster_close(c);
}

/* Both ways at once: SLURM looks at its jobs' times twice a minute. */
static void a_job_is_warned_before_its_time_is_over(void **state)
{
    int *const ways[] = { &library, &tools };
    struct cluster *c[2] = { NULL, NULL };
    int64_t id[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        void *way = ways[i];
        const char *name = i ? "warned-tools" : "warned-library";
        struct cluster_request r =
            request(name, "#!/bin/sh\ntrap 'echo warned; exit 5' USR1\n"
                          "sleep 600 &\nwait\n");

        if (!folder[0])
            skip();
        if (ways[i] == &library && !cluster_has_library())
            continue;
        r.time_min = 0.5; /* SLURM counts whole minutes */
        r.signal_s = 59;
        c[i] = open_cluster(&way);
        id[i] = submit(c[i], &r);
    }
    for (int i = 0; i < 2; i++) {
        if (!c[i])
            continue;
        assert_int_equal(await(c[i], id[i], CLUSTER_ENDED).exit_status, 5);
        await_written(i ? "warned-tools" : "warned-library", "warned");
        cluster_close(c[i]);
    }
}

static void a_requeued_job_starts_again_elsewhere(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r =
        request("requeued", "#!/bin/sh\n"
                            "echo run ${SLURM_RESTART_COUNT:-0}\n"
                            "exec sleep 600\n");
    struct mup_error err = { 0 };
    struct cluster_job first, second;
    int64_t id;

    r.exclude = "node4";
    id = submit(c, &r);
    first = await(c, id, CLUSTER_RUNNING);
    await_written("requeued", "run 0");
    if (cluster_requeue(c, id, first.nodes, &err))
        fail_msg("%s", err.text);
    assert_int_not_equal(look(c, id).state, CLUSTER_RUNNING);
    /* Already waiting: more can be excluded. */
    if (cluster_requeue(c, id, strcmp(first.nodes, "node1") ? "node1" : "node2",
                        &err))
        fail_msg("%s", err.text);
    second = await(c, id, CLUSTER_RUNNING);
    assert_int_equal(second.restarts, 1);
    assert_string_not_equal(second.nodes, first.nodes);
    assert_string_not_equal(second.nodes, "node4");
    await_written("requeued", "run 1");
    assert_non_null(strstr(written("requeued"), "run 0")); /* appended */
    cancel(c, id);
    r.requeue = 0;
    id = submit(c, &r);
    (void)await(c, id, CLUSTER_RUNNING);
    assert_int_equal(cluster_requeue(c, id, NULL, &err), MUP_USAGE);
    cancel(c, id);
    cluster_close(c);
}

static void an_array_is_one_job_until_its_last_task_ends(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r = request(
        "array", "#!/bin/sh\necho task $SLURM_ARRAY_TASK_ID of "
                 "$SLURM_ARRAY_TASK_COUNT\nexit $SLURM_ARRAY_TASK_ID\n");
    struct cluster_job j;
    int64_t id;

    r.array = 3;
    id = submit(c, &r);
    j = await(c, id, CLUSTER_ENDED);
    assert_true(j.exit_status == 1 || j.exit_status == 2);
    await_written("array", "task 0 of 3");
    await_written("array", "task 1 of 3");
    await_written("array", "task 2 of 3");
    assert_int_equal(cluster_find(c, "array", &j, NULL), MUP_OK);
    assert_int_equal(j.id, id);
    r.script = LINGER;
    id = submit(c, &r);
    (void)await(c, id, CLUSTER_RUNNING);
    cancel(c, id);
    cluster_close(c);
}

static void what_can_never_run_is_held_or_refused(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r = request("never", LINGER);
    struct mup_error err = { 0 };
    struct cluster_job j;
    int64_t id = -5;

    r.partition = "nope";
    assert_int_equal(cluster_submit(c, &r, &id, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "partition"));
    r.partition = "";
    r.exclude = "nodeX";
    assert_int_equal(cluster_submit(c, &r, &id, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "Invalid node name"));
    r.exclude = NULL;
    r.gpus_per_node = 2;
    assert_int_equal(cluster_submit(c, &r, &id, &err), MUP_USAGE);
    r.gpus_per_node = 0;
    r.memory_gib = 1000;
    assert_int_equal(cluster_submit(c, &r, &id, &err), MUP_USAGE);
    r.memory_gib = 0;
    assert_int_equal(id, -5);
    r.nodes = 99;
    id = submit(c, &r);
    j = await(c, id, CLUSTER_HELD);
    assert_string_equal(j.reason, "PartitionConfig");
    cancel(c, id);
    cluster_close(c);
}

static void nobody_knows_a_job_that_never_was(void **state)
{
    struct cluster *c = open_cluster(state);
    struct mup_error err = { 0 };

    assert_int_equal(look(c, 987654).state, CLUSTER_NO_JOB);
    assert_int_equal(cluster_requeue(c, 987654, "node1", &err), MUP_USAGE);
    cluster_close(c);
}

static void partitions_and_their_nodes_are_listed(void **state)
{
    struct cluster *c = open_cluster(state);
    struct mup_error err = { 0 };
    struct cluster_partition p;
    struct cluster_node *nodes;
    int n;

    assert_int_equal(cluster_ping(c, NULL), MUP_OK);
    assert_int_equal(cluster_partition(c, "", &p, NULL), MUP_OK);
    assert_string_equal(p.name, "main");
    assert_true(p.is_default && p.up);
    assert_int_equal(p.nodes, 4);
    assert_float_equal(p.max_time_min, 0, 0);
    assert_int_equal(cluster_partition(c, "short", &p, NULL), MUP_OK);
    assert_false(p.is_default);
    assert_float_equal(p.max_time_min, 2, 0);
    assert_int_equal(cluster_partition(c, "nope", &p, &err), MUP_USAGE);
    assert_string_equal(err.text,
                        "there is no partition 'nope'; there are main, short");
    assert_int_equal(cluster_nodes(c, "nope", &nodes, &n, &err), MUP_USAGE);
    assert_int_equal(cluster_nodes(c, NULL, &nodes, &n, NULL), MUP_OK);
    assert_int_equal(n, 4);
    for (int i = 0; i < n; i++) {
        assert_true(nodes[i].usable);
        assert_int_equal(nodes[i].cpus, 2);
        assert_int_equal(nodes[i].gpus, 0);
    }
    assert_string_equal(nodes[3].name, "node4");
    free(nodes);
    cluster_close(c);
}

static void resume(const char *node)
{
    char name[64];
    const char *const words[] = { "scontrol", "update", name, "state=resume",
                                  NULL };

    snprintf(name, sizeof(name), "nodename=%s", node);
    if (run(words))
        fail_msg("%s", missing);
}

static void a_drained_node_gets_no_job_and_tells_why(void **state)
{
    struct cluster *c = open_cluster(state);
    struct mup_error err = { 0 };
    struct cluster_node *nodes;
    int n;

    if (geteuid() != 0) {
        assert_int_equal(cluster_drain(c, "node3", "mutransfer: x", &err),
                         MUP_NEGATIVE);
        cluster_close(c);
        return;
    }
    assert_int_equal(cluster_drain(c, "node3", "", &err), MUP_USAGE);
    assert_int_equal(cluster_drain(c, "nodeX", "x", &err), MUP_USAGE);
    if (cluster_drain(c, "node3", "mutransfer: wrong bits = [bad]", &err))
        fail_msg("%s", err.text);
    assert_int_equal(cluster_nodes(c, "main", &nodes, &n, NULL), MUP_OK);
    assert_int_equal(n, 4);
    assert_string_equal(nodes[2].name, "node3");
    assert_false(nodes[2].usable);
    assert_string_equal(nodes[2].reason, "mutransfer: wrong bits = [bad]");
    assert_true(nodes[1].usable);
    free(nodes);
    resume("node3");
    cluster_close(c);
}

/* In a process of its own that is nobody. */
static int drain_as_nobody(int by)
{
    struct cluster *c;

    if (setgroups(0, NULL) || setgid(65534) || setuid(65534) ||
        cluster_open(by, &c, NULL))
        return 99;
    return cluster_drain(c, "node3", "mutransfer: x", NULL);
}

static void draining_needs_the_rights_of_an_operator(void **state)
{
    struct cluster *c = open_cluster(state);
    int status;
    pid_t pid;

    cluster_close(c);
    if (geteuid() != 0)
        skip();
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(drain_as_nobody(**(int **)state));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), MUP_NEGATIVE);
}

static void a_dead_controller_is_no_dead_job(void **state)
{
    struct cluster *c = open_cluster(state);
    struct cluster_request r = request("outlives", LINGER);
    int64_t id = submit(c, &r);
    struct mup_error err = { 0 };
    struct cluster_job j;
    int64_t other;

    (void)await(c, id, CLUSTER_RUNNING);
    await_written("outlives", "began");
    fault("kill-ctld");
    /* Every question takes some seconds. */
    assert_int_equal(cluster_job(c, id, &j, &err), MUP_DEVICE);
    assert_non_null(strstr(err.text, "the SLURM controller does not answer"));
    assert_int_equal(cluster_submit(c, &r, &other, &err), MUP_DEVICE);
    fault("start-ctld");
    /* Once it answers it knows the job, or has lost it: then it was younger
     * than what was saved. */
    assert_int_equal(cluster_ping(c, NULL), MUP_OK);
    j = look(c, id);
    if (j.state != CLUSTER_NO_JOB)
        cancel(c, id);
    cluster_close(c);
}

static void without_a_configuration_there_is_a_sentence(void **state)
{
    struct cluster *c = open_cluster(state);
    struct mup_error err = { 0 };
    char conf[128];

    cluster_close(c);
    snprintf(conf, sizeof(conf), "%s/slurm.conf", folder);
    setenv("SLURM_CONF", "/no/such/slurm.conf", 1);
    assert_int_equal(cluster_open(**(int **)state, &c, &err), MUP_USAGE);
    assert_string_equal(err.text,
                        "SLURM_CONF names '/no/such/slurm.conf', which cannot "
                        "be read: No such file or directory; unset it or name "
                        "the slurm.conf of your site");
    setenv("SLURM_CONF", conf, 1);
}

#define BOTH(test)                                                             \
    { #test " (libslurm)", test, NULL, NULL, &library },                       \
    {                                                                          \
#test " (tools)", test, NULL, NULL, &tools                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(partitions_and_their_nodes_are_listed),
        BOTH(a_job_waits_runs_and_ends_with_its_exit_status),
        BOTH(a_job_is_found_by_its_comment),
        BOTH(a_cancelled_job_says_so),
        BOTH(a_signal_reaches_the_batch_script_alone),
        cmocka_unit_test(a_job_is_warned_before_its_time_is_over),
        BOTH(a_requeued_job_starts_again_elsewhere),
        BOTH(an_array_is_one_job_until_its_last_task_ends),
        BOTH(what_can_never_run_is_held_or_refused),
        BOTH(nobody_knows_a_job_that_never_was),
        BOTH(draining_needs_the_rights_of_an_operator),
        BOTH(a_drained_node_gets_no_job_and_tells_why),
        BOTH(a_dead_controller_is_no_dead_job),
        BOTH(without_a_configuration_there_is_a_sentence),
    };

    return cmocka_run_group_tests(tests, start, stop);
}
