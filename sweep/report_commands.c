#include "sweep/report_commands.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/config.h"
#include "model/file.h"
#include "sweep/driver.h"

#define PATH_BYTES 1100

void report_put_word(FILE *out, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_-+=:,./@%";

    if (*text && text[strspn(text, plain)] == '\0') {
        fputs(text, out);
        return;
    }
    fputc('\'', out);
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else
            fputc(*text, out);
    }
    fputc('\'', out);
}

/* " prefix + a/b" as one word. */
static void put_path(FILE *out, const char *dir, const char *name)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fputc(' ', out);
    report_put_word(out, path);
}

static void put_setting(FILE *out, const char *key, const char *value)
{
    char text[FIELD_TEXT_BYTES + 64];

    snprintf(text, sizeof(text), "--%s=%s", key, value);
    fputc(' ', out);
    report_put_word(out, text);
}

/* ---- the coordinate checks ------------------------------------------------
 */

static void put_count(FILE *out, const char *option, const json_t *value)
{
    if (json_is_integer(value))
        fprintf(out, " --%s %lld", option,
                (long long)json_integer_value(value));
}

/* The winner's config, as the linter wants it (M070): base.yaml lacks what the
 * sweep tuned.  It holds every override, data included. */
static void put_config(FILE *out, const char *dir)
{
    struct trial winner;
    char name[64] = "base.yaml";

    if (sweep_winner(dir, NULL, &winner, NULL) == MUP_OK)
        snprintf(name, sizeof(name), "trials/%lld/config.yaml",
                 (long long)winner.id);
    put_path(out, dir, name);
}

/* The rate of the check is its own. */
static void put_check(FILE *out, const char *dir, const json_t *check)
{
    const json_t *widths = json_object_get(check, "widths"), *w;
    const json_t *lr = json_object_get(check, "lr");
    const char *name =
        json_string_value(json_object_get(check, "parametrization"));
    const char *grow = json_string_value(json_object_get(check, "grow"));
    char folder[64];
    size_t i;

    fputs("mutransfer coord-check", out);
    put_config(out, dir);
    json_array_foreach(widths, i, w)
    {
        fprintf(out, "%s%.17g", i ? "," : " --widths ", json_number_value(w));
    }
    if (grow && strcmp(grow, "width") != 0)
        fprintf(out, " --grow %s", grow);
    put_count(out, "steps", json_object_get(check, "steps"));
    put_count(out, "seeds", json_object_get(check, "seeds"));
    put_setting(out, "mup.parametrization", name ? name : "mup");
    if (json_is_number(lr))
        fprintf(out, " --train.lr=%.17g", json_number_value(lr));
    snprintf(folder, sizeof(folder), "coord-%s", name ? name : "mup");
    fputs(" -o", out);
    put_path(out, dir, folder);
}

/* ---- the target -----------------------------------------------------------
 */

static void count_difference(void *context, const char *key,
                             const struct field *field, const char *a,
                             const char *b)
{
    int *n = context;

    (void)key;
    (void)a;
    (void)b;
    *n += field->role != ROLE_RUN;
}

/* Whether dir/target.yaml describes the run in dir/target. */
static int is_config_of_target(const char *dir, struct run_config *config)
{
    char path[PATH_BYTES];
    struct run_config run;
    int differences = 0;

    snprintf(path, sizeof(path), "%s/target.yaml", dir);
    if (access(path, R_OK) != 0 ||
        run_config_load(path, NULL, 0, config, NULL) != MUP_OK)
        return 0;
    snprintf(path, sizeof(path), "%s/target/config.yaml", dir);
    if (run_config_load(path, NULL, 0, &run, NULL) != MUP_OK)
        return 0;
    config_diff(&run_schema, config, &run, count_difference, &differences);
    return differences == 0;
}

/* The file that 'transfer' completed to dir/target.yaml, from the first line
 * it wrote; the other path in that line is known from target.transfer.json.
 * 0 where it is not known or gone. */
static int find_source(const char *dir, char *out, size_t bytes)
{
    char path[PATH_BYTES], prefix[PATH_BYTES], *text = NULL, *end;
    const char *sweep;
    size_t length;
    json_t *o;
    int found = 0;

    snprintf(path, sizeof(path), "%s/target.transfer.json", dir);
    o = json_load_file(path, 0, NULL);
    sweep = json_string_value(json_object_get(o, "sweep_dir"));
    snprintf(prefix, sizeof(prefix), "# Written by 'mutransfer transfer %s ",
             sweep ? sweep : "");
    snprintf(path, sizeof(path), "%s/target.yaml", dir);
    if (sweep &&
        file_read(path, (size_t)1 << 20, &text, &length, NULL) == MUP_OK &&
        !strncmp(text, prefix, strlen(prefix)) &&
        (end = strstr(text, "'.\n")) != NULL && end > text + strlen(prefix)) {
        *end = '\0';
        snprintf(out, bytes, "%s", text + strlen(prefix));
        found = access(out, R_OK) == 0;
    }
    free(text);
    json_decref(o);
    return found;
}

static void put_transfer(FILE *out, const char *dir, const char *source,
                         const struct run_config *target)
{
    struct run_config plain;
    int known = run_config_read(source, NULL, 0, &plain, NULL) == MUP_OK;

    fputs("mutransfer transfer ", out);
    report_put_word(out, dir);
    fputc(' ', out);
    report_put_word(out, source);
    fputs(" -o", out);
    put_path(out, dir, "target.yaml");
    if (!known || strcmp(plain.data.train, target->data.train))
        put_setting(out, "data.train", target->data.train);
    if (!known || strcmp(plain.data.valid, target->data.valid))
        put_setting(out, "data.valid", target->data.valid);
}

/* The run's own config where the file it came from is gone or changed. */
static void put_launch(FILE *out, const char *dir, int from_transfer)
{
    fputs("mutransfer launch", out);
    put_path(out, dir, from_transfer ? "target.yaml" : "target/config.yaml");
    fputs(" --local 1 -o", out);
    put_path(out, dir, "target");
}

/* ---- all of them ----------------------------------------------------------
 */

static void put_target(FILE *out, const char *dir)
{
    char path[PATH_BYTES];
    struct run_config target;
    int known;

    snprintf(path, sizeof(path), "%s/target/config.yaml", dir);
    if (access(path, F_OK) != 0)
        return;
    known = is_config_of_target(dir, &target);
    if (known && find_source(dir, path, sizeof(path))) {
        put_transfer(out, dir, path, &target);
        fputc('\n', out);
    }
    put_launch(out, dir, known);
    fputc('\n', out);
}

static void put_axis(FILE *out, const char *option, const char *key,
                     const char *usual)
{
    if (!strcmp(key, usual))
        return;
    fprintf(out, " --%s ", option);
    report_put_word(out, key);
}

static void put_report(FILE *out, const struct report_data *d)
{
    const char *source = d->csv ? d->csv : d->sweep;
    const struct axes_choice none = { 0 };
    struct axes usual = axes_usual();

    assert(source);
    if (d->csv) /* columns have shorter names than keys */
        (void)axes_of_columns(&none, &usual, NULL);
    fprintf(out, "mutransfer report %s", d->csv ? "--csv " : "");
    report_put_word(out, source);
    put_axis(out, "over", d->axes.over.key, usual.over.key);
    put_axis(out, "of", d->axes.of.key, usual.of.key);
    put_axis(out, "by", d->axes.by.key, usual.by.key);
    if (d->csv || strcmp(d->dir, d->sweep)) {
        fputs(" -o ", out);
        report_put_word(out, d->dir);
    }
    fputc('\n', out);
}

static void put_lines(FILE *out, const struct report_data *d,
                      const json_t *checks)
{
    const json_t *check;
    size_t i;

    if (d->sweep) {
        fputs("mutransfer sweep", out);
        put_path(out, d->sweep, "sweep.yaml");
        fputs(" -o ", out);
        report_put_word(out, d->sweep);
        fputc('\n', out);
    }
    json_array_foreach(checks, i, check)
    {
        put_check(out, d->sweep, check);
        fputc('\n', out);
    }
    if (d->sweep && axes_are_usual(&d->axes))
        put_target(out, d->sweep);
    put_report(out, d);
}

/* Takes text: a line a command. */
static json_t *lines(char *text)
{
    json_t *list = json_array();
    char *line = text, *next;

    for (; (next = strchr(line, '\n')) != NULL; line = next + 1)
        json_array_append_new(list, json_stringn(line, (size_t)(next - line)));
    free(text);
    return list;
}

json_t *report_commands(const struct report_data *data, const json_t *checks)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    if (!out)
        return json_array();
    put_lines(out, data, checks);
    if (fclose(out) == 0)
        return lines(text);
    free(text);
    return json_array();
}
