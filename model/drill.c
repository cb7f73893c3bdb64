#include "model/drill.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORDS = 14 }; /* more than any form has */

struct words {
    char text[FIELD_TEXT_BYTES];
    char *word[MAX_WORDS];
    int n;
};

static const char *const kinds[] = { "weight", "m",       "v",
                                     "grad",   "compute", "copy" };
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static const char *const findings[] = {
    [DRILL_SLOW] = "slow",     [DRILL_BITS] = "bits",
    [DRILL_HANG] = "hang",     [DRILL_UNREADABLE] = "unreadable",
    [DRILL_DISK] = "disk",     [DRILL_CLOCK] = "clock",
    [DRILL_DEVICE] = "device",
};
enum { N_FINDINGS = sizeof(findings) / sizeof(findings[0]) };

const char *drill_kind_name(int kind)
{
    return kinds[kind];
}

static void split(const char *text, struct words *out)
{
    char *p = out->text;

    snprintf(out->text, sizeof(out->text), "%s", text);
    out->n = 0;
    while (*p && out->n < MAX_WORDS) {
        while (isspace((unsigned char)*p))
            *p++ = '\0';
        if (*p)
            out->word[out->n++] = p;
        while (*p && !isspace((unsigned char)*p))
            p++;
    }
}

/* "name number" from word i on. */
static int pair(const struct words *w, int i, const char *name, int64_t *out)
{
    char *end;
    long long value;

    if (i + 1 >= w->n || strcmp(w->word[i], name) != 0 ||
        !isdigit((unsigned char)w->word[i + 1][0]))
        return 0;
    errno = 0;
    value = strtoll(w->word[i + 1], &end, 10);
    if (errno || *end)
        return 0;
    *out = value;
    return 1;
}

static int bad(const char *key, const char *text, const char *form,
               struct mup_error *err)
{
    return mup_fail(err, MUP_USAGE, "drill.%s: '%s' is not of the form '%s'",
                    key, text, form);
}

/* One of the drills that say who and how much. */
struct simple {
    const char *key, *name, *form;
};

static int parse_simple(const struct simple *s, const char *text,
                        struct drill_at *out, struct mup_error *err)
{
    struct words w;

    out->rank = -1;
    split(text, &w);
    if (w.n == 0)
        return MUP_OK;
    if (w.n != 4 || !pair(&w, 0, "rank", &out->rank) ||
        !pair(&w, 2, s->name, &out->number) || out->number < 1)
        return bad(s->key, text, s->form, err);
    return MUP_OK;
}

static int parse_flip(const char *text, struct drill_flip *out,
                      struct mup_error *err)
{
    static const char form[] = "rank R step S weight|m|v|grad|compute|copy "
                               "TENSOR bit B [element N] [times N]";
    struct words w;

    out->rank = -1;
    out->element = -1;
    out->times = 1;
    split(text, &w);
    if (w.n == 0)
        return MUP_OK;
    if (w.n < 8 || !pair(&w, 0, "rank", &out->rank) ||
        !pair(&w, 2, "step", &out->step) || out->step < 1 ||
        !pair(&w, 6, "bit", &out->bit) || out->bit > 63 ||
        strlen(w.word[5]) >= sizeof(out->tensor))
        return bad("flip", text, form, err);
    for (int i = 8; i < w.n; i += 2)
        if (!pair(&w, i, "element", &out->element) &&
            !pair(&w, i, "times", &out->times))
            return bad("flip", text, form, err);
    while (out->kind < N_KINDS && strcmp(w.word[4], kinds[out->kind]) != 0)
        out->kind++;
    if (out->kind == N_KINDS)
        return bad("flip", text, form, err);
    snprintf(out->tensor, sizeof(out->tensor), "%s", w.word[5]);
    return MUP_OK;
}

static int parse_preflight(const char *text, struct drill_preflight *out,
                           struct mup_error *err)
{
    static const char form[] =
        "node NAME slow|bits|hang|unreadable|disk|clock|device";
    struct words w;

    split(text, &w);
    if (w.n == 0)
        return MUP_OK;
    if (w.n != 3 || strcmp(w.word[0], "node") != 0 ||
        strlen(w.word[1]) >= sizeof(out->node))
        return bad("preflight", text, form, err);
    for (int i = DRILL_SLOW; i < N_FINDINGS; i++)
        if (!strcmp(w.word[2], findings[i]))
            out->finding = i;
    if (out->finding == DRILL_FIT)
        return bad("preflight", text, form, err);
    snprintf(out->node, sizeof(out->node), "%s", w.word[1]);
    return MUP_OK;
}

int drill_finding_on(const struct drill *drill, const char *node)
{
    return strcmp(drill->preflight.node, node) ? DRILL_FIT
                                               : drill->preflight.finding;
}

int drill_parse(const struct drill_config *c, struct drill *out,
                struct mup_error *err)
{
    static const struct simple kill = { "kill", "step", "rank R step S" };
    static const struct simple stop = { "stop", "step", "rank R step S" };
    static const struct simple slow = { "slow", "ms", "rank R ms M" };
    static const struct simple late = { "slow_write", "ms", "rank R ms M" };
    static const struct simple fail = { "fail_write", "write",
                                        "rank R write N" };
    static const struct simple fill = { "fill_disk", "bytes",
                                        "rank R bytes N" };
    struct drill d = { .kill.rank = -1 };
    int rc = parse_simple(&kill, c->kill, &d.kill, err);

    if (!rc)
        rc = parse_simple(&stop, c->stop, &d.stop, err);
    if (!rc)
        rc = parse_simple(&slow, c->slow, &d.slow, err);
    if (!rc)
        rc = parse_simple(&late, c->slow_write, &d.slow_write, err);
    if (!rc)
        rc = parse_simple(&fail, c->fail_write, &d.fail_write, err);
    if (!rc)
        rc = parse_simple(&fill, c->fill_disk, &d.fill_disk, err);
    if (!rc)
        rc = parse_flip(c->flip, &d.flip, err);
    if (!rc)
        rc = parse_preflight(c->preflight, &d.preflight, err);
    if (!rc)
        *out = d;
    return rc;
}
