/* Is this node fit to train?  Runs on the node itself, in a process of its own
 * that its agent kills when it takes too long: devices, memory, matrix products
 * on every CPU, disks, clock.  preflight_compare.c judges what all nodes said.
 */
#ifndef LAUNCHER_PREFLIGHT_H
#define LAUNCHER_PREFLIGHT_H

#include "model/config.h"
#include "model/drill.h"

struct preflight_options {
    const char *dir;         /* of the run: its disk */
    const char *node;        /* our name */
    const char *backend;     /* whose products are tried */
    int64_t gpus;            /* that must be there; 0: not looked for */
    double memory_mib;       /* of the pattern; less where memory is short */
    double checkpoint_bytes; /* room that one needs; 0: not known */
    int drill;               /* enum drill_finding on this node */
    const char *gpu_file;    /* for tests: what nvidia-smi would answer */
    const char *xid_file;    /* for tests: kernel messages */
};

#define PREFLIGHT_TEXT_BYTES 320
#define PREFLIGHT_JSON_BYTES 1024 /* holds any answer */

/* What was found.  bad empty: fit. */
struct preflight_result {
    char bad[PREFLIGHT_TEXT_BYTES]; /* the first fault, as a sentence */
    double seconds;
    /* The best of many short measurements: what the node can do, whoever else
     * is on it.  0: not measured. */
    double memory_bytes_per_s, gemm_flops_per_s, disk_bytes_per_s;
    double wall_unix_s; /* the node's clock, at the end */
    int gpus, cpus;     /* that were looked at */
};

/* Never fails: what cannot be found out is bad. */
void preflight_run(const struct preflight_options *o,
                   struct preflight_result *out);

/* One line of JSON without newline, and back.  MUP_CORRUPT: an unreadable
 * answer, which counts as bad. */
void preflight_format(const struct preflight_result *r, char *out,
                      size_t bytes);
int preflight_parse(const char *text, struct preflight_result *out,
                    struct mup_error *err);

/* Which nodes are bad, from what all of them said: pure.  Beside their own
 * faults: clocks more than 5 s from the median, products or memory slower than
 * a third of the median, disks slower than a tenth and than 20 MB/s.  bad[i]
 * gets a sentence or "". */
struct preflight_answer {
    int answered;
    struct preflight_result result;
    double skew_s; /* their clock less ours */
};
void preflight_compare(const struct preflight_answer *answers, int n,
                       char (*bad)[PREFLIGHT_TEXT_BYTES]);

/* Pairs of one round of measuring bandwidth, of n nodes in a circle: in round
 * r node i measures with pair[i] (-1: pauses).  Every node meets another
 * partner in each of the first n - 1 (n odd: n) rounds. */
void preflight_pairs(int n, int round, int *pair);
/* Nodes whose fastest way is slower than a third of the median node's, although
 * they have tried one to a node that is at speed with others.  Of two nodes
 * alone nobody can tell. */
struct preflight_pair {
    int a, b;
    double bytes_per_s; /* 0: no answer */
};
void preflight_find_slow(const struct preflight_pair *pairs, int n_pairs, int n,
                         char (*bad)[PREFLIGHT_TEXT_BYTES]);

#endif
