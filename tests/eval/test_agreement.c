/* Agreement of raters against a published example; two-way bootstrap against hand-computed means and raters whose skill is known. */
#include "support.h"

#include <saelab/agreement.h>
#include <saelab/rng.h>
#include <math.h>
#include <string.h>

static void close_to(const char *what, double got, double want, double atol)
{
    sl_assert_close_f64(what, &got, &want, 1, atol, 0);
}

/* ---- Krippendorff's alpha ---- */

/* Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": observers A to D, units 1 to 12, values 1 to 5, some missing. He prints alpha
 * nominal .743 (section C) and ordinal .815 (section D; interval .849 and ratio .797 are scales that we do not have), from a coincidence matrix of
 * n = 40 pairable values (unit 12 has one and does not count). The same data, as "the C data", is the example of kripp.alpha in R's package irr. */
static const int32_t published[4][12] = {
    { 1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0 },
    { 1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3 },
    { 0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0 },
    { 1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0 },
};

static void published_example(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    int32_t value[12 * 4];
    for (int u = 0; u < 12; u++)
        for (int r = 0; r < 4; r++)
            value[u * 4 + r] = published[r][u] - 1;
    sl_judged j = { value, 12, 4, 5, NULL };
    sl_boot_opts boot = { 2000, .95, 7 };
    sl_alpha a;
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_NOMINAL, &boot, &a, &err));
    close_to("nominal", a.value, .743, 5e-4);
    assert_int_equal(a.n_units, 11);
    assert_int_equal(a.n_values, 40);
    assert_true(a.has_interval && a.lo < .743 && a.lo > .2 && a.hi > .743 && a.hi <= 1);
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_ORDINAL, NULL, &a, &err));
    close_to("ordinal", a.value, .815, 5e-4);
    assert_false(a.has_interval);
    sl_ctx_free(ctx);
}

static void alpha_by_hand(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_alpha a;
    /* (0 0) (1 1) (0 1): o01 = 1, n = 6, n0 = n1 = 3: 1 - 5 * 1 / 9 */
    int32_t two[] = { 0, 0, 1, 1, 0, 1 };
    sl_judged j = { two, 3, 2, 2, NULL };
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_NOMINAL, NULL, &a, &err));
    close_to("two raters", a.value, 4. / 9, 1e-15);
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_ORDINAL, NULL, &a, &err)); /* two categories have one distance */
    close_to("the same", a.value, 4. / 9, 1e-15);
    /* always opposite: o01 = 2 units, n = 4, 1 - 3 * 2 / 4 */
    int32_t opposite[] = { 0, 1, 1, 0 };
    j = (sl_judged){ opposite, 2, 2, 2, NULL };
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_NOMINAL, NULL, &a, &err));
    close_to("opposite", a.value, -.5, 1e-15);
    /* ordinal: (0 1) (0 0) (2 2): n0 = 3, n1 = 1, n2 = 2; d01 = 4 - 2, d02 = 6 - 2.5, d12 = 3 - 1.5; expected 3 * 4 + 6 * 12.25 + 2 * 2.25 = 90 */
    int32_t graded[] = { 0, 1, 0, 0, 2, 2 };
    j = (sl_judged){ graded, 3, 2, 3, NULL };
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_ORDINAL, NULL, &a, &err));
    close_to("graded", a.value, 1 - 5 * 4. / 90, 1e-15);
    sl_ctx_free(ctx);
}

/* Units of a cluster stay together: with two clusters that agree wholly or not at all, the resamples know three values only. */
static void clusters_stay_together(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    int32_t value[] = { 0, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, -1 }, cluster[] = { 3, 3, 3, 3, 1, 1, 1, 1, 7 };
    sl_judged j = { value, 9, 2, 2, cluster };
    sl_boot_opts boot = { 500, .95, 1 };
    sl_alpha a;
    sl_assert_ok(sl_krippendorff(ctx, &j, SL_SCALE_NOMINAL, &boot, &a, &err));
    close_to("half of it", a.value, 1 - 15 * 4. / 64, 1e-15);
    close_to("lowest", a.lo, 1 - 15 * 8. / 64, 1e-15);
    close_to("highest", a.hi, 1, 1e-15);
    assert_int_equal(a.n_units, 8); /* the last unit has one value: neither it nor its cluster counts */
    sl_ctx_free(ctx);
}

static void alpha_refuses(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_alpha a;
    int32_t v[] = { 0, 0, 0, 0 }, lonely[] = { 0, -1, -1, 1 }, bad[] = { 0, 2, 0, 0 }, cluster[] = { 0, -1 };
    sl_assert_fails(sl_krippendorff(ctx, &(sl_judged){ v, 2, 2, 2, NULL }, SL_SCALE_NOMINAL, NULL, &a, &err), SL_DATA, "one and the same value");
    sl_assert_fails(sl_krippendorff(ctx, &(sl_judged){ lonely, 2, 2, 2, NULL }, SL_SCALE_NOMINAL, NULL, &a, &err), SL_DATA, "two raters");
    sl_assert_fails(sl_krippendorff(ctx, &(sl_judged){ v, 4, 1, 2, NULL }, SL_SCALE_NOMINAL, NULL, &a, &err), SL_DATA, "at least 2 raters");
    sl_assert_fails(sl_krippendorff(ctx, &(sl_judged){ bad, 2, 2, 2, NULL }, SL_SCALE_NOMINAL, NULL, &a, &err), SL_ARG, "unit 0 has value 2");
    sl_assert_fails(sl_krippendorff(ctx, &(sl_judged){ v, 2, 2, 65, NULL }, SL_SCALE_NOMINAL, NULL, &a, &err), SL_ARG, "categories");
    sl_assert_fails(sl_krippendorff(ctx, &(sl_judged){ v, 2, 2, 2, cluster }, SL_SCALE_NOMINAL, NULL, &a, &err), SL_ARG, "cluster -1");
    sl_ctx_free(ctx);
}

/* ---- two-way bootstrap ---- */

static void means_by_hand(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    /* items 0, 1 of group 0, items 2, 3 of group 1, item 4 unscored; item 0 has two trials by rater 0 and one by rater 2: (1 + 0 + 0) / 3 */
    sl_scored s[] = { { 0, 0, 1 }, { 0, 0, 0 }, { 2, 0, 0 }, { 0, 1, 1 }, { 2, 1, 1 }, { 0, 2, .25 }, { 2, 2, .75 }, { 2, 3, 0 }, { 0, 3, 0 } };
    int32_t group[] = { 0, 0, 1, 1, 1 };
    sl_boot_opts o = { 2000, .95, 3 };
    sl_two_way w;
    sl_assert_ok(sl_two_way_boot(ctx, s, 9, 3, 5, group, 2, &o, &w, &err));
    close_to("group 0", w.group[0].value, 2. / 3, 1e-15);
    close_to("sd 0", w.group[0].sd, sqrt(2.) / 3, 1e-15);
    close_to("group 1", w.group[1].value, .25, 1e-15);
    assert_int_equal(w.group[1].n_items, 2);
    assert_int_equal(w.n_contrasts, 1);
    close_to("effect", w.contrast[0].effect, 2. / 3 - .25, 1e-15);
    assert_true(w.contrast[0].lo < w.contrast[0].effect && w.contrast[0].hi > w.contrast[0].effect && w.contrast[0].p == w.contrast[0].p_holm);
    close_to("mde", w.contrast[0].mde, (1.959963984540054 + .8416212335729143) * w.contrast[0].se, 1e-12);
    sl_two_way again;
    sl_assert_ok(sl_two_way_boot(ctx, s, 9, 3, 5, group, 2, &o, &again, &err));
    assert_true(w.contrast[0].lo == again.contrast[0].lo && w.group[0].se == again.group[0].se);
    /* all raters and items alike: nothing varies, and the difference is certain */
    sl_scored same[] = { { 0, 0, 1 }, { 1, 0, 1 }, { 0, 1, 0 }, { 1, 1, 0 } };
    sl_assert_ok(sl_two_way_boot(ctx, same, 4, 2, 2, (int32_t[]){ 0, 1 }, 2, &o, &w, &err));
    assert_true(w.contrast[0].lo == 1 && w.contrast[0].hi == 1 && w.group[0].sd == 0);
    close_to("p", w.contrast[0].p, 2. / 2001, 1e-15);
    sl_ctx_free(ctx);
}

/* E1's own figures: sd .25, 50 against 50: .14; matched with rho .5: .10. */
static void detectable(void **state)
{
    (void)state;
    close_to("50 against 50", sl_min_detectable(.25, 50, 0, .05, .8), .14, 5e-4);
    close_to("matched", sl_min_detectable(.25, 50, .5, .05, .8), .10, 1e-3);
    assert_true(sl_min_detectable(0, 1, 0, .05, .8) == 0);
}

/* Raters and items with normal effects of known size around the true means .5, .5 and .7: how often do the 95% intervals hold the truth? */
static void intervals_hold_the_truth(void **state)
{
    (void)state;
    enum { RATERS = 8, ITEMS = 30, GROUPS = 3, STUDIES = 100 };
    static const double mean[GROUPS] = { .5, .5, .7 };
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    static sl_scored s[RATERS * ITEMS * GROUPS];
    int32_t group[ITEMS * GROUPS];
    int held = 0, same = 0, found = 0;
    for (int i = 0; i < ITEMS * GROUPS; i++)
        group[i] = i / ITEMS;
    for (int k = 0; k < STUDIES; k++) {
        sl_rng r = sl_rng_at(11, SL_RNG_TEST, 1, (uint64_t)k);
        double rater[RATERS];
        int n = 0;
        for (int i = 0; i < RATERS; i++)
            rater[i] = .05 * sl_rng_normal(&r);
        for (int i = 0; i < ITEMS * GROUPS; i++) {
            double item = mean[i / ITEMS] + .15 * sl_rng_normal(&r);
            for (int q = 0; q < RATERS; q++)
                s[n++] = (sl_scored){ q, i, item + rater[q] + .3 * sl_rng_normal(&r) };
        }
        sl_two_way w;
        sl_assert_ok(sl_two_way_boot(ctx, s, n, RATERS, ITEMS * GROUPS, group, GROUPS, &(sl_boot_opts){ 400, .95, (uint64_t)k }, &w, &err));
        held += w.group[2].lo <= .7 && .7 <= w.group[2].hi;
        same += w.contrast[0].lo <= 0 && 0 <= w.contrast[0].hi;
        found += w.contrast[1].hi < 0 && w.contrast[2].hi < 0 && w.contrast[1].p_holm < .05;
    }
    /* binomial(100, .95): fewer than 88 happens once in 700 */
    assert_in_range(held, 88, 100);
    assert_in_range(same, 88, 100);
    assert_in_range(found, 70, 100);
    sl_ctx_free(ctx);
}

static void two_way_refuses(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_two_way w;
    sl_boot_opts o = { 100, .95, 1 };
    sl_scored s[] = { { 0, 0, 1 }, { 0, 1, NAN } };
    int32_t group[] = { 0, 1 };
    sl_assert_fails(sl_two_way_boot(ctx, s, 2, 1, 2, group, 2, &o, &w, &err), SL_NUMERIC, "score 1 is not finite");
    sl_assert_fails(sl_two_way_boot(ctx, s, 1, 1, 2, group, 2, &o, &w, &err), SL_DATA, "group 1 has none");
    sl_assert_fails(sl_two_way_boot(ctx, s, 1, 1, 2, group, 1, &o, &w, &err), SL_ARG, "item 1 is in group 1 of 1");
    s[1] = (sl_scored){ 2, 1, 0 };
    sl_assert_fails(sl_two_way_boot(ctx, s, 2, 1, 2, group, 2, &o, &w, &err), SL_ARG, "score 1 is of rater 2");
    sl_assert_fails(sl_two_way_boot(ctx, s, 1, 1, 2, group, 17, &o, &w, &err), SL_ARG, "1 to 16");
    o.draws = 1;
    sl_assert_fails(sl_two_way_boot(ctx, s, 1, 1, 2, group, 2, &o, &w, &err), SL_ARG, "1 resamples");
    o = (sl_boot_opts){ 100, 1.5, 1 };
    sl_assert_fails(sl_two_way_boot(ctx, s, 1, 1, 2, group, 2, &o, &w, &err), SL_ARG, "");
    /* raters who each saw another group: a third of the resamples of two raters leaves one out, and is drawn again */
    sl_scored apart[] = { { 0, 0, 1 }, { 1, 1, 0 } };
    o = (sl_boot_opts){ 100, .95, 1 };
    sl_assert_ok(sl_two_way_boot(ctx, apart, 2, 2, 2, group, 2, &o, &w, &err));
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_example), cmocka_unit_test(alpha_by_hand), cmocka_unit_test(clusters_stay_together), cmocka_unit_test(alpha_refuses),
        cmocka_unit_test(means_by_hand), cmocka_unit_test(detectable), cmocka_unit_test(intervals_hold_the_truth), cmocka_unit_test(two_way_refuses),
    };
    return cmocka_run_group_tests_name("agreement", tests, NULL, NULL);
}
