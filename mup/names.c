/* Names of the enums, as they stand in configs and exports. */
#include <string.h>

#include "mup/rules.h"

#define COUNT(names) (int)(sizeof(names) / sizeof((names)[0]))

static const char *pick(const char *const *names, int n, int value)
{
    return value >= 0 && value < n ? names[value] : "unknown";
}

const char *mup_role_name(int role)
{
    return role >= 0 && role < MUP_ROLE_COUNT ? rules_roles[role].name
                                              : "unknown";
}

const char *mup_parametrization_name(int parametrization)
{
    static const char *const names[] = { "sp", "mup", "sp-perlayer", "umup" };

    return pick(names, COUNT(names), parametrization);
}

const char *mup_parametrization_title(const char *name)
{
    static const char *const titles[] = { "SP", "muP", "SP per layer",
                                          "u-muP" };
    int p = mup_name_find(mup_parametrization_name, COUNT(titles), name);

    return p < 0 ? name : titles[p];
}

const char *mup_optimizer_name(int optimizer)
{
    static const char *const names[] = { "adamw", "sgd", "adam", "lion",
                                         "muon" };

    return pick(names, COUNT(names), optimizer);
}

const char *mup_form_name(int form)
{
    static const char *const names[] = { "table8", "table3", "table9" };

    return pick(names, COUNT(names), form);
}

const char *mup_decay_name(int decay)
{
    static const char *const names[] = { "independent", "coupled", "none",
                                         "sqrt", "detached" };

    return pick(names, COUNT(names), decay);
}

const char *mup_depth_name(int depth)
{
    static const char *const names[] = { "none", "depth-mup", "completep" };

    return pick(names, COUNT(names), depth);
}

const char *mup_moe_name(int moe)
{
    static const char *const names[] = { "fixed_e", "mean_field", "mssp",
                                         "mssp_bottleneck" };

    return pick(names, COUNT(names), moe);
}

const char *mup_gqa_name(int gqa)
{
    static const char *const names[] = { "equal", "experimental" };

    return pick(names, COUNT(names), gqa);
}

const char *mup_muon_name(int muon)
{
    static const char *const names[] = { "spectral", "keller-jordan",
                                         "moonlight", "plain" };

    return pick(names, COUNT(names), muon);
}

const char *mup_break_name(int broken)
{
    return broken >= 0 && broken < MUP_BREAK_COUNT
               ? rules_mutations[broken].name
               : "unknown";
}

const char *mup_break_text(int broken)
{
    return broken >= 0 && broken < MUP_BREAK_COUNT
               ? rules_mutations[broken].text
               : "unknown";
}

int mup_name_find(const char *(*name)(int), int n, const char *text)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(name(i), text))
            return i;
    return -1;
}
