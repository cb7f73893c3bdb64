/* The command line of one verb.
 *
 *     mutransfer VERB [options] [--section.key=value ...] operands
 *
 * A verb lists its options in a table (struct option); -h, -v and -q belong to
 * every verb.  An argument "--a.b=c" is not an option but an override of a
 * config key and is kept, in order, for the config reader.  "--" ends the
 * options. */
#ifndef LAUNCHER_ARGS_H
#define LAUNCHER_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "mup/mup.h"

#define ARGS_MAX_OPTIONS 24

/* One option.  value: the name of its argument in help texts, NULL = a flag;
 * "[=SECONDS]": one that may be left out and then is "".  letter 0: long form
 * only.  A table ends with name NULL. */
struct option {
    const char *name;
    char letter;
    const char *value;
    const char *help;
};

/* Rows that several verbs share. */
#define OPTION_JSON                                                            \
    {                                                                          \
        "json", 0, NULL, "print the answer as one JSON object"                 \
    }
#define OPTION_DRY_RUN                                                         \
    {                                                                          \
        "dry-run", 'n', NULL, "say what would be done, do nothing"             \
    }

struct verb;

/* Operands and overrides point into argv. */
struct args {
    const char *program; /* path of this binary */
    const struct verb *verb;
    int help, verbose, quiet;
    const char *value[ARGS_MAX_OPTIONS]; /* by row; "" for a given flag */
    int n_operands;
    char **operands;
    int n_overrides;
    char **overrides; /* "section.key=value" */
};

/* Parse argv[0..argc) (without program and verb).  Reorders argv: operands and
 * overrides keep their order.  MUP_USAGE for an unknown option (the sentence
 * names the nearest), a missing or unwanted argument, a wrong number of
 * operands (not checked when help was asked for). */
int args_parse(const struct verb *verb, int argc, char **argv, struct args *out,
               struct mup_error *err);
void args_clear(struct args *args);

/* Argument of an option of the verb's table, NULL if not given.  An option
 * that is not in the table is a bug. */
const char *args_text(const struct args *args, const char *name);
int args_given(const struct args *args, const char *name);

/* Whole number in [min,max]; *out is left alone where the option is absent. */
int args_int(const struct args *args, const char *name, int64_t min,
             int64_t max, int64_t *out, struct mup_error *err);

/* "32,64,128" into out[0..*n); at most max numbers >= 1. */
int args_int_list(const struct args *args, const char *name, int max,
                  int64_t *out, int *n, struct mup_error *err);

/* Edit distance with insert, delete, change and swap of neighbours at cost 1;
 * texts longer than 63 bytes are cut. */
int edit_distance(const char *a, const char *b);

#endif
