/* The rules: a table of exponents, and one function that raises width ratios
 * to them.  The form is Table 8 of Tensor Programs V (Yang et al. 2022,
 * arXiv:2203.03466): the output class keeps a constant initialisation and
 * learning rate and carries a forward multiplier instead, which is the only
 * form that also serves tied embeddings and in which Adam's epsilon falls
 * alike everywhere. */
#include "mup/mup.h"

#include <math.h>

#define N_ROLES      (MUP_FIXED + 1)
#define N_OPTIMIZERS (MUP_SGD + 1)

/* A factor m_in^in * m_out^out, m being size / base of a dimension.  The
 * exponents are multiples of 1/2. */
struct power {
    double in, out;
};

struct exponents {
    struct power init_std, forward, lr, eps;
};

/* clang-format off */

/* Adam divides the gradient by its own size, so its updates have one size at
 * every width and epsilon must follow the gradient.  In this form each entry
 * of a gradient is of order 1/m: logits carry 1/m, and a hidden gradient is
 * the outer product of a backward signal of order 1/m_out with activations of
 * order 1.  SGD's updates are the gradient, hence the m_out. */
static const struct exponents maximal_update[N_OPTIMIZERS][N_ROLES] = {
    [MUP_ADAMW] = {
        /*               init_std      forward   lr         eps       */
        /* table 8, column "input weights & all biases" */
        [MUP_INPUT]  = { {  0.0, 0 }, {  0, 0 }, {  0, 0 }, {  0, -1 } },
        /* table 8, column "hidden weights"; microsoft/mup MuAdam, ninf 2 */
        [MUP_HIDDEN] = { { -0.5, 0 }, {  0, 0 }, { -1, 0 }, {  0, -1 } },
        /* table 8, column "output weights"; microsoft/mup MuReadout.  The
         * MoE router belongs here: Malasnicki et al., arXiv:2508.09752 */
        [MUP_OUTPUT] = { {  0.0, 0 }, { -1, 0 }, {  0, 0 }, { -1,  0 } },
        /* table 8, column "input weights & all biases": a bias or a gain is
         * an input weight whose input is 1 */
        [MUP_VECTOR] = { {  0.0, 0 }, {  0, 0 }, {  0, 0 }, {  0, -1 } },
        /* no width dimension, nothing to scale; microsoft/mup, ninf 0 */
        [MUP_FIXED]  = { {  0.0, 0 }, {  0, 0 }, {  0, 0 }, {  0,  0 } },
    },
    [MUP_SGD] = {
        /* table 8, row "SGD LR", input: fan_out */
        [MUP_INPUT]  = { {  0.0, 0 }, {  0, 0 }, {  0, 1 }, {  0,  0 } },
        /* table 8, row "SGD LR", hidden: 1 where both widths grow alike;
         * microsoft/mup MuSGD divides by fanin_fanout_mult_ratio */
        [MUP_HIDDEN] = { { -0.5, 0 }, {  0, 0 }, { -1, 1 }, {  0,  0 } },
        /* table 8, row "SGD LR", output: fan_in */
        [MUP_OUTPUT] = { {  0.0, 0 }, { -1, 0 }, {  1, 0 }, {  0,  0 } },
        /* table 8, row "SGD LR", biases: fan_out */
        [MUP_VECTOR] = { {  0.0, 0 }, {  0, 0 }, {  0, 1 }, {  0,  0 } },
        /* microsoft/mup MuSGD, ninf 0 */
        [MUP_FIXED]  = { {  0.0, 0 }, {  0, 0 }, {  0, 0 }, {  0,  0 } },
    },
};

/* Standard parametrization (table 8, in gray): matrices start at
 * 1/sqrt(fan_in), nothing else knows the width.  One optimizer is as good as
 * another. */
static const struct exponents standard[N_ROLES] = {
    [MUP_INPUT]  = { {  0.0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    [MUP_HIDDEN] = { { -0.5, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    [MUP_OUTPUT] = { { -0.5, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    [MUP_VECTOR] = { {  0.0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    [MUP_FIXED]  = { {  0.0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
};

/* Which dimensions of a role have a base, and whether it decays: pulling a
 * gain or a bias towards 0 is not what weight decay is for. */
static const struct role {
    const char *name;
    int out_scales, in_scales;
    int decays;
} roles[N_ROLES] = {
    [MUP_INPUT]  = { "input",  1, 0, 1 },
    [MUP_HIDDEN] = { "hidden", 1, 1, 1 },
    [MUP_OUTPUT] = { "output", 0, 1, 1 },
    [MUP_VECTOR] = { "vector", 1, 0, 0 },
    [MUP_FIXED]  = { "fixed",  0, 0, 0 },
};

/* clang-format on */

/* m^exponent for a multiple of 1/2; 1 for a negative one, which belongs to the
 * denominator.  Not pow(): products of powers of two are exact. */
static double half_power(double m, double exponent)
{
    int halves = exponent > 0 ? (int)(2 * exponent) : 0;
    double result = halves % 2 ? sqrt(m) : 1;

    for (int i = 0; i < halves / 2; i++)
        result *= m;
    return result;
}

/* Numerator and denominator apart, so that m / m is 1 to the last bit. */
static double factor(struct power p, double m_in, double m_out)
{
    double over = half_power(m_in, p.in) * half_power(m_out, p.out);
    double under = half_power(m_in, -p.in) * half_power(m_out, -p.out);

    return over / under;
}

static int check_rules(const struct mup_rules *rules, struct mup_error *err)
{
    if (rules->parametrization != MUP_SP && rules->parametrization != MUP_MUP)
        return mup_fail(err, MUP_USAGE, "unknown parametrization %d",
                        rules->parametrization);
    if (rules->optimizer != MUP_ADAMW && rules->optimizer != MUP_SGD)
        return mup_fail(err, MUP_USAGE, "unknown optimizer %d",
                        rules->optimizer);
    if (rules->decay < MUP_DECAY_INDEPENDENT || rules->decay > MUP_DECAY_NONE)
        return mup_fail(err, MUP_USAGE, "unknown weight decay rule %d",
                        rules->decay);
    return MUP_OK;
}

static int check_dim(const struct mup_shape *shape, const char *which,
                     struct mup_dim dim, int scales, struct mup_error *err)
{
    const char *name = shape->name ? shape->name : "?";

    if (dim.size < 1)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': %s is %lld, must be at least 1", name,
                        which, (long long)dim.size);
    if (dim.base < 0)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': base %s is %lld, must be at least 1, or "
                        "0 for a dimension that does not scale",
                        name, which, (long long)dim.base);
    if (scales && dim.base == 0)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': the %s of a tensor with role '%s' grows "
                        "with width, give its base size",
                        name, which, roles[shape->role].name);
    if (!scales && dim.base != 0)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': the %s of a tensor with role '%s' does "
                        "not grow with width, set its base to 0 or change the "
                        "role",
                        name, which, roles[shape->role].name);
    return MUP_OK;
}

static int check_shape(const struct mup_shape *shape, struct mup_error *err)
{
    const struct role *role;
    int rc;

    if (shape->role < 0 || shape->role >= N_ROLES)
        return mup_fail(err, MUP_USAGE, "tensor '%s': unknown role %d",
                        shape->name ? shape->name : "?", shape->role);
    role = &roles[shape->role];
    rc = check_dim(shape, "fan_out", shape->fan_out, role->out_scales, err);
    if (rc == MUP_OK)
        rc = check_dim(shape, "fan_in", shape->fan_in, role->in_scales, err);
    return rc;
}

/* The optimizer applies w -= lr_tensor * decay_tensor * w; independent decay
 * undoes what the rules did to lr (Kosson et al., arXiv:2510.19093). */
static double decay_factor(const struct mup_rules *rules, int role,
                           struct power lr, double m_in, double m_out)
{
    if (!roles[role].decays || rules->decay == MUP_DECAY_NONE)
        return 0;
    if (rules->decay == MUP_DECAY_COUPLED)
        return 1;
    return factor((struct power){ -lr.in, -lr.out }, m_in, m_out);
}

int mup_scale(const struct mup_rules *rules, const struct mup_shape *shape,
              struct mup_scale *out, struct mup_error *err)
{
    const struct exponents *e;
    double m_in, m_out;
    int rc = check_rules(rules, err);

    if (rc == MUP_OK)
        rc = check_shape(shape, err);
    if (rc != MUP_OK)
        return rc;
    e = rules->parametrization == MUP_MUP
            ? &maximal_update[rules->optimizer][shape->role]
            : &standard[shape->role];
    m_in = mup_ratio(shape->fan_in);
    m_out = mup_ratio(shape->fan_out);
    *out = (struct mup_scale){
        .init_std = factor(e->init_std, m_in, m_out),
        .forward = factor(e->forward, m_in, m_out),
        .lr = factor(e->lr, m_in, m_out),
        .weight_decay = decay_factor(rules, shape->role, e->lr, m_in, m_out),
        .eps = factor(e->eps, m_in, m_out),
    };
    return MUP_OK;
}

double mup_attention_scale(const struct mup_rules *rules, double mult,
                           int64_t head_size, int64_t base_head_size)
{
    int64_t base =
        rules->parametrization == MUP_MUP ? base_head_size : head_size;

    return mult * sqrt((double)base) / (double)head_size;
}

double mup_ratio(struct mup_dim dim)
{
    return dim.base == 0 ? 1 : (double)dim.size / (double)dim.base;
}

const char *mup_role_name(int role)
{
    return role >= 0 && role < N_ROLES ? roles[role].name : "unknown";
}

const char *mup_parametrization_name(int parametrization)
{
    switch (parametrization) {
    case MUP_SP:
        return "sp";
    case MUP_MUP:
        return "mup";
    default:
        return "unknown";
    }
}
