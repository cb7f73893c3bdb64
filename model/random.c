/* Philox4x32-10 and what is drawn from it; see random.h. */
#include "model/random.h"

#include <math.h>

#define PHILOX_ROUNDS 10
#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W0     0x9E3779B9u /* golden ratio */
#define PHILOX_W1     0xBB67AE85u /* sqrt(3) - 1 */

#define FEISTEL_ROUNDS 8

static const double two_pi = 6.28318530717958647692;

/* Finalizer of splitmix64: a bijection that spreads every bit. */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* FNV-1a of a text, finalized. */
static uint64_t hash_text(const char *text)
{
    uint64_t h = 0xCBF29CE484222325u;

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return mix(h);
}

struct random_key random_key(uint64_t seed, const char *purpose,
                             const char *name)
{
    uint64_t key = mix(mix(seed) + hash_text(purpose));
    uint64_t stream = hash_text(name);

    return (struct random_key){
        .key = { (uint32_t)key, (uint32_t)(key >> 32) },
        .stream = { (uint32_t)stream, (uint32_t)(stream >> 32) },
    };
}

void random_block(const struct random_key *key, uint64_t index, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = key->stream[0], c3 = key->stream[1];
    uint32_t k0 = key->key[0], k1 = key->key[1];

    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* [0,1) from two words: the upper 53 of 64 bits. */
static double unit(uint32_t high, uint32_t low)
{
    uint64_t bits = (uint64_t)high << 32 | low;

    return (double)(bits >> 11) * 0x1p-53;
}

double random_uniform(const struct random_key *key, uint64_t index)
{
    uint32_t w[4];

    random_block(key, index, w);
    return unit(w[0], w[1]);
}

/* The two normals of one block: indices 2*block and 2*block + 1.  1 - u lies
 * in (0,1], so the logarithm is finite. */
static void normal_pair(const struct random_key *key, uint64_t block,
                        double out[2])
{
    uint32_t w[4];
    double radius, angle;

    random_block(key, block, w);
    radius = sqrt(-2 * log(1 - unit(w[0], w[1])));
    angle = two_pi * unit(w[2], w[3]);
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

double random_normal(const struct random_key *key, uint64_t index)
{
    double pair[2];

    normal_pair(key, index / 2, pair);
    return pair[index % 2];
}

void random_normals(const struct random_key *key, uint64_t first, int64_t n,
                    double *out)
{
    int64_t i = 0;
    double pair[2];

    if (first % 2 && n > 0)
        out[i++] = random_normal(key, first);
    for (; i + 2 <= n; i += 2)
        normal_pair(key, (first + (uint64_t)i) / 2, out + i);
    if (i < n) {
        normal_pair(key, (first + (uint64_t)i) / 2, pair);
        out[i] = pair[0];
    }
}

int64_t random_below(const struct random_key *key, uint64_t index, int64_t n)
{
    int64_t i = (int64_t)(random_uniform(key, index) * (double)n);

    return i < n ? i : n - 1; /* the product may round up to n */
}

/* One pass through a balanced Feistel network over 2*bits bits: a bijection
 * whatever the round function is. */
static uint64_t feistel(const struct random_key *key, uint64_t x, int bits)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1;
    uint64_t left = x >> bits, right = x & mask;

    for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
        uint64_t old = right;
        uint32_t w[4];

        random_block(key, round << 32 | right, w);
        right = left ^ (w[0] & mask);
        left = old;
    }
    return left << bits | right;
}

/* Cycle walking: leave [0,n) and walk on until the orbit comes back, at most
 * four times on average since the domain is below 4n. */
int64_t random_permute(const struct random_key *key, int64_t i, int64_t n)
{
    uint64_t x = (uint64_t)i;
    int bits = 1;

    while (((uint64_t)1 << (2 * bits)) < (uint64_t)n)
        bits++;
    do
        x = feistel(key, x, bits);
    while (x >= (uint64_t)n);
    return (int64_t)x;
}
