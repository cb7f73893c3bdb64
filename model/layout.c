#include "model/layout.h"

int64_t layout_ranks(const struct layout *l)
{
    return l->data * l->expert * l->tensor;
}

struct place layout_place(const struct layout *l, int64_t rank)
{
    return (struct place){
        .n = *l,
        .data = rank / l->tensor / l->expert,
        .expert = rank / l->tensor % l->expert,
        .tensor = rank % l->tensor,
    };
}

int64_t layout_rank(const struct place *p)
{
    return (p->data * p->n.expert + p->expert) * p->n.tensor + p->tensor;
}

int64_t layout_batch_parts(const struct layout *l)
{
    return l->data * l->expert;
}

int64_t layout_batch_part(const struct place *p)
{
    return p->data * p->n.expert + p->expert;
}

int64_t layout_cut(int64_t total, int64_t parts, int64_t i)
{
    /* total * i / parts without the product, which may overflow */
    return total / parts * i + total % parts * i / parts;
}

struct box layout_box(const struct place *place, const int64_t shape[3],
                      int cut, int is_expert)
{
    struct box b = { { 0, 0, 0 }, { shape[0], shape[1], shape[2] } };
    int axis = cut == CUT_ROWS ? 1 : 2;

    if (is_expert) {
        b.first[0] = layout_cut(shape[0], place->n.expert, place->expert);
        b.extent[0] = layout_cut(shape[0], place->n.expert, place->expert + 1) -
                      b.first[0];
    }
    if (cut != CUT_NONE) {
        b.first[axis] = layout_cut(shape[axis], place->n.tensor, place->tensor);
        b.extent[axis] =
            layout_cut(shape[axis], place->n.tensor, place->tensor + 1) -
            b.first[axis];
    }
    return b;
}

int64_t layout_max_share(const struct run_config *config,
                         const struct layout *l)
{
    int64_t parts = layout_batch_parts(l);

    return (config->train.batch + parts - 1) / parts;
}

int64_t layout_micro_batch(const struct run_config *config,
                           const struct layout *l)
{
    int64_t share = layout_max_share(config, l), B = config->train.micro_batch;

    return B && B < share ? B : share;
}
