/* Questions to the scheduler that may take for ever: asked by a child process
 * that is killed when its time is over. */
#ifndef LAUNCHER_ASK_H
#define LAUNCHER_ASK_H

#include "launcher/cluster.h"

/* cluster_job within seconds; MUP_DEVICE if there was no answer by then. */
int ask_job(int by, int64_t id, double seconds, struct cluster_job *out,
            struct mup_error *err);

#endif
