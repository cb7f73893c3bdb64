#include "launcher/shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What no shell treats in a special way. */
#define PLAIN                                                                  \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"           \
    "_-+=:,./@%^"

static void append(char *out, size_t bytes, const char *word)
{
    size_t at = strlen(out);
    int plain = *word && strspn(word, PLAIN) == strlen(word);

    at += (size_t)snprintf(out + at, bytes - at, "%s%s", at ? " " : "",
                           plain ? word : "'");
    for (; !plain && *word; word++)
        at += (size_t)snprintf(out + at, bytes - at,
                               *word == '\'' ? "'\\''" : "%c", *word);
    if (!plain)
        (void)snprintf(out + at, bytes - at, "'");
}

int shell_join(const char *const *words, char **out, struct mup_error *err)
{
    size_t bytes = 1;
    char *text;

    for (int i = 0; words[i]; i++)
        bytes += 4 * strlen(words[i]) + 3; /* at most, with its quotes */
    text = calloc(bytes, 1);
    if (!text)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; words[i]; i++)
        append(text, bytes, words[i]);
    *out = text;
    return MUP_OK;
}
