/* What the rules give each tensor, for any trainer: as JSON, CSV or a table. */
#ifndef LAUNCHER_RULES_TABLE_H
#define LAUNCHER_RULES_TABLE_H

#include <stdint.h>

#include "mup/mup.h"

/* One tensor.  shape.name is borrowed. */
struct rules_row {
    struct mup_shape shape;
    double width_mult; /* as microsoft/mup's */
    int constant;      /* starts at a constant: a gain or a bias */
    struct mup_scale scale;
    double readout; /* tied table: factor on the logits; else 0 */
    char rule[MUP_RULE_BYTES];
    const char *source;
};

struct rules_table {
    struct mup_rules rules;
    int64_t n;
    struct rules_row *rows;
};

/* Fill what the rules say of row->shape: scale, readout, rule, source. */
int rules_row_fill(const struct mup_rules *rules, struct rules_row *row,
                   struct mup_error *err);

/* "json", "csv" or "table" on stdout; MUP_USAGE for another format. */
int rules_table_check_format(const char *format, struct mup_error *err);
int rules_table_print(const struct rules_table *table, const char *format,
                      struct mup_error *err);

#endif
