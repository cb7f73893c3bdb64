/* SLURM through its command line tools: they are of the site's own version. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/cluster_ops.h"
#include "launcher/command.h"
#include "launcher/paths.h"
#include "launcher/slurm_parse.h"

/* A tool itself gives up on a dead controller after some multiple of
 * MessageTimeout (10 s). */
#define TOOL_S    60.0
#define MAX_WORDS 40

struct words {
    char *word[MAX_WORDS + 1]; /* NULL ends */
    int n;
    int lost; /* one could not be made */
};

static void add(struct words *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct words *w, const char *format, ...)
{
    va_list args;
    char *word = NULL;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len >= 0 && w->n < MAX_WORDS)
        word = malloc((size_t)len + 1);
    if (!word) {
        w->lost = 1;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(word, (size_t)len + 1, format, args);
    va_end(args);
    w->word[w->n++] = word;
}

/* "--name=value", where there is one. */
static void add_option(struct words *w, const char *name, const char *value)
{
    if (value && *value)
        add(w, "--%s=%s", name, value);
}

/* Frees the words.  MUP_DEVICE if the tool hangs. */
static int ask(struct words *w, const char *input,
               struct command_answer *answer, struct mup_error *err)
{
    const char *const times[] = { "SLURM_TIME_FORMAT=%s", NULL };
    struct command command = { (const char *const *)w->word, input,
                               .timeout_s = TOOL_S };
    char **environment = NULL;
    int rc = w->lost ? mup_fail(err, MUP_SYSTEM, "out of memory") : MUP_OK;

    /* What is submitted gets sbatch's variables. */
    if (rc == MUP_OK)
        rc = cluster_environment(input ? NULL : times, &environment, err);
    command.environment = environment;
    if (rc == MUP_OK)
        rc = command_run(&command, answer, err);
    if (rc == MUP_OK && answer->timed_out) {
        command_answer_clear(answer);
        rc = mup_fail(err, MUP_DEVICE,
                      "the SLURM controller does not answer: '%s' was stopped "
                      "after %g s",
                      w->word[0], TOOL_S);
    }
    free(environment);
    for (int i = 0; i < w->n; i++)
        free(w->word[i]);
    return rc;
}

/* ask; what: "cannot submit the job".  MUP_OK only if the tool is content. */
static int ask_for(struct words *w, const char *input, const char *what,
                   struct command_answer *answer, struct mup_error *err)
{
    int rc = ask(w, input, answer, err);

    if (rc != MUP_OK || answer->exit_code == 0)
        return rc;
    rc = slurm_parse_refusal(answer->errors, what, err);
    command_answer_clear(answer);
    return rc;
}

/* One that has nothing to tell. */
static int order(struct words *w, const char *what, struct mup_error *err)
{
    struct command_answer answer = { 0 };
    int rc = ask_for(w, NULL, what, &answer, err);

    command_answer_clear(&answer);
    return rc;
}

/* ---- jobs ------------------------------------------------------------------
 */

static void describe(const struct cluster_request *r, struct words *w)
{
    long long nodes = r->nodes ? r->nodes : 1;
    long long tasks = r->tasks_per_node ? r->tasks_per_node : 1;
    long long cpus = r->cpus_per_task ? r->cpus_per_task : 1;

    add(w, "sbatch");
    add(w, "--parsable");
    add(w, "--open-mode=append");
    add(w, "--export=ALL");
    add(w, "--nodes=%lld", nodes);
    add(w, "--ntasks=%lld", nodes * tasks);
    add(w, "--ntasks-per-node=%lld", tasks);
    add(w, "--cpus-per-task=%lld", cpus);
    add(w, r->requeue ? "--requeue" : "--no-requeue");
    if (r->no_kill)
        add(w, "--no-kill");
    if (r->gpus_per_node > 0)
        add(w, "--gres=gpu:%lld", (long long)r->gpus_per_node);
    if (r->memory_gib > 0)
        add(w, "--mem=%lldM", (long long)cluster_memory_mib(r));
    if (r->time_min > 0)
        add(w, "--time=%lld", (long long)cluster_minutes(r));
    if (r->signal_s > 0)
        add(w, "--signal=B:USR1@%lld", (long long)r->signal_s);
    if (r->array > 0)
        add(w, "--array=0-%lld", (long long)r->array - 1);
    add_option(w, "job-name", r->name);
    add_option(w, "comment", r->comment);
    add_option(w, "partition", r->partition);
    add_option(w, "account", r->account);
    add_option(w, "qos", r->qos);
    add_option(w, "constraint", r->constraint);
    add_option(w, "exclude", r->exclude);
    add_option(w, "chdir", r->work_dir);
    add_option(w, "output", r->output);
}

/* The script goes in through stdin. */
static int tools_submit(struct cluster *c, const struct cluster_request *r,
                        int64_t *id, struct mup_error *err)
{
    struct command_answer answer = { 0 };
    struct words w = { 0 };
    int rc;

    (void)c;
    describe(r, &w);
    rc = ask_for(&w, r->script, "cannot submit the job", &answer, err);
    if (rc == MUP_OK)
        rc = slurm_parse_id(answer.output, id, err);
    command_answer_clear(&answer);
    return rc;
}

static int tools_own_jobs(struct cluster *c, struct cluster_jobs *out,
                          struct mup_error *err)
{
    struct command_answer answer = { 0 };
    struct words w = { 0 };
    int rc;

    (void)c;
    add(&w, "squeue");
    add(&w, "--noheader");
    add(&w, "--all");
    add(&w, "--states=all");
    add(&w, "--user=%lld", (long long)getuid());
    add(&w, "--format=%s", SLURM_QUEUE_FORMAT);
    rc = ask_for(&w, NULL, "cannot list the jobs", &answer, err);
    if (rc == MUP_OK)
        rc = slurm_parse_queue(answer.output, out, err);
    command_answer_clear(&answer);
    return rc;
}

/* *answer is empty where there is no such job. */
static int show_job(int64_t id, struct command_answer *answer,
                    struct mup_error *err)
{
    struct words w = { 0 };
    char what[64];
    int rc;

    add(&w, "scontrol");
    add(&w, "--oneliner");
    add(&w, "show");
    add(&w, "job");
    add(&w, "%lld", (long long)id);
    rc = ask(&w, NULL, answer, err);
    if (rc != MUP_OK || answer->exit_code == 0)
        return rc;
    if (slurm_parse_no_job(answer->errors)) {
        answer->output[0] = '\0';
        return MUP_OK;
    }
    snprintf(what, sizeof(what), "cannot look at job %lld", (long long)id);
    rc = slurm_parse_refusal(answer->errors, what, err);
    command_answer_clear(answer);
    return rc;
}

static int tools_job(struct cluster *c, int64_t id, struct cluster_jobs *out,
                     struct mup_error *err)
{
    struct command_answer answer = { 0 };
    int rc = show_job(id, &answer, err);

    (void)c;
    if (rc == MUP_OK)
        rc = slurm_parse_jobs(answer.output, out, err);
    command_answer_clear(&answer);
    return rc;
}

/* scancel is content with a job that has ended or never was. */
static int tools_cancel(struct cluster *c, int64_t id, struct mup_error *err)
{
    struct words w = { 0 };
    char what[64];

    (void)c;
    add(&w, "scancel");
    add(&w, "%lld", (long long)id);
    snprintf(what, sizeof(what), "cannot cancel job %lld", (long long)id);
    return order(&w, what, err);
}

static int tools_signal(struct cluster *c, int64_t id, int number,
                        struct mup_error *err)
{
    struct words w = { 0 };
    char what[64];

    (void)c;
    add(&w, "scancel");
    add(&w, "--batch");
    add(&w, "--signal=%d", number);
    add(&w, "%lld", (long long)id);
    snprintf(what, sizeof(what), "cannot signal job %lld", (long long)id);
    return order(&w, what, err);
}

static int tools_requeue(struct cluster *c, int64_t id, struct mup_error *err)
{
    struct command_answer answer = { 0 };
    struct words w = { 0 };
    char what[64];
    int rc;

    (void)c;
    add(&w, "scontrol");
    add(&w, "requeue");
    add(&w, "%lld", (long long)id);
    rc = ask(&w, NULL, &answer, err);
    snprintf(what, sizeof(what), "cannot requeue job %lld", (long long)id);
    if (rc == MUP_OK && answer.exit_code != 0 &&
        !strstr(answer.errors, "Job is pending execution"))
        rc = slurm_parse_refusal(answer.errors, what, err);
    command_answer_clear(&answer);
    return rc;
}

static int tools_excluded(struct cluster *c, int64_t id, char **out,
                          struct mup_error *err)
{
    struct command_answer answer = { 0 };
    int rc = show_job(id, &answer, err);

    (void)c;
    if (rc == MUP_OK)
        rc = slurm_parse_excluded(answer.output, out, err);
    command_answer_clear(&answer);
    return rc;
}

static int tools_exclude(struct cluster *c, int64_t id, const char *nodes,
                         struct mup_error *err)
{
    struct words w = { 0 };
    char what[64];

    (void)c;
    add(&w, "scontrol");
    add(&w, "update");
    add(&w, "jobid=%lld", (long long)id);
    add(&w, "excnodelist=%s", nodes);
    snprintf(what, sizeof(what), "cannot exclude nodes from job %lld",
             (long long)id);
    return order(&w, what, err);
}

/* ---- nodes and partitions --------------------------------------------------
 */

static int show_all(const char *kind, struct command_answer *answer,
                    struct mup_error *err)
{
    struct words w = { 0 };
    char what[64];

    add(&w, "scontrol");
    add(&w, "--oneliner");
    add(&w, "--all");
    add(&w, "show");
    add(&w, "%s", kind);
    snprintf(what, sizeof(what), "cannot list the %ss", kind);
    return ask_for(&w, NULL, what, answer, err);
}

static int tools_nodes(struct cluster *c, struct cluster_nodes *out,
                       struct mup_error *err)
{
    struct command_answer answer = { 0 };
    int rc = show_all("node", &answer, err);

    (void)c;
    if (rc == MUP_OK)
        rc = slurm_parse_nodes(answer.output, out, err);
    command_answer_clear(&answer);
    return rc;
}

static int tools_partitions(struct cluster *c, struct cluster_parts *out,
                            struct mup_error *err)
{
    struct command_answer answer = { 0 };
    int rc = show_all("partition", &answer, err);

    (void)c;
    if (rc == MUP_OK)
        rc = slurm_parse_parts(answer.output, out, err);
    command_answer_clear(&answer);
    return rc;
}

static int tools_drain(struct cluster *c, const char *node, const char *reason,
                       struct mup_error *err)
{
    struct words w = { 0 };
    char what[128];

    (void)c;
    add(&w, "scontrol");
    add(&w, "update");
    add(&w, "nodename=%s", node);
    add(&w, "state=drain");
    add(&w, "reason=%s", reason);
    snprintf(what, sizeof(what), "cannot drain node '%.64s'", node);
    return order(&w, what, err);
}

/* ---- opening ---------------------------------------------------------------
 */

static void tools_close(struct cluster *c)
{
    free(c);
}

static const struct cluster_ops tools = {
    .name = "tools",
    .close = tools_close,
    .submit = tools_submit,
    .own_jobs = tools_own_jobs,
    .job = tools_job,
    .cancel = tools_cancel,
    .signal = tools_signal,
    .requeue = tools_requeue,
    .excluded = tools_excluded,
    .exclude = tools_exclude,
    .nodes = tools_nodes,
    .partitions = tools_partitions,
    .drain = tools_drain,
};

int slurm_tools_open(struct cluster **out, struct mup_error *err)
{
    static const char *const needed[] = { "sbatch", "squeue", "scontrol",
                                          "scancel" };
    struct cluster *c;

    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (!path_has_program(needed[i]))
            return mup_fail(err, MUP_SYSTEM,
                            "SLURM's '%s' is not on PATH; install "
                            "slurm-client or load your site's module for SLURM",
                            needed[i]);
    c = calloc(1, sizeof(*c));
    if (!c)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    c->ops = &tools;
    *out = c;
    return MUP_OK;
}
