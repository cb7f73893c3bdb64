/* Pieces of a tensor, and copying between two of them.
 *
 * A part is what one rank holds: first the box that its layout gives it, then
 * of the box's elements, row by row, the range that it keeps (ZeRO).  Any part
 * can be filled from any others that together hold its elements. */
#ifndef MODEL_CHECKPOINT_PART_H
#define MODEL_CHECKPOINT_PART_H

#include <stddef.h>
#include <stdint.h>

#include "mup/mup.h"

/* The flat elements [first, first + count), row-major, of the box [origin,
 * origin + extent) of the whole tensor. */
struct checkpoint_part {
    const char *name, *kind; /* borrowed; kind: "weight", "m", "v" */
    int64_t shape[3];        /* whole tensor: slices, rows, cols */
    int64_t origin[3], extent[3];
    int64_t first, count;
    int dtype;  /* enum dtype */
    void *data; /* count elements, host memory */
};

/* The whole tensor as one part. */
struct checkpoint_part checkpoint_whole(const char *name, const char *kind,
                                        const int64_t shape[3], int dtype,
                                        void *data);

/* Boxes inside the shape, ranges inside the box, no size that overflows; what
 * is wrong as a clause ("has ..."), or NULL. */
const char *checkpoint_part_fault(const struct checkpoint_part *part);

int64_t checkpoint_part_bytes(const struct checkpoint_part *part);

/* Order by name and kind; 0: of the same tensor. */
int checkpoint_part_order(const struct checkpoint_part *a,
                          const struct checkpoint_part *b);

/* Elements that both hold, which are copied from `from` to `to` unless to's
 * data is NULL.  Both of the same tensor and sound.  Contiguous stretches go
 * with one memcpy each; at most from->count stretches are looked at. */
int64_t checkpoint_part_copy(const struct checkpoint_part *to,
                             const struct checkpoint_part *from);

#endif
