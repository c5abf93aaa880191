/* Matrix products whose shapes cross every cut of the fast layers: passes of K, chunks of columns and of a transposed A, edges of
 * the register tile, with every epilogue; and the same bits for any number of threads. */
#include "support.h"

#include "kern/kern.h"

#include <saelab/rng.h>

#include <math.h>
#include <stdio.h>

typedef struct shape { int64_t M, N, K; } shape;

static const shape shapes[] = {
    { 1, 1, 1 }, { 7, 33, 5 }, { 97, 65, 384 }, { 50, 40, 385 }, { 13, 17, 1500 }, { 193, 2100, 40 }, { 4133, 19, 30 }, { 100, 600, 3000 },
};
enum { N_SHAPE = sizeof shapes / sizeof *shapes };

typedef struct epilogue { double alpha, beta; bool bias, pre; sl_act act; } epilogue;

static const epilogue epilogues[] = {
    { 1, 0, false, false, SL_ACT_NONE }, { .5, .25, false, false, SL_ACT_NONE }, { 1, 0, true, true, SL_ACT_GELU },
    { -1, .5, true, false, SL_ACT_RELU2 }, { 2, 1, true, true, SL_ACT_RELU }, { 1, 1, true, false, SL_ACT_NONE },
};
enum { N_EPILOGUE = sizeof epilogues / sizeof *epilogues };

static float *numbers(sl_ctx *ctx, int64_t n, uint64_t row)
{
    float *p = sl_alloc(ctx, (size_t)n * sizeof *p);
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 0, row);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(2 * sl_rng_uniform(&r) - 1);
    return p;
}

/* C and, when asked for, pre behind it. */
static float *product(sl_ctx *ctx, const char *layers, const shape *s, bool ta, bool tb, const epilogue *e)
{
    const sl_kern *k;
    sl_err err;
    sl_assert_ok(sl_kern_named(ctx, layers, &k, &err));
    float *a = numbers(ctx, s->M * s->K, 1), *b = numbers(ctx, s->K * s->N, 2), *bias = numbers(ctx, s->N, 3), *out = numbers(ctx, 2 * s->M * s->N, 4);
    sl_tensor ta_ = ta ? sl_tensor_of(SL_F32, a, 2, s->K, s->M) : sl_tensor_of(SL_F32, a, 2, s->M, s->K);
    sl_tensor tb_ = tb ? sl_tensor_of(SL_F32, b, 2, s->N, s->K) : sl_tensor_of(SL_F32, b, 2, s->K, s->N);
    sl_tensor c = sl_tensor_of(SL_F32, out, 2, s->M, s->N), pre = sl_tensor_of(SL_F32, out + s->M * s->N, 2, s->M, s->N), row = sl_tensor_of(SL_F32, bias, 1, s->N);
    k->gemm(k, &(sl_gemm){ .a = &ta_, .b = &tb_, .ta = ta, .tb = tb, .c = &c, .alpha = e->alpha, .beta = e->beta,
                           .bias = e->bias ? &row : NULL, .act = e->act, .pre = e->pre ? &pre : NULL });
    assert_false(sl_kern_failed(k));
    sl_free(ctx, a);
    sl_free(ctx, b);
    sl_free(ctx, bias);
    return out;
}

/* Sums of K products of numbers of size 1: f32 chains are off by about sqrt(K) eps; relu2 multiplies that by twice the value. */
static void compare(sl_ctx *ctx, sl_ctx *three, const char *layers, const shape *s, bool ta, bool tb, const epilogue *e)
{
    char what[128];
    snprintf(what, sizeof what, "%s: %lld x %lld x %lld %c%c act %d beta %g", layers, (long long)s->M, (long long)s->N, (long long)s->K,
             ta ? 'T' : 'N', tb ? 'T' : 'N', e->act, e->beta);
    float *want = product(ctx, "ref", s, ta, tb, e), *got = product(ctx, layers, s, ta, tb, e);
    float *again = product(three, layers, s, ta, tb, e);
    double atol = 1e-6 * sqrt((double)s->K) * (e->act == SL_ACT_RELU2 ? 2 * sqrt((double)s->K) : 1);
    sl_assert_close_f32(what, got, want, 2 * s->M * s->N, atol, 4e-6);
    sl_assert_same_bits(what, again, got, (size_t)(2 * s->M * s->N) * sizeof *got);
    sl_free(ctx, want);
    sl_free(ctx, got);
    sl_free(three, again);
}

static void gemm_agrees_with_ref(void **state)
{
    sl_ctx *ctx = sl_test_ctx(1), *three = sl_test_ctx(3);
    for (int s = 0; s < N_SHAPE; s++)
        for (int t = 0; t < 4; t++)
            for (int e = 0; e < N_EPILOGUE; e++)
                if (s < 4 || e == (s + t) % N_EPILOGUE) /* small shapes: everything; large ones: each epilogue somewhere */
                    compare(ctx, three, *state, &shapes[s], t & 1, t & 2, &epilogues[e]);
    sl_ctx_free(ctx);
    sl_ctx_free(three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "simd", gemm_agrees_with_ref, NULL, NULL, "ref+simd" },
        { "onednn", gemm_agrees_with_ref, NULL, NULL, "ref+onednn" }, /* the one that all three choose is one of these two */
    };
    return cmocka_run_group_tests_name("kern_gemm", tests, NULL, NULL);
}
