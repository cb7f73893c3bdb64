/* How to call every op, and the operands of a call: shared by test_ops.c and
 * bench_ops.c (inline: neither uses all), which include it after their system
 * headers and before their tables of ops. */
#define MAX_ARRAYS 14
#define PAD_VALUE  12345.0 /* exact in float; must survive every op */

/* Dimensions of arrays, by letter; HK = H*K, EF = E*F, and so on. */
enum dim { ONE, TWO, N, D, V, E, k, R, F, H, HK, GK, T, K, EF, T3, N_DIMS };

struct sizes {
    int64_t of[N_DIMS];
    int64_t batch, kv_heads;
    int empty; /* the odd experts get no token */
};

/* What an array is to an op. */
enum use {
    NONE,
    IN,      /* random */
    POS,     /* random, in (0.1,1.1) */
    OUT,     /* NaN before; compared */
    INOUT,   /* random before; compared */
    SCRATCH, /* NaN before; not compared */
};

struct slot {
    enum dim rows, cols;
    enum use use;
    int grad; /* slot of its gradient (of an input) or cotangent (of an
                 output), 0 if none; slot 0 is always a forward operand */
};

struct context {
    const struct sizes *z;
    const struct op *op;
    int32_t *token, *target, *expert, *row, *source, *offset;
    struct random_key key;
};

typedef void op_run(struct backend *be, const struct view *v,
                    struct context *c);

struct op {
    const char *name;
    op_run *forward, *backward; /* backward NULL: nothing to differentiate */
    struct slot slot[MAX_ARRAYS];
    double tolerance; /* in FLT_EPSILON, of the array's largest value */
    double floor;     /* or of this, where terms of this size cancel */
    double cap;
    int flag; /* renormalize, transpositions, ... */
    int contiguous;
};

/* --- the ops ------------------------------------------------------------- */

static inline void run_zero(struct backend *be, const struct view *v,
                            struct context *c)
{
    (void)c;
    be->ops->zero(be, v[0]);
}

static inline void run_add(struct backend *be, const struct view *v,
                           struct context *c)
{
    (void)c;
    be->ops->add(be, v[0], v[1], -0.7);
}

static inline void run_normal(struct backend *be, const struct view *v,
                              struct context *c)
{
    be->ops->normal(be, v[0], &c->key, 5, 0.3);
}

static inline void run_sums(struct backend *be, const struct view *v,
                            struct context *c)
{
    double sums[2];

    (void)c;
    be->ops->sum_squares(be, &sums[0], v[1]);
    be->ops->sum_abs(be, &sums[1], v[1]);
    be->ops->upload(be, v[0].data, sums, 2);
}

/* flag bit 0: a transposed, bit 1: b transposed; the slots hold op(a)'s and
 * op(b)'s stored shapes.  Bit 2: beta = 0. */
static inline void run_gemm(struct backend *be, const struct view *v,
                            struct context *c)
{
    be->ops->gemm(be, v[0], v[1], v[2], c->op->flag & 1, c->op->flag >> 1 & 1,
                  1.3, c->op->flag & 4 ? 0 : 0.6);
}

/* flag: accumulate */
/* cap: a factor on the result, 1 where none is given */
static inline double mult_of(const struct context *c)
{
    return c->op->cap > 0 ? c->op->cap : 1;
}

static inline void run_grouped(struct backend *be, const struct view *v,
                               struct context *c)
{
    be->ops->gemm_grouped(be, GROUP_FORWARD, v[0], v[1], v[2], c->offset,
                          c->z->of[E], mult_of(c), c->op->flag);
}

static inline void back_grouped(struct backend *be, const struct view *v,
                                struct context *c)
{
    be->ops->zero(be, v[5]);
    be->ops->gemm_grouped(be, GROUP_DGRAD, v[4], v[3], v[2], c->offset,
                          c->z->of[E], mult_of(c), 0);
    be->ops->gemm_grouped(be, GROUP_WGRAD, v[5], v[3], v[1], c->offset,
                          c->z->of[E], mult_of(c), 0);
}

static inline void run_embed(struct backend *be, const struct view *v,
                             struct context *c)
{
    be->ops->embed(be, v[0], v[1], c->token, 1.7);
}

static inline void back_embed(struct backend *be, const struct view *v,
                              struct context *c)
{
    be->ops->zero(be, v[3]);
    be->ops->embed_grad(be, v[3], v[2], c->token, 1.7);
}

static inline void run_rmsnorm(struct backend *be, const struct view *v,
                               struct context *c)
{
    be->ops->rmsnorm(be, v[0], v[1], v[2], v[3], mult_of(c), 1e-3);
}

/* flag: accumulate, onto zero */
static inline void back_rmsnorm(struct backend *be, const struct view *v,
                                struct context *c)
{
    be->ops->zero(be, v[6]);
    if (c->op->flag)
        be->ops->zero(be, v[5]);
    be->ops->rmsnorm_grad(be, v[5], v[6], v[4], v[2], v[1], v[3], mult_of(c),
                          c->op->flag);
}

static inline void run_rope_table(struct backend *be, const struct view *v,
                                  struct context *c)
{
    (void)c;
    be->ops->rope_table(be, v[0], 10000);
}

static inline void run_rope(struct backend *be, const struct view *v,
                            struct context *c)
{
    (void)c;
    be->ops->rope_table(be, v[2], 100);
    be->ops->zero(be, v[0]);
    be->ops->add(be, v[0], v[1], 1);
    be->ops->rope(be, v[0], v[2], 0);
}

static inline void back_rope(struct backend *be, const struct view *v,
                             struct context *c)
{
    (void)c;
    be->ops->zero(be, v[4]);
    be->ops->add(be, v[4], v[3], 1);
    be->ops->rope(be, v[4], v[2], 1);
}

static struct attention_shape attention_of(const struct context *c)
{
    const struct sizes *z = c->z;

    return (struct attention_shape){
        .batch = z->batch,
        .time = z->of[T],
        .heads = z->of[H],
        .kv_heads = z->kv_heads,
        .head_size = z->of[K],
        .scale = 1.5 / sqrt((double)z->of[K]),
        .cap = c->op->cap,
    };
}

static inline void run_attention(struct backend *be, const struct view *v,
                                 struct context *c)
{
    struct attention_shape a = attention_of(c);

    be->ops->attention(be, v[0], v[1], v[2], v[3], v[4], &a, v[5]);
}

static inline void back_attention(struct backend *be, const struct view *v,
                                  struct context *c)
{
    struct attention_shape a = attention_of(c);

    be->ops->attention_grad(be, v[7], v[8], v[9], v[6], v[0], v[1], v[2], v[3],
                            v[4], &a, v[5]);
}

static inline void run_attention_logits(struct backend *be,
                                        const struct view *v, struct context *c)
{
    struct attention_shape a = attention_of(c);
    double sums[2] = { 1, 2 };

    be->ops->attention_logits(be, &sums[0], &sums[1], v[1], v[2], &a, v[3]);
    be->ops->upload(be, v[0].data, sums, 2);
}

static struct route_shape route_of(const struct context *c)
{
    const struct sizes *z = c->z;

    return (struct route_shape){
        .tokens = z->of[N],
        .experts = z->of[E],
        .top_k = z->of[k],
        .time = z->of[T],
        .cap = c->op->cap,
        .renormalize = c->op->flag,
    };
}

/* slots: 0 probs, 1 lse, 2 gates, 3 sums, 4 logits, 5 dgates, 6 dsums,
 * 7 dlogits.  Chooses the experts, too: c->expert. */
static inline void run_route(struct backend *be, const struct view *v,
                             struct context *c)
{
    struct route_shape r = route_of(c);
    double sums[2] = { 0, 0 };

    be->ops->route(be, v[0], v[1], v[2], c->expert, v[4], &r);
    be->ops->route_loss(be, sums, v[0], v[1], c->expert, &r);
    be->ops->upload(be, v[3].data, sums, 2);
}

static inline void back_route(struct backend *be, const struct view *v,
                              struct context *c)
{
    struct route_shape r = route_of(c);
    double coefficient[2];

    be->ops->download(be, coefficient, v[6].data, 2);
    r.balance = coefficient[0];
    r.z = coefficient[1];
    be->ops->route_grad(be, v[7], v[5], v[0], v[1], v[2], c->expert, v[4], &r);
}

static inline void run_gather(struct backend *be, const struct view *v,
                              struct context *c)
{
    be->ops->gather(be, v[0], v[1], c->source, c->z->of[k]);
}

static inline void back_gather(struct backend *be, const struct view *v,
                               struct context *c)
{
    be->ops->gather_grad(be, v[3], v[2], c->row, c->z->of[k]);
}

static inline void run_geglu(struct backend *be, const struct view *v,
                             struct context *c)
{
    (void)c;
    be->ops->geglu(be, v[0], v[1], v[2]);
}

static inline void back_geglu(struct backend *be, const struct view *v,
                              struct context *c)
{
    (void)c;
    be->ops->geglu_grad(be, v[4], v[5], v[3], v[1], v[2]);
}

/* The gradients in the memory of the inputs: flag 1: dg in da's, else in g's;
 * du in u's. */
static inline void run_geglu_in_place(struct backend *be, const struct view *v,
                                      struct context *c)
{
    be->ops->geglu_grad(be, c->op->flag ? v[0] : v[1], v[2], v[0], v[1], v[2]);
}

static inline void run_combine(struct backend *be, const struct view *v,
                               struct context *c)
{
    be->ops->combine(be, v[0], v[1], c->row, v[2]);
}

static inline void back_combine(struct backend *be, const struct view *v,
                                struct context *c)
{
    be->ops->combine_grad(be, v[4], v[5], v[3], v[1], c->row, v[2]);
}

/* slots: 0 sums, 1 logits, 2 dsums, 3 dlogits, 4 lse, 5 logits at targets */
static inline void run_cross_entropy(struct backend *be, const struct view *v,
                                     struct context *c)
{
    double sums[2] = { 0, 0 };

    be->ops->log_sum_exp(be, v[4], v[5], v[1], c->target);
    be->ops->cross_entropy(be, sums, v[4], v[5]);
    be->ops->upload(be, v[0].data, sums, 2);
}

static inline void back_cross_entropy(struct backend *be, const struct view *v,
                                      struct context *c)
{
    double coefficient[2];

    be->ops->download(be, coefficient, v[2].data, 2);
    be->ops->zero(be, v[3]);
    be->ops->add(be, v[3], v[1], 1);
    be->ops->log_sum_exp(be, v[4], v[5], v[3], c->target);
    be->ops->cross_entropy_grad(be, v[3], v[4], c->target, coefficient[0],
                                coefficient[1]);
}

static inline void run_adamw(struct backend *be, const struct view *v,
                             struct context *c)
{
    struct adamw_args a = { .lr = 0.02,
                            .beta1 = 0.9,
                            .beta2 = 0.95,
                            .eps = 1e-6,
                            .decay = 0.01,
                            .grad_scale = 0.5,
                            .correction1 = 0.1,
                            .correction2 = 0.05,
                            .atan2 = c->op->flag };

    be->ops->adamw(be, v[0], v[1], v[2], v[3], &a);
}

static inline void run_lion(struct backend *be, const struct view *v,
                            struct context *c)
{
    struct lion_args a = { 0.02, 0.9, 0.99, 0.01, 0.5 };

    (void)c;
    be->ops->lion(be, v[0], v[1], v[2], &a);
}

static inline void run_sgd(struct backend *be, const struct view *v,
                           struct context *c)
{
    struct sgd_args a = { 0.02, 0.9, 0.01, 0.5 };

    (void)c;
    be->ops->sgd(be, v[0], v[1], v[2], &a);
}

/* --- operands -----------------------------------------------------------
 */

static struct sizes sizes_of(int64_t batch, int64_t time, int64_t kv_heads,
                             int64_t group, int64_t head_size)
{
    struct sizes z = { .batch = batch, .kv_heads = kv_heads };

    z.of[ONE] = 1;
    z.of[TWO] = 2;
    z.of[T] = time;
    z.of[T3] = 3 * time;
    z.of[N] = batch * time;
    z.of[K] = head_size;
    z.of[H] = kv_heads * group;
    z.of[HK] = z.of[H] * head_size;
    z.of[GK] = kv_heads * head_size;
    return z;
}

static struct sizes with_experts(struct sizes z, int64_t width, int64_t ffn,
                                 int64_t experts, int64_t top)
{
    z.of[D] = width;
    z.of[F] = ffn;
    z.of[E] = experts;
    z.of[k] = top;
    z.of[EF] = experts * ffn;
    z.of[R] = z.of[N] * top;
    z.of[V] = 2 * width + 1;
    return z;
}

static int32_t *ints(int64_t n)
{
    return test_calloc((size_t)n, sizeof(int32_t));
}

/* Integer operands.  The experts of a token are distinct. */
static struct context context_open(const struct op *op, const struct sizes *z,
                                   uint64_t seed)
{
    struct context c = { .op = op, .z = z };
    struct backend ref;
    int64_t experts = z->of[E];

    assert_int_equal(backend_open("ref", &ref, NULL), MUP_OK);
    c.key = random_key(seed, "test", op->name);
    c.token = ints(z->of[N]);
    c.target = ints(z->of[N]);
    c.expert = ints(z->of[R]);
    c.row = ints(z->of[R]);
    c.source = ints(z->of[R]);
    c.offset = ints(experts + 1);
    for (int64_t n = 0; n < z->of[N]; n++) {
        uint64_t at = 1000000 + (uint64_t)n * 8;

        c.token[n] = (int32_t)random_below(&c.key, at, z->of[V]);
        c.target[n] = (int32_t)random_below(&c.key, at + 1, z->of[V]);
        for (int64_t j = 0; j < z->of[k]; j++) {
            int64_t first = random_below(&c.key, at + 2, experts);
            int64_t e = (first + j) % experts;

            if (z->empty)
                e = (2 * (first + j)) % (experts - 1);
            c.expert[n * z->of[k] + j] = (int32_t)e;
        }
    }
    ref.ops->dispatch(&ref, c.row, c.source, c.offset, c.expert, z->of[R],
                      experts);
    return c;
}

static void context_close(struct context *c)
{
    test_free(c->token);
    test_free(c->target);
    test_free(c->expert);
    test_free(c->row);
    test_free(c->source);
    test_free(c->offset);
}

struct memory {
    void *base[MAX_ARRAYS];
    double *host[MAX_ARRAYS]; /* rows * stride doubles */
    struct view view[MAX_ARRAYS];
    int n;
};

static double initial(const struct context *c, enum use use, int slot,
                      int64_t i)
{
    uint64_t at = (uint64_t)slot << 32 | (uint64_t)i;

    if (use == POS)
        return (float)(0.1 + random_uniform(&c->key, at));
    if (use == IN || use == INOUT)
        return (float)random_normal(&c->key, at);
    return NAN;
}

/* Operands of one run; data starts `shift` elements after a 64-byte line and
 * rows are `pad` elements longer than they need to be. */
static void memory_open(struct backend *be, const struct context *c,
                        int64_t pad, int64_t shift, struct memory *m)
{
    *m = (struct memory){ 0 };
    if (c->op->contiguous)
        pad = 0;
    while (m->n < MAX_ARRAYS && c->op->slot[m->n].use != NONE) {
        const struct slot *s = &c->op->slot[m->n];
        int64_t rows = c->z->of[s->rows], cols = c->z->of[s->cols];
        int64_t stride = cols + pad;
        size_t size = (size_t)(rows * stride);
        double *x = test_malloc(size * sizeof(*x));
        char *base =
            be->ops->alloc(be, (size + (size_t)shift) * dtype_bytes(be->dtype));

        assert_non_null(base);
        for (int64_t i = 0; i < rows * stride; i++) {
            int64_t col = i % stride, at = i / stride * cols + col;

            x[i] = col < cols ? initial(c, s->use, m->n, at) : PAD_VALUE;
        }
        m->base[m->n] = base;
        m->host[m->n] = x;
        m->view[m->n] =
            (struct view){ base + (size_t)shift * dtype_bytes(be->dtype), rows,
                           cols, stride };
        be->ops->upload(be, m->view[m->n].data, x, rows * stride);
        m->n++;
    }
}

static void memory_download(struct backend *be, struct memory *m)
{
    for (int i = 0; i < m->n; i++)
        be->ops->download(be, m->host[i], m->view[i].data,
                          m->view[i].rows * m->view[i].stride);
}

static void memory_close(struct backend *be, struct memory *m)
{
    for (int i = 0; i < m->n; i++) {
        be->ops->free(be, m->base[i]);
        test_free(m->host[i]);
    }
}

/* Run an op, forward and backward, and fetch all of its arrays. */
static inline void run(struct backend *be, struct context *c, int64_t pad,
                       int64_t shift, struct memory *m)
{
    struct mup_error err;

    memory_open(be, c, pad, shift, m);
    c->op->forward(be, m->view, c);
    if (c->op->backward)
        c->op->backward(be, m->view, c);
    assert_int_equal(be->ops->sync(be, &err), MUP_OK);
    memory_download(be, m);
}
