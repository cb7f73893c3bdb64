#include "launcher/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "model/clock.h"

#define BUFFER_BYTES ((size_t)256 << 10)
/* A stranger says the word by then or makes room. */
#define WORD_S 1.0

/* 1: ready; 0: it is too late. */
static int wait_for(int fd, short events, double until_s)
{
    struct pollfd ready = { fd, events, 0 };

    for (;;) {
        const double left_s = until_s - clock_s();
        int n;

        if (left_s <= 0)
            return 0;
        n = poll(&ready, 1, left_s < 3600 ? (int)(1000 * left_s) + 1 : 3600000);
        if (n > 0)
            return 1;
        if (n < 0 && errno != EINTR)
            return 0;
    }
}

static void set_up(int fd)
{
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
}

static int is_retry(ssize_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* `bytes` bytes, the same buffer again and again.  The number that went: less
 * where the other side has ended or it is too late. */
static size_t send_some(int fd, const char *buffer, size_t bytes,
                        double until_s)
{
    size_t done = 0;

    while (done < bytes) {
        size_t part = bytes - done < BUFFER_BYTES ? bytes - done : BUFFER_BYTES;
        ssize_t n = send(fd, buffer, part, MSG_NOSIGNAL);

        if (n > 0)
            done += (size_t)n;
        else if (!is_retry(n) || !wait_for(fd, POLLOUT, until_s))
            break;
    }
    return done;
}

static size_t receive_some(int fd, char *buffer, size_t bytes, double until_s)
{
    size_t done = 0;

    while (done < bytes) {
        size_t part = bytes - done < BUFFER_BYTES ? bytes - done : BUFFER_BYTES;
        ssize_t n = recv(fd, buffer, part, 0);

        if (n > 0)
            done += (size_t)n;
        else if (!is_retry(n) || !wait_for(fd, POLLIN, until_s))
            break;
    }
    return done;
}

/* --- the one that serves --- */

int link_listen(int *fd, int *port, struct mup_error *err)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_ANY) };
    socklen_t bytes = sizeof(at);
    int s = socket(AF_INET, SOCK_STREAM, 0);

    if (s < 0 || bind(s, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(s, 4) != 0 ||
        getsockname(s, (struct sockaddr *)&at, &bytes) != 0) {
        int cause = errno;

        if (s >= 0)
            close(s);
        return mup_fail(err, MUP_DEVICE, "cannot listen: %s", strerror(cause));
    }
    set_up(s);
    *fd = s;
    *port = ntohs(at.sin_port);
    return MUP_OK;
}

/* The partner's connection, or -1 when it is too late. */
static int accept_partner(int listener, const char *word, double until_s)
{
    while (wait_for(listener, POLLIN, until_s)) {
        const double late_s = clock_s() + WORD_S;
        char said[LINK_WORD_BYTES];
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        set_up(fd);
        if (receive_some(fd, said, sizeof(said),
                         late_s < until_s ? late_s : until_s) == sizeof(said) &&
            !strncmp(said, word, sizeof(said)))
            return fd;
        close(fd);
    }
    return -1;
}

int link_serve(int fd, const char *word, double until_s, struct mup_error *err)
{
    char *buffer = calloc(1, BUFFER_BYTES);
    int partner = buffer ? accept_partner(fd, word, until_s) : -1;
    int rounds = 0;

    close(fd);
    while (partner >= 0 &&
           receive_some(partner, buffer, LINK_BYTES, until_s) == LINK_BYTES &&
           send_some(partner, buffer, LINK_BYTES, until_s) == LINK_BYTES)
        rounds++;
    if (partner >= 0)
        close(partner);
    if (!buffer)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    free(buffer);
    if (partner < 0)
        return mup_fail(err, MUP_DEVICE, "no other node has come to measure");
    return rounds >= LINK_ROUNDS
               ? MUP_OK
               : mup_fail(err, MUP_DEVICE, "the other node broke off");
}

/* --- the one that measures --- */

static int connect_to(const char *host, int port, double until_s)
{
    const struct addrinfo wanted = { .ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    int fd = -1, cause = 0;
    socklen_t bytes = sizeof(cause);
    char text[16];

    snprintf(text, sizeof(text), "%d", port);
    if (getaddrinfo(host, text, &wanted, &found) != 0 || !found)
        return -1;
    fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    if (fd >= 0) {
        set_up(fd);
        if (connect(fd, found->ai_addr, found->ai_addrlen) != 0 &&
            (errno != EINPROGRESS || !wait_for(fd, POLLOUT, until_s) ||
             getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &bytes) != 0 ||
             cause)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int link_measure(const char *host, int port, const char *word, double until_s,
                 double *bytes_per_s, struct mup_error *err)
{
    char *buffer = calloc(1, BUFFER_BYTES);
    char said[LINK_WORD_BYTES] = "";
    double rate[LINK_ROUNDS];
    int fd = buffer ? connect_to(host, port, until_s) : -1;
    int rounds = 0;

    snprintf(said, sizeof(said), "%s", word);
    if (fd >= 0 && send_some(fd, said, sizeof(said), until_s) == sizeof(said)) {
        for (; rounds < LINK_ROUNDS; rounds++) {
            const double start_s = clock_s();

            if (send_some(fd, buffer, LINK_BYTES, until_s) != LINK_BYTES ||
                receive_some(fd, buffer, LINK_BYTES, until_s) != LINK_BYTES)
                break;
            rate[rounds] = 2.0 * (double)LINK_BYTES / (clock_s() - start_s);
        }
    }
    if (fd >= 0)
        close(fd);
    free(buffer);
    if (rounds < LINK_ROUNDS)
        return mup_fail(err, MUP_DEVICE,
                        "'%s' port %d is not reached, or broke off", host,
                        port);
    qsort(rate, LINK_ROUNDS, sizeof(rate[0]), compare_doubles);
    *bytes_per_s = rate[LINK_ROUNDS / 2];
    return MUP_OK;
}
