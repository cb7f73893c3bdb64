#define _DEFAULT_SOURCE /* getifaddrs, IFF_UP: not in POSIX */
#include "launcher/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Into out unless it is a loopback address. */
static int take(const struct sockaddr *address, char *out, size_t bytes)
{
    struct sockaddr_in in;

    if (!address || address->sa_family != AF_INET)
        return 0;
    memcpy(&in, address, sizeof(in));
    if ((ntohl(in.sin_addr.s_addr) >> 24) == 127)
        return 0;
    return inet_ntop(AF_INET, &in.sin_addr, out, (socklen_t)bytes) != NULL;
}

void address_find(const char *name, char *out, size_t bytes)
{
    const struct addrinfo wanted = { .ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    struct ifaddrs *all = NULL;
    int taken = 0;

    if (getaddrinfo(name, NULL, &wanted, &found) == 0) {
        for (struct addrinfo *a = found; a && !taken; a = a->ai_next)
            taken = take(a->ai_addr, out, bytes);
        freeaddrinfo(found);
    }
    if (!taken && getifaddrs(&all) == 0) {
        for (struct ifaddrs *i = all; i && !taken; i = i->ifa_next)
            taken = (i->ifa_flags & IFF_UP) && take(i->ifa_addr, out, bytes);
        freeifaddrs(all);
    }
    if (!taken)
        (void)snprintf(out, bytes, "127.0.0.1");
}
