/* Names of nodes as SLURM writes them: "node[1-3,07],login1". */
#ifndef LAUNCHER_HOSTLIST_H
#define LAUNCHER_HOSTLIST_H

#include "mup/mup.h"

#define HOSTLIST_NAME_BYTES 64
#define HOSTLIST_MAX        65536

struct hostlist {
    int n;
    char (*name)[HOSTLIST_NAME_BYTES];
};

/* takes: hostlist_clear.  MUP_USAGE for what is no such list or names more
 * than HOSTLIST_MAX; "" is an empty one. */
int hostlist_parse(const char *text, struct hostlist *out,
                   struct mup_error *err);
void hostlist_clear(struct hostlist *h);
/* Place of a name, or -1. */
int hostlist_find(const struct hostlist *h, const char *name);

#endif
