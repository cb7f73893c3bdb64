#include "model/checkpoint_part.h"

#include <assert.h>
#include <string.h>

#include "model/backend.h"

/* Far above any tensor, far below what an int64_t of bytes holds. */
#define MAX_ELEMENTS ((int64_t)1 << 58)

struct checkpoint_part checkpoint_whole(const char *name, const char *kind,
                                        const int64_t shape[3], int dtype,
                                        void *data)
{
    struct checkpoint_part p = { .name = name, .kind = kind };

    for (int d = 0; d < 3; d++)
        p.shape[d] = p.extent[d] = shape[d];
    p.count = shape[0] * shape[1] * shape[2];
    p.dtype = dtype;
    p.data = data;
    return p;
}

/* Product of three sizes of at least 1, or -1. */
static int64_t elements(const int64_t size[3])
{
    int64_t n = 1;

    for (int d = 0; d < 3; d++) {
        if (size[d] < 1 || size[d] > MAX_ELEMENTS / n)
            return -1;
        n *= size[d];
    }
    return n;
}

const char *checkpoint_part_fault(const struct checkpoint_part *p)
{
    int64_t held;

    if (elements(p->shape) < 0)
        return "has an impossible shape";
    if (p->dtype != DTYPE_F32 && p->dtype != DTYPE_F64)
        return "has an unknown number format";
    held = elements(p->extent);
    if (held < 0)
        return "has an impossible box";
    for (int d = 0; d < 3; d++)
        if (p->origin[d] < 0 || p->extent[d] > p->shape[d] ||
            p->origin[d] > p->shape[d] - p->extent[d])
            return "has a box outside its shape";
    if (p->first < 0 || p->count < 0 || p->count > held ||
        p->first > held - p->count)
        return "has a range outside its box";
    return NULL;
}

int64_t checkpoint_part_bytes(const struct checkpoint_part *part)
{
    return part->count * (int64_t)dtype_bytes(part->dtype);
}

int checkpoint_part_order(const struct checkpoint_part *a,
                          const struct checkpoint_part *b)
{
    int order = strcmp(a->name, b->name);

    return order ? order : strcmp(a->kind, b->kind);
}

/* Where two boxes agree on their innermost dimension, rows follow each other
 * without a gap in both: the dimension joins the one before it. */
static void join_columns(struct checkpoint_part *a, struct checkpoint_part *b)
{
    for (int i = 0; i < 2; i++) {
        int64_t cols = a->extent[2];

        if (a->origin[2] != b->origin[2] || cols != b->extent[2])
            return;
        for (int which = 0; which < 2; which++) {
            struct checkpoint_part *p = which ? b : a;

            p->origin[2] = p->origin[1] * cols;
            p->extent[2] = p->extent[1] * cols;
            p->origin[1] = p->origin[0];
            p->extent[1] = p->extent[0];
            p->origin[0] = 0;
            p->extent[0] = 1;
        }
    }
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* The stretch of one row of `from`: flat elements [at, at + n) of its box. */
static int64_t copy_stretch(const struct checkpoint_part *to,
                            const struct checkpoint_part *from, int64_t at,
                            int64_t n)
{
    size_t element = dtype_bytes(to->dtype);
    int64_t cols = from->extent[2], row = at / cols;
    int64_t slice = row / from->extent[1] + from->origin[0] - to->origin[0];
    int64_t col = at % cols + from->origin[2] - to->origin[2];
    int64_t flat, begin, end;

    row = row % from->extent[1] + from->origin[1] - to->origin[1];
    if (slice < 0 || slice >= to->extent[0] || row < 0 || row >= to->extent[1])
        return 0;
    /* flat: of column 0 in to's box */
    flat = (slice * to->extent[1] + row) * to->extent[2];
    begin = max64(flat + max64(col, 0), to->first);
    end = min64(flat + min64(col + n, to->extent[2]), to->first + to->count);
    if (begin >= end)
        return 0;
    if (to->data)
        memcpy((char *)to->data + (size_t)(begin - to->first) * element,
               (const char *)from->data +
                   (size_t)(at + begin - flat - col - from->first) * element,
               (size_t)(end - begin) * element);
    return end - begin;
}

int64_t checkpoint_part_copy(const struct checkpoint_part *to,
                             const struct checkpoint_part *from)
{
    struct checkpoint_part a = *to, b = *from;
    int64_t copied = 0, end = b.first + b.count;

    assert(a.dtype == b.dtype && (!a.data || b.data));
    for (int d = 0; d < 3; d++)
        if (a.origin[d] >= b.origin[d] + b.extent[d] ||
            b.origin[d] >= a.origin[d] + a.extent[d])
            return 0;
    join_columns(&a, &b);
    for (int64_t at = b.first, n; at < end; at += n) {
        n = min64(b.extent[2] - at % b.extent[2], end - at);
        copied += copy_stretch(&a, &b, at, n);
    }
    return copied;
}
