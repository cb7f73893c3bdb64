/* What a rank tells the supervisor of its run, and hears from it, over TCP.
 *
 * The supervisor sets MUTRANSFER_SUPERVISOR=HOST:PORT:TOKEN; without it every
 * call here does nothing.  Lines of text, rank to supervisor:
 *
 *     hello TOKEN RANK RANKS PID HOST      first; else the connection is closed
 *     beat STEP PHASE COMPUTE_S WALL_S SAVED
 *                                          PHASE: setup, joined, loaded, step,
 *                                          checkpoint, ...; SAVED: the step of
 *                                          the newest checkpoint, or 0
 *     progress TEXT                        the line that users watch; an agent
 *                                          answers so (agent.h)
 *     bye STATUS TEXT                      last; TEXT: the error, may be empty
 *
 * HOST is the node's name in SLURM where there is one.  And back: "stop" (save
 * and stop), "alive" (the supervisor is; the lease of a rank lasts by it), and
 * what an agent is asked for.  Once the connection is made no call waits: what
 * the socket does not take is dropped, whole lines at a time.  A connection
 * that ends means stop as well, so that no rank outlives its supervisor. */
#ifndef LAUNCHER_HEARTBEAT_H
#define LAUNCHER_HEARTBEAT_H

#include "model/node.h"
#include "model/train.h"

#define HEARTBEAT_VARIABLE    "MUTRANSFER_SUPERVISOR"
#define HEARTBEAT_LINE_BYTES  1280 /* with newline; holds any mup_error */
#define HEARTBEAT_TOKEN_BYTES 33
#define HEARTBEAT_HOST_BYTES  NODE_NAME_BYTES
#define HEARTBEAT_ORDER_BYTES 256 /* of the supervisor, with newline */

enum heartbeat_kind {
    HEARTBEAT_HELLO,
    HEARTBEAT_BEAT,
    HEARTBEAT_PROGRESS,
    HEARTBEAT_BYE
};

/* One line of a rank; members that its kind lacks are 0. */
struct heartbeat_message {
    int kind;
    char token[HEARTBEAT_TOKEN_BYTES];
    char host[HEARTBEAT_HOST_BYTES];
    int64_t rank, ranks, pid;
    struct train_beat beat;
    double wall_s;  /* Unix time at the rank */
    int64_t status; /* of bye */
    char text[HEARTBEAT_LINE_BYTES];
};

/* A line without its newline.  0 if it is one of the above, else -1; out is
 * then undefined. */
int heartbeat_parse(const char *line, struct heartbeat_message *out);

/* The rank's end. */
struct heartbeat {
    int fd;      /* -1: no supervisor, or the connection has ended */
    int stop;    /* the supervisor said so, or has gone */
    int reached; /* it took some of what was said */
    int told;    /* ... the bye, too */
    int leased;  /* by heartbeat_lease */
    char out[2 * HEARTBEAT_LINE_BYTES]; /* accepted, not yet sent */
    size_t n_out;
    char in[HEARTBEAT_ORDER_BYTES]; /* part of a line */
    size_t n_in;
    int too_long; /* ... the rest of which is dropped */
    char heard[8 * HEARTBEAT_ORDER_BYTES]; /* whole lines, for heartbeat_hear */
    size_t n_heard;
};

/* Connect where the environment asks for it, within seconds.  MUP_USAGE for an
 * address that is none; a supervisor that does not answer is one that has
 * gone. */
int heartbeat_open(int rank, int ranks, struct heartbeat *out,
                   struct mup_error *err);
/* From now on this process ends, wherever it is, when the supervisor has not
 * been heard for lease_s (stop.h).  Nothing where there never was one. */
void heartbeat_lease(struct heartbeat *h, double lease_s);
/* Is there a supervisor who shows the progress? */
int heartbeat_is_watched(const struct heartbeat *h);
void heartbeat_beat(struct heartbeat *h, const struct train_beat *beat);
void heartbeat_progress(struct heartbeat *h, const char *text);
/* Nonzero: save and stop. */
int heartbeat_should_stop(struct heartbeat *h);
/* The next line of the supervisor that is neither "stop" nor "alive", without
 * its newline; what does not fit is cut.  0: there is none now.  Lines that
 * nobody takes are dropped, the newest first. */
int heartbeat_hear(struct heartbeat *h, char *line, size_t bytes);
/* NULL, or why there is no supervisor any more. */
const char *heartbeat_loss(const struct heartbeat *h);
/* Say how this rank ended.  Nothing is said after it; the connection stays, so
 * that the supervisor can tell a rank that ends from one that has ended.
 * Nonzero: the supervisor has been told, so that status and text are its to
 * report. */
int heartbeat_bye(struct heartbeat *h, int status, const char *text);
/* Say so if it was not said, and close.  Returns what heartbeat_bye does. */
int heartbeat_close(struct heartbeat *h, int status, const char *text);

#endif
