/* Do memory and CPUs keep and compute the right bits? */
#define _GNU_SOURCE /* sched_setaffinity */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

#include "launcher/preflight_parts.h"
#include "model/backend.h"
#include "model/clock.h"

/* --- memory --- */

/* Words of one measurement of speed: 8 MiB, longer than any cache line burst
 * and shorter than a time slice. */
#define SLICE ((size_t)1 << 20)
#define MIB   ((size_t)1 << 20)
/* Of the machine's memory at most. */
#define MEMORY_PART 16

/* Splitmix64 of the place: another word at every address. */
static uint64_t address_word(uint64_t i)
{
    i += 0x9e3779b97f4a7c15u;
    i = (i ^ (i >> 30)) * 0xbf58476d1ce4e5b9u;
    i = (i ^ (i >> 27)) * 0x94d049bb133111ebu;
    return i ^ (i >> 31);
}

/* All words from `from` to `to`; the number of wrong ones in this slice. */
static size_t invert_slice(uint64_t *word, size_t n, uint64_t from, uint64_t to)
{
    size_t wrong = 0;

    for (size_t i = 0; i < n; i++) {
        wrong += word[i] != from;
        word[i] = to;
    }
    return wrong;
}

struct memory {
    uint64_t *word;
    size_t n, wrong;
    double best; /* bytes/s read and written, of a slice */
};

static void invert(struct memory *m, uint64_t from, uint64_t to, int down)
{
    const size_t slices = (m->n + SLICE - 1) / SLICE;

    for (size_t s = 0; s < slices; s++) {
        const size_t first = (down ? slices - 1 - s : s) * SLICE;
        const size_t n = m->n - first < SLICE ? m->n - first : SLICE;
        const double start_s = clock_s();
        double rate;

        m->wrong += invert_slice(m->word + first, n, from, to);
        rate = 2.0 * (double)(n * sizeof(*m->word)) / (clock_s() - start_s);
        if (n == SLICE && rate > m->best)
            m->best = rate;
    }
}

void preflight_memory(const struct preflight_options *o,
                      struct preflight_result *r)
{
    static const uint64_t pattern[] = { 0x5555555555555555u,
                                        0x3333333333333333u,
                                        0x0f0f0f0f0f0f0f0fu };
    const double all =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double bytes = o->memory_mib * (double)MIB;
    struct memory m = { 0 };
    uint64_t last = 0;

    if (bytes > all / MEMORY_PART)
        bytes = all / MEMORY_PART;
    m.n = (size_t)(bytes / sizeof(*m.word));
    m.word = calloc(m.n ? m.n : 1, sizeof(*m.word));
    if (!m.word) {
        preflight_bad(r, "no memory for a buffer of %.0f MiB", bytes / MIB);
        return;
    }
    for (size_t p = 0; p < sizeof(pattern) / sizeof(pattern[0]); p++) {
        invert(&m, last, pattern[p], 0);
        invert(&m, pattern[p], ~pattern[p], 0);
        invert(&m, ~pattern[p], pattern[p], 1);
        last = pattern[p];
    }
    for (size_t i = 0; i < m.n; i++)
        m.word[i] = address_word(i);
    for (size_t i = 0; i < m.n; i++)
        m.wrong += m.word[i] != address_word(i);
    free(m.word);
    r->memory_bytes_per_s = m.best;
    if (m.wrong)
        preflight_bad(r,
                      "%zu words of %zu came back from memory changed; test "
                      "the memory of this node",
                      m.wrong, m.n);
}

/* --- matrix products --- */

enum { N = 256, RANGE = 8, REPEATS = 8 };
/* Two patient CPUs of a large node are enough to be late. */
#define PRODUCTS_S 8.0

struct products {
    struct backend be;
    int *integer[2];     /* N*N: whole numbers in [-RANGE, RANGE] */
    double *host;        /* N*N */
    double *sum[3];      /* N*N: what their products must be, by form */
    double *again;       /* N*N */
    void *whole[2];      /* the integers */
    void *random[2], *c; /* ... and fractions, on the backend */
};

/* How the three products of a layer take their operands: y = x W^T, dx = dy W,
 * dW = dy^T x. */
static const int forms[3][2] = { { 0, 1 }, { 0, 0 }, { 1, 0 } };

static void close_products(struct products *p)
{
    for (int i = 0; i < 2; i++) {
        free(p->integer[i]);
        p->be.ops->free(&p->be, p->whole[i]);
        p->be.ops->free(&p->be, p->random[i]);
    }
    for (int f = 0; f < 3; f++)
        free(p->sum[f]);
    free(p->host);
    free(p->again);
    p->be.ops->free(&p->be, p->c);
}

static void multiply_integers(struct products *p)
{
    for (int f = 0; f < 3; f++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const int *a = p->integer[0] + (forms[f][0] ? i : i * N);
                const int *b = p->integer[1] + (forms[f][1] ? j * N : j);
                const int step_a = forms[f][0] ? N : 1;
                const int step_b = forms[f][1] ? 1 : N;
                int sum = 0;

                for (int k = 0; k < N; k++)
                    sum += a[k * step_a] * b[k * step_b];
                p->sum[f][i * N + j] = sum;
            }
}

static int open_products(const struct preflight_options *o, struct products *p,
                         struct mup_error *err)
{
    const size_t bytes = sizeof(double) * N * N; /* of any dtype */
    int rc = backend_open(o->backend, &p->be, err);
    int short_of = 0;

    if (rc != MUP_OK)
        return rc;
    p->host = malloc(bytes);
    p->again = malloc(bytes);
    p->c = p->be.ops->alloc(&p->be, bytes);
    short_of = !p->host || !p->again || !p->c;
    for (int f = 0; f < 3; f++) {
        p->sum[f] = malloc(bytes);
        short_of |= !p->sum[f];
    }
    for (int i = 0; i < 2; i++) {
        p->integer[i] = malloc(sizeof(int) * N * N);
        p->whole[i] = p->be.ops->alloc(&p->be, bytes);
        p->random[i] = p->be.ops->alloc(&p->be, bytes);
        short_of |= !p->integer[i] || !p->whole[i] || !p->random[i];
    }
    if (!short_of)
        return MUP_OK;
    close_products(p);
    return mup_fail(err, MUP_SYSTEM, "out of memory");
}

static void fill_products(struct products *p)
{
    static const char *const names[] = { "a", "b" };

    for (int i = 0; i < 2; i++) {
        struct random_key key = random_key(0, "preflight", names[i]);

        for (int j = 0; j < N * N; j++) {
            p->integer[i][j] =
                (int)random_below(&key, (uint64_t)j, 2 * RANGE + 1) - RANGE;
            p->host[j] = p->integer[i][j];
        }
        p->be.ops->upload(&p->be, p->whole[i], p->host, N * N);
        random_normals(&key, N * N, N * N, p->host);
        p->be.ops->upload(&p->be, p->random[i], p->host, N * N);
    }
    multiply_integers(p);
}

/* c = op(a) op(b), and to the host. */
static int multiply(struct products *p, void *const operand[2], int form,
                    double *out, struct mup_error *err)
{
    int rc;

    p->be.ops->gemm(&p->be, view_of(p->c, N, N), view_of(operand[0], N, N),
                    view_of(operand[1], N, N), forms[form][0], forms[form][1],
                    1, 0);
    rc = p->be.ops->sync(&p->be, err);
    p->be.ops->download(&p->be, out, p->c, N * N);
    return rc;
}

static int has_same_bits(const double *a, const double *b)
{
    return XXH3_64bits(a, sizeof(*a) * N * N) ==
           XXH3_64bits(b, sizeof(*b) * N * N);
}

/* On the CPU where we are. */
static void try_products(struct products *p, const struct preflight_options *o,
                         int cpu, struct preflight_result *r)
{
    struct mup_error err = { 0 };
    int rc = MUP_OK;

    for (int f = 0; f < 3 && rc == MUP_OK && !r->bad[0]; f++) {
        rc = multiply(p, p->whole, f, p->host, &err);
        if (o->drill == DRILL_BITS)
            ((uint64_t *)(void *)p->host)[N] ^= 1u;
        if (!has_same_bits(p->host, p->sum[f]))
            preflight_bad(r,
                          "a matrix product on CPU %d came out wrong; this "
                          "node computes other bits than it should",
                          cpu);
    }
    if (rc == MUP_OK)
        rc = multiply(p, p->random, 0, p->host, &err);
    if (rc == MUP_OK)
        rc = multiply(p, p->random, 0, p->again, &err);
    if (rc != MUP_OK)
        preflight_bad(r, "a matrix product failed: %.200s", err.text);
    else if (!has_same_bits(p->host, p->again))
        preflight_bad(r,
                      "a matrix product on CPU %d came out in two ways; this "
                      "node computes other bits than it should",
                      cpu);
}

static void measure(struct products *p, struct preflight_result *r)
{
    for (int i = 0; i < REPEATS; i++) {
        const double start_s = clock_s();
        double rate;

        p->be.ops->gemm(&p->be, view_of(p->c, N, N),
                        view_of(p->random[0], N, N),
                        view_of(p->random[1], N, N), 0, 1, 1, 0);
        if (p->be.ops->sync(&p->be, NULL) != MUP_OK)
            return;
        rate = 2.0 * N * N * N / (clock_s() - start_s);
        if (rate > r->gemm_flops_per_s)
            r->gemm_flops_per_s = rate;
    }
}

void preflight_products(const struct preflight_options *o,
                        struct preflight_result *r)
{
    struct products p = { 0 };
    struct mup_error err = { 0 };
    const double until_s = clock_s() + PRODUCTS_S;
    cpu_set_t all, one;
    int known;

    if (open_products(o, &p, &err) != MUP_OK) {
        preflight_bad(r, "matrix products cannot be tried: %.200s", err.text);
        return;
    }
    fill_products(&p);
    known = sched_getaffinity(0, sizeof(all), &all) == 0;
    for (int cpu = 0; known && cpu < CPU_SETSIZE && !r->bad[0]; cpu++) {
        if (!CPU_ISSET(cpu, &all) || clock_s() > until_s)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (sched_setaffinity(0, sizeof(one), &one) != 0)
            continue;
        try_products(&p, o, cpu, r);
        r->cpus += !r->bad[0];
    }
    if (known)
        (void)sched_setaffinity(0, sizeof(all), &all);
    if (r->cpus == 0 && !r->bad[0])
        try_products(&p, o, 0, r);
    measure(&p, r);
    close_products(&p);
}
