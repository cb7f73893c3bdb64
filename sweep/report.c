/* Analyses the runs and writes report.json: see docs/formats.md. */
#include "sweep/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/config.h"
#include "model/file.h"
#include "sweep/lint.h"
#include "sweep/report_commands.h"
#include "sweep/report_data.h"
#include "sweep/report_files.h"
#include "sweep/report_text.h"

__attribute__((format(printf, 2, 3))) static void warn(json_t *list,
                                                       const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    json_array_append_new(list, json_string(text));
}

/* ---- analysis -------------------------------------------------------------
 */

static int same_point(const struct transfer_run *a,
                      const struct transfer_run *b)
{
    return a->width == b->width && a->lr == b->lr;
}

/* Some rate of this width that all its seeds survived. */
static int usable(const struct transfer_run *runs, int n, double width)
{
    for (int i = 0; i < n; i++) {
        int sound = runs[i].width == width;

        for (int k = 0; k < n && sound; k++)
            sound = !same_point(&runs[i], &runs[k]) || isfinite(runs[k].loss);
        if (sound)
            return 1;
    }
    return 0;
}

static int has_width(const struct transfer_run *runs, int n, double width)
{
    for (int i = 0; i < n; i++)
        if (runs[i].width == width)
            return 1;
    return 0;
}

/* Runs of one parametrization, widths that only diverged left out with one
 * warning each. */
static int select_runs(const struct report_data *d, int group,
                       struct transfer_run *out, json_t *warnings)
{
    int n = 0;

    for (int i = 0; i < d->n; i++)
        if (d->run[i].group == group)
            out[n++] = (struct transfer_run){ d->run[i].width, d->run[i].lr,
                                              d->run[i].seed, d->run[i].value };
    for (int i = 0; i < d->n; i++) {
        double width = d->run[i].width;
        int kept = 0;

        if (!has_width(out, n, width) || usable(out, n, width))
            continue;
        warn(warnings,
             "%s: every %s has a diverged run, so the %s is left out; add "
             "lower %s",
             axes_place(&d->axes, d->group[group], width).text, d->axes.of.word,
             d->axes.over.word, d->axes.of.briefs);
        for (int k = 0; k < n; k++)
            if (out[k].width != width)
                out[kept++] = out[k];
        n = kept;
    }
    return n;
}

static int analyse(const struct report_data *d, struct report *r,
                   json_t *warnings, struct mup_error *err)
{
    struct transfer_run *runs = calloc((size_t)d->n + 1, sizeof(*runs));
    int rc = MUP_OK;

    if (!runs)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d runs", d->n);
    for (int g = 0; g < d->n_groups && rc == MUP_OK; g++) {
        int k = r->n_parametrizations, n = select_runs(d, g, runs, warnings);

        if (n == 0)
            continue;
        rc = transfer_analyse(&(struct transfer_runs){ runs, n, &d->axes }, 1,
                              &r->transfer[k], err);
        memcpy(r->name[k], d->group[g], sizeof(r->name[k]));
        r->group[k] = g;
        r->n_parametrizations++;
    }
    if (rc != MUP_OK && d->csv)
        mup_error_prefix(err, "%s: ", d->csv);
    free(runs);
    return rc;
}

/* ---- sections of report.json ----------------------------------------------
 */

static json_t *interval(double value, double lo, double hi)
{
    return json_pack("{s:o, s:o, s:o}", "value", report_number(value), "lo",
                     report_number(lo), "hi", report_number(hi));
}

static json_t *optimum_json(const struct axes *axes,
                            const struct transfer_optimum *o)
{
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, "
                     "s:i, s:i, s:i, "
                     "s:i, s:i}",
                     "place", axes_at(axes, o->width).text, "width", o->width,
                     "lr", exp2(o->log2_lr), "log2_lr", o->log2_lr, "lo",
                     o->log2_lr_lo, "hi", o->log2_lr_hi, "loss", o->loss,
                     "grid_log2_lr", o->grid_log2_lr, "grid_loss", o->grid_loss,
                     "curvature", report_number(o->curvature), "margin",
                     report_number(o->margin), "points", o->points, "seeds",
                     o->seeds, "edge", o->edge, "degree", o->degree, "diverged",
                     o->diverged);
}

static json_t *transfer_json(const struct axes *axes, const char *name,
                             const struct transfer_report *t)
{
    json_t *optima = json_array();
    json_t *regret = interval(t->regret, t->regret_lo, t->regret_hi);
    char caption[192], why[512];

    report_caption(axes, t, caption, sizeof(caption));
    report_regret(axes, t, why, sizeof(why));
    json_object_set_new(regret, "diverges", json_boolean(isinf(t->regret)));
    json_object_set_new(regret, "reason", json_string(why));
    for (int w = 0; w < t->n_widths; w++)
        json_array_append_new(optima, optimum_json(axes, &t->optimum[w]));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:s, s:o}",
                     "name", name, "label", axes_group(axes, name).text,
                     "caption", caption, "verdict",
                     transfer_verdict_name(t->verdict), "reason", t->reason,
                     "drift", interval(t->drift, t->drift_lo, t->drift_hi),
                     "regret", regret, "wider_is_better",
                     t->wider_is_better > 0    ? "yes"
                     : t->wider_is_better == 0 ? "no"
                                               : "unknown",
                     "wider_reason", t->wider_reason, "optima", optima);
}

static json_t *keys_json(const struct axes *a)
{
    return json_pack("{s:s, s:s, s:s}", "over", a->over.key, "of", a->of.key,
                     "by", a->by.key);
}

static json_t *words_json(const struct axes *a)
{
    return json_pack(
        "{s:{s:s, s:s, s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s, s:s}, s:s}",
        "over", "word", a->over.word, "plural", a->over.plural, "growth",
        a->over.growth, "more", a->over.more, "least", a->over.least, "most",
        a->over.most, "of", "word", a->of.word, "plural", a->of.plural, "brief",
        a->of.brief, "briefs", a->of.briefs, "by", a->by.word);
}

/* Limits for a picture: all rates, and the losses within 2.6 octaves of some
 * curve's best point (far ones would flatten the valleys). */
static json_t *axes_json(const struct report_data *d)
{
    double lo = INFINITY, hi = -INFINITY, least = INFINITY, most = -INFINITY;

    for (int i = 0; i < d->n; i++) {
        const struct report_run *r = &d->run[i], *best;

        lo = fmin(lo, log2(r->lr));
        hi = fmax(hi, log2(r->lr));
        if (!isfinite(r->value))
            continue;
        best = report_best(d, r->group, r->width);
        least = fmin(least, r->value);
        if (fabs(log2(r->lr / best->lr)) <= 2.6)
            most = fmax(most, r->value);
    }
    return json_pack("{s:[o,o], s:[o,o]}", "log2_lr", report_number(lo),
                     report_number(hi), "loss", report_number(least),
                     report_number(most));
}

/* The store keeps seconds since 1970. */
static void date_of(const char *seconds, char *out, size_t bytes)
{
    time_t t = (time_t)strtoll(seconds, NULL, 10);
    struct tm utc;

    if (t <= 0 || !gmtime_r(&t, &utc) ||
        strftime(out, bytes, "%Y-%m-%d %H:%M UTC", &utc) == 0)
        snprintf(out, bytes, "%s", seconds);
}

static json_t *study_json(const struct report_data *d)
{
    char created[64];

    date_of(d->created, created, sizeof(created));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "name",
                     d->name, "created", created, "metric", d->metric, "trials",
                     (json_int_t)d->trials, "done", (json_int_t)d->done,
                     "diverged", (json_int_t)d->diverged, "failed",
                     (json_int_t)d->failed, "waiting", (json_int_t)d->waiting);
}

static void warn_of_optimum(const struct axes *axes, const char *name,
                            const struct transfer_optimum *o, json_t *list)
{
    const struct phrase place = axes_place(axes, name, o->width);

    if (o->edge)
        warn(list,
             "%s: the optimum lies at the %s end of the grid; extend the grid",
             place.text, o->edge < 0 ? "low" : "high");
    if (o->margin < lint_rule_find("M012")->limit)
        warn(list, "%s: runs diverge only %.1f octaves above the optimum",
             place.text, o->margin);
}

/* Nothing is said about steps that are not known. */
static void warn_of_toys(const struct report_data *d, json_t *list)
{
    double narrow = INFINITY, steps = INFINITY;
    double toy_width = lint_rule_find("M001")->limit;
    double toy_steps = lint_rule_find("M002")->limit;

    for (int i = 0; i < d->n; i++) {
        narrow = fmin(narrow, d->run[i].model_width); /* ignores NaN */
        if (d->run[i].steps > 0)
            steps = fmin(steps, (double)d->run[i].steps);
    }
    if (narrow < toy_width)
        warn(list,
             "toy scale: the narrowest proxy has width %g; below %g the laws "
             "of large width hold only roughly",
             narrow, toy_width);
    if (steps < toy_steps)
        warn(list,
             "toy scale: the proxies train for %g steps; below %g the best %s "
             "still depends on the length of training",
             steps, toy_steps, d->axes.of.word);
}

static void add_warnings(const struct report_data *d, const struct report *r,
                         json_t *list)
{
    if (d->note[0])
        warn(list, "%s", d->note);
    if (d->waiting > 0)
        warn(list,
             "%lld of %lld trials are not finished: this is an interim "
             "report",
             (long long)d->waiting, (long long)d->trials);
    if (d->failed > 0)
        warn(list, "%lld trials failed and are left out", (long long)d->failed);
    for (int i = 0; i < r->n_parametrizations; i++)
        for (int w = 0; w < r->transfer[i].n_widths; w++)
            warn_of_optimum(&d->axes, r->name[i], &r->transfer[i].optimum[w],
                            list);
    warn_of_toys(d, list);
}

/* ---- the target -----------------------------------------------------------
 */

/* The last complete line of events.jsonl that ends a run, or NULL. */
static json_t *last_event(const char *dir)
{
    char path[1100], *text, *save = NULL;
    size_t bytes;
    json_t *found = NULL;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    if (file_read(path, (size_t)64 << 20, &text, &bytes, NULL) != MUP_OK)
        return NULL;
    for (char *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        json_t *o = json_loads(line, 0, NULL);

        if (json_is_string(json_object_get(o, "event"))) {
            json_decref(found);
            found = o;
        } else {
            json_decref(o);
        }
    }
    free(text);
    return found;
}

static void copy_number(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);

    json_object_set(to, key, json_is_number(v) ? v : json_null());
}

static int target_json(const struct report_data *d, json_t **out,
                       struct mup_error *err)
{
    static const char *const results[] = { "loss",   "val_loss", "val_bpb",
                                           "tokens", "flops",    "wall_s" };
    char dir[1024], path[1100];
    struct run_config c;
    double best = NAN;
    json_t *event, *manifest;
    int rc;

    snprintf(dir, sizeof(dir), "%s/target", d->sweep);
    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    *out = json_null();
    if (access(path, F_OK) != 0)
        return MUP_OK;
    rc = run_config_load(path, NULL, 0, &c, err);
    if (rc != MUP_OK)
        return rc;
    event = last_event(dir);
    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    manifest = json_load_file(path, 0, NULL);
    for (int i = 0; i < d->n; i++)
        if (isfinite(d->run[i].val_loss))
            best = fmin(isnan(best) ? INFINITY : best, d->run[i].val_loss);
    *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:f, s:I, s:o}", "parametrization",
        mup_parametrization_name(c.mup.parametrization), "state",
        event ? json_string_value(json_object_get(event, "event")) : "start",
        "width", (json_int_t)c.model.width, "layers",
        (json_int_t)c.model.layers, "experts", (json_int_t)c.model.experts,
        "lr", c.train.lr, "steps", (json_int_t)c.train.steps,
        "best_proxy_val_loss", report_number(best));
    for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
        copy_number(*out, event, results[i]);
    copy_number(*out, manifest, "parameters");
    json_decref(event);
    json_decref(manifest);
    return MUP_OK;
}

/* ---- provenance -----------------------------------------------------------
 */

static json_t *manifest_json(const struct report_data *d)
{
    char path[1100];
    json_t *o = NULL;

    for (int i = 0; i < d->n && !o; i++) {
        snprintf(path, sizeof(path), "%s/trials/%lld/manifest.json", d->sweep,
                 (long long)d->run[i].trial);
        o = json_load_file(path, 0, NULL);
    }
    return o ? o : json_null();
}

static json_t *file_text(const char *dir, const char *name)
{
    char path[1100], *text;
    size_t bytes;
    json_t *o;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (file_read(path, (size_t)1 << 20, &text, &bytes, NULL) != MUP_OK)
        return json_null();
    o = json_stringn(text, bytes);
    free(text);
    return o ? o : json_null();
}

/* Which table it was: the hash tells two of one name apart. */
static json_t *csv_json(const struct report_data *d)
{
    if (!d->csv)
        return json_null();
    return json_pack("{s:s, s:I, s:s}", "file", d->csv, "rows",
                     (json_int_t)d->trials, "xxh3", d->hash);
}

/* ---- all of it ------------------------------------------------------------
 */

static int write_json(const char *dir, const json_t *root,
                      struct mup_error *err)
{
    char path[1024];
    struct file_replace f;
    int rc;

    snprintf(path, sizeof(path), "%s/report.json", dir);
    rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    if (json_dumpf(root, f.out, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) ||
        fputc('\n', f.out) == EOF) {
        file_replace_abandon(&f);
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s'", path);
    }
    return file_replace_commit(&f, err);
}

/* Data files, and what report.json says of them.  A table has points alone;
 * checks, load and target belong to the report on the usual axes. */
static int write_data(const struct report_data *d, const struct report *r,
                      json_t *root, struct mup_error *err)
{
    const int whole = d->sweep && axes_are_usual(&d->axes);
    json_t *losses = d->sweep ? NULL : json_array();
    json_t *load = whole ? NULL : json_null();
    json_t *checks = whole ? NULL : json_array();
    json_t *panels = whole ? NULL : json_array();
    json_t *target = whole ? NULL : json_null();
    int rc = report_write_curves(d, r, err);

    if (rc == MUP_OK && d->sweep)
        rc = report_write_losses(d, r, &losses, err);
    if (rc == MUP_OK && whole)
        rc = report_write_load(d, r, &load, err);
    if (rc == MUP_OK && whole)
        rc = report_write_coord(d->sweep, d->dir, &checks, &panels, err);
    if (rc == MUP_OK && whole)
        rc = target_json(d, &target, err);
    if (rc == MUP_OK)
        json_object_set_new(root, "commands", report_commands(d, checks));
    /* An absent value (NULL) is not set; a set one is taken. */
    (void)json_object_set_new(root, "losses", losses);
    (void)json_object_set_new(root, "load", load);
    (void)json_object_set_new(root, "coord", checks);
    (void)json_object_set_new(root, "coord_panels", panels);
    (void)json_object_set_new(root, "target", target);
    return rc;
}

static int write_all(const struct report_data *d, struct report *r,
                     struct mup_error *err)
{
    json_t *root = json_object(), *warnings = json_array();
    json_t *list = json_array();
    int rc;

    r->axes = d->axes;
    rc = analyse(d, r, warnings, err);
    if (rc == MUP_OK) {
        report_finding(r);
        add_warnings(d, r, warnings);
        for (int i = 0; i < r->n_parametrizations; i++)
            json_array_append_new(
                list, transfer_json(&r->axes, r->name[i], &r->transfer[i]));
    }
    json_object_set_new(root, "format", json_integer(1));
    json_object_set_new(root, "ruleset", json_integer(MUP_RULESET_VERSION));
    json_object_set_new(root, "finding", json_string(r->finding));
    json_object_set_new(root, "study", study_json(d));
    json_object_set_new(root, "axes_keys", keys_json(&d->axes));
    json_object_set_new(root, "words", words_json(&d->axes));
    json_object_set_new(root, "parametrizations", list);
    json_object_set_new(root, "axes", axes_json(d));
    json_object_set_new(root, "warnings", warnings);
    if (rc == MUP_OK)
        rc = write_data(d, r, root, err);
    json_object_set_new(root, "csv", csv_json(d));
    json_object_set_new(root, "sweep",
                        d->csv ? json_null()
                               : file_text(d->sweep, "sweep.yaml"));
    json_object_set_new(root, "manifest",
                        d->csv ? json_null() : manifest_json(d));
    if (rc == MUP_OK)
        rc = write_json(d->dir, root, err);
    json_decref(root);
    return rc;
}

/* Closes data. */
static int write_report(struct report_data *data, struct report *out,
                        struct mup_error *err)
{
    struct report *r = calloc(1, sizeof(*r));
    int rc = r ? write_all(data, r, err)
               : mup_fail(err, MUP_SYSTEM, "out of memory for the report");

    if (rc == MUP_OK)
        *out = *r;
    free(r);
    report_data_close(data);
    return rc;
}

int report_write_request(const struct report_request *request,
                         struct report *out, struct mup_error *err)
{
    struct report_data data;
    int rc = request->csv ? report_data_open_csv(request, &data, err)
                          : report_data_open(request, &data, err);

    return rc == MUP_OK ? write_report(&data, out, err) : rc;
}

int report_write(const char *dir, struct report *out, struct mup_error *err)
{
    const struct report_request request = { .sweep = dir,
                                            .out = dir,
                                            .axes = axes_usual() };

    return report_write_request(&request, out, err);
}
