/* The supervisor's end of the heartbeat: what is known of every rank.
 *
 *     ranks_open("127.0.0.1", n, &r, &err);    r.address goes to the ranks
 *     n = ranks_watch(&r, fds);  poll(fds, n, ...);
 *     ranks_serve(&r, fds, n, now);            calls r.event
 *
 * A connection counts once it has said hello with the token; one that says
 * anything wrong is closed and otherwise ignored. */
#ifndef LAUNCHER_RANKS_H
#define LAUNCHER_RANKS_H

#include <poll.h>

#include "launcher/heartbeat.h"

struct rank_state {
    int connected;
    int bye;     /* said how it ended */
    int lost;    /* was connected, is no more, said no bye */
    int killed;  /* by us */
    int status;  /* of bye */
    int phase;
    int64_t step, beats, pid;
    double compute_s;    /* of the last step */
    double last_s;       /* of the last line, supervisor's clock */
    double longest_s;    /* between two beats */
    char host[HEARTBEAT_HOST_BYTES];
};

struct rank_connection {
    int fd;
    int rank; /* -1: no hello yet */
    double since_s;
    size_t n;
    char line[HEARTBEAT_LINE_BYTES];
};

/* What happened to one rank; kind: of the message, or RANK_LOST. */
#define RANK_LOST 100
struct rank_event {
    int rank, kind;
    struct heartbeat_message message; /* not of RANK_LOST */
};

struct ranks {
    int n;
    struct rank_state *state; /* n */
    double now_s;             /* of ranks_serve, a monotonic clock */
    int listen;               /* socket */
    int n_connections, max_connections;
    struct rank_connection *connection;
    /* Called for every event; set after ranks_open, may be NULL. */
    void (*event)(void *context, const struct rank_event *event);
    void *context;
    char token[HEARTBEAT_TOKEN_BYTES];
    char address[128]; /* for HEARTBEAT_VARIABLE */
};

int ranks_open(const char *host, int n, struct ranks *out,
               struct mup_error *err);
void ranks_close(struct ranks *r);

/* Entries that ranks_watch fills at most. */
int ranks_max_fds(const struct ranks *r);
int ranks_watch(const struct ranks *r, struct pollfd *fds);
/* Read what poll found in those n entries; now_s: a monotonic clock. */
void ranks_serve(struct ranks *r, const struct pollfd *fds, int n,
                 double now_s);

/* Ask every rank to save and stop. */
void ranks_stop(struct ranks *r);

/* The rank that trains but has been silent for longer than a step has ever
 * taken and deadline_s on top, by when the ranks themselves should have
 * noticed; -1: none.  Of several the one that was silent first. */
int ranks_find_hung(const struct ranks *r, double now_s, double deadline_s);

#endif
