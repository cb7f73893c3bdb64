#include "launcher/tagged.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tagged_open(int ranks, struct tagged *out)
{
    *out = (struct tagged){ .ranks = ranks, .current = -1 };
    out->part = calloc((size_t)ranks + 1, sizeof(*out->part));
    return out->part ? 0 : -1;
}

static struct tagged_part *part_of(const struct tagged *t, int rank)
{
    return &t->part[rank < 0 ? t->ranks : rank];
}

static void emit(struct tagged *t, int rank)
{
    struct tagged_part *p = part_of(t, rank);

    /* a pseudo-terminal ends lines with "\r\n" */
    if (p->n > 0 && p->text[p->n - 1] == '\r')
        p->n--;
    p->text[p->n] = '\0';
    p->n = 0;
    if (t->line)
        t->line(t->context, rank, p->text);
}

static void add(struct tagged *t, char c)
{
    struct tagged_part *p = part_of(t, t->current);

    if (c == '\n') {
        emit(t, t->current);
        t->current = -1;
        return;
    }
    p->text[p->n++] = c ? c : ' ';
    if (p->n == sizeof(p->text) - 1)
        emit(t, t->current);
}

static int span_digits(const char *text)
{
    return (int)strspn(text, "0123456789");
}

/* Whether text begins a tag: 0 no, 1 a part of one, 2 all of it. */
static int match_tag(const char *text, int *rank)
{
    static const char *const rest[] = { "]<stdout>:", "]<stderr>:" };
    const char *at = text + 1;
    int n = span_digits(at);

    if (text[0] != '[' || (at[0] && !n))
        return 0;
    at += n;
    if (*at != ',')
        return *at == '\0';
    n = span_digits(++at);
    if (n > 9 || (at[0] && !n))
        return 0;
    *rank = (int)strtol(at, NULL, 10);
    at += n;
    for (int i = 0; i < 2; i++)
        if (!strncmp(rest[i], at, strlen(at)))
            return strlen(at) == strlen(rest[i]) ? 2 : 1;
    return 0;
}

static void put(struct tagged *t, char c)
{
    int rank = -1, match;

    t->tag[t->n_tag++] = c;
    t->tag[t->n_tag] = '\0';
    match = c ? match_tag(t->tag, &rank) : 0;
    if (match == 1 && t->n_tag < sizeof(t->tag) - 1)
        return;
    if (match == 2 && rank < t->ranks) {
        t->current = rank;
        t->n_tag = 0;
        return;
    }
    /* No tag: its first byte is text, the others may begin one. */
    for (size_t i = 0; i + (c == '[') < t->n_tag; i++)
        add(t, t->tag[i]);
    t->n_tag = 0;
    if (c == '[')
        t->tag[t->n_tag++] = c;
}

void tagged_put(struct tagged *t, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(t, bytes[i]);
}

void tagged_close(struct tagged *t)
{
    if (!t->part)
        return;
    for (size_t i = 0; i < t->n_tag; i++)
        add(t, t->tag[i]);
    for (int i = 0; i <= t->ranks; i++)
        if (t->part[i].n > 0)
            emit(t, i < t->ranks ? i : -1);
    free(t->part);
    *t = (struct tagged){ .current = -1 };
}

void tagged_read_end(const char *line, struct tagged_end *end)
{
    const char *rank = strstr(line, "noticed that process rank ");
    const char *at = strstr(line, "exited on signal ");
    struct tagged_end found = *end;
    int job, part;

    if (rank && sscanf(rank, "noticed that process rank %d", &found.rank) == 1)
        *end = found;
    if (at && sscanf(at, "exited on signal %d", &found.signal) == 1)
        *end = found;
    at = strstr(line, "Process name: [[");
    if (at &&
        sscanf(at, "Process name: [[%d,%d],%d]", &job, &part, &found.rank) == 3)
        *end = found;
    at = strstr(line, "Exit code:");
    if (at && sscanf(at, "Exit code: %d", &found.status) == 1)
        *end = found;
}
