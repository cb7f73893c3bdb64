/* Where results go and what a path given by the user is. */
#ifndef LAUNCHER_PATHS_H
#define LAUNCHER_PATHS_H

#include <stddef.h>

#include "mup/mup.h"

enum path_kind {
    PATH_RUN_CONFIG,   /* YAML with sections */
    PATH_SWEEP_CONFIG, /* YAML with parameters */
    PATH_RUN_DIR,      /* holds config.yaml */
    PATH_SWEEP_DIR,    /* holds study.db */
    PATH_REPORT_DIR,   /* holds report.json alone: made from a table; only for
                        * path_expect_free() */
};

/* What lies at path.  MUP_SYSTEM if nothing does, MUP_USAGE if it is none of
 * these, YAML errors as they come. */
int path_classify(const char *path, int *kind, struct mup_error *err);

/* MUP_USAGE, with what path is and which verb takes it, unless it is of the
 * wanted kind. */
int path_expect(const char *path, int kind, struct mup_error *err);

int path_exists(const char *path);

/* Whether an executable of that name lies on PATH. */
int path_has_program(const char *name);

/* MUP_USAGE if dir already holds results of another kind (a sweep where a run
 * or the report of a table shall go, ...): the verbs would see only one of
 * them. */
int path_expect_free(const char *dir, int kind, struct mup_error *err);

/* out = dir/name; MUP_USAGE if that is too long. */
int path_join(const char *dir, const char *name, char *out, size_t bytes,
              struct mup_error *err);

/* "<path of the table without .csv>-report". */
int path_report_dir(const char *csv, char *out, size_t bytes,
                    struct mup_error *err);

/* Whether a name ends in ".csv", in any case. */
int path_is_csv(const char *path);

/* "runs/<name of the YAML file without suffix>". */
int path_default_dir(const char *yaml, char *out, size_t bytes,
                     struct mup_error *err);

/* Where 'transfer' writes where a config comes from: "target.yaml" ->
 * "target.transfer.json". */
int path_provenance(const char *yaml, char *out, size_t bytes,
                    struct mup_error *err);

/* XXH3-128 of a file's bytes in hex, for provenance. */
int path_hash(const char *path, char out[33], struct mup_error *err);

#endif
