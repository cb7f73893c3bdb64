#include "sweep/coord_probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/trainer.h"
#include "sweep/coord_name.h"

/* Gradients are looked at in so many first steps. */
#define GRADIENT_STEPS 2

/* Share of its start that a tensor loses to decay during the check. */
#define STRONG_DECAY 0.1

/* What the probe knows of one tensor. */
struct tensor {
    struct view x;    /* (rows, fan_in) its product's input at step 1; no
                       * data where there is no product */
    const char *tail; /* its name without the block */
    int layer;        /* -1 outside the blocks */
    int falls;        /* its gradient adds up terms of either sign */
    double eps;       /* factor of Adam's epsilon, as the gradient's size */
};

struct probe {
    const struct coord_probe_options *options;
    const struct coord_sink *sink;
    struct trainer trainer;
    struct tensor *tensor; /* by parameter */
    struct view initial;   /* all weights at initialisation */
    struct view delta;     /* W_t - W_0 of all weights */
    struct view result;    /* of a product with W_0 or W_t - W_0 */
    struct view dx;        /* x_t - x_0 */
    struct view stream;    /* at step 1, before the last norm */
    int32_t *expert, *row; /* (L, R) at step 1, by slot token*k + j */
    double *load;          /* E */
    int step;
};

/* --- memory --- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct view take(struct probe *p, struct arena *a, int64_t rows,
                        int64_t cols)
{
    size_t bytes = (size_t)(rows * cols) * dtype_bytes(p->trainer.be.dtype);

    return view_of(arena_take(a, bytes), rows, cols);
}

/* Point everything into the arena; base NULL counts. */
static void layout(struct probe *p, struct arena *a)
{
    const struct model *m = &p->trainer.model;
    size_t slots = (size_t)(m->L * m->R);
    int64_t wide = larger(larger(m->D, m->V), m->E);
    int64_t most = larger(wide * m->N, larger(m->F, m->D) * m->R);

    p->initial = take(p, a, 1, m->params.total);
    p->delta = take(p, a, 1, m->params.total);
    p->result = take(p, a, 1, most);
    p->dx = take(p, a, 1, most);
    p->stream = take(p, a, m->N, m->D);
    p->expert = arena_take(a, slots * sizeof(*p->expert));
    p->row = arena_take(a, slots * sizeof(*p->row));
    p->load = arena_take(a, (size_t)m->E * sizeof(*p->load));
    for (int i = 0; i < m->params.n; i++) {
        const struct param *q = &m->params.list[i];
        int role = q->shape.role;
        int stacked = role == MUP_EXPERT_UP || role == MUP_EXPERT_DOWN;

        if (role != MUP_VECTOR && role != MUP_FIXED && role != MUP_INPUT)
            p->tensor[i].x = take(p, a, stacked ? m->R : m->N, q->cols);
    }
}

/* The gradient of a router is a dot product of the experts' outputs with what
 * flows back, and so are those of query and key where their heads grow, and
 * those of the gains of query and key, which all heads share.  Gates that do
 * not sum to 1 fall with the router logits, and with them the experts' share
 * beside a shared expert; alone, the norm behind them makes up for it. */
static int gradient_falls(const struct probe *p, const struct param *q,
                          const char *tail)
{
    const struct model_config *m = &p->trainer.config.model;
    int attention = !strcmp(tail, "attn.q") || !strcmp(tail, "attn.k");
    int expert =
        q->shape.role == MUP_EXPERT_UP || q->shape.role == MUP_EXPERT_DOWN;

    if (expert && m->shared_expert && !m->router_renorm)
        return 1;
    return q->shape.role == MUP_ROUTER || !strncmp(tail, "attn.norm_q", 11) ||
           !strncmp(tail, "attn.norm_k", 11) ||
           (attention && p->options->grow == MUP_GROW_HEAD_SIZE);
}

static int describe_tensors(struct probe *p, struct mup_error *err)
{
    const struct params *params = &p->trainer.model.params;
    struct mup_rules rules = config_rules(&p->trainer.config);
    int rc = MUP_OK;

    rules.optimizer = MUP_ADAMW; /* whoever trains: the size of gradients */
    rules.atan2 = 0;
    p->tensor = calloc((size_t)params->n, sizeof(*p->tensor));
    if (!p->tensor)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d tensors",
                        params->n);
    for (int i = 0; rc == MUP_OK && i < params->n; i++) {
        const struct param *q = &params->list[i];
        struct tensor *t = &p->tensor[i];
        struct mup_scale scale;
        size_t n;
        const char *block = coord_name_block(q->name, &n);

        t->layer = block ? (int)strtol(block, NULL, 10) : -1;
        t->tail = coord_name_tail(q->name);
        t->falls = gradient_falls(p, q, t->tail);
        rc = mup_scale(&rules, &q->shape, &scale, err);
        if (rc == MUP_OK)
            t->eps = scale.eps;
    }
    return rc;
}

/* --- reporting --- */

static void report_as(struct probe *p, const char *block, const char *name,
                      int quantity, double value)
{
    char full[COORD_NAME_BYTES];

    snprintf(full, sizeof(full), "blocks.%s.%s", block, name);
    p->sink->value(p->sink->context, full, quantity, p->step, value);
}

/* Where depth grows, a row needs the same surroundings at every depth: an
 * update what comes before its tensor, as in the first block, a gradient what
 * comes behind it, as in the last, and the stream the whole sum. */
static int shows_first(int quantity)
{
    switch (quantity) {
    case MUP_STREAM:
    case MUP_GRADIENT:
    case MUP_DOT_GRADIENT:
    case MUP_PROPAGATED:
    case MUP_PROPAGATED_LOGITS:
        return 0;
    default:
        return 1;
    }
}

static int shows_last(int quantity)
{
    switch (quantity) {
    case MUP_UPDATE:
    case MUP_DOT_UPDATE:
    case MUP_PROPAGATED:
    case MUP_PROPAGATED_LOGITS:
        return 0;
    default:
        return 1;
    }
}

static void report(struct probe *p, int layer, const char *name, int quantity,
                   double value)
{
    int last = (int)p->trainer.model.L - 1;
    char number[16];

    if (layer < 0) {
        p->sink->value(p->sink->context, name, quantity, p->step, value);
    } else if (p->options->grow != MUP_GROW_DEPTH) {
        snprintf(number, sizeof(number), "%d", layer);
        report_as(p, number, name, quantity, value);
    } else {
        if (layer == 0 && shows_first(quantity))
            report_as(p, "first", name, quantity, value);
        if (layer == last && shows_last(quantity))
            report_as(p, "last", name, quantity, value);
    }
}

/* "attn.q" and "update": "attn.q.update". */
static void report_tensor(struct probe *p, int param, const char *what,
                          int quantity, double value)
{
    const struct params *params = &p->trainer.model.params;
    const struct tensor *t = &p->tensor[param];
    const char *tail = t->tail;
    char name[COORD_NAME_BYTES];

    if (param == params->unembed && quantity != MUP_GRADIENT)
        tail = "unembed"; /* a tied table is reported in both its places */
    snprintf(name, sizeof(name), "%s.%s", tail, what);
    report(p, t->layer, name, quantity, value);
}

/* What SGD makes of a gradient that falls; and, where decay takes a good part
 * of the start, what it takes from a readout or router, whose start falls. */
static int update_quantity(const struct probe *p, int param)
{
    const struct param *q = &p->trainer.model.params.list[param];
    int output = mup_role_class(q->shape.role) == MUP_OUTPUT ||
                 param == p->trainer.model.params.unembed;

    if (p->tensor[param].falls && q->optimizer == MUP_SGD)
        return MUP_DOT_UPDATE;
    return output && q->shrink * (double)p->options->steps > STRONG_DECAY
               ? MUP_DOT_UPDATE
               : MUP_UPDATE;
}

/* --- sizes --- */

static double mean_abs(struct probe *p, struct view x)
{
    double sum = 0;

    p->trainer.be.ops->sum_abs(&p->trainer.be, &sum, x);
    return sum / ((double)x.rows * (double)x.cols);
}

/* Root of the mean square over so many rows; the others are 0. */
static double rms_of_rows(struct probe *p, struct view x, int64_t rows)
{
    double sum = 0;

    p->trainer.be.ops->sum_squares(&p->trainer.be, &sum, x);
    return sqrt(sum / ((double)rows * (double)x.cols));
}

static double rms(struct probe *p, struct view x)
{
    return rms_of_rows(p, x, x.rows);
}

static void copy(struct probe *p, struct view y, struct view x)
{
    p->trainer.be.ops->zero(&p->trainer.be, y);
    p->trainer.be.ops->add(&p->trainer.be, y, x, 1);
}

/* y = a - b */
static void subtract(struct probe *p, struct view y, struct view a,
                     struct view b)
{
    copy(p, y, a);
    p->trainer.be.ops->add(&p->trainer.be, y, b, -1);
}

/* One tensor's part of an array as long as all weights. */
static struct view part(struct probe *p, struct view all, int param)
{
    const struct param *q = &p->trainer.model.params.list[param];
    size_t at = (size_t)q->first * dtype_bytes(p->trainer.be.dtype);

    return view_of((char *)all.data + at, q->slices * q->rows, q->cols);
}

/* --- activations --- */

/* Gates that do not sum to 1 are probabilities of the top-k experts: they
 * fall towards k/E together with the router logits. */
static int quantity_of(const struct probe *p, const char *name)
{
    if ((!strcmp(name, "moe.out") || !strcmp(name, "moe.routed")) &&
        !p->trainer.config.model.router_renorm)
        return MUP_GATED;
    if (!strcmp(name, "logits"))
        return MUP_OUTPUT_LOGITS;
    if (!strcmp(name, "moe.router.logits"))
        return MUP_ROUTER_LOGITS;
    if (!strcmp(name, "attn.residual") || !strcmp(name, "moe.residual"))
        return MUP_STREAM;
    return MUP_ACTIVATION;
}

static void on_activation(void *context, int layer, const char *name,
                          struct view x)
{
    struct probe *p = context;
    const struct params *params = &p->trainer.model.params;
    struct view y = view_of(p->result.data, x.rows, x.cols);

    if (!strcmp(name, "moe.router.probs"))
        return; /* its mean is 1/E; spread, entropy and load are reported */
    if (p->step == 1 && p->trainer.config.mup.zero_query &&
        !strcmp(name, "attn.q"))
        return; /* zero by request */
    if (p->trainer.model.E == 1 && !strncmp(name, "moe.router", 10))
        return; /* a single expert leaves nothing to route */
    if (p->options->grow == MUP_GROW_DEPTH && !strcmp(name, "attn.residual"))
        return; /* the sum of all branches but one */
    report(p, layer, name, quantity_of(p, name), mean_abs(p, x));
    if (p->step == 1 || strcmp(name, "embed.out") != 0)
        return;
    p->trainer.be.ops->embed(&p->trainer.be, y,
                             part(p, p->delta, params->embed), p->trainer.input,
                             params->list[params->embed].forward);
    report(p, layer, "embed.update", MUP_INPUT_UPDATE, rms(p, y));
}

static void on_attention_logits(void *context, int layer, double value)
{
    report(context, layer, "attn.logits", MUP_ATTENTION_LOGITS, value);
}

/* --- products --- */

/* Row of the slot of step 1 that sent the same token to the same expert, -1
 * where that expert is new to the token. */
static int32_t row_at_start(const struct probe *p, int layer, int64_t slot)
{
    const struct model *m = &p->trainer.model;
    const int32_t *expert = p->expert + (int64_t)layer * m->R;
    int64_t first = slot / m->k * m->k;

    for (int64_t s = first; s < first + m->k; s++)
        if (expert[s] == m->block[layer].expert[slot])
            return p->row[(int64_t)layer * m->R + s];
    return -1;
}

/* dx = x_t - x_0 by token and expert, as routing permutes the rows; 0 in rows
 * without a partner.  Returns how many have one. */
static int64_t subtract_routed(struct probe *p, struct view dx, struct view x,
                               struct view start, int layer)
{
    const struct backend *be = &p->trainer.be;
    const struct block_state *s = &p->trainer.model.block[layer];
    int64_t matched = 0;

    p->trainer.be.ops->zero(&p->trainer.be, dx);
    for (int64_t slot = 0; slot < p->trainer.model.R; slot++) {
        int32_t old = row_at_start(p, layer, slot), now = s->row[slot];

        if (old < 0)
            continue;
        subtract(p, view_rows(be, dx, now, 1), view_rows(be, x, now, 1),
                 view_rows(be, start, old, 1));
        matched++;
    }
    return matched;
}

static void remember(struct probe *p, int param, struct view x, int routed)
{
    const struct model *m = &p->trainer.model;
    int layer = p->tensor[param].layer;
    size_t bytes = (size_t)m->R * sizeof(int32_t);

    copy(p, p->tensor[param].x, x);
    if (!routed)
        return;
    memcpy(p->expert + (int64_t)layer * m->R, m->block[layer].expert, bytes);
    memcpy(p->row + (int64_t)layer * m->R, m->block[layer].row, bytes);
}

/* forward * x W^T with another W. */
static struct view multiply(struct probe *p, int param, struct view x,
                            struct view w, const int32_t *offset)
{
    struct trainer *t = &p->trainer;
    const struct params *params = &t->model.params;
    const struct param *q = &params->list[param];
    struct view y = view_of(p->result.data, x.rows, q->rows);
    double f = param == params->unembed ? params->readout : q->forward;

    if (offset)
        t->be.ops->gemm_grouped(&t->be, GROUP_FORWARD, y, x, w, offset,
                                t->model.E, f, 0);
    else
        t->be.ops->gemm(&t->be, y, x, w, 0, 1, f, 0);
    return y;
}

/* How far the update of this tensor moves its output, (W_t - W_0) x_t, and how
 * far what happened before it does, W_0 (x_t - x_0). */
static void on_product(void *context, int param, struct view x,
                       const int32_t *offset)
{
    struct probe *p = context;
    const struct param *q = &p->trainer.model.params.list[param];
    const struct tensor *t = &p->tensor[param];
    struct view dx = view_of(p->dx.data, x.rows, x.cols);
    int64_t rows = x.rows;

    if (p->trainer.model.E == 1 && q->shape.role == MUP_ROUTER)
        return;
    if (p->step == 1) {
        remember(p, param, x, offset != NULL);
        return;
    }
    report_tensor(
        p, param, "update", update_quantity(p, param),
        rms(p, multiply(p, param, x, part(p, p->delta, param), offset)));
    if (!(q->init_std > 0))
        return; /* a tensor that starts at zero propagates nothing */
    if (offset)
        rows = subtract_routed(p, dx, x, t->x, t->layer);
    else
        subtract(p, dx, x, t->x);
    if (rows > 0)
        report_tensor(p, param, "propagated",
                      mup_role_class(q->shape.role) == MUP_OUTPUT ||
                              param == p->trainer.model.params.unembed
                          ? MUP_PROPAGATED_LOGITS
                          : MUP_PROPAGATED,
                      rms_of_rows(p,
                                  multiply(p, param, dx,
                                           part(p, p->initial, param), offset),
                                  rows));
}

/* --- the rest --- */

/* Gains have no product: the size of their change itself, times the factor
 * with which the form lets it act. */
static void report_gains(struct probe *p)
{
    const struct params *params = &p->trainer.model.params;

    for (int i = 0; i < params->n && p->step > 1; i++) {
        const struct param *q = &params->list[i];

        if (q->shape.role == MUP_VECTOR || q->shape.role == MUP_FIXED)
            report_tensor(p, i, "update", update_quantity(p, i),
                          q->scale.forward * rms(p, part(p, p->delta, i)));
    }
}

static void report_change(struct probe *p)
{
    const struct model *m = &p->trainer.model;
    struct view stream = view_of(p->dx.data, m->N, m->D);

    if (p->step == 1) {
        copy(p, p->stream, m->x_final);
        return;
    }
    subtract(p, stream, m->x_final, p->stream);
    report(p, -1, "stream.change", MUP_CHANGE, rms(p, stream));
}

static void report_balance(struct probe *p)
{
    struct trainer *t = &p->trainer;

    for (int l = 0; l < t->model.L && t->model.E > 1; l++) {
        struct trainer_balance b;

        trainer_balance(t, l, &b, p->load);
        report(p, l, "moe.gate_spread", MUP_GATE_SPREAD, b.spread);
        report(p, l, "moe.gate_entropy", MUP_STATISTIC, b.entropy);
        report(p, l, "moe.load_max", MUP_LOAD, b.load_max);
    }
}

/* Each entry of a gradient over the factor of Adam's epsilon, which must fall
 * with it, for a loss whose own gradient at the logits is 1: that vanishes as
 * the batch is learnt, sooner in a wider model.  Later on the batch is known by
 * heart and its gradients are noise. */
static void report_gradients(struct probe *p)
{
    struct model *m = &p->trainer.model;
    double left = rms(p, m->logits);

    for (int i = 0; i < m->params.n && p->step <= GRADIENT_STEPS; i++) {
        const struct tensor *t = &p->tensor[i];

        if (m->E == 1 && m->params.list[i].shape.role == MUP_ROUTER)
            continue;
        if (p->options->grow == MUP_GROW_DEPTH && i == m->params.embed)
            continue; /* what comes behind it is never the same */
        report_tensor(p, i, "gradient",
                      t->falls ? MUP_DOT_GRADIENT : MUP_GRADIENT,
                      rms(p, m->grad[i]) / (t->eps * left));
    }
}

/* Look at the first micro-batch of the data, always the same one. */
static void look(struct probe *p)
{
    struct trainer *t = &p->trainer;
    struct model *m = &t->model;
    const struct loss_scale forward_only = { 0, 0 };
    const struct model_probe observer = { p, on_activation, on_product,
                                          on_attention_logits };
    struct model_losses losses = { 0 };

    for (int64_t b = 0; b < m->B; b++)
        data_sequence(&t->train, b, 1, t->input + b * m->T,
                      t->target + b * m->T);
    subtract(p, p->delta, m->all_weights, p->initial);
    m->probe = &observer;
    model_forward(m, t->input, t->target, &forward_only, &losses);
    m->probe = NULL;
    report_change(p);
    report_gains(p);
    report_balance(p);
}

/* All steps train on the first batch, which is also the one looked at: an
 * update is measured on data that it has seen, so its size is that of the
 * aligned update that the rules are about.  (As in microsoft/mup's
 * coord_check.) */
static int train_step(struct probe *p, int64_t step, struct mup_error *err)
{
    struct trainer *t = &p->trainer;
    struct trainer_step stats;
    int rc = trainer_gradients(t, 0, &stats, err);

    if (rc)
        return rc;
    report_gradients(p);
    if (!stats.finite)
        return MUP_OK; /* what exploded shows in the next look */
    trainer_update(t, step, &stats);
    return t->be.ops->sync(&t->be, err);
}

static int run(struct probe *p, struct mup_error *err)
{
    int rc = MUP_OK;

    copy(p, p->initial, p->trainer.model.all_weights);
    for (int64_t s = 0; !rc && s <= p->options->steps; s++) {
        p->step = (int)s + 1;
        look(p);
        if (s < p->options->steps)
            rc = train_step(p, s, err);
    }
    return rc;
}

int coord_probe_plan(const struct run_config *config, size_t *bytes,
                     struct mup_error *err)
{
    static const struct coord_probe_options none = { 0 };
    struct probe p = { .options = &none };
    struct arena count = { 0 };
    int rc = trainer_plan(config, NULL, &p.trainer, err);

    if (rc)
        return rc;
    rc = describe_tensors(&p, err);
    if (!rc) {
        layout(&p, &count);
        *bytes = p.trainer.arena_bytes + count.used;
    }
    free(p.tensor);
    trainer_close(&p.trainer);
    return rc;
}

int coord_probe_run(const struct run_config *config,
                    const struct coord_probe_options *options,
                    const struct coord_sink *sink, struct mup_error *err)
{
    struct probe p = { .options = options, .sink = sink };
    struct arena arena = { 0 };
    struct trainer *t = &p.trainer;
    int rc = trainer_open(config, NULL, t, err);

    if (rc)
        return rc;
    rc = describe_tensors(&p, err);
    if (!rc) {
        layout(&p, &arena);
        arena.base = t->be.ops->alloc(&t->be, arena.used);
        if (!arena.base)
            rc = mup_fail(err, MUP_SYSTEM,
                          "cannot allocate %.1f MiB for the coordinate check "
                          "at width %" PRId64 "; leave out the largest size",
                          (double)arena.used / 1048576, config->model.width);
    }
    if (!rc) {
        arena.used = 0;
        layout(&p, &arena);
        rc = run(&p, err);
    }
    if (arena.base)
        t->be.ops->free(&t->be, arena.base);
    free(p.tensor);
    trainer_close(t);
    return rc;
}
