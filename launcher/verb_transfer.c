#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "launcher/findings.h"
#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/file.h"
#include "sweep/driver.h"

static const struct option options[] = {
    { "output", 'o', "OUT.yaml", "the config to write (required)" },
    OPTION_JSON,
    OPTION_DRY_RUN,
    { 0 },
};

struct transfer {
    const char *sweep_dir, *target_path, *out_path;
    struct run_config winner;
    struct trial trial;
    struct run_config target;
    struct evidence evidence;
    struct lint_findings found;
    json_t *carried; /* key -> value of everything taken over */
    char study[FIELD_TEXT_BYTES];
};

/* The report's verdict on the optimum: "stable", ..., "unverified". */
static const char *verdict(const struct transfer *t)
{
    const struct evidence_report *r = &t->evidence.report;

    return r->state == EVIDENCE_CURRENT ? r->verdict : "unverified";
}

static const char *coordinates(const struct transfer *t)
{
    const struct evidence_coord *c = &t->evidence.coord;

    return c->state == EVIDENCE_CURRENT ? c->verdict : "unverified";
}

/* The TRANSFER keys of the target, now the winner's. */
static void list_carried(struct transfer *t)
{
    for (const struct section *s = run_schema.sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++) {
            char key[CONFIG_KEY_BYTES], value[FIELD_TEXT_BYTES];

            if (f->role != ROLE_TRANSFER)
                continue;
            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            config_text(s, f, &t->target, value, sizeof(value));
            json_object_set_new(t->carried, key, json_string(value));
        }
    }
}

static int write_yaml(const struct transfer *t, struct mup_error *err)
{
    struct file_replace f;
    int rc = file_replace_open(t->out_path, &f, err);

    if (rc != MUP_OK)
        return rc;
    fprintf(f.out,
            "# Written by 'mutransfer transfer %s %s'.\n"
            "# Hyperparameters of trial %lld of study '%s' (its metric, mean "
            "over seeds: %.4f), carried\n"
            "# unchanged; rule set %d; optimum over width: %s; coordinate "
            "check: %s.\n",
            t->sweep_dir, t->target_path, (long long)t->trial.id, t->study,
            t->trial.value, MUP_RULESET_VERSION, verdict(t), coordinates(t));
    rc = config_dump(&run_schema, &t->target, 1, f.out, err);
    if (rc == MUP_OK)
        return file_replace_commit(&f, err);
    file_replace_abandon(&f);
    return rc;
}

static json_t *provenance(const struct transfer *t)
{
    char hash[33] = "", path[4096];
    json_t *o = json_object();

    json_object_set_new(o, "study", json_string(t->study));
    json_object_set_new(o, "sweep_dir", json_string(t->sweep_dir));
    json_object_set_new(o, "trial", json_integer(t->trial.id));
    json_object_set_new(o, "value", json_number(t->trial.value));
    json_object_set_new(o, "unfinished_trials",
                        json_integer(t->evidence.waiting));
    json_object_set_new(o, "proxy_width", json_integer(t->winner.model.width));
    json_object_set_new(o, "target_width", json_integer(t->target.model.width));
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION));
    json_object_set_new(o, "report_verdict", json_string(verdict(t)));
    json_object_set_new(o, "coordinate_check", json_string(coordinates(t)));
    json_object_set_new(o, "time", json_integer((json_int_t)time(NULL)));
    if (path_join(t->sweep_dir, "sweep.yaml", path, sizeof(path), NULL) ==
            MUP_OK &&
        path_hash(path, hash, NULL) == MUP_OK)
        json_object_set_new(o, "sweep_xxh3", json_string(hash));
    if (path_hash(t->target_path, hash, NULL) == MUP_OK)
        json_object_set_new(o, "target_xxh3", json_string(hash));
    if (path_hash(t->out_path, hash, NULL) == MUP_OK)
        json_object_set_new(o, "output_xxh3", json_string(hash));
    json_object_set(o, "carried", t->carried);
    json_object_set_new(o, "findings", findings_json(&t->found));
    return o;
}

static int write_provenance(const struct transfer *t, struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    json_t *o;
    int rc = path_provenance(t->out_path, path, sizeof(path), err);

    if (rc != MUP_OK)
        return rc;
    rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    o = provenance(t);
    if (json_dumpf(o, f.out, JSON_INDENT(2)) == 0 &&
        fputc('\n', f.out) != EOF) {
        rc = file_replace_commit(&f, err);
    } else {
        file_replace_abandon(&f);
        rc = mup_fail(err, MUP_SYSTEM, "cannot write '%s'", path);
    }
    json_decref(o);
    return rc;
}

/* What the user named, and what the sweep knows. */
static int read_all(struct transfer *t, const struct args *args,
                    struct mup_error *err)
{
    struct store *store = NULL;
    int rc = path_expect(t->sweep_dir, PATH_SWEEP_DIR, err);

    if (rc == MUP_OK)
        rc = path_expect(t->target_path, PATH_RUN_CONFIG, err);
    if (rc == MUP_OK && !strcmp(t->out_path, t->target_path))
        rc = mup_fail(err, MUP_USAGE,
                      "'%s' would overwrite the target itself; name another "
                      "file after -o",
                      t->out_path);
    if (rc == MUP_OK)
        rc = run_config_read(t->target_path, args->overrides, args->n_overrides,
                             &t->target, err);
    if (rc == MUP_OK)
        rc = sweep_winner(t->sweep_dir, &t->winner, &t->trial, err);
    if (rc == MUP_OK)
        rc = evidence_read(t->sweep_dir, t->trial.id, &t->evidence, err);
    if (rc == MUP_OK)
        rc = store_open_readonly(t->sweep_dir, &store, err);
    if (rc != MUP_OK)
        return rc;
    rc = store_property(store, "name", t->study, sizeof(t->study), err);
    store_close(store);
    return rc;
}

static int prepare(struct transfer *t, const struct args *args,
                   struct mup_error *err)
{
    struct lint_input in = { &t->winner, NULL, &t->evidence, &t->target };
    int rc = read_all(t, args, err);

    if (rc == MUP_OK)
        rc = lint_carry(&t->winner, &t->target, err);
    if (rc != MUP_OK)
        return rc;
    evidence_read_corpora(&t->winner, &t->target, &t->evidence);
    rc = lint_run(&in, &t->found, err);
    if (rc != MUP_OK)
        return rc;
    findings_warn(&t->found);
    if (t->found.errors > 0)
        return mup_fail(err, MUP_NEGATIVE,
                        "the linter refuses '%s' (errors: %d), nothing was "
                        "written; remove from it, or from the flags, what the "
                        "proxy decides, or tune the proxy with it",
                        t->target_path, t->found.errors);
    list_carried(t);
    rc = config_require(&run_schema, &t->target, err);
    return rc ? rc : run_config_check(&t->target, err);
}

/* Whether text is what the key holds when nobody sets it. */
static int is_default(const char *key, const char *text)
{
    struct run_config config;
    const struct section *section;
    const struct field *field = config_find(&run_schema, key, &section);
    char value[FIELD_TEXT_BYTES];

    if (!field || !field->def ||
        run_config_read(NULL, NULL, 0, &config, NULL) != MUP_OK)
        return 0;
    config_text(section, field, &config, value, sizeof(value));
    return !strcmp(value, text);
}

static int print_answer(const struct transfer *t, const struct args *args,
                        struct mup_error *err)
{
    const char *key;
    json_t *value;

    if (args_given(args, "json"))
        return json_print(provenance(t), err);
    printf("winner: trial %lld of '%s', width %lld, metric %.4f (mean over "
           "seeds)\n",
           (long long)t->trial.id, t->study, (long long)t->winner.model.width,
           t->trial.value);
    printf("optimum over width: %s; coordinate check: %s\n", verdict(t),
           coordinates(t));
    json_object_foreach(t->carried, key, value)
    {
        if (!is_default(key, json_string_value(value)))
            printf("  carried unchanged: %s = %s\n", key,
                   json_string_value(value));
    }
    printf("  and the defaults of all other TRANSFER keys\n%s %s for width "
           "%lld\n",
           args_given(args, "dry-run") ? "would write" : "wrote", t->out_path,
           (long long)t->target.model.width);
    return MUP_OK;
}

static int run(const struct args *args, struct mup_error *err)
{
    struct transfer t = {
        .sweep_dir = args->operands[0],
        .target_path = args->operands[1],
        .out_path = args_text(args, "output"),
    };
    int rc;

    if (!t.out_path)
        return mup_fail(err, MUP_USAGE,
                        "no output: add -o OUT.yaml, the config to write");
    t.carried = json_object();
    evidence_init(&t.evidence);
    rc = prepare(&t, args, err);
    if (rc == MUP_OK && !args_given(args, "dry-run"))
        rc = write_yaml(&t, err);
    if (rc == MUP_OK && !args_given(args, "dry-run"))
        rc = write_provenance(&t, err);
    if (rc == MUP_OK)
        rc = print_answer(&t, args, err);
    json_decref(t.carried);
    lint_findings_clear(&t.found);
    return rc;
}

const struct verb verb_transfer = {
    "transfer",
    "SWEEP_DIR TARGET.yaml",
    2,
    2,
    VERB_CONFIG,
    "the target config with the winner's hyperparameters, unchanged",
    "Takes every TRANSFER key of the sweep's winner into the target and "
    "writes\n"
    "it resolved and commented, with its provenance beside it\n"
    "(OUT.transfer.json).  Asks the linter's rules, prints warnings, and "
    "refuses\n"
    "(exit code 1, nothing is written) on errors: where the target itself "
    "gives a\n"
    "TRANSFER or FIXED key another value, for one.",
    "mutransfer transfer runs/quickstart configs/quickstart-target.yaml -o "
    "target.yaml",
    options,
    run,
};
