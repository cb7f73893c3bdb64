#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/stop.h"
#include "launcher/terminal.h"
#include "launcher/verbs.h"
#include "sweep/coord_check.h"

#define MAX_STEPS  64
#define MAX_GROUPS 256

static const struct option options[] = {
    { "widths", 0, "LIST",
      "widths to compare (base width, doubled to 128 or more, times 1,2,4)" },
    { "steps", 0, "N", "optimizer steps (5)" },
    { "seeds", 0, "N", "seeds (3)" },
    { "output", 'o', "DIR",
      "folder of the result (runs/<name>/coord-<parametrization>)" },
    OPTION_JSON,
    OPTION_DRY_RUN,
    { 0 },
};

/* A quantity over all layers: the row that decides, per step. */
struct group {
    char name[96];                                  /* "blocks.*.attn.out" */
    const struct mup_coord_row *row[MAX_STEPS + 2]; /* by step, or NULL */
    int verdict;
};

struct check {
    struct terminal terminal;
    int steps;
};

static void show_progress(void *context, int done, int total)
{
    struct check *c = context;

    terminal_progress(&c->terminal, "coordinate check: run %d of %d", done,
                      total);
}

/* "blocks.12.attn.out" -> "blocks.*.attn.out". */
static void group_name(const char *name, char *out, size_t bytes)
{
    const char *p = strstr(name, "blocks.");
    const char *digits = p ? p + strlen("blocks.") : NULL;

    if (!digits || !isdigit((unsigned char)*digits)) {
        snprintf(out, bytes, "%s", name);
        return;
    }
    snprintf(out, bytes, "%.*s*%s", (int)(digits - name), name,
             digits + strspn(digits, "0123456789"));
}

/* FAIL > inconclusive > expected > ok. */
static int severity(int verdict)
{
    switch (verdict) {
    case MUP_VERDICT_FAIL:
        return 3;
    case MUP_VERDICT_INCONCLUSIVE:
        return 2;
    case MUP_VERDICT_EXPECTED:
        return 1;
    default:
        return 0;
    }
}

static int worse(const struct mup_coord_row *a, const struct mup_coord_row *b)
{
    if (severity(a->verdict) != severity(b->verdict))
        return severity(a->verdict) > severity(b->verdict);
    return fabs(a->slope - a->expected) > fabs(b->slope - b->expected);
}

static int collect(const struct coord_result *result, struct group *groups)
{
    int n = 0;

    for (int i = 0; i < result->n_rows; i++) {
        const struct mup_coord_row *row = &result->rows[i];
        struct group *g = NULL;
        char name[96];

        if (row->step < 1 || row->step > MAX_STEPS + 1)
            continue;
        group_name(row->name, name, sizeof(name));
        for (int k = 0; k < n && !g; k++)
            if (!strcmp(groups[k].name, name))
                g = &groups[k];
        if (!g && n == MAX_GROUPS)
            continue;
        if (!g) {
            g = &groups[n++];
            snprintf(g->name, sizeof(g->name), "%s", name);
        }
        if (!g->row[row->step] || worse(row, g->row[row->step]))
            g->row[row->step] = row;
        if (severity(row->verdict) > severity(g->verdict))
            g->verdict = row->verdict;
    }
    return n;
}

static void print_group(const struct group *g, int steps)
{
    const struct mup_coord_row *worst = NULL;

    printf("%-30s", g->name);
    for (int s = 1; s <= steps + 1; s++) {
        if (g->row[s])
            printf(" %+6.2f", g->row[s]->slope);
        else
            printf("      -");
        if (g->row[s] && (!worst || worse(g->row[s], worst)))
            worst = g->row[s];
    }
    printf("  %s\n", mup_verdict_name(g->verdict));
    if (worst && worst->verdict == MUP_VERDICT_FAIL)
        printf("    %s at t=%d: slope %+.2f, expected %+.2f%s%s\n", worst->name,
               worst->step, worst->slope, worst->expected,
               worst->cause && *worst->cause ? "; " : "",
               worst->cause ? worst->cause : "");
}

static const char *overall_name(int verdict)
{
    if (verdict == MUP_VERDICT_FAIL)
        return "FAIL";
    return verdict == MUP_VERDICT_INCONCLUSIVE ? "INCONCLUSIVE" : "PASS";
}

static int print_table(const struct coord_result *result, int steps,
                       struct mup_error *err)
{
    struct group *groups = calloc(MAX_GROUPS, sizeof(*groups));
    int n;

    if (!groups)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    n = collect(result, groups);
    printf("slope of log2(size) against log2(width); t=1 is initialisation; of "
           "several layers the worst\n%-30s",
           "quantity");
    for (int s = 1; s <= steps + 1; s++)
        printf("   t=%-2d", s);
    printf("  verdict\n");
    for (int i = 0; i < n; i++)
        print_group(&groups[i], steps);
    free(groups);
    return MUP_OK;
}

static void print_verdict(const struct coord_result *result,
                          const struct run_config *config,
                          const struct coord_options *o)
{
    printf("%s  %s, widths", overall_name(result->verdict),
           mup_parametrization_name(config->mup.parametrization));
    for (int i = 0; i < o->n_widths; i++)
        printf("%s%lld", i ? "," : " ", (long long)o->widths[i]);
    printf(", %lld seeds", (long long)o->seeds);
    if (result->worst >= 0 && result->worst < result->n_rows) {
        const struct mup_coord_row *w = &result->rows[result->worst];

        printf("; worst %s at t=%d, slope %+.2f", w->name, w->step, w->slope);
        if (w->verdict == MUP_VERDICT_FAIL && w->cause && *w->cause)
            printf(": %s", w->cause);
    }
    printf("\n");
}

static int answer(const struct args *args, const struct run_config *config,
                  const struct coord_options *o,
                  const struct coord_result *result, const char *dir,
                  struct mup_error *err)
{
    char path[1100];
    int rc = path_join(dir, "coord.json", path, sizeof(path), err);

    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json")) {
        json_t *o_json = json_load_file(path, 0, NULL);

        if (!o_json)
            return mup_fail(err, MUP_CORRUPT, "'%s' is not JSON", path);
        rc = json_print(o_json, err);
    } else {
        rc = print_table(result, (int)o->steps, err);
        print_verdict(result, config, o);
        printf("results in %s (coord.json, coord.csv)\n", dir);
    }
    if (rc != MUP_OK)
        return rc;
    if (result->verdict == MUP_VERDICT_FAIL)
        return MUP_NEGATIVE;
    return result->verdict == MUP_VERDICT_INCONCLUSIVE ? MUP_INCONCLUSIVE
                                                       : MUP_OK;
}

/* The laws of large width show from about 128 on; below, an update is still
 * half noise. */
static void choose_widths(const struct run_config *config,
                          struct coord_options *o)
{
    int64_t width = config->mup.base_width;

    while (width < 128)
        width *= 2;
    for (int i = 0; i < 3; i++)
        o->widths[o->n_widths++] = width << i;
}

static int parse_options(const struct args *args,
                         const struct run_config *config,
                         struct coord_options *o, struct mup_error *err)
{
    int rc;

    *o = (struct coord_options){ .steps = 5, .seeds = 3 };
    rc = args_int_list(args, "widths", 16, o->widths, &o->n_widths, err);
    if (rc == MUP_OK)
        rc = args_int(args, "steps", 1, MAX_STEPS, &o->steps, err);
    if (rc == MUP_OK)
        rc = args_int(args, "seeds", 1, 64, &o->seeds, err);
    if (rc != MUP_OK)
        return rc;
    if (o->n_widths == 0)
        choose_widths(config, o);
    if (o->n_widths < 2)
        return mup_fail(err, MUP_USAGE,
                        "--widths: a slope needs at least two widths, such as "
                        "%lld,%lld",
                        (long long)o->widths[0], (long long)o->widths[0] * 2);
    for (int i = 1; i < o->n_widths; i++)
        if (o->widths[i] <= o->widths[i - 1])
            return mup_fail(err, MUP_USAGE,
                            "--widths: %lld does not follow %lld; list them "
                            "in rising order",
                            (long long)o->widths[i],
                            (long long)o->widths[i - 1]);
    for (int i = 0; i < o->n_widths; i++) {
        struct run_config at = *config;

        at.model.width = o->widths[i];
        rc = run_config_check(&at, err);
        if (rc != MUP_OK) {
            mup_error_prefix(err, "--widths: ");
            return rc;
        }
    }
    return MUP_OK;
}

static int check(const struct args *args, const struct run_config *config,
                 const struct coord_options *o, const char *dir,
                 struct mup_error *err)
{
    struct coord_result result = { 0 };
    struct check context = { .steps = (int)o->steps };
    struct coord_hooks hooks = { &context, show_progress, stop_requested };
    int rc;

    terminal_init(&context.terminal, args->quiet);
    stop_watch();
    rc = coord_check_run(config, o, dir, &hooks, &result, err);
    terminal_clear(&context.terminal);
    if (rc == MUP_STOPPED)
        return mup_fail(err, MUP_STOPPED,
                        "stopped; nothing of the check is kept, run the same "
                        "command again");
    if (rc != MUP_OK)
        return rc;
    rc = answer(args, config, o, &result, dir, err);
    coord_result_clear(&result);
    return rc;
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *yaml = args->operands[0], *dir = args_text(args, "output");
    struct coord_options o;
    struct run_config config;
    char base[900], own_dir[1024];
    int rc = path_expect(yaml, PATH_RUN_CONFIG, err);

    if (rc == MUP_OK)
        rc = run_config_load(yaml, args->overrides, args->n_overrides, &config,
                             err);
    if (rc == MUP_OK)
        rc = parse_options(args, &config, &o, err);
    if (rc == MUP_OK && !dir) {
        rc = path_default_dir(yaml, base, sizeof(base), err);
        snprintf(own_dir, sizeof(own_dir), "%s/coord-%s", base,
                 mup_parametrization_name(config.mup.parametrization));
        dir = own_dir;
    }
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "dry-run")) {
        printf("would train %d widths x %lld seeds for %lld steps into %s\n",
               o.n_widths, (long long)o.seeds, (long long)o.steps, dir);
        return MUP_OK;
    }
    return check(args, &config, &o, dir, err);
}

const struct verb verb_coord_check = {
    "coord-check",
    "RUN.yaml",
    1,
    1,
    VERB_CONFIG,
    "does any activation or update grow or shrink with width?",
    "Trains a few steps at several widths and seeds, records activations and\n"
    "updates and judges the slope of each against width.  Exit code 0 PASS,\n"
    "1 FAIL (the guilty tensor is named), 8 INCONCLUSIVE.",
    "mutransfer coord-check configs/tiny.yaml --widths 32,64,128",
    options,
    run,
};
