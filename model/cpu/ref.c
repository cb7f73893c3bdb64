/* The reference backend: every op in plain loops, the specification that the
 * other backends are tested against.  Arithmetic is in double and only stores
 * round, so it favours accuracy and plainness over speed.
 *
 * Compiled twice, with REF_REAL float and double; the double build makes
 * finite differences of the whole model possible. */
#include "model/backend.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef REF_REAL
#define REF_REAL float
#endif

typedef REF_REAL real;

#define REF_NAME_float  ref_ops_f32
#define REF_NAME_double ref_ops_f64
#define REF_PASTE(type) REF_NAME_##type
#define REF_NAME(type)  REF_PASTE(type)

extern const struct backend_ops ref_ops_f32, ref_ops_f64;

static const double gelu_a = 0.79788456080286535588; /* sqrt(2/pi) */
static const double gelu_b = 0.044715;

static real *row_of(struct view x, int64_t r)
{
    return (real *)x.data + r * x.stride;
}

static double dot(const real *x, const real *y, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

/* cap*tanh(s/cap), or s */
static double soft_cap(double s, double cap)
{
    return cap > 0 ? cap * tanh(s / cap) : s;
}

/* Derivative of soft_cap, from its value. */
static double soft_cap_slope(double capped, double cap)
{
    return cap > 0 ? 1 - (capped / cap) * (capped / cap) : 1;
}

/* --- memory --- */

static void *ref_alloc(struct backend *be, size_t bytes)
{
    void *data;

    (void)be;
    if (bytes > SIZE_MAX - 64)
        return NULL;
    bytes = (bytes + 63) / 64 * 64;
    data = aligned_alloc(64, bytes ? bytes : 64);
    if (data)
        memset(data, 0, bytes);
    return data;
}

static void ref_free(struct backend *be, void *data)
{
    (void)be;
    free(data);
}

static void ref_upload(struct backend *be, void *dst, const double *src,
                       int64_t n)
{
    real *y = dst;

    (void)be;
    for (int64_t i = 0; i < n; i++)
        y[i] = (real)src[i];
}

static void ref_download(struct backend *be, double *dst, const void *src,
                         int64_t n)
{
    const real *x = src;

    (void)be;
    for (int64_t i = 0; i < n; i++)
        dst[i] = (double)x[i];
}

static int ref_sync(struct backend *be, struct mup_error *err)
{
    (void)be;
    (void)err;
    return MUP_OK; /* plain loops have no faults */
}

/* --- elementary --- */

static void ref_zero(struct backend *be, struct view y)
{
    (void)be;
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t i = 0; i < y.cols; i++)
            row_of(y, r)[i] = 0;
}

/* y += alpha x */
static void ref_add(struct backend *be, struct view y, struct view x,
                    double alpha)
{
    (void)be;
    for (int64_t r = 0; r < y.rows; r++) {
        real *yr = row_of(y, r);
        const real *xr = row_of(x, r);

        for (int64_t i = 0; i < y.cols; i++)
            yr[i] = (real)(yr[i] + alpha * xr[i]);
    }
}

static void ref_normal(struct backend *be, struct view y,
                       const struct random_key *key, int64_t first, double std)
{
    (void)be;
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t i = 0; i < y.cols; i++) {
            uint64_t index = (uint64_t)(first + r * y.cols + i);

            row_of(y, r)[i] = (real)(std * random_normal(key, index));
        }
}

static void ref_sum_squares(struct backend *be, double *out, struct view x)
{
    double sum = 0;

    (void)be;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t i = 0; i < x.cols; i++)
            sum += (double)row_of(x, r)[i] * row_of(x, r)[i];
    *out = sum;
}

static void ref_sum_abs(struct backend *be, double *out, struct view x)
{
    double sum = 0;

    (void)be;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t i = 0; i < x.cols; i++)
            sum += fabs((double)row_of(x, r)[i]);
    *out = sum;
}

/* --- matrix products --- */

/* c(M,N) = alpha op(a)(M,I) op(b)(I,N) + beta c; beta 0 does not read c. */
static void ref_gemm(struct backend *be, struct view c, struct view a,
                     struct view b, int trans_a, int trans_b, double alpha,
                     double beta)
{
    int64_t inner = trans_a ? a.rows : a.cols;

    (void)be;
    assert((trans_a ? a.cols : a.rows) == c.rows);
    assert((trans_b ? b.rows : b.cols) == c.cols);
    assert((trans_b ? b.cols : b.rows) == inner);
    for (int64_t m = 0; m < c.rows; m++)
        for (int64_t n = 0; n < c.cols; n++) {
            double sum = 0;

            for (int64_t i = 0; i < inner; i++) {
                real x = trans_a ? row_of(a, i)[m] : row_of(a, m)[i];
                real y = trans_b ? row_of(b, n)[i] : row_of(b, i)[n];

                sum += (double)x * y;
            }
            sum *= alpha;
            if (beta != 0)
                sum += beta * row_of(c, m)[n];
            row_of(c, m)[n] = (real)sum;
        }
}

static struct view rows_of(struct view x, int64_t first, int64_t rows)
{
    return (struct view){ row_of(x, first), rows, x.cols, x.stride };
}

/* c, a: rows offset[e]..offset[e+1] belong to expert e; the stacked operand
 * (b, or c of WGRAD) has E equal blocks of rows. */
static void ref_gemm_grouped(struct backend *be, int kind, struct view c,
                             struct view a, struct view b,
                             const int32_t *offset, int64_t experts,
                             double alpha, int accumulate)
{
    struct view stacked = kind == GROUP_WGRAD ? c : b;
    int64_t height = experts ? stacked.rows / experts : 0;

    for (int64_t e = 0; e < experts; e++) {
        int64_t first = offset[e], rows = offset[e + 1] - offset[e];
        struct view w = rows_of(stacked, e * height, height);
        struct view ae = rows_of(a, first, rows);

        if (kind == GROUP_FORWARD)
            ref_gemm(be, rows_of(c, first, rows), ae, w, 0, 1, alpha,
                     accumulate);
        else if (kind == GROUP_DGRAD)
            ref_gemm(be, rows_of(c, first, rows), ae, w, 0, 0, alpha,
                     accumulate);
        else
            ref_gemm(be, w, ae, rows_of(b, first, rows), 1, 0, alpha, 1);
    }
}

/* --- embedding --- */

/* y(N,D)[n] = scale * table(V,D)[token[n]], 0 for token -1 */
static void ref_embed(struct backend *be, struct view y, struct view table,
                      const int32_t *token, double scale)
{
    (void)be;
    for (int64_t n = 0; n < y.rows; n++) {
        assert(token[n] >= -1 && token[n] < table.rows);
        for (int64_t i = 0; i < y.cols; i++)
            row_of(y, n)[i] =
                token[n] < 0 ? 0 : (real)(scale * row_of(table, token[n])[i]);
    }
}

/* dtable[token[n]] += scale * dy[n], n in order */
static void ref_embed_grad(struct backend *be, struct view dtable,
                           struct view dy, const int32_t *token, double scale)
{
    (void)be;
    for (int64_t n = 0; n < dy.rows; n++) {
        real *to = row_of(dtable, token[n] < 0 ? 0 : token[n]);

        assert(token[n] >= -1 && token[n] < dtable.rows);
        for (int64_t i = 0; token[n] >= 0 && i < dy.cols; i++)
            to[i] = (real)(to[i] + scale * row_of(dy, n)[i]);
    }
}

/* --- RMSNorm --- */

/* y = mult * gain * x * rstd over each row; rstd = 1/sqrt(mean x^2 + eps).
 * x, y (N,D); gain (1,D); rstd (N,1). */
static void ref_rmsnorm(struct backend *be, struct view y, struct view rstd,
                        struct view x, struct view gain, double mult,
                        double eps)
{
    const real *g = gain.data;

    (void)be;
    for (int64_t n = 0; n < x.rows; n++) {
        const real *xn = row_of(x, n);
        double sum = 0, scale;

        for (int64_t i = 0; i < x.cols; i++)
            sum += (double)xn[i] * xn[i];
        scale = 1 / sqrt(sum / (double)x.cols + eps);
        for (int64_t i = 0; i < x.cols; i++)
            row_of(y, n)[i] = (real)(mult * g[i] * scale * xn[i]);
        *row_of(rstd, n) = (real)scale;
    }
}

/* dx = mult * rstd * (gain*dy - x * rstd^2 * mean(gain*dy*x));
 * dgain += mult * sum over rows of dy * x * rstd. */
static void ref_rmsnorm_grad(struct backend *be, struct view dx,
                             struct view dgain, struct view dy, struct view x,
                             struct view rstd, struct view gain, double mult,
                             int accumulate)
{
    const real *g = gain.data;
    real *dg = dgain.data;

    (void)be;
    for (int64_t i = 0; i < x.cols; i++) {
        double sum = 0;

        for (int64_t n = 0; n < x.rows; n++)
            sum +=
                (double)row_of(dy, n)[i] * row_of(x, n)[i] * *row_of(rstd, n);
        dg[i] = (real)(dg[i] + mult * sum);
    }
    for (int64_t n = 0; n < x.rows; n++) {
        const real *xn = row_of(x, n), *dyn = row_of(dy, n);
        real *dxn = row_of(dx, n);
        double s = *row_of(rstd, n), dot = 0;

        for (int64_t i = 0; i < x.cols; i++)
            dot += (double)g[i] * dyn[i] * xn[i];
        dot *= s * s / (double)x.cols;
        for (int64_t i = 0; i < x.cols; i++) {
            double d = mult * s * ((double)g[i] * dyn[i] - xn[i] * dot);

            dxn[i] = (real)(accumulate ? dxn[i] + d : d);
        }
    }
}

#include "model/cpu/ref_attention.inc.h"

/* --- mixture of experts --- */

/* The k largest of p[0..E) in falling order, ties to the lower index; with
 * NaN the choice is arbitrary but distinct and in range. */
static void top_k(int32_t *expert, const real *p, int64_t experts, int64_t k)
{
    for (int64_t j = 0; j < k; j++) {
        int64_t best = -1;

        for (int64_t e = 0; e < experts; e++) {
            int taken = 0;

            for (int64_t i = 0; i < j; i++)
                taken |= expert[i] == e;
            if (!taken && (best < 0 || p[e] > p[best]))
                best = e;
        }
        expert[j] = (int32_t)best;
    }
}

static void ref_route(struct backend *be, struct view probs, struct view lse,
                      struct view gates, int32_t *expert, struct view logits,
                      const struct route_shape *r)
{
    (void)be;
    assert(r->top_k <= r->experts);
    for (int64_t n = 0; n < r->tokens; n++, expert += r->top_k) {
        const real *x = row_of(logits, n);
        real *p = row_of(probs, n), *g = row_of(gates, n);
        double max = -INFINITY, sum = 0, norm = 0;

        for (int64_t e = 0; e < r->experts; e++)
            max = fmax(max, soft_cap(x[e], r->cap));
        for (int64_t e = 0; e < r->experts; e++)
            sum += exp(soft_cap(x[e], r->cap) - max);
        for (int64_t e = 0; e < r->experts; e++)
            p[e] = (real)(exp(soft_cap(x[e], r->cap) - max) / sum);
        /* cppcheck-suppress invalidFunctionArg ; there is an expert */
        *row_of(lse, n) = (real)(max + log(sum));
        top_k(expert, p, r->experts, r->top_k);
        for (int64_t j = 0; j < r->top_k; j++)
            norm += p[expert[j]];
        for (int64_t j = 0; j < r->top_k; j++)
            g[j] = (real)(p[expert[j]] / (r->renormalize ? norm : 1));
    }
}

/* f_e of one sequence: the share of its T*k slots that went to expert e. */
static double load_share(const int32_t *slot, int64_t slots, int64_t e)
{
    int64_t count = 0;

    for (int64_t i = 0; i < slots; i++)
        count += slot[i] == e;
    return (double)count / (double)slots;
}

static void ref_route_loss(struct backend *be, double *sums, struct view probs,
                           struct view lse, const int32_t *expert,
                           const struct route_shape *r)
{
    (void)be;
    for (int64_t n = 0; n < r->tokens; n += r->time)
        for (int64_t e = 0; e < r->experts; e++) {
            double mean = 0;

            for (int64_t t = 0; t < r->time; t++)
                mean += row_of(probs, n + t)[e] / (double)r->time;
            sums[0] += (double)r->experts * mean *
                       load_share(expert + n * r->top_k, r->time * r->top_k, e);
        }
    for (int64_t n = 0; n < r->tokens; n++)
        sums[1] += (double)*row_of(lse, n) * *row_of(lse, n);
}

/* Add the gradient of the k gates to that of the probabilities: g_j = p_j, or
 * p_j / sum p when renormalized. */
static void gate_grad(real *dp, const real *dgates, const real *gates,
                      const real *p, const int32_t *expert,
                      const struct route_shape *r)
{
    double norm = 0, mean = 0;

    for (int64_t j = 0; j < r->top_k; j++) {
        norm += p[expert[j]];
        mean += (double)dgates[j] * gates[j];
    }
    for (int64_t j = 0; j < r->top_k; j++) {
        double d = r->renormalize ? (dgates[j] - mean) / norm : dgates[j];

        dp[expert[j]] = (real)(dp[expert[j]] + d);
    }
}

/* dlogits holds dprobs first: of the balance loss E * sum f_e P_e (f_e is
 * piecewise constant), then of the gates; then the softmax and the cap. */
static void ref_route_grad(struct backend *be, struct view dlogits,
                           struct view dgates, struct view probs,
                           struct view lse, struct view gates,
                           const int32_t *expert, struct view logits,
                           const struct route_shape *r)
{
    (void)be;
    for (int64_t n = 0; n < r->tokens; n += r->time)
        for (int64_t e = 0; e < r->experts; e++) {
            double share =
                load_share(expert + n * r->top_k, r->time * r->top_k, e);

            for (int64_t t = 0; t < r->time; t++)
                row_of(dlogits, n + t)[e] =
                    (real)(r->balance * (double)r->experts * share /
                           (double)r->time);
        }
    for (int64_t n = 0; n < r->tokens; n++) {
        const real *p = row_of(probs, n);
        real *d = row_of(dlogits, n);
        double mean, z = 2 * r->z * *row_of(lse, n);

        gate_grad(d, row_of(dgates, n), row_of(gates, n), p,
                  expert + n * r->top_k, r);
        mean = dot(p, d, r->experts);
        for (int64_t e = 0; e < r->experts; e++) {
            double capped = soft_cap(row_of(logits, n)[e], r->cap);

            d[e] = (real)(p[e] * (d[e] - mean + z) *
                          soft_cap_slope(capped, r->cap));
        }
    }
}

/* Stable counting sort.  offset first counts, then is the running end of each
 * expert's rows, then is shifted back to the starts. */
static void ref_dispatch(struct backend *be, int32_t *row, int32_t *source,
                         int32_t *offset, const int32_t *expert, int64_t slots,
                         int64_t experts)
{
    (void)be;
    memset(offset, 0, (size_t)(experts + 1) * sizeof(*offset));
    for (int64_t s = 0; s < slots; s++)
        offset[expert[s] + 1]++;
    for (int64_t e = 0; e < experts; e++)
        offset[e + 1] += offset[e];
    for (int64_t s = 0; s < slots; s++) {
        row[s] = offset[expert[s]]++;
        source[row[s]] = (int32_t)s;
    }
    for (int64_t e = experts; e > 0; e--)
        offset[e] = offset[e - 1];
    offset[0] = 0;
}

static void ref_gather(struct backend *be, struct view y, struct view x,
                       const int32_t *source, int64_t k)
{
    (void)be;
    for (int64_t r = 0; r < y.rows; r++)
        memcpy(row_of(y, r), row_of(x, source[r] / k),
               (size_t)y.cols * sizeof(real));
}

static void ref_gather_grad(struct backend *be, struct view dx, struct view dy,
                            const int32_t *row, int64_t k)
{
    (void)be;
    for (int64_t n = 0; n < dx.rows; n++)
        for (int64_t i = 0; i < dx.cols; i++) {
            double sum = 0;

            for (int64_t j = 0; j < k; j++)
                sum += row_of(dy, row[n * k + j])[i];
            row_of(dx, n)[i] = (real)sum;
        }
}

/* a = gelu(g) u, gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static void ref_geglu(struct backend *be, struct view a, struct view g,
                      struct view u)
{
    (void)be;
    for (int64_t r = 0; r < a.rows; r++)
        for (int64_t i = 0; i < a.cols; i++) {
            double x = row_of(g, r)[i];
            double t = tanh(gelu_a * (x + gelu_b * x * x * x));

            row_of(a, r)[i] = (real)(0.5 * x * (1 + t) * row_of(u, r)[i]);
        }
}

/* Reads all three inputs of an element before it writes: outputs may be
 * inputs. */
static void ref_geglu_grad(struct backend *be, struct view dg, struct view du,
                           struct view da, struct view g, struct view u)
{
    (void)be;
    for (int64_t r = 0; r < da.rows; r++)
        for (int64_t i = 0; i < da.cols; i++) {
            double x = row_of(g, r)[i], y = row_of(u, r)[i];
            double d = row_of(da, r)[i];
            double t = tanh(gelu_a * (x + gelu_b * x * x * x));
            double slope = gelu_a * (1 + 3 * gelu_b * x * x);

            row_of(dg, r)[i] =
                (real)(d * y * 0.5 * (1 + t + x * (1 - t * t) * slope));
            row_of(du, r)[i] = (real)(d * 0.5 * x * (1 + t));
        }
}

static void ref_combine(struct backend *be, struct view y, struct view x,
                        const int32_t *row, struct view gates)
{
    int64_t k = gates.cols;

    (void)be;
    for (int64_t n = 0; n < y.rows; n++)
        for (int64_t i = 0; i < y.cols; i++) {
            double sum = 0;

            for (int64_t j = 0; j < k; j++)
                sum +=
                    (double)row_of(gates, n)[j] * row_of(x, row[n * k + j])[i];
            row_of(y, n)[i] = (real)sum;
        }
}

static void ref_combine_grad(struct backend *be, struct view dx,
                             struct view dgates, struct view dy, struct view x,
                             const int32_t *row, struct view gates)
{
    int64_t k = gates.cols;

    (void)be;
    for (int64_t n = 0; n < dy.rows; n++)
        for (int64_t j = 0; j < k; j++) {
            real *to = row_of(dx, row[n * k + j]);
            const real *xr = row_of(x, row[n * k + j]);
            double gate = row_of(gates, n)[j];

            row_of(dgates, n)[j] = (real)dot(row_of(dy, n), xr, dy.cols);
            for (int64_t i = 0; i < dy.cols; i++)
                to[i] = (real)(gate * row_of(dy, n)[i]);
        }
}

/* --- loss --- */

/* lse_n = log sum_i exp(x_ni); at_n = x_n,target, 0 for target -1. */
static void ref_log_sum_exp(struct backend *be, struct view lse, struct view at,
                            struct view logits, const int32_t *target)
{
    (void)be;
    for (int64_t n = 0; n < logits.rows; n++) {
        const real *x = row_of(logits, n);
        double max = -INFINITY, sum = 0;

        for (int64_t i = 0; i < logits.cols; i++)
            max = fmax(max, x[i]);
        for (int64_t i = 0; i < logits.cols; i++)
            sum += exp(x[i] - max);
        /* cppcheck-suppress invalidFunctionArg ; no row is empty */
        *row_of(lse, n) = (real)(max + log(sum));
        if (!target)
            continue;
        assert(target[n] >= -1 && target[n] < logits.cols);
        *row_of(at, n) = target[n] < 0 ? 0 : x[target[n]];
    }
}

/* sums[0] += sum_n lse_n - at_n, sums[1] += sum_n lse_n^2 */
static void ref_cross_entropy(struct backend *be, double *sums, struct view lse,
                              struct view at)
{
    (void)be;
    for (int64_t n = 0; n < lse.rows; n++) {
        double l = *row_of(lse, n);

        sums[0] += l - *row_of(at, n);
        sums[1] += l * l;
    }
}

/* x = exp(x - lse) * (scale + 2 z lse), minus scale at the target */
static void ref_cross_entropy_grad(struct backend *be, struct view logits,
                                   struct view lse, const int32_t *target,
                                   double scale, double z)
{
    (void)be;
    for (int64_t n = 0; n < logits.rows; n++) {
        real *x = row_of(logits, n);
        double l = *row_of(lse, n), slope = scale + 2 * z * l;

        for (int64_t i = 0; i < logits.cols; i++)
            x[i] = (real)(slope * exp(x[i] - l) - (i == target[n] ? scale : 0));
    }
}

/* --- optimizers --- */

/* torch.optim.AdamW: w -= decay w; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * w -= lr (m/c1) / (sqrt(v/c2) + eps), or lr atan2(m/c1, sqrt(v/c2)). */
static void ref_adamw(struct backend *be, struct view w, struct view g,
                      struct view m, struct view v, const struct adamw_args *a)
{
    int64_t n = w.rows * w.cols;
    real *pw = w.data, *pm = m.data, *pv = v.data;
    const real *pg = g.data;

    (void)be;
    for (int64_t i = 0; i < n; i++) {
        double d = a->grad_scale * pg[i];
        double first = a->beta1 * pm[i] + (1 - a->beta1) * d;
        double second = a->beta2 * pv[i] + (1 - a->beta2) * d * d;
        double root = sqrt(second / a->correction2);
        double step = first / a->correction1;

        pm[i] = (real)first;
        pv[i] = (real)second;
        pw[i] = (real)(pw[i] * (1 - a->decay) -
                       a->lr * (a->atan2 ? atan2(step, root)
                                         : step / (root + a->eps)));
    }
}

/* u = b1 m + (1-b1) g; m = b2 m + (1-b2) g; w -= decay w + lr sign(u). */
static void ref_lion(struct backend *be, struct view w, struct view g,
                     struct view m, const struct lion_args *a)
{
    int64_t n = w.rows * w.cols;
    real *pw = w.data, *pm = m.data;
    const real *pg = g.data;

    (void)be;
    for (int64_t i = 0; i < n; i++) {
        double d = a->grad_scale * pg[i];
        double u = a->beta1 * pm[i] + (1 - a->beta1) * d;

        pm[i] = (real)(a->beta2 * pm[i] + (1 - a->beta2) * d);
        pw[i] = (real)(pw[i] * (1 - a->decay) - a->lr * ((u > 0) - (u < 0)));
    }
}

/* m = momentum m + g; w -= decay w + lr m. */
static void ref_sgd(struct backend *be, struct view w, struct view g,
                    struct view m, const struct sgd_args *a)
{
    int64_t n = w.rows * w.cols;
    real *pw = w.data, *pm = m.data;
    const real *pg = g.data;

    (void)be;
    for (int64_t i = 0; i < n; i++) {
        double first = a->momentum * pm[i] + a->grad_scale * pg[i];

        pm[i] = (real)first;
        pw[i] = (real)(pw[i] * (1 - a->decay) - a->lr * first);
    }
}

const struct backend_ops REF_NAME(REF_REAL) = {
    .alloc = ref_alloc,
    .free = ref_free,
    .upload = ref_upload,
    .download = ref_download,
    .sync = ref_sync,
    .zero = ref_zero,
    .add = ref_add,
    .normal = ref_normal,
    .sum_squares = ref_sum_squares,
    .sum_abs = ref_sum_abs,
    .gemm = ref_gemm,
    .gemm_grouped = ref_gemm_grouped,
    .embed = ref_embed,
    .embed_grad = ref_embed_grad,
    .rmsnorm = ref_rmsnorm,
    .rmsnorm_grad = ref_rmsnorm_grad,
    .rope_table = ref_rope_table,
    .rope = ref_rope,
    .attention = ref_attention,
    .attention_grad = ref_attention_grad,
    .attention_logits = ref_attention_logits,
    .route = ref_route,
    .route_loss = ref_route_loss,
    .route_grad = ref_route_grad,
    .dispatch = ref_dispatch,
    .gather = ref_gather,
    .gather_grad = ref_gather_grad,
    .geglu = ref_geglu,
    .geglu_grad = ref_geglu_grad,
    .combine = ref_combine,
    .combine_grad = ref_combine_grad,
    .log_sum_exp = ref_log_sum_exp,
    .cross_entropy = ref_cross_entropy,
    .cross_entropy_grad = ref_cross_entropy_grad,
    .adamw = ref_adamw,
    .lion = ref_lion,
    .sgd = ref_sgd,
};
