/* How the nodes of a sweep's workers fare: which of them are not used any
 * more, and workers.json, which says so to `status`. */
#ifndef SWEEP_NODES_H
#define SWEEP_NODES_H

#include "sweep/pool.h"

struct node_state {
    int deaths;  /* of its workers, in a row without a step between */
    int retired; /* not used again in this sweep */
};

struct nodes {
    int n; /* at least 1: this machine */
    const struct sweep_crew *crew;
    struct node_state *node;
    double written_s; /* when workers.json was */
};

/* crew is borrowed. */
int nodes_open(const struct sweep_crew *crew, struct nodes *out,
               struct mup_error *err);
void nodes_close(struct nodes *n);

const char *nodes_name(const struct nodes *n, int node);
int nodes_in_use(const struct nodes *n);

void nodes_work(struct nodes *n, int node);
enum nodes_verdict { NODES_GO_ON, NODES_RETIRE, NODES_HOPELESS };
/* A worker of it died: is the node retired now?  The last one in use never is,
 * but after many deaths in a row there is no hope. */
int nodes_death(struct nodes *n, int node);

/* dir/workers.json, replaced where the last one is old enough or now is set;
 * nobody's work depends on it, so a failure is none. */
void nodes_write(struct nodes *n, const struct pool *pool, const char *dir,
                 int now);

#endif
