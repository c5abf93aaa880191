/* The decision rules on tables made up by hand. */
#include "study/confirm.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 6 };
static const char *const pure_metrics[] = { "f1_h", "mcc_adj", "absorb_common", "inj_resp", "noisy_f1_h" };
static const char *const pure_worlds[] = { "w1", "w2" };
static const char *const pure_arms[] = { "treatment", "base", "enc_l2", "contractive", "dae" };
static const char *const comp_metrics[] = { "comp_f1_withheld", "fvu" };
static const char *const comp_worlds[] = { "null", "full" };
static const char *const comp_arms[] = { "comp", "shuffle", "matched", "topk", "polysae", "mlp" };
static const sl_purification_rule pure = { .treatment = "treatment", .base = "base", .comparator = { "base", "enc_l2", "contractive", "dae" }, .n_comparators = 4 };
static const sl_composition_rule comp = { .null_world = "null", .full_world = "full", .treatment = "comp", .shuffle = "shuffle", .matched = "matched",
                                          .comparator = { "topk", "polysae", "mlp" }, .n_comparators = 3 };

typedef struct made { sl_table t; double v[5 * 2 * 6 * SEEDS]; sl_ctx *ctx; } made;

/* value + a little that depends on the seed alone, so that paired differences are exact, + noise that does not. */
static void fill(sl_table *t, const char *metric, const char *world, const char *arm, double value, double noise)
{
    double *v = sl_table_at(t, metric, world, arm);
    assert_non_null(v);
    for (int s = 0; s < SEEDS; s++)
        v[s] = value + .1 * s + noise * (s % 2 ? 1 : -1) * (1 + s / 4.);
}

static void open_pure(made *m)
{
    *m = (made){ .ctx = sl_test_ctx(1) };
    m->t = (sl_table){ 5, 2, 5, SEEDS, pure_metrics, pure_worlds, pure_arms, m->v };
    for (int w = 0; w < 2; w++)
        for (int a = 0; a < 5; a++)
            for (int k = 0; k < 5; k++)
                fill(&m->t, pure_metrics[k], pure_worlds[w], pure_arms[a], .5, 0);
    for (int w = 0; w < 2; w++)
        fill(&m->t, "f1_h", pure_worlds[w], "treatment", .53, .002);
}

static void open_comp(made *m)
{
    *m = (made){ .ctx = sl_test_ctx(1) };
    m->t = (sl_table){ 2, 2, 6, SEEDS, comp_metrics, comp_worlds, comp_arms, m->v };
    for (int w = 0; w < 2; w++)
        for (int a = 0; a < 6; a++) {
            fill(&m->t, "comp_f1_withheld", comp_worlds[w], comp_arms[a], .2, 0);
            fill(&m->t, "fvu", comp_worlds[w], comp_arms[a], .3, 0);
        }
    fill(&m->t, "comp_f1_withheld", "full", "comp", .4, .003);
    fill(&m->t, "fvu", "full", "comp", .2, .001);     /* gain .1 */
    fill(&m->t, "fvu", "full", "shuffle", .27, .001); /* gain .03 */
    fill(&m->t, "fvu", "null", "comp", .29, .001);    /* gain .01 */
}

static sl_decision decide_pure(made *m)
{
    sl_decision d;
    sl_decide_purification(m->ctx, &m->t, &pure, &d);
    sl_ctx_free(m->ctx);
    return d;
}

static sl_decision decide_comp(made *m)
{
    sl_decision d;
    sl_decide_composition(m->ctx, &m->t, &comp, &d);
    sl_ctx_free(m->ctx);
    return d;
}

static const sl_check *check_of(const sl_decision *d, const char *metric, const char *world, const char *b)
{
    for (int i = 0; i < d->n_checks; i++)
        if (strcmp(d->check[i].metric, metric) == 0 && strcmp(d->check[i].world, world) == 0 && strcmp(d->check[i].b, b) == 0)
            return &d->check[i];
    fail_msg("no check of %s on %s against %s", metric, world, b);
    return NULL;
}

static void says(const sl_decision *d, const char *text)
{
    if (!strstr(d->sentence, text))
        fail_msg("'%s' is not in: %s", text, d->sentence);
}

/* ---- the table ---- */

static void differences_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const double a[] = { 1, 2, 3, NAN, 6 }, b[] = { 0, 1, 1, 5, NAN };
    sl_diff d = sl_diff_of(ctx, a, b, 5);
    assert_int_equal(d.n, 3); /* differences 1, 1, 2: mean 4/3, sd 1/sqrt 3, se 1/3, t(.975, 2) = 4.30265 */
    sl_assert_close_f64("effect", &d.effect, &(double){ 4 / 3. }, 1, 1e-12, 0);
    sl_assert_close_f64("lo", &d.lo, &(double){ 4 / 3. - 4.302653 / 3 }, 1, 1e-6, 0);
    sl_assert_close_f64("hi", &d.hi, &(double){ 4 / 3. + 4.302653 / 3 }, 1, 1e-6, 0);
    d = sl_diff_of(ctx, a, b, 1);
    assert_true(d.n == 1 && d.effect == 1 && isinf(d.lo) && isinf(d.hi));
    d = sl_diff_of(ctx, a + 3, b + 3, 2);
    assert_true(d.n == 0 && isnan(d.effect));
    sl_ctx_free(ctx);
}

static void tables_by_name(void **state)
{
    (void)state;
    made m;
    open_pure(&m);
    assert_null(sl_table_at(&m.t, "fvu", "w1", "base"));
    assert_null(sl_table_at(&m.t, "f1_h", "w3", "base"));
    assert_int_equal(sl_table_arm(&m.t, "dae"), 4);
    sl_table_at(&m.t, "f1_h", "w2", "dae")[1] = NAN;
    assert_int_equal(sl_table_missing(&m.t, "f1_h", "w2", "dae"), 1);
    assert_int_equal(sl_table_missing(&m.t, "f1_h", "w2", "nobody"), SEEDS);
    double mean = sl_table_mean(&m.t, "mcc_adj", "w1", "base");
    sl_assert_close_f64("mean", &mean, &(double){ .75 }, 1, 1e-12, 0);
    assert_true(sl_listed("a,bb,c", "bb") && !sl_listed("a,bb,c", "b") && !sl_listed(NULL, "a"));
    sl_ctx_free(m.ctx);
}

/* ---- purification ---- */

static void supported(void **state)
{
    (void)state;
    made m;
    open_pure(&m);
    sl_decision d = decide_pure(&m);
    assert_int_equal(d.verdict, SL_SUPPORTED);
    assert_int_equal(d.n_checks, 2 * 4 + 2 * 4);
    says(&d, "SUPPORTED: ");
    says(&d, "All 16 conditions hold");
}

/* Each condition alone decides. */
static void each_condition_counts(void **state)
{
    (void)state;
    static const struct { const char *metric, *arm; double value; bool passes; } cases[] = {
        { "f1_h", "dae", .53, false },          { "mcc_adj", "treatment", .491, true },    { "mcc_adj", "treatment", .489, false },
        { "absorb_common", "treatment", .5001, false }, { "absorb_common", "treatment", .45, true }, { "inj_resp", "treatment", .481, true },
        { "inj_resp", "treatment", .479, false }, { "noisy_f1_h", "treatment", .479, false }, { "noisy_f1_h", "treatment", .6, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        made m;
        open_pure(&m);
        fill(&m.t, cases[i].metric, "w2", cases[i].arm, cases[i].value, 0);
        sl_decision d = decide_pure(&m);
        if (d.verdict != (cases[i].passes ? SL_SUPPORTED : SL_INCONCLUSIVE))
            fail_msg("case %zu: %s", i, d.sentence);
    }
}

static void not_supported(void **state)
{
    (void)state;
    made m;
    open_pure(&m);
    fill(&m.t, "f1_h", "w2", "enc_l2", .56, .001);
    sl_decision d = decide_pure(&m);
    assert_int_equal(d.verdict, SL_NOT_SUPPORTED);
    says(&d, "NOT SUPPORTED: ");
    says(&d, "f1_h against enc_l2 on w2 -0.0299");
    says(&d, "15 of 16 conditions hold");
}

static void a_wide_interval_is_inconclusive(void **state)
{
    (void)state;
    made m;
    open_pure(&m);
    fill(&m.t, "f1_h", "w1", "treatment", .51, .05);
    sl_decision d = decide_pure(&m);
    assert_int_equal(d.verdict, SL_INCONCLUSIVE);
    assert_false(check_of(&d, "f1_h", "w1", "base")->passed);
    assert_true(check_of(&d, "f1_h", "w2", "base")->passed);
}

static void failed_seeds_support_nothing(void **state)
{
    (void)state;
    made m;
    open_pure(&m);
    sl_table_at(&m.t, "f1_h", "w1", "contractive")[3] = NAN;
    sl_decision d = decide_pure(&m);
    assert_int_equal(d.verdict, SL_INCONCLUSIVE);
    says(&d, "against contractive on w1");
    says(&d, "seeds missing");
    assert_int_equal(check_of(&d, "f1_h", "w1", "contractive")->diff.n, SEEDS - 1);
    open_pure(&m);
    for (int s = 0; s < SEEDS; s++)
        sl_table_at(&m.t, "f1_h", "w1", "contractive")[s] = NAN;
    d = decide_pure(&m);
    assert_int_equal(d.verdict, SL_INCONCLUSIVE);
    says(&d, "f1_h against contractive on w1: not measured");
}

static void targeting_needs_every_world(void **state)
{
    (void)state;
    made m;
    sl_decision d;
    open_pure(&m);
    sl_decide_targeting(m.ctx, &m.t, "treatment", "base", &d);
    assert_int_equal(d.verdict, SL_SUPPORTED);
    assert_int_equal(d.n_checks, 2);
    fill(&m.t, "f1_h", "w1", "base", .53, .002);
    sl_decide_targeting(m.ctx, &m.t, "treatment", "base", &d);
    assert_int_equal(d.verdict, SL_INCONCLUSIVE);
    sl_ctx_free(m.ctx);
}

/* ---- composition ---- */

static void composes(void **state)
{
    (void)state;
    made m;
    open_comp(&m);
    sl_decision d = decide_comp(&m);
    assert_int_equal(d.verdict, SL_COMPOSES);
    assert_int_equal(d.n_checks, 5);
    says(&d, "COMPOSES: ");
}

static void what_the_null_gains_too_is_capacity(void **state)
{
    (void)state;
    made m;
    open_comp(&m);
    fill(&m.t, "fvu", "null", "comp", .245, .001); /* .055 of .1 */
    sl_decision d = decide_comp(&m);
    assert_int_equal(d.verdict, SL_DECODER_CAPACITY);
    says(&d, "decoder capacity, not composition: the gain in fvu over TopK with as many parameters is 0.05");
    open_comp(&m);
    fill(&m.t, "fvu", "null", "comp", .255, .001); /* .045 of .1: less than half */
    d = decide_comp(&m);
    assert_int_equal(d.verdict, SL_COMPOSES);
}

static void shuffled_partners_must_lose_half(void **state)
{
    (void)state;
    made m;
    open_comp(&m);
    fill(&m.t, "fvu", "full", "shuffle", .24, .001); /* .06 of .1 */
    sl_decision d = decide_comp(&m);
    assert_int_equal(d.verdict, SL_INCONCLUSIVE);
    says(&d, "half the gain less that of shuffled partners");
}

static void comparators_must_be_beaten(void **state)
{
    (void)state;
    made m;
    open_comp(&m);
    fill(&m.t, "comp_f1_withheld", "full", "polysae", .4, .003);
    assert_int_equal(decide_comp(&m).verdict, SL_INCONCLUSIVE);
    open_comp(&m);
    fill(&m.t, "comp_f1_withheld", "full", "topk", .5, .003);
    sl_decision d = decide_comp(&m);
    assert_int_equal(d.verdict, SL_NOT_SUPPORTED);
    open_comp(&m);
    fill(&m.t, "fvu", "full", "comp", .31, .001); /* no gain at all: not capacity either */
    assert_int_equal(decide_comp(&m).verdict, SL_INCONCLUSIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_by_hand), cmocka_unit_test(tables_by_name), cmocka_unit_test(supported), cmocka_unit_test(each_condition_counts),
        cmocka_unit_test(not_supported), cmocka_unit_test(a_wide_interval_is_inconclusive), cmocka_unit_test(failed_seeds_support_nothing),
        cmocka_unit_test(targeting_needs_every_world), cmocka_unit_test(composes), cmocka_unit_test(what_the_null_gains_too_is_capacity),
        cmocka_unit_test(shuffled_partners_must_lose_half), cmocka_unit_test(comparators_must_be_beaten),
    };
    return cmocka_run_group_tests_name("study_confirm_rule", tests, NULL, NULL);
}
