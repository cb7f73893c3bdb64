/* Inside plots/: scripts from report.json, the gnuplot process, and files that
 * are replaced whole (plots/ stands on mup.h alone). */
#ifndef PLOTS_RENDER_H
#define PLOTS_RENDER_H

#include <jansson.h>
#include <stdio.h>

#include "plots/plot.h"

/* DIR/report.json; close with json_decref. */
int render_open_report(const char *dir, json_t **out, struct mup_error *err);

/* Write text to path by way of a temporary name. */
int render_replace_file(const char *path, const char *text, size_t bytes,
                        struct mup_error *err);

/* The whole file, NUL-terminated, or NULL; takes: caller frees. */
char *render_read_file(const char *path);

/* The script of a picture.  MUP_USAGE where the report has no such data. */
int script_write(const json_t *report, int kind, int terminal, FILE *out,
                 struct mup_error *err);

/* Of a run: its loss, and what kept it from training. */
int script_run_loss(const json_t *report, int terminal, FILE *out,
                    struct mup_error *err);
int script_incidents(const json_t *report, int terminal, FILE *out,
                     struct mup_error *err);

/* --- script_parts.c: what scripts are made of --- */

/* Text inside a gnuplot string that executes nothing: single quotes, control
 * characters gone; and the same with the quotes. */
void script_put_inside(FILE *out, const char *text);
void script_put_quoted(FILE *out, const char *text);
/* Dark to light for i of n; yellow is left out, it vanishes on white. */
void script_series_color(int i, int n, char out[8]);
/* Of a "dumb" terminal. */
int script_columns(void);
/* Terminal, output and looks; width and height in the units of the .svg. */
void script_put_head(FILE *out, int kind, int terminal, int width, int height);
/* MUP_USAGE: there is nothing to draw of that. */
int script_no_data(const char *what, struct mup_error *err);

/* --- gnuplot.c --- */

/* Run "gnuplot script" in dir/plots so that it writes file.  The picture
 * appears whole or not at all. */
int gnuplot_draw(const char *dir, const char *script, const char *file,
                 const char *terminal, struct mup_error *err);
/* Run a script from memory and collect what it prints; takes: caller frees. */
int gnuplot_print(const char *dir, const char *script, char **text,
                  struct mup_error *err);

/* The name of a parametrization as people write it, "all runs" for "". */
const char *render_title(const char *parametrization);

/* What things are called, from report.json's "words".  axis: over, of, by;
 * form: a member of it, "word" and so on. */
const char *render_word(const json_t *report, const char *axis,
                        const char *form);

/* Members of JSON objects, "" and NaN where absent. */
const char *json_text(const json_t *o, const char *key);
double json_value(const json_t *o, const char *key);

#endif
