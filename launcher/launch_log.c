#include "launcher/launch_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "launcher/journal.h"
#include "launcher/paths.h"
#include "model/file.h"

#define STATE_MAX_BYTES ((size_t)1 << 26)

json_t *launch_log_new(const char *name)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return json_pack("{s:s, s:f}", "event", name, "time",
                     (double)now.tv_sec + (double)now.tv_nsec / 1e9);
}

int launch_log_append(const char *dir, json_t *event, struct mup_error *err)
{
    char path[1100];
    int rc = path_join(dir, "launch.jsonl", path, sizeof(path), err);

    if (rc == MUP_OK)
        return journal_append(path, event, err);
    json_decref(event);
    return rc;
}

/* ---- what the journal says ----------------------------------------------- */

/* What is known of a submission ends where the next one begins: at
 * "submitting", or at a "submitted" that has none. */
static void begin_submission(struct launch_log *log)
{
    log->cancelled = log->ended = log->status = 0;
    log->ended_unix_s = 0;
    log->text[0] = '\0';
}

/* heard: the job whose supervisor spoke since "submitting": a job may start
 * before its client has written "submitted". */
static void note_job(struct launch_log *log, int64_t job, int again,
                     int64_t heard)
{
    if (!log->submitting)
        begin_submission(log);
    log->submitting = 0;
    log->submissions = again ? log->submissions + 1 : 1;
    log->supervised = heard == job;
    log->job = job;
    if (again)
        return;
    log->requeues = log->base_step = 0;
    log->tries = 0;
}

/* A job that was submitted by hand, or requeued after its end, has no other
 * sign in the journal. */
static void note_supervisor(struct launch_log *log, const json_t *event)
{
    int64_t job = journal_int(event, "job");

    if (log->first_unix_s > 0)
        log->restarts++;
    else
        log->first_unix_s = journal_real(event, "time");
    if (log->job == 0 || log->supervised || log->ended)
        log->job = job;
    if (log->job != job)
        return;
    log->supervised = 1;
    log->ended = log->status = 0;
    log->ended_unix_s = 0;
    log->text[0] = '\0';
}

static int small(int64_t n)
{
    return n > INT_MAX ? INT_MAX : n < INT_MIN ? INT_MIN : (int)n;
}

static void note_end(struct launch_log *log, const json_t *event)
{
    log->ended = 1;
    log->status = small(journal_int(event, "status"));
    log->ended_unix_s = journal_real(event, "time");
    snprintf(log->text, sizeof(log->text), "%s", journal_text(event, "text"));
}

static void note_event(struct launch_log *log, const json_t *event,
                       int64_t *heard)
{
    const char *name = journal_text(event, "event");
    const int64_t job = journal_int(event, "job");

    if (*journal_text(event, "uuid"))
        snprintf(log->uuid, sizeof(log->uuid), "%s",
                 journal_text(event, "uuid"));
    if (!strcmp(name, "submitting")) {
        begin_submission(log);
        log->submitting = 1;
        *heard = 0;
    } else if (!strcmp(name, "submitted")) {
        note_job(log, job, journal_int(event, "again") != 0, *heard);
    } else if (!strcmp(name, "adopted")) {
        /* Its "submitting" has no answer of its own. */
        if (log->submitting)
            note_job(log, job, log->job && !log->ended, *heard);
        else
            log->job = job;
    } else if (!strcmp(name, "supervisor")) {
        note_supervisor(log, event);
        *heard = job;
    } else if (!strcmp(name, "incarnation")) {
        int64_t k = journal_int(event, "incarnation");

        log->incarnations = k > log->incarnations ? k : log->incarnations;
    } else if (!strcmp(name, "incident")) {
        log->incidents++;
    } else if (!strcmp(name, "wish")) {
        log->cancelled |= !strcmp(journal_text(event, "wish"), "cancel");
    } else if (!strcmp(name, "requeued")) {
        log->requeues++;
        log->tries = small(journal_int(event, "tries"));
        log->base_step = journal_int(event, "base_step");
    } else if (!strcmp(name, "ended")) {
        note_end(log, event);
    }
}

int launch_log_read(const char *dir, struct launch_log *out,
                    struct mup_error *err)
{
    struct launch_log log = { 0 };
    char path[1100];
    int64_t heard = 0;
    json_t *event;
    size_t i;
    int rc = path_join(dir, "launch.jsonl", path, sizeof(path), err);

    if (rc == MUP_OK)
        rc = journal_read(path, &log.events, err);
    if (rc != MUP_OK)
        return rc;
    json_array_foreach(log.events, i, event)
    {
        note_event(&log, event, &heard);
    }
    *out = log;
    return MUP_OK;
}

void launch_log_clear(struct launch_log *log)
{
    json_decref(log->events);
    *log = (struct launch_log){ 0 };
}

/* ---- names --------------------------------------------------------------- */

int launch_log_uuid(char out[LAUNCH_UUID_BYTES], struct mup_error *err)
{
    unsigned char b[16];
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, b, sizeof(b)) : -1;
    int cause = errno;

    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (n != (ssize_t)sizeof(b))
        return mup_fail(err, MUP_SYSTEM, "cannot read '/dev/urandom': %s",
                        n < 0 ? strerror(cause) : "too few bytes");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* version 4 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80); /* variant of RFC 4122 */
    snprintf(out, LAUNCH_UUID_BYTES,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
    return MUP_OK;
}

void launch_log_comment(const char *uuid, char *out, size_t bytes)
{
    snprintf(out, bytes, "mutransfer:%s", uuid);
}

/* ---- how it stands now --------------------------------------------------- */

int launch_state_write(const char *dir, json_t *state, struct mup_error *err)
{
    char path[1100];
    struct file_replace f;
    int rc = path_join(dir, "launch.json", path, sizeof(path), err);

    if (rc == MUP_OK && !state)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    if (rc == MUP_OK)
        rc = file_replace_open(path, &f, err);
    if (rc == MUP_OK && (json_dumpf(state, f.out, JSON_COMPACT) != 0 ||
                         fputc('\n', f.out) == EOF)) {
        file_replace_abandon(&f);
        rc = mup_fail(err, MUP_SYSTEM, "cannot write '%s'", path);
    } else if (rc == MUP_OK) {
        rc = file_replace_commit(&f, err);
    }
    json_decref(state);
    return rc;
}

json_t *launch_state_read(const char *dir)
{
    char path[1100], *text = NULL;
    size_t bytes = 0;
    json_t *o;

    if (path_join(dir, "launch.json", path, sizeof(path), NULL) != MUP_OK ||
        file_read(path, STATE_MAX_BYTES, &text, &bytes, NULL) != MUP_OK)
        return NULL;
    o = json_loadb(text, bytes, 0, NULL);
    free(text);
    if (json_is_object(o))
        return o;
    json_decref(o);
    return NULL;
}
