#include "model/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/backend.h"
#include "model/file.h"

#define MANIFEST_MAX_BYTES ((size_t)1 << 30)
#define FILE_BYTES         (CHECKPOINT_PATH_BYTES + 300)

/* --- manifests --- */

static int check_format(json_t *manifest, const char *path,
                        struct mup_error *err)
{
    json_int_t format = json_integer_value(json_object_get(manifest, "format"));

    if (format == CHECKPOINT_FORMAT)
        return MUP_OK;
    if (format == 1)
        return mup_fail(err, MUP_USAGE,
                        "'%s' was written by an older version of this program "
                        "(checkpoint format 1, this one reads %d); train in "
                        "another directory",
                        path, CHECKPOINT_FORMAT);
    return mup_fail(err, MUP_USAGE,
                    "'%s' has checkpoint format %lld, this program reads %d; "
                    "use the version that wrote it",
                    path, (long long)format, CHECKPOINT_FORMAT);
}

int checkpoint_parse(json_t *manifest, const char *path, struct checkpoint *out,
                     struct mup_error *err)
{
    struct checkpoint c = { .manifest = manifest };
    int rc = check_format(manifest, path, err);

    if (rc)
        return rc;
    c.step = json_integer_value(json_object_get(manifest, "step"));
    c.ranks = json_integer_value(json_object_get(manifest, "ranks"));
    if (c.step < 1 || c.ranks < 1 ||
        !json_is_object(json_object_get(manifest, "state")))
        return mup_fail(err, MUP_CORRUPT, "'%s' lacks its step, ranks or state",
                        path);
    rc = checkpoint_chunks(json_object_get(manifest, "chunks"), path, &c.chunks,
                           &c.n_chunks, err);
    if (rc)
        return rc;
    rc = checkpoint_check_cover(c.chunks, c.n_chunks, path, err);
    if (rc) {
        free(c.chunks);
        return rc;
    }
    snprintf(c.path, sizeof(c.path), "%s", path);
    json_incref(manifest);
    *out = c;
    return MUP_OK;
}

int checkpoint_open(const char *path, struct checkpoint *out,
                    struct mup_error *err)
{
    char file[FILE_BYTES], *text = NULL;
    json_t *manifest = NULL;
    size_t bytes = 0;
    int rc;

    snprintf(file, sizeof(file), "%s/manifest.json", path);
    /* A folder without its manifest is no checkpoint, whatever else is the
     * matter is the machine's. */
    if (access(file, F_OK) != 0 && errno == ENOENT && access(path, F_OK) == 0)
        return mup_fail(err, MUP_CORRUPT, "'%s' is missing", file);
    rc = file_read(file, MANIFEST_MAX_BYTES, &text, &bytes, err);
    if (!rc)
        rc = checkpoint_unseal(text, bytes, file, &manifest, err);
    free(text);
    if (!rc)
        rc = checkpoint_parse(manifest, file, out, err);
    if (!rc)
        snprintf(out->path, sizeof(out->path), "%s", path);
    json_decref(manifest);
    return rc;
}

void checkpoint_close(struct checkpoint *c)
{
    free(c->chunks);
    json_decref(c->manifest);
    memset(c, 0, sizeof(*c));
}

/* --- chunks --- */

/* One data file at a time stays open; buffer holds any chunk. */
struct reader {
    const struct checkpoint *c;
    const char *file; /* name of the open one */
    int fd;
    void *buffer;
};

static int reader_open(const struct checkpoint *c, struct reader *r,
                       struct mup_error *err)
{
    int64_t largest = 1;

    for (int64_t i = 0; i < c->n_chunks; i++)
        if (checkpoint_part_bytes(&c->chunks[i].part) > largest)
            largest = checkpoint_part_bytes(&c->chunks[i].part);
    *r = (struct reader){ .c = c, .fd = -1 };
    r->buffer = malloc((size_t)largest);
    return r->buffer ? MUP_OK
                     : mup_fail(err, MUP_SYSTEM, "out of memory to read '%s'",
                                c->path);
}

static void reader_close(struct reader *r)
{
    free(r->buffer);
    if (r->fd >= 0)
        (void)close(r->fd); /* only read from */
}

/* errno of a failed pread, -1 at the end of the file, or 0. */
static int read_fully(int fd, char *to, size_t bytes, off_t at)
{
    while (bytes) {
        ssize_t n = pread(fd, to, bytes, at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : -1;
        to += n;
        bytes -= (size_t)n;
        at += n;
    }
    return 0;
}

static int damaged(const struct reader *r, int64_t i, const char *what,
                   struct mup_error *err)
{
    const struct checkpoint_chunk *c = &r->c->chunks[i];

    return mup_fail(err, MUP_CORRUPT,
                    "'%.600s/%.100s': chunk %" PRId64
                    ", of tensor '%.100s' (%.20s), %s",
                    r->c->path, c->file, i, c->part.name, c->part.kind, what);
}

/* Chunk i into the buffer, its hash verified. */
static int read_chunk(struct reader *r, int64_t i, struct mup_error *err)
{
    const struct checkpoint_chunk *c = &r->c->chunks[i];
    size_t bytes = (size_t)checkpoint_part_bytes(&c->part);
    char file[FILE_BYTES];
    int cause;

    if (!r->file || strcmp(r->file, c->file) != 0) {
        if (r->fd >= 0)
            (void)close(r->fd);
        snprintf(file, sizeof(file), "%s/%s", r->c->path, c->file);
        r->file = c->file;
        r->fd = open(file, O_RDONLY | O_CLOEXEC);
        if (r->fd < 0 && errno == ENOENT)
            return damaged(r, i, "is gone with its file", err);
        if (r->fd < 0)
            return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", file,
                            strerror(errno));
    }
    cause = read_fully(r->fd, r->buffer, bytes, (off_t)c->offset);
    if (cause < 0)
        return damaged(r, i, "is cut off by the end of its file", err);
    if (cause) /* a dead sector is damage like any other */
        return damaged(r, i, strerror(cause), err);
    if (XXH3_64bits(r->buffer, bytes) != c->hash)
        return damaged(r, i, "does not match its checksum", err);
    return MUP_OK;
}

int checkpoint_verify(const struct checkpoint *c, struct mup_error *err)
{
    struct reader r;
    int rc = reader_open(c, &r, err);

    if (rc)
        return rc;
    for (int64_t i = 0; !rc && i < c->n_chunks; i++)
        rc = read_chunk(&r, i, err);
    reader_close(&r);
    return rc;
}

/* --- wants --- */

/* Wants in the order of their tensors, to find those of a chunk. */
struct wants {
    const struct checkpoint_part **sorted;
    unsigned char *seen;
    int n;
};

static int order(const void *a, const void *b)
{
    return checkpoint_part_order(*(const struct checkpoint_part *const *)a,
                                 *(const struct checkpoint_part *const *)b);
}

/* The first want of the same tensor, or n. */
static int first_want(const struct wants *w, const struct checkpoint_part *part)
{
    int lo = 0, hi = w->n;

    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;

        if (checkpoint_part_order(w->sorted[mid], part) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int is_of(const struct wants *w, int i,
                 const struct checkpoint_part *part)
{
    return i < w->n && checkpoint_part_order(w->sorted[i], part) == 0;
}

/* Before anything is read: is every tensor there, and is it the same? */
static int check_wants(const struct checkpoint *c, const struct wants *w,
                       struct mup_error *err)
{
    const struct checkpoint_part *bad = NULL;

    for (int64_t j = 0; j < c->n_chunks; j++) {
        const struct checkpoint_part *p = &c->chunks[j].part;

        for (int i = first_want(w, p); is_of(w, i, p); i++)
            w->seen[i] =
                w->sorted[i]->dtype == p->dtype &&
                !memcmp(w->sorted[i]->shape, p->shape, sizeof(p->shape));
    }
    for (int i = 0; !bad && i < w->n; i++)
        if (!w->seen[i])
            bad = w->sorted[i];
    if (!bad)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "'%s' holds no tensor '%s' (%s) of this shape and "
                    "number format; use the backend that made it, or "
                    "another directory",
                    c->path, bad->name, bad->kind);
}

/* Copy chunk j where it is wanted; it is read when the first want has
 * something of it. */
static int serve(struct reader *r, const struct wants *w, int64_t j,
                 struct mup_error *err)
{
    struct checkpoint_part chunk = r->c->chunks[j].part;
    int read = 0, rc = MUP_OK;

    chunk.data = r->buffer;
    for (int i = first_want(w, &chunk); !rc && is_of(w, i, &chunk); i++) {
        struct checkpoint_part probe = *w->sorted[i];

        probe.data = NULL;
        if (!read && checkpoint_part_copy(&probe, &chunk) == 0)
            continue;
        if (!read)
            rc = read_chunk(r, j, err);
        read = 1;
        if (!rc)
            (void)checkpoint_part_copy(w->sorted[i], &chunk);
    }
    return rc;
}

int checkpoint_read(const struct checkpoint *c,
                    const struct checkpoint_part *wants, int n,
                    struct mup_error *err)
{
    struct wants w = { malloc(((size_t)n + 1) * sizeof(*w.sorted)),
                       calloc((size_t)n + 1, 1), n };
    struct reader r = { .fd = -1 };
    int rc = MUP_OK;

    if (!w.sorted || !w.seen)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory to read '%s'", c->path);
    for (int i = 0; !rc && i < n; i++)
        w.sorted[i] = &wants[i];
    if (!rc) {
        qsort(w.sorted, (size_t)n, sizeof(*w.sorted), order);
        rc = check_wants(c, &w, err);
    }
    if (!rc)
        rc = reader_open(c, &r, err);
    for (int64_t j = 0; !rc && j < c->n_chunks; j++)
        rc = serve(&r, &w, j, err);
    reader_close(&r);
    free(w.sorted);
    free(w.seen);
    return rc;
}

/* --- steps --- */

int checkpoint_load(const char *dir, int64_t step,
                    const struct checkpoint_part *wants, int n,
                    json_t **manifest, struct mup_error *err)
{
    char path[CHECKPOINT_PATH_BYTES];
    struct checkpoint c = { 0 };
    json_int_t ruleset;
    int rc;

    checkpoint_path(dir, step, path);
    rc = checkpoint_open(path, &c, err);
    if (rc)
        return rc;
    ruleset = json_integer_value(json_object_get(c.manifest, "ruleset"));
    if (c.step != step)
        rc = mup_fail(err, MUP_CORRUPT,
                      "'%s' holds the checkpoint of step %" PRId64
                      ": it was renamed",
                      path, c.step);
    else if (ruleset != MUP_RULESET_VERSION)
        rc = mup_fail(err, MUP_USAGE,
                      "'%s' was made under rule set %lld, this program has "
                      "rule set %d; train in another directory",
                      path, (long long)ruleset, MUP_RULESET_VERSION);
    else
        rc = checkpoint_read(&c, wants, n, err);
    if (!rc)
        *manifest = json_incref(c.manifest);
    checkpoint_close(&c);
    return rc;
}

/* The newest checkpoints, damaged, of which an older one takes the place. */
static int pass_over(const struct checkpoint_latest *how, const int64_t *steps,
                     const struct mup_error *why, int n, struct mup_error *err)
{
    int rc = MUP_OK;

    for (int i = 0; !rc && i < n; i++) {
        char sentence[sizeof(why->text) + 256];

        rc = fence_check(how->fence, err);
        if (!rc)
            rc = checkpoint_set_aside(how->dir, steps[i], err);
        snprintf(sentence, sizeof(sentence),
                 "%s; the checkpoint of step %" PRId64 " is used, this one is "
                 "now 'damaged-step-%010" PRId64 "'",
                 why[i].text, steps[n], steps[i]);
        if (!rc && how->note)
            how->note(how->context, sentence);
    }
    return rc;
}

/* Rank 0's list counts: others might see a folder later than it. */
static int list_together(struct comm *ranks, const char *dir, int64_t **steps,
                         int *n, struct mup_error *err)
{
    int first = !ranks || ranks->rank == 0;
    int rc = first ? checkpoint_list(dir, steps, n, err) : MUP_OK;
    int32_t count = *n;

    if (!ranks)
        return rc;
    rc = comm_agree(ranks, rc, err);
    comm_broadcast(ranks, &count, 1, COMM_I32, 0);
    *n = rc ? 0 : count;
    if (!first && *n > 0)
        *steps = calloc((size_t)*n, sizeof(**steps));
    if (!rc && *n > 0 && !*steps)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory listing '%s'", dir);
    rc = comm_agree(ranks, rc, err);
    if (!rc)
        comm_broadcast(ranks, *steps, *n * (int64_t)sizeof(**steps), COMM_BYTE,
                       0);
    return rc ? rc : ranks->world ? comm_sync(ranks->world, err) : MUP_OK;
}

/* The newest of n that every rank can read into its wants: its place in
 * steps, n where there is none.  why: of those before it. */
static int find_sound(const struct checkpoint_latest *how, const int64_t *steps,
                      int n, struct mup_error *why,
                      struct checkpoint_found *out)
{
    int rc = MUP_CORRUPT;

    for (int i = 0; rc == MUP_CORRUPT && i < n; i++) {
        json_t *manifest = NULL;

        rc = checkpoint_load(how->dir, steps[i], how->wants, how->n, &manifest,
                             &why[i]);
        if (how->ranks)
            rc = comm_agree(how->ranks, rc, &why[i]);
        out->damaged = rc == MUP_CORRUPT ? i + 1 : i;
        if (rc == MUP_OK) {
            out->state = json_incref(json_object_get(manifest, "state"));
            out->step = steps[i];
        }
        json_decref(manifest);
    }
    return rc;
}

/* Damaged ones keep their names until a sound one is found: as long as there
 * is none, the same command gives the same answer. */
int checkpoint_read_latest(const struct checkpoint_latest *how,
                           struct checkpoint_found *out, struct mup_error *err)
{
    struct checkpoint_found found = { 0 };
    struct comm *ranks = how->ranks;
    int first = !ranks || ranks->rank == 0;
    struct mup_error *why = NULL;
    int64_t *steps = NULL;
    int n = 0;
    int rc = list_together(ranks, how->dir, &steps, &n, err);

    if (!rc && n > 0) {
        why = calloc((size_t)n, sizeof(*why));
        rc =
            why ? MUP_OK
                : mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", how->dir);
    }
    if (!rc && n > 0) {
        rc = find_sound(how, steps, n, why, &found);
        if (rc == MUP_CORRUPT)
            mup_fail(err, rc,
                     "no checkpoint in '%s' verifies (%.500s); remove that "
                     "folder to train from the start again",
                     how->dir, why[0].text);
        else if (rc && err)
            *err = why[found.damaged];
        if (!rc && first)
            rc = pass_over(how, steps, why, found.damaged, err);
        if (ranks && found.step)
            rc = comm_agree(ranks, rc, err);
    }
    free(why);
    free(steps);
    if (!rc)
        *out = found;
    else
        json_decref(found.state);
    return rc;
}
