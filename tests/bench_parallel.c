/* What ranks and checkpoints cost, as shares of what this machine can do:
 *
 *     make bench-parallel
 *
 * Two ranks against one, alternating, so that a noisy machine disturbs both;
 * medians.  Run with arguments this program is one rank. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model/clock.h"
#include "model/file.h"
#include "model/saver.h"
#include "model/trainer.h"

enum { STEPS = 5, ROUNDS = 3, DISK_BYTES = 100000000 };

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *x, int n)
{
    double sorted[64];

    memcpy(sorted, x, (size_t)n * sizeof(*x));
    qsort(sorted, (size_t)n, sizeof(*sorted), ascending);
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* --- a rank --- */

static struct run_config make_config(int64_t width)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = width;
    c.model.layers = 4;
    c.model.head_size = 64;
    c.model.kv_group = 1;
    c.model.seq = 256;
    c.train.lr = 0.01;
    c.train.batch = 16;
    c.train.micro_batch = 8;
    c.train.steps = 1000;
    return c;
}

/* Seconds of a step's reduction and gathering with nothing else to do. */
static double messages_alone(struct trainer *t)
{
    double sum = 0;

    for (int i = 0; i < STEPS; i++) {
        double start;

        comm_barrier(&t->ranks->all);
        start = clock_s();
        for (int64_t l = t->model.L; l >= -1; l--)
            zero_reduce(&t->zero, &t->model, l);
        zero_finish(&t->zero, &t->model);
        zero_gather(&t->zero, &t->model);
        sum += clock_s() - start;
    }
    return sum / STEPS;
}

/* Seconds that run.verify_every adds to a step: seals, and replicas of the
 * weights compared; no step is computed twice.  Plain and sealed steps take
 * turns. */
static int guard_cost(struct trainer *t, double *out, struct mup_error *err)
{
    struct guard_finding found;
    struct trainer_step s;
    struct guard guard;
    double added[STEPS];
    int64_t step = 2 + STEPS;
    int rc;

    t->config.run.verify_every = INT64_MAX;
    rc = guard_open(&guard, &t->model, &t->zero, &t->optimizer, err);
    for (int i = 0; !rc && i < STEPS; i++) {
        double start = clock_s(), plain;

        t->guard = NULL;
        rc = trainer_step(t, step++, &s, err);
        plain = clock_s() - start;
        guard_seal(&guard);
        t->guard = &guard;
        comm_barrier(&t->ranks->all);
        start = clock_s();
        if (!rc)
            rc = trainer_step(t, step++, &s, err);
        if (!rc && guard_agree(&guard, step, &found))
            rc = mup_fail(err, MUP_CORRUPT, "corruption in a benchmark");
        added[i] = clock_s() - start - plain;
    }
    t->guard = NULL;
    guard_close(&guard);
    *out = rc ? 0 : median(added, STEPS);
    return rc;
}

/* Prints: seconds a step, waited in it, messages alone, MB sent a step,
 * GFLOP/s of all ranks, seconds of the guard. */
static int be_a_rank(char **argv)
{
    struct run_config c = make_config(strtoll(argv[1], NULL, 10));
    struct mup_error err = { 0 };
    struct trainer_step s;
    struct ranks ranks;
    struct trainer t;
    double start, elapsed, waited, guarded = 0, sent = 0;
    int rc;

    c.parallel.expert = strtoll(argv[2], NULL, 10);
    c.parallel.tensor = strtoll(argv[3], NULL, 10);
    rc = ranks_open(&c, &ranks, &err);
    if (!rc)
        rc = trainer_open(&c, &ranks, &t, &err);
    for (int i = 0; !rc && i < 2; i++)
        rc = trainer_step(&t, i, &s, &err);
    if (rc) {
        fprintf(stderr, "%s\n", err.text);
        return rc;
    }
    comm_barrier(&ranks.all);
    memset(&ranks.world.stats, 0, sizeof(ranks.world.stats));
    start = clock_s();
    for (int i = 0; !rc && i < STEPS; i++)
        rc = trainer_step(&t, 2 + i, &s, &err);
    elapsed = (clock_s() - start) / STEPS;
    waited = ranks.world.stats.wait_s / STEPS;
    for (int k = 0; k < COMM_KINDS; k++)
        sent += (double)ranks.world.stats.bytes[k] / STEPS / 1e6;
    start = messages_alone(&t);
    if (!rc)
        rc = guard_cost(&t, &guarded, &err);
    if (ranks.all.rank == 0)
        printf("%.6f %.6f %.6f %.3f %.3f %.6f\n", elapsed, waited, start, sent,
               model_flops_per_sequence(&t.model.params, &c.model) *
                   (double)c.train.batch / elapsed / 1e9,
               guarded);
    trainer_close(&t);
    ranks_close(&ranks);
    return rc;
}

/* --- ranks --- */

static char program[1024];

struct sample {
    double step_s, wait_s, messages_s, sent_mb, gflops, guard_s;
};

/* How two processes run: as one that is alone, as two that do not talk, which
 * is what the machine allows, or as ranks along data, expert or tensor. */
enum way { ONE, TWO_APART, DATA, EXPERT, TENSOR, WAYS };

static int measure(int64_t width, int way, struct sample *out)
{
    const char *ranks = "OMPI_ALLOW_RUN_AS_ROOT=1 "
                        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                        "mpirun --bind-to core -np 2";
    char command[3600], path[1100];
    long long w = (long long)width;
    FILE *f;
    int n = 0;

    snprintf(path, sizeof(path), "%s-numbers", program);
    if (way == ONE)
        snprintf(command, sizeof(command), "taskset -c 0 %s %lld 1 1 >%s",
                 program, w, path);
    else if (way == TWO_APART)
        snprintf(command, sizeof(command),
                 "taskset -c 1 %s %lld 1 1 >/dev/null & "
                 "taskset -c 0 %s %lld 1 1 >%s; wait",
                 program, w, program, w, path);
    else
        snprintf(command, sizeof(command), "%s %s %lld %d %d >%s", ranks,
                 program, w, way == EXPERT ? 2 : 1, way == TENSOR ? 2 : 1,
                 path);
    if (system(command) != 0 || !(f = fopen(path, "r")))
        return 1;
    n = fscanf(f, "%lf %lf %lf %lf %lf %lf", &out->step_s, &out->wait_s,
               &out->messages_s, &out->sent_mb, &out->gflops, &out->guard_s);
    (void)fclose(f);
    (void)unlink(path);
    return n != 6;
}

static int bench_ranks(int64_t width)
{
    static const char *const names[] = { "", "", "data 2", "expert 2",
                                         "tensor 2" };
    double times[WAYS][ROUNDS], wait[WAYS][ROUNDS], alone[ROUNDS];
    double guard[WAYS][ROUNDS];
    struct sample s[WAYS];

    for (int i = 0; i < ROUNDS; i++)
        for (int way = 0; way < WAYS; way++) {
            if (measure(width, way, &s[way]))
                return 1;
            times[way][i] = s[ONE].step_s / s[way].step_s;
            wait[way][i] = s[way].wait_s / s[way].step_s;
            guard[way][i] = s[way].guard_s / s[way].step_s;
            if (way == DATA)
                alone[i] = s[way].messages_s / s[way].step_s;
        }
    printf("width %lld  one rank: %.3f s a step, %.0f GFLOP/s; two processes "
           "that do not talk do %.2f times as much\n"
           "  (waiting is for the slower rank too, and for sums of the norm)\n",
           (long long)width, s[ONE].step_s, s[ONE].gflops,
           2 * median(times[TWO_APART], ROUNDS));
    printf("  one rank   the guard adds %.1f %% to a step\n",
           100 * median(guard[ONE], ROUNDS));
    for (int way = DATA; way < WAYS; way++) {
        printf(
            "  %-9s  %.2f times one rank, %3.0f %% of that; waiting "
            "%4.1f %% of a step; %.1f MB sent a step; the guard adds %.1f %%",
            names[way], median(times[way], ROUNDS),
            100 * median(times[way], ROUNDS) /
                (2 * median(times[TWO_APART], ROUNDS)),
            100 * median(wait[way], ROUNDS), s[way].sent_mb,
            100 * median(guard[way], ROUNDS));
        if (way == DATA)
            printf("; gradients and weights alone take %.1f %% of a step",
                   100 * median(alone, ROUNDS));
        printf("\n");
    }
    (void)fflush(stdout);
    return 0;
}

/* --- the disk --- */

/* Seconds of writing n bytes to a new file and syncing it. */
static double write_plain(const char *path, const char *data, size_t n)
{
    double start = clock_s();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    for (size_t i = 0; fd >= 0 && i < n;) {
        ssize_t k = write(fd, data + i, n - i < 4 << 20 ? n - i : 4 << 20);

        if (k <= 0)
            return -1;
        i += (size_t)k;
    }
    if (fd < 0 || fsync(fd) != 0 || close(fd) != 0)
        return -1;
    start = clock_s() - start;
    (void)unlink(path);
    return start;
}

static int save(struct saver *s, int64_t step, char *data,
                struct saver_stats *cost, struct mup_error *err)
{
    const struct checkpoint_part part = {
        .name = "bench",
        .kind = "weight",
        .shape = { 1, 1, DISK_BYTES / 4 },
        .extent = { 1, 1, DISK_BYTES / 4 },
        .count = DISK_BYTES / 4,
        .data = data,
    };
    json_t *state = json_object();
    const struct saver_snapshot snapshot = { step, &part, 1, state };
    struct saver_stats before = saver_stats(s), after;
    int rc = saver_start(s, &snapshot, err), state_now;

    json_decref(state);
    if (rc)
        return rc;
    state_now = saver_wait(s, err);
    if (state_now != SAVER_WRITTEN)
        return MUP_SYSTEM;
    after = saver_stats(s);
    cost->stall_s = after.stall_s - before.stall_s;
    cost->write_s = after.write_s - before.write_s;
    saver_commit(s);
    return saver_wait(s, err) == SAVER_COMMITTED ? MUP_OK : MUP_SYSTEM;
}

static int bench_disk(const char *dir)
{
    struct saver_options options = {
        .dir = dir,
        .ranks = 1,
        .bytes = DISK_BYTES,
        .total_bytes = DISK_BYTES,
        .config = "",
        .policy = { .keep_last = 1 },
    };
    double share[ROUNDS], stall[ROUNDS], plain_rate[ROUNDS];
    struct mup_error err = { 0 };
    char *data = malloc(DISK_BYTES), path[600];
    struct saver *s = NULL;
    int rc = file_make_dirs(dir, &err);

    snprintf(path, sizeof(path), "%s/plain", dir);
    if (!rc)
        rc = data ? saver_open(&options, &s, &err) : MUP_SYSTEM;
    for (int i = 0; !rc && i < ROUNDS; i++) {
        struct saver_stats cost = { 0 };
        double plain_s;

        /* new numbers everywhere, or nothing would be written again */
        for (size_t k = 0; k < DISK_BYTES / 4; k++)
            ((uint32_t *)(void *)data)[k] =
                (uint32_t)k * 2654435761u + (uint32_t)i;
        plain_s = write_plain(path, data, DISK_BYTES);
        rc = plain_s > 0 ? save(s, i + 1, data, &cost, &err) : MUP_SYSTEM;
        share[i] = plain_s / cost.write_s;
        stall[i] = cost.stall_s;
        plain_rate[i] = DISK_BYTES / plain_s / 1e6;
    }
    saver_close(s);
    free(data);
    if (rc) {
        fprintf(stderr, "%s\n", err.text);
        return rc;
    }
    printf("checkpoint of 100 MB  %3.0f %% of the disk's own bandwidth "
           "(%.0f MB/s)  stall %.1f ms, %.1f %% of a second\n",
           100 * median(share, ROUNDS), median(plain_rate, ROUNDS),
           1e3 * median(stall, ROUNDS), 100 * median(stall, ROUNDS));
    return 0;
}

int main(int argc, char **argv)
{
    char dir[512];
    int rc;

    if (argc == 4)
        return be_a_rank(argv);
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        return 1;
    snprintf(dir, sizeof(dir), "%.400s-checkpoints", program);
    rc = bench_disk(dir);
    if (!rc && system("command -v mpirun >/dev/null 2>&1") == 0)
        rc = bench_ranks(128) || bench_ranks(256);
    else if (!rc)
        printf("ranks: skipped, there is no mpirun\n");
    return rc;
}
