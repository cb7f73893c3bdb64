#include "model/fence.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/file.h"

#define FILE_MAX_BYTES 64
/* Room for numbers by hand above any that are counted. */
#define MAX_DIGITS 15

static void path_of(const char *dir, char out[1100])
{
    snprintf(out, 1100, "%s/incarnation", dir);
}

/* A number from 1 on without a sign, or 0. */
static int64_t parse(const char *text, size_t n)
{
    int64_t value = 0;

    if (n == 0 || n > MAX_DIGITS)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        value = 10 * value + (text[i] - '0');
    }
    return value;
}

static int read_path(const char *path, int64_t *out, struct mup_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    int64_t value;
    int rc;

    if (access(path, F_OK) != 0 && errno == ENOENT) {
        *out = 0;
        return MUP_OK;
    }
    rc = file_read(path, FILE_MAX_BYTES, &text, &bytes, err);
    if (rc)
        return rc;
    value = bytes && text[bytes - 1] == '\n' ? parse(text, bytes - 1) : 0;
    free(text);
    if (!value)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' does not hold the number of this run's newest "
                        "start; write a number into it that is above all in "
                        "events.jsonl",
                        path);
    *out = value;
    return MUP_OK;
}

int fence_read(const char *dir, int64_t *out, struct mup_error *err)
{
    char path[1100];

    path_of(dir, path);
    return read_path(path, out, err);
}

int fence_raise(const char *dir, int64_t incarnation, struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    int64_t newest;
    int rc;

    path_of(dir, path);
    rc = read_path(path, &newest, err);
    if (!rc && incarnation <= newest)
        rc = mup_fail(err, MUP_USAGE,
                      "incarnation %" PRId64 " is not newer than %" PRId64
                      " in '%s'; is another supervisor at work?",
                      incarnation, newest, path);
    if (!rc)
        rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    fprintf(f.out, "%" PRId64 "\n", incarnation); /* commit checks */
    return file_replace_commit(&f, err);
}

int fence_supervised(int64_t *out, struct mup_error *err)
{
    const char *text = getenv(FENCE_VARIABLE);
    int64_t value = text ? parse(text, strlen(text)) : 0;

    if (text && *text && !value)
        return mup_fail(err, MUP_USAGE,
                        FENCE_VARIABLE " is '%.40s', which is no number from 1 "
                                       "on; unset it to train by hand",
                        text);
    *out = value;
    return MUP_OK;
}

int fence_open(const char *dir, struct fence *out, struct mup_error *err)
{
    struct fence f = { .incarnation = 0 };
    int64_t newest = 0;
    int rc = fence_supervised(&f.incarnation, err);

    path_of(dir, f.path);
    if (!rc && !f.incarnation) {
        rc = read_path(f.path, &newest, err);
        if (!rc && newest) {
            f.incarnation = newest + 1;
            rc = fence_raise(dir, f.incarnation, err);
        }
    }
    if (!rc)
        *out = f;
    return rc;
}

int fence_check(const struct fence *f, struct mup_error *err)
{
    int64_t newest = 0;
    int rc = f ? read_path(f->path, &newest, err) : MUP_OK;

    if (!f || rc || newest <= f->incarnation)
        return rc;
    return mup_fail(err, MUP_DEVICE,
                    "a newer start of this run (incarnation %" PRId64
                    ") has replaced this one (%" PRId64
                    "), which ends without saving",
                    newest, f->incarnation);
}

int fence_look(struct fence *f, struct mup_error *err)
{
    struct stat st;
    int rc;

    if (!f || stat(f->path, &st) != 0)
        return MUP_OK;
    if (f->seen.inode == (uint64_t)st.st_ino &&
        f->seen.s == (int64_t)st.st_mtim.tv_sec &&
        f->seen.ns == (int64_t)st.st_mtim.tv_nsec)
        return MUP_OK;
    rc = fence_check(f, err);
    if (rc == MUP_SYSTEM)
        return MUP_OK;
    if (!rc) {
        f->seen.inode = (uint64_t)st.st_ino;
        f->seen.s = (int64_t)st.st_mtim.tv_sec;
        f->seen.ns = (int64_t)st.st_mtim.tv_nsec;
    }
    return rc;
}

int64_t fence_incarnation(const struct fence *f)
{
    return f ? f->incarnation : 0;
}
