#include "launcher/failure.h"

#include <signal.h>
#include <string.h>

static const struct {
    const char *name, *title;
} classes[FAILURE_CLASSES] = {
    [FAILURE_NONE] = { "none", "no failure" },
    [FAILURE_USER] = { "user", "an error of the program or its input" },
    [FAILURE_NODE] = { "node", "a dead node" },
    [FAILURE_PROCESS] = { "process", "a killed rank" },
    [FAILURE_NETWORK] = { "network", "a network failure" },
    [FAILURE_FILES] = { "files", "a failure of the file system" },
    [FAILURE_PREEMPTED] = { "preempted", "a preemption" },
    [FAILURE_HUNG] = { "hung", "a rank that hangs" },
    [FAILURE_CORRUPT] = { "corrupt", "damaged data" },
    [FAILURE_FENCED] = { "fenced", "a newer start of the run" },
};

const char *failure_name(int class)
{
    return classes[class].name;
}

const char *failure_title(int class)
{
    return classes[class].title;
}

/* The sentences of the trainer that a status alone does not tell apart; each
 * has a row in tests/test_supervisor.c beside the place that it comes from. */
static int says(const struct failure_evidence *e, const char *words)
{
    return e->text && strstr(e->text, words) != NULL;
}

static struct failure classify_bye(const struct failure_evidence *e)
{
    switch (e->status) {
    case MUP_USAGE:
        return (struct failure){ FAILURE_USER, 1, 0 };
    case MUP_CORRUPT: /* no checkpoint that can be read: a person's to see */
        return (struct failure){ FAILURE_FILES, 1, 0 };
    case MUP_SYSTEM:
        if (says(e, "out of memory"))
            return (struct failure){ FAILURE_PROCESS, 0, 1 };
        return (struct failure){ FAILURE_FILES, 0, 0 };
    case MUP_DEVICE:
        if (says(e, "a newer start of this run"))
            return (struct failure){ FAILURE_FENCED, 0, 0 };
        if (says(e, "damaged data") || says(e, "data was damaged"))
            return (struct failure){ FAILURE_CORRUPT, 0, 1 };
        return (struct failure){ FAILURE_NETWORK, 0, 0 };
    default:
        return (struct failure){ FAILURE_USER, 0, 0 };
    }
}

static struct failure classify_signal(int signal)
{
    switch (signal) {
    case SIGSEGV:
    case SIGABRT:
    case SIGFPE:
    case SIGILL:
    case SIGBUS:
        return (struct failure){ FAILURE_USER, 0, 0 };
    default: /* the out-of-memory killer, the scheduler, a person */
        return (struct failure){ FAILURE_PROCESS, 0, 1 };
    }
}

struct failure failure_classify(const struct failure_evidence *e)
{
    if (e->preempted)
        return (struct failure){ FAILURE_PREEMPTED, 0, 0 };
    if (e->node_lost)
        return (struct failure){ FAILURE_NODE, 0, 1 };
    if (e->hung)
        return (struct failure){ FAILURE_HUNG, 0, 1 };
    if (e->said_bye)
        return classify_bye(e);
    if (e->signal)
        return classify_signal(e->signal);
    if (e->status == MUP_DEVICE) /* the lease: cut off from its supervisor */
        return (struct failure){ FAILURE_NETWORK, 0, 0 };
    if (e->status)
        return (struct failure){ FAILURE_USER, e->status == MUP_USAGE, 0 };
    return (struct failure){ FAILURE_PROCESS, 0, 1 };
}
