#include "model/data.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "model/random.h"
#include "model/synthetic.h"

/* Pages the kernel maps around a fault into cached file pages
 * (fault_around_bytes, 64 KiB by default). */
#define FAULT_AROUND_BYTES 65536

/* The stream of the synthetic source.  The held-out one is the same for every
 * seed, so that losses of runs with different seeds can be compared. */
static struct random_key synthetic_stream(uint64_t seed, int valid)
{
    return random_key(valid ? 0 : seed, "synthetic", valid ? "valid" : "train");
}

static int open_synthetic(const char *split, struct data *data,
                          struct mup_error *err)
{
    char name[64];
    XXH128_hash_t digest;

    if (data->vocab < SYNTHETIC_VOCAB)
        return mup_fail(err, MUP_USAGE,
                        "the synthetic source has token ids up to %d, above "
                        "model.vocab %" PRId64
                        ": set model.vocab to %d or more",
                        SYNTHETIC_VOCAB - 1, data->vocab, SYNTHETIC_VOCAB);
    if (data->seq > SYNTHETIC_MAX_SEQ - 1)
        return mup_fail(err, MUP_USAGE,
                        "model.seq %" PRId64 " is above the limit of the "
                        "synthetic source, %" PRId64,
                        data->seq, SYNTHETIC_MAX_SEQ - 1);
    data->synthetic = strcmp(split, "valid") == 0 ? DATA_SYNTHETIC_VALID
                                                  : DATA_SYNTHETIC_TRAIN;
    data->windows = DATA_SYNTHETIC_WINDOWS;
    data->byte_level = data->vocab == BYTE_VOCAB;
    (void)snprintf(name, sizeof(name), "synthetic %s %" PRIu64, split,
                   data->synthetic == DATA_SYNTHETIC_VALID ? 0 : data->seed);
    digest = XXH3_128bits(name, strlen(name));
    data->hash[0] = digest.high64;
    data->hash[1] = digest.low64;
    return MUP_OK;
}

/* The sentence about the first token that is not below vocab. */
static int bad_token(const char *source, const struct data *data,
                     struct mup_error *err)
{
    int32_t token[1024];
    const int64_t room = (int64_t)(sizeof(token) / sizeof(token[0]));

    for (int64_t i = 0; i < data->shard.tokens; i += room) {
        int64_t n =
            data->shard.tokens - i < room ? data->shard.tokens - i : room;

        shard_read(&data->shard, i, n, token);
        for (int64_t j = 0; j < n; j++)
            if ((uint32_t)token[j] >= data->vocab)
                return mup_fail(err, MUP_CORRUPT,
                                "token %" PRIu32 " at position %" PRId64
                                " of '%s' is not below model.vocab %" PRId64
                                ": set model.vocab to that of the corpus",
                                (uint32_t)token[j], i + j, source, data->vocab);
    }
    return mup_fail(err, MUP_CORRUPT, "'%s' changed while it was read", source);
}

static int open_shard(const char *source, int64_t min_windows,
                      struct data *data, struct mup_error *err)
{
    uint32_t largest = 0;
    int rc = shard_open(source, &data->shard, err);

    if (rc != MUP_OK)
        return rc;
    data->windows = (data->shard.tokens - 1) / data->seq;
    if (data->shard.tokens <= data->seq || data->windows < min_windows)
        return mup_fail(err, MUP_USAGE,
                        "corpus '%s' is too short: its %" PRId64
                        " tokens are %" PRId64 " windows of %" PRId64
                        " tokens, %" PRId64 " are needed; bring more text or "
                        "lower model.seq, train.batch or data.valid_sequences",
                        source, data->shard.tokens,
                        data->shard.tokens > data->seq ? data->windows : 0,
                        data->seq, min_windows > 1 ? min_windows : 1);
    rc = shard_scan(&data->shard, data->hash, &largest, err);
    if (rc != MUP_OK)
        return rc;
    if (largest >= data->vocab)
        return bad_token(source, data, err);
    data->byte_level =
        data->vocab == BYTE_VOCAB && largest <= TOKEN_END_OF_DOCUMENT;
    return MUP_OK;
}

int data_open(const char *source, const char *split, int64_t seq, int64_t vocab,
              uint64_t seed, int64_t min_windows, struct data *out,
              struct mup_error *err)
{
    struct data data = { .seq = seq, .vocab = vocab, .seed = seed };
    int rc;

    if (seq < 1 || vocab < 1)
        return mup_fail(err, MUP_USAGE,
                        "model.seq %" PRId64 " and model.vocab %" PRId64
                        " must be at least 1",
                        seq, vocab);
    if (source[0] == '\0')
        return mup_fail(err, MUP_USAGE,
                        "data.%s is empty: give a shard made with 'mutransfer "
                        "data prepare', or 'synthetic'",
                        split);
    if (strcmp(source, "synthetic") == 0)
        rc = open_synthetic(split, &data, err);
    else
        rc = open_shard(source, min_windows, &data, err);
    if (rc != MUP_OK) {
        data_close(&data);
        return rc;
    }
    *out = data;
    return MUP_OK;
}

void data_close(struct data *data)
{
    shard_close(&data->shard);
    *data = (struct data){ 0 };
}

/* Window of an unshuffled sample, a bijection of [0,n): the last bit of i picks
 * the first or second half of the corpus, the next bit a half of that, and so
 * on (the van der Corput sequence, for any n).  The first 2^j samples lie in
 * 2^j different pieces of equal size. */
static int64_t spread(int64_t i, int64_t n)
{
    int64_t first = 0;

    for (i %= n; n > 1; i >>= 1) {
        int64_t half = n - n / 2; /* even i are the more, if n is odd */

        if (i & 1)
            first += half;
        n = i & 1 ? n - half : half;
    }
    return first;
}

void data_sequence(const struct data *data, int64_t sample, int shuffled,
                   int32_t *input, int32_t *target)
{
    const int64_t T = data->seq;
    int64_t window;

    assert(sample >= 0);
    if (data->synthetic) {
        struct random_key stream = synthetic_stream(
            data->seed, data->synthetic == DATA_SYNTHETIC_VALID);

        synthetic_sequence(&stream, sample % DATA_SYNTHETIC_WINDOWS, T, input,
                           target);
        return;
    }
    if (shuffled) {
        char epoch[32];
        struct random_key order;

        (void)snprintf(epoch, sizeof(epoch), "epoch %" PRId64,
                       sample / data->windows);
        order = random_key(data->seed, "order", epoch);
        window = random_permute(&order, sample % data->windows, data->windows);
    } else {
        window = spread(sample, data->windows);
    }
    shard_read(&data->shard, window * T, T, input);
    shard_read(&data->shard, window * T + 1, T, target);
}

int64_t data_resident_bytes(const struct data *data, int64_t n)
{
    double blocks, touched, per_sequence;

    if (data->synthetic || n < 1)
        return 0;
    /* n sequences at random places touch their own length and, at its ends,
     * the block that the kernel maps around a fault. */
    blocks = ceil((double)data->shard.map_bytes / FAULT_AROUND_BYTES);
    per_sequence =
        1 + (double)data->seq * data->shard.token_bytes / FAULT_AROUND_BYTES;
    touched = blocks;
    if (blocks > 1)
        touched *= -expm1(per_sequence * (double)n * log1p(-1 / blocks));
    touched = touched * FAULT_AROUND_BYTES;
    return touched < (double)data->shard.map_bytes
               ? (int64_t)touched
               : (int64_t)data->shard.map_bytes;
}
