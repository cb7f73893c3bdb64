#define _XOPEN_SOURCE 700 /* nftw */
/* The trial store: what is written is there, and only the right hand writes. */
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "sweep/sampler.h"
#include "sweep/store.h"

#define STUDY                                                                  \
    "parameters:\n  train.lr: [0.5, 0.25]\n"                                   \
    "groups:\n  mup.parametrization: [mup]\n  model.width: [32, 64]\n"

struct folder {
    char dir[40];
    struct space space;
};

static void open_text(const char *text, struct space *out)
{
    struct mup_error err = { 0 };

    if (space_open_text(text, strlen(text), "s.yaml", out, &err))
        fail_msg("%s", err.text);
}

static int set_up(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/test-store-XXXXXX");
    if (!mkdtemp(f->dir))
        return 1;
    open_text(STUDY, &f->space);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct folder *f = *state;

    space_close(&f->space);
    nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static struct store *open_store(const struct folder *f)
{
    struct store *s;
    struct mup_error err;

    if (store_open(f->dir, &f->space, &s, &err))
        fail_msg("%s", err.text);
    return s;
}

static struct trial new_trial(const struct space *space, int64_t id)
{
    struct trial t = { .id = id,
                       .config = (id - 1) / 2,
                       .member = (id - 1) % 2,
                       .seed = 1,
                       .width = 32,
                       .flops = 5 };

    sampler_propose(space, t.config, NULL, 0, &t.point);
    return t;
}

static void add_trials(struct store *s, const struct space *space, int n)
{
    assert_int_equal(store_begin(s, NULL), MUP_OK);
    for (int i = 1; i <= n; i++) {
        struct trial t = new_trial(space, i);

        assert_int_equal(store_add_trial(s, &t, NULL), MUP_OK);
    }
    assert_int_equal(store_commit(s, NULL), MUP_OK);
}

/* Trial id as a reader sees it. */
static struct trial read_back(const struct folder *f, int64_t id)
{
    struct store *s;
    struct trial *trials, t;
    struct mup_error err;
    int64_t n;

    if (store_open_readonly(f->dir, &s, &err))
        fail_msg("%s", err.text);
    assert_int_equal(store_trials(s, &trials, &n, NULL), MUP_OK);
    assert_true(id <= n);
    t = trials[id - 1];
    free(trials);
    store_close(s);
    return t;
}

static void a_result_reads_back_bit_for_bit(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f);
    struct trial t = new_trial(&f->space, 1), r;

    add_trials(s, &f->space, 4);
    assert_int_equal(store_set_running(s, 1, 1, NULL), MUP_OK);
    t.state = TRIAL_DONE;
    t.attempt = 1;
    t.value = t.val_loss = 0.1 + 0.2;
    t.loss = 1.0 / 3;
    t.val_bpb = NAN;
    t.steps = 7;
    t.tokens = INT64_C(1) << 60;
    t.wall_s = 2.5;
    assert_int_equal(store_finish(s, &t, NULL), MUP_OK);
    r = read_back(f, 1); /* while the writer is open */
    assert_int_equal(r.state, TRIAL_DONE);
    assert_true(r.value == 0.1 + 0.2 && r.loss == 1.0 / 3);
    assert_true(isnan(r.val_bpb));
    assert_int_equal(r.tokens, INT64_C(1) << 60);
    assert_string_equal(r.point.value[0], "0.5");
    r = read_back(f, 3);
    assert_int_equal(r.state, TRIAL_WAITING);
    assert_string_equal(r.point.value[0], "0.25");
    assert_true(isnan(r.value));
    store_close(s);
}

static void a_stale_attempt_changes_nothing(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f);
    struct trial t = new_trial(&f->space, 1), r;

    add_trials(s, &f->space, 1);
    assert_int_equal(store_set_running(s, 1, 1, NULL), MUP_OK);
    assert_int_equal(store_requeue(s, 1, 1, NULL), MUP_OK);
    assert_int_equal(store_set_running(s, 1, 2, NULL), MUP_OK);
    t.state = TRIAL_DONE;
    t.attempt = 1;
    t.value = 1;
    assert_int_equal(store_finish(s, &t, NULL), MUP_OK);
    r = read_back(f, 1);
    assert_int_equal(r.state, TRIAL_RUNNING);
    assert_int_equal(r.attempt, 2);
    assert_int_equal(r.deaths, 1);
    t.attempt = 2;
    assert_int_equal(store_finish(s, &t, NULL), MUP_OK);
    t.value = 2; /* a second result of the same attempt, too */
    assert_int_equal(store_finish(s, &t, NULL), MUP_OK);
    assert_true(read_back(f, 1).value == 1);
    store_close(s);
}

static void a_trial_is_started_once(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f);
    struct mup_error err;

    add_trials(s, &f->space, 1);
    assert_int_equal(store_set_running(s, 1, 1, NULL), MUP_OK);
    assert_int_equal(store_set_running(s, 1, 2, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "not waiting"));
    store_close(s);
}

static void a_failed_trial_starts_anew_without_its_deaths(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f);
    struct trial t = new_trial(&f->space, 1);

    add_trials(s, &f->space, 1);
    assert_int_equal(store_set_running(s, 1, 1, NULL), MUP_OK);
    t.state = TRIAL_FAILED;
    t.attempt = 1;
    t.deaths = 3;
    t.value = NAN;
    snprintf(t.error, sizeof(t.error), "a 'quoted' \"sentence\"; -- --");
    assert_int_equal(store_finish(s, &t, NULL), MUP_OK);
    assert_string_equal(read_back(f, 1).error, t.error);
    assert_int_equal(read_back(f, 1).deaths, 3);
    assert_int_equal(store_requeue(s, 1, 0, NULL), MUP_OK);
    assert_int_equal(read_back(f, 1).deaths, 0);
    assert_string_equal(read_back(f, 1).error, "");
    store_close(s);
}

static void what_is_rolled_back_was_never_there(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f);
    struct trial t = new_trial(&f->space, 2), *trials;
    int64_t n;

    add_trials(s, &f->space, 1);
    assert_int_equal(store_begin(s, NULL), MUP_OK);
    assert_int_equal(store_add_trial(s, &t, NULL), MUP_OK);
    store_rollback(s);
    assert_int_equal(store_trials(s, &trials, &n, NULL), MUP_OK);
    assert_int_equal(n, 1);
    free(trials);
    store_close(s);
}

static void a_second_driver_is_refused_by_name(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f), *second;
    struct mup_error err;
    char host[65] = "", pid[32];
    long holder;

    gethostname(host, sizeof(host) - 1);
    snprintf(pid, sizeof(pid), "process %ld ", (long)getpid());
    assert_int_equal(store_open(f->dir, &f->space, &second, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, host));
    assert_non_null(strstr(err.text, pid));
    assert_int_equal(store_has_driver(f->dir, NULL, 0, &holder), 1);
    assert_int_equal(holder, getpid());
    store_close(s);
    assert_int_equal(store_has_driver(f->dir, NULL, 0, &holder), 0);
    s = open_store(f);
    store_close(s);
}

static void the_lock_of_a_killed_driver_is_taken_over(void **state)
{
    struct folder *f = *state;
    struct store *s;
    int ready[2];
    long holder;
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (!store_open(f->dir, &f->space, &s, NULL) &&
            write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(store_open(f->dir, &f->space, &s, NULL), MUP_USAGE);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(store_has_driver(f->dir, NULL, 0, &holder), 0);
    s = open_store(f);
    store_close(s);
    close(ready[0]);
    close(ready[1]);
}

static void another_specification_is_refused_and_growth_accepted(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f);
    struct mup_error err;
    char spec[64];

    add_trials(s, &f->space, 4);
    store_close(s);
    space_close(&f->space);
    open_text("parameters:\n  train.lr: [0.5]\n", &f->space);
    assert_int_equal(store_open(f->dir, &f->space, &s, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "another study"));
    assert_non_null(strstr(err.text, "train.lr"));
    space_close(&f->space);
    open_text("parameters:\n  train.lr: [0.5, 0.25]\nseeds: [1, 2]\n"
              "groups:\n  mup.parametrization: [sp, mup]\n"
              "  model.width: [96, 64, 32]\n",
              &f->space);
    s = open_store(f);
    assert_int_equal(store_property(s, "name", spec, sizeof(spec), NULL), 0);
    assert_string_equal(spec, "s");
    /* (mup, 32) was member 0 and is the last of 2 x 3; (mup, 64) is before. */
    assert_int_equal(read_back(f, 1).member, 5);
    assert_int_equal(read_back(f, 2).member, 4);
    assert_int_equal(read_back(f, 4).member, 4);
    store_close(s);
    s = open_store(f); /* and once more without a change */
    assert_int_equal(read_back(f, 1).member, 5);
    store_close(s);
}

static void a_reader_needs_no_driver_and_no_write_permission(void **state)
{
    struct folder *f = *state;
    struct store *s = open_store(f), *reader;
    struct mup_error err;
    struct trial *trials;
    int64_t n;

    add_trials(s, &f->space, 4);
    store_close(s);
    assert_int_equal(chmod(f->dir, 0555), 0);
    assert_int_equal(store_open_readonly(f->dir, &reader, &err), MUP_OK);
    assert_int_equal(store_trials(reader, &trials, &n, NULL), MUP_OK);
    assert_int_equal(n, 4);
    free(trials);
    store_close(reader);
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(store_open_readonly("/nowhere", &reader, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "no sweep in '/nowhere'"));
}

static void a_damaged_file_is_a_sentence(void **state)
{
    struct folder *f = *state;
    struct store *s;
    struct mup_error err;
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "%s/study.db", f->dir);
    file = fopen(path, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database ", file);
    fclose(file);
    assert_int_equal(store_open(f->dir, &f->space, &s, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "damaged"));
    assert_int_equal(store_open_readonly(f->dir, &s, &err), MUP_CORRUPT);
}

/* A child acknowledges every commit through a pipe and is killed at a random
 * moment: all that it acknowledged is there, and the file is whole. */
static void commits_survive_kill_9(void **state)
{
    struct folder *f = *state;
    int kills = getenv("MUTRANSFER_SOAK") ? 500 : 15;
    sqlite3 *db;
    sqlite3_stmt *q;
    char path[64];
    struct store *s = open_store(f);

    add_trials(s, &f->space, 4);
    store_close(s);
    for (int k = 0; k < kills; k++) {
        struct timespec pause = { 0, (k * 7919 % 30) * 1000000L };
        int ack[2], last = -1, value;
        char text[32];
        pid_t pid;

        assert_int_equal(pipe(ack), 0);
        pid = fork();
        if (pid == 0) {
            if (store_open(f->dir, &f->space, &s, NULL))
                _exit(1);
            for (int i = 0;; i++) {
                snprintf(text, sizeof(text), "%d", i);
                if (store_set_property(s, "counter", text, NULL) ||
                    write(ack[1], &i, sizeof(i)) != sizeof(i))
                    _exit(1);
            }
        }
        close(ack[1]);
        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(ack[0], &value, sizeof(value)) == sizeof(value))
            last = value;
        close(ack[0]);
        assert_int_equal(store_open_readonly(f->dir, &s, NULL), MUP_OK);
        assert_int_equal(store_property(s, "counter", text, sizeof(text), NULL),
                         MUP_OK);
        if (last >= 0)
            assert_true(strtol(text, NULL, 10) >= last);
        store_close(s);
        s = open_store(f);
        assert_int_equal(store_set_property(s, "counter", "0", NULL), MUP_OK);
        store_close(s);
    }
    snprintf(path, sizeof(path), "%s/study.db", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &q, NULL), 0);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal(sqlite3_column_text(q, 0), "ok");
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void a_lock_that_cannot_be_made_says_what_to_do(void **state)
{
    struct folder *f = *state;
    struct mup_error err = { 0 };
    struct store *s = NULL;
    char path[64];

    snprintf(path, sizeof(path), "%s/study.lock", f->dir);
    assert_int_equal(mkdir(path, 0755), 0); /* stops root too */
    assert_int_equal(store_open(f->dir, &f->space, &s, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "study.lock"));
    assert_non_null(strstr(err.text, "; choose a directory"));
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_reads_back_bit_for_bit),
        cmocka_unit_test(a_stale_attempt_changes_nothing),
        cmocka_unit_test(a_trial_is_started_once),
        cmocka_unit_test(a_failed_trial_starts_anew_without_its_deaths),
        cmocka_unit_test(what_is_rolled_back_was_never_there),
        cmocka_unit_test(a_second_driver_is_refused_by_name),
        cmocka_unit_test(the_lock_of_a_killed_driver_is_taken_over),
        cmocka_unit_test(another_specification_is_refused_and_growth_accepted),
        cmocka_unit_test(a_reader_needs_no_driver_and_no_write_permission),
        cmocka_unit_test(a_damaged_file_is_a_sentence),
        cmocka_unit_test(a_lock_that_cannot_be_made_says_what_to_do),
        cmocka_unit_test(commits_survive_kill_9),
    };

    /* Every test starts in a folder of its own. */
    struct CMUnitTest with[sizeof(tests) / sizeof(tests[0])];

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        with[i] = tests[i];
        with[i].setup_func = set_up;
        with[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests_name("store", with, NULL, NULL);
}
