#include "launcher/remote.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "launcher/follow.h"
#include "launcher/journal.h"
#include "launcher/json.h"
#include "launcher/stop.h"
#include "launcher/submit.h"
#include "model/comm.h"

/* The newest "ended". */
static const json_t *find_end(const struct launch_log *log)
{
    size_t i = json_array_size(log->events);

    while (i-- > 0) {
        const json_t *event = json_array_get(log->events, i);

        if (!strcmp(journal_text(event, "event"), "ended"))
            return event;
    }
    return NULL;
}

static int print_json(const struct submit *s, const struct launch_log *log,
                      struct mup_error *err)
{
    const json_t *end = find_end(log);
    json_t *o = json_object();

    json_object_set_new(o, "dir", json_string(s->dir));
    json_object_set_new(o, "job", json_integer(log->job));
    json_object_set_new(o, "status", json_integer(log->status));
    json_object_set_new(o, "text", journal_string(log->text));
    json_object_set_new(o, "requeues", json_integer(log->requeues));
    json_object_set_new(o, "incarnations", json_integer(log->incarnations));
    json_object_set_new(o, "incidents", json_integer(log->incidents));
    json_object_set_new(o, "trained_s",
                        json_number(journal_real(end, "trained_s")));
    json_object_set_new(o, "wall_s", json_number(journal_real(end, "wall_s")));
    return json_print(o, err);
}

/* How the run ended, in the words of its supervisor. */
static int conclude(const struct submit *s, struct mup_error *err)
{
    struct launch_log log;
    int rc = launch_log_read(s->dir, &log, err);

    if (rc != MUP_OK)
        return rc;
    if (args_given(s->args, "json"))
        rc = print_json(s, &log, err);
    else if (log.status == MUP_OK)
        printf("%s\nresults in %s (metrics.jsonl, config.yaml, manifest.json, "
               "checkpoints)\n",
               log.text, s->dir);
    if (rc == MUP_OK && log.status != MUP_OK)
        rc = mup_fail(err, log.status, "%s", log.text);
    launch_log_clear(&log);
    return rc;
}

static int detach(const struct submit *s, int adopted, struct mup_error *err)
{
    if (args_given(s->args, "json"))
        return json_print(json_pack("{ss sI sb}", "dir", s->dir, "job",
                                    (json_int_t)s->job, "adopted", adopted),
                          err);
    printf("%lld\n", (long long)s->job);
    return MUP_OK;
}

static void say_goodbye(const struct submit *s)
{
    terminal_note(s->terminal,
                  "job %lld goes on without this command: the same command "
                  "watches it again, 'mutransfer status %s' shows it, "
                  "'mutransfer cancel %s' ends it",
                  (long long)s->job, s->dir, s->dir);
}

int remote_watch(struct submit *s, int *ended, struct mup_error *err)
{
    int begun, rc = submit_begin(s, &begun, err);

    *ended = 0;
    if (rc != MUP_OK)
        return rc;
    if (begun == SUBMIT_DONE) {
        if (!s->args->quiet)
            terminal_note(s->terminal, "this %s has ended already",
                          s->space ? "sweep" : "run");
        *ended = 1;
        return MUP_OK;
    }
    if (args_given(s->args, "detach"))
        return detach(s, begun == SUBMIT_ADOPTED, err);
    rc = follow_run(s, ended, err);
    if (rc == MUP_OK && !*ended)
        say_goodbye(s);
    return rc;
}

int remote_run(const struct args *args, const struct run_config *config,
               const char *dir, struct mup_error *err)
{
    const int64_t ranks = config->slurm.nodes * config->slurm.ranks_per_node;
    struct terminal terminal;
    struct submit s;
    int ended, rc;

    if (ranks > 1 && !comm_has_mpi())
        return mup_fail(err, MUP_USAGE,
                        "this build has no MPI, which %lld ranks need; run "
                        "'make setup' and then 'make'",
                        (long long)ranks);
    terminal_init(&terminal, args->quiet);
    /* Nothing must be cleaned up: a second signal may end it at once. */
    stop_watch();
    rc = submit_open(args, config, dir, &terminal, &s, err);
    if (rc != MUP_OK)
        return rc;
    rc = remote_watch(&s, &ended, err);
    if (rc == MUP_OK && ended)
        rc = conclude(&s, err);
    submit_close(&s);
    return rc;
}
