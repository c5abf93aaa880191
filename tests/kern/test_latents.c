/* Slots of dense latents against numbers computed by hand: straight-through gradients above all, which no finite difference shows. */
#include "support.h"

#include "kern/kern.h"

#include <math.h>
#include <string.h>

static sl_ctx *ctx;
static const sl_kern *k;

static int setup(void **state)
{
    (void)state;
    sl_err err;
    ctx = sl_test_ctx(1);
    sl_assert_ok(sl_kern_get(ctx, SL_F64, &k, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_ctx_free(ctx);
    return 0;
}

static sl_tensor matrix(double *x, int64_t rows, int64_t cols) { return sl_tensor_of(SL_F64, x, 2, rows, cols); }
static sl_tensor vector(double *x, int64_t n) { return sl_tensor_of(SL_F64, x, 1, n); }

/* eps .4: the window of theta reaches .2 to either side. a = theta is not above it; a latent of theta < 0 needs a > 0. */
static void jump_by_hand(void **state)
{
    (void)state;
    double a[8] = { 1.0, .6, .5, -.1, .55, .45, .71, .1 }, theta[4] = { .9, .5, .5, -.2 }, z[8];
    double dz[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, da[8], dtheta[4] = { 100, 100, 100, 100 };
    sl_tensor A = matrix(a, 2, 4), T = vector(theta, 4), Z = matrix(z, 2, 4), DZ = matrix(dz, 2, 4), DA = matrix(da, 2, 4), DT = vector(dtheta, 4);
    k->jump(k, &A, &T, &Z);
    sl_assert_close_f64("z", z, (double[]){ 1, .6, 0, 0, 0, 0, .71, .1 }, 8, 0, 0);
    assert_true(k->count(k, &A, &T) == 4);
    k->jump_back(k, .4, &A, &T, &DZ, 0, &DA, &DT);
    sl_assert_close_f64("da", da, (double[]){ 1, 2, 0, 0, 0, 0, 7, 8 }, 8, 0, 0);
    /* column 0: |1 - .9| < .2 counts, |.55 - .9| does not; 1: both; 2: |0| counts, |.21| does not; 3: |.1| counts, |.3| does not */
    sl_assert_close_f64("dtheta", dtheta, (double[]){ 100 - .9 / .4 * 1, 100 - .5 / .4 * (2 + 6), 100 - .5 / .4 * 3, 100 + .2 / .4 * 4 }, 4, 1e-12, 0);
    double dcount[4] = { 0 };
    sl_tensor DC = vector(dcount, 4);
    k->count_back(k, .4, &A, &T, 3, &DC);
    sl_assert_close_f64("dcount", dcount, (double[]){ -3 / .4, -2 * 3 / .4, -3 / .4, -3 / .4 }, 4, 1e-12, 0);
}

/* Where gradient checks stand, the near functions are jump and count themselves; beside it they move by the straight-through gradient. */
static void near_functions_by_hand(void **state)
{
    (void)state;
    double a[3] = { 1, .55, 2 }, theta[3] = { .9, .5, .5 }, moved[3] = { .91, .48, .6 }, z[3];
    sl_tensor A = matrix(a, 1, 3), T = vector(theta, 3), M = vector(moved, 3), Z = matrix(z, 1, 3);
    k->jump_near(k, .4, &A, &T, &A, &T, &Z);
    sl_assert_close_f64("z", z, (double[]){ 1, .55, 2 }, 3, 1e-15, 0);
    k->jump_near(k, .4, &A, &T, &A, &M, &Z);
    double expected[3] = { 1 - (.91 * .91 - .81) / .8, .55 - (.48 * .48 - .25) / .8, 2 }; /* - integral of theta / eps */
    sl_assert_close_f64("moved z", z, expected, 3, 1e-14, 0);
    double n0 = k->count_near(k, .4, &A, &T, &T), n1 = k->count_near(k, .4, &A, &T, &M);
    assert_true(fabs(n0 - 3) < 1e-14);
    assert_true(fabs(n1 - (3 - .01 / .4 + .02 / .4)) < 1e-13);
}

static void hinge_by_hand(void **state)
{
    (void)state;
    double a[6] = { 0, 1, 2, -3, 1, 5 }, theta[3] = { .5, 1, 4 }, da[6], dtheta[3] = { 0 };
    uint8_t skip[3] = { 0, 0, 1 };
    sl_tensor A = matrix(a, 2, 3), T = vector(theta, 3), S = sl_tensor_of(SL_U8, skip, 1, (int64_t)3), DA = matrix(da, 2, 3), DT = vector(dtheta, 3);
    assert_true(k->hinge(k, &A, &T, &S) == .5 + 3.5);
    k->hinge_back(k, &A, &T, &S, 2, 0, &DA, &DT);
    sl_assert_close_f64("da", da, (double[]){ -2, 0, 0, -2, 0, 0 }, 6, 0, 0);
    sl_assert_close_f64("dtheta", dtheta, (double[]){ 4, 0, 0 }, 3, 0, 0);
}

static void gate_by_hand(void **state)
{
    (void)state;
    double pi[6] = { 1, 2, -1, .5, -2, 3 }, gain[3] = { 2, 1, 1 }, shift[3] = { -1.5, .5, 9 }, z[6];
    double dz[6] = { 1, 2, 3, 4, 5, 6 }, dpi[6], dgain[3] = { 0 }, dshift[3] = { 0 };
    sl_tensor P = matrix(pi, 2, 3), G = vector(gain, 3), C = vector(shift, 3), Z = matrix(z, 2, 3);
    sl_tensor DZ = matrix(dz, 2, 3), DP = matrix(dpi, 2, 3), DG = vector(dgain, 3), DC = vector(dshift, 3);
    k->gate(k, &P, &G, &C, &Z);
    sl_assert_close_f64("z", z, (double[]){ .5, 2.5, 0, 0, 0, 12 }, 6, 0, 0);
    k->gate_back(k, &P, &G, &Z, &DZ, 0, &DP, &DG, &DC);
    sl_assert_close_f64("dpi", dpi, (double[]){ 2, 2, 0, 0, 0, 6 }, 6, 0, 0);
    sl_assert_close_f64("dgain", dgain, (double[]){ 1, 4, 18 }, 3, 0, 0);
    sl_assert_close_f64("dshift", dshift, (double[]){ 1, 2, 6 }, 3, 0, 0);
}

static void penalties_by_hand(void **state)
{
    (void)state;
    double z[4] = { 2, 0, .25, -1 }, w[2] = { 3, 2 }, dz[4], dw[2] = { 0 };
    sl_tensor Z = matrix(z, 2, 2), W = vector(w, 2), DZ = matrix(dz, 2, 2), DW = vector(dw, 2);
    sl_penalty l1 = { SL_PENALTY_L1, 0 }, tanh4 = { SL_PENALTY_TANH, 4 }, root = { SL_PENALTY_POWER, .5 };
    assert_true(k->penalty(k, &l1, &Z, NULL) == 1.25);
    assert_true(k->penalty(k, &l1, &Z, &W) == 4.75);
    assert_true(fabs(k->penalty(k, &tanh4, &Z, &W) - tanh(24) - tanh(3) + tanh(8)) < 1e-14);
    assert_true(fabs(k->penalty(k, &root, &Z, NULL) - (sqrt(2.000001) + sqrt(.250001) - 2e-3)) < 1e-14);
    k->penalty_back(k, &l1, &Z, &W, 10, 0, &DZ, &DW);
    sl_assert_close_f64("dz of L1", dz, (double[]){ 30, 20, 30, 20 }, 4, 0, 0);
    sl_assert_close_f64("dw of L1", dw, (double[]){ 22.5, -10 }, 2, 0, 0);
    k->penalty_back(k, &root, &Z, NULL, 10, 0, &DZ, NULL);
    sl_assert_close_f64("dz of a root", dz, (double[]){ 5 / sqrt(2.000001), 0, 5 / sqrt(.250001), 0 }, 4, 1e-12, 0);
    k->penalty_back(k, &tanh4, &Z, &W, 10, 0, &DZ, &DW);
    double s24 = 1 - tanh(24) * tanh(24), s3 = 1 - tanh(3) * tanh(3), s8 = 1 - tanh(8) * tanh(8);
    sl_assert_close_f64("dz of tanh", dz, (double[]){ 120 * s24, 80, 120 * s3, 80 * s8 }, 4, 1e-12, 0); /* a latent at 0 has slope c w */
    sl_assert_close_f64("dw of tanh", dw, (double[]){ 22.5 + 40 * (2 * s24 + .25 * s3), -10 - 40 * s8 }, 2, 1e-12, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jump_by_hand), cmocka_unit_test(near_functions_by_hand), cmocka_unit_test(hinge_by_hand),
        cmocka_unit_test(gate_by_hand), cmocka_unit_test(penalties_by_hand),
    };
    return cmocka_run_group_tests_name("kern_latents", tests, setup, teardown);
}
