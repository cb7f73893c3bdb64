#include "launcher/preflight_gpu.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/child.h"
#include "model/file.h"

/* Without its persistence daemon the driver takes long to wake. */
#define ANSWER_S       20.0
#define FILE_BYTES     ((size_t)16 << 20)
#define LINE_BYTES     512
#define RECORD_BYTES   8192 /* of /dev/kmsg: larger ones do not exist */
#define MAX_KMSG_BYTES ((size_t)4 << 20)

/* --- nvidia-smi --- */

/* The next field of a line, without blanks around it; 0: there is none. */
static int take_field(char **at, char **field)
{
    char *end;

    if (!*at)
        return 0;
    *field = *at + strspn(*at, " \t");
    end = strchr(*field, ',');
    *at = end ? end + 1 : NULL;
    if (end)
        *end = '\0';
    end = *field + strlen(*field);
    while (end > *field && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return **field != '\0';
}

/* A count, Yes or No; a GPU that does not count has none.  -1: neither. */
static int64_t read_count(const char *field)
{
    char *end;
    long long n;

    if (!strcmp(field, "[N/A]") || !strcmp(field, "N/A") ||
        !strcmp(field, "[Not Supported]") || !strcmp(field, "No"))
        return 0;
    if (!strcmp(field, "Yes"))
        return 1;
    if (!isdigit((unsigned char)*field))
        return -1;
    errno = 0;
    n = strtoll(field, &end, 10);
    return *end || errno ? -1 : n;
}

/* "GPU-" or "MIG-" and a UUID. */
static int is_uuid(const char *field)
{
    if (strncmp(field, "GPU-", 4) != 0 && strncmp(field, "MIG-", 4) != 0)
        return 0;
    for (const char *c = field; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-')
            return 0;
    return 1;
}

/* -1: not such a line. */
static int read_gpu(char *line, char *bad, size_t bytes)
{
    char *at = line, *index, *uuid, *field[3];
    int64_t count[3];

    if (!take_field(&at, &index) || !take_field(&at, &uuid) ||
        read_count(index) < 0 || !isdigit((unsigned char)*index) ||
        !is_uuid(uuid))
        return -1;
    for (int i = 0; i < 3; i++) {
        if (!take_field(&at, &field[i]))
            return -1;
        count[i] = read_count(field[i]);
        if (count[i] < 0)
            return -1;
    }
    if (at)
        return -1;
    if (*bad)
        return 0; /* the first fault counts */
    if (count[0] > 0)
        snprintf(bad, bytes,
                 "GPU %.8s (%.48s) has had %" PRId64 " memory errors that were "
                 "not corrected; reset it",
                 index, uuid, count[0]);
    else if (count[2] > 0)
        snprintf(bad, bytes,
                 "GPU %.8s (%.48s) has run out of spare memory rows; replace "
                 "it",
                 index, uuid);
    else if (count[1] > 0)
        snprintf(bad, bytes,
                 "GPU %.8s (%.48s) has a bad memory row that is replaced at "
                 "its next reset; reset it",
                 index, uuid);
    return 0;
}

int preflight_gpu_read(const char *text, int64_t wanted, char *bad,
                       size_t bytes)
{
    char line[LINE_BYTES];
    int n = 0;

    *bad = '\0';
    while (*text) {
        size_t length = strcspn(text, "\n");

        if (text[length] != '\n' || length >= sizeof(line)) {
            snprintf(bad, bytes, "nvidia-smi gave half an answer");
            return n;
        }
        memcpy(line, text, length);
        line[length] = '\0';
        text += length + 1;
        if (strlen(line) != length || read_gpu(line, bad, bytes) != 0) {
            memcpy(line, text - length - 1, length);
            line[length] = '\0';
            for (char *c = line; *c; c++)
                if ((unsigned char)*c < ' ' || (unsigned char)*c > 126)
                    *c = '?';
            snprintf(bad, bytes, "nvidia-smi's answer cannot be read: '%.120s'",
                     line);
            return n;
        }
        n++;
    }
    if (!*bad && n < wanted)
        snprintf(bad, bytes, "%d of %" PRId64 " GPUs are there", n, wanted);
    return n;
}

/* --- Xid --- */

/* Those whose immediate action is a reset of the GPU, a restart of the machine
 * or a procedure that ends in one: NVIDIA, "Analyzing Xid Errors with the Xid
 * Catalog", docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html,
 * columns of A100 and H100.  Not among them: 63 (a row was replaced: nvidia-smi
 * tells whether a reset is due), 94 (contained: only its program must restart)
 * and those of programs (13, 31, 43, 45). */
static const int64_t fatal[] = {
    48,  /* double bit error */
    62,  /* micro-controller halted */
    64,  /* a memory row could not be replaced */
    74,  /* NVLink */
    79,  /* fallen off the bus */
    95,  /* memory error, not contained */
    119, /* GSP does not answer */
    120, /* GSP failed */
    140, /* memory error, not recovered */
};

int preflight_xid_is_fatal(int64_t xid)
{
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
        if (fatal[i] == xid)
            return 1;
    return 0;
}

/* "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, ..." */
static int read_xid(const char *at, char *device, size_t bytes, int64_t *xid)
{
    const char *end = strpbrk(at, ")\n");
    char *stop;
    size_t n;

    if (!end || *end != ')' || end[1] != ':' || end[2] != ' ' ||
        !isdigit((unsigned char)end[3]))
        return 0;
    n = (size_t)(end - at);
    if (n >= bytes)
        n = bytes - 1;
    memcpy(device, at, n);
    device[n] = '\0';
    for (char *c = device; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(":.-", *c))
            *c = '?';
    errno = 0;
    *xid = strtoll(end + 3, &stop, 10);
    return errno == 0;
}

void preflight_xid_read(const char *text, char *bad, size_t bytes)
{
    static const char mark[] = "NVRM: Xid (";
    char device[32];
    int64_t xid;

    *bad = '\0';
    for (; !*bad && (text = strstr(text, mark)) != NULL; text++)
        if (read_xid(text + sizeof(mark) - 1, device, sizeof(device), &xid) &&
            preflight_xid_is_fatal(xid))
            snprintf(bad, bytes,
                     "the kernel has reported Xid %" PRId64 " of the GPU at "
                     "%s since it started; reset the GPU and restart the node",
                     xid, device);
}

/* --- asking --- */

/* All messages that the kernel still has.  One record a read; NULL: they may
 * not be read here. */
static char *read_kmsg(void)
{
    char *text = malloc(MAX_KMSG_BYTES + 1);
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    size_t used = 0;

    while (text && fd >= 0 && used + RECORD_BYTES <= MAX_KMSG_BYTES) {
        ssize_t n = read(fd, text + used, RECORD_BYTES);

        if (n > 0)
            used += (size_t)n;
        else if (n == 0 || (errno != EPIPE && errno != EINTR))
            break; /* EPIPE: overwritten while we read, there is more */
    }
    if (fd >= 0)
        close(fd);
    if (!text || used == 0) {
        free(text);
        return NULL;
    }
    text[used] = '\0';
    return text;
}

/* Text of an answer; bad is set where it cannot be had.  takes: free. */
static char *read_answer(const char *file, char *bad, size_t bytes)
{
    static const char *const ask[] = {
        "nvidia-smi",
        "--query-gpu=index,uuid,ecc.errors.uncorrected.volatile.total,"
        "remapped_rows.pending,remapped_rows.failure",
        "--format=csv,noheader,nounits", NULL
    };
    struct mup_error err = { 0 };
    struct child *c = NULL;
    char *text = NULL;
    size_t n;
    int rc;

    if (file) {
        rc = file_read(file, FILE_BYTES, &text, &n, &err);
    } else {
        c = calloc(1, sizeof(*c));
        rc = c ? child_answer(ask, ANSWER_S, c, &err)
               : mup_fail(&err, MUP_SYSTEM, "out of memory");
        if (rc == MUP_OK)
            text = strdup(c->text);
    }
    if (rc != MUP_OK || !text)
        snprintf(bad, bytes, "GPUs cannot be looked for: %.200s",
                 rc != MUP_OK ? err.text : "out of memory");
    free(c);
    return text;
}

int preflight_gpu_check(int64_t wanted, const char *gpu_file,
                        const char *xid_file, char *bad, size_t bytes)
{
    char *text;
    int n = 0;

    *bad = '\0';
    text = read_answer(gpu_file, bad, bytes);
    if (text && !*bad)
        n = preflight_gpu_read(text, wanted, bad, bytes);
    free(text);
    if (*bad)
        return n;
    text = xid_file ? read_answer(xid_file, bad, bytes) : read_kmsg();
    if (text && !*bad)
        preflight_xid_read(text, bad, bytes);
    free(text);
    return n;
}
