/* model/shard.c, model/data.c and model/synthetic.c: token files, windows by
 * number, the source of known entropy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/data.h"
#include "model/synthetic.h"

enum { T = 16 };

static int enter_folder(void **state)
{
    char dir[] = "/tmp/test-data-XXXXXX";

    if (!mkdtemp(dir) || chdir(dir) != 0)
        return -1;
    *state = strdup(dir);
    return *state ? 0 : -1;
}

static int leave_folder(void **state)
{
    char command[256];
    int rc;

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", (char *)*state);
    free(*state);
    rc = chdir("/");
    return rc == 0 && system(command) == 0 ? 0 : -1;
}

/* Token i of the test shards: i modulo m. */
static void write_shard(const char *path, int64_t n, int32_t m, int64_t vocab)
{
    struct mup_error err = { 0 };
    struct shard_writer *w;

    assert_int_equal(shard_writer_open(path, vocab, &w, &err), MUP_OK);
    for (int64_t i = 0; i < n; i++) {
        int32_t token = (int32_t)(i % m);

        assert_int_equal(shard_writer_add(w, &token, 1, &err), MUP_OK);
    }
    assert_int_equal(shard_writer_tokens(w), n);
    assert_int_equal(shard_writer_close(w, &err), MUP_OK);
}

/* Overwrite bytes of a file. */
static void patch(const char *path, long at, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "r+b");

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* ---- shards ----------------------------------------------------------- */

static void what_is_written_is_read_in_both_widths(void **state)
{
    static const int64_t vocabs[] = { 65536, 65537, 131072 };
    struct mup_error err = { 0 };

    (void)state;
    for (int v = 0; v < 3; v++) {
        int32_t token[10001], got[10001];
        uint64_t written[2], scanned[2];
        uint32_t largest;
        struct shard shard;
        struct shard_writer *w;

        for (int i = 0; i < 10001; i++)
            token[i] = (int32_t)((i * INT64_C(7919)) % vocabs[v]);
        token[5000] = (int32_t)vocabs[v] - 1;
        assert_int_equal(shard_writer_open("s", vocabs[v], &w, &err), MUP_OK);
        assert_int_equal(shard_writer_add(w, token, 10001, &err), MUP_OK);
        shard_writer_hash(w, written);
        assert_int_equal(shard_writer_close(w, &err), MUP_OK);

        assert_int_equal(shard_open("s", &shard, &err), MUP_OK);
        assert_int_equal(shard.tokens, 10001);
        assert_int_equal(shard.token_bytes, v == 0 ? 2 : 4);
        shard_read(&shard, 0, 10001, got);
        assert_memory_equal(got, token, sizeof(token));
        shard_read(&shard, 10000, 1, got);
        assert_int_equal(got[0], token[10000]);
        assert_int_equal(shard_scan(&shard, scanned, &largest, &err), MUP_OK);
        assert_memory_equal(scanned, written, sizeof(scanned));
        assert_int_equal(largest, vocabs[v] - 1);
        shard_close(&shard);
        shard_close(&shard); /* twice is harmless */
    }
}

static void the_file_is_the_llm_c_format_to_the_byte(void **state)
{
    struct mup_error err = { 0 };
    unsigned char file[1100];
    FILE *f;
    static const unsigned char head[] = { 0x88, 0xd8, 0x34, 0x01, 1, 0, 0, 0,
                                          3,    0,    0,    0,    0, 0, 0, 0 };
    static const unsigned char body[] = { 1, 0, 0, 1, 0x39, 0x30 };
    const int32_t token[] = { 1, 256, 12345 };
    struct shard_writer *w;

    (void)state;
    assert_int_equal(shard_writer_open("s", 50257, &w, &err), MUP_OK);
    assert_int_equal(shard_writer_add(w, token, 3, &err), MUP_OK);
    assert_int_equal(shard_writer_close(w, &err), MUP_OK);
    f = fopen("s", "rb");
    assert_non_null(f);
    assert_int_equal(fread(file, 1, sizeof(file), f), 1024 + 6);
    (void)fclose(f);
    assert_memory_equal(file, head, sizeof(head)); /* 0x0134d888 = 20240520 */
    assert_memory_equal(file + 1024, body, sizeof(body));
}

static void the_hash_is_that_of_the_token_bytes(void **state)
{
    struct mup_error err = { 0 };
    struct shard shard;
    uint64_t hash[2];
    uint32_t largest;
    uint16_t *token = malloc(1000000 * sizeof(*token));
    XXH128_hash_t direct;

    /* More than one block of the scan, and no multiple of it. */
    (void)state;
    assert_non_null(token);
    write_shard("s", 1000000, 257, BYTE_VOCAB);
    for (int i = 0; i < 1000000; i++)
        token[i] = (uint16_t)(i % 257);
    direct = XXH3_128bits(token, 1000000 * sizeof(*token));
    free(token);
    assert_int_equal(shard_open("s", &shard, &err), MUP_OK);
    assert_int_equal(shard_scan(&shard, hash, &largest, &err), MUP_OK);
    shard_close(&shard);
    assert_true(hash[0] == direct.high64 && hash[1] == direct.low64);
    assert_int_equal(largest, 256);
}

static void damaged_shards_are_corrupt_and_named(void **state)
{
    struct mup_error err = { 0 };
    struct shard shard = { .tokens = -7 };
    const int32_t bad = 20240326, version = 2, negative = -1;

    (void)state;
    write_shard("s", 100, 50, 100);
    assert_int_equal(truncate("s", 1024 + 199), 0);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "'s' is truncated"));
    assert_non_null(strstr(err.text, "100 tokens"));
    assert_non_null(strstr(err.text, "1224 bytes"));
    assert_non_null(strstr(err.text, "1223"));
    assert_int_equal(truncate("s", 1024 + 202), 0);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "too long"));
    assert_int_equal(truncate("s", 1023), 0);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "ends inside its header"));
    assert_int_equal(truncate("s", 0), 0);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);

    write_shard("s", 100, 50, 100);
    patch("s", 0, &bad, 4);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "magic 20240326"));
    write_shard("s", 100, 50, 100);
    patch("s", 4, &version, 4);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);
    assert_non_null(strstr(err.text, "version 2"));
    write_shard("s", 100, 50, 100);
    patch("s", 8, &negative, 4);
    assert_int_equal(shard_open("s", &shard, &err), MUP_CORRUPT);
    assert_int_equal(shard_open("gone", &shard, &err), MUP_SYSTEM);
    assert_non_null(strstr(err.text, "'gone'"));
    assert_int_equal(shard_open(".", &shard, &err), MUP_SYSTEM);
    assert_int_equal(shard_open("/dev/null", &shard, &err), MUP_SYSTEM);
    assert_int_equal(shard.tokens, -7);
}

static void the_writer_refuses_tokens_outside_the_vocabulary(void **state)
{
    struct mup_error err = { 0 };
    struct shard_writer *w;
    int32_t token[] = { 0, 9, 10 };

    (void)state;
    assert_int_equal(shard_writer_open("s", 10, &w, &err), MUP_OK);
    assert_int_equal(shard_writer_add(w, token, 3, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "token 10 at position 2"));
    token[0] = -1;
    assert_int_equal(shard_writer_add(w, token, 1, &err), MUP_USAGE);
    shard_writer_abandon(w);
    shard_writer_abandon(NULL);
    assert_int_not_equal(access("s", F_OK), 0);
    assert_int_equal(shard_writer_open("s", 0, &w, &err), MUP_USAGE);
    assert_int_equal(shard_writer_open("no/s", 9, &w, &err), MUP_SYSTEM);
}

/* ---- windows ---------------------------------------------------------- */

static void a_window_is_tokens_and_their_successors(void **state)
{
    struct mup_error err = { 0 };
    struct data data;
    int32_t input[T], target[T];

    (void)state;
    write_shard("s", 10 * T + 1, 1000, 1000);
    assert_int_equal(data_open("s", "train", T, 1000, 3, 10, &data, &err),
                     MUP_OK);
    assert_int_equal(data.windows, 10);
    assert_int_equal(data.byte_level, 0);
    for (int i = 0; i < 40; i++) {
        data_sequence(&data, i, i & 1, input, target);
        assert_int_equal(input[0] % T, 0); /* stride T */
        for (int t = 0; t < T; t++) {
            assert_int_equal(input[t], input[0] + t);
            assert_int_equal(target[t], input[0] + t + 1);
        }
    }
    data_close(&data);
}

/* windows seen by samples first..first+n, as counts. */
static void count_windows(const struct data *data, int shuffled, int64_t first,
                          int64_t n, int *seen)
{
    int32_t input[T], target[T];

    memset(seen, 0, (size_t)data->windows * sizeof(*seen));
    for (int64_t i = first; i < first + n; i++) {
        data_sequence(data, i, shuffled, input, target);
        seen[input[0] / T]++;
    }
}

static void every_epoch_visits_every_window_once(void **state)
{
    static const int64_t sizes[] = { 1, 2, 3, 7, 64, 610, 1000 };
    struct mup_error err = { 0 };
    struct data data;
    int seen[1000];

    (void)state;
    for (int s = 0; s < 7; s++) {
        int64_t n = sizes[s];

        write_shard("s", n * T + 5, 65536, 65536);
        assert_int_equal(data_open("s", "train", T, 65536, 3, 1, &data, &err),
                         MUP_OK);
        assert_int_equal(data.windows, n);
        for (int shuffled = 0; shuffled < 2; shuffled++)
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                count_windows(&data, shuffled, epoch * n, n, seen);
                for (int64_t i = 0; i < n; i++)
                    assert_int_equal(seen[i], 1);
            }
        data_close(&data);
    }
}

static void
epochs_and_seeds_differ_and_the_held_out_order_does_not(void **state)
{
    struct mup_error err = { 0 };
    struct data a, b;
    int32_t x[T], y[T], scrap[T];
    int same_epoch = 0, same_seed = 0;

    (void)state;
    write_shard("s", 1000 * T + 1, 65536, 65536);
    assert_int_equal(data_open("s", "train", T, 65536, 1, 1, &a, &err), MUP_OK);
    assert_int_equal(data_open("s", "train", T, 65536, 2, 1, &b, &err), MUP_OK);
    for (int i = 0; i < 1000; i++) {
        data_sequence(&a, i, 1, x, scrap);
        data_sequence(&a, i + 1000, 1, y, scrap);
        same_epoch += x[0] == y[0];
        data_sequence(&b, i, 1, y, scrap);
        same_seed += x[0] == y[0];
        data_sequence(&a, i, 0, x, scrap);
        data_sequence(&b, i, 0, y, scrap);
        assert_memory_equal(x, y, sizeof(x));
    }
    /* Coincidences are Poisson of mean 1: 10 or more has probability 1e-7. */
    assert_in_range(same_epoch, 0, 9);
    assert_in_range(same_seed, 0, 9);
    assert_memory_equal(a.hash, b.hash, sizeof(a.hash));
    data_close(&a);
    data_close(&b);
}

/* The first 2^j samples lie one in each of 2^j equal pieces, so neighbours are
 * less than two pieces apart; pieces differ by one window. */
static void a_prefix_of_the_held_out_order_covers_the_corpus(void **state)
{
    static const int64_t sizes[] = { 987, 1000, 1266, 2310 };
    struct mup_error err = { 0 };
    struct data data;
    int seen[2310];

    (void)state;
    for (int s = 0; s < 4; s++) {
        write_shard("s", sizes[s] * T + 1, 65536, 65536);
        assert_int_equal(data_open("s", "valid", T, 65536, 0, 1, &data, &err),
                         MUP_OK);
        for (int64_t n = 8; n <= 128; n *= 2) {
            int64_t last = -1, gap = 0;

            count_windows(&data, 0, 0, n, seen);
            for (int64_t i = 0; i < sizes[s]; i++)
                if (seen[i]) {
                    gap = i - last > gap ? i - last : gap;
                    last = i;
                }
            gap = sizes[s] - last > gap ? sizes[s] - last : gap;
            assert_true(gap <= 2 * (sizes[s] / n + 1));
        }
        data_close(&data);
    }
}

static void a_token_above_the_vocabulary_is_named_with_its_place(void **state)
{
    struct mup_error err = { 0 };
    struct data data = { .windows = -7 };
    const uint16_t bad = 320, worse = 65535;
    const uint32_t huge = UINT32_C(0xfffffff0);

    (void)state;
    write_shard("s", 200001, 257, BYTE_VOCAB);
    patch("s", 1024 + 2 * 150001, &bad, 2);
    patch("s", 1024 + 2 * 150007, &worse, 2);
    assert_int_equal(data_open("s", "train", T, 320, 0, 1, &data, &err),
                     MUP_CORRUPT);
    assert_non_null(strstr(err.text, "token 320 at position 150001 of 's'"));
    assert_non_null(strstr(err.text, "model.vocab 320"));
    assert_int_equal(data.windows, -7);
    assert_int_equal(data_open("s", "train", T, 65536, 0, 1, &data, &err),
                     MUP_OK);
    data_close(&data);

    write_shard("s", 1000, 257, 100000);
    patch("s", 1024 + 4 * 999, &huge, 4);
    assert_int_equal(data_open("s", "train", T, 131072, 0, 1, &data, &err),
                     MUP_CORRUPT);
    assert_non_null(strstr(err.text, "token 4294967280 at position 999"));
}

static void a_corpus_shorter_than_a_batch_is_a_usage_error(void **state)
{
    struct mup_error err = { 0 };
    struct data data;

    (void)state;
    write_shard("s", 10 * T, 257, BYTE_VOCAB); /* the last target is missing */
    assert_int_equal(data_open("s", "train", T, 320, 0, 10, &data, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "9 windows of 16 tokens, 10 are needed"));
    assert_int_equal(data_open("s", "train", T, 320, 0, 9, &data, &err),
                     MUP_OK);
    data_close(&data);
    write_shard("s", T, 257, BYTE_VOCAB);
    assert_int_equal(data_open("s", "train", T, 320, 0, 0, &data, &err),
                     MUP_USAGE);
    write_shard("s", 0, 257, BYTE_VOCAB);
    assert_int_equal(data_open("s", "train", T, 320, 0, 0, &data, &err),
                     MUP_USAGE);
    assert_int_equal(data_open("", "train", T, 320, 0, 0, &data, &err),
                     MUP_USAGE);
    assert_int_equal(data_open("s", "train", 0, 320, 0, 0, &data, &err),
                     MUP_USAGE);
}

static void only_bytes_in_the_byte_vocabulary_count_as_bytes(void **state)
{
    struct mup_error err = { 0 };
    struct data data;

    (void)state;
    write_shard("s", 1000, 257, BYTE_VOCAB);
    assert_int_equal(data_open("s", "train", T, 320, 0, 1, &data, &err), 0);
    assert_int_equal(data.byte_level, 1);
    data_close(&data);
    assert_int_equal(data_open("s", "train", T, 512, 0, 1, &data, &err), 0);
    assert_int_equal(data.byte_level, 0);
    data_close(&data);
    write_shard("s", 1000, 258, BYTE_VOCAB);
    assert_int_equal(data_open("s", "train", T, 320, 0, 1, &data, &err), 0);
    assert_int_equal(data.byte_level, 0);
    data_close(&data);
}

static void resident_memory_grows_to_the_whole_file_and_no_further(void **state)
{
    struct mup_error err = { 0 };
    struct data data;
    int64_t last = 0;

    (void)state;
    write_shard("s", 2000000, 257, BYTE_VOCAB);
    assert_int_equal(data_open("s", "train", T, 320, 0, 1, &data, &err), 0);
    assert_int_equal(data_resident_bytes(&data, 0), 0);
    for (int64_t n = 1; n < 100000; n *= 10) {
        int64_t bytes = data_resident_bytes(&data, n);

        assert_true(bytes > last || bytes == (int64_t)data.shard.map_bytes);
        assert_true(bytes <= (int64_t)data.shard.map_bytes);
        last = bytes;
    }
    assert_true(last == (int64_t)data.shard.map_bytes);
    data_close(&data);
}

/* ---- the synthetic source --------------------------------------------- */

static void a_synthetic_sequence_is_a_function_of_its_number(void **state)
{
    struct mup_error err = { 0 };
    struct data a, b, shorter;
    int32_t x[T], y[T], xt[T], yt[T];

    (void)state;
    assert_int_equal(data_open("synthetic", "train", T, 320, 5, 1, &a, &err),
                     0);
    assert_int_equal(data_open("synthetic", "train", T, 96, 6, 1, &b, &err), 0);
    assert_int_equal(
        data_open("synthetic", "train", T / 2, 320, 5, 1, &shorter, &err), 0);
    assert_int_equal(a.byte_level, 1);
    assert_int_equal(b.byte_level, 0);
    assert_int_equal(a.windows, DATA_SYNTHETIC_WINDOWS);
    assert_memory_not_equal(a.hash, b.hash, sizeof(a.hash));
    for (int64_t i = 0; i < 1000; i++) {
        int64_t sample = i * 1000003;

        data_sequence(&a, sample, 1, x, xt);
        assert_memory_equal(x + 1, xt, (T - 1) * sizeof(*x));
        data_sequence(&a, sample, 0, y, yt);
        assert_memory_equal(x, y, sizeof(x));
        assert_memory_equal(xt, yt, sizeof(xt));
        for (int t = 0; t < T; t++)
            assert_in_range(x[t], SYNTHETIC_FIRST, SYNTHETIC_VOCAB - 1);
        data_sequence(&shorter, sample, 1, y, yt);
        assert_memory_equal(x, y, T / 2 * sizeof(*x));
        /* 32^-16 for the first two tokens alone: never by chance. */
        data_sequence(&b, sample, 1, y, yt);
        assert_memory_not_equal(x, y, sizeof(x));
        data_sequence(&a, sample + 1, 1, y, yt);
        assert_memory_not_equal(x, y, sizeof(x));
    }
    data_close(&a);
    data_close(&b);
    data_close(&shorter);
}

static void
the_held_out_synthetic_stream_is_the_same_for_every_seed(void **state)
{
    struct mup_error err = { 0 };
    struct data a, b, train;
    int32_t x[T], y[T], scrap[T];

    (void)state;
    assert_int_equal(data_open("synthetic", "valid", T, 320, 0, 1, &a, &err),
                     0);
    assert_int_equal(data_open("synthetic", "valid", T, 320, 9, 1, &b, &err),
                     0);
    assert_int_equal(
        data_open("synthetic", "train", T, 320, 0, 1, &train, &err), 0);
    assert_memory_equal(a.hash, b.hash, sizeof(a.hash));
    for (int i = 0; i < 100; i++) {
        data_sequence(&a, i, 0, x, scrap);
        data_sequence(&b, i, 0, y, scrap);
        assert_memory_equal(x, y, sizeof(x));
        data_sequence(&train, i, 0, y, scrap);
        assert_memory_not_equal(x, y, sizeof(x));
    }
    data_close(&a);
    data_close(&b);
    data_close(&train);
}

static void
a_vocabulary_too_small_for_the_synthetic_source_is_refused(void **state)
{
    struct mup_error err = { 0 };
    struct data data;

    (void)state;
    assert_int_equal(data_open("synthetic", "train", T, 95, 0, 1, &data, &err),
                     MUP_USAGE);
    assert_non_null(strstr(err.text, "set model.vocab to 96"));
    assert_int_equal(data_open("synthetic", "train", INT64_C(1) << 40, 320, 0,
                               1, &data, &err),
                     MUP_USAGE);
}

static void transition_probabilities_sum_to_one(void **state)
{
    (void)state;
    for (int s = 0; s < SYNTHETIC_SOURCES; s++)
        for (int a = SYNTHETIC_FIRST; a < SYNTHETIC_VOCAB; a += 5)
            for (int b = SYNTHETIC_FIRST; b < SYNTHETIC_VOCAB; b++) {
                double sum = 0;

                for (int c = SYNTHETIC_FIRST; c < SYNTHETIC_VOCAB; c++)
                    sum += synthetic_probability(s, a, b, c);
                /* Multiples of 2^-12: the sum is exact. */
                assert_true(sum == 1);
            }
}

/* Entropy by counting: count[source][hi of a][b][c] over 2^21 transitions.
 * The plug-in estimate is low by (K-1) / 2N per context (Miller and Madow),
 * here 31 x 1024 / 2^22; its standard error is the spread of -log p, about 1.2
 * nats, over sqrt(2^21), under 0.001.  Hence 0.005. */
static void the_entropy_of_the_stream_is_the_closed_form(void **state)
{
    enum { SEQ = 512, SAMPLES = 4096 };
    const size_t cells = (size_t)8 * 8 * 64 * 64;
    struct random_key stream = random_key(1, "synthetic", "train");
    double *count = calloc(cells, sizeof(*count));
    double h = 0, n = 0, contexts = 0, measured = 0, sources[8] = { 0 };
    int32_t input[SEQ], target[SEQ];

    (void)state;
    assert_non_null(count);
    for (int i = 0; i < SAMPLES; i++) {
        int s = synthetic_source(&stream, i);

        sources[s]++;
        synthetic_sequence(&stream, i, SEQ, input, target);
        for (int t = 1; t < SEQ; t++) {
            int a = input[t - 1] - SYNTHETIC_FIRST;
            int b = input[t] - SYNTHETIC_FIRST;
            int c = target[t] - SYNTHETIC_FIRST;

            count[((s * 8 + a / 8) * 64 + b) * 64 + c]++;
            measured -= log(
                synthetic_probability(s, input[t - 1], input[t], target[t]));
            n++;
        }
    }
    for (size_t i = 0; i < cells; i += 64) {
        double sum = 0;

        for (size_t c = i; c < i + 64; c++)
            sum += count[c];
        contexts += sum > 0;
        for (size_t c = i; c < i + 64; c++)
            if (count[c] > 0)
                h -= count[c] / n * log(count[c] / sum);
    }
    free(count);
    assert_true(contexts <= 1024);
    h += 31 * contexts / (2 * n);
    assert_true(fabs(h - synthetic_entropy_rate()) < 0.005);
    /* Four standard errors of the mean of -log p. */
    assert_true(fabs(measured / n - synthetic_entropy_rate()) < 0.0035);
    /* Sources are uniform: binomial, five standard deviations. */
    for (int s = 0; s < 8; s++)
        assert_true(fabs(sources[s] - SAMPLES / 8.0) < 5 * sqrt(448.0));
}

/* What a model must learn: less is known without the source, and less still
 * without the last tokens. */
static void knowing_more_of_the_past_helps(void **state)
{
    enum { SEQ = 128, SAMPLES = 4000 };
    struct random_key stream = random_key(1, "synthetic", "train");
    static const int n_cells = 64 * 64;
    double *pair = calloc((size_t)n_cells, sizeof(*pair));
    double one[64] = { 0 }, n = 0, h0 = 0, h1 = 0;
    int32_t input[SEQ], target[SEQ];

    (void)state;
    assert_non_null(pair);
    for (int i = 0; i < SAMPLES; i++) {
        synthetic_sequence(&stream, i, SEQ, input, target);
        for (int t = 0; t < SEQ; t++) {
            int b = input[t] - SYNTHETIC_FIRST, c = target[t] - SYNTHETIC_FIRST;

            one[b]++;
            pair[b * 64 + c]++;
            n++;
        }
    }
    for (int b = 0; b < 64; b++) {
        h0 -= one[b] / n * log(one[b] / n);
        for (int c = 0; c < 64; c++)
            if (pair[b * 64 + c] > 0)
                h1 -= pair[b * 64 + c] / n * log(pair[b * 64 + c] / one[b]);
    }
    free(pair);
    assert_true(synthetic_entropy_rate() + 0.5 < h1);
    assert_true(h1 + 0.3 < h0);
    assert_true(h0 < log(64));
}

#define IN_FOLDER(test)                                                        \
    cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_is_written_is_read_in_both_widths),
        IN_FOLDER(the_file_is_the_llm_c_format_to_the_byte),
        IN_FOLDER(the_hash_is_that_of_the_token_bytes),
        IN_FOLDER(damaged_shards_are_corrupt_and_named),
        IN_FOLDER(the_writer_refuses_tokens_outside_the_vocabulary),
        IN_FOLDER(a_window_is_tokens_and_their_successors),
        IN_FOLDER(every_epoch_visits_every_window_once),
        IN_FOLDER(epochs_and_seeds_differ_and_the_held_out_order_does_not),
        IN_FOLDER(a_prefix_of_the_held_out_order_covers_the_corpus),
        IN_FOLDER(a_token_above_the_vocabulary_is_named_with_its_place),
        IN_FOLDER(a_corpus_shorter_than_a_batch_is_a_usage_error),
        IN_FOLDER(only_bytes_in_the_byte_vocabulary_count_as_bytes),
        IN_FOLDER(resident_memory_grows_to_the_whole_file_and_no_further),
        cmocka_unit_test(a_synthetic_sequence_is_a_function_of_its_number),
        cmocka_unit_test(
            the_held_out_synthetic_stream_is_the_same_for_every_seed),
        cmocka_unit_test(
            a_vocabulary_too_small_for_the_synthetic_source_is_refused),
        cmocka_unit_test(transition_probabilities_sum_to_one),
        cmocka_unit_test(the_entropy_of_the_stream_is_the_closed_form),
        cmocka_unit_test(knowing_more_of_the_past_helps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
