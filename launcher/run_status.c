#include "launcher/run_status.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "launcher/ask.h"
#include "launcher/journal.h"
#include "launcher/paths.h"
#include "model/config.h"
#include "model/lock.h"

struct status_time status_time(double unix_s)
{
    struct status_time t = { "?" };
    time_t seconds = (time_t)unix_s;
    struct tm tm;

    if (unix_s > 0 && unix_s < 1e11 && gmtime_r(&seconds, &tm))
        (void)strftime(t.text, sizeof(t.text), "%Y-%m-%d %H:%M:%S UTC", &tm);
    return t;
}

double status_now_s(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static int64_t count(const json_t *o, const char *key)
{
    return json_is_number(json_object_get(o, key)) ? journal_int(o, key) : -1;
}

static json_t *last_of(const char *dir, const char *name)
{
    char path[1200];

    return path_join(dir, name, path, sizeof(path), NULL) == MUP_OK
               ? journal_last(path)
               : NULL;
}

int run_status_is_launched(const char *dir)
{
    char path[1200];

    return path_join(dir, "launch.jsonl", path, sizeof(path), NULL) == MUP_OK &&
           path_exists(path);
}

/* The newest event of a name, or NULL; *at (may be NULL): its place. */
static const json_t *newest(const struct run_status *s, const char *name,
                            size_t *at)
{
    for (size_t i = json_array_size(s->log.events); i-- > 0;) {
        const json_t *e = json_array_get(s->log.events, i);

        if (strcmp(journal_text(e, "event"), name) != 0)
            continue;
        if (at)
            *at = i;
        return e;
    }
    return NULL;
}

/* ---- nodes --------------------------------------------------------------- */

/* [0, 1, 2, 5] is "0-2,5"; "..." ends a list that is too long. */
static void put_ranks(const json_t *ranks, char *out, size_t bytes)
{
    char text[96] = ""; /* 20 letters, two numbers, "..." */
    size_t n = json_array_size(ranks), used = 0;

    for (size_t i = 0, j; i < n && used <= 20; i = j) {
        long long first = json_integer_value(json_array_get(ranks, i));
        long long last = first;

        for (j = i + 1; j < n && last < INT_MAX; j++, last++)
            if (json_integer_value(json_array_get(ranks, j)) != last + 1)
                break;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lld",
                                 used ? "," : "", first);
        if (last > first)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "-%lld",
                                     last);
        if (used > 20 && j < n)
            snprintf(text + used, sizeof(text) - used, "...");
    }
    snprintf(out, bytes, "%s", text);
}

static struct status_node *add_node(struct run_status *s, const char *name,
                                    const char *use)
{
    struct status_node *node;

    node = realloc(s->node, ((size_t)s->n_nodes + 1) * sizeof(*node));
    if (!node)
        return NULL;
    s->node = node;
    node += s->n_nodes++;
    *node = (struct status_node){ .step = -1, .compute_s = NAN };
    snprintf(node->name, sizeof(node->name), "%s", name);
    snprintf(node->use, sizeof(node->use), "%s",
             strcmp(use, "ready") ? use : "spare");
    return node;
}

static int add_state_nodes(struct run_status *s)
{
    const json_t *o, *list = json_object_get(s->state, "nodes");
    size_t i;

    json_array_foreach(list, i, o)
    {
        struct status_node *node =
            add_node(s, journal_text(o, "name"), journal_text(o, "use"));

        if (!node)
            return 0;
        put_ranks(json_object_get(o, "ranks"), node->ranks,
                  sizeof(node->ranks));
        node->step = count(o, "step");
        node->compute_s = number(o, "compute_s");
        snprintf(node->text, sizeof(node->text), "%s", journal_text(o, "text"));
    }
    return 1;
}

/* Without launch.json: the nodes of the newest incarnation. */
static int add_journal_nodes(struct run_status *s)
{
    static const char *const key[] = { "nodes", "spares" };
    static const char *const use[] = { "training", "spare" };
    const json_t *o, *e = newest(s, "incarnation", NULL);
    size_t i;

    for (int k = 0; k < 2; k++)
        json_array_foreach(json_object_get(e, key[k]), i, o)
        {
            if (json_is_string(o) && !add_node(s, json_string_value(o), use[k]))
                return 0;
        }
    return 1;
}

static struct status_node *find_node(struct run_status *s, const char *name)
{
    for (int i = 0; i < s->n_nodes; i++)
        if (!strcmp(s->node[i].name, name))
            return &s->node[i];
    return NULL;
}

/* Why nodes are ejected, and those that are no part of this job any more. */
static int note_ejected(struct run_status *s, const json_t *event)
{
    const char *name = journal_text(event, "node");
    const int64_t until = journal_int(event, "until_unix_s");
    struct status_node *node = find_node(s, name);

    if (!node && (!*name || (double)until <= s->now_unix_s))
        return 1;
    if (!node) {
        node = add_node(s, name, "ejected");
        if (!node)
            return 0;
        node->elsewhere = 1;
    }
    /* Not one that trains: its line was taken back. */
    if (!strcmp(node->use, "lost") && (double)until > s->now_unix_s)
        snprintf(node->use, sizeof(node->use), "ejected");
    if (strcmp(node->use, "ejected") != 0)
        return 1;
    node->until_unix_s = until;
    snprintf(node->class, sizeof(node->class), "%s",
             journal_text(event, "class"));
    snprintf(node->text, sizeof(node->text), "%s",
             journal_text(event, "reason"));
    return 1;
}

static int gather_nodes(struct run_status *s, struct mup_error *err)
{
    const json_t *e;
    size_t i;
    int ok = s->state ? add_state_nodes(s) : add_journal_nodes(s);

    json_array_foreach(s->log.events, i, e)
    {
        if (ok && !strcmp(journal_text(e, "event"), "ejected"))
            ok = note_ejected(s, e);
    }
    return ok ? MUP_OK
              : mup_fail(err, MUP_SYSTEM, "out of memory for %d nodes",
                         s->n_nodes);
}

/* ---- all of it ----------------------------------------------------------- */

static void gather_progress(struct run_status *s)
{
    const json_t *from = s->state ? s->state : s->metrics;

    /* The last steps of a run may come after the last launch.json. */
    if (s->log.ended && count(s->metrics, "step") > count(from, "step"))
        from = s->metrics;
    s->step = count(from, "step");
    s->steps = count(s->state, "steps");
    s->loss = number(from, "loss");
    if (!isfinite(s->loss))
        s->loss = number(s->metrics, "loss");
    s->tokens_per_s = number(from, "tokens_per_s");
    if (!isfinite(s->tokens_per_s))
        s->tokens_per_s = number(s->metrics, "tokens_per_s");
    s->eta_s = number(s->state, "eta_s");
    s->saved_step = count(s->state, "saved_step");
    s->saved_unix_s = number(s->state, "saved_unix_s");
}

/* The failure that no incident has closed. */
static void gather_failure(struct run_status *s)
{
    size_t failed = 0, closed = 0;
    const json_t *e = newest(s, "failure", &failed);

    if (!e || s->log.ended ||
        (newest(s, "incident", &closed) && closed > failed))
        return;
    snprintf(s->failure, sizeof(s->failure), "%s%s%s", journal_text(e, "node"),
             *journal_text(e, "node") ? ": " : "", journal_text(e, "text"));
}

/* When the supervisor last wrote anything. */
static double last_word(const struct run_status *s)
{
    static const char *const of_clients[] = { "submitting", "submitted",
                                              "adopted", "wish" };
    double last = number(s->state, "time");
    const json_t *e;
    size_t i;

    json_array_foreach(s->log.events, i, e)
    {
        int is_client = 0;

        for (size_t k = 0; k < sizeof(of_clients) / sizeof(*of_clients); k++)
            is_client |= !strcmp(journal_text(e, "event"), of_clients[k]);
        if (!is_client && !(number(e, "time") <= last))
            last = number(e, "time");
    }
    return last;
}

static void gather_times(struct run_status *s)
{
    const struct launch_log *log = &s->log;
    const double last = last_word(s), written = number(s->state, "time");
    const json_t *ended = log->ended ? newest(s, "ended", NULL) : NULL;
    double end = log->ended ? log->ended_unix_s : written;

    s->silent_since_unix_s = NAN;
    if (log->supervised && !log->ended &&
        !(s->now_unix_s - last < STATUS_SILENT_S))
        s->silent_since_unix_s = last;
    if (!isfinite(end) || isfinite(s->silent_since_unix_s))
        end = s->now_unix_s;
    s->trained_s = number(ended, "trained_s");
    if (!isfinite(s->trained_s))
        s->trained_s = number(s->state, "trained_s");
    s->wall_s = log->first_unix_s > 0 ? end - log->first_unix_s : NAN;
    if (log->ended || isfinite(s->silent_since_unix_s))
        s->eta_s = NAN;
}

static void ask_scheduler(struct run_status *s, double ask_s)
{
    const char *by = journal_text(newest(s, "submitted", NULL), "by");
    struct mup_error why = { 0 };

    if (ask_s <= 0 || s->log.job <= 0 || s->log.ended)
        return;
    if (ask_job(strcmp(by, "tools") ? SLURM_AUTO : SLURM_TOOLS, s->log.job,
                ask_s, &s->job, &why) == MUP_OK) {
        s->scheduler = SCHEDULER_ANSWERED;
        return;
    }
    s->scheduler = SCHEDULER_SILENT;
    snprintf(s->no_answer, sizeof(s->no_answer), "%.250s", why.text);
}

int run_status_read(const char *dir, double now_unix_s, double ask_s,
                    struct run_status *out, struct mup_error *err)
{
    struct run_status s = { .now_unix_s = now_unix_s };
    int rc = MUP_OK;

    snprintf(s.dir, sizeof(s.dir), "%s", dir);
    s.event = last_of(dir, "events.jsonl");
    s.metrics = last_of(dir, "metrics.jsonl");
    s.is_launched = run_status_is_launched(dir);
    if (!s.event && !s.is_launched)
        rc = mup_fail(err, MUP_CORRUPT,
                      "'%s' has no readable events.jsonl; was the run ever "
                      "started?",
                      dir);
    if (rc == MUP_OK && s.is_launched)
        rc = launch_log_read(dir, &s.log, err);
    if (rc == MUP_OK && s.is_launched) {
        s.state = launch_state_read(dir);
        rc = gather_nodes(&s, err);
    }
    if (rc != MUP_OK) {
        run_status_clear(&s);
        return rc;
    }
    gather_progress(&s);
    gather_failure(&s);
    gather_times(&s);
    ask_scheduler(&s, ask_s);
    *out = s;
    return MUP_OK;
}

void run_status_clear(struct run_status *s)
{
    json_decref(s->event);
    json_decref(s->metrics);
    json_decref(s->state);
    launch_log_clear(&s->log);
    free(s->node);
    *s = (struct run_status){ 0 };
}

/* ---- conclusions --------------------------------------------------------- */

static int local_is_over(const struct run_status *s)
{
    static const char *const last[] = { "done", "diverged", "failed",
                                        "stopped" };
    const char *name = journal_text(s->event, "event");
    char path[1200];
    long pid;

    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++)
        if (!strcmp(name, last[i]))
            return 1;
    return path_join(s->dir, "run.lock", path, sizeof(path), NULL) != MUP_OK ||
           !lock_holder(path, NULL, 0, &pid);
}

int run_status_is_over(const struct run_status *s)
{
    if (!s->is_launched)
        return local_is_over(s);
    if (s->log.submitting)
        return 0;
    return s->log.ended ||
           (s->scheduler == SCHEDULER_ANSWERED &&
            (s->job.state == CLUSTER_NO_JOB || s->job.state == CLUSTER_ENDED));
}

double run_status_goodput(const struct run_status *s)
{
    return s->wall_s > 0 ? s->trained_s / s->wall_s : NAN;
}
