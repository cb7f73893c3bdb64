/* Checkpoints: a directory per saved step, complete or absent.
 *
 *     checkpoints/step-0000000200/manifest.json   names, shapes, offsets,
 *                                                 XXH3-64 of each tensor
 *     checkpoints/step-0000000200/tensors.bin     little-endian elements
 *
 * Written under a temporary name, fsynced, renamed.  Tensors go by logical
 * name and kind ("weight", "m", "v"), so that other layouts can read them. */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H

#include <jansson.h>

#include "mup/mup.h"

struct checkpoint_tensor {
    const char *name; /* borrowed */
    const char *kind; /* borrowed */
    int64_t shape[3]; /* slices, rows, cols */
    int dtype;        /* enum dtype */
    void *data;       /* host memory */
    size_t bytes;
};

/* Write step's checkpoint below dir ("RUN/checkpoints").  state: scalars of
 * the run, stored in the manifest (borrowed).  Fine if it already exists. */
int checkpoint_write(const char *dir, int64_t step, json_t *state,
                     const struct checkpoint_tensor *tensors, int n,
                     struct mup_error *err);

/* Read the newest checkpoint that verifies into the tensors (matched by name
 * and kind).  *step receives its step, 0 if dir holds none; *state takes: the
 * caller decrefs.  A damaged one is renamed to damaged-... and told to note
 * (may be NULL) in a sentence; MUP_CORRUPT if there were only damaged ones,
 * MUP_USAGE if one is sound but of another model or number format. */
int checkpoint_read_latest(const char *dir,
                           const struct checkpoint_tensor *tensors, int n,
                           int64_t *step, json_t **state,
                           void (*note)(void *context, const char *sentence),
                           void *context, struct mup_error *err);

/* Read one checkpoint directory; MUP_CORRUPT, naming file and tensor, for
 * anything that does not verify; tensors may then be half filled.  *manifest
 * takes: the caller decrefs. */
int checkpoint_read(const char *path, const struct checkpoint_tensor *tensors,
                    int n, json_t **manifest, struct mup_error *err);

/* Manifest of one checkpoint, its own hash verified; takes: decref.  text
 * form is the fuzz target. */
int checkpoint_manifest(const char *path, json_t **out, struct mup_error *err);
int checkpoint_parse_manifest(const char *text, size_t bytes, const char *path,
                              json_t **out, struct mup_error *err);

/* Verify every tensor's hash of one checkpoint directory. */
int checkpoint_verify(const char *path, struct mup_error *err);

/* Path of the newest complete checkpoint below dir, or "" ; and removal of
 * all but the newest `keep`. */
int checkpoint_newest(const char *dir, char *path, size_t bytes,
                      struct mup_error *err);
int checkpoint_prune(const char *dir, int64_t keep, struct mup_error *err);

#endif
