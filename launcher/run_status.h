/* How a run stands: gathered from its folder (and, where it answers, from the
 * scheduler), then told by functions that only look at the struct. */
#ifndef LAUNCHER_RUN_STATUS_H
#define LAUNCHER_RUN_STATUS_H

#include <stdio.h>

#include "launcher/cluster.h"
#include "launcher/launch_log.h"

/* launch.json is written every few seconds; one this old means that nobody
 * writes it. */
#define STATUS_SILENT_S 20

enum status_scheduler {
    SCHEDULER_NOT_ASKED, /* no job, or it is over */
    SCHEDULER_ANSWERED,
    SCHEDULER_SILENT, /* no answer in time, or it cannot be asked from here */
};

struct status_node {
    char name[HOSTLIST_NAME_BYTES];
    char use[16]; /* supervisor_use_name; "spare" in place of "ready" */
    char ranks[48];
    int64_t step;         /* -1: not known */
    double compute_s;     /* of its last step, NaN: not known */
    char class[16];       /* of ejected ones, "" else */
    char text[256];       /* why */
    int64_t until_unix_s; /* 0: not ejected */
    int elsewhere;        /* ejected earlier, not in this job */
};

struct run_status {
    char dir[1100];
    double now_unix_s;
    int is_launched;         /* it has a journal: all of what follows */
    json_t *event, *metrics; /* last of events.jsonl and metrics.jsonl */
    struct launch_log log;
    json_t *state; /* launch.json, or NULL */
    int scheduler; /* enum status_scheduler */
    struct cluster_job job;
    char no_answer[256]; /* why SCHEDULER_SILENT */
    int n_nodes;
    struct status_node *node;
    /* From state, else from metrics; -1 and NaN: not known. */
    int64_t step, steps;
    double loss, tokens_per_s, eta_s;
    int64_t saved_step;
    double saved_unix_s;
    /* Seconds in which steps were taken that no earlier one had reached; and
     * from the first supervisor to the end or to what we know. */
    double trained_s, wall_s;
    double silent_since_unix_s; /* NaN: launch.json is fresh or not expected */
    char failure[256];          /* that is not recovered from, "" */
};

/* Does dir hold the journal of a run or sweep under SLURM? */
int run_status_is_launched(const char *dir);

/* MUP_CORRUPT where dir has neither a journal nor events.  ask_s: how long to
 * wait for the scheduler, 0: do not ask.  takes: run_status_clear. */
int run_status_read(const char *dir, double now_unix_s, double ask_s,
                    struct run_status *out, struct mup_error *err);
void run_status_clear(struct run_status *s);

/* Nothing more will happen unless somebody starts it again. */
int run_status_is_over(const struct run_status *s);
/* trained_s / wall_s, NaN: not known. */
double run_status_goodput(const struct run_status *s);
/* "training", "waiting for nodes", ...: what it does, in a few words. */
void run_status_headline(const struct run_status *s, char *out, size_t bytes);

void run_status_print(const struct run_status *s, FILE *out);
/* Stable members: docs/formats.md. */
json_t *run_status_json(const struct run_status *s);

/* A table of the "incident" events, newest last, at most `most` of them; with
 * the same parts as in the report. */
void run_status_print_incidents(const json_t *events, size_t most, FILE *out);

/* "a dead node", of failure_name's "node". */
const char *status_class_title(const char *name);

/* The same of an incident; of the end of a job's time in words of its own. */
const char *status_incident_title(const json_t *e);

/* "2026-11-28 14:04:39 UTC". */
struct status_time {
    char text[32];
};
struct status_time status_time(double unix_s);
double status_now_s(void); /* Unix time */

#endif
