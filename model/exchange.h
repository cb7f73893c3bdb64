/* Rows to the experts that want them and back, where experts are cut among
 * ranks: dropless, whatever the router decides.  Each rank's rows lie sorted by
 * expert (dispatch); the rows of one expert go as one message to each rank's
 * place in the expert's own list, so nothing is sorted again, and that list is
 * in the order of ranks and tokens, as on one rank.
 *
 * With one rank along `expert` nothing is sent. */
#ifndef MODEL_EXCHANGE_H
#define MODEL_EXCHANGE_H

#include "model/model.h"

/* After dispatch: all ranks tell how many rows each expert gets; fills
 * s->counts (ranks,E) and s->held. */
void exchange_counts(struct model *m, struct block_state *s);

/* rows(R,D) in the order of s->offset to the experts.  Returns what they
 * hold, (rows held here, D) in the order of s->held: in `to` (S,D), or rows
 * itself with one rank. */
struct view exchange_to_experts(struct model *m, const struct block_state *s,
                                struct view to, struct view rows);

/* The way back: from the experts' order to rows(R,D). */
void exchange_to_tokens(struct model *m, const struct block_state *s,
                        struct view rows, struct view from);

#endif
