#include "sweep/coord_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/file.h"
#include "sweep/coord_series.h"

/* The batch of the check.  An update is aligned with a token only as far as
 * that token is a large part of the batch; with many more tokens than width
 * one would measure noise (docs/mathematics.md). */
#define CHECK_SEQUENCES 2
#define CHECK_TOKENS    16

/* Where a value of a run goes. */
struct recorder {
    struct coord_table *table;
    int cell;
    int status;
    struct mup_error *err;
};

static void record(void *context, const char *name, int quantity, int step,
                   double value)
{
    struct recorder *r = context;
    struct coord_series key = { .quantity = quantity, .step = step };

    snprintf(key.name, sizeof(key.name), "%s", name);
    if (!r->status)
        r->status = coord_table_put(r->table, &key, r->cell, value, r->err);
}

struct run_config coord_config_at(const struct run_config *config,
                                  const struct coord_options *options, int size,
                                  int64_t seed)
{
    struct run_config c = *config;
    int64_t to = options->sizes[size];

    if (options->grow == MUP_GROW_DEPTH)
        c.model.layers = to;
    else
        c.model.width = to;
    if (options->grow == MUP_GROW_HEAD_SIZE)
        c.model.head_size = to * c.mup.base_head_size / c.mup.base_width;
    if (c.model.seq > CHECK_TOKENS)
        c.model.seq = CHECK_TOKENS;
    if (c.train.batch > CHECK_SEQUENCES)
        c.train.batch = CHECK_SEQUENCES;
    c.train.micro_batch = 0;
    c.train.schedule = SCHEDULE_CONSTANT;
    c.train.warmup = 0;
    c.train.seed = config->train.seed + seed;
    return c;
}

/* Heads of base_width / base_head_size at every width. */
static int check_heads(const struct run_config *config,
                       const struct coord_options *o, int64_t width,
                       struct mup_error *err)
{
    int64_t product = width * config->mup.base_head_size;

    if (o->grow != MUP_GROW_HEAD_SIZE || product % config->mup.base_width == 0)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "width %" PRId64
                    " is no multiple of mup.base_width %" PRId64
                    " over mup.base_head_size %" PRId64
                    ", so that heads cannot grow with it",
                    width, config->mup.base_width, config->mup.base_head_size);
}

/* In the range of its config key, so that products of sizes cannot overflow. */
static int check_size(const struct run_config *config,
                      const struct coord_options *o, int64_t size,
                      struct mup_error *err)
{
    const char *key =
        o->grow == MUP_GROW_DEPTH ? "model.layers" : "model.width";
    struct run_config c = *config;
    char text[32];

    snprintf(text, sizeof(text), "%" PRId64, size);
    return config_set(&run_schema, &c, key, text, err);
}

static int check_options(const struct coord_options *o, struct mup_error *err)
{
    if (o->n_sizes < 2 || o->n_sizes > COORD_MAX_SIZES)
        return mup_fail(err, MUP_USAGE,
                        "a coordinate check needs 2 to %d sizes, not %d",
                        COORD_MAX_SIZES, o->n_sizes);
    if (o->steps < 1 || o->steps > 1000)
        return mup_fail(
            err, MUP_USAGE,
            "a coordinate check takes 1 to 1000 steps, not %" PRId64, o->steps);
    if (o->seeds < 1 || o->seeds > 1000)
        return mup_fail(
            err, MUP_USAGE,
            "a coordinate check takes 1 to 1000 seeds, not %" PRId64, o->seeds);
    return MUP_OK;
}

/* Can the ranks share this size as they share the others? */
static int check_layout(const struct run_config *config, struct ranks *ranks,
                        struct mup_error *err)
{
    struct run_config c = *config;
    struct layout l;

    if (!ranks)
        return MUP_OK;
    c.parallel.data = ranks->place.n.data;
    c.parallel.expert = ranks->place.n.expert;
    c.parallel.tensor = ranks->place.n.tensor;
    return layout_resolve(&c, ranks->all.size, 0, &l, err);
}

int coord_check_plan(const struct run_config *config,
                     const struct coord_options *o, size_t *bytes,
                     struct mup_error *err)
{
    size_t most = 0, one;
    int rc = check_options(o, err);

    for (int i = 0; !rc && i < o->n_sizes; i++) {
        struct run_config c;

        rc = check_size(config, o, o->sizes[i], err);
        if (!rc)
            rc = check_heads(config, o, o->sizes[i], err);
        if (rc)
            return rc;
        c = coord_config_at(config, o, i, 0);
        rc = run_config_check(&c, err);
        if (!rc)
            rc = check_layout(&c, o->ranks, err);
        if (!rc)
            rc = coord_probe_plan(&c, o->ranks, &one, err);
        if (!rc && one > most)
            most = one;
    }
    if (!rc)
        *bytes = most;
    return rc;
}

/* A machine that has less memory would swap or kill the process. */
static int check_memory(const struct run_config *config,
                        const struct coord_options *o, struct mup_error *err)
{
    size_t bytes;
    int rc = coord_check_plan(config, o, &bytes, err);
#ifdef _SC_PHYS_PAGES
    double have =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    if (!rc && (double)bytes > have)
        return mup_fail(err, MUP_SYSTEM,
                        "the coordinate check takes %.1f GiB at its largest "
                        "size and this machine has %.1f; leave out the largest",
                        (double)bytes / 1073741824, have / 1073741824);
#endif
    return rc;
}

/* Is one of the ranks asked to? */
static int must_stop(const struct coord_hooks *hooks, struct ranks *ranks)
{
    uint64_t stop =
        hooks && hooks->should_stop && hooks->should_stop(hooks->context);

    if (ranks)
        comm_all_reduce(&ranks->all, &stop, 1, COMM_U64);
    return stop > 0;
}

static int run_all(const struct run_config *config,
                   const struct coord_options *o,
                   const struct coord_hooks *hooks, struct coord_table *table,
                   struct mup_error *err)
{
    const struct coord_probe_options probe = { o->steps, o->grow, o->ranks };
    int total = o->n_sizes * (int)o->seeds, rc = MUP_OK;

    for (int cell = 0; !rc && cell < total; cell++) {
        struct run_config c =
            coord_config_at(config, o, cell % o->n_sizes, cell / o->n_sizes);
        struct recorder r = { table, cell, MUP_OK, err };
        const struct coord_sink sink = { &r, record };

        if (must_stop(hooks, o->ranks))
            return mup_fail(err, MUP_STOPPED,
                            "stopped on request; nothing was written");
        rc = coord_probe_run(&c, &probe, &sink, err);
        if (!rc)
            rc = r.status;
        if (o->ranks)
            rc = comm_agree(&o->ranks->all, rc, err);
        if (!rc && hooks && hooks->progress)
            hooks->progress(hooks->context, cell + 1, total);
    }
    return rc;
}

int coord_check_run(const struct run_config *config,
                    const struct coord_options *options, const char *dir,
                    const struct coord_hooks *hooks, struct coord_result *out,
                    struct mup_error *err)
{
    struct coord_table table = { .n_sizes = options->n_sizes,
                                 .n_seeds = (int)options->seeds };
    const struct coord_origin origin = { config, options, NULL };
    struct ranks *ranks = options->ranks;
    int writes = !ranks || ranks->all.rank == 0;
    int rc = check_memory(config, options, err);

    if (!rc && writes)
        rc = file_make_dirs(dir, err);
    if (ranks)
        rc = comm_agree(&ranks->all, rc, err);
    if (!rc)
        rc = run_all(config, options, hooks, &table, err);
    if (!rc)
        rc = coord_conclude(&table, &origin, writes ? dir : NULL, out, err);
    coord_table_clear(&table);
    return rc;
}

void coord_result_clear(struct coord_result *result)
{
    free(result->rows);
    free(result->names);
    free(result->json);
    memset(result, 0, sizeof(*result));
}

void coord_config_hash(const struct run_config *config, char out[17])
{
    XXH64_hash_t hash = 0;

    for (const struct section *s = run_schema.sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++) {
            char line[2 * FIELD_TEXT_BYTES + CONFIG_KEY_BYTES];
            char value[FIELD_TEXT_BYTES + 32];
            int n;

            if (f->role != ROLE_TRANSFER && f->role != ROLE_FIXED)
                continue;
            if (!strcmp(s->name, "train") && !strcmp(f->key, "lr"))
                continue;
            config_text(s, f, config, value, sizeof(value));
            n = snprintf(line, sizeof(line), "%s.%s=%s\n", s->name, f->key,
                         value);
            hash = XXH3_64bits_withSeed(line, (size_t)n, hash);
        }
    }
    snprintf(out, 17, "%016llx", (unsigned long long)hash);
}
