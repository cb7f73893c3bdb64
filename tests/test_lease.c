/* The lease of a rank: who is cut off from the supervisor ends by itself.  The
 * children would never end otherwise; how long they take is not judged. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/heartbeat.h"
#include "launcher/roster.h"
#include "launcher/stop.h"

#define LEASE_S 1.5

struct child {
    pid_t pid;
    int errors; /* what it says on stderr */
};

/* What a rank is in the middle of. */
static void compute(struct heartbeat *h)
{
    volatile double x = 1;

    (void)h;
    for (;;)
        x = x * 0.5 + 1;
}

static void wait_in_a_call(struct heartbeat *h)
{
    int nobody_writes[2];
    char byte;

    (void)h;
    if (pipe(nobody_writes) != 0)
        _exit(99);
    while (read(nobody_writes[0], &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(98); /* the call was broken off */
}

static void train(struct heartbeat *h)
{
    for (;;) {
        (void)heartbeat_should_stop(h);
        (void)poll(NULL, 0, 10);
    }
}

static void end_well(struct heartbeat *h)
{
    struct timespec left = { (time_t)(2 * LEASE_S), 0 };

    (void)heartbeat_close(h, 0, "");
    while (nanosleep(&left, &left) != 0)
        ;
    _exit(0);
}

static struct child start_rank(struct roster *r,
                               void (*busy)(struct heartbeat *))
{
    struct child c;
    int words[2];

    assert_int_equal(setenv(HEARTBEAT_VARIABLE, r->address, 1), 0);
    assert_int_equal(pipe(words), 0);
    c.errors = words[0];
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        struct heartbeat h;

        close(r->listen);
        if (dup2(words[1], STDERR_FILENO) < 0 ||
            heartbeat_open(0, 1, &h, NULL) != MUP_OK)
            _exit(99);
        heartbeat_lease(&h, LEASE_S);
        stop_watch();
        busy(&h);
        _exit(97);
    }
    close(words[1]);
    unsetenv(HEARTBEAT_VARIABLE);
    return c;
}

static void open_roster(struct roster *r)
{
    struct mup_error err;

    assert_int_equal(roster_open("127.0.0.1", 1, r, &err), MUP_OK);
}

/* Serve for a while; alive: saying so. */
static void serve(struct roster *r, int ms, int alive)
{
    struct pollfd fds[32];

    assert_true(roster_max_fds(r) <= 32);
    for (int i = 0; i < ms; i += 20) {
        int n = roster_watch(r, fds);

        (void)poll(fds, (nfds_t)n, 0);
        roster_serve(r, fds, n, 0);
        if (alive)
            roster_alive(r);
        (void)poll(NULL, 0, 20);
    }
}

static void serve_until_hello(struct roster *r)
{
    for (int i = 0; i < 1000 && !r->state[0].connected; i++)
        serve(r, 20, 0);
    assert_true(r->state[0].connected);
}

static int is_over(const struct child *c)
{
    siginfo_t info = { 0 };

    assert_int_equal(
        waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid != 0;
}

static int end_of(struct child *c, char *words, size_t bytes)
{
    ssize_t n;
    int status;

    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_true(WIFEXITED(status));
    n = read(c->errors, words, bytes - 1);
    words[n > 0 ? n : 0] = '\0';
    close(c->errors);
    return WEXITSTATUS(status);
}

static void assert_lease_over(struct child *c)
{
    char words[500];

    assert_int_equal(end_of(c, words, sizeof(words)), MUP_DEVICE);
    assert_non_null(strstr(words, "nothing was heard"));
    assert_ptr_equal(strchr(words, '\n'), words + strlen(words) - 1);
}

static void (*const busy[])(struct heartbeat *) = { compute, wait_in_a_call,
                                                    train };
#define N_BUSY (sizeof(busy) / sizeof(busy[0]))

static void a_silent_supervisor_ends_a_rank_wherever_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_BUSY; i++) {
        struct roster r;
        struct child c;

        open_roster(&r);
        c = start_rank(&r, busy[i]);
        serve_until_hello(&r);
        assert_lease_over(&c);
        roster_close(&r);
    }
}

static void a_supervisor_that_was_never_there_ends_it_too(void **state)
{
    struct roster r, gone;
    struct child c;

    (void)state;
    open_roster(&r);
    gone = r;
    close(r.listen);
    r.listen = -1;
    gone.listen = -1;
    c = start_rank(&gone, compute);
    assert_lease_over(&c);
    roster_close(&r);
}

/* Whether the rank reads what comes or is too busy for it. */
static void a_lease_lasts_while_the_supervisor_is_heard(void **state)
{
    struct roster r[N_BUSY];
    struct child c[N_BUSY];

    (void)state;
    for (size_t i = 0; i < N_BUSY; i++) {
        open_roster(&r[i]);
        c[i] = start_rank(&r[i], busy[i]);
        serve_until_hello(&r[i]);
    }
    for (int ms = 0; ms < (int)(2500 * LEASE_S); ms += 20 * (int)N_BUSY)
        for (size_t i = 0; i < N_BUSY; i++)
            serve(&r[i], 20, 1);
    for (size_t i = 0; i < N_BUSY; i++)
        assert_false(is_over(&c[i]));
    for (size_t i = 0; i < N_BUSY; i++)
        assert_lease_over(&c[i]);
    for (size_t i = 0; i < N_BUSY; i++)
        roster_close(&r[i]);
}

static void a_supervisor_that_goes_ends_its_ranks(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_BUSY; i++) {
        struct roster r;
        struct child c;

        open_roster(&r);
        c = start_rank(&r, busy[i]);
        serve_until_hello(&r);
        serve(&r, 100, 1);
        roster_close(&r);
        assert_lease_over(&c);
    }
}

/* What was said while it slept does not count once the supervisor has gone. */
static void a_rank_that_was_stopped_ends_when_it_goes_on(void **state)
{
    struct roster r;
    struct child c;
    int status;

    (void)state;
    open_roster(&r);
    c = start_rank(&r, compute);
    serve_until_hello(&r);
    assert_int_equal(kill(c.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(c.pid, &status, WUNTRACED), c.pid);
    assert_true(WIFSTOPPED(status));
    serve(&r, (int)(1000 * LEASE_S), 1);
    roster_close(&r);
    assert_int_equal(kill(c.pid, SIGCONT), 0);
    assert_lease_over(&c);
}

static void a_rank_that_has_said_bye_has_no_lease(void **state)
{
    struct roster r;
    struct child c;
    char words[100];

    (void)state;
    open_roster(&r);
    c = start_rank(&r, end_well);
    serve_until_hello(&r);
    assert_int_equal(end_of(&c, words, sizeof(words)), 0);
    assert_string_equal(words, "");
    roster_close(&r);
}

static void without_a_supervisor_there_is_no_lease(void **state)
{
    struct heartbeat h;

    (void)state;
    unsetenv(HEARTBEAT_VARIABLE);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    heartbeat_lease(&h, 0.01);
    (void)poll(NULL, 0, 100);
    assert_int_equal(h.leased, 0);
    (void)heartbeat_close(&h, 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_supervisor_ends_a_rank_wherever_it_is),
        cmocka_unit_test(a_supervisor_that_was_never_there_ends_it_too),
        cmocka_unit_test(a_lease_lasts_while_the_supervisor_is_heard),
        cmocka_unit_test(a_supervisor_that_goes_ends_its_ranks),
        cmocka_unit_test(a_rank_that_was_stopped_ends_when_it_goes_on),
        cmocka_unit_test(a_rank_that_has_said_bye_has_no_lease),
        cmocka_unit_test(without_a_supervisor_there_is_no_lease),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
