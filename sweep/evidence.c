#include "sweep/evidence.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "model/manifest.h"
#include "model/shard.h"
#include "sweep/report_data.h"
#include "sweep/store.h"

void evidence_init(struct evidence *e)
{
    *e = (struct evidence){
        .load_max = NAN,
        .report = { .log2_lr = NAN, .margin = INFINITY },
        .coord = { .ruleset = -1, .lr = NAN },
    };
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* NULL where there is no such file or it is not JSON. */
static json_t *load(const char *dir, const char *name)
{
    char path[1100];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= sizeof(path))
        return NULL;
    return json_load_file(path, 0, NULL);
}

/* ---- texts ----------------------------------------------------------------
 */

/* A tokenizer that is described by more than a name goes by its hash. */
static void name_tokenizer(const json_t *corpus, char *out, size_t bytes)
{
    const json_t *t = json_object_get(corpus, "tokenizer");
    char *dump;

    if (json_is_string(t)) {
        snprintf(out, bytes, "%s", json_string_value(t));
    } else if (t) {
        dump = json_dumps(t, JSON_SORT_KEYS | JSON_ENCODE_ANY);
        if (dump)
            snprintf(out, bytes, "%016llx",
                     (unsigned long long)XXH3_64bits(dump, strlen(dump)));
        free(dump);
    }
}

static void read_corpus(const char *source, struct evidence_corpus *out)
{
    struct shard shard;
    json_t *corpus;

    if (!strcmp(source, "synthetic")) {
        *out = (struct evidence_corpus){ 0 };
        return;
    }
    if (shard_open(source, &shard, NULL) == MUP_OK) {
        out->tokens = shard.tokens;
        shard_close(&shard);
    }
    corpus = manifest_corpus(source);
    name_tokenizer(corpus, out->tokenizer, sizeof(out->tokenizer));
    json_decref(corpus);
}

void evidence_read_corpora(const struct run_config *proxy,
                           const struct run_config *target, struct evidence *e)
{
    if (proxy && !e->sweep)
        read_corpus(proxy->data.train, &e->proxy);
    read_corpus(target->data.train, &e->target);
}

/* The text may have moved or changed since: what the trial wrote down stands.
 */
static void read_manifest(const char *dir, struct evidence_corpus *out)
{
    json_t *manifest = load(dir, "manifest.json");
    const json_t *train = json_object_get(manifest, "train");

    out->tokens = json_integer_value(json_object_get(train, "tokens"));
    name_tokenizer(json_object_get(train, "corpus"), out->tokenizer,
                   sizeof(out->tokenizer));
    json_decref(manifest);
}

/* ---- trials ---------------------------------------------------------------
 */

struct trials {
    struct trial *list;
    int64_t n;
    const struct trial *winner;
};

/* The trial of a configuration at the winner's place, or NULL. */
static const struct trial *find(const struct trials *t, int64_t config,
                                int64_t seed)
{
    for (int64_t i = 0; i < t->n; i++)
        if (t->list[i].member == t->winner->member &&
            t->list[i].config == config && t->list[i].seed == seed)
            return &t->list[i];
    return NULL;
}

/* A configuration against the winner over the seeds that both have; seeds 0
 * where one of them has no result. */
static struct evidence_top compare(const struct trials *t, int64_t config)
{
    struct evidence_top top = { .gap = NAN, .noise = NAN };
    double sum = 0, squares = 0, n, var;

    for (int64_t i = 0; i < t->n; i++) {
        const struct trial *a = &t->list[i], *b;

        if (a->member != t->winner->member || a->config != t->winner->config ||
            a->state != TRIAL_DONE)
            continue;
        b = find(t, config, a->seed);
        if (!b || b->state != TRIAL_DONE)
            return (struct evidence_top){ .gap = NAN, .noise = NAN };
        if (top.seeds++ == 0) {
            top.winner = a->id;
            top.second = b->id;
        }
        sum += b->value - a->value;
        squares += (b->value - a->value) * (b->value - a->value);
    }
    n = top.seeds;
    top.gap = sum / n;
    var = (squares - sum * sum / n) / (n - 1);
    top.noise = n > 1 ? sqrt(fmax(var, 0) / n) : NAN;
    return top;
}

/* A configuration that lost a seed is no second best, whatever the others
 * reached. */
static int sound(const struct trials *t, int64_t config)
{
    for (int64_t i = 0; i < t->n; i++)
        if (t->list[i].member == t->winner->member &&
            t->list[i].config == config &&
            (t->list[i].state == TRIAL_DIVERGED ||
             t->list[i].state == TRIAL_FAILED))
            return 0;
    return 1;
}

static struct evidence_top find_top(const struct trials *t)
{
    struct evidence_top best = { .gap = NAN, .noise = NAN };

    for (int64_t i = 0; i < t->n; i++) {
        const struct trial *b = &t->list[i];
        struct evidence_top top;

        if (b->member != t->winner->member || b->state != TRIAL_DONE ||
            b->config == t->winner->config || !sound(t, b->config))
            continue;
        top = compare(t, b->config);
        if (top.seeds > 0 && !(top.gap >= best.gap))
            best = top;
    }
    return best;
}

static int read_trials(const char *dir, int64_t id, struct trials *out,
                       struct mup_error *err)
{
    struct trials t = { 0 };
    struct store *store;
    int rc = store_open_readonly(dir, &store, err);

    if (rc != MUP_OK)
        return rc;
    rc = store_trials(store, &t.list, &t.n, err);
    store_close(store);
    for (int64_t i = 0; rc == MUP_OK && i < t.n; i++)
        if (t.list[i].id == id)
            t.winner = &t.list[i];
    if (rc == MUP_OK && !t.winner)
        rc = mup_fail(err, MUP_USAGE, "the sweep in '%s' has no trial %lld",
                      dir, (long long)id);
    if (rc != MUP_OK) {
        free(t.list);
        return rc;
    }
    *out = t;
    return MUP_OK;
}

/* ---- result files ---------------------------------------------------------
 */

static void read_optimum(const json_t *item, int64_t width,
                         struct evidence_report *out)
{
    const json_t *optima = json_object_get(item, "optima");

    for (size_t i = 0; i < json_array_size(optima); i++) {
        const json_t *o = json_array_get(optima, i);
        double margin = number(o, "margin");

        if (number(o, "width") != (double)width)
            continue;
        out->has_optimum = 1;
        out->log2_lr = number(o, "log2_lr");
        out->margin = isnan(margin) ? INFINITY : margin;
        out->edge = (int)json_integer_value(json_object_get(o, "edge"));
        out->points = (int)json_integer_value(json_object_get(o, "points"));
    }
}

/* The learning rate over width by parametrization. */
static int is_usual(const json_t *report)
{
    const struct axes usual = axes_usual();
    const json_t *keys = json_object_get(report, "axes_keys");

    return !strcmp(text(keys, "over"), usual.over.key) &&
           !strcmp(text(keys, "of"), usual.of.key) &&
           !strcmp(text(keys, "by"), usual.by.key);
}

static void read_report(const char *dir, const struct trial *winner,
                        struct evidence *e)
{
    json_t *report = load(dir, "report.json");
    const json_t *list =
        is_usual(report) ? json_object_get(report, "parametrizations") : NULL;
    const json_t *study = json_object_get(report, "study");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        struct evidence_report *r = &e->report;

        if (strcmp(text(item, "name"),
                   mup_parametrization_name(winner->parametrization)) != 0)
            continue;
        /* A report of a study that has grown since, or of other rules, says
         * nothing about it. */
        r->state = number(study, "done") == (double)e->done &&
                           number(report, "ruleset") == MUP_RULESET_VERSION
                       ? EVIDENCE_CURRENT
                       : EVIDENCE_STALE;
        snprintf(r->verdict, sizeof(r->verdict), "%s", text(item, "verdict"));
        snprintf(r->reason, sizeof(r->reason), "%s", text(item, "reason"));
        read_optimum(item, winner->width, r);
    }
    json_decref(report);
}

static void read_coord(const char *dir, int parametrization,
                       struct evidence_coord *out)
{
    char name[64];
    json_t *check;
    const json_t *ruleset, *widths;

    snprintf(name, sizeof(name), "coord-%s/coord.json",
             mup_parametrization_name(parametrization));
    check = load(dir, name);
    ruleset = json_object_get(check, "ruleset");
    widths = json_object_get(check, "widths");
    if (check) {
        out->state = EVIDENCE_CURRENT;
        snprintf(out->verdict, sizeof(out->verdict), "%s",
                 text(check, "verdict"));
        snprintf(out->parametrization, sizeof(out->parametrization), "%s",
                 text(check, "parametrization"));
        out->ruleset =
            json_is_integer(ruleset) ? json_integer_value(ruleset) : -1;
        out->lr = number(check, "lr");
        snprintf(out->config, sizeof(out->config), "%s",
                 text(check, "config_xxh3"));
    }
    for (size_t i = 0; i < json_array_size(widths); i++) {
        int64_t w = json_integer_value(json_array_get(widths, i));

        out->widest = w > out->widest ? w : out->widest;
    }
    json_decref(check);
}

/* Mean over lines [first, n) of one layer's largest load. */
static double layer_load(const struct report_series *s, int first, size_t layer)
{
    double sum = 0;
    int n = 0;

    for (int i = first; i < s->n; i++) {
        const json_t *v =
            json_array_get(json_object_get(s->line[i], "load_max"), layer);

        if (json_is_number(v)) {
            sum += json_number_value(v);
            n++;
        }
    }
    return n > 0 ? sum / n : NAN;
}

static double read_load(const char *dir)
{
    struct report_series s = { 0 };
    char path[1100];
    double worst = NAN;
    size_t layers;

    snprintf(path, sizeof(path), "%s/metrics.jsonl", dir);
    if (report_series_open(path, &s, NULL) != MUP_OK || s.n == 0)
        return NAN;
    layers = json_array_size(json_object_get(s.line[s.n - 1], "load_max"));
    for (size_t l = 0; l < layers; l++)
        worst = fmax(worst, layer_load(&s, s.n - (s.n + 3) / 4, l));
    report_series_close(&s);
    return worst;
}

int evidence_read(const char *dir, int64_t trial, struct evidence *e,
                  struct mup_error *err)
{
    struct evidence found;
    struct trials t;
    char trial_dir[1024];
    int rc = read_trials(dir, trial, &t, err);

    if (rc != MUP_OK)
        return rc;
    evidence_init(&found);
    found.sweep = 1;
    snprintf(found.dir, sizeof(found.dir), "%s", dir);
    found.winner = trial;
    found.trials = t.n;
    for (int64_t i = 0; i < t.n; i++) {
        found.done += t.list[i].state == TRIAL_DONE;
        found.waiting += t.list[i].state == TRIAL_WAITING ||
                         t.list[i].state == TRIAL_RUNNING;
    }
    snprintf(trial_dir, sizeof(trial_dir), "%s/trials/%lld", dir,
             (long long)(t.winner->twin ? t.winner->twin : trial));
    found.top = find_top(&t);
    read_report(dir, t.winner, &found);
    read_coord(dir, t.winner->parametrization, &found.coord);
    read_manifest(trial_dir, &found.proxy);
    found.load_max = read_load(trial_dir);
    free(t.list);
    *e = found;
    return MUP_OK;
}
