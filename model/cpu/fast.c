/* The fast CPU backend: float, matrix products by oneDNN's dnnl_sgemm, other
 * loops vectorised.  Same ops, shapes and formulas as ref.c, where they are
 * written out; comments here say only what differs.
 *
 * Compiled three times, for x86-64-v2, v3 and v4 (FAST_ISA), with
 * -ffp-contract=fast.  One thread (backend_open sees to it).  Nothing is
 * allocated here, but dnnl_sgemm takes and frees its own packing buffers, 74
 * to 246 KB, at each call.
 *
 * Loops under "omp simd" keep one order of operations for a given length, so
 * results depend neither on alignment nor on repetition. */
#include "model/backend.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

#include "model/cpu/lanes.h"
#include "model/cpu/vmath.h"

#ifndef FAST_ISA
#define FAST_ISA v2
#endif

#define FAST_PASTE(isa) fast_ops_##isa
#define FAST_NAME(isa)  FAST_PASTE(isa)

extern const struct backend_ops fast_ops_v2, fast_ops_v3, fast_ops_v4;

#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* Rows and columns of the tiles in which column sums are taken. */
#define TILE_ROWS 32
#define TILE_COLS 128

static float *row_of(struct view x, int64_t r)
{
    return (float *)x.data + r * x.stride;
}

/* A contiguous view as one long row: no loop restarts at row ends. */
static struct view flat(struct view x)
{
    if (x.stride == x.cols)
        return (struct view){ x.data, 1, x.rows * x.cols, x.rows * x.cols };
    return x;
}

/* Two views of one shape, flattened only if both are contiguous. */
static void flat_pair(struct view *x, struct view *y)
{
    if (x->stride == x->cols && y->stride == y->cols) {
        *x = flat(*x);
        *y = flat(*y);
    }
}

/* sum of exp(x - max); y, if not NULL, takes the exponentials (and may be x) */
static float exp_sum(float *y, const float *x, int64_t n, float max)
{
    float part[TILE_COLS], sum = 0;

    for (int64_t i = 0; i < n; i += TILE_COLS) {
        int64_t cols = MIN(TILE_COLS, n - i);
        /* cppcheck-suppress legacyUninitvar ; written before it is read */
        float *to = y ? y + i : part;

#pragma omp simd
        for (int64_t j = 0; j < cols; j++)
            to[j] = vm_exp(x[i + j] - max);
        sum += lanes_sum(to, cols);
    }
    return sum;
}

/* --- memory --- */

static void *fast_alloc(struct backend *be, size_t bytes)
{
    void *data;

    (void)be;
    if (bytes > SIZE_MAX - 64)
        return NULL;
    bytes = bytes ? (bytes + 63) / 64 * 64 : 64;
    data = aligned_alloc(64, bytes);
    if (data)
        memset(data, 0, bytes);
    return data;
}

static void fast_free(struct backend *be, void *data)
{
    (void)be;
    free(data);
}

static void fast_upload(struct backend *be, void *dst, const double *src,
                        int64_t n)
{
    float *y = dst;

    (void)be;
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)src[i];
}

static void fast_download(struct backend *be, double *dst, const void *src,
                          int64_t n)
{
    const float *x = src;

    (void)be;
    for (int64_t i = 0; i < n; i++)
        dst[i] = x[i];
}

static int fast_sync(struct backend *be, struct mup_error *err)
{
    (void)be;
    (void)err;
    return MUP_OK; /* a failed dnnl_sgemm is replaced by plain loops */
}

/* --- elementary --- */

static void fast_zero(struct backend *be, struct view y)
{
    (void)be;
    y = flat(y);
    for (int64_t r = 0; r < y.rows; r++)
        memset(row_of(y, r), 0, (size_t)y.cols * sizeof(float));
}

static void fast_add(struct backend *be, struct view y, struct view x,
                     double alpha)
{
    float factor = (float)alpha;

    (void)be;
    flat_pair(&y, &x);
    for (int64_t r = 0; r < y.rows; r++) {
        float *yr = row_of(y, r);
        const float *xr = row_of(x, r);

#pragma omp simd
        for (int64_t i = 0; i < y.cols; i++)
            yr[i] += factor * xr[i];
    }
}

static void fast_normal(struct backend *be, struct view y,
                        const struct random_key *key, int64_t first, double std)
{
    double z[256];

    (void)be;
    y = flat(y);
    for (int64_t r = 0; r < y.rows; r++)
        for (int64_t i = 0; i < y.cols; i += 256) {
            int64_t n = MIN(256, y.cols - i);

            random_normals(key, (uint64_t)(first + r * y.cols + i), n, z);
            for (int64_t j = 0; j < n; j++)
                row_of(y, r)[i + j] = (float)(std * z[j]);
        }
}

/* Four streams, so that four double sums hide the latency of the add. */
static void fast_sum_squares(struct backend *be, double *out, struct view x)
{
    double sum = 0;

    (void)be;
    x = flat(x);
    for (int64_t r = 0; r < x.rows; r++) {
        const float *p = row_of(x, r);
        int64_t quarter = x.cols / 4;
        double s0 = 0, s1 = 0, s2 = 0, s3 = 0;

#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (int64_t i = 0; i < quarter; i++) {
            double a = p[i], b = p[i + quarter];
            double c = p[i + 2 * quarter], d = p[i + 3 * quarter];

            s0 += a * a;
            s1 += b * b;
            s2 += c * c;
            s3 += d * d;
        }
        for (int64_t i = 4 * quarter; i < x.cols; i++)
            s0 += (double)p[i] * p[i];
        sum += (s0 + s1) + (s2 + s3);
    }
    *out = sum;
}

static void fast_sum_abs(struct backend *be, double *out, struct view x)
{
    double sum = 0;

    (void)be;
    x = flat(x);
    for (int64_t r = 0; r < x.rows; r++) {
        const float *p = row_of(x, r);
        int64_t half = x.cols / 2;
        double s0 = 0, s1 = 0;

#pragma omp simd reduction(+ : s0, s1)
        for (int64_t i = 0; i < half; i++) {
            s0 += (double)fabsf(p[i]);
            s1 += (double)fabsf(p[i + half]);
        }
        for (int64_t i = 2 * half; i < x.cols; i++)
            s0 += (double)fabsf(p[i]);
        sum += s0 + s1;
    }
    *out = sum;
}

/* --- matrix products --- */

/* What dnnl_sgemm does, for the day it finds no memory for its buffers. */
static void plain_gemm(struct view c, struct view a, struct view b, int trans_a,
                       int trans_b, float alpha, float beta)
{
    int64_t inner = trans_a ? a.rows : a.cols;

    for (int64_t m = 0; m < c.rows; m++)
        for (int64_t n = 0; n < c.cols; n++) {
            float sum = 0, old = beta != 0 ? beta * row_of(c, m)[n] : 0;

            for (int64_t i = 0; i < inner; i++)
                sum += (trans_a ? row_of(a, i)[m] : row_of(a, m)[i]) *
                       (trans_b ? row_of(b, n)[i] : row_of(b, i)[n]);
            row_of(c, m)[n] = alpha * sum + old;
        }
}

static void gemm(struct view c, struct view a, struct view b, int trans_a,
                 int trans_b, float alpha, float beta)
{
    int64_t inner = trans_a ? a.rows : a.cols;
    dnnl_status_t status = dnnl_runtime_error;

    assert((trans_a ? a.cols : a.rows) == c.rows);
    assert((trans_b ? b.rows : b.cols) == c.cols);
    assert((trans_b ? b.cols : b.rows) == inner);
    if (c.rows == 0 || c.cols == 0)
        return;
    if (inner > 0)
        status = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', c.rows,
                            c.cols, inner, alpha, a.data, a.stride, b.data,
                            b.stride, beta, c.data, c.stride);
    if (status != dnnl_success)
        plain_gemm(c, a, b, trans_a, trans_b, alpha, beta);
}

static void fast_gemm(struct backend *be, struct view c, struct view a,
                      struct view b, int trans_a, int trans_b, double alpha,
                      double beta)
{
    (void)be;
    gemm(c, a, b, trans_a, trans_b, (float)alpha, (float)beta);
}

static struct view rows_of(struct view x, int64_t first, int64_t rows)
{
    return (struct view){ row_of(x, first), rows, x.cols, x.stride };
}

static void fast_gemm_grouped(struct backend *be, int kind, struct view c,
                              struct view a, struct view b,
                              const int32_t *offset, int64_t experts,
                              double alpha, int accumulate)
{
    struct view stacked = kind == GROUP_WGRAD ? c : b;
    int64_t height = experts ? stacked.rows / experts : 0;
    float beta = accumulate ? 1 : 0;

    (void)be;
    for (int64_t e = 0; e < experts; e++) {
        int64_t first = offset[e], rows = offset[e + 1] - offset[e];
        struct view w = rows_of(stacked, e * height, height);
        struct view ae = rows_of(a, first, rows);

        if (rows == 0)
            continue;
        if (kind == GROUP_FORWARD)
            gemm(rows_of(c, first, rows), ae, w, 0, 1, (float)alpha, beta);
        else if (kind == GROUP_DGRAD)
            gemm(rows_of(c, first, rows), ae, w, 0, 0, (float)alpha, beta);
        else
            gemm(w, ae, rows_of(b, first, rows), 1, 0, (float)alpha, 1);
    }
}

/* --- embedding --- */

static void fast_embed(struct backend *be, struct view y, struct view table,
                       const int32_t *token, double scale)
{
    float factor = (float)scale;

    (void)be;
    for (int64_t n = 0; n < y.rows; n++) {
        float *yn = row_of(y, n);
        const float *from = row_of(table, token[n] < 0 ? 0 : token[n]);

        assert(token[n] >= -1 && token[n] < table.rows);
        if (token[n] < 0) {
            memset(yn, 0, (size_t)y.cols * sizeof(float));
            continue;
        }
#pragma omp simd
        for (int64_t i = 0; i < y.cols; i++)
            yn[i] = factor * from[i];
    }
}

static void fast_embed_grad(struct backend *be, struct view dtable,
                            struct view dy, const int32_t *token, double scale)
{
    float factor = (float)scale;

    (void)be;
    for (int64_t n = 0; n < dy.rows; n++) {
        float *to = row_of(dtable, token[n] < 0 ? 0 : token[n]);
        const float *dyn = row_of(dy, n);

        assert(token[n] >= -1 && token[n] < dtable.rows);
        if (token[n] < 0)
            continue;
#pragma omp simd
        for (int64_t i = 0; i < dy.cols; i++)
            to[i] += factor * dyn[i];
    }
}

/* --- RMSNorm --- */

static void fast_rmsnorm(struct backend *be, struct view y, struct view rstd,
                         struct view x, struct view gain, double mult,
                         double eps)
{
    const float *g = gain.data;

    (void)be;
    for (int64_t n = 0; n < x.rows; n++) {
        const float *xn = row_of(x, n);
        float *yn = row_of(y, n);
        float mean = lanes_dot(xn, xn, x.cols) / (float)x.cols;
        float scale = 1 / sqrtf(mean + (float)eps);
        float y_scale = (float)mult * scale;

#pragma omp simd
        for (int64_t i = 0; i < x.cols; i++)
            yn[i] = g[i] * (y_scale * xn[i]);
        *row_of(rstd, n) = scale;
    }
}

/* dx of one row. */
static void rmsnorm_grad_row(float *dx, const float *dy, const float *x,
                             const float *gain, float rstd, float mult,
                             int64_t cols, int accumulate)
{
    float k = lanes_dot3(gain, dy, x, cols) * rstd * rstd / (float)cols;
    float slope = mult * rstd;

    /* NOLINTNEXTLINE(bugprone-branch-clone): += and = are taken for clones */
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < cols; i++)
            dx[i] += slope * (gain[i] * dy[i] - k * x[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < cols; i++)
            dx[i] = slope * (gain[i] * dy[i] - k * x[i]);
    }
}

/* dgain of one tile of rows; the tile's sum is taken first and then added, so
 * that rounding grows with the number of tiles and not of rows. */
static void rmsnorm_grad_gain(struct view dgain, struct view dy, struct view x,
                              struct view rstd, float mult, int64_t first,
                              int64_t rows)
{
    float *dg = dgain.data;

    for (int64_t c = 0; c < x.cols; c += TILE_COLS) {
        float sum[TILE_COLS] = { 0 };
        int64_t cols = MIN(TILE_COLS, x.cols - c);

        for (int64_t n = first; n < first + rows; n++) {
            const float *dyn = row_of(dy, n) + c, *xn = row_of(x, n) + c;
            float s = *row_of(rstd, n);

#pragma omp simd
            for (int64_t i = 0; i < cols; i++)
                sum[i] += dyn[i] * (xn[i] * s);
        }
#pragma omp simd
        for (int64_t i = 0; i < cols; i++)
            dg[c + i] += mult * sum[i];
    }
}

/* The gain first: dx may then overwrite dy. */
static void fast_rmsnorm_grad(struct backend *be, struct view dx,
                              struct view dgain, struct view dy, struct view x,
                              struct view rstd, struct view gain, double mult,
                              int accumulate)
{
    (void)be;
    for (int64_t n = 0; n < x.rows; n += TILE_ROWS) {
        int64_t rows = MIN(TILE_ROWS, x.rows - n);

        rmsnorm_grad_gain(dgain, dy, x, rstd, (float)mult, n, rows);
        for (int64_t r = n; r < n + rows; r++)
            rmsnorm_grad_row(row_of(dx, r), row_of(dy, r), row_of(x, r),
                             gain.data, *row_of(rstd, r), (float)mult, x.cols,
                             accumulate);
    }
}

#include "model/cpu/fast_attention.inc.h"
#include "model/cpu/fast_moe.inc.h"

/* --- loss --- */

/* The largest logit may miss a NaN (comparisons are false), but the sum of
 * exponentials does not. */
static void fast_log_sum_exp(struct backend *be, struct view lse,
                             struct view at, struct view logits,
                             const int32_t *target)
{
    (void)be;
    for (int64_t n = 0; n < logits.rows; n++) {
        const float *x = row_of(logits, n);
        float max = lanes_max(x, logits.cols);
        float sum = exp_sum(NULL, x, logits.cols, max);

        *row_of(lse, n) = (float)(max + log((double)sum));
        if (!target)
            continue;
        assert(target[n] >= -1 && target[n] < logits.cols);
        *row_of(at, n) = target[n] < 0 ? 0 : x[target[n]];
    }
}

static void fast_cross_entropy(struct backend *be, double *sums,
                               struct view lse, struct view at)
{
    (void)be;
    for (int64_t n = 0; n < lse.rows; n++) {
        double l = *row_of(lse, n);

        sums[0] += l - *row_of(at, n);
        sums[1] += l * l;
    }
}

static void fast_cross_entropy_grad(struct backend *be, struct view logits,
                                    struct view lse, const int32_t *target,
                                    double scale, double z)
{
    (void)be;
    for (int64_t n = 0; n < logits.rows; n++) {
        float *x = row_of(logits, n), l = *row_of(lse, n);
        float slope = (float)(scale + 2 * z * l);

#pragma omp simd
        for (int64_t i = 0; i < logits.cols; i++)
            x[i] = slope * vm_exp(x[i] - l);
        if (target[n] >= 0)
            x[target[n]] -= (float)scale;
    }
}

/* --- optimizers --- */

/* atan2f is libm's and scalar: an option, not the common case. */
static void adam_atan2(struct view w, struct view g, struct view m,
                       struct view v, const struct adamw_args *a)
{
    int64_t n = w.rows * w.cols;
    float *pw = w.data, *pm = m.data, *pv = v.data;
    const float *pg = g.data;
    float b1 = (float)a->beta1, b2 = (float)a->beta2;
    float c1 = (float)(1 - a->beta1), c2 = (float)(1 - a->beta2);
    float keep = (float)(1 - a->decay), scale = (float)a->grad_scale;
    float root1 = (float)(1 / a->correction1);
    float root2 = (float)(1 / a->correction2);

    for (int64_t i = 0; i < n; i++) {
        float d = scale * pg[i];

        pm[i] = b1 * pm[i] + c1 * d;
        pv[i] = b2 * pv[i] + c2 * d * d;
        pw[i] = keep * pw[i] -
                (float)a->lr * atan2f(pm[i] * root1, sqrtf(pv[i] * root2));
    }
}

static void fast_adamw(struct backend *be, struct view w, struct view g,
                       struct view m, struct view v, const struct adamw_args *a)
{
    int64_t n = w.rows * w.cols;
    float *pw = w.data, *pm = m.data, *pv = v.data;
    const float *pg = g.data;
    float b1 = (float)a->beta1, c1 = (float)(1 - a->beta1);
    float b2 = (float)a->beta2, c2 = (float)(1 - a->beta2);
    float keep = (float)(1 - a->decay), step = (float)(a->lr / a->correction1);
    float root = (float)(1 / a->correction2), eps = (float)a->eps;
    float scale = (float)a->grad_scale;

    (void)be;
    if (a->atan2) {
        adam_atan2(w, g, m, v, a);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float d = scale * pg[i];
        float first = b1 * pm[i] + c1 * d;
        float second = b2 * pv[i] + c2 * d * d;

        pm[i] = first;
        pv[i] = second;
        pw[i] = keep * pw[i] - step * first / (sqrtf(second * root) + eps);
    }
}

static void fast_lion(struct backend *be, struct view w, struct view g,
                      struct view m, const struct lion_args *a)
{
    int64_t n = w.rows * w.cols;
    float *pw = w.data, *pm = m.data;
    const float *pg = g.data;
    float b1 = (float)a->beta1, c1 = (float)(1 - a->beta1);
    float b2 = (float)a->beta2, c2 = (float)(1 - a->beta2);
    float keep = (float)(1 - a->decay), step = (float)a->lr;
    float scale = (float)a->grad_scale;

    (void)be;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float d = scale * pg[i];
        float u = b1 * pm[i] + c1 * d;
        float sign = (u > 0 ? 1.0f : 0.0f) - (u < 0 ? 1.0f : 0.0f);

        pm[i] = b2 * pm[i] + c2 * d;
        pw[i] = keep * pw[i] - step * sign;
    }
}

static void fast_sgd(struct backend *be, struct view w, struct view g,
                     struct view m, const struct sgd_args *a)
{
    int64_t n = w.rows * w.cols;
    float *pw = w.data, *pm = m.data;
    const float *pg = g.data;
    float momentum = (float)a->momentum, scale = (float)a->grad_scale;
    float keep = (float)(1 - a->decay), step = (float)a->lr;

    (void)be;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float first = momentum * pm[i] + scale * pg[i];

        pm[i] = first;
        pw[i] = keep * pw[i] - step * first;
    }
}

const struct backend_ops FAST_NAME(FAST_ISA) = {
    .alloc = fast_alloc,
    .free = fast_free,
    .upload = fast_upload,
    .download = fast_download,
    .sync = fast_sync,
    .zero = fast_zero,
    .add = fast_add,
    .normal = fast_normal,
    .sum_squares = fast_sum_squares,
    .sum_abs = fast_sum_abs,
    .gemm = fast_gemm,
    .gemm_grouped = fast_gemm_grouped,
    .embed = fast_embed,
    .embed_grad = fast_embed_grad,
    .rmsnorm = fast_rmsnorm,
    .rmsnorm_grad = fast_rmsnorm_grad,
    .rope_table = fast_rope_table,
    .rope = fast_rope,
    .attention = fast_attention,
    .attention_grad = fast_attention_grad,
    .attention_logits = fast_attention_logits,
    .route = fast_route,
    .route_loss = fast_route_loss,
    .route_grad = fast_route_grad,
    .dispatch = fast_dispatch,
    .gather = fast_gather,
    .gather_grad = fast_gather_grad,
    .geglu = fast_geglu,
    .geglu_grad = fast_geglu_grad,
    .combine = fast_combine,
    .combine_grad = fast_combine_grad,
    .log_sum_exp = fast_log_sum_exp,
    .cross_entropy = fast_cross_entropy,
    .cross_entropy_grad = fast_cross_entropy_grad,
    .adamw = fast_adamw,
    .lion = fast_lion,
    .sgd = fast_sgd,
};
