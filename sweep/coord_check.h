/* Runs a coordinate check: trains the model for a few steps at several widths
 * and seeds, records activations and effective updates, and judges each by
 * its slope against width (mup/coord.h).  (mup-rules: Tensor Programs V,
 * appendix D.1.) */
#ifndef SWEEP_COORD_CHECK_H
#define SWEEP_COORD_CHECK_H

#include "model/config.h"
#include "mup/coord.h"

struct coord_options {
    int64_t widths[16];
    int n_widths;  /* >= 2 */
    int64_t steps; /* optimizer steps; recorded at 1 .. steps+1 */
    int64_t seeds;
};

struct coord_result {
    int verdict; /* enum mup_verdict of the whole */
    int n_rows;
    struct mup_coord_row *rows; /* names live as long as the result */
    int worst;                  /* index of the deciding row, -1 for none */
    char *names;
};

struct coord_hooks {
    void *context;
    void (*progress)(void *context, int done, int total);
    int (*should_stop)(void *context);
};

/* Writes dir/coord.json and dir/coord.csv (docs/formats.md). */
int coord_check_run(const struct run_config *config,
                    const struct coord_options *options, const char *dir,
                    const struct coord_hooks *hooks, struct coord_result *out,
                    struct mup_error *err);
void coord_result_clear(struct coord_result *result);

/* coord.json:
 *   {"parametrization":"mup","verdict":"PASS|FAIL|INCONCLUSIVE",
 *    "widths":[32,64],"seeds":3,"steps":5,"worst":"name or null",
 *    "rows":[{"name":"blocks.0.attn.out","quantity":"activation","step":2,
 *             "slope":0.01,"lo":-0.02,"hi":0.04,"expected":0,"verdict":"ok",
 *             "cause":"","mean":[one per width]}]}
 * coord.csv: name,quantity,step,width,seed,value */

#endif
