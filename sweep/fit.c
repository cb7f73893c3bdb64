#include "sweep/fit.h"

#include <assert.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows sqrt(w) * (1, t, t^2, ...) against sqrt(w) * identity: column j of the
 * solution is what y = e_j contributes to the coefficients. */
static int solve(struct fit_design *d)
{
    size_t n = (size_t)d->n, p = (size_t)d->degree + 1;
    double *a = calloc(n * p, sizeof(*a));
    double *b = calloc(n * n, sizeof(*b));
    int rc = -1;

    if (!a || !b)
        goto out;
    for (size_t i = 0; i < n; i++) {
        double s = sqrt(d->w[i]), power = s;

        for (size_t k = 0; k < p; k++) {
            a[i * p + k] = power;
            power *= d->t[i];
        }
        b[i * n + i] = s;
    }
    rc = (int)LAPACKE_dgels(LAPACK_ROW_MAJOR, 'N', (lapack_int)n, (lapack_int)p,
                            (lapack_int)n, a, (lapack_int)p, b, (lapack_int)n);
    if (rc == 0)
        memcpy(d->matrix, b, p * n * sizeof(*b));
out:
    free(a);
    free(b);
    return rc;
}

int fit_design_init(struct fit_design *d, const double *t, const double *w,
                    int n, int degree, struct mup_error *err)
{
    struct fit_design f = { .n = n, .degree = degree };
    size_t bytes;
    int rc;

    if (degree < 1 || degree > 3 || n < degree + 1 || n > FIT_MAX_POINTS)
        return mup_fail(err, MUP_USAGE,
                        "a polynomial of degree %d cannot be fitted to %d "
                        "points, give it %d to %d",
                        degree, n, degree + 1, FIT_MAX_POINTS);
    bytes = (size_t)n * sizeof(double);
    f.t = malloc(bytes);
    f.w = malloc(bytes);
    f.matrix = malloc(bytes * (size_t)(degree + 1));
    if (!f.t || !f.w || !f.matrix) {
        fit_design_clear(&f);
        return mup_fail(err, MUP_SYSTEM, "out of memory for a fit of %d points",
                        n);
    }
    memcpy(f.t, t, bytes);
    memcpy(f.w, w, bytes);
    rc = solve(&f);
    if (rc != 0) {
        fit_design_clear(&f);
        return mup_fail(err, MUP_USAGE,
                        "a polynomial of degree %d through %d points is "
                        "singular, are the points distinct?",
                        degree, n);
    }
    *d = f;
    return MUP_OK;
}

void fit_design_clear(struct fit_design *d)
{
    free(d->t);
    free(d->w);
    free(d->matrix);
    *d = (struct fit_design){ 0 };
}

void fit_coefficients(const struct fit_design *d, const double *y, double *c)
{
    for (int k = 0; k < 4; k++) {
        c[k] = 0;
        if (k > d->degree)
            continue;
        for (int i = 0; i < d->n; i++)
            c[k] += d->matrix[k * d->n + i] * y[i];
    }
}

double fit_value(const double *c, double t)
{
    return c[0] + t * (c[1] + t * (c[2] + t * c[3]));
}

double fit_rss(const struct fit_design *d, const double *y, const double *c)
{
    double sum = 0;

    for (int i = 0; i < d->n; i++) {
        double r = y[i] - fit_value(c, d->t[i]);

        sum += d->w[i] * r * r;
    }
    return sum;
}

/* The root of the derivative where the second derivative is positive, in the
 * form that does not cancel. */
static int local_minimum(const double *c, double *t)
{
    double disc = c[2] * c[2] - 3 * c[1] * c[3], root;

    if (!(disc > 0))
        return 0;
    root = sqrt(disc);
    if (c[2] > 0)
        *t = -c[1] / (c[2] + root);
    else if (c[3] != 0)
        *t = (root - c[2]) / (3 * c[3]);
    else
        return 0;
    return isfinite(*t);
}

int fit_minimum(const double *c, double lo, double hi, double *t)
{
    double inside;

    assert(lo <= hi);
    if (local_minimum(c, &inside) && inside >= lo && inside <= hi) {
        *t = inside;
        return 0;
    }
    if (fit_value(c, lo) <= fit_value(c, hi)) {
        *t = lo;
        return -1;
    }
    *t = hi;
    return 1;
}

double fit_t975(double df)
{
    static const double table[] = {
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
        2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
        2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    };
    int n = (int)(sizeof(table) / sizeof(*table));

    if (df < 1)
        return table[0];
    if (df <= n)
        return table[(int)df - 1];
    return 1.95996 + 2.372 / df; /* first term of Cornish-Fisher */
}

double fit_quantile(const double *sorted, int n, double p)
{
    double at = p * (n - 1);
    int i = (int)floor(at);

    assert(n > 0);
    if (i >= n - 1)
        return sorted[n - 1];
    /* Equal neighbours first: infinity minus infinity is no number. */
    if (sorted[i] == sorted[i + 1])
        return sorted[i];
    return sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]);
}
