/* Text files -> train and valid shards of byte-level tokens. */
#ifndef MODEL_CORPUS_H
#define MODEL_CORPUS_H

#include <stdint.h>

#include "mup/mup.h"

struct corpus_report {
    int64_t train_documents, valid_documents;
    int64_t train_bytes, valid_bytes; /* of text */
    int64_t dropped_short, dropped_duplicate, transcoded;
    char train_path[1024], valid_path[1024];
    char train_hash[33], valid_hash[33]; /* XXH3-128 of the tokens, hex */
};

/* Read every file below the given files and folders (sorted by path, symbolic
 * links not followed), drop documents under 200 bytes and exact duplicates,
 * transcode Latin-1 to UTF-8 where the bytes are no UTF-8, split by XXH3 of
 * the document's path relative to its root (modulo valid_every == 0 -> valid),
 * and write <output>.bin (train) and <output>-valid.bin, each document
 * followed by TOKEN_END_OF_DOCUMENT, plus <output>.json (counts, hashes,
 * sources).  output "corpus.bin" gives corpus.bin and corpus-valid.bin. */
int corpus_prepare(char *const *paths, int n_paths, const char *output,
                   int64_t valid_every, struct corpus_report *report,
                   struct mup_error *err);

#endif
