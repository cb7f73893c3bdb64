/* Faults on purpose happen here (drill.h says which). */
#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/file.h"
#include "model/run.h"

#define EVENTS_MAX_BYTES ((size_t)1 << 30)

/* --- what has happened in this directory already --- */

static int is_it(const json_t *event, const char *name, const char *text)
{
    const char *kind = json_string_value(json_object_get(event, "event"));
    const char *drill = json_string_value(json_object_get(event, "drill"));
    const char *said = json_string_value(json_object_get(event, "text"));

    return kind && drill && said && !strcmp(kind, "drill") &&
           !strcmp(drill, name) && !strcmp(said, text);
}

static int has_happened(const struct run *r, const char *name, const char *text)
{
    char path[1100], *log = NULL, *line, *end;
    size_t bytes;
    int found = 0;

    snprintf(path, sizeof(path), "%s/events.jsonl", r->dir);
    if (file_read(path, EVENTS_MAX_BYTES, &log, &bytes, NULL) != MUP_OK)
        return 0;
    for (line = log; !found && (end = strchr(line, '\n')); line = end + 1) {
        json_t *event = json_loadb(line, (size_t)(end - line), 0, NULL);

        found = is_it(event, name, text);
        json_decref(event);
    }
    free(log);
    return found;
}

/* The line that keeps a drill from happening again stands before it happens:
 * the rank may not live to write it. */
static int announce(struct run *r, const char *name, const char *text,
                    struct mup_error *err)
{
    json_t *event = run_log_new_event("drill", r->step);
    struct run_log log = { -1, -1, &r->fence };
    char path[1100];
    int rc;

    if (event) {
        json_object_set_new(event, "drill", json_string(name));
        json_object_set_new(event, "rank", json_integer(r->ranks.all.rank));
        json_object_set_new(event, "text", json_string(text));
    }
    snprintf(path, sizeof(path), "%s/events.jsonl", r->dir);
    rc = file_append_open(path, 0, &log.events, err);
    if (rc) {
        json_decref(event);
        return rc;
    }
    rc = run_log_event(&log, event, err);
    run_log_close(&log);
    return rc;
}

/* --- flipping a bit --- */

static const struct zero_piece *owned(const struct run *r, int param)
{
    const struct zero *z = &r->trainer.zero;

    for (int i = 0; i < z->n_pieces; i++)
        if (z->piece[i].param == param)
            return &z->piece[i];
    return NULL;
}

/* The part of the tensor that can be hit on this rank; count 0: none. */
static struct view target(const struct run *r)
{
    const struct trainer *t = &r->trainer;
    const struct drill_flip *f = &r->drill.flip;
    const struct param *p = &t->model.params.list[r->flip.param];
    const struct zero_piece *z = owned(r, r->flip.param);

    switch (f->kind) {
    case DRILL_WEIGHT:
    case DRILL_COPY:
        return optimizer_view(&t->model, t->model.all_weights, p->first,
                              p->count);
    case DRILL_M:
        if (z)
            return optimizer_view(&t->model, t->optimizer.moment, z->state,
                                  z->count);
        break;
    case DRILL_V:
        if (z && z->second >= 0)
            return optimizer_view(&t->model, t->optimizer.variance, z->second,
                                  z->count);
        break;
    default:
        return optimizer_view(&t->model, t->model.all_grads, p->first,
                              p->count);
    }
    return (struct view){ 0 };
}

static void flip_now(struct run *r)
{
    const struct drill_flip *f = &r->drill.flip;
    struct view v = target(r);
    int64_t i = f->element >= 0 ? f->element : v.cols / 2;
    unsigned char *byte;

    assert(v.data); /* checked at the start */
    byte = (unsigned char *)view_at(&r->trainer.be, v, i) + f->bit / 8;
    *byte = (unsigned char)(*byte ^ (1u << (f->bit % 8)));
    r->flip.armed = 0;
}

static void on_bucket(void *context, int bucket, int moment)
{
    struct run *r = context;
    const struct param *p = &r->trainer.model.params.list[r->flip.param];
    const struct zero_bucket *b = &r->trainer.zero.bucket[bucket];
    int kind = moment == ZERO_COMPUTED ? DRILL_COMPUTE : DRILL_GRAD;

    if (r->flip.armed && r->drill.flip.kind == kind &&
        p->is_expert == b->is_expert && p->first >= b->first &&
        p->first < b->first + b->count)
        flip_now(r);
}

static void on_gathered(void *context)
{
    struct run *r = context;

    if (r->flip.armed && r->drill.flip.kind == DRILL_COPY)
        flip_now(r);
}

static int check_flip(struct run *r, struct mup_error *err)
{
    const struct drill_flip *f = &r->drill.flip;
    int64_t bits = 8 * (int64_t)dtype_bytes(r->trainer.be.dtype);
    int64_t count;

    r->flip.param = params_find(&r->trainer.model.params, f->tensor);
    if (r->flip.param < 0)
        return mup_fail(err, MUP_USAGE, "drill.flip: there is no tensor '%s'",
                        f->tensor);
    if (f->bit >= bits)
        return mup_fail(err, MUP_USAGE,
                        "drill.flip: an element of '%s' has %" PRId64
                        " bits, and none of number %" PRId64,
                        f->tensor, bits, f->bit);
    if (f->kind == DRILL_COPY && r->ranks.all.size == 1)
        return mup_fail(err, MUP_USAGE,
                        "drill.flip: copy is an error between ranks, and this "
                        "run has one");
    if (f->rank != r->ranks.all.rank)
        return MUP_OK;
    count = target(r).cols;
    if (count <= f->element || count == 0)
        return mup_fail(err, MUP_USAGE,
                        "drill.flip: rank %" PRId64 " holds %" PRId64
                        " elements of %s of '%s'; choose another rank or "
                        "element",
                        f->rank, count, drill_kind_name(f->kind), f->tensor);
    r->fault = (struct trainer_fault){ r, on_bucket, on_gathered };
    r->trainer.fault = &r->fault;
    return MUP_OK;
}

/* --- the drills of this run --- */

/* One that has happened is none any more; one of a rank that is not there is
 * a mistake. */
static int settle(struct run *r, const char *name, const char *text,
                  int64_t *rank, struct mup_error *err)
{
    if (*rank < 0)
        return MUP_OK;
    if (has_happened(r, name, text)) {
        *rank = -1;
        return MUP_OK;
    }
    if (*rank >= r->ranks.all.size)
        return mup_fail(err, MUP_USAGE,
                        "drill.%s: there is no rank %" PRId64
                        " among %d, the first of which is 0",
                        name, *rank, r->ranks.all.size);
    return MUP_OK;
}

int run_open_drill(struct run *r, struct mup_error *err)
{
    const struct drill_config *c = &r->trainer.config.drill;
    struct drill *d = &r->drill;
    int rc = drill_parse(c, d, err);

    if (!rc)
        rc = settle(r, "kill", c->kill, &d->kill.rank, err);
    if (!rc)
        rc = settle(r, "stop", c->stop, &d->stop.rank, err);
    if (!rc)
        rc = settle(r, "slow", c->slow, &d->slow.rank, err);
    if (!rc)
        rc = settle(r, "flip", c->flip, &d->flip.rank, err);
    if (!rc)
        rc = settle(r, "slow_write", c->slow_write, &d->slow_write.rank, err);
    if (!rc)
        rc = settle(r, "fail_write", c->fail_write, &d->fail_write.rank, err);
    if (!rc)
        rc = settle(r, "fill_disk", c->fill_disk, &d->fill_disk.rank, err);
    if (!rc && d->flip.rank >= 0)
        rc = check_flip(r, err);
    if (!rc && r->is_first &&
        (d->kill.rank >= 0 || d->stop.rank >= 0 || d->slow.rank >= 0 ||
         d->flip.rank >= 0 || d->slow_write.rank >= 0 ||
         d->fail_write.rank >= 0 || d->fill_disk.rank >= 0))
        run_tell(r, "this run has faults on purpose (section drill)");
    return rc;
}

int run_drill_writes(struct run *r, struct saver_fault *out,
                     struct mup_error *err)
{
    const struct drill *d = &r->drill;

    if (d->fill_disk.rank == r->ranks.all.rank)
        out->full_after_bytes = d->fill_disk.number;
    if (d->slow_write.rank == r->ranks.all.rank)
        out->slow_ms = d->slow_write.number;
    if (d->fail_write.rank != r->ranks.all.rank)
        return MUP_OK;
    out->fail_write = d->fail_write.number;
    return announce(r, "fail_write", r->trainer.config.drill.fail_write, err);
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

    while (nanosleep(&t, &t) != 0)
        ;
}

int run_drill_step(struct run *r, struct mup_error *err)
{
    const struct drill_config *c = &r->trainer.config.drill;
    struct drill *d = &r->drill;
    int64_t me = r->ranks.all.rank, step = r->step + 1;
    int rc = MUP_OK;

    if (d->kill.rank == me && d->kill.number == step) {
        rc = announce(r, "kill", c->kill, err);
        if (!rc)
            (void)raise(SIGKILL);
    }
    if (!rc && d->stop.rank == me && d->stop.number == step) {
        d->stop.rank = -1;
        rc = announce(r, "stop", c->stop, err);
        if (!rc)
            (void)raise(SIGSTOP);
    }
    if (d->slow.rank == me) {
        sleep_ms(d->slow.number);
        r->trainer.slept_s = (double)d->slow.number / 1000;
    }
    if (!rc && d->flip.rank == me && d->flip.step == step) {
        if (--d->flip.times <= 0)
            d->flip.rank = -1;
        r->flip.armed = 1;
        rc = announce(r, "flip", c->flip, err);
        if (!rc && d->flip.kind <= DRILL_V)
            flip_now(r);
    }
    return rc;
}
