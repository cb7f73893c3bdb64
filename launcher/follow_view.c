#include "launcher/follow_view.h"

#include <stdio.h>
#include <string.h>

#include "launcher/journal.h"
#include "launcher/units.h"

static size_t append(char *out, size_t bytes, size_t at, const char *text)
{
    if (at < bytes)
        at += (size_t)snprintf(out + at, bytes - at, "%s", text);
    return at;
}

/* "node1, node2, node3 and 5 more" of an array of names. */
static void name_nodes(const json_t *list, char *out, size_t bytes)
{
    const size_t n = json_array_size(list), most = 8;
    char more[40];
    size_t at = 0;

    out[0] = 0;
    for (size_t i = 0; i < n && i < most; i++) {
        const char *name = json_string_value(json_array_get(list, i));

        at = append(out, bytes, at, i ? ", " : "");
        at = append(out, bytes, at, name ? name : "?");
    }
    snprintf(more, sizeof(more), " and %zu more", n - most);
    if (n > most)
        (void)append(out, bytes, at, more);
}

/* ---- the journal -----------------------------------------------------------
 */

static void show_supervisor(const json_t *e, char *out, size_t bytes)
{
    const json_int_t restart = journal_int(e, "restart");
    char nodes[700];

    name_nodes(json_object_get(e, "nodes"), nodes, sizeof(nodes));
    snprintf(out, bytes, "job %lld runs on %s%s",
             (long long)journal_int(e, "job"), nodes,
             restart > 0 ? ", queued again before" : "");
}

static void show_preflight(const json_t *e, char *out, size_t bytes)
{
    const json_t *bad = json_object_get(e, "bad");
    const size_t n = json_array_size(bad);
    size_t at = (size_t)snprintf(out, bytes, "checked %lld nodes in %.1f s: ",
                                 (long long)journal_int(e, "nodes"),
                                 journal_real(e, "seconds"));

    if (n == 0)
        (void)append(out, bytes, at, "all are well");
    for (size_t i = 0; i < n; i++) {
        const json_t *node = json_array_get(bad, i);

        at = append(out, bytes, at, i ? "; " : "");
        at = append(out, bytes, at, journal_text(node, "node"));
        at = append(out, bytes, at, ": ");
        at = append(out, bytes, at, journal_text(node, "reason"));
    }
}

static void show_incarnation(const json_t *e, char *out, size_t bytes)
{
    const json_t *spares = json_object_get(e, "spares");
    char names[500];
    int n;

    name_nodes(json_object_get(e, "nodes"), names, sizeof(names));
    n = snprintf(out, bytes, "incarnation %lld: %lld ranks on %s",
                 (long long)journal_int(e, "incarnation"),
                 (long long)journal_int(e, "ranks"), names);
    name_nodes(spares, names, sizeof(names));
    if (json_array_size(spares) > 0 && n > 0 && (size_t)n < bytes)
        (void)snprintf(out + n, bytes - (size_t)n, "; %s stand%s by", names,
                       json_array_size(spares) == 1 ? "s" : "");
}

/* Parts that took no time are left out. */
static void show_incident(const json_t *e, char *out, size_t bytes)
{
    static const struct {
        const char *key, *text;
    } parts[] = {
        { "detect_s", "detect" },         { "fence_s", "fence and kill" },
        { "replace_s", "replace" },       { "relaunch_s", "start" },
        { "rendezvous_s", "meet" },       { "load_s", "load" },
        { "first_step_s", "first step" },
    };
    const char *node = journal_text(e, "node"), *text = journal_text(e, "text");
    const long long replayed = journal_int(e, "replayed_steps");
    char part[64];
    const char *comma = " (";
    size_t at = (size_t)snprintf(
        out, bytes, "%s%s%s%s%s: training again after %.1f s",
        journal_int(e, "planned") ? "planned stop" : journal_text(e, "class"),
        *node ? ", " : "", node, *text ? ", " : "", text,
        journal_real(e, "total_s"));

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        double s = journal_real(e, parts[i].key);

        if (s < 0.05)
            continue;
        snprintf(part, sizeof(part), "%s%s %.1f", comma, parts[i].text, s);
        at = append(out, bytes, at, part);
        comma = ", ";
    }
    if (*comma == ',')
        at = append(out, bytes, at, ")");
    snprintf(part, sizeof(part), ", %lld step%s done again", replayed,
             replayed == 1 ? "" : "s");
    if (replayed > 0)
        (void)append(out, bytes, at, part);
}

static void show_ejected(const json_t *e, char *out, size_t bytes)
{
    double left = journal_real(e, "until_unix_s") - journal_real(e, "time");

    snprintf(
        out, bytes, "warning: %s is left out of jobs%s%s: %s%s",
        journal_text(e, "node"), left > 0 ? " for " : "",
        left > 0 ? units_seconds(left).text : "", journal_text(e, "reason"),
        json_is_true(json_object_get(e, "drained")) || journal_int(e, "drained")
            ? " (and drained)"
            : "");
}

static void show_wish(const json_t *e, char *out, size_t bytes)
{
    const char *wish = journal_text(e, "wish");
    const char *why = !strcmp(wish, "limit") ? "the job's time is over soon"
                      : !strcmp(wish, "preempt")
                          ? "the nodes are wanted for another job"
                          : "cancelled";

    snprintf(out, bytes, "%s: the ranks save and stop", why);
}

void follow_event_line(const json_t *event, char *out, size_t bytes)
{
    static const struct {
        const char *name;
        void (*show)(const json_t *, char *, size_t);
    } shown[] = {
        { "supervisor", show_supervisor },   { "preflight", show_preflight },
        { "incarnation", show_incarnation }, { "incident", show_incident },
        { "ejected", show_ejected },         { "wish", show_wish },
    };
    const char *name = journal_text(event, "event");

    out[0] = 0;
    if (!strcmp(name, "failure"))
        snprintf(out, bytes, "failure (%s)%s%s at step %lld: %s",
                 journal_text(event, "class"),
                 *journal_text(event, "node") ? " on " : "",
                 journal_text(event, "node"),
                 (long long)journal_int(event, "step"),
                 journal_text(event, "text"));
    if (!strcmp(name, "requeued"))
        snprintf(out, bytes, "the job is queued again: %s",
                 journal_text(event, "text"));
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        if (!strcmp(name, shown[i].name))
            shown[i].show(event, out, bytes);
}

/* ---- how it stands
 * ------------------------------------------------------------
 */

void follow_state_line(const json_t *state, char *out, size_t bytes)
{
    const char *phase = journal_text(state, "phase");
    const double loss = journal_real(state, "loss");
    const double speed = journal_real(state, "tokens_per_s");
    const long long number = journal_int(state, "incarnation");
    const json_t *list = json_object_get(state, "nodes"), *node;
    long long training = 0;
    size_t i;
    int n;

    if (!strcmp(phase, "sweep")) {
        snprintf(out, bytes, "%s", journal_text(state, "progress"));
        return;
    }
    json_array_foreach(list, i, node)
    {
        training += !strcmp(journal_text(node, "use"), "training");
    }
    n = snprintf(out, bytes, "step %lld/%lld",
                 (long long)journal_int(state, "step"),
                 (long long)journal_int(state, "steps"));
    if (!strcmp(phase, "training") && speed > 0)
        n += snprintf(out + n, bytes - (size_t)n, "  loss %.4f  %s  eta %s",
                      loss, units_si(speed, "tok/s").text,
                      units_seconds(journal_real(state, "eta_s")).text);
    else
        n += snprintf(out + n, bytes - (size_t)n, "  %.40s", phase);
    if (training > 0)
        n += snprintf(out + n, bytes - (size_t)n, "  %lld node%s", training,
                      training == 1 ? "" : "s");
    if (number > 1)
        (void)snprintf(out + n, bytes - (size_t)n, "  incarnation %lld",
                       number);
}

void follow_wait_line(const struct cluster_job *job, double now, char *out,
                      size_t bytes)
{
    const double wait = (double)job->start_unix_s - now;
    int n = snprintf(out, bytes, "job %lld waits", (long long)job->id);

    if (*job->reason && strcmp(job->reason, "None") != 0)
        n += snprintf(out + n, bytes - (size_t)n, ": %s", job->reason);
    if (job->start_unix_s > 0 && wait > 0)
        (void)snprintf(out + n, bytes - (size_t)n,
                       ", SLURM expects to start it "
                       "in %s",
                       units_seconds(wait).text);
}

void follow_held_line(const struct cluster_job *job, char *out, size_t bytes)
{
    snprintf(out, bytes,
             "warning: job %lld is held and does not start by itself: %s%s; "
             "'scontrol release %lld' lets it start",
             (long long)job->id, *job->reason ? job->reason : "held",
             strstr(job->reason, "launch failed")
                 ? " (a node could not start the job: 'sinfo -R' names nodes "
                   "that SLURM has drained since)"
                 : "",
             (long long)job->id);
}
