/* Optimizer state of the tensors that this rank owns, and one step of it. Which
 * optimizer a tensor has, and its factors, stand in the table of params.h. */
#ifndef MODEL_OPTIMIZER_H
#define MODEL_OPTIMIZER_H

#include "model/model.h"
#include "model/muon.h"
#include "model/zero.h"

struct optimizer {
    struct view moment;   /* (1, zero.total): first moment, momentum */
    struct view variance; /* (1, zero.second_total); none where that is 0 */
    struct muon_scratch muon;
    size_t bytes;
};

/* One step: `step` counts from 0 and decides Adam's bias corrections. */
struct optimizer_step {
    int64_t step;
    double schedule;   /* factor on every learning rate and decay */
    double grad_scale; /* clip factor */
};

/* Point everything into arena (base NULL: count only). */
void optimizer_layout(struct optimizer *o, const struct model *m,
                      const struct zero *z, struct arena *arena);

/* Update the weights that this rank owns by z's gradients. */
void optimizer_update(struct optimizer *o, struct model *m,
                      const struct zero *z, const struct optimizer_step *step);

/* View (1, count) of the elements from `first` on in a flat array. */
struct view optimizer_view(const struct model *m, struct view all,
                           int64_t first, int64_t count);

#endif
