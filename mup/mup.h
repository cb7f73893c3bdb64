/* libmup: the maximal update parametrization as data and pure functions.
 *
 * Declare for every tensor which of its two dimensions grow with width, ask
 * mup_scale() for its factors, and multiply:
 *
 *     struct mup_rules rules = { MUP_MUP, MUP_ADAMW, MUP_DECAY_INDEPENDENT };
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

/* Changes whenever a factor changes; stamped into manifests and checkpoints. */
#define MUP_RULESET_VERSION 1

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

enum mup_parametrization { MUP_SP, MUP_MUP };
enum mup_optimizer { MUP_ADAMW, MUP_SGD };

/* What happens to weight decay when a tensor's learning rate is scaled.
 * INDEPENDENT keeps (learning rate x decay) constant in width, COUPLED is
 * torch's AdamW taken literally, NONE switches decay off. */
enum mup_decay { MUP_DECAY_INDEPENDENT, MUP_DECAY_COUPLED, MUP_DECAY_NONE };

/* The place of a tensor in the network (Tensor Programs V, table 8). */
enum mup_role {
    MUP_INPUT,  /* finite -> width: embedding tables */
    MUP_HIDDEN, /* width -> width: attention and expert matrices */
    MUP_OUTPUT, /* width -> finite: unembedding, MoE router */
    MUP_VECTOR, /* one width dimension: norm gains, biases */
    MUP_FIXED,  /* no width dimension */
};

/* A dimension and its size in the base model; base 0 = does not scale. */
struct mup_dim {
    int64_t size;
    int64_t base;
};

/* name is only used in error sentences.  For MUP_VECTOR the vector's length is
 * fan_out and fan_in is {1, 0}. */
struct mup_shape {
    const char *name;
    int role; /* enum mup_role */
    struct mup_dim fan_out;
    struct mup_dim fan_in;
};

struct mup_rules {
    int parametrization; /* enum mup_parametrization */
    int optimizer;       /* enum mup_optimizer */
    int decay;           /* enum mup_decay */
};

/* Factors relative to base.  weight_decay multiplies the decay of an optimizer
 * that applies w -= lr_tensor * decay_tensor * w (torch's AdamW); it is 0 for
 * gains and biases (MUP_VECTOR, MUP_FIXED).  eps is 1 for SGD. */
struct mup_scale {
    double init_std;
    double forward;
    double lr;
    double weight_decay;
    double eps;
};

/* Factors of one tensor.  MUP_USAGE, with the tensor's name, for sizes below
 * one, a role that the dimensions contradict, or unknown rules; out is then
 * untouched. */
int mup_scale(const struct mup_rules *rules, const struct mup_shape *shape,
              struct mup_scale *out, struct mup_error *err);

/* Multiplier of q.k: mult * sqrt(base) / head_size under muP, and the same
 * expression with base = head_size (1/sqrt) under SP, so that both agree to
 * the last bit at the base head size.  (Tensor Programs V, definition 4.1.) */
double mup_attention_scale(const struct mup_rules *rules, double mult,
                           int64_t head_size, int64_t base_head_size);

/* Width ratio m = size / base of a dimension; 1 for a finite one. */
double mup_ratio(struct mup_dim dim);

const char *mup_role_name(int role);
const char *mup_parametrization_name(int parametrization);
const char *mup_status_name(int status);

#endif
