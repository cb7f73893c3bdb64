/* How fast is the way between two nodes?  One serves, the other measures:
 *
 *     link_listen(&fd, &port, &err);  link_serve(fd, word, until_s, &err);
 *     link_measure(host, port, word, until_s, &bytes_per_s, &err);
 *
 * Both know the same word, so that strangers are turned away.  Every call ends
 * by until_s of clock_s(). */
#ifndef LAUNCHER_LINK_H
#define LAUNCHER_LINK_H

#include "mup/mup.h"

#define LINK_WORD_BYTES 64
/* Of one direction of one round. */
#define LINK_BYTES  ((size_t)32 << 20)
#define LINK_ROUNDS 3

int link_listen(int *fd, int *port, struct mup_error *err);
/* One partner, as long as it measures; takes fd. */
int link_serve(int fd, const char *word, double until_s, struct mup_error *err);
/* The median of LINK_ROUNDS rounds, there and back. */
int link_measure(const char *host, int port, const char *word, double until_s,
                 double *bytes_per_s, struct mup_error *err);

#endif
