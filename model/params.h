/* The tensors of the model: logical names, shapes, places in the network and
 * what the rules make of them.  This table is the only bridge from libmup to
 * the trainer: initialisation, forward multipliers and the optimizer read
 * their factors here and nowhere else. */
#ifndef MODEL_PARAMS_H
#define MODEL_PARAMS_H

#include "model/config.h"
#include "model/layout.h"
#include "mup/mup.h"

/* Stored row-major as slices x rows x cols; slices is E for expert tensors,
 * else 1.  Weights are (fan_out, fan_in); the embedding is (V, D), a lookup,
 * so its fan_in is V and its fan_out D.  Sizes and factors are those of the
 * whole tensor; box, first and count are about what this rank holds. */
struct param {
    char name[64]; /* "blocks.0.moe.up" */
    struct mup_shape shape;
    struct mup_scale scale;
    int64_t slices, rows, cols;
    int layer;       /* -1 before, n_layers behind the blocks */
    int is_expert;   /* slices are experts */
    int cut;         /* enum tensor_cut */
    int partial;     /* gradients of ranks along `tensor` add up */
    struct box box;  /* what this rank holds */
    int64_t first;   /* offset in elements in the flat parameter array */
    int64_t count;   /* elements of box */
    double init_std; /* 0 with ones = 0: starts at zero */
    double ones;     /* norm gain: starts at this; else 0 */
    double forward;  /* multiplier of the tensor's output, all factors in */
    int optimizer;   /* enum mup_optimizer of this tensor */
    double lr;       /* peak, of this tensor */
    double eps;
    double shrink;  /* share of w that decays in a step, at the peak */
    double decay;   /* the same as torch says it: shrink / lr */
    int has_second; /* keeps a second moment */
};

/* Indices of one block's tensors in the table. */
struct block_params {
    int norm_attn_in, q, k, v, o, norm_attn_out;
    int norm_q, norm_k; /* -1 without model.qk_norm */
    int norm_moe_in, router, gate, up, down, norm_moe_out;
    int shared_gate, shared_up, shared_down; /* -1 without a shared expert */
};

struct params {
    int n;
    struct param *list;
    struct block_params *block;     /* one per layer */
    int embed, norm_final, unembed; /* unembed == embed when tied */
    double readout;                 /* multiplier of the output logits */
    double attention;               /* multiplier of q.k */
    int64_t total;       /* elements held here: dense, then experts */
    int64_t dense_total; /* elements of dense tensors held here */
    int64_t whole;       /* elements of the whole model */
    double beta1, beta2; /* of Adam, duration rules in */
    int64_t active;      /* of the whole, used by one token */
};

/* The table of a config, as seen from `place`.  MUP_USAGE for sizes that
 * overflow or rules that give no finite factor.  Clear with params_clear. */
int params_init(const struct run_config *config, const struct place *place,
                struct params *out, struct mup_error *err);
void params_clear(struct params *params);

/* Index by logical name, or -1. */
int params_find(const struct params *params, const char *name);

#endif
