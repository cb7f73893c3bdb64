#include <stdio.h>

#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/training.h"
#include "launcher/verbs.h"

static const struct option options[] = {
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
    if (args_given(args, "dry-run"))
        return plan_print_run(&config, args_given(args, "json"), err);
    return training_run(args, &config, dir, err);
}

const struct verb verb_train = {
    "train",
    "RUN.yaml",
    1,
    1,
    VERB_CONFIG,
    "one training run; rerun = resume",
    "Trains the model of a run config.  The folder receives config.yaml\n"
    "(resolved), manifest.json, metrics.jsonl, events.jsonl and checkpoints/.\n"
    "The same command on the same folder continues where the run stopped.",
    "mutransfer train configs/tiny.yaml --train.lr=2^-6",
    options,
    run,
};
