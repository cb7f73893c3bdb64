/* The list of nodes that are left out of jobs: one JSON object a line, appended
 * by any run of the user.  An entry counts until it expires or a later one of
 * the same node says "until": 0. */
#ifndef LAUNCHER_EJECTED_H
#define LAUNCHER_EJECTED_H

#include <stdint.h>

#include "launcher/hostlist.h"

#define EJECTED_REASON_BYTES 256

struct ejected_node {
    char name[HOSTLIST_NAME_BYTES];
    char class[16]; /* failure_name */
    char reason[EJECTED_REASON_BYTES];
    char run[64]; /* uuid */
    int64_t time_unix_s, until_unix_s;
};

struct ejected {
    int n;
    struct ejected_node *node;
};

/* recover.exclude_file, or where it is by default; the folder is made. */
int ejected_path(const char *configured, char *out, size_t bytes,
                 struct mup_error *err);
/* Those that count at now_unix_s, newest entry of each node; an empty list
 * where there is no file; lines that are none are passed over.  takes:
 * ejected_clear. */
int ejected_read(const char *path, int64_t now_unix_s, struct ejected *out,
                 struct mup_error *err);
void ejected_clear(struct ejected *e);
int ejected_add(const char *path, const struct ejected_node *node,
                struct mup_error *err);
/* "node3,node7" of the entries; names keeps (may be NULL) only those that the
 * cluster knows: SLURM refuses a job that excludes a node it does not know.
 * takes: free(*out). */
int ejected_list(const struct ejected *e, const struct hostlist *known,
                 char **out, struct mup_error *err);

#endif
