#include "sweep/csv.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "configs/field.h"
#include "model/file.h"

/* at walks through text, which ends in NUL and holds no other; a cell is
 * unquoted where it stands, behind the cursor. */
struct reader {
    struct csv t;
    char *at, *end;
    int64_t line;
    char stop; /* what ended the last cell: comma, CR, LF or NUL */
    size_t cells, cell_room;
    size_t row_room;
};

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char *skip_blanks(char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

/* Past the end of a line, whose first character was c. */
static void take_line_end(struct reader *r, char c)
{
    r->at++;
    if (c == '\r' && *r->at == '\n')
        r->at++;
    r->line++;
}

/* Go to the next line that is neither empty nor a comment; 0 at the end. */
static int find_record(struct reader *r)
{
    for (;;) {
        r->at = skip_blanks(r->at);
        if (*r->at == '#')
            r->at += strcspn(r->at, "\r\n");
        if (r->at == r->end)
            return 0;
        if (*r->at != '\r' && *r->at != '\n')
            return 1;
        take_line_end(r, *r->at);
    }
}

/* ---- cells ----------------------------------------------------------------
 */

/* From the opening quote to behind the closing one and the blanks there. */
static int take_quoted(struct reader *r, char **cell, char **end,
                       struct mup_error *err)
{
    const int64_t line = r->line;
    char *p = r->at + 1, *to = p;

    *cell = p;
    for (; *p != '"' || p[1] == '"'; p++) {
        if (p == r->end)
            return mup_fail(err, MUP_USAGE,
                            "%s:%lld: a cell in quotes does not end; add the "
                            "closing '\"'",
                            r->t.path, (long long)line);
        p += *p == '"';
        r->line += *p == '\n' || (*p == '\r' && p[1] != '\n');
        *to++ = *p;
    }
    *end = to;
    r->at = skip_blanks(p + 1);
    return MUP_OK;
}

static int take_cell(struct reader *r, char **cell, struct mup_error *err)
{
    char *end = NULL;
    int rc;

    r->at = skip_blanks(r->at);
    if (*r->at == '"') {
        rc = take_quoted(r, cell, &end, err);
        if (rc != MUP_OK)
            return rc;
    } else {
        *cell = r->at;
        r->at += strcspn(r->at, ",\r\n\"");
        end = r->at;
    }
    r->stop = *r->at;
    if (r->at < r->end && !strchr(",\r\n", r->stop))
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: a quote amid a cell; put the whole cell in "
                        "quotes and double those inside it",
                        r->t.path, (long long)r->line);
    while (end > *cell && is_blank(end[-1]))
        end--;
    *end = '\0'; /* may stand where the stop was */
    *cell = skip_blanks(*cell);
    if (r->stop == ',')
        r->at++;
    else if (r->stop)
        take_line_end(r, r->stop);
    return MUP_OK;
}

static int push(struct reader *r, const char *cell, struct mup_error *err)
{
    size_t room = r->cell_room ? 2 * r->cell_room : 4096;
    uint32_t *more;

    if (r->cells == CSV_MAX_CELLS)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: more than %zu cells; leave out rows or "
                        "columns that are not needed",
                        r->t.path, (long long)r->line, CSV_MAX_CELLS);
    if (r->cells == r->cell_room) {
        more = realloc(r->t.cell, room * sizeof(*more));
        if (!more)
            return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'",
                            r->t.path);
        r->t.cell = more;
        r->cell_room = room;
    }
    r->t.cell[r->cells++] = (uint32_t)(cell - r->t.text);
    return MUP_OK;
}

/* ---- rows -----------------------------------------------------------------
 */

/* All cells of a line, at most `most` of them kept; *n: how many there are,
 * *filled: some cell is not empty. */
static int take_cells(struct reader *r, int most, int64_t *n, int *filled,
                      struct mup_error *err)
{
    const int64_t line = r->line;

    *n = *filled = 0;
    do {
        char *cell;
        int rc = take_cell(r, &cell, err);

        if (rc != MUP_OK)
            return rc;
        if (!config_is_utf8(cell))
            return mup_fail(err, MUP_USAGE,
                            "%s:%lld: the text is not UTF-8; save the table "
                            "as UTF-8 text",
                            r->t.path, (long long)line);
        *filled |= *cell != '\0';
        if (++*n <= most)
            rc = push(r, cell, err);
        if (rc != MUP_OK)
            return rc;
    } while (r->stop == ',');
    return MUP_OK;
}

static int note_line(struct reader *r, int64_t line, struct mup_error *err)
{
    size_t index = r->cells / (size_t)r->t.columns - 1;
    size_t room = r->row_room ? 2 * r->row_room : 1024;
    int64_t *more;

    if (index > CSV_MAX_ROWS)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: more than %d rows; leave out some", r->t.path,
                        (long long)line, CSV_MAX_ROWS);
    if (index >= r->row_room) {
        more = realloc(r->t.line, room * sizeof(*more));
        if (!more)
            return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'",
                            r->t.path);
        r->t.line = more;
        r->row_room = room;
    }
    r->t.line[index] = line;
    r->t.rows = (int64_t)index;
    return MUP_OK;
}

static int take_rows(struct reader *r, struct mup_error *err)
{
    while (find_record(r)) {
        const int64_t line = r->line;
        const size_t before = r->cells;
        int64_t n;
        int filled, rc = take_cells(r, r->t.columns, &n, &filled, err);

        if (rc == MUP_OK && !filled) {
            r->cells = before;
            continue;
        }
        if (rc == MUP_OK && n != r->t.columns)
            rc = mup_fail(
                err, MUP_USAGE,
                "%s:%lld: %lld cells, but the header has %d; add what "
                "is missing, or quote a cell that holds a comma",
                r->t.path, (long long)line, (long long)n, r->t.columns);
        if (rc == MUP_OK)
            rc = note_line(r, line, err);
        if (rc != MUP_OK)
            return rc;
    }
    return MUP_OK;
}

/* ---- the header -----------------------------------------------------------
 */

static const char *header(const struct csv *t, int column)
{
    return t->text + t->cell[column];
}

/* What is probably meant where the first line names no columns. */
static int check_names(const struct csv *t, struct mup_error *err)
{
    const char *first = header(t, 0);
    const long long line = t->line[0];
    int numbers = 0;
    double number;

    for (int i = 0; i < t->columns; i++)
        numbers += parse_real(header(t, i), &number, NULL) == MUP_OK;
    if (numbers == t->columns)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: numbers where the header should be; put a "
                        "line before them that names the columns (without "
                        "'#')",
                        t->path, line);
    if (t->columns == 1 && strpbrk(first, ";\t"))
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: columns are separated by %s; separate them "
                        "by commas",
                        t->path, line,
                        strchr(first, ';') ? "semicolons" : "tabs");
    for (int i = 0; i < t->columns; i++)
        for (int k = 0; k < i && *header(t, i); k++)
            if (!strcasecmp(header(t, k), header(t, i)))
                return mup_fail(err, MUP_USAGE,
                                "%s:%lld: column '%.60s' appears twice (%d and "
                                "%d); rename or remove one",
                                t->path, line, header(t, i), k + 1, i + 1);
    return MUP_OK;
}

static int take_header(struct reader *r, struct mup_error *err)
{
    int64_t line, n;
    int filled, rc;

    if (!find_record(r))
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: there is no header; the first line must name "
                        "the columns",
                        r->t.path, (long long)r->line);
    line = r->line;
    rc = take_cells(r, CSV_MAX_COLUMNS, &n, &filled, err);
    if (rc != MUP_OK)
        return rc;
    if (n > CSV_MAX_COLUMNS)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: more than %d columns; leave out those that "
                        "are not needed",
                        r->t.path, (long long)line, CSV_MAX_COLUMNS);
    r->t.columns = (int)n;
    rc = note_line(r, line, err);
    return rc == MUP_OK ? check_names(&r->t, err) : rc;
}

/* ---- opening --------------------------------------------------------------
 */

/* Takes text, which ends in a NUL behind its bytes, also on failure. */
static int open_owned(char *text, size_t bytes, const char *path,
                      struct csv *out, struct mup_error *err)
{
    struct reader r = { .t = { .path = path, .text = text }, .line = 1 };
    const char *nul = memchr(text, '\0', bytes);
    const XXH128_hash_t hash = XXH3_128bits(text, bytes);
    int rc = MUP_OK;

    snprintf(r.t.hash, sizeof(r.t.hash), "%016llx%016llx",
             (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    r.at = text;
    r.end = text + bytes;
    if (nul)
        rc = mup_fail(err, MUP_USAGE,
                      "%s:1: the file is no text (byte %zu is zero); save the "
                      "table as CSV in UTF-8",
                      path, (size_t)(nul - text) + 1);
    else if (!strncmp(text, "\xEF\xBB\xBF", 3))
        r.at += 3;
    if (rc == MUP_OK)
        rc = take_header(&r, err);
    if (rc == MUP_OK)
        rc = take_rows(&r, err);
    if (rc == MUP_OK)
        *out = r.t;
    else
        csv_close(&r.t);
    return rc;
}

int csv_open(const char *path, struct csv *out, struct mup_error *err)
{
    char *text;
    size_t bytes;
    int rc = file_read(path, CSV_MAX_BYTES, &text, &bytes, err);

    return rc == MUP_OK ? open_owned(text, bytes, path, out, err) : rc;
}

int csv_open_text(const char *text, size_t bytes, const char *path,
                  struct csv *out, struct mup_error *err)
{
    char *copy;

    if (bytes > CSV_MAX_BYTES)
        return mup_fail(err, MUP_SYSTEM,
                        "'%s' is larger than the %zu bytes allowed here", path,
                        CSV_MAX_BYTES);
    copy = malloc(bytes + 1);
    if (!copy)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    return open_owned(copy, bytes, path, out, err);
}

void csv_close(struct csv *t)
{
    free(t->text);
    free(t->cell);
    free(t->line);
    *t = (struct csv){ 0 };
}

/* ---- columns --------------------------------------------------------------
 */

#define NEAR_BYTES 64

/* 0 for the same, small for a slip of the keyboard, for an abbreviation and
 * for a name that holds the other. */
static size_t name_distance(const char *there, const char *wanted)
{
    char lower[NEAR_BYTES];
    size_t n = 0;

    for (; there[n] && n + 1 < sizeof(lower); n++)
        lower[n] = (char)tolower((unsigned char)there[n]);
    lower[n] = '\0';
    if (strlen(wanted) > 2 && strstr(lower, wanted))
        return 1;
    return config_name_distance(lower, wanted);
}

static int no_column(const struct csv *t, const char *name,
                     struct mup_error *err)
{
    size_t best = 3, used = 0;
    const char *near = NULL;
    char list[300] = "";

    for (int i = 0; i < t->columns; i++) {
        size_t d = name_distance(header(t, i), name);

        if (d < best && *header(t, i)) {
            best = d;
            near = header(t, i);
        }
        if (used < sizeof(list) - 1 && *header(t, i))
            used +=
                (size_t)snprintf(list + used, sizeof(list) - used, "%s'%.60s'",
                                 used ? ", " : "", header(t, i));
    }
    if (near)
        return mup_fail(err, MUP_USAGE,
                        "%s:%lld: there is no column '%s'; if it is '%.60s', "
                        "rename that one",
                        t->path, (long long)t->line[0], name, near);
    return mup_fail(err, MUP_USAGE,
                    "%s:%lld: there is no column '%s', only %s%s; add or "
                    "rename one",
                    t->path, (long long)t->line[0], name, list,
                    used >= sizeof(list) ? "..." : "");
}

int csv_column(const struct csv *t, const char *name, int required, int *out,
               struct mup_error *err)
{
    for (int i = 0; i < t->columns; i++)
        if (!strcasecmp(header(t, i), name)) {
            *out = i;
            return MUP_OK;
        }
    if (required)
        return no_column(t, name, err);
    *out = -1;
    return MUP_OK;
}

/* ---- values ---------------------------------------------------------------
 */

const char *csv_text(const struct csv *t, int64_t row, int column)
{
    assert(row >= 0 && row < t->rows && column >= 0 && column < t->columns);
    return t->text +
           t->cell[(size_t)(row + 1) * (size_t)t->columns + (size_t)column];
}

int64_t csv_line(const struct csv *t, int64_t row)
{
    assert(row >= 0 && row < t->rows);
    return t->line[row + 1];
}

/* why: the sentence of the parser, and what would be right. */
static int no_number(const struct csv *t, int64_t row, int column,
                     const char *why, struct mup_error *err)
{
    const char *name = header(t, column);

    if (*csv_text(t, row, column))
        return mup_fail(err, MUP_USAGE, "%s:%lld: %.60s: %s", t->path,
                        (long long)csv_line(t, row), name, why);
    return mup_fail(err, MUP_USAGE, "%s:%lld: %.60s is empty; write a number",
                    t->path, (long long)csv_line(t, row), name);
}

int csv_real(const struct csv *t, int64_t row, int column, double *out,
             struct mup_error *err)
{
    struct mup_error why;

    if (parse_real(csv_text(t, row, column), out, &why) == MUP_OK)
        return MUP_OK;
    (void)mup_fail(&why, MUP_USAGE,
                   "%s; numbers look like 0.001, 1e-3 or 2^-10", why.text);
    return no_number(t, row, column, why.text, err);
}

int csv_real_or_nan(const struct csv *t, int64_t row, int column, double *out,
                    struct mup_error *err)
{
    const char *text = csv_text(t, row, column);

    text += *text == '-' || *text == '+';
    if (!*csv_text(t, row, column) || !strcasecmp(text, "nan") ||
        !strcasecmp(text, "inf") || !strcasecmp(text, "infinity")) {
        *out = NAN;
        return MUP_OK;
    }
    return csv_real(t, row, column, out, err);
}

int csv_int(const struct csv *t, int64_t row, int column, int64_t *out,
            struct mup_error *err)
{
    struct mup_error why;

    if (parse_int(csv_text(t, row, column), out, &why) == MUP_OK)
        return MUP_OK;
    (void)mup_fail(&why, MUP_USAGE, "%s; whole numbers look like 1 or 2000",
                   why.text);
    return no_number(t, row, column, why.text, err);
}

/* ---- writing --------------------------------------------------------------
 */

void csv_put_text(FILE *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n") && *text != '#') {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

/* Those of ASCII, and U+0080 to U+009F in UTF-8. */
const char *csv_bad_name(const char *name)
{
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        if (*p < ' ' || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
            return "a line break or another control character";
    return "";
}
