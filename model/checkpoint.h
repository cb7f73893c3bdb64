/* Checkpoints, format 2: a folder per saved step, complete or absent, that any
 * number of ranks writes (saver.h) and any other number reads.
 *
 *     checkpoints/step-0000000200/manifest.json         tables of all ranks
 *     checkpoints/step-0000000200/rank-0003-0000000200.bin
 *     checkpoints/step-0000000200/rank-0003-0000000150.bin
 *
 * Chunks hold elements of a tensor by its logical name and its place in the
 * whole tensor, never by the rank that wrote them.  A data file is named after
 * the step that wrote it: a chunk that has not changed since the checkpoint
 * before the last is not written again, its file is linked into the new folder
 * (link(2)).  With the last one itself nothing is shared: whatever file is
 * damaged, the newest checkpoint or the one before it can be read.  Every
 * folder is complete by itself, removing one is removing its files, and none
 * can take data away that another needs: there is nothing to count or sweep,
 * whatever moment a crash chooses, and a folder that is copied elsewhere is a
 * checkpoint there.  Where a file system has no links, or only one checkpoint
 * is kept, all is written anew.
 *
 *     checkpoint_list(dir, &steps, &n, &err);
 *     checkpoint_load(dir, steps[0], wants, n_wants, &manifest, &err);
 */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H

#include "model/checkpoint_dir.h"
#include "model/checkpoint_table.h"
#include "model/comm.h"

#define CHECKPOINT_FORMAT 2

/* An open checkpoint; zeroed is closed.  manifest: format, ruleset, step,
 * ranks, state (of the trainer), config (YAML), chunks. */
struct checkpoint {
    char path[CHECKPOINT_PATH_BYTES];
    json_t *manifest;
    int64_t step, ranks;
    struct checkpoint_chunk *chunks; /* cover every tensor exactly */
    int64_t n_chunks;
};

/* Read and verify the manifest of one folder.  MUP_CORRUPT for damage,
 * MUP_USAGE for another format. */
int checkpoint_open(const char *path, struct checkpoint *out,
                    struct mup_error *err);
void checkpoint_close(struct checkpoint *c);

/* The same from the object inside a manifest (borrowed); path is for
 * sentences. */
int checkpoint_parse(json_t *manifest, const char *path, struct checkpoint *out,
                     struct mup_error *err);

/* Fill wants, of any layout and each with data, verifying every chunk that is
 * touched.  MUP_USAGE where a tensor is missing or has another shape or number
 * format; MUP_CORRUPT, naming file, tensor and chunk, for damage: wants may
 * then be half filled. */
int checkpoint_read(const struct checkpoint *c,
                    const struct checkpoint_part *wants, int n,
                    struct mup_error *err);

/* Hash every chunk. */
int checkpoint_verify(const struct checkpoint *c, struct mup_error *err);

/* Fill wants from step's checkpoint below dir ("RUN/checkpoints"): open and
 * read, for each rank by itself.  MUP_USAGE also for another rule set.
 * *manifest takes: the caller decrefs; untouched on failure. */
int checkpoint_load(const char *dir, int64_t step,
                    const struct checkpoint_part *wants, int n,
                    json_t **manifest, struct mup_error *err);

/* What checkpoint_read_latest found. */
struct checkpoint_found {
    int64_t step;  /* 0: there is no checkpoint */
    json_t *state; /* takes: the caller decrefs; NULL without checkpoint */
    int damaged;   /* newer ones that were passed over */
};

/* Load the newest checkpoint that verifies, on all ranks (collective; NULL:
 * alone).  A damaged one is told to note (may be NULL) in a sentence and set
 * aside; MUP_CORRUPT if there were only damaged ones, MUP_USAGE if one is
 * sound but not ours. */
struct checkpoint_latest {
    const char *dir;
    const struct checkpoint_part *wants;
    int n;
    struct comm *ranks;
    void (*note)(void *context, const char *sentence);
    void *context;
    const struct fence *fence; /* may be NULL; of setting aside */
};
int checkpoint_read_latest(const struct checkpoint_latest *how,
                           struct checkpoint_found *out, struct mup_error *err);

#endif
