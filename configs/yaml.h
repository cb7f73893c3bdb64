/* A YAML file as a tree of nodes that remember their line.  libyaml does the
 * parsing; anchors, tags and several documents are refused in a sentence. */
#ifndef CONFIGS_YAML_H
#define CONFIGS_YAML_H

#include <stddef.h>

#include "mup/mup.h"

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_LIST };

/* A node.  key is set where the parent is a map, text where kind is scalar.
 * Children of maps and lists form a singly linked list. */
struct yaml_node {
    int kind; /* enum yaml_kind */
    int line; /* from 1 */
    char *key;
    char *text;
    struct yaml_node *child;
    struct yaml_node *next;
};

struct yaml_doc {
    char *path;
    struct yaml_node *root;
};

/* The whole file.  MUP_SYSTEM if it cannot be read, MUP_USAGE, with
 * "file:line:", if it is not YAML, repeats a key, or is larger than 1 MiB or
 * deeper than 32 levels.  Close with yaml_close. */
int yaml_open(const char *path, struct yaml_doc *doc, struct mup_error *err);
/* The same from memory; path is only used in messages. */
int yaml_open_text(const char *text, size_t bytes, const char *path,
                   struct yaml_doc *doc, struct mup_error *err);
void yaml_close(struct yaml_doc *doc);

/* Child of a map by key, or NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* mup_fail with "path:line: " in front. */
int yaml_fail(const struct yaml_doc *doc, const struct yaml_node *node,
              struct mup_error *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
