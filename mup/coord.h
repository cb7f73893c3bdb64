/* Coordinate check: does the size of an activation or an update depend on
 * width?  Statistics and verdicts only; recording is the trainer's business.
 *
 * A row is one quantity at one training step, observed at several widths and
 * seeds.  Its slope is d log2(value) / d log2(width), fitted by least squares;
 * the interval comes from the spread of the per-seed slopes.  Steps count from
 * 1 = initialisation (before the first update). */
#ifndef MUP_COORD_H
#define MUP_COORD_H

#include "mup/mup.h"

/* |slope| up to OK passes; above FAIL it fails, unless the interval over
 * seeds still reaches the OK band; the rest is inconclusive
 * (docs/mathematics.md says why these numbers).  Where logits are expected to
 * fall, a fall by no more than FAIL beyond that is "expected". */
#define MUP_COORD_OK   0.10
#define MUP_COORD_FAIL 0.25
/* A check with more than this share of inconclusive rows decides nothing.  A
 * wrong exponent moves a slope by 1/2 or more, so no inconclusive row hides
 * one; small widths just leave many slopes short of their limit. */
#define MUP_COORD_OPEN (1.0 / 3)

enum mup_verdict {
    MUP_VERDICT_OK,
    MUP_VERDICT_EXPECTED, /* departs from 0 as the theory says it must */
    MUP_VERDICT_FAIL,
    MUP_VERDICT_INCONCLUSIVE,
};

/* What is measured: decides the expected slope at initialisation and the
 * likely cause that a failure names. */
enum mup_quantity {
    MUP_ACTIVATION,       /* hidden activation, inside or after a branch */
    MUP_ATTENTION_LOGITS, /* q.k, scaled, before the soft-cap */
    MUP_ROUTER_LOGITS,    /* fall as width^-1/2 at step 1, less later */
    MUP_OUTPUT_LOGITS,    /* fall as width^-1/2 at step 1, less later */
    MUP_GATED,            /* weighted by gates that follow router logits */
    MUP_UPDATE,           /* rms of (W_t - W_0) x; absent at step 1 */
    MUP_STATISTIC,        /* gate entropy, expert load: judged from step 1 */
};

struct mup_coord_row {
    const char *name;  /* as recorded, e.g. "blocks.0.moe.router.logits" */
    int quantity;      /* enum mup_quantity */
    int step;          /* 1 = initialisation */
    double slope;      /* mean of the per-seed slopes */
    double slope_lo;   /* 95 % interval over seeds; equal to slope for */
    double slope_hi;   /* a single seed */
    double expected;   /* the slope that theory expects here */
    int verdict;       /* enum mup_verdict */
    const char *cause; /* likely cause where verdict is FAIL, else "" */
};

/* Fill slope, interval, expected, verdict and cause of row, whose name,
 * quantity and step are set.  value[s * n_widths + w] is the observation of
 * seed s at width[w]; non-finite or non-positive observations make the row
 * FAIL with slope NAN (a quantity that died or exploded), except that zero
 * everywhere is "expected" for logits at step 1 and updates at step 2
 * (zero-initialised readout or query).  head_size_grows: attention logits may
 * then fall as width^-1/2.  MUP_USAGE, row untouched, for fewer than
 * 2 different widths or 1 seed. */
int mup_coord_judge(struct mup_coord_row *row, const double *width,
                    int n_widths, const double *value, int n_seeds,
                    int head_size_grows, struct mup_error *err);

/* Overall: FAIL if any row fails, else INCONCLUSIVE if more than
 * MUP_COORD_OPEN of the rows are or there is none, else OK.  *worst (may be
 * NULL) receives the index of the row farthest from its expected slope among
 * those that fail, or else are inconclusive (-1 for none). */
int mup_coord_overall(const struct mup_coord_row *rows, int n_rows, int *worst);

/* t with P(|T| <= t) = confidence for Student's t with df degrees of freedom,
 * e.g. 4.303 for (0.95, 2); NAN for arguments that make no sense. */
double mup_student_t(double confidence, int df);

const char *mup_verdict_name(int verdict); /* ok expected FAIL inconclusive */

#endif
