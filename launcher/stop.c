/* sigaltstack belongs to the XSI part of POSIX; POLLRDHUP and timers that
 * signal one thread are Linux's. */
#define _GNU_SOURCE

#include "launcher/stop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "mup/mup.h"

/* The frame of a signal with AVX-512 and AMX state takes 11 KB. */
#define STACK_BYTES (64 << 10)
/* A second signal is one that comes this long after the first: timeout(1)
 * signals its child and then the child's group, the child included. */
#define SECOND_TENTHS 10
/* Looks at a lease while it lasts. */
#define LOOKS 8

/* glibc has no name for it before 2.41. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The one mutable variable of the program: a signal handler has no argument
 * through which state could be passed. */
static struct {
    volatile sig_atomic_t number, count;
    volatile sig_atomic_t first; /* when, in tenths of a second */
    volatile sig_atomic_t kills; /* the second one does */
    struct {
        volatile sig_atomic_t fd;         /* -1: nothing can be heard */
        volatile sig_atomic_t heard;      /* counts */
        int heard_before, waiting_before; /* at the last look */
        struct timespec news;             /* when there was some */
        double length_s;
        int runs; /* there is a timer */
        timer_t timer;
        char words[200]; /* the last ones */
        size_t n_words;
    } lease;
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
    else if (now - stop_signal.first < SECOND_TENTHS &&
             (number == stop_signal.number || stop_signal.kills))
        return;
    stop_signal.number = number;
    stop_signal.count++;
    if (stop_signal.count > 1 && stop_signal.kills) {
        /* takes its default action when this handler returns */
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
}

/* oneDNN's matrix products use the stack pointer to point into the heap
 * (oneDNN issue 4845, versions before 3.12): a signal on the normal stack would
 * write its frame over heap data. */
static void use_own_stack(void)
{
    const stack_t stack = { .ss_sp = stop_signal.stack,
                            .ss_size = STACK_BYTES };

    (void)sigaltstack(&stack, NULL);
}

static void watch(int kills, int in_job)
{
    static const int watched[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };
    const size_t n = in_job ? 4 : 3;
    struct sigaction action;

    use_own_stack();
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

/* --- the lease --- */

/* Nonzero: something new has come since the last look.  Calls only what is safe
 * in a signal handler (ioctl is a bare system call). */
static int has_news(void)
{
    struct pollfd peer = { stop_signal.lease.fd, POLLRDHUP, 0 };
    int heard = stop_signal.lease.heard, waiting = 0, news;

    if (peer.fd < 0 || poll(&peer, 1, 0) != 0 ||
        ioctl(peer.fd, FIONREAD, &waiting) != 0)
        return 0;
    news = heard != stop_signal.lease.heard_before ||
           waiting > stop_signal.lease.waiting_before;
    stop_signal.lease.heard_before = heard;
    stop_signal.lease.waiting_before = waiting;
    return news;
}

static void look_at_lease(int number)
{
    int before = errno;
    struct timespec now = { 0 };
    double silent_s;

    (void)number;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (has_news())
        stop_signal.lease.news = now;
    silent_s = (double)(now.tv_sec - stop_signal.lease.news.tv_sec) +
               1e-9 * (double)(now.tv_nsec - stop_signal.lease.news.tv_nsec);
    if (silent_s >= stop_signal.lease.length_s) {
        if (write(STDERR_FILENO, stop_signal.lease.words,
                  stop_signal.lease.n_words) < 0)
            _exit(MUP_DEVICE); /* nobody reads it: the same */
        _exit(MUP_DEVICE);
    }
    errno = before;
}

void stop_lease(int fd, double lease_s)
{
    const double look_s = lease_s / LOOKS;
    const struct timespec look = { (time_t)look_s,
                                   (long)((look_s - (time_t)look_s) * 1e9) };
    const struct itimerspec every = { look, look };
    struct sigaction action;
    struct sigevent to_main;
    int n;

    stop_lease_end();
    use_own_stack();
    memset(&action, 0, sizeof(action));
    action.sa_handler = look_at_lease;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    n = snprintf(stop_signal.lease.words, sizeof(stop_signal.lease.words),
                 "mutransfer: nothing was heard of this run's supervisor for "
                 "%.3g s (recover.lease_s), so that this rank ends; the run "
                 "continues from its last checkpoint\n",
                 lease_s);
    stop_signal.lease.n_words = (size_t)n;
    stop_signal.lease.fd = fd;
    stop_signal.lease.heard_before = stop_signal.lease.heard;
    stop_signal.lease.waiting_before = 0;
    stop_signal.lease.length_s = lease_s;
    (void)clock_gettime(CLOCK_MONOTONIC, &stop_signal.lease.news);
    /* To the main thread, whose id is the process's: another one has no stack
     * of its own for signals, and after SIGCONT any would do. */
    memset(&to_main, 0, sizeof(to_main));
    to_main.sigev_notify = SIGEV_THREAD_ID;
    to_main.sigev_signo = SIGALRM;
    to_main.sigev_notify_thread_id = getpid();
    if (sigaction(SIGALRM, &action, NULL) == 0 &&
        timer_create(CLOCK_MONOTONIC, &to_main, &stop_signal.lease.timer) == 0)
        stop_signal.lease.runs = 1;
    if (stop_signal.lease.runs)
        (void)timer_settime(stop_signal.lease.timer, 0, &every, NULL);
}

void stop_heard(void)
{
    stop_signal.lease.heard++;
}

void stop_lease_unheard(void)
{
    stop_signal.lease.fd = -1;
}

void stop_lease_end(void)
{
    if (stop_signal.lease.runs)
        (void)timer_delete(stop_signal.lease.timer);
    stop_signal.lease.runs = 0;
}
