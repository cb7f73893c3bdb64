/* SLURM through its library; the one file that knows its header.
 *
 * The structures of libslurm change with every major version of SLURM, so the
 * program is built on the site that it runs on, or uses the tools.  The names
 * of states and reasons are spelled here: the library's own functions for them
 * are not in its header. */
#include "launcher/cluster_ops.h"

#ifndef HAVE_SLURM

int cluster_has_library(void)
{
    return 0;
}

int slurm_open(const char *conf, struct cluster **out, struct mup_error *err)
{
    (void)conf;
    (void)out;
    return mup_fail(err, MUP_USAGE,
                    "this program was built without SLURM's library; set "
                    "slurm.by=tools, or install libslurm-dev ('make setup') "
                    "and build it again");
}

#else

int cluster_has_library(void)
{
    return 1;
}

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/slurm_parse.h"

/* In its replies that report an error libslurm 22.05 loses 20 bytes. */
#ifdef __SANITIZE_ADDRESS__
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:slurm_unpack_received_msg\n";
}
#endif

/* ---- quiet, and what went wrong ---------------------------------------------
 */

/* The library writes to stderr on its own what it returns as well.  Whatever
 * was to be said goes nowhere until unhush. */
static int hush(void)
{
    int kept, nowhere;

    (void)fflush(stderr);
    kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (kept >= 0 && nowhere >= 0)
        (void)dup2(nowhere, STDERR_FILENO);
    if (nowhere >= 0)
        close(nowhere);
    return kept;
}

/* Returns the library's error code if it failed, else 0. */
static int unhush(int kept, int failed)
{
    int code = slurm_get_errno();

    (void)fflush(stderr);
    if (kept >= 0) {
        (void)dup2(kept, STDERR_FILENO);
        close(kept);
    }
    return !failed ? 0 : code ? code : SLURM_ERROR;
}

static int status_of(int code)
{
    switch (code) {
    case ESLURM_ACCESS_DENIED:
    case ESLURM_USER_ID_MISSING:
        return MUP_NEGATIVE;
    case SLURM_PROTOCOL_VERSION_ERROR:
        return MUP_USAGE;
    /* Later it may: too many jobs, a job on its way into another state. */
    case ESLURM_ERROR_ON_DESC_TO_RECORD_COPY:
    case ESLURM_TRANSITION_STATE_NO_UPDATE:
    case ESLURM_IN_STANDBY_MODE:
    case ESLURM_IN_STANDBY_USE_BACKUP:
        return MUP_DEVICE;
    default:
        break;
    }
    /* Of the system; of messages; of sockets and credentials. */
    if (code < 2000 || (code >= 5000 && code < 7000))
        return MUP_DEVICE;
    return MUP_USAGE;
}

static int failed(int code, struct mup_error *err, const char *what)
{
    const char *why = slurm_strerror(code);
    int status = status_of(code);

    if (code == SLURM_PROTOCOL_VERSION_ERROR)
        return mup_fail(err, status,
                        "the SLURM of this site is not of the version that "
                        "this program was built with; set slurm.by=tools or "
                        "build it here");
    if (status == MUP_DEVICE)
        return mup_fail(err, status,
                        "%s: the SLURM controller does not answer: %s", what,
                        why);
    if (status == MUP_NEGATIVE)
        return mup_fail(err, status, "%s: SLURM does not permit it: %s", what,
                        why);
    return mup_fail(err, status, "%s: SLURM refuses: %s", what, why);
}

static int job_failed(int code, struct mup_error *err, const char *verb,
                      int64_t id)
{
    char what[64];

    snprintf(what, sizeof(what), "cannot %s job %lld", verb, (long long)id);
    return failed(code, err, what);
}

/* The job ids of SLURM have 32 bits; 0 is none. */
static int check_id(int64_t id, struct mup_error *err)
{
    if (id > 0 && id < NO_VAL)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE, "%lld is no id of a job", (long long)id);
}

/* ---- words
 * -------------------------------------------------------------------
 */

/* As SLURM's tools say it: a flag hides the state below it. */
static const char *state_word(uint32_t state)
{
    static const struct {
        uint64_t flag;
        const char *name;
    } flags[] = {
        { JOB_COMPLETING, "COMPLETING" },
        { JOB_STAGE_OUT, "STAGE_OUT" },
        { JOB_CONFIGURING, "CONFIGURING" },
        { JOB_RESIZING, "RESIZING" },
        { JOB_REQUEUE_FED, "REQUEUE_FED" },
        { JOB_REQUEUE_HOLD, "REQUEUE_HOLD" },
        { JOB_REQUEUE, "REQUEUED" },
        { JOB_SPECIAL_EXIT, "SPECIAL_EXIT" },
        { JOB_STOPPED, "STOPPED" },
        { JOB_REVOKED, "REVOKED" },
        { JOB_RESV_DEL_HOLD, "RESV_DEL_HOLD" },
        { JOB_SIGNALING, "SIGNALING" },
    };
    static const char *const base[] = {
        [JOB_PENDING] = "PENDING",     [JOB_RUNNING] = "RUNNING",
        [JOB_SUSPENDED] = "SUSPENDED", [JOB_COMPLETE] = "COMPLETED",
        [JOB_CANCELLED] = "CANCELLED", [JOB_FAILED] = "FAILED",
        [JOB_TIMEOUT] = "TIMEOUT",     [JOB_NODE_FAIL] = "NODE_FAIL",
        [JOB_PREEMPTED] = "PREEMPTED", [JOB_BOOT_FAIL] = "BOOT_FAIL",
        [JOB_DEADLINE] = "DEADLINE",   [JOB_OOM] = "OUT_OF_MEMORY",
    };
    uint32_t low = state & JOB_STATE_BASE;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        if (state & flags[i].flag)
            return flags[i].name;
    return low < JOB_END ? base[low] : "UNKNOWN";
}

static const char *reason_word(uint16_t reason)
{
    static const struct {
        int reason;
        const char *name;
    } words[] = {
        { WAIT_NO_REASON, "" },
        { WAIT_PRIORITY, "Priority" },
        { WAIT_DEPENDENCY, "Dependency" },
        { WAIT_RESOURCES, "Resources" },
        { WAIT_PART_NODE_LIMIT, "PartitionNodeLimit" },
        { WAIT_PART_TIME_LIMIT, "PartitionTimeLimit" },
        { WAIT_PART_DOWN, "PartitionDown" },
        { WAIT_PART_INACTIVE, "PartitionInactive" },
        { WAIT_HELD, "JobHeldAdmin" },
        { WAIT_TIME, "BeginTime" },
        { WAIT_LICENSES, "Licenses" },
        { WAIT_ASSOC_JOB_LIMIT, "AssociationJobLimit" },
        { WAIT_ASSOC_RESOURCE_LIMIT, "AssociationResourceLimit" },
        { WAIT_ASSOC_TIME_LIMIT, "AssociationTimeLimit" },
        { WAIT_RESERVATION, "Reservation" },
        { WAIT_NODE_NOT_AVAIL, "ReqNodeNotAvail" },
        { WAIT_HELD_USER, "JobHeldUser" },
        { FAIL_DEFER, "SchedDefer" },
        { FAIL_DOWN_PARTITION, "PartitionDown" },
        { FAIL_DOWN_NODE, "NodeDown" },
        { FAIL_BAD_CONSTRAINTS, "BadConstraints" },
        { FAIL_SYSTEM, "SystemFailure" },
        { FAIL_LAUNCH, "JobLaunchFailure" },
        { FAIL_EXIT_CODE, "NonZeroExitCode" },
        { FAIL_TIMEOUT, "TimeLimit" },
        { FAIL_INACTIVE_LIMIT, "InactiveLimit" },
        { FAIL_ACCOUNT, "InvalidAccount" },
        { FAIL_QOS, "InvalidQOS" },
        { WAIT_QOS_THRES, "QOSUsageThreshold" },
        { WAIT_CLEANING, "Cleaning" },
        { WAIT_PROLOG, "Prolog" },
        { WAIT_QOS, "QOSNotAllowed" },
        { WAIT_ACCOUNT, "AccountNotAllowed" },
        { WAIT_DEP_INVALID, "DependencyNeverSatisfied" },
        { WAIT_MAX_REQUEUE, "JobHoldMaxRequeue" },
        { WAIT_ARRAY_TASK_LIMIT, "JobArrayTaskLimit" },
        { WAIT_PART_CONFIG, "PartitionConfig" },
        { WAIT_ACCOUNT_POLICY, "AccountingPolicy" },
        { FAIL_OOM, "OutOfMemory" },
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].reason == reason)
            return words[i].name;
    return "a limit of the account or QOS"; /* about 150 more are that */
}

static void node_state_words(uint32_t state, char *out, size_t bytes)
{
    static const char *const base[] = {
        "UNKNOWN", "DOWN", "IDLE", "ALLOCATED", "ERROR", "MIXED", "FUTURE",
    };
    static const struct {
        uint64_t flag;
        const char *name;
    } flags[] = {
        { NODE_STATE_DRAIN, "DRAIN" },
        { NODE_STATE_FAIL, "FAIL" },
        { NODE_STATE_NO_RESPOND, "NOT_RESPONDING" },
        { NODE_STATE_MAINT, "MAINTENANCE" },
        { NODE_STATE_REBOOT_REQUESTED, "REBOOT_REQUESTED" },
        { NODE_STATE_REBOOT_ISSUED, "REBOOT_ISSUED" },
        { NODE_STATE_INVALID_REG, "INVALID_REG" },
        { NODE_STATE_POWERING_DOWN, "POWERING_DOWN" },
        { NODE_STATE_POWER_DOWN, "POWER_DOWN" },
        { NODE_STATE_POWER_DRAIN, "POWER_DRAIN" },
        { NODE_STATE_POWERED_DOWN, "POWERED_DOWN" },
        { NODE_STATE_POWERING_UP, "POWERING_UP" },
        { NODE_STATE_COMPLETING, "COMPLETING" },
        { NODE_STATE_RES, "RESERVED" },
        { NODE_STATE_PLANNED, "PLANNED" },
    };
    uint32_t low = state & NODE_STATE_BASE;

    snprintf(out, bytes, "%s", low < NODE_STATE_END ? base[low] : "UNKNOWN");
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        size_t used = strlen(out);

        if (state & flags[i].flag)
            snprintf(out + used, bytes - used, "+%s", flags[i].name);
    }
}

/* ---- jobs
 * --------------------------------------------------------------------
 */

static void fill_job(const slurm_job_info_t *j, struct cluster_job *out)
{
    const char *word = state_word(j->job_state);
    int status = (int)j->exit_code;

    memset(out, 0, sizeof(*out));
    out->id = j->array_job_id ? j->array_job_id : j->job_id;
    cluster_copy_text(out->reason, sizeof(out->reason),
                      j->state_desc ? j->state_desc
                                    : reason_word(j->state_reason));
    slurm_set_state(out, word, j->priority);
    if (j->job_state & JOB_COMPLETING) {
        /* How it ends is known already. */
        slurm_set_state(out, state_word(j->job_state & JOB_STATE_BASE),
                        j->priority);
        out->state = CLUSTER_ENDING;
        cluster_copy_text(out->state_name, sizeof(out->state_name), word);
    }
    out->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    out->exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    out->restarts = j->restart_cnt;
    out->submit_unix_s = j->submit_time;
    if (out->state != CLUSTER_PENDING && out->state != CLUSTER_HELD) {
        out->start_unix_s = j->start_time;
        out->end_unix_s = j->end_time;
        cluster_copy_text(out->nodes, sizeof(out->nodes), j->nodes);
        cluster_copy_text(out->batch_host, sizeof(out->batch_host),
                          j->batch_host);
    }
    cluster_copy_text(out->name, sizeof(out->name), j->name);
    cluster_copy_text(out->comment, sizeof(out->comment), j->comment);
}

/* Frees msg. */
static int take_jobs(job_info_msg_t *msg, struct cluster_jobs *out,
                     struct mup_error *err)
{
    struct cluster_job *jobs = calloc(msg->record_count + 1u, sizeof(*jobs));
    int n = (int)msg->record_count;

    for (int i = 0; jobs && i < n; i++)
        fill_job(&msg->job_array[i], &jobs[i]);
    slurm_free_job_info_msg(msg);
    if (!jobs)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    out->job = jobs;
    out->n = n;
    return MUP_OK;
}

static int slurm_own_jobs(struct cluster *c, struct cluster_jobs *out,
                          struct mup_error *err)
{
    job_info_msg_t *msg = NULL;
    int kept = hush();
    int code = unhush(kept, slurm_load_job_user(&msg, getuid(), SHOW_ALL));

    (void)c;
    return code ? failed(code, err, "cannot list the jobs")
                : take_jobs(msg, out, err);
}

static int slurm_job(struct cluster *c, int64_t id, struct cluster_jobs *out,
                     struct mup_error *err)
{
    job_info_msg_t *msg = NULL;
    int rc = check_id(id, err);
    int kept, code;

    (void)c;
    if (rc != MUP_OK)
        return rc;
    kept = hush();
    code = unhush(kept, slurm_load_job(&msg, (uint32_t)id, SHOW_ALL));
    if (code == ESLURM_INVALID_JOB_ID) {
        *out = (struct cluster_jobs){ 0 };
        return MUP_OK;
    }
    return code ? job_failed(code, err, "look at", id)
                : take_jobs(msg, out, err);
}

/* Unset is not 0 but what slurm_init_job_desc_msg sets; sbatch's
 * "--signal=B:USR1@60" is three members. */
static void describe(const struct cluster_request *r, job_desc_msg_t *d)
{
    int64_t tasks = r->tasks_per_node ? r->tasks_per_node : 1;
    int64_t cpus = r->cpus_per_task ? r->cpus_per_task : 1;

    slurm_init_job_desc_msg(d);
    d->user_id = getuid();
    d->group_id = getgid();
    d->min_nodes = d->max_nodes = (uint32_t)(r->nodes ? r->nodes : 1);
    d->ntasks_per_node = (uint16_t)tasks;
    d->num_tasks = d->min_nodes * (uint32_t)tasks;
    d->cpus_per_task = (uint16_t)cpus;
    d->min_cpus = d->num_tasks * (uint32_t)cpus;
    d->pn_min_cpus = (uint16_t)(tasks * cpus);
    if (r->memory_gib > 0)
        d->pn_min_memory = (uint64_t)cluster_memory_mib(r);
    if (r->time_min > 0)
        d->time_limit = (uint32_t)cluster_minutes(r);
    if (r->signal_s > 0) {
        d->warn_signal = SIGUSR1;
        d->warn_time = (uint16_t)r->signal_s;
        d->warn_flags = KILL_JOB_BATCH;
    }
    d->kill_on_node_fail = !r->no_kill;
    d->requeue = r->requeue ? 1 : 0;
    d->open_mode = OPEN_MODE_APPEND; /* a restart must not cut it */
}

static char *text_or_null(const char *text)
{
    return text && *text ? (char *)text : NULL;
}

static void describe_texts(const struct cluster_request *r, job_desc_msg_t *d)
{
    d->script = (char *)r->script;
    d->name = text_or_null(r->name);
    d->comment = text_or_null(r->comment);
    d->partition = text_or_null(r->partition);
    d->account = text_or_null(r->account);
    d->qos = text_or_null(r->qos);
    d->features = text_or_null(r->constraint);
    d->exc_nodes = text_or_null(r->exclude);
    d->std_out = text_or_null(r->output);
}

/* What sbatch puts into a job's environment and the controller does not: where
 * it came from, the umask, what srun shall do in it.  sbatch passes the
 * caller's resource limits too; here the job has those of its node's slurmd. */
struct submission {
    char cwd[4096];
    char dir[4200], host[300], mask[40], name[300], cpus[64], tasks[64];
    char array[40], gpus[40];
    char **environment;
};

static int prepare(const struct cluster_request *r, struct submission *s,
                   struct mup_error *err)
{
    const char *extra[] = { s->dir,
                            s->host,
                            s->mask,
                            s->name,
                            s->cpus,
                            s->tasks,
                            "SLURM_PRIO_PROCESS=0",
                            "SLURM_OPEN_MODE=a",
                            NULL };
    char host[256] = "";
    mode_t mask = umask(0);

    (void)umask(mask);
    if (!getcwd(s->cwd, sizeof(s->cwd)))
        return mup_fail(err, MUP_SYSTEM, "the current folder has no path: %s",
                        strerror(errno));
    (void)gethostname(host, sizeof(host) - 1);
    snprintf(s->dir, sizeof(s->dir), "SLURM_SUBMIT_DIR=%s", s->cwd);
    snprintf(s->host, sizeof(s->host), "SLURM_SUBMIT_HOST=%s", host);
    snprintf(s->mask, sizeof(s->mask), "SLURM_UMASK=0%o", (unsigned)mask);
    snprintf(s->name, sizeof(s->name), "SLURM_JOB_NAME=%.250s",
             r->name ? r->name : "");
    snprintf(s->cpus, sizeof(s->cpus), "SLURM_CPUS_PER_TASK=%lld",
             (long long)(r->cpus_per_task ? r->cpus_per_task : 1));
    snprintf(s->tasks, sizeof(s->tasks), "SLURM_NTASKS_PER_NODE=%lld",
             (long long)(r->tasks_per_node ? r->tasks_per_node : 1));
    snprintf(s->array, sizeof(s->array), "0-%lld", (long long)r->array - 1);
    /* 23.11 spells it with a slash. */
    snprintf(s->gpus, sizeof(s->gpus), "gres%cgpu:%lld",
             SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(23, 11, 0) ? '/' : ':',
             (long long)r->gpus_per_node);
    return cluster_environment(extra, &s->environment, err);
}

static int slurm_submit(struct cluster *c, const struct cluster_request *r,
                        int64_t *id, struct mup_error *err)
{
    submit_response_msg_t *reply = NULL;
    struct submission s = { 0 };
    job_desc_msg_t d;
    int rc = prepare(r, &s, err);
    int kept, code;

    (void)c;
    if (rc != MUP_OK)
        return rc;
    describe(r, &d);
    describe_texts(r, &d);
    d.work_dir = r->work_dir && *r->work_dir ? (char *)r->work_dir : s.cwd;
    d.array_inx = r->array > 0 ? s.array : NULL;
    d.tres_per_node = r->gpus_per_node > 0 ? s.gpus : NULL;
    d.environment = s.environment;
    for (d.env_size = 0; s.environment[d.env_size];)
        d.env_size++;
    kept = hush();
    code = unhush(kept, slurm_submit_batch_job(&d, &reply));
    if (code)
        rc = failed(code, err, "cannot submit the job");
    else
        *id = reply->job_id;
    if (reply)
        slurm_free_submit_response_response_msg(reply);
    free(s.environment);
    return rc;
}

static int slurm_cancel(struct cluster *c, int64_t id, struct mup_error *err)
{
    char text[24];
    int rc = check_id(id, err);
    int kept, code;

    (void)c;
    if (rc != MUP_OK)
        return rc;
    snprintf(text, sizeof(text), "%lld", (long long)id);
    kept = hush();
    code = unhush(kept, slurm_kill_job2(text, SIGKILL, 0, NULL));
    if (!code || code == ESLURM_ALREADY_DONE || code == ESLURM_INVALID_JOB_ID)
        return MUP_OK;
    return job_failed(code, err, "cancel", id);
}

static int slurm_signal(struct cluster *c, int64_t id, int number,
                        struct mup_error *err)
{
    char text[24];
    int rc = check_id(id, err);
    int kept, code;

    (void)c;
    if (rc != MUP_OK)
        return rc;
    snprintf(text, sizeof(text), "%lld", (long long)id);
    kept = hush();
    code = unhush(
        kept, slurm_kill_job2(text, (uint16_t)number, KILL_JOB_BATCH, NULL));
    return code ? job_failed(code, err, "signal", id) : MUP_OK;
}

/* Of the tasks of an array the first error; frees reply. */
static int array_code(int code, job_array_resp_msg_t *reply)
{
    if (!reply)
        return code;
    for (uint32_t i = 0; !code && i < reply->job_array_count; i++)
        code = (int)reply->error_code[i];
    slurm_free_job_array_resp(reply);
    return code;
}

static int slurm_requeue_job(struct cluster *c, int64_t id,
                             struct mup_error *err)
{
    job_array_resp_msg_t *reply = NULL;
    char text[24];
    int rc = check_id(id, err);
    int kept, code;

    (void)c;
    if (rc != MUP_OK)
        return rc;
    snprintf(text, sizeof(text), "%lld", (long long)id);
    kept = hush();
    code = unhush(kept, slurm_requeue2(text, 0, &reply));
    code = array_code(code, reply);
    /* It waits already. */
    if (!code || code == ESLURM_JOB_PENDING)
        return MUP_OK;
    return job_failed(code, err, "requeue", id);
}

static int slurm_excluded(struct cluster *c, int64_t id, char **out,
                          struct mup_error *err)
{
    job_info_msg_t *msg = NULL;
    char *list = NULL;
    int kept = hush();
    int code = unhush(kept, slurm_load_job(&msg, (uint32_t)id, SHOW_ALL));

    (void)c;
    if (code)
        return job_failed(code, err, "look at", id);
    if (msg->record_count > 0 && msg->job_array[0].exc_nodes)
        list = strdup(msg->job_array[0].exc_nodes);
    else
        list = strdup("");
    slurm_free_job_info_msg(msg);
    if (!list)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    *out = list;
    return MUP_OK;
}

static int slurm_exclude(struct cluster *c, int64_t id, const char *nodes,
                         struct mup_error *err)
{
    job_array_resp_msg_t *reply = NULL;
    job_desc_msg_t d;
    char text[24];
    int kept, code;

    (void)c;
    slurm_init_job_desc_msg(&d);
    snprintf(text, sizeof(text), "%lld", (long long)id);
    d.job_id_str = text;
    d.exc_nodes = (char *)nodes;
    kept = hush();
    code = unhush(kept, slurm_update_job2(&d, &reply));
    code = array_code(code, reply);
    return code ? job_failed(code, err, "exclude nodes from", id) : MUP_OK;
}

/* ---- nodes and partitions
 * ------------------------------------------------------
 */

static void fill_node(const node_info_t *n, struct cluster_node *out)
{
    char state[256];

    memset(out, 0, sizeof(*out));
    cluster_copy_text(out->name, sizeof(out->name), n->name);
    node_state_words(n->node_state, state, sizeof(state));
    out->usable = slurm_node_usable(state);
    cluster_copy_text(out->state_name, sizeof(out->state_name), state);
    cluster_copy_text(out->reason, sizeof(out->reason), n->reason);
    out->cpus = n->cpus;
    out->memory_mib = (int64_t)n->real_memory;
    out->gpus = slurm_parse_gpus(n->gres);
}

static int slurm_nodes(struct cluster *c, struct cluster_nodes *out,
                       struct mup_error *err)
{
    node_info_msg_t *msg = NULL;
    struct cluster_node *nodes;
    int n = 0;
    int kept = hush();
    int code = unhush(kept, slurm_load_node(0, &msg, SHOW_ALL | SHOW_MIXED));

    (void)c;
    if (code)
        return failed(code, err, "cannot list the nodes");
    nodes = calloc(msg->record_count + 1u, sizeof(*nodes));
    for (uint32_t i = 0; nodes && i < msg->record_count; i++)
        if (msg->node_array[i].name) /* else it is hidden from this user */
            fill_node(&msg->node_array[i], &nodes[n++]);
    slurm_free_node_info_msg(msg);
    if (!nodes)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    out->node = nodes;
    out->n = n;
    return MUP_OK;
}

static int fill_part(const partition_info_t *p, struct cluster_part *out)
{
    struct cluster_partition *i = &out->info;

    cluster_copy_text(i->name, sizeof(i->name), p->name);
    i->is_default = (p->flags & PART_FLAG_DEFAULT) != 0;
    i->up = p->state_up == PARTITION_UP;
    i->nodes = p->total_nodes;
    i->max_nodes = p->max_nodes == INFINITE ? 0 : p->max_nodes;
    i->max_time_min = p->max_time == INFINITE ? 0 : p->max_time;
    out->nodes = strdup(p->nodes ? p->nodes : "");
    return out->nodes != NULL;
}

static int slurm_partitions(struct cluster *c, struct cluster_parts *out,
                            struct mup_error *err)
{
    partition_info_msg_t *msg = NULL;
    struct cluster_parts parts = { 0 };
    int whole = 1;
    int kept = hush();
    int code = unhush(kept, slurm_load_partitions(0, &msg, SHOW_ALL));

    (void)c;
    if (code)
        return failed(code, err, "cannot list the partitions");
    parts.part = calloc(msg->record_count + 1u, sizeof(*parts.part));
    for (uint32_t i = 0; parts.part && whole && i < msg->record_count; i++)
        whole = fill_part(&msg->partition_array[i], &parts.part[parts.n++]);
    slurm_free_partition_info_msg(msg);
    if (!parts.part || !whole) {
        cluster_free_parts(&parts);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    *out = parts;
    return MUP_OK;
}

static int slurm_drain(struct cluster *c, const char *node, const char *reason,
                       struct mup_error *err)
{
    update_node_msg_t u;
    char what[128];
    int kept, code;

    (void)c;
    slurm_init_update_node_msg(&u);
    u.node_names = (char *)node;
    u.node_state = NODE_STATE_DRAIN;
    u.reason = (char *)reason;
    u.reason_uid = getuid();
    kept = hush();
    code = unhush(kept, slurm_update_node(&u));
    snprintf(what, sizeof(what), "cannot drain node '%.64s'", node);
    return code ? failed(code, err, what) : MUP_OK;
}

/* ---- opening
 * -------------------------------------------------------------------
 */

static void slurm_close(struct cluster *c)
{
    slurm_fini();
    free(c);
}

static const struct cluster_ops library = {
    .name = "libslurm",
    .close = slurm_close,
    .submit = slurm_submit,
    .own_jobs = slurm_own_jobs,
    .job = slurm_job,
    .cancel = slurm_cancel,
    .signal = slurm_signal,
    .requeue = slurm_requeue_job,
    .excluded = slurm_excluded,
    .exclude = slurm_exclude,
    .nodes = slurm_nodes,
    .partitions = slurm_partitions,
    .drain = slurm_drain,
};

int slurm_open(const char *conf, struct cluster **out, struct mup_error *err)
{
    struct cluster *c = calloc(1, sizeof(*c));

    if (!c)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    c->ops = &library;
    /* Not hushed: with a file that it cannot understand it ends the process,
     * and says why. */
    slurm_init(conf);
    *out = c;
    return MUP_OK;
}

#endif
