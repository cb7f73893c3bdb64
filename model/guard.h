/* A look-out for silent corruption: bits that flip in memory, on the way
 * between ranks, or in a computation.
 *
 * ZeRO leaves nothing to compare optimizer state with, and sends a damaged
 * owner's weights to all.  So every rank seals what it holds itself (seal.h),
 * in every step:
 *
 *   weights   sealed when all shares have arrived, looked at after the
 *             backward pass, right before the update; the own shares also
 *             between the update and the sending
 *   moments   sealed after the update, looked at right before the next
 *   gradients sealed when the backward pass has left a bucket, looked at when
 *             its sum has arrived; the sum from then on until it was used.
 *             Alone, the same from the first to the last of these
 *
 * All ranks tell all others, once a step, whether they found something, with
 * a digest of the weights that others hold too: replicas that differ look
 * closer, and the majority is right.  Where there is none, the same step comes
 * again after the return to a checkpoint, and who gets other weights this time
 * was wrong the first time.
 *
 * In every `every`-th step the gradients are computed twice, and if the
 * results differ a third time: wrong is what stands alone.
 *
 * Nothing here is allocated in a step. */
#ifndef MODEL_GUARD_H
#define MODEL_GUARD_H

#include "model/node.h"
#include "model/optimizer.h"
#include "model/seal.h"

enum guard_kind { GUARD_WEIGHT, GUARD_M, GUARD_V, GUARD_GRAD, GUARD_TABLE };
enum guard_by { GUARD_SEAL, GUARD_REPLICAS, GUARD_EXECUTION };

#define GUARD_HOST_BYTES NODE_NAME_BYTES

struct guard_finding {
    int32_t found; /* 0: nothing, and of the rest only host counts */
    int32_t by, kind;
    int32_t rank;   /* of all; -1: one of two, and not known which */
    int32_t param;  /* -1: the rotary table */
    int32_t wrong;  /* by execution: which of the three; 0: all differ */
    int32_t alike;  /* ranks with the same finding: an error spreads in a step
                       along `expert` and `tensor` */
    int32_t unused; /* so that no byte that is sent is undefined */
    int64_t chunk, first; /* of the rank's part: number; first element */
    char host[GUARD_HOST_BYTES];
};

/* What every rank tells all others in a step. */
struct guard_word {
    uint64_t found;
    uint64_t digest[3]; /* of what the data group holds in common, the dense
                           group, and the tensor group */
};

/* Weights that were not the same on two replicas after a step, and no one
 * could say which were right. */
struct guard_dispute {
    int open;
    int64_t step, at; /* at: in weight; -1: others' */
    uint64_t hash;    /* what this rank had */
};

struct guard {
    struct model *model;
    struct zero *zero;
    struct optimizer *optimizer;
    int64_t every;
    struct seals weight, own, m, v, grad, share;
    int64_t *bucket;    /* of grad: first seal of each bucket, and the end */
    int64_t experts;    /* first seal of weight that is an expert's ... */
    int64_t table;      /* ... and the rotary table's, behind all tensors */
    uint64_t *again[3]; /* grad's hashes as computed each time */
    int execution;      /* 0 to 2, -1: not in this step */
    int64_t looked;     /* step of the last clean look, or where it began */
    struct guard_finding finding;   /* this rank's first since it told */
    struct guard_finding *findings; /* one a rank */
    struct guard_word *words;       /* one a rank */
    uint64_t *hashes;               /* of a group's members */
    int64_t *counts;
    struct guard_dispute dispute;
};

/* All is borrowed and must not move, and already lies where it stays.  Close
 * also after a failure. */
int guard_open(struct guard *g, struct model *m, struct zero *z,
               struct optimizer *o, struct mup_error *err);
void guard_close(struct guard *g);

/* --- the points of a step, in this order --- */

/* Does the step (from 0) compute its gradients twice? */
int guard_looks(const struct guard *g, int64_t step);
void guard_begin(struct guard *g, int64_t step);
/* Of a zero_watch. */
void guard_bucket(struct guard *g, int bucket, int moment);
void guard_reduced(struct guard *g); /* sums have arrived */
void guard_verify(struct guard *g);  /* weights and moments */
void guard_used(struct guard *g);    /* gradients, if only to skip the step */
void guard_updated(struct guard *g); /* or so: before shares are sent */
void guard_gathered(struct guard *g);

/* After a second run of the backward pass (execution 1).  Collective; 1 where
 * a third one is wanted, on all ranks. */
int guard_differs(struct guard *g);
/* After the third. */
void guard_decide(struct guard *g);

/* Collective: 1 and *out, the same on all ranks, if any found something or
 * replicas of the weights after `step` steps differ; what was found is then
 * forgotten. */
int guard_agree(struct guard *g, int64_t step, struct guard_finding *out);

/* Collective, where no one found anything after `step` steps: the rank that
 * was wrong in a dispute about them, or -1. */
int guard_verdict(struct guard *g, int64_t step);

/* Seal weights and moments as they are: after loading. */
void guard_seal(struct guard *g);

/* "weight", "m", "v", "grad", "table"; "seal", "replicas", "execution". */
const char *guard_kind_name(int kind);
const char *guard_by_name(int by);

#endif
