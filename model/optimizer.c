#include "model/optimizer.h"

#include <math.h>

struct view optimizer_view(const struct model *m, struct view all,
                           int64_t first, int64_t count)
{
    return view_of(view_at(m->be, all, first), 1, count);
}

static void layout_muon(struct optimizer *o, const struct model *m,
                        struct arena *arena)
{
    size_t element = dtype_bytes(m->be->dtype);
    int64_t elements = 0, side = 0;

    for (int i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.list[i];
        int64_t least = p->rows < p->cols ? p->rows : p->cols;

        if (p->optimizer != MUP_MUON)
            continue;
        elements = p->rows * p->cols > elements ? p->rows * p->cols : elements;
        side = least > side ? least : side;
    }
    if (!elements)
        return;
    o->muon.x = arena_take(arena, (size_t)elements * element);
    o->muon.y = arena_take(arena, (size_t)elements * element);
    o->muon.a = arena_take(arena, (size_t)(side * side) * element);
    o->muon.b = arena_take(arena, (size_t)(side * side) * element);
}

void optimizer_layout(struct optimizer *o, const struct model *m,
                      const struct zero *z, struct arena *arena)
{
    size_t element = dtype_bytes(m->be->dtype), start = arena->used;

    o->moment =
        view_of(arena_take(arena, (size_t)z->total * element), 1, z->total);
    o->variance = (struct view){ 0 };
    if (z->second_total)
        o->variance =
            view_of(arena_take(arena, (size_t)z->second_total * element), 1,
                    z->second_total);
    layout_muon(o, m, arena);
    o->bytes = arena->used - start;
}

/* What an update of one tensor, or the part of it that is owned here, needs:
 * contiguous (1, count). */
struct tensor {
    const struct param *p;
    const struct zero_piece *piece;
    struct view w, g, m;
    double lr, decay; /* schedule included */
};

static void update_adam(struct optimizer *o, struct model *m,
                        const struct tensor *t,
                        const struct optimizer_step *step)
{
    const struct params *p = &m->params;
    const struct adamw_args args = {
        .lr = t->lr,
        .beta1 = p->beta1,
        .beta2 = p->beta2,
        .eps = t->p->eps,
        .decay = t->decay,
        .grad_scale = step->grad_scale,
        .correction1 = 1 - pow(p->beta1, (double)step->step + 1),
        .correction2 = 1 - pow(p->beta2, (double)step->step + 1),
        .atan2 = m->config.train.atan2,
    };

    m->be->ops->adamw(
        m->be, t->w, t->g, t->m,
        optimizer_view(m, o->variance, t->piece->second, t->w.cols), &args);
}

static void update_muon(struct optimizer *o, struct model *m,
                        const struct tensor *t,
                        const struct optimizer_step *step)
{
    const struct muon_args args = { t->lr, m->config.train.momentum, t->decay,
                                    step->grad_scale };
    int64_t unit = t->p->rows * t->p->cols;
    int64_t rows = t->w.cols / t->p->cols, cols = t->p->cols;

    muon_update(m->be, view_of(t->w.data, rows, cols),
                view_of(t->g.data, rows, cols), view_of(t->m.data, rows, cols),
                t->w.cols / unit, &args, &o->muon);
}

static void update(struct optimizer *o, struct model *m, const struct tensor *t,
                   const struct optimizer_step *step)
{
    const struct backend_ops *ops = m->be->ops;
    const struct train_config *c = &m->config.train;

    switch (t->p->optimizer) {
    case MUP_SGD:
        ops->sgd(m->be, t->w, t->g, t->m,
                 &(struct sgd_args){ t->lr, c->momentum, t->decay,
                                     step->grad_scale });
        break;
    case MUP_LION:
        ops->lion(m->be, t->w, t->g, t->m,
                  &(struct lion_args){ t->lr, m->params.beta1, m->params.beta2,
                                       t->decay, step->grad_scale });
        break;
    case MUP_MUON:
        update_muon(o, m, t, step);
        break;
    default:
        update_adam(o, m, t, step);
        break;
    }
}

void optimizer_update(struct optimizer *o, struct model *m,
                      const struct zero *z, const struct optimizer_step *step)
{
    for (int i = 0; i < z->n_pieces; i++) {
        const struct zero_piece *piece = &z->piece[i];
        const struct param *p = &m->params.list[piece->param];
        const struct tensor t = {
            .p = p,
            .piece = piece,
            .w = optimizer_view(m, m->all_weights, piece->first, piece->count),
            .g = optimizer_view(m, z->grads, piece->state, piece->count),
            .m = optimizer_view(m, o->moment, piece->state, piece->count),
            .lr = p->lr * step->schedule,
            .decay = p->shrink * step->schedule,
        };

        update(o, m, &t, step);
    }
}
