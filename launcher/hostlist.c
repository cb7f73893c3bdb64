#include "launcher/hostlist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS     "0123456789"
#define DIGITS_MAX 9

/* Letters of a name outside of brackets. */
#define NAME_LETTERS                                                           \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS "._-"

static int too_many(const char *text, struct mup_error *err)
{
    return mup_fail(err, MUP_USAGE, "'%.200s' names more than %d nodes", text,
                    HOSTLIST_MAX);
}

static int not_a_list(const char *text, const char *at, struct mup_error *err)
{
    return mup_fail(err, MUP_USAGE,
                    "'%.200s' is no list of nodes from '%.40s' on; write "
                    "'node[1-3,7],login1'",
                    text, at);
}

/* Room for extra names more; HOSTLIST_MAX bounds the product of ranges before
 * it is made. */
static int grow(struct hostlist *h, int extra, struct mup_error *err)
{
    char(*name)[HOSTLIST_NAME_BYTES];
    size_t n = (size_t)h->n + (size_t)extra;

    name = realloc(h->name, (n ? n : 1) * sizeof(*name));
    if (!name)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    h->name = name;
    return MUP_OK;
}

/* Put text behind every name of h. */
static int append(struct hostlist *h, const char *text, size_t len,
                  struct mup_error *err)
{
    for (int i = 0; i < h->n; i++) {
        size_t used = strlen(h->name[i]);

        if (used + len >= HOSTLIST_NAME_BYTES)
            return mup_fail(err, MUP_USAGE,
                            "a node name that begins with '%s' is longer than "
                            "%d letters",
                            h->name[i], HOSTLIST_NAME_BYTES - 1);
        memcpy(h->name[i] + used, text, len);
        h->name[i][used + len] = '\0';
    }
    return MUP_OK;
}

struct range {
    long first, last;
    int width; /* of the first: "01" is padded to two digits */
};

/* "7" or "01-03"; returns what follows, NULL if it is none. */
static const char *read_range(const char *text, struct range *out)
{
    size_t len = strspn(text, DIGITS);
    const char *end = text + len;

    if (len == 0 || len > DIGITS_MAX)
        return NULL;
    out->width = (int)len;
    out->first = out->last = strtol(text, NULL, 10);
    if (*end == '-') {
        len = strspn(end + 1, DIGITS);
        if (len == 0 || len > DIGITS_MAX)
            return NULL;
        out->last = strtol(end + 1, NULL, 10);
        end += 1 + len;
    }
    return out->last >= out->first ? end : NULL;
}

/* How many numbers the group behind a '[' has, 0 if it is none; *end: behind
 * its ']'. */
static long count_group(const char *text, const char **end)
{
    long n = 0;

    for (;;) {
        struct range r;
        const char *next = read_range(text, &r);

        if (!next)
            return 0;
        n += r.last - r.first + 1;
        if (n > HOSTLIST_MAX)
            n = HOSTLIST_MAX + 1; /* enough to be refused */
        if (*next == ']') {
            *end = next + 1;
            return n;
        }
        if (*next != ',')
            return 0;
        text = next + 1;
    }
}

/* Every name of h, once with each number of the group behind a '['. */
static int multiply(struct hostlist *h, const char *group, long n,
                    struct mup_error *err)
{
    struct hostlist product = { 0 };
    int rc = grow(&product, h->n * (int)n, err);

    for (int i = 0; rc == MUP_OK && i < h->n; i++) {
        const char *text = group;

        for (;;) {
            struct range r;
            const char *next = read_range(text, &r);

            for (long k = r.first; rc == MUP_OK && k <= r.last; k++) {
                char digits[DIGITS_MAX + 2];
                int len = snprintf(digits, sizeof(digits), "%0*ld", r.width, k);
                struct hostlist one = { 1, &product.name[product.n++] };

                memcpy(one.name[0], h->name[i], HOSTLIST_NAME_BYTES);
                rc = append(&one, digits, (size_t)len, err);
            }
            if (*next == ']')
                break;
            text = next + 1;
        }
    }
    hostlist_clear(h);
    *h = product;
    return rc;
}

/* One name with its groups, up to a ',' outside of brackets. */
static int read_item(const char *whole, const char **text,
                     struct hostlist *item, struct mup_error *err)
{
    const char *at = *text;
    int rc = grow(item, 1, err);

    if (rc != MUP_OK)
        return rc;
    memset(item->name[0], 0, HOSTLIST_NAME_BYTES);
    item->n = 1;
    while (*at && *at != ',' && rc == MUP_OK) {
        size_t len = strspn(at, NAME_LETTERS);
        const char *end = at + len;
        long n = 0;

        if (len > 0) {
            rc = append(item, at, len, err);
        } else if (*at != '[' || !(n = count_group(at + 1, &end))) {
            rc = not_a_list(whole, at, err);
        } else if (n * item->n > HOSTLIST_MAX) {
            rc = too_many(whole, err);
        } else {
            rc = multiply(item, at + 1, n, err);
        }
        at = end;
    }
    if (rc == MUP_OK && at == *text)
        rc = not_a_list(whole, at, err);
    *text = at;
    return rc;
}

int hostlist_parse(const char *text, struct hostlist *out,
                   struct mup_error *err)
{
    struct hostlist all = { 0 };
    const char *at = text;
    int rc = MUP_OK;

    while (*at && rc == MUP_OK) {
        struct hostlist item = { 0 };

        rc = read_item(text, &at, &item, err);
        if (rc == MUP_OK && all.n + item.n > HOSTLIST_MAX)
            rc = too_many(text, err);
        if (rc == MUP_OK)
            rc = grow(&all, item.n, err);
        if (rc == MUP_OK) {
            memcpy(all.name + all.n, item.name,
                   (size_t)item.n * sizeof(*item.name));
            all.n += item.n;
        }
        hostlist_clear(&item);
        if (rc == MUP_OK && *at == ',' && !*++at)
            rc = not_a_list(text, ",", err);
    }
    if (rc == MUP_OK)
        *out = all;
    else
        hostlist_clear(&all);
    return rc;
}

void hostlist_clear(struct hostlist *h)
{
    free(h->name);
    memset(h, 0, sizeof(*h));
}

int hostlist_find(const struct hostlist *h, const char *name)
{
    for (int i = 0; i < h->n; i++)
        if (strcmp(h->name[i], name) == 0)
            return i;
    return -1;
}
