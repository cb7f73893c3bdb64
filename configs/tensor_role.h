/* What the name of a tensor says about its place in a network.  A shape alone
 * does not tell an embedding table (vocabulary, width) from an unembedding of
 * the same shape, nor a router from a key projection with a fixed number of
 * heads; the names that trainers give do.
 *
 * Patterns are lines of "GLOB ROLE": '*' stands for any run of characters, '?'
 * for one; a glob covers the whole name and the first that matches wins. */
#ifndef CONFIGS_TENSOR_ROLE_H
#define CONFIGS_TENSOR_ROLE_H

#include <stddef.h>

#include "mup/mup.h"

struct role_pattern {
    const char *glob;
    int role; /* enum mup_role */
    int line; /* in its file */
};

/* Patterns of a file; {0} is none. */
struct role_patterns {
    int n;
    struct role_pattern *list;
    char *path, *text; /* globs point into text */
};

/* The patterns of common trainers, in the order in which they are tried; ends
 * with glob NULL.  configs/roles.txt is the same list as a file. */
extern const struct role_pattern tensor_role_builtin[];

/* Parse the lines of a pattern file; '#' begins a comment.  path is used in
 * messages, which begin with "path:line: ".  Close with
 * tensor_role_patterns_close. */
int tensor_role_patterns_open(const char *text, size_t bytes, const char *path,
                              struct role_patterns *out, struct mup_error *err);
void tensor_role_patterns_close(struct role_patterns *patterns);

/* First pattern that covers name, of the file's (may be NULL), then of the
 * built-in ones; NULL if none does. */
const struct role_pattern *
tensor_role_find(const struct role_patterns *patterns, const char *name);

/* Role by its name, or -1. */
int tensor_role_by_name(const char *name);

/* "input, hidden, ...", for sentences. */
#define TENSOR_ROLE_LIST_BYTES 160
void tensor_role_list(char out[TENSOR_ROLE_LIST_BYTES]);

/* Whether the name holds the number of a block, as in "layers.3.",
 * "blocks/0/", "h_11.". */
int tensor_role_in_block(const char *name);

#endif
