#include "launcher/args.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/field.h"
#include "launcher/verbs.h"

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

int edit_distance(const char *a, const char *b)
{
    int row[3][64]; /* before last, last, this */
    int n = smaller((int)strlen(a), 63), m = smaller((int)strlen(b), 63);

    for (int j = 0; j <= m; j++)
        row[0][j] = row[1][j] = j;
    for (int i = 1; i <= n; i++) {
        int *before = row[(i + 1) % 3], *last = row[(i + 2) % 3];
        int *now = row[i % 3];

        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int change = last[j - 1] + (a[i - 1] != b[j - 1]);

            now[j] = smaller(change, smaller(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
    }
    return row[n % 3][m];
}

static int option_index(const struct verb *verb, const char *name)
{
    for (int i = 0; verb->options && verb->options[i].name; i++)
        if (!strcmp(verb->options[i].name, name))
            return i;
    return -1;
}

/* Every option that the verb knows, its own first. */
static const struct option *option_at(const struct verb *verb, int i)
{
    int n = 0;

    while (verb->options && verb->options[n].name)
        n++;
    return i < n ? &verb->options[i] : &common_options[i - n];
}

static int unknown_option(const struct verb *verb, const char *name, size_t len,
                          struct mup_error *err)
{
    const struct option *best = NULL;
    int distance = 4;
    char text[64];

    snprintf(text, sizeof(text), "%.*s", (int)len, name);
    for (int i = 0; option_at(verb, i)->name; i++) {
        int d = edit_distance(text, option_at(verb, i)->name);

        if (d < distance && d < (int)strlen(text)) {
            distance = d;
            best = option_at(verb, i);
        }
    }
    if (best)
        return mup_fail(err, MUP_USAGE,
                        "unknown option '--%s'; did you mean '--%s'?", text,
                        best->name);
    return mup_fail(err, MUP_USAGE,
                    "unknown option '--%s'; 'mutransfer %s -h' lists them%s",
                    text, verb->name,
                    verb->flags & VERB_CONFIG
                        ? " (a config key is written --section.key=value)"
                        : "");
}

/* Note that option was given, with its argument or "". */
static void store(struct args *args, const struct option *option,
                  const char *value)
{
    int i = option_index(args->verb, option->name);

    if (i >= 0)
        args->value[i] = value;
    else if (option->letter == 'h')
        args->help = 1;
    else if (option->letter == 'v')
        args->verbose = 1;
    else
        args->quiet = 1;
}

/* The argument of an option: after '=', or the next word. */
static int take_value(const struct option *option, const char *attached,
                      int argc, char **argv, int *i, const char **value,
                      struct mup_error *err)
{
    if (!option->value) {
        if (attached)
            return mup_fail(err, MUP_USAGE, "option '--%s' takes no argument",
                            option->name);
        *value = "";
        return MUP_OK;
    }
    if (!attached && option->value[0] == '[') {
        *value = "";
        return MUP_OK;
    }
    if (attached) {
        *value = attached;
    } else {
        if (*i + 1 >= argc)
            return mup_fail(err, MUP_USAGE,
                            "option '--%s' needs an argument: --%s %s",
                            option->name, option->name, option->value);
        *value = argv[++*i];
    }
    if (!**value)
        return mup_fail(err, MUP_USAGE, "option '--%s' has an empty argument",
                        option->name);
    return MUP_OK;
}

static int parse_long(struct args *args, int argc, char **argv, int *i,
                      struct mup_error *err)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '='), *value = "";
    size_t len = equals ? (size_t)(equals - name) : strlen(name);

    if (memchr(name, '.', len)) {
        if (!(args->verb->flags & VERB_CONFIG))
            return mup_fail(err, MUP_USAGE,
                            "'%s' takes no config overrides such as '%s'",
                            args->verb->name, argv[*i]);
        if (!equals)
            return mup_fail(err, MUP_USAGE, "'%s' has no value; write %s=VALUE",
                            argv[*i], argv[*i]);
        args->overrides[args->n_overrides++] = argv[*i] + 2;
        return MUP_OK;
    }
    for (int k = 0; option_at(args->verb, k)->name; k++) {
        const struct option *option = option_at(args->verb, k);
        int rc;

        if (strlen(option->name) != len || memcmp(option->name, name, len) != 0)
            continue;
        rc = take_value(option, equals ? equals + 1 : NULL, argc, argv, i,
                        &value, err);
        if (rc == MUP_OK)
            store(args, option, value);
        return rc;
    }
    return unknown_option(args->verb, name, len, err);
}

/* "-n", "-j4", "-j 4", "-qn". */
static int parse_short(struct args *args, int argc, char **argv, int *i,
                       struct mup_error *err)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct option *option = NULL;
        const char *value = "";
        int rc;

        for (int k = 0; option_at(args->verb, k)->name && !option; k++)
            if (option_at(args->verb, k)->letter == *p)
                option = option_at(args->verb, k);
        if (!option)
            return mup_fail(err, MUP_USAGE,
                            "unknown option '-%c'; 'mutransfer %s -h' lists "
                            "them",
                            *p, args->verb->name);
        rc = take_value(option, option->value && p[1] ? p + 1 : NULL, argc,
                        argv, i, &value, err);
        if (rc != MUP_OK)
            return rc;
        store(args, option, value);
        if (option->value)
            break;
    }
    return MUP_OK;
}

static int check_operands(const struct args *args, struct mup_error *err)
{
    const struct verb *verb = args->verb;

    if (args->help)
        return MUP_OK;
    if (args->n_operands < verb->min_operands)
        return mup_fail(err, MUP_USAGE,
                        "'%s' needs %s %s; usage: mutransfer %s %s", verb->name,
                        args->n_operands ? "more than" : "an operand:",
                        args->n_operands ? args->operands[args->n_operands - 1]
                                         : verb->operands,
                        verb->name, verb->operands);
    if (args->n_operands > verb->max_operands)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is one operand too many; usage: mutransfer %s %s",
                        args->operands[verb->max_operands], verb->name,
                        verb->operands);
    return MUP_OK;
}

int args_parse(const struct verb *verb, int argc, char **argv, struct args *out,
               struct mup_error *err)
{
    struct args args = { .verb = verb };
    int rc = MUP_OK, options = 1;

    args.operands = calloc((size_t)argc + 1, sizeof(*args.operands));
    args.overrides = calloc((size_t)argc + 1, sizeof(*args.overrides));
    if (!args.operands || !args.overrides) {
        args_clear(&args);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    for (int i = 0; i < argc && rc == MUP_OK; i++) {
        if (options && !strcmp(argv[i], "--"))
            options = 0;
        else if (options && !strncmp(argv[i], "--", 2))
            rc = parse_long(&args, argc, argv, &i, err);
        else if (options && argv[i][0] == '-' && argv[i][1])
            rc = parse_short(&args, argc, argv, &i, err);
        else
            args.operands[args.n_operands++] = argv[i];
    }
    if (rc == MUP_OK)
        rc = check_operands(&args, err);
    if (rc != MUP_OK) {
        args_clear(&args);
        return rc;
    }
    *out = args;
    return MUP_OK;
}

void args_clear(struct args *args)
{
    free(args->operands);
    free(args->overrides);
    *args = (struct args){ 0 };
}

const char *args_text(const struct args *args, const char *name)
{
    int i = option_index(args->verb, name);

    assert(i >= 0 && i < ARGS_MAX_OPTIONS);
    return args->value[i];
}

int args_given(const struct args *args, const char *name)
{
    return args_text(args, name) != NULL;
}

int args_int(const struct args *args, const char *name, int64_t min,
             int64_t max, int64_t *out, struct mup_error *err)
{
    const char *text = args_text(args, name);
    int64_t n;
    int rc;

    if (!text)
        return MUP_OK;
    rc = parse_int(text, &n, err);
    if (rc != MUP_OK) {
        mup_error_prefix(err, "--%s: ", name);
        return rc;
    }
    if (n < min || n > max)
        return mup_fail(err, MUP_USAGE, "--%s: %lld is outside [%lld,%lld]",
                        name, (long long)n, (long long)min, (long long)max);
    *out = n;
    return MUP_OK;
}

int args_int_list(const struct args *args, const char *name, int max,
                  int64_t *out, int *n, struct mup_error *err)
{
    const char *text = args_text(args, name);
    char word[32];
    int count = 0;

    while (text) {
        size_t len = strcspn(text, ",");
        int rc;

        if (count == max)
            return mup_fail(err, MUP_USAGE, "--%s: more than %d numbers", name,
                            max);
        if (len >= sizeof(word))
            return mup_fail(err, MUP_USAGE, "--%s: '%.20s...' is no number",
                            name, text);
        snprintf(word, sizeof(word), "%.*s", (int)len, text);
        rc = parse_int(word, &out[count], err);
        if (rc != MUP_OK) {
            mup_error_prefix(err, "--%s: ", name);
            return rc;
        }
        if (out[count] < 1)
            return mup_fail(err, MUP_USAGE, "--%s: %s is below 1", name, word);
        count++;
        text = text[len] ? text + len + 1 : NULL;
    }
    *n = count;
    return MUP_OK;
}
