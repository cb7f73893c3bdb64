/* A proxy and a target for the linter's tests, and what is asked of them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sweep/coord_check.h"
#include "sweep/lint.h"

struct pair {
    struct run_config proxy, target;
    struct evidence evidence;
    struct space *space;
    struct lint_findings found;
};

static void set(struct run_config *config, const char *key, const char *value)
{
    struct mup_error err = { 0 };

    if (config_set(&run_schema, config, key, value, &err))
        fail_msg("%s", err.text);
}

/* A proxy above all floors, its sweep without a fault, and a target that
 * differs in width alone and does not give what the proxy decides. */
static struct pair sound(void)
{
    static const char *const proxy[][2] = {
        { "model.width", "256" },  { "model.layers", "4" },
        { "model.seq", "128" },    { "train.steps", "5000" },
        { "train.batch", "32" },   { "train.lr", "2^-6" },
        { "train.warmup", "0.1" }, { "model.experts", "8" },
    };
    struct pair p = { 0 };

    assert_int_equal(run_config_read(NULL, NULL, 0, &p.proxy, NULL), MUP_OK);
    p.target = p.proxy;
    for (size_t i = 0; i < sizeof(proxy) / sizeof(*proxy); i++)
        set(&p.proxy, proxy[i][0], proxy[i][1]);
    set(&p.target, "model.width", "1024");
    set(&p.target, "model.layers", "4");
    set(&p.target, "train.steps", "5000");
    set(&p.target, "train.batch", "32");
    evidence_init(&p.evidence);
    p.evidence.sweep = 1;
    snprintf(p.evidence.dir, sizeof(p.evidence.dir), "runs/q");
    p.evidence.winner = 12;
    p.evidence.trials = p.evidence.done = 54;
    p.evidence.report = (struct evidence_report){
        .state = EVIDENCE_CURRENT,
        .verdict = "stable",
        .has_optimum = 1,
        .log2_lr = -6,
        .margin = 3,
        .points = 7,
    };
    p.evidence.coord = (struct evidence_coord){
        .state = EVIDENCE_CURRENT,
        .verdict = "PASS",
        .parametrization = "mup",
        .ruleset = MUP_RULESET_VERSION,
        .lr = exp2(-5),
        .widest = 512,
    };
    coord_config_hash(&p.proxy, p.evidence.coord.config);
    p.evidence.top = (struct evidence_top){ 3, 12, 17, 0.01, 0.002 };
    p.evidence.load_max = 1.4;
    p.evidence.proxy.tokens = p.evidence.target.tokens = 50000000;
    return p;
}

static void lint(struct pair *p)
{
    const struct lint_input in = { &p->proxy, p->space, &p->evidence,
                                   &p->target };
    struct mup_error err = { 0 };

    lint_findings_clear(&p->found);
    if (lint_run(&in, &p->found, &err))
        fail_msg("%s", err.text);
}

static const struct lint_finding *find(const struct pair *p, const char *id)
{
    for (int i = 0; i < p->found.n; i++)
        if (!strcmp(p->found.list[i].rule->id, id))
            return &p->found.list[i];
    return NULL;
}

/* The rule fires once, in a sentence with these words; done with p. */
static void expect(struct pair *p, const char *id, const char *words)
{
    const struct lint_finding *f;
    int n = 0;

    lint(p);
    f = find(p, id);
    for (int i = 0; i < p->found.n; i++)
        n += p->found.list[i].rule == lint_rule_find(id);
    if (!f || n != 1 || !strstr(f->sentence, words))
        fail_msg("%s: %d findings, '%s'", id, n, f ? f->sentence : "none");
    assert_int_equal(f->severity, f->rule->severity);
    assert_null(strchr(f->sentence, '\n'));
    assert_true(f->sentence[strlen(f->sentence) - 1] != '.');
    lint_findings_clear(&p->found);
}
