/* A symbol is (hi, lo), three bits each.  Source s uses the four values
 * s..s+3 (mod 8) of hi, so a few tokens tell the source.  The next symbol is
 *
 *     hi' = s + (r1 ^ x(s, b))          r1 in 0..3 with weights HI
 *     lo' = r2 ^ y(s, hi(a), b)         r2 in 0..7 with weights LO
 *
 * with a, b the last two symbols and x, y fixed hashes.  Given (s, a, b) the
 * map from (r1, r2) to the next symbol is one to one, whatever x and y are, so
 * the entropy of every transition is H(HI) + H(LO), and that is the entropy
 * rate: no stationary distribution is needed.  hi' is a matter of the last
 * token (learnt early), lo' of the last two (learnt later). */
#include "model/synthetic.h"

#include <math.h>

#include "model/data.h"

/* Weights in 64ths: six random bits draw exactly from them. */
static const unsigned char hi_weight[4] = { 40, 12, 8, 4 };
static const unsigned char lo_weight[8] = { 34, 12, 6, 4, 3, 2, 2, 1 };

/* r of six random bits u. */
static unsigned draw(const unsigned char *weight, unsigned u)
{
    unsigned r = 0;

    while (u >= weight[r])
        u -= weight[r++];
    return r;
}

/* Fixed pseudo-random mask of a context (finaliser of MurmurHash3). */
static unsigned mask(unsigned context)
{
    uint32_t h = context * UINT32_C(0x9e3779b9) + UINT32_C(0x7f4a7c15);

    h = (h ^ (h >> 16)) * UINT32_C(0x85ebca6b);
    h = (h ^ (h >> 13)) * UINT32_C(0xc2b2ae35);
    return h ^ (h >> 16);
}

static unsigned hi_mask(unsigned source, unsigned b)
{
    return mask(source << 6 | b) & 3;
}

static unsigned lo_mask(unsigned source, unsigned a, unsigned b)
{
    return mask(1U << 12 | source << 9 | (a >> 3) << 6 | b) & 7;
}

/* Next symbol after a, b from twelve random bits. */
static unsigned next_symbol(unsigned source, unsigned a, unsigned b,
                            unsigned bits)
{
    unsigned r1 = draw(hi_weight, bits & 63);
    unsigned r2 = draw(lo_weight, bits >> 6 & 63);
    unsigned hi = (source + (r1 ^ hi_mask(source, b))) & 7;

    return hi << 3 | (r2 ^ lo_mask(source, a, b));
}

/* The first two symbols: uniform over the source's 32. */
static unsigned first_symbol(unsigned source, unsigned bits)
{
    return ((source + (bits & 3)) & 7) << 3 | (bits >> 2 & 7);
}

static uint64_t block_index(int64_t sample, int64_t token)
{
    return (uint64_t)sample << 21 | (uint64_t)token >> 2;
}

static unsigned source_of(uint32_t word)
{
    return word >> 29;
}

int synthetic_source(const struct random_key *stream, int64_t sample)
{
    uint32_t word[4];

    random_block(stream, block_index(sample, 0), word);
    return (int)source_of(word[0]);
}

void synthetic_sequence(const struct random_key *stream, int64_t sample,
                        int64_t T, int32_t *input, int32_t *target)
{
    uint32_t word[4];
    unsigned source = 0, a = 0, b = 0;

    /* Token t takes twelve bits of word t % 4 of block t / 4; the top three
     * bits of the very first word name the source. */
    for (int64_t t = 0; t <= T; t++) {
        unsigned c;

        if ((t & 3) == 0)
            random_block(stream, block_index(sample, t), word);
        if (t == 0)
            source = source_of(word[0]);
        c = t < 2 ? first_symbol(source, word[t & 3])
                  : next_symbol(source, a, b, word[t & 3]);
        if (t < T)
            input[t] = SYNTHETIC_FIRST + (int32_t)c;
        if (t > 0)
            target[t - 1] = SYNTHETIC_FIRST + (int32_t)c;
        a = b;
        b = c;
    }
}

double synthetic_probability(int source, int32_t a, int32_t b, int32_t c)
{
    unsigned s = (unsigned)source;
    unsigned x = (unsigned)(a - SYNTHETIC_FIRST);
    unsigned y = (unsigned)(b - SYNTHETIC_FIRST);
    unsigned z = (unsigned)(c - SYNTHETIC_FIRST);
    unsigned r1 = (((z >> 3) - s) & 7) ^ hi_mask(s, y);
    unsigned r2 = (z & 7) ^ lo_mask(s, x, y);

    return r1 > 3 || z > 63 ? 0 : hi_weight[r1] / 64.0 * lo_weight[r2] / 64.0;
}

static double entropy(const unsigned char *weight, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum -= weight[i] / 64.0 * log(weight[i] / 64.0);
    return sum;
}

double synthetic_entropy_rate(void)
{
    return entropy(hi_weight, 4) + entropy(lo_weight, 8);
}
