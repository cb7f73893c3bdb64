/* The workers of a sweep inside a job of SLURM: on which nodes, and behind
 * which words each is started. */
#ifndef LAUNCHER_CREW_H
#define LAUNCHER_CREW_H

#include "launcher/hostlist.h"
#include "model/config.h"
#include "sweep/driver.h"

#define CREW_WORDS 12

/* words[i] are those of nodes.name[i]; sweep borrows all of it. */
struct crew {
    struct hostlist nodes;
    char cpus[40];
    const char *(*words)[CREW_WORDS];
    struct sweep_node *node;
    struct sweep_crew sweep;
};

/* slurm.ranks_per_node workers on every node of nodelist, started as "srun ...
 * -w NODE program worker".  In place: out must not be copied.  takes:
 * crew_clear. */
int crew_make(const char *nodelist, const struct slurm_config *slurm,
              const char *program, struct crew *out, struct mup_error *err);
void crew_clear(struct crew *c);

#endif
