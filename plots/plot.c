#include "plots/plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plots/render.h"

static const char *const kinds[] = {
    [PLOT_LR] = "lr",     [PLOT_COORD] = "coord",         [PLOT_LOSS] = "loss",
    [PLOT_LOAD] = "load", [PLOT_INCIDENTS] = "incidents",
};
#define N_KINDS (int)(sizeof(kinds) / sizeof(*kinds))

const char *plot_kind_name(int kind)
{
    return kind >= 0 && kind < N_KINDS ? kinds[kind] : "unknown";
}

int plot_kind_parse(const char *name, int *kind, struct mup_error *err)
{
    for (int i = 0; i < N_KINDS; i++)
        if (!strcmp(name, kinds[i])) {
            *kind = i;
            return MUP_OK;
        }
    return mup_fail(err, MUP_USAGE,
                    "unknown picture '%s'; one of lr, coord, loss, load, "
                    "incidents",
                    name);
}

const char *render_title(const char *parametrization)
{
    return *parametrization ? mup_parametrization_title(parametrization)
                            : "all runs";
}

const char *render_word(const json_t *report, const char *axis,
                        const char *form)
{
    const json_t *o = json_object_get(json_object_get(report, "words"), axis);

    return json_is_string(o) ? json_string_value(o) : json_text(o, form);
}

const char *json_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

double json_value(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

int render_open_report(const char *dir, json_t **out, struct mup_error *err)
{
    char path[2048];
    json_error_t where;
    json_t *o;

    if (snprintf(path, sizeof(path), "%s/report.json", dir) >=
        (int)sizeof(path))
        return mup_fail(err, MUP_USAGE, "the path '%s' is too long", dir);
    if (access(path, R_OK) != 0)
        return mup_fail(err, MUP_SYSTEM,
                        "cannot read '%s': %s; 'mutransfer report %s' writes "
                        "it",
                        path, strerror(errno), dir);
    o = json_load_file(path, 0, &where);
    if (json_is_object(o) && json_value(o, "format") == 1) {
        *out = o;
        return MUP_OK;
    }
    json_decref(o);
    return mup_fail(err, MUP_CORRUPT,
                    "'%s' is not a report of this version; 'mutransfer report "
                    "%s' writes it anew",
                    path, dir);
}

int render_replace_file(const char *path, const char *text, size_t bytes,
                        struct mup_error *err)
{
    char temporary[2100];
    FILE *f;
    int bad;

    if (snprintf(temporary, sizeof(temporary), "%s.tmp%ld", path,
                 (long)getpid()) >= (int)sizeof(temporary))
        return mup_fail(err, MUP_USAGE, "the path '%s' is too long", path);
    f = fopen(temporary, "w");
    if (!f)
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                        strerror(errno));
    bad = fwrite(text, 1, bytes, f) != bytes || fflush(f) != 0 ||
          fsync(fileno(f)) != 0;
    bad |= fclose(f) != 0;
    if (!bad && rename(temporary, path) == 0)
        return MUP_OK;
    (void)mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                   strerror(errno));
    (void)unlink(temporary);
    return MUP_SYSTEM;
}

char *render_read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = NULL, *more;
    size_t used = 0, room = 0, n;

    if (!f)
        return NULL;
    do {
        room = room ? 2 * room : (size_t)1 << 16;
        more = room <= (size_t)1 << 26 ? realloc(text, room + 1) : NULL;
        if (!more) {
            free(text);
            (void)fclose(f); /* only read from */
            return NULL;
        }
        text = more;
        n = fread(text + used, 1, room - used, f);
        used += n;
    } while (used == room);
    text[used] = '\0';
    (void)fclose(f); /* only read from */
    return text;
}

int plot_script(const char *dir, int kind, int terminal, char **script,
                struct mup_error *err)
{
    json_t *report;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out;
    int rc = render_open_report(dir, &report, err);

    if (rc != MUP_OK)
        return rc;
    out = open_memstream(&text, &bytes);
    if (!out) {
        json_decref(report);
        return mup_fail(err, MUP_SYSTEM, "out of memory for a script");
    }
    rc = script_write(report, kind, terminal, out, err);
    if (fclose(out) != 0 && rc == MUP_OK)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for a script");
    json_decref(report);
    if (rc == MUP_OK)
        *script = text;
    else
        free(text);
    return rc;
}

int plot_draw(const char *dir, int kind, int terminal, char **text,
              struct mup_error *err)
{
    const char *suffix = terminal == PLOT_PNG ? "png" : "svg";
    char path[2048], gp[32], file[32], *script;
    int rc = plot_script(dir, kind, terminal, &script, err);

    if (rc != MUP_OK)
        return rc;
    if (terminal == PLOT_DUMB) {
        rc = gnuplot_print(dir, script, text, err);
        free(script);
        return rc;
    }
    snprintf(gp, sizeof(gp), "%s.gp", plot_kind_name(kind));
    snprintf(file, sizeof(file), "%s.%s", plot_kind_name(kind), suffix);
    snprintf(path, sizeof(path), "%s/plots/%s", dir, gp);
    rc = render_replace_file(path, script, strlen(script), err);
    if (rc == MUP_OK)
        rc = gnuplot_draw(dir, gp, file, suffix, err);
    free(script);
    return rc;
}
