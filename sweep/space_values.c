/* Lists of values of a key, from YAML or from the command line. */
#include "sweep/space_values.h"

#include <stdlib.h>
#include <string.h>

/* rc, with the place in front of the sentence. */
int space_at(const struct yaml_doc *doc, const struct yaml_node *node, int rc,
             struct mup_error *err)
{
    if (rc)
        mup_error_prefix(err, "%s:%d: ", doc->path, node->line);
    return rc;
}

int space_check_key(const char *key, struct mup_error *err)
{
    const struct section *section;
    char near[128];

    if (!config_find(&run_schema, key, &section)) {
        const char *name = config_nearest(&run_schema, key, near, sizeof(near));

        return mup_fail(err, MUP_USAGE, "unknown key '%s'%s%s%s", key,
                        name ? "; did you mean '" : "", name ? name : "",
                        name ? "'?" : "");
    }
    if (!strcmp(key, "train.seed"))
        return mup_fail(err, MUP_USAGE,
                        "'train.seed' is no parameter: repeats are asked for "
                        "with 'seeds: [1, 2, 3]'");
    return MUP_OK;
}

/* Is text a value of key?  out: the form that config_text writes. */
int space_canonical(const char *key, const char *text,
                    char out[SPACE_TEXT_BYTES], struct mup_error *err)
{
    const struct section *section;
    const struct field *field = config_find(&run_schema, key, &section);
    struct run_config config;
    char long_text[FIELD_TEXT_BYTES];
    int rc;

    memset(&config, 0, sizeof(config));
    config_defaults(&run_schema, &config);
    rc = config_set(&run_schema, &config, key, text, err);
    if (rc)
        return rc;
    config_text(section, field, &config, long_text, sizeof(long_text));
    if (strlen(long_text) >= SPACE_TEXT_BYTES)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is longer than the %d characters of a swept "
                        "value; put it in the base config",
                        long_text, SPACE_TEXT_BYTES - 1);
    memset(out, 0, SPACE_TEXT_BYTES);
    snprintf(out, SPACE_TEXT_BYTES, "%.63s", long_text);
    return MUP_OK;
}

int space_texts_add(struct space_texts *list, const char *key, const char *text,
                    struct mup_error *err)
{
    char value[SPACE_TEXT_BYTES];
    void *grown;
    int rc = space_canonical(key, text, value, err);

    if (rc)
        return rc;
    for (int i = 0; i < list->n; i++)
        if (!strcmp(list->text[i], value))
            return mup_fail(err, MUP_USAGE, "'%s' has the value %s twice", key,
                            value);
    if (list->n == SPACE_MAX_VALUES)
        return mup_fail(err, MUP_USAGE, "'%s' has more than %d values", key,
                        SPACE_MAX_VALUES);
    grown = realloc(list->text, (size_t)(list->n + 1) * SPACE_TEXT_BYTES);
    if (!grown)
        return mup_fail(err, MUP_SYSTEM, "out of memory");
    list->text = grown;
    memcpy(list->text[list->n++], value, SPACE_TEXT_BYTES);
    return MUP_OK;
}

/* The values of a YAML list of scalars (or of one scalar). */
int space_read_list(const struct yaml_doc *doc, const struct yaml_node *node,
                    const char *key, struct space_texts *list,
                    struct mup_error *err)
{
    if (node->kind == YAML_SCALAR)
        return space_at(doc, node, space_texts_add(list, key, node->text, err),
                        err);
    if (node->kind != YAML_LIST || !node->child)
        return yaml_fail(doc, node, err,
                         "'%s' needs a list of values such as [1, 2]", key);
    for (const struct yaml_node *v = node->child; v; v = v->next) {
        int rc;

        if (v->kind != YAML_SCALAR)
            return yaml_fail(doc, v, err, "a value of '%s' is no scalar", key);
        rc = space_at(doc, v, space_texts_add(list, key, v->text, err), err);
        if (rc)
            return rc;
    }
    return MUP_OK;
}

/* The values of "a,b" or "[a, b]", as given on the command line. */
int space_split_list(const char *text, const char *key,
                     struct space_texts *list, struct mup_error *err)
{
    while (*text) {
        size_t n;
        char value[SPACE_TEXT_BYTES];
        int rc;

        text += strspn(text, "[], \t");
        n = strcspn(text, "[], \t");
        if (!n)
            break;
        if (n >= sizeof(value))
            return mup_fail(err, MUP_USAGE, "a value of '%s' is too long", key);
        memcpy(value, text, n);
        value[n] = '\0';
        text += n;
        rc = space_texts_add(list, key, value, err);
        if (rc)
            return rc;
    }
    return list->n ? MUP_OK
                   : mup_fail(err, MUP_USAGE, "'%s' got an empty list", key);
}

void space_set_values(struct space_parameter *p, struct space_texts *list)
{
    free(p->values);
    p->values = list->text;
    p->n_values = list->n;
    *list = (struct space_texts){ 0 };
}
