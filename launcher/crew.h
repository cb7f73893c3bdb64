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
    char (*index)[24]; /* of an array's elements */
    const char *(*words)[CREW_WORDS];
    struct sweep_node *node;
    struct sweep_crew sweep;
};

/* slurm.ranks_per_node workers on every node of nodelist, started as "srun ...
 * -w NODE program worker".  In place: out must not be copied.  takes:
 * crew_clear. */
int crew_make(const char *nodelist, const struct slurm_config *slurm,
              const char *program, struct crew *out, struct mup_error *err);
/* The same for n jobs of an array, "element 0" to n - 1, of which we are the
 * first: one worker here, the others come through the doors of dir (door.h). */
int crew_make_array(int64_t n, const char *dir, const char *program,
                    struct crew *out, struct mup_error *err);
void crew_clear(struct crew *c);

#endif
