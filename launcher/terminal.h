/* The progress line.  On a terminal one line that is rewritten in place;
 * elsewhere whole lines, seconds apart, so that a log stays readable.  All of
 * it goes to stderr; stdout belongs to answers. */
#ifndef LAUNCHER_TERMINAL_H
#define LAUNCHER_TERMINAL_H

struct terminal {
    int interactive;   /* stderr is a terminal */
    int quiet;         /* print notes only */
    int shown;         /* a progress line stands on the screen */
    int columns;       /* of the terminal */
    double interval_s; /* between two lines */
    double next_s;     /* when the next line is due, monotonic clock */
};

void terminal_init(struct terminal *t, int quiet);

/* A new state of the progress line; dropped when the last one is too young. */
void terminal_progress(struct terminal *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A line that stays. */
void terminal_note(struct terminal *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Remove the progress line. */
void terminal_clear(struct terminal *t);

#endif
