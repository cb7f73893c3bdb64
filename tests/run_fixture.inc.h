/* A run that takes a moment, and its folder. */
#ifndef TESTS_RUN_FIXTURE_INC_H
#define TESTS_RUN_FIXTURE_INC_H

#include <string.h>

#include "model/config.h"
#include "tests/folder.inc.h"

static inline struct run_config small_config(void)
{
    struct run_config c;

    memset(&c, 0, sizeof(c));
    config_defaults(&run_schema, &c);
    c.model.width = 32;
    c.model.head_size = 8;
    c.model.experts = 4;
    c.model.seq = 16;
    c.mup.base_width = 16;
    c.mup.base_head_size = 8;
    c.train.lr = 0.02;
    c.train.batch = 4;
    c.train.steps = 40;
    c.data.valid_sequences = 4;
    c.run.log_every = 4;
    snprintf(c.checkpoint.every, sizeof(c.checkpoint.every), "5");
    snprintf(c.checkpoint.keep, sizeof(c.checkpoint.keep), "last 3");
    return c;
}

#endif
