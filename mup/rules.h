/* The tables behind mup_scale: exponents of width ratios, each row with its
 * source, and the wrong rules that a check must find.  Private to libmup. */
#ifndef MUP_RULES_H
#define MUP_RULES_H

#include "mup/mup.h"

/* A factor m_in^in * m_out^out * m_E^experts * m_L^layers, m being size / base.
 * Exponents are multiples of 1/2. */
struct power {
    double in, out, experts, layers;
};

/* sgd is not known for every rule: adaptive_only. */
struct rule {
    struct power init_std, forward, adam, sgd, eps;
    int adaptive_only;
    const char *source;
};

/* The row of a tensor in table 8; rules are checked. */
const struct rule *rules_find(const struct mup_rules *rules, int role);

/* What a wrong rule replaces. */
enum mutation_column {
    MUTATE_NOTHING, /* handled where attention, residual, ... are computed */
    MUTATE_ROW,
    MUTATE_INIT,
    MUTATE_FORWARD,
    MUTATE_LR,
    MUTATE_EPS,
    MUTATE_DECAY,
    MUTATE_DEPTH,
    MUTATE_MUON,
};

/* roles: bits 1 << role that it touches. */
struct mutation {
    const char *name;
    unsigned roles;
    int column;
    struct power power;
    const char *text;
};

extern const struct mutation rules_mutations[MUP_BREAK_COUNT];

/* Facts of a role: its class, which dimensions have a base, whether it decays
 * (pulling a gain or a bias towards 0 is not what weight decay is for). */
struct role_facts {
    const char *name;
    int class;
    int out_scales, in_scales;
    int decays;
};

extern const struct role_facts rules_roles[MUP_ROLE_COUNT];

#endif
