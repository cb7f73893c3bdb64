/* The ranks of a run as one of them sees them: its place and the groups that
 * it talks to. */
#ifndef MODEL_RANKS_H
#define MODEL_RANKS_H

#include "model/comm.h"
#include "model/layout.h"

struct ranks {
    struct comm_world world;
    struct place place;
    struct comm all;    /* everyone */
    struct comm tensor; /* same sequences, other heads and hidden units */
    struct comm expert; /* other experts; rows are exchanged here */
    struct comm dense;  /* the same dense tensors: along data and expert */
    struct comm data;   /* the same experts */
};

/* Meet the other ranks that this process was started with, and take a place
 * in the layout that config asks for.  out must not move while it is open.
 * Close also after a failure. */
int ranks_open(const struct run_config *config, struct ranks *out,
               struct mup_error *err);
void ranks_close(struct ranks *ranks);

/* The whole model in this process. */
void ranks_alone(struct ranks *out);

/* The group that holds a kind of tensor in common. */
struct comm *ranks_holders(struct ranks *ranks, int is_expert);

#endif
