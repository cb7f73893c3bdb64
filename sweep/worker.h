/* Both ends of the pipe between driver and worker, and the events.jsonl that
 * a run leaves.  All three are lines of JSON from another process: nothing in
 * them is trusted. */
#ifndef SWEEP_WORKER_H
#define SWEEP_WORKER_H

#include "model/train.h"

/* No line of the protocol is longer, the newline included. */
#define WORKER_LINE_BYTES 8192

/* Driver to worker: {"op":"run","trial":7,"attempt":1,"dir":"sweep/trials/7"};
 * dir is relative to the working directory that both share. */
struct worker_job {
    int64_t trial, attempt;
    char dir[2048];
};

/* WORKER_ALIVE is about no trial. */
enum worker_event { WORKER_STEP, WORKER_END, WORKER_ALIVE };

/* Worker to driver. */
struct worker_message {
    int event; /* enum worker_event */
    int64_t trial, attempt;
    int64_t step, steps; /* of WORKER_STEP */
    double loss;
    int status; /* of WORKER_END: what train_run returned */
    char error[512];
};

/* How far the run in a directory has come, from its events.jsonl. */
enum run_end { RUN_OPEN, RUN_DONE, RUN_DIVERGED };
struct run_events {
    int end; /* enum run_end */
    int64_t steps, tokens;
    double loss, val_loss, val_bpb, flops, wall_s;
};

/* A line without its newline.  MUP_CORRUPT if it is no such line. */
int worker_parse_job(const char *line, size_t bytes, struct worker_job *out,
                     struct mup_error *err);
int worker_parse_message(const char *line, size_t bytes,
                         struct worker_message *out, struct mup_error *err);

/* Is it {"op":"alive","lease_s":15}, driver to worker?  That may go on for so
 * long without the next one. */
int worker_parse_lease(const char *line, size_t bytes, double *lease_s);

/* The same as lines, newline included; takes: caller frees *out. */
int worker_format_job(const struct worker_job *job, char **out,
                      struct mup_error *err);
int worker_format_message(const struct worker_message *message, char **out,
                          struct mup_error *err);

/* Whole lines of a file's text; what is not understood is passed over, an
 * unterminated last line ignored.  A finished run stays finished. */
void events_parse(const char *text, size_t bytes, struct run_events *out);
/* dir/events.jsonl; a missing file is an open run. */
int events_read(const char *dir, struct run_events *out, struct mup_error *err);

/* Trains one run; train_run, or what a test puts in its place. */
typedef int worker_train(const struct run_config *config, const char *dir,
                         const struct train_hooks *hooks,
                         struct train_result *result, struct mup_error *err);

/* Serve jobs from file descriptor in until it or out closes, or the lease ends.
 * Standard output is pointed to standard error, so that a stray print never
 * breaks a line.  Returns the exit code: 0, or MUP_STOPPED after SIGTERM and
 * the end of the lease. */
int worker_serve(int in, int out, worker_train *train);

#endif
