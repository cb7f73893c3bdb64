#include <signal.h>
#include <stdlib.h>

#include "launcher/door.h"
#include "launcher/verbs.h"

static int run(const struct args *args, struct mup_error *err)
{
    (void)signal(SIGPIPE, SIG_IGN);
    return door_keep(args->operands[0], strtoll(args->operands[1], NULL, 10),
                     err);
}

/* The words of a worker's command follow, as they do with srun; the worker is
 * started elsewhere. */
const struct verb verb_door = {
    "door",
    "DIR INDEX [COMMAND ...]",
    2,
    4,
    VERB_HIDDEN,
    "let a worker of an array of jobs in",
    "Started by the driver of a sweep in an array of jobs, one per worker.",
    NULL,
    NULL,
    run,
};
