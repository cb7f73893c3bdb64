#include "launcher/run_timeline.h"

#include <stdlib.h>
#include <string.h>

#include "launcher/journal.h"

/* Stretches as they are found, later cut where they overlap. */
struct stretches {
    int n;
    struct span *span;
};

static void add(struct stretches *s, int kind, double from_s, double to_s)
{
    if (to_s > from_s)
        s->span[s->n++] = (struct span){ kind, from_s, to_s };
}

/* Where the run is, while its events go by. */
struct walk {
    double asked_s;  /* a job waits since, 0: none */
    double job_s;    /* a supervisor works since */
    double trains_s; /* ranks run since */
    double failed_s; /* a fault is open since */
};

/* A supervisor is gone at t. */
static void leave(struct walk *w, double t, struct stretches *out)
{
    if (w->job_s > 0)
        add(out, SPAN_RECOVERING, w->job_s, w->trains_s > 0 ? w->trains_s : t);
    if (w->trains_s > 0)
        add(out, SPAN_TRAINING, w->trains_s, t);
    if (w->failed_s > 0)
        add(out, SPAN_RECOVERING, w->failed_s, t);
    w->job_s = w->trains_s = w->failed_s = 0;
}

static void note_event(struct walk *w, const json_t *e, struct stretches *out)
{
    const char *name = journal_text(e, "event");
    const double t = journal_real(e, "time");

    if (!strcmp(name, "submitting") || !strcmp(name, "submitted")) {
        if (!(w->asked_s > 0) && !(w->job_s > 0))
            w->asked_s = t;
    } else if (!strcmp(name, "supervisor")) {
        leave(w, t, out); /* one that left no last word */
        if (w->asked_s > 0)
            add(out, SPAN_QUEUED, w->asked_s, t);
        w->asked_s = 0;
        w->job_s = t;
    } else if (!strcmp(name, "incarnation")) {
        if (!(w->trains_s > 0))
            w->trains_s = t;
    } else if (!strcmp(name, "failure")) {
        if (!(w->failed_s > 0))
            w->failed_s = t;
    } else if (!strcmp(name, "incident")) {
        const double began = journal_real(e, "began_unix_s");

        w->failed_s = 0;
        add(out, SPAN_RECOVERING, began, began + journal_real(e, "total_s"));
    } else if (!strcmp(name, "requeued")) {
        leave(w, t, out);
        w->asked_s = t;
    } else if (!strcmp(name, "ended")) {
        leave(w, t, out);
        if (w->asked_s > 0)
            add(out, SPAN_QUEUED, w->asked_s, t);
        w->asked_s = 0;
    }
}

static int by_number(const void *a, const void *b)
{
    const double *p = a, *q = b;

    return *p < *q ? -1 : *p > *q;
}

/* The kind of [from,to], within which nothing begins or ends: the greatest, or
 * -1. */
static int kind_of(const struct stretches *s, double from_s, double to_s)
{
    int kind = -1;

    for (int i = 0; i < s->n; i++)
        if (s->span[i].from_s <= from_s && s->span[i].to_s >= to_s &&
            s->span[i].kind > kind)
            kind = s->span[i].kind;
    return kind;
}

/* Stretches that overlap become spans that follow each other.  edge: room for
 * two numbers a stretch; out: for as many spans. */
static void flatten(const struct stretches *s, double *edge,
                    struct timeline *out)
{
    int n = 0;

    for (int i = 0; i < s->n; i++) {
        edge[n++] = s->span[i].from_s;
        edge[n++] = s->span[i].to_s;
    }
    qsort(edge, (size_t)n, sizeof(*edge), by_number);
    for (int i = 0; i + 1 < n; i++) {
        struct span *last = out->n ? &out->span[out->n - 1] : NULL;
        int kind =
            edge[i + 1] > edge[i] ? kind_of(s, edge[i], edge[i + 1]) : -1;

        if (kind < 0)
            continue;
        if (last && last->kind == kind && last->to_s >= edge[i])
            last->to_s = edge[i + 1];
        else
            out->span[out->n++] = (struct span){ kind, edge[i], edge[i + 1] };
    }
}

int timeline_make(const json_t *events, double end_s, struct timeline *out,
                  struct mup_error *err)
{
    /* At most four stretches an event, and those of the end. */
    const size_t room = 4 * json_array_size(events) + 4;
    struct stretches s = { 0, calloc(room, sizeof(*s.span)) };
    struct timeline t = { 0, calloc(2 * room, sizeof(*t.span)), 0, end_s };
    double *edge = calloc(2 * room, sizeof(*edge));
    struct walk w = { 0 };
    const json_t *e;
    size_t i;
    int rc = MUP_OK;

    if (!s.span || !t.span || !edge)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for the timeline");
    json_array_foreach(events, i, e)
    {
        if (rc == MUP_OK)
            note_event(&w, e, &s);
    }
    if (rc == MUP_OK) {
        leave(&w, end_s, &s);
        if (w.asked_s > 0)
            add(&s, SPAN_QUEUED, w.asked_s, end_s);
        flatten(&s, edge, &t);
        t.begin_s = t.n ? t.span[0].from_s : end_s;
        if (t.n && t.span[t.n - 1].to_s > t.end_s)
            t.end_s = t.span[t.n - 1].to_s;
        *out = t;
    } else {
        free(t.span);
    }
    free(s.span);
    free(edge);
    return rc;
}

void timeline_clear(struct timeline *t)
{
    free(t->span);
    *t = (struct timeline){ 0 };
}
