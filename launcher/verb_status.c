#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/sweeps.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/file.h"

static const struct option options[] = {
    OPTION_JSON,
    { 0 },
};

/* The last whole line of a JSONL file as an object, or NULL. */
static json_t *last_line(const char *dir, const char *name)
{
    char path[4096], *text = NULL, *end, *start;
    json_t *object = NULL;
    size_t bytes = 0;

    if (path_join(dir, name, path, sizeof(path), NULL) != MUP_OK ||
        file_read(path, (size_t)1 << 30, &text, &bytes, NULL) != MUP_OK)
        return NULL;
    end = strrchr(text, '\n');
    if (end) {
        *end = 0;
        start = strrchr(text, '\n');
        object = json_loads(start ? start + 1 : text, 0, NULL);
    }
    free(text);
    return object;
}

static int run_status(const char *dir, int as_json, struct mup_error *err)
{
    json_t *event = last_line(dir, "events.jsonl");
    json_t *step = last_line(dir, "metrics.jsonl");
    const char *name;

    if (!event) {
        json_decref(step);
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' has no readable events.jsonl; was the run ever "
                        "started?",
                        dir);
    }
    if (as_json) {
        json_t *o = json_object();

        json_object_set_new(o, "dir", json_string(dir));
        json_object_set(o, "event", event);
        if (step)
            json_object_set(o, "metrics", step);
        json_decref(event);
        json_decref(step);
        return json_print(o, err);
    }
    name = json_string_value(json_object_get(event, "event"));
    printf("last event: %s", name ? name : "?");
    printf(" at step %lld\n",
           (long long)json_integer_value(json_object_get(event, "step")));
    if (json_is_string(json_object_get(event, "error")))
        printf("error: %s\n",
               json_string_value(json_object_get(event, "error")));
    if (step)
        printf("last metrics: step %lld, %s tokens, loss %.4f\n",
               (long long)json_integer_value(json_object_get(step, "step")),
               units_count(json_integer_value(json_object_get(step, "tokens")))
                   .text,
               json_number_value(json_object_get(step, "loss")));
    json_decref(event);
    json_decref(step);
    return MUP_OK;
}

/* The trials that need a look: running, diverged, failed. */
static int print_trials(const char *dir, int all, struct mup_error *err)
{
    struct store *store = NULL;
    struct trial *trials = NULL;
    int64_t n = 0;
    int rc = store_open_readonly(dir, &store, err);

    if (rc != MUP_OK)
        return rc;
    rc = store_trials(store, &trials, &n, err);
    for (int64_t i = 0; rc == MUP_OK && i < n; i++) {
        const struct trial *t = &trials[i];

        if (!all && t->state != TRIAL_RUNNING && t->state != TRIAL_FAILED)
            continue;
        printf("  trial %lld %s, attempt %lld%s%s\n", (long long)t->id,
               trial_state_name(t->state), (long long)t->attempt,
               t->error[0] ? ": " : "", t->error);
    }
    free(trials);
    store_close(store);
    return rc;
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *dir = args->operands[0];
    struct sweep_progress progress = { 0 };
    int kind;
    int rc = path_classify(dir, &kind, err);

    if (rc != MUP_OK)
        return rc;
    if (kind == PATH_RUN_DIR)
        return run_status(dir, args_given(args, "json"), err);
    if (kind != PATH_SWEEP_DIR)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a file; status takes the folder of a sweep "
                        "or of a run",
                        dir);
    rc = sweep_status(dir, &progress, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json"))
        return json_print(sweeps_json(dir, &progress), err);
    sweeps_print(&progress, -1);
    if (progress.running && progress.eta_s >= 0)
        printf("time to finish: %s\n", units_seconds(progress.eta_s).text);
    return print_trials(dir, args->verbose, err);
}

const struct verb verb_status = {
    "status",
    "DIR",
    1,
    1,
    0,
    "what runs, what failed, how long it will take",
    "Reads the folder of a sweep or of a run while it works, without waiting\n"
    "for it.  -v lists every trial.",
    "mutransfer status runs/quickstart",
    options,
    run,
};
