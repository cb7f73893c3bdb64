#include "sweep/coord_probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/exchange.h"
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

/* Which token each row of a layer's experts is of, as far as they are held
 * here: an expert's rows lie in the order of ranks and tokens. */
struct held_rows {
    int32_t *first; /* X+1: as held in struct block_state */
    int32_t *token; /* S: numbered over all ranks along `expert` */
};

/* With many ranks each looks at its sequences, heads, hidden units and
 * experts; sums over all of them make every value, on every rank. */
struct probe {
    const struct coord_probe_options *options;
    const struct coord_sink *sink;
    struct trainer trainer;
    struct tensor *tensor;   /* by parameter */
    struct view initial;     /* all weights at initialisation */
    struct view delta;       /* W_t - W_0 of all weights */
    struct view result;      /* of a product with W_0 or W_t - W_0 */
    struct view dx;          /* x_t - x_0 */
    struct view stream;      /* at step 1, before the last norm */
    struct held_rows *start; /* L: at step 1 */
    struct held_rows now;
    int32_t *source;       /* (ranks along `expert`, R): slot of each row */
    int64_t *source_count; /* of each rank */
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

static struct held_rows take_rows(const struct model *m, struct arena *a)
{
    struct held_rows h;

    h.first = arena_take(a, (size_t)(m->X + 1) * sizeof(*h.first));
    h.token = arena_take(a, (size_t)m->S * sizeof(*h.token));
    return h;
}

/* Point everything into the arena; base NULL counts. */
static void layout(struct probe *p, struct arena *a)
{
    const struct model *m = &p->trainer.model;
    int64_t ranks = m->ranks->expert.size;
    int64_t wide = larger(larger(m->D, m->V), larger(m->E, m->F));
    int64_t most = larger(wide * m->N, larger(m->F, m->D) * m->S);

    p->initial = take(p, a, 1, m->params.total);
    p->delta = take(p, a, 1, m->params.total);
    p->result = take(p, a, 1, most);
    p->dx = take(p, a, 1, most);
    p->stream = take(p, a, m->N, m->D);
    for (int64_t l = 0; l < m->L; l++)
        p->start[l] = take_rows(m, a);
    p->now = take_rows(m, a);
    p->source = arena_take(a, (size_t)(ranks * m->R) * sizeof(*p->source));
    p->source_count = arena_take(a, (size_t)ranks * sizeof(*p->source_count));
    p->load = arena_take(a, (size_t)m->E * sizeof(*p->load));
    for (int i = 0; i < m->params.n; i++) {
        const struct param *q = &m->params.list[i];
        int role = q->shape.role;
        int stacked = role == MUP_EXPERT_UP || role == MUP_EXPERT_DOWN;

        if (role != MUP_VECTOR && role != MUP_FIXED && role != MUP_INPUT)
            p->tensor[i].x =
                take(p, a, stacked ? m->S : m->N, q->box.extent[2]);
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
    p->start = calloc((size_t)p->trainer.model.L, sizeof(*p->start));
    if (!p->tensor || !p->start)
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

/* How the ranks along `tensor` have a value: all the same, or a part each. */
enum share { SAME, PART };

/* One rank's terms of a mean. */
struct mean {
    double sum, count;
};

/* The terms of all ranks, the same on each. */
static struct mean of_all(struct probe *p, struct mean m, int share)
{
    struct ranks *r = p->trainer.ranks;

    if (share == SAME && r->place.tensor > 0)
        m = (struct mean){ 0, 0 };
    comm_all_reduce(&r->all, &m, sizeof(m) / sizeof(double), COMM_F64);
    return m;
}

static double mean_of(struct probe *p, struct mean m, int share)
{
    const struct mean all = of_all(p, m, share);

    return all.sum / all.count;
}

static double mean_abs(struct probe *p, struct view x, int share)
{
    struct mean m = { 0, (double)x.rows * (double)x.cols };

    p->trainer.be.ops->sum_abs(&p->trainer.be, &m.sum, x);
    return mean_of(p, m, share);
}

/* Squares over so many rows here; the others are 0. */
static struct mean squares(struct probe *p, struct view x, int64_t rows,
                           int share)
{
    struct mean m = { 0, (double)rows * (double)x.cols };

    p->trainer.be.ops->sum_squares(&p->trainer.be, &m.sum, x);
    return of_all(p, m, share);
}

static double root(struct mean m)
{
    return sqrt(m.sum / m.count);
}

static double rms(struct probe *p, struct view x, int share)
{
    return root(squares(p, x, x.rows, share));
}

/* Terms that the ranks along `tensor` have of x become their sum. */
static void add_terms(struct probe *p, struct view x)
{
    struct trainer *t = &p->trainer;

    comm_all_reduce(&t->ranks->tensor, x.data, x.rows * x.cols,
                    model_comm_type(&t->model));
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

/* What is held of one tensor in an array as long as all weights held. */
static struct view part(struct probe *p, struct view all, int param)
{
    const struct param *q = &p->trainer.model.params.list[param];

    return view_of(view_at(&p->trainer.be, all, q->first),
                   q->box.extent[0] * q->box.extent[1], q->box.extent[2]);
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

/* Heads, hidden units and the vocabulary are cut; the rest is the same. */
static int share_of(const char *name)
{
    static const char *const cut[] = { "attn.q",   "attn.k",  "attn.v",
                                       "attn.mix", "moe.act", "moe.shared_act",
                                       "logits" };

    for (size_t i = 0; i < sizeof(cut) / sizeof(cut[0]); i++)
        if (!strcmp(name, cut[i]))
            return PART;
    return SAME;
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
        return;                        /* the sum of all branches but one */
    if (!strcmp(name, "moe.routed")) { /* before ranks' terms are added */
        copy(p, y, x);
        add_terms(p, y);
        x = y;
    }
    report(p, layer, name, quantity_of(p, name),
           mean_abs(p, x, share_of(name)));
    if (p->step == 1 || strcmp(name, "embed.out") != 0)
        return;
    p->trainer.be.ops->embed(
        &p->trainer.be, y, part(p, p->delta, params->embed),
        p->trainer.model.input, params->list[params->embed].forward);
    add_terms(p, y);
    report(p, layer, "embed.update", MUP_INPUT_UPDATE, rms(p, y, SAME));
}

static void on_attention_logits(void *context, int layer, double sum,
                                double pairs)
{
    report(context, layer, "attn.logits", MUP_ATTENTION_LOGITS,
           mean_of(context, (struct mean){ sum, pairs }, PART));
}

/* --- products --- */

/* Every rank's list of what it sends, back to back. */
static void gather_sources(struct probe *p, const struct block_state *s)
{
    const struct model *m = &p->trainer.model;
    struct comm *c = &p->trainer.ranks->expert;
    struct comm_request request = { 0 };
    int64_t first = 0;

    for (int i = 0; i < c->size; i++) {
        p->source_count[i] = 0;
        for (int64_t e = 0; e < m->E; e++)
            p->source_count[i] += s->counts[i * m->E + e];
        if (i < c->rank)
            first += p->source_count[i];
    }
    memcpy(p->source + first, s->source, (size_t)m->R * sizeof(*p->source));
    comm_all_gather(c, p->source, p->source_count, COMM_I32, &request);
    comm_wait(c, &request);
}

/* Number the rows of the experts held here, as exchange.c brought them. */
static void list_rows(struct probe *p, int layer, struct held_rows *out)
{
    const struct model *m = &p->trainer.model;
    const struct block_state *s = &m->block[layer];
    int64_t sent = 0; /* rows of the ranks before */

    gather_sources(p, s);
    memcpy(out->first, s->held, (size_t)(m->X + 1) * sizeof(*out->first));
    for (int i = 0; i < m->ranks->expert.size; i++) {
        int64_t at = sent; /* of expert e's rows of rank i */

        for (int64_t e = 0; e < m->E; e++) {
            int64_t n = s->counts[i * m->E + e], x = e - m->first_expert;

            for (int64_t j = 0; j < n && x >= 0 && x < m->X; j++)
                out->token[out->first[x]++] =
                    (int32_t)(i * m->max_batch * m->T +
                              p->source[at + j] / m->k);
            at += n;
        }
        sent = at;
    }
    memcpy(out->first, s->held, (size_t)(m->X + 1) * sizeof(*out->first));
}

/* dx = x_t - x_0 by token and expert, as routing permutes the rows; 0 in rows
 * without a partner.  Returns how many have one. */
static int64_t subtract_routed(struct probe *p, struct view dx, struct view x,
                               struct view start, int layer)
{
    const struct backend *be = &p->trainer.be;
    const struct held_rows *old = &p->start[layer], *now = &p->now;
    int64_t matched = 0;

    p->trainer.be.ops->zero(&p->trainer.be, dx);
    list_rows(p, layer, &p->now);
    for (int64_t e = 0; e < p->trainer.model.X; e++) {
        int32_t was = old->first[e];

        for (int32_t row = now->first[e]; row < now->first[e + 1]; row++) {
            while (was < old->first[e + 1] && old->token[was] < now->token[row])
                was++;
            if (was == old->first[e + 1] || old->token[was] != now->token[row])
                continue;
            subtract(p, view_rows(be, dx, row, 1), view_rows(be, x, row, 1),
                     view_rows(be, start, was, 1));
            matched++;
        }
    }
    return matched;
}

static void remember(struct probe *p, int param, struct view x, int routed)
{
    struct tensor *t = &p->tensor[param];

    t->x = view_of(t->x.data, x.rows, x.cols); /* maybe less than planned */
    copy(p, t->x, x);
    if (routed)
        list_rows(p, t->layer, &p->start[t->layer]);
}

/* forward * x W^T with another W. */
static struct view multiply(struct probe *p, int param, struct view x,
                            struct view w, const int32_t *offset)
{
    struct trainer *t = &p->trainer;
    const struct params *params = &t->model.params;
    const struct param *q = &params->list[param];
    struct view y = view_of(p->result.data, x.rows, q->box.extent[1]);
    double f = param == params->unembed ? params->readout : q->forward;

    if (offset)
        t->be.ops->gemm_grouped(&t->be, GROUP_FORWARD, y, x, w, offset,
                                t->model.X, f, 0);
    else
        t->be.ops->gemm(&t->be, y, x, w, 0, 1, f, 0);
    if (q->cut == CUT_COLS)
        add_terms(p, y);
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
    struct view dx = view_of(p->dx.data, x.rows, x.cols), y;
    const int share = q->cut == CUT_ROWS ? PART : SAME;
    int64_t rows = x.rows;
    struct mean moved;

    if (p->trainer.model.E == 1 && q->shape.role == MUP_ROUTER)
        return;
    if (p->step == 1) {
        remember(p, param, x, offset != NULL);
        return;
    }
    y = multiply(p, param, x, part(p, p->delta, param), offset);
    report_tensor(p, param, "update", update_quantity(p, param),
                  rms(p, y, share));
    if (!(q->init_std > 0))
        return; /* a tensor that starts at zero propagates nothing */
    if (offset)
        rows = subtract_routed(p, dx, x, t->x, t->layer);
    else
        subtract(p, dx, x, t->x);
    y = multiply(p, param, dx, part(p, p->initial, param), offset);
    moved = squares(p, y, rows, share);
    if (moved.count > 0) /* an expert kept a token, on some rank */
        report_tensor(p, param, "propagated",
                      mup_role_class(q->shape.role) == MUP_OUTPUT ||
                              param == p->trainer.model.params.unembed
                          ? MUP_PROPAGATED_LOGITS
                          : MUP_PROPAGATED,
                      root(moved));
}

/* --- the rest --- */

/* Gains have no product: the size of their change itself, times the factor
 * with which the form lets it act.  All ranks hold them whole. */
static void report_gains(struct probe *p)
{
    const struct params *params = &p->trainer.model.params;

    for (int i = 0; i < params->n && p->step > 1; i++) {
        const struct param *q = &params->list[i];

        if (q->shape.role == MUP_VECTOR || q->shape.role == MUP_FIXED)
            report_tensor(p, i, "update", update_quantity(p, i),
                          q->scale.forward *
                              rms(p, part(p, p->delta, i), SAME));
    }
}

static void report_change(struct probe *p)
{
    const struct model *m = &p->trainer.model;
    struct view stream = view_of(p->dx.data, m->N, m->D);

    if (p->step == 1) {
        p->stream = view_of(p->stream.data, m->N, m->D);
        copy(p, p->stream, m->x_final);
        return;
    }
    subtract(p, stream, m->x_final, p->stream);
    report(p, -1, "stream.change", MUP_CHANGE, rms(p, stream, SAME));
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

/* Of the whole tensor, from what each rank owns of it. */
static double gradient_rms(struct probe *p, int param)
{
    struct trainer *t = &p->trainer;
    const struct param *q = &t->model.params.list[param];
    struct mean m = { 0, 0 };

    for (int i = 0; i < t->zero.n_pieces; i++) {
        const struct zero_piece *z = &t->zero.piece[i];
        void *at = view_at(&t->be, t->zero.grads, z->state);

        if (z->param != param)
            continue;
        t->be.ops->sum_squares(&t->be, &m.sum, view_of(at, 1, z->count));
        m.count += (double)z->count;
    }
    return root(of_all(p, m, q->cut == CUT_NONE ? SAME : PART));
}

/* Each entry of a gradient over the factor of Adam's epsilon, which must fall
 * with it, for a loss whose own gradient at the logits is 1: that vanishes as
 * the batch is learnt, sooner in a wider model.  Later on the batch is known by
 * heart and its gradients are noise. */
static void report_gradients(struct probe *p)
{
    struct model *m = &p->trainer.model;
    double left = rms(p, m->logits, PART);

    for (int i = 0; i < m->params.n && p->step <= GRADIENT_STEPS; i++) {
        const struct tensor *t = &p->tensor[i];

        if (m->E == 1 && m->params.list[i].shape.role == MUP_ROUTER)
            continue;
        if (p->options->grow == MUP_GROW_DEPTH && i == m->params.embed)
            continue; /* what comes behind it is never the same */
        report_tensor(p, i, "gradient",
                      t->falls ? MUP_DOT_GRADIENT : MUP_GRADIENT,
                      gradient_rms(p, i) / (t->eps * left));
    }
}

/* This rank's share of the first batch, where it is its first micro-batch too
 * (coord_config_at). */
static void read_batch(struct probe *p)
{
    struct trainer *t = &p->trainer;
    const struct place *place = &t->ranks->place;
    int64_t parts = layout_batch_parts(&place->n);
    int64_t part = layout_batch_part(place), T = t->model.T;
    int64_t first = layout_cut(t->config.train.batch, parts, part);
    int64_t n = layout_cut(t->config.train.batch, parts, part + 1) - first;

    model_set_batch(&t->model, n < t->model.max_batch ? n : t->model.max_batch);
    for (int64_t b = 0; b < t->model.B; b++)
        data_sequence(&t->train, first + b, 1, t->input + b * T,
                      t->target + b * T);
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

    read_batch(p);
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
    rc = t->be.ops->sync(&t->be, err);
    return rc ? rc : comm_sync(&t->ranks->world, err);
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

static void probe_clear(struct probe *p)
{
    free(p->tensor);
    free(p->start);
    trainer_close(&p->trainer);
}

int coord_probe_plan(const struct run_config *config, struct ranks *ranks,
                     size_t *bytes, struct mup_error *err)
{
    static const struct coord_probe_options none = { 0 };
    struct probe p = { .options = &none };
    struct arena count = { 0 };
    int rc = trainer_plan(config, ranks, &p.trainer, err);

    if (rc)
        return rc;
    rc = describe_tensors(&p, err);
    if (!rc) {
        layout(&p, &count);
        *bytes = p.trainer.arena_bytes + count.used;
    }
    probe_clear(&p);
    return rc;
}

static int take_memory(struct probe *p, struct arena *arena,
                       struct mup_error *err)
{
    struct trainer *t = &p->trainer;

    layout(p, arena);
    arena->base = t->be.ops->alloc(&t->be, arena->used);
    if (!arena->base)
        return mup_fail(err, MUP_SYSTEM,
                        "cannot allocate %.1f MiB for the coordinate check "
                        "at width %" PRId64 "; leave out the largest size",
                        (double)arena->used / 1048576, t->config.model.width);
    arena->used = 0;
    layout(p, arena);
    return MUP_OK;
}

int coord_probe_run(const struct run_config *config,
                    const struct coord_probe_options *options,
                    const struct coord_sink *sink, struct mup_error *err)
{
    struct probe p = { .options = options, .sink = sink };
    struct arena arena = { 0 };
    struct trainer *t = &p.trainer;
    int rc = trainer_open(config, options->ranks, t, err);

    if (options->ranks)
        rc = comm_agree(&options->ranks->all, rc, err);
    if (!rc)
        rc = describe_tensors(&p, err);
    if (!rc)
        rc = take_memory(&p, &arena, err);
    if (options->ranks)
        rc = comm_agree(&options->ranks->all, rc, err);
    if (!rc)
        rc = run(&p, err);
    if (arena.base)
        t->be.ops->free(&t->be, arena.base);
    probe_clear(&p);
    return rc;
}
