/* What a run does when silent corruption is found: it goes back to where all
 * was well and trains on. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint_dir.h"
#include "model/clock.h"
#include "model/run.h"

/* A node that damages data so many times in one process is to be left. */
#define MOST_STRIKES 3

int run_open_guard(struct run *r, struct mup_error *err)
{
    struct trainer *t = &r->trainer;
    int rc;

    if (!t->config.run.verify_every)
        return MUP_OK;
    r->strikes = calloc((size_t)r->ranks.all.size + 1, sizeof(*r->strikes));
    if (!r->strikes)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the run");
    rc = guard_open(&r->guard, &t->model, &t->zero, &t->optimizer, err);
    if (rc)
        return rc;
    t->guard = &r->guard;
    r->guard.looked = r->step;
    guard_seal(t->guard);
    return MUP_OK;
}

/* The rank that is surely at fault, or -1. */
static int culprit(const struct guard_finding *f)
{
    return f->by == GUARD_EXECUTION && f->alike > 1 ? -1 : f->rank;
}

static const char *tensor_name(const struct run *r,
                               const struct guard_finding *f)
{
    return f->param < 0 ? "rope" : r->trainer.model.params.list[f->param].name;
}

static int log_finding(struct run *r, const struct guard_finding *f,
                       int64_t step, struct mup_error *err)
{
    json_t *event = run_log_new_event("corruption", step);

    if (!event)
        return mup_fail(err, MUP_SYSTEM, "out of memory for an event");
    json_object_set_new(event, "rank",
                        f->rank < 0 ? json_null() : json_integer(f->rank));
    if (f->rank >= 0)
        json_object_set_new(event, "host", json_string(f->host));
    json_object_set_new(event, "tensor", json_string(tensor_name(r, f)));
    json_object_set_new(event, "kind", json_string(guard_kind_name(f->kind)));
    json_object_set_new(event, "chunk", json_integer(f->chunk));
    json_object_set_new(event, "first", json_integer(f->first));
    json_object_set_new(event, "found_by", json_string(guard_by_name(f->by)));
    if (f->by == GUARD_EXECUTION) {
        json_object_set_new(event, "wrong_execution", json_integer(f->wrong));
        json_object_set_new(event, "ranks_alike", json_integer(f->alike));
    }
    return run_event(r, event, err);
}

static void describe(const struct run *r, const struct guard_finding *f,
                     int64_t step, char out[512])
{
    char where[256];

    snprintf(where, sizeof(where), "%s of %s, chunk %" PRId64,
             guard_kind_name(f->kind), tensor_name(r, f), f->chunk);
    if (f->rank < 0)
        snprintf(out, 512,
                 "step %" PRId64 ": two ranks do not hold the same %s", step,
                 where);
    else if (f->by == GUARD_SEAL)
        snprintf(out, 512,
                 "step %" PRId64 ": memory of rank %d (%s) changed by itself "
                 "(%s)",
                 step, f->rank, f->host, where);
    else if (f->by == GUARD_REPLICAS)
        snprintf(out, 512,
                 "step %" PRId64 ": rank %d (%s) alone holds another %s", step,
                 f->rank, f->host, where);
    else
        snprintf(out, 512,
                 "step %" PRId64 ": rank %d (%s) computed the same batch twice "
                 "with different results (%s)",
                 step, f->rank, f->host, where);
}

/* Checkpoints of later steps than `trusted` may hold what was damaged: they
 * are kept under another name, as damaged ones are. */
static int distrust(struct run *r, int64_t trusted, struct mup_error *err)
{
    int64_t *steps = NULL;
    int n = 0, rc;

    if (!r->is_first)
        return MUP_OK;
    rc = checkpoint_list(r->checkpoints, &steps, &n, err);
    for (int i = 0; !rc && i < n; i++)
        if (steps[i] > trusted) {
            rc = fence_check(&r->fence, err);
            if (!rc)
                rc = checkpoint_set_aside(r->checkpoints, steps[i], err);
        }
    free(steps);
    return rc;
}

/* A save under way counts if what it holds does. */
static int end_save(struct run *r, int64_t trusted, struct mup_error *err)
{
    if (r->saving_step <= trusted)
        return run_settle_save(r, 1, err);
    return run_abandon_save(r, NULL, err);
}

/* One more against a rank; -1: it is not known whom. */
static int strike(struct run *r, int rank, int64_t step, struct mup_error *err)
{
    const struct ranks *all = &r->ranks;
    int count = ++r->strikes[rank < 0 ? all->all.size : rank];
    int64_t supervised = 0;

    /* A supervisor has other nodes: the one to blame is left at once. */
    if (rank >= 0 && fence_supervised(&supervised, err))
        return MUP_USAGE;
    if (count < MOST_STRIKES && !supervised)
        return MUP_OK;
    if (rank < 0)
        return mup_fail(err, MUP_DEVICE,
                        "data was damaged %d times on a rank that could not be "
                        "told, the last time in step %" PRId64
                        "; events.jsonl says where",
                        count, step);
    if (supervised)
        return mup_fail(err, MUP_DEVICE,
                        "rank %d (%s) damaged data in step %" PRId64
                        "; its node is to be left",
                        rank, r->guard.findings[rank].host, step);
    return mup_fail(err, MUP_DEVICE,
                    "rank %d (%s) damaged data %d times, the last time in "
                    "step %" PRId64 "; run the same command without that node",
                    rank, r->guard.findings[rank].host, count, step);
}

static int go_back(struct run *r, struct mup_error *err)
{
    int rc;

    trainer_reset(&r->trainer);
    rc = run_load(r, err);
    if (rc)
        return rc;
    guard_seal(&r->guard);
    if (r->guard.looked > r->step)
        r->guard.looked = r->step;
    if (r->started_step > r->step)
        r->started_step = r->step;
    r->last_save_s = clock_s();
    r->failed_saves = 0; /* the last save of all is not due any more */
    r->val_loss = NAN;
    return comm_sync(&r->ranks.world, err);
}

static int answer(struct run *r, const struct guard_finding *f, int64_t step,
                  struct mup_error *err)
{
    /* seals and replicas are looked at in every step, computations are not */
    int64_t trusted = f->by == GUARD_EXECUTION ? r->guard.looked : r->step;
    char found[512], note[600];
    int rc = comm_agree(&r->ranks.all, log_finding(r, f, step, err), err);

    if (!rc)
        rc = end_save(r, trusted, err);
    if (!rc)
        rc = comm_agree(&r->ranks.all, distrust(r, trusted, err), err);
    if (!rc)
        rc = strike(r, culprit(f), step, err);
    if (!rc)
        rc = go_back(r, err);
    if (rc)
        return rc;
    describe(r, f, step, found);
    snprintf(note, sizeof(note), "%s; trained on from step %" PRId64, found,
             r->step);
    if (r->is_first)
        run_tell(r, note);
    return MUP_OK;
}

/* What counted against no one counts against the rank that was wrong. */
static int convict(struct run *r, int rank, int64_t step, struct mup_error *err)
{
    json_t *event = run_log_new_event("verdict", step);
    int rc;

    if (event)
        json_object_set_new(event, "rank", json_integer(rank));
    rc = comm_agree(&r->ranks.all, run_event(r, event, err), err);
    r->strikes[r->ranks.all.size]--;
    return rc ? rc : strike(r, rank, step, err);
}

int run_look(struct run *r, int64_t step, int *went_back, struct mup_error *err)
{
    struct guard_finding f;
    int rank, rc;

    *went_back = 0;
    if (!r->trainer.guard)
        return MUP_OK;
    if (guard_agree(&r->guard, step, &f)) {
        *went_back = 1;
        return answer(r, &f, step, err);
    }
    rc = comm_sync(&r->ranks.world, err);
    if (rc)
        return rc;
    if (step > r->step && guard_looks(&r->guard, r->step))
        r->guard.looked = r->step;
    rank = guard_verdict(&r->guard, step);
    return rank < 0 ? comm_sync(&r->ranks.world, err)
                    : convict(r, rank, step, err);
}

void run_close_guard(struct run *r)
{
    guard_close(&r->guard);
    free(r->strikes);
}
