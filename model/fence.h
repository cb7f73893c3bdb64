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
 *   - a new incarnation writes DIR/incarnation first and removes the folders of
 *     earlier ones after it;
 *   - a commit looks at DIR/incarnation after its folder was made and renames
 *     it then.  Either the folder was made before the removal, and there is
 *     nothing to rename, or after it, and the look finds the newer number.
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
};

/* The newest incarnation of the run in dir; 0 if it never had one.
 * MUP_CORRUPT for a file that holds no number. */
int fence_read(const char *dir, int64_t *out, struct mup_error *err);

/* Make `incarnation` the newest; MUP_USAGE if it is not newer than what is
 * there.  Durable when it returns. */
int fence_raise(const char *dir, int64_t incarnation, struct mup_error *err);

/* Ours: from the environment, else the next one where dir has the file and
 * this is rank 0 of a run by hand. */
int fence_open(const char *dir, struct fence *out, struct mup_error *err);

/* MUP_OK while no newer incarnation stands in the file; else MUP_DEVICE, "a
 * newer start of this run (incarnation 4) has replaced this one (3)".  Safe
 * from any thread. */
int fence_check(const struct fence *f, struct mup_error *err);

#endif
