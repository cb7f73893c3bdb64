/* report.html: one page, nothing loaded from anywhere, no script.  Every text
 * of the result files goes through page_put_text(). */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "plots/page.h"
#include "plots/render.h"

/* ---- pieces ---------------------------------------------------------------
 */

/* A word of the report, with a capital letter where it begins something. */
static void put_word(FILE *out, const char *word, int capital)
{
    char first[2] = { word[0], '\0' };

    if (capital && first[0] >= 'a' && first[0] <= 'z' && !strchr(word, '.'))
        first[0] = (char)(first[0] - 'a' + 'A');
    page_put_text(out, first);
    page_put_text(out, *word ? word + 1 : "");
}

/* What a report is about. */
struct words {
    const char *over, *least, *most, *more, *growth; /* width ... */
    const char *of, *brief, *briefs;                 /* learning rate ... */
    const char *by;                                  /* parametrization */
};

static struct words find_words(const json_t *report)
{
    return (struct words){
        .over = render_word(report, "over", "word"),
        .least = render_word(report, "over", "least"),
        .most = render_word(report, "over", "most"),
        .more = render_word(report, "over", "more"),
        .growth = render_word(report, "over", "growth"),
        .of = render_word(report, "of", "word"),
        .brief = render_word(report, "of", "brief"),
        .briefs = render_word(report, "of", "briefs"),
        .by = render_word(report, "by", "word"),
    };
}

/* Text with words in it: %over, %most and so on, of struct words; a capital
 * letter asks for one. */
static void put_worded(FILE *out, const char *text, const struct words *w)
{
    const struct {
        const char *name, *word;
    } known[] = { { "%over", w->over },     { "%least", w->least },
                  { "%most", w->most },     { "%more", w->more },
                  { "%growth", w->growth }, { "%of", w->of },
                  { "%briefs", w->briefs }, { "%brief", w->brief },
                  { "%by", w->by } };

    while (*text) {
        size_t i = 0, n = 0;

        for (; i < sizeof(known) / sizeof(*known); i++) {
            n = strlen(known[i].name);
            if (!strncasecmp(text, known[i].name, n))
                break;
        }
        if (i < sizeof(known) / sizeof(*known)) {
            put_word(out, known[i].word, text[1] >= 'A' && text[1] <= 'Z');
            text += n;
        } else {
            fputc(*text++, out);
        }
    }
}

/* Of a check of one parametrization. */
static void put_name(FILE *out, const json_t *o, const char *key)
{
    page_put_text(out, render_title(json_text(o, key)));
}

/* ---- pictures -------------------------------------------------------------
 */

static void put_picture(FILE *out, const char *dir, int kind,
                        const char *caption, const struct words *words)
{
    if (!page_begin_picture(out, dir, kind))
        return;
    put_worded(out, caption, words);
    page_end_picture(out, kind);
}

/* ---- sections -------------------------------------------------------------
 */

static void put_verdicts(FILE *out, const json_t *list, const struct words *w)
{
    const json_t *p;
    size_t i;

    put_worded(out,
               "<div class=wide><table><tr><th>%By<th>Best %of<th class=n>"
               "Drift, octaves per doubling",
               w);
    if (strcmp(w->over, "width")) /* which goes without saying */
        put_worded(out, " of %growth", w);
    put_worded(out,
               "<th class=n>95 % interval<th class=n>Loss of carrying the "
               "%brief<th>%More is better</tr>\n",
               w);
    json_array_foreach(list, i, p)
    {
        const json_t *d = json_object_get(p, "drift");
        const json_t *r = json_object_get(p, "regret");

        fputs("<tr><td>", out);
        page_put_text(out, json_text(p, "label"));
        fputs("<td>", out);
        page_put_verdict(out, json_text(p, "verdict"));
        page_put_number(out, "%+.2f", json_value(d, "value"));
        if (isfinite(json_value(d, "lo")))
            fprintf(out, "<td class=n>%+.2f to %+.2f</td>", json_value(d, "lo"),
                    json_value(d, "hi"));
        else
            fputs("<td class=n>&ndash;</td>", out);
        if (json_is_true(json_object_get(r, "diverges")))
            put_worded(out,
                       "<td class=n><span class=bad>makes the %most diverge"
                       "</span></td>",
                       w);
        else
            page_put_number(out, "%.2f %%", 100 * json_value(r, "value"));
        fputs("<td>", out);
        page_put_verdict(out, json_text(p, "wider_is_better"));
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
    json_array_foreach(list, i, p)
    {
        fputs("<p class=note>", out);
        page_put_text(out, json_text(p, "label"));
        fputs(": ", out);
        page_put_rich(out, json_text(p, "reason"));
        fputs("; ", out);
        if (isfinite(json_value(json_object_get(p, "drift"), "value"))) {
            page_put_rich(out,
                          json_text(json_object_get(p, "regret"), "reason"));
            fputs("; ", out);
        }
        page_put_rich(out, json_text(p, "wider_reason"));
        fputs(".</p>\n", out);
    }
}

static void put_optimum(FILE *out, const json_t *p, const json_t *o)
{
    int edge = (int)json_value(o, "edge");

    fputs("<tr><td>", out);
    page_put_text(out, json_text(p, "label"));
    page_put_number(out, "%g", json_value(o, "width"));
    page_put_number(out, "2<sup>%.2f</sup>", json_value(o, "log2_lr"));
    fprintf(out, "<td class=n>2<sup>%.2f</sup> to 2<sup>%.2f</sup></td>",
            json_value(o, "lo"), json_value(o, "hi"));
    page_put_number(out, "%.3g", json_value(o, "lr"));
    page_put_number(out, "%.4f", json_value(o, "loss"));
    page_put_number(out, "%.2f %%", 100 * json_value(o, "curvature"));
    page_put_number(out, "%.1f", json_value(o, "margin"));
    page_put_number(out, "%.0f", json_value(o, "points"));
    page_put_number(out, "%.0f", json_value(o, "seeds"));
    page_put_number(out, "%.0f", json_value(o, "diverged"));
    fprintf(out, "<td>%s</tr>\n",
            edge ? edge < 0 ? "<span class=open>at the low end of the grid"
                              "</span>"
                            : "<span class=open>at the high end of the grid"
                              "</span>"
                 : "");
}

static void put_optima(FILE *out, const json_t *list, const struct words *w)
{
    const json_t *p, *o;
    size_t i, k;

    put_worded(
        out,
        "<h2>Best %of of each %over</h2>\n<div class=wide><table>"
        "<tr><th><th class=n>%Over<th class=n>Optimum<th class=n>95 % interval"
        "<th class=n>%Brief<th class=n>Loss<th class=n>Curvature<th class=n>"
        "Margin<th class=n>%Briefs<th class=n>Seeds<th class=n>Diverged<th>"
        "</tr>\n",
        w);
    json_array_foreach(list, i, p)
    {
        json_array_foreach(json_object_get(p, "optima"), k, o)
        {
            put_optimum(out, p, o);
        }
    }
    put_worded(
        out,
        "</table></div>\n<p class=note>Curvature: loss per octave squared "
        "away from the optimum. Margin: octaves from the optimum to the first "
        "%brief that diverged. %Briefs: points the fit rests on.</p>\n",
        w);
}

static void put_coord_rows(FILE *out, const json_t *rows)
{
    const json_t *r;
    size_t i;

    fputs("<div class=wide><table><tr><th>Quantity<th class=n>Step<th class=n>"
          "Slope<th class=n>95 % interval<th class=n>Expected<th>Verdict<th>"
          "Likely cause</tr>\n",
          out);
    json_array_foreach(rows, i, r)
    {
        fputs("<tr><td><code>", out);
        page_put_text(out, json_text(r, "name"));
        fputs("</code>", out);
        page_put_number(out, "%.0f", json_value(r, "step"));
        page_put_number(out, "%+.2f", json_value(r, "slope"));
        if (isfinite(json_value(r, "lo")) && isfinite(json_value(r, "hi")))
            fprintf(out, "<td class=n>%+.2f to %+.2f</td>", json_value(r, "lo"),
                    json_value(r, "hi"));
        else
            fputs("<td class=n>&ndash;</td>", out);
        page_put_number(out, "%+.2f", json_value(r, "expected"));
        fputs("<td>", out);
        page_put_verdict(out, json_text(r, "verdict"));
        fputs("<td>", out);
        page_put_text(out, json_text(r, "cause"));
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

/* The row that decides: ", worst `logits` with slope +0.60 at step 5". */
static void put_decisive(FILE *out, const json_t *check)
{
    const json_t *row = json_array_get(json_object_get(check, "rows"), 0);

    if (!row)
        return;
    fputs(", worst <code>", out);
    page_put_text(out, json_text(row, "name"));
    fputs("</code> ", out);
    if (isfinite(json_value(row, "slope")))
        fprintf(out, "with slope %+.2f at step %.0f", json_value(row, "slope"),
                json_value(row, "step"));
    else
        fprintf(out, "without a slope (zero or not finite) at step %.0f",
                json_value(row, "step"));
}

static void put_coord(FILE *out, const char *dir, const json_t *checks,
                      const struct words *words)
{
    const json_t *c;
    size_t i;

    if (json_array_size(checks) == 0)
        return;
    fputs("<h2>Coordinate check</h2>\n<p>", out);
    json_array_foreach(checks, i, c)
    {
        const json_t *n = json_object_get(c, "counts");

        fputs(i ? ", " : "", out);
        put_name(out, c, "parametrization");
        fputs(": ", out);
        page_put_verdict(out, json_text(c, "verdict"));
        fprintf(out, " (%.0f of %.0f slopes fail)", json_value(n, "FAIL"),
                json_value(n, "FAIL") + json_value(n, "ok") +
                    json_value(n, "expected") + json_value(n, "inconclusive"));
        put_decisive(out, c);
    }
    fputs(".</p>\n", out);
    put_picture(out, dir, PLOT_COORD,
                "Size of activations, updates and logits against width, a line "
                "a training step. Flat lines: the step does the same at every "
                "width. The title tells the step that decides, drawn bold.",
                words);
    json_array_foreach(checks, i, c)
    {
        fprintf(out, "<details%s><summary>",
                json_array_size(checks) == 1 ? " open" : "");
        put_name(out, c, "parametrization");
        fputs(": the quantities that depend most on width</summary>\n", out);
        put_coord_rows(out, json_object_get(c, "rows"));
        fputs("</details>\n", out);
    }
}

static void put_target(FILE *out, const json_t *t)
{
    double val, best;

    if (!json_is_object(t))
        return;
    val = json_value(t, "val_loss");
    best = json_value(t, "best_proxy_val_loss");
    fputs("<h2>Target run</h2>\n<p>The target is ", out);
    page_put_verdict(out, json_text(t, "state"));
    fputs(".", out);
    if (isfinite(val) && isfinite(best))
        fprintf(out,
                " Its validation loss, %.4f nats per token, lies %s that of "
                "every proxy (best: %.4f).",
                val, val < best ? "below" : "<strong>not</strong> below", best);
    fputs("</p>\n<table>", out);
    page_put_pair(out, "Width", "%.0f", json_value(t, "width"));
    page_put_pair(out, "Layers", "%.0f", json_value(t, "layers"));
    page_put_pair(out, "Experts", "%.0f", json_value(t, "experts"));
    page_put_pair(out, "Parameters", "%.0f", json_value(t, "parameters"));
    page_put_pair(out, "Learning rate", "%.4g", json_value(t, "lr"));
    page_put_pair(out, "log<sub>2</sub> of it", "%.2f",
                  log2(json_value(t, "lr")));
    page_put_pair(out, "Steps", "%.0f", json_value(t, "steps"));
    page_put_pair(out, "Tokens", "%.0f", json_value(t, "tokens"));
    page_put_pair(out, "Training loss, nats per token", "%.4f",
                  json_value(t, "loss"));
    page_put_pair(out, "Validation loss, bits per byte", "%.4f",
                  json_value(t, "val_bpb"));
    page_put_pair(out, "FLOP", "%.3g", json_value(t, "flops"));
    page_put_pair(out, "Seconds", "%.0f", json_value(t, "wall_s"));
    fputs("</table>\n", out);
}

static void put_study(FILE *out, const json_t *study)
{
    fprintf(out,
            "<p class=note>%.0f trials: %.0f done, %.0f diverged, %.0f "
            "failed, %.0f waiting. Study made ",
            json_value(study, "trials"), json_value(study, "done"),
            json_value(study, "diverged"), json_value(study, "failed"),
            json_value(study, "waiting"));
    page_put_text(out, json_text(study, "created"));
    fputs(
        ". Paths are relative to the folder these commands are run in. On the "
        "same folders each continues where it stopped; on new ones (another "
        "<code>-o</code>) the numbers repeat bit for bit on the same "
        "machine.</p>\n",
        out);
}

static void put_table(FILE *out, const json_t *study, const json_t *csv)
{
    fprintf(out,
            "<p class=note>%.0f runs: %.0f with a loss, %.0f diverged. They "
            "are the rows of <code>",
            json_value(study, "trials"), json_value(study, "done"),
            json_value(study, "diverged"));
    page_put_text(out, json_text(csv, "file"));
    fputs("</code> (XXH3-128 of its bytes: <code>", out);
    page_put_text(out, json_text(csv, "xxh3"));
    fputs("</code>). Paths are relative to the folder the command is run in. "
          "The same table gives the same numbers.</p>\n",
          out);
}

static void put_reproduce(FILE *out, const json_t *report)
{
    const json_t *command, *study = json_object_get(report, "study");
    const json_t *csv = json_object_get(report, "csv");
    const char *sweep = json_text(report, "sweep");
    size_t i;

    fputs("<h2>How to reproduce this</h2>\n<pre>", out);
    json_array_foreach(json_object_get(report, "commands"), i, command)
    {
        page_put_text(
            out, json_string_value(command) ? json_string_value(command) : "");
        fputc('\n', out);
    }
    fputs("</pre>\n", out);
    if (json_is_object(csv))
        put_table(out, study, csv);
    else
        put_study(out, study);
    if (*sweep) {
        fputs("<details><summary>sweep.yaml</summary><pre>", out);
        page_put_text(out, sweep);
        fputs("</pre></details>\n", out);
    }
    if (json_is_object(json_object_get(report, "manifest"))) {
        fputs("<details open><summary>Program, machine and data</summary>"
              "<table>\n",
              out);
        page_put_facts(out, "", json_object_get(report, "manifest"));
        fputs("</table></details>\n", out);
    }
}

static void put_page(FILE *out, const char *dir, const json_t *report)
{
    const json_t *study = json_object_get(report, "study");
    const json_t *list = json_object_get(report, "parametrizations");
    const json_t *target = json_object_get(report, "target");
    const struct words words = find_words(report);

    page_begin(out, json_text(study, "name"), json_text(report, "finding"));
    if (json_array_size(list) > 0) {
        put_verdicts(out, list, &words);
        put_picture(out, dir, PLOT_LR,
                    "Loss against %of, a line a %over; thick: the fit. Red: "
                    "its minimum with the 95 % interval. Triangles: %briefs at "
                    "which a run diverged. A vertical dashed line means that "
                    "the best %brief does not move.",
                    &words);
        put_optima(out, list, &words);
    }
    put_coord(out, dir, json_object_get(report, "coord"), &words);
    if (json_array_size(json_object_get(report, "losses")) > 0) {
        fputs("<h2>Training</h2>\n", out);
        put_picture(out, dir, PLOT_LOSS,
                    json_is_object(target)
                        ? "The best run of each %over, and the target."
                        : "The best run of each %over.",
                    &words);
    }
    if (json_is_object(json_object_get(report, "load")))
        put_picture(out, dir, PLOT_LOAD,
                    "Share of the tokens that each expert receives: white is "
                    "an even share, red too many, blue too few.",
                    &words);
    put_target(out, target);
    page_put_list(out, "What these runs cannot show",
                  json_object_get(report, "warnings"));
    put_reproduce(out, report);
    fputs("</body></html>\n", out);
}

int html_write(const char *dir, struct mup_error *err)
{
    char path[2048], *text = NULL;
    json_t *report;
    size_t bytes = 0;
    FILE *out;
    int rc = render_open_report(dir, &report, err);

    if (rc != MUP_OK)
        return rc;
    out = open_memstream(&text, &bytes);
    if (!out) {
        json_decref(report);
        return mup_fail(err, MUP_SYSTEM, "out of memory for report.html");
    }
    if (json_is_object(json_object_get(report, "run")))
        html_put_run(out, dir, report);
    else
        put_page(out, dir, report);
    json_decref(report);
    snprintf(path, sizeof(path), "%s/report.html", dir);
    if (fclose(out) != 0)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    else
        rc = render_replace_file(path, text, bytes, err);
    free(text);
    return rc;
}
