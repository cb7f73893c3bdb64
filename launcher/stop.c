/* sigaltstack belongs to the XSI part of POSIX. */
#define _XOPEN_SOURCE 700

#include "launcher/stop.h"

#include <signal.h>
#include <string.h>
#include <time.h>

/* The frame of a signal with AVX-512 and AMX state takes 11 KB. */
#define STACK_BYTES (64 << 10)
/* A second signal is one that comes this long after the first: timeout(1)
 * signals its child and then the child's group, the child included. */
#define SECOND_TENTHS 10

/* The one mutable variable of the program: a signal handler has no argument
 * through which state could be passed. */
static struct {
    volatile sig_atomic_t number, count;
    volatile sig_atomic_t first; /* when, in tenths of a second */
    volatile sig_atomic_t kills; /* the second one does */
    char stack[STACK_BYTES];
} stop_signal;

/* Calls only what is safe in a signal handler. */
static void remember(int number)
{
    struct timespec t = { 0 };
    int now;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    now = (int)(10 * t.tv_sec + t.tv_nsec / 100000000);
    if (stop_signal.count == 0)
        stop_signal.first = now;
    else if (now - stop_signal.first < SECOND_TENTHS)
        return;
    stop_signal.number = number;
    stop_signal.count++;
    if (stop_signal.count > 1 && stop_signal.kills) {
        /* takes its default action when this handler returns */
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
}

static void watch(int kills, int in_job)
{
    static const int watched[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };
    const size_t n = in_job ? 4 : 3;
    const stack_t stack = { .ss_sp = stop_signal.stack,
                            .ss_size = STACK_BYTES };
    struct sigaction action;

    /* oneDNN's matrix products use the stack pointer to point into the heap
     * (oneDNN issue 4845, versions before 3.12): a signal on the normal stack
     * would write its frame over heap data. */
    (void)sigaltstack(&stack, NULL);
    memset(&action, 0, sizeof(action));
    action.sa_handler = remember;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < n; i++)
        (void)sigaddset(&action.sa_mask, watched[i]);
    stop_signal.kills = kills;
    for (size_t i = 0; i < n; i++) {
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
    watch(1, 0);
}

void stop_watch_all(void)
{
    watch(0, 0);
}

void stop_watch_job(void)
{
    watch(0, 1);
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
