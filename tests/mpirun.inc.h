/* Starting ranks from a test, by a shell command of our own making. */
#ifndef TESTS_MPIRUN_INC_H
#define TESTS_MPIRUN_INC_H

#include <stdlib.h>

/* Followed by the program; the number of ranks is to be printed in.  More
 * ranks than cores, as root too; Open MPI leaks. */
#define MPIRUN(seconds)                                                        \
    "ASAN_OPTIONS=detect_leaks=0 OMPI_ALLOW_RUN_AS_ROOT=1 "                    \
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout " #seconds                       \
    " mpirun --oversubscribe -np %d "

static inline int has_mpirun(void)
{
    return system("command -v mpirun >/dev/null 2>&1") == 0;
}

#endif
