/* Row metrics against numbers worked out by hand, and on larger rows against plain sums. */
#include "../sae/rows.h"
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <saelab/eval.h>
#include <stdlib.h>
#include <string.h>

static double value(const sl_metrics *m, const char *name)
{
    const sl_metric *v = sl_metrics_get(m, name);
    if (!v || v->is_null)
        fail_msg("%s is %s", name, v ? v->reason : "missing");
    return v->value;
}

static void is(const sl_metrics *m, const char *name, double expected)
{
    double got = value(m, name);
    sl_assert_close_f64(name, &got, &expected, 1, 1e-9, 1e-6);
}

static void is_null(const sl_metrics *m, const char *name, const char *reason)
{
    const sl_metric *v = sl_metrics_get(m, name);
    assert_non_null(v);
    assert_true(v->is_null && v->value == 0 && v->n == 0);
    assert_string_equal(v->reason, reason);
}

/* d_in 2, d_sae 3: encoder rows (1, 0), (0, 1), (-1, -1), decoder rows (1, 0), (0, 2), (0, 0), no biases. */
static sl_sae *by_hand(sl_ctx *ctx)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "standard", 2, 3, &(sl_standard_options){ .l1 = .25, .decoder = 1 }, 0, &s, &err));
    memcpy(s->W_enc->value.data, (float[]){ 1, 0, 0, 1, -1, -1 }, 6 * sizeof(float));
    memcpy(s->W_dec->value.data, (float[]){ 1, 0, 0, 2, 0, 0 }, 6 * sizeof(float));
    sl_param_touch(s->W_enc);
    sl_param_touch(s->W_dec);
    return s;
}

static void set_rows(rows *r, const float *x, int64_t n)
{
    rows_normal(r, n, 2, 0, 0);
    memcpy(r->x, x, (size_t)(2 * n) * sizeof *x);
}

/* Rows (1, 0), (2, 1), (3, -1), (0, 0): codes (1, 0, 0), (2, 1, 0), (3, 0, 0), 0; reconstructions (1, 0), (2, 2), (3, 0), (0, 0); squared
 * errors 0, 1, 1, 0; mean (1.5, 0), sum |x - mean|^2 = 5 + 2; sum z |d| = 6 + 1 * 2. */
static void four_rows(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = by_hand(ctx);
    rows r;
    set_rows(&r, (float[]){ 1, 0, 2, 1, 3, -1, 0, 0 }, 4);
    sl_metrics m = { 0 };
    float rates[3];
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 0, &m, rates, &err));
    is(&m, "l0", 1);
    is(&m, "density", 1 / 3.);
    is(&m, "latent_sparsity", 1 / 3.);
    is(&m, "dead", 1 / 3.);
    is(&m, "dense_gt10pct", 2 / 3.);
    is(&m, "fvu", 2 / 7.);
    is(&m, "ev", 5 / 7.);
    is(&m, "reconstruction_error", .5);
    is(&m, "autoencoder_loss", 2 / 7. + .25 * 2 / sqrt(1.75));
    is(&m, "neuron_sparsity", .5);
    is(&m, "activation_entropy", -(.75 * log(.75) + .25 * log(.25)) / log(2));
    is(&m, "latent_entropy", -(.75 * log(.75) + .25 * log(.25)) / log(3));
    assert_int_equal(m.n, 15);
    assert_int_equal(sl_metrics_get(&m, "fvu")->n, 4);
    is(&m, "cosine", (1 + 6 / sqrt(5 * 8) + 3 / sqrt(10)) / 3); /* rows and reconstructions longer than 0 */
    is(&m, "l2_ratio", (1 + sqrt(8 / 5.) + 3 / sqrt(10)) / 3);
    is(&m, "recon_bias", (1 + 8 + 9) / (1 + 6 + 9.));
    sl_assert_close_f32("rates", rates, (float[]){ .75f, .25f, 0 }, 3, 0, 0);
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 2, &m, NULL, &err)); /* the first two rows; replaces the values */
    is(&m, "l0", 1.5);
    is(&m, "fvu", 1);
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 2, &m, NULL, &err)); /* always from the first row */
    is(&m, "l0", 1.5);
    assert_int_equal(m.n, 15);
    sl_metrics_release(ctx, &m);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void nothing_varies_nothing_fires(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = by_hand(ctx);
    ((float *)s->b_enc->value.data)[2] = -9;
    sl_param_touch(s->b_enc);
    rows r;
    set_rows(&r, (float[]){ -1, -2, -1, -2, -1, -2 }, 3);
    sl_metrics m = { 0 };
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 0, &m, NULL, &err));
    is(&m, "l0", 0);
    is(&m, "dead", 1);
    is(&m, "reconstruction_error", 5);
    is(&m, "neuron_sparsity", 0);
    is_null(&m, "fvu", "the rows do not vary");
    is_null(&m, "ev", "the rows do not vary");
    is_null(&m, "autoencoder_loss", "the rows do not vary");
    is_null(&m, "latent_entropy", "nothing was active");
    is_null(&m, "activation_entropy", "nothing was active");
    sl_metrics_release(ctx, &m);
    rows_release(&r);
    sl_sae_free(s);
    sl_assert_ok(sl_sae_new(ctx, "topk", 1, 1, &(sl_topk_options){ .k = 1 }, 0, &s, &err));
    rows_normal(&r, 5, 1, 0, 3);
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 0, &m, NULL, &err));
    is_null(&m, "latent_entropy", "one dimension has no entropy");
    is_null(&m, "activation_entropy", "one dimension has no entropy");
    sl_metrics_release(ctx, &m);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* More rows than a chunk, far from the origin: fvu against a plain sum in double. */
static void many_rows_far_away(void **state)
{
    (void)state;
    enum { n = 2500, d = 7, f = 20, k = 3 };
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "topk", d, f, &(sl_topk_options){ .k = k }, 2, &s, &err));
    rows r;
    rows_normal(&r, n, d, 1e6, 4);
    sl_metrics m = { 0 };
    float rates[f], *xhat = malloc(n * d * sizeof *xhat);
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 0, &m, rates, &err));
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, n, k, &z, &err));
    sl_assert_ok(sl_sae_encode(s, r.x, n, &z, xhat, &err));
    double mean[d] = { 0 }, var = 0, sq = 0, total = 0;
    for (int64_t i = 0; i < n * d; i++)
        mean[i % d] += (double)r.x[i] / n;
    for (int64_t i = 0; i < n * d; i++) {
        var += pow((double)r.x[i] - mean[i % d], 2);
        sq += pow((double)r.x[i] - (double)xhat[i], 2);
    }
    for (int j = 0; j < f; j++)
        total += (double)rates[j];
    is(&m, "fvu", sq / var);
    is(&m, "l0", (double)z.row_ptr[n] / n);
    assert_true(fabs(total - value(&m, "l0")) < 1e-5);
    sl_codes_release(ctx, &z);
    free(xhat);
    sl_metrics_release(ctx, &m);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void refusals(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = by_hand(ctx);
    rows r;
    set_rows(&r, (float[]){ 1, 0, 2, NAN }, 2);
    sl_metrics m = { 0 };
    sl_assert_fails(sl_eval_rows(ctx, s, &r.src, 0, &m, NULL, &err), SL_NUMERIC, "row 1, column 1 is nan");
    assert_int_equal(m.n, 0);
    r.x[3] = 0;
    r.src.info.d_in = 3;
    sl_assert_fails(sl_eval_rows(ctx, s, &r.src, 0, &m, NULL, &err), SL_SHAPE, "rows of 3 for an SAE of d_in 2");
    r.src.info.d_in = 2;
    r.src.info.n_rows = 0;
    sl_assert_fails(sl_eval_rows(ctx, s, &r.src, 9, &m, NULL, &err), SL_DATA, "no rows");
    r.src.info.n_rows = -1;
    sl_assert_fails(sl_eval_rows(ctx, s, &r.src, 0, &m, NULL, &err), SL_ARG, "endless");
    sl_assert_ok(sl_eval_rows(ctx, s, &r.src, 5, &m, NULL, &err));
    assert_int_equal(sl_metrics_get(&m, "l0")->n, 5);
    sl_metrics_release(ctx, &m);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* Codes 1, 2, 3 and 1 (log2: 0, 1, 1.58, 0) are in half octaves 24, 26, 27, 24 from 2^-12; inputs 1, 0, 2, 1, 3, -1, 0, 0 by quarters from -10. */
static void distributions(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = by_hand(ctx);
    rows r;
    set_rows(&r, (float[]){ 1, 0, 2, 1, 3, -1, 0, 0, 1e6f, -1e6f }, 5);
    sl_eval_dist dist;
    sl_assert_ok(sl_eval_distributions(ctx, s, &r.src, 4, &dist, &err));
    int64_t latent[SL_DIST_LATENT] = { 0 }, input[SL_DIST_INPUT] = { 0 };
    latent[24] = 2;
    latent[26] = latent[27] = 1;
    input[36] = input[48] = input[52] = 1;
    input[40] = 3;
    input[44] = 2;
    assert_memory_equal(dist.latent, latent, sizeof latent);
    assert_memory_equal(dist.input, input, sizeof input);
    assert_true(dist.n_latents == 4 && dist.n_inputs == 8);
    sl_assert_ok(sl_eval_distributions(ctx, s, &r.src, 0, &dist, &err)); /* beyond the ends */
    assert_true(dist.latent[SL_DIST_LATENT - 1] == 1 && dist.input[0] == 1 && dist.input[SL_DIST_INPUT - 1] == 1);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_rows), cmocka_unit_test(nothing_varies_nothing_fires), cmocka_unit_test(many_rows_far_away),
        cmocka_unit_test(refusals), cmocka_unit_test(distributions),
    };
    return cmocka_run_group_tests_name("eval_rows", tests, NULL, NULL);
}
