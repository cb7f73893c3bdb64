#include "model/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/file.h"

#define MANIFEST_MAX_BYTES ((size_t)256 << 20)
#define FORMAT             1
#define PREFIX             "step-"

static void hex64(uint64_t value, char out[17])
{
    snprintf(out, 17, "%016" PRIx64, value);
}

/* --- writing --- */

static int write_tensors(const char *path,
                         const struct checkpoint_tensor *tensors, int n,
                         struct mup_error *err)
{
    FILE *f = fopen(path, "wb");
    int ok = f != NULL, cause;

    for (int i = 0; ok && i < n; i++)
        ok =
            fwrite(tensors[i].data, 1, tensors[i].bytes, f) == tensors[i].bytes;
    ok = ok && fflush(f) == 0 && fsync(fileno(f)) == 0;
    cause = errno;
    if (f && fclose(f) != 0 && ok) {
        ok = 0;
        cause = errno;
    }
    return ok ? MUP_OK
              : mup_fail(err, MUP_SYSTEM,
                         "cannot write '%s': %s; free some space and run the "
                         "same command again",
                         path, strerror(cause));
}

static json_t *describe(const struct checkpoint_tensor *t, size_t offset)
{
    char hash[17];

    hex64(XXH3_64bits(t->data, t->bytes), hash);
    return json_pack("{s:s, s:s, s:i, s:[I,I,I], s:s, s:I, s:I, s:s}", "name",
                     t->name, "kind", t->kind, "dtype", t->dtype, "shape",
                     (json_int_t)t->shape[0], (json_int_t)t->shape[1],
                     (json_int_t)t->shape[2], "file", "tensors.bin", "offset",
                     (json_int_t)offset, "bytes", (json_int_t)t->bytes, "xxh3",
                     hash);
}

/* {"manifest": {...}, "xxh3": hash of the compact, key-sorted manifest} */
static int write_manifest(const char *path, json_t *manifest,
                          struct mup_error *err)
{
    char *text = json_dumps(manifest, JSON_COMPACT | JSON_SORT_KEYS);
    json_t *outer = NULL;
    struct file_replace f;
    char hash[17];
    int rc;

    if (!text)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    hex64(XXH3_64bits(text, strlen(text)), hash);
    free(text);
    outer = json_pack("{s:O, s:s}", "manifest", manifest, "xxh3", hash);
    if (!outer)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    rc = file_replace_open(path, &f, err);
    if (!rc) {
        if (json_dumpf(outer, f.out, JSON_INDENT(1) | JSON_SORT_KEYS) != 0) {
            file_replace_abandon(&f);
            rc = mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                          strerror(errno));
        } else {
            rc = file_replace_commit(&f, err);
        }
    }
    json_decref(outer);
    return rc;
}

static void remove_checkpoint(const char *path)
{
    char file[1300];

    snprintf(file, sizeof(file), "%s/manifest.json", path);
    (void)unlink(file);
    snprintf(file, sizeof(file), "%s/tensors.bin", path);
    (void)unlink(file);
    (void)rmdir(path);
}

static int write_directory(const char *path, json_t *manifest,
                           const struct checkpoint_tensor *tensors, int n,
                           struct mup_error *err)
{
    char file[1200];
    int rc;

    remove_checkpoint(path);
    rc = file_make_dirs(path, err);
    snprintf(file, sizeof(file), "%s/tensors.bin", path);
    if (!rc)
        rc = write_tensors(file, tensors, n, err);
    snprintf(file, sizeof(file), "%s/manifest.json", path);
    return rc ? rc : write_manifest(file, manifest, err);
}

static int sync_directory(const char *dir, struct mup_error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        (void)close(fd);
    return ok ? MUP_OK
              : mup_fail(err, MUP_SYSTEM, "cannot sync '%s': %s", dir,
                         strerror(errno));
}

int checkpoint_write(const char *dir, int64_t step, json_t *state,
                     const struct checkpoint_tensor *tensors, int n,
                     struct mup_error *err)
{
    char temporary[1024], final[1024];
    json_t *list = json_array(), *manifest;
    size_t offset = 0;
    int rc;

    snprintf(temporary, sizeof(temporary), "%s/.writing", dir);
    snprintf(final, sizeof(final), "%s/" PREFIX "%010" PRId64, dir, step);
    for (int i = 0; i < n; i++) {
        json_array_append_new(list, describe(&tensors[i], offset));
        offset += tensors[i].bytes;
    }
    manifest = json_pack("{s:i, s:i, s:I, s:O, s:o}", "format", FORMAT,
                         "ruleset", MUP_RULESET_VERSION, "step",
                         (json_int_t)step, "state", state, "tensors", list);
    if (!manifest)
        return mup_fail(err, MUP_SYSTEM, "out of memory for a checkpoint");
    rc = write_directory(temporary, manifest, tensors, n, err);
    json_decref(manifest);
    if (!rc && access(final, F_OK) == 0)
        remove_checkpoint(final); /* the same step, saved again */
    if (!rc && rename(temporary, final) != 0)
        rc = mup_fail(err, MUP_SYSTEM, "cannot rename '%s' to '%s': %s",
                      temporary, final, strerror(errno));
    if (rc)
        remove_checkpoint(temporary);
    return rc ? rc : sync_directory(dir, err);
}

/* --- reading --- */

int checkpoint_parse_manifest(const char *text, size_t bytes, const char *path,
                              json_t **out, struct mup_error *err)
{
    json_error_t at;
    json_t *outer = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &at);
    json_t *inner = json_object_get(outer, "manifest");
    const char *want = json_string_value(json_object_get(outer, "xxh3"));
    char *compact = NULL, hash[17] = "";
    int rc = MUP_OK;

    if (json_is_object(inner))
        compact = json_dumps(inner, JSON_COMPACT | JSON_SORT_KEYS);
    if (compact)
        hex64(XXH3_64bits(compact, strlen(compact)), hash);
    if (!outer)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' line %d is not JSON: %s", path,
                      at.line, at.text);
    else if (!compact || !want || strcmp(hash, want) != 0)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' does not match its own checksum",
                      path);
    else if (json_integer_value(json_object_get(inner, "format")) != FORMAT)
        rc = mup_fail(
            err, MUP_CORRUPT,
            "'%s' has checkpoint format %lld, this program reads %d", path,
            (long long)json_integer_value(json_object_get(inner, "format")),
            FORMAT);
    else if (!json_is_array(json_object_get(inner, "tensors")) ||
             !json_is_object(json_object_get(inner, "state")))
        rc = mup_fail(err, MUP_CORRUPT, "'%s' lists no tensors", path);
    else
        *out = json_incref(inner);
    free(compact);
    json_decref(outer);
    return rc;
}

int checkpoint_manifest(const char *path, json_t **out, struct mup_error *err)
{
    char file[1200], *text = NULL;
    size_t bytes = 0;
    int rc;

    snprintf(file, sizeof(file), "%s/manifest.json", path);
    rc = file_read(file, MANIFEST_MAX_BYTES, &text, &bytes, err);
    if (!rc)
        rc = checkpoint_parse_manifest(text, bytes, file, out, err);
    free(text);
    return rc;
}

static json_t *find_tensor(json_t *list, const struct checkpoint_tensor *t)
{
    size_t i;
    json_t *entry;

    json_array_foreach(list, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *kind = json_string_value(json_object_get(entry, "kind"));

        if (name && kind && !strcmp(name, t->name) && !strcmp(kind, t->kind))
            return entry;
    }
    return NULL;
}

static int same_shape(json_t *entry, const struct checkpoint_tensor *t)
{
    json_t *shape = json_object_get(entry, "shape");

    for (size_t i = 0; i < 3; i++)
        if (json_integer_value(json_array_get(shape, i)) != t->shape[i])
            return 0;
    return json_integer_value(json_object_get(entry, "dtype")) == t->dtype &&
           json_integer_value(json_object_get(entry, "bytes")) ==
               (json_int_t)t->bytes;
}

static int read_tensor(FILE *f, const char *path, json_t *entry,
                       const struct checkpoint_tensor *t, struct mup_error *err)
{
    json_int_t offset = json_integer_value(json_object_get(entry, "offset"));
    const char *want = json_string_value(json_object_get(entry, "xxh3"));
    char hash[17];

    if (offset < 0 || fseeko(f, (off_t)offset, SEEK_SET) != 0 ||
        fread(t->data, 1, t->bytes, f) != t->bytes)
        return mup_fail(err, MUP_CORRUPT, "'%s' ends inside tensor '%s' (%s)",
                        path, t->name, t->kind);
    hex64(XXH3_64bits(t->data, t->bytes), hash);
    if (!want || strcmp(hash, want) != 0)
        return mup_fail(err, MUP_CORRUPT,
                        "tensor '%s' (%s) in '%s' does not match its checksum",
                        t->name, t->kind, path);
    return MUP_OK;
}

static int read_all(const char *path, json_t *manifest,
                    const struct checkpoint_tensor *tensors, int n,
                    struct mup_error *err)
{
    json_t *list = json_object_get(manifest, "tensors");
    char file[1200];
    FILE *f;
    int rc = MUP_OK;

    snprintf(file, sizeof(file), "%s/tensors.bin", path);
    f = fopen(file, "rb");
    if (!f)
        return mup_fail(err, errno == ENOENT ? MUP_CORRUPT : MUP_SYSTEM,
                        "cannot open '%s': %s", file, strerror(errno));
    for (int i = 0; !rc && i < n; i++) {
        json_t *entry = find_tensor(list, &tensors[i]);

        if (!entry || !same_shape(entry, &tensors[i]))
            rc = mup_fail(err, MUP_USAGE,
                          "'%s' holds no tensor '%s' (%s) of this shape and "
                          "number format; use the backend that made it, or "
                          "another directory",
                          path, tensors[i].name, tensors[i].kind);
        else
            rc = read_tensor(f, file, entry, &tensors[i], err);
    }
    (void)fclose(f); /* only read from */
    return rc;
}

int checkpoint_read(const char *path, const struct checkpoint_tensor *tensors,
                    int n, json_t **manifest, struct mup_error *err)
{
    json_t *found = NULL;
    int rc = checkpoint_manifest(path, &found, err);

    if (!rc && json_integer_value(json_object_get(found, "ruleset")) !=
                   MUP_RULESET_VERSION)
        rc = mup_fail(
            err, MUP_USAGE,
            "'%s' was made under rule set %lld, this program has "
            "rule set %d; train in another directory",
            path,
            (long long)json_integer_value(json_object_get(found, "ruleset")),
            MUP_RULESET_VERSION);
    if (!rc)
        rc = read_all(path, found, tensors, n, err);
    if (rc)
        json_decref(found);
    else
        *manifest = found;
    return rc;
}

int checkpoint_verify(const char *path, struct mup_error *err)
{
    json_t *manifest = NULL, *entry;
    size_t i, largest = 0;
    struct stat info;
    char file[1200];
    void *buffer = NULL;
    int rc = checkpoint_manifest(path, &manifest, err);

    if (rc)
        return rc;
    snprintf(file, sizeof(file), "%s/tensors.bin", path);
    if (stat(file, &info) != 0)
        rc = mup_fail(err, MUP_CORRUPT, "cannot open '%s': %s", file,
                      strerror(errno));
    json_array_foreach(json_object_get(manifest, "tensors"), i, entry)
    {
        json_int_t bytes = json_integer_value(json_object_get(entry, "bytes"));

        if (!rc && (bytes < 0 || bytes > (json_int_t)info.st_size))
            rc = mup_fail(err, MUP_CORRUPT,
                          "'%s' is shorter than its manifest says", file);
        else if (!rc && (size_t)bytes > largest)
            largest = (size_t)bytes;
    }
    if (!rc && !(buffer = malloc(largest + 1)))
        rc = mup_fail(err, MUP_SYSTEM, "out of memory to verify '%s'", file);
    json_array_foreach(json_object_get(manifest, "tensors"), i, entry)
    {
        json_t *shape = json_object_get(entry, "shape");
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *kind = json_string_value(json_object_get(entry, "kind"));
        struct checkpoint_tensor t = {
            .name = name ? name : "?",
            .kind = kind ? kind : "?",
            .dtype = (int)json_integer_value(json_object_get(entry, "dtype")),
            .data = buffer,
            .bytes =
                (size_t)json_integer_value(json_object_get(entry, "bytes")),
        };

        for (size_t d = 0; d < 3; d++)
            t.shape[d] = json_integer_value(json_array_get(shape, d));
        if (!rc)
            rc = read_all(path, manifest, &t, 1, err);
    }
    free(buffer);
    json_decref(manifest);
    return rc;
}

/* --- directories --- */

static int by_name_descending(const void *a, const void *b)
{
    return strcmp(*(char *const *)b, *(char *const *)a);
}

static void free_names(char **names, int n)
{
    for (int i = 0; names && i < n; i++)
        free(names[i]);
    free(names);
}

/* Checkpoint directories below dir, newest first; takes: free_names.  A dir
 * that does not exist holds none. */
static int list_checkpoints(const char *dir, char ***out, int *n,
                            struct mup_error *err)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    char **names = NULL;
    int count = 0, ok = 1;

    if (!d && errno != ENOENT)
        return mup_fail(err, MUP_SYSTEM, "cannot list '%s': %s", dir,
                        strerror(errno));
    while (d && ok && (entry = readdir(d))) {
        char **grown;

        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
            continue;
        grown = realloc(names, (size_t)(count + 1) * sizeof(*names));
        ok = grown != NULL;
        if (ok) {
            names = grown;
            names[count] = strdup(entry->d_name);
            ok = names[count] != NULL;
            count += ok;
        }
    }
    if (d)
        (void)closedir(d);
    if (!ok) {
        free_names(names, count);
        return mup_fail(err, MUP_SYSTEM, "out of memory listing '%s'", dir);
    }
    if (count)
        qsort(names, (size_t)count, sizeof(*names), by_name_descending);
    *out = names;
    *n = count;
    return MUP_OK;
}

/* The step of a manifest, which its folder's name must repeat. */
static int check_step(const char *path, const char *name, json_t *manifest,
                      int64_t *step, struct mup_error *err)
{
    json_int_t at = json_integer_value(json_object_get(manifest, "step"));
    char expected[64];

    snprintf(expected, sizeof(expected), PREFIX "%010lld", (long long)at);
    if (at < 1 || strcmp(name, expected) != 0)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' holds the checkpoint of step %lld: it was "
                        "renamed",
                        path, (long long)at);
    *step = at;
    return MUP_OK;
}

/* A damaged checkpoint gets a name that is no longer looked at or pruned, but
 * can still be examined.  Extends the sentence of why. */
static int set_aside(const char *dir, const char *name, struct mup_error *why)
{
    char from[1100], to[1200];
    size_t n = strlen(why->text);

    snprintf(from, sizeof(from), "%s/%s", dir, name);
    snprintf(to, sizeof(to), "%s/damaged-%s", dir, name);
    remove_checkpoint(to);
    if (rename(from, to) != 0)
        return mup_fail(why, MUP_SYSTEM, "cannot rename '%s': %s", from,
                        strerror(errno));
    snprintf(why->text + n, sizeof(why->text) - n,
             "; the one before it is used, this one is now 'damaged-%s'", name);
    return MUP_OK;
}

int checkpoint_read_latest(const char *dir,
                           const struct checkpoint_tensor *tensors, int n,
                           int64_t *step, json_t **state,
                           void (*note)(void *context, const char *sentence),
                           void *context, struct mup_error *err)
{
    char **names = NULL, path[1100];
    int count = 0;
    int rc = list_checkpoints(dir, &names, &count, err);

    if (rc)
        return rc;
    *step = 0;
    for (int i = 0; !rc && i < count && !*step; i++) {
        struct mup_error why = { 0 };
        json_t *found = NULL;
        int64_t at = 0;

        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        rc = checkpoint_read(path, tensors, n, &found, &why);
        if (rc == MUP_OK)
            rc = check_step(path, names[i], found, &at, &why);
        if (rc == MUP_CORRUPT) {
            rc = set_aside(dir, names[i], &why);
            if (note)
                note(context, why.text);
        } else if (rc == MUP_OK) {
            *state = json_incref(json_object_get(found, "state"));
            *step = at;
        } else if (err) {
            *err = why;
        }
        json_decref(found);
    }
    if (!rc && count && !*step)
        rc = mup_fail(err, MUP_CORRUPT,
                      "no checkpoint in '%s' verifies; remove that folder to "
                      "train from the start again",
                      dir);
    free_names(names, count);
    return rc;
}

int checkpoint_newest(const char *dir, char *path, size_t bytes,
                      struct mup_error *err)
{
    char **names = NULL;
    int count = 0;
    int rc = list_checkpoints(dir, &names, &count, err);

    if (rc)
        return rc;
    if (count)
        snprintf(path, bytes, "%s/%s", dir, names[0]);
    else
        path[0] = '\0';
    free_names(names, count);
    return MUP_OK;
}

int checkpoint_prune(const char *dir, int64_t keep, struct mup_error *err)
{
    char **names = NULL, path[1100];
    int count = 0;
    int rc = list_checkpoints(dir, &names, &count, err);

    for (int i = (int)keep; names && i < count; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        remove_checkpoint(path);
    }
    if (!rc)
        free_names(names, count);
    return rc;
}
