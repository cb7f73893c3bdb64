/* How ranks share one model: pure functions of the config and a rank's
 * number.  docs/parallel.md draws it.
 *
 *     rank = (data * n.expert + expert) * n.tensor + tensor
 *
 * Ranks along `tensor` see the same sequences and split heads, hidden units
 * and the vocabulary.  Ranks along `expert` and `data` see different
 * sequences; along `expert` they also split the experts.  So a dense tensor is
 * held in common by data x expert ranks, an expert by data ranks, and the
 * optimizer state of either is cut among those that hold it (ZeRO stage 1,
 * Rajbhandari et al. 2020). */
#ifndef MODEL_LAYOUT_H
#define MODEL_LAYOUT_H

#include "model/config.h"

/* Ranks along each way; their product is the number of ranks. */
struct layout {
    int64_t data, expert, tensor;
};

/* A layout and one rank's coordinates in it. */
struct place {
    struct layout n;
    int64_t data, expert, tensor;
};

/* The whole model on one rank. */
#define PLACE_ALONE                                                            \
    (struct place)                                                             \
    {                                                                          \
        { 1, 1, 1 }, 0, 0, 0                                                   \
    }

/* How a tensor is cut along `tensor`. */
enum tensor_cut {
    CUT_NONE, /* every rank holds it whole */
    CUT_ROWS, /* fan_out: heads, hidden units, vocabulary */
    CUT_COLS, /* fan_in: what the rows above feed */
};

/* A box of a tensor (slices, rows, cols). */
struct box {
    int64_t first[3], extent[3];
};

int64_t layout_ranks(const struct layout *l);
struct place layout_place(const struct layout *l, int64_t rank);
int64_t layout_rank(const struct place *p);

/* Ranks that see different sequences, and this one's number among them. */
int64_t layout_batch_parts(const struct layout *l);
int64_t layout_batch_part(const struct place *p);

/* First element of part i of `total` things cut into `parts` even parts;
 * i = parts gives total.  Parts differ by at most one and may be empty. */
int64_t layout_cut(int64_t total, int64_t parts, int64_t i);

/* What `place` holds of a tensor of that shape; is_expert: its slices are
 * experts and go along `expert`. */
struct box layout_box(const struct place *place, const int64_t shape[3],
                      int cut, int is_expert);

/* Sequences of a step's batch, and per forward pass, of one rank at most. */
int64_t layout_max_share(const struct run_config *config,
                         const struct layout *l);
int64_t layout_micro_batch(const struct run_config *config,
                           const struct layout *l);

/* The layout that parallel.* asks for on `ranks` ranks: keys that are 0
 * (auto) are chosen so that it fits memory_bytes per rank (0: any), divides
 * evenly where it can, and sends the fewest bytes (layout_choice.h has the
 * whole rule).  MUP_USAGE where keys do not multiply to ranks or do not divide,
 * or nothing fits; the sentence names the nearest layout that does. */
int layout_resolve(const struct run_config *config, int64_t ranks,
                   int64_t memory_bytes, struct layout *out,
                   struct mup_error *err);

#endif
