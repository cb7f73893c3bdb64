/* Incarnations of a run: who may change its folder, in every order. */
#define _GNU_SOURCE /* mkdtemp */
#include "tests/saver_fixture.inc.h"

#include <fcntl.h>
#include <signal.h>

#include "model/checkpoint_dir.h"
#include "model/fence.h"
#include "model/file.h"
#include "model/lock.h"
#include "model/saver_write.h"
#include "model/train.h"
#include "tests/run_fixture.inc.h"

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[200];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int64_t newest(const char *dir)
{
    struct mup_error err = { 0 };
    int64_t n = -1;

    if (fence_read(dir, &n, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return n;
}

static struct fence fence_of(const char *dir, int64_t incarnation)
{
    struct fence f = { .incarnation = incarnation };

    snprintf(f.path, sizeof(f.path), "%s/incarnation", dir);
    return f;
}

static int stands(const char *dir, int64_t step)
{
    char path[CHECKPOINT_PATH_BYTES];

    checkpoint_path(dir, step, path);
    return access(path, F_OK) == 0;
}

static int is_writing(const char *dir, int64_t step, int64_t incarnation)
{
    char path[CHECKPOINT_PATH_BYTES];

    checkpoint_writing_path(dir, step, incarnation, path);
    return access(path, F_OK) == 0;
}

/* --- the number --- */

static void a_number_only_rises(void **state)
{
    struct mup_error err = { 0 };
    char dir[64];

    (void)state;
    new_dir(dir);
    assert_int_equal(newest(dir), 0);
    assert_int_equal(fence_raise(dir, 3, &err), MUP_OK);
    assert_int_equal(newest(dir), 3);
    assert_int_equal(fence_raise(dir, 3, &err), MUP_USAGE);
    assert_int_equal(fence_raise(dir, 2, &err), MUP_USAGE);
    assert_int_equal(newest(dir), 3);
    assert_int_equal(fence_raise(dir, 4, &err), MUP_OK);
    assert_int_equal(newest(dir), 4);
    remove_tree(dir);
}

static void a_file_that_holds_no_number_is_corrupt(void **state)
{
    static const char *const bad[] = {
        "",     "\n",   "3",    "0\n",  "-3\n",  "3 \n",
        "3\n4", "x3\n", "+3\n", " 3\n", "3\r\n", "99999999999999999999\n",
    };
    struct mup_error err = { 0 };
    char dir[64];

    (void)state;
    new_dir(dir);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fence f = fence_of(dir, 1);
        int64_t n = -1;

        write_file(dir, "incarnation", bad[i]);
        assert_int_equal(fence_read(dir, &n, &err), MUP_CORRUPT);
        assert_int_equal(n, -1);
        assert_int_equal(fence_raise(dir, 5, &err), MUP_CORRUPT);
        assert_int_equal(fence_check(&f, &err), MUP_CORRUPT);
        assert_int_equal(fence_look(&f, &err), MUP_CORRUPT);
    }
    write_file(dir, "incarnation", "7\n");
    assert_int_equal(newest(dir), 7);
    remove_tree(dir);
}

static void ours_is_the_environments_or_the_next_one(void **state)
{
    struct mup_error err = { 0 };
    struct fence f;
    char dir[64];

    (void)state;
    new_dir(dir);
    unsetenv(FENCE_VARIABLE);
    assert_int_equal(fence_open(dir, &f, &err), MUP_OK);
    assert_int_equal(f.incarnation, 0);
    assert_int_equal(newest(dir), 0); /* and leaves no file */
    assert_int_equal(setenv(FENCE_VARIABLE, "2", 1), 0);
    assert_int_equal(fence_raise(dir, 2, &err), MUP_OK);
    assert_int_equal(fence_open(dir, &f, &err), MUP_OK);
    assert_int_equal(f.incarnation, 2);
    assert_int_equal(newest(dir), 2);
    unsetenv(FENCE_VARIABLE);
    assert_int_equal(fence_open(dir, &f, &err), MUP_OK);
    assert_int_equal(f.incarnation, 3);
    assert_int_equal(newest(dir), 3);
    assert_int_equal(setenv(FENCE_VARIABLE, "two", 1), 0);
    assert_int_equal(fence_open(dir, &f, &err), MUP_USAGE);
    unsetenv(FENCE_VARIABLE);
    remove_tree(dir);
}

static void a_newer_number_is_noticed_at_once(void **state)
{
    struct mup_error err = { 0 };
    struct fence f, none;
    char dir[64];

    (void)state;
    new_dir(dir);
    f = fence_of(dir, 3);
    none = fence_of(dir, 0);
    assert_int_equal(fence_check(NULL, &err), MUP_OK);
    assert_int_equal(fence_look(NULL, &err), MUP_OK);
    assert_int_equal(fence_check(&none, &err), MUP_OK);
    for (int64_t n = 1; n <= 3; n++) {
        assert_int_equal(fence_raise(dir, n, &err), MUP_OK);
        assert_int_equal(fence_look(&f, &err), MUP_OK);
        assert_int_equal(fence_check(&f, &err), MUP_OK);
    }
    assert_int_equal(fence_look(&f, &err), MUP_OK);
    assert_int_equal(fence_raise(dir, 4, &err), MUP_OK);
    assert_int_equal(fence_look(&f, &err), MUP_DEVICE);
    assert_int_equal(fence_check(&f, &err), MUP_DEVICE);
    assert_non_null(strstr(err.text, "incarnation 4"));
    assert_int_equal(fence_look(&f, &err), MUP_DEVICE); /* and stays so */
    assert_int_equal(fence_check(&none, &err), MUP_DEVICE);
    remove_tree(dir);
}

/* --- commits --- */

/* One rank of an incarnation that saves step by step, without a thread. */
struct writer {
    struct fence fence;
    struct save_writer w;
    struct holding h;
};

static void open_writer(struct writer *x, const char *dir, int64_t incarnation)
{
    memset(x, 0, sizeof(*x));
    x->fence = fence_of(dir, incarnation);
    x->w.options = options_of(dir, 0, 1);
    x->w.options.fence = &x->fence;
    share_out(&x->h, 1, RANK_0);
}

static void close_writer(struct writer *x)
{
    saved_clear(&x->w.before);
    saved_clear(&x->w.last);
    saved_clear(&x->w.now);
    drop(&x->h, 1);
}

static int write_step(struct writer *x, int64_t step)
{
    struct mup_error err = { 0 };

    fill(&x->h, step);
    return save_parts(&x->w, step, x->h.parts, x->h.n, &err);
}

static int commit_step(struct writer *x, int64_t step, struct mup_error *err)
{
    char text[64];
    int rc;

    snprintf(text, sizeof(text), "{\"number\":%d}", (int)step);
    rc = save_commit(&x->w, step, text, err);
    if (!rc)
        save_accept(&x->w);
    return rc;
}

static void commit_well(struct writer *x, int64_t step)
{
    struct mup_error err = { 0 };

    assert_int_equal(write_step(x, step), MUP_OK);
    if (commit_step(x, step, &err))
        fail_msg("%s", err.text);
}

static void folders_carry_the_number(void **state)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct checkpoint c;
    struct writer x;
    json_t *number;
    char dir[64];

    (void)state;
    checkpoint_writing_path("d", 12, 0, path);
    assert_string_equal(path, "d/.writing-step-0000000012");
    checkpoint_writing_path("d", 12, 3, path);
    assert_string_equal(path, "d/.writing-3-step-0000000012");
    new_dir(dir);
    for (int64_t n = 0; n < 2; n++) {
        open_writer(&x, dir, n);
        commit_well(&x, n + 1);
        checkpoint_path(dir, n + 1, path);
        assert_int_equal(checkpoint_open(path, &c, NULL), MUP_OK);
        number = json_object_get(c.manifest, "incarnation");
        assert_int_equal(number != NULL, n);
        assert_int_equal(json_integer_value(number), n);
        checkpoint_close(&c);
        assert_reads(dir, n + 1, &x.h, 1);
        close_writer(&x);
    }
    remove_tree(dir);
}

static void a_sweep_spares_what_is_newer(void **state)
{
    static const int64_t number[] = { 0, 1, 9, 10, 11 };
    struct writer x;
    char dir[64];

    (void)state;
    new_dir(dir);
    for (int i = 0; i < 5; i++) {
        open_writer(&x, dir, number[i]);
        assert_int_equal(write_step(&x, 5), MUP_OK);
        close_writer(&x);
    }
    assert_int_equal(checkpoint_sweep(dir, 9, NULL), MUP_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(is_writing(dir, 5, number[i]), number[i] > 9);
    remove_tree(dir);
}

/* What an old incarnation does to save, and a new one to begin, each in its
 * order; the real commit looks and renames in one call. */
enum { OLD_WRITES, OLD_COMMITS, N_OLD };
enum { NEW_RAISES, NEW_SWEEPS, NEW_SAVES, N_NEW };

/* order: bit i set, and move i is the new one's.  Step 2 is the old one's save;
 * again: a checkpoint of it stands already, and the new one saves it too. */
static void play(unsigned order, int again)
{
    struct mup_error err = { 0 };
    struct writer old, new;
    int a = 0, b = 0, rc = -1, fenced = 0;
    char dir[64];

    new_dir(dir);
    open_writer(&old, dir, 1);
    open_writer(&new, dir, 2);
    assert_int_equal(fence_raise(dir, 1, NULL), MUP_OK);
    commit_well(&old, 1);
    if (again)
        commit_well(&old, 2);
    for (int i = 0; i < N_OLD + N_NEW; i++) {
        if (order >> i & 1) {
            if (b == NEW_RAISES) {
                assert_int_equal(fence_raise(dir, 2, NULL), MUP_OK);
                fenced |= a < N_OLD;
            } else if (b == NEW_SWEEPS) {
                assert_int_equal(checkpoint_sweep(dir, 2, NULL), MUP_OK);
                assert_false(is_writing(dir, 2, 1));
            } else {
                commit_well(&new, again ? 2 : 3);
            }
            b++;
        } else if (a++ == OLD_WRITES) {
            (void)write_step(&old, 2); /* may find its folder gone */
        } else {
            rc = commit_step(&old, 2, &err);
        }
    }
    if (fenced) {
        assert_int_equal(rc, MUP_DEVICE);
        assert_non_null(strstr(err.text, "has replaced this one"));
    } else {
        assert_int_equal(rc, MUP_OK);
    }
    assert_int_equal(stands(dir, 2), again || !fenced);
    /* whatever the order: what stands is whole, and what is new is there */
    assert_reads(dir, 1, &new.h, 1);
    if (stands(dir, 2))
        assert_reads(dir, 2, &new.h, 1);
    if (!again)
        assert_reads(dir, 3, &new.h, 1);
    close_writer(&old);
    close_writer(&new);
    remove_tree(dir);
}

static void no_order_lets_a_stale_commit_through(void **state)
{
    int orders = 0;

    (void)state;
    for (unsigned order = 0; order < 1u << (N_OLD + N_NEW); order++) {
        int moves = 0;

        for (int i = 0; i < N_OLD + N_NEW; i++)
            moves += order >> i & 1;
        if (moves != N_NEW)
            continue;
        play(order, 0);
        play(order, 1);
        orders++;
    }
    assert_int_equal(orders, 10);
}

/* The look reads a pipe here: while it waits for the answer, this process does
 * what a new incarnation may do between the look and what follows.  Each look
 * gets a pipe of its own. */
static void answer_look(const char *path, void (*meanwhile)(struct writer *),
                        struct writer *new)
{
    char next[CHECKPOINT_PATH_BYTES];
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0);
    if (meanwhile)
        meanwhile(new);
    snprintf(next, sizeof(next), "%s-next", path);
    assert_int_equal(mkfifo(next, 0600), 0);
    assert_int_equal(rename(next, path), 0);
    assert_int_equal(write(fd, "1\n", 2), 2); /* no newer one at that time */
    assert_int_equal(close(fd), 0);
}

static void take_over(struct writer *new)
{
    assert_int_equal(checkpoint_sweep(new->w.options.dir, 2, NULL), MUP_OK);
    commit_well(new, 2);
}

static int64_t maker_of(const char *dir, int64_t step)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct checkpoint c;
    int64_t maker;

    checkpoint_path(dir, step, path);
    assert_int_equal(checkpoint_open(path, &c, NULL), MUP_OK);
    maker = json_integer_value(json_object_get(c.manifest, "incarnation"));
    checkpoint_close(&c);
    return maker;
}

/* again: a checkpoint of the step stands already, and there are two looks. */
static void look_and_be_late(int again)
{
    struct mup_error err = { 0 };
    struct writer old, new;
    char dir[64];
    int status;
    pid_t pid;

    new_dir(dir);
    open_writer(&old, dir, 1);
    open_writer(&new, dir, 2);
    if (again)
        commit_well(&old, 2);
    assert_int_equal(write_step(&old, 2), MUP_OK);
    snprintf(old.fence.path, sizeof(old.fence.path), "%s/look", dir);
    assert_int_equal(mkfifo(old.fence.path, 0600), 0);
    pid = fork();
    if (pid == 0)
        _exit(commit_step(&old, 2, &err) != MUP_SYSTEM ||
              !strstr(err.text, "cannot rename"));
    if (again)
        answer_look(old.fence.path, NULL, NULL);
    answer_look(old.fence.path, take_over, &new);
    answer_look(old.fence.path, NULL, NULL); /* why did it fail? */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_reads(dir, 2, &new.h, 1);
    assert_int_equal(maker_of(dir, 2), 2);
    close_writer(&old);
    close_writer(&new);
    remove_tree(dir);
}

static void a_commit_that_looked_in_time_is_too_late_all_the_same(void **state)
{
    (void)state;
    look_and_be_late(0);
    look_and_be_late(1);
}

static void a_fenced_incarnation_removes_nothing(void **state)
{
    struct checkpoint_policy policy = { .keep_last = 1, .quota_bytes = 1 };
    struct mup_error err = { 0 };
    struct writer x;
    char dir[64];

    (void)state;
    new_dir(dir);
    open_writer(&x, dir, 1);
    for (int64_t step = 1; step <= 4; step++)
        commit_well(&x, step);
    assert_int_equal(checkpoint_set_aside(dir, 4, NULL), MUP_OK);
    assert_int_equal(fence_raise(dir, 2, NULL), MUP_OK);
    assert_int_equal(checkpoint_retain(dir, &policy, &x.fence, &err),
                     MUP_DEVICE);
    assert_int_equal(checkpoint_make_room(dir, &policy, 1, &x.fence, &err),
                     MUP_DEVICE);
    x.w.options.policy = policy;
    assert_int_equal(write_step(&x, 5), MUP_DEVICE);
    for (int64_t step = 1; step <= 3; step++)
        assert_true(stands(dir, step));
    x.fence.incarnation = 2;
    assert_int_equal(checkpoint_retain(dir, &policy, &x.fence, &err), MUP_OK);
    assert_false(stands(dir, 1));
    assert_true(stands(dir, 3));
    close_writer(&x);
    remove_tree(dir);
}

/* With threads, as a run has it: two ranks, and a saver of the new start that
 * sweeps when it opens. */
static void savers_say_that_they_are_fenced_off(void **state)
{
    struct mup_error err = { 0 };
    struct team old = { .ranks = 2 }, new = { .ranks = 2 };
    struct fence fence[2];
    struct holding h[2], all;

    (void)state;
    new_dir(old.dir);
    snprintf(new.dir, sizeof(new.dir), "%s", old.dir);
    share_out(h, 2, BY_ROWS);
    share_out(&all, 1, RANK_0);
    for (int r = 0; r < 2; r++) {
        struct saver_options o = options_of(old.dir, r, 2);

        fence[0] = fence_of(old.dir, 1);
        o.fence = &fence[0];
        assert_int_equal(saver_open(&o, &old.savers[r], &err), MUP_OK);
    }
    save_well(&old, 1, h);
    assert_int_equal(fence_raise(old.dir, 2, NULL), MUP_OK);
    for (int r = 0; r < 2; r++) {
        struct saver_options o = options_of(old.dir, r, 2);

        fence[1] = fence_of(old.dir, 2);
        o.fence = &fence[1];
        assert_int_equal(saver_open(&o, &new.savers[r], &err), MUP_OK);
    }
    fill(&h[0], 2);
    fill(&h[1], 2);
    assert_int_equal(save_all(&old, 2, h, &err), SAVER_FAILED);
    assert_non_null(strstr(err.text, "has replaced this one"));
    assert_false(stands(old.dir, 2));
    save_well(&new, 2, h);
    assert_reads(old.dir, 2, &all, 1);
    stop_savers(&old);
    stop_savers(&new);
    drop(h, 2);
    drop(&all, 1);
    remove_tree(old.dir);
}

/* --- two processes --- */

/* An old incarnation that saves on and on, as fast as it can: how it ended. */
static int save_until_fenced(const char *dir, int go)
{
    struct writer x;
    struct mup_error err = { 0 };
    int rc = MUP_OK;

    open_writer(&x, dir, 1);
    for (int64_t step = 2; !rc; step++) {
        rc = write_step(&x, step);
        if (!rc)
            rc = commit_step(&x, step, &err);
        if (!rc && step == 4 && write(go, "", 1) != 1)
            _exit(99);
    }
    close_writer(&x);
    /* a write may be what finds the folder gone */
    return rc == MUP_DEVICE || fence_check(&x.fence, &err) == MUP_DEVICE
               ? MUP_DEVICE
               : rc;
}

static void a_living_process_is_fenced_off_at_any_moment(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        int go[2], status, n = 0;
        int64_t *before = NULL, *after = NULL;
        int n_after = 0;
        struct writer new;
        char dir[64], byte;
        pid_t pid;

        new_dir(dir);
        assert_int_equal(fence_raise(dir, 1, NULL), MUP_OK);
        assert_int_equal(pipe(go), 0);
        pid = fork();
        if (pid == 0)
            _exit(save_until_fenced(dir, go[1]));
        close(go[1]);
        assert_int_equal(read(go[0], &byte, 1), 1);
        assert_int_equal(fence_raise(dir, 2, NULL), MUP_OK);
        assert_int_equal(checkpoint_sweep(dir, 2, NULL), MUP_OK);
        assert_int_equal(checkpoint_list(dir, &before, &n, NULL), MUP_OK);
        open_writer(&new, dir, 2);
        commit_well(&new, before[0]);
        commit_well(&new, before[0] + 1);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), MUP_DEVICE);
        /* nothing of the old one came after the sweep */
        assert_int_equal(checkpoint_list(dir, &after, &n_after, NULL), MUP_OK);
        assert_int_equal(n_after, n + 1);
        assert_int_equal(after[1], before[0]);
        assert_reads(dir, after[0], &new.h, 1);
        assert_reads(dir, after[1], &new.h, 1);
        close_writer(&new);
        close(go[0]);
        free(before);
        free(after);
        remove_tree(dir);
    }
}

/* --- a run --- */

struct usurper {
    const char *dir;
    int64_t at, incarnation;
    int notes;
    char note[1024];
};

static void usurp(void *context, const struct train_step *step)
{
    struct usurper *u = context;

    if (step->step == u->at)
        assert_int_equal(fence_raise(u->dir, u->incarnation, NULL), MUP_OK);
}

static void take_note(void *context, const char *sentence)
{
    struct usurper *u = context;

    u->notes++;
    snprintf(u->note, sizeof(u->note), "%s", sentence);
}

static int train(struct usurper *u, struct mup_error *err)
{
    const struct train_hooks hooks = { .context = u,
                                       .step = usurp,
                                       .note = take_note };
    struct run_config c = small_config();
    struct train_result result;

    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "1");
    c.run.log_every = 1;
    return train_run(&c, u->dir, &hooks, &result, err);
}

static char *read_text(const char *dir, const char *name)
{
    char path[200], *text = NULL;
    size_t bytes;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(file_read(path, 1 << 24, &text, &bytes, NULL), MUP_OK);
    return text;
}

static void a_run_that_is_replaced_ends_without_a_trace(void **state)
{
    struct mup_error err = { 0 };
    struct usurper u = { .at = 10, .incarnation = 2 };
    char dir[64], *events, *metrics;

    (void)state;
    new_dir(dir);
    u.dir = dir;
    assert_int_equal(fence_raise(dir, 1, NULL), MUP_OK);
    assert_int_equal(setenv(FENCE_VARIABLE, "1", 1), 0);
    assert_int_equal(train(&u, &err), MUP_DEVICE);
    assert_non_null(strstr(err.text, "incarnation 2"));
    events = read_text(dir, "events.jsonl");
    metrics = read_text(dir, "metrics.jsonl");
    assert_non_null(strstr(events, "\"incarnation\":1"));
    assert_null(strstr(events, "\"failed\""));
    assert_null(strstr(events, "\"stopped\""));
    assert_null(strstr(metrics, "\"step\":10"));
    free(events);
    free(metrics);
    /* the newer one goes on from there, with its own number */
    u.at = 0;
    assert_int_equal(setenv(FENCE_VARIABLE, "2", 1), 0);
    if (train(&u, &err) != MUP_OK)
        fail_msg("%s", err.text);
    events = read_text(dir, "events.jsonl");
    assert_non_null(strstr(events, "\"resume\""));
    assert_non_null(strstr(events, "\"incarnation\":2"));
    free(events);
    unsetenv(FENCE_VARIABLE);
    remove_tree(dir);
}

/* A run by hand has no number before a supervisor has given one. */
static void a_run_by_hand_takes_the_next_number(void **state)
{
    struct mup_error err = { 0 };
    struct usurper u = { 0 };
    char dir[64], *events;

    (void)state;
    unsetenv(FENCE_VARIABLE);
    new_dir(dir);
    u.dir = dir;
    assert_int_equal(train(&u, &err), MUP_OK);
    assert_int_equal(newest(dir), 0);
    events = read_text(dir, "events.jsonl");
    assert_null(strstr(events, "incarnation"));
    free(events);
    remove_tree(dir);
    new_dir(dir);
    assert_int_equal(fence_raise(dir, 6, NULL), MUP_OK);
    assert_int_equal(train(&u, &err), MUP_OK);
    assert_int_equal(newest(dir), 7);
    remove_tree(dir);
}

/* A process that holds the lock of the run in dir, as one of node `name`. */
static pid_t hold_lock(const char *dir, const char *name)
{
    struct file_lock lock;
    char path[200], byte = 0;
    int ready[2];
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        (void)setenv("SLURMD_NODENAME", name, 1);
        snprintf(path, sizeof(path), "%s/run.lock", dir);
        if (lock_take(path, "it", &lock, NULL) || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end_process(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void the_lock_of_a_node_that_is_cut_off_does_not_hold_up(void **state)
{
    struct mup_error err = { 0 };
    struct usurper u = { 0 };
    char dir[64];
    pid_t pid;

    (void)state;
    new_dir(dir);
    u.dir = dir;
    pid = hold_lock(dir, "node1");
    assert_int_equal(setenv("SLURMD_NODENAME", "node2", 1), 0);
    unsetenv(FENCE_VARIABLE); /* by hand it does */
    assert_int_equal(train(&u, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "on node1"));
    assert_int_equal(fence_raise(dir, 1, NULL), MUP_OK);
    assert_int_equal(setenv(FENCE_VARIABLE, "1", 1), 0);
    if (train(&u, &err) != MUP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(u.notes, 1);
    assert_non_null(strstr(u.note, "node1"));
    /* not even under a supervisor against one of the same node */
    assert_int_equal(setenv("SLURMD_NODENAME", "node1", 1), 0);
    remove_tree(dir);
    end_process(pid);
    new_dir(dir);
    pid = hold_lock(dir, "node1");
    assert_int_equal(train(&u, &err), MUP_USAGE);
    end_process(pid);
    if (train(&u, &err) != MUP_OK)
        fail_msg("%s", err.text);
    unsetenv(FENCE_VARIABLE);
    unsetenv("SLURMD_NODENAME");
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_only_rises),
        cmocka_unit_test(a_file_that_holds_no_number_is_corrupt),
        cmocka_unit_test(ours_is_the_environments_or_the_next_one),
        cmocka_unit_test(a_newer_number_is_noticed_at_once),
        cmocka_unit_test(folders_carry_the_number),
        cmocka_unit_test(a_sweep_spares_what_is_newer),
        cmocka_unit_test(no_order_lets_a_stale_commit_through),
        cmocka_unit_test(a_commit_that_looked_in_time_is_too_late_all_the_same),
        cmocka_unit_test(a_fenced_incarnation_removes_nothing),
        cmocka_unit_test(savers_say_that_they_are_fenced_off),
        cmocka_unit_test(a_living_process_is_fenced_off_at_any_moment),
        cmocka_unit_test(a_run_that_is_replaced_ends_without_a_trace),
        cmocka_unit_test(a_run_by_hand_takes_the_next_number),
        cmocka_unit_test(the_lock_of_a_node_that_is_cut_off_does_not_hold_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
