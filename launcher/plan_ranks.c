#include "launcher/plan_ranks.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "launcher/json.h"
#include "launcher/units.h"
#include "model/backend.h"
#include "model/layout_choice.h"

/* Candidates are divisors of the number of ranks; no number up to
 * LAYOUT_MAX_RANKS has more of them, twice. */
#define MAX_CHOICES 4096
#define MAX_LISTED  10

struct answer {
    const struct run_config *config;
    const struct plan_ranks *query;
    struct layout_subject subject;
    struct layout_choice chosen;
    struct layout_choice
        fitting; /* where chosen does not fit; n.data 0: none */
    struct layout_plan plan;
    struct layout_time time;
};

static const struct {
    const char *key, *text;
} causes[LAYOUT_CAUSES] = {
    [LAYOUT_TENSOR] = { "tensor", "sums along tensor" },
    [LAYOUT_ROWS] = { "rows", "rows to experts and back" },
    [LAYOUT_GRADIENTS] = { "gradients", "gradients" },
    [LAYOUT_WEIGHTS] = { "weights", "updated weights" },
    [LAYOUT_SMALL] = { "small", "counts, losses, norms" },
};

static const char *const kinds[COMM_KINDS] = {
    [COMM_ALL_REDUCE] = "all_reduce", [COMM_REDUCE_SCATTER] = "reduce_scatter",
    [COMM_ALL_GATHER] = "all_gather", [COMM_ALL_TO_ALL] = "all_to_all",
    [COMM_BROADCAST] = "broadcast",   [COMM_BARRIER] = "barrier",
};

struct part {
    const char *key;
    double bytes;
};

#define N_PARTS 6

static void parts_of(const struct layout_memory *m, struct part out[N_PARTS])
{
    out[0] = (struct part){ "weights", m->weights };
    out[1] = (struct part){ "gradients", m->gradients };
    out[2] = (struct part){ "optimizer", m->optimizer };
    out[3] = (struct part){ "activations", m->activations };
    out[4] = (struct part){ "exchange", m->exchange };
    out[5] = (struct part){ "staging", m->staging };
}

static double tokens_of(const struct run_config *c)
{
    return (double)c->train.batch * (double)c->model.seq;
}

/* Of what the ranks could compute in that time, the share that is the model's
 * own work. */
static double used_share(const struct answer *a, double step_s)
{
    return a->plan.even_flops / a->query->machine.flops / step_s;
}

static void measure(const struct answer *a, const struct layout *n,
                    struct layout_plan *plan, struct layout_time *time)
{
    struct place last = layout_last(n);

    layout_plan(&a->subject, &last, plan);
    *time = layout_plan_time(plan, &a->query->machine);
}

static int answer(struct answer *a, struct mup_error *err)
{
    const struct plan_ranks *q = a->query;
    struct layout n;
    int64_t some;
    int rc = layout_resolve(a->config, q->ranks, 0, &n, err);

    if (rc != MUP_OK)
        return rc;
    layout_choices(&a->subject, q->ranks, q->memory_bytes, &a->chosen, 1,
                   &some);
    if (a->chosen.changed) {
        /* only other keys would make it fit: show what was asked for */
        a->fitting = a->chosen;
        layout_choices(&a->subject, q->ranks, 0, &a->chosen, 1, &some);
        a->chosen.fits = 0;
    } else if (!a->chosen.fits) {
        layout_more_ranks(&a->subject, q->ranks, q->memory_bytes, &a->fitting);
    }
    measure(a, &a->chosen.n, &a->plan, &a->time);
    return MUP_OK;
}

/* A duration that may be short. */
static struct units_text duration(double s)
{
    struct units_text u;

    if (s >= 1 || s <= 0)
        snprintf(u.text, sizeof(u.text), "%.4g s", s);
    else if (s >= 1e-3)
        snprintf(u.text, sizeof(u.text), "%.4g ms", 1e3 * s);
    else
        snprintf(u.text, sizeof(u.text), "%.3g us", 1e6 * s);
    return u;
}

/* ---- for people ---------------------------------------------------------- */

static void print_layout(const struct answer *a)
{
    const struct run_config *c = a->config;
    const struct parallel_config *p = &c->parallel;
    const struct layout *n = &a->chosen.n;
    const int64_t per_node = a->query->machine.per_node;

    printf("model    width %s, %lld layers, %lld experts top-%lld: %s "
           "parameters, %s active\n",
           units_count(c->model.width).text, (long long)c->model.layers,
           (long long)c->model.experts, (long long)c->model.top_k,
           units_si((double)a->subject.params->whole, "").text,
           units_si((double)a->subject.params->active, "").text);
    printf("ranks    %s = data %lld%s x expert %lld%s x tensor %lld%s; nodes "
           "of %lld: %s\n",
           units_count(a->query->ranks).text, (long long)n->data,
           p->data ? "" : " (auto)", (long long)n->expert,
           p->expert ? "" : " (auto)", (long long)n->tensor,
           p->tensor ? "" : " (auto)", (long long)per_node,
           units_count((a->query->ranks + per_node - 1) / per_node).text);
    printf("batch    %s sequences of %s tokens: %s a rank; forward passes: "
           "%lld of %lld\n",
           units_count(c->train.batch).text, units_count(c->model.seq).text,
           units_count(a->plan.sequences).text, (long long)a->plan.passes,
           (long long)layout_micro_batch(c, n));
    if (n->expert > 1)
        printf("         rows that may arrive for this rank's experts: %s a "
               "pass\n",
               units_count((int64_t)a->plan.rows).text);
    if (a->chosen.starved)
        printf("         some ranks have no sequence: train.batch is less "
               "than data x expert\n");
}

static void print_fitting(const struct answer *a)
{
    const struct layout *n = &a->fitting.n;

    if (a->chosen.fits)
        return;
    if (!n->data) {
        printf("         no layout of this many ranks fits, nor of more; "
               "lower train.micro_batch or\n"
               "         model.seq\n");
        return;
    }
    printf("         nearest that fits: %s ranks = data %lld x expert %lld x "
           "tensor %lld with %s\n",
           units_count(layout_ranks(n)).text, (long long)n->data,
           (long long)n->expert, (long long)n->tensor,
           units_bytes(a->fitting.memory).text);
}

static void print_memory(const struct answer *a)
{
    const double limit = a->query->memory_bytes;
    struct part part[N_PARTS];

    parts_of(&a->plan.memory, part);
    printf("memory   %s of %s a rank: %s\n", units_bytes(a->chosen.memory).text,
           units_bytes(limit).text, a->chosen.fits ? "fits" : "DOES NOT FIT");
    for (int i = 0; i < N_PARTS; i++)
        printf("         %-26s %14s %6.1f %%\n", part[i].key,
               units_bytes(part[i].bytes).text, 100 * part[i].bytes / limit);
    print_fitting(a);
}

static void print_traffic(const struct answer *a)
{
    printf("traffic  %-26s %9s %10s %12s\n", "a rank and step", "messages",
           "sent", "floor");
    for (int cause = 0; cause < LAYOUT_CAUSES; cause++) {
        double calls = 0, bytes = 0;

        for (int kind = 0; kind < COMM_KINDS; kind++) {
            calls += a->plan.calls[cause][kind];
            bytes += a->plan.bytes[cause][kind];
        }
        printf("         %-26s %9s %10s %12s\n", causes[cause].text,
               units_count((int64_t)calls).text, units_si(bytes, "B").text,
               duration(a->time.cause_s[cause]).text);
    }
    printf("         %-26s %9s %10s %12s\n", "all",
           units_count((int64_t)layout_plan_calls(&a->plan)).text,
           units_si(layout_plan_bytes(&a->plan), "B").text,
           duration(a->time.node_s + a->time.network_s).text);
}

static void print_time(const struct answer *a)
{
    const struct layout_machine *m = &a->query->machine;
    const struct layout_time *t = &a->time;
    const double step[2] = { t->apart_s, t->overlap_s };
    static const char *const names[2] = { "nothing overlaps", "all overlaps" };

    printf("work     %s a rank and step; idle %.1f %% (batch %.1f %%, experts "
           "%.1f %%)\n",
           units_si(a->plan.flops, "FLOP").text, 100 * a->plan.idle,
           100 * a->plan.idle_batch, 100 * a->plan.idle_experts);
    print_traffic(a);
    printf("time     floors at %s and %s in a node, %s between nodes\n",
           units_si(m->flops, "FLOP/s").text, units_si(m->node, "B/s").text,
           units_si(m->network, "B/s").text);
    printf("         compute %s, within nodes %s, between nodes %s\n",
           duration(t->compute_s).text, duration(t->node_s).text,
           duration(t->network_s).text);
    for (int i = 0; i < 2; i++)
        printf("         %-16s %9s a step, %s tokens/s, %.1f %% of the "
               "FLOP/s\n",
               names[i], duration(step[i]).text,
               units_si(tokens_of(a->config) / step[i], "").text,
               100 * used_share(a, step[i]));
}

/* ---- the fastest layouts --------------------------------------------------
 */

struct listed {
    struct layout_choice choice;
    struct layout_time time;
};

static int by_time(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;

    if (x->choice.fits != y->choice.fits)
        return y->choice.fits - x->choice.fits;
    return (x->time.apart_s > y->time.apart_s) -
           (x->time.apart_s < y->time.apart_s);
}

/* The fastest of those that the keys allow into out, their number as value,
 * or -1 where memory ran out. */
static int list_layouts(const struct answer *a, struct listed out[MAX_LISTED])
{
    struct layout_choice *all = calloc(MAX_CHOICES, sizeof(*all));
    struct listed *list = calloc(MAX_CHOICES, sizeof(*list));
    int64_t n = 0;
    int kept = 0;

    if (all && list) {
        layout_choices(&a->subject, a->query->ranks, a->query->memory_bytes,
                       all, MAX_CHOICES, &n);
        for (int64_t i = 0; i < n; i++) {
            struct layout_plan plan;

            if (all[i].changed)
                continue;
            list[kept].choice = all[i];
            measure(a, &all[i].n, &plan, &list[kept++].time);
        }
        qsort(list, (size_t)kept, sizeof(*list), by_time);
        kept = kept < MAX_LISTED ? kept : MAX_LISTED;
        for (int i = 0; i < kept; i++)
            out[i] = list[i];
    }
    n = all && list ? kept : -1;
    free(all);
    free(list);
    return (int)n;
}

static int same_layout(const struct layout *a, const struct layout *b)
{
    return a->data == b->data && a->expert == b->expert &&
           a->tensor == b->tensor;
}

static void print_layouts(const struct answer *a, const struct listed *l, int n)
{
    printf("layouts  %8s %7s %7s %12s %10s %12s %12s\n", "data", "expert",
           "tensor", "memory", "sent", "step, apart", "overlapped");
    for (int i = 0; i < n; i++) {
        const struct layout *at = &l[i].choice.n;

        printf("       %c %8lld %7lld %7lld %12s %10s %12s %12s%s%s\n",
               same_layout(at, &a->chosen.n) ? '*' : ' ', (long long)at->data,
               (long long)at->expert, (long long)at->tensor,
               units_bytes(l[i].choice.memory).text,
               units_si(l[i].choice.bytes, "B").text,
               duration(l[i].time.apart_s).text,
               duration(l[i].time.overlap_s).text,
               l[i].choice.fits ? "" : "  does not fit",
               l[i].choice.starved ? "  ranks without sequences" : "");
    }
}

/* ---- for programs ----------------------------------------------------------
 */

/* Bytes and messages, whole as they are. */
static json_t *whole(double x)
{
    return x < 0x1p53 ? json_integer((json_int_t)x) : json_number(x);
}

static json_t *layout_json(const struct layout *n)
{
    return json_pack("{sI sI sI}", "data", (json_int_t)n->data, "expert",
                     (json_int_t)n->expert, "tensor", (json_int_t)n->tensor);
}

static json_t *memory_json(const struct answer *a)
{
    json_t *o = json_object();
    struct part part[N_PARTS];

    parts_of(&a->plan.memory, part);
    for (int i = 0; i < N_PARTS; i++)
        json_object_set_new(o, part[i].key, whole(part[i].bytes));
    json_object_set_new(o, "total", whole(a->chosen.memory));
    json_object_set_new(o, "limit", whole(a->query->memory_bytes));
    return o;
}

static json_t *traffic_json(const struct answer *a)
{
    json_t *o = json_object();

    for (int cause = 0; cause < LAYOUT_CAUSES; cause++) {
        json_t *by = json_object();

        for (int kind = 0; kind < COMM_KINDS; kind++)
            if (a->plan.calls[cause][kind] > 0)
                json_object_set_new(
                    by, kinds[kind],
                    json_pack("{so so}", "messages",
                              whole(a->plan.calls[cause][kind]), "bytes",
                              whole(a->plan.bytes[cause][kind])));
        json_object_set_new(by, "floor_s", json_number(a->time.cause_s[cause]));
        json_object_set_new(o, causes[cause].key, by);
    }
    return o;
}

static json_t *time_json(const struct answer *a)
{
    const struct layout_time *t = &a->time;
    json_t *o = json_object();

    json_object_set_new(o, "compute_s", json_number(t->compute_s));
    json_object_set_new(o, "node_s", json_number(t->node_s));
    json_object_set_new(o, "network_s", json_number(t->network_s));
    json_object_set_new(o, "apart_s", json_number(t->apart_s));
    json_object_set_new(o, "overlap_s", json_number(t->overlap_s));
    json_object_set_new(o, "tokens_per_s_apart",
                        json_number(tokens_of(a->config) / t->apart_s));
    json_object_set_new(o, "tokens_per_s_overlap",
                        json_number(tokens_of(a->config) / t->overlap_s));
    json_object_set_new(o, "used_apart",
                        json_number(used_share(a, t->apart_s)));
    json_object_set_new(o, "used_overlap",
                        json_number(used_share(a, t->overlap_s)));
    return o;
}

static json_t *layouts_json(const struct listed *l, int n)
{
    json_t *list = json_array();

    for (int i = 0; i < n; i++) {
        json_t *o = layout_json(&l[i].choice.n);

        json_object_set_new(o, "fits", json_boolean(l[i].choice.fits));
        json_object_set_new(o, "memory", whole(l[i].choice.memory));
        json_object_set_new(o, "bytes", whole(l[i].choice.bytes));
        json_object_set_new(o, "apart_s", json_number(l[i].time.apart_s));
        json_object_set_new(o, "overlap_s", json_number(l[i].time.overlap_s));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *answer_json(const struct answer *a)
{
    const struct parallel_config *p = &a->config->parallel;
    json_t *o = json_object();

    json_object_set_new(o, "ranks", json_integer(a->query->ranks));
    json_object_set_new(o, "layout", layout_json(&a->chosen.n));
    json_object_set_new(o, "auto",
                        json_pack("{sb sb sb}", "data", !p->data, "expert",
                                  !p->expert, "tensor", !p->tensor));
    json_object_set_new(o, "fits", json_boolean(a->chosen.fits));
    json_object_set_new(o, "nearest_that_fits",
                        a->chosen.fits      ? layout_json(&a->chosen.n)
                        : a->fitting.n.data ? layout_json(&a->fitting.n)
                                            : json_null());
    json_object_set_new(o, "parameters",
                        json_integer(a->subject.params->whole));
    json_object_set_new(o, "sequences", json_integer(a->plan.sequences));
    json_object_set_new(o, "passes", json_integer(a->plan.passes));
    json_object_set_new(o, "rows_at_most", whole(a->plan.rows));
    json_object_set_new(o, "flops", json_number(a->plan.flops));
    json_object_set_new(o, "idle", json_number(a->plan.idle));
    json_object_set_new(o, "idle_batch", json_number(a->plan.idle_batch));
    json_object_set_new(o, "idle_experts", json_number(a->plan.idle_experts));
    json_object_set_new(o, "memory", memory_json(a));
    json_object_set_new(o, "traffic", traffic_json(a));
    json_object_set_new(o, "time", time_json(a));
    return o;
}

static int print_answer(const struct answer *a, struct mup_error *err)
{
    struct listed list[MAX_LISTED];
    int n = a->query->layouts ? list_layouts(a, list) : 0;

    if (n < 0)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    if (a->query->as_json) {
        json_t *o = answer_json(a);

        if (a->query->layouts)
            json_object_set_new(o, "layouts", layouts_json(list, n));
        if (a->query->command)
            json_object_set_new(o, "command", json_string(a->query->command));
        return json_print(o, err);
    }
    print_layout(a);
    print_memory(a);
    print_time(a);
    if (a->query->layouts)
        print_layouts(a, list, n);
    if (a->query->command)
        printf("command  %s\n", a->query->command);
    return MUP_OK;
}

struct plan_ranks plan_ranks_default(int64_t ranks, int as_json)
{
    return (struct plan_ranks){ .ranks = ranks,
                                .machine = { 400e12, 450e9, 50e9, 8 },
                                .memory_bytes = 80 * 0x1p30,
                                .as_json = as_json };
}

int plan_print_ranks(const struct run_config *config,
                     const struct plan_ranks *query, struct mup_error *err)
{
    struct params params;
    struct answer a = { .config = config,
                        .query = query,
                        .subject = { config, &params, DTYPE_F32 } };
    int rc = params_init(config, &PLACE_ALONE, &params, err);

    if (rc != MUP_OK)
        return rc;
    rc = answer(&a, err);
    if (rc == MUP_OK)
        rc = print_answer(&a, err);
    if (rc == MUP_OK && !a.chosen.fits)
        rc = MUP_NEGATIVE;
    params_clear(&params);
    return rc;
}

int plan_ranks_step(const struct run_config *config,
                    const struct plan_ranks *query, double *step_s,
                    struct mup_error *err)
{
    struct params params;
    struct answer a = { .config = config,
                        .query = query,
                        .subject = { config, &params, DTYPE_F32 } };
    int rc = params_init(config, &PLACE_ALONE, &params, err);

    if (rc != MUP_OK)
        return rc;
    rc = answer(&a, err);
    params_clear(&params);
    if (rc == MUP_OK)
        *step_s = a.time.apart_s;
    return rc;
}
