/* The trial store: SQLite in WAL mode, one writer (the driver), any number of
 * readers.  Commits are durable (synchronous=FULL) before they are
 * acknowledged. */
#ifndef SWEEP_STORE_H
#define SWEEP_STORE_H

#include "sweep/corpora.h"
#include "sweep/space.h"

enum trial_state {
    TRIAL_WAITING,
    TRIAL_RUNNING,
    TRIAL_DONE,
    TRIAL_DIVERGED,
    TRIAL_FAILED,
};

struct trial {
    int64_t id;     /* from 1 */
    int64_t config; /* configuration index, from 0 */
    int64_t member; /* group member, from 0 */
    int64_t seed;
    int state; /* enum trial_state */
    int64_t attempt;
    int64_t deaths; /* attempts whose worker died: max_attempts limits them */
    /* "same as trial N": the same run bit for bit, so only N is trained and
     * its result is copied here; 0 = none (see space_twin). */
    int64_t twin;
    int64_t width;       /* of its model */
    int parametrization; /* enum mup_parametrization */
    double value;        /* metric; NaN unless DONE */
    double loss, val_loss, val_bpb;
    int64_t steps, tokens;
    double flops; /* planned when added, 0 for a twin; measured when done */
    double wall_s;
    char error[256];
    struct space_point point;
};

struct store;

/* Open or create dir/study.db for writing, under the lock dir/study.lock.
 * Another live driver is refused (MUP_USAGE, names host and pid); the lock of
 * a dead one is taken over.  A study made from a different sweep specification
 * is refused (says what differs) unless only run_cap, seeds or group values
 * grew; its trials then get their new member numbers. */
int store_open(const char *dir, const struct space *space, struct store **out,
               struct mup_error *err);
/* The same, and the texts must be those that the study was started with
 * (MUP_USAGE); they are properties of the study, "data.train PATH". */
int store_open_corpora(const char *dir, const struct space *space,
                       const struct corpora *corpora, struct store **out,
                       struct mup_error *err);
/* Read-only; never waits for the writer. */
int store_open_readonly(const char *dir, struct store **out,
                        struct mup_error *err);
void store_close(struct store *store);

/* Group several of the writes below into one durable commit.  A failed
 * store_commit and store_rollback leave nothing of it. */
int store_begin(struct store *s, struct mup_error *err);
int store_commit(struct store *s, struct mup_error *err);
void store_rollback(struct store *s);

int store_add_trial(struct store *s, const struct trial *t,
                    struct mup_error *err);
/* WAITING -> RUNNING; MUP_CORRUPT if it was not waiting. */
int store_set_running(struct store *s, int64_t id, int64_t attempt,
                      struct mup_error *err);
/* Result of an attempt; a write by a stale attempt changes nothing. */
int store_finish(struct store *s, const struct trial *t, struct mup_error *err);
/* Back to WAITING; attempt is kept.  died: its worker died, which counts.
 * A FAILED trial starts anew, its deaths forgotten. */
int store_requeue(struct store *s, int64_t id, int died, struct mup_error *err);

/* All trials in id order; takes: caller frees *out. */
int store_trials(struct store *s, struct trial **out, int64_t *n,
                 struct mup_error *err);
/* Text of a study property ("name", "spec", "created", "workers", ...), ""
 * if absent; cut at bytes. */
int store_property(struct store *s, const char *name, char *out, size_t bytes,
                   struct mup_error *err);
int store_set_property(struct store *s, const char *name, const char *text,
                       struct mup_error *err);

/* Does a driver hold the study in dir?  Fills host (may be NULL) and pid. */
int store_has_driver(const char *dir, char *host, size_t bytes, long *pid);

const char *trial_state_name(int state);

#endif
