/* Numbers as people write them.  The grammar is checked here, so that
 * strtod's other inputs (hexadecimal, inf, nan, blanks) never reach it. */
#include "configs/field.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES 128

/* A decimal or whole number split into plain C syntax, and after '^' or '**'
 * an exponent of the same kind.  "-" before a power applies to its result. */
struct number {
    int negative;
    char base[NUMBER_BYTES]; /* no sign */
    char power[NUMBER_BYTES];
    int base_whole, power_whole; /* digits only (power: after its '-') */
    int has_power;
};

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Copy digits without their '_' separators, which must stand between digits.
 * Returns how many digits, or -1 for a misplaced '_' or no room. */
static int take_digits(const char **text, char *out, size_t *used)
{
    const char *p = *text;
    int n = 0;

    for (; is_digit(*p) || *p == '_'; p++) {
        if (*p == '_') {
            if (n == 0 || !is_digit(p[1]))
                return -1;
            continue;
        }
        if (*used + 2 > NUMBER_BYTES)
            return -1;
        out[(*used)++] = *p;
        n++;
    }
    *text = p;
    out[*used] = '\0';
    return n;
}

static int put(char *out, size_t *used, char c)
{
    if (*used + 2 > NUMBER_BYTES)
        return 0;
    out[(*used)++] = c;
    out[*used] = '\0';
    return 1;
}

/* digits [. digits] [e [sign] digits]; at least one digit before the e. */
static int take_decimal(const char **text, char *out, size_t *used, int *whole)
{
    int n = take_digits(text, out, used), m = 0;

    if (n < 0)
        return 0;
    *whole = 1;
    if (**text == '.') {
        *whole = 0;
        ++*text;
        if (!put(out, used, '.'))
            return 0;
        m = take_digits(text, out, used);
    }
    if (m < 0 || n + m == 0)
        return 0;
    if (**text == 'e' || **text == 'E') {
        *whole = 0;
        ++*text;
        if (!put(out, used, 'e'))
            return 0;
        if (**text == '-' || **text == '+') {
            if (!put(out, used, **text))
                return 0;
            ++*text;
        }
        if (take_digits(text, out, used) < 1)
            return 0;
    }
    return 1;
}

static int split(const char *text, struct number *n)
{
    const char *p = text;
    size_t used = 0;

    memset(n, 0, sizeof(*n));
    if (*p == '-' || *p == '+')
        n->negative = *p++ == '-';
    if (!take_decimal(&p, n->base, &used, &n->base_whole))
        return 0;
    if (*p == '\0')
        return 1;
    if (*p == '^')
        p++;
    else if (p[0] == '*' && p[1] == '*')
        p += 2;
    else
        return 0;
    n->has_power = 1;
    used = 0;
    if (*p == '-' || *p == '+') {
        if (*p == '-')
            put(n->power, &used, '-');
        p++;
    }
    return take_decimal(&p, n->power, &used, &n->power_whole) && *p == '\0';
}

static int all_zero(const char *digits)
{
    for (; *digits && *digits != 'e'; digits++) {
        if (*digits != '0' && *digits != '.')
            return 0;
    }
    return 1;
}

static double real_of(const struct number *n)
{
    double v = strtod(n->base, NULL);

    if (n->has_power)
        v = pow(v, strtod(n->power, NULL));
    return n->negative ? -v : v;
}

/* Is v 0 only because it is too small for a double? */
static int vanished(const struct number *n, double v)
{
    return fpclassify(v) == FP_ZERO && !all_zero(n->base);
}

int parse_real(const char *text, double *out, struct mup_error *err)
{
    struct number n;
    double v;

    if (!split(text, &n))
        return mup_fail(err, MUP_USAGE, "'%.60s' is not a number", text);
    v = real_of(&n);
    if (!isfinite(v))
        return mup_fail(err, MUP_USAGE, "'%.60s' is too large", text);
    if (vanished(&n, v))
        return mup_fail(err, MUP_USAGE, "'%.60s' is too close to 0", text);
    *out = v;
    return MUP_OK;
}

/* base^power by multiplication, exact; 0 where it does not fit. */
static int whole_power(int64_t base, int64_t power, int64_t *out)
{
    int64_t v = 1;

    if (base <= 1) { /* 0^0 is 1, as in pow() */
        *out = power == 0 ? 1 : base;
        return 1;
    }
    for (; power > 0; power--) {
        if (v > INT64_MAX / base)
            return 0;
        v *= base;
    }
    *out = v;
    return 1;
}

static int whole(const char *digits, int negative, int64_t *out)
{
    char signed_digits[NUMBER_BYTES + 1];
    long long v;

    signed_digits[0] = negative ? '-' : '+';
    memcpy(signed_digits + 1, digits, strlen(digits) + 1);
    errno = 0;
    v = strtoll(signed_digits, NULL, 10);
    if (errno == ERANGE)
        return 0;
    *out = v;
    return 1;
}

/* 1 and *out, 0 for a number that does not fit, -1 for no whole number. */
static int int_of(const struct number *n, int64_t *out)
{
    int64_t base, power;
    double v;

    if (n->base_whole && !n->has_power)
        return whole(n->base, n->negative, out);
    if (n->base_whole && n->power_whole && n->power[0] != '-') {
        if (!whole(n->base, 0, &base) || !whole(n->power, 0, &power) ||
            !whole_power(base, power, &base))
            return 0;
        *out = n->negative ? -base : base;
        return 1;
    }
    /* 1e6, 2.5e3: a double, exact up to 2^53 */
    v = real_of(n);
    if (!isfinite(v) || fabs(v) > 9007199254740992.0)
        return 0;
    if (floor(v) < v || vanished(n, v))
        return -1;
    *out = (int64_t)v;
    return 1;
}

int parse_int(const char *text, int64_t *out, struct mup_error *err)
{
    struct number n;
    int64_t v = 0;
    int fits = split(text, &n) ? int_of(&n, &v) : -1;

    if (fits < 0)
        return mup_fail(err, MUP_USAGE, "'%.60s' is not a whole number", text);
    if (fits == 0)
        return mup_fail(err, MUP_USAGE, "'%.60s' is too large", text);
    *out = v;
    return MUP_OK;
}

/* "1e-05" to "1e-5", "1e+20" to "1e20". */
static void trim_exponent(char *text)
{
    char *e = strchr(text, 'e'), *from, *to;

    if (!e)
        return;
    from = to = e + 1;
    if (*from == '+')
        from++;
    else if (*from == '-')
        *to++ = *from++;
    while (*from == '0' && from[1])
        from++;
    memmove(to, from, strlen(from) + 1);
}

void format_real(double value, char *buffer, size_t bytes)
{
    char best[40], plain[40];
    int precision, magnitude;

    if (isnan(value) || isinf(value)) {
        snprintf(buffer, bytes, "%s",
                 isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf"));
        return;
    }
    for (precision = 1; precision < 18; precision++) {
        snprintf(best, sizeof(best), "%.*g", precision, value);
        if (strtod(best, NULL) == value) /* %g keeps the sign of a zero */
            break;
    }
    trim_exponent(best);
    /* 1000 rather than 1e3, where it is no more than two bytes longer */
    magnitude =
        fpclassify(value) == FP_ZERO ? 0 : (int)floor(log10(fabs(value))) + 1;
    if (magnitude > precision && magnitude <= 15) {
        snprintf(plain, sizeof(plain), "%.*g", magnitude, value);
        if (!strchr(plain, 'e') && strlen(plain) <= strlen(best) + 2)
            memcpy(best, plain, strlen(plain) + 1);
    }
    snprintf(buffer, bytes, "%s", best);
}
