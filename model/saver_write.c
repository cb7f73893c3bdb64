#define _GNU_SOURCE /* sync_file_range */
#include "model/saver_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/backend.h"
#include "model/checkpoint.h"
#include "model/file.h"

#define FILE_BYTES      (CHECKPOINT_PATH_BYTES + SAVED_NAME_BYTES + 2)
#define TABLE_MAX_BYTES ((size_t)1 << 30)

/* Two files a rank and step at most: what changes, and what seems to stay. */
enum { CHANGING, STILL, OUTPUTS };

void saved_clear(struct saved *s)
{
    free(s->chunks);
    free(s->file_of);
    free(s->files);
    memset(s, 0, sizeof(*s));
}

void save_accept(struct save_writer *w)
{
    saved_clear(&w->before);
    w->before = w->last;
    w->last = w->now;
    memset(&w->now, 0, sizeof(w->now));
    /* after a return to an earlier step its folder may hold something else */
    if (w->before.step >= w->last.step)
        saved_clear(&w->before);
}

static int64_t incarnation(const struct save_writer *w)
{
    return fence_incarnation(w->options.fence);
}

static void writing_path(const struct save_writer *w, int64_t step,
                         char out[CHECKPOINT_PATH_BYTES])
{
    checkpoint_writing_path(w->options.dir, step, incarnation(w), out);
}

/* --- bytes --- */

static void sleep_ms(int64_t ms)
{
    struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000 };

    while (nanosleep(&t, &t) != 0)
        ;
}

/* errno of the write, with the faults that were asked for. */
static int write_fully(struct save_writer *w, int fd, const char *data,
                       size_t bytes, off_t at)
{
    const struct saver_fault *fault = &w->options.fault;

    while (bytes) {
        ssize_t n;

        if (fault->slow_ms)
            sleep_ms(fault->slow_ms);
        if (++w->writes == fault->fail_write)
            return EIO;
        if (fault->full_after_bytes &&
            w->bytes + (int64_t)bytes > fault->full_after_bytes)
            return ENOSPC;
        n = pwrite(fd, data, bytes, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        data += n;
        bytes -= (size_t)n;
        at += n;
        w->bytes += n;
    }
    return 0;
}

static int create(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static int cannot_write(const char *path, int cause, struct mup_error *err)
{
    return mup_fail(
        err, MUP_SYSTEM, "cannot write '%s': %s%s", path, strerror(cause),
        cause == ENOSPC || cause == EDQUOT ? "; free some space" : "");
}

/* fsync and close: 0 or the first errno. */
static int finish(int fd, int cause)
{
    if (!cause && fsync(fd) != 0)
        cause = errno;
    if (close(fd) != 0 && !cause)
        cause = errno;
    return cause;
}

static int write_text(struct save_writer *w, const char *path, const char *text,
                      struct mup_error *err)
{
    int fd = create(path), cause = fd < 0 ? errno : 0;

    if (fd >= 0)
        cause = finish(fd, write_fully(w, fd, text, strlen(text), 0));
    return cause ? cannot_write(path, cause, err) : MUP_OK;
}

static int write_sealed(struct save_writer *w, const char *path, json_t *inner,
                        struct mup_error *err)
{
    char *text = NULL;
    int rc;

    if (!inner)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    rc = checkpoint_seal(inner, path, &text, err);
    if (!rc)
        rc = write_text(w, path, text, err);
    free(text);
    return rc;
}

/* --- chunks --- */

static int64_t pieces(int64_t count)
{
    return (count + CHECKPOINT_CHUNK - 1) / CHECKPOINT_CHUNK;
}

/* w->now: the chunks of all parts with their hashes; none has a file yet. */
static int cut(struct save_writer *w, int64_t step,
               const struct checkpoint_part *parts, int n,
               struct mup_error *err)
{
    struct saved now = { .step = step };
    int64_t total = 0, i = 0;

    for (int p = 0; p < n; p++)
        total += pieces(parts[p].count);
    now.chunks = calloc((size_t)total + 1, sizeof(*now.chunks));
    now.file_of = malloc(((size_t)total + 1) * sizeof(*now.file_of));
    now.files = calloc((size_t)w->before.n_files + OUTPUTS, sizeof(*now.files));
    if (!now.chunks || !now.file_of || !now.files) {
        saved_clear(&now);
        return mup_fail(err, MUP_SYSTEM, "out of memory for a checkpoint");
    }
    for (int p = 0; p < n; p++) {
        size_t element = dtype_bytes(parts[p].dtype);

        for (int64_t at = 0; at < parts[p].count; at += CHECKPOINT_CHUNK) {
            struct checkpoint_part *c = &now.chunks[i].part;

            *c = parts[p];
            c->first += at;
            c->count = parts[p].count - at;
            if (c->count > CHECKPOINT_CHUNK)
                c->count = CHECKPOINT_CHUNK;
            c->data = (char *)parts[p].data + (size_t)at * element;
            now.chunks[i].hash =
                XXH3_64bits(c->data, (size_t)c->count * element);
            now.file_of[i++] = -1;
        }
    }
    now.n_chunks = i;
    saved_clear(&w->now);
    w->now = now;
    return MUP_OK;
}

/* Has an older checkpoint the same bytes of the same elements?  A run's parts
 * do not change their order, so that only the same place is looked at. */
static int unchanged(const struct saved *now, const struct saved *old,
                     int64_t i)
{
    const struct checkpoint_chunk *a = &now->chunks[i], *b;

    if (i >= old->n_chunks)
        return 0;
    b = &old->chunks[i];
    return a->hash == b->hash && a->part.first == b->part.first &&
           a->part.count == b->part.count && a->part.dtype == b->part.dtype &&
           !memcmp(a->part.shape, b->part.shape, sizeof(a->part.shape)) &&
           !memcmp(a->part.origin, b->part.origin, sizeof(a->part.origin)) &&
           !memcmp(a->part.extent, b->part.extent, sizeof(a->part.extent)) &&
           checkpoint_part_order(&a->part, &b->part) == 0;
}

static int link_file(const struct save_writer *w, const char *name)
{
    char path[CHECKPOINT_PATH_BYTES], from[FILE_BYTES], to[FILE_BYTES];

    checkpoint_path(w->options.dir, w->before.step, path);
    snprintf(from, sizeof(from), "%s/%s", path, name);
    writing_path(w, w->now.step, path);
    snprintf(to, sizeof(to), "%s/%s", path, name);
    (void)unlink(to); /* of an attempt that was given up */
    return link(from, to) == 0;
}

/* Will a checkpoint stand between this one and the one before the last, with
 * files of its own?  Else these two would follow each other. */
static int may_share(const struct save_writer *w)
{
    const struct saver_options *o = &w->options;
    char path[CHECKPOINT_PATH_BYTES];

    if (!w->before.step || w->last.step >= w->now.step ||
        o->policy.keep_last < 2)
        return 0;
    /* with less room a quota may take the last one, and leave older ones */
    if (o->policy.quota_bytes > 0 && o->policy.quota_bytes < 4 * o->total_bytes)
        return 0;
    checkpoint_path(o->dir, w->last.step, path);
    return access(path, F_OK) == 0;
}

/* Take over the files of the checkpoint before the last whose bytes are at
 * least half in use; less would keep more on the disk than it saves.
 * taken[f]: what its file f is now, or -1. */
static void take_files(struct save_writer *w, const int64_t *used, int *taken)
{
    int may = may_share(w);

    for (int f = 0; f < w->before.n_files; f++) {
        const struct saved_file *file = &w->before.files[f];

        taken[f] = -1;
        if (may && used[f] && 2 * used[f] >= file->bytes &&
            link_file(w, file->name)) {
            taken[f] = w->now.n_files;
            w->now.files[w->now.n_files] = *file;
            w->now.files[w->now.n_files++].used = used[f];
        }
    }
}

/* Chunks that can be shared are.  The others that seem to stay, as the last
 * checkpoint has them too, are written into a file of their own, which is then
 * in use as a whole: output_of[i] says where chunk i goes. */
static int share(struct save_writer *w, unsigned char *output_of,
                 struct mup_error *err)
{
    const struct saved *before = &w->before;
    struct saved *now = &w->now;
    int64_t *used = calloc((size_t)before->n_files + 1, sizeof(*used));
    int *taken = malloc(((size_t)before->n_files + 1) * sizeof(*taken));

    if (!used || !taken) {
        free(used);
        free(taken);
        return mup_fail(err, MUP_SYSTEM, "out of memory for a checkpoint");
    }
    for (int64_t i = 0; i < now->n_chunks; i++)
        if (unchanged(now, before, i))
            used[before->file_of[i]] +=
                checkpoint_part_bytes(&now->chunks[i].part);
    take_files(w, used, taken);
    for (int64_t i = 0; i < now->n_chunks; i++) {
        output_of[i] = unchanged(now, &w->last, i) ? STILL : CHANGING;
        if (unchanged(now, before, i) && taken[before->file_of[i]] >= 0) {
            now->file_of[i] = taken[before->file_of[i]];
            now->chunks[i].offset = before->chunks[i].offset;
            w->skipped_chunks++;
        }
    }
    free(used);
    free(taken);
    return MUP_OK;
}

/* The chunks without a file that go to `output`, one after the other. */
static int write_output(struct save_writer *w, const unsigned char *output_of,
                        int output, struct mup_error *err)
{
    struct saved *now = &w->now;
    struct saved_file file = { "", 0, 0 };
    char dir[CHECKPOINT_PATH_BYTES], path[FILE_BYTES];
    int fd = -1, cause = 0;

    writing_path(w, now->step, dir);
    snprintf(file.name, sizeof(file.name), "rank-%04d-%010" PRId64 "%s.bin",
             w->options.rank, now->step, output == STILL ? "-still" : "");
    snprintf(path, sizeof(path), "%s/%s", dir, file.name);
    for (int64_t i = 0; !cause && i < now->n_chunks; i++) {
        struct checkpoint_chunk *c = &now->chunks[i];

        if (now->file_of[i] >= 0 || output_of[i] != output)
            continue;
        if (fd < 0)
            fd = create(path);
        if (fd < 0)
            return cannot_write(path, errno, err);
        c->offset = file.bytes;
        file.bytes += checkpoint_part_bytes(&c->part);
        now->file_of[i] = now->n_files;
        cause = write_fully(w, fd, c->part.data,
                            (size_t)checkpoint_part_bytes(&c->part),
                            (off_t)c->offset);
        /* the disk begins while the next chunk is copied; fsync checks */
        (void)sync_file_range(fd, (off_t)c->offset,
                              (off_t)checkpoint_part_bytes(&c->part),
                              SYNC_FILE_RANGE_WRITE);
        w->written_chunks++;
    }
    if (fd < 0)
        return MUP_OK;
    cause = finish(fd, cause);
    if (cause)
        return cannot_write(path, cause, err);
    file.used = file.bytes;
    now->files[now->n_files++] = file;
    return MUP_OK;
}

static json_t *table_json(const struct save_writer *w)
{
    const struct saved *now = &w->now;
    json_t *list = json_array();

    for (int64_t i = 0; i < now->n_chunks; i++)
        if (json_array_append_new(list,
                                  checkpoint_chunk_json(&now->chunks[i]))) {
            json_decref(list);
            return NULL;
        }
    return json_pack("{s:I, s:i, s:i, s:o}", "step", (json_int_t)now->step,
                     "rank", w->options.rank, "ranks", w->options.ranks,
                     "chunks", list);
}

static void table_path(const struct save_writer *w, int64_t step, int rank,
                       char out[FILE_BYTES])
{
    char dir[CHECKPOINT_PATH_BYTES];

    writing_path(w, step, dir);
    snprintf(out, FILE_BYTES, "%s/rank-%04d.json", dir, rank);
}

static int write_table(struct save_writer *w, struct mup_error *err)
{
    char path[FILE_BYTES];
    json_t *table;
    int rc;

    for (int64_t i = 0; i < w->now.n_chunks; i++) {
        w->now.chunks[i].file = w->now.files[w->now.file_of[i]].name;
        w->now.chunks[i].part.data = NULL; /* the memory is used again */
    }
    table = table_json(w);
    table_path(w, w->now.step, w->options.rank, path);
    rc = write_sealed(w, path, table, err);
    json_decref(table);
    return rc;
}

int save_parts(struct save_writer *w, int64_t step,
               const struct checkpoint_part *parts, int n,
               struct mup_error *err)
{
    char dir[CHECKPOINT_PATH_BYTES];
    unsigned char *output_of = NULL;
    int rc = MUP_OK;

    writing_path(w, step, dir);
    if (w->options.rank == 0)
        rc =
            checkpoint_make_room(w->options.dir, &w->options.policy,
                                 w->options.total_bytes, w->options.fence, err);
    if (!rc)
        rc = file_make_dirs(dir, err);
    if (!rc)
        rc = cut(w, step, parts, n, err);
    if (!rc) {
        output_of = calloc((size_t)w->now.n_chunks + 1, 1);
        if (!output_of)
            rc = mup_fail(err, MUP_SYSTEM, "out of memory for a checkpoint");
    }
    if (!rc)
        rc = share(w, output_of, err);
    for (int output = 0; !rc && output < OUTPUTS; output++)
        rc = write_output(w, output_of, output, err);
    if (!rc)
        rc = write_table(w, err);
    if (!rc)
        rc = checkpoint_sync(dir, err);
    free(output_of);
    return rc;
}

/* --- commit --- */

/* Append rank's chunks to list. */
static int merge_table(const struct save_writer *w, int64_t step, int rank,
                       json_t *list, struct mup_error *err)
{
    char path[FILE_BYTES], *text = NULL;
    json_t *table = NULL, *chunks;
    size_t bytes = 0;
    int rc;

    table_path(w, step, rank, path);
    rc = file_read(path, TABLE_MAX_BYTES, &text, &bytes, err);
    if (!rc)
        rc = checkpoint_unseal(text, bytes, path, &table, err);
    free(text);
    if (rc)
        return rc;
    chunks = json_object_get(table, "chunks");
    if (json_integer_value(json_object_get(table, "step")) != step ||
        json_integer_value(json_object_get(table, "rank")) != rank ||
        json_integer_value(json_object_get(table, "ranks")) != w->options.ranks)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' is of another save", path);
    else if (json_array_extend(list, chunks) != 0)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' lists no chunks", path);
    json_decref(table);
    return rc;
}

static int check_list(const json_t *list, const char *path,
                      struct mup_error *err)
{
    struct checkpoint_chunk *chunks = NULL;
    int64_t n = 0;
    int rc = checkpoint_chunks(list, path, &chunks, &n, err);

    if (!rc)
        rc = checkpoint_check_cover(chunks, n, path, err);
    free(chunks);
    return rc;
}

static int write_manifest(struct save_writer *w, int64_t step,
                          const char *state, struct mup_error *err)
{
    char dir[CHECKPOINT_PATH_BYTES], path[FILE_BYTES];
    json_t *list = json_array(), *manifest = NULL;
    int rc = MUP_OK;

    writing_path(w, step, dir);
    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    for (int rank = 0; !rc && rank < w->options.ranks; rank++)
        rc = merge_table(w, step, rank, list, err);
    if (!rc)
        rc = check_list(list, path, err);
    if (!rc) {
        manifest = json_pack(
            "{s:i, s:i, s:I, s:i, s:o, s:s, s:O}", "format", CHECKPOINT_FORMAT,
            "ruleset", MUP_RULESET_VERSION, "step", (json_int_t)step, "ranks",
            w->options.ranks, "state", json_loads(state, 0, NULL), "config",
            w->options.config ? w->options.config : "", "chunks", list);
        if (manifest && incarnation(w))
            json_object_set_new(manifest, "incarnation",
                                json_integer(incarnation(w)));
        rc = write_sealed(w, path, manifest, err);
    }
    json_decref(manifest);
    json_decref(list);
    return rc;
}

/* The folder under construction becomes a checkpoint, after a look at the
 * fence: see fence.h. */
static int publish(const struct save_writer *w, int64_t step,
                   struct mup_error *err)
{
    const char *dir = w->options.dir;
    char writing[CHECKPOINT_PATH_BYTES], final[CHECKPOINT_PATH_BYTES];
    int rc = fence_check(w->options.fence, err), cause;

    writing_path(w, step, writing);
    checkpoint_path(dir, step, final);
    if (rc || rename(writing, final) == 0)
        return rc;
    if (errno != EEXIST && errno != ENOTEMPTY)
        return mup_fail(err, MUP_SYSTEM, "cannot rename '%s' to '%s': %s",
                        writing, final, strerror(errno));
    /* The same step, saved again: ours was still there, so no newer incarnation
     * has swept yet.  If one comes right now, what it saved must stay. */
    rc = fence_check(w->options.fence, err);
    if (!rc)
        rc = checkpoint_unlist(dir, step, err);
    if (rc || rename(writing, final) == 0)
        return rc;
    cause = errno;
    (void)checkpoint_relist(dir, step, NULL);
    return mup_fail(err, MUP_SYSTEM, "cannot rename '%s' to '%s': %s", writing,
                    final, strerror(cause));
}

int save_commit(struct save_writer *w, int64_t step, const char *state,
                struct mup_error *err)
{
    char writing[CHECKPOINT_PATH_BYTES], table[FILE_BYTES];
    struct mup_error fenced = { 0 };
    int rc = write_manifest(w, step, state, err);

    writing_path(w, step, writing);
    for (int rank = 0; !rc && rank < w->options.ranks; rank++) {
        table_path(w, step, rank, table);
        (void)unlink(table); /* its content is in the manifest */
    }
    if (!rc)
        rc = checkpoint_sync(writing, err);
    if (!rc)
        rc = publish(w, step, err);
    /* a folder that was taken away is missed under many names */
    if (rc && fence_check(w->options.fence, &fenced) == MUP_DEVICE)
        return mup_fail(err, MUP_DEVICE, "%s", fenced.text);
    return rc ? rc : checkpoint_sync(w->options.dir, err);
}
