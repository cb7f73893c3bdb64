/* How long a fault kept a run from training, in parts.  Pure: the supervisor
 * puts in when things happened. */
#ifndef LAUNCHER_INCIDENT_H
#define LAUNCHER_INCIDENT_H

#include <jansson.h>

#include "launcher/hostlist.h"
#include "launcher/supervisor.h"

/* Moments, in the order in which they come; seconds of any one clock. */
enum incident_mark {
    MARK_BEGAN,    /* the last sign of life of what failed */
    MARK_DETECTED, /* the failure was known and classified */
    MARK_FENCED,   /* no rank lives that could change the run */
    MARK_REPLACED, /* nodes were chosen, in a new job if need be */
    MARK_LAUNCHED, /* all ranks have said hello */
    MARK_JOINED,   /* and found each other */
    MARK_LOADED,   /* and read the checkpoint */
    MARK_STEPPED,  /* the first step was taken */
    MARKS
};

struct incident {
    int open;
    int planned; /* the job's time, a preemption: nothing was broken */
    int64_t incarnation;
    char class[16];
    char node[HOSTLIST_NAME_BYTES]; /* or "" */
    char text[SUPERVISOR_TEXT_BYTES];
    double began_unix_s;
    double at[MARKS]; /* 0: has not come */
    int64_t last_step, from_step;
};

/* A moment that has come; only the first of its kind counts. */
void incident_mark(struct incident *i, int mark, double now_s);

/* The line for launch.jsonl; each part is the time since the moment before it
 * that is known, so that the parts add up to the whole. */
json_t *incident_json(const struct incident *i);

/* "node: 0.1 s to detect, 0.2 s to fence, ...": one line. */
void incident_text(const struct incident *i, char *out, size_t bytes);

#endif
