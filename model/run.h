/* One run in progress: what train.c (the loop), run_dir.c (its folder),
 * run_save.c (its checkpoints), run_guard.c (its health), run_stragglers.c (its
 * slow ranks) and run_drill.c (faults on purpose) share.  With many ranks each
 * has one; rank 0 alone writes what is not a checkpoint. */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include <jansson.h>

#include "model/checkpoint_part.h"
#include "model/checkpoint_policy.h"
#include "model/drill.h"
#include "model/fence.h"
#include "model/guard.h"
#include "model/lock.h"
#include "model/run_log.h"
#include "model/saver.h"
#include "model/stragglers.h"
#include "model/train.h"
#include "model/trainer.h"

/* How far the save under way has come, on all ranks. */
enum run_saving { RUN_SAVED, RUN_WRITING, RUN_COMMITTING };

/* On rank 0 of many, one of each a rank; else empty. */
struct run_stragglers {
    struct straggler_times *times;
    double *median, *scratch;
    struct straggler_mark *mark;
    int *told; /* that it is slow */
};

/* The scalars are what a checkpoint carries beside the tensors. */
struct run {
    const char *dir;
    char checkpoints[1100]; /* the folder of that name in dir */
    const struct train_hooks *hooks;
    struct ranks ranks;
    int is_first; /* rank 0 */
    struct trainer trainer;
    struct file_lock lock; /* not held: a supervised run took over */
    struct fence fence;    /* rank 0's, on all ranks */
    struct run_log log;
    struct checkpoint_part *wants; /* what this rank needs to go on */
    struct checkpoint_part *parts; /* what it saves */
    int n_wants, n_parts;
    struct checkpoint_policy policy;
    struct saver *saver;
    char *config_text; /* resolved, as YAML */
    int saving;        /* enum run_saving */
    int64_t saving_step;
    int failed_saves;   /* in a row */
    double last_save_s; /* clock when the newest save began */
    int64_t step;       /* optimizer steps done */
    double first_loss, loss_ema, tail_sum;
    int64_t tail_steps;
    int64_t saved_step;
    int phase;          /* enum train_phase of the last beat */
    double last_beat_s; /* its clock */
    double started;     /* clock at the start of this process's part */
    int64_t started_step;
    double *load; /* E */
    int64_t resumed_from;
    double val_loss;    /* of the last step, NaN until evaluated */
    char skipped[1024]; /* the first damaged checkpoint, as a sentence */
    struct guard guard; /* open where trainer.guard points to it */
    int *strikes;       /* findings of each rank; last, of unknown ones */
    struct run_stragglers stragglers;
    struct drill drill; /* rank -1: none, or it has happened */
    struct {
        int param, armed;
    } flip;
    struct trainer_fault fault;
};

/* A sentence for the user, and a sign of life. */
void run_tell(struct run *r, const char *sentence);
void run_beat(struct run *r, int phase, double compute_s);

/* Append to events.jsonl; takes event, which gets the incarnation where there
 * is one.  Nothing but on rank 0. */
int run_event(struct run *r, json_t *event, struct mup_error *err);

/* --- run_dir.c --- */

/* MUP_USAGE where dir holds another run. */
int run_check_dir(const struct run_config *config, const char *dir,
                  struct mup_error *err);
/* MUP_USAGE where a rank has another config or other texts than rank 0, which
 * would train on in silence to a wrong model.  Collective. */
int run_compare_ranks(struct run *r, struct mup_error *err);
/* Rank 0 makes the folder, holds its lock and writes what the run is; all learn
 * which incarnation they are.  Collective. */
int run_take_dir(struct run *r, struct mup_error *err);

/* --- run_save.c; all are collective --- */

/* Which parts this rank saves and needs; before run_load. */
int run_list_parts(struct run *r, struct mup_error *err);
int run_open_saver(struct run *r, struct mup_error *err);

/* Continue from the newest checkpoint that verifies, if any; else from the
 * weights, freshly initialised, and zeroed moments that are there.  Can be
 * called again. */
int run_load(struct run *r, struct mup_error *err);

/* Take the save under way as far as it has come, or with `wait` to its end. */
int run_settle_save(struct run *r, int wait, struct mup_error *err);
/* Give it up; note (may be NULL) says which and why. */
int run_abandon_save(struct run *r, struct mup_error *note,
                     struct mup_error *err);
/* Rank 0's clock decides: is a checkpoint due?  0 on the others. */
int run_save_is_due(struct run *r);
int run_start_save(struct run *r, struct mup_error *err);
/* The last save of this process, which must succeed. */
int run_save(struct run *r, struct mup_error *err);

/* --- run_guard.c; collective --- */

/* Nothing without run.verify_every. */
int run_open_guard(struct run *r, struct mup_error *err);
void run_close_guard(struct run *r);

/* Has any rank found corruption in the state after `step` steps, or on the way
 * there?  Then the run goes back: *went_back, and r->step is an earlier one.
 * While step is not r->step, r->step is the one before. */
int run_look(struct run *r, int64_t step, int *went_back,
             struct mup_error *err);

/* --- run_stragglers.c --- */

int run_open_stragglers(struct run *r, struct mup_error *err);
void run_close_stragglers(struct run *r);
/* After each step: a note when a rank begins or ceases to be slow. */
void run_name_stragglers(struct run *r);

/* --- run_drill.c --- */

/* After run_load: what has happened in dir does not happen again. */
int run_open_drill(struct run *r, struct mup_error *err);
/* Faults of this rank's saver. */
int run_drill_writes(struct run *r, struct saver_fault *out,
                     struct mup_error *err);
/* Faults at the start of a step. */
int run_drill_step(struct run *r, struct mup_error *err);

#endif
