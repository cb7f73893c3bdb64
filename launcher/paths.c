#include "launcher/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "configs/yaml.h"
#include "model/file.h"

int path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

int path_join(const char *dir, const char *name, char *out, size_t bytes,
              struct mup_error *err)
{
    int n = snprintf(out, bytes, "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", dir);
    return MUP_OK;
}

/* The file that marks the folder of a kind; the first match counts. */
static const struct mark {
    int kind;
    const char *file, *what;
} marks[] = {
    { PATH_SWEEP_DIR, "study.db", "a sweep" },
    { PATH_RUN_DIR, "config.yaml", "a training run" },
    { PATH_REPORT_DIR, "report.json", "a report" },
};
#define N_MARKS (sizeof(marks) / sizeof(marks[0]))

static const struct mark *find_mark(const char *dir)
{
    char file[4096];

    for (size_t i = 0; i < N_MARKS; i++)
        if (path_join(dir, marks[i].file, file, sizeof(file), NULL) == MUP_OK &&
            path_exists(file))
            return &marks[i];
    return NULL;
}

static int classify_dir(const char *path, int *kind, struct mup_error *err)
{
    const struct mark *mark = find_mark(path);

    if (mark && mark->kind == PATH_REPORT_DIR)
        return mup_fail(err, MUP_USAGE,
                        "the folder '%s' holds a report alone, which "
                        "'mutransfer plot' takes; name the folder of a sweep "
                        "or of a run",
                        path);
    if (!mark)
        return mup_fail(err, MUP_USAGE,
                        "the folder '%s' holds neither a sweep (study.db) nor "
                        "a run (config.yaml)",
                        path);
    *kind = mark->kind;
    return MUP_OK;
}

int path_classify(const char *path, int *kind, struct mup_error *err)
{
    struct yaml_doc doc = { 0 };
    struct stat st;
    int rc;

    if (stat(path, &st) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", path,
                        strerror(errno));
    if (S_ISDIR(st.st_mode))
        return classify_dir(path, kind, err);
    rc = yaml_open(path, &doc, err);
    if (rc != MUP_OK)
        return rc;
    *kind = doc.root && doc.root->kind == YAML_MAP &&
                    yaml_get(doc.root, "parameters")
                ? PATH_SWEEP_CONFIG
                : PATH_RUN_CONFIG;
    yaml_close(&doc);
    return MUP_OK;
}

int path_expect(const char *path, int kind, struct mup_error *err)
{
    static const char *const what[] = {
        "a run config",
        "a sweep file (one with 'parameters:')",
        "the folder of a run",
        "the folder of a sweep",
    };
    static const char *const remedy[] = {
        "mutransfer train",
        "mutransfer sweep",
        "mutransfer status",
        "mutransfer report",
    };
    struct stat st;
    int found = kind, rc;

    if (kind == PATH_RUN_CONFIG || kind == PATH_SWEEP_CONFIG)
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return mup_fail(err, MUP_USAGE,
                            "'%s' is a folder, but %s is "
                            "needed here",
                            path, what[kind]);
    rc = path_classify(path, &found, err);
    if (rc != MUP_OK || found == kind)
        return rc;
    return mup_fail(err, MUP_USAGE,
                    "'%s' is %s, but %s is needed here; '%s' takes it", path,
                    what[found], what[kind], remedy[found]);
}

int path_default_dir(const char *yaml, char *out, size_t bytes,
                     struct mup_error *err)
{
    const char *slash = strrchr(yaml, '/'), *name = slash ? slash + 1 : yaml;
    const char *dot = strrchr(name, '.');
    size_t len = dot && dot != name ? (size_t)(dot - name) : strlen(name);
    int n = snprintf(out, bytes, "runs/%.*s", (int)len, name);

    if (n < 0 || (size_t)n >= bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long",
                        yaml);
    return MUP_OK;
}

int path_provenance(const char *yaml, char *out, size_t bytes,
                    struct mup_error *err)
{
    const char *dot = strrchr(yaml, '.'), *slash = strrchr(yaml, '/');
    size_t len =
        dot && (!slash || dot > slash) ? (size_t)(dot - yaml) : strlen(yaml);
    int n = snprintf(out, bytes, "%.*s.transfer.json", (int)len, yaml);

    if (n < 0 || (size_t)n >= bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long",
                        yaml);
    return MUP_OK;
}

int path_is_csv(const char *path)
{
    size_t n = strlen(path);

    return n > 4 && !strcasecmp(path + n - 4, ".csv");
}

int path_report_dir(const char *csv, char *out, size_t bytes,
                    struct mup_error *err)
{
    size_t n = strlen(csv) - (path_is_csv(csv) ? 4 : 0);
    int got = snprintf(out, bytes, "%.*s-report", (int)n, csv);

    if (got < 0 || (size_t)got >= bytes)
        return mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", csv);
    return MUP_OK;
}

int path_hash(const char *path, char out[33], struct mup_error *err)
{
    XXH128_hash_t hash;
    char *text = NULL;
    size_t bytes = 0;
    int rc = file_read(path, (size_t)1 << 26, &text, &bytes, err);

    if (rc != MUP_OK)
        return rc;
    hash = XXH3_128bits(text, bytes);
    free(text);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return MUP_OK;
}

int path_has_program(const char *name)
{
    const char *path = getenv("PATH");
    char file[4096];

    while (path && *path) {
        size_t len = strcspn(path, ":");

        snprintf(file, sizeof(file), "%.*s/%s", (int)len, path, name);
        if (access(file, X_OK) == 0)
            return 1;
        path += len + (path[len] == ':');
    }
    return 0;
}

int path_expect_free(const char *dir, int kind, struct mup_error *err)
{
    const struct mark *mark = find_mark(dir);

    if (!mark || mark->kind == kind)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "'%s' holds %s already; name another folder after -o", dir,
                    mark->what);
}
