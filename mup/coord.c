/* Statistics and verdicts of the coordinate check. */
#include "mup/coord.h"

#include <math.h>

#define HALF_PI 1.57079632679489661923

/* The same of two quantities whose sound slopes differ. */
#define UPDATE_CAUSES                                                          \
    {                                                                          \
        "", "",                                                                \
            "the learning rate of this tensor is too large at width: 1/fan_in" \
            " for a hidden matrix, a multiplier 1/m for an output",            \
            "the learning rate of this tensor falls too fast with width"       \
    }
#define PROPAGATED_CAUSES                                                      \
    {                                                                          \
        "", "",                                                                \
            "what comes before this tensor changes more in a larger model: "   \
            "the learning rate of a tensor before it is too large",            \
            "what comes before this tensor changes less in a larger model: a " \
            "learning rate before it falls too fast"                           \
    }
#define GRADIENT_CAUSES                                                        \
    {                                                                          \
        "Adam's epsilon falls faster than the gradient of this tensor",        \
            "Adam's epsilon does not follow the gradient of this tensor: in a" \
            " larger model it damps the updates (scale it by 1/m)",            \
            "Adam's epsilon falls faster than the gradient of this tensor, or" \
            " the gradient grows because a multiplier is missing",             \
            "Adam's epsilon does not follow the gradient of this tensor: in a" \
            " larger model it damps the updates (scale it by 1/m)"             \
    }
#define ROUTING_CAUSES                                                         \
    {                                                                          \
        "routing depends on width: look at the router logits first",           \
            "routing depends on width: look at the router logits first",       \
            "routing depends on width: look at the router logits first",       \
            "routing depends on width: look at the router logits first"        \
    }

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
    [MUP_STREAM] = {
        "the branches add up to more in a larger model: at a larger depth they "
        "need a multiplier of layers^-1/2 or layers^-1",
        "the branches add up to less in a larger model: their multiplier falls "
        "too fast",
        "the branches add up to more in a larger model: at a larger depth they "
        "need a multiplier of layers^-1/2 or layers^-1; at a larger width look "
        "at the branches' own outputs",
        "the branches add up to less in a larger model: their multiplier falls "
        "too fast",
    },
    [MUP_ATTENTION_LOGITS] = {
        "query or key grow with width: their matrices should start with std "
        "1/sqrt(fan_in); or heads grow while q.k is scaled by 1/sqrt(head "
        "size) instead of 1/head size",
        "query or key fall with width: their matrices are scaled down twice",
        "query and key align while training: scale q.k by 1/head size, and "
        "the learning rate of their matrices by 1/fan_in",
        "the scale of q.k or the learning rate of query and key falls too "
        "fast with width",
    },
    [MUP_ROUTER_LOGITS] = {
        "the router lacks its forward multiplier 1/m: it is an output, not a "
        "hidden matrix, and its logits start as width^-1/2",
        "the router's forward multiplier 1/m is applied twice, or its std is "
        "scaled down as well",
        "the router lacks its forward multiplier 1/m: it is an output, not a "
        "hidden matrix",
        "the router's forward multiplier 1/m is applied twice",
    },
    [MUP_OUTPUT_LOGITS] = {
        "the unembedding lacks its forward multiplier 1/m, or starts as a "
        "hidden matrix: its logits must start as width^-1/2",
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
    [MUP_UPDATE] = UPDATE_CAUSES,
    [MUP_INPUT_UPDATE] = UPDATE_CAUSES,
    [MUP_DOT_UPDATE] = UPDATE_CAUSES,
    [MUP_PROPAGATED] = PROPAGATED_CAUSES,
    [MUP_PROPAGATED_LOGITS] = PROPAGATED_CAUSES,
    [MUP_CHANGE] = {
        "",
        "",
        "all updates together change more in a larger model: learning rates "
        "too large at width, or branches without multiplier at depth",
        "all updates together change less in a larger model: a learning rate "
        "or a multiplier falls too fast",
    },
    [MUP_GRADIENT] = GRADIENT_CAUSES,
    [MUP_DOT_GRADIENT] = GRADIENT_CAUSES,
    [MUP_GATE_SPREAD] = {
        "routing sharpens with size: look at the router logits first",
        "routing fades with size: look at the router logits first",
        "routing sharpens with size: look at the router logits first",
        "routing fades with size: look at the router logits first",
    },
    [MUP_LOAD] = ROUTING_CAUSES,
    [MUP_STATISTIC] = ROUTING_CAUSES,
};

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

/* A line through one seed's logarithms: its slope, and the variance of that
 * slope by what the line misses, times its n - 2 degrees of freedom. */
struct line {
    double slope, squares;
};

static struct line fit_line(const double *size, const double *value, int n)
{
    double mean_x = 0, mean_y = 0, sxx = 0, sxy = 0, syy = 0;
    struct line line;

    for (int i = 0; i < n; i++) {
        mean_x += log2(size[i]) / n;
        mean_y += log2(value[i]) / n;
    }
    for (int i = 0; i < n; i++) {
        double dx = log2(size[i]) - mean_x, dy = log2(value[i]) - mean_y;

        sxx += dx * dx;
        sxy += dx * dy;
        syy += dy * dy;
    }
    line.slope = sxy / sxx;
    line.squares = fmax(syy - sxy * line.slope, 0) / sxx;
    return line;
}

/* Mean of the per-seed slopes, and how much one of them scatters: both about
 * their mean and by what the lines miss. */
static void fit(struct mup_coord_row *row, const struct mup_coord_setup *o,
                const double *value)
{
    double mean = 0, squares = 0;

    for (int s = 0; s < o->n_seeds; s++) {
        struct line line = fit_line(
            o->size, value + (size_t)s * (size_t)o->n_sizes, o->n_sizes);

        mean += line.slope / o->n_seeds;
        squares += line.squares;
    }
    for (int s = 0; s < o->n_seeds; s++) {
        double d = fit_line(o->size, value + (size_t)s * (size_t)o->n_sizes,
                            o->n_sizes)
                       .slope -
                   mean;

        squares += d * d;
    }
    row->slope = mean;
    row->df = o->n_seeds * (o->n_sizes - 2) + o->n_seeds - 1;
    row->variance = row->df > 0 ? squares / row->df : 0;
}

/* --- what theory expects --- */

/* Slopes that are sound; an end other than 0 holds in the limit of large
 * sizes only, and how fast is noisy: its tolerance is the wide one. */
struct band {
    double lo, hi;
};

/* Under maximal update a readout starts random and divided by its fan-in, so
 * that logits begin as 1/sqrt(width) (Tensor Programs V, appendix D), and so
 * do q.k where the size of a head grows; the standard initialisation begins
 * flat. */
static struct band start_of_logits(const struct mup_coord_setup *o)
{
    if (o->parametrization == MUP_COORD_UNKNOWN)
        return (struct band){ -0.5, 0 };
    if (o->parametrization == MUP_MUP || o->parametrization == MUP_UMUP)
        return (struct band){ -0.5, -0.5 };
    return (struct band){ 0, 0 };
}

/* Logits are that start plus what the updates add, which does not depend on
 * width: until the updates outgrow the start, the sum still falls.  Whether
 * they do is judged by the update rows of the same tensor, so a fall of logits
 * is sound at any step.  The same holds for a gradient that is a sum of as many
 * terms as the width: random signs at first, aligned later.  Which experts win
 * is decided by the order of the router logits, so that the part of the
 * updates, which all tokens share, weighs the more the lower the start is. */
static struct band width_band(const struct mup_coord_row *row,
                              const struct mup_coord_setup *o)
{
    const struct band flat = { 0, 0 }, falls = { -0.5, 0 }, rises = { 0, 0.5 };

    switch (row->quantity) {
    case MUP_ROUTER_LOGITS:
    case MUP_OUTPUT_LOGITS:
        return row->step == 1 ? start_of_logits(o) : falls;
    case MUP_ATTENTION_LOGITS:
        if (o->grow != MUP_GROW_HEAD_SIZE)
            return flat;
        return row->step == 1 ? start_of_logits(o) : falls;
    case MUP_GATED:
    case MUP_PROPAGATED_LOGITS:
    case MUP_DOT_UPDATE:
    case MUP_DOT_GRADIENT:
    case MUP_GATE_SPREAD:
        return falls;
    case MUP_LOAD:
        return row->step == 1 ? flat : rises;
    default:
        return flat;
    }
}

/* A readout that starts at 1/sqrt(fan_in) without a multiplier moves its logits
 * by up to sqrt(width) once features align with it, and so do gradients through
 * a router (Everett et al. 2024, section 3, leave that alignment out). */
static struct band perlayer_band(const struct mup_coord_row *row,
                                 const struct mup_coord_setup *o)
{
    switch (row->quantity) {
    case MUP_ROUTER_LOGITS:
    case MUP_OUTPUT_LOGITS:
    case MUP_GATED:
    case MUP_GATE_SPREAD:
    case MUP_PROPAGATED_LOGITS:
    case MUP_DOT_GRADIENT:
        return (struct band){
            0, row->step == 1 && row->quantity != MUP_DOT_GRADIENT ? 0 : 0.5
        };
    default:
        return width_band(row, o);
    }
}

/* u-muP lets the learning rate of the embedding fall as width^-1/2, so that
 * what comes from the embedding fades against the rest. */
static struct band umup_band(const struct mup_coord_row *row,
                             const struct mup_coord_setup *o)
{
    if (row->quantity == MUP_INPUT_UPDATE)
        return (struct band){ -0.5, -0.5 };
    if (row->quantity == MUP_PROPAGATED || row->quantity == MUP_CHANGE)
        return (struct band){ -0.5, 0 };
    return width_band(row, o);
}

/* With branches of layers^-1/2 the random starts of the branches add up to 1;
 * learning rates inside the blocks fall as layers^-1/2, and with them what
 * updates have made of the activations there, twice over where two tensors
 * follow each other. */
static struct band depth_mup_band(const struct mup_coord_row *row)
{
    if (!row->in_block || row->step == 1)
        return (struct band){ 0, 0 };
    switch (row->quantity) {
    case MUP_UPDATE:
    case MUP_DOT_UPDATE:
        return (struct band){ -1, -0.5 };
    case MUP_ACTIVATION:
    case MUP_ATTENTION_LOGITS:
    case MUP_ROUTER_LOGITS:
    case MUP_GATED:
        return (struct band){ -0.5, 0 };
    default:
        return (struct band){ 0, 0 };
    }
}

/* With branches of layers^-1 the stream is the embedding, plus random starts
 * that add up to layers^-1/2, plus trained parts that add up to 1: it falls
 * until the starts are negligible.  Whatever is relative to the stream, as
 * everything behind its norm is, rises by as much. */
static struct band depth_band(const struct mup_coord_row *row,
                              const struct mup_coord_setup *o)
{
    if (o->depth == MUP_DEPTH_MUP)
        return depth_mup_band(row);
    if (o->depth != MUP_COMPLETEP)
        return (struct band){ 0, 0 };
    switch (row->quantity) {
    case MUP_STREAM:
        return (struct band){ -0.5, 0 };
    case MUP_PROPAGATED:
    case MUP_PROPAGATED_LOGITS:
    case MUP_CHANGE:
    case MUP_GRADIENT:
    case MUP_DOT_GRADIENT:
        return (struct band){ 0, 0.5 };
    default:
        return (struct band){ 0, 0 };
    }
}

static struct band band_of(const struct mup_coord_row *row,
                           const struct mup_coord_setup *o)
{
    if (o->grow == MUP_GROW_DEPTH)
        return depth_band(row, o);
    if (o->parametrization == MUP_SP_PERLAYER)
        return perlayer_band(row, o);
    if (o->parametrization == MUP_UMUP)
        return umup_band(row, o);
    return width_band(row, o);
}

/* --- verdict --- */

static double tolerance(double end)
{
    return fabs(end) > 0 ? MUP_COORD_FAIL : MUP_COORD_OK;
}

/* A slope near 0 is ok where 0 is sound; beyond the band by more than the
 * tolerance it is open, and wrong where all of the interval `sure` on either
 * side is beyond FAIL. */
static int verdict_of(const struct mup_coord_row *row, struct band b,
                      double sure)
{
    double slope = row->slope;

    if (slope >= b.lo - tolerance(b.lo) && slope <= b.hi + tolerance(b.hi))
        return fabs(slope) <= MUP_COORD_OK ? MUP_VERDICT_OK
                                           : MUP_VERDICT_EXPECTED;
    return fabs(row->off) - sure > MUP_COORD_FAIL ? MUP_VERDICT_FAIL
                                                  : MUP_VERDICT_INCONCLUSIVE;
}

static const char *cause_of(const struct mup_coord_row *row)
{
    const struct cause *c = &causes[row->quantity];

    if (row->verdict != MUP_VERDICT_FAIL)
        return "";
    if (row->step == 1)
        return row->off > 0 ? c->grows_at_start : c->falls_at_start;
    return row->off > 0 ? c->grows : c->falls;
}

/* A zero-initialised readout or query makes its logits exactly 0 at the
 * start, and a zero readout keeps the first gradient from everything below
 * it, so that nothing there has changed at step 2. */
static int zero_is_sound(const struct mup_coord_row *row)
{
    switch (row->quantity) {
    case MUP_ATTENTION_LOGITS:
    case MUP_OUTPUT_LOGITS:
    case MUP_GRADIENT:
    case MUP_DOT_GRADIENT:
        return row->step == 1;
    case MUP_UPDATE:
    case MUP_INPUT_UPDATE:
    case MUP_PROPAGATED:
    case MUP_PROPAGATED_LOGITS:
    case MUP_CHANGE:
        return row->step == 2;
    default:
        return 0;
    }
}

/* only_zeros: of the observations that have no logarithm. */
static const char *cause_of_death(const struct mup_coord_row *row,
                                  int only_zeros)
{
    if (only_zeros && (row->quantity == MUP_GATE_SPREAD ||
                       row->quantity == MUP_ROUTER_LOGITS))
        return "all gates are equal: ties serve every token with the same "
               "experts; start the router at random";
    if (only_zeros)
        return "it is 0 at some size: a tensor that is not trained, or values "
               "too small for their number format";
    return "it is negative or not finite at some size: lower the learning "
           "rate, or look for the first row that fails";
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
        row->slope = row->slope_lo = row->slope_hi = row->off = 0;
        row->verdict = MUP_VERDICT_EXPECTED;
        row->cause = "";
        return 1;
    }
    row->slope = row->slope_lo = row->slope_hi = row->off = NAN;
    row->verdict = MUP_VERDICT_FAIL;
    row->cause = cause_of_death(row, zeros == bad);
    return 1;
}

static int check(const struct mup_coord_row *row,
                 const struct mup_coord_setup *o, struct mup_error *err)
{
    const char *name = row->name ? row->name : "?";
    int distinct = 0;
    int later =
        row->quantity == MUP_UPDATE || row->quantity == MUP_INPUT_UPDATE ||
        row->quantity == MUP_DOT_UPDATE || row->quantity == MUP_PROPAGATED ||
        row->quantity == MUP_PROPAGATED_LOGITS || row->quantity == MUP_CHANGE;

    if (row->quantity < 0 || row->quantity >= MUP_QUANTITY_COUNT)
        return mup_fail(err, MUP_USAGE, "'%s': unknown quantity %d", name,
                        row->quantity);
    if (row->step < 1 || (row->step == 1 && later))
        return mup_fail(err, MUP_USAGE, "'%s' has no value at step %d", name,
                        row->step);
    if (o->n_sizes < 2 || o->n_seeds < 1)
        return mup_fail(err, MUP_USAGE,
                        "a coordinate check needs at least 2 sizes and 1 "
                        "seed, not %d and %d",
                        o->n_sizes, o->n_seeds);
    for (int i = 0; i < o->n_sizes; i++) {
        if (!isfinite(o->size[i]) || o->size[i] <= 0)
            return mup_fail(err, MUP_USAGE, "size %g is not above 0",
                            o->size[i]);
        distinct |= o->size[i] < o->size[0] || o->size[i] > o->size[0];
    }
    if (!distinct)
        return mup_fail(err, MUP_USAGE,
                        "a coordinate check needs different sizes, all are %g",
                        o->size[0]);
    return MUP_OK;
}

/* Interval, off, verdict and cause by a variance of one seed's slope. */
static void conclude(struct mup_coord_row *row,
                     const struct mup_coord_setup *setup, double variance,
                     int df)
{
    const struct band b = band_of(row, setup);
    double scatter = df > 0 ? sqrt(variance) : MUP_COORD_SCATTER;
    double error = scatter / sqrt((double)setup->n_seeds);
    int many = df > 0 && df < 1000 ? df : 1000;
    double half = mup_student_t(0.95, many) * error;

    row->slope_lo = row->slope - half;
    row->slope_hi = row->slope + half;
    row->off = row->slope < b.lo   ? row->slope - b.lo
               : row->slope > b.hi ? row->slope - b.hi
                                   : 0;
    row->verdict =
        verdict_of(row, b, mup_student_t(MUP_COORD_SURE, many) * error);
    row->cause = cause_of(row);
}

int mup_coord_judge(struct mup_coord_row *row,
                    const struct mup_coord_setup *setup, const double *value,
                    struct mup_error *err)
{
    struct band b;
    int rc = check(row, setup, err);

    if (rc != MUP_OK)
        return rc;
    b = band_of(row, setup);
    row->expected = fabs(b.lo) > fabs(b.hi) ? b.lo : b.hi;
    row->variance = 0;
    row->df = 0;
    if (judge_dead(row, value, (size_t)setup->n_seeds * (size_t)setup->n_sizes))
        return MUP_OK;
    fit(row, setup, value);
    conclude(row, setup, row->variance, row->df);
    return MUP_OK;
}

/* A row that died, or is 0 as it may be, has no scatter to show. */
static int has_slope(const struct mup_coord_row *row)
{
    return isfinite(row->slope) &&
           (row->slope < 0 || row->slope > 0 || row->df > 0);
}

void mup_coord_pool(struct mup_coord_row *rows, int n_rows,
                    const struct mup_coord_setup *setup,
                    struct mup_coord_noise *noise, int n_kinds)
{
    for (int i = 0; i < n_kinds; i++)
        noise[i] = (struct mup_coord_noise){ 0, 0 };
    for (int i = 0; i < n_rows; i++)
        if (has_slope(&rows[i])) {
            noise[rows[i].kind].squares += rows[i].variance * rows[i].df;
            noise[rows[i].kind].df += rows[i].df;
        }
    for (int i = 0; i < n_rows; i++) {
        const struct mup_coord_noise *k = &noise[rows[i].kind];

        if (has_slope(&rows[i]))
            conclude(&rows[i], setup, k->df ? k->squares / k->df : 0, k->df);
    }
}

/* How far a row is from what it should be; a dead one is farthest. */
static double distance(const struct mup_coord_row *row)
{
    return isfinite(row->off) ? fabs(row->off) : INFINITY;
}

static int severity(int verdict)
{
    static const int order[] = {
        [MUP_VERDICT_OK] = 0,
        [MUP_VERDICT_EXPECTED] = 1,
        [MUP_VERDICT_INCONCLUSIVE] = 2,
        [MUP_VERDICT_FAIL] = 3,
    };

    return order[verdict];
}

int mup_coord_worse(const struct mup_coord_row *a,
                    const struct mup_coord_row *b)
{
    if (severity(a->verdict) != severity(b->verdict))
        return severity(a->verdict) > severity(b->verdict);
    return distance(a) > distance(b);
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
    int verdict = MUP_VERDICT_OK, open = 0, later = 0, at;

    for (int i = 0; i < n_rows; i++) {
        later |= rows[i].step > 1;
        open += rows[i].verdict == MUP_VERDICT_INCONCLUSIVE;
        if (rows[i].verdict == MUP_VERDICT_FAIL)
            verdict = MUP_VERDICT_FAIL;
    }
    if (verdict != MUP_VERDICT_FAIL &&
        (!later || (double)open > MUP_COORD_OPEN * n_rows))
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

const char *mup_coord_overall_name(int verdict)
{
    switch (verdict) {
    case MUP_VERDICT_OK:
    case MUP_VERDICT_EXPECTED:
        return "PASS";
    case MUP_VERDICT_FAIL:
        return "FAIL";
    case MUP_VERDICT_INCONCLUSIVE:
        return "INCONCLUSIVE";
    default:
        return "unknown";
    }
}

const char *mup_quantity_name(int quantity)
{
    static const char *const names[] = {
        [MUP_ACTIVATION] = "activation",
        [MUP_STREAM] = "stream",
        [MUP_ATTENTION_LOGITS] = "attention_logits",
        [MUP_ROUTER_LOGITS] = "router_logits",
        [MUP_OUTPUT_LOGITS] = "output_logits",
        [MUP_GATED] = "gated_activation",
        [MUP_UPDATE] = "update",
        [MUP_INPUT_UPDATE] = "input_update",
        [MUP_DOT_UPDATE] = "dot_update",
        [MUP_PROPAGATED] = "propagated",
        [MUP_PROPAGATED_LOGITS] = "propagated_logits",
        [MUP_CHANGE] = "change",
        [MUP_GRADIENT] = "gradient",
        [MUP_DOT_GRADIENT] = "dot_gradient",
        [MUP_GATE_SPREAD] = "gate_spread",
        [MUP_LOAD] = "load",
        [MUP_STATISTIC] = "statistic",
    };

    return quantity >= 0 && quantity < MUP_QUANTITY_COUNT ? names[quantity]
                                                          : "unknown";
}

const char *mup_grow_name(int grow)
{
    static const char *const names[] = { "width", "head_size", "depth" };

    return grow >= 0 && grow <= MUP_GROW_DEPTH ? names[grow] : "unknown";
}
