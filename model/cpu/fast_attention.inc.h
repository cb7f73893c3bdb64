/* Part of fast.c: rotary positions and causal grouped-query attention.
 *
 * Attention goes head by head in blocks of BLOCK query rows, whose products
 * stop at the diagonal: 62 % of the full square at T = 128.  The products are
 * dnnl_sgemm's; the soft-cap and the softmax run over whole vectors, past the
 * diagonal where a vector straddles it, and what lies above is then masked.
 *
 * A soft-cap bounds the logits, so up to CAP_MAX their exponentials need no
 * maximum first and no clamping. */

#define BLOCK   32
#define CAP_MAX 40 /* exp(40) * T and exp(-2 * 40) / T are floats */

static void fast_rope_table(struct backend *be, struct view table, double base)
{
    int64_t half = table.cols / 2;

    (void)be;
    for (int64_t t = 0; t < table.rows; t++)
        for (int64_t i = 0; i < half; i++) {
            double w = pow(base, -2.0 * (double)i / (double)table.cols);

            row_of(table, t)[i] = (float)cos((double)t * w);
            row_of(table, t)[i + half] = (float)sin((double)t * w);
        }
}

/* Rotate the heads of one row; inlined with a constant half where it counts. */
static inline void rotate_row(float *x, const float *cosine, float sign,
                              int64_t heads, int64_t half)
{
    const float *sine = cosine + half;

    for (int64_t h = 0; h < heads; h++, x += 2 * half) {
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half], s = sign * sine[i];

            x[i] = a * cosine[i] - b * s;
            x[i + half] = b * cosine[i] + a * s;
        }
    }
}

static void fast_rope(struct backend *be, struct view x, struct view table,
                      int inverse)
{
    int64_t half = table.cols / 2, heads = x.cols / table.cols, t = 0;
    float sign = inverse ? -1 : 1;

    (void)be;
    for (int64_t n = 0; n < x.rows; n++) {
        float *xn = row_of(x, n);
        const float *cosine = row_of(table, t);

        if (half == 8)
            rotate_row(xn, cosine, sign, heads, 8);
        else if (half == 16)
            rotate_row(xn, cosine, sign, heads, 16);
        else
            rotate_row(xn, cosine, sign, heads, half);
        t = t + 1 < table.rows ? t + 1 : 0;
    }
}

/* Rows n.. of head h of x as a matrix of its own. */
static struct view head_of(struct view x, int64_t n, int64_t rows, int64_t h,
                           int64_t size)
{
    return (struct view){ row_of(x, n) + h * size, rows, size, x.stride };
}

/* s(rows,cols) = factor * q(rows,K) k(cols,K)^T, q from row t, k from row 0 of
 * the sequence that starts at n. */
static struct view logits_block(float *s, int64_t stride, struct view q,
                                struct view k, const int64_t at[3],
                                const struct attention_shape *a)
{
    int64_t n = at[0], t = at[1], h = at[2];
    int64_t rows = MIN(BLOCK, a->time - t), cols = t + rows;
    int64_t g = h / (a->heads / a->kv_heads);
    struct view out = { s, rows, cols, stride ? stride : cols };
    double factor = a->cap > 0 ? a->scale / a->cap : a->scale;

    gemm(out, head_of(q, n + t, rows, h, a->head_size),
         head_of(k, n, cols, g, a->head_size), 0, 1, (float)factor, 0);
    return out;
}

/* Columns to work on for a row with `valid` of them: whole vectors, within
 * the `cols` that the product filled. */
static int64_t padded(int64_t valid, int64_t cols)
{
    int64_t n = (valid + LANES - 1) / LANES * LANES;

    return MIN(n, cols);
}

/* Whether the short series for tanh will do for all of a block. */
static int is_small(struct view x)
{
    int small = 1;

    for (int64_t r = 0; r < x.rows && small; r++)
        small = lanes_all_within(row_of(x, r), x.cols, VM_TANH_SMALL);
    return small;
}

/* x = exp(cap * tanh(x)) */
static void capped_exp(float *x, int64_t n, float cap, int small)
{
    if (small) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            x[i] = vm_exp_bounded(cap * vm_tanh_small(x[i]));
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            x[i] = vm_exp_bounded(cap * vm_tanh(x[i]));
    }
}

/* x[0..valid) becomes exp(capped - max); returns that maximum. */
static float shifted_exp(float *x, int64_t valid, int64_t cols, float cap)
{
    int64_t n = padded(valid, cols);
    float max;

    if (cap > 0) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            x[i] = cap * vm_tanh(x[i]);
    }
    max = lanes_max(x, valid);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        x[i] = vm_exp(x[i] - max);
    return max;
}

/* Logits to exponentials, zero above the diagonal (row r has first + r of
 * them); lse and the reciprocal of each row's sum. */
static void softmax_block(struct view p, int64_t first, float *lse,
                          int64_t lse_stride, float *inverse, float cap)
{
    int bounded = cap > 0 && cap <= CAP_MAX;

    if (bounded)
        capped_exp(p.data, p.rows * p.cols, cap, is_small(flat(p)));
    for (int64_t r = 0; r < p.rows; r++) {
        float *x = row_of(p, r), max = 0, sum;
        int64_t valid = first + r;

        if (!bounded)
            max = shifted_exp(x, valid, p.cols, cap);
        memset(x + valid, 0, (size_t)(p.cols - valid) * sizeof(*x));
        sum = lanes_sum(x, padded(valid, p.cols));
        inverse[r] = 1 / sum;
        lse[r * lse_stride] = max + logf(sum);
    }
}

static void fast_attention(struct backend *be, struct view o, struct view lse,
                           struct view q, struct view k, struct view v,
                           const struct attention_shape *a, struct view scratch)
{
    int64_t size = a->head_size, group = a->heads / a->kv_heads;

    (void)be;
    for (int64_t n = 0; n < a->batch * a->time; n += a->time)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t t = 0; t < a->time; t += BLOCK) {
                const int64_t at[3] = { n, t, h };
                struct view p = logits_block(scratch.data, 0, q, k, at, a);
                struct view out = head_of(o, n + t, p.rows, h, size);
                float inverse[BLOCK];

                softmax_block(p, t + 1, row_of(lse, n + t) + h, lse.stride,
                              inverse, (float)a->cap);
                gemm(out, p, head_of(v, n, p.cols, h / group, size), 0, 0, 1,
                     0);
                for (int64_t r = 0; r < p.rows; r++) {
                    float *y = row_of(out, r), scale = inverse[r];

#pragma omp simd
                    for (int64_t i = 0; i < size; i++)
                        y[i] *= scale;
                }
            }
}

/* Backward pass of a block.  In: p = logits (before the cap, over cap if there
 * is one), ds = dout.v.  Out: p = probabilities, ds = d(q.k). */
static void slopes_capped(struct view p, struct view ds, int64_t first,
                          const float *lse, const float *delta,
                          const struct attention_shape *a)
{
    float cap = (float)a->cap, scale = (float)a->scale;

    for (int64_t r = 0; r < p.rows; r++) {
        float *pr = row_of(p, r), *dr = row_of(ds, r);
        int64_t n = padded(first + r, p.cols);

#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float t = vm_tanh(pr[i]);
            float w = vm_exp(cap * t - lse[r]);

            pr[i] = w;
            dr[i] = w * (dr[i] - delta[r]) * (scale - scale * t * t);
        }
    }
}

/* The same where tanh is small and exp bounded. */
static void slopes_small(struct view p, struct view ds, int64_t first,
                         const float *lse, const float *delta,
                         const struct attention_shape *a)
{
    float cap = (float)a->cap, scale = (float)a->scale;

    for (int64_t r = 0; r < p.rows; r++) {
        float *pr = row_of(p, r), *dr = row_of(ds, r);
        int64_t n = padded(first + r, p.cols);

#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float t = vm_tanh_small(pr[i]);
            float w = vm_exp_bounded(cap * t - lse[r]);

            pr[i] = w;
            dr[i] = w * (dr[i] - delta[r]) * (scale - scale * t * t);
        }
    }
}

static void slopes_plain(struct view p, struct view ds, int64_t first,
                         const float *lse, const float *delta,
                         const struct attention_shape *a)
{
    float scale = (float)a->scale;

    for (int64_t r = 0; r < p.rows; r++) {
        float *pr = row_of(p, r), *dr = row_of(ds, r);
        int64_t n = padded(first + r, p.cols);

#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            float w = vm_exp(pr[i] - lse[r]);

            pr[i] = w;
            dr[i] = w * (dr[i] - delta[r]) * scale;
        }
    }
}

/* All of p(T,T) and ds(T,T) up to the diagonal of each block, and dq. */
static void slopes_head(struct view p, struct view ds, struct view dq,
                        const struct view in[6], int64_t n, int64_t h,
                        const struct attention_shape *a)
{
    int64_t size = a->head_size, g = h / (a->heads / a->kv_heads);
    int bounded = a->cap > 0 && a->cap <= CAP_MAX;

    for (int64_t t = 0; t < a->time; t += BLOCK) {
        const int64_t at[3] = { n, t, h };
        struct view pb =
            logits_block(row_of(p, t), p.stride, in[3], in[4], at, a);
        struct view db = { row_of(ds, t), pb.rows, pb.cols, ds.stride };
        float lse[BLOCK], delta[BLOCK];

        gemm(db, head_of(in[0], n + t, pb.rows, h, size),
             head_of(in[5], n, pb.cols, g, size), 0, 1, 1, 0);
        for (int64_t r = 0; r < pb.rows; r++) {
            delta[r] = lanes_dot(row_of(in[0], n + t + r) + h * size,
                                 row_of(in[1], n + t + r) + h * size, size);
            lse[r] = row_of(in[2], n + t + r)[h];
        }
        if (a->cap <= 0)
            slopes_plain(pb, db, t + 1, lse, delta, a);
        else if (bounded && is_small(pb))
            slopes_small(pb, db, t + 1, lse, delta, a);
        else
            slopes_capped(pb, db, t + 1, lse, delta, a);
        for (int64_t r = 0; r < pb.rows; r++) {
            int64_t valid = t + r + 1;
            size_t rest = (size_t)(pb.cols - valid) * sizeof(float);

            memset(row_of(pb, r) + valid, 0, rest);
            memset(row_of(db, r) + valid, 0, rest);
        }
        gemm(head_of(dq, n + t, pb.rows, h, size), db,
             head_of(in[4], n, pb.cols, g, size), 0, 0, 1, 0);
    }
}

/* dk and dv by blocks of key rows: only query rows from there on see them. */
static void fast_attention_grad(struct backend *be, struct view dq,
                                struct view dk, struct view dv,
                                struct view dout, struct view o,
                                struct view lse, struct view q, struct view k,
                                struct view v, const struct attention_shape *a,
                                struct view scratch)
{
    const struct view in[6] = { dout, o, lse, q, k, v };
    int64_t T = a->time, size = a->head_size, group = a->heads / a->kv_heads;
    struct view p = { scratch.data, T, T, T };
    struct view ds = { row_of(p, T), T, T, T };

    (void)be;
    for (int64_t n = 0; n < a->batch * T; n += T)
        for (int64_t h = 0; h < a->heads; h++) {
            float beta = h % group ? 1 : 0; /* heads share keys and values */

            slopes_head(p, ds, dq, in, n, h, a);
            for (int64_t s = 0; s < T; s += BLOCK) {
                int64_t cols = MIN(BLOCK, T - s), rows = T - s;
                struct view pc = { row_of(p, s) + s, rows, cols, T };
                struct view dc = { row_of(ds, s) + s, rows, cols, T };

                gemm(head_of(dk, n + s, cols, h / group, size), dc,
                     head_of(q, n + s, rows, h, size), 1, 0, 1, beta);
                gemm(head_of(dv, n + s, cols, h / group, size), pc,
                     head_of(dout, n + s, rows, h, size), 1, 0, 1, beta);
            }
        }
}

static void fast_attention_logits(struct backend *be, double *sum,
                                  double *count, struct view q, struct view k,
                                  const struct attention_shape *shape,
                                  struct view scratch)
{
    struct attention_shape a = *shape;

    (void)be;
    a.cap = 0;
    for (int64_t n = 0; n < a.batch * a.time; n += a.time)
        for (int64_t h = 0; h < a.heads; h++)
            for (int64_t t = 0; t < a.time; t += BLOCK) {
                const int64_t at[3] = { n, t, h };
                struct view s = logits_block(scratch.data, 0, q, k, at, &a);

                for (int64_t r = 0; r < s.rows; r++) {
                    const float *x = row_of(s, r);
                    double part = 0;

#pragma omp simd reduction(+ : part)
                    for (int64_t i = 0; i < t + r + 1; i++)
                        part += (double)fabsf(x[i]);
                    *sum += part;
                    *count += (double)(t + r + 1);
                }
            }
}
