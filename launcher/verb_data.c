#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "launcher/json.h"
#include "launcher/units.h"
#include "launcher/verbs.h"
#include "model/corpus.h"
#include "model/data.h"

static const struct option options[] = {
    { "text", 0, NULL, "the operands are text files or folders (the default)" },
    { "output", 'o', "OUT.bin", "shard to write (required by prepare)" },
    { "valid-every", 0, "N", "hold out every Nth document (50)" },
    { "packages", 0, "FILE", "lines 'name version', kept in the manifest" },
    OPTION_JSON,
    { 0 },
};

static json_t *report_json(const struct corpus_report *r)
{
    json_t *o = json_object();

    json_object_set_new(o, "train", json_string(r->train_path));
    json_object_set_new(o, "valid", json_string(r->valid_path));
    json_object_set_new(o, "train_documents", json_integer(r->train_documents));
    json_object_set_new(o, "valid_documents", json_integer(r->valid_documents));
    json_object_set_new(o, "train_bytes", json_integer(r->train_bytes));
    json_object_set_new(o, "valid_bytes", json_integer(r->valid_bytes));
    json_object_set_new(o, "dropped_short", json_integer(r->dropped_short));
    json_object_set_new(o, "dropped_duplicate",
                        json_integer(r->dropped_duplicate));
    json_object_set_new(o, "dropped_binary", json_integer(r->dropped_binary));
    json_object_set_new(o, "transcoded", json_integer(r->transcoded));
    json_object_set_new(o, "train_hash", json_string(r->train_hash));
    json_object_set_new(o, "valid_hash", json_string(r->valid_hash));
    return o;
}

static int prepare(const struct args *args, struct mup_error *err)
{
    const char *output = args_text(args, "output");
    struct corpus_report r;
    int64_t valid_every = 50;
    int rc;

    if (!output)
        return mup_fail(err, MUP_USAGE,
                        "no output: add -o OUT.bin, the shard to write");
    if (args->n_operands < 2)
        return mup_fail(err, MUP_USAGE,
                        "no text: name files or folders after 'prepare'");
    rc = args_int(args, "valid-every", 2, 1000000, &valid_every, err);
    if (rc == MUP_OK)
        rc = corpus_prepare(args->operands + 1, args->n_operands - 1, output,
                            valid_every, args_text(args, "packages"), &r, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json"))
        return json_print(report_json(&r), err);
    printf("%s  %s documents, %s  xxh3 %s\n", r.train_path,
           units_count(r.train_documents).text,
           units_bytes((double)r.train_bytes).text, r.train_hash);
    printf("%s  %s documents, %s  xxh3 %s\n", r.valid_path,
           units_count(r.valid_documents).text,
           units_bytes((double)r.valid_bytes).text, r.valid_hash);
    if (r.split_by_tail)
        printf("few documents: the end of each is held out\n");
    if (r.dropped_short || r.dropped_duplicate || r.dropped_binary)
        printf("dropped: %lld short, %lld duplicate, %lld binary\n",
               (long long)r.dropped_short, (long long)r.dropped_duplicate,
               (long long)r.dropped_binary);
    return MUP_OK;
}

/* The first bytes of a shard, so that one sees whether it is text. */
static void print_head(const struct data *data)
{
    int32_t input[256], target[256];

    data_sequence(data, 0, 0, input, target);
    printf("begins: ");
    for (int i = 0; i < 64 && i < data->seq; i++)
        putchar(input[i] >= 32 && input[i] < 127 ? (int)input[i] : '.');
    printf("\n");
}

static int show(const struct args *args, struct mup_error *err)
{
    struct data data;
    int rc;

    if (args->n_operands != 2)
        return mup_fail(err, MUP_USAGE, "'data show' takes one shard");
    rc = data_open(args->operands[1], "train", 64, (int64_t)1 << 31, 0, 1,
                   &data, err);
    if (rc != MUP_OK)
        return rc;
    if (args_given(args, "json")) {
        json_t *o = json_object();

        json_object_set_new(o, "tokens", json_integer(data.shard.tokens));
        json_object_set_new(o, "token_bytes",
                            json_integer(data.shard.token_bytes));
        rc = json_print(o, err);
    } else {
        printf("%s: %s tokens of %d bytes, xxh3 %016llx%016llx\n",
               args->operands[1], units_count(data.shard.tokens).text,
               data.shard.token_bytes, (unsigned long long)data.hash[1],
               (unsigned long long)data.hash[0]);
        print_head(&data);
    }
    data_close(&data);
    return rc;
}

static int run(const struct args *args, struct mup_error *err)
{
    if (!strcmp(args->operands[0], "prepare"))
        return prepare(args, err);
    if (!strcmp(args->operands[0], "show"))
        return show(args, err);
    return mup_fail(err, MUP_USAGE, "'data' cannot '%s'; one of prepare, show",
                    args->operands[0]);
}

const struct verb verb_data = {
    "data",
    "prepare|show FILES...",
    1,
    1 << 20,
    0,
    "text to token shards",
    "prepare  text files and folders to byte-level tokens: OUT.bin,\n"
    "         OUT-valid.bin (held-out documents) and OUT.json (counts, "
    "hashes)\n"
    "show     what a shard holds",
    "mutransfer data prepare --text books/ -o corpus/books.bin",
    options,
    run,
};
