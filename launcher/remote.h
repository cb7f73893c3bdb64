/* A run under SLURM, as 'launch --slurm' sees it: submit or adopt, watch,
 * conclude.  local.h does the same for ranks on this machine. */
#ifndef LAUNCHER_REMOTE_H
#define LAUNCHER_REMOTE_H

#include "launcher/args.h"
#include "sweep/space.h"

/* The run of config in dir, of args' command.  Its status and sentence are
 * the run's own, as the journal has them; 0 where watching was ended. */
int remote_run(const struct args *args, const struct run_config *config,
               const char *dir, struct mup_error *err);

/* The same for a sweep (remote_sweep.c). */
int remote_sweep(const struct args *args, const struct space *space,
                 const char *dir, struct mup_error *err);

/* Print what would be asked of SLURM, what it costs and which nodes are left
 * out (remote_plan.c).  Needs no SLURM; where a controller answers, its limits
 * are checked too. */
int remote_dry_run(const struct args *args, const struct run_config *config,
                   const char *dir, struct mup_error *err);
/* The same for a sweep, whose plan has been printed already. */
int remote_dry_run_sweep(const struct args *args, const struct space *space,
                         const char *dir, struct mup_error *err);

struct submit;

/* Submit or adopt, then watch: *ended says that the journal's "ended" is there
 * and shall be told; else there is nothing to add. */
int remote_watch(struct submit *s, int *ended, struct mup_error *err);

#endif
