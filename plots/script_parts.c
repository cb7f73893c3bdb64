/* What the scripts of all pictures are made of. */
#include <math.h>
#include <stdlib.h>

#include "plots/render.h"

/* Text inside a gnuplot string that executes nothing: single quotes, control
 * characters gone.  A quote inside becomes a typographic one: gnuplot 5.4 takes
 * a doubled quote for the end of the string where it comes first. */
void script_put_inside(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\'')
            fputs("’", out);
        else
            fputc((unsigned char)*p < ' ' ? ' ' : *p, out);
    }
}

void script_put_quoted(FILE *out, const char *text)
{
    fputc('\'', out);
    script_put_inside(out, text);
    fputc('\'', out);
}

/* Colour t in [0,1] of viridis, as "#rrggbb".  Matplotlib's, five knots; "set
 * palette viridis" came after gnuplot 5.4. */
static void color(double t, char out[8])
{
    static const double knot[5][3] = { { 68, 1, 84 },
                                       { 59, 82, 139 },
                                       { 33, 145, 140 },
                                       { 94, 201, 98 },
                                       { 253, 231, 37 } };
    int i = (int)fmin(fmax(floor(t * 4), 0), 3), c[3];

    for (int k = 0; k < 3; k++)
        c[k] = (int)lround(knot[i][k] +
                           (t * 4 - i) * (knot[i + 1][k] - knot[i][k]));
    snprintf(out, 8, "#%02x%02x%02x", c[0] & 255, c[1] & 255, c[2] & 255);
}

/* Dark to light for i of n; yellow is left out, it vanishes on white. */
void script_series_color(int i, int n, char out[8])
{
    color(n > 1 ? 0.82 * i / (n - 1) : 0.35, out);
}

int script_columns(void)
{
    const char *text = getenv("COLUMNS");
    long n = text ? strtol(text, NULL, 10) : 0;

    return n >= 40 && n <= 400 ? (int)n : 100;
}

/* width and height in the units of the .svg. */
void script_put_head(FILE *out, int kind, int terminal, int width, int height)
{
    const char *name = plot_kind_name(kind);

    if (terminal == PLOT_DUMB) {
        fprintf(out,
                "set encoding utf8\nset terminal dumb noenhanced size "
                "%d,%d\n",
                script_columns(), height);
        return;
    }
    fprintf(out,
            "# gnuplot %s.gp draws %s.svg;\n"
            "# gnuplot -e \"term = 'png'\" %s.gp draws %s.png\n"
            "if (!exists('term')) term = '%s'\n"
            "if (!exists('out')) out = '%s.' . term\n"
            "set encoding utf8\n"
            "if (term eq 'png') {\n"
            "    set terminal pngcairo noenhanced size %d,%d font 'Sans,17' "
            "linewidth 1.8 pointscale 1.8 background '#ffffff'\n"
            "} else {\n"
            "    set terminal svg noenhanced size %d,%d dynamic font "
            "'Helvetica,13' background '#ffffff'\n"
            "}\n"
            "set output out\n"
            "set datafile missing 'NaN'\n"
            "set border 3 lc rgb '#777777'\n"
            "set tics nomirror tc rgb '#444444'\n"
            "set grid lc rgb '#e6e6e6' lt 1 lw 0.6\n",
            name, name, name, name, terminal == PLOT_PNG ? "png" : "svg", name,
            2 * width, 2 * height, width, height);
}

int script_no_data(const char *what, struct mup_error *err)
{
    return mup_fail(err, MUP_USAGE,
                    "the report has no data for a picture of %s", what);
}
