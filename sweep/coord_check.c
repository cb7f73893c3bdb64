#include "sweep/coord_check.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/file.h"
#include "model/trainer.h"

#define NAME_BYTES 80

/* The batch of the check.  An update is aligned with a token only as far as
 * that token is a large part of the batch; with many more tokens than width
 * one would measure noise (docs/mathematics.md). */
#define CHECK_SEQUENCES 2
#define CHECK_TOKENS    16

/* One recorded quantity at one step: value[seed * n_widths + width]. */
struct series {
    char name[NAME_BYTES];
    int quantity;
    int step;
    double *value;
};

struct recorder {
    const struct coord_options *options;
    struct series *series;
    int n, capacity;
    int failed; /* out of memory */
    /* what is being recorded now */
    struct trainer trainer;
    void *initial; /* all weights at initialisation */
    void *delta;   /* W_t - W_0 of all weights */
    void *product; /* result of x (W_t - W_0)^T */
    int step, width, seed;
};

/* --- the table of series --- */

static struct series *find_series(struct recorder *r, const char *name,
                                  int quantity)
{
    size_t cells = (size_t)r->options->n_widths * (size_t)r->options->seeds;
    struct series *s;

    for (int i = 0; i < r->n; i++)
        if (r->series[i].step == r->step && !strcmp(r->series[i].name, name))
            return &r->series[i];
    if (r->n == r->capacity) {
        int grown = r->capacity ? 2 * r->capacity : 256;

        s = realloc(r->series, (size_t)grown * sizeof(*s));
        if (!s)
            return NULL;
        r->series = s;
        r->capacity = grown;
    }
    s = &r->series[r->n];
    s->value = malloc(cells * sizeof(double));
    if (!s->value)
        return NULL;
    for (size_t i = 0; i < cells; i++)
        s->value[i] = NAN;
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->quantity = quantity;
    s->step = r->step;
    r->n++;
    return s;
}

static void record(struct recorder *r, const char *name, int quantity,
                   double value)
{
    struct series *s = find_series(r, name, quantity);

    if (s)
        s->value[r->seed * r->options->n_widths + r->width] = value;
    else
        r->failed = 1;
}

static void clear_series(struct recorder *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->series[i].value);
    free(r->series);
}

/* --- probes --- */

static double mean_abs(struct recorder *r, struct view x)
{
    double sum = 0;

    r->trainer.be.ops->sum_abs(&r->trainer.be, &sum, x);
    return sum / ((double)x.rows * (double)x.cols);
}

static double rms(struct recorder *r, struct view x)
{
    double sum = 0;

    r->trainer.be.ops->sum_squares(&r->trainer.be, &sum, x);
    return sqrt(sum / ((double)x.rows * (double)x.cols));
}

/* Gates that do not sum to 1 are probabilities of the top-k experts: they
 * fall towards k/E together with the router logits. */
static int quantity_of(const struct recorder *r, const char *name)
{
    if ((!strcmp(name, "moe.out") || !strcmp(name, "moe.routed")) &&
        !r->trainer.config.model.router_renorm)
        return MUP_GATED;
    if (!strcmp(name, "logits"))
        return MUP_OUTPUT_LOGITS;
    if (!strcmp(name, "moe.router.logits"))
        return MUP_ROUTER_LOGITS;
    return MUP_ACTIVATION;
}

static struct view delta_of(struct recorder *r, int param)
{
    const struct param *p = &r->trainer.model.params.list[param];
    size_t at = (size_t)p->first * dtype_bytes(r->trainer.be.dtype);

    return view_of((char *)r->delta + at, p->slices * p->rows, p->cols);
}

static void on_activation(void *context, int layer, const char *name,
                          struct view x)
{
    struct recorder *r = context;
    char full[NAME_BYTES];

    if (!strcmp(name, "moe.router.probs"))
        return; /* its mean is 1/E; entropy and load are recorded instead */
    if (r->step == 1 && r->trainer.config.mup.zero_query &&
        !strcmp(name, "attn.q"))
        return; /* zero by request */
    if (r->trainer.model.E == 1 && !strncmp(name, "moe.router", 10))
        return; /* a single expert leaves nothing to route */
    if (layer >= 0)
        snprintf(full, sizeof(full), "blocks.%d.%s", layer, name);
    else
        snprintf(full, sizeof(full), "%s", name);
    record(r, full, quantity_of(r, name), mean_abs(r, x));
    if (!strcmp(name, "embed.out") && r->step > 1) {
        const struct params *params = &r->trainer.model.params;
        struct view y = view_of(r->product, x.rows, x.cols);

        r->trainer.be.ops->embed(&r->trainer.be, y, delta_of(r, params->embed),
                                 r->trainer.input,
                                 params->list[params->embed].forward);
        record(r, "embed.update", MUP_UPDATE, rms(r, y));
    }
}

/* rms of f * x (W_t - W_0)^T: how far the update moves the output. */
static void on_product(void *context, int param, struct view x,
                       const int32_t *offset)
{
    struct recorder *r = context;
    struct trainer *t = &r->trainer;
    const struct params *params = &t->model.params;
    const struct param *p = &params->list[param];
    struct view y = view_of(r->product, x.rows, p->rows);
    double f = param == params->unembed ? params->readout : p->forward;
    char name[NAME_BYTES];

    if (r->step == 1 || (t->model.E == 1 && strstr(p->name, "router")))
        return;
    if (offset)
        t->be.ops->gemm_grouped(&t->be, GROUP_FORWARD, y, x, delta_of(r, param),
                                offset, t->model.E, f, 0);
    else
        t->be.ops->gemm(&t->be, y, x, delta_of(r, param), 0, 1, f, 0);
    snprintf(name, sizeof(name), "%s.update",
             param == params->unembed ? "unembed" : p->name);
    record(r, name, MUP_UPDATE, rms(r, y));
}

static void on_attention_logits(void *context, int layer, double value)
{
    char name[NAME_BYTES];

    snprintf(name, sizeof(name), "blocks.%d.attn.logits", layer);
    record(context, name, MUP_ATTENTION_LOGITS, value);
}

/* Gains have no product: the size of their change itself. */
static void record_vectors(struct recorder *r)
{
    const struct params *params = &r->trainer.model.params;
    char name[NAME_BYTES];

    for (int i = 0; i < params->n && r->step > 1; i++) {
        if (params->list[i].shape.role != MUP_VECTOR)
            continue;
        snprintf(name, sizeof(name), "%s.update", params->list[i].name);
        record(r, name, MUP_UPDATE, rms(r, delta_of(r, i)));
    }
}

static void record_balance(struct recorder *r, double *load)
{
    struct trainer *t = &r->trainer;
    char name[NAME_BYTES];

    for (int l = 0; l < t->model.L && t->model.E > 1; l++) {
        struct trainer_balance b;

        trainer_balance(t, l, &b, load);
        snprintf(name, sizeof(name), "blocks.%d.moe.gate_entropy", l);
        record(r, name, MUP_STATISTIC, b.entropy);
        snprintf(name, sizeof(name), "blocks.%d.moe.load_max", l);
        record(r, name, MUP_STATISTIC, b.load_max);
    }
}

/* --- one width, one seed --- */

/* The first micro-batch of the data, always the same one. */
static void probe(struct recorder *r, double *load)
{
    struct trainer *t = &r->trainer;
    struct model *m = &t->model;
    const struct loss_scale forward_only = { 0, 0, 0 };
    const struct model_probe observer = { r, on_activation, on_product,
                                          on_attention_logits };
    struct model_losses losses = { 0 };
    size_t bytes = m->parameter_bytes;
    struct view delta = view_of(r->delta, 1, m->params.total);

    for (int64_t b = 0; b < m->B; b++)
        data_sequence(&t->train, b, 1, t->input + b * m->T,
                      t->target + b * m->T);
    memcpy(r->delta, m->all_weights.data, bytes);
    t->be.ops->add(&t->be, delta, view_of(r->initial, 1, m->params.total), -1);
    m->probe = &observer;
    model_forward(m, t->input, t->target, &forward_only, &losses);
    m->probe = NULL;
    record_vectors(r);
    record_balance(r, load);
}

static int64_t product_elements(const struct model *m)
{
    int64_t wide = m->D > m->V ? m->D : m->V;
    int64_t most = wide > m->E ? wide : m->E;
    int64_t routed = (m->F > m->D ? m->F : m->D) * m->R;

    return most * m->N > routed ? most * m->N : routed;
}

/* All steps train on the first batch, which is also the probe: an update is
 * measured on data that it has seen, so its size is that of the aligned
 * update that the rules are about.  (As in microsoft/mup's coord_check.) */
static int one_step(struct trainer *t, int64_t step, struct mup_error *err)
{
    struct trainer_step stats;
    int rc = trainer_gradients(t, 0, &stats, err);

    if (rc || !stats.finite)
        return rc; /* what exploded shows in the next probe */
    trainer_update(t, step, &stats);
    return t->be.ops->sync(&t->be, err);
}

static int train_and_probe(struct recorder *r, double *load,
                           struct mup_error *err)
{
    int rc = MUP_OK;

    memcpy(r->initial, r->trainer.model.all_weights.data,
           r->trainer.model.parameter_bytes);
    for (int64_t s = 0; !rc && s <= r->options->steps; s++) {
        r->step = (int)s + 1;
        probe(r, load);
        if (s < r->options->steps)
            rc = one_step(&r->trainer, s, err);
    }
    if (!rc && r->failed)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory while recording");
    return rc;
}

static int run_one(struct recorder *r, const struct run_config *config,
                   struct mup_error *err)
{
    struct trainer *t = &r->trainer;
    double *load = NULL;
    size_t bytes, product;
    int rc;

    memset(t, 0, sizeof(*t));
    rc = trainer_open(config, t, err);
    if (rc)
        return rc;
    bytes = t->model.parameter_bytes;
    product = (size_t)product_elements(&t->model) * dtype_bytes(t->be.dtype);
    r->initial = t->be.ops->alloc(&t->be, bytes);
    r->delta = t->be.ops->alloc(&t->be, bytes);
    r->product = t->be.ops->alloc(&t->be, product);
    load = calloc((size_t)t->model.E, sizeof(*load));
    if (r->initial && r->delta && r->product && load)
        rc = train_and_probe(r, load, err);
    else
        rc =
            mup_fail(err, MUP_SYSTEM,
                     "out of memory for the coordinate check at width %" PRId64,
                     config->model.width);
    t->be.ops->free(&t->be, r->initial);
    t->be.ops->free(&t->be, r->delta);
    t->be.ops->free(&t->be, r->product);
    free(load);
    trainer_close(t);
    return rc;
}

/* The config of one width and seed: a small batch, and the peak learning rate
 * from the first step on. */
static struct run_config config_of(const struct recorder *r,
                                   const struct run_config *config)
{
    struct run_config c = *config;

    c.model.width = r->options->widths[r->width];
    if (c.model.seq > CHECK_TOKENS)
        c.model.seq = CHECK_TOKENS;
    if (c.train.batch > CHECK_SEQUENCES)
        c.train.batch = CHECK_SEQUENCES;
    c.train.micro_batch = 0;
    c.train.schedule = SCHEDULE_CONSTANT;
    c.train.warmup = 0;
    c.train.seed = config->train.seed + r->seed;
    return c;
}

static int run_all(struct recorder *r, const struct run_config *config,
                   const struct coord_hooks *hooks, struct mup_error *err)
{
    const struct coord_options *o = r->options;
    int total = o->n_widths * (int)o->seeds, done = 0, rc = MUP_OK;

    for (r->seed = 0; r->seed < o->seeds; r->seed++) {
        for (r->width = 0; r->width < o->n_widths; r->width++) {
            struct run_config c = config_of(r, config);

            if (hooks && hooks->should_stop &&
                hooks->should_stop(hooks->context))
                return mup_fail(err, MUP_STOPPED,
                                "stopped on request; nothing was written");
            rc = run_config_check(&c, err);
            if (!rc)
                rc = run_one(r, &c, err);
            if (rc)
                return rc;
            if (hooks && hooks->progress)
                hooks->progress(hooks->context, ++done, total);
        }
    }
    return MUP_OK;
}

/* --- verdict --- */

void coord_result_clear(struct coord_result *result)
{
    free(result->rows);
    free(result->names);
    memset(result, 0, sizeof(*result));
}

static int judge_rows(const struct recorder *r, struct mup_coord_row *rows,
                      char *names, struct mup_error *err)
{
    const struct coord_options *o = r->options;
    double width[16];
    int rc = MUP_OK;

    for (int i = 0; i < o->n_widths; i++)
        width[i] = (double)o->widths[i];
    for (int i = 0; !rc && i < r->n; i++) {
        const struct series *s = &r->series[i];
        char *name = names + (size_t)i * NAME_BYTES;

        snprintf(name, NAME_BYTES, "%s", s->name);
        rows[i].name = name;
        rows[i].quantity = s->quantity;
        rows[i].step = s->step;
        rc = mup_coord_judge(&rows[i], width, o->n_widths, s->value,
                             (int)o->seeds, 0, err);
    }
    return rc;
}

static int judge(const struct recorder *r, struct coord_result *out,
                 struct mup_error *err)
{
    struct mup_coord_row *rows = calloc((size_t)r->n + 1, sizeof(*rows));
    char *names = calloc((size_t)r->n + 1, NAME_BYTES);
    int worst = -1;
    int rc = rows && names
                 ? judge_rows(r, rows, names, err)
                 : mup_fail(err, MUP_SYSTEM, "out of memory for the verdict");

    if (rc) {
        free(rows);
        free(names);
        return rc;
    }
    *out = (struct coord_result){
        .verdict = mup_coord_overall(rows, r->n, &worst),
        .n_rows = r->n,
        .rows = rows,
        .names = names,
    };
    out->worst = worst;
    return MUP_OK;
}

/* --- result files --- */

static const char *quantity_name(int quantity)
{
    static const char *const names[] = {
        [MUP_ACTIVATION] = "activation",
        [MUP_ATTENTION_LOGITS] = "attention_logits",
        [MUP_ROUTER_LOGITS] = "router_logits",
        [MUP_OUTPUT_LOGITS] = "output_logits",
        [MUP_GATED] = "gated_activation",
        [MUP_UPDATE] = "update",
        [MUP_STATISTIC] = "statistic",
    };

    return names[quantity];
}

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *row_json(const struct recorder *r,
                        const struct mup_coord_row *row, const struct series *s)
{
    const struct coord_options *o = r->options;
    json_t *mean = json_array();

    for (int w = 0; w < o->n_widths; w++) {
        double sum = 0;

        for (int64_t k = 0; k < o->seeds; k++)
            sum += s->value[k * o->n_widths + w];
        json_array_append_new(mean, real(sum / (double)o->seeds));
    }
    return json_pack("{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:s, s:s, s:o}",
                     "name", row->name, "quantity",
                     quantity_name(row->quantity), "step", row->step, "slope",
                     real(row->slope), "lo", real(row->slope_lo), "hi",
                     real(row->slope_hi), "expected", real(row->expected),
                     "verdict", mup_verdict_name(row->verdict), "cause",
                     row->cause ? row->cause : "", "mean", mean);
}

static int write_json(const struct recorder *r, const struct run_config *config,
                      const struct coord_result *result, const char *dir,
                      struct mup_error *err)
{
    static const char *const overall[] = {
        [MUP_VERDICT_OK] = "PASS",
        [MUP_VERDICT_EXPECTED] = "PASS",
        [MUP_VERDICT_FAIL] = "FAIL",
        [MUP_VERDICT_INCONCLUSIVE] = "INCONCLUSIVE",
    };
    json_t *rows = json_array(), *widths = json_array(), *json;
    const char *worst =
        result->worst >= 0 ? result->rows[result->worst].name : NULL;
    struct file_replace f;
    char path[1100];
    int rc;

    for (int i = 0; i < r->options->n_widths; i++)
        json_array_append_new(widths, json_integer(r->options->widths[i]));
    for (int i = 0; i < result->n_rows; i++)
        json_array_append_new(rows,
                              row_json(r, &result->rows[i], &r->series[i]));
    json = json_pack(
        "{s:s, s:s, s:o, s:I, s:I, s:f, s:i, s:s?, s:o}", "parametrization",
        mup_parametrization_name(config->mup.parametrization), "verdict",
        overall[result->verdict], "widths", widths, "seeds",
        (json_int_t)r->options->seeds, "steps", (json_int_t)r->options->steps,
        "lr", config->train.lr, "ruleset", MUP_RULESET_VERSION, "worst", worst,
        "rows", rows);
    snprintf(path, sizeof(path), "%s/coord.json", dir);
    rc = json ? file_replace_open(path, &f, err)
              : mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    if (!rc) {
        (void)json_dumpf(json, f.out, JSON_INDENT(1)); /* commit checks */
        rc = file_replace_commit(&f, err);
    }
    json_decref(json);
    return rc;
}

static int write_csv(const struct recorder *r,
                     const struct coord_result *result, const char *dir,
                     struct mup_error *err)
{
    const struct coord_options *o = r->options;
    struct file_replace f;
    char path[1100], value[32];
    int rc;

    snprintf(path, sizeof(path), "%s/coord.csv", dir);
    rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    fprintf(f.out, "name,quantity,step,width,seed,value\n");
    for (int i = 0; i < result->n_rows; i++) {
        const struct series *s = &r->series[i];

        for (int c = 0; c < o->n_widths * (int)o->seeds; c++) {
            format_real(s->value[c], value, sizeof(value));
            fprintf(f.out, "%s,%s,%d,%" PRId64 ",%d,%s\n", s->name,
                    quantity_name(s->quantity), s->step,
                    o->widths[c % o->n_widths], c / o->n_widths,
                    isfinite(s->value[c]) ? value : "");
        }
    }
    return file_replace_commit(&f, err);
}

static int check_options(const struct coord_options *o, struct mup_error *err)
{
    if (o->n_widths < 2 || o->n_widths > 16)
        return mup_fail(err, MUP_USAGE,
                        "a coordinate check needs 2 to 16 widths, not %d",
                        o->n_widths);
    if (o->steps < 1 || o->steps > 1000)
        return mup_fail(
            err, MUP_USAGE,
            "a coordinate check takes 1 to 1000 steps, not %" PRId64, o->steps);
    if (o->seeds < 1 || o->seeds > 1000)
        return mup_fail(
            err, MUP_USAGE,
            "a coordinate check takes 1 to 1000 seeds, not %" PRId64, o->seeds);
    return MUP_OK;
}

int coord_check_run(const struct run_config *config,
                    const struct coord_options *options, const char *dir,
                    const struct coord_hooks *hooks, struct coord_result *out,
                    struct mup_error *err)
{
    struct recorder r = { .options = options };
    struct coord_result result = { .worst = -1 };
    int rc = check_options(options, err);

    if (!rc)
        rc = file_make_dirs(dir, err);
    if (!rc)
        rc = run_all(&r, config, hooks, err);
    if (!rc)
        rc = judge(&r, &result, err);
    if (!rc)
        rc = write_json(&r, config, &result, dir, err);
    if (!rc)
        rc = write_csv(&r, &result, dir, err);
    clear_series(&r);
    if (rc)
        coord_result_clear(&result);
    else
        *out = result;
    return rc;
}
