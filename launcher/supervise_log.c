#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "launcher/journal.h"
#include "launcher/json.h"
#include "launcher/supervise.h"
#include "model/clock.h"

double supervise_unix_s(void)
{
    struct timespec t = { 0 };

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void supervise_note(struct supervise *s, const char *format, ...)
{
    char text[1400], when[16];
    time_t now = time(NULL);
    struct tm tm;
    va_list ap;

    (void)s;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    (void)strftime(when, sizeof(when), "%H:%M:%S", localtime_r(&now, &tm));
    fprintf(stderr, "%s %s\n", when, text);
    (void)fflush(stderr);
}

void supervise_log(struct supervise *s, json_t *event)
{
    struct mup_error err = { 0 };

    if (scribe_put(&s->scribe, SCRIBE_EVENT, event, &err) != MUP_OK)
        supervise_note(s, "%s", err.text);
}

json_t *supervise_node_names(const struct supervise *s, int use)
{
    json_t *names = json_array();

    for (int i = 0; i < s->nodes.n; i++)
        if (s->machine.node[i].use == use)
            json_array_append_new(names, json_string(s->nodes.name[i]));
    return names;
}

static json_t *node_json(const struct supervise *s, int node)
{
    const struct supervise_ranks *r = &s->ranks;
    json_t *o = json_object(), *ranks = json_array();
    double compute_s = 0;
    int64_t step = 0;

    for (int i = 0; r->open && i < r->n; i++) {
        const struct rank_state *state = &r->roster.state[i];

        if (r->node[i] != node)
            continue;
        json_array_append_new(ranks, json_integer(i));
        if (state->compute_s > compute_s)
            compute_s = state->compute_s;
        if (state->step > step)
            step = state->step;
    }
    json_object_set_new(o, "name", json_string(s->nodes.name[node]));
    json_object_set_new(
        o, "use", json_string(supervisor_use_name(s->machine.node[node].use)));
    json_object_set_new(o, "strikes",
                        json_integer(s->machine.node[node].strikes));
    json_object_set_new(o, "ranks", ranks);
    json_object_set_new(o, "step", json_integer(step));
    json_object_set_new(o, "compute_s", json_real(compute_s));
    json_object_set_new(o, "text", json_string(s->node[node].text));
    return o;
}

/* Replaced as a whole, so that readers never wait. */
void supervise_write_state(struct supervise *s, double now_s)
{
    const int64_t steps = s->config.train.steps;
    const double tokens = (double)(s->config.train.batch * s->config.model.seq);
    json_t *o = json_object(), *nodes = json_array();
    const char *loss;
    double value;
    double per_step_s =
        s->best_step > 0 ? s->trained_s / (double)s->best_step : 0;

    s->state_s = now_s;
    for (int i = 0; i < s->nodes.n; i++)
        json_array_append_new(nodes, node_json(s, i));
    json_object_set_new(o, "time", json_real(supervise_unix_s()));
    json_object_set_new(o, "job", json_integer(s->job));
    json_object_set_new(o, "restart", json_integer(s->restart));
    json_object_set_new(o, "host", json_string(s->here));
    json_object_set_new(o, "phase",
                        json_string(supervisor_phase_name(s->machine.phase)));
    json_object_set_new(o, "incarnation", json_integer(s->ranks.incarnation));
    json_object_set_new(o, "step", json_integer(s->last_step));
    json_object_set_new(o, "best_step", json_integer(s->best_step));
    json_object_set_new(o, "steps", json_integer(steps));
    json_object_set_new(o, "progress", json_string(s->ranks.progress));
    json_object_set_new(
        o, "eta_s",
        per_step_s > 0 ? json_real(per_step_s * (double)(steps - s->last_step))
                       : json_null());
    loss = strstr(s->ranks.progress, "loss ");
    if (loss && sscanf(loss, "loss %lf", &value) == 1)
        json_object_set_new(o, "loss", json_number(value));
    if (s->each_s > 0)
        json_object_set_new(o, "tokens_per_s", json_number(tokens / s->each_s));
    json_object_set_new(o, "saved_step", json_integer(s->saved_step));
    json_object_set_new(o, "saved_unix_s", json_real(s->saved_unix_s));
    json_object_set_new(o, "trained_s", json_real(s->trained_s));
    json_object_set_new(o, "started_unix_s", json_real(s->first_unix_s));
    json_object_set_new(o, "limit_unix_s", json_real(s->limit_unix_s));
    json_object_set_new(o, "nodes", nodes);
    /* again in a second */
    (void)scribe_put(&s->scribe, SCRIBE_STATE, o, NULL);
}

/* --- incidents --- */

static void log_failure(struct supervise *s, const char *node)
{
    const struct supervise_suspicion *q = &s->ranks.suspicion;
    json_t *o = launch_log_new("failure");

    if (o) {
        json_object_set_new(o, "incarnation",
                            json_integer(s->ranks.incarnation));
        json_object_set_new(o, "class",
                            json_string(failure_name(s->machine.last.class)));
        json_object_set_new(o, "node", json_string(node));
        json_object_set_new(o, "rank", json_integer(q->open ? q->rank : -1));
        json_object_set_new(o, "step", json_integer(s->last_step));
        json_object_set_new(o, "text", json_string(s->machine.last_text));
    }
    if (o && q->stack[0])
        json_object_set_new(o, "stack", json_string(q->stack));
    if (s->machine.last.class == FAILURE_FENCED)
        json_decref(o); /* the folder is another's */
    else
        supervise_log(s, o);
}

void supervise_begin_incident(struct supervise *s, double now_s)
{
    const struct supervisor *m = &s->machine;
    const char *node = m->last_node >= 0 ? s->nodes.name[m->last_node] : "";
    double began_s = s->began_s > 0 ? s->began_s : now_s;
    struct incident *i = &s->incident;

    s->began_s = 0;
    log_failure(s, node);
    supervise_note(s, "%s: %s", failure_title(m->last.class), m->last_text);
    if (i->open) /* another fault while recovering: one gap in training */
        return;
    *i = (struct incident){ .open = 1, .last_step = s->last_step };
    snprintf(i->class, sizeof(i->class), "%s", failure_name(m->last.class));
    snprintf(i->node, sizeof(i->node), "%s", node);
    snprintf(i->text, sizeof(i->text), "%s", m->last_text);
    i->began_unix_s = supervise_unix_s() - (clock_s() - began_s);
    incident_mark(i, MARK_BEGAN, began_s);
    incident_mark(i, MARK_DETECTED, now_s);
}

void supervise_end_incident(struct supervise *s, double now_s)
{
    struct incident *i = &s->incident;
    char text[512];

    incident_mark(i, MARK_STEPPED, now_s);
    if (!i->open)
        return;
    i->incarnation = s->ranks.incarnation;
    incident_text(i, text, sizeof(text));
    supervise_note(s, "%s", text);
    supervise_log(s, incident_json(i));
    i->open = 0;
}

/* Of a gap in training that began in an earlier job: since when (0: there is
 * none that the journal knows), why, and whether somebody meant it. */
struct gap {
    double began_unix_s;
    const char *text;
    int planned, over;
};

static void read_gap(const json_t *event, struct gap *g)
{
    const char *kind = journal_text(event, "event");

    if (!strcmp(kind, "incarnation")) {
        *g = (struct gap){ 0 };
    } else if (!strcmp(kind, "supervisor")) {
        /* one that came no further than its start passes the gap on */
        *g = (struct gap){ journal_real(event, "gap_unix_s"),
                           journal_text(event, "gap_text"),
                           (int)journal_int(event, "gap_planned"), 0 };
    } else if (!strcmp(kind, "ended")) {
        g->over = 1; /* who starts it again has not waited for it */
    } else if (!strcmp(kind, "requeued") || !strcmp(kind, "wish")) {
        if (g->began_unix_s > 0)
            return;
        g->began_unix_s = journal_real(event, "time");
        g->planned = 1;
        g->text = !strcmp(journal_text(event, "wish"), "limit")
                      ? "the job's time is over"
                      : "queued again";
        if (*journal_text(event, "text"))
            g->text = journal_text(event, "text");
    }
}

void supervise_continue_incident(struct supervise *s,
                                 const struct launch_log *log)
{
    struct incident *i = &s->incident;
    double now = supervise_unix_s();
    struct gap g = { 0 };
    json_t *event;
    size_t k;

    json_array_foreach(log->events, k, event) read_gap(event, &g);
    if (log->first_unix_s <= 0 || g.over)
        return;
    if (g.began_unix_s <= 0) { /* nobody said good-bye */
        json_t *o = launch_state_read(s->dir);

        g.began_unix_s = journal_real(o, "time");
        g.text = "its batch host was lost";
        json_decref(o);
    }
    *i = (struct incident){ .open = 1,
                            .planned = g.planned,
                            .last_step = s->last_step,
                            .began_unix_s = g.began_unix_s };
    snprintf(i->class, sizeof(i->class), "%s",
             failure_name(g.planned ? FAILURE_PREEMPTED : FAILURE_NODE));
    snprintf(i->text, sizeof(i->text), "%s", g.text);
    i->at[MARK_BEGAN] =
        clock_s() -
        (g.began_unix_s > 0 && g.began_unix_s < now ? now - g.began_unix_s : 0);
}
