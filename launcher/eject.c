#include "launcher/eject.h"

#include <stdio.h>
#include <time.h>

#include "launcher/cluster.h"
#include "launcher/ejected.h"
#include "launcher/failure.h"
#include "launcher/journal.h"
#include "launcher/launch_log.h"

static int drain(const struct eject *e)
{
    struct cluster *c = NULL;
    char reason[CLUSTER_TEXT_BYTES];
    int rc = cluster_open(e->config->slurm.by, &c, NULL);

    if (rc != MUP_OK)
        return 0;
    (void)snprintf(reason, sizeof(reason), "mutransfer: %.200s", e->reason);
    rc = cluster_drain(c, e->node, reason, NULL);
    cluster_close(c);
    return rc == MUP_OK;
}

void eject_node(const struct eject *e)
{
    struct ejected_node entry = { .time_unix_s = (int64_t)time(NULL) };
    json_t *event = launch_log_new("ejected");
    struct mup_error err = { 0 };
    char path[1100];
    int rc;

    entry.until_unix_s =
        entry.time_unix_s + (int64_t)(e->config->recover.eject_h * 3600);
    (void)snprintf(entry.name, sizeof(entry.name), "%s", e->node);
    (void)snprintf(entry.class, sizeof(entry.class), "%s",
                   failure_name(e->class));
    (void)snprintf(entry.reason, sizeof(entry.reason), "%.250s", e->reason);
    (void)snprintf(entry.run, sizeof(entry.run), "%s", e->run);
    rc =
        ejected_path(e->config->recover.exclude_file, path, sizeof(path), &err);
    if (rc == MUP_OK)
        rc = ejected_add(path, &entry, &err);
    if (rc != MUP_OK)
        fprintf(stderr, "%s\n", err.text);
    if (event) {
        json_object_set_new(event, "node", journal_string(entry.name));
        json_object_set_new(event, "class", journal_string(entry.class));
        json_object_set_new(event, "reason", journal_string(entry.reason));
        json_object_set_new(event, "until_unix_s",
                            json_integer(entry.until_unix_s));
        json_object_set_new(event, "drained", json_boolean(drain(e)));
    }
    if (launch_log_append(e->dir, event, &err) != MUP_OK)
        fprintf(stderr, "%s\n", err.text);
}
