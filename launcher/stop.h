/* All signals of the program: Ctrl-C, SIGTERM and SIGHUP as a question that a
 * training loop asks, and the alarm that ends a rank whose lease is over. */
#ifndef LAUNCHER_STOP_H
#define LAUNCHER_STOP_H

/* From now on the first signal is only remembered; a second one ends the
 * process at once.  What comes within a second of the first is the same one:
 * timeout(1) and shells signal a process and then its group. */
void stop_watch(void);

/* The same for a program that must end others first: every signal is only
 * counted. */
void stop_watch_all(void);
int stop_count(void);

/* The same in a job of SLURM, where SIGUSR1 says that its time is over soon. */
void stop_watch_job(void);

/* The signal that asked to stop, or 0.  Has the form of a should_stop hook;
 * context is not used. */
int stop_requested(void *context);

/* A lease: this process ends itself with status MUP_DEVICE and one sentence on
 * stderr, whatever it is in the middle of, once lease_s have passed without
 * anything new from the peer of fd, a socket.  That is bytes that wait in fd
 * while nobody reads (in MPI_Init, in a long product), or stop_heard; not what
 * is left of a connection that the other side has closed.  Up to an eighth
 * later.  Of the main thread. */
void stop_lease(int fd, double lease_s);
/* Something was read from fd. */
void stop_heard(void);
/* fd is about to be closed: nothing comes any more, the lease runs out. */
void stop_lease_unheard(void);
/* No lease any more. */
void stop_lease_end(void);

#endif
