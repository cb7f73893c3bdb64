/* The folder of a run's checkpoints: what is there, what goes. */
#ifndef MODEL_CHECKPOINT_DIR_H
#define MODEL_CHECKPOINT_DIR_H

#include "model/checkpoint_policy.h"
#include "model/fence.h"

#define CHECKPOINT_PATH_BYTES 1200

/* "DIR/step-0000000200", and the same under construction: by incarnation 3 of
 * the run ".writing-3-step-0000000200", without a number by incarnation 0. */
void checkpoint_path(const char *dir, int64_t step,
                     char out[CHECKPOINT_PATH_BYTES]);
void checkpoint_writing_path(const char *dir, int64_t step, int64_t incarnation,
                             char out[CHECKPOINT_PATH_BYTES]);

/* Steps of the checkpoints below dir, newest first; none if dir does not
 * exist.  takes: free. */
int checkpoint_list(const char *dir, int64_t **steps, int *n,
                    struct mup_error *err);

/* Path of the newest checkpoint below dir, or "". */
int checkpoint_newest(const char *dir, char *path, size_t bytes,
                      struct mup_error *err);

/* A damaged checkpoint becomes "damaged-step-...", which is not looked at any
 * more but can be examined.  One rank alone. */
int checkpoint_set_aside(const char *dir, int64_t step, struct mup_error *err);

/* A folder with the files in it; fine if it does not exist. */
int checkpoint_remove(const char *path, struct mup_error *err);

/* A step's checkpoint goes at once: it is renamed before its files are
 * removed, so that a crash leaves no half one behind.  Fine if there is none.
 * In two parts where another is to take its place in between; relist takes the
 * first one back. */
int checkpoint_drop(const char *dir, int64_t step, struct mup_error *err);
int checkpoint_unlist(const char *dir, int64_t step, struct mup_error *err);
int checkpoint_relist(const char *dir, int64_t step, struct mup_error *err);

/* Remove what was left half written, by incarnations up to this one, or half
 * removed.  Each folder is renamed first: who still writes in it cannot make it
 * a checkpoint any more (fence.h). */
int checkpoint_sweep(const char *dir, int64_t incarnation,
                     struct mup_error *err);

/* Remove what the policy does not keep, while fence (may be NULL) holds. */
int checkpoint_retain(const char *dir, const struct checkpoint_policy *policy,
                      const struct fence *fence, struct mup_error *err);

/* Bytes that all checkpoints below dir take on the disk, damaged ones too but
 * not one that is being written; a file that they share counts once. */
int checkpoint_usage(const char *dir, double *bytes, struct mup_error *err);

/* Remove damaged checkpoints, the oldest first, then those that the policy
 * needs least (checkpoint_spares), until `bytes` more fit into its quota;
 * MUP_SYSTEM if they cannot.  While fence (may be NULL) holds. */
int checkpoint_make_room(const char *dir,
                         const struct checkpoint_policy *policy, double bytes,
                         const struct fence *fence, struct mup_error *err);

/* fsync of a folder, for the names in it. */
int checkpoint_sync(const char *dir, struct mup_error *err);

#endif
