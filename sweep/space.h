/* A sweep file: which keys vary and how, what every configuration is repeated
 * over, how much to run.  The form is that of W&B sweeps, so its users feel at
 * home; keys are run-config keys.
 *
 *     name: quickstart
 *     base: tiny.yaml            # relative to the sweep file
 *     method: grid               # grid | random | sobol
 *     seed: 1
 *     run_cap: 60                # configurations, not trials
 *     metric: {name: val_loss, goal: minimize}
 *     parameters:
 *       train.lr: {distribution: log_uniform_values, min: 2^-9, max: 2^-3}
 *       train.warmup: {values: [0.05, 0.1]}
 *       model.layers: {value: 2}
 *     groups:                    # every configuration runs on each member
 *       mup.parametrization: [sp, mup]
 *       model.width: [32, 64, 128]
 *     seeds: [1, 2, 3]           # train.seed of the repeats
 *     enqueue: [{train.lr: 2^-6}]
 *     workers: 0                 # processes, 0 = one per core
 */
#ifndef SWEEP_SPACE_H
#define SWEEP_SPACE_H

#include "configs/yaml.h"
#include "model/config.h"

#define SPACE_MAX_PARAMETERS 24
#define SPACE_MAX_GROUPS 8
#define SPACE_KEY_BYTES 64
#define SPACE_TEXT_BYTES 64

enum space_distribution {
    SPACE_VALUES,      /* an explicit list (W&B categorical) */
    SPACE_UNIFORM,     /* uniform in [min,max] */
    SPACE_LOG_UNIFORM, /* log_uniform_values: min and max are values */
    SPACE_INT_UNIFORM, /* integers */
};

struct space_parameter {
    char key[SPACE_KEY_BYTES];
    int distribution; /* enum space_distribution */
    double min, max;
    double step; /* grid over a range: octaves (log) or units; 0 = none */
    int n_values;
    char (*values)[SPACE_TEXT_BYTES];
};

struct space_group {
    char key[SPACE_KEY_BYTES];
    int n_values;
    char (*values)[SPACE_TEXT_BYTES];
};

enum space_method { SPACE_GRID, SPACE_RANDOM, SPACE_SOBOL };

/* Scalars of a sweep file: the "sweep" section, also --sweep.run_cap=10. */
struct sweep_config {
    char name[FIELD_TEXT_BYTES];
    char base[FIELD_TEXT_BYTES];
    int method; /* enum space_method */
    int64_t seed;
    int64_t run_cap; /* configurations, 0 = the whole grid */
    int64_t workers; /* 0 = one per core */
    int64_t max_attempts; /* of a trial whose worker died */
};

struct space {
    struct sweep_config sweep;
    char path[1024]; /* of the sweep file */
    int n_parameters;
    struct space_parameter parameter[SPACE_MAX_PARAMETERS];
    int n_groups;
    struct space_group group[SPACE_MAX_GROUPS];
    int n_seeds;
    int64_t *seeds;
    int n_enqueued;
    char (*enqueued)[SPACE_MAX_PARAMETERS][SPACE_TEXT_BYTES];
    int fixed_count; /* overrides of the base config: "key=value" */
    char **fixed;
    struct run_config base; /* with fixed applied */
};

extern const struct schema sweep_schema; /* over struct sweep_config alone */

/* Read a sweep file, then overrides: "sweep.x=..." sets the sweep section,
 * "parameters.KEY.min|max|step|values=..." a parameter, any other key the base
 * config.  All keys are checked against the run schema, all values parsed;
 * every member of every group must give a valid run config. */
int space_open(const char *path, char *const *overrides, int n_overrides,
               struct space *out, struct mup_error *err);
void space_close(struct space *space);

/* One configuration: the text of each parameter, in order. */
struct space_point {
    char value[SPACE_MAX_PARAMETERS][SPACE_TEXT_BYTES];
};

/* Number of group members (product), and the text of group g in member i. */
int64_t space_members(const struct space *space);
const char *space_member_text(const struct space *space, int64_t member,
                              int group);

/* The run config of (point, member, seed). */
int space_resolve(const struct space *space, const struct space_point *point,
                  int64_t member, int64_t seed, struct run_config *out,
                  struct mup_error *err);

#endif
