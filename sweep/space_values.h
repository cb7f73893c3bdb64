/* Inside the space module: lists of values, and the checks that need the whole
 * sweep file.  Only space*.c include this. */
#ifndef SWEEP_SPACE_VALUES_H
#define SWEEP_SPACE_VALUES_H

#include "sweep/space.h"

#define SPACE_MAX_VALUES 4096

/* A growing list of values of one key.  Free text. */
struct space_texts {
    int n;
    char (*text)[SPACE_TEXT_BYTES];
};

/* rc, with the place in front of the sentence. */
int space_at(const struct yaml_doc *doc, const struct yaml_node *node, int rc,
             struct mup_error *err);

/* Is key one that a sweep may vary? */
int space_check_key(const char *key, struct mup_error *err);

/* Is text a value of key?  out: the form that config_text writes. */
int space_canonical(const char *key, const char *text,
                    char out[SPACE_TEXT_BYTES], struct mup_error *err);

int space_texts_add(struct space_texts *list, const char *key, const char *text,
                    struct mup_error *err);

/* The values of a YAML list of scalars, or of one scalar. */
int space_read_list(const struct yaml_doc *doc, const struct yaml_node *node,
                    const char *key, struct space_texts *list,
                    struct mup_error *err);

/* The values of "a,b" or "[a, b]", as given on the command line. */
int space_split_list(const char *text, const char *key,
                     struct space_texts *list, struct mup_error *err);

/* Takes the list. */
void space_set_values(struct space_parameter *p, struct space_texts *list);

/* Once file and overrides are read: distributions, the base config, enqueued
 * points, and whether all of it can run.  base_flag: the base was named on the
 * command line, so its path is relative to the working directory. */
int space_finish(struct space *s, const struct yaml_doc *doc, int base_flag,
                 struct mup_error *err);

#endif
