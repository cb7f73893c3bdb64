/* Part of fast.c: routing, permutation and gated experts. */

#define EXPERTS_AT_ONCE 64 /* the balance loss counts this many at a time */
#define SHORT_ROW       16 /* a whole number of vectors of any width */

static int32_t lowest_free(const int32_t *expert, int64_t taken)
{
    int32_t e = 0;

    for (int64_t i = 0; i < taken; i++)
        if (expert[i] == e) {
            e++;
            i = -1; /* look again */
        }
    return e;
}

/* As in ref.c: ties to the lower index.  The next largest is the largest of
 * those that come after the last one in the order (falling p, rising index);
 * NaN compares false, leaves none, and then the lowest free index is taken. */
static void top_k(int32_t *expert, const float *p, int64_t experts, int64_t k)
{
    float last = INFINITY;
    int32_t at = -1;

    for (int64_t j = 0; j < k; j++) {
        float most = -1; /* probabilities are not negative */
        int32_t best = -1;

        for (int32_t e = 0; e < (int32_t)experts; e++) {
            int after = (p[e] < last) | ((p[e] == last) & (e > at));
            int better = after & (p[e] > most);

            most = better ? p[e] : most;
            best = better ? e : best;
        }
        if (best < 0)
            best = lowest_free(expert, j);
        expert[j] = at = best;
        last = p[best];
    }
}

/* x = cap(x), then exp(x - max); returns the log of their sum, and in *scale
 * the reciprocal of the sum.  Inlined with a constant n for short rows. */
static inline float route_exp(float *x, int64_t n, float cap, float *scale)
{
    float max, sum;

    if (cap > 0) {
#pragma omp simd
        for (int64_t e = 0; e < n; e++)
            x[e] = cap * vm_tanh(x[e] / cap);
    }
    max = lanes_max(x, n);
#pragma omp simd
    for (int64_t e = 0; e < n; e++)
        x[e] = vm_exp(x[e] - max);
    sum = lanes_sum(x, n);
    *scale = 1 / sum;
    return max + logf(sum);
}

/* p = softmax(cap(x)); returns the log of the sum of exponentials.  Short rows
 * are filled up to whole vectors, with logits that exp turns into 0. */
static float route_softmax(float *p, const float *x, int64_t experts, float cap)
{
    float row[SHORT_ROW], lse, scale;

    if (experts <= SHORT_ROW && cap <= 0) {
        for (int64_t e = 0; e < SHORT_ROW; e++)
            row[e] = -INFINITY;
        memcpy(row, x, (size_t)experts * sizeof(*x));
        lse = route_exp(row, SHORT_ROW, 0, &scale);
        for (int64_t e = 0; e < experts; e++)
            p[e] = row[e] * scale;
        return lse;
    }
    memcpy(p, x, (size_t)experts * sizeof(*x));
    lse = route_exp(p, experts, cap, &scale);
    for (int64_t e = 0; e < experts; e++)
        p[e] *= scale;
    return lse;
}

static void fast_route(struct backend *be, struct view probs, struct view lse,
                       struct view gates, int32_t *expert, struct view logits,
                       const struct route_shape *r)
{
    (void)be;
    assert(r->top_k <= r->experts);
    for (int64_t n = 0; n < r->tokens; n++, expert += r->top_k) {
        float *p = row_of(probs, n), *g = row_of(gates, n), norm = 0;

        *row_of(lse, n) =
            route_softmax(p, row_of(logits, n), r->experts, (float)r->cap);
        top_k(expert, p, r->experts, r->top_k);
        for (int64_t j = 0; j < r->top_k; j++)
            norm += p[expert[j]];
        norm = r->renormalize ? 1 / norm : 1;
        for (int64_t j = 0; j < r->top_k; j++)
            g[j] = p[expert[j]] * norm;
    }
}

/* Slots of experts first.. in one sequence. */
static void count_slots(int32_t *count, const int32_t *slot, int64_t slots,
                        int64_t first)
{
    memset(count, 0, EXPERTS_AT_ONCE * sizeof(*count));
    for (int64_t i = 0; i < slots; i++) {
        uint64_t e = (uint64_t)(slot[i] - first);

        if (e < EXPERTS_AT_ONCE)
            count[e]++;
    }
}

static void fast_route_loss(struct backend *be, double *sums, struct view probs,
                            struct view lse, const int32_t *expert,
                            const struct route_shape *r)
{
    double norm =
        (double)r->experts / ((double)r->time * (double)(r->time * r->top_k));

    (void)be;
    for (int64_t n = 0; n < r->tokens; n += r->time)
        for (int64_t first = 0; first < r->experts; first += EXPERTS_AT_ONCE) {
            int64_t last = MIN(first + EXPERTS_AT_ONCE, r->experts);
            int32_t count[EXPERTS_AT_ONCE];
            double sum = 0;

            count_slots(count, expert + n * r->top_k, r->time * r->top_k,
                        first);
            for (int64_t t = 0; t < r->time; t++) {
                const float *p = row_of(probs, n + t);

                for (int64_t e = first; e < last; e++)
                    sum += (double)p[e] * count[e - first];
            }
            sums[0] += norm * sum;
        }
    for (int64_t n = 0; n < r->tokens; n++)
        sums[1] += (double)*row_of(lse, n) * *row_of(lse, n);
}

/* dprobs of the balance loss into dlogits; the same for all rows of a
 * sequence. */
static void balance_grad(struct view dlogits, const int32_t *expert,
                         const struct route_shape *r)
{
    double factor = r->balance * (double)r->experts /
                    ((double)r->time * (double)(r->time * r->top_k));

    for (int64_t n = 0; n < r->tokens; n += r->time)
        for (int64_t first = 0; first < r->experts; first += EXPERTS_AT_ONCE) {
            int64_t last = MIN(first + EXPERTS_AT_ONCE, r->experts);
            int32_t count[EXPERTS_AT_ONCE];

            count_slots(count, expert + n * r->top_k, r->time * r->top_k,
                        first);
            for (int64_t t = 0; t < r->time; t++)
                for (int64_t e = first; e < last; e++)
                    row_of(dlogits, n + t)[e] =
                        (float)(factor * count[e - first]);
        }
}

static void gate_grad(float *dp, const float *dgates, const float *gates,
                      const float *p, const int32_t *expert,
                      const struct route_shape *r)
{
    float norm = 0, mean = 0;

    if (!r->renormalize) {
        for (int64_t j = 0; j < r->top_k; j++)
            dp[expert[j]] += dgates[j];
        return;
    }
    for (int64_t j = 0; j < r->top_k; j++) {
        norm += p[expert[j]];
        mean += dgates[j] * gates[j];
    }
    for (int64_t j = 0; j < r->top_k; j++)
        dp[expert[j]] += (dgates[j] - mean) / norm;
}

static void fast_route_grad(struct backend *be, struct view dlogits,
                            struct view dgates, struct view probs,
                            struct view lse, struct view gates,
                            const int32_t *expert, struct view logits,
                            const struct route_shape *r)
{
    float cap = (float)r->cap;

    (void)be;
    balance_grad(dlogits, expert, r);
    for (int64_t n = 0; n < r->tokens; n++, expert += r->top_k) {
        const float *p = row_of(probs, n), *x = row_of(logits, n);
        float *d = row_of(dlogits, n), shift;

        gate_grad(d, row_of(dgates, n), row_of(gates, n), p, expert, r);
        shift =
            (float)(2 * r->z) * *row_of(lse, n) - lanes_dot(p, d, r->experts);
        if (cap > 0) {
#pragma omp simd
            for (int64_t e = 0; e < r->experts; e++) {
                float t = vm_tanh(x[e] / cap);

                d[e] = p[e] * (d[e] + shift) * (1 - t * t);
            }
        } else {
#pragma omp simd
            for (int64_t e = 0; e < r->experts; e++)
                d[e] = p[e] * (d[e] + shift);
        }
    }
}

static void fast_dispatch(struct backend *be, int32_t *row, int32_t *source,
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
    memmove(offset + 1, offset, (size_t)experts * sizeof(*offset));
    offset[0] = 0;
}

static void fast_gather(struct backend *be, struct view y, struct view x,
                        const int32_t *source, int64_t k)
{
    (void)be;
    for (int64_t r = 0; r < y.rows; r++)
        memcpy(row_of(y, r), row_of(x, source[r] / k),
               (size_t)y.cols * sizeof(float));
}

/* y = scale * x, or y += scale * x */
static void scaled_row(float *y, const float *x, int64_t n, float scale,
                       int accumulate)
{
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] += scale * x[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = scale * x[i];
    }
}

static void fast_gather_grad(struct backend *be, struct view dx, struct view dy,
                             const int32_t *row, int64_t k)
{
    (void)be;
    for (int64_t n = 0; n < dx.rows; n++)
        for (int64_t j = 0; j < k; j++)
            scaled_row(row_of(dx, n), row_of(dy, row[n * k + j]), dx.cols, 1,
                       j > 0);
}

/* gelu(x) = x * sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)): the tanh form of
 * ref.c without its cancellation at negative x. */
static inline float gelu_sigmoid(float x)
{
    const float a = 1.59576912160573071f, b = a * 0.044715f;

    return 1 / (1 + vm_exp(-x * (a + b * x * x)));
}

static void fast_geglu(struct backend *be, struct view a, struct view g,
                       struct view u)
{
    (void)be;
    for (int64_t r = 0; r < a.rows; r++) {
        const float *x = row_of(g, r), *y = row_of(u, r);
        float *to = row_of(a, r);

#pragma omp simd
        for (int64_t i = 0; i < a.cols; i++)
            to[i] = x[i] * gelu_sigmoid(x[i]) * y[i];
    }
}

/* d gelu/dx = s + x s (1 - s) * 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2) */
static void fast_geglu_grad(struct backend *be, struct view dg, struct view du,
                            struct view da, struct view g, struct view u)
{
    const float a = 1.59576912160573071f, b = 3 * a * 0.044715f;

    (void)be;
    for (int64_t r = 0; r < da.rows; r++) {
        const float *x = row_of(g, r), *y = row_of(u, r), *d = row_of(da, r);
        float *dx = row_of(dg, r), *dy = row_of(du, r);

#pragma omp simd
        for (int64_t i = 0; i < da.cols; i++) {
            float xi = x[i], yi = y[i], di = d[i];
            float s = gelu_sigmoid(xi);
            float slope = s + xi * s * (1 - s) * (a + b * xi * xi);

            dx[i] = di * yi * slope;
            dy[i] = di * xi * s;
        }
    }
}

static void fast_combine(struct backend *be, struct view y, struct view x,
                         const int32_t *row, struct view gates)
{
    int64_t k = gates.cols;

    (void)be;
    for (int64_t n = 0; n < y.rows; n++)
        for (int64_t j = 0; j < k; j++)
            scaled_row(row_of(y, n), row_of(x, row[n * k + j]), y.cols,
                       row_of(gates, n)[j], j > 0);
}

static void fast_combine_grad(struct backend *be, struct view dx,
                              struct view dgates, struct view dy, struct view x,
                              const int32_t *row, struct view gates)
{
    int64_t k = gates.cols;

    (void)be;
    for (int64_t n = 0; n < dy.rows; n++) {
        const float *dyn = row_of(dy, n);

        for (int64_t j = 0; j < k; j++) {
            int64_t r = row[n * k + j];

            row_of(dgates, n)[j] = lanes_dot(dyn, row_of(x, r), dy.cols);
            scaled_row(row_of(dx, r), dyn, dy.cols, row_of(gates, n)[j], 0);
        }
    }
}
