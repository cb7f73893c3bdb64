/* Proxy against target, key by key: what transfers, what is scaled by rule,
 * what must not differ. */
#ifndef LAUNCHER_ROLES_H
#define LAUNCHER_ROLES_H

#include "model/config.h"

/* Nonzero where key was given in the file or on the command line. */
int roles_given(const struct run_config *config, const char *key);

/* Rank of a proxy below the sizes at which transfer was validated (Tensor
 * Programs V, appendix D; Yang et al. 2021): the number of warnings, each
 * passed to warn.  warn may be NULL. */
typedef void roles_warn(void *context, const char *sentence);
int roles_toy(const struct run_config *proxy, roles_warn *warn, void *context);

#endif
