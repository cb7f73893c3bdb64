#include "sweep/corpora.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/data.h"
#include "sweep/sampler.h"

/* What data_open is asked for; equal asks are made once. */
struct ask {
    const char *split;
    char source[FIELD_TEXT_BYTES];
    int64_t seq, vocab, windows;
};

struct search {
    int64_t n;
    struct ask *ask;
    struct corpora found;
};

/* A place for one more at the end of a list of n; NULL when out of memory. */
static void *grow(void **list, int64_t n, size_t bytes)
{
    void *grown = realloc(*list, (size_t)(n + 1) * bytes);

    if (!grown)
        return NULL;
    *list = grown;
    return memset((char *)grown + (size_t)n * bytes, 0, bytes);
}

static int add_corpus(struct search *s, const struct ask *ask,
                      const struct data *data, struct mup_error *err)
{
    char name[sizeof(s->found.corpus->name)];
    void *list = s->found.corpus;
    struct corpus *c;

    snprintf(name, sizeof(name), "data.%s %s", ask->split, ask->source);
    for (int64_t i = 0; i < s->found.n; i++)
        if (!strcmp(s->found.corpus[i].name, name))
            return MUP_OK;
    c = grow(&list, s->found.n, sizeof(*c));
    if (!c)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    s->found.corpus = list;
    s->found.n++;
    memcpy(c->name, name, sizeof(name));
    snprintf(c->hash, sizeof(c->hash), "%016" PRIx64 "%016" PRIx64,
             data->hash[0], data->hash[1]);
    return MUP_OK;
}

static int check(struct search *s, const struct ask *ask, struct mup_error *err)
{
    void *list = s->ask;
    struct ask *place;
    struct data data;
    int rc;

    for (int64_t i = 0; i < s->n; i++)
        if (s->ask[i].split == ask->split && s->ask[i].seq == ask->seq &&
            s->ask[i].vocab == ask->vocab &&
            s->ask[i].windows == ask->windows &&
            !strcmp(s->ask[i].source, ask->source))
            return MUP_OK;
    place = grow(&list, s->n, sizeof(*place));
    if (!place)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    s->ask = list;
    s->n++;
    *place = *ask;
    rc = data_open(ask->source, ask->split, ask->seq, ask->vocab, 0,
                   ask->windows, &data, err);
    if (rc)
        return rc;
    if (!data.synthetic)
        rc = add_corpus(s, ask, &data, err);
    data_close(&data);
    return rc;
}

/* The two data sets of a run, as the trainer opens them. */
static int check_run(struct search *s, const struct run_config *c,
                     struct mup_error *err)
{
    static const char train_split[] = "train", valid_split[] = "valid";
    struct ask train = { train_split, "", c->model.seq, c->model.vocab,
                         c->train.batch };
    struct ask valid = { valid_split, "", c->model.seq, c->model.vocab, 1 };
    int rc;

    memcpy(train.source, c->data.train, sizeof(train.source));
    memcpy(valid.source, c->data.valid, sizeof(valid.source));
    rc = check(s, &train, err);
    return rc ? rc : check(s, &valid, err);
}

/* Does a parameter decide what is read?  Then every configuration counts. */
static int parameters_matter(const struct space *space)
{
    for (int p = 0; p < space->n_parameters; p++) {
        const char *key = space->parameter[p].key;

        if (!strncmp(key, "data.", 5) || !strcmp(key, "model.seq") ||
            !strcmp(key, "model.vocab") || !strcmp(key, "train.batch"))
            return 1;
    }
    return 0;
}

int corpora_open(const struct space *space, struct corpora *out,
                 struct mup_error *err)
{
    int64_t configs = parameters_matter(space) ? sampler_count(space) : 1;
    int64_t members = space_members(space);
    struct search s = { 0 };
    int rc = MUP_OK;

    for (int64_t c = 0; c < configs && !rc; c++) {
        struct space_point point;

        sampler_propose(space, c, NULL, 0, &point);
        for (int64_t m = 0; m < members && !rc; m++) {
            struct run_config run;

            rc = space_resolve(space, &point, m, space->seeds[0], &run, err);
            if (!rc)
                rc = check_run(&s, &run, err);
        }
    }
    free(s.ask);
    if (rc)
        corpora_clear(&s.found);
    else
        *out = s.found;
    return rc;
}

void corpora_clear(struct corpora *corpora)
{
    free(corpora->corpus);
    *corpora = (struct corpora){ 0 };
}
