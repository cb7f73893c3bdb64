/* Loss against learning rate, one curve a width: which points count, the
 * polynomials through them, their minima, and resampled copies.
 *
 * x is log2 of the learning rate, y the natural log of the loss averaged over
 * seeds, so differences of y are relative losses.
 *
 * The valley is steeper towards high rates: a parabola puts its minimum too
 * low by up to half an octave, and a cubic through five points follows noise.
 * The way out: every width has its own parabola, all widths share one cubic
 * term, and a criterion of Akaike's kind says whether that term pays. */
#ifndef SWEEP_CURVE_H
#define SWEEP_CURVE_H

#include "model/random.h"
#include "sweep/fit.h"
#include "sweep/transfer.h"

struct curve_rate {
    double x, y;
    double weight; /* runs, less where the loss is far above the best */
    int n;         /* runs */
};

/* Deviations to draw from, e * scale; df degrees of freedom lie behind them
 * and the scale makes their spread that of an honest 95 % interval. */
struct curve_noise {
    double *e; /* owned */
    int n;
    double df;
    double scale;
};

/* Invariant: rate[] is sorted by x, holds only rates that no seed diverged
 * at, and ends before the first diverged rate above the best one. */
struct curve {
    const struct axes *axes; /* borrowed: words of errors */
    double width;
    struct curve_rate *rate;
    int n;
    int offset;       /* of this curve's y in arrays that join all curves */
    int best;         /* index of the lowest y */
    int first, count; /* the window of the fit */
    int diverged;     /* runs */
    int seeds;        /* fewest runs at a rate of the window */
    double grid_lo;   /* lowest x that was tried */
    double cliff;     /* first diverged x above the best, or infinity */
    struct fit_design parabola; /* around rate[best].x; n = 0: no fit */
    double *skew;               /* what t^3 is beyond a parabola, weighted */
    double skew_norm;           /* (count), and its weighted square */
    double pure;             /* weighted squares within rates, 0 for one seed */
    double observations;     /* behind the fit, for the choice of the degree */
    struct curve_noise seed; /* single runs; n = 0 for one seed */
    double c[4];             /* the fit of the measured y */
    double x;                /* its minimum */
    int edge;
};

/* {0} is empty. */
struct curves {
    int W;
    struct curve at[TRANSFER_MAX_WIDTHS]; /* by width */
    int n;                                /* values of y */
    double *y;
    int degree;                  /* 2 or 3 */
    struct curve_noise residual; /* of all widths, for 1 or 2 seeds */
};

/* runs sorted by width, n >= 1.  MUP_USAGE if a width has no rate free of
 * divergence, a loss is not positive, or there are too many widths. */
int curves_init(struct curves *s, const struct transfer_runs *runs,
                struct mup_error *err);
void curves_clear(struct curves *s);

/* Fit any y, all curves one after the other; returns the degree. */
int curves_fit(const struct curves *s, const double *y,
               double (*coefficient)[4]);

/* A resampled y of all curves, number b, and the optimum of each curve: the
 * minimum of its new fit, or, where that is the last rate before a cliff, a
 * point between the two.  key: one per curve. */
void curves_draw(const struct curves *s, const struct random_key *key, int b,
                 double *y, double (*coefficient)[4], double *x);

/* y at x by the fit inside the window, by interpolation outside it; infinity
 * where runs diverge.  y: of all curves. */
double curve_value(const struct curve *c, const double *y,
                   const double *coefficient, double x);

/* x, moved into the range of the rates that no seed diverged at: an optimum
 * drawn from the gap before the cliff has no value of its own. */
double curve_clamp(const struct curve *c, double x);

#endif
