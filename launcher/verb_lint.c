#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/findings.h"
#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/verbs.h"
#include "sweep/driver.h"

static const struct option options[] = {
    OPTION_JSON,
    { 0 },
};

struct lint {
    struct run_config proxy, target;
    struct space space;
    int is_sweep; /* space is open */
    struct evidence evidence;
    struct lint_findings found;
};

/* The winner of a sweep, and what its folder knows. */
static int load_sweep_dir(struct lint *l, const char *dir,
                          struct mup_error *err)
{
    struct trial winner;
    int rc = sweep_winner(dir, &l->proxy, &winner, err);

    return rc ? rc : evidence_read(dir, winner.id, &l->evidence, err);
}

/* The proxy as a run config: a run file, the base of a sweep file, or the
 * winner of a finished sweep. */
static int load_proxy(struct lint *l, const char *path, struct mup_error *err)
{
    char yaml[1100];
    int kind;
    int rc = path_classify(path, &kind, err);

    if (rc != MUP_OK)
        return rc;
    switch (kind) {
    case PATH_SWEEP_DIR:
        return load_sweep_dir(l, path, err);
    case PATH_RUN_DIR:
        rc = path_join(path, "config.yaml", yaml, sizeof(yaml), err);
        return rc ? rc : run_config_read(yaml, NULL, 0, &l->proxy, err);
    case PATH_SWEEP_CONFIG:
        rc = space_open(path, NULL, 0, &l->space, err);
        if (rc != MUP_OK)
            return rc;
        l->is_sweep = 1;
        l->proxy = l->space.base;
        return MUP_OK;
    default:
        return run_config_read(path, NULL, 0, &l->proxy, err);
    }
}

/* A target that cannot be trained, unless the linter has said so better. */
static int check_target(const struct lint *l, struct mup_error *err)
{
    struct run_config carried = l->target;
    int rc = lint_carry(&l->proxy, &carried, err);

    for (int i = 0; i < l->found.n; i++)
        if (!strcmp(l->found.list[i].rule->id, "M080"))
            return rc;
    return rc ? rc : run_config_check(&carried, err);
}

static int print_answer(const struct lint *l, const struct args *args,
                        struct mup_error *err)
{
    const struct lint_findings *f = &l->found;
    json_t *o;

    if (!args_given(args, "json")) {
        findings_print(f);
        return MUP_OK;
    }
    o = json_object();
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION));
    json_object_set_new(o, "errors", json_integer(f->errors));
    json_object_set_new(o, "warnings", json_integer(f->warnings));
    json_object_set_new(o, "infos", json_integer(f->infos));
    json_object_set_new(o, "findings", findings_json(f));
    return json_print(o, err);
}

static int lint(struct lint *l, const struct args *args, struct mup_error *err)
{
    struct lint_input in = { &l->proxy, NULL, &l->evidence, &l->target };
    int rc = load_proxy(l, args->operands[0], err);

    if (rc == MUP_OK)
        rc = path_expect(args->operands[1], PATH_RUN_CONFIG, err);
    if (rc == MUP_OK)
        rc = run_config_read(args->operands[1], args->overrides,
                             args->n_overrides, &l->target, err);
    if (rc != MUP_OK)
        return rc;
    in.space = l->is_sweep ? &l->space : NULL;
    evidence_read_corpora(&l->proxy, &l->target, &l->evidence);
    rc = lint_run(&in, &l->found, err);
    if (rc == MUP_OK)
        rc = check_target(l, err);
    return rc ? rc : print_answer(l, args, err);
}

static int run(const struct args *args, struct mup_error *err)
{
    struct lint *l = calloc(1, sizeof(*l));
    int rc, refused;

    if (!l)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the linter");
    evidence_init(&l->evidence);
    rc = lint(l, args, err);
    refused = l->found.errors > 0;
    if (l->is_sweep)
        space_close(&l->space);
    lint_findings_clear(&l->found);
    free(l);
    if (rc != MUP_OK)
        return rc;
    return refused ? MUP_NEGATIVE : MUP_OK;
}

const struct verb verb_lint = {
    "lint",
    "PROXY TARGET.yaml",
    2,
    2,
    VERB_CONFIG,
    "what transfers, what is scaled by rule, what must not differ",
    "Asks every rule of 'mutransfer help rule' about the proxy (a run config, "
    "a\n"
    "sweep file, or the folder of either) and the target.  A sweep's folder "
    "knows\n"
    "most: its winner, report and coordinate check.  A key that differs has a\n"
    "class: T transfers, S scaled by rule, E empirical only, N must be equal.\n"
    "Exit code 1 if there are errors.",
    "mutransfer lint configs/quickstart.yaml configs/quickstart-target.yaml",
    options,
    run,
};
