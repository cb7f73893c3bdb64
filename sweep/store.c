/* The trial store.  Every statement is a constant; values are bound. */
#include "sweep/store.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/file.h"
#include "model/lock.h"

#define STORE_APPLICATION 0x6d757472 /* "mutr" */
#define STORE_VERSION     1

struct store {
    sqlite3 *db;
    sqlite3_stmt *add_config, *add_trial;
    struct file_lock lock; /* held by a writer */
    int n_parameters;      /* of a writer's space */
    char keys[SPACE_MAX_PARAMETERS][SPACE_KEY_BYTES];
    char path[1100];
};

static const char *const schema =
    "CREATE TABLE property(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "CREATE TABLE member(idx INTEGER PRIMARY KEY, groups TEXT NOT NULL UNIQUE)"
    " STRICT;"
    "CREATE TABLE config(idx INTEGER PRIMARY KEY, params TEXT NOT NULL) STRICT;"
    "CREATE TABLE trial(id INTEGER PRIMARY KEY,"
    " config INTEGER NOT NULL REFERENCES config,"
    " member INTEGER NOT NULL, seed INTEGER NOT NULL,"
    " state TEXT NOT NULL CHECK(state IN"
    " ('WAITING','RUNNING','DONE','DIVERGED','FAILED')),"
    " attempt INTEGER NOT NULL DEFAULT 0, deaths INTEGER NOT NULL DEFAULT 0,"
    " twin INTEGER NOT NULL DEFAULT 0, width INTEGER NOT NULL,"
    " parametrization INTEGER NOT NULL, value REAL, loss REAL, val_loss REAL,"
    " val_bpb REAL, steps INTEGER NOT NULL DEFAULT 0,"
    " tokens INTEGER NOT NULL DEFAULT 0, flops REAL NOT NULL DEFAULT 0,"
    " wall_s REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',"
    " changed_s INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE(config, member, seed)) STRICT;"
    "CREATE INDEX trial_state ON trial(state, id);";

static const char *const state_names[] = {
    [TRIAL_WAITING] = "WAITING", [TRIAL_RUNNING] = "RUNNING",
    [TRIAL_DONE] = "DONE",       [TRIAL_DIVERGED] = "DIVERGED",
    [TRIAL_FAILED] = "FAILED",
};

#define N_STATES ((int)(sizeof(state_names) / sizeof(state_names[0])))

const char *trial_state_name(int state)
{
    return state >= 0 && state < N_STATES ? state_names[state] : "?";
}

static int parse_state(const char *name)
{
    for (int i = 0; i < N_STATES; i++)
        if (name && !strcmp(name, state_names[i]))
            return i;
    return -1;
}

static int store_fail(const struct store *s, const char *doing,
                      struct mup_error *err)
{
    int code = sqlite3_errcode(s->db);

    if ((code & 0xff) == SQLITE_FULL)
        return mup_fail(err, MUP_SYSTEM,
                        "cannot %s in '%s': %s; free some "
                        "space and run the same command again",
                        doing, s->path, strerror(ENOSPC));
    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
        return mup_fail(err, MUP_CORRUPT,
                        "'%s' is damaged (%s); restore it or start the study "
                        "in another directory",
                        s->path, sqlite3_errmsg(s->db));
    return mup_fail(err, MUP_SYSTEM, "cannot %s in '%s': %s", doing, s->path,
                    sqlite3_errmsg(s->db));
}

static int execute(struct store *s, const char *sql, const char *doing,
                   struct mup_error *err)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_fail(s, doing, err);
    return MUP_OK;
}

static int prepare(struct store *s, const char *sql, sqlite3_stmt **out,
                   struct mup_error *err)
{
    if (sqlite3_prepare_v2(s->db, sql, -1, out, NULL) != SQLITE_OK)
        return store_fail(s, "prepare a statement", err);
    return MUP_OK;
}

/* NaN and infinities have no place in a column that people query: NULL. */
static int bind_real(sqlite3_stmt *q, int at, double value)
{
    return isfinite(value) ? sqlite3_bind_double(q, at, value)
                           : sqlite3_bind_null(q, at);
}

static double column_real(sqlite3_stmt *q, int at)
{
    return sqlite3_column_type(q, at) == SQLITE_NULL
               ? (double)NAN
               : sqlite3_column_double(q, at);
}

static void column_copy(sqlite3_stmt *q, int at, char *out, size_t bytes)
{
    const unsigned char *text = sqlite3_column_text(q, at);

    snprintf(out, bytes, "%s", text ? (const char *)text : "");
}

/* Step a statement without rows, then drop it. */
static int finish(struct store *s, sqlite3_stmt *q, const char *doing,
                  struct mup_error *err)
{
    int rc = MUP_OK;

    if (sqlite3_step(q) != SQLITE_DONE)
        rc = store_fail(s, doing, err);
    sqlite3_finalize(q);
    return rc;
}

int store_begin(struct store *s, struct mup_error *err)
{
    return execute(s, "BEGIN IMMEDIATE", "begin a transaction", err);
}

int store_commit(struct store *s, struct mup_error *err)
{
    int rc = execute(s, "COMMIT", "commit", err);

    if (rc)
        store_rollback(s);
    return rc;
}

void store_rollback(struct store *s)
{
    /* Fails only where SQLite has rolled back already. */
    if (!sqlite3_get_autocommit(s->db))
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

int store_property(struct store *s, const char *name, char *out, size_t bytes,
                   struct mup_error *err)
{
    sqlite3_stmt *q;
    int step,
        rc = prepare(s, "SELECT value FROM property WHERE name=?", &q, err);

    if (rc)
        return rc;
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    step = sqlite3_step(q);
    if (step == SQLITE_ROW)
        column_copy(q, 0, out, bytes);
    else if (step == SQLITE_DONE)
        out[0] = '\0';
    else
        rc = store_fail(s, "read a property", err);
    sqlite3_finalize(q);
    return rc;
}

int store_set_property(struct store *s, const char *name, const char *text,
                       struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc = prepare(s,
                     "INSERT INTO property VALUES(?,?) "
                     "ON CONFLICT(name) DO UPDATE SET value=excluded.value",
                     &q, err);

    if (rc)
        return rc;
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, text, -1, SQLITE_STATIC);
    return finish(s, q, "write a property", err);
}

/* The whole text of a property (spec has no small bound); caller frees. */
static int long_property(struct store *s, const char *name, char **out,
                         struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc = prepare(s, "SELECT value FROM property WHERE name=?", &q, err);

    if (rc)
        return rc;
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    *out = NULL;
    switch (sqlite3_step(q)) {
    case SQLITE_ROW:
        *out = strdup((const char *)sqlite3_column_text(q, 0));
        break;
    case SQLITE_DONE:
        *out = strdup("");
        break;
    default:
        rc = store_fail(s, "read a property", err);
    }
    sqlite3_finalize(q);
    if (!rc && !*out)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory");
    return rc;
}

/* {"model.width":"32","mup.parametrization":"sp"}; caller frees. */
static char *member_json(const struct space *space, int64_t member)
{
    json_t *object = json_object();
    char *text;

    for (int g = 0; object && g < space->n_groups; g++)
        if (json_object_set_new(
                object, space->group[g].key,
                json_string(space_member_text(space, member, g)))) {
            json_decref(object);
            object = NULL;
        }
    text = object ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(object);
    return text;
}

/* Members are numbered anew where a group has grown: old trials move along.
 * By way of negative numbers, so that UNIQUE holds at every row. */
static int write_members(struct store *s, const struct space *space,
                         struct mup_error *err)
{
    static const char move[] =
        "UPDATE trial SET member=-1-("
        " SELECT new_member.idx FROM new_member JOIN member USING(groups)"
        " WHERE member.idx=trial.member);"
        "UPDATE trial SET member=-1-member;"
        "DELETE FROM member;"
        "INSERT INTO member SELECT idx, groups FROM new_member;"
        "DROP TABLE new_member;";
    int64_t members = space_members(space);
    sqlite3_stmt *q = NULL;
    int rc = execute(s,
                     "CREATE TEMP TABLE new_member(idx INTEGER PRIMARY KEY,"
                     " groups TEXT NOT NULL UNIQUE)",
                     "write the members", err);

    if (!rc)
        rc = prepare(s, "INSERT INTO new_member VALUES(?,?)", &q, err);
    for (int64_t m = 0; m < members && !rc; m++) {
        char *text = member_json(space, m);

        if (!text) {
            rc = mup_fail(err, MUP_SYSTEM, "out of memory");
            break;
        }
        sqlite3_bind_int64(q, 1, m);
        sqlite3_bind_text(q, 2, text, -1, SQLITE_TRANSIENT);
        free(text);
        if (sqlite3_step(q) != SQLITE_DONE)
            rc = store_fail(s, "write the members", err);
        sqlite3_reset(q);
    }
    sqlite3_finalize(q);
    return rc ? rc : execute(s, move, "write the members", err);
}

/* A new study gets the specification, an old one must be extended by it. */
static int agree_spec(struct store *s, const struct space *space,
                      const char *dir, struct mup_error *err)
{
    char *old = NULL, *now = NULL, created[32];
    int rc = space_spec(space, &now, err);

    if (!rc)
        rc = long_property(s, "spec", &old, err);
    if (!rc && old[0]) {
        rc = space_spec_extends(old, now, err);
        if (rc)
            mup_error_prefix(err, "'%s' holds another study: ", dir);
    } else if (!rc) {
        snprintf(created, sizeof(created), "%lld", (long long)time(NULL));
        rc = store_set_property(s, "created", created, err);
        snprintf(created, sizeof(created), "%d", MUP_RULESET_VERSION);
        if (!rc)
            rc = store_set_property(s, "ruleset", created, err);
    }
    if (!rc && strcmp(old, now)) {
        rc = store_set_property(s, "spec", now, err);
        if (!rc)
            rc = write_members(s, space, err);
    }
    if (!rc)
        rc = store_set_property(s, "name", space->sweep.name, err);
    free(old);
    free(now);
    return rc;
}

/* A study reads one text under one name, however often it is continued. */
static int agree_corpora(struct store *s, const struct corpora *corpora,
                         const char *dir, struct mup_error *err)
{
    int rc = MUP_OK;

    for (int64_t i = 0; i < corpora->n && !rc; i++) {
        const struct corpus *c = &corpora->corpus[i];
        char before[sizeof(c->hash)];

        rc = store_property(s, c->name, before, sizeof(before), err);
        if (!rc && !before[0])
            rc = store_set_property(s, c->name, c->hash, err);
        else if (!rc && strcmp(before, c->hash))
            rc = mup_fail(err, MUP_USAGE,
                          "the text behind %s is not what the study in '%s' "
                          "was started with (hash %s, now %s); restore it or "
                          "choose another directory",
                          c->name, dir, before, c->hash);
    }
    return rc;
}

static int read_number(struct store *s, const char *sql, int *out,
                       struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc = prepare(s, sql, &q, err);

    if (rc)
        return rc;
    if (sqlite3_step(q) == SQLITE_ROW)
        *out = sqlite3_column_int(q, 0);
    else
        rc = store_fail(s, "read the version", err);
    sqlite3_finalize(q);
    return rc;
}

static int check_version(struct store *s, int *version, struct mup_error *err)
{
    int application = 0;
    int rc = read_number(s, "PRAGMA application_id", &application, err);

    if (!rc)
        rc = read_number(s, "PRAGMA user_version", version, err);
    if (rc)
        return rc;
    if (*version && application != STORE_APPLICATION)
        return mup_fail(err, MUP_CORRUPT, "'%s' is no study of this program",
                        s->path);
    if (*version > STORE_VERSION)
        return mup_fail(err, MUP_USAGE,
                        "'%s' has format %d, made by a newer program; this one "
                        "reads up to %d",
                        s->path, *version, STORE_VERSION);
    return MUP_OK;
}

static int create_tables(struct store *s, struct mup_error *err)
{
    char sql[80];
    int rc = execute(s, schema, "create the tables", err);

    snprintf(sql, sizeof(sql),
             "PRAGMA application_id=%d; PRAGMA user_version=%d",
             STORE_APPLICATION, STORE_VERSION);
    return rc ? rc : execute(s, sql, "create the tables", err);
}

static int open_writer(struct store *s, const struct space *space,
                       const struct corpora *corpora, const char *dir,
                       struct mup_error *err)
{
    int version = 0, rc;

    if (sqlite3_open_v2(s->path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK)
        return store_fail(s, "open the study", err);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, 30000);
    /* The shared memory of WAL does not reach the readers of a network file
     * system on other machines; the old journal does. */
    rc = execute(s,
                 lock_is_shared_disk(dir) ? "PRAGMA journal_mode=DELETE"
                                          : "PRAGMA journal_mode=WAL",
                 "set up the journal", err);
    if (!rc)
        rc = execute(s, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
                     "set up the journal", err);
    if (!rc)
        rc = store_begin(s, err);
    if (!rc)
        rc = check_version(s, &version, err);
    if (!rc && !version)
        rc = create_tables(s, err);
    if (!rc)
        rc = agree_spec(s, space, dir, err);
    if (!rc && corpora)
        rc = agree_corpora(s, corpora, dir, err);
    if (!rc)
        rc = store_commit(s, err);
    else
        store_rollback(s);
    return rc;
}

static int study_path(const char *dir, char *out, size_t bytes,
                      struct mup_error *err)
{
    if ((size_t)snprintf(out, bytes, "%s/study.db", dir) >= bytes)
        return mup_fail(err, MUP_USAGE, "path '%.80s...' is too long", dir);
    return MUP_OK;
}

static int lock_path(const char *dir, char *out, size_t bytes,
                     struct mup_error *err)
{
    if ((size_t)snprintf(out, bytes, "%s/study.lock", dir) >= bytes)
        return mup_fail(err, MUP_USAGE, "path '%.80s...' is too long", dir);
    return MUP_OK;
}

static int take_lock(struct store *s, const char *dir, struct mup_error *err)
{
    char path[1100], what[1200];
    struct mup_error why = { 0 };
    int rc = lock_path(dir, path, sizeof(path), err);

    snprintf(what, sizeof(what), "the sweep in '%s'", dir);
    if (rc)
        return rc;
    rc = lock_take(path, what, &s->lock, &why);
    if (rc == MUP_SYSTEM)
        return mup_fail(err, rc,
                        "%.800s; choose a directory that can be written",
                        why.text);
    return rc ? mup_fail(err, rc, "%s", why.text) : MUP_OK;
}

int store_has_driver(const char *dir, char *host, size_t bytes, long *pid)
{
    char path[1100];

    return !lock_path(dir, path, sizeof(path), NULL) &&
           lock_holder(path, host, bytes, pid);
}

int store_open(const char *dir, const struct space *space, struct store **out,
               struct mup_error *err)
{
    return store_open_corpora(dir, space, NULL, out, err);
}

int store_open_corpora(const char *dir, const struct space *space,
                       const struct corpora *corpora, struct store **out,
                       struct mup_error *err)
{
    struct store *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    s->lock.fd = -1;
    s->n_parameters = space->n_parameters;
    for (int p = 0; p < space->n_parameters; p++)
        memcpy(s->keys[p], space->parameter[p].key, SPACE_KEY_BYTES);
    rc = study_path(dir, s->path, sizeof(s->path), err);
    if (!rc)
        rc = file_make_dirs(dir, err);
    if (!rc)
        rc = take_lock(s, dir, err);
    if (!rc)
        rc = open_writer(s, space, corpora, dir, err);
    if (rc)
        store_close(s);
    else
        *out = s;
    return rc;
}

/* Where neither the WAL's shared memory exists nor may be made (a study on a
 * read-only disk), the file is read as it is. */
static int open_immutable(struct store *s, struct mup_error *err)
{
    char uri[3 * sizeof(s->path) + 32];
    size_t used = (size_t)snprintf(uri, sizeof(uri), "file:");

    for (const char *c = s->path; *c; c++)
        used += (size_t)snprintf(uri + used, sizeof(uri) - used,
                                 strchr("%?#", *c) ? "%%%02x" : "%c", *c);
    snprintf(uri + used, sizeof(uri) - used, "?immutable=1");
    sqlite3_close(s->db);
    if (sqlite3_open_v2(uri, &s->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                        NULL) != SQLITE_OK)
        return store_fail(s, "open the study", err);
    return MUP_OK;
}

int store_open_readonly(const char *dir, struct store **out,
                        struct mup_error *err)
{
    struct store *s = calloc(1, sizeof(*s));
    int version = 0, rc;

    if (!s)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    s->lock.fd = -1;
    rc = study_path(dir, s->path, sizeof(s->path), err);
    if (!rc && access(s->path, R_OK))
        rc = mup_fail(err, MUP_USAGE, "no sweep in '%s': cannot read '%s': %s",
                      dir, s->path, strerror(errno));
    if (!rc && sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READONLY, NULL) !=
                   SQLITE_OK)
        rc = store_fail(s, "open the study", err);
    if (!rc) {
        sqlite3_busy_timeout(s->db, 5000);
        if (check_version(s, &version, NULL) &&
            (sqlite3_errcode(s->db) & 0xff) == SQLITE_CANTOPEN)
            rc = open_immutable(s, err);
    }
    if (!rc)
        rc = check_version(s, &version, err);
    if (!rc && !version)
        rc = mup_fail(err, MUP_CORRUPT, "'%s' holds no study yet", s->path);
    if (rc)
        store_close(s);
    else
        *out = s;
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sqlite3_finalize(s->add_config);
    sqlite3_finalize(s->add_trial);
    sqlite3_close(s->db);
    lock_release(&s->lock);
    free(s);
}

/* {"train.lr":"0.01"}, parameters in order; caller frees. */
static char *point_json(const struct store *s, const struct space_point *point)
{
    json_t *object = json_object();
    char *text;

    for (int p = 0; object && p < s->n_parameters; p++)
        if (json_object_set_new(object, s->keys[p],
                                json_string(point->value[p]))) {
            json_decref(object);
            object = NULL;
        }
    text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

static int add_config(struct store *s, const struct trial *t,
                      struct mup_error *err)
{
    char *text;
    int rc = MUP_OK;

    if (!s->add_config)
        rc = prepare(s, "INSERT INTO config VALUES(?,?) ON CONFLICT DO NOTHING",
                     &s->add_config, err);
    if (rc)
        return rc;
    text = point_json(s, &t->point);
    if (!text)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    sqlite3_bind_int64(s->add_config, 1, t->config);
    sqlite3_bind_text(s->add_config, 2, text, -1, SQLITE_TRANSIENT);
    free(text);
    if (sqlite3_step(s->add_config) != SQLITE_DONE)
        rc = store_fail(s, "add a configuration", err);
    sqlite3_reset(s->add_config);
    return rc;
}

int store_add_trial(struct store *s, const struct trial *t,
                    struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc = add_config(s, t, err);

    if (!rc && !s->add_trial)
        rc = prepare(s,
                     "INSERT INTO trial(id,config,member,seed,state,twin,width,"
                     "parametrization,flops,changed_s)"
                     " VALUES(?,?,?,?,'WAITING',?,?,?,?,?)",
                     &s->add_trial, err);
    if (rc)
        return rc;
    q = s->add_trial;
    sqlite3_bind_int64(q, 1, t->id);
    sqlite3_bind_int64(q, 2, t->config);
    sqlite3_bind_int64(q, 3, t->member);
    sqlite3_bind_int64(q, 4, t->seed);
    sqlite3_bind_int64(q, 5, t->twin);
    sqlite3_bind_int64(q, 6, t->width);
    sqlite3_bind_int(q, 7, t->parametrization);
    sqlite3_bind_double(q, 8, isfinite(t->flops) ? t->flops : 0);
    sqlite3_bind_int64(q, 9, (int64_t)time(NULL));
    if (sqlite3_step(q) != SQLITE_DONE)
        rc = store_fail(s, "add a trial", err);
    sqlite3_reset(q);
    return rc;
}

int store_set_running(struct store *s, int64_t id, int64_t attempt,
                      struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc = prepare(s,
                     "UPDATE trial SET state='RUNNING', attempt=?, changed_s=?"
                     " WHERE id=? AND state='WAITING'",
                     &q, err);

    if (rc)
        return rc;
    sqlite3_bind_int64(q, 1, attempt);
    sqlite3_bind_int64(q, 2, (int64_t)time(NULL));
    sqlite3_bind_int64(q, 3, id);
    rc = finish(s, q, "start a trial", err);
    if (!rc && !sqlite3_changes(s->db))
        rc = mup_fail(err, MUP_CORRUPT, "trial %lld in '%s' is not waiting",
                      (long long)id, s->path);
    return rc;
}

int store_finish(struct store *s, const struct trial *t, struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc = prepare(
        s,
        "UPDATE trial SET state=?, value=?, loss=?, val_loss=?, val_bpb=?,"
        " steps=?, tokens=?, flops=?, wall_s=?, error=?, changed_s=?, deaths=?"
        " WHERE id=? AND attempt=? AND state IN ('WAITING','RUNNING')",
        &q, err);

    if (rc)
        return rc;
    assert(t->state >= TRIAL_DONE && t->state < N_STATES);
    sqlite3_bind_text(q, 1, trial_state_name(t->state), -1, SQLITE_STATIC);
    bind_real(q, 2, t->value);
    bind_real(q, 3, t->loss);
    bind_real(q, 4, t->val_loss);
    bind_real(q, 5, t->val_bpb);
    sqlite3_bind_int64(q, 6, t->steps);
    sqlite3_bind_int64(q, 7, t->tokens);
    sqlite3_bind_double(q, 8, isfinite(t->flops) ? t->flops : 0);
    sqlite3_bind_double(q, 9, isfinite(t->wall_s) ? t->wall_s : 0);
    sqlite3_bind_text(q, 10, t->error, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 11, (int64_t)time(NULL));
    sqlite3_bind_int64(q, 12, t->deaths);
    sqlite3_bind_int64(q, 13, t->id);
    sqlite3_bind_int64(q, 14, t->attempt);
    return finish(s, q, "record a result", err);
}

int store_requeue(struct store *s, int64_t id, int died, struct mup_error *err)
{
    sqlite3_stmt *q;
    int rc =
        prepare(s,
                "UPDATE trial SET deaths=CASE state WHEN 'FAILED' THEN 0"
                " ELSE deaths+? END, state='WAITING', error='', changed_s=?"
                " WHERE id=? AND state IN ('RUNNING','FAILED')",
                &q, err);

    if (rc)
        return rc;
    sqlite3_bind_int(q, 1, died ? 1 : 0);
    sqlite3_bind_int64(q, 2, (int64_t)time(NULL));
    sqlite3_bind_int64(q, 3, id);
    return finish(s, q, "requeue a trial", err);
}

/* Parameter values from the config's JSON, in the order they were written. */
static int read_point(const char *text, struct space_point *out)
{
    json_t *object = text ? json_loads(text, 0, NULL) : NULL, *value;
    const char *key;
    int p = 0;

    memset(out, 0, sizeof(*out));
    if (!json_is_object(object)) {
        json_decref(object);
        return 0;
    }
    json_object_foreach(object, key, value)
    {
        const char *v = json_string_value(value);

        if (!v || p == SPACE_MAX_PARAMETERS || strlen(v) >= SPACE_TEXT_BYTES) {
            p = -1;
            break;
        }
        memcpy(out->value[p++], v, strlen(v) + 1);
    }
    json_decref(object);
    return p >= 0;
}

static int read_trial(sqlite3_stmt *q, struct trial *t)
{
    const char *params = (const char *)sqlite3_column_text(q, 19);

    memset(t, 0, sizeof(*t));
    t->id = sqlite3_column_int64(q, 0);
    t->config = sqlite3_column_int64(q, 1);
    t->member = sqlite3_column_int64(q, 2);
    t->seed = sqlite3_column_int64(q, 3);
    t->state = parse_state((const char *)sqlite3_column_text(q, 4));
    t->attempt = sqlite3_column_int64(q, 5);
    t->deaths = sqlite3_column_int64(q, 6);
    t->twin = sqlite3_column_int64(q, 7);
    t->width = sqlite3_column_int64(q, 8);
    t->parametrization = sqlite3_column_int(q, 9);
    t->value = column_real(q, 10);
    t->loss = column_real(q, 11);
    t->val_loss = column_real(q, 12);
    t->val_bpb = column_real(q, 13);
    t->steps = sqlite3_column_int64(q, 14);
    t->tokens = sqlite3_column_int64(q, 15);
    t->flops = sqlite3_column_double(q, 16);
    t->wall_s = sqlite3_column_double(q, 17);
    column_copy(q, 18, t->error, sizeof(t->error));
    return t->state >= 0 && t->id > 0 && t->config >= 0 && t->member >= 0 &&
           read_point(params, &t->point);
}

int store_trials(struct store *s, struct trial **out, int64_t *n,
                 struct mup_error *err)
{
    static const char sql[] =
        "SELECT t.id, t.config, t.member, t.seed, t.state, t.attempt, t.deaths,"
        " t.twin, t.width, t.parametrization, t.value, t.loss, t.val_loss,"
        " t.val_bpb, t.steps, t.tokens, t.flops, t.wall_s, t.error, c.params"
        " FROM trial t JOIN config c ON c.idx=t.config ORDER BY t.id";
    struct trial *trials = NULL, *grown;
    int64_t used = 0, room = 0;
    sqlite3_stmt *q;
    int step = SQLITE_ROW, rc = prepare(s, sql, &q, err);

    while (!rc && (step = sqlite3_step(q)) == SQLITE_ROW) {
        if (used == room) {
            room = room ? 2 * room : 64;
            grown = realloc(trials, (size_t)room * sizeof(*trials));
            if (!grown) {
                rc = mup_fail(err, MUP_SYSTEM, "out of memory");
                break;
            }
            trials = grown;
        }
        if (!read_trial(q, &trials[used++]))
            rc = mup_fail(err, MUP_CORRUPT, "trial %lld in '%s' is damaged",
                          (long long)sqlite3_column_int64(q, 0), s->path);
    }
    if (!rc && step != SQLITE_DONE)
        rc = store_fail(s, "read the trials", err);
    sqlite3_finalize(q);
    if (rc) {
        free(trials);
        return rc;
    }
    *out = trials;
    *n = used;
    return MUP_OK;
}
