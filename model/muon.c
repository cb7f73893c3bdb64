#include "model/muon.h"

#include <math.h>

/* y = x, both contiguous and of one size */
static void copy(struct backend *be, struct view y, struct view x, double scale)
{
    be->ops->zero(be, y);
    be->ops->add(be, y, x, scale);
}

/* p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5 on every singular value s of x,
 * which goes to y: steep at 0, within [0.7, 1.2] near 1. */
static void iterate(struct backend *be, struct view y, struct view x,
                    struct view a, struct view b)
{
    const double c1 = 3.4445, c3 = -4.7750, c5 = 2.0315;
    int wide = x.rows <= x.cols;

    /* a = x x^T or x^T x, the smaller one; b = c3 a + c5 a a */
    be->ops->gemm(be, a, x, x, !wide, wide, 1, 0);
    copy(be, b, a, 1);
    be->ops->gemm(be, b, a, a, 0, 0, c5, c3);
    copy(be, y, x, 1);
    if (wide)
        be->ops->gemm(be, y, b, x, 0, 0, 1, c1);
    else
        be->ops->gemm(be, y, x, b, 0, 0, 1, c1);
}

struct view muon_orthogonalise(struct backend *be, struct view x,
                               const struct muon_scratch *scratch)
{
    int64_t side = x.rows < x.cols ? x.rows : x.cols;
    struct view a = view_of(scratch->a, side, side);
    struct view b = view_of(scratch->b, side, side);
    struct view y = view_of(scratch->y, x.rows, x.cols);
    double squares = 0;

    be->ops->sum_squares(be, &squares, x);
    if (!(squares > 0))
        return x;
    /* the Frobenius norm bounds the largest singular value */
    copy(be, y, x, 1 / sqrt(squares));
    for (int i = 0; i < MUON_ITERATIONS; i++) {
        struct view from = i % 2 ? x : y, to = i % 2 ? y : x;

        iterate(be, to, from, a, b);
    }
    return MUON_ITERATIONS % 2 ? x : y;
}

void muon_update(struct backend *be, struct view w, struct view g,
                 struct view m, int64_t slices, const struct muon_args *args,
                 const struct muon_scratch *scratch)
{
    const struct sgd_args momentum = { 0, args->momentum, args->decay,
                                       args->grad_scale };
    int64_t rows = w.rows / slices;

    be->ops->sgd(be, view_of(w.data, 1, w.rows * w.cols),
                 view_of(g.data, 1, w.rows * w.cols),
                 view_of(m.data, 1, w.rows * w.cols), &momentum);
    for (int64_t s = 0; s < slices; s++) {
        struct view u = view_of(scratch->x, rows, w.cols);

        copy(be, u, view_rows(be, m, s * rows, rows), args->momentum);
        be->ops->add(be, u, view_rows(be, g, s * rows, rows), args->grad_scale);
        be->ops->add(be, view_rows(be, w, s * rows, rows),
                     muon_orthogonalise(be, u, scratch), -args->lr);
    }
}
