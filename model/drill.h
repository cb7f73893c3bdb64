/* Faults on purpose, as the section `drill` of the config asks for them: what
 * they are, as a pure function of the texts.  run_drill.c makes them happen. */
#ifndef MODEL_DRILL_H
#define MODEL_DRILL_H

#include "model/config.h"

/* Steps count from 1, as in metrics.jsonl.  rank -1: no such drill. */
struct drill_at {
    int64_t rank;
    int64_t number; /* step, milliseconds, write or bytes */
};

/* Where a bit flips, and when. */
enum drill_kind {
    DRILL_WEIGHT,  /* at rest, before the step */
    DRILL_M,       /* first and ... */
    DRILL_V,       /* ... second moment, at rest, where the rank owns them */
    DRILL_GRAD,    /* the rank's own sum, while it waits to be sent */
    DRILL_COMPUTE, /* the same, as if it had been computed so */
    DRILL_COPY,    /* a weight, as if it had arrived so after the update */
};

struct drill_flip {
    int64_t rank, step;
    int kind; /* enum drill_kind */
    char tensor[64];
    int64_t bit;     /* of the element */
    int64_t element; /* of the rank's part; -1: the middle one */
    int64_t times;   /* that the step comes again, after returns */
};

/* What the check before the start finds. */
enum drill_finding {
    DRILL_FIT, /* no drill */
    DRILL_SLOW,
    DRILL_BITS, /* a product with a wrong bit */
    DRILL_HANG,
    DRILL_UNREADABLE, /* half an answer */
    DRILL_DISK,       /* other bytes than were written */
    DRILL_CLOCK,
    DRILL_DEVICE, /* a GPU with memory errors */
};

struct drill_preflight {
    int finding; /* enum drill_finding */
    char node[64];
};

struct drill {
    struct drill_at kill, stop, slow, slow_write, fail_write, fill_disk;
    struct drill_flip flip;
    struct drill_preflight preflight;
};

/*  kill, stop   rank R step S
 *  slow         rank R ms M
 *  slow_write   rank R ms M
 *  flip         rank R step S KIND TENSOR bit B [element N] [times N]
 *  fail_write   rank R write N
 *  fill_disk    rank R bytes N
 *  preflight    node NAME slow|bits|hang|unreadable|disk|clock|device
 * MUP_USAGE; the sentence begins with the key. */
int drill_parse(const struct drill_config *config, struct drill *out,
                struct mup_error *err);

/* "weight", "m", "v", "grad", "compute", "copy". */
const char *drill_kind_name(int kind);

/* What the drill finds on a node: enum drill_finding. */
int drill_finding_on(const struct drill *drill, const char *node);

#endif
