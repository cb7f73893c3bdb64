/* Runs of many ranks that are killed, stopped, continued on other numbers of
 * ranks, damaged: what comes out is what an unbroken run gives.
 *
 * Run with arguments this program is one rank of a run, which the tests start
 * under mpirun; its first rank writes the answer to a file. */
#define _GNU_SOURCE /* mkdtemp */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/checkpoint.h"
#include "model/train.h"
#include "tests/folder.inc.h"
#include "tests/mpirun.inc.h"

/* Relative, between layouts: sums of floats in another order differ by 6e-8
 * and grow from step to step; measured 2e-8 at most. */
#define ROUNDING 1e-5

/* --- one rank --- */

struct order {
    const char *dir;
    int64_t data, expert, tensor;
    int64_t stop;     /* ask to stop after this step; 0: never */
    int64_t vanish;   /* the checkpoints are taken away after this step */
    const char *set;  /* "key=value key=value ..." */
    const char *disk; /* "full RANK FROM TO" or "slow RANK FROM TO": between
                       * these steps that rank's disk is; NULL: never */
};

struct rank {
    const struct order *order;
    int number;
    int64_t step;
    char note[1024]; /* the first one */
};

static void set_keys(struct run_config *c, const char *set)
{
    char key[200], value[200];
    struct mup_error err = { 0 };
    int n = 0;

    for (; sscanf(set, " %199[^=]=%199s%n", key, value, &n) == 2; set += n)
        if (config_set(&run_schema, c, key, value, &err))
            fprintf(stderr, "%s\n", err.text);
}

static struct run_config make_config(const struct order *o)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = 32;
    c.model.layers = 2;
    c.model.head_size = 8;
    c.model.kv_group = 1;
    c.model.experts = 4;
    c.model.seq = 12;
    c.mup.base_width = 16;
    c.mup.base_head_size = 8;
    c.train.lr = 0.01;
    c.train.batch = 8;
    c.train.micro_batch = 2;
    c.train.steps = 30;
    c.data.valid_sequences = 4;
    c.run.log_every = 4;
    c.parallel.data = o->data;
    c.parallel.expert = o->expert;
    c.parallel.tensor = o->tensor;
    c.parallel.deadline_s = 60;
    snprintf(c.run.backend, sizeof(c.run.backend), "ref");
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "3");
    snprintf(c.checkpoint.keep, sizeof(c.checkpoint.keep), "last 3");
    set_keys(&c, o->set);
    return c;
}

static atomic_int disk_is_slow;

/* In place of libc's. */
int fsync(int fd)
{
    const struct timespec three = { 3, 0 };

    if (atomic_load(&disk_is_slow))
        (void)nanosleep(&three, NULL);
    return (int)syscall(SYS_fsync, fd);
}

/* Of this process alone; SIGXFSZ is ignored, so that writes fail. */
static void fill_disk(int is_full)
{
    struct rlimit limit;

    (void)getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = is_full ? 0 : limit.rlim_max;
    (void)setrlimit(RLIMIT_FSIZE, &limit);
}

static void count_step(void *context, const struct train_step *step)
{
    struct rank *r = context;
    char path[200], aside[200];
    long rank, from, to;
    char what[8];

    r->step = step->step;
    if (sscanf(r->order->disk, "%7s %ld %ld %ld", what, &rank, &from, &to) ==
            4 &&
        rank == r->number) {
        int now = r->step >= from && r->step < to;

        if (!strcmp(what, "full"))
            fill_disk(now);
        else
            atomic_store(&disk_is_slow, now);
    }
    if (!r->order->vanish || r->step != r->order->vanish)
        return;
    /* renamed, as by hand: what is open there goes on into the old folder */
    snprintf(path, sizeof(path), "%s/checkpoints", r->order->dir);
    snprintf(aside, sizeof(aside), "%s/gone", r->order->dir);
    (void)rename(path, aside); /* one of the ranks does it */
}

static int should_stop(void *context)
{
    const struct rank *r = context;

    return r->order->stop && r->step >= r->order->stop;
}

static void take_note(void *context, const char *sentence)
{
    struct rank *r = context;

    if (!r->note[0])
        snprintf(r->note, sizeof(r->note), "%s", sentence);
}

/* Kept by the first rank, as one line of numbers and two of text. */
struct answer {
    int status;
    int64_t resumed_from;
    double loss, val_loss;
    char error[1024], note[1024];
};

static int write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    return !f || fputs(text, f) < 0 || fclose(f) != 0;
}

static int be_a_rank(char **argv)
{
    const struct order o = { argv[1],
                             strtoll(argv[2], NULL, 10),
                             strtoll(argv[3], NULL, 10),
                             strtoll(argv[4], NULL, 10),
                             strtoll(argv[5], NULL, 10),
                             strtoll(argv[6], NULL, 10),
                             argv[7],
                             argv[8] };
    struct rank r = { &o, 0, 0, "" };
    const struct train_hooks hooks = { &r, count_step, should_stop, take_note,
                                       NULL };
    const char *number = getenv("OMPI_COMM_WORLD_RANK");
    struct run_config c = make_config(&o);
    struct train_result result = { 0 };
    struct mup_error err = { 0 };
    char path[200], text[4096];
    int rc;

    r.number = number ? (int)strtol(number, NULL, 10) : 0;
    (void)signal(SIGXFSZ, SIG_IGN);
    snprintf(path, sizeof(path), "%s/pid-%d", o.dir, r.number);
    snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (write_text(path, text))
        return 1;
    rc = train_run(&c, o.dir, &hooks, &result, &err);
    fill_disk(0);
    if (r.number > 0)
        return 0; /* what all know, the first one says */
    snprintf(text, sizeof(text), "%d %" PRId64 " %a %a\n%s\n%s\n", rc,
             result.resumed_from, result.loss, result.val_loss, err.text,
             r.note);
    snprintf(path, sizeof(path), "%s/answer", o.dir);
    return write_text(path, text);
}

/* --- starting ranks --- */

static char program[1024];

static void copy_tree(const char *from, const char *to)
{
    remove_tree(to);
    run_command((const char *[]){ "cp", "-a", "--", from, to, NULL });
}

/* mpirun, or the rank itself where there is but one. */
static pid_t start(const struct order *o)
{
    const int64_t ranks = o->data * o->expert * o->tensor;
    const int64_t numbers[] = { ranks,     o->data, o->expert,
                                o->tensor, o->stop, o->vanish };
    char text[6][24];
    const char *const argv[] = { "mpirun",
                                 "--oversubscribe",
                                 "-np",
                                 text[0],
                                 program,
                                 o->dir,
                                 text[1],
                                 text[2],
                                 text[3],
                                 text[4],
                                 text[5],
                                 o->set,
                                 o->disk ? o->disk : "",
                                 NULL };
    const char *const *first = ranks > 1 ? argv : argv + 4;
    pid_t pid;

    for (int i = 0; i < 6; i++)
        snprintf(text[i], sizeof(text[i]), "%" PRId64, numbers[i]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(300); /* outlives exec: nothing here may hang */
        execvp(first[0], (char *const *)first);
        _exit(127);
    }
    return pid;
}

static void read_line(FILE *f, char *out, int bytes)
{
    if (!fgets(out, bytes, f))
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static struct answer read_answer(const char *dir)
{
    struct answer a = { 0 };
    char path[200];
    FILE *f;

    snprintf(path, sizeof(path), "%s/answer", dir);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%d %" SCNd64 " %la %la%*c", &a.status,
                            &a.resumed_from, &a.loss, &a.val_loss),
                     4);
    read_line(f, a.error, sizeof(a.error));
    read_line(f, a.note, sizeof(a.note));
    (void)fclose(f);
    assert_int_equal(unlink(path), 0);
    return a;
}

static struct answer run(const struct order *o)
{
    pid_t pid = start(o);
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return read_answer(o->dir);
}

static struct answer finish(const struct order *o)
{
    struct answer a = run(o);

    if (a.status)
        fail_msg("%s", a.error);
    return a;
}

/* On another layout: up to `stop`, or to the end. */
static struct answer go_on(const char *dir, const struct order *o)
{
    struct order here = *o;

    here.dir = dir;
    return run(&here);
}

static void assert_same_loss(const struct answer *got,
                             const struct answer *want)
{
    if (got->status)
        fail_msg("%s", got->error);
    print_message("validation loss off by %.1e\n",
                  fabs(got->val_loss / want->val_loss - 1));
    if (!(fabs(got->val_loss - want->val_loss) <= ROUNDING * want->val_loss))
        fail_msg("validation loss %.9g, unbroken %.9g", got->val_loss,
                 want->val_loss);
}

/* --- checkpoints --- */

static void newest_path(const char *dir, char path[CHECKPOINT_PATH_BYTES])
{
    char checkpoints[100];
    struct mup_error err = { 0 };

    snprintf(checkpoints, sizeof(checkpoints), "%s/checkpoints", dir);
    assert_int_equal(
        checkpoint_newest(checkpoints, path, CHECKPOINT_PATH_BYTES, &err),
        MUP_OK);
    assert_true(path[0]);
}

static struct checkpoint open_newest(const char *dir)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct checkpoint c = { 0 };
    struct mup_error err = { 0 };

    newest_path(dir, path);
    if (checkpoint_open(path, &c, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return c;
}

static void *read_tensor(const struct checkpoint *c,
                         const struct checkpoint_part *like, size_t *bytes)
{
    struct checkpoint_part whole = checkpoint_whole(
        like->name, like->kind, like->shape, like->dtype, NULL);
    struct mup_error err = { 0 };

    *bytes = (size_t)checkpoint_part_bytes(&whole);
    whole.data = malloc(*bytes + 1);
    assert_non_null(whole.data);
    if (checkpoint_read(c, &whole, 1, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return whole.data;
}

/* Weights and moments, bit for bit. */
static void assert_same_tensors(const char *a, const char *b)
{
    struct checkpoint ca = open_newest(a), cb = open_newest(b);

    assert_int_equal(ca.step, cb.step);
    assert_int_equal(ca.n_chunks, cb.n_chunks);
    for (int64_t i = 0; i < ca.n_chunks; i++) {
        const struct checkpoint_part *p = &ca.chunks[i].part;
        size_t n;
        void *x = read_tensor(&ca, p, &n), *y = read_tensor(&cb, p, &n);

        assert_memory_equal(x, y, n);
        free(x);
        free(y);
    }
    checkpoint_close(&ca);
    checkpoint_close(&cb);
}

/* --- kills --- */

static int is_soak(void)
{
    return getenv("MUTRANSFER_SOAK") != NULL;
}

static void pause_ms(long ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    (void)nanosleep(&t, NULL);
}

/* Is a checkpoint being written just now? */
static int is_writing(const char *dir)
{
    char path[200];
    struct dirent *entry;
    int found = 0;
    DIR *d;

    snprintf(path, sizeof(path), "%s/checkpoints", dir);
    d = opendir(path);
    while (d && (entry = readdir(d)))
        found |= strncmp(entry->d_name, ".writing-", 9) == 0;
    if (d)
        (void)closedir(d);
    return found;
}

static void kill_rank(const char *dir, int rank)
{
    char path[200];
    long pid = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/pid-%d", dir, rank);
    f = fopen(path, "r");
    if (!f)
        return; /* mpirun has not come to it yet */
    if (fscanf(f, "%ld", &pid) == 1 && pid > 1)
        (void)kill((pid_t)pid, SIGKILL);
    (void)fclose(f);
}

static void forget_ranks(const char *dir)
{
    char path[200];

    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/pid-%d", dir, i);
        (void)unlink(path);
    }
}

/* Wait so long, or, every other time, until a checkpoint is being written
 * after that.  1: the run ended before. */
static int wait_for_moment(const char *dir, pid_t pid, long ms, int in_write)
{
    for (long t = 0; t < ms || (in_write && t < 60000); t++) {
        int status;

        if (waitpid(pid, &status, WNOHANG) == pid) {
            assert_int_equal(status, 0);
            return 1;
        }
        if (t >= ms && is_writing(dir))
            return 0;
        pause_ms(1);
    }
    return 0;
}

/* mpirun ends the other ranks and then itself.  Open MPI 4.1.4 hangs where a
 * rank dies while it connects ("PMIX ERROR: UNREACHABLE"): then we do it. */
static int wait_for_end(const char *dir, pid_t pid)
{
    int status = 0;

    for (int t = 0; t < 1000; t++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        pause_ms(10);
    }
    for (int i = 0; i < 4; i++)
        kill_rank(dir, i);
    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Kill one rank, or all and mpirun, until the run is done; returns how often.
 * A rank that mpirun's child still runs has its own number, so nobody else's
 * process is hit. */
static int kill_until_done(const struct order *o, unsigned seed, int most)
{
    for (int kills = 0;; kills++) {
        /* longer and longer, so that a slow machine ends too */
        long ms = 100 + rand_r(&seed) % (600 + 60 * kills);
        int all = rand_r(&seed) % 2, one = rand_r(&seed) % 4;
        pid_t pid;

        forget_ranks(o->dir);
        pid = start(o);
        if (wait_for_moment(o->dir, pid, kills < most ? ms : 250000,
                            rand_r(&seed) % 2 && kills < most))
            return kills;
        for (int i = 0; i < 4; i++)
            if (all || i == one)
                kill_rank(o->dir, i);
        if (all)
            (void)kill(pid, SIGKILL);
        if (wait_for_end(o->dir, pid) == 0)
            return kills;       /* the kill came too late */
        pause_ms(all ? 50 : 0); /* ranks whose file was not there yet */
    }
}

static void killed_ranks_continue_bit_for_bit(void **state)
{
    const int wanted = is_soak() ? 200 : 4;
    char whole[64], parts[64];
    struct order o = { new_dir(whole), 1, 2, 2, 0, 0, "", NULL };
    struct answer a = finish(&o), b;
    int kills = 0;

    (void)state;
    for (unsigned round = 0; kills < wanted; round++) {
        o.dir = new_dir(parts);
        kills += kill_until_done(&o, round + 11, wanted - kills);
        b = finish(&o); /* already over: the same result again */
        assert_true(a.val_loss == b.val_loss && a.loss == b.loss);
        assert_same_tensors(whole, parts);
        remove_tree(parts);
    }
    print_message("killed %d times\n", kills);
    remove_tree(whole);
}

/* --- other layouts --- */

static void stopped_ranks_continue_on_any_number(void **state)
{
    static const char *const sets[] = {
        "",
        "train.optimizer=lion train.lr=0.002 model.tied=true",
        "train.optimizer=sgd train.lr=0.5 train.spike_limit=3 "
        "model.shared_expert=true model.qk_norm=true",
    };
    int n = is_soak() ? 3 : 1;
    char dir[64];

    (void)state;
    for (int i = 0; i < n; i++) {
        struct order first = { new_dir(dir), 1, 2, 2, 0, 0, sets[i], NULL };
        struct answer whole = finish(&first), b;
        char parts[64];

        remove_tree(dir);
        first.dir = new_dir(parts);
        first.stop = 10;
        assert_int_equal(run(&first).status, MUP_STOPPED);
        b = go_on(parts, &(struct order){ "", 1, 1, 1, 20, 0, sets[i], NULL });
        assert_int_equal(b.status, MUP_STOPPED);
        b = go_on(parts, &(struct order){ "", 1, 1, 2, 25, 0, sets[i], NULL });
        assert_int_equal(b.status, MUP_STOPPED);
        b = go_on(parts, &(struct order){ "", 4, 1, 1, 0, 0, sets[i], NULL });
        assert_int_equal(b.resumed_from, 25);
        assert_same_loss(&b, &whole);
        remove_tree(parts);
    }
}

/* Muon's matrices are never cut; its ranks share whole ones. */
static void muon_continues_on_another_layout(void **state)
{
    const char *set = "train.optimizer=muon train.lr=0.01 model.experts=3";
    char dir[64];
    struct order o = { new_dir(dir), 1, 4, 1, 0, 0, set, NULL };
    struct answer whole = finish(&o), b;

    (void)state;
    remove_tree(dir);
    o.dir = new_dir(dir);
    o.stop = 13;
    assert_int_equal(run(&o).status, MUP_STOPPED);
    b = go_on(dir, &(struct order){ "", 2, 1, 1, 0, 0, set, NULL });
    assert_int_equal(b.resumed_from, 13);
    assert_same_loss(&b, &whole);
    remove_tree(dir);
}

/* --- damage --- */

/* Flip a bit in the middle of a file, or cut it there. */
static void spoil(const char *path, int flip)
{
    int fd = open(path, O_RDWR);
    struct stat st;
    char byte;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    if (flip) {
        assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
    } else {
        assert_int_equal(ftruncate(fd, st.st_size / 2), 0);
    }
    assert_int_equal(close(fd), 0);
}

static void check_damage(const char *dir, const char *name, int flip,
                         const struct answer *whole)
{
    char copy[80], folder[CHECKPOINT_PATH_BYTES];
    char path[CHECKPOINT_PATH_BYTES + 300];
    struct answer a;

    snprintf(copy, sizeof(copy), "%s-copy", dir);
    copy_tree(dir, copy);
    newest_path(copy, folder);
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    spoil(path, flip);
    a = go_on(copy, &(struct order){ "", 1, 2, 1, 0, 0, "", NULL });
    if (!strstr(a.note, name) ||
        !strstr(a.note, "the checkpoint of step 9 is used"))
        fail_msg("'%s' damaged: '%s'", name, a.note);
    assert_same_loss(&a, whole);
    assert_int_equal(a.resumed_from, 9);
    remove_tree(copy);
}

static void damage_is_named_and_the_one_before_is_used(void **state)
{
    char dir[64], folder[CHECKPOINT_PATH_BYTES];
    struct order o = { new_dir(dir), 1, 2, 2, 0, 0, "", NULL };
    struct answer whole = finish(&o);
    struct dirent *entry;
    int files = 0;
    DIR *d;

    (void)state;
    remove_tree(dir);
    o.dir = new_dir(dir);
    o.stop = 12;
    assert_int_equal(run(&o).status, MUP_STOPPED);
    newest_path(dir, folder);
    d = opendir(folder);
    assert_non_null(d);
    while ((entry = readdir(d)))
        if (entry->d_name[0] != '.') {
            for (int flip = 0; flip < 2; flip++)
                if (is_soak() || flip == files % 2)
                    check_damage(dir, entry->d_name, flip, &whole);
            files++;
        }
    (void)closedir(d);
    assert_true(files >= 5); /* of four ranks, and the manifest */
    remove_tree(dir);
}

static void checkpoints_that_vanish_are_made_again(void **state)
{
    char dir[64];
    struct order o = { new_dir(dir), 2, 1, 1, 0, 0, "", NULL };
    struct answer whole = finish(&o), a;
    struct checkpoint c;

    (void)state;
    remove_tree(dir);
    o.dir = new_dir(dir);
    o.vanish = 16;
    a = finish(&o);
    assert_true(a.val_loss == whole.val_loss);
    c = open_newest(dir);
    assert_int_equal(c.step, 30);
    assert_int_equal(checkpoint_verify(&c, NULL), MUP_OK);
    checkpoint_close(&c);
    remove_tree(dir);
}

/* --- a rank of its own mind --- */

/* Not after the deadline of a minute, in which the others wait for it. */
static void a_log_that_cannot_be_written_ends_the_run_on_all(void **state)
{
    char dir[64];
    struct order o = {
        new_dir(dir), 2, 1, 1, 0, 0, "run.log_every=1 checkpoint.every=1000",
        "full 0 9 99"
    };
    time_t began = time(NULL);
    struct answer a = run(&o);

    (void)state;
    assert_int_equal(a.status, MUP_SYSTEM);
    assert_non_null(strstr(a.error, "cannot append a line"));
    assert_true(time(NULL) - began < 30);
    remove_tree(dir);
}

static void a_save_that_fails_on_one_rank_is_told_with_its_reason(void **state)
{
    char dir[64];
    struct order o = { new_dir(dir), 2, 1, 1, 0, 0, "", NULL };
    struct answer whole = finish(&o), a;

    (void)state;
    remove_tree(dir);
    o.dir = new_dir(dir);
    o.stop = 4; /* so that no other save is on its way when the disk fills */
    assert_int_equal(run(&o).status, MUP_STOPPED);
    o.stop = 0;
    o.disk = "full 1 5 8";
    a = finish(&o);
    assert_true(a.val_loss == whole.val_loss);
    assert_non_null(strstr(a.note, "the checkpoint of step 6 was given up"));
    assert_non_null(strstr(a.note, "rank-0001-0000000006"));
    assert_non_null(strstr(a.note, "File too large (rank 1)"));
    remove_tree(dir);
}

static void a_slow_disk_is_no_lost_rank(void **state)
{
    char dir[64];
    struct order o = { new_dir(dir),
                       2,
                       1,
                       1,
                       0,
                       0,
                       "checkpoint.every=1000 parallel.deadline_s=2",
                       "slow 1 29 99" };

    (void)state;
    (void)finish(&o);
    remove_tree(dir);
}

/* The answer of the first rank is that of all, on any number of ranks. */
static void a_finished_run_is_not_run_again(void **state)
{
    char dir[64];
    struct order o = { new_dir(dir), 1, 2, 1, 0, 0, "", NULL };
    struct answer whole = finish(&o), again;

    (void)state;
    again = go_on(dir, &(struct order){ "", 4, 1, 1, 0, 0, "", NULL });
    assert_int_equal(again.status, MUP_OK);
    assert_true(again.val_loss == whole.val_loss);
    remove_tree(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_ranks_continue_bit_for_bit),
        cmocka_unit_test(stopped_ranks_continue_on_any_number),
        cmocka_unit_test(muon_continues_on_another_layout),
        cmocka_unit_test(damage_is_named_and_the_one_before_is_used),
        cmocka_unit_test(checkpoints_that_vanish_are_made_again),
        cmocka_unit_test(a_finished_run_is_not_run_again),
        cmocka_unit_test(a_log_that_cannot_be_written_ends_the_run_on_all),
        cmocka_unit_test(a_save_that_fails_on_one_rank_is_told_with_its_reason),
        cmocka_unit_test(a_slow_disk_is_no_lost_rank),
    };

    if (argc == 9)
        return be_a_rank(argv);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return 1;
    if (!has_mpirun()) {
        print_message("[  SKIPPED ] 9 test(s): no mpirun\n");
        return 0;
    }
    (void)setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    (void)setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* Open MPI leaks */
    return cmocka_run_group_tests_name("ranks resume", tests, NULL, NULL);
}
