#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/agent.h"
#include "launcher/verbs.h"

static const struct option options[] = {
    { "output", 'o', "DIR", "folder of the run" },
    { "run", 0, "UUID", "the run whose ranks are ours" },
    { 0 },
};

/* A whole number of the environment, or fallback. */
static int number_of(const char *name, int fallback)
{
    const char *text = getenv(name);
    char *end;
    long n = text ? strtol(text, &end, 10) : 0;

    return text && *text && !*end && n >= 0 && n < 1000000 ? (int)n : fallback;
}

/* A job that is being ended gets SIGTERM everywhere; the ranks save, and we are
 * needed until the supervisor says "stop". */
static void ignore_signals(void)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGPIPE };
    struct sigaction ignore;

    memset(&ignore, 0, sizeof(ignore));
    ignore.sa_handler = SIG_IGN;
    sigemptyset(&ignore.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        (void)sigaction(signals[i], &ignore, NULL);
}

static int run(const struct args *args, struct mup_error *err)
{
    struct agent_options o = {
        .program = args->program,
        .config_path = args->operands[0],
        .dir = args_text(args, "output"),
        .run = args_text(args, "run"),
        .rank = number_of("SLURM_PROCID", 0),
        .ranks = number_of("SLURM_NTASKS", 1),
    };
    int rc;

    if (!o.run)
        o.run = getenv(AGENT_RUN_VARIABLE);
    if (!o.dir || !o.run || !*o.run)
        return mup_fail(err, MUP_USAGE,
                        "an agent needs -o DIR and --run UUID; 'launch' starts "
                        "it");
    rc = run_config_load(o.config_path, args->overrides, args->n_overrides,
                         &o.config, err);
    if (rc != MUP_OK)
        return rc;
    ignore_signals();
    return agent_run(&o, err);
}

const struct verb verb_agent = {
    "agent",
    "RUN.yaml",
    1,
    1,
    VERB_CONFIG | VERB_HIDDEN,
    "the supervisor's hand on a node of a job",
    "Started by the supervisor of a run, one on every node.  Checks the node,\n"
    "measures the network and kills ranks when it is told to; without its\n"
    "supervisor it kills the ranks of its node and ends.",
    NULL,
    options,
    run,
};
