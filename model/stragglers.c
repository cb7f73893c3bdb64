#include "model/stragglers.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts x. */
static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof(*x), compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

void straggler_add(struct straggler_times *t, double compute_s)
{
    t->s[t->n % STRAGGLER_STEPS] = compute_s;
    /* Only whether the ring is full and where it goes on matters. */
    t->n = t->n + 1 < 2 * STRAGGLER_STEPS ? t->n + 1 : STRAGGLER_STEPS;
}

double straggler_median(const struct straggler_times *t)
{
    double sorted[STRAGGLER_STEPS];

    if (t->n < STRAGGLER_STEPS)
        return -1;
    memcpy(sorted, t->s, sizeof(sorted));
    return median(sorted, STRAGGLER_STEPS);
}

double straggler_others(const double *median_s, int ranks, int rank,
                        double *scratch)
{
    int n = 0;

    for (int i = 0; i < ranks; i++)
        if (i != rank)
            scratch[n++] = median_s[i];
    return n ? median(scratch, n) : median_s[rank];
}

void straggler_judge(const double *median_s, int ranks, double *scratch,
                     struct straggler_mark *mark)
{
    for (int i = 0; i < ranks; i++)
        if (median_s[i] < 0)
            return;
    for (int i = 0; i < ranks; i++) {
        double others = straggler_others(median_s, ranks, i, scratch);
        double limit = mark[i].is_slow ? STRAGGLER_END : STRAGGLER_START;
        int is_slow = median_s[i] > limit * others &&
                      median_s[i] > others + STRAGGLER_NOISE_S;

        mark[i].streak = is_slow == mark[i].is_slow ? 0 : mark[i].streak + 1;
        if (mark[i].streak == STRAGGLER_STREAK)
            mark[i] = (struct straggler_mark){ .is_slow = is_slow };
    }
}
