#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/roles.h"
#include "launcher/verbs.h"
#include "sweep/driver.h"

static const struct option options[] = {
    OPTION_JSON,
    { 0 },
};

struct lint {
    int errors, warnings, infos;
    const struct space *space; /* the proxy's sweep file, or NULL */
    const struct run_config *target;
    json_t *findings; /* where JSON was asked for */
};

static void add(struct lint *lint, const char *severity, const char *key,
                const char *role, const char *a, const char *b,
                const char *text)
{
    if (lint->findings) {
        json_t *o = json_object();

        json_object_set_new(o, "severity", json_string(severity));
        if (key) {
            json_object_set_new(o, "key", json_string(key));
            json_object_set_new(o, "role", json_string(role));
            json_object_set_new(o, "proxy", json_string(a));
            json_object_set_new(o, "target", json_string(b));
        }
        json_object_set_new(o, "text", json_string(text));
        json_array_append_new(lint->findings, o);
    } else if (key) {
        printf("%-8s %-22s %-9s %s -> %s  %s\n", severity, key, role, a, b,
               text);
    } else {
        printf("%-8s %s\n", severity, text);
    }
}

/* A key that the proxy's sweep tunes. */
static int tuned(const struct lint *lint, const char *key)
{
    for (int i = 0; lint->space && i < lint->space->n_parameters; i++)
        if (!strcmp(lint->space->parameter[i].key, key))
            return 1;
    return 0;
}

/* A key that differs between the members of the sweep, one of which has the
 * target's value. */
static int covered(const struct lint *lint, const char *key, const char *value)
{
    for (int i = 0; lint->space && i < lint->space->n_groups; i++) {
        const struct space_group *g = &lint->space->group[i];

        if (strcmp(g->key, key) != 0)
            continue;
        for (int k = 0; k < g->n_values; k++)
            if (!strcmp(g->values[k], value))
                return 1;
    }
    return 0;
}

static void visit(void *context, const char *key, const struct field *field,
                  const char *a, const char *b)
{
    struct lint *lint = context;
    const char *role = field_role_name(field->role);
    int given = roles_given(lint->target, key);

    if (field->role == ROLE_RUN || covered(lint, key, b))
        return;
    if (field->role == ROLE_SCALE) {
        lint->infos++;
        add(lint, "info", key, role, a, b, "may differ");
    } else if (!given && (tuned(lint, key) || !field->def)) {
        lint->infos++;
        add(lint, "info", key, role, tuned(lint, key) ? "tuned" : a,
            "not given", "'transfer' sets it");
    } else if (!given) {
        lint->warnings++;
        add(lint, "warning", key, role, a, b,
            "not given in the target: 'transfer' sets it, else the default "
            "applies");
    } else {
        lint->errors++;
        add(lint, "error", key, role, tuned(lint, key) ? "tuned" : a, b,
            field->role == ROLE_TRANSFER
                ? "must be carried unchanged: remove it from the target and "
                  "use 'transfer'"
                : "must be equal: the optimum is known for the proxy's value "
                  "only");
    }
}

static void warn(void *context, const char *sentence)
{
    struct lint *lint = context;

    lint->warnings++;
    add(lint, "warning", NULL, NULL, NULL, NULL, sentence);
}

/* The proxy as a run config: a run file, the base of a sweep file, or the
 * winner of a finished sweep. */
static int load_proxy(const char *path, struct run_config *out,
                      struct space *space, int *is_sweep, struct mup_error *err)
{
    struct trial trial;
    char yaml[1100];
    int kind;
    int rc = path_classify(path, &kind, err);

    *is_sweep = 0;
    if (rc != MUP_OK)
        return rc;
    switch (kind) {
    case PATH_SWEEP_DIR:
        return sweep_winner(path, out, &trial, err);
    case PATH_RUN_DIR:
        rc = path_join(path, "config.yaml", yaml, sizeof(yaml), err);
        return rc ? rc : run_config_read(yaml, NULL, 0, out, err);
    case PATH_SWEEP_CONFIG:
        rc = space_open(path, NULL, 0, space, err);
        if (rc != MUP_OK)
            return rc;
        *is_sweep = 1;
        *out = space->base;
        return MUP_OK;
    default:
        return run_config_read(path, NULL, 0, out, err);
    }
}

static int print_answer(struct lint *lint, struct mup_error *err)
{
    json_t *o;

    if (!lint->findings) {
        printf("%d errors, %d warnings, %d notes\n", lint->errors,
               lint->warnings, lint->infos);
        return MUP_OK;
    }
    o = json_object();
    json_object_set_new(o, "errors", json_integer(lint->errors));
    json_object_set_new(o, "warnings", json_integer(lint->warnings));
    json_object_set_new(o, "findings", lint->findings);
    return json_print(o, err);
}

static int run(const struct args *args, struct mup_error *err)
{
    struct lint lint = { 0 };
    struct space space = { 0 };
    struct run_config proxy, target;
    int is_sweep = 0;
    int rc = load_proxy(args->operands[0], &proxy, &space, &is_sweep, err);

    if (rc == MUP_OK)
        rc = path_expect(args->operands[1], PATH_RUN_CONFIG, err);
    if (rc == MUP_OK)
        rc = run_config_read(args->operands[1], args->overrides,
                             args->n_overrides, &target, err);
    if (rc == MUP_OK)
        rc = run_config_check(&target, err);
    if (rc == MUP_OK) {
        if (is_sweep)
            lint.space = &space;
        lint.target = &target;
        if (args_given(args, "json"))
            lint.findings = json_array();
        config_diff(&run_schema, &proxy, &target, visit, &lint);
        if (target.mup.parametrization != MUP_MUP)
            warn(&lint, "the target uses the standard parametrization: the "
                        "proxy's optimum is not expected to hold there");
        roles_toy(&proxy, warn, &lint);
        rc = print_answer(&lint, err);
    }
    if (is_sweep)
        space_close(&space);
    if (rc != MUP_OK)
        return rc;
    return lint.errors ? MUP_NEGATIVE : MUP_OK;
}

const struct verb verb_lint = {
    "lint",
    "PROXY TARGET.yaml",
    2,
    2,
    VERB_CONFIG,
    "what transfers, what is scaled by rule, what must not differ",
    "Compares the proxy (a run config, a sweep file, or the folder of either)\n"
    "with the target, key by key: a TRANSFER or FIXED key that differs is an\n"
    "error, a SCALE key is information.  Exit code 1 if there are errors.",
    "mutransfer lint configs/quickstart.yaml configs/quickstart-target.yaml",
    options,
    run,
};
