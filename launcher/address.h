/* Where other hosts reach this one. */
#ifndef LAUNCHER_ADDRESS_H
#define LAUNCHER_ADDRESS_H

#include <stddef.h>

/* A numeric IPv4 address: what name (this host's) stands for, else the first
 * network interface that is up, else the loopback.  Debian maps a host's own
 * name to a loopback address: that is no answer. */
void address_find(const char *name, char *out, size_t bytes);

#endif
