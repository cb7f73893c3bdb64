#include "sweep/report_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sweep/report_data.h"

/* Append to r->finding; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void say(struct report *r,
                                                      const char *format, ...)
{
    size_t used = strlen(r->finding);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(r->finding + used, sizeof(r->finding) - used, format, args);
    va_end(args);
}

int report_main(const struct report *r)
{
    return report_main_group(&r->axes.by, r->name, r->n_parametrizations);
}

/* " under muP", or nothing where the runs have no name. */
static struct phrase under(const struct report *r, const char *name)
{
    struct phrase p = { "" };

    if (*name)
        snprintf(p.text, sizeof(p.text), " %.180s",
                 axes_under(&r->axes, name).text);
    return p;
}

/* The same at the begin of a sentence that goes on with "the": "Under muP t",
 * or "T". */
static struct phrase begin_under(const struct report *r, const char *name)
{
    struct phrase p = { "T" };

    if (*name)
        snprintf(p.text, sizeof(p.text), "%.180s t",
                 axes_under(&r->axes, name).text);
    if (p.text[0] >= 'a' && p.text[0] <= 'z')
        p.text[0] = (char)(p.text[0] - 'a' + 'A');
    return p;
}

static const char *moves(const struct transfer_report *t)
{
    return t->drift < 0 ? "falls" : "rises";
}

static void say_interval(struct report *r, const struct transfer_report *t)
{
    say(r, "drift %+.2f octaves per %s, 95 %% interval %+.2f to %+.2f",
        t->drift, axes_doubling(&r->axes).text, t->drift_lo, t->drift_hi);
}

static void say_edge(struct report *r, const struct transfer_report *t)
{
    for (int w = 0; w < t->n_widths; w++) {
        if (!t->optimum[w].edge)
            continue;
        say(r, "; at %s the optimum lies at the %s end of the grid",
            axes_at(&r->axes, t->optimum[w].width).text,
            t->optimum[w].edge < 0 ? "low" : "high");
        return;
    }
}

static void say_main(struct report *r, const char *name,
                     const struct transfer_report *t)
{
    const struct axes *a = &r->axes;

    if (t->verdict == TRANSFER_STABLE) {
        say(r, "The best %s stays at 2^%.1f%s (", a->of.word,
            t->optimum[0].log2_lr, under(r, name).text);
        say_interval(r, t);
        say(r, ")");
    } else if (t->verdict == TRANSFER_DRIFTS) {
        say(r,
            "%she best %s %s by %.2f octaves per doubling of %s (95 %% "
            "interval %+.2f to %+.2f), so it cannot be carried to %s as it is",
            begin_under(r, name).text, a->of.word, moves(t), fabs(t->drift),
            a->over.growth, t->drift_lo, t->drift_hi, a->over.larger);
    } else {
        say(r, "These runs do not decide whether the best %s stays%s (",
            a->of.word, under(r, name).text);
        say_interval(r, t);
        say(r, ")");
        say_edge(r, t);
    }
}

/* The control beside it.  How it is joined depends on what was said. */
static void say_control(struct report *r, const char *name,
                        const struct transfer_report *t, int main_verdict)
{
    const char *join = main_verdict == TRANSFER_STABLE ? ", while" : ";";
    const struct phrase where = axes_under(&r->axes, name);

    if (t->n_widths < 2)
        return;
    if (t->verdict == TRANSFER_DRIFTS) {
        say(r,
            "%s %s it %s by %.2f octaves per %s (95 %% interval %+.2f to "
            "%+.2f)",
            join, where.text, moves(t), fabs(t->drift),
            axes_doubling(&r->axes).text, t->drift_lo, t->drift_hi);
    } else if (t->verdict == TRANSFER_STABLE) {
        if (main_verdict == TRANSFER_STABLE)
            say(r, ", and it stays %s too (", where.text);
        else
            say(r, "; %s it stays (", where.text);
        say_interval(r, t);
        say(r, ")");
    } else {
        say(r, "%s %s nothing is decided (", join, where.text);
        say_interval(r, t);
        say(r, ")");
    }
}

/* Where everything stays, nothing was told apart. */
static void say_same(struct report *r, const char *plural)
{
    int compared = 0;

    for (int i = 0; i < r->n_parametrizations; i++) {
        if (r->transfer[i].n_widths < 2)
            continue;
        if (r->transfer[i].verdict != TRANSFER_STABLE)
            return;
        compared++;
    }
    if (compared == 2)
        say(r, ", so these %s do not tell the two apart", plural);
    else if (compared > 2)
        say(r, ", so these %s do not tell the %d apart", plural, compared);
}

static void say_regret(struct report *r, const struct transfer_report *t,
                       const char *name)
{
    const double first = t->optimum[0].width;
    const struct phrase from = axes_at(&r->axes, first);
    const struct phrase to =
        axes_at(&r->axes, t->optimum[t->n_widths - 1].width);

    if (isnan(t->regret))
        return;
    say(r, ";%s the %s tuned at %s ", under(r, name).text, r->axes.of.brief,
        from.text);
    if (isinf(t->regret))
        say(r, "makes %s diverge", to.text);
    else if (t->regret < 5e-5)
        say(r, "and carried to %s costs less than 0.01 %% of loss", to.text);
    else
        say(r, "and carried to %s costs %.2g %% of loss", to.text,
            100 * t->regret);
}

void report_finding(struct report *r)
{
    int k = report_main(r);
    const struct transfer_report *t;
    const char *name;

    r->finding[0] = '\0';
    if (k < 0) {
        say(r,
            "No %s has a finished, undiverged run yet, so there is nothing to "
            "compare.",
            r->axes.of.word);
        return;
    }
    t = &r->transfer[k];
    name = r->name[k];
    if (t->n_widths < 2) {
        say(r,
            "The best %s%s at %s is 2^%.1f (95 %% interval 2^%.1f to 2^%.1f); "
            "a single %s says nothing about transfer.",
            r->axes.of.word, under(r, name).text,
            axes_at(&r->axes, t->optimum[0].width).text, t->optimum[0].log2_lr,
            t->optimum[0].log2_lr_lo, t->optimum[0].log2_lr_hi,
            r->axes.over.word);
        return;
    }
    say_main(r, name, t);
    for (int i = 0; i < r->n_parametrizations; i++)
        if (i != k)
            say_control(r, r->name[i], &r->transfer[i], t->verdict);
    say_same(r, r->axes.over.plural);
    say_regret(r, t, name);
    say(r, ".");
}

void report_caption(const struct axes *axes, const struct transfer_report *t,
                    char *out, size_t bytes)
{
    if (t->n_widths < 2)
        snprintf(out, bytes, "one %s only", axes->over.word);
    else
        snprintf(out, bytes, "%s: %+.2f octaves per %s [%+.2f, %+.2f]",
                 transfer_verdict_name(t->verdict), t->drift,
                 axes_doubling(axes).text, t->drift_lo, t->drift_hi);
}

void report_regret(const struct axes *axes, const struct transfer_report *t,
                   char *out, size_t bytes)
{
    const int last = t->n_widths > 0 ? t->n_widths - 1 : 0;
    const struct phrase from = axes_at(axes, t->optimum[0].width);
    const struct phrase to = axes_at(axes, t->optimum[last].width);

    if (isnan(t->regret))
        snprintf(out, bytes, "one %s only, nothing is carried",
                 axes->over.word);
    else if (isinf(t->regret))
        snprintf(out, bytes, "the %s tuned at %s makes %s diverge",
                 axes->of.brief, from.text, to.text);
    else
        snprintf(out, bytes, "the %s tuned at %s costs %.2f %% of loss at %s%s",
                 axes->of.brief, from.text, 100 * t->regret, to.text,
                 isinf(t->regret_hi) ? ", but may make it diverge" : "");
}
