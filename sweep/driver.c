/* The sweep driver: hands trials to worker processes and records what comes
 * back.  One loop, one thread; everything that can be lost is in the store
 * before it is acted on. */
#include "sweep/driver.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "model/file.h"
#include "sweep/corpora.h"
#include "sweep/jobs.h"
#include "sweep/nodes.h"
#include "sweep/pool.h"
#include "sweep/sampler.h"
#include "sweep/trial_dir.h"

#define POLL_MS             100
#define PROGRESS_INTERVAL_S 0.2
/* Workers get this long to save when the sweep is stopped. */
#define STOP_PATIENCE_S 30.0
/* A worker that hears nothing stops by itself, before its trial is given to
 * another: parts of sweep.silence_s. */
#define LEASE 0.5

struct driver {
    const struct space *space;
    const char *dir;
    const struct sweep_crew *crew;
    const struct sweep_hooks *hooks;
    struct store *store;
    struct jobs jobs;
    struct pool pool;
    struct nodes nodes;
    int stopping; /* hand out nothing more, workers are told to save */
    int asked;    /* by should_stop, not by a fault */
    double stop_s;
    int fault; /* status of what stopped the sweep, and its sentence */
    struct mup_error fault_err;
    double shown_s;
    char last_failure[512];
    int failure; /* status of all failures; MUP_NEGATIVE once they differ */
};

static void resolve_label(const struct driver *d, int64_t index, char *out,
                          size_t bytes)
{
    const struct job *j = &d->jobs.job[index];
    struct space_point point;

    out[0] = '\0';
    if (sampler_propose(d->space, j->config, NULL, 0, &point))
        space_label(d->space, &point, j->member, out, bytes);
}

static void note(struct driver *d, int64_t index, const char *what,
                 const char *then)
{
    char label[128], text[1024];

    resolve_label(d, index, label, sizeof(label));
    snprintf(text, sizeof(text), "trial %lld (%s) %s; %s",
             (long long)(index + 1), label, what, then);
    if (d->hooks && d->hooks->note)
        d->hooks->note(d->hooks->context, text);
}

/* Running trials count for the speed too: the first estimate comes early. */
static void current_progress(const struct driver *d, struct sweep_progress *out)
{
    struct jobs view = d->jobs;
    double now = pool_now_s();

    for (int i = 0; i < d->pool.n; i++) {
        const struct pool_worker *w = &d->pool.worker[i];

        if (w->job < 0 || w->last_step <= w->first_step || w->steps <= 0)
            continue;
        view.speed_s += now - w->first_step_s;
        view.speed_flops += view.job[w->job].flops *
                            (double)(w->last_step - w->first_step) /
                            (double)w->steps;
    }
    jobs_progress(&view, out);
    if (out->best_trial) {
        resolve_label(d, out->best_trial - 1, out->best_text,
                      sizeof(out->best_text));
        jobs_say_mean(out);
    }
}

static void show(struct driver *d, int now)
{
    struct sweep_progress p;
    double t = pool_now_s();

    if (!d->hooks || !d->hooks->progress ||
        (!now && t - d->shown_s < PROGRESS_INTERVAL_S))
        return;
    d->shown_s = t;
    current_progress(d, &p);
    d->hooks->progress(d->hooks->context, &p);
}

/* No new work; busy workers save, idle ones leave. */
static void begin_stop(struct driver *d)
{
    if (d->stopping)
        return;
    d->stopping = 1;
    d->stop_s = pool_now_s();
    for (int i = 0; i < d->pool.n; i++)
        pool_hang_up(&d->pool.worker[i]);
}

/* Something is wrong with the machine, not with a trial: keep the first
 * sentence and stop in good order. */
static void stop_on(struct driver *d, const struct mup_error *err)
{
    if (!d->fault) {
        d->fault = err->status ? err->status : MUP_SYSTEM;
        d->fault_err = *err;
    }
    begin_stop(d);
}

static int is_disk_full(const char *sentence)
{
    return strstr(sentence, strerror(ENOSPC)) != NULL ||
           strstr(sentence, strerror(EDQUOT)) != NULL;
}

/* May another attempt end otherwise?  Not where a file is missing or closed to
 * us, nor where the config or the data is at fault. */
static int may_heal(int status, const char *sentence)
{
    static const int final[] = {
        ENOENT, EACCES, EPERM, EROFS, EISDIR, ENOTDIR
    };

    if (status != MUP_OK && status != MUP_SYSTEM && status != MUP_DEVICE)
        return 0;
    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
        if (strstr(sentence, strerror(final[i])))
            return 0;
    return 1;
}

/* --- results --- */

static void fill_trial(const struct driver *d, int64_t index, struct trial *t)
{
    const struct job *j = &d->jobs.job[index];

    memset(t, 0, sizeof(*t));
    t->id = index + 1;
    t->config = j->config;
    t->member = j->member;
    t->seed = j->seed;
    t->attempt = j->attempt;
    t->deaths = j->deaths;
    t->twin = j->twin;
    t->state = TRIAL_FAILED;
    t->value = t->loss = t->val_loss = t->val_bpb = NAN;
}

static void accept(struct driver *d, const struct trial *t)
{
    struct job *j = &d->jobs.job[t->id - 1];

    j->state = t->state;
    j->value = t->value;
    j->flops = t->flops;
    j->fraction = 0;
}

/* The result of t as that of the trial with index copy, which is the same run
 * and cost nothing.  Within a transaction. */
static int write_copy(struct driver *d, const struct trial *t, int64_t copy,
                      struct trial *out, struct mup_error *err)
{
    const struct job *c = &d->jobs.job[copy];
    int rc = trial_dir_twin(d->space, d->dir, copy + 1, t->id, c->config,
                            c->member, c->seed, err);

    *out = *t;
    out->id = copy + 1;
    out->attempt = c->attempt;
    out->flops = out->wall_s = 0;
    return rc ? rc : store_finish(d->store, out, err);
}

/* Write a result, and the same for the trial that shares it, as one commit.
 * whole = 0: t is written already, only its copy is missing. */
static int record_both(struct driver *d, const struct trial *t, int whole,
                       struct mup_error *err)
{
    int64_t copy = d->jobs.job[t->id - 1].copy;
    struct trial twin;
    int rc = store_begin(d->store, err);

    if (rc)
        return rc;
    if (whole)
        rc = store_finish(d->store, t, err);
    if (!rc && copy)
        rc = write_copy(d, t, copy - 1, &twin, err);
    if (rc) {
        store_rollback(d->store);
        return rc;
    }
    rc = store_commit(d->store, err);
    if (rc)
        return rc;
    if (whole)
        accept(d, t);
    if (copy)
        accept(d, &twin);
    return MUP_OK;
}

static int record(struct driver *d, const struct trial *t,
                  struct mup_error *err)
{
    return record_both(d, t, 1, err);
}

/* status: of the run, MUP_NEGATIVE where it left none. */
static int record_failure(struct driver *d, int64_t index, int status,
                          const char *why, struct mup_error *err)
{
    struct trial t;

    d->failure = !d->failure || d->failure == status ? status : MUP_NEGATIVE;
    fill_trial(d, index, &t);
    snprintf(t.error, sizeof(t.error), "%.255s", why);
    snprintf(d->last_failure, sizeof(d->last_failure), "trial %lld: %.400s",
             (long long)t.id, why);
    note(d, index, "failed", why);
    return record(d, &t, err);
}

/* What a finished run left behind as the trial's result.  A run without a
 * finite value of the metric stays FAILED. */
static void fill_result(const struct driver *d, int64_t index,
                        const struct run_events *e, struct trial *t)
{
    fill_trial(d, index, t);
    t->loss = e->loss;
    t->val_loss = e->val_loss;
    t->val_bpb = e->val_bpb;
    t->steps = e->steps;
    t->tokens = e->tokens;
    t->flops = e->flops;
    t->wall_s = e->wall_s;
    if (e->end == RUN_DIVERGED) {
        t->state = TRIAL_DIVERGED;
        return;
    }
    t->value = d->space->sweep.metric == SPACE_LOSS      ? t->loss
               : d->space->sweep.metric == SPACE_VAL_BPB ? t->val_bpb
                                                         : t->val_loss;
    if (isfinite(t->value))
        t->state = TRIAL_DONE;
}

static int record_events(struct driver *d, int64_t index,
                         const struct run_events *e, struct mup_error *err)
{
    struct trial t;

    fill_result(d, index, e, &t);
    if (t.state == TRIAL_FAILED)
        return record_failure(d, index, MUP_USAGE,
                              "the run has no finite value of the metric "
                              "(val_bpb needs byte-level tokens); choose "
                              "another metric",
                              err);
    return record(d, &t, err);
}

/* 1: the directory holds the result of a finished run, and it is recorded. */
static int take_result(struct driver *d, int64_t index, int *taken,
                       struct mup_error *err)
{
    struct run_events e;
    char dir[2048];
    int rc;

    *taken = 0;
    trial_dir_path(d->dir, index + 1, dir, sizeof(dir));
    rc = events_read(dir, &e, err);
    if (rc || e.end == RUN_OPEN)
        return rc;
    *taken = 1;
    return record_events(d, index, &e, err);
}

/* The trial waits again; died: that counts against max_attempts. */
static int requeue(struct driver *d, int64_t index, int died,
                   struct mup_error *err)
{
    struct job *j = &d->jobs.job[index];
    int rc = store_requeue(d->store, index + 1, died, err);

    if (rc)
        return rc;
    j->deaths = j->state == TRIAL_FAILED ? 0 : j->deaths + (died != 0);
    jobs_requeue(&d->jobs, index);
    return MUP_OK;
}

/* An attempt ended without a result, for a reason that may pass. */
static int retry(struct driver *d, int64_t index, int status, const char *why,
                 struct mup_error *err)
{
    struct job *j = &d->jobs.job[index];

    if (j->deaths + 1 >= d->space->sweep.max_attempts) {
        j->deaths++;
        return record_failure(d, index, status, why, err);
    }
    note(d, index, why, "it is started again from its last checkpoint");
    return requeue(d, index, 1, err);
}

/* --- the conversation --- */

static void end_busy(struct driver *d, struct pool_worker *w)
{
    if (w->last_step > w->first_step && w->steps > 0) {
        d->jobs.speed_s += pool_now_s() - w->first_step_s;
        d->jobs.speed_flops += d->jobs.job[w->job].flops *
                               (double)(w->last_step - w->first_step) /
                               (double)w->steps;
    }
    w->job = -1;
}

static void on_step(struct driver *d, struct pool_worker *w,
                    const struct worker_message *m)
{
    if (w->first_step < 0) {
        w->first_step = m->step;
        w->first_step_s = pool_now_s();
    }
    w->last_step = m->step;
    w->steps = m->steps;
    d->jobs.job[w->job].fraction = (double)m->step / (double)m->steps;
    nodes_work(&d->nodes, w->node);
}

static int on_end(struct driver *d, struct pool_worker *w,
                  const struct worker_message *m, struct mup_error *err)
{
    int64_t index = w->job;
    char why[600];
    int taken = 0, status, rc;

    end_busy(d, w);
    if (m->status == MUP_OK || m->status == MUP_DIVERGED)
        nodes_work(&d->nodes, w->node);
    rc = take_result(d, index, &taken, err);
    if (!rc && taken)
        w->done++;
    if (rc || taken)
        return rc;
    if (m->status == MUP_STOPPED)
        return requeue(d, index, 0, err);
    if (is_disk_full(m->error)) {
        /* Its own remedy may be another folder: this one is the sweep's. */
        const char *remedy = strstr(m->error, "; free some space");

        mup_fail(err, MUP_SYSTEM,
                 "%.*s; the sweep has stopped and keeps all results: free "
                 "some space and run the same command again",
                 remedy ? (int)(remedy - m->error) : 500, m->error);
        stop_on(d, err);
        return requeue(d, index, 0, err);
    }
    snprintf(why, sizeof(why), "%s",
             m->error[0] ? m->error : "the run left no result");
    w->failed++;
    status = m->status ? m->status : MUP_NEGATIVE;
    if (may_heal(m->status, why))
        return retry(d, index, status, why, err);
    return record_failure(d, index, status, why, err);
}

static int on_message(struct driver *d, struct pool_worker *w,
                      const struct worker_message *m, struct mup_error *err)
{
    /* About another job: late words of an attempt that is over. */
    if (m->event == WORKER_ALIVE || w->job < 0 || m->trial != w->job + 1 ||
        m->attempt != d->jobs.job[w->job].attempt)
        return MUP_OK;
    if (m->event == WORKER_END)
        return on_end(d, w, m, err);
    on_step(d, w, m);
    return MUP_OK;
}

/* Its node may be at fault: does the sweep go on without it, or at all? */
static void judge_node(struct driver *d, const struct pool_worker *w,
                       const char *how)
{
    const char *name = nodes_name(&d->nodes, w->node);
    struct mup_error err;
    char text[640];

    switch (nodes_death(&d->nodes, w->node)) {
    case NODES_HOPELESS:
        mup_fail(&err, MUP_SYSTEM,
                 "%d workers in a row died without a step; the last one %.400s",
                 d->nodes.node[w->node].deaths, how);
        stop_on(d, &err);
        break;
    case NODES_RETIRE:
        snprintf(text, sizeof(text),
                 "%.64s is not used any more: %d workers in a row died there "
                 "without a step; the last one %.400s",
                 name, d->nodes.node[w->node].deaths, how);
        if (d->hooks && d->hooks->note)
            d->hooks->note(d->hooks->context, text);
        for (int i = 0; i < d->pool.n; i++)
            if (d->pool.worker[i].node == w->node && d->pool.worker[i].job < 0)
                pool_hang_up(&d->pool.worker[i]);
        break;
    default:
        break;
    }
}

static int on_death(struct driver *d, struct pool_worker *w, const char *how,
                    struct mup_error *err)
{
    int64_t index = w->job;
    char why[512];
    int taken = 0, rc;

    if (!d->stopping)
        judge_node(d, w, how);
    if (index < 0)
        return MUP_OK;
    end_busy(d, w);
    d->jobs.job[index].avoid = w->node + 1;
    rc = take_result(d, index, &taken, err);
    if (rc || taken)
        return rc;
    /* SIGTERM is somebody's wish, no fault of the trial. */
    if (d->stopping || w->polite)
        return requeue(d, index, 0, err);
    w->failed++;
    snprintf(why, sizeof(why), "lost its worker, which %.400s", how);
    return retry(d, index, MUP_NEGATIVE, why, err);
}

static int start_trial(struct driver *d, struct pool_worker *w, int64_t index,
                       struct mup_error *err)
{
    struct job *j = &d->jobs.job[index];
    struct worker_job job = { .trial = index + 1, .attempt = j->attempt + 1 };
    int rc = trial_dir_prepare(d->space, d->dir, index + 1, j->config,
                               j->member, j->seed, err);

    if (!rc && w->pid == 0)
        rc = pool_start(&d->pool, w, err);
    if (!rc) /* before the job: one with a lease trains behind a fence */
        pool_extend_leases(&d->pool, LEASE * d->space->sweep.silence_s);
    if (!rc)
        rc = store_set_running(d->store, index + 1, job.attempt, err);
    if (rc)
        return rc;
    j->state = TRIAL_RUNNING;
    j->attempt = job.attempt;
    w->job = index;
    w->busy_since_s = pool_now_s();
    w->first_step = w->last_step = -1;
    w->steps = 0;
    trial_dir_path(d->dir, index + 1, job.dir, sizeof(job.dir));
    return pool_send(&d->pool, w, &job, err);
}

/* Is a worker of another node here?  One that is awaited may never come. */
static int has_company(const struct driver *d, int node)
{
    for (int i = 0; i < d->pool.n; i++) {
        const struct pool_worker *w = &d->pool.worker[i];

        if (w->node != node && !d->nodes.node[w->node].retired &&
            !pool_awaits(&d->pool, w))
            return 1;
    }
    return 0;
}

static int assign(struct driver *d, struct mup_error *err)
{
    int rc = MUP_OK;

    for (int i = 0; i < d->pool.n && !d->stopping && !rc; i++) {
        struct pool_worker *w = &d->pool.worker[i];
        int dying = w->pid > 0 && (w->out < 0 || w->in < 0);
        int64_t index;

        if (w->job >= 0 || dying || d->nodes.node[w->node].retired)
            continue;
        if (pool_awaits(&d->pool, w)) {
            rc = w->pid ? MUP_OK : pool_start(&d->pool, w, err);
            continue;
        }
        index = has_company(d, w->node) ? jobs_next_on(&d->jobs, w->node)
                                        : jobs_next(&d->jobs);
        if (index < 0)
            continue;
        rc = start_trial(d, w, index, err);
        show(d, !rc);
    }
    return rc;
}

/* After all that has arrived was read: the driver itself may have been kept
 * from listening for long.  Until its first step a worker says that it lives,
 * whatever it waits for. */
static void look_for_silence(struct driver *d)
{
    double now = pool_now_s(), limit = d->space->sweep.silence_s;
    double setup = d->space->base.recover.setup_s;

    for (int i = 0; i < d->pool.n; i++) {
        struct pool_worker *w = &d->pool.worker[i];

        if (w->pid <= 0 || w->killed_s > 0 || pool_awaits(&d->pool, w))
            continue;
        if (now - w->heard_s > limit)
            w->mute_s = limit;
        else if (w->job >= 0 && w->first_step < 0 &&
                 now - w->busy_since_s > setup)
            w->mute_s = setup;
        if (w->mute_s > 0)
            pool_kill(w);
    }
    pool_extend_leases(&d->pool, LEASE * limit);
}

/* Messages and deaths of one worker. */
static int listen_to(struct driver *d, struct pool_worker *w,
                     struct mup_error *err)
{
    struct worker_message message;
    char how[400];
    int rc = MUP_OK;

    while (!rc && pool_take(w, &message)) {
        rc = on_message(d, w, &message, err);
        show(d, message.event == WORKER_END);
    }
    if (!rc && pool_reap(&d->pool, w, how, sizeof(how))) {
        if (w->mute_s > 0)
            snprintf(how, sizeof(how), "gave no %s for %g s (on %.64s)",
                     w->mute_s == d->space->sweep.silence_s ? "sign of life"
                                                            : "first step",
                     w->mute_s, nodes_name(&d->nodes, w->node));
        rc = on_death(d, w, how, err);
        show(d, 1);
    }
    return rc;
}

static int is_over(struct driver *d)
{
    for (int i = 0; i < d->pool.n; i++)
        if (d->pool.worker[i].pid > 0 &&
            (d->stopping || d->pool.worker[i].job >= 0))
            return 0;
    return d->stopping || jobs_next(&d->jobs) < 0;
}

static void look_for_stop(struct driver *d)
{
    if (!d->stopping && d->hooks && d->hooks->should_stop &&
        d->hooks->should_stop(d->hooks->context)) {
        d->asked = 1;
        begin_stop(d);
    }
    if (d->stopping && pool_now_s() - d->stop_s > STOP_PATIENCE_S)
        for (int i = 0; i < d->pool.n; i++)
            pool_kill(&d->pool.worker[i]);
}

/* Until every trial has a result, or the sweep is stopped.  A fault of our own
 * (store, disk, processes) stops it in good order too. */
static void loop(struct driver *d)
{
    struct mup_error err = { 0 };

    while (!is_over(d)) {
        look_for_stop(d);
        if (assign(d, &err))
            stop_on(d, &err);
        pool_wait(&d->pool, POLL_MS);
        for (int i = 0; i < d->pool.n; i++)
            if (listen_to(d, &d->pool.worker[i], &err))
                stop_on(d, &err);
        look_for_silence(d);
        show(d, 0);
        nodes_write(&d->nodes, &d->pool, d->dir, 0);
    }
    /* Idle workers leave when their standard input closes; those that are
     * still here after that have nothing to lose. */
    d->stop_s = pool_now_s();
    d->stopping = 1;
    for (int i = 0; i < d->pool.n; i++)
        pool_hang_up(&d->pool.worker[i]);
    while (!is_over(d)) {
        look_for_stop(d);
        pool_wait(&d->pool, POLL_MS);
        for (int i = 0; i < d->pool.n; i++)
            if (listen_to(d, &d->pool.worker[i], &err))
                stop_on(d, &err);
    }
}

/* --- before and after --- */

/* A study that grew by the other parametrization: the result is there. */
static int copy_old_result(struct driver *d, int64_t source,
                           struct mup_error *err)
{
    struct run_events e;
    struct trial t;
    char dir[2048];
    int rc;

    trial_dir_path(d->dir, source + 1, dir, sizeof(dir));
    rc = events_read(dir, &e, err);
    if (rc)
        return rc;
    if (e.end == RUN_OPEN)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' has lost its events.jsonl; remove the directory "
                        "of the sweep or restore the file",
                        dir);
    fill_result(d, source, &e, &t);
    return record_both(d, &t, 0, err);
}

/* What a dead driver left: results that it did not get to record, trials that
 * were running, and failures, which a rerun gives another chance. */
static int recover(struct driver *d, struct mup_error *err)
{
    int rc = MUP_OK;

    for (int64_t i = 0; i < d->jobs.n && !rc; i++) {
        const struct job *j = &d->jobs.job[i];
        int taken = 0;

        if (j->state == TRIAL_RUNNING)
            rc = take_result(d, i, &taken, err);
        if (!rc && !taken &&
            (j->state == TRIAL_RUNNING || j->state == TRIAL_FAILED))
            rc = requeue(d, i, 0, err);
        if (!rc && j->state >= TRIAL_DONE && j->copy &&
            d->jobs.job[j->copy - 1].state == TRIAL_WAITING)
            rc = copy_old_result(d, i, err);
    }
    return rc;
}

/* One slot a trial at most; with nodes, where a slot may be lost with its node,
 * all. */
static int count_workers(const struct driver *d)
{
    int64_t n = d->space->sweep.workers, waiting = 0;

    if (d->crew->n_nodes)
        return (int)(d->crew->n_nodes * d->crew->workers_per_node);
    if (!n)
        n = pool_cores();
    for (int64_t i = 0; i < d->jobs.n; i++)
        waiting +=
            d->jobs.job[i].state == TRIAL_WAITING && !d->jobs.job[i].twin;
    return (int)(n < waiting ? n : waiting);
}

static int prepare(struct driver *d, struct mup_error *err)
{
    char workers[16];
    int n, rc = trial_dir_study(d->space, d->dir, err);

    if (!rc)
        rc = jobs_plan(d->space, d->store, &d->jobs, err);
    if (!rc)
        rc = recover(d, err);
    if (rc)
        return rc;
    n = count_workers(d);
    d->jobs.workers = n;
    snprintf(workers, sizeof(workers), "%d", n);
    rc = store_set_property(d->store, "workers", workers, err);
    if (!rc)
        rc = nodes_open(d->crew, &d->nodes, err);
    return rc ? rc : pool_open(d->dir, d->crew, n, &d->pool, err);
}

/* The status of the whole, once everything has stopped. */
static int conclude(struct driver *d, const struct sweep_progress *p,
                    struct mup_error *err)
{
    if (d->fault) {
        if (err)
            *err = d->fault_err;
        return d->fault;
    }
    if (p->waiting + p->running)
        return mup_fail(err, MUP_STOPPED,
                        "stopped on request with %lld of %lld trials done; "
                        "run the same command again to continue",
                        (long long)(p->done + p->diverged),
                        (long long)p->trials);
    if (p->failed)
        return mup_fail(
            err,
            p->failed == p->trials && d->failure ? d->failure : MUP_NEGATIVE,
            "%lld of %lld trials failed; the last was %s", (long long)p->failed,
            (long long)p->trials, d->last_failure);
    return MUP_OK;
}

int sweep_run(const struct space *space, const char *dir,
              const struct sweep_crew *crew, const struct sweep_hooks *hooks,
              struct sweep_progress *result, struct mup_error *err)
{
    struct driver *d = calloc(1, sizeof(*d));
    struct sigaction ignore, before;
    struct sweep_progress p = { 0 };
    struct corpora corpora = { 0 };
    int rc;

    if (!d)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    d->space = space;
    d->dir = dir;
    d->crew = crew;
    d->hooks = hooks;
    d->pool.log = -1;
    /* A worker that dies while it is written to is no reason to die. */
    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &before);
    rc = corpora_open(space, &corpora, err); /* before anything is made */
    if (!rc)
        rc = store_open_corpora(dir, space, &corpora, &d->store, err);
    if (!rc)
        rc = prepare(d, err);
    if (!rc) {
        loop(d);
        nodes_write(&d->nodes, &d->pool, dir, 1);
        current_progress(d, &p);
        rc = conclude(d, &p, err);
    }
    pool_close(&d->pool);
    nodes_close(&d->nodes);
    if ((!rc || rc == MUP_NEGATIVE || rc == MUP_STOPPED) && p.done) {
        struct mup_error export_err = { 0 };
        int exported = sweep_export(dir, &export_err);

        if (exported && !rc) {
            rc = exported;
            if (err)
                *err = export_err;
        }
    }
    if (result && (!rc || rc == MUP_NEGATIVE || rc == MUP_STOPPED))
        *result = p;
    jobs_clear(&d->jobs);
    store_close(d->store);
    corpora_clear(&corpora);
    free(d);
    sigaction(SIGPIPE, &before, NULL);
    return rc;
}
