/* Lines from a worker, to a worker, and of events.jsonl: any bytes are read
 * without a fault, and what is understood is written back in a form that means
 * the same. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_job(const char *text, size_t size)
{
    struct worker_job job, back;
    char *line;

    if (worker_parse_job(text, size, &job, NULL) ||
        worker_format_job(&job, &line, NULL))
        return;
    assert(worker_parse_job(line, strlen(line) - 1, &back, NULL) == MUP_OK);
    assert(back.trial == job.trial && back.attempt == job.attempt);
    assert(!strcmp(back.dir, job.dir));
    free(line);
}

static void check_message(const char *text, size_t size)
{
    struct worker_message m, back;
    char *line;

    if (worker_parse_message(text, size, &m, NULL) ||
        worker_format_message(&m, &line, NULL))
        return;
    assert(worker_parse_message(line, strlen(line) - 1, &back, NULL) == MUP_OK);
    assert(back.event == m.event && back.trial == m.trial);
    assert(back.step == m.step && back.status == m.status);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct run_events events;

    check_job(text, size);
    check_message(text, size);
    events_parse(text, size, &events);
    assert(events.end >= RUN_OPEN && events.end <= RUN_DIVERGED);
    return 0;
}
