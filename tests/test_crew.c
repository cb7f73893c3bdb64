/* Workers on nodes: the words before them, their signs of life, nodes that do
 * not work.  This program is its own worker, with the fake trainer. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "launcher/crew.h"
#include "model/clock.h"
#include "sweep/worker.h"
#include "tests/fake_trainer.h"
#include "tests/sweep_fixture.inc.h"

#define TRIALS 6
#define STUDY                                                                  \
    "silence_s: 2\nparameters:\n  train.lr: [0.01, 0.02, 0.03]\n"              \
    "  train.steps: {value: 20}\nseeds: [1, 2]\n"

#define SICK(lr)                                                               \
    "silence_s: 2\nworkers: 1\nparameters:\n  train.lr: [" lr "]\n"            \
    "  train.steps: {value: 20}\n"

static const char *const bare[] = { "env", NULL };
static const char *const broken[] = { "false", NULL };

static void use_nodes(struct study *s, const struct sweep_node *node, int n,
                      int64_t workers)
{
    s->crew.n_nodes = n;
    s->crew.node = node;
    s->crew.workers_per_node = workers;
}

static void check_all_done(const struct study *s, int64_t n)
{
    struct trial *t;

    assert_int_equal(read_trials(s, &t), n);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(t[i].state, TRIAL_DONE);
    free(t);
}

static json_t *read_workers(const struct study *s)
{
    char path[1100];
    json_t *o;

    snprintf(path, sizeof(path), "%s/workers.json", s->dir);
    o = json_load_file(path, 0, NULL);
    assert_non_null(o);
    return o;
}

/* --- the words of a node --- */

static void workers_are_started_behind_the_words_of_their_node(void **state)
{
    struct study *s = *state;
    char path[100], want[2200], *text;
    const char *const words[] = { "sh", "-c",
                                  "echo \"$@\" >>\"$0\"; exec \"$@\"", path,
                                  NULL };
    const struct sweep_node nodes[] = { { "a 1", words }, { "b", bare } };
    size_t bytes;
    json_t *o;

    snprintf(path, sizeof(path), "%s/a word's \"file\"", s->dir);
    use_nodes(s, nodes, 2, 2);
    setenv("FAKE_STEP_US", "5000", 1); /* so that every slot gets one */
    open_study(s, STUDY);
    run_well(s);
    check_all_done(s, TRIALS);
    assert_int_equal(file_read(path, 1 << 16, &text, &bytes, NULL), MUP_OK);
    snprintf(want, sizeof(want), "%s worker\n%s worker\n", s->program,
             s->program);
    assert_string_equal(text, want);
    free(text);
    o = read_workers(s);
    assert_int_equal(json_array_size(json_object_get(o, "workers")), 4);
    assert_int_equal(json_array_size(json_object_get(o, "retired")), 0);
    json_decref(o);
}

static void every_node_of_a_job_gets_its_own_srun(void **state)
{
    struct slurm_config slurm = { .ranks_per_node = 3, .cpus_per_rank = 2 };
    struct crew c;
    const char *const *w;

    (void)state;
    assert_int_equal(crew_make("n[1-2],x", &slurm, "/p", &c, NULL), MUP_OK);
    assert_int_equal(c.sweep.n_nodes, 3);
    assert_int_equal(c.sweep.workers_per_node, 3);
    w = c.sweep.node[1].prefix;
    assert_string_equal(c.sweep.node[1].name, "n2");
    assert_string_equal(w[0], "srun");
    for (; w[1]; w++)
        if (!strncmp(w[0], "--cpus", 6))
            assert_string_equal(w[0], "--cpus-per-task=2");
    assert_string_equal(w[-1], "-w");
    assert_string_equal(w[0], "n2");
    crew_clear(&c);
    assert_int_equal(crew_make("", &slurm, "/p", &c, NULL), MUP_USAGE);
    assert_int_equal(crew_make("n[", &slurm, "/p", &c, NULL), MUP_USAGE);
}

/* --- signs of life --- */

static void check_second_attempt(struct study *s, const char *lr)
{
    char text[400];
    struct trial *t;

    snprintf(text, sizeof(text), SICK("%s"), lr);
    open_study(s, text);
    run_well(s);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_DONE);
    assert_int_equal(t[0].attempt, 2);
    assert_int_equal(t[0].deaths, 1);
    assert_int_equal(s->notes, 1);
    assert_non_null(strstr(s->note, "gave no sign of life for 2 s"));
    free(t);
}

static void a_stopped_worker_is_replaced(void **state)
{
    check_second_attempt(*state, "0.0078125");
}

static void a_worker_that_hangs_in_a_step_is_replaced(void **state)
{
    check_second_attempt(*state, "0.00390625");
}

static void a_worker_without_a_first_step_is_replaced_at_last(void **state)
{
    struct study *s = *state;

    open_study(s, SICK("0.01") "  recover.setup_s: {value: 1}\n"
                               "max_attempts: 1\n");
    setenv("FAKE_SETUP_US", "3000000", 1);
    assert_int_equal(run(s), MUP_NEGATIVE);
    assert_non_null(strstr(s->err.text, "gave no first step for 1 s"));
}

static void a_long_start_and_long_leases_are_no_silence(void **state)
{
    struct study *s = *state;
    const struct sweep_node nodes[] = { { "a", bare } };
    struct trial *t;

    use_nodes(s, nodes, 1, 1);
    setenv("FAKE_SETUP_US", "2500000", 1);
    open_study(s, SICK("0.01"));
    run_well(s);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_DONE);
    assert_int_equal(t[0].attempt, 1);
    free(t);
}

/* A worker of its own, with its ends of the pipes here. */
static pid_t start_worker(int *in, int *out)
{
    int a[2], b[2];
    pid_t pid;

    assert_int_equal(pipe(a) || pipe(b), 0);
    pid = fork();
    if (pid == 0) {
        close(a[1]);
        close(b[0]);
        _exit(worker_serve(a[0], b[1], fake_train));
    }
    close(a[0]);
    close(b[1]);
    *in = a[1];
    *out = b[0];
    return pid;
}

static int end_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
a_worker_that_hears_nothing_leaves_when_its_lease_is_over(void **state)
{
    static const char lease[] = "{\"op\":\"alive\",\"lease_s\":0.5}\n";
    double began = clock_s();
    int in, out;
    pid_t pid = start_worker(&in, &out);

    (void)state;
    assert_int_equal(write(in, lease, sizeof(lease) - 1), sizeof(lease) - 1);
    assert_int_equal(end_of(pid), MUP_STOPPED);
    assert_true(clock_s() - began >= 0.5);
    close(in);
    close(out);
}

static void a_worker_that_nobody_hears_leaves(void **state)
{
    int in, out;
    pid_t pid = start_worker(&in, &out);

    (void)state;
    close(out);
    assert_int_equal(end_of(pid), MUP_OK);
    close(in);
}

/* --- nodes --- */

static void a_node_that_does_not_work_is_left_out(void **state)
{
    struct study *s = *state;
    const struct sweep_node nodes[] = { { "bad", broken }, { "good", bare } };
    json_t *o, *retired;

    use_nodes(s, nodes, 2, 2);
    setenv("FAKE_STEP_US", "20000", 1); /* the good one is slow to take all */
    open_study(s, STUDY);
    run_well(s);
    check_all_done(s, TRIALS);
    assert_non_null(strstr(s->note, "trial "));
    assert_int_equal(s->result.failed, 0);
    o = read_workers(s);
    retired = json_object_get(o, "retired");
    assert_int_equal(json_array_size(retired), 1);
    assert_string_equal(json_string_value(json_array_get(retired, 0)), "bad");
    json_decref(o);
}

static void a_sweep_without_a_node_that_works_stops(void **state)
{
    struct study *s = *state;
    const struct sweep_node nodes[] = { { "bad", broken }, { "too", broken } };

    use_nodes(s, nodes, 2, 1);
    open_study(s, "max_attempts: 100\n" STUDY);
    assert_int_equal(run(s), MUP_SYSTEM);
    assert_non_null(strstr(s->err.text, "in a row died without a step"));
}

static void few_trials_spread_over_the_nodes(void **state)
{
    struct study *s = *state;
    const struct sweep_node nodes[] = { { "a", bare },
                                        { "b", bare },
                                        { "c", bare } };
    json_t *o, *w;
    size_t i;

    use_nodes(s, nodes, 3, 4);
    setenv("FAKE_STEP_US", "5000", 1);
    open_study(s, "parameters:\n  train.lr: [0.01]\n"
                  "  train.steps: {value: 20}\nseeds: [1, 2, 3]\n");
    run_well(s);
    o = read_workers(s);
    json_array_foreach(json_object_get(o, "workers"), i, w)
        assert_int_equal(json_integer_value(json_object_get(w, "done")), i < 3);
    json_decref(o);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_started_behind_the_words_of_their_node),
        cmocka_unit_test(every_node_of_a_job_gets_its_own_srun),
        cmocka_unit_test(a_stopped_worker_is_replaced),
        cmocka_unit_test(a_worker_that_hangs_in_a_step_is_replaced),
        cmocka_unit_test(a_worker_without_a_first_step_is_replaced_at_last),
        cmocka_unit_test(a_long_start_and_long_leases_are_no_silence),
        cmocka_unit_test(
            a_worker_that_hears_nothing_leaves_when_its_lease_is_over),
        cmocka_unit_test(a_worker_that_nobody_hears_leaves),
        cmocka_unit_test(a_node_that_does_not_work_is_left_out),
        cmocka_unit_test(a_sweep_without_a_node_that_works_stops),
        cmocka_unit_test(few_trials_spread_over_the_nodes),
    };
    struct CMUnitTest with[sizeof(tests) / sizeof(tests[0])];

    if (argc == 2 && !strcmp(argv[1], "worker"))
        return worker_serve(0, 1, fake_train);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        with[i] = tests[i];
        with[i].setup_func = set_up;
        with[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests_name("crew", with, NULL, NULL);
}
