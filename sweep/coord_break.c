#include "sweep/coord_break.h"

#include <math.h>
#include <string.h>

#include "model/params.h"
#include "sweep/coord_name.h"

#define PLAIN "shows in any setting"
#define UNTIED                                                                 \
    {                                                                          \
        "model.tied=no", "mup.zero_readout=no"                                 \
    }

/* clang-format off */

static const struct coord_setting settings[MUP_BREAK_COUNT] = {
    [MUP_BREAK_NONE] = { { 0 }, MUP_GROW_WIDTH, "" },
    [MUP_BREAK_ROUTER_HIDDEN] = { { 0 }, MUP_GROW_WIDTH,
        "logits start flat instead of falling" },
    [MUP_BREAK_ROUTER_NO_MULT] = { { 0 }, MUP_GROW_WIDTH, PLAIN },
    [MUP_BREAK_READOUT_NO_MULT] = { UNTIED, MUP_GROW_WIDTH,
        "a readout that starts at random" },
    [MUP_BREAK_READOUT_TWICE] = { UNTIED, MUP_GROW_WIDTH,
        "a readout that starts at random" },
    [MUP_BREAK_READOUT_LR] = { UNTIED, MUP_GROW_WIDTH,
        "a table of its own for the readout" },
    [MUP_BREAK_HIDDEN_INIT] = { { "mup.zero_query=no" }, MUP_GROW_WIDTH,
        PLAIN },
    [MUP_BREAK_HIDDEN_LR] = { { 0 }, MUP_GROW_WIDTH, PLAIN },
    [MUP_BREAK_HIDDEN_LR_SQRT] = { { 0 }, MUP_GROW_WIDTH, PLAIN },
    [MUP_BREAK_DOWN_LR] = { { 0 }, MUP_GROW_WIDTH, PLAIN },
    [MUP_BREAK_INPUT_LR] = { { 0 }, MUP_GROW_WIDTH, PLAIN },
    [MUP_BREAK_VECTOR_LR] = { { 0 }, MUP_GROW_WIDTH, PLAIN },
    [MUP_BREAK_TIED_RESCALED] = { { "model.tied=yes", "mup.zero_readout=no",
                                    "mup.form=table8" }, MUP_GROW_WIDTH,
        "one table for input and output" },
    [MUP_BREAK_EPS] = { { "train.optimizer=adamw", "train.atan2=no",
                          "train.eps=1e-3" }, MUP_GROW_WIDTH,
        "an epsilon as large as a gradient" },
    [MUP_BREAK_DECAY] = { { "train.optimizer=adamw",
                            "train.decay_mode=independent",
                            "train.lr=2^-9", "train.weight_decay=64" },
                          MUP_GROW_WIDTH,
        "what hundreds of steps decay in a few, and small updates" },
    [MUP_BREAK_ATTENTION] = { { "model.qk_norm=no", "mup.zero_query=no" },
                              MUP_GROW_HEAD_SIZE,
        "heads that grow" },
    [MUP_BREAK_RESIDUAL] = { { "mup.depth=completep" }, MUP_GROW_DEPTH,
        "depth grows under its rule" },
    [MUP_BREAK_DEPTH_LR] = { { "mup.depth=completep" }, MUP_GROW_DEPTH,
        "depth grows under its rule" },
    [MUP_BREAK_MUON] = { { "train.optimizer=muon",
                           "train.muon_scale=moonlight" }, MUP_GROW_WIDTH,
        "Muon, by a convention that depends on width" },
};

/* clang-format on */

const struct coord_setting *coord_break_setting(int broken)
{
    return &settings[broken];
}

int coord_break_apply(int broken, struct run_config *config,
                      struct mup_error *err)
{
    const struct coord_setting *s = &settings[broken];
    int rc = MUP_OK;

    if (!broken)
        return MUP_OK;
    if (config->mup.parametrization != MUP_MUP)
        return mup_fail(err, MUP_USAGE,
                        "a wrong rule takes the place of one of muP's; set "
                        "mup.parametrization to mup, not %s",
                        mup_parametrization_name(config->mup.parametrization));
    config->mup.broken = broken;
    for (int i = 0; !rc && i < COORD_BREAK_KEYS && s->set[i]; i++) {
        char key[CONFIG_KEY_BYTES];
        const char *value;

        rc = config_split(s->set[i], key, &value, err);
        if (!rc)
            rc = config_set(&run_schema, config, key, value, err);
    }
    return rc;
}

/* ---- the tensors at fault -------------------------------------------------
 */

/* Activations that a tensor makes and that are not named after it. */
static const struct {
    const char *tensor, *row;
} makes[] = {
    { "moe.gate", "moe.act" },
    { "moe.up", "moe.act" },
    { "moe.down", "moe.out" },
    { "moe.down", "moe.routed" },
    { "moe.shared_gate", "moe.shared_act" },
    { "moe.shared_up", "moe.shared_act" },
    { "moe.shared_down", "moe.out" },
    { "attn.o", "attn.out" },
    { "attn.norm_out", "attn.residual" },
    { "moe.norm_out", "moe.residual" },
    { "unembed", "logits" },
};

/* "attn.q" is about "attn.q", "attn.q.update" and "attn.q.gradient". */
static int begins(const char *row, const char *tensor)
{
    size_t n = strlen(tensor);

    return !strncmp(row, tensor, n) && (row[n] == '\0' || row[n] == '.');
}

static int is_about(const char *row, const char *tensor)
{
    const char *r = coord_name_tail(row), *t = coord_name_tail(tensor);

    if (begins(r, t))
        return 1;
    for (size_t i = 0; i < sizeof(makes) / sizeof(makes[0]); i++)
        if (!strcmp(makes[i].tensor, t) && begins(r, makes[i].row))
            return 1;
    return 0;
}

static int differs(double a, double b)
{
    return fabs(a - b) > 1e-9 * fabs(b);
}

static int is_gradient(const struct mup_coord_row *row)
{
    return row->quantity == MUP_GRADIENT || row->quantity == MUP_DOT_GRADIENT;
}

/* Before the first update a learning rate or a decay has done nothing, and
 * epsilon is seen in what gradients are divided by alone. */
static int tensor_differs(const struct param *a, const struct param *b,
                          const struct mup_coord_row *row)
{
    if (differs(a->init_std, b->init_std) || differs(a->ones, b->ones) ||
        differs(a->forward, b->forward))
        return 1;
    if (differs(a->eps, b->eps) && (row->step > 1 || is_gradient(row)))
        return 1;
    return row->step > 1 &&
           (differs(a->lr, b->lr) || differs(a->shrink, b->shrink));
}

/* Whether a row is about something that differs between two models. */
static int is_at_fault(const struct mup_coord_row *row,
                       const struct params *wrong, const struct params *right)
{
    if (differs(wrong->attention, right->attention) &&
        begins(coord_name_tail(row->name), "attn.logits"))
        return 1;
    if (differs(wrong->readout, right->readout) &&
        is_about(row->name, "unembed"))
        return 1;
    for (int i = 0; i < wrong->n; i++)
        if (tensor_differs(&wrong->list[i], &right->list[i], row) &&
            is_about(row->name, wrong->list[i].name))
            return 1;
    return 0;
}

/* The nearest to the cause: the first step, and there what comes first in the
 * network, as rows do.  A gradient says least: anything behind its tensor moves
 * it too. */
static int precedes(const struct mup_coord_row *a,
                    const struct mup_coord_row *b)
{
    if (a->step != b->step)
        return a->step < b->step;
    return is_gradient(b) && !is_gradient(a);
}

int coord_break_find(const struct run_config *config,
                     const struct coord_options *options,
                     const struct coord_result *result, int *found,
                     struct mup_error *err)
{
    struct run_config c =
        coord_config_at(config, options, options->n_sizes - 1, 0);
    struct params wrong, right;
    int at = -1;
    int rc = params_init(&c, &PLACE_ALONE, &wrong, err);

    if (rc)
        return rc;
    c.mup.broken = MUP_BREAK_NONE;
    rc = params_init(&c, &PLACE_ALONE, &right, err);
    if (rc) {
        params_clear(&wrong);
        return rc;
    }
    for (int i = 0; i < result->n_rows; i++) {
        const struct mup_coord_row *row = &result->rows[i];

        if (row->verdict == MUP_VERDICT_FAIL &&
            is_at_fault(row, &wrong, &right) &&
            (at < 0 || precedes(row, &result->rows[at])))
            at = i;
    }
    params_clear(&wrong);
    params_clear(&right);
    *found = at;
    return MUP_OK;
}
