#include "model/comm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/comm_ops.h"

size_t comm_type_bytes(int type)
{
    switch (type) {
    case COMM_F64:
    case COMM_U64:
        return 8;
    case COMM_BYTE:
        return 1;
    default:
        return 4;
    }
}

/* What launchers tell their processes: Open MPI's mpirun; anything that speaks
 * PMIx through srun. */
static int from_environment(const char *openmpi, const char *slurm, int none)
{
    const char *text = getenv(openmpi);

    if (!text && getenv("PMIX_RANK"))
        text = getenv(slurm);
    return text ? (int)strtol(text, NULL, 10) : none;
}

int comm_ranks_from_environment(void)
{
    return from_environment("OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", 1);
}

int comm_rank_from_environment(void)
{
    return from_environment("OMPI_COMM_WORLD_RANK", "SLURM_PROCID", 0);
}

/* Tasks of the step that srun started this process in. */
static long slurm_tasks(void)
{
    const char *text = getenv("SLURM_STEP_NUM_TASKS");

    return text ? strtol(text, NULL, 10) : 1;
}

int comm_open(double deadline_s, struct comm_world *world, struct comm *all,
              struct mup_error *err)
{
    int ranks = comm_ranks_from_environment();

    *world = (struct comm_world){ .size = 1, .deadline_s = deadline_s };
    *all = (struct comm){ world, 0, 1, NULL };
    /* each of them would train the whole run */
    if (ranks <= 1 && slurm_tasks() > 1)
        return mup_fail(err, MUP_USAGE,
                        "srun started %s processes that cannot find each "
                        "other; start them with 'srun --mpi=pmix'",
                        getenv("SLURM_STEP_NUM_TASKS"));
    if (ranks <= 1)
        return MUP_OK;
    return comm_mpi_open(world, all, err);
}

void comm_close(struct comm_world *world)
{
    if (world->ops)
        world->ops->close(world);
    world->ops = NULL;
}

int comm_split(const struct comm *parent, int color, int key, struct comm *out,
               struct mup_error *err)
{
    if (parent->world->ops)
        return parent->world->ops->split(parent, color, key, out, err);
    *out = *parent;
    return MUP_OK;
}

void comm_free(struct comm *group)
{
    if (group->impl && group->world->ops)
        group->world->ops->free(group);
    memset(group, 0, sizeof(*group));
}

/* --- calls --- */

/* Nothing to do: a group of one, or a world that has failed. */
static int is_idle(const struct comm *c)
{
    return c->size == 1 || c->world->status;
}

static void count(struct comm *c, int kind, int64_t elements, int type)
{
    c->world->stats.calls[kind]++;
    c->world->stats.bytes[kind] += elements * (int64_t)comm_type_bytes(type);
}

static int64_t sum_of(const int64_t *counts, int n)
{
    int64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += counts[i];
    return sum;
}

void comm_all_reduce(struct comm *c, void *data, int64_t n, int type)
{
    if (is_idle(c) || n == 0)
        return;
    /* as a reduce-scatter and an all-gather */
    count(c, COMM_ALL_REDUCE, 2 * n * (c->size - 1) / c->size, type);
    c->world->ops->all_reduce(c, data, n, type);
}

void comm_reduce_scatter(struct comm *c, void *out, const void *in,
                         const int64_t *counts, int type, void *scratch,
                         struct comm_request *request)
{
    if (c->size == 1 && out != in)
        memcpy(out, in, (size_t)counts[0] * comm_type_bytes(type));
    if (is_idle(c))
        return;
    count(c, COMM_REDUCE_SCATTER, sum_of(counts, c->size) - counts[c->rank],
          type);
    c->world->ops->reduce_scatter(
        c, &(struct comm_reduction){ out, in, counts, type, scratch }, request);
}

void comm_all_gather(struct comm *c, void *data, const int64_t *counts,
                     int type, struct comm_request *request)
{
    if (is_idle(c))
        return;
    count(c, COMM_ALL_GATHER, counts[c->rank] * (c->size - 1), type);
    c->world->ops->all_gather(c, data, counts, type, request);
}

void comm_all_to_all(struct comm *c, void *recv, const void *send,
                     const struct comm_rows *rows, int type,
                     struct comm_request *request)
{
    size_t element = comm_type_bytes(type);

    if (c->size == 1)
        memmove((char *)recv + (size_t)rows->recv_first[0] * element,
                (const char *)send + (size_t)rows->send_first[0] * element,
                (size_t)rows->send_count[0] * element);
    if (is_idle(c))
        return;
    count(c, COMM_ALL_TO_ALL,
          sum_of(rows->send_count, c->size) - rows->send_count[c->rank], type);
    c->world->ops->all_to_all(
        c, &(struct comm_exchange){ recv, send, rows, type }, request);
}

void comm_broadcast(struct comm *c, void *data, int64_t n, int type, int root)
{
    if (is_idle(c) || n == 0)
        return;
    count(c, COMM_BROADCAST, c->rank == root ? n : 0, type);
    c->world->ops->broadcast(c, data, n, type, root);
}

void comm_barrier(struct comm *c)
{
    if (is_idle(c))
        return;
    count(c, COMM_BARRIER, 0, COMM_BYTE);
    c->world->ops->barrier(c);
}

void comm_wait(struct comm *c, struct comm_request *request)
{
    if (!request->active)
        return;
    if (!c->world->status)
        c->world->ops->wait(c, request);
    memset(request, 0, sizeof(*request));
}

void comm_progress(struct comm *c)
{
    if (!is_idle(c))
        c->world->ops->progress(c);
}

int comm_sync(struct comm_world *world, struct mup_error *err)
{
    if (!world->status)
        return MUP_OK;
    return mup_fail(err, world->status, "%s", world->fault.text);
}

int comm_agree(struct comm *c, int rc, struct mup_error *err)
{
    struct mup_error worst = { 0 };
    uint64_t failed = rc != MUP_OK;

    if (c->size == 1)
        return rc;
    comm_all_reduce(c, &failed, 1, COMM_U64);
    if (!failed)
        return comm_sync(c->world, err);
    for (int root = 0; !c->world->status && root < c->size; root++) {
        int32_t status = rc;

        comm_broadcast(c, &status, 1, COMM_I32, root);
        if (!status)
            continue;
        if (c->rank == root && err)
            worst = *err;
        comm_broadcast(c, worst.text, sizeof(worst.text), COMM_BYTE, root);
        worst.text[sizeof(worst.text) - 1] = '\0';
        if (root == 0) /* most often what concerns all */
            return mup_fail(err, status, "%s", worst.text);
        return mup_fail(err, status, "%s (rank %d)", worst.text, root);
    }
    return comm_sync(c->world, err);
}
