/* The linter: may what a proxy found be used on this target?  Every question
 * is a rule with a stable id, one row of lint_rules[]; an answer that is not
 * "yes" is a finding.  Nothing here prints or reads a file: what is known of a
 * sweep comes in as evidence (sweep/evidence.h).
 *
 *     struct lint_input in = { .proxy = &proxy, .target = &target };
 *     struct lint_findings found;
 *     rc = lint_run(&in, &found, err);
 *     ...
 *     lint_findings_clear(&found);
 *
 * A rule whose data are not there is silent. */
#ifndef SWEEP_LINT_H
#define SWEEP_LINT_H

#include "sweep/evidence.h"
#include "sweep/space.h"

enum lint_severity { LINT_INFO, LINT_WARNING, LINT_ERROR };

/* What is known of a key that differs. */
enum lint_class {
    LINT_NO_CLASS,
    LINT_TRANSFERS = 'T', /* the optimum is the same: carried unchanged */
    LINT_SCALED = 'S',    /* a rule of the parametrization corrects for it */
    LINT_EMPIRICAL = 'E', /* no rule, only experience: equal is safest */
    LINT_EQUAL = 'N',     /* no transfer: must be equal, or tuned anew */
};

/* A page of 'mutransfer help rule'. */
struct lint_rule {
    const char *id; /* "M012"; an id is never given to another question */
    int severity;   /* enum lint_severity; a finding may have a lower one */
    const char *title;
    double limit; /* of what is compared, 0 = none; the page prints it, and no
                   * other text of the row says it again */
    const char *compares;
    const char *why;    /* one line */
    const char *source; /* paper, issue, or "by definition" */
    const char *fix;
    const char *example;
};

extern const struct lint_rule lint_rules[]; /* by id; ends with id NULL */

/* By id, in any case; NULL if there is none. */
const struct lint_rule *lint_rule_find(const char *id);
/* For a suggestion; any text gives a rule. */
const struct lint_rule *lint_rule_nearest(const char *id);

const char *lint_severity_name(int severity); /* info warning error */
const char *lint_class_name(int cls);         /* "scaled by rule", ... */

/* A value of the proxy may be a list ("32|64") or "tuned". */
struct lint_finding {
    const struct lint_rule *rule;
    int severity;
    int cls;             /* enum lint_class */
    char key[64];        /* "" where it is about no key */
    char proxy[64];      /* "" where unknown */
    char target[64];     /* the same */
    char sentence[1400]; /* complete without the rest; may name a sweep's folder
                          * twice */
};

/* Errors first, then warnings, then notes; by id within each. */
struct lint_findings {
    int n;
    int errors, warnings, infos;
    struct lint_finding *list;
};

/* proxy NULL: only what can be said of the target alone.  space: the sweep
 * file whose base proxy is, or NULL.  evidence may be NULL.  target: as the
 * user gave it, or with what lint_carry took over. */
struct lint_input {
    const struct run_config *proxy;
    const struct space *space;
    const struct evidence *evidence;
    const struct run_config *target;
};

/* MUP_SYSTEM without memory; findings are not a failure. */
int lint_run(const struct lint_input *in, struct lint_findings *out,
             struct mup_error *err);
void lint_findings_clear(struct lint_findings *found);

/* The keys that the proxy decides: role TRANSFER or FIXED. */
int lint_decided(const struct field *field);

/* Copy what the proxy decides and the target does not give. */
int lint_carry(const struct run_config *proxy, struct run_config *target,
               struct mup_error *err);

#endif
