/* What model.c and backward.c share: op arguments that both passes need. */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model/model.h"

struct attention_shape block_attention_shape(const struct model *m);
struct route_shape block_route_shape(const struct model *m,
                                     const struct loss_scale *scale);

#endif
