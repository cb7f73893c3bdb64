#include "sweep/wider.h"

#include <math.h>
#include <stdio.h>

#include "mup/coord.h"

/* Rates this far from the optimum, in octaves, tell about its level. */
#define NEAR_OCTAVES 1.0
#define MAX_SEEDS    64

/* Differences of log loss between two neighbouring widths, a mean per seed. */
struct contrast {
    int64_t seed[MAX_SEEDS];
    double sum[MAX_SEEDS];
    int pairs[MAX_SEEDS];
    int n;
    double mean, squares; /* of the seeds' means; squares about the mean */
};

static void add_pair(struct contrast *c, int64_t seed, double difference)
{
    int s = 0;

    while (s < c->n && c->seed[s] != seed)
        s++;
    if (s == MAX_SEEDS)
        return; /* 64 seeds decide as well as 65 */
    if (s == c->n) {
        c->seed[s] = seed;
        c->sum[s] = c->pairs[s] = 0;
        c->n++;
    }
    c->sum[s] += difference;
    c->pairs[s]++;
}

static void compare(const struct transfer_run *runs, int n, double narrow,
                    double wide, double log2_lr, struct contrast *c)
{
    c->n = 0;
    c->mean = c->squares = 0;
    for (int i = 0; i < n; i++) {
        if (runs[i].width != narrow || !isfinite(runs[i].loss) ||
            fabs(log2(runs[i].lr) - log2_lr) > NEAR_OCTAVES)
            continue;
        for (int j = 0; j < n; j++)
            if (runs[j].width == wide && runs[j].seed == runs[i].seed &&
                runs[j].lr == runs[i].lr && isfinite(runs[j].loss))
                add_pair(c, runs[i].seed, log(runs[j].loss / runs[i].loss));
    }
    for (int s = 0; s < c->n; s++)
        c->mean += c->sum[s] / c->pairs[s] / c->n;
    for (int s = 0; s < c->n; s++)
        c->squares += pow(c->sum[s] / c->pairs[s] - c->mean, 2);
}

/* The sentence about neighbours w and w + 1; what: printed behind them. */
static void answer(const struct axes *axes, struct transfer_report *r, int w,
                   const char *what)
{
    const struct phrase both =
        axes_both(axes, r->optimum[w].width, r->optimum[w + 1].width);

    /* A comma between two numbers. */
    snprintf(r->wider_reason, sizeof(r->wider_reason),
             "near the %s 2^%.1f%s %s %s", axes->of.word, r->optimum[0].log2_lr,
             *axes->over.unit ? "," : "", both.text, what);
}

/* se[w]: standard error of pair w's mean, by df degrees of freedom.  "Every
 * one is better" needs each pair to be clear, so each is tested at 95 %; "some
 * one is worse" may be any of them, so they share the 5 % (Bonferroni). */
static void decide(const struct axes *axes, const struct contrast *pair,
                   const double *se, int df, struct transfer_report *r)
{
    double better = mup_student_t(0.90, df); /* one-sided 95 % */
    double worse = mup_student_t(1 - 0.10 / (r->n_widths - 1), df);
    char wrong[96];
    int unsure = -1;

    for (int w = 0; w + 1 < r->n_widths; w++) {
        if (pair[w].mean > worse * se[w]) {
            snprintf(wrong, sizeof(wrong),
                     "differ the wrong way: the %s one is worse",
                     axes->over.more);
            r->wider_is_better = 0;
            answer(axes, r, w, wrong);
            return;
        }
        if (pair[w].mean >= -better * se[w] && unsure < 0)
            unsure = w;
    }
    if (unsure >= 0) {
        answer(axes, r, unsure, "are too close to tell apart, add seeds");
        return;
    }
    r->wider_is_better = 1;
    snprintf(r->wider_reason, sizeof(r->wider_reason),
             "near the %s 2^%.1f every %s is better than the one before",
             axes->of.word, r->optimum[0].log2_lr, axes->over.word);
}

void wider_judge(const struct transfer_runs *runs, struct transfer_report *r)
{
    struct contrast pair[TRANSFER_MAX_WIDTHS];
    double se[TRANSFER_MAX_WIDTHS], squares = 0;
    char what[AXES_TEXT_BYTES + 32];
    int df = 0;

    r->wider_is_better = -1;
    for (int w = 0; w + 1 < r->n_widths; w++) {
        compare(runs->run, runs->n, r->optimum[w].width,
                r->optimum[w + 1].width, r->optimum[0].log2_lr, &pair[w]);
        if (pair[w].n == 0) {
            snprintf(what, sizeof(what), "have no %s and seed in common",
                     runs->axes->of.brief);
            answer(runs->axes, r, w, what);
            return;
        }
        squares += pair[w].squares;
        df += pair[w].n - 1;
    }
    if (df == 0) {
        answer(runs->axes, r, 0,
               "were compared with a single seed, which leaves unknown how "
               "much a seed shifts a whole curve, add seeds");
        return;
    }
    for (int w = 0; w + 1 < r->n_widths; w++)
        se[w] = sqrt(squares / df / pair[w].n);
    decide(runs->axes, pair, se, df, r);
}
