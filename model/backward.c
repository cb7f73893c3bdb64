/* The backward pass: model.c read from the bottom to the top.  Gradients of
 * weights add up over micro-batches; dx is the gradient of the residual. */
#include "model/block.h"
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

    ops->gemm_grouped(m->be, GROUP_WGRAD, m->grad[param], dy, x, offset, m->E,
                      0);
    ops->gemm_grouped(m->be, GROUP_DGRAD, dx, dy, m->weight[param], offset,
                      m->E, accumulate);
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
    struct view dout = t->routed[0], routed = t->routed[1];
    struct view act = t->ffn[0], dact = t->ffn[1];

    ops->combine_grad(m->be, dout, t->dgates, dbranch, s->out, s->row,
                      s->gates);
    ops->geglu(m->be, act, s->gate, s->up);
    product_grouped_grad(m, p->down, dact, dout, act, s->offset, 0);
    ops->geglu_grad(m->be, s->gate, s->up, dact, s->gate, s->up);
    ops->gather(m->be, routed, s->h_moe, s->source, m->k);
    product_grouped_grad(m, p->gate, dout, s->gate, routed, s->offset, 0);
    product_grouped_grad(m, p->up, dout, s->up, routed, s->offset, 1);
    ops->gather_grad(m->be, dh, dout, s->row, m->k);
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

    ops->rmsnorm_grad(m->be, dbranch, m->grad[p->norm_moe_out], dx,
                      s->branch_moe, s->rstd_moe_out,
                      m->weight[p->norm_moe_out], 0);
    backward_experts(m, l, dh, dbranch);
    ops->route_grad(m->be, t->dlogits, t->dgates, s->probs, s->router_lse,
                    s->gates, s->expert, s->logits, &shape);
    product_grad(m, p->router, dh, t->dlogits, s->h_moe, 1);
    ops->rmsnorm_grad(m->be, dx, m->grad[p->norm_moe_in], dh, s->x_moe,
                      s->rstd_moe_in, m->weight[p->norm_moe_in], 1);
}

static void backward_attention(struct model *m, int l, struct view dx)
{
    const struct backend_ops *ops = m->be->ops;
    const struct block_params *p = &m->params.block[l];
    const struct attention_shape shape = block_attention_shape(m);
    struct block_state *s = &m->block[l];
    struct scratch *t = &m->scratch;
    struct view dbranch = t->hidden[1], dh = t->hidden[2];
    struct view dout = view_of(t->routed[0].data, m->N, m->H * m->K);

    ops->rmsnorm_grad(m->be, dbranch, m->grad[p->norm_attn_out], dx, s->branch,
                      s->rstd_out, m->weight[p->norm_attn_out], 0);
    product_grad(m, p->o, dout, dbranch, s->o, 0);
    ops->attention_grad(m->be, t->dq, t->dk, t->dv, dout, s->o, s->lse, s->q,
                        s->k, s->v, &shape, t->attention);
    ops->rope(m->be, t->dq, m->rope, 1);
    ops->rope(m->be, t->dk, m->rope, 1);
    product_grad(m, p->q, dh, t->dq, s->h, 0);
    product_grad(m, p->k, dh, t->dk, s->h, 1);
    product_grad(m, p->v, dh, t->dv, s->h, 1);
    ops->rmsnorm_grad(m->be, dx, m->grad[p->norm_attn_in], dh, s->x, s->rstd_in,
                      m->weight[p->norm_attn_in], 1);
}

void model_backward(struct model *m, const int32_t *input,
                    const struct loss_scale *scale)
{
    const struct backend_ops *ops = m->be->ops;
    const struct params *p = &m->params;
    struct view dx = m->scratch.hidden[0], dh = m->scratch.hidden[2];

    ops->gemm(m->be, m->grad[p->unembed], m->logits, m->h_final, 1, 0,
              p->readout, 1);
    ops->gemm(m->be, dh, m->logits, m->weight[p->unembed], 0, 0, p->readout, 0);
    ops->rmsnorm_grad(m->be, dx, m->grad[p->norm_final], dh, m->x_final,
                      m->rstd_final, m->weight[p->norm_final], 0);
    for (int l = (int)m->L - 1; l >= 0; l--) {
        backward_moe(m, l, dx, scale);
        backward_attention(m, l, dx);
    }
    ops->embed_grad(m->be, m->grad[p->embed], dx, input,
                    p->list[p->embed].forward);
}
