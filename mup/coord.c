/* Statistics and verdicts of the coordinate check. */
#include "mup/coord.h"

#include <math.h>

#define HALF_PI 1.57079632679489661923

/* What a failing row most likely means, by quantity, before and after the
 * first update, and by the sign of the slope. */
static const struct cause {
    const char *grows_at_start, *falls_at_start, *grows, *falls;
} causes[] = {
    [MUP_ACTIVATION] = {
        "the initialisation grows with width: a matrix before it should start "
        "with std 1/sqrt(fan_in)",
        "the initialisation falls with width: a matrix before it should start "
        "with std 1/sqrt(fan_in), an embedding with a constant one",
        "its updates grow with width: the learning rate of a hidden matrix "
        "before it should fall as 1/fan_in (as the standard parametrization "
        "does not)",
        "its updates fall with width: a learning rate or a multiplier before "
        "it is scaled down twice",
    },
    [MUP_ATTENTION_LOGITS] = {
        "query or key grow with width: their matrices should start with std "
        "1/sqrt(fan_in)",
        "query or key fall with width: their matrices are scaled down twice",
        "query and key align while training: scale q.k by 1/head size, and "
        "the learning rate of their matrices by 1/fan_in",
        "the scale of q.k or the learning rate of query and key falls too "
        "fast with width",
    },
    [MUP_ROUTER_LOGITS] = {
        "the router lacks its forward multiplier 1/m: it is an output, not a "
        "hidden matrix",
        "the router's forward multiplier 1/m is applied twice, or its std is "
        "scaled down as well",
        "the router lacks its forward multiplier 1/m: it is an output, not a "
        "hidden matrix",
        "the router's forward multiplier 1/m is applied twice",
    },
    [MUP_OUTPUT_LOGITS] = {
        "the unembedding lacks its forward multiplier 1/m",
        "the unembedding's forward multiplier 1/m is applied twice, or its "
        "std is scaled down as well",
        "the unembedding lacks its forward multiplier 1/m",
        "the unembedding's forward multiplier 1/m is applied twice",
    },
    [MUP_GATED] = {
        "the experts' outputs or the router logits grow with width",
        "the experts' outputs fall with width",
        "the experts' outputs or the router logits grow with width",
        "the experts' outputs fall with width",
    },
    [MUP_UPDATE] = {
        "",
        "",
        "the learning rate of this tensor is too large at width: 1/fan_in for "
        "a hidden matrix, a multiplier 1/m for an output",
        "the learning rate of this tensor falls too fast with width",
    },
    [MUP_STATISTIC] = {
        "routing depends on width: look at the router logits first",
        "routing depends on width: look at the router logits first",
        "routing depends on width: look at the router logits first",
        "routing depends on width: look at the router logits first",
    },
};

#define N_QUANTITIES (int)(sizeof(causes) / sizeof(causes[0]))

/* P(|t| <= sqrt(df) tan(theta)) for Student's t, df a whole number:
 * Abramowitz and Stegun, 26.7.3 and 26.7.4. */
static double student_mass(double theta, int df)
{
    double s = sin(theta), c = cos(theta);
    double term = df % 2 ? c : 1, sum = 0;

    if (df == 1)
        return theta / HALF_PI;
    for (int i = df % 2 ? 3 : 2; i <= df; i += 2) {
        sum += term;
        term *= c * c * (double)(i - 1) / (double)i;
    }
    return df % 2 ? (theta + s * sum) / HALF_PI : s * sum;
}

double mup_student_t(double confidence, int df)
{
    double lo = 0, hi = HALF_PI;

    if (!(confidence > 0 && confidence < 1) || df < 1)
        return NAN;
    for (int i = 0; i < 80; i++) { /* the interval is down to one bit by 55 */
        double middle = (lo + hi) / 2;

        if (student_mass(middle, df) < confidence)
            lo = middle;
        else
            hi = middle;
    }
    return sqrt((double)df) * tan((lo + hi) / 2);
}

/* Least squares: slope of log2 value against log2 width. */
static double log_slope(const double *width, const double *value, int n)
{
    double mean_x = 0, mean_y = 0, sxx = 0, sxy = 0;

    for (int i = 0; i < n; i++) {
        mean_x += log2(width[i]) / n;
        mean_y += log2(value[i]) / n;
    }
    for (int i = 0; i < n; i++) {
        double dx = log2(width[i]) - mean_x;

        sxx += dx * dx;
        sxy += dx * (log2(value[i]) - mean_y);
    }
    return sxy / sxx;
}

/* Mean of the per-seed slopes and its 95 % interval by Student's t. */
static void fit(struct mup_coord_row *row, const double *width, int n_widths,
                const double *value, int n_seeds)
{
    double mean = 0, squares = 0, half = 0;

    for (int s = 0; s < n_seeds; s++)
        mean += log_slope(width, value + (size_t)s * n_widths, n_widths);
    mean /= n_seeds;
    for (int s = 0; s < n_seeds; s++) {
        double d =
            log_slope(width, value + (size_t)s * n_widths, n_widths) - mean;

        squares += d * d;
    }
    if (n_seeds > 1)
        half = mup_student_t(0.95, n_seeds - 1) *
               sqrt(squares / (n_seeds - 1) / n_seeds);
    row->slope = mean;
    row->slope_lo = mean - half;
    row->slope_hi = mean + half;
}

/* Tensor Programs V, section 4 and appendix D: before the first update a
 * random readout gives logits of order 1/sqrt(width), and q.k / head size
 * falls with the square root of the head size.  Logits are that start plus
 * what the updates add, which does not depend on width: until the updates
 * outgrow the start, the sum still falls.  Whether they do is judged by the
 * update rows of the same tensor, so a fall of logits is sound at any step. */
static double expected_slope(const struct mup_coord_row *row,
                             int head_size_grows)
{
    switch (row->quantity) {
    case MUP_ROUTER_LOGITS:
    case MUP_OUTPUT_LOGITS:
    case MUP_GATED:
        return -0.5;
    case MUP_ATTENTION_LOGITS:
        return head_size_grows ? -0.5 : 0;
    default:
        return 0;
    }
}

/* Beyond the threshold, and no value of the interval over seeds is sound. */
static int surely_fails(const struct mup_coord_row *row)
{
    return fabs(row->slope) > MUP_COORD_FAIL &&
           (row->slope_lo > MUP_COORD_OK || row->slope_hi < -MUP_COORD_OK);
}

/* Where theory expects a fall, anything from flat (as under SP) to that fall
 * is sound; how fast is noisy, hence the wide tolerance below. */
static int verdict_of(const struct mup_coord_row *row)
{
    double slope = row->slope;

    if (fabs(slope) <= MUP_COORD_OK)
        return MUP_VERDICT_OK;
    if (row->expected < 0 && slope < 0) {
        if (slope >= row->expected - MUP_COORD_FAIL)
            return MUP_VERDICT_EXPECTED;
        return row->slope_hi < row->expected - MUP_COORD_OK
                   ? MUP_VERDICT_FAIL
                   : MUP_VERDICT_INCONCLUSIVE;
    }
    return surely_fails(row) ? MUP_VERDICT_FAIL : MUP_VERDICT_INCONCLUSIVE;
}

static const char *cause_of(const struct mup_coord_row *row)
{
    const struct cause *c = &causes[row->quantity];

    if (row->verdict != MUP_VERDICT_FAIL)
        return "";
    if (row->step == 1)
        return row->slope > 0 ? c->grows_at_start : c->falls_at_start;
    return row->slope > 0 ? c->grows : c->falls;
}

/* A zero-initialised readout or query makes its logits exactly 0 at the
 * start, and a zero readout keeps the first gradient from everything below
 * it, so that updates may be 0 at step 2. */
static int zero_is_sound(const struct mup_coord_row *row)
{
    if (row->step == 1)
        return row->quantity == MUP_ATTENTION_LOGITS ||
               row->quantity == MUP_ROUTER_LOGITS ||
               row->quantity == MUP_OUTPUT_LOGITS;
    return row->step == 2 && row->quantity == MUP_UPDATE;
}

/* Verdict of a row that has no slope; 0 where every observation is usable. */
static int judge_dead(struct mup_coord_row *row, const double *value, size_t n)
{
    size_t zeros = 0, bad = 0;

    for (size_t i = 0; i < n; i++) {
        zeros += value[i] == 0;
        bad += !isfinite(value[i]) || value[i] <= 0;
    }
    if (!bad)
        return 0;
    if (zeros == n && zero_is_sound(row)) {
        row->slope = row->slope_lo = row->slope_hi = 0;
        row->verdict = MUP_VERDICT_EXPECTED;
        row->cause = "";
        return 1;
    }
    row->slope = row->slope_lo = row->slope_hi = NAN;
    row->verdict = MUP_VERDICT_FAIL;
    row->cause =
        zeros == bad
            ? "it is 0 at some width: a tensor that is not trained, "
              "or values too small for their number format"
            : "it is negative or not finite at some width: lower the learning "
              "rate, or look for the first row that fails";
    return 1;
}

static int check(const struct mup_coord_row *row, const double *width,
                 int n_widths, int n_seeds, struct mup_error *err)
{
    const char *name = row->name ? row->name : "?";
    int distinct = 0;

    if (row->quantity < 0 || row->quantity >= N_QUANTITIES)
        return mup_fail(err, MUP_USAGE, "'%s': unknown quantity %d", name,
                        row->quantity);
    if (row->step < 1 || (row->step == 1 && row->quantity == MUP_UPDATE))
        return mup_fail(err, MUP_USAGE, "'%s' has no value at step %d", name,
                        row->step);
    if (n_widths < 2 || n_seeds < 1)
        return mup_fail(err, MUP_USAGE,
                        "a coordinate check needs at least 2 widths and 1 "
                        "seed, not %d and %d",
                        n_widths, n_seeds);
    for (int i = 0; i < n_widths; i++) {
        if (!isfinite(width[i]) || width[i] <= 0)
            return mup_fail(err, MUP_USAGE, "width %g is not above 0",
                            width[i]);
        distinct |= width[i] < width[0] || width[i] > width[0];
    }
    if (!distinct)
        return mup_fail(err, MUP_USAGE,
                        "a coordinate check needs different widths, all are "
                        "%g",
                        width[0]);
    return MUP_OK;
}

int mup_coord_judge(struct mup_coord_row *row, const double *width,
                    int n_widths, const double *value, int n_seeds,
                    int head_size_grows, struct mup_error *err)
{
    int rc = check(row, width, n_widths, n_seeds, err);

    if (rc != MUP_OK)
        return rc;
    row->expected = expected_slope(row, head_size_grows);
    if (judge_dead(row, value, (size_t)n_seeds * n_widths))
        return MUP_OK;
    fit(row, width, n_widths, value, n_seeds);
    row->verdict = verdict_of(row);
    row->cause = cause_of(row);
    return MUP_OK;
}

/* How far a row is from what it should be; a dead one is farthest. */
static double distance(const struct mup_coord_row *row)
{
    return isfinite(row->slope) ? fabs(row->slope - row->expected) : INFINITY;
}

/* The row that is farthest from sound among those with this verdict. */
static int farthest(const struct mup_coord_row *rows, int n_rows, int verdict)
{
    int at = -1;

    for (int i = 0; i < n_rows; i++)
        if (rows[i].verdict == verdict &&
            (at < 0 || distance(&rows[i]) > distance(&rows[at])))
            at = i;
    return at;
}

int mup_coord_overall(const struct mup_coord_row *rows, int n_rows, int *worst)
{
    int verdict = MUP_VERDICT_OK, open = 0, at;

    for (int i = 0; i < n_rows; i++) {
        open += rows[i].verdict == MUP_VERDICT_INCONCLUSIVE;
        if (rows[i].verdict == MUP_VERDICT_FAIL)
            verdict = MUP_VERDICT_FAIL;
    }
    if (verdict != MUP_VERDICT_FAIL &&
        (n_rows < 1 || (double)open > MUP_COORD_OPEN * n_rows))
        verdict = MUP_VERDICT_INCONCLUSIVE;
    at = farthest(rows, n_rows,
                  verdict == MUP_VERDICT_FAIL ? MUP_VERDICT_FAIL
                                              : MUP_VERDICT_INCONCLUSIVE);
    if (worst)
        *worst = at;
    return verdict;
}

const char *mup_verdict_name(int verdict)
{
    switch (verdict) {
    case MUP_VERDICT_OK:
        return "ok";
    case MUP_VERDICT_EXPECTED:
        return "expected";
    case MUP_VERDICT_FAIL:
        return "FAIL";
    case MUP_VERDICT_INCONCLUSIVE:
        return "inconclusive";
    default:
        return "unknown";
    }
}
