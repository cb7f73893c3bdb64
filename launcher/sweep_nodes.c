#include "launcher/sweep_nodes.h"

#include <string.h>

#include "launcher/hostlist.h"
#include "launcher/journal.h"
#include "launcher/paths.h"
#include "launcher/run_status.h"
#include "launcher/units.h"

json_t *sweep_nodes_read(const char *dir)
{
    char path[1200];
    json_t *o, *workers;

    if (path_join(dir, "workers.json", path, sizeof(path), NULL) != MUP_OK)
        return NULL;
    o = json_load_file(path, 0, NULL);
    workers = json_incref(json_object_get(o, "workers"));
    json_decref(o);
    if (json_is_array(workers))
        return workers;
    json_decref(workers);
    return NULL;
}

/* Workers of one node are named together, at the first of them. */
static int is_first(const json_t *workers, size_t at)
{
    const char *node = journal_text(json_array_get(workers, at), "node");

    for (size_t i = 0; i < at; i++)
        if (!strcmp(journal_text(json_array_get(workers, i), "node"), node))
            return 0;
    return 1;
}

static void put_node(const json_t *workers, const char *node, FILE *out)
{
    const json_t *w;
    int64_t done = 0, failed = 0, running = 0;
    int n = 0;
    size_t i;

    json_array_foreach(workers, i, w)
    {
        if (strcmp(journal_text(w, "node"), node) != 0)
            continue;
        n++;
        done += journal_int(w, "done");
        failed += journal_int(w, "failed");
        running += json_is_integer(json_object_get(w, "trial"));
    }
    fprintf(out, "  %-12s %d worker%s, %lld trials done, %lld failed", node, n,
            n == 1 ? "" : "s", (long long)done, (long long)failed);
    if (running == 0)
        fprintf(out, ", idle");
    json_array_foreach(workers, i, w)
    {
        const json_t *trial = json_object_get(w, "trial");

        if (strcmp(journal_text(w, "node"), node) || !json_is_integer(trial))
            continue;
        fprintf(out, "%s %lld", n > 0 ? ", now trial" : ",",
                (long long)json_integer_value(trial));
        n = 0;
    }
    (void)fputc('\n', out);
}

int sweep_nodes_print(const char *dir, double ask_s, FILE *out,
                      struct mup_error *err)
{
    json_t *workers, *w;
    struct run_status s;
    char headline[512];
    size_t i;
    int rc = run_status_read(dir, status_now_s(), ask_s, &s, err);

    if (rc != MUP_OK)
        return rc;
    run_status_headline(&s, headline, sizeof(headline));
    fprintf(out, "job %lld: %s\n", (long long)s.log.job, headline);
    if (s.scheduler == SCHEDULER_SILENT)
        fprintf(out, "%s, so this is from the journal\n", s.no_answer);
    run_status_clear(&s);
    workers = sweep_nodes_read(dir);
    json_array_foreach(workers, i, w)
    {
        if (is_first(workers, i))
            put_node(workers, journal_text(w, "node"), out);
    }
    json_decref(workers);
    return MUP_OK;
}
