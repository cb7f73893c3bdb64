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

#endif
