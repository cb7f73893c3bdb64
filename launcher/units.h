/* Numbers with units, for people. */
#ifndef LAUNCHER_UNITS_H
#define LAUNCHER_UNITS_H

#include <stddef.h>
#include <stdint.h>

#define UNITS_BYTES 32 /* a buffer that holds any of these texts */

struct units_text {
    char text[UNITS_BYTES];
};

struct units_text units_seconds(double s);   /* "0.4 s" "3m20s" "2h05m" */
struct units_text units_bytes(double bytes); /* "12.3 MiB" */
struct units_text units_si(double x, const char *unit); /* "20.1 TFLOP" */
struct units_text units_count(int64_t n);               /* "409,600" */
struct units_text units_log2(double x);                 /* "2^-6.1" */

#endif
