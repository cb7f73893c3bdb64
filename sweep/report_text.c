#include "sweep/report_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

static const char *display_name(int parametrization)
{
    return parametrization == MUP_MUP ? "muP" : "SP";
}

int report_main(const struct report *r)
{
    int found = -1;

    for (int i = 0; i < r->n_parametrizations; i++)
        if (found < 0 || r->parametrization[i] == MUP_MUP)
            found = i;
    return found;
}

static const char *moves(const struct transfer_report *t)
{
    return t->drift < 0 ? "falls" : "rises";
}

static void say_interval(struct report *r, const struct transfer_report *t)
{
    say(r, "drift %+.2f octaves per doubling, 95 %% interval %+.2f to %+.2f",
        t->drift, t->drift_lo, t->drift_hi);
}

static void say_edge(struct report *r, const struct transfer_report *t)
{
    for (int w = 0; w < t->n_widths; w++) {
        if (!t->optimum[w].edge)
            continue;
        say(r, "; at width %g the optimum lies at the %s end of the grid",
            t->optimum[w].width, t->optimum[w].edge < 0 ? "low" : "high");
        return;
    }
}

static void say_main(struct report *r, const char *name,
                     const struct transfer_report *t)
{
    if (t->verdict == TRANSFER_STABLE) {
        say(r, "The best learning rate stays at 2^%.1f under %s (",
            t->optimum[0].log2_lr, name);
        say_interval(r, t);
        say(r, ")");
    } else if (t->verdict == TRANSFER_DRIFTS) {
        say(r,
            "Under %s the best learning rate %s by %.2f octaves per doubling "
            "of width (95 %% interval %+.2f to %+.2f), so it cannot be carried "
            "to a wider model as it is",
            name, moves(t), fabs(t->drift), t->drift_lo, t->drift_hi);
    } else {
        say(r,
            "These runs do not decide whether the best learning rate stays "
            "under %s (",
            name);
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

    if (t->n_widths < 2)
        return;
    if (t->verdict == TRANSFER_DRIFTS && main_verdict == TRANSFER_DRIFTS)
        say(r,
            "; under %s it %s by %.2f octaves per doubling (95 %% interval "
            "%+.2f to %+.2f)",
            name, moves(t), fabs(t->drift), t->drift_lo, t->drift_hi);
    else if (t->verdict == TRANSFER_DRIFTS)
        say(r,
            "%s under %s it %s by %.2f octaves per doubling (95 %% interval "
            "%+.2f to %+.2f)",
            join, name, moves(t), fabs(t->drift), t->drift_lo, t->drift_hi);
    else if (t->verdict == TRANSFER_STABLE && main_verdict == TRANSFER_STABLE) {
        say(r, ", and it stays under %s too (", name);
        say_interval(r, t);
        say(r, "), so these widths do not tell the two apart");
    } else if (t->verdict == TRANSFER_STABLE) {
        say(r, "; under %s it stays (", name);
        say_interval(r, t);
        say(r, ")");
    } else {
        say(r, "%s under %s nothing is decided (", join, name);
        say_interval(r, t);
        say(r, ")");
    }
}

static void say_regret(struct report *r, const struct transfer_report *t,
                       const char *name)
{
    double from = t->optimum[0].width, to = t->optimum[t->n_widths - 1].width;

    if (isnan(t->regret))
        return;
    if (isinf(t->regret))
        say(r, "; under %s the rate tuned at width %g makes width %g diverge",
            name, from, to);
    else if (t->regret < 5e-5)
        say(r,
            "; under %s the rate tuned at width %g and carried to width %g "
            "costs less than 0.01 %% of loss",
            name, from, to);
    else
        say(r,
            "; under %s the rate tuned at width %g and carried to width %g "
            "costs %.2g %% of loss",
            name, from, to, 100 * t->regret);
}

void report_finding(struct report *r)
{
    int k = report_main(r);
    const struct transfer_report *t;
    const char *name;

    r->finding[0] = '\0';
    if (k < 0) {
        say(r, "No learning rate has a finished, undiverged run yet, so there "
               "is nothing to compare.");
        return;
    }
    t = &r->transfer[k];
    name = display_name(r->parametrization[k]);
    if (t->n_widths < 2) {
        say(r,
            "The best learning rate under %s at width %g is 2^%.1f (95 %% "
            "interval 2^%.1f to 2^%.1f); a single width says nothing about "
            "transfer.",
            name, t->optimum[0].width, t->optimum[0].log2_lr,
            t->optimum[0].log2_lr_lo, t->optimum[0].log2_lr_hi);
        return;
    }
    say_main(r, name, t);
    for (int i = 0; i < r->n_parametrizations; i++)
        if (i != k)
            say_control(r, display_name(r->parametrization[i]), &r->transfer[i],
                        t->verdict);
    say_regret(r, t, name);
    say(r, ".");
}

void report_caption(const struct transfer_report *t, char *out, size_t bytes)
{
    if (t->n_widths < 2)
        snprintf(out, bytes, "one width only");
    else
        snprintf(out, bytes, "%s: %+.2f octaves per doubling [%+.2f, %+.2f]",
                 transfer_verdict_name(t->verdict), t->drift, t->drift_lo,
                 t->drift_hi);
}

void report_regret(const struct transfer_report *t, char *out, size_t bytes)
{
    double from = t->optimum[0].width;
    double to = t->optimum[t->n_widths > 0 ? t->n_widths - 1 : 0].width;

    if (isnan(t->regret))
        snprintf(out, bytes, "one width only, nothing is carried");
    else if (isinf(t->regret))
        snprintf(out, bytes,
                 "the rate tuned at width %g makes width %g diverge", from, to);
    else
        snprintf(out, bytes,
                 "the rate tuned at width %g costs %.2f %% of loss at width "
                 "%g%s",
                 from, 100 * t->regret, to,
                 isinf(t->regret_hi) ? ", but may make it diverge" : "");
}
