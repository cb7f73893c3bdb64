/* Configs: the YAML tree, and one small schema through its whole life:
 * defaults, set, load, dump, diff, reference. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "configs/field.h"
#include "configs/yaml.h"

struct toy_train {
    int64_t steps;
    double lr, beta2, decay, warmup;
    int optimizer;
    int64_t seed;
};

struct toy_data {
    char path[FIELD_TEXT_BYTES];
    int shuffle;
    int64_t width;
};

struct toy {
    struct toy_train train;
    struct toy_data data;
    unsigned char set[16];
};

#define AT(member) offsetof(struct toy_train, member)

static const struct field train_fields[] = {
    { "steps", FIELD_INT, ROLE_SCALE, AT(steps), "1000", "[1,inf)",
      "optimizer steps to run" },
    { "lr", FIELD_REAL, ROLE_TRANSFER, AT(lr), NULL, "(0,inf)",
      "peak learning rate at base width" },
    { "beta2", FIELD_REAL, ROLE_TRANSFER, AT(beta2), "0.95", "[0,1)",
      "decay of Adam's second moment" },
    { "balance_loss", FIELD_REAL, ROLE_TRANSFER, AT(decay), "1e-2", "[0,inf)",
      "weight of the balance loss" },
    { "warmup", FIELD_REAL, ROLE_TRANSFER, AT(warmup), "0.1", "[0,1]",
      "fraction of steps" },
    { "optimizer", FIELD_CHOICE, ROLE_FIXED, AT(optimizer), "adamw",
      "adamw|sgd", "update rule" },
    { "seed", FIELD_INT, ROLE_RUN, AT(seed), "-1", "", "of everything" },
    { 0 },
};

#undef AT
#define AT(member) offsetof(struct toy_data, member)

static const struct field data_fields[] = {
    { "path", FIELD_TEXT, ROLE_RUN, AT(path), "", "", "token shards" },
    { "shuffle", FIELD_BOOL, ROLE_FIXED, AT(shuffle), "yes", "",
      "random order" },
    { "width", FIELD_INT, ROLE_SCALE, AT(width), NULL, "[8,65536]",
      "a required number" },
    { 0 },
};

static const struct section toy_sections[] = {
    { "train", train_fields, offsetof(struct toy, train), "The optimizer." },
    { "data", data_fields, offsetof(struct toy, data), "The text." },
    { 0 },
};

static const struct schema toy_schema = { toy_sections, sizeof(struct toy),
                                          offsetof(struct toy, set), 10 };

static struct toy toy_defaults(void)
{
    struct toy toy;

    config_defaults(&toy_schema, &toy);
    return toy;
}

/* A file of that text; its name, for remove() and free(). */
static char *file_of(const char *text)
{
    char *path = strdup("/tmp/mutransfer-config-XXXXXX");
    int fd = mkstemp(path);
    size_t bytes = strlen(text);

    assert_true(fd >= 0);
    assert_true(write(fd, text, bytes) == (ssize_t)bytes);
    assert_int_equal(close(fd), 0);
    return path;
}

/* ---- the YAML tree ----------------------------------------------------------
 */

static int open_text(const char *text, struct yaml_doc *doc,
                     struct mup_error *err)
{
    return yaml_open_text(text, strlen(text), "f.yaml", doc, err);
}

static void a_tree_remembers_its_lines(void **state)
{
    struct yaml_doc doc = { 0 };
    struct mup_error err = { 0 };
    const struct yaml_node *a, *b;

    (void)state;
    assert_int_equal(open_text("# comment\na: 1\nb:\n  c: [x, 'y z']\n"
                               "  d:\n    e: \"\"\n",
                               &doc, &err),
                     MUP_OK);
    assert_string_equal(doc.path, "f.yaml");
    a = yaml_get(doc.root, "a");
    assert_string_equal(a->text, "1");
    assert_int_equal(a->line, 2);
    b = yaml_get(doc.root, "b");
    assert_int_equal(b->kind, YAML_MAP);
    assert_int_equal(b->line, 3);
    a = yaml_get(b, "c");
    assert_int_equal(a->kind, YAML_LIST);
    assert_string_equal(a->child->text, "x");
    assert_null(a->child->key);
    assert_string_equal(a->child->next->text, "y z");
    assert_null(a->child->next->next);
    a = yaml_get(yaml_get(b, "d"), "e");
    assert_string_equal(a->text, "");
    assert_int_equal(a->line, 6);
    assert_null(yaml_get(b, "nothing"));
    assert_null(yaml_get(a, "e")); /* not a map */
    assert_null(yaml_get(NULL, "e"));
    yaml_close(&doc);
    assert_null(doc.root);
    yaml_close(&doc); /* twice is harmless */
}

static void an_empty_text_is_an_empty_tree(void **state)
{
    struct yaml_doc doc = { 0 };

    (void)state;
    assert_int_equal(open_text("", &doc, NULL), MUP_OK);
    assert_null(doc.root);
    yaml_close(&doc);
    assert_int_equal(open_text("# nothing\n", &doc, NULL), MUP_OK);
    assert_null(doc.root);
    yaml_close(&doc);
}

static void yaml_that_we_do_not_read_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "a: 1\nb: 2\na: 3\n",
          "f.yaml:3: key 'a' was already given in line 1" },
        { "a: [1\n", "f.yaml:2: not YAML: did not find expected ',' or ']'" },
        { "a: 1\n b: 2\n",
          "f.yaml:2: not YAML: mapping values are not allowed in this "
          "context" },
        { "a:\n\tb: 2\n", "f.yaml:2: not YAML: found character that cannot "
                          "start any token" },
        { "a: &x 1\n", "f.yaml:1: anchors and tags" },
        { "a: !!str 1\n", "f.yaml:1: anchors and tags" },
        { "a:\n  - &x [1]\n", "f.yaml:2: anchors and tags" },
        { "a: &x {b: 1}\n", "f.yaml:1: anchors and tags" },
        { "a: 1\nb: *x\n", "f.yaml:2: aliases" },
        { "a: 1\n---\nb: 1\n", "f.yaml:2: a second document" },
        { "a: 1\n[x]: 2\n", "f.yaml:2: a key must be plain text" },
        { "a: \"x\\0y\"\n", "f.yaml:1: a text contains a NUL" },
        { "a: 1\nb: \xff\n", "f.yaml:2: not YAML: invalid leading UTF-8" },
        { "a: b\n\x01: c\n", "f.yaml:2: not YAML: control characters" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char untouched[] = "untouched";
        struct yaml_doc doc = { .path = untouched };
        struct mup_error err = { 0 };

        assert_int_equal(open_text(rows[i].text, &doc, &err), MUP_USAGE);
        if (strncmp(err.text, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("'%s' does not begin with '%s'", err.text,
                     rows[i].message);
        assert_ptr_equal(doc.path, untouched);
    }
}

static void trees_have_limits(void **state)
{
    size_t bytes = 1048577;
    char *text = malloc(bytes);
    struct yaml_doc doc = { 0 };
    struct mup_error err = { 0 };
    size_t used = 0;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', bytes);
    assert_int_equal(yaml_open_text(text, bytes, "f", &doc, &err), MUP_USAGE);
    assert_string_equal(err.text, "f:1: larger than 1 MiB");
    assert_int_equal(yaml_open_text(text, bytes - 1, "f", &doc, &err), MUP_OK);
    yaml_close(&doc);
    memset(text, '[', 40);
    assert_int_equal(yaml_open_text(text, 40, "f", &doc, &err), MUP_USAGE);
    assert_string_equal(err.text, "f:1: nested deeper than 32 levels");
    memset(text + 32, ']', 32);
    assert_int_equal(yaml_open_text(text, 64, "f", &doc, &err), MUP_OK);
    yaml_close(&doc);
    for (int i = 0; i < 1025; i++)
        used += (size_t)snprintf(text + used, bytes - used, "k%d: 1\n", i);
    assert_int_equal(yaml_open_text(text, used, "f", &doc, &err), MUP_USAGE);
    assert_string_equal(err.text, "f:1025: more than 1024 keys in one map");
    free(text);
}

static void files_that_cannot_be_read_are_system_errors(void **state)
{
    struct yaml_doc doc = { 0 };
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(yaml_open("/nonexistent.yaml", &doc, &err), MUP_SYSTEM);
    assert_string_equal(err.text, "cannot open '/nonexistent.yaml': No such "
                                  "file or directory");
    assert_int_equal(yaml_open("/tmp", &doc, &err), MUP_SYSTEM);
    assert_string_equal(err.text, "cannot read '/tmp': Is a directory");
}

/* ---- fields -----------------------------------------------------------------
 */

static void defaults_fill_the_struct(void **state)
{
    struct toy toy = toy_defaults();

    (void)state;
    assert_int_equal(toy.train.steps, 1000);
    assert_true(toy.train.beta2 == 0.95);
    assert_true(toy.train.lr == 0); /* no default */
    assert_int_equal(toy.train.optimizer, 0);
    assert_int_equal(toy.train.seed, -1);
    assert_int_equal(toy.data.shuffle, 1);
    assert_string_equal(toy.data.path, "");
    for (int i = 0; i < 16; i++)
        assert_int_equal(toy.set[i], 0);
}

static void setting_a_key_records_that_it_was_given(void **state)
{
    struct toy toy = toy_defaults();
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(config_set(&toy_schema, &toy, "train.lr", "2^-6", &err),
                     MUP_OK);
    assert_true(toy.train.lr == 0.015625);
    assert_int_equal(toy.set[1], 1);
    assert_int_equal(
        config_set(&toy_schema, &toy, "train.optimizer", "sgd", &err), MUP_OK);
    assert_int_equal(toy.train.optimizer, 1);
    assert_int_equal(
        config_set(&toy_schema, &toy, "data.shuffle", "false", &err), MUP_OK);
    assert_int_equal(toy.data.shuffle, 0);
    assert_int_equal(config_set(&toy_schema, &toy, "data.width", "8", &err),
                     MUP_OK);
    assert_int_equal(toy.set[9], 1);
    assert_int_equal(toy.set[0], 0);
}

static void bad_values_are_refused_in_one_sentence(void **state)
{
    static const struct {
        const char *key, *text, *message;
    } rows[] = {
        { "train.beta2", "1", "train.beta2: 1 is outside [0,1)" },
        { "train.beta2", "-1e-3", "train.beta2: -0.001 is outside [0,1)" },
        { "train.lr", "0", "train.lr: 0 is outside (0,inf)" },
        { "train.lr", "fast", "train.lr: 'fast' is not a number" },
        { "train.lr", "", "train.lr: has no value" },
        { "train.warmup", "1.1", "train.warmup: 1.1 is outside [0,1]" },
        { "train.steps", "0", "train.steps: 0 is outside [1,inf)" },
        { "train.steps", "1.5", "train.steps: '1.5' is not a whole number" },
        { "data.width", "65537", "data.width: 65537 is outside [8,65536]" },
        { "train.optimizer", "adam",
          "train.optimizer: 'adam' is not one of adamw|sgd" },
        { "train.optimizer", "adamw|sgd",
          "train.optimizer: 'adamw|sgd' is not one of adamw|sgd" },
        { "data.shuffle", "maybe",
          "data.shuffle: 'maybe' is neither yes nor no" },
        { "data.path", "a\xff", "data.path: the text is not UTF-8" },
        { "data.path", "\xed\xa0\x80", "data.path: the text is not UTF-8" },
        { "train.learning_rate", "1",
          "unknown key 'train.learning_rate' (did you mean 'train.lr'?)" },
        { "train.stesp", "1",
          "unknown key 'train.stesp' (did you mean 'train.steps'?)" },
        { "train.bloss", "1",
          "unknown key 'train.bloss' (did you mean 'train.balance_loss'?)" },
        { "lr", "1", "unknown key 'lr' (did you mean 'train.lr'?)" },
        { "tarin.lr", "1",
          "unknown key 'tarin.lr' (did you mean 'train.lr'?)" },
        { "train.width", "1",
          "unknown key 'train.width' (did you mean 'data.width'?)" },
        { "train", "1", "unknown key 'train'" },
        { "", "1", "unknown key ''" },
        { "zzz.000", "1", "unknown key 'zzz.000'" },
    };
    struct toy toy = toy_defaults(), before = toy;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_error err = { 0 };

        assert_int_equal(
            config_set(&toy_schema, &toy, rows[i].key, rows[i].text, &err),
            MUP_USAGE);
        if (strncmp(err.text, rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("'%s' is not '%s'", err.text, rows[i].message);
        assert_memory_equal(&toy, &before, sizeof(toy));
    }
}

static void a_text_fits_or_is_refused(void **state)
{
    struct toy toy = toy_defaults();
    struct mup_error err = { 0 };
    char text[FIELD_TEXT_BYTES + 1];

    (void)state;
    memset(text, 'a', sizeof(text));
    text[FIELD_TEXT_BYTES] = '\0';
    assert_int_equal(config_set(&toy_schema, &toy, "data.path", text, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "is longer than 511 bytes"));
    text[FIELD_TEXT_BYTES - 1] = '\0';
    assert_int_equal(config_set(&toy_schema, &toy, "data.path", text, &err),
                     MUP_OK);
    assert_string_equal(toy.data.path, text);
}

static void suggestions_survive_absurd_names(void **state)
{
    char key[5000], near[64];

    (void)state;
    memset(key, 'l', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    assert_null(config_nearest(&toy_schema, key, near, sizeof(near)));
    key[64] = '\0';
    assert_string_equal(config_nearest(&toy_schema, key, near, sizeof(near)),
                        "train.lr");
}

static void a_missing_key_is_named(void **state)
{
    struct toy toy = toy_defaults();
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(config_require(&toy_schema, &toy, &err), MUP_USAGE);
    assert_string_equal(err.text,
                        "missing key 'train.lr' (peak learning rate at base "
                        "width): give it in the file or as --train.lr=VALUE");
    config_set(&toy_schema, &toy, "train.lr", "1", NULL);
    assert_int_equal(config_require(&toy_schema, &toy, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "'data.width'"));
    config_set(&toy_schema, &toy, "data.width", "8", NULL);
    assert_int_equal(config_require(&toy_schema, &toy, &err), MUP_OK);
}

/* ---- files ------------------------------------------------------------------
 */

static int load(const char *text, struct toy *toy, struct mup_error *err)
{
    char *path = file_of(text), *at;
    int rc = config_load(&toy_schema, toy, path, err);

    /* the name of the file is random: call it F */
    at = strstr(err->text, path);
    if (at) {
        *at = 'F';
        memmove(at + 1, at + strlen(path), strlen(at + strlen(path)) + 1);
    }
    remove(path);
    free(path);
    return rc;
}

static void a_file_is_read_on_top_of_what_is_there(void **state)
{
    struct toy toy = toy_defaults();
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(load("train:\n  lr: 2^-6\n  optimizer: sgd\n"
                          "data: {path: 'a b', width: 64}\n",
                          &toy, &err),
                     MUP_OK);
    assert_true(toy.train.lr == 0.015625);
    assert_int_equal(toy.train.optimizer, 1);
    assert_string_equal(toy.data.path, "a b");
    assert_int_equal(toy.data.width, 64);
    assert_int_equal(toy.train.steps, 1000);
    assert_int_equal(load("train: {lr: 1}\ndata:\n", &toy, &err), MUP_OK);
    assert_true(toy.train.lr == 1);
    assert_int_equal(toy.train.optimizer, 1);
    assert_int_equal(load("", &toy, &err), MUP_OK);
}

static void errors_in_a_file_carry_its_line(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "train:\n  steps: 5\n  beta2: 1\n",
          "F:3: train.beta2: 1 is outside [0,1)" },
        { "train:\n  steps: 5\n\n  learning_rate: 1\n",
          "F:4: unknown key 'train.learning_rate' (did you mean "
          "'train.lr'?)" },
        { "train:\n  steps: 5\n  lr:\n    - 1\n    - 2\n",
          "F:3: train.lr: expected one value, not a list" },
        { "train:\n  steps: 5\n  lr: {values: [1]}\n",
          "F:3: train.lr: expected one value, not a map" },
        { "train:\n  rate: [1]\n",
          "F:2: unknown key 'train.rate' (did you mean 'train.lr'?)" },
        { "train:\n  steps: 5\n  lr:\n  seed: 1\n",
          "F:3: train.lr: has no value" },
        { "train:\n  steps: 5\ntrian:\n  lr: 1\n",
          "F:3: unknown section 'trian' (did you mean 'train'?)" },
        { "000: 1\n", "F:1: unknown section '000'" },
        { "train: 5\n", "F:1: section 'train' must hold 'key: value' lines" },
        { "train: [1]\n", "F:1: section 'train' must hold 'key: value' lines" },
        { "train:\n  steps: 5\n  steps: 6\n",
          "F:3: key 'steps' was already given in line 2" },
        { "- 1\n", "F:1: expected sections such as 'train:', each with "
                   "'key: value' lines below" },
        { "hello\n", "F:1: expected sections such as 'train:', each with "
                     "'key: value' lines below" },
    };
    struct toy toy = toy_defaults(), before = toy;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mup_error err = { 0 };

        assert_int_equal(load(rows[i].text, &toy, &err), MUP_USAGE);
        assert_string_equal(err.text, rows[i].message);
        /* the good lines before the bad one had no effect */
        assert_memory_equal(&toy, &before, sizeof(toy));
    }
}

static void a_missing_file_is_a_system_error(void **state)
{
    struct toy toy = toy_defaults(), before = toy;
    struct mup_error err = { 0 };

    (void)state;
    assert_int_equal(config_load(&toy_schema, &toy, "/nonexistent.yaml", &err),
                     MUP_SYSTEM);
    assert_non_null(strstr(err.text, "cannot open '/nonexistent.yaml'"));
    assert_memory_equal(&toy, &before, sizeof(toy));
}

/* The dump as text; freed by the caller. */
static char *dump_of(const struct toy *toy, int comments)
{
    struct mup_error err = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    if (config_dump(&toy_schema, toy, comments, out, &err) != MUP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_round_trip(const struct toy *toy)
{
    for (int comments = 0; comments < 2; comments++) {
        struct toy back = toy_defaults();
        struct mup_error err = { 0 };
        char *text = dump_of(toy, comments), *again;

        if (load(text, &back, &err) != MUP_OK)
            fail_msg("%s in:\n%s", err.text, text);
        assert_memory_equal(&back.train, &toy->train, sizeof(back.train));
        assert_memory_equal(&back.data, &toy->data, sizeof(back.data));
        again = dump_of(&back, comments);
        assert_string_equal(text, again);
        free(text);
        free(again);
    }
}

static void a_dump_parses_to_itself(void **state)
{
    static const char *const paths[] = {
        "",
        "plain",
        "yes",
        "~",
        "a: b # c",
        " blank ",
        "\"quoted\" \\ and 'single'",
        "tab\tnewline\nreturn\rbell\a\x7f",
        "\xc3\xa9t\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x99\x82",
        "\xc2\x85 \xe2\x80\xa8 \xe2\x80\xa9 \xef\xbb\xbf \xef\xbf\xbf",
        "{[&*!|>%@`,]}",
        "/a path/with-every_thing.bin",
    };
    uint64_t bits = 99;

    (void)state;
    for (size_t i = 0; i < 200; i++) {
        struct toy toy = toy_defaults();

        assert_int_equal(
            config_set(&toy_schema, &toy, "data.path", paths[i % 12], NULL),
            MUP_OK);
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        toy.train.lr = ldexp((double)(bits >> 11), -60);
        toy.train.beta2 = ldexp((double)(bits >> 12), -53);
        toy.train.seed = (int64_t)bits;
        toy.train.optimizer = i % 2;
        toy.data.shuffle = i / 2 % 2;
        if (i % 3)
            toy.data.width = 8 + (int64_t)i;
        assert_round_trip(&toy);
    }
}

static void a_dump_is_readable(void **state)
{
    struct toy toy = toy_defaults();
    char *text;

    (void)state;
    config_set(&toy_schema, &toy, "train.lr", "2^-6", NULL);
    config_set(&toy_schema, &toy, "data.path", "a \"b\"", NULL);
    text = dump_of(&toy, 0);
    assert_string_equal(text, "train:\n"
                              "  steps: 1000\n"
                              "  lr: 0.015625\n"
                              "  beta2: 0.95\n"
                              "  balance_loss: 0.01\n"
                              "  warmup: 0.1\n"
                              "  optimizer: adamw\n"
                              "  seed: -1\n"
                              "data:\n"
                              "  path: \"a \\\"b\\\"\"\n"
                              "  shuffle: yes\n"
                              "  # width: (must be given)\n");
    free(text);
    text = dump_of(&toy, 1);
    assert_non_null(strstr(text, "# The optimizer.\ntrain:\n  # optimizer "
                                 "steps to run [scale]\n  steps: 1000\n"));
    free(text);
}

static void a_dump_that_cannot_be_written_says_so(void **state)
{
    struct toy toy = toy_defaults();
    struct mup_error err = { 0 };
    FILE *full = fopen("/dev/full", "w");

    (void)state;
    assert_non_null(full);
    assert_int_equal(config_dump(&toy_schema, &toy, 0, full, &err), MUP_SYSTEM);
    assert_string_equal(err.text,
                        "cannot write the config: No space left on device");
    fclose(full);
    toy.train.lr = (double)NAN;
    full = fopen("/dev/null", "w");
    assert_int_equal(config_dump(&toy_schema, &toy, 0, full, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "train.lr is not a finite number"));
    fclose(full);
}

static void note_difference(void *context, const char *key,
                            const struct field *field, const char *text_a,
                            const char *text_b)
{
    char *seen = context;
    size_t used = strlen(seen);

    snprintf(seen + used, 512 - used, "%s[%s] %s>%s;", key,
             field_role_name(field->role), text_a, text_b);
}

static void a_diff_visits_exactly_what_differs(void **state)
{
    struct toy a = toy_defaults(), b = a;
    char seen[512] = "";

    (void)state;
    config_diff(&toy_schema, &a, &b, note_difference, seen);
    assert_string_equal(seen, "");
    b.train.lr = 0.5;
    b.train.optimizer = 1;
    b.data.shuffle = 0;
    b.data.width = 64;
    config_set(&toy_schema, &b, "data.path", "x", NULL);
    config_diff(&toy_schema, &a, &b, note_difference, seen);
    assert_string_equal(seen, "train.lr[transfer] 0>0.5;"
                              "train.optimizer[fixed] adamw>sgd;"
                              "data.path[run] >x;"
                              "data.shuffle[fixed] yes>no;"
                              "data.width[scale] 0>64;");
}

static void a_key_is_found_by_its_full_name_only(void **state)
{
    const struct section *section = NULL;
    const struct field *f = config_find(&toy_schema, "data.path", &section);

    (void)state;
    assert_ptr_equal(f, &data_fields[0]);
    assert_ptr_equal(section, &toy_sections[1]);
    assert_null(config_find(&toy_schema, "path", NULL));
    assert_null(config_find(&toy_schema, "train.path", NULL));
    assert_null(config_find(&toy_schema, "data.", NULL));
    assert_null(config_find(&toy_schema, "data.path.x", NULL));
    assert_null(config_find(&toy_schema, "dat.path", NULL));
}

static void the_reference_lists_every_key(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    assert_non_null(out);
    config_reference(&toy_schema, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "## train\n\nThe optimizer.\n\n| key |"));
    assert_non_null(strstr(text, "| `train.lr` | number | (0,inf) | "
                                 "(required) | transfer | peak learning rate "
                                 "at base width |\n"));
    assert_non_null(strstr(text, "| choice | adamw\\|sgd | adamw | fixed |"));
    assert_non_null(strstr(text, "| `data.path` | text |  | (empty) | run |"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_remembers_its_lines),
        cmocka_unit_test(an_empty_text_is_an_empty_tree),
        cmocka_unit_test(yaml_that_we_do_not_read_is_refused_with_its_line),
        cmocka_unit_test(trees_have_limits),
        cmocka_unit_test(files_that_cannot_be_read_are_system_errors),
        cmocka_unit_test(defaults_fill_the_struct),
        cmocka_unit_test(setting_a_key_records_that_it_was_given),
        cmocka_unit_test(bad_values_are_refused_in_one_sentence),
        cmocka_unit_test(a_text_fits_or_is_refused),
        cmocka_unit_test(suggestions_survive_absurd_names),
        cmocka_unit_test(a_missing_key_is_named),
        cmocka_unit_test(a_file_is_read_on_top_of_what_is_there),
        cmocka_unit_test(errors_in_a_file_carry_its_line),
        cmocka_unit_test(a_missing_file_is_a_system_error),
        cmocka_unit_test(a_dump_parses_to_itself),
        cmocka_unit_test(a_dump_is_readable),
        cmocka_unit_test(a_dump_that_cannot_be_written_says_so),
        cmocka_unit_test(a_diff_visits_exactly_what_differs),
        cmocka_unit_test(a_key_is_found_by_its_full_name_only),
        cmocka_unit_test(the_reference_lists_every_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
