/* Statistics of transfer: does the best learning rate stay where it is as
 * width grows?  Pure functions on arrays; nothing here reads files.
 *
 * The names say what it is about as a rule; any value above 0 that is tuned may
 * stand for the learning rate, and any that grows for the width: the sentences
 * take their words from the axes. */
#ifndef SWEEP_TRANSFER_H
#define SWEEP_TRANSFER_H

#include "mup/mup.h"
#include "sweep/axes.h"

#define TRANSFER_MAX_WIDTHS   16
#define TRANSFER_DRIFT_LIMIT  0.25 /* octaves per doubling of width */
#define TRANSFER_REGRET_LIMIT 0.0025

/* One run. loss NaN = diverged. */
struct transfer_run {
    double width;
    double lr;
    int64_t seed;
    double loss;
};

/* Runs of one group, any order; borrowed. */
struct transfer_runs {
    const struct transfer_run *run;
    int n;
    const struct axes *axes; /* what width and lr are called */
};

enum transfer_verdict { /* also see MUP_* exit codes */
                        TRANSFER_STABLE,
                        TRANSFER_DRIFTS,
                        TRANSFER_INCONCLUSIVE,
};

struct transfer_optimum {
    double width;
    double log2_lr, log2_lr_lo, log2_lr_hi; /* 95 % interval */
    double loss;                            /* fitted minimum */
    double grid_log2_lr, grid_loss;         /* best measured point */
    double curvature; /* relative loss per octave^2 at the optimum */
    double margin;    /* octaves from optimum to the first diverged rate; inf */
    double window_lo, window_hi; /* log2 rates that the fit rests on */
    int points;                  /* learning rates in that window */
    int seeds;
    int edge;     /* -1, 0, +1: optimum at the low / no / high end of grid */
    int degree;   /* of the fitted polynomial: 2 or 3; 0 = no fit possible */
    int diverged; /* runs */
    double coefficient[4]; /* log loss ~ sum c_i (x - center)^i */
    double center;
};

struct transfer_report {
    int n_widths;
    struct transfer_optimum optimum[TRANSFER_MAX_WIDTHS]; /* by width */
    double drift, drift_lo, drift_hi;    /* octaves per doubling, 95 % */
    int verdict;                         /* enum transfer_verdict */
    char reason[512];                    /* why, in a sentence */
    double regret, regret_lo, regret_hi; /* at the widest width of the
                                          narrowest width's optimum */
    int wider_is_better;                 /* 1 yes, 0 no, -1 cannot say */
    char wider_reason[512];
};

/* seed keys the bootstrap (2000 resamples), so that equal runs give equal
 * numbers.  A single width gives its
 * optimum, a drift of NaN and the verdict inconclusive.  MUP_USAGE for no
 * runs, a rate or width that is not positive, or a width without a rate that
 * all its seeds survived. */
int transfer_analyse(const struct transfer_runs *runs, uint64_t seed,
                     struct transfer_report *out, struct mup_error *err);

const char *transfer_verdict_name(int verdict); /* stable drifts ... */

#endif
