/* The driver and its workers under every death that a machine can give them.
 * This program is its own worker: "test_driver worker" trains with the fake
 * trainer. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/file.h"
#include "sweep/driver.h"
#include "sweep/sampler.h"
#include "sweep/worker.h"
#include "tests/close.h"
#include "tests/fake_trainer.h"
#include "tests/sweep_fixture.inc.h"

static void make_file(const struct study *s, const char *name)
{
    char path[1100];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static char *read_text(const struct study *s, const char *name)
{
    char path[1100], *text;
    size_t bytes;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, NULL), MUP_OK);
    return text;
}

/* 12 runs of 60 steps, two workers. */
#define STUDY                                                                  \
    "workers: 2\nparameters:\n  train.lr: [0.01, 0.02, 0.03]\n"                \
    "  train.steps: {value: 60}\n"                                             \
    "groups:\n  model.width: [32, 64]\nseeds: [1, 2]\n"
#define STUDY_TRIALS 12

/* What the fake trainer computes when nobody disturbs it. */
static double undisturbed(const struct study *s, const struct trial *t)
{
    struct space_point point;
    struct run_config c;
    double x = 0;

    sampler_propose(&s->space, t->config, NULL, 0, &point);
    assert_int_equal(
        space_resolve(&s->space, &point, t->member, t->seed, &c, NULL), MUP_OK);
    for (int64_t step = 1; step <= c.train.steps; step++)
        x = 0.9 * x + sin((double)step * c.train.lr) +
            (double)c.train.seed / (double)c.model.width;
    return x;
}

/* Every finished trial has, bit for bit, the result of an undisturbed run. */
static void check_results(const struct study *s, int64_t expected_done)
{
    struct trial *t;
    int64_t n = read_trials(s, &t), done = 0;

    for (int64_t i = 0; i < n; i++)
        if (t[i].state == TRIAL_DONE) {
            done++;
            assert_true(t[i].loss == undisturbed(s, &t[i]));
            assert_true(t[i].value == t[i].loss + 1);
        }
    assert_int_equal(done, expected_done);
    free(t);
}

/* --- tests --- */

static void every_trial_runs_and_is_exported(void **state)
{
    struct study *s = *state;
    struct sweep_progress p;
    struct run_config config;
    struct trial winner;
    char *text;
    int lines = 0;

    open_study(s, STUDY);
    run_well(s);
    check_results(s, STUDY_TRIALS);
    assert_int_equal(s->result.done, STUDY_TRIALS);
    assert_int_equal(s->result.waiting + s->result.running, 0);
    assert_true(s->result.flops_done > 0);
    text = read_text(s, "trials.csv");
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 1 + STUDY_TRIALS);
    free(text);
    text = read_text(s, "best.yaml");
    assert_non_null(strstr(text, "# Winner of study 's'"));
    free(text);
    assert_int_equal(sweep_winner(s->dir, &config, &winner, NULL), MUP_OK);
    assert_int_equal(config.model.width, 64);
    assert_int_equal(winner.width, 64);
    assert_int_equal(sweep_status(s->dir, &p, NULL), MUP_OK);
    assert_int_equal(p.done, STUDY_TRIALS);
    assert_int_equal(p.best_trial, s->result.best_trial);
    assert_non_null(strstr(p.best_text, "width 64 lr "));
    run_well(s); /* once more: nothing to do, nothing lost */
    check_results(s, STUDY_TRIALS);
}

static void first_seeds_come_first_and_wide_models_before_narrow(void **state)
{
    struct study *s = *state;
    struct trial *t;

    open_study(s, STUDY);
    run_well(s);
    assert_int_equal(read_trials(s, &t), STUDY_TRIALS);
    for (int i = 0; i < STUDY_TRIALS; i++) {
        assert_int_equal(t[i].seed, i < 6 ? 1 : 2);
        assert_int_equal(t[i].width, i % 6 < 3 ? 64 : 32);
    }
    free(t);
}

static void the_winner_has_the_lowest_mean_and_no_divergence(void **state)
{
    struct study *s = *state;
    struct run_config config;
    struct trial winner, *t;
    int64_t n;
    double mean[3] = { 0 };
    int best = 0;

    open_study(s, STUDY);
    run_well(s);
    n = read_trials(s, &t);
    for (int64_t i = 0; i < n; i++)
        if (t[i].width == 64)
            mean[t[i].config] += t[i].value / 2;
    for (int c = 1; c < 3; c++)
        if (mean[c] < mean[best])
            best = c;
    assert_int_equal(sweep_winner(s->dir, &config, &winner, NULL), MUP_OK);
    assert_int_equal(winner.config, best);
    assert_close(winner.value, mean[best], 1e-12); /* order of sums */
    free(t);
}

static void divergence_is_a_result(void **state)
{
    struct study *s = *state;
    struct trial *t;

    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.5, 0.01]\n"
                  "  train.steps: {value: 20}\n");
    run_well(s);
    assert_int_equal(s->result.diverged, 1);
    assert_int_equal(s->result.done, 1);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_DIVERGED);
    assert_true(isnan(t[0].value));
    assert_int_equal(t[0].steps, 11);
    free(t);
}

static void a_killed_worker_costs_nothing_but_time(void **state)
{
    struct study *s = *state;
    struct trial *t;

    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.0625]\n"
                  "  train.steps: {value: 20}\n");
    run_well(s);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_DONE);
    assert_int_equal(t[0].attempt, 2);
    assert_int_equal(t[0].deaths, 1);
    assert_int_equal(s->result.retried, 1);
    assert_int_equal(s->notes, 1);
    assert_non_null(strstr(s->note, "signal 9 (Killed)"));
    assert_non_null(strstr(s->note, "about to fall"));
    free(t);
}

static void a_trial_that_always_dies_fails_alone(void **state)
{
    struct study *s = *state;
    struct trial *t;

    open_study(s, "workers: 2\nparameters:\n  train.lr: [0.01, 0.25, 0.02]\n"
                  "  train.steps: {value: 20}\n");
    assert_int_equal(run(s), MUP_NEGATIVE);
    assert_non_null(strstr(s->err.text, "1 of 3 trials failed"));
    assert_int_equal(s->result.done, 2);
    read_trials(s, &t);
    assert_int_equal(t[1].state, TRIAL_FAILED);
    assert_int_equal(t[1].attempt, 3);
    assert_non_null(strstr(t[1].error, "signal 9"));
    free(t);
    assert_int_equal(run(s), MUP_NEGATIVE); /* a rerun tries again */
    read_trials(s, &t);
    assert_int_equal(t[1].attempt, 6);
    assert_int_equal(t[1].deaths, 3);
    free(t);
}

static void a_refused_config_fails_at_once(void **state)
{
    struct study *s = *state;
    struct trial *t;

    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.125, 0.01]\n"
                  "  train.steps: {value: 20}\n");
    assert_int_equal(run(s), MUP_NEGATIVE);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_FAILED);
    assert_int_equal(t[0].attempt, 1);
    assert_non_null(strstr(t[0].error, "cannot be trained"));
    assert_int_equal(t[1].state, TRIAL_DONE);
    free(t);
}

static void what_cannot_heal_is_not_tried_again(void **state)
{
    struct study *s = *state;
    struct trial *t;

    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.015625, 0.01]\n"
                  "  train.steps: {value: 20}\n");
    assert_int_equal(run(s), MUP_NEGATIVE);
    assert_int_equal(s->notes, 1);
    read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_FAILED);
    assert_int_equal(t[0].attempt, 1);
    assert_int_equal(t[1].state, TRIAL_DONE);
    free(t);
}

static void when_all_trials_fail_alike_their_status_is_the_sweeps(void **state)
{
    struct study *s = *state;

    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.015625]\n"
                  "  train.steps: {value: 20}\nseeds: [1, 2]\n");
    assert_int_equal(run(s), MUP_SYSTEM);
    assert_non_null(strstr(s->err.text, "2 of 2 trials failed"));
    assert_int_equal(run(s), MUP_SYSTEM); /* a rerun is no other case */
    tear_down(state);
    set_up(state);
    s = *state;
    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.015625, 0.125]\n"
                  "  train.steps: {value: 20}\n");
    assert_int_equal(run(s), MUP_NEGATIVE); /* two reasons */
}

static void a_full_disk_stops_the_sweep_and_loses_nothing(void **state)
{
    struct study *s = *state;
    struct trial *t;
    char path[1100];
    int64_t n;

    open_study(s, "workers: 1\nparameters:\n  train.lr: [0.01, 0.03125, 0.02]\n"
                  "  train.steps: {value: 20}\n");
    make_file(s, "full");
    assert_int_equal(run(s), MUP_SYSTEM);
    assert_non_null(strstr(s->err.text, strerror(ENOSPC)));
    assert_non_null(strstr(s->err.text, "free some space and run"));
    assert_null(strstr(s->err.text, "another folder")); /* one remedy */
    n = read_trials(s, &t);
    assert_int_equal(t[0].state, TRIAL_DONE);
    for (int64_t i = 1; i < n; i++)
        assert_int_equal(t[i].state, TRIAL_WAITING);
    free(t);
    snprintf(path, sizeof(path), "%s/full", s->dir);
    assert_int_equal(unlink(path), 0);
    run_well(s);
    check_results(s, 3);
}

static void a_stopped_sweep_continues_as_if_nothing_had_happened(void **state)
{
    struct study *s = *state;
    int stops = 0, rc;

    setenv("FAKE_STEP_US", "2000", 1);
    open_study(s, STUDY);
    s->stop_at = 2;
    while ((rc = run(s)) == MUP_STOPPED && stops < 100) {
        stops++;
        if (stops == 3)
            setenv("FAKE_STEP_US", "100", 1);
        s->stop_at = stops < 3 ? 2 : 0;
    }
    assert_int_equal(rc, MUP_OK);
    assert_int_equal(stops, 3);
    check_results(s, STUDY_TRIALS);
}

static void killed_and_terminated_workers_lose_nothing(void **state)
{
    struct study *s = *state;
    int rounds = getenv("MUTRANSFER_SOAK") ? 40 : 1;

    setenv("FAKE_STEP_US", "2000", 1);
    for (int r = 0; r < 2 * rounds; r++) {
        s->random = (unsigned)r;
        s->kill_every = 2;
        s->kill_signal = r % 2 ? SIGTERM : SIGKILL;
        open_study(s, "max_attempts: 100\n" STUDY);
        run_well(s);
        check_results(s, STUDY_TRIALS);
        if (s->kill_signal == SIGTERM) /* a polite stop is no death */
            assert_int_equal(s->result.retried, 0);
        nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        assert_int_equal(mkdir(s->dir, 0755), 0);
    }
}

/* What was recorded before the kill is there after it, unchanged. */
static void check_kept(const struct trial *before, int64_t n,
                       const struct trial *after, int64_t m)
{
    assert_true(m >= n);
    for (int64_t i = 0; i < n; i++)
        if (before[i].state >= TRIAL_DONE) {
            assert_int_equal(after[i].state, before[i].state);
            assert_memory_equal(&after[i].value, &before[i].value,
                                sizeof(double));
        }
}

/* The driver dies, and with it the pipes: workers save and leave by
 * themselves, and the next driver goes on.  Children of the dead driver become
 * ours, so that their end can be awaited. */
static void a_killed_driver_loses_nothing_and_leaves_no_orphans(void **state)
{
    struct study *s = *state;
    int kills = getenv("MUTRANSFER_SOAK") ? 200 : 8;
    struct trial *before = NULL, *after;
    int64_t n = 0, m;

    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    setenv("FAKE_STEP_US", "1000", 1);
    open_study(s, STUDY);
    for (int k = 0; k < kills; k++) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(run(s));
        pause_us(20000 + k * 37 % 11 * 15000);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        m = n;
        after = NULL;
        if (k || !access(s->dir, F_OK)) {
            struct store *store;

            if (!store_open_readonly(s->dir, &store, NULL)) {
                assert_int_equal(store_trials(store, &after, &m, NULL), 0);
                store_close(store);
                check_kept(before, n, after, m);
                free(before);
                before = after;
                n = m;
            }
        }
    }
    run_well(s);
    m = read_trials(s, &after);
    check_kept(before, n, after, m);
    check_results(s, STUDY_TRIALS);
    free(before);
    free(after);
    /* cmocka's alarm would end a test that waits here for ever. */
    alarm(60);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
    alarm(0);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
}

static void a_second_driver_is_refused_while_the_first_works(void **state)
{
    struct study *s = *state;
    struct sweep_progress p;
    char pid_text[32];
    long holder = 0;
    pid_t pid;

    setenv("FAKE_STEP_US", "20000", 1);
    open_study(s, STUDY);
    pid = fork();
    if (pid == 0)
        _exit(run(s));
    for (int i = 0; i < 2000 && !store_has_driver(s->dir, NULL, 0, &holder);
         i++)
        pause_us(5000);
    assert_int_equal(holder, pid);
    assert_int_equal(run(s), MUP_USAGE);
    snprintf(pid_text, sizeof(pid_text), "process %ld ", (long)pid);
    assert_non_null(strstr(s->err.text, pid_text));
    /* The reader waits for nobody, whatever the first has done by now. */
    if (sweep_status(s->dir, &p, &s->err))
        assert_non_null(strstr(s->err.text, "no"));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    setenv("FAKE_STEP_US", "100", 1);
    run_well(s);
    check_results(s, STUDY_TRIALS);
}

static void a_program_that_cannot_be_started_is_named(void **state)
{
    struct study *s = *state;

    open_study(s, STUDY);
    snprintf(s->program, sizeof(s->program), "/nowhere/mutransfer");
    assert_int_equal(run(s), MUP_SYSTEM);
    assert_non_null(strstr(s->err.text, "/nowhere/mutransfer worker"));
    snprintf(s->program, sizeof(s->program), "/bin/false");
    assert_int_equal(run(s), MUP_SYSTEM);
    assert_non_null(strstr(s->err.text, "in a row died without a step"));
}

#define TWINS(list, base)                                                      \
    "workers: 2\nparameters:\n  train.lr: [0.01, 0.5]\n"                       \
    "  train.steps: {value: 20}\n  mup.base_width: {value: 32}\n"              \
    "groups:\n  mup.parametrization: [" list "]\n"                             \
    "  model.width: [32, 64]\n" base

static void sp_and_mup_share_the_run_at_base_width(void **state)
{
    struct study *s = *state;
    struct trial *t;
    int64_t n, twins = 0;
    char path[1100], *csv;

    open_study(s, TWINS("sp, mup", ""));
    run_well(s);
    n = read_trials(s, &t);
    assert_int_equal(n, 8);
    for (int64_t i = 0; i < n; i++) {
        const struct trial *source;

        if (!t[i].twin)
            continue;
        twins++;
        source = &t[t[i].twin - 1];
        assert_int_equal(t[i].width, 32);
        assert_int_equal(source->width, 32);
        assert_int_not_equal(source->parametrization, t[i].parametrization);
        assert_int_equal(t[i].state, source->state);
        assert_int_equal(t[i].attempt, 0); /* never started */
        if (t[i].state == TRIAL_DONE)
            assert_true(t[i].value == source->value);
        snprintf(path, sizeof(path), "%s/trials/%lld/events.jsonl", s->dir,
                 (long long)t[i].id);
        assert_int_equal(access(path, R_OK), 0);
    }
    assert_int_equal(twins, 2);
    assert_int_equal(s->result.done, 4);
    assert_int_equal(s->result.diverged, 4);
    csv = read_text(s, "trials.csv");
    assert_non_null(strstr(csv, "same_as"));
    free(csv);
    free(t);
}

static void a_study_that_grows_keeps_and_shares_its_results(void **state)
{
    struct study *s = *state;
    struct trial *t;
    int64_t n;

    open_study(s, TWINS("mup", ""));
    run_well(s);
    open_study(s, TWINS("sp, mup", "seeds: [1, 2]\n"));
    run_well(s);
    n = read_trials(s, &t);
    assert_int_equal(n, 16);
    for (int64_t i = 0; i < 4; i++) {
        assert_int_equal(t[i].attempt, 1); /* not run again */
        assert_true(t[i].member >= 2);     /* mup comes second now */
    }
    for (int64_t i = 4; i < n; i++)
        if (t[i].width == 32 && t[i].seed == 1)
            assert_true(t[i].twin >= 1 && t[i].twin <= 4);
    for (int64_t i = 0; i < n; i++)
        assert_true(t[i].state == TRIAL_DONE || t[i].state == TRIAL_DIVERGED);
    assert_int_equal(s->result.trials, 16);
    free(t);
    open_study(s, TWINS("mup", ""));
    assert_int_equal(run(s), MUP_USAGE); /* but may not shrink */
}

/* --- the real trainer --- */

#define REAL                                                                   \
    "workers: 2\nmax_attempts: 100\n"                                          \
    "parameters:\n  train.lr: [2^-6]\n  train.steps: 30\n"                     \
    "  train.batch: 4\n  model.seq: 16\n  model.layers: 1\n"                   \
    "  model.experts: 4\n  mup.base_width: 32\n  data.valid_sequences: 4\n"    \
    "  checkpoint.every: 5\n"                                                  \
    "groups:\n  mup.parametrization: [sp, mup]\n  model.width: [32, 64]\n"

static void real_runs_survive_kills_bit_for_bit(void **state)
{
    struct study *s = *state;
    int rounds = getenv("MUTRANSFER_SOAK") ? 50 : 2;
    struct trial *calm, *rough;
    int64_t n;

    unsetenv("FAKE_TRAINER");
    open_study(s, REAL);
    run_well(s);
    n = read_trials(s, &calm);
    assert_int_equal(n, 4);
    s->kill_every = 1;
    s->kill_signal = SIGKILL;
    for (int r = 0; r < rounds; r++) {
        nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        assert_int_equal(mkdir(s->dir, 0755), 0);
        s->random = (unsigned)r;
        run_well(s);
        assert_int_equal(read_trials(s, &rough), n);
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(rough[i].state, TRIAL_DONE);
            assert_memory_equal(&calm[i].val_loss, &rough[i].val_loss,
                                sizeof(double));
            assert_memory_equal(&calm[i].loss, &rough[i].loss, sizeof(double));
        }
        free(rough);
    }
    free(calm);
}

/* The run that the twin rule saves would have had the same result. */
static void a_twin_run_by_itself_gives_the_same_bits(void **state)
{
    struct study *s = *state;
    struct train_result result;
    struct run_config config;
    struct trial *t;
    char path[1100];
    int64_t n;

    unsetenv("FAKE_TRAINER");
    open_study(s, REAL);
    run_well(s);
    n = read_trials(s, &t);
    for (int64_t i = 0; i < n; i++) {
        if (!t[i].twin)
            continue;
        snprintf(path, sizeof(path), "%s/trials/%lld/config.yaml", s->dir,
                 (long long)t[i].id);
        assert_int_equal(run_config_load(path, NULL, 0, &config, NULL), 0);
        assert_int_equal(config.mup.parametrization, t[i].parametrization);
        snprintf(path, sizeof(path), "%s/alone", s->dir);
        assert_int_equal(train_run(&config, path, NULL, &result, NULL), 0);
        assert_memory_equal(&result.val_loss, &t[i].val_loss, sizeof(double));
        assert_memory_equal(&result.loss, &t[i].loss, sizeof(double));
    }
    free(t);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_trial_runs_and_is_exported),
        cmocka_unit_test(first_seeds_come_first_and_wide_models_before_narrow),
        cmocka_unit_test(the_winner_has_the_lowest_mean_and_no_divergence),
        cmocka_unit_test(divergence_is_a_result),
        cmocka_unit_test(a_killed_worker_costs_nothing_but_time),
        cmocka_unit_test(a_trial_that_always_dies_fails_alone),
        cmocka_unit_test(a_refused_config_fails_at_once),
        cmocka_unit_test(what_cannot_heal_is_not_tried_again),
        cmocka_unit_test(when_all_trials_fail_alike_their_status_is_the_sweeps),
        cmocka_unit_test(a_full_disk_stops_the_sweep_and_loses_nothing),
        cmocka_unit_test(a_stopped_sweep_continues_as_if_nothing_had_happened),
        cmocka_unit_test(killed_and_terminated_workers_lose_nothing),
        cmocka_unit_test(a_killed_driver_loses_nothing_and_leaves_no_orphans),
        cmocka_unit_test(a_second_driver_is_refused_while_the_first_works),
        cmocka_unit_test(a_program_that_cannot_be_started_is_named),
        cmocka_unit_test(sp_and_mup_share_the_run_at_base_width),
        cmocka_unit_test(a_study_that_grows_keeps_and_shares_its_results),
        cmocka_unit_test(real_runs_survive_kills_bit_for_bit),
        cmocka_unit_test(a_twin_run_by_itself_gives_the_same_bits),
    };
    struct CMUnitTest with[sizeof(tests) / sizeof(tests[0])];

    if (argc == 2 && !strcmp(argv[1], "worker"))
        return getenv("FAKE_TRAINER") ? worker_serve(0, 1, fake_train)
                                      : sweep_worker();
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        with[i] = tests[i];
        with[i].setup_func = set_up;
        with[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests_name("driver", with, NULL, NULL);
}
