/* The state of a sweep as text and as JSON: what sweep and status share. */
#ifndef LAUNCHER_SWEEPS_H
#define LAUNCHER_SWEEPS_H

#include <jansson.h>
#include <stdio.h>

#include "sweep/driver.h"

json_t *sweeps_json(const char *dir, const struct sweep_progress *p);

/* wall_s < 0: not known. */
void sweeps_print(const struct sweep_progress *p, double wall_s, FILE *out);

/* "[7/24] eta 3 min  8 running ..." */
void sweeps_line(const struct sweep_progress *p, char *out, size_t bytes);

#endif
