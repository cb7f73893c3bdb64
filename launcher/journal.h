/* Files of one JSON object a line that several processes append to, on disks
 * that several machines see.  Every line is one write; a line that a crash has
 * torn ends where the next one is appended, and readers pass over it. */
#ifndef LAUNCHER_JOURNAL_H
#define LAUNCHER_JOURNAL_H

#include <jansson.h>

#include "mup/mup.h"

/* Durable when it returns; takes object, NULL is "out of memory". */
int journal_append(const char *path, json_t *object, struct mup_error *err);

/* A string of JSON; bytes that are no UTF-8 become "?". */
json_t *journal_string(const char *text);

/* An array of the objects in the file, empty where there is none; takes:
 * json_decref. */
int journal_read(const char *path, json_t **out, struct mup_error *err);

/* The last line, or NULL where there is no whole one or it is no object. */
json_t *journal_last(const char *path);

/* Members, with "" and 0 for those that are absent or of another type; numbers
 * are cut to what fits. */
const char *journal_text(const json_t *object, const char *key);
int64_t journal_int(const json_t *object, const char *key);
double journal_real(const json_t *object, const char *key);

#endif
