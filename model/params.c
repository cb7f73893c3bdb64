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
    struct mup_rules rules;
    struct model_config base; /* the same network at base width */
    struct params *params;
    struct mup_error *err;
    int status;
};

/* Shapes of a tensor that is about to be added. */
struct spec {
    int role;
    int64_t slices, rows, cols;
    struct mup_dim out, in;
    double std;  /* at base */
    double mult; /* tunable forward multiplier */
};

static struct mup_dim finite(int64_t size)
{
    return (struct mup_dim){ size, 0 };
}

static int add(struct builder *b, const char *name, const struct spec *s)
{
    const struct train_config *train = &b->config->train;
    struct param *p = &b->params->list[b->params->n];

    if (b->status)
        return -1;
    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "%s", name);
    p->shape = (struct mup_shape){ p->name, s->role, s->out, s->in };
    p->slices = s->slices;
    p->rows = s->rows;
    p->cols = s->cols;
    if (s->slices > MAX_ELEMENTS / s->rows / s->cols ||
        s->slices * s->rows * s->cols > MAX_ELEMENTS - b->params->total) {
        b->status = mup_fail(b->err, MUP_USAGE,
                             "tensor '%s' of %lld x %lld x %lld makes the "
                             "model larger than 2^44 parameters; lower "
                             "model.width or model.experts",
                             name, (long long)s->slices, (long long)s->rows,
                             (long long)s->cols);
        return -1;
    }
    b->status = mup_scale(&b->rules, &p->shape, &p->scale, b->err);
    if (b->status)
        return -1;
    p->count = s->slices * s->rows * s->cols;
    p->first = b->params->total;
    p->init_std = s->std * p->scale.init_std;
    p->ones = s->role == MUP_VECTOR;
    p->forward = s->mult * p->scale.forward;
    p->lr = train->lr * p->scale.lr;
    p->eps = train->eps * p->scale.eps;
    p->decay = train->weight_decay * p->scale.weight_decay;
    b->params->total += p->count;
    return b->params->n++;
}

static int add_gain(struct builder *b, const char *name)
{
    int64_t D = b->config->model.width;
    struct spec s = {
        MUP_VECTOR, 1, 1, D, { D, b->base.width }, finite(1), 0, 1
    };

    return add(b, name, &s);
}

static int add_matrix(struct builder *b, const char *name, int64_t slices,
                      struct mup_dim out, struct mup_dim in, double std)
{
    struct spec s = { MUP_HIDDEN, slices, out.size, in.size, out, in, std, 1 };

    return add(b, name, &s);
}

static void add_block(struct builder *b, int64_t layer)
{
    const struct model_config *m = &b->config->model, *m0 = &b->base;
    const struct mup_config *mup = &b->config->mup;
    struct block_params *bp = &b->params->block[layer];
    struct mup_dim D = { m->width, m0->width };
    struct mup_dim Q = { config_heads(m) * m->head_size,
                         config_heads(m0) * m0->head_size };
    struct mup_dim KV = { config_kv_heads(m) * m->head_size,
                          config_kv_heads(m0) * m0->head_size };
    struct mup_dim F = { config_ffn(m), config_ffn(m0) };
    struct spec router = { MUP_OUTPUT,         1,
                           m->experts,         D.size,
                           finite(m->experts), D,
                           mup->init_std,      mup->router_mult };
    char name[64];
    double s = mup->init_std;

#define NAME(text)                                                             \
    (snprintf(name, sizeof(name), "blocks.%lld." text, (long long)layer), name)
    bp->norm_attn_in = add_gain(b, NAME("attn.norm_in"));
    bp->q = add_matrix(b, NAME("attn.q"), 1, Q, D, mup->zero_query ? 0 : s);
    bp->k = add_matrix(b, NAME("attn.k"), 1, KV, D, s);
    bp->v = add_matrix(b, NAME("attn.v"), 1, KV, D, s);
    bp->o = add_matrix(b, NAME("attn.o"), 1, D, Q, s);
    bp->norm_attn_out = add_gain(b, NAME("attn.norm_out"));
    bp->norm_moe_in = add_gain(b, NAME("moe.norm_in"));
    bp->router = add(b, NAME("moe.router"), &router);
    bp->gate = add_matrix(b, NAME("moe.gate"), m->experts, F, D, s);
    bp->up = add_matrix(b, NAME("moe.up"), m->experts, F, D, s);
    bp->down = add_matrix(b, NAME("moe.down"), m->experts, D, F, s);
    bp->norm_moe_out = add_gain(b, NAME("moe.norm_out"));
#undef NAME
}

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
                      mup->out_mult };
    struct mup_shape shape = { "unembed", MUP_OUTPUT, s.out, s.in };
    struct mup_scale scale;

    if (b->status)
        return -1;
    /* A tied table keeps the input rule; only the logits' path carries the
     * readout's 1/m (mup-rules: never rescale a tied table). */
    b->status = mup_scale(&b->rules, &shape, &scale, b->err);
    b->params->readout = mup->out_mult * scale.forward;
    return m->tied ? b->params->embed : add(b, "unembed", &s);
}

static int64_t active_elements(const struct params *params,
                               const struct model_config *m)
{
    int64_t active = 0;

    for (int i = 0; i < params->n; i++) {
        const struct param *p = &params->list[i];

        active += p->slices > 1 ? p->count / p->slices * m->top_k : p->count;
    }
    return active;
}

int params_init(const struct run_config *config, struct params *out,
                struct mup_error *err)
{
    const struct model_config *m = &config->model;
    struct params params = { 0 };
    struct builder b = {
        .config = config, .base = *m, .params = &params, .err = err
    };
    struct spec embed = { MUP_INPUT,
                          1,
                          m->vocab,
                          m->width,
                          { m->width, config->mup.base_width },
                          finite(m->vocab),
                          config->mup.init_std,
                          config->mup.emb_mult };

    b.base.width = config->mup.base_width;
    b.base.head_size = config->mup.base_head_size;
    b.rules =
        (struct mup_rules){ config->mup.parametrization,
                            config->train.optimizer, config->train.decay_mode };
    params.list = calloc((size_t)m->layers * 12 + 3, sizeof(*params.list));
    params.block = calloc((size_t)m->layers, sizeof(*params.block));
    if (!params.list || !params.block) {
        b.status = mup_fail(err, MUP_SYSTEM, "out of memory for %lld layers",
                            (long long)m->layers);
    } else {
        params.embed = add(&b, "embed", &embed);
        for (int64_t l = 0; l < m->layers; l++)
            add_block(&b, l);
        params.norm_final = add_gain(&b, "norm_final");
        params.unembed = add_readout(&b);
        params.attention =
            mup_attention_scale(&b.rules, config->mup.attn_mult, m->head_size,
                                config->mup.base_head_size);
        params.active = active_elements(&params, m);
    }
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
