/* What a run's journal and state say, as lines for people: pure. */
#ifndef LAUNCHER_FOLLOW_VIEW_H
#define LAUNCHER_FOLLOW_VIEW_H

#include <jansson.h>

#include "launcher/cluster.h"

#define FOLLOW_LINE_BYTES 1200

/* An event of the journal (launch_log.h) as one line; "" for those that say
 * nothing to who watches. */
void follow_event_line(const json_t *event, char *out, size_t bytes);

/* launch.json as a progress line. */
void follow_state_line(const json_t *state, char *out, size_t bytes);

/* A job that does not run yet; now: Unix seconds. */
void follow_wait_line(const struct cluster_job *job, double now, char *out,
                      size_t bytes);
/* A job that will not start by itself, and what lets it. */
void follow_held_line(const struct cluster_job *job, char *out, size_t bytes);

#endif
