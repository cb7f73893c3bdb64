/* Values of a config struct, reached by name through its field tables. */
#include "configs/field.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "configs/yaml.h"

#define NAME_BYTES 64 /* longest key or section that gets a suggestion */

static void *member(const struct section *s, const struct field *f,
                    void *config)
{
    return (char *)config + s->offset + f->offset;
}

static const void *member_const(const struct section *s, const struct field *f,
                                const void *config)
{
    return (const char *)config + s->offset + f->offset;
}

/* ---- finding keys ------------------------------------------------------- */

/* *index receives the key's place in table order, for the set flags. */
static const struct field *find(const struct schema *schema, const char *key,
                                const struct section **section, size_t *index)
{
    const char *dot = strchr(key, '.');
    size_t i = 0;

    for (const struct section *s = schema->sections; dot && s->name; s++) {
        size_t length = strlen(s->name);
        int here =
            length == (size_t)(dot - key) && memcmp(s->name, key, length) == 0;

        for (const struct field *f = s->fields; f->key; f++, i++) {
            if (!here || strcmp(f->key, dot + 1) != 0)
                continue;
            *section = s;
            *index = i;
            return f;
        }
    }
    return NULL;
}

const struct field *config_find(const struct schema *schema, const char *key,
                                const struct section **section)
{
    const struct section *s;
    size_t index;
    const struct field *f = find(schema, key, &s, &index);

    if (f && section)
        *section = s;
    return f;
}

/* Insertions and deletions that turn a into b: |a| + |b| - 2 x the longest
 * common subsequence. */
static size_t edit_distance(const char *a, size_t na, const char *b)
{
    size_t nb = strlen(b);
    size_t row[NAME_BYTES + 1] = { 0 };

    assert(nb <= NAME_BYTES);
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

            if (a[i - 1] == b[j - 1])
                best = diagonal;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[nb];
}

/* An abbreviation ("wd" for "weight_decay") is nearer than its length says. */
static size_t key_distance(const char *a, size_t na, const char *b)
{
    size_t nb = strlen(b), d = edit_distance(a, na, b);
    int abbreviates =
        na > 0 && a[0] == b[0] && d == (na > nb ? na - nb : nb - na);

    return abbreviates && d > 2 ? 2 : d;
}

size_t config_name_distance(const char *a, const char *b)
{
    return key_distance(a, strlen(a), b);
}

/* A key in the wrong section is as likely as a few wrong letters, however
 * different the names of the sections are. */
static size_t section_distance(const char *a, size_t na, const char *b)
{
    size_t d = edit_distance(a, na, b);

    return d < 3 ? d : 3;
}

const char *config_nearest(const struct schema *schema, const char *key,
                           char *buffer, size_t bytes)
{
    const char *dot = strchr(key, '.');
    size_t prefix = dot ? (size_t)(dot - key) : 0;
    const char *leaf = dot ? dot + 1 : key;
    size_t length = strlen(leaf), best = SIZE_MAX;

    if (prefix > NAME_BYTES || length > NAME_BYTES)
        return NULL;
    for (const struct section *s = schema->sections; s->name; s++) {
        size_t base = section_distance(key, prefix, s->name);

        for (const struct field *f = s->fields; f->key; f++) {
            size_t d = key_distance(leaf, length, f->key);

            /* no letter in common is no suggestion */
            if (d >= length + strlen(f->key) || base + d >= best)
                continue;
            best = base + d;
            snprintf(buffer, bytes, "%s.%s", s->name, f->key);
        }
    }
    return best < SIZE_MAX ? buffer : NULL;
}

static int unknown_key(const struct schema *schema, const char *key,
                       struct mup_error *err)
{
    char near[2 * NAME_BYTES + 2];

    if (config_nearest(schema, key, near, sizeof(near)))
        return mup_fail(err, MUP_USAGE,
                        "unknown key '%.100s' (did you mean '%s'?)", key, near);
    return mup_fail(err, MUP_USAGE, "unknown key '%.100s'", key);
}

/* ---- setting values ----------------------------------------------------- */

/* Is v inside "[a,b)"?  Ranges are ours: a bad one is a bug. */
static int in_range(const char *range, double v)
{
    char *end;
    double lo, hi;
    int above, below;

    if (!range || !range[0])
        return 1;
    assert(range[0] == '[' || range[0] == '(');
    lo = strtod(range + 1, &end); /* reads "-inf" and "inf" too */
    assert(*end == ',');
    hi = strtod(end + 1, &end);
    assert((*end == ']' || *end == ')') && end[1] == '\0');
    above = range[0] == '[' ? v >= lo : v > lo;
    below = *end == ']' ? v <= hi : v < hi;
    return above && below;
}

/* Index of text among "a|b|c", or -1. */
static int choice_index(const char *choices, const char *text)
{
    size_t length = strlen(text);

    for (int i = 0;; i++) {
        size_t n = strcspn(choices, "|");

        if (n == length && memcmp(choices, text, n) == 0)
            return i;
        if (choices[n] == '\0')
            return -1;
        choices += n + 1;
    }
}

/* Bytes that follow the first byte of a UTF-8 sequence, -1 for a bad one. */
static int n_following(unsigned char first)
{
    if (first < 0x80)
        return 0;
    if (first < 0xc2 || first > 0xf4)
        return -1;
    return first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
}

/* The second byte rules out overlong forms, surrogates and > U+10FFFF. */
static int second_is_sound(unsigned char first, unsigned char second)
{
    return !(
        (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f));
}

int config_is_utf8(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    while (*p) {
        int n = n_following(p[0]);

        if (n < 0 || !second_is_sound(p[0], p[1]))
            return 0;
        for (p++; n > 0; n--, p++) {
            if ((*p & 0xc0) != 0x80)
                return 0;
        }
    }
    return 1;
}

#define AUTO "auto"

/* What follows "auto|" in the range of a key that knows the word, or NULL. */
static const char *behind_auto(const struct field *f)
{
    const char *range = f->range;

    return range && !strncmp(range, AUTO "|", sizeof(AUTO))
               ? range + sizeof(AUTO)
               : NULL;
}

static int set_int(void *at, const struct field *f, const char *text,
                   struct mup_error *err)
{
    const char *numbers = behind_auto(f);
    int is_auto = numbers && !strcmp(text, AUTO);
    int64_t v = 0;
    int rc = is_auto ? MUP_OK : parse_int(text, &v, err);

    if (rc != MUP_OK && numbers)
        return mup_fail(
            err, rc, "'%.100s' is neither " AUTO " nor a whole number", text);
    if (rc != MUP_OK)
        return rc;
    if (!is_auto && !in_range(numbers ? numbers : f->range, (double)v))
        return mup_fail(err, MUP_USAGE, "%lld is outside %s", (long long)v,
                        f->range);
    memcpy(at, &v, sizeof(v));
    return MUP_OK;
}

static int set_real(void *at, const struct field *f, const char *text,
                    struct mup_error *err)
{
    char shown[40];
    double v;
    int rc = parse_real(text, &v, err);

    if (rc != MUP_OK)
        return rc;
    if (!in_range(f->range, v)) {
        format_real(v, shown, sizeof(shown));
        return mup_fail(err, MUP_USAGE, "%s is outside %s", shown, f->range);
    }
    memcpy(at, &v, sizeof(v));
    return MUP_OK;
}

static int set_bool(void *at, const char *text, struct mup_error *err)
{
    int no = strcmp(text, "no") == 0 || strcmp(text, "false") == 0;
    int yes = strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;

    if (!no && !yes)
        return mup_fail(err, MUP_USAGE, "'%.60s' is neither yes nor no", text);
    memcpy(at, &yes, sizeof(yes));
    return MUP_OK;
}

static int set_text(char *at, const char *text, struct mup_error *err)
{
    size_t length = strlen(text);

    if (length >= FIELD_TEXT_BYTES)
        return mup_fail(err, MUP_USAGE, "'%.40s...' is longer than %d bytes",
                        text, FIELD_TEXT_BYTES - 1);
    if (!config_is_utf8(text))
        return mup_fail(err, MUP_USAGE, "the text is not UTF-8");
    /* the rest is cleared, so that equal configs are equal bytes */
    memset(at, 0, FIELD_TEXT_BYTES);
    memcpy(at, text, length + 1);
    return MUP_OK;
}

static int set_choice(void *at, const struct field *f, const char *text,
                      struct mup_error *err)
{
    int i = choice_index(f->range, text);

    if (i < 0)
        return mup_fail(err, MUP_USAGE, "'%.60s' is not one of %s", text,
                        f->range);
    memcpy(at, &i, sizeof(i));
    return MUP_OK;
}

static int set_value(void *at, const struct field *f, const char *text,
                     struct mup_error *err)
{
    if (!text[0] && f->type != FIELD_TEXT)
        return mup_fail(err, MUP_USAGE, "has no value");
    switch (f->type) {
    case FIELD_INT:
        return set_int(at, f, text, err);
    case FIELD_REAL:
        return set_real(at, f, text, err);
    case FIELD_BOOL:
        return set_bool(at, text, err);
    case FIELD_CHOICE:
        return set_choice(at, f, text, err);
    default:
        assert(f->type == FIELD_TEXT);
        return set_text(at, text, err);
    }
}

void config_defaults(const struct schema *schema, void *config)
{
    memset(config, 0, schema->bytes);
    for (const struct section *s = schema->sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++) {
            int rc = MUP_OK;

            if (f->def)
                rc = set_value(member(s, f, config), f, f->def, NULL);
            assert(rc == MUP_OK); /* a default outside its own range */
            (void)rc;
        }
    }
}

int config_set(const struct schema *schema, void *config, const char *key,
               const char *text, struct mup_error *err)
{
    const struct section *s;
    size_t index;
    const struct field *f = find(schema, key, &s, &index);
    int rc;

    if (!f)
        return unknown_key(schema, key, err);
    rc = set_value(member(s, f, config), f, text, err);
    if (rc != MUP_OK) {
        mup_error_prefix(err, "%s: ", key);
        return rc;
    }
    assert(index < schema->n_set);
    ((unsigned char *)config)[schema->set_offset + index] = 1;
    return MUP_OK;
}

int config_require(const struct schema *schema, const void *config,
                   struct mup_error *err)
{
    const unsigned char *set =
        (const unsigned char *)config + schema->set_offset;

    for (const struct section *s = schema->sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++, set++) {
            if (!f->def && !*set)
                return mup_fail(err, MUP_USAGE,
                                "missing key '%s.%s' (%s): give it in the "
                                "file or as --%s.%s=VALUE",
                                s->name, f->key, f->help, s->name, f->key);
        }
    }
    return MUP_OK;
}

/* ---- reading a file ----------------------------------------------------- */

static const struct section *find_section(const struct schema *schema,
                                          const char *name)
{
    for (const struct section *s = schema->sections; s->name; s++) {
        if (strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

static int unknown_section(const struct schema *schema,
                           const struct yaml_doc *doc,
                           const struct yaml_node *node, struct mup_error *err)
{
    const char *near = NULL;
    size_t length = strlen(node->key), best = SIZE_MAX;

    for (const struct section *s = schema->sections; s->name; s++) {
        size_t d = length > NAME_BYTES
                       ? SIZE_MAX
                       : edit_distance(node->key, length, s->name);

        if (d < best && d < length + strlen(s->name)) {
            best = d;
            near = s->name;
        }
    }
    return yaml_fail(doc, node, err,
                     near ? "unknown section '%.100s' (did you mean '%s'?)"
                          : "unknown section '%.100s'",
                     node->key, near);
}

static int load_value(const struct schema *schema, void *config,
                      const struct yaml_doc *doc, const char *section,
                      const struct yaml_node *node, struct mup_error *err)
{
    char key[256];
    int rc;

    snprintf(key, sizeof(key), "%s.%s", section, node->key);
    if (node->kind == YAML_SCALAR)
        rc = config_set(schema, config, key, node->text, err);
    else if (config_find(schema, key, NULL))
        rc = mup_fail(err, MUP_USAGE, "%s: expected one value, not a %s", key,
                      node->kind == YAML_LIST ? "list" : "map");
    else
        rc = unknown_key(schema, key, err);
    if (rc != MUP_OK)
        mup_error_prefix(err, "%s:%d: ", doc->path, node->line);
    return rc;
}

static int load_section(const struct schema *schema, void *config,
                        const struct yaml_doc *doc,
                        const struct yaml_node *node, struct mup_error *err)
{
    int rc = MUP_OK;

    if (!find_section(schema, node->key))
        return unknown_section(schema, doc, node, err);
    if (node->kind == YAML_SCALAR && !node->text[0])
        return MUP_OK; /* every key of it commented out */
    if (node->kind != YAML_MAP)
        return yaml_fail(doc, node, err,
                         "section '%s' must hold 'key: value' lines",
                         node->key);
    for (const struct yaml_node *n = node->child; n && rc == MUP_OK;
         n = n->next)
        rc = load_value(schema, config, doc, node->key, n, err);
    return rc;
}

static int load_root(const struct schema *schema, void *config,
                     const struct yaml_doc *doc, struct mup_error *err)
{
    int rc = MUP_OK;

    if (!doc->root || (doc->root->kind == YAML_SCALAR && !doc->root->text[0]))
        return MUP_OK; /* an empty file: all defaults */
    if (doc->root->kind != YAML_MAP)
        return yaml_fail(doc, doc->root, err,
                         "expected sections such as '%s:', each with 'key: "
                         "value' lines below",
                         schema->sections[0].name);
    for (const struct yaml_node *n = doc->root->child; n && rc == MUP_OK;
         n = n->next)
        rc = load_section(schema, config, doc, n, err);
    return rc;
}

int config_load(const struct schema *schema, void *config, const char *path,
                struct mup_error *err)
{
    struct yaml_doc doc = { 0 };
    void *copy;
    int rc = yaml_open(path, &doc, err);

    if (rc != MUP_OK)
        return rc;
    copy = malloc(schema->bytes);
    if (copy) {
        memcpy(copy, config, schema->bytes);
        rc = load_root(schema, copy, &doc, err);
        if (rc == MUP_OK)
            memcpy(config, copy, schema->bytes);
    } else {
        rc =
            mup_fail(err, MUP_SYSTEM, "out of memory while reading '%s'", path);
    }
    free(copy);
    yaml_close(&doc);
    return rc;
}

/* ---- values as text ----------------------------------------------------- */

static void choice_text(const char *choices, int i, char *buffer, size_t bytes)
{
    while (i > 0 && strchr(choices, '|')) {
        choices = strchr(choices, '|') + 1;
        i--;
    }
    snprintf(buffer, bytes, "%.*s", (int)strcspn(choices, "|"), choices);
}

void config_text(const struct section *section, const struct field *field,
                 const void *config, char *buffer, size_t bytes)
{
    const void *at = member_const(section, field, config);
    int64_t whole;
    double real;
    int i;

    switch (field->type) {
    case FIELD_INT:
        memcpy(&whole, at, sizeof(whole));
        if (whole == 0 && behind_auto(field))
            snprintf(buffer, bytes, AUTO);
        else
            snprintf(buffer, bytes, "%lld", (long long)whole);
        break;
    case FIELD_REAL:
        memcpy(&real, at, sizeof(real));
        format_real(real, buffer, bytes);
        break;
    case FIELD_BOOL:
        memcpy(&i, at, sizeof(i));
        snprintf(buffer, bytes, "%s", i ? "yes" : "no");
        break;
    case FIELD_CHOICE:
        memcpy(&i, at, sizeof(i));
        choice_text(field->range, i, buffer, bytes);
        break;
    default:
        snprintf(buffer, bytes, "%s", (const char *)at);
    }
}

void config_diff(const struct schema *schema, const void *a, const void *b,
                 config_visit *visit, void *context)
{
    for (const struct section *s = schema->sections; s->name; s++) {
        for (const struct field *f = s->fields; f->key; f++) {
            char text_a[FIELD_TEXT_BYTES], text_b[FIELD_TEXT_BYTES];
            char key[2 * NAME_BYTES + 2];

            config_text(s, f, a, text_a, sizeof(text_a));
            config_text(s, f, b, text_b, sizeof(text_b));
            if (strcmp(text_a, text_b) == 0)
                continue;
            snprintf(key, sizeof(key), "%s.%s", s->name, f->key);
            visit(context, key, f, text_a, text_b);
        }
    }
}

const char *field_role_name(int role)
{
    static const char *const names[] = { "transfer", "fixed", "scale", "run" };

    return role >= ROLE_TRANSFER && role <= ROLE_RUN ? names[role] : "unknown";
}

int config_split(const char *override, char key[CONFIG_KEY_BYTES],
                 const char **value, struct mup_error *err)
{
    const char *equal = strchr(override, '=');

    if (!equal || equal == override ||
        (size_t)(equal - override) >= CONFIG_KEY_BYTES)
        return mup_fail(err, MUP_USAGE,
                        "'%s' is no override; write section.key=value",
                        override);
    memcpy(key, override, (size_t)(equal - override));
    key[equal - override] = '\0';
    *value = equal + 1;
    return MUP_OK;
}
