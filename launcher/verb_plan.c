#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/verbs.h"

static const struct option options[] = {
    { "jobs", 'j', "N", "worker processes (one per core)" },
    OPTION_JSON,
    { 0 },
};

static int run(const struct args *args, struct mup_error *err)
{
    const char *path = args->operands[0];
    int as_json = args_given(args, "json"), kind;
    struct space space = { 0 };
    struct run_config config;
    int rc = path_classify(path, &kind, err);

    if (rc != MUP_OK)
        return rc;
    if (kind == PATH_RUN_CONFIG) {
        rc = run_config_load(path, args->overrides, args->n_overrides, &config,
                             err);
        if (rc == MUP_OK) {
            plan_replace_data(&config);
            rc = plan_print_run(&config, as_json, err);
        }
        return rc;
    }
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
    "peak, and the time by a benchmark of a second on this machine.",
    "mutransfer plan configs/quickstart.yaml",
    options,
    run,
};
