/* One table per config struct drives defaults, YAML, flags, validation, help,
 * the generated reference and the resolved dump:
 *
 *     static const struct field train_fields[] = {
 *         { "steps", FIELD_INT, ROLE_SCALE, AT(steps), "1000", "[1,inf)",
 *           "optimizer steps to run" },
 *         { 0 },
 *     };
 *     const struct section sections[] = {
 *         { "train", train_fields, offsetof(struct run_config, train), "..." },
 *         { 0 },
 *     };
 *
 * The full name of that key is "train.steps".  A setting is one struct member
 * and one row; nothing else knows about it. */
#ifndef CONFIGS_FIELD_H
#define CONFIGS_FIELD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mup/mup.h"

/* Bytes of a text member, the terminating NUL included. */
#define FIELD_TEXT_BYTES 512

enum field_type {
    FIELD_INT,    /* int64_t */
    FIELD_REAL,   /* double */
    FIELD_BOOL,   /* int, 0 or 1; yes/no/true/false */
    FIELD_TEXT,   /* char[FIELD_TEXT_BYTES] */
    FIELD_CHOICE, /* int: index into range, written "adamw|sgd" */
};

enum field_role {
    ROLE_TRANSFER, /* hyperparameter, carried to the target unchanged */
    ROLE_FIXED,    /* must be equal in proxy and target */
    ROLE_SCALE,    /* may differ: width, depth, batch, tokens, ranks */
    ROLE_RUN,      /* paths, intervals, seeds: no influence on transfer */
};

/* range: "[1,inf)", "(0,1]" for numbers, "a|b|c" for choices, "" for none;
 * "auto|[0,8]" for whole numbers of which 0 is written "auto".
 * def: default as text, NULL = the user must give it. */
struct field {
    const char *key;
    int type; /* enum field_type */
    int role; /* enum field_role */
    size_t offset;
    const char *def;
    const char *range;
    const char *help;
};

struct section {
    const char *name;
    const struct field *fields; /* ends with key NULL */
    size_t offset;              /* of the section's struct in the config */
    const char *help;
};

/* A config struct: sections ends with name NULL.  bytes = sizeof the struct.
 * set: offset, in the config, of an array of n_set unsigned chars that record
 * which keys were given (in table order); used for "missing key" and to tell a
 * default from a choice. */
struct schema {
    const struct section *sections;
    size_t bytes;
    size_t set_offset;
    size_t n_set;
};

/* Fill the whole config with defaults (members without default: 0). */
void config_defaults(const struct schema *schema, void *config);

/* Set "train.lr" from text.  MUP_USAGE for an unknown key (the sentence names
 * the nearest key), text that is no value of the type (or no UTF-8), or out of
 * range; config is then untouched. */
int config_set(const struct schema *schema, void *config, const char *key,
               const char *text, struct mup_error *err);

/* Longest key of an override, its NUL included. */
#define CONFIG_KEY_BYTES 160

/* Split "section.key=value": key receives what stands before the first '=',
 * *value (borrowed from override) what stands behind it. */
int config_split(const char *override, char key[CONFIG_KEY_BYTES],
                 const char **value, struct mup_error *err);

/* Read a YAML file of "section: { key: value }" on top of what config holds.
 * Errors in it begin with "file:line: ".  Duplicate keys, unknown sections and
 * wrong node kinds are errors; config is then untouched. */
int config_load(const struct schema *schema, void *config, const char *path,
                struct mup_error *err);

/* MUP_USAGE, naming the key, where a key without default was not given. */
int config_require(const struct schema *schema, const void *config,
                   struct mup_error *err);

/* Write the resolved config as YAML; it parses to itself, floats in the
 * shortest form that reads back to the same bits.  A key without default that
 * was not given is written as a comment.  comments != 0 adds each key's help
 * and role.  MUP_SYSTEM if out cannot be written. */
int config_dump(const struct schema *schema, const void *config, int comments,
                FILE *out, struct mup_error *err);

/* The field of a full key and its section, or NULL. */
const struct field *config_find(const struct schema *schema, const char *key,
                                const struct section **section);

/* Nearest full key by edit distance (for suggestions), or NULL.  A name
 * and its abbreviation are near ("learning_rate" and "lr"). */
const char *config_nearest(const struct schema *schema, const char *key,
                           char *buffer, size_t bytes);

/* How far the name a is from b (at most 64 bytes): insertions and deletions,
 * fewer for an abbreviation. */
size_t config_name_distance(const char *a, const char *b);

int config_is_utf8(const char *text);

/* Value of a field of config as text ("0.001", "adamw", "yes"). */
void config_text(const struct section *section, const struct field *field,
                 const void *config, char *buffer, size_t bytes);

/* Call visit for every key whose value differs between a and b. */
typedef void config_visit(void *context, const char *key,
                          const struct field *field, const char *text_a,
                          const char *text_b);
void config_diff(const struct schema *schema, const void *a, const void *b,
                 config_visit *visit, void *context);

/* The reference printed by "help config": Markdown, one table a section. */
void config_reference(const struct schema *schema, FILE *out);

/* Numbers as people write them: 1e-3, 2^-9, 2**-9, 1_000; whole text or
 * MUP_USAGE.  inf and nan are not numbers. */
int parse_real(const char *text, double *out, struct mup_error *err);
int parse_int(const char *text, int64_t *out, struct mup_error *err);

/* Fewest digits that read back to the same double: 0.001, 1e-5, 1000, 2e9.
 * bytes >= 32. */
void format_real(double value, char *buffer, size_t bytes);

const char *field_role_name(int role); /* transfer fixed scale run */

#endif
