#include "model/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "model/file.h"

static void cpu_name(char *out, size_t bytes)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[512];

    snprintf(out, bytes, "unknown");
    while (f && fgets(line, sizeof(line), f)) {
        char *colon = strchr(line, ':');

        if (colon && !strncmp(line, "model name", 10)) {
            colon[strcspn(colon, "\n")] = '\0';
            snprintf(out, bytes, "%s", colon + 2);
            break;
        }
    }
    if (f)
        (void)fclose(f); /* only read from */
}

json_t *manifest_corpus(const char *shard)
{
    char path[FIELD_TEXT_BYTES + 8];
    size_t n = strlen(shard);
    const char *tail;

    snprintf(path, sizeof(path), "%s", shard);
    if (n > 4 && !strcmp(path + n - 4, ".bin"))
        path[n - 4] = '\0';
    tail = strlen(path) > 6 ? path + strlen(path) - 6 : "";
    if (!strcmp(tail, "-valid"))
        path[strlen(path) - 6] = '\0';
    strncat(path, ".json", sizeof(path) - strlen(path) - 1);
    return json_load_file(path, 0, NULL);
}

static void hash_text(const struct data *data, char out[33])
{
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, data->hash[0],
             data->hash[1]);
}

static json_t *describe_data(const char *source, const struct data *data)
{
    char hash[33];
    json_t *corpus = data->synthetic ? NULL : manifest_corpus(source);

    hash_text(data, hash);
    return json_pack("{s:s, s:s, s:I, s:o*}", "source", source, "xxh3_128",
                     hash, "tokens",
                     (json_int_t)(data->synthetic ? 0 : data->shard.tokens),
                     "corpus", corpus);
}

/* A resumed run must read what it read before. */
static int same_text(const char *path, json_t *old, const char *split,
                     const struct data *data, struct mup_error *err)
{
    const char *before = json_string_value(
        json_object_get(json_object_get(old, split), "xxh3_128"));
    char now[33];

    hash_text(data, now);
    if (!before || strcmp(before, now) != 0)
        return mup_fail(err, MUP_USAGE,
                        "the text behind data.%s is not what '%s' was started "
                        "with (hash %s, now %s); restore it or choose another "
                        "directory",
                        split, path, before ? before : "missing", now);
    return MUP_OK;
}

/* Faults on purpose; NULL where there are none. */
static json_t *describe_drill(const struct drill_config *d)
{
    const struct {
        const char *key, *text;
    } list[] = { { "kill", d->kill },
                 { "stop", d->stop },
                 { "slow", d->slow },
                 { "flip", d->flip },
                 { "slow_write", d->slow_write },
                 { "fail_write", d->fail_write },
                 { "fill_disk", d->fill_disk },
                 { "preflight", d->preflight } };
    json_t *drill = NULL;

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (!list[i].text[0])
            continue;
        if (!drill)
            drill = json_object();
        json_object_set_new(drill, list[i].key, json_string(list[i].text));
    }
    return drill;
}

static int write_json(const char *path, const json_t *json,
                      struct mup_error *err)
{
    struct file_replace f;
    int rc = file_replace_open(path, &f, err);

    if (rc)
        return rc;
    (void)json_dumpf(json, f.out, JSON_INDENT(2)); /* commit checks */
    (void)fputc('\n', f.out);
    return file_replace_commit(&f, err);
}

/* A manifest that is there stays, but for drills that are new. */
static int keep(const char *path, json_t *json, const struct trainer *t,
                struct mup_error *err)
{
    json_t *drill = describe_drill(&t->config.drill);
    int rc = same_text(path, json, "train", &t->train, err);

    if (!rc)
        rc = same_text(path, json, "valid", &t->valid, err);
    if (!rc && drill && !json_equal(drill, json_object_get(json, "drill"))) {
        json_object_set(json, "drill", drill);
        rc = write_json(path, json, err);
    }
    json_decref(drill);
    return rc;
}

int manifest_write(const char *dir, const struct trainer *t,
                   struct mup_error *err)
{
    struct utsname host = { 0 };
    char cpu[256], path[1024], date[32];
    time_t now = time(NULL);
    struct tm utc;
    json_t *json;
    int rc;

    snprintf(path, sizeof(path), "%s/manifest.json", dir);
    if (access(path, F_OK) == 0) {
        json = json_load_file(path, 0, NULL);
        rc = json ? keep(path, json, t, err)
                  : mup_fail(err, MUP_CORRUPT,
                             "'%s' is damaged, so it cannot be told which text "
                             "this run was trained on; remove it if that has "
                             "not changed",
                             path);
        json_decref(json);
        return rc;
    }
    (void)uname(&host);
    cpu_name(cpu, sizeof(cpu));
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json = json_pack(
        "{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:o, "
        "s:o, s:o*}",
        "version", MUTRANSFER_VERSION, "revision", MUTRANSFER_REVISION,
        "compiler", MUTRANSFER_COMPILER, "ruleset", MUP_RULESET_VERSION,
        "started", date, "host", host.nodename, "system", host.release, "cpu",
        cpu, "backend", t->be.name, "seed", (json_int_t)t->config.train.seed,
        "parameters", (json_int_t)t->model.params.whole, "arena_bytes",
        (json_int_t)t->arena_bytes, "train",
        describe_data(t->config.data.train, &t->train), "valid",
        describe_data(t->config.data.valid, &t->valid), "drill",
        describe_drill(&t->config.drill));
    if (!json)
        return mup_fail(err, MUP_SYSTEM, "out of memory for manifest.json");
    rc = write_json(path, json, err);
    json_decref(json);
    return rc;
}
