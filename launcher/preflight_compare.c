/* What all nodes said, judged together: pure functions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/preflight.h"
#include "launcher/units.h"

/* A node is slow below this share of the median. */
#define SLOW_SHARE (1.0 / 3)
/* Disks are shared and wait for others: only what is far out counts. */
#define SLOW_DISK_SHARE 0.1
/* ... and not one that writes the probe in half a second: beside a cache, any
 * disk that has to wait once is ten times slower. */
#define FINE_DISK 2e7 /* B/s */
/* What an answer may wait on its way is part of a skew. */
#define MAX_SKEW_S 5.0

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts; 0 of none. */
static double median(double *x, int n)
{
    if (n == 0)
        return 0;
    qsort(x, (size_t)n, sizeof(*x), compare_doubles);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* --- answers --- */

/* One of the speeds. */
struct speed {
    const char *what, *unit;
    double share, fine; /* fine: fast enough, whatever others do */
    double (*of)(const struct preflight_result *r);
};

static double memory_of(const struct preflight_result *r)
{
    return r->memory_bytes_per_s;
}

static double products_of(const struct preflight_result *r)
{
    return r->gemm_flops_per_s;
}

static double disk_of(const struct preflight_result *r)
{
    return r->disk_bytes_per_s;
}

static const struct speed speeds[] = {
    { "matrix products", "FLOP/s", SLOW_SHARE, 0, products_of },
    { "memory", "B/s", SLOW_SHARE, 0, memory_of },
    { "disk", "B/s", SLOW_DISK_SHARE, FINE_DISK, disk_of },
};

static void compare_speed(const struct preflight_answer *answers, int n,
                          const struct speed *speed, double *scratch,
                          char (*bad)[PREFLIGHT_TEXT_BYTES])
{
    double middle;
    int used = 0;

    for (int i = 0; i < n; i++)
        if (answers[i].answered && !answers[i].result.bad[0] &&
            speed->of(&answers[i].result) > 0)
            scratch[used++] = speed->of(&answers[i].result);
    middle = median(scratch, used);
    for (int i = 0; i < n; i++) {
        double own = speed->of(&answers[i].result);

        if (bad[i][0] || own <= 0 || own >= speed->share * middle ||
            (speed->fine > 0 && own >= speed->fine))
            continue;
        snprintf(bad[i], sizeof(bad[i]), "its %s: %s, the median node's: %s",
                 speed->what, units_si(own, speed->unit).text,
                 units_si(middle, speed->unit).text);
    }
}

/* The supervisor's own clock has a vote, so that two nodes can be told apart.
 */
static void compare_clocks(const struct preflight_answer *answers, int n,
                           double *scratch, char (*bad)[PREFLIGHT_TEXT_BYTES])
{
    double middle;
    int used = 0;

    scratch[used++] = 0;
    for (int i = 0; i < n; i++)
        if (answers[i].answered)
            scratch[used++] = answers[i].skew_s;
    middle = median(scratch, used);
    for (int i = 0; i < n; i++) {
        double off = answers[i].skew_s - middle;

        if (!bad[i][0] && fabs(off) > MAX_SKEW_S)
            snprintf(bad[i], sizeof(bad[i]),
                     "its clock is %.1f s %s the other nodes'; set it (chrony "
                     "or ntp)",
                     fabs(off), off > 0 ? "ahead of" : "behind");
    }
}

void preflight_compare(const struct preflight_answer *answers, int n,
                       char (*bad)[PREFLIGHT_TEXT_BYTES])
{
    double *scratch = calloc((size_t)n + 1, sizeof(*scratch));

    for (int i = 0; i < n; i++) {
        bad[i][0] = '\0';
        if (!answers[i].answered)
            snprintf(bad[i], sizeof(bad[i]),
                     "it gave no readable answer to the check in time");
        else if (answers[i].result.bad[0])
            snprintf(bad[i], sizeof(bad[i]), "%s", answers[i].result.bad);
        else if (!scratch)
            snprintf(bad[i], sizeof(bad[i]),
                     "it cannot be compared: out of memory");
    }
    if (scratch)
        compare_clocks(answers, n, scratch, bad);
    for (size_t i = 0; scratch && i < sizeof(speeds) / sizeof(speeds[0]); i++)
        compare_speed(answers, n, &speeds[i], scratch, bad);
    free(scratch);
}

/* --- bandwidth --- */

/* The circle method: all but the last place turn round it; an odd number has
 * an empty last place. */
void preflight_pairs(int n, int round, int *pair)
{
    const int circle = (n + n % 2) - 1;

    for (int i = 0; i < n; i++) {
        int other = ((round - i) % circle + circle) % circle;

        if (i == circle) /* whose partner is the one that meets itself */
            for (other = 0; (2 * other - round) % circle != 0;)
                other++;
        else if (other == i)
            other = circle;
        pair[i] = other < n ? other : -1;
    }
}

static void keep_best(double *best, double rate)
{
    if (rate > *best)
        *best = rate;
}

/* p's end that is slow with the other one, which is at speed with somebody; -1:
 * neither.  limit: below it the best of a node is slow. */
static int slow_end(const struct preflight_pair *p, const double *best,
                    double limit)
{
    if (best[p->a] < limit && best[p->b] >= limit)
        return p->a;
    if (best[p->b] < limit && best[p->a] >= limit)
        return p->b;
    return -1;
}

void preflight_find_slow(const struct preflight_pair *pairs, int n_pairs, int n,
                         char (*bad)[PREFLIGHT_TEXT_BYTES])
{
    double *best = calloc((size_t)n + 1, sizeof(*best));
    double *sorted = calloc((size_t)n + 1, sizeof(*sorted));
    double middle = 0;

    for (int i = 0; i < n; i++)
        bad[i][0] = '\0';
    for (int p = 0; best && p < n_pairs; p++) {
        keep_best(&best[pairs[p].a], pairs[p].bytes_per_s);
        keep_best(&best[pairs[p].b], pairs[p].bytes_per_s);
    }
    /* Of nodes and not of pairs: a slow node of three is in most pairs. */
    if (best && sorted) {
        memcpy(sorted, best, (size_t)n * sizeof(*best));
        middle = median(sorted, n);
    }
    for (int p = 0; best && middle > 0 && p < n_pairs; p++) {
        const int who = slow_end(&pairs[p], best, SLOW_SHARE * middle);

        if (who >= 0 && best[who] > 0)
            snprintf(bad[who], sizeof(bad[who]),
                     "its network: %s to others, which have %s between them",
                     units_si(best[who], "B/s").text,
                     units_si(middle, "B/s").text);
        else if (who >= 0)
            snprintf(bad[who], sizeof(bad[who]),
                     "other nodes do not reach it, or it does not reach them");
    }
    free(best);
    free(sorted);
}
