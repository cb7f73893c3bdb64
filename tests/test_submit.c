/* The client of a run under SLURM, with a controller that does what a test
 * wants: adoption, loss, silence; and the lines that people see. */
#define _GNU_SOURCE
#include "folder.inc.h"

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
    int asked;
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
        if (ctld.job[i].id == id)
            *out = ctld.job[i];
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
    assert_int_equal(config_set(&run_schema, &k->config, "recover.exclude_file",
                                path, NULL),
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
    assert_int_equal(submit_open(&k.args, &k.config, k.dir, &k.terminal,
                                 &second, &err),
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
    begin(&k);
    /* Its number is somebody else's now. */
    snprintf(ctld.job[0].comment, sizeof(ctld.job[0].comment), "other");
    write_event(&k, "wish", "wish", 0); /* of no kind: nothing was asked */
    ctld.loses = 0;
    /* The second is lost too: the watcher gives up. */
    k.s.patience.next_s = 0;
    {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            /* every job is lost as soon as it is there */
            for (int i = 0; i < MAX_JOBS; i++)
                ctld.job[i].id = -1;
            _exit(follow(&k, &ended, &err) == MUP_OK ? 0
                                                     : err.status + 10);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        /* The one that was submitted again lives: watch it from here. */
        (void)status;
    }
    client_clear(&k);
}
