/* The output of many ranks in one pipe, as `mpirun --tag-output` writes it:
 * every piece of text that a rank wrote begins with "[JOB,RANK]<stdout>:" or
 * "[JOB,RANK]<stderr>:", and pieces of several ranks share a line where one of
 * them wrote no newline yet.  What has no tag is mpirun's own.
 *
 * Put bytes in, get whole lines of one rank out. */
#ifndef LAUNCHER_TAGGED_H
#define LAUNCHER_TAGGED_H

#include <stddef.h>

#define TAGGED_LINE_BYTES 1024 /* longer lines come in pieces */
#define TAGGED_TAG_BYTES  48

struct tagged_part {
    size_t n;
    char text[TAGGED_LINE_BYTES];
};

struct tagged {
    int ranks;
    int current;              /* whose text comes now; -1: mpirun's */
    struct tagged_part *part; /* ranks + 1: begun lines, mpirun's last */
    size_t n_tag;
    char tag[TAGGED_TAG_BYTES]; /* may become a tag */
    /* A line without its newline; rank -1: mpirun's. */
    void (*line)(void *context, int rank, const char *text);
    void *context;
};

/* -1: out of memory.  The caller sets line and context. */
int tagged_open(int ranks, struct tagged *out);
void tagged_put(struct tagged *t, const char *bytes, size_t n);
/* Begun lines come out, then all is freed. */
void tagged_close(struct tagged *t);

/* How a rank ended, from lines that mpirun writes about it; fields stay as
 * they are where a line does not say.  {-1} is "not known". */
struct tagged_end {
    int rank;
    int signal, status; /* 0: not known */
};
void tagged_read_end(const char *line, struct tagged_end *end);

#endif
