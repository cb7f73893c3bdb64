/* Which ranks are slower than the others at their own work.  Pure: times in,
 * names out. */
#ifndef MODEL_STRAGGLERS_H
#define MODEL_STRAGGLERS_H

/* A rank's last steps that are looked at, all of them: one slow step is no
 * slow rank. */
#define STRAGGLER_STEPS 9
/* A rank becomes a straggler at START times the median of the others and is
 * none below END times, so that it does not flicker between. */
#define STRAGGLER_START 1.5
#define STRAGGLER_END   1.25
/* ... seen this often in a row: within 20 steps in all. */
#define STRAGGLER_STREAK 8
/* Less than this above the others is the scheduler's doing: time slices of
 * other processes, which hit ranks in turn. */
#define STRAGGLER_NOISE_S 0.01

/* The last times of one rank, a ring. */
struct straggler_times {
    int n; /* ever */
    double s[STRAGGLER_STEPS];
};

void straggler_add(struct straggler_times *t, double compute_s);

/* Median of a rank's last steps in seconds; -1 while there are too few. */
double straggler_median(const struct straggler_times *t);

struct straggler_mark {
    int is_slow;
    int streak; /* judgements in a row that say otherwise */
};

/* mark[ranks], in and out, once a step: each rank's median against the median
 * of the OTHER ranks' medians, so that one of two is found too.  Left alone
 * until all ranks have enough steps.  scratch: ranks numbers. */
void straggler_judge(const double *median_s, int ranks, double *scratch,
                     struct straggler_mark *mark);

/* Median of the others' medians.  scratch as above. */
double straggler_others(const double *median_s, int ranks, int rank,
                        double *scratch);

#endif
