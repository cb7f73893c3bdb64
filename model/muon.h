/* Muon: momentum, orthogonalised.  Written once against the op table; each
 * expert's matrix on its own.  (Jordan et al. 2024, "Muon".) */
#ifndef MODEL_MUON_H
#define MODEL_MUON_H

#include "model/backend.h"

/* Iterations of the quintic; five bring singular values from [1e-2, 1] to
 * about [0.7, 1.2]. */
#define MUON_ITERATIONS 5

/* Scratch for matrices of at most `elements` elements, the smaller side at
 * most `side`: x, y of elements, a, b of side^2. */
struct muon_scratch {
    void *x, *y, *a, *b;
};

struct muon_args {
    double lr; /* of this tensor, convention and schedule included */
    double momentum;
    double decay;
    double grad_scale;
};

/* x(r,c) becomes an approximation of U V^T of x's own U S V^T; y of x's size,
 * a and b (min(r,c))^2 are scratch.  Returns the view, x or y, that holds the
 * result.  A zero x stays zero. */
struct view muon_orthogonalise(struct backend *be, struct view x,
                               const struct muon_scratch *scratch);

/* m = momentum*m + g;  u = g + momentum*m (Nesterov);  w -= decay*w +
 * lr*orthogonal(u), for each of the stacked slices of w, g, m: contiguous
 * (slices*rows, cols). */
void muon_update(struct backend *be, struct view w, struct view g,
                 struct view m, int64_t slices, const struct muon_args *args,
                 const struct muon_scratch *scratch);

#endif
