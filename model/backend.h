/* The operations that the network is written against.  Each backend (ref in
 * float, ref in double, fast, later CUDA) fills one table; model.c never
 * knows which.
 *
 * Letters: N tokens (batch x time), B sequences, T time, D width, H query
 * heads, G key/value heads, K head size, F expert hidden width, E experts,
 * k experts per token, R = N*k routed rows, V vocabulary.
 *
 * Operands are views: row-major matrices whose rows lie `stride` elements
 * apart.  Weights are stored (fan_out, fan_in): y = x W^T.  "adds" means the
 * result is added to what the output holds; otherwise it overwrites.  Ops
 * return void and allocate nothing; a backend keeps its first fault until
 * sync reports it.  All ops are deterministic: no atomics, fixed order. */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "model/random.h"
#include "mup/mup.h"

enum dtype { DTYPE_F32, DTYPE_F64 };

struct view {
    void *data;
    int64_t rows;
    int64_t cols;
    int64_t stride; /* elements from one row to the next, >= cols */
};

/* Attention geometry.  scale multiplies q.k; cap > 0: cap*tanh(s/cap) after
 * the scale, before the causal mask; cap 0: none. */
struct attention_shape {
    int64_t batch, time, heads, kv_heads, head_size;
    double scale;
    double cap;
};

/* Routing.  cap > 0 soft-caps the router logits.  renormalize: the k gates of
 * a token sum to 1.  balance and z are the coefficients of the two auxiliary
 * losses in dLoss: balance already divided by the global number of sequences,
 * z by the global number of tokens; used by route_grad only. */
struct route_shape {
    int64_t tokens, experts, top_k;
    int64_t time; /* tokens of one sequence: the scope of the balance loss */
    double cap;
    int renormalize;
    double balance;
    double z;
};

enum group_kind {
    GROUP_FORWARD, /* c(R,O) = a(R,I) w_e(O,I)^T */
    GROUP_DGRAD,   /* c(R,I) = a(R,O) w_e(O,I) */
    GROUP_WGRAD,   /* c_e(O,I) adds a_e(R_e,O)^T b_e(R_e,I) */
};

struct adamw_args {
    double lr; /* of this tensor, schedule included */
    double beta1, beta2;
    double eps;        /* of this tensor */
    double decay;      /* w -= decay * w before the step, all factors in */
    double grad_scale; /* clip factor applied to g */
    double correction1, correction2; /* 1 - beta^t */
    int atan2; /* atan2(first, sqrt(second)) in place of the quotient */
};

struct lion_args {
    double lr;
    double beta1, beta2;
    double decay;
    double grad_scale;
};

struct sgd_args {
    double lr;
    double momentum;
    double decay;
    double grad_scale;
};

struct backend;

struct backend_ops {
    /* --- memory --- */
    /* bytes of zeroed memory, aligned to 64, or NULL.  Only before step 1. */
    void *(*alloc)(struct backend *be, size_t bytes);
    void (*free)(struct backend *be, void *data);
    /* host double array <-> backend view (contiguous elements 0..n). */
    void (*upload)(struct backend *be, void *dst, const double *src, int64_t n);
    void (*download)(struct backend *be, double *dst, const void *src,
                     int64_t n);
    /* Wait for all ops; the first fault since the last sync. */
    int (*sync)(struct backend *be, struct mup_error *err);

    /* --- elementary --- */
    void (*zero)(struct backend *be, struct view y);
    /* y adds alpha * x */
    void (*add)(struct backend *be, struct view y, struct view x, double alpha);
    /* y = std * normal(key, first + row*cols + col), cols contiguous index */
    void (*normal)(struct backend *be, struct view y,
                   const struct random_key *key, int64_t first, double std);
    /* *out = sum of squares / sum of absolute values, in double */
    void (*sum_squares)(struct backend *be, double *out, struct view x);
    void (*sum_abs)(struct backend *be, double *out, struct view x);

    /* --- matrix products --- */
    /* c(M,N) = alpha * op(a) op(b) + beta * c; op transposes if asked. */
    void (*gemm)(struct backend *be, struct view c, struct view a,
                 struct view b, int trans_a, int trans_b, double alpha,
                 double beta);
    /* One product per expert over rows offset[e]..offset[e+1].  w stacks the
     * experts' matrices: (E*O, I).  FORWARD: b = w.  DGRAD: b = w.  WGRAD:
     * c = stacked gradient, adds.  accumulate: FORWARD and DGRAD add.  All
     * products are multiplied with alpha. */
    void (*gemm_grouped)(struct backend *be, int kind, struct view c,
                         struct view a, struct view b, const int32_t *offset,
                         int64_t experts, double alpha, int accumulate);

    /* --- embedding --- */
    /* y(N,D) = scale * table(V,D)[token]; zeros for token -1, which another
     * rank's part of the table holds */
    void (*embed)(struct backend *be, struct view y, struct view table,
                  const int32_t *token, double scale);
    /* dtable adds, tokens in order; token -1 adds nothing */
    void (*embed_grad)(struct backend *be, struct view dtable, struct view dy,
                       const int32_t *token, double scale);

    /* --- RMSNorm: y = mult * gain * x * rstd, rstd = 1/sqrt(mean x^2 + eps),
     * mult being the gain's forward multiplier --- */
    /* x, y (N,D); gain (1,D); rstd (N,1) is kept for the backward pass */
    void (*rmsnorm)(struct backend *be, struct view y, struct view rstd,
                    struct view x, struct view gain, double mult, double eps);
    /* dx overwrites, or adds if accumulate; dgain (1,D) adds. */
    void (*rmsnorm_grad)(struct backend *be, struct view dx, struct view dgain,
                         struct view dy, struct view x, struct view rstd,
                         struct view gain, double mult, int accumulate);

    /* --- attention --- */
    /* table(T,K): cos in columns 0..K/2, sin in K/2..K, of
     * t * base^(-2i/K).  K even. */
    void (*rope_table)(struct backend *be, struct view table, double base);
    /* Rotate each head of x(N,heads*K) in place, halves convention (NeoX);
     * row n is time n % table.rows.  inverse: the transpose (backward). */
    void (*rope)(struct backend *be, struct view x, struct view table,
                 int inverse);
    /* o(N,H*K), lse(N,H) = log sum exp of each row's capped logits;
     * q(N,H*K), k and v (N,G*K); query head h uses kv head h / (H/G).
     * scratch: at least 3*T*T elements. */
    void (*attention)(struct backend *be, struct view o, struct view lse,
                      struct view q, struct view k, struct view v,
                      const struct attention_shape *shape, struct view scratch);
    /* dq, dk, dv overwrite. */
    void (*attention_grad)(struct backend *be, struct view dq, struct view dk,
                           struct view dv, struct view dout, struct view o,
                           struct view lse, struct view q, struct view k,
                           struct view v, const struct attention_shape *shape,
                           struct view scratch);
    /* *sum adds sum over the causal pairs of |scale * q.k| (before the cap),
     * *count adds their number: the coordinate check's attention logits. */
    void (*attention_logits)(struct backend *be, double *sum, double *count,
                             struct view q, struct view k,
                             const struct attention_shape *shape,
                             struct view scratch);

    /* --- mixture of experts --- */
    /* logits(N,E) -> probs(N,E) = softmax over all experts of the (capped)
     * logits; lse(N,1) of the capped logits; expert[N*k] the k largest, ties
     * to the lower index, in falling order; gates(N,k) their probs,
     * renormalised if asked. */
    void (*route)(struct backend *be, struct view probs, struct view lse,
                  struct view gates, int32_t *expert, struct view logits,
                  const struct route_shape *shape);
    /* sums[0] adds sum over sequences of E * sum_i f_i P_i (1 = balanced),
     * f_i = count_i/(T*k), P_i = mean over time of probs; sums[1] adds sum
     * over tokens of lse^2.  (Switch Transformers, eq. 4; ST-MoE, eq. 5.) */
    void (*route_loss)(struct backend *be, double *sums, struct view probs,
                       struct view lse, const int32_t *expert,
                       const struct route_shape *shape);
    /* dlogits(N,E) overwrites: gradient through the gates (dgates), of
     * shape->balance * sums[0] and of shape->z * sums[1]. */
    void (*route_grad)(struct backend *be, struct view dlogits,
                       struct view dgates, struct view probs, struct view lse,
                       struct view gates, const int32_t *expert,
                       struct view logits, const struct route_shape *shape);
    /* Stable counting sort of the R = N*k slots by expert.  offset[E+1];
     * source[row] = slot (token*k + j) of sorted row; row[slot] its inverse. */
    void (*dispatch)(struct backend *be, int32_t *row, int32_t *source,
                     int32_t *offset, const int32_t *expert, int64_t slots,
                     int64_t experts);
    /* y(R,D)[r] = x(N,D)[source[r] / k] */
    void (*gather)(struct backend *be, struct view y, struct view x,
                   const int32_t *source, int64_t k);
    /* dx(N,D)[n] = sum_j dy(R,D)[row[n*k+j]]; overwrites. */
    void (*gather_grad)(struct backend *be, struct view dx, struct view dy,
                        const int32_t *row, int64_t k);
    /* a = gelu_tanh(g) * u, all (R,F) */
    void (*geglu)(struct backend *be, struct view a, struct view g,
                  struct view u);
    /* dg, du overwrite; dg may be g's or da's memory, du may be u's. */
    void (*geglu_grad)(struct backend *be, struct view dg, struct view du,
                       struct view da, struct view g, struct view u);
    /* y(N,D)[n] = sum_j gates[n,j] * x(R,D)[row[n*k+j]], j in order */
    void (*combine)(struct backend *be, struct view y, struct view x,
                    const int32_t *row, struct view gates);
    /* dx(R,D) and dgates(N,k) overwrite. */
    void (*combine_grad)(struct backend *be, struct view dx, struct view dgates,
                         struct view dy, struct view x, const int32_t *row,
                         struct view gates);

    /* --- loss --- */
    /* lse(N,1) = log sum exp of each row of logits(N,V); at(N,1) = the logit
     * of its target, 0 for target -1.  target NULL: no at. */
    void (*log_sum_exp)(struct backend *be, struct view lse, struct view at,
                        struct view logits, const int32_t *target);
    /* sums[0] adds sum lse - at, the cross-entropy in nats; sums[1] adds the
     * sum of lse^2. */
    void (*cross_entropy)(struct backend *be, double *sums, struct view lse,
                          struct view at);
    /* logits(N,V) become the gradient of scale * sums[0] + z * sums[1]; lse
     * may be that of a wider row of which logits are a part. */
    void (*cross_entropy_grad)(struct backend *be, struct view logits,
                               struct view lse, const int32_t *target,
                               double scale, double z);

    /* --- optimizers: contiguous views of equal shape --- */
    /* AdamW (Loshchilov & Hutter, alg. 2): m, v moments, updated in place.
     * atan2: Everett et al. 2024, section 5; needs no epsilon. */
    void (*adamw)(struct backend *be, struct view w, struct view g,
                  struct view m, struct view v, const struct adamw_args *args);
    /* u = beta1*m + (1-beta1)*g;  m = beta2*m + (1-beta2)*g;
     * w -= decay*w + lr*sign(u), sign(0) = 0.  (Chen et al. 2023, Lion.) */
    void (*lion)(struct backend *be, struct view w, struct view g,
                 struct view m, const struct lion_args *args);
    /* m = momentum*m + g;  w -= decay*w + lr*m. */
    void (*sgd)(struct backend *be, struct view w, struct view g, struct view m,
                const struct sgd_args *args);
};

struct backend {
    const struct backend_ops *ops;
    const char *name; /* "ref", "ref64", "fast-v4", ... */
    int dtype;        /* enum dtype */
};

/* Open by name: "auto" (the fastest that this CPU runs), "fast", "ref",
 * "ref64".  "fast-v2|v3|v4" force one instruction set (refused with a
 * sentence if the CPU lacks it).  The table is constant; nothing to close. */
int backend_open(const char *name, struct backend *out, struct mup_error *err);

/* Bytes of one element. */
size_t dtype_bytes(int dtype);

/* Rows [first, first+rows) of x. */
struct view view_rows(const struct backend *be, struct view x, int64_t first,
                      int64_t rows);
/* Element number `element` of a contiguous x; NULL where x has no data. */
void *view_at(const struct backend *be, struct view x, int64_t element);
/* A contiguous (rows, cols) view of data. */
struct view view_of(void *data, int64_t rows, int64_t cols);

#endif
