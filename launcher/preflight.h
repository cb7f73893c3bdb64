/* Is this node fit to train?  Runs on the node itself, in a process of its own
 * that its agent kills when it takes too long. */
#ifndef LAUNCHER_PREFLIGHT_H
#define LAUNCHER_PREFLIGHT_H

#include <jansson.h>

#include "model/config.h"

struct preflight_options {
    const char *dir;         /* of the run: its disk */
    const char *node;        /* our name */
    int64_t gpus;            /* that must be there; 0: not looked for */
    double memory_mib;       /* of the pattern */
    double checkpoint_bytes; /* room that one needs */
    const char *drill;       /* drill.preflight, "" = none */
    const char *gpu_file;    /* for tests: what nvidia-smi would answer */
    const char *xid_file;    /* for tests: kernel messages */
};

#define PREFLIGHT_TEXT_BYTES 320

/* What was found.  bad empty: fit. */
struct preflight_result {
    char bad[PREFLIGHT_TEXT_BYTES]; /* the first fault, as a sentence */
    double seconds;
    double memory_bytes_per_s, gemm_flops_per_s, disk_bytes_per_s;
    double wall_unix_s; /* the node's clock */
    int gpus;
};

/* Never fails: what cannot be found out is bad. */
void preflight_run(const struct preflight_options *o,
                   struct preflight_result *out);

/* One line of JSON, and back.  MUP_CORRUPT: an unreadable answer, which counts
 * as bad. */
int preflight_format(const struct preflight_result *r, char *out, size_t bytes);
int preflight_parse(const char *text, struct preflight_result *out,
                    struct mup_error *err);

/* Which nodes are bad, from what all of them said: pure.  Beside their own
 * faults: clocks apart by more than skew_s from the median, and products,
 * memory or disk slower than a third of the median.  bad[i] gets a sentence or
 * "". */
struct preflight_answer {
    int answered;
    struct preflight_result result;
    double skew_s; /* their clock less ours */
};
void preflight_compare(const struct preflight_answer *answers, int n,
                       char (*bad)[PREFLIGHT_TEXT_BYTES]);

/* Pairs of one round of measuring bandwidth, of n nodes in a circle: in round
 * r node i measures with pair[i] (-1: pauses).  Every node meets another
 * partner in each round. */
void preflight_pairs(int n, int round, int *pair);
/* Nodes that were slow (less than a third of the median of all pairs) with
 * every partner that answered with others at speed. */
struct preflight_pair {
    int a, b;
    double bytes_per_s; /* 0: no answer */
};
void preflight_find_slow(const struct preflight_pair *pairs, int n_pairs, int n,
                         char (*bad)[PREFLIGHT_TEXT_BYTES]);

#endif
