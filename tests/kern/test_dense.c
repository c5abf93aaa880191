/* Products, element-wise slots and reductions against values worked out by hand. */
#include "f64.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void gemm_by_hand(void **state)
{
    const sl_kern *k = *state;
    double a[] = { 1, 2, 3, 4, 5, 6 }, at[] = { 1, 4, 2, 5, 3, 6 }, b[] = { 1, -1, 0, 2, 3, 1 }, bt[] = { 1, 0, 3, -1, 2, 1 };
    double bias[] = { -20, 10 }, c[4], pre[4];
    sl_tensor A = t2(a, 2, 3), AT = t2(at, 3, 2), B = t2(b, 3, 2), BT = t2(bt, 2, 3), C = t2(c, 2, 2), bias_t = t1(bias, 2), P = t2(pre, 2, 2);
    const double product[] = { 10, 6, 22, 12 };
    for (int i = 0; i < 4; i++) {
        bool ta = i & 1, tb = i & 2;
        for (int j = 0; j < 4; j++)
            c[j] = NAN; /* beta 0 must not read it */
        k->gemm(k, &(sl_gemm){ .a = ta ? &AT : &A, .b = tb ? &BT : &B, .ta = ta, .tb = tb, .c = &C, .alpha = 1 });
        sl_assert_close_f64("gemm", c, product, 4, 0, 1e-15);
    }
    double old[] = { 1, 2, 3, 4 };
    memcpy(c, old, sizeof c);
    k->gemm(k, &(sl_gemm){ .a = &A, .b = &B, .c = &C, .alpha = 2, .beta = 10, .bias = &bias_t, .act = SL_ACT_RELU, .pre = &P });
    sl_assert_close_f64("pre", pre, (double[]){ 0, 22, 24, 34 }, 4, 0, 1e-15);
    sl_assert_close_f64("act + beta c", c, (double[]){ 10, 42, 54, 74 }, 4, 0, 1e-15);
}

/* leading dimensions are rows */
static void gemm_of_a_batch(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, 2, 3, 4 }, w[] = { 10, 1 }, y[4], z[2];
    sl_tensor X = t3(x, 1, 2, 2), W = t2(w, 1, 2), Z = t3(z, 1, 2, 1), one = t3(x, 2, 2, 1), V = t2(w, 1, 1), Y = t3(y, 2, 2, 1);
    k->gemm(k, &(sl_gemm){ .a = &X, .b = &W, .tb = true, .c = &Z, .alpha = 1 });
    sl_assert_close_f64("batch", z, (double[]){ 12, 34 }, 2, 0, 0);
    k->gemm(k, &(sl_gemm){ .a = &one, .b = &V, .c = &Y, .alpha = 1 });
    sl_assert_close_f64("K = 1", y, (double[]){ 10, 20, 30, 40 }, 4, 0, 0);
}

static void elementwise_by_hand(void **state)
{
    const sl_kern *k = *state;
    double a[] = { 1, 2, 3, -4 }, b[] = { 5, .5, 0, 2 }, r[] = { 10, 100 }, y[4];
    sl_tensor A = t2(a, 2, 2), B = t2(b, 2, 2), R = t1(r, 2), Y = t2(y, 2, 2);
    k->fill(k, 7, &Y);
    sl_assert_close_f64("fill", y, (double[]){ 7, 7, 7, 7 }, 4, 0, 0);
    k->axpby(k, 2, &A, -1, &Y);
    sl_assert_close_f64("axpby", y, (double[]){ -5, -3, -1, -15 }, 4, 0, 0);
    k->copy(k, &A, &Y);
    sl_assert_close_f64("copy", y, a, 4, 0, 0);
    k->mul(k, &A, &B, 3, &Y);
    sl_assert_close_f64("mul", y, (double[]){ 8, 7, 9, -20 }, 4, 0, 0);
    k->add(k, &A, &B, &Y);
    sl_assert_close_f64("add", y, (double[]){ 6, 2.5, 3, -2 }, 4, 0, 0);
    k->add_row(k, &A, -1, &R, &Y);
    sl_assert_close_f64("add_row", y, (double[]){ -9, -98, -7, -104 }, 4, 0, 0);
    k->mul_row(k, &A, &R, 0, &Y);
    sl_assert_close_f64("mul_row", y, (double[]){ 10, 200, 30, -400 }, 4, 0, 0);
    k->mul_row(k, &A, &R, -1, &Y);
    sl_assert_close_f64("mul_row beta", y, (double[]){ 0, 0, 0, 0 }, 4, 0, 0);
    k->col_sum(k, .5, &A, &R);
    sl_assert_close_f64("col_sum", r, (double[]){ 12, 99 }, 2, 0, 0);
}

static void activations(void **state)
{
    const sl_kern *k = *state;
    double x[] = { -2, -.5, 0, 1, 3 }, y[5], one[] = { 1, 1, 1, 1, 1 };
    static const struct { sl_act act; double value[5], slope[5]; } want[] = {
        { SL_ACT_NONE, { -2, -.5, 0, 1, 3 }, { 1, 1, 1, 1, 1 } },
        { SL_ACT_RELU, { 0, 0, 0, 1, 3 }, { 0, 0, 0, 1, 1 } },
        { SL_ACT_RELU2, { 0, 0, 0, 1, 9 }, { 0, 0, 0, 2, 6 } },
        { SL_ACT_GELU, { -0.04550026389635844, -0.15426876936299344, 0, 0.8413447460685429, 2.99595030590511 },
          { -0.0852318010781969, 0.13250487534383712, .5, 1.0833154705876864, 1.011945647204184 } },
    };
    sl_tensor X = t1(x, 5), Y = t1(y, 5), dY = t1(one, 5);
    for (int i = 0; i < 4; i++) {
        k->act(k, want[i].act, &X, &Y);
        sl_assert_close_f64("act", y, want[i].value, 5, 1e-15, 1e-12);
        k->act_back(k, want[i].act, &X, &dY, 0, &Y);
        sl_assert_close_f64("act_back", y, want[i].slope, 5, 1e-15, 1e-12);
    }
    for (int i = 0; i < 4; i++) { /* a NaN is not hidden by relu */
        double bad = NAN, out = 0;
        sl_tensor Bad = t1(&bad, 1), Out = t1(&out, 1);
        k->act(k, want[i].act, &Bad, &Out);
        assert_true(isnan(out));
    }
}

/* The lanes as kern.h words them, straight from the block function. */
static void dropout_follows_the_key(void **state)
{
    const sl_kern *k = *state;
    enum { N = 20003 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    sl_tensor X = t1(x, N), Y = t1(y, N);
    sl_mask_key key = { .seed = 0x1111222233334444, .stream = 0x5555666677778888, .p = .3 };
    int dropped = 0;
    f64_random(x, N, 1);
    k->dropout(k, &key, &X, 0, &Y);
    for (uint32_t e = 0; e < N; e++) {
        uint32_t word[4], lane;
        sl_philox4x32((uint32_t[]){ e / 8, 0, 0x77778888, 0x55556666 }, (uint32_t[]){ 0x33334444, 0x11112222 }, word);
        lane = e % 2 ? word[e % 8 / 2] >> 16 : word[e % 8 / 2] & 0xffff;
        bool drop = lane < 19661; /* round(.3 * 65536) */
        dropped += drop;
        assert_true(y[e] == (drop ? 0 : x[e] * (1 / .7)));
    }
    assert_in_range(dropped, .3 * N - 4 * 65, .3 * N + 4 * 65); /* 4 standard deviations */
    free(x);
    free(y);
}

static void dropout_of_nothing_and_of_all(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, -2, 3 }, y[3];
    sl_tensor X = t1(x, 3), Y = t1(y, 3);
    k->dropout(k, &(sl_mask_key){ .p = 0 }, &X, 0, &Y);
    sl_assert_close_f64("p = 0", y, x, 3, 0, 0);
    k->dropout(k, &(sl_mask_key){ .p = 1 }, &X, 1, &Y);
    sl_assert_close_f64("p = 1", y, x, 3, 0, 0); /* adds zeros, not NaN */
}

static void reductions(void **state)
{
    const sl_kern *k = *state;
    enum { N = 4096 * 4096 / 256 + 1 }; /* several chunks and a rest */
    double *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    for (int i = 0; i < N; i++) {
        a[i] = i % 7 - 3; /* integers: every sum is exact */
        b[i] = i % 5;
    }
    double sum = 0, sq = 0, dot = 0, dist = 0;
    for (int i = 0; i < N; i++) {
        sum += a[i];
        sq += a[i] * a[i];
        dot += a[i] * b[i];
        dist += (a[i] - b[i]) * (a[i] - b[i]);
    }
    sl_tensor A = t1(a, N), B = t1(b, N), none = t1(a, 0);
    assert_true(k->sum(k, &A) == sum);
    assert_true(k->sum_sq(k, &A) == sq);
    assert_true(k->dot(k, &A, &B) == dot);
    assert_true(k->sq_dist(k, &A, &B) == dist);
    assert_true(k->sum(k, &none) == 0);
    free(a);
    free(b);
}

static void not_finite_finds_the_first(void **state)
{
    const sl_kern *k = *state;
    enum { N = 30000 };
    double *x = calloc(N, sizeof *x);
    sl_tensor X = t1(x, N), none = t1(x, 0);
    assert_int_equal(k->not_finite(k, &X), -1);
    assert_int_equal(k->not_finite(k, &none), -1);
    x[N - 1] = -INFINITY;
    assert_int_equal(k->not_finite(k, &X), N - 1);
    x[20000] = INFINITY;
    assert_int_equal(k->not_finite(k, &X), 20000);
    x[17] = NAN;
    assert_int_equal(k->not_finite(k, &X), 17);
    x[0] = 1.7e308; /* large is finite */
    assert_int_equal(k->not_finite(k, &X), 17);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_by_hand), cmocka_unit_test(gemm_of_a_batch), cmocka_unit_test(elementwise_by_hand),
        cmocka_unit_test(activations), cmocka_unit_test(dropout_follows_the_key), cmocka_unit_test(dropout_of_nothing_and_of_all),
        cmocka_unit_test(reductions), cmocka_unit_test(not_finite_finds_the_first),
    };
    return cmocka_run_group_tests_name("kern_dense", tests, f64_setup, f64_teardown);
}
