/* The linter's findings as text and as JSON: what lint, transfer and launch
 * share. */
#ifndef LAUNCHER_FINDINGS_H
#define LAUNCHER_FINDINGS_H

#include <jansson.h>

#include "sweep/lint.h"

/* All of them on stdout, under their rules. */
void findings_print(const struct lint_findings *found);

/* Errors and warnings on stderr, one line each. */
void findings_warn(const struct lint_findings *found);

/* An array; docs/formats.md. */
json_t *findings_json(const struct lint_findings *found);

/* The pages of 'mutransfer help rule': the list, one, and all as Markdown. */
void findings_print_rules(void);
void findings_print_rule(const struct lint_rule *rule);
void findings_print_reference(void);

#endif
