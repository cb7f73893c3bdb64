#include "launcher/supervise.h"
#include "launcher/verbs.h"

static int run(const struct args *args, struct mup_error *err)
{
    return supervise_run(args, args->operands[0], err);
}

const struct verb verb_supervise = {
    "supervise",
    "DIR",
    1,
    1,
    VERB_HIDDEN,
    "look after a run under SLURM",
    "Started by the batch script of 'launch --slurm', on the first node of "
    "its\n"
    "job: starts the ranks, replaces what fails, and writes down what happens.",
    NULL,
    NULL,
    run,
};
