#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/clock.h"
#include "model/file.h"
#include "model/manifest.h"
#include "model/node.h"
#include "model/run.h"

/* How long ranks of an earlier start may take to end: those that were killed
 * are gone at once, those that are cut off have recover.lease_s. */
#define LOCK_WAIT_S 5.0

struct difference {
    char text[1024];
};

/* Keeps the first difference that makes it another run; how it is run may
 * change between calls. */
static void note_difference(void *context, const char *key,
                            const struct field *field, const char *a,
                            const char *b)
{
    struct difference *d = context;

    (void)field;
    if (d->text[0] || !strncmp(key, "run.", 4) ||
        !strncmp(key, "checkpoint.", 11) || !strncmp(key, "parallel.", 9) ||
        !strncmp(key, "launch.", 7) || !strncmp(key, "slurm.", 6) ||
        !strncmp(key, "recover.", 8) || !strncmp(key, "drill.", 6))
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

/* Is the holder of the lock a process of another host?  Its name, then. */
static int is_elsewhere(const char *path, char holder[NODE_NAME_BYTES + 1])
{
    char here[NODE_NAME_BYTES];
    long pid;

    node_name(here);
    return lock_holder(path, holder, NODE_NAME_BYTES + 1, &pid) &&
           strcmp(holder, here) != 0;
}

/* Two processes that train in one directory would mix their files.  A
 * supervisor has killed the ranks that it can reach: one that still holds the
 * lock is about to end, or cut off, and then the fence keeps it out. */
static int lock_run(struct run *r, int64_t supervised, struct mup_error *err)
{
    const double patience_s = r->trainer.config.parallel.deadline_s / 2;
    const double end_s =
        clock_s() + (patience_s < LOCK_WAIT_S ? patience_s : LOCK_WAIT_S);
    const struct timespec pause = { 0, 50000000 };
    char path[1100], what[1200], holder[NODE_NAME_BYTES + 1], note[400];
    int rc;

    snprintf(path, sizeof(path), "%s/run.lock", r->dir);
    snprintf(what, sizeof(what), "the run in '%s'", r->dir);
    while ((rc = lock_take(path, what, &r->lock, err)) == MUP_USAGE &&
           supervised && clock_s() < end_s)
        (void)nanosleep(&pause, NULL);
    if (rc != MUP_USAGE || !supervised || !is_elsewhere(path, holder))
        return rc;
    snprintf(note, sizeof(note),
             "a process on %s still holds '%.120s'; it is fenced off, and this "
             "start goes on without the lock",
             holder, path);
    run_tell(r, note);
    return MUP_OK;
}

static int print_config(struct run *r, struct mup_error *err)
{
    size_t bytes;
    FILE *text = open_memstream(&r->config_text, &bytes);
    int rc;

    if (!text)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the run");
    rc = config_dump(&run_schema, &r->trainer.config, 0, text, err);
    if (fclose(text) != 0 && !rc)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for the run");
    return rc;
}

/* What all ranks must have in common, as hashes. */
struct identity {
    uint64_t config, train[2], valid[2];
};

int run_compare_ranks(struct run *r, struct mup_error *err)
{
    const struct trainer *t = &r->trainer;
    struct identity own = { 0 }, first;
    int rc = comm_agree(&r->ranks.all, print_config(r, err), err);

    if (rc)
        return rc;
    own.config = XXH3_64bits(r->config_text, strlen(r->config_text));
    memcpy(own.train, t->train.hash, sizeof(own.train));
    memcpy(own.valid, t->valid.hash, sizeof(own.valid));
    first = own;
    comm_broadcast(&r->ranks.all, &first, sizeof(first), COMM_BYTE, 0);
    if (own.config != first.config)
        rc = mup_fail(err, MUP_USAGE,
                      "this rank was started with another config than rank 0; "
                      "start all with one command");
    else if (memcmp(&own, &first, sizeof(own)) != 0)
        rc = mup_fail(err, MUP_USAGE,
                      "'%s' or '%s' is another text here than on rank 0; give "
                      "all nodes the same files",
                      t->config.data.train, t->config.data.valid);
    return comm_agree(&r->ranks.all, rc, err);
}

/* Rank 0's part.  Nothing is written before the look at the fence. */
static int take_dir(struct run *r, struct mup_error *err)
{
    int64_t supervised = 0;
    int rc = fence_supervised(&supervised, err);

    if (!rc)
        rc = file_make_dirs(r->checkpoints, err);
    if (!rc)
        rc = lock_run(r, supervised, err);
    if (!rc) /* a number of its own by hand: after the lock */
        rc = fence_open(r->dir, &r->fence, err);
    if (!rc)
        rc = fence_check(&r->fence, err);
    if (!rc)
        rc = write_config(&r->trainer.config, r->dir, err);
    return rc ? rc : manifest_write(r->dir, &r->trainer, err);
}

int run_take_dir(struct run *r, struct mup_error *err)
{
    struct comm *all = &r->ranks.all;
    int rc = comm_agree(all, r->is_first ? take_dir(r, err) : MUP_OK, err);

    if (rc)
        return rc;
    comm_broadcast(all, &r->fence, sizeof(r->fence), COMM_BYTE, 0);
    return comm_sync(&r->ranks.world, err);
}
