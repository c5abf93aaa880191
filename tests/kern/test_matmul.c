/* Products by oneDNN's matmul: tiles, edges, transposes and sums against a plain loop in f64, on f32 inputs everywhere and on bf16 where the CPU
 * multiplies them; the same bits for any number of threads; precision bf16 where it does not. */
#include "support.h"

#include "kern/onednn_matmul.h"

#include <saelab/kern_info.h>
#include <saelab/rng.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape { int64_t M, N, K; } shape;
static const shape shapes[] = { { 1, 1, 1 }, { 7, 33, 5 }, { 256, 512, 64 }, { 257, 513, 40 }, { 300, 20, 385 }, { 20, 1030, 33 }, { 520, 1100, 96 } };
enum { N_SHAPE = sizeof shapes / sizeof *shapes };

static float *numbers(int64_t n, uint64_t row)
{
    float *p = calloc((size_t)n, sizeof *p);
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 1, row);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(2 * sl_rng_uniform(&r) - 1);
    return p;
}

static double as(float v, bool bf16) { return bf16 ? (double)sl_bf16_to_f32(sl_f32_to_bf16(v)) : (double)v; }

static void check(sl_ctx *ctx, sl_ctx *three, bool bf16, const shape *s, bool ta, bool tb, float beta)
{
    sl_err err;
    sl_matmul *m;
    float *a = numbers(s->M * s->K, 1), *b = numbers(s->K * s->N, 2), *out[2] = { numbers(s->M * s->N, 3), numbers(s->M * s->N, 3) };
    float *before = numbers(s->M * s->N, 3);
    sl_tensor A = ta ? sl_tensor_of(SL_F32, a, 2, s->K, s->M) : sl_tensor_of(SL_F32, a, 2, s->M, s->K);
    sl_tensor B = tb ? sl_tensor_of(SL_F32, b, 2, s->N, s->K) : sl_tensor_of(SL_F32, b, 2, s->K, s->N);
    for (int i = 0; i < 2; i++) {
        const sl_kern *k;
        sl_ctx *in = i ? three : ctx;
        sl_tensor c = sl_tensor_of(SL_F32, out[i], 2, s->M, s->N);
        sl_gemm g = { .a = &A, .b = &B, .ta = ta, .tb = tb, .c = &c, .alpha = 1 };
        sl_gemm_dims d = sl_gemm_dims_of(&g);
        sl_assert_ok(sl_kern_named(in, "ref", &k, &err));
        sl_assert_ok(sl_matmul_new(in, bf16, &m, &err));
        assert_true(sl_matmul_run(m, k, &g, &d, out[i], beta));
        sl_matmul_free(in, m);
    }
    sl_assert_same_bits("threads", out[0], out[1], (size_t)(s->M * s->N) * sizeof(float));
    for (int64_t i = 0; i < s->M; i++)
        for (int64_t j = 0; j < s->N; j++) {
            double want = (double)beta * (double)before[i * s->N + j];
            for (int64_t x = 0; x < s->K; x++)
                want += as(a[ta ? x * s->M + i : i * s->K + x], bf16) * as(b[tb ? j * s->K + x : x * s->N + j], bf16);
            if (!(fabs((double)out[0][i * s->N + j] - want) < 2e-6 * sqrt((double)s->K) + 1e-6))
                fail_msg("%lld x %lld x %lld %d%d beta %g at %lld, %lld: %g, not %g", (long long)s->M, (long long)s->N, (long long)s->K, ta, tb,
                         (double)beta, (long long)i, (long long)j, (double)out[0][i * s->N + j], want);
        }
    free(a);
    free(b);
    free(before);
    free(out[0]);
    free(out[1]);
}

static void products(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1), *three = sl_test_ctx(3);
    sl_matmul *m = NULL;
    bool has = sl_matmul_new(ctx, true, &m, NULL) == SL_OK;
    sl_matmul_free(ctx, m);
    for (int bf16 = 0; bf16 <= has; bf16++)
        for (int s = 0; s < N_SHAPE; s++)
            for (int t = 0; t < 4; t++)
                check(ctx, three, bf16, &shapes[s], t & 1, t & 2, s % 2 ? .5F : 0);
    sl_ctx_free(ctx);
    sl_ctx_free(three);
}

/* One matmul for more shapes than it keeps: the first is made again. */
static void more_shapes_than_are_kept(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    const sl_kern *k;
    sl_matmul *m;
    float a[100], b[100], c = 0;
    sl_assert_ok(sl_kern_named(ctx, "ref", &k, &err));
    sl_assert_ok(sl_matmul_new(ctx, false, &m, &err));
    for (int i = 0; i < 100; i++)
        a[i] = b[i] = 1;
    for (int turn = 0; turn < 2; turn++)
        for (int64_t K = 1; K <= 100; K++) {
            sl_tensor A = sl_tensor_of(SL_F32, a, 2, (int64_t)1, K), B = sl_tensor_of(SL_F32, b, 2, K, (int64_t)1), C = sl_tensor_of(SL_F32, &c, 2, (int64_t)1, (int64_t)1);
            sl_gemm g = { .a = &A, .b = &B, .c = &C, .alpha = 1 };
            sl_gemm_dims d = sl_gemm_dims_of(&g);
            assert_true(sl_matmul_run(m, k, &g, &d, &c, 0));
            assert_true(c == (float)K);
        }
    sl_matmul_free(ctx, m);
    sl_ctx_free(ctx);
}

static void count_warnings(void *user, const sl_event *e) { *(int *)user += e->kind == SL_EVENT_LOG && e->level == SL_LOG_WARN; }

/* Asked for bf16: where there are such products they are used and differ a little from f32; else a warning, the f32 table and its bits. */
static void precision_is_what_was_used(void **state)
{
    (void)state;
    enum { M = 160, N = 130, K = 96 };
    sl_err err;
    float *a = numbers(M * K, 1), *b = numbers(K * N, 2), *out[2] = { numbers(M * N, 3), numbers(M * N, 3) };
    int warned = 0;
    bool used = false;
    for (int i = 0; i < 2; i++) {
        const sl_kern *k;
        sl_machine info;
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .bf16 = i == 1, .on_event = count_warnings, .event_user = &warned });
        sl_tensor A = sl_tensor_of(SL_F32, a, 2, (int64_t)M, (int64_t)K), B = sl_tensor_of(SL_F32, b, 2, (int64_t)K, (int64_t)N), C = sl_tensor_of(SL_F32, out[i], 2, (int64_t)M, (int64_t)N);
        sl_assert_ok(sl_kern_named(ctx, "ref+simd+onednn", &k, &err));
        sl_assert_ok(sl_machine_info(ctx, &info, &err));
        k->gemm(k, &(sl_gemm){ .a = &A, .b = &B, .c = &C, .alpha = 1 });
        assert_false(sl_kern_failed(k));
        used = info.bf16;
        assert_true(i == 1 || !used);
        assert_int_equal(strstr(k->id, " bf16") != NULL, used);
        sl_ctx_free(ctx);
    }
    bool same = memcmp(out[0], out[1], M * N * sizeof(float)) == 0;
    assert_int_equal(same, !used);
    assert_int_equal(warned > 0, !used);
    sl_assert_close_f32("bf16", out[1], out[0], M * N, .1, .01);
    free(a);
    free(b);
    free(out[0]);
    free(out[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(more_shapes_than_are_kept),
        cmocka_unit_test(precision_is_what_was_used),
    };
    return cmocka_run_group_tests_name("kern_matmul", tests, NULL, NULL);
}
