/* A bad node is left: on the list that all runs of the user read, in the run's
 * journal, and drained where this user may. */
#ifndef LAUNCHER_EJECT_H
#define LAUNCHER_EJECT_H

#include "launcher/hostlist.h"
#include "model/config.h"

struct eject {
    const char *dir, *run; /* the run's, its uuid */
    const char *node;
    int class; /* enum failure_class */
    const char *reason;
    const struct run_config *config;
};

/* The list first, then the scheduler, which may take a minute. */
void eject_node(const struct eject *e);

#endif
