/* libmup: the maximal update parametrization as data and pure functions.
 *
 * Declare for every tensor which of its two dimensions grow with width, ask
 * mup_scale() for its factors, and multiply:
 *
 *     struct mup_rules rules = { .parametrization = MUP_MUP };
 *     struct mup_shape up = { "up", MUP_HIDDEN, { 4096, 512 }, { 1024, 128 } };
 *     struct mup_scale s;
 *     struct mup_error err;
 *
 *     if (mup_scale(&rules, &up, &s, &err) != MUP_OK)
 *         fprintf(stderr, "%s\n", err.text);
 *     std = base_std * s.init_std;      lr = base_lr * s.lr;   ...
 *
 * Invariant: every factor is relative to the base model and is exactly 1 when
 * both dimensions equal their base (the decay of tensors that never decay is
 * 0).  Nothing here allocates, prints or keeps state; C11 and libm are all it
 * needs. */
#ifndef MUP_H
#define MUP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a factor changes; stamped into manifests, checkpoints and
 * exports. */
#define MUP_RULESET_VERSION 2

/* Statuses of fallible functions; also the exit codes of the program. */
enum mup_status {
    MUP_OK = 0,
    MUP_NEGATIVE = 1,     /* a check failed, an optimum drifts, lint refuses */
    MUP_USAGE = 2,        /* bad command line, config or argument */
    MUP_SYSTEM = 3,       /* file, memory, disk */
    MUP_DEVICE = 4,       /* device or network fault */
    MUP_CORRUPT = 5,      /* damaged data */
    MUP_DIVERGED = 6,     /* the loss diverged: a result, not a crash */
    MUP_STOPPED = 7,      /* stopped on request, state saved */
    MUP_INCONCLUSIVE = 8, /* the data does not decide */
};

#define MUP_ERROR_BYTES 1024

/* One complete sentence: lower case, no full stop, problem first. */
struct mup_error {
    int status;
    char text[MUP_ERROR_BYTES];
};

/* Write a formatted sentence into err (may be NULL); returns status, so that
 * a caller can write "return mup_fail(err, MUP_USAGE, ...)". */
int mup_fail(struct mup_error *err, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put a formatted text in front of the sentence in err, keeping its status. */
void mup_error_prefix(struct mup_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* SP: standard, matrices start at 1/sqrt(fan_in), one learning rate.
 * MUP: maximal update.  SP_PERLAYER: standard initialisation, learning rates
 * per layer (Everett et al. 2024).  UMUP: unit-scaled muP (Blake et al. 2024),
 * relative to base; adaptive optimizers only. */
enum mup_parametrization {
    MUP_SP,
    MUP_MUP,
    MUP_SP_PERLAYER,
    MUP_UMUP,
    MUP_PARAMETRIZATION_COUNT,
};

/* ADAM is AdamW without decay: L2 decay inside Adam's gradient has no width
 * rule.  MUON orthogonalises the updates of matrices (mup_is_muon) and leaves
 * the rest to AdamW. */
enum mup_optimizer {
    MUP_ADAMW,
    MUP_SGD,
    MUP_ADAM,
    MUP_LION,
    MUP_MUON,
    MUP_OPTIMIZER_COUNT,
};

/* Where the width factors of MUP stand; the three forms train alike, bit for
 * bit where the factors are powers of two (Tensor Programs V, tables 8, 3, 9).
 * TABLE8 carries the output's in a multiplier, TABLE3 in initialisation and
 * learning rate, TABLE9 half each. */
enum mup_form { MUP_TABLE8, MUP_TABLE3, MUP_TABLE9, MUP_FORM_COUNT };

/* How weight decay follows the width: what stays equal is, per step,
 * INDEPENDENT  base learning rate x decay, for every tensor;
 * COUPLED      decay alone: torch's AdamW taken literally (table 8);
 * SQRT         as INDEPENDENT, times m^-1/2 on hidden matrices;
 * DETACHED     decay without any learning rate: w -= schedule * decay * w;
 * NONE         no decay. */
enum mup_decay {
    MUP_DECAY_INDEPENDENT,
    MUP_DECAY_COUPLED,
    MUP_DECAY_NONE,
    MUP_DECAY_SQRT,
    MUP_DECAY_DETACHED,
    MUP_DECAY_COUNT,
};

/* Residual x + m_L^-alpha * branch(x), m_L = layers / base layers: alpha 0 and
 * no rule, 1/2 (depth-muP), 1 (CompleteP). */
enum mup_depth {
    MUP_DEPTH_NONE,
    MUP_DEPTH_MUP,
    MUP_COMPLETEP,
    MUP_DEPTH_COUNT,
};

/* What grows in a mixture of experts: nothing but the widths (FIXED_E); the
 * number of experts, and top_k with it (MEAN_FIELD); experts and their width
 * like the model's width (MSSP); experts alone, their width fixed
 * (MSSP_BOTTLENECK). */
enum mup_moe {
    MUP_MOE_FIXED_E,
    MUP_MOE_MEAN_FIELD,
    MUP_MOE_MSSP,
    MUP_MOE_MSSP_BOTTLENECK,
    MUP_MOE_COUNT,
};

/* Query heads per key/value head: equal to base, or scaled by an experimental
 * factor on the learning rate of keys and values. */
enum mup_gqa { MUP_GQA_EQUAL, MUP_GQA_EXPERIMENTAL, MUP_GQA_COUNT };

/* What the optimizer itself multiplies the orthogonalised update of a
 * (fan_out, fan_in) matrix with; the rule compensates the rest. */
enum mup_muon {
    MUP_MUON_SPECTRAL,      /* sqrt(fan_out / fan_in) */
    MUP_MUON_KELLER_JORDAN, /* sqrt(max(1, fan_out / fan_in)) */
    MUP_MUON_MOONLIGHT,     /* 0.2 sqrt(max(fan_out, fan_in)) */
    MUP_MUON_PLAIN,         /* 1 */
    MUP_MUON_COUNT,
};

/* A plausible mistake in place of a rule, to see that a check finds it. */
enum mup_break {
    MUP_BREAK_NONE,
    MUP_BREAK_ROUTER_HIDDEN,
    MUP_BREAK_ROUTER_NO_MULT,
    MUP_BREAK_READOUT_NO_MULT,
    MUP_BREAK_READOUT_TWICE,
    MUP_BREAK_READOUT_LR,
    MUP_BREAK_HIDDEN_INIT,
    MUP_BREAK_HIDDEN_LR,
    MUP_BREAK_HIDDEN_LR_SQRT,
    MUP_BREAK_DOWN_LR,
    MUP_BREAK_INPUT_LR,
    MUP_BREAK_VECTOR_LR,
    MUP_BREAK_TIED_RESCALED,
    MUP_BREAK_EPS,
    MUP_BREAK_DECAY,
    MUP_BREAK_ATTENTION,
    MUP_BREAK_RESIDUAL,
    MUP_BREAK_DEPTH_LR,
    MUP_BREAK_MUON,
    MUP_BREAK_COUNT,
};

/* The place of a tensor in the network.  The first five are classes of Tensor
 * Programs V; the others belong to one of them and have rules of their own
 * where the MoE or attention regime says so. */
enum mup_role {
    MUP_INPUT,     /* finite -> width: embedding tables */
    MUP_HIDDEN,    /* width -> width: matrices */
    MUP_OUTPUT,    /* width -> finite: unembedding */
    MUP_VECTOR,    /* one width dimension: norm gains, biases */
    MUP_FIXED,     /* no width dimension */
    MUP_TIED,      /* embedding table that is also the unembedding: an input */
    MUP_ROUTER,    /* width -> experts: an output */
    MUP_EXPERT_UP, /* width -> expert width, gate or up: hidden */
    MUP_EXPERT_DOWN, /* expert width -> width: hidden */
    MUP_KEY_VALUE,   /* width -> key/value heads: hidden */
    MUP_ROLE_COUNT,
};

/* A dimension and its size in the base model; base 0 = does not scale. */
struct mup_dim {
    int64_t size;
    int64_t base;
};

/* Of a stack of experts, the shape of one.  name is only used in error
 * sentences.  For MUP_VECTOR the vector's length is fan_out and fan_in is
 * {1, 0}.  in_block: inside a residual branch (depth rules). */
struct mup_shape {
    const char *name;
    int role; /* enum mup_role */
    struct mup_dim fan_out;
    struct mup_dim fan_in;
    int in_block;
};

/* {0} is SP with AdamW; the three dimensions are {0} where they do not scale,
 * and only read by the rules that name them. */
struct mup_rules {
    int parametrization; /* enum mup_parametrization */
    int optimizer;       /* enum mup_optimizer */
    int decay;           /* enum mup_decay */
    int form;            /* enum mup_form, MUP_MUP alone */
    int depth;           /* enum mup_depth */
    int moe;             /* enum mup_moe */
    int gqa;             /* enum mup_gqa */
    int muon;            /* enum mup_muon */
    int atan2;           /* Adam-atan2 (Everett et al.): no epsilon */
    int broken;          /* enum mup_break */
    struct mup_dim layers, experts;
    struct mup_dim group; /* query heads per key/value head */
};

/* Factors relative to base.  weight_decay multiplies the decay of an optimizer
 * that applies w -= (base lr * lr) * decay * w (torch's AdamW); it is 0 for
 * gains and biases, which never decay, and for MUP_ADAM.  With
 * MUP_DECAY_DETACHED the same product is applied without the base learning
 * rate.  eps is 1 where the optimizer has none. */
struct mup_scale {
    double init_std;
    double forward;
    double lr;
    double weight_decay;
    double eps;
};

/* Factors of one tensor.  MUP_USAGE, with the tensor's name, for sizes below
 * one, a role that the dimensions contradict, a factor that is not finite, or
 * rules that are unknown or not known to go together; out is then untouched.
 * Factors depend on global shapes alone: ask before sharding. */
int mup_scale(const struct mup_rules *rules, const struct mup_shape *shape,
              struct mup_scale *out, struct mup_error *err);

/* Multiplier of q.k: mult * sqrt(base) / head_size under muP, and the same
 * expression with base = head_size (1/sqrt) under SP, so that both agree to
 * the last bit at the base head size.  (Tensor Programs V, definition 4.1.) */
double mup_attention_scale(const struct mup_rules *rules, double mult,
                           int64_t head_size, int64_t base_head_size);

/* Multiplier of a residual branch, m_L^-alpha.  (Yang et al. 2023,
 * arXiv:2310.02244; Dey et al. 2025, arXiv:2505.01618.) */
double mup_residual_scale(const struct mup_rules *rules);

/* Whether Muon takes this role's matrices. */
int mup_is_muon(int role);

/* What an optimizer of that convention multiplies an update with. */
double mup_muon_factor(int muon, int64_t fan_out, int64_t fan_in);

/* What changes with batch size and number of tokens, as factors on every
 * tensor alike; relative to base.  one_minus_beta multiplies 1 - beta1 and
 * 1 - beta2. */
struct mup_duration {
    double lr, one_minus_beta, eps, weight_decay, steps;
};

/* The SDE rules (Malladi et al. 2022, arXiv:2205.10287; with tokens: the
 * "Complete(d)P" extension) for a batch of batch_ratio times the base's tokens
 * and a run of token_ratio times its tokens: lr = batch_ratio^1/2 *
 * token_ratio^-exponent, exponent 1/2 by theory, about 0.3 as measured by some;
 * learning rate x decay x steps stays equal.  MUP_USAGE for ratios that are not
 * positive and finite or a negative exponent. */
int mup_duration_scale(double batch_ratio, double token_ratio, double exponent,
                       struct mup_duration *out, struct mup_error *err);

/* Width ratio m = size / base of a dimension; 1 for a finite one. */
double mup_ratio(struct mup_dim dim);

/* Class of a role among the first five. */
int mup_role_class(int role);

/* Name of the rule that a tensor follows, "mup.adamw.hidden", and where the
 * rule comes from, as a phrase.  MUP_USAGE as mup_scale. */
#define MUP_RULE_BYTES 64
int mup_rule_name(const struct mup_rules *rules, const struct mup_shape *shape,
                  char name[MUP_RULE_BYTES], const char **source,
                  struct mup_error *err);

/* Names as written in configs; "unknown" outside the enum. */
const char *mup_role_name(int role);
const char *mup_parametrization_name(int parametrization);
/* Of such a name: as people write it, "muP", "SP per layer"; any other name is
 * its own. */
const char *mup_parametrization_title(const char *name);
const char *mup_optimizer_name(int optimizer);
const char *mup_form_name(int form);
const char *mup_decay_name(int decay);
const char *mup_depth_name(int depth);
const char *mup_moe_name(int moe);
const char *mup_gqa_name(int gqa);
const char *mup_muon_name(int muon);
const char *mup_break_name(int broken);
/* What a broken rule does, as a phrase. */
const char *mup_break_text(int broken);
/* Value of a name among the n first values of name(), or -1. */
int mup_name_find(const char *(*name)(int), int n, const char *text);

const char *mup_status_name(int status);

#ifdef __cplusplus
}
#endif

#endif
