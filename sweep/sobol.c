/* Sobol points with hash-based Owen scrambling. */
#include "sweep/sampler.h"

#include <assert.h>

#define SOBOL_BITS 32

/* Primitive polynomials and initial direction numbers of dimensions 2..24:
 * S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better
 * two-dimensional projections", SIAM J. Sci. Comput. 30 (2008), the set D(6).
 * Dimension 1 is the van der Corput sequence. */
static const struct direction {
    unsigned char degree;
    unsigned char polynomial; /* inner coefficients */
    unsigned char m[7];
} directions[] = {
    /* clang-format off */
    { 1,  0, { 1 } },
    { 2,  1, { 1, 3 } },
    { 3,  1, { 1, 3, 1 } },
    { 3,  2, { 1, 1, 1 } },
    { 4,  1, { 1, 1, 3, 3 } },
    { 4,  4, { 1, 3, 5, 13 } },
    { 5,  2, { 1, 1, 5, 5, 17 } },
    { 5,  4, { 1, 1, 5, 5, 5 } },
    { 5,  7, { 1, 1, 7, 11, 19 } },
    { 5, 11, { 1, 1, 5, 1, 1 } },
    { 5, 13, { 1, 1, 1, 3, 11 } },
    { 5, 14, { 1, 3, 5, 5, 31 } },
    { 6,  1, { 1, 3, 3, 9, 7, 49 } },
    { 6, 13, { 1, 1, 1, 15, 21, 21 } },
    { 6, 16, { 1, 3, 1, 13, 27, 49 } },
    { 6, 19, { 1, 1, 1, 15, 7, 5 } },
    { 6, 22, { 1, 3, 1, 15, 13, 25 } },
    { 6, 25, { 1, 1, 5, 5, 19, 61 } },
    { 7,  1, { 1, 3, 7, 11, 23, 15, 103 } },
    { 7,  4, { 1, 3, 7, 13, 13, 15, 69 } },
    { 7,  7, { 1, 1, 3, 13, 7, 35, 63 } },
    { 7,  8, { 1, 3, 5, 9, 1, 25, 53 } },
    { 7, 14, { 1, 3, 1, 13, 9, 35, 107 } },
    /* clang-format on */
};

/* v[i]: what bit i of the index adds, most significant digit first. */
static void fill_vectors(int dim, uint32_t v[SOBOL_BITS])
{
    const struct direction *d;

    if (dim == 0) {
        for (int i = 0; i < SOBOL_BITS; i++)
            v[i] = UINT32_C(1) << (SOBOL_BITS - 1 - i);
        return;
    }
    d = &directions[dim - 1];
    for (int i = 0; i < d->degree; i++)
        v[i] = (uint32_t)d->m[i] << (SOBOL_BITS - 1 - i);
    for (int i = d->degree; i < SOBOL_BITS; i++) {
        v[i] = v[i - d->degree] ^ (v[i - d->degree] >> d->degree);
        for (int k = 1; k < d->degree; k++)
            if (d->polynomial >> (d->degree - 1 - k) & 1)
                v[i] ^= v[i - k];
    }
}

static uint32_t reverse_bits(uint32_t x)
{
    x = x >> 16 | x << 16;
    x = (x & 0xff00ff00u) >> 8 | (x & 0x00ff00ffu) << 8;
    x = (x & 0xf0f0f0f0u) >> 4 | (x & 0x0f0f0f0fu) << 4;
    x = (x & 0xccccccccu) >> 2 | (x & 0x33333333u) << 2;
    return (x & 0xaaaaaaaau) >> 1 | (x & 0x55555555u) << 1;
}

/* Every bit is flipped as a function of the more significant bits and the
 * seed: an Owen scrambling, so the net keeps its stratification.  B. Burley,
 * "Practical hash-based Owen scrambling", JCGT 9 (2020); constants of N.
 * Vegdahl's improved hash. */
static uint32_t owen_scramble(uint32_t x, uint32_t seed)
{
    x = reverse_bits(x);
    x ^= x * 0x3d20adeau;
    x += seed;
    x *= seed >> 16 | 1;
    x ^= x * 0x05526c56u;
    x ^= x * 0x53a22864u;
    return reverse_bits(x);
}

/* Finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014). */
static uint32_t hash_seed(uint64_t seed, int dim)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15u * ((uint64_t)dim + 1);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

double sobol_point(uint64_t seed, int64_t index, int dim)
{
    uint32_t v[SOBOL_BITS] = { 0 }, x = 0;

    assert(index >= 0 && dim >= 0 && dim < SPACE_MAX_PARAMETERS);
    fill_vectors(dim, v);
    for (int i = 0; i < SOBOL_BITS; i++)
        if ((uint64_t)index >> i & 1)
            x ^= v[i];
    return (double)owen_scramble(x, hash_seed(seed, dim)) * 0x1p-32;
}
