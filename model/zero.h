/* ZeRO, stage 1 (Rajbhandari et al. 2020, section 5): those that hold a tensor
 * in common each own a share of it.  Gradients are summed to the owner, who
 * keeps the optimizer's state and updates his share; then all get all weights.
 *
 * Gradients go in buckets of whole layers, each as soon as the backward pass
 * has left it.  Alone, a rank owns everything and nothing is moved. */
#ifndef MODEL_ZERO_H
#define MODEL_ZERO_H

#include "model/model.h"

/* A range of the flat arrays that is reduced in one message. */
struct zero_bucket {
    int is_expert;
    int64_t layer;        /* ready when the backward pass has left it */
    int64_t first, count; /* elements of the flat arrays */
    int64_t *owned;       /* elements of each holder's share, in order */
    int64_t own_first;    /* this rank's share of the flat arrays */
    int64_t state;        /* its place in arrays of this rank's state */
    int64_t scratch;      /* elements before this bucket's */
    struct comm_request request;
};

/* What this rank owns of one tensor. */
struct zero_piece {
    int param;
    int64_t first;  /* in the flat arrays */
    int64_t offset; /* the same, counted from the tensor's box */
    int64_t count;
    int64_t state;  /* in gradients, first moments */
    int64_t second; /* in second moments; -1 where there is none */
};

/* Told of a bucket on its way, by its number; for the guard and for drills. */
enum zero_moment {
    ZERO_COMPUTED, /* the backward pass has left it; before any sum */
    ZERO_LEAVES,   /* the message that takes it away is about to start */
};
struct zero_watch {
    void *context;
    void (*bucket)(void *context, int bucket, int moment); /* NULL: no one */
};

struct zero {
    int n_buckets, n_pieces;
    struct zero_bucket *bucket; /* in the order of the flat arrays */
    struct zero_piece *piece;
    int64_t *owned;       /* the buckets' lists */
    int64_t total;        /* elements that this rank owns */
    int64_t second_total; /* of them with a second moment */
    int64_t scratch_total;
    struct view grads;   /* (1,total): summed; all_grads itself alone */
    struct view scratch; /* (1,scratch_total): of the others; none alone */
    struct zero_watch watch;
};

/* Shares of m's tensors.  Clear with zero_clear. */
int zero_init(const struct model *m, struct zero *out, struct mup_error *err);
void zero_clear(struct zero *z);
void zero_layout(struct zero *z, const struct model *m, struct arena *arena);

/* Begin to sum the buckets that a layer was the last of; and wait for all. */
void zero_reduce(struct zero *z, struct model *m, int64_t layer);
void zero_finish(struct zero *z, struct model *m);

/* The watch alone is told of them: of gradients that are computed again. */
void zero_recompute(struct zero *z, int64_t layer);

/* Sum of squares of the gradients that count here: over all ranks every
 * element of the model counts once. */
double zero_sum_squares(const struct zero *z, const struct model *m);

/* After the update: everyone's shares to all that hold the tensors. */
void zero_gather(struct zero *z, struct model *m);

#endif
