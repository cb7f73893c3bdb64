/* cmocka 1.1.5 compares reals as float; this compares them as double. */
#ifndef TESTS_CLOSE_H
#define TESTS_CLOSE_H

#include <math.h>

#define assert_close(a, b, tolerance)                                          \
    do {                                                                       \
        double close_a = (a), close_b = (b), close_t = (tolerance);            \
        if (!(fabs(close_a - close_b) <= close_t))                             \
            fail_msg(#a " is %.17g, not %.17g (+-%g)", close_a, close_b,       \
                     close_t);                                                 \
    } while (0)

#endif
