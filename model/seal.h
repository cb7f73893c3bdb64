/* Hashes of memory that should not change until it is used again: recorded
 * right after it was written, compared right before or after it is read.  A
 * flipped bit in between is found, and the tensor and the chunk are known. */
#ifndef MODEL_SEAL_H
#define MODEL_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "mup/mup.h"

/* Elements of a chunk: few enough to stay in a core's cache. */
#define SEAL_CHUNK ((int64_t)1 << 16)

struct seal {
    const char *data;
    size_t bytes;
    uint64_t hash;
    int param;     /* in the table of tensors; -1: none of them */
    int64_t first; /* element of the tensor's part here */
};

/* Zeroed is empty. */
struct seals {
    struct seal *list;
    int64_t n;
};

/* What is sealed: count elements of `element` bytes, the first of which is
 * number `first` of param's part. */
struct seal_range {
    const void *data;
    size_t element;
    int param;
    int64_t first, count;
};

/* Add the chunks of a range, without a hash yet. */
int seals_add(struct seals *s, const struct seal_range *range,
              struct mup_error *err);
void seals_clear(struct seals *s);

/* Record, and look at, the seals [from, to).  The first that is broken, or
 * -1. */
void seals_take(struct seals *s, int64_t from, int64_t to);
int64_t seals_broken(const struct seals *s, int64_t from, int64_t to);

uint64_t seal_hash(const struct seal *s);

/* Of n values, one a replica, stride apart: SEAL_AGREE, the index of the first
 * one that is alone against a majority of more than half, or SEAL_OPEN where
 * there is no such majority. */
enum { SEAL_AGREE = -1, SEAL_OPEN = -2 };
int seal_majority(const uint64_t *hash, int n, int64_t stride);

#endif
