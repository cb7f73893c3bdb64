#include "model/guard.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The groups that hold something in common, as digests count them. */
enum { OF_DATA, OF_DENSE, OF_TENSOR, N_GROUPS };

const char *guard_kind_name(int kind)
{
    static const char *const names[] = { "weight", "m", "v", "grad", "table" };

    return names[kind];
}

const char *guard_by_name(int by)
{
    static const char *const names[] = { "seal", "replicas", "execution" };

    return names[by];
}

/* --- what is sealed --- */

/* Tensors bucket by bucket: their gradients, and the weights in that order. */
static int add_tensors(struct guard *g, struct mup_error *err)
{
    const struct model *m = g->model;
    size_t element = dtype_bytes(m->be->dtype);
    int rc = MUP_OK;

    g->experts = -1;
    for (int b = 0; b < g->zero->n_buckets; b++) {
        const struct zero_bucket *bucket = &g->zero->bucket[b];

        g->bucket[b] = g->grad.n;
        if (bucket->is_expert && g->experts < 0)
            g->experts = g->weight.n;
        for (int i = 0; !rc && i < m->params.n; i++) {
            const struct param *p = &m->params.list[i];
            struct seal_range r = { view_at(g->model->be, m->all_weights,
                                            p->first),
                                    element, i, 0, p->count };

            if (p->is_expert != bucket->is_expert || p->first < bucket->first ||
                p->first >= bucket->first + bucket->count)
                continue;
            rc = seals_add(&g->weight, &r, err);
            r.data = view_at(g->model->be, m->all_grads, p->first);
            if (!rc)
                rc = seals_add(&g->grad, &r, err);
        }
    }
    g->bucket[g->zero->n_buckets] = g->grad.n;
    g->table = g->weight.n;
    if (g->experts < 0)
        g->experts = g->table;
    return rc ? rc
              : seals_add(&g->weight,
                          &(struct seal_range){ m->rope.data, element, -1, 0,
                                                m->rope.rows * m->rope.cols },
                          err);
}

static int add_pieces(struct guard *g, struct mup_error *err)
{
    const struct model *m = g->model;
    const struct zero *z = g->zero;
    int rc = MUP_OK;

    for (int i = 0; !rc && i < z->n_pieces; i++) {
        const struct zero_piece *p = &z->piece[i];
        struct seal_range r = {
            view_at(g->model->be, g->optimizer->moment, p->state),
            dtype_bytes(m->be->dtype), p->param, p->offset, p->count
        };

        rc = seals_add(&g->m, &r, err);
        r.data = view_at(g->model->be, z->grads, p->state);
        if (!rc)
            rc = seals_add(&g->share, &r, err);
        r.data = view_at(g->model->be, m->all_weights, p->first);
        if (!rc && m->ranks->all.size > 1)
            rc = seals_add(&g->own, &r, err);
        if (p->second < 0)
            continue;
        r.data = view_at(g->model->be, g->optimizer->variance, p->second);
        if (!rc)
            rc = seals_add(&g->v, &r, err);
    }
    return rc;
}

static int take_memory(struct guard *g, struct mup_error *err)
{
    size_t ranks = (size_t)g->model->ranks->all.size;
    size_t most = (size_t)(g->weight.n + 1), grads = (size_t)(g->grad.n + 1);

    for (int i = 0; i < 3; i++)
        g->again[i] = calloc(grads, sizeof(uint64_t));
    g->findings = calloc(ranks, sizeof(*g->findings));
    g->words = calloc(ranks, sizeof(*g->words));
    g->hashes = calloc(ranks * most, sizeof(*g->hashes));
    g->counts = calloc(ranks, sizeof(*g->counts));
    if (!g->again[0] || !g->again[1] || !g->again[2] || !g->findings ||
        !g->words || !g->hashes || !g->counts)
        return mup_fail(err, MUP_SYSTEM, "out of memory for hashes");
    return MUP_OK;
}

int guard_open(struct guard *g, struct model *m, struct zero *z,
               struct optimizer *o, struct mup_error *err)
{
    int rc;

    *g = (struct guard){ .model = m,
                         .zero = z,
                         .optimizer = o,
                         .every = m->config.run.verify_every,
                         .execution = -1 };
    g->bucket = calloc((size_t)z->n_buckets + 1, sizeof(*g->bucket));
    if (!g->bucket)
        return mup_fail(err, MUP_SYSTEM, "out of memory for hashes");
    rc = add_tensors(g, err);
    if (!rc)
        rc = add_pieces(g, err);
    if (!rc)
        rc = take_memory(g, err);
    node_name(g->finding.host);
    return rc;
}

void guard_close(struct guard *g)
{
    struct seals *all[] = { &g->weight, &g->own,  &g->m,
                            &g->v,      &g->grad, &g->share };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        seals_clear(all[i]);
    for (int i = 0; i < 3; i++)
        free(g->again[i]);
    free(g->bucket);
    free(g->findings);
    free(g->words);
    free(g->hashes);
    free(g->counts);
    memset(g, 0, sizeof(*g));
}

/* --- findings --- */

/* The first one counts: others may follow from it. */
static void report(struct guard *g, const struct seal *s, int kind, int by)
{
    struct guard_finding *f = &g->finding;

    if (f->found)
        return;
    f->found = 1;
    f->by = by;
    f->kind = s->param < 0 ? GUARD_TABLE : kind;
    f->rank = g->model->ranks->all.rank;
    f->param = s->param;
    f->wrong = 0;
    f->chunk = s->first / SEAL_CHUNK;
    f->first = s->first;
}

static void verify(struct guard *g, const struct seals *s, int kind)
{
    int64_t i = seals_broken(s, 0, s->n);

    if (i >= 0)
        report(g, &s->list[i], kind, GUARD_SEAL);
}

/* --- a step --- */

int guard_looks(const struct guard *g, int64_t step)
{
    return g->every > 0 && (step + 1) % g->every == 0;
}

void guard_begin(struct guard *g, int64_t step)
{
    g->execution = guard_looks(g, step) ? 0 : -1;
}

void guard_bucket(struct guard *g, int bucket, int moment)
{
    int64_t from = g->bucket[bucket], to = g->bucket[bucket + 1];

    if (moment == ZERO_COMPUTED && g->execution >= 0)
        for (int64_t i = from; i < to; i++)
            g->again[g->execution][i] = seal_hash(&g->grad.list[i]);
    else if (moment == ZERO_LEAVES)
        seals_take(&g->grad, from, to);
}

/* Alone, gradients stay where they are until they are used. */
static int is_alone(const struct guard *g)
{
    return g->model->ranks->all.size == 1;
}

void guard_reduced(struct guard *g)
{
    if (is_alone(g))
        return;
    verify(g, &g->grad, GUARD_GRAD);
    seals_take(&g->share, 0, g->share.n);
}

void guard_verify(struct guard *g)
{
    verify(g, &g->weight, GUARD_WEIGHT);
    verify(g, &g->m, GUARD_M);
    verify(g, &g->v, GUARD_V);
}

void guard_used(struct guard *g)
{
    verify(g, is_alone(g) ? &g->grad : &g->share, GUARD_GRAD);
}

void guard_updated(struct guard *g)
{
    guard_used(g);
    seals_take(&g->own, 0, g->own.n);
    seals_take(&g->m, 0, g->m.n);
    seals_take(&g->v, 0, g->v.n);
}

void guard_gathered(struct guard *g)
{
    verify(g, &g->own, GUARD_WEIGHT);
    seals_take(&g->weight, 0, g->weight.n);
}

void guard_seal(struct guard *g)
{
    seals_take(&g->weight, 0, g->weight.n);
    seals_take(&g->m, 0, g->m.n);
    seals_take(&g->v, 0, g->v.n);
}

/* --- the same gradients again --- */

int guard_differs(struct guard *g)
{
    uint64_t differ = memcmp(g->again[0], g->again[1],
                             (size_t)g->grad.n * sizeof(*g->again[0])) != 0;

    comm_all_reduce(&g->model->ranks->all, &differ, 1, COMM_U64);
    return differ != 0;
}

void guard_decide(struct guard *g)
{
    for (int64_t i = 0; i < g->grad.n; i++) {
        const uint64_t h[3] = { g->again[0][i], g->again[1][i],
                                g->again[2][i] };
        int odd = seal_majority(h, 3, 1);

        if (odd == SEAL_AGREE)
            continue;
        report(g, &g->grad.list[i], GUARD_GRAD, GUARD_EXECUTION);
        if (g->finding.by == GUARD_EXECUTION)
            g->finding.wrong = odd == SEAL_OPEN ? 0 : odd + 1;
        return;
    }
}

/* --- replicas --- */

static struct comm *group_of(struct guard *g, int group)
{
    struct ranks *r = g->model->ranks;

    return group == OF_DATA    ? &r->data
           : group == OF_DENSE ? &r->dense
                               : &r->tensor;
}

/* Is seal i of the weights held by a group in common? */
static int in_common(const struct guard *g, int group, int64_t i)
{
    if (group == OF_TENSOR)
        return g->model->params.list[g->weight.list[i].param].cut == CUT_NONE;
    return (i >= g->experts) == (group == OF_DATA);
}

/* Hashes of what a group holds in common, at out; their number. */
static int64_t common(const struct guard *g, int group, uint64_t *out)
{
    int64_t n = 0;

    for (int64_t i = 0; i < g->table; i++)
        if (in_common(g, group, i))
            out[n++] = g->weight.list[i].hash;
    return n;
}

static void digest(struct guard *g, struct guard_word *word)
{
    for (int group = 0; group < N_GROUPS; group++) {
        int64_t n = common(g, group, g->hashes);

        word->digest[group] =
            XXH3_64bits(g->hashes, (size_t)n * sizeof(*g->hashes));
    }
}

/* The first of all ranks that hold what rank a holds of a group's things. */
static int64_t first_replica(const struct layout *n, int group, int64_t a)
{
    struct place p = layout_place(n, a);

    if (group == OF_TENSOR)
        p.tensor = 0;
    else
        p.data = 0;
    if (group == OF_DENSE)
        p.expert = 0;
    return layout_rank(&p);
}

/* From all ranks' words, so all answer alike. */
static int replicas_differ(const struct guard *g)
{
    const struct ranks *r = g->model->ranks;

    for (int64_t a = 0; a < r->all.size; a++)
        for (int group = 0; group < N_GROUPS; group++)
            if (g->words[a].digest[group] !=
                g->words[first_replica(&r->place.n, group, a)].digest[group])
                return 1;
    return 0;
}

static int64_t seal_of(const struct guard *g, int group, int64_t number)
{
    int64_t i = 0;

    for (; i < g->table; i++)
        if (in_common(g, group, i) && number-- == 0)
            break;
    return i;
}

/* Each member's number among all ranks, then its hashes. */
static int64_t gather_hashes(struct guard *g, int group)
{
    struct comm *c = group_of(g, group);
    struct comm_request request = { 0 };
    uint64_t *own;
    int64_t n = common(g, group, g->hashes) + 1;

    own = g->hashes + c->rank * n;
    own[0] = (uint64_t)g->model->ranks->all.rank;
    (void)common(g, group, own + 1);
    for (int i = 0; i < c->size; i++)
        g->counts[i] = n;
    comm_all_gather(c, g->hashes, g->counts, COMM_U64, &request);
    comm_wait(c, &request);
    return n;
}

/* Who of a group is alone with what it holds. */
static void look_closer(struct guard *g, int group, int64_t step)
{
    struct comm *c = group_of(g, group);
    int64_t n = gather_hashes(g, group);

    for (int64_t k = 1; k < n && !g->finding.found; k++) {
        int odd = seal_majority(g->hashes + k, c->size, n);
        int64_t i;

        if (odd == SEAL_AGREE)
            continue;
        i = seal_of(g, group, k - 1);
        report(g, &g->weight.list[i], GUARD_WEIGHT, GUARD_REPLICAS);
        g->finding.rank = odd < 0 ? -1 : (int32_t)g->hashes[odd * n];
        if (odd == SEAL_OPEN)
            g->dispute =
                (struct guard_dispute){ 1, step, i, g->weight.list[i].hash };
        return;
    }
}

/* --- all together --- */

static void gather(struct guard *g, void *data, size_t bytes)
{
    struct comm *all = &g->model->ranks->all;
    struct comm_request request = { 0 };

    for (int i = 0; i < all->size; i++)
        g->counts[i] = (int64_t)(bytes / sizeof(uint64_t));
    comm_all_gather(all, data, g->counts, COMM_U64, &request);
    comm_wait(all, &request);
}

/* A seal knows for certain, a replica that is found out too; an execution may
 * have gone wrong by what another rank sent. */
static const struct guard_finding *choose(const struct guard *g)
{
    const struct guard_finding *best = NULL;

    for (int i = 0; i < g->model->ranks->all.size; i++) {
        const struct guard_finding *f = &g->findings[i];

        if (f->found && (!best || f->by < best->by ||
                         (f->by == best->by && best->rank < 0 && f->rank >= 0)))
            best = f;
    }
    return best;
}

int guard_agree(struct guard *g, int64_t step, struct guard_finding *out)
{
    struct ranks *r = g->model->ranks;
    struct guard_word *own = &g->words[r->all.rank];
    const struct guard_finding *best;
    uint64_t found = 0;

    own->found = (uint64_t)g->finding.found;
    digest(g, own);
    gather(g, g->words, sizeof(*g->words));
    for (int i = 0; i < r->all.size; i++)
        found += g->words[i].found;
    if (r->world.status || (!found && !replicas_differ(g)))
        return 0;
    for (int group = 0; !found && group < N_GROUPS; group++)
        look_closer(g, group, step);
    g->findings[r->all.rank] = g->finding;
    gather(g, g->findings, sizeof(*g->findings));
    g->finding.found = 0;
    best = choose(g);
    if (r->world.status || !best)
        return 0;
    *out = *best;
    out->alike = 0;
    for (int i = 0; i < r->all.size; i++)
        out->alike += g->findings[i].found && g->findings[i].by == best->by;
    if (out->rank >= 0)
        memcpy(out->host, g->findings[out->rank].host, sizeof(out->host));
    else if (!g->dispute.open || g->dispute.step != step)
        g->dispute = (struct guard_dispute){ 1, step, -1, 0 };
    return 1;
}

int guard_verdict(struct guard *g, int64_t step)
{
    struct ranks *r = g->model->ranks;
    struct guard_word *own = &g->words[r->all.rank];
    const struct guard_dispute *d = &g->dispute;
    int wrong = -1;

    if (!d->open || d->step != step)
        return -1;
    own->found = d->at >= 0 && g->weight.list[d->at].hash != d->hash;
    gather(g, g->words, sizeof(*g->words));
    for (int i = 0; i < r->all.size && wrong < 0; i++)
        if (g->words[i].found)
            wrong = i;
    g->dispute.open = 0;
    return wrong;
}
