#include <stdlib.h>

#include "launcher/orphan.h"
#include "launcher/paths.h"
#include "launcher/verbs.h"
#include "sweep/space.h"

static int run(const struct args *args, struct mup_error *err)
{
    const char *place = getenv("SLURM_PROCID");
    struct agent_options options = { .program = args->program,
                                     .dir = args->operands[0],
                                     .run = "sweep" };
    struct space space = { 0 };
    double silent_s;
    char path[1100];
    int rc = path_join(options.dir, "sweep.yaml", path, sizeof(path), err);

    if (rc == MUP_OK)
        rc = space_open(path, NULL, 0, &space, err);
    if (rc != MUP_OK)
        return rc;
    options.config = space.base;
    options.rank = place ? (int)strtol(place, NULL, 10) : 0;
    /* Its workers have left by then: they have heard nothing for as long. */
    silent_s = space.sweep.silence_s;
    space_close(&space);
    orphan_watch(&options, silent_s);
    return MUP_OK;
}

const struct verb verb_sentinel = {
    "sentinel",
    "DIR",
    1,
    1,
    VERB_HIDDEN,
    "give a sweep's job back when its driver is gone",
    "Started by 'sweep --slurm' on every node of its job.",
    NULL,
    NULL,
    run,
};
