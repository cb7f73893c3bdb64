/* The gnuplot scripts.  One script draws both .svg and .png (the variable
 * "term"); "dumb" has scripts of its own, plain enough for 100 columns of
 * text.  All of report.json's text goes through script_put_quoted(). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plots/render.h"

/* ---- pieces ---------------------------------------------------------------
 */

/* The distinct widths of all curves in ascending order, so that a width has
 * one colour in every panel.  Of other axes, whatever grows. */
struct widths {
    int n;
    double width[64];
    const json_t *optimum[64]; /* one at that width */
    const char *word;          /* what grows */
    int wraps; /* a group's name leaves no room for a caption on its line */
};

#define LONG_NAME 14 /* bytes of such a name */

static void find_widths(const json_t *report, struct widths *out)
{
    const json_t *p, *o;
    size_t i, k;

    out->n = out->wraps = 0;
    out->word = render_word(report, "over", "word");
    json_array_foreach(json_object_get(report, "parametrizations"), i, p)
    {
        out->wraps |= strlen(json_text(p, "label")) > LONG_NAME;
        json_array_foreach(json_object_get(p, "optima"), k, o)
        {
            double width = json_value(o, "width");
            int at = out->n, known = 0;

            for (int w = 0; w < out->n; w++)
                known |= out->width[w] == width;
            if (known || out->n == 64)
                continue;
            for (; at > 0 && out->width[at - 1] > width; at--) {
                out->width[at] = out->width[at - 1];
                out->optimum[at] = out->optimum[at - 1];
            }
            out->width[at] = width;
            out->optimum[at] = o;
            out->n++;
        }
    }
}

static void width_color(const struct widths *all, double width, char out[8])
{
    int at = 0;

    while (at + 1 < all->n && all->width[at] < width)
        at++;
    script_series_color(at, all->n, out);
}

/* An exponent in superscript digits: 2⁻⁶. */
static void put_power(FILE *out, int k, int terminal)
{
    static const char *const digit[] = { "⁰", "¹", "²", "³", "⁴",
                                         "⁵", "⁶", "⁷", "⁸", "⁹" };
    char text[16];

    if (terminal == PLOT_DUMB) {
        fprintf(out, "2^%d", k);
        return;
    }
    snprintf(text, sizeof(text), "%d", k);
    fputc('2', out);
    for (const char *p = text; *p; p++)
        fputs(*p == '-' ? "⁻" : digit[*p - '0'], out);
}

/* One legend of n entries for all panels: at the foot of the picture, set
 * with its last panel.  Seven entries fill a row. */
static void put_legend(FILE *out, int last, int n)
{
    if (last)
        fprintf(out,
                "set key at screen 0.5, screen 0.015 center bottom vertical "
                "maxrows %d Left reverse samplen 1.6 width -1 tc rgb "
                "'#222222'\n",
                (n + 6) / 7);
    else
        fprintf(out, "unset key\n");
}

/* 1, 2 and 5 times powers of ten; only powers of ten over a wide range. */
static void put_log_tics(FILE *out, double lo, double hi)
{
    static const double mantissa[] = { 1, 2, 5 };
    int every = (int)ceil(log10(hi / lo) / 6), n = 0;

    fprintf(out, "set ytics (");
    for (int k = (int)floor(log10(lo)); k <= (int)ceil(log10(hi)); k++)
        for (int m = 0; m < 3; m++) {
            if ((m > 0 && hi / lo > 1e3) || (every > 1 && k % every))
                continue;
            fprintf(out, "%s%.6g", n++ ? ", " : "", mantissa[m] * pow(10, k));
        }
    fprintf(out, ")\n");
}

/* ---- learning-rate curves -------------------------------------------------
 */

static void put_rate_axis(FILE *out, const json_t *report, int terminal)
{
    const json_t *axis =
        json_object_get(json_object_get(report, "axes"), "log2_lr");
    double lo = json_number_value(json_array_get(axis, 0));
    double hi = json_number_value(json_array_get(axis, 1));
    int first = (int)ceil(lo - 1e-9), last = (int)floor(hi + 1e-9);
    int every = (last - first) / (terminal == PLOT_DUMB ? 6 : 10) + 1;

    fprintf(out, "set logscale x 2\nset xrange [2**%.4f:2**%.4f]\n", lo - 0.35,
            hi + 0.35);
    fprintf(out, "set xtics (");
    for (int k = first; k <= last; k += every) {
        fprintf(out, "%s'", k > first ? ", " : "");
        put_power(out, k, terminal);
        fprintf(out, "' 2.0**%d", k);
    }
    fprintf(out, ")\nset xlabel ");
    script_put_quoted(out, render_word(report, "of", "word"));
    fputc('\n', out);
}

/* Head-room above the curves takes the marks of diverged runs. */
static void put_loss_axis(FILE *out, const json_t *report)
{
    const json_t *study = json_object_get(report, "study");
    const json_t *axis =
        json_object_get(json_object_get(report, "axes"), "loss");
    double lo = json_number_value(json_array_get(axis, 0));
    double hi = json_number_value(json_array_get(axis, 1));
    double span = hi > lo ? hi - lo : 0.1 * fabs(lo) + 0.1;

    fprintf(out, "set yrange [%.10g:%.10g]\ntop = %.10g\nstep = %.10g\n",
            lo - 0.07 * span, hi + 0.16 * span, hi + 0.13 * span, 0.025 * span);
    fprintf(out, "set ylabel ");
    script_put_quoted(out, json_text(study, "metric"));
    fputc('\n', out);
}

static void put_panel_title(FILE *out, const json_t *p, int wraps, int terminal)
{
    double drift = json_value(json_object_get(p, "drift"), "value");

    fprintf(out, "set title '");
    script_put_inside(out, json_text(p, "label"));
    if (terminal == PLOT_DUMB && isfinite(drift)) { /* half a screen wide */
        fputs("  ", out);
        script_put_inside(out, json_text(p, "verdict"));
        fprintf(out, ": %+.2f oct/doubling'", drift);
        return;
    }
    fputs(wraps ? "'.\"\\n\".'" : "   ", out);
    script_put_inside(out, json_text(p, "caption"));
    fputc('\'', out);
}

/* The curves first .. first + n of lr.dat, and panel's optima. */
static void put_lr_panel(FILE *out, const json_t *p, int panel, int first,
                         const struct widths *all)
{
    const json_t *optima = json_object_get(p, "optima");
    int n = (int)json_array_size(optima);
    char c[8];

    put_panel_title(out, p, all->wraps, PLOT_SVG);
    fprintf(out, " tc rgb '#222222'\nplot \\\n");
    for (int i = 0; i < n; i++) {
        int k = first + i;

        width_color(all, json_value(json_array_get(optima, (size_t)i), "width"),
                    c);
        fprintf(out,
                "  'lr.dat' index %d using 1:($2-$3):($2+$3) with filledcurves "
                "fs transparent solid 0.18 noborder lc rgb '%s' notitle, \\\n"
                "  '' index %d using 1:2 with lines lw 1 dt (3,3) lc rgb '%s' "
                "notitle, \\\n"
                "  'fit.dat' index %d using 1:2 with lines lw 2.4 lc rgb '%s' "
                "notitle, \\\n"
                "  'lr.dat' index %d using 1:2 with points pt 7 ps 0.55 lc rgb "
                "'%s' notitle, \\\n"
                "  '' index %d using 1:($5 > 0 ? top - step * %d : NaN) with "
                "points pt 9 ps 0.7 lc rgb '%s' notitle, \\\n",
                k, c, k, c, k, c, k, c, k, i, c);
    }
    fprintf(out,
            "  'optimum.dat' index %d using 2:5 with lines lw 1.2 dt 2 lc rgb "
            "'#d1495b' notitle, \\\n"
            "  '' index %d using 2:5:3:4 with xerrorbars pt 7 ps 0.1 lw 1.8 "
            "lc rgb '#d1495b' notitle, \\\n"
            "  '' index %d using 2:5 with points pt 7 ps 1.0 lc rgb '#ffffff' "
            "notitle, \\\n"
            "  '' index %d using 2:5 with points pt 6 ps 1.0 lw 2.2 lc rgb "
            "'#d1495b' notitle, \\\n",
            panel, panel, panel, panel);
    for (int w = 0; w < all->n; w++) {
        width_color(all, all->width[w], c);
        fprintf(out, "  NaN with lines lw 2.4 lc rgb '%s' title ", c);
        script_put_quoted(out, json_text(all->optimum[w], "place"));
        fprintf(out, ", \\\n");
    }
    fprintf(
        out,
        "  NaN with points pt 6 ps 1.0 lw 2.2 lc rgb '#d1495b' title "
        "'optimum (95 %%)', \\\n"
        "  NaN with points pt 9 ps 0.8 lc rgb '#777777' title 'diverged'\n");
}

static void put_lr_panel_dumb(FILE *out, const json_t *p, int panel, int first,
                              const char *rate)
{
    const json_t *optima = json_object_get(p, "optima");
    int n = (int)json_array_size(optima);

    put_panel_title(out, p, 0, PLOT_DUMB);
    /* Digits as marks, 1 is the narrowest; the axis label is the legend. */
    fprintf(out, "\nset xlabel '");
    script_put_inside(out, rate);
    fputc(';', out);
    for (int i = 0; i < n; i++)
        fprintf(out, " %d:%g", (i + 1) % 10,
                json_value(json_array_get(optima, (size_t)i), "width"));
    fprintf(out, " O:best'\nplot ");
    for (int i = 0; i < n; i++)
        fprintf(out,
                "'lr.dat' index %d using 1:2 with lines lt %d, '' index %d "
                "using 1:2:('%d') with labels, ",
                first + i, i + 1, first + i, (i + 1) % 10);
    fprintf(out, "'optimum.dat' index %d using 2:5:('O') with labels\n", panel);
}

static int script_lr(const json_t *report, int terminal, FILE *out,
                     struct mup_error *err)
{
    const json_t *list = json_object_get(report, "parametrizations");
    int n = (int)json_array_size(list), first = 0;
    int narrow = terminal == PLOT_DUMB && script_columns() < 100;
    int columns = n > 1 && !narrow ? 2 : 1, rows = (n + columns - 1) / columns;
    struct widths all;

    if (n == 0)
        return script_no_data("learning-rate curves", err);
    find_widths(report, &all);
    script_put_head(out, PLOT_LR, terminal, n > 1 ? 1080 : 620,
                    terminal == PLOT_DUMB ? (rows > 1 ? 22 * rows : 26)
                                          : 470 * rows);
    put_loss_axis(out, report);
    put_rate_axis(out, report, terminal);
    if (terminal == PLOT_DUMB) {
        fprintf(out,
                "set datafile missing 'NaN'\nunset ylabel\nunset "
                "key\nset multiplot layout %d,%d\n",
                rows, columns);
    } else {
        fprintf(out, "set bmargin 6\nset multiplot layout %d,%d\n", rows,
                columns);
    }
    for (int k = 0; k < n; k++) {
        const json_t *p = json_array_get(list, (size_t)k);

        if (terminal != PLOT_DUMB)
            put_legend(out, k == n - 1, all.n + 2);
        if (terminal == PLOT_DUMB)
            put_lr_panel_dumb(out, p, k, first,
                              render_word(report, "of", "brief"));
        else
            put_lr_panel(out, p, k, first, &all);
        first += (int)json_array_size(json_object_get(p, "optima"));
    }
    fprintf(out, "unset multiplot\n");
    return MUP_OK;
}

/* ---- coordinate check -----------------------------------------------------
 */

static const char *verdict_color(const char *verdict)
{
    if (!strcmp(verdict, "FAIL"))
        return "#b3263a";
    return !strcmp(verdict, "inconclusive") ? "#8a6d00" : "#1b7f4d";
}

/* Both parametrizations show a tensor on the same scale, of a factor 4 at
 * least, so that flat looks flat. */
static void put_coord_range(FILE *out, const json_t *panels, const char *name)
{
    double lo = INFINITY, hi = 0, middle;
    const json_t *p;
    size_t i;

    json_array_foreach(panels, i, p)
    {
        const json_t *range = json_object_get(p, "range");
        const json_t *a = json_array_get(range, 0);

        if (strcmp(json_text(p, "name"), name) || !json_is_number(a))
            continue;
        lo = fmin(lo, json_number_value(a));
        hi = fmax(hi, json_number_value(json_array_get(range, 1)));
    }
    if (!(hi > 0) || !isfinite(lo))
        lo = hi = 1;
    middle = sqrt(lo * hi);
    lo = fmin(lo / 1.25, middle / 2);
    hi = fmax(hi * 1.25, middle * 2);
    fprintf(out, "set yrange [%.6g:%.6g]\n", lo, hi);
    put_log_tics(out, lo, hi);
}

/* Steps 1 to the last that any panel shows, so that a step has one colour. */
static int last_step(const json_t *panels)
{
    const json_t *p, *step;
    double last = 1;
    size_t i, k;

    json_array_foreach(panels, i, p)
    {
        json_array_foreach(json_object_get(p, "steps"), k, step)
        {
            last = fmax(last, json_number_value(step));
        }
    }
    return last < 1000 ? (int)last : 1000;
}

/* Entries of the legend, for the panel whose turn it is. */
static void put_step_keys(FILE *out, int last)
{
    char c[8];

    for (int step = 1; step <= last; step++) {
        script_series_color(step - 1, last, c);
        fprintf(out,
                ", \\\n  keyentry with linespoints pt 7 ps 0.4 lw 1.6 lc rgb "
                "'%s' title 'step %d'",
                c, step);
    }
}

/* The place of a tensor that a check did not record. */
static void put_empty_panel(FILE *out, int legend_steps)
{
    if (legend_steps == 0) {
        fprintf(out, "set multiplot next\n");
        return;
    }
    fprintf(out, "unset title\nunset xlabel\nunset ylabel\nunset border\n"
                 "unset tics\nset yrange [1:2]\nplot NaN notitle");
    put_step_keys(out, legend_steps);
    fputc('\n', out);
}

static void put_coord_panel(FILE *out, const json_t *panels, size_t k,
                            int first, int column)
{
    const json_t *p = json_array_get(panels, k);
    const json_t *steps = json_object_get(p, "steps");
    int n = (int)json_array_size(steps), last = last_step(panels);
    int legend = k + 1 == json_array_size(panels);
    char title[256], slope[32], c[8];

    if (n == 0) {
        put_empty_panel(out, legend ? last : 0);
        return;
    }
    put_coord_range(out, panels, json_text(p, "name"));
    if (isfinite(json_value(p, "slope")))
        snprintf(slope, sizeof(slope), "slope %+.2f", json_value(p, "slope"));
    else
        snprintf(slope, sizeof(slope), "no slope");
    snprintf(title, sizeof(title), "%s\n%s at step %g   %s",
             json_text(p, "name"), slope, json_value(p, "step"),
             json_text(p, "verdict"));
    /* put_quoted drops the line break: two strings, joined by gnuplot. */
    title[strlen(json_text(p, "name"))] = '\0';
    fprintf(out, "set title ");
    script_put_quoted(out, title);
    fprintf(out, ".\"\\n\".");
    script_put_quoted(out, title + strlen(title) + 1);
    fprintf(out, " tc rgb '%s' offset 0,-0.4\n",
            verdict_color(json_text(p, "verdict")));
    if (column == 0) {
        fprintf(out, "set ylabel '");
        script_put_inside(out, render_title(json_text(p, "parametrization")));
        fprintf(out, ":  mean size'\n");
    } else {
        fprintf(out, "unset ylabel\n");
    }
    fprintf(out, "plot ");
    for (int i = 0; i < n; i++) {
        double step = json_number_value(json_array_get(steps, (size_t)i));
        int decides = step == json_value(p, "step");

        script_series_color((int)step - 1, last, c);
        fprintf(out,
                "%s'coord.dat' index %d using 1:2 with linespoints pt 7 ps %s "
                "lw %s lc rgb '%s' notitle",
                i ? ", \\\n  " : "", first + i, decides ? "0.7" : "0.4",
                decides ? "3.4" : "1.6", c);
    }
    if (legend)
        put_step_keys(out, last);
    fputc('\n', out);
}

static void put_width_axis(FILE *out, const json_t *widths)
{
    double lo = json_number_value(json_array_get(widths, 0)), hi = lo;
    const json_t *w;
    size_t i;

    fprintf(out, "set logscale x 2\nset logscale y 10\nset xtics (");
    json_array_foreach(widths, i, w)
    {
        fprintf(out, "%s%g", i ? ", " : "", json_number_value(w));
        lo = fmin(lo, json_number_value(w));
        hi = fmax(hi, json_number_value(w));
    }
    fprintf(out, ")\nset xrange [%.6g:%.6g]\nset xlabel 'width'\n", lo / 1.15,
            hi * 1.15);
}

/* Margins in units of the .svg: room for axes, two-line titles and, at the
 * foot, the legend. */
static void put_coord_layout(FILE *out, int rows, int columns, int width,
                             int height)
{
    fprintf(out,
            "set multiplot layout %d,%d margins %.4f,%.4f,%.4f,%.4f spacing "
            "%.4f,%.4f\n",
            rows, columns, 75.0 / width, 1 - 15.0 / width, 90.0 / height,
            1 - 55.0 / height, 58.0 / width, 125.0 / height);
}

static int script_coord(const json_t *report, int terminal, FILE *out,
                        struct mup_error *err)
{
    const json_t *panels = json_object_get(report, "coord_panels");
    int n = (int)json_array_size(panels), rows = 1, columns, first = 0;
    int width, height;

    if (n == 0)
        return script_no_data(
            "a coordinate check; run coord-check into coord-sp and "
            "coord-mup of the folder",
            err);
    for (int k = 1; k < n; k++)
        rows += strcmp(json_text(json_array_get(panels, (size_t)k),
                                 "parametrization"),
                       json_text(json_array_get(panels, (size_t)k - 1),
                                 "parametrization")) != 0;
    columns = n / rows;
    width = 290 * columns + 40;
    height = terminal == PLOT_DUMB ? 22 * rows : 310 * rows + 40;
    script_put_head(out, PLOT_COORD, terminal, width, height);
    put_width_axis(out, json_object_get(json_array_get(panels, 0), "widths"));
    if (terminal == PLOT_DUMB)
        fprintf(out, "unset key\nset multiplot layout %d,%d\n", rows, columns);
    else
        put_coord_layout(out, rows, columns, width, height);
    for (int k = 0; k < n; k++) {
        const json_t *p = json_array_get(panels, (size_t)k);

        if (terminal != PLOT_DUMB)
            put_legend(out, k == n - 1, last_step(panels));
        put_coord_panel(out, panels, (size_t)k, first, k % columns);
        first += (int)json_array_size(json_object_get(p, "steps"));
    }
    fprintf(out, "unset multiplot\n");
    return MUP_OK;
}

/* ---- loss curves ----------------------------------------------------------
 */

/* The blocks of one parametrization; the target, in red, goes with muP. */
static void put_loss_panel(FILE *out, const json_t *blocks, const char *name,
                           const struct widths *all, int terminal)
{
    int seen = 0;
    const json_t *b;
    char c[8];
    size_t i;

    fprintf(out, "set title '");
    for (i = 0;
         strcmp(json_text(json_array_get(blocks, i), "parametrization"), name);
         i++)
        ;
    script_put_inside(out, json_text(json_array_get(blocks, i), "group"));
    fputs("   best run of each ", out);
    script_put_inside(out, all->word);
    fprintf(out, "' tc rgb '#222222'\nplot ");
    json_array_foreach(blocks, i, b)
    {
        int target = json_is_true(json_object_get(b, "target"));

        if (strcmp(json_text(b, "parametrization"), name))
            continue;
        width_color(all, json_value(b, "width"), c);
        fprintf(out, "%s'loss.dat' index %d using 1:2 with lines ",
                seen ? ", \\\n  " : "", (int)i);
        if (terminal != PLOT_DUMB)
            fprintf(out, "lw %s lc rgb '%s' ", target ? "2.6" : "1.6",
                    target ? "#d1495b" : c);
        fprintf(out, "title '%s", target ? "target, " : "");
        script_put_inside(out, json_text(b, "place"));
        fputc('\'', out);
        seen++;
    }
    fputc('\n', out);
}

/* Whether block i is the first of its parametrization. */
static int begins_panel(const json_t *blocks, size_t i)
{
    const char *name = json_text(json_array_get(blocks, i), "parametrization");

    for (size_t k = 0; k < i; k++)
        if (!strcmp(json_text(json_array_get(blocks, k), "parametrization"),
                    name))
            return 0;
    return 1;
}

static int script_loss(const json_t *report, int terminal, FILE *out,
                       struct mup_error *err)
{
    const json_t *blocks = json_object_get(report, "losses"), *b;
    struct widths all;
    int panels = 0;
    size_t i;

    find_widths(report, &all);
    for (i = 0; i < json_array_size(blocks); i++)
        panels += begins_panel(blocks, i);
    if (panels == 0)
        return script_no_data("loss curves", err);
    script_put_head(out, PLOT_LOSS, terminal, panels > 1 ? 540 * panels : 620,
                    terminal == PLOT_DUMB ? 26 : 420);
    /* One scale for all panels. */
    fprintf(out,
            "set datafile missing 'NaN'\n"
            "stats 'loss.dat' using 2 nooutput\n"
            "set yrange [STATS_min * 0.96 : STATS_max * 1.02]\n"
            "set logscale y\n"
            "set ytics (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 10, 12)\n"
            "set xlabel 'tokens'\nset format x '%%.0s%%c'\n"
            "%s\nset multiplot layout 1,%d\n",
            terminal == PLOT_DUMB
                ? "set key top right samplen 2"
                : "set ylabel 'training loss (nats per token)'\n"
                  "set key top right samplen 2 tc rgb '#222222'",
            panels);
    json_array_foreach(blocks, i, b)
    {
        if (begins_panel(blocks, i))
            put_loss_panel(out, blocks, json_text(b, "parametrization"), &all,
                           terminal);
    }
    fprintf(out, "unset multiplot\n");
    return MUP_OK;
}

/* ---- expert load ----------------------------------------------------------
 */

static void put_load_maps(FILE *out, int layers, int experts)
{
    fprintf(out,
            "set palette defined (0 '#2166ac', 0.5 '#92c5de', 1 '#f7f7f7', "
            "1.75 '#f4a582', 2.5 '#b2182b')\n"
            "set cbrange [0:2.5]\nset cblabel 'load (1 = an even share)'\n"
            "set yrange [-0.5:%g]\nset ylabel 'expert'\nset ytics 1\n"
            "unset grid\nunset key\n",
            experts - 0.5);
    if (experts > 16)
        fprintf(out, "set ytics %d\n", experts / 8);
    for (int l = 0; l < layers; l++)
        fprintf(
            out,
            "set title 'layer %d'\n"
            "plot 'load.dat' index %d using 1:2:3 with image pixels notitle\n",
            l, 2 * l);
}

static void put_load_lines(FILE *out, int layers, int terminal)
{
    char c[8];

    fprintf(out,
            "set title 'busiest expert: tokens against an even share'\n"
            "%s\nset yrange [0.9:*]\n"
            "set ytics autofreq\nset key top right\n",
            terminal == PLOT_DUMB ? "" : "set ylabel 'max / mean load'");
    if (terminal != PLOT_DUMB)
        fprintf(out, "set grid lc rgb '#e6e6e6' lt 1 lw 0.6\n"
                     "set arrow 1 from graph 0, first 1 to graph 1, first 1 "
                     "nohead dt 2 lc rgb '#777777'\n");
    fprintf(out, "plot ");
    for (int l = 0; l < layers; l++) {
        script_series_color(l, layers, c);
        fprintf(out, "%s'load.dat' index %d using 1:2 with lines ",
                l ? ", \\\n  " : "", 2 * l + 1);
        if (terminal != PLOT_DUMB)
            fprintf(out, "lw 1.8 lc rgb '%s' ", c);
        fprintf(out, "title 'layer %d'", l);
    }
    fputc('\n', out);
}

static int script_load(const json_t *report, int terminal, FILE *out,
                       struct mup_error *err)
{
    const json_t *load = json_object_get(report, "load");
    int layers, experts, shown;
    char title[256];

    if (!json_is_object(load))
        return script_no_data("expert load", err);
    layers = (int)json_value(load, "layers");
    experts = (int)json_value(load, "experts");
    shown = layers > 3 ? 3 : layers;
    script_put_head(out, PLOT_LOAD, terminal, 380 * (shown + 1),
                    terminal == PLOT_DUMB ? 24 : 380);
    fprintf(out,
            "set xlabel 'step'\nset xtics font ',11'\nset xrange [%g:%g]\n",
            json_value(load, "first_step"), json_value(load, "last_step"));
    if (terminal == PLOT_DUMB) { /* an image of letters says little */
        put_load_lines(out, layers, terminal);
        return MUP_OK;
    }
    snprintf(title, sizeof(title), "Tokens per expert: %s",
             json_text(load, "label"));
    fprintf(out, "set multiplot layout 1,%d title ", shown + 1);
    script_put_quoted(out, title);
    fputc('\n', out);
    put_load_maps(out, shown, experts);
    put_load_lines(out, layers, terminal);
    fprintf(out, "unset multiplot\n");
    return MUP_OK;
}

int script_write(const json_t *report, int kind, int terminal, FILE *out,
                 struct mup_error *err)
{
    const int is_run = json_is_object(json_object_get(report, "run"));

    switch (kind) {
    case PLOT_INCIDENTS:
        return script_incidents(report, terminal, out, err);
    case PLOT_LR:
        return script_lr(report, terminal, out, err);
    case PLOT_COORD:
        return script_coord(report, terminal, out, err);
    case PLOT_LOSS:
        return is_run ? script_run_loss(report, terminal, out, err)
                      : script_loss(report, terminal, out, err);
    case PLOT_LOAD:
        return script_load(report, terminal, out, err);
    default:
        return mup_fail(err, MUP_USAGE, "unknown picture %d", kind);
    }
}
