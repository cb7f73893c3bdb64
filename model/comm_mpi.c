/* Ranks over MPI.  Every call is an exchange of messages between pairs, polled
 * against the deadline, so that a lost rank ends a run instead of hanging it.
 *
 * Not MPI's own collectives: the order of their sums is open, some of the
 * non-blocking ones go through one rank, and in Open MPI 4.1.4 all ranks hang
 * in the next one after an MPI_Ialltoallv in which one of them had nothing to
 * send or receive (its count of calls falls behind).
 *
 * Roll call: a rank that has waited for a while says so to all others, in
 * notes of (group, call) on a communicator of their own.  When a deadline
 * passes, the ranks that neither arrived nor wait elsewhere are to blame. */
#include "model/clock.h"
#include "model/comm_ops.h"

#ifndef HAVE_MPI

int comm_has_mpi(void)
{
    return 0;
}

int comm_mpi_open(struct comm_world *world, struct comm *all,
                  struct mup_error *err)
{
    (void)world;
    (void)all;
    return mup_fail(err, MUP_USAGE,
                    "this process was started as one of several ranks, but the "
                    "program was built without MPI; install libopenmpi-dev "
                    "('make setup') and build it again");
}

#else

int comm_has_mpi(void)
{
    return 1;
}

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTE_AFTER_S 2.0 /* or a quarter of the deadline */
#define NOTE_TAG     7
#define WAITING_S    0.5 /* until a wait is one that others should hear of */
#define CLOSE_S      5.0
#define SMALL_BYTES  4096 /* sums up to this size are gathered whole */
/* Polls before the processor is given to others. */
#define SPINS        2000
/* MPI counts elements in an int: longer messages go in pieces. */
#define PIECE        ((int64_t)1 << 30)

/* A call under way; kept for the next one of its group. */
struct slot {
    MPI_Request *request;
    int n_requests, room;
    int busy;
    int64_t call;
    struct comm_reduction sum; /* to be made when it is finished; or {0} */
    struct slot *next;
};

struct group {
    MPI_Comm comm;
    int id;         /* how many splits came before: the same on all members */
    int *world;     /* world rank of each member */
    int64_t *part;  /* of all_reduce: elements of each member */
    int64_t *lists; /* 4 * size: of the call that is being begun */
    int64_t call;   /* calls begun */
    struct slot *slots;
    char *scratch; /* of all_reduce */
    size_t scratch_bytes;
};

struct note {
    int64_t group, call; /* call 0: no longer waiting */
};

struct roll {
    struct note last; /* of each world rank */
};

struct mpi {
    MPI_Comm notes;
    struct roll *roll;
    struct note outbox;
    MPI_Request *sending; /* one a world rank */
    int n_groups;
};

static MPI_Datatype mpi_type(int type)
{
    return type == COMM_F32   ? MPI_FLOAT
           : type == COMM_F64 ? MPI_DOUBLE
           : type == COMM_I32 ? MPI_INT32_T
           : type == COMM_U64 ? MPI_UINT64_T
                              : MPI_BYTE;
}

static void fail(struct comm_world *w, const char *what, int code)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n = 0;

    if (w->status)
        return;
    (void)MPI_Error_string(code, text, &n);
    w->status = mup_fail(&w->fault, MUP_DEVICE,
                         "rank %d cannot %s: %s; the same command continues "
                         "from the last checkpoint",
                         w->rank, what, text);
}

/* --- roll call --- */

static void read_notes(struct comm_world *w)
{
    struct mpi *m = w->impl;
    int there = 1;

    while (there) {
        MPI_Status status;
        struct note note;

        if (MPI_Iprobe(MPI_ANY_SOURCE, NOTE_TAG, m->notes, &there, &status))
            return;
        if (!there || MPI_Recv(&note, sizeof(note), MPI_BYTE, status.MPI_SOURCE,
                               NOTE_TAG, m->notes, MPI_STATUS_IGNORE))
            return;
        m->roll[status.MPI_SOURCE].last = note;
    }
}

/* To everyone: where this rank waits.  Small, so it is sent at once. */
static void send_note(struct comm_world *w, int64_t group, int64_t call)
{
    struct mpi *m = w->impl;
    int sent = 0;

    /* a rank that takes no notes will not take this one either */
    if (MPI_Testall(w->size, m->sending, &sent, MPI_STATUSES_IGNORE) || !sent)
        return;
    m->outbox = (struct note){ group, call };
    for (int i = 0; i < w->size; i++)
        if (i != w->rank && MPI_Isend(&m->outbox, sizeof(m->outbox), MPI_BYTE,
                                      i, NOTE_TAG, m->notes, &m->sending[i]))
            m->sending[i] = MPI_REQUEST_NULL;
}

/* 1: a member that has not come to this call; 2: and does not say that it
 * waits for others. */
static int is_missing(const struct comm *c, int member, int64_t call)
{
    const struct group *g = c->impl;
    const struct mpi *m = c->world->impl;
    const struct note *n = &m->roll[g->world[member]].last;

    if (member == c->rank || (n->group == g->id && n->call >= call))
        return 0;
    return n->call ? 1 : 2;
}

static void blame(struct comm *c, int64_t call)
{
    struct comm_world *w = c->world;
    const struct mpi *m = w->impl;
    const struct group *g = c->impl;
    char names[256] = "";
    size_t at = 0;
    int n = 0;

    read_notes(w);
    for (int i = 0; i < c->size; i++)
        if (is_missing(c, i, call) == 2 && at < sizeof(names) - 16 && ++n)
            at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%d",
                                   at ? ", " : "", g->world[i]);
    /* all members wait, for someone outside */
    for (int i = 0; n == 0 && i < w->size; i++)
        if (i != w->rank && !m->roll[i].last.call && at < sizeof(names) - 16)
            at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%d",
                                   at ? ", " : "", i);
    w->status = mup_fail(
        &w->fault, MUP_DEVICE,
        "rank %s did not arrive within %g s (parallel.deadline_s), rank %d "
        "waited; the same command continues from the last checkpoint",
        at ? names : "(unknown)", w->deadline_s, w->rank);
}

/* Poll until the messages of a call are through or the deadline is over. */
static void poll(struct comm *c, struct slot *s)
{
    struct comm_world *w = c->world;
    struct group *g = c->impl;
    double start = clock_s(), note_s = NOTE_AFTER_S, elapsed = 0;
    int done = 0, noted = 0, rc;

    if (note_s > w->deadline_s / 4)
        note_s = w->deadline_s / 4;
    for (int64_t spins = 0; !done && !w->status; spins++) {
        rc = MPI_Testall(s->n_requests, s->request, &done, MPI_STATUSES_IGNORE);
        if (rc)
            fail(w, "finish a message", rc);
        if (done || spins < SPINS)
            continue;
        (void)sched_yield();
        elapsed = clock_s() - start;
        if (elapsed > note_s && !noted) {
            send_note(w, g->id, s->call);
            noted = 1;
        }
        if (elapsed > note_s)
            read_notes(w);
        if (elapsed > WAITING_S && w->waiting)
            w->waiting(w->waiting_context);
        if (elapsed > w->deadline_s)
            blame(c, s->call);
    }
    w->stats.wait_s += clock_s() - start;
    if (noted && !w->status)
        send_note(w, 0, 0);
}

/* --- groups --- */

static int new_group(struct comm_world *w, MPI_Comm comm, struct comm *out,
                     struct mup_error *err)
{
    struct mpi *m = w->impl;
    struct group *g = calloc(1, sizeof(*g));
    MPI_Group members, everyone;
    int n = 0, *own;

    (void)MPI_Comm_size(comm, &n);
    own = calloc((size_t)n, sizeof(*own));
    if (g) {
        g->world = calloc((size_t)n, sizeof(*g->world));
        g->part = calloc(5 * (size_t)n, sizeof(*g->part));
    }
    if (!g || !own || !g->world || !g->part) {
        if (g) {
            free(g->world);
            free(g->part);
        }
        free(g);
        free(own);
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d ranks", n);
    }
    for (int i = 0; i < n; i++)
        own[i] = i;
    g->lists = g->part + n;
    (void)MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    (void)MPI_Comm_group(comm, &members);
    (void)MPI_Comm_group(MPI_COMM_WORLD, &everyone);
    (void)MPI_Group_translate_ranks(members, n, own, everyone, g->world);
    (void)MPI_Group_free(&members);
    (void)MPI_Group_free(&everyone);
    free(own);
    g->comm = comm;
    g->id = m->n_groups++;
    *out = (struct comm){ w, 0, n, g };
    (void)MPI_Comm_rank(comm, &out->rank);
    return MUP_OK;
}

static int mpi_split(const struct comm *parent, int color, int key,
                     struct comm *out, struct mup_error *err)
{
    const struct group *g = parent->impl;
    MPI_Comm comm;
    int rc = MPI_Comm_split(g->comm, color, key, &comm);

    if (rc) {
        fail(parent->world, "form a group", rc);
        return comm_sync(parent->world, err);
    }
    return new_group(parent->world, comm, out, err);
}

static void mpi_free(struct comm *c)
{
    struct group *g = c->impl;

    while (g->slots) {
        struct slot *next = g->slots->next;

        free(g->slots->request);
        free(g->slots);
        g->slots = next;
    }
    /* freeing a communicator waits for its members */
    if (!c->world->status && g->comm != MPI_COMM_WORLD)
        (void)MPI_Comm_free(&g->comm);
    free(g->scratch);
    free(g->world);
    free(g->part);
    free(g);
}

static struct slot *take_slot(struct comm *c, struct comm_request *request)
{
    struct group *g = c->impl;
    struct slot *s = g->slots;

    while (s && s->busy)
        s = s->next;
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s) {
            c->world->status = mup_fail(&c->world->fault, MUP_SYSTEM,
                                        "out of memory for a message");
            return NULL;
        }
        s->next = g->slots;
        g->slots = s;
    }
    memset(&s->sum, 0, sizeof(s->sum));
    s->n_requests = 0;
    s->busy = 1;
    s->call = ++g->call;
    *request = (struct comm_request){ .active = 1, .impl = s };
    return s;
}

/* --- sums --- */

#define SUM(type_)                                                             \
    do {                                                                       \
        type_ *y = out;                                                        \
        const type_ *x = in;                                                   \
                                                                               \
        for (int64_t i = 0; i < n; i++)                                        \
            y[i] += x[i];                                                      \
    } while (0)

static void add(void *out, const void *in, int64_t n, int type)
{
    if (type == COMM_F32)
        SUM(float);
    else if (type == COMM_F64)
        SUM(double);
    else if (type == COMM_I32)
        SUM(int32_t);
    else if (type == COMM_U64)
        SUM(uint64_t);
}
#undef SUM

/* Own part and those of the others, which lie in scratch without it, in the
 * order of ranks. */
static void add_parts(const struct comm *c, const struct comm_reduction *r)
{
    int64_t n = r->counts[c->rank], first = 0;
    size_t bytes = (size_t)n * comm_type_bytes(r->type);
    const char *part = r->scratch;

    for (int i = 0; i < c->rank; i++)
        first += r->counts[i];
    for (int i = 0; i < c->size; i++) {
        const char *x =
            (const char *)r->in + (size_t)first * comm_type_bytes(r->type);

        if (i != c->rank) {
            x = part;
            part += bytes;
        }
        if (i == 0)
            memcpy(r->out, x, bytes);
        else
            add(r->out, x, n, r->type);
    }
}

/* --- calls --- */

/* Messages of one call carry its number, so calls of a group may overlap. */
static int tag_of(const struct slot *s)
{
    return (int)(s->call & 0x3fff);
}

/* Room for the requests of a call. */
static int make_room(struct comm *c, struct slot *s, const struct comm_rows *r)
{
    int64_t n = 0;
    MPI_Request *more;

    for (int i = 0; i < c->size; i++)
        n += (r->send_count[i] + PIECE - 1) / PIECE +
             (r->recv_count[i] + PIECE - 1) / PIECE;
    if (n <= s->room)
        return 1;
    more = realloc(s->request, (size_t)n * sizeof(*more));
    if (!more) {
        c->world->status = mup_fail(&c->world->fault, MUP_SYSTEM,
                                    "out of memory for a message");
        return 0;
    }
    s->request = more;
    s->room = (int)n;
    return 1;
}

/* One end of a transfer. */
struct end {
    int type, peer;
};

static void receive(struct comm *c, struct slot *s, char *data, int64_t count,
                    struct end end)
{
    struct group *g = c->impl;
    int rc = MPI_SUCCESS;

    for (int64_t at = 0; !rc && at < count; at += PIECE)
        rc = MPI_Irecv(data + (size_t)at * comm_type_bytes(end.type),
                       (int)(count - at < PIECE ? count - at : PIECE),
                       mpi_type(end.type), end.peer, tag_of(s), g->comm,
                       &s->request[s->n_requests++]);
    if (rc)
        fail(c->world, "receive", rc);
}

static void send(struct comm *c, struct slot *s, const char *data,
                 int64_t count, struct end end)
{
    struct group *g = c->impl;
    int rc = MPI_SUCCESS;

    for (int64_t at = 0; !rc && at < count; at += PIECE)
        rc = MPI_Isend(data + (size_t)at * comm_type_bytes(end.type),
                       (int)(count - at < PIECE ? count - at : PIECE),
                       mpi_type(end.type), end.peer, tag_of(s), g->comm,
                       &s->request[s->n_requests++]);
    if (rc)
        fail(c->world, "send", rc);
}

/* Sends begin with the next member, so that not all aim at the first one. */
static void exchange(struct comm *c, struct slot *s,
                     const struct comm_exchange *x)
{
    size_t element = comm_type_bytes(x->type);
    const struct comm_rows *r = x->rows;

    if (!make_room(c, s, r))
        return;
    for (int k = 1; k < c->size; k++) {
        int from = (c->rank - k + c->size) % c->size;

        receive(c, s, (char *)x->recv + (size_t)r->recv_first[from] * element,
                r->recv_count[from], (struct end){ x->type, from });
    }
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size;

        send(c, s, (const char *)x->send + (size_t)r->send_first[to] * element,
             r->send_count[to], (struct end){ x->type, to });
    }
    if (r->send_count[c->rank])
        memmove((char *)x->recv + (size_t)r->recv_first[c->rank] * element,
                (const char *)x->send +
                    (size_t)r->send_first[c->rank] * element,
                (size_t)r->send_count[c->rank] * element);
}

static void mpi_reduce_scatter(struct comm *c, const struct comm_reduction *r,
                               struct comm_request *request)
{
    struct group *g = c->impl;
    struct slot *s = take_slot(c, request);
    int64_t *list = g->lists, n = c->size, first = 0, place = 0;

    if (!s)
        return;
    for (int i = 0; i < n; i++) {
        list[i] = i == c->rank ? 0 : r->counts[i];
        list[n + i] = first;
        list[2 * n + i] = i == c->rank ? 0 : r->counts[c->rank];
        list[3 * n + i] = place;
        first += r->counts[i];
        place += list[2 * n + i];
    }
    s->sum = *r;
    exchange(
        c, s,
        &(struct comm_exchange){
            r->scratch, r->in,
            &(struct comm_rows){ list, list + n, list + 2 * n, list + 3 * n },
            r->type });
}

static void mpi_all_gather(struct comm *c, void *data, const int64_t *counts,
                           int type, struct comm_request *request)
{
    struct group *g = c->impl;
    struct slot *s = take_slot(c, request);
    int64_t *list = g->lists, n = c->size, first = 0, own = 0;

    if (!s)
        return;
    for (int i = 0; i < n; i++) {
        own = i == c->rank ? first : own;
        list[i] = first;
        list[n + i] = counts[i];
        first += counts[i];
    }
    for (int i = 0; i < n; i++) {
        list[2 * n + i] = own;
        list[3 * n + i] = i == c->rank ? 0 : counts[c->rank];
    }
    list[n + c->rank] = 0;
    exchange(
        c, s,
        &(struct comm_exchange){
            data, data,
            &(struct comm_rows){ list + 3 * n, list + 2 * n, list + n, list },
            type });
}

static void mpi_all_to_all(struct comm *c, const struct comm_exchange *x,
                           struct comm_request *request)
{
    struct slot *s = take_slot(c, request);

    if (s)
        exchange(c, s, x);
}

static void mpi_wait(struct comm *c, struct comm_request *request)
{
    struct slot *s = request->impl;

    poll(c, s);
    s->busy = 0;
    if (s->sum.out && !c->world->status)
        add_parts(c, &s->sum);
}

/* A buffer of the group that grows to the largest sum of a step. */
static void *scratch(struct comm *c, size_t bytes)
{
    struct group *g = c->impl;

    if (bytes > g->scratch_bytes) {
        free(g->scratch);
        g->scratch = malloc(bytes);
        g->scratch_bytes = g->scratch ? bytes : 0;
        if (!g->scratch)
            c->world->status =
                mup_fail(&c->world->fault, MUP_SYSTEM,
                         "out of memory for a sum of %zu bytes", bytes);
    }
    return g->scratch;
}

/* Everyone gets all of it and adds it up. */
static void sum_small(struct comm *c, void *data, int64_t n, int type)
{
    struct comm_request request = { 0 };
    size_t bytes = (size_t)n * comm_type_bytes(type);
    char *all = scratch(c, bytes * (size_t)c->size);
    int64_t *counts = ((struct group *)c->impl)->part;

    if (!all)
        return;
    for (int i = 0; i < c->size; i++)
        counts[i] = n;
    memcpy(all + (size_t)c->rank * bytes, data, bytes);
    mpi_all_gather(c, all, counts, type, &request);
    comm_wait(c, &request);
    if (c->world->status)
        return;
    memcpy(data, all, bytes);
    for (int i = 1; i < c->size; i++)
        add(data, all + (size_t)i * bytes, n, type);
}

static void mpi_all_reduce(struct comm *c, void *data, int64_t n, int type)
{
    size_t element = comm_type_bytes(type);
    struct comm_request request = { 0 };
    int64_t *counts = ((struct group *)c->impl)->part, first = 0, own;
    char *buffer;

    if ((size_t)n * element * (size_t)c->size <= SMALL_BYTES) {
        sum_small(c, data, n, type);
        return;
    }
    for (int i = 0; i < c->size; i++) {
        counts[i] = n / c->size + (i < n % c->size);
        first += i < c->rank ? counts[i] : 0;
    }
    own = counts[c->rank];
    /* the others' parts, then the sum */
    buffer = scratch(c, (size_t)own * element * (size_t)c->size);
    if (!buffer)
        return;
    mpi_reduce_scatter(
        c,
        &(struct comm_reduction){ buffer + (size_t)own * element *
                                               (size_t)(c->size - 1),
                                  data, counts, type, buffer },
        &request);
    comm_wait(c, &request);
    if (c->world->status)
        return;
    memcpy((char *)data + (size_t)first * element,
           buffer + (size_t)own * element * (size_t)(c->size - 1),
           (size_t)own * element);
    mpi_all_gather(c, data, counts, type, &request);
    comm_wait(c, &request);
}

static void mpi_broadcast(struct comm *c, void *data, int64_t n, int type,
                          int root)
{
    struct comm_request request = { 0 };
    struct slot *s = take_slot(c, &request);
    int64_t *list = ((struct group *)c->impl)->lists, size = c->size;

    if (!s)
        return;
    memset(list, 0, 4 * (size_t)size * sizeof(*list));
    for (int i = 0; i < size; i++)
        list[i] = c->rank == root && i != root ? n : 0;
    list[2 * size + root] = c->rank == root ? 0 : n;
    exchange(c, s,
             &(struct comm_exchange){ data, data,
                                      &(struct comm_rows){ list, list + size,
                                                           list + 2 * size,
                                                           list + 3 * size },
                                      type });
    comm_wait(c, &request);
}

static void mpi_barrier(struct comm *c)
{
    int32_t here = 1;

    mpi_all_reduce(c, &here, 1, COMM_I32);
}

/* A look at any request moves all of them. */
static void mpi_progress(struct comm *c)
{
    struct mpi *m = c->world->impl;
    int there;

    (void)MPI_Iprobe(MPI_ANY_SOURCE, NOTE_TAG, m->notes, &there,
                     MPI_STATUS_IGNORE);
}

/* --- the world --- */

/* Finalizing waits for all ranks, so only where all are known to come. */
static void mpi_close(struct comm_world *w)
{
    struct mpi *m = w->impl;
    MPI_Request request;
    int done = 0;
    double start = clock_s();

    if (!w->status && !MPI_Ibarrier(m->notes, &request)) {
        while (!done && clock_s() - start < CLOSE_S) {
            read_notes(w);
            if (MPI_Test(&request, &done, MPI_STATUS_IGNORE))
                break;
            (void)sched_yield();
        }
        if (done)
            (void)MPI_Finalize();
    }
    free(m->roll);
    free(m->sending);
    free(m);
    w->impl = NULL;
}

static const struct comm_ops mpi_ops = {
    .close = mpi_close,
    .split = mpi_split,
    .free = mpi_free,
    .all_reduce = mpi_all_reduce,
    .reduce_scatter = mpi_reduce_scatter,
    .all_gather = mpi_all_gather,
    .all_to_all = mpi_all_to_all,
    .broadcast = mpi_broadcast,
    .barrier = mpi_barrier,
    .wait = mpi_wait,
    .progress = mpi_progress,
};

int comm_mpi_open(struct comm_world *world, struct comm *all,
                  struct mup_error *err)
{
    struct mpi *m = calloc(1, sizeof(*m));
    int provided = 0;

    if (!m)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the ranks");
    /* the thread that writes checkpoints sends nothing */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided)) {
        free(m);
        return mup_fail(err, MUP_DEVICE, "MPI cannot be initialised");
    }
    (void)MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    (void)MPI_Comm_size(MPI_COMM_WORLD, &world->size);
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &world->rank);
    world->impl = m;
    world->ops = &mpi_ops;
    m->roll = calloc((size_t)world->size, sizeof(*m->roll));
    m->sending = calloc((size_t)world->size, sizeof(*m->sending));
    if (!m->roll || !m->sending ||
        MPI_Comm_dup(MPI_COMM_WORLD, &m->notes) != MPI_SUCCESS)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d ranks",
                        world->size);
    for (int i = 0; i < world->size; i++)
        m->sending[i] = MPI_REQUEST_NULL;
    (void)MPI_Comm_set_errhandler(m->notes, MPI_ERRORS_RETURN);
    return new_group(world, MPI_COMM_WORLD, all, err);
}

#endif
