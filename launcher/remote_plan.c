#include "launcher/remote.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "launcher/journal.h"
#include "launcher/json.h"
#include "launcher/plan.h"
#include "launcher/plan_ranks.h"
#include "launcher/submit.h"
#include "launcher/units.h"

/* Stands for the run's uuid, which is made when it is first submitted. */
#define NO_UUID "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

/* Estimates are what the plan says; bounds hold whatever the run does, as SLURM
 * ends every job at its limit. */
struct cost {
    double job_h; /* limit of one job */
    double nodes, cpus, gpus;
    int measured; /* the estimate: on this machine, or from assumed numbers */
    double flops; /* FLOP/s of a rank that were assumed */
    double run_s; /* estimate; 0: there is none */
    double jobs;  /* ... of them */
};

struct dry_run {
    struct submit submit; /* as far as a job is made from it */
    struct node_filter filter;
    struct job job;
    struct cost cost;
    int answered; /* the controller: partition and usable are known */
    struct cluster_partition partition;
    int usable;
};

/* ---- the cluster, where it answers
 * -------------------------------------------
 */

static int look_at_nodes(struct dry_run *d, struct cluster *c,
                         struct mup_error *err)
{
    const struct run_config *config = d->submit.config;
    struct cluster_node *node = NULL;
    int n = 0;
    int rc = cluster_partition(c, config->slurm.partition, &d->partition, err);

    if (rc == MUP_OK)
        rc = cluster_nodes(c, d->partition.name, &node, &n, err);
    for (int i = 0; i < n && rc == MUP_OK; i++)
        d->usable += node[i].usable;
    if (rc == MUP_OK)
        rc = node_filter_make(config, node, n, &d->filter, err);
    free(node);
    if (rc == MUP_OK)
        rc = submit_make_job(&d->submit, &d->filter, &d->job, err);
    if (rc == MUP_OK)
        rc = job_check(c, &d->job, err);
    d->answered = rc == MUP_OK;
    return rc;
}

/* A dry run needs no SLURM: without an answer nothing is checked. */
static int look_at_cluster(struct dry_run *d, struct mup_error *err)
{
    struct cluster *c;
    struct mup_error why = { 0 };
    int rc = cluster_open(d->submit.config->slurm.by, &c, &why);

    if (rc == MUP_OK) {
        rc = look_at_nodes(d, c, &why);
        cluster_close(c);
    }
    if (rc == MUP_OK)
        return rc;
    if (rc != MUP_DEVICE && rc != MUP_SYSTEM)
        return mup_fail(err, rc, "%s", why.text);
    fprintf(stderr, "note: the site's limits are not checked: %s\n", why.text);
    job_clear(&d->job);
    node_filter_clear(&d->filter);
    rc = node_filter_make(d->submit.config, NULL, 0, &d->filter, err);
    if (rc == MUP_OK)
        rc = submit_make_job(&d->submit, &d->filter, &d->job, err);
    return rc;
}

/* ---- time and cost
 * -------------------------------------------------------------
 */

/* Of GPUs by the numbers that 'plan --ranks' assumes, of CPUs by what a short
 * benchmark here gives, shared evenly. */
static void estimate(const struct run_config *config, struct cost *c)
{
    const int64_t ranks = config->slurm.nodes * config->slurm.ranks_per_node;
    struct plan_ranks query = plan_ranks_default(ranks, 0);
    struct run_config copy = *config;
    struct plan_speed speed;
    double step_s;

    c->measured = config->slurm.gpus_per_node == 0;
    c->flops = query.machine.flops;
    query.machine.per_node = config->slurm.ranks_per_node;
    if (c->measured) {
        plan_replace_data(&copy);
        if (plan_measure(&copy, 0.5, &speed, NULL) == MUP_OK)
            c->run_s = plan_run_seconds(config, &speed) / (double)ranks;
    } else if (plan_ranks_step(config, &query, &step_s, NULL) == MUP_OK) {
        c->run_s = (double)config->train.steps * step_s;
    }
}

static void count_cost(const struct run_config *config, struct cost *c)
{
    const struct slurm_config *s = &config->slurm;
    const double whole_s = 60 * ceil(s->time_min);

    c->job_h = ceil(s->time_min) / 60;
    c->nodes = (double)(s->nodes + s->spares);
    c->cpus = c->nodes * (double)(s->ranks_per_node * s->cpus_per_rank);
    c->gpus = c->nodes * (double)s->gpus_per_node;
    estimate(config, c);
    if (c->run_s > 0)
        c->jobs = ceil(c->run_s / (whole_s - (double)job_signal_s(s)));
}

/* ---- for people
 * -----------------------------------------------------------------
 */

static void print_job(const struct dry_run *d)
{
    const struct slurm_config *s = &d->submit.config->slurm;
    const struct cluster_request *r = &d->job.request;
    const char *what = d->submit.space ? "worker" : "rank";

    if (r->array > 0) {
        printf("job      %s: an array of %lld jobs of one worker\n",
               d->job.name, (long long)r->array);
        return;
    }
    printf("job      %s: %lld node%s", d->job.name, (long long)r->nodes,
           r->nodes == 1 ? "" : "s");
    if (s->spares > 0)
        printf(" (%lld train, %lld stand%s by)", (long long)s->nodes,
               (long long)s->spares, s->spares == 1 ? "s" : "");
    printf(" of %lld %s%s with %lld CPU%s each", (long long)s->ranks_per_node,
           what, s->ranks_per_node == 1 ? "" : "s", (long long)s->cpus_per_rank,
           s->cpus_per_rank == 1 ? "" : "s");
    if (s->gpus_per_node > 0)
        printf(", %lld GPU%s a node", (long long)s->gpus_per_node,
               s->gpus_per_node == 1 ? "" : "s");
    if (s->memory_gib > 0)
        printf(", %g GiB a node", s->memory_gib);
    printf("\n");
}

static void print_time(const struct dry_run *d)
{
    const struct slurm_config *s = &d->submit.config->slurm;
    const struct cost *c = &d->cost;

    printf(
        "time     %s a job; %lld s before its end the state is saved and the "
        "job queued again, at most %lld times\n",
        units_seconds(3600 * c->job_h).text, (long long)job_signal_s(s),
        (long long)s->requeues);
    if (c->run_s <= 0) {
        printf("         the run: not known here\n");
        return;
    }
    printf("         the run: %s of training, %s job%s (estimate: ",
           units_seconds(c->run_s).text, units_count((int64_t)c->jobs).text,
           c->jobs > 1 ? "s" : "");
    if (c->measured)
        printf("measured on this machine, shared by the ranks)\n");
    else
        printf("%s a rank are assumed, as 'mutransfer plan --ranks' does)\n",
               units_si(c->flops, "FLOP/s").text);
    if (c->jobs > (double)s->requeues + 1)
        printf("         that is more than slurm.requeues allows: the same "
               "command continues it\n");
}

static struct units_text hours(double h)
{
    struct units_text u = { "under 0.01" };

    if (h >= 0.01)
        snprintf(u.text, sizeof(u.text), h < 100 ? "%.3g" : "%.0f", h);
    return u;
}

static void print_hours(double job_h, const struct cost *c)
{
    printf("%s node-hours, %s CPU-hours", hours(job_h * c->nodes).text,
           hours(job_h * c->cpus).text);
    if (c->gpus > 0)
        printf(", %s GPU-hours", hours(job_h * c->gpus).text);
}

static void print_cost(const struct dry_run *d)
{
    const struct cost *c = &d->cost;
    const double most = (double)d->submit.config->slurm.requeues + 1;

    printf("cost     one job: at most ");
    print_hours(c->job_h, c);
    printf(" (bound: nodes x time limit)\n");
    if (c->run_s > 0) {
        printf("         the run: ");
        print_hours(c->run_s / 3600, c);
        printf(" (estimate)\n");
    }
    printf("         the run: at most ");
    print_hours(most * c->job_h, c);
    printf(" (bound: all %s jobs to their limits)\n",
           units_count((int64_t)most).text);
}

static void print_nodes(const struct dry_run *d)
{
    const struct node_filter *f = &d->filter;
    const char *head = "nodes    left out: ";
    const double now = difftime(time(NULL), 0);

    if (*f->own) {
        printf("%s%s (slurm.exclude)\n", head, f->own);
        head = "         left out: ";
    }
    for (int i = 0; i < f->ejected.n; i++) {
        const struct ejected_node *n = &f->ejected.node[i];

        printf("%s%s, ejected for %s more (%s): %s\n", head, n->name,
               units_seconds((double)n->until_unix_s - now).text, n->class,
               n->reason);
        head = "         left out: ";
    }
    if (*f->unknown) {
        printf("%snothing for %s: no such node there\n", head, f->unknown);
        head = "         ";
    }
    if (!strcmp(head, "nodes    left out: "))
        printf("nodes    none is left out\n");
}

static void print_cluster(const struct dry_run *d)
{
    const struct cluster_partition *p = &d->partition;

    if (!d->answered) {
        printf("cluster  no answer; the site's limits are checked when the job "
               "is submitted\n");
        return;
    }
    printf("cluster  partition '%s'%s: %lld nodes, %d usable now", p->name,
           p->is_default ? " (the default)" : "", (long long)p->nodes,
           d->usable);
    if (p->max_nodes > 0)
        printf(", at most %lld a job", (long long)p->max_nodes);
    if (p->max_time_min > 0)
        printf(", at most %s a job\n",
               units_seconds(60 * p->max_time_min).text);
    else
        printf(", no time limit\n");
}

/* The keys of the job that somebody has set to something else than their
 * default: a config that 'transfer' wrote sets all of them. */
static void visit_keys(const struct run_config *config,
                       void (*visit)(void *context, const char *key,
                                     const char *text),
                       void *context)
{
    static const char *const names = "checkpoint parallel slurm recover ";

    for (const struct section *s = run_schema.sections; s->name; s++) {
        char name[40];

        snprintf(name, sizeof(name), "%.30s ", s->name);
        for (const struct field *f = s->fields; strstr(names, name) && f->key;
             f++) {
            char key[CONFIG_KEY_BYTES], text[FIELD_TEXT_BYTES];

            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            config_text(s, f, config, text, sizeof(text));
            if (run_config_given(config, key) &&
                strcmp(text, f->def ? f->def : "") != 0)
                visit(context, key, text);
        }
    }
}

static void print_key(void *context, const char *key, const char *text)
{
    (void)context;
    printf("         %s: %s\n", key, text);
}

static void print_text(const struct dry_run *d)
{
    print_job(d);
    print_time(d);
    print_cost(d);
    print_nodes(d);
    print_cluster(d);
    printf("config   %s/launch-config.yaml will hold all keys; those of the "
           "job that are no defaults:\n",
           d->submit.dir);
    visit_keys(d->submit.config, print_key, NULL);
    printf("script   as sbatch takes it:\n\n%s", d->job.script);
}

/* ---- for programs
 * ----------------------------------------------------------------
 */

static void add_key(void *context, const char *key, const char *text)
{
    json_object_set_new(context, key, journal_string(text));
}

static json_t *hours_json(double job_h, const struct cost *c)
{
    return json_pack("{sf sf sf}", "node_hours", job_h * c->nodes, "cpu_hours",
                     job_h * c->cpus, "gpu_hours", job_h * c->gpus);
}

static json_t *cost_json(const struct dry_run *d)
{
    const struct slurm_config *s = &d->submit.config->slurm;
    const struct cost *c = &d->cost;
    json_t *o = json_object();

    json_object_set_new(o, "job_bound", hours_json(c->job_h, c));
    json_object_set_new(o, "run_estimate",
                        c->run_s > 0 ? hours_json(c->run_s / 3600, c)
                                     : json_null());
    json_object_set_new(o, "run_bound",
                        hours_json(((double)s->requeues + 1) * c->job_h, c));
    return o;
}

static json_t *time_json(const struct dry_run *d)
{
    const struct slurm_config *s = &d->submit.config->slurm;
    const struct cost *c = &d->cost;
    json_t *o = json_object();

    json_object_set_new(o, "limit_s", json_number(3600 * c->job_h));
    json_object_set_new(o, "signal_s", json_integer(job_signal_s(s)));
    json_object_set_new(o, "requeues", json_integer(s->requeues));
    json_object_set_new(o, "run_estimate_s",
                        c->run_s > 0 ? json_number(c->run_s) : json_null());
    json_object_set_new(o, "jobs_estimate",
                        c->run_s > 0 ? json_integer((json_int_t)c->jobs)
                                     : json_null());
    return o;
}

static json_t *nodes_json(const struct node_filter *f)
{
    json_t *o = json_object(), *list = json_array();

    for (int i = 0; i < f->ejected.n; i++) {
        const struct ejected_node *n = &f->ejected.node[i];
        json_t *e = json_object();

        json_object_set_new(e, "node", json_string(n->name));
        json_object_set_new(e, "class", journal_string(n->class));
        json_object_set_new(e, "reason", journal_string(n->reason));
        json_object_set_new(e, "until_unix_s", json_integer(n->until_unix_s));
        json_array_append_new(list, e);
    }
    json_object_set_new(o, "exclude", journal_string(f->own));
    json_object_set_new(o, "unknown", journal_string(f->unknown));
    json_object_set_new(o, "ejected", list);
    return o;
}

static json_t *cluster_json(const struct dry_run *d)
{
    const struct cluster_partition *p = &d->partition;

    if (!d->answered)
        return json_null();
    return json_pack("{ss sI si sI sf}", "partition", p->name, "nodes",
                     (json_int_t)p->nodes, "usable", d->usable, "max_nodes",
                     (json_int_t)p->max_nodes, "max_time_min", p->max_time_min);
}

static int print_json(const struct dry_run *d, struct mup_error *err)
{
    json_t *o = json_object(), *keys = json_object();

    visit_keys(d->submit.config, add_key, keys);
    json_object_set_new(o, "dir", json_string(d->submit.dir));
    json_object_set_new(o, "name", json_string(d->job.name));
    json_object_set_new(o, "nodes", json_integer(d->job.request.nodes));
    json_object_set_new(o, "time", time_json(d));
    json_object_set_new(o, "cost", cost_json(d));
    json_object_set_new(o, "left_out", nodes_json(&d->filter));
    json_object_set_new(o, "cluster", cluster_json(d));
    json_object_set_new(o, "config", keys);
    json_object_set_new(o, "script", journal_string(d->job.script));
    return json_print(o, err);
}

/* ---- all of it
 * --------------------------------------------------------------------
 */

static int name_run(struct dry_run *d, const char *dir, struct mup_error *err)
{
    struct submit *s = &d->submit;
    struct launch_log log;
    int rc = submit_absolute(dir, s->dir, sizeof(s->dir), err);

    if (rc == MUP_OK)
        rc = launch_log_read(s->dir, &log, err);
    if (rc != MUP_OK)
        return rc;
    snprintf(s->uuid, sizeof(s->uuid), "%s", log.uuid[0] ? log.uuid : NO_UUID);
    launch_log_clear(&log);
    return MUP_OK;
}

int remote_dry_run_sweep(const struct args *args, const struct space *space,
                         const char *dir, struct mup_error *err)
{
    struct dry_run d = {
        .submit = { .args = args, .config = &space->base, .space = space }
    };
    int rc = name_run(&d, dir, err);

    if (rc == MUP_OK)
        rc = look_at_cluster(&d, err);
    if (rc == MUP_OK) {
        print_job(&d);
        print_nodes(&d);
        print_cluster(&d);
        printf("script   as sbatch takes it:\n\n%s", d.job.script);
    } else if (d.filter.own) {
        print_nodes(&d); /* they may be why */
    }
    job_clear(&d.job);
    node_filter_clear(&d.filter);
    return rc;
}

int remote_dry_run(const struct args *args, const struct run_config *config,
                   const char *dir, struct mup_error *err)
{
    struct dry_run d = { .submit = { .args = args, .config = config } };
    int rc = name_run(&d, dir, err);

    if (rc == MUP_OK)
        rc = look_at_cluster(&d, err);
    if (rc == MUP_OK)
        count_cost(config, &d.cost);
    if (rc == MUP_OK && args_given(args, "json"))
        rc = print_json(&d, err);
    else if (rc == MUP_OK)
        print_text(&d);
    else if (d.filter.own && !args_given(args, "json"))
        print_nodes(&d); /* they may be why */
    job_clear(&d.job);
    node_filter_clear(&d.filter);
    return rc;
}
