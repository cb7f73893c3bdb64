#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/remote.h"
#include "launcher/stop.h"
#include "launcher/sweeps.h"
#include "launcher/terminal.h"
#include "launcher/verbs.h"
#include "model/clock.h"

static const struct option options[] = {
    { "output", 'o', "DIR", "folder of the sweep (runs/<name of the file>)" },
    { "jobs", 'j', "N", "worker processes (one per core)" },
    { "slurm", 0, NULL, "as a job of SLURM (slurm.*)" },
    { "nodes", 0, "N", "nodes of the job (slurm.nodes)" },
    { "detach", 0, NULL, "submit, print the job's number and return" },
    OPTION_JSON,
    OPTION_DRY_RUN,
    { 0 },
};

static void show_progress(void *context, const struct sweep_progress *p)
{
    char line[512];

    sweeps_line(p, line, sizeof(line));
    terminal_progress(context, "%s", line);
}

static void show_note(void *context, const char *sentence)
{
    terminal_note(context, "%s", sentence);
}

static int run_sweep(const struct args *args, const struct space *space,
                     const char *dir, struct mup_error *err)
{
    struct sweep_progress result = { 0 };
    struct terminal terminal;
    struct sweep_hooks hooks = { &terminal, show_progress, stop_requested,
                                 show_note };
    struct sweep_crew crew = { .program = args->program };
    double start = clock_s();
    int rc = path_expect_free(dir, PATH_SWEEP_DIR, err);

    if (rc != MUP_OK)
        return rc;
    terminal_init(&terminal, args->quiet);
    stop_watch();
    rc = sweep_run(space, dir, &crew, &hooks, &result, err);
    terminal_clear(&terminal);
    if (rc == MUP_STOPPED)
        return mup_fail(err, MUP_STOPPED,
                        "stopped, state saved in '%s'; run the same command "
                        "again to continue",
                        dir);
    if (rc != MUP_OK && rc != MUP_NEGATIVE)
        return rc;
    if (args_given(args, "json")) {
        int printed = json_print(sweeps_json(dir, &result), NULL);

        return rc == MUP_OK ? printed : rc;
    }
    sweeps_print(&result, clock_s() - start, stdout);
    if (result.done > 0)
        printf("next: mutransfer report %s\n", dir);
    return rc;
}

/* The space with the overrides, --nodes among them. */
static int open_space(const struct args *args, struct space *space,
                      struct mup_error *err)
{
    const size_t n = (size_t)args->n_overrides;
    char **overrides = calloc(n + 1, sizeof(*overrides));
    char nodes[80];
    int rc;

    if (!overrides)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        overrides[i] = args->overrides[i];
    overrides[n] = nodes;
    if (args_given(args, "nodes"))
        snprintf(nodes, sizeof(nodes), "slurm.nodes=%.60s",
                 args_text(args, "nodes"));
    rc = space_open(args->operands[0], overrides,
                    (int)n + args_given(args, "nodes"), space, err);
    free(overrides);
    return rc;
}

/* Which options go together. */
static int take_options(const struct args *args, struct space *space,
                        struct mup_error *err)
{
    const int remote = args_given(args, "slurm");

    if (remote && args_given(args, "jobs"))
        return mup_fail(err, MUP_USAGE,
                        "--jobs is for workers here; a job of SLURM has "
                        "slurm.ranks_per_node on each of slurm.nodes");
    if (!remote && (args_given(args, "nodes") || args_given(args, "detach")))
        return mup_fail(err, MUP_USAGE, "--%s needs --slurm",
                        args_given(args, "nodes") ? "nodes" : "detach");
    return args_int(args, "jobs", 1, 1024, &space->sweep.workers, err);
}

static int dry_run(const struct args *args, struct space *space,
                   const char *dir, struct mup_error *err)
{
    const struct slurm_config *slurm = &space->base.slurm;
    int rc;

    if (args_given(args, "slurm"))
        space->sweep.workers = slurm->nodes * slurm->ranks_per_node;
    rc = plan_print_sweep(space, args_given(args, "json"), err);
    if (rc == MUP_OK && args_given(args, "slurm") && !args_given(args, "json"))
        rc = remote_dry_run_sweep(args, space, dir, err);
    return rc;
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *yaml = args->operands[0], *dir = args_text(args, "output");
    struct space space = { 0 };
    char own_dir[1024];
    int rc = path_expect(yaml, PATH_SWEEP_CONFIG, err);

    if (rc == MUP_OK && !dir) {
        rc = path_default_dir(yaml, own_dir, sizeof(own_dir), err);
        dir = own_dir;
    }
    if (rc == MUP_OK)
        rc = open_space(args, &space, err);
    if (rc != MUP_OK)
        return rc;
    rc = take_options(args, &space, err);
    if (rc == MUP_OK && args_given(args, "dry-run"))
        rc = dry_run(args, &space, dir, err);
    else if (rc == MUP_OK && args_given(args, "slurm"))
        rc = remote_sweep(args, &space, dir, err);
    else if (rc == MUP_OK)
        rc = run_sweep(args, &space, dir, err);
    space_close(&space);
    return rc;
}

const struct verb verb_sweep = {
    "sweep",
    "SWEEP.yaml",
    1,
    1,
    VERB_CONFIG,
    "run or resume a sweep; rerun = resume",
    "Runs every trial of a sweep file in worker processes, one thread each.  "
    "A\n"
    "diverged trial is a result, a killed worker is started again.  The same\n"
    "command on the same folder continues where the sweep stopped.\n"
    "With --slurm the sweep becomes a job with workers on all its nodes; a "
    "node\n"
    "that dies costs its trials the steps since their last checkpoint "
    "(set\n"
    "checkpoint.every).  This command watches the job, Ctrl-C ends watching "
    "alone.",
    "mutransfer sweep configs/quickstart.yaml -j 2",
    options,
    run,
};
