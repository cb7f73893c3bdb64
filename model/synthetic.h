/* A text source with known entropy: eight hidden order-2 Markov sources over
 * 64 symbols, one source per sequence, so that a router has something to
 * learn.  The chains are fixed; a random key only selects the sequences. */
#ifndef MODEL_SYNTHETIC_H
#define MODEL_SYNTHETIC_H

#include "model/random.h"

enum {
    SYNTHETIC_SOURCES = 8,
    SYNTHETIC_FIRST = 32,                   /* token id of symbol 0 */
    SYNTHETIC_VOCAB = SYNTHETIC_FIRST + 64, /* ids are below: printable */
};

/* Tokens addressable in a sequence, and sequences in a stream: both counters
 * share the 64 bits of a random index. */
#define SYNTHETIC_MAX_SEQ     (INT64_C(1) << 22)
#define SYNTHETIC_MAX_SAMPLES (INT64_C(1) << 43)

/* Sequence `sample`: input[T] and target[T], target the next token.  A longer
 * T continues the same sequence. */
void synthetic_sequence(const struct random_key *stream, int64_t sample,
                        int64_t T, int32_t *input, int32_t *target);

/* The hidden source of a sequence, 0..SYNTHETIC_SOURCES-1. */
int synthetic_source(const struct random_key *stream, int64_t sample);

/* Probability that token c follows the tokens a, b in a source. */
double synthetic_probability(int source, int32_t a, int32_t b, int32_t c);

#endif
