/* Runs: resume, kill, damage, divergence, full disks, planned memory. */
#define _GNU_SOURCE /* mkdtemp, mount */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "model/checkpoint.h"
#include "model/file.h"
#include "model/lock.h"
#include "model/train.h"
#include "model/trainer.h"
#include "tests/run_fixture.inc.h"

struct stop_at {
    int64_t step, last;
};

static void remember_step(void *context, const struct train_step *step)
{
    ((struct stop_at *)context)->last = step->step;
}

static int reached(void *context)
{
    struct stop_at *s = context;

    return s->last >= s->step;
}

static void assert_done(const struct run_config *c, const char *dir,
                        struct train_result *result)
{
    struct mup_error err = { 0 };

    if (train_run(c, dir, NULL, result, &err) != MUP_OK)
        fail_msg("%s", err.text);
}

/* The newest checkpoint of a run; closed by the caller. */
static struct checkpoint open_newest(const char *dir)
{
    char checkpoints[100], path[CHECKPOINT_PATH_BYTES];
    struct checkpoint c = { 0 };
    struct mup_error err = { 0 };

    snprintf(checkpoints, sizeof(checkpoints), "%s/checkpoints", dir);
    assert_int_equal(checkpoint_newest(checkpoints, path, sizeof(path), &err),
                     MUP_OK);
    if (checkpoint_open(path, &c, &err) != MUP_OK)
        fail_msg("%s", err.text);
    return c;
}

/* All its tensors, by name and kind, one after the other; caller frees. */
static char *final_tensors(const char *dir, size_t *bytes)
{
    struct checkpoint c = open_newest(dir);
    struct mup_error err = { 0 };
    char *all = NULL;

    *bytes = 0;
    for (int64_t i = 0; i < c.n_chunks; i++) {
        const struct checkpoint_part *p = &c.chunks[i].part;
        struct checkpoint_part whole =
            checkpoint_whole(p->name, p->kind, p->shape, p->dtype, NULL);
        size_t size = (size_t)checkpoint_part_bytes(&whole);

        if (p->first)
            continue;
        all = realloc(all, *bytes + size);
        assert_non_null(all);
        whole.data = all + *bytes;
        *bytes += size;
        if (checkpoint_read(&c, &whole, 1, &err) != MUP_OK)
            fail_msg("%s", err.text);
    }
    checkpoint_close(&c);
    return all;
}

/* The metrics without what a clock decides. */
static json_t *timeless_metrics(const char *dir)
{
    char path[100], line[65536];
    json_t *list = json_array();
    FILE *f;

    snprintf(path, sizeof(path), "%s/metrics.jsonl", dir);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f)) {
        json_t *object = json_loads(line, 0, NULL);

        assert_non_null(object);
        json_object_del(object, "tokens_per_s");
        json_array_append_new(list, object);
    }
    fclose(f);
    return list;
}

static void assert_same_run(const char *a, const char *b)
{
    size_t na, nb;
    char *ta = final_tensors(a, &na), *tb = final_tensors(b, &nb);
    json_t *ma = timeless_metrics(a), *mb = timeless_metrics(b);

    assert_int_equal(na, nb);
    assert_memory_equal(ta, tb, na);
    assert_true(json_equal(ma, mb));
    json_decref(ma);
    json_decref(mb);
    free(ta);
    free(tb);
}

static void check_resume(struct run_config c)
{
    char whole[64], parts[64];
    struct train_result a, b;

    assert_done(&c, new_dir(whole), &a);
    new_dir(parts);
    for (int64_t at = 3; at < 40; at += 11) {
        struct stop_at stop = { at, 0 };
        struct train_hooks hooks = { &stop, remember_step, reached, NULL };
        struct mup_error err = { 0 };

        assert_int_equal(train_run(&c, parts, &hooks, &b, &err), MUP_STOPPED);
        assert_non_null(strstr(err.text, "the same command continues"));
    }
    assert_done(&c, parts, &b);
    assert_true(b.resumed_from > 0);
    assert_true(a.val_loss == b.val_loss && a.loss == b.loss);
    assert_same_run(whole, parts);
    remove_tree(whole);
    remove_tree(parts);
}

static void a_run_stopped_before_its_first_step_starts_again(void **state)
{
    struct run_config c = small_config();
    struct stop_at stop = { 0, 0 };
    struct train_hooks hooks = { &stop, remember_step, reached, NULL };
    struct mup_error err = { 0 };
    struct train_result result;
    char dir[64];

    (void)state;
    assert_int_equal(train_run(&c, new_dir(dir), &hooks, &result, &err),
                     MUP_STOPPED);
    assert_done(&c, dir, &result);
    assert_int_equal(result.resumed_from, 0);
    remove_tree(dir);
}

/* Kill a child that trains in dir until one ends by itself. */
static int kill_until_done(const struct run_config *c, const char *dir,
                           unsigned seed)
{
    int kills = 0;

    for (;; kills++) {
        /* longer and longer, so that a slow machine ends too */
        long ms = rand_r(&seed) % (60 + 15 * kills);
        struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            struct train_result result;

            _exit(train_run(c, dir, NULL, &result, NULL));
        }
        (void)nanosleep(&pause, NULL);
        (void)kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), MUP_OK);
            return kills;
        }
    }
}

static void a_killed_run_continues_bit_for_bit(void **state)
{
    int rounds = getenv("MUTRANSFER_SOAK") ? 20 : 2, kills = 0;
    struct run_config c = small_config();
    char whole[64], parts[64];
    struct train_result a, b;

    (void)state;
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "1");
    assert_done(&c, new_dir(whole), &a);
    for (int i = 0; i < rounds; i++) {
        new_dir(parts);
        kills += kill_until_done(&c, parts, (unsigned)i + 7);
        assert_done(&c, parts, &b); /* already over: the same result again */
        assert_true(a.val_loss == b.val_loss);
        assert_same_run(whole, parts);
        remove_tree(parts);
    }
    print_message("killed %d times\n", kills);
    assert_true(kills > 0);
    remove_tree(whole);
}

static void flip_byte(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    int byte;

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    byte = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_true(fputc(byte ^ 4, f) != EOF);
    assert_int_equal(fclose(f), 0);
}

static void damaged_checkpoints_are_named_and_skipped(void **state)
{
    static const char *const victims[] = { "rank-0000-0000000022.bin",
                                           "manifest.json" };
    struct run_config c = small_config();
    char whole[64], dir[64], path[256], *events = NULL;
    struct train_result a, b;
    size_t bytes;

    (void)state;
    assert_done(&c, new_dir(whole), &a);
    for (int i = 0; i < 2; i++) {
        struct stop_at stop = { 22, 0 };
        struct train_hooks hooks = { &stop, remember_step, reached, NULL };
        struct mup_error err = { 0 };

        assert_int_equal(train_run(&c, new_dir(dir), &hooks, &b, &err),
                         MUP_STOPPED);
        snprintf(path, sizeof(path), "%s/checkpoints/step-0000000022/%s", dir,
                 victims[i]);
        flip_byte(path, 700);
        assert_done(&c, dir, &b);
        assert_int_equal(b.resumed_from, 20);
        assert_same_run(whole, dir);
        snprintf(path, sizeof(path), "%s/events.jsonl", dir);
        assert_int_equal(file_read(path, 1 << 20, &events, &bytes, &err),
                         MUP_OK);
        assert_non_null(strstr(events, "\"skipped\""));
        assert_non_null(strstr(events, "step-0000000022"));
        free(events);
        remove_tree(dir);
    }
    remove_tree(whole);
}

static void cut_last_line(const char *path)
{
    char *text = NULL;
    size_t bytes;

    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, NULL), MUP_OK);
    text[bytes - 1] = '\0';
    assert_non_null(strrchr(text, '\n'));
    assert_int_equal(truncate(path, strrchr(text, '\n') - text + 1), 0);
    free(text);
}

static void a_run_killed_after_its_last_checkpoint_is_evaluated(void **state)
{
    struct run_config c = small_config();
    struct train_result a, b;
    char dir[64], path[128];

    (void)state;
    assert_done(&c, new_dir(dir), &a);
    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    cut_last_line(path); /* the "done" event */
    assert_done(&c, dir, &b);
    assert_int_equal(b.resumed_from, 40);
    assert_true(a.val_loss == b.val_loss && a.loss == b.loss);
    remove_tree(dir);
}

/* Stop at step 22 with checkpoints 20 and 22 kept. */
static void stop_early(const struct run_config *c, const char *dir)
{
    struct stop_at stop = { 22, 0 };
    struct train_hooks hooks = { &stop, remember_step, reached, NULL };
    struct train_result result;

    assert_int_equal(train_run(c, dir, &hooks, &result, NULL), MUP_STOPPED);
}

static void nothing_is_trained_anew_in_silence(void **state)
{
    static const int steps[] = { 15, 20, 22 };
    struct run_config c = small_config();
    struct mup_error err = { 0 };
    struct train_result result;
    char dir[64], path[256];

    (void)state;
    /* checkpoints of another number format are not damaged ones */
    stop_early(&c, new_dir(dir));
    snprintf(c.run.backend, sizeof(c.run.backend), "ref64");
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "number format"));
    /* all damaged */
    c = small_config();
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path),
                 "%s/checkpoints/step-%010d/rank-0000-%010d.bin", dir, steps[i],
                 steps[i]);
        assert_int_equal(truncate(path, 100), 0);
    }
    for (int again = 0; again < 2; again++) {
        assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_CORRUPT);
        assert_non_null(strstr(err.text, "no checkpoint in"));
    }
    remove_tree(dir);
    /* which text it was trained on is not known any more */
    stop_early(&c, new_dir(dir));
    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    assert_int_equal(truncate(path, 50), 0);
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "is damaged"));
    remove_tree(dir);
}

static void a_damaged_checkpoint_does_not_crowd_out_good_ones(void **state)
{
    struct run_config c = small_config();
    struct train_result result;
    char dir[64], path[256];

    (void)state;
    snprintf(c.checkpoint.keep, sizeof(c.checkpoint.keep), "last 2");
    stop_early(&c, new_dir(dir));
    snprintf(path, sizeof(path),
             "%s/checkpoints/step-0000000022/rank-0000-0000000022.bin", dir);
    assert_int_equal(truncate(path, 100), 0);
    snprintf(c.checkpoint.keep, sizeof(c.checkpoint.keep), "last 1");
    {
        struct stop_at stop = { 21, 0 };
        struct train_hooks hooks = { &stop, remember_step, reached, NULL };

        assert_int_equal(train_run(&c, dir, &hooks, &result, NULL),
                         MUP_STOPPED);
    }
    assert_done(&c, dir, &result);
    assert_int_equal(result.resumed_from, 21);
    remove_tree(dir);
}

static void two_processes_do_not_train_in_one_directory(void **state)
{
    struct run_config c = small_config();
    struct mup_error err = { 0 };
    struct train_result result;
    struct file_lock lock;
    char dir[64], path[128];

    (void)state;
    new_dir(dir);
    snprintf(path, sizeof(path), "%s/run.lock", dir);
    assert_int_equal(lock_take(path, "another run", &lock, &err), MUP_OK);
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "is already run by process"));
    lock_release(&lock);
    assert_done(&c, dir, &result);
    remove_tree(dir);
}

static void a_rate_too_small_to_train_is_no_divergence(void **state)
{
    struct run_config c = small_config();
    struct train_result result;
    char dir[64];

    (void)state;
    c.train.lr = 1e-9;
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "0");
    for (c.train.seed = 1; c.train.seed <= 8; c.train.seed++) {
        assert_done(&c, new_dir(dir), &result);
        assert_false(result.diverged);
        remove_tree(dir);
    }
}

static void keep_failure(void *context, int status, const char *sentence)
{
    struct mup_error *heard = context;

    assert_int_equal(status, MUP_USAGE);
    assert_string_equal(heard->text, ""); /* once */
    snprintf(heard->text, sizeof(heard->text), "%s", sentence);
}

static void another_config_is_refused_in_the_same_directory(void **state)
{
    struct mup_error heard = { 0 };
    const struct train_hooks hooks = { .context = &heard,
                                       .failed = keep_failure };
    struct run_config c = small_config();
    struct mup_error err = { 0 };
    struct train_result result;
    char dir[64];

    (void)state;
    assert_done(&c, new_dir(dir), &result);
    c.train.lr = 0.03;
    assert_int_equal(train_run(&c, dir, &hooks, &result, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "train.lr is 0.02 there and 0.03 here"));
    assert_string_equal(heard.text, err.text);
    c = small_config();
    c.run.log_every = 1; /* how often it speaks does not change a run */
    assert_int_equal(train_run(&c, dir, NULL, &result, &err), MUP_OK);
    remove_tree(dir);
}

static void divergence_is_a_result(void **state)
{
    struct run_config c = small_config();
    struct mup_error err = { 0 };
    struct train_result a, b;
    char dir[64];

    (void)state;
    c.train.lr = 1e4;
    c.train.clip = 0;
    assert_int_equal(train_run(&c, new_dir(dir), NULL, &a, &err), MUP_OK);
    assert_true(a.diverged);
    assert_true(a.diverged_step > 0 && a.diverged_step < 40);
    assert_true(isnan(a.val_loss));
    assert_int_equal(train_run(&c, dir, NULL, &b, &err), MUP_OK);
    assert_int_equal(a.diverged_step, b.diverged_step);
    remove_tree(dir);
}

static void a_full_disk_is_one_sentence_and_loses_nothing(void **state)
{
    struct run_config c = small_config();
    struct mup_error err = { 0 };
    struct train_result a, b;
    char whole[64], dir[64];

    (void)state;
    new_dir(dir);
    snprintf(c.checkpoint.keep, sizeof(c.checkpoint.keep), "last 1000");
    /* room for the first checkpoints only (1 MB each) */
    if (mount("none", dir, "tmpfs", 0, "size=2600k") != 0) {
        print_message("skipped: cannot mount a tmpfs here (%s)\n",
                      strerror(errno));
        (void)rmdir(dir);
        skip();
    }
    assert_int_equal(train_run(&c, dir, NULL, &a, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "No space left"));
    assert_int_equal(mount("none", dir, "tmpfs", MS_REMOUNT, "size=64m"), 0);
    assert_done(&c, dir, &b);
    assert_true(b.resumed_from > 0);
    assert_done(&c, new_dir(whole), &a);
    assert_same_run(whole, dir);
    assert_int_equal(umount(dir), 0);
    remove_tree(dir);
    remove_tree(whole);
}

static void the_plan_is_what_happens(void **state)
{
    struct run_config c = small_config();
    struct trainer t = { 0 };
    struct train_plan plan;
    struct mup_error err = { 0 };
    char dir[64];
    pid_t pid;

    (void)state;
    c.model.width = 128;
    c.train.batch = 16;
    c.train.steps = 3;
    c.model.seq = 64;
    assert_int_equal(train_plan(&c, &plan, &err), MUP_OK);
    assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_OK);
    assert_int_equal(plan.arena_bytes, t.arena_bytes);
    trainer_close(&t);
    new_dir(dir);
    pid = fork();
    if (pid == 0) {
        struct train_result result;

        _exit(train_run(&c, dir, NULL, &result, NULL));
    } else {
        struct rusage usage;
        int status;
        double peak, planned = (double)plan.peak_bytes;

        assert_int_equal(wait4(pid, &status, 0, &usage), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MUP_OK);
        peak = (double)usage.ru_maxrss * 1024;
        print_message("planned %.1f MiB, peak %.1f MiB\n", planned / 1048576,
                      peak / 1048576);
#ifndef __SANITIZE_ADDRESS__ /* whose shadow memory is not ours to plan */
        assert_true(fabs(planned / peak - 1) < 0.15);
#else
        assert_true(peak > 0 && planned > 0);
#endif
    }
    remove_tree(dir);
}

static void a_stopped_run_continues_bit_for_bit(void **state)
{
    (void)state;
    check_resume(small_config());
}

/* In table 9, where a load that rescaled anything would show. */
static void every_optimizer_continues_bit_for_bit(void **state)
{
    (void)state;
    for (int optimizer = MUP_SGD; optimizer <= MUP_MUON; optimizer++) {
        struct run_config c = small_config();

        c.train.optimizer = optimizer;
        c.train.lr = optimizer == MUP_SGD ? 0.1 : 2e-3;
        c.mup.form = MUP_TABLE9;
        c.model.qk_norm = c.model.shared_expert = 1;
        check_resume(c);
    }
}

/* Names of the tensors of a kind in the newest checkpoint, each in brackets;
 * freed by the caller. */
static char *names_of_kind(const char *dir, const char *kind)
{
    struct checkpoint c = open_newest(dir);
    char *text = calloc(1, 65536);

    assert_non_null(text);
    for (int64_t i = 0; i < c.n_chunks; i++) {
        const struct checkpoint_part *p = &c.chunks[i].part;
        size_t used = strlen(text);

        if (!strcmp(p->kind, kind) && p->first == 0)
            snprintf(text + used, 65536 - used, "[%s]", p->name);
    }
    checkpoint_close(&c);
    return text;
}

static void second_moments_are_saved_where_they_exist(void **state)
{
    (void)state;
    for (int optimizer = MUP_ADAMW; optimizer <= MUP_MUON; optimizer++) {
        struct run_config c = small_config();
        struct train_result result;
        char dir[64], *first, *second;

        c.train.optimizer = optimizer;
        c.train.lr = 1e-3;
        c.train.steps = 5;
        assert_done(&c, new_dir(dir), &result);
        first = names_of_kind(dir, "m");
        second = names_of_kind(dir, "v");
        assert_non_null(strstr(first, "[blocks.0.moe.up]"));
        assert_non_null(strstr(first, "[embed]"));
        if (optimizer == MUP_ADAMW || optimizer == MUP_ADAM)
            assert_string_equal(first, second);
        else if (optimizer == MUP_MUON)
            assert_string_equal(
                second, "[embed][blocks.0.attn.norm_in][blocks.0.attn.norm_out]"
                        "[blocks.0.moe.norm_in][blocks.0.moe.router]"
                        "[blocks.0.moe.norm_out][blocks.1.attn.norm_in]"
                        "[blocks.1.attn.norm_out][blocks.1.moe.norm_in]"
                        "[blocks.1.moe.router][blocks.1.moe.norm_out]"
                        "[norm_final][unembed]");
        else
            assert_string_equal(second, "");
        free(first);
        free(second);
        remove_tree(dir);
    }
}

/* Bytes of the optimizer, counted again tensor by tensor. */
static void the_plan_counts_every_optimizer_to_the_byte(void **state)
{
    (void)state;
    for (int optimizer = MUP_ADAMW; optimizer <= MUP_MUON; optimizer++) {
        struct run_config c = small_config();
        struct trainer t = { 0 };
        struct train_plan plan;
        struct mup_error err = { 0 };
        int64_t all = 0, second = 0, D = 32, F = 4 * 32, scratch;

        c.train.optimizer = optimizer;
        assert_int_equal(train_plan(&c, &plan, &err), MUP_OK);
        assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_OK);
        assert_int_equal(plan.arena_bytes, t.arena_bytes);
        for (int i = 0; i < t.model.params.n; i++) {
            const struct param *p = &t.model.params.list[i];
            int adam = optimizer <= MUP_ADAM && optimizer != MUP_SGD;

            all += p->count;
            if (adam || (optimizer == MUP_MUON && !mup_is_muon(p->shape.role)))
                second += p->count;
        }
        /* two of the largest matrix, two squares of the largest side */
        scratch = optimizer == MUP_MUON ? 2 * D * F + 2 * D * D : 0;
        /* each array is rounded up to 64 bytes */
        assert_int_equal(plan.optimizer_bytes, (4 * all + 63) / 64 * 64 +
                                                   (4 * second + 63) / 64 * 64 +
                                                   4 * scratch);
        trainer_close(&t);
    }
}

/* --- no allocation in a step ------------------------------------------------
 */

#ifndef __SANITIZE_ADDRESS__
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *data, size_t bytes);
static long allocations; /* the test's own count of every call */

void *malloc(size_t bytes)
{
    allocations++;
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    allocations++;
    return __libc_calloc(n, bytes);
}

void *realloc(void *data, size_t bytes)
{
    allocations++;
    return __libc_realloc(data, bytes);
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    for (int optimizer = MUP_ADAMW; optimizer <= MUP_MUON; optimizer++) {
        struct run_config c = small_config();
        struct trainer t = { 0 };
        struct trainer_step stats;
        struct mup_error err = { 0 };
        long before;

        c.train.optimizer = optimizer;
        c.model.qk_norm = c.model.shared_expert = 1;
        /* ref: every op is ours.  (oneDNN's products take scratch of their own
         * in fast; malloc is set up to reuse it.) */
        snprintf(c.run.backend, sizeof(c.run.backend), "ref");
        assert_int_equal(trainer_open(&c, NULL, &t, &err), MUP_OK);
        before = allocations;
        assert_true(before > 0); /* the count counts */
        for (int s = 0; s < 3; s++)
            assert_int_equal(trainer_step(&t, s, &stats, &err), MUP_OK);
        assert_int_equal(allocations, before);
        trainer_close(&t);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_run_continues_bit_for_bit),
        cmocka_unit_test(a_run_stopped_before_its_first_step_starts_again),
        cmocka_unit_test(a_killed_run_continues_bit_for_bit),
        cmocka_unit_test(damaged_checkpoints_are_named_and_skipped),
        cmocka_unit_test(a_run_killed_after_its_last_checkpoint_is_evaluated),
        cmocka_unit_test(nothing_is_trained_anew_in_silence),
        cmocka_unit_test(a_damaged_checkpoint_does_not_crowd_out_good_ones),
        cmocka_unit_test(two_processes_do_not_train_in_one_directory),
        cmocka_unit_test(a_rate_too_small_to_train_is_no_divergence),
        cmocka_unit_test(another_config_is_refused_in_the_same_directory),
        cmocka_unit_test(divergence_is_a_result),
        cmocka_unit_test(a_full_disk_is_one_sentence_and_loses_nothing),
        cmocka_unit_test(the_plan_is_what_happens),
        cmocka_unit_test(every_optimizer_continues_bit_for_bit),
        cmocka_unit_test(second_moments_are_saved_where_they_exist),
        cmocka_unit_test(the_plan_counts_every_optimizer_to_the_byte),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(a_step_allocates_nothing),
#endif
    };

    return cmocka_run_group_tests_name("train", tests, NULL, NULL);
}
