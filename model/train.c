#include "model/train.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/clock.h"
#include "model/run.h"

/* Weight of the newest loss in the running mean that divergence is judged
 * by: about the last ten steps. */
#define LOSS_EMA 0.1
/* The reported training loss is the mean over this last part of the run. */
#define TAIL 0.05
#define LN2  0.69314718055994530942

void run_tell(struct run *r, const char *sentence)
{
    if (r->hooks && r->hooks->note)
        r->hooks->note(r->hooks->context, sentence);
}

void run_beat(struct run *r, int phase, double compute_s)
{
    const struct train_beat beat = { r->step, phase, compute_s,
                                     r->saved_step > 0 ? r->saved_step : 0 };

    r->phase = phase;
    r->last_beat_s = clock_s();
    if (r->hooks && r->hooks->beat)
        r->hooks->beat(r->hooks->context, &beat);
}

/* A long step or evaluation is no silence. */
static void still_alive(void *context)
{
    struct run *r = context;

    if (clock_s() - r->last_beat_s > 1)
        run_beat(r, r->phase, 0);
}

int run_event(struct run *r, json_t *event, struct mup_error *err)
{
    if (r->is_first && event && r->fence.incarnation)
        json_object_set_new(event, "incarnation",
                            json_integer(r->fence.incarnation));
    if (r->is_first)
        return run_log_event(&r->log, event, err);
    json_decref(event);
    return MUP_OK;
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
    /* with many ranks the sums above are all of theirs */
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
        .eta_s = (clock_s() - r->started) / (double)done *
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
    if (line && c->train.spike_limit > 0)
        json_object_set_new(line, "skipped",
                            json_integer(r->trainer.spike.skipped));
    if (line && balance)
        json_object_update(line, balance);
    json_decref(balance);
    if (r->is_first)
        return run_log_metric(&r->log, line, err);
    json_decref(line);
    return MUP_OK;
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

    /* nothing but spikes: skipping them must not hide that all is lost */
    if (!s->finite || r->trainer.spike.in_row > SPIKE_MOST)
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
    out->wall_s = clock_s() - r->started;
    out->resumed_from = r->resumed_from;
}

static int finish(struct run *r, const char *name,
                  const struct train_result *result, struct mup_error *err)
{
    json_t *event = run_log_new_event(name, r->step);

    if (!event) /* run_event says so */
        return comm_agree(&r->ranks.all, run_event(r, NULL, err), err);
    json_object_set_new(event, "loss", run_log_real(result->loss));
    json_object_set_new(event, "val_loss", run_log_real(result->val_loss));
    json_object_set_new(event, "val_bpb", run_log_real(result->val_bpb));
    json_object_set_new(event, "tokens", json_integer(result->tokens));
    json_object_set_new(event, "flops", run_log_real(result->flops));
    json_object_set_new(event, "wall_s", run_log_real(result->wall_s));
    return comm_agree(&r->ranks.all, run_event(r, event, err), err);
}

static int stop(struct run *r, struct mup_error *err)
{
    int rc = run_save(r, err);

    if (!rc)
        rc = comm_agree(
            &r->ranks.all,
            run_event(r, run_log_new_event("stopped", r->step), err), err);
    if (rc)
        return rc;
    return mup_fail(err, MUP_STOPPED,
                    "stopped on request at step %" PRId64 " of %" PRId64
                    "; the same command continues from there",
                    r->step, r->trainer.config.train.steps);
}

/* A step that was left out is no secret. */
static int tell_skipped(struct run *r, const struct trainer_step *s,
                        struct mup_error *err)
{
    json_t *event = run_log_new_event("skipped", r->step);
    char note[256];

    if (event) {
        json_object_set_new(event, "grad_norm", run_log_real(s->grad_norm));
        json_object_set_new(event, "threshold", run_log_real(s->threshold));
        json_object_set_new(event, "loss", run_log_real(s->loss));
    }
    snprintf(note, sizeof(note),
             "step %" PRId64 " was skipped: its gradient norm %.4g is above "
             "%.4g, train.spike_limit times the median of late",
             r->step, s->grad_norm, s->threshold);
    if (r->is_first)
        run_tell(r, note);
    return comm_agree(&r->ranks.all, run_event(r, event, err), err);
}

/* The step itself: 1 in *done where it counts, 0 where the run went back. */
static int take_step(struct run *r, struct trainer_step *s, int *done,
                     struct mup_error *err)
{
    int went_back = 0, rc = run_drill_step(r, err);

    *done = 0;
    if (!rc)
        rc = trainer_step(&r->trainer, r->step, s, err);
    if (!rc)
        rc = run_look(r, r->step + 1, &went_back, err);
    if (rc || went_back)
        return rc;
    *done = 1;
    r->step++;
    run_beat(r, TRAIN_STEP, s->compute_s);
    run_name_stragglers(r);
    return s->skipped ? tell_skipped(r, s, err) : MUP_OK;
}

/* One optimizer step and what belongs to it.  *diverged is set where the run
 * ends here. */
static int advance(struct run *r, int *diverged, struct mup_error *err)
{
    const struct run_config *c = &r->trainer.config;
    const double tokens = (double)c->train.batch * (double)c->model.seq;
    struct trainer_step s;
    json_t *balance = NULL;
    int evaluate, log, done, rc = take_step(r, &s, &done, err);
    double rate;

    if (rc || !done)
        return rc;
    *diverged = has_diverged(r, &s);
    if ((double)r->step > (1 - TAIL) * (double)c->train.steps) {
        r->tail_sum += s.loss;
        r->tail_steps++;
    }
    evaluate =
        !*diverged && (r->step == c->train.steps ||
                       (c->run.eval_every && r->step % c->run.eval_every == 0));
    log = evaluate || *diverged || s.skipped || r->step == 1 ||
          r->step % c->run.log_every == 0;
    rate = tokens * (double)(r->step - r->started_step) /
           fmax(clock_s() - r->started, 1e-9);
    if (log)
        balance = balance_json(r);
    r->val_loss = NAN;
    if (evaluate) {
        run_beat(r, TRAIN_EVALUATION, 0);
        rc = trainer_evaluate(&r->trainer, &r->val_loss, err);
        run_beat(r, TRAIN_STEP, 0);
    }
    report_step(r, &s, rate);
    if (!rc && log) /* rank 0's disk may be full */
        return comm_agree(&r->ranks.all, log_step(r, &s, balance, rate, err),
                          err);
    json_decref(balance);
    return rc;
}

/* What all ranks do next: any may ask to stop, rank 0's clock says when to
 * save, and rank 0 sees where a newer start has taken the run over. */
struct ballot {
    uint64_t stop, save, fenced;
};

static int vote(struct run *r, struct ballot *out, struct mup_error *err)
{
    const struct train_hooks *h = r->hooks;
    struct mup_error why = { 0 };
    int rc = r->is_first ? fence_look(&r->fence, &why) : MUP_OK;

    out->fenced = rc != MUP_OK;
    out->stop = h && h->should_stop && h->should_stop(h->context);
    out->save = (uint64_t)run_save_is_due(r);
    comm_all_reduce(&r->ranks.all, out, sizeof(*out) / sizeof(uint64_t),
                    COMM_U64);
    if (!out->fenced)
        return comm_sync(&r->ranks.world, err);
    rc = comm_agree(&r->ranks.all, rc, &why); /* ends without saving */
    return mup_fail(err, rc, "%s", why.text);
}

static int steps(struct run *r, int *diverged, struct mup_error *err)
{
    int rc = MUP_OK;

    while (!rc && !*diverged && r->step < r->trainer.config.train.steps) {
        struct ballot b = { 0 };

        rc = vote(r, &b, err);
        if (!rc)
            rc = run_settle_save(r, 0, err);
        if (!rc && b.stop)
            return stop(r, err);
        if (!rc && b.save)
            rc = run_start_save(r, err);
        if (!rc)
            rc = advance(r, diverged, err);
    }
    return rc;
}

static int loop(struct run *r, struct train_result *result,
                struct mup_error *err)
{
    const struct run_config *c = &r->trainer.config;
    int diverged = 0, rc;

    run_beat(r, TRAIN_STEP, 0);
    do { /* what is found before the last save sends us back */
        rc = steps(r, &diverged, err);
        if (!rc && !diverged && isnan(r->val_loss)) /* killed after saving */
            rc = trainer_evaluate(&r->trainer, &r->val_loss, err);
        if (!rc && !diverged)
            rc = run_save(r, err);
    } while (!rc && !diverged && r->step < c->train.steps);
    if (rc)
        return rc;
    fill_result(r, result);
    if (diverged) {
        result->diverged = 1;
        result->diverged_step = r->step;
        rc = run_settle_save(r, 1, err);
        return rc ? rc : finish(r, "diverged", result, err);
    }
    result->val_loss = r->val_loss;
    if (r->trainer.valid.byte_level)
        result->val_bpb = result->val_loss / LN2;
    run_beat(r, TRAIN_DONE, 0);
    return finish(r, "done", result, err);
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
    (void)run_event(r, event, NULL);
}

static int run_open(const struct run_config *config, struct run *r,
                    struct mup_error *err)
{
    struct comm *all = &r->ranks.all;
    int rc = checkpoint_policy_parse(&config->checkpoint, &r->policy, err);

    snprintf(r->checkpoints, sizeof(r->checkpoints), "%s/checkpoints", r->dir);
    if (!rc)
        rc = trainer_open(config, &r->ranks, &r->trainer, err);
    rc = comm_agree(all, rc, err);
    if (!rc)
        rc = run_compare_ranks(r, err);
    if (!rc)
        rc = run_take_dir(r, err);
    if (!rc)
        rc = comm_agree(all, run_list_parts(r, err), err);
    if (!rc)
        rc = run_load(r, err);
    r->resumed_from = r->step;
    if (!rc)
        run_beat(r, TRAIN_LOADED, 0);
    if (!rc)
        rc = comm_agree(all, run_open_drill(r, err), err);
    if (!rc)
        rc = comm_agree(all, run_open_stragglers(r, err), err);
    if (!rc)
        rc = run_open_saver(r, err);
    if (!rc)
        rc = comm_agree(all, run_open_guard(r, err), err);
    r->trainer.alive.context = r;
    r->trainer.alive.pass = still_alive;
    r->started = clock_s();
    r->started_step = r->step;
    return rc;
}

/* Rank 0 looks whether dir is ours, and whether the run is over already. */
static int look(const struct run_config *config, struct run *r, int32_t *over,
                struct train_result *result, struct mup_error *err)
{
    struct comm *all = &r->ranks.all;
    int rc = MUP_OK;

    *over = 0;
    if (r->is_first)
        rc = run_check_dir(config, r->dir, err);
    rc = comm_agree(all, rc, err);
    if (!rc && r->is_first)
        *over = run_log_result(r->dir, result);
    comm_broadcast(all, over, 1, COMM_I32, 0);
    if (*over)
        comm_broadcast(all, result, sizeof(*result), COMM_BYTE, 0);
    return rc ? rc : comm_sync(&r->ranks.world, err);
}

static void run_close(struct run *r, int rc, const struct mup_error *err)
{
    if (rc && rc != MUP_STOPPED && r->log.events >= 0)
        record_failure(r, rc, err);
    /* What was begun before the failure still counts, where all ranks know of
     * it: of a device's fault they may not. */
    if (rc && rc != MUP_DEVICE && r->saver && !r->ranks.world.status)
        (void)run_settle_save(r, 1, NULL);
    saver_close(r->saver);
    run_log_close(&r->log);
    lock_release(&r->lock);
    free(r->config_text);
    free(r->parts);
    free(r->wants);
    free(r->load);
    run_close_guard(r);
    run_close_stragglers(r);
    trainer_close(&r->trainer);
    if (rc && rc != MUP_STOPPED && r->hooks && r->hooks->failed)
        r->hooks->failed(r->hooks->context, rc, err->text);
    ranks_close(&r->ranks);
}

int train_run(const struct run_config *config, const char *dir,
              const struct train_hooks *hooks, struct train_result *result,
              struct mup_error *err)
{
    struct run r = {
        .dir = dir,
        .hooks = hooks,
        .lock = { -1 },
        .log = { -1, -1, NULL },
        .saved_step = -1,
        .val_loss = NAN,
    };
    struct mup_error local = { 0 };
    int32_t over = 0;
    int rc;

    r.log.fence = &r.fence;
    run_beat(&r, TRAIN_SETUP, 0);
    rc = ranks_open(config, &r.ranks, &local);
    r.is_first = r.ranks.world.rank == 0;
    if (!rc)
        run_beat(&r, TRAIN_JOINED, 0);
    if (!rc)
        rc = look(config, &r, &over, result, &local);
    if (!rc && !over)
        rc = run_open(config, &r, &local);
    if (!rc && !over)
        rc = loop(&r, result, &local);
    run_close(&r, rc, &local);
    if (rc && err)
        *err = local;
    return rc;
}
