/* report.html of a run. */
#include <math.h>
#include <string.h>

#include "plots/page.h"
#include "plots/render.h"

static void put_summary(FILE *out, const json_t *run)
{
    double wall_s = json_value(run, "wall_s");

    fputs("<table>", out);
    page_put_pair(out, "Width", "%.0f", json_value(run, "width"));
    page_put_pair(out, "Layers", "%.0f", json_value(run, "layers"));
    page_put_pair(out, "Experts", "%.0f", json_value(run, "experts"));
    page_put_pair(out, "Parameters", "%.0f", json_value(run, "parameters"));
    page_put_pair(out, "Learning rate", "%.4g", json_value(run, "lr"));
    page_put_pair(out, "Steps taken", "%.0f", json_value(run, "step"));
    page_put_pair(out, "Steps in all", "%.0f", json_value(run, "steps"));
    page_put_pair(out, "Tokens", "%.0f", json_value(run, "tokens"));
    page_put_pair(out, "Training loss, nats per token", "%.4f",
                  json_value(run, "loss"));
    page_put_pair(out, "Validation loss, nats per token", "%.4f",
                  json_value(run, "val_loss"));
    page_put_pair(out, "Validation loss, bits per byte", "%.4f",
                  json_value(run, "val_bpb"));
    page_put_pair(out, "Speed, tokens per second", "%.0f",
                  json_value(run, "tokens_per_s"));
    page_put_pair(out, "Wall time, seconds", "%.0f", wall_s);
    if (isfinite(json_value(run, "goodput"))) {
        page_put_pair(out, "Trained, seconds", "%.0f",
                      json_value(run, "trained_s"));
        page_put_pair(out, "Goodput", "%.2f %%",
                      100 * json_value(run, "goodput"));
        page_put_pair(out, "Restarts of the job", "%.0f",
                      json_value(run, "restarts"));
        page_put_pair(out, "Starts of the ranks", "%.0f",
                      json_value(run, "incarnations"));
    }
    fputs("</table>\n", out);
}

/* A cell of seconds. */
static void put_seconds(FILE *out, double s)
{
    page_put_number(out, s < 99.95 ? "%.1f&nbsp;s" : "%.0f&nbsp;s", s);
}

static void put_incident(FILE *out, const json_t *o)
{
    static const char *const part[] = { "detect_s",     "fence_s",
                                        "replace_s",    "relaunch_s",
                                        "rendezvous_s", "load_s",
                                        "first_step_s" };

    fputs("<tr>", out);
    page_put_number(out, "%.0f", json_value(o, "number"));
    fputs("<td>", out);
    page_put_text(out, json_text(o, "time"));
    fputs("<td>", out);
    page_put_text(out, json_text(o, "title"));
    fputs("<td>", out);
    page_put_text(out, json_text(o, "node"));
    put_seconds(out, json_value(o, "total_s"));
    for (size_t i = 0; i < sizeof(part) / sizeof(*part); i++)
        put_seconds(out, json_value(o, part[i]));
    page_put_number(out, "%.0f", json_value(o, "replayed_steps"));
    fputs("</tr>\n", out);
}

static void put_incidents(FILE *out, const json_t *list)
{
    const json_t *o;
    size_t i;

    if (json_array_size(list) == 0) {
        fputs("<p>There was none.</p>\n", out);
        return;
    }
    fputs("<div class=wide><table><tr><th class=n>No.<th>Began<th>Cause<th>"
          "Node<th class=n>In all<th class=n>Detect<th class=n>Fence<th "
          "class=n>Replace<th class=n>Relaunch<th class=n>Rendezvous<th "
          "class=n>Load<th class=n>First step<th class=n>Steps repeated</tr>\n",
          out);
    json_array_foreach(list, i, o)
    {
        put_incident(out, o);
    }
    fputs("</table></div>\n<ul>", out);
    json_array_foreach(list, i, o)
    {
        if (!*json_text(o, "text"))
            continue;
        fprintf(out, "<li>%.0f: ", json_value(o, "number"));
        page_put_text(out, json_text(o, "text"));
        fputs("</li>\n", out);
    }
    fputs("</ul>\n<p class=note>Detect: from the last sign of life to the "
          "knowledge of what failed. Fence: until no old rank lives. Replace: "
          "until there are nodes again, the wait for another job included. "
          "Relaunch: until all ranks have begun. Rendezvous: until they have "
          "found each other. Load: the checkpoint. First step: until one was "
          "taken. The parts add up to the whole. Steps repeated were taken "
          "before, after the checkpoint that the run went on from.</p>\n",
          out);
}

static void put_ejected(FILE *out, const json_t *list)
{
    const json_t *o;
    size_t i;

    if (json_array_size(list) == 0)
        return;
    fputs("<h2>Ejected nodes</h2>\n<div class=wide><table><tr><th>Node<th>When"
          "<th>Until<th>Cause<th>Reason</tr>\n",
          out);
    json_array_foreach(list, i, o)
    {
        static const char *const key[] = { "node", "time", "until", "title",
                                           "reason" };

        for (size_t k = 0; k < sizeof(key) / sizeof(*key); k++) {
            fputs(k ? "<td>" : "<tr><td>", out);
            page_put_text(out, json_text(o, key[k]));
        }
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void put_commands(FILE *out, const json_t *report)
{
    const json_t *command, *list = json_object_get(report, "commands");
    size_t i;

    fputs("<h2>How to reproduce this</h2>\n<pre>", out);
    json_array_foreach(list, i, command)
    {
        page_put_text(out, json_string_value(command));
        fputc('\n', out);
    }
    fputs("</pre>\n", out);
    if (json_is_object(json_object_get(report, "manifest"))) {
        fputs("<details open><summary>Program, machine and data</summary>"
              "<table>\n",
              out);
        page_put_facts(out, "", json_object_get(report, "manifest"));
        fputs("</table></details>\n", out);
    }
}

void html_put_run(FILE *out, const char *dir, const json_t *report)
{
    const json_t *run = json_object_get(report, "run");
    const json_t *list = json_object_get(report, "incidents");

    page_begin(out, json_text(run, "name"), json_text(report, "finding"));
    put_summary(out, run);
    if (json_value(run, "logged_steps") > 0) {
        fputs("<h2>Training</h2>\n", out);
        if (page_begin_picture(out, dir, PLOT_LOSS)) {
            fputs("Loss of the batches, and of the held-out text where it was "
                  "evaluated. Steps that were repeated after an incident are "
                  "shown once.",
                  out);
            page_end_picture(out, PLOT_LOSS);
        }
    }
    if (json_value(run, "strip_s") > 0) {
        fputs("<h2>Incidents</h2>\n", out);
        if (page_begin_picture(out, dir, PLOT_INCIDENTS)) {
            fputs("Above: what the time went into; numbers are incidents. "
                  "Below: what each of them took, in parts; one that goes on "
                  "beyond the frame waited for nodes.",
                  out);
            page_end_picture(out, PLOT_INCIDENTS);
        }
        put_incidents(out, list);
    }
    put_ejected(out, json_object_get(report, "ejected"));
    page_put_list(out, "What these numbers cannot show",
                  json_object_get(report, "warnings"));
    put_commands(out, report);
    fputs("</body></html>\n", out);
}
