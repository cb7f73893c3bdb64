#include "model/saver.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/checkpoint_dir.h"
#include "model/clock.h"
#include "model/saver_write.h"

enum job { JOB_NONE, JOB_WRITE, JOB_COMMIT, JOB_QUIT };

/* While state is SAVER_BUSY all but what stands under the lock belongs to the
 * thread, else to the caller; state changes hands under the lock. */
struct saver {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int job, state;           /* under the lock */
    struct mup_error fault;   /* under the lock */
    struct saver_stats stats; /* under the lock */

    struct save_writer writer;
    char *staging;
    int64_t step;
    struct checkpoint_part *parts; /* their data lies in staging */
    int n;
    char *state_text;
    double cost_s; /* of the checkpoint under way */
};

/* --- the thread --- */

/* The checkpoint stands whatever becomes of the old ones: err tells of them. */
static int commit(struct saver *s, struct mup_error *err)
{
    const struct saver_options *o = &s->writer.options;
    int rc = save_commit(&s->writer, s->step, s->state_text, err);

    if (rc)
        return rc;
    save_accept(&s->writer);
    if (checkpoint_sweep(o->dir, fence_incarnation(o->fence), err) == MUP_OK)
        (void)checkpoint_retain(o->dir, &o->policy, o->fence, err);
    return MUP_OK;
}

static void work(struct saver *s, int job)
{
    struct mup_error err = { 0 };
    double began = clock_s(), took;
    int rc = job == JOB_WRITE
                 ? save_parts(&s->writer, s->step, s->parts, s->n, &err)
                 : commit(s, &err);

    took = clock_s() - began;
    s->cost_s += took;
    (void)pthread_mutex_lock(&s->lock);
    s->stats.write_s += took;
    s->stats.written_bytes = s->writer.bytes;
    s->stats.written_chunks = s->writer.written_chunks;
    s->stats.skipped_chunks = s->writer.skipped_chunks;
    if (!rc)
        s->stats.last_cost_s = s->cost_s;
    s->fault = err;
    s->state = rc                 ? SAVER_FAILED
               : job == JOB_WRITE ? SAVER_WRITTEN
                                  : SAVER_COMMITTED;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static void *run(void *saver)
{
    struct saver *s = saver;

    for (;;) {
        int job;

        (void)pthread_mutex_lock(&s->lock);
        while (s->job == JOB_NONE)
            (void)pthread_cond_wait(&s->changed, &s->lock);
        job = s->job;
        s->job = JOB_NONE;
        (void)pthread_mutex_unlock(&s->lock);
        if (job == JOB_QUIT)
            return NULL;
        work(s, job);
    }
}

static void give(struct saver *s, int job)
{
    (void)pthread_mutex_lock(&s->lock);
    s->job = job;
    if (job != JOB_QUIT)
        s->state = SAVER_BUSY;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

/* --- the caller's side --- */

/* Signals stay with the main thread: its handlers have a stack of their own. */
static int start_thread(struct saver *s)
{
    sigset_t all, before;
    int cause;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    cause = pthread_create(&s->thread, NULL, run, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return cause;
}

int saver_open(const struct saver_options *options, struct saver **out,
               struct mup_error *err)
{
    struct saver *s = calloc(1, sizeof(*s));
    int rc = MUP_OK, cause;

    if (s)
        s->staging = malloc((size_t)options->bytes + 1);
    if (!s || !s->staging)
        rc = mup_fail(err, MUP_SYSTEM,
                      "out of memory for a copy of %.1f MiB to save from",
                      (double)options->bytes / 1048576);
    if (!rc && options->rank == 0)
        rc = checkpoint_sweep(options->dir, fence_incarnation(options->fence),
                              err);
    if (!rc) {
        /* touched now, so that the first copy is as short as all others */
        memset(s->staging, 0, (size_t)options->bytes + 1);
        s->writer.options = *options;
        (void)pthread_mutex_init(&s->lock, NULL);
        (void)pthread_cond_init(&s->changed, NULL);
        cause = start_thread(s);
        if (cause)
            rc = mup_fail(err, MUP_SYSTEM, "cannot start a thread: %s",
                          strerror(cause));
    }
    if (rc) {
        if (s)
            free(s->staging);
        free(s);
        return rc;
    }
    *out = s;
    return MUP_OK;
}

int saver_poll(struct saver *s, struct mup_error *err)
{
    int state;

    (void)pthread_mutex_lock(&s->lock);
    state = s->state;
    if (err && (state == SAVER_FAILED || state == SAVER_COMMITTED))
        *err = s->fault;
    (void)pthread_mutex_unlock(&s->lock);
    return state;
}

int saver_wait(struct saver *s, struct mup_error *err)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->state == SAVER_BUSY)
        (void)pthread_cond_wait(&s->changed, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    return saver_poll(s, err);
}

int saver_wait_for(struct saver *s, double seconds, struct mup_error *err)
{
    const long ns = (long)(seconds * 1e9) % 1000000000;
    struct timespec end;
    int late = 0;

    (void)clock_gettime(CLOCK_REALTIME, &end); /* that of the condition */
    end.tv_sec += (time_t)seconds + (end.tv_nsec + ns) / 1000000000;
    end.tv_nsec = (end.tv_nsec + ns) % 1000000000;
    (void)pthread_mutex_lock(&s->lock);
    while (s->state == SAVER_BUSY && !late)
        late = pthread_cond_timedwait(&s->changed, &s->lock, &end) != 0;
    (void)pthread_mutex_unlock(&s->lock);
    return saver_poll(s, err);
}

/* Copy the snapshot: the only time that training waits. */
static int stage(struct saver *s, const struct saver_snapshot *snapshot,
                 struct mup_error *err)
{
    struct checkpoint_part *parts =
        malloc(((size_t)snapshot->n + 1) * sizeof(*parts));
    char *text = json_dumps(snapshot->state, JSON_COMPACT);
    int64_t used = 0;
    int rc = MUP_OK;

    if (!parts || (!text && s->writer.options.rank == 0))
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for a checkpoint");
    for (int i = 0; !rc && i < snapshot->n; i++) {
        int64_t bytes = checkpoint_part_bytes(&snapshot->parts[i]);

        if (bytes > s->writer.options.bytes - used) {
            rc = mup_fail(err, MUP_SYSTEM,
                          "a snapshot is larger than the %.1f MiB set aside "
                          "for it",
                          (double)s->writer.options.bytes / 1048576);
            break;
        }
        parts[i] = snapshot->parts[i];
        parts[i].data = s->staging + used;
        if (bytes)
            memcpy(parts[i].data, snapshot->parts[i].data, (size_t)bytes);
        used += bytes;
    }
    if (rc) {
        free(parts);
        free(text);
        return rc;
    }
    free(s->parts);
    free(s->state_text);
    s->parts = parts;
    s->state_text = text;
    s->n = snapshot->n;
    s->step = snapshot->step;
    return MUP_OK;
}

int saver_start(struct saver *s, const struct saver_snapshot *snapshot,
                struct mup_error *err)
{
    double began = clock_s();
    int state = saver_poll(s, NULL);
    int rc;

    assert(state == SAVER_IDLE || state == SAVER_COMMITTED);
    (void)state;
    rc = stage(s, snapshot, err);
    if (rc)
        return rc;
    s->cost_s = clock_s() - began;
    (void)pthread_mutex_lock(&s->lock);
    s->stats.stall_s += s->cost_s;
    s->stats.last_stall_s = s->cost_s;
    (void)pthread_mutex_unlock(&s->lock);
    give(s, JOB_WRITE);
    return MUP_OK;
}

void saver_trust(struct saver *s, int64_t step)
{
    assert(saver_poll(s, NULL) != SAVER_BUSY);
    s->writer.options.policy.trusted = step;
}

void saver_commit(struct saver *s)
{
    assert(saver_poll(s, NULL) == SAVER_WRITTEN && !s->writer.options.rank);
    give(s, JOB_COMMIT);
}

static void settle(struct saver *s, int state)
{
    (void)pthread_mutex_lock(&s->lock);
    s->state = state;
    (void)pthread_mutex_unlock(&s->lock);
}

void saver_accept(struct saver *s)
{
    assert(saver_poll(s, NULL) == SAVER_WRITTEN);
    save_accept(&s->writer);
    settle(s, SAVER_COMMITTED);
}

void saver_abandon(struct saver *s, struct mup_error *note)
{
    struct mup_error why = { 0 };
    char path[CHECKPOINT_PATH_BYTES];
    int state = saver_wait(s, &why);

    if (state != SAVER_WRITTEN && state != SAVER_FAILED)
        return;
    saved_clear(&s->writer.now);
    checkpoint_writing_path(s->writer.options.dir, s->step,
                            fence_incarnation(s->writer.options.fence), path);
    if (s->writer.options.rank == 0) /* what stays is swept away later */
        (void)checkpoint_remove(path, NULL);
    settle(s, SAVER_IDLE);
    (void)mup_fail(note, MUP_SYSTEM,
                   "the checkpoint of step %" PRId64 " was given up%s%s",
                   s->step, why.text[0] ? ": " : "", why.text);
}

struct saver_stats saver_stats(struct saver *s)
{
    struct saver_stats stats;

    (void)pthread_mutex_lock(&s->lock);
    stats = s->stats;
    (void)pthread_mutex_unlock(&s->lock);
    return stats;
}

void saver_close(struct saver *s)
{
    if (!s)
        return;
    (void)saver_wait(s, NULL);
    give(s, JOB_QUIT);
    (void)pthread_join(s->thread, NULL);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_cond_destroy(&s->changed);
    saved_clear(&s->writer.before);
    saved_clear(&s->writer.last);
    saved_clear(&s->writer.now);
    free(s->parts);
    free(s->state_text);
    free(s->staging);
    free(s);
}
