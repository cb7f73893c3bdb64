#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/run_status.h"
#include "launcher/stop.h"
#include "launcher/sweep_nodes.h"
#include "launcher/sweeps.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/lock.h"

static const struct option options[] = {
    { "watch", 'w', "[=SECONDS]", "again and again until the run ends (2)" },
    OPTION_JSON,
    { 0 },
};

/* How long the scheduler may take to answer. */
#define ASK_S 2

/* ---- of a run ------------------------------------------------------------ */

/* A run without a scheduler. */
static void print_local(const struct run_status *s, FILE *out)
{
    const char *name = json_string_value(json_object_get(s->event, "event"));
    const json_t *error = json_object_get(s->event, "error");

    fprintf(out, "last event: %s at step %lld\n", name ? name : "?",
            (long long)json_integer_value(json_object_get(s->event, "step")));
    if (json_is_string(error))
        fprintf(out, "error: %s\n", json_string_value(error));
    if (s->metrics)
        fprintf(
            out, "last metrics: step %lld, %s tokens, loss %.4f\n",
            (long long)json_integer_value(json_object_get(s->metrics, "step")),
            units_count(
                json_integer_value(json_object_get(s->metrics, "tokens")))
                .text,
            json_number_value(json_object_get(s->metrics, "loss")));
}

static int show_run(const char *dir, FILE *out, int *over,
                    struct mup_error *err)
{
    struct run_status s;
    int rc = run_status_read(dir, status_now_s(), ASK_S, &s, err);

    if (rc != MUP_OK)
        return rc;
    *over = run_status_is_over(&s);
    if (s.is_launched)
        run_status_print(&s, out);
    else
        print_local(&s, out);
    run_status_clear(&s);
    return MUP_OK;
}

static int run_json(const char *dir, json_t **out, int *over,
                    struct mup_error *err)
{
    struct run_status s;
    int rc = run_status_read(dir, status_now_s(), ASK_S, &s, err);

    if (rc != MUP_OK)
        return rc;
    *over = run_status_is_over(&s);
    *out = run_status_json(&s);
    run_status_clear(&s);
    return MUP_OK;
}

/* ---- of a sweep ---------------------------------------------------------- */

/* The trials that need a look: running, diverged, failed. */
static int print_trials(const char *dir, int all, FILE *out,
                        struct mup_error *err)
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
        fprintf(out, "  trial %lld %s, attempt %lld%s%s\n", (long long)t->id,
                trial_state_name(t->state), (long long)t->attempt,
                t->error[0] ? ": " : "", t->error);
    }
    free(trials);
    store_close(store);
    return rc;
}

static int sweep_is_over(const char *dir, const struct sweep_progress *p)
{
    char path[4096];
    long pid;

    if (p->running == 0 && p->waiting == 0)
        return 1;
    return !run_status_is_launched(dir) &&
           (path_join(dir, "study.lock", path, sizeof(path), NULL) != MUP_OK ||
            !lock_holder(path, NULL, 0, &pid));
}

static int show_sweep(const char *dir, int all, FILE *out, int *over,
                      struct mup_error *err)
{
    struct sweep_progress progress = { 0 };
    int rc = sweep_status(dir, &progress, err);

    if (rc != MUP_OK)
        return rc;
    *over = sweep_is_over(dir, &progress);
    sweeps_print(&progress, -1, out);
    if (progress.running && progress.eta_s >= 0)
        fprintf(out, "time to finish: %s\n",
                units_seconds(progress.eta_s).text);
    if (run_status_is_launched(dir))
        rc = sweep_nodes_print(dir, ASK_S, out, err);
    return rc == MUP_OK ? print_trials(dir, all, out, err) : rc;
}

static int sweep_json(const char *dir, json_t **out, int *over,
                      struct mup_error *err)
{
    struct sweep_progress progress = { 0 };
    json_t *workers = sweep_nodes_read(dir);
    int rc = sweep_status(dir, &progress, err);

    if (rc == MUP_OK) {
        *over = sweep_is_over(dir, &progress);
        *out = sweeps_json(dir, &progress);
        if (workers)
            json_object_set(*out, "workers", workers);
    }
    json_decref(workers);
    return rc;
}

/* ---- once, or again and again -------------------------------------------- */

/* One answer as text; takes: free(*text). */
static int make_text(const struct args *args, int kind, char **text, int *over,
                     struct mup_error *err)
{
    const char *dir = args->operands[0];
    char *made = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&made, &bytes);
    json_t *o = NULL;
    int rc = MUP_OK;

    if (!out)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the answer");
    if (args_given(args, "json")) {
        rc = kind == PATH_RUN_DIR ? run_json(dir, &o, over, err)
                                  : sweep_json(dir, &o, over, err);
        if (rc == MUP_OK &&
            json_dumpf(o, out,
                       args_given(args, "watch") ? JSON_COMPACT
                                                 : JSON_INDENT(2)) != 0)
            rc = mup_fail(err, MUP_SYSTEM, "cannot print the answer as JSON");
        (void)fputc('\n', out);
        json_decref(o);
    } else {
        rc = kind == PATH_RUN_DIR
                 ? show_run(dir, out, over, err)
                 : show_sweep(dir, args->verbose, out, over, err);
    }
    if (fclose(out) != 0 && rc == MUP_OK)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for the answer");
    if (rc == MUP_OK)
        *text = made;
    else
        free(made);
    return rc;
}

/* The screen anew, without a flicker: every line is overwritten in place. */
static void redraw(const char *text)
{
    printf("\033[H");
    for (const char *p = text, *end; *p; p = end) {
        end = p + strcspn(p, "\n");
        printf("%.*s\033[K\n", (int)(end - p), p);
        end += *end == '\n';
    }
    printf("\033[J");
}

static int wait_s(int64_t seconds)
{
    const struct timespec tenth = { 0, 100000000 };

    for (int64_t i = 0; i < 10 * seconds && !stop_requested(NULL); i++)
        (void)nanosleep(&tenth, NULL);
    return stop_requested(NULL);
}

static int watch(const struct args *args, int kind, struct mup_error *err)
{
    const int screen = isatty(STDOUT_FILENO) && !args_given(args, "json");
    int64_t seconds = 2;
    int over = 0, rc = MUP_OK;

    if (*args_text(args, "watch"))
        rc = args_int(args, "watch", 1, 86400, &seconds, err);
    if (rc != MUP_OK)
        return rc;
    stop_watch();
    if (screen)
        printf("\033[2J");
    for (int i = 0;; i++) {
        char *text;

        rc = make_text(args, kind, &text, &over, err);
        if (rc != MUP_OK)
            return rc;
        if (screen)
            redraw(text);
        else
            printf("%s%s", i && !args_given(args, "json") ? "\n" : "", text);
        free(text);
        if (fflush(stdout) != 0)
            return mup_fail(err, MUP_SYSTEM,
                            "cannot write to standard output: %s",
                            strerror(errno));
        if (over || wait_s(seconds))
            return MUP_OK;
    }
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *dir = args->operands[0];
    char *text;
    int kind, over = 0;
    int rc = path_classify(dir, &kind, err);

    /* A run that waits for its first node has a journal alone. */
    if (rc == MUP_USAGE && run_status_is_launched(dir)) {
        kind = PATH_RUN_DIR;
        rc = MUP_OK;
    }
    if (rc != MUP_OK)
        return rc;
    if (kind != PATH_RUN_DIR && kind != PATH_SWEEP_DIR)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a file; status takes the folder of a sweep "
                        "or of a run",
                        dir);
    if (args_given(args, "watch"))
        return watch(args, kind, err);
    rc = make_text(args, kind, &text, &over, err);
    if (rc != MUP_OK)
        return rc;
    fputs(text, stdout);
    free(text);
    return MUP_OK;
}

const struct verb verb_status = {
    "status",
    "DIR",
    1,
    1,
    0,
    "what runs, what failed, what was ejected, time to finish",
    "Reads the folder of a sweep or of a run while it works, without waiting\n"
    "for it.  Of a run under SLURM it tells the job, the nodes, progress,\n"
    "goodput and the incidents; all but the job's state is in the folder, so\n"
    "that it works while the controller is down (two seconds are waited for\n"
    "it).  --watch tells it again every 2 s until the run ends; Ctrl-C ends\n"
    "the watching alone.  -v lists every trial.",
    "mutransfer status runs/quickstart\n"
    "  mutransfer status runs/target --watch",
    options,
    run,
};
