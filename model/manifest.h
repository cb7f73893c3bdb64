/* What a result was made with: manifest.json of a run directory. */
#ifndef MODEL_MANIFEST_H
#define MODEL_MANIFEST_H

#include "model/trainer.h"

/* Write dir/manifest.json: program version, revision and compiler, host and
 * CPU, backend, rule-set version, seed, corpus hashes, and the corpus's own
 * description (packages, document counts) where <shard>.json is beside it.
 * One that is there already is kept, and MUP_USAGE returned where the text
 * has changed since. */
int manifest_write(const char *dir, const struct trainer *t,
                   struct mup_error *err);

#endif
