/* Any text is a value or one sentence; a value that was taken reads back from
 * the form in which it is written.  Input: "key=value". */
#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "configs/field.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct toy {
    int64_t whole;
    double real;
    int flag, choice;
    char text[FIELD_TEXT_BYTES];
    unsigned char set[8];
};

#define AT(member) offsetof(struct toy, member)

static const struct field fields[] = {
    { "whole", FIELD_INT, ROLE_SCALE, AT(whole), "1", "[1,inf)", "" },
    { "real", FIELD_REAL, ROLE_TRANSFER, AT(real), "0", "(-inf,1e9]", "" },
    { "flag", FIELD_BOOL, ROLE_FIXED, AT(flag), "no", "", "" },
    { "choice", FIELD_CHOICE, ROLE_FIXED, AT(choice), "a", "a|bb|ccc", "" },
    { "text", FIELD_TEXT, ROLE_RUN, AT(text), "", "", "" },
    { 0 },
};
static const struct section sections[] = { { "toy", fields, 0, "" }, { 0 } };
static const struct schema schema = { sections, sizeof(struct toy), AT(set),
                                      5 };

/* As bytes: the sign of a zero counts, and padding is zero. */
static int same(const void *a, const void *b, size_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

static void check_numbers(const char *text)
{
    struct mup_error err = { 0 };
    char written[64];
    double real, real_back;
    int64_t whole;

    if (parse_real(text, &real, &err) == MUP_OK) {
        assert(isfinite(real));
        format_real(real, written, sizeof(written));
        assert(parse_real(written, &real_back, NULL) == MUP_OK);
        assert(same(&real, &real_back, sizeof(real)));
    } else {
        assert(err.text[0]);
    }
    if (parse_int(text, &whole, NULL) == MUP_OK) /* whole numbers are reals */
        assert(parse_real(text, &real, NULL) == MUP_OK);
}

static void check_set(const char *key, const char *value)
{
    struct toy toy, back;
    struct mup_error err = { 0 };
    const struct section *section;
    const struct field *field;
    char written[FIELD_TEXT_BYTES];

    config_defaults(&schema, &toy);
    back = toy;
    if (config_set(&schema, &toy, key, value, &err) != MUP_OK) {
        assert(err.text[0] && same(&toy, &back, sizeof(toy)));
        return;
    }
    field = config_find(&schema, key, &section);
    config_text(section, field, &toy, written, sizeof(written));
    assert(config_set(&schema, &back, key, written, NULL) == MUP_OK);
    assert(same(&toy, &back, sizeof(toy)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *equals;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    check_numbers(text);
    for (const struct field *f = fields; f->key; f++) {
        char key[32] = "toy.";

        memcpy(key + 4, f->key, strlen(f->key) + 1);
        check_set(key, text);
    }
    equals = strchr(text, '=');
    if (equals) {
        *equals = '\0';
        check_set(text, equals + 1);
    }
    free(text);
    return 0;
}
