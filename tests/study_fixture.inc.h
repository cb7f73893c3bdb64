/* A finished study on disk with planted losses, for the tests of the report
 * and the pictures: store, configs, metrics, coordinate checks and target,
 * written through the program's own modules but without training. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/file.h"
#include "model/random.h"
#include "sweep/store.h"

struct study {
    char dir[256];
    double slope[3];    /* of the optimum per doubling, SP and muP, or by the
                         * number of the choice of another group key */
    int seeds;          /* 1 or 3 */
    int finished;       /* trials with a result; -1 = all */
    int coord;          /* coordinate checks exist */
    int target;         /* the target run exists */
    int twins;          /* what is the same run is run once */
    const char *groups; /* of mup.parametrization, NULL = [sp, mup] */
    const char *widths; /* NULL = [32, 64, 128, 256] */
    /* Other keys than mup.parametrization, model.width and train.lr; over and
     * by are then grouped over the values in widths and groups. */
    const char *by, *over, *of;
    const char *extra; /* more of the section mup in base.yaml */
    int64_t dead;      /* from this width on, seed 1 always diverges; 0: none */
    const char *name;  /* of the folder, NULL = "study" */
};

static void study_text(const char *dir, const char *name, const char *text)
{
    char path[1024];
    struct mup_error err = { 0 };
    struct file_replace f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (file_replace_open(path, &f, &err) || fputs(text, f.out) < 0 ||
        file_replace_commit(&f, &err))
        fail_msg("%s", err.text);
}

/* Loss and balance of a run that ends at loss, 60 logged steps. */
static void study_metrics(const char *dir, double loss, uint64_t seed)
{
    struct random_key key = random_key(seed, "test", "metrics");
    char path[1024];
    FILE *f;

    snprintf(path, sizeof(path), "%s/metrics.jsonl", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 60; i++) {
        double t = (i + 1) / 60.0;
        double now = loss + (5.55 - loss) * exp(-6 * t) +
                     0.02 * random_normal(&key, (uint64_t)i * 20);

        fprintf(f, "{\"step\":%d,\"tokens\":%d,\"loss\":%.6f,", 5 * (i + 1),
                5120 * (i + 1), now);
        if (i == 59)
            fprintf(f, "\"val_loss\":%.6f,", loss);
        fprintf(f,
                "\"load_max\":[%.4f,%.4f],\"dead\":[0,0],"
                "\"gate_entropy\":[1.9,1.8],\"expert_load\":[",
                1.1 + exp(-4 * t), 1.2 + 0.7 * exp(-3 * t));
        for (int l = 0; l < 2; l++) {
            fprintf(f, "%s[", l ? "," : "");
            for (int e = 0; e < 8; e++)
                fprintf(f, "%s%.4f", e ? "," : "",
                        0.125 * (1 + 0.5 * sin(e + l + 1) * exp(-3 * t)));
            fprintf(f, "]");
        }
        fprintf(f, "]}\n");
    }
    assert_int_equal(fclose(f), 0);
}

static void study_run_dir(const struct run_config *config, const char *dir,
                          double loss, uint64_t seed)
{
    struct mup_error err = { 0 };
    struct file_replace f;
    char path[1024];

    assert_int_equal(file_make_dirs(dir, &err), MUP_OK);
    snprintf(path, sizeof(path), "%s/config.yaml", dir);
    if (file_replace_open(path, &f, &err) ||
        config_dump(&run_schema, config, 0, f.out, &err) ||
        file_replace_commit(&f, &err))
        fail_msg("%s", err.text);
    study_text(dir, "manifest.json",
               "{\"version\":\"0.1.0\",\"cpu\":\"a <fast> & small one\","
               "\"parameters\":123456,\"train\":{\"source\":\"corpus.bin\","
               "\"corpus\":{\"packages\":[{\"name\":\"git-doc\",\"version\":"
               "\"1:2.39\"}]}}}");
    if (isfinite(loss))
        study_metrics(dir, loss, seed);
}

/* The value of a numeric key, or the number of a choice. */
static double study_value(const struct run_config *c, const char *key)
{
    const struct section *section;
    const struct field *f = config_find(&run_schema, key, &section);
    const char *at = (const char *)c + section->offset + f->offset;
    int64_t whole;
    double real;
    int choice;

    memcpy(&whole, at, sizeof(whole));
    memcpy(&real, at, sizeof(real));
    memcpy(&choice, at, sizeof(choice));
    return f->type == FIELD_INT    ? (double)whole
           : f->type == FIELD_REAL ? real
                                   : choice;
}

/* A valley around 2^-6 + slope * doublings, steeper on the right, and a cliff
 * three octaves above it.  Doublings are those of the width from 32, or of
 * another key from 2. */
static double study_loss(const struct study *s, const struct run_config *c,
                         uint64_t seed)
{
    struct random_key key = random_key(seed, "test", "study");
    double grown = study_value(c, s->over ? s->over : "model.width");
    double doublings = log2(grown / (s->over ? 2 : 32));
    int group = (int)study_value(c, s->by ? s->by : "mup.parametrization");
    double d = log2(study_value(c, s->of ? s->of : "train.lr")) -
               (-5.8 + s->slope[group] * doublings);
    double y = log(2.6 - 0.12 * doublings) +
               0.012 * 2 * (expm1(0.5 * d) - 0.5 * d) / 0.25;

    return d > 2.9
               ? NAN
               : exp(y + 0.003 * random_normal(&key, (uint64_t)(64 + d * 4)));
}

static void study_trial(const struct study *s, const struct space *space,
                        struct store *store, struct trial *t)
{
    struct mup_error err = { 0 };
    struct run_config config;
    char dir[512];
    int64_t twin;

    snprintf(t->point.value[0], SPACE_TEXT_BYTES, "%s",
             space->parameter[0].values[t->config]);
    if (space_resolve(space, &t->point, t->member, t->seed, &config, &err))
        fail_msg("%s", err.text);
    t->width = config.model.width;
    t->parametrization = config.mup.parametrization;
    t->value = t->loss = t->val_loss = t->val_bpb = NAN;
    twin = s->twins ? space_twin(space, &config, t->member) : -1;
    if (twin >= 0 && twin < t->member)
        t->twin = t->id - (t->member - twin) * space->n_seeds;
    if (store_add_trial(store, t, &err))
        fail_msg("%s", err.text);
    if (s->finished >= 0 && t->id > s->finished)
        return;
    if (store_set_running(store, t->id, 1, &err))
        fail_msg("%s", err.text);
    t->attempt = 1;
    t->loss = study_loss(s, &config, (uint64_t)(t->twin ? t->twin : t->id));
    if (s->dead > 0 && t->width >= s->dead && t->seed == 1)
        t->loss = NAN;
    t->value = t->val_loss = t->loss;
    t->state = isfinite(t->loss) ? TRIAL_DONE : TRIAL_DIVERGED;
    t->steps = 300;
    if (store_finish(store, t, &err))
        fail_msg("%s", err.text);
    snprintf(dir, sizeof(dir), "%s/trials/%lld", s->dir, (long long)t->id);
    study_run_dir(&config, dir, t->twin ? NAN : t->loss, (uint64_t)t->id);
}

/* slope: of hidden activations with width. */
static void study_coord(const struct study *s, const char *name, double slope)
{
    static const struct {
        const char *name, *quantity;
        double own; /* share of the slope */
    } rows[] = { { "blocks.0.attn.mix", "activation", 0.3 },
                 { "blocks.1.moe.act", "activation", 1 },
                 { "blocks.1.moe.down", "update", 0.8 },
                 { "blocks.1.moe.router.logits", "router_logits", 0.7 },
                 { "logits", "output_logits", 1.2 } };
    static const int widths[] = { 32, 64, 128, 256 };
    json_t *list = json_array(), *check;
    char dir[512], *text;

    for (int r = 0; r < 5; r++)
        for (int step = rows[r].quantity[0] == 'u' ? 2 : 1; step <= 6; step++) {
            double k = step == 1 ? 0 : slope * rows[r].own;
            json_t *mean = json_array();

            for (int w = 0; w < 4; w++)
                json_array_append_new(
                    mean,
                    json_real((0.4 + 0.05 * step) * pow(widths[w] / 32.0, k)));
            json_array_append_new(
                list,
                json_pack(
                    "{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:o}",
                    "name", rows[r].name, "quantity", rows[r].quantity, "step",
                    step, "slope", k, "lo", k - 0.02, "hi", k + 0.02,
                    "expected", 0.0, "off", k, "verdict",
                    k > 0.25 ? "FAIL" : "ok", "cause",
                    k > 0.25 ? "learning rate not divided by width" : "",
                    "mean", mean));
        }
    check = json_pack("{s:s, s:s, s:[i,i,i,i], s:i, s:i, s:f, s:s?, s:o}",
                      "parametrization", name, "verdict",
                      slope > 0.2 ? "FAIL" : "PASS", "widths", 32, 64, 128, 256,
                      "seeds", 3, "steps", 5, "lr", 0.03125, "worst",
                      slope > 0.2 ? "logits" : NULL, "rows", list);
    text = json_dumps(check, 0);
    assert_non_null(text);
    snprintf(dir, sizeof(dir), "%s/coord-%s", s->dir, name);
    assert_int_equal(file_make_dirs(dir, NULL), MUP_OK);
    study_text(dir, "coord.json", text);
    free(text);
    json_decref(check);
}

static void study_target(const struct study *s, const struct space *space)
{
    struct run_config config = space->base;
    char dir[512];

    config.model.width = 512;
    config.mup.parametrization = MUP_MUP;
    config.train.lr = exp2(-5.8);
    snprintf(config.data.train, sizeof(config.data.train), "it's text.bin");
    snprintf(dir, sizeof(dir), "%s/target", s->dir);
    study_run_dir(&config, dir, 2.1, 999);
    study_text(dir, "events.jsonl",
               "{\"event\":\"start\",\"time\":1,\"pid\":2,\"step\":0}\n"
               "{\"event\":\"done\",\"time\":2,\"step\":300,\"loss\":2.11,"
               "\"val_loss\":2.1,\"val_bpb\":3.03,\"tokens\":307200,"
               "\"flops\":1e12,\"wall_s\":61.5}\n");
}

/* s->dir must exist and be empty. */
static void study_make(const struct study *s)
{
    struct mup_error err = { 0 };
    struct space space;
    struct store *store;
    struct trial t = { 0 };
    char path[512], text[1024];

    snprintf(text, sizeof(text),
             "model: {width: 32, layers: 2, experts: 8}\n"
             "mup: {base_width: 32%s}\ntrain: {steps: 300, lr: 2^-6}\n",
             s->extra ? s->extra : "");
    study_text(s->dir, "base.yaml", text);
    snprintf(text, sizeof(text),
             "name: planted & <plain>\nbase: base.yaml\nmethod: grid\n"
             "parameters:\n  %s: {distribution: log_uniform_values, "
             "min: 2^-11, max: 2^-2, step: 1}\n"
             "groups:\n  %s: %s\n"
             "  %s: %s\nseeds: %s\n",
             s->of ? s->of : "train.lr", s->by ? s->by : "mup.parametrization",
             s->groups ? s->groups : "[sp, mup]",
             s->over ? s->over : "model.width",
             s->widths ? s->widths : "[32, 64, 128, 256]",
             s->seeds == 3 ? "[1, 2, 3]" : "[1]");
    study_text(s->dir, "sweep.yaml", text);
    snprintf(path, sizeof(path), "%s/sweep.yaml", s->dir);
    if (space_open(path, NULL, 0, &space, &err) ||
        store_open(s->dir, &space, &store, &err))
        fail_msg("%s", err.text);
    assert_int_equal(store_begin(store, &err), MUP_OK);
    for (t.config = 0; t.config < space.parameter[0].n_values; t.config++)
        for (int64_t m = 0; m < space_members(&space); m++)
            for (int k = 0; k < space.n_seeds; k++) {
                struct trial one = { .id = ++t.id,
                                     .config = t.config,
                                     .member = m,
                                     .seed = space.seeds[k] };

                study_trial(s, &space, store, &one);
            }
    if (store_commit(store, &err))
        fail_msg("%s", err.text);
    if (s->coord) {
        study_coord(s, "sp", 0.5);
        study_coord(s, "mup", 0.01);
    }
    if (s->target)
        study_target(s, &space);
    store_close(store);
    space_close(&space);
}

static void study_begin(struct study *s)
{
    snprintf(s->dir, sizeof(s->dir), "/tmp/mutransfer-%s-XXXXXX",
             s->name ? s->name : "study");
    assert_non_null(mkdtemp(s->dir));
}

static void study_end(struct study *s)
{
    char command[512];

    snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
    assert_int_equal(system(command), 0);
}
