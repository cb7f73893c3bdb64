/* The data of the pictures, DIR/plots/NAME.dat, and what the report says of
 * them.  Every file is plain columns under a comment, in blocks separated by
 * two empty lines (gnuplot: "index N"), and replaced whole.
 *
 *   lr.dat       a block a curve: lr loss sem seeds diverged (NaN: no value);
 *                "lr" and "width" as the axes say
 *   fit.dat      the same blocks: lr loss, the fitted polynomial
 *   optimum.dat  a block a parametrization: width lr lo hi loss edge degree
 *   loss.dat     a block a run: tokens loss val_loss
 *   load.dat     two blocks a layer: step expert load, and step max dead
 *                entropy; load 1 = an even share
 *   coord.dat    a block a panel and step: width mean
 */
#ifndef SWEEP_REPORT_FILES_H
#define SWEEP_REPORT_FILES_H

#include "model/file.h"
#include "sweep/report.h"
#include "sweep/report_data.h"

/* lr.dat, fit.dat, optimum.dat. */
int report_write_curves(const struct report_data *data, const struct report *r,
                        struct mup_error *err);

/* loss.dat: the best run of every curve and, for the usual axes, the target;
 * *out: an array of {label, parametrization, group, place, width, target}, one
 * a block. */
int report_write_losses(const struct report_data *data, const struct report *r,
                        json_t **out, struct mup_error *err);

/* load.dat of the target, or of the best run at the widest width; *out:
 * {label, layers, experts}, or null where nothing was logged. */
int report_write_load(const struct report_data *data, const struct report *r,
                      json_t **out, struct mup_error *err);

/* dir/plots/coord.dat from SWEEP/coord-PARAMETRIZATION/coord.json.  *checks: an
 * array of {parametrization, verdict, widths, seeds, steps, lr, worst, counts,
 * rows}, rows being the worst step of each quantity, worst first; *panels: an
 * array of {parametrization, name, quantity, slope, step, verdict, steps,
 * widths, range [least, most]}, the slope and verdict of the worst
 * step; the same tensors for every check, among them those that decide its
 * verdict. */
int report_write_coord(const char *sweep, const char *dir, json_t **checks,
                       json_t **panels, struct mup_error *err);

/* dir/plots/name, to be replaced; plots/ is made. */
int report_open_data(const char *dir, const char *name, struct file_replace *f,
                     struct mup_error *err);
/* A block of loss.dat: "tokens loss val_loss", 400 lines at most. */
void report_put_losses(FILE *out, const struct report_series *s);
/* A number as gnuplot reads it, and what comes after it. */
void report_put_number(FILE *out, double value, char end);

/* A number, or null where it is not finite. */
json_t *report_number(double value);

/* The run with the lowest value of a curve, or NULL. */
const struct report_run *report_best(const struct report_data *data, int group,
                                     double width);

#endif
