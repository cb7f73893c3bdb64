#include "launcher/training.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "launcher/heartbeat.h"
#include "launcher/json.h"
#include "launcher/paths.h"
#include "launcher/stop.h"
#include "launcher/terminal.h"
#include "launcher/units.h"
#include "model/comm.h"
#include "model/fence.h"

/* One rank: it alone, or one of several with or without a supervisor. */
struct rank {
    int number;
    struct terminal terminal;
    struct heartbeat heart;
};

static void show_step(void *context, const struct train_step *s)
{
    struct rank *r = context;
    char line[200];

    if (r->number > 0)
        return;
    snprintf(
        line, sizeof(line), "step %lld/%lld  loss %.4f  lr %.3g  %s  eta %s",
        (long long)s->step, (long long)s->steps, s->loss, s->lr,
        units_si(s->tokens_per_s, "tok/s").text, units_seconds(s->eta_s).text);
    if (heartbeat_is_watched(&r->heart))
        heartbeat_progress(&r->heart, line);
    else
        terminal_progress(&r->terminal, "%s", line);
}

static void show_note(void *context, const char *sentence)
{
    struct rank *r = context;

    terminal_note(&r->terminal, "warning: %s", sentence);
}

static void send_beat(void *context, const struct train_beat *beat)
{
    struct rank *r = context;

    heartbeat_beat(&r->heart, beat);
}

/* Closing may wait for ranks that do not come; the user need not. */
static void send_failure(void *context, int status, const char *sentence)
{
    struct rank *r = context;

    (void)heartbeat_bye(&r->heart, status, sentence);
}

static int should_stop(void *context)
{
    struct rank *r = context;

    return heartbeat_should_stop(&r->heart) || stop_requested(NULL);
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

void training_describe(const struct train_result *r, char *out, size_t bytes)
{
    size_t n = (size_t)snprintf(
        out, bytes, "trained %s steps, %s tokens in %s: loss %.4f",
        units_count(r->steps).text, units_count(r->tokens).text,
        units_seconds(r->wall_s).text, r->loss);

    if (isfinite(r->val_loss) && n < bytes)
        n += (size_t)snprintf(out + n, bytes - n,
                              ", validation %.4f nats/token", r->val_loss);
    if (isfinite(r->val_bpb) && n < bytes)
        (void)snprintf(out + n, bytes - n, " (%.3f bits/byte)", r->val_bpb);
}

static void print_text(const char *dir, const struct train_result *r)
{
    char text[256];

    training_describe(r, text, sizeof(text));
    printf("%s\nresults in %s (metrics.jsonl, config.yaml, manifest.json, "
           "checkpoints)\n",
           text, dir);
}

/* The answer of a run that came to its end. */
static int print_result(const struct args *args, struct rank *r,
                        const char *dir, const struct train_result *result,
                        struct mup_error *err)
{
    int rc = MUP_OK;

    if (result->resumed_from > 0 && !args->quiet && r->number == 0)
        terminal_note(&r->terminal,
                      "continued from the checkpoint of step %lld",
                      (long long)result->resumed_from);
    if (r->number == 0 && args_given(args, "json"))
        rc = print_json(dir, result, err);
    else if (r->number == 0 && !result->diverged)
        print_text(dir, result);
    if (rc == MUP_OK && result->diverged)
        rc = mup_fail(err, MUP_DIVERGED,
                      "the loss diverged at step %lld; lower train.lr or "
                      "lengthen train.warmup (metrics in '%s')",
                      (long long)result->diverged_step, dir);
    return rc;
}

static int run_rank(const struct args *args, const struct run_config *config,
                    const char *dir, struct rank *r, struct mup_error *err)
{
    const struct train_hooks hooks = { r,         show_step, should_stop,
                                       show_note, send_beat, send_failure };
    struct train_result result = { 0 };
    int rc;

    terminal_init(&r->terminal, args->quiet || r->number > 0);
    if (args->verbose && r->number == 0)
        terminal_note(&r->terminal, "training in %s", dir);
    stop_watch();
    rc = train_run(config, dir, &hooks, &result, err);
    terminal_clear(&r->terminal);
    if (rc == MUP_STOPPED && heartbeat_loss(&r->heart))
        mup_error_prefix(err, "%s: ", heartbeat_loss(&r->heart));
    return rc ? rc : print_result(args, r, dir, &result, err);
}

int training_run(const struct args *args, const struct run_config *config,
                 const char *dir, struct mup_error *err)
{
    struct rank r = { .number = comm_rank_from_environment() };
    struct mup_error local = { 0 };
    int64_t incarnation = 0;
    int rc = path_expect_free(dir, PATH_RUN_DIR, err);

    if (rc == MUP_OK)
        rc = heartbeat_open(r.number, comm_ranks_from_environment(), &r.heart,
                            err);
    if (rc == MUP_OK)
        rc = fence_supervised(&incarnation, err);
    if (rc != MUP_OK)
        return rc;
    if (incarnation > 0) /* before MPI_Init, which may wait for ever */
        heartbeat_lease(&r.heart, config->recover.lease_s);
    rc = run_rank(args, config, dir, &r, &local);
    /* What goes to stdout is there before the supervisor hears of the end. */
    (void)fflush(stdout);
    /* mpirun gives the others a second once one exits with a status, which may
     * be too short for their last checkpoint. */
    if (heartbeat_close(&r.heart, rc, local.text))
        return MUP_OK;
    if (rc != MUP_OK && err)
        *err = local;
    return rc;
}
