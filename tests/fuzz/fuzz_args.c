/* Command lines: words separated by newlines. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/verbs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *words[64];
    int n = 0;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *p = text; n < 64 && p < text + size; p += strlen(p) + 1) {
        p[strcspn(p, "\n")] = '\0';
        words[n++] = p;
    }
    for (int i = 0; verbs[i]; i++) {
        char *copy[64];
        struct mup_error err;
        struct args args;

        memcpy(copy, words, sizeof(copy[0]) * (size_t)n);
        if (args_parse(verbs[i], n, copy, &args, &err) != MUP_OK)
            continue;
        for (const struct option *o = verbs[i]->options; o && o->name; o++) {
            int64_t list[4];
            int count;

            if (o->value)
                (void)args_int_list(&args, o->name, 4, list, &count, &err);
        }
        args_clear(&args);
    }
    free(text);
    return 0;
}
