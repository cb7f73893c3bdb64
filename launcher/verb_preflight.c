#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/agent.h"
#include "launcher/heartbeat.h"
#include "launcher/link.h"
#include "launcher/paths.h"
#include "launcher/preflight.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/clock.h"
#include "model/node.h"
#include "model/trainer.h"

/* Of the buffer whose words are tried. */
#define MEMORY_MIB 256
/* We end by ourselves if nobody ends us: this much after recover.preflight_s.
 */
#define PATIENCE_S 10

static const struct option options[] = {
    { "output", 'o', "DIR", "folder of the run (runs/<name of the file>)" },
    { "serve", 0, NULL, "wait for one --measure; prints the port" },
    { "measure", 0, "HOST:PORT", "bytes/s to and from a --serve there" },
    OPTION_JSON,
    { 0 },
};

/* Weights and the state of the optimizer; 0 where that is not known. */
static double checkpoint_bytes(const struct run_config *config)
{
    struct trainer t = { 0 };
    double bytes;

    if (trainer_plan(config, NULL, &t, NULL) != MUP_OK)
        return 0;
    bytes = (double)t.model.parameter_bytes + (double)t.optimizer.bytes;
    trainer_close(&t);
    return bytes;
}

static const char *word(void)
{
    const char *run = getenv(AGENT_RUN_VARIABLE);

    return run ? run : "";
}

static int serve(double until_s, struct mup_error *err)
{
    int fd, port;
    int rc = link_listen(&fd, &port, err);

    if (rc != MUP_OK)
        return rc;
    printf("%d\n", port);
    if (fflush(stdout) != 0) {
        close(fd);
        return mup_fail(err, MUP_SYSTEM, "cannot write to stdout");
    }
    return link_serve(fd, word(), until_s, err);
}

static int measure(const char *where, double until_s, struct mup_error *err)
{
    const char *colon = strrchr(where, ':');
    char host[HEARTBEAT_HOST_BYTES], *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    double bytes_per_s = 0;
    int rc;

    if (port < 1 || port > 65535 || *end || colon == where ||
        (size_t)(colon - where) >= sizeof(host))
        return mup_fail(err, MUP_USAGE, "--measure: '%s' is not HOST:PORT",
                        where);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
    rc = link_measure(host, (int)port, word(), until_s, &bytes_per_s, err);
    if (rc == MUP_OK)
        printf("%.0f\n", bytes_per_s);
    return rc;
}

static void print_text(const char *node, const struct preflight_result *r)
{
    if (r->bad[0]) {
        printf("%s is not fit to train: %s\n", node, r->bad);
        return;
    }
    printf("%s is fit to train\n", node);
    printf("products  %s, right on %d CPU%s\n",
           units_si(r->gemm_flops_per_s, "FLOP/s").text, r->cpus,
           r->cpus == 1 ? "" : "s");
    printf("memory    %s\n", units_si(r->memory_bytes_per_s, "B/s").text);
    printf("disk      %s\n", units_si(r->disk_bytes_per_s, "B/s").text);
    if (r->gpus)
        printf("GPUs      %d\n", r->gpus);
    printf("took      %s\n", units_seconds(r->seconds).text);
}

static int check(const struct args *args, const struct run_config *config,
                 const char *dir, struct mup_error *err)
{
    char node[HEARTBEAT_HOST_BYTES], text[PREFLIGHT_JSON_BYTES];
    struct preflight_result r;
    struct drill drill;
    struct preflight_options o = {
        .dir = dir,
        .node = node,
        .backend = config->run.backend,
        .gpus = config->slurm.gpus_per_node,
        .memory_mib = MEMORY_MIB,
        .checkpoint_bytes = checkpoint_bytes(config),
    };
    int rc = drill_parse(&config->drill, &drill, err);

    if (rc != MUP_OK)
        return rc;
    node_name(node);
    o.drill = drill_finding_on(&drill, node);
    preflight_run(&o, &r);
    preflight_format(&r, text, sizeof(text));
    if (o.drill == DRILL_UNREADABLE)
        text[strlen(text) / 2] = '\0';
    if (args_given(args, "json"))
        printf("%s\n", text);
    else
        print_text(node, &r);
    if (fflush(stdout) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot write to stdout");
    return r.bad[0] ? MUP_NEGATIVE : MUP_OK;
}

static int run(const struct args *args, struct mup_error *err)
{
    const char *yaml = args->operands[0], *dir = args_text(args, "output");
    struct run_config config;
    char own_dir[1024];
    double until_s;
    int rc =
        run_config_load(yaml, args->overrides, args->n_overrides, &config, err);

    if (rc == MUP_OK && !dir) {
        rc = path_default_dir(yaml, own_dir, sizeof(own_dir), err);
        dir = own_dir;
    }
    if (rc != MUP_OK)
        return rc;
    until_s = clock_s() + config.recover.preflight_s;
    (void)alarm((unsigned)config.recover.preflight_s + PATIENCE_S);
    if (args_given(args, "serve"))
        return serve(until_s, err);
    if (args_given(args, "measure"))
        return measure(args_text(args, "measure"), until_s, err);
    return check(args, &config, dir, err);
}

const struct verb verb_preflight = {
    "preflight",
    "RUN.yaml",
    1,
    1,
    VERB_CONFIG,
    "is this machine fit to train?",
    "Tries GPUs (slurm.gpus_per_node; memory errors, Xid messages of the "
    "kernel),\n"
    "memory, matrix products on every CPU against known bits, the disks of DIR "
    "and\n"
    "of $TMPDIR, and room for a checkpoint.  Exit code 1 and a sentence where\n"
    "something is wrong.  Under SLURM every node is checked so before it is "
    "used.\n"
    "With --serve on one node and --measure on another: the network between "
    "them.",
    "mutransfer preflight target.yaml -o runs/target",
    options,
    run,
};
