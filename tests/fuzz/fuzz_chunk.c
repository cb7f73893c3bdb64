/* Any two parts of one tensor: copying moves exactly what both hold, and
 * nothing else is touched. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/backend.h"
#include "model/checkpoint_part.h"

enum { FIELDS = 3 + 2 * 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct checkpoint_part part_of(const uint8_t *shape, const uint8_t *b)
{
    struct checkpoint_part p = { .name = "t", .kind = "m" };

    for (int d = 0; d < 3; d++) {
        p.shape[d] = shape[d] % 16;
        p.origin[d] = (int8_t)b[d];
        p.extent[d] = (int8_t)b[3 + d];
    }
    p.first = (int8_t)b[6];
    p.count = b[7] == 255 ? INT64_MAX : b[7];
    p.dtype = DTYPE_F32;
    return p;
}

/* Place of held element i in the whole tensor. */
static int64_t place(const struct checkpoint_part *p, int64_t i)
{
    int64_t at = p->first + i;
    int64_t col = at % p->extent[2], row = at / p->extent[2] % p->extent[1];
    int64_t slice = at / p->extent[2] / p->extent[1];

    return ((slice + p->origin[0]) * p->shape[1] + row + p->origin[1]) *
               p->shape[2] +
           col + p->origin[2];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    float from_data[256], to_data[256], tensor[16 * 16 * 16];
    struct checkpoint_part to, from;
    int64_t both = 0;

    if (size < FIELDS)
        return 0;
    to = part_of(data, data + 3);
    from = part_of(data, data + 11);
    if (checkpoint_part_fault(&to) || checkpoint_part_fault(&from))
        return 0;
    memset(tensor, 0, sizeof(tensor));
    for (int64_t i = 0; i < from.count; i++) {
        from_data[i] = (float)(place(&from, i) + 1);
        tensor[place(&from, i)] = from_data[i];
    }
    for (int64_t i = 0; i < to.count; i++) {
        to_data[i] = -1;
        both += tensor[place(&to, i)] > 0;
    }
    assert(checkpoint_part_copy(&to, &from) == both); /* without data */
    to.data = to_data;
    from.data = from_data;
    assert(checkpoint_part_copy(&to, &from) == both);
    for (int64_t i = 0; i < to.count; i++) {
        float held = tensor[place(&to, i)];

        assert(to_data[i] == (held > 0 ? held : -1));
    }
    return 0;
}
