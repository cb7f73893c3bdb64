#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "launcher/findings.h"
#include "launcher/local.h"
#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/plan_ranks.h"
#include "launcher/remote.h"
#include "launcher/training.h"
#include "launcher/verbs.h"
#include "model/layout.h"
#include "sweep/trial_dir.h"

static const struct option options[] = {
    { "local", 0, "N", "ranks on this machine (launch.local)" },
    { "slurm", 0, NULL, "as a job of SLURM (slurm.*)" },
    { "nodes", 0, "N", "nodes that train (slurm.nodes)" },
    { "spares", 0, "N", "nodes that stand by (slurm.spares)" },
    { "detach", 0, NULL, "submit, print the job's number and return" },
    { "output", 'o', "DIR", "folder of the run (runs/<name of the file>)" },
    OPTION_JSON,
    OPTION_DRY_RUN,
    { 0 },
};

/* The trial that a config came from, by the file that 'transfer' wrote beside
 * it.  The trial, not today's winner: a sweep that went on must not stop a
 * target that runs.  0 where there is no such file or no such sweep now. */
static int find_proxy(const char *yaml, struct run_config *proxy,
                      struct evidence *evidence)
{
    char path[1100], dir[1024];
    const char *sweep;
    int64_t trial;
    json_t *from;
    int rc;

    if (path_provenance(yaml, path, sizeof(path), NULL) != MUP_OK)
        return 0;
    from = json_load_file(path, 0, NULL);
    sweep = json_string_value(json_object_get(from, "sweep_dir"));
    trial = json_integer_value(json_object_get(from, "trial"));
    rc = sweep ? evidence_read(sweep, trial, evidence, NULL) : MUP_USAGE;
    if (rc == MUP_OK) {
        trial_dir_path(sweep, trial, dir, sizeof(dir));
        rc = path_join(dir, "config.yaml", path, sizeof(path), NULL);
    }
    if (rc == MUP_OK)
        rc = run_config_load(path, NULL, 0, proxy, NULL);
    if (rc != MUP_OK && sweep)
        fprintf(stderr,
                "note: the sweep '%s' that '%s' came from cannot be read here, "
                "so they are not compared\n",
                sweep, yaml);
    json_decref(from);
    return rc == MUP_OK;
}

/* Against the sweep that the target came from, or on its own. */
static int lint(const char *yaml, const struct run_config *target,
                struct mup_error *err)
{
    struct run_config proxy;
    struct evidence evidence;
    struct lint_input in = { .target = target };
    struct lint_findings found = { 0 };
    int rc;

    evidence_init(&evidence);
    if (find_proxy(yaml, &proxy, &evidence)) {
        evidence_read_corpora(&proxy, target, &evidence);
        in.proxy = &proxy;
        in.evidence = &evidence;
    }
    rc = lint_run(&in, &found, err);
    if (rc != MUP_OK)
        return rc;
    findings_warn(&found);
    if (found.errors > 0)
        rc = mup_fail(err, MUP_NEGATIVE,
                      "the linter refuses '%s' (errors: %d); write it anew "
                      "with 'mutransfer transfer', or change it as the errors "
                      "say",
                      yaml, found.errors);
    lint_findings_clear(&found);
    return rc;
}

static int dry_run(const struct args *args, const struct run_config *config,
                   const char *dir, struct mup_error *err)
{
    const int as_json = args_given(args, "json");
    struct plan_ranks query = plan_ranks_default(config->launch.local, as_json);
    char *command;
    int rc;

    if (query.ranks == 1)
        return plan_print_run(config, as_json, err);
    rc = local_command(args, config, dir, &command, err);
    if (rc != MUP_OK)
        return rc;
    query.command = command;
    rc = plan_print_ranks(config, &query, err);
    free(command);
    return rc;
}

/* The options that stand for keys. */
static int set_keys(const struct args *args, struct run_config *config,
                    struct mup_error *err)
{
    static const char *const keys[][2] = {
        { "local", "launch.local" },
        { "nodes", "slurm.nodes" },
        { "spares", "slurm.spares" },
    };
    int rc = MUP_OK;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && rc == MUP_OK; i++)
        if (args_given(args, keys[i][0]))
            rc = config_set(&run_schema, config, keys[i][1],
                            args_text(args, keys[i][0]), err);
    return rc;
}

/* Which of them go together. */
static int check_options(const struct args *args, struct mup_error *err)
{
    static const char *const remote[] = { "nodes", "spares", "detach" };

    if (args_given(args, "slurm") && args_given(args, "local"))
        return mup_fail(err, MUP_USAGE,
                        "--local runs here and --slurm elsewhere: choose one");
    for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
        if (args_given(args, remote[i]) && !args_given(args, "slurm"))
            return mup_fail(err, MUP_USAGE, "--%s needs --slurm", remote[i]);
    return MUP_OK;
}

static int start(const struct args *args, const struct run_config *config,
                 const char *dir, struct mup_error *err)
{
    const int dry = args_given(args, "dry-run");

    if (args_given(args, "slurm"))
        return dry ? remote_dry_run(args, config, dir, err)
                   : remote_run(args, config, dir, err);
    if (dry)
        return dry_run(args, config, dir, err);
    return config->launch.local > 1 ? local_run(args, config, dir, err)
                                    : training_run(args, config, dir, err);
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *yaml = args->operands[0], *dir = args_text(args, "output");
    struct run_config config;
    char own_dir[1024];
    struct layout layout;
    int64_t ranks;
    int rc = check_options(args, err);

    if (rc == MUP_OK)
        rc = path_expect(yaml, PATH_RUN_CONFIG, err);
    if (rc == MUP_OK)
        rc = run_config_load(yaml, args->overrides, args->n_overrides, &config,
                             err);
    if (rc == MUP_OK)
        rc = set_keys(args, &config, err);
    if (rc == MUP_OK && !dir) {
        rc = path_default_dir(yaml, own_dir, sizeof(own_dir), err);
        dir = own_dir;
    }
    if (rc != MUP_OK)
        return rc;
    ranks = args_given(args, "slurm")
                ? config.slurm.nodes * config.slurm.ranks_per_node
                : config.launch.local;
    rc = layout_resolve(&config, ranks, 0, &layout, err);
    if (rc == MUP_OK)
        rc = lint(yaml, &config, err);
    return rc ? rc : start(args, &config, dir, err);
}

const struct verb verb_launch = {
    "launch",
    "OUT.yaml",
    1,
    1,
    VERB_CONFIG,
    "train the target that 'transfer' wrote; rerun = resume",
    "Starts the ranks of a training run and shows its progress.  The same\n"
    "command on the same folder continues where the run stopped.  Where\n"
    "OUT.transfer.json says which sweep the config came from, the linter's "
    "rules\n"
    "are asked first: warnings are printed, errors refuse (exit code 1).\n"
    "More ranks than one are started by mpirun and share the model as\n"
    "parallel.* says; DIR/log holds what each of them printed.  Ctrl-C saves "
    "and\n"
    "stops (exit code 7), a second one kills.\n"
    "With --slurm the run becomes a job, which saves itself before its time\n"
    "is over and is queued again; this command watches it, and the same "
    "command\n"
    "finds a job that runs already.  Ctrl-C ends watching alone (exit code 0).",
    "mutransfer launch target.yaml --local 2 -o runs/target",
    options,
    run,
};
