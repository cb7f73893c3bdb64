#include "launcher/ejected.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/journal.h"
#include "launcher/paths.h"
#include "model/file.h"

/* Names go into lists for SLURM, where "," and "[" mean something. */
static int is_name(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n < HOSTLIST_NAME_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-") == n;
}

/* ---- the file -------------------------------------------------------------
 */

static int default_path(char *out, size_t bytes, struct mup_error *err)
{
    static const char name[] = "mutransfer/ejected.jsonl";
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;

    /* "If a relative path is encountered in any of these environment variables
     * it should be ignored": XDG Base Directory Specification. */
    if (state && state[0] == '/')
        n = snprintf(out, bytes, "%s/%s", state, name);
    else if (home && home[0] == '/')
        n = snprintf(out, bytes, "%s/.local/state/%s", home, name);
    else
        return mup_fail(err, MUP_SYSTEM,
                        "no place for the list of ejected nodes: HOME is not "
                        "set; set recover.exclude_file to a file");
    if (n < 0 || (size_t)n >= bytes)
        return mup_fail(err, MUP_USAGE,
                        "the path of the list of ejected nodes is too long; "
                        "set recover.exclude_file to a shorter one");
    return MUP_OK;
}

int ejected_path(const char *configured, char *out, size_t bytes,
                 struct mup_error *err)
{
    char path[1100], *slash;
    int rc = MUP_OK;

    if (strlen(configured) >= sizeof(path) || strlen(configured) >= bytes)
        return mup_fail(err, MUP_USAGE,
                        "recover.exclude_file: '%.60s...' is too long",
                        configured);
    snprintf(path, sizeof(path), "%s", configured);
    if (!*configured)
        rc = default_path(path, sizeof(path), err);
    if (rc == MUP_OK && strlen(path) >= bytes)
        rc = mup_fail(err, MUP_USAGE, "the path '%.60s...' is too long", path);
    if (rc != MUP_OK)
        return rc;
    snprintf(out, bytes, "%s", path);
    slash = strrchr(path, '/');
    if (!slash || slash == path)
        return MUP_OK;
    *slash = '\0';
    return file_make_dirs(path, err);
}

int ejected_add(const char *path, const struct ejected_node *node,
                struct mup_error *err)
{
    if (!is_name(node->name))
        return mup_fail(err, MUP_USAGE, "'%.64s' is no name of a node",
                        node->name);
    return journal_append(
        path,
        json_pack("{s:s, s:s, s:o, s:s, s:I, s:I}", "node", node->name, "class",
                  node->class, "reason", journal_string(node->reason), "run",
                  node->run, "time", (json_int_t)node->time_unix_s, "until",
                  (json_int_t)node->until_unix_s),
        err);
}

/* ---- those that count -----------------------------------------------------
 */

/* Place of a node, or e->n. */
static int find(const struct ejected *e, const char *name)
{
    int i = 0;

    while (i < e->n && strcmp(e->node[i].name, name) != 0)
        i++;
    return i;
}

/* An entry of the file; e->node has room for it. */
static void note_entry(struct ejected *e, const json_t *o, int64_t now_unix_s)
{
    const char *name = journal_text(o, "node");
    const int64_t until = journal_int(o, "until");
    int i;

    if (!is_name(name) || !json_is_number(json_object_get(o, "until")))
        return;
    i = find(e, name);
    if (until == 0 && i < e->n) {
        memmove(e->node + i, e->node + i + 1,
                (size_t)(e->n - i - 1) * sizeof(*e->node));
        e->n--;
    }
    /* An expired one ends no earlier one that lasts longer. */
    if (until <= now_unix_s)
        return;
    e->node[i] = (struct ejected_node){ .time_unix_s = journal_int(o, "time"),
                                        .until_unix_s = until };
    snprintf(e->node[i].name, sizeof(e->node[i].name), "%s", name);
    snprintf(e->node[i].class, sizeof(e->node[i].class), "%s",
             journal_text(o, "class"));
    snprintf(e->node[i].reason, sizeof(e->node[i].reason), "%s",
             journal_text(o, "reason"));
    snprintf(e->node[i].run, sizeof(e->node[i].run), "%s",
             journal_text(o, "run"));
    e->n += i == e->n;
}

int ejected_read(const char *path, int64_t now_unix_s, struct ejected *out,
                 struct mup_error *err)
{
    struct ejected e = { 0 };
    json_t *list, *o;
    size_t i;
    int rc = journal_read(path, &list, err);

    if (rc != MUP_OK)
        return rc;
    e.node = calloc(json_array_size(list) + 1, sizeof(*e.node));
    if (!e.node)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for '%s'", path);
    json_array_foreach(list, i, o)
    {
        if (rc == MUP_OK)
            note_entry(&e, o, now_unix_s);
    }
    json_decref(list);
    if (rc == MUP_OK)
        *out = e;
    return rc;
}

void ejected_clear(struct ejected *e)
{
    free(e->node);
    *e = (struct ejected){ 0 };
}

int ejected_list(const struct ejected *e, const struct hostlist *known,
                 char **out, struct mup_error *err)
{
    size_t room = (size_t)e->n * HOSTLIST_NAME_BYTES + 1, used = 0;
    char *text = malloc(room);

    if (!text)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d nodes", e->n);
    text[0] = '\0';
    for (int i = 0; i < e->n; i++) {
        if (known && hostlist_find(known, e->node[i].name) < 0)
            continue;
        used += (size_t)snprintf(text + used, room - used, "%s%s",
                                 used ? "," : "", e->node[i].name);
    }
    *out = text;
    return MUP_OK;
}
