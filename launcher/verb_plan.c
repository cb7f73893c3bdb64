#include <math.h>
#include <stdlib.h>

#include "configs/field.h"
#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/plan_ranks.h"
#include "launcher/verbs.h"
#include "model/layout_choice.h"

static const struct option options[] = {
    { "jobs", 'j', "N", "worker processes (one per core)" },
    { "ranks", 0, "N", "plan a run on N ranks, by formulas alone" },
    { "per-node", 0, "N", "ranks of a node (8)" },
    { "memory", 0, "GIB", "memory of a rank (80)" },
    { "flops", 0, "TFLOPS", "10^12 FLOP/s that a rank reaches (400)" },
    { "bandwidth", 0, "GB", "GB/s that a rank sends within its node (450)" },
    { "network", 0, "GB", "GB/s that a rank sends to other nodes (50)" },
    { "layouts", 0, NULL, "list the ten fastest layouts too" },
    OPTION_JSON,
    { 0 },
};

/* A positive number times unit; *out is left alone where it is absent. */
static int positive(const struct args *args, const char *name, double unit,
                    double *out, struct mup_error *err)
{
    const char *text = args_text(args, name);
    double x;
    int rc;

    if (!text)
        return MUP_OK;
    rc = parse_real(text, &x, err);
    if (rc != MUP_OK) {
        mup_error_prefix(err, "--%s: ", name);
        return rc;
    }
    if (!(x > 0) || !isfinite(x * unit))
        return mup_fail(err, MUP_USAGE, "--%s: %g is not above 0", name, x);
    *out = x * unit;
    return MUP_OK;
}

static int plan_on_ranks(const struct args *args,
                         const struct run_config *config, struct mup_error *err)
{
    struct plan_ranks q = plan_ranks_default(1, args_given(args, "json"));
    int rc = args_int(args, "ranks", 1, LAYOUT_MAX_RANKS, &q.ranks, err);

    q.layouts = args_given(args, "layouts");
    if (rc == MUP_OK)
        rc = args_int(args, "per-node", 1, LAYOUT_MAX_RANKS,
                      &q.machine.per_node, err);
    if (rc == MUP_OK)
        rc = positive(args, "memory", 0x1p30, &q.memory_bytes, err);
    if (rc == MUP_OK)
        rc = positive(args, "flops", 1e12, &q.machine.flops, err);
    if (rc == MUP_OK)
        rc = positive(args, "bandwidth", 1e9, &q.machine.node, err);
    if (rc == MUP_OK)
        rc = positive(args, "network", 1e9, &q.machine.network, err);
    return rc == MUP_OK ? plan_print_ranks(config, &q, err) : rc;
}

/* Options that mean nothing without --ranks. */
static int check_options(const struct args *args, int kind,
                         struct mup_error *err)
{
    static const char *const with[] = { "per-node",  "memory",  "flops",
                                        "bandwidth", "network", "layouts" };

    if (args_given(args, "ranks") && kind != PATH_RUN_CONFIG)
        return mup_fail(err, MUP_USAGE,
                        "--ranks: '%s' is not a run config; a trial of a "
                        "sweep has one rank",
                        args->operands[0]);
    for (size_t i = 0; i < sizeof(with) / sizeof(*with); i++)
        if (args_given(args, with[i]) && !args_given(args, "ranks"))
            return mup_fail(err, MUP_USAGE, "--%s needs --ranks", with[i]);
    return MUP_OK;
}

/* What a run costs does not depend on its learning rate, which a target does
 * not have yet. */
static int read_config(const struct args *args, struct run_config *out,
                       struct mup_error *err)
{
    const char *path = args->operands[0];
    const int n = args->n_overrides;
    char rate[] = "train.lr=2^-10", **all;
    int rc = run_config_read(path, args->overrides, n, out, err);

    if (rc != MUP_OK)
        return rc;
    all = calloc((size_t)n + 1, sizeof(*all));
    if (!all)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; i < n; i++)
        all[i] = args->overrides[i];
    all[n] = rate;
    rc = run_config_load(path, all, n + !run_config_given(out, "train.lr"), out,
                         err);
    free(all);
    return rc;
}

static int plan_run(const struct args *args, struct mup_error *err)
{
    struct run_config config;
    int rc = read_config(args, &config, err);

    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "ranks"))
        return plan_on_ranks(args, &config, err);
    plan_replace_data(&config);
    return plan_print_run(&config, args_given(args, "json"), err);
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *path = args->operands[0];
    int as_json = args_given(args, "json"), kind;
    struct space space = { 0 };
    int rc = path_classify(path, &kind, err);

    if (rc == MUP_OK)
        rc = check_options(args, kind, err);
    if (rc != MUP_OK)
        return rc;
    if (kind == PATH_RUN_CONFIG)
        return plan_run(args, err);
    if (kind != PATH_SWEEP_CONFIG)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a folder; plan takes a sweep file or a run "
                        "config",
                        path);
    rc = space_open(path, args->overrides, args->n_overrides, &space, err);
    if (rc != MUP_OK)
        return rc;
    rc = args_int(args, "jobs", 1, 1024, &space.sweep.workers, err);
    plan_replace_data(&space.base);
    if (rc == MUP_OK)
        rc = plan_print_sweep(&space, as_json, err);
    space_close(&space);
    return rc;
}

const struct verb verb_plan = {
    "plan",
    "SWEEP.yaml|RUN.yaml",
    1,
    1,
    VERB_CONFIG,
    "trials, FLOP, memory and time; nothing is run",
    "Prints what a sweep or a run will cost: trials, tokens, model FLOP, the\n"
    "bytes that are planned before the first step and those expected at the\n"
    "peak, and the time by a benchmark of a second on this machine.\n\n"
    "With --ranks N nothing is measured: memory, messages, FLOP and the least\n"
    "time of a step follow from formulas (docs/parallel.md), for the layout\n"
    "that parallel.data, expert and tensor ask for, 0 being chosen. The exit\n"
    "code is 1 where it does not fit into --memory.",
    "mutransfer plan configs/grok-1.yaml --ranks 1024 --memory 640",
    options,
    run,
};
