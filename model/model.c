#include "model/model.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model/block.h"
#include "model/exchange.h"

void *arena_take(struct arena *arena, size_t bytes)
{
    size_t at = arena->used;

    /* past the limit the count sticks there, and no one allocates it */
    if (bytes > ARENA_LIMIT || at > ARENA_LIMIT - bytes - 64)
        arena->used = ARENA_LIMIT;
    else
        arena->used += (bytes + 63) / 64 * 64;
    return arena->base ? arena->base + at : NULL;
}

/* The sizes of this rank's part. */
static void set_sizes(struct model *m)
{
    const struct model_config *c = &m->config.model;
    const struct place *p = &m->ranks->place;
    int64_t held;

    m->T = c->seq;
    m->D = c->width;
    m->G = config_kv_heads(c) / p->n.tensor;
    m->H = m->G * c->kv_group;
    m->K = c->head_size;
    m->F = layout_cut(config_ffn(c), p->n.tensor, p->tensor + 1) -
           layout_cut(config_ffn(c), p->n.tensor, p->tensor);
    m->E = c->experts;
    m->first_expert = layout_cut(m->E, p->n.expert, p->expert);
    m->X = layout_cut(m->E, p->n.expert, p->expert + 1) - m->first_expert;
    m->k = c->top_k;
    m->first_token = layout_cut(c->vocab, p->n.tensor, p->tensor);
    m->V = layout_cut(c->vocab, p->n.tensor, p->tensor + 1) - m->first_token;
    m->L = c->layers;
    m->max_batch = m->B = layout_micro_batch(&m->config, &p->n);
    m->N = m->B * m->T;
    m->R = m->N * m->k;
    /* a token's k experts are different ones */
    held = m->X < m->k ? m->X : m->k;
    m->S = p->n.expert == 1 ? m->R : p->n.expert * m->N * held;
}

static int allocate(struct model *m, struct mup_error *err)
{
    int64_t ranks = m->ranks->place.n.expert;
    size_t slots = (size_t)((m->E + ranks - 1) / ranks);

    m->weight = calloc((size_t)m->params.n, sizeof(*m->weight));
    m->grad = calloc((size_t)m->params.n, sizeof(*m->grad));
    m->block = calloc((size_t)m->L, sizeof(*m->block));
    m->exchange = calloc(slots, sizeof(*m->exchange));
    m->exchange_rows = calloc(4 * (size_t)ranks, sizeof(*m->exchange_rows));
    if (m->weight && m->grad && m->block && m->exchange && m->exchange_rows)
        return MUP_OK;
    return mup_fail(err, MUP_SYSTEM, "out of memory for the model");
}

int model_init(const struct run_config *config, struct backend *be,
               struct ranks *ranks, struct model *out, struct mup_error *err)
{
    struct model m = { .be = be, .ranks = ranks, .config = *config };
    int rc = params_init(config, &ranks->place, &m.params, err);

    if (rc)
        return rc;
    set_sizes(&m);
    /* a message counts elements in 31 bits */
    if (m.R > INT32_MAX / 2 || (ranks->all.size > 1 && m.S > INT32_MAX / m.D))
        rc = mup_fail(err, MUP_USAGE,
                      "a micro-batch of %lld tokens makes too many rows of "
                      "model.width for one message or table; lower "
                      "train.micro_batch",
                      (long long)m.N);
    else
        rc = allocate(&m, err);
    if (rc)
        model_clear(&m);
    else
        *out = m;
    return rc;
}

void model_clear(struct model *m)
{
    params_clear(&m->params);
    free(m->weight);
    free(m->grad);
    free(m->block);
    free(m->exchange);
    free(m->exchange_rows);
    memset(m, 0, sizeof(*m));
}

static struct view take(const struct model *m, struct arena *arena,
                        int64_t rows, int64_t cols)
{
    size_t element = dtype_bytes(m->be->dtype), bytes = ARENA_LIMIT;

    if (rows < 1 || (size_t)cols <= ARENA_LIMIT / element / (size_t)rows)
        bytes = (size_t)rows * (size_t)cols * element;
    return view_of(arena_take(arena, bytes), rows, cols);
}

static int32_t *take_ints(struct arena *arena, int64_t n)
{
    return arena_take(arena, (size_t)n * sizeof(int32_t));
}

static void layout_block(const struct model *m, struct block_state *s,
                         struct arena *a)
{
    const int64_t N = m->N, D = m->D, R = m->R, E = m->E;
    const int64_t ranks = m->ranks->place.n.expert;

    s->x = take(m, a, N, D);
    s->h = take(m, a, N, D);
    s->rstd_in = take(m, a, N, 1);
    s->rstd_out = take(m, a, N, 1);
    s->q = take(m, a, N, m->H * m->K);
    s->k = take(m, a, N, m->G * m->K);
    s->v = take(m, a, N, m->G * m->K);
    if (m->config.model.qk_norm) {
        s->q_raw = take(m, a, N, m->H * m->K);
        s->k_raw = take(m, a, N, m->G * m->K);
        s->rstd_q = take(m, a, N * m->H, 1);
        s->rstd_k = take(m, a, N * m->G, 1);
    }
    s->o = take(m, a, N, m->H * m->K);
    s->lse = take(m, a, N, m->H);
    s->branch = take(m, a, N, D);
    s->x_moe = take(m, a, N, D);
    s->h_moe = take(m, a, N, D);
    s->rstd_moe_in = take(m, a, N, 1);
    s->rstd_moe_out = take(m, a, N, 1);
    s->logits = take(m, a, N, E);
    s->probs = take(m, a, N, E);
    s->router_lse = take(m, a, N, 1);
    s->gates = take(m, a, N, m->k);
    s->expert = take_ints(a, R);
    s->row = take_ints(a, R);
    s->source = take_ints(a, R);
    s->offset = take_ints(a, E + 1);
    s->counts = take_ints(a, ranks * E);
    s->held = take_ints(a, m->X + 1);
    if (ranks > 1)
        s->received = take(m, a, m->S, D);
    s->gate = take(m, a, m->S, m->F);
    s->up = take(m, a, m->S, m->F);
    if (m->config.model.shared_expert) {
        s->shared_gate = take(m, a, N, m->F);
        s->shared_up = take(m, a, N, m->F);
    }
    s->out = take(m, a, R, D);
    s->branch_moe = take(m, a, N, D);
}

static void layout_scratch(const struct model *m, struct scratch *s,
                           struct arena *a)
{
    /* also of a shared expert, which every token visits */
    int64_t rows = m->S > m->N ? m->S : m->N;

    for (int i = 0; i < 3; i++)
        s->hidden[i] = take(m, a, m->N, m->D);
    for (int i = 0; i < 2; i++) {
        s->ffn[i] = take(m, a, rows, m->F);
        s->routed[i] = take(m, a, m->R, m->D);
    }
    s->arrived = s->routed[0];
    if (m->ranks->place.n.expert > 1)
        s->arrived = take(m, a, m->S, m->D);
    s->dq = take(m, a, m->N, m->H * m->K);
    s->dk = take(m, a, m->N, m->G * m->K);
    s->dv = take(m, a, m->N, m->G * m->K);
    s->dlogits = take(m, a, m->N, m->E);
    s->dgates = take(m, a, m->N, m->k);
    s->attention = take(m, a, 3 * m->T, m->T);
}

/* Views of one flat array (1, total), one per tensor. */
static void slice(const struct model *m, struct view all, struct view *out)
{
    for (int i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.list[i];

        out[i] = view_of(view_at(m->be, all, p->first),
                         p->box.extent[0] * p->box.extent[1], p->box.extent[2]);
    }
}

static void layout_activations(struct model *m, struct arena *arena)
{
    for (int64_t l = 0; l < m->L; l++)
        layout_block(m, &m->block[l], arena);
    m->x_final = take(m, arena, m->N, m->D);
    m->h_final = take(m, arena, m->N, m->D);
    m->rstd_final = take(m, arena, m->N, 1);
    m->logits = take(m, arena, m->N, m->V);
    m->input = take_ints(arena, m->N);
    m->target = take_ints(arena, m->N);
    m->lse_parts = take(m, arena, m->N, m->ranks->place.n.tensor);
    m->lse = take(m, arena, m->N, 1);
    m->at = take(m, arena, m->N, 1);
    layout_scratch(m, &m->scratch, arena);
}

void model_layout(struct model *m, struct arena *arena)
{
    size_t start = arena->used;

    m->all_weights = take(m, arena, 1, m->params.total);
    m->parameter_bytes = arena->used - start;
    start = arena->used;
    m->all_grads = take(m, arena, 1, m->params.total);
    m->gradient_bytes = arena->used - start;
    slice(m, m->all_weights, m->weight);
    slice(m, m->all_grads, m->grad);

    start = arena->used;
    m->rope = take(m, arena, m->T, m->K);
    m->activations = *arena;
    m->N = m->max_batch * m->T;
    m->R = m->N * m->k;
    layout_activations(m, arena);
    m->activation_bytes = arena->used - start;
}

void model_set_batch(struct model *m, int64_t sequences)
{
    struct arena arena = m->activations;

    assert(sequences >= 0 && sequences <= m->max_batch);
    m->B = sequences;
    m->N = m->B * m->T;
    m->R = m->N * m->k;
    layout_activations(m, &arena);
}

/* y starts at standard deviation std, by the numbers that belong to its place
 * in the whole tensor. */
static void initialise_normal(struct model *m, const struct param *p,
                              struct view y)
{
    const struct box *b = &p->box;
    const struct random_key key =
        random_key((uint64_t)m->config.train.seed, "init", p->name);
    /* whole rows lie one behind the other there too */
    int64_t rows = b->extent[2] == p->cols ? b->extent[1] : 1;

    for (int64_t r = 0; r < y.rows; r += rows) {
        int64_t slice = b->first[0] + r / b->extent[1];
        int64_t row = b->first[1] + r % b->extent[1];

        m->be->ops->normal(m->be, view_rows(m->be, y, r, rows), &key,
                           (slice * p->rows + row) * p->cols + b->first[2],
                           p->init_std);
    }
}

void model_initialise(struct model *m)
{
    const struct backend_ops *ops = m->be->ops;

    for (int i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.list[i];

        if (p->ones > 0) {
            double one = p->ones;

            for (int64_t j = 0; j < p->count; j++)
                ops->upload(m->be, view_at(m->be, m->weight[i], j), &one, 1);
        } else if (p->init_std > 0) {
            initialise_normal(m, p, m->weight[i]);
        } else {
            ops->zero(m->be, m->weight[i]);
        }
    }
    ops->rope_table(m->be, m->rope, m->config.model.rope_base);
}

struct heads block_queries(const struct model *m, int l)
{
    const struct block_params *p = &m->params.block[l];
    const struct block_state *s = &m->block[l];

    return (struct heads){ p->q, p->norm_q, s->q, s->q_raw, s->rstd_q };
}

struct heads block_keys(const struct model *m, int l)
{
    const struct block_params *p = &m->params.block[l];
    const struct block_state *s = &m->block[l];

    return (struct heads){ p->k, p->norm_k, s->k, s->k_raw, s->rstd_k };
}

struct view block_rows(const struct model *m, struct view x)
{
    return view_of(x.data, x.rows * x.cols / m->K, m->K);
}

struct attention_shape block_attention_shape(const struct model *m)
{
    return (struct attention_shape){
        .batch = m->B,
        .time = m->T,
        .heads = m->H,
        .kv_heads = m->G,
        .head_size = m->K,
        .scale = m->params.attention,
        .cap = m->config.model.attn_softcap,
    };
}

struct route_shape block_route_shape(const struct model *m,
                                     const struct loss_scale *scale)
{
    return (struct route_shape){
        .tokens = m->N,
        .experts = m->E,
        .top_k = m->k,
        .time = m->T,
        .cap = m->config.model.router_softcap,
        .renormalize = m->config.model.router_renorm,
        .balance = m->config.train.balance_loss * scale->per_sequence,
        .z = m->config.train.router_z_loss * scale->per_token,
    };
}

static void watch(const struct model *m, int layer, const char *name,
                  struct view x)
{
    if (m->probe && m->probe->activation)
        m->probe->activation(m->probe->context, layer, name, x);
}

/* y (=|+=) forward * x W^T */
static void product(const struct model *m, int param, struct view y,
                    struct view x, int accumulate)
{
    if (m->probe && m->probe->product)
        m->probe->product(m->probe->context, param, x, NULL);
    m->be->ops->gemm(m->be, y, x, m->weight[param], 0, 1,
                     m->params.list[param].forward, accumulate ? 1 : 0);
}

static void product_grouped(const struct model *m, int param, struct view y,
                            struct view x, const int32_t *offset)
{
    if (m->probe && m->probe->product)
        m->probe->product(m->probe->context, param, x, offset);
    m->be->ops->gemm_grouped(m->be, GROUP_FORWARD, y, x, m->weight[param],
                             offset, m->X, m->params.list[param].forward, 0);
}

int model_comm_type(const struct model *m)
{
    return m->be->dtype == DTYPE_F64 ? COMM_F64 : COMM_F32;
}

void block_sum(const struct model *m, struct view x)
{
    comm_all_reduce(&m->ranks->tensor, x.data, x.rows * x.cols,
                    model_comm_type(m));
}

/* y = forward * gain * x / rms(x), over rows of gain's length */
static void norm(const struct model *m, int param, struct view y,
                 struct view rstd, struct view x)
{
    m->be->ops->rmsnorm(m->be, y, rstd, x, m->weight[param],
                        m->params.list[param].forward,
                        m->config.model.norm_eps);
}

/* q or k of all heads: product, norm of each head where asked, rotation. */
static void project_heads(const struct model *m, const struct heads *h,
                          struct view x)
{
    product(m, h->param, h->gain < 0 ? h->y : h->raw, x, 0);
    if (h->gain >= 0)
        norm(m, h->gain, block_rows(m, h->y), h->rstd, block_rows(m, h->raw));
    m->be->ops->rope(m->be, h->y, m->rope, 0);
}

/* x_next = x + norm(attention(norm(x))) */
static void forward_attention(struct model *m, int l, struct view x_next)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    const struct attention_shape shape = block_attention_shape(m);
    const struct heads q = block_queries(m, l), k = block_keys(m, l);
    struct block_state *s = &m->block[l];

    norm(m, p->norm_attn_in, s->h, s->rstd_in, s->x);
    watch(m, l, "attn.in", s->h);
    project_heads(m, &q, s->h);
    project_heads(m, &k, s->h);
    product(m, p->v, s->v, s->h, 0);
    watch(m, l, "attn.q", s->q);
    watch(m, l, "attn.k", s->k);
    watch(m, l, "attn.v", s->v);
    if (m->probe && m->probe->attention_logits) {
        double sum = 0, count = 0;

        ops->attention_logits(m->be, &sum, &count, s->q, s->k, &shape,
                              m->scratch.attention);
        m->probe->attention_logits(m->probe->context, l, sum, count);
    }
    ops->attention(m->be, s->o, s->lse, s->q, s->k, s->v, &shape,
                   m->scratch.attention);
    watch(m, l, "attn.mix", s->o);
    product(m, p->o, s->branch, s->o, 0);
    block_sum(m, s->branch);
    watch(m, l, "attn.out", s->branch);
    norm(m, p->norm_attn_out, x_next, s->rstd_out, s->branch);
    ops->add(m->be, x_next, s->x, 1);
    watch(m, l, "attn.residual", x_next);
}

/* Adds the shared expert to the routed sum, at a fixed ratio of 1:1. */
static void forward_shared(struct model *m, int l)
{
    const struct block_params *p = &m->params.block[l];
    struct block_state *s = &m->block[l];
    struct view act = view_of(m->scratch.ffn[0].data, m->N, m->F);

    watch(m, l, "moe.routed", s->branch_moe);
    product(m, p->shared_gate, s->shared_gate, s->h_moe, 0);
    product(m, p->shared_up, s->shared_up, s->h_moe, 0);
    m->be->ops->geglu(m->be, act, s->shared_gate, s->shared_up);
    watch(m, l, "moe.shared_act", act);
    product(m, p->shared_down, s->branch_moe, act, 1);
}

static void forward_experts(struct model *m, int l)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    struct block_state *s = &m->block[l];
    struct view sent = m->scratch.routed[0], x, out, gate, up, act;

    ops->dispatch(m->be, s->row, s->source, s->offset, s->expert, m->R, m->E);
    ops->gather(m->be, sent, s->h_moe, s->source, m->k);
    exchange_counts(m, s);
    x = exchange_to_experts(m, s, s->received, sent);
    gate = view_rows(m->be, s->gate, 0, x.rows);
    up = view_rows(m->be, s->up, 0, x.rows);
    act = view_rows(m->be, m->scratch.ffn[0], 0, x.rows);
    product_grouped(m, p->gate, gate, x, s->held);
    product_grouped(m, p->up, up, x, s->held);
    ops->geglu(m->be, act, gate, up);
    watch(m, l, "moe.act", act);
    out = m->ranks->place.n.expert > 1
              ? view_rows(m->be, m->scratch.arrived, 0, x.rows)
              : s->out;
    product_grouped(m, p->down, out, act, s->held);
    exchange_to_tokens(m, s, s->out, out);
    ops->combine(m->be, s->branch_moe, s->out, s->row, s->gates);
    if (p->shared_gate >= 0)
        forward_shared(m, l);
    block_sum(m, s->branch_moe);
    watch(m, l, "moe.out", s->branch_moe);
}

/* x_next = x + norm(experts(norm(x))) */
static void forward_moe(struct model *m, int l, struct view x_next,
                        const struct loss_scale *scale,
                        struct model_losses *losses)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    const struct route_shape shape = block_route_shape(m, scale);
    struct block_state *s = &m->block[l];

    norm(m, p->norm_moe_in, s->h_moe, s->rstd_moe_in, s->x_moe);
    watch(m, l, "moe.in", s->h_moe);
    product(m, p->router, s->logits, s->h_moe, 0);
    watch(m, l, "moe.router.logits", s->logits);
    ops->route(m->be, s->probs, s->router_lse, s->gates, s->expert, s->logits,
               &shape);
    watch(m, l, "moe.router.probs", s->probs);
    ops->route_loss(m->be, losses->router, s->probs, s->router_lse, s->expert,
                    &shape);
    forward_experts(m, l);
    norm(m, p->norm_moe_out, x_next, s->rstd_moe_out, s->branch_moe);
    ops->add(m->be, x_next, s->x_moe, 1);
    watch(m, l, "moe.residual", x_next);
}

/* Ids within this rank's part of the vocabulary; -1: another's. */
static void own_tokens(const struct model *m, int32_t *out,
                       const int32_t *token)
{
    for (int64_t n = 0; n < m->N; n++) {
        int64_t id = token[n] - m->first_token;

        out[n] = id >= 0 && id < m->V ? (int32_t)id : -1;
    }
}

/* Cross-entropy over a vocabulary of which each rank along `tensor` has a
 * part: their log-sum-exps go side by side, and again through log-sum-exp. */
static void forward_loss(struct model *m, const struct loss_scale *scale,
                         struct model_losses *losses)
{
    const struct backend_ops *ops = m->be->ops;
    const double z = m->config.train.z_loss * scale->per_token;
    const struct view none = { 0 };
    struct view own = m->lse_parts;

    own.data = view_at(m->be, own, m->ranks->place.tensor);
    own.cols = 1;
    ops->zero(m->be, m->lse_parts);
    ops->log_sum_exp(m->be, own, m->at, m->logits, m->target);
    block_sum(m, m->lse_parts);
    block_sum(m, m->at);
    ops->log_sum_exp(m->be, m->lse, none, m->lse_parts, NULL);
    ops->cross_entropy(m->be, losses->sums, m->lse, m->at);
    if (scale->per_token > 0)
        ops->cross_entropy_grad(m->be, m->logits, m->lse, m->target,
                                scale->per_token, z);
}

void model_forward(struct model *m, const int32_t *input, const int32_t *target,
                   const struct loss_scale *scale, struct model_losses *losses)
{
    const struct backend_ops *ops = m->be->ops;
    const struct params *p = &m->params;

    own_tokens(m, m->input, input);
    own_tokens(m, m->target, target);
    ops->embed(m->be, m->block[0].x, m->weight[p->embed], m->input,
               p->list[p->embed].forward);
    block_sum(m, m->block[0].x);
    watch(m, -1, "embed.out", m->block[0].x);
    for (int l = 0; l < m->L; l++) {
        struct view next = l + 1 < m->L ? m->block[l + 1].x : m->x_final;

        forward_attention(m, l, m->block[l].x_moe);
        forward_moe(m, l, next, scale, losses);
    }
    norm(m, p->norm_final, m->h_final, m->rstd_final, m->x_final);
    watch(m, -1, "final.in", m->h_final);
    if (m->probe && m->probe->product)
        m->probe->product(m->probe->context, p->unembed, m->h_final, NULL);
    ops->gemm(m->be, m->logits, m->h_final, m->weight[p->unembed], 0, 1,
              p->readout, 0);
    watch(m, -1, "logits", m->logits);
    forward_loss(m, scale, losses);
}

double model_flops_per_sequence(const struct params *params,
                                const struct model_config *c)
{
    double T = (double)c->seq, D = (double)c->width;
    double lookups = (double)c->vocab * D;
    double matrices = (double)params->active - (c->tied ? 0 : lookups);

    /* QK^T and PV, forward 2 * 2 T^2 D, half of it masked, backward twice */
    return 6 * matrices * T + (double)c->layers * 6 * T * T * D;
}
