/* Which incarnation of a run may change its folder.
 *
 * A supervisor starts the ranks of a run again and again; ranks of an earlier
 * start may still live behind a cut network.  Each start has a number, the
 * newest one stands in DIR/incarnation.  A rank knows its own from
 * MUTRANSFER_INCARNATION, and a checkpoint is committed only while that is
 * the newest.  What makes it safe without locks:
 *
 *   - the folder under construction carries the number in its name, so that
 *     nobody writes into another's;
 *   - a new incarnation writes DIR/incarnation first, then renames the folders
 *     of earlier ones away (checkpoint_sweep), and only then trains;
 *   - a commit looks at DIR/incarnation after all ranks have written, so after
 *     its folder was made and when nobody makes it again, and renames it then.
 *
 * Either the folder was made before the sweep, and the rename finds nothing,
 * or after it, and the look finds the newer number.  A commit that comes
 * before the sweep is no stale one: the new incarnation lists checkpoints
 * later.  A file system whose listings are late could let one through: it is a
 * whole checkpoint of the same run all the same.
 *
 * Nothing that may be of use to a newer incarnation is removed or renamed
 * without a look right before, each time (a sweep takes only what is older, or
 * half removed already).  What a process
 * can still do that was stopped between a look and the next call, for as long
 * as you like:
 *
 *   - checkpoint_retain, checkpoint_make_room: drop one checkpoint that its
 *     policy did not keep, or needed least, among those there were.  The newest
 *     of them stays, and the new incarnation's are newer;
 *   - checkpoint_set_aside: rename one that it had found damaged.  The new
 *     incarnation renames those before it trains; one of the same step that it
 *     saved since would be kept as "damaged-step-...";
 *   - the same step saved again: rename the one that was there away, fail to
 *     put its own in place, and put it back (saver_write.c);
 *   - append one line to events.jsonl.  metrics.jsonl it cannot reach: the new
 *     incarnation has replaced the file.
 *
 * Without a supervisor the number is 0 and holds as long as there is no file;
 * a run by hand in a folder that has one takes the next number. */
#ifndef MODEL_FENCE_H
#define MODEL_FENCE_H

#include <stdint.h>

#include "mup/mup.h"

#define FENCE_VARIABLE "MUTRANSFER_INCARNATION"

struct fence {
    char path[1100];     /* of DIR/incarnation */
    int64_t incarnation; /* ours */
    struct {
        uint64_t inode;
        int64_t s, ns; /* of its change */
    } seen;            /* of fence_look */
};

/* The newest incarnation of the run in dir; 0 if it never had one.
 * MUP_CORRUPT for a file that holds no number. */
int fence_read(const char *dir, int64_t *out, struct mup_error *err);

/* Make `incarnation` the newest; MUP_USAGE if it is not newer than what is
 * there.  Durable when it returns. */
int fence_raise(const char *dir, int64_t incarnation, struct mup_error *err);

/* That of the environment, 0 without one: there is no supervisor.  MUP_USAGE
 * for a text that is no number. */
int fence_supervised(int64_t *out, struct mup_error *err);

/* Ours: from the environment, else the next one where dir has the file, which
 * is then raised: rank 0 alone, and it holds the run's lock. */
int fence_open(const char *dir, struct fence *out, struct mup_error *err);

/* MUP_OK while no newer incarnation stands in the file; else MUP_DEVICE, "a
 * newer start of this run (incarnation 4) has replaced this one (3)".  Safe
 * from any thread.  f may be NULL: nobody is fenced. */
int fence_check(const struct fence *f, struct mup_error *err);

/* The same for every step: reads the file only where it has changed.  A file
 * that cannot be reached is no news: the next commit will tell. */
int fence_look(struct fence *f, struct mup_error *err);

/* f's number; 0 for NULL. */
int64_t fence_incarnation(const struct fence *f);

#endif
