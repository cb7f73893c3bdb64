/* What ranks tell each other.  One struct comm is one group of ranks; the
 * implementations are `self` (a group of one: nothing is sent) and MPI
 * (comm_mpi.c), later NCCL.  Counts are in elements and known on the host.
 * Buffers of tensors are memory of the backend; a few numbers a step (votes,
 * reports, counts of rows, hashes) are host memory, for which an
 * implementation on a device needs a channel of its own.
 *
 * Like ops, calls return void: the world keeps its first fault, all later
 * calls return at once, and comm_sync reports it: MUP_DEVICE with the ranks
 * that did not arrive within the deadline.  Once groups stand nothing waits
 * for ever; MPI's own start, and the forming of groups, have no deadline but
 * that of whoever started the ranks (launch --local).
 *
 * Sums are made in the order of ranks, so that a layout gives the same bits
 * every time, and all members of a group get the same bits. */
#ifndef MODEL_COMM_H
#define MODEL_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "mup/mup.h"

enum comm_type { COMM_F32, COMM_F64, COMM_I32, COMM_U64, COMM_BYTE };

/* What was sent, for `plan`'s formulas and the benchmark. */
enum comm_kind {
    COMM_ALL_REDUCE,
    COMM_REDUCE_SCATTER,
    COMM_ALL_GATHER,
    COMM_ALL_TO_ALL,
    COMM_BROADCAST,
    COMM_BARRIER,
    COMM_KINDS
};

struct comm_stats {
    int64_t calls[COMM_KINDS];
    int64_t bytes[COMM_KINDS]; /* that this rank sent */
    double wait_s;             /* blocked in calls and waits */
};

struct comm_ops;

/* Shared by all groups of a process. */
struct comm_world {
    const struct comm_ops *ops;
    int rank, size;
    double deadline_s;
    int status; /* of the first fault; MUP_OK: none */
    struct mup_error fault;
    struct comm_stats stats;
    /* Called now and then while a message is waited for, may be NULL: who waits
     * for others is alive. */
    void (*waiting)(void *context);
    void *waiting_context;
    void *impl;
};

/* One group.  rank and size are this group's. */
struct comm {
    struct comm_world *world;
    int rank, size;
    void *impl;
};

/* A call under way.  Zeroed: none.  Buffers must stay until comm_wait. */
struct comm_request {
    int kind, active;
    void *impl;
};

/* Was this process started as one of several ranks?  Their number, or 1. */
int comm_ranks_from_environment(void);
int comm_rank_from_environment(void); /* 0 where alone */
/* Can this build be more than one rank? */
int comm_has_mpi(void);

/* The world of this process: MPI where it was started as one of several
 * ranks, else self.  MUP_USAGE where this build has no MPI.  all: the group of
 * everyone; close it before the world. */
int comm_open(double deadline_s, struct comm_world *world, struct comm *all,
              struct mup_error *err);
void comm_close(struct comm_world *world);

/* Members with the same color make a group, ordered by key.  Collective. */
int comm_split(const struct comm *parent, int color, int key, struct comm *out,
               struct mup_error *err);
void comm_free(struct comm *group);

/* data (n) becomes the sum over the group, in place. */
void comm_all_reduce(struct comm *c, void *data, int64_t n, int type);

/* out (counts[rank]) = this rank's part of the sum of `in`, whose parts lie
 * back to back.  scratch: (size - 1) * counts[rank] elements. */
void comm_reduce_scatter(struct comm *c, void *out, const void *in,
                         const int64_t *counts, int type, void *scratch,
                         struct comm_request *request);

/* data: the parts of all members back to back, of which this rank's is
 * filled; all are afterwards. */
void comm_all_gather(struct comm *c, void *data, const int64_t *counts,
                     int type, struct comm_request *request);

/* To member i go send_count[i] elements from send + send_first[i]; from it
 * come recv_count[i] to recv + recv_first[i]. */
struct comm_rows {
    const int64_t *send_count, *send_first, *recv_count, *recv_first;
};
void comm_all_to_all(struct comm *c, void *recv, const void *send,
                     const struct comm_rows *rows, int type,
                     struct comm_request *request);

void comm_broadcast(struct comm *c, void *data, int64_t n, int type, int root);
void comm_barrier(struct comm *c);

/* Finish a call; nothing for a zeroed request. */
void comm_wait(struct comm *c, struct comm_request *request);
/* Let calls under way go on; between pieces of work. */
void comm_progress(struct comm *c);

/* The first fault, as MUP_DEVICE, or MUP_OK. */
int comm_sync(struct comm_world *world, struct mup_error *err);

/* All members learn whether one of them failed (rc, err): the lowest one's
 * status and sentence, with its rank. */
int comm_agree(struct comm *c, int rc, struct mup_error *err);

size_t comm_type_bytes(int type);

#endif
