/* What ended an incarnation, from what was seen of it: a pure function. */
#ifndef LAUNCHER_FAILURE_H
#define LAUNCHER_FAILURE_H

#include <stdint.h>

#include "mup/mup.h"

enum failure_class {
    FAILURE_NONE,
    FAILURE_USER,      /* the program or its input: no node is to blame */
    FAILURE_NODE,      /* a node is gone */
    FAILURE_PROCESS,   /* a rank was killed from outside: memory, a person */
    FAILURE_NETWORK,   /* ranks do not reach each other */
    FAILURE_FILES,     /* disk full, input or output errors */
    FAILURE_PREEMPTED, /* the scheduler wants the nodes */
    FAILURE_HUNG,      /* a rank is there and does nothing */
    FAILURE_CORRUPT,   /* a node damages data */
    FAILURE_FENCED,    /* a newer incarnation has replaced this one */
    FAILURE_CLASSES
};

/* What is known of the rank that failed first. */
struct failure_evidence {
    int node_lost;    /* its node's agent is gone or silent */
    int hung;         /* silent beyond its limit while connected */
    int said_bye;     /* with status and text */
    int status;       /* of bye, or the exit status */
    int signal;       /* that killed it, 0: none or not known */
    int preempted;    /* the scheduler said so */
    const char *text; /* of bye or the last words, may be "" */
};

struct failure {
    int class;       /* enum failure_class */
    int final;       /* starting again cannot help */
    int blames_node; /* the node that the rank ran on */
};

struct failure failure_classify(const struct failure_evidence *e);

/* Ranks that fail together say the same sentence, so which of them spoke first
 * means nothing: the rank that the sentence itself names, "rank 3 (node7)
 * damaged data 3 times, ..." or "out of memory for the run (rank 3)"; or -1. */
int failure_rank(const char *text);

/* "node", "user", ...: in the journal. */
const char *failure_name(int class);
/* "node failure", "error of the program": in sentences. */
const char *failure_title(int class);

#endif
