/* Lines of JSON between driver and worker, and in events.jsonl. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/file.h"
#include "sweep/worker.h"

/* Bytes of the largest events.jsonl: a line a checkpoint, far below. */
#define EVENTS_MAX_BYTES ((size_t)64 << 20)

static json_t *parse_object(const char *line, size_t bytes)
{
    json_t *object = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static const char *get_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* A whole number of at least min; 0 if there is none. */
static int get_count(const json_t *object, const char *key, int64_t min,
                     int64_t *out)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value) || json_integer_value(value) < min)
        return 0;
    *out = json_integer_value(value);
    return 1;
}

/* A number, or NaN: JSON has no other way to say that than null. */
static double get_real(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

static int copy_text(const char *text, char *out, size_t bytes)
{
    size_t n = strlen(text);

    if (n >= bytes)
        return 0;
    memcpy(out, text, n + 1);
    return 1;
}

static int bad_line(const char *line, size_t bytes, struct mup_error *err)
{
    return mup_fail(err, MUP_CORRUPT, "'%.*s' is no line of the protocol",
                    (int)(bytes < 80 ? bytes : 80), line);
}

int worker_parse_job(const char *line, size_t bytes, struct worker_job *out,
                     struct mup_error *err)
{
    json_t *object = parse_object(line, bytes);
    struct worker_job job;
    int ok;

    memset(&job, 0, sizeof(job));
    ok = object && !strcmp(get_text(object, "op"), "run") &&
         get_count(object, "trial", 1, &job.trial) &&
         get_count(object, "attempt", 0, &job.attempt) &&
         get_text(object, "dir")[0] &&
         copy_text(get_text(object, "dir"), job.dir, sizeof(job.dir));
    json_decref(object);
    if (!ok)
        return bad_line(line, bytes, err);
    *out = job;
    return MUP_OK;
}

int worker_parse_lease(const char *line, size_t bytes, double *lease_s)
{
    json_t *object = parse_object(line, bytes);
    double lease = get_real(object, "lease_s");
    int ok = !strcmp(get_text(object, "op"), "alive") && lease > 0;

    json_decref(object);
    if (ok)
        *lease_s = lease;
    return ok;
}

static int read_message(const json_t *object, struct worker_message *m)
{
    const char *event = get_text(object, "event");
    int64_t status;

    if (!strcmp(event, "alive")) {
        m->event = WORKER_ALIVE;
        return 1;
    }
    if (!get_count(object, "trial", 1, &m->trial) ||
        !get_count(object, "attempt", 0, &m->attempt))
        return 0;
    if (!strcmp(event, "step")) {
        m->event = WORKER_STEP;
        m->loss = get_real(object, "loss");
        return get_count(object, "step", 0, &m->step) &&
               get_count(object, "steps", 1, &m->steps) && m->step <= m->steps;
    }
    m->event = WORKER_END;
    if (strcmp(event, "end") || !get_count(object, "status", 0, &status) ||
        status > MUP_INCONCLUSIVE)
        return 0;
    m->status = (int)status;
    snprintf(m->error, sizeof(m->error), "%s", get_text(object, "error"));
    return 1;
}

int worker_parse_message(const char *line, size_t bytes,
                         struct worker_message *out, struct mup_error *err)
{
    json_t *object = parse_object(line, bytes);
    struct worker_message message;
    int ok;

    memset(&message, 0, sizeof(message));
    ok = object && read_message(object, &message);
    json_decref(object);
    if (!ok)
        return bad_line(line, bytes, err);
    *out = message;
    return MUP_OK;
}

/* Takes object; a line of it. */
static int format_line(json_t *object, char **out, struct mup_error *err)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL, *line;
    size_t n;

    json_decref(object);
    if (!text)
        return mup_fail(err, MUP_USAGE,
                        "a path or sentence is not UTF-8 text or memory is "
                        "out; rename the directory");
    n = strlen(text);
    line = realloc(text, n + 2);
    if (!line || n + 2 > WORKER_LINE_BYTES) {
        free(line ? line : text);
        return mup_fail(err, MUP_SYSTEM, "a line of %zu bytes is too long", n);
    }
    memcpy(line + n, "\n", 2);
    *out = line;
    return MUP_OK;
}

int worker_format_job(const struct worker_job *job, char **out,
                      struct mup_error *err)
{
    return format_line(json_pack("{s:s, s:I, s:I, s:s}", "op", "run", "trial",
                                 (json_int_t)job->trial, "attempt",
                                 (json_int_t)job->attempt, "dir", job->dir),
                       out, err);
}

int worker_format_message(const struct worker_message *m, char **out,
                          struct mup_error *err)
{
    json_t *object, *error;

    if (m->event == WORKER_ALIVE)
        return format_line(json_pack("{s:s}", "event", "alive"), out, err);
    object = json_pack("{s:I, s:I, s:s}", "trial", (json_int_t)m->trial,
                       "attempt", (json_int_t)m->attempt, "event",
                       m->event == WORKER_STEP ? "step" : "end");
    if (object && m->event == WORKER_STEP) {
        json_object_set_new(object, "step", json_integer(m->step));
        json_object_set_new(object, "steps", json_integer(m->steps));
        json_object_set_new(object, "loss",
                            isfinite(m->loss) ? json_real(m->loss)
                                              : json_null());
    } else if (object) {
        /* A sentence may quote bytes that are no UTF-8. */
        error = json_string(m->error);
        json_object_set_new(object, "status", json_integer(m->status));
        json_object_set_new(object, "error",
                            error ? error : json_string("unreadable error"));
    }
    return format_line(object, out, err);
}

static void read_event(const json_t *object, struct run_events *e)
{
    const char *event = get_text(object, "event");
    int diverged = !strcmp(event, "diverged");

    if (!diverged && strcmp(event, "done"))
        return;
    e->end = diverged ? RUN_DIVERGED : RUN_DONE;
    if (!get_count(object, "step", 0, &e->steps))
        e->steps = 0;
    if (!get_count(object, "tokens", 0, &e->tokens))
        e->tokens = 0;
    e->loss = get_real(object, "loss");
    e->val_loss = get_real(object, "val_loss");
    e->val_bpb = get_real(object, "val_bpb");
    e->flops = get_real(object, "flops");
    e->wall_s = get_real(object, "wall_s");
}

void events_parse(const char *text, size_t bytes, struct run_events *out)
{
    struct run_events e;

    memset(&e, 0, sizeof(e));
    e.loss = e.val_loss = e.val_bpb = NAN;
    while (bytes) {
        const char *end = memchr(text, '\n', bytes);
        size_t n = end ? (size_t)(end - text) : 0;
        json_t *object;

        if (!end)
            break;
        object = parse_object(text, n);
        if (object)
            read_event(object, &e);
        json_decref(object);
        text += n + 1;
        bytes -= n + 1;
    }
    *out = e;
}

int events_read(const char *dir, struct run_events *out, struct mup_error *err)
{
    char path[2200], *text = NULL;
    size_t bytes = 0;
    int rc;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    if (access(path, F_OK) && errno == ENOENT) {
        events_parse("", 0, out);
        return MUP_OK;
    }
    rc = file_read(path, EVENTS_MAX_BYTES, &text, &bytes, err);
    if (!rc)
        events_parse(text, bytes, out);
    free(text);
    return rc;
}
