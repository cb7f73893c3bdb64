/* A run whose checkpoints cannot be written, or are taken away. */
#define _GNU_SOURCE /* mkdtemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/checkpoint.h"
#include "model/train.h"
#include "tests/run_fixture.inc.h"

/* Hooks that take the checkpoints away, or the right to make them (then while
 * nothing is being saved), in the middle of a run. */
struct vandal {
    char checkpoints[100];
    const char *every; /* of the run's checkpoints, NULL: 5 */
    int64_t from;
    int in_the_way; /* a file of that name stands there instead */
    int relents;    /* when told of it */
    int notes;
    char note[1024];
};

static void vandalise(void *context, const struct train_step *step)
{
    struct vandal *v = context;
    char gone[sizeof(v->checkpoints) + 8];

    if (step->step == v->from) {
        /* at once: a save may be under way */
        snprintf(gone, sizeof(gone), "%s-gone", v->checkpoints);
        assert_int_equal(rename(v->checkpoints, gone), 0);
        remove_tree(gone);
        if (v->in_the_way)
            (void)fclose(fopen(v->checkpoints, "w"));
    }
}

static void take_note(void *context, const char *sentence)
{
    struct vandal *v = context;

    v->notes++;
    if (v->relents)
        assert_int_equal(unlink(v->checkpoints), 0);
    snprintf(v->note, sizeof(v->note), "%s", sentence);
}

static int train_with(struct vandal *v, char *dir, struct mup_error *err)
{
    struct train_hooks hooks = { v, vandalise, NULL, take_note };
    struct run_config c = small_config();
    struct train_result result;

    snprintf(dir, 64, "/tmp/mutransfer-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    if (v->every)
        snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "%s",
                 v->every);
    snprintf(v->checkpoints, sizeof(v->checkpoints), "%s/checkpoints", dir);
    return train_run(&c, dir, &hooks, &result, err);
}

static int64_t newest_step(const struct vandal *v)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct checkpoint c = { 0 };
    struct mup_error err = { 0 };
    int64_t step;

    assert_int_equal(
        checkpoint_newest(v->checkpoints, path, sizeof(path), &err), MUP_OK);
    assert_int_equal(checkpoint_open(path, &c, &err), MUP_OK);
    assert_int_equal(checkpoint_verify(&c, &err), MUP_OK);
    step = c.step;
    checkpoint_close(&c);
    return step;
}

static void checkpoints_that_vanish_are_made_again(void **state)
{
    struct vandal v = { .from = 21 };
    struct mup_error err = { 0 };
    char dir[64];

    (void)state;
    assert_int_equal(train_with(&v, dir, &err), MUP_OK);
    assert_int_equal(newest_step(&v), 40);
    remove_tree(dir);
}

static void one_failed_save_is_a_note_and_two_are_an_error(void **state)
{
    struct vandal one = { .from = 1, .in_the_way = 1, .relents = 1 };
    struct vandal two = { .from = 1, .in_the_way = 1 };
    struct vandal last = { .every = "0", .from = 38, .in_the_way = 1 };
    struct mup_error err = { 0 };
    char dir[64];

    (void)state;
    assert_int_equal(train_with(&one, dir, &err), MUP_OK);
    assert_int_equal(one.notes, 1);
    assert_non_null(strstr(one.note, "the checkpoint of step 5 was given up"));
    remove_tree(dir);
    assert_int_equal(train_with(&two, dir, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "the checkpoint of step 10 was given up"));
    remove_tree(dir);
    assert_int_equal(train_with(&last, dir, &err), MUP_SYSTEM); /* the last */
    assert_non_null(strstr(err.text, "the checkpoint of step 40 was given up"));
    remove_tree(dir);
}

struct stop_after {
    int64_t steps, done;
};

static int stops(void *context)
{
    struct stop_after *s = context;

    return s->done++ == s->steps;
}

/* Between two calls no one can say that nothing is lost. */
static void checkpoints_that_are_gone_are_asked_for(void **state)
{
    struct run_config c = small_config();
    struct mup_error err = { 0 };
    struct stop_after stop = { 12, 0 };
    struct train_hooks hooks = { .context = &stop, .should_stop = stops };
    struct train_result result;
    char dir[] = "/tmp/mutransfer-test-XXXXXX", from[64], to[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(train_run(&c, dir, &hooks, &result, &err), MUP_STOPPED);
    snprintf(from, sizeof(from), "%s/checkpoints", dir);
    snprintf(to, sizeof(to), "%s/moved", dir);
    assert_int_equal(rename(from, to), 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_CORRUPT);
        assert_non_null(strstr(err.text, "no checkpoint any more"));
    }
    assert_int_equal(rmdir(from), 0);
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_OK);
    assert_int_equal(result.resumed_from, 12);
    remove_tree(dir);
}

static void a_quota_too_small_for_one_is_refused_at_the_start(void **state)
{
    struct run_config c = small_config();
    struct train_result result;
    struct mup_error err = { 0 };
    char dir[] = "/tmp/mutransfer-test-XXXXXX";

    (void)state;
    assert_non_null(mkdtemp(dir));
    c.checkpoint.quota_gib = 1e-6;
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "0");
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "checkpoint.quota_gib"));
    c.checkpoint.quota_gib = 1; /* may change between calls */
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_OK);
    remove_tree(dir);
}

static int count_lines(const char *dir, const char *what)
{
    char path[100], line[4096];
    FILE *f;
    int n = 0;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        n += strstr(line, what) != NULL;
    (void)fclose(f);
    return n;
}

/* With room for two checkpoints and a look every fourth save. */
static void a_small_quota_leaves_one_to_go_back_to(void **state)
{
    struct run_config c = small_config();
    struct train_result result;
    struct mup_error err = { 0 };
    char dir[] = "/tmp/mutransfer-test-XXXXXX";
    char checkpoints[64];
    double one = 0;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(checkpoints, sizeof(checkpoints), "%s/checkpoints", dir);
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "0");
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_OK);
    assert_int_equal(checkpoint_usage(checkpoints, &one, &err), MUP_OK);
    remove_tree(dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "5");
    snprintf(c.drill.flip, sizeof(c.drill.flip),
             "rank 0 step 40 compute embed bit 22");
    c.checkpoint.quota_gib = 2.3 * one / 1073741824;
    c.run.verify_every = 20;
    c.train.steps = 45;
    if (train_run(&c, dir, NULL, &result, &err))
        fail_msg("%s", err.text);
    assert_int_equal(count_lines(dir, "\"corruption\""), 1);
    assert_int_equal(count_lines(dir, "\"start\""), 1);
    assert_int_equal(count_lines(dir, "\"resume\""), 1);
    assert_int_equal(count_lines(dir, "\"done\""), 1);
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_that_vanish_are_made_again),
        cmocka_unit_test(checkpoints_that_are_gone_are_asked_for),
        cmocka_unit_test(one_failed_save_is_a_note_and_two_are_an_error),
        cmocka_unit_test(a_quota_too_small_for_one_is_refused_at_the_start),
        cmocka_unit_test(a_small_quota_leaves_one_to_go_back_to),
    };

    return cmocka_run_group_tests_name("train_saves", tests, NULL, NULL);
}
