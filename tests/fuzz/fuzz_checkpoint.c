/* Any bytes as a checkpoint's manifest, with and without its hash: refused in
 * a sentence, or what it says is put together from its chunks, every element
 * once. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/backend.h"
#include "model/checkpoint.h"

enum { MAX_ELEMENTS = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Place in the whole tensor of element i of a chunk's box. */
static int64_t place(const struct checkpoint_part *p, int64_t i)
{
    int64_t col = i % p->extent[2], row = i / p->extent[2] % p->extent[1];
    int64_t slice = i / p->extent[2] / p->extent[1];

    return ((slice + p->origin[0]) * p->shape[1] + row + p->origin[1]) *
               p->shape[2] +
           col + p->origin[2];
}

static void put(const struct checkpoint_part *p, int64_t i, double value)
{
    if (p->dtype == DTYPE_F32)
        ((float *)p->data)[i] = (float)value;
    else
        ((double *)p->data)[i] = value;
}

/* Fill the tensor of chunk k from all chunks; each element is its place. */
static void read_tensor(const struct checkpoint *c, int64_t k)
{
    static double chunk_data[MAX_ELEMENTS], all[MAX_ELEMENTS];
    const struct checkpoint_part *p = &c->chunks[k].part;
    struct checkpoint_part whole =
        checkpoint_whole(p->name, p->kind, p->shape, p->dtype, all);
    int64_t copied = 0;

    if (whole.count > MAX_ELEMENTS)
        return;
    memset(all, 255, sizeof(all));
    for (int64_t j = 0; j < c->n_chunks; j++) {
        struct checkpoint_part from = c->chunks[j].part;

        if (checkpoint_part_order(&from, p) != 0)
            continue;
        from.data = chunk_data;
        for (int64_t i = 0; i < from.count; i++)
            put(&from, i, (double)place(&from, from.first + i));
        copied += checkpoint_part_copy(&whole, &from);
    }
    assert(copied == whole.count);
    for (int64_t i = 0; i < whole.count; i++)
        assert((p->dtype == DTYPE_F32 ? (double)((float *)all)[i] : all[i]) ==
               (double)i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mup_error err = { 0 };
    struct checkpoint c = { 0 };
    json_t *manifest = NULL, *bare;
    int rc;

    rc = checkpoint_unseal((const char *)data, size, "fuzz", &manifest, &err);
    assert(rc == MUP_OK ? json_is_object(manifest)
                        : rc == MUP_CORRUPT && err.text[0] && !manifest);
    json_decref(manifest);
    bare = json_loadb((const char *)data, size, 0, NULL);
    err.text[0] = '\0';
    rc = checkpoint_parse(bare, "fuzz", &c, &err);
    assert(rc == MUP_OK ||
           ((rc == MUP_CORRUPT || rc == MUP_USAGE) && err.text[0]));
    for (int64_t i = 0; rc == MUP_OK && i < c.n_chunks && i < 8; i++)
        read_tensor(&c, i);
    if (rc == MUP_OK)
        checkpoint_close(&c);
    json_decref(bare);
    return 0;
}
