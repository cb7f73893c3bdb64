/* Some ranks of one process that save and read small tensors: every element
 * knows its place, so that any layout can be checked.  Included by tests. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/backend.h"
#include "model/checkpoint.h"
#include "model/layout.h"
#include "model/saver.h"
#include "tests/folder.inc.h"

enum { MAX_RANKS = 4, MAX_PARTS = 256 };

/* version: its content changes with it; 0: it never does. */
static const struct tensor {
    const char *name, *kind;
    int64_t shape[3];
    int dtype, changes;
} tensors[] = {
    { "embed", "weight", { 1, 37, 6 }, DTYPE_F32, 1 },
    { "embed", "m", { 1, 37, 6 }, DTYPE_F32, 1 },
    { "up", "weight", { 5, 12, 7 }, DTYPE_F64, 1 },
    { "norm", "weight", { 1, 1, 19 }, DTYPE_F32, 1 },
    { "frozen", "weight", { 3, 21, 16 }, DTYPE_F32, 0 },
    { "one", "v", { 1, 1, 1 }, DTYPE_F64, 1 },
};

enum { N_TENSORS = sizeof(tensors) / sizeof(tensors[0]) };

/* What one rank holds; data is its own. */
struct holding {
    struct checkpoint_part parts[MAX_PARTS];
    int n;
};

static double value_of(const struct checkpoint_part *p, int64_t held,
                       int64_t version)
{
    int64_t at = p->first + held;
    int64_t col = at % p->extent[2], row = at / p->extent[2] % p->extent[1];
    int64_t slice = at / p->extent[2] / p->extent[1], place;

    place = ((slice + p->origin[0]) * p->shape[1] + row + p->origin[1]) *
                p->shape[2] +
            col + p->origin[2];
    return (double)(place + 10000 * version) + (p->kind[0] == 'm' ? 0.5 : 0);
}

static int changes(const struct checkpoint_part *p)
{
    for (int t = 0; t < N_TENSORS; t++)
        if (!strcmp(p->name, tensors[t].name) &&
            !strcmp(p->kind, tensors[t].kind))
            return tensors[t].changes;
    return 1;
}

static void fill(struct holding *h, int64_t version)
{
    for (int p = 0; p < h->n; p++)
        for (int64_t i = 0; i < h->parts[p].count; i++) {
            double x =
                value_of(&h->parts[p], i, changes(&h->parts[p]) ? version : 0);

            if (h->parts[p].dtype == DTYPE_F32)
                ((float *)h->parts[p].data)[i] = (float)x;
            else
                ((double *)h->parts[p].data)[i] = x;
        }
}

static void assert_holds(const struct holding *h, int64_t version)
{
    for (int p = 0; p < h->n; p++)
        for (int64_t i = 0; i < h->parts[p].count; i++) {
            double x =
                value_of(&h->parts[p], i, changes(&h->parts[p]) ? version : 0);

            if (h->parts[p].dtype == DTYPE_F32)
                assert_float_equal(((float *)h->parts[p].data)[i], x, 0);
            else
                assert_true(((double *)h->parts[p].data)[i] == x);
        }
}

static void forget(struct holding *h)
{
    for (int p = 0; p < h->n; p++)
        memset(h->parts[p].data, 255,
               (size_t)checkpoint_part_bytes(&h->parts[p]));
}

static void add_part(struct holding *h, struct checkpoint_part p)
{
    assert_null(checkpoint_part_fault(&p));
    assert_true(h->n < MAX_PARTS);
    p.data = malloc((size_t)checkpoint_part_bytes(&p) + 1);
    assert_non_null(p.data);
    h->parts[h->n++] = p;
}

static void drop(struct holding *h, int ranks)
{
    for (int r = 0; r < ranks; r++) {
        for (int p = 0; p < h[r].n; p++)
            free(h[r].parts[p].data);
        h[r].n = 0;
    }
}

static struct checkpoint_part whole_of(int t)
{
    return checkpoint_whole(tensors[t].name, tensors[t].kind, tensors[t].shape,
                            tensors[t].dtype, NULL);
}

/* Ways to share tensors among ranks. */
enum sharing { BY_SLICES, BY_ROWS, BY_COLS, BY_RANGE, RANK_0, SHARINGS };

static void share_out(struct holding *h, int ranks, int how)
{
    memset(h, 0, (size_t)ranks * sizeof(*h));
    for (int t = 0; t < N_TENSORS; t++)
        for (int r = 0; r < ranks; r++) {
            struct checkpoint_part p = whole_of(t);

            if (how == BY_RANGE) {
                p.first = layout_cut(p.count, ranks, r);
                p.count = layout_cut(whole_of(t).count, ranks, r + 1) - p.first;
            } else if (how != RANK_0 && tensors[t].shape[how] > 1) {
                p.origin[how] = layout_cut(p.shape[how], ranks, r);
                p.extent[how] =
                    layout_cut(p.shape[how], ranks, r + 1) - p.origin[how];
                p.count = p.extent[0] * p.extent[1] * p.extent[2];
            } else if (r > 0) {
                continue; /* rank 0 has it */
            }
            if (p.count)
                add_part(&h[r], p);
        }
}

/* --- saving --- */

struct team {
    char dir[64];
    int ranks;
    struct saver *savers[MAX_RANKS];
};

static struct saver_options options_of(const char *dir, int rank, int ranks)
{
    struct saver_options o = {
        .dir = dir,
        .rank = rank,
        .ranks = ranks,
        .bytes = 1 << 16,
        .total_bytes = 1 << 14,
        .config = "model: {}\n",
        .policy = { .keep_last = 3 },
    };

    return o;
}

static inline void start_savers(struct team *t, int ranks)
{
    struct mup_error err = { 0 };

    t->ranks = ranks;
    for (int r = 0; r < ranks; r++) {
        struct saver_options o = options_of(t->dir, r, ranks);

        assert_int_equal(saver_open(&o, &t->savers[r], &err), MUP_OK);
    }
}

static inline void stop_savers(struct team *t)
{
    for (int r = 0; r < t->ranks; r++)
        saver_close(t->savers[r]);
    t->ranks = 0;
}

/* Save what the ranks hold as they would; the state of rank 0, or the first
 * SAVER_FAILED with its sentence. */
static int save_all(struct team *t, int64_t step, const struct holding *h,
                    struct mup_error *err)
{
    json_t *state = json_pack("{s:I}", "number", (json_int_t)step);
    int failed = 0, end;

    for (int r = 0; r < t->ranks; r++) {
        struct saver_snapshot snapshot = { step, h[r].parts, h[r].n,
                                           r ? NULL : state };

        assert_int_equal(saver_start(t->savers[r], &snapshot, err), MUP_OK);
    }
    json_decref(state);
    for (int r = 0; r < t->ranks; r++)
        if (saver_wait(t->savers[r], failed ? NULL : err) != SAVER_WRITTEN)
            failed = 1;
    if (!failed) {
        saver_commit(t->savers[0]);
        failed = saver_wait(t->savers[0], err) != SAVER_COMMITTED;
    }
    end = failed ? SAVER_FAILED : SAVER_COMMITTED;
    for (int r = t->ranks - 1; r >= 0; r--) {
        if (failed)
            saver_abandon(t->savers[r], NULL);
        else if (r)
            saver_accept(t->savers[r]);
    }
    return end;
}

static inline void save_well(struct team *t, int64_t step, struct holding *h)
{
    struct mup_error err = { 0 };

    for (int r = 0; r < t->ranks; r++)
        fill(&h[r], step);
    if (save_all(t, step, h, &err) != SAVER_COMMITTED)
        fail_msg("%s", err.text);
}

/* Every rank reads its part of a step and finds what was saved at it. */
static void assert_reads(const char *dir, int64_t step, struct holding *h,
                         int ranks)
{
    for (int r = 0; r < ranks; r++) {
        struct mup_error err = { 0 };
        json_t *m = NULL;

        forget(&h[r]);
        if (checkpoint_load(dir, step, h[r].parts, h[r].n, &m, &err))
            fail_msg("%s", err.text);
        assert_int_equal(json_integer_value(json_object_get(
                             json_object_get(m, "state"), "number")),
                         step);
        json_decref(m);
        assert_holds(&h[r], step);
    }
}
