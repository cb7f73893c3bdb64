/* The observations of a coordinate check, by quantity and step, and the files
 * that hold them and their verdicts.
 *
 * coord.json:
 *   {"parametrization":"mup","verdict":"PASS|FAIL|INCONCLUSIVE",
 *    "grow":"width","widths":[32,64],"seeds":3,"steps":5,...
 *    "rows":[{"name":"blocks.0.attn.out","quantity":"activation","step":2,
 *             "slope":0.01,"lo":-0.02,"hi":0.04,"expected":0,"off":0,
 *             "verdict":"ok","cause":"","mean":[one per size]}]}
 * coord.csv: name,quantity,step,width (or depth),seed,value
 *
 * docs/formats.md has all members. */
#ifndef SWEEP_COORD_SERIES_H
#define SWEEP_COORD_SERIES_H

#include "sweep/coord_check.h"
#include "sweep/coord_probe.h"

/* One quantity at one step: value[seed * n_sizes + size]. */
struct coord_series {
    char name[COORD_NAME_BYTES];
    int quantity;
    int step;
    int64_t line; /* of a table, where it first appears */
    int seen;     /* how many values were put */
    double *value;
    unsigned char *have; /* which; behind the values */
};

/* {0} with the first two set is empty. */
struct coord_table {
    int n_sizes, n_seeds;
    struct coord_series *series; /* in order of appearance */
    int n, capacity;
    int *slot;   /* 1 + index, by the hash of name and step; 0 is free */
    int n_slots; /* a power of two */
};

/* The series of a name and step, or NULL. */
struct coord_series *coord_table_find(const struct coord_table *t,
                                      const char *name, int step);
/* Into the series of key, made if there is none.  MUP_SYSTEM for lack of
 * memory. */
int coord_table_put(struct coord_table *t, const struct coord_series *key,
                    int cell, double value, struct mup_error *err);
/* Leave out the series that were not measured everywhere although their
 * quantity allows it; returns how many. */
int coord_table_drop_partial(struct coord_table *t);
void coord_table_clear(struct coord_table *t);

/* What the files tell beside rows. */
struct coord_origin {
    const struct run_config *config; /* of a table, mup alone is set */
    const struct coord_options *options;
    const char *csv; /* that they came from, or NULL */
};

/* Judge every series, write dir/coord.json and, of a check of our own,
 * coord.csv (dir NULL: nothing), and fill *out. */
int coord_conclude(struct coord_table *t, const struct coord_origin *origin,
                   const char *dir, struct coord_result *out,
                   struct mup_error *err);

#endif
