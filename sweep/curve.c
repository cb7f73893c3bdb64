#include "sweep/curve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Far from the optimum the curve is no polynomial: points beyond REACH octaves
 * or BAND of relative loss are left out as long as MIN_POINTS remain, and
 * inside they weigh 1 / (1 + (excess / TRUST)^2).  The surfaces measured in the
 * Step Law tables curve by 0.2 to 0.5 % per octave^2, toy models by 1 to 2 %
 * and cliff-like on the right, hence a few per cent. */
#define REACH      2.5
#define BAND       0.05
#define TRUST      0.03
#define FAR_REACH  3.5
#define FAR_BAND   0.25
#define MIN_POINTS 5
/* From so many seeds on, a width draws from the deviations of its own runs. */
#define OWN_SEEDS 3
/* The cubic term pays if it lowers the squares by more than this many times the
 * variance: Akaike's 2 per parameter, with the degrees of freedom in place of
 * n.  AICc proper counts three parameters a curve against a single term that
 * all share, and would nearly always leave the bias in. */
#define AKAIKE 2
/* A fit that misses the seed means by this ratio of variances does not
 * describe the curve: F(2..4, 8..30) exceeds it about once in 20 to 40. */
#define MISFIT 3.5

static int by_rate(const void *a, const void *b)
{
    const struct transfer_run *p = a, *q = b;

    if (p->lr != q->lr)
        return p->lr < q->lr ? -1 : 1;
    return p->seed < q->seed ? -1 : p->seed > q->seed;
}

/* ---- points ---------------------------------------------------------------
 */

/* Distinct rates of the sorted runs.  Those with a diverged run go to bad[]:
 * the mean of the survivors would flatter them. */
static int collect(struct curve *c, const struct transfer_run *runs, int n,
                   double *bad, int *n_bad, struct mup_error *err)
{
    *n_bad = 0;
    c->grid_lo = log2(runs[0].lr);
    for (int i = 0, j; i < n; i = j) {
        double x = log2(runs[i].lr), sum = 0;
        int died = 0;

        for (j = i; j < n && runs[j].lr == runs[i].lr; j++) {
            if (!isfinite(runs[j].loss))
                died++;
            else if (runs[j].loss <= 0)
                return mup_fail(err, MUP_USAGE,
                                "a loss of %g at %s is not positive, relative "
                                "losses need positive ones",
                                runs[j].loss,
                                axes_at(c->axes, runs[j].width).text);
            else
                sum += log(runs[j].loss);
        }
        c->diverged += died;
        if (died)
            bad[(*n_bad)++] = x;
        else
            c->rate[c->n++] =
                (struct curve_rate){ .x = x, .y = sum / (j - i), .n = j - i };
    }
    if (c->n > 0)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "every %s at %s has a diverged run, add lower ones",
                    c->axes->of.word, axes_at(c->axes, c->width).text);
}

static void find_best(struct curve *c, const double *bad, int n_bad)
{
    for (int i = 1; i < c->n; i++)
        if (c->rate[i].y < c->rate[c->best].y)
            c->best = i;
    c->cliff = INFINITY;
    for (int i = 0; i < n_bad; i++)
        if (bad[i] > c->rate[c->best].x && bad[i] < c->cliff)
            c->cliff = bad[i];
    while (c->rate[c->n - 1].x > c->cliff)
        c->n--;
}

static double excess(const struct curve *c, int i)
{
    return c->rate[i].y - c->rate[c->best].y;
}

static int within(const struct curve *c, int i, double reach, double band)
{
    return i >= 0 && i < c->n && excess(c, i) <= band &&
           fabs(c->rate[i].x - c->rate[c->best].x) <= reach + 1e-9;
}

/* The window is one run of neighbours around the best point. */
static void find_window(struct curve *c)
{
    int lo = c->best, hi = lo;

    while (within(c, lo - 1, REACH, BAND))
        lo--;
    while (within(c, hi + 1, REACH, BAND))
        hi++;
    while (hi - lo + 1 < MIN_POINTS) {
        int left = within(c, lo - 1, FAR_REACH, FAR_BAND);
        int right = within(c, hi + 1, FAR_REACH, FAR_BAND);

        if (!left && !right)
            break;
        if (left && (!right || excess(c, lo - 1) <= excess(c, hi + 1)))
            lo--;
        else
            hi++;
    }
    if (hi - lo + 1 > FIT_MAX_POINTS) { /* as central as the ends allow */
        int most = hi - FIT_MAX_POINTS + 1, from = c->best - FIT_MAX_POINTS / 2;

        lo = from < lo ? lo : from > most ? most : from;
        hi = lo + FIT_MAX_POINTS - 1;
    }
    c->first = lo;
    c->count = hi - lo + 1;
    c->seeds = c->rate[lo].n;
    for (int i = 0; i < c->n; i++) {
        double e = excess(c, i) / TRUST;

        c->rate[i].weight = c->rate[i].n / (1 + e * e);
        if (i >= lo && i <= hi && c->rate[i].n < c->seeds)
            c->seeds = c->rate[i].n;
    }
}

/* ---- noise ----------------------------------------------------------------
 */

/* Deviations lost df by fitting means, and their spread is itself uncertain:
 * Student's t for the normal 1.96. */
static double noise_scale(int n, double df)
{
    return df < 1 ? 0 : sqrt(n / df) * fit_t975(df) / 1.95996;
}

/* The first of the sorted runs at rate i. */
static const struct transfer_run *
runs_at(const struct curve *c, int i, const struct transfer_run *runs, int n)
{
    for (int k = 0; k < n; k++)
        if (log2(runs[k].lr) == c->rate[i].x)
            return runs + k;
    return runs;
}

/* Every rate of the window was run with the same seeds. */
static int balanced(const struct curve *c, const struct transfer_run *runs,
                    int n)
{
    const struct transfer_run *p = runs_at(c, c->first, runs, n), *q;

    for (int i = c->first + 1; i < c->first + c->count; i++) {
        if (c->rate[i].n != c->rate[c->first].n)
            return 0;
        q = runs_at(c, i, runs, n);
        for (int s = 0; s < c->rate[i].n; s++)
            if (p[s].seed != q[s].seed)
                return 0;
    }
    return 1;
}

/* Deviations of single runs from the mean of their rate.  What a seed adds at
 * every rate moves the whole curve and not its minimum: where the design
 * allows, this level is taken out of the deviations.  Three seeds are too few
 * to draw from rate by rate, so a curve has one pool. */
static int find_noise(struct curve *c, const struct transfer_run *runs, int n,
                      struct mup_error *err)
{
    int even = balanced(c, runs, n), total = 0, S = c->seeds, k = 0;
    const int end = c->first + c->count;
    double *level;

    for (int i = c->first; i < end; i++)
        total += c->rate[i].n;
    c->observations = total - (even ? S - 1 : 0);
    c->seed.df = c->observations - c->count;
    if (S < 2 || c->seed.df < 1)
        return MUP_OK;
    c->seed.e = calloc((size_t)total, sizeof(double));
    level = calloc((size_t)S, sizeof(double));
    if (!c->seed.e || !level) {
        free(level);
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d runs", total);
    }
    for (int i = c->first; i < end && even; i++) {
        const struct transfer_run *r = runs_at(c, i, runs, n);

        for (int s = 0; s < S; s++)
            level[s] += (log(r[s].loss) - c->rate[i].y) / c->count;
    }
    for (int i = c->first; i < end; i++) {
        const struct transfer_run *r = runs_at(c, i, runs, n);

        for (int s = 0; s < c->rate[i].n; s++) {
            double e = log(r[s].loss) - c->rate[i].y;

            e -= even ? level[s] : 0;
            c->seed.e[k++] = e;
            c->pure += c->rate[i].weight / c->rate[i].n * e * e;
        }
    }
    c->seed.n = total;
    c->seed.scale = noise_scale(total, c->seed.df);
    free(level);
    return MUP_OK;
}

/* ---- fits -----------------------------------------------------------------
 */

/* The parabola and, orthogonal to it, the direction of the cubic term
 * (Frisch and Waugh): skew = w (t^3 - the parabola through t^3). */
static int find_design(struct curve *c, struct mup_error *err)
{
    double t[FIT_MAX_POINTS] = { 0 }, w[FIT_MAX_POINTS] = { 0 };
    double cube[FIT_MAX_POINTS] = { 0 }, f[4];
    int rc;

    if (c->count < 3)
        return MUP_OK;
    for (int i = 0; i < c->count; i++) {
        t[i] = c->rate[c->first + i].x - c->rate[c->best].x;
        w[i] = c->rate[c->first + i].weight;
        cube[i] = t[i] * t[i] * t[i];
    }
    rc = fit_design_init(&c->parabola, t, w, c->count, 2, err);
    if (rc != MUP_OK)
        return rc;
    c->skew = calloc((size_t)c->count, sizeof(double));
    if (!c->skew)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d points",
                        c->count);
    fit_coefficients(&c->parabola, cube, f);
    for (int i = 0; i < c->count && c->count > 3; i++) {
        double r = cube[i] - fit_value(f, t[i]);

        c->skew[i] = w[i] * r;
        c->skew_norm += w[i] * r * r;
    }
    return MUP_OK;
}

/* Coefficients of one curve given the shared cubic term; returns the squares
 * that remain. */
static double fit_one(const struct curve *c, const double *y, double cubic,
                      double *coefficient)
{
    double z[FIT_MAX_POINTS];

    for (int i = 0; i < c->count; i++) {
        double t = c->parabola.t[i];

        z[i] = y[c->offset + c->first + i] - cubic * t * t * t;
    }
    fit_coefficients(&c->parabola, z, coefficient);
    coefficient[3] = cubic;
    return fit_rss(&c->parabola, y + c->offset + c->first, coefficient) +
           c->pure;
}

/* The cubic term that fits all curves best, or 0. */
static double shared_cubic(const struct curves *s, const double *y)
{
    double along = 0, norm = 0;

    for (int w = 0; w < s->W; w++) {
        const struct curve *c = &s->at[w];

        for (int i = 0; i < c->count && c->skew_norm > 0; i++)
            along += c->skew[i] * y[c->offset + c->first + i];
        norm += c->skew_norm;
    }
    return norm > 0 ? along / norm : 0;
}

int curves_fit(const struct curves *s, const double *y,
               double (*coefficient)[4])
{
    double parabola[TRANSFER_MAX_WIDTHS][4] = { { 0 } };
    double cubic = shared_cubic(s, y), rss2 = 0, rss3 = 0, n = 0;
    int k = 1; /* the noise, and three a curve */

    memset(coefficient, 0, (size_t)s->W * sizeof(*coefficient));
    for (int w = 0; w < s->W; w++) {
        if (s->at[w].parabola.n == 0)
            continue;
        rss2 += fit_one(&s->at[w], y, 0, parabola[w]);
        rss3 += fit_one(&s->at[w], y, cubic, coefficient[w]);
        n += s->at[w].observations;
        k += 3;
    }
    if (cubic != 0 && (rss2 - rss3) * (n - k - 1) > AKAIKE * rss3)
        return 3;
    memcpy(coefficient, parabola, (size_t)s->W * sizeof(*coefficient));
    return 2;
}

static double minimum(const struct curve *c, const double *coefficient,
                      int *side)
{
    double t, center = c->rate[c->best].x;

    *side = 0;
    if (c->parabola.n == 0)
        return center;
    *side = fit_minimum(coefficient, c->rate[c->first].x - center,
                        c->rate[c->first + c->count - 1].x - center, &t);
    return center + t;
}

/* -1, +1: the optimum is the last point of the grid, or nearer to it than to
 * its neighbour, so that the true one may lie beyond.  Not where the next
 * rate up diverged: then it is known what lies beyond. */
static int find_edge(const struct curve *c)
{
    const struct curve_rate *r = c->rate;
    int last = c->n - 1;

    if (last == 0)
        return isinf(c->cliff);
    if (r[0].x <= c->grid_lo && (c->best == 0 || c->x < (r[0].x + r[1].x) / 2))
        return -1;
    if (isinf(c->cliff) &&
        (c->best == last || c->x > (r[last].x + r[last - 1].x) / 2))
        return 1;
    return 0;
}

static double degrees_of_freedom(const struct curves *s, const struct curve *c)
{
    return c->count - 3 - (s->degree == 3 ? 1.0 / s->W : 0);
}

static int has_own_noise(const struct curve *c)
{
    return c->seeds >= OWN_SEEDS && c->seed.n > 0;
}

/* Where the fit misses the means by more than the seeds explain, the misfit is
 * the noise. */
static void widen_by_misfit(const struct curves *s, struct curve *c)
{
    double df = degrees_of_freedom(s, c), var = 0, ratio;

    if (c->parabola.n == 0 || !has_own_noise(c) || df < 0.5)
        return;
    for (int i = 0; i < c->seed.n; i++)
        var += c->seed.e[i] * c->seed.e[i] / c->seed.df;
    ratio = fit_rss(&c->parabola, s->y + c->offset + c->first, c->c) / df;
    if (var > 0 && ratio > MISFIT * var)
        c->seed.scale *= sqrt(ratio / var);
}

static double squares(const double *e, int from, int to)
{
    double sum = 0;

    for (int i = from; i < to; i++)
        sum += e[i] * e[i];
    return sum;
}

/* A width with one seed has 5 to 7 points and 2 to 4 degrees of freedom: too
 * few to know its noise, which in units of relative loss is much the same at
 * every width.  So the residuals of all widths are one pool, in units of a
 * single run of weight 1.  The deviations of two seeds join it, unless the fit
 * misses the means by more than they explain. */
static void pool_residuals(struct curves *s)
{
    struct curve_noise *pool = &s->residual;
    double df = 0;
    int first, more = 0;

    for (int w = 0; w < s->W; w++) {
        const struct curve *c = &s->at[w];

        if (c->parabola.n == 0 || degrees_of_freedom(s, c) <= 0)
            continue;
        for (int i = 0; i < c->count; i++) {
            const struct curve_rate *r = &c->rate[c->first + i];

            pool->e[pool->n++] =
                sqrt(r->weight) * (r->y - fit_value(c->c, c->parabola.t[i]));
        }
        pool->df += degrees_of_freedom(s, c);
    }
    first = pool->n;
    for (int w = 0; w < s->W; w++) {
        const struct curve *c = &s->at[w];

        if (c->seed.n == 0 || has_own_noise(c))
            continue;
        memcpy(pool->e + first + more, c->seed.e,
               (size_t)c->seed.n * sizeof(double));
        more += c->seed.n;
        df += c->seed.df;
    }
    if (pool->df >= 1 && df >= 1 &&
        squares(pool->e, 0, first) / pool->df <=
            MISFIT * squares(pool->e, first, first + more) / df) {
        pool->n += more;
        pool->df += df;
    }
    pool->scale = noise_scale(pool->n, pool->df);
    pool->n = pool->scale > 0 ? pool->n : 0;
}

/* ---- all widths -----------------------------------------------------------
 */

static int curve_init(struct curve *c, const struct transfer_run *runs, int n,
                      struct mup_error *err)
{
    struct transfer_run *sorted = calloc((size_t)n, sizeof(*sorted));
    double *bad = calloc((size_t)n, sizeof(*bad));
    int n_bad, rc;

    c->width = runs[0].width;
    c->rate = calloc((size_t)n, sizeof(*c->rate));
    if (!sorted || !bad || !c->rate) {
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for %d runs", n);
        goto out;
    }
    memcpy(sorted, runs, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), by_rate);
    rc = collect(c, sorted, n, bad, &n_bad, err);
    if (rc != MUP_OK)
        goto out;
    find_best(c, bad, n_bad);
    find_window(c);
    rc = find_noise(c, sorted, n, err);
    if (rc == MUP_OK)
        rc = find_design(c, err);
out:
    free(sorted);
    free(bad);
    return rc;
}

static int settle(struct curves *s, struct mup_error *err)
{
    double coefficient[TRANSFER_MAX_WIDTHS][4];
    size_t deviations = (size_t)s->n;
    int side;

    for (int w = 0; w < s->W; w++)
        deviations += (size_t)s->at[w].seed.n;
    s->y = calloc((size_t)s->n, sizeof(double));
    s->residual.e = calloc(deviations, sizeof(double));
    if (!s->y || !s->residual.e)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d points", s->n);
    for (int w = 0; w < s->W; w++)
        for (int i = 0; i < s->at[w].n; i++)
            s->y[s->at[w].offset + i] = s->at[w].rate[i].y;
    s->degree = curves_fit(s, s->y, coefficient);
    for (int w = 0; w < s->W; w++) {
        struct curve *c = &s->at[w];

        memcpy(c->c, coefficient[w], sizeof(c->c));
        c->x = minimum(c, c->c, &side);
        c->edge = find_edge(c);
        widen_by_misfit(s, c);
    }
    pool_residuals(s);
    return MUP_OK;
}

int curves_init(struct curves *s, const struct transfer_runs *runs,
                struct mup_error *err)
{
    const struct transfer_run *run = runs->run;
    struct curves f = { 0 };
    int rc = MUP_OK;

    for (int i = 0, j; i < runs->n && rc == MUP_OK; i = j) {
        for (j = i; j < runs->n && run[j].width == run[i].width; j++)
            ;
        if (f.W == TRANSFER_MAX_WIDTHS) {
            rc = mup_fail(err, MUP_USAGE, "more than %d %s, leave some out",
                          TRANSFER_MAX_WIDTHS, runs->axes->over.plural);
            break;
        }
        f.at[f.W].offset = f.n;
        f.at[f.W].axes = runs->axes;
        rc = curve_init(&f.at[f.W], run + i, j - i, err);
        f.n += f.at[f.W++].n;
    }
    if (rc == MUP_OK)
        rc = settle(&f, err);
    if (rc != MUP_OK)
        curves_clear(&f);
    else
        *s = f;
    return rc;
}

void curves_clear(struct curves *s)
{
    for (int w = 0; w < s->W; w++) {
        struct curve *c = &s->at[w];

        free(c->rate);
        free(c->skew);
        free(c->seed.e);
        fit_design_clear(&c->parabola);
    }
    free(s->y);
    free(s->residual.e);
    *s = (struct curves){ 0 };
}

double curve_value(const struct curve *c, const double *y,
                   const double *coefficient, double x)
{
    const struct curve_rate *r = c->rate;
    double last = r[c->n - 1].x;

    y += c->offset;
    if (c->parabola.n > 0 && x >= r[c->first].x &&
        x <= r[c->first + c->count - 1].x)
        return fit_value(coefficient, x - r[c->best].x);
    if (x <= r[0].x)
        return y[0];
    if (x >= last) /* nearer to the first diverged rate: as good as diverged */
        return x - last > c->cliff - x ? INFINITY : y[c->n - 1];
    for (int i = 1; i < c->n; i++)
        if (x <= r[i].x)
            return y[i - 1] +
                   (y[i] - y[i - 1]) * (x - r[i - 1].x) / (r[i].x - r[i - 1].x);
    return y[c->n - 1];
}

double curve_clamp(const struct curve *c, double x)
{
    return fmin(fmax(x, c->rate[0].x), c->rate[c->n - 1].x);
}

/* ---- draws ----------------------------------------------------------------
 */

static int has_noise(const struct curves *s, const struct curve *c)
{
    return c->parabola.n > 0 && (has_own_noise(c) || s->residual.n > 0);
}

/* New y of one curve, from number *at of key on. */
static void draw_curve(const struct curves *s, const struct curve *c,
                       const struct random_key *key, uint64_t at, double *y)
{
    const struct curve_noise *seed = &c->seed, *rest = &s->residual;
    int own = has_own_noise(c);

    for (int i = 0; i < c->n; i++) {
        const struct curve_rate *r = &c->rate[i];
        int inside = i >= c->first && i < c->first + c->count;
        double e = 0, f = r->y;

        if (inside && c->parabola.n > 0)
            f = fit_value(c->c, r->x - c->rate[c->best].x);
        for (int k = 0; k < r->n && own; k++)
            e += seed->scale / r->n * seed->e[random_below(key, at++, seed->n)];
        if (!own && rest->n > 0)
            e = rest->scale / sqrt(inside ? r->weight : r->n) *
                rest->e[random_below(key, at++, rest->n)];
        y[c->offset + i] = f + e;
    }
}

/* Without any measure of noise the grid itself is the uncertainty: the optimum
 * lies somewhere between the neighbours of the best point. */
static double draw_from_grid(const struct curve *c, double u)
{
    const struct curve_rate *r = c->rate;
    double lo = r[c->best > 0 ? c->best - 1 : 0].x, hi = r[c->best].x;

    if (c->best + 1 < c->n)
        hi = r[c->best + 1].x;
    else if (isfinite(c->cliff))
        hi = c->cliff;
    return lo + u * (hi - lo);
}

void curves_draw(const struct curves *s, const struct random_key *key, int b,
                 double *y, double (*coefficient)[4], double *x)
{
    uint64_t at = (uint64_t)b << 24; /* room for 2^24 numbers a draw */

    for (int w = 0; w < s->W; w++)
        draw_curve(s, &s->at[w], &key[w], at + 1, y);
    curves_fit(s, y, coefficient);
    for (int w = 0; w < s->W; w++) {
        const struct curve *c = &s->at[w];
        double u = random_uniform(&key[w], at), end = c->rate[c->n - 1].x;
        int side;

        x[w] = minimum(c, coefficient[w], &side);
        if (!has_noise(s, c))
            x[w] = draw_from_grid(c, u);
        else if (side > 0 && x[w] >= end && isfinite(c->cliff))
            x[w] += u * (c->cliff - end); /* the grid says no more */
    }
}
