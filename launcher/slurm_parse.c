#include "launcher/slurm_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words -----------------------------------------------------------------
 */

struct state_word {
    const char *name;
    int state;
    int cancelled, preempted, timed_out, node_failed;
};

static const struct state_word state_words[] = {
    { "PENDING", CLUSTER_PENDING },
    { "REQUEUED", CLUSTER_PENDING },
    { "REQUEUE_FED", CLUSTER_PENDING },
    { "REQUEUE_HOLD", CLUSTER_HELD },
    { "SPECIAL_EXIT", CLUSTER_HELD },
    { "RESV_DEL_HOLD", CLUSTER_HELD },
    { "COMPLETING", CLUSTER_ENDING },
    { "STAGE_OUT", CLUSTER_ENDING },
    { "COMPLETED", CLUSTER_ENDED },
    { "FAILED", CLUSTER_ENDED },
    { "OUT_OF_MEMORY", CLUSTER_ENDED },
    { "REVOKED", CLUSTER_ENDED },
    { "CANCELLED", CLUSTER_ENDED, .cancelled = 1 },
    { "PREEMPTED", CLUSTER_ENDED, .cancelled = 1, .preempted = 1 },
    { "TIMEOUT", CLUSTER_ENDED, .timed_out = 1 },
    { "DEADLINE", CLUSTER_ENDED, .timed_out = 1 },
    { "NODE_FAIL", CLUSTER_ENDED, .node_failed = 1 },
    { "BOOT_FAIL", CLUSTER_ENDED, .node_failed = 1 },
    /* RUNNING, SUSPENDED, CONFIGURING, STOPPED, SIGNALING, RESIZING and what
     * is to come: */
    { NULL, CLUSTER_RUNNING },
};

/* Pending for one of these a job waits until somebody changes something. */
static int reason_holds(const char *reason)
{
    static const char *const holds[] = {
        "JobHeldUser",        "JobHeldAdmin",
        "JobHoldMaxRequeue",  "DependencyNeverSatisfied",
        "PartitionConfig",    "PartitionNodeLimit",
        "PartitionTimeLimit", "BadConstraints",
        "InvalidAccount",     "InvalidQOS",
    };

    for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++)
        if (strcmp(reason, holds[i]) == 0)
            return 1;
    return 0;
}

void slurm_set_state(struct cluster_job *job, const char *name,
                     int64_t priority)
{
    const struct state_word *w = state_words;

    while (w->name && strcmp(w->name, name) != 0)
        w++;
    job->state = w->state;
    if (w->state == CLUSTER_PENDING &&
        (priority == 0 || reason_holds(job->reason)))
        job->state = CLUSTER_HELD;
    job->cancelled = w->cancelled;
    job->preempted = w->preempted;
    job->timed_out = w->timed_out;
    job->node_failed = w->node_failed;
    cluster_copy_text(job->state_name, sizeof(job->state_name), name);
}

/* Marks behind a state, as older versions write it: "IDLE*" does not respond,
 * '$' is being serviced, '@' '^' is being started anew, '%' '!' goes off. */
int slurm_node_usable(const char *state)
{
    static const char *const unusable[] = {
        "UNKNOWN", "DOWN",          "ERROR",      "FUTURE",      "DRAIN",
        "FAIL",    "NOT_RESP",      "NO_RESPOND", "MAINT",       "REBOOT",
        "INVALID", "POWERING_DOWN", "POWER_DOWN", "POWER_DRAIN",
    };

    if (!*state || strpbrk(state, "*$@^%!"))
        return 0;
    while (*state) {
        for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++)
            if (strncmp(state, unusable[i], strlen(unusable[i])) == 0)
                return 0;
        state += strcspn(state, "+");
        state += *state == '+';
    }
    return 1;
}

int64_t slurm_parse_gpus(const char *gres)
{
    int64_t sum = 0;

    while (gres && *gres) {
        size_t len = strcspn(gres, ",(");
        const char *colon = NULL;

        for (size_t i = 0; i < len; i++)
            if (gres[i] == ':')
                colon = gres + i;
        if (strncmp(gres, "gpu", 3) == 0 && (len == 3 || gres[3] == ':')) {
            char *end = NULL;
            long n = colon ? strtol(colon + 1, &end, 10) : 1;

            if (colon && end == colon + 1)
                n = 1; /* "gpu:a100" */
            if (n > 0 && n < 1000000 && sum < 1000000)
                sum += n;
        }
        gres += len;
        if (*gres == '(') /* the sockets that they are near to: "(S:0,2)" */
            gres += strcspn(gres, ")");
        gres += strcspn(gres, ",");
        gres += *gres == ',';
    }
    return sum;
}

double slurm_parse_minutes(const char *text)
{
    double part[4] = { 0 }; /* days, then what colons are between */
    int n = 1;
    const char *dash = strchr(text, '-');
    char *end;

    if (dash) {
        part[0] = strtod(text, &end);
        if (end != dash)
            return 0;
        text = dash + 1;
    }
    for (;;) {
        double v = strtod(text, &end);

        if (end == text || !(v >= 0) || v > 1e9 || n == 4)
            return 0;
        part[n++] = v;
        if (*end != ':')
            break;
        text = end + 1;
    }
    /* After a dash hours come first, alone minutes, of two minutes. */
    if (dash || n == 4)
        return part[0] * 1440 + part[1] * 60 + part[2] + part[3] / 60;
    return part[1] + part[2] / 60;
}

/* ---- complaints ------------------------------------------------------------
 */

static int contains(const char *text, const char *const words[])
{
    for (int i = 0; words[i]; i++)
        if (strstr(text, words[i]))
            return 1;
    return 0;
}

/* The last line that says something, without "sbatch: error: ". */
static void last_sentence(const char *text, char *out, size_t bytes)
{
    size_t end = strlen(text), start;
    const char *colon;

    while (end > 0 && strchr(" \r\n\t", text[end - 1]))
        end--;
    for (start = end; start > 0 && text[start - 1] != '\n';)
        start--;
    snprintf(out, bytes, "%.*s", (int)(end - start < 400 ? end - start : 400),
             text + start);
    colon = strstr(out, "error: ");
    if (!colon)
        colon = strstr(out, "fatal: ");
    if (colon)
        memmove(out, colon + 7, strlen(colon + 7) + 1);
    if (!*out)
        snprintf(out, bytes, "it does not say why");
}

int slurm_parse_refusal(const char *errors, const char *what,
                        struct mup_error *err)
{
    static const char *const silent[] = { "Unable to contact",
                                          "Communication",
                                          "communication",
                                          "Connection refused",
                                          "Socket timed out",
                                          "Connection timed out",
                                          "Zero Bytes were",
                                          "Unexpected message received",
                                          "authentication",
                                          "Munge",
                                          "munge",
                                          "temporarily unable",
                                          "transition",
                                          "standby mode",
                                          NULL };
    static const char *const denied[] = { "Access/permission denied",
                                          "Invalid user id", NULL };
    static const char *const none[] = { "establish a configuration source",
                                        "process configuration file",
                                        "DNS SRV lookup failed", NULL };
    char why[512];

    last_sentence(errors, why, sizeof(why));
    if (contains(errors, none))
        return mup_fail(err, MUP_SYSTEM,
                        "no SLURM is configured on this machine; set "
                        "SLURM_CONF to the slurm.conf of your site");
    if (contains(errors, denied))
        return mup_fail(err, MUP_NEGATIVE, "%s: SLURM does not permit it: %s",
                        what, why);
    if (contains(errors, silent))
        return mup_fail(err, MUP_DEVICE,
                        "%s: the SLURM controller does not answer: %s", what,
                        why);
    return mup_fail(err, MUP_USAGE, "%s: SLURM refuses: %s", what, why);
}

int slurm_parse_no_job(const char *errors)
{
    return strstr(errors, "Invalid job id") != NULL;
}

/* ---- lines -----------------------------------------------------------------
 */

/* A line of "Key=Value Key=Value", or a part of one. */
struct line {
    const char *text;
    size_t len;
};

/* Takes the next line from *text; 0 at the end. */
static int next_line(const char **text, struct line *out)
{
    if (!**text)
        return 0;
    out->text = *text;
    out->len = strcspn(*text, "\n");
    *text += out->len;
    *text += **text == '\n';
    return 1;
}

/* " Key=" at this blank? */
static int key_begins(const struct line *l, size_t at)
{
    size_t i = at + 1;

    while (i < l->len &&
           (isalnum((unsigned char)l->text[i]) || strchr("/:_", l->text[i])))
        i++;
    return i > at + 1 && i < l->len && l->text[i] == '=' &&
           isupper((unsigned char)l->text[at + 1]);
}

/* The value of a key: values hold blanks, so it ends where another key begins.
 * Empty where the key is missing. */
static struct line value_of(const struct line *l, const char *key)
{
    struct line v = { "", 0 };
    size_t len = strlen(key);

    for (size_t i = 0; i + len < l->len; i++) {
        if (i && l->text[i - 1] != ' ')
            continue;
        if (strncmp(l->text + i, key, len) != 0 || l->text[i + len] != '=')
            continue;
        v.text = l->text + i + len + 1;
        while (v.text + v.len < l->text + l->len &&
               !(v.text[v.len] == ' ' &&
                 key_begins(l, (size_t)(v.text - l->text) + v.len)))
            v.len++;
        while (v.len && v.text[v.len - 1] == ' ')
            v.len--;
        return v;
    }
    return v;
}

static void copy_value(const struct line *l, const char *key, char *out,
                       size_t bytes)
{
    struct line v = value_of(l, key);

    if (v.len == 6 && strncmp(v.text, "(null)", 6) == 0)
        v.len = 0;
    if (v.len >= bytes)
        v.len = bytes - 1;
    memcpy(out, v.text, v.len);
    out[v.len] = '\0';
}

/* 0 for what is no number: "Unknown", "N/A", "UNLIMITED". */
static int64_t number_of(const struct line *l, const char *key)
{
    char digits[24];
    long long n;

    copy_value(l, key, digits, sizeof(digits));
    errno = 0;
    n = strtoll(digits, NULL, 10);
    return errno || n < 0 ? 0 : n;
}

/* A list of records of a size, one a line. */
static void *room_for(const char *text, size_t bytes, struct mup_error *err)
{
    size_t n = 1;
    void *list;

    for (const char *c = text; *c; c++)
        n += *c == '\n';
    list = calloc(n + 1, bytes);
    if (!list)
        (void)mup_fail(err, MUP_SYSTEM, "out of memory");
    return list;
}

/* ---- jobs ------------------------------------------------------------------
 */

int slurm_parse_id(const char *text, int64_t *id, struct mup_error *err)
{
    char *end;
    long long n;

    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno || end == text || n <= 0 || !strchr(";\n", *end))
        return mup_fail(err, MUP_SYSTEM,
                        "sbatch answers '%.80s' where the id of the job is "
                        "expected",
                        text);
    *id = n;
    return MUP_OK;
}

int slurm_parse_queue(const char *text, struct cluster_jobs *out,
                      struct mup_error *err)
{
    struct cluster_jobs jobs = { 0, room_for(text, sizeof(*jobs.job), err) };
    struct line l;

    if (!jobs.job)
        return MUP_SYSTEM;
    while (next_line(&text, &l)) {
        struct cluster_job *j = &jobs.job[jobs.n];
        const char *state = memchr(l.text, '\x1f', l.len);
        const char *end = l.text + l.len, *comment;
        char name[sizeof(j->state_name)], digits[24];

        comment =
            state ? memchr(state + 1, '\x1f', (size_t)(end - state - 1)) : NULL;
        if (!comment)
            continue; /* a comment may have lines */
        snprintf(digits, sizeof(digits), "%.*s",
                 (int)(state - l.text < 20 ? state - l.text : 20), l.text);
        snprintf(name, sizeof(name), "%.*s", (int)(comment - state - 1),
                 state + 1);
        j->id = strtoll(digits, NULL, 10);
        slurm_set_state(j, name, 1);
        snprintf(j->comment, sizeof(j->comment), "%.*s",
                 (int)(end - comment - 1), comment + 1);
        if (strcmp(j->comment, "(null)") == 0)
            j->comment[0] = '\0';
        jobs.n += j->id > 0;
    }
    *out = jobs;
    return MUP_OK;
}

static void parse_job(const struct line *l, struct cluster_job *j)
{
    char state[32], codes[32];
    const char *colon;

    memset(j, 0, sizeof(*j));
    j->id = number_of(l, "ArrayJobId");
    if (!j->id)
        j->id = number_of(l, "JobId");
    copy_value(l, "Reason", j->reason, sizeof(j->reason));
    if (strcmp(j->reason, "None") == 0)
        j->reason[0] = '\0';
    copy_value(l, "JobState", state, sizeof(state));
    slurm_set_state(j, state, number_of(l, "Priority"));
    copy_value(l, "ExitCode", codes, sizeof(codes));
    colon = strchr(codes, ':');
    j->exit_status = strtol(codes, NULL, 10);
    j->exit_signal = colon ? strtol(colon + 1, NULL, 10) : 0;
    j->restarts = number_of(l, "Restarts");
    j->submit_unix_s = number_of(l, "SubmitTime");
    if (j->state != CLUSTER_PENDING && j->state != CLUSTER_HELD) {
        j->start_unix_s = number_of(l, "StartTime");
        j->end_unix_s = number_of(l, "EndTime");
        copy_value(l, "NodeList", j->nodes, sizeof(j->nodes));
        copy_value(l, "BatchHost", j->batch_host, sizeof(j->batch_host));
    }
    copy_value(l, "JobName", j->name, sizeof(j->name));
    copy_value(l, "Comment", j->comment, sizeof(j->comment));
}

int slurm_parse_jobs(const char *text, struct cluster_jobs *out,
                     struct mup_error *err)
{
    struct cluster_jobs jobs = { 0, room_for(text, sizeof(*jobs.job), err) };
    struct line l;

    if (!jobs.job)
        return MUP_SYSTEM;
    while (next_line(&text, &l))
        if (strncmp(l.text, "JobId=", 6) == 0)
            parse_job(&l, &jobs.job[jobs.n++]);
    *out = jobs;
    return MUP_OK;
}

int slurm_parse_excluded(const char *text, char **out, struct mup_error *err)
{
    struct line l = { text, strcspn(text, "\n") };
    struct line v = value_of(&l, "ExcNodeList");
    char *list = malloc(v.len + 7);

    if (!list)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    copy_value(&l, "ExcNodeList", list, v.len + 7);
    *out = list;
    return MUP_OK;
}

/* ---- nodes and partitions --------------------------------------------------
 */

static void parse_node(const struct line *l, struct cluster_node *n)
{
    char state[256], gres[1024];
    char *by;

    memset(n, 0, sizeof(*n));
    copy_value(l, "NodeName", n->name, sizeof(n->name));
    copy_value(l, "State", state, sizeof(state));
    n->usable = slurm_node_usable(state);
    cluster_copy_text(n->state_name, sizeof(n->state_name), state);
    copy_value(l, "Reason", n->reason, sizeof(n->reason));
    by = strrchr(n->reason, '['); /* "bad disk [root@1795875]" */
    if (by && by > n->reason && strchr(by, '@') &&
        n->reason[strlen(n->reason) - 1] == ']')
        by[-1] = '\0';
    n->cpus = number_of(l, "CPUTot");
    n->memory_mib = number_of(l, "RealMemory");
    copy_value(l, "Gres", gres, sizeof(gres));
    n->gpus = slurm_parse_gpus(gres);
}

int slurm_parse_nodes(const char *text, struct cluster_nodes *out,
                      struct mup_error *err)
{
    struct cluster_nodes nodes = { 0,
                                   room_for(text, sizeof(*nodes.node), err) };
    struct line l;

    if (!nodes.node)
        return MUP_SYSTEM;
    while (next_line(&text, &l))
        if (strncmp(l.text, "NodeName=", 9) == 0)
            parse_node(&l, &nodes.node[nodes.n++]);
    *out = nodes;
    return MUP_OK;
}

static int parse_part(const struct line *l, struct cluster_part *p)
{
    struct line nodes = value_of(l, "Nodes");
    char text[64];

    copy_value(l, "PartitionName", p->info.name, sizeof(p->info.name));
    copy_value(l, "Default", text, sizeof(text));
    p->info.is_default = strcmp(text, "YES") == 0;
    copy_value(l, "State", text, sizeof(text));
    p->info.up = strcmp(text, "UP") == 0;
    p->info.nodes = number_of(l, "TotalNodes");
    p->info.max_nodes = number_of(l, "MaxNodes");
    copy_value(l, "MaxTime", text, sizeof(text));
    p->info.max_time_min = slurm_parse_minutes(text);
    p->nodes = malloc(nodes.len + 7);
    if (p->nodes)
        copy_value(l, "Nodes", p->nodes, nodes.len + 7);
    return p->nodes != NULL;
}

int slurm_parse_parts(const char *text, struct cluster_parts *out,
                      struct mup_error *err)
{
    struct cluster_parts parts = { 0,
                                   room_for(text, sizeof(*parts.part), err) };
    struct line l;
    int whole = 1;

    if (!parts.part)
        return MUP_SYSTEM;
    while (whole && next_line(&text, &l))
        if (strncmp(l.text, "PartitionName=", 14) == 0)
            whole = parse_part(&l, &parts.part[parts.n++]);
    if (!whole) {
        cluster_free_parts(&parts);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    *out = parts;
    return MUP_OK;
}
