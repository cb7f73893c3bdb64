/* Any bytes make a tree that can be walked and freed, or one sentence. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "configs/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Recursion is bounded: the reader refuses what is deeper than 32. */
static void walk(const struct yaml_node *n, int depth)
{
    assert(depth <= 32);
    for (; n; n = n->next) {
        assert(n->line >= 1);
        assert((n->kind == YAML_SCALAR) == (n->text != NULL));
        assert(n->kind != YAML_SCALAR || !n->child);
        if (n->kind == YAML_MAP) {
            for (const struct yaml_node *c = n->child; c; c = c->next)
                assert(yaml_get(n, c->key) == c);
        }
        walk(n->child, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_doc doc = { 0 };
    struct mup_error err = { 0 };

    if (yaml_open_text((const char *)data, size, "f", &doc, &err) == MUP_OK)
        walk(doc.root, 0);
    else
        assert(strncmp(err.text, "f:", 2) == 0 && !doc.root && !doc.path);
    yaml_close(&doc);
    return 0;
}
