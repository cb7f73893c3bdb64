/* Text files -> train and valid shards of byte-level tokens. */
#ifndef MODEL_CORPUS_H
#define MODEL_CORPUS_H

#include <stdint.h>

#include "mup/mup.h"

struct corpus_report {
    int64_t train_documents, valid_documents;
    int64_t train_bytes, valid_bytes; /* of text */
    int64_t dropped_short, dropped_duplicate, dropped_binary;
    int64_t transcoded;
    int split_by_tail; /* see corpus_prepare */
    char train_path[1024], valid_path[1024], manifest_path[1024];
    char train_hash[33], valid_hash[33]; /* XXH3-128 of the tokens, hex */
};

/* Read every file below the given files and folders, in the order of the
 * arguments and then by relative path.  Below a folder, symbolic links are not
 * followed and names that begin with a dot are passed over; files with a NUL
 * in their first 4 KB count as binary.  Drop documents under 200 bytes and
 * exact duplicates, transcode Latin-1 to UTF-8 where the bytes are no UTF-8.
 *
 * Documents are split by XXH3-64 of their path relative to their root (modulo
 * valid_every == 0 -> valid).  Where that cannot be fair because the documents
 * are few (the valid part would be under a quarter of its share, or over half
 * of the text), the last 1/valid_every of each document is held out instead.
 *
 * Writes <output>.bin (train) and <output>-valid.bin, each document followed
 * by TOKEN_END_OF_DOCUMENT, plus <output>.json (counts, hashes, sources),
 * which comes last.  output "corpus.bin" gives corpus.bin, corpus-valid.bin
 * and corpus.json.  The result depends on the texts alone.
 *
 * packages_file: lines "name version" of the Debian packages that the text
 * came from, copied into <output>.json; NULL for none. */
int corpus_prepare(char *const *paths, int n_paths, const char *output,
                   int64_t valid_every, const char *packages_file,
                   struct corpus_report *report, struct mup_error *err);

#endif
