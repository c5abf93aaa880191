/* Scores of stability against codes worked out by hand, what they are where nothing happens (exactly 1), and where nothing can be said (null). */
#include "support.h"

#include <math.h>
#include <saelab/rng.h>
#include <saelab/stability.h>
#include <string.h>

enum { ROWS = 400, COLS = 40, MOST = ROWS * COLS };

/* A matrix of codes in room of its own. */
typedef struct codes { int64_t ptr[ROWS + 1]; int32_t idx[MOST]; float val[MOST]; } codes;

static sl_sparse from_dense(codes *c, const float *v, int64_t n, int64_t m)
{
    int64_t e = 0;
    c->ptr[0] = 0;
    for (int64_t r = 0; r < n; r++) {
        for (int64_t j = 0; j < m; j++)
            if (v[r * m + j] != 0) {
                c->idx[e] = (int32_t)j;
                c->val[e++] = v[r * m + j];
            }
        c->ptr[r + 1] = e;
    }
    return (sl_sparse){ n, m, c->ptr, c->idx, c->val };
}

/* period rows of m values, over and over. */
static sl_sparse repeated(codes *c, const float *v, int64_t period, int64_t n, int64_t m)
{
    static float all[MOST];
    for (int64_t r = 0; r < n; r++)
        memcpy(all + r * m, v + r % period * m, (size_t)m * sizeof *v);
    return from_dense(c, all, n, m);
}

static const sl_metric *find(const sl_metrics *m, const char *name)
{
    const sl_metric *v = sl_metrics_get(m, name);
    if (!v)
        fail_msg("no %s", name);
    return v;
}

static void is(const sl_metrics *m, const char *name, double expected)
{
    const sl_metric *v = find(m, name);
    if (v->is_null)
        fail_msg("%s is null: %s", name, v->reason);
    sl_assert_close_f64(name, &v->value, &expected, 1, 1e-12, 1e-12);
}

static void is_null(const sl_metrics *m, const char *name, const char *reason)
{
    const sl_metric *v = find(m, name);
    assert_true(v->is_null && v->value == 0);
    assert_non_null(strstr(v->reason, reason));
}

static codes room[4]; /* too large for the stack */

/* Rows (1 0 2) and (0 3 0) become (1 0 1) and (0 0 3): |differences| 1 and 6, sums 5 and 6. Latents, over a pair of rows: differences 0, 3, 4 of
 * sums 2, 3, 6; correlations 1, none left, -1. Whichever way the two are paired, the differences are 7 of 11. */
static const float CLEAN[] = { 1, 0, 2, 0, 3, 0 }, CHANGED[] = { 1, 0, 1, 0, 0, 3 };

static void by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    double fss[3], sci[3];
    static const float class_of[] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 };
    sl_stability_codes c = { .clean = repeated(&room[0], CLEAN, 2, 40, 3), .perturbed = repeated(&room[1], CHANGED, 2, 40, 3),
                             .classes = repeated(&room[2], class_of, 4, 40, 4), .draws = 200 };
    c.target = c.clean;
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, fss, sci, &err));
    is(&m, "fss", 4 / 11.);
    is(&m, "fss_macro", (1 + 0 + 1 / 3.) / 3);
    is(&m, "pct_change", 700 / 6.);
    is(&m, "jaccard", .5);
    is(&m, "overlap", .5);
    is(&m, "sci", 0);           /* 1, 0 for the one that is lost, -1 */
    is(&m, "sci_sem", 0);       /* the same over the four classes */
    is(&m, "sci_rsa", -1);      /* correlations -1, 1, -1 become 0, -1, 0 */
    is(&m, "ks_magnitude", 1 / 3.); /* 1 2 3 against 1 1 3 */
    is(&m, "ks_rate", 1 / 3.);  /* .5 .5 .5 against .5 0 1 */
    sl_assert_close_f64("fss_j", fss, (double[]){ 1, 0, 1 / 3. }, 3, 1e-12, 0);
    sl_assert_close_f64("sci_j", sci, (double[]){ 1, 0, -1 }, 3, 1e-12, 0);
    const sl_metric *f = find(&m, "fss");
    assert_true(f->has_interval && f->lo < f->value && f->value < f->hi && f->has_floor);
    assert_true(find(&m, "sci")->n == 3 && f->n == 40);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Rows of one latent each, 10 rows a latent: paired at random few agree, so that the floor is low; what is measured counts from there. */
static void adjustment(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    static float eye[COLS * COLS];
    for (int i = 0; i < COLS; i++)
        eye[i * COLS + i] = 2;
    sl_stability_codes c = { .clean = repeated(&room[0], eye, COLS, ROWS, COLS) };
    c.target = c.perturbed = c.clean;
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    double chance = find(&m, "fss")->floor;
    assert_true(chance >= 0 && chance < .1); /* 10 of 400 rows have a given code */
    is(&m, "fss_adj", 1);
    /* half of each code moves to the next latent: fss .5 */
    static float half[COLS * COLS];
    for (int i = 0; i < COLS; i++)
        half[i * COLS + i] = half[i * COLS + (i + 1) % COLS] = 1;
    c.perturbed = repeated(&room[1], half, COLS, ROWS, COLS);
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is(&m, "fss", .5);
    chance = find(&m, "fss")->floor;
    is(&m, "fss_adj", (.5 - chance) / (1 - chance));
    assert_false(find(&m, "fss")->has_interval); /* no draws were asked for */
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* I.4: without a change every score is 1, to the last bit. */
static void exactly_one(void **state)
{
    (void)state;
    static const char *const names[] = { "fss", "fss_macro", "fss_adj", "sci", "sci_sem", "sci_rsa", "jaccard", "overlap" };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    static float v[MOST], class_of[ROWS * 7];
    sl_rng r = sl_rng_at(3, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < MOST; i++)
        v[i] = sl_rng_uniform(&r) < .2 ? (float)(.1 + sl_rng_uniform(&r)) : 0;
    for (int i = 0; i < ROWS; i++)
        class_of[i * 7 + i % 7] = 1;
    sl_stability_codes c = { .clean = from_dense(&room[0], v, ROWS, COLS), .perturbed = from_dense(&room[1], v, ROWS, COLS),
                             .target = from_dense(&room[2], v, ROWS, COLS), .classes = from_dense(&room[3], class_of, ROWS, 7), .draws = 50 };
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (find(&m, names[i])->is_null || find(&m, names[i])->value != 1)
            fail_msg("%s is %.17g, not 1", names[i], find(&m, names[i])->value);
    is(&m, "pct_change", 0);
    is(&m, "ks_magnitude", 0);
    is(&m, "ks_rate", 0);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Rows that are not valid change nothing, whatever their codes are; a target is not the clean code. */
static void what_counts(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    static const float clean[] = { 1, 0, 2, 0, 3, 0, 9, 9, 9 }, changed[] = { 1, 0, 1, 0, 0, 3, 0, 0, 9 };
    static const float target[] = { 1, 0, 0, 0, 0, 3, 1, 1, 1 }; /* differences 1 and 0 of sums 3 and 6 */
    uint8_t valid[60];
    for (int i = 0; i < 60; i++)
        valid[i] = i % 3 < 2;
    sl_stability_codes c = { .clean = repeated(&room[0], clean, 3, 60, 3), .perturbed = repeated(&room[1], changed, 3, 60, 3), .valid = valid };
    c.target = c.clean;
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is(&m, "fss", 4 / 11.);
    is(&m, "fss_macro", (1 + 0 + 1 / 3.) / 3);
    is(&m, "jaccard", .5);
    is(&m, "sci_rsa", -1);
    is(&m, "ks_magnitude", 1 / 3.);
    assert_int_equal(find(&m, "fss")->n, 40);
    is_null(&m, "sci_sem", "neither tokens");
    c.target = repeated(&room[2], target, 3, 60, 3);
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is(&m, "fss", 8 / 9.);
    is(&m, "pct_change", 25);
    is(&m, "overlap", .5);      /* of the clean support */
    is(&m, "sci", 0);           /* with the clean code */
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

static void nothing_to_say(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    static const float zero[3], one[] = { 1, 2, 3 };
    uint8_t none[40] = { 0 };
    sl_stability_codes c = { .clean = repeated(&room[0], zero, 1, 40, 3) };
    c.target = c.perturbed = c.clean;
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    const char *const silent[] = { "fss", "fss_adj", "pct_change", "jaccard", "overlap", "ks_magnitude" };
    for (int i = 0; i < 6; i++)
        is_null(&m, silent[i], "nothing was active");
    is_null(&m, "fss_macro", "fires often enough");
    is_null(&m, "sci", "fires often enough");
    c.perturbed = repeated(&room[1], one, 1, 40, 3); /* something out of nothing */
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is(&m, "fss", 0);
    is(&m, "jaccard", 0);
    is_null(&m, "pct_change", "no target");
    is_null(&m, "overlap", "nothing was active");
    c.clean = c.target = c.perturbed; /* every row is the same */
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is(&m, "fss", 1);
    is_null(&m, "fss_adj", "told apart");
    is_null(&m, "sci", "fires often enough"); /* they fire but do not vary */
    is_null(&m, "sci_rsa", "all alike");
    c.clean = c.target = repeated(&room[0], CLEAN, 2, 38, 3); /* 19 rows each */
    c.perturbed = repeated(&room[1], CHANGED, 2, 38, 3);
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is(&m, "fss", 4 / 11.);
    is_null(&m, "fss_macro", "fires often enough");
    c.valid = none;
    sl_assert_ok(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err));
    is_null(&m, "fss", "no row could be perturbed");
    is_null(&m, "sci", "no row could be perturbed");
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

static void refusals(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    float v[] = { 1, 0, 2, 0, 3, 0 };
    sl_stability_codes c = { .clean = from_dense(&room[0], CLEAN, 2, 3), .target = from_dense(&room[1], CLEAN, 2, 3), .perturbed = from_dense(&room[2], CLEAN, 1, 3) };
    sl_assert_fails(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err), SL_SHAPE, "perturbed codes");
    v[4] = NAN;
    c.perturbed = from_dense(&room[2], v, 2, 3);
    sl_assert_fails(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err), SL_NUMERIC, "row 1, column 1");
    v[4] = -1;
    c.perturbed = from_dense(&room[2], v, 2, 3);
    sl_assert_fails(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err), SL_NUMERIC, "none below 0");
    c.clean.n_rows = 0;
    sl_assert_fails(sl_stability_scores(ctx, &c, &m, NULL, NULL, &err), SL_DATA, "at least 1 row");
    assert_int_equal(m.n, 0);
    sl_ctx_free(ctx);
}

/* ---- partial correlation ---- */

/* Ranks 12345, 21435 and 13254: Spearman .8, .8 and .3; (.8 - .8 .3) / sqrt((1 - .64) (1 - .09)). */
static void partial_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_partial p;
    double a[] = { .1, .2, NAN, .3, .4, 7, .5 }, b[] = { -1, -2, 0, 4, 3, 0, 50 }, rate[] = { .001, .03, .5, .02, .9, 0, .3 };
    sl_assert_ok(sl_partial_spearman(ctx, a, b, rate, 7, &p, &err));
    double rho = .56 / sqrt(.36 * .91);
    assert_int_equal(p.n, 5);
    sl_assert_close_f64("rho, plain", (double[]){ p.rho, p.plain }, (double[]){ rho, .8 }, 2, 1e-12, 0);
    double t = rho * sqrt(2 / (1 - rho * rho)), p_2 = 1 - t / sqrt(2 + t * t); /* two-sided, 2 degrees of freedom: in closed form */
    sl_assert_close_f64("p", &p.p, &p_2, 1, 1e-9, 0);
    sl_assert_fails(sl_partial_spearman(ctx, a, b, rate, 4, &p, &err), SL_DATA, "at least 4");
    double flat[] = { 1, 1, 1, 1, 1, 1, 1 };
    sl_assert_fails(sl_partial_spearman(ctx, a, flat, rate, 7, &p, &err), SL_DATA, "does not");
    sl_assert_fails(sl_partial_spearman(ctx, a, b, flat, 7, &p, &err), SL_DATA, "does not");
    sl_assert_fails(sl_partial_spearman(ctx, rate, b, rate, 5, &p, &err), SL_DATA, "beyond the rate");
    sl_ctx_free(ctx);
}

/* Two properties that both follow the rate and nothing else. */
static void confounded(void **state)
{
    (void)state;
    enum { n = 800 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_partial p;
    static double a[n], b[n], rate[n];
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 1, 0);
    for (int i = 0; i < n; i++) {
        double u = sl_rng_normal(&r);
        rate[i] = pow(10, u - 6);
        a[i] = u + .7 * sl_rng_normal(&r);
        b[i] = u + .7 * sl_rng_normal(&r);
    }
    sl_assert_ok(sl_partial_spearman(ctx, a, b, rate, n, &p, &err));
    assert_true(p.plain > .5 && fabs(p.rho) < .1 && p.p > .01);
    sl_ctx_free(ctx);
}

/* ---- bootstrap of any statistic ---- */

typedef struct ratio { const double *num, *den; } ratio;

static double pooled(void *user, const int32_t *pick, int64_t n)
{
    const ratio *q = user;
    double num = 0, den = 0;
    for (int64_t i = 0; i < n; i++) {
        num += q->num[pick[i]];
        den += q->den[pick[i]];
    }
    return den != 0 ? num / den : NAN;
}

static double never(void *user, const int32_t *pick, int64_t n)
{
    (void)user;
    (void)pick;
    (void)n;
    return NAN;
}

/* Of a ratio it is the bootstrap of ratios, also where that is skewed (BCa). */
static void boot_of_a_ratio(void **state)
{
    (void)state;
    enum { n = 30 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    double num[n], den[n];
    bool skewed = false;
    for (int seed = 0; seed < 4; seed++) {
        sl_rng r = sl_rng_at((uint64_t)seed, SL_RNG_TEST, 2, 0);
        for (int i = 0; i < n; i++) {
            num[i] = exp((seed % 2 ? 2 : .2) * sl_rng_normal(&r));
            den[i] = seed % 2 ? 1 : 1 + sl_rng_uniform(&r);
        }
        sl_boot a, b;
        sl_boot_opts o = { 300, .95, 7 };
        sl_assert_ok(sl_boot_docs(ctx, num, den, n, &o, &a, &err));
        sl_assert_ok(sl_boot_of(ctx, pooled, &(ratio){ num, den }, n, &o, &b, &err));
        sl_assert_close_f64("bootstrap", (double[]){ b.value, b.lo, b.hi, b.se, b.skew }, (double[]){ a.value, a.lo, a.hi, a.se, a.skew }, 5, 1e-9, 1e-9);
        assert_true(a.bca == b.bca && b.n_docs == n && b.draws == 300);
        skewed = skewed || b.bca;
        sl_assert_fails(sl_boot_of(ctx, pooled, &(ratio){ num, den }, 1, &o, &b, &err), SL_DATA, "there is 1");
        sl_assert_fails(sl_boot_of(ctx, never, NULL, n, &o, &b, &err), SL_DATA, "there is none");
    }
    assert_true(skewed);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand), cmocka_unit_test(adjustment), cmocka_unit_test(exactly_one), cmocka_unit_test(what_counts),
        cmocka_unit_test(nothing_to_say), cmocka_unit_test(refusals), cmocka_unit_test(partial_by_hand), cmocka_unit_test(confounded),
        cmocka_unit_test(boot_of_a_ratio),
    };
    return cmocka_run_group_tests_name("eval_stability", tests, NULL, NULL);
}
