#include "model/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Temporary names tried before giving up: only leftovers of a dead process
 * with our pid are in the way. */
enum { TEMPORARY_TRIES = 64 };

static int is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int file_make_dirs(const char *dir, struct mup_error *err)
{
    char path[PATH_MAX];
    size_t n = strlen(dir);

    if (n == 0)
        return mup_fail(err, MUP_USAGE, "a folder name is empty");
    if (n >= sizeof(path))
        return mup_fail(err, MUP_USAGE, "folder name of %zu bytes is too long",
                        n);
    memcpy(path, dir, n + 1);
    for (char *p = path + 1;; p++) {
        char c = *p;

        if (c != '/' && c != '\0')
            continue;
        *p = '\0';
        /* mkdir of something that exists may answer EROFS or EACCES. */
        if (mkdir(path, 0755) != 0) {
            int cause = errno;

            if (!is_dir(path))
                return mup_fail(
                    err, MUP_SYSTEM, "cannot make folder '%s': %s", path,
                    cause == EEXIST ? "a file of this name is in the way"
                                    : strerror(cause));
        }
        *p = c;
        if (c == '\0')
            return MUP_OK;
    }
}

/* ---- files that are replaced whole ------------------------------------ */

int file_replace_open(const char *path, struct file_replace *f,
                      struct mup_error *err)
{
    struct file_replace g;
    struct stat st;
    int fd = -1;

    if (path[0] == '\0')
        return mup_fail(err, MUP_USAGE, "an output file name is empty");
    if (strlen(path) >= sizeof(g.path))
        return mup_fail(err, MUP_USAGE,
                        "output file name of %zu bytes is too long, at most "
                        "%zu",
                        strlen(path), sizeof(g.path) - 1);
    /* A rename would replace /dev/null, a pipe or a device by a file. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return mup_fail(err, MUP_SYSTEM, "cannot replace '%s': it is %s", path,
                        S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    memset(&g, 0, sizeof(g));
    memcpy(g.path, path, strlen(path) + 1);
    for (int i = 0; i < TEMPORARY_TRIES && fd < 0; i++) {
        (void)snprintf(g.temporary, sizeof(g.temporary), "%s.tmp-%ld-%d", path,
                       (long)getpid(), i);
        fd = open(g.temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd < 0)
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                        strerror(errno));
    g.out = fdopen(fd, "wb");
    if (!g.out) {
        int cause = errno;

        (void)close(fd);
        (void)unlink(g.temporary);
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                        strerror(cause));
    }
    *f = g;
    return MUP_OK;
}

/* Make the rename itself durable.  Some file systems do not let a folder be
 * synced (EINVAL): the rename is atomic all the same. */
static int sync_parent(const char *path)
{
    char dir[sizeof(((struct file_replace *)0)->path)];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    int fd, rc, cause;

    if (!slash) {
        memcpy(dir, ".", 2);
    } else {
        n = n ? n : 1;
        memcpy(dir, path, n);
        dir[n] = '\0';
    }
    fd = open(dir, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -1; /* writable but not readable */
    rc = fsync(fd);
    cause = errno;
    (void)close(fd);
    errno = cause;
    return rc != 0 && cause != EINVAL && cause != ENOTSUP ? -1 : 0;
}

int file_replace_commit(struct file_replace *f, struct mup_error *err)
{
    int cause = 0, bad;

    assert(f->out);
    errno = 0;
    if (fflush(f->out) != 0 || ferror(f->out) || fsync(fileno(f->out)) != 0)
        cause = errno ? errno : EIO;
    bad = fclose(f->out);
    if (bad && !cause)
        cause = errno;
    f->out = NULL;
    if (!cause && rename(f->temporary, f->path) != 0)
        cause = errno;
    if (cause) {
        (void)unlink(f->temporary);
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s%s", f->path,
                        strerror(cause),
                        cause == ENOSPC || cause == EDQUOT
                            ? "; free some space or choose another folder"
                            : "");
    }
    if (sync_parent(f->path) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot sync the folder of '%s': %s",
                        f->path, strerror(errno));
    return MUP_OK;
}

void file_replace_abandon(struct file_replace *f)
{
    if (!f->out)
        return;
    /* The content is thrown away, so a failing close changes nothing. */
    (void)fclose(f->out);
    (void)unlink(f->temporary);
    f->out = NULL;
}

/* ---- files that only grow --------------------------------------------- */

/* Cut what stands after the last newline.  Reads backwards in blocks. */
static int cut_torn_line(int fd)
{
    char block[4096];
    off_t end = lseek(fd, 0, SEEK_END), keep = end;

    if (end < 0)
        return -1;
    while (keep > 0) {
        off_t from =
            keep > (off_t)sizeof(block) ? keep - (off_t)sizeof(block) : 0;
        ssize_t n = pread(fd, block, (size_t)(keep - from), from);

        if (n < 0 && errno == EINTR)
            continue;
        if (n != keep - from) {
            if (n >= 0)
                errno = EIO;
            return -1;
        }
        while (n > 0 && block[n - 1] != '\n')
            n--;
        keep = from + n;
        if (n > 0)
            break;
    }
    return keep == end ? 0 : ftruncate(fd, keep);
}

int file_append_open(const char *path, int repair, int *fd,
                     struct mup_error *err)
{
    int opened = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (opened < 0)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s' for appending: %s",
                        path, strerror(errno));
    if (repair && cut_torn_line(opened) != 0) {
        int cause = errno;

        (void)close(opened);
        return mup_fail(err, MUP_SYSTEM,
                        "cannot cut the torn last line of '%s': %s", path,
                        strerror(cause));
    }
    *fd = opened;
    return MUP_OK;
}

int file_append(int fd, const char *text, size_t bytes, struct mup_error *err)
{
    size_t done = 0;
    int cause;
    struct stat st;

    while (done < bytes) {
        ssize_t n = write(fd, text + done, bytes - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done == bytes)
        return MUP_OK;
    cause = errno;
    /* Take the torn piece back, so that the next line starts at a line. */
    if (done > 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)done &&
        ftruncate(fd, st.st_size - (off_t)done) != 0)
        return mup_fail(err, MUP_SYSTEM,
                        "cannot append a line of %zu bytes: %s; it stands "
                        "there torn",
                        bytes, strerror(cause));
    return mup_fail(err, MUP_SYSTEM, "cannot append a line of %zu bytes: %s",
                    bytes, strerror(cause));
}

/* ---- whole files ------------------------------------------------------ */

/* Read fd to its end, at most limit bytes, into *text (grown with realloc).
 * 0, ENOMEM, EFBIG or the errno of read. */
static int read_all(int fd, size_t first, size_t limit, char **text,
                    size_t *bytes)
{
    size_t room = first + 1, n = 0;
    char *buffer = malloc(room);

    if (!buffer)
        return ENOMEM;
    for (;;) {
        ssize_t got;

        if (n + 1 == room) {
            size_t grown = room < SIZE_MAX / 2 ? room * 2 + 4096 : SIZE_MAX;
            char *bigger = realloc(buffer, grown);

            if (!bigger) {
                free(buffer);
                return ENOMEM;
            }
            buffer = bigger;
            room = grown;
        }
        got = read(fd, buffer + n, room - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 || n + (size_t)got > limit) {
            int cause = got < 0 ? errno : EFBIG;

            free(buffer);
            return cause;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    buffer[n] = '\0';
    *text = buffer;
    *bytes = n;
    return 0;
}

int file_read(const char *path, size_t max_bytes, char **text, size_t *bytes,
              struct mup_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), cause = 0;
    struct stat st;
    size_t first;

    if (fd < 0)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", path,
                        strerror(errno));
    if (fstat(fd, &st) != 0)
        cause = errno;
    else if (S_ISDIR(st.st_mode))
        cause = EISDIR;
    else if (st.st_size > 0 && (uintmax_t)st.st_size > max_bytes)
        cause = EFBIG;
    if (!cause) {
        /* One byte more than the size sees the end without growing. */
        first = st.st_size > 0 ? (size_t)st.st_size + 1 : 4096;
        cause = read_all(fd, first, max_bytes, text, bytes);
    }
    (void)close(fd);
    if (cause == EFBIG)
        return mup_fail(err, MUP_SYSTEM,
                        "'%s' is larger than the %zu bytes allowed here", path,
                        max_bytes);
    if (cause)
        return mup_fail(err, MUP_SYSTEM, "cannot read '%s': %s", path,
                        strerror(cause));
    return MUP_OK;
}
