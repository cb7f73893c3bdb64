/* Saving checkpoints in the background (checkpoint.h says what is written).
 *
 * Each rank has a saver.  Training stops only while saver_start copies the
 * rank's parts into memory of the saver's own; a thread then hashes, writes
 * and syncs.  Ranks do not talk here, the caller does:
 *
 *     saver_open(&options, &s, &err);           rank 0 first, then the others
 *     saver_start(s, &snapshot, &err);          every rank
 *     saver_poll(s, &err)                       ... until SAVER_WRITTEN
 *     (all ranks agree that all have written)
 *     saver_commit(s, &err);                    rank 0; polled to COMMITTED
 *     (all ranks learn that it stands)
 *     saver_accept(s);                          the others
 *
 * If a rank fails, all have to end: saver_abandon on each, rank 0 last.  The
 * checkpoint before it stands, and training can go on. */
#ifndef MODEL_SAVER_H
#define MODEL_SAVER_H

#include <jansson.h>

#include "model/checkpoint_part.h"
#include "model/checkpoint_policy.h"
#include "model/fence.h"

/* Faults on purpose, for drills and tests; 0 = none. */
struct saver_fault {
    int64_t fail_write;       /* this write(2), counted from 1, gives EIO */
    int64_t full_after_bytes; /* what goes beyond gives ENOSPC */
    int64_t slow_ms;          /* before every write(2) */
};

struct saver_options {
    const char *dir; /* "RUN/checkpoints"; this and config are borrowed */
    int rank, ranks;
    int64_t bytes;      /* of this rank's largest snapshot */
    double total_bytes; /* of a snapshot of all ranks, for the quota */
    const char *config; /* resolved, as YAML; rank 0 */
    struct checkpoint_policy policy;
    struct saver_fault fault;
    const struct fence *fence; /* borrowed; NULL: nobody is fenced */
};

/* What is saved.  Names and kinds in parts are borrowed until saver_close; all
 * else may change when saver_start returns. */
struct saver_snapshot {
    int64_t step;
    const struct checkpoint_part *parts;
    int n;
    json_t *state; /* an object, stored in the manifest; rank 0 */
};

enum saver_state {
    SAVER_IDLE,
    SAVER_BUSY,
    SAVER_WRITTEN,   /* this rank's files are on the disk */
    SAVER_COMMITTED, /* the checkpoint stands */
    SAVER_FAILED,
};

struct saver_stats {
    int64_t written_bytes, written_chunks;
    int64_t skipped_chunks;  /* unchanged since the last but one */
    double stall_s, write_s; /* sums: of copies; of writing and committing */
    double last_stall_s;     /* of the newest checkpoint: its copy */
    double last_cost_s;      /* and with writing it, as if that were lost too:
                                an upper bound of what training loses */
};

struct saver;

/* Allocates and touches the memory for snapshots and starts the thread.  Rank
 * 0 removes what a crash, or an earlier incarnation, left half written: the
 * others open after it. */
int saver_open(const struct saver_options *options, struct saver **out,
               struct mup_error *err);

/* Not while the saver is busy or has something written that is neither
 * committed nor abandoned. */
int saver_start(struct saver *s, const struct saver_snapshot *snapshot,
                struct mup_error *err);

/* An enum saver_state, at once or when no longer busy.  err: of SAVER_FAILED;
 * with SAVER_COMMITTED, empty or why old checkpoints could not be removed. */
int saver_poll(struct saver *s, struct mup_error *err);
int saver_wait(struct saver *s, struct mup_error *err);
/* The same after so many seconds at most: it may be SAVER_BUSY still. */
int saver_wait_for(struct saver *s, double seconds, struct mup_error *err);

/* Rank 0, while not busy: the newest checkpoint up to `step` stays, whatever
 * the policy says of its age. */
void saver_trust(struct saver *s, int64_t step);

/* Rank 0, when every rank is SAVER_WRITTEN: merge the tables, check that the
 * chunks cover every tensor exactly, make it a checkpoint, and remove those
 * that the policy does not keep.  In the background.  Fails where a newer
 * incarnation has fenced this one off. */
void saver_commit(struct saver *s);

/* The checkpoint stands: the next but one may share its files.  Rank 0 is told
 * by its own commit. */
void saver_accept(struct saver *s);

/* Give up what was started (waits if busy).  note: a sentence for people. */
void saver_abandon(struct saver *s, struct mup_error *note);

struct saver_stats saver_stats(struct saver *s);

/* Ends the thread, after what it is doing; NULL is fine. */
void saver_close(struct saver *s);

#endif
