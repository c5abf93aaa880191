/* The error bounds that kern/simd_math.h states, over the whole range, through the slots that use those functions. */
#include "support.h"

#include "kern/kern.h"

#include <math.h>

enum { N = 200001 };

static float x[N], y[N], one[N];

static const sl_kern *fast(sl_ctx *ctx)
{
    const sl_kern *k;
    sl_err err;
    sl_assert_ok(sl_kern_named(ctx, "ref+simd", &k, &err));
    return k;
}

static void gelu_and_its_slope(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const sl_kern *k = fast(ctx);
    sl_tensor tx = sl_tensor_of(SL_F32, x, 1, (int64_t)N), ty = sl_tensor_of(SL_F32, y, 1, (int64_t)N), t1 = sl_tensor_of(SL_F32, one, 1, (int64_t)N);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(-12 + 24.0 * i / (N - 1));
        one[i] = 1;
    }
    k->act(k, SL_ACT_GELU, &tx, &ty);
    for (int i = 0; i < N; i++) {
        double v = x[i], ref = 0.5 * v * erfc(-v * M_SQRT1_2);
        if (fabs(y[i] - ref) > 1e-7 + 3e-6 * fabs(ref))
            fail_msg("gelu(%.9g) = %.9g, expected %.9g", v, (double)y[i], ref);
    }
    k->act_back(k, SL_ACT_GELU, &tx, &t1, 0, &ty);
    for (int i = 0; i < N; i++) {
        double v = x[i], ref = 0.5 * erfc(-v * M_SQRT1_2) + v * exp(-0.5 * v * v) * 0.39894228040143267794;
        if (fabs(y[i] - ref) > 2e-7)
            fail_msg("slope of gelu(%.9g) = %.9g, expected %.9g", v, (double)y[i], ref);
    }
    sl_ctx_free(ctx);
}

/* Two logits 0 and d with target 0: the gradient of the second is e^d / (1 + e^d). For d < -20 that is e^d to f32 precision. */
static void exponentials(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const sl_kern *k = fast(ctx);
    enum { ROWS = N / 2 };
    static int32_t target[ROWS];
    sl_tensor logits = sl_tensor_of(SL_F32, x, 2, (int64_t)ROWS, (int64_t)2), t = sl_tensor_of(SL_I32, target, 1, (int64_t)ROWS);
    for (int i = 0; i < ROWS; i++) {
        x[2 * i] = 0;
        one[i] = x[2 * i + 1] = (float)(-70.0 * i / (ROWS - 1));
    }
    (void)k->softmax_xent(k, &logits, &t, true, NULL);
    for (int i = 0; i < ROWS; i++) {
        double e = exp((double)one[i]), ref = e / (1 + e) / ROWS;
        if (fabs(x[2 * i + 1] - ref) > 4e-7 * ref)
            fail_msg("e^%.9g: %.9g, expected %.9g", (double)one[i], (double)x[2 * i + 1], ref);
    }
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gelu_and_its_slope), cmocka_unit_test(exponentials) };
    return cmocka_run_group_tests_name("kern_fast_math", tests, NULL, NULL);
}
