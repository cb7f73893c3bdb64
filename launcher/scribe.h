/* What the supervisor writes down, written by a child process: a shared disk
 * may take seconds for a line, and ranks whose supervisor is silent for as long
 * end themselves.  Lines are written in the order in which they were put.
 *
 * The child reads, too: when somebody has asked in the journal to cancel the
 * run, it sends SIGTERM to its parent. */
#ifndef LAUNCHER_SCRIBE_H
#define LAUNCHER_SCRIBE_H

#include <jansson.h>
#include <sys/types.h>

#include "mup/mup.h"

enum scribe_kind {
    SCRIBE_EVENT = 'e', /* a line of DIR/launch.jsonl */
    SCRIBE_STATE = 's', /* DIR/launch.json */
};

struct scribe {
    pid_t pid;
    int fd;      /* -1: none; lines are written at once then */
    char *queue; /* not taken by the pipe yet */
    size_t n;
    const char *dir;
};

/* dir is borrowed. */
int scribe_open(const char *dir, struct scribe *out, struct mup_error *err);
/* takes object, NULL is "out of memory".  Does not wait for the disk. */
int scribe_put(struct scribe *s, int kind, json_t *object,
               struct mup_error *err);
/* Pass on what waits; to be called now and then. */
void scribe_flush(struct scribe *s);
/* All is written, or the seconds are over: then the child is left to it. */
void scribe_close(struct scribe *s, double seconds);

#endif
