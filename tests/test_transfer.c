/* Planted surfaces: valleys whose minimum is known, with noise of known size.
 * MUTRANSFER_SOAK=1 runs 1000 simulations instead of 120. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/random.h"
#include "sweep/fit.h"
#include "sweep/transfer.h"
#include "tests/close.h"

#define MAX_RUNS 1024

/* A surface: log loss = level(w) + valley(x - x*(w)) + what a seed adds
 * everywhere + noise, x*(w) = at + slope * w for the w-th width 32 2^w. */
struct planted {
    int widths, seeds;
    double lo, hi, spacing; /* log2 of the learning rates */
    double at, slope;
    double curvature, skew; /* relative loss per octave^2; 0 = parabola */
    double noise;           /* of log loss */
    double cliff;           /* octaves above x* from which runs diverge */
    double gain;            /* of loss per width */
};

static const struct planted usual = { .widths = 4,
                                      .seeds = 3,
                                      .lo = -9,
                                      .hi = -3,
                                      .spacing = 1,
                                      .at = -6.2,
                                      .curvature = 0.01,
                                      .noise = 0.003,
                                      .cliff = 100,
                                      .gain = 0.1 };

/* Linex: c d^2 near 0, steeper to the right for skew > 0. */
static double valley(const struct planted *p, double d)
{
    if (p->skew == 0)
        return p->curvature * d * d;
    return p->curvature * 2 * (expm1(p->skew * d) - p->skew * d) /
           (p->skew * p->skew);
}

static int plant(const struct planted *p, int simulation,
                 struct transfer_run *runs)
{
    struct random_key key =
        random_key((uint64_t)simulation, "test", "planted surface");
    uint64_t at = 0;
    int n = 0;

    for (int w = 0; w < p->widths; w++) {
        double level[8];

        for (int s = 0; s < p->seeds; s++)
            level[s] = 2 * p->noise * random_normal(&key, at++);
        for (double x = p->lo; x <= p->hi + 1e-9; x += p->spacing)
            for (int s = 0; s < p->seeds; s++) {
                double d = x - p->at - p->slope * w;
                double y = log(3 - p->gain * w) + valley(p, d) + level[s] +
                           p->noise * random_normal(&key, at++);

                assert_true(n < MAX_RUNS);
                runs[n++] = (struct transfer_run){
                    .width = 32 << w,
                    .lr = exp2(x),
                    .seed = s,
                    .loss = d >= p->cliff ? NAN : exp(y),
                };
            }
    }
    return n;
}

static int try_analyse(const struct transfer_run *run, int n, uint64_t seed,
                       struct transfer_report *out, struct mup_error *err)
{
    const struct axes axes = axes_usual();
    const struct transfer_runs runs = { run, n, &axes };

    return transfer_analyse(&runs, seed, out, err);
}

static void analyse(const struct planted *p, int simulation,
                    struct transfer_report *out)
{
    struct transfer_run runs[MAX_RUNS];
    struct mup_error err;
    int n = plant(p, simulation, runs);

    assert_int_equal(try_analyse(runs, n, (uint64_t)simulation, out, &err),
                     MUP_OK);
}

static int simulations(void)
{
    return getenv("MUTRANSFER_SOAK") ? 1000 : 120;
}

struct tally {
    int optima, optima_covered, n, drift_covered, verdict[3];
};

/* p over many simulations, the minimum moved against the grid each time. */
static struct tally simulate(struct planted p)
{
    struct tally t = { .n = simulations() };
    double at = p.at;

    for (int i = 0; i < t.n; i++) {
        struct transfer_report r;

        p.at = at + p.spacing * ((double)i / t.n - 0.5);
        analyse(&p, i, &r);
        t.verdict[r.verdict]++;
        t.drift_covered += r.drift_lo <= p.slope && p.slope <= r.drift_hi;
        for (int w = 0; w < p.widths; w++) {
            double x = p.at + p.slope * w;

            t.optima++;
            t.optima_covered +=
                r.optimum[w].log2_lr_lo <= x && x <= r.optimum[w].log2_lr_hi;
        }
    }
    return t;
}

/* 95 % nominal.  Over 1000 simulations 93 to 98 %: the 3 sigma binomial error
 * is 2.1 %, and intervals may err on the wide side; over 120 it is 6 %. */
static void assert_covers(int covered, int n)
{
    double rate = (double)covered / n;

    if (rate < (n >= 1000 ? 0.93 : 0.88) || (n >= 1000 && rate > 0.985))
        fail_msg("an interval of 95 %% covers %.1f %% of %d", 100 * rate, n);
}

static void a_noiseless_parabola_gives_its_minimum_exactly(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.noise = 0;
    p.slope = -0.3;
    analyse(&p, 1, &r);
    for (int w = 0; w < 4; w++) {
        /* 1e-6: conditioning of a cubic design times rounding of log. */
        assert_close(r.optimum[w].log2_lr, -6.2 - 0.3 * w, 1e-6);
        assert_close(r.optimum[w].loss, 3 - 0.1 * w, 1e-6);
        assert_close(r.optimum[w].curvature, 0.01, 1e-6);
        assert_int_equal(r.optimum[w].edge, 0);
        assert_true(r.optimum[w].window_lo < r.optimum[w].log2_lr &&
                    r.optimum[w].log2_lr < r.optimum[w].window_hi);
    }
    assert_close(r.drift, -0.3, 1e-6);
    assert_int_equal(r.verdict, TRANSFER_DRIFTS);
    /* The narrowest optimum is 0.9 octaves off: 1 % per octave^2. */
    assert_close(r.regret, expm1(0.01 * 0.81), 1e-6);
}

static void intervals_cover_the_planted_minimum_of_a_parabola(void **state)
{
    struct planted p = usual;
    struct tally t = simulate(p);

    (void)state;
    assert_covers(t.optima_covered, t.optima);
    assert_covers(t.drift_covered, t.n);
}

static void intervals_cover_with_a_single_seed(void **state)
{
    struct planted p = usual;
    struct tally t;

    (void)state;
    p.seeds = 1;
    t = simulate(p);
    assert_covers(t.optima_covered, t.optima);
    assert_covers(t.drift_covered, t.n);
}

static void two_seeds_share_their_noise_between_widths(void **state)
{
    struct planted p = usual;
    struct transfer_report one, two;
    struct tally t;
    int narrower = 0;

    (void)state;
    p.seeds = 2;
    p.widths = 3;
    t = simulate(p);
    assert_covers(t.drift_covered, t.n);
    for (int i = 0; i < 20; i++) {
        p.seeds = 1;
        analyse(&p, i, &one);
        p.seeds = 2;
        analyse(&p, i, &two);
        narrower += two.drift_hi - two.drift_lo < one.drift_hi - one.drift_lo;
    }
    assert_true(narrower >= 15); /* 1 / sqrt(2) the width, each noisy */
}

static void intervals_cover_an_asymmetric_valley(void **state)
{
    struct planted p = usual;
    struct tally t;

    (void)state;
    p.skew = 0.5; /* two octaves up cost 1.5 times two octaves down */
    t = simulate(p);
    assert_covers(t.optima_covered, t.optima);
    assert_covers(t.drift_covered, t.n);
    p.seeds = 1;
    t = simulate(p);
    assert_covers(t.drift_covered, t.n);
}

static void no_drift_is_rarely_called_drift(void **state)
{
    struct planted p = usual;

    (void)state;
    p.skew = 0.5;
    for (p.seeds = 1; p.seeds <= 3; p.seeds += 2)
        for (p.noise = 0.003; p.noise < 0.02; p.noise *= 4) {
            struct tally t = simulate(p);

            assert_true(t.verdict[TRANSFER_DRIFTS] <= 0.05 * t.n);
        }
}

static void a_drift_of_an_octave_is_found(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.seeds = 1;
    p.skew = 0.5;
    p.slope = -1;
    p.at = -4.5;
    for (int i = 0; i < 20; i++) {
        analyse(&p, i, &r);
        assert_int_equal(r.verdict, TRANSFER_DRIFTS);
        assert_true(fabs(r.drift + 1) < 0.25);
        assert_true(r.regret > 0.03);
    }
}

static void no_drift_is_called_stable_when_seeds_suffice(void **state)
{
    struct planted p = usual;
    struct tally t;

    (void)state;
    p.noise = 0.002;
    t = simulate(p);
    assert_true(t.verdict[TRANSFER_STABLE] > 0.95 * t.n);
}

static void much_noise_is_inconclusive_and_says_what_to_add(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.noise = 0.03;
    p.widths = 2;
    analyse(&p, 3, &r);
    assert_int_equal(r.verdict, TRANSFER_INCONCLUSIVE);
    assert_true(r.drift_hi - r.drift_lo > 0.5);
    assert_non_null(strstr(r.reason, "add"));
}

static void two_widths_have_a_wider_interval_than_four(void **state)
{
    struct planted p = usual;
    struct transfer_report two, four;

    (void)state;
    analyse(&p, 5, &four);
    p.widths = 2;
    analyse(&p, 5, &two);
    assert_true(two.drift_hi - two.drift_lo >
                1.5 * (four.drift_hi - four.drift_lo));
}

static void equal_runs_in_any_order_give_equal_reports(void **state)
{
    struct transfer_run runs[MAX_RUNS], turned[MAX_RUNS];
    struct transfer_report a, b;
    struct mup_error err;
    int n = plant(&usual, 11, runs);

    (void)state;
    for (int i = 0; i < n; i++)
        turned[i] = runs[n - 1 - i];
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    assert_int_equal(try_analyse(runs, n, 7, &a, &err), MUP_OK);
    assert_int_equal(try_analyse(turned, n, 7, &b, &err), MUP_OK);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_int_equal(try_analyse(runs, n, 8, &b, &err), MUP_OK);
    assert_true(a.drift_lo != b.drift_lo); /* the seed keys the draws */
}

static void an_optimum_at_the_edge_is_no_stable_optimum(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.at = -9.5; /* below the grid at every width */
    analyse(&p, 2, &r);
    assert_int_equal(r.optimum[0].edge, -1);
    assert_int_equal(r.verdict, TRANSFER_INCONCLUSIVE);
    assert_non_null(strstr(r.reason, "low end of the grid"));
    p.at = -2;
    analyse(&p, 2, &r);
    assert_int_equal(r.optimum[3].edge, 1);
    assert_non_null(strstr(r.reason, "high end of the grid"));
}

static void an_edge_that_hides_more_drift_keeps_the_verdict(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.at = -5.5;
    p.slope = -1.3; /* the widest optimum is 0.4 octaves below the grid */
    analyse(&p, 2, &r);
    assert_int_equal(r.optimum[3].edge, -1);
    assert_int_equal(r.verdict, TRANSFER_DRIFTS);
    assert_non_null(strstr(r.reason, "hide more"));
}

static void diverged_runs_give_the_margin(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.noise = 0;
    p.cliff = 2; /* -4.2: the rates 2^-4 and 2^-3 diverge */
    analyse(&p, 1, &r);
    assert_close(r.optimum[0].margin, 2.2, 1e-6);
    assert_int_equal(r.optimum[0].diverged, 6);
    p.cliff = 100;
    analyse(&p, 1, &r);
    assert_true(isinf(r.optimum[0].margin));
}

static void an_optimum_at_the_cliff_is_bracketed_not_at_the_edge(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.at = -4.6;
    p.cliff = 0; /* the valley is cut off where it would be deepest */
    analyse(&p, 1, &r);
    assert_int_equal(r.optimum[0].edge, 0);
    assert_close(r.optimum[0].log2_lr, -5, 1e-9);
    assert_true(r.optimum[0].log2_lr_hi > -4.2); /* up to the cliff at 2^-4 */
    /* All optima are one rate, whatever lies between it and the cliff. */
    assert_true(r.regret_lo >= 0);
    assert_true(r.regret_lo <= r.regret && r.regret <= r.regret_hi);
    assert_true(r.regret_hi < 0.1); /* noise 0.3 %, neighbours 0.2 to 3 % */
}

static void a_carried_rate_that_diverges_costs_infinitely(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.slope = -1;
    p.at = -4;
    p.cliff = 1.5;
    p.lo = -10;
    analyse(&p, 1, &r);
    assert_int_equal(r.verdict, TRANSFER_DRIFTS);
    assert_true(isinf(r.regret));
}

static void wider_is_better_follows_the_levels(void **state)
{
    struct planted p = usual;
    struct transfer_report r;
    struct transfer_run runs[MAX_RUNS];
    struct mup_error err;
    int n;

    (void)state;
    analyse(&p, 1, &r); /* levels fall by 3 % a width, noise is 0.3 % */
    assert_int_equal(r.wider_is_better, 1);
    n = plant(&p, 1, runs);
    for (int i = 0; i < n; i++)
        runs[i].loss *= runs[i].width == 256 ? 1.1 : 1;
    assert_int_equal(try_analyse(runs, n, 1, &r, &err), MUP_OK);
    assert_int_equal(r.wider_is_better, 0);
    assert_non_null(strstr(r.wider_reason, "and 256"));
    p.noise = 0.1;
    analyse(&p, 1, &r);
    assert_int_equal(r.wider_is_better, -1);
}

/* Equal widths, levels of 0.6 %: 95 % sure may be wrong in 5 %, and 3 sigma of
 * 120 simulations are 6 %. */
static void two_seeds_know_that_seeds_shift_whole_curves(void **state)
{
    struct planted p = usual;
    struct transfer_report r;
    int better = 0, clear = 0;

    (void)state;
    p.seeds = p.widths = 2;
    for (int i = 0; i < 120; i++) {
        p.gain = 0;
        analyse(&p, i, &r);
        better += r.wider_is_better == 1;
    }
    assert_true(better <= 0.11 * 120);
    p.widths = 4;
    for (int i = 0; i < 20; i++) {
        p.gain = 0.2; /* 7 % a width, against levels of 0.6 % */
        analyse(&p, i, &r);
        clear += r.wider_is_better == 1;
    }
    assert_true(clear >= 18);
}

static void one_seed_cannot_say_whether_wider_is_better(void **state)
{
    struct planted p = usual;
    struct transfer_run runs[MAX_RUNS];
    struct transfer_report r;
    struct mup_error err;
    int n, kept = 0;

    (void)state;
    p.seeds = 1;
    analyse(&p, 1, &r);
    assert_int_equal(r.wider_is_better, -1);
    assert_non_null(
        strstr(r.wider_reason, "single seed, which leaves unknown"));
    p.seeds = 2; /* but not the same two at every rate */
    n = plant(&p, 1, runs);
    for (int i = 0; i < n; i++) {
        runs[i].seed += log2(runs[i].lr) > -6.5 ? 10 : 0;
        runs[kept++] = runs[i];
    }
    assert_int_equal(try_analyse(runs, kept, 1, &r, &err), MUP_OK);
    /* a pair needs the same seed at both widths, not at every rate */
    assert_int_equal(r.wider_is_better, 1);
}

/* The middle of three widths, all known equally well, has no say in the
 * slope. */
static void a_middle_width_at_the_edge_pulls_nothing(void **state)
{
    struct transfer_run runs[MAX_RUNS];
    struct planted p = usual;
    struct transfer_report r;
    struct mup_error err;
    int n, kept;

    (void)state;
    p.widths = 3;
    p.noise = 0;
    for (p.slope = -1; p.slope <= 1; p.slope += 2) {
        for (int end = -1; end <= 1; end += 2) {
            n = plant(&p, 1, runs);
            kept = 0;
            /* Cut the middle width's grid at its optimum. */
            for (int i = 0; i < n; i++)
                if (runs[i].width != 64 ||
                    end * (log2(runs[i].lr) - (p.at + p.slope)) < 0.3)
                    runs[kept++] = runs[i];
            assert_int_equal(try_analyse(runs, kept, 1, &r, &err), MUP_OK);
            assert_int_equal(r.optimum[1].edge, end);
            assert_int_equal(r.verdict, TRANSFER_DRIFTS);
            assert_null(strstr(r.reason, "hide more"));
        }
    }
    p.slope = 0; /* an unknown optimum still forbids "stable" */
    n = plant(&p, 1, runs);
    kept = 0;
    for (int i = 0; i < n; i++)
        if (runs[i].width != 64 || log2(runs[i].lr) < -5.9)
            runs[kept++] = runs[i];
    assert_int_equal(try_analyse(runs, kept, 1, &r, &err), MUP_OK);
    assert_int_equal(r.verdict, TRANSFER_INCONCLUSIVE);
    assert_non_null(strstr(r.reason, "width 64"));
}

/* 1001 rates, of which 900 lie in the valley, and the fit takes 512. */
static void a_dense_grid_is_fitted_around_its_best_rate(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.widths = p.seeds = 1;
    p.lo = -8;
    p.hi = -4;
    p.spacing = 0.004;
    p.at = -5;
    p.curvature = 0.005;
    p.noise = 0;
    analyse(&p, 1, &r);
    assert_int_equal(r.optimum[0].points, FIT_MAX_POINTS);
    assert_true(r.optimum[0].window_lo < -5.5);
    assert_true(r.optimum[0].window_hi > -4.5);
    assert_close(r.optimum[0].log2_lr, -5, 1e-6); /* no noise */
}

static void three_rates_fall_back_to_the_grid_without_a_verdict(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.lo = -7;
    p.hi = -5;
    p.seeds = 1;
    analyse(&p, 1, &r);
    assert_int_equal(r.verdict, TRANSFER_INCONCLUSIVE);
    assert_non_null(strstr(r.reason, "add rates"));
    /* Without noise estimate the interval is that of the grid. */
    assert_true(r.optimum[0].log2_lr_hi - r.optimum[0].log2_lr_lo > 0.9);
}

static void a_single_width_has_an_optimum_and_no_verdict(void **state)
{
    struct planted p = usual;
    struct transfer_report r;

    (void)state;
    p.widths = 1;
    analyse(&p, 1, &r);
    assert_int_equal(r.n_widths, 1);
    assert_int_equal(r.verdict, TRANSFER_INCONCLUSIVE);
    assert_true(isnan(r.drift));
    assert_true(fabs(r.optimum[0].log2_lr - -6.2) < 0.5);
}

static void bad_runs_are_usage_errors_and_leave_the_report(void **state)
{
    struct transfer_run runs[2] = { { 32, 0.01, 1, NAN }, { 64, 0.01, 1, 2 } };
    struct transfer_report r = { .n_widths = -5 };
    struct mup_error err;

    (void)state;
    assert_int_equal(try_analyse(runs, 0, 1, &r, &err), MUP_USAGE);
    assert_int_equal(try_analyse(runs, 2, 1, &r, &err), MUP_USAGE);
    assert_non_null(strstr(err.text, "width 32"));
    runs[0].loss = -1;
    assert_int_equal(try_analyse(runs, 2, 1, &r, &err), MUP_USAGE);
    runs[0].lr = 0;
    assert_int_equal(try_analyse(runs, 2, 1, &r, &err), MUP_USAGE);
    assert_int_equal(r.n_widths, -5);
}

static void a_cubic_is_recovered_and_its_minimum_found(void **state)
{
    static const double t[] = { -2, -1, 0, 1, 2 }, w[] = { 1, 2, 3, 2, 1 };
    static const double c[] = { 1, 0.2, 0.5, 0.05 };
    struct fit_design d;
    struct mup_error err;
    double y[5], f[4], x;

    (void)state;
    for (int i = 0; i < 5; i++)
        y[i] = fit_value(c, t[i]);
    assert_int_equal(fit_design_init(&d, t, w, 5, 3, &err), MUP_OK);
    fit_coefficients(&d, y, f);
    for (int k = 0; k < 4; k++)
        assert_close(f[k], c[k], 1e-12); /* exact data, n = 5 */
    assert_true(fit_rss(&d, y, f) < 1e-24);
    assert_int_equal(fit_minimum(f, -2, 2, &x), 0);
    assert_true(fabs(f[1] + 2 * f[2] * x + 3 * f[3] * x * x) < 1e-12);
    assert_int_equal(fit_minimum(f, 0.5, 2, &x), -1);
    fit_design_clear(&d);
    assert_int_equal(fit_design_init(&d, t, w, 3, 3, &err), MUP_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cubic_is_recovered_and_its_minimum_found),
        cmocka_unit_test(a_noiseless_parabola_gives_its_minimum_exactly),
        cmocka_unit_test(intervals_cover_the_planted_minimum_of_a_parabola),
        cmocka_unit_test(intervals_cover_with_a_single_seed),
        cmocka_unit_test(two_seeds_share_their_noise_between_widths),
        cmocka_unit_test(intervals_cover_an_asymmetric_valley),
        cmocka_unit_test(no_drift_is_rarely_called_drift),
        cmocka_unit_test(a_drift_of_an_octave_is_found),
        cmocka_unit_test(no_drift_is_called_stable_when_seeds_suffice),
        cmocka_unit_test(much_noise_is_inconclusive_and_says_what_to_add),
        cmocka_unit_test(two_widths_have_a_wider_interval_than_four),
        cmocka_unit_test(equal_runs_in_any_order_give_equal_reports),
        cmocka_unit_test(an_optimum_at_the_edge_is_no_stable_optimum),
        cmocka_unit_test(an_edge_that_hides_more_drift_keeps_the_verdict),
        cmocka_unit_test(diverged_runs_give_the_margin),
        cmocka_unit_test(an_optimum_at_the_cliff_is_bracketed_not_at_the_edge),
        cmocka_unit_test(a_carried_rate_that_diverges_costs_infinitely),
        cmocka_unit_test(wider_is_better_follows_the_levels),
        cmocka_unit_test(two_seeds_know_that_seeds_shift_whole_curves),
        cmocka_unit_test(one_seed_cannot_say_whether_wider_is_better),
        cmocka_unit_test(a_middle_width_at_the_edge_pulls_nothing),
        cmocka_unit_test(a_dense_grid_is_fitted_around_its_best_rate),
        cmocka_unit_test(three_rates_fall_back_to_the_grid_without_a_verdict),
        cmocka_unit_test(a_single_width_has_an_optimum_and_no_verdict),
        cmocka_unit_test(bad_runs_are_usage_errors_and_leave_the_report),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
