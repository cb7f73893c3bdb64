/* The rules as data.  Every row names where it comes from; rows marked
 * "derived" follow from the row's own factors by the argument above them.
 *
 * The form is Table 8 of Tensor Programs V (Yang et al. 2022,
 * arXiv:2203.03466): the output class keeps a constant initialisation and
 * learning rate and carries a forward multiplier instead, which is the only
 * form that also serves tied embeddings as they are and in which Adam's
 * epsilon falls alike everywhere.  mup.c converts to the other forms. */
#include "mup/rules.h"

#define ROLE(role) (1u << (role))
#define MATRICES                                                               \
    (ROLE(MUP_HIDDEN) | ROLE(MUP_EXPERT_UP) | ROLE(MUP_EXPERT_DOWN) |          \
     ROLE(MUP_KEY_VALUE))
#define EVERY_ROLE ((1u << MUP_ROLE_COUNT) - 1)

/* clang-format off */

const struct role_facts rules_roles[MUP_ROLE_COUNT] = {
    [MUP_INPUT]       = { "input",       MUP_INPUT,  1, 0, 1 },
    [MUP_HIDDEN]      = { "hidden",      MUP_HIDDEN, 1, 1, 1 },
    [MUP_OUTPUT]      = { "output",      MUP_OUTPUT, 0, 1, 1 },
    [MUP_VECTOR]      = { "vector",      MUP_VECTOR, 1, 0, 0 },
    [MUP_FIXED]       = { "fixed",       MUP_FIXED,  0, 0, 0 },
    [MUP_TIED]        = { "tied",        MUP_INPUT,  1, 0, 1 },
    [MUP_ROUTER]      = { "router",      MUP_OUTPUT, 0, 1, 1 },
    [MUP_EXPERT_UP]   = { "expert_up",   MUP_HIDDEN, 1, 1, 1 },
    [MUP_EXPERT_DOWN] = { "expert_down", MUP_HIDDEN, 1, 1, 1 },
    [MUP_KEY_VALUE]   = { "key_value",   MUP_HIDDEN, 1, 1, 1 },
};

/* Maximal update.  Adam divides the gradient by its own size, so its updates
 * have one size at every width and epsilon must follow the gradient.  In this
 * form each entry of a gradient is of order 1/m: logits carry 1/m, and a
 * hidden gradient is the outer product of a backward signal of order 1/m_out
 * with activations of order 1.  SGD's updates are the gradient, hence the
 * m_out. */
#define INPUT_ROW                                                              \
    { .sgd = { .out = 1 }, .eps = { .out = -1 },                               \
      .source = "Tensor Programs V, table 8, input weights; microsoft/mup "    \
                "MuAdam and MuSGD, one infinite dimension; eps derived" }
#define HIDDEN_ROW                                                             \
    { .init_std = { .in = -0.5 }, .adam = { .in = -1 },                        \
      .sgd = { .in = -1, .out = 1 }, .eps = { .out = -1 },                     \
      .source = "Tensor Programs V, table 8, hidden weights; microsoft/mup "   \
                "MuAdam and MuSGD, two infinite dimensions; eps derived" }
#define OUTPUT_SOURCE(text)                                                    \
    { .forward = { .in = -1 }, .sgd = { .in = 1 }, .eps = { .in = -1 },        \
      .source = text }

static const struct rule maximal_update[MUP_ROLE_COUNT] = {
    [MUP_INPUT] = INPUT_ROW,
    [MUP_TIED] = INPUT_ROW,
    [MUP_HIDDEN] = HIDDEN_ROW,
    [MUP_EXPERT_UP] = HIDDEN_ROW,
    [MUP_EXPERT_DOWN] = HIDDEN_ROW,
    [MUP_KEY_VALUE] = HIDDEN_ROW,
    [MUP_OUTPUT] = OUTPUT_SOURCE("Tensor Programs V, table 8, output weights; "
                                 "microsoft/mup MuReadout"),
    [MUP_ROUTER] = OUTPUT_SOURCE("an output, as its fan-out is the finite "
                                 "number of experts: Malasnicki et al. 2025, "
                                 "arXiv:2508.09752; MupFixedE of "
                                 "arXiv:2605.14200"),
    [MUP_VECTOR] = {
        .sgd = { .out = 1 }, .eps = { .out = -1 },
        .source = "Tensor Programs V, table 8, biases: an input weight whose "
                  "input is 1; eps derived" },
    [MUP_FIXED] = { .source = "nothing to scale; microsoft/mup, no infinite "
                              "dimension" },
};

/* Standard parametrization (table 8, in gray): matrices start at
 * 1/sqrt(fan_in), nothing else knows the width. */
#define SP_SOURCE "Tensor Programs V, table 8, in gray: standard"
#define SP_MATRIX { .init_std = { .in = -0.5 }, .source = SP_SOURCE }
#define SP_REST   { .source = SP_SOURCE }

static const struct rule standard[MUP_ROLE_COUNT] = {
    [MUP_INPUT] = SP_REST,   [MUP_TIED] = SP_REST,
    [MUP_VECTOR] = SP_REST,  [MUP_FIXED] = SP_REST,
    [MUP_HIDDEN] = SP_MATRIX,      [MUP_OUTPUT] = SP_MATRIX,
    [MUP_ROUTER] = SP_MATRIX,      [MUP_EXPERT_UP] = SP_MATRIX,
    [MUP_EXPERT_DOWN] = SP_MATRIX, [MUP_KEY_VALUE] = SP_MATRIX,
};

/* Standard initialisation with a learning rate per layer.  Its readout starts
 * at 1/sqrt(m) without a multiplier, so backward signals are of order
 * m^-1/2 and with them the gradients (derived). */
#define EVERETT "Everett et al. 2024, arXiv:2407.05872, standard with full " \
                "alignment; eps derived"
#define PERLAYER_MATRIX                                                        \
    { .init_std = { .in = -0.5 }, .adam = { .in = -1 },                        \
      .eps = { .out = -0.5 }, .adaptive_only = 1, .source = EVERETT }
#define PERLAYER_OUTPUT                                                        \
    { .init_std = { .in = -0.5 }, .adam = { .in = -1 }, .adaptive_only = 1,    \
      .source = EVERETT }
#define PERLAYER_REST                                                          \
    { .eps = { .out = -0.5 }, .adaptive_only = 1, .source = EVERETT }

static const struct rule perlayer[MUP_ROLE_COUNT] = {
    [MUP_INPUT] = PERLAYER_REST,  [MUP_TIED] = PERLAYER_REST,
    [MUP_VECTOR] = PERLAYER_REST,
    [MUP_FIXED] = { .adaptive_only = 1, .source = EVERETT },
    [MUP_HIDDEN] = PERLAYER_MATRIX,      [MUP_KEY_VALUE] = PERLAYER_MATRIX,
    [MUP_EXPERT_UP] = PERLAYER_MATRIX,   [MUP_EXPERT_DOWN] = PERLAYER_MATRIX,
    [MUP_OUTPUT] = PERLAYER_OUTPUT,      [MUP_ROUTER] = PERLAYER_OUTPUT,
};

/* Unit-scaled muP: weights start at 1 and operations scale.  Hidden matrices
 * are muP's with m_in^-1/2 moved into a multiplier; embeddings are not muP's:
 * their learning rate falls as m^-1/2. */
#define BLAKE "u-muP, Blake et al. 2024, arXiv:2407.17465; unit-scaling " \
              "optim.py; eps derived"
#define UMUP_MATRIX                                                            \
    { .forward = { .in = -0.5 }, .adam = { .in = -0.5 },                       \
      .eps = { .in = -0.5, .out = -1 }, .adaptive_only = 1, .source = BLAKE }
#define UMUP_OUTPUT                                                            \
    { .forward = { .in = -1 }, .eps = { .in = -1 }, .adaptive_only = 1,        \
      .source = BLAKE }
#define UMUP_INPUT                                                             \
    { .adam = { .out = -0.5 }, .eps = { .out = -1 }, .adaptive_only = 1,       \
      .source = BLAKE }

static const struct rule unit_scaled[MUP_ROLE_COUNT] = {
    [MUP_INPUT] = UMUP_INPUT,   [MUP_TIED] = UMUP_INPUT,
    [MUP_VECTOR] = { .eps = { .out = -1 }, .adaptive_only = 1,
                     .source = BLAKE },
    [MUP_FIXED] = { .adaptive_only = 1, .source = BLAKE },
    [MUP_HIDDEN] = UMUP_MATRIX,      [MUP_KEY_VALUE] = UMUP_MATRIX,
    [MUP_EXPERT_UP] = UMUP_MATRIX,   [MUP_EXPERT_DOWN] = UMUP_MATRIX,
    [MUP_OUTPUT] = UMUP_OUTPUT,      [MUP_ROUTER] = UMUP_OUTPUT,
};

/* MoE regimes, in place of rows of maximal_update: router, expert up, expert
 * down.  The sources are in table 3; their routers stand here in table 8, with
 * m_in moved into the multiplier.  Gates that sum to at most 1 average over
 * the experts; a model whose gates do not must divide by m_E itself. */
#define JIANG "Jiang et al. 2026, arXiv:2601.20205, as re-implemented by " \
              "others; eps as of one expert, no factor for their number"
#define MSSP_SOURCE "arXiv:2605.14200 and its code (vankadara-lab/mssp-moe)"

static const struct rule regimes[][3] = {
    [MUP_MOE_MEAN_FIELD] = {
        { .init_std = { .in = 0.5 }, .forward = { .in = -1 },
          .eps = { .in = -1 }, .adaptive_only = 1, .source = JIANG },
        { .init_std = { .in = -0.5 }, .adam = { .in = -1 },
          .eps = { .out = -1 }, .adaptive_only = 1, .source = JIANG },
        { .init_std = { .in = -1, .out = 0.5 }, .adam = { .in = -1 },
          .eps = { .out = -1 }, .adaptive_only = 1, .source = JIANG },
    },
    [MUP_MOE_MSSP] = {
        { .init_std = { .in = 0.5 }, .forward = { .in = -1 },
          .sgd = { .in = 2 }, .eps = { .in = -1, .experts = -1 },
          .source = MSSP_SOURCE ", all-scale" },
        { .init_std = { .in = -0.5 }, .adam = { .in = -1 },
          .sgd = { .experts = 1 }, .eps = { .in = -1, .experts = -1 },
          .source = MSSP_SOURCE ", all-scale" },
        { .init_std = { .in = -0.5 }, .adam = { .in = -1 },
          .sgd = { .experts = 1 }, .eps = { .out = -1, .experts = -1 },
          .source = MSSP_SOURCE ", all-scale" },
    },
    [MUP_MOE_MSSP_BOTTLENECK] = {
        { .init_std = { .in = 0.5 }, .forward = { .in = -1 },
          .sgd = { .in = 1, .experts = 1 },
          .eps = { .in = -1, .experts = -1 },
          .source = MSSP_SOURCE ", bottleneck" },
        { .init_std = { .in = -0.5 }, .adam = { .in = -1 },
          .sgd = { .in = -1, .experts = 1 }, .eps = { .experts = -1 },
          .source = MSSP_SOURCE ", bottleneck" },
        { .init_std = { .in = -0.5, .experts = 0.5 },
          .sgd = { .out = 1, .experts = 1 },
          .eps = { .out = -1, .experts = -1 },
          .source = MSSP_SOURCE ", bottleneck" },
    },
};

/* What users and other tools got wrong, or could. */
const struct mutation rules_mutations[MUP_BREAK_COUNT] = {
    [MUP_BREAK_NONE] = { "none", 0, MUTATE_NOTHING, { 0 }, "no rule broken" },
    [MUP_BREAK_ROUTER_HIDDEN] = {
        "router_hidden", ROLE(MUP_ROUTER), MUTATE_ROW, { 0 },
        "the router follows the rule of a hidden matrix" },
    [MUP_BREAK_ROUTER_NO_MULT] = {
        "router_no_mult", ROLE(MUP_ROUTER), MUTATE_FORWARD, { 0 },
        "the router has no forward multiplier" },
    [MUP_BREAK_READOUT_NO_MULT] = {
        "readout_no_mult", ROLE(MUP_OUTPUT), MUTATE_FORWARD, { 0 },
        "the unembedding has no forward multiplier" },
    [MUP_BREAK_READOUT_TWICE] = {
        "readout_twice", ROLE(MUP_OUTPUT), MUTATE_FORWARD, { .in = -2 },
        "the unembedding's forward multiplier is applied twice" },
    [MUP_BREAK_READOUT_LR] = {
        "readout_lr", ROLE(MUP_OUTPUT), MUTATE_LR, { .in = -1 },
        "the unembedding's learning rate falls as 1/m beside its multiplier" },
    [MUP_BREAK_HIDDEN_INIT] = {
        "hidden_init", MATRICES, MUTATE_INIT, { 0 },
        "hidden matrices start with one std at every width" },
    [MUP_BREAK_HIDDEN_LR] = {
        "hidden_lr", MATRICES, MUTATE_LR, { 0 },
        "hidden matrices have one learning rate at every width" },
    [MUP_BREAK_HIDDEN_LR_SQRT] = {
        "hidden_lr_sqrt", MATRICES, MUTATE_LR, { .in = -0.5 },
        "the learning rate of hidden matrices falls as 1/sqrt(m)" },
    [MUP_BREAK_DOWN_LR] = {
        "down_lr", ROLE(MUP_EXPERT_DOWN), MUTATE_LR, { 0 },
        "the experts' down-projection has one learning rate at every width" },
    [MUP_BREAK_INPUT_LR] = {
        "input_lr", ROLE(MUP_INPUT) | ROLE(MUP_TIED), MUTATE_LR, { .out = -1 },
        "the embedding's learning rate falls as a hidden matrix's" },
    [MUP_BREAK_VECTOR_LR] = {
        "vector_lr", ROLE(MUP_VECTOR), MUTATE_LR, { .out = -1 },
        "the learning rate of gains falls as a hidden matrix's" },
    [MUP_BREAK_TIED_RESCALED] = {
        "tied_rescaled", ROLE(MUP_TIED), MUTATE_INIT, { .out = 0.5 },
        "the tied table is rescaled as a readout (microsoft/mup issue 55)" },
    [MUP_BREAK_EPS] = {
        "eps", EVERY_ROLE, MUTATE_EPS, { 0 },
        "Adam's epsilon is the same at every width" },
    [MUP_BREAK_DECAY] = {
        "decay", EVERY_ROLE, MUTATE_DECAY, { 0 },
        "weight decay is left alone while learning rates scale" },
    [MUP_BREAK_ATTENTION] = {
        "attention", 0, MUTATE_NOTHING, { 0 },
        "q.k is scaled by 1/sqrt(head size) while heads grow" },
    [MUP_BREAK_RESIDUAL] = {
        "residual", 0, MUTATE_NOTHING, { 0 },
        "residual branches have no multiplier while depth grows" },
    [MUP_BREAK_DEPTH_LR] = {
        "depth_lr", EVERY_ROLE, MUTATE_DEPTH, { .layers = -1 },
        "learning rates inside the blocks fall as 1/layers" },
    [MUP_BREAK_MUON] = {
        "muon", MATRICES, MUTATE_MUON, { 0 },
        "the width dependence of Muon's convention is not compensated" },
};

/* clang-format on */

_Static_assert(MUP_EXPERT_UP == MUP_ROUTER + 1 &&
                   MUP_EXPERT_DOWN == MUP_ROUTER + 2,
               "the regimes' rows follow the order of the roles");

const struct rule *rules_find(const struct mup_rules *rules, int role)
{
    if (rules_mutations[rules->broken].column == MUTATE_ROW &&
        rules_mutations[rules->broken].roles & ROLE(role))
        role = MUP_HIDDEN;
    switch (rules->parametrization) {
    case MUP_SP:
        return &standard[role];
    case MUP_SP_PERLAYER:
        return &perlayer[role];
    case MUP_UMUP:
        return &unit_scaled[role];
    default:
        break;
    }
    if (rules->moe != MUP_MOE_FIXED_E && role >= MUP_ROUTER &&
        role <= MUP_EXPERT_DOWN)
        return &regimes[rules->moe][role - MUP_ROUTER];
    return &maximal_update[role];
}
