/* Statistics against hand-computed values and published examples. */
#include "support.h"

#include "eval/effect.h"

#include <saelab/rng.h>
#include <math.h>
#include <string.h>

static void close_to(const char *what, double got, double want, double atol)
{
    sl_assert_close_f64(what, &got, &want, 1, atol, 0);
}

/* ---- distributions ---- */

static void tails(void **state)
{
    (void)state;
    close_to("t 0", sl_t_tail(0, 3), .5, 1e-15);
    close_to("t df 1", sl_t_tail(1, 1), .25, 1e-14); /* 1/2 - atan(1)/pi */
    close_to("t df 1, below", sl_t_tail(-1, 1), .75, 1e-14);
    close_to("t df 2", sl_t_tail(3, 2), .5 * (1 - 3 / sqrt(11)), 1e-14); /* 1/2 (1 - t / sqrt(t^2 + 2)) */
    close_to("t df 4", sl_t_tail(2.776445105197793, 4), .025, 1e-12);
    close_to("normal", sl_z_quantile(.975), 1.959963984540054, 1e-12);
    close_to("normal, below", sl_z_quantile(.025), -1.959963984540054, 1e-12);
    close_to("normal 0", sl_z_quantile(.5), 0, 1e-12);
    close_to("Phi", sl_z_cdf(1), .8413447460685429, 1e-14);
}

/* ---- sign flips ---- */

static void flips_by_enumeration(void **state)
{
    (void)state;
    sl_err err;
    sl_flip f;
    /* 1, 2, 3, 4: sums 10 and -10 alone reach 10 */
    sl_assert_ok(sl_sign_flip((double[]){ 1, 2, 3, 4 }, 4, 0, 1, &f, &err));
    assert_true(f.exact && f.patterns == 16 && f.p == 2. / 16);
    /* 1, 1, -1: |sum| 1 or 3: every pattern reaches 1 */
    sl_assert_ok(sl_sign_flip((double[]){ 1, 1, -1 }, 3, 0, 1, &f, &err));
    assert_true(f.p == 1);
    /* -1, 2, 3 (sum 4): patterns with |sum| >= 4 of {1,2,3}: 6 and 4 (flip 1), and mirrors: 4 of 8 */
    sl_assert_ok(sl_sign_flip((double[]){ -1, 2, 3 }, 3, 0, 1, &f, &err));
    assert_true(f.p == .5);
    /* n = 5, all of one sign: .0625; n = 6: .03125 (science.md F2) */
    sl_assert_ok(sl_sign_flip((double[]){ .3, .1, .2, .5, .4 }, 5, 0, 1, &f, &err));
    assert_true(f.p == .0625);
    sl_assert_ok(sl_sign_flip((double[]){ .3, .1, .2, .5, .4, .7 }, 6, 0, 1, &f, &err));
    assert_true(f.p == .03125);
    /* rounding must not tell equal sums apart: .1 + .2 + .3 against -.1 -.2 -.3 and permuted orders */
    sl_assert_ok(sl_sign_flip((double[]){ .1, .1, .1, .1, -.1 }, 5, 0, 1, &f, &err));
    assert_true(f.p == 12. / 32); /* |4 - 1| = 3: none or one minus, and mirrors: (1 + 5) * 2 */
    sl_assert_ok(sl_sign_flip((double[]){ 0, 0 }, 2, 0, 1, &f, &err));
    assert_true(f.p == 1);
}

/* Darwin's Zea mays (15 pairs, eighths of an inch), in Fisher, The Design of Experiments, section 21: 863 of 2^15 patterns reach +314, and
 * the two-sided figure is twice that. */
static const double zea[15] = { 49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48 };

static void flips_of_darwins_maize(void **state)
{
    (void)state;
    sl_err err;
    sl_flip f;
    sl_assert_ok(sl_sign_flip(zea, 15, 0, 1, &f, &err));
    close_to("p", f.p * 32768, 1726, 0);
    /* Fisher's t for the same data: 2.148, p .0497 */
    sl_paired p;
    double none[15] = { 0 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_assert_ok(sl_paired_test(ctx, zea, none, 15, .95, 1, &p, &err));
    close_to("t", p.effect / p.se, 2.148, 5e-4);
    close_to("p of t", p.p_t, .0497, 5e-5);
    assert_true(p.flip.p == f.p && p.n == 15);
    sl_ctx_free(ctx);
}

static void flips_at_random(void **state)
{
    (void)state;
    sl_err err;
    sl_flip a, b, exact;
    double d[24];
    for (int i = 0; i < 24; i++)
        d[i] = (i % 3 - .7) * (1 + i % 5);
    sl_assert_ok(sl_sign_flip(d, 20, 0, 1, &exact, &err));
    assert_true(exact.exact && exact.patterns == 1 << 20);
    sl_assert_ok(sl_sign_flip(d, 24, 20000, 5, &a, &err));
    sl_assert_ok(sl_sign_flip(d, 24, 20000, 5, &b, &err));
    assert_true(!a.exact && a.p == b.p && a.p > 0 && a.p <= 1);
    double sum = 0, sq = 0;
    for (int i = 0; i < 24; i++) {
        sum += d[i];
        sq += d[i] * d[i];
    }
    close_to("normal approximation", a.p, 2 * (1 - sl_z_cdf(fabs(sum) / sqrt(sq))), .03);
    for (int i = 0; i < 24; i++)
        d[i] = 1;
    sl_assert_ok(sl_sign_flip(d, 24, 999, 5, &a, &err));
    assert_true(a.p == 1. / 1000); /* never 0 */
    sl_assert_fails(sl_sign_flip(d, 24, 0, 5, &a, &err), SL_ARG, "draws");
    sl_assert_fails(sl_sign_flip(d, 0, 9, 5, &a, &err), SL_DATA, "at least 1");
    d[3] = NAN;
    sl_assert_fails(sl_sign_flip(d, 24, 9, 5, &a, &err), SL_NUMERIC, "value 3");
}

/* ---- paired t and equivalence ---- */

static void paired(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_paired p;
    double a[4] = { 5, 7, 9, 11 }, b[4] = { 4, 5, 6, 7 }; /* differences 1 2 3 4: mean 2.5, se sqrt(5/3)/2 */
    sl_assert_ok(sl_paired_test(ctx, a, b, 4, .95, 1, &p, &err));
    double se = sqrt(5. / 3) / 2;
    close_to("effect", p.effect, 2.5, 1e-15);
    close_to("se", p.se, se, 1e-15);
    close_to("lo", p.lo, 2.5 - 3.182446305283708 * se, 1e-10);
    close_to("hi", p.hi, 2.5 + 3.182446305283708 * se, 1e-10);
    assert_true(p.flip.p == .125);
    sl_assert_ok(sl_paired_test(ctx, a, b, 4, .9, 1, &p, &err));
    close_to("90 %", p.hi, 2.5 + 2.353363434801823 * se, 1e-10);
    sl_assert_ok(sl_paired_test(ctx, a, a, 4, .95, 1, &p, &err));
    assert_true(p.p_t == 1 && p.lo == 0 && p.hi == 0);
    sl_assert_fails(sl_paired_test(ctx, a, b, 1, .95, 1, &p, &err), SL_DATA, "at least 2");
    sl_assert_fails(sl_paired_test(ctx, a, b, 4, 1, 1, &p, &err), SL_ARG, "level");
    b[2] = INFINITY;
    sl_assert_fails(sl_paired_test(ctx, a, b, 4, .95, 1, &p, &err), SL_NUMERIC, "control");
    sl_ctx_free(ctx);
}

static void equivalence(void **state)
{
    (void)state;
    sl_err err;
    sl_tost t;
    const double d[5] = { -.01, .00, .01, .02, -.02 }; /* mean 0, sd sqrt(2.5e-4), se sqrt(5e-5) */
    double se = sqrt(5e-5);
    sl_assert_ok(sl_tost_test(d, 5, .02, .05, &t, &err));
    close_to("p", t.p, sl_t_tail(.02 / se, 4), 1e-15);
    close_to("hi", t.hi, 2.131846786326649 * se, 1e-11); /* t(.95, 4) */
    assert_true(t.equivalent && t.p_lower == t.p_upper && t.hi < .02);
    sl_assert_ok(sl_tost_test(d, 5, .015, .05, &t, &err)); /* 2.1318 se = .01507 > .015 */
    assert_true(!t.equivalent && t.hi > .015 && t.p > .05);
    const double e[3] = { .01, .02, .03 };
    sl_assert_ok(sl_tost_test(e, 3, .05, .05, &t, &err));
    close_to("lower", t.p_lower, sl_t_tail(.07 / (.01 / sqrt(3)), 2), 1e-12);
    close_to("upper", t.p_upper, sl_t_tail(.03 / (.01 / sqrt(3)), 2), 1e-12);
    assert_true(t.p == t.p_upper);
    sl_assert_fails(sl_tost_test((double[]){ 1, 1 }, 2, .1, .05, &t, &err), SL_DATA, "spread");
    sl_assert_fails(sl_tost_test(d, 5, 0, .05, &t, &err), SL_ARG, "margin");
    sl_assert_fails(sl_tost_test(d, 5, .02, .5, &t, &err), SL_ARG, "alpha");
    sl_assert_fails(sl_tost_test(d, 1, .02, .05, &t, &err), SL_DATA, "at least 2");
}

/* ---- several tests ---- */

static void adjusted(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    double h[4], out[15];
    const double p[4] = { .01, .04, .03, .005 }; /* Holm: .005*4, .01*3, .03*2, .04*1 -> .02 .03 .06 .06 */
    sl_assert_ok(sl_holm(ctx, p, 4, h, &err));
    sl_assert_close_f64("holm", h, (double[]){ .03, .06, .06, .02 }, 4, 1e-15, 0);
    sl_assert_ok(sl_bh(ctx, p, 4, h, &err)); /* .005*4, .01*4/2, .03*4/3, .04 -> .02 .02 .04 .04 */
    sl_assert_close_f64("bh", h, (double[]){ .02, .04, .04, .02 }, 4, 1e-15, 0);
    /* Benjamini and Hochberg 1995, section 4.1: 15 p values; BH at .05 rejects the first four, Bonferroni-like methods three */
    const double bh95[15] = { .0001, .0004, .0019, .0095, .0201, .0278, .0298, .0344, .0459, .3240, .4262, .5719, .6528, .7590, 1.0 };
    sl_assert_ok(sl_bh(ctx, bh95, 15, out, &err));
    for (int i = 0; i < 15; i++)
        assert_true((out[i] <= .05) == (i < 4));
    sl_assert_ok(sl_holm(ctx, bh95, 15, out, &err));
    for (int i = 0; i < 15; i++)
        assert_true((out[i] <= .05) == (i < 3));
    /* F2: n = 6's .031 becomes .094 over three comparators */
    sl_assert_ok(sl_holm(ctx, (double[]){ .03125, .03125, .03125 }, 3, h, &err));
    sl_assert_close_f64("three of n = 6", h, (double[]){ .09375, .09375, .09375 }, 3, 1e-15, 0);
    sl_assert_ok(sl_holm(ctx, (double[]){ .9, .8 }, 2, h, &err));
    assert_true(h[0] == 1 && h[1] == 1);
    sl_assert_fails(sl_holm(ctx, (double[]){ .9, 1.1 }, 2, h, &err), SL_ARG, "value 1");
    sl_assert_fails(sl_bh(ctx, (double[]){ NAN }, 1, h, &err), SL_NUMERIC, "value 0");
    sl_assert_fails(sl_bh(ctx, p, 0, h, &err), SL_DATA, "at least 1");
    sl_ctx_free(ctx);
}

/* ---- bootstrap ---- */

static void bootstrap_values(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_boot b, again;
    const sl_boot_opts o = { 4000, .95, 7 };
    double num[40], den[40];
    int64_t first[3] = { 0, 20, 40 };
    for (int i = 0; i < 40; i++) {
        den[i] = 1;
        num[i] = i % 20 + (i >= 20 ? 100 : 0);
    }
    sl_assert_ok(sl_boot_docs(ctx, num, den, 20, &o, &b, &err)); /* a mean of 0..19: se = sd / sqrt(20), sd^2 = (400 - 1) / 12 */
    close_to("value", b.value, 9.5, 1e-14);
    close_to("se", b.se, sqrt(399. / 12 / 20), .05);
    close_to("lo", b.lo, 9.5 - 1.96 * sqrt(399. / 12 / 20), .15);
    close_to("hi", b.hi, 9.5 + 1.96 * sqrt(399. / 12 / 20), .15);
    assert_true(!b.bca && b.n_docs == 20 && b.n_seeds == 1 && b.draws == 4000);
    sl_assert_ok(sl_boot_docs(ctx, num, den, 20, &o, &again, &err));
    assert_true(memcmp(&b, &again, sizeof b) == 0);
    sl_assert_ok(sl_boot_nested(ctx, num, den, first, 2, &o, &b, &err)); /* seeds at 9.5 and 109.5: three values of the mean over seeds */
    close_to("nested value", b.value, 59.5, 1e-12);
    close_to("nested se", b.se, sqrt(50 * 50 / 2. + 399. / 12 / 20 / 2), 1);
    assert_true(b.lo < 15 && b.hi > 104 && b.n_seeds == 2 && b.n_docs == 40 && !b.bca);
    /* weights: documents of unequal size pool as sum / sum */
    sl_assert_ok(sl_boot_docs(ctx, (double[]){ 1, 9 }, (double[]){ 2, 3 }, 2, &o, &b, &err));
    close_to("pooled", b.value, 2, 1e-15);
    close_to("extremes", b.hi, 3, 1e-15);
    sl_ctx_free(ctx);
}

static void bootstrap_errors(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_boot b;
    const sl_boot_opts o = { 100, .95, 7 };
    double num[4] = { 1, 2, 3, 4 }, den[4] = { 1, 1, 0, 0 }, zero[4] = { 0 };
    sl_assert_ok(sl_boot_docs(ctx, num, den, 4, &o, &b, &err)); /* resamples without a denominator are drawn again */
    assert_true(isfinite(b.lo) && isfinite(b.hi));
    sl_assert_fails(sl_boot_docs(ctx, num, zero, 4, &o, &b, &err), SL_DATA, "add up to 0");
    sl_assert_fails(sl_boot_docs(ctx, num, den, 1, &o, &b, &err), SL_DATA, "at least 2");
    sl_assert_fails(sl_boot_docs(ctx, num, den, 4, &(sl_boot_opts){ 1, .95, 7 }, &b, &err), SL_ARG, "draws");
    sl_assert_fails(sl_boot_docs(ctx, num, den, 4, &(sl_boot_opts){ 100, 0, 7 }, &b, &err), SL_ARG, "level");
    sl_assert_fails(sl_boot_nested(ctx, num, den, (int64_t[]){ 0, 4 }, 1, &o, &b, &err), SL_DATA, "seeds");
    sl_assert_fails(sl_boot_nested(ctx, num, den, (int64_t[]){ 0, 3, 4 }, 2, &o, &b, &err), SL_DATA, "at least 2");
    num[1] = NAN;
    sl_assert_fails(sl_boot_docs(ctx, num, den, 4, &o, &b, &err), SL_NUMERIC, "numerators: value 1");
    sl_ctx_free(ctx);
}

/* How often the interval covers: ratios of means of lognormal documents, skewed, so that BCa is used too. 300 data sets of 60 documents. */
static void bootstrap_covers(void **state)
{
    (void)state;
    enum { SETS = 300, DOCS = 60 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    int covered = 0, bca = 0;
    double truth = 2 * exp(.5 * .64); /* E num / E den: num = 2 den exp(.8 N), den uniform and independent */
    for (int s = 0; s < SETS; s++) {
        double num[DOCS], den[DOCS];
        for (int i = 0; i < DOCS; i++) {
            sl_rng r = sl_rng_at(11, SL_RNG_TEST, (uint64_t)s, (uint64_t)i);
            den[i] = .5 + sl_rng_uniform(&r);
            num[i] = 2 * den[i] * exp(.8 * sl_rng_normal(&r));
        }
        sl_boot b;
        sl_assert_ok(sl_boot_docs(ctx, num, den, DOCS, &(sl_boot_opts){ 400, .95, (uint64_t)s }, &b, &err));
        covered += b.lo <= truth && truth <= b.hi;
        bca += b.bca;
    }
    /* binomial sd is 1.3 points; intervals of skewed ratios fall a few points short of 95 at this n */
    if (covered < .88 * SETS || covered > .98 * SETS)
        fail_msg("%d of %d intervals cover", covered, SETS);
    assert_true(bca > 0 && bca < SETS);
    sl_ctx_free(ctx);
}

/* ---- fronts ---- */

static void at_matched_l0(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    double y;
    const sl_point p[3] = { { 32, .1 }, { 8, .3 }, { 16, .2 } };
    sl_assert_ok(sl_interpolate_l0(p, 3, 8, &y, &err));
    assert_true(y == .3);
    sl_assert_ok(sl_interpolate_l0(p, 3, 16 * sqrt(2), &y, &err)); /* half way in ln l0 */
    close_to("half way", y, .15, 1e-14);
    sl_assert_fails(sl_interpolate_l0(p, 3, 7.9, &y, &err), SL_ARG, "outside");
    sl_assert_fails(sl_interpolate_l0(p, 3, 33, &y, &err), SL_ARG, "outside");
    sl_assert_fails(sl_interpolate_l0((sl_point[]){ { 0, 1 } }, 1, 1, &y, &err), SL_DATA, "above 0");
    sl_assert_fails(sl_interpolate_l0((sl_point[]){ { 2, 1 }, { 2, 2 } }, 2, 2, &y, &err), SL_DATA, "each l0 once");
    sl_assert_fails(sl_interpolate_l0(p, 0, 2, &y, &err), SL_DATA, "at least 1");
    const sl_point a[4] = { { 4, 1 }, { 16, 3 }, { 4, 2 }, { 16, 4 } }, b[2] = { { 8, .5 }, { 8, .5 } }; /* at 8: 2 and 3; .5 and .5 */
    sl_paired q;
    sl_assert_ok(sl_paired_at_l0(ctx, a, 2, b, 1, 2, 8, 1, &q, &err));
    close_to("effect at l0", q.effect, 2, 1e-14);
    assert_true(q.n == 2);
    sl_assert_fails(sl_paired_at_l0(ctx, a, 2, b, 1, 2, 9, 1, &q, &err), SL_ARG, "outside");
    sl_ctx_free(ctx);
}

static void pareto(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const sl_point p[6] = { { 8, .5 }, { 4, .8 }, { 8, .4 }, { 16, .45 }, { 16, .2 }, { 16, .2 } };
    int64_t front[6], n;
    double area;
    sl_assert_ok(sl_pareto(p, 6, front, &n, &err));
    assert_true(n == 3 && front[0] == 1 && front[1] == 2 && front[2] == 4);
    /* reference (20, 1): (20-4)(1-.8) + (20-8)(.8-.4) + (20-16)(.4-.2) */
    sl_assert_ok(sl_hypervolume(ctx, p, 6, (sl_point){ 20, 1 }, &area, &err));
    close_to("area", area, 16 * .2 + 12 * .4 + 4 * .2, 1e-13);
    sl_assert_ok(sl_hypervolume(ctx, p, 6, (sl_point){ 10, .6 }, &area, &err)); /* only (8, .4) lies inside */
    close_to("area", area, 2 * .2, 1e-14);
    sl_assert_ok(sl_hypervolume(ctx, p, 6, (sl_point){ 1, .1 }, &area, &err));
    assert_true(area == 0);
    sl_assert_fails(sl_hypervolume(ctx, p, 0, (sl_point){ 1, 1 }, &area, &err), SL_DATA, "at least 1");
    sl_assert_fails(sl_pareto((sl_point[]){ { 1, NAN } }, 1, front, &n, &err), SL_NUMERIC, "point 0");
    sl_ctx_free(ctx);
}

/* ---- tables ---- */

static void effects(void **state)
{
    (void)state;
    sl_err err;
    char cells[SL_EFFECT_COLS][SL_EFFECT_CELL];
    sl_paired p = { .n = 12, .effect = .058, .lo = .041, .hi = .075, .flip = { .p = .0005 } };
    sl_effect e = sl_effect_of("f1_h", "gauss", "base", &p, .95);
    e.floor = .148;
    e.has_floor = true;
    e.l0 = sl_l0_matched(4.91, 4.84); /* 1.4 % */
    e.compute = SL_MATCHED_NO;
    sl_effect_cells(&e, cells);
    const char *const want[SL_EFFECT_COLS] = { "f1_h", "gauss - base", "+0.058", "[+0.041, +0.075]", "0.0005", "12", "0.148", "matched", "NOT matched" };
    for (int i = 0; i < SL_EFFECT_COLS; i++)
        assert_string_equal(cells[i], want[i]);
    json_t *j;
    sl_assert_ok(sl_effect_json(&e, &j, &err));
    assert_true(json_real_value(json_object_get(j, "effect")) == .058 && json_is_true(json_object_get(j, "l0_matched")) && json_is_false(json_object_get(j, "compute_matched")));
    json_decref(j);
    e = sl_effect_null("absorb", "gauss", "base", "no hierarchy");
    sl_effect_cells(&e, cells);
    assert_string_equal(cells[3], "no hierarchy");
    sl_assert_ok(sl_effect_json(&e, &j, &err));
    assert_true(json_is_null(json_object_get(j, "effect")) && json_is_null(json_object_get(j, "compute_matched")));
    assert_string_equal(json_string_value(json_object_get(j, "reason")), "no hierarchy");
    json_decref(j);
    assert_int_equal(sl_l0_matched(5, 4.8), SL_MATCHED_NO);
    assert_int_equal(sl_l0_matched(5, NAN), SL_MATCHED_UNKNOWN);
    assert_int_equal(sl_l0_matched(5, 0), SL_MATCHED_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tails), cmocka_unit_test(flips_by_enumeration), cmocka_unit_test(flips_of_darwins_maize), cmocka_unit_test(flips_at_random),
        cmocka_unit_test(paired), cmocka_unit_test(equivalence), cmocka_unit_test(adjusted), cmocka_unit_test(bootstrap_values),
        cmocka_unit_test(bootstrap_errors), cmocka_unit_test(bootstrap_covers), cmocka_unit_test(at_matched_l0), cmocka_unit_test(pareto),
        cmocka_unit_test(effects),
    };
    return cmocka_run_group_tests_name("eval_stats", tests, NULL, NULL);
}
