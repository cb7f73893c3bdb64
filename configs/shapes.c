#include "configs/shapes.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/field.h"

#define MAX_NAME     512
#define ORIGIN_BYTES 256

static int grows(struct mup_dim dim)
{
    return dim.base != 0;
}

static int count_growing(const struct tensor *t)
{
    int n = 0;

    for (int i = 0; i < t->rank; i++)
        n += grows(t->dim[i]);
    return n;
}

/* --- reading: sentences here lack the tensor's name, which take_tensor adds */

static int check_name(const char *name, struct mup_error *err)
{
    size_t len = strlen(name);

    if (!len)
        return mup_fail(err, MUP_USAGE, "its name is empty");
    if (len > MAX_NAME)
        return mup_fail(err, MUP_USAGE,
                        "its name has %zu bytes, %d are the most", len,
                        MAX_NAME);
    for (; *name; name++)
        if ((unsigned char)*name < 32 || *name == 127)
            return mup_fail(err, MUP_USAGE,
                            "its name holds a control character");
    return MUP_OK;
}

/* A whole number of at least 1. */
static int take_size(const json_t *value, const char *what, size_t i,
                     int64_t *out, struct mup_error *err)
{
    /* as reals, lest a number too large be an error without a tensor */
    double real = json_number_value(value);
    int64_t size;

    if (real >= 0x1p63)
        return mup_fail(err, MUP_USAGE,
                        "dimension %zu of its %s is %g, more than 2^63", i,
                        what, real);
    if (!json_is_number(value) || real < -0x1p63 || real != floor(real))
        return mup_fail(err, MUP_USAGE,
                        "dimension %zu of its %s is no whole number", i, what);
    size = (int64_t)real;
    if (size < 1)
        return mup_fail(err, MUP_USAGE,
                        "dimension %zu of its %s is %lld, must be at least 1",
                        i, what, (long long)size);
    *out = size;
    return MUP_OK;
}

static int take_shape(const json_t *shape, struct tensor *t,
                      struct mup_error *err)
{
    int64_t elements = 1;

    if (!shape)
        return mup_fail(err, MUP_USAGE,
                        "no \"shape\"; give a list such as [1024, 128]");
    if (!json_is_array(shape))
        return mup_fail(err, MUP_USAGE,
                        "\"shape\" is no list of whole numbers");
    if (json_array_size(shape) > SHAPES_MAX_RANK)
        return mup_fail(err, MUP_USAGE,
                        "it has rank %zu, ranks 0 to 3 are known; give a "
                        "convolution as [fan_out, fan_in], without the "
                        "dimensions that do not grow",
                        json_array_size(shape));
    t->rank = (int)json_array_size(shape);
    for (int i = 0; i < t->rank; i++) {
        int rc = take_size(json_array_get(shape, (size_t)i), "shape", (size_t)i,
                           &t->dim[i].size, err);

        if (rc != MUP_OK)
            return rc;
        if (t->dim[i].size > INT64_MAX / elements)
            return mup_fail(err, MUP_USAGE,
                            "its shape has more than 2^63 - 1 elements");
        elements *= t->dim[i].size;
    }
    return MUP_OK;
}

static int check_base_rank(const struct tensor *t, size_t rank,
                           struct mup_error *err)
{
    if (rank == (size_t)t->rank)
        return MUP_OK;
    return mup_fail(err, MUP_USAGE,
                    "its base shape has %zu dimensions, its shape has %d", rank,
                    t->rank);
}

static int take_base(const json_t *base, struct tensor *t,
                     struct mup_error *err)
{
    int rc;

    if (!json_is_array(base))
        return mup_fail(err, MUP_USAGE,
                        "\"base_shape\" is no list of whole numbers and nulls");
    rc = check_base_rank(t, json_array_size(base), err);
    for (int i = 0; i < t->rank && rc == MUP_OK; i++) {
        const json_t *value = json_array_get(base, (size_t)i);

        if (!json_is_null(value))
            rc =
                take_size(value, "base_shape", (size_t)i, &t->dim[i].base, err);
    }
    return rc;
}

/* --- microsoft/mup's file of base shapes --- */

/* What torch wraps around a model shows in its names. */
static const char *bare_name(const char *name)
{
    static const char *const wrappers[] = { "module.", "_orig_mod." };
    int found = 1;

    while (found) {
        found = 0;
        for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++) {
            size_t len = strlen(wrappers[i]);

            if (!strncmp(name, wrappers[i], len) && name[len]) {
                name += len;
                found = 1;
            }
        }
    }
    return name;
}

static int is_null(const char *text)
{
    return !*text || !strcmp(text, "~") || !strcmp(text, "null") ||
           !strcmp(text, "Null") || !strcmp(text, "NULL");
}

static int take_yaml_size(const struct yaml_doc *doc,
                          const struct yaml_node *node, int64_t *out,
                          struct mup_error *err)
{
    int64_t size;

    if (node->kind != YAML_SCALAR)
        return yaml_fail(doc, node, err, "no whole number and no null");
    if (is_null(node->text))
        return MUP_OK;
    if (parse_int(node->text, &size, NULL) != MUP_OK || size < 1)
        return yaml_fail(doc, node, err,
                         "'%.40s' is no size; a whole number of at least 1 or "
                         "null is",
                         node->text);
    *out = size;
    return MUP_OK;
}

static int take_yaml_base(const struct yaml_doc *doc, struct tensor *t,
                          struct mup_error *err)
{
    const struct yaml_node *list = doc->root->child, *node;
    size_t rank = 0;
    int rc;

    while (list && strcmp(bare_name(list->key), bare_name(t->name)) != 0)
        list = list->next;
    if (!list)
        return mup_fail(err, MUP_USAGE, "'%s' has no base shape for it",
                        doc->path);
    if (list->kind != YAML_LIST)
        return yaml_fail(doc, list, err, "no list of base dimensions");
    for (node = list->child; node; node = node->next)
        rank++;
    rc = check_base_rank(t, rank, err);
    node = list->child;
    for (int i = 0; i < t->rank && rc == MUP_OK; i++, node = node->next)
        rc = take_yaml_size(doc, node, &t->dim[i].base, err);
    return rc;
}

/* A name that only one of the two files knows is a typing error in one. */
static int check_all_used(const struct shapes_source *source,
                          const struct shapes *shapes, struct mup_error *err)
{
    const struct yaml_node *node = source->base->root->child;

    for (; node; node = node->next) {
        int i = 0;

        while (i < shapes->n && strcmp(bare_name(shapes->list[i].name),
                                       bare_name(node->key)) != 0)
            i++;
        if (i == shapes->n)
            return yaml_fail(source->base, node, err,
                             "no tensor '%.200s' in '%s'", node->key,
                             source->path);
    }
    return MUP_OK;
}

/* --- from role and nulls to fan-out and fan-in --- */

static int refuse(const char *origin, const char *why, struct mup_error *err)
{
    return mup_fail(err, MUP_USAGE, "%s, but %s", origin, why);
}

static int place_fixed(struct tensor *t, const char *origin,
                       struct mup_error *err)
{
    static const struct mup_dim one = { 1, 0 };

    if (count_growing(t))
        return refuse(origin,
                      "a dimension grows; write null for it in base_shape or "
                      "change the role",
                      err);
    t->shape.fan_out = t->rank < 1 ? one : t->dim[t->rank == 3];
    t->shape.fan_in = t->rank < 2 ? one : t->dim[t->rank - 1];
    return MUP_OK;
}

static int place_vector(struct tensor *t, const char *origin,
                        struct mup_error *err)
{
    if (t->rank != 1 && t->rank != 2)
        return refuse(origin, "a vector has the shape [n], or [copies, n]",
                      err);
    if (!grows(t->dim[t->rank - 1]))
        return refuse(origin,
                      "its last dimension does not grow; give its base size, "
                      "or the role 'fixed'",
                      err);
    if (t->rank == 2 && grows(t->dim[0]))
        t->experts = t->dim[0];
    t->shape.fan_out = t->dim[t->rank - 1];
    t->shape.fan_in = (struct mup_dim){ 1, 0 };
    return MUP_OK;
}

/* A table is looked up: its row number is what comes in. */
static int place_input(struct tensor *t, const char *origin,
                       struct mup_error *err)
{
    int table = t->rank == 2 && grows(t->dim[1]);

    if (t->rank != 2)
        return refuse(origin,
                      "an input has the shape [fan_out, fan_in], or "
                      "[vocabulary, width] for a table",
                      err);
    if (count_growing(t) == 2)
        return refuse(origin,
                      "both dimensions grow; write null in base_shape for the "
                      "finite one, or change the role",
                      err);
    if (count_growing(t) == 0)
        return refuse(origin,
                      "no dimension grows; give the base size of the width, or "
                      "the role 'fixed'",
                      err);
    if (t->shape.role == MUP_TIED && !table)
        return refuse(origin,
                      "the second dimension of a tied table, [vocabulary, "
                      "width], does not grow",
                      err);
    t->shape.fan_out = t->dim[table];
    t->shape.fan_in = t->dim[!table];
    return MUP_OK;
}

static int check_matrix(const struct tensor *t, const char *origin,
                        struct mup_error *err)
{
    int expert =
        t->shape.role == MUP_EXPERT_UP || t->shape.role == MUP_EXPERT_DOWN;

    if (t->rank < 2)
        return refuse(origin,
                      "a matrix has the shape [fan_out, fan_in], a stack of "
                      "them [copies, fan_out, fan_in]",
                      err);
    if (t->rank == 3 && grows(t->dim[0]) && !expert)
        return refuse(origin,
                      "the number of copies grows, as only the number of "
                      "experts may; write null for it in base_shape",
                      err);
    return MUP_OK;
}

static int place_output(struct tensor *t, const char *origin,
                        struct mup_error *err)
{
    struct mup_dim out, in;
    int rc = check_matrix(t, origin, err);

    if (rc != MUP_OK)
        return rc;
    out = t->dim[t->rank - 2];
    in = t->dim[t->rank - 1];
    if (!grows(in))
        return refuse(origin,
                      "its fan_in, the last dimension, does not grow; give its "
                      "base size, or change the role",
                      err);
    if (grows(out) && t->shape.role != MUP_ROUTER)
        return refuse(origin,
                      "its fan_out, the dimension before the last, grows; give "
                      "every width the same and write null for it in "
                      "base_shape, or change the role",
                      err);
    if (grows(out))
        t->experts = out;
    t->shape.fan_out = (struct mup_dim){ out.size, 0 };
    t->shape.fan_in = in;
    return MUP_OK;
}

/* Key/value heads or an expert width that do not grow leave a hidden matrix
 * hidden, with a ratio of 1. */
static int place_hidden(struct tensor *t, const char *origin,
                        struct mup_error *err)
{
    struct mup_dim *out = &t->shape.fan_out, *in = &t->shape.fan_in;
    int rc = check_matrix(t, origin, err);

    if (rc != MUP_OK)
        return rc;
    if (t->rank == 3 && grows(t->dim[0]))
        t->experts = t->dim[0];
    *out = t->dim[t->rank - 2];
    *in = t->dim[t->rank - 1];
    if (!grows(*out))
        out->base = out->size;
    if (!grows(*in))
        in->base = in->size;
    return MUP_OK;
}

static int place(struct tensor *t, const char *origin, struct mup_error *err)
{
    switch (mup_role_class(t->shape.role)) {
    case MUP_FIXED:
        return place_fixed(t, origin, err);
    case MUP_VECTOR:
        return place_vector(t, origin, err);
    case MUP_INPUT:
        return place_input(t, origin, err);
    case MUP_OUTPUT:
        return place_output(t, origin, err);
    default:
        return place_hidden(t, origin, err);
    }
}

/* --- roles that are not given --- */

/* By the nulls alone. */
static int infer_role(struct tensor *t, struct mup_error *err)
{
    if (count_growing(t) == 0)
        t->shape.role = MUP_FIXED;
    else if (t->rank == 1)
        t->shape.role = MUP_VECTOR;
    else if (t->rank == 3)
        return mup_fail(err, MUP_USAGE,
                        "neither its name nor a rank of 3 says what it is; "
                        "give a \"role\": 'expert_up' or 'expert_down', or "
                        "'hidden' for a stack of layers");
    else if (count_growing(t) == 2)
        t->shape.role = MUP_HIDDEN;
    else if (grows(t->dim[0]))
        t->shape.role = MUP_INPUT;
    else
        return mup_fail(err, MUP_USAGE,
                        "base_shape [null, %lld] fits an embedding ('input'), "
                        "a readout ('output'), a 'router' and a matrix of "
                        "fixed fan-out ('hidden') alike, and its name says "
                        "nothing; give a \"role\", or a line in a --patterns "
                        "file",
                        (long long)t->dim[1].base);
    return MUP_OK;
}

/* Where nothing grows a name is no reason to ask for a base: what stays equal
 * is fixed; matrices remain matrices, which decay. */
static int name_decides(const struct tensor *t, const struct role_pattern *p)
{
    return p && t->rank >= 2 &&
           (count_growing(t) > 0 || mup_role_class(p->role) == MUP_HIDDEN);
}

static int choose_role(const struct shapes_source *source, struct tensor *t,
                       char origin[ORIGIN_BYTES], struct mup_error *err)
{
    const struct role_pattern *p = tensor_role_find(source->patterns, t->name);

    if (!name_decides(t, p)) {
        int rc = infer_role(t, err);

        snprintf(origin, ORIGIN_BYTES, "it has the role '%s'",
                 mup_role_name(t->shape.role));
        return rc;
    }
    t->shape.role = p->role;
    if (p->line)
        snprintf(origin, ORIGIN_BYTES,
                 "its name has the role '%s' by '%.60s' (%.80s:%d)",
                 mup_role_name(p->role), p->glob, source->patterns->path,
                 p->line);
    else
        snprintf(origin, ORIGIN_BYTES,
                 "its name has the role '%s' by the built-in pattern '%.60s'",
                 mup_role_name(p->role), p->glob);
    return MUP_OK;
}

static int given_role(const json_t *role, struct tensor *t,
                      char origin[ORIGIN_BYTES], struct mup_error *err)
{
    char list[TENSOR_ROLE_LIST_BYTES];
    const char *name = json_string_value(role);

    tensor_role_list(list);
    if (!name)
        return mup_fail(err, MUP_USAGE, "\"role\" is no text; one of %s", list);
    t->shape.role = tensor_role_by_name(name);
    if (t->shape.role < 0)
        return mup_fail(err, MUP_USAGE, "unknown role '%.60s'; one of %s", name,
                        list);
    snprintf(origin, ORIGIN_BYTES, "it has the role '%s'", name);
    return MUP_OK;
}

/* --- one tensor, all tensors --- */

static int check_keys(json_t *entry, struct mup_error *err)
{
    static const char *const known[] = { "name", "shape", "base_shape", "role",
                                         "in_block" };
    const size_t n = sizeof(known) / sizeof(known[0]);
    const char *key;
    json_t *value;

    json_object_foreach(entry, key, value)
    {
        size_t i = 0;

        while (i < n && strcmp(key, known[i]) != 0)
            i++;
        if (i == n)
            return mup_fail(err, MUP_USAGE,
                            "unknown key \"%.60s\"; one of name, shape, "
                            "base_shape, role, in_block",
                            key);
    }
    return MUP_OK;
}

static int take_in_block(const json_t *flag, struct tensor *t,
                         struct mup_error *err)
{
    if (flag && !json_is_boolean(flag))
        return mup_fail(err, MUP_USAGE,
                        "\"in_block\" is neither true nor "
                        "false");
    t->shape.in_block =
        flag ? json_is_true(flag) : tensor_role_in_block(t->name);
    return MUP_OK;
}

static int take_sizes(const struct shapes_source *source, const json_t *entry,
                      struct tensor *t, struct mup_error *err)
{
    const json_t *base = json_object_get(entry, "base_shape");
    int rc = take_shape(json_object_get(entry, "shape"), t, err);

    if (rc != MUP_OK)
        return rc;
    if (base)
        return take_base(base, t, err);
    if (source->base)
        return take_yaml_base(source->base, t, err);
    return mup_fail(err, MUP_USAGE,
                    "no \"base_shape\"; give the sizes in the base model, null "
                    "where a dimension does not grow, or --base FILE");
}

static int take_named(const struct shapes_source *source, json_t *entry,
                      struct tensor *t, struct mup_error *err)
{
    const json_t *role = json_object_get(entry, "role");
    char origin[ORIGIN_BYTES];
    int rc = check_name(t->name, err);

    if (rc == MUP_OK)
        rc = check_keys(entry, err);
    if (rc == MUP_OK)
        rc = take_sizes(source, entry, t, err);
    if (rc == MUP_OK)
        rc = take_in_block(json_object_get(entry, "in_block"), t, err);
    if (rc == MUP_OK)
        rc = role ? given_role(role, t, origin, err)
                  : choose_role(source, t, origin, err);
    return rc == MUP_OK ? place(t, origin, err) : rc;
}

static int take_tensor(const struct shapes_source *source, json_t *entry,
                       struct shapes *shapes, struct mup_error *err)
{
    struct tensor *t = &shapes->list[shapes->n];
    const char *name = json_string_value(json_object_get(entry, "name"));
    int rc;

    if (!json_is_object(entry) || !name)
        return mup_fail(err, MUP_USAGE,
                        "%s: entry %d is no object with a \"name\"",
                        source->path, shapes->n);
    t->name = strdup(name);
    if (!t->name)
        return mup_fail(err, MUP_SYSTEM, "out of memory while reading '%s'",
                        source->path);
    t->shape.name = t->name;
    shapes->n++;
    rc = take_named(source, entry, t, err);
    if (rc != MUP_OK)
        mup_error_prefix(err, "%s: tensor '%.200s': ", source->path, name);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int check_unique(const struct shapes_source *source,
                        const struct shapes *shapes, struct mup_error *err)
{
    const struct tensor **sorted = calloc((size_t)shapes->n, sizeof(*sorted));
    int rc = MUP_OK;

    if (!sorted)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %d tensors",
                        shapes->n);
    for (int i = 0; i < shapes->n; i++)
        sorted[i] = &shapes->list[i];
    qsort(sorted, (size_t)shapes->n, sizeof(*sorted), by_name);
    for (int i = 1; i < shapes->n && rc == MUP_OK; i++)
        if (!strcmp(sorted[i - 1]->name, sorted[i]->name))
            rc = mup_fail(err, MUP_USAGE, "%s: tensor '%.200s': given twice",
                          source->path, sorted[i]->name);
    free(sorted);
    return rc;
}

static int take_list(const struct shapes_source *source, const json_t *root,
                     struct shapes *shapes, struct mup_error *err)
{
    size_t n = json_array_size(root), i;
    json_t *entry;
    int rc;

    if (!json_is_array(root) || n == 0)
        return mup_fail(err, MUP_USAGE,
                        "%s: no list of tensors, [{\"name\": ..., \"shape\": "
                        "[...], \"base_shape\": [...]}, ...]",
                        source->path);
    if (source->base &&
        (!source->base->root || source->base->root->kind != YAML_MAP))
        return yaml_fail(source->base, source->base->root, err,
                         "no base shapes, 'NAME: [SIZE or null, ...]'");
    shapes->list = calloc(n, sizeof(*shapes->list));
    if (!shapes->list)
        return mup_fail(err, MUP_SYSTEM, "out of memory for %zu tensors", n);
    json_array_foreach(root, i, entry)
    {
        rc = take_tensor(source, entry, shapes, err);
        if (rc != MUP_OK)
            return rc;
    }
    rc = check_unique(source, shapes, err);
    return rc == MUP_OK && source->base ? check_all_used(source, shapes, err)
                                        : rc;
}

int shapes_open(const struct shapes_source *source, struct shapes *out,
                struct mup_error *err)
{
    struct shapes shapes = { 0 };
    json_error_t where;
    json_t *root;
    int rc;

    if (source->bytes > SHAPES_MAX_BYTES)
        return mup_fail(err, MUP_USAGE, "%s: larger than %zu bytes",
                        source->path, SHAPES_MAX_BYTES);
    root = json_loadb(source->text, source->bytes,
                      JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &where);
    if (!root)
        return mup_fail(err, MUP_USAGE, "%s:%d: not JSON: %s", source->path,
                        where.line > 0 ? where.line : 1, where.text);
    rc = take_list(source, root, &shapes, err);
    json_decref(root);
    if (rc == MUP_OK)
        *out = shapes;
    else
        shapes_close(&shapes);
    return rc;
}

void shapes_close(struct shapes *shapes)
{
    for (int i = 0; i < shapes->n; i++)
        free(shapes->list[i].name);
    free(shapes->list);
    *shapes = (struct shapes){ 0 };
}

/* --- questions --- */

static int check_experts(const struct tensor *t, const struct mup_rules *rules,
                         struct mup_error *err)
{
    struct mup_dim own = t->experts, all = rules->experts;

    if (!grows(own))
        return MUP_OK;
    if (rules->moe == MUP_MOE_FIXED_E && own.size != own.base)
        return mup_fail(err, MUP_USAGE,
                        "tensor '%.200s': %lld experts against %lld at base, "
                        "but the MoE regime 'fixed_e' keeps their number; "
                        "choose another regime, or write null in base_shape "
                        "if it does not grow",
                        t->name, (long long)own.size, (long long)own.base);
    if (rules->moe != MUP_MOE_FIXED_E && grows(all) &&
        (own.size != all.size || own.base != all.base))
        return mup_fail(err, MUP_USAGE,
                        "tensor '%.200s': %lld experts against %lld at base, "
                        "but the rules are asked for %lld against %lld",
                        t->name, (long long)own.size, (long long)own.base,
                        (long long)all.size, (long long)all.base);
    return MUP_OK;
}

int shapes_check_rules(const struct shapes *shapes,
                       const struct mup_rules *rules, struct mup_error *err)
{
    int in_block = 0;

    for (int i = 0; i < shapes->n; i++) {
        int rc = check_experts(&shapes->list[i], rules, err);

        if (rc != MUP_OK)
            return rc;
        in_block |= shapes->list[i].shape.in_block;
    }
    if (rules->depth != MUP_DEPTH_NONE && !in_block)
        return mup_fail(err, MUP_USAGE,
                        "the depth rule '%s' acts inside residual blocks, but "
                        "no tensor is in one by its name ('layers.3.'); give "
                        "\"in_block\": true",
                        mup_depth_name(rules->depth));
    return MUP_OK;
}

double shapes_width_mult(const struct tensor *tensor)
{
    for (int i = tensor->rank - 1; i >= 0; i--)
        if (grows(tensor->dim[i]))
            return mup_ratio(tensor->dim[i]);
    return 1;
}

int shapes_is_constant(const struct tensor *tensor)
{
    return tensor->shape.role == MUP_VECTOR || tensor->rank <= 1;
}

int shapes_any_grows(const struct shapes *shapes)
{
    for (int i = 0; i < shapes->n; i++)
        if (count_growing(&shapes->list[i]))
            return 1;
    return 0;
}

const struct tensor *shapes_maybe_tied(const struct shapes *shapes)
{
    const struct tensor *table = NULL;

    for (int i = shapes->n - 1; i >= 0; i--) {
        const struct tensor *t = &shapes->list[i];

        if (t->shape.role == MUP_OUTPUT || t->shape.role == MUP_TIED)
            return NULL;
        if (t->shape.role == MUP_INPUT && grows(t->dim[1]))
            table = t;
    }
    return table;
}
