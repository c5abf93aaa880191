/* Normalisation and the optimizer's slots against values worked out by hand and central differences. */
#include "f64.h"

#include <math.h>
#include <string.h>

static void layernorm_by_hand(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, 2, 4, 5 }, gain[] = { 1, 2, 1, 1 }, bias[] = { 0, 0, 0, 10 }, y[4], stat[2];
    sl_tensor X = t2(x, 1, 4), G = t1(gain, 4), B = t1(bias, 4), Y = t2(y, 1, 4), S = t2(stat, 1, 2);
    k->layernorm(k, &X, &G, &B, 1e-5, &Y, &S);
    sl_assert_close_f64("stat", stat, (double[]){ 3, 0.6324542671264065 }, 2, 0, 1e-14);
    sl_assert_close_f64("y", y, (double[]){ -1.264908534252813, -1.264908534252813, 0.6324542671264065, 11.264908534252813 }, 4, 0, 1e-14);
}

static void rmsnorm_by_hand(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, 2, 4, 5 }, y[4], stat[2], r = 0.29488389948875543;
    sl_tensor X = t2(x, 1, 4), Y = t2(y, 1, 4), S = t2(stat, 1, 2);
    k->rmsnorm(k, &X, NULL, 1e-6, &Y, &S);
    sl_assert_close_f64("stat", stat, (double[]){ 0, r }, 2, 0, 1e-14);
    sl_assert_close_f64("y", y, (double[]){ r, 2 * r, 4 * r, 5 * r }, 4, 0, 1e-14);
}

static void constant_row(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 3, 3, 3, 0, 0, 0 }, gain[] = { 1, 1, 1 }, y[6], stat[4];
    sl_tensor X = t2(x, 2, 3), G = t1(gain, 3), Y = t2(y, 2, 3), S = t2(stat, 2, 2);
    k->layernorm(k, &X, &G, NULL, 1e-5, &Y, &S);
    sl_assert_close_f64("no variance", y, (double[6]){ 0 }, 6, 1e-12, 0);
    k->rmsnorm(k, &X, &G, 1e-6, &Y, &S);
    sl_assert_close_f64("zeros", y + 3, (double[3]){ 0 }, 3, 0, 0);
}

/* a scalar of the output: sum of y * weight */
enum { ROWS = 5, D = 7 };
typedef struct norm_problem { bool center; double x[ROWS * D], gain[D], bias[D], weight[ROWS * D]; } norm_problem;

static double norm_loss(const sl_kern *k, const void *user)
{
    norm_problem p = *(const norm_problem *)user;
    double y[ROWS * D], stat[ROWS * 2];
    sl_tensor X = t2(p.x, ROWS, D), G = t1(p.gain, D), B = t1(p.bias, D), Y = t2(y, ROWS, D), S = t2(stat, ROWS, 2), W = t2(p.weight, ROWS, D);
    if (p.center)
        k->layernorm(k, &X, &G, &B, 1e-3, &Y, &S);
    else
        k->rmsnorm(k, &X, &G, 1e-3, &Y, &S);
    return k->dot(k, &Y, &W);
}

static void norm_gradients(void **state)
{
    const sl_kern *k = *state;
    for (int center = 0; center < 2; center++) {
        norm_problem p = { .center = center };
        double y[ROWS * D], stat[ROWS * 2], dx[ROWS * D] = { 0 }, dgain[D] = { 0 }, dbias[D] = { 0 };
        f64_random(p.x, ROWS * D, 1), f64_random(p.gain, D, 2), f64_random(p.bias, D, 3), f64_random(p.weight, ROWS * D, 4);
        sl_tensor X = t2(p.x, ROWS, D), G = t1(p.gain, D), Y = t2(y, ROWS, D), S = t2(stat, ROWS, 2), dY = t2(p.weight, ROWS, D);
        sl_tensor dX = t2(dx, ROWS, D), dG = t1(dgain, D), dB = t1(dbias, D);
        if (center) {
            k->layernorm(k, &X, &G, NULL, 1e-3, &Y, &S);
            k->layernorm_back(k, &X, &G, &S, &dY, &dX, &dG, &dB);
            f64_check_grad("dbias", k, norm_loss, &p, p.bias, dbias, D);
        } else {
            k->rmsnorm(k, &X, &G, 1e-3, &Y, &S);
            k->rmsnorm_back(k, &X, &G, &S, &dY, &dX, &dG);
        }
        f64_check_grad("dx", k, norm_loss, &p, p.x, dx, ROWS * D);
        f64_check_grad("dgain", k, norm_loss, &p, p.gain, dgain, D);
    }
}

/* Three steps of torch.optim.AdamW's formula, computed in Python. */
static void adamw_three_steps(void **state)
{
    const sl_kern *k = *state;
    double w = .5, m = 0, v = 0, g;
    sl_tensor W = t1(&w, 1), M = t1(&m, 1), V = t1(&v, 1), G = t1(&g, 1);
    const double grad[] = { .3, -.2, 0 };
    const double want[][3] = { { 0.4895000003333333, 0.029999999999999992, 9.000000000000007e-05 },
                               { 0.48756529509252633, 0.006999999999999996, 0.00012991000000000012 },
                               { 0.48596058196775455, 0.006299999999999997, 0.00012978009000000012 } };
    for (int i = 0; i < 3; i++) {
        g = 4 * grad[i]; /* grad_scale undoes it */
        k->adam(k, &(sl_adam){ .lr = .01, .beta1 = .9, .beta2 = .999, .eps = 1e-8, .decay = .1, .grad_scale = .25, .step = i + 1 }, &W, &G, &M, &V);
        sl_assert_close_f64("w, m, v", (double[]){ w, m, v }, want[i], 3, 0, 1e-12);
    }
}

static void rows_by_hand(void **state)
{
    const sl_kern *k = *state;
    double w[] = { 3, 4, 0, 0, 0, -2 }, norm[3], dw[] = { 1, 1, 5, 6, 7, 8 }, dnorm[] = { 10, 1, 2 }, add[6] = { 0 };
    sl_tensor W = t2(w, 3, 2), N = t1(norm, 3), dW = t2(dw, 3, 2), dN = t1(dnorm, 3), A = t2(add, 3, 2);
    k->row_norms(k, &W, &N);
    sl_assert_close_f64("norms", norm, (double[]){ 5, 0, 2 }, 3, 0, 0);
    k->row_norms_back(k, &W, &N, &dN, &A);
    sl_assert_close_f64("norms_back", add, (double[]){ 6, 8, 0, 0, 0, -2 }, 6, 0, 1e-15);
    k->row_project(k, &W, &dW); /* first row: (1, 1) - 7/25 (3, 4) */
    sl_assert_close_f64("project", dw, (double[]){ .16, -.12, 5, 6, 7, 0 }, 6, 1e-15, 1e-14);
    k->row_normalize(k, &W);
    sl_assert_close_f64("normalize", w, (double[]){ .6, .8, 0, 0, 0, -1 }, 6, 0, 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layernorm_by_hand), cmocka_unit_test(rmsnorm_by_hand), cmocka_unit_test(constant_row),
        cmocka_unit_test(norm_gradients), cmocka_unit_test(adamw_three_steps), cmocka_unit_test(rows_by_hand),
    };
    return cmocka_run_group_tests_name("kern_norm", tests, f64_setup, f64_teardown);
}
