/* The supervisor of a run under SLURM, in the job's batch script: the world
 * around the state machine of supervisor.h.  supervise.c is the loop and what
 * actions do, supervise_nodes.c the agents and the check before the start,
 * supervise_ranks.c one incarnation, supervise_log.c what is written down. */
#ifndef LAUNCHER_SUPERVISE_H
#define LAUNCHER_SUPERVISE_H

#include "launcher/args.h"
#include "launcher/cluster.h"
#include "launcher/ejected.h"
#include "launcher/incident.h"
#include "launcher/launch_log.h"
#include "launcher/preflight.h"
#include "launcher/roster.h"
#include "launcher/scribe.h"
#include "launcher/step.h"
#include "launcher/supervisor.h"

/* Between two "alive" to everybody: a part of the shortest lease, and no more
 * than thousands of them can be sent. */
#define SUPERVISE_ALIVE_S 0.5

/* What the check before the start knows of a node. */
enum check_state {
    CHECK_NONE,
    CHECK_ASKED,
    CHECK_ANSWERED,
};

struct supervise_node {
    int check; /* enum check_state */
    double asked_s, skew_s;
    int again; /* that it was asked more than once */
    struct preflight_result result;
    int cleared;   /* no rank lives there, as its agent says */
    int lost;      /* its agent is gone or silent */
    double lost_s; /* since when */
    int peer;
    double pair_bytes_per_s;
    char text[SUPERVISOR_TEXT_BYTES]; /* why it is not used */
};

/* Of measuring between pairs of nodes. */
struct supervise_pairs {
    int round, rounds; /* round -1: not begun */
    double since_s;
    int again; /* rounds were added */
    int n;     /* pairs measured */
    struct preflight_pair *pair;
};

/* The first sign of a failure, until it is understood. */
struct supervise_suspicion {
    int open;
    int rank;
    double since_s, began_s;
    int hung;
    int said_bye, status;
    char text[HEARTBEAT_LINE_BYTES];
    char stack[256]; /* what the agent says of a hung rank */
};

/* One incarnation. */
struct supervise_ranks {
    int open; /* its roster is */
    int64_t incarnation;
    int n;
    int *node;     /* of each rank, -1: not known yet */
    int *reached;  /* the furthest enum train_phase of each */
    int *task_end; /* signal, or -(exit status), as srun says; 0: not known */
    int hellos, byes;
    struct roster roster;
    struct step step;
    int stepped; /* the first step was taken */
    int done;    /* its end was told to the machine */
    double started_s, hello_s, clear_s, alive_s, exited_s, byes_s;
    int refused;   /* enum step_refusal: what the last srun said */
    int n_refused; /* sruns */
    struct supervise_suspicion suspicion;
    char words[3][STEP_LINE_BYTES]; /* the last ones of srun and ranks */
    int n_words;
    char progress[200];
    char last_words[HEARTBEAT_LINE_BYTES]; /* rank 0's bye */
};

struct supervise {
    const struct args *args;
    const char *dir;
    char config_path[1100], exclude_path[1100], here[HOSTLIST_NAME_BYTES];
    char address[64];
    struct run_config config;
    char uuid[LAUNCH_UUID_BYTES];
    int64_t job, restart;
    double limit_unix_s;
    struct hostlist nodes;
    struct supervisor machine;
    struct supervise_waiting *waiting; /* events */
    int telling;
    int signals; /* that were heard */
    struct supervise_node *node;
    struct roster agents;
    struct step agent_step;
    struct supervise_pairs pairs;
    double check_began_s, agents_began_s, alive_s;
    char agent_words[STEP_LINE_BYTES]; /* the last ones of their srun */
    struct supervise_ranks ranks;
    struct incident incident;
    double began_s; /* last sign of life of what fails now; 0: not known */
    struct scribe scribe;
    int log;      /* DIR/log */
    int children; /* draining in the background */
    int64_t best_step, last_step;
    int64_t saved_step;
    double saved_unix_s, trained_s, step_s; /* clock of the last step */
    double each_s;                          /* seconds of a step, of late */
    double state_s, loop_s; /* clock of the last write, of the last round */
    double first_unix_s;    /* of the run's first supervisor */
    int64_t raised;         /* the incarnation that we made the newest */
    int ended, status;
    int gives_back;       /* the job, to the queue, at the end */
    struct mup_error end; /* its sentence */
};

/* Tell the machine, and do what it says.  text may be NULL. */
void supervise_tell(struct supervise *s, const struct supervisor_event *e);

/* --- supervise_nodes.c --- */

int supervise_open_agents(struct supervise *s, struct mup_error *err);
void supervise_close_agents(struct supervise *s);
/* What is due by the clock: silence, checks. */
void supervise_watch_nodes(struct supervise *s, double now_s);
void supervise_check(struct supervise *s, int node, double now_s);
/* It is gone, or as good as. */
void supervise_lose_node(struct supervise *s, int node, double began_s,
                         const char *text);
/* Kill what lives of the run on every node. */
void supervise_clear_nodes(struct supervise *s);
int supervise_find_node(const struct supervise *s, const char *name);

/* --- supervise_ranks.c --- */

int supervise_start_ranks(struct supervise *s, int64_t incarnation,
                          struct mup_error *err);
void supervise_stop_ranks(struct supervise *s);
/* Begin to end all ranks; supervise_watch_ranks tells when none lives. */
void supervise_clear_ranks(struct supervise *s, double now_s);
void supervise_watch_ranks(struct supervise *s, double now_s);
void supervise_close_ranks(struct supervise *s);

/* Its step; 0: there is none. */
int64_t supervise_newest_checkpoint(const struct supervise *s);

/* --- supervise_log.c --- */

/* To the journal; takes event.  A full disk is told once, on stderr. */
void supervise_log(struct supervise *s, json_t *event);
/* A line with the time, in the job's output. */
void supervise_note(struct supervise *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void supervise_write_state(struct supervise *s, double now_s);
/* The machine has seen a failure; it began at s->began_s, if that is set. */
void supervise_begin_incident(struct supervise *s, double now_s);
/* The gap in training that began in an earlier job, if it still goes on. */
void supervise_continue_incident(struct supervise *s,
                                 const struct launch_log *log);
void supervise_end_incident(struct supervise *s, double now_s);
json_t *supervise_node_names(const struct supervise *s, int use);
double supervise_unix_s(void);

/* --- supervise.c --- */

/* Once for each number.  MUP_USAGE where somebody else has taken it: the run is
 * another's then. */
int supervise_raise_fence(struct supervise *s, int64_t incarnation,
                          struct mup_error *err);
/* The run ends, whatever the machine makes of it: what, and why. */
void supervise_end(struct supervise *s, int status, const char *what,
                   const char *why);
/* DIR as the client made it; inside of a job. */
int supervise_run(const struct args *args, const char *dir,
                  struct mup_error *err);

#endif
