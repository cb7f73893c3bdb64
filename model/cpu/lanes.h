/* Sums and maxima of float rows in vector lanes, added up in a tree.
 *
 * "omp simd reduction" would do, but gcc keeps its partial sums in memory and
 * adds them one after the other, 60 cycles a row, as it must not reassociate.
 * Here the order is spelt out: two vectors of partial sums, a tree over the
 * lanes, the rest of the row last.  It depends on the length alone. */
#ifndef MODEL_CPU_LANES_H
#define MODEL_CPU_LANES_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t lane_bits __attribute__((vector_size(4 * LANES)));

static inline lanes lanes_load(const float *x)
{
    lanes v;

    memcpy(&v, x, sizeof(v));
    return v;
}

/* Rotations by half of the lanes, a quarter, ...: a tree, whatever the
 * (commutative) operation. */
#if LANES == 16
#define LANES_TREE(v, merge)                                                   \
    v = merge(v, LANES_PICK(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, \
                            6, 7));                                            \
    v = merge(v,                                                               \
              LANES_PICK(v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));  \
    v = merge(v, LANES_PICK(v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1))
#elif LANES == 8
#define LANES_TREE(v, merge)                                                   \
    v = merge(v, LANES_PICK(v, 4, 5, 6, 7, 0, 1, 2, 3));                       \
    v = merge(v, LANES_PICK(v, 2, 3, 0, 1, 2, 3, 0, 1))
#else
#define LANES_TREE(v, merge) v = merge(v, LANES_PICK(v, 2, 3, 0, 1))
#endif
#define LANES_PICK(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)

static inline lanes lanes_plus(lanes x, lanes y)
{
    return x + y;
}

/* x where it is larger, else y. */
static inline lanes lanes_larger(lanes x, lanes y)
{
    lane_bits mask = x > y;

    return (lanes)(((lane_bits)x & mask) | ((lane_bits)y & ~mask));
}

static inline float lanes_total(lanes v)
{
    LANES_TREE(v, lanes_plus);
    return v[0] + v[1];
}

static inline float lanes_sum(const float *x, int64_t n)
{
    lanes s = { 0 }, t = { 0 };
    float rest = 0;
    int64_t i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s += lanes_load(x + i);
        t += lanes_load(x + i + LANES);
    }
    if (i + LANES <= n) {
        s += lanes_load(x + i);
        i += LANES;
    }
    for (; i < n; i++)
        rest += x[i];
    return lanes_total(s + t) + rest;
}

/* sum of x y */
static inline float lanes_dot(const float *x, const float *y, int64_t n)
{
    lanes s = { 0 }, t = { 0 };
    float rest = 0;
    int64_t i = 0;

    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s += lanes_load(x + i) * lanes_load(y + i);
        t += lanes_load(x + i + LANES) * lanes_load(y + i + LANES);
    }
    if (i + LANES <= n) {
        s += lanes_load(x + i) * lanes_load(y + i);
        i += LANES;
    }
    for (; i < n; i++)
        rest += x[i] * y[i];
    return lanes_total(s + t) + rest;
}

/* sum of x y z */
static inline float lanes_dot3(const float *x, const float *y, const float *z,
                               int64_t n)
{
    lanes s = { 0 };
    float rest = 0;
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES)
        s += lanes_load(x + i) * lanes_load(y + i) * lanes_load(z + i);
    for (; i < n; i++)
        rest += x[i] * y[i] * z[i];
    return lanes_total(s) + rest;
}

/* The largest of n >= 1 elements; a NaN may be missed. */
static inline float lanes_max(const float *x, int64_t n)
{
    float most = x[0];
    int64_t i = 0;

    if (n >= LANES) {
        lanes m = lanes_load(x);

        for (i = LANES; i + LANES <= n; i += LANES)
            m = lanes_larger(lanes_load(x + i), m);
        LANES_TREE(m, lanes_larger);
        most = m[0] > m[1] ? m[0] : m[1];
    }
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* Whether all |x| <= limit; no for NaN.  Floats without their sign compare
 * like integers, NaN above all, and integers may be reassociated. */
static inline int lanes_all_within(const float *x, int64_t n, float limit)
{
    int32_t most = 0, bits, bound;

#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof(bits));
        bits &= INT32_MAX;
        most = bits > most ? bits : most;
    }
    memcpy(&bound, &limit, sizeof(bound));
    return most <= bound;
}

#endif
