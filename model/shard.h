/* Token shards: the llm.c v1 format (1024-byte header of 256 int32: magic
 * 20240520, version 1, token count; then uint16 tokens), and its uint32
 * variant (magic 20240801, version 7).  Little-endian, memory-mapped. */
#ifndef MODEL_SHARD_H
#define MODEL_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "mup/mup.h"

#define SHARD_HEADER_BYTES 1024

struct shard {
    void *map; /* the whole file, read-only */
    size_t map_bytes;
    int64_t tokens;
    int token_bytes; /* 2 or 4 */
};

/* MUP_SYSTEM if the file cannot be opened; MUP_CORRUPT for a wrong magic or
 * version, or a size that the token count contradicts (names both). */
int shard_open(const char *path, struct shard *out, struct mup_error *err);
void shard_close(struct shard *shard);

/* Header alone, from the first bytes of a file of file_bytes; the fuzz
 * target. */
int shard_parse_header(const void *header, size_t bytes, uint64_t file_bytes,
                       const char *path, struct shard *out,
                       struct mup_error *err);

/* out[0..n) = tokens first..first+n as int32; the caller keeps them inside the
 * shard.  Ids of 2^31 and above read as negative: shard_scan finds them. */
void shard_read(const struct shard *shard, int64_t first, int64_t n,
                int32_t *out);

/* One pass over all tokens: XXH3-128 of their bytes (hash[0] the high half, so
 * that "%016x%016x" is what xxhsum -H2 prints) and the largest id (0 if there
 * is no token).  The pages are released again: they stay in the page cache but
 * do not count as memory of this process.  MUP_SYSTEM without memory. */
int shard_scan(const struct shard *shard, uint64_t hash[2], uint32_t *largest,
               struct mup_error *err);

/* Append-only writer; the file appears under its name, complete, at close
 * (temporary name, fsync, rename).  uint16 up to a vocabulary of 65,536.
 * close takes the writer, whether it succeeds or not; abandon(NULL) is fine.
 * At most 2^31-1 tokens: the header counts in int32. */
struct shard_writer;
int shard_writer_open(const char *path, int64_t vocab,
                      struct shard_writer **out, struct mup_error *err);
int shard_writer_add(struct shard_writer *w, const int32_t *token, int64_t n,
                     struct mup_error *err);
int shard_writer_close(struct shard_writer *w, struct mup_error *err);
void shard_writer_abandon(struct shard_writer *w); /* removes the file */

/* Tokens added so far, and their XXH3-128 as shard_scan computes it. */
int64_t shard_writer_tokens(const struct shard_writer *w);
void shard_writer_hash(const struct shard_writer *w, uint64_t hash[2]);

#endif
