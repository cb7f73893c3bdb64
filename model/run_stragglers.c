/* Slow ranks are named by rank 0, which hears in every step how long each
 * rank computed: so it needs no supervisor. */
#include <stdio.h>
#include <stdlib.h>

#include "model/run.h"

int run_open_stragglers(struct run *r, struct mup_error *err)
{
    size_t n = (size_t)r->ranks.all.size;
    struct run_stragglers *s = &r->stragglers;

    if (!r->is_first || n < 2)
        return MUP_OK;
    s->times = calloc(n, sizeof(*s->times));
    s->median = calloc(2 * n, sizeof(*s->median));
    s->mark = calloc(n, sizeof(*s->mark));
    s->told = calloc(n, sizeof(*s->told));
    if (!s->times || !s->median || !s->mark || !s->told)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %zu ranks", n);
    s->scratch = s->median + n;
    return MUP_OK;
}

void run_close_stragglers(struct run *r)
{
    struct run_stragglers *s = &r->stragglers;

    free(s->times);
    free(s->median);
    free(s->mark);
    free(s->told);
    *s = (struct run_stragglers){ 0 };
}

static void tell(struct run *r, int rank)
{
    const struct run_stragglers *s = &r->stragglers;
    char note[200];

    if (s->mark[rank].is_slow)
        snprintf(
            note, sizeof(note),
            "rank %d is slow: %.3g s of its own work in a step, the "
            "other ranks %.3g s",
            rank, s->median[rank],
            straggler_others(s->median, r->ranks.all.size, rank, s->scratch));
    else
        snprintf(note, sizeof(note), "rank %d is as fast again as the others",
                 rank);
    run_tell(r, note);
}

void run_name_stragglers(struct run *r)
{
    struct run_stragglers *s = &r->stragglers;
    int n = r->ranks.all.size;

    if (!s->times)
        return;
    for (int i = 0; i < n; i++) {
        straggler_add(&s->times[i], r->trainer.report[i].compute_s);
        s->median[i] = straggler_median(&s->times[i]);
    }
    straggler_judge(s->median, n, s->scratch, s->mark);
    for (int i = 0; i < n; i++) {
        if (s->mark[i].is_slow == s->told[i])
            continue;
        s->told[i] = s->mark[i].is_slow;
        tell(r, i);
    }
}
