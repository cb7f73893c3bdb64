#include "model/zero.h"

#include <stdlib.h>
#include <string.h>

#include "model/layout_plan.h"

static struct comm *holders(const struct model *m, const struct zero_bucket *b)
{
    return ranks_holders(m->ranks, b->is_expert);
}

/* Tensors of one kind in the order of the flat arrays are those of the table;
 * buckets are filled from the last layer down. */
static int fill_buckets(const struct model *m, struct zero *z, int is_expert)
{
    int64_t element = (int64_t)dtype_bytes(m->be->dtype);
    struct zero_bucket *b = NULL;

    for (int i = m->params.n - 1; i >= 0; i--) {
        const struct param *p = &m->params.list[i];

        if (p->is_expert != is_expert)
            continue;
        if (!b ||
            (p->layer != b->layer && b->count * element >= LAYOUT_BUCKET_BYTES))
            b = &z->bucket[z->n_buckets++];
        b->is_expert = is_expert;
        b->layer = p->layer;
        b->first = p->first;
        b->count += p->count;
    }
    return z->n_buckets;
}

/* The end of the shares of the first i of n holders.  Muon wants whole
 * matrices: a cut within one is moved to its start. */
static int64_t cut(const struct model *m, const struct zero_bucket *b,
                   int64_t n, int64_t i)
{
    int64_t at = b->first + layout_cut(b->count, n, i);

    for (int j = 0; j < m->params.n && i < n; j++) {
        const struct param *p = &m->params.list[j];
        int64_t unit = p->box.extent[1] * p->box.extent[2];

        if (p->optimizer == MUP_MUON && unit > 0 && at > p->first &&
            at < p->first + p->count)
            return p->first + (at - p->first) / unit * unit;
    }
    return at;
}

static void share_out(const struct model *m, struct zero *z)
{
    int64_t *owned = z->owned;

    for (int i = 0; i < z->n_buckets; i++) {
        struct zero_bucket *b = &z->bucket[i];
        const struct comm *c = holders(m, b);

        b->owned = owned;
        for (int r = 0; r < c->size; r++)
            b->owned[r] = cut(m, b, c->size, r + 1) - cut(m, b, c->size, r);
        owned += c->size;
        b->own_first = cut(m, b, c->size, c->rank);
        b->state = z->total;
        b->scratch = z->scratch_total;
        z->total += b->owned[c->rank];
        z->scratch_total += b->owned[c->rank] * (c->size - 1);
    }
}

static void add_piece(struct zero *z, const struct model *m, int param,
                      const struct zero_bucket *b)
{
    const struct param *p = &m->params.list[param];
    int64_t end = b->own_first + b->owned[holders(m, b)->rank];
    int64_t lo = p->first > b->own_first ? p->first : b->own_first;
    int64_t hi = p->first + p->count < end ? p->first + p->count : end;
    struct zero_piece *piece = &z->piece[z->n_pieces];

    if (lo >= hi)
        return;
    *piece = (struct zero_piece){
        param, lo, lo - p->first, hi - lo, b->state + lo - b->own_first, -1
    };
    if (p->has_second) {
        piece->second = z->second_total;
        z->second_total += piece->count;
    }
    z->n_pieces++;
}

static void find_pieces(const struct model *m, struct zero *z)
{
    for (int i = 0; i < z->n_buckets; i++)
        for (int j = 0; j < m->params.n; j++)
            if (m->params.list[j].is_expert == z->bucket[i].is_expert)
                add_piece(z, m, j, &z->bucket[i]);
}

/* Buckets [from, to) were made from the last to the first. */
static void turn_round(struct zero *z, int from, int to)
{
    for (to--; from < to; from++, to--) {
        struct zero_bucket b = z->bucket[from];

        z->bucket[from] = z->bucket[to];
        z->bucket[to] = b;
    }
}

int zero_init(const struct model *m, struct zero *out, struct mup_error *err)
{
    size_t n = (size_t)m->params.n;
    size_t holders = (size_t)m->ranks->dense.size;
    struct zero z = { .bucket = calloc(n, sizeof(*z.bucket)),
                      .piece = calloc(2 * n, sizeof(*z.piece)),
                      .owned = calloc(n * holders, sizeof(*z.owned)) };
    int dense;

    if (!z.bucket || !z.piece || !z.owned) {
        zero_clear(&z);
        return mup_fail(err, MUP_SYSTEM, "out of memory for the shares");
    }
    dense = fill_buckets(m, &z, 0);
    fill_buckets(m, &z, 1);
    turn_round(&z, 0, dense);
    turn_round(&z, dense, z.n_buckets);
    share_out(m, &z);
    find_pieces(m, &z);
    *out = z;
    return MUP_OK;
}

void zero_clear(struct zero *z)
{
    free(z->owned);
    free(z->bucket);
    free(z->piece);
    memset(z, 0, sizeof(*z));
}

void zero_layout(struct zero *z, const struct model *m, struct arena *arena)
{
    size_t element = dtype_bytes(m->be->dtype);

    z->grads = m->all_grads;
    z->scratch = (struct view){ 0 };
    if (m->ranks->all.size == 1)
        return;
    z->grads =
        view_of(arena_take(arena, (size_t)z->total * element), 1, z->total);
    z->scratch = view_of(arena_take(arena, (size_t)z->scratch_total * element),
                         1, z->scratch_total);
}

static void tell(const struct zero *z, int bucket, int moment)
{
    if (z->watch.bucket)
        z->watch.bucket(z->watch.context, bucket, moment);
}

static void reduce(struct zero *z, struct model *m, int bucket)
{
    struct zero_bucket *b = &z->bucket[bucket];

    tell(z, bucket, ZERO_COMPUTED);
    for (int i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.list[i];

        if (p->partial && p->is_expert == b->is_expert &&
            p->first >= b->first && p->first < b->first + b->count)
            comm_all_reduce(&m->ranks->tensor, m->grad[i].data, p->count,
                            model_comm_type(m));
    }
    tell(z, bucket, ZERO_LEAVES);
    comm_reduce_scatter(holders(m, b), view_at(m->be, z->grads, b->state),
                        view_at(m->be, m->all_grads, b->first), b->owned,
                        model_comm_type(m),
                        view_at(m->be, z->scratch, b->scratch), &b->request);
}

void zero_reduce(struct zero *z, struct model *m, int64_t layer)
{
    for (int i = z->n_buckets - 1; i >= 0; i--)
        if (z->bucket[i].layer == layer)
            reduce(z, m, i);
    comm_progress(&m->ranks->dense);
}

void zero_recompute(struct zero *z, int64_t layer)
{
    for (int i = z->n_buckets - 1; i >= 0; i--)
        if (z->bucket[i].layer == layer)
            tell(z, i, ZERO_COMPUTED);
}

void zero_finish(struct zero *z, struct model *m)
{
    for (int i = z->n_buckets - 1; i >= 0; i--)
        comm_wait(holders(m, &z->bucket[i]), &z->bucket[i].request);
}

double zero_sum_squares(const struct zero *z, const struct model *m)
{
    double sum = 0;

    for (int i = 0; i < z->n_pieces; i++) {
        const struct zero_piece *piece = &z->piece[i];
        double squares = 0;

        /* all ranks along `tensor` hold it, and its whole gradient */
        if (m->params.list[piece->param].cut == CUT_NONE &&
            m->ranks->place.tensor > 0)
            continue;
        m->be->ops->sum_squares(
            m->be, &squares,
            view_of(view_at(m->be, z->grads, piece->state), 1, piece->count));
        sum += squares;
    }
    return sum;
}

void zero_gather(struct zero *z, struct model *m)
{
    for (int i = 0; i < z->n_buckets; i++)
        comm_all_gather(holders(m, &z->bucket[i]),
                        view_at(m->be, m->all_weights, z->bucket[i].first),
                        z->bucket[i].owned, model_comm_type(m),
                        &z->bucket[i].request);
    zero_finish(z, m);
}
