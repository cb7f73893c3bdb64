#include "model/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/clock.h"
#include "model/schedule.h"

/* Point everything into the arena; base NULL counts. */
static void layout(struct trainer *t, struct arena *a)
{
    size_t N = (size_t)(t->model.max_batch * t->model.T);
    size_t ranks = (size_t)t->ranks->all.size;

    model_layout(&t->model, a);
    zero_layout(&t->zero, &t->model, a);
    optimizer_layout(&t->optimizer, &t->model, &t->zero, a);
    t->input = arena_take(a, N * sizeof(int32_t));
    t->target = arena_take(a, N * sizeof(int32_t));
    t->host = arena_take(a, N * (size_t)t->model.E * sizeof(double));
    t->balance = arena_take(a, (size_t)(t->model.E + 4) * sizeof(double));
    t->report = arena_take(a, ranks * sizeof(*t->report));
    t->report_counts = arena_take(a, ranks * sizeof(int64_t));
}

int trainer_plan(const struct run_config *config, struct ranks *ranks,
                 struct trainer *out, struct mup_error *err)
{
    struct trainer t = { .config = *config };
    struct arena count = { 0 };
    int rc = backend_open(config->run.backend, &t.be, err);

    if (rc)
        return rc;
    *out = t;
    ranks_alone(&out->alone);
    out->ranks = ranks ? ranks : &out->alone;
    rc = model_init(config, &out->be, out->ranks, &out->model, err);
    if (!rc)
        rc = zero_init(&out->model, &out->zero, err);
    if (rc) {
        model_clear(&out->model);
        return rc;
    }
    layout(out, &count);
    out->arena_bytes = count.used;
    if (count.used < ARENA_LIMIT)
        return MUP_OK;
    trainer_close(out);
    return mup_fail(err, MUP_USAGE,
                    "this model needs more than 256 TiB of memory; lower "
                    "train.micro_batch, model.seq or model.width");
}

static int open_data(struct trainer *t, struct mup_error *err)
{
    const struct run_config *c = &t->config;
    uint64_t seed = (uint64_t)c->train.seed;
    int rc = data_open(c->data.train, "train", c->model.seq, c->model.vocab,
                       seed, c->train.batch, &t->train, err);

    if (rc)
        return rc;
    /* One validation set for all seeds, so that their losses compare. */
    return data_open(c->data.valid, "valid", c->model.seq, c->model.vocab, 0, 1,
                     &t->valid, err);
}

static void watch_bucket(void *context, int bucket, int moment)
{
    const struct trainer *t = context;

    /* what was computed wrong is sealed so, what is damaged later is not */
    if (t->fault && moment == ZERO_COMPUTED)
        t->fault->bucket(t->fault->context, bucket, moment);
    if (t->guard)
        guard_bucket(t->guard, bucket, moment);
    if (t->fault && moment == ZERO_LEAVES)
        t->fault->bucket(t->fault->context, bucket, moment);
}

void trainer_reset(struct trainer *t)
{
    model_initialise(&t->model);
    t->be.ops->zero(&t->be, t->optimizer.moment);
    if (t->zero.second_total)
        t->be.ops->zero(&t->be, t->optimizer.variance);
    memset(&t->spike, 0, sizeof(t->spike));
}

int trainer_open(const struct run_config *config, struct ranks *ranks,
                 struct trainer *out, struct mup_error *err)
{
    struct arena arena = { 0 };
    int rc = trainer_plan(config, ranks, out, err);

    if (rc)
        return rc;
    rc = open_data(out, err);
    if (rc) {
        trainer_close(out);
        return rc;
    }
    out->memory = out->be.ops->alloc(&out->be, out->arena_bytes);
    if (!out->memory) {
        rc = mup_fail(err, MUP_SYSTEM,
                      "cannot allocate %.1f MiB for the model; lower "
                      "train.micro_batch or model.width",
                      (double)out->arena_bytes / 1048576);
        trainer_close(out);
        return rc;
    }
    arena.base = out->memory;
    layout(out, &arena);
    model_initialise(&out->model);
    out->zero.watch = (struct zero_watch){ out, watch_bucket };
    for (int i = 0; i < out->ranks->all.size; i++)
        out->report_counts[i] = sizeof(*out->report) / sizeof(double);
    rc = out->be.ops->sync(&out->be, err);
    if (rc)
        trainer_close(out);
    return rc;
}

void trainer_close(struct trainer *t)
{
    if (t->memory)
        t->be.ops->free(&t->be, t->memory);
    data_close(&t->train);
    data_close(&t->valid);
    zero_clear(&t->zero);
    model_clear(&t->model);
    memset(t, 0, sizeof(*t));
}

/* The next n sequences from `first` on, 0 to max_batch. */
static void read_batch(struct trainer *t, const struct data *data,
                       int64_t first, int64_t n, int shuffled)
{
    int64_t T = t->model.T;

    if (t->alive.pass)
        t->alive.pass(t->alive.context);
    model_set_batch(&t->model, n);
    for (int64_t b = 0; b < n; b++)
        data_sequence(data, first + b, shuffled, t->input + b * T,
                      t->target + b * T);
}

/* This rank's part of n sequences: *first and the one behind the last. */
static void own_share(const struct trainer *t, int64_t n, int64_t *first,
                      int64_t *end)
{
    const struct place *p = &t->ranks->place;
    int64_t parts = layout_batch_parts(&p->n), part = layout_batch_part(p);

    *first = layout_cut(n, parts, part);
    *end = layout_cut(n, parts, part + 1);
}

/* Forward passes that n sequences take; the same on all ranks, though some
 * may find nothing to do in the last. */
static int64_t passes(const struct trainer *t, int64_t n)
{
    int64_t parts = layout_batch_parts(&t->ranks->place.n);
    int64_t most = (n + parts - 1) / parts;

    return (most + t->model.max_batch - 1) / t->model.max_batch;
}

static int64_t clamp(int64_t x, int64_t most)
{
    return x < 0 ? 0 : x < most ? x : most;
}

static void start_reduction(void *context, int64_t layer)
{
    struct trainer *t = context;

    zero_reduce(&t->zero, &t->model, layer);
}

static void recompute(void *context, int64_t layer)
{
    struct trainer *t = context;

    zero_recompute(&t->zero, layer);
}

/* Sums of this rank's gradients in all_grads; `ready` takes them from there,
 * layer by layer. */
static void accumulate(struct trainer *t, int64_t step,
                       void (*ready)(void *, int64_t),
                       struct model_losses *losses)
{
    const struct train_config *c = &t->config.train;
    const double tokens = (double)c->batch * (double)t->model.T;
    const struct loss_scale scale = { 1 / tokens, 1 / (double)c->batch };
    const struct model_gradients reduction = { t, ready };
    int64_t first, end, n = passes(t, c->batch);

    own_share(t, c->batch, &first, &end);
    t->be.ops->zero(&t->be, t->model.all_grads);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = first + i * t->model.max_batch;

        read_batch(t, &t->train, step * c->batch + at,
                   clamp(end - at, t->model.max_batch), 1);
        model_forward(&t->model, t->input, t->target, &scale, losses);
        t->model.gradients = i + 1 == n ? &reduction : NULL;
        model_backward(&t->model, &scale);
    }
    t->model.gradients = NULL;
}

/* All ranks' reports to all; sums in the order of ranks. */
static struct trainer_report tell(struct trainer *t)
{
    struct trainer_report sum = { { 0 } };
    struct comm_request request = { 0 };

    comm_all_gather(&t->ranks->all, t->report, t->report_counts, COMM_F64,
                    &request);
    comm_wait(&t->ranks->all, &request);
    for (int i = 0; i < t->ranks->all.size; i++) {
        for (int k = 0; k < 4; k++)
            sum.losses[k] += t->report[i].losses[k];
        sum.squares += t->report[i].squares;
    }
    return sum;
}

/* Ranks along `tensor` see the same sequences: one of them counts. */
static void fill_losses(const struct trainer *t,
                        const struct model_losses *losses,
                        struct trainer_report *own)
{
    int counts = t->ranks->place.tensor == 0;

    for (int k = 0; k < 2; k++) {
        own->losses[k] = counts ? losses->sums[k] : 0;
        own->losses[2 + k] = counts ? losses->router[k] : 0;
    }
}

static int sync(struct trainer *t, struct mup_error *err)
{
    int rc = t->be.ops->sync(&t->be, err);

    return rc ? rc : comm_sync(&t->ranks->world, err);
}

int trainer_gradients(struct trainer *t, int64_t step, struct trainer_step *out,
                      struct mup_error *err)
{
    const struct train_config *c = &t->config.train;
    const double tokens = (double)c->batch * (double)t->model.T;
    struct trainer_report *own = &t->report[t->ranks->all.rank], all;
    struct model_losses losses = { 0 };
    double start = clock_s(), waited = t->ranks->world.stats.wait_s;
    int rc;

    if (t->guard)
        guard_begin(t->guard, step);
    accumulate(t, step, start_reduction, &losses);
    zero_finish(&t->zero, &t->model);
    if (t->guard)
        guard_reduced(t->guard);
    fill_losses(t, &losses, own);
    own->squares = zero_sum_squares(&t->zero, &t->model);
    own->compute_s = t->slept_s + clock_s() - start -
                     (t->ranks->world.stats.wait_s - waited);
    all = tell(t);
    rc = sync(t, err);
    if (rc)
        return rc;
    memset(out, 0, sizeof(*out));
    out->loss = all.losses[0] / tokens;
    out->z = all.losses[1] / tokens;
    out->balance = all.losses[2] / (double)(c->batch * t->model.L);
    out->router_z = all.losses[3] / (tokens * (double)t->model.L);
    out->grad_norm = sqrt(all.squares);
    out->lr = c->lr * schedule_factor(c, step);
    out->finite = isfinite(out->loss) && isfinite(out->grad_norm);
    out->compute_s = own->compute_s;
    return MUP_OK;
}

void trainer_update(struct trainer *t, int64_t step,
                    const struct trainer_step *stats)
{
    const struct train_config *c = &t->config.train;
    const struct optimizer_step s = {
        .step = step,
        .schedule = schedule_factor(c, step),
        .grad_scale = c->clip > 0 && stats->grad_norm > c->clip
                          ? c->clip / stats->grad_norm
                          : 1,
    };

    optimizer_update(&t->optimizer, &t->model, &t->zero, &s);
    if (t->guard)
        guard_updated(t->guard);
    zero_gather(&t->zero, &t->model);
    if (t->fault)
        t->fault->gathered(t->fault->context);
    if (t->guard)
        guard_gathered(t->guard);
}

/* The batch's gradients once more, and again where they are others.  Alone
 * they take the place of those that the update would have read: the same bits,
 * or a finding. */
static void look_again(struct trainer *t, int64_t step)
{
    struct model_losses losses = { 0 };

    guard_used(t->guard);
    t->guard->execution = 1;
    accumulate(t, step, recompute, &losses);
    if (!guard_differs(t->guard))
        return;
    t->guard->execution = 2;
    accumulate(t, step, recompute, &losses);
    guard_decide(t->guard);
}

int trainer_step(struct trainer *t, int64_t step, struct trainer_step *out,
                 struct mup_error *err)
{
    int rc = trainer_gradients(t, step, out, err);

    if (rc)
        return rc;
    if (t->guard && guard_looks(t->guard, step))
        look_again(t, step);
    if (t->guard)
        guard_verify(t->guard);
    out->threshold = spike_threshold(&t->spike, t->config.train.spike_limit);
    out->skipped =
        out->finite &&
        spike_is(&t->spike, t->config.train.spike_limit, out->grad_norm);
    if (out->finite && !out->skipped)
        trainer_update(t, step, out);
    else if (t->guard) /* is it the gradient that is damaged? */
        guard_used(t->guard);
    return sync(t, err);
}

int trainer_evaluate(struct trainer *t, double *loss, struct mup_error *err)
{
    const struct loss_scale forward_only = { 0, 0 };
    struct trainer_report *own = &t->report[t->ranks->all.rank];
    int64_t n = t->config.data.valid_sequences, first, end;
    struct model_losses losses = { 0 };
    int rc;

    if (!t->valid.synthetic && n > t->valid.windows)
        n = t->valid.windows;
    own_share(t, n, &first, &end);
    for (int64_t i = 0; i < passes(t, n); i++) {
        int64_t at = first + i * t->model.max_batch;

        read_batch(t, &t->valid, at, clamp(end - at, t->model.max_batch), 0);
        model_forward(&t->model, t->input, t->target, &forward_only, &losses);
    }
    fill_losses(t, &losses, own);
    *loss = tell(t).losses[0] / ((double)n * (double)t->model.T);
    rc = sync(t, err);
    return rc;
}

/* Sums over this rank's tokens: rows of each expert, entropy, spread. */
static void sum_balance(struct trainer *t, const struct block_state *s)
{
    const struct model *m = &t->model;
    double *sums = t->balance;

    memset(sums, 0, (size_t)(m->E + 4) * sizeof(*sums));
    if (t->ranks->place.tensor > 0)
        return;
    for (int64_t e = 0; e < m->E; e++)
        sums[e] = s->offset[e + 1] - s->offset[e];
    t->be.ops->download(&t->be, t->host, s->probs.data, m->N * m->E);
    for (int64_t n = 0; n < m->N; n++) {
        const double *p = t->host + n * m->E;
        double low = 1, high = 0;

        for (int64_t e = 0; e < m->E; e++) {
            sums[m->E] -= p[e] > 0 ? p[e] * log(p[e]) : 0;
            low = p[e] < low ? p[e] : low;
            high = p[e] > high ? p[e] : high;
        }
        sums[m->E + 1] += high - low;
    }
    sums[m->E + 2] = (double)m->N;
    sums[m->E + 3] = (double)m->R;
}

void trainer_balance(struct trainer *t, int layer, struct trainer_balance *out,
                     double *load)
{
    const int64_t E = t->model.E;
    const double *sums = t->balance;
    struct trainer_balance b = { 0 };

    sum_balance(t, &t->model.block[layer]);
    comm_all_reduce(&t->ranks->all, t->balance, E + 4, COMM_F64);
    for (int64_t e = 0; e < E; e++) {
        load[e] = sums[e] / sums[E + 3];
        b.dead += sums[e] == 0;
        if (load[e] * (double)E > b.load_max)
            b.load_max = load[e] * (double)E;
    }
    b.entropy = sums[E] / sums[E + 2];
    b.spread = sums[E + 1] / sums[E + 2];
    *out = b;
}
