#include "model/layout_plan.h"

#include <math.h>

#include "model/trainer.h"

/* A question with what follows from it at once. */
struct work {
    const struct layout_subject *s;
    const struct place *place;
    double element; /* bytes */
    double tokens;  /* of this rank in a step */
};

/* Tensors [first, last) of the table, of one kind, exchanged at once. */
struct bucket {
    int first, last;
    int is_expert;
};

/* The part of the tensors of one kind that this rank owns, as zero.c shares
 * them out. */
struct share {
    int64_t peers, part; /* how many have a part, and which is ours */
    int64_t held;        /* elements of weights and gradients here */
    int64_t own, second; /* updated here, with a second moment */
    int64_t buckets;
    double scattered, gathered; /* elements sent in a step */
};

struct place layout_last(const struct layout *l)
{
    return layout_place(l, layout_ranks(l) - 1);
}

/* What the rank holds of tensor i. */
static struct box box_of(const struct work *w, int i)
{
    const struct param *p = &w->s->params->list[i];
    const int64_t shape[3] = { p->slices, p->rows, p->cols };

    return layout_box(w->place, shape, p->cut, p->is_expert);
}

static int64_t held(const struct work *w, int i)
{
    struct box b = box_of(w, i);

    return b.extent[0] * b.extent[1] * b.extent[2];
}

/* Elements of [a, a + n) that lie in [low, high). */
static int64_t overlap(int64_t a, int64_t n, int64_t low, int64_t high)
{
    int64_t from = a > low ? a : low;
    int64_t to = a + n < high ? a + n : high;

    return to > from ? to - from : 0;
}

static int64_t bucket_elements(const struct work *w, const struct bucket *b)
{
    int64_t n = 0;

    for (int i = b->first; i < b->last; i++)
        if (w->s->params->list[i].is_expert == b->is_expert)
            n += held(w, i);
    return n;
}

/* Where the shares of the first i holders of a bucket end; Muon's not within
 * a matrix. */
static int64_t share_end(const struct work *w, const struct bucket *b,
                         const struct share *s, int64_t i)
{
    int64_t end = layout_cut(bucket_elements(w, b), s->peers, i), at = 0;

    if (w->s->config->train.optimizer != MUP_MUON || i == s->peers)
        return end;
    for (int j = b->first; j < b->last; j++) {
        const struct param *p = &w->s->params->list[j];
        struct box box = box_of(w, j);
        int64_t unit = box.extent[1] * box.extent[2];

        if (p->is_expert != b->is_expert)
            continue;
        if (p->optimizer == MUP_MUON && end > at &&
            end < at + unit * box.extent[0])
            return at + (end - at) / unit * unit;
        at += unit * box.extent[0];
    }
    return end;
}

static void add_bucket(const struct work *w, const struct bucket *b,
                       struct share *s)
{
    int64_t low = share_end(w, b, s, s->part), at = 0;
    int64_t high = share_end(w, b, s, s->part + 1);
    int any = 0;

    for (int i = b->first; i < b->last; i++) {
        const struct param *p = &w->s->params->list[i];
        int64_t n;

        if (p->is_expert != b->is_expert)
            continue;
        n = held(w, i);
        if (p->has_second)
            s->second += overlap(at, n, low, high);
        at += n;
        any = 1;
    }
    s->held += at;
    s->own += high - low;
    s->buckets += any;
    s->scattered += (double)(at - (high - low));
    s->gathered += (double)(high - low) * (double)(s->peers - 1);
}

/* First tensor of layer l; l = layers is what follows the last one. */
static int first_of(const struct params *p, int64_t l, int64_t layers)
{
    return l < 0 ? 0 : l == layers ? p->norm_final : p->block[l].norm_attn_in;
}

/* From the last layer to the first, the order in which gradients are done. */
static struct share share_of(const struct work *w, int experts)
{
    const struct place *at = w->place;
    const struct params *p = w->s->params;
    const int64_t L = w->s->config->model.layers;
    struct share s = { experts ? at->n.data : layout_batch_parts(&at->n),
                       experts ? at->data : layout_batch_part(at) };
    struct bucket b = { p->n, p->n, experts };

    for (int64_t l = L; l >= -1; l--) {
        b.first = first_of(p, l, L);
        if (l >= 0 && (double)bucket_elements(w, &b) * w->element <
                          (double)LAYOUT_BUCKET_BYTES)
            continue;
        add_bucket(w, &b, &s);
        b.last = b.first;
    }
    return s;
}

static void count(struct layout_plan *out, int cause, int kind, int peers,
                  const double calls_bytes[2])
{
    out->calls[cause][kind] += calls_bytes[0];
    out->bytes[cause][kind] += calls_bytes[0] > 0 ? calls_bytes[1] : 0;
    out->peer_bytes[cause][peers] += calls_bytes[0] > 0 ? calls_bytes[1] : 0;
}

/* What a rank sends of an all-reduce of n elements, as comm.c counts it. */
static double reduced(const struct work *w, double n)
{
    const double t = (double)w->place->n.tensor;

    return floor(2 * n * (t - 1) / t) * w->element;
}

/* All-reduces of the tensor group in one pass over so many sequences.
 * Forward: (N,D) behind the embedding, attention and experts; partial sums
 * (N,t) and targets (N,1) of the cross-entropy.  Backward: (N,D) before
 * attention, experts and unembedding, (N,k) of the gates. */
static void count_pass(const struct work *w, double passes, double sequences,
                       struct layout_plan *out)
{
    const struct model_config *m = &w->s->config->model;
    const double L = (double)m->layers, N = sequences * (double)m->seq;
    const double bytes = (2 + 4 * L) * reduced(w, N * (double)m->width) +
                         reduced(w, N * (double)w->place->n.tensor) +
                         reduced(w, N) + L * reduced(w, N * (double)m->top_k);
    const double n[2] = { passes * (4 + 5 * L), passes * bytes };

    if (sequences > 0)
        count(out, LAYOUT_TENSOR, COMM_ALL_REDUCE, LAYOUT_PEERS_TENSOR, n);
}

/* Gains of heads are whole everywhere, but each rank has seen its own heads:
 * their gradients add up. */
static void count_tensor(const struct work *w, struct layout_plan *out)
{
    const int64_t B = layout_micro_batch(w->s->config, &w->place->n);
    const int64_t whole = out->sequences / B;

    if (w->place->n.tensor <= 1)
        return;
    count_pass(w, (double)whole, (double)B, out);
    count_pass(w, 1, (double)(out->sequences % B), out);
    for (int i = 0; i < w->s->params->n; i++) {
        const double n[2] = { 1, reduced(w, (double)held(w, i)) };

        if (w->s->params->list[i].partial)
            count(out, LAYOUT_TENSOR, COMM_ALL_REDUCE, LAYOUT_PEERS_TENSOR, n);
    }
}

/* Four exchanges a layer: rows to their experts, what those make of them back,
 * and the same for the gradients; each is one all-to-all for the first expert
 * of every rank, one for the second, ...  The router decides what leaves;
 * (e - 1) / e does on average. */
static void count_rows(const struct work *w, struct layout_plan *out)
{
    const struct model_config *m = &w->s->config->model;
    const double e = (double)w->place->n.expert, L = (double)m->layers;
    const double rows = w->tokens * (double)m->top_k;
    const double passes = (double)out->passes;
    const double slots = ceil((double)m->experts / e);
    const double n[2] = { passes * 4 * L * slots,
                          4 * L * rows * (double)m->width * w->element *
                              (e - 1) / e };
    const double counts[2] = {
        passes * L, passes * L * (e - 1) * (double)m->experts * sizeof(int32_t)
    };

    if (e <= 1)
        return;
    count(out, LAYOUT_ROWS, COMM_ALL_TO_ALL, LAYOUT_PEERS_EXPERT, n);
    count(out, LAYOUT_SMALL, COMM_ALL_GATHER, LAYOUT_PEERS_EXPERT, counts);
}

static void count_share(const struct work *w, const struct share *s, int peers,
                        struct layout_plan *out)
{
    const double buckets = (double)s->buckets;
    const double scatter[2] = { buckets, s->scattered * w->element };
    const double gather[2] = { buckets, s->gathered * w->element };

    if (s->peers <= 1)
        return;
    count(out, LAYOUT_GRADIENTS, COMM_REDUCE_SCATTER, peers, scatter);
    count(out, LAYOUT_WEIGHTS, COMM_ALL_GATHER, peers, gather);
}

static void count_traffic(const struct work *w, const struct share share[2],
                          struct layout_plan *out)
{
    const double ranks = (double)layout_ranks(&w->place->n);
    const double step[2] = { 1, (ranks - 1) * sizeof(struct trainer_report) };

    count_tensor(w, out);
    count_rows(w, out);
    count_share(w, &share[0], LAYOUT_PEERS_DENSE, out);
    count_share(w, &share[1], LAYOUT_PEERS_DATA, out);
    if (ranks > 1)
        count(out, LAYOUT_SMALL, COMM_ALL_GATHER, LAYOUT_PEERS_ALL, step);
}

/* Bytes of n elements as the arena hands them out. */
static double taken(const struct work *w, int64_t n)
{
    struct arena a = { 0 };

    arena_take(&a, (size_t)n * (size_t)w->element);
    return (double)a.used;
}

/* Muon works on whole matrices: two of the largest, two of its short side. */
static double muon_bytes(const struct work *w)
{
    const struct params *p = w->s->params;
    int64_t elements = 0, side = 0;

    for (int i = 0; i < p->n; i++) {
        const struct param *t = &p->list[i];
        int64_t least = t->rows < t->cols ? t->rows : t->cols;

        if (t->optimizer != MUP_MUON)
            continue;
        elements = t->rows * t->cols > elements ? t->rows * t->cols : elements;
        side = least > side ? least : side;
    }
    return 2 * taken(w, elements) + 2 * taken(w, side * side);
}

/* Experts here. */
static int64_t experts_of(const struct work *w)
{
    int64_t E = w->s->config->model.experts;
    const struct place *at = w->place;

    return layout_cut(E, at->n.expert, at->expert + 1) -
           layout_cut(E, at->n.expert, at->expert);
}

/* Activations of a model with `layers` blocks and this rank's sizes, as
 * model.c lays them out (set_sizes there). */
static double pass_bytes(const struct work *w, int64_t layers, double rows)
{
    const struct run_config *c = w->s->config;
    struct ranks ranks = { .place = *w->place };
    const struct place *at = w->place;
    struct backend be = { .dtype = w->s->dtype };
    struct block_state block[2];
    struct arena arena = { 0 };
    struct model m = {
        .be = &be, .ranks = &ranks, .config = *c, .block = block, .L = layers
    };

    m.B = m.max_batch = layout_micro_batch(c, &at->n);
    m.T = c->model.seq;
    m.D = c->model.width;
    m.K = c->model.head_size;
    m.G = config_kv_heads(&c->model) / at->n.tensor;
    m.H = m.G * c->model.kv_group;
    m.F = layout_cut(config_ffn(&c->model), at->n.tensor, at->tensor + 1) -
          layout_cut(config_ffn(&c->model), at->n.tensor, at->tensor);
    m.V = layout_cut(c->model.vocab, at->n.tensor, at->tensor + 1) -
          layout_cut(c->model.vocab, at->n.tensor, at->tensor);
    m.E = c->model.experts;
    m.X = experts_of(w);
    m.k = c->model.top_k;
    /* more rows than any arena holds count as that many */
    m.S = rows < (double)ARENA_LIMIT / 4 ? (int64_t)rows
                                         : (int64_t)ARENA_LIMIT / 4;
    model_layout(&m, &arena);
    return (double)m.activation_bytes;
}

/* What trainer.c takes beside the model. */
static double report_bytes(const struct work *w)
{
    const struct model_config *m = &w->s->config->model;
    const size_t ranks = (size_t)layout_ranks(&w->place->n);
    const size_t E = (size_t)m->experts;
    const size_t N =
        (size_t)(layout_micro_batch(w->s->config, &w->place->n) * m->seq);
    struct arena a = { 0 };

    arena_take(&a, N * sizeof(int32_t));
    arena_take(&a, N * sizeof(int32_t));
    arena_take(&a, N * E * sizeof(double));
    arena_take(&a, (E + 4) * sizeof(double));
    arena_take(&a, ranks * sizeof(struct trainer_report));
    arena_take(&a, ranks * sizeof(int64_t));
    return (double)a.used;
}

/* Blocks are alike: two tell what all need. */
static double activation_bytes(const struct work *w, double rows)
{
    const double L = (double)w->s->config->model.layers;
    const double one = pass_bytes(w, 1, rows), two = pass_bytes(w, 2, rows);

    return one + (L - 1) * (two - one) + report_bytes(w);
}

static struct layout_memory memory_of(const struct work *w,
                                      const struct share share[2], double rows)
{
    const int64_t held = share[0].held + share[1].held;
    const int64_t own = share[0].own + share[1].own;
    const int64_t second = share[0].second + share[1].second;
    struct layout_memory m = { 0 };

    m.weights = m.gradients = taken(w, held);
    m.optimizer = taken(w, own) + (second ? taken(w, second) : 0);
    m.staging = taken(w, own) + m.optimizer;
    if (w->s->config->train.optimizer == MUP_MUON)
        m.optimizer += muon_bytes(w);
    m.activations = activation_bytes(w, rows);
    /* own sums, and the parts of others that come to be added */
    if (layout_ranks(&w->place->n) > 1)
        m.exchange = taken(w, own) +
                     taken(w, (int64_t)(share[0].gathered + share[1].gathered));
    return m;
}

/* 6 FLOP per matrix element and token, forward and backward; an expert sees
 * k / E of the tokens of its whole group; attention is causal. */
static double flops_of(const struct work *w)
{
    const struct run_config *c = w->s->config;
    const struct params *p = w->s->params;
    const struct place *at = w->place;
    const int64_t parts = layout_batch_parts(&at->n), e = at->n.expert;
    const double T = (double)c->model.seq;
    const double sequences =
        (double)(layout_cut(c->train.batch, parts, (at->data + 1) * e) -
                 layout_cut(c->train.batch, parts, at->data * e));
    const double routed =
        sequences * T * (double)c->model.top_k / (double)c->model.experts;
    const double width = (double)c->model.width / (double)at->n.tensor;
    double flops = (double)c->model.layers * 6 * T * width * w->tokens;

    for (int i = 0; i < p->n; i++)
        if (i != p->embed || c->model.tied)
            flops += 6 * (double)held(w, i) *
                     (p->list[i].is_expert ? routed : w->tokens);
    return flops;
}

static void idle_of(const struct work *w, struct layout_plan *out)
{
    const struct run_config *c = w->s->config;
    const struct layout *n = &w->place->n;
    const int64_t E = c->model.experts, most = (E + n->expert - 1) / n->expert;
    const double share = (double)layout_max_share(c, n);

    out->even_flops = model_flops_per_sequence(w->s->params, &c->model) *
                      (double)c->train.batch / (double)layout_ranks(n);
    out->idle_batch =
        1 - (double)c->train.batch / ((double)layout_batch_parts(n) * share);
    out->idle_experts = 1 - (double)E / ((double)n->expert * (double)most);
    out->idle =
        out->even_flops < out->flops ? 1 - out->even_flops / out->flops : 0;
}

void layout_plan(const struct layout_subject *subject,
                 const struct place *place, struct layout_plan *out)
{
    const struct run_config *c = subject->config;
    const int64_t parts = layout_batch_parts(&place->n);
    const int64_t part = layout_batch_part(place);
    const int64_t B = layout_micro_batch(c, &place->n);
    const int64_t own = layout_cut(c->train.batch, parts, part + 1) -
                        layout_cut(c->train.batch, parts, part);
    struct work w = { subject, place, (double)dtype_bytes(subject->dtype),
                      (double)own * (double)c->model.seq };
    struct share share[2] = { share_of(&w, 0), share_of(&w, 1) };
    const int64_t local = experts_of(&w), k = c->model.top_k;
    const double N = (double)B * (double)c->model.seq;

    *out = (struct layout_plan){ .place = *place, .sequences = own };
    out->passes = (layout_max_share(c, &place->n) + B - 1) / B;
    /* if the router sends all to this rank: no token is dropped */
    out->rows = place->n.expert == 1 ? N * (double)k
                                     : (double)place->n.expert * N *
                                           (double)(local < k ? local : k);
    /* as model_init asks */
    out->rows_fit = N * (double)k <= INT32_MAX / 2 &&
                    (layout_ranks(&place->n) == 1 ||
                     out->rows <= INT32_MAX / c->model.width);
    count_traffic(&w, share, out);
    out->memory = memory_of(&w, share, out->rows);
    out->flops = flops_of(&w);
    idle_of(&w, out);
}

double layout_memory_total(const struct layout_memory *m)
{
    return m->weights + m->gradients + m->optimizer + m->activations +
           m->exchange + m->staging;
}

static double sum(const double x[LAYOUT_CAUSES][COMM_KINDS])
{
    double total = 0;

    for (int cause = 0; cause < LAYOUT_CAUSES; cause++)
        for (int kind = 0; kind < COMM_KINDS; kind++)
            total += x[cause][kind];
    return total;
}

double layout_plan_bytes(const struct layout_plan *plan)
{
    return sum(plan->bytes);
}

double layout_plan_calls(const struct layout_plan *plan)
{
    return sum(plan->calls);
}

/* A rank sends each of its peers as much as any other.  Members lie `stride`
 * ranks apart, and a node holds as many as fit from its first rank on. */
double layout_crossing(const struct layout *l, int peers, int64_t per_node)
{
    const struct {
        int64_t members, stride;
    } group[LAYOUT_PEERS] = {
        [LAYOUT_PEERS_TENSOR] = { l->tensor, 1 },
        [LAYOUT_PEERS_EXPERT] = { l->expert, l->tensor },
        [LAYOUT_PEERS_DENSE] = { l->data * l->expert, l->tensor },
        [LAYOUT_PEERS_DATA] = { l->data, l->expert * l->tensor },
        [LAYOUT_PEERS_ALL] = { layout_ranks(l), 1 },
    };
    int64_t n = group[peers].members, near = per_node / group[peers].stride;

    near = near < 1 ? 1 : near > n ? n : near;
    return n > 1 ? (double)(n - near) / (double)(n - 1) : 0;
}

struct layout_time layout_plan_time(const struct layout_plan *plan,
                                    const struct layout_machine *machine)
{
    struct layout_time t = { .compute_s = plan->flops / machine->flops };

    for (int cause = 0; cause < LAYOUT_CAUSES; cause++)
        for (int peers = 0; peers < LAYOUT_PEERS; peers++) {
            double bytes = plan->peer_bytes[cause][peers];
            double far =
                layout_crossing(&plan->place.n, peers, machine->per_node);
            double near_s = bytes * (1 - far) / machine->node;
            double far_s = bytes * far / machine->network;

            t.node_s += near_s;
            t.network_s += far_s;
            t.cause_s[cause] += near_s + far_s;
        }
    t.apart_s = t.compute_s + t.node_s + t.network_s;
    t.overlap_s = fmax(t.compute_s, fmax(t.node_s, t.network_s));
    return t;
}
