/* Files that are replaced whole: temporary name, fsync, rename; directories
 * made with safe modes; lines appended in one write. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "mup/mup.h"

/* dir and its parents, mode 0755 minus umask.  Fine if it exists. */
int file_make_dirs(const char *dir, struct mup_error *err);

/* A file that appears complete or not at all. */
struct file_replace {
    FILE *out;
    char path[1024];
    char temporary[1100];
};
int file_replace_open(const char *path, struct file_replace *f,
                      struct mup_error *err);
/* Flush, fsync, rename, fsync the directory; on failure the old file stays. */
int file_replace_commit(struct file_replace *f, struct mup_error *err);
void file_replace_abandon(struct file_replace *f);

/* Append text (which ends in a newline) with one write(2); a torn last line
 * left by a crash is cut off first when repair is nonzero. */
int file_append_open(const char *path, int repair, int *fd,
                     struct mup_error *err);
int file_append(int fd, const char *text, size_t bytes, struct mup_error *err);

/* The whole file, NUL-terminated, at most max_bytes; takes: caller frees. */
int file_read(const char *path, size_t max_bytes, char **text, size_t *bytes,
              struct mup_error *err);

#endif
