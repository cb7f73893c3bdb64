#include "launcher/node_filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Texts of names one after the other, with commas. */
static void add_name(char *text, size_t bytes, const char *name)
{
    size_t at = strlen(text);

    (void)snprintf(text + at, bytes - at, "%s%s", at ? "," : "", name);
}

static int copy(const char *text, char **out, struct mup_error *err)
{
    *out = strdup(text);
    return *out ? MUP_OK : mup_fail(err, MUP_SYSTEM, "out of memory");
}

/* slurm.exclude, in the user's words where every name is known. */
static int filter_own(const char *exclude, const struct hostlist *known,
                      struct node_filter *f, struct mup_error *err)
{
    struct hostlist own = { 0 };
    size_t bytes;
    int rc = hostlist_parse(exclude, &own, err);

    if (rc != MUP_OK) {
        mup_error_prefix(err, "slurm.exclude: ");
        return rc;
    }
    bytes = (size_t)own.n * HOSTLIST_NAME_BYTES + 1;
    f->own = calloc(bytes, 1);
    f->unknown = calloc(bytes, 1);
    if (!f->own || !f->unknown)
        rc = mup_fail(err, MUP_SYSTEM, "out of memory for %d nodes", own.n);
    for (int i = 0; i < own.n && rc == MUP_OK; i++)
        if (!known || hostlist_find(known, own.name[i]) >= 0)
            add_name(f->own, bytes, own.name[i]);
        else
            add_name(f->unknown, bytes, own.name[i]);
    hostlist_clear(&own);
    if (rc == MUP_OK && !*f->unknown) {
        free(f->own);
        rc = copy(exclude, &f->own, err);
    }
    return rc;
}

static int filter_ejected(const struct run_config *config,
                          const struct hostlist *known, struct node_filter *f,
                          struct mup_error *err)
{
    char path[1100];
    int rc =
        ejected_path(config->recover.exclude_file, path, sizeof(path), err);

    if (rc == MUP_OK)
        rc = ejected_read(path, (int64_t)time(NULL), &f->ejected, err);
    if (rc == MUP_OK)
        rc = ejected_list(&f->ejected, known, &f->list, err);
    return rc;
}

int node_filter_make(const struct run_config *config,
                     const struct cluster_node *node, int n,
                     struct node_filter *out, struct mup_error *err)
{
    struct hostlist known = { 0 };
    struct node_filter f = { 0 };
    int rc = MUP_OK;

    if (node) {
        known.name = calloc((size_t)n + 1, sizeof(*known.name));
        if (!known.name)
            return mup_fail(err, MUP_SYSTEM, "out of memory for %d nodes", n);
        for (; known.n < n; known.n++)
            memcpy(known.name[known.n], node[known.n].name,
                   sizeof(*known.name));
    }
    rc = filter_own(config->slurm.exclude, node ? &known : NULL, &f, err);
    if (rc == MUP_OK)
        rc = filter_ejected(config, node ? &known : NULL, &f, err);
    free(known.name);
    if (rc == MUP_OK)
        *out = f;
    else
        node_filter_clear(&f);
    return rc;
}

void node_filter_clear(struct node_filter *f)
{
    ejected_clear(&f->ejected);
    free(f->own);
    free(f->list);
    free(f->unknown);
    *f = (struct node_filter){ 0 };
}

int node_filter_join(const struct node_filter *f, char **out,
                     struct mup_error *err)
{
    size_t bytes = strlen(f->own) + strlen(f->list) + 2;

    *out = calloc(bytes, 1);
    if (!*out)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    (void)snprintf(*out, bytes, "%s%s%s", f->own,
                   *f->own && *f->list ? "," : "", f->list);
    return MUP_OK;
}
