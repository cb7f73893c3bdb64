/* The parts of a node's check; what preflight.c alone calls.  Each one sets
 * r->bad to the first fault and its own speed. */
#ifndef LAUNCHER_PREFLIGHT_PARTS_H
#define LAUNCHER_PREFLIGHT_PARTS_H

#include "launcher/preflight.h"

/* Keeps the first sentence. */
__attribute__((format(printf, 2, 3))) void
preflight_bad(struct preflight_result *r, const char *format, ...);

/* Moving inversions and an address in every word. */
void preflight_memory(const struct preflight_options *o,
                      struct preflight_result *r);
/* Products of small whole numbers, whose sums are exact in any order, on every
 * CPU; one of random numbers that must come out the same twice. */
void preflight_products(const struct preflight_options *o,
                        struct preflight_result *r);
/* Written, synced, read back: in the run's folder and in $TMPDIR. */
void preflight_disks(const struct preflight_options *o,
                     struct preflight_result *r);

#endif
