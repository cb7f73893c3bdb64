/* What model.c and backward.c share: op arguments that both passes need. */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model/model.h"

/* Queries or keys of a block: their tensors and what the forward pass keeps.
 * gain -1: no QK-norm, raw and rstd have no data. */
struct heads {
    int param, gain;
    struct view y, raw, rstd;
};
struct heads block_queries(const struct model *m, int layer);
struct heads block_keys(const struct model *m, int layer);

/* x, contiguous, becomes its sum over the ranks along `tensor`. */
void block_sum(const struct model *m, struct view x);

/* x(N,heads*K) as one row a head: (N*heads,K). */
struct view block_rows(const struct model *m, struct view x);

struct attention_shape block_attention_shape(const struct model *m);
struct route_shape block_route_shape(const struct model *m,
                                     const struct loss_scale *scale);

#endif
