#include "launcher/coord_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/coord_name.h"

#define MAX_COLUMNS 12 /* more steps than that are not all printed */
#define NAME_BYTES  96

/* Parts of the table, by quantity. */
static const struct part {
    const char *title;
    unsigned quantities; /* bits */
} parts[] = {
    { "activations and logits, mean |x|",
      1u << MUP_ACTIVATION | 1u << MUP_STREAM | 1u << MUP_ATTENTION_LOGITS |
          1u << MUP_ROUTER_LOGITS | 1u << MUP_OUTPUT_LOGITS | 1u << MUP_GATED },
    { "routing", 1u << MUP_GATE_SPREAD | 1u << MUP_LOAD | 1u << MUP_STATISTIC },
    { "updates, rms of (W_t - W_0) x",
      1u << MUP_UPDATE | 1u << MUP_INPUT_UPDATE | 1u << MUP_DOT_UPDATE },
    { "propagated updates, rms of W_0 (x_t - x_0)",
      1u << MUP_PROPAGATED | 1u << MUP_PROPAGATED_LOGITS },
    { "changes, rms of x_t - x_0", 1u << MUP_CHANGE },
    { "gradients, rms of an entry over its epsilon factor",
      1u << MUP_GRADIENT | 1u << MUP_DOT_GRADIENT },
};
#define N_PARTS (int)(sizeof(parts) / sizeof(parts[0]))

/* A quantity over all layers: the row that decides, per step and in all. */
struct group {
    char name[NAME_BYTES]; /* "blocks.*.attn.out" */
    const struct mup_coord_row *row[MAX_COLUMNS];
    const struct mup_coord_row *worst;
    int at; /* the first row */
};

/* A row and the name of its group. */
struct named {
    char name[NAME_BYTES];
    int at;
};

struct table {
    int step[MAX_COLUMNS]; /* of each column */
    int n_columns;
    int more; /* steps without a column */
    struct group *group;
    int n;
};

/* "blocks.12.attn.out" and "blocks.last.attn.out" -> "blocks.*.attn.out". */
static void group_name(const char *name, char *out, size_t bytes)
{
    size_t n;
    const char *block = coord_name_block(name, &n);

    if (block)
        snprintf(out, bytes, "%.*s*%s", (int)(block - name), name, block + n);
    else
        snprintf(out, bytes, "%s", name);
}

/* ---- columns --------------------------------------------------------------
 */

static int column_of(const struct table *t, int step)
{
    for (int i = 0; i < t->n_columns; i++)
        if (t->step[i] == step)
            return i;
    return -1;
}

/* The first steps, in rising order. */
static void add_step(struct table *t, int step)
{
    int at = 0,
        last = t->n_columns < MAX_COLUMNS ? t->n_columns : MAX_COLUMNS - 1;

    if (column_of(t, step) >= 0)
        return;
    t->more |= t->n_columns == MAX_COLUMNS;
    while (at < t->n_columns && t->step[at] < step)
        at++;
    if (at == MAX_COLUMNS)
        return;
    for (int i = last; i > at; i--)
        t->step[i] = t->step[i - 1];
    t->step[at] = step;
    t->n_columns = last + 1;
}

static int by_name(const void *a, const void *b)
{
    const struct named *p = a, *q = b;
    int order = strcmp(p->name, q->name);

    return order ? order : p->at - q->at;
}

static int by_place(const void *a, const void *b)
{
    const struct group *p = a, *q = b;

    return p->at - q->at;
}

static void add_row(struct table *t, struct group *g,
                    const struct mup_coord_row *row)
{
    int column = column_of(t, row->step);

    if (!g->worst || mup_coord_worse(row, g->worst))
        g->worst = row;
    if (column >= 0 &&
        (!g->row[column] || mup_coord_worse(row, g->row[column])))
        g->row[column] = row;
}

/* Rows by the name of their group, groups in order of appearance; named has
 * room for every row. */
static void collect(const struct coord_result *result, struct named *named,
                    struct table *t)
{
    for (int i = 0; i < result->n_rows; i++) {
        add_step(t, result->rows[i].step);
        group_name(result->rows[i].name, named[i].name, sizeof(named[i].name));
        named[i].at = i;
    }
    qsort(named, (size_t)result->n_rows, sizeof(*named), by_name);
    for (int i = 0; i < result->n_rows; i++) {
        if (!i || strcmp(named[i].name, named[i - 1].name)) {
            struct group *g = &t->group[t->n++];

            snprintf(g->name, sizeof(g->name), "%s", named[i].name);
            g->at = named[i].at;
        }
        add_row(t, &t->group[t->n - 1], &result->rows[named[i].at]);
    }
    qsort(t->group, (size_t)t->n, sizeof(*t->group), by_place);
}

/* ---- printing -------------------------------------------------------------
 */

void coord_row_print(const struct mup_coord_row *row)
{
    printf("%s at t=%d", row->name, row->step);
    if (isfinite(row->slope))
        printf(", slope %+.2f [%+.2f, %+.2f], expected %+.2f", row->slope,
               row->slope_lo, row->slope_hi, row->expected);
    if (row->verdict == MUP_VERDICT_FAIL && row->cause && *row->cause)
        printf("; %s", row->cause);
}

static void print_group(const struct group *g, const struct table *t)
{
    printf("%-36s", g->name);
    for (int i = 0; i < t->n_columns; i++) {
        if (g->row[i])
            printf(" %+6.2f", g->row[i]->slope);
        else
            printf("      -");
    }
    printf("  %.2f  %s\n", (g->worst->slope_hi - g->worst->slope_lo) / 2,
           mup_verdict_name(g->worst->verdict));
    if (g->worst->verdict == MUP_VERDICT_FAIL) {
        printf("    ");
        coord_row_print(g->worst);
        printf("\n");
    }
}

static void print_part(const struct part *part, const struct table *t)
{
    int titled = 0;

    for (int i = 0; i < t->n; i++) {
        if (!(part->quantities >> t->group[i].worst->quantity & 1))
            continue;
        if (!titled++) {
            printf("\n%s\n%-36s", part->title, "");
            for (int k = 0; k < t->n_columns; k++)
                printf("   t=%-2d", t->step[k]);
            printf("    +-  verdict\n");
        }
        print_group(&t->group[i], t);
    }
}

int coord_table_print(const struct coord_result *result, int grow,
                      struct mup_error *err)
{
    struct named *named = calloc((size_t)result->n_rows + 1, sizeof(*named));
    struct table t;

    memset(&t, 0, sizeof(t));
    t.group = calloc((size_t)result->n_rows + 1, sizeof(*t.group));
    if (!t.group || !named) {
        free(t.group);
        free(named);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    collect(result, named, &t);
    free(named);
    printf("slope of log2(size) against log2(%s); t=1 is initialisation; of "
           "several layers the worst; +-: half the 95 %% interval of the row "
           "that decides\n",
           grow == MUP_GROW_DEPTH ? "layers" : "width");
    for (int i = 0; i < N_PARTS; i++)
        print_part(&parts[i], &t);
    if (t.more)
        printf("\nsteps after t=%d have no column here, the verdicts count "
               "them\n",
               t.step[t.n_columns - 1]);
    if (result->left_out)
        printf("\n%d propagated updates are left out: at some size and seed no "
               "token kept its expert\n",
               result->left_out);
    printf("\n");
    free(t.group);
    return MUP_OK;
}

void coord_verdict_print(const struct coord_result *result, const char *what,
                         const struct coord_options *o)
{
    printf("%s  %s, %s", mup_coord_overall_name(result->verdict), what,
           o->grow == MUP_GROW_DEPTH ? "layers" : "widths");
    for (int i = 0; i < o->n_sizes; i++)
        printf("%s%lld", i ? "," : " ", (long long)o->sizes[i]);
    if (o->grow == MUP_GROW_HEAD_SIZE)
        printf(" with growing heads");
    printf(", %lld seed%s", (long long)o->seeds, o->seeds == 1 ? "" : "s");
    if (result->worst >= 0 && result->worst < result->n_rows) {
        printf("; worst ");
        coord_row_print(&result->rows[result->worst]);
    } else if (result->verdict == MUP_VERDICT_INCONCLUSIVE) {
        printf("; no row lies behind the first update, record step 2 too");
    }
    printf("\n");
}

void coord_break_print(const struct coord_result *result)
{
    int broken = result->wrong.broken;

    if (!broken)
        return;
    printf("wrong rule %s: %s\n", mup_break_name(broken),
           mup_break_text(broken));
    if (result->wrong.found >= 0) {
        printf("found: ");
        coord_row_print(&result->rows[result->wrong.found]);
        printf("\n");
    } else if (result->verdict == MUP_VERDICT_FAIL) {
        printf("the check fails, but at no tensor that this rule is about\n");
    } else {
        printf("this check does not see %s: no tensor that it is about fails; "
               "a sweep over the learning rate at several widths is the next "
               "gate\n",
               mup_break_name(broken));
    }
}
