#include "launcher/agent.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/child.h"
#include "launcher/heartbeat.h"
#include "launcher/orphan.h"
#include "launcher/paths.h"
#include "launcher/preflight.h"
#include "model/clock.h"
#include "model/fence.h"
#include "model/node.h"

#define PATIENCE 3
#define BEAT_S   0.5
#define BUSY_MS  20
/* A debugger on a process that hangs may hang with it. */
#define DEBUGGER_S 5.0

/* What is done beside the beats, each by a process of its own. */
enum work_kind { WORK_CHECK, WORK_SERVE, WORK_MEASURE, WORK_STACK, WORK_KINDS };

struct work {
    int active;
    int told;      /* WORK_SERVE: the port */
    int64_t order; /* round or pid */
    double until_s;
    char text[256]; /* WORK_STACK: what is known already */
    struct child child;
};

struct agent {
    const struct agent_options *options;
    char node[HEARTBEAT_HOST_BYTES];
    struct heartbeat heart;
    struct work work[WORK_KINDS];
    struct agent_ranks ranks;
    int clearing;
    double clear_until_s;
    double beat_s; /* of the next one */
};

/* --- answers --- */

/* What went wrong is an answer too: the supervisor decides. */
static void answer_nothing(struct agent *a, int kind)
{
    const struct work *w = &a->work[kind];
    char text[400];

    if (kind == WORK_CHECK)
        snprintf(text, sizeof(text), "checked ");
    else if (kind == WORK_SERVE)
        snprintf(text, sizeof(text), "serving %" PRId64 " 0", w->order);
    else if (kind == WORK_MEASURE)
        snprintf(text, sizeof(text), "measured %" PRId64 " 0", w->order);
    else
        snprintf(text, sizeof(text), "stack %" PRId64 " %s", w->order, w->text);
    if (kind != WORK_SERVE || !w->told)
        heartbeat_progress(&a->heart, text);
}

/* The first line that it wrote is the answer. */
static void answer_check(struct agent *a, struct child *c)
{
    char text[PREFLIGHT_JSON_BYTES + 16];

    c->text[strcspn(c->text, "\n")] = '\0';
    snprintf(text, sizeof(text), "checked %.*s", PREFLIGHT_JSON_BYTES, c->text);
    heartbeat_progress(&a->heart, text);
}

static void answer_number(struct agent *a, struct work *w, const char *name)
{
    char text[80];
    double x = strtod(w->child.text, NULL);

    snprintf(text, sizeof(text), "%s %" PRId64 " %.0f", name, w->order,
             x > 0 && x < 1e15 ? x : 0);
    heartbeat_progress(&a->heart, text);
}

static void answer_stack(struct agent *a, struct work *w)
{
    char text[640], frames[240], path[1100];
    FILE *f;

    agent_stack_path(a->options->dir, a->node, (pid_t)w->order, path,
                     sizeof(path));
    agent_stack_frames(w->child.text, frames, sizeof(frames));
    f = fopen(path, "a");
    if (f) {
        fputs(w->child.text, f);
        (void)fclose(f); /* the frames are in the answer too */
    }
    snprintf(text, sizeof(text), "stack %" PRId64 " %s%s%s", w->order, w->text,
             *frames ? ", at " : "", frames);
    heartbeat_progress(&a->heart, text);
}

/* --- work --- */

static void end_work(struct agent *a, int kind)
{
    if (!a->work[kind].active)
        return;
    child_kill(&a->work[kind].child);
    a->work[kind].active = 0;
}

static void start_work(struct agent *a, int kind, const char *const *argv,
                       double limit_s)
{
    struct work *w = &a->work[kind];
    struct mup_error err;

    w->told = 0;
    w->until_s = clock_s() + limit_s;
    w->active = 1;
    if (child_start(argv, kind == WORK_STACK, &w->child, &err) == MUP_OK)
        return;
    answer_nothing(a, kind);
    w->active = 0;
}

static void go_on(struct agent *a, int kind)
{
    struct work *w = &a->work[kind];
    const int ended = child_poll(&w->child);

    if (kind == WORK_SERVE && !w->told && strchr(w->child.text, '\n')) {
        answer_number(a, w, "serving");
        w->told = 1;
    }
    if (!ended && clock_s() < w->until_s)
        return;
    if (!ended) {
        child_kill(&w->child);
        answer_nothing(a, kind);
    } else if (kind == WORK_CHECK) {
        answer_check(a, &w->child);
    } else if (kind == WORK_MEASURE) {
        answer_number(a, w, "measured");
    } else if (kind == WORK_STACK) {
        answer_stack(a, w);
    } else {
        answer_nothing(a, kind);
    }
    w->active = 0;
}

static void start_stack(struct agent *a, int64_t pid)
{
    static const char quiet[] = "set debuginfod enabled off";
    struct work *w = &a->work[WORK_STACK];
    struct mup_error err;
    char text[24];
    const char *gdb[] = { "gdb",  "-nx", "-batch",
                          "-iex", quiet, "-p",
                          text,   "-ex", "thread apply all bt 24",
                          NULL };
    const char *eu_stack[] = { "eu-stack", "-n", "24", "-p", text, NULL };
    const char *const *debugger = path_has_program("gdb")        ? gdb
                                  : path_has_program("eu-stack") ? eu_stack
                                                                 : NULL;

    w->order = pid;
    snprintf(text, sizeof(text), "%" PRId64, pid);
    if (agent_stack(a->options->dir, a->node, (pid_t)pid, w->text,
                    sizeof(w->text), &err) != MUP_OK) {
        snprintf(w->text, sizeof(w->text), "not known: %.200s", err.text);
        debugger = NULL;
    }
    /* A debugger would make a stopped process go on. */
    if (debugger && strncmp(w->text, "state T", 7) != 0)
        start_work(a, WORK_STACK, debugger, DEBUGGER_S);
    else
        answer_nothing(a, WORK_STACK);
}

/* --- orders --- */

/* "WORD N REST": N's value, or -1. */
static int64_t take_number(const char **at)
{
    char *end;
    long long n;

    if (!isdigit((unsigned char)**at))
        return -1;
    errno = 0;
    n = strtoll(*at, &end, 10);
    if (errno || (*end && *end != ' '))
        return -1;
    *at = end + (*end == ' ');
    return n;
}

static int is_order(const char *line, const char *name, const char **rest)
{
    const size_t n = strlen(name);

    if (strncmp(line, name, n) != 0 || (line[n] && line[n] != ' '))
        return 0;
    *rest = line + n + (line[n] == ' ');
    return 1;
}

static void begin_measure(struct agent *a, int64_t round, const char *rest)
{
    const struct agent_options *o = a->options;
    char to[HEARTBEAT_LINE_BYTES], *space;
    const char *argv[] = { o->program,  "preflight", o->config_path,
                           "--measure", to,          NULL };

    snprintf(to, sizeof(to), "%s", rest);
    space = strchr(to, ' ');
    if (space)
        *space = ':';
    end_work(a, WORK_MEASURE);
    a->work[WORK_MEASURE].order = round;
    start_work(a, WORK_MEASURE, argv, o->config.recover.preflight_s);
}

static void begin_serve(struct agent *a, int64_t round)
{
    const struct agent_options *o = a->options;
    const char *argv[] = { o->program, "preflight", o->config_path, "--serve",
                           NULL };

    end_work(a, WORK_SERVE);
    a->work[WORK_SERVE].order = round;
    start_work(a, WORK_SERVE, argv, o->config.recover.preflight_s);
}

static void obey(struct agent *a, const char *line)
{
    const struct agent_options *o = a->options;
    const char *check[] = { o->program, "preflight", o->config_path,
                            "-o",       o->dir,      "--json",
                            NULL };
    const char *rest;
    int64_t n;

    if (is_order(line, "check", &rest)) {
        end_work(a, WORK_CHECK);
        start_work(a, WORK_CHECK, check, o->config.recover.preflight_s);
    } else if (is_order(line, "clear", &rest)) {
        a->clearing = 1;
        a->clear_until_s = clock_s() + AGENT_CLEAR_S;
    } else if (is_order(line, "serve", &rest)) {
        n = take_number(&rest);
        if (n >= 0)
            begin_serve(a, n);
    } else if (is_order(line, "measure", &rest)) {
        n = take_number(&rest);
        if (n >= 0)
            begin_measure(a, n, rest);
    } else if (is_order(line, "stack", &rest)) {
        n = take_number(&rest);
        end_work(a, WORK_STACK);
        if (n > 0 && n <= INT32_MAX)
            start_stack(a, n);
    }
}

/* --- the loop --- */

static void clear_ranks(struct agent *a)
{
    const int left = agent_kill_ranks(a->options->run, a->node, &a->ranks);
    char text[40];

    if (left > 0 && clock_s() < a->clear_until_s)
        return;
    snprintf(text, sizeof(text), "cleared %d", left);
    heartbeat_progress(&a->heart, text);
    a->clearing = 0;
}

static void beat(struct agent *a)
{
    const struct train_beat alive = { .phase = TRAIN_SETUP };

    if (clock_s() < a->beat_s)
        return;
    heartbeat_beat(&a->heart, &alive);
    a->beat_s = clock_s() + BEAT_S;
}

static void pause_until_news(struct agent *a)
{
    struct pollfd fd = { a->heart.fd, POLLIN, 0 };
    double left_s = a->beat_s - clock_s();
    int busy = a->clearing || a->heart.fd < 0;
    int ms = left_s > 0 ? (int)(1000 * left_s) + 1 : 0;

    for (int kind = 0; kind < WORK_KINDS; kind++)
        busy |= a->work[kind].active;
    if (busy && ms > BUSY_MS)
        ms = BUSY_MS;
    (void)poll(&fd, fd.fd >= 0, a->heart.fd < 0 ? BUSY_MS : ms);
}

/* No supervisor: nobody may train here. */
static int end_alone(struct agent *a, struct mup_error *err)
{
    const double until_s = clock_s() + AGENT_CLEAR_S;
    int left = agent_kill_ranks(a->options->run, a->node, &a->ranks);
    const int found = left;

    while (left > 0 && clock_s() < until_s) {
        (void)poll(NULL, 0, BUSY_MS);
        left = agent_kill_ranks(a->options->run, a->node, &a->ranks);
    }
    return mup_fail(err, MUP_DEVICE,
                    "the supervisor of this run has gone; ranks of '%s' that "
                    "were killed: %d, that still live: %d",
                    a->node, found, left);
}

static int loop(struct agent *a, struct mup_error *err)
{
    const double lease_s = a->options->config.recover.lease_s;
    char line[HEARTBEAT_LINE_BYTES];
    int rc;

    for (;;) {
        beat(a);
        while (heartbeat_hear(&a->heart, line, sizeof(line)))
            obey(a, line);
        if (a->heart.asked)
            return MUP_OK;
        if (clock_s() - a->heart.heard_s >=
            (a->heart.fd < 0 ? lease_s : PATIENCE * lease_s))
            break;
        for (int kind = 0; kind < WORK_KINDS; kind++)
            if (a->work[kind].active)
                go_on(a, kind);
        if (a->clearing)
            clear_ranks(a);
        pause_until_news(a);
    }
    rc = end_alone(a, err);
    orphan_return_job(a->options);
    return rc;
}

int agent_run(const struct agent_options *options, struct mup_error *err)
{
    struct agent *a = calloc(1, sizeof(*a));
    int rc;

    if (!a)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    a->options = options;
    node_name(a->node);
    /* Checks and measurements know the run, and are no ranks. */
    (void)setenv(AGENT_RUN_VARIABLE, options->run, 1);
    (void)unsetenv(FENCE_VARIABLE);
    rc = heartbeat_open(options->rank, options->ranks, &a->heart, err);
    if (rc == MUP_OK && a->heart.fd < 0 && !heartbeat_loss(&a->heart))
        rc = mup_fail(err, MUP_USAGE,
                      HEARTBEAT_VARIABLE " is not set; agents are started by "
                                         "the supervisor of a run");
    if (rc == MUP_OK)
        rc = loop(a, err);
    for (int kind = 0; kind < WORK_KINDS; kind++)
        end_work(a, kind);
    (void)heartbeat_close(&a->heart, rc, rc != MUP_OK && err ? err->text : "");
    free(a);
    return rc;
}
