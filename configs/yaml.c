/* libyaml's events, put into a tree. */
#include "configs/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_BYTES 1048576
#define MAX_DEPTH  32
#define MAX_KEYS   1024 /* of one map: keys are compared pair by pair */

/* The open maps and lists, outermost first. */
struct builder {
    struct yaml_doc doc;
    struct yaml_node *open[MAX_DEPTH];
    struct yaml_node *last[MAX_DEPTH]; /* last child of open[i] */
    int n_keys[MAX_DEPTH];
    int depth;
    int documents;
    char *key; /* read, its value not yet */
    int key_line;
};

int yaml_fail(const struct yaml_doc *doc, const struct yaml_node *node,
              struct mup_error *err, const char *format, ...)
{
    char text[MUP_ERROR_BYTES];
    va_list args;

    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0)
        text[0] = '\0';
    va_end(args);
    return mup_fail(err, MUP_USAGE, "%s:%d: %s", doc->path,
                    node ? node->line : 1, text);
}

static int fail_at(const struct builder *b, int line, struct mup_error *err,
                   const char *problem)
{
    struct yaml_node here = { .line = line };

    return yaml_fail(&b->doc, &here, err, "%s", problem);
}

static int no_memory(const struct builder *b, struct mup_error *err)
{
    return mup_fail(err, MUP_SYSTEM, "out of memory while reading '%s'",
                    b->doc.path ? b->doc.path : "a file");
}

/* Iterative: a node's children are moved into its place in the list. */
void yaml_close(struct yaml_doc *doc)
{
    struct yaml_node *n = doc->root;

    while (n) {
        struct yaml_node *next = n->next;

        if (n->child) {
            struct yaml_node *last = n->child;

            while (last->next)
                last = last->next;
            last->next = next;
            next = n->child;
        }
        free(n->key);
        free(n->text);
        free(n);
        n = next;
    }
    free(doc->path);
    *doc = (struct yaml_doc){ 0 };
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (const struct yaml_node *n = map->child; n; n = n->next) {
        if (strcmp(n->key, key) == 0)
            return n;
    }
    return NULL;
}

static struct yaml_node *parent_of(const struct builder *b)
{
    return b->depth ? b->open[b->depth - 1] : NULL;
}

static int wants_key(const struct builder *b)
{
    const struct yaml_node *parent = parent_of(b);

    return parent && parent->kind == YAML_MAP && !b->key;
}

/* A node at the builder's place, which takes text and the pending key. */
static int add(struct builder *b, int kind, int line, char *text,
               struct mup_error *err)
{
    struct yaml_node *n = calloc(1, sizeof(*n));
    int level = b->depth - 1;

    if (!n) {
        free(text);
        return no_memory(b, err);
    }
    n->kind = kind;
    n->line = b->key ? b->key_line : line;
    n->key = b->key;
    n->text = text;
    b->key = NULL;
    if (level < 0)
        b->doc.root = n;
    else if (b->last[level])
        b->last[level]->next = n;
    else
        b->open[level]->child = n;
    if (level >= 0)
        b->last[level] = n;
    if (kind != YAML_SCALAR) {
        b->open[b->depth] = n;
        b->last[b->depth] = NULL;
        b->n_keys[b->depth] = 0;
        b->depth++;
    }
    return MUP_OK;
}

static int take_key(struct builder *b, char *text, int line,
                    struct mup_error *err)
{
    const struct yaml_node *earlier = yaml_get(parent_of(b), text);
    struct yaml_node here = { .line = line };
    int rc = MUP_OK;

    if (earlier)
        rc = yaml_fail(&b->doc, &here, err,
                       "key '%.200s' was already given in line %d", text,
                       earlier->line);
    else if (++b->n_keys[b->depth - 1] > MAX_KEYS)
        rc = fail_at(b, line, err, "more than 1024 keys in one map");
    if (rc != MUP_OK) {
        free(text);
        return rc;
    }
    b->key = text;
    b->key_line = line;
    return MUP_OK;
}

static int take_scalar(struct builder *b, const yaml_event_t *event, int line,
                       struct mup_error *err)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t bytes = event->data.scalar.length;
    char *text;

    if (event->data.scalar.anchor || event->data.scalar.tag)
        return fail_at(b, line, err,
                       "anchors and tags (&, !) are not supported, write the "
                       "value itself");
    if (strlen(value) != bytes)
        return fail_at(b, line, err, "a text contains a NUL character");
    text = malloc(bytes + 1);
    if (!text)
        return no_memory(b, err);
    memcpy(text, value, bytes + 1);
    return wants_key(b) ? take_key(b, text, line, err)
                        : add(b, YAML_SCALAR, line, text, err);
}

static int take_open(struct builder *b, int kind, int decorated, int line,
                     struct mup_error *err)
{
    if (decorated)
        return fail_at(b, line, err,
                       "anchors and tags (&, !) are not supported, write the "
                       "value itself");
    if (wants_key(b))
        return fail_at(b, line, err, "a key must be plain text");
    if (b->depth == MAX_DEPTH)
        return fail_at(b, line, err, "nested deeper than 32 levels");
    return add(b, kind, line, NULL, err);
}

static int take(struct builder *b, const yaml_event_t *event,
                struct mup_error *err)
{
    int line = (int)event->start_mark.line + 1;

    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return take_scalar(b, event, line, err);
    case YAML_MAPPING_START_EVENT:
        return take_open(b, YAML_MAP,
                         event->data.mapping_start.anchor ||
                             event->data.mapping_start.tag,
                         line, err);
    case YAML_SEQUENCE_START_EVENT:
        return take_open(b, YAML_LIST,
                         event->data.sequence_start.anchor ||
                             event->data.sequence_start.tag,
                         line, err);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        b->depth--;
        return MUP_OK;
    case YAML_ALIAS_EVENT:
        return fail_at(b, line, err,
                       "aliases (*) are not supported, write the value "
                       "itself");
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++)
            return fail_at(b, line, err,
                           "a second document ('---') is not supported");
        return MUP_OK;
    default:
        return MUP_OK;
    }
}

/* Is there a tab among what a line (from 1) begins with? */
static int tab_indents(const char *text, size_t bytes, int line)
{
    const char *end = text + bytes;

    while (--line > 0) {
        text = memchr(text, '\n', (size_t)(end - text));
        if (!text)
            return 0;
        text++;
    }
    while (text < end && (*text == ' ' || *text == '-'))
        text++;
    return text < end && *text == '\t';
}

/* Reader errors carry an offset instead of a mark. */
static int syntax_error(const struct builder *b, const yaml_parser_t *parser,
                        const char *text, size_t bytes, struct mup_error *err)
{
    struct yaml_node here = { .line = (int)parser->problem_mark.line + 1 };

    if (parser->error == YAML_MEMORY_ERROR)
        return no_memory(b, err);
    if (parser->error == YAML_READER_ERROR) {
        here.line = 1;
        for (size_t i = 0; i < parser->problem_offset; i++)
            here.line += text[i] == '\n';
    }
    return yaml_fail(&b->doc, &here, err, "not YAML: %s%s",
                     parser->problem ? parser->problem : "syntax error",
                     parser->error == YAML_SCANNER_ERROR &&
                             tab_indents(text, bytes, here.line)
                         ? "; indent with blanks, not tabs"
                         : "");
}

static int build(struct builder *b, yaml_parser_t *parser, const char *text,
                 size_t bytes, struct mup_error *err)
{
    int rc = MUP_OK, done = 0;

    while (rc == MUP_OK && !done) {
        yaml_event_t event;

        if (!yaml_parser_parse(parser, &event))
            return syntax_error(b, parser, text, bytes, err);
        rc = take(b, &event, err);
        done = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return rc;
}

int yaml_open_text(const char *text, size_t bytes, const char *path,
                   struct yaml_doc *doc, struct mup_error *err)
{
    struct builder b = { 0 };
    yaml_parser_t parser;
    int rc;

    if (bytes > FILE_BYTES)
        return mup_fail(err, MUP_USAGE, "%s:1: larger than 1 MiB", path);
    b.doc.path = strdup(path);
    if (!b.doc.path)
        return no_memory(&b, err);
    if (!yaml_parser_initialize(&parser)) {
        rc = no_memory(&b, err);
        free(b.doc.path);
        return rc;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    rc = build(&b, &parser, text, bytes, err);
    yaml_parser_delete(&parser);
    free(b.key);
    if (rc == MUP_OK)
        *doc = b.doc;
    else
        yaml_close(&b.doc);
    return rc;
}

int yaml_open(const char *path, struct yaml_doc *doc, struct mup_error *err)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t bytes;
    int rc;

    if (!f)
        return mup_fail(err, MUP_SYSTEM, "cannot open '%s': %s", path,
                        strerror(errno));
    text = malloc(FILE_BYTES + 1);
    if (!text) {
        rc =
            mup_fail(err, MUP_SYSTEM, "out of memory while reading '%s'", path);
    } else {
        /* one byte more than allowed, so that too much is seen */
        bytes = fread(text, 1, FILE_BYTES + 1, f);
        if (ferror(f))
            rc = mup_fail(err, MUP_SYSTEM, "cannot read '%s': %s", path,
                          strerror(errno));
        else
            rc = yaml_open_text(text, bytes, path, doc, err);
    }
    free(text);
    (void)fclose(f); /* it was only read */
    return rc;
}
