/* What to do about a run on many nodes: a pure state machine, events in,
 * actions out.  supervise.c sees to the world: agents, ranks, files, SLURM.
 *
 *     supervisor_init(&options, now, &s);
 *     supervisor_event(&s, &event);
 *     while (supervisor_act(&s, &action))    ... until there is none
 *         do it                              before the next event
 *
 * START names its nodes by their use, so the next event must not come between.
 *
 * What always holds:
 *   - START comes only after CLEARED, so that one incarnation lives at most;
 *   - a node that is ejected or lost is in no START;
 *   - more than options.attempts starts in a row need a newer checkpoint;
 *   - after a failure of files a start waits for a while, for a tick;
 *   - after END or REQUEUE there is no action any more. */
#ifndef LAUNCHER_SUPERVISOR_H
#define LAUNCHER_SUPERVISOR_H

#include "launcher/failure.h"

#define SUPERVISOR_TEXT_BYTES 640

enum supervisor_phase {
    SUPERVISOR_CHECKING, /* preflight; no rank lives */
    SUPERVISOR_STARTING, /* until the first step */
    SUPERVISOR_TRAINING,
    SUPERVISOR_STOPPING, /* the ranks save */
    SUPERVISOR_CLEARING, /* the ranks are being killed */
    SUPERVISOR_ENDED,
};

enum node_use {
    NODE_AWAITED,  /* its agent has not said hello */
    NODE_CHECKING, /* preflight */
    NODE_READY,    /* healthy; a spare while ranks run elsewhere */
    NODE_TRAINING,
    NODE_LOST, /* silent or gone */
    NODE_EJECTED,
};

/* Why ranks are asked to stop; the later one counts. */
enum supervisor_wish {
    WISH_NONE,
    WISH_LIMIT,   /* the job's time is over soon */
    WISH_PREEMPT, /* the scheduler wants the nodes */
    WISH_CANCEL,  /* a person */
};

struct supervisor_options {
    int nodes;  /* of the allocation */
    int wanted; /* that train */
    int attempts;
    int64_t progress; /* steps */
    int strikes;
    int may_eject; /* nodes, on top of those that are ejected already */
    double check_s, setup_s, stop_s;
    /* from earlier jobs of the same run */
    int64_t incarnation; /* the newest there was */
    int64_t saved_step;  /* of the newest checkpoint, 0: none */
    int64_t base_step;   /* the checkpoint that tries are counted from */
    int tries;           /* starts since then */
    int64_t requeues;    /* that are left */
};

struct supervisor_node {
    int use; /* enum node_use */
    int strikes;
};

enum supervisor_event_kind {
    EVENT_TICK,
    EVENT_AGENT,   /* a node's agent said hello */
    EVENT_LOST,    /* it is silent or gone */
    EVENT_HEALTHY, /* preflight of a node */
    EVENT_SICK,    /* text: why */
    EVENT_STEP,    /* a step was taken: step */
    EVENT_SAVED,   /* a checkpoint stands: step */
    EVENT_FAILED,  /* the incarnation failed: failure, node, text */
    EVENT_DONE,    /* it ended by itself: status, text */
    EVENT_CLEARED, /* no rank of any incarnation lives; step: of the newest
                      checkpoint, 0: not known */
    EVENT_WISH,
};

struct supervisor_event {
    int kind;
    double now_s;        /* monotonic */
    int node;            /* or -1: not known */
    int64_t incarnation; /* of STEP, SAVED, FAILED, DONE: others are ignored */
    int64_t step;
    struct failure failure;
    int status; /* of DONE, and of a FAILED that is final */
    int wish;
    const char *text; /* or NULL */
};

enum supervisor_action_kind {
    ACTION_CHECK,   /* node: preflight */
    ACTION_START,   /* incarnation, on the nodes in NODE_TRAINING */
    ACTION_STOP,    /* ask the ranks to save and stop */
    ACTION_CLEAR,   /* fence off incarnations before this one, kill all ranks;
                       where the fence is there already, somebody else has the
                       run: FAILED of this incarnation, FAILURE_FENCED */
    ACTION_EJECT,   /* node, class, text */
    ACTION_REQUEUE, /* text; needs_nodes: others than these */
    ACTION_END,     /* status, text */
};

struct supervisor_action {
    int kind;
    int node;
    int class;
    int64_t incarnation;
    int status;
    int needs_nodes;
    char text[SUPERVISOR_TEXT_BYTES];
};

struct supervisor {
    struct supervisor_options options;
    int phase;
    struct supervisor_node *node; /* options.nodes */
    int64_t incarnation;          /* the newest that was started or reserved */
    double since_s;               /* of the phase */
    int64_t saved_step, base_step;
    int tries, ejected;
    int64_t requeues;
    int wish;
    struct failure last;        /* why we are CLEARING */
    int last_status, last_node; /* node -1: not known */
    int recheck;                /* all nodes, before the next start */
    char last_text[SUPERVISOR_TEXT_BYTES];
    int reserved;               /* `incarnation` is not started yet */
    int first, n_actions, room; /* a ring */
    struct supervisor_action *action;
};

int supervisor_init(const struct supervisor_options *options, double now_s,
                    struct supervisor *out, struct mup_error *err);
void supervisor_clear(struct supervisor *s);

void supervisor_event(struct supervisor *s, const struct supervisor_event *e);
/* 0: nothing to do. */
int supervisor_act(struct supervisor *s, struct supervisor_action *out);

int supervisor_count(const struct supervisor *s, int use);
const char *supervisor_phase_name(int phase);
const char *supervisor_use_name(int use);

#endif
