/* Polynomials of degree 2 or 3 through few noisy points, by weighted least
 * squares, and the small statistics that go with them.
 *
 * The design is factored once; each refit of new y values is then a product
 * with a (degree + 1) x n matrix, which makes thousands of bootstrap refits
 * cheap. */
#ifndef SWEEP_FIT_H
#define SWEEP_FIT_H

#include "mup/mup.h"

#define FIT_MAX_POINTS 512

/* {0} is empty: n == 0 means that no fit of this degree is possible. */
struct fit_design {
    int n;
    int degree;
    double *t;      /* x - center, (n) */
    double *w;      /* weights, (n) */
    double *matrix; /* (degree + 1, n): coefficients = matrix * y */
};

/* MUP_USAGE for fewer than degree + 1 or more than FIT_MAX_POINTS points. */
int fit_design_init(struct fit_design *d, const double *t, const double *w,
                    int n, int degree, struct mup_error *err);
void fit_design_clear(struct fit_design *d);

/* c[0..3], zero above the degree. */
void fit_coefficients(const struct fit_design *d, const double *y, double *c);

/* c0 + c1 t + c2 t^2 + c3 t^3 */
double fit_value(const double *c, double t);

/* Weighted sum of squared residuals. */
double fit_rss(const struct fit_design *d, const double *y, const double *c);

/* The local minimum in [lo,hi], or the lower end: *t and 0, or -1 or +1 for
 * an end. */
int fit_minimum(const double *c, double lo, double hi, double *t);

/* 97.5 % quantile of Student's t. */
double fit_t975(double df);

/* Linear interpolation in n sorted values, 0 <= p <= 1. */
double fit_quantile(const double *sorted, int n, double p);

#endif
