#include "sweep/trial_dir.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "model/file.h"
#include "sweep/sampler.h"

void trial_dir_path(const char *dir, int64_t id, char *out, size_t bytes)
{
    snprintf(out, bytes, "%s/trials/%lld", dir, (long long)id);
}

/* Commit what was written without an error, else leave the old file. */
static int settle(struct file_replace *f, int rc, struct mup_error *err)
{
    if (!rc)
        return file_replace_commit(f, err);
    file_replace_abandon(f);
    return rc;
}

static int write_config(const char *path, const struct run_config *config,
                        struct mup_error *err)
{
    struct file_replace f;
    int rc = file_replace_open(path, &f, err);

    return rc ? rc
              : settle(&f, config_dump(&run_schema, config, 0, f.out, err),
                       err);
}

int trial_dir_study(const struct space *space, const char *dir,
                    struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/base.yaml", dir);
    rc = write_config(path, &space->base, err);
    snprintf(path, sizeof(path), "%s/sweep.yaml", dir);
    if (!rc)
        rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    fprintf(f.out, "# The study of this directory, with every override.\n");
    return settle(&f, space_dump(space, "base.yaml", f.out, err), err);
}

int trial_dir_prepare(const struct space *space, const char *dir, int64_t id,
                      int64_t config, int64_t member, int64_t seed,
                      struct mup_error *err)
{
    struct space_point point;
    struct run_config run;
    char path[2048];
    int rc;

    if (!sampler_propose(space, config, NULL, 0, &point))
        return mup_fail(err, MUP_CORRUPT,
                        "trial %lld has configuration %lld, which the sweep "
                        "does not have",
                        (long long)id, (long long)config);
    rc = space_resolve(space, &point, member, seed, &run, err);
    trial_dir_path(dir, id, path, sizeof(path) - 16);
    if (!rc)
        rc = file_make_dirs(path, err);
    memcpy(path + strlen(path), "/config.yaml", 13);
    return rc ? rc : write_config(path, &run, err);
}

static int link_file(const char *dir, int64_t id, int64_t source,
                     const char *name, struct mup_error *err)
{
    char path[2048], target[64];

    snprintf(path, sizeof(path), "%s/trials/%lld/%s", dir, (long long)id, name);
    snprintf(target, sizeof(target), "../%lld/%s", (long long)source, name);
    if (symlink(target, path) && errno != EEXIST)
        return mup_fail(err, MUP_SYSTEM, "cannot link '%s' to '%s': %s", path,
                        target, strerror(errno));
    return MUP_OK;
}

int trial_dir_twin(const struct space *space, const char *dir, int64_t id,
                   int64_t source, int64_t config, int64_t member, int64_t seed,
                   struct mup_error *err)
{
    int rc = trial_dir_prepare(space, dir, id, config, member, seed, err);

    if (!rc)
        rc = link_file(dir, id, source, "metrics.jsonl", err);
    if (!rc)
        rc = link_file(dir, id, source, "events.jsonl", err);
    return rc;
}
