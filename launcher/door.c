#include "launcher/door.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "launcher/launch_log.h"
#include "model/file.h"

#define HOST_BYTES 256
#define KNOCK_S    5

static int path_of(const char *dir, int64_t index, char *out, size_t bytes)
{
    return (size_t)snprintf(out, bytes, "%s/doors/%lld", dir,
                            (long long)index) < bytes;
}

/* --- the door --- */

static int open_listener(int *port, struct mup_error *err)
{
    struct sockaddr_in6 a = { .sin6_family = AF_INET6,
                              .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in b = { .sin_family = AF_INET };
    socklen_t bytes = sizeof(a);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);

    /* Without IPv6 in the kernel, IPv4. */
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, bytes) != 0) {
        if (fd >= 0)
            (void)close(fd);
        bytes = sizeof(b);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd >= 0 && bind(fd, (struct sockaddr *)&b, bytes) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    bytes = sizeof(a);
    if (fd < 0 || listen(fd, 8) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &bytes) != 0) {
        int why = errno;

        if (fd >= 0)
            (void)close(fd);
        (void)mup_fail(err, MUP_SYSTEM, "cannot listen for a worker: %s",
                       strerror(why));
        return -1;
    }
    *port = ntohs(a.sin6_port); /* at the same place in both */
    return fd;
}

static int write_address(const char *dir, int64_t index, int port,
                         const char *token, struct mup_error *err)
{
    char host[HOST_BYTES] = "", path[1100];
    struct file_replace f;
    int rc;

    if (gethostname(host, sizeof(host) - 1) != 0 ||
        (size_t)snprintf(path, sizeof(path), "%s/doors", dir) >= sizeof(path))
        return mup_fail(err, MUP_SYSTEM, "this host has no name");
    (void)umask(077);
    rc = file_make_dirs(path, err);
    if (rc == MUP_OK && !path_of(dir, index, path, sizeof(path)))
        rc = mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", dir);
    if (rc == MUP_OK)
        rc = file_replace_open(path, &f, err);
    if (rc != MUP_OK)
        return rc;
    fprintf(f.out, "%s %d %s\n", host, port, token);
    return file_replace_commit(&f, err);
}

/* One letter at a time: what follows the line is the worker's. */
static int knows_token(int fd, const char *token)
{
    const struct timeval limit = { KNOCK_S, 0 };
    char line[LAUNCH_UUID_BYTES + 1];
    size_t n = 0;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    while (n < sizeof(line) && read(fd, line + n, 1) == 1) {
        if (line[n] == '\n') {
            line[n] = '\0';
            return !strcmp(line, token);
        }
        n++;
    }
    return 0;
}

/* -1: standard input has ended. */
static int let_in(int listener, const char *token)
{
    for (;;) {
        struct pollfd p[] = { { listener, POLLIN, 0 }, { STDIN_FILENO, 0, 0 } };
        int fd;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (p[1].revents)
            return -1;
        fd = p[0].revents ? accept(listener, NULL, NULL) : -1;
        if (fd >= 0 && knows_token(fd, token))
            return fd;
        if (fd >= 0)
            (void)close(fd);
    }
}

/* What has arrived at from; 0 at its end or if nobody takes it. */
static int pass_on(int from, int to)
{
    char bytes[4096];
    ssize_t n = read(from, bytes, sizeof(bytes)), done = 0;

    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    while (done < n) {
        ssize_t m = write(to, bytes + done, (size_t)(n - done));

        if (m < 0 && errno != EINTR)
            return 0;
        done += m > 0 ? m : 0;
    }
    return n > 0;
}

/* MUP_DEVICE where the worker left unasked. */
static int serve(int fd)
{
    struct pollfd p[] = { { fd, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };

    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return MUP_SYSTEM;
        if (p[1].revents && !pass_on(STDIN_FILENO, fd)) {
            (void)shutdown(fd, SHUT_WR); /* the worker saves and leaves */
            p[1].fd = -1;
        }
        if (p[0].revents && !pass_on(fd, STDOUT_FILENO))
            return p[1].fd < 0 ? MUP_OK : MUP_DEVICE;
        p[0].revents = p[1].revents = 0;
    }
}

int door_keep(const char *dir, int64_t index, struct mup_error *err)
{
    char token[LAUNCH_UUID_BYTES];
    int port, fd, listener, rc = launch_log_uuid(token, err);

    if (rc != MUP_OK)
        return rc;
    listener = open_listener(&port, err);
    if (listener < 0)
        return MUP_SYSTEM;
    rc = write_address(dir, index, port, token, err);
    fd = rc == MUP_OK ? let_in(listener, token) : -1;
    (void)close(listener);
    if (fd >= 0) {
        rc = serve(fd);
        (void)close(fd);
        if (rc != MUP_OK)
            (void)mup_fail(err, rc, "the worker of element %lld has gone",
                           (long long)index);
    }
    return rc;
}

/* --- who comes --- */

static int connect_to(const char *host, const char *port)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    const struct timeval limit = { KNOCK_S, 0 };
    struct addrinfo *list, *a;
    int fd = -1;

    if (getaddrinfo(host, port, &hints, &list) != 0)
        return -1;
    for (a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd >= 0)
            (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit,
                             sizeof(limit));
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

int door_enter(const char *dir, int64_t index)
{
    char path[1100], host[HOST_BYTES], port[16], token[LAUNCH_UUID_BYTES];
    char *text, line[LAUNCH_UUID_BYTES + 1];
    size_t bytes;
    int fd = -1, n;

    if (!path_of(dir, index, path, sizeof(path)) ||
        file_read(path, 1024, &text, &bytes, NULL) != MUP_OK)
        return -1;
    if (sscanf(text, "%255s %15s %36s", host, port, token) == 3)
        fd = connect_to(host, port);
    free(text);
    n = fd >= 0 ? snprintf(line, sizeof(line), "%s\n", token) : 0;
    if (fd >= 0 && write(fd, line, (size_t)n) != n) {
        (void)close(fd);
        fd = -1;
    }
    return fd;
}
