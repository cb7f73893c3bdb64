/* The nodes of a sweep under SLURM, from DIR/workers.json: {"time": Unix
 * seconds, "workers": [{"node", "trial" (null: idle), "done", "failed"}]},
 * which the sweep's driver replaces as trials begin and end. */
#ifndef LAUNCHER_SWEEP_NODES_H
#define LAUNCHER_SWEEP_NODES_H

#include <jansson.h>
#include <stdio.h>

#include "mup/mup.h"

/* "workers", or NULL where there is none. */
json_t *sweep_nodes_read(const char *dir);

/* How the job stands, and a line a node. */
int sweep_nodes_print(const char *dir, double ask_s, FILE *out,
                      struct mup_error *err);

#endif
