#include "model/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX   "step-"
#define WRITING  ".writing-"
#define REMOVING ".removing-"
#define DAMAGED  "damaged-" PREFIX

void checkpoint_path(const char *dir, int64_t step,
                     char out[CHECKPOINT_PATH_BYTES])
{
    snprintf(out, CHECKPOINT_PATH_BYTES, "%s/" PREFIX "%010" PRId64, dir, step);
}

void checkpoint_writing_path(const char *dir, int64_t step, int64_t incarnation,
                             char out[CHECKPOINT_PATH_BYTES])
{
    char number[24] = "";

    if (incarnation)
        snprintf(number, sizeof(number), "%" PRId64 "-", incarnation);
    snprintf(out, CHECKPOINT_PATH_BYTES,
             "%s/" WRITING "%s" PREFIX "%010" PRId64, dir, number, step);
}

/* Whose folder under construction has this name; 0 where it does not say. */
static int64_t incarnation_of(const char *name)
{
    const char *at = name + strlen(WRITING);
    size_t digits = strspn(at, "0123456789");

    return digits && digits < 19 && at[digits] == '-' ? strtoll(at, NULL, 10)
                                                      : 0;
}

/* The step that a name of exactly this form stands for, or 0. */
static int64_t step_of(const char *name, const char *form)
{
    size_t prefix = strlen(form), digits;
    char back[64];
    int64_t step;

    if (strncmp(name, form, prefix) != 0)
        return 0;
    digits = strspn(name + prefix, "0123456789");
    if (digits < 10 || digits > 18 || name[prefix + digits])
        return 0;
    step = strtoll(name + prefix, NULL, 10);
    snprintf(back, sizeof(back), "%s%010" PRId64, form, step);
    return strcmp(name, back) == 0 ? step : 0;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x < y) - (x > y);
}

/* Steps of the folders below dir whose names begin so, newest first. */
static int list_form(const char *dir, const char *form, int64_t **steps, int *n,
                     struct mup_error *err)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    int64_t *list = malloc(sizeof(*list));
    int count = 0, ok = list != NULL;

    if (!d && errno != ENOENT) {
        free(list);
        return mup_fail(err, MUP_SYSTEM, "cannot list '%s': %s", dir,
                        strerror(errno));
    }
    while (d && ok && (entry = readdir(d))) {
        int64_t step = step_of(entry->d_name, form), *grown;

        if (!step)
            continue;
        grown = realloc(list, (size_t)(count + 2) * sizeof(*list));
        ok = grown != NULL;
        if (ok) {
            list = grown;
            list[count++] = step;
        }
    }
    if (d)
        (void)closedir(d);
    if (!ok) {
        free(list);
        return mup_fail(err, MUP_SYSTEM, "out of memory listing '%s'", dir);
    }
    qsort(list, (size_t)count, sizeof(*list), newest_first);
    *steps = list;
    *n = count;
    return MUP_OK;
}

int checkpoint_list(const char *dir, int64_t **steps, int *n,
                    struct mup_error *err)
{
    return list_form(dir, PREFIX, steps, n, err);
}

int checkpoint_newest(const char *dir, char *path, size_t bytes,
                      struct mup_error *err)
{
    char found[CHECKPOINT_PATH_BYTES] = "";
    int64_t *steps = NULL;
    int n = 0;
    int rc = checkpoint_list(dir, &steps, &n, err);

    if (rc)
        return rc;
    if (n)
        checkpoint_path(dir, steps[0], found);
    free(steps);
    snprintf(path, bytes, "%s", found);
    return MUP_OK;
}

/* --- removal --- */

/* Our folders hold plain files alone; anything else stays and is told. */
int checkpoint_remove(const char *path, struct mup_error *err)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    int cause = 0;

    if (!d && errno == ENOENT)
        return MUP_OK;
    if (!d)
        return mup_fail(err, MUP_SYSTEM, "cannot remove '%s': %s", path,
                        strerror(errno));
    while ((entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(d), entry->d_name, 0) != 0 && errno != ENOENT)
            cause = errno;
    (void)closedir(d);
    if (rmdir(path) != 0 && errno != ENOENT && !cause)
        cause = errno;
    if (cause)
        return mup_fail(err, MUP_SYSTEM, "cannot remove '%s': %s", path,
                        strerror(cause));
    return MUP_OK;
}

static void removing_path(const char *dir, int64_t step,
                          char out[CHECKPOINT_PATH_BYTES])
{
    snprintf(out, CHECKPOINT_PATH_BYTES, "%s/" REMOVING PREFIX "%010" PRId64,
             dir, step);
}

int checkpoint_unlist(const char *dir, int64_t step, struct mup_error *err)
{
    char from[CHECKPOINT_PATH_BYTES], to[CHECKPOINT_PATH_BYTES];
    int rc;

    checkpoint_path(dir, step, from);
    removing_path(dir, step, to);
    rc = checkpoint_remove(to, err);
    if (!rc && rename(from, to) != 0 && errno != ENOENT)
        rc = mup_fail(err, MUP_SYSTEM, "cannot rename '%s': %s", from,
                      strerror(errno));
    return rc;
}

int checkpoint_relist(const char *dir, int64_t step, struct mup_error *err)
{
    char from[CHECKPOINT_PATH_BYTES], to[CHECKPOINT_PATH_BYTES];

    removing_path(dir, step, from);
    checkpoint_path(dir, step, to);
    if (rename(from, to) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot rename '%s': %s", from,
                        strerror(errno));
    return MUP_OK;
}

int checkpoint_drop(const char *dir, int64_t step, struct mup_error *err)
{
    char path[CHECKPOINT_PATH_BYTES];
    int rc = checkpoint_unlist(dir, step, err);

    removing_path(dir, step, path);
    return rc ? rc : checkpoint_remove(path, err);
}

static void damaged_path(const char *dir, int64_t step,
                         char out[CHECKPOINT_PATH_BYTES])
{
    snprintf(out, CHECKPOINT_PATH_BYTES, "%s/" DAMAGED "%010" PRId64, dir,
             step);
}

int checkpoint_set_aside(const char *dir, int64_t step, struct mup_error *err)
{
    char from[CHECKPOINT_PATH_BYTES], to[CHECKPOINT_PATH_BYTES];
    int rc;

    checkpoint_path(dir, step, from);
    damaged_path(dir, step, to);
    rc = checkpoint_remove(to, err);
    if (!rc && rename(from, to) != 0)
        rc = mup_fail(err, MUP_SYSTEM, "cannot rename '%s': %s", from,
                      strerror(errno));
    return rc;
}

/* Out of its writer's hands, then away. */
static int take_away(const char *dir, const char *name, struct mup_error *err)
{
    char from[CHECKPOINT_PATH_BYTES], to[CHECKPOINT_PATH_BYTES];
    int rc;

    snprintf(from, sizeof(from), "%s/%s", dir, name);
    snprintf(to, sizeof(to), "%s/" REMOVING "%s", dir, name + 1);
    rc = checkpoint_remove(to, err);
    if (!rc && rename(from, to) != 0 && errno != ENOENT)
        rc = mup_fail(err, MUP_SYSTEM, "cannot rename '%s': %s", from,
                      strerror(errno));
    return rc ? rc : checkpoint_remove(to, err);
}

int checkpoint_sweep(const char *dir, int64_t incarnation,
                     struct mup_error *err)
{
    char path[CHECKPOINT_PATH_BYTES];
    DIR *d = opendir(dir);
    struct dirent *entry;
    int rc = MUP_OK;

    if (!d && errno == ENOENT)
        return MUP_OK;
    if (!d)
        return mup_fail(err, MUP_SYSTEM, "cannot list '%s': %s", dir,
                        strerror(errno));
    while (!rc && (entry = readdir(d))) {
        if (!strncmp(entry->d_name, REMOVING, strlen(REMOVING))) {
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
            rc = checkpoint_remove(path, err);
        } else if (!strncmp(entry->d_name, WRITING, strlen(WRITING)) &&
                   incarnation_of(entry->d_name) <= incarnation) {
            rc = take_away(dir, entry->d_name, err);
        }
    }
    (void)closedir(d);
    return rc;
}

int checkpoint_retain(const char *dir, const struct checkpoint_policy *policy,
                      const struct fence *fence, struct mup_error *err)
{
    int64_t *steps = NULL;
    int n = 0;
    int rc = checkpoint_list(dir, &steps, &n, err);

    if (rc)
        return rc;
    for (int i = n - 1; !rc && i >= 0; i--) {
        if (checkpoint_keeps(policy, steps, n, i))
            continue;
        rc = fence_check(fence, err);
        if (!rc)
            rc = checkpoint_drop(dir, steps[i], err);
    }
    free(steps);
    return rc;
}

/* --- quota --- */

/* A file that k checkpoints share is met k times. */
static double folder_bytes(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    struct stat st;
    double bytes = 0;

    while (d && (entry = readdir(d)))
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode) && st.st_nlink > 0)
            bytes += (double)st.st_size / (double)st.st_nlink;
    if (d)
        (void)closedir(d);
    return bytes;
}

int checkpoint_usage(const char *dir, double *bytes, struct mup_error *err)
{
    char path[CHECKPOINT_PATH_BYTES];
    DIR *d = opendir(dir);
    struct dirent *entry;
    double sum = 0;

    if (!d && errno != ENOENT)
        return mup_fail(err, MUP_SYSTEM, "cannot list '%s': %s", dir,
                        strerror(errno));
    while (d && (entry = readdir(d))) {
        /* nor what is being written: its size is known, not yet its files */
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        sum += folder_bytes(path);
    }
    if (d)
        (void)closedir(d);
    *bytes = sum;
    return MUP_OK;
}

/* Room that is wanted, and what is there. */
struct room {
    const char *dir;
    double bytes, used, quota;
    const struct fence *fence;
};

static int is_short(const struct room *r)
{
    return r->used + r->bytes > r->quota;
}

/* Nobody reads what was set aside but people: it goes first. */
static int clear_damaged(struct room *r, struct mup_error *err)
{
    char path[CHECKPOINT_PATH_BYTES];
    int64_t *steps = NULL;
    int n = 0;
    int rc = list_form(r->dir, DAMAGED, &steps, &n, err);

    for (int i = n - 1; !rc && i >= 0 && is_short(r); i--) {
        damaged_path(r->dir, steps[i], path);
        rc = fence_check(r->fence, err);
        if (!rc)
            rc = checkpoint_remove(path, err);
        if (!rc) /* anew: a file that others share frees nothing */
            rc = checkpoint_usage(r->dir, &r->used, err);
    }
    free(steps);
    return rc;
}

static int clear_sound(struct room *r, const struct checkpoint_policy *policy,
                       struct mup_error *err)
{
    char path[CHECKPOINT_PATH_BYTES];
    int64_t *steps = NULL;
    int n = 0;
    int rc = checkpoint_list(r->dir, &steps, &n, err);

    while (!rc && is_short(r)) {
        int i = checkpoint_spares(policy, steps, n);

        if (i < 0)
            break;
        checkpoint_path(r->dir, steps[i], path);
        /* the newest does not go in vain */
        if (i == 0 && r->used - folder_bytes(path) + r->bytes > r->quota)
            break;
        rc = fence_check(r->fence, err);
        if (!rc)
            rc = checkpoint_drop(r->dir, steps[i], err);
        memmove(steps + i, steps + i + 1, (size_t)(--n - i) * sizeof(*steps));
        if (!rc)
            rc = checkpoint_usage(r->dir, &r->used, err);
    }
    free(steps);
    return rc;
}

int checkpoint_make_room(const char *dir,
                         const struct checkpoint_policy *policy, double bytes,
                         const struct fence *fence, struct mup_error *err)
{
    struct room r = { dir, bytes, 0, policy->quota_bytes, fence };
    int rc;

    if (policy->quota_bytes <= 0)
        return MUP_OK;
    rc = checkpoint_usage(dir, &r.used, err);
    if (!rc)
        rc = clear_damaged(&r, err);
    if (!rc)
        rc = clear_sound(&r, policy, err);
    if (!rc && is_short(&r))
        rc = mup_fail(err, MUP_SYSTEM,
                      "a checkpoint of %.3g GiB beside %.3g GiB in '%s' is "
                      "more than checkpoint.quota_gib %g",
                      bytes / 1073741824, r.used / 1073741824, dir,
                      policy->quota_bytes / 1073741824);
    return rc;
}

int checkpoint_sync(const char *dir, struct mup_error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems do not let a folder be synced (EINVAL). */
    int ok = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    int cause = errno;

    if (fd >= 0)
        (void)close(fd);
    return ok ? MUP_OK
              : mup_fail(err, MUP_SYSTEM, "cannot sync '%s': %s", dir,
                         strerror(cause));
}
