#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "launcher/findings.h"
#include "launcher/verbs.h"
#include "model/config.h"
#include "sweep/space.h"

static const struct {
    int status;
    const char *text;
} exit_codes[] = {
    { MUP_OK, "done; the check passes, the optimum is stable" },
    { MUP_NEGATIVE, "the answer is no: a check failed, the optimum drifts, a "
                    "config was refused" },
    { MUP_USAGE, "the command line or a config is wrong" },
    { MUP_SYSTEM, "a file, memory or the disk" },
    { MUP_DEVICE, "a device or the network" },
    { MUP_CORRUPT, "damaged data" },
    { MUP_DIVERGED, "the loss diverged" },
    { MUP_STOPPED, "stopped on request, state saved; the same command "
                   "continues" },
    { MUP_INCONCLUSIVE, "the data does not decide" },
};

#define N_EXIT_CODES (sizeof(exit_codes) / sizeof(exit_codes[0]))

static void print_overview(void)
{
    printf("mutransfer tunes hyperparameters on narrow proxies and carries "
           "them,\nunchanged, to the full-width model.\n\n"
           "usage: mutransfer VERB [options] ...\n\n");
    for (int i = 0; verbs[i]; i++)
        if (!(verbs[i]->flags & VERB_HIDDEN))
            printf("  %-12s %s\n", verbs[i]->name, verbs[i]->summary);
    printf("\n'mutransfer VERB -h' describes a verb; 'mutransfer help config' "
           "lists the\nconfig keys, 'mutransfer help rule' the rules of the "
           "linter, 'mutransfer help\nexit-codes' the exit codes.\n");
}

static void print_exit_codes(void)
{
    for (size_t i = 0; i < N_EXIT_CODES; i++)
        printf("  %d  %s\n", exit_codes[i].status, exit_codes[i].text);
}

static void print_config(void)
{
    printf("# Config reference\n\n"
           "Written by `mutransfer help config`; do not edit. Numbers may be "
           "written as `1e-3`,\n`2^-9`, `2**-9` or `1_000`. The role says what "
           "happens between proxy and target:\n`transfer` keys are carried "
           "unchanged, `fixed` keys must be equal, `scale` keys may\ndiffer, "
           "`run` keys have no influence on transfer. Every key can be set on "
           "the\ncommand line as `--section.key=value`.\n\n");
    config_reference(&run_schema, stdout);
    printf("\n# Sweep files\n\nThe scalars of a sweep file; `parameters`, "
           "`groups`, `seeds`, `metric` and\n`enqueue` are described in "
           "formats.md. On the command line they are\n`--sweep.key=value`.\n"
           "\n");
    config_reference(&sweep_schema, stdout);
}

static void print_cli(void)
{
    printf("# Command line reference\n\nWritten by `mutransfer help "
           "cli-reference`; do not edit.\n\n"
           "Answers go to stdout, progress and messages to stderr. Ctrl-C and "
           "SIGTERM save\nthe state; the same command continues.\n");
    for (int i = 0; verbs[i]; i++) {
        printf(
            "\n## mutransfer %s\n\n%s%s.\n\n```\n", verbs[i]->name,
            (char[]){ (char)toupper((unsigned char)verbs[i]->summary[0]), 0 },
            verbs[i]->summary + 1);
        verb_usage(verbs[i], stdout);
        printf("```\n");
    }
    printf("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (size_t i = 0; i < N_EXIT_CODES; i++)
        printf("| %d | %s |\n", exit_codes[i].status, exit_codes[i].text);
}

/* Text for roff: a leading dot or quote would be a request, and a dash is a
 * hyphen unless escaped. */
static void print_roff(const char *text)
{
    int start = 1;

    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\''))
            printf("\\&");
        if (*text == '\\')
            printf("\\e");
        else if (*text == '-')
            printf("\\-");
        else
            putchar(*text);
        start = *text == '\n';
    }
    printf("\n");
}

static void print_man(void)
{
    printf(".TH MUTRANSFER 1 \"\" \"mutransfer %s\" \"User Commands\"\n"
           ".SH NAME\nmutransfer \\- hyperparameters tuned narrow, used wide\n"
           ".SH SYNOPSIS\n.B mutransfer\n.I VERB\n[options] ...\n.SH VERBS\n",
           MUTRANSFER_VERSION);
    for (int i = 0; verbs[i]; i++) {
        if (verbs[i]->flags & VERB_HIDDEN)
            continue;
        printf(".TP\n.B ");
        print_roff(verbs[i]->name);
        print_roff(verbs[i]->summary);
    }
    printf(".SH EXIT STATUS\n");
    for (size_t i = 0; i < N_EXIT_CODES; i++) {
        printf(".TP\n.B %d\n", exit_codes[i].status);
        print_roff(exit_codes[i].text);
    }
    printf(".SH SEE ALSO\n");
    print_roff("'mutransfer VERB -h' describes a verb, 'mutransfer help "
               "config' the config keys.");
}

static int print_rule(const struct args *args, struct mup_error *err)
{
    const struct lint_rule *rule;

    if (args->n_operands == 1) {
        findings_print_rules();
        return MUP_OK;
    }
    rule = lint_rule_find(args->operands[1]);
    if (!rule)
        return mup_fail(err, MUP_USAGE,
                        "there is no rule '%s'; the nearest is '%s', "
                        "'mutransfer help rule' lists all",
                        args->operands[1],
                        lint_rule_nearest(args->operands[1])->id);
    findings_print_rule(rule);
    return MUP_OK;
}

static int run(const struct args *args, struct mup_error *err)
{
    const struct verb *verb;
    const char *topic;

    if (args->n_operands == 0) {
        print_overview();
        return MUP_OK;
    }
    topic = args->operands[0];
    if (!strcmp(topic, "rule"))
        return print_rule(args, err);
    if (args->n_operands > 1)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is one operand too many: help takes one topic",
                        args->operands[1]);
    verb = verb_find(topic);
    if (verb)
        verb_usage(verb, stdout);
    else if (!strcmp(topic, "config"))
        print_config();
    else if (!strcmp(topic, "cli-reference"))
        print_cli();
    else if (!strcmp(topic, "rules-reference"))
        findings_print_reference();
    else if (!strcmp(topic, "man"))
        print_man();
    else if (!strcmp(topic, "exit-codes"))
        print_exit_codes();
    else
        return mup_fail(err, MUP_USAGE,
                        "no help on '%s'; it is a verb, config, rule, "
                        "exit-codes, cli-reference, rules-reference or man",
                        topic);
    return MUP_OK;
}

const struct verb verb_help = {
    "help",
    "[VERB|config|rule [ID]|exit-codes]",
    0,
    2,
    0,
    "this list, a verb, the config keys, a rule, the exit codes",
    "Prints the list of verbs, the help of one, the rules of the linter or "
    "the\n"
    "page of one, or a reference.",
    "mutransfer help rule M012",
    NULL,
    run,
};
