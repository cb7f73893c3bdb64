#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/agent.h"
#include "launcher/supervise.h"
#include "model/clock.h"

/* How long agents may take to come up. */
#define AGENTS_S 30.0
#define AGENTS_NODE_S                                                          \
    0.1 /* more for every node: srun starts them in a tree                     \
         */
/* One measurement between two nodes. */
#define PAIR_S 8.0
#define ROUNDS 2
#define AGAIN  2 /* more looks at who seems slow */

static double agents_s(const struct supervise *s)
{
    return AGENTS_S + AGENTS_NODE_S * s->nodes.n;
}

int supervise_find_node(const struct supervise *s, const char *name)
{
    return hostlist_find(&s->nodes, name);
}

static void tell_node(struct supervise *s, int kind, int node, const char *text)
{
    struct supervisor_event e = {
        .kind = kind, .now_s = clock_s(), .node = node, .text = text
    };

    if (text)
        snprintf(s->node[node].text, sizeof(s->node[node].text), "%s", text);
    supervise_tell(s, &e);
}

/* --- silence --- */

/* Ranks speak more often than their agent: training went on until then. */
static double last_sign_s(const struct supervise *s, int node, double agent_s)
{
    const struct supervise_ranks *r = &s->ranks;
    double last_s = agent_s;

    for (int i = 0; r->open && i < r->n; i++)
        if (r->node[i] == node && r->roster.state[i].last_s > last_s)
            last_s = r->roster.state[i].last_s;
    return last_s;
}

void supervise_lose_node(struct supervise *s, int node, double began_s,
                         const char *text)
{
    struct supervise_node *n = &s->node[node];

    if (n->lost)
        return;
    n->lost = 1;
    n->lost_s = clock_s();
    s->began_s = last_sign_s(s, node, began_s);
    tell_node(s, EVENT_LOST, node, text);
}

static void look_at_node(struct supervise *s, int node, double now_s)
{
    const struct rank_state *a = &s->agents.state[node];
    const char *name = s->nodes.name[node];
    char text[200];

    if (s->node[node].lost)
        return;
    if (a->lost || a->bye) {
        snprintf(text, sizeof(text), "%s is gone: its agent ended", name);
        supervise_lose_node(s, node, a->last_s, text);
    } else if (a->pid && now_s - a->last_s > s->config.recover.node_s) {
        snprintf(text, sizeof(text),
                 "%s is silent: nothing heard of it for %.1f s", name,
                 now_s - a->last_s);
        supervise_lose_node(s, node, a->last_s, text);
    } else if (!a->pid && now_s - s->agents_began_s > agents_s(s)) {
        snprintf(text, sizeof(text),
                 "%s did not come up: no agent within %.0f s", name,
                 agents_s(s));
        supervise_lose_node(s, node, s->agents_began_s, text);
    }
}

/* Did srun end before it started an agent?  No node is to blame for that. */
static int is_unstarted(const struct supervise *s)
{
    if (!s->agent_step.exited)
        return 0;
    for (int i = 0; i < s->nodes.n; i++)
        if (s->agents.state[i].pid)
            return 0;
    return 1;
}

/* --- the check before the start --- */

void supervise_check(struct supervise *s, int node, double now_s)
{
    struct supervise_node *n = &s->node[node];

    if (!s->config.recover.preflight) {
        tell_node(s, EVENT_HEALTHY, node, NULL);
        return;
    }
    if (s->check_began_s <= 0)
        s->check_began_s = now_s;
    n->check = CHECK_ASKED;
    n->asked_s = now_s;
    n->again = 0;
    s->pairs.again = 0;
    s->pairs.round = -1;
    s->pairs.n = 0;
    if (roster_say(&s->agents, node, "check") != 0)
        supervise_lose_node(s, node, now_s, "its agent takes no orders");
}

static double better(double a, double b)
{
    return a > b ? a : b;
}

static void keep_best(const struct preflight_result *before,
                      struct preflight_result *now)
{
    now->memory_bytes_per_s =
        better(now->memory_bytes_per_s, before->memory_bytes_per_s);
    now->gemm_flops_per_s =
        better(now->gemm_flops_per_s, before->gemm_flops_per_s);
    now->disk_bytes_per_s =
        better(now->disk_bytes_per_s, before->disk_bytes_per_s);
}

static void take_checked(struct supervise *s, int node, const char *text)
{
    struct supervise_node *n = &s->node[node];
    struct preflight_result result;

    if (n->check != CHECK_ASKED)
        return;
    n->check = CHECK_ANSWERED;
    n->skew_s = 0;
    if (preflight_parse(text, &result, NULL) == MUP_OK) {
        n->skew_s = result.wall_unix_s - supervise_unix_s();
    } else {
        result = (struct preflight_result){ 0 };
        snprintf(result.bad, sizeof(result.bad),
                 "the check before the start gave no answer that can be read, "
                 "or none in time");
    }
    if (n->again)
        keep_best(&n->result, &result);
    n->result = result; /* judged beside the others' */
}

/* Nodes that answered and are still to be judged, in order. */
static int list_answered(const struct supervise *s, int *list)
{
    int n = 0;

    for (int i = 0; i < s->nodes.n; i++)
        if (s->node[i].check == CHECK_ANSWERED &&
            s->machine.node[i].use == NODE_CHECKING)
            list[n++] = i;
    return n;
}

/* Tell the machine of all that were judged: bad[i] of list[i]. */
static void judge(struct supervise *s, const int *list, int n,
                  char (*bad)[PREFLIGHT_TEXT_BYTES], int release)
{
    for (int i = 0; i < n; i++) {
        if (bad[i][0]) {
            s->node[list[i]].check = CHECK_NONE;
            tell_node(s, EVENT_SICK, list[i], bad[i]);
        } else if (release) {
            s->node[list[i]].check = CHECK_NONE;
            tell_node(s, EVENT_HEALTHY, list[i], NULL);
        }
    }
}

static void add_bad(json_t *bad, const char *node, const char *reason)
{
    json_array_append_new(
        bad, json_pack("{s:s, s:s}", "node", node, "reason", reason));
}

/* Of all nodes: those that were lost before, and bad[i] of list[i]. */
static void log_preflight(struct supervise *s, const int *list, int n,
                          char (*bad)[PREFLIGHT_TEXT_BYTES], double now_s)
{
    json_t *o = launch_log_new("preflight"), *nodes = json_array();

    for (int i = 0; i < s->nodes.n; i++)
        if (s->machine.node[i].use >= NODE_LOST)
            add_bad(nodes, s->nodes.name[i], s->node[i].text);
    for (int i = 0; i < n; i++)
        if (bad[i][0])
            add_bad(nodes, s->nodes.name[list[i]], bad[i]);
    if (o) {
        json_object_set_new(o, "seconds", json_real(now_s - s->check_began_s));
        json_object_set_new(o, "nodes", json_integer(s->nodes.n));
        json_object_set(o, "bad", nodes);
    }
    json_decref(nodes);
    supervise_log(s, o);
    s->check_began_s = 0;
}

static void begin_round(struct supervise *s, const int *list, int n,
                        double now_s)
{
    struct supervise_pairs *p = &s->pairs;
    int *partner = calloc((size_t)n + 1, sizeof(*partner));
    char line[64];

    p->since_s = now_s;
    snprintf(line, sizeof(line), "serve %d", p->round);
    for (int i = 0; i < s->nodes.n; i++) {
        s->node[i].peer = -1;
        s->node[i].pair_bytes_per_s = 0;
    }
    if (!partner)
        return; /* nothing is measured: nobody is slow */
    preflight_pairs(n, p->round, partner);
    for (int i = 0; i < n; i++)
        if (partner[i] > i) {
            s->node[list[i]].peer = list[partner[i]];
            (void)roster_say(&s->agents, list[i], line);
        }
    free(partner);
}

/* Collect a round: has every pair answered, or is its time over? */
static int end_round(struct supervise *s, double now_s)
{
    struct supervise_pairs *p = &s->pairs;
    int late = now_s - p->since_s > PAIR_S;

    for (int i = 0; i < s->nodes.n && !late; i++)
        if (s->node[i].peer >= 0 && s->node[i].pair_bytes_per_s <= 0 &&
            !s->node[i].lost && !s->node[s->node[i].peer].lost)
            return 0;
    for (int i = 0; i < s->nodes.n; i++)
        if (s->node[i].peer >= 0)
            p->pair[p->n++] =
                (struct preflight_pair){ i, s->node[i].peer,
                                         s->node[i].pair_bytes_per_s };
    return 1;
}

/* All rounds are over: who was slow with everyone? */
static void judge_pairs(struct supervise *s, const int *list, int n,
                        double now_s)
{
    char(*all)[PREFLIGHT_TEXT_BYTES] =
        calloc((size_t)s->nodes.n + 1, sizeof(*all));
    char(*bad)[PREFLIGHT_TEXT_BYTES] = calloc((size_t)n + 1, sizeof(*bad));
    int any = 0;

    if (all && bad) {
        preflight_find_slow(s->pairs.pair, s->pairs.n, s->nodes.n, all);
        for (int i = 0; i < n; i++) {
            memcpy(bad[i], all[list[i]], sizeof(bad[i]));
            any |= bad[i][0];
        }
        if (any && s->pairs.again < AGAIN &&
            now_s - s->check_began_s + PAIR_S < s->config.recover.preflight_s) {
            s->pairs.again++;
            s->pairs.rounds += ROUNDS;
            begin_round(s, list, n, now_s);
            free(all);
            free(bad);
            return;
        }
        s->pairs.round = -1;
        s->pairs.n = 0;
        log_preflight(s, list, n, bad, now_s); /* what follows starts ranks */
        judge(s, list, n, bad, 1);
    }
    free(all);
    free(bad);
}

static void begin_pairs(struct supervise *s, int *list, double now_s)
{
    const int n = list_answered(s, list);

    s->pairs.round = 0;
    s->pairs.rounds = n < 2 ? 0 : n < 3 ? 1 : ROUNDS;
    if (s->pairs.rounds)
        begin_round(s, list, n, now_s);
    else
        judge_pairs(s, list, n, now_s);
}

/* Is it more than bad luck with nodes, as a full disk that all share?  Then
 * none of them is ejected for it. */
static int is_everywhere(struct supervise *s, const int *list, int n,
                         char (*bad)[PREFLIGHT_TEXT_BYTES])
{
    const int left = s->machine.options.may_eject - s->machine.ejected;
    char what[200];
    int n_bad = 0, first = 0;

    for (int i = 0; i < n; i++)
        if (bad[i][0] && n_bad++ == 0)
            first = i;
    if (n_bad < 2 || (n_bad < n && n_bad <= left))
        return 0;
    snprintf(what, sizeof(what),
             "%d of %d nodes fail the check before the start, so that the "
             "fault is elsewhere and none is ejected; %.64s says",
             n_bad, n, s->nodes.name[list[first]]);
    supervise_end(s, MUP_DEVICE, what, bad[first]);
    return 1;
}

/* Who is slow only beside the others may have been disturbed: they are asked
 * again, by then with less company, and their best counts. */
static int ask_again(struct supervise *s, const int *list, int n,
                     char (*bad)[PREFLIGHT_TEXT_BYTES])
{
    int asked = 0;

    if (clock_s() - s->check_began_s > s->config.recover.preflight_s / 2)
        return 0; /* no time is left for it */
    for (int i = 0; i < n; i++) {
        struct supervise_node *node = &s->node[list[i]];

        if (!bad[i][0] || node->result.bad[0] || node->again >= AGAIN)
            continue;
        node->again++;
        node->check = CHECK_ASKED;
        node->asked_s = clock_s();
        (void)roster_say(&s->agents, list[i], "check");
        asked++;
    }
    return asked;
}

/* What all said about themselves, side by side; then the ways between them. */
static void compare(struct supervise *s, int *list, int n, double now_s)
{
    struct preflight_answer *answers = calloc((size_t)n + 1, sizeof(*answers));
    char(*bad)[PREFLIGHT_TEXT_BYTES] = calloc((size_t)n + 1, sizeof(*bad));

    if (answers && bad) {
        for (int i = 0; i < n; i++)
            answers[i] = (struct preflight_answer){ 1, s->node[list[i]].result,
                                                    s->node[list[i]].skew_s };
        preflight_compare(answers, n, bad);
        if (!ask_again(s, list, n, bad) && !is_everywhere(s, list, n, bad)) {
            judge(s, list, n, bad, 0);
            begin_pairs(s, list, now_s);
        }
    }
    free(answers);
    free(bad);
}

static void go_on_checking(struct supervise *s, double now_s)
{
    const double limit_s = s->config.recover.preflight_s + 2;
    int *list = calloc((size_t)s->nodes.n + 1, sizeof(*list));
    int n, waiting = supervisor_count(&s->machine, NODE_AWAITED);

    for (int i = 0; i < s->nodes.n; i++) {
        if (s->node[i].check != CHECK_ASKED ||
            s->machine.node[i].use != NODE_CHECKING)
            continue;
        if (now_s - s->node[i].asked_s > limit_s)
            take_checked(s, i, "");
        else
            waiting++;
    }
    n = list && s->machine.phase == SUPERVISOR_CHECKING && !waiting
            ? list_answered(s, list)
            : 0;
    if (n && s->pairs.round < 0) {
        compare(s, list, n, now_s);
    } else if (n && end_round(s, now_s)) {
        s->pairs.round++;
        if (s->pairs.round < s->pairs.rounds)
            begin_round(s, list, n, now_s);
        else
            judge_pairs(s, list, n, now_s);
    }
    free(list);
}

/* --- agents --- */

static void take_serving(struct supervise *s, int node, const char *text)
{
    char line[128], host[64];
    int round, port;

    if (sscanf(text, "%d %d", &round, &port) != 2 || round != s->pairs.round ||
        s->node[node].peer < 0)
        return;
    roster_peer(&s->agents, node, host, sizeof(host));
    snprintf(line, sizeof(line), "measure %d %s %d", round, host, port);
    (void)roster_say(&s->agents, s->node[node].peer, line);
}

static void take_measured(struct supervise *s, int node, const char *text)
{
    double bytes_per_s;
    int round;

    if (sscanf(text, "%d %lf", &round, &bytes_per_s) != 2 ||
        round != s->pairs.round || !isfinite(bytes_per_s))
        return;
    for (int i = 0; i < s->nodes.n; i++)
        if (s->node[i].peer == node)
            s->node[i].pair_bytes_per_s = bytes_per_s > 0 ? bytes_per_s : 1;
}

static void take_stack(struct supervise *s, const char *text)
{
    struct supervise_suspicion *q = &s->ranks.suspicion;
    const char *what = strchr(text, ' ');

    if (q->open && q->hung && what)
        snprintf(q->stack, sizeof(q->stack), "%s", what + 1);
}

/* Names in the order in which SLURM numbers the agents: that of the list, as a
 * rule, but nobody promises it. */
static void name_node(struct supervise *s, int node, const char *host)
{
    int at = hostlist_find(&s->nodes, host);
    char name[HOSTLIST_NAME_BYTES];

    if (at < 0 || at == node)
        return;
    memcpy(name, s->nodes.name[node], sizeof(name));
    memcpy(s->nodes.name[node], s->nodes.name[at], sizeof(name));
    memcpy(s->nodes.name[at], name, sizeof(name));
}

static void hear_agent(void *context, const struct rank_event *e)
{
    struct supervise *s = context;
    const char *text = e->message.text;
    int node = e->rank;

    if (e->kind == HEARTBEAT_HELLO) {
        name_node(s, node, e->message.host);
        tell_node(s, EVENT_AGENT, node, NULL);
    } else if (e->kind == RANK_LOST || e->kind == HEARTBEAT_BYE) {
        /* that one: of the others there may be news that is not read yet */
        look_at_node(s, node, clock_s());
    } else if (e->kind == HEARTBEAT_PROGRESS) {
        if (!strncmp(text, "checked ", 8))
            take_checked(s, node, text + 8);
        else if (!strncmp(text, "serving ", 8))
            take_serving(s, node, text + 8);
        else if (!strncmp(text, "measured ", 9))
            take_measured(s, node, text + 9);
        else if (!strncmp(text, "stack ", 6))
            take_stack(s, text + 6);
        else if (!strncmp(text, "cleared ", 8))
            s->node[node].cleared = !strcmp(text + 8, "0");
    }
}

static int start_agents(struct supervise *s, struct mup_error *err)
{
    char supervisor[160], run[64];
    char *settings[] = { supervisor, run, NULL };
    const char *command[] = { s->args->program, "agent", "-o",           s->dir,
                              "--run",          s->uuid, s->config_path, NULL };
    struct step_request request = {
        .mpi = "none",
        .n_nodes = s->nodes.n,
        .tasks_per_node = 1,
        .cpus_per_task = 1,
        .log = s->log,
        .command = command,
        .settings = settings,
    };
    size_t bytes = (size_t)s->nodes.n * (HOSTLIST_NAME_BYTES + 1) + 1, at = 0;
    char *names = malloc(bytes);
    int rc;

    if (!names)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; i < s->nodes.n; i++)
        at += (size_t)snprintf(names + at, bytes - at, "%s%s", i ? "," : "",
                               s->nodes.name[i]);
    request.nodes = names;
    snprintf(supervisor, sizeof(supervisor), HEARTBEAT_VARIABLE "=%s",
             s->agents.address);
    snprintf(run, sizeof(run), AGENT_RUN_VARIABLE "=%s", s->uuid);
    rc = step_start(&request, &s->agent_step, err);
    free(names);
    return rc;
}

int supervise_open_agents(struct supervise *s, struct mup_error *err)
{
    size_t n = (size_t)s->nodes.n;
    int rc = roster_open("0.0.0.0", s->nodes.n, &s->agents, err);

    s->node = calloc(n + 1, sizeof(*s->node));
    s->pairs.pair =
        calloc((1 + AGAIN) * ROUNDS * n + 1, sizeof(*s->pairs.pair));
    s->pairs.round = -1;
    if (!rc && (!s->node || !s->pairs.pair))
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    if (!rc)
        rc = roster_advertise(&s->agents, s->address, err);
    if (rc)
        return rc;
    s->agents.event = hear_agent;
    s->agents.context = s;
    s->agents_began_s = clock_s();
    return start_agents(s, err);
}

void supervise_close_agents(struct supervise *s)
{
    for (int i = 0; i < s->agents.n; i++)
        (void)roster_say(&s->agents, i, "stop");
    roster_close(&s->agents);
    step_close(&s->agent_step);
    free(s->node);
    free(s->pairs.pair);
    s->node = NULL;
    s->pairs.pair = NULL;
}

void supervise_clear_nodes(struct supervise *s)
{
    for (int i = 0; i < s->nodes.n; i++) {
        s->node[i].cleared = 0;
        if (!s->node[i].lost)
            (void)roster_say(&s->agents, i, "clear");
    }
}

void supervise_watch_nodes(struct supervise *s, double now_s)
{
    if (is_unstarted(s)) {
        supervise_end(s, MUP_DEVICE,
                      "srun could not start the agents of the nodes",
                      s->agent_words);
        return;
    }
    for (int i = 0; i < s->nodes.n; i++)
        look_at_node(s, i, now_s);
    if (s->config.recover.preflight)
        go_on_checking(s, now_s);
}
