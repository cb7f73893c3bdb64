/* Batches of token sequences.  The position in the data is a number (the
 * global sample index), so a resumed run needs no other state: sample i of
 * epoch e is window permute(e, i) of the corpus. */
#ifndef MODEL_DATA_H
#define MODEL_DATA_H

#include <stdint.h>

#include "model/shard.h"

/* Byte-level tokens: 0..255 bytes, then these; the table is padded to 320. */
#define TOKEN_END_OF_DOCUMENT 256
#define TOKEN_PAD             257
#define BYTE_VOCAB            320

enum { DATA_SYNTHETIC_TRAIN = 1, DATA_SYNTHETIC_VALID };

/* Fresh sequences of the synthetic source: there is no second epoch. */
#define DATA_SYNTHETIC_WINDOWS (INT64_C(1) << 40)

/* One corpus: a shard, or the synthetic source (shard.map NULL). */
struct data {
    struct shard shard;
    int synthetic;    /* 0, or a DATA_SYNTHETIC_ stream */
    int64_t seq;      /* T */
    int64_t vocab;    /* tokens must be below */
    int64_t windows;  /* non-overlapping windows of T+1 tokens, stride T */
    uint64_t seed;    /* of the order, or of the synthetic stream */
    uint64_t hash[2]; /* XXH3-128 of the tokens, high half first; of the
                         stream's name if synthetic */
    int byte_level;   /* every token is one byte: bits/byte is known */
};

/* source: a shard path or "synthetic".  split: "train" or "valid" (selects the
 * stream of the synthetic source; its valid stream is the same for every seed,
 * like a held-out file, and windows is DATA_SYNTHETIC_WINDOWS).  Checks every
 * token against vocab once (names the position of the first bad one) and that
 * the corpus holds at least min_windows windows. */
int data_open(const char *source, const char *split, int64_t seq, int64_t vocab,
              uint64_t seed, int64_t min_windows, struct data *out,
              struct mup_error *err);
void data_close(struct data *data);

/* Sequence number `sample` (0, 1, 2, ... over all epochs): input[T] and
 * target[T], target the next token.  shuffled 1: every epoch is another
 * permutation, random_permute under the key (seed, "order", "epoch e").
 * shuffled 0 (for validation): a fixed order, the same for every seed, whose
 * first n samples are spread evenly over the whole corpus (halves, quarters,
 * eighths, ... in turn); it repeats after `windows` samples. */
void data_sequence(const struct data *data, int64_t sample, int shuffled,
                   int32_t *input, int32_t *target);

/* Entropy rate of the synthetic source, nats per token, given which hidden
 * source a sequence comes from and its last two tokens: the floor that a
 * model's loss approaches from above; the first tokens, which tell the source,
 * cost some more. */
double synthetic_entropy_rate(void);

/* Bytes of file-backed memory that reading n sequences is expected to touch:
 * for plan's estimate of resident memory. */
int64_t data_resident_bytes(const struct data *data, int64_t n);

#endif
