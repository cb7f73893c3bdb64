/* Runs a coordinate check: trains the model for a few steps at several sizes
 * and seeds, records activations, updates and gradients (coord_probe.h), and
 * judges each by its slope against the size (mup/coord.h).  coord_csv.h judges
 * what another framework recorded. */
#ifndef SWEEP_COORD_CHECK_H
#define SWEEP_COORD_CHECK_H

#include "model/config.h"
#include "model/ranks.h"
#include "mup/coord.h"

#define COORD_MAX_SIZES 16

struct coord_options {
    int64_t sizes[COORD_MAX_SIZES]; /* widths, or numbers of layers, rising */
    int n_sizes;                    /* >= 2 */
    int64_t steps; /* optimizer steps; recorded at 1 .. steps+1 */
    int64_t seeds;
    int grow;            /* enum mup_grow */
    struct ranks *ranks; /* borrowed; NULL alone.  One layout at every size */
};

/* A wrong rule, where the config asks for one (mup.break). */
struct coord_break {
    int broken; /* enum mup_break */
    int found;  /* index of the first failing row of a tensor that the rule is
                 * about, -1 for none */
};

struct coord_result {
    int verdict; /* enum mup_verdict of the whole */
    int n_rows;
    struct mup_coord_row *rows; /* names live as long as the result */
    int worst;                  /* index of the deciding row, -1 for none */
    int left_out;               /* quantities not measured at every size */
    struct coord_break wrong;
    char *names;
    char *json; /* the text of coord.json */
};

struct coord_hooks {
    void *context;
    void (*progress)(void *context, int done, int total);
    int (*should_stop)(void *context);
};

/* The config at one size and seed: a small batch, and the peak learning rate
 * from the first step on; layers, heads or width as options->grow says. */
struct run_config coord_config_at(const struct run_config *config,
                                  const struct coord_options *options, int size,
                                  int64_t seed);

/* Most bytes that a check takes at a time, its sizes checked. */
int coord_check_plan(const struct run_config *config,
                     const struct coord_options *options, size_t *bytes,
                     struct mup_error *err);

/* Writes dir/coord.json and dir/coord.csv (docs/formats.md).  MUP_SYSTEM,
 * before anything runs, where this machine has less memory than planned.  With
 * many ranks all call, all get the result, and the first one writes. */
int coord_check_run(const struct run_config *config,
                    const struct coord_options *options, const char *dir,
                    const struct coord_hooks *hooks, struct coord_result *out,
                    struct mup_error *err);

void coord_result_clear(struct coord_result *result);

/* XXH3-64 in hex of what a check depends on: every key that transfers or is
 * fixed, without the learning rate.  A check is stale where it differs. */
void coord_config_hash(const struct run_config *config, char out[17]);

#endif
