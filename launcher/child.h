/* A program whose answer is read, for a limited time, without a shell.
 *
 *     child_start(argv, &c, &err);
 *     child_poll(&c)          now and then, until it is nonzero
 *     c.text, c.status        what it wrote, how it ended
 *
 * It reads /dev/null and leads a process group of its own, so that
 * child_kill takes what it has started as well. */
#ifndef LAUNCHER_CHILD_H
#define LAUNCHER_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include "mup/mup.h"

#define CHILD_TEXT_BYTES 65536

struct child {
    pid_t pid;  /* 0: none, or it has ended */
    int fd;     /* its stdout */
    int status; /* of waitpid, once it has ended */
    size_t n;
    char text[CHILD_TEXT_BYTES]; /* the first of what it wrote, a string */
};

/* argv[0] is looked for on PATH.  quiet: its stderr is nobody's. */
int child_start(const char *const *argv, int quiet, struct child *out,
                struct mup_error *err);
/* Take what it has written.  Nonzero once it has ended; text is whole then. */
int child_poll(struct child *c);
/* SIGKILL.  A process that even this does not end at once, as one that waits
 * for a broken device, is left behind. */
void child_kill(struct child *c);
/* Start, wait for its end and return MUP_OK if that came within limit_s with
 * exit status 0. */
int child_answer(const char *const *argv, double limit_s, struct child *out,
                 struct mup_error *err);

#endif
