/* Which layouts a number of ranks allows, from best to worst.  layout_resolve
 * (layout.h) takes the first; `plan --layouts` shows them. */
#ifndef MODEL_LAYOUT_CHOICE_H
#define MODEL_LAYOUT_CHOICE_H

#include "model/layout_plan.h"

/* As many as the keys parallel.* can say; layout_cut stays far from overflow.
 */
#define LAYOUT_MAX_RANKS ((int64_t)1 << 20)

struct layout_choice {
    struct layout n;
    int fits;        /* into messages, and the memory that was asked for */
    int rows_fit;    /* into messages */
    int changed;     /* keys of parallel.* that were given and differ */
    int starved;     /* a rank has no sequence of the batch */
    int uneven;      /* of experts and batch, what does not divide */
    double distance; /* sum of |log2| of what those keys were changed by */
    double bytes;    /* sent by the last rank in a step */
    double memory;   /* of the last rank */
};

/* The best `max` layouts of so many ranks into list, their number into *n,
 * and as its value how many there are.  A layout is one whose `tensor` divides
 * the key/value heads and is at most the hidden units and the vocabulary (1
 * for Muon, which needs whole matrices); `expert` is at most the number of
 * experts, unless parallel.expert says more.
 *
 * The order: what fits memory_bytes (0: all do), what changes the fewest keys,
 * what leaves no rank without sequences, what divides experts and batch
 * evenly, what changes those keys the least, where nothing fits what needs the
 * least, what sends the fewest bytes, the smaller tensor, the smaller expert.
 */
int64_t layout_choices(const struct layout_subject *subject, int64_t ranks,
                       double memory_bytes, struct layout_choice *list,
                       int64_t max, int64_t *n);

/* The first power of two times `ranks` on which something fits and no key is
 * changed for it; 0 where there is none up to LAYOUT_MAX_RANKS.  *out: its
 * best choice. */
int64_t layout_more_ranks(const struct layout_subject *subject, int64_t ranks,
                          double memory_bytes, struct layout_choice *out);

#endif
