#include "model/layout_plan.h"

#include <math.h>
#include <string.h>

#include "model/model.h"

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

/* The part of the tensors of one kind that this rank updates. */
struct share {
    int64_t peers, part;        /* how many have a part, and which is ours */
    int64_t held;               /* elements of weights and gradients here */
    int64_t own, second;        /* updated here, with a second moment */
    int64_t buckets, scratch;   /* scratch: of the largest bucket */
    double scattered, gathered; /* elements sent in a step */
};

struct place layout_last(const struct layout *l)
{
    return layout_place(l, layout_ranks(l) - 1);
}

/* How a tensor is cut along `tensor`, by the last part of its name. */
static int cut_of(const struct param *p)
{
    static const char *const rows[] = { "q",           "k",         "v",
                                        "gate",        "up",        "embed",
                                        "shared_gate", "shared_up", "unembed" };
    static const char *const cols[] = { "o", "down", "shared_down" };
    const char *dot = strrchr(p->name, '.'), *name = dot ? dot + 1 : p->name;

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (!strcmp(name, rows[i]))
            return CUT_ROWS;
    for (size_t i = 0; i < sizeof(cols) / sizeof(*cols); i++)
        if (!strcmp(name, cols[i]))
            return CUT_COLS;
    return CUT_NONE;
}

static int is_expert(const struct param *p)
{
    return p->shape.role == MUP_EXPERT_UP || p->shape.role == MUP_EXPERT_DOWN;
}

/* Elements of tensor i that the rank holds. */
static int64_t held(const struct work *w, int i)
{
    const struct param *p = &w->s->params->list[i];
    const int64_t shape[3] = { p->slices, p->rows, p->cols };
    struct box b = layout_box(w->place, shape, cut_of(p), is_expert(p));

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
        if (is_expert(&w->s->params->list[i]) == b->is_expert)
            n += held(w, i);
    return n;
}

static void add_bucket(const struct work *w, const struct bucket *b,
                       struct share *s)
{
    int64_t total = bucket_elements(w, b), at = 0;
    int64_t low = layout_cut(total, s->peers, s->part);
    int64_t high = layout_cut(total, s->peers, s->part + 1);
    int64_t own = high - low;

    for (int i = b->first; i < b->last; i++) {
        const struct param *p = &w->s->params->list[i];
        int64_t n;

        if (is_expert(p) != b->is_expert)
            continue;
        n = held(w, i);
        if (p->second >= 0)
            s->second += overlap(at, n, low, high);
        at += n;
    }
    s->held += total;
    s->own += own;
    s->buckets += total > 0;
    s->scattered += (double)(total - own);
    s->gathered += (double)own * (double)(s->peers - 1);
    if ((s->peers - 1) * own > s->scratch)
        s->scratch = (s->peers - 1) * own;
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

/* All-reduces of the tensor group.  Forward: (N,D) behind the embedding,
 * attention and experts; partial sums (N,t) and targets (N,1) of the
 * cross-entropy.  Backward: (N,D) before attention, experts and unembedding,
 * (N,k) of the gates. */
static void count_tensor(const struct work *w, struct layout_plan *out)
{
    const struct model_config *m = &w->s->config->model;
    const double t = (double)w->place->n.tensor, L = (double)m->layers;
    const double cols =
        (2 + 4 * L) * (double)m->width + t + 1 + L * (double)m->top_k;
    const double n[2] = { (double)out->passes * (4 + 5 * L),
                          2 * (t - 1) * (w->tokens * cols * w->element) / t };

    if (t > 1)
        count(out, LAYOUT_TENSOR, COMM_ALL_REDUCE, LAYOUT_PEERS_TENSOR, n);
}

/* Four all-to-alls a layer: rows to their experts, what those make of them
 * back, and the same for the gradients.  The router decides what leaves; (e -
 * 1) / e does on average. */
static void count_rows(const struct work *w, struct layout_plan *out)
{
    const struct model_config *m = &w->s->config->model;
    const double e = (double)w->place->n.expert, L = (double)m->layers;
    const double rows = w->tokens * (double)m->top_k;
    const double passes = (double)out->passes;
    const double n[2] = { passes * 4 * L, 4 * L * rows * (double)m->width *
                                              w->element * (e - 1) / e };
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
    const double step[2] = { 1, (ranks - 1) * LAYOUT_STEP_DOUBLES *
                                    sizeof(double) };

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

/* The forward pass of model.c with `layers` blocks, laid out with the sizes
 * that this rank has.  Rows that arrive take the place of the rows that were
 * sent wherever experts work on them. */
static double pass_bytes(const struct work *w, int64_t layers, int64_t rows)
{
    const struct run_config *c = w->s->config;
    const struct place *at = w->place;
    struct backend be = { .dtype = w->s->dtype };
    struct block_state block[2];
    struct arena arena = { 0 };
    struct model m = { .be = &be, .config = *c, .block = block, .L = layers };

    m.B = layout_micro_batch(c, &at->n);
    m.T = c->model.seq;
    m.N = m.B * m.T;
    m.D = c->model.width;
    m.K = c->model.head_size;
    m.H = config_heads(&c->model) / at->n.tensor;
    m.G = config_kv_heads(&c->model) / at->n.tensor;
    m.F = layout_cut(config_ffn(&c->model), at->n.tensor, at->tensor + 1) -
          layout_cut(config_ffn(&c->model), at->n.tensor, at->tensor);
    m.V = layout_cut(c->model.vocab, at->n.tensor, at->tensor + 1) -
          layout_cut(c->model.vocab, at->n.tensor, at->tensor);
    m.E = c->model.experts;
    m.k = c->model.top_k;
    m.R = rows;
    model_layout(&m, &arena);
    return (double)m.activation_bytes;
}

/* Experts here; rows are at most e*N*min(k, experts here), if the router
 * sends everything to this rank: no token is dropped. */
static int64_t experts_here(const struct work *w)
{
    int64_t E = w->s->config->model.experts;
    const struct place *at = w->place;

    return layout_cut(E, at->n.expert, at->expert + 1) -
           layout_cut(E, at->n.expert, at->expert);
}

static double activation_bytes(const struct work *w, double rows)
{
    const struct model_config *m = &w->s->config->model;
    const double L = (double)m->layers;
    const int64_t B = layout_micro_batch(w->s->config, &w->place->n);
    const double N = (double)B * (double)m->seq;
    /* more rows than any arena holds count as that many */
    const int64_t R =
        rows < (double)ARENA_LIMIT ? (int64_t)rows : (int64_t)ARENA_LIMIT / 4;
    const double one = pass_bytes(w, 1, R), two = pass_bytes(w, 2, R);
    double bytes = one + (L - 1) * (two - one);
    struct arena host = { 0 };

    /* as trainer.c: tokens, targets, a layer's router probabilities */
    arena_take(&host, (size_t)N * sizeof(int32_t));
    arena_take(&host, (size_t)N * sizeof(int32_t));
    arena_take(&host, (size_t)N * (size_t)m->experts * sizeof(double));
    bytes += (double)host.used;

    /* what came back from the experts is kept beside what arrived here */
    if (w->place->n.expert > 1)
        bytes += L * N * (double)m->top_k * (double)m->width * w->element;
    return bytes;
}

static struct layout_memory memory_of(const struct work *w,
                                      const struct share share[2], double rows)
{
    const int64_t held = share[0].held + share[1].held;
    const int64_t own = share[0].own + share[1].own;
    const int64_t second = share[0].second + share[1].second;
    const int alone = share[0].peers == 1;
    const int64_t scratch = share[0].scratch > share[1].scratch
                                ? share[0].scratch
                                : share[1].scratch;
    struct layout_memory m = { 0 };

    m.weights = m.gradients = taken(w, held);
    m.optimizer = taken(w, own) + (second ? taken(w, second) : 0);
    m.staging = taken(w, own) + m.optimizer;
    if (w->s->config->train.optimizer == MUP_MUON)
        m.optimizer += muon_bytes(w);
    m.activations = activation_bytes(w, rows);
    m.exchange = alone ? 0 : taken(w, own) + taken(w, scratch);
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
                     (is_expert(&p->list[i]) ? routed : w->tokens);
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
    const int64_t local = experts_here(&w), k = c->model.top_k;

    *out = (struct layout_plan){ .place = *place, .sequences = own };
    out->passes = (layout_max_share(c, &place->n) + B - 1) / B;
    out->rows = (double)place->n.expert * (double)B * (double)c->model.seq *
                (double)(local < k ? local : k);
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
