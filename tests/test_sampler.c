/* Grid, random and Sobol proposals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sweep/sampler.h"

static void open_text(const char *text, struct space *out)
{
    struct mup_error err = { 0 };

    if (space_open_text(text, strlen(text), "s.yaml", out, &err))
        fail_msg("%s", err.text);
}

static void expect(const struct space *s, int64_t index, const char *first,
                   const char *second)
{
    struct space_point p;

    assert_int_equal(sampler_propose(s, index, NULL, 0, &p), 1);
    assert_string_equal(p.value[0], first);
    assert_string_equal(p.value[1], second);
}

static void a_grid_proposes_every_point_once_in_order(void **state)
{
    struct space s;
    struct space_point p;

    (void)state;
    open_text("parameters:\n  train.lr: [1, 2]\n  train.beta1: [0.1, 0.2, 0.3]"
              "\n",
              &s);
    assert_int_equal(sampler_count(&s), 6);
    expect(&s, 0, "1", "0.1");
    expect(&s, 1, "1", "0.2");
    expect(&s, 5, "2", "0.3");
    assert_int_equal(sampler_propose(&s, 6, NULL, 0, &p), 0);
    space_close(&s);
}

static void enqueued_points_come_first_and_are_not_repeated(void **state)
{
    struct space s;
    struct space_point p;

    (void)state;
    open_text("parameters:\n  train.lr: [1, 2]\n  train.beta1: [0.1, 0.2]\n"
              "enqueue:\n  - {train.lr: 1, train.beta1: 0.2}\n"
              "  - {train.lr: 1, train.beta1: 0.1}\n"
              "  - {train.lr: 5, train.beta1: 0.1}\n",
              &s);
    assert_int_equal(sampler_count(&s), 5);
    expect(&s, 0, "1", "0.2");
    expect(&s, 1, "1", "0.1");
    expect(&s, 2, "5", "0.1");
    expect(&s, 3, "2", "0.1");
    expect(&s, 4, "2", "0.2");
    assert_int_equal(sampler_propose(&s, 5, NULL, 0, &p), 0);
    space_close(&s);
}

static void run_cap_counts_configurations(void **state)
{
    struct space s;

    (void)state;
    open_text("run_cap: 2\nparameters:\n  train.lr: [1, 2, 3]\nseeds: [1, 2]\n",
              &s);
    assert_int_equal(sampler_count(&s), 2);
    space_close(&s);
}

/* Values of a key over n proposals, as numbers. */
static void sample(const struct space *s, int parameter, int n, double *out)
{
    for (int i = 0; i < n; i++) {
        struct space_point p;

        assert_int_equal(sampler_propose(s, i, NULL, 0, &p), 1);
        assert_int_equal(parse_real(p.value[parameter], &out[i], NULL), 0);
    }
}

static void random_and_sobol_stay_in_range_and_fill_it(void **state)
{
    static const char *const methods[] = { "random", "sobol" };

    (void)state;
    for (int m = 0; m < 2; m++) {
        char text[512];
        struct space s;
        double x[256], low = 0;
        int counts[3] = { 0 };

        snprintf(text, sizeof(text),
                 "method: %s\nrun_cap: 256\nparameters:\n"
                 "  train.lr: {distribution: log_uniform_values, min: 2^-10, "
                 "max: 2^-2}\n  train.steps: {min: 5, max: 7}\n",
                 methods[m]);
        open_text(text, &s);
        sample(&s, 0, 256, x);
        for (int i = 0; i < 256; i++) {
            assert_true(x[i] >= 0x1p-10 && x[i] <= 0x1p-2);
            low += x[i] < 0x1p-6;
        }
        /* Half of the octaves: 128 expected, 5 binomial deviations of 8. */
        assert_true(fabs(low - 128) <= 40);
        sample(&s, 1, 256, x);
        for (int i = 0; i < 256; i++)
            counts[(int)x[i] - 5]++;
        /* 85.3 expected, 5 binomial deviations of 7.5. */
        for (int i = 0; i < 3; i++)
            assert_true(abs(counts[i] - 85) <= 38);
        space_close(&s);
    }
}

static void open_study(const char *method, int run_cap, int seed,
                       struct space *out)
{
    char text[256];

    snprintf(text, sizeof(text),
             "method: %s\nrun_cap: %d\nseed: %d\nparameters:\n"
             "  train.lr: {min: 0.1, max: 0.9}\n",
             method, run_cap, seed);
    open_text(text, out);
}

static void proposals_depend_on_seed_and_index_alone(void **state)
{
    static const char *const methods[] = { "random", "sobol" };

    (void)state;
    for (int m = 0; m < 2; m++) {
        struct space a, b, c;
        double x[32], y[64], z[32];

        open_study(methods[m], 32, 1, &a);
        open_study(methods[m], 64, 1, &b);
        open_study(methods[m], 32, 2, &c);
        sample(&a, 0, 32, x);
        sample(&b, 0, 64, y);
        sample(&c, 0, 32, z);
        assert_memory_equal(x, y, sizeof(x)); /* a longer study begins alike */
        assert_memory_not_equal(x, z, sizeof(x));
        space_close(&a);
        space_close(&b);
        space_close(&c);
    }
}

static void numbers_are_short_and_inside_the_range(void **state)
{
    struct space_parameter p = { .min = 0.1, .max = 0.7 };
    char text[SPACE_TEXT_BYTES];

    (void)state;
    space_number_text(&p, 0.123456789, text);
    assert_string_equal(text, "0.123457");
    space_number_text(&p, 0x1p-2, text);
    assert_string_equal(text, "0.25");
    space_number_text(&p, 5, text);
    assert_string_equal(text, "0.7");
    p = (struct space_parameter){ .min = 1, .max = 2000000, .integer = 1 };
    space_number_text(&p, 1234567.4, text);
    assert_string_equal(text, "1234567");
}

/* The first 2^k points have one point in each of 2^k equal intervals, in every
 * dimension and under every scrambling: what makes the sequence a net. */
static void sobol_points_are_stratified_in_every_dimension(void **state)
{
    (void)state;
    for (int dim = 0; dim < SPACE_MAX_PARAMETERS; dim++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            enum { N = 1024 };
            char seen[N] = { 0 };

            for (int i = 0; i < N; i++) {
                double u = sobol_point(seed, i, dim);

                assert_true(u >= 0 && u < 1);
                assert_int_equal(seen[(int)(u * N)]++, 0);
            }
        }
}

/* In the first dimensions also the pairs: (0,2)-sequence in base 2. */
static void the_first_two_dimensions_are_a_net_together(void **state)
{
    enum { K = 5, SIDE = 1 << K };
    char seen[SIDE][SIDE] = { 0 };

    (void)state;
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = (int)(sobol_point(9, i, 0) * SIDE);
        int y = (int)(sobol_point(9, i, 1) * SIDE);

        assert_int_equal(seen[x][y]++, 0);
    }
}

/* Sobol's theorem: the quality parameter t of a projection is at most the sum
 * of (degree - 1) of its polynomials, here 6 + 6, so 2^16 points of any pair of
 * dimensions lie in 4 x 4 cells exactly evenly.  A polynomial that is not
 * primitive or is used twice fails here. */
static void every_pair_of_dimensions_is_a_net(void **state)
{
    enum { N = 1 << 16 };
    unsigned char *cell = malloc((size_t)SPACE_MAX_PARAMETERS * N);

    (void)state;
    assert_non_null(cell);
    for (int dim = 0; dim < SPACE_MAX_PARAMETERS; dim++)
        for (int i = 0; i < N; i++)
            cell[dim * N + i] = (unsigned char)(sobol_point(1, i, dim) * 4);
    for (int a = 0; a < SPACE_MAX_PARAMETERS; a++)
        for (int b = 0; b < a; b++) {
            int count[16] = { 0 };

            for (int i = 0; i < N; i++)
                count[4 * cell[a * N + i] + cell[b * N + i]]++;
            for (int i = 0; i < 16; i++)
                assert_int_equal(count[i], N / 16);
        }
    free(cell);
}

/* Scrambling makes the points unbiased: the mean over seeds of one point is
 * 1/2, with standard deviation 1/sqrt(12 * 400) = 0.0144; 5 of those. */
static void a_scrambled_point_is_uniform_over_seeds(void **state)
{
    (void)state;
    for (int index = 0; index < 4; index++) {
        double sum = 0;

        for (uint64_t seed = 0; seed < 400; seed++)
            sum += sobol_point(seed, index, 3);
        assert_true(fabs(sum / 400 - 0.5) < 0.072);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grid_proposes_every_point_once_in_order),
        cmocka_unit_test(enqueued_points_come_first_and_are_not_repeated),
        cmocka_unit_test(run_cap_counts_configurations),
        cmocka_unit_test(random_and_sobol_stay_in_range_and_fill_it),
        cmocka_unit_test(proposals_depend_on_seed_and_index_alone),
        cmocka_unit_test(numbers_are_short_and_inside_the_range),
        cmocka_unit_test(sobol_points_are_stratified_in_every_dimension),
        cmocka_unit_test(the_first_two_dimensions_are_a_net_together),
        cmocka_unit_test(every_pair_of_dimensions_is_a_net),
        cmocka_unit_test(a_scrambled_point_is_uniform_over_seeds),
    };

    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
