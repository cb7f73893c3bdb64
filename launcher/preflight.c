#include "launcher/preflight.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launcher/preflight_gpu.h"
#include "launcher/preflight_parts.h"
#include "model/clock.h"

/* A node that is slow on purpose, and a clock that is wrong. */
#define DRILL_TIMES  10
#define DRILL_SKEW_S 3600.0

void preflight_bad(struct preflight_result *r, const char *format, ...)
{
    va_list ap;

    if (r->bad[0])
        return;
    va_start(ap, format);
    if (vsnprintf(r->bad, sizeof(r->bad), format, ap) <= 0)
        snprintf(r->bad, sizeof(r->bad), "the check failed");
    va_end(ap);
}

static void check_devices(const struct preflight_options *o,
                          struct preflight_result *r)
{
    if (o->drill == DRILL_DEVICE)
        (void)preflight_gpu_read("0, GPU-drill, 1, No, No\n", o->gpus, r->bad,
                                 sizeof(r->bad));
    else if (o->gpus > 0)
        r->gpus = preflight_gpu_check(o->gpus, o->gpu_file, o->xid_file, r->bad,
                                      sizeof(r->bad));
}

void preflight_run(const struct preflight_options *o,
                   struct preflight_result *out)
{
    struct preflight_result r = { 0 };
    double start_s = clock_s();
    struct timespec now;

    while (o->drill == DRILL_HANG)
        (void)pause();
    check_devices(o, &r);
    if (!r.bad[0])
        preflight_memory(o, &r);
    if (!r.bad[0])
        preflight_products(o, &r);
    if (!r.bad[0])
        preflight_disks(o, &r);
    if (o->drill == DRILL_SLOW) {
        r.memory_bytes_per_s /= DRILL_TIMES;
        r.gemm_flops_per_s /= DRILL_TIMES;
        r.disk_bytes_per_s /= DRILL_TIMES;
    }
    r.seconds = clock_s() - start_s;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    r.wall_unix_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec +
                    (o->drill == DRILL_CLOCK ? DRILL_SKEW_S : 0);
    *out = r;
}

/* --- the answer as text --- */

/* The sentence passes through JSON, a line and a terminal. */
static void make_plain(const char *text, char out[PREFLIGHT_TEXT_BYTES])
{
    size_t n = 0;

    for (; n < PREFLIGHT_TEXT_BYTES - 1 && text[n]; n++) {
        const char c = text[n];

        out[n] = (char)((unsigned char)c < ' ' || (unsigned char)c > 126 ? '?'
                        : c == '"' || c == '\\'                          ? '\''
                                                                         : c);
    }
    out[n] = '\0';
}

static double finite_or_0(double x)
{
    return isfinite(x) ? x : 0;
}

void preflight_format(const struct preflight_result *r, char *out, size_t bytes)
{
    char bad[PREFLIGHT_TEXT_BYTES];

    make_plain(r->bad, bad);
    snprintf(out, bytes,
             "{\"bad\":\"%s\",\"seconds\":%.3f,\"memory_bytes_per_s\":%.6g,"
             "\"gemm_flops_per_s\":%.6g,\"disk_bytes_per_s\":%.6g,"
             "\"wall_unix_s\":%.3f,\"gpus\":%d,\"cpus\":%d}",
             bad, finite_or_0(r->seconds), finite_or_0(r->memory_bytes_per_s),
             finite_or_0(r->gemm_flops_per_s), finite_or_0(r->disk_bytes_per_s),
             finite_or_0(r->wall_unix_s), r->gpus, r->cpus);
}

static int take_number(const json_t *o, const char *key, double *out)
{
    const json_t *value = json_object_get(o, key);

    *out = json_number_value(value);
    return json_is_number(value) && isfinite(*out) && *out >= 0;
}

static int take_count(const json_t *o, const char *key, int *out)
{
    const json_t *value = json_object_get(o, key);
    const json_int_t n = json_integer_value(value);

    *out = (int)(n < INT32_MAX ? n : INT32_MAX);
    return json_is_integer(value) && n >= 0;
}

int preflight_parse(const char *text, struct preflight_result *out,
                    struct mup_error *err)
{
    struct preflight_result r = { 0 };
    json_t *o = json_loads(text, 0, NULL);
    const char *bad = json_string_value(json_object_get(o, "bad"));
    int valid = bad && strlen(bad) < sizeof(r.bad) &&
                take_number(o, "seconds", &r.seconds) &&
                take_number(o, "memory_bytes_per_s", &r.memory_bytes_per_s) &&
                take_number(o, "gemm_flops_per_s", &r.gemm_flops_per_s) &&
                take_number(o, "disk_bytes_per_s", &r.disk_bytes_per_s) &&
                take_number(o, "wall_unix_s", &r.wall_unix_s) &&
                take_count(o, "gpus", &r.gpus) &&
                take_count(o, "cpus", &r.cpus);

    if (valid) {
        make_plain(bad, r.bad);
        *out = r;
    }
    json_decref(o);
    return valid ? MUP_OK
                 : mup_fail(err, MUP_CORRUPT,
                            "the answer of a node's check cannot be read");
}
