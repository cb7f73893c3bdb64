#include "launcher/drive.h"
#include "launcher/verbs.h"

static int run(const struct args *args, struct mup_error *err)
{
    return drive_run(args->program, args->operands[0], err);
}

const struct verb verb_drive = {
    "drive",
    "DIR",
    1,
    1,
    VERB_HIDDEN,
    "run the sweep of a folder inside its job of SLURM",
    "What the batch script of 'sweep --slurm' becomes.",
    NULL,
    NULL,
    run,
};
