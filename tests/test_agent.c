/* The agent of a node as a process of its own, and a roster that tells it what
 * to do.  Finds the program in $BIN or beside this test. */
#define _XOPEN_SOURCE 700 /* mkdtemp */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "launcher/agent.h"
#include "launcher/preflight.h"
#include "launcher/roster.h"
#include "model/clock.h"
#include "model/fence.h"
#include "tests/run_fixture.inc.h"

/* Nothing here takes as long. */
#define PATIENCE_S 60.0
#define RUN        "0b2c7a44-test"
#define MAX_AGENTS 2
#define MAX_LINES  64

struct cluster {
    char dir[64], config[128];
    struct roster roster;
    pid_t agent[MAX_AGENTS];
    int n;
    int n_lines, rank[MAX_LINES];
    char line[MAX_LINES][HEARTBEAT_LINE_BYTES];
    int lost, bye;
};

static const char *program(char *argv0)
{
    static const char tests[] = "/tests/";
    const char *bin = getenv("BIN");
    char *at = strstr(argv0, tests);

    if (bin)
        return bin;
    if (at) /* BUILD/tests/test_agent: BUILD/bin/mutransfer */
        snprintf(at, 18, "/bin/mutransfer");
    return argv0;
}

static void see(void *context, const struct rank_event *e)
{
    struct cluster *c = context;

    c->lost += e->kind == RANK_LOST;
    c->bye += e->kind == HEARTBEAT_BYE;
    if (e->kind != HEARTBEAT_PROGRESS)
        return;
    assert_true(c->n_lines < MAX_LINES);
    c->rank[c->n_lines] = e->rank;
    memcpy(c->line[c->n_lines++], e->message.text, HEARTBEAT_LINE_BYTES);
}

static void serve(struct cluster *c)
{
    struct pollfd fds[32];
    int n = roster_watch(&c->roster, fds);

    assert_true(roster_max_fds(&c->roster) <= 32);
    (void)poll(fds, (nfds_t)n, 20);
    roster_serve(&c->roster, fds, n, clock_s());
    roster_alive(&c->roster);
}

/* The text after `name` in the first line of that rank that begins so, which is
 * taken from the list. */
static void await_line(struct cluster *c, int rank, const char *name, char *out)
{
    const double until_s = clock_s() + PATIENCE_S;

    while (clock_s() < until_s) {
        for (int i = 0; i < c->n_lines; i++) {
            if (c->rank[i] != rank ||
                strncmp(c->line[i], name, strlen(name)) != 0)
                continue;
            snprintf(out, HEARTBEAT_LINE_BYTES, "%s",
                     c->line[i] + strlen(name));
            c->rank[i] = -1;
            return;
        }
        serve(c);
    }
    fail_msg("no '%s' from %d", name, rank);
}

static void write_config(struct cluster *c, const char *more)
{
    FILE *f;

    snprintf(c->config, sizeof(c->config), "%s/config.yaml", c->dir);
    f = fopen(c->config, "w");
    assert_non_null(f);
    fprintf(f,
            "model: { width: 32, head_size: 8, seq: 16 }\n"
            "mup: { base_width: 16, base_head_size: 8 }\n"
            "train: { lr: 0.01, steps: 10 }\n%s",
            more);
    assert_int_equal(fclose(f), 0);
}

static void set_node(int i)
{
    char text[16];

    snprintf(text, sizeof(text), "node%d", i + 1);
    assert_int_equal(setenv("SLURMD_NODENAME", text, 1), 0);
    snprintf(text, sizeof(text), "%d", i);
    assert_int_equal(setenv("SLURM_PROCID", text, 1), 0);
}

static void start_agent(struct cluster *c, const char *bin, int i)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        set_node(i);
        execl(bin, bin, "agent", c->config, "-o", c->dir, "--run", RUN,
              (char *)NULL);
        _exit(127);
    }
    c->agent[i] = pid;
}

static void open_cluster(struct cluster *c, const char *bin, int n,
                         const char *config)
{
    char ranks[16];

    memset(c, 0, sizeof(*c));
    new_dir(c->dir);
    write_config(c, config);
    assert_int_equal(roster_open("127.0.0.1", n, &c->roster, NULL), MUP_OK);
    c->roster.event = see;
    c->roster.context = c;
    c->n = n;
    assert_int_equal(setenv(HEARTBEAT_VARIABLE, c->roster.address, 1), 0);
    snprintf(ranks, sizeof(ranks), "%d", n);
    assert_int_equal(setenv("SLURM_NTASKS", ranks, 1), 0);
    for (int i = 0; i < n; i++)
        start_agent(c, bin, i);
    for (int i = 0; i < n; i++)
        while (c->roster.state[i].beats == 0)
            serve(c);
}

static int exit_status(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void close_cluster(struct cluster *c)
{
    roster_stop(&c->roster);
    while (c->bye < c->n)
        serve(c);
    for (int i = 0; i < c->n; i++)
        assert_int_equal(exit_status(c->agent[i]), MUP_OK);
    assert_int_equal(c->lost, 0);
    roster_close(&c->roster);
    remove_tree(c->dir);
}

static void order(struct cluster *c, int rank, const char *text)
{
    assert_int_equal(roster_say(&c->roster, rank, text), 0);
}

/* A process that does nothing until it is killed, with these in its
 * environment. */
static pid_t start_idle(const char *node, const char *run, int is_rank)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("SLURMD_NODENAME", node, 1);
        setenv(AGENT_RUN_VARIABLE, run, 1);
        if (is_rank)
            setenv(FENCE_VARIABLE, "3", 1);
        dup2(ready[1], 1);
        close(ready[0]);
        execlp("sh", "sh", "-c", "echo; exec sleep 1000 >/dev/null",
               (char *)NULL);
        _exit(127);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1); /* its environ is set */
    close(ready[0]);
    return pid;
}

static int is_gone(pid_t pid)
{
    return waitpid(pid, NULL, WNOHANG) == pid;
}

static void end_idle(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* --- */

static void agents_say_hello_and_check_their_nodes(void **state)
{
    char text[HEARTBEAT_LINE_BYTES];
    struct preflight_result r;
    struct cluster c;

    open_cluster(&c, *state, 2, "drill: { preflight: node node2 bits }\n");
    assert_string_equal(c.roster.state[0].host, "node1");
    assert_string_equal(c.roster.state[1].host, "node2");
    order(&c, 0, "check");
    order(&c, 1, "check");
    order(&c, 1, "what is this");
    await_line(&c, 0, "checked ", text);
    assert_int_equal(preflight_parse(text, &r, NULL), MUP_OK);
    assert_string_equal(r.bad, "");
    await_line(&c, 1, "checked ", text);
    assert_int_equal(preflight_parse(text, &r, NULL), MUP_OK);
    assert_non_null(strstr(r.bad, "matrix product"));
    close_cluster(&c);
}

static void a_check_that_hangs_is_killed(void **state)
{
    char text[HEARTBEAT_LINE_BYTES];
    struct cluster c;

    open_cluster(&c, *state, 2,
                 "recover: { preflight_s: 1 }\n"
                 "drill: { preflight: node node1 hang }\n");
    order(&c, 0, "check");
    await_line(&c, 0, "checked ", text);
    assert_string_equal(text, "");
    assert_int_equal(c.lost, 0);
    close_cluster(&c);
}

static void half_an_answer_is_none(void **state)
{
    char text[HEARTBEAT_LINE_BYTES];
    struct preflight_result r;
    struct cluster c;

    open_cluster(&c, *state, 1,
                 "drill: { preflight: node node1 unreadable }\n");
    order(&c, 0, "check");
    await_line(&c, 0, "checked ", text);
    assert_int_equal(preflight_parse(text, &r, NULL), MUP_CORRUPT);
    close_cluster(&c);
}

static void clear_kills_the_ranks_of_its_node_and_run_alone(void **state)
{
    char text[HEARTBEAT_LINE_BYTES];
    pid_t mine[2], stopped, others[3];
    struct cluster c;

    open_cluster(&c, *state, 2, "");
    mine[0] = start_idle("node1", RUN, 1);
    mine[1] = start_idle("node1", RUN, 1);
    stopped = start_idle("node1", RUN, 1);
    others[0] = start_idle("node2", RUN, 1);
    others[1] = start_idle("node1", "another run", 1);
    others[2] = start_idle("node1", RUN, 0); /* a check */
    assert_int_equal(kill(stopped, SIGSTOP), 0);
    order(&c, 0, "clear");
    await_line(&c, 0, "cleared ", text);
    assert_string_equal(text, "0");
    /* none is left when the answer comes */
    assert_true(is_gone(mine[0]) && is_gone(mine[1]) && is_gone(stopped));
    for (int i = 0; i < 3; i++)
        assert_false(is_gone(others[i]));
    /* again, with nobody there; zombies do not count */
    order(&c, 0, "clear");
    await_line(&c, 0, "cleared ", text);
    assert_string_equal(text, "0");
    order(&c, 1, "clear");
    await_line(&c, 1, "cleared ", text);
    assert_true(is_gone(others[0]));
    end_idle(others[1]);
    end_idle(others[2]);
    close_cluster(&c);
}

static void two_nodes_measure_their_way(void **state)
{
    char text[HEARTBEAT_LINE_BYTES], line[128];
    struct cluster c;

    open_cluster(&c, *state, 2, "");
    order(&c, 0, "serve 4");
    await_line(&c, 0, "serving 4 ", text);
    assert_true(strtol(text, NULL, 10) > 0);
    snprintf(line, sizeof(line), "measure 4 127.0.0.1 %.8s", text);
    order(&c, 1, line);
    await_line(&c, 1, "measured 4 ", text);
    assert_true(strtod(text, NULL) > 1e6);
    /* the same port again: nobody serves there any more */
    order(&c, 1, line);
    await_line(&c, 1, "measured 4 ", text);
    assert_string_equal(text, "0");
    /* no words of ours */
    order(&c, 1, "measure 5 nowhere");
    await_line(&c, 1, "measured 5 ", text);
    assert_string_equal(text, "0");
    close_cluster(&c);
}

static void where_a_process_hangs_is_told(void **state)
{
    char text[HEARTBEAT_LINE_BYTES], line[64], path[256], name[32];
    struct stat s;
    struct cluster c;
    pid_t pid;

    open_cluster(&c, *state, 1, "");
    pid = start_idle("node1", RUN, 1);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    snprintf(line, sizeof(line), "stack %ld", (long)pid);
    snprintf(name, sizeof(name), "stack %ld ", (long)pid);
    order(&c, 0, line);
    await_line(&c, 0, name, text);
    assert_non_null(strstr(text, "state T (stopped)"));
    agent_stack_path(c.dir, "node1", pid, path, sizeof(path));
    assert_int_equal(stat(path, &s), 0);
    assert_true(s.st_size > 0);
    end_idle(pid);
    order(&c, 0, line);
    await_line(&c, 0, name, text);
    assert_non_null(strstr(text, "no such process"));
    close_cluster(&c);
}

static void frames_are_read_from_a_debugger(void **state)
{
    char out[100];

    (void)state;
    agent_stack_frames(
        "Thread 2 (Thread 0x7f (LWP 5)):\n#0  0x00007f in wait () from a\n\n"
        "Thread 1 (Thread 0x7f (LWP 4) \"x\"):\n"
        "#0  0x00007ff1 in __GI___poll (fds=0x1, n=2) at poll.c:29\n"
        "#1  0x0000 in opal_poll () from libopen.so\n"
        "#2  main (argc=1) at main.c:3\n[Inferior 1 detached]\n",
        out, sizeof(out));
    assert_string_equal(out, "__GI___poll < opal_poll < main");
    agent_stack_frames("PID 7 - process\nTID 7:\n#0  0x00007f nanosleep\n"
                       "#1  0x00007f run\n",
                       out, sizeof(out));
    assert_string_equal(out, "nanosleep < run");
    agent_stack_frames("ptrace: not permitted\n", out, sizeof(out));
    assert_string_equal(out, "");
    agent_stack_frames("#0 ", out, sizeof(out));
    assert_string_equal(out, "");
}

static void without_its_supervisor_an_agent_clears_and_ends(void **state)
{
    struct cluster c;
    pid_t mine;

    open_cluster(&c, *state, 1, "recover: { lease_s: 1 }\n");
    mine = start_idle("node1", RUN, 1);
    roster_close(&c.roster);
    assert_int_equal(exit_status(c.agent[0]), MUP_DEVICE);
    assert_true(is_gone(mine));
    remove_tree(c.dir);
}

static void a_supervisor_that_says_nothing_is_gone_too(void **state)
{
    struct cluster c;
    pid_t mine;

    open_cluster(&c, *state, 1, "recover: { lease_s: 1 }\n");
    mine = start_idle("node1", RUN, 1);
    /* the connection stays, as behind a cut network */
    assert_int_equal(exit_status(c.agent[0]), MUP_DEVICE);
    assert_true(is_gone(mine));
    roster_close(&c.roster);
    remove_tree(c.dir);
}

static void an_agent_without_a_job_says_who_starts_it(void **state)
{
    struct cluster c;

    memset(&c, 0, sizeof(c));
    new_dir(c.dir);
    write_config(&c, "");
    unsetenv(HEARTBEAT_VARIABLE);
    start_agent(&c, *state, 0);
    assert_int_equal(exit_status(c.agent[0]), MUP_USAGE);
    remove_tree(c.dir);
}

int main(int argc, char **argv)
{
    const char *bin = program(argv[argc - argc]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(agents_say_hello_and_check_their_nodes,
                                  (void *)bin),
        cmocka_unit_test_prestate(a_check_that_hangs_is_killed, (void *)bin),
        cmocka_unit_test_prestate(half_an_answer_is_none, (void *)bin),
        cmocka_unit_test_prestate(
            clear_kills_the_ranks_of_its_node_and_run_alone, (void *)bin),
        cmocka_unit_test_prestate(two_nodes_measure_their_way, (void *)bin),
        cmocka_unit_test_prestate(where_a_process_hangs_is_told, (void *)bin),
        cmocka_unit_test(frames_are_read_from_a_debugger),
        cmocka_unit_test_prestate(
            without_its_supervisor_an_agent_clears_and_ends, (void *)bin),
        cmocka_unit_test_prestate(a_supervisor_that_says_nothing_is_gone_too,
                                  (void *)bin),
        cmocka_unit_test_prestate(an_agent_without_a_job_says_who_starts_it,
                                  (void *)bin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
