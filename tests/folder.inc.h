/* Folders that a test makes and removes.  Included by tests that define
 * _GNU_SOURCE or the like for mkdtemp. */
#ifndef TESTS_FOLDER_INC_H
#define TESTS_FOLDER_INC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* path: 64 bytes. */
static inline char *new_dir(char *path)
{
    snprintf(path, 64, "/tmp/mutransfer-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void run_command(const char *const argv[])
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Delete a directory tree of our own making. */
static inline void remove_tree(const char *path)
{
    run_command((const char *[]){ "rm", "-rf", "--", path, NULL });
}

#endif
