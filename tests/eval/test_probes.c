/* Logistic regression against its optimality conditions, scores by hand, labels of a text, probes of planted properties. */
#include "worked.h"

#include <saelab/probe.h>
#include <saelab/rng.h>

/* ---- logistic regression ---- */

/* At the optimum of |u|^2 / 2 + C sum s_i log(1 + exp(-y f)) in standardised columns: u_c = sum_i C s_i (y_i - p_i) xs_ic, and the same sum
 * without x is 0 for the bias. */
static void optimality(const sl_design *X, const float *dense, const uint8_t *y, int64_t n, int64_t d, const sl_logistic_opts *o, const double *w, bool centred)
{
    double pos = 0, bias = 0;
    for (int64_t i = 0; i < n; i++)
        pos += y[i];
    for (int64_t c = 0; c <= d; c++) {
        double mean = 0, sq = 0, g = 0;
        for (int64_t i = 0; c < d && centred && i < n; i++)
            mean += (double)dense[i * d + c] / (double)n;
        for (int64_t i = 0; c < d && i < n; i++)
            sq += pow((double)dense[i * d + c] - mean, 2) / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double s = o->C * (o->balanced ? (double)n / (2 * (y[i] ? pos : (double)n - pos)) : 1);
            double e = s * (y[i] - 1 / (1 + exp(-sl_logistic_score(X, i, w))));
            g += c < d ? e * ((double)dense[i * d + c] - mean) / sqrt(sq) : 0;
            bias += c == d ? e : 0;
        }
        if (c < d) {
            double u = w[c] * sqrt(sq);
            sl_assert_close_f64("weight", &g, &u, 1, 2e-3, 0);
        }
    }
    sl_assert_close_f64("bias", &bias, &(double){ 0 }, 1, 2e-3, 0);
}

static void fits_are_optimal(void **state)
{
    (void)state;
    enum { n = 60, d = 3 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float x[n * d];
    uint8_t y[n];
    int32_t rows[n];
    double w[d + 1];
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < n; i++) {
        rows[i] = i;
        for (int c = 0; c < d; c++)
            x[i * d + c] = (float)fmax(0, 2 + (c + 1) * sl_rng_normal(&r));
        y[i] = (double)x[i * d] - (double)x[i * d + 1] + 2 * sl_rng_normal(&r) > 1;
    }
    sl_sparse z = worked_sparse(x, n, d);
    sl_design dense = { .n_cols = d, .x = x }, sparse = { .n_cols = d, .z = &z };
    for (int balanced = 0; balanced < 2; balanced++) {
        sl_logistic_opts o = { .C = .7, .balanced = balanced, .max_iterations = 200 };
        sl_assert_ok(sl_logistic(ctx, &dense, rows, y, n, &o, w, &err));
        optimality(&dense, x, y, n, d, &o, w, true);
        sl_assert_ok(sl_logistic(ctx, &sparse, rows, y, n, &o, w, &err));
        optimality(&sparse, x, y, n, d, &o, w, false);
    }
    memset(y, 0, sizeof y);
    sl_assert_fails(sl_logistic(ctx, &dense, rows, y, n, &(sl_logistic_opts){ 1, true, 50 }, w, &err), SL_DATA, "0 of 60 rows");
    y[0] = 1;
    for (int i = 0; i < n; i++)
        x[i * d] = 5; /* does not vary */
    sl_assert_ok(sl_logistic(ctx, &dense, rows, y, n, &(sl_logistic_opts){ 1, true, 50 }, w, &err));
    assert_true(w[0] == 0 && isfinite(w[1]) && isfinite(w[3]));
    x[4] = NAN;
    sl_assert_fails(sl_logistic(ctx, &dense, rows, y, n, &(sl_logistic_opts){ 1, true, 50 }, w, &err), SL_NUMERIC, "not finite");
    worked_release(&z);
    sl_ctx_free(ctx);
}

/* Positives score 2, 1, -1, negatives 1, -2: pairs 2>1, 2>-2, 1=1, 1>-2, -1<1, -1>-2: (4 + .5) / 6. Predicted: 2, 1, 1: 2 of 3 hit, 1 of 2 wrong. */
static void scores(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_probe_score s;
    const double f[] = { 2, 1, -1, 1, -2 };
    const uint8_t y[] = { 1, 1, 1, 0, 0 };
    sl_assert_ok(sl_probe_score_of(ctx, f, y, 5, &s, &err));
    assert_true(fabs(s.auc - .75) < 1e-12 && fabs(s.accuracy - (2 / 3. + .5) / 2) < 1e-12 && fabs(s.f1 - 4 / 6.) < 1e-12 && s.n_pos == 3 && s.n_neg == 2);
    sl_assert_fails(sl_probe_score_of(ctx, f, y, 3, &s, &err), SL_DATA, "3 of 3");
    sl_assert_fails(sl_probe_score_of(ctx, (double[]){ 0, NAN }, y + 2, 2, &s, &err), SL_NUMERIC, "score 1");
    sl_ctx_free(ctx);
}

/* ---- labels ---- */

static void labels_of_a_text(void **state)
{
    (void)state;
    static const char text[] = "the \"Cat of 9 and\" the was\n\n\"x\n\nis it";
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_text t = { .name = "t", .bytes = (char *)(uintptr_t)text, .n = sizeof text - 1 };
    sl_corpus c;
    sl_assert_ok(sl_corpus_new(ctx, &t, SL_TOK_BYTE, NULL, &c, &err));
    int32_t doc[64] = { 0 }, pos[64];
    int64_t n = c.n;
    c.n_docs = 1; /* one document in place of its splits */
    c.doc[1] = n;
    for (int i = 0; i < n; i++)
        pos[i] = i;
    sl_label_set *s;
    int n_sets;
    sl_assert_ok(sl_labels_of_text(ctx, &c, doc, pos, n, &s, &n_sets, &err));
    assert_true(n_sets == 5 && !strcmp(s[0].name, "first_letter") && !strcmp(s[1].name, "capital") && !strcmp(s[2].name, "digit")
                && !strcmp(s[3].name, "quoted") && !strcmp(s[4].name, "language"));
    const struct { int at; int32_t letter, capital, digit, quoted; } is[] = {
        { 0, 't' - 'a', 0, 0, 0 }, { 2, 't' - 'a', 0, 0, 0 }, { 3, -1, -1, -1, -1 } /* blank */, { 4, -1, -1, 0, -1 } /* the mark */,
        { 5, 'c' - 'a', 1, 0, 1 }, { 7, 'c' - 'a', 0, 0, 1 }, { 12, -1, -1, 1, 1 } /* 9 */, { 17, -1, -1, 0, -1 }, { 19, 't' - 'a', 0, 0, 0 },
        { 29, 'x' - 'a', 0, 0, 1 }, { 32, 'i' - 'a', 0, 0, 0 } /* a blank line closed it */,
    };
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        int32_t got[] = { s[0].y[is[i].at], s[1].y[is[i].at], s[2].y[is[i].at], s[3].y[is[i].at] };
        if (memcmp(got, &is[i].letter, sizeof got) != 0)
            fail_msg("byte %d '%c': %d %d %d %d", is[i].at, text[is[i].at], got[0], got[1], got[2], got[3]);
    }
    assert_true(s[4].y[0] == 0 && s[4].y[3] == -1 && !strcmp(sl_languages[0], "en")); /* the of and the was is: 6 words */
    sl_labels_free(ctx, s, n_sets);
    pos[1] = 99;
    sl_assert_fails(sl_labels_of_text(ctx, &c, doc, pos, n, &s, &n_sets, &err), SL_DATA, "row 1: token 99");
    assert_null(s);
    sl_corpus_release(ctx, &c);
    const char *const source[] = { "web", "book", "web" };
    sl_act_info info = { .labels = source, .n_labels = 3 };
    sl_assert_ok(sl_labels_of_source(ctx, &info, (int64_t[]){ 2, 1, 0, 1 }, 4, &s, &err));
    assert_true(s->n_classes == 2 && s->y[0] == 0 && s->y[1] == 1 && s->y[2] == 0 && s->y[3] == 1);
    sl_labels_free(ctx, s, 1);
    info.labels = NULL;
    sl_assert_fails(sl_labels_of_source(ctx, &info, (int64_t[]){ 0 }, 1, &s, &err), SL_DATA, "no labels");
    sl_ctx_free(ctx);
}

/* ---- probes ---- */

/* Latent 0 fires where the label is 1 in 9 of 10 rows and in 1 of 10 others; latents 1 and 2 together say it exactly (either fires); x holds it
 * plainly. The rest fires at random. */
static void planted(void **state)
{
    (void)state;
    enum { n = 4000, m = 12, d = 4 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    float *z = calloc(n * m, sizeof *z), *x = calloc(n * d, sizeof *x), *g = calloc(n * 2, sizeof *g);
    int32_t *y = malloc(n * sizeof *y), *noise = malloc(n * sizeof *noise), *doc = malloc(n * sizeof *doc);
    for (int i = 0; i < n; i++) {
        sl_rng r = sl_rng_at(3, SL_RNG_TEST, 0, (uint64_t)i);
        bool on = sl_rng_below(&r, 2);
        y[i] = sl_rng_below(&r, 10) ? on : -1;
        noise[i] = (int32_t)sl_rng_below(&r, 3);
        doc[i] = i / 20;
        g[2 * i] = on;
        z[i * m] = (sl_rng_below(&r, 10) == 0) != on;
        z[i * m + 1 + (int)sl_rng_below(&r, 2)] = on ? .5f : 0;
        for (int j = 3; j < m; j++)
            z[i * m + j] = sl_rng_below(&r, 3) == 0;
        for (int c = 0; c < d; c++)
            x[i * d + c] = (float)sl_rng_normal(&r) + (c == 2 ? on ? 9 : -9 : 100);
    }
    const sl_label_set sets[] = { { "planted", 2, y }, { "noise", 3, noise } };
    sl_eval_data e = { .d_in = d, .d_sae = m, .n_rows = n, .x = x, .z = worked_sparse(z, n, m), .doc = doc, .labels = sets, .n_labels = 2,
                       .n_truth = 2, .g = worked_sparse(g, n, 2) };
    sl_metrics v = { 0 };
    sl_assert_ok(sl_measure(ctx, &e, NULL, (const char *const[]){ "label_probes", "truth_probes", NULL }, &v, &err));
    assert_true(fabs(worked_value(&v, "probe_planted_k1") - .9) < .03 && worked_value(&v, "probe_planted_x") == 1);
    assert_true(worked_value(&v, "probe_planted_k5") == 1 && worked_value(&v, "probe_planted_dense") == 1);
    assert_true(fabs(worked_value(&v, "probe_truth_k1") - .9) < .03 && worked_value(&v, "probe_truth_x") == 1);
    assert_true(sl_metrics_get(&v, "probe_truth_k1")->n == 1 && sl_metrics_get(&v, "probe_noise_k1")->n == 3);
    for (int k = 0; k < 5; k++) {
        const char *const at[] = { "probe_noise_k1", "probe_noise_k2", "probe_noise_k5", "probe_noise_dense", "probe_noise_x" };
        assert_true(fabs(worked_value(&v, at[k]) - .5) < .05 && sl_metrics_get(&v, at[k])->floor == .5 && sl_metrics_get(&v, at[k])->has_interval);
    }
    for (int i = 0; i < n; i++)
        y[i] = i < 10; /* too few */
    sl_assert_ok(sl_measure(ctx, &e, NULL, (const char *const[]){ "label_probes", NULL }, &v, &err));
    worked_null(&v, "probe_planted_k1", "no class has 20 rows");
    worked_release(&e.z);
    worked_release(&e.g);
    sl_metrics_release(ctx, &v);
    free(doc);
    free(noise);
    free(y);
    free(g);
    free(x);
    free(z);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_are_optimal), cmocka_unit_test(scores), cmocka_unit_test(labels_of_a_text), cmocka_unit_test(planted),
    };
    return cmocka_run_group_tests_name("eval_probes", tests, NULL, NULL);
}
