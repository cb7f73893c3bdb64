#include "launcher/plan.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/json.h"
#include "launcher/terminal.h"
#include "launcher/units.h"
#include "model/clock.h"
#include "model/train.h"
#include "model/trainer.h"
#include "sweep/sampler.h"

/* A model whose step is larger than this is extrapolated, not tried. */
#define MAX_STEP_FLOPS  5e10
#define MAX_ARENA_BYTES ((int64_t)1 << 30)

int64_t plan_workers(int64_t workers)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return workers > 0 ? workers : n > 0 ? (int64_t)n : 1;
}

void plan_replace_data(struct run_config *config)
{
    struct data_config *d = &config->data;
    const char *missing = NULL;

    if (strcmp(d->train, "synthetic") != 0 && access(d->train, F_OK) != 0)
        missing = d->train;
    else if (strcmp(d->valid, "synthetic") != 0 && access(d->valid, F_OK) != 0)
        missing = d->valid;
    if (!missing)
        return;
    fprintf(stderr,
            "'%s' is not there yet: planned with the synthetic source\n",
            missing);
    snprintf(d->train, sizeof(d->train), "synthetic");
    snprintf(d->valid, sizeof(d->valid), "synthetic");
}

/* Steps until half of budget_s, at least two after a warm-up of two; the
 * rest of the budget goes to evaluations. */
static int time_trainer(struct trainer *t, double budget_s,
                        struct plan_speed *out, struct mup_error *err)
{
    struct trainer_step step;
    double start, elapsed = 0, loss;
    int64_t n = 0;
    int rc = MUP_OK;

    for (int64_t i = 0; i < 2 && rc == MUP_OK; i++)
        rc = trainer_step(t, i, &step, err);
    start = clock_s();
    while (rc == MUP_OK && (n < 2 || elapsed < budget_s / 2)) {
        rc = trainer_step(t, 2 + n % 2, &step, err);
        elapsed = clock_s() - start;
        n++;
    }
    out->step_s = elapsed / (double)(n ? n : 1);
    start = clock_s();
    if (rc == MUP_OK)
        rc = trainer_evaluate(t, &loss, err);
    out->evaluation_s = clock_s() - start;
    return rc;
}

/* A width that can be tried: halved until its step is small enough. */
static int choose_width(struct run_config *c, struct train_plan *plan,
                        struct mup_error *err)
{
    struct train_plan p = { 0 };
    int rc = train_plan(c, &p, err);

    while (rc == MUP_OK && (p.flops_per_step > MAX_STEP_FLOPS ||
                            p.arena_bytes > MAX_ARENA_BYTES)) {
        struct run_config half = *c;

        half.model.width /= 2;
        if (run_config_check(&half, NULL) != MUP_OK) {
            half = *c;
            half.train.batch = (c->train.batch + 1) / 2;
            half.train.micro_batch = 0;
            if (c->train.batch == 1)
                return mup_fail(err, MUP_USAGE,
                                "no part of this model is small enough to be "
                                "timed here");
        }
        *c = half;
        rc = train_plan(c, &p, err);
    }
    if (rc == MUP_OK)
        *plan = p;
    return rc;
}

int plan_measure(const struct run_config *config, double budget_s,
                 struct plan_speed *out, struct mup_error *err)
{
    struct run_config c = *config;
    struct train_plan full = { 0 }, tried = { 0 };
    struct trainer trainer;
    struct plan_speed speed = { 0 };
    double ratio;
    int rc = train_plan(config, &full, err);

    if (rc == MUP_OK)
        rc = choose_width(&c, &tried, err);
    if (rc != MUP_OK)
        return rc;
    c.train.steps = c.train.steps < 4 ? 4 : c.train.steps;
    rc = trainer_open(&c, NULL, &trainer, err);
    if (rc != MUP_OK)
        return rc;
    rc = time_trainer(&trainer, budget_s, &speed, err);
    trainer_close(&trainer);
    if (rc != MUP_OK)
        return rc;
    ratio = full.flops_per_step / tried.flops_per_step;
    speed.flops_per_s = tried.flops_per_step / speed.step_s;
    speed.step_s *= ratio;
    speed.evaluation_s *=
        ratio * (double)c.train.batch / (double)config->train.batch;
    speed.measured_width = c.model.width;
    *out = speed;
    return MUP_OK;
}

double plan_run_seconds(const struct run_config *c,
                        const struct plan_speed *speed)
{
    double evaluations = 1;

    if (c->run.eval_every > 0)
        evaluations +=
            floor((double)c->train.steps / (double)c->run.eval_every);
    return (double)c->train.steps * speed->step_s +
           evaluations * speed->evaluation_s;
}

/* A remark where this machine has less memory than that. */
static const char *fits(double bytes)
{
#ifdef _SC_PHYS_PAGES
    double have =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    if (bytes > have)
        return ": more than this machine has";
#endif
    return "";
}

static json_t *run_json(const struct run_config *c, const struct train_plan *p,
                        const struct plan_speed *speed)
{
    json_t *o = json_object();

    json_object_set_new(o, "width", json_integer(c->model.width));
    json_object_set_new(o, "parameters", json_integer(p->parameters));
    json_object_set_new(o, "active_parameters",
                        json_integer(p->active_parameters));
    json_object_set_new(o, "steps", json_integer(c->train.steps));
    json_object_set_new(o, "tokens", json_integer(p->tokens));
    json_object_set_new(o, "flops_per_step", json_number(p->flops_per_step));
    json_object_set_new(o, "flops", json_number(p->flops));
    json_object_set_new(o, "arena_bytes", json_integer(p->arena_bytes));
    json_object_set_new(o, "peak_bytes", json_integer(p->peak_bytes));
    json_object_set_new(o, "parameter_bytes", json_integer(p->parameter_bytes));
    json_object_set_new(o, "gradient_bytes", json_integer(p->gradient_bytes));
    json_object_set_new(o, "optimizer_bytes", json_integer(p->optimizer_bytes));
    json_object_set_new(o, "activation_bytes",
                        json_integer(p->activation_bytes));
    json_object_set_new(o, "step_s", json_number(speed->step_s));
    json_object_set_new(o, "flops_per_s", json_number(speed->flops_per_s));
    json_object_set_new(o, "measured_width",
                        json_integer(speed->measured_width));
    json_object_set_new(o, "time_s", json_number(plan_run_seconds(c, speed)));
    return o;
}

int plan_print_run(const struct run_config *config, int as_json,
                   struct mup_error *err)
{
    const struct run_config *c = config;
    struct plan_speed speed = { 0 };
    struct train_plan p = { 0 };
    int rc = train_plan(c, &p, err);

    if (rc == MUP_OK)
        rc = plan_measure(c, 1, &speed, err);
    if (rc != MUP_OK)
        return rc;
    if (as_json)
        return json_print(run_json(c, &p, &speed), err);
    printf("model    width %lld, %lld layers, %lld experts top-%lld: %s "
           "parameters, %s active\n",
           (long long)c->model.width, (long long)c->model.layers,
           (long long)c->model.experts, (long long)c->model.top_k,
           units_si((double)p.parameters, "").text,
           units_si((double)p.active_parameters, "").text);
    printf("work     %s steps of %s tokens: %s tokens, %s\n",
           units_count(c->train.steps).text,
           units_count(p.tokens / c->train.steps).text,
           units_count(p.tokens).text, units_si(p.flops, "FLOP").text);
    printf("memory   %lld bytes planned (%s): weights %s, gradients %s, "
           "optimizer %s, activations %s\n",
           (long long)p.arena_bytes, units_bytes((double)p.arena_bytes).text,
           units_bytes((double)p.parameter_bytes).text,
           units_bytes((double)p.gradient_bytes).text,
           units_bytes((double)p.optimizer_bytes).text,
           units_bytes((double)p.activation_bytes).text);
    printf("         %s expected at the peak of the process%s\n",
           units_bytes((double)p.peak_bytes).text, fits((double)p.peak_bytes));
    printf("time     %s at %.4g ms a step, %s (measured on this machine%s)\n",
           units_seconds(plan_run_seconds(c, &speed)).text, 1e3 * speed.step_s,
           units_si(speed.flops_per_s, "FLOP/s").text,
           speed.measured_width == c->model.width ? ""
                                                  : " with a narrower model");
    return MUP_OK;
}

/* Totals over the members of a sweep. */
struct sweep_plan {
    int64_t trials, trained, configurations, members, seeds, workers;
    double flops, time_s, tokens;
    struct train_plan widest;
    int64_t widest_width;
    double flops_per_s[2]; /* of the smallest and the largest member */
};

/* One member: all its configurations and seeds cost about the same. */
struct member_cost {
    struct run_config config;
    struct train_plan plan;
    double runs;
};

/* The configurations' own parameters are assumed not to change the cost,
 * except where one varies a size: then the first stands for all. */
static int member_costs(const struct space *space, struct member_cost *m,
                        int64_t n, double runs, struct mup_error *err)
{
    const struct sampler *sampler = sampler_get(space->sweep.method);
    struct space_point point;
    int rc = MUP_OK;

    if (sampler->propose(space, 0, NULL, 0, &point) != 1)
        return mup_fail(err, MUP_USAGE, "'%s' proposes no configuration at all",
                        space->path);
    for (int64_t i = 0; i < n && rc == MUP_OK; i++) {
        rc =
            space_resolve(space, &point, i, space->seeds[0], &m[i].config, err);
        if (rc == MUP_OK)
            rc = train_plan(&m[i].config, &m[i].plan, err);
        /* Members that are one run are trained once. */
        m[i].runs = space_twin(space, &m[i].config, i) == i ? runs : 0;
    }
    return rc;
}

/* Step times of all members from those of the cheapest and the dearest:
 * seconds = a + b * FLOP. */
static int sweep_time(const struct member_cost *m, int64_t n,
                      struct sweep_plan *out, struct mup_error *err)
{
    struct plan_speed low = { 0 }, high = { 0 };
    int64_t min = 0, max = 0;
    double slope = 0, f0, f1;
    int rc;

    for (int64_t i = 0; i < n; i++) {
        if (m[i].plan.flops_per_step < m[min].plan.flops_per_step)
            min = i;
        if (m[i].plan.flops_per_step > m[max].plan.flops_per_step)
            max = i;
    }
    rc = plan_measure(&m[min].config, 0.5, &low, err);
    if (rc == MUP_OK)
        rc = plan_measure(&m[max].config, 1, &high, err);
    if (rc != MUP_OK)
        return rc;
    f0 = m[min].plan.flops_per_step;
    f1 = m[max].plan.flops_per_step;
    if (f1 > f0)
        slope = 1 / (f1 - f0);
    for (int64_t i = 0; i < n; i++) {
        double x = (m[i].plan.flops_per_step - f0) * slope;
        struct plan_speed s = low;

        s.step_s += x * (high.step_s - low.step_s);
        s.evaluation_s += x * (high.evaluation_s - low.evaluation_s);
        out->time_s += m[i].runs * plan_run_seconds(&m[i].config, &s) /
                       (double)out->workers;
    }
    out->flops_per_s[0] = low.flops_per_s;
    out->flops_per_s[1] = high.flops_per_s;
    return MUP_OK;
}

static int plan_sweep(const struct space *space, struct sweep_plan *out,
                      struct mup_error *err)
{
    struct sweep_plan p = { 0 };
    struct member_cost *m;
    int rc;

    p.configurations = sampler_count(space);
    p.members = space_members(space);
    p.seeds = space->n_seeds;
    p.trials = p.configurations * p.members * p.seeds;
    p.workers = plan_workers(space->sweep.workers);
    m = calloc((size_t)p.members, sizeof(*m));
    if (!m)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    rc = member_costs(space, m, p.members, (double)(p.configurations * p.seeds),
                      err);
    for (int64_t i = 0; i < p.members && rc == MUP_OK; i++) {
        p.trained += (int64_t)m[i].runs;
        p.flops += m[i].runs * m[i].plan.flops;
        p.tokens += m[i].runs * (double)m[i].plan.tokens;
        if (m[i].plan.arena_bytes > p.widest.arena_bytes) {
            p.widest = m[i].plan;
            p.widest_width = m[i].config.model.width;
        }
    }
    if (rc == MUP_OK)
        rc = sweep_time(m, p.members, &p, err);
    free(m);
    if (rc == MUP_OK)
        *out = p;
    return rc;
}

static json_t *sweep_json(const struct sweep_plan *p)
{
    json_t *o = json_object();

    json_object_set_new(o, "trials", json_integer(p->trials));
    json_object_set_new(o, "trained", json_integer(p->trained));
    json_object_set_new(o, "configurations", json_integer(p->configurations));
    json_object_set_new(o, "members", json_integer(p->members));
    json_object_set_new(o, "seeds", json_integer(p->seeds));
    json_object_set_new(o, "workers", json_integer(p->workers));
    json_object_set_new(o, "tokens", json_number(p->tokens));
    json_object_set_new(o, "flops", json_number(p->flops));
    json_object_set_new(o, "time_s", json_number(p->time_s));
    json_object_set_new(o, "arena_bytes", json_integer(p->widest.arena_bytes));
    json_object_set_new(o, "peak_bytes", json_integer(p->widest.peak_bytes));
    return o;
}

int plan_print_sweep(const struct space *space, int as_json,
                     struct mup_error *err)
{
    struct sweep_plan p = { 0 };
    double all_bytes;
    int rc = plan_sweep(space, &p, err);

    if (rc != MUP_OK)
        return rc;
    all_bytes = (double)p.widest.peak_bytes * (double)p.workers;
    if (as_json)
        return json_print(sweep_json(&p), err);
    printf("trials   %lld = %lld configuration%s x %lld member%s x %lld "
           "seed%s, %lld at a time",
           (long long)p.trials, (long long)p.configurations,
           p.configurations == 1 ? "" : "s", (long long)p.members,
           p.members == 1 ? "" : "s", (long long)p.seeds,
           p.seeds == 1 ? "" : "s", (long long)p.workers);
    if (p.trained < p.trials)
        printf("; %lld to train, the others are the same run",
               (long long)p.trained);
    printf("\nwork     %s tokens, %s\n", units_si(p.tokens, "").text,
           units_si(p.flops, "FLOP").text);
    printf("memory   %lld bytes planned (%s) a trial at width %lld, %s "
           "expected at its peak; %s for all workers%s\n",
           (long long)p.widest.arena_bytes,
           units_bytes((double)p.widest.arena_bytes).text,
           (long long)p.widest_width,
           units_bytes((double)p.widest.peak_bytes).text,
           units_bytes(all_bytes).text, fits(all_bytes));
    printf("time     %s (measured on this machine: %s narrow, %s wide)\n",
           units_seconds(p.time_s).text,
           units_si(p.flops_per_s[0], "FLOP/s").text,
           units_si(p.flops_per_s[1], "FLOP/s").text);
    return MUP_OK;
}
