/* Errors are one sentence in a struct that the caller owns. */
#include "mup/mup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int mup_fail(struct mup_error *err, int status, const char *format, ...)
{
    /* Written aside first: an argument may be err->text itself. */
    char text[MUP_ERROR_BYTES];
    va_list args;

    if (!err)
        return status;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    memcpy(err->text, text, strlen(text) + 1);
    err->status = status;
    return status;
}

void mup_error_prefix(struct mup_error *err, const char *format, ...)
{
    char text[MUP_ERROR_BYTES];
    size_t used;
    va_list args;

    if (!err)
        return;
    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    used = strlen(text);
    snprintf(text + used, sizeof(text) - used, "%s", err->text);
    memcpy(err->text, text, strlen(text) + 1);
}

const char *mup_status_name(int status)
{
    static const char *const names[] = {
        [MUP_OK] = "ok",
        [MUP_NEGATIVE] = "negative",
        [MUP_USAGE] = "usage",
        [MUP_SYSTEM] = "system",
        [MUP_DEVICE] = "device",
        [MUP_CORRUPT] = "corrupt",
        [MUP_DIVERGED] = "diverged",
        [MUP_STOPPED] = "stopped",
        [MUP_INCONCLUSIVE] = "inconclusive",
    };

    if (status < 0 || (size_t)status >= sizeof(names) / sizeof(names[0]))
        return "unknown";
    return names[status];
}
