#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/run_report.h"
#include "launcher/terminal.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "plots/plot.h"
#include "sweep/report.h"
#include "sweep/report_text.h"

static const struct option options[] = {
    { "csv", 0, "FILE", "table of the runs of another trainer" },
    { "over", 0, "KEY", "what grows: a number (model.width)" },
    { "of", 0, "KEY", "what is tuned: a number (train.lr)" },
    { "by", 0, "KEY", "what forms the groups (mup.parametrization)" },
    { "output", 'o', "DIR",
      "folder for the report (the sweep's, or FILE-report of a table)" },
    OPTION_JSON,
    { 0 },
};

static const int kinds[] = { PLOT_LR, PLOT_COORD, PLOT_LOSS, PLOT_LOAD,
                             PLOT_INCIDENTS };

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

static void print_optimum(const struct axes *axes,
                          const struct transfer_optimum *o)
{
    const char *unit = axes->over.unit;
    const char *best =
        axes_are_usual(axes) ? axes_leaf(axes->of.key) : axes->of.word;

    printf("  %s%s", *unit ? "" : axes->over.word, *unit ? "" : " ");
    if (o->width == floor(o->width))
        printf("%5.0f", o->width);
    else
        printf("%5g", o->width);
    printf("%s%s  best %s 2^%.2f [%.2f, %.2f]  loss %.4f", *unit ? " " : "",
           unit, best, o->log2_lr, o->log2_lr_lo, o->log2_lr_hi, o->loss);
    if (o->diverged)
        printf("  %d diverged", o->diverged);
    if (o->edge)
        printf("  at the %s edge of the grid: widen it",
               o->edge < 0 ? "lower" : "upper");
    printf("\n");
}

static void print_transfer(const struct axes *axes, const char *name,
                           const struct transfer_report *t)
{
    const int raw = axes->by.rules && *name;
    char regret[512];

    printf("%s: %s", raw ? name : axes_group(axes, name).text,
           transfer_verdict_name(t->verdict));
    if (isfinite(t->drift))
        printf(", drift %+.2f [%+.2f, %+.2f] octaves per %s", t->drift,
               t->drift_lo, t->drift_hi, axes_doubling(axes).text);
    printf("\n");
    if (t->reason[0])
        printf("  %s\n", t->reason);
    for (int i = 0; i < t->n_widths; i++)
        print_optimum(axes, &t->optimum[i]);
    report_regret(axes, t, regret, sizeof(regret));
    printf("  %s", regret);
    if (isfinite(t->regret) && isfinite(t->regret_hi))
        printf(" [%.2f, %.2f]", 100 * t->regret_lo, 100 * t->regret_hi);
    printf("\n");
    printf("  %s is better: %s%s%s\n", axes->over.more,
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

/* What the report's numbers leave out or rest on. */
static void print_warnings(const char *dir, struct terminal *t)
{
    char path[4096];
    json_t *o, *warning;
    size_t i;

    if (path_join(dir, "report.json", path, sizeof(path), NULL) != MUP_OK)
        return;
    o = json_load_file(path, 0, NULL);
    json_array_foreach(json_object_get(o, "warnings"), i, warning)
    {
        terminal_note(t, "warning: %s", json_string_value(warning));
    }
    json_decref(o);
}

static void print_text(const char *dir, const struct report *r)
{
    char *picture = NULL;

    printf("%s\n\n", r->finding);
    for (int i = 0; i < r->n_parametrizations; i++)
        print_transfer(&r->axes, r->name[i], &r->transfer[i]);
    if (isatty(STDOUT_FILENO) &&
        plot_draw(dir, PLOT_LR, PLOT_DUMB, &picture, NULL) == MUP_OK && picture)
        printf("%s\n", picture);
    free(picture);
    printf("report: %s/report.html\n", dir);
}

static int check_operands(const struct args *args, struct mup_error *err)
{
    const char *operand = args->n_operands ? args->operands[0] : NULL;
    const char *csv = args_text(args, "csv");

    if (csv && operand)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is one operand too many beside --csv; the result "
                        "folder is named after -o",
                        operand);
    if (!csv && !operand)
        return mup_fail(err, MUP_USAGE,
                        "'report' needs a sweep's folder or a table; usage: "
                        "mutransfer report DIR | --csv FILE");
    if (!csv && path_is_csv(operand))
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a table; write 'mutransfer report --csv %s'",
                        operand, operand);
    return csv ? MUP_OK : path_expect(operand, PATH_SWEEP_DIR, err);
}

/* The folder of the results.  The sweep's own holds the report on the usual
 * axes alone: lint and transfer read it there. */
static int find_out(const struct args *args, const struct report_request *q,
                    char *out, size_t bytes, struct mup_error *err)
{
    const char *given = args_text(args, "output");
    const int usual = axes_are_usual(&q->axes);
    char axes[3 * AXES_TEXT_BYTES], table[1000] = "";
    int rc = MUP_OK, n;

    axes_folder(&q->axes, axes, sizeof(axes));
    if (!given && q->csv)
        rc = path_report_dir(q->csv, table, sizeof(table), err);
    if (rc != MUP_OK)
        return rc;
    if (given)
        n = snprintf(out, bytes, "%s", given);
    else if (q->csv)
        n = snprintf(out, bytes, "%s%s%s", table, usual ? "" : "-",
                     usual ? "" : axes);
    else
        n = snprintf(out, bytes, "%s%s%s", q->sweep, usual ? "" : "/report-",
                     usual ? "" : axes);
    if (n < 0 || (size_t)n >= bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", out);
    return given || q->csv ? path_expect_free(out, PATH_REPORT_DIR, err)
                           : MUP_OK;
}

/* out: room for the folder of the results, which the request borrows. */
static int read_request(const struct args *args, struct report_request *q,
                        char *out, size_t bytes, struct mup_error *err)
{
    const struct axes_choice choice = { args_text(args, "over"),
                                        args_text(args, "of"),
                                        args_text(args, "by") };
    int rc = check_operands(args, err);

    *q = (struct report_request){ .csv = args_text(args, "csv"), .out = out };
    if (rc != MUP_OK)
        return rc;
    q->sweep = q->csv ? NULL : args->operands[0];
    rc = q->csv ? axes_of_columns(&choice, &q->axes, err)
                : axes_of_keys(&choice, &q->axes, err);
    return rc == MUP_OK ? find_out(args, q, out, bytes, err) : rc;
}

/* Of one run: what it came to, and its incidents. */
static int report_run(const struct args *args, struct mup_error *err)
{
    static const char *const others[] = { "csv", "over", "of", "by" };
    const char *dir = args->operands[0], *out = args_text(args, "output");
    struct terminal terminal;
    int rc = MUP_OK;

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (args_given(args, others[i]))
            return mup_fail(err, MUP_USAGE,
                            "'%s' is the folder of a run, and --%s is about "
                            "sweeps; leave it out",
                            dir, others[i]);
    if (out)
        rc = path_expect_free(out, PATH_REPORT_DIR, err);
    out = out ? out : dir;
    if (rc == MUP_OK)
        rc = run_report_write(dir, out, err);
    if (rc != MUP_OK)
        return rc;
    terminal_init(&terminal, args->quiet);
    draw_all(out, &terminal);
    rc = html_write(out, err);
    if (rc != MUP_OK)
        return rc;
    print_warnings(out, &terminal);
    return args_given(args, "json") ? print_json(out, err)
                                    : run_report_print(out, err);
}

static int is_run(const struct args *args)
{
    int kind;

    return args->n_operands > 0 &&
           path_classify(args->operands[0], &kind, NULL) == MUP_OK &&
           kind == PATH_RUN_DIR;
}

static int run(const struct args *args, struct mup_error *err)
{
    struct report report = { 0 };
    struct report_request request;
    struct terminal terminal;
    char dir[1000];
    int rc;

    if (is_run(args))
        return report_run(args, err);
    rc = read_request(args, &request, dir, sizeof(dir), err);
    if (rc != MUP_OK)
        return rc;
    terminal_init(&terminal, args->quiet);
    rc = report_write_request(&request, &report, err);
    if (rc != MUP_OK && rc != MUP_INCONCLUSIVE)
        return rc;
    draw_all(dir, &terminal);
    print_warnings(dir, &terminal);
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
    "Of a run: its loss and, under SLURM, what the time went into and every\n"
    "incident in parts.  Of a sweep: reads it and the coordinate checks and\n"
    "target run beside it.  Writes report.json, report.html and plots/.\n"
    "--over, --of and --by ask\n"
    "another question than that of the learning rate over width under each\n"
    "parametrization; the answer then goes to DIR/report-OF-over-OVER, for "
    "the\n"
    "linter reads the usual one in DIR.  --csv reads the runs of another\n"
    "trainer: a table with the columns width, lr (or those named after --over\n"
    "and --of), loss (empty or nan = diverged) and, where needed, seed and\n"
    "parametrization (or --by), in any order.\n"
    "Exit code by the verdict on muP, without it on the first parametrization\n"
    "but SP, or on SP alone; of other groups on the key's default value,\n"
    "without it on the first: 0 stable, 1 the optimum drifts, 8 the data does\n"
    "not decide.",
    "mutransfer report runs/quickstart\n"
    "  mutransfer report runs/ladder-depth --over model.layers --by mup.depth\n"
    "  mutransfer report --csv configs/example-sweep.csv -o runs/example",
    options,
    run,
};
