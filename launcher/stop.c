#include "launcher/stop.h"

#include <signal.h>
#include <string.h>

/* The one mutable global of the program: a signal handler has no argument
 * through which state could be passed. */
static volatile sig_atomic_t stop_signal;

static void remember(int signal_number)
{
    stop_signal = signal_number;
}

void stop_watch(void)
{
    static const int watched[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = remember;
    /* RESETHAND: the second signal takes its default action. */
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        (void)sigaction(watched[i], &action, NULL);
}

int stop_requested(void *context)
{
    (void)context;
    return stop_signal;
}
