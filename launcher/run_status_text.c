/* What status says of a run: looks at nothing but struct run_status. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "launcher/failure.h"
#include "launcher/journal.h"
#include "launcher/json.h"
#include "launcher/run_status.h"
#include "launcher/units.h"

static const struct {
    const char *key, *title;
} parts[] = {
    { "detect_s", "detect" },         { "fence_s", "fence" },
    { "replace_s", "replace" },       { "relaunch_s", "relaunch" },
    { "rendezvous_s", "rendezvous" }, { "load_s", "load" },
    { "first_step_s", "first step" },
};
#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

/* ---- for people ---------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void
put_row(FILE *out, const char *name, const char *format, ...)
{
    va_list args;

    fprintf(out, "  %-12s ", name);
    va_start(args, format);
    (void)vfprintf(out, format, args);
    va_end(args);
    (void)fputc('\n', out);
}

static const char *end_name(int status)
{
    switch (status) {
    case MUP_OK:
        return "done";
    case MUP_DIVERGED:
        return "the loss diverged";
    case MUP_STOPPED:
        return "stopped, state saved";
    default:
        return "failed";
    }
}

static int is_waiting(const struct run_status *s)
{
    return s->scheduler == SCHEDULER_ANSWERED &&
           (s->job.state == CLUSTER_PENDING || s->job.state == CLUSTER_HELD);
}

void run_status_headline(const struct run_status *s, char *out, size_t bytes)
{
    const struct launch_log *log = &s->log;
    const char *phase = journal_text(s->state, "phase");
    const char *wish = log->cancelled ? ", to be cancelled" : "";

    if (log->submitting)
        snprintf(out, bytes,
                 "a submission has no answer yet; 'mutransfer launch' finds "
                 "its job or submits again");
    else if (log->ended)
        snprintf(out, bytes, "%s (exit code %d)", end_name(log->status),
                 log->status);
    else if (is_waiting(s))
        snprintf(out, bytes, "%s%s%s%s",
                 log->first_unix_s > 0 ? "waits to go on" : "waits for nodes",
                 s->job.reason[0] ? ": " : "", s->job.reason, wish);
    else if (run_status_is_over(s))
        snprintf(out, bytes,
                 "its job is gone (%s) and left no last word; 'mutransfer "
                 "launch' continues it",
                 s->job.state == CLUSTER_NO_JOB ? "the controller knows none"
                                                : s->job.state_name);
    else if (isfinite(s->silent_since_unix_s))
        snprintf(out, bytes, "its supervisor has been silent since %s (%s)%s",
                 status_time(s->silent_since_unix_s).text,
                 units_seconds(s->now_unix_s - s->silent_since_unix_s).text,
                 wish);
    else if (log->supervised)
        snprintf(out, bytes, "%s%s",
                 !s->state                 ? "starting"
                 : !strcmp(phase, "sweep") ? "runs its trials"
                                           : phase,
                 wish);
    else if (log->job)
        snprintf(out, bytes, "submitted; its job has not begun to report%s",
                 wish);
    else
        snprintf(out, bytes, "not submitted");
}

static void put_job(const struct run_status *s, FILE *out)
{
    const struct launch_log *log = &s->log;
    char job[32];

    if (log->job == 0)
        return;
    snprintf(job, sizeof(job), "%lld", (long long)log->job);
    if (s->scheduler == SCHEDULER_ANSWERED && s->job.state == CLUSTER_NO_JOB)
        put_row(out, "job", "%s, which the controller does not know", job);
    else if (s->scheduler == SCHEDULER_ANSWERED)
        put_row(out, "job", "%s, %s%s%s", job, s->job.state_name,
                s->job.nodes[0] ? " on " : "", s->job.nodes);
    else if (s->scheduler == SCHEDULER_SILENT)
        put_row(out, "job", "%s; %s, so this is from the journal", job,
                s->no_answer);
    else
        put_row(out, "job", "%s", job);
}

static void put_progress(const struct run_status *s, FILE *out)
{
    if (s->step >= 0 && s->steps > 0)
        put_row(out, "step", "%s of %s (%.1f %%)", units_count(s->step).text,
                units_count(s->steps).text,
                100 * (double)s->step / (double)s->steps);
    else if (s->step >= 0)
        put_row(out, "step", "%s", units_count(s->step).text);
    /* Of the last batch; the sentence of a run that is done says its mean. */
    if (isfinite(s->loss) && !(s->log.ended && s->log.status == MUP_OK))
        put_row(out, "loss", "%.4f nats per token", s->loss);
    if (s->tokens_per_s > 0 && isfinite(s->eta_s))
        put_row(out, "speed", "%s tokens/s",
                units_count((int64_t)fmin(s->tokens_per_s, 1e15)).text);
    if (s->saved_step > 0 && s->log.ended)
        put_row(out, "checkpoint", "step %s", units_count(s->saved_step).text);
    else if (s->saved_step > 0 && s->saved_unix_s > 0)
        put_row(out, "checkpoint", "step %s, %s ago",
                units_count(s->saved_step).text,
                units_seconds(fmax(0, s->now_unix_s - s->saved_unix_s)).text);
    else if (s->state)
        put_row(out, "checkpoint", "none yet");
}

static void put_history(const struct run_status *s, FILE *out)
{
    const struct launch_log *log = &s->log;
    const double limit = journal_real(s->state, "limit_unix_s");
    const double goodput = run_status_goodput(s);

    if (log->incarnations > 0)
        put_row(out, "incarnation", "%lld; job restarts: %lld, incidents: %lld",
                (long long)log->incarnations, (long long)log->restarts,
                (long long)log->incidents);
    if (isfinite(goodput) && (goodput > 0 || log->ended))
        put_row(out, "goodput", "%s%.1f %% (%s trained in %s)",
                isfinite(s->silent_since_unix_s) ? "at least " : "",
                100 * goodput, units_seconds(s->trained_s).text,
                units_seconds(s->wall_s).text);
    if (isfinite(s->eta_s) && s->eta_s >= 0)
        put_row(out, "finishes", "in %s", units_seconds(s->eta_s).text);
    if (limit > s->now_unix_s && !log->ended)
        put_row(out, "job's time", "over in %s",
                units_seconds(limit - s->now_unix_s).text);
    if (s->failure[0])
        put_row(out, "failure", "%s", s->failure);
}

/* Why a node is where it is. */
static void put_reason(const struct run_status *s, const struct status_node *n,
                       char *out, size_t bytes)
{
    const int over = (double)n->until_unix_s <= s->now_unix_s;

    if (n->until_unix_s > 0)
        snprintf(out, bytes, "%s %s%s%s%s", over ? "was until" : "until",
                 status_time((double)n->until_unix_s).text,
                 n->text[0] ? ": " : "", n->text,
                 n->elsewhere ? " (not in this job)" : "");
    else
        snprintf(out, bytes, "%s", n->text);
}

static void put_node(const struct run_status *s, const struct status_node *n,
                     int width, FILE *out)
{
    const int works = n->ranks[0] != '\0';
    char line[600], reason[400], work[32] = "";
    size_t end;

    if (works && n->compute_s < 0.1)
        snprintf(work, sizeof(work), "%.3g ms", 1e3 * n->compute_s);
    else if (works && isfinite(n->compute_s))
        snprintf(work, sizeof(work), "%s", units_seconds(n->compute_s).text);
    put_reason(s, n, reason, sizeof(reason));
    snprintf(line, sizeof(line), "  %-*s  %-8s  %-8s  %9s  %9s  %s", width,
             n->name, n->use, n->ranks,
             works && n->step >= 0 ? units_count(n->step).text : "", work,
             reason);
    for (end = strlen(line); end > 0 && line[end - 1] == ' '; end--)
        ;
    fprintf(out, "%.*s\n", (int)end, line);
}

/* Of a run that is over only those that were ejected matter. */
static int is_shown(const struct run_status *s, const struct status_node *n)
{
    return !s->log.ended || n->until_unix_s > 0;
}

static void put_nodes(const struct run_status *s, FILE *out)
{
    int width = 4, shown = 0;

    for (int i = 0; i < s->n_nodes; i++) {
        shown += is_shown(s, &s->node[i]);
        if ((int)strlen(s->node[i].name) > width)
            width = (int)strlen(s->node[i].name);
    }
    if (shown == 0)
        return;
    fprintf(out, "\n  %-*s  %-8s  %-8s  %9s  %9s\n", width, "node", "use",
            "ranks", "step", "work/step");
    for (int i = 0; i < s->n_nodes; i++)
        if (is_shown(s, &s->node[i]))
            put_node(s, &s->node[i], width, out);
}

const char *status_class_title(const char *name)
{
    for (int i = 0; i < FAILURE_CLASSES; i++)
        if (!strcmp(name, failure_name(i)))
            return failure_title(i);
    return *name ? name : "cause not known";
}

const char *status_incident_title(const json_t *e)
{
    static const char over[] = "the job's time is over";

    if (journal_int(e, "planned") &&
        !strncmp(journal_text(e, "text"), over, sizeof(over) - 1))
        return "the job's time was over";
    return status_class_title(journal_text(e, "class"));
}

static void put_incident(const json_t *e, int number, FILE *out)
{
    const char *node = journal_text(e, "node");
    const int64_t replayed = journal_int(e, "replayed_steps");

    fprintf(out, "  %d  %s  %s%s%s%s: %s", number,
            status_time(journal_real(e, "began_unix_s")).text,
            journal_int(e, "planned") ? "planned, " : "",
            status_incident_title(e), *node ? ", " : "", node,
            units_seconds(journal_real(e, "total_s")).text);
    if (replayed > 0)
        fprintf(out, ", %s step%s repeated", units_count(replayed).text,
                replayed > 1 ? "s" : "");
    fprintf(out, "\n    ");
    for (size_t k = 0; k < N_PARTS; k++)
        fprintf(out, "%s%s %s", k ? ", " : " ", parts[k].title,
                units_seconds(journal_real(e, parts[k].key)).text);
    (void)fputc('\n', out);
}

void run_status_print_incidents(const json_t *events, size_t most, FILE *out)
{
    const json_t *e;
    size_t i, n = 0, k = 0;

    json_array_foreach(events, i, e)
    {
        n += !strcmp(journal_text(e, "event"), "incident");
    }
    if (n == 0)
        return;
    if (n > most)
        fprintf(out, "\n  incidents, the last %zu of %zu:\n", most, n);
    else
        fprintf(out, "\n  incidents:\n");
    json_array_foreach(events, i, e)
    {
        if (strcmp(journal_text(e, "event"), "incident") != 0)
            continue;
        if (n - k++ <= most)
            put_incident(e, (int)k, out);
    }
}

void run_status_print(const struct run_status *s, FILE *out)
{
    char headline[512];

    run_status_headline(s, headline, sizeof(headline));
    fprintf(out, "%s: %s\n", s->dir, headline);
    if (s->log.ended && s->log.text[0])
        fprintf(out, "  %s\n", s->log.text);
    put_job(s, out);
    put_progress(s, out);
    put_history(s, out);
    put_nodes(s, out);
    run_status_print_incidents(s->log.events, 5, out);
}

/* ---- for programs -------------------------------------------------------- */

static json_t *whole(int64_t n)
{
    return n < 0 ? json_null() : json_integer(n);
}

static json_t *job_json(const struct run_status *s)
{
    const int known = s->scheduler == SCHEDULER_ANSWERED;
    json_t *o = json_object();

    if (s->log.job == 0) {
        json_decref(o);
        return json_null();
    }
    json_object_set_new(o, "id", json_integer(s->log.job));
    json_object_set_new(o, "state",
                        known ? journal_string(s->job.state == CLUSTER_NO_JOB
                                                   ? "NONE"
                                                   : s->job.state_name)
                              : json_null());
    json_object_set_new(o, "reason",
                        known ? journal_string(s->job.reason) : json_null());
    json_object_set_new(o, "source",
                        json_string(known ? "scheduler" : "journal"));
    json_object_set_new(o, "no_answer",
                        s->no_answer[0] ? journal_string(s->no_answer)
                                        : json_null());
    return o;
}

static json_t *nodes_json(const struct run_status *s)
{
    json_t *list = json_array();

    for (int i = 0; i < s->n_nodes; i++) {
        const struct status_node *n = &s->node[i];
        json_t *o = json_object();

        json_object_set_new(o, "name", journal_string(n->name));
        json_object_set_new(o, "use", journal_string(n->use));
        json_object_set_new(o, "ranks", json_string(n->ranks));
        json_object_set_new(o, "step", whole(n->step));
        json_object_set_new(o, "compute_s", json_number(n->compute_s));
        json_object_set_new(o, "class", journal_string(n->class));
        json_object_set_new(o, "text", journal_string(n->text));
        json_object_set_new(o, "until_unix_s",
                            n->until_unix_s ? whole(n->until_unix_s)
                                            : json_null());
        json_object_set_new(o, "in_job", json_boolean(!n->elsewhere));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *incidents_json(const json_t *events)
{
    json_t *list = json_array(), *e;
    size_t i;

    json_array_foreach(events, i, e)
    {
        if (!strcmp(journal_text(e, "event"), "incident"))
            json_array_append(list, e);
    }
    return list;
}

static json_t *ended_json(const struct run_status *s)
{
    if (!s->log.ended)
        return json_null();
    return json_pack("{s:i, s:o, s:o}", "status", s->log.status, "text",
                     journal_string(s->log.text), "unix_s",
                     json_number(s->log.ended_unix_s));
}

static void put_launch(const struct run_status *s, json_t *o)
{
    const char *phase = journal_text(s->state, "phase");
    char headline[512];

    run_status_headline(s, headline, sizeof(headline));
    json_object_set_new(o, "headline", journal_string(headline));
    json_object_set_new(o, "phase",
                        *phase && !s->log.ended ? journal_string(phase)
                                                : json_null());
    json_object_set_new(o, "over", json_boolean(run_status_is_over(s)));
    json_object_set_new(o, "ended", ended_json(s));
    json_object_set_new(o, "cancelled", json_boolean(s->log.cancelled));
    json_object_set_new(o, "job", job_json(s));
    json_object_set_new(o, "incarnation", json_integer(s->log.incarnations));
    json_object_set_new(o, "restarts", json_integer(s->log.restarts));
    json_object_set_new(o, "step", whole(s->step));
    json_object_set_new(o, "steps", whole(s->steps));
    json_object_set_new(o, "loss", json_number(s->loss));
    json_object_set_new(o, "tokens_per_s", json_number(s->tokens_per_s));
    json_object_set_new(o, "eta_s", json_number(s->eta_s));
    json_object_set_new(o, "saved_step", whole(s->saved_step));
    json_object_set_new(o, "saved_unix_s", json_number(s->saved_unix_s));
    json_object_set_new(o, "trained_s", json_number(s->trained_s));
    json_object_set_new(o, "wall_s", json_number(s->wall_s));
    json_object_set_new(o, "goodput", json_number(run_status_goodput(s)));
    json_object_set_new(o, "silent_since_unix_s",
                        json_number(s->silent_since_unix_s));
    json_object_set_new(
        o, "failure", s->failure[0] ? journal_string(s->failure) : json_null());
    json_object_set_new(o, "nodes", nodes_json(s));
    json_object_set_new(o, "incidents", incidents_json(s->log.events));
}

json_t *run_status_json(const struct run_status *s)
{
    json_t *o = json_object();

    json_object_set_new(o, "dir", journal_string(s->dir));
    json_object_set_new(o, "time", json_number(s->now_unix_s));
    if (s->event)
        json_object_set(o, "event", s->event);
    if (s->metrics)
        json_object_set(o, "metrics", s->metrics);
    if (s->is_launched)
        put_launch(s, o);
    return o;
}
