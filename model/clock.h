/* Time that only goes forward. */
#ifndef MODEL_CLOCK_H
#define MODEL_CLOCK_H

/* Seconds of the monotonic clock. */
double clock_s(void);

#endif
