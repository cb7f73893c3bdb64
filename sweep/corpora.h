/* The texts that a sweep reads: opened and checked before its directory is
 * made, and compared with those that the study was started with, since two
 * texts in one study would make its losses incomparable. */
#ifndef SWEEP_CORPORA_H
#define SWEEP_CORPORA_H

#include "sweep/space.h"

struct corpus {
    char name[FIELD_TEXT_BYTES + 16]; /* "data.train data/x.bin" */
    char hash[33];                    /* XXH3-128 of its tokens */
};

struct corpora {
    int64_t n;
    struct corpus *corpus; /* the synthetic source is none of them */
};

/* Open the data of every run that the space asks for once, as the runs will:
 * the status and sentence of data_open for the first that cannot be read. */
int corpora_open(const struct space *space, struct corpora *out,
                 struct mup_error *err);
void corpora_clear(struct corpora *corpora);

#endif
