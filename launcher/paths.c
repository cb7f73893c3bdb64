#include "launcher/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static int classify_dir(const char *path, int *kind, struct mup_error *err)
{
    char file[4096];

    if (path_join(path, "study.db", file, sizeof(file), err) != MUP_OK)
        return MUP_USAGE;
    if (path_exists(file)) {
        *kind = PATH_SWEEP_DIR;
        return MUP_OK;
    }
    if (path_join(path, "config.yaml", file, sizeof(file), err) != MUP_OK)
        return MUP_USAGE;
    if (path_exists(file)) {
        *kind = PATH_RUN_DIR;
        return MUP_OK;
    }
    return mup_fail(err, MUP_USAGE,
                    "the folder '%s' holds neither a sweep (study.db) nor a "
                    "run (config.yaml)",
                    path);
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

int path_expect_free(const char *dir, int kind, struct mup_error *err)
{
    int other = kind == PATH_RUN_DIR ? PATH_SWEEP_DIR : PATH_RUN_DIR;
    const char *mark = other == PATH_SWEEP_DIR ? "study.db" : "config.yaml";
    char path[4096];

    if (path_join(dir, mark, path, sizeof(path), NULL) != MUP_OK ||
        !path_exists(path))
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "'%s' holds a %s already; name another folder after -o",
                    dir, other == PATH_SWEEP_DIR ? "sweep" : "training run");
}
