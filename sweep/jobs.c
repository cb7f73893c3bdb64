#include "sweep/jobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "sweep/sampler.h"

/* FLOP of model shapes seen so far: a study has few, but many trials. */
#define FLOPS_CACHE 64

struct flops_cache {
    int n;
    struct {
        struct model_config model;
        int64_t steps, batch;
        double flops;
    } entry[FLOPS_CACHE];
};

/* A trial as planned, before it has a number. */
struct wish {
    int64_t config, member, seed;
    int seed_index;
    int64_t twin_member; /* lowest member that is the same run */
    int64_t id;          /* 0: not in the store yet */
    int64_t width;
    int parametrization;
    double flops;
};

struct plan {
    const struct space *space;
    int64_t members, n;
    struct wish *wish; /* by config, member, seed */
    int64_t *order;
    struct flops_cache cache;
};

int jobs_flops(const struct run_config *config, double *out,
               struct mup_error *err)
{
    struct params params;
    int rc = params_init(config, &PLACE_ALONE, &params, err);

    if (rc)
        return rc;
    *out = model_flops_per_sequence(&params, &config->model) *
           (double)config->train.batch * (double)config->train.steps;
    params_clear(&params);
    return MUP_OK;
}

static int cached_flops(struct flops_cache *cache,
                        const struct run_config *config, double *out,
                        struct mup_error *err)
{
    int i = 0, rc;

    /* Copies of one struct, so padding is equal too; a miss only costs time. */
    for (; i < cache->n; i++)
        /* NOLINTNEXTLINE(*-suspicious-memory-comparison,cert-*) */
        if (!memcmp(&cache->entry[i].model, &config->model,
                    sizeof(config->model)) &&
            cache->entry[i].steps == config->train.steps &&
            cache->entry[i].batch == config->train.batch) {
            *out = cache->entry[i].flops;
            return MUP_OK;
        }
    rc = jobs_flops(config, out, err);
    if (rc || cache->n == FLOPS_CACHE)
        return rc;
    memcpy(&cache->entry[i].model, &config->model, sizeof(config->model));
    cache->entry[i].steps = config->train.steps;
    cache->entry[i].batch = config->train.batch;
    cache->entry[i].flops = *out;
    cache->n++;
    return MUP_OK;
}

/* One trial of the store as a job; the order of ids is relied upon. */
static int add_job(struct jobs *jobs, int64_t i, const struct trial *t,
                   struct mup_error *err)
{
    struct job *j = &jobs->job[i];

    if (t->id != i + 1 || t->twin < 0 || t->twin > i)
        return mup_fail(err, MUP_CORRUPT,
                        "trial %lld of the study is out of order",
                        (long long)t->id);
    *j = (struct job){
        .config = t->config,
        .member = t->member,
        .seed = t->seed,
        .attempt = t->attempt,
        .deaths = t->deaths,
        .twin = t->twin,
        .width = t->width,
        .state = t->state,
        .parametrization = t->parametrization,
        .flops = t->flops,
        .value = t->value,
    };
    if (t->twin)
        jobs->job[t->twin - 1].copy = t->id;
    if (t->wall_s > 0 && t->state == TRIAL_DONE) {
        jobs->speed_flops += t->flops;
        jobs->speed_s += t->wall_s;
    }
    return MUP_OK;
}

/* Configurations are numbered without gaps, so trials bound them. */
static int make_scores(struct jobs *jobs, struct mup_error *err)
{
    for (int64_t i = 0; i < jobs->n; i++)
        if (jobs->job[i].config >= jobs->n_configs)
            jobs->n_configs = jobs->job[i].config + 1;
    if (jobs->n_configs > jobs->n)
        return mup_fail(err, MUP_CORRUPT,
                        "configuration %lld of the study is out of order",
                        (long long)jobs->n_configs - 1);
    jobs->score = calloc((size_t)jobs->n_configs + 1, sizeof(*jobs->score));
    return jobs->score ? MUP_OK : mup_fail(err, MUP_SYSTEM, "out of memory");
}

int jobs_load(struct store *store, struct jobs *out, struct trial **trials,
              struct mup_error *err)
{
    struct trial *list = NULL;
    struct jobs jobs = { 0 };
    char workers[32];
    int rc = store_trials(store, &list, &jobs.n, err);

    if (rc)
        return rc;
    jobs.job = calloc((size_t)jobs.n + 1, sizeof(*jobs.job));
    if (!jobs.job)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int64_t i = 0; i < jobs.n && !rc; i++)
        rc = add_job(&jobs, i, &list[i], err);
    if (!rc)
        rc = make_scores(&jobs, err);
    if (!rc)
        rc = store_property(store, "workers", workers, sizeof(workers), err);
    if (rc) {
        free(list);
        jobs_clear(&jobs);
        return rc;
    }
    jobs.workers = strtol(workers, NULL, 10);
    *out = jobs;
    if (trials)
        *trials = list;
    else
        free(list);
    return MUP_OK;
}

void jobs_clear(struct jobs *jobs)
{
    free(jobs->job);
    free(jobs->order);
    free(jobs->score);
    memset(jobs, 0, sizeof(*jobs));
}

static struct wish *wish_at(struct plan *p, int64_t config, int64_t member,
                            int64_t seed_index)
{
    return &p->wish[(config * p->members + member) * p->space->n_seeds +
                    seed_index];
}

/* Every trial that the space asks for, with its cost. */
static int make_wishes(struct plan *p, struct mup_error *err)
{
    const struct space *space = p->space;
    int64_t configs = sampler_count(space);

    p->members = space_members(space);
    p->n = configs * p->members * space->n_seeds;
    p->wish = calloc((size_t)p->n + 1, sizeof(*p->wish));
    p->order = calloc((size_t)p->n + 1, sizeof(*p->order));
    if (!p->wish || !p->order)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int64_t c = 0; c < configs; c++) {
        struct space_point point;

        sampler_propose(space, c, NULL, 0, &point);
        for (int64_t m = 0; m < p->members; m++) {
            struct run_config config;
            double flops;
            int rc =
                space_resolve(space, &point, m, space->seeds[0], &config, err);

            if (!rc)
                rc = cached_flops(&p->cache, &config, &flops, err);
            if (rc)
                return rc;
            for (int s = 0; s < space->n_seeds; s++)
                *wish_at(p, c, m, s) = (struct wish){
                    .config = c,
                    .member = m,
                    .seed = space->seeds[s],
                    .seed_index = s,
                    .twin_member = space_twin(space, &config, m),
                    .width = config.model.width,
                    .parametrization = config.mup.parametrization,
                    .flops = flops,
                };
        }
    }
    return MUP_OK;
}

/* Which of the wished trials the store has. */
static int match_existing(struct plan *p, const struct jobs *jobs,
                          struct mup_error *err)
{
    for (int64_t i = 0; i < jobs->n; i++) {
        const struct job *j = &jobs->job[i];
        int s = 0;

        while (s < p->space->n_seeds && p->space->seeds[s] != j->seed)
            s++;
        if (s == p->space->n_seeds || j->member >= p->members ||
            j->config * p->members * p->space->n_seeds >= p->n)
            return mup_fail(err, MUP_CORRUPT,
                            "trial %lld of the study is not in its sweep file",
                            (long long)(i + 1));
        wish_at(p, j->config, j->member, s)->id = i + 1;
    }
    return MUP_OK;
}

struct ranked {
    const struct wish *wish;
    int64_t index;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct wish *x = ((const struct ranked *)a)->wish;
    const struct wish *y = ((const struct ranked *)b)->wish;

    if (x->seed_index != y->seed_index)
        return x->seed_index < y->seed_index ? -1 : 1;
    if (x->flops != y->flops)
        return x->flops > y->flops ? -1 : 1;
    if (x->config != y->config)
        return x->config < y->config ? -1 : 1;
    return x->member < y->member ? -1 : x->member > y->member;
}

static int sort_wishes(struct plan *p, struct mup_error *err)
{
    struct ranked *ranked = calloc((size_t)p->n + 1, sizeof(*ranked));

    if (!ranked)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int64_t i = 0; i < p->n; i++)
        ranked[i] = (struct ranked){ &p->wish[i], i };
    qsort(ranked, (size_t)p->n, sizeof(*ranked), compare_ranked);
    for (int64_t i = 0; i < p->n; i++)
        p->order[i] = ranked[i].index;
    free(ranked);
    return MUP_OK;
}

/* The first of its twins that already has a number does the work. */
static int64_t find_twin(struct plan *p, const struct wish *w)
{
    int64_t first = 0;

    for (int64_t m = 0; m < p->members; m++) {
        const struct wish *other = wish_at(p, w->config, m, w->seed_index);

        if (m != w->member && other->id && other->id != w->id &&
            other->twin_member == w->twin_member &&
            (!first || other->id < first))
            first = other->id;
    }
    return first;
}

/* Number the new trials in their order and write them down at once. */
static int add_new(struct plan *p, struct store *store, int64_t n_old,
                   struct mup_error *err)
{
    int64_t id = n_old;
    int rc = store_begin(store, err);

    if (rc)
        return rc;
    for (int64_t i = 0; i < p->n && !rc; i++) {
        struct wish *w = &p->wish[p->order[i]];
        struct trial t;

        if (w->id)
            continue;
        memset(&t, 0, sizeof(t));
        w->id = ++id;
        t.id = w->id;
        t.config = w->config;
        t.member = w->member;
        t.seed = w->seed;
        t.width = w->width;
        t.parametrization = w->parametrization;
        t.twin = find_twin(p, w);
        t.flops = t.twin ? 0 : w->flops;
        sampler_propose(p->space, w->config, NULL, 0, &t.point);
        rc = store_add_trial(store, &t, err);
    }
    if (rc) {
        store_rollback(store);
        return rc;
    }
    return store_commit(store, err);
}

int jobs_plan(const struct space *space, struct store *store, struct jobs *out,
              struct mup_error *err)
{
    struct plan *plan = calloc(1, sizeof(*plan));
    struct jobs jobs = { 0 };
    int rc;

    if (!plan)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    plan->space = space;
    rc = make_wishes(plan, err);
    if (!rc)
        rc = sort_wishes(plan, err);
    if (!rc)
        rc = jobs_load(store, &jobs, NULL, err);
    if (!rc)
        rc = match_existing(plan, &jobs, err);
    if (!rc && jobs.n < plan->n) {
        rc = add_new(plan, store, jobs.n, err);
        jobs_clear(&jobs);
        if (!rc)
            rc = jobs_load(store, &jobs, NULL, err);
    }
    if (!rc) {
        jobs.order = plan->order;
        plan->order = NULL;
        for (int64_t i = 0; i < jobs.n; i++) {
            jobs.order[i] = plan->wish[jobs.order[i]].id - 1;
            jobs.job[jobs.order[i]].place = i;
        }
        *out = jobs;
    } else {
        jobs_clear(&jobs);
    }
    free(plan->order);
    free(plan->wish);
    free(plan);
    return rc;
}

int64_t jobs_next(struct jobs *jobs)
{
    for (; jobs->next < jobs->n; jobs->next++) {
        const struct job *j = &jobs->job[jobs->order[jobs->next]];

        if (j->state == TRIAL_WAITING && !j->twin)
            return jobs->order[jobs->next];
    }
    return -1;
}

int64_t jobs_next_on(struct jobs *jobs, int node)
{
    if (jobs_next(jobs) < 0)
        return -1;
    for (int64_t i = jobs->next; i < jobs->n; i++) {
        const struct job *j = &jobs->job[jobs->order[i]];

        if (j->state == TRIAL_WAITING && !j->twin && j->avoid != node + 1)
            return jobs->order[i];
    }
    return -1;
}

void jobs_requeue(struct jobs *jobs, int64_t index)
{
    struct job *j = &jobs->job[index];

    j->state = TRIAL_WAITING;
    j->fraction = 0;
    if (j->place < jobs->next)
        jobs->next = j->place;
}

static int is_candidate(const struct job *j, int mup, int64_t width)
{
    return (!mup || j->parametrization == MUP_MUP) && j->width == width;
}

/* Is configuration a better than b?  No diverged seed, then more seeds, then
 * the lower mean. */
static int beats(const struct job_score *a, const struct job_score *b)
{
    if ((a->bad > 0) != (b->bad > 0))
        return b->bad > 0;
    if (a->n != b->n)
        return a->n > b->n;
    return a->sum / (double)a->n < b->sum / (double)b->n;
}

/* The widest width at which a trial is done, under muP if mup. */
static int64_t widest(const struct jobs *jobs, int mup)
{
    int64_t width = 0;

    for (int64_t i = 0; i < jobs->n; i++) {
        const struct job *j = &jobs->job[i];

        if (j->state == TRIAL_DONE && j->width > width &&
            is_candidate(j, mup, j->width))
            width = j->width;
    }
    return width;
}

/* Scores by configuration over all members of that width. */
int jobs_winner(const struct jobs *jobs, struct job_score *out)
{
    int mup = widest(jobs, 1) > 0;
    int64_t width = widest(jobs, mup);
    const struct job_score *best = NULL;

    memset(jobs->score, 0, (size_t)jobs->n_configs * sizeof(*jobs->score));
    for (int64_t i = 0; i < jobs->n; i++) {
        const struct job *j = &jobs->job[i];
        struct job_score *s = &jobs->score[j->config];

        if (!is_candidate(j, mup, width))
            continue;
        if (j->state == TRIAL_DONE) {
            if (!s->n++)
                s->first = i;
            s->sum += j->value;
        }
        s->bad += j->state == TRIAL_DIVERGED || j->state == TRIAL_FAILED;
    }
    for (int64_t c = 0; c < jobs->n_configs; c++)
        if (jobs->score[c].n && (!best || beats(&jobs->score[c], best)))
            best = &jobs->score[c];
    if (best)
        *out = *best;
    return best != NULL;
}

void jobs_say_mean(struct sweep_progress *p)
{
    size_t used = strlen(p->best_text);

    if (p->best_seeds > 1)
        snprintf(p->best_text + used, sizeof(p->best_text) - used,
                 "%smean of %lld seeds", used ? ", " : "",
                 (long long)p->best_seeds);
}

void jobs_progress(const struct jobs *jobs, struct sweep_progress *out)
{
    struct sweep_progress p = { .trials = jobs->n, .eta_s = -1 };
    struct job_score best;
    double remaining, speed;
    int64_t open, workers = jobs->workers;

    p.best_value = NAN;
    for (int64_t i = 0; i < jobs->n; i++) {
        const struct job *j = &jobs->job[i];

        p.done += j->state == TRIAL_DONE;
        p.diverged += j->state == TRIAL_DIVERGED;
        p.failed += j->state == TRIAL_FAILED;
        p.running += j->state == TRIAL_RUNNING;
        p.waiting += j->state == TRIAL_WAITING;
        p.retried += j->deaths;
        p.flops_total += j->flops;
        if (j->state >= TRIAL_DONE)
            p.flops_done += j->flops;
        else if (j->state == TRIAL_RUNNING)
            p.flops_done += j->flops * j->fraction;
    }
    if (jobs_winner(jobs, &best)) {
        p.best_trial = best.first + 1;
        p.best_value = best.sum / (double)best.n;
        p.best_seeds = best.n;
    }
    open = p.running + p.waiting;
    remaining = p.flops_total - p.flops_done;
    speed = jobs->speed_s > 0 ? jobs->speed_flops / jobs->speed_s : 0;
    if (workers > open)
        workers = open;
    if (!open)
        p.eta_s = 0;
    else if (speed > 0 && workers > 0)
        p.eta_s = remaining / (speed * (double)workers);
    *out = p;
}
