#include "launcher/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct units_text units_seconds(double s)
{
    struct units_text u = { "?" };
    long long n;

    if (!(s >= 0) || s > 1e12)
        return u;
    if (s < 9.95) {
        snprintf(u.text, sizeof(u.text), "%.1f s", s);
        return u;
    }
    n = (long long)(s + 0.5);
    if (n < 60)
        snprintf(u.text, sizeof(u.text), "%lld s", n);
    else if (n < 3600)
        snprintf(u.text, sizeof(u.text), "%lldm%02llds", n / 60, n % 60);
    else if (n < 48 * 3600)
        snprintf(u.text, sizeof(u.text), "%lldh%02lldm", n / 3600, n / 60 % 60);
    else
        snprintf(u.text, sizeof(u.text), "%lldd%02lldh", n / 86400,
                 n / 3600 % 24);
    return u;
}

struct units_text units_bytes(double bytes)
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    struct units_text u;
    int i = 0;

    while (bytes >= 1024 && i < 4) {
        bytes /= 1024;
        i++;
    }
    snprintf(u.text, sizeof(u.text), i ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
    return u;
}

struct units_text units_si(double x, const char *unit)
{
    static const char *const prefix[] = { "", "k", "M", "G", "T", "P", "E" };
    struct units_text u;
    int i = 0;

    while (x >= 999.5 && i < 6) {
        x /= 1000;
        i++;
    }
    snprintf(u.text, sizeof(u.text),
             x < 99.95 && i ? "%.1f %s%.12s" : "%.0f %s%.12s", x, prefix[i],
             unit);
    return u;
}

struct units_text units_count(int64_t n)
{
    struct units_text u = { "" };
    char digits[24];
    size_t len, out = 0;

    snprintf(digits, sizeof(digits), "%lld", (long long)n);
    len = strlen(digits);
    for (size_t i = 0; i < len; i++) {
        u.text[out++] = digits[i];
        if (digits[i] != '-' && i + 1 < len && (len - i - 1) % 3 == 0)
            u.text[out++] = ',';
    }
    u.text[out] = 0;
    return u;
}

struct units_text units_log2(double x)
{
    struct units_text u;
    double e = log2(x);

    if (!(x > 0) || !isfinite(e))
        snprintf(u.text, sizeof(u.text), "%g", x);
    else if (fabs(e - round(e)) < 1e-9)
        snprintf(u.text, sizeof(u.text), "2^%.0f", e);
    else
        snprintf(u.text, sizeof(u.text), "2^%.2f", e);
    return u;
}
