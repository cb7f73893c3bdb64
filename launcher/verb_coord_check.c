#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/coord_table.h"
#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/stop.h"
#include "launcher/terminal.h"
#include "launcher/verbs.h"
#include "sweep/coord_break.h"
#include "sweep/coord_check.h"
#include "sweep/coord_csv.h"

#define MAX_STEPS 64

static const struct option options[] = {
    { "widths", 0, "LIST",
      "widths to compare (base width, doubled to 128 or more, times 1,2,4)" },
    { "depths", 0, "LIST", "numbers of layers to compare, at one width" },
    { "grow", 0, "WHAT",
      "width: more heads (default); head_size: larger heads; depth: layers "
      "2,4,8,16" },
    { "steps", 0, "N", "optimizer steps (5)" },
    { "seeds", 0, "N", "seeds (3)" },
    { "break", 0, "RULE",
      "put a wrong rule in place, in a setting where it matters; 'list' names "
      "them" },
    { "csv", 0, "FILE",
      "judge what another trainer recorded: width,step,seed,name,value" },
    { "output", 'o', "DIR",
      "folder of the result (runs/<name>/coord-<parametrization>)" },
    OPTION_JSON,
    OPTION_DRY_RUN,
    { 0 },
};

struct check {
    const struct args *args;
    const char *yaml; /* NULL: --csv */
    struct run_config config;
    struct coord_options o;
    int broken;     /* by --break */
    int chose_base; /* mup.base_layers, by the smallest depth */
    char dir[1024];
    struct terminal terminal;
    struct ranks ranks; /* open where o.ranks says so */
};

static int is_first(const struct check *c)
{
    return !c->o.ranks || c->ranks.all.rank == 0;
}

static void show_progress(void *context, int done, int total)
{
    struct check *c = context;

    terminal_progress(&c->terminal, "coordinate check: run %d of %d", done,
                      total);
}

/* ---- what to compare ------------------------------------------------------
 */

/* The laws of large width show from about 128 on; below, an update is still
 * half noise.  SGD's, which are gradients, need 256. */
static void choose_sizes(const struct run_config *config,
                         struct coord_options *o)
{
    int64_t size = config->mup.base_width;

    if (o->n_sizes)
        return;
    if (o->grow == MUP_GROW_DEPTH) {
        for (int i = 1; i <= 4; i++)
            o->sizes[o->n_sizes++] = (int64_t)1 << i;
        return;
    }
    while (size < (config->train.optimizer == MUP_SGD ? 256 : 128))
        size *= 2;
    for (int i = 0; i < 3; i++)
        o->sizes[o->n_sizes++] = size << i;
}

static int parse_grow(const struct args *args, int *grow, struct mup_error *err)
{
    const char *text = args_text(args, "grow");
    int found;

    if (!text)
        return MUP_OK;
    found = mup_name_find(mup_grow_name, MUP_GROW_DEPTH + 1, text);
    if (found < 0)
        return mup_fail(err, MUP_USAGE,
                        "--grow: '%s' is none of width, head_size, depth",
                        text);
    *grow = found;
    return MUP_OK;
}

static int parse_break(const struct args *args, int *broken,
                       struct mup_error *err)
{
    const char *text = args_text(args, "break");

    *broken = MUP_BREAK_NONE;
    if (!text)
        return MUP_OK;
    *broken = mup_name_find(mup_break_name, MUP_BREAK_COUNT, text);
    if (*broken <= MUP_BREAK_NONE)
        return mup_fail(err, MUP_USAGE,
                        "--break: no wrong rule '%s'; 'mutransfer coord-check "
                        "--break list' names them",
                        text);
    return MUP_OK;
}

/* In rising order, so that a slope has a direction. */
static int check_sizes(const struct coord_options *o, struct mup_error *err)
{
    const char *option = o->grow == MUP_GROW_DEPTH ? "--depths" : "--widths";

    if (o->n_sizes < 2)
        return mup_fail(
            err, MUP_USAGE, "%s: a slope needs at least two %s, such as %s",
            option, option + 2, o->grow == MUP_GROW_DEPTH ? "2,4" : "64,128");
    for (int i = 1; i < o->n_sizes; i++)
        if (o->sizes[i] <= o->sizes[i - 1])
            return mup_fail(err, MUP_USAGE,
                            "%s: %lld does not follow %lld; list them in "
                            "rising order",
                            option, (long long)o->sizes[i],
                            (long long)o->sizes[i - 1]);
    return MUP_OK;
}

/* --widths, --depths, --grow, --steps, --seeds, --break */
static int parse_options(struct check *c, struct mup_error *err)
{
    const struct args *args = c->args;
    struct coord_options *o = &c->o;
    int depths = args_given(args, "depths"), n = 0;
    int rc = parse_break(args, &c->broken, err);

    *o = (struct coord_options){ .steps = 5, .seeds = 3 };
    if (rc != MUP_OK)
        return rc;
    o->grow = depths ? MUP_GROW_DEPTH : coord_break_setting(c->broken)->grow;
    rc = parse_grow(args, &o->grow, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "widths") && o->grow == MUP_GROW_DEPTH)
        return mup_fail(err, MUP_USAGE,
                        "--widths: depth grows here, at one width; choose it "
                        "with --model.width=N");
    if (depths && o->grow != MUP_GROW_DEPTH)
        return mup_fail(err, MUP_USAGE, "--depths: --grow says %s",
                        mup_grow_name(o->grow));
    rc = args_int_list(args, depths ? "depths" : "widths", COORD_MAX_SIZES,
                       o->sizes, &n, err);
    o->n_sizes = n;
    if (rc == MUP_OK)
        rc = args_int(args, "steps", 1, MAX_STEPS, &o->steps, err);
    if (rc == MUP_OK)
        rc = args_int(args, "seeds", 1, 64, &o->seeds, err);
    return rc;
}

/* ---- the config -----------------------------------------------------------
 */

/* A depth rule without a base takes the smallest depth for it; the config is
 * read with that, as it is refused without. */
static int load_config(struct check *c, struct mup_error *err)
{
    const struct args *args = c->args;
    int n = args->n_overrides;
    char base[64], **overrides;
    int rc = run_config_read(c->yaml, args->overrides, n, &c->config, err);

    if (rc != MUP_OK)
        return rc;
    choose_sizes(&c->config, &c->o);
    c->chose_base = c->o.grow == MUP_GROW_DEPTH && !c->config.mup.base_layers &&
                    (c->config.mup.depth || c->broken);
    overrides = calloc((size_t)n + 1, sizeof(*overrides));
    if (!overrides)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; i < n; i++)
        overrides[i] = args->overrides[i];
    snprintf(base, sizeof(base), "mup.base_layers=%lld",
             (long long)c->o.sizes[0]);
    overrides[n] = base;
    rc =
        run_config_load(c->yaml, overrides, n + c->chose_base, &c->config, err);
    free(overrides);
    return rc;
}

static int find_dir(struct check *c, struct mup_error *err)
{
    const char *given = args_text(c->args, "output");
    const char *p = mup_parametrization_name(c->config.mup.parametrization);
    int grow = c->o.grow, broken = c->config.mup.broken, n;
    char base[900];
    int rc = MUP_OK;

    if (given) {
        n = snprintf(c->dir, sizeof(c->dir), "%s", given);
    } else {
        rc = path_default_dir(c->yaml, base, sizeof(base), err);
        n = snprintf(c->dir, sizeof(c->dir), "%s/coord-%s%s%s%s%s", base, p,
                     grow ? "-" : "", grow ? mup_grow_name(grow) : "",
                     broken ? "-break-" : "",
                     broken ? mup_break_name(broken) : "");
    }
    if (rc == MUP_OK && n >= (int)sizeof(c->dir))
        rc = mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long",
                      given ? given : base);
    return rc;
}

/* Alone, whatever layout the config is made for. */
static int meet_ranks(struct check *c, struct mup_error *err)
{
    if (comm_ranks_from_environment() <= 1)
        return MUP_OK;
    c->o.ranks = &c->ranks;
    return ranks_open(&c->config, &c->ranks, err);
}

/* Everything that can be refused before anything runs. */
static int prepare(struct check *c, size_t *bytes, struct mup_error *err)
{
    int rc = path_expect(c->yaml, PATH_RUN_CONFIG, err);

    if (rc == MUP_OK)
        rc = parse_options(c, err);
    if (rc == MUP_OK)
        rc = load_config(c, err);
    if (rc == MUP_OK)
        rc = check_sizes(&c->o, err);
    if (rc == MUP_OK && c->broken) {
        rc = coord_break_apply(c->broken, &c->config, err);
        if (rc != MUP_OK)
            mup_error_prefix(err, "--break: ");
    }
    if (rc == MUP_OK)
        rc = meet_ranks(c, err);
    if (rc == MUP_OK) {
        rc = coord_check_plan(&c->config, &c->o, bytes, err);
        if (rc == MUP_USAGE)
            mup_error_prefix(
                err,
                "%s: ", c->o.grow == MUP_GROW_DEPTH ? "--depths" : "--widths");
    }
    return rc == MUP_OK ? find_dir(c, err) : rc;
}

/* ---- the answer -----------------------------------------------------------
 */

static int answer(const struct check *c, const struct coord_result *result,
                  const char *what, struct mup_error *err)
{
    const char *csv = args_given(c->args, "csv") ? "" : ", coord.csv";
    int rc;

    if (args_given(c->args, "json")) {
        rc = json_print(json_loads(result->json, 0, NULL), err);
    } else {
        rc = coord_table_print(result, c->o.grow, err);
        coord_verdict_print(result, what, &c->o);
        coord_break_print(result);
        printf("%s %s (coord.json%s)\n",
               args_given(c->args, "dry-run") ? "nothing is written into"
                                              : "results in",
               c->dir, csv);
    }
    if (rc != MUP_OK)
        return rc;
    if (result->verdict == MUP_VERDICT_FAIL)
        return MUP_NEGATIVE;
    return result->verdict == MUP_VERDICT_INCONCLUSIVE ? MUP_INCONCLUSIVE
                                                       : MUP_OK;
}

static void say_what_was_chosen(struct check *c)
{
    const struct coord_setting *s = coord_break_setting(c->broken);

    if (c->chose_base)
        terminal_note(&c->terminal,
                      "mup.base_layers is not given: the smallest depth, %lld",
                      (long long)c->config.mup.base_layers);
    for (int i = 0; c->broken && i < COORD_BREAK_KEYS && s->set[i]; i++)
        terminal_note(&c->terminal, "--break sets %s%s%s", s->set[i],
                      i ? "" : ": ", i ? "" : s->why);
}

static int check(struct check *c, struct mup_error *err)
{
    struct coord_result result = { 0 };
    struct coord_hooks hooks = { c, show_progress, stop_requested };
    int rc;

    terminal_init(&c->terminal, c->args->quiet || !is_first(c));
    if (is_first(c))
        say_what_was_chosen(c);
    stop_watch();
    rc = coord_check_run(&c->config, &c->o, c->dir, &hooks, &result, err);
    terminal_clear(&c->terminal);
    if (rc == MUP_STOPPED)
        return mup_fail(err, MUP_STOPPED,
                        "stopped; nothing of the check is kept, run the same "
                        "command again");
    if (rc != MUP_OK)
        return rc;
    /* the first rank answers; mpirun reports any code but 0 */
    if (is_first(c))
        rc = answer(c, &result,
                    mup_parametrization_name(c->config.mup.parametrization),
                    err);
    coord_result_clear(&result);
    return rc;
}

/* ---- a table of another trainer -------------------------------------------
 */

/* Options of our own runs; with a table, overrides of mup.parametrization and
 * mup.depth say how its models were made. */
static int refuse_run_options(const struct args *args, struct mup_error *err)
{
    static const char *const names[] = { "widths", "depths", "steps", "seeds",
                                         "break" };

    if (args->n_operands)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is one operand too many beside --csv; the result "
                        "folder is named after -o",
                        args->operands[0]);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (args_given(args, names[i]))
            return mup_fail(err, MUP_USAGE,
                            "--%s: with --csv the table says this", names[i]);
    for (int i = 0; i < args->n_overrides; i++)
        if (strncmp(args->overrides[i], "mup.parametrization=", 20) != 0 &&
            strncmp(args->overrides[i], "mup.depth=", 10) != 0)
            return mup_fail(err, MUP_USAGE,
                            "--%s: a table's models are made already; only "
                            "mup.parametrization and mup.depth say how",
                            args->overrides[i]);
    return MUP_OK;
}

static int names_key(const struct args *args, const char *key)
{
    size_t n = strlen(key);

    for (int i = 0; i < args->n_overrides; i++)
        if (!strncmp(args->overrides[i], key, n) &&
            args->overrides[i][n] == '=')
            return 1;
    return 0;
}

static int check_csv(struct check *c, const char *csv, struct mup_error *err)
{
    const char *given = args_text(c->args, "output");
    struct mup_coord_setup setup = { .grow = MUP_COORD_UNKNOWN,
                                     .parametrization = MUP_COORD_UNKNOWN };
    struct coord_result result = { 0 };
    size_t n = strlen(csv) - (path_is_csv(csv) ? 4 : 0);
    int rc = refuse_run_options(c->args, err);

    if (rc == MUP_OK)
        rc = parse_grow(c->args, &setup.grow, err);
    if (rc == MUP_OK)
        rc = run_config_read(NULL, c->args->overrides, c->args->n_overrides,
                             &c->config, err);
    if (rc != MUP_OK)
        return rc;
    if (names_key(c->args, "mup.parametrization"))
        setup.parametrization = c->config.mup.parametrization;
    setup.depth = c->config.mup.depth;
    if (snprintf(c->dir, sizeof(c->dir), "%.*s%s",
                 given ? (int)strlen(given) : (int)n, given ? given : csv,
                 given ? "" : "-coord") >= (int)sizeof(c->dir))
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", csv);
    rc = coord_check_csv(csv, &setup,
                         args_given(c->args, "dry-run") ? NULL : c->dir, &c->o,
                         &result, err);
    if (rc == MUP_OK) {
        rc = answer(c, &result, csv, err);
        coord_result_clear(&result);
    }
    return rc;
}

/* ---- the verb -------------------------------------------------------------
 */

static void print_breaks(void)
{
    printf("%-16s %-10s %s\n", "RULE", "grows", "what is wrong; setting");
    for (int i = MUP_BREAK_NONE + 1; i < MUP_BREAK_COUNT; i++) {
        const struct coord_setting *s = coord_break_setting(i);

        printf("%-16s %-10s %s\n", mup_break_name(i), mup_grow_name(s->grow),
               mup_break_text(i));
        printf("%-16s %-10s   %s%s", "", "", s->why, s->set[0] ? ":" : "");
        for (int k = 0; k < COORD_BREAK_KEYS && s->set[k]; k++)
            printf(" %s", s->set[k]);
        printf("\n");
    }
}

static int check_run(struct check *c, struct mup_error *err)
{
    size_t bytes;
    int rc = prepare(c, &bytes, err);

    if (rc != MUP_OK || !args_given(c->args, "dry-run"))
        return rc != MUP_OK ? rc : check(c, err);
    if (is_first(c))
        printf("would train %d %s x %lld seeds for %lld steps into %s, with at "
               "most %.0f MiB at a time\n",
               c->o.n_sizes, c->o.grow == MUP_GROW_DEPTH ? "depths" : "widths",
               (long long)c->o.seeds, (long long)c->o.steps, c->dir,
               (double)bytes / 1048576);
    return MUP_OK;
}

static int run(const struct args *args, struct mup_error *err)
{
    struct check c = { .args = args };
    const char *csv = args_text(args, "csv"),
               *broken = args_text(args, "break");
    int rc;

    if (broken && !strcmp(broken, "list")) {
        print_breaks();
        return MUP_OK;
    }
    if (csv)
        return check_csv(&c, csv, err);
    if (!args->n_operands)
        return mup_fail(err, MUP_USAGE,
                        "'coord-check' needs a run config or a table; usage: "
                        "mutransfer coord-check RUN.yaml | --csv FILE");
    c.yaml = args->operands[0];
    rc = check_run(&c, err);
    if (!c.o.ranks)
        return rc;
    /* mpirun ends all ranks when the first of them fails */
    (void)fflush(stdout);
    comm_barrier(&c.ranks.all);
    if (!is_first(&c) && rc != MUP_DEVICE && err)
        err->text[0] = '\0'; /* what all know, the first one says */
    ranks_close(&c.ranks);
    return rc;
}

const struct verb verb_coord_check = {
    "coord-check",
    "RUN.yaml | --csv FILE",
    0,
    1,
    VERB_CONFIG,
    "does any activation, update or gradient grow or shrink with size?",
    "Trains a few steps at several widths (or depths) and seeds, records\n"
    "activations, effective and propagated updates, gradients and routing, "
    "and\n"
    "judges the slope of each against the size.  Exit code 0 PASS, 1 FAIL "
    "(the\n"
    "guilty tensor is named), 8 INCONCLUSIVE.\n"
    "\n"
    "Ranks that mpirun starts share every model, as parallel.* says; the "
    "values "
    "are\n"
    "those of one rank, up to rounding, and the first one answers.\n"
    "\n"
    "--break puts a plausible wrong rule in place of a right one: the check\n"
    "must then fail and name its tensor.\n"
    "\n"
    "--csv judges what any other framework recorded: a table with the columns\n"
    "width (or depth), step (1 = before the first update), seed, name, value "
    "and,\n"
    "optionally, quantity (activation, update, gradient, router_logits, ...).\n"
    "--mup.parametrization and --mup.depth say which rules it followed.",
    "mutransfer coord-check configs/tiny.yaml --widths 32,64,128",
    options,
    run,
};
