/* madvise(MADV_DONTNEED): posix_madvise does nothing for it in glibc. */
#define _DEFAULT_SOURCE

#include "model/shard.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/file.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "shards are little-endian and are mapped as they are"
#endif

enum {
    MAGIC_16 = 20240520, /* karpathy/llm.c dev/data/data_common.py */
    MAGIC_32 = 20240801,
    VERSION_16 = 1,
    VERSION_32 = 7,
    VOCAB_16 = 65536,
};

/* Scanned at a time: fits the second-level cache, a multiple of a page. */
#define SCAN_BYTES ((size_t)256 * 1024)

/* ---- reading ---------------------------------------------------------- */

int shard_parse_header(const void *header, size_t bytes, uint64_t file_bytes,
                       const char *path, struct shard *out,
                       struct mup_error *err)
{
    int32_t word[3];
    int token_bytes;
    uint64_t expected;

    if (bytes < SHARD_HEADER_BYTES || file_bytes < SHARD_HEADER_BYTES)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' ends inside its header of %d bytes: it is no "
                        "token shard, make one with 'mutransfer data prepare'",
                        path, SHARD_HEADER_BYTES);
    memcpy(word, header, sizeof(word));
    if (word[0] != MAGIC_16 && word[0] != MAGIC_32)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' is no token shard (magic %" PRId32
                        ", expected %d or %d): make one with 'mutransfer "
                        "data prepare'",
                        path, word[0], MAGIC_16, MAGIC_32);
    token_bytes = word[0] == MAGIC_16 ? 2 : 4;
    if (word[1] != (word[0] == MAGIC_16 ? VERSION_16 : VERSION_32))
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' has shard version %" PRId32 ", expected %d", path,
                        word[1], word[0] == MAGIC_16 ? VERSION_16 : VERSION_32);
    if (word[2] < 0)
        return mup_fail(err, MUP_CORRUPT,
                        "the header of '%s' counts %" PRId32 " tokens", path,
                        word[2]);
    expected = SHARD_HEADER_BYTES + (uint64_t)word[2] * (uint64_t)token_bytes;
    if (file_bytes != expected)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' is %s: its header promises %" PRId32
                        " tokens, a file of %" PRIu64 " bytes, and it has "
                        "%" PRIu64 "; write it again",
                        path, file_bytes < expected ? "truncated" : "too long",
                        word[2], expected, file_bytes);
    *out = (struct shard){ .tokens = word[2], .token_bytes = token_bytes };
    return MUP_OK;
}

int shard_open(const char *path, struct shard *out, struct mup_error *err)
{
    struct shard shard;
    struct stat st;
    char header[SHARD_HEADER_BYTES];
    ssize_t got;
    int rc, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return mup_fail(err, MUP_SYSTEM, "cannot open shard '%s': %s", path,
                        strerror(errno));
    if (fstat(fd, &st) != 0) {
        rc = mup_fail(err, MUP_SYSTEM, "cannot read shard '%s': %s", path,
                      strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rc = mup_fail(err, MUP_SYSTEM, "shard '%s' is %s", path,
                      S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
        goto out;
    }
    got = pread(fd, header, sizeof(header), 0);
    if (got < 0) {
        rc = mup_fail(err, MUP_SYSTEM, "cannot read shard '%s': %s", path,
                      strerror(errno));
        goto out;
    }
    rc = shard_parse_header(header, (size_t)got, (uint64_t)st.st_size, path,
                            &shard, err);
    if (rc != MUP_OK)
        goto out;
    shard.map_bytes = (size_t)st.st_size;
    shard.map = mmap(NULL, shard.map_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (shard.map == MAP_FAILED) {
        rc = mup_fail(err, MUP_SYSTEM, "cannot map shard '%s': %s", path,
                      strerror(errno));
        goto out;
    }
    *out = shard;
out:
    (void)close(fd);
    return rc;
}

void shard_close(struct shard *shard)
{
    if (shard->map)
        (void)munmap(shard->map, shard->map_bytes);
    *shard = (struct shard){ 0 };
}

static const unsigned char *token_at(const struct shard *shard, int64_t i)
{
    return (const unsigned char *)shard->map + SHARD_HEADER_BYTES +
           (size_t)i * (size_t)shard->token_bytes;
}

void shard_read(const struct shard *shard, int64_t first, int64_t n,
                int32_t *out)
{
    assert(first >= 0 && n >= 0 && n <= shard->tokens - first);
    if (shard->token_bytes == 4) {
        memcpy(out, token_at(shard, first), (size_t)n * sizeof(*out));
    } else {
        const uint16_t *token = (const void *)token_at(shard, first);

        for (int64_t i = 0; i < n; i++)
            out[i] = token[i];
    }
}

/* Largest of n ids: loops the compiler turns into vector maxima. */
static uint32_t largest_16(const uint16_t *token, size_t n)
{
    uint16_t max = 0;

#pragma omp simd reduction(max : max)
    for (size_t i = 0; i < n; i++)
        max = token[i] > max ? token[i] : max;
    return max;
}

static uint32_t largest_32(const uint32_t *token, size_t n)
{
    uint32_t max = 0;

#pragma omp simd reduction(max : max)
    for (size_t i = 0; i < n; i++)
        max = token[i] > max ? token[i] : max;
    return max;
}

int shard_scan(const struct shard *shard, uint64_t hash[2], uint32_t *largest,
               struct mup_error *err)
{
    XXH3_state_t *state = XXH3_createState();
    XXH128_hash_t digest;
    uint32_t max = 0;

    if (!state)
        return mup_fail(err, MUP_SYSTEM, "out of memory for a checksum");
    (void)XXH3_128bits_reset(state);
    /* Blocks lie at multiples of SCAN_BYTES of the map, which is page-aligned;
     * the first one begins behind the header. */
    for (size_t at = 0; at < shard->map_bytes; at += SCAN_BYTES) {
        unsigned char *block = (unsigned char *)shard->map + at;
        size_t skip = at == 0 ? SHARD_HEADER_BYTES : 0;
        size_t end = shard->map_bytes - at < SCAN_BYTES ? shard->map_bytes - at
                                                        : SCAN_BYTES;
        size_t n = (end - skip) / (size_t)shard->token_bytes;
        const void *token = block + skip;
        uint32_t here = shard->token_bytes == 2 ? largest_16(token, n)
                                                : largest_32(token, n);

        max = here > max ? here : max;
        (void)XXH3_128bits_update(state, token, end - skip);
        /* A hint: without it only more memory counts as ours. */
        (void)madvise(block, end, MADV_DONTNEED);
    }
    digest = XXH3_128bits_digest(state);
    (void)XXH3_freeState(state);
    hash[0] = digest.high64;
    hash[1] = digest.low64;
    *largest = max;
    return MUP_OK;
}

/* ---- writing ---------------------------------------------------------- */

struct shard_writer {
    struct file_replace file;
    XXH3_state_t *state;
    int64_t vocab, tokens;
    int token_bytes;
};

static size_t write_header(const struct shard_writer *w)
{
    int32_t word[SHARD_HEADER_BYTES / sizeof(int32_t)] = { 0 };

    word[0] = w->token_bytes == 2 ? MAGIC_16 : MAGIC_32;
    word[1] = w->token_bytes == 2 ? VERSION_16 : VERSION_32;
    word[2] = (int32_t)w->tokens;
    return fwrite(word, sizeof(word), 1, w->file.out);
}

static int write_failed(const struct shard_writer *w, struct mup_error *err)
{
    return mup_fail(
        err, MUP_SYSTEM, "cannot write '%s': %s%s", w->file.path,
        strerror(errno),
        errno == ENOSPC ? "; free some space or choose another folder" : "");
}

int shard_writer_open(const char *path, int64_t vocab,
                      struct shard_writer **out, struct mup_error *err)
{
    struct shard_writer *w;
    int rc;

    if (vocab < 1 || vocab > INT32_MAX)
        return mup_fail(err, MUP_USAGE,
                        "vocabulary of %" PRId64 " for '%s' is outside "
                        "[1,2^31)",
                        vocab, path);
    w = calloc(1, sizeof(*w));
    if (w)
        w->state = XXH3_createState();
    if (!w || !w->state) {
        free(w);
        return mup_fail(err, MUP_SYSTEM, "out of memory to write '%s'", path);
    }
    rc = file_replace_open(path, &w->file, err);
    if (rc != MUP_OK) {
        (void)XXH3_freeState(w->state);
        free(w);
        return rc;
    }
    (void)XXH3_128bits_reset(w->state);
    w->vocab = vocab;
    w->token_bytes = vocab <= VOCAB_16 ? 2 : 4;
    if (write_header(w) != 1) {
        rc = write_failed(w, err);
        shard_writer_abandon(w);
        return rc;
    }
    *out = w;
    return MUP_OK;
}

int shard_writer_add(struct shard_writer *w, const int32_t *token, int64_t n,
                     struct mup_error *err)
{
    uint16_t narrow[4096];
    const int64_t room = (int64_t)(sizeof(narrow) / sizeof(narrow[0]));

    if (n > INT32_MAX - w->tokens)
        return mup_fail(err, MUP_USAGE,
                        "'%s' would hold more than 2^31-1 tokens, the limit "
                        "of a shard: split the text",
                        w->file.path);
    for (int64_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= w->vocab)
            return mup_fail(err, MUP_USAGE,
                            "token %" PRId32 " at position %" PRId64
                            " for '%s' is outside the vocabulary of %" PRId64,
                            token[i], w->tokens + i, w->file.path, w->vocab);
    for (int64_t i = 0; i < n; i += room) {
        int64_t count = n - i < room ? n - i : room;
        const void *bytes = token + i;
        size_t size = (size_t)count * (size_t)w->token_bytes;

        if (w->token_bytes == 2) {
            for (int64_t j = 0; j < count; j++)
                narrow[j] = (uint16_t)token[i + j];
            bytes = narrow;
        }
        if (fwrite(bytes, size, 1, w->file.out) != 1)
            return write_failed(w, err);
        (void)XXH3_128bits_update(w->state, bytes, size);
        w->tokens += count;
    }
    return MUP_OK;
}

int64_t shard_writer_tokens(const struct shard_writer *w)
{
    return w->tokens;
}

void shard_writer_hash(const struct shard_writer *w, uint64_t hash[2])
{
    XXH128_hash_t digest = XXH3_128bits_digest(w->state);

    hash[0] = digest.high64;
    hash[1] = digest.low64;
}

int shard_writer_close(struct shard_writer *w, struct mup_error *err)
{
    int rc;

    /* The count is known now: write the header again. */
    if (fseek(w->file.out, 0, SEEK_SET) != 0 || write_header(w) != 1)
        rc = write_failed(w, err);
    else
        rc = file_replace_commit(&w->file, err);
    shard_writer_abandon(w);
    return rc;
}

void shard_writer_abandon(struct shard_writer *w)
{
    if (!w)
        return;
    file_replace_abandon(&w->file);
    (void)XXH3_freeState(w->state);
    free(w);
}
