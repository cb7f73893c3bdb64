/* What a saver's thread does: the files of one rank, and the commit.  No
 * threads here. */
#ifndef MODEL_SAVER_WRITE_H
#define MODEL_SAVER_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "model/checkpoint_table.h"
#include "model/saver.h"

#define SAVED_NAME_BYTES 64

/* A data file of this rank. */
struct saved_file {
    char name[SAVED_NAME_BYTES];
    int64_t bytes; /* written */
    int64_t used;  /* by chunks of this checkpoint */
};

/* What this rank has in one checkpoint.  Zeroed is empty. */
struct saved {
    int64_t step; /* 0: nothing */
    struct checkpoint_chunk *chunks;
    int *file_of; /* chunk -> files */
    int64_t n_chunks;
    struct saved_file *files;
    int n_files;
};

void saved_clear(struct saved *s);

/* State of a rank's writing across checkpoints.
 *
 * Files are shared with the checkpoint before the last, never with the last:
 * two that follow each other have no file in common, so that no damage to one
 * file takes both. */
struct save_writer {
    struct saver_options options;
    struct saved before; /* in the one before; an earlier step or nothing */
    struct saved last;   /* in the newest checkpoint that stands */
    struct saved now;    /* in the one that is being made */
    int64_t writes;      /* calls of write(2) */
    int64_t bytes;       /* that they wrote */
    int64_t written_chunks, skipped_chunks;
};

/* Write step's parts below the folder under construction: data files, then
 * this rank's table.  Fills w->now. */
int save_parts(struct save_writer *w, int64_t step,
               const struct checkpoint_part *parts, int n,
               struct mup_error *err);

/* Make a checkpoint of what all ranks wrote.  state: JSON text. */
int save_commit(struct save_writer *w, int64_t step, const char *state,
                struct mup_error *err);

/* now becomes last, last becomes before. */
void save_accept(struct save_writer *w);

#endif
