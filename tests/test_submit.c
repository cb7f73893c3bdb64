/* The client of a run under SLURM, with a controller that does what a test
 * wants: adoption, loss, silence; and the lines that people see. */
#define _GNU_SOURCE
#include "tests/folder.inc.h"

#include <math.h>
#include <string.h>

#include "launcher/follow.h"
#include "launcher/follow_view.h"
#include "launcher/journal.h"
#include "launcher/verbs.h"
#include "model/file.h"

/* --- a controller --- */

#define MAX_JOBS 8

static struct {
    int n, silent; /* so many questions */
    int loses;     /* answers to submit that do not come, though it is done */
    int vanish;    /* jobs that are lost as soon as they are submitted */
    int cancels;   /* jobs that are cancelled when they are asked for */
    int asked;
    int requeued; /* jobs, which end then */
    struct cluster_job job[MAX_JOBS];
} ctld;

static int answer(struct mup_error *err)
{
    ctld.asked++;
    return ctld.silent-- > 0 ? mup_fail(err, MUP_DEVICE, "no answer") : MUP_OK;
}

static struct cluster_job *add_job(int64_t id, const char *comment, int state)
{
    struct cluster_job *j = &ctld.job[ctld.n++];

    *j = (struct cluster_job){ .id = id, .state = state };
    snprintf(j->comment, sizeof(j->comment), "%s", comment);
    snprintf(j->state_name, sizeof(j->state_name), "STATE%d", state);
    return j;
}

int cluster_open(int by, struct cluster **out, struct mup_error *err)
{
    (void)by;
    (void)err;
    *out = NULL;
    return MUP_OK;
}

void cluster_close(struct cluster *c)
{
    (void)c;
}

const char *cluster_name(const struct cluster *c)
{
    (void)c;
    return "fake";
}

int cluster_submit(struct cluster *c, const struct cluster_request *request,
                   int64_t *id, struct mup_error *err)
{
    int rc = answer(err);

    (void)c;
    if (rc != MUP_OK)
        return rc;
    *id = 100 + ctld.n;
    if (ctld.vanish-- > 0)
        return MUP_OK;
    add_job(*id, request->comment, CLUSTER_PENDING);
    return ctld.loses-- > 0 ? mup_fail(err, MUP_DEVICE, "lost") : MUP_OK;
}

int cluster_job(struct cluster *c, int64_t id, struct cluster_job *out,
                struct mup_error *err)
{
    int rc = answer(err);

    (void)c;
    *out = (struct cluster_job){ .state = CLUSTER_NO_JOB };
    for (int i = 0; i < ctld.n; i++)
        if (ctld.job[i].id == id) {
            if (ctld.cancels-- > 0) {
                ctld.job[i].state = CLUSTER_ENDED;
                ctld.job[i].cancelled = 1;
            }
            *out = ctld.job[i];
        }
    return rc;
}

int cluster_find(struct cluster *c, const char *comment,
                 struct cluster_job *out, struct mup_error *err)
{
    int rc = answer(err);

    (void)c;
    *out = (struct cluster_job){ .state = CLUSTER_NO_JOB };
    for (int i = 0; i < ctld.n; i++)
        if (!strcmp(ctld.job[i].comment, comment) &&
            (out->state == CLUSTER_NO_JOB || out->state == CLUSTER_ENDED))
            *out = ctld.job[i];
    return rc;
}

int cluster_partition(struct cluster *c, const char *name,
                      struct cluster_partition *out, struct mup_error *err)
{
    (void)c;
    (void)name;
    *out = (struct cluster_partition){ "main", 1, 1, 2, 0, 0 };
    return answer(err);
}

int cluster_nodes(struct cluster *c, const char *partition,
                  struct cluster_node **out, int *n, struct mup_error *err)
{
    int rc = answer(err);

    (void)c;
    (void)partition;
    if (rc != MUP_OK)
        return rc;
    *n = 2;
    *out = calloc(2, sizeof(**out));
    for (int i = 0; i < 2; i++)
        snprintf((*out)[i].name, sizeof((*out)[i].name), "node%d", i + 1);
    return MUP_OK;
}

int cluster_requeue(struct cluster *c, int64_t id, const char *exclude,
                    struct mup_error *err)
{
    (void)c;
    assert_int_equal(id, ctld.job[0].id);
    assert_string_equal(exclude, "node1");
    ctld.requeued++;
    ctld.job[0].state = CLUSTER_ENDED;
    ctld.job[0].exit_status = 2;
    return answer(err);
}

/* --- a client --- */

static const struct option no_options[] = { { 0 } };
static const struct verb launch = { .name = "launch", .options = no_options };

struct client {
    char dir[64], operand[16];
    char *operands[1];
    struct args args;
    struct run_config config;
    struct terminal terminal;
    struct submit s;
    int begun;
};

static void client_init(struct client *k)
{
    char path[128];

    *k = (struct client){ .operand = "target.yaml" };
    new_dir(k->dir);
    k->operands[0] = k->operand;
    k->args = (struct args){ .program = "/bin/false",
                             .verb = &launch,
                             .quiet = 1,
                             .n_operands = 1,
                             .operands = k->operands };
    terminal_init(&k->terminal, 1);
    assert_int_equal(run_config_read(NULL, NULL, 0, &k->config, NULL), MUP_OK);
    snprintf(path, sizeof(path), "%s/ejected.jsonl", k->dir);
    assert_int_equal(
        config_set(&run_schema, &k->config, "recover.exclude_file", path, NULL),
        MUP_OK);
    memset(&ctld, 0, sizeof(ctld));
}

static void client_clear(struct client *k)
{
    submit_close(&k->s);
    remove_tree(k->dir);
}

static int begin(struct client *k)
{
    struct mup_error err = { 0 };
    int rc;

    submit_close(&k->s);
    rc = submit_open(&k->args, &k->config, k->dir, &k->terminal, &k->s, &err);
    if (rc != MUP_OK)
        fail_msg("open: %s", err.text);
    rc = submit_begin(&k->s, &k->begun, &err);
    if (rc != MUP_OK)
        fail_msg("begin: %s", err.text);
    return k->begun;
}

static void write_event(struct client *k, const char *name, const char *key,
                        int64_t value)
{
    json_t *e = launch_log_new(name);

    json_object_set_new(e, key, json_integer(value));
    assert_int_equal(launch_log_append(k->dir, e, NULL), MUP_OK);
}

/* How often the journal has that event. */
static int count_events(const struct client *k, const char *name)
{
    struct launch_log log;
    const json_t *event;
    size_t i;
    int n = 0;

    assert_int_equal(launch_log_read(k->dir, &log, NULL), MUP_OK);
    json_array_foreach(log.events, i, event)
    {
        n += !strcmp(journal_text(event, "event"), name);
    }
    launch_log_clear(&log);
    return n;
}

/* Forget the newest line: the client died before it. */
static void cut_journal(const struct client *k)
{
    char path[128], *text;
    size_t bytes;

    snprintf(path, sizeof(path), "%s/launch.jsonl", k->dir);
    assert_int_equal(file_read(path, 1 << 20, &text, &bytes, NULL), MUP_OK);
    for (bytes--; bytes > 0 && text[bytes - 1] != '\n'; bytes--)
        ;
    assert_int_equal(truncate(path, (off_t)bytes), 0);
    free(text);
}

/* --- submission --- */

static void a_first_launch_submits_and_says_so_before_and_after(void **state)
{
    struct client k;
    char path[128];
    struct run_config read;

    (void)state;
    client_init(&k);
    assert_int_equal(begin(&k), SUBMIT_NEW);
    assert_int_equal(ctld.n, 1);
    assert_int_equal(k.s.job, 100);
    assert_string_equal(ctld.job[0].comment, k.s.comment);
    assert_int_equal(count_events(&k, "submitting"), 1);
    assert_int_equal(count_events(&k, "submitted"), 1);
    snprintf(path, sizeof(path), "%s/launch-config.yaml", k.dir);
    assert_int_equal(run_config_read(path, NULL, 0, &read, NULL), MUP_OK);
    client_clear(&k);
}

static void a_second_launch_adopts_the_job_that_lives(void **state)
{
    static const int living[] = { CLUSTER_PENDING, CLUSTER_HELD,
                                  CLUSTER_RUNNING, CLUSTER_ENDING };
    struct client k;

    (void)state;
    client_init(&k);
    assert_int_equal(begin(&k), SUBMIT_NEW);
    for (size_t i = 0; i < sizeof(living) / sizeof(living[0]); i++) {
        ctld.job[0].state = living[i];
        assert_int_equal(begin(&k), SUBMIT_ADOPTED);
        assert_int_equal(k.s.job, 100);
    }
    assert_int_equal(ctld.n, 1);
    client_clear(&k);
}

static void a_client_that_died_in_between_finds_its_job(void **state)
{
    struct client k;

    (void)state;
    client_init(&k);
    begin(&k);
    cut_journal(&k);
    assert_int_equal(begin(&k), SUBMIT_ADOPTED);
    assert_int_equal(k.s.job, 100);
    assert_int_equal(ctld.n, 1);
    /* and the next one too, though "submitted" was never written */
    assert_int_equal(begin(&k), SUBMIT_ADOPTED);
    client_clear(&k);
}

static void a_number_with_another_comment_is_not_ours(void **state)
{
    struct client k;

    (void)state;
    client_init(&k);
    begin(&k);
    snprintf(ctld.job[0].comment, sizeof(ctld.job[0].comment), "other");
    assert_int_equal(begin(&k), SUBMIT_NEW);
    assert_int_equal(ctld.n, 2);
    assert_int_equal(k.s.job, 101);
    client_clear(&k);
}

static void an_answer_that_was_lost_submits_nothing_twice(void **state)
{
    struct client k;

    (void)state;
    client_init(&k);
    ctld.loses = 1;
    assert_int_equal(begin(&k), SUBMIT_NEW);
    assert_int_equal(ctld.n, 1);
    assert_int_equal(k.s.job, 100);
    client_clear(&k);
}

static void silence_is_waited_out(void **state)
{
    struct client k;

    (void)state;
    client_init(&k);
    ctld.silent = 1;
    assert_int_equal(begin(&k), SUBMIT_NEW);
    ctld.silent = 1;
    assert_int_equal(begin(&k), SUBMIT_ADOPTED);
    assert_int_equal(ctld.n, 1);
    client_clear(&k);
}

static void a_run_that_ended_well_is_not_submitted_again(void **state)
{
    struct client k;

    (void)state;
    client_init(&k);
    begin(&k);
    write_event(&k, "ended", "status", MUP_OK);
    ctld.asked = 0;
    assert_int_equal(begin(&k), SUBMIT_DONE);
    assert_int_equal(ctld.asked, 0);
    write_event(&k, "ended", "status", MUP_DIVERGED);
    assert_int_equal(begin(&k), SUBMIT_DONE);
    write_event(&k, "ended", "status", MUP_STOPPED);
    ctld.job[0].state = CLUSTER_ENDING; /* on its way out */
    assert_int_equal(begin(&k), SUBMIT_NEW);
    assert_int_equal(ctld.n, 2);
    client_clear(&k);
}

static void one_client_a_run(void **state)
{
    struct client k;
    struct submit second;
    struct mup_error err = { 0 };

    (void)state;
    client_init(&k);
    begin(&k);
    assert_int_equal(
        submit_open(&k.args, &k.config, k.dir, &k.terminal, &second, &err),
        MUP_USAGE);
    assert_non_null(strstr(err.text, "already run by process"));
    client_clear(&k);
}

/* --- watching --- */

static int follow(struct client *k, int *ended, struct mup_error *err)
{
    *ended = 0;
    return follow_run(&k->s, ended, err);
}

static void a_job_that_the_controller_lost_is_submitted_again_once(void **state)
{
    struct mup_error err = { 0 };
    struct client k;
    int ended;

    (void)state;
    client_init(&k);
    ctld.vanish = MAX_JOBS;
    begin(&k);
    assert_int_equal(follow(&k, &ended, &err), MUP_DEVICE);
    assert_non_null(strstr(err.text, "the second that it lost"));
    assert_int_equal(count_events(&k, "submitted"), 2);
    /* By hand it is asked for once more. */
    assert_int_equal(begin(&k), SUBMIT_NEW);
    assert_int_equal(count_events(&k, "submitted"), 3);
    client_clear(&k);
}

static void a_cancelled_job_is_submitted_again(void **state)
{
    struct mup_error err = { 0 };
    struct client k;
    int ended;

    (void)state;
    client_init(&k);
    assert_int_equal(
        config_set(&run_schema, &k.config, "slurm.requeues", "1", NULL),
        MUP_OK);
    begin(&k);
    ctld.cancels = MAX_JOBS;
    assert_int_equal(follow(&k, &ended, &err), MUP_DEVICE);
    assert_non_null(strstr(err.text, "was queued again 1 times"));
    assert_int_equal(ctld.n, 2);
    assert_int_equal(count_events(&k, "requeued"), 1);
    client_clear(&k);
}

static void a_cancelled_run_is_not(void **state)
{
    struct mup_error err = { 0 };
    struct client k;
    json_t *e;
    int ended;

    (void)state;
    client_init(&k);
    begin(&k);
    e = launch_log_new("wish");
    json_object_set_new(e, "wish", json_string("cancel"));
    assert_int_equal(launch_log_append(k.dir, e, NULL), MUP_OK);
    ctld.cancels = MAX_JOBS;
    assert_int_equal(follow(&k, &ended, &err), MUP_STOPPED);
    assert_int_equal(ctld.n, 1);
    client_clear(&k);
}

static void a_job_that_fails_in_silence_is_reported(void **state)
{
    struct mup_error err = { 0 };
    struct client k;
    int ended;

    (void)state;
    client_init(&k);
    begin(&k);
    ctld.job[0].state = CLUSTER_ENDED;
    ctld.job[0].exit_status = 2;
    assert_int_equal(follow(&k, &ended, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "exit status 2"));
    assert_int_equal(ctld.n, 1);
    client_clear(&k);
}

/* Its supervisor was on node1, which SLURM has taken off the job. */
static void a_job_without_its_first_node_is_queued_again(void **state)
{
    struct client k;
    int ended;

    (void)state;
    client_init(&k);
    begin(&k);
    ctld.job[0].state = CLUSTER_RUNNING;
    snprintf(ctld.job[0].nodes, sizeof(ctld.job[0].nodes), "node[2-3]");
    assert_int_equal(
        launch_state_write(
            k.dir, json_pack("{s:s, s:i}", "host", "node1", "time", 1), NULL),
        MUP_OK);
    assert_int_equal(follow(&k, &ended, NULL), MUP_USAGE);
    assert_int_equal(ctld.requeued, 1);
    client_clear(&k);
}

static void watching_ends_with_the_run(void **state)
{
    struct mup_error err = { 0 };
    struct client k;
    int ended;

    (void)state;
    client_init(&k);
    begin(&k);
    write_event(&k, "ended", "status", MUP_DIVERGED);
    assert_int_equal(follow(&k, &ended, &err), MUP_OK);
    assert_int_equal(ended, 1);
    client_clear(&k);
}

/* --- lines --- */

static void assert_event_line(const char *json, const char *line)
{
    json_t *event = json_loads(json, 0, NULL);
    char out[FOLLOW_LINE_BYTES];

    assert_non_null(event);
    follow_event_line(event, out, sizeof(out));
    assert_string_equal(out, line);
    json_decref(event);
}

static void events_are_told_in_a_line(void **state)
{
    (void)state;
    assert_event_line("{\"event\":\"supervisor\",\"job\":7,\"restart\":0,"
                      "\"nodes\":[\"node1\",\"node2\"]}",
                      "job 7 runs on node1, node2");
    assert_event_line("{\"event\":\"supervisor\",\"job\":7,\"restart\":1,"
                      "\"nodes\":[\"node1\"]}",
                      "job 7 runs again on node1");
    assert_event_line("{\"event\":\"preflight\",\"seconds\":1.25,\"nodes\":3,"
                      "\"bad\":[{\"node\":\"node3\",\"reason\":\"slow\"}]}",
                      "checked 3 nodes in 1.2 s: node3: slow");
    assert_event_line("{\"event\":\"preflight\",\"seconds\":2,\"nodes\":3}",
                      "checked 3 nodes in 2.0 s: all are well");
    assert_event_line("{\"event\":\"incarnation\",\"incarnation\":2,"
                      "\"nodes\":[\"node1\"],\"spares\":[\"node4\"],"
                      "\"ranks\":2}",
                      "incarnation 2: 2 ranks on node1; node4 stands by");
    assert_event_line(
        "{\"event\":\"incident\",\"class\":\"node\",\"node\":\"node3\","
        "\"text\":\"its agent fell silent\",\"total_s\":3.76,"
        "\"detect_s\":3.5,\"fence_s\":0,\"relaunch_s\":0.26,"
        "\"replayed_steps\":4}",
        "a dead node, node3: its agent fell silent; training again after 3.8 s "
        "(detect 3.5 s, start 0.3 s), 4 steps done again");
    assert_event_line(
        "{\"event\":\"incident\",\"class\":\"preempted\",\"node\":\"\","
        "\"planned\":1,\"text\":\"the job's time is over and the state is "
        "saved\",\"total_s\":11,\"replace_s\":11}",
        "the job's time was over: training again after 11.0 s (replace 11.0 "
        "s)");
    assert_event_line("{\"event\":\"ejected\",\"node\":\"node3\",\"time\":0,"
                      "\"until_unix_s\":86400,\"reason\":\"wrong bits\","
                      "\"drained\":true}",
                      "warning: node3 is left out of jobs for 24h00m: wrong "
                      "bits (and drained)");
    assert_event_line("{\"event\":\"wish\",\"wish\":\"limit\"}",
                      "the job's time is over soon: the ranks save and stop");
    assert_event_line("{\"event\":\"requeued\",\"text\":\"no time left\"}",
                      "the job is queued again: no time left");
    assert_event_line("{\"event\":\"adopted\",\"job\":7}", "");
    assert_event_line("{}", "");
}

static void the_state_is_a_progress_line(void **state)
{
    json_t *o = json_loads("{\"phase\":\"training\",\"incarnation\":3,"
                           "\"step\":12,\"steps\":100,\"loss\":3.14159,"
                           "\"tokens_per_s\":2e6,\"eta_s\":200,\"nodes\":["
                           "{\"use\":\"training\"},{\"use\":\"ready\"},"
                           "{\"use\":\"training\"}]}",
                           0, NULL);
    char out[FOLLOW_LINE_BYTES];

    (void)state;
    follow_state_line(o, out, sizeof(out));
    assert_string_equal(out, "step 12/100  loss 3.1416  2.0 Mtok/s  eta 3m20s  "
                             "2 nodes  incarnation 3");
    json_object_set_new(o, "phase", json_string("checking"));
    follow_state_line(o, out, sizeof(out));
    assert_string_equal(out, "step 12/100  checking  2 nodes  incarnation 3");
    json_object_set_new(o, "phase", json_string("ended"));
    follow_state_line(o, out, sizeof(out));
    assert_string_equal(out, "");
    json_decref(o);
}

static void a_job_that_waits_says_why(void **state)
{
    struct cluster_job job = { .id = 7, .state = CLUSTER_PENDING };
    char out[FOLLOW_LINE_BYTES];

    (void)state;
    follow_wait_line(&job, 1000, out, sizeof(out));
    assert_string_equal(out, "job 7 waits");
    snprintf(job.reason, sizeof(job.reason), "Resources");
    job.start_unix_s = 1060;
    follow_wait_line(&job, 1000, out, sizeof(out));
    assert_string_equal(out, "job 7 waits: Resources, SLURM expects to start "
                             "it in 1m00s");
    snprintf(job.reason, sizeof(job.reason), "launch failed requeued held");
    follow_held_line(&job, out, sizeof(out));
    assert_non_null(strstr(out, "launch failed requeued held (a node"));
    assert_non_null(strstr(out, "'scontrol release 7'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_launch_submits_and_says_so_before_and_after),
        cmocka_unit_test(a_second_launch_adopts_the_job_that_lives),
        cmocka_unit_test(a_client_that_died_in_between_finds_its_job),
        cmocka_unit_test(a_number_with_another_comment_is_not_ours),
        cmocka_unit_test(an_answer_that_was_lost_submits_nothing_twice),
        cmocka_unit_test(silence_is_waited_out),
        cmocka_unit_test(a_run_that_ended_well_is_not_submitted_again),
        cmocka_unit_test(one_client_a_run),
        cmocka_unit_test(
            a_job_that_the_controller_lost_is_submitted_again_once),
        cmocka_unit_test(a_cancelled_job_is_submitted_again),
        cmocka_unit_test(a_cancelled_run_is_not),
        cmocka_unit_test(a_job_without_its_first_node_is_queued_again),
        cmocka_unit_test(a_job_that_fails_in_silence_is_reported),
        cmocka_unit_test(watching_ends_with_the_run),
        cmocka_unit_test(events_are_told_in_a_line),
        cmocka_unit_test(the_state_is_a_progress_line),
        cmocka_unit_test(a_job_that_waits_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
