/* When to save a checkpoint and which ones to keep: pure functions of the
 * section `checkpoint` of the config and of what was measured. */
#ifndef MODEL_CHECKPOINT_POLICY_H
#define MODEL_CHECKPOINT_POLICY_H

#include "model/config.h"

struct checkpoint_policy {
    /* At most one of these three; none: only when stopped and at the end. */
    int64_t every_steps;
    double every_s;
    int automatic;
    int64_t keep_last;  /* at least 1 */
    int64_t keep_every; /* steps that stay for ever, 0 = none */
    double quota_bytes; /* 0 = none */
    double mtbf_s;
    int64_t trusted; /* the newest one up to this step stays too, 0 = none */
};

/* checkpoint.every: "0", "200", "200 steps", "10 min", "10 minutes", "auto";
 * checkpoint.keep: "last 3", "last 3, every 1000".  MUP_USAGE; the sentence
 * begins with the key. */
int checkpoint_policy_parse(const struct checkpoint_config *config,
                            struct checkpoint_policy *out,
                            struct mup_error *err);

/* Where a run stands. */
struct checkpoint_clock {
    int64_t step;   /* optimizer steps done */
    double since_s; /* since the last checkpoint began, or the start */
    double cost_s;  /* that a checkpoint was measured to take, 0 = unknown */
};

/* Is a checkpoint due after this step?  With many ranks one decides for all,
 * as their clocks differ. */
int checkpoint_due(const struct checkpoint_policy *policy,
                   const struct checkpoint_clock *clock);

/* Seconds between checkpoints that cost cost_s each, which lose the least
 * time if failures come every mtbf_s on average. */
double checkpoint_interval_s(double cost_s, double mtbf_s);

/* Is steps[i] kept?  steps: n of them, newest first. */
int checkpoint_keeps(const struct checkpoint_policy *policy,
                     const int64_t *steps, int n, int i);

/* Which of steps a quota takes first, -1: none.  The oldest, then the oldest
 * that `every` keeps; the newest, 0, only where the newest trusted one is all
 * that is left beside it; the newest trusted one, or the newest of a run
 * that trusts none, never. */
int checkpoint_spares(const struct checkpoint_policy *policy,
                      const int64_t *steps, int n);

#endif
