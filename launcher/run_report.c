#include "launcher/run_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/journal.h"
#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/run_status.h"
#include "launcher/run_timeline.h"
#include "launcher/units.h"
#include "model/config.h"
#include "model/file.h"
#include "plots/plot.h"
#include "sweep/report_commands.h"
#include "sweep/report_files.h"

static const char *const parts[] = { "detect_s",    "fence_s",      "replace_s",
                                     "relaunch_s",  "rendezvous_s", "load_s",
                                     "first_step_s" };
#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

/* What a report is made of. */
struct source {
    const char *dir, *out; /* borrowed */
    struct run_config config;
    struct run_status status;
    struct report_series series;
    json_t *manifest;
    double end_s;
    struct timeline timeline;
};

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void source_close(struct source *s)
{
    run_status_clear(&s->status);
    report_series_close(&s->series);
    json_decref(s->manifest);
    timeline_clear(&s->timeline);
}

static int source_open(struct source *s, struct mup_error *err)
{
    char path[1200];
    int rc = run_status_read(s->dir, status_now_s(), 0, &s->status, err);

    if (rc == MUP_OK)
        rc = path_join(s->dir, "config.yaml", path, sizeof(path), err);
    if (rc == MUP_OK)
        rc = run_config_load(path, NULL, 0, &s->config, err);
    if (rc == MUP_OK)
        rc = path_join(s->dir, "metrics.jsonl", path, sizeof(path), err);
    if (rc == MUP_OK)
        rc = report_series_open(path, &s->series, err);
    if (rc == MUP_OK)
        rc = path_join(s->dir, "manifest.json", path, sizeof(path), err);
    if (rc != MUP_OK)
        return rc;
    s->manifest = json_load_file(path, 0, NULL);
    s->end_s = s->status.log.ended ? s->status.log.ended_unix_s
               : isfinite(s->status.silent_since_unix_s)
                   ? s->status.silent_since_unix_s
                   : s->status.now_unix_s;
    return s->status.is_launched ? timeline_make(s->status.log.events, s->end_s,
                                                 &s->timeline, err)
                                 : MUP_OK;
}

/* ---- sections ------------------------------------------------------------ */

static json_t *incident_json(const struct source *s, const json_t *e, int k)
{
    const char *node = journal_text(e, "node");
    const double began_s = journal_real(e, "began_unix_s");
    json_t *o = json_deep_copy(e);
    char title[160], label[256];

    snprintf(title, sizeof(title), "%s%s",
             journal_int(e, "planned") ? "planned: " : "",
             status_incident_title(e));
    snprintf(label, sizeof(label), "%s%s%s", status_incident_title(e),
             *node ? ", " : "", node);
    json_object_set_new(o, "number", json_integer(k));
    json_object_set_new(o, "time", json_string(status_time(began_s).text));
    json_object_set_new(o, "at_s", json_number(began_s - s->timeline.begin_s));
    json_object_set_new(o, "title", json_string(title));
    json_object_set_new(o, "label", journal_string(label));
    return o;
}

static json_t *incidents_json(const struct source *s)
{
    json_t *list = json_array();
    const json_t *e;
    size_t i;
    int k = 0;

    json_array_foreach(s->status.log.events, i, e)
    {
        if (!strcmp(journal_text(e, "event"), "incident"))
            json_array_append_new(list, incident_json(s, e, ++k));
    }
    return list;
}

static json_t *ejected_json(const struct source *s)
{
    json_t *list = json_array();
    const json_t *e;
    size_t i;

    json_array_foreach(s->status.log.events, i, e)
    {
        json_t *o;

        if (strcmp(journal_text(e, "event"), "ejected") != 0)
            continue;
        o = json_pack("{s:o, s:s, s:s, s:s, s:o}", "node",
                      journal_string(journal_text(e, "node")), "time",
                      status_time(journal_real(e, "time")).text, "until",
                      status_time(journal_real(e, "until_unix_s")).text,
                      "title", status_class_title(journal_text(e, "class")),
                      "reason", journal_string(journal_text(e, "reason")));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *spans_json(const struct source *s)
{
    static const char *const kinds[] = { "training", "recovering", "queued" };
    json_t *list = json_array();

    for (int i = 0; i < s->timeline.n; i++) {
        const struct span *p = &s->timeline.span[i];

        json_array_append_new(
            list, json_pack("{s:s, s:f, s:f}", "kind", kinds[p->kind], "from_s",
                            p->from_s - s->timeline.begin_s, "to_s",
                            p->to_s - s->timeline.begin_s));
    }
    return list;
}

/* Members that the last event and the manifest know, or else the last step. */
static void add_results(const struct source *s, json_t *o)
{
    static const char *const keys[] = { "val_loss", "val_bpb", "flops" };
    const struct report_series *r = &s->series;
    double loss = number(s->status.event, "loss");
    double tokens = number(s->status.event, "tokens");
    double wall_s = number(s->status.event, "wall_s");

    if (!isfinite(loss))
        loss = r->n ? r->loss[r->n - 1] : NAN;
    if (!isfinite(tokens))
        tokens = r->n ? r->tokens[r->n - 1] : NAN;
    if (s->status.is_launched)
        wall_s = s->status.wall_s;
    json_object_set_new(o, "loss", json_number(loss));
    json_object_set_new(o, "tokens", json_number(tokens));
    json_object_set_new(o, "wall_s", json_number(wall_s));
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        double x = number(s->status.event, keys[i]);

        for (int k = r->n; k-- > 0 && !isfinite(x) && i < 2;)
            x = number(r->line[k], keys[i]);
        json_object_set_new(o, keys[i], json_number(x));
    }
    json_object_set_new(o, "parameters",
                        json_number(number(s->manifest, "parameters")));
}

static json_t *run_json(const struct source *s)
{
    const struct run_config *c = &s->config;
    const struct report_series *r = &s->series;
    const char *slash = strrchr(s->dir, '/');
    double step = r->n ? r->step[r->n - 1] : 0;
    json_t *o;

    if (number(s->status.event, "step") > step)
        step = number(s->status.event, "step");
    if ((double)s->status.step > step)
        step = (double)s->status.step;
    o = json_pack("{s:o, s:o, s:I, s:I, s:I, s:f, s:I, s:f, s:I}", "name",
                  journal_string(slash && slash[1] ? slash + 1 : s->dir), "dir",
                  journal_string(s->dir), "width", (json_int_t)c->model.width,
                  "layers", (json_int_t)c->model.layers, "experts",
                  (json_int_t)c->model.experts, "lr", c->train.lr, "steps",
                  (json_int_t)c->train.steps, "step", step, "logged_steps",
                  (json_int_t)r->n);
    add_results(s, o);
    json_object_set_new(o, "state",
                        journal_string(journal_text(s->status.event, "event")));
    json_object_set_new(o, "tokens_per_s", json_number(s->status.tokens_per_s));
    if (!s->status.is_launched)
        return o;
    json_object_set_new(o, "job", json_integer(s->status.log.job));
    json_object_set_new(o, "trained_s", json_number(s->status.trained_s));
    json_object_set_new(o, "goodput",
                        json_number(run_status_goodput(&s->status)));
    json_object_set_new(o, "restarts", json_integer(s->status.log.restarts));
    json_object_set_new(o, "incarnations",
                        json_integer(s->status.log.incarnations));
    json_object_set_new(o, "strip_s",
                        json_number(s->timeline.end_s - s->timeline.begin_s));
    return o;
}

/* One sentence, capital letter and full stop. */
static json_t *finding(const struct source *s, const json_t *run,
                       const json_t *incidents)
{
    const char *at_least =
        isfinite(s->status.silent_since_unix_s) ? "at least " : "";
    const double goodput = number(run, "goodput"), loss = number(run, "loss");
    char text[512];
    size_t n, k = json_array_size(incidents), i;
    double lost_s = 0;
    const json_t *o;

    json_array_foreach(incidents, i, o)
    {
        lost_s += journal_real(o, "total_s");
    }
    n = (size_t)snprintf(text, sizeof(text), "Trained %s of %s steps",
                         units_count(journal_int(run, "step")).text,
                         units_count(journal_int(run, "steps")).text);
    if (isfinite(loss))
        n += (size_t)snprintf(text + n, sizeof(text) - n, ", loss %.4f", loss);
    if (json_object_get(run, "job") && k > 0)
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "; %zu incident%s kept it from training for %s",
                              k, k > 1 ? "s" : "", units_seconds(lost_s).text);
    else if (json_object_get(run, "job"))
        n += (size_t)snprintf(text + n, sizeof(text) - n, "; no incident");
    if (isfinite(goodput))
        n += (size_t)snprintf(text + n, sizeof(text) - n, "; goodput %s%.1f %%",
                              at_least, 100 * goodput);
    snprintf(text + n, sizeof(text) - n, ".");
    return json_string(text);
}

static json_t *warnings_json(const struct source *s)
{
    json_t *list = json_array();
    char text[256];

    if (s->series.n == 0)
        json_array_append_new(list, json_string("no step was logged yet"));
    if (isfinite(s->status.silent_since_unix_s)) {
        snprintf(text, sizeof(text),
                 "the supervisor has been silent since %s: what came after it "
                 "is not in here",
                 status_time(s->status.silent_since_unix_s).text);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* "mutransfer VERB WORD..."; words end with NULL. */
static void add_command(json_t *list, const char *verb,
                        const char *const *words)
{
    char *line = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&line, &bytes);

    if (!out)
        return;
    fprintf(out, "mutransfer %s", verb);
    for (; *words; words++) {
        (void)fputc(' ', out);
        report_put_word(out, *words);
    }
    if (fclose(out) == 0)
        json_array_append_new(list, journal_string(line));
    free(line);
}

static json_t *commands_json(const struct source *s)
{
    json_t *list = json_array();
    const int64_t ranks = s->config.launch.local;
    char config[1200], count[24];

    snprintf(config, sizeof(config), "%s/config.yaml", s->dir);
    snprintf(count, sizeof(count), "%lld", (long long)ranks);
    if (s->status.is_launched)
        add_command(list, "launch",
                    (const char *[]){ config, "--slurm", "-o", s->dir, NULL });
    else if (ranks > 1)
        add_command(
            list, "launch",
            (const char *[]){ config, "--local", count, "-o", s->dir, NULL });
    else
        add_command(list, "train",
                    (const char *[]){ config, "-o", s->dir, NULL });
    add_command(list, "report", (const char *[]){ s->dir, NULL });
    return list;
}

/* ---- data of the pictures ------------------------------------------------ */

/* Tokens and loss where a step was logged, the first at or after it, and the
 * incident's number. */
static int put_mark(FILE *out, const struct report_series *r, double step,
                    size_t number)
{
    for (int i = 0; i < r->n; i++) {
        if (r->step[i] < step)
            continue;
        report_put_number(out, r->tokens[i], ' ');
        report_put_number(out, r->loss[i], ' ');
        fprintf(out, "%zu\n", number);
        return 1;
    }
    return 0;
}

static int write_loss(const struct source *s, const json_t *incidents,
                      int *marks, struct mup_error *err)
{
    struct file_replace f;
    const json_t *o;
    size_t i;
    int rc = report_open_data(s->out, "loss.dat", &f, err);

    if (rc != MUP_OK)
        return rc;
    *marks = 0;
    fprintf(f.out, "# tokens loss val_loss\n");
    report_put_losses(f.out, &s->series);
    fprintf(f.out, "# tokens loss number, where incidents went on from\n");
    json_array_foreach(incidents, i, o)
    {
        *marks +=
            put_mark(f.out, &s->series, journal_real(o, "from_step"), i + 1);
    }
    return file_replace_commit(&f, err);
}

static int write_incidents(const struct source *s, const json_t *incidents,
                           struct mup_error *err)
{
    struct file_replace f;
    const json_t *o;
    size_t i;
    int rc = report_open_data(s->out, "incidents.dat", &f, err);

    if (rc != MUP_OK)
        return rc;
    fprintf(f.out, "# from_s to_s kind (0 training, 1 recovering, 2 queued)\n");
    for (int k = 0; k < s->timeline.n; k++)
        fprintf(f.out, "%.3f %.3f %d\n",
                s->timeline.span[k].from_s - s->timeline.begin_s,
                s->timeline.span[k].to_s - s->timeline.begin_s,
                s->timeline.span[k].kind);
    fprintf(f.out, "\n\n# number at_s total_s detect fence replace relaunch "
                   "rendezvous load first_step\n");
    json_array_foreach(incidents, i, o)
    {
        fprintf(f.out, "%zu ", i + 1);
        report_put_number(f.out, number(o, "at_s"), ' ');
        report_put_number(f.out, number(o, "total_s"), ' ');
        for (size_t k = 0; k < N_PARTS; k++)
            report_put_number(f.out, journal_real(o, parts[k]),
                              k + 1 < N_PARTS ? ' ' : '\n');
    }
    return file_replace_commit(&f, err);
}

static int write_json(const char *out, json_t *root, struct mup_error *err)
{
    char path[1200];
    struct file_replace f;
    int rc = path_join(out, "report.json", path, sizeof(path), err);

    if (rc == MUP_OK)
        rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    if (json_dumpf(root, f.out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) ||
        fputc('\n', f.out) == EOF) {
        file_replace_abandon(&f);
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s'", path);
    }
    return file_replace_commit(&f, err);
}

static int write_all(const struct source *s, struct mup_error *err)
{
    json_t *root = json_object(), *run = run_json(s);
    json_t *incidents = incidents_json(s);
    int marks = 0, rc = write_loss(s, incidents, &marks, err);

    if (rc == MUP_OK && s->status.is_launched)
        rc = write_incidents(s, incidents, err);
    json_object_set_new(run, "marked_incidents", json_integer(marks));
    json_object_set_new(root, "format", json_integer(1));
    json_object_set_new(root, "ruleset", json_integer(MUP_RULESET_VERSION));
    json_object_set_new(root, "finding", finding(s, run, incidents));
    json_object_set_new(root, "run", run);
    json_object_set_new(root, "incidents", incidents);
    json_object_set_new(root, "spans", spans_json(s));
    json_object_set_new(root, "ejected", ejected_json(s));
    json_object_set_new(root, "warnings", warnings_json(s));
    json_object_set_new(root, "commands", commands_json(s));
    json_object_set(root, "manifest", s->manifest ? s->manifest : json_null());
    if (rc == MUP_OK)
        rc = write_json(s->out, root, err);
    json_decref(root);
    return rc;
}

int run_report_write(const char *dir, const char *out, struct mup_error *err)
{
    struct source s = { .dir = dir, .out = out };
    int rc = source_open(&s, err);

    if (rc == MUP_OK)
        rc = write_all(&s, err);
    source_close(&s);
    return rc;
}

/* ---- on the terminal ------------------------------------------------------
 */

int run_report_print(const char *out, struct mup_error *err)
{
    char path[1200], *picture = NULL;
    json_t *root, *ejected, *o;
    size_t i;
    int rc = path_join(out, "report.json", path, sizeof(path), err);

    if (rc != MUP_OK)
        return rc;
    root = json_load_file(path, 0, NULL);
    if (!root)
        return mup_fail(err, MUP_CORRUPT, "'%s' is not JSON", path);
    printf("%s\n", journal_text(root, "finding"));
    run_status_print_incidents(json_object_get(root, "incidents"), SIZE_MAX,
                               stdout);
    ejected = json_object_get(root, "ejected");
    if (json_array_size(ejected) > 0)
        printf("\n  ejected nodes:\n");
    json_array_foreach(ejected, i, o)
    {
        printf("  %s, until %s: %s\n", journal_text(o, "node"),
               journal_text(o, "until"), journal_text(o, "reason"));
    }
    if (isatty(STDOUT_FILENO) &&
        plot_draw(out, PLOT_LOSS, PLOT_DUMB, &picture, NULL) == MUP_OK &&
        picture)
        printf("%s", picture);
    free(picture);
    printf("\nreport: %s/report.html\n", out);
    json_decref(root);
    return MUP_OK;
}
