#include "model/exchange.h"

#include <string.h>

void exchange_counts(struct model *m, struct block_state *s)
{
    struct comm *c = &m->ranks->expert;
    struct comm_request request = { 0 };
    int64_t *counts = m->exchange_rows;
    int32_t *own = s->counts + c->rank * m->E;

    for (int64_t e = 0; e < m->E; e++)
        own[e] = s->offset[e + 1] - s->offset[e];
    for (int i = 0; i < c->size; i++)
        counts[i] = m->E;
    comm_all_gather(c, s->counts, counts, COMM_I32, &request);
    comm_wait(c, &request);
    /* after a lost message: no rows, rather than wild ones */
    if (c->size > 1 && c->world->status)
        memset(s->counts, 0, (size_t)(c->size * m->E) * sizeof(*s->counts));
    s->held[0] = 0;
    for (int64_t x = 0; x < m->X; x++) {
        s->held[x + 1] = s->held[x];
        for (int i = 0; i < c->size; i++)
            s->held[x + 1] += s->counts[i * m->E + m->first_expert + x];
    }
}

/* Messages of the x-th expert of every rank, in elements: tokens' side first,
 * then the experts'. */
static struct comm_rows rows_of(struct model *m, const struct block_state *s,
                                int64_t x)
{
    const struct place *p = &m->ranks->place;
    int64_t ranks = p->n.expert, at = x < m->X ? s->held[x] : 0;
    int64_t *list = m->exchange_rows;
    const struct comm_rows rows = { list, list + ranks, list + 2 * ranks,
                                    list + 3 * ranks };

    for (int64_t i = 0; i < ranks; i++) {
        int64_t e = layout_cut(m->E, ranks, i) + x;
        int theirs = e < layout_cut(m->E, ranks, i + 1);
        int64_t n = 0;

        if (x < m->X)
            n = s->counts[i * m->E + m->first_expert + x];
        list[i] = theirs ? (s->offset[e + 1] - s->offset[e]) * m->D : 0;
        list[ranks + i] = theirs ? s->offset[e] * m->D : 0;
        list[2 * ranks + i] = n * m->D;
        list[3 * ranks + i] = at * m->D;
        at += n;
    }
    return rows;
}

static void exchange(struct model *m, const struct block_state *s,
                     struct view tokens, struct view experts, int back)
{
    struct comm *c = &m->ranks->expert;
    int64_t slots = (m->E + c->size - 1) / c->size;

    for (int64_t x = 0; x < slots; x++) {
        struct comm_rows r = rows_of(m, s, x);
        const struct comm_rows reverse = { r.recv_count, r.recv_first,
                                           r.send_count, r.send_first };

        if (back)
            comm_all_to_all(c, tokens.data, experts.data, &reverse,
                            model_comm_type(m), &m->exchange[x]);
        else
            comm_all_to_all(c, experts.data, tokens.data, &r,
                            model_comm_type(m), &m->exchange[x]);
    }
    for (int64_t x = 0; x < slots; x++)
        comm_wait(c, &m->exchange[x]);
}

struct view exchange_to_experts(struct model *m, const struct block_state *s,
                                struct view to, struct view rows)
{
    struct view held = to;

    if (m->ranks->expert.size == 1)
        return rows;
    held.rows = s->held[m->X];
    exchange(m, s, rows, held, 0);
    return held;
}

void exchange_to_tokens(struct model *m, const struct block_state *s,
                        struct view rows, struct view from)
{
    if (m->ranks->expert.size > 1)
        exchange(m, s, rows, from, 1);
}
