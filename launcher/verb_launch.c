#include <stdio.h>

#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/training.h"
#include "launcher/verbs.h"

static const struct option options[] = {
    { "local", 0, "N", "ranks on this machine (launch.local)" },
    { "output", 'o', "DIR", "folder of the run (runs/<name of the file>)" },
    OPTION_JSON,
    OPTION_DRY_RUN,
    { 0 },
};

static int run(const struct args *args, struct mup_error *err)
{
    const char *yaml = args->operands[0], *dir = args_text(args, "output");
    struct run_config config;
    char own_dir[1024];
    int64_t ranks;
    int rc = path_expect(yaml, PATH_RUN_CONFIG, err);

    if (rc == MUP_OK)
        rc = run_config_load(yaml, args->overrides, args->n_overrides, &config,
                             err);
    if (rc == MUP_OK && !dir) {
        rc = path_default_dir(yaml, own_dir, sizeof(own_dir), err);
        dir = own_dir;
    }
    if (rc != MUP_OK)
        return rc;
    ranks = config.launch.local;
    rc = args_int(args, "local", 1, 1024, &ranks, err);
    if (rc != MUP_OK)
        return rc;
    if (ranks > 1)
        return mup_fail(err, MUP_USAGE,
                        "this version trains on one rank, not on %lld; use "
                        "--local 1 (launch.local: 1)",
                        (long long)ranks);
    config.launch.local = ranks;
    if (args_given(args, "dry-run"))
        return plan_print_run(&config, args_given(args, "json"), err);
    return training_run(args, &config, dir, err);
}

const struct verb verb_launch = {
    "launch",
    "OUT.yaml",
    1,
    1,
    VERB_CONFIG,
    "train the target that 'transfer' wrote; rerun = resume",
    "Starts the ranks of a training run and shows its progress.  The same\n"
    "command on the same folder continues where the run stopped.",
    "mutransfer launch target.yaml --local 1 -o runs/target",
    options,
    run,
};
