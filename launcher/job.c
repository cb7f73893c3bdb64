#include "launcher/job.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/launch_log.h"
#include "launcher/shell.h"

/* sbatch reads one argument into a buffer of BUFSIZ bytes. */
#define MAX_TEXT 8000
/* SLURM keeps the seconds before the end in 16 bits. */
#define MAX_SIGNAL_S 65535

/* ---- texts ---------------------------------------------------------------
 */

int64_t job_signal_s(const struct slurm_config *s)
{
    const double quarter = 60 * s->time_min / 4;

    if (s->signal_s > 0)
        return (int64_t)ceil(s->signal_s);
    return quarter < 120 ? (int64_t)quarter : 120;
}

/* Can an #SBATCH line hold it? */
static int check_text(const char *what, const char *text, struct mup_error *err)
{
    if (strlen(text) > MAX_TEXT)
        return mup_fail(err, MUP_USAGE,
                        "%s: '%.40s...' is longer than the %d characters that "
                        "a line of a batch script can hold",
                        what, text, MAX_TEXT);
    for (const char *p = text; *p; p++)
        if (iscntrl((unsigned char)*p))
            return mup_fail(err, MUP_USAGE,
                            "%s: '%.*s' is followed by character %d, which no "
                            "line of a batch script can hold",
                            what, (int)(p - text), text, (unsigned char)*p);
    return MUP_OK;
}

static int check_texts(const struct slurm_config *s, const char *ejected,
                       struct mup_error *err)
{
    const struct {
        const char *key, *text;
    } texts[] = {
        { "slurm.partition", s->partition },
        { "slurm.account", s->account },
        { "slurm.qos", s->qos },
        { "slurm.constraint", s->constraint },
        { "slurm.exclude", s->exclude },
        { "slurm.setup", s->setup },
        { "ejected nodes", ejected },
    };
    int rc = MUP_OK;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && rc == MUP_OK;
         i++)
        rc = check_text(texts[i].key, texts[i].text, err);
    return rc;
}

/* Folder of the run and where the client stands, both absolute. */
static int make_paths(const char *dir, struct job *j, struct mup_error *err)
{
    int n, rc;

    if (!getcwd(j->work_dir, sizeof(j->work_dir)))
        return mup_fail(err, MUP_SYSTEM, "cannot tell the current folder: %s",
                        strerror(errno));
    if (dir[0] == '/')
        n = snprintf(j->output, sizeof(j->output), "%s/job.log", dir);
    else
        n = snprintf(j->output, sizeof(j->output), "%s/%s/job.log",
                     strcmp(j->work_dir, "/") ? j->work_dir : "", dir);
    if (n < 0 || (size_t)n >= sizeof(j->output))
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", dir);
    rc = check_text("the folder of the run", j->output, err);
    if (rc == MUP_OK)
        rc = check_text("the current folder", j->work_dir, err);
    /* SLURM replaces %j and the like in the name of the output file, and a
     * backslash changes how. */
    if (rc == MUP_OK && strpbrk(j->output, "%\\"))
        rc = mup_fail(err, MUP_USAGE,
                      "the folder '%s' has a %% or \\ in its path, which SLURM "
                      "replaces; name another one after -o",
                      dir);
    return rc;
}

static void make_name(const char *dir, const char *uuid, struct job *j)
{
    size_t n = strlen(dir), start;
    char name[40];

    while (n > 1 && dir[n - 1] == '/')
        n--;
    for (start = n; start > 0 && dir[start - 1] != '/'; start--)
        ;
    n = n - start < sizeof(name) ? n - start : sizeof(name) - 1;
    for (size_t i = 0; i < n; i++) {
        char c = dir[start + i];

        /* It is shown by squeue, and typed by people. */
        name[i] =
            (char)(isalnum((unsigned char)c) || strchr("._-", c) ? c : '_');
    }
    name[n] = 0;
    snprintf(j->name, sizeof(j->name), "mutransfer-%s-%.8s", name, uuid);
}

/* "a,b" of slurm.exclude and the ejected nodes. */
static int make_exclude(const char *own, const char *ejected, struct job *j,
                        struct mup_error *err)
{
    size_t bytes = strlen(own) + strlen(ejected) + 2;

    j->exclude = malloc(bytes);
    if (!j->exclude)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    snprintf(j->exclude, bytes, "%s%s%s", own, *own && *ejected ? "," : "",
             ejected);
    return check_text("slurm.exclude with the ejected nodes", j->exclude, err);
}

/* ---- the script ------------------------------------------------------------
 */

/* An argument as sbatch reads it: a backslash counts in quotes too. */
static void write_text(FILE *f, const char *option, const char *text)
{
    if (!text || !*text)
        return;
    fprintf(f, "#SBATCH --%s=\"", option);
    for (; *text; text++)
        fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputs("\"\n", f);
}

static void write_number(FILE *f, const char *option, int64_t n,
                         const char *unit)
{
    if (n > 0)
        fprintf(f, "#SBATCH --%s=%lld%s\n", option, (long long)n, unit);
}

static void write_request(FILE *f, const struct cluster_request *r)
{
    write_text(f, "job-name", r->name);
    write_text(f, "comment", r->comment);
    write_text(f, "partition", r->partition);
    write_text(f, "account", r->account);
    write_text(f, "qos", r->qos);
    write_number(f, "nodes", r->nodes, "");
    write_number(f, "ntasks-per-node", r->tasks_per_node, "");
    write_number(f, "cpus-per-task", r->cpus_per_task, "");
    if (r->gpus_per_node > 0)
        fprintf(f, "#SBATCH --gres=gpu:%lld\n", (long long)r->gpus_per_node);
    write_number(f, "mem", (int64_t)ceil(1024 * r->memory_gib), "M");
    write_text(f, "constraint", r->constraint);
    write_text(f, "exclude", r->exclude);
    write_number(f, "time", (int64_t)ceil(r->time_min), "");
    if (r->array > 0)
        fprintf(f, "#SBATCH --array=0-%lld\n", (long long)r->array - 1);
    fprintf(f,
            "# SIGUSR1 comes that many seconds before the time is over: the "
            "state is saved\n"
            "# and the job is queued again.\n"
            "#SBATCH --signal=B:USR1@%lld\n",
            (long long)r->signal_s);
    fputs(r->requeue ? "#SBATCH --requeue\n" : "#SBATCH --no-requeue\n", f);
    if (r->no_kill)
        fputs("# A dead node does not end the job: the run goes on without it."
              "\n#SBATCH --no-kill\n",
              f);
    fputs("#SBATCH --open-mode=append\n", f);
    write_text(f, "chdir", r->work_dir);
    write_text(f, "output", r->output);
}

static int write_words(FILE *f, const char *const *words, struct mup_error *err)
{
    char *line;
    int rc = shell_join(words, &line, err);

    if (rc == MUP_OK) {
        fprintf(f, "%s", line);
        free(line);
    }
    return rc;
}

static int write_script(FILE *f, const struct slurm_config *s,
                        const char *const *command,
                        const struct cluster_request *r, struct mup_error *err)
{
    char path[FIELD_TEXT_BYTES + sizeof(((struct job *)0)->work_dir)];
    const char *setup[] = { path, NULL };
    int rc = MUP_OK;

    fputs("#!/bin/bash\n", f);
    write_request(f, r);
    if (*s->setup) {
        /* A name without slash would be searched for on PATH. */
        snprintf(path, sizeof(path), "%s%s%s",
                 s->setup[0] == '/' ? "" : r->work_dir,
                 s->setup[0] == '/' ? "" : "/", s->setup);
        fputs("\n# What this site needs (slurm.setup).\nsource ", f);
        rc = write_words(f, setup, err);
        fputs(" || exit 2\n", f);
    }
    if (rc == MUP_OK) {
        fputs(
            "\n# It takes the place of this shell, so that it hears the job's "
            "signals.\nexec ",
            f);
        rc = write_words(f, command, err);
        fputs("\n", f);
    }
    return rc;
}

static int make_script(const struct run_config *config,
                       const char *const *command, struct job *j,
                       struct mup_error *err)
{
    size_t bytes;
    FILE *f = open_memstream(&j->script, &bytes);
    int rc;

    if (!f)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    rc = write_script(f, &config->slurm, command, &j->request, err);
    if (fclose(f) != 0 && rc == MUP_OK)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    j->request.script = j->script;
    return rc;
}

/* ---- all of it
 * ---------------------------------------------------------------
 */

/* One small job a worker: its share of a node. */
static void share_request(const struct slurm_config *s,
                          struct cluster_request *r)
{
    r->array = s->nodes * s->ranks_per_node;
    r->nodes = r->tasks_per_node = 1;
    r->gpus_per_node =
        (s->gpus_per_node + s->ranks_per_node - 1) / s->ranks_per_node;
    r->memory_gib = s->memory_gib / (double)s->ranks_per_node;
    r->no_kill = 0;
}

static void make_request(const struct slurm_config *s, struct job *j)
{
    j->request = (struct cluster_request){
        .name = j->name,
        .comment = j->comment,
        .partition = s->partition,
        .account = s->account,
        .qos = s->qos,
        .constraint = s->constraint,
        .exclude = j->exclude,
        .work_dir = j->work_dir,
        .output = j->output,
        .nodes = s->nodes + s->spares,
        .tasks_per_node = s->ranks_per_node,
        .cpus_per_task = s->cpus_per_rank,
        .gpus_per_node = s->gpus_per_node,
        .memory_gib = s->memory_gib,
        .time_min = ceil(s->time_min),
        .signal_s = job_signal_s(s),
        .no_kill = 1,
        .requeue = 1,
    };
    if (s->array)
        share_request(s, &j->request);
}

static int check_signal(const struct slurm_config *s, struct mup_error *err)
{
    const int64_t signal_s = job_signal_s(s);

    if (signal_s > MAX_SIGNAL_S)
        return mup_fail(err, MUP_USAGE,
                        "slurm.signal_s: SLURM counts %d s before a job's end "
                        "at most, not %lld",
                        MAX_SIGNAL_S, (long long)signal_s);
    if ((double)signal_s >= 60 * ceil(s->time_min))
        return mup_fail(err, MUP_USAGE,
                        "slurm.signal_s: %lld s before its end a job of %.0f "
                        "min has not begun; lengthen slurm.time_min",
                        (long long)signal_s, ceil(s->time_min));
    return MUP_OK;
}

int job_make(const struct run_config *config, const char *const *command,
             const char *dir, const char *uuid, const char *ejected,
             struct job *out, struct mup_error *err)
{
    const struct slurm_config *s = &config->slurm;
    const char *left_out = ejected ? ejected : "";
    /* In place: the request points into it. */
    struct job *j = out, empty = { 0 };
    int rc = check_texts(s, left_out, err);

    *j = empty;
    for (int i = 0; rc == MUP_OK && command[i]; i++)
        rc = check_text("the command of the job", command[i], err);
    if (rc == MUP_OK)
        rc = check_signal(s, err);
    if (rc == MUP_OK)
        rc = make_paths(dir, j, err);
    if (rc == MUP_OK)
        rc = make_exclude(s->exclude, left_out, j, err);
    if (rc == MUP_OK) {
        make_name(dir, uuid, j);
        launch_log_comment(uuid, j->comment, sizeof(j->comment));
        j->slurm = *s; /* the caller's may go before the job does */
        make_request(&j->slurm, j);
        rc = make_script(config, command, j, err);
    }
    if (rc != MUP_OK)
        job_clear(j);
    return rc;
}

void job_clear(struct job *j)
{
    free(j->script);
    free(j->exclude);
    *j = (struct job){ 0 };
}

/* ---- can it run?
 * -------------------------------------------------------------
 */

/* What stands in the way of a node, or NULL. */
static const char *too_small(const struct cluster_node *n,
                             const struct cluster_request *r)
{
    if (n->cpus > 0 && n->cpus < r->tasks_per_node * r->cpus_per_task)
        return "CPUs";
    if (n->gpus < r->gpus_per_node)
        return "GPUs";
    if (n->memory_mib > 1 && (double)n->memory_mib < 1024 * r->memory_gib)
        return "MiB of memory";
    return NULL;
}

static int fail_too_small(const struct cluster_partition *p,
                          const struct cluster_node *n, const char *what,
                          const struct cluster_request *r,
                          struct mup_error *err)
{
    int64_t want = r->gpus_per_node, have = n->gpus;
    const char *key = "slurm.gpus_per_node";

    if (!strcmp(what, "CPUs")) {
        want = r->tasks_per_node * r->cpus_per_task;
        have = n->cpus;
        key = "slurm.ranks_per_node or slurm.cpus_per_rank";
    } else if (strcmp(what, "GPUs") != 0) {
        want = (int64_t)ceil(1024 * r->memory_gib);
        have = n->memory_mib;
        key = "slurm.memory_gib";
    }
    return mup_fail(err, MUP_USAGE,
                    "the job wants %lld %s of a node, and '%s' of partition "
                    "'%s' has %lld; lower %s",
                    (long long)want, what, n->name, p->name, (long long)have,
                    key);
}

/* Enough nodes of that size, those left out not counted? */
static int check_nodes(const struct job *j, const struct cluster_partition *p,
                       const struct cluster_node *node, int n,
                       struct mup_error *err)
{
    const struct cluster_request *r = &j->request;
    struct hostlist excluded = { 0 };
    const struct cluster_node *small = NULL;
    int64_t fit = 0, out = 0;
    int rc = hostlist_parse(j->exclude, &excluded, err);

    for (int i = 0; i < n && rc == MUP_OK; i++) {
        if (hostlist_find(&excluded, node[i].name) >= 0)
            out++;
        else if (too_small(&node[i], r))
            small = &node[i];
        else
            fit++;
    }
    hostlist_clear(&excluded);
    if (rc != MUP_OK || fit >= r->nodes)
        return rc;
    if (small && fit + out < r->nodes)
        return fail_too_small(p, small, too_small(small, r), r, err);
    return mup_fail(err, MUP_USAGE,
                    "the job wants %lld nodes, and partition '%s' has %d, %lld "
                    "of them left out ('launch -n' says why); lower "
                    "slurm.nodes or slurm.spares, or have nodes repaired",
                    (long long)r->nodes, p->name, n, (long long)out);
}

static int check_partition(const struct job *j,
                           const struct cluster_partition *p,
                           struct mup_error *err)
{
    const struct cluster_request *r = &j->request;
    const int64_t most =
        p->max_nodes > 0 && p->max_nodes < p->nodes ? p->max_nodes : p->nodes;

    if (!p->up)
        return mup_fail(err, MUP_USAGE,
                        "partition '%s' is closed: the site has set it down; "
                        "choose another with slurm.partition",
                        p->name);
    if (r->nodes > most)
        return mup_fail(err, MUP_USAGE,
                        "the job wants %lld nodes (slurm.nodes and "
                        "slurm.spares), and partition '%s' %s %lld; lower them",
                        (long long)r->nodes, p->name,
                        most == p->nodes ? "has" : "gives at most",
                        (long long)most);
    if (p->max_time_min > 0 && r->time_min > p->max_time_min)
        return mup_fail(err, MUP_USAGE,
                        "the job wants %.0f min, and partition '%s' gives at "
                        "most %.0f; lower slurm.time_min: the run goes on in "
                        "the next job",
                        r->time_min, p->name, p->max_time_min);
    return MUP_OK;
}

int job_check(struct cluster *c, const struct job *j, struct mup_error *err)
{
    struct cluster_partition p;
    struct cluster_node *node = NULL;
    int n = 0, rc = cluster_partition(c, j->request.partition, &p, err);

    if (rc == MUP_OK)
        rc = check_partition(j, &p, err);
    if (rc == MUP_OK)
        rc = cluster_nodes(c, p.name, &node, &n, err);
    if (rc == MUP_OK)
        rc = check_nodes(j, &p, node, n, err);
    free(node);
    return rc;
}
