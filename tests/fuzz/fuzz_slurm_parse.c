/* Whatever SLURM's tools print: lists that can be read, or one sentence. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/hostlist.h"
#include "launcher/slurm_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_jobs(const char *text)
{
    struct mup_error err = { 0 };
    struct cluster_jobs jobs = { 0 };

    assert(slurm_parse_jobs(text, &jobs, &err) == MUP_OK);
    for (int i = 0; i < jobs.n; i++) {
        assert(jobs.job[i].state > CLUSTER_NO_JOB);
        assert(jobs.job[i].state <= CLUSTER_ENDED);
        assert(strlen(jobs.job[i].nodes) < sizeof(jobs.job[i].nodes));
    }
    free(jobs.job);
    assert(slurm_parse_queue(text, &jobs, &err) == MUP_OK);
    for (int i = 0; i < jobs.n; i++)
        assert(jobs.job[i].id > 0);
    free(jobs.job);
}

static void read_nodes(const char *text)
{
    struct mup_error err = { 0 };
    struct cluster_nodes nodes = { 0 };
    struct cluster_parts parts = { 0 };

    assert(slurm_parse_nodes(text, &nodes, &err) == MUP_OK);
    for (int i = 0; i < nodes.n; i++)
        assert(nodes.node[i].gpus >= 0);
    free(nodes.node);
    assert(slurm_parse_parts(text, &parts, &err) == MUP_OK);
    for (int i = 0; i < parts.n; i++)
        assert(parts.part[i].nodes && parts.part[i].info.max_time_min >= 0);
    cluster_free_parts(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mup_error err = { 0 };
    struct hostlist h;
    char *text = malloc(size + 1), *excluded = NULL;
    int64_t id = -1;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    read_jobs(text);
    read_nodes(text);
    assert(slurm_parse_excluded(text, &excluded, &err) == MUP_OK);
    free(excluded);
    if (slurm_parse_id(text, &id, &err) == MUP_OK)
        assert(id > 0);
    assert(slurm_parse_refusal(text, "x", &err) != MUP_OK);
    assert(err.text[0]);
    if (hostlist_parse(text, &h, &err) == MUP_OK) {
        assert(h.n <= HOSTLIST_MAX);
        hostlist_clear(&h);
    }
    free(text);
    return 0;
}
