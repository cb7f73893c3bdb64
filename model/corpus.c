#include "model/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/data.h"
#include "model/file.h"
#include "model/shard.h"

/* A document is held in memory whole. */
#define MAX_DOCUMENT_BYTES ((size_t)1 << 30)
#define MAX_PACKAGES_BYTES ((size_t)1 << 20)

enum {
    MIN_DOCUMENT_BYTES = 200,
    BINARY_PROBE_BYTES = 4096,
};

enum fate { KEPT, DROPPED_SHORT, DROPPED_DUPLICATE, DROPPED_BINARY };

struct document {
    char *path;           /* as opened */
    size_t relative;      /* offset in path of the part below the root */
    int root;             /* index of the argument */
    int fate;             /* enum fate */
    int transcoded;       /* was Latin-1 */
    size_t bytes;         /* of UTF-8 text */
    XXH128_hash_t digest; /* of the text */
};

struct corpus {
    struct document *document;
    size_t n, room;
};

static const char *relative_path(const struct document *d)
{
    return d->path + d->relative;
}

static void corpus_clear(struct corpus *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->document[i].path);
    free(c->document);
    *c = (struct corpus){ 0 };
}

static int out_of_memory(struct mup_error *err)
{
    return mup_fail(err, MUP_SYSTEM, "out of memory for the list of texts");
}

/* ---- finding files ---------------------------------------------------- */

/* dir/name, or dir alone where name is empty; NULL without memory. */
static char *join(const char *dir, const char *name)
{
    size_t n = strlen(dir), m = strlen(name);
    int slash = m > 0 && n > 0 && dir[n - 1] != '/';
    char *path = malloc(n + m + 2);

    if (!path)
        return NULL;
    memcpy(path, dir, n);
    if (slash)
        path[n++] = '/';
    memcpy(path + n, name, m);
    path[n + m] = '\0';
    return path;
}

/* Appends an entry; takes path, also on failure. */
static int add(struct corpus *c, char *path, size_t relative, int root,
               struct mup_error *err)
{
    if (path && c->n == c->room) {
        size_t room = c->room ? c->room * 2 : 256;
        struct document *bigger =
            room < SIZE_MAX / sizeof(*bigger)
                ? realloc(c->document, room * sizeof(*bigger))
                : NULL;

        if (bigger) {
            c->document = bigger;
            c->room = room;
        }
    }
    if (!path || c->n == c->room) {
        free(path);
        return out_of_memory(err);
    }
    c->document[c->n++] =
        (struct document){ .path = path, .relative = relative, .root = root };
    return MUP_OK;
}

/* Files of one folder go to files, folders to folders. */
static int read_folder(const struct document *folder, struct corpus *folders,
                       struct corpus *files, struct mup_error *err)
{
    char *path = join(folder->path, "");
    size_t relative = folder->relative;
    int root = folder->root, rc = MUP_OK;
    struct dirent *entry;
    DIR *dir;

    if (!path)
        return out_of_memory(err);
    dir = opendir(path);
    if (!dir) {
        rc = mup_fail(err, MUP_SYSTEM, "cannot read folder '%s': %s", path,
                      strerror(errno));
        free(path);
        return rc;
    }
    while (rc == MUP_OK && (errno = 0, entry = readdir(dir)) != NULL) {
        struct stat st;

        if (entry->d_name[0] == '.')
            continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
            rc = mup_fail(err, MUP_SYSTEM, "cannot read '%s' in '%s': %s",
                          entry->d_name, path, strerror(errno));
        } else if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
            rc = add(S_ISDIR(st.st_mode) ? folders : files,
                     join(path, entry->d_name), relative, root, err);
        }
    }
    if (rc == MUP_OK && errno)
        rc = mup_fail(err, MUP_SYSTEM, "cannot read folder '%s': %s", path,
                      strerror(errno));
    (void)closedir(dir);
    free(path);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    const struct document *x = a, *y = b;

    if (x->root != y->root)
        return x->root < y->root ? -1 : 1;
    return strcmp(relative_path(x), relative_path(y));
}

/* All regular files of the arguments, sorted.  Works through a list of
 * folders instead of calling itself. */
static int find_files(char *const *paths, int n_paths, struct corpus *files,
                      struct mup_error *err)
{
    struct corpus folders = { 0 };
    int rc = MUP_OK;

    for (int i = 0; i < n_paths && rc == MUP_OK; i++) {
        const char *path = paths[i], *slash;
        struct stat st;
        size_t n = strlen(path);

        if (stat(path, &st) != 0) {
            rc = mup_fail(err, MUP_SYSTEM, "cannot read text '%s': %s", path,
                          strerror(errno));
        } else if (S_ISDIR(st.st_mode)) {
            n += path[n - 1] != '/';
            rc = add(&folders, join(path, ""), n, i, err);
        } else if (S_ISREG(st.st_mode)) {
            slash = strrchr(path, '/');
            rc = add(files, join(path, ""),
                     slash ? (size_t)(slash - path) + 1 : 0, i, err);
        } else {
            rc = mup_fail(err, MUP_SYSTEM,
                          "text '%s' is neither a file nor a folder", path);
        }
    }
    for (size_t i = 0; i < folders.n && rc == MUP_OK; i++)
        rc = read_folder(&folders.document[i], &folders, files, err);
    corpus_clear(&folders);
    if (rc == MUP_OK && files->n > 0)
        qsort(files->document, files->n, sizeof(*files->document), by_path);
    return rc;
}

/* ---- reading one document --------------------------------------------- */

/* Length of the UTF-8 sequence at s, 0 if there is none (RFC 3629: shortest
 * form, no surrogates, up to U+10FFFF). */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    unsigned char lead = s[0], low = 0x80, high = 0xbf;
    size_t length;

    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n < length)
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static int is_utf8(const char *text, size_t bytes)
{
    const unsigned char *s = (const void *)text;

    for (size_t i = 0; i < bytes;) {
        size_t length = utf8_length(s + i, bytes - i);

        if (length == 0)
            return 0;
        i += length;
    }
    return 1;
}

/* Latin-1 to UTF-8 in a new, NUL-terminated text; NULL without memory. */
static char *from_latin1(const char *text, size_t bytes, size_t *out_bytes)
{
    size_t n = bytes;
    char *out;

    for (size_t i = 0; i < bytes; i++)
        n += (unsigned char)text[i] >> 7;
    out = malloc(n + 1);
    if (!out)
        return NULL;
    n = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x80) {
            out[n++] = (char)c;
        } else {
            out[n++] = (char)(0xc0 | c >> 6);
            out[n++] = (char)(0x80 | (c & 0x3f));
        }
    }
    out[n] = '\0';
    *out_bytes = n;
    return out;
}

/* The text of a document as UTF-8, and the document's fate, size and hash.
 * *text is NULL where the document is binary; otherwise the caller frees. */
static int load(const struct document *d, struct document *out, char **text,
                struct mup_error *err)
{
    struct document loaded = *d;
    char *raw;
    size_t n, probe;
    int rc = file_read(d->path, MAX_DOCUMENT_BYTES, &raw, &n, err);

    if (rc != MUP_OK)
        return rc;
    probe = n < BINARY_PROBE_BYTES ? n : BINARY_PROBE_BYTES;
    if (memchr(raw, '\0', probe)) {
        free(raw);
        raw = NULL;
        n = 0;
        loaded.fate = DROPPED_BINARY;
    } else if (!is_utf8(raw, n)) {
        char *converted = from_latin1(raw, n, &n);

        free(raw);
        if (!converted)
            return mup_fail(err, MUP_SYSTEM, "out of memory for text '%s'",
                            d->path);
        raw = converted;
        loaded.transcoded = 1;
    }
    if (raw && n < MIN_DOCUMENT_BYTES)
        loaded.fate = DROPPED_SHORT;
    loaded.bytes = n;
    loaded.digest = XXH3_128bits(raw, n);
    *out = loaded;
    *text = raw;
    return MUP_OK;
}

static int by_digest(const void *a, const void *b)
{
    const struct document *x = *(struct document *const *)a;
    const struct document *y = *(struct document *const *)b;
    int order = XXH128_cmp(&x->digest, &y->digest);

    return order ? order : (x > y) - (x < y); /* the first one stays */
}

/* First pass: what becomes of every file. */
static int examine(struct corpus *c, struct mup_error *err)
{
    struct document **sorted;
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++) {
        char *text = NULL;
        int rc = load(&c->document[i], &c->document[i], &text, err);

        if (rc != MUP_OK)
            return rc;
        free(text);
    }
    sorted = calloc(c->n + 1, sizeof(void *)); /* one more: never empty */
    if (!sorted)
        return out_of_memory(err);
    for (size_t i = 0; i < c->n; i++)
        if (c->document[i].fate == KEPT)
            sorted[n++] = &c->document[i];
    qsort(sorted, n, sizeof(void *), by_digest);
    for (size_t i = 1; i < n; i++)
        if (XXH128_isEqual(sorted[i - 1]->digest, sorted[i]->digest))
            sorted[i]->fate = DROPPED_DUPLICATE;
    free(sorted);
    return MUP_OK;
}

/* ---- splitting and writing -------------------------------------------- */

static int held_out(const struct document *d, int64_t valid_every)
{
    const char *path = relative_path(d);

    return XXH3_64bits(path, strlen(path)) % (uint64_t)valid_every == 0;
}

/* Whether the split by document is fair: the valid part has between a quarter
 * and four times its share, and at most three quarters of all. */
static int split_is_fair(const struct corpus *c, int64_t valid_every)
{
    double total = 0, valid = 0, share;

    for (size_t i = 0; i < c->n; i++) {
        const struct document *d = &c->document[i];

        if (d->fate != KEPT)
            continue;
        total += (double)d->bytes;
        if (held_out(d, valid_every))
            valid += (double)d->bytes;
    }
    share = total / (double)valid_every;
    return valid >= share / 4 && valid <= share * 4 && valid <= total * 0.75;
}

/* Where the held-out tail of a text begins: behind the next line end, or else
 * at the next character. */
static size_t tail_start(const char *text, size_t bytes, int64_t valid_every)
{
    size_t at = bytes - bytes / (size_t)valid_every;
    const char *line = memchr(text + at, '\n', bytes - at);

    if (line && (size_t)(line - text) + 1 < bytes)
        return (size_t)(line - text) + 1;
    while (at < bytes && ((unsigned char)text[at] & 0xc0) == 0x80)
        at++;
    return at;
}

/* Bytes as tokens, then the end of the document.  Empty texts leave nothing. */
static int write_text(struct shard_writer *w, const char *text, size_t bytes,
                      struct mup_error *err)
{
    int32_t token[4096];
    size_t done = 0;
    const int32_t end = TOKEN_END_OF_DOCUMENT;

    if (bytes == 0)
        return MUP_OK;
    while (done < bytes) {
        size_t n = 0;
        int rc;

        while (n < sizeof(token) / sizeof(token[0]) && done < bytes)
            token[n++] = (unsigned char)text[done++];
        rc = shard_writer_add(w, token, (int64_t)n, err);
        if (rc != MUP_OK)
            return rc;
    }
    return shard_writer_add(w, &end, 1, err);
}

/* One document to its shard, or to both; counts it. */
static int write_document(const struct document *d, int64_t valid_every,
                          struct shard_writer *writer[2],
                          struct corpus_report *report, struct mup_error *err)
{
    struct document again;
    size_t cut;
    char *text;
    int rc = load(d, &again, &text, err);

    if (rc != MUP_OK)
        return rc;
    if (!text || !XXH128_isEqual(again.digest, d->digest)) {
        free(text);
        return mup_fail(err, MUP_SYSTEM,
                        "text '%s' changed while it was read; try again",
                        d->path);
    }
    if (report->split_by_tail)
        cut = tail_start(text, d->bytes, valid_every);
    else
        cut = held_out(d, valid_every) ? 0 : d->bytes;
    rc = write_text(writer[0], text, cut, err);
    if (rc == MUP_OK)
        rc = write_text(writer[1], text + cut, d->bytes - cut, err);
    free(text);
    report->train_documents += cut > 0;
    report->valid_documents += cut < d->bytes;
    report->train_bytes += (int64_t)cut;
    report->valid_bytes += (int64_t)(d->bytes - cut);
    report->transcoded += d->transcoded;
    return rc;
}

static void hex(uint64_t const hash[2], char out[33])
{
    (void)snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
}

/* Second pass: both shards, each complete or not there. */
static int write_shards(const struct corpus *c, int64_t valid_every,
                        struct corpus_report *report, struct mup_error *err)
{
    struct shard_writer *writer[2] = { NULL, NULL };
    uint64_t hash[2];
    int rc;

    rc = shard_writer_open(report->train_path, BYTE_VOCAB, &writer[0], err);
    if (rc == MUP_OK)
        rc = shard_writer_open(report->valid_path, BYTE_VOCAB, &writer[1], err);
    for (size_t i = 0; i < c->n && rc == MUP_OK; i++)
        if (c->document[i].fate == KEPT)
            rc = write_document(&c->document[i], valid_every, writer, report,
                                err);
    if (rc == MUP_OK) {
        shard_writer_hash(writer[0], hash);
        hex(hash, report->train_hash);
        shard_writer_hash(writer[1], hash);
        hex(hash, report->valid_hash);
        rc = shard_writer_close(writer[1], err);
        writer[1] = NULL;
    }
    if (rc == MUP_OK) {
        rc = shard_writer_close(writer[0], err);
        writer[0] = NULL;
    }
    shard_writer_abandon(writer[0]);
    shard_writer_abandon(writer[1]);
    return rc;
}

/* ---- the manifest ----------------------------------------------------- */

/* A path as JSON text; one that is no UTF-8 is taken for Latin-1. */
static json_t *json_path(const char *path)
{
    json_t *text = json_string(path);
    size_t n;
    char *converted;

    if (text)
        return text;
    converted = from_latin1(path, strlen(path), &n);
    text = converted ? json_string(converted) : NULL;
    free(converted);
    return text;
}

/* "name version" lines as a list of objects. */
static int read_packages(const char *path, json_t **out, struct mup_error *err)
{
    json_t *list;
    char *text;
    size_t bytes;
    int line = 0, rc = MUP_OK;

    if (path) {
        rc = file_read(path, MAX_PACKAGES_BYTES, &text, &bytes, err);
        if (rc != MUP_OK)
            return rc;
    } else {
        text = NULL;
    }
    list = json_array();
    for (char *at = text; at && *at && rc == MUP_OK;) {
        size_t n = strcspn(at, "\n");
        size_t name = strcspn(at, " \n");
        char *next = at + n + (at[n] == '\n');

        at[n] = '\0';
        line++;
        if (n > 0 && (name == 0 || name + 1 >= n))
            rc =
                mup_fail(err, MUP_USAGE, "%s:%d: '%s' is not 'package version'",
                         path, line, at);
        else if (n > 0 && json_array_append_new(
                              list, json_pack("{s:s%, s:s}", "name", at, name,
                                              "version", at + name + 1)) != 0)
            rc = mup_fail(err, MUP_USAGE,
                          "%s:%d: a package and its version must be UTF-8",
                          path, line);
        at = next;
    }
    free(text);
    if (rc == MUP_OK && !list)
        rc = out_of_memory(err);
    if (rc == MUP_OK)
        *out = list;
    else
        json_decref(list);
    return rc;
}

/* File name of a path. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* One object of the manifest; the shard is named relative to the manifest so
 * that the folder may be moved. */
static json_t *describe_shard(const char *path, int64_t documents,
                              int64_t bytes, const char *hash)
{
    const json_int_t tokens = bytes + documents;

    return json_pack("{s:o, s:I, s:I, s:I, s:s}", "file",
                     json_path(base_name(path)), "documents",
                     (json_int_t)documents, "bytes", (json_int_t)bytes,
                     "tokens", tokens, "xxh3_128", hash);
}

static json_t *describe(char *const *paths, int n_paths, int64_t valid_every,
                        const struct corpus_report *r, json_t *packages)
{
    json_t *sources = json_array();

    for (int i = 0; i < n_paths; i++)
        (void)json_array_append_new(sources, json_path(paths[i]));
    return json_pack(
        "{s:i, s:s, s:i, s:o, s:o, s:s, s:I, s:{s:I, s:I, s:I}, s:I, s:o, "
        "s:O}",
        "format", 1, "tokenizer", "bytes", "vocab", BYTE_VOCAB, "train",
        describe_shard(r->train_path, r->train_documents, r->train_bytes,
                       r->train_hash),
        "valid",
        describe_shard(r->valid_path, r->valid_documents, r->valid_bytes,
                       r->valid_hash),
        "split", r->split_by_tail ? "tail" : "path", "valid_every",
        (json_int_t)valid_every, "dropped", "short",
        (json_int_t)r->dropped_short, "duplicate",
        (json_int_t)r->dropped_duplicate, "binary",
        (json_int_t)r->dropped_binary, "transcoded", (json_int_t)r->transcoded,
        "sources", sources, "packages", packages);
}

static int write_manifest(json_t *manifest, const char *path,
                          struct mup_error *err)
{
    struct file_replace f;
    int rc;

    if (!manifest)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    /* A failed write shows in the stream's error flag at commit. */
    (void)json_dumpf(manifest, f.out, JSON_INDENT(2));
    (void)fputc('\n', f.out);
    return file_replace_commit(&f, err);
}

/* ---- the whole -------------------------------------------------------- */

/* Names of the three outputs, and their folder. */
static int plan_outputs(const char *output, struct corpus_report *r,
                        struct mup_error *err)
{
    char dir[sizeof(r->train_path)];
    size_t n = strlen(output), folder = (size_t)(base_name(output) - output);

    if (n >= 4 && strcmp(output + n - 4, ".bin") == 0)
        n -= 4;
    if (n <= folder)
        return mup_fail(err, MUP_USAGE,
                        "output '%s' names no file: give one such as "
                        "'corpus.bin'",
                        output);
    if (n + sizeof("-valid.bin") > sizeof(r->train_path))
        return mup_fail(err, MUP_USAGE,
                        "output file name of %zu bytes is too long", n);
    (void)snprintf(r->train_path, sizeof(r->train_path), "%.*s.bin", (int)n,
                   output);
    (void)snprintf(r->valid_path, sizeof(r->valid_path), "%.*s-valid.bin",
                   (int)n, output);
    (void)snprintf(r->manifest_path, sizeof(r->manifest_path), "%.*s.json",
                   (int)n, output);
    if (folder == 0)
        return MUP_OK;
    memcpy(dir, output, folder);
    dir[folder] = '\0';
    return file_make_dirs(dir, err);
}

/* Leave an earlier result out where it lies in the folder of the texts, or a
 * second run would read what the first one wrote. */
static void pass_over(struct corpus *c, const char *path)
{
    struct stat own, st;
    size_t kept = 0;

    if (!path || stat(path, &own) != 0)
        return;
    for (size_t i = 0; i < c->n; i++) {
        struct document *d = &c->document[i];

        if (stat(d->path, &st) == 0 && st.st_dev == own.st_dev &&
            st.st_ino == own.st_ino)
            free(d->path);
        else
            c->document[kept++] = *d;
    }
    c->n = kept;
}

static void count_dropped(const struct corpus *c, struct corpus_report *r)
{
    for (size_t i = 0; i < c->n; i++) {
        int fate = c->document[i].fate;

        r->dropped_short += fate == DROPPED_SHORT;
        r->dropped_duplicate += fate == DROPPED_DUPLICATE;
        r->dropped_binary += fate == DROPPED_BINARY;
    }
}

static int no_text(const struct corpus *c, const struct corpus_report *r,
                   const char *first, struct mup_error *err)
{
    return mup_fail(
        err, MUP_USAGE,
        "no text in '%s': of %zu files, %" PRId64 " are binary and %" PRId64
        " shorter than %d bytes; give text files or folders of "
        "them",
        first, c->n, r->dropped_binary, r->dropped_short, MIN_DOCUMENT_BYTES);
}

int corpus_prepare(char *const *paths, int n_paths, const char *output,
                   int64_t valid_every, const char *packages_file,
                   struct corpus_report *report, struct mup_error *err)
{
    struct corpus corpus = { 0 };
    struct corpus_report r = { 0 };
    json_t *packages = NULL, *manifest;
    int rc;

    if (n_paths < 1)
        return mup_fail(err, MUP_USAGE, "no text given: name files or folders");
    if (valid_every < 2)
        return mup_fail(err, MUP_USAGE,
                        "1 of %" PRId64 " documents cannot be held out: give "
                        "2 or more",
                        valid_every);
    rc = read_packages(packages_file, &packages, err);
    if (rc == MUP_OK)
        rc = plan_outputs(output, &r, err);
    if (rc == MUP_OK)
        rc = find_files(paths, n_paths, &corpus, err);
    if (rc == MUP_OK) {
        pass_over(&corpus, r.train_path);
        pass_over(&corpus, r.valid_path);
        pass_over(&corpus, r.manifest_path);
        pass_over(&corpus, packages_file);
        rc = examine(&corpus, err);
    }
    if (rc == MUP_OK) {
        count_dropped(&corpus, &r);
        if (corpus.n == (size_t)(r.dropped_short + r.dropped_binary))
            rc = no_text(&corpus, &r, paths[0], err);
    }
    if (rc == MUP_OK) {
        r.split_by_tail = !split_is_fair(&corpus, valid_every);
        rc = write_shards(&corpus, valid_every, &r, err);
    }
    if (rc == MUP_OK) {
        manifest = describe(paths, n_paths, valid_every, &r, packages);
        rc = write_manifest(manifest, r.manifest_path, err);
        json_decref(manifest);
    }
    json_decref(packages);
    corpus_clear(&corpus);
    if (rc == MUP_OK)
        *report = r;
    return rc;
}
