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
 *     max_attempts: 3            # of a trial whose worker died
 *
 * Values are kept as text in the form config_text writes ("0.015625" for
 * 2^-6), so equal values are equal texts.  A parameter of one `value` is a
 * change of the base config, not a parameter. */
#ifndef SWEEP_SPACE_H
#define SWEEP_SPACE_H

#include "configs/yaml.h"
#include "model/config.h"

#define SPACE_MAX_PARAMETERS 24
#define SPACE_MAX_GROUPS     8
#define SPACE_KEY_BYTES      64
#define SPACE_TEXT_BYTES     64

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
    double step; /* of a range: octaves (log) or units; such a range becomes
                  * a list of values when the file is read; 0 = none */
    int integer; /* the key takes integers: proposals are rounded */
    int n_values;
    char (*values)[SPACE_TEXT_BYTES];
};

struct space_group {
    char key[SPACE_KEY_BYTES];
    int n_values;
    char (*values)[SPACE_TEXT_BYTES];
};

enum space_method { SPACE_GRID, SPACE_RANDOM, SPACE_SOBOL };

/* What is minimised; also struct trial's members of the same names. */
enum space_metric { SPACE_VAL_LOSS, SPACE_VAL_BPB, SPACE_LOSS };

/* Scalars of a sweep file: the "sweep" section, also --sweep.run_cap=10. */
struct sweep_config {
    char name[FIELD_TEXT_BYTES];
    char base[FIELD_TEXT_BYTES];
    int method; /* enum space_method */
    int64_t seed;
    int64_t run_cap;       /* configurations, 0 = the whole grid */
    int metric;            /* enum space_metric */
    int64_t workers;       /* 0 = one per core */
    int64_t max_attempts;  /* of a trial whose worker died */
    double silence_s;      /* after which a worker counts as dead */
    unsigned char set[16]; /* which keys were given; see struct schema */
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
    struct run_config base; /* with fixed and the first point applied */
};

extern const struct schema sweep_schema; /* over struct sweep_config alone */

/* Read a sweep file, then overrides: "sweep.x=..." sets the sweep section,
 * "parameters.KEY.min|max|step|values=..." a parameter, any other key the base
 * config; "groups.KEY=a,b" and "sweep.seeds=1,2" (or "seeds=1,2") replace
 * those lists.  All keys are
 * checked against the run schema, all values parsed; every member of every
 * group must give a valid run config. */
int space_open(const char *path, char *const *overrides, int n_overrides,
               struct space *out, struct mup_error *err);
/* The same from memory; path is for messages and for the base config. */
int space_open_text(const char *text, size_t bytes, const char *path,
                    struct space *out, struct mup_error *err);
void space_close(struct space *space);

/* One configuration: the text of each parameter, in order. */
struct space_point {
    char value[SPACE_MAX_PARAMETERS][SPACE_TEXT_BYTES];
};

/* The text of a number as a value of the parameter: clamped to its range,
 * rounded to integers or to six digits, in the form config_text writes. */
void space_number_text(const struct space_parameter *p, double value,
                       char text[SPACE_TEXT_BYTES]);

/* Number of group members (product), and the text of group g in member i.
 * The last group varies fastest. */
int64_t space_members(const struct space *space);
const char *space_member_text(const struct space *space, int64_t member,
                              int group);

/* The run config of (point, member, seed). */
int space_resolve(const struct space *space, const struct space_point *point,
                  int64_t member, int64_t seed, struct run_config *out,
                  struct mup_error *err);

/* At base width (and base head size) every factor of muP is exactly 1, so the
 * run is the same bit for bit under SP and muP and is needed once.  config is
 * what space_resolve gave for member.  Returns the lowest member that is the
 * same run: member itself unless the width is the base width and the group
 * mup.parametrization holds a twin. */
int64_t space_twin(const struct space *space, const struct run_config *config,
                   int64_t member);

/* Write the sweep as a sweep file that reads back to the same space, every
 * override included; base: the file name to write after "base:". */
int space_dump(const struct space *space, const char *base, FILE *out,
               struct mup_error *err);

/* All that decides the trials' results, one "key<TAB>value" line each (run
 * and launch sections, paths of the sweep and workers left out); takes: caller
 * frees *out. */
int space_spec(const struct space *space, char **out, struct mup_error *err);

/* May a study made from old continue as now?  MUP_OK when equal or when only
 * run_cap, seeds or group values grew; else MUP_USAGE, saying what differs. */
int space_spec_extends(const char *old, const char *now, struct mup_error *err);

/* "mup width 64 lr 2^-6": what tells this trial from others of the sweep. */
void space_label(const struct space *space, const struct space_point *point,
                 int64_t member, char *out, size_t bytes);

#endif
