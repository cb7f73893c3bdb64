/* What is known of a proxy beyond its config, as far as the linter asks: the
 * texts it was trained on and, for the folder of a sweep, its trials, report
 * and coordinate check.  What is not there is marked as unknown, which is not
 * a failure. */
#ifndef SWEEP_EVIDENCE_H
#define SWEEP_EVIDENCE_H

#include "model/config.h"

/* A text.  tokens 0: unknown, or endless (synthetic). */
struct evidence_corpus {
    int64_t tokens;
    char tokenizer[64]; /* "" = unknown */
};

enum evidence_state { EVIDENCE_MISSING, EVIDENCE_STALE, EVIDENCE_CURRENT };

/* The report on the parametrization of the winner. */
struct evidence_report {
    int state; /* enum evidence_state; stale: trials were done since */
    char verdict[32], reason[256];
    int has_optimum; /* at the winner's width: */
    double log2_lr;
    double margin; /* octaves to the first diverged rate, or infinity */
    int edge;      /* -1, 0, +1 */
    int points;    /* learning rates around it */
};

/* coord-<winner's parametrization>/coord.json */
struct evidence_coord {
    int state; /* EVIDENCE_MISSING or _CURRENT: the linter finds it stale */
    char verdict[32], parametrization[32];
    int64_t ruleset; /* -1 = not said */
    double lr;       /* NaN = not said */
    int64_t widest;  /* 0 = not said */
    char config[17]; /* coord_config_hash, "" = not said */
};

/* The winner and the next best configuration at its place. */
struct evidence_top {
    int seeds;              /* that both were run with; 0 = unknown */
    int64_t winner, second; /* trials of the first such seed */
    double gap;             /* of the metric, mean over seeds */
    double noise;           /* standard error of that mean; NaN for one seed */
};

struct evidence {
    int sweep; /* nonzero: a sweep's folder was read, and so on */
    char dir[512];
    int64_t winner; /* trial that it is seen from */
    int64_t trials, waiting, done;
    struct evidence_report report;
    struct evidence_coord coord;
    struct evidence_top top;
    double load_max; /* of the winner: largest expert load over the mean, in the
                      * worst layer, over the last quarter; NaN = unknown */
    struct evidence_corpus proxy, target;
};

/* Nothing is known. */
void evidence_init(struct evidence *e);

/* The folder of a sweep, seen from one of its trials (the winner).
 * MUP_USAGE if there is no such trial; what the store says otherwise. */
int evidence_read(const char *dir, int64_t trial, struct evidence *e,
                  struct mup_error *err);

/* The texts behind data.train of both, where their files can be read; proxy
 * may be NULL.  That of a sweep's trial is known from its manifest already: the
 * file may be another by now. */
void evidence_read_corpora(const struct run_config *proxy,
                           const struct run_config *target, struct evidence *e);

#endif
