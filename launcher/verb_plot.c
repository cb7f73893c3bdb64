#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/paths.h"
#include "launcher/run_report.h"
#include "launcher/verbs.h"
#include "plots/plot.h"
#include "sweep/report.h"

static const struct option options[] = {
    { "term", 0, "png|svg|dumb", "picture file, or text on the screen (svg)" },
    { "script", 0, NULL, "print the gnuplot script instead" },
    { 0 },
};

static int parse_terminal(const char *name, int *out, struct mup_error *err)
{
    static const char *const names[] = { "svg", "png", "dumb" };

    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) {
            *out = i;
            return MUP_OK;
        }
    return mup_fail(err, MUP_USAGE,
                    "unknown terminal '%s'; one of png, svg, dumb", name);
}

/* The data of the pictures are result files; make them where only the sweep
 * itself is there. */
static int need_data(const char *dir, struct mup_error *err)
{
    struct report report;
    char path[4096];
    int kind, rc = path_join(dir, "report.json", path, sizeof(path), err);

    if (rc != MUP_OK || path_exists(path))
        return rc;
    rc = path_classify(dir, &kind, err);
    if (rc == MUP_OK && kind == PATH_RUN_DIR)
        return run_report_write(dir, dir, err);
    if (rc == MUP_OK)
        rc = path_expect(dir, PATH_SWEEP_DIR, err);
    if (rc != MUP_OK)
        return rc;
    rc = report_write(dir, &report, err);
    return rc == MUP_INCONCLUSIVE ? MUP_OK : rc;
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *dir = args->operands[1], *term = args_text(args, "term");
    int kind, terminal = PLOT_SVG;
    char *text = NULL;
    int rc = plot_kind_parse(args->operands[0], &kind, err);

    if (rc == MUP_OK && term)
        rc = parse_terminal(term, &terminal, err);
    if (rc == MUP_OK)
        rc = need_data(dir, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "script"))
        rc = plot_script(dir, kind, terminal, &text, err);
    else
        rc = plot_draw(dir, kind, terminal, &text, err);
    if (rc == MUP_OK && text)
        printf("%s", text);
    else if (rc == MUP_OK)
        printf("%s/plots/%s.%s\n", dir, plot_kind_name(kind),
               terminal == PLOT_PNG ? "png" : "svg");
    free(text);
    return rc;
}

const struct verb verb_plot = {
    "plot",
    "KIND DIR",
    2,
    2,
    0,
    "one picture of a report: lr, coord, loss, load, incidents",
    "Draws one picture from the result files of a folder into its plots/\n"
    "folder, the gnuplot script and the data beside it; --term dumb draws on\n"
    "the screen.  Of a sweep: lr, coord, loss, load; of a run: loss,\n"
    "incidents.",
    "mutransfer plot lr runs/quickstart --term dumb",
    options,
    run,
};
