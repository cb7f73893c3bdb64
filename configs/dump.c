/* A config as YAML that reads back to the same bits, and the reference of
 * all keys as Markdown. */
#include "configs/field.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* The next code point of UTF-8 text that was checked when it was set. */
static unsigned next_code_point(const unsigned char **text)
{
    const unsigned char *p = *text;
    unsigned code = *p++;
    int more = code < 0x80 ? 0 : code < 0xe0 ? 1 : code < 0xf0 ? 2 : 3;

    if (more)
        code &= 0x3fu >> more;
    for (; more > 0 && *p; more--)
        code = code << 6 | (*p++ & 0x3fu);
    *text = p;
    return code;
}

/* Control characters, and what YAML takes for a line break or refuses. */
static int needs_escape(unsigned code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 ||
           code == 0x2029 || code == 0xfeff || code == 0xfffe || code == 0xffff;
}

static void write_quoted(const char *text, FILE *out)
{
    const unsigned char *p = (const unsigned char *)text;

    fputc('"', out);
    while (*p) {
        const unsigned char *start = p;
        unsigned code = next_code_point(&p);

        if (code == '"' || code == '\\')
            fputc('\\', out);
        if (needs_escape(code))
            fprintf(out, "\\u%04x", code);
        else
            fprintf(out, "%.*s", (int)(p - start), (const char *)start);
    }
    fputc('"', out);
}

static size_t value_bytes(const struct field *f)
{
    switch (f->type) {
    case FIELD_INT:
        return sizeof(int64_t);
    case FIELD_REAL:
        return sizeof(double);
    case FIELD_TEXT:
        return 1; /* empty or not */
    default:
        return sizeof(int);
    }
}

/* Was the key neither given nor filled in by the program? */
static int is_missing(const struct section *s, const struct field *f,
                      const void *config, int set)
{
    const char *at = (const char *)config + s->offset + f->offset;

    if (f->def || set)
        return 0;
    for (size_t i = 0; i < value_bytes(f); i++) {
        if (at[i])
            return 0;
    }
    return 1;
}

static int check_finite(const struct section *s, const struct field *f,
                        const void *config, struct mup_error *err)
{
    double v;

    if (f->type != FIELD_REAL)
        return MUP_OK;
    memcpy(&v, (const char *)config + s->offset + f->offset, sizeof(v));
    if (!isfinite(v))
        return mup_fail(err, MUP_USAGE,
                        "%s.%s is not a finite number and cannot be written",
                        s->name, f->key);
    return MUP_OK;
}

static void dump_field(const struct section *s, const struct field *f,
                       const void *config, int set, FILE *out)
{
    char text[FIELD_TEXT_BYTES];

    if (is_missing(s, f, config, set)) {
        fprintf(out, "  # %s: (must be given)\n", f->key);
        return;
    }
    config_text(s, f, config, text, sizeof(text));
    fprintf(out, "  %s: ", f->key);
    if (f->type == FIELD_TEXT)
        write_quoted(text, out);
    else
        fputs(text, out);
    fputc('\n', out);
}

int config_dump(const struct schema *schema, const void *config, int comments,
                FILE *out, struct mup_error *err)
{
    const unsigned char *set =
        (const unsigned char *)config + schema->set_offset;
    int rc;

    for (const struct section *s = schema->sections; s->name; s++) {
        if (comments)
            fprintf(out, "%s# %s\n", s == schema->sections ? "" : "\n",
                    s->help);
        fprintf(out, "%s:\n", s->name);
        for (const struct field *f = s->fields; f->key; f++, set++) {
            rc = check_finite(s, f, config, err);
            if (rc != MUP_OK)
                return rc;
            if (comments)
                fprintf(out, "  # %s [%s]\n", f->help,
                        field_role_name(f->role));
            dump_field(s, f, config, *set, out);
        }
    }
    if (fflush(out) != 0 || ferror(out))
        return mup_fail(err, MUP_SYSTEM, "cannot write the config: %s",
                        strerror(errno));
    return MUP_OK;
}

/* Text in a cell of a Markdown table. */
static void write_cell(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
}

void config_reference(const struct schema *schema, FILE *out)
{
    static const char *const types[] = { "whole number", "number", "yes or no",
                                         "text", "choice" };

    for (const struct section *s = schema->sections; s->name; s++) {
        fprintf(out, "%s## %s\n\n%s\n\n", s == schema->sections ? "" : "\n",
                s->name, s->help);
        fputs("| key | type | range | default | role | meaning |\n"
              "|---|---|---|---|---|---|\n",
              out);
        for (const struct field *f = s->fields; f->key; f++) {
            fprintf(out, "| `%s.%s` | %s | ", s->name, f->key, types[f->type]);
            write_cell(f->range ? f->range : "", out);
            fputs(" | ", out);
            write_cell(!f->def      ? "(required)"
                       : !f->def[0] ? "(empty)"
                                    : f->def,
                       out);
            fprintf(out, " | %s | ", field_role_name(f->role));
            write_cell(f->help, out);
            fputs(" |\n", out);
        }
    }
}
