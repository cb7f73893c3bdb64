/* What an implementation of comm.h provides.  comm.c has already counted,
 * and has dealt with groups of one and with worlds that have failed. */
#ifndef MODEL_COMM_OPS_H
#define MODEL_COMM_OPS_H

#include "model/comm.h"

struct comm_reduction {
    void *out;
    const void *in;
    const int64_t *counts;
    int type;
    void *scratch;
};

struct comm_exchange {
    void *recv;
    const void *send;
    const struct comm_rows *rows;
    int type;
};

struct comm_ops {
    void (*close)(struct comm_world *world);
    int (*split)(const struct comm *parent, int color, int key,
                 struct comm *out, struct mup_error *err);
    void (*free)(struct comm *group);
    void (*all_reduce)(struct comm *c, void *data, int64_t n, int type);
    void (*reduce_scatter)(struct comm *c, const struct comm_reduction *r,
                           struct comm_request *request);
    void (*all_gather)(struct comm *c, void *data, const int64_t *counts,
                       int type, struct comm_request *request);
    void (*all_to_all)(struct comm *c, const struct comm_exchange *x,
                       struct comm_request *request);
    void (*broadcast)(struct comm *c, void *data, int64_t n, int type,
                      int root);
    void (*barrier)(struct comm *c);
    void (*wait)(struct comm *c, struct comm_request *request);
    void (*progress)(struct comm *c);
};

/* MUP_USAGE in a build without MPI. */
int comm_mpi_open(struct comm_world *world, struct comm *all,
                  struct mup_error *err);

#endif
