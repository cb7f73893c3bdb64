#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/agent.h"
#include "launcher/supervise.h"
#include "model/clock.h"
#include "model/fence.h"

/* After the first sign of a failure: by then its agent, srun and the other
 * ranks have said what they know. */
#define EVIDENCE_S 0.2
/* What an agent may take to see where a hung rank waits ... */
#define STACK_S 0.8
/* ... and to end the ranks of its node. */
#define CLEAR_S (AGENT_CLEAR_S + 1)
/* srun itself, when all ranks have ended. */
#define SRUN_S 5.0
/* Between two attempts at a SLURM that makes no step, and for how long where it
 * does answer. */
#define REFUSED_PAUSE_S 1.0
#define REFUSED_S       30.0
/* Over the lease: for a rank to be scheduled and to end. */
#define LEASE_MARGIN_S 0.5
/* Until a hung rank is known as such: so many times its longest silence. */
#define HUNG_FACTOR 10
#define HUNG_LEAST  10.0

/* --- starting --- */

static char *training_nodes(const struct supervise *s, int *n)
{
    size_t bytes = (size_t)s->nodes.n * (HOSTLIST_NAME_BYTES + 1) + 1, at = 0;
    char *names = calloc(bytes, 1);

    *n = 0;
    for (int i = 0; names && i < s->nodes.n; i++)
        if (s->machine.node[i].use == NODE_TRAINING)
            at += (size_t)snprintf(names + at, bytes - at, "%s%s",
                                   (*n)++ ? "," : "", s->nodes.name[i]);
    return names;
}

static int start_step(struct supervise *s, struct mup_error *err)
{
    struct supervise_ranks *r = &s->ranks;
    char supervisor[160], run[64], number[64];
    /* Slurm 22.05 mixes two ways of a fence.  With the other one a rank was
     * seen to leave MPI_Init while another was still in it, which Open MPI
     * 4.1.4 answers with a crash, or waits for ever.  Not proven to be the
     * cure, and harmless.  Who sets it knows better. */
    char ring[] = "SLURM_PMIX_FENCE=ring";
    char *settings[] = { supervisor, run, number,
                         getenv("SLURM_PMIX_FENCE") ? NULL : ring, NULL };
    const char *command[] = { s->args->program, "train", "-o", s->dir, "-q",
                              s->config_path,   NULL };
    struct step_request request = {
        .mpi = "pmix",
        .tasks_per_node = (int)s->config.slurm.ranks_per_node,
        .cpus_per_task = (int)s->config.slurm.cpus_per_rank,
        .gpus_per_node = (int)s->config.slurm.gpus_per_node,
        .log = s->log,
        .command = command,
        .settings = settings,
    };
    char *names = training_nodes(s, &request.n_nodes);
    int rc;

    if (!names)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    request.nodes = names;
    snprintf(supervisor, sizeof(supervisor), HEARTBEAT_VARIABLE "=%s",
             r->roster.address);
    snprintf(run, sizeof(run), AGENT_RUN_VARIABLE "=%s", s->uuid);
    snprintf(number, sizeof(number), FENCE_VARIABLE "=%" PRId64,
             r->incarnation);
    rc = step_start(&request, &r->step, err);
    free(names);
    return rc;
}

static void log_start(struct supervise *s)
{
    json_t *o = launch_log_new("incarnation");

    if (o) {
        json_object_set_new(o, "incarnation",
                            json_integer(s->ranks.incarnation));
        json_object_set_new(o, "nodes", supervise_node_names(s, NODE_TRAINING));
        json_object_set_new(o, "spares", supervise_node_names(s, NODE_READY));
        json_object_set_new(o, "ranks", json_integer(s->ranks.n));
    }
    supervise_log(s, o);
}

static void hear_rank(void *context, const struct rank_event *e);

int supervise_start_ranks(struct supervise *s, int64_t incarnation,
                          struct mup_error *err)
{
    const int n = (int)(s->config.slurm.nodes * s->config.slurm.ranks_per_node);
    struct supervise_ranks *r = &s->ranks;
    int rc = supervise_raise_fence(s, incarnation, err);

    *r = (struct supervise_ranks){ .incarnation = incarnation,
                                   .n = n,
                                   .step = { .err = -1 },
                                   .started_s = clock_s() };
    if (!rc)
        rc = roster_open("0.0.0.0", n, &r->roster, err);
    if (rc)
        return rc;
    r->roster.event = hear_rank;
    r->roster.context = s;
    r->node = malloc(((size_t)n + 1) * sizeof(*r->node));
    r->reached = calloc((size_t)n + 1, sizeof(*r->reached));
    r->task_end = calloc((size_t)n + 1, sizeof(*r->task_end));
    r->open = 1;
    if (!r->node || !r->reached || !r->task_end) {
        supervise_close_ranks(s);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    for (int i = 0; i < n; i++)
        r->node[i] = -1;
    s->step_s = 0;
    incident_mark(&s->incident, MARK_REPLACED, clock_s());
    rc = roster_advertise(&r->roster, s->address, err);
    if (!rc)
        rc = start_step(s, err);
    if (!rc)
        log_start(s);
    return rc;
}

void supervise_close_ranks(struct supervise *s)
{
    struct supervise_ranks *r = &s->ranks;

    if (!r->open)
        return;
    roster_close(&r->roster);
    step_close(&r->step);
    free(r->node);
    free(r->reached);
    free(r->task_end);
    r->node = r->reached = r->task_end = NULL;
    r->suspicion.open = 0;
    r->suspicion.stack[0] = '\0';
    r->open = 0;
}

void supervise_stop_ranks(struct supervise *s)
{
    if (s->ranks.open)
        roster_stop(&s->ranks.roster);
}

/* --- what ranks say --- */

static void suspect(struct supervise *s, int rank, double began_s,
                    const struct heartbeat_message *bye)
{
    struct supervise_suspicion *q = &s->ranks.suspicion;

    /* Who could not reach another is no cause where another has died: what
     * came at one moment is read in no order. */
    if (q->open && !(q->said_bye && q->status == MUP_DEVICE && !bye))
        return;
    *q = (struct supervise_suspicion){ .open = 1,
                                       .rank = rank,
                                       .since_s =
                                           q->open ? q->since_s : clock_s(),
                                       .began_s = began_s };
    if (bye) {
        q->said_bye = 1;
        q->status = (int)bye->status;
        snprintf(q->text, sizeof(q->text), "%s", bye->text);
    }
}

static int is_good_end(int64_t status)
{
    return status == MUP_OK || status == MUP_STOPPED || status == MUP_DIVERGED;
}

/* Rank 0 has come to a step; time counts as trained where no step is done
 * twice. */
static void advance(struct supervise *s, int64_t step)
{
    double now_s = clock_s();

    if (s->step_s > 0 && step > s->last_step) {
        double each_s = (now_s - s->step_s) / (double)(step - s->last_step);

        s->each_s =
            s->each_s > 0 ? s->each_s + 0.1 * (each_s - s->each_s) : each_s;
    }
    if (step > s->best_step) {
        if (s->step_s > 0)
            s->trained_s += now_s - s->step_s;
        s->best_step = step;
    }
    s->step_s = now_s;
    s->last_step = step;
}

static void take_beat(struct supervise *s, int rank,
                      const struct train_beat *beat)
{
    struct supervise_ranks *r = &s->ranks;
    struct supervisor_event e = { .now_s = clock_s(),
                                  .node = -1,
                                  .incarnation = r->incarnation,
                                  .step = beat->step };
    int least = TRAIN_DONE;

    if (beat->phase > r->reached[rank])
        r->reached[rank] = beat->phase;
    for (int i = 0; s->incident.open && i < r->n; i++)
        if (r->reached[i] < least)
            least = r->reached[i];
    if (least >= TRAIN_JOINED)
        incident_mark(&s->incident, MARK_JOINED, e.now_s);
    if (least >= TRAIN_LOADED)
        incident_mark(&s->incident, MARK_LOADED, e.now_s);
    if (rank != 0)
        return;
    if (beat->phase == TRAIN_LOADED) {
        s->incident.from_step = s->last_step = beat->step;
    } else if (beat->phase >= TRAIN_STEP && beat->step > s->last_step) {
        advance(s, beat->step);
        if (!r->stepped)
            supervise_end_incident(s, e.now_s);
        r->stepped = 1;
        e.kind = EVENT_STEP;
        supervise_tell(s, &e);
    } else if (beat->step < s->last_step) {
        s->last_step = beat->step; /* went back by itself */
    }
    if (beat->saved_step != s->saved_step) {
        s->saved_step = beat->saved_step;
        s->saved_unix_s = supervise_unix_s();
        e.kind = EVENT_SAVED;
        e.step = beat->saved_step;
        supervise_tell(s, &e);
    }
}

static void hear_rank(void *context, const struct rank_event *e)
{
    struct supervise *s = context;
    struct supervise_ranks *r = &s->ranks;
    const struct rank_state *state = &r->roster.state[e->rank];

    switch (e->kind) {
    case HEARTBEAT_HELLO:
        r->node[e->rank] = supervise_find_node(s, e->message.host);
        r->hello_s = clock_s();
        if (++r->hellos == r->n)
            incident_mark(&s->incident, MARK_LAUNCHED, r->hello_s);
        break;
    case HEARTBEAT_BEAT:
        take_beat(s, e->rank, &e->message.beat);
        break;
    case HEARTBEAT_PROGRESS:
        if (e->rank == 0)
            snprintf(r->progress, sizeof(r->progress), "%.190s",
                     e->message.text);
        break;
    case HEARTBEAT_BYE:
        r->byes += is_good_end(e->message.status);
        r->byes_s = clock_s();
        if (e->rank == 0)
            snprintf(r->last_words, sizeof(r->last_words), "%s",
                     e->message.text);
        if (!is_good_end(e->message.status))
            suspect(s, e->rank, clock_s(), &e->message);
        break;
    case RANK_LOST:
        suspect(s, e->rank, state->last_s, NULL);
        break;
    default:
        break;
    }
}

/* --- what srun says --- */

static void take_line(void *context, const char *text)
{
    struct supervise *s = context;
    struct supervise_ranks *r = &s->ranks;
    const char *warning = strstr(text, ": warning: ");
    struct step_end end;
    int refusal = step_refusal(text);

    if (refusal > r->refused)
        r->refused = refusal;
    (void)!write(s->log, text, strlen(text)); /* a log has no remedy */
    (void)!write(s->log, "\n", 1);
    if (step_parse_end(text, &end) && end.task >= 0 && end.task < r->n)
        r->task_end[end.task] = end.signal ? end.signal : -end.status;
    else if (warning && strtol(text, NULL, 10) == 0)
        supervise_note(s, "%s", warning + 11);
    snprintf(r->words[r->n_words++ % 3], sizeof(r->words[0]), "%s", text);
}

/* --- failures --- */

static const char *node_of(const struct supervise *s, int rank)
{
    int node = s->ranks.node[rank];

    return node < 0 ? "an unknown node" : s->nodes.name[node];
}

/* What is known, as a sentence. */
static void describe(const struct supervise *s, double now_s, char *out,
                     size_t bytes)
{
    const struct supervise_ranks *r = &s->ranks;
    const struct supervise_suspicion *q = &r->suspicion;
    const char *node = node_of(s, q->rank);
    int end = r->task_end[q->rank];
    long long step = (long long)r->roster.state[q->rank].step;

    if (q->hung)
        snprintf(out, bytes,
                 "rank %d on %s hangs after step %lld: nothing heard of it for "
                 "%.1f s%s%s",
                 q->rank, node, step, now_s - q->began_s,
                 q->stack[0] ? "; it " : "", q->stack);
    else if (q->said_bye && q->status == MUP_USAGE) /* all of them say so */
        snprintf(out, bytes, "%.600s", q->text);
    else if (q->said_bye)
        snprintf(out, bytes, "rank %d on %s: %.500s", q->rank, node, q->text);
    else if (end > 0)
        snprintf(out, bytes,
                 "rank %d on %s was killed by signal %d (%s) at step %lld",
                 q->rank, node, end, strsignal(end), step);
    else if (end < 0)
        snprintf(out, bytes,
                 "rank %d on %s ended with exit status %d at step %lld; last "
                 "line of the log: %.200s",
                 q->rank, node, -end, step,
                 r->n_words ? r->words[(r->n_words - 1) % 3] : "");
    else
        snprintf(out, bytes, "rank %d on %s died at step %lld", q->rank, node,
                 step);
}

/* The rank that the sentence names, not who says it first. */
static int named_rank(const struct supervise *s)
{
    int rank = failure_rank(s->ranks.suspicion.text);

    return rank >= 0 && rank < s->ranks.n ? rank : s->ranks.suspicion.rank;
}

static void tell_failure(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    struct supervise_suspicion *q = &r->suspicion;
    int end = r->task_end[q->rank], rank = named_rank(s);
    char text[SUPERVISOR_TEXT_BYTES];
    const struct failure_evidence evidence = {
        .hung = q->hung,
        .said_bye = q->said_bye,
        .status = q->said_bye ? q->status
                  : end < 0   ? -end
                              : 0,
        .signal = end > 0 ? end : 0,
        .text = q->text,
    };
    struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .now_s = now_s,
        .incarnation = r->incarnation,
        .failure = failure_classify(&evidence),
        .node = r->node[rank],
        .status = q->said_bye && q->status ? q->status : MUP_DEVICE,
        .text = text,
    };

    describe(s, now_s, text, sizeof(text));
    s->began_s = q->began_s;
    r->done = 1;
    supervise_tell(s, &e);
}

/* A rank that ended before it could say hello: no program, no library.  srun
 * knows its number, and places ranks in the order of nodes. */
static void find_unborn(struct supervise *s)
{
    struct supervise_ranks *r = &s->ranks;
    int per_node = (int)s->config.slurm.ranks_per_node, place = 0;

    for (int i = 0; i < r->n; i++) {
        if (!r->task_end[i] || r->roster.state[i].pid)
            continue;
        for (int n = 0; n < s->nodes.n && r->node[i] < 0; n++)
            if (s->machine.node[n].use == NODE_TRAINING &&
                place++ == i / per_node)
                r->node[i] = n;
        suspect(s, i, clock_s(), NULL);
        return;
    }
}

/* All are there, and some do not get to the others: MPI or its way through
 * PMIx.  Starting again helps, as a rule. */
static void tell_not_joined(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    char text[160];
    struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .now_s = now_s,
        .incarnation = r->incarnation,
        .failure = { FAILURE_HUNG, 0, 0 },
        .node = -1,
        .status = MUP_DEVICE,
        .text = text,
    };
    int missing = 0;

    for (int i = 0; i < r->n; i++)
        missing += r->reached[i] < TRAIN_JOINED;
    snprintf(text, sizeof(text),
             "%d of %d ranks did not find the others within %.3g s "
             "(recover.join_s)",
             missing, r->n, s->config.recover.join_s);
    s->began_s = r->started_s;
    r->done = 1;
    supervise_tell(s, &e);
}

static int is_late_to_join(const struct supervise *s, double now_s)
{
    const struct supervise_ranks *r = &s->ranks;

    if (r->hellos < r->n || now_s - r->hello_s < s->config.recover.join_s)
        return 0;
    for (int i = 0; i < r->n; i++)
        if (r->reached[i] < TRAIN_JOINED)
            return 1;
    return 0;
}

/* SLURM made no step, so that no rank lives: the controller is away, or is back
 * and has not heard of its nodes yet.  No start has failed: srun is asked
 * again, for as long as ranks may take to come up. */
static int ask_again(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    struct mup_error err = { 0 };
    double limit_s = r->refused == STEP_NO_CONTROLLER
                         ? s->config.recover.setup_s
                         : REFUSED_S;

    if (!r->refused || r->hellos || now_s - r->started_s > limit_s)
        return 0;
    if (now_s - r->exited_s < REFUSED_PAUSE_S)
        return 1;
    if (r->n_refused++ == 0)
        supervise_note(s, "SLURM starts no ranks now and is asked again: %s",
                       r->n_words ? r->words[(r->n_words - 1) % 3] : "");
    step_close(&r->step);
    r->refused = STEP_NOT_REFUSED;
    r->exited_s = 0;
    return start_step(s, &err) == MUP_OK;
}

/* srun has ended, and no rank has said why. */
static void tell_no_start(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    char text[SUPERVISOR_TEXT_BYTES];
    struct supervisor_event e = {
        .kind = EVENT_FAILED,
        .now_s = now_s,
        .incarnation = r->incarnation,
        .failure = { FAILURE_PROCESS, 0, 0 },
        .node = -1,
        .status = MUP_DEVICE,
        .text = text,
    };

    snprintf(text, sizeof(text), "srun ended before all ranks came up: %.400s",
             r->n_words ? r->words[(r->n_words - 1) % 3] : "it gave no reason");
    r->done = 1;
    supervise_tell(s, &e);
}

/* Outside of checkpoints. */
static double silence_s(const struct supervise *s)
{
    const struct recover_config *c = &s->config.recover;
    double longest = 0, limit;

    if (c->step_s > 0)
        return c->step_s;
    for (int i = 0; i < s->ranks.n; i++)
        if (s->ranks.roster.state[i].longest_s > longest)
            longest = s->ranks.roster.state[i].longest_s;
    limit = HUNG_FACTOR * longest;
    return limit > HUNG_LEAST ? limit : HUNG_LEAST;
}

/* Ranks that wait for others still beat: who is silent is who hangs. */
static void find_hung(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    const double step_s = silence_s(s);
    char line[64];
    int hung = -1;

    for (int i = 0; i < r->n; i++) {
        const struct rank_state *state = &r->roster.state[i];
        const double limit_s = state->phase == TRAIN_CHECKPOINT
                                   ? s->config.recover.checkpoint_s
                                   : step_s;

        if (!state->connected || state->bye || state->phase < TRAIN_STEP)
            continue;
        if (now_s - state->last_s > limit_s &&
            (hung < 0 || state->last_s < r->roster.state[hung].last_s))
            hung = i;
    }
    if (hung < 0)
        return;
    suspect(s, hung, r->roster.state[hung].last_s, NULL);
    r->suspicion.hung = 1;
    snprintf(line, sizeof(line), "stack %lld",
             (long long)r->roster.state[hung].pid);
    if (r->node[hung] >= 0)
        (void)roster_say(&s->agents, r->node[hung], line);
}

/* --- the end --- */

static void tell_done(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    struct supervisor_event e = {
        .kind = EVENT_DONE,
        .now_s = now_s,
        .incarnation = r->incarnation,
        .node = -1,
        .status = r->roster.state[0].status,
        .text = r->last_words,
    };

    r->done = 1;
    supervise_tell(s, &e);
}

void supervise_clear_ranks(struct supervise *s, double now_s)
{
    s->ranks.clear_s = now_s;
    step_kill(&s->ranks.step);
    supervise_clear_nodes(s);
}

/* Does no rank live on that node, as far as it matters? */
static int is_clear(const struct supervise *s, int node, double now_s)
{
    const struct supervise_ranks *r = &s->ranks;
    const struct supervise_node *n = &s->node[node];
    double since_s = n->lost_s > r->clear_s ? n->lost_s : r->clear_s;
    int known = 0, living = 0;

    if (!n->lost)
        return n->cleared;
    for (int i = 0; r->open && i < r->n; i++)
        if (r->node[i] == node) {
            known++;
            living += r->roster.state[i].connected;
        }
    /* Closed connections: its ranks have ended.  Else they may live behind a
     * network that is cut, for as long as their lease. */
    if (known == s->config.slurm.ranks_per_node && !living)
        return 1;
    return now_s - since_s > s->config.recover.lease_s + LEASE_MARGIN_S;
}

static void watch_clearing(struct supervise *s, double now_s)
{
    struct supervisor_event e = { .kind = EVENT_CLEARED, .node = -1 };

    for (int i = 0; i < s->nodes.n; i++)
        if (!is_clear(s, i, now_s)) {
            if (!s->node[i].lost && now_s - s->ranks.clear_s > CLEAR_S)
                supervise_lose_node(s, i, now_s,
                                    "its agent did not end the ranks there");
            return;
        }
    supervise_close_ranks(s);
    e.step = supervise_newest_checkpoint(s);
    e.now_s = clock_s();
    incident_mark(&s->incident, MARK_FENCED, e.now_s);
    supervise_tell(s, &e);
}

void supervise_watch_ranks(struct supervise *s, double now_s)
{
    struct supervise_ranks *r = &s->ranks;
    const struct supervise_suspicion *q = &r->suspicion;

    if (r->open) {
        step_read(&r->step, take_line, s);
        (void)step_reap(&r->step);
    }
    if (s->machine.phase == SUPERVISOR_CLEARING) {
        watch_clearing(s, now_s);
        return;
    }
    if (!r->open || r->done)
        return;
    if (now_s - r->alive_s > SUPERVISE_ALIVE_S) {
        roster_alive(&r->roster);
        r->alive_s = now_s;
    }
    if (!q->open && r->hellos < r->n)
        find_unborn(s);
    if (!q->open)
        find_hung(s, now_s);
    if (q->open &&
        now_s - q->since_s > (q->hung && !q->stack[0] ? STACK_S : EVIDENCE_S))
        tell_failure(s, now_s);
    else if (!q->open && !r->stepped && is_late_to_join(s, now_s))
        tell_not_joined(s, now_s);
    else if (!q->open && r->byes == r->n &&
             (r->step.exited || now_s - r->byes_s > SRUN_S))
        tell_done(s, now_s);
    else if (!q->open && r->step.exited && r->byes < r->n) {
        if (r->exited_s <= 0)
            r->exited_s = now_s;
        else if (now_s - r->exited_s > EVIDENCE_S && !ask_again(s, now_s))
            tell_no_start(s, now_s);
    }
}
