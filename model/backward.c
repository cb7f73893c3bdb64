/* The backward pass: model.c read from the bottom to the top.  Gradients of
 * weights add up over micro-batches; dx is the gradient of the residual. */
#include "model/block.h"
#include "model/exchange.h"
#include "model/model.h"

/* y = f * x W^T:  dW adds f * dy^T x,  dx (=|+=) f * dy W */
static void product_grad(const struct model *m, int param, struct view dx,
                         struct view dy, struct view x, int accumulate)
{
    const struct backend_ops *ops = m->be->ops;
    double f = m->params.list[param].forward;

    ops->gemm(m->be, m->grad[param], dy, x, 1, 0, f, 1);
    ops->gemm(m->be, dx, dy, m->weight[param], 0, 0, f, accumulate ? 1 : 0);
}

/* dx (R,I) (=|+=), dW_e adds */
static void product_grouped_grad(const struct model *m, int param,
                                 struct view dx, struct view dy, struct view x,
                                 const int32_t *offset, int accumulate)
{
    const struct backend_ops *ops = m->be->ops;

    double f = m->params.list[param].forward;

    ops->gemm_grouped(m->be, GROUP_WGRAD, m->grad[param], dy, x, offset, m->X,
                      f, 0);
    ops->gemm_grouped(m->be, GROUP_DGRAD, dx, dy, m->weight[param], offset,
                      m->X, f, accumulate);
}

/* dgain adds, dx (=|+=) */
static void norm_grad(const struct model *m, int param, struct view dx,
                      struct view dy, struct view x, struct view rstd,
                      int accumulate)
{
    m->be->ops->rmsnorm_grad(m->be, dx, m->grad[param], dy, x, rstd,
                             m->weight[param], m->params.list[param].forward,
                             accumulate);
}

/* From dy of rotated heads to dh (=|+=); dy is overwritten. */
static void project_heads_grad(const struct model *m, const struct heads *h,
                               struct view dh, struct view dy, struct view x)
{
    struct view rows = block_rows(m, dy);

    m->be->ops->rope(m->be, dy, m->rope, 1);
    if (h->gain >= 0)
        norm_grad(m, h->gain, rows, rows, block_rows(m, h->raw), h->rstd, 0);
    product_grad(m, h->param, dh, dy, x, 1);
}

/* dh adds what the shared expert passes back from dbranch. */
static void backward_shared(struct model *m, int l, struct view dh,
                            struct view dbranch)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    struct block_state *s = &m->block[l];
    struct view act = view_of(m->scratch.ffn[0].data, m->N, m->F);
    struct view dact = view_of(m->scratch.ffn[1].data, m->N, m->F);

    ops->geglu(m->be, act, s->shared_gate, s->shared_up);
    product_grad(m, p->shared_down, dact, dbranch, act, 0);
    ops->geglu_grad(m->be, s->shared_gate, s->shared_up, dact, s->shared_gate,
                    s->shared_up);
    product_grad(m, p->shared_gate, dh, s->shared_gate, s->h_moe, 1);
    product_grad(m, p->shared_up, dh, s->shared_up, s->h_moe, 1);
}

/* From the gradient of the experts' weighted sum to that of the normalised
 * residual, dh (N,D); also fills dgates. */
static void backward_experts(struct model *m, int l, struct view dh,
                             struct view dbranch)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    struct block_state *s = &m->block[l];
    struct scratch *t = &m->scratch;
    struct view sent = t->routed[0], x = t->routed[1], dout, gate, up;
    struct view act, dact;

    ops->combine_grad(m->be, sent, t->dgates, dbranch, s->out, s->row,
                      s->gates);
    block_sum(m, t->dgates);
    dout = exchange_to_experts(m, s, t->arrived, sent);
    if (m->ranks->place.n.expert > 1)
        x = view_rows(m->be, s->received, 0, dout.rows);
    else
        ops->gather(m->be, x, s->h_moe, s->source, m->k);
    gate = view_rows(m->be, s->gate, 0, dout.rows);
    up = view_rows(m->be, s->up, 0, dout.rows);
    act = view_rows(m->be, t->ffn[0], 0, dout.rows);
    dact = view_rows(m->be, t->ffn[1], 0, dout.rows);
    ops->geglu(m->be, act, gate, up);
    product_grouped_grad(m, p->down, dact, dout, act, s->held, 0);
    ops->geglu_grad(m->be, gate, up, dact, gate, up);
    product_grouped_grad(m, p->gate, dout, gate, x, s->held, 0);
    product_grouped_grad(m, p->up, dout, up, x, s->held, 1);
    exchange_to_tokens(m, s, sent, dout);
    ops->gather_grad(m->be, dh, sent, s->row, m->k);
}

static void backward_moe(struct model *m, int l, struct view dx,
                         const struct loss_scale *scale)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    const struct route_shape shape = block_route_shape(m, scale);
    struct block_state *s = &m->block[l];
    struct scratch *t = &m->scratch;
    struct view dbranch = t->hidden[1], dh = t->hidden[2];

    norm_grad(m, p->norm_moe_out, dbranch, dx, s->branch_moe, s->rstd_moe_out,
              0);
    backward_experts(m, l, dh, dbranch);
    if (p->shared_gate >= 0)
        backward_shared(m, l, dh, dbranch);
    block_sum(m, dh);
    ops->route_grad(m->be, t->dlogits, t->dgates, s->probs, s->router_lse,
                    s->gates, s->expert, s->logits, &shape);
    product_grad(m, p->router, dh, t->dlogits, s->h_moe, 1);
    norm_grad(m, p->norm_moe_in, dx, dh, s->x_moe, s->rstd_moe_in, 1);
}

static void backward_attention(struct model *m, int l, struct view dx)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    const struct attention_shape shape = block_attention_shape(m);
    const struct heads q = block_queries(m, l), k = block_keys(m, l);
    struct block_state *s = &m->block[l];
    struct scratch *t = &m->scratch;
    struct view dbranch = t->hidden[1], dh = t->hidden[2];
    struct view dout = view_of(t->routed[0].data, m->N, m->H * m->K);

    norm_grad(m, p->norm_attn_out, dbranch, dx, s->branch, s->rstd_out, 0);
    product_grad(m, p->o, dout, dbranch, s->o, 0);
    ops->attention_grad(m->be, t->dq, t->dk, t->dv, dout, s->o, s->lse, s->q,
                        s->k, s->v, &shape, t->attention);
    product_grad(m, p->v, dh, t->dv, s->h, 0);
    project_heads_grad(m, &q, dh, t->dq, s->h);
    project_heads_grad(m, &k, dh, t->dk, s->h);
    block_sum(m, dh);
    norm_grad(m, p->norm_attn_in, dx, dh, s->x, s->rstd_in, 1);
}

static void tell_ready(const struct model *m, int64_t layer)
{
    if (m->gradients)
        m->gradients->ready(m->gradients->context, layer);
}

void model_backward(struct model *m, const struct loss_scale *scale)
{
    const struct backend_ops *ops = m->be->ops;
    const struct params *p = &m->params;
    struct view dx = m->scratch.hidden[0], dh = m->scratch.hidden[2];

    ops->gemm(m->be, m->grad[p->unembed], m->logits, m->h_final, 1, 0,
              p->readout, 1);
    ops->gemm(m->be, dh, m->logits, m->weight[p->unembed], 0, 0, p->readout, 0);
    block_sum(m, dh);
    norm_grad(m, p->norm_final, dx, dh, m->x_final, m->rstd_final, 0);
    tell_ready(m, m->L);
    for (int l = (int)m->L - 1; l >= 0; l--) {
        backward_moe(m, l, dx, scale);
        backward_attention(m, l, dx);
        tell_ready(m, l);
    }
    ops->embed_grad(m->be, m->grad[p->embed], dx, m->input,
                    p->list[p->embed].forward);
    tell_ready(m, -1);
}
