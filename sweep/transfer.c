/* From runs to a verdict, in four steps: fit each width (curve.c), resample
 * everything DRAWS times, take intervals from the draws, decide by
 * equivalence: "stable" needs the whole interval inside the limit, "drifts"
 * the whole interval outside, and everything else is "inconclusive". */
#include "sweep/transfer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/curve.h"
#include "sweep/wider.h"

#define DRAWS 2000
/* No optimum is known better than this, in octaves: keeps one lucky fit from
 * carrying the whole regression. */
#define SE_FLOOR 0.03
/* An optimum whose weight in the slope is below this share of the largest
 * cannot pull it: two octaves further out, it would move the drift of three
 * widths by a tenth of an octave per doubling. */
#define PULLS 0.1

struct analysis {
    const struct axes *axes; /* borrowed */
    struct curves set;
    double *x;      /* (W, DRAWS) optimum of each draw */
    double *regret; /* (DRAWS) */
    double se[TRANSFER_MAX_WIDTHS];
};

static int by_width(const void *a, const void *b)
{
    const struct transfer_run *p = a, *q = b;

    if (p->width != q->width)
        return p->width < q->width ? -1 : 1;
    if (p->lr != q->lr)
        return p->lr < q->lr ? -1 : 1;
    return p->seed < q->seed ? -1 : p->seed > q->seed;
}

static int ascending(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;

    return p < q ? -1 : p > q;
}

static void analysis_clear(struct analysis *a)
{
    curves_clear(&a->set);
    free(a->x);
    free(a->regret);
}

static int check_runs(const struct transfer_runs *runs, struct mup_error *err)
{
    for (int i = 0; i < runs->n; i++) {
        const struct transfer_run *r = &runs->run[i];

        if (r->lr > 0 && r->width > 0 && isfinite(r->lr) && isfinite(r->width))
            continue;
        return mup_fail(err, MUP_USAGE,
                        "run %d has %s and %s %g, both must be positive", i + 1,
                        axes_at(runs->axes, r->width).text, runs->axes->of.word,
                        r->lr);
    }
    return runs->n > 0 ? MUP_OK : mup_fail(err, MUP_USAGE, "there are no runs");
}

/* What the narrowest width's optimum costs at the widest, whose own optimum is
 * own.  An optimum drawn from the gap between the last rate and the cliff
 * counts as that last rate: nobody carries a rate that was never survived.
 * Not below 0, for a fit and the points beyond it may disagree. */
static double regret(const struct analysis *a, const double *y,
                     const double *coefficient, double carried, double own)
{
    const struct curve *first = a->set.at, *last = first + a->set.W - 1;
    double base =
        curve_value(last, y, coefficient, curve_clamp(first, carried));

    return fmax(0, expm1(base - curve_value(last, y, coefficient,
                                            curve_clamp(last, own))));
}

static int resample(struct analysis *a, uint64_t seed, struct mup_error *err)
{
    struct random_key key[TRANSFER_MAX_WIDTHS];
    const struct curve *c = a->set.at;
    int W = a->set.W;
    size_t bytes = (size_t)W * DRAWS * sizeof(double);
    double *y = malloc((size_t)a->set.n * sizeof(*y));
    double f[TRANSFER_MAX_WIDTHS][4], x[TRANSFER_MAX_WIDTHS];

    a->x = malloc(bytes);
    a->regret = malloc(DRAWS * sizeof(double));
    if (!y || !a->x || !a->regret) {
        free(y);
        return mup_fail(err, MUP_SYSTEM, "out of memory for the bootstrap");
    }
    for (int w = 0; w < W; w++) {
        char name[64];

        snprintf(name, sizeof(name), "width %.17g", c[w].width);
        key[w] = random_key(seed, "bootstrap", name);
    }
    for (int b = 0; b < DRAWS; b++) {
        curves_draw(&a->set, key, b, y, f, x);
        for (int w = 0; w < W; w++)
            a->x[w * DRAWS + b] = x[w];
        a->regret[b] = regret(a, y, f[W - 1], x[0], x[W - 1]);
    }
    free(y);
    return MUP_OK;
}

/* 95 % percentile interval of values, which are left in place. */
static void interval(const double *values, double *lo, double *hi)
{
    double sorted[DRAWS];

    memcpy(sorted, values, sizeof(sorted));
    qsort(sorted, DRAWS, sizeof(*sorted), ascending);
    *lo = fit_quantile(sorted, DRAWS, 0.025);
    *hi = fit_quantile(sorted, DRAWS, 0.975);
}

static void describe_optimum(struct analysis *a, int w,
                             struct transfer_optimum *o)
{
    const struct curve *c = &a->set.at[w];
    const struct curve_rate *best = &c->rate[c->best];
    double t = c->x - best->x, lo, hi;
    int fits = c->parabola.n > 0;

    interval(a->x + w * DRAWS, &lo, &hi);
    a->se[w] = fmax((hi - lo) / (2 * 1.95996), SE_FLOOR);
    *o = (struct transfer_optimum){
        .width = c->width,
        .log2_lr = c->x,
        .log2_lr_lo = fmin(lo, c->x),
        .log2_lr_hi = fmax(hi, c->x),
        .loss = exp(fits ? fit_value(c->c, t) : best->y),
        .grid_log2_lr = best->x,
        .grid_loss = exp(best->y),
        .curvature = fits ? c->c[2] + 3 * c->c[3] * t : 0,
        .margin = c->cliff - c->x,
        .window_lo = c->rate[c->first].x,
        .window_hi = c->rate[c->first + c->count - 1].x,
        .points = c->count,
        .seeds = c->seeds,
        .edge = c->edge,
        .degree = fits ? a->set.degree : 0,
        .diverged = c->diverged,
        .center = best->x,
    };
    memcpy(o->coefficient, c->c, sizeof(c->c));
}

/* Weights of the least-squares slope of x on log2 width:
 * slope = sum k[w] x[w]. */
static void slope_weights(const struct analysis *a, double *k)
{
    double S = 0, mean = 0, var = 0;

    for (int w = 0; w < a->set.W; w++) {
        S += 1 / (a->se[w] * a->se[w]);
        mean += log2(a->set.at[w].width) / (a->se[w] * a->se[w]);
    }
    mean /= S;
    for (int w = 0; w < a->set.W; w++) {
        double z = log2(a->set.at[w].width) - mean;

        k[w] = z / (a->se[w] * a->se[w]);
        var += z * k[w];
    }
    for (int w = 0; w < a->set.W; w++)
        k[w] /= var;
}

/* Optima scatter around their line by more than their own intervals say where
 * the line is no line or the fits are biased: the interval of the slope is
 * then widened by the root of chi^2 per degree of freedom (Birge). */
static double birge(const struct analysis *a, double slope)
{
    double S = 0, mx = 0, mz = 0, chi2 = 0;

    if (a->set.W < 3)
        return 1;
    for (int w = 0; w < a->set.W; w++) {
        double p = 1 / (a->se[w] * a->se[w]);

        S += p;
        mx += p * a->set.at[w].x;
        mz += p * log2(a->set.at[w].width);
    }
    for (int w = 0; w < a->set.W; w++) {
        double r = a->set.at[w].x - mx / S -
                   slope * (log2(a->set.at[w].width) - mz / S);

        chi2 += r * r / (a->se[w] * a->se[w]);
    }
    return fmax(1, sqrt(chi2 / (a->set.W - 2)));
}

static int find_drift(struct analysis *a, const double *k,
                      struct transfer_report *out, struct mup_error *err)
{
    double *slope = calloc(DRAWS, sizeof(*slope)), lo, hi, wide;

    if (!slope)
        return mup_fail(err, MUP_SYSTEM, "out of memory for the bootstrap");
    for (int w = 0; w < a->set.W; w++) {
        out->drift += k[w] * a->set.at[w].x;
        for (int b = 0; b < DRAWS; b++)
            slope[b] += k[w] * a->x[w * DRAWS + b];
    }
    interval(slope, &lo, &hi);
    wide = birge(a, out->drift);
    out->drift_lo = out->drift - wide * fmax(out->drift - lo, 0);
    out->drift_hi = out->drift + wide * fmax(hi - out->drift, 0);
    free(slope);
    return MUP_OK;
}

/* Where optima lie at an edge of their grid, the true drift differs from the
 * estimate in the direction of the result: -1, +1, 0 for no edge that matters,
 * 2 for edges that pull both ways.  *at: the first width at an edge, whatever
 * its weight, or -1. */
static int censored(const struct analysis *a, const double *k, int *at)
{
    double most = 0;
    int sign = 0;

    *at = -1;
    for (int w = 0; w < a->set.W; w++)
        most = fmax(most, fabs(k[w]));
    for (int w = 0; w < a->set.W; w++) {
        int pull = a->set.at[w].edge * (k[w] > 0 ? 1 : -1);

        if (pull == 0)
            continue;
        if (*at < 0)
            *at = w;
        if (fabs(k[w]) >= PULLS * most)
            sign = sign == 0 || sign == pull ? pull : 2;
    }
    return sign;
}

/* What would decide: the interval shrinks with the root of the seeds. */
static void advise(const struct analysis *a, const struct transfer_report *r,
                   char *text, size_t bytes)
{
    double half = (r->drift_hi - r->drift_lo) / 2;
    double room = fabs(fabs(r->drift) - TRANSFER_DRIFT_LIMIT);
    int seeds = a->set.at[0].seeds;
    double need = ceil(seeds * (half / room) * (half / room));

    for (int w = 0; w < a->set.W; w++) {
        if (a->set.at[w].count >= 5)
            continue;
        snprintf(text, bytes,
                 "only %d %s surround the optimum at %s, add %s to make it 5",
                 a->set.at[w].count, a->axes->of.plural,
                 axes_at(a->axes, a->set.at[w].width).text, a->axes->of.briefs);
        return;
    }
    if (room < 0.05 || need > 20)
        snprintf(text, bytes,
                 "the interval %.2f to %.2f octaves per %s reaches across the "
                 "limit of %.2f: add %s, or %s near the optimum",
                 r->drift_lo, r->drift_hi, axes_doubling(a->axes).text,
                 TRANSFER_DRIFT_LIMIT, a->axes->over.plural,
                 a->axes->of.plural);
    else
        snprintf(text, bytes,
                 "the interval %.2f to %.2f octaves per %s reaches across the "
                 "limit of %.2f: about %.0f seeds would decide (%d now)",
                 r->drift_lo, r->drift_hi, axes_doubling(a->axes).text,
                 TRANSFER_DRIFT_LIMIT, fmax(need, seeds + 1), seeds);
}

static void decide(const struct analysis *a, const double *k,
                   struct transfer_report *r)
{
    int at, pull = censored(a, k, &at), few = 0, outside, inside;
    char only_two[AXES_TEXT_BYTES + 16];

    snprintf(only_two, sizeof(only_two), " (two %s only)",
             a->axes->over.plural);
    for (int w = 0; w < a->set.W; w++)
        few |= a->set.at[w].count < 5;
    outside = r->drift_lo > TRANSFER_DRIFT_LIMIT    ? 1
              : r->drift_hi < -TRANSFER_DRIFT_LIMIT ? -1
                                                    : 0;
    inside = r->drift_lo >= -TRANSFER_DRIFT_LIMIT &&
             r->drift_hi <= TRANSFER_DRIFT_LIMIT;
    if (outside && (pull == 0 || pull == outside)) {
        r->verdict = TRANSFER_DRIFTS;
        snprintf(r->reason, sizeof(r->reason),
                 "the interval %.2f to %.2f octaves per %s lies beyond the "
                 "limit of %.2f%s",
                 r->drift_lo, r->drift_hi, axes_doubling(a->axes).text,
                 TRANSFER_DRIFT_LIMIT,
                 pull ? ", and optima at the edge of the grid hide more" : "");
    } else if (at >= 0) { /* an unknown optimum, even where it pulls nothing */
        snprintf(r->reason, sizeof(r->reason),
                 "the optimum at %s lies at the %s end of the grid, extend it "
                 "%s 2^%.1f",
                 axes_at(a->axes, a->set.at[at].width).text,
                 a->set.at[at].edge < 0 ? "low" : "high",
                 a->set.at[at].edge < 0 ? "below" : "above", a->set.at[at].x);
    } else if (inside && !few) {
        r->verdict = TRANSFER_STABLE;
        snprintf(r->reason, sizeof(r->reason),
                 "the interval %.2f to %.2f octaves per %s lies within the "
                 "limit of %.2f%s",
                 r->drift_lo, r->drift_hi, axes_doubling(a->axes).text,
                 TRANSFER_DRIFT_LIMIT, a->set.W == 2 ? only_two : "");
    } else {
        advise(a, r, r->reason, sizeof(r->reason));
    }
}

static void find_regret(const struct analysis *a, struct transfer_report *r)
{
    const struct curve *last = &a->set.at[a->set.W - 1];

    r->regret = regret(a, a->set.y, last->c, a->set.at[0].x, last->x);
    interval(a->regret, &r->regret_lo, &r->regret_hi);
    r->regret_lo = fmin(r->regret_lo, r->regret);
    r->regret_hi = fmax(r->regret_hi, r->regret);
}

static int judge(struct analysis *a, struct transfer_report *r,
                 struct mup_error *err)
{
    double k[TRANSFER_MAX_WIDTHS] = { 0 };
    int rc;

    r->n_widths = a->set.W;
    r->verdict = TRANSFER_INCONCLUSIVE;
    for (int w = 0; w < a->set.W; w++)
        describe_optimum(a, w, &r->optimum[w]);
    if (a->set.W < 2) {
        r->drift = r->drift_lo = r->drift_hi = NAN;
        r->regret = r->regret_lo = r->regret_hi = NAN;
        r->wider_is_better = -1;
        snprintf(r->reason, sizeof(r->reason),
                 "only %s %s run, transfer needs at least two",
                 axes_at(a->axes, a->set.at[0].width).text,
                 *a->axes->over.unit ? "were" : "was");
        snprintf(r->wider_reason, sizeof(r->wider_reason), "%s", r->reason);
        return MUP_OK;
    }
    slope_weights(a, k);
    rc = find_drift(a, k, r, err);
    if (rc != MUP_OK)
        return rc;
    decide(a, k, r);
    find_regret(a, r);
    return MUP_OK;
}

int transfer_analyse(const struct transfer_runs *runs, uint64_t seed,
                     struct transfer_report *out, struct mup_error *err)
{
    struct transfer_run *sorted;
    struct transfer_runs ordered = *runs;
    struct transfer_report r = { 0 };
    struct analysis a = { .axes = runs->axes };
    int n = runs->n, rc = check_runs(runs, err);

    if (rc != MUP_OK)
        return rc;
    sorted = calloc((size_t)n, sizeof(*sorted));
    if (!sorted)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d runs", n);
    memcpy(sorted, runs->run, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_width);
    ordered.run = sorted;
    rc = curves_init(&a.set, &ordered, err);
    if (rc == MUP_OK)
        rc = resample(&a, seed, err);
    if (rc == MUP_OK)
        rc = judge(&a, &r, err);
    if (rc == MUP_OK && r.n_widths > 1)
        wider_judge(&ordered, &r);
    if (rc == MUP_OK)
        *out = r;
    free(sorted);
    analysis_clear(&a);
    return rc;
}

const char *transfer_verdict_name(int verdict)
{
    switch (verdict) {
    case TRANSFER_STABLE:
        return "stable";
    case TRANSFER_DRIFTS:
        return "drifts";
    default:
        return "inconclusive";
    }
}
