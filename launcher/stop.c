/* sigaltstack belongs to the XSI part of POSIX. */
#define _XOPEN_SOURCE 700

#include "launcher/stop.h"

#include <signal.h>
#include <string.h>

/* The frame of a signal with AVX-512 and AMX state takes 11 KB. */
#define STACK_BYTES (64 << 10)

/* The one mutable variable of the program: a signal handler has no argument
 * through which state could be passed. */
static struct {
    volatile sig_atomic_t number, count;
    char stack[STACK_BYTES];
} stop_signal;

static void remember(int number)
{
    stop_signal.number = number;
    stop_signal.count++;
}

static void watch(int flags)
{
    static const int watched[] = { SIGINT, SIGTERM, SIGHUP };
    const stack_t stack = { .ss_sp = stop_signal.stack,
                            .ss_size = STACK_BYTES };
    struct sigaction action;

    /* oneDNN's matrix products use the stack pointer to point into the heap
     * (oneDNN issue 4845, versions before 3.12): a signal on the normal stack
     * would write its frame over heap data. */
    (void)sigaltstack(&stack, NULL);
    memset(&action, 0, sizeof(action));
    action.sa_handler = remember;
    action.sa_flags = SA_ONSTACK | SA_RESTART | flags;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        struct sigaction before;

        /* nohup means that the end of the terminal is no reason to stop. */
        if (watched[i] == SIGHUP && sigaction(SIGHUP, NULL, &before) == 0 &&
            before.sa_handler == SIG_IGN)
            continue;
        (void)sigaction(watched[i], &action, NULL);
    }
}

void stop_watch(void)
{
    /* the second signal takes its default action */
    watch((int)SA_RESETHAND);
}

void stop_watch_all(void)
{
    watch(0);
}

int stop_count(void)
{
    return stop_signal.count;
}

int stop_requested(void *context)
{
    (void)context;
    return stop_signal.number;
}
