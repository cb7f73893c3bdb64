/* The verbs of the program: one file and one struct each. */
#ifndef LAUNCHER_VERBS_H
#define LAUNCHER_VERBS_H

#include <stdio.h>

#include "launcher/args.h"

enum {
    VERB_CONFIG = 1, /* takes --section.key=value */
    VERB_HIDDEN = 2, /* not in the list of verbs: started by the program */
};

/* run returns a status, which becomes the exit code; where it puts a sentence
 * into err, main prints it.  A negative or inconclusive answer that was printed
 * already leaves err empty. */
struct verb {
    const char *name;
    const char *operands; /* as in the usage line, "" for none */
    int min_operands, max_operands;
    int flags;
    const char *summary; /* one line, lower case, no full stop */
    const char *detail;  /* paragraphs for -h and the reference */
    const char *example;
    const struct option *options;
    int (*run)(const struct args *args, struct mup_error *err);
};

extern const struct verb *const verbs[]; /* in the order of help; NULL ends */
extern const struct option common_options[];

const struct verb *verb_find(const char *name);

/* The usage text of one verb. */
void verb_usage(const struct verb *verb, FILE *out);

extern const struct verb verb_agent, verb_cancel, verb_coord_check, verb_data,
    verb_doctor, verb_door, verb_drive, verb_help, verb_launch, verb_lint,
    verb_plan, verb_plot, verb_preflight, verb_report, verb_rules,
    verb_sentinel, verb_show, verb_status, verb_supervise, verb_sweep,
    verb_train, verb_transfer, verb_worker;

#endif
