#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint.h"
#include "model/clock.h"
#include "model/run.h"

/* --- which parts --- */

/* count elements of p's box from `first` on, at data. */
static struct checkpoint_part part_of(const struct run *r,
                                      const struct param *p, const char *kind,
                                      int64_t first, int64_t count)
{
    const struct box *b = &p->box;

    return (struct checkpoint_part){
        .name = p->name,
        .kind = kind,
        .shape = { p->slices, p->rows, p->cols },
        .origin = { b->first[0], b->first[1], b->first[2] },
        .extent = { b->extent[0], b->extent[1], b->extent[2] },
        .first = first,
        .count = count,
        .dtype = r->trainer.be.dtype,
    };
}

/* What this rank owns of a tensor.  Of what all ranks along `tensor` hold,
 * the first one saves; all need it. */
static void add_piece(struct run *r, const struct zero_piece *z)
{
    const struct trainer *t = &r->trainer;
    const struct param *p = &t->model.params.list[z->param];
    int saves = p->cut != CUT_NONE || t->ranks->place.tensor == 0;
    struct checkpoint_part part = part_of(r, p, "weight", z->offset, z->count);

    part.data = view_at(&t->be, t->model.all_weights, z->first);
    if (saves)
        r->parts[r->n_parts++] = part;
    part.kind = "m";
    part.data = view_at(&t->be, t->optimizer.moment, z->state);
    r->wants[r->n_wants++] = part;
    if (saves)
        r->parts[r->n_parts++] = part;
    if (z->second < 0)
        return;
    part.kind = "v";
    part.data = view_at(&t->be, t->optimizer.variance, z->second);
    r->wants[r->n_wants++] = part;
    if (saves)
        r->parts[r->n_parts++] = part;
}

int run_list_parts(struct run *r, struct mup_error *err)
{
    const struct trainer *t = &r->trainer;
    size_t pieces = (size_t)t->zero.n_pieces, n = (size_t)t->model.params.n;

    r->parts = calloc(3 * pieces + 1, sizeof(*r->parts));
    r->wants = calloc(2 * pieces + n, sizeof(*r->wants));
    r->load = calloc((size_t)t->model.E, sizeof(*r->load));
    if (!r->parts || !r->wants || !r->load)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the run");
    for (size_t i = 0; i < pieces; i++)
        add_piece(r, &t->zero.piece[i]);
    for (int i = 0; i < t->model.params.n; i++) {
        const struct param *p = &t->model.params.list[i];
        struct checkpoint_part part = part_of(r, p, "weight", 0, p->count);

        part.data = view_at(&t->be, t->model.all_weights, p->first);
        if (p->count)
            r->wants[r->n_wants++] = part;
    }
    return MUP_OK;
}

/* --- saving --- */

int run_open_saver(struct run *r, struct mup_error *err)
{
    struct saver_options options = {
        .dir = r->checkpoints,
        .rank = r->ranks.all.rank,
        .ranks = r->ranks.all.size,
        .policy = r->policy,
        .fence = &r->fence,
    };
    int rc = run_drill_writes(r, &options.fault, err);

    options.config = r->config_text;
    for (int i = 0; i < r->n_parts; i++)
        options.bytes += checkpoint_part_bytes(&r->parts[i]);
    options.total_bytes = (double)options.bytes;
    comm_all_reduce(&r->ranks.all, &options.total_bytes, 1, COMM_F64);
    if (!rc && r->policy.quota_bytes > 0 &&
        options.total_bytes > r->policy.quota_bytes)
        rc = mup_fail(err, MUP_USAGE,
                      "checkpoint.quota_gib %g has no room for one checkpoint "
                      "of %.3g GiB",
                      r->policy.quota_bytes / 1073741824,
                      options.total_bytes / 1073741824);
    r->last_save_s = clock_s();
    /* rank 0 clears what a crash left behind, before the others begin */
    if (!rc && r->is_first)
        rc = saver_open(&options, &r->saver, err);
    rc = comm_agree(&r->ranks.all, rc, err);
    if (!rc && !r->is_first)
        rc = saver_open(&options, &r->saver, err);
    return comm_agree(&r->ranks.all, rc, err);
}

/* How many ranks are in a state. */
struct tally {
    uint64_t busy, failed, committed;
};

/* A disk may take longer than the others' patience with a rank: those who wait
 * for it tell each other that they are alive. */
static double wait_s(const struct run *r)
{
    const double deadline_s = r->trainer.config.parallel.deadline_s;

    return deadline_s / 4 < 10 ? deadline_s / 4 : 10;
}

static struct tally count_states(struct run *r, int wait,
                                 struct mup_error *note)
{
    int state = wait ? saver_wait_for(r->saver, wait_s(r), note)
                     : saver_poll(r->saver, note);
    struct tally t = { state == SAVER_BUSY, state == SAVER_FAILED,
                       state == SAVER_COMMITTED };

    comm_all_reduce(&r->ranks.all, &t, sizeof(t) / sizeof(uint64_t), COMM_U64);
    return t;
}

int run_abandon_save(struct run *r, struct mup_error *note,
                     struct mup_error *err)
{
    struct mup_error ignored;

    if (r->saving == RUN_SAVED)
        return MUP_OK;
    /* until no disk is busy, and without losing patience with a slow one */
    do
        run_beat(r, TRAIN_CHECKPOINT, 0);
    while (!r->ranks.world.status && count_states(r, 1, &ignored).busy);
    /* rank 0 removes the folder, when no one writes in it any more */
    if (!r->is_first)
        saver_abandon(r->saver, note);
    comm_barrier(&r->ranks.all);
    if (r->is_first)
        saver_abandon(r->saver, note);
    r->saving = RUN_SAVED;
    return comm_sync(&r->ranks.world, err);
}

/* A save that failed is no end of training: the next one may find room.  Two
 * in a row are, as more and more work would be at stake.  why: the same on all
 * ranks. */
static int give_up(struct run *r, const struct mup_error *why,
                   struct mup_error *err)
{
    char sentence[2 * sizeof(why->text)];
    int rc = run_abandon_save(r, NULL, err);

    if (rc)
        return rc;
    snprintf(sentence, sizeof(sentence),
             "the checkpoint of step %" PRId64 " was given up: %s",
             r->saving_step, why->text);
    if (++r->failed_saves > 1)
        return mup_fail(err, MUP_SYSTEM,
                        "%s; see to it and run the same command again",
                        sentence);
    if (r->is_first)
        run_tell(r, sentence);
    return comm_sync(&r->ranks.world, err);
}

/* A save that failed because the run is another's now ends it. */
static int check_fence(struct run *r, struct mup_error *err)
{
    struct mup_error why = { 0 };
    int rc = r->is_first ? fence_check(&r->fence, &why) : MUP_OK;

    rc = comm_agree(&r->ranks.all, rc == MUP_DEVICE ? rc : MUP_OK, &why);
    if (rc)
        (void)run_abandon_save(r, NULL, NULL);
    return rc ? mup_fail(err, rc, "%s", why.text) : MUP_OK;
}

static int stands(struct run *r, const struct mup_error *note,
                  struct mup_error *err)
{
    const struct saver_stats stats = saver_stats(r->saver);
    json_t *event;

    if (!r->is_first)
        saver_accept(r->saver);
    else if (note->text[0]) /* what should have gone is still there */
        run_tell(r, note->text);
    r->saved_step = r->saving_step;
    r->failed_saves = 0;
    r->saving = RUN_SAVED;
    run_beat(r, r->phase, 0); /* tells that it stands */
    event = run_log_new_event("checkpoint", r->saved_step);
    if (event) {
        json_object_set_new(event, "stall_s", json_real(stats.last_stall_s));
        json_object_set_new(event, "cost_s", json_real(stats.last_cost_s));
    }
    return comm_agree(&r->ranks.all, run_event(r, event, err), err);
}

int run_settle_save(struct run *r, int wait, struct mup_error *err)
{
    while (r->saving != RUN_SAVED) {
        struct mup_error note = { 0 };
        struct tally t;
        int rc;

        if (wait) /* said before it: a slow disk is no rank that hangs */
            run_beat(r, TRAIN_CHECKPOINT, 0);
        t = count_states(r, wait, &note);
        rc = comm_sync(&r->ranks.world, err);

        if (rc)
            return rc;
        if (t.failed) {
            int own = saver_poll(r->saver, NULL) == SAVER_FAILED;

            (void)comm_agree(&r->ranks.all, own ? MUP_SYSTEM : MUP_OK, &note);
            rc = check_fence(r, err);
            return rc ? rc : give_up(r, &note, err);
        }
        if (t.busy && !wait)
            return MUP_OK;
        if (t.busy)
            continue;
        if (r->saving == RUN_COMMITTING)
            return t.committed ? stands(r, &note, err) : MUP_OK;
        r->saving = RUN_COMMITTING;
        if (!r->is_first)
            continue;
        /* what is newer may have to be set aside yet */
        if (r->trainer.guard)
            saver_trust(r->saver, r->guard.looked);
        saver_commit(r->saver);
    }
    return MUP_OK;
}

/* All that continues beside the tensors.  Data and schedule are functions of
 * the step, random numbers of the seed: they stand here to be read. */
static json_t *pack_state(const struct run *r)
{
    const struct train_config *c = &r->trainer.config.train;
    const struct spike *s = &r->trainer.spike;
    json_t *norms = json_array();

    for (int64_t i = 0; i < SPIKE_WINDOW && i < s->seen; i++)
        json_array_append_new(norms, json_real(s->norm[i]));
    return json_pack(
        "{s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "first_loss",
        r->first_loss, "loss_ema", r->loss_ema, "tail_sum", r->tail_sum,
        "tail_steps", (json_int_t)r->tail_steps, "sequences",
        (json_int_t)(r->step * c->batch), "schedule_step", (json_int_t)r->step,
        "seed", (json_int_t)c->seed, "skipped", (json_int_t)s->skipped,
        "skipped_in_row", (json_int_t)s->in_row, "norms_seen",
        (json_int_t)s->seen, "norms", norms);
}

static void unpack_state(struct run *r, const json_t *state)
{
    struct spike *s = &r->trainer.spike;
    json_t *norms = json_object_get(state, "norms"), *norm;
    size_t i;

    r->first_loss = json_real_value(json_object_get(state, "first_loss"));
    r->loss_ema = json_real_value(json_object_get(state, "loss_ema"));
    r->tail_sum = json_real_value(json_object_get(state, "tail_sum"));
    r->tail_steps = json_integer_value(json_object_get(state, "tail_steps"));
    memset(s, 0, sizeof(*s));
    json_array_foreach(norms, i, norm)
    {
        if (i < SPIKE_WINDOW)
            s->norm[i] = json_real_value(norm);
    }
    s->seen = json_integer_value(json_object_get(state, "norms_seen"));
    s->skipped = json_integer_value(json_object_get(state, "skipped"));
    s->in_row = json_integer_value(json_object_get(state, "skipped_in_row"));
    /* a ring that is not full holds all that was seen */
    if (s->seen < SPIKE_WINDOW)
        s->seen = (int64_t)json_array_size(norms);
}

int run_start_save(struct run *r, struct mup_error *err)
{
    struct saver_snapshot snapshot = { r->step, r->parts, r->n_parts, NULL };
    struct mup_error local = { 0 };
    int rc = run_settle_save(r, 1, err), went_back = 0;

    /* nothing damaged is saved */
    if (!rc && r->trainer.guard) {
        guard_verify(r->trainer.guard);
        rc = run_look(r, r->step, &went_back, err);
    }
    if (rc || went_back)
        return rc;
    run_beat(r, TRAIN_CHECKPOINT, 0);
    r->last_save_s = clock_s();
    snapshot.state = pack_state(r);
    if (r->trainer.guard && r->is_first) /* a quota asks for it now */
        saver_trust(r->saver, r->guard.looked);
    rc = saver_start(r->saver, &snapshot, &local);
    json_decref(snapshot.state);
    rc = comm_agree(&r->ranks.all, rc, &local);
    r->saving = RUN_WRITING;
    r->saving_step = r->step;
    if (rc == MUP_SYSTEM)
        return give_up(r, &local, err);
    if (rc && err)
        *err = local;
    run_beat(r, TRAIN_STEP, 0); /* written in the background */
    return rc;
}

int run_save_is_due(struct run *r)
{
    struct checkpoint_clock clock = {
        .step = r->step,
        .since_s = clock_s() - r->last_save_s,
        .cost_s = saver_stats(r->saver).last_cost_s,
    };

    return r->is_first && r->step > 0 && r->step != r->saved_step &&
           checkpoint_due(&r->policy, &clock);
}

int run_save(struct run *r, struct mup_error *err)
{
    int rc = run_settle_save(r, 1, err);

    /* before the first step there is nothing that the config does not say */
    if (rc || r->saved_step == r->step || r->step == 0)
        return rc;
    r->failed_saves = 1; /* no other chance follows */
    rc = run_start_save(r, err);
    return rc ? rc : run_settle_save(r, 1, err);
}

/* --- loading --- */

static void note_damaged(void *context, const char *sentence)
{
    struct run *r = context;

    if (!r->skipped[0])
        snprintf(r->skipped, sizeof(r->skipped), "%s", sentence);
    run_tell(r, sentence);
}

/* A run that has saved, and has nothing to show for it now, is not begun anew
 * in silence. */
static int check_not_lost(struct run *r, struct mup_error *err)
{
    int64_t step;

    if (!r->is_first || r->log.events >= 0) /* went back by itself */
        return MUP_OK;
    step = run_log_saved_step(r->dir);
    if (step == 0)
        return MUP_OK;
    return mup_fail(err, MUP_CORRUPT,
                    "'%s' has no checkpoint any more, the last one was of step "
                    "%" PRId64 "; bring '%s' back, or remove the run's folder "
                    "to train from the start",
                    r->dir, step, r->checkpoints);
}

static int open_log(struct run *r, struct mup_error *err)
{
    json_t *event;
    int rc;

    if (!r->is_first)
        return MUP_OK;
    run_log_close(&r->log);
    rc = fence_check(&r->fence, err); /* lines are cut away */
    if (!rc)
        rc = run_log_open(r->dir, r->step, &r->log, err);
    if (rc)
        return rc;
    event = run_log_new_event(r->step ? "resume" : "start", r->step);
    if (event && r->skipped[0])
        json_object_set_new(event, "skipped", json_string(r->skipped));
    if (event)
        json_object_set_new(event, "ranks", json_integer(r->ranks.all.size));
    return run_event(r, event, err);
}

int run_load(struct run *r, struct mup_error *err)
{
    struct checkpoint_latest latest = {
        .dir = r->checkpoints,
        .wants = r->wants,
        .n = r->n_wants,
        .ranks = &r->ranks.all,
        .note = note_damaged,
        .context = r,
        .fence = &r->fence,
    };
    struct checkpoint_found found = { 0 };
    int rc = checkpoint_read_latest(&latest, &found, err);

    if (!rc && !found.step)
        rc = comm_agree(&r->ranks.all, check_not_lost(r, err), err);
    if (rc)
        return rc;
    r->step = found.step;
    r->first_loss = r->loss_ema = r->tail_sum = 0;
    r->tail_steps = 0;
    if (r->step)
        unpack_state(r, found.state);
    json_decref(found.state);
    r->saved_step = r->step ? r->step : -1;
    return comm_agree(&r->ranks.all, open_log(r, err), err);
}
