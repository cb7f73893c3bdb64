/* How a controller is asked that may not answer: again after 1 s, 2 s, ... up
 * to 30 s, and the user is told once.  Silence says nothing about a job. */
#ifndef LAUNCHER_PATIENCE_H
#define LAUNCHER_PATIENCE_H

#include "launcher/terminal.h"
#include "mup/mup.h"

struct patience {
    double next_s; /* when to ask, monotonic clock */
    double wait_s; /* between the last question and that; 0: it answers */
};

/* What came of a question: rc MUP_DEVICE is silence, and err its sentence.
 * After an answer the next question is due interval_s later. */
void patience_note(struct patience *p, struct terminal *t, int rc,
                   double interval_s, const struct mup_error *err);

/* For who cannot go on without an answer: 1 after a pause where rc is silence
 * and nobody asked to stop.
 *     do
 *         rc = cluster_ping(c, err);
 *     while (patience_again(&p, t, rc, err)); */
int patience_again(struct patience *p, struct terminal *t, int rc,
                   const struct mup_error *err);

/* A pause that a signal ends. */
void patience_sleep(double seconds);

#endif
