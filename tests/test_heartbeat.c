/* Heartbeats over 127.0.0.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/heartbeat.h"
#include "launcher/roster.h"

/* --- lines --- */

static void lines_of_every_kind_parse(void **state)
{
    struct heartbeat_message m;

    (void)state;
    assert_int_equal(heartbeat_parse("hello abc 3 4 77 node1", &m), 0);
    assert_int_equal(m.kind, HEARTBEAT_HELLO);
    assert_string_equal(m.token, "abc");
    assert_int_equal(m.rank, 3);
    assert_int_equal(m.ranks, 4);
    assert_int_equal(m.pid, 77);
    assert_string_equal(m.host, "node1");
    assert_int_equal(heartbeat_parse("beat 12 evaluation 0.25 17e8 8", &m), 0);
    assert_int_equal(m.kind, HEARTBEAT_BEAT);
    assert_int_equal(m.beat.step, 12);
    assert_int_equal(m.beat.phase, TRAIN_EVALUATION);
    assert_float_equal(m.beat.compute_s, 0.25, 0);
    assert_int_equal(m.beat.saved_step, 8);
    assert_int_equal(heartbeat_parse("beat 0 joined 0 17e8 0", &m), 0);
    assert_int_equal(m.beat.phase, TRAIN_JOINED);
    assert_int_equal(heartbeat_parse("beat 4 loaded 0 17e8 4", &m), 0);
    assert_int_equal(m.beat.phase, TRAIN_LOADED);
    assert_int_equal(heartbeat_parse("progress step 1/2  loss 3", &m), 0);
    assert_string_equal(m.text, "step 1/2  loss 3");
    assert_int_equal(heartbeat_parse("bye 7 stopped, state saved", &m), 0);
    assert_int_equal(m.status, 7);
    assert_string_equal(m.text, "stopped, state saved");
    assert_int_equal(heartbeat_parse("bye 0 ", &m), 0);
    assert_string_equal(m.text, "");
}

static void malformed_lines_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "hello",
        "hello abc 4 4 77 node1", /* rank 4 of 4 */
        "hello abc -1 4 77 node1",
        "hello abc 1 4 0 node1",
        "hello abc 1 4 77",
        "hello abc 1 4 77 node1 more",
        "hello abc 1 4 99999999999999999999 node1",
        "hello 0123456789012345678901234567890123456789 1 4 77 node1",
        "beat 1 step nan 1 0",
        "beat 1 step inf 1 0",
        "beat 1 step -1 1 0",
        "beat 1 walking 1 1 0",
        "beat 1 step 1 1",
        "beat 1 step 1 1 -1",
        "beat 1 step 1 1 1 1",
        "beat x step 1 1 0",
        "bye",
        "bye 256 x",
        "bye x",
        "stop",
        "progress \033[2J",
    };
    struct heartbeat_message m;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (heartbeat_parse(bad[i], &m) == 0)
            fail_msg("accepted: '%s'", bad[i]);
}

/* --- connections --- */

#define MAX_EVENTS 512

struct seen {
    struct roster roster;
    double now_s;
    int n, rank[MAX_EVENTS], kind[MAX_EVENTS];
    char text[HEARTBEAT_LINE_BYTES];
};

static void see(void *context, const struct rank_event *e)
{
    struct seen *s = context;

    assert_true(s->n < MAX_EVENTS);
    s->rank[s->n] = e->rank;
    s->kind[s->n++] = e->kind;
    if (e->message.text[0])
        snprintf(s->text, sizeof(s->text), "%s", e->message.text);
}

static void open_server(struct seen *s, int ranks)
{
    struct mup_error err;

    memset(s, 0, sizeof(*s));
    assert_int_equal(roster_open("127.0.0.1", ranks, &s->roster, &err), MUP_OK);
    s->roster.event = see;
    s->roster.context = s;
    assert_int_equal(setenv(HEARTBEAT_VARIABLE, s->roster.address, 1), 0);
}

static void close_server(struct seen *s)
{
    roster_close(&s->roster);
    unsetenv(HEARTBEAT_VARIABLE);
}

/* Until the loopback has nothing more: 20 ms without news. */
static void serve(struct seen *s)
{
    struct pollfd *fds =
        calloc((size_t)roster_max_fds(&s->roster), sizeof(*fds));

    assert_non_null(fds);
    for (;;) {
        int n = roster_watch(&s->roster, fds);
        int ready = poll(fds, (nfds_t)n, 20);

        roster_serve(&s->roster, fds, n, s->now_s);
        if (ready <= 0)
            break;
    }
    free(fds);
}

/* A client that speaks what it is told. */
static int connect_raw(const struct seen *s)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int port = 0;

    assert_int_equal(sscanf(s->roster.address, "127.0.0.1:%d:", &port), 1);
    at.sin_port = htons((uint16_t)port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
                     (ssize_t)strlen(text));
}

static void say_hello(const struct seen *s, int fd, int rank)
{
    char line[200];

    snprintf(line, sizeof(line), "hello %s %d %d 4242 here\n", s->roster.token,
             rank, s->roster.n);
    say(fd, line);
}

static int is_closed(int fd)
{
    char c;

    /* closed with our text unread: reset; else the end of the stream */
    return recv(fd, &c, 1, MSG_DONTWAIT) <= 0 &&
           recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

static void a_rank_is_followed_from_hello_to_bye(void **state)
{
    struct train_beat beat = { 5, TRAIN_STEP, 0.125, 4 };
    struct heartbeat h;
    struct seen s;

    (void)state;
    open_server(&s, 2);
    assert_int_equal(heartbeat_open(1, 2, &h, NULL), MUP_OK);
    assert_true(heartbeat_is_watched(&h));
    heartbeat_beat(&h, &beat);
    heartbeat_progress(&h, "half\nway");
    serve(&s);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.kind[0], HEARTBEAT_HELLO);
    assert_int_equal(s.rank[0], 1);
    assert_string_equal(s.text, "half way");
    assert_int_equal(s.roster.state[1].step, 5);
    assert_int_equal(s.roster.state[1].saved_step, 4);
    assert_int_equal(s.roster.state[1].phase, TRAIN_STEP);
    assert_int_equal(s.roster.state[1].pid, getpid());
    assert_float_equal(s.roster.state[1].compute_s, 0.125, 0);
    assert_int_equal(s.roster.state[0].connected, 0);
    assert_int_equal(heartbeat_close(&h, 7, "stopped"), 1);
    serve(&s);
    assert_int_equal(s.n, 4);
    assert_int_equal(s.kind[3], HEARTBEAT_BYE);
    assert_int_equal(s.roster.state[1].status, 7);
    assert_int_equal(s.roster.state[1].lost, 0);
    assert_int_equal(s.roster.state[1].connected, 0);
    assert_string_equal(s.text, "stopped");
    close_server(&s);
}

static void expect_stop(struct heartbeat *h)
{
    struct pollfd fd = { h->fd, POLLIN, 0 };

    assert_int_equal(poll(&fd, 1, 5000), 1);
    assert_int_equal(heartbeat_should_stop(h), 1);
    assert_true(heartbeat_is_watched(h));
    (void)heartbeat_close(h, 0, "");
}

static void stop_reaches_the_ranks(void **state)
{
    struct heartbeat h[2];
    struct seen s;

    (void)state;
    open_server(&s, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(heartbeat_open(i, 2, &h[i], NULL), MUP_OK);
    serve(&s);
    assert_int_equal(heartbeat_should_stop(&h[0]), 0);
    roster_stop(&s.roster);
    for (int i = 0; i < 2; i++)
        expect_stop(&h[i]);
    close_server(&s);
}

/* Ctrl-C while the ranks still come up. */
static void stop_reaches_a_rank_that_comes_later(void **state)
{
    struct heartbeat h[2];
    struct seen s;

    (void)state;
    open_server(&s, 2);
    assert_int_equal(heartbeat_open(0, 2, &h[0], NULL), MUP_OK);
    roster_stop(&s.roster); /* one is connected, and not yet heard */
    serve(&s);
    assert_int_equal(heartbeat_open(1, 2, &h[1], NULL), MUP_OK);
    serve(&s);
    for (int i = 0; i < 2; i++)
        expect_stop(&h[i]);
    close_server(&s);
}

static void a_supervisor_that_goes_stops_its_ranks(void **state)
{
    struct train_beat beat = { 0 };
    struct heartbeat h;
    struct pollfd fd;
    struct seen s;

    (void)state;
    open_server(&s, 1);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    serve(&s);
    roster_close(&s.roster);
    fd = (struct pollfd){ h.fd, POLLIN, 0 };
    assert_int_equal(poll(&fd, 1, 5000), 1);
    assert_int_equal(heartbeat_should_stop(&h), 1);
    assert_false(heartbeat_is_watched(&h));
    heartbeat_beat(&h, &beat);
    assert_int_equal(heartbeat_close(&h, 0, ""), 0);
    /* and one that has gone before the start is no better */
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    for (int i = 0; i < 100 && !heartbeat_should_stop(&h); i++)
        (void)poll(NULL, 0, 10);
    assert_int_equal(heartbeat_should_stop(&h), 1);
    (void)heartbeat_close(&h, 0, "");
    unsetenv(HEARTBEAT_VARIABLE);
}

static void without_a_supervisor_nothing_happens(void **state)
{
    struct train_beat beat = { 0 };
    struct heartbeat h;
    struct mup_error err;

    (void)state;
    unsetenv(HEARTBEAT_VARIABLE);
    assert_int_equal(heartbeat_open(0, 1, &h, &err), MUP_OK);
    heartbeat_beat(&h, &beat);
    assert_int_equal(heartbeat_should_stop(&h), 0);
    assert_int_equal(heartbeat_close(&h, 0, ""), 0);
    assert_int_equal(setenv(HEARTBEAT_VARIABLE, "nonsense", 1), 0);
    assert_int_equal(heartbeat_open(0, 1, &h, &err), MUP_USAGE);
    unsetenv(HEARTBEAT_VARIABLE);
}

static void a_supervisor_that_does_not_read_blocks_nobody(void **state)
{
    struct train_beat beat = { 1, TRAIN_STEP, 1, 0 };
    struct heartbeat h;
    struct seen s;

    (void)state;
    open_server(&s, 1);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    /* far more than the sockets hold: what does not fit is dropped */
    for (int i = 0; i < 300000; i++)
        heartbeat_beat(&h, &beat);
    assert_int_equal(heartbeat_should_stop(&h), 0);
    s.roster.event = NULL;
    serve(&s);
    assert_true(s.roster.state[0].beats > 0);
    assert_true(s.roster.state[0].beats < 300000);
    heartbeat_beat(&h, &beat);
    s.roster.event = see;
    (void)heartbeat_close(&h, 0, "");
    serve(&s);
    /* whole lines alone were dropped */
    assert_int_equal(s.roster.state[0].bye, 1);
    close_server(&s);
}

static void lines_arrive_in_pieces(void **state)
{
    struct seen s;
    int fd;

    (void)state;
    open_server(&s, 1);
    fd = connect_raw(&s);
    say(fd, "hel");
    serve(&s);
    say(fd, "lo ");
    say(fd, s.roster.token);
    serve(&s);
    assert_int_equal(s.n, 0);
    say(fd, " 0 1 9 x\nbeat 1 step 1 1 0\nbeat 2 st");
    serve(&s);
    assert_int_equal(s.n, 2);
    say(fd, "ep 1 1 0\n");
    serve(&s);
    assert_int_equal(s.roster.state[0].step, 2);
    close(fd);
    close_server(&s);
}

static void strangers_are_closed_and_ignored(void **state)
{
    char line[HEARTBEAT_LINE_BYTES + 10];
    struct seen s;
    int fd[6];

    (void)state;
    open_server(&s, 2);
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    for (int i = 0; i < 6; i++)
        fd[i] = connect_raw(&s);
    say(fd[0], "hello 0123456789abcdef0123456789abcdef 0 2 9 x\n");
    say(fd[1], "hello a 0 2 9 x\n");
    say(fd[2], "beat 1 step 1 1 0\n");
    say(fd[3], line);
    say(fd[4], "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(send(fd[5], "hello\0x\n", 8, 0), 8);
    serve(&s);
    assert_int_equal(s.n, 0);
    assert_int_equal(s.roster.n_connections, 0);
    for (int i = 0; i < 6; i++) {
        assert_true(is_closed(fd[i]));
        close(fd[i]);
    }
    close_server(&s);
}

static void a_rank_that_turns_to_nonsense_is_lost(void **state)
{
    struct seen s;
    int fd, second;

    (void)state;
    open_server(&s, 2);
    fd = connect_raw(&s);
    say_hello(&s, fd, 1);
    serve(&s);
    /* its number is taken: the second is the stranger */
    second = connect_raw(&s);
    say_hello(&s, second, 1);
    serve(&s);
    assert_true(is_closed(second));
    assert_int_equal(s.roster.state[1].connected, 1);
    say(fd, "nonsense\n");
    serve(&s);
    assert_true(is_closed(fd));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.kind[1], RANK_LOST);
    assert_int_equal(s.roster.state[1].lost, 1);
    close(fd);
    close(second);
    close_server(&s);
}

static void silent_strangers_make_room(void **state)
{
    struct seen s;
    int fd[30], late;

    (void)state;
    open_server(&s, 1);
    for (int i = 0; i < 30; i++)
        fd[i] = connect_raw(&s);
    serve(&s);
    assert_int_equal(s.roster.n_connections, s.roster.max_connections);
    s.now_s = 60;
    serve(&s);
    assert_int_equal(s.roster.n_connections, 0);
    late = connect_raw(&s);
    say_hello(&s, late, 0);
    serve(&s);
    assert_int_equal(s.roster.state[0].connected, 1);
    close(late);
    for (int i = 0; i < 30; i++)
        close(fd[i]);
    close_server(&s);
}

static void sixty_four_ranks_and_one_closes_without_bye(void **state)
{
    struct train_beat beat = { 3, TRAIN_CHECKPOINT, 1, 2 };
    struct heartbeat h[64];
    struct seen s;
    int lost = 0;

    (void)state;
    open_server(&s, 64);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(heartbeat_open(i, 64, &h[i], NULL), MUP_OK);
        heartbeat_beat(&h[i], &beat);
    }
    serve(&s);
    assert_int_equal(s.n, 128);
    close(h[17].fd);
    h[17].fd = -1;
    for (int i = 0; i < 64; i++)
        (void)heartbeat_close(&h[i], 0, "");
    serve(&s);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(s.roster.state[i].step, 3);
        assert_int_equal(s.roster.state[i].bye, i != 17);
        lost += s.roster.state[i].lost;
    }
    assert_int_equal(lost, 1);
    assert_int_equal(s.roster.state[17].lost, 1);
    close_server(&s);
}

static void a_silent_rank_hangs_after_the_deadline(void **state)
{
    struct rank_state rank[3] = {
        { .connected = 1, .beats = 9, .phase = TRAIN_STEP, .last_s = 100 },
        { .connected = 1, .beats = 9, .phase = TRAIN_STEP, .last_s = 99 },
        { .connected = 1, .beats = 9, .phase = TRAIN_SETUP, .last_s = 1 },
    };
    struct roster r = { .n = 3, .state = rank };

    (void)state;
    rank[0].longest_s = 20; /* a step has taken as long */
    assert_int_equal(roster_find_hung(&r, 128, 10), -1);
    assert_int_equal(roster_find_hung(&r, 131, 10), 1);
    /* whatever it does */
    rank[1].phase = TRAIN_CHECKPOINT;
    assert_int_equal(roster_find_hung(&r, 131, 10), 1);
    rank[1].phase = TRAIN_EVALUATION;
    assert_int_equal(roster_find_hung(&r, 131, 10), 1);
    rank[1].bye = 1;
    assert_int_equal(roster_find_hung(&r, 131, 10), 0);
    rank[0].bye = 1;
    assert_int_equal(roster_find_hung(&r, 131, 10), -1);
}

static void missing_ranks_are_named(void **state)
{
    struct rank_state rank[20] = {
        { .pid = 1,
          .connected = 1,
          .beats = 9,
          .phase = TRAIN_STEP,
          .step = 8,
          .last_s = 100 },
        { .pid = 2,
          .connected = 1,
          .beats = 9,
          .phase = TRAIN_CHECKPOINT,
          .step = 7,
          .last_s = 99 },
        { .pid = 3,
          .connected = 1,
          .beats = 1,
          .phase = TRAIN_LOADED,
          .step = 9,
          .last_s = 101 },
        { .pid = 0 },
    };
    struct roster r = { .n = 4, .state = rank };
    char names[100];

    (void)state;
    assert_int_equal(
        roster_missing(&r, ROSTER_NO_HELLO, 0, names, sizeof(names)), 1);
    assert_string_equal(names, "rank 3");
    assert_int_equal(
        roster_missing(&r, ROSTER_NO_STEP, 0, names, sizeof(names)), 2);
    assert_string_equal(names, "ranks 2, 3");
    assert_int_equal(
        roster_missing(&r, ROSTER_SILENT, 100, names, sizeof(names)), 2);
    assert_string_equal(names, "ranks 1, 3");
    assert_int_equal(roster_last_step(&r), 8);
    for (int i = 0; i < 4; i++)
        rank[i].bye = 1;
    r.n = 20;
    assert_int_equal(
        roster_missing(&r, ROSTER_NO_HELLO, 0, names, sizeof(names)), 16);
    assert_string_equal(names, "ranks 4, 5, 6, 7, 8, 9, 10, 11 and 8 more");
    assert_int_equal(roster_missing(&r, ROSTER_NO_STEP, 0, NULL, 0), 16);
}

static void a_bye_is_heard_before_the_rank_has_gone(void **state)
{
    struct train_beat beat = { 5, TRAIN_STEP, 0.125, 4 };
    struct heartbeat h;
    struct seen s;

    (void)state;
    open_server(&s, 1);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    assert_int_equal(heartbeat_bye(&h, 3, "disk full"), 1);
    heartbeat_beat(&h, &beat); /* nobody's business any more */
    serve(&s);
    assert_int_equal(s.roster.state[0].bye, 1);
    assert_int_equal(s.roster.state[0].connected, 1);
    assert_string_equal(s.text, "disk full");
    assert_int_equal(heartbeat_close(&h, 0, "all is well"), 1);
    serve(&s);
    assert_string_equal(s.text, "disk full");
    assert_int_equal(s.roster.state[0].status, 3);
    assert_int_equal(s.roster.state[0].connected, 0);
    assert_int_equal(s.roster.state[0].lost, 0);
    close_server(&s);
}

static void a_supervisor_that_is_not_there_is_named(void **state)
{
    struct heartbeat h;
    struct seen s;

    (void)state;
    open_server(&s, 1);
    roster_close(&s.roster);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    for (int i = 0; i < 100 && !heartbeat_should_stop(&h); i++)
        (void)poll(NULL, 0, 10);
    assert_non_null(strstr(heartbeat_loss(&h), "cannot be reached"));
    (void)heartbeat_close(&h, 0, "");
    close_server(&s);
    open_server(&s, 1);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    serve(&s);
    assert_null(heartbeat_loss(&h));
    roster_stop(&s.roster);
    roster_close(&s.roster);
    for (int i = 0; i < 100 && heartbeat_is_watched(&h); i++) {
        (void)heartbeat_should_stop(&h);
        (void)poll(NULL, 0, 10);
    }
    assert_non_null(strstr(heartbeat_loss(&h), "has gone"));
    close_server(&s);
}

static void await(const struct heartbeat *h)
{
    struct pollfd fd = { h->fd, POLLIN, 0 };

    assert_int_equal(poll(&fd, 1, 5000), 1);
}

/* An agent hears what it is asked for between signs of life. */
static void orders_are_heard_in_order_and_whole(void **state)
{
    char line[HEARTBEAT_ORDER_BYTES], longest[HEARTBEAT_ORDER_BYTES];
    char over[HEARTBEAT_ORDER_BYTES + 1];
    struct heartbeat h;
    struct seen s;

    (void)state;
    open_server(&s, 2);
    assert_int_equal(roster_say(&s.roster, 0, "check"), -1);
    assert_int_equal(heartbeat_open(0, 2, &h, NULL), MUP_OK);
    serve(&s);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(heartbeat_hear(&h, line, sizeof(line)), 0);
    roster_alive(&s.roster);
    assert_int_equal(roster_say(&s.roster, 0, "serve 7"), 0);
    assert_int_equal(roster_say(&s.roster, 0, longest), 0);
    roster_alive(&s.roster);
    assert_int_equal(roster_say(&s.roster, 1, "check"), -1);
    await(&h);
    /* who asks for a stop alone loses nothing */
    assert_int_equal(heartbeat_should_stop(&h), 0);
    roster_stop(&s.roster);
    await(&h);
    assert_int_equal(heartbeat_hear(&h, line, sizeof(line)), 1);
    assert_string_equal(line, "serve 7");
    assert_int_equal(heartbeat_hear(&h, line, sizeof(line)), 1);
    assert_string_equal(line, longest);
    assert_int_equal(heartbeat_hear(&h, line, sizeof(line)), 0);
    assert_int_equal(heartbeat_should_stop(&h), 1);
    /* one byte more is no order */
    memset(over, 'x', sizeof(over));
    over[sizeof(over) - 1] = '\0';
    assert_int_equal(roster_say(&s.roster, 0, over), -1);
    (void)heartbeat_close(&h, 0, "");
    close_server(&s);
}

/* Orders that are too long, or too many, cost themselves alone. */
static void what_does_not_fit_is_dropped(void **state)
{
    char line[HEARTBEAT_ORDER_BYTES], text[3 * HEARTBEAT_ORDER_BYTES];
    struct heartbeat h;
    char many[4 * sizeof(h.heard)] = "";
    int fd[2], heard = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(fcntl(fd[0], F_SETFL, O_NONBLOCK), 0);
    h = (struct heartbeat){ .fd = fd[0] };
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    say(fd[1], text);
    say(fd[1], "stop\ncheck\n");
    assert_int_equal(heartbeat_hear(&h, line, sizeof(line)), 1);
    assert_string_equal(line, "check");
    assert_int_equal(h.stop, 0); /* it was the end of the long one */
    for (size_t i = 0; i + 6 < sizeof(many); i += 6)
        memcpy(many + i, "check\n", 6);
    say(fd[1], many);
    while (heartbeat_hear(&h, line, sizeof(line)))
        heard++;
    assert_in_range(heard, 1, sizeof(many) / 6 - 1);
    say(fd[1], "stop\n");
    assert_int_equal(heartbeat_should_stop(&h), 1);
    close(fd[1]);
    (void)heartbeat_close(&h, 0, "");
}

static void a_roster_that_hears_other_hosts_names_itself(void **state)
{
    struct heartbeat h;
    struct mup_error err;
    struct seen s;

    (void)state;
    memset(&s, 0, sizeof(s));
    assert_int_equal(roster_open("0.0.0.0", 1, &s.roster, &err), MUP_OK);
    assert_int_equal(roster_advertise(&s.roster, "no:name", &err), MUP_USAGE);
    assert_int_equal(roster_advertise(&s.roster, "", &err), MUP_USAGE);
    assert_int_equal(roster_advertise(&s.roster, "localhost", &err), MUP_OK);
    assert_ptr_equal(strstr(s.roster.address, "localhost:"), s.roster.address);
    assert_int_equal(setenv(HEARTBEAT_VARIABLE, s.roster.address, 1), 0);
    assert_int_equal(setenv("SLURMD_NODENAME", "node7", 1), 0);
    assert_int_equal(heartbeat_open(0, 1, &h, NULL), MUP_OK);
    serve(&s);
    assert_string_equal(s.roster.state[0].host, "node7");
    (void)heartbeat_close(&h, 0, "");
    unsetenv("SLURMD_NODENAME");
    close_server(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_every_kind_parse),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(a_rank_is_followed_from_hello_to_bye),
        cmocka_unit_test(stop_reaches_the_ranks),
        cmocka_unit_test(stop_reaches_a_rank_that_comes_later),
        cmocka_unit_test(a_supervisor_that_goes_stops_its_ranks),
        cmocka_unit_test(without_a_supervisor_nothing_happens),
        cmocka_unit_test(a_supervisor_that_does_not_read_blocks_nobody),
        cmocka_unit_test(lines_arrive_in_pieces),
        cmocka_unit_test(strangers_are_closed_and_ignored),
        cmocka_unit_test(a_rank_that_turns_to_nonsense_is_lost),
        cmocka_unit_test(silent_strangers_make_room),
        cmocka_unit_test(sixty_four_ranks_and_one_closes_without_bye),
        cmocka_unit_test(a_silent_rank_hangs_after_the_deadline),
        cmocka_unit_test(missing_ranks_are_named),
        cmocka_unit_test(a_bye_is_heard_before_the_rank_has_gone),
        cmocka_unit_test(a_supervisor_that_is_not_there_is_named),
        cmocka_unit_test(orders_are_heard_in_order_and_whole),
        cmocka_unit_test(what_does_not_fit_is_dropped),
        cmocka_unit_test(a_roster_that_hears_other_hosts_names_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
