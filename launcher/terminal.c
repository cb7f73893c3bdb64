#include "launcher/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/clock.h"

void terminal_init(struct terminal *t, int quiet)
{
    const char *term = getenv("TERM"), *columns = getenv("COLUMNS");
    long n = columns ? strtol(columns, NULL, 10) : 0;

    *t = (struct terminal){ .quiet = quiet };
    t->interactive = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    /* TIOCGWINSZ is not POSIX; 80 columns are safe where COLUMNS is unset. */
    t->columns = n >= 20 && n <= 1000 ? (int)n : 80;
    t->interval_s = t->interactive ? 0.1 : 5;
}

void terminal_progress(struct terminal *t, const char *format, ...)
{
    double now = clock_s();
    char line[512];
    va_list ap;

    if (t->quiet || now < t->next_s)
        return;
    t->next_s = now + t->interval_s;
    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    if (t->interactive) {
        /* One column stays free: some terminals wrap at the last one. */
        fprintf(stderr, "\r%.*s\033[K", t->columns - 1, line);
        t->shown = 1;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
}

void terminal_note(struct terminal *t, const char *format, ...)
{
    char line[1200];
    va_list ap;

    va_start(ap, format);
    vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    terminal_clear(t);
    fprintf(stderr, "%s\n", line);
}

void terminal_clear(struct terminal *t)
{
    if (!t->shown)
        return;
    fputs("\r\033[K", stderr);
    t->shown = 0;
    t->next_s = 0; /* again below what is printed now */
}
