/* What differs where the job that is submitted runs a sweep. */
#ifndef LAUNCHER_SUBMIT_SWEEP_H
#define LAUNCHER_SUBMIT_SWEEP_H

#include "launcher/submit.h"

/* What the job reads: DIR's sweep.yaml and base.yaml.  Refuses, before a job
 * is asked for, what the driver would refuse in it: another study than the
 * folder holds, data that cannot be read, a driver that lives. */
int submit_sweep_write(const struct submit *s, struct mup_error *err);

/* Has the folder a result for every trial that the space asks for?  A sweep
 * that has ended may have grown, and one with failed trials tries them again.
 */
int submit_sweep_is_whole(const struct submit *s);

#endif
