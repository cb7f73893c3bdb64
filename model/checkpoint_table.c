#include "model/checkpoint_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define HASH_BYTES 17

static void hex64(uint64_t value, char out[HASH_BYTES])
{
    snprintf(out, HASH_BYTES, "%016" PRIx64, value);
}

/* --- text --- */

int checkpoint_seal(json_t *inner, const char *path, char **text,
                    struct mup_error *err)
{
    char *compact = json_dumps(inner, JSON_COMPACT | JSON_SORT_KEYS);
    json_t *outer = NULL;
    char hash[HASH_BYTES], *out = NULL;

    if (compact) {
        hex64(XXH3_64bits(compact, strlen(compact)), hash);
        outer = json_pack("{s:O, s:s}", "manifest", inner, "xxh3", hash);
    }
    if (outer)
        out = json_dumps(outer, JSON_INDENT(1) | JSON_SORT_KEYS);
    free(compact);
    json_decref(outer);
    if (!out)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    *text = out;
    return MUP_OK;
}

int checkpoint_unseal(const char *text, size_t bytes, const char *path,
                      json_t **inner, struct mup_error *err)
{
    json_error_t at;
    json_t *outer = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &at);
    json_t *found = json_object_get(outer, "manifest");
    const char *want = json_string_value(json_object_get(outer, "xxh3"));
    char *compact = NULL, hash[HASH_BYTES] = "";
    int rc = MUP_OK;

    if (json_is_object(found))
        compact = json_dumps(found, JSON_COMPACT | JSON_SORT_KEYS);
    if (compact)
        hex64(XXH3_64bits(compact, strlen(compact)), hash);
    if (!outer)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' line %d is not JSON: %s", path,
                      at.line, at.text);
    else if (!compact || !want || strcmp(hash, want) != 0)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' does not match its own checksum",
                      path);
    else
        *inner = json_incref(found);
    free(compact);
    json_decref(outer);
    return rc;
}

/* --- chunks --- */

json_t *checkpoint_chunk_json(const struct checkpoint_chunk *chunk)
{
    const struct checkpoint_part *p = &chunk->part;
    char hash[HASH_BYTES];

    hex64(chunk->hash, hash);
    return json_pack(
        "{s:s, s:s, s:i, s:[I,I,I], s:[I,I,I], s:[I,I,I], s:I, s:I, s:s, s:I, "
        "s:I, s:s}",
        "name", p->name, "kind", p->kind, "dtype", p->dtype, "shape",
        (json_int_t)p->shape[0], (json_int_t)p->shape[1],
        (json_int_t)p->shape[2], "origin", (json_int_t)p->origin[0],
        (json_int_t)p->origin[1], (json_int_t)p->origin[2], "extent",
        (json_int_t)p->extent[0], (json_int_t)p->extent[1],
        (json_int_t)p->extent[2], "first", (json_int_t)p->first, "count",
        (json_int_t)p->count, "file", chunk->file, "offset",
        (json_int_t)chunk->offset, "bytes",
        (json_int_t)checkpoint_part_bytes(p), "xxh3", hash);
}

/* Members that are there and of their type are read; what is wrong as a
 * clause, or NULL. */
static const char *read_chunk(const json_t *o, struct checkpoint_chunk *c)
{
    static const char *const sizes[] = { "shape", "origin", "extent" };
    struct checkpoint_part *p = &c->part;
    int64_t *into[] = { p->shape, p->origin, p->extent };
    const char *hash = json_string_value(json_object_get(o, "xxh3")), *fault;
    json_int_t bytes = json_integer_value(json_object_get(o, "bytes"));
    json_int_t dtype = json_integer_value(json_object_get(o, "dtype"));

    p->name = json_string_value(json_object_get(o, "name"));
    p->kind = json_string_value(json_object_get(o, "kind"));
    c->file = json_string_value(json_object_get(o, "file"));
    if (!p->name || !p->kind || !c->file || !hash)
        return "lacks its name, kind, file or hash";
    if (strchr(c->file, '/') || c->file[0] == '.' || !c->file[0])
        return "names a file outside the folder";
    if (strlen(hash) != 16 || strspn(hash, "0123456789abcdef") != 16)
        return "has a hash that is none";
    c->hash = strtoull(hash, NULL, 16);
    for (size_t i = 0; i < 3; i++)
        for (size_t d = 0; d < 3; d++)
            into[i][d] = json_integer_value(
                json_array_get(json_object_get(o, sizes[i]), d));
    p->first = json_integer_value(json_object_get(o, "first"));
    p->count = json_integer_value(json_object_get(o, "count"));
    c->offset = json_integer_value(json_object_get(o, "offset"));
    p->dtype = dtype < 0 || dtype > 255 ? 255 : (int)dtype;
    fault = checkpoint_part_fault(p);
    if (fault)
        return fault;
    if (p->count < 1 || p->count > CHECKPOINT_CHUNK)
        return "is empty or too large";
    if (bytes != checkpoint_part_bytes(p) || c->offset < 0 ||
        c->offset > INT64_MAX - bytes)
        return "has a wrong place in its file";
    return NULL;
}

int checkpoint_chunks(const json_t *list, const char *path,
                      struct checkpoint_chunk **out, int64_t *n,
                      struct mup_error *err)
{
    struct checkpoint_chunk *chunks;
    size_t i, count = json_array_size(list);
    json_t *object;

    if (!json_is_array(list))
        return mup_fail(err, MUP_CORRUPT, "'%s' lists no chunks", path);
    chunks = calloc(count + 1, sizeof(*chunks));
    if (!chunks)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    json_array_foreach(list, i, object)
    {
        const char *fault = read_chunk(object, &chunks[i]);

        if (fault) {
            int rc = mup_fail(
                err, MUP_CORRUPT, "'%s': chunk %zu, of tensor '%.200s', %s",
                path, i, chunks[i].part.name ? chunks[i].part.name : "?",
                fault);

            free(chunks);
            return rc;
        }
    }
    *out = chunks;
    *n = (int64_t)count;
    return MUP_OK;
}

/* --- cover --- */

static int order(const void *a, const void *b)
{
    const struct checkpoint_chunk *x =
        *(const struct checkpoint_chunk *const *)a;
    const struct checkpoint_chunk *y =
        *(const struct checkpoint_chunk *const *)b;

    return checkpoint_part_order(&x->part, &y->part);
}

static int overlap(const struct checkpoint_part *a,
                   const struct checkpoint_part *b)
{
    if (!memcmp(a->origin, b->origin, sizeof(a->origin)) &&
        !memcmp(a->extent, b->extent, sizeof(a->extent)))
        return a->first < b->first + b->count && b->first < a->first + a->count;
    return checkpoint_part_copy(a, b) > 0;
}

/* One tensor's chunks: all pairs, of which boxes and ranges decide nearly
 * every one. */
static int check_tensor(const struct checkpoint_chunk *const *c, int64_t n,
                        const char *path, struct mup_error *err)
{
    const struct checkpoint_part *first = &c[0]->part;
    int64_t total = first->shape[0] * first->shape[1] * first->shape[2];
    int64_t held = 0;

    for (int64_t i = 0; i < n; i++) {
        const struct checkpoint_part *p = &c[i]->part;

        if (memcmp(p->shape, first->shape, sizeof(p->shape)) != 0 ||
            p->dtype != first->dtype)
            return mup_fail(err, MUP_CORRUPT,
                            "'%s': chunks of tensor '%.200s' (%.20s) disagree "
                            "about its shape or number format",
                            path, first->name, first->kind);
        for (int64_t j = 0; j < i; j++)
            if (overlap(p, &c[j]->part))
                return mup_fail(err, MUP_CORRUPT,
                                "'%s': tensor '%.200s' (%.20s) has elements "
                                "that are there twice",
                                path, first->name, first->kind);
        held += p->count;
    }
    if (held == total)
        return MUP_OK;
    return mup_fail(err, MUP_CORRUPT,
                    "'%s': tensor '%.200s' (%.20s) has %" PRId64 " of its "
                    "%" PRId64 " elements",
                    path, first->name, first->kind, held, total);
}

int checkpoint_check_cover(const struct checkpoint_chunk *chunks, int64_t n,
                           const char *path, struct mup_error *err)
{
    const struct checkpoint_chunk **sorted =
        malloc(((size_t)n + 1) * sizeof(*sorted));
    int rc = MUP_OK;

    if (!sorted)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    for (int64_t i = 0; i < n; i++)
        sorted[i] = &chunks[i];
    qsort(sorted, (size_t)n, sizeof(*sorted), order);
    for (int64_t i = 0, next; !rc && i < n; i = next) {
        next = i + 1;
        while (next < n && order(&sorted[i], &sorted[next]) == 0)
            next++;
        rc = check_tensor(sorted + i, next - i, path, err);
    }
    free(sorted);
    return rc;
}
