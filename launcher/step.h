/* A step of our SLURM job: `srun` as a child process, which places and starts
 * one program on nodes of the allocation.
 *
 * Its stdout goes to a file, its stderr is read line by line: what ranks say
 * there, and what srun says about them. */
#ifndef LAUNCHER_STEP_H
#define LAUNCHER_STEP_H

#include <stdint.h>
#include <sys/types.h>

#include "mup/mup.h"

#define STEP_LINE_BYTES 1024

struct step_request {
    const char *mpi;   /* "pmix" or "none" */
    const char *nodes; /* "node1,node3" */
    int n_nodes, tasks_per_node, cpus_per_task, gpus_per_node;
    int log;                    /* file descriptor for its stdout */
    const char *const *command; /* NULL-terminated */
    char *const *settings;      /* "NAME=value" for its environment, or NULL */
};

struct step {
    pid_t pid; /* 0: none */
    int err;   /* of its stderr; -1: closed */
    int exited, status;
    size_t n;
    char line[STEP_LINE_BYTES];
};

int step_start(const struct step_request *request, struct step *out,
               struct mup_error *err);
/* Lines that have come; longer ones in pieces. */
void step_read(struct step *s, void (*line)(void *context, const char *text),
               void *context);
/* Has srun ended? */
int step_reap(struct step *s);
/* srun goes at once; its tasks are somebody else's to end. */
void step_kill(struct step *s);
/* Kill and wait. */
void step_close(struct step *s);

/* How a task ended, as srun says it: "srun: error: node3: tasks 4-5: Killed".
 * 0 if the line says no such thing. */
struct step_end {
    int task; /* the first one */
    int signal, status;
};
int step_parse_end(const char *line, struct step_end *out);

/* Does srun say that SLURM made no step, so that no rank was started? */
enum step_refusal {
    STEP_NOT_REFUSED,
    STEP_REFUSED,
    STEP_NO_CONTROLLER, /* it did not answer */
};
int step_refusal(const char *line);

#endif
