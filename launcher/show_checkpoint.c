#include "launcher/show_checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/units.h"
#include "model/checkpoint.h"

/* One tensor, put together from its chunks. */
struct tensor {
    struct checkpoint_part whole; /* no data */
    int64_t chunks, shared;       /* shared: written by an earlier save */
    char hash[17];                /* of all elements, row by row; "" unread */
};

struct contents {
    struct tensor *tensors; /* in the order of the manifest */
    int n;
    double bytes, shared_bytes;
    int64_t shared;
};

/* out = path itself if it is a checkpoint, else the newest one of a run. */
static int find_checkpoint(const char *path, char *out, size_t bytes,
                           struct mup_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char file[1200];
    int rc = path_join(path, "checkpoints", file, sizeof(file), err);

    if (rc != MUP_OK)
        return rc;
    if (!path_exists(file)) {
        int named = !strncmp(name, "step-", 5) || !strncmp(name, "damaged-", 8);

        rc = path_join(path, "manifest.json", file, sizeof(file), err);
        if (rc != MUP_OK)
            return rc;
        if (path_exists(file) || (named && path_exists(path))) {
            snprintf(out, bytes, "%s", path);
            return MUP_OK;
        }
        snprintf(file, sizeof(file), "%s", path);
    }
    rc = checkpoint_newest(file, out, bytes, err);
    if (rc == MUP_OK && !*out)
        return mup_fail(err, path_exists(path) ? MUP_USAGE : MUP_SYSTEM,
                        "no checkpoint in '%s'", path);
    return rc;
}

/* Data files are named after the step that wrote them. */
static int is_shared(const struct checkpoint *c,
                     const struct checkpoint_chunk *chunk)
{
    char step[32];

    snprintf(step, sizeof(step), "-%010" PRId64, c->step);
    return strstr(chunk->file, step) == NULL;
}

static struct tensor *find_tensor(struct contents *t,
                                  const struct checkpoint_part *part)
{
    /* from the end: the chunks of a tensor mostly follow each other */
    for (int i = t->n - 1; i >= 0; i--)
        if (checkpoint_part_order(&t->tensors[i].whole, part) == 0)
            return &t->tensors[i];
    t->tensors[t->n].whole = checkpoint_whole(part->name, part->kind,
                                              part->shape, part->dtype, NULL);
    return &t->tensors[t->n++];
}

static int list_tensors(const struct checkpoint *c, struct contents *out,
                        struct mup_error *err)
{
    struct contents t = { calloc((size_t)c->n_chunks + 1, sizeof(*t.tensors)) };

    if (!t.tensors)
        return mup_fail(err, MUP_SYSTEM, "out of memory to show '%s'", c->path);
    for (int64_t i = 0; i < c->n_chunks; i++) {
        const struct checkpoint_chunk *chunk = &c->chunks[i];
        struct tensor *tensor = find_tensor(&t, &chunk->part);
        double bytes = (double)checkpoint_part_bytes(&chunk->part);
        int shared = is_shared(c, chunk);

        tensor->chunks++;
        tensor->shared += shared;
        t.shared += shared;
        t.bytes += bytes;
        t.shared_bytes += shared * bytes;
    }
    *out = t;
    return MUP_OK;
}

/* The hash does not depend on how the ranks that wrote it were laid out: the
 * same tensor has the same one in every checkpoint. */
static int hash_tensor(const struct checkpoint *c, struct tensor *t,
                       struct mup_error *err)
{
    struct checkpoint_part want = t->whole;
    size_t bytes = (size_t)checkpoint_part_bytes(&want);
    int rc;

    want.data = malloc(bytes + 1);
    if (!want.data)
        return mup_fail(err, MUP_SYSTEM,
                        "out of memory for tensor '%s' (%s) of %s", want.name,
                        want.kind, units_bytes((double)bytes).text);
    rc = checkpoint_read(c, &want, 1, err);
    if (rc == MUP_OK)
        snprintf(t->hash, sizeof(t->hash), "%016" PRIx64,
                 (uint64_t)XXH3_64bits(want.data, bytes));
    free(want.data);
    return rc;
}

static json_t *tensor_json(const struct tensor *t)
{
    const struct checkpoint_part *p = &t->whole;
    json_t *o = json_pack(
        "{s:s, s:s, s:i, s:[I,I,I], s:I, s:I, s:I}", "name", p->name, "kind",
        p->kind, "dtype", p->dtype, "shape", (json_int_t)p->shape[0],
        (json_int_t)p->shape[1], (json_int_t)p->shape[2], "bytes",
        (json_int_t)checkpoint_part_bytes(p), "chunks", (json_int_t)t->chunks,
        "shared_chunks", (json_int_t)t->shared);

    json_object_set_new(o, "xxh3",
                        t->hash[0] ? json_string(t->hash) : json_null());
    return o;
}

static int print_json(const struct checkpoint *c, const struct contents *t,
                      int verified, struct mup_error *err)
{
    json_t *list = json_array();

    for (int i = 0; i < t->n; i++)
        json_array_append_new(list, tensor_json(&t->tensors[i]));
    return json_print(
        json_pack(
            "{s:s, s:O, s:O, s:O, s:O, s:O, s:b, s:I, s:I, s:f, s:f, s:o}",
            "path", c->path, "format", json_object_get(c->manifest, "format"),
            "ruleset", json_object_get(c->manifest, "ruleset"), "step",
            json_object_get(c->manifest, "step"), "ranks",
            json_object_get(c->manifest, "ranks"), "state",
            json_object_get(c->manifest, "state"), "verified", verified,
            "chunks", (json_int_t)c->n_chunks, "shared_chunks",
            (json_int_t)t->shared, "bytes", t->bytes, "shared_bytes",
            t->shared_bytes, "tensors", list),
        err);
}

static void print_text(const struct checkpoint *c, const struct contents *t,
                       int verified)
{
    json_t *ruleset = json_object_get(c->manifest, "ruleset");

    printf("%s  step %" PRId64 ", written by %" PRId64 " %s, rule set %lld\n",
           c->path, c->step, c->ranks, c->ranks == 1 ? "rank" : "ranks",
           (long long)json_integer_value(ruleset));
    for (int i = 0; i < t->n; i++) {
        const struct checkpoint_part *p = &t->tensors[i].whole;
        char shape[80];

        snprintf(shape, sizeof(shape), "%" PRId64 " x %" PRId64 " x %" PRId64,
                 p->shape[0], p->shape[1], p->shape[2]);
        printf("%-24s %-7s %-20s %-10s %s\n", p->name, p->kind, shape,
               units_bytes((double)checkpoint_part_bytes(p)).text,
               t->tensors[i].hash);
    }
    printf("%d tensors, %s in %" PRId64 " chunks", t->n,
           units_bytes(t->bytes).text, c->n_chunks);
    if (t->shared)
        printf(", of which %" PRId64 " (%s) are shared with earlier "
               "checkpoints",
               t->shared, units_bytes(t->shared_bytes).text);
    printf("\n");
    if (verified)
        printf("every chunk has its hash\n");
}

int show_checkpoint(const struct args *args, const char *path,
                    struct mup_error *err)
{
    int verify = !args_given(args, "no-verify");
    struct checkpoint c = { 0 };
    struct contents t = { 0 };
    char found[CHECKPOINT_PATH_BYTES];
    int rc = find_checkpoint(path, found, sizeof(found), err);

    if (rc == MUP_OK)
        rc = checkpoint_open(found, &c, err);
    if (rc == MUP_OK)
        rc = list_tensors(&c, &t, err);
    for (int i = 0; rc == MUP_OK && verify && i < t.n; i++)
        rc = hash_tensor(&c, &t.tensors[i], err);
    if (rc == MUP_OK && args_given(args, "json"))
        rc = print_json(&c, &t, verify, err);
    else if (rc == MUP_OK)
        print_text(&c, &t, verify);
    free(t.tensors);
    checkpoint_close(&c);
    return rc;
}
