/* What a sweep checks before and says while it runs: the text it reads, the
 * best so far, the cores it may use.  This program is its own worker. */
#define _XOPEN_SOURCE 700 /* nftw */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/file.h"
#include "model/shard.h"
#include "sweep/driver.h"
#include "sweep/jobs.h"
#include "sweep/pool.h"
#include "sweep/worker.h"
#include "tests/fake_trainer.h"
#include "tests/sweep_fixture.inc.h"

/* --- the text that a sweep reads --- */

static void write_shard(const struct study *s, const char *name, int step)
{
    struct shard_writer *w;
    char path[1100];

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    assert_int_equal(shard_writer_open(path, 320, &w, NULL), MUP_OK);
    for (int32_t i = 0; i < 2000; i++) {
        int32_t token = i * step % 250;

        assert_int_equal(shard_writer_add(w, &token, 1, NULL), MUP_OK);
    }
    assert_int_equal(shard_writer_close(w, NULL), MUP_OK);
}

static void open_corpus_study(struct study *s, const char *train,
                              const char *more)
{
    char text[2048];

    snprintf(text, sizeof(text),
             "workers: 1\nparameters:\n  train.lr: [0.01]\n"
             "  train.steps: {value: 20}\n  model.seq: {value: 16}\n"
             "  model.vocab: {value: 320}\n"
             "  data.train: {value: %s/%s}\n  data.valid: {value: "
             "%s/valid.bin}\n%s",
             s->dir, train, s->dir, more);
    open_study(s, text);
}

static void
data_that_cannot_be_read_is_refused_before_anything_is_made(void **state)
{
    struct study *s = *state;
    char dir[100];

    write_shard(s, "valid.bin", 1);
    snprintf(dir, sizeof(dir), "%s/new", s->dir);
    open_corpus_study(s, "nope.bin", "");
    assert_int_equal(
        sweep_run(&s->space, dir, &s->crew, &s->hooks, &s->result, &s->err),
        MUP_SYSTEM);
    assert_non_null(strstr(s->err.text, "nope.bin"));
    assert_int_equal(s->notes, 0);
    assert_int_not_equal(access(dir, F_OK), 0);
    /* Too short for one member of many. */
    write_shard(s, "train.bin", 1);
    open_corpus_study(s, "train.bin", "groups:\n  train.batch: [2, 1000]\n");
    assert_int_equal(
        sweep_run(&s->space, dir, &s->crew, &s->hooks, &s->result, &s->err),
        MUP_USAGE);
    assert_non_null(strstr(s->err.text, "too short"));
    assert_int_not_equal(access(dir, F_OK), 0);
}

static void a_study_never_mixes_two_texts(void **state)
{
    struct study *s = *state;
    struct trial *t;

    write_shard(s, "valid.bin", 1);
    write_shard(s, "train.bin", 1);
    open_corpus_study(s, "train.bin", "seeds: [1]\n");
    run_well(s);
    write_shard(s, "train.bin", 3);
    open_corpus_study(s, "train.bin", "seeds: [1, 2]\n");
    assert_int_equal(run(s), MUP_USAGE);
    assert_non_null(strstr(s->err.text, "the text behind data.train"));
    assert_non_null(strstr(s->err.text, "restore it"));
    assert_int_equal(read_trials(s, &t), 1);
    free(t);
    open_corpus_study(s, "train.bin", "seeds: [1]\n");
    write_shard(s, "train.bin", 1); /* restored: the refusal left no trace */
    run_well(s);
    write_shard(s, "valid.bin", 3);
    assert_int_equal(run(s), MUP_USAGE);
    assert_non_null(strstr(s->err.text, "data.valid"));
}

/* --- the best so far --- */

static void the_best_is_the_lowest_mean_and_no_lucky_seed(void **state)
{
    struct job job[] = {
        { .config = 0, .state = TRIAL_DONE, .value = 1.0 },
        { .config = 1, .state = TRIAL_DONE, .value = 2.0 },
        { .config = 2, .state = TRIAL_DONE, .value = 1.75 },
        { .config = 0, .state = TRIAL_DIVERGED, .value = NAN },
        { .config = 1, .state = TRIAL_DONE, .value = 2.25 },
        { .config = 2, .state = TRIAL_DONE, .value = 2.75 },
        { .config = 0, .state = TRIAL_DONE, .value = 1.0 },
    };
    struct job_score score[3];
    struct jobs jobs = { .n = 7, .job = job, .n_configs = 3, .score = score };
    struct sweep_progress p;

    (void)state;
    for (int i = 0; i < 7; i++)
        job[i].width = 32;
    jobs_progress(&jobs, &p);
    assert_int_equal(p.best_trial, 2);
    assert_int_equal(p.best_seeds, 2);
    assert_true(p.best_value == 2.125); /* exact in binary */
    p.best_text[0] = '\0';
    jobs_say_mean(&p);
    assert_string_equal(p.best_text, "mean of 2 seeds");
    job[3].state = job[4].state = job[5].state = TRIAL_WAITING;
    jobs_progress(&jobs, &p);
    assert_int_equal(p.best_trial, 1);
    assert_true(p.best_value == 1.0);
}

#define TWO_SEEDS                                                              \
    "workers: 2\nparameters:\n  train.lr: [0.01, 0.02, 0.03]\n"                \
    "  train.steps: {value: 20}\nseeds: [1, 2]\n"

static void status_and_winner_agree(void **state)
{
    struct study *s = *state;
    struct sweep_progress p;
    struct trial winner;

    open_study(s, TWO_SEEDS);
    run_well(s);
    assert_int_equal(sweep_status(s->dir, &p, NULL), MUP_OK);
    assert_int_equal(sweep_winner(s->dir, NULL, &winner, NULL), MUP_OK);
    assert_int_equal(p.best_trial, winner.id);
    assert_true(p.best_value == winner.value);
    assert_true(s->result.best_value == winner.value);
    assert_non_null(strstr(p.best_text, ", mean of 2 seeds"));
    assert_string_equal(p.best_text, s->result.best_text);
}

/* --- cores --- */

static void write_line(const struct study *s, const char *name,
                       const char *line)
{
    char path[1100];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", s->dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(line, f);
    fclose(f);
}

static void the_smallest_share_of_the_groups_above_counts(void **state)
{
    struct study *s = *state;
    char path[100], self[100];

    snprintf(self, sizeof(self), "%s/self", s->dir);
    snprintf(path, sizeof(path), "%s/a/b", s->dir);
    assert_int_equal(file_make_dirs(path, NULL), MUP_OK);
    assert_int_equal(pool_quota_cores(self, s->dir), 0);
    write_line(s, "self", "4:cpu:/x\n0::/a/b\n");
    write_line(s, "a/b/cpu.max", "max 100000\n");
    assert_int_equal(pool_quota_cores(self, s->dir), 0);
    write_line(s, "a/cpu.max", "150000 100000\n");
    assert_int_equal(pool_quota_cores(self, s->dir), 2); /* rounded up */
    write_line(s, "a/b/cpu.max", "400000 100000\n");
    assert_int_equal(pool_quota_cores(self, s->dir), 2);
    write_line(s, "a/b/cpu.max", "50000 100000\n");
    assert_int_equal(pool_quota_cores(self, s->dir), 1);
    write_line(s, "cpu.max", "300000 100000\n");
    write_line(s, "self", "0::/../other\n"); /* not mounted here */
    assert_int_equal(pool_quota_cores(self, s->dir), 3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            data_that_cannot_be_read_is_refused_before_anything_is_made),
        cmocka_unit_test(a_study_never_mixes_two_texts),
        cmocka_unit_test(the_best_is_the_lowest_mean_and_no_lucky_seed),
        cmocka_unit_test(status_and_winner_agree),
        cmocka_unit_test(the_smallest_share_of_the_groups_above_counts),
    };
    struct CMUnitTest with[sizeof(tests) / sizeof(tests[0])];

    if (argc == 2 && !strcmp(argv[1], "worker"))
        return worker_serve(0, 1, fake_train);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        with[i] = tests[i];
        with[i].setup_func = set_up;
        with[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests_name("corpora", with, NULL, NULL);
}
