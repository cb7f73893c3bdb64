/* Any texts as a list of tensors, a file of base shapes and one of patterns,
 * with a NUL between them: one sentence, or tensors that the rules take. */
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "configs/shapes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Up to the next NUL or the end. */
static const char *take_text(const char **at, const char *end, size_t *bytes)
{
    const char *text = *at, *nul = NULL;

    if (text < end)
        nul = memchr(text, '\0', (size_t)(end - text));
    *bytes = (size_t)((nul ? nul : end) - text);
    *at = nul ? nul + 1 : end;
    return text;
}

static void check_tensors(const struct shapes *shapes)
{
    static const int optimizers[] = { MUP_ADAMW, MUP_SGD, MUP_MUON };
    struct mup_rules rules = { .parametrization = MUP_MUP };
    struct mup_error err = { 0 };
    struct mup_scale scale;

    assert(shapes->n > 0);
    shapes_check_rules(shapes, &rules, &err);
    for (int i = 0; i < shapes->n; i++) {
        const struct tensor *t = &shapes->list[i];

        assert(t->shape.name == t->name && *t->name);
        assert(isfinite(shapes_width_mult(t)) && shapes_width_mult(t) > 0);
        for (int k = 0; k < 3; k++) {
            rules.optimizer = optimizers[k];
            assert(mup_scale(&rules, &t->shape, &scale, &err) == MUP_OK);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size, *text;
    struct shapes_source source = { .path = "f" };
    struct role_patterns patterns = { 0 };
    struct yaml_doc base = { 0 };
    struct mup_error err = { 0 };
    struct shapes shapes = { 0 };
    size_t bytes;

    source.text = take_text(&at, end, &source.bytes);
    text = take_text(&at, end, &bytes);
    if (bytes && yaml_open_text(text, bytes, "b", &base, &err) == MUP_OK)
        source.base = &base;
    text = take_text(&at, end, &bytes);
    if (tensor_role_patterns_open(text, bytes, "p", &patterns, &err) == MUP_OK)
        source.patterns = &patterns;
    if (shapes_open(&source, &shapes, &err) == MUP_OK)
        check_tensors(&shapes);
    else
        assert(err.text[0] && !shapes.list);
    shapes_close(&shapes);
    yaml_close(&base);
    tensor_role_patterns_close(&patterns);
    return 0;
}
