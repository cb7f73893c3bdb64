#include "model/seal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h> /* the same hash by wider registers, if any */
#endif

int seals_add(struct seals *s, const struct seal_range *range,
              struct mup_error *err)
{
    int64_t chunks = (range->count + SEAL_CHUNK - 1) / SEAL_CHUNK;
    struct seal *list =
        realloc(s->list, (size_t)(s->n + chunks + 1) * sizeof(*list));

    if (!list)
        return mup_fail(err, MUP_SYSTEM, "out of memory for hashes");
    s->list = list;
    for (int64_t at = 0; at < range->count; at += SEAL_CHUNK) {
        int64_t count = range->count - at;

        list[s->n++] = (struct seal){
            .data = (const char *)range->data + (size_t)at * range->element,
            .bytes = (size_t)(count < SEAL_CHUNK ? count : SEAL_CHUNK) *
                     range->element,
            .param = range->param,
            .first = range->first + at,
        };
    }
    return MUP_OK;
}

void seals_clear(struct seals *s)
{
    free(s->list);
    memset(s, 0, sizeof(*s));
}

uint64_t seal_hash(const struct seal *s)
{
    return XXH3_64bits(s->data, s->bytes);
}

void seals_take(struct seals *s, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++)
        s->list[i].hash = seal_hash(&s->list[i]);
}

int64_t seals_broken(const struct seals *s, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i++)
        if (s->list[i].hash != seal_hash(&s->list[i]))
            return i;
    return -1;
}

int seal_majority(const uint64_t *hash, int n, int64_t stride)
{
    for (int i = 0; i < n; i++) {
        int same = 0;

        for (int j = 0; j < n; j++)
            same += hash[j * stride] == hash[i * stride];
        if (2 * same <= n)
            continue;
        for (int j = 0; j < n; j++)
            if (hash[j * stride] != hash[i * stride])
                return j;
        return SEAL_AGREE;
    }
    return SEAL_OPEN;
}
