/* Speed of every op of the fast backend at the sizes of a small training run,
 * against this machine's own limits measured in the same run: the peak of a
 * 1024^3 matrix product and the bandwidth of a copy in cache and in memory.
 *
 *   bench_ops [WIDTH [BACKEND [OP]]]      64, fast and all by default
 *
 * Products are in GFLOP/s and per cent of the peak, the others in GB/s (each
 * operand counted once).  "ref" is how many times longer the reference takes,
 * measured on an eighth of the tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/backend.h"

#include "tests/op_runs.inc.h"

#define BENCH_S 0.05 /* least time of one measurement */
#define REPEATS 3    /* the best counts */

static void run_rope_only(struct backend *be, const struct view *v,
                          struct context *c)
{
    (void)c;
    be->ops->rope(be, v[0], v[1], 0);
}

static void run_adding(struct backend *be, const struct view *v,
                       struct context *c)
{
    (void)c;
    be->ops->add(be, v[0], v[1], 1e-6);
}

static void run_route_only(struct backend *be, const struct view *v,
                           struct context *c)
{
    struct route_shape r = route_of(c);

    be->ops->route(be, v[0], v[1], v[2], c->expert, v[4], &r);
}

static void run_route_loss(struct backend *be, const struct view *v,
                           struct context *c)
{
    struct route_shape r = route_of(c);
    double sums[2] = { 0, 0 };

    be->ops->route_loss(be, sums, v[0], v[1], c->expert, &r);
}

static void run_dispatch(struct backend *be, const struct view *v,
                         struct context *c)
{
    (void)v;
    be->ops->dispatch(be, c->row, c->source, c->offset, c->expert, c->z->of[R],
                      c->z->of[E]);
}

static void run_dgrad(struct backend *be, const struct view *v,
                      struct context *c)
{
    be->ops->gemm_grouped(be, GROUP_DGRAD, v[4], v[3], v[2], c->offset,
                          c->z->of[E], 1, 0);
}

static void run_wgrad(struct backend *be, const struct view *v,
                      struct context *c)
{
    be->ops->gemm_grouped(be, GROUP_WGRAD, v[5], v[3], v[1], c->offset,
                          c->z->of[E], 1, 0);
}

static void run_embed_grad(struct backend *be, const struct view *v,
                           struct context *c)
{
    be->ops->embed_grad(be, v[3], v[2], c->token, 1.7);
}

/* Logits turn into a gradient and back: after the first call they are small,
 * which costs the same. */
static void run_loss_and_grad(struct backend *be, const struct view *v,
                              struct context *c)
{
    double sums[2] = { 0, 0 };

    be->ops->log_sum_exp(be, v[2], v[3], v[1], c->target);
    be->ops->cross_entropy(be, sums, v[2], v[3]);
    be->ops->cross_entropy_grad(be, v[1], v[2], c->target, 1e-3, 0);
}

static void run_sum_squares(struct backend *be, const struct view *v,
                            struct context *c)
{
    double sum;

    (void)c;
    be->ops->sum_squares(be, &sum, v[0]);
}

#define ATTENTION                                                              \
    {                                                                          \
        { N, HK, INOUT, 0 }, { N, H, INOUT, 0 }, { N, HK, IN, 0 },             \
            { N, GK, IN, 0 }, { N, GK, IN, 0 }, { T3, T, SCRATCH, 0 },         \
            { N, HK, IN, 0 }, { N, HK, INOUT, 0 }, { N, GK, INOUT, 0 },        \
        {                                                                      \
            N, GK, INOUT, 0                                                    \
        }                                                                      \
    }
#define GROUPED                                                                \
    {                                                                          \
        { R, F, IN, 0 }, { R, D, IN, 0 }, { EF, D, IN, 0 }, { R, F, IN, 0 },   \
            { R, D, INOUT, 0 },                                                \
        {                                                                      \
            EF, D, INOUT, 0                                                    \
        }                                                                      \
    }
#define ROUTE                                                                  \
    {                                                                          \
        { N, E, INOUT, 0 }, { N, ONE, INOUT, 0 }, { N, k, INOUT, 0 },          \
            { ONE, TWO, INOUT, 0 }, { N, E, IN, 0 }, { N, k, IN, 0 },          \
            { ONE, TWO, POS, 0 },                                              \
        {                                                                      \
            N, E, INOUT, 0                                                     \
        }                                                                      \
    }
#define NORM                                                                   \
    {                                                                          \
        { N, D, INOUT, 0 }, { N, ONE, POS, 0 }, { N, D, IN, 0 },               \
            { ONE, D, IN, 0 }, { N, D, IN, 0 }, { N, D, INOUT, 0 },            \
        {                                                                      \
            ONE, D, INOUT, 0                                                   \
        }                                                                      \
    }
#define GEGLU                                                                  \
    {                                                                          \
        { R, F, INOUT, 0 }, { R, F, IN, 0 }, { R, F, IN, 0 }, { R, F, IN, 0 }, \
            { R, F, INOUT, 0 },                                                \
        {                                                                      \
            R, F, INOUT, 0                                                     \
        }                                                                      \
    }

/* An op, its FLOP as a product of dimensions (all ONE: counted in bytes of the
 * operands of `used`, a bit each) and how often a block (per_block) or the
 * whole network (once) calls it in a training step. */
struct bench {
    struct op op;
    double factor;
    enum dim flop[3];
    unsigned used;
    int per_block, once;
};

static const struct bench table[] = {
    { { "gemm nt (q, o)",
        run_gemm,
        NULL,
        { { N, D, INOUT, 0 }, { N, D, IN, 0 }, { D, D, IN, 0 } },
        .flag = 6 },
      2,
      { N, D, D },
      7,
      4,
      0 },
    { { "gemm nn (dgrad)",
        run_gemm,
        NULL,
        { { N, D, INOUT, 0 }, { N, D, IN, 0 }, { D, D, IN, 0 } },
        .flag = 4 },
      2,
      { N, D, D },
      7,
      4,
      0 },
    { { "gemm tn (wgrad)",
        run_gemm,
        NULL,
        { { D, D, INOUT, 0 }, { N, D, IN, 0 }, { N, D, IN, 0 } },
        .flag = 5 },
      2,
      { N, D, D },
      7,
      4,
      0 },
    { { "gemm nt (router)",
        run_gemm,
        NULL,
        { { N, E, INOUT, 0 }, { N, D, IN, 0 }, { E, D, IN, 0 } },
        .flag = 6 },
      2,
      { N, D, E },
      7,
      1,
      0 },
    { { "gemm nt (unembed)",
        run_gemm,
        NULL,
        { { N, V, INOUT, 0 }, { N, D, IN, 0 }, { V, D, IN, 0 } },
        .flag = 6 },
      2,
      { N, D, V },
      7,
      0,
      3 },
    { { "grouped forward", run_grouped, NULL, GROUPED, .flag = 0 },
      2,
      { R, D, F },
      7,
      3,
      0 },
    { { "grouped dgrad", run_dgrad, NULL, GROUPED, .flag = 0 },
      2,
      { R, D, F },
      28,
      3,
      0 },
    { { "grouped wgrad", run_wgrad, NULL, GROUPED, .flag = 0 },
      2,
      { R, D, F },
      42,
      3,
      0 },
    /* of the half below the diagonal: 2 and 5 products of T x T x K */
    { { "attention", run_attention, NULL, ATTENTION, .cap = 30 },
      2,
      { N, HK, T },
      31,
      1,
      0 },
    { { "attention_grad", back_attention, NULL, ATTENTION, .cap = 30 },
      5,
      { N, HK, T },
      1023,
      1,
      0 },
    { { "rmsnorm", run_rmsnorm, NULL, NORM, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      13,
      4,
      1 },
    { { "rmsnorm_grad", back_rmsnorm, NULL, NORM, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      52,
      4,
      1 },
    { { "rope",
        run_rope_only,
        NULL,
        { { N, HK, INOUT, 0 }, { T, K, IN, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      1,
      4,
      0 },
    { { "add",
        run_adding,
        NULL,
        { { N, D, INOUT, 0 }, { N, D, IN, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      3,
      4,
      0 },
    { { "route", run_route_only, NULL, ROUTE, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      23,
      1,
      0 },
    { { "route_loss", run_route_loss, NULL, ROUTE, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      3,
      1,
      0 },
    { { "route_grad", back_route, NULL, ROUTE, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      183,
      1,
      0 },
    { { "dispatch", run_dispatch, NULL, { { N, k, IN, 0 } }, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      1,
      1,
      0 },
    { { "gather",
        run_gather,
        NULL,
        { { R, D, INOUT, 0 }, { N, D, IN, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      3,
      2,
      0 },
    { { "gather_grad",
        back_gather,
        NULL,
        { { ONE, ONE, IN, 0 },
          { ONE, ONE, IN, 0 },
          { R, D, IN, 0 },
          { N, D, INOUT, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      12,
      1,
      0 },
    { { "geglu", run_geglu, NULL, GEGLU, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      7,
      1,
      0 },
    { { "geglu_grad", back_geglu, NULL, GEGLU, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      62,
      1,
      0 },
    { { "combine",
        run_combine,
        NULL,
        { { N, D, INOUT, 0 }, { R, D, IN, 0 }, { N, k, POS, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      3,
      1,
      0 },
    { { "combine_grad",
        back_combine,
        NULL,
        { { ONE, ONE, IN, 0 },
          { R, D, IN, 0 },
          { N, k, POS, 0 },
          { N, D, IN, 0 },
          { R, D, INOUT, 0 },
          { N, k, INOUT, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      58,
      1,
      0 },
    { { "embed",
        run_embed,
        NULL,
        { { N, D, INOUT, 0 }, { V, D, IN, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      3,
      0,
      1 },
    { { "embed_grad",
        run_embed_grad,
        NULL,
        { { ONE, ONE, IN, 0 },
          { ONE, ONE, IN, 0 },
          { N, D, IN, 0 },
          { V, D, INOUT, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      12,
      0,
      1 },
    { { "cross_entropy",
        run_loss_and_grad,
        NULL,
        { { ONE, ONE, IN, 0 },
          { N, V, INOUT, 0 },
          { N, ONE, OUT, 0 },
          { N, ONE, OUT, 0 } },
        .flag = 0 },
      0,
      { ONE, ONE, ONE },
      2,
      0,
      1 },
    { { "sum_squares", run_sum_squares, NULL, { { EF, D, IN, 0 } }, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      1,
      3,
      0 },
    { { "adamw",
        run_adamw,
        NULL,
        { { EF, D, INOUT, 0 },
          { EF, D, IN, 0 },
          { EF, D, INOUT, 0 },
          { EF, D, POS, 0 } },
        .contiguous = 1 },
      0,
      { ONE, ONE, ONE },
      15,
      3,
      0 },
    { { "normal", run_normal, NULL, { { EF, D, INOUT, 0 } }, .flag = 0 },
      0,
      { ONE, ONE, ONE },
      1,
      0,
      0 },
};

#define N_BENCH (sizeof(table) / sizeof(table[0]))

/* Processor time: other processes on the machine do not count. */
static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call. */
static double seconds(struct backend *be, struct context *c,
                      const struct view *v)
{
    double best = INFINITY;
    long calls = 1;

    for (int r = 0; r < REPEATS; r++) {
        double start, took;

        for (;; calls *= 2) {
            start = now();
            for (long i = 0; i < calls; i++)
                c->op->forward(be, v, c);
            took = now() - start;
            if (took > BENCH_S)
                break;
        }
        best = fmin(best, took / (double)calls);
    }
    return best;
}

static struct sizes training_sizes(int64_t width, int64_t batch)
{
    struct sizes z = with_experts(sizes_of(batch, 128, width / 16, 1, 16),
                                  width, 4 * width, 8, 2);

    z.of[V] = 320;
    return z;
}

static double measure(const char *name, const struct bench *b,
                      const struct sizes *z)
{
    struct context c = context_open(&b->op, z, 1);
    struct backend be;
    struct memory m;
    struct mup_error err;
    double s;

    if (backend_open(name, &be, &err) != MUP_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(err.status);
    }
    memory_open(&be, &c, 0, 0, &m);
    s = seconds(&be, &c, m.view);
    memory_close(&be, &m);
    context_close(&c);
    return s;
}

/* GFLOP/s of a 1024^3 product. */
static double peak(const char *name)
{
    static const struct bench b = {
        { "peak",
          run_gemm,
          NULL,
          { { N, D, INOUT, 0 }, { N, D, IN, 0 }, { D, D, IN, 0 } },
          .flag = 6 },
        0,
        { ONE, ONE, ONE },
        0,
        0,
        0
    };
    struct sizes z = training_sizes(1024, 8);

    return 2 * 1024.0 * 1024 * 1024 / measure(name, &b, &z) * 1e-9;
}

/* GB/s read and written by memcpy of this many bytes. */
static double copy_speed(size_t bytes)
{
    char *from = calloc(bytes, 1), *to = calloc(bytes, 1);
    double best = INFINITY;
    size_t calls = ((size_t)1 << 28) / bytes;

    if (!from || !to)
        exit(MUP_SYSTEM);
    for (int r = 0; r < REPEATS + 1; r++) {
        double start = now();

        for (size_t i = 0; i < calls; i++) {
            memcpy(to, from, bytes);
            from[i % bytes] = to[bytes - 1 - i % bytes]; /* keep the copy */
        }
        best = fmin(best, (now() - start) / (double)calls);
    }
    free(from);
    free(to);
    return 2 * (double)bytes / best * 1e-9;
}

static double bytes_of(const struct bench *b, const struct sizes *z)
{
    double bytes = 0;

    for (int i = 0; i < MAX_ARRAYS; i++)
        if (b->used >> i & 1)
            bytes += 4.0 * (double)z->of[b->op.slot[i].rows] *
                     (double)z->of[b->op.slot[i].cols];
    return bytes;
}

int main(int argc, char **argv)
{
    int64_t width = argc > 1 ? strtol(argv[1], NULL, 10) : 64;
    const char *name = argc > 2 ? argv[2] : "fast";
    struct sizes z = training_sizes(width, 16), small;
    double top, block = 0, once = 0;

    if (width < 16 || width % 16) {
        fprintf(stderr, "width must be a multiple of 16\n");
        return MUP_USAGE;
    }
    small = training_sizes(width, 2);
    top = peak(name);
    printf("peak %.1f GFLOP/s, copy %.1f GB/s (256 KB), %.1f GB/s (64 MB)\n",
           top, copy_speed(1 << 18), copy_speed(1 << 26));
    printf("width %d, 16 x 128 tokens, 8 experts, top 2\n", (int)width);
    printf("%-20s %9s %9s %6s %8s %9s\n", "op", "us", "GFLOP/s", "peak", "GB/s",
           "ref");
    for (size_t i = 0; i < N_BENCH; i++) {
        const struct bench *b = &table[i];
        double flop = b->factor, s, ratio;

        if (argc > 3 && strcmp(argv[3], b->op.name))
            continue;
        s = measure(name, b, &z);
        ratio = measure("ref", b, &small) / measure(name, b, &small);

        block += s * b->per_block;
        once += s * b->once;
        for (int d = 0; d < 3; d++)
            flop *= (double)z.of[b->flop[d]];
        printf("%-20s %9.1f ", b->op.name, s * 1e6);
        if (flop > 0)
            printf("%9.1f %5.0f%% ", flop / s * 1e-9, flop / s * 1e-7 / top);
        else
            printf("%9s %6s ", "", "");
        printf("%8.1f %8.1fx\n", bytes_of(b, &z) / s * 1e-9, ratio);
    }
    printf("a block takes %.2f ms a step, the rest %.2f ms\n", block * 1e3,
           once * 1e3);
    return 0;
}
