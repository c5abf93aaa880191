/* The certified support radius: worked out by hand, against attacks of every kind, and its closed form for noise against sampling. */
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <saelab/rng.h>
#include <saelab/stability.h>
#include <string.h>

enum { D = 10, M = 24, K = 4, RESTARTS = 3, STEPS = 10 };

static sl_sae *random_sae(sl_ctx *ctx, const char *variant, const void *opts, double bias, uint64_t seed)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, variant, D, M, opts, seed, &s, &err));
    sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 0, 0);
    float *W = s->W_enc->value.data, *b = s->b_enc->value.data, *b_dec = s->b_dec->value.data;
    for (int i = 0; i < M * D; i++)
        W[i] *= (float)(.5 + sl_rng_uniform(&r));
    for (int j = 0; j < M; j++)
        b[j] = (float)(bias + .3 * sl_rng_normal(&r));
    for (int i = 0; i < D; i++)
        b_dec[i] = (float)(.2 * sl_rng_normal(&r));
    for (int i = 0; i < sl_params_count(s->params); i++)
        sl_param_touch(sl_params_at(s->params, i));
    return s;
}

/* ---- by hand ---- */

static double radius_of(const sl_linear_encoder *e, const double *x, double *normal)
{
    double a[M];
    uint8_t support[M];
    sl_linear_support(e, x, a, support);
    return sl_support_radius(e, a, support, normal);
}

/* Encoder rows (1, 0), (0, 1), (-1, 0) at x = (3, 1): a = 3, 1, -3. */
static void by_hand(void **state)
{
    (void)state;
    double W[] = { 1, 0, 0, 1, -1, 0 }, b[3] = { 0 }, theta[3] = { 0 }, norm[] = { 1, 1, 1 }, x[] = { 3, 1 }, normal[2];
    sl_linear_encoder e = { 2, 3, 1, W, b, theta, norm };
    double r[6];
    r[0] = radius_of(&e, x, normal); /* the second overtakes the first: (3 - 1) / sqrt 2 */
    sl_assert_close_f64("normal", normal, (double[]){ -sqrt(.5), sqrt(.5) }, 2, 1e-12, 0);
    e.k = 2;
    r[1] = radius_of(&e, x, normal); /* the second falls to 0 */
    sl_assert_close_f64("normal", normal, (double[]){ 0, -1 }, 2, 1e-12, 0);
    e.k = 3;
    b[2] = 2.5;
    r[2] = radius_of(&e, x, normal); /* room for a third, at -.5 */
    sl_assert_close_f64("normal", normal, (double[]){ -1, 0 }, 2, 1e-12, 0);
    e.k = 0;
    theta[0] = theta[1] = theta[2] = .75;
    r[3] = radius_of(&e, x, NULL);   /* 2.25, .25, 1.25 from their thresholds */
    norm[1] = 0;
    W[3] = 0;                        /* a latent that no row moves: 1.25 is next */
    r[4] = radius_of(&e, x, NULL);
    norm[0] = norm[2] = 0;
    r[5] = radius_of(&e, x, NULL);
    sl_assert_close_f64("radius", r, (double[]){ sqrt(2), 1, .5, .25, 1.25 }, 5, 1e-12, 0);
    assert_true(r[5] > 0 && isinf(r[5]));
}

/* Equal ones: the lower index is kept; no more than k, none that is not positive. */
static void ties(void **state)
{
    (void)state;
    double W[] = { 1, 2, 2, 2, -1, 1 }, b[6] = { 0 }, theta[6] = { 0 }, norm[] = { 1, 2, 2, 2, 1, 1 }, x = 1, a[6];
    uint8_t support[6];
    sl_linear_encoder e = { 1, 6, 2, W, b, theta, norm };
    assert_int_equal(sl_linear_support(&e, &x, a, support), 2);
    assert_memory_equal(support, ((uint8_t[]){ 0, 1, 1, 0, 0, 0 }), 6);
    e.k = 4;
    assert_int_equal(sl_linear_support(&e, &x, a, support), 4);
    assert_memory_equal(support, ((uint8_t[]){ 1, 1, 1, 1, 0, 0 }), 6);
    e.k = 6;
    assert_int_equal(sl_linear_support(&e, &x, a, support), 5);
    assert_true(support[4] == 0);
}

/* ---- attacks ---- */

typedef struct target {
    const sl_linear_encoder *e;
    const double *x;
    uint8_t support[M];
    double a[M], radius;
} target;

static bool changes(const target *t, const double *delta)
{
    double x[D], a[M];
    uint8_t support[M];
    for (int i = 0; i < D; i++)
        x[i] = t->x[i] + delta[i];
    sl_linear_support(t->e, x, a, support);
    return memcmp(support, t->support, M) != 0;
}

static void scale_to(double *v, double length)
{
    double sq = 0;
    for (int i = 0; i < D; i++)
        sq += v[i] * v[i];
    for (int i = 0; i < D && sq > 0; i++)
        v[i] *= length / sqrt(sq);
}

static void random_on_sphere(sl_rng *r, double length, double *v)
{
    for (int i = 0; i < D; i++)
        v[i] = sl_rng_normal(r);
    scale_to(v, length);
}

/* Towards every hyperplane between two latents and of each alone. */
static int normals_that_change(const target *t, double length)
{
    int n = 0;
    for (int j = 0; j < M; j++)
        for (int l = -1; l < M; l++)
            for (int sign = -1; sign <= 1; sign += 2) {
                double v[D];
                for (int i = 0; i < D; i++)
                    v[i] = sign * (t->e->W[j * D + i] - (l >= 0 ? t->e->W[l * D + i] : 0));
                scale_to(v, length);
                n += changes(t, v);
            }
    return n;
}

/* The projected gradient of science.md B3: g = W^T [2 (z' - z) 1(z' > 0)], and -2 z_j w_j for what was lost. */
static bool pgd_changes(const target *t, double length, sl_rng *r)
{
    double delta[D], x[D], a[M], g[D];
    uint8_t support[M];
    random_on_sphere(r, length, delta);
    for (int s = 0; s < STEPS; s++) {
        if (changes(t, delta))
            return true;
        for (int i = 0; i < D; i++)
            x[i] = t->x[i] + delta[i];
        sl_linear_support(t->e, x, a, support);
        memset(g, 0, sizeof g);
        for (int j = 0; j < M; j++) {
            double z = t->support[j] ? t->a[j] : 0, f = support[j] ? 2 * (a[j] - z) : t->support[j] ? -2 * z : 0;
            for (int i = 0; i < D; i++)
                g[i] += f * t->e->W[j * D + i];
        }
        scale_to(g, 2.5 * length / STEPS);
        for (int i = 0; i < D; i++)
            delta[i] += g[i];
        scale_to(delta, length);
    }
    return changes(t, delta);
}

typedef struct tally { int rows, full, short_of_k; } tally;

static void attack_row(const sl_linear_encoder *e, const double *x, sl_rng *r, tally *n)
{
    target t = { .e = e, .x = x };
    double normal[D], v[D];
    int64_t active = sl_linear_support(e, x, t.a, t.support);
    t.radius = sl_support_radius(e, t.a, t.support, normal);
    double below = .999 * t.radius;
    for (int i = 0; i < 20; i++) {
        random_on_sphere(r, below, v);
        assert_false(changes(&t, v));
    }
    assert_int_equal(normals_that_change(&t, below), 0);
    for (int i = 0; i < RESTARTS; i++)
        assert_false(pgd_changes(&t, below, r));
    memcpy(v, normal, sizeof v);
    scale_to(v, below);
    assert_false(changes(&t, v));
    scale_to(v, 1.001 * t.radius);
    assert_true(changes(&t, v));
    n->rows++;
    n->full += e->k > 0 && active == e->k;
    n->short_of_k += e->k > 0 && active < e->k;
}

/* The support that the encoder itself finds, in single precision, is that of a; rows nearer to a change than rounding are left out. */
static void same_support(sl_ctx *ctx, sl_sae *s, const sl_linear_encoder *e, const float *x, int64_t n)
{
    sl_err err;
    sl_codes z;
    sl_assert_ok(sl_codes_new(ctx, n, M, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, n, &z, NULL, &err));
    int compared = 0;
    for (int64_t r = 0; r < n; r++) {
        double row[D], a[M];
        uint8_t support[M];
        for (int i = 0; i < D; i++)
            row[i] = (double)x[r * D + i];
        int64_t active = sl_linear_support(e, row, a, support);
        if (sl_support_radius(e, a, support, NULL) < 1e-4)
            continue;
        assert_int_equal(z.row_ptr[r + 1] - z.row_ptr[r], active);
        for (int64_t i = z.row_ptr[r]; i < z.row_ptr[r + 1]; i++)
            assert_int_equal(support[z.idx[i]], 1);
        compared++;
    }
    assert_true(compared > n * 9 / 10);
    sl_codes_release(ctx, &z);
}

static void attack(sl_ctx *ctx, sl_sae *s, tally *n)
{
    enum { ROWS = 60 };
    sl_err err;
    sl_linear_encoder e;
    float x[ROWS * D];
    double csr[ROWS], mean_csr[ROWS];
    float mean[D] = { .5f };
    sl_rng r = sl_rng_at(11, SL_RNG_TEST, 1, 0);
    for (int i = 0; i < ROWS * D; i++)
        x[i] = (float)sl_rng_normal(&r);
    sl_assert_ok(sl_linear_encoder_of(s, &e, &err));
    same_support(ctx, s, &e, x, ROWS);
    sl_assert_ok(sl_certified_radii(ctx, s, x, ROWS, NULL, csr, &err));
    sl_assert_ok(sl_certified_radii(ctx, s, x, ROWS, mean, mean_csr, &err));
    for (int k = 0; k < ROWS; k++) {
        double row[D], sq = 0, off = 0;
        for (int i = 0; i < D; i++) {
            row[i] = (double)x[k * D + i];
            sq += row[i] * row[i];
            off += (row[i] - (double)mean[i]) * (row[i] - (double)mean[i]);
        }
        double radius = radius_of(&e, row, NULL);
        sl_assert_close_f64("csr", (double[]){ csr[k], mean_csr[k] }, (double[]){ radius / sqrt(sq), radius / sqrt(off) }, 2, 0, 1e-9);
        attack_row(&e, row, &r, n);
    }
    sl_linear_encoder_release(ctx, &e);
    sl_sae_free(s);
}

static void never_beaten(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    tally n = { 0 };
    attack(ctx, random_sae(ctx, "topk", &(sl_topk_options){ .k = K }, 0, 1), &n);
    attack(ctx, random_sae(ctx, "topk", &(sl_topk_options){ .k = K }, -1.1, 2), &n);
    assert_true(n.full > 50 && n.short_of_k > 20);
    attack(ctx, random_sae(ctx, "standard", NULL, -.2, 3), &n);
    sl_sae *s = random_sae(ctx, "batchtopk", &(sl_batchtopk_options){ .k = K }, 0, 4);
    s->state[0] = .8; /* its threshold, which training would have found */
    attack(ctx, s, &n);
    s = random_sae(ctx, "jumprelu", NULL, 0, 5);
    for (int j = 0; j < M; j++)
        ((float *)s->extra[0]->value.data)[j] = .05f * (float)(j + 1);
    attack(ctx, s, &n);
    s = random_sae(ctx, "gated", NULL, -.1, 6);
    for (int j = 0; j < M; j++) {
        ((float *)s->extra[0]->value.data)[j] = .1f * (float)(j % 5); /* r_mag */
        ((float *)s->extra[1]->value.data)[j] = .2f * (float)(j % 4) - .4f; /* b_mag */
    }
    attack(ctx, s, &n);
    assert_int_equal(n.rows, 360);
    sl_ctx_free(ctx);
}

static void refusals(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_linear_encoder e;
    float x[2 * D] = { 0 };
    double csr[2];
    sl_assert_ok(sl_sae_new(ctx, "matching_pursuit", D, M, NULL, 0, &s, &err));
    sl_assert_fails(sl_linear_encoder_of(s, &e, &err), SL_UNAVAILABLE, "linear");
    sl_assert_fails(sl_certified_radii(ctx, s, x, 2, NULL, csr, &err), SL_UNAVAILABLE, "linear");
    sl_sae_free(s);
    s = random_sae(ctx, "standard", NULL, -.2, 3);
    x[D] = 1;
    sl_assert_ok(sl_certified_radii(ctx, s, x, 2, NULL, csr, &err));
    assert_true(isnan(csr[0]) && csr[1] >= 0); /* the first row is the mean */
    x[D] = NAN;
    sl_assert_fails(sl_certified_radii(ctx, s, x, 2, NULL, csr, &err), SL_NUMERIC, "row 1");
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* ---- I.9: the closed form against sampling ---- */

static void flip_rate(void **state)
{
    (void)state;
    enum { DRAWS = 4000, ROWS = 6 };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s = random_sae(ctx, "standard", NULL, 0, 8);
    sl_linear_encoder e;
    sl_assert_ok(sl_linear_encoder_of(s, &e, &err));
    int beyond = 0, compared = 0;
    double worst = 0;
    for (int r = 0; r < ROWS; r++) {
        sl_rng rng = sl_rng_at(9, SL_RNG_TEST, 3, (uint64_t)r);
        double x[D], a[M], b[M], sigma = .1 + .1 * r;
        uint8_t support[M], now[M];
        int off[M] = { 0 };
        for (int i = 0; i < D; i++)
            x[i] = sl_rng_normal(&rng);
        sl_linear_support(&e, x, a, support);
        for (int t = 0; t < DRAWS; t++) {
            double moved[D];
            for (int i = 0; i < D; i++)
                moved[i] = x[i] + sigma * sl_rng_normal(&rng);
            sl_linear_support(&e, moved, b, now);
            for (int j = 0; j < M; j++)
                off[j] += !now[j];
        }
        for (int j = 0; j < M; j++) {
            double p = sl_off_probability(&e, a, j, sigma), se = sqrt(p * (1 - p) / DRAWS);
            if (p < .005 || p > .995)
                continue;
            double z = fabs((double)off[j] / DRAWS - p) / se;
            beyond += z > 3;
            worst = fmax(worst, z);
            compared++;
        }
    }
    assert_true(compared > 60 && beyond <= 1 && worst < 4); /* one of 370 lies beyond 3 SE by chance */
    sl_linear_encoder_release(ctx, &e);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand), cmocka_unit_test(ties), cmocka_unit_test(never_beaten), cmocka_unit_test(refusals), cmocka_unit_test(flip_rate),
    };
    return cmocka_run_group_tests_name("eval_stability_radius", tests, NULL, NULL);
}
