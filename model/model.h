/* The network, written once against the op table: Grok-1's shape, a pre-norm
 * and post-norm around every branch, grouped-query attention with RoPE and a
 * logit soft-cap, a float router over all experts, dropless gated-GeLU
 * experts.  Read model_forward (model.c), then model_backward (backward.c).
 *
 * Letters as in backend.h; with many ranks H, G, F and V are this rank's part
 * of them, E is all experts and X those held here, N the tokens of this rank's
 * micro-batch.  What differs between layouts are sums over the tensor group
 * and the exchange of rows (exchange.h), which a rank alone does not notice.
 * All memory is carved from one arena whose size model_layout computes before
 * anything is allocated. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "model/backend.h"
#include "model/params.h"
#include "model/ranks.h"

/* More than any machine has (256 TiB); sizes are counted up to here. */
#define ARENA_LIMIT ((size_t)1 << 48)

/* A block of memory handed out in 64-byte steps.  base NULL: only counts. */
struct arena {
    char *base;
    size_t used;
};
void *arena_take(struct arena *arena, size_t bytes);

/* What one block keeps from the forward pass for the backward pass. */
struct block_state {
    struct view x;                 /* (N,D) residual entering attention */
    struct view h;                 /* (N,D) normalised */
    struct view rstd_in, rstd_out; /* (N,1) */
    struct view q, k, v;           /* (N,H*K), (N,G*K) x 2; rotated */
    struct view q_raw, k_raw;      /* before QK-norm; no data without it */
    struct view rstd_q, rstd_k;    /* (N*H,1), (N*G,1) */
    struct view o, lse;            /* (N,H*K), (N,H) */
    struct view branch;            /* (N,D) attention output, before its norm */
    struct view x_moe;             /* (N,D) residual entering the experts */
    struct view h_moe;             /* (N,D) normalised */
    struct view rstd_moe_in, rstd_moe_out;
    struct view logits, probs, router_lse; /* (N,E), (N,E), (N,1) */
    struct view gates;                     /* (N,k) */
    int32_t *expert, *row, *source;        /* R each */
    int32_t *offset;                       /* E+1 */
    int32_t *counts;                       /* ranks*E: rows of each expert */
    int32_t *held;                         /* X+1: as offset, of rows here */
    struct view received;                  /* (S,D); none with one rank */
    struct view gate, up;                  /* (S,F) */
    struct view shared_gate, shared_up;    /* (N,F); none without one */
    struct view out;                       /* (R,D) expert outputs */
    struct view branch_moe;                /* (N,D) their weighted sum, and
                                              the shared expert's */
};

/* Memory shared by all blocks. */
struct scratch {
    struct view hidden[3];  /* (N,D) */
    struct view ffn[2];     /* (S,F), also (N,F) of a shared expert */
    struct view routed[2];  /* (R,D) */
    struct view arrived;    /* (S,D); routed[0] with one rank */
    struct view dq, dk, dv; /* as q, k, v */
    struct view dlogits;    /* (N,E) */
    struct view dgates;     /* (N,k) */
    struct view attention;  /* 3*T*T elements */
};

/* Observer of a forward pass, for the coordinate check; members may be NULL.
 * layer is -1 outside the blocks. */
struct model_probe {
    void *context;
    /* An activation at a named place, e.g. "attn.out". */
    void (*activation)(void *context, int layer, const char *name,
                       struct view x);
    /* Tensor `param` is about to be multiplied with x (rows by fan_in);
     * offset: rows of each expert, NULL for a plain tensor. */
    void (*product)(void *context, int param, struct view x,
                    const int32_t *offset);
    /* Sum of |scaled q.k| over so many causal pairs, before the cap. */
    void (*attention_logits)(void *context, int layer, double sum,
                             double pairs);
};

/* Told when the gradients of a layer and all above it are complete: layer L
 * is the output, -1 the embedding.  NULL: no one. */
struct model_gradients {
    void *context;
    void (*ready)(void *context, int64_t layer);
};

struct model {
    struct backend *be;
    struct ranks *ranks;
    struct run_config config;
    struct params params;
    struct view *weight, *grad;         /* per tensor: (slices*rows, cols) */
    struct view all_weights, all_grads; /* (1, total) */
    int64_t B, T, N, D, H, G, K, F, E, k, R, V, L;
    int64_t X, first_expert; /* experts held here */
    int64_t first_token;     /* of the vocabulary's part held here */
    int64_t S;               /* rows that may come to them: the most */
    int64_t max_batch;       /* B at most; the arena is made for it */
    struct view rope;        /* (T,K) */
    int32_t *input, *target; /* N: within this part of the vocabulary, or -1 */
    struct view lse_parts;   /* (N, ranks along tensor) */
    struct view lse, at;     /* (N,1): of the logits, and the target's */
    struct comm_request *exchange; /* one an expert of a rank */
    int64_t *exchange_rows;        /* 4 lists of a number a rank */
    struct block_state *block;
    struct view x_final, h_final, rstd_final,
        logits; /* (N,D) x2, (N,1), (N,V) */
    struct scratch scratch;
    const struct model_probe *probe; /* NULL: none */
    const struct model_gradients *gradients;
    struct arena activations; /* where they begin */
    size_t parameter_bytes, gradient_bytes, activation_bytes;
};

/* Tables and sizes of the part that ranks->place holds of config's model; no
 * big memory yet.  be and ranks are borrowed.  Clear with model_clear. */
int model_init(const struct run_config *config, struct backend *be,
               struct ranks *ranks, struct model *out, struct mup_error *err);
void model_clear(struct model *m);

/* Point every view into arena (base NULL: count only).  Deterministic: the
 * second call takes what the first one counted. */
void model_layout(struct model *m, struct arena *arena);

/* enum comm_type of the backend's numbers. */
int model_comm_type(const struct model *m);

/* The next passes take this many sequences, 0 to max_batch. */
void model_set_batch(struct model *m, int64_t sequences);

/* Fill weights by rule (seed: train.seed, keyed by tensor name and index) and
 * the rotary table. */
void model_initialise(struct model *m);

/* Losses as sums over this rank's micro-batch, added to what they hold. */
struct model_losses {
    double sums[2];   /* cross-entropy (nats), lse^2 of the output */
    double router[2]; /* balance over sequences and layers, lse^2 */
};

/* How much of the global batch one token and one sequence are. */
struct loss_scale {
    double per_token;    /* 1 / global tokens, 0: no gradient wanted */
    double per_sequence; /* 1 / global sequences */
};

/* input, target: N token ids.  With scale->per_token > 0, logits hold their
 * gradient afterwards, ready for model_backward. */
void model_forward(struct model *m, const int32_t *input, const int32_t *target,
                   const struct loss_scale *scale, struct model_losses *losses);

/* Adds the gradients of the last model_forward to m->grad. */
void model_backward(struct model *m, const struct loss_scale *scale);

/* Multiply-adds as 2 FLOP, forward + backward, of one sequence: 6 per active
 * matrix element and token, plus causal attention at half. */
double model_flops_per_sequence(const struct params *params,
                                const struct model_config *config);

#endif
