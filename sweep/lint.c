#include "sweep/lint.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "model/params.h"
#include "model/schedule.h"
#include "sweep/coord_check.h"

/* proxy: the member of a sweep that transfer would choose.  target: with what
 * the proxy decides and the user's target does not give. */
struct context {
    const struct lint_input *in;
    struct run_config proxy, target;
    struct lint_findings *out;
    int no_memory;
};

/* ---- findings -------------------------------------------------------------
 */

static int comes_after(const struct lint_finding *a,
                       const struct lint_finding *b)
{
    if (a->severity != b->severity)
        return a->severity < b->severity;
    return strcmp(a->rule->id, b->rule->id) > 0;
}

/* A finding, in its place. */
static void put(struct context *c, struct lint_finding f)
{
    struct lint_findings *out = c->out;
    struct lint_finding *list =
        realloc(out->list, ((size_t)out->n + 1) * sizeof(*list));
    int at = out->n;

    if (!list) {
        c->no_memory = 1;
        return;
    }
    out->list = list;
    while (at > 0 && comes_after(&list[at - 1], &f))
        at--;
    memmove(list + at + 1, list + at, (size_t)(out->n - at) * sizeof(*list));
    list[at] = f;
    out->n++;
    out->errors += f.severity == LINT_ERROR;
    out->warnings += f.severity == LINT_WARNING;
    out->infos += f.severity == LINT_INFO;
}

static double limit(const char *id)
{
    return lint_rule_find(id)->limit;
}

static struct lint_finding new_finding(const char *id)
{
    const struct lint_rule *rule = lint_rule_find(id);

    assert(rule);
    return (struct lint_finding){ .rule = rule, .severity = rule->severity };
}

/* Text of a key of a config, cut to fit; the field, or NULL if there is no
 * such key. */
static const struct field *text_of(const struct run_config *config,
                                   const char *key, char out[64])
{
    const struct section *section;
    const struct field *field = config_find(&run_schema, key, &section);
    char text[FIELD_TEXT_BYTES];

    out[0] = '\0';
    if (field) {
        config_text(section, field, config, text, sizeof(text));
        snprintf(out, 64, "%.63s", text);
    }
    return field;
}

/* A finding in a sentence; key NULL: about none. */
__attribute__((format(printf, 4, 5))) static void
say(struct context *c, const char *id, const char *key, const char *format, ...)
{
    struct lint_finding f = new_finding(id);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(f.sentence, sizeof(f.sentence), format, args);
    va_end(args);
    if (key) {
        snprintf(f.key, sizeof(f.key), "%s", key);
        if (c->in->proxy)
            (void)text_of(&c->proxy, key, f.proxy);
        (void)text_of(&c->target, key, f.target);
    }
    put(c, f);
}

/* ---- the proxy's sweep file -----------------------------------------------
 */

static int tuned(const struct context *c, const char *key)
{
    const struct space *s = c->in->space;

    for (int i = 0; s && i < s->n_parameters; i++)
        if (!strcmp(s->parameter[i].key, key))
            return 1;
    return 0;
}

/* The group of a key, or NULL. */
static const struct space_group *group_of(const struct context *c,
                                          const char *key)
{
    const struct space *s = c->in->space;

    for (int i = 0; s && i < s->n_groups; i++)
        if (!strcmp(s->group[i].key, key))
            return &s->group[i];
    return NULL;
}

static int has_value(const struct space_group *g, const char *value)
{
    for (int k = 0; k < g->n_values; k++)
        if (!strcmp(g->values[k], value))
            return 1;
    return 0;
}

/* The value of the member that decides: muP where it is run, the largest
 * width, depth, ..., the first of anything else. */
static const char *deciding_value(const struct space_group *g)
{
    double best, x;
    int at = 0;

    if (!strcmp(g->key, "mup.parametrization") && has_value(g, "mup"))
        return "mup";
    if (parse_real(g->values[0], &best, NULL) != MUP_OK)
        return g->values[0];
    for (int k = 1; k < g->n_values; k++)
        if (parse_real(g->values[k], &x, NULL) == MUP_OK && x > best) {
            best = x;
            at = k;
        }
    return g->values[at];
}

static void choose_member(struct context *c)
{
    const struct space *s = c->in->space;

    for (int i = 0; s && i < s->n_groups; i++) {
        int rc = config_set(&run_schema, &c->proxy, s->group[i].key,
                            deciding_value(&s->group[i]), NULL);

        assert(rc == MUP_OK); /* space_open has set every value */
        (void)rc;
    }
}

/* What the proxy has at key: its value, "32|64", or "tuned". */
static void describe_proxy(const struct context *c, const char *key,
                           char out[64])
{
    const struct space_group *g = group_of(c, key);
    size_t used = 0;

    if (tuned(c, key)) {
        snprintf(out, 64, "tuned");
        return;
    }
    (void)text_of(&c->proxy, key, out);
    for (int k = 0; g && k < g->n_values && used < 48; k++)
        used += (size_t)snprintf(out + used, 64 - used, "%s%.15s", k ? "|" : "",
                                 g->values[k]);
}

/* ---- size of the proxy ----------------------------------------------------
 */

static void check_toy(struct context *c)
{
    const struct {
        const char *rule, *key, *unit;
        int64_t value;
    } sizes[] = {
        { "M001", "model.width", "", c->proxy.model.width },
        { "M002", "train.steps", "", c->proxy.train.steps },
        { "M003", "model.layers", "", c->proxy.model.layers },
        { "M004", "train.batch", " sequences", c->proxy.train.batch },
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if ((double)sizes[i].value < limit(sizes[i].rule))
            say(c, sizes[i].rule, sizes[i].key,
                "the proxy's %s is %lld%s, below %g: a toy, good for "
                "learning, not for a decision",
                sizes[i].key, (long long)sizes[i].value, sizes[i].unit,
                limit(sizes[i].rule));
}

static void check_readout(struct context *c)
{
    const struct model_config *m = &c->proxy.model;
    struct params params;
    double all, readout;

    if (params_init(&c->proxy, &PLACE_ALONE, &params, NULL) != MUP_OK)
        return;
    all = model_flops_per_sequence(&params, m);
    params_clear(&params);
    readout = 6 * (double)m->vocab * (double)m->width * (double)m->seq;
    if (readout > limit("M090") * all)
        say(c, "M090", "model.vocab",
            "the unembedding takes %.0f %% of the proxy's FLOP (vocabulary "
            "%lld, width %lld, %lld layers)",
            100 * readout / all, (long long)m->vocab, (long long)m->width,
            (long long)m->layers);
}

/* ---- the sweep and its report ---------------------------------------------
 */

static void check_optimum(struct context *c)
{
    const struct evidence *e = c->in->evidence;
    const struct evidence_report *r = &e->report;

    if (r->state != EVIDENCE_CURRENT || !r->has_optimum)
        return;
    if (r->edge)
        say(c, "M010", "train.lr",
            "the best learning rate, 2^%.1f, lies at the %s end of the grid",
            r->log2_lr, r->edge < 0 ? "low" : "high");
    if (r->points < limit("M011"))
        say(c, "M011", "train.lr",
            "only %d finite learning rates surround the optimum, %g make a "
            "curve",
            r->points, limit("M011"));
    if (r->margin < limit("M012"))
        say(c, "M012", "train.lr",
            "runs diverge %.1f octaves above the best learning rate, 2^%.1f; "
            "%g octaves are safe",
            r->margin, r->log2_lr, limit("M012"));
}

static void check_noise(struct context *c)
{
    const struct evidence_top *t = &c->in->evidence->top;

    if (t->noise > t->gap)
        say(c, "M013", NULL,
            "trials %lld and %lld differ by %.2g in the metric (mean over %d "
            "seeds), their seeds scatter by %.2g",
            (long long)t->winner, (long long)t->second, t->gap, t->seeds,
            t->noise);
}

static void check_progress(struct context *c)
{
    const struct evidence *e = c->in->evidence;

    if (e->waiting > 0)
        say(c, "M019", NULL,
            "%lld of %lld trials of the sweep are not finished; the winner may "
            "change",
            (long long)e->waiting, (long long)e->trials);
}

static void check_load(struct context *c)
{
    double load = c->in->evidence->load_max;

    if (c->proxy.model.experts > 1 && load > limit("M051"))
        say(c, "M051", "model.experts",
            "at the optimum one of the %lld experts takes %.1f times the mean "
            "load, more than %g times",
            (long long)c->proxy.model.experts, load, limit("M051"));
}

static void check_report(struct context *c)
{
    const struct evidence *e = c->in->evidence;
    const struct evidence_report *r = &e->report;

    if (r->state == EVIDENCE_MISSING)
        say(c, "M072", NULL,
            "no report says that the optimum stays where it is; run "
            "'mutransfer report %s'",
            e->dir);
    else if (r->state == EVIDENCE_STALE)
        say(c, "M072", NULL,
            "the report is of another number of finished trials than the %lld "
            "there are; run 'mutransfer report %s' again",
            (long long)e->done, e->dir);
    else if (strcmp(r->verdict, "stable") != 0)
        say(c, "M073", NULL,
            "the report on the optimum over width says '%s'%s%s", r->verdict,
            r->reason[0] ? ": " : "", r->reason);
}

/* Why a coordinate check does not speak for this proxy; "" if it does. */
static void stale(const struct context *c, char *why, size_t bytes)
{
    const struct evidence_coord *k = &c->in->evidence->coord;
    const char *want = mup_parametrization_name(c->proxy.mup.parametrization);
    char config[17];

    coord_config_hash(&c->proxy, config);
    why[0] = '\0';
    if (strcmp(k->parametrization, want) != 0)
        snprintf(why, bytes, "it is of the parametrization '%s', not of '%s'",
                 k->parametrization, want);
    else if (k->ruleset < 0)
        snprintf(why, bytes, "it does not say which rule set it checked");
    else if (k->ruleset != MUP_RULESET_VERSION)
        snprintf(why, bytes,
                 "it was made with rule set %lld, this program has %d",
                 (long long)k->ruleset, MUP_RULESET_VERSION);
    else if (!(k->lr > 0))
        snprintf(why, bytes, "it does not say with which learning rate");
    else if (fabs(log2(k->lr / c->proxy.train.lr)) > limit("M070"))
        snprintf(why, bytes,
                 "it was made at the learning rate %.3g, more than %g octaves "
                 "from the winner's %.3g",
                 k->lr, limit("M070"), c->proxy.train.lr);
    else if (strcmp(k->config, config) != 0)
        snprintf(why, bytes,
                 "it was made with another config than the winner's (keys of "
                 "role transfer or fixed differ)");
    else if (k->widest < c->proxy.model.width)
        snprintf(why, bytes,
                 "its widest model is %lld, narrower than the proxy's %lld",
                 (long long)k->widest, (long long)c->proxy.model.width);
}

/* With the command that makes a check which is neither.  The winner's own
 * config: the sweep's base lacks what was tuned. */
static void say_check(struct context *c, const char *problem)
{
    const struct evidence *e = c->in->evidence;
    long long width = c->proxy.model.width;
    char widths[80] = "";

    if (width > 512) /* the least that coord-check goes up to by itself */
        snprintf(widths, sizeof(widths), " --widths %lld,%lld,%lld", width / 4,
                 width / 2, width);
    say(c, "M070", NULL,
        "%s; run 'mutransfer coord-check %s/trials/%lld/config.yaml%s -o "
        "%s/coord-%s'",
        problem, e->dir, (long long)e->winner, widths, e->dir,
        mup_parametrization_name(c->proxy.mup.parametrization));
}

/* All of it is about the winner: it is the proxy that a check is made of. */
static void check_coordinates(struct context *c)
{
    const struct evidence *e = c->in->evidence;
    int p = c->proxy.mup.parametrization;
    char why[256] = "the coordinate check is stale: ";
    size_t used = strlen(why);

    if (p == MUP_SP)
        return;
    if (e->coord.state == EVIDENCE_MISSING) {
        say_check(c, "there is no coordinate check");
        return;
    }
    stale(c, why + used, sizeof(why) - used);
    if (why[used])
        say_check(c, why);
    if (strcmp(e->coord.verdict, mup_coord_overall_name(MUP_VERDICT_OK)) != 0)
        say(c, "M071", NULL, "coordinate check under '%s': %s",
            mup_parametrization_name(p), e->coord.verdict);
}

/* ---- text -----------------------------------------------------------------
 */

static double epochs(const struct run_config *c,
                     const struct evidence_corpus *corpus)
{
    double tokens =
        (double)c->train.steps * (double)c->train.batch * (double)c->model.seq;

    return corpus->tokens > 0 ? tokens / (double)corpus->tokens : 0;
}

static void check_corpora(struct context *c)
{
    const struct evidence *e = c->in->evidence;
    double proxy, target;

    if (e->proxy.tokenizer[0] && e->target.tokenizer[0] &&
        strcmp(e->proxy.tokenizer, e->target.tokenizer) != 0)
        say(c, "M040", "data.train",
            "the proxy's text was cut into tokens by '%s', the target's by "
            "'%s'",
            e->proxy.tokenizer, e->target.tokenizer);
    proxy = epochs(&c->proxy, &e->proxy);
    target = epochs(&c->target, &e->target);
    if (proxy > 1 && target <= 1 &&
        (target > 0 || !strcmp(c->target.data.train, "synthetic")))
        say(c, "M041", "data.train",
            "the proxy sees its text %.1f times, the target %.2g times", proxy,
            target);
}

/* ---- the proxy's schedule, the target's architecture ----------------------
 */

static void check_decayed(struct context *c)
{
    const struct train_config *t = &c->proxy.train;
    double end = schedule_factor(t, t->steps - 1);

    if (end > limit("M021"))
        say(c, "M021", "train.schedule",
            "the proxy ends at %.0f %% of its peak learning rate, above %.0f "
            "%%",
            100 * end, 100 * limit("M021"));
}

static void check_parametrization(struct context *c)
{
    int64_t proxy = c->proxy.model.width, target = c->target.model.width;
    const struct space_group *widths = group_of(c, "model.width");
    char text[64];

    (void)text_of(&c->target, "model.width", text);
    if (c->target.mup.parametrization != MUP_SP || proxy == target ||
        (widths && has_value(widths, text)))
        return;
    say(c, "M018", "mup.parametrization",
        "the target uses the standard parametrization: the optimum at width "
        "%lld does not hold at width %lld",
        (long long)proxy, (long long)target);
}

static void check_ratio(struct context *c)
{
    const struct model_config *p = &c->proxy.model, *t = &c->target.model;
    double proxy = (double)config_ffn(p) / (double)p->width;
    double target = (double)config_ffn(t) / (double)t->width;

    if (p->ffn_ratio == t->ffn_ratio &&
        fabs(target / proxy - 1) > limit("M023"))
        say(c, "M023", "model.ffn_ratio",
            "rounding makes the feed-forward ratio %.3g in the proxy and %.3g "
            "in the target",
            proxy, target);
}

static void check_decay(struct context *c)
{
    const struct train_config *t = &c->target.train;

    if (t->decay_mode == MUP_DECAY_COUPLED && t->weight_decay > 0 &&
        c->target.mup.parametrization != MUP_SP)
        say(c, "M030", "train.decay_mode",
            "weight decay is coupled: with the learning rate it falls as the "
            "width grows, so %g decays a wide model less",
            t->weight_decay);
}

static void check_tied(struct context *c)
{
    if (c->target.model.tied && (!c->in->proxy || c->proxy.model.tied))
        say(c, "M060", "model.tied",
            "the embedding is the unembedding: as one tensor it follows the "
            "input rule, and mup.out_mult has to make up for it");
}

static void check_broken(struct context *c)
{
    if (c->target.mup.broken)
        say(c, "M061", "mup.break", "the target breaks a rule on purpose: %s",
            mup_break_text(c->target.mup.broken));
}

static void check_divides(struct context *c)
{
    const struct model_config *m = &c->target.model;

    if (m->width % m->head_size)
        say(c, "M080", "model.width",
            "the target's model.width %lld is not a multiple of "
            "model.head_size %lld",
            (long long)m->width, (long long)m->head_size);
    else if (config_heads(m) % m->kv_group)
        say(c, "M080", "model.width",
            "the target's %lld heads (model.width / model.head_size) are not a "
            "multiple of model.kv_group %lld",
            (long long)config_heads(m), (long long)m->kv_group);
    if (m->top_k > m->experts)
        say(c, "M080", "model.top_k",
            "the target's model.top_k %lld is more than model.experts %lld",
            (long long)m->top_k, (long long)m->experts);
}

/* ---- key by key -----------------------------------------------------------
 */

/* Keys whose difference is more than M014 or M015. */
static const struct {
    const char *key, *rule;
    int cls;
} specific[] = {
    { "train.schedule", "M020", LINT_EQUAL },
    { "train.final_lr", "M020", LINT_EQUAL },
    { "train.decay", "M020", LINT_EQUAL },
    { "train.warmup", "M022", LINT_EMPIRICAL },
    { "model.kv_group", "M024", LINT_EQUAL },
    { "model.head_size", "M025", LINT_EQUAL },
    { "model.vocab", "M040", LINT_EQUAL },
    { "model.experts", "M050", LINT_EQUAL },
    { "model.top_k", "M050", LINT_EQUAL },
    { "model.ffn_ratio", "M050", LINT_EQUAL },
};

/* A key that switches a rule on is there and has another value than its
 * default. */
static int rule_chosen(const struct run_config *config, const char *key)
{
    char text[64];
    const struct field *field = text_of(config, key, text);

    return field && field->def && strcmp(text, field->def) != 0;
}

/* A rule that was chosen corrects for another value of this key; the MoE
 * regimes hold at a fixed share of experts per token. */
static int scaled_by_rule(const struct context *c, const char *key)
{
    static const struct {
        const char *key, *rule;
    } scaled[] = {
        { "model.layers", "mup.depth" },   { "model.experts", "mup.moe" },
        { "model.top_k", "mup.moe" },      { "model.ffn_ratio", "mup.moe" },
        { "model.kv_group", "mup.gqa" },   { "train.batch", "mup.duration" },
        { "train.steps", "mup.duration" },
    };
    const struct model_config *p = &c->proxy.model, *t = &c->target.model;

    if (!strcmp(key, "model.width"))
        return c->target.mup.parametrization != MUP_SP;
    for (size_t i = 0; i < sizeof(scaled) / sizeof(scaled[0]); i++)
        if (!strcmp(scaled[i].key, key))
            return rule_chosen(&c->target, scaled[i].rule) &&
                   (strcmp(scaled[i].rule, "mup.moe") != 0 ||
                    p->top_k * t->experts == t->top_k * p->experts);
    return 0;
}

static int class_of(const struct context *c, const char *key,
                    const struct field *field)
{
    if (scaled_by_rule(c, key))
        return LINT_SCALED;
    if (field->role == ROLE_SCALE || !strcmp(key, "train.warmup"))
        return LINT_EMPIRICAL;
    return field->role == ROLE_TRANSFER ? LINT_TRANSFERS : LINT_EQUAL;
}

/* A rule that knows the key better has spoken. */
static int settled(const struct context *c, const char *key)
{
    for (int i = 0; i < c->out->n; i++)
        if (c->out->list[i].severity == LINT_ERROR &&
            !strcmp(c->out->list[i].key, key))
            return 1;
    return 0;
}

/* f holds key and both values; the rule, and the sentence. */
static void add_given(struct context *c, struct lint_finding f,
                      const struct field *field)
{
    struct lint_finding g =
        new_finding(field->role == ROLE_TRANSFER ? "M014" : "M015");

    for (size_t i = 0; i < sizeof(specific) / sizeof(specific[0]); i++)
        if (!strcmp(specific[i].key, f.key)) {
            g = new_finding(specific[i].rule);
            f.cls = specific[i].cls;
        }
    f.rule = g.rule;
    f.severity = g.severity;
    snprintf(f.sentence, sizeof(f.sentence),
             "'%s' (%s) is %s in the proxy and %s in the target", f.key,
             field_role_name(field->role), f.proxy, f.target);
    put(c, f);
}

static void add_missing(struct context *c, struct lint_finding f)
{
    struct lint_finding g = new_finding("M016");
    const char *def = f.target[0] ? f.target : "none";
    char was[64];

    memcpy(was, def, strlen(def) + 1);
    f.rule = g.rule;
    f.severity = config_require(&run_schema, c->in->target, NULL) == MUP_OK
                     ? g.severity
                     : LINT_INFO;
    snprintf(f.target, sizeof(f.target), "not given");
    snprintf(f.sentence, sizeof(f.sentence),
             "'%s' is %s in the proxy and not given in the target: "
             "'mutransfer transfer' sets it (default: %s)",
             f.key, f.proxy, was);
    put(c, f);
}

static void check_key(struct context *c, const char *key,
                      const struct field *field)
{
    struct lint_finding f = { 0 };
    const struct space_group *g = group_of(c, key);
    int given = run_config_given(c->in->target, key);
    int unknown = !field->def && !run_config_given(c->in->proxy, key);
    char own[64];

    (void)text_of(c->in->target, key, f.target);
    (void)text_of(&c->proxy, key, own);
    if (field->role == ROLE_RUN || unknown || (g && has_value(g, f.target)) ||
        (!strcmp(own, f.target) && !tuned(c, key)) || settled(c, key))
        return;
    if (!given && !field->def)
        f.target[0] = '\0';
    snprintf(f.key, sizeof(f.key), "%.63s", key);
    describe_proxy(c, key, f.proxy);
    f.cls = class_of(c, key, field);
    if (field->role == ROLE_SCALE || f.cls == LINT_SCALED) {
        struct lint_finding scale = new_finding("M017");

        f.rule = scale.rule;
        f.severity = scale.severity;
        snprintf(f.sentence, sizeof(f.sentence),
                 "'%s' is %s in the proxy and %s in the target: %s", key,
                 f.proxy, f.target, lint_class_name(f.cls));
        put(c, f);
    } else if (given) {
        add_given(c, f, field);
    } else {
        add_missing(c, f);
    }
}

static void check_keys(struct context *c)
{
    for (const struct section *s = run_schema.sections; s->name; s++)
        for (const struct field *f = s->fields; f->key; f++) {
            char key[CONFIG_KEY_BYTES];

            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            check_key(c, key, f);
        }
}

/* ---- all of it ------------------------------------------------------------
 */

typedef void check(struct context *c);

static check *const of_target[] = { check_decay, check_tied, check_broken,
                                    check_divides };
static check *const of_proxy[] = { check_toy, check_readout, check_decayed,
                                   check_parametrization, check_ratio };
static check *const of_corpora[] = { check_corpora };
static check *const of_sweep[] = { check_optimum,  check_noise,
                                   check_progress, check_load,
                                   check_report,   check_coordinates };

#define RUN(checks, context)                                                   \
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)            \
    checks[i](context)

int lint_run(const struct lint_input *in, struct lint_findings *out,
             struct mup_error *err)
{
    struct lint_findings found = { 0 };
    struct context c = { .in = in, .target = *in->target, .out = &found };
    int rc = MUP_OK;

    if (in->proxy) {
        c.proxy = *in->proxy;
        choose_member(&c);
        rc = lint_carry(&c.proxy, &c.target, err);
    }
    if (rc != MUP_OK)
        return rc;
    RUN(of_target, &c);
    if (in->proxy) {
        RUN(of_proxy, &c);
        if (in->evidence)
            RUN(of_corpora, &c);
        if (in->evidence && in->evidence->sweep)
            RUN(of_sweep, &c);
        check_keys(&c); /* last: the others know better */
    }
    if (c.no_memory) {
        lint_findings_clear(&found);
        return mup_fail(err, MUP_SYSTEM, "out of memory for the findings");
    }
    *out = found;
    return MUP_OK;
}

void lint_findings_clear(struct lint_findings *found)
{
    free(found->list);
    *found = (struct lint_findings){ 0 };
}

int lint_decided(const struct field *field)
{
    return field->role == ROLE_TRANSFER || field->role == ROLE_FIXED;
}

int lint_carry(const struct run_config *proxy, struct run_config *target,
               struct mup_error *err)
{
    struct run_config carried = *target;

    for (const struct section *s = run_schema.sections; s->name; s++)
        for (const struct field *f = s->fields; f->key; f++) {
            char key[CONFIG_KEY_BYTES], value[FIELD_TEXT_BYTES];
            int rc;

            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            if (!lint_decided(f) || run_config_given(target, key) ||
                (!f->def && !run_config_given(proxy, key)))
                continue;
            config_text(s, f, proxy, value, sizeof(value));
            rc = config_set(&run_schema, &carried, key, value, err);
            if (rc != MUP_OK)
                return rc;
        }
    *target = carried;
    return MUP_OK;
}
