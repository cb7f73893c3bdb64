/* How to reproduce a report: the command lines, as a shell takes them. */
#ifndef SWEEP_REPORT_COMMANDS_H
#define SWEEP_REPORT_COMMANDS_H

#include <jansson.h>

/* An array of strings: the sweep, every coordinate check with the widths,
 * steps, seeds and rate it was made with, transfer and launch where dir holds
 * a target run, and the report itself.  checks: as report_write_coord gives
 * them.  Only files that exist are named. */
json_t *report_commands(const char *dir, const json_t *checks);

/* The one command of a report on a table. */
json_t *report_commands_csv(const char *file, const char *dir);

#endif
