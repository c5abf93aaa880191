/* Parts of the evaluation of composition, worked out by hand. */
#include "worked.h"

#include "eval/compose.h"
#include "sae/variant.h"

#include <saelab/rng.h>
#include <stdio.h>

/* Ranks of 1 3 2 4 against 10 20 20 40: 1 3 2 4 and 1 2.5 2.5 4; centred products 2.25 + 0 + 0 + 2.25 over sqrt(5 * 4.5). */
static void correlations(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const double a[] = { 1, 3, 2, 4 }, b[] = { 10, 20, 20, 40 }, flat[] = { .1, .1, .1, .1 };
    double r, expected = 4.5 / sqrt(22.5);
    sl_assert_ok(sl_spearman(ctx, a, b, 4, &r, &err));
    sl_assert_close_f64("Spearman", &r, &expected, 1, 1e-12, 0);
    sl_pearson(a, (const double[]){ -2, -6, -4, -8 }, 4, &r);
    sl_assert_close_f64("Pearson", &r, &(double){ -1 }, 1, 1e-12, 0);
    sl_metrics m = { 0 };
    sl_pearson(a, flat, 4, &r);
    sl_assert_ok(sl_put_r(ctx, &m, "flat", r, 4, &err));
    worked_null(&m, "flat", "one of the two does not vary");
    sl_pearson(a, b, 2, &r);
    sl_assert_ok(sl_put_r(ctx, &m, "few", r, 2, &err));
    worked_null(&m, "few", "fewer than 3 to correlate");
    double same[] = { 2, 2, 2 }, one[] = { 0, 5, 0, 0 }, gini = sl_gini(same, 3);
    sl_assert_close_f64("Gini of equals", &gini, &(double){ 0 }, 1, 1e-12, 0);
    gini = sl_gini(one, 4);
    sl_assert_close_f64("Gini of one alone", &gini, &(double){ .75 }, 1, 1e-12, 0);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Row 1, tokens 0 2: pi(0,2) = 3, pi(2,0) = -1. Row 2, tokens 0 1 2: pi(0,2) = 1, pi(1,2) = 4. Means: (0,2) 2, (2,0) -.5, (1,2) 4; sum of
 * absolutes 6.5; shares of 0: 2.5 / 13, of 1: 4 / 13, of 2: 6.5 / 13. */
static void means_and_shares(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_mean_pi m;
    double share[4];
    sl_assert_ok(sl_mean_pi_new(ctx, 4, &m, &err));
    sl_mean_pi_add(&m, (const int32_t[]){ 1, 3 }, 2, (const float[]){ 0, 9, 9, 0 });
    sl_mean_pi_clear(&m);
    sl_mean_pi_add(&m, (const int32_t[]){ 0, 2 }, 2, (const float[]){ 0, 3, -1, 0 });
    sl_mean_pi_add(&m, (const int32_t[]){ 0, 1, 2 }, 3, (const float[]){ 0, 0, 1, 0, 0, 4, 0, 0, 0 });
    sl_mean_pi_finish(&m);
    sl_assert_close_f64("I(0, 2)", &m.mean[2], &(double){ 2 }, 1, 1e-12, 0);
    sl_assert_close_f64("I(2, 0)", &m.mean[8], &(double){ -.5 }, 1, 1e-12, 0);
    sl_assert_close_f64("I(1, 3) after clear", &m.mean[7], &(double){ 0 }, 1, 0, 0);
    sl_mean_pi_shares(&m, share);
    sl_assert_close_f64("shares", share, (const double[]){ 2.5 / 13, 4 / 13., .5, 0 }, 4, 1e-12, 0);
    sl_mean_pi_release(ctx, &m);
    sl_assert_fails(sl_mean_pi_new(ctx, SL_COMPOSE_LATENTS + 1, &m, &err), SL_UNAVAILABLE, "no room");
    sl_ctx_free(ctx);
}

/* Participants: c0 of 0 and 1 (.5 .45; .05 is too small), c1 of 1 alone, c2 of none. Degrees 1 2 0 over live latents 0 1 2: mean 1, Gini of
 * 0 1 2: 2 * (2 + 6) / 9 - 4 / 3 = 4 / 9, entropy of 1/3 2/3 over ln 3, mean order 3 / 2. */
static void reuse(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_metrics m = { 0 };
    sl_composition_pictures p = { 0 };
    const double share[12] = { .5, .45, .05, 0, 0, 1, 0, 0, 0, 0, 0, 0 }, none[12] = { 0 };
    const uint8_t alive[4] = { 1, 1, 1, 0 };
    sl_assert_ok(sl_put_reuse(ctx, share, 3, 4, alive, &m, &p, &err));
    worked_is(&m, "reuse_mean", 1);
    worked_is(&m, "reuse_gini", 4 / 9.);
    worked_is(&m, "reuse_entropy", -(log(1 / 3.) / 3 + log(2 / 3.) * 2 / 3) / log(3));
    worked_is(&m, "mean_order", 1.5);
    assert_int_equal(p.n_edges, 3);
    assert_true(p.reuse[0] == 1 && p.reuse[1] == 2 && p.reuse[2] == 0 && p.edge[2].q == 1 && p.edge[2].feature == 1);
    sl_assert_ok(sl_put_reuse(ctx, none, 3, 4, alive, &m, NULL, &err));
    worked_null(&m, "mean_order", "no composition has a participant");
    sl_composition_pictures_release(ctx, &p);
    sl_metrics_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* 0 and 2 are near, then 1 and 3, then both. */
static void linkage(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    int32_t order[4];
    const double d[16] = { 0, 8, 1, 9, 8, 0, 7, 2, 1, 7, 0, 8, 9, 2, 8, 0 };
    sl_assert_ok(sl_linkage_order(ctx, d, 4, order, &err));
    sl_assert_same_bits("order", order, (const int32_t[]){ 0, 2, 1, 3 }, sizeof order);
    sl_ctx_free(ctx);
}

static void quoted(void *user, int32_t latent, char name[64])
{
    (void)user;
    snprintf(name, 64, "say \"%d\"", (int)latent);
}

static void graph(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    char *dot;
    sl_composition_unit unit[2] = { { .q = 7, .n_participants = 2, .participant = { 3, 1 }, .share = { .5, .25 } }, { .q = 9, .n_participants = 1, .participant = { 3 }, .share = { 1 } } };
    sl_composition_pictures p = { .unit = unit, .n_units = 2 };
    sl_assert_ok(sl_composition_dot(ctx, &p, quoted, NULL, &dot, &err));
    assert_non_null(strstr(dot, "f3 -- c7 [penwidth=4.50];"));
    assert_non_null(strstr(dot, "f3 -- c9 [penwidth=8.50];"));
    char *first = strstr(dot, "f3 [label=\"say \\\"3\\\"\"];");
    assert_non_null(first);
    assert_null(strstr(first + 1, "f3 [label"));
    assert_string_equal(dot + strlen(dot) - 2, "}\n");
    sl_free(ctx, dot);
    p.n_units = 0;
    sl_assert_fails(sl_composition_dot(ctx, &p, NULL, NULL, &dot, &err), SL_DATA, "none to draw");
    sl_ctx_free(ctx);
}

/* Rows 00 01 10 11 of two latents, 200 times, so that every block of rows is balanced. y = 3 z_0 - z_1 + 2 is additive: nothing is left. y =
 * z_0 z_1: the best additive fit leaves (z_0 - 1/2)(z_1 - 1/2), 1/16 a row. */
static void ridge(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    enum { N = 800 };
    float *z = worked_repeat((float[]){ 0, 0, 0, 1, 1, 0, 1, 1 }, 4, 2, N / 4), y[2 * N];
    uint8_t scored[N];
    double left, n = 0;
    sl_eval_data d = { .seed = 1, .d_sae = 2, .n_rows = N, .z = worked_sparse(z, N, 2) };
    for (int64_t r = 0; r < N; r++) {
        y[r] = 3 * z[2 * r] - z[2 * r + 1] + 2;
        y[N + r] = z[2 * r] * z[2 * r + 1];
    }
    sl_assert_ok(sl_ridge_left(ctx, &d, y, 1, &left, scored, &err));
    for (int64_t r = 0; r < N; r++)
        n += scored[r];
    assert_true(n == N / 5.);
    assert_true(left < 1e-6 * n);
    sl_assert_ok(sl_ridge_left(ctx, &d, y + N, 1, &left, scored, &err));
    left /= n;
    sl_assert_close_f64("of a product", &left, &(double){ 1 / 16. }, 1, 1e-3, 0);
    d.n_rows = d.z.n_rows = 49;
    sl_assert_fails(sl_ridge_left(ctx, &d, y, 1, &left, scored, &err), SL_DATA, "fewer than 50 rows");
    worked_release(&d.z);
    free(z);
    sl_ctx_free(ctx);
}

/* z_2 = z_0 z_1, z_3 by itself: the product of 0 and 1 tells z_2 beyond their sum. */
static void posthoc(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    enum { N = 600 };
    float z[N * 4];
    sl_rng rng = sl_rng_at(3, SL_RNG_TEST, 0, 0);
    for (int64_t r = 0; r < N; r++) {
        for (int64_t j = 0; j < 4; j++)
            z[4 * r + j] = sl_rng_uniform(&rng) < .5 ? (float)(.5 + sl_rng_uniform(&rng)) : 0;
        z[4 * r + 2] = z[4 * r] * z[4 * r + 1];
    }
    sl_units u;
    sl_eval_data d = { .seed = 1, .d_sae = 4, .n_rows = N, .z = worked_sparse(z, N, 4) };
    sl_assert_ok(sl_posthoc_units(ctx, &d, 20, 1, &u, &err));
    sl_assert_close_f64("shares", u.share + 8, (const double[]){ .5, .5, 0, 0 }, 4, 1e-12, 0);
    sl_assert_close_f64("shares of others", u.share, (const double[8]){ 0 }, 8, 0, 0);
    sl_units_release(ctx, &u);
    sl_assert_ok(sl_posthoc_units(ctx, &d, N, 1, &u, &err)); /* no pair is that frequent */
    sl_assert_close_f64("nothing found", u.share, (const double[16]){ 0 }, 16, 0, 0);
    sl_units_release(ctx, &u);
    worked_release(&d.z);
    sl_ctx_free(ctx);
}

/* Rows 1 2 0 / 1 0 3 / 3 2 0: pairs 0-1 twice, 0-2 once. cov(0,1) = (2 + 6) / 3 - (5 / 3)(4 / 3) = 4 / 9; cov(0,2) = 1 - 5 / 3 = -2 / 3. */
static void pairs(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_pair *p;
    int64_t n;
    sl_columns c;
    sl_units u;
    sl_sparse z = worked_sparse((const float[]){ 1, 2, 0, 1, 0, 3, 3, 2, 0 }, 3, 3);
    sl_assert_ok(sl_pairs_of(ctx, &z, 2, &p, &n, &err));
    assert_true(n == 1 && p[0].i == 0 && p[0].j == 1 && p[0].both == 2);
    sl_free(ctx, p);
    sl_assert_ok(sl_pairs_of(ctx, &z, 1, &p, &n, &err));
    assert_true(n == 2 && p[1].i == 0 && p[1].j == 2 && p[1].both == 1);
    sl_assert_ok(sl_columns_new(ctx, &z, &c, &err));
    sl_covariance_pairs(&c, p, n);
    const double got[] = { p[0].score, p[1].score };
    sl_assert_close_f64("covariances", got, (const double[]){ 4 / 9., -2 / 3. }, 2, 1e-12, 0);
    sl_assert_ok(sl_pair_units(ctx, &z, p, n, &u, &err));
    sl_assert_same_bits("rows of the pairs", u.fires.row_ptr, (const int64_t[]){ 0, 1, 2, 3 }, 4 * sizeof(int64_t));
    sl_assert_same_bits("pairs of the rows", u.fires.idx, (const int32_t[]){ 0, 1, 0 }, 3 * sizeof(int32_t));
    sl_units_release(ctx, &u);
    sl_columns_release(ctx, &c);
    sl_free(ctx, p);
    worked_release(&z);
    sl_ctx_free(ctx);
}

/* Decoder x^ = z + W_2 ReLU(z_0 + z_1 - 1), W_2 = (0, 0, 3): at means 1.5 of 0 and 1, .5 of 2, the hidden unit has 2, .5, .5 and 0, so that
 * Delta_01 = 3 (2 - .5 - .5); 0-2: .5 - .5 - 0. Branch of row (2, 1, 0): 3 * 2 in the last column. */
static void decoder(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_tensor t;
    sl_assert_ok(sl_sae_new(ctx, "mlp_decoder", 3, 3, &(sl_mlp_decoder_options){ .k = 3, .hidden = 1 }, 0, &s, &err));
    const float eye[] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    const struct { const char *name; const float *v; size_t n; } w[] = { { "W_enc", eye, 9 }, { "W_dec", eye, 9 }, { "W_mlp_in", (const float[]){ 1, 1, 0 }, 3 },
                                                                         { "b_mlp_in", (const float[]){ -1 }, 1 }, { "W_mlp_out", (const float[]){ 0, 0, 3 }, 3 } };
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
        sl_assert_ok(sl_sae_weight(s, w[i].name, &t, &err));
        memcpy(t.data, w[i].v, w[i].n * sizeof(float));
    }
    sl_param_touch(s->W_enc);
    sl_param_touch(s->W_dec);
    const float x[] = { 2, 1, 0, 1, 2, 0, 0, 0, .5f };
    sl_eval_data d = { .d_in = 3, .d_sae = 3, .n_rows = 3, .x = x, .W_dec = eye, .z = worked_sparse(x, 3, 3) };
    sl_pair p[] = { { 0, 1, 2, 0 }, { 0, 2, 0, 0 } };
    sl_assert_ok(sl_decoder_pairs(ctx, s, &d.z, p, 2, &err));
    const double got[] = { p[0].score, p[1].score };
    sl_assert_close_f64("interactions", got, (const double[]){ 3, 0 }, 2, 1e-5, 0);
    sl_branch b;
    sl_assert_ok(sl_branch_new(ctx, s, NULL, &d, &b, &err));
    sl_assert_close_f32("branch", b.y, (const float[]){ 0, 0, 6, 0, 0, 6, 0, 0, 0 }, 9, 1e-5, 0);
    double energy = 72 / (2 + 2 + .25 * 2 / 3); /* columns 2 1 0, 1 2 0 and 0 0 .5 around their means */
    sl_assert_close_f64("energy", &b.energy, &energy, 1, 1e-5, 1e-5);
    sl_branch_release(ctx, &b);
    worked_release(&d.z);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(correlations), cmocka_unit_test(means_and_shares), cmocka_unit_test(reuse), cmocka_unit_test(linkage),
                                        cmocka_unit_test(graph), cmocka_unit_test(ridge), cmocka_unit_test(posthoc), cmocka_unit_test(pairs), cmocka_unit_test(decoder) };
    return cmocka_run_group_tests_name("eval_compose", tests, NULL, NULL);
}
