/* A trainer for tests: takes milliseconds, keeps its state in a checkpoint as
 * the real one does, and misbehaves where the learning rate says so. */
#ifndef TESTS_FAKE_TRAINER_H
#define TESTS_FAKE_TRAINER_H

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/file.h"
#include "model/train.h"

/* Learning rates at which the fake trainer misbehaves. */
#define LR_DIVERGES  0.5
#define LR_DIES      0.25     /* at every attempt */
#define LR_USAGE     0.125    /* refuses its config */
#define LR_DIES_ONCE 0.0625   /* after its first checkpoint */
#define LR_NO_SPACE  0.03125  /* while the file "full" lies in the sweep */
#define LR_NO_FILE   0.015625 /* misses a file at every attempt */
/* Stops, or hangs in a step, after its first checkpoint. */
#define LR_STOPS_ONCE 0.0078125
#define LR_HANGS_ONCE 0.00390625

static void pause_us(long us)
{
    struct timespec t = { us / 1000000, us % 1000000 * 1000 };

    nanosleep(&t, NULL);
}

struct fake {
    int64_t step;
    double x; /* what the run computes, one step after the other */
};

static void fake_save(const char *dir, const struct fake *f)
{
    struct file_replace out;
    char path[1100];

    snprintf(path, sizeof(path), "%s/state", dir);
    if (file_replace_open(path, &out, NULL))
        _exit(90);
    fwrite(f, sizeof(*f), 1, out.out);
    if (file_replace_commit(&out, NULL))
        _exit(91);
}

static void fake_load(const char *dir, struct fake *f)
{
    char path[1100];
    FILE *in;

    snprintf(path, sizeof(path), "%s/state", dir);
    in = fopen(path, "rb");
    if (in && fread(f, sizeof(*f), 1, in) != 1)
        _exit(92);
    if (in)
        fclose(in);
}

static void fake_event(const char *dir, const char *event, const struct fake *f)
{
    char path[1100], line[512];
    int fd, n;

    snprintf(path, sizeof(path), "%s/events.jsonl", dir);
    if (file_append_open(path, 1, &fd, NULL))
        _exit(93);
    n = snprintf(line, sizeof(line),
                 "{\"event\":\"%s\",\"pid\":%ld,\"step\":%lld,\"loss\":%.17g,"
                 "\"val_loss\":%.17g,\"val_bpb\":null,\"tokens\":%lld,"
                 "\"flops\":1e6,\"wall_s\":0.01}\n",
                 event, (long)getpid(), (long long)f->step, f->x, f->x + 1,
                 (long long)f->step * 10);
    if (file_append(fd, line, (size_t)n, NULL))
        _exit(94);
    close(fd);
}

static void fake_fall_silent(double lr, const char *dir,
                             const struct train_hooks *hooks)
{
    const struct train_beat step = { .phase = TRAIN_STEP };
    struct fake saved = { 5, 0.25 };

    if (lr != LR_STOPS_ONCE && lr != LR_HANGS_ONCE)
        return;
    fake_save(dir, &saved);
    if (lr == LR_STOPS_ONCE)
        raise(SIGSTOP);
    hooks->beat(hooks->context, &step);
    for (;;)
        pause_us(1000000);
}

static int fake_misbehave(double lr, const char *dir, const struct fake *f,
                          struct mup_error *err)
{
    char path[1100];

    snprintf(path, sizeof(path), "%s/../../full", dir);
    if (lr == LR_USAGE)
        return mup_fail(err, MUP_USAGE, "'%s' cannot be trained", dir);
    if (lr == LR_NO_SPACE && !access(path, F_OK))
        return mup_fail(err, MUP_SYSTEM,
                        "cannot write '%s/state': %s; free some "
                        "space or choose another folder",
                        dir, strerror(ENOSPC));
    if (lr == LR_NO_FILE)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s/text': %s", dir,
                        strerror(ENOENT));
    if (lr == LR_DIES || (lr == LR_DIES_ONCE && f->step == 0)) {
        fprintf(stderr, "about to fall\n");
        if (lr == LR_DIES_ONCE) {
            struct fake saved = { 5, 0.25 };

            fake_save(dir, &saved);
        }
        raise(SIGKILL);
    }
    return MUP_OK;
}

static int fake_train(const struct run_config *c, const char *dir,
                      const struct train_hooks *hooks,
                      struct train_result *result, struct mup_error *err)
{
    const char *pace = getenv("FAKE_STEP_US");
    const char *setup = getenv("FAKE_SETUP_US");
    struct fake f = { 0, 0 };
    int rc;

    memset(result, 0, sizeof(*result));
    printf("a stray print of a library\n");
    fflush(stdout);
    fake_load(dir, &f);
    fake_event(dir, f.step ? "resume" : "start", &f);
    rc = fake_misbehave(c->train.lr, dir, &f, err);
    if (rc)
        return rc;
    if (f.step == 0)
        fake_fall_silent(c->train.lr, dir, hooks);
    if (setup)
        pause_us(strtol(setup, NULL, 10));
    while (f.step < c->train.steps) {
        struct train_step step = { .steps = c->train.steps };

        f.step++;
        f.x = 0.9 * f.x + sin((double)f.step * c->train.lr) +
              (double)c->train.seed / (double)c->model.width;
        pause_us(pace ? strtol(pace, NULL, 10) : 100);
        step.step = f.step;
        step.loss = f.x;
        hooks->step(hooks->context, &step);
        if (c->train.lr == LR_DIVERGES && 2 * f.step > c->train.steps) {
            fake_event(dir, "diverged", &f);
            return MUP_OK;
        }
        if (f.step % 5 == 0)
            fake_save(dir, &f);
        if (hooks->should_stop(hooks->context)) {
            fake_save(dir, &f);
            fake_event(dir, "stopped", &f);
            return MUP_STOPPED;
        }
    }
    fake_save(dir, &f);
    fake_event(dir, "done", &f);
    return MUP_OK;
}

#endif
