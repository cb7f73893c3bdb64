/* One training run with its progress on the terminal: what train and launch
 * have in common. */
#ifndef LAUNCHER_TRAINING_H
#define LAUNCHER_TRAINING_H

#include "launcher/args.h"
#include "model/train.h"

/* Train config in dir, print the result on stdout (one JSON object where
 * --json was given; the verb has that option).  MUP_STOPPED and MUP_DIVERGED
 * carry a sentence. */
int training_run(const struct args *args, const struct run_config *config,
                 const char *dir, struct mup_error *err);

/* "trained 300 steps, 76,800 tokens in 7.2 s: loss 3.1871, ...": one line. */
void training_describe(const struct train_result *r, char *out, size_t bytes);

#endif
