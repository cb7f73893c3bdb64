/* Which nodes a job does without: those of slurm.exclude and those that are
 * ejected, as far as the cluster knows them.  SLURM refuses a job that excludes
 * a node it does not know, so a list that outlived a node would stop every
 * submission. */
#ifndef LAUNCHER_NODE_FILTER_H
#define LAUNCHER_NODE_FILTER_H

#include "launcher/cluster.h"
#include "launcher/ejected.h"

struct node_filter {
    struct ejected ejected; /* all that count now, with their reasons */
    char *own;              /* hostlist: slurm.exclude */
    char *list;             /* hostlist: the ejected ones that are known */
    char *unknown;          /* names of slurm.exclude that are not known */
};

/* node: those that the cluster has; NULL where it was not asked, then all
 * names count as known.  takes: node_filter_clear. */
int node_filter_make(const struct run_config *config,
                     const struct cluster_node *node, int n,
                     struct node_filter *out, struct mup_error *err);
void node_filter_clear(struct node_filter *f);

/* own and list in one; takes: free(*out). */
int node_filter_join(const struct node_filter *f, char **out,
                     struct mup_error *err);

#endif
