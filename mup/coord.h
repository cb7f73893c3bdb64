/* Coordinate check: does the size of an activation, an update or a gradient
 * depend on width, or on depth?  Statistics and verdicts only; recording is the
 * trainer's business.
 *
 * A row is one quantity at one training step, observed at several sizes of the
 * model and several seeds.  Its slope is d log2(value) / d log2(size), fitted
 * by least squares; the interval comes from the scatter between seeds and
 * around the fitted lines, pooled over rows that are of one kind.  Steps count
 * from 1 = initialisation (before the first update).
 *
 *     const double width[] = { 128, 256, 512 };
 *     const struct mup_coord_setup setup = { .size = width, .n_sizes = 3,
 *                                            .n_seeds = 2 };
 *     struct mup_coord_row row = { .name = "mlp.out", .step = 2,
 *                                  .quantity = MUP_ACTIVATION };
 *
 *     rc = mup_coord_judge(&row, &setup, value, &err); */
#ifndef MUP_COORD_H
#define MUP_COORD_H

#include "mup/mup.h"

#ifdef __cplusplus
extern "C" {
#endif

/* |slope| up to OK passes; it fails where its whole interval of confidence
 * SURE lies beyond FAIL; the rest is inconclusive (docs/mathematics.md says why
 * these numbers).  Where theory expects another slope than 0, within FAIL of it
 * is "expected". */
#define MUP_COORD_OK   0.10
#define MUP_COORD_FAIL 0.25
#define MUP_COORD_SURE 0.99
/* Standard deviation of one seed's slope where the data have none to show, two
 * sizes and one seed: about the largest that was seen. */
#define MUP_COORD_SCATTER 0.2
/* A check with more than this share of inconclusive rows decides nothing.  A
 * wrong exponent moves a slope by 1/2 or more, so no inconclusive row hides
 * one; small widths just leave many slopes short of their limit. */
#define MUP_COORD_OPEN (1.0 / 3)

enum mup_verdict {
    MUP_VERDICT_OK,
    MUP_VERDICT_EXPECTED, /* departs from 0 as the theory says it must */
    MUP_VERDICT_FAIL,
    MUP_VERDICT_INCONCLUSIVE,
    MUP_VERDICT_COUNT,
};

/* What is measured: decides the expected slope and the likely cause that a
 * failure names.  x_0 and W_0 are those of step 1. */
enum mup_quantity {
    MUP_ACTIVATION,        /* hidden activation, inside or after a branch */
    MUP_STREAM,            /* the residual stream, a sum over the layers */
    MUP_ATTENTION_LOGITS,  /* q.k, scaled, before the soft-cap */
    MUP_ROUTER_LOGITS,     /* fall as width^-1/2 at step 1, less later */
    MUP_OUTPUT_LOGITS,     /* fall as width^-1/2 at step 1, less later */
    MUP_GATED,             /* weighted by gates that follow router logits */
    MUP_UPDATE,            /* rms of (W_t - W_0) x; absent at step 1 */
    MUP_INPUT_UPDATE,      /* the same of an embedding: u-muP lets it fall */
    MUP_DOT_UPDATE,        /* the same where it may fall, as a dot_gradient */
    MUP_PROPAGATED,        /* rms of W_0 (x_t - x_0); absent at step 1 */
    MUP_PROPAGATED_LOGITS, /* the same of a readout or router: falls too */
    MUP_CHANGE,            /* rms of x_t - x_0; absent at step 1 */
    MUP_GRADIENT,          /* rms of an entry over its epsilon factor */
    MUP_DOT_GRADIENT,      /* the same, through a dot product of width terms */
    MUP_GATE_SPREAD,       /* largest minus smallest gate; 0 is a tie */
    MUP_LOAD, /* largest expert load over the mean: may rise after step 1 */
    MUP_STATISTIC, /* gate entropy, anything else that must be flat */
    MUP_QUANTITY_COUNT,
};

/* What differs between the sizes: the width by the number of heads, by the size
 * of a head, or the number of layers at one width. */
enum mup_grow { MUP_GROW_WIDTH, MUP_GROW_HEAD_SIZE, MUP_GROW_DEPTH };

/* How the observations were made.  parametrization decides which slope logits
 * must have at step 1: MUP_COORD_UNKNOWN leaves them both. */
#define MUP_COORD_UNKNOWN (-1)
struct mup_coord_setup {
    const double *size; /* widths, or numbers of layers */
    int n_sizes, n_seeds;
    int grow;            /* enum mup_grow */
    int parametrization; /* enum mup_parametrization */
    int depth;           /* enum mup_depth, read where layers grow */
};

struct mup_coord_row {
    const char *name; /* for sentences, e.g. "blocks.0.moe.router.logits" */
    int quantity;     /* enum mup_quantity */
    int step;         /* 1 = initialisation */
    int in_block;     /* inside a residual branch, where depth rules act */
    int kind;         /* 0 .. n_kinds-1 for mup_coord_pool */
    double slope;     /* mean of the per-seed slopes */
    double slope_lo;  /* its 95 % interval */
    double slope_hi;
    double variance;   /* of one seed's slope, by this row alone; */
    int df;            /* degrees of freedom behind it, 0 = none */
    double expected;   /* the slope that theory expects here, at most */
    double off;        /* how far slope is from what is sound, signed */
    int verdict;       /* enum mup_verdict */
    const char *cause; /* likely cause where verdict is FAIL, else "" */
};

/* Fill slope, interval, expected, off, verdict and cause of row, whose name,
 * quantity, step and in_block are set.  value[s * n_sizes + i] is the
 * observation of seed s at size[i]; non-finite or non-positive observations
 * make the row FAIL with slope NAN (a quantity that died or exploded), except
 * that zero everywhere is "expected" where a zero-initialised readout or query
 * explains it.  MUP_USAGE, row untouched, for fewer than 2 different sizes or 1
 * seed. */
int mup_coord_judge(struct mup_coord_row *row,
                    const struct mup_coord_setup *setup, const double *value,
                    struct mup_error *err);

/* Scatter of the rows of one kind. */
struct mup_coord_noise {
    double squares;
    int df;
};

/* Judge rows that mup_coord_judge has judged again, by the scatter of all rows
 * of their kind: the same tensor at other steps and in other blocks.  A single
 * row's three seeds know little of their own noise.  noise has room for
 * n_kinds and is overwritten. */
void mup_coord_pool(struct mup_coord_row *rows, int n_rows,
                    const struct mup_coord_setup *setup,
                    struct mup_coord_noise *noise, int n_kinds);

/* Whether a first row is worse than a second: FAIL before inconclusive before
 * expected before ok, then by how far it is off. */
int mup_coord_worse(const struct mup_coord_row *a,
                    const struct mup_coord_row *b);

/* Overall: FAIL if any row fails, else INCONCLUSIVE if more than
 * MUP_COORD_OPEN of the rows are or there is none after the first update, else
 * OK.  *worst (may be
 * NULL) receives the index of the row farthest from its expected slope among
 * those that fail, or else are inconclusive (-1 for none). */
int mup_coord_overall(const struct mup_coord_row *rows, int n_rows, int *worst);

/* t with P(|T| <= t) = confidence for Student's t with df degrees of freedom,
 * e.g. 4.303 for (0.95, 2); NAN for arguments that make no sense. */
double mup_student_t(double confidence, int df);

const char *mup_verdict_name(int verdict); /* ok expected FAIL inconclusive */
/* The same of a whole check: PASS FAIL INCONCLUSIVE */
const char *mup_coord_overall_name(int verdict);
const char *mup_quantity_name(int quantity); /* as in coord.csv */
const char *mup_grow_name(int grow);         /* width head_size depth */

#ifdef __cplusplus
}
#endif

#endif
