/* Saving in the background: faults, kills, shared files, retention, quota. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/saver_fixture.inc.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "model/clock.h"

/* Names below dir that begin with prefix. */
static int count_names(const char *dir, const char *prefix)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    int n = 0;

    assert_non_null(d);
    while ((entry = readdir(d)))
        n += !strncmp(entry->d_name, prefix, strlen(prefix));
    (void)closedir(d);
    return n;
}

static int stands(const char *dir, int64_t step)
{
    char path[CHECKPOINT_PATH_BYTES];

    checkpoint_path(dir, step, path);
    return access(path, F_OK) == 0;
}

static void a_snapshot_is_what_was_there_when_saving_began(void **state)
{
    struct holding h[2], all;
    struct saver_snapshot snapshot = { .step = 1 };
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(h, 2, BY_ROWS);
    share_out(&all, 1, RANK_0);
    start_savers(&t, 2);
    snapshot.state = json_pack("{s:i}", "number", 1);
    for (int r = 0; r < 2; r++) {
        fill(&h[r], 1);
        snapshot.parts = h[r].parts;
        snapshot.n = h[r].n;
        assert_int_equal(saver_start(t.savers[r], &snapshot, NULL), MUP_OK);
        forget(&h[r]); /* training goes on at once */
    }
    json_decref(snapshot.state);
    for (int r = 0; r < 2; r++) {
        int polled;

        while ((polled = saver_poll(t.savers[r], NULL)) == SAVER_BUSY)
            ;
        assert_int_equal(polled, SAVER_WRITTEN);
    }
    assert_false(stands(t.dir, 1)); /* not before it is committed */
    saver_commit(t.savers[0]);
    assert_int_equal(saver_wait(t.savers[0], NULL), SAVER_COMMITTED);
    saver_accept(t.savers[1]);
    assert_reads(t.dir, 1, &all, 1);
    stop_savers(&t);
    drop(h, 2);
    drop(&all, 1);
    remove_tree(t.dir);
}

static int64_t sum_written(const struct team *t)
{
    int64_t n = 0;

    for (int r = 0; r < t->ranks; r++)
        n += saver_stats(t->savers[r]).written_chunks;
    return n;
}

/* "frozen" is not half of what a rank holds: a save that finds it unchanged
 * moves it to a file of its own, and the next but one shares that. */
static void what_does_not_change_is_not_written_again(void **state)
{
    struct holding h[2], all;
    struct saver_stats stats;
    int64_t written[6] = { 0 };
    double one, three;
    struct stat info;
    char file[1500];
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(h, 2, BY_ROWS);
    share_out(&all, 1, RANK_0);
    start_savers(&t, 2);
    for (int64_t step = 1; step <= 5; step++) {
        save_well(&t, step, h);
        written[step] = sum_written(&t);
    }
    assert_int_equal(written[2] - written[1], written[1]);
    assert_int_equal(written[3] - written[2], written[1]);
    assert_int_equal(written[4] - written[3], written[1] - 2);
    assert_int_equal(written[5] - written[4], written[1] - 2);
    stats = saver_stats(t.savers[1]);
    assert_int_equal(stats.skipped_chunks, 2);
    assert_true(stats.stall_s > 0 && stats.write_s > stats.last_cost_s);
    /* the same file in steps 3 and 5 (the policy keeps three) */
    snprintf(file, sizeof(file),
             "%s/step-0000000005/rank-0001-0000000003-still.bin", t.dir);
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(info.st_nlink, 2);
    /* it takes its room once ("frozen" has 4032 bytes) */
    assert_int_equal(checkpoint_usage(t.dir, &three, NULL), MUP_OK);
    /* and no checkpoint needs another */
    for (int64_t step = 3; step <= 4; step++)
        assert_int_equal(checkpoint_drop(t.dir, step, NULL), MUP_OK);
    assert_int_equal(checkpoint_usage(t.dir, &one, NULL), MUP_OK);
    /* up to the digits of three manifests */
    assert_float_equal(three, 3 * one - 4032, 100);
    assert_reads(t.dir, 5, &all, 1);
    save_well(&t, 6, h);
    assert_int_equal(checkpoint_drop(t.dir, 5, NULL), MUP_OK);
    assert_reads(t.dir, 6, &all, 1);
    stop_savers(&t);
    drop(h, 2);
    drop(&all, 1);
    remove_tree(t.dir);
}

/* Chunks that each of six saves writes, of a run that changes nothing. */
static void save_the_same(int64_t keep_last, double quota_bytes, int64_t *wrote)
{
    struct holding h;
    struct team t = { .ranks = 1 };
    struct saver_options o = options_of(new_dir(t.dir), 0, 1);
    int64_t before = 0;

    share_out(&h, 1, RANK_0);
    fill(&h, 1);
    o.policy.keep_last = keep_last;
    o.policy.quota_bytes = quota_bytes;
    assert_int_equal(saver_open(&o, &t.savers[0], NULL), MUP_OK);
    for (int64_t step = 1; step <= 6; step++) {
        assert_int_equal(save_all(&t, step, &h, NULL), SAVER_COMMITTED);
        wrote[step - 1] = sum_written(&t) - before;
        before += wrote[step - 1];
    }
    stop_savers(&t);
    drop(&h, 1);
    remove_tree(t.dir);
}

static void the_third_save_of_the_same_writes_nothing(void **state)
{
    int64_t wrote[6];

    (void)state;
    save_the_same(2, 0, wrote);
    for (int i = 0; i < 6; i++)
        assert_int_equal(wrote[i], i < 2 ? N_TENSORS : 0);
    /* where the one in between does not stay all is written */
    save_the_same(1, 0, wrote);
    for (int i = 0; i < 6; i++)
        assert_int_equal(wrote[i], N_TENSORS);
    save_the_same(2, 3.5 * (1 << 14), wrote);
    for (int i = 0; i < 6; i++)
        assert_int_equal(wrote[i], N_TENSORS);
}

static void flip_a_bit(const char *folder, const char *name)
{
    char path[CHECKPOINT_PATH_BYTES + 300];
    FILE *f;
    int byte;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 100, SEEK_SET), 0);
    byte = fgetc(f);
    assert_int_equal(fseek(f, 100, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 4, f), byte ^ 4);
    assert_int_equal(fclose(f), 0);
}

static void damage_to_any_one_file_leaves_the_one_before(void **state)
{
    struct holding h[2], all;
    char folder[CHECKPOINT_PATH_BYTES];
    struct dirent *entry;
    struct team t;
    int files = 0;
    DIR *d;

    (void)state;
    new_dir(t.dir);
    share_out(h, 2, BY_ROWS);
    share_out(&all, 1, RANK_0);
    start_savers(&t, 2);
    for (int64_t step = 1; step <= 6; step++)
        save_well(&t, step, h);
    stop_savers(&t);
    checkpoint_path(t.dir, 6, folder);
    d = opendir(folder);
    assert_non_null(d);
    while ((entry = readdir(d))) {
        json_t *m = NULL;

        if (entry->d_name[0] == '.')
            continue;
        flip_a_bit(folder, entry->d_name);
        assert_int_equal(checkpoint_load(t.dir, 6, all.parts, all.n, &m, NULL),
                         MUP_CORRUPT);
        assert_reads(t.dir, 5, &all, 1);
        flip_a_bit(folder, entry->d_name); /* back */
        assert_reads(t.dir, 6, &all, 1);
        files++;
    }
    (void)closedir(d);
    assert_int_equal(files, 5); /* two a rank, and the manifest */
    drop(h, 2);
    drop(&all, 1);
    remove_tree(t.dir);
}

/* Back to step 2 after a finding: steps 3, 4, ... come again. */
static void after_a_return_nothing_stale_is_shared(void **state)
{
    static const int64_t again[] = { 3, 4, 5, 6, 7 };
    struct holding h;
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(&h, 1, RANK_0);
    for (int leap = 0; leap < 3; leap++) { /* or not the same steps */
        start_savers(&t, 1);
        for (int64_t step = 1; step <= 4; step++)
            save_well(&t, step, &h);
        for (int64_t step = 3; step <= 4; step++)
            assert_int_equal(checkpoint_set_aside(t.dir, step, NULL), MUP_OK);
        for (int i = leap; i < 5; i++) {
            save_well(&t, again[i], &h);
            assert_reads(t.dir, again[i], &h, 1);
            if (i > leap)
                assert_reads(t.dir, again[i - 1], &h, 1);
        }
        stop_savers(&t);
        remove_tree(t.dir);
    }
    drop(&h, 1);
}

static void a_file_that_cannot_be_shared_is_written_anew(void **state)
{
    struct holding h;
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(&h, 1, RANK_0);
    start_savers(&t, 1);
    for (int64_t step = 1; step <= 6; step++) {
        save_well(&t, step, &h);
        /* somebody cleans up, deeper and deeper */
        if (step == 3)
            assert_int_equal(checkpoint_drop(t.dir, step, NULL), MUP_OK);
        else
            assert_reads(t.dir, step, &h, 1);
        if (step == 4)
            remove_tree(t.dir);
    }
    assert_true(stands(t.dir, 5) && stands(t.dir, 6));
    stop_savers(&t);
    drop(&h, 1);
    remove_tree(t.dir);
}

static void a_step_is_saved_again_over_itself(void **state)
{
    struct holding h;
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(&h, 1, RANK_0);
    start_savers(&t, 1);
    for (int i = 0; i < 4; i++) {
        save_well(&t, 7, &h);
        assert_reads(t.dir, 7, &h, 1);
    }
    assert_int_equal(count_names(t.dir, "."), 2); /* itself and above */
    stop_savers(&t);
    drop(&h, 1);
    remove_tree(t.dir);
}

/* --- faults --- */

/* Save step 2 with a fault on one of two ranks: 1 if it went through. */
static int try_with(struct team *t, struct holding *h, int rank,
                    const struct saver_fault *fault)
{
    struct saver_options o = options_of(t->dir, rank, 2);
    struct mup_error err = { 0 };
    int end;

    o.fault = *fault;
    saver_close(t->savers[rank]);
    assert_int_equal(saver_open(&o, &t->savers[rank], NULL), MUP_OK);
    for (int r = 0; r < 2; r++)
        fill(&h[r], 2);
    end = save_all(t, 2, h, &err);
    if (end == SAVER_COMMITTED)
        return 1;
    assert_non_null(strstr(err.text, "cannot write '"));
    assert_false(stands(t->dir, 2));
    assert_int_equal(count_names(t->dir, ".writing"), 0);
    return 0;
}

static void check_faults(int rank, int full)
{
    struct holding h[2], all;
    int through = 0, failures = 0;

    share_out(&all, 1, RANK_0);
    share_out(h, 2, BY_COLS);
    for (int64_t n = 1; !through; n += full ? 500 : 1) {
        struct saver_fault fault = { full ? 0 : n, full ? n : 0 };
        struct team t;

        new_dir(t.dir);
        start_savers(&t, 2);
        save_well(&t, 1, h);
        through = try_with(&t, h, rank, &fault);
        failures += !through;
        assert_reads(t.dir, through ? 2 : 1, &all, 1);
        if (!full && !through) { /* a full disk stays full */
            save_well(&t, 3, h);
            assert_reads(t.dir, 3, &all, 1);
        }
        stop_savers(&t);
        remove_tree(t.dir);
    }
    print_message("%d failures\n", failures);
    assert_true(failures >= 6); /* chunks, the table; rank 0: the manifest */
    drop(h, 2);
    drop(&all, 1);
}

static void each_write_may_fail_and_the_older_one_stands(void **state)
{
    (void)state;
    check_faults(0, 0);
    check_faults(1, 0);
}

static void the_disk_may_fill_up_at_any_byte(void **state)
{
    (void)state;
    check_faults(0, 1);
    check_faults(1, 1);
}

static void ranks_that_leave_a_gap_do_not_commit(void **state)
{
    struct holding h[2];
    struct mup_error err = { 0 };
    struct team t;

    (void)state;
    new_dir(t.dir);
    share_out(h, 2, BY_RANGE);
    start_savers(&t, 2);
    fill(&h[0], 1);
    fill(&h[1], 1);
    h[1].parts[2].count--;
    assert_int_equal(save_all(&t, 1, h, &err), SAVER_FAILED);
    assert_non_null(strstr(err.text, "'up' (weight) has 419 of its 420"));
    h[1].parts[2].count++;
    h[1].parts[2].first--;
    assert_int_equal(save_all(&t, 1, h, &err), SAVER_FAILED);
    assert_non_null(strstr(err.text, "there twice"));
    h[1].parts[2].first++;
    save_well(&t, 1, h);
    stop_savers(&t);
    drop(h, 2);
    remove_tree(t.dir);
}

static void a_note_says_what_was_given_up(void **state)
{
    struct saver_options o;
    struct mup_error note = { 0 };
    struct saver *s;
    struct holding h;
    struct saver_snapshot snapshot = { .step = 12 };
    char dir[64];

    (void)state;
    share_out(&h, 1, RANK_0);
    fill(&h, 1);
    o = options_of(new_dir(dir), 0, 1);
    o.fault.fail_write = 2;
    snapshot.parts = h.parts;
    snapshot.n = h.n;
    snapshot.state = json_object();
    assert_int_equal(saver_open(&o, &s, NULL), MUP_OK);
    saver_abandon(s, &note); /* nothing to give up */
    assert_string_equal(note.text, "");
    assert_int_equal(saver_start(s, &snapshot, NULL), MUP_OK);
    saver_abandon(s, &note);
    assert_non_null(
        strstr(note.text, "the checkpoint of step 12 was given up: cannot "));
    assert_int_equal(saver_poll(s, NULL), SAVER_IDLE);
    saver_close(s);
    /* larger than was said */
    o.bytes = 100;
    assert_int_equal(saver_open(&o, &s, NULL), MUP_OK);
    assert_int_equal(saver_start(s, &snapshot, &note), MUP_SYSTEM);
    assert_int_equal(saver_poll(s, NULL), SAVER_IDLE);
    saver_close(s);
    saver_close(NULL);
    json_decref(snapshot.state);
    drop(&h, 1);
    remove_tree(dir);
}

static void a_slow_disk_takes_its_time_and_no_more(void **state)
{
    struct saver_options o;
    struct saver *s;
    struct holding h;
    struct saver_snapshot snapshot = { .step = 12 };
    double start_s;
    char dir[64];

    (void)state;
    share_out(&h, 1, RANK_0);
    fill(&h, 1);
    o = options_of(new_dir(dir), 0, 1);
    o.fault.slow_ms = 5;
    snapshot.parts = h.parts;
    snapshot.n = h.n;
    snapshot.state = json_object();
    assert_int_equal(saver_open(&o, &s, NULL), MUP_OK);
    start_s = clock_s();
    assert_int_equal(saver_start(s, &snapshot, NULL), MUP_OK);
    assert_int_equal(saver_wait(s, NULL), SAVER_WRITTEN);
    /* two writes at least: the data and what is where */
    assert_true(clock_s() - start_s >= 2 * 0.005);
    saver_close(s);
    json_decref(snapshot.state);
    drop(&h, 1);
    remove_tree(dir);
}

/* --- kills --- */

static void save_for_ever(struct team *t, struct holding *h)
{
    start_savers(t, 2);
    for (int64_t step = 1;; step++) {
        for (int r = 0; r < 2; r++)
            fill(&h[r], step);
        if (save_all(t, step, h, NULL) != SAVER_COMMITTED)
            _exit(1);
    }
}

/* Whatever moment a kill chooses, what is listed is whole. */
static void a_kill_leaves_whole_checkpoints_alone(void **state)
{
    int rounds = getenv("MUTRANSFER_SOAK") ? 300 : 15;
    struct holding h[2], all;
    unsigned seed = 11;
    struct team t;

    (void)state;
    share_out(h, 2, BY_RANGE);
    share_out(&all, 1, RANK_0);
    for (int i = 0; i < rounds; i++) {
        struct timespec pause = { 0, 1000000L * (5 + rand_r(&seed) % 60) };
        int64_t *steps = NULL;
        int n = 0, status;
        pid_t pid;

        new_dir(t.dir);
        pid = fork();
        if (pid == 0)
            save_for_ever(&t, h);
        (void)nanosleep(&pause, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(checkpoint_list(t.dir, &steps, &n, NULL), MUP_OK);
        for (int k = 0; k < n; k++)
            assert_reads(t.dir, steps[k], &all, 1);
        start_savers(&t, 2); /* sweeps */
        assert_int_equal(count_names(t.dir, "."), 2);
        save_well(&t, (n ? steps[0] : 0) + 1, h);
        stop_savers(&t);
        free(steps);
        remove_tree(t.dir);
    }
    drop(h, 2);
    drop(&all, 1);
}

static volatile sig_atomic_t handled_by_thread; /* of a handler: no other way */
static pthread_t main_thread;

static void remember_thread(int signal_number)
{
    (void)signal_number;
    handled_by_thread = !pthread_equal(pthread_self(), main_thread);
}

static void signals_go_to_the_main_thread(void **state)
{
    struct sigaction action, before;
    sigset_t usr1, old;
    struct team t;

    (void)state;
    main_thread = pthread_self();
    memset(&action, 0, sizeof(action));
    action.sa_handler = remember_thread;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    new_dir(t.dir);
    start_savers(&t, 1);
    (void)sigemptyset(&usr1);
    (void)sigaddset(&usr1, SIGUSR1);
    /* blocked here, it would go to any thread that takes it */
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &usr1, &old), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    stop_savers(&t);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    assert_false(handled_by_thread);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    remove_tree(t.dir);
}

/* --- what stays --- */

static void the_policy_decides_what_stays(void **state)
{
    struct saver_options o;
    struct holding h;
    struct team t = { .ranks = 1 };

    (void)state;
    share_out(&h, 1, RANK_0);
    o = options_of(new_dir(t.dir), 0, 1);
    o.policy = (struct checkpoint_policy){ .keep_last = 2, .keep_every = 4 };
    assert_int_equal(saver_open(&o, &t.savers[0], NULL), MUP_OK);
    for (int64_t step = 1; step <= 11; step++) {
        save_well(&t, step, &h);
        for (int64_t s = 1; s <= step; s++)
            assert_int_equal(stands(t.dir, s), s > step - 2 || s % 4 == 0);
    }
    assert_reads(t.dir, 4, &h, 1);
    stop_savers(&t);
    drop(&h, 1);
    remove_tree(t.dir);
}

static void a_quota_removes_old_ones_or_skips_the_save(void **state)
{
    struct mup_error err = { 0 };
    struct saver_options o;
    double one = 0, used;
    struct holding h;
    struct team t = { .ranks = 1 };

    (void)state;
    share_out(&h, 1, RANK_0);
    o = options_of(new_dir(t.dir), 0, 1);
    assert_int_equal(saver_open(&o, &t.savers[0], NULL), MUP_OK);
    save_well(&t, 1, &h);
    stop_savers(&t);
    assert_int_equal(checkpoint_usage(t.dir, &one, NULL), MUP_OK);
    assert_true(one > 9252); /* elements alone */
    t.ranks = 1;
    o.total_bytes = one;
    o.policy.keep_last = 100;
    o.policy.quota_bytes = 3.5 * one;
    assert_int_equal(saver_open(&o, &t.savers[0], NULL), MUP_OK);
    for (int64_t step = 2; step <= 9; step++) {
        save_well(&t, step, &h);
        assert_int_equal(checkpoint_usage(t.dir, &used, NULL), MUP_OK);
        assert_true(used <= o.policy.quota_bytes);
        assert_true(stands(t.dir, step - 1)); /* the newest is never removed */
    }
    assert_false(stands(t.dir, 5));
    stop_savers(&t);
    t.ranks = 1;
    o.policy.quota_bytes = 1.5 * one;
    assert_int_equal(saver_open(&o, &t.savers[0], NULL), MUP_OK);
    assert_int_equal(save_all(&t, 10, &h, &err), SAVER_FAILED);
    assert_non_null(strstr(err.text, "more than checkpoint.quota_gib"));
    assert_reads(t.dir, 9, &h, 1);
    assert_false(stands(t.dir, 8));
    stop_savers(&t);
    drop(&h, 1);
    remove_tree(t.dir);
}

/* A run of one rank with a quota of so many checkpoints, all of one size. */
static void start_with_quota(struct team *t, struct holding *h, double room,
                             int64_t every)
{
    struct saver_options o = options_of(new_dir(t->dir), 0, 1);
    double one = 0;

    t->ranks = 1;
    share_out(h, 1, RANK_0);
    for (int p = 0; p < h->n; p++)
        if (!changes(&h->parts[p])) { /* nothing that could be shared */
            free(h->parts[p].data);
            h->parts[p--] = h->parts[--h->n];
        }
    assert_int_equal(saver_open(&o, &t->savers[0], NULL), MUP_OK);
    save_well(t, 1, h);
    stop_savers(t);
    assert_int_equal(checkpoint_usage(t->dir, &one, NULL), MUP_OK);
    t->ranks = 1;
    o.total_bytes = one;
    o.policy.keep_last = 100;
    o.policy.keep_every = every;
    o.policy.quota_bytes = room * one;
    assert_int_equal(saver_open(&o, &t->savers[0], NULL), MUP_OK);
}

static void stop_with_quota(struct team *t, struct holding *h)
{
    stop_savers(t);
    drop(h, 1);
    remove_tree(t->dir);
}

static void a_quota_spares_what_is_trusted_and_takes_every_last(void **state)
{
    struct holding h;
    struct team t;

    (void)state;
    start_with_quota(&t, &h, 4.3, 3);
    for (int64_t step = 2; step <= 9; step++) {
        saver_trust(t.savers[0], step >= 4 ? 4 : 0);
        save_well(&t, step, &h);
        assert_true(stands(t.dir, step - 1));
        assert_int_equal(stands(t.dir, 4), step >= 4);
        assert_int_equal(stands(t.dir, 3), step >= 3 && step < 8);
        assert_int_equal(stands(t.dir, 5), step == 5 || step == 6);
    }
    saver_trust(t.savers[0], 8); /* the older one is as any other */
    save_well(&t, 10, &h);
    assert_true(!stands(t.dir, 4) && stands(t.dir, 8) && stands(t.dir, 9));
    stop_with_quota(&t, &h);
    /* room for two: the trusted one and the one to come */
    start_with_quota(&t, &h, 2.3, 0);
    for (int64_t step = 2; step <= 6; step++) {
        saver_trust(t.savers[0], 2);
        save_well(&t, step, &h);
        assert_reads(t.dir, 2, &h, 1);
        assert_int_equal(count_names(t.dir, "step-"), 2);
    }
    stop_with_quota(&t, &h);
}

static void a_quota_takes_damaged_folders_first(void **state)
{
    struct holding h;
    struct team t;

    (void)state;
    start_with_quota(&t, &h, 4.3, 0);
    for (int64_t step = 2; step <= 4; step++)
        save_well(&t, step, &h);
    for (int64_t step = 3; step <= 4; step++)
        assert_int_equal(checkpoint_set_aside(t.dir, step, NULL), MUP_OK);
    save_well(&t, 5, &h);
    assert_int_equal(count_names(t.dir, "damaged-step-0000000004"), 1);
    assert_int_equal(count_names(t.dir, "damaged-"), 1); /* the oldest went */
    save_well(&t, 6, &h);
    assert_int_equal(count_names(t.dir, "damaged-"), 0);
    assert_true(stands(t.dir, 1) && stands(t.dir, 2) && stands(t.dir, 5));
    stop_with_quota(&t, &h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_is_what_was_there_when_saving_began),
        cmocka_unit_test(what_does_not_change_is_not_written_again),
        cmocka_unit_test(the_third_save_of_the_same_writes_nothing),
        cmocka_unit_test(damage_to_any_one_file_leaves_the_one_before),
        cmocka_unit_test(after_a_return_nothing_stale_is_shared),
        cmocka_unit_test(a_file_that_cannot_be_shared_is_written_anew),
        cmocka_unit_test(a_step_is_saved_again_over_itself),
        cmocka_unit_test(each_write_may_fail_and_the_older_one_stands),
        cmocka_unit_test(the_disk_may_fill_up_at_any_byte),
        cmocka_unit_test(ranks_that_leave_a_gap_do_not_commit),
        cmocka_unit_test(a_note_says_what_was_given_up),
        cmocka_unit_test(a_slow_disk_takes_its_time_and_no_more),
        cmocka_unit_test(a_kill_leaves_whole_checkpoints_alone),
        cmocka_unit_test(signals_go_to_the_main_thread),
        cmocka_unit_test(the_policy_decides_what_stays),
        cmocka_unit_test(a_quota_removes_old_ones_or_skips_the_save),
        cmocka_unit_test(a_quota_spares_what_is_trusted_and_takes_every_last),
        cmocka_unit_test(a_quota_takes_damaged_folders_first),
    };

    return cmocka_run_group_tests_name("saver", tests, NULL, NULL);
}
