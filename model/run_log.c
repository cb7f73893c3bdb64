#include "model/run_log.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model/file.h"

#define LOG_MAX_BYTES ((size_t)1 << 30)

/* Keep only the whole lines of steps up to `step`. */
static int trim_metrics(const char *path, int64_t step, struct mup_error *err)
{
    FILE *in = fopen(path, "r");
    struct file_replace f;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int rc;

    if (!in && errno == ENOENT)
        return MUP_OK;
    if (!in)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", path,
                        strerror(errno));
    rc = file_replace_open(path, &f, err);
    while (!rc && (n = getline(&line, &room, in)) > 0) {
        json_t *object = json_loadb(line, (size_t)n, 0, NULL);

        if (object && line[n - 1] == '\n' &&
            json_integer_value(json_object_get(object, "step")) <= step)
            (void)fwrite(line, 1, (size_t)n, f.out); /* commit checks */
        json_decref(object);
    }
    free(line);
    if (!rc && ferror(in)) {
        rc = mup_fail(err, MUP_SYSTEM, "cannot read '%s': %s", path,
                      strerror(errno));
        file_replace_abandon(&f);
    } else if (!rc) {
        rc = file_replace_commit(&f, err);
    }
    (void)fclose(in); /* only read from */
    return rc;
}

int run_log_open(const char *dir, int64_t step, struct run_log *out,
                 struct mup_error *err)
{
    struct run_log log = { -1, -1, out->fence };
    char path[1100];
    int rc;

    snprintf(path, sizeof(path), "%s/metrics.jsonl", dir);
    rc = trim_metrics(path, step, err);
    if (!rc)
        rc = file_append_open(path, 1, &log.metrics, err);
    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    if (!rc)
        rc = file_append_open(path, 1, &log.events, err);
    if (rc)
        run_log_close(&log);
    else
        *out = log;
    return rc;
}

void run_log_close(struct run_log *log)
{
    if (log->metrics >= 0)
        (void)close(log->metrics); /* every line was checked when written */
    if (log->events >= 0)
        (void)close(log->events);
    log->metrics = log->events = -1;
}

static int append(struct run_log *log, int fd, json_t *object, const char *name,
                  struct mup_error *err)
{
    struct mup_error why = { 0 };
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    int rc = fence_look(log->fence, err);

    json_decref(object);
    if (rc) {
        free(text);
        return rc;
    }
    if (!text)
        return mup_fail(err, MUP_SYSTEM, "out of memory for a log line");
    text[n] = '\n'; /* instead of the NUL: the length is passed */
    rc = file_append(fd, text, n + 1, &why);
    free(text);
    return rc ? mup_fail(err, rc, "%s: %.900s", name, why.text) : MUP_OK;
}

int run_log_metric(struct run_log *log, json_t *object, struct mup_error *err)
{
    return append(log, log->metrics, object, "metrics.jsonl", err);
}

int run_log_event(struct run_log *log, json_t *object, struct mup_error *err)
{
    return append(log, log->events, object, "events.jsonl", err);
}

json_t *run_log_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *run_log_new_event(const char *name, int64_t step)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return json_pack("{s:s, s:f, s:I, s:I}", "event", name, "time",
                     (double)now.tv_sec + (double)now.tv_nsec / 1e9, "pid",
                     (json_int_t)getpid(), "step", (json_int_t)step);
}

static double real(json_t *event, const char *key)
{
    json_t *value = json_object_get(event, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int parse_end(json_t *event, struct train_result *out)
{
    const char *name = json_string_value(json_object_get(event, "event"));

    if (!name || (strcmp(name, "done") != 0 && strcmp(name, "diverged") != 0))
        return 0;
    memset(out, 0, sizeof(*out));
    out->diverged = !strcmp(name, "diverged");
    out->steps = json_integer_value(json_object_get(event, "step"));
    out->diverged_step = out->diverged ? out->steps : 0;
    out->tokens = json_integer_value(json_object_get(event, "tokens"));
    out->loss = real(event, "loss");
    out->val_loss = real(event, "val_loss");
    out->val_bpb = real(event, "val_bpb");
    out->flops = real(event, "flops");
    out->wall_s = real(event, "wall_s");
    return 1;
}

int64_t run_log_saved_step(const char *dir)
{
    char path[1100], *text = NULL, *line, *end;
    size_t bytes = 0;
    int64_t step = 0;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    if (file_read(path, LOG_MAX_BYTES, &text, &bytes, NULL) != MUP_OK)
        return 0;
    for (line = text; (end = strchr(line, '\n')); line = end + 1) {
        json_t *event = json_loadb(line, (size_t)(end - line), 0, NULL);
        const char *name = json_string_value(json_object_get(event, "event"));

        if (name && !strcmp(name, "checkpoint"))
            step = json_integer_value(json_object_get(event, "step"));
        else if (name && !strcmp(name, "start"))
            step = 0;
        json_decref(event);
    }
    free(text);
    return step;
}

int run_log_result(const char *dir, struct train_result *result)
{
    char path[1100], *text = NULL, *line, *end;
    size_t bytes = 0;
    int found = 0;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    if (file_read(path, LOG_MAX_BYTES, &text, &bytes, NULL) != MUP_OK)
        return 0;
    for (line = text; (end = strchr(line, '\n')); line = end + 1) {
        json_t *event = json_loadb(line, (size_t)(end - line), 0, NULL);

        if (event && parse_end(event, result))
            found = 1;
        json_decref(event);
    }
    free(text);
    return found;
}
