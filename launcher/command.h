/* Another program's answer: started with a list of words (no shell), fed with a
 * text, read until it ends or its time is over. */
#ifndef LAUNCHER_COMMAND_H
#define LAUNCHER_COMMAND_H

#include "mup/mup.h"

#define COMMAND_MAX_BYTES ((size_t)256 << 20) /* of an answer */

struct command {
    const char *const *words; /* words[0] is looked for on PATH; NULL ends */
    const char *input;        /* its stdin; NULL: nothing */
    char *const *environment; /* NULL: ours */
    double timeout_s;         /* then it is killed, with what it started */
};

struct command_answer {
    int exit_code; /* 128 + number after a signal */
    int timed_out;
    char *output, *errors; /* its stdout and stderr; takes */
};

/* MUP_OK however it ends; MUP_SYSTEM if it cannot be started or says more than
 * COMMAND_MAX_BYTES.  takes: command_answer_clear. */
int command_run(const struct command *command, struct command_answer *out,
                struct mup_error *err);
void command_answer_clear(struct command_answer *a);

#endif
