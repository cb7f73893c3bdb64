#include "model/train.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/checkpoint.h"
#include "model/file.h"
#include "model/lock.h"
#include "model/manifest.h"
#include "model/run_log.h"
#include "model/trainer.h"

/* Weight of the newest loss in the running mean that divergence is judged
 * by: about the last ten steps. */
#define LOSS_EMA 0.1
/* The reported training loss is the mean over this last part of the run. */
#define TAIL 0.05
#define LN2  0.69314718055994530942

/* One run in progress; the scalars are what a checkpoint carries beside the
 * tensors. */
struct run {
    const char *dir;
    const struct train_hooks *hooks;
    struct trainer trainer;
    struct file_lock lock;
    struct run_log log;
    struct checkpoint_tensor *tensors;
    int n_tensors;
    int64_t step; /* optimizer steps done */
    double first_loss, loss_ema, tail_sum;
    int64_t tail_steps;
    int64_t saved_step;
    double started; /* clock at the start of this process's part */
    int64_t started_step;
    double *load; /* E */
    int64_t resumed_from;
    double val_loss;    /* of the last step, NaN until evaluated */
    char skipped[1024]; /* the first damaged checkpoint, as a sentence */
};

static double now_s(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the run directory --- */

struct difference {
    char text[1024];
};

/* Keeps the first difference that makes it another run: run.* and launch.*
 * may change between calls. */
static void note_difference(void *context, const char *key,
                            const struct field *field, const char *a,
                            const char *b)
{
    struct difference *d = context;

    (void)field;
    if (d->text[0] || !strncmp(key, "run.", 4) ||
        !strncmp(key, "checkpoint.", 11) || !strncmp(key, "parallel.", 9) ||
        !strncmp(key, "launch.", 7) || !strncmp(key, "drill.", 6))
        return;
    snprintf(d->text, sizeof(d->text), "%s is %s there and %s here", key, a, b);
}

static int check_directory(const struct run_config *config, const char *dir,
                           struct mup_error *err)
{
    struct run_config old;
    struct difference d = { "" };
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    if (access(path, F_OK) != 0)
        return MUP_OK;
    rc = run_config_read(path, NULL, 0, &old, err);
    if (rc)
        return rc;
    config_diff(&run_schema, &old, config, note_difference, &d);
    if (d.text[0])
        return mup_fail(err, MUP_USAGE,
                        "'%s' holds another run: %s; choose another directory",
                        dir, d.text);
    return MUP_OK;
}

static int write_config(const struct run_config *config, const char *dir,
                        struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    rc = config_dump(&run_schema, config, 0, f.out, err);
    if (rc) {
        file_replace_abandon(&f);
        return rc;
    }
    return file_replace_commit(&f, err);
}

/* --- checkpoints --- */

static void add_tensor(struct run *r, const struct param *p, const char *kind,
                       struct view all, int64_t first)
{
    size_t element = dtype_bytes(r->trainer.be.dtype);

    r->tensors[r->n_tensors++] = (struct checkpoint_tensor){
        .name = p->name,
        .kind = kind,
        .shape = { p->slices, p->rows, p->cols },
        .dtype = r->trainer.be.dtype,
        .data = (char *)all.data + (size_t)first * element,
        .bytes = (size_t)p->count * element,
    };
}

static void add_tensors(struct run *r)
{
    const struct trainer *t = &r->trainer;

    for (int i = 0; i < t->zero.n_pieces; i++) {
        const struct zero_piece *piece = &t->zero.piece[i];
        const struct param *p = &t->model.params.list[piece->param];

        add_tensor(r, p, "weight", t->model.all_weights, piece->first);
        add_tensor(r, p, "m", t->optimizer.moment, piece->state);
        if (piece->second >= 0)
            add_tensor(r, p, "v", t->optimizer.variance, piece->second);
    }
}

static int list_tensors(struct run *r, struct mup_error *err)
{
    size_t n = (size_t)r->trainer.model.params.n;

    r->tensors = calloc(3 * n, sizeof(*r->tensors));
    r->load = calloc((size_t)r->trainer.model.E, sizeof(*r->load));
    if (!r->tensors || !r->load)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the run");
    add_tensors(r);
    return MUP_OK;
}

static int64_t keep_last(const struct run *r)
{
    long long n = 2;

    (void)sscanf(r->trainer.config.checkpoint.keep, "last %lld", &n);
    return n;
}

static int save(struct run *r, struct mup_error *err)
{
    char dir[1100];
    json_t *state;
    int rc;

    /* before the first step there is nothing that the config does not say */
    if (r->saved_step == r->step || r->step == 0)
        return MUP_OK;
    snprintf(dir, sizeof(dir), "%s/checkpoints", r->dir);
    state = json_pack("{s:f, s:f, s:f, s:I}", "first_loss", r->first_loss,
                      "loss_ema", r->loss_ema, "tail_sum", r->tail_sum,
                      "tail_steps", (json_int_t)r->tail_steps);
    rc = checkpoint_write(dir, r->step, state, r->tensors, r->n_tensors, err);
    json_decref(state);
    if (rc)
        return rc;
    r->saved_step = r->step;
    rc = run_log_event(&r->log, run_log_new_event("checkpoint", r->step), err);
    return rc ? rc : checkpoint_prune(dir, keep_last(r), err);
}

static void note_damaged(void *context, const char *sentence)
{
    struct run *r = context;

    if (!r->skipped[0])
        snprintf(r->skipped, sizeof(r->skipped), "%s", sentence);
    if (r->hooks && r->hooks->note)
        r->hooks->note(r->hooks->context, sentence);
}

/* Continue from the newest checkpoint that verifies, if any; else from the
 * freshly initialised weights. */
static int load(struct run *r, struct mup_error *err)
{
    json_t *state = NULL, *event;
    char dir[1100];
    int rc;

    snprintf(dir, sizeof(dir), "%s/checkpoints", r->dir);
    rc = checkpoint_read_latest(dir, r->tensors, r->n_tensors, &r->step, &state,
                                note_damaged, r, err);
    if (rc)
        return rc;
    if (r->step) {
        r->first_loss = json_real_value(json_object_get(state, "first_loss"));
        r->loss_ema = json_real_value(json_object_get(state, "loss_ema"));
        r->tail_sum = json_real_value(json_object_get(state, "tail_sum"));
        r->tail_steps =
            json_integer_value(json_object_get(state, "tail_steps"));
        json_decref(state);
    }
    r->resumed_from = r->step;
    r->saved_step = r->step ? r->step : -1;
    rc = run_log_open(r->dir, r->step, &r->log, err);
    if (rc)
        return rc;
    event = run_log_new_event(r->step ? "resume" : "start", r->step);
    if (event && r->skipped[0])
        json_object_set_new(event, "skipped", json_string(r->skipped));
    return run_log_event(&r->log, event, err);
}

/* --- metrics --- */

/* Router statistics of the training batch's last micro-batch; to be taken
 * before an evaluation overwrites them. */
static json_t *balance_json(struct run *r)
{
    struct trainer *t = &r->trainer;
    json_t *load_max = json_array(), *dead = json_array();
    json_t *entropy = json_array(), *loads = json_array();

    for (int l = 0; l < t->model.L; l++) {
        json_t *load = json_array();
        struct trainer_balance b;

        trainer_balance(t, l, &b, r->load);
        json_array_append_new(load_max, run_log_real(b.load_max));
        json_array_append_new(dead, json_integer(b.dead));
        json_array_append_new(entropy, run_log_real(b.entropy));
        for (int64_t e = 0; e < t->model.E; e++)
            json_array_append_new(load, run_log_real(r->load[e]));
        json_array_append_new(loads, load);
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "load_max", load_max, "dead", dead,
                     "gate_entropy", entropy, "expert_load", loads);
}

static void report_step(struct run *r, const struct trainer_step *s,
                        double rate)
{
    const struct run_config *c = &r->trainer.config;
    int64_t done = r->step - r->started_step;
    struct train_step report = {
        .step = r->step,
        .steps = c->train.steps,
        .tokens = r->step * c->train.batch * c->model.seq,
        .loss = s->loss,
        .lr = s->lr,
        .grad_norm = s->grad_norm,
        .tokens_per_s = rate,
        .eta_s = (now_s() - r->started) / (double)done *
                 (double)(c->train.steps - r->step),
    };

    if (r->hooks && r->hooks->step)
        r->hooks->step(r->hooks->context, &report);
}

/* One line of metrics.jsonl; takes balance. */
static int log_step(struct run *r, const struct trainer_step *s,
                    json_t *balance, double rate, struct mup_error *err)
{
    const struct run_config *c = &r->trainer.config;
    json_t *line = json_pack(
        "{s:I, s:I, s:o, s:o, s:o, s:o, s:f}", "step", (json_int_t)r->step,
        "tokens", (json_int_t)(r->step * c->train.batch * c->model.seq), "loss",
        run_log_real(s->loss), "lr", run_log_real(s->lr), "grad_norm",
        run_log_real(s->grad_norm), "balance", run_log_real(s->balance),
        "tokens_per_s", rate);

    if (line && !isnan(r->val_loss)) {
        json_object_set_new(line, "val_loss", run_log_real(r->val_loss));
        if (r->trainer.valid.byte_level)
            json_object_set_new(line, "val_bpb",
                                run_log_real(r->val_loss / LN2));
    }
    if (line && balance)
        json_object_update(line, balance);
    json_decref(balance);
    return run_log_metric(&r->log, line, err);
}

/* --- the loop --- */

/* Non-finite, or, once the warm-up is over, a running mean clearly above both
 * the first loss and that of guessing evenly: 5 % is more than the noise of a
 * batch, which a learning rate too small to train must not be blamed for, and
 * less than any divergence. */
static int has_diverged(struct run *r, const struct trainer_step *s)
{
    const struct train_config *c = &r->trainer.config.train;
    double patience =
        c->diverge_after > c->warmup ? c->diverge_after : c->warmup;
    double even = log((double)r->trainer.config.model.vocab);

    if (!s->finite)
        return 1;
    if (r->step == 1)
        r->first_loss = r->loss_ema = s->loss;
    r->loss_ema += LOSS_EMA * (s->loss - r->loss_ema);
    return (double)r->step > patience * (double)c->steps &&
           r->loss_ema > 1.05 * fmax(r->first_loss, even);
}

static void fill_result(struct run *r, struct train_result *out)
{
    const struct run_config *c = &r->trainer.config;

    memset(out, 0, sizeof(*out));
    out->steps = r->step;
    out->tokens = r->step * c->train.batch * c->model.seq;
    out->loss =
        r->tail_steps ? r->tail_sum / (double)r->tail_steps : r->loss_ema;
    out->val_loss = out->val_bpb = NAN;
    out->flops = model_flops_per_sequence(&r->trainer.model.params, &c->model) *
                 (double)(r->step * c->train.batch);
    out->wall_s = now_s() - r->started;
    out->resumed_from = r->resumed_from;
}

static int finish(struct run *r, const char *name,
                  const struct train_result *result, struct mup_error *err)
{
    json_t *event = run_log_new_event(name, r->step);

    if (!event)
        return mup_fail(err, MUP_SYSTEM, "out of memory for an event");
    json_object_set_new(event, "loss", run_log_real(result->loss));
    json_object_set_new(event, "val_loss", run_log_real(result->val_loss));
    json_object_set_new(event, "val_bpb", run_log_real(result->val_bpb));
    json_object_set_new(event, "tokens", json_integer(result->tokens));
    json_object_set_new(event, "flops", run_log_real(result->flops));
    json_object_set_new(event, "wall_s", run_log_real(result->wall_s));
    return run_log_event(&r->log, event, err);
}

static int stop(struct run *r, struct mup_error *err)
{
    int rc = save(r, err);

    if (!rc)
        rc = run_log_event(&r->log, run_log_new_event("stopped", r->step), err);
    if (rc)
        return rc;
    return mup_fail(err, MUP_STOPPED,
                    "stopped on request at step %" PRId64 " of %" PRId64
                    "; the same command continues from there",
                    r->step, r->trainer.config.train.steps);
}

/* One optimizer step and what belongs to it.  *diverged is set where the run
 * ends here. */
static int advance(struct run *r, int *diverged, struct mup_error *err)
{
    const struct run_config *c = &r->trainer.config;
    const double tokens = (double)c->train.batch * (double)c->model.seq;
    struct trainer_step s;
    int rc = trainer_step(&r->trainer, r->step, &s, err);
    json_t *balance = NULL;
    int evaluate, log;
    int64_t every;
    double rate;

    if (rc)
        return rc;
    r->step++;
    *diverged = has_diverged(r, &s);
    if ((double)r->step > (1 - TAIL) * (double)c->train.steps) {
        r->tail_sum += s.loss;
        r->tail_steps++;
    }
    evaluate =
        !*diverged && (r->step == c->train.steps ||
                       (c->run.eval_every && r->step % c->run.eval_every == 0));
    log = evaluate || *diverged || r->step == 1 ||
          r->step % c->run.log_every == 0;
    rate = tokens * (double)(r->step - r->started_step) /
           fmax(now_s() - r->started, 1e-9);
    if (log)
        balance = balance_json(r);
    r->val_loss = NAN;
    if (evaluate)
        rc = trainer_evaluate(&r->trainer, &r->val_loss, err);
    report_step(r, &s, rate);
    if (!rc && log)
        rc = log_step(r, &s, balance, rate, err);
    else
        json_decref(balance);
    every = strtoll(c->checkpoint.every, NULL, 10);
    if (!rc && !*diverged && every && r->step % every == 0)
        rc = save(r, err);
    return rc;
}

static int loop(struct run *r, struct train_result *result,
                struct mup_error *err)
{
    const struct run_config *c = &r->trainer.config;
    int diverged = 0, rc = MUP_OK;

    while (!rc && !diverged && r->step < c->train.steps) {
        if (r->hooks && r->hooks->should_stop &&
            r->hooks->should_stop(r->hooks->context))
            return stop(r, err);
        rc = advance(r, &diverged, err);
    }
    if (rc)
        return rc;
    fill_result(r, result);
    if (diverged) {
        result->diverged = 1;
        result->diverged_step = r->step;
        return finish(r, "diverged", result, err);
    }
    if (isnan(r->val_loss)) /* saved at the last step, then killed */
        rc = trainer_evaluate(&r->trainer, &r->val_loss, err);
    result->val_loss = r->val_loss;
    if (!rc && r->trainer.valid.byte_level)
        result->val_bpb = result->val_loss / LN2;
    result->wall_s = now_s() - r->started;
    if (!rc)
        rc = save(r, err);
    return rc ? rc : finish(r, "done", result, err);
}

/* The reason of a failed run stands in its events, as far as they can still
 * be written. */
static void record_failure(struct run *r, int rc, const struct mup_error *err)
{
    json_t *event = run_log_new_event("failed", r->step);

    if (!event)
        return;
    json_object_set_new(event, "status", json_integer(rc));
    json_object_set_new(event, "error", json_string(err ? err->text : ""));
    (void)run_log_event(&r->log, event, NULL);
}

/* Two processes that train in one directory would mix their files. */
static int lock_run(struct run *r, const char *dir, struct mup_error *err)
{
    char path[1100], what[1200];

    snprintf(path, sizeof(path), "%s/run.lock", dir);
    snprintf(what, sizeof(what), "the run in '%s'", dir);
    return lock_take(path, what, &r->lock, err);
}

static int run_open(const struct run_config *config, const char *dir,
                    struct run *r, struct mup_error *err)
{
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/checkpoints", dir);
    rc = trainer_open(config, NULL, &r->trainer, err);
    if (rc)
        return rc;
    rc = file_make_dirs(path, err);
    if (!rc)
        rc = lock_run(r, dir, err);
    if (!rc)
        rc = write_config(config, dir, err);
    if (!rc)
        rc = manifest_write(dir, &r->trainer, err);
    if (!rc)
        rc = list_tensors(r, err);
    if (!rc)
        rc = load(r, err);
    r->started = now_s();
    r->started_step = r->step;
    return rc;
}

int train_run(const struct run_config *config, const char *dir,
              const struct train_hooks *hooks, struct train_result *result,
              struct mup_error *err)
{
    struct run r = {
        .dir = dir,
        .hooks = hooks,
        .lock = { -1 },
        .log = { -1, -1 },
        .saved_step = -1,
        .val_loss = NAN,
    };
    struct mup_error local = { 0 };
    int rc = check_directory(config, dir, err);

    if (rc)
        return rc;
    if (run_log_result(dir, result))
        return MUP_OK;
    rc = run_open(config, dir, &r, &local);
    if (!rc)
        rc = loop(&r, result, &local);
    if (rc && rc != MUP_STOPPED && r.log.events >= 0)
        record_failure(&r, rc, &local);
    run_log_close(&r.log);
    lock_release(&r.lock);
    free(r.tensors);
    free(r.load);
    trainer_close(&r.trainer);
    if (rc && err)
        *err = local;
    return rc;
}
