#include "model/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/schedule.h"

/* Point everything into the arena; base NULL counts. */
static void layout(struct trainer *t, struct arena *a)
{
    size_t N = (size_t)t->model.N;

    model_layout(&t->model, a);
    optimizer_layout(&t->optimizer, &t->model, a);
    t->input = arena_take(a, N * sizeof(int32_t));
    t->target = arena_take(a, N * sizeof(int32_t));
    t->host = arena_take(a, N * (size_t)t->model.E * sizeof(double));
}

int trainer_plan(const struct run_config *config, struct trainer *out,
                 struct mup_error *err)
{
    struct trainer t = { .config = *config };
    struct arena count = { 0 };
    int rc = backend_open(config->run.backend, &t.be, err);

    if (rc)
        return rc;
    *out = t;
    rc = model_init(config, &out->be, &out->model, err);
    if (rc)
        return rc;
    layout(out, &count);
    out->arena_bytes = count.used;
    if (count.used < ARENA_LIMIT)
        return MUP_OK;
    model_clear(&out->model);
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
    rc = data_open(c->data.valid, "valid", c->model.seq, c->model.vocab, 0, 1,
                   &t->valid, err);
    if (rc)
        data_close(&t->train);
    return rc;
}

int trainer_open(const struct run_config *config, struct trainer *out,
                 struct mup_error *err)
{
    struct arena arena = { 0 };
    int rc = trainer_plan(config, out, err);

    if (rc)
        return rc;
    rc = open_data(out, err);
    if (rc) {
        model_clear(&out->model);
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
    model_clear(&t->model);
    memset(t, 0, sizeof(*t));
}

static void read_batch(struct trainer *t, const struct data *data,
                       int64_t first, int64_t n, int shuffled)
{
    int64_t T = t->model.T;

    for (int64_t b = 0; b < t->model.B; b++) {
        /* a short last batch is filled by repeating its first sequence */
        int64_t sample = first + (b < n ? b : 0);

        data_sequence(data, sample, shuffled, t->input + b * T,
                      t->target + b * T);
    }
}

int trainer_gradients(struct trainer *t, int64_t step, struct trainer_step *out,
                      struct mup_error *err)
{
    const struct train_config *c = &t->config.train;
    const double tokens = (double)c->batch * (double)t->model.T;
    const struct loss_scale scale = { 1 / tokens, 1 / (double)c->batch, 0 };
    struct model_losses losses = { 0 };
    double squares = 0;
    int rc;

    t->be.ops->zero(&t->be, t->model.all_grads);
    for (int64_t i = 0; i < c->batch; i += t->model.B) {
        read_batch(t, &t->train, step * c->batch + i, t->model.B, 1);
        model_forward(&t->model, t->input, t->target, &scale, &losses);
        model_backward(&t->model, t->input, &scale);
    }
    t->be.ops->sum_squares(&t->be, &squares, t->model.all_grads);
    rc = t->be.ops->sync(&t->be, err);
    if (rc)
        return rc;
    out->loss = losses.sums[0] / tokens;
    out->balance = losses.router[0] / (double)(c->batch * t->model.L);
    out->grad_norm = sqrt(squares);
    out->lr = c->lr * schedule_factor(c, step);
    out->finite = isfinite(out->loss) && isfinite(out->grad_norm);
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

    optimizer_update(&t->optimizer, &t->model, &s);
}

int trainer_step(struct trainer *t, int64_t step, struct trainer_step *out,
                 struct mup_error *err)
{
    int rc = trainer_gradients(t, step, out, err);

    if (rc || !out->finite)
        return rc;
    trainer_update(t, step, out);
    return t->be.ops->sync(&t->be, err);
}

int trainer_evaluate(struct trainer *t, double *loss, struct mup_error *err)
{
    int64_t n = t->config.data.valid_sequences;
    struct model_losses losses = { 0 };
    int rc;

    if (!t->valid.synthetic && n > t->valid.windows)
        n = t->valid.windows;
    for (int64_t i = 0; i < n; i += t->model.B) {
        int64_t rows = n - i < t->model.B ? n - i : t->model.B;
        struct loss_scale scale = { 0, 0, rows * t->model.T };

        read_batch(t, &t->valid, i, rows, 0);
        model_forward(&t->model, t->input, t->target, &scale, &losses);
    }
    rc = t->be.ops->sync(&t->be, err);
    if (!rc)
        *loss = losses.sums[0] / ((double)n * (double)t->model.T);
    return rc;
}

void trainer_balance(struct trainer *t, int layer, struct trainer_balance *out,
                     double *load)
{
    const struct model *m = &t->model;
    const struct block_state *s = &m->block[layer];
    struct trainer_balance b = { 0 };

    for (int64_t e = 0; e < m->E; e++) {
        int64_t rows = s->offset[e + 1] - s->offset[e];

        load[e] = (double)rows / (double)m->R;
        b.dead += rows == 0;
        if (load[e] * (double)m->E > b.load_max)
            b.load_max = load[e] * (double)m->E;
    }
    t->be.ops->download(&t->be, t->host, s->probs.data, m->N * m->E);
    for (int64_t n = 0; n < m->N; n++) {
        const double *p = t->host + n * m->E;
        double low = 1, high = 0;

        for (int64_t e = 0; e < m->E; e++) {
            b.entropy -= p[e] > 0 ? p[e] * log(p[e]) : 0;
            low = p[e] < low ? p[e] : low;
            high = p[e] > high ? p[e] : high;
        }
        b.spread += high - low;
    }
    b.entropy /= (double)m->N;
    b.spread /= (double)m->N;
    *out = b;
}
