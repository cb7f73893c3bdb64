#include "launcher/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/file.h"

#define JOURNAL_MAX_BYTES ((size_t)1 << 28)

/* Does the file end inside a line?  An empty one does not. */
static int ends_torn(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';

    return end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
}

static int append_text(const char *path, const char *text, size_t bytes,
                       struct mup_error *err)
{
    struct mup_error why = { 0 };
    /* Not cut: it may be the line of another machine that is on its way. */
    int fd, rc = file_append_open(path, 0, &fd, err), torn;

    if (rc != MUP_OK)
        return rc;
    torn = ends_torn(fd);
    rc = file_append(fd, text + !torn, bytes - !torn, &why);
    if (rc != MUP_OK)
        rc = mup_fail(err, rc, "'%s': %.900s", path, why.text);
    else if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        rc = mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                      strerror(errno));
    if (close(fd) != 0 && rc == MUP_OK)
        rc = mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                      strerror(errno));
    return rc;
}

int journal_append(const char *path, json_t *object, struct mup_error *err)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL, *line = NULL;
    size_t n = text ? strlen(text) : 0;
    int rc;

    json_decref(object);
    if (text)
        line = malloc(n + 3);
    if (!line) {
        free(text);
        return mup_fail(err, MUP_SYSTEM, "out of memory for a line of '%s'",
                        path);
    }
    /* The first newline goes out only after a torn line. */
    snprintf(line, n + 3, "\n%s\n", text);
    rc = append_text(path, line, n + 2, err);
    free(line);
    free(text);
    return rc;
}

json_t *journal_string(const char *text)
{
    json_t *s = json_string(text);
    char *plain = s ? NULL : malloc(strlen(text) + 1);
    size_t n = 0;

    if (!plain)
        return s;
    for (; text[n]; n++)
        plain[n] = (char)((unsigned char)text[n] < 0x80 ? text[n] : '?');
    plain[n] = '\0';
    s = json_string(plain);
    free(plain);
    return s;
}

int journal_read(const char *path, json_t **out, struct mup_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    json_t *list = json_array();
    int rc = MUP_OK;

    if (!list)
        return mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    if (access(path, F_OK) == 0 || errno != ENOENT)
        rc = file_read(path, JOURNAL_MAX_BYTES, &text, &bytes, err);
    for (char *p = text, *end; p && rc == MUP_OK; p = end + 1) {
        json_t *object;

        end = memchr(p, '\n', bytes - (size_t)(p - text));
        if (!end)
            break;
        object = json_loadb(p, (size_t)(end - p), 0, NULL);
        if (!json_is_object(object))
            json_decref(object);
        else if (json_array_append_new(list, object) != 0)
            rc = mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    }
    free(text);
    if (rc == MUP_OK)
        *out = list;
    else
        json_decref(list);
    return rc;
}

/* text: the end of a file, whole: all of it.  Nonzero if the last line begins
 * in it (or there is none). */
static int find_last(const char *text, size_t bytes, int whole, json_t **out)
{
    size_t end = bytes, start;

    while (end > 0 && text[end - 1] != '\n')
        end--;
    if (end == 0)
        return whole;
    for (start = end - 1; start > 0 && text[start - 1] != '\n';)
        start--;
    if (start == 0 && !whole)
        return 0;
    *out = json_loadb(text + start, end - 1 - start, 0, NULL);
    return 1;
}

json_t *journal_last(const char *path)
{
    FILE *f = fopen(path, "rb");
    json_t *o = NULL;
    long size = -1, n = 1 << 14;
    int found = 0;

    if (f && fseek(f, 0, SEEK_END) == 0)
        size = ftell(f);
    while (size > 0 && !found) {
        char *text;

        n = n < size ? n : size;
        text = malloc((size_t)n);
        found = !text || fseek(f, size - n, SEEK_SET) != 0 ||
                fread(text, 1, (size_t)n, f) != (size_t)n ||
                find_last(text, (size_t)n, n == size, &o);
        free(text);
        n *= 4;
    }
    if (f)
        (void)fclose(f); /* only read from */
    if (json_is_object(o))
        return o;
    json_decref(o);
    return NULL;
}

const char *journal_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

double journal_real(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_boolean(v) ? json_is_true(v) : json_number_value(v);
}

int64_t journal_int(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    double x = journal_real(object, key);

    if (json_is_integer(v))
        return (int64_t)json_integer_value(v);
    /* 2^63 is the first double that does not fit. */
    return x >= 9223372036854775808.0    ? INT64_MAX
           : x <= -9223372036854775808.0 ? INT64_MIN
                                         : (int64_t)x;
}
