/* Choosing a backend, and helpers on views. */
/* RTLD_DEFAULT and mallopt are GNU. */
#define _GNU_SOURCE

#include "model/backend.h"

#include <dlfcn.h>
#include <malloc.h>
#include <string.h>

/* model/cpu/ref.c and fast.c, compiled once for each. */
extern const struct backend_ops ref_ops_f32, ref_ops_f64;
extern const struct backend_ops fast_ops_v2, fast_ops_v3, fast_ops_v4;

/* Above every scratch buffer that oneDNN asks for (0.25 MB seen). */
#define MALLOC_KEEP_BYTES (64 << 20)

static int runs_always(void)
{
    return 1;
}

static int runs_v2(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
}

static int runs_v3(void)
{
    return runs_v2() && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static int runs_v4(void)
{
    return runs_v3() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

/* Fastest first: the order in which "auto" and "fast" choose. */
static const struct choice {
    const char *name;
    const struct backend_ops *ops;
    int dtype;
    int (*runs)(void);
} choices[] = {
    { "fast-v4", &fast_ops_v4, DTYPE_F32, runs_v4 },
    { "fast-v3", &fast_ops_v3, DTYPE_F32, runs_v3 },
    { "fast-v2", &fast_ops_v2, DTYPE_F32, runs_v2 },
    { "ref", &ref_ops_f32, DTYPE_F32, runs_always },
    { "ref64", &ref_ops_f64, DTYPE_F64, runs_always },
};

#define N_CHOICES (sizeof(choices) / sizeof(choices[0]))

/* One process is one thread (a sweep fills the cores with processes).
 * Debian's oneDNN is an OpenMP build, and libgomp has read OMP_NUM_THREADS
 * before main starts, so the environment is too late: call the runtime, found
 * by name because nothing else of ours links to it.  A oneDNN with another
 * runtime has no such symbol and keeps its own setting.
 *
 * dnnl_sgemm takes and frees its packing buffers at every call; with glibc's
 * defaults buffers above 128 KB are mapped, faulted in and unmapped each
 * time.  Keep them in the heap. */
static void hold_libraries(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    void (*set_threads)(int);

    if (symbol) {
        memcpy(&set_threads, &symbol, sizeof(symbol));
        set_threads(1);
    }
    mallopt(M_MMAP_THRESHOLD, MALLOC_KEEP_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
}

int backend_open(const char *name, struct backend *out, struct mup_error *err)
{
    int any = !strcmp(name, "auto"), fast = !strcmp(name, "fast");

    __builtin_cpu_init();
    for (size_t i = 0; i < N_CHOICES; i++) {
        const struct choice *c = &choices[i];

        if (!any && !(fast && !strncmp(c->name, "fast", 4)) &&
            strcmp(name, c->name))
            continue;
        if (c->runs()) {
            hold_libraries();
            *out = (struct backend){ c->ops, c->name, c->dtype };
            return MUP_OK;
        }
        if (!any && !fast)
            return mup_fail(err, MUP_DEVICE,
                            "this CPU cannot run backend '%s'; use 'auto'",
                            name);
    }
    if (fast)
        return mup_fail(err, MUP_DEVICE,
                        "backend 'fast' needs a CPU with SSE4.2; use 'ref'");
    return mup_fail(err, MUP_USAGE,
                    "unknown backend '%s'; known are auto, fast, fast-v2, "
                    "fast-v3, fast-v4, ref and ref64",
                    name);
}

size_t dtype_bytes(int dtype)
{
    return dtype == DTYPE_F64 ? sizeof(double) : sizeof(float);
}

struct view view_rows(const struct backend *be, struct view x, int64_t first,
                      int64_t rows)
{
    size_t skip = (size_t)(first * x.stride) * dtype_bytes(be->dtype);

    x.data = (char *)x.data + skip;
    x.rows = rows;
    return x;
}

void *view_at(const struct backend *be, struct view x, int64_t element)
{
    size_t skip = (size_t)element * dtype_bytes(be->dtype);

    return x.data ? (char *)x.data + skip : NULL;
}

struct view view_of(void *data, int64_t rows, int64_t cols)
{
    return (struct view){ data, rows, cols, cols };
}
