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

int layout_resolve(const struct run_config *config, int64_t ranks,
                   int64_t memory_bytes, struct layout *out,
                   struct mup_error *err)
{
    const struct parallel_config *p = &config->parallel;
    struct layout l = { p->data, p->expert ? p->expert : 1,
                        p->tensor ? p->tensor : 1 };

    (void)memory_bytes;
    if (!l.data)
        l.data = ranks / (l.expert * l.tensor);
    if (layout_ranks(&l) != ranks)
        return mup_fail(err, MUP_USAGE,
                        "parallel.data %lld x parallel.expert %lld x "
                        "parallel.tensor %lld is not %lld ranks",
                        (long long)l.data, (long long)l.expert,
                        (long long)l.tensor, (long long)ranks);
    if (config_kv_heads(&config->model) % l.tensor)
        return mup_fail(err, MUP_USAGE,
                        "parallel.tensor %lld does not divide the %lld "
                        "key/value heads",
                        (long long)l.tensor,
                        (long long)config_kv_heads(&config->model));
    *out = l;
    return MUP_OK;
}
