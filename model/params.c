#include "model/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More parameters than this (16 T) is a typo, and keeps byte counts far from
 * overflow. */
#define MAX_ELEMENTS ((int64_t)1 << 44)

struct builder {
    const struct run_config *config;
    const struct place *place;
    struct mup_rules rules;
    struct mup_duration duration;
    struct model_config base; /* the same network at base size */
    struct params *params;
    struct mup_error *err;
    int layer;
    int status;
};

/* Shapes of a tensor that is about to be added. */
struct spec {
    int role;
    int64_t slices, rows, cols;
    struct mup_dim out, in;
    double std;  /* at base */
    double ones; /* at base: starts at this value instead */
    double mult; /* tunable forward multiplier */
    int cut;     /* enum tensor_cut */
    int partial;
};

static struct mup_dim finite(int64_t size)
{
    return (struct mup_dim){ size, 0 };
}

/* What an optimizer multiplies its learning rate with, beyond the factors of
 * libmup. */
static double beyond(const struct train_config *train,
                     const struct mup_shape *shape)
{
    if (train->optimizer != MUP_MUON)
        return 1;
    return mup_is_muon(shape->role)
               ? mup_muon_factor(train->muon, shape->fan_out.size,
                                 shape->fan_in.size)
               : train->muon_adam_lr;
}

/* The base learning rate reaches decay by the mode alone: detached decay has
 * none (but falls in a step as the steps get more), and Muon's AdamW tensors
 * decay like the others. */
static void set_optimizer(struct builder *b, struct param *p)
{
    const struct train_config *train = &b->config->train;
    const double lr = train->lr * b->duration.lr;
    const double decay = train->weight_decay * b->duration.weight_decay;
    int detached = train->decay_mode == MUP_DECAY_DETACHED;

    p->optimizer = train->optimizer;
    if (train->optimizer == MUP_MUON && !mup_is_muon(p->shape.role))
        p->optimizer = MUP_ADAMW;
    p->lr = lr * p->scale.lr * beyond(train, &p->shape);
    p->eps = train->eps * b->duration.eps * p->scale.eps;
    p->shrink = (detached ? b->duration.lr : lr) *
                (p->scale.lr * p->scale.weight_decay) * decay;
    p->decay = p->lr > 0 ? p->shrink / p->lr : 0;
    p->has_second = p->optimizer == MUP_ADAMW || p->optimizer == MUP_ADAM;
}

static int too_large(struct builder *b, const char *name, const struct spec *s)
{
    if (s->slices <= MAX_ELEMENTS / s->rows / s->cols &&
        s->slices * s->rows * s->cols <= MAX_ELEMENTS - b->params->whole)
        return 0;
    b->status = mup_fail(b->err, MUP_USAGE,
                         "tensor '%s' of %lld x %lld x %lld makes the "
                         "model larger than 2^44 parameters; lower "
                         "model.width or model.experts",
                         name, (long long)s->slices, (long long)s->rows,
                         (long long)s->cols);
    return 1;
}

static int add(struct builder *b, const char *name, const struct spec *s)
{
    struct param *p = &b->params->list[b->params->n];

    if (b->status || too_large(b, name, s))
        return -1;
    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "%s", name);
    p->shape = (struct mup_shape){ p->name, s->role, s->out, s->in,
                                   b->layer >= 0 &&
                                       b->layer < b->config->model.layers };
    p->slices = s->slices;
    p->rows = s->rows;
    p->cols = s->cols;
    b->status = mup_scale(&b->rules, &p->shape, &p->scale, b->err);
    if (b->status)
        return -1;
    p->layer = b->layer;
    p->is_expert = s->role == MUP_EXPERT_UP || s->role == MUP_EXPERT_DOWN;
    p->cut = s->cut;
    p->partial = s->partial;
    p->box = layout_box(b->place, (int64_t[]){ s->slices, s->rows, s->cols },
                        s->cut, p->is_expert);
    p->count = p->box.extent[0] * p->box.extent[1] * p->box.extent[2];
    p->init_std = s->std * p->scale.init_std;
    p->ones = s->ones * p->scale.init_std;
    p->forward = s->mult * p->scale.forward;
    set_optimizer(b, p);
    b->params->whole += s->slices * s->rows * s->cols;
    return b->params->n++;
}

/* mult: the residual multiplier, for the norm at the end of a branch. */
static int add_gain(struct builder *b, const char *name, double mult)
{
    int64_t D = b->config->model.width;
    struct spec s = { MUP_VECTOR, 1, 1, D,   { D, b->base.width },
                      finite(1),  0, 1, mult };

    return add(b, name, &s);
}

/* A gain of one head: of a size that does not grow, unless heads do. */
static int add_head_gain(struct builder *b, const char *name)
{
    int64_t K = b->config->model.head_size;
    int grows = K != b->base.head_size;
    struct spec s = { grows ? MUP_VECTOR : MUP_FIXED,
                      1,
                      1,
                      K,
                      { K, grows ? b->base.head_size : 0 },
                      finite(1),
                      0,
                      1,
                      1,
                      CUT_NONE,
                      1 }; /* every rank sees other heads */

    return add(b, name, &s);
}

/* A kind of matrix: its role and how ranks cut it. */
struct kind {
    int role, cut;
};

static int add_matrix(struct builder *b, const char *name, struct kind kind,
                      const struct mup_dim size[2], double std)
{
    const struct mup_dim out = size[0], in = size[1];
    int expert = kind.role == MUP_EXPERT_UP || kind.role == MUP_EXPERT_DOWN;
    struct spec s = { .role = kind.role,
                      .slices = expert ? b->config->model.experts : 1,
                      .rows = out.size,
                      .cols = in.size,
                      .out = out,
                      .in = in,
                      .std = std,
                      .mult = 1,
                      .cut = kind.cut };

    return add(b, name, &s);
}

#define NAME(text)                                                             \
    (snprintf(name, sizeof(name), "blocks.%lld." text, (long long)layer), name)

static void add_attention(struct builder *b, int64_t layer,
                          struct block_params *bp)
{
    const struct model_config *m = &b->config->model, *m0 = &b->base;
    const struct mup_config *mup = &b->config->mup;
    const struct mup_dim D = { m->width, m0->width };
    const struct mup_dim Q = { config_heads(m) * m->head_size,
                               config_heads(m0) * m0->head_size };
    const struct mup_dim KV = { config_kv_heads(m) * m->head_size,
                                config_kv_heads(m0) * m0->head_size };
    const struct mup_dim q[] = { Q, D }, kv[] = { KV, D }, o[] = { D, Q };
    const struct kind query = { MUP_HIDDEN, CUT_ROWS };
    const struct kind key = { MUP_KEY_VALUE, CUT_ROWS };
    const struct kind mix = { MUP_HIDDEN, CUT_COLS };
    char name[64];
    double s = mup->init_std;

    bp->norm_attn_in = add_gain(b, NAME("attn.norm_in"), 1);
    bp->q = add_matrix(b, NAME("attn.q"), query, q, mup->zero_query ? 0 : s);
    bp->k = add_matrix(b, NAME("attn.k"), key, kv, s);
    bp->v = add_matrix(b, NAME("attn.v"), key, kv, s);
    bp->norm_q = bp->norm_k = -1;
    if (m->qk_norm) {
        bp->norm_q = add_head_gain(b, NAME("attn.norm_q"));
        bp->norm_k = add_head_gain(b, NAME("attn.norm_k"));
    }
    bp->o = add_matrix(b, NAME("attn.o"), mix, o, s);
    bp->norm_attn_out =
        add_gain(b, NAME("attn.norm_out"), mup_residual_scale(&b->rules));
}

static void add_experts(struct builder *b, int64_t layer,
                        struct block_params *bp)
{
    const struct model_config *m = &b->config->model, *m0 = &b->base;
    const struct mup_config *mup = &b->config->mup;
    const struct mup_dim D = { m->width, m0->width };
    const struct mup_dim F = { config_ffn(m), config_ffn(m0) };
    const struct mup_dim up[] = { F, D }, down[] = { D, F };
    const struct kind rise = { MUP_EXPERT_UP, CUT_ROWS };
    const struct kind fall = { MUP_EXPERT_DOWN, CUT_COLS };
    const struct kind shared_rise = { MUP_HIDDEN, CUT_ROWS };
    const struct kind shared_fall = { MUP_HIDDEN, CUT_COLS };
    const struct spec router = { MUP_ROUTER,         1, m->experts,    D.size,
                                 finite(m->experts), D, mup->init_std, 0,
                                 mup->router_mult };
    char name[64];
    double s = mup->init_std;

    bp->norm_moe_in = add_gain(b, NAME("moe.norm_in"), 1);
    bp->router = add(b, NAME("moe.router"), &router);
    bp->gate = add_matrix(b, NAME("moe.gate"), rise, up, s);
    bp->up = add_matrix(b, NAME("moe.up"), rise, up, s);
    bp->down = add_matrix(b, NAME("moe.down"), fall, down, s);
    bp->shared_gate = bp->shared_up = bp->shared_down = -1;
    if (m->shared_expert) {
        bp->shared_gate =
            add_matrix(b, NAME("moe.shared_gate"), shared_rise, up, s);
        bp->shared_up =
            add_matrix(b, NAME("moe.shared_up"), shared_rise, up, s);
        bp->shared_down =
            add_matrix(b, NAME("moe.shared_down"), shared_fall, down, s);
    }
    bp->norm_moe_out =
        add_gain(b, NAME("moe.norm_out"), mup_residual_scale(&b->rules));
}
#undef NAME

static int add_readout(struct builder *b)
{
    const struct model_config *m = &b->config->model;
    const struct mup_config *mup = &b->config->mup;
    struct mup_dim D = { m->width, b->base.width };
    struct spec s = { MUP_OUTPUT,
                      1,
                      m->vocab,
                      D.size,
                      finite(m->vocab),
                      D,
                      mup->zero_readout ? 0 : mup->init_std,
                      0,
                      mup->out_mult,
                      CUT_ROWS };
    struct mup_shape shape = { "unembed", MUP_OUTPUT, s.out, s.in };
    struct mup_scale scale;

    if (b->status)
        return -1;
    /* A tied table keeps the input rule; only the logits' path carries the
     * readout's 1/m: a tied table is never rescaled. */
    b->status = mup_scale(&b->rules, &shape, &scale, b->err);
    b->params->readout = mup->out_mult * scale.forward;
    return m->tied ? b->params->embed : add(b, "unembed", &s);
}

/* Places in the flat array: what many ranks hold in common first, so that
 * either kind is one range. */
static void place_tensors(struct params *params)
{
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < params->n; i++) {
            struct param *p = &params->list[i];

            if (p->is_expert != kind)
                continue;
            p->first = params->total;
            params->total += p->count;
        }
        if (kind == 0)
            params->dense_total = params->total;
    }
}

static int64_t active_elements(const struct params *params,
                               const struct model_config *m)
{
    int64_t active = 0;

    for (int i = 0; i < params->n; i++) {
        const struct param *p = &params->list[i];

        active += p->rows * p->cols * (p->is_expert ? m->top_k : 1);
    }
    return active;
}

static void build(struct builder *b)
{
    const struct run_config *c = b->config;
    const struct model_config *m = &c->model;
    const struct spec embed = { m->tied ? MUP_TIED : MUP_INPUT,
                                1,
                                m->vocab,
                                m->width,
                                { m->width, c->mup.base_width },
                                finite(m->vocab),
                                c->mup.init_std,
                                0,
                                c->mup.emb_mult,
                                CUT_ROWS };
    struct params *p = b->params;

    b->layer = -1;
    p->embed = add(b, "embed", &embed);
    for (b->layer = 0; b->layer < m->layers; b->layer++) {
        add_attention(b, b->layer, &p->block[b->layer]);
        add_experts(b, b->layer, &p->block[b->layer]);
    }
    p->norm_final = add_gain(b, "norm_final", 1);
    p->unembed = add_readout(b);
    p->attention = mup_attention_scale(&b->rules, c->mup.attn_mult,
                                       m->head_size, c->mup.base_head_size);
    p->beta1 = 1 - (1 - c->train.beta1) * b->duration.one_minus_beta;
    p->beta2 = 1 - (1 - c->train.beta2) * b->duration.one_minus_beta;
    if (!c->mup.duration) { /* not even a rounding */
        p->beta1 = c->train.beta1;
        p->beta2 = c->train.beta2;
    }
    place_tensors(p);
    p->active = active_elements(p, m);
}

int params_init(const struct run_config *config, const struct place *place,
                struct params *out, struct mup_error *err)
{
    const struct model_config *m = &config->model;
    struct params params = { 0 };
    struct builder b = { .config = config,
                         .place = place,
                         .rules = config_rules(config),
                         .base = config_base(config),
                         .params = &params,
                         .err = err };

    b.status = config_duration(config, &b.duration, err);
    if (b.status)
        return b.status;
    params.list = calloc((size_t)m->layers * 17 + 3, sizeof(*params.list));
    params.block = calloc((size_t)m->layers, sizeof(*params.block));
    if (!params.list || !params.block)
        b.status = mup_fail(err, MUP_SYSTEM, "out of memory for %lld layers",
                            (long long)m->layers);
    else
        build(&b);
    if (b.status)
        params_clear(&params);
    else
        *out = params;
    return b.status;
}

void params_clear(struct params *params)
{
    free(params->list);
    free(params->block);
    memset(params, 0, sizeof(*params));
}

int params_find(const struct params *params, const char *name)
{
    for (int i = 0; i < params->n; i++)
        if (!strcmp(params->list[i].name, name))
            return i;
    return -1;
}
