#include "launcher/roster.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connections beyond the ranks: strangers until they are found out. */
#define SPARE   16
#define HELLO_S 10
/* A sentence names so many ranks at most. */
#define MAX_NAMED 8

/* --- opening --- */

static int make_token(char out[HEARTBEAT_TOKEN_BYTES], struct mup_error *err)
{
    unsigned char random[(HEARTBEAT_TOKEN_BYTES - 1) / 2];
    FILE *f = fopen("/dev/urandom", "rb");
    size_t n = f ? fread(random, 1, sizeof(random), f) : 0;

    if (f)
        (void)fclose(f); /* only read from */
    if (n != sizeof(random))
        return mup_fail(err, MUP_SYSTEM, "cannot read '/dev/urandom'");
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(out + 2 * i, 3, "%02x", (unsigned)random[i]);
    return MUP_OK;
}

static int start_listening(const char *host, struct roster *r,
                           struct mup_error *err)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t bytes = sizeof(at);

    if (inet_pton(AF_INET, host, &at.sin_addr) != 1)
        return mup_fail(err, MUP_USAGE, "'%s' is no IPv4 address", host);
    r->listen = socket(AF_INET, SOCK_STREAM, 0);
    if (r->listen < 0 || fcntl(r->listen, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(r->listen, F_SETFL, O_NONBLOCK) != 0 ||
        bind(r->listen, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(r->listen, 1024) != 0 ||
        getsockname(r->listen, (struct sockaddr *)&at, &bytes) != 0)
        return mup_fail(err, MUP_SYSTEM, "cannot listen on '%s': %s", host,
                        strerror(errno));
    r->port = (int)ntohs(at.sin_port);
    return roster_advertise(r, host, err);
}

int roster_advertise(struct roster *r, const char *host, struct mup_error *err)
{
    if (!*host || strcspn(host, ": ") != strlen(host) ||
        strlen(host) >= HEARTBEAT_HOST_BYTES)
        return mup_fail(err, MUP_USAGE, "'%s' is no name of a host", host);
    snprintf(r->address, sizeof(r->address), "%s:%d:%s", host, r->port,
             r->token);
    return MUP_OK;
}

int roster_open(const char *host, int n, struct roster *out,
                struct mup_error *err)
{
    struct roster r = { .n = n, .listen = -1, .max_connections = n + SPARE };
    int rc = make_token(r.token, err);

    r.state = calloc((size_t)n, sizeof(*r.state));
    r.connection = calloc((size_t)r.max_connections, sizeof(*r.connection));
    if (rc == MUP_OK && (!r.state || !r.connection))
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for %d ranks", n);
    if (rc == MUP_OK)
        rc = start_listening(host, &r, err);
    if (rc != MUP_OK)
        roster_close(&r);
    else
        *out = r;
    return rc;
}

void roster_close(struct roster *r)
{
    for (int i = 0; r->connection && i < r->n_connections; i++)
        close(r->connection[i].fd);
    if (r->listen >= 0)
        close(r->listen);
    free(r->state);
    free(r->connection);
    *r = (struct roster){ .listen = -1 };
}

/* --- connections --- */

static void accept_all(struct roster *r)
{
    int fd;

    while ((fd = accept(r->listen, NULL, NULL)) >= 0) {
        if (r->n_connections == r->max_connections ||
            fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
            fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
            close(fd);
            continue;
        }
        r->connection[r->n_connections++] = (struct rank_connection){
            .fd = fd, .rank = -1, .since_s = r->now_s
        };
    }
}

static void tell(const struct roster *r, int rank, int kind,
                 const struct heartbeat_message *m)
{
    struct rank_event e = { .rank = rank, .kind = kind };

    if (m)
        e.message = *m;
    if (r->event)
        r->event(r->context, &e);
}

/* The connection is over, from either side. */
static void end_connection(struct roster *r, struct rank_connection *c)
{
    close(c->fd);
    c->fd = -1;
    if (c->rank < 0)
        return;
    r->state[c->rank].connected = 0;
    if (r->state[c->rank].bye)
        return;
    r->state[c->rank].lost = 1;
    tell(r, c->rank, RANK_LOST, NULL);
}

/* Equal without saying by its duration how much of it is. */
static int is_token(const char *a, const char *b)
{
    unsigned char different = 0;

    if (strlen(a) != strlen(b))
        return 0;
    for (size_t i = 0; a[i]; i++)
        different |= (unsigned char)(a[i] ^ b[i]);
    return different == 0;
}

/* The rest of a line that the socket took in part. */
static void send_rest(struct rank_connection *c)
{
    ssize_t n;

    if (!c->n_out)
        return;
    n = send(c->fd, c->out, c->n_out, MSG_NOSIGNAL);
    if (n <= 0)
        return; /* a dead connection is found when it is read */
    c->n_out -= (size_t)n;
    memmove(c->out, c->out + n, c->n_out);
}

/* A line with its newline, whole or not at all; -1: not. */
static int send_line(struct rank_connection *c, const char *line, size_t bytes)
{
    ssize_t n;

    send_rest(c);
    if (c->n_out || bytes > sizeof(c->out))
        return -1;
    n = send(c->fd, line, bytes, MSG_NOSIGNAL);
    if (n <= 0)
        return -1;
    c->n_out = bytes - (size_t)n;
    memcpy(c->out, line + n, c->n_out);
    return 0;
}

static void send_stop(struct rank_connection *c)
{
    (void)send_line(c, "stop\n", 5);
}

static int take_hello(struct roster *r, struct rank_connection *c,
                      const struct heartbeat_message *m)
{
    struct rank_state *s;

    if (c->rank >= 0 || !is_token(m->token, r->token) || m->ranks != r->n ||
        m->rank >= r->n || r->state[m->rank].pid)
        return -1;
    c->rank = (int)m->rank;
    s = &r->state[c->rank];
    s->connected = 1;
    s->pid = m->pid;
    s->last_s = r->now_s;
    memcpy(s->host, m->host, sizeof(s->host));
    if (r->stopping)
        send_stop(c);
    return 0;
}

static void take_beat(struct rank_state *s, const struct heartbeat_message *m,
                      double now_s)
{
    if (s->beats && now_s - s->last_s > s->longest_s)
        s->longest_s = now_s - s->last_s;
    s->beats++;
    s->last_s = now_s;
    s->step = m->beat.step;
    s->phase = m->beat.phase;
    s->compute_s = m->beat.compute_s;
    s->saved_step = m->beat.saved_step;
}

/* -1: this connection must be closed. */
static int take_line(struct roster *r, struct rank_connection *c)
{
    struct heartbeat_message m;

    if (strlen(c->line) != c->n || heartbeat_parse(c->line, &m) != 0)
        return -1;
    if (m.kind == HEARTBEAT_HELLO) {
        if (take_hello(r, c, &m) != 0)
            return -1;
    } else if (c->rank < 0 || r->state[c->rank].bye) {
        return -1;
    } else if (m.kind == HEARTBEAT_BEAT) {
        take_beat(&r->state[c->rank], &m, r->now_s);
    } else if (m.kind == HEARTBEAT_BYE) {
        r->state[c->rank].bye = 1;
        r->state[c->rank].status = (int)m.status;
    }
    tell(r, c->rank, m.kind, &m);
    return 0;
}

/* Lines out of some bytes; -1 as above. */
static int take_bytes(struct roster *r, struct rank_connection *c,
                      const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (c->n == sizeof(c->line) - 1)
            return -1;
        if (bytes[i] != '\n') {
            c->line[c->n++] = bytes[i];
            continue;
        }
        c->line[c->n] = '\0';
        if (take_line(r, c) != 0)
            return -1;
        c->n = 0;
    }
    return 0;
}

static void read_connection(struct roster *r, struct rank_connection *c)
{
    char bytes[4096];
    ssize_t n;

    /* One read a round: a flood of one rank must not starve the others. */
    n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n > 0 && take_bytes(r, c, bytes, (size_t)n) == 0)
        return;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    end_connection(r, c);
}

/* --- serving --- */

int roster_max_fds(const struct roster *r)
{
    return r->max_connections + 1;
}

/* The listening socket, then the connections in their order. */
int roster_watch(const struct roster *r, struct pollfd *fds)
{
    fds[0] = (struct pollfd){ .fd = r->listen, .events = POLLIN };
    for (int i = 0; i < r->n_connections; i++)
        fds[i + 1] =
            (struct pollfd){ .fd = r->connection[i].fd, .events = POLLIN };
    return r->n_connections + 1;
}

void roster_serve(struct roster *r, const struct pollfd *fds, int n,
                  double now_s)
{
    int kept = 0;

    r->now_s = now_s;
    for (int i = 1; i < n; i++) {
        struct rank_connection *c = &r->connection[i - 1];

        send_rest(c);
        if (fds[i].revents)
            read_connection(r, c);
        else if (c->rank < 0 && now_s - c->since_s > HELLO_S)
            end_connection(r, c);
    }
    for (int i = 0; i < r->n_connections; i++)
        if (r->connection[i].fd >= 0 && kept++ < i)
            r->connection[kept - 1] = r->connection[i];
    r->n_connections = kept;
    if (n > 0 && fds[0].revents)
        accept_all(r);
}

void roster_stop(struct roster *r)
{
    r->stopping = 1;
    for (int i = 0; i < r->n_connections; i++)
        if (r->connection[i].rank >= 0)
            send_stop(&r->connection[i]);
}

int roster_say(struct roster *r, int rank, const char *line)
{
    char text[HEARTBEAT_ORDER_BYTES + 1];
    int n = snprintf(text, sizeof(text), "%s\n", line);

    if (n > HEARTBEAT_ORDER_BYTES)
        return -1;
    for (int i = 0; i < r->n_connections; i++)
        if (r->connection[i].rank == rank)
            return send_line(&r->connection[i], text, (size_t)n);
    return -1;
}

void roster_peer(const struct roster *r, int rank, char *out, size_t bytes)
{
    struct sockaddr_in in = { 0 };
    socklen_t n = sizeof(in);

    out[0] = '\0';
    for (int i = 0; i < r->n_connections; i++)
        if (r->connection[i].rank == rank &&
            getpeername(r->connection[i].fd, (struct sockaddr *)&in, &n) == 0)
            (void)inet_ntop(AF_INET, &in.sin_addr, out, (socklen_t)bytes);
}

void roster_alive(struct roster *r)
{
    for (int i = 0; i < r->n_connections; i++)
        if (r->connection[i].rank >= 0)
            (void)send_line(&r->connection[i], "alive\n", 6);
}

static int is_missing(const struct rank_state *s, enum roster_missing which,
                      double since_s)
{
    if (s->bye)
        return 0;
    switch (which) {
    case ROSTER_NO_HELLO:
        return s->pid == 0;
    case ROSTER_NO_STEP:
        return s->beats == 0 || s->phase < TRAIN_STEP;
    case ROSTER_SILENT:
        return s->pid == 0 || s->last_s < since_s;
    }
    return 0;
}

int roster_find_hung(const struct roster *r, double now_s, double deadline_s)
{
    double longest = 0;
    int hung = -1;

    for (int i = 0; i < r->n; i++)
        if (r->state[i].longest_s > longest)
            longest = r->state[i].longest_s;
    for (int i = 0; i < r->n; i++) {
        const struct rank_state *s = &r->state[i];

        /* How long a start may take is another question. */
        if (!s->connected || s->bye || is_missing(s, ROSTER_NO_STEP, 0))
            continue;
        if (now_s - s->last_s > longest + deadline_s &&
            (hung < 0 || s->last_s < r->state[hung].last_s))
            hung = i;
    }
    return hung;
}

int roster_missing(const struct roster *r, enum roster_missing which,
                   double since_s, char *out, size_t bytes)
{
    size_t at = 0;
    int n = 0;

    for (int i = 0; i < r->n; i++)
        n += is_missing(&r->state[i], which, since_s);
    if (bytes)
        at = (size_t)snprintf(out, bytes, n == 1 ? "rank" : "ranks");
    for (int i = 0, named = 0; i < r->n && at < bytes; i++) {
        if (!is_missing(&r->state[i], which, since_s))
            continue;
        if (named == MAX_NAMED) {
            (void)snprintf(out + at, bytes - at, " and %d more", n - named);
            break;
        }
        at += (size_t)snprintf(out + at, bytes - at, "%s %d", named ? "," : "",
                               i);
        named++;
    }
    return n;
}

int64_t roster_last_step(const struct roster *r)
{
    int64_t last = 0;

    for (int i = 0; i < r->n; i++)
        if (!is_missing(&r->state[i], ROSTER_NO_STEP, 0) &&
            r->state[i].step > last)
            last = r->state[i].step;
    return last;
}
