#include "sweep/nodes.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/file.h"

/* So many deaths in a row mean that a node does not work, where there are
 * others (at least one more than it has workers, which may die as one), and
 * that no worker works at all, where there are none. */
#define RETIRE_DEATHS   3
#define HOPELESS_DEATHS 20
#define WRITE_EVERY_S   2.0

int nodes_open(const struct sweep_crew *crew, struct nodes *out,
               struct mup_error *err)
{
    struct nodes n = { .n = crew->n_nodes ? crew->n_nodes : 1, .crew = crew };

    n.node = calloc((size_t)n.n, sizeof(*n.node));
    if (!n.node)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    *out = n;
    return MUP_OK;
}

void nodes_close(struct nodes *n)
{
    free(n->node);
    memset(n, 0, sizeof(*n));
}

const char *nodes_name(const struct nodes *n, int node)
{
    const char *name =
        node < n->crew->n_nodes ? n->crew->node[node].name : NULL;

    return name ? name : "this machine";
}

int nodes_in_use(const struct nodes *n)
{
    int used = 0;

    for (int i = 0; i < n->n; i++)
        used += !n->node[i].retired;
    return used;
}

void nodes_work(struct nodes *n, int node)
{
    n->node[node].deaths = 0;
}

int nodes_death(struct nodes *n, int node)
{
    struct node_state *s = &n->node[node];

    s->deaths++;
    if (s->retired)
        return NODES_GO_ON;
    if (nodes_in_use(n) > 1) {
        s->retired =
            s->deaths >= RETIRE_DEATHS && s->deaths > n->crew->workers_per_node;
        return s->retired ? NODES_RETIRE : NODES_GO_ON;
    }
    return s->deaths >= HOPELESS_DEATHS ? NODES_HOPELESS : NODES_GO_ON;
}

static json_t *workers_json(const struct nodes *n, const struct pool *pool)
{
    json_t *workers = json_array(), *retired = json_array();

    for (int i = 0; i < pool->n; i++) {
        const struct pool_worker *w = &pool->worker[i];

        json_array_append_new(
            workers,
            json_pack(
                "{s:s, s:o, s:I, s:I}", "node", nodes_name(n, w->node), "trial",
                w->job >= 0 ? json_integer(w->job + 1) : json_null(), "done",
                (json_int_t)w->done, "failed", (json_int_t)w->failed));
    }
    for (int i = 0; i < n->n; i++)
        if (n->node[i].retired)
            json_array_append_new(retired, json_string(nodes_name(n, i)));
    return json_pack("{s:I, s:o, s:o}", "time", (json_int_t)time(NULL),
                     "workers", workers, "retired", retired);
}

void nodes_write(struct nodes *n, const struct pool *pool, const char *dir,
                 int now)
{
    double t = pool_now_s();
    struct file_replace f;
    char path[1024];
    json_t *state;

    if ((!now && n->written_s > 0 && t - n->written_s < WRITE_EVERY_S) ||
        (size_t)snprintf(path, sizeof(path), "%s/workers.json", dir) >=
            sizeof(path))
        return;
    n->written_s = t;
    state = workers_json(n, pool);
    if (state && !file_replace_open(path, &f, NULL)) {
        if (json_dumpf(state, f.out, JSON_COMPACT) || fputs("\n", f.out) < 0)
            file_replace_abandon(&f);
        else
            (void)file_replace_commit(&f, NULL);
    }
    json_decref(state);
}
