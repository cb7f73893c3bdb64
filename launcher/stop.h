/* Ctrl-C, SIGTERM and SIGHUP as a question that a training loop asks. */
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

#endif
