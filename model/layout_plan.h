/* What one rank of a layout holds, computes and sends in an optimizer step:
 * pure formulas of the config and the rank's place, with nothing kept per
 * rank, so that thousands of ranks cost no more than one.  The tests compare
 * bytes with the counters of struct comm_stats; docs/parallel.md derives them.
 *
 *     struct place last = layout_last(&layout);
 *     layout_plan(&subject, &last, &plan);
 *
 * layout_cut gives the last part the most, so the last rank is the one with
 * the largest share of everything (under Muon, whose matrices are not cut,
 * shares differ by up to a matrix). */
#ifndef MODEL_LAYOUT_PLAN_H
#define MODEL_LAYOUT_PLAN_H

#include "model/comm.h"
#include "model/layout.h"
#include "model/params.h"

/* Gradients travel in buckets of whole layers of at least so many bytes. */
#define LAYOUT_BUCKET_BYTES ((int64_t)4 << 20)

/* A model as it is planned.  params: the table of PLACE_ALONE. */
struct layout_subject {
    const struct run_config *config;
    const struct params *params;
    int dtype; /* enum dtype of weights, activations and messages */
};

/* Bytes by kind: whole numbers, exact below 2^53. */
struct layout_memory {
    double weights, gradients, optimizer;
    double activations; /* and the tokens of a micro-batch */
    double exchange;    /* gradients of the share, and others' parts of it */
    double staging;     /* a checkpoint's copy of what this rank writes */
};

enum layout_cause {
    LAYOUT_TENSOR,    /* sums over heads, hidden units and vocabulary */
    LAYOUT_ROWS,      /* routed rows to their experts and back */
    LAYOUT_GRADIENTS, /* reduce-scatter */
    LAYOUT_WEIGHTS,   /* all-gather after the update */
    LAYOUT_SMALL,     /* row counts, losses, norms */
    LAYOUT_CAUSES
};

/* Whom a rank exchanges with. */
enum layout_peers {
    LAYOUT_PEERS_TENSOR,
    LAYOUT_PEERS_EXPERT,
    LAYOUT_PEERS_DENSE, /* data x expert: who hold a dense tensor */
    LAYOUT_PEERS_DATA,  /* who hold an expert */
    LAYOUT_PEERS_ALL,
    LAYOUT_PEERS
};

struct layout_plan {
    struct place place;
    struct layout_memory memory;
    double calls[LAYOUT_CAUSES][COMM_KINDS];
    double bytes[LAYOUT_CAUSES][COMM_KINDS];        /* that this rank sends */
    double peer_bytes[LAYOUT_CAUSES][LAYOUT_PEERS]; /* the same by peers */
    int64_t sequences, passes;                      /* of a step */
    double rows;       /* that experts here get in a pass, at worst */
    int rows_fit;      /* into one message and table */
    double flops;      /* of a step, forward and backward */
    double even_flops; /* if the whole work divided evenly */
    /* Shares of the step in which an average rank waits for the last one:
     * for sequences, for experts, and for all causes. */
    double idle_batch, idle_experts, idle;
};

/* The rank with the largest share of everything. */
struct place layout_last(const struct layout *l);

void layout_plan(const struct layout_subject *subject,
                 const struct place *place, struct layout_plan *out);

double layout_memory_total(const struct layout_memory *m);
double layout_plan_bytes(const struct layout_plan *plan);
double layout_plan_calls(const struct layout_plan *plan);

/* How fast a rank can compute and send. */
struct layout_machine {
    double flops;     /* FLOP/s of a rank */
    double node;      /* bytes/s that a rank sends within its node */
    double network;   /* bytes/s that a rank sends to other nodes */
    int64_t per_node; /* ranks of a node */
};

/* Floors: no latency, no wait, every link at its speed. */
struct layout_time {
    double compute_s, node_s, network_s;
    double cause_s[LAYOUT_CAUSES]; /* sums to node_s + network_s */
    double apart_s;                /* one after the other: nothing overlaps */
    double overlap_s;              /* the longest of the three: all overlaps */
};
struct layout_time layout_plan_time(const struct layout_plan *plan,
                                    const struct layout_machine *machine);

/* Of the bytes to peers, the share that leaves the node. */
double layout_crossing(const struct layout *l, int peers, int64_t per_node);

#endif
