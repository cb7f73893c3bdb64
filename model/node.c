#include "model/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* No spaces, nothing that steers a terminal, not too long. */
static int is_word(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 127)
            return 0;
    return *text && strlen(text) < NODE_NAME_BYTES;
}

void node_name(char out[NODE_NAME_BYTES])
{
    const char *node = getenv("SLURMD_NODENAME");
    char host[NODE_NAME_BYTES] = "";

    if (!node || !is_word(node)) {
        if (gethostname(host, sizeof(host)) != 0)
            host[0] = '\0';
        host[sizeof(host) - 1] = '\0';
        node = is_word(host) ? host : "unknown";
    }
    snprintf(out, NODE_NAME_BYTES, "%s", node);
}
