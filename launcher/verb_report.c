#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/terminal.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "plots/plot.h"
#include "sweep/report.h"
#include "sweep/report_text.h"

static const struct option options[] = {
    { "csv", 0, "FILE", "table of the runs of another trainer" },
    { "output", 'o', "DIR",
      "folder for the report on a table (FILE-report, without .csv)" },
    OPTION_JSON,
    { 0 },
};

static const int kinds[] = { PLOT_LR, PLOT_COORD, PLOT_LOSS, PLOT_LOAD };

/* Pictures are an addition: without gnuplot the numbers still stand. */
static void draw_all(const char *dir, struct terminal *t)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char name[64], dat[4096];
        struct mup_error err = { 0 };
        int rc;

        snprintf(name, sizeof(name), "plots/%s.dat", plot_kind_name(kinds[i]));
        if (path_join(dir, name, dat, sizeof(dat), NULL) != MUP_OK ||
            !path_exists(dat))
            continue;
        rc = plot_draw(dir, kinds[i], PLOT_SVG, NULL, &err);
        if (rc == MUP_OK)
            rc = plot_draw(dir, kinds[i], PLOT_PNG, NULL, &err);
        if (rc != MUP_OK) {
            terminal_note(t, "warning: no picture '%s': %s",
                          plot_kind_name(kinds[i]), err.text);
            return;
        }
    }
}

static void print_optimum(const struct transfer_optimum *o)
{
    printf("  width %5.0f  best lr 2^%.2f [%.2f, %.2f]  loss %.4f", o->width,
           o->log2_lr, o->log2_lr_lo, o->log2_lr_hi, o->loss);
    if (o->diverged)
        printf("  %d diverged", o->diverged);
    if (o->edge)
        printf("  at the %s edge of the grid: widen it",
               o->edge < 0 ? "lower" : "upper");
    printf("\n");
}

static void print_transfer(const char *name, const struct transfer_report *t)
{
    char regret[256];

    printf("%s: %s", *name ? name : report_display_name(name),
           transfer_verdict_name(t->verdict));
    if (isfinite(t->drift))
        printf(", drift %+.2f [%+.2f, %+.2f] octaves per doubling", t->drift,
               t->drift_lo, t->drift_hi);
    printf("\n");
    if (t->reason[0])
        printf("  %s\n", t->reason);
    for (int i = 0; i < t->n_widths; i++)
        print_optimum(&t->optimum[i]);
    report_regret(t, regret, sizeof(regret));
    printf("  %s", regret);
    if (isfinite(t->regret) && isfinite(t->regret_hi))
        printf(" [%.2f, %.2f]", 100 * t->regret_lo, 100 * t->regret_hi);
    printf("\n");
    printf("  wider is better: %s%s%s\n",
           t->wider_is_better > 0    ? "yes"
           : t->wider_is_better == 0 ? "no"
                                     : "cannot say",
           t->wider_reason[0] ? ": " : "", t->wider_reason);
}

static int exit_code(const struct report *r)
{
    int k = report_main(r);
    int verdict = k < 0 ? TRANSFER_INCONCLUSIVE : r->transfer[k].verdict;

    if (verdict == TRANSFER_INCONCLUSIVE)
        return MUP_INCONCLUSIVE;
    return verdict == TRANSFER_DRIFTS ? MUP_NEGATIVE : MUP_OK;
}

static int print_json(const char *dir, struct mup_error *err)
{
    char path[4096];
    json_t *o;
    int rc = path_join(dir, "report.json", path, sizeof(path), err);

    if (rc != MUP_OK)
        return rc;
    o = json_load_file(path, 0, NULL);
    if (!o)
        return mup_fail(err, MUP_CORRUPT, "'%s' is not JSON", path);
    return json_print(o, err);
}

static void print_text(const char *dir, const struct report *r)
{
    char *picture = NULL;

    printf("%s\n\n", r->finding);
    for (int i = 0; i < r->n_parametrizations; i++)
        print_transfer(r->name[i], &r->transfer[i]);
    if (isatty(STDOUT_FILENO) &&
        plot_draw(dir, PLOT_LR, PLOT_DUMB, &picture, NULL) == MUP_OK && picture)
        printf("%s\n", picture);
    free(picture);
    printf("report: %s/report.html\n", dir);
}

/* The table, NULL for the report of a sweep, and the folder of results. */
static int find_places(const struct args *args, const char **csv, char *dir,
                       size_t bytes, struct mup_error *err)
{
    const char *operand = args->n_operands ? args->operands[0] : NULL;
    const char *output = args_text(args, "output");

    *csv = args_text(args, "csv");
    if (*csv && operand)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is one operand too many beside --csv; the result "
                        "folder is named after -o",
                        operand);
    if (!*csv && !operand)
        return mup_fail(err, MUP_USAGE,
                        "'report' needs a sweep's folder or a table; usage: "
                        "mutransfer report DIR | --csv FILE");
    if (!*csv && path_is_csv(operand))
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a table; write 'mutransfer report --csv %s'",
                        operand, operand);
    if (!*csv && output)
        return mup_fail(err, MUP_USAGE,
                        "-o goes with --csv; the report of a sweep is written "
                        "into the sweep's folder");
    if (*csv && !output)
        return path_report_dir(*csv, dir, bytes, err);
    output = *csv ? output : operand;
    if (snprintf(dir, bytes, "%s", output) >= (int)bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long",
                        output);
    return *csv ? MUP_OK : path_expect(dir, PATH_SWEEP_DIR, err);
}

static int run(const struct args *args, struct mup_error *err)
{
    struct report report = { 0 };
    struct terminal terminal;
    const char *csv;
    char dir[1000];
    int rc = find_places(args, &csv, dir, sizeof(dir), err);

    if (rc == MUP_OK && csv)
        rc = path_expect_free(dir, PATH_REPORT_DIR, err);
    if (rc != MUP_OK)
        return rc;
    terminal_init(&terminal, args->quiet);
    rc = csv ? report_write_csv(csv, dir, &report, err)
             : report_write(dir, &report, err);
    if (rc != MUP_OK && rc != MUP_INCONCLUSIVE)
        return rc;
    draw_all(dir, &terminal);
    rc = html_write(dir, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json"))
        rc = print_json(dir, err);
    else
        print_text(dir, &report);
    return rc == MUP_OK ? exit_code(&report) : rc;
}

const struct verb verb_report = {
    "report",
    "DIR | --csv FILE",
    0,
    1,
    0,
    "optimum per width, drift, regret, verdict, pictures, report.html",
    "Reads a sweep and the coordinate checks and target run beside it, and\n"
    "writes report.json, report.html and plots/.  --csv reads the runs of\n"
    "another trainer: a table with the columns width, lr, loss (empty or nan "
    "=\n"
    "diverged) and, where needed, seed and parametrization, in any order.\n"
    "Exit code by the verdict on muP, without it on the first parametrization\n"
    "but SP, or on SP alone: 0 stable, 1 the optimum drifts, 8 the data does\n"
    "not decide.",
    "mutransfer report runs/quickstart\n"
    "  mutransfer report --csv configs/example-sweep.csv -o runs/example",
    options,
    run,
};
