#include "plots/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "plots/render.h"

static const char style[] =
    ":root{--ink:#1d2328;--soft:#5c6670;--line:#dfe3e7;--page:#fff;--card:"
    "#f6f8fa;--good:#1b7f4d;--bad:#b3263a;--open:#8a6d00}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e8eb;--soft:#9aa5ae;"
    "--line:#333b42;--page:#14181b;--card:#1d2328;--good:#5cc98f;--bad:#f08090;"
    "--open:#e0c060}}"
    "body{font:16px/1.55 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,"
    "sans-serif;color:var(--ink);background:var(--page);max-width:1120px;"
    "margin:2.5rem auto;padding:0 1.25rem}"
    "h1{font-size:1rem;font-weight:600;color:var(--soft);margin:0}"
    "h2{font-size:1.15rem;margin:2.6rem 0 .6rem}"
    ".finding{font-size:1.4rem;line-height:1.4;margin:.4rem 0 1.2rem}"
    "p.note,figcaption{color:var(--soft);font-size:.92rem;margin:.4rem 0}"
    "table{border-collapse:collapse;margin:.4rem 0;font-variant-numeric:"
    "tabular-nums}"
    "th,td{text-align:left;padding:.3rem 1.2rem .3rem 0;border-bottom:1px "
    "solid var(--line);vertical-align:top}th{font-weight:600;color:var(--soft);"
    "font-size:.88rem}td.n,th.n{text-align:right}sup{line-height:0}"
    ".wide{overflow-x:auto}"
    "figure{margin:1rem 0;background:#fff;border:1px solid var(--line);"
    "border-radius:6px;padding:.5rem}figure svg{width:100%;height:auto;display:"
    "block}figcaption{color:#5c6670;padding:0 .5rem .3rem}"
    ".good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:"
    "600}.open{color:var(--open);font-weight:600}"
    "pre{background:var(--card);padding:.8rem "
    "1rem;border-radius:6px;overflow-x:"
    "auto;font-size:.86rem;line-height:1.45}code{font-size:.92em}"
    "ul{padding-left:1.2rem}li{margin:.2rem 0}summary{cursor:pointer}";

void page_begin(FILE *out, const char *title, const char *finding)
{
    fputs("<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
          "<meta name=viewport content='width=device-width'>\n<title>",
          out);
    page_put_text(out, title);
    fprintf(out, "</title>\n<style>%s</style></head><body>\n<h1>", style);
    page_put_text(out, title);
    fputs("</h1>\n<p class=finding>", out);
    page_put_rich(out, finding);
    fputs("</p>\n", out);
}

/* ---- text ---- */

void page_put_text(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            fputc(*p, out);
        }
    }
}

/* The same with 2^-5.8 set as a power. */
void page_put_rich(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        size_t n = *p == '^' ? strspn(p + 1, "-+.0123456789") : 0;
        char one[2] = { *p, '\0' };

        if (n > 0 && p[n] == '.') /* a full stop */
            n--;
        if (n > 0) {
            fprintf(out, "<sup>%.*s</sup>", (int)n, p + 1);
            p += n;
        } else {
            page_put_text(out, one);
        }
    }
}

/* A sentence of the result files: first letter up, full stop. */
void page_put_sentence(FILE *out, const char *text)
{
    char first[2] = { 0 };
    size_t n = strlen(text);

    if (n == 0)
        return;
    first[0] = text[0] >= 'a' && text[0] <= 'z' && strncmp(text, "muP", 3)
                   ? (char)(text[0] - 'a' + 'A')
                   : text[0];
    page_put_text(out, first);
    page_put_rich(out, text + 1);
    if (text[n - 1] != '.')
        fputc('.', out);
}

void page_put_verdict(FILE *out, const char *verdict)
{
    static const char *const good[] = { "stable",   "PASS", "ok",
                                        "expected", "yes",  "done" };
    static const char *const bad[] = { "drifts", "FAIL", "no", "diverged",
                                       "failed" };
    const char *class = "open";

    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        class = strcmp(verdict, good[i]) ? class : "good";
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        class = strcmp(verdict, bad[i]) ? class : "bad";
    fprintf(out, "<span class=%s>", class);
    page_put_text(out, verdict);
    fputs("</span>", out);
}

/* A cell of one number, a double; a dash where it is not finite. */
__attribute__((format(printf, 2, 0))) static void
vput_number(FILE *out, const char *format, va_list args)
{
    va_list copy;
    double value;

    va_copy(copy, args);
    value = va_arg(copy, double);
    va_end(copy);
    fputs("<td class=n>", out);
    if (isfinite(value))
        vfprintf(out, format, args);
    else
        fputs("&ndash;", out);
    fputs("</td>", out);
}

__attribute__((format(printf, 2, 3))) void
page_put_number(FILE *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vput_number(out, format, args);
    va_end(args);
}

/* A row of one number, a double. */
__attribute__((format(printf, 3, 4))) void
page_put_pair(FILE *out, const char *name, const char *format, ...)
{
    va_list args;

    fprintf(out, "<tr><td>%s", name);
    va_start(args, format);
    vput_number(out, format, args);
    va_end(args);
    fputs("</tr>\n", out);
}

void page_put_list(FILE *out, const char *title, const json_t *list)
{
    const json_t *o;
    size_t i;

    if (json_array_size(list) == 0)
        return;
    fprintf(out, "<h2>%s</h2>\n<ul>", title);
    json_array_foreach(list, i, o)
    {
        fputs("<li>", out);
        page_put_sentence(out,
                          json_string_value(o) ? json_string_value(o) : "");
        fputs("</li>\n", out);
    }
    fputs("</ul>\n", out);
}

/* Scalars of the manifest as rows, objects and arrays by a dotted name. */
void page_put_facts(FILE *out, const char *prefix, const json_t *value)
{
    char name[256];
    const char *key;
    json_t *v;
    size_t i;

    if (strlen(prefix) > 128) /* deeper than any manifest */
        return;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, v)
        {
            snprintf(name, sizeof(name), "%s%s%.64s", prefix,
                     *prefix ? "." : "", key);
            page_put_facts(out, name, v);
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, v)
        {
            snprintf(name, sizeof(name), "%s.%zu", prefix, i + 1);
            page_put_facts(out, name, v);
        }
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY);

        fputs("<tr><td>", out);
        page_put_text(out, prefix);
        fputs("<td><code>", out);
        page_put_text(out, json_is_string(value) ? json_string_value(value)
                           : text                ? text
                                                 : "");
        fputs("</code></tr>\n", out);
        free(text);
    }
}

/* ids of an SVG are global to the page that holds it: put prefix before each
 * (id="x", href="#x", url(#x)). */
static void put_svg(FILE *out, const char *svg, const char *prefix)
{
    static const char *const before[] = { "id=\"", "id='", "href=\"#",
                                          "href='#", "url(#" };
    const char *p = strstr(svg, "<svg");

    while (p && *p) {
        size_t n = 0;

        for (size_t i = 0; i < sizeof(before) / sizeof(*before) && n == 0; i++)
            if (!strncmp(p, before[i], strlen(before[i])))
                n = strlen(before[i]);
        if (n > 0)
            fprintf(out, "%.*s%s-", (int)n, p, prefix);
        else
            fputc(*p, out);
        p += n > 0 ? n : 1;
    }
}

int page_begin_picture(FILE *out, const char *dir, int kind)
{
    const char *name = plot_kind_name(kind);
    char path[2048];
    char *svg;
    int drawn;

    snprintf(path, sizeof(path), "%s/plots/%s.svg", dir, name);
    svg = render_read_file(path);
    drawn = svg && strstr(svg, "<svg");
    if (drawn) {
        fprintf(out, "<figure>\n");
        put_svg(out, svg, name);
        fputs("<figcaption>", out);
    } else {
        fprintf(out,
                "<p class=note>No picture: gnuplot was not there when this "
                "report was made; its data are in <code>plots/%s.dat</code>."
                "</p>\n",
                name);
    }
    free(svg);
    return drawn;
}

void page_end_picture(FILE *out, int kind)
{
    const char *name = plot_kind_name(kind);

    fprintf(out,
            " Data and script: <code>plots/%s.dat</code>, <code>plots/%s.gp"
            "</code>.</figcaption></figure>\n",
            name, name);
}
