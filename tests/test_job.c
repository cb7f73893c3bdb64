/* Batch jobs: the request, its script, and whether a cluster can run it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/job.h"
#include "launcher/node_filter.h"
#include "launcher/shell.h"

#define UUID "0a1b2c3d-1111-4222-8333-444455556666"

static const char *const supervise[] = { "/opt/mutransfer/bin/mutransfer",
                                         "supervise", "/data/runs/target",
                                         NULL };

/* --- a cluster of four nodes, in place of the real one --- */

static int cluster_answer = MUP_OK;

int cluster_partition(struct cluster *c, const char *name,
                      struct cluster_partition *out, struct mup_error *err)
{
    (void)c;
    if (cluster_answer != MUP_OK)
        return mup_fail(err, cluster_answer, "no answer");
    *out = (struct cluster_partition){ "main", 1, 1, 4, 0, 0 };
    if (!strcmp(name, "short")) {
        snprintf(out->name, sizeof(out->name), "%s", name);
        out->max_time_min = 2;
        out->max_nodes = 2;
    } else if (!strcmp(name, "closed")) {
        snprintf(out->name, sizeof(out->name), "%s", name);
        out->up = 0;
    }
    return MUP_OK;
}

int cluster_nodes(struct cluster *c, const char *partition,
                  struct cluster_node **out, int *n, struct mup_error *err)
{
    (void)c;
    (void)partition;
    (void)err;
    *n = 4;
    *out = calloc(4, sizeof(**out));
    for (int i = 0; i < 4; i++) {
        snprintf((*out)[i].name, sizeof((*out)[i].name), "node%d", i + 1);
        (*out)[i].usable = 1;
        (*out)[i].cpus = i == 3 ? 4 : 2;
        (*out)[i].memory_mib = 2048;
    }
    return MUP_OK;
}

/* --- what tests share --- */

static struct run_config config_of(void)
{
    struct run_config c;

    assert_int_equal(run_config_read(NULL, NULL, 0, &c, NULL), MUP_OK);
    return c;
}

static int set(struct run_config *c, const char *key, const char *text)
{
    return config_set(&run_schema, c, key, text, NULL);
}

static int make(const struct run_config *c, struct job *j,
                struct mup_error *err)
{
    return job_make(c, supervise, "/data/runs/target", UUID, NULL, j, err);
}

/* The script contains that line. */
static void assert_line(const struct job *j, const char *line)
{
    char text[400];

    snprintf(text, sizeof(text), "\n%s\n", line);
    if (!strstr(j->script, text))
        fail_msg("no line '%s' in:\n%s", line, j->script);
}

static void assert_refused(const char *key, const char *text, const char *why)
{
    struct run_config c = config_of();
    struct mup_error err = { 0 };
    struct job j = { 0 };

    assert_int_equal(set(&c, key, text), MUP_OK);
    assert_int_equal(make(&c, &j, &err), MUP_USAGE);
    if (!strstr(err.text, why))
        fail_msg("no '%s' in: %s", why, err.text);
    assert_null(j.script);
}

/* --- the script --- */

static const char golden[] =
    "#!/bin/bash\n"
    "#SBATCH --job-name=\"mutransfer-target-0a1b2c3d\"\n"
    "#SBATCH --comment=\"mutransfer:" UUID "\"\n"
    "#SBATCH --partition=\"gpu\"\n"
    "#SBATCH --nodes=5\n"
    "#SBATCH --ntasks-per-node=8\n"
    "#SBATCH --cpus-per-task=6\n"
    "#SBATCH --gres=gpu:8\n"
    "#SBATCH --mem=1536M\n"
    "#SBATCH --exclude=\"node[8-9],node3\"\n"
    "#SBATCH --time=91\n"
    "# SIGUSR1 comes that many seconds before the time is over: the state is "
    "saved\n"
    "# and the job is queued again.\n"
    "#SBATCH --signal=B:USR1@120\n"
    "#SBATCH --requeue\n"
    "# A dead node does not end the job: the run goes on without it.\n"
    "#SBATCH --no-kill\n"
    "#SBATCH --open-mode=append\n"
    "#SBATCH --chdir=\"/\"\n"
    "#SBATCH --output=\"/data/runs/target/job.log\"\n"
    "\n"
    "# What this site needs (slurm.setup).\n"
    "source '/site/set up.sh' || exit 2\n"
    "\n"
    "# It takes the place of this shell, so that it hears the job's signals.\n"
    "exec /opt/mutransfer/bin/mutransfer supervise /data/runs/target\n";

static void a_job_has_this_script(void **state)
{
    struct run_config c = config_of();
    struct mup_error err = { 0 };
    struct job j;

    (void)state;
    set(&c, "slurm.nodes", "4");
    set(&c, "slurm.spares", "1");
    set(&c, "slurm.ranks_per_node", "8");
    set(&c, "slurm.cpus_per_rank", "6");
    set(&c, "slurm.gpus_per_node", "8");
    set(&c, "slurm.memory_gib", "1.5");
    set(&c, "slurm.time_min", "90.5");
    set(&c, "slurm.partition", "gpu");
    set(&c, "slurm.exclude", "node[8-9]");
    set(&c, "slurm.setup", "/site/set up.sh");
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(
        job_make(&c, supervise, "/data/runs/target/", UUID, "node3", &j, &err),
        MUP_OK);
    assert_string_equal(j.name, "mutransfer-target-0a1b2c3d");
    job_clear(&j);
    assert_int_equal(
        job_make(&c, supervise, "/data/runs/target", UUID, "node3", &j, &err),
        MUP_OK);
    assert_string_equal(j.script, golden);
    assert_ptr_equal(j.request.script, j.script);
    assert_string_equal(j.request.exclude, "node[8-9],node3");
    assert_int_equal(j.request.nodes, 5);
    assert_int_equal(j.request.signal_s, 120);
    assert_float_equal(j.request.time_min, 91, 0);
    job_clear(&j);
}

static void an_array_asks_for_the_share_of_one_worker(void **state)
{
    struct run_config c = config_of();
    struct mup_error err;
    struct job j;

    (void)state;
    c.slurm.array = 1;
    c.slurm.nodes = 4;
    c.slurm.ranks_per_node = 2;
    c.slurm.gpus_per_node = 3;
    c.slurm.memory_gib = 8;
    if (job_make(&c, supervise, "/data/runs/target", UUID, NULL, &j, &err))
        fail_msg("%s", err.text);
    assert_int_equal(j.request.array, 8);
    assert_int_equal(j.request.nodes, 1);
    assert_int_equal(j.request.tasks_per_node, 1);
    assert_int_equal(j.request.gpus_per_node, 2);
    assert_true(j.request.memory_gib == 4);
    assert_non_null(strstr(j.script, "\n#SBATCH --array=0-7\n"));
    job_clear(&j);
}

static void a_relative_folder_becomes_absolute(void **state)
{
    struct run_config c = config_of();
    struct job j;

    (void)state;
    assert_int_equal(chdir("/usr"), 0);
    set(&c, "slurm.setup", "env.sh");
    assert_int_equal(job_make(&c, supervise, "runs/a b", UUID, NULL, &j, NULL),
                     MUP_OK);
    assert_string_equal(j.output, "/usr/runs/a b/job.log");
    assert_string_equal(j.name, "mutransfer-a_b-0a1b2c3d");
    assert_line(&j, "#SBATCH --output=\"/usr/runs/a b/job.log\"");
    assert_line(&j, "#SBATCH --chdir=\"/usr\"");
    assert_line(&j, "source /usr/env.sh || exit 2");
    job_clear(&j);
    assert_int_equal(chdir("/"), 0);
}

static void odd_characters_are_quoted(void **state)
{
    const char *const odd[] = { "/a b/it's $HOME", "x;y", "", NULL };
    struct run_config c = config_of();
    struct job j;

    (void)state;
    set(&c, "slurm.constraint", "[a|b]\"c\\d#e");
    assert_int_equal(job_make(&c, odd, "/d", UUID, NULL, &j, NULL), MUP_OK);
    assert_line(&j, "#SBATCH --constraint=\"[a|b]\\\"c\\\\d#e\"");
    assert_line(&j, "exec '/a b/it'\\''s $HOME' 'x;y' ''");
    job_clear(&j);
}

static void texts_that_no_line_can_hold_are_refused(void **state)
{
    char text[FIELD_TEXT_BYTES];
    char *long_list = malloc(20001);
    struct run_config c = config_of();
    struct mup_error err = { 0 };
    struct job j;

    (void)state;
    assert_refused("slurm.account", "a\nb",
                   "slurm.account: 'a' is followed by "
                   "character 10");
    assert_refused("slurm.setup", "a\tb", "slurm.setup");
    assert_int_equal(job_make(&c, supervise, "/runs/%j", UUID, NULL, &j, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "'/runs/%j' has a % or \\"));
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    assert_int_equal(job_make(&c, supervise, text, UUID, NULL, &j, NULL),
                     MUP_OK);
    assert_int_equal(strlen(j.name), 10 + 1 + 39 + 1 + 8);
    job_clear(&j);
    memset(long_list, 'n', 20000);
    long_list[20000] = 0;
    assert_int_equal(job_make(&c, supervise, "/d", UUID, long_list, &j, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "ejected nodes"));
    free(long_list);
}

static void the_state_is_saved_in_time(void **state)
{
    struct run_config c = config_of();

    (void)state;
    assert_int_equal(job_signal_s(&c.slurm), 120);
    set(&c, "slurm.time_min", "4");
    assert_int_equal(job_signal_s(&c.slurm), 60);
    set(&c, "slurm.signal_s", "30.5");
    assert_int_equal(job_signal_s(&c.slurm), 31);
    assert_refused("slurm.signal_s", "3600", "has not begun");
    assert_refused("slurm.signal_s", "70000", "65535");
}

/* --- can it run? --- */

static void assert_check(const char *keys[][2], int n, int status,
                         const char *why)
{
    struct run_config c = config_of();
    struct mup_error err = { 0 };
    struct job j;

    for (int i = 0; i < n; i++)
        assert_int_equal(set(&c, keys[i][0], keys[i][1]), MUP_OK);
    assert_int_equal(make(&c, &j, &err), MUP_OK);
    assert_int_equal(job_check(NULL, &j, &err), status);
    if (why && !strstr(err.text, why))
        fail_msg("no '%s' in: %s", why, err.text);
    job_clear(&j);
}

static void jobs_that_can_never_run_are_refused(void **state)
{
    static const struct {
        const char *keys[2][2];
        const char *why;
    } rows[] = {
        { { { "slurm.nodes", "9" } }, "wants 9 nodes" },
        { { { "slurm.nodes", "4" }, { "slurm.spares", "1" } },
          "partition 'main' has 4" },
        { { { "slurm.ranks_per_node", "8" } }, "wants 8 CPUs of a node" },
        { { { "slurm.ranks_per_node", "2" }, { "slurm.cpus_per_rank", "3" } },
          "slurm.cpus_per_rank" },
        { { { "slurm.gpus_per_node", "1" } }, "slurm.gpus_per_node" },
        { { { "slurm.memory_gib", "3" } }, "3072 MiB of memory" },
        { { { "slurm.partition", "short" }, { "slurm.time_min", "3" } },
          "gives at most 2" },
        { { { "slurm.partition", "short" }, { "slurm.nodes", "3" } },
          "gives at most 2" },
        { { { "slurm.partition", "closed" } }, "is closed" },
        { { { "slurm.nodes", "3" }, { "slurm.exclude", "node[1-2]" } },
          "2 of them left out" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *keys[2][2];

        memcpy(keys, rows[i].keys, sizeof(keys));
        assert_check(keys, keys[1][0] ? 2 : 1, MUP_USAGE, rows[i].why);
    }
}

static void jobs_that_fit_are_let_through(void **state)
{
    const char *all[][2] = { { "slurm.nodes", "3" },
                             { "slurm.spares", "1" },
                             { "slurm.ranks_per_node", "2" } };
    const char *one[][2] = { { "slurm.ranks_per_node", "4" },
                             { "slurm.exclude", "node[1-3]" } };

    (void)state;
    assert_check(all, 3, MUP_OK, NULL);
    assert_check(one, 2, MUP_OK, NULL); /* node4 alone is large enough */
}

static void silence_is_not_a_refusal(void **state)
{
    const char *one[][2] = { { "slurm.nodes", "1" } };

    (void)state;
    cluster_answer = MUP_DEVICE;
    assert_check(one, 1, MUP_DEVICE, NULL);
    cluster_answer = MUP_OK;
}

/* Who makes a job changes the config for it, in a copy. */
static void a_job_outlives_the_config_that_it_was_made_of(void **state)
{
    struct run_config c = config_of();
    struct mup_error err = { 0 };
    struct job j;

    (void)state;
    set(&c, "slurm.partition", "gpu");
    set(&c, "slurm.account", "them");
    assert_int_equal(make(&c, &j, &err), MUP_OK);
    memset(&c, 'x', sizeof(c));
    assert_string_equal(j.request.partition, "gpu");
    assert_string_equal(j.request.account, "them");
    assert_string_equal(j.request.qos, "");
    job_clear(&j);
}

/* --- nodes that are left out --- */

static void unknown_nodes_are_not_excluded(void **state)
{
    char path[] = "/tmp/mutransfer-filter-XXXXXX", *all;
    struct run_config c = config_of();
    struct cluster_node *node;
    struct node_filter f;
    int n, fd = mkstemp(path);
    static const char lines[] =
        "{\"node\":\"node2\",\"class\":\"node\",\"reason\":\"lost\","
        "\"time\":1,\"until\":99999999999}\n"
        "{\"node\":\"old7\",\"class\":\"node\",\"reason\":\"lost\","
        "\"time\":1,\"until\":99999999999}\n";

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, lines, sizeof(lines) - 1), sizeof(lines) - 1);
    close(fd);
    set(&c, "recover.exclude_file", path);
    set(&c, "slurm.exclude", "node[3-4],gone[1-2]");
    cluster_nodes(NULL, "", &node, &n, NULL);
    assert_int_equal(node_filter_make(&c, node, n, &f, NULL), MUP_OK);
    assert_string_equal(f.own, "node3,node4");
    assert_string_equal(f.unknown, "gone1,gone2");
    assert_string_equal(f.list, "node2");
    assert_int_equal(f.ejected.n, 2);
    assert_int_equal(node_filter_join(&f, &all, NULL), MUP_OK);
    assert_string_equal(all, "node3,node4,node2");
    free(all);
    node_filter_clear(&f);
    /* Nobody was asked: all count. */
    assert_int_equal(node_filter_make(&c, NULL, 0, &f, NULL), MUP_OK);
    assert_string_equal(f.own, "node[3-4],gone[1-2]");
    assert_string_equal(f.list, "node2,old7");
    node_filter_clear(&f);
    free(node);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_outlives_the_config_that_it_was_made_of),
        cmocka_unit_test(a_job_has_this_script),
        cmocka_unit_test(an_array_asks_for_the_share_of_one_worker),
        cmocka_unit_test(a_relative_folder_becomes_absolute),
        cmocka_unit_test(odd_characters_are_quoted),
        cmocka_unit_test(texts_that_no_line_can_hold_are_refused),
        cmocka_unit_test(the_state_is_saved_in_time),
        cmocka_unit_test(jobs_that_can_never_run_are_refused),
        cmocka_unit_test(jobs_that_fit_are_let_through),
        cmocka_unit_test(silence_is_not_a_refusal),
        cmocka_unit_test(unknown_nodes_are_not_excluded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
