/* A run under SLURM, as 'launch --slurm' sees it: submit or adopt, watch,
 * conclude.  local.h does the same for ranks on this machine. */
#ifndef LAUNCHER_REMOTE_H
#define LAUNCHER_REMOTE_H

#include "launcher/args.h"
#include "model/config.h"

/* The run of config in dir, of args' command.  Its status and sentence are
 * the run's own, as the journal has them; 0 where watching was ended. */
int remote_run(const struct args *args, const struct run_config *config,
               const char *dir, struct mup_error *err);

/* Print what would be asked of SLURM, what it costs and which nodes are left
 * out (remote_plan.c).  Needs no SLURM; where a controller answers, its limits
 * are checked too. */
int remote_dry_run(const struct args *args, const struct run_config *config,
                   const char *dir, struct mup_error *err);

#endif
