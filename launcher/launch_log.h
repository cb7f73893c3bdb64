/* What happened to a run under SLURM: DIR/launch.jsonl, one JSON object a line,
 * appended by the client (launch, cancel) and by the supervisor; and
 * DIR/launch.json, how it stands now, replaced every few seconds by the
 * supervisor.  `status` and the report read nothing else, so that both work
 * while the controller is down.  docs/formats.md has the members:
 *
 *   submitting {uuid}            before the scheduler is asked
 *   submitted  {uuid, job, by, nodes, spares, ranks_per_node, time_min,
 *               partition, again}          again: 1 = the job was lost before
 *   adopted    {job}
 *   supervisor {job, restart, host, pid, nodes: [..], limit_unix_s, and of a
 *               gap that goes on gap_unix_s, gap_text, gap_planned}
 *   preflight  {seconds, nodes, bad: [{node, reason}]}
 *   incarnation {incarnation, nodes: [..], spares: [..], ranks}
 *   failure    {incarnation, class, node, rank, step, text, stack}
 *   incident   {incarnation, class, node, text, began_unix_s, detect_s,
 *               fence_s, replace_s, relaunch_s, rendezvous_s, load_s,
 *               first_step_s, total_s, from_step, replayed_steps, planned}
 *   ejected    {node, class, reason, drained, until_unix_s}
 *   wish       {wish: "limit"|"preempt"|"cancel"}
 *   requeued   {text, tries, base_step, requeues}
 *   ended      {status, text, trained_s, wall_s}
 *
 * every one with "event" and "time" (Unix seconds). */
#ifndef LAUNCHER_LAUNCH_LOG_H
#define LAUNCHER_LAUNCH_LOG_H

#include <jansson.h>

#include "launcher/hostlist.h"
#include "mup/mup.h"

#define LAUNCH_UUID_BYTES 37

/* {"event":name,"time":now}; NULL without memory. */
json_t *launch_log_new(const char *name);
/* Append to dir/launch.jsonl; takes event, NULL is "out of memory". */
int launch_log_append(const char *dir, json_t *event, struct mup_error *err);

/* What the journal says, newest last.  Strings and arrays are borrowed from
 * `events`. */
struct launch_log {
    json_t *events; /* array of objects, as far as they can be read */
    char uuid[LAUNCH_UUID_BYTES];
    int64_t job;          /* newest that was submitted, 0: none */
    int submitting;       /* ... was begun after it */
    int submissions;      /* of the newest job, those after a loss included */
    int supervised;       /* a supervisor of that job has spoken */
    int64_t restarts;     /* supervisors of all jobs, less one */
    int64_t incarnations; /* the newest number */
    int64_t incidents;
    int cancelled;     /* asked for, and no submission since */
    int ended, status; /* since the last submission; status of "ended" */
    int64_t requeues;  /* since the last submission by hand */
    int tries;         /* of the last "requeued" */
    int64_t base_step; /* ... */
    double first_unix_s, ended_unix_s; /* first supervisor; "ended" */
    char text[640];                    /* of "ended" */
};

/* An empty log where there is no file; takes: launch_log_clear. */
int launch_log_read(const char *dir, struct launch_log *out,
                    struct mup_error *err);
void launch_log_clear(struct launch_log *log);

/* A random (version 4) UUID. */
int launch_log_uuid(char out[LAUNCH_UUID_BYTES], struct mup_error *err);
/* "mutransfer:UUID", the comment of the run's jobs. */
void launch_log_comment(const char *uuid, char *out, size_t bytes);

/* dir/launch.json, replaced; takes state.  Members: time, job, phase,
 * incarnation, step, steps, loss, tokens_per_s, eta_s, progress, saved_step,
 * saved_unix_s, trained_s, started_unix_s, limit_unix_s, nodes: [{name, use,
 * ranks: [..], step, compute_s, text}]. */
int launch_state_write(const char *dir, json_t *state, struct mup_error *err);
/* NULL where there is none that can be read. */
json_t *launch_state_read(const char *dir);

#endif
