#include "launcher/orphan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "launcher/cluster.h"
#include "launcher/ejected.h"
#include "launcher/failure.h"
#include "launcher/journal.h"
#include "launcher/launch_log.h"
#include "launcher/patience.h"
#include "model/clock.h"

/* launch.json is written every second; a disk may take its time. */
#define SILENT_S 6.0
/* Every agent waits so much longer than the one before it: one is enough. */
#define TURN_S  2.0
#define WATCH_S 1.0
/* A controller that is down comes back, as a rule. */
#define PATIENCE_S 1800.0

static double state_time(const char *dir, char *host, size_t bytes)
{
    json_t *state = launch_state_read(dir);
    double at = journal_real(state, "time");

    (void)snprintf(host, bytes, "%s", journal_text(state, "host"));
    json_decref(state);
    return at;
}

/* Has nobody written launch.json for so long?  By our own clock alone. */
static int is_silent(const struct agent_options *o, char *host, size_t bytes)
{
    double first = state_time(o->dir, host, bytes);
    double end_s = clock_s() + SILENT_S + TURN_S * o->rank;

    while (clock_s() < end_s) {
        patience_sleep(0.5);
        if (state_time(o->dir, host, bytes) > first)
            return 0;
    }
    return 1;
}

/* Does the journal say that the run still belongs to this job? */
static int is_open(const struct agent_options *o)
{
    struct launch_log log;
    const char *last = "";
    json_t *event;
    size_t i;
    int open;

    if (launch_log_read(o->dir, &log, NULL) != MUP_OK)
        return 0;
    json_array_foreach(log.events, i, event)
    {
        const char *name = journal_text(event, "event");

        if (!strcmp(name, "requeued") || !strcmp(name, "ended") ||
            !strcmp(name, "supervisor"))
            last = name;
    }
    open = !strcmp(last, "supervisor");
    launch_log_clear(&log);
    return open;
}

static void eject_host(const struct agent_options *o, struct cluster *c,
                       const char *host)
{
    static const char why[] = "the batch host is gone, and the supervisor "
                              "with it";
    struct ejected_node entry = { .time_unix_s = (int64_t)time(NULL) };
    json_t *event = launch_log_new("ejected");
    char path[1100];
    int drained = cluster_drain(c, host, "mutransfer: the batch host is gone",
                                NULL) == MUP_OK;

    entry.until_unix_s =
        entry.time_unix_s + (int64_t)(o->config.recover.eject_h * 3600);
    (void)snprintf(entry.name, sizeof(entry.name), "%s", host);
    (void)snprintf(entry.class, sizeof(entry.class), "%s",
                   failure_name(FAILURE_NODE));
    (void)snprintf(entry.reason, sizeof(entry.reason), "%s", why);
    (void)snprintf(entry.run, sizeof(entry.run), "%s", o->run);
    if (ejected_path(o->config.recover.exclude_file, path, sizeof(path),
                     NULL) == MUP_OK)
        (void)ejected_add(path, &entry, NULL);
    if (event) {
        json_object_set_new(event, "node", json_string(host));
        json_object_set_new(event, "class", json_string(entry.class));
        json_object_set_new(event, "reason", json_string(why));
        json_object_set_new(event, "until_unix_s",
                            json_integer(entry.until_unix_s));
        json_object_set_new(event, "drained", json_boolean(drained));
    }
    (void)launch_log_append(o->dir, event, NULL);
}

void orphan_return_job(const struct agent_options *options)
{
    const char *id = getenv("SLURM_JOB_ID");
    int64_t job = id ? strtoll(id, NULL, 10) : 0;
    double end_s = clock_s() + PATIENCE_S;
    struct cluster *c = NULL;
    struct cluster_job known;
    char host[HOSTLIST_NAME_BYTES];
    int rc;

    if (!job || !is_silent(options, host, sizeof(host)) || !is_open(options) ||
        cluster_open(options->config.slurm.by, &c, NULL) != MUP_OK)
        return;
    do {
        rc = cluster_job(c, job, &known, NULL);
        if (rc == MUP_DEVICE)
            patience_sleep(5);
    } while (rc == MUP_DEVICE && clock_s() < end_s);
    if (rc == MUP_OK && known.state == CLUSTER_RUNNING && is_open(options)) {
        if (host[0])
            eject_host(options, c, host);
        while (cluster_requeue(c, job, host[0] ? host : NULL, NULL) ==
                   MUP_DEVICE &&
               clock_s() < end_s)
            patience_sleep(5);
    }
    cluster_close(c);
}

void orphan_watch(const struct agent_options *options)
{
    while (is_open(options)) {
        patience_sleep(WATCH_S);
        orphan_return_job(options);
    }
}
