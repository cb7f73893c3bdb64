/* What users see of a run of several ranks, and its log: every line of every
 * rank goes to DIR/log as "rank 3: ..."; to the terminal go rank 0's progress
 * and answer, notes, and the last words of a rank that failed. */
#ifndef LAUNCHER_LOCAL_VIEW_H
#define LAUNCHER_LOCAL_VIEW_H

#include "launcher/roster.h"
#include "launcher/terminal.h"

#define VIEW_WORDS      3
#define VIEW_WORD_BYTES 240

/* The last lines on stderr that were not shown. */
struct view_words {
    int n; /* ever */
    char line[VIEW_WORDS][VIEW_WORD_BYTES];
};

struct view_state {
    int ranks, log;
    struct terminal terminal;
    struct view_words *words; /* ranks + 1: mpirun's last */
};

int view_open(struct view_state *v, const char *dir, int ranks, int quiet,
              struct mup_error *err);
void view_close(struct view_state *v);

/* rank -1: mpirun. */
void view_line(struct view_state *v, int rank, const char *text, int is_error);
void view_event(struct view_state *v, const struct rank_event *e);
/* To terminal and log. */
void view_note(struct view_state *v, const char *text);
void view_last_words(struct view_state *v, int rank);

#endif
