/* How to reproduce a report: the command lines, as a shell takes them. */
#ifndef SWEEP_REPORT_COMMANDS_H
#define SWEEP_REPORT_COMMANDS_H

#include <jansson.h>
#include <stdio.h>

#include "sweep/report_data.h"

/* An array of strings: the sweep, every coordinate check with the widths,
 * steps, seeds and rate it was made with, transfer and launch where the sweep
 * holds a target run, and the report itself; for other axes than the usual the
 * sweep and the report, for a table the report alone.  checks: as
 * report_write_coord gives them.  Only files that exist are named. */
json_t *report_commands(const struct report_data *data, const json_t *checks);

/* A word of a POSIX shell: as it is where nothing in it is special, else
 * between single quotes. */
void report_put_word(FILE *out, const char *text);

#endif
