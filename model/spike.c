#include "model/spike.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const struct spike *s)
{
    int n = s->seen < SPIKE_WINDOW ? (int)s->seen : SPIKE_WINDOW;
    double sorted[SPIKE_WINDOW];

    memcpy(sorted, s->norm, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), ascending);
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

double spike_threshold(const struct spike *s, double limit)
{
    return limit > 0 && s->seen >= SPIKE_LEAST ? limit * median(s) : 0;
}

int spike_is(struct spike *s, double limit, double norm)
{
    double threshold = spike_threshold(s, limit);

    if (threshold > 0 && norm > threshold) {
        s->skipped++;
        s->in_row++;
        return 1;
    }
    s->in_row = 0;
    s->norm[s->seen++ % SPIKE_WINDOW] = norm;
    return 0;
}
