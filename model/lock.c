#include "model/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "model/node.h"

#define DEAD_HOLDER_TRIES 200 /* of 10 ms */

/* "host pid\n" in the file; 0 if it is empty. */
static int read_holder(int fd, char host[65], long *pid)
{
    char text[128];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%64s %ld", host, pid) == 2;
}

static int write_holder(int fd, const char *path, struct mup_error *err)
{
    char host[NODE_NAME_BYTES], text[128];
    int n;

    node_name(host);
    n = snprintf(text, sizeof(text), "%s %ld\n", host, (long)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)n, 0) != n)
        return mup_fail(err, MUP_SYSTEM, "cannot write '%s': %s", path,
                        strerror(errno));
    return MUP_OK;
}

/* A holder that was killed while it started a child: the child has the lock
 * until its exec closes the file. */
static int holder_died(int fd)
{
    char host[65], here[NODE_NAME_BYTES];
    long pid = 0;

    node_name(here);
    return read_holder(fd, host, &pid) && !strcmp(here, host) &&
           kill((pid_t)pid, 0) && errno == ESRCH;
}

/* flock without waiting for a living holder. */
static int try_lock(int fd)
{
    const struct timespec pause = { 0, 10000000 };
    int rc = flock(fd, LOCK_EX | LOCK_NB);

    for (int i = 0; i < DEAD_HOLDER_TRIES && rc; i++) {
        if (errno != EWOULDBLOCK)
            break;
        if (!holder_died(fd)) {
            errno = EWOULDBLOCK;
            break;
        }
        nanosleep(&pause, NULL);
        rc = flock(fd, LOCK_EX | LOCK_NB);
    }
    return rc;
}

int lock_take(const char *path, const char *what, struct file_lock *out,
              struct mup_error *err)
{
    char host[65] = "an unknown host";
    int fd, rc = MUP_OK;
    long pid = 0;

    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", path,
                        strerror(errno));
    if (try_lock(fd)) {
        if (errno != EWOULDBLOCK)
            rc = mup_fail(err, MUP_SYSTEM, "cannot lock '%s': %s", path,
                          strerror(errno));
        else if (read_holder(fd, host, &pid))
            rc = mup_fail(err, MUP_USAGE,
                          "%s is already run by process %ld on %s; wait for "
                          "it, stop it, or use another directory",
                          what, pid, host);
        else
            rc = mup_fail(err, MUP_USAGE,
                          "%s is already run by another process; wait for it "
                          "or use another directory",
                          what);
    }
    if (!rc)
        rc = write_holder(fd, path, err);
    if (rc) {
        close(fd);
        return rc;
    }
    out->fd = fd;
    return MUP_OK;
}

void lock_release(struct file_lock *lock)
{
    if (lock->fd < 0)
        return;
    /* Emptied, not removed: removing would race with a third opener. */
    if (ftruncate(lock->fd, 0)) {
        /* A stale name is harmless: its process does not hold the lock. */
    }
    close(lock->fd);
    lock->fd = -1;
}

int lock_holder(const char *path, char *host, size_t bytes, long *pid)
{
    char holder[65], here[NODE_NAME_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC), known;

    if (fd < 0)
        return 0;
    known = read_holder(fd, holder, pid);
    close(fd);
    if (!known)
        return 0;
    node_name(here);
    if (host)
        snprintf(host, bytes, "%s", holder);
    return strcmp(here, holder) != 0 || !kill((pid_t)*pid, 0) || errno == EPERM;
}

int lock_is_shared_disk(const char *dir)
{
    /* statfs(2): f_type of NFS, Lustre, GPFS, SMB, CIFS, BeeGFS, AFS. */
    static const unsigned long shared[] = {
        0x6969,     0x0bd00bd0, 0x47504653, 0xfe534d42,
        0xff534d42, 0x19830326, 0x5346414f,
    };
    struct statfs fs;

    if (statfs(dir, &fs))
        return 0;
    for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
        if (((unsigned long)fs.f_type & 0xffffffffUL) == shared[i])
            return 1;
    return 0;
}
