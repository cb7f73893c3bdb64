/* The pictures of a run: its loss, and what kept it from training. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plots/render.h"

/* As many incidents are shown, the newest. */
#define MAX_BARS 24

/* ---- loss ----------------------------------------------------------------
 */

int script_run_loss(const json_t *report, int terminal, FILE *out,
                    struct mup_error *err)
{
    const int dumb = terminal == PLOT_DUMB;
    const json_t *run = json_object_get(report, "run");
    const double marks = json_value(run, "marked_incidents");

    if (!(json_value(run, "logged_steps") > 0))
        return script_no_data("the loss; no step was logged yet", err);
    script_put_head(out, PLOT_LOSS, terminal, 900, dumb ? 26 : 400);
    fprintf(out,
            "set datafile missing 'NaN'\n"
            "stats 'loss.dat' index 0 using 2 nooutput\n"
            "set yrange [STATS_min * 0.97 : STATS_max * 1.03]\n"
            "set logscale y\n"
            "set ytics (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 10, 12)\n"
            "set xlabel 'tokens'\nset format x '%%.0s%%c'\n"
            "set autoscale xfixmax\n");
    if (dumb) {
        fprintf(out, "unset key\nplot 'loss.dat' index 0 using 1:2 with "
                     "lines\n");
        return MUP_OK;
    }
    fprintf(out,
            "set ylabel 'loss (nats per token)'\n"
            "set key top right samplen 2 tc rgb '#222222'\n"
            "plot 'loss.dat' index 0 using 1:2 with lines lw 1.8 lc rgb "
            "'#33638d' title 'training', \\\n"
            "  '' index 0 using 1:3 with points pt 7 ps 0.6 lc rgb '#222222' "
            "title 'validation'");
    if (marks > 0)
        fprintf(out, ", \\\n  '' index 1 using 1:2 with points pt 11 ps 1.1 lc "
                     "rgb '#b3263a' title 'went on after an incident'");
    /* Even numbers above, odd ones below, where a curve that falls is not: two
     * that are close stay legible. */
    for (int odd = 0; odd < 2 && marks > 0 && marks <= MAX_BARS; odd++)
        fprintf(out,
                ", \\\n  '' index 1 using (int($3) %% 2 == %d ? $1 : NaN):2:"
                "(sprintf('%%d', int($3))) with labels offset %s tc rgb "
                "'#b3263a' font ',12' notitle",
                odd, odd ? "-0.8,-0.6" : "0.8,0.6");
    fputc('\n', out);
    return MUP_OK;
}

/* ---- incidents ------------------------------------------------------------
 */

#define WIDTH 900

/* The parts, in the order of the columns of incidents.dat from the fourth. */
static const struct {
    const char *title, *color;
} parts[] = {
    { "detect", "#a8323e" },     { "fence", "#df7f3f" },
    { "replace", "#edc260" },    { "relaunch", "#8fb573" },
    { "rendezvous", "#3f9b93" }, { "load", "#3d6fae" },
    { "first step", "#7b5a9c" },
};
#define N_PARTS (int)(sizeof(parts) / sizeof(*parts))

static const struct {
    const char *name, *color;
} spans[] = {
    { "training", "#8cc3a3" },
    { "starting, recovering", "#b3263a" },
    { "queued", "#cfc9ba" },
};

/* A time axis that people read. */
struct unit {
    double seconds;
    const char *name;
};

static struct unit unit_of(double seconds)
{
    static const struct unit units[] = { { 86400, "days" },
                                         { 3600, "hours" },
                                         { 60, "minutes" } };

    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
        if (seconds >= 3 * units[i].seconds)
            return units[i];
    return (struct unit){ 1, "seconds" };
}

/* "9.8 s", "3m20s", "2h05m". */
static void duration(double s, char *out, size_t bytes)
{
    long long n = s > 0 && s < 1e12 ? (long long)(s + 0.5) : 0;

    if (s < 99.95)
        snprintf(out, bytes, "%.1f s", s);
    else if (n < 3600)
        snprintf(out, bytes, "%lldm%02llds", n / 60, n % 60);
    else
        snprintf(out, bytes, "%lldh%02lldm", n / 3600, n / 60 % 60);
}

/* Where the bars end: a job that waited long for its nodes would make the other
 * bars invisible, so that its own is cut. */
static double widest_bar(const json_t *list, size_t first)
{
    double all = 0, without = 0;

    for (size_t i = first; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        double total = json_value(o, "total_s");
        double replace = json_value(o, "replace_s");

        if (!isfinite(total))
            continue;
        all = fmax(all, total);
        without = fmax(without, total - (isfinite(replace) ? replace : 0));
    }
    all = fmin(all, 2.5 * without);
    return all > 0 ? all : 1;
}

/* Numbers above the strip, as far as there is room: three heights, each with
 * its own last place.  Returns how many heights there are. */
static int put_marks(FILE *out, const json_t *list, double wall_s,
                     struct unit unit)
{
    double last[3] = { -INFINITY, -INFINITY, -INFINITY };
    const json_t *o;
    int levels = 0;
    size_t i;

    json_array_foreach(list, i, o)
    {
        double at = json_value(o, "at_s");
        int level = 0;

        if (!isfinite(at))
            continue;
        while (level < 3 && at - last[level] < 0.022 * wall_s)
            level++;
        if (level == 3)
            continue;
        last[level] = at;
        levels = level >= levels ? level + 1 : levels;
        fprintf(out,
                "set label %d '%.0f' at first %.8g, first %.3g center tc rgb "
                "'#b3263a' font ',12'\n",
                (int)(i % 100000) + 1, json_value(o, "number"),
                at / unit.seconds, 1.25 + 0.36 * level);
    }
    return levels;
}

static void put_strip(FILE *out, const json_t *report, double wall_s)
{
    const struct unit unit = unit_of(wall_s);
    int levels;
    const int n = sizeof(spans) / sizeof(*spans);

    fprintf(out,
            "set xrange [0:%.8g]\nunset ytics\nunset "
            "ylabel\nset grid noxtics noytics\nset border 1\n"
            "set xlabel '%s since the first job began to wait'\n"
            "set key at graph 1, graph 1.04 right bottom horizontal Left "
            "reverse samplen 1 width -2 maxrows 1 tc rgb '#222222'\n"
            "set style fill solid 1 noborder\n"
            "unset title\n",
            wall_s / unit.seconds, unit.name);
    levels = put_marks(out, json_object_get(report, "incidents"), wall_s, unit);
    fprintf(out, "set yrange [0:%.3g]\n", 1.1 + 0.36 * levels);
    fprintf(out, "plot ");
    /* What is short would vanish: a thousandth of the strip at least, drawn
     * last. */
    for (int k = 0; k < n; k++) {
        int kind = k == 0 ? 0 : k == 1 ? 2 : 1;

        fprintf(out,
                "%s'incidents.dat' index 0 using ($3 == %d ? $1/%g : NaN):(0.5)"
                ":($1/%g):(($2 > $1 + %.6g ? $2 : $1 + %.6g)/%g):(0.05):(0.95) "
                "with boxxyerror lc rgb '%s' title '%s'",
                k ? ", \\\n  " : "", kind, unit.seconds, unit.seconds,
                wall_s / 1000, wall_s / 1000, unit.seconds, spans[kind].color,
                spans[kind].name);
    }
    fprintf(out, "\nunset label\n");
}

/* Its number, what it was and where, as the label of a bar. */
static void put_bar_tics(FILE *out, const json_t *list, size_t first)
{
    fprintf(out, "set ytics (");
    for (size_t i = first; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);

        fprintf(out, "%s'%.0f  ", i > first ? ", \\\n  " : "",
                json_value(o, "number"));
        script_put_inside(out, json_text(o, "label"));
        fprintf(out, "' %.0f", json_value(o, "number"));
    }
    fprintf(out, ")\n");
}

/* Room for the longest label, as a share of the picture: 7 units a letter. */
static double left_margin(const json_t *list, size_t first)
{
    size_t most = 10;

    for (size_t i = first; i < json_array_size(list); i++) {
        size_t n = strlen(json_text(json_array_get(list, i), "label"));

        most = n > most ? n : most;
    }
    return fmin(0.45, (7.0 * (double)most + 45) / WIDTH);
}

static void put_totals(FILE *out, const json_t *list, size_t first, double most)
{
    for (size_t i = first; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        double total = json_value(o, "total_s");
        char text[32];

        if (!isfinite(total))
            continue;
        duration(total, text, sizeof(text));
        fprintf(out,
                "set label '%s%s' at first %.8g, first %.0f offset 0.7,0 left "
                "tc rgb '#222222'\n",
                total > most ? "» " : "", text, fmin(total, most),
                json_value(o, "number"));
    }
}

static void put_bars(FILE *out, const json_t *list, size_t first)
{
    const double most = widest_bar(list, first);

    fprintf(
        out,
        "set xrange [0:%.8g]\nset yrange [%.0f.55:%.0f.45]\n"
        "set xlabel 'seconds until training went on'\nset xtics auto\n"
        "set grid xtics noytics lc rgb '#e6e6e6' lt 1 lw 0.6\n"
        "set border 1\nset ytics nomirror scale 0 tc rgb '#222222'\n"
        "set key at screen 0.965, graph 1.02 right bottom horizontal Left "
        "reverse samplen 1 width -1 maxrows 1 tc rgb '#222222'\nunset title\n",
        1.1 * most, (double)json_array_size(list), (double)first);
    put_bar_tics(out, list, first);
    put_totals(out, list, first, most);
    fprintf(out, "cut(x) = x < %.8g ? x : %.8g\nplot ", most, most);
    for (int k = 0; k < N_PARTS; k++) {
        char from[64] = "0", to[64] = "$4";

        if (k > 0)
            snprintf(from, sizeof(from), "sum [c=4:%d] column(c)", k + 3);
        snprintf(to, sizeof(to), "sum [c=4:%d] column(c)", k + 4);
        fprintf(out,
                "%s'incidents.dat' index 1 using (0):1:(cut(%s)):(cut(%s)):"
                "($1-0.32):($1+0.32) with boxxyerror lc rgb '%s' title '%s'",
                k ? ", \\\n  " : "", from, to, parts[k].color, parts[k].title);
    }
    fprintf(out, "\n");
}

static void put_dumb(FILE *out, const json_t *list, size_t first)
{
    fprintf(out,
            "unset key\nset xrange [0:%.8g]\nset yrange [%.0f.5:%.0f.5]\n"
            "set xlabel 'seconds until training went on'\n",
            1.05 * widest_bar(list, first), (double)json_array_size(list),
            (double)first);
    put_bar_tics(out, list, first);
    fprintf(out, "plot 'incidents.dat' index 1 using (0):1:3:(0) with vectors "
                 "nohead\n");
}

int script_incidents(const json_t *report, int terminal, FILE *out,
                     struct mup_error *err)
{
    const json_t *list = json_object_get(report, "incidents");
    const size_t n = json_array_size(list);
    const size_t first = n > MAX_BARS ? n - MAX_BARS : 0;
    const int bars = (int)(n - first);
    const double wall_s = json_value(json_object_get(report, "run"), "strip_s");
    int height = 150 + (bars ? 110 + 30 * bars : 0);

    if (!(wall_s > 0))
        return script_no_data("incidents; only runs under SLURM have them",
                              err);
    if (terminal == PLOT_DUMB) {
        if (bars == 0)
            return script_no_data("incidents: there were none", err);
        script_put_head(out, PLOT_INCIDENTS, terminal, WIDTH, 6 + 2 * bars);
        put_dumb(out, list, first);
        return MUP_OK;
    }
    script_put_head(out, PLOT_INCIDENTS, terminal, WIDTH, height);
    fprintf(out,
            "set multiplot\nset lmargin at screen %.4f\nset rmargin at screen "
            "%.4f\nset tmargin at screen %.4f\nset bmargin at screen %.4f\n",
            bars ? left_margin(list, first) : 0.04, 0.965, 1 - 34.0 / height,
            1 - 105.0 / height);
    put_strip(out, report, wall_s);
    if (bars) {
        fprintf(out, "set tmargin at screen %.4f\nset bmargin at screen %.4f\n",
                1 - 195.0 / height, 48.0 / height);
        put_bars(out, list, first);
    }
    fprintf(out, "unset multiplot\n");
    return MUP_OK;
}
