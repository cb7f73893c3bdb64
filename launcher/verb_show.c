#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/plan.h"
#include "launcher/show_checkpoint.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/trainer.h"
#include "sweep/space.h"

static const struct option options[] = {
    { "no-verify", 0, NULL, "checkpoint: list it without reading its data" },
    { "comments", 0, NULL, "config: add each key's role and help" },
    OPTION_JSON,
    { 0 },
};

/* The run config of a run file, of a run folder, or under a sweep. */
static int load_config(const struct args *args, const char *path,
                       struct run_config *out, struct mup_error *err)
{
    char yaml[1100];
    int kind;
    int rc = path_classify(path, &kind, err);

    if (rc != MUP_OK)
        return rc;
    if (kind == PATH_RUN_DIR) {
        rc = path_join(path, "config.yaml", yaml, sizeof(yaml), err);
        if (rc != MUP_OK)
            return rc;
        path = yaml;
    } else if (kind != PATH_RUN_CONFIG) {
        return mup_fail(err, MUP_USAGE,
                        "'%s' is a sweep; show its base config or one of "
                        "trials/<id> instead",
                        path);
    }
    return run_config_load(path, args->overrides, args->n_overrides, out, err);
}

static int show_config(const struct args *args, const char *path,
                       struct mup_error *err)
{
    struct run_config config;
    int rc = load_config(args, path, &config, err);

    if (rc != MUP_OK)
        return rc;
    return config_dump(&run_schema, &config, args_given(args, "comments"),
                       stdout, err);
}

/* Root mean square of the initialised elements. */
static double measured_std(const struct trainer *t, int i)
{
    const struct param *p = &t->model.params.list[i];
    double sum = 0;

    t->be.ops->sum_squares((struct backend *)&t->be, &sum, t->model.weight[i]);
    return sqrt(sum / (double)p->count);
}

static void shape_text(const struct param *p, char *out, size_t bytes)
{
    const struct mup_shape *s = &p->shape;

    if (s->role == MUP_VECTOR)
        snprintf(out, bytes, "%lld", (long long)s->fan_out.size);
    else if (p->slices > 1)
        snprintf(out, bytes, "%lldx%lldx%lld", (long long)p->slices,
                 (long long)s->fan_out.size, (long long)s->fan_in.size);
    else
        snprintf(out, bytes, "%lldx%lld", (long long)s->fan_out.size,
                 (long long)s->fan_in.size);
}

static void ratio_text(const struct mup_shape *s, char *out, size_t bytes)
{
    if (s->role == MUP_VECTOR)
        snprintf(out, bytes, "%g", mup_ratio(s->fan_out));
    else
        snprintf(out, bytes, "%g/%g", mup_ratio(s->fan_out),
                 mup_ratio(s->fan_in));
}

static void print_param(const struct trainer *t, int i)
{
    const struct param *p = &t->model.params.list[i];
    char shape[64], ratio[64];

    shape_text(p, shape, sizeof(shape));
    ratio_text(&p->shape, ratio, sizeof(ratio));
    printf("%-22s %-11s %-13s %-8s ", p->name, mup_role_name(p->shape.role),
           shape, ratio);
    if (p->ones)
        printf("%-10s %-10s ", "ones", "ones");
    else
        printf("%-10.4g %-10.4g ", p->init_std, measured_std(t, i));
    printf("%-9.4g %-10.4g %-10.4g %-9.3g\n", p->forward, p->lr, p->decay,
           p->eps);
}

static json_t *param_json(const struct trainer *t, int i)
{
    const struct param *p = &t->model.params.list[i];
    json_t *o = json_object();

    json_object_set_new(o, "name", json_string(p->name));
    json_object_set_new(o, "role", json_string(mup_role_name(p->shape.role)));
    json_object_set_new(o, "slices", json_integer(p->slices));
    json_object_set_new(o, "fan_out", json_integer(p->shape.fan_out.size));
    json_object_set_new(o, "fan_in", json_integer(p->shape.fan_in.size));
    json_object_set_new(o, "ratio_out", json_real(mup_ratio(p->shape.fan_out)));
    json_object_set_new(o, "ratio_in", json_real(mup_ratio(p->shape.fan_in)));
    json_object_set_new(o, "ones", json_boolean(p->ones));
    json_object_set_new(o, "init_std", json_real(p->init_std));
    json_object_set_new(o, "init_std_measured", json_real(measured_std(t, i)));
    json_object_set_new(o, "forward", json_real(p->forward));
    json_object_set_new(o, "lr", json_real(p->lr));
    json_object_set_new(o, "weight_decay", json_real(p->decay));
    json_object_set_new(o, "eps", json_real(p->eps));
    return o;
}

static void print_params(const struct trainer *t)
{
    const struct params *p = &t->model.params;

    printf("%-22s %-11s %-13s %-8s %-10s %-10s %-9s %-10s %-10s %-9s\n",
           "tensor", "role", "out x in", "m out/in", "init std", "measured",
           "forward", "lr", "decay", "eps");
    for (int i = 0; i < p->n; i++)
        print_param(t, i);
    printf("attention logits x %.6g, output logits x %.6g; %s parameters, %s "
           "active\n",
           p->attention, p->readout, units_count(p->total).text,
           units_count(p->active).text);
}

static int print_params_json(const struct trainer *t, struct mup_error *err)
{
    json_t *o = json_object(), *list = json_array();

    for (int i = 0; i < t->model.params.n; i++)
        json_array_append_new(list, param_json(t, i));
    json_object_set_new(o, "ruleset", json_integer(MUP_RULESET_VERSION));
    json_object_set_new(o, "attention", json_real(t->model.params.attention));
    json_object_set_new(o, "readout", json_real(t->model.params.readout));
    json_object_set_new(o, "tensors", list);
    return json_print(o, err);
}

/* The table of a model that is really initialised, on data that needs no
 * file and with activations of one token. */
static int show_params(const struct args *args, const char *path,
                       struct mup_error *err)
{
    struct run_config config;
    struct trainer trainer;
    int rc = load_config(args, path, &config, err);

    if (rc != MUP_OK)
        return rc;
    snprintf(config.data.train, sizeof(config.data.train), "synthetic");
    snprintf(config.data.valid, sizeof(config.data.valid), "synthetic");
    config.train.batch = 1;
    config.train.micro_batch = 0;
    config.model.seq = config.model.seq < 8 ? config.model.seq : 8;
    rc = trainer_open(&config, NULL, &trainer, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json"))
        rc = print_params_json(&trainer, err);
    else
        print_params(&trainer);
    trainer_close(&trainer);
    return rc;
}

static int show_plan(const struct args *args, const char *path,
                     struct mup_error *err)
{
    struct run_config config;
    int rc = load_config(args, path, &config, err);

    if (rc != MUP_OK)
        return rc;
    plan_replace_data(&config);
    return plan_print_run(&config, args_given(args, "json"), err);
}

static int run(const struct args *args, struct mup_error *err)
{
    static const struct {
        const char *name;
        int (*show)(const struct args *args, const char *path,
                    struct mup_error *err);
    } things[] = {
        { "config", show_config },
        { "params", show_params },
        { "plan", show_plan },
        { "checkpoint", show_checkpoint },
    };

    for (size_t i = 0; i < sizeof(things) / sizeof(things[0]); i++)
        if (!strcmp(args->operands[0], things[i].name))
            return things[i].show(args, args->operands[1], err);
    return mup_fail(err, MUP_USAGE,
                    "cannot show '%s'; one of config, params, plan, checkpoint",
                    args->operands[0]);
}

const struct verb verb_show = {
    "show",
    "config|params|plan|checkpoint PATH",
    2,
    2,
    VERB_CONFIG,
    "a resolved config, the per-tensor table, a plan, a checkpoint",
    "config      the resolved config; it parses to itself\n"
    "params      per tensor: role, fan-out x fan-in, width factors, init std "
    "by\n"
    "            rule and as measured on the initialised model, forward\n"
    "            multiplier, and learning rate, weight decay and epsilon as "
    "the\n"
    "            optimizer holds them\n"
    "plan        as the verb 'plan'\n"
    "checkpoint  the tensors of a checkpoint, or of the newest one of a run, "
    "with\n"
    "            a hash of each; all its data is read and verified\n"
    "PATH is a run config or the folder of a run.",
    "mutransfer show params configs/tiny.yaml",
    options,
    run,
};
