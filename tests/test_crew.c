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
#include "launcher/door.h"
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

static int end_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
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

static void elements_of_an_array_come_through_doors(void **state)
{
    struct crew c;

    (void)state;
    assert_int_equal(crew_make_array(3, "/d", "/p", &c, NULL), MUP_OK);
    assert_int_equal(c.sweep.n_nodes, 3);
    assert_int_equal(c.sweep.workers_per_node, 1);
    assert_null(c.sweep.node[0].prefix);
    assert_false(c.sweep.node[0].comes_late);
    assert_true(c.sweep.node[2].comes_late);
    assert_string_equal(c.sweep.node[2].prefix[0], "/p");
    assert_string_equal(c.sweep.node[2].prefix[1], "door");
    assert_string_equal(c.sweep.node[2].prefix[2], "/d");
    assert_string_equal(c.sweep.node[2].prefix[3], "2");
    assert_null(c.sweep.node[2].prefix[4]);
    crew_clear(&c);
}

/* A job of the array that starts after the sweep, and one that never does. */
static pid_t start_element(const struct study *s, int64_t index)
{
    pid_t pid = fork();

    if (pid == 0) {
        int fd = -1;

        pause_us(300000);
        for (int i = 0; i < 1000 && fd < 0; i++) {
            pause_us(10000);
            fd = door_enter(s->dir, index);
        }
        _exit(fd < 0 ? 99 : worker_serve(fd, fd, fake_train));
    }
    return pid;
}

static void use_doors(struct study *s, struct crew *c)
{
    assert_int_equal(crew_make_array(3, s->dir, s->program, c, NULL), MUP_OK);
    s->crew = c->sweep;
}

static void late_workers_take_their_part_and_absent_ones_none(void **state)
{
    struct study *s = *state;
    struct crew c;
    json_t *o, *w;
    pid_t pid;

    use_doors(s, &c);
    setenv("FAKE_STEP_US", "20000", 1);
    open_study(s, STUDY);
    pid = start_element(s, 1);
    run_well(s);
    assert_int_equal(end_of(pid), MUP_OK);
    check_all_done(s, TRIALS);
    o = read_workers(s);
    w = json_object_get(o, "workers");
    for (size_t i = 0; i < 3; i++) {
        int64_t done =
            json_integer_value(json_object_get(json_array_get(w, i), "done"));

        assert_true(i < 2 ? done > 0 : done == 0);
    }
    json_decref(o);
    assert_int_equal(s->notes, 0);
    crew_clear(&c);
}

static void a_lost_trial_goes_on_where_nobody_else_comes(void **state)
{
    struct study *s = *state;
    struct trial *t;
    struct crew c;

    use_doors(s, &c);
    s->stop_at = 300; /* it would wait for ever */
    open_study(s, SICK("0.0625"));
    run_well(s);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_DONE);
    assert_int_equal(t[0].attempt, 2);
    free(t);
    crew_clear(&c);
}

/* The fake trainer's events name who trains. */
static int trains(const struct study *s, pid_t pid)
{
    char path[1100], word[32], *text;
    size_t bytes;
    int found = 0;

    snprintf(word, sizeof(word), "\"pid\":%ld,", (long)pid);
    for (int i = 1; i <= TRIALS && !found; i++) {
        snprintf(path, sizeof(path), "%s/trials/%d/events.jsonl", s->dir, i);
        if (file_read(path, 1 << 20, &text, &bytes, NULL))
            continue;
        found = strstr(text, word) != NULL;
        free(text);
    }
    return found;
}

static void an_element_that_is_gone_for_good_leaves_its_trial(void **state)
{
    struct study *s = *state;
    struct crew c;
    pid_t first, killer;

    use_doors(s, &c);
    setenv("FAKE_STEP_US", "40000", 1);
    open_study(s, STUDY);
    first = start_element(s, 1);
    killer = fork();
    if (killer == 0) {
        for (int i = 0; i < 2000 && !trains(s, first); i++)
            pause_us(5000);
        _exit(kill(first, SIGKILL) != 0);
    }
    run_well(s);
    assert_int_equal(waitpid(first, NULL, 0), first);
    assert_int_equal(end_of(killer), 0);
    check_all_done(s, TRIALS);
    assert_int_equal(s->notes, 1);
    crew_clear(&c);
}

static void an_element_that_ends_is_replaced_by_its_next_start(void **state)
{
    struct study *s = *state;
    struct crew c;
    pid_t first, second;

    use_doors(s, &c);
    setenv("FAKE_STEP_US", "40000", 1);
    open_study(s, STUDY);
    first = start_element(s, 1);
    second = fork();
    if (second == 0) {
        pause_us(900000);
        kill(first, SIGKILL);
        _exit(end_of(start_element(s, 1)));
    }
    run_well(s);
    assert_int_equal(waitpid(first, NULL, 0), first);
    assert_int_equal(end_of(second), MUP_OK);
    check_all_done(s, TRIALS);
    crew_clear(&c);
}

static void a_door_opens_to_nobody_without_its_token(void **state)
{
    struct study *s = *state;
    char path[100], host[65], token[65], text[200];
    int port, good, bad;
    struct crew c;
    pid_t pid;
    FILE *f;

    use_doors(s, &c);
    pid = fork();
    if (pid == 0) {
        int in[2];

        assert_int_equal(pipe(in), 0); /* kept open by us */
        dup2(in[0], 0);
        _exit(door_keep(s->dir, 2, NULL));
    }
    snprintf(path, sizeof(path), "%s/doors/2", s->dir);
    for (int i = 0; i < 1000 && access(path, R_OK); i++)
        pause_us(5000);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%64s %d %64s", host, &port, token), 3);
    fclose(f);
    snprintf(text, sizeof(text), "%s %d %s\n", host, port,
             "00000000-0000-4000-8000-000000000000");
    f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    bad = door_enter(s->dir, 2);
    assert_true(bad >= 0);
    assert_int_equal(read(bad, text, 1), 0); /* shown out */
    close(bad);
    f = fopen(path, "w");
    fprintf(f, "%s %d %s\n", host, port, token);
    fclose(f);
    good = door_enter(s->dir, 2);
    assert_true(good >= 0);
    close(good);
    assert_int_equal(end_of(pid), MUP_DEVICE); /* it left unasked */
    crew_clear(&c);
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
        cmocka_unit_test(elements_of_an_array_come_through_doors),
        cmocka_unit_test(late_workers_take_their_part_and_absent_ones_none),
        cmocka_unit_test(a_lost_trial_goes_on_where_nobody_else_comes),
        cmocka_unit_test(an_element_that_is_gone_for_good_leaves_its_trial),
        cmocka_unit_test(an_element_that_ends_is_replaced_by_its_next_start),
        cmocka_unit_test(a_door_opens_to_nobody_without_its_token),
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
    if (argc > 3 && !strcmp(argv[1], "door"))
        return door_keep(argv[2], strtoll(argv[3], NULL, 10), NULL);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        with[i] = tests[i];
        with[i].setup_func = set_up;
        with[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests_name("crew", with, NULL, NULL);
}
