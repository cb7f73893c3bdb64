#include "launcher/heartbeat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "launcher/stop.h"

/* How long the last words may wait for a full socket. */
#define BYE_MS    200
#define BYE_TRIES 10
/* How long one address of the supervisor may take to answer. */
#define CONNECT_MS 5000

static const char *const phases[] = {
    [TRAIN_SETUP] = "setup",
    [TRAIN_JOINED] = "joined",
    [TRAIN_LOADED] = "loaded",
    [TRAIN_STEP] = "step",
    [TRAIN_CHECKPOINT] = "checkpoint",
    [TRAIN_EVALUATION] = "evaluation",
    [TRAIN_DONE] = "done",
};
#define N_PHASES ((int)(sizeof(phases) / sizeof(phases[0])))

/* --- lines --- */

/* The next word of *at into out; 0 where there is none or it is too long. */
static int take_word(const char **at, char *out, size_t bytes)
{
    size_t n = strcspn(*at, " ");

    if (n == 0 || n >= bytes)
        return 0;
    memcpy(out, *at, n);
    out[n] = '\0';
    *at += n + ((*at)[n] == ' ');
    return 1;
}

static int take_int(const char **at, int64_t max, int64_t *out)
{
    char word[24], *end;

    if (!take_word(at, word, sizeof(word)) || word[0] < '0' || word[0] > '9')
        return 0;
    errno = 0;
    *out = strtoll(word, &end, 10);
    return *end == '\0' && errno == 0 && *out <= max;
}

static int take_seconds(const char **at, double *out)
{
    char word[40], *end;

    if (!take_word(at, word, sizeof(word)))
        return 0;
    *out = strtod(word, &end);
    return *end == '\0' && isfinite(*out) && *out >= 0;
}

static int take_phase(const char **at, int *out)
{
    char word[16];

    if (!take_word(at, word, sizeof(word)))
        return 0;
    for (*out = 0; *out < N_PHASES; (*out)++)
        if (!strcmp(word, phases[*out]))
            return 1;
    return 0;
}

static int parse_hello(const char *at, struct heartbeat_message *m)
{
    m->kind = HEARTBEAT_HELLO;
    return take_word(&at, m->token, sizeof(m->token)) &&
           take_int(&at, INT32_MAX, &m->rank) &&
           take_int(&at, INT32_MAX, &m->ranks) && m->rank < m->ranks &&
           take_int(&at, INT32_MAX, &m->pid) && m->pid > 0 &&
           take_word(&at, m->host, sizeof(m->host)) && !*at;
}

static int parse_beat(const char *at, struct heartbeat_message *m)
{
    m->kind = HEARTBEAT_BEAT;
    return take_int(&at, INT64_MAX, &m->beat.step) &&
           take_phase(&at, &m->beat.phase) &&
           take_seconds(&at, &m->beat.compute_s) &&
           take_seconds(&at, &m->wall_s) &&
           take_int(&at, INT64_MAX, &m->beat.saved_step) && !*at;
}

int heartbeat_parse(const char *line, struct heartbeat_message *out)
{
    const char *at = line;
    char word[16];
    int valid = 0;

    memset(out, 0, sizeof(*out));
    /* Text goes to a terminal: nothing that could steer it. */
    for (const char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return -1;
    if (strlen(line) >= HEARTBEAT_LINE_BYTES ||
        !take_word(&at, word, sizeof(word)))
        return -1;
    if (!strcmp(word, "hello")) {
        valid = parse_hello(at, out);
    } else if (!strcmp(word, "beat")) {
        valid = parse_beat(at, out);
    } else if (!strcmp(word, "progress")) {
        out->kind = HEARTBEAT_PROGRESS;
        valid = 1;
    } else if (!strcmp(word, "bye")) {
        out->kind = HEARTBEAT_BYE;
        valid = take_int(&at, 255, &out->status);
    }
    if (valid && out->kind >= HEARTBEAT_PROGRESS)
        snprintf(out->text, sizeof(out->text), "%s", at);
    return valid ? 0 : -1;
}

/* --- the rank's end --- */

static void disconnect(struct heartbeat *h)
{
    if (h->leased) /* before the number can be another file's */
        stop_lease_unheard();
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
    h->stop = 1;
    h->n_out = 0;
}

static int is_retry(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static void flush_out(struct heartbeat *h)
{
    ssize_t n;

    if (h->fd < 0 || h->n_out == 0)
        return;
    n = send(h->fd, h->out, h->n_out, MSG_NOSIGNAL);
    if (n < 0) {
        if (!is_retry(errno))
            disconnect(h);
        return;
    }
    h->reached = 1;
    h->n_out -= (size_t)n;
    memmove(h->out, h->out + n, h->n_out);
}

/* One line; dropped where too much waits already. */
__attribute__((format(printf, 2, 3))) static void say(struct heartbeat *h,
                                                      const char *format, ...)
{
    char line[HEARTBEAT_LINE_BYTES];
    va_list ap;
    size_t n;

    flush_out(h);
    if (h->fd < 0 || h->told)
        return;
    va_start(ap, format);
    vsnprintf(line, sizeof(line) - 1, format, ap);
    va_end(ap);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    n = strlen(line);
    line[n++] = '\n';
    if (n > sizeof(h->out) - h->n_out)
        return;
    memcpy(h->out + h->n_out, line, n);
    h->n_out += n;
    flush_out(h);
}

/* A connection to one address, or -1. */
static int connect_to(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    int one = 1, cause = 0;
    socklen_t bytes = sizeof(cause);
    struct pollfd ready = { fd, POLLOUT, 0 };

    if (fd < 0)
        return -1;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    /* The hello must be out before the rank is deep in MPI_Init. */
    if (errno == EINPROGRESS && poll(&ready, 1, CONNECT_MS) == 1 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &bytes) == 0 && !cause)
        return fd;
    close(fd);
    return -1;
}

/* To the first address of host that answers; a roster listens on IPv4. */
static int connect_any(const char *host, const char *port)
{
    const struct addrinfo wanted = { .ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    int fd = -1;

    if (getaddrinfo(host, port, &wanted, &found) != 0)
        return -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = connect_to(a);
    freeaddrinfo(found);
    return fd;
}

int heartbeat_open(int rank, int ranks, struct heartbeat *out,
                   struct mup_error *err)
{
    const char *address = getenv(HEARTBEAT_VARIABLE);
    char text[300], host[NODE_NAME_BYTES], *port, *token;

    *out = (struct heartbeat){ .fd = -1 };
    if (!address || !*address)
        return MUP_OK;
    snprintf(text, sizeof(text), "%s", address);
    token = strrchr(text, ':');
    if (token)
        *token++ = '\0';
    port = strrchr(text, ':');
    if (port)
        *port++ = '\0';
    if (!port || !token || !*text || !*port || !*token ||
        strlen(token) >= HEARTBEAT_TOKEN_BYTES)
        return mup_fail(err, MUP_USAGE,
                        HEARTBEAT_VARIABLE " is not HOST:PORT:TOKEN; unset it "
                                           "to train without supervisor");
    node_name(host);
    out->fd = connect_any(text, port);
    if (out->fd < 0)
        disconnect(out);
    say(out, "hello %s %d %d %ld %s", token, rank, ranks, (long)getpid(), host);
    return MUP_OK;
}

void heartbeat_lease(struct heartbeat *h, double lease_s)
{
    if (h->fd < 0 && !h->stop)
        return;
    h->leased = 1;
    stop_lease(h->fd, lease_s);
}

int heartbeat_is_watched(const struct heartbeat *h)
{
    return h->fd >= 0;
}

void heartbeat_beat(struct heartbeat *h, const struct train_beat *beat)
{
    struct timespec now;

    if (h->fd < 0)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    say(h, "beat %" PRId64 " %s %.6f %.3f %" PRId64, beat->step,
        phases[beat->phase], beat->compute_s,
        (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, beat->saved_step);
}

void heartbeat_progress(struct heartbeat *h, const char *text)
{
    say(h, "progress %s", text);
}

/* A whole line, in h->in with its newline. */
static void take_order(struct heartbeat *h)
{
    if (h->n_in == 5 && !memcmp(h->in, "stop\n", 5)) {
        h->stop = 1;
    } else if (h->n_in == 6 && !memcmp(h->in, "alive\n", 6)) {
        /* to have heard it is all */
    } else if (h->n_in <= sizeof(h->heard) - h->n_heard) {
        memcpy(h->heard + h->n_heard, h->in, h->n_in);
        h->n_heard += h->n_in;
    }
}

/* All that the socket has. */
static void listen_to(struct heartbeat *h)
{
    char bytes[512];

    while (h->fd >= 0) {
        ssize_t n = recv(h->fd, bytes, sizeof(bytes), 0);

        if (n == 0 || (n < 0 && !is_retry(errno)))
            disconnect(h);
        if (n <= 0)
            break;
        stop_heard();
        for (ssize_t i = 0; i < n; i++) {
            h->in[h->n_in++] = bytes[i];
            if (bytes[i] == '\n' && !h->too_long)
                take_order(h);
            if (bytes[i] == '\n')
                h->too_long = 0;
            else if (h->n_in == sizeof(h->in))
                h->too_long = 1;
            if (bytes[i] == '\n' || h->too_long)
                h->n_in = 0;
        }
    }
    flush_out(h);
}

int heartbeat_should_stop(struct heartbeat *h)
{
    listen_to(h);
    return h->stop;
}

int heartbeat_hear(struct heartbeat *h, char *line, size_t bytes)
{
    const char *end;
    size_t n;

    listen_to(h);
    end = memchr(h->heard, '\n', h->n_heard);
    if (!end)
        return 0;
    n = (size_t)(end - h->heard);
    snprintf(line, bytes, "%.*s", (int)n, h->heard);
    h->n_heard -= n + 1;
    memmove(h->heard, end + 1, h->n_heard);
    return 1;
}

/* Nonzero: all that was accepted has been sent. */
static int drain(struct heartbeat *h)
{
    struct pollfd fd = { h->fd, POLLOUT, 0 };

    flush_out(h);
    for (int i = 0; h->n_out && h->fd >= 0 && i < BYE_TRIES; i++) {
        (void)poll(&fd, 1, BYE_MS);
        flush_out(h);
    }
    return h->fd >= 0 && h->n_out == 0;
}

const char *heartbeat_loss(const struct heartbeat *h)
{
    if (h->fd >= 0 || !h->stop)
        return NULL;
    return h->reached ? "the supervisor of this run has gone"
                      : "the supervisor that " HEARTBEAT_VARIABLE
                        " names cannot be reached (unset it to train without)";
}

int heartbeat_bye(struct heartbeat *h, int status, const char *text)
{
    if (h->told || !drain(h))
        return h->told;
    say(h, "bye %d %s", status, text);
    h->told = drain(h);
    return h->told;
}

int heartbeat_close(struct heartbeat *h, int status, const char *text)
{
    int told = heartbeat_bye(h, status, text);

    /* Closing with a "stop" unread would reset the connection, bye and all. */
    (void)heartbeat_should_stop(h);
    disconnect(h);
    if (h->leased)
        stop_lease_end();
    h->leased = 0;
    return told;
}
