#include "model/layout_choice.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/backend.h"

struct search {
    const struct layout_subject *subject;
    int64_t ranks;
    double memory_bytes;
    struct layout_choice *list;
    int64_t max, n, found;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* < 0: a is the better one. */
static int compare(const struct layout_choice *a, const struct layout_choice *b)
{
    const double by[][2] = {
        { -a->fits, -b->fits },
        { a->changed, b->changed },
        { a->starved, b->starved },
        { a->uneven, b->uneven },
        { a->distance, b->distance },
        { a->fits ? 0 : a->memory, b->fits ? 0 : b->memory },
        { a->bytes, b->bytes },
        { (double)a->n.tensor, (double)b->n.tensor },
        { (double)a->n.expert, (double)b->n.expert },
    };

    for (size_t i = 0; i < sizeof(by) / sizeof(*by); i++)
        if (by[i][0] < by[i][1] || by[i][0] > by[i][1])
            return by[i][0] < by[i][1] ? -1 : 1;
    return 0;
}

static void change(struct layout_choice *c, int64_t asked, int64_t has)
{
    if (!asked || asked == has)
        return;
    c->changed++;
    c->distance += fabs(log2((double)has / (double)asked));
}

static void consider(struct search *s, int64_t expert, int64_t tensor)
{
    const struct run_config *config = s->subject->config;
    const struct parallel_config *p = &config->parallel;
    struct layout_choice c = { .n = { s->ranks / expert / tensor, expert,
                                      tensor } };
    struct place last = layout_last(&c.n);
    struct layout_plan plan;
    int64_t at;

    layout_plan(s->subject, &last, &plan);
    change(&c, p->data, c.n.data);
    change(&c, p->expert, c.n.expert);
    change(&c, p->tensor, c.n.tensor);
    c.starved = layout_batch_parts(&c.n) > config->train.batch;
    c.uneven = (config->model.experts % expert != 0) +
               (config->train.batch % layout_batch_parts(&c.n) != 0);
    c.bytes = layout_plan_bytes(&plan);
    c.memory = layout_memory_total(&plan.memory);
    c.rows_fit = plan.rows_fit;
    c.fits =
        c.rows_fit && (s->memory_bytes <= 0 || c.memory <= s->memory_bytes);
    s->found++;
    for (at = s->n; at > 0 && compare(&c, &s->list[at - 1]) < 0; at--)
        if (at < s->max)
            s->list[at] = s->list[at - 1];
    if (at < s->max)
        s->list[at] = c;
    s->n = least(s->n + 1, s->max);
}

/* More ranks along `tensor` than this have nothing to do. */
static int64_t max_tensor(const struct run_config *c)
{
    return c->train.optimizer == MUP_MUON
               ? 1
               : least(config_kv_heads(&c->model),
                       least(config_ffn(&c->model), c->model.vocab));
}

int64_t layout_choices(const struct layout_subject *subject, int64_t ranks,
                       double memory_bytes, struct layout_choice *list,
                       int64_t max, int64_t *n)
{
    const struct run_config *c = subject->config;
    const int64_t G = config_kv_heads(&c->model), E = c->model.experts;
    const int64_t asked = c->parallel.expert;
    struct search s = { subject, ranks, memory_bytes, list, max };

    for (int64_t t = 1; t <= least(max_tensor(c), ranks); t++) {
        if (G % t || ranks % t)
            continue;
        for (int64_t e = 1; e <= least(E, ranks / t); e++)
            if (ranks / t % e == 0)
                consider(&s, e, t);
        if (asked > E && ranks / t % asked == 0)
            consider(&s, asked, t);
    }
    *n = s.n;
    return s.found;
}

int64_t layout_more_ranks(const struct layout_subject *subject, int64_t ranks,
                          double memory_bytes, struct layout_choice *out)
{
    struct layout_choice best;
    int64_t n;

    while (ranks <= LAYOUT_MAX_RANKS / 2) {
        ranks *= 2;
        layout_choices(subject, ranks, memory_bytes, &best, 1, &n);
        if (n && best.fits && !best.changed && !best.starved) {
            *out = best;
            return ranks;
        }
    }
    return 0;
}

struct layout_text {
    char text[128];
};

static struct layout_text text_of(const struct layout *l)
{
    struct layout_text t;

    snprintf(t.text, sizeof(t.text),
             "parallel.data %lld, parallel.expert %lld, parallel.tensor %lld",
             (long long)l->data, (long long)l->expert, (long long)l->tensor);
    return t;
}

/* What is wrong with the keys on their own, "" if nothing is. */
static void name_tensor_fault(const struct run_config *c, char *out,
                              size_t bytes)
{
    const int64_t G = config_kv_heads(&c->model), t = c->parallel.tensor;

    out[0] = 0;
    if (t > 1 && c->train.optimizer == MUP_MUON)
        snprintf(out, bytes,
                 "train.optimizer muon works on whole matrices and needs "
                 "parallel.tensor 1, not %lld",
                 (long long)t);
    else if (t && G % t)
        snprintf(out, bytes,
                 "parallel.tensor %lld does not divide the %lld key/value "
                 "heads",
                 (long long)t, (long long)G);
    else if (t > max_tensor(c))
        snprintf(out, bytes,
                 "parallel.tensor %lld is more than the %lld hidden units or "
                 "the vocabulary of %lld",
                 (long long)t, (long long)config_ffn(&c->model),
                 (long long)c->model.vocab);
}

/* What does not multiply to the number of ranks. */
static void name_product_fault(const struct run_config *c, int64_t ranks,
                               char *out, size_t bytes)
{
    const struct parallel_config *p = &c->parallel;
    const struct {
        const char *key;
        int64_t size;
    } key[] = { { "data", p->data },
                { "expert", p->expert },
                { "tensor", p->tensor } };
    double product = 1;
    size_t used = 0;
    int given = 0;

    out[0] = 0;
    for (int i = 0; i < 3; i++) {
        if (!key[i].size)
            continue;
        product *= (double)key[i].size;
        used += (size_t)snprintf(out + used, bytes - used, "%sparallel.%s %lld",
                                 given++ ? " x " : "", key[i].key,
                                 (long long)key[i].size);
    }
    if (given == 3)
        snprintf(out + used, bytes - used, " is %.0f, not %lld ranks", product,
                 (long long)ranks);
    else if (fmod((double)ranks, product) != 0)
        snprintf(out + used, bytes - used, " does not divide %lld ranks",
                 (long long)ranks);
    else
        snprintf(out + used, bytes - used,
                 " leaves more than %lld experts and %lld key/value heads can "
                 "share of %lld ranks",
                 (long long)c->model.experts,
                 (long long)config_kv_heads(&c->model), (long long)ranks);
}

static int refuse_keys(const struct run_config *c, int64_t ranks,
                       const struct layout_choice *nearest,
                       struct mup_error *err)
{
    char fault[256];

    name_tensor_fault(c, fault, sizeof(fault));
    if (!fault[0])
        name_product_fault(c, ranks, fault, sizeof(fault));
    return mup_fail(err, MUP_USAGE, "%s; nearest: %s", fault,
                    text_of(&nearest->n).text);
}

static struct layout_text size_of(double bytes)
{
    struct layout_text t;
    const int small = bytes < 0x1p30;

    snprintf(t.text, sizeof(t.text), "%.1f %s",
             bytes / (small ? 0x1p20 : 0x1p30), small ? "MiB" : "GiB");
    return t;
}

/* The keys are right, but what they ask for does not fit.  wanted: with the
 * keys as they are; best: what comes first where memory counts. */
static int refuse_memory(const struct search *s,
                         const struct layout_choice *wanted,
                         const struct layout_choice *best,
                         struct mup_error *err)
{
    struct layout_choice more;
    int64_t ranks;

    if (!wanted->rows_fit)
        return mup_fail(err, MUP_USAGE,
                        "a forward pass on %s makes more rows of model.width "
                        "than one message holds; lower train.micro_batch",
                        text_of(&wanted->n).text);
    if (best->fits)
        return mup_fail(err, MUP_USAGE,
                        "%s needs %s per rank, more than %s; "
                        "nearest that fits: %s with %s",
                        text_of(&wanted->n).text, size_of(wanted->memory).text,
                        size_of(s->memory_bytes).text, text_of(&best->n).text,
                        size_of(best->memory).text);
    ranks = layout_more_ranks(s->subject, s->ranks, s->memory_bytes, &more);
    if (ranks)
        return mup_fail(err, MUP_USAGE,
                        "no layout of %lld ranks fits into %s per rank; "
                        "nearest that does: %lld ranks, %s with %s",
                        (long long)s->ranks, size_of(s->memory_bytes).text,
                        (long long)ranks, text_of(&more.n).text,
                        size_of(more.memory).text);
    return mup_fail(err, MUP_USAGE,
                    "no layout of %lld ranks or more fits into %s per "
                    "rank; lower train.micro_batch, model.seq or model.width",
                    (long long)s->ranks, size_of(s->memory_bytes).text);
}

static int choose(const struct search *s, struct layout *out,
                  struct mup_error *err)
{
    struct layout_choice any = { 0 }, best = { 0 };
    int64_t n;

    layout_choices(s->subject, s->ranks, 0, &any, 1, &n);
    if (any.changed)
        return refuse_keys(s->subject->config, s->ranks, &any, err);
    layout_choices(s->subject, s->ranks, s->memory_bytes, &best, 1, &n);
    if (!best.fits || best.changed)
        return refuse_memory(s, &any, &best, err);
    *out = best.n;
    return MUP_OK;
}

int layout_resolve(const struct run_config *config, int64_t ranks,
                   int64_t memory_bytes, struct layout *out,
                   struct mup_error *err)
{
    struct params params;
    struct layout_subject subject = { config, &params, DTYPE_F32 };
    struct search s = { &subject, ranks, (double)memory_bytes };
    int rc;

    if (ranks < 1 || ranks > LAYOUT_MAX_RANKS)
        return mup_fail(err, MUP_USAGE, "%lld ranks are outside [1,%lld]",
                        (long long)ranks, (long long)LAYOUT_MAX_RANKS);
    rc = params_init(config, &PLACE_ALONE, &params, err);
    if (rc)
        return rc;
    rc = choose(&s, out, err);
    params_clear(&params);
    return rc;
}
