/* Philox against its published vectors, and what is drawn from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "model/random.h"
#include "tests/close.h"

/* Known answers of Random123 (kat_vectors, philox4x32 10): counter, key, out.
 */
static const struct {
    uint32_t counter[4], key[2], out[4];
} known[] = {
    { { 0, 0, 0, 0 },
      { 0, 0 },
      { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
    { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
      { 0xffffffff, 0xffffffff },
      { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
    { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
      { 0xa4093822, 0x299f31d0 },
      { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
};

static void philox_gives_the_published_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const uint32_t *c = known[i].counter;
        struct random_key key = { { known[i].key[0], known[i].key[1] },
                                  { c[2], c[3] } };
        uint32_t out[4];

        random_block(&key, (uint64_t)c[1] << 32 | c[0], out);
        assert_memory_equal(out, known[i].out, sizeof(out));
    }
}

static void every_part_of_a_key_counts(void **state)
{
    struct random_key a = random_key(1, "init", "w");
    struct random_key others[] = { random_key(2, "init", "w"),
                                   random_key(1, "order", "w"),
                                   random_key(1, "init", "v"),
                                   random_key(1, "init", ""),
                                   random_key(1, "initw", "") };
    struct random_key same = random_key(1, "init", "w");

    (void)state;
    assert_memory_equal(&a, &same, sizeof(a));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_true(random_normal(&a, 7) != random_normal(&others[i], 7));
}

/* Runs must be repeatable by later versions of the program: this value changes
 * only together with a note in the change log. */
static void the_drawn_numbers_stay_what_they_are(void **state)
{
    struct random_key key = random_key(1, "init", "layer.0.q");

    (void)state;
    assert_close(random_uniform(&key, 0), 0.20663189896098266, 1e-15);
    assert_close(random_normal(&key, 0), -0.26695466641005577, 1e-13);
    assert_close(random_normal(&key, 1), -0.6258363686249897, 1e-13);
    assert_int_equal(random_permute(&key, 3, 1000), 572);
}

static void uniforms_are_in_range_and_uniform(void **state)
{
    enum { N = 200000, BINS = 20 };
    struct random_key key = random_key(3, "test", "uniform");
    double chi2 = 0;
    int count[BINS] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double u = random_uniform(&key, i);

        assert_true(u >= 0 && u < 1);
        count[(int)(u * BINS)]++;
    }
    for (int b = 0; b < BINS; b++)
        chi2 += pow(count[b] - N / BINS, 2) / (N / BINS);
    assert_true(chi2 < 43.8); /* 19 degrees of freedom, p = 0.001 */
}

static void normals_have_the_moments_of_a_normal(void **state)
{
    enum { N = 400000 };
    struct random_key key = random_key(4, "test", "normal");
    double sum[5] = { 0 }, lag = 0, last = 0, most = 0;

    (void)state;
    for (uint64_t i = 0; i < N; i++) {
        double x = random_normal(&key, i), power = 1;

        for (int p = 0; p < 5; p++, power *= x)
            sum[p] += power / N;
        lag += x * last / N;
        last = x;
        most = fmax(most, fabs(x));
    }
    /* four standard errors: sqrt(Var x^p / N), Var = 1, 2, 15, 96 */
    assert_close(sum[1], 0, 4 * sqrt(1.0 / N));
    assert_close(sum[2], 1, 4 * sqrt(2.0 / N));
    assert_close(sum[3], 0, 4 * sqrt(15.0 / N));
    assert_close(sum[4], 3, 4 * sqrt(96.0 / N));
    assert_close(lag, 0, 4 * sqrt(1.0 / N)); /* pairs share a block */
    /* the largest of N is between 4.2 and 5.9 with probability 0.998 */
    assert_true(most > 4.2 && most < 5.9);
}

static void normals_in_bulk_are_the_same_numbers(void **state)
{
    struct random_key key = random_key(5, "test", "bulk");
    double out[9];

    (void)state;
    for (uint64_t first = 0; first < 4; first++)
        for (int64_t n = 0; n <= 8; n++) {
            out[n] = -1;
            random_normals(&key, first, n, out);
            for (int64_t i = 0; i < n; i++)
                assert_true(out[i] == random_normal(&key, first + (uint64_t)i));
            assert_true(out[n] == -1); /* nothing past the end */
        }
}

static void integers_stay_below_their_bound(void **state)
{
    struct random_key key = random_key(6, "test", "below");
    int seen[7] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        int64_t large = random_below(&key, i, INT64_MAX);

        assert_int_equal(random_below(&key, i, 1), 0);
        assert_true(large >= 0 && large < INT64_MAX);
        seen[random_below(&key, i, 7)]++;
    }
    for (int i = 0; i < 7; i++)
        assert_true(seen[i] > 80); /* 143 expected, standard deviation 11 */
}

static void a_permutation_is_a_bijection(void **state)
{
    static const int64_t sizes[] = { 1, 2, 3, 4, 5, 16, 17, 255, 256, 1000 };
    unsigned char seen[1000];

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct random_key key = random_key(seed, "order", "test");

            memset(seen, 0, sizeof(seen));
            for (int64_t i = 0; i < sizes[s]; i++) {
                int64_t to = random_permute(&key, i, sizes[s]);

                assert_in_range((uintmax_t)to, 0, (uintmax_t)sizes[s] - 1);
                assert_int_equal(seen[to]++, 0);
            }
        }
}

static void a_large_permutation_stays_in_range_and_shuffles(void **state)
{
    struct random_key key = random_key(7, "order", "large");
    const int64_t n = ((int64_t)1 << 40) + 12345;
    int fixed = 0, rising = 0;
    int64_t last = 0;

    (void)state;
    for (int64_t i = 0; i < 2000; i++) {
        int64_t to = random_permute(&key, i, n);

        assert_true(to >= 0 && to < n);
        fixed += to == i;
        rising += to > last;
        last = to;
    }
    assert_true(fixed <= 1);
    /* neighbours rise half of the time; sd of the count is sqrt(n/12) = 13 */
    assert_in_range(rising, 940, 1060);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(every_part_of_a_key_counts),
        cmocka_unit_test(the_drawn_numbers_stay_what_they_are),
        cmocka_unit_test(uniforms_are_in_range_and_uniform),
        cmocka_unit_test(normals_have_the_moments_of_a_normal),
        cmocka_unit_test(normals_in_bulk_are_the_same_numbers),
        cmocka_unit_test(integers_stay_below_their_bound),
        cmocka_unit_test(a_permutation_is_a_bijection),
        cmocka_unit_test(a_large_permutation_stays_in_range_and_shuffles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
