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

const char *report_display_name(const char *name)
{
    if (!strcmp(name, mup_parametrization_name(MUP_MUP)))
        return "muP";
    if (!strcmp(name, mup_parametrization_name(MUP_SP)))
        return "SP";
    return *name ? name : "all runs";
}

void report_place(const char *name, double width, char *out, size_t bytes)
{
    snprintf(out, bytes, "%s%swidth %g", name, *name ? ", " : "", width);
}

int report_main(const struct report *r)
{
    int other = -1;

    for (int i = 0; i < r->n_parametrizations; i++) {
        if (!strcmp(r->name[i], mup_parametrization_name(MUP_MUP)))
            return i;
        if (other < 0 && strcmp(r->name[i], mup_parametrization_name(MUP_SP)))
            other = i;
    }
    return other < 0 && r->n_parametrizations > 0 ? 0 : other;
}

/* " under muP", or nothing where the runs have no name. */
struct under {
    char text[REPORT_NAME_BYTES + 8];
};

static struct under under(const char *name)
{
    struct under u = { "" };

    if (*name)
        snprintf(u.text, sizeof(u.text), " under %s",
                 report_display_name(name));
    return u;
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
        say(r, "The best learning rate stays at 2^%.1f%s (",
            t->optimum[0].log2_lr, under(name).text);
        say_interval(r, t);
        say(r, ")");
    } else if (t->verdict == TRANSFER_DRIFTS) {
        say(r,
            "%s%s%she best learning rate %s by %.2f octaves per doubling "
            "of width (95 %% interval %+.2f to %+.2f), so it cannot be carried "
            "to a wider model as it is",
            *name ? "Under " : "", *name ? report_display_name(name) : "",
            *name ? " t" : "T", moves(t), fabs(t->drift), t->drift_lo,
            t->drift_hi);
    } else {
        say(r,
            "These runs do not decide whether the best learning rate stays%s (",
            under(name).text);
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
        say(r, ";%s the rate tuned at width %g makes width %g diverge",
            under(name).text, from, to);
    else if (t->regret < 5e-5)
        say(r,
            ";%s the rate tuned at width %g and carried to width %g costs less "
            "than 0.01 %% of loss",
            under(name).text, from, to);
    else
        say(r,
            ";%s the rate tuned at width %g and carried to width %g costs "
            "%.2g %% of loss",
            under(name).text, from, to, 100 * t->regret);
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
    name = r->name[k];
    if (t->n_widths < 2) {
        say(r,
            "The best learning rate%s at width %g is 2^%.1f (95 %% interval "
            "2^%.1f to 2^%.1f); a single width says nothing about transfer.",
            under(name).text, t->optimum[0].width, t->optimum[0].log2_lr,
            t->optimum[0].log2_lr_lo, t->optimum[0].log2_lr_hi);
        return;
    }
    say_main(r, name, t);
    for (int i = 0; i < r->n_parametrizations; i++)
        if (i != k)
            say_control(r, report_display_name(r->name[i]), &r->transfer[i],
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
