#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/roles.h"
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
    int64_t open, done; /* trials that are not finished, that are */
    char refused[800];  /* keys that the target gave differently */
    int n_refused;
    json_t *carried; /* key -> value of everything taken over */
    char study[FIELD_TEXT_BYTES];
    char verdict[32]; /* of the report on muP: "stable", ..., "unverified" */
    char coordinates[32];
    struct mup_error err; /* of a visit */
};

/* The keys that the proxy decides. */
static int decided(const struct field *field)
{
    return field->role == ROLE_TRANSFER || field->role == ROLE_FIXED;
}

static void visit_refuse(void *context, const char *key,
                         const struct field *field, const char *winner,
                         const char *target)
{
    struct transfer *t = context;
    size_t used = strlen(t->refused);

    if (!decided(field) || !roles_given(&t->target, key))
        return;
    t->n_refused++;
    snprintf(t->refused + used, sizeof(t->refused) - used,
             "%s%s (%s) is %s in the proxy and %s in the target",
             used ? ", " : "", key, field_role_name(field->role), winner,
             target);
}

/* Copy what the winner holds and the target does not give. */
static int carry(struct transfer *t, struct mup_error *err)
{
    for (const struct section *s = run_schema.sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++) {
            char key[128], value[FIELD_TEXT_BYTES];
            int rc;

            if (!decided(f))
                continue;
            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            config_text(s, f, &t->winner, value, sizeof(value));
            rc = config_set(&run_schema, &t->target, key, value, err);
            if (rc != MUP_OK)
                return rc;
            if (f->role == ROLE_TRANSFER)
                json_object_set_new(t->carried, key, json_string(value));
        }
    }
    return MUP_OK;
}

/* out = the string at keys of a JSON file, unchanged if there is none. */
static void read_string(const char *dir, const char *name, const char *key,
                        char *out, size_t bytes)
{
    char path[4096];
    json_t *o;
    const char *text;

    if (path_join(dir, name, path, sizeof(path), NULL) != MUP_OK)
        return;
    o = json_load_file(path, 0, NULL);
    text = json_string_value(json_object_get(o, key));
    if (text)
        snprintf(out, bytes, "%s", text);
    json_decref(o);
}

/* What is known about the proxies: report and coordinate check. */
static void read_evidence(struct transfer *t)
{
    char path[4096];
    json_t *report = NULL, *list, *item;
    size_t i;

    snprintf(t->verdict, sizeof(t->verdict), "unverified");
    snprintf(t->coordinates, sizeof(t->coordinates), "unverified");
    read_string(t->sweep_dir, "coord-mup/coord.json", "verdict", t->coordinates,
                sizeof(t->coordinates));
    if (path_join(t->sweep_dir, "report.json", path, sizeof(path), NULL) ==
        MUP_OK)
        report = json_load_file(path, 0, NULL);
    list = json_object_get(report, "parametrizations");
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        const char *verdict =
            json_string_value(json_object_get(item, "verdict"));

        if (name && verdict && !strcmp(name, "mup"))
            snprintf(t->verdict, sizeof(t->verdict), "%s", verdict);
    }
    /* A report of a study that has grown since says nothing about it. */
    if (t->verdict[0] && report &&
        json_integer_value(json_object_get(json_object_get(report, "study"),
                                           "done")) != t->done)
        snprintf(t->verdict, sizeof(t->verdict), "unverified");
    json_decref(report);
}

/* What speaks against launching this, on stderr. */
static void print_doubts(const struct transfer *t)
{
    if (t->open > 0)
        fprintf(stderr,
                "warning: %lld trials of the sweep are not finished; the "
                "winner may change\n",
                (long long)t->open);
    if (!strcmp(t->verdict, "unverified"))
        fprintf(stderr,
                "warning: no report says that the optimum stays where it is; "
                "run 'mutransfer report %s'\n",
                t->sweep_dir);
    else if (strcmp(t->verdict, "stable") != 0)
        fprintf(stderr,
                "warning: the report on the optimum over width says "
                "'%s'\n",
                t->verdict);
    if (strcmp(t->coordinates, "PASS") != 0)
        fprintf(stderr, "warning: coordinate check under muP: %s\n",
                t->coordinates);
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
            t->trial.value, MUP_RULESET_VERSION, t->verdict, t->coordinates);
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
    json_object_set_new(o, "unfinished_trials", json_integer(t->open));
    json_object_set_new(o, "proxy_width", json_integer(t->winner.model.width));
    json_object_set_new(o, "target_width", json_integer(t->target.model.width));
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION));
    json_object_set_new(o, "report_verdict", json_string(t->verdict));
    json_object_set_new(o, "coordinate_check", json_string(t->coordinates));
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
    return o;
}

/* "target.yaml" -> "target.transfer.json". */
static int write_provenance(const struct transfer *t, struct mup_error *err)
{
    const char *dot = strrchr(t->out_path, '.');
    const char *slash = strrchr(t->out_path, '/');
    size_t len = dot && (!slash || dot > slash) ? (size_t)(dot - t->out_path)
                                                : strlen(t->out_path);
    struct file_replace f;
    char path[1100];
    json_t *o;
    int rc, n;

    n = snprintf(path, sizeof(path), "%.*s.transfer.json", (int)len,
                 t->out_path);
    if (n < 0 || (size_t)n >= sizeof(path))
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long",
                        t->out_path);
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

/* Only muP says that an optimum holds at another width. */
static int check_winner(const struct transfer *t, struct mup_error *err)
{
    if (t->winner.mup.parametrization == MUP_MUP ||
        t->winner.model.width == t->target.model.width)
        return MUP_OK;
    return mup_fail(err, MUP_NEGATIVE,
                    "the best finished trial of '%s' uses the standard "
                    "parametrization, whose optimum does not hold at width "
                    "%lld; finish trials under muP first",
                    t->sweep_dir, (long long)t->target.model.width);
}

static int count_open(struct transfer *t, struct mup_error *err)
{
    struct sweep_progress p;
    int rc = sweep_status(t->sweep_dir, &p, err);

    if (rc == MUP_OK) {
        t->open = p.running + p.waiting;
        t->done = p.done;
    }
    return rc;
}

static int prepare(struct transfer *t, const struct args *args,
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
        rc = check_winner(t, err);
    if (rc == MUP_OK)
        rc = count_open(t, err);
    if (rc == MUP_OK)
        rc = store_open_readonly(t->sweep_dir, &store, err);
    if (rc != MUP_OK)
        return rc;
    rc = store_property(store, "name", t->study, sizeof(t->study), err);
    store_close(store);
    if (rc != MUP_OK)
        return rc;
    config_diff(&run_schema, &t->winner, &t->target, visit_refuse, t);
    if (t->n_refused)
        return mup_fail(err, MUP_NEGATIVE,
                        "%s; remove from '%s' (or from the flags) what the "
                        "proxy decides, or tune the proxy with it",
                        t->refused, t->target_path);
    rc = carry(t, err);
    if (rc == MUP_OK)
        rc = config_require(&run_schema, &t->target, err);
    if (rc == MUP_OK)
        rc = run_config_check(&t->target, err);
    return rc;
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

static void warn(void *context, const char *sentence)
{
    (void)context;
    fprintf(stderr, "warning: %s\n", sentence);
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
    printf("optimum over width: %s; coordinate check: %s\n", t->verdict,
           t->coordinates);
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
    rc = prepare(&t, args, err);
    if (rc == MUP_OK) {
        read_evidence(&t);
        print_doubts(&t);
        if (!args->quiet)
            roles_toy(&t.winner, warn, NULL);
    }
    if (rc == MUP_OK && !args_given(args, "dry-run"))
        rc = write_yaml(&t, err);
    if (rc == MUP_OK && !args_given(args, "dry-run"))
        rc = write_provenance(&t, err);
    if (rc == MUP_OK)
        rc = print_answer(&t, args, err);
    json_decref(t.carried);
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
    "(OUT.transfer.json).  Refuses (exit code 1) where the target itself gives "
    "a\n"
    "TRANSFER or FIXED key another value.",
    "mutransfer transfer runs/quickstart configs/quickstart-target.yaml -o "
    "target.yaml",
    options,
    run,
};
