#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "model/block.h"

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

int model_init(const struct run_config *config, struct backend *be,
               struct model *out, struct mup_error *err)
{
    const struct model_config *c = &config->model;
    struct model m = { .be = be, .config = *config };
    int rc = params_init(config, &m.params, err);

    if (rc)
        return rc;
    m.B = config_micro_batch(&config->train);
    m.T = c->seq;
    m.N = m.B * m.T;
    m.D = c->width;
    m.H = config_heads(c);
    m.G = config_kv_heads(c);
    m.K = c->head_size;
    m.F = config_ffn(c);
    m.E = c->experts;
    m.k = c->top_k;
    m.R = m.N * m.k;
    m.V = c->vocab;
    m.L = c->layers;
    if (m.R > INT32_MAX / 2) {
        rc = mup_fail(err, MUP_USAGE,
                      "a micro-batch of %lld tokens times model.top_k is more "
                      "than 2^30 rows; lower train.micro_batch",
                      (long long)m.N);
    } else {
        m.weight = calloc((size_t)m.params.n, sizeof(*m.weight));
        m.grad = calloc((size_t)m.params.n, sizeof(*m.grad));
        m.block = calloc((size_t)m.L, sizeof(*m.block));
        if (!m.weight || !m.grad || !m.block)
            rc = mup_fail(err, MUP_SYSTEM, "out of memory for the model");
    }
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
    s->gate = take(m, a, R, m->F);
    s->up = take(m, a, R, m->F);
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
    for (int i = 0; i < 3; i++)
        s->hidden[i] = take(m, a, m->N, m->D);
    for (int i = 0; i < 2; i++) {
        s->ffn[i] = take(m, a, m->R, m->F);
        s->routed[i] = take(m, a, m->R, m->D);
    }
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
        size_t at = (size_t)p->first * dtype_bytes(m->be->dtype);

        out[i] = view_of(all.data ? (char *)all.data + at : NULL,
                         p->slices * p->rows, p->cols);
    }
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
    for (int64_t l = 0; l < m->L; l++)
        layout_block(m, &m->block[l], arena);
    m->x_final = take(m, arena, m->N, m->D);
    m->h_final = take(m, arena, m->N, m->D);
    m->rstd_final = take(m, arena, m->N, 1);
    m->logits = take(m, arena, m->N, m->V);
    layout_scratch(m, &m->scratch, arena);
    m->activation_bytes = arena->used - start;
}

void model_initialise(struct model *m)
{
    const struct backend_ops *ops = m->be->ops;

    for (int i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.list[i];
        struct random_key key =
            random_key((uint64_t)m->config.train.seed, "init", p->name);

        if (p->ones > 0) {
            double one = p->ones;

            for (int64_t j = 0; j < p->count; j++)
                ops->upload(m->be,
                            (char *)m->weight[i].data +
                                (size_t)j * dtype_bytes(m->be->dtype),
                            &one, 1);
        } else if (p->init_std > 0) {
            ops->normal(m->be, m->weight[i], &key, 0, p->init_std);
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
                             offset, m->E, m->params.list[param].forward, 0);
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
        m->probe->attention_logits(m->probe->context, l, sum / count);
    }
    ops->attention(m->be, s->o, s->lse, s->q, s->k, s->v, &shape,
                   m->scratch.attention);
    watch(m, l, "attn.mix", s->o);
    product(m, p->o, s->branch, s->o, 0);
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

    ops->dispatch(m->be, s->row, s->source, s->offset, s->expert, m->R, m->E);
    ops->gather(m->be, m->scratch.routed[0], s->h_moe, s->source, m->k);
    product_grouped(m, p->gate, s->gate, m->scratch.routed[0], s->offset);
    product_grouped(m, p->up, s->up, m->scratch.routed[0], s->offset);
    ops->geglu(m->be, m->scratch.ffn[0], s->gate, s->up);
    watch(m, l, "moe.act", m->scratch.ffn[0]);
    product_grouped(m, p->down, s->out, m->scratch.ffn[0], s->offset);
    ops->combine(m->be, s->branch_moe, s->out, s->row, s->gates);
    if (p->shared_gate >= 0)
        forward_shared(m, l);
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

void model_forward(struct model *m, const int32_t *input, const int32_t *target,
                   const struct loss_scale *scale, struct model_losses *losses)
{
    const struct backend_ops *ops = m->be->ops;
    const struct params *p = &m->params;
    const double z = m->config.train.z_loss * scale->per_token;
    struct view logits = m->logits;

    ops->embed(m->be, m->block[0].x, m->weight[p->embed], input,
               p->list[p->embed].forward);
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
    if (scale->tokens)
        logits = view_rows(m->be, logits, 0, scale->tokens);
    ops->cross_entropy(m->be, losses->sums, logits, target,
                       scale->per_token > 0, scale->per_token, z);
}

double model_flops_per_sequence(const struct params *params,
                                const struct model_config *c)
{
    double T = (double)c->seq, D = (double)c->width;
    double lookups = (double)params->list[params->embed].count;
    double matrices = (double)params->active - (c->tied ? 0 : lookups);

    /* QK^T and PV, forward 2 * 2 T^2 D, half of it masked, backward twice */
    return 6 * matrices * T + (double)c->layers * 6 * T * T * D;
}
