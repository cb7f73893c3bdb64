/* `mutransfer show checkpoint PATH`. */
#ifndef LAUNCHER_SHOW_CHECKPOINT_H
#define LAUNCHER_SHOW_CHECKPOINT_H

#include "launcher/args.h"

/* path: a checkpoint, or a run, of which the newest one is shown. */
int show_checkpoint(const struct args *args, const char *path,
                    struct mup_error *err);

#endif
