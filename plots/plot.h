/* Pictures of result files by gnuplot, run as a process without a shell.
 * Every picture leaves its .gp and .dat beside it. */
#ifndef PLOTS_PLOT_H
#define PLOTS_PLOT_H

#include "mup/mup.h"

/* The loss is one of a sweep or of a run, incidents are of a run. */
enum plot_kind { PLOT_LR, PLOT_COORD, PLOT_LOSS, PLOT_LOAD, PLOT_INCIDENTS };
enum plot_terminal { PLOT_SVG, PLOT_PNG, PLOT_DUMB };

/* Draw kind from dir/plots/ data into dir/plots/<kind>.svg or .png; DUMB
 * writes to text (takes: caller frees).  MUP_SYSTEM, with the remedy, where
 * gnuplot is missing or fails. */
int plot_draw(const char *dir, int kind, int terminal, char **text,
              struct mup_error *err);
/* The gnuplot script alone. */
int plot_script(const char *dir, int kind, int terminal, char **script,
                struct mup_error *err);

const char *plot_kind_name(int kind);
int plot_kind_parse(const char *name, int *kind, struct mup_error *err);

/* dir/report.html: one self-contained page (inline SVG) from report.json and
 * the SVGs; begins with the finding, ends with how to reproduce it. */
int html_write(const char *dir, struct mup_error *err);

#endif
