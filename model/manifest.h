/* What a result was made with: manifest.json of a run directory. */
#ifndef MODEL_MANIFEST_H
#define MODEL_MANIFEST_H

#include <jansson.h>

#include "model/trainer.h"

/* Write dir/manifest.json: program version, revision and compiler, host and
 * CPU, backend, rule-set version, seed, corpus hashes, and the corpus's own
 * description (packages, document counts) where <shard>.json is beside it.
 * One that is there already is kept, and MUP_USAGE returned where the text
 * has changed since. */
int manifest_write(const char *dir, const struct trainer *t,
                   struct mup_error *err);

/* The description of the corpus that a shard belongs to (corpus.json for
 * corpus.bin and corpus-valid.bin), NULL if there is none; takes: caller
 * decrefs. */
json_t *manifest_corpus(const char *shard);

#endif
