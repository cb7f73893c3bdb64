/* Part of ref.c: rotary positions and causal grouped-query attention. */

/* table(T,K): cos(t w_i) | sin(t w_i), w_i = base^(-2i/K). */
static void ref_rope_table(struct backend *be, struct view table, double base)
{
    int64_t half = table.cols / 2;

    (void)be;
    for (int64_t t = 0; t < table.rows; t++)
        for (int64_t i = 0; i < half; i++) {
            double w = pow(base, -2.0 * (double)i / (double)table.cols);

            row_of(table, t)[i] = (real)cos((double)t * w);
            row_of(table, t)[i + half] = (real)sin((double)t * w);
        }
}

/* (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin); x1, x2 the halves of a head
 * (RoFormer, eq. 34, NeoX order). */
static void ref_rope(struct backend *be, struct view x, struct view table,
                     int inverse)
{
    int64_t half = table.cols / 2, heads = x.cols / table.cols;

    (void)be;
    for (int64_t n = 0; n < x.rows; n++) {
        const real *cosine = row_of(table, n % table.rows);
        const real *sine = cosine + half;

        for (int64_t h = 0; h < heads; h++) {
            real *x1 = row_of(x, n) + h * table.cols, *x2 = x1 + half;

            for (int64_t i = 0; i < half; i++) {
                double c = cosine[i], s = inverse ? -sine[i] : sine[i];
                double a = x1[i], b = x2[i];

                x1[i] = (real)(a * c - b * s);
                x2[i] = (real)(b * c + a * s);
            }
        }
    }
}

/* Capped logit of query row n (of sequence row `start` on) and key row s. */
static double attention_logit(struct view q, struct view k, int64_t n,
                              int64_t s, int64_t h,
                              const struct attention_shape *a)
{
    int64_t size = a->head_size, g = h / (a->heads / a->kv_heads);
    double logit = dot(row_of(q, n) + h * size, row_of(k, s) + g * size, size);

    return soft_cap(a->scale * logit, a->cap);
}

/* One query row of one head: o = softmax(logits) v over s = start..n. */
static void attention_row(struct view o, struct view lse, struct view q,
                          struct view k, struct view v, int64_t start,
                          int64_t n, int64_t h, const struct attention_shape *a,
                          real *p)
{
    int64_t size = a->head_size, g = h / (a->heads / a->kv_heads);
    double max = -INFINITY, sum = 0;

    for (int64_t s = start; s <= n; s++) {
        double x = attention_logit(q, k, n, s, h, a);

        p[s - start] = (real)x;
        max = !(x <= max) ? x : max; /* a NaN must not be lost */
    }
    for (int64_t s = start; s <= n; s++)
        sum += exp(p[s - start] - max);
    row_of(lse, n)[h] = (real)(max + log(sum));
    for (int64_t i = 0; i < size; i++) {
        double y = 0;

        for (int64_t s = start; s <= n; s++)
            y += exp(p[s - start] - max) * row_of(v, s)[g * size + i];
        row_of(o, n)[h * size + i] = (real)(y / sum);
    }
}

static void ref_attention(struct backend *be, struct view o, struct view lse,
                          struct view q, struct view k, struct view v,
                          const struct attention_shape *a, struct view scratch)
{
    (void)be;
    for (int64_t n = 0; n < a->batch * a->time; n++)
        for (int64_t h = 0; h < a->heads; h++)
            attention_row(o, lse, q, k, v, n / a->time * a->time, n, h, a,
                          scratch.data);
}

/* p(T,T) = softmax and ds(T,T) = dLoss/d(q.k) of head h of the sequence that
 * starts at row `start`; delta = dout.o is the softmax's inner product. */
static void attention_slopes(real *p, real *ds, const struct view in[6],
                             int64_t start, int64_t h,
                             const struct attention_shape *a)
{
    struct view dout = in[0], o = in[1], lse = in[2];
    int64_t size = a->head_size, qi = h * size;
    int64_t ki = h / (a->heads / a->kv_heads) * size;

    for (int64_t t = 0; t < a->time; t++) {
        const real *don = row_of(dout, start + t) + qi;
        double delta = dot(don, row_of(o, start + t) + qi, size);

        for (int64_t s = 0; s <= t; s++) {
            double x =
                attention_logit(in[3], in[4], start + t, start + s, h, a);
            double w = exp(x - row_of(lse, start + t)[h]);
            double dp = dot(don, row_of(in[5], start + s) + ki, size);

            p[t * a->time + s] = (real)w;
            ds[t * a->time + s] =
                (real)(w * (dp - delta) * a->scale * soft_cap_slope(x, a->cap));
        }
    }
}

/* y(T,K) += w(T,T) x(T,K), w lower triangular; transposed: w^T. */
static void triangle_product(real *y, int64_t y_stride, const real *w,
                             const real *x, int64_t x_stride,
                             const struct attention_shape *a, int transposed)
{
    for (int64_t t = 0; t < a->time; t++)
        for (int64_t i = 0; i < a->head_size; i++) {
            int64_t first = transposed ? t : 0;
            int64_t last = transposed ? a->time - 1 : t;
            double sum = 0;

            for (int64_t s = first; s <= last; s++)
                sum +=
                    (double)w[transposed ? s * a->time + t : t * a->time + s] *
                    x[s * x_stride + i];
            y[t * y_stride + i] = (real)(y[t * y_stride + i] + sum);
        }
}

static void ref_attention_grad(struct backend *be, struct view dq,
                               struct view dk, struct view dv, struct view dout,
                               struct view o, struct view lse, struct view q,
                               struct view k, struct view v,
                               const struct attention_shape *a,
                               struct view scratch)
{
    const struct view in[6] = { dout, o, lse, q, k, v };
    real *p = scratch.data, *ds = p + a->time * a->time;

    ref_zero(be, dq);
    ref_zero(be, dk);
    ref_zero(be, dv);
    for (int64_t n = 0; n < a->batch * a->time; n += a->time)
        for (int64_t h = 0; h < a->heads; h++) {
            int64_t qi = h * a->head_size;
            int64_t ki = h / (a->heads / a->kv_heads) * a->head_size;

            attention_slopes(p, ds, in, n, h, a);
            triangle_product(row_of(dq, n) + qi, dq.stride, ds,
                             row_of(k, n) + ki, k.stride, a, 0);
            triangle_product(row_of(dk, n) + ki, dk.stride, ds,
                             row_of(q, n) + qi, q.stride, a, 1);
            triangle_product(row_of(dv, n) + ki, dv.stride, p,
                             row_of(dout, n) + qi, dout.stride, a, 1);
        }
}

static void ref_attention_logits(struct backend *be, double *sum, double *count,
                                 struct view q, struct view k,
                                 const struct attention_shape *shape,
                                 struct view scratch)
{
    struct attention_shape a = *shape;

    (void)be;
    (void)scratch;
    a.cap = 0;
    for (int64_t n = 0; n < a.batch * a.time; n++)
        for (int64_t h = 0; h < a.heads; h++)
            for (int64_t s = n / a.time * a.time; s <= n; s++) {
                *sum += fabs(attention_logit(q, k, n, s, h, &a));
                *count += 1;
            }
}
