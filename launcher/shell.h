/* Words as a shell reads them back. */
#ifndef LAUNCHER_SHELL_H
#define LAUNCHER_SHELL_H

#include "mup/mup.h"

/* The words with blanks between them, in quotes where they have to be; NULL
 * ends them.  takes: free(*out). */
int shell_join(const char *const *words, char **out, struct mup_error *err);

#endif
