/* BatchTopK, Matryoshka and matching pursuit by hand and against plain loops. */
#include "rows.h"
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry { double a; int row, feature; } entry;

static int by_value(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    if (a->a != b->a)
        return a->a > b->a ? -1 : 1;
    return a->row != b->row ? a->row - b->row : a->feature - b->feature;
}

enum { B = 24, D = 5, F = 64 };

/* The k B largest of all, in plain loops; x of small whole numbers, so that there are ties and no rounding. */
static void batch_of(sl_ctx *ctx, const double *x, const double *W, const double *b, int64_t total)
{
    sl_err err;
    sl_tape *t;
    static entry all[B * F];
    int n = 0;
    for (int r = 0; r < B; r++)
        for (int f = 0; f < F; f++) {
            double a = b[f];
            for (int j = 0; j < D; j++)
                a += x[r * D + j] * W[f * D + j];
            if (a > 0)
                all[n++] = (entry){ a, r, f };
        }
    qsort(all, (size_t)n, sizeof *all, by_value);
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    sl_tensor xt = sl_tensor_of(SL_F64, (void *)(uintptr_t)x, 2, (int64_t)B, (int64_t)D), Wt = sl_tensor_of(SL_F64, (void *)(uintptr_t)W, 2, (int64_t)F, (int64_t)D);
    sl_tensor bt = sl_tensor_of(SL_F64, (void *)(uintptr_t)b, 1, (int64_t)F);
    const sl_csr *z = sl_code_csr(t, sl_encode_batch(t, sl_const(t, &xt), sl_const(t, &Wt), sl_const(t, &bt), total));
    sl_assert_ok(sl_tape_status(t, &err));
    int64_t expected = n < total ? n : total;
    assert_int_equal(z->row_ptr[B], expected);
    for (int64_t i = 0; i < expected; i++) {
        bool found = false;
        for (int64_t e = z->row_ptr[all[i].row]; e < z->row_ptr[all[i].row + 1]; e++)
            found = found || (z->idx[e] == all[i].feature && ((double *)z->val)[e] == all[i].a);
        assert_true(found);
    }
    sl_tape_free(t);
}

static void whole(double *v, int n, uint64_t row, int most)
{
    sl_rng g = sl_rng_at(3, SL_RNG_TEST, 1, row);
    for (int i = 0; i < n; i++)
        v[i] = (double)sl_rng_below(&g, (uint64_t)(2 * most + 1)) - most;
}

static void the_largest_of_the_batch(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    double x[B * D], W[F * D], b[F];
    whole(x, B * D, 1, 3);
    whole(W, F * D, 2, 2);
    whole(b, F, 3, 1);
    static const int64_t totals[] = { 1, 2, B, 3 * B, 10 * B, B * F };
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        batch_of(ctx, x, W, b, totals[i]);
    for (int j = 0; j < D; j++)
        x[7 * D + j] *= 1000; /* one row has nearly all of them: more of it has to be looked at than of the others */
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        batch_of(ctx, x, W, b, totals[i]);
    for (int f = 0; f < F; f++)
        b[f] = -1e9;
    batch_of(ctx, x, W, b, B); /* nothing is positive */
    sl_ctx_free(ctx);
}

static void bad_totals(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_tape *t;
    double v[4] = { 1, 2, 3, 4 };
    sl_tensor x = sl_tensor_of(SL_F64, v, 2, (int64_t)2, (int64_t)2), W = x, b = sl_tensor_of(SL_F64, v, 1, (int64_t)2), wide = sl_tensor_of(SL_F64, v, 1, (int64_t)4);
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    for (int64_t total = 0; total <= 5; total += 5) {
        sl_encode_batch(t, sl_const(t, &x), sl_const(t, &W), sl_const(t, &b), total);
        sl_assert_fails(sl_tape_status(t, &err), SL_ARG, "total is");
        sl_tape_reset(t);
    }
    sl_encode_batch(t, sl_const(t, &x), sl_const(t, &W), sl_const(t, &wide), 1);
    sl_assert_fails(sl_tape_status(t, &err), SL_SHAPE, "b_enc [F]");
    sl_tape_reset(t);
    sl_code_slice(t, (sl_code){ sl_const(t, &x) }, 0, 1);
    sl_assert_fails(sl_tape_status(t, &err), SL_ARG, "no sparse code");
    sl_tape_reset(t);
    sl_code z = sl_encode_topk(t, sl_const(t, &x), sl_const(t, &W), sl_const(t, &b), 1);
    sl_code_add(t, z, (sl_code){ sl_const(t, &x) });
    sl_assert_fails(sl_tape_status(t, &err), SL_ARG, "input 2 is no sparse code");
    sl_tape_free(t);
    sl_ctx_free(ctx);
}

/* theta: copied first, then .999 of itself and .001 of the smallest value; nothing active: it stays. Peers: from 0, or later. */
static void threshold_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "batchtopk", 2, 4, &(sl_batchtopk_options){ .k = 1 }, 0, &s, &err));
    static const double min_active[] = { .5, .3, .7 };
    static const double expected[4][3] = { { .5, .4998, .5000002 }, { .005, .00795, .0148705 }, { -1, -1, -1 }, { .5, .4998, .5000002 } };
    for (int r = 0; sl_recipe_at(r); r++) {
        s->recipe = sl_recipe_at(r);
        s->state[0] = -1;
        for (int i = 0; i < 3; i++) {
            sl_sae_batch b = { .step = 1000 - 2 + i, .steps = 2000, .n = 1 }; /* the last is step 1000, from 0 */
            s->ops->after_step(NULL, s, NULL, &b, &(sl_sae_seen){ .n = 1, .nnz = 1, .min_active = min_active[i] });
            sl_assert_close_f64(s->recipe->name, &s->state[0], &expected[r][i], 1, 1e-12, 0);
            s->ops->after_step(NULL, s, NULL, &b, &(sl_sae_seen){ .n = 1, .min_active = INFINITY });
            sl_assert_close_f64("nothing active", &s->state[0], &expected[r][i], 1, 1e-12, 0);
        }
    }
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* Encoding: what is above theta, each row by itself. */
static void encoding_has_a_threshold(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_codes z;
    sl_assert_ok(sl_sae_new(ctx, "batchtopk", 2, 3, &(sl_batchtopk_options){ .k = 1 }, 0, &s, &err));
    memcpy(s->W_enc->value.data, (float[]){ 1, 0, 0, 1, 1, 1 }, 6 * sizeof(float));
    sl_param_touch(s->W_enc);
    s->state[0] = 2;
    const float x[] = { 3, 1, 1, 1, 2, 2, 5, -1 }; /* a: 3 1 4; 1 1 2; 2 2 4; 5 -1 4 */
    sl_assert_ok(sl_codes_new(ctx, 4, 3, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, 4, &z, NULL, &err));
    assert_memory_equal(z.row_ptr, ((int64_t[]){ 0, 2, 2, 3, 5 }), 5 * sizeof(int64_t));
    assert_memory_equal(z.idx, ((int32_t[]){ 0, 2, 2, 0, 2 }), 5 * sizeof(int32_t));
    assert_memory_equal(z.val, ((float[]){ 3, 4, 4, 5, 4 }), 5 * sizeof(float));
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* D = 1, F = 4, x = 10, a = (1, 2, 3, 0), d = (1, 1, 1, 1), b_dec = 0, k = 3, prefixes of 1, 2 and 4 latents: x^ = 1, 3, 6; errors 81, 49, 16. */
static void matryoshka_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_tape *t;
    sl_assert_ok(sl_sae_make(ctx, "matryoshka", 1, 4, &(sl_matryoshka_options){ .k = 3, .prefixes = "0.25,0.5,1" }, 0, SL_F64, true, &s, &err));
    memcpy(s->W_enc->value.data, (double[]){ .1, .2, .3, 0 }, 32);
    memcpy(s->W_dec->value.data, (double[]){ 1, 1, 1, 1 }, 32);
    double x = 10;
    sl_tensor xt = sl_tensor_of(SL_F64, &x, 2, (int64_t)1, (int64_t)1);
    sl_sae_batch b = { .steps = 10, .n = 1, .d_bar = 4 };
    static const double expected[] = { 146. / 3 / 4, 146, 146. / 9 };
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    for (int r = 0; r < 3; r++) { /* 1 / G in units of d_bar; 1; 1 / G^2 */
        s->recipe = sl_recipe_at(r);
        sl_tape_reset(t);
        sl_var v = sl_const(t, &xt);
        sl_sae_pass p = sl_sae_forward(t, s, v, v, &b);
        double l = sl_scalar(t, s->ops->loss(t, s, &p, &b));
        sl_assert_ok(sl_tape_status(t, &err));
        sl_assert_close_f64(s->recipe->name, &l, &expected[r], 1, 1e-12, 0);
    }
    sl_tape_free(t);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* d = (1, 0), (.6, .8), (0, -1); x = (2.5, 1): 2.5 along the first, 2.3 along the second; of the residual (0, 1) .8 along the second:
 * x^ = 2.5 (1, 0) + .8 (.6, .8). */
static void pursuit_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_codes z;
    float xhat[4];
    sl_assert_ok(sl_sae_new(ctx, "matching_pursuit", 2, 3, &(sl_matching_pursuit_options){ .max_iterations = 2 }, 0, &s, &err));
    assert_null(s->W_enc);
    memcpy(s->W_dec->value.data, (float[]){ 1, 0, .6f, .8f, 0, -1 }, 6 * sizeof(float));
    sl_param_touch(s->W_dec);
    const float x[] = { 2.5f, 1, 0, 0 };
    sl_assert_ok(sl_codes_new(ctx, 2, 2, &z, &err));
    sl_assert_ok(sl_sae_encode(s, x, 2, &z, xhat, &err));
    assert_memory_equal(z.row_ptr, ((int64_t[]){ 0, 2, 2 }), 3 * sizeof(int64_t)); /* a row of zeros has none */
    assert_memory_equal(z.idx, ((int32_t[]){ 0, 1 }), 2 * sizeof(int32_t));
    sl_assert_close_f32("codes", z.val, (float[]){ 2.5f, .8f }, 2, 1e-6, 0);
    sl_assert_close_f32("x^", xhat, (float[]){ 2.98f, .64f, 0, 0 }, 4, 1e-6, 0);
    sl_codes_release(ctx, &z);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_of_the_batch), cmocka_unit_test(bad_totals), cmocka_unit_test(threshold_by_hand),
        cmocka_unit_test(encoding_has_a_threshold), cmocka_unit_test(matryoshka_by_hand), cmocka_unit_test(pursuit_by_hand),
    };
    return cmocka_run_group_tests_name("sae_batch", tests, NULL, NULL);
}
