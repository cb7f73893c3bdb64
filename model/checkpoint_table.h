/* Tables of chunks: what of which tensor lies where.  A manifest holds one, and
 * until a checkpoint is committed so does each rank's own file.  As text both
 * are {"manifest": {...}, "xxh3": hash of its compact, key-sorted form}. */
#ifndef MODEL_CHECKPOINT_TABLE_H
#define MODEL_CHECKPOINT_TABLE_H

#include <jansson.h>

#include "model/checkpoint_part.h"

/* Elements of a chunk at most: what is read, hashed and lost at once. */
#define CHECKPOINT_CHUNK ((int64_t)1 << 20)

struct checkpoint_chunk {
    struct checkpoint_part part; /* no data */
    const char *file;            /* borrowed; in the checkpoint's folder */
    int64_t offset;
    uint64_t hash; /* XXH3-64 of its bytes */
};

/* inner with its hash as text, NUL-terminated; takes: caller frees. */
int checkpoint_seal(json_t *inner, const char *path, char **text,
                    struct mup_error *err);

/* The reverse; MUP_CORRUPT where the hash does not hold.  path is for the
 * sentence.  takes: caller decrefs. */
int checkpoint_unseal(const char *text, size_t bytes, const char *path,
                      json_t **inner, struct mup_error *err);

/* One chunk as an object, or NULL. */
json_t *checkpoint_chunk_json(const struct checkpoint_chunk *chunk);

/* A list of such objects as an array; every size is checked, so that nothing
 * overflows later.  Strings are borrowed from the list.  takes: free. */
int checkpoint_chunks(const json_t *list, const char *path,
                      struct checkpoint_chunk **out, int64_t *n,
                      struct mup_error *err);

/* MUP_CORRUPT unless the chunks cover every tensor that they mention exactly:
 * no element is missing, none is there twice, and shapes agree. */
int checkpoint_check_cover(const struct checkpoint_chunk *chunks, int64_t n,
                           const char *path, struct mup_error *err);

#endif
