#include "launcher/slurm_parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words -----------------------------------------------------------------
 */

struct state_word {
    const char *name;
    int state;
    int cancelled, preempted, timed_out, node_failed;
};

static const struct state_word state_words[] = {
    { "PENDING", CLUSTER_PENDING },
    { "REQUEUED", CLUSTER_PENDING },
    { "REQUEUE_FED", CLUSTER_PENDING },
    { "REQUEUE_HOLD", CLUSTER_HELD },
    { "SPECIAL_EXIT", CLUSTER_HELD },
    { "RESV_DEL_HOLD", CLUSTER_HELD },
    { "COMPLETING", CLUSTER_ENDING },
    { "STAGE_OUT", CLUSTER_ENDING },
    { "COMPLETED", CLUSTER_ENDED },
    { "FAILED", CLUSTER_ENDED },
    { "OUT_OF_MEMORY", CLUSTER_ENDED },
    { "REVOKED", CLUSTER_ENDED },
    { "CANCELLED", CLUSTER_ENDED, .cancelled = 1 },
    { "PREEMPTED", CLUSTER_ENDED, .cancelled = 1, .preempted = 1 },
    { "TIMEOUT", CLUSTER_ENDED, .timed_out = 1 },
    { "DEADLINE", CLUSTER_ENDED, .timed_out = 1 },
    { "NODE_FAIL", CLUSTER_ENDED, .node_failed = 1 },
    { "BOOT_FAIL", CLUSTER_ENDED, .node_failed = 1 },
    /* RUNNING, SUSPENDED, CONFIGURING, STOPPED, SIGNALING, RESIZING and what
     * is to come: */
    { NULL, CLUSTER_RUNNING },
};

/* Pending for one of these a job waits until somebody changes something. */
static int reason_holds(const char *reason)
{
    static const char *const holds[] = {
        "JobHeldUser",        "JobHeldAdmin",
        "JobHoldMaxRequeue",  "DependencyNeverSatisfied",
        "PartitionConfig",    "PartitionNodeLimit",
        "PartitionTimeLimit", "BadConstraints",
        "InvalidAccount",     "InvalidQOS",
    };

    for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++)
        if (strcmp(reason, holds[i]) == 0)
            return 1;
    return 0;
}

void slurm_set_state(struct cluster_job *job, const char *name,
                     int64_t priority)
{
    const struct state_word *w = state_words;

    while (w->name && strcmp(w->name, name) != 0)
        w++;
    job->state = w->state;
    if (w->state == CLUSTER_PENDING &&
        (priority == 0 || reason_holds(job->reason)))
        job->state = CLUSTER_HELD;
    job->cancelled = w->cancelled;
    job->preempted = w->preempted;
    job->timed_out = w->timed_out;
    job->node_failed = w->node_failed;
    cluster_copy_text(job->state_name, sizeof(job->state_name), name);
}

/* Marks behind a state, as older versions write it: "IDLE*" does not respond,
 * '$' is being serviced, '@' '^' is being started anew, '%' '!' goes off. */
int slurm_node_usable(const char *state)
{
    static const char *const unusable[] = {
        "UNKNOWN", "DOWN",          "ERROR",      "FUTURE",      "DRAIN",
        "FAIL",    "NOT_RESP",      "NO_RESPOND", "MAINT",       "REBOOT",
        "INVALID", "POWERING_DOWN", "POWER_DOWN", "POWER_DRAIN",
    };

    if (!*state || strpbrk(state, "*$@^%!"))
        return 0;
    while (*state) {
        for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++)
            if (strncmp(state, unusable[i], strlen(unusable[i])) == 0)
                return 0;
        state += strcspn(state, "+");
        state += *state == '+';
    }
    return 1;
}

int64_t slurm_parse_gpus(const char *gres)
{
    int64_t sum = 0;

    while (gres && *gres) {
        size_t len = strcspn(gres, ",(");
        const char *colon = NULL;

        for (size_t i = 0; i < len; i++)
            if (gres[i] == ':')
                colon = gres + i;
        if (strncmp(gres, "gpu", 3) == 0 && (len == 3 || gres[3] == ':')) {
            char *end = NULL;
            long n = colon ? strtol(colon + 1, &end, 10) : 1;

            if (colon && end == colon + 1)
                n = 1; /* "gpu:a100" */
            if (n > 0 && n < 1000000 && sum < 1000000)
                sum += n;
        }
        gres += len;
        if (*gres == '(') /* the sockets that they are near to: "(S:0,2)" */
            gres += strcspn(gres, ")");
        gres += strcspn(gres, ",");
        gres += *gres == ',';
    }
    return sum;
}
