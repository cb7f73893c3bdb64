#include "launcher/crew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Steps share the job's CPUs: the job has as many as all workers need. */
static void make_words(struct crew *c, int node)
{
    const char *const words[CREW_WORDS] = {
        "srun",
        "--overlap",
        "--nodes=1",
        "--ntasks=1",
        "--ntasks-per-node=1",
        c->cpus,
        "--mpi=none",
        "--kill-on-bad-exit=0",
        "--unbuffered",
        "-w",
        c->nodes.name[node],
        NULL,
    };

    memcpy(c->words[node], words, sizeof(words));
    c->node[node] = (struct sweep_node){ .name = c->nodes.name[node],
                                         .prefix = c->words[node] };
}

int crew_make(const char *nodelist, const struct slurm_config *slurm,
              const char *program, struct crew *out, struct mup_error *err)
{
    struct crew c = { 0 };
    int rc = hostlist_parse(nodelist, &c.nodes, err);

    if (rc != MUP_OK)
        return rc;
    c.words = calloc((size_t)c.nodes.n + 1, sizeof(*c.words));
    c.node = calloc((size_t)c.nodes.n + 1, sizeof(*c.node));
    if (!c.words || !c.node)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    else if (c.nodes.n == 0)
        rc = mup_fail(err, MUP_USAGE,
                      "the job has no nodes: SLURM_JOB_NODELIST is empty");
    if (rc != MUP_OK) {
        crew_clear(&c);
        return rc;
    }
    snprintf(c.cpus, sizeof(c.cpus), "--cpus-per-task=%lld",
             (long long)slurm->cpus_per_rank);
    c.sweep = (struct sweep_crew){
        .program = program,
        .n_nodes = c.nodes.n,
        .node = c.node,
        .workers_per_node = slurm->ranks_per_node,
    };
    *out = c;
    for (int i = 0; i < out->nodes.n; i++)
        make_words(out, i);
    return MUP_OK;
}

int crew_make_array(int64_t n, const char *dir, const char *program,
                    struct crew *out, struct mup_error *err)
{
    const size_t count = (size_t)(n > 1 ? n : 1);
    struct crew c = { 0 };

    c.nodes.name = calloc(count, sizeof(*c.nodes.name));
    c.words = calloc(count, sizeof(*c.words));
    c.node = calloc(count, sizeof(*c.node));
    c.index = calloc(count, sizeof(*c.index));
    if (!c.nodes.name || !c.words || !c.node || !c.index) {
        crew_clear(&c);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    c.nodes.n = (int)count;
    c.sweep = (struct sweep_crew){ .program = program,
                                   .n_nodes = c.nodes.n,
                                   .node = c.node,
                                   .workers_per_node = 1 };
    for (int i = 0; i < c.nodes.n; i++) {
        const char *const words[CREW_WORDS] = { program, "door", dir,
                                                c.index[i], NULL };

        snprintf(c.index[i], sizeof(c.index[i]), "%d", i);
        snprintf(c.nodes.name[i], sizeof(c.nodes.name[i]), "element %d", i);
        memcpy(c.words[i], words, sizeof(words));
        c.node[i].name = c.nodes.name[i];
        c.node[i].comes_late = i > 0;
        c.node[i].prefix = i > 0 ? c.words[i] : NULL;
    }
    *out = c;
    return MUP_OK;
}

void crew_clear(struct crew *c)
{
    hostlist_clear(&c->nodes);
    free(c->words);
    free(c->index);
    free(c->node);
    memset(c, 0, sizeof(*c));
}
