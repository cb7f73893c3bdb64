/* Reading a sweep file.  space_finish.c checks the whole of it,
 * space_resolve.c makes run configs of it. */
#include "sweep/space.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/space_values.h"

#define SPACE_MAX_VALUES  4096
#define SPACE_MAX_MEMBERS 4096
#define SPACE_MAX_TRIALS  1000000

#define AT(member) offsetof(struct sweep_config, member)

static const struct field sweep_fields[] = {
    { "name", FIELD_TEXT, ROLE_RUN, AT(name), "", "",
      "name of the study; empty: the file's name" },
    { "base", FIELD_TEXT, ROLE_RUN, AT(base), "", "",
      "run config that every trial starts from" },
    { "method", FIELD_CHOICE, ROLE_RUN, AT(method), "grid", "grid|random|sobol",
      "how configurations are chosen" },
    { "seed", FIELD_INT, ROLE_RUN, AT(seed), "1", "[0,9007199254740992]",
      "seed of the choice" },
    { "run_cap", FIELD_INT, ROLE_RUN, AT(run_cap), "0", "[0,1000000]",
      "configurations to try, 0 = the whole grid" },
    { "metric", FIELD_CHOICE, ROLE_RUN, AT(metric), "val_loss",
      "val_loss|val_bpb|loss", "what is minimised" },
    { "workers", FIELD_INT, ROLE_RUN, AT(workers), "0", "[0,1024]",
      "worker processes, 0 = one per core" },
    { "max_attempts", FIELD_INT, ROLE_RUN, AT(max_attempts), "3", "[1,100]",
      "times that a trial is started before its worker's death is final" },
    { "silence_s", FIELD_REAL, ROLE_RUN, AT(silence_s), "30", "[2,86400]",
      "seconds without a sign of life after which a worker counts as dead" },
    { 0 },
};

static const struct section sweep_sections[] = {
    { "sweep", sweep_fields, 0, "how a sweep is run" },
    { 0 },
};

const struct schema sweep_schema = {
    .sections = sweep_sections,
    .bytes = sizeof(struct sweep_config),
    .set_offset = offsetof(struct sweep_config, set),
    .n_set = sizeof(((struct sweep_config *)0)->set),
};

static void remove_parameter(struct space *s, const char *key)
{
    for (int i = 0; i < s->n_parameters; i++)
        if (!strcmp(s->parameter[i].key, key)) {
            free(s->parameter[i].values);
            memmove(&s->parameter[i], &s->parameter[i + 1],
                    (size_t)(s->n_parameters - i - 1) *
                        sizeof(s->parameter[0]));
            s->n_parameters--;
            return;
        }
}

/* The parameter of key, made where it is new. */
static int need_parameter(struct space *s, const char *key,
                          struct space_parameter **out, struct mup_error *err)
{
    struct space_parameter *p;

    for (int i = 0; i < s->n_parameters; i++)
        if (!strcmp(s->parameter[i].key, key)) {
            *out = &s->parameter[i];
            return MUP_OK;
        }
    if (s->n_parameters == SPACE_MAX_PARAMETERS)
        return mup_fail(err, MUP_USAGE, "more than %d parameters",
                        SPACE_MAX_PARAMETERS);
    if (strlen(key) >= SPACE_KEY_BYTES)
        return mup_fail(err, MUP_USAGE, "key '%s' is too long", key);
    p = &s->parameter[s->n_parameters++];
    memset(p, 0, sizeof(*p));
    memcpy(p->key, key, strlen(key) + 1);
    p->distribution = -1;
    p->min = p->max = NAN;
    *out = p;
    return MUP_OK;
}

static int add_fixed(struct space *s, const char *key, const char *text,
                     struct mup_error *err)
{
    size_t bytes = strlen(key) + strlen(text) + 2;
    struct run_config config;
    char **grown, *copy;
    int rc;

    memset(&config, 0, sizeof(config));
    config_defaults(&run_schema, &config);
    rc = config_set(&run_schema, &config, key, text, err);
    if (rc)
        return rc;
    grown = realloc(s->fixed, (size_t)(s->fixed_count + 1) * sizeof(*grown));
    if (grown)
        s->fixed = grown;
    copy = malloc(bytes);
    if (!grown || !copy) {
        free(copy);
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    }
    snprintf(copy, bytes, "%s=%s", key, text);
    s->fixed[s->fixed_count++] = copy;
    return MUP_OK;
}

static int parse_distribution(const char *text, int *out, struct mup_error *err)
{
    static const struct {
        const char *name;
        int distribution;
    } names[] = {
        { "values", SPACE_VALUES },
        { "categorical", SPACE_VALUES },
        { "constant", SPACE_VALUES },
        { "uniform", SPACE_UNIFORM },
        { "int_uniform", SPACE_INT_UNIFORM },
        { "log_uniform_values", SPACE_LOG_UNIFORM },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(text, names[i].name)) {
            *out = names[i].distribution;
            return MUP_OK;
        }
    if (!strcmp(text, "log_uniform"))
        return mup_fail(err, MUP_USAGE,
                        "distribution 'log_uniform' takes exponents in W&B "
                        "sweeps and is easily misread; write "
                        "'log_uniform_values' with the values themselves");
    return mup_fail(err, MUP_USAGE,
                    "unknown distribution '%s'; known are uniform, "
                    "int_uniform, log_uniform_values and categorical",
                    text);
}

/* One scalar attribute of a parameter: min, max, step, distribution, value. */
static int set_attribute(struct space *s, const char *key, const char *name,
                         const char *text, struct mup_error *err)
{
    struct space_parameter *p;
    int rc;

    if (!strcmp(name, "value")) {
        remove_parameter(s, key);
        return add_fixed(s, key, text, err);
    }
    rc = need_parameter(s, key, &p, err);
    if (rc)
        return rc;
    if (!strcmp(name, "distribution"))
        return parse_distribution(text, &p->distribution, err);
    if (!strcmp(name, "min"))
        return parse_real(text, &p->min, err);
    if (!strcmp(name, "max"))
        return parse_real(text, &p->max, err);
    if (!strcmp(name, "step")) {
        rc = parse_real(text, &p->step, err);
        if (!rc && p->step <= 0)
            rc = mup_fail(err, MUP_USAGE, "'step' of '%s' is not above 0", key);
        return rc;
    }
    return mup_fail(err, MUP_USAGE,
                    "unknown attribute '%s' of parameter '%s'; known are "
                    "value, values, min, max, step and distribution",
                    name, key);
}

static int read_values(struct space *s, const struct yaml_doc *doc,
                       const struct yaml_node *node, const char *key,
                       struct mup_error *err)
{
    struct space_texts list = { 0 };
    struct space_parameter *p;
    int rc = space_read_list(doc, node, key, &list, err);

    if (!rc) {
        rc = need_parameter(s, key, &p, err);
        if (!rc)
            space_set_values(p, &list);
        rc = space_at(doc, node, rc, err);
    }
    free(list.text);
    return rc;
}

static int read_parameter(struct space *s, const struct yaml_doc *doc,
                          const struct yaml_node *node, struct mup_error *err)
{
    int rc = space_at(doc, node, space_check_key(node->key, err), err);

    if (rc)
        return rc;
    if (node->kind == YAML_SCALAR)
        return space_at(doc, node, add_fixed(s, node->key, node->text, err),
                        err);
    if (node->kind == YAML_LIST)
        return read_values(s, doc, node, node->key, err);
    if (!node->child)
        return yaml_fail(doc, node, err, "parameter '%s' is empty", node->key);
    for (const struct yaml_node *a = node->child; a && !rc; a = a->next) {
        if (!strcmp(a->key, "values"))
            rc = read_values(s, doc, a, node->key, err);
        else if (a->kind != YAML_SCALAR)
            rc = yaml_fail(doc, a, err, "'%s' of parameter '%s' is no scalar",
                           a->key, node->key);
        else
            rc = space_at(
                doc, a, set_attribute(s, node->key, a->key, a->text, err), err);
    }
    return rc;
}

static int set_group(struct space *s, const char *key, struct space_texts *list,
                     struct mup_error *err)
{
    struct space_group *g = NULL;

    for (int i = 0; i < s->n_groups; i++)
        if (!strcmp(s->group[i].key, key))
            g = &s->group[i];
    if (!g && s->n_groups == SPACE_MAX_GROUPS)
        return mup_fail(err, MUP_USAGE, "more than %d groups",
                        SPACE_MAX_GROUPS);
    if (strlen(key) >= SPACE_KEY_BYTES)
        return mup_fail(err, MUP_USAGE, "key '%s' is too long", key);
    if (!g) {
        g = &s->group[s->n_groups++];
        memcpy(g->key, key, strlen(key) + 1);
    }
    free(g->values);
    g->values = list->text;
    g->n_values = list->n;
    *list = (struct space_texts){ 0 };
    return MUP_OK;
}

static int read_group(struct space *s, const struct yaml_doc *doc,
                      const struct yaml_node *node, struct mup_error *err)
{
    struct space_texts list = { 0 };
    int rc = space_at(doc, node, space_check_key(node->key, err), err);

    if (!rc)
        rc = space_read_list(doc, node, node->key, &list, err);
    if (!rc)
        rc = space_at(doc, node, set_group(s, node->key, &list, err), err);
    free(list.text);
    return rc;
}

/* seeds are values of train.seed: same checks, but kept as numbers. */
static int set_seeds(struct space *s, const struct space_texts *list,
                     struct mup_error *err)
{
    int64_t *seeds = malloc((size_t)list->n * sizeof(*seeds));
    int rc = MUP_OK;

    if (!seeds)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    for (int i = 0; i < list->n && !rc; i++)
        rc = parse_int(list->text[i], &seeds[i], err);
    if (rc) {
        free(seeds);
        return rc;
    }
    free(s->seeds);
    s->seeds = seeds;
    s->n_seeds = list->n;
    return MUP_OK;
}

static int read_seeds(struct space *s, const struct yaml_doc *doc,
                      const struct yaml_node *node, struct mup_error *err)
{
    struct space_texts list = { 0 };
    int rc;

    if (node->kind != YAML_LIST)
        return yaml_fail(doc, node, err,
                         "'seeds' needs a list such as [1, 2, 3]");
    rc = space_read_list(doc, node, "train.seed", &list, err);
    if (!rc)
        rc = space_at(doc, node, set_seeds(s, &list, err), err);
    free(list.text);
    return rc;
}

/* metric: val_loss, or W&B's {name: val_loss, goal: minimize}. */
static int read_metric(struct space *s, const struct yaml_doc *doc,
                       const struct yaml_node *node, struct mup_error *err)
{
    const struct yaml_node *name = node;

    if (node->kind == YAML_MAP) {
        for (const struct yaml_node *c = node->child; c; c = c->next)
            if (c->kind != YAML_SCALAR ||
                (strcmp(c->key, "name") && strcmp(c->key, "goal")))
                return yaml_fail(doc, c, err,
                                 "'metric' knows only name and goal");
            else if (!strcmp(c->key, "goal") && strcmp(c->text, "minimize"))
                return yaml_fail(doc, c, err,
                                 "goal '%s': every metric here is a loss; the "
                                 "goal is minimize",
                                 c->text);
        name = yaml_get(node, "name");
        if (!name)
            return yaml_fail(doc, node, err, "'metric' has no name");
    }
    if (name->kind != YAML_SCALAR)
        return yaml_fail(doc, node, err, "'metric' is no name");
    return space_at(
        doc, name,
        config_set(&sweep_schema, &s->sweep, "sweep.metric", name->text, err),
        err);
}

typedef int read_entry(struct space *s, const struct yaml_doc *doc,
                       const struct yaml_node *node, struct mup_error *err);

static int read_map(struct space *s, const struct yaml_doc *doc,
                    const struct yaml_node *node, read_entry *entry,
                    struct mup_error *err)
{
    int rc = MUP_OK;

    if (node->kind != YAML_MAP)
        return yaml_fail(doc, node, err, "'%s' is no map", node->key);
    if (!node->child)
        return yaml_fail(doc, node, err,
                         "'%s' is empty; name a key or remove the line",
                         node->key);
    for (const struct yaml_node *c = node->child; c && !rc; c = c->next)
        rc = entry(s, doc, c, err);
    return rc;
}

/* Keys of W&B sweep files that change nothing here. */
static int is_ignored(const char *key)
{
    return !strcmp(key, "project") || !strcmp(key, "entity") ||
           !strcmp(key, "description") || !strcmp(key, "version");
}

static int read_root_key(struct space *s, const struct yaml_doc *doc,
                         const struct yaml_node *node, struct mup_error *err)
{
    const struct section *section;
    char key[128];
    char near[128];

    if (!strcmp(node->key, "parameters"))
        return read_map(s, doc, node, read_parameter, err);
    if (!strcmp(node->key, "groups"))
        return read_map(s, doc, node, read_group, err);
    if (!strcmp(node->key, "seeds"))
        return read_seeds(s, doc, node, err);
    if (!strcmp(node->key, "metric"))
        return read_metric(s, doc, node, err);
    if (!strcmp(node->key, "enqueue") || is_ignored(node->key))
        return MUP_OK; /* enqueue: once the parameters are known */
    if (!strcmp(node->key, "program") || !strcmp(node->key, "command"))
        return yaml_fail(doc, node, err,
                         "'%s': the trainer is built in; remove the line",
                         node->key);
    if (!strcmp(node->key, "early_terminate"))
        return yaml_fail(doc, node, err,
                         "'early_terminate' is not available: every trial "
                         "runs to its end; remove it");
    if ((size_t)snprintf(key, sizeof(key), "sweep.%s", node->key) >=
            sizeof(key) ||
        !config_find(&sweep_schema, key, &section)) {
        const char *name =
            config_nearest(&sweep_schema, key, near, sizeof(near));

        return yaml_fail(doc, node, err, "unknown key '%.80s'%s%s%s", node->key,
                         name ? "; did you mean '" : "",
                         name ? name + strlen("sweep.") : "", name ? "'?" : "");
    }
    if (node->kind != YAML_SCALAR)
        return yaml_fail(doc, node, err, "'%s' is no scalar", node->key);
    return space_at(doc, node,
                    config_set(&sweep_schema, &s->sweep, key, node->text, err),
                    err);
}

/* key: "parameters.train.lr.min".  Everything between is the run key. */
static int override_parameter(struct space *s, const char *key,
                              const char *text, struct mup_error *err)
{
    const char *inner = key + strlen("parameters.");
    const char *dot = strrchr(inner, '.');
    struct space_parameter *p;
    struct space_texts list = { 0 };
    char name[SPACE_KEY_BYTES];
    int rc;

    if (!dot || dot == inner || (size_t)(dot - inner) >= sizeof(name))
        return mup_fail(err, MUP_USAGE,
                        "write 'parameters.KEY.min=...' (or max, step, "
                        "values, value, distribution)");
    memcpy(name, inner, (size_t)(dot - inner));
    name[dot - inner] = '\0';
    rc = space_check_key(name, err);
    if (rc)
        return rc;
    if (strcmp(dot + 1, "values"))
        return set_attribute(s, name, dot + 1, text, err);
    rc = space_split_list(text, name, &list, err);
    if (!rc)
        rc = need_parameter(s, name, &p, err);
    if (!rc) {
        space_set_values(p, &list);
        p->distribution = SPACE_VALUES;
        p->min = p->max = NAN; /* the list replaces a range */
        p->step = 0;
    }
    free(list.text);
    return rc;
}

static int override_list(struct space *s, const char *key, const char *text,
                         struct mup_error *err)
{
    struct space_texts list = { 0 };
    int seeds = !strcmp(key, "seeds");
    const char *name = seeds ? "train.seed" : strchr(key, '.') + 1;
    int rc = seeds ? MUP_OK : space_check_key(name, err);

    if (!rc)
        rc = space_split_list(text, name, &list, err);
    if (!rc)
        rc = seeds ? set_seeds(s, &list, err) : set_group(s, name, &list, err);
    free(list.text);
    return rc;
}

static int apply_override(struct space *s, const char *override,
                          struct mup_error *err)
{
    char key[CONFIG_KEY_BYTES];
    const char *value;
    int rc = config_split(override, key, &value, err);

    if (rc)
        return rc;
    if (!strcmp(key, "sweep.seeds"))
        return override_list(s, "seeds", value, err);
    if (!strncmp(key, "sweep.", 6))
        return config_set(&sweep_schema, &s->sweep, key, value, err);
    if (!strncmp(key, "parameters.", 11))
        return override_parameter(s, key, value, err);
    if (!strncmp(key, "groups.", 7) || !strcmp(key, "seeds"))
        return override_list(s, key, value, err);
    for (int i = 0; i < s->n_parameters; i++)
        if (!strcmp(s->parameter[i].key, key))
            return mup_fail(err, MUP_USAGE,
                            "'%s' is a parameter of this sweep; write "
                            "'parameters.%s.value%s=%s'",
                            key, key, strchr(value, ',') ? "s" : "", value);
    for (int i = 0; i < s->n_groups; i++)
        if (!strcmp(s->group[i].key, key))
            return mup_fail(err, MUP_USAGE,
                            "'%s' is a group of this sweep; write "
                            "'groups.%s=%s'",
                            key, key, value);
    return add_fixed(s, key, value, err);
}

static void default_name(struct space *s)
{
    const char *slash = strrchr(s->path, '/');
    const char *name = slash ? slash + 1 : s->path;
    const char *dot = strrchr(name, '.');
    size_t n = dot && dot != name ? (size_t)(dot - name) : strlen(name);

    if (!s->sweep.name[0])
        snprintf(s->sweep.name, sizeof(s->sweep.name), "%.*s", (int)n, name);
}

static int read_all(struct space *s, const struct yaml_doc *doc,
                    char *const *overrides, int n_overrides,
                    struct mup_error *err)
{
    char base[FIELD_TEXT_BYTES];
    int rc = MUP_OK;

    if (!doc->root || doc->root->kind != YAML_MAP)
        return mup_fail(err, MUP_USAGE, "'%s' is no map of keys", doc->path);
    for (const struct yaml_node *c = doc->root->child; c && !rc; c = c->next)
        rc = read_root_key(s, doc, c, err);
    memcpy(base, s->sweep.base, sizeof(base));
    for (int i = 0; i < n_overrides && !rc; i++) {
        rc = apply_override(s, overrides[i], err);
        if (rc)
            mup_error_prefix(err, "--%.100s: ", overrides[i]);
    }
    if (rc)
        return rc;
    default_name(s);
    return space_finish(s, doc, strcmp(base, s->sweep.base) != 0, err);
}

static int open_doc(const char *path, const struct yaml_doc *doc,
                    char *const *overrides, int n_overrides, struct space *out,
                    struct mup_error *err)
{
    struct space s;
    int rc;

    memset(&s, 0, sizeof(s));
    if (strlen(path) >= sizeof(s.path))
        return mup_fail(err, MUP_USAGE, "path '%.80s...' is too long", path);
    memcpy(s.path, path, strlen(path) + 1);
    config_defaults(&sweep_schema, &s.sweep);
    rc = read_all(&s, doc, overrides, n_overrides, err);
    if (rc)
        space_close(&s);
    else
        *out = s;
    return rc;
}

int space_open(const char *path, char *const *overrides, int n_overrides,
               struct space *out, struct mup_error *err)
{
    struct yaml_doc doc;
    int rc = yaml_open(path, &doc, err);

    if (rc)
        return rc;
    rc = open_doc(path, &doc, overrides, n_overrides, out, err);
    yaml_close(&doc);
    return rc;
}

int space_open_text(const char *text, size_t bytes, const char *path,
                    struct space *out, struct mup_error *err)
{
    struct yaml_doc doc;
    int rc = yaml_open_text(text, bytes, path, &doc, err);

    if (rc)
        return rc;
    rc = open_doc(path, &doc, NULL, 0, out, err);
    yaml_close(&doc);
    return rc;
}

void space_close(struct space *space)
{
    for (int i = 0; i < space->n_parameters; i++)
        free(space->parameter[i].values);
    for (int i = 0; i < space->n_groups; i++)
        free(space->group[i].values);
    for (int i = 0; i < space->fixed_count; i++)
        free(space->fixed[i]);
    free(space->fixed);
    free(space->seeds);
    free(space->enqueued);
    memset(space, 0, sizeof(*space));
}
