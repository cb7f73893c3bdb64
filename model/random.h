/* Random numbers as a function, not a state: Philox4x32-10 (Salmon et al.,
 * SC 2011) keyed by (seed, purpose, name) and addressed by index.  Init, data
 * order and bootstrap do not depend on ranks, shards, backends or restarts. */
#ifndef MODEL_RANDOM_H
#define MODEL_RANDOM_H

#include <stdint.h>

struct random_key {
    uint32_t key[2];
    uint32_t stream[2];
};

/* purpose: "init", "order", "sample", ...; name: a tensor's logical name. */
struct random_key random_key(uint64_t seed, const char *purpose,
                             const char *name);

/* The four words at counter index. */
void random_block(const struct random_key *key, uint64_t index,
                  uint32_t out[4]);

/* In [0,1), 53 bits; one per index. */
double random_uniform(const struct random_key *key, uint64_t index);

/* Standard normal by Box-Muller; one per index. */
double random_normal(const struct random_key *key, uint64_t index);

/* out[i] = random_normal(key, first + i) for i < n, to the bit, at half the
 * cost (two normals come from one block). */
void random_normals(const struct random_key *key, uint64_t first, int64_t n,
                    double *out);

/* Uniform integer in [0,n), n >= 1, without modulo bias worth 2^-53. */
int64_t random_below(const struct random_key *key, uint64_t index, int64_t n);

/* A keyed bijection of [0,n): the image of i. n >= 1. (Feistel network with
 * cycle walking.) */
int64_t random_permute(const struct random_key *key, int64_t i, int64_t n);

#endif
