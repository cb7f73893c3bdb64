/* A run of several ranks on this machine: mpirun starts them, this process
 * watches them. */
#ifndef LAUNCHER_LOCAL_H
#define LAUNCHER_LOCAL_H

#include "launcher/args.h"
#include "model/config.h"

/* `mutransfer train` of args' config on config->launch.local ranks, in dir.
 * The answer of rank 0 goes to stdout as that of a single rank does; what any
 * rank prints goes to dir/log.  Status and sentence are those of a single
 * rank, and MUP_DEVICE names a rank that died or hung.  No rank is left when
 * it returns. */
int local_run(const struct args *args, const struct run_config *config,
              const char *dir, struct mup_error *err);

/* The command line of mpirun for it, as one would type it; the caller frees
 * *out. */
int local_command(const struct args *args, const struct run_config *config,
                  const char *dir, char **out, struct mup_error *err);

#endif
