/* Who owns what: cuts, places, and which layout is chosen or refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/backend.h"
#include "model/layout_choice.h"

static int64_t draw(uint64_t *state, int64_t low, int64_t high)
{
    /* an LCG (Knuth, MMIX); its high bits are good enough for shapes */
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return low + (int64_t)((*state >> 33) % (uint64_t)(high - low + 1));
}

static void parts_are_even_and_the_last_is_the_largest(void **unused)
{
    uint64_t state = 1;

    (void)unused;
    for (int round = 0; round < 2000; round++) {
        int64_t parts = draw(&state, 1, 40), at = 0;
        int64_t total = draw(&state, 0, round % 2 ? 100 : 5);
        int64_t last = layout_cut(total, parts, parts) -
                       layout_cut(total, parts, parts - 1);

        for (int64_t i = 0; i < parts; i++) {
            int64_t size =
                layout_cut(total, parts, i + 1) - layout_cut(total, parts, i);

            assert_int_equal(layout_cut(total, parts, i), at);
            assert_in_range(last - size, 0, 1);
            at += size;
        }
        assert_int_equal(at, total);
    }
}

static void cutting_huge_numbers_does_not_overflow(void **unused)
{
    const int64_t total = (int64_t)1 << 62, parts = (int64_t)1 << 20;

    (void)unused;
    assert_int_equal(layout_cut(total, parts, parts), total);
    assert_int_equal(layout_cut(total - 1, parts, parts), total - 1);
    assert_int_equal(layout_cut(total, parts, 1), (int64_t)1 << 42);
}

static void ranks_and_places_are_one_to_one(void **unused)
{
    const struct layout l = { 3, 4, 5 };
    int seen[3][4][5] = { 0 };

    (void)unused;
    assert_int_equal(layout_ranks(&l), 60);
    for (int64_t rank = 0; rank < 60; rank++) {
        struct place p = layout_place(&l, rank);

        assert_in_range(p.data, 0, 2);
        assert_in_range(p.expert, 0, 3);
        assert_in_range(p.tensor, 0, 4);
        assert_int_equal(layout_rank(&p), rank);
        seen[p.data][p.expert][p.tensor]++;
    }
    for (int i = 0; i < 60; i++)
        assert_int_equal((&seen[0][0][0])[i], 1);
}

static void neighbours_along_tensor_are_neighbours_in_rank(void **unused)
{
    const struct layout l = { 2, 2, 4 };

    (void)unused;
    for (int64_t rank = 0; rank < 16; rank++) {
        struct place p = layout_place(&l, rank);

        assert_int_equal(layout_batch_part(&p), rank / 4);
        assert_int_equal(p.tensor, rank % 4);
    }
}

#define MOST 4096

static void count_box(const struct box *b, const int64_t shape[3], int *held)
{
    for (int64_t s = b->first[0]; s < b->first[0] + b->extent[0]; s++)
        for (int64_t r = b->first[1]; r < b->first[1] + b->extent[1]; r++)
            for (int64_t c = b->first[2]; c < b->first[2] + b->extent[2]; c++)
                held[(s * shape[1] + r) * shape[2] + c]++;
}

static void every_element_has_the_right_number_of_owners(void **unused)
{
    uint64_t state = 7;
    static int held[MOST];

    (void)unused;
    for (int round = 0; round < 400; round++) {
        const struct layout l = { draw(&state, 1, 3), draw(&state, 1, 5),
                                  draw(&state, 1, 4) };
        const int64_t shape[3] = { draw(&state, 1, 6), draw(&state, 1, 20),
                                   draw(&state, 1, 20) };
        int cut = (int)draw(&state, CUT_NONE, CUT_COLS);
        int expert = (int)draw(&state, 0, 1);
        int64_t owners =
            l.data * (expert ? 1 : l.expert) * (cut == CUT_NONE ? l.tensor : 1);

        memset(held, 0, sizeof(held));
        for (int64_t rank = 0; rank < layout_ranks(&l); rank++) {
            struct place p = layout_place(&l, rank);
            struct box b = layout_box(&p, shape, cut, expert);

            count_box(&b, shape, held);
        }
        for (int64_t i = 0; i < shape[0] * shape[1] * shape[2]; i++)
            assert_int_equal(held[i], owners);
    }
}

/* tiny: 4 key/value heads, 4 experts, batch 64. */
static struct run_config config_of(const char *const *overrides)
{
    static const char *const base[] = {
        "model.width=128",    "model.layers=2",       "model.head_size=16",
        "model.kv_group=2",   "model.experts=4",      "model.seq=32",
        "mup.base_width=128", "train.batch=64",       "train.steps=10",
        "train.lr=0.01",      "data.train=synthetic", "data.valid=synthetic"
    };
    char *all[24];
    int n = 0;
    struct run_config c;
    struct mup_error err = { 0 };

    for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++)
        all[n++] = (char *)base[i];
    for (int i = 0; overrides && overrides[i]; i++)
        all[n++] = (char *)overrides[i];
    if (run_config_load(NULL, all, n, &c, &err))
        fail_msg("%s", err.text);
    return c;
}

#define CONFIG(...) config_of((const char *const[]){ __VA_ARGS__, NULL })

static void resolves_to(const struct run_config *c, int64_t ranks,
                        const int64_t want[3])
{
    struct mup_error err = { 0 };
    struct layout l;

    if (layout_resolve(c, ranks, 0, &l, &err))
        fail_msg("%s", err.text);
    assert_int_equal(l.data, want[0]);
    assert_int_equal(l.expert, want[1]);
    assert_int_equal(l.tensor, want[2]);
}

static void is_refused(const struct run_config *c, int64_t ranks, double memory,
                       const char *sentence)
{
    struct mup_error err = { 0 };
    struct layout l = { -1, -1, -1 };

    assert_int_equal(layout_resolve(c, ranks, (int64_t)memory, &l, &err),
                     MUP_USAGE);
    assert_string_equal(err.text, sentence);
    assert_int_equal(l.data, -1); /* out is untouched on failure */
}

static void keys_that_are_given_are_kept(void **unused)
{
    struct run_config c =
        CONFIG("parallel.data=2", "parallel.expert=1", "parallel.tensor=4");

    (void)unused;
    resolves_to(&c, 8, (const int64_t[]){ 2, 1, 4 });
    c = CONFIG("parallel.expert=2", "parallel.tensor=1");
    resolves_to(&c, 8, (const int64_t[]){ 4, 2, 1 });
    c = CONFIG("parallel.tensor=2", "parallel.data=4");
    resolves_to(&c, 8, (const int64_t[]){ 4, 1, 2 });
    /* more ranks than experts, as it was asked for */
    c = CONFIG("parallel.expert=8");
    resolves_to(&c, 8, (const int64_t[]){ 1, 8, 1 });
}

static void one_rank_is_alone(void **unused)
{
    struct run_config c = config_of(NULL);

    (void)unused;
    resolves_to(&c, 1, (const int64_t[]){ 1, 1, 1 });
}

static void auto_divides_experts_and_batch_evenly(void **unused)
{
    struct run_config c = config_of(NULL);

    (void)unused;
    /* 3 ranks divide neither 4 heads nor 4 experts */
    resolves_to(&c, 3, (const int64_t[]){ 3, 1, 1 });
    /* 4 sequences on 16 ranks: no rank shall be without */
    c = CONFIG("train.batch=4");
    resolves_to(&c, 16, (const int64_t[]){ 1, 4, 4 });
    /* 6 on 8 ranks: by 2, not by 4 */
    c = CONFIG("train.batch=6");
    resolves_to(&c, 8, (const int64_t[]){ 1, 2, 4 });
}

static void muon_keeps_matrices_whole(void **unused)
{
    struct run_config c = CONFIG("train.optimizer=muon");

    (void)unused;
    resolves_to(&c, 4, (const int64_t[]){ 1, 4, 1 });
    c.parallel.tensor = 2;
    is_refused(&c, 4, 0,
               "train.optimizer muon works on whole matrices and needs "
               "parallel.tensor 1, not 2; nearest: parallel.data 1, "
               "parallel.expert 4, parallel.tensor 1");
}

static void wrong_layouts_are_refused_with_the_nearest(void **unused)
{
    struct run_config c = CONFIG("parallel.tensor=3");

    (void)unused;
    is_refused(&c, 6, 0,
               "parallel.tensor 3 does not divide the 4 key/value heads; "
               "nearest: parallel.data 3, parallel.expert 1, parallel.tensor "
               "2");
    c = CONFIG("parallel.data=2", "parallel.expert=2", "parallel.tensor=2");
    is_refused(&c, 12, 0,
               "parallel.data 2 x parallel.expert 2 x parallel.tensor 2 is 8, "
               "not 12 ranks; nearest: parallel.data 3, parallel.expert 2, "
               "parallel.tensor 2");
    c = CONFIG("parallel.data=3");
    is_refused(&c, 8, 0,
               "parallel.data 3 does not divide 8 ranks; nearest: "
               "parallel.data 4, parallel.expert 2, parallel.tensor 1");
    c = CONFIG("parallel.data=1");
    is_refused(&c, 64, 0,
               "parallel.data 1 leaves more than 4 experts and 4 key/value "
               "heads can share of 64 ranks; nearest: parallel.data 4, "
               "parallel.expert 4, parallel.tensor 4");
    is_refused(&c, 0, 0, "0 ranks are outside [1,1048576]");
    is_refused(&c, INT64_MAX, 0,
               "9223372036854775807 ranks are outside [1,1048576]");
}

/* Part of the sentence for a limit in MiB; the sizes in it may change. */
static void says(const struct run_config *c, double mib, const char *part)
{
    struct mup_error err = { 0 };
    struct layout l;

    assert_int_equal(layout_resolve(c, 4, (int64_t)(mib * 0x1p20), &l, &err),
                     MUP_USAGE);
    if (!strstr(err.text, part))
        fail_msg("no '%s' in '%s'", part, err.text);
}

static void what_does_not_fit_names_what_does(void **unused)
{
    struct run_config c = CONFIG("parallel.data=4");

    (void)unused;
    says(&c, 47, "parallel.data 4, parallel.expert 1, parallel.tensor 1 needs");
    says(&c, 47,
         "nearest that fits: parallel.data 2, parallel.expert 1, "
         "parallel.tensor 2 with");
    says(&c, 35,
         "no layout of 4 ranks fits into 35.0 MiB per rank; nearest "
         "that does: 8 ranks, parallel.data 4, parallel.expert 2, "
         "parallel.tensor 1 with");
    says(&c, 1,
         "no layout of 4 ranks or more fits into 1.0 MiB per rank; "
         "lower train.micro_batch, model.seq or model.width");
}

static void auto_fits_the_memory_that_there_is(void **unused)
{
    struct run_config c = config_of(NULL);
    struct params params = { 0 };
    struct layout_subject s = { &c, &params, DTYPE_F32 };
    struct layout_choice list[64];
    struct mup_error err = { 0 };
    int64_t n = 0, found;
    double least = INFINITY;

    (void)unused;
    assert_int_equal(params_init(&c, &PLACE_ALONE, &params, &err), MUP_OK);
    found = layout_choices(&s, 16, 0, list, 64, &n);
    assert_int_equal(found, n);
    for (int64_t i = 0; i < n; i++) {
        least = fmin(least, list[i].memory);
        assert_int_equal(layout_ranks(&list[i].n), 16);
        if (i && !list[i].uneven && !list[i].starved)
            assert_true(list[i - 1].bytes <= list[i].bytes);
    }
    for (int64_t i = 0; i < n; i++) {
        struct layout l;

        /* exactly as much memory as this one needs */
        assert_int_equal(
            layout_resolve(&c, 16, (int64_t)list[i].memory, &l, &err), MUP_OK);
        for (int64_t j = 0; j < n; j++)
            if (list[j].n.expert == l.expert && list[j].n.tensor == l.tensor)
                assert_true(list[j].memory <= list[i].memory);
    }
    assert_int_not_equal(layout_choices(&s, 16, least - 1, list, 1, &n), 0);
    assert_int_equal(list[0].fits, 0);
    assert_float_equal(list[0].memory, least, 0);
    params_clear(&params);
}

static void whatever_is_chosen_is_a_layout(void **unused)
{
    uint64_t state = 3;

    (void)unused;
    for (int round = 0; round < 150; round++) {
        struct run_config c = config_of(NULL);
        struct mup_error err = { 0 };
        struct layout l;
        int64_t ranks = draw(&state, 1, 64);

        c.train.batch = draw(&state, 1, 80);
        c.model.experts = draw(&state, 2, 9);
        c.parallel.expert = draw(&state, 0, 3);
        c.parallel.tensor = draw(&state, 0, 2);
        if (layout_resolve(&c, ranks, 0, &l, &err)) {
            assert_non_null(strstr(err.text, "nearest: "));
            assert_true(c.parallel.expert || c.parallel.tensor);
            continue;
        }
        assert_int_equal(layout_ranks(&l), ranks);
        assert_int_equal(4 % l.tensor, 0);
        assert_true(!c.parallel.expert || l.expert == c.parallel.expert);
        assert_true(!c.parallel.tensor || l.tensor == c.parallel.tensor);
        assert_true(c.parallel.expert || l.expert <= c.model.experts);
    }
}

static void huge_models_on_huge_machines_do_not_overflow(void **unused)
{
    struct run_config c =
        CONFIG("model.width=131072", "model.head_size=128", "model.kv_group=1",
               "model.layers=10", "model.vocab=1048576", "model.seq=1048576",
               "model.qk_norm=yes", "train.batch=1048576");
    struct params params = { 0 };
    struct layout_subject s = { &c, &params, DTYPE_F32 };
    struct layout_choice best;
    struct mup_error err = { 0 };
    int64_t n = 0;

    (void)unused;
    assert_int_equal(params_init(&c, &PLACE_ALONE, &params, &err), MUP_OK);
    for (int64_t ranks = 1; ranks <= LAYOUT_MAX_RANKS; ranks *= 32) {
        layout_choices(&s, ranks, 1e9, &best, 1, &n);
        assert_int_equal(best.fits, 0);
        assert_true(isfinite(best.bytes) && best.bytes >= 0);
        assert_true(best.memory > 1e9);
    }
    params_clear(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_even_and_the_last_is_the_largest),
        cmocka_unit_test(cutting_huge_numbers_does_not_overflow),
        cmocka_unit_test(ranks_and_places_are_one_to_one),
        cmocka_unit_test(neighbours_along_tensor_are_neighbours_in_rank),
        cmocka_unit_test(every_element_has_the_right_number_of_owners),
        cmocka_unit_test(keys_that_are_given_are_kept),
        cmocka_unit_test(one_rank_is_alone),
        cmocka_unit_test(auto_divides_experts_and_batch_evenly),
        cmocka_unit_test(muon_keeps_matrices_whole),
        cmocka_unit_test(wrong_layouts_are_refused_with_the_nearest),
        cmocka_unit_test(what_does_not_fit_names_what_does),
        cmocka_unit_test(auto_fits_the_memory_that_there_is),
        cmocka_unit_test(whatever_is_chosen_is_a_layout),
        cmocka_unit_test(huge_models_on_huge_machines_do_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
