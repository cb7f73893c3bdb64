/* What a report compares, and what all of it is called: the value that is
 * tuned ("of": the learning rate) against what grows ("over": the width), in
 * groups of one value of a third key ("by": the parametrization).  Every
 * sentence, table and picture takes its words from here.
 *
 *     struct axes axes;
 *     rc = axes_of_keys(&(struct axes_choice){ .over = "model.layers" },
 *                       &axes, err);
 *     printf("at %s", axes_at(&axes, 8).text);       prints "at depth 8"  */
#ifndef SWEEP_AXES_H
#define SWEEP_AXES_H

#include <stddef.h>

#include "mup/mup.h"

#define AXES_TEXT_BYTES 80

/* Keys of a sweep or columns of a table; NULL = the usual one. */
struct axes_choice {
    const char *over, *of, *by;
};

struct axes_over {
    char key[AXES_TEXT_BYTES];
    char word[AXES_TEXT_BYTES], plural[AXES_TEXT_BYTES]; /* width, widths */
    char growth[AXES_TEXT_BYTES]; /* what doubles: "width", "experts" */
    char larger[AXES_TEXT_BYTES]; /* one with more of it: "a wider model" */
    char more[16], least[16], most[16]; /* wider, narrowest, widest */
    char unit[16]; /* stands behind the number ("8 experts"); "" = the word
                    * stands before it ("width 64") */
};

struct axes_of {
    char key[AXES_TEXT_BYTES];
    char word[AXES_TEXT_BYTES], plural[AXES_TEXT_BYTES];  /* learning rate */
    char brief[AXES_TEXT_BYTES], briefs[AXES_TEXT_BYTES]; /* rate, rates */
};

struct axes_by {
    char key[AXES_TEXT_BYTES];
    char word[AXES_TEXT_BYTES]; /* parametrization */
    char main[AXES_TEXT_BYTES]; /* the group whose verdict counts, "" = none
                                 * is known: the first */
    int rules; /* nonzero: groups are parametrizations, muP and SP */
};

struct axes {
    struct axes_over over;
    struct axes_of of;
    struct axes_by by;
};

/* Keys of a sweep: over and of numeric, all three different.  MUP_USAGE for
 * any other. */
int axes_of_keys(const struct axes_choice *choice, struct axes *out,
                 struct mup_error *err);
/* Columns of a table, any names but loss and seed; words where they are those
 * of a key. */
int axes_of_columns(const struct axes_choice *choice, struct axes *out,
                    struct mup_error *err);

/* The best learning rate over width by parametrization: as keys of a sweep. */
struct axes axes_usual(void);
/* Nonzero for these, of a sweep or of a table. */
int axes_are_usual(const struct axes *a);

/* What stands behind the last dot of a key: "lr". */
const char *axes_leaf(const char *key);

/* "lr-over-layers", and "-by-break" where the groups are not the usual. */
void axes_folder(const struct axes *a, char *out, size_t bytes);

struct phrase {
    char text[192];
};

/* "width 64", "8 experts". */
struct phrase axes_at(const struct axes *a, double value);
/* "widths 64 and 128", "8 and 16 experts". */
struct phrase axes_both(const struct axes *a, double first, double second);
/* "doubling", "doubling of depth": of what a drift is counted in. */
struct phrase axes_doubling(const struct axes *a);
/* A group as people write it: "muP", "decay mode sqrt", "no depth rule", a
 * label as it is; "all runs" for "". */
struct phrase axes_group(const struct axes *a, const char *name);
/* A group inside a sentence: "under muP", "with no depth rule"; "" for "". */
struct phrase axes_under(const struct axes *a, const char *name);
/* What a sentence about one curve begins with: "mup, width 64". */
struct phrase axes_place(const struct axes *a, const char *name, double value);

#endif
