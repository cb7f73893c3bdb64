/* A study in a folder of its own, run by the real driver with the test program
 * as its worker. */
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/file.h"
#include "sweep/driver.h"

struct study {
    char dir[64], program[1024];
    struct space space;
    struct sweep_crew crew;
    struct sweep_hooks hooks;
    struct sweep_progress result;
    struct mup_error err;
    int calls;   /* of should_stop */
    int stop_at; /* the call that says stop; 0 = never */
    int kill_every, kill_signal;
    unsigned random;
    int notes;
    char note[1024];
};

/* Kill the worker of a random trial: fake events tell its pid. */
static void kill_some_worker(struct study *s)
{
    char path[1100], *text, *at;
    size_t bytes;
    unsigned trial;

    s->random = s->random * 1664525u + 1013904223u;
    trial = 1 + (s->random >> 16) % 12;
    snprintf(path, sizeof(path), "%s/trials/%u/events.jsonl", s->dir, trial);
    if (file_read(path, 1 << 20, &text, &bytes, NULL))
        return;
    for (at = text; strstr(at, "\"pid\":");)
        at = strstr(at, "\"pid\":") + 6;
    if (at != text && !strstr(text, "\"done\""))
        kill((pid_t)strtol(at, NULL, 10), s->kill_signal);
    free(text);
}

static int should_stop(void *context)
{
    struct study *s = context;

    s->calls++;
    if (s->kill_every && s->calls % s->kill_every == 0)
        kill_some_worker(s);
    return s->stop_at && s->calls >= s->stop_at;
}

static void take_note(void *context, const char *sentence)
{
    struct study *s = context;

    s->notes++;
    snprintf(s->note, sizeof(s->note), "%s", sentence);
}

static void open_study(struct study *s, const char *text)
{
    space_close(&s->space);
    if (space_open_text(text, strlen(text), "s.yaml", &s->space, &s->err))
        fail_msg("%s", s->err.text);
}

static int set_up(void **state)
{
    struct study *s = calloc(1, sizeof(*s));
    ssize_t n;

    snprintf(s->dir, sizeof(s->dir), "/tmp/test-driver-XXXXXX");
    n = readlink("/proc/self/exe", s->program, sizeof(s->program) - 1);
    if (!mkdtemp(s->dir) || n < 0)
        return 1;
    s->program[n] = '\0';
    s->hooks = (struct sweep_hooks){ s, NULL, should_stop, take_note };
    setenv("FAKE_TRAINER", "1", 1);
    unsetenv("FAKE_STEP_US");
    unsetenv("FAKE_SETUP_US");
    *state = s;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct study *s = *state;

    space_close(&s->space);
    nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(s);
    return 0;
}

static int run(struct study *s)
{
    s->calls = s->notes = 0;
    memset(&s->result, 0, sizeof(s->result));
    memset(&s->err, 0, sizeof(s->err));
    s->crew.program = s->program;
    return sweep_run(&s->space, s->dir, &s->crew, &s->hooks, &s->result,
                     &s->err);
}

static void run_well(struct study *s)
{
    if (run(s))
        fail_msg("%s", s->err.text);
}

static int64_t read_trials(const struct study *s, struct trial **out)
{
    struct store *store;
    int64_t n;

    assert_int_equal(store_open_readonly(s->dir, &store, NULL), MUP_OK);
    assert_int_equal(store_trials(store, out, &n, NULL), MUP_OK);
    store_close(store);
    return n;
}
