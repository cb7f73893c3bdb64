/* The supervisor's end of the heartbeat: what is known of every rank.
 *
 *     roster_open("127.0.0.1", n, &r, &err);    r.address goes to the ranks
 *     n = roster_watch(&r, fds);  poll(fds, n, ...);
 *     roster_serve(&r, fds, n, now);            calls r.event
 *
 * For ranks on other hosts it listens on "0.0.0.0", and roster_advertise says
 * by which name they reach it.  A connection counts once it has said hello with
 * the token; one that says anything wrong is closed and otherwise ignored. */
#ifndef LAUNCHER_ROSTER_H
#define LAUNCHER_ROSTER_H

#include <poll.h>

#include "launcher/heartbeat.h"

struct rank_state {
    int connected;
    int bye;    /* said how it ended */
    int lost;   /* was connected, is no more, said no bye */
    int killed; /* by us */
    int status; /* of bye */
    int phase;
    int64_t step, beats, pid;
    int64_t saved_step; /* of the newest checkpoint it knows of, 0: none */
    double compute_s;   /* of the last step */
    double last_s;      /* of the last line, supervisor's clock */
    double longest_s;   /* between two beats */
    char host[HEARTBEAT_HOST_BYTES];
};

struct rank_connection {
    int fd;
    int rank; /* -1: no hello yet */
    double since_s;
    size_t n;
    char line[HEARTBEAT_LINE_BYTES];
    size_t n_out; /* of a line that was sent in part: the rest */
    char out[HEARTBEAT_ORDER_BYTES];
};

/* What happened to one rank; kind: of the message, or RANK_LOST. */
#define RANK_LOST 100
struct rank_event {
    int rank, kind;
    struct heartbeat_message message; /* not of RANK_LOST */
};

struct roster {
    int n;
    struct rank_state *state; /* n */
    double now_s;             /* of roster_serve, a monotonic clock */
    int listen;               /* socket */
    int port;
    int n_connections, max_connections;
    int stopping; /* a rank that says hello is told so */
    struct rank_connection *connection;
    /* Called for every event; set after roster_open, may be NULL. */
    void (*event)(void *context, const struct rank_event *event);
    void *context;
    char token[HEARTBEAT_TOKEN_BYTES];
    char address[128]; /* for HEARTBEAT_VARIABLE */
};

int roster_open(const char *host, int n, struct roster *out,
                struct mup_error *err);
void roster_close(struct roster *r);
/* r->address with another host, a name or an IPv4 address; MUP_USAGE for one
 * that is too long or no word. */
int roster_advertise(struct roster *r, const char *host, struct mup_error *err);

/* Entries that roster_watch fills at most. */
int roster_max_fds(const struct roster *r);
int roster_watch(const struct roster *r, struct pollfd *fds);
/* Read what poll found in those n entries; now_s: a monotonic clock. */
void roster_serve(struct roster *r, const struct pollfd *fds, int n,
                  double now_s);

/* Ask every rank to save and stop, those that say hello later too. */
void roster_stop(struct roster *r);
/* One line, without newline and shorter than HEARTBEAT_ORDER_BYTES, to one
 * rank: whole or not at all.  -1: it is not connected or takes nothing now. */
int roster_say(struct roster *r, int rank, const char *line);
/* To all that are connected: their supervisor lives. */
void roster_alive(struct roster *r);

/* The rank that has trained but has been silent, whatever it does, for longer
 * than two beats have ever been apart and deadline_s on top, by when the ranks
 * themselves should have noticed; -1: none.  Of several the one that was silent
 * first. */
int roster_find_hung(const struct roster *r, double now_s, double deadline_s);

/* Ranks that have not said how they ended, and ... */
enum roster_missing {
    ROSTER_NO_HELLO, /* have not said hello */
    ROSTER_NO_STEP,  /* have not taken a step */
    ROSTER_SILENT,   /* have said nothing since since_s */
};
/* How many, and the first ones as a sentence names them: "ranks 0, 3".  out may
 * be NULL with 0 bytes. */
int roster_missing(const struct roster *r, enum roster_missing which,
                   double since_s, char *out, size_t bytes);
/* The last step that any rank has taken; 0: none. */
int64_t roster_last_step(const struct roster *r);

#endif
