/* Do disks keep what is written, and is there room? */
#define _GNU_SOURCE /* O_DIRECTORY, posix_fadvise */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "launcher/preflight_parts.h"
#include "launcher/units.h"
#include "model/clock.h"
#include "model/file.h"

#define PROBE_BYTES ((size_t)8 << 20)
/* The best of so many writes counts, as long as there is time: a disk that is
 * shared makes one of them wait for others. */
#define PROBES   3
#define PROBES_S 1.0

/* dir, or the nearest folder above it that is there: a check makes none. */
static void find_place(const char *dir, char *out, size_t bytes)
{
    struct stat s;

    snprintf(out, bytes, "%s", *dir ? dir : ".");
    while (stat(out, &s) != 0 || !S_ISDIR(s.st_mode)) {
        char *slash = strrchr(out, '/');

        if (!slash) {
            snprintf(out, bytes, ".");
            return;
        }
        slash[slash == out] = '\0';
        if (slash == out)
            return;
    }
}

static void fill(uint64_t *word, size_t n)
{
    uint64_t x = 0x9e3779b97f4a7c15u ^ (uint64_t)getpid();

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        word[i] = x;
    }
}

/* 0, or errno. */
static int write_all(int fd, const char *at, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, at, bytes);

        if (n < 0 && errno != EINTR)
            return errno;
        at += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP ? 0 : errno;
}

static int read_all(int fd, char *at, size_t bytes)
{
    off_t from = 0;

    while (bytes > 0) {
        ssize_t n = pread(fd, at, bytes, from);

        if (n == 0)
            return EIO;
        if (n < 0 && errno != EINTR)
            return errno;
        at += n > 0 ? n : 0;
        from += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void say_fault(struct preflight_result *r, const char *place, int fault)
{
    if (fault == ENOSPC || fault == EDQUOT)
        preflight_bad(r,
                      "the disk of '%.160s' is full on this node; make room "
                      "there",
                      place);
    else
        preflight_bad(r, "'%.160s' cannot be used on this node: %s", place,
                      strerror(fault));
}

/* 0, or errno. */
static int write_probe(int fd, const char *buffer, struct preflight_result *r)
{
    const double start_s = clock_s();
    const int measure = r->disk_bytes_per_s <= 0;
    int fault = 0;

    for (int i = 0; i < PROBES && !fault; i++) {
        double began_s = clock_s(), speed;

        if (i > 0 && (!measure || began_s - start_s > PROBES_S))
            break;
        fault = lseek(fd, 0, SEEK_SET) < 0 ? errno
                                           : write_all(fd, buffer, PROBE_BYTES);
        speed = (double)PROBE_BYTES / (clock_s() - began_s);
        if (!fault && measure && speed > r->disk_bytes_per_s)
            r->disk_bytes_per_s = speed;
    }
    return fault;
}

/* Through a file that has no name any more once it is open: nothing is left
 * behind, however this process ends. */
static void probe(const struct preflight_options *o, const char *place,
                  char *buffer, struct preflight_result *r)
{
    XXH64_hash_t hash;
    char path[1200];
    int fd, fault;

    snprintf(path, sizeof(path), "%.1024s/.preflight-%.64s-%ld", place, o->node,
             (long)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        say_fault(r, place, errno);
        return;
    }
    (void)unlink(path);
    fill((uint64_t *)(void *)buffer, PROBE_BYTES / sizeof(uint64_t));
    hash = XXH3_64bits(buffer, PROBE_BYTES);
    fault = write_probe(fd, buffer, r);
    memset(buffer, 0, PROBE_BYTES);
    /* From the disk, as far as the system does us the favour. */
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (!fault)
        fault = read_all(fd, buffer, PROBE_BYTES);
    if (o->drill == DRILL_DISK)
        buffer[PROBE_BYTES / 2] ^= 1;
    if (close(fd) != 0 && !fault)
        fault = errno;
    if (fault)
        say_fault(r, place, fault);
    else if (XXH3_64bits(buffer, PROBE_BYTES) != hash)
        preflight_bad(r,
                      "what this node wrote to '%.160s' came back changed; do "
                      "not trust this disk",
                      place);
}

static void check_room(const char *place, double wanted,
                       struct preflight_result *r)
{
    struct statvfs s;
    double room;

    if (statvfs(place, &s) != 0) {
        say_fault(r, place, errno);
        return;
    }
    room = (double)s.f_bavail * (double)s.f_frsize;
    if (room < wanted)
        preflight_bad(r,
                      "the disk of '%.120s' has %s left, a checkpoint needs "
                      "%s; make room there",
                      place, units_bytes(room).text, units_bytes(wanted).text);
}

void preflight_disks(const struct preflight_options *o,
                     struct preflight_result *r)
{
    const char *temporary = getenv("TMPDIR");
    char *buffer = malloc(PROBE_BYTES);
    char place[1024];

    if (!buffer) {
        preflight_bad(r, "no memory for a buffer of 8 MiB");
        return;
    }
    find_place(o->dir, place, sizeof(place));
    check_room(place, o->checkpoint_bytes, r);
    if (!r->bad[0])
        probe(o, place, buffer, r);
    if (!r->bad[0])
        probe(o, temporary && *temporary ? temporary : "/tmp", buffer, r);
    free(buffer);
}
