#include "launcher/training.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/stop.h"
#include "launcher/terminal.h"
#include "launcher/units.h"

static void show_step(void *context, const struct train_step *s)
{
    struct terminal *t = context;

    terminal_progress(t, "step %lld/%lld  loss %.4f  lr %.3g  %s  eta %s",
                      (long long)s->step, (long long)s->steps, s->loss, s->lr,
                      units_si(s->tokens_per_s, "tok/s").text,
                      units_seconds(s->eta_s).text);
}

static void show_note(void *context, const char *sentence)
{
    terminal_note(context, "warning: %s", sentence);
}

static int print_json(const char *dir, const struct train_result *r,
                      struct mup_error *err)
{
    json_t *o = json_object();

    json_object_set_new(o, "dir", json_string(dir));
    json_object_set_new(o, "diverged", json_boolean(r->diverged));
    json_object_set_new(o, "steps", json_integer(r->steps));
    json_object_set_new(o, "tokens", json_integer(r->tokens));
    json_object_set_new(o, "loss", json_number(r->loss));
    json_object_set_new(o, "val_loss", json_number(r->val_loss));
    json_object_set_new(o, "val_bpb", json_number(r->val_bpb));
    json_object_set_new(o, "flops", json_number(r->flops));
    json_object_set_new(o, "wall_s", json_number(r->wall_s));
    json_object_set_new(o, "resumed_from", json_integer(r->resumed_from));
    return json_print(o, err);
}

static void print_text(const char *dir, const struct train_result *r)
{
    printf("trained %s steps, %s tokens in %s: loss %.4f",
           units_count(r->steps).text, units_count(r->tokens).text,
           units_seconds(r->wall_s).text, r->loss);
    if (isfinite(r->val_loss))
        printf(", validation %.4f nats/token", r->val_loss);
    if (isfinite(r->val_bpb))
        printf(" (%.3f bits/byte)", r->val_bpb);
    printf("\nresults in %s (metrics.jsonl, config.yaml, manifest.json, "
           "checkpoints)\n",
           dir);
}

int training_run(const struct args *args, const struct run_config *config,
                 const char *dir, struct mup_error *err)
{
    struct train_result result = { 0 };
    struct terminal terminal;
    struct train_hooks hooks = { &terminal, show_step, stop_requested,
                                 show_note };
    int rc = path_expect_free(dir, PATH_RUN_DIR, err);

    if (rc != MUP_OK)
        return rc;
    terminal_init(&terminal, args->quiet);
    if (args->verbose)
        terminal_note(&terminal, "training in %s", dir);
    stop_watch();
    rc = train_run(config, dir, &hooks, &result, err);
    terminal_clear(&terminal);
    if (rc == MUP_STOPPED)
        return mup_fail(err, MUP_STOPPED,
                        "stopped, state saved in '%s'; run the same command "
                        "again to continue",
                        dir);
    if (rc != MUP_OK)
        return rc;
    if (result.resumed_from > 0 && !args->quiet)
        terminal_note(&terminal, "continued from the checkpoint of step %lld",
                      (long long)result.resumed_from);
    if (args_given(args, "json"))
        rc = print_json(dir, &result, err);
    else if (!result.diverged)
        print_text(dir, &result);
    if (rc == MUP_OK && result.diverged)
        rc = mup_fail(err, MUP_DIVERGED,
                      "the loss diverged at step %lld; lower train.lr or "
                      "lengthen train.warmup (metrics in '%s')",
                      (long long)result.diverged_step, dir);
    return rc;
}
