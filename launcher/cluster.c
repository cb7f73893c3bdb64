#include "launcher/cluster.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/cluster_ops.h"
#include "launcher/paths.h"

extern char **environ;

/* ---- how it is configured --------------------------------------------------
 */

/* Where slurm.conf lies: as packaged, then what slurmd of a site without files
 * ("configless") has fetched, then the sites' own builds.  "" if nowhere. */
static int find_conf(char *out, size_t bytes, struct mup_error *err)
{
    static const char *const places[] = {
        "/etc/slurm/slurm.conf",
        "/etc/slurm-llnl/slurm.conf",
        "/run/slurm/conf/slurm.conf",
        "/var/run/slurm/conf/slurm.conf",
        "/var/spool/slurmd/conf-cache/slurm.conf",
        "/var/spool/slurm/slurmd/conf-cache/slurm.conf",
        "/var/lib/slurm/slurmd/conf-cache/slurm.conf",
        "/usr/local/etc/slurm.conf",
        "/opt/slurm/etc/slurm.conf",
    };
    const char *given = getenv("SLURM_CONF");

    out[0] = '\0';
    /* SLURM's own programs wait a minute for a file that is not there. */
    if (given && *given) {
        if (access(given, R_OK) != 0)
            return mup_fail(err, MUP_USAGE,
                            "SLURM_CONF names '%s', which cannot be read: %s; "
                            "unset it or name the slurm.conf of your site",
                            given, strerror(errno));
        if ((size_t)snprintf(out, bytes, "%s", given) >= bytes)
            return mup_fail(err, MUP_USAGE,
                            "SLURM_CONF is longer than %zu letters", bytes - 1);
        return MUP_OK;
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !out[0]; i++)
        if (access(places[i], R_OK) == 0)
            snprintf(out, bytes, "%s", places[i]);
    return MUP_OK;
}

/* A site may be configured by the DNS alone: the tools look there, the library
 * ends the process if that fails.  So without a file it is not asked. */
int cluster_open(int by, struct cluster **out, struct mup_error *err)
{
    char conf[4096];
    int rc = find_conf(conf, sizeof(conf), err);

    if (rc != MUP_OK)
        return rc;
    if (by == SLURM_TOOLS ||
        (by == SLURM_AUTO && (!cluster_has_library() || !conf[0]))) {
        if (!conf[0] && !path_has_program("sbatch"))
            return mup_fail(err, MUP_SYSTEM,
                            "there is no SLURM on this machine: neither its "
                            "slurm.conf nor its tools; log in to a machine "
                            "that can submit jobs");
        return slurm_tools_open(out, err);
    }
    if (!conf[0] && cluster_has_library())
        return mup_fail(err, MUP_SYSTEM,
                        "no SLURM is configured on this machine; set "
                        "SLURM_CONF to the slurm.conf of your site");
    return slurm_open(conf, out, err);
}

void cluster_close(struct cluster *c)
{
    if (c)
        c->ops->close(c);
}

const char *cluster_name(const struct cluster *c)
{
    return c->ops->name;
}

/* ---- jobs ------------------------------------------------------------------
 */

/* A question of some bytes that a backup controller answers too: SLURM's own
 * ping asks one of them. */
int cluster_ping(struct cluster *c, struct mup_error *err)
{
    struct cluster_parts parts = { 0 };
    int rc = c->ops->partitions(c, &parts, err);

    if (rc == MUP_OK)
        cluster_free_parts(&parts);
    return rc;
}

int cluster_submit(struct cluster *c, const struct cluster_request *request,
                   int64_t *id, struct mup_error *err)
{
    return c->ops->submit(c, request, id, err);
}

/* How much of a job the answer for an array shall tell: one that runs before
 * one that waits, one that failed before one that did not. */
static int weight(const struct cluster_job *j)
{
    switch (j->state) {
    case CLUSTER_RUNNING:
        return 6;
    case CLUSTER_ENDING:
        return 5;
    case CLUSTER_PENDING:
        return 4;
    case CLUSTER_HELD:
        return 3;
    case CLUSTER_ENDED:
        return j->exit_status || j->exit_signal || j->cancelled ||
                       j->timed_out || j->node_failed
                   ? 2
                   : 1;
    default:
        return 0;
    }
}

int cluster_job(struct cluster *c, int64_t id, struct cluster_job *out,
                struct mup_error *err)
{
    struct cluster_jobs jobs = { 0 };
    struct cluster_job best = { .state = CLUSTER_NO_JOB };
    int rc = c->ops->job(c, id, &jobs, err);

    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < jobs.n; i++)
        if (weight(&jobs.job[i]) > weight(&best))
            best = jobs.job[i];
    best.id = id;
    *out = best;
    free(jobs.job);
    return MUP_OK;
}

int cluster_find(struct cluster *c, const char *comment,
                 struct cluster_job *out, struct mup_error *err)
{
    struct cluster_jobs jobs = { 0 };
    int64_t id = -1;
    int best_lives = 0;
    int rc = c->ops->own_jobs(c, &jobs, err);

    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < jobs.n; i++) {
        const struct cluster_job *j = &jobs.job[i];
        int lives = j->state != CLUSTER_ENDED;

        if (strcmp(j->comment, comment) != 0 || lives < best_lives)
            continue;
        if (lives > best_lives || j->id > id)
            id = j->id;
        best_lives = lives;
    }
    free(jobs.job);
    if (id >= 0)
        return cluster_job(c, id, out, err);
    *out = (struct cluster_job){ .state = CLUSTER_NO_JOB };
    return MUP_OK;
}

int cluster_cancel(struct cluster *c, int64_t id, struct mup_error *err)
{
    return c->ops->cancel(c, id, err);
}

int cluster_signal(struct cluster *c, int64_t id, int number,
                   struct mup_error *err)
{
    struct cluster_job j;
    int rc = cluster_job(c, id, &j, err);

    if (rc != MUP_OK)
        return rc;
    /* For one that waits scancel tries again for a minute. */
    if (j.state == CLUSTER_NO_JOB)
        return mup_fail(err, MUP_USAGE,
                        "cannot signal job %lld: SLURM knows no such job",
                        (long long)id);
    if (j.state != CLUSTER_RUNNING)
        return mup_fail(err, MUP_USAGE,
                        "cannot signal job %lld: it does not run, it is %s",
                        (long long)id, j.state_name);
    return c->ops->signal(c, id, number, err);
}

/* SLURM 22.05 refuses to change the excluded nodes of a running job ("Job is
 * no longer pending execution"), so it waits again first; that it does from the
 * moment the request is answered, and it starts seconds later: not before its
 * old processes are gone and their credentials have expired.  A caller within
 * the job is among those processes and has KillWait (30 s) after SIGTERM. */
int cluster_requeue(struct cluster *c, int64_t id, const char *exclude,
                    struct mup_error *err)
{
    char *before = NULL, *all;
    size_t bytes;
    int rc = c->ops->requeue(c, id, err);

    if (rc != MUP_OK || !exclude || !*exclude)
        return rc;
    rc = c->ops->excluded(c, id, &before, err);
    if (rc != MUP_OK)
        return rc;
    bytes = strlen(before) + strlen(exclude) + 2;
    all = malloc(bytes);
    if (all) {
        snprintf(all, bytes, "%s%s%s", before, *before ? "," : "", exclude);
        rc = c->ops->exclude(c, id, all, err);
    } else {
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    free(all);
    free(before);
    return rc;
}

/* ---- nodes and partitions --------------------------------------------------
 */

void cluster_free_parts(struct cluster_parts *p)
{
    for (int i = 0; i < p->n; i++)
        free(p->part[i].nodes);
    free(p->part);
    *p = (struct cluster_parts){ 0 };
}

static int no_partition(const struct cluster_parts *p, const char *name,
                        struct mup_error *err)
{
    char names[512] = "";

    for (int i = 0; i < p->n; i++) {
        size_t used = strlen(names);

        snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
                 p->part[i].info.name);
    }
    if (!*name)
        return mup_fail(err, MUP_USAGE,
                        "no partition is the default one here; set "
                        "slurm.partition to one of %s",
                        names);
    return mup_fail(err, MUP_USAGE,
                    "there is no partition '%.64s'; there are %s", name,
                    *names ? names : "none");
}

/* takes: cluster_free_parts(all). */
static int load_partition(struct cluster *c, const char *name,
                          struct cluster_parts *all, int *index,
                          struct mup_error *err)
{
    int rc = c->ops->partitions(c, all, err);

    if (rc != MUP_OK)
        return rc;
    for (int i = 0; i < all->n; i++) {
        const struct cluster_partition *p = &all->part[i].info;

        if (name && *name ? strcmp(p->name, name) == 0 : p->is_default) {
            *index = i;
            return MUP_OK;
        }
    }
    rc = no_partition(all, name ? name : "", err);
    cluster_free_parts(all);
    return rc;
}

int cluster_partition(struct cluster *c, const char *name,
                      struct cluster_partition *out, struct mup_error *err)
{
    struct cluster_parts all = { 0 };
    int i = 0;
    int rc = load_partition(c, name, &all, &i, err);

    if (rc != MUP_OK)
        return rc;
    *out = all.part[i].info;
    cluster_free_parts(&all);
    return MUP_OK;
}

int cluster_nodes(struct cluster *c, const char *partition,
                  struct cluster_node **out, int *n, struct mup_error *err)
{
    struct cluster_parts parts = { 0 };
    struct cluster_nodes all = { 0 };
    struct hostlist members = { 0 };
    int i = 0, kept = 0;
    int rc = load_partition(c, partition, &parts, &i, err);

    if (rc != MUP_OK)
        return rc;
    rc = hostlist_parse(parts.part[i].nodes, &members, err);
    cluster_free_parts(&parts);
    if (rc == MUP_OK)
        rc = c->ops->nodes(c, &all, err);
    if (rc == MUP_OK) {
        for (int k = 0; k < all.n; k++)
            if (hostlist_find(&members, all.node[k].name) >= 0)
                all.node[kept++] = all.node[k];
        *out = all.node;
        *n = kept;
    }
    hostlist_clear(&members);
    return rc;
}

int cluster_drain(struct cluster *c, const char *node, const char *reason,
                  struct mup_error *err)
{
    /* SLURM's library takes none, and then nobody knows why. */
    if (!reason || !*reason)
        return mup_fail(err, MUP_USAGE,
                        "node '%s' cannot be drained without a reason", node);
    return c->ops->drain(c, node, reason, err);
}

/* ---- what both ways share --------------------------------------------------
 */

void cluster_copy_text(char *out, size_t bytes, const char *text)
{
    if (!text || strcmp(text, "(null)") == 0)
        text = "";
    snprintf(out, bytes, "%s", text);
}

int64_t cluster_minutes(const struct cluster_request *r)
{
    return (int64_t)ceil(r->time_min);
}

int64_t cluster_memory_mib(const struct cluster_request *r)
{
    return (int64_t)ceil(r->memory_gib * 1024);
}

/* What is about the job around us, if there is one, and not about the next. */
static int is_of_job(const char *variable)
{
    static const char *const prefixes[] = { "SLURM_",
                                            "SLURMD_",
                                            "SBATCH_",
                                            "SQUEUE_",
                                            "SINFO_",
                                            "SCANCEL_",
                                            "SCONTROL_",
                                            "SPANK_",
                                            "SALLOC_",
                                            "SRUN_",
                                            "MUTRANSFER_SUPERVISOR=",
                                            "MUTRANSFER_INCARNATION=",
                                            "MUTRANSFER_RUN=" };

    if (strncmp(variable, "SLURM_CONF=", 11) == 0)
        return 0;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    return 0;
}

int cluster_environment(const char *const *extra, char ***out,
                        struct mup_error *err)
{
    size_t n = 0, n_extra = 0, used = 0;
    char **copy;

    while (environ && environ[n])
        n++;
    while (extra && extra[n_extra])
        n_extra++;
    copy = calloc(n + n_extra + 1, sizeof(*copy));
    if (!copy)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        if (!is_of_job(environ[i]))
            copy[used++] = environ[i];
    for (size_t i = 0; i < n_extra; i++)
        copy[used++] = (char *)extra[i];
    *out = copy;
    return MUP_OK;
}
