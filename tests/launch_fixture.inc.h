/* The folder of a run under SLURM as its supervisor leaves it: two jobs, a
 * node that died, one that damaged data, a time limit, and training again. */
#ifndef TESTS_LAUNCH_FIXTURE_INC_H
#define TESTS_LAUNCH_FIXTURE_INC_H

#include "tests/folder.inc.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* When the fixture's run was submitted: 2026-11-28 10:00:00 UTC. */
#define LAUNCH_BEGAN 1795860000.0

__attribute__((format(printf, 3, 4))) static inline void
launch_add(const char *dir, const char *name, const char *format, ...)
{
    char path[256];
    va_list args;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "a");
    assert_non_null(f);
    va_start(args, format);
    assert_true(vfprintf(f, format, args) >= 0);
    va_end(args);
    assert_true(fputc('\n', f) != EOF);
    assert_int_equal(fclose(f), 0);
}

/* An event of the journal, t seconds after the submission; rest: its other
 * members. */
static inline void launch_event(const char *dir, const char *event, double t,
                                const char *rest)
{
    launch_add(dir, "launch.jsonl", "{\"event\":\"%s\",\"time\":%.3f%s%s}",
               event, LAUNCH_BEGAN + t, *rest ? "," : "", rest);
}

/* Until the first step, 20 s after the submission. */
static inline void launch_begin(const char *dir)
{
    launch_event(dir, "submitting", 0,
                 "\"uuid\":\"5f0c2d1e-7a34-4b6e-9d10-2f8e6c7b1a90\"");
    launch_event(dir, "submitted", 0.2,
                 "\"uuid\":\"5f0c2d1e-7a34-4b6e-9d10-2f8e6c7b1a90\","
                 "\"job\":41,\"by\":\"libslurm\",\"nodes\":4,\"spares\":1,"
                 "\"ranks_per_node\":2,\"time_min\":60,\"partition\":\"main\","
                 "\"again\":0");
    launch_event(dir, "supervisor", 9,
                 "\"job\":41,\"restart\":0,\"host\":\"node1\",\"pid\":1201,"
                 "\"nodes\":[\"node1\",\"node2\",\"node3\",\"node4\","
                 "\"node5\"],\"limit_unix_s\":1795863609");
    launch_event(dir, "preflight", 13,
                 "\"seconds\":3.8,\"nodes\":5,\"bad\":[]");
    launch_event(dir, "incarnation", 13.2,
                 "\"incarnation\":1,\"nodes\":[\"node1\",\"node2\",\"node3\","
                 "\"node4\"],\"spares\":[\"node5\"],\"ranks\":8");
}

/* node3 dies after half an hour; node2 damages data a while later. */
static inline void launch_break(const char *dir)
{
    launch_event(dir, "failure", 1803.6,
                 "\"incarnation\":1,\"class\":\"node\",\"node\":\"node3\","
                 "\"rank\":4,\"step\":2210,\"text\":\"node3 is silent for 3.6 "
                 "s\",\"stack\":\"\"");
    launch_event(
        dir, "ejected", 1803.7,
        "\"node\":\"node3\",\"class\":\"node\",\"reason\":\"silent for "
        "3.6 s\",\"drained\":0,\"until_unix_s\":1795948203");
    launch_event(dir, "incarnation", 1804.1,
                 "\"incarnation\":2,\"nodes\":[\"node1\",\"node2\",\"node4\","
                 "\"node5\"],\"spares\":[],\"ranks\":8");
    launch_event(
        dir, "incident", 1809.8,
        "\"incarnation\":1,\"class\":\"node\",\"planned\":0,\"node\":\"node3\","
        "\"text\":\"node3 is silent for 3.6 s\",\"began_unix_s\":1795861800.0,"
        "\"detect_s\":3.6,\"fence_s\":0.4,\"replace_s\":0.1,\"relaunch_s\":2.1,"
        "\"rendezvous_s\":1.2,\"load_s\":1.9,\"first_step_s\":0.5,"
        "\"total_s\":9.8,\"from_step\":2200,\"replayed_steps\":10");
    launch_event(dir, "failure", 2600.3,
                 "\"incarnation\":2,\"class\":\"corrupt\",\"node\":\"node2\","
                 "\"rank\":2,\"step\":3190,\"text\":\"data was damaged on rank "
                 "2: blocks.3.moe.up\",\"stack\":\"\"");
    launch_event(dir, "ejected", 2600.4,
                 "\"node\":\"node2\",\"class\":\"corrupt\",\"reason\":\"data "
                 "was damaged on rank 2: blocks.3.moe.up\",\"drained\":1,"
                 "\"until_unix_s\":1795949000");
    launch_event(dir, "requeued", 2601,
                 "\"text\":\"too few nodes are left\",\"tries\":1,"
                 "\"base_step\":3150,\"requeues\":1");
    launch_event(dir, "supervisor", 2643,
                 "\"job\":41,\"restart\":1,\"host\":\"node1\",\"pid\":1377,"
                 "\"nodes\":[\"node1\",\"node4\",\"node5\",\"node6\","
                 "\"node7\"],\"limit_unix_s\":1795866243");
    launch_event(dir, "incarnation", 2647,
                 "\"incarnation\":3,\"nodes\":[\"node1\",\"node4\",\"node5\","
                 "\"node6\"],\"spares\":[\"node7\"],\"ranks\":8");
    launch_event(
        dir, "incident", 2653.1,
        "\"incarnation\":2,\"class\":\"corrupt\",\"planned\":0,\"node\":"
        "\"node2\",\"text\":\"data was damaged on rank 2: "
        "blocks.3.moe.up\",\"began_unix_s\":1795862600.0,\"detect_s\":0.3,"
        "\"fence_s\":0.4,\"replace_s\":46.3,\"relaunch_s\":2.4,"
        "\"rendezvous_s\":1.1,\"load_s\":2.0,\"first_step_s\":0.6,"
        "\"total_s\":53.1,\"from_step\":3150,\"replayed_steps\":40");
    launch_event(
        dir, "incident", 3330.9,
        "\"incarnation\":3,\"class\":\"hung\",\"planned\":0,\"node\":\"node4\","
        "\"text\":\"rank 3 is silent for 12 s\",\"began_unix_s\":1795863305.0,"
        "\"detect_s\":12.4,\"fence_s\":1.2,\"replace_s\":0.2,\"relaunch_s\":"
        "2.2,\"rendezvous_s\":1.4,\"load_s\":2.0,\"first_step_s\":6.5,"
        "\"total_s\":25.9,\"from_step\":4000,\"replayed_steps\":4");
    launch_event(dir, "incarnation", 3325,
                 "\"incarnation\":4,\"nodes\":[\"node1\",\"node4\",\"node5\","
                 "\"node6\"],\"spares\":[\"node7\"],\"ranks\":8");
}

/* launch.json, written t seconds after the submission. */
static inline void launch_state(const char *dir, double t)
{
    launch_add(
        dir, "launch.json",
        "{\"time\":%.3f,\"job\":41,\"phase\":\"training\",\"incarnation\":4,"
        "\"step\":4400,\"steps\":10000,"
        "\"eta_s\":4480,\"progress\":\"\",\"saved_step\":4350,"
        "\"saved_unix_s\":%.3f,\"trained_s\":3400,\"started_unix_s\":"
        "1795860009,\"limit_unix_s\":1795866243,\"nodes\":["
        "{\"name\":\"node1\",\"use\":\"training\",\"ranks\":[0,1],"
        "\"step\":4400,\"compute_s\":0.74,\"text\":\"\"},"
        "{\"name\":\"node4\",\"use\":\"training\",\"ranks\":[2,3],"
        "\"step\":4400,\"compute_s\":0.75,\"text\":\"\"},"
        "{\"name\":\"node5\",\"use\":\"training\",\"ranks\":[4,5,7],"
        "\"step\":4399,\"compute_s\":1.31,\"text\":\"slow\"},"
        "{\"name\":\"node6\",\"use\":\"lost\",\"ranks\":[6],\"step\":4100,"
        "\"compute_s\":null,\"text\":\"silent\"},"
        "{\"name\":\"node7\",\"use\":\"ready\",\"ranks\":[],\"step\":0,"
        "\"compute_s\":null,\"text\":\"\"}]}",
        LAUNCH_BEGAN + t, LAUNCH_BEGAN + t - 33);
}

static inline void launch_end(const char *dir, double t)
{
    launch_event(dir, "ended", t,
                 "\"status\":0,\"text\":\"trained 10,000 steps\","
                 "\"trained_s\":7812.5,\"wall_s\":8000");
}

/* metrics.jsonl of a run of 10,000 steps that has come to `last`. */
static inline void launch_metrics(const char *dir, int last)
{
    for (int step = 20; step <= last; step += 20)
        launch_add(dir, "metrics.jsonl",
                   "{\"step\":%d,\"tokens\":%d,\"loss\":%.5f,\"lr\":0.01,"
                   "\"tokens_per_s\":21340%s}",
                   step, step * 16384,
                   1.9 + 3.6 * exp(-step / 900.0) + 0.6 / (1 + step / 4000.0) +
                       0.05 * sin(step * 12.9898) * cos(step * 0.37),
                   step % 500 ? "" : ",\"val_loss\":2.9");
}

#endif
