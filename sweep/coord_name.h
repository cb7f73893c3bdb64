/* Names of what a coordinate check records: "blocks.3.attn.out", and, where the
 * number of layers grows, "blocks.first.attn.out" and "blocks.last.attn.out".
 */
#ifndef SWEEP_COORD_NAME_H
#define SWEEP_COORD_NAME_H

#include <stddef.h>

/* Which block a name says, "3" or "last": where it stands in name and how long
 * it is; NULL where it says none. */
const char *coord_name_block(const char *name, size_t *bytes);

/* What stands behind the block: "attn.out"; the whole name where it says
 * none. */
const char *coord_name_tail(const char *name);

/* Whether a name lies inside a block: one of ours, or one as other frameworks
 * have them ("layers.3.mlp"). */
int coord_name_in_block(const char *name);

#endif
