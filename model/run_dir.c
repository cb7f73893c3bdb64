#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/file.h"
#include "model/manifest.h"
#include "model/run.h"

struct difference {
    char text[1024];
};

/* Keeps the first difference that makes it another run: run.* and launch.*
 * may change between calls. */
static void note_difference(void *context, const char *key,
                            const struct field *field, const char *a,
                            const char *b)
{
    struct difference *d = context;

    (void)field;
    if (d->text[0] || !strncmp(key, "run.", 4) ||
        !strncmp(key, "checkpoint.", 11) || !strncmp(key, "parallel.", 9) ||
        !strncmp(key, "launch.", 7) || !strncmp(key, "drill.", 6))
        return;
    snprintf(d->text, sizeof(d->text), "%s is %s there and %s here", key, a, b);
}

int run_check_dir(const struct run_config *config, const char *dir,
                  struct mup_error *err)
{
    struct run_config old;
    struct difference d = { "" };
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    if (access(path, F_OK) != 0)
        return MUP_OK;
    rc = run_config_read(path, NULL, 0, &old, err);
    if (rc)
        return rc;
    config_diff(&run_schema, &old, config, note_difference, &d);
    if (d.text[0])
        return mup_fail(err, MUP_USAGE,
                        "'%s' holds another run: %s; choose another directory",
                        dir, d.text);
    return MUP_OK;
}

static int write_config(const struct run_config *config, const char *dir,
                        struct mup_error *err)
{
    struct file_replace f;
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    rc = file_replace_open(path, &f, err);
    if (rc)
        return rc;
    rc = config_dump(&run_schema, config, 0, f.out, err);
    if (rc) {
        file_replace_abandon(&f);
        return rc;
    }
    return file_replace_commit(&f, err);
}

/* Two processes that train in one directory would mix their files. */
static int lock_run(struct run *r, const char *dir, struct mup_error *err)
{
    char path[1100], what[1200];

    snprintf(path, sizeof(path), "%s/run.lock", dir);
    snprintf(what, sizeof(what), "the run in '%s'", dir);
    return lock_take(path, what, &r->lock, err);
}

int run_take_dir(struct run *r, struct mup_error *err)
{
    int rc;

    if (!r->is_first)
        return MUP_OK;
    rc = file_make_dirs(r->checkpoints, err);
    if (!rc)
        rc = lock_run(r, r->dir, err);
    if (!rc)
        rc = write_config(&r->trainer.config, r->dir, err);
    return rc ? rc : manifest_write(r->dir, &r->trainer, err);
}
