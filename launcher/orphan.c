#include "launcher/orphan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/cluster.h"
#include "launcher/eject.h"
#include "launcher/failure.h"
#include "launcher/journal.h"
#include "launcher/launch_log.h"
#include "launcher/patience.h"
#include "model/clock.h"
#include "model/node.h"

/* launch.json is written every second; a disk may take its time.  Agents have
 * waited for their lease before. */
#define SILENT_S 3.0
/* Every agent waits so much longer than the one before it: one is enough. */
#define TURN_S  2.0
#define TURNS   16
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
static int is_silent(const struct agent_options *o, double silent_s, char *host,
                     size_t bytes)
{
    /* the first one was on the host that is gone */
    int turn = o->rank > 0 ? (o->rank - 1) % TURNS : 0;
    double first = state_time(o->dir, host, bytes);
    double end_s = clock_s() + silent_s + TURN_S * turn;

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

static void eject_host(const struct agent_options *o, const char *host)
{
    const struct eject e = {
        .dir = o->dir,
        .run = o->run,
        .node = host,
        .class = FAILURE_NODE,
        .reason = "the batch host is gone, and the supervisor with it",
        .config = &o->config,
    };

    eject_node(&e);
}

static void return_job(const struct agent_options *options, double silent_s)
{
    const char *id = getenv("SLURM_JOB_ID");
    int64_t job = id ? strtoll(id, NULL, 10) : 0;
    double end_s = clock_s() + PATIENCE_S;
    struct cluster *c = NULL;
    struct cluster_job known;
    char host[HOSTLIST_NAME_BYTES];
    int rc;

    if (!job || !is_silent(options, silent_s, host, sizeof(host)) ||
        !is_open(options) ||
        cluster_open(options->config.slurm.by, &c, NULL) != MUP_OK)
        return;
    do {
        rc = cluster_job(c, job, &known, NULL);
        if (rc == MUP_DEVICE)
            patience_sleep(5);
    } while (rc == MUP_DEVICE && clock_s() < end_s);
    if (rc == MUP_OK && known.state == CLUSTER_RUNNING && is_open(options)) {
        if (host[0])
            eject_host(options, host);
        while (cluster_requeue(c, job, host[0] ? host : NULL, NULL) ==
                   MUP_DEVICE &&
               clock_s() < end_s)
            patience_sleep(5);
    }
    cluster_close(c);
}

void orphan_return_job(const struct agent_options *options)
{
    return_job(options, SILENT_S);
}

/* Beside the driver: what we could say of its host we would say of our own. */
static int is_at_home(const struct agent_options *o)
{
    char host[HOSTLIST_NAME_BYTES], own[NODE_NAME_BYTES];

    node_name(own);
    (void)state_time(o->dir, host, sizeof(host));
    return !strcmp(host, own);
}

void orphan_watch(const struct agent_options *options, double silent_s)
{
    while (is_open(options)) {
        patience_sleep(WATCH_S);
        if (!is_at_home(options))
            return_job(options, silent_s);
    }
}
