/* Any bytes as the journal of a run and as the list of ejected nodes. */
#define _GNU_SOURCE /* mkdtemp */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/ejected.h"
#include "launcher/launch_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_log(const char *dir)
{
    struct launch_log log;

    if (launch_log_read(dir, &log, NULL) != 0)
        return;
    assert(log.restarts >= 0 && log.incidents >= 0 && log.submissions >= 0);
    assert(strlen(log.uuid) < sizeof(log.uuid));
    assert(strlen(log.text) < sizeof(log.text));
    launch_log_clear(&log);
}

static void read_list(const char *path)
{
    struct ejected e;
    char *text;

    if (ejected_read(path, 1000, &e, NULL) != 0)
        return;
    for (int i = 0; i < e.n; i++) {
        assert(e.node[i].until_unix_s > 1000);
        for (int k = 0; k < i; k++)
            assert(strcmp(e.node[i].name, e.node[k].name) != 0);
    }
    if (ejected_list(&e, NULL, &text, NULL) == 0) {
        assert(!strpbrk(text, "[] \n"));
        free(text);
    }
    ejected_clear(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/tmp/mutransfer-fuzz-XXXXXX", path[64];
    FILE *f;

    if (!mkdtemp(dir))
        return 0;
    snprintf(path, sizeof(path), "%s/launch.jsonl", dir);
    f = fopen(path, "wb");
    if (f) {
        (void)fwrite(data, 1, size, f); /* a shorter one does as well */
        (void)fclose(f);
        read_log(dir);
        read_list(path);
    }
    (void)unlink(path);
    (void)rmdir(dir);
    return 0;
}
