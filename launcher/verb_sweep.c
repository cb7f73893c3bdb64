#include <math.h>
#include <stdio.h>
#include <string.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/stop.h"
#include "launcher/sweeps.h"
#include "launcher/terminal.h"
#include "launcher/verbs.h"
#include "model/clock.h"

static const struct option options[] = {
    { "output", 'o', "DIR", "folder of the sweep (runs/<name of the file>)" },
    { "jobs", 'j', "N", "worker processes (one per core)" },
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
    sweeps_print(&result, clock_s() - start);
    if (result.done > 0)
        printf("next: mutransfer report %s\n", dir);
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
        rc = space_open(yaml, args->overrides, args->n_overrides, &space, err);
    if (rc != MUP_OK)
        return rc;
    rc = args_int(args, "jobs", 1, 1024, &space.sweep.workers, err);
    if (rc == MUP_OK && args_given(args, "dry-run"))
        rc = plan_print_sweep(&space, args_given(args, "json"), err);
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
    "command on the same folder continues where the sweep stopped.",
    "mutransfer sweep configs/quickstart.yaml -j 2",
    options,
    run,
};
