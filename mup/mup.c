/* From a row of exponents (rules.c) to the factors of one tensor: add what
 * depth, form and optimizer do to the exponents, then raise the ratios. */
#include "mup/mup.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "mup/rules.h"

/* Ratios of size to base that exponents apply to. */
struct ratios {
    double in, out, experts, layers;
};

/* The exponents of one tensor under an optimizer, a depth rule and a form. */
struct exponents {
    struct power init_std, forward, lr, eps;
    struct power step; /* learning rate x decay */
};

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
static double factor(struct power p, const struct ratios *m)
{
    double over = half_power(m->in, p.in) * half_power(m->out, p.out) *
                  half_power(m->experts, p.experts) *
                  half_power(m->layers, p.layers);
    double under = half_power(m->in, -p.in) * half_power(m->out, -p.out) *
                   half_power(m->experts, -p.experts) *
                   half_power(m->layers, -p.layers);

    return over / under;
}

/* p + times * q */
static struct power plus(struct power p, struct power q, double times)
{
    return (struct power){ p.in + times * q.in, p.out + times * q.out,
                           p.experts + times * q.experts,
                           p.layers + times * q.layers };
}

/* --- checks --- */

static const char *shape_name(const struct mup_shape *shape)
{
    return shape->name ? shape->name : "?";
}

static int within(const char *what, int value, int count, struct mup_error *err)
{
    if (value >= 0 && value < count)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE, "unknown %s %d", what, value);
}

static int check_known(const struct mup_rules *r, struct mup_error *err)
{
    int rc = within("parametrization", r->parametrization,
                    MUP_PARAMETRIZATION_COUNT, err);

    if (rc == MUP_OK)
        rc = within("optimizer", r->optimizer, MUP_OPTIMIZER_COUNT, err);
    if (rc == MUP_OK)
        rc = within("weight decay rule", r->decay, MUP_DECAY_COUNT, err);
    if (rc == MUP_OK)
        rc = within("form", r->form, MUP_FORM_COUNT, err);
    if (rc == MUP_OK)
        rc = within("depth rule", r->depth, MUP_DEPTH_COUNT, err);
    if (rc == MUP_OK)
        rc = within("MoE regime", r->moe, MUP_MOE_COUNT, err);
    if (rc == MUP_OK)
        rc = within("grouped-query rule", r->gqa, MUP_GQA_COUNT, err);
    if (rc == MUP_OK)
        rc = within("Muon convention", r->muon, MUP_MUON_COUNT, err);
    if (rc == MUP_OK)
        rc = within("broken rule", r->broken, MUP_BREAK_COUNT, err);
    return rc;
}

static int check_counts(const char *what, struct mup_dim dim,
                        struct mup_error *err)
{
    if (dim.base >= 0 && (dim.base == 0 || dim.size >= 1))
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "%s %lld with base %lld: both must be at least 1, or the "
                    "base 0",
                    what, (long long)dim.size, (long long)dim.base);
}

/* An axis that a parametrization has no rule for is refused: it would do
 * nothing in silence. */
static int check_axes(const struct mup_rules *r, struct mup_error *err)
{
    const char *name = mup_parametrization_name(r->parametrization);

    if (r->parametrization != MUP_MUP && r->form != MUP_TABLE8)
        return mup_fail(err, MUP_USAGE,
                        "form '%s' is one of muP; '%s' has a single form",
                        mup_form_name(r->form), name);
    if (r->parametrization != MUP_MUP && r->moe != MUP_MOE_FIXED_E)
        return mup_fail(err, MUP_USAGE,
                        "the MoE regime '%s' has rules under muP alone, not "
                        "under '%s'",
                        mup_moe_name(r->moe), name);
    if (r->parametrization == MUP_SP && r->depth != MUP_DEPTH_NONE)
        return mup_fail(err, MUP_USAGE,
                        "the standard parametrization has no depth rule '%s'",
                        mup_depth_name(r->depth));
    if (r->depth != MUP_DEPTH_NONE && r->layers.base == 0)
        return mup_fail(err, MUP_USAGE,
                        "the depth rule '%s' needs the number of layers and "
                        "its base",
                        mup_depth_name(r->depth));
    if (r->moe != MUP_MOE_FIXED_E && r->experts.base == 0)
        return mup_fail(err, MUP_USAGE,
                        "the MoE regime '%s' needs the number of experts and "
                        "its base",
                        mup_moe_name(r->moe));
    if (r->parametrization != MUP_SP && r->gqa == MUP_GQA_EQUAL &&
        r->group.base != 0 && r->group.size != r->group.base)
        return mup_fail(err, MUP_USAGE,
                        "%lld query heads per key/value head against %lld at "
                        "base: no rule is settled; keep them equal or choose "
                        "the experimental one",
                        (long long)r->group.size, (long long)r->group.base);
    if (r->optimizer == MUP_MUON &&
        (r->parametrization == MUP_SP_PERLAYER || r->moe != MUP_MOE_FIXED_E))
        return mup_fail(err, MUP_USAGE, "no rule is known for Muon with '%s'",
                        r->moe ? mup_moe_name(r->moe) : name);
    return MUP_OK;
}

static int check_rules(const struct mup_rules *r, struct mup_error *err)
{
    int rc = check_known(r, err);

    if (rc == MUP_OK)
        rc = check_counts("layers", r->layers, err);
    if (rc == MUP_OK)
        rc = check_counts("experts", r->experts, err);
    if (rc == MUP_OK)
        rc = check_counts("query heads per key/value head", r->group, err);
    return rc == MUP_OK ? check_axes(r, err) : rc;
}

static int check_dim(const struct mup_shape *shape, const char *which,
                     struct mup_dim dim, int scales, struct mup_error *err)
{
    const char *name = shape_name(shape);

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
                        name, which, mup_role_name(shape->role));
    if (!scales && dim.base != 0)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': the %s of a tensor with role '%s' does "
                        "not grow with width, set its base to 0 or change the "
                        "role",
                        name, which, mup_role_name(shape->role));
    return MUP_OK;
}

static int check_shape(const struct mup_rules *rules,
                       const struct mup_shape *shape, struct mup_error *err)
{
    const struct role_facts *role;
    int rc;

    if (shape->role < 0 || shape->role >= MUP_ROLE_COUNT)
        return mup_fail(err, MUP_USAGE, "tensor '%s': unknown role %d",
                        shape_name(shape), shape->role);
    role = &rules_roles[shape->role];
    rc = check_dim(shape, "fan_out", shape->fan_out, role->out_scales, err);
    if (rc == MUP_OK)
        rc = check_dim(shape, "fan_in", shape->fan_in, role->in_scales, err);
    if (rc != MUP_OK)
        return rc;
    if (rules->optimizer == MUP_SGD &&
        rules_find(rules, shape->role)->adaptive_only)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': no learning-rate rule is known for sgd "
                        "under '%s'",
                        shape_name(shape),
                        rules->moe
                            ? mup_moe_name(rules->moe)
                            : mup_parametrization_name(rules->parametrization));
    if (shape->role == MUP_TIED && rules->form == MUP_TABLE3)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': a tied table cannot take the output's "
                        "factors into its initialisation; use table8 or table9",
                        shape_name(shape));
    return MUP_OK;
}

/* --- exponents --- */

/* Moving a factor t from initialisation and learning rate into the forward
 * multiplier leaves training as it was (Tensor Programs V, lemma J.1). */
static struct power form_shift(const struct mup_rules *rules, int role)
{
    static const struct power none = { 0 };
    int class = rules_roles[role].class;

    if (rules->form == MUP_TABLE3 && class == MUP_OUTPUT)
        return (struct power){ .in = 1 };
    if (rules->form == MUP_TABLE9 && class == MUP_OUTPUT)
        return (struct power){ .in = 0.5 };
    if (rules->form == MUP_TABLE9 &&
        (class == MUP_INPUT || class == MUP_VECTOR))
        return (struct power){ .out = 0.5 };
    return none;
}

static double depth_alpha(int depth)
{
    return depth == MUP_COMPLETEP ? 1 : depth == MUP_DEPTH_MUP ? 0.5 : 0;
}

/* Muon's update has spectral norm 1 whatever the gradient; it should change
 * y = forward * W x by as much at every width (Bernstein et al. 2023,
 * arXiv:2310.17813).  SP scales nothing. */
static struct power muon_power(const struct mup_rules *rules,
                               struct power forward)
{
    static const struct power spectral = { .in = -0.5, .out = 0.5 };

    if (rules->parametrization == MUP_SP)
        return (struct power){ 0 };
    return plus(spectral, forward, -1);
}

static int takes_muon(const struct mup_rules *rules, int role)
{
    return rules->optimizer == MUP_MUON && mup_is_muon(role);
}

/* With residual multiplier m_L^-alpha, m_L branches add up to m_L^(1-alpha)
 * of an update: D_l = m_L^(alpha-1), squared in part for SGD, whose gradient
 * carries the multiplier too.  (CompleteP, arXiv:2505.01618.) */
static void add_depth(struct exponents *e, const struct mup_rules *rules)
{
    double alpha = depth_alpha(rules->depth);

    if (rules->depth == MUP_DEPTH_NONE)
        return;
    e->lr.layers += rules->optimizer == MUP_SGD ? 2 * alpha - 1 : alpha - 1;
    e->eps.layers -= alpha;
}

static void add_mutation(struct exponents *e, const struct mup_rules *rules,
                         const struct mup_shape *shape)
{
    const struct mutation *m = &rules_mutations[rules->broken];

    if (!(m->roles & (1u << shape->role)))
        return;
    if (m->column == MUTATE_INIT)
        e->init_std = m->power;
    else if (m->column == MUTATE_FORWARD)
        e->forward = m->power;
    else if (m->column == MUTATE_LR)
        e->lr = m->power;
    else if (m->column == MUTATE_EPS)
        e->eps = m->power;
    else if (m->column == MUTATE_DEPTH && shape->in_block)
        e->lr = plus(e->lr, m->power, 1);
}

static int coupled(const struct mup_rules *rules)
{
    return rules->decay == MUP_DECAY_COUPLED ||
           rules_mutations[rules->broken].column == MUTATE_DECAY;
}

/* What decays in a step, before the form is converted. */
static struct power decay_power(const struct mup_rules *rules,
                                const struct mup_shape *shape,
                                const struct exponents *e)
{
    static const struct power none = { 0 };

    if (coupled(rules))
        return e->lr;
    if (rules->decay == MUP_DECAY_SQRT && rules->parametrization != MUP_SP &&
        rules_roles[shape->role].class == MUP_HIDDEN)
        return (struct power){ .in = -0.5 };
    return none;
}

static struct exponents exponents_of(const struct mup_rules *rules,
                                     const struct mup_shape *shape)
{
    const struct rule *rule = rules_find(rules, shape->role);
    const struct power t = form_shift(rules, shape->role);
    struct exponents e = { rule->init_std, rule->forward, rule->adam,
                           rule->eps };

    if (rules->optimizer == MUP_SGD)
        e.lr = rule->sgd;
    if (takes_muon(rules, shape->role))
        e.lr = muon_power(rules, rule->forward);
    if (shape->in_block)
        add_depth(&e, rules);
    add_mutation(&e, rules, shape);
    e.step = decay_power(rules, shape, &e);
    e.forward = plus(e.forward, t, 1);
    e.init_std = plus(e.init_std, t, -1);
    e.lr = plus(e.lr, t, rules->optimizer == MUP_SGD ? -2 : -1);
    e.eps = plus(e.eps, t, 1);
    return e;
}

/* --- factors beyond powers --- */

/* Keys and values at another group size (KyroChi's code of arXiv:2605.15290,
 * whose comment disagrees with it: experimental).  It is a rule for Adam: SGD
 * and Muon go by the shape of the matrix alone. */
static double group_factor(const struct mup_rules *rules, int role)
{
    struct mup_dim r = rules->group;

    if (role != MUP_KEY_VALUE || rules->gqa != MUP_GQA_EXPERIMENTAL ||
        rules->parametrization == MUP_SP || rules->optimizer == MUP_SGD ||
        takes_muon(rules, role) || r.base == 0)
        return 1;
    return (1 + sqrt((double)r.size)) / (1 + sqrt((double)r.base));
}

static double convention_factor(const struct mup_rules *rules,
                                const struct mup_shape *shape)
{
    const struct mutation *m = &rules_mutations[rules->broken];
    struct mup_dim out = shape->fan_out, in = shape->fan_in;

    if (!takes_muon(rules, shape->role) || rules->parametrization == MUP_SP ||
        m->column == MUTATE_MUON)
        return 1;
    return mup_muon_factor(rules->muon, out.base, in.base) /
           mup_muon_factor(rules->muon, out.size, in.size);
}

static int has_eps(const struct mup_rules *rules, int role)
{
    return rules->optimizer != MUP_SGD && rules->optimizer != MUP_LION &&
           !rules->atan2 && !takes_muon(rules, role);
}

static int decays(const struct mup_rules *rules, int role)
{
    return rules_roles[role].decays && rules->decay != MUP_DECAY_NONE &&
           rules->optimizer != MUP_ADAM;
}

static int check_finite(const struct mup_shape *shape,
                        const struct mup_scale *s, struct mup_error *err)
{
    const double values[] = { s->init_std, s->forward, s->lr, s->eps };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (!isfinite(values[i]) || values[i] <= 0)
            return mup_fail(err, MUP_USAGE,
                            "tensor '%s': a factor is %g; its sizes are too "
                            "far from their base",
                            shape_name(shape), values[i]);
    if (!isfinite(s->weight_decay))
        return mup_fail(err, MUP_USAGE,
                        "tensor '%s': the decay factor is not finite; its "
                        "sizes are too far from their base",
                        shape_name(shape));
    return MUP_OK;
}

int mup_scale(const struct mup_rules *rules, const struct mup_shape *shape,
              struct mup_scale *out, struct mup_error *err)
{
    struct ratios m;
    struct mup_scale s;
    struct exponents e;
    double beyond;
    int rc = check_rules(rules, err);

    if (rc == MUP_OK)
        rc = check_shape(rules, shape, err);
    if (rc != MUP_OK)
        return rc;
    m = (struct ratios){ mup_ratio(shape->fan_in), mup_ratio(shape->fan_out),
                         mup_ratio(rules->experts), mup_ratio(rules->layers) };
    e = exponents_of(rules, shape);
    beyond = group_factor(rules, shape->role) * convention_factor(rules, shape);
    s.init_std = factor(e.init_std, &m);
    s.forward = factor(e.forward, &m);
    s.lr = factor(e.lr, &m) * beyond;
    s.weight_decay = 0;
    if (decays(rules, shape->role))
        s.weight_decay =
            factor(plus(e.step, e.lr, -1), &m) / (coupled(rules) ? 1 : beyond);
    s.eps = has_eps(rules, shape->role) ? factor(e.eps, &m) : 1;
    rc = check_finite(shape, &s, err);
    if (rc == MUP_OK)
        *out = s;
    return rc;
}

/* --- the network as a whole --- */

double mup_attention_scale(const struct mup_rules *rules, double mult,
                           int64_t head_size, int64_t base_head_size)
{
    int scales =
        rules->parametrization == MUP_MUP || rules->parametrization == MUP_UMUP;
    int64_t base = scales && rules->broken != MUP_BREAK_ATTENTION
                       ? base_head_size
                       : head_size;

    return mult * sqrt((double)base) / (double)head_size;
}

double mup_residual_scale(const struct mup_rules *rules)
{
    const struct ratios m = { 1, 1, 1, mup_ratio(rules->layers) };
    double alpha = depth_alpha(rules->depth);

    if (rules->broken == MUP_BREAK_RESIDUAL)
        return 1;
    return factor((struct power){ .layers = -alpha }, &m);
}

int mup_is_muon(int role)
{
    return role >= 0 && role < MUP_ROLE_COUNT &&
           rules_roles[role].class == MUP_HIDDEN;
}

double mup_muon_factor(int muon, int64_t fan_out, int64_t fan_in)
{
    double a = (double)fan_out, b = (double)fan_in;

    switch (muon) {
    case MUP_MUON_KELLER_JORDAN:
        return a > b ? sqrt(a / b) : 1;
    case MUP_MUON_MOONLIGHT:
        return 0.2 * sqrt(a > b ? a : b);
    case MUP_MUON_PLAIN:
        return 1;
    default:
        return sqrt(a / b);
    }
}

int mup_duration_scale(double batch_ratio, double token_ratio, double exponent,
                       struct mup_duration *out, struct mup_error *err)
{
    struct mup_duration d;

    if (!isfinite(batch_ratio) || batch_ratio <= 0 || !isfinite(token_ratio) ||
        token_ratio <= 0)
        return mup_fail(err, MUP_USAGE,
                        "batch ratio %g and token ratio %g must be above 0",
                        batch_ratio, token_ratio);
    if (!isfinite(exponent) || exponent < 0)
        return mup_fail(err, MUP_USAGE,
                        "the duration exponent is %g, must be at least 0",
                        exponent);
    d.steps = token_ratio / batch_ratio;
    d.one_minus_beta = batch_ratio / token_ratio;
    d.eps = sqrt(token_ratio / batch_ratio);
    /* the square root of a quotient where it is one: exact at base, and for
     * powers of 4 */
    d.lr = exponent < 0.5 || exponent > 0.5
               ? sqrt(batch_ratio) * pow(token_ratio, -exponent)
               : sqrt(batch_ratio / token_ratio);
    d.weight_decay = batch_ratio / token_ratio / d.lr;
    if (!isfinite(d.steps) || !isfinite(d.weight_decay) || d.lr <= 0 ||
        d.weight_decay <= 0 || d.one_minus_beta <= 0)
        return mup_fail(err, MUP_USAGE,
                        "batch ratio %g and token ratio %g are too far apart",
                        batch_ratio, token_ratio);
    *out = d;
    return MUP_OK;
}

double mup_ratio(struct mup_dim dim)
{
    return dim.base == 0 ? 1 : (double)dim.size / (double)dim.base;
}

int mup_role_class(int role)
{
    return role >= 0 && role < MUP_ROLE_COUNT ? rules_roles[role].class : role;
}

int mup_rule_name(const struct mup_rules *rules, const struct mup_shape *shape,
                  char name[MUP_RULE_BYTES], const char **source,
                  struct mup_error *err)
{
    const char *optimizer = mup_optimizer_name(
        rules->optimizer == MUP_MUON && !takes_muon(rules, shape->role)
            ? MUP_ADAMW
            : rules->optimizer);
    int rc = check_rules(rules, err);

    if (rc == MUP_OK)
        rc = check_shape(rules, shape, err);
    if (rc != MUP_OK)
        return rc;
    snprintf(name, MUP_RULE_BYTES, "%s.%s.%s",
             mup_parametrization_name(rules->parametrization), optimizer,
             mup_role_name(shape->role));
    *source = takes_muon(rules, shape->role) && rules->parametrization != MUP_SP
                  ? "spectral condition, Bernstein et al. 2023, "
                    "arXiv:2310.17813; init as for Adam"
                  : rules_find(rules, shape->role)->source;
    return MUP_OK;
}
