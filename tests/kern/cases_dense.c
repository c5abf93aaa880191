/* Cases: products, element-wise slots, reductions, normalisation, optimizers. */
#include "cases.h"

#include <string.h>

static const sl_act acts[] = { SL_ACT_NONE, SL_ACT_RELU, SL_ACT_GELU, SL_ACT_RELU2, SL_ACT_EXP };
enum { N_ACT = sizeof acts / sizeof *acts };

static void run_gemm(krun *r)
{
    int64_t m = r->s.m, n = r->s.n, k = r->s.k;
    for (int i = 0; i < 4; i++) { /* every pair of transposes; half with bias, activation, pre, beta */
        bool ta = i & 1, tb = i & 2, rich = i == 1 || i == 2;
        sl_tensor a = ta ? kt_random(r, k, m, 0) : kt_random(r, m, k, 0), b = tb ? kt_random(r, n, k, 0) : kt_random(r, k, n, 0);
        sl_tensor bias = kt_random(r, n, 0, 0), pre = kt_nan(r, m, n, 0), c = rich ? kt_random(r, m, n, 0) : kt_nan(r, m, n, 0);
        r->k->gemm(r->k, &(sl_gemm){ .a = &a, .b = &b, .ta = ta, .tb = tb, .c = &c, .alpha = rich ? .5 : 1, .beta = rich ? -2 : 0,
                                     .bias = rich ? &bias : NULL, .act = rich ? acts[1 + i % 3] : SL_ACT_NONE, .pre = rich ? &pre : NULL });
        kt_record(r, &c);
        if (rich)
            kt_record(r, &pre);
    }
}

static void run_fill(krun *r)
{
    sl_tensor y = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->fill(r->k, 1.0 / 3, &y);
    kt_record(r, &y);
}

static void run_copy(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->copy(r->k, &x, &y);
    kt_record(r, &y);
}

static void run_axpby(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_random(r, r->s.m, r->s.n, 0), z = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->axpby(r->k, .3, &x, -.7, &y);
    r->k->axpby(r->k, .3, &x, 0, &z);
    r->k->axpby(r->k, 2, &x, 1, &x);
    kt_record(r, &x);
    kt_record(r, &y);
    kt_record(r, &z);
}

static void run_add(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), b = kt_random(r, r->s.m, r->s.n, 0), y = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->add(r->k, &a, &b, &y);
    kt_record(r, &y);
    r->k->add(r->k, &a, &b, &a);
    kt_record(r, &a);
}

static void run_mul(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), b = kt_random(r, r->s.m, r->s.n, 0), y = kt_random(r, r->s.m, r->s.n, 0);
    sl_tensor z = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->mul(r->k, &a, &b, .5, &y);
    r->k->mul(r->k, &a, &b, 0, &z);
    kt_record(r, &y);
    kt_record(r, &z);
}

static void run_add_row(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), row = kt_random(r, r->s.n, 0, 0), y = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->add_row(r->k, &x, -1.5, &row, &y);
    kt_record(r, &y);
}

static void run_mul_row(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), row = kt_random(r, r->s.n, 0, 0), y = kt_random(r, r->s.m, r->s.n, 0);
    sl_tensor z = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->mul_row(r->k, &x, &row, 1, &y);
    r->k->mul_row(r->k, &x, &row, 0, &z);
    kt_record(r, &y);
    kt_record(r, &z);
}

static void run_col_sum(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_random(r, r->s.n, 0, 0);
    r->k->col_sum(r->k, .25, &x, &y);
    kt_record(r, &y);
}

static void run_act(krun *r)
{
    for (int i = 0; i < N_ACT; i++) {
        sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_nan(r, r->s.m, r->s.n, 0);
        r->k->act(r->k, acts[i], &x, &y);
        kt_record(r, &y);
    }
}

static void run_act_back(krun *r)
{
    for (int i = 0; i < N_ACT; i++) {
        sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), dy = kt_random(r, r->s.m, r->s.n, 0), dx = kt_random(r, r->s.m, r->s.n, 0);
        r->k->act_back(r->k, acts[i], &x, &dy, 1, &dx);
        r->k->act_back(r->k, acts[i], &x, &dy, 0, &dy);
        kt_record(r, &dx);
        kt_record(r, &dy);
    }
}

static void run_dropout(krun *r)
{
    sl_mask_key key = { .seed = 0x123456789abcdef0, .stream = 0xfedcba9876543210, .p = .2 }, none = { .seed = 1 };
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), y = kt_random(r, r->s.m, r->s.n, 0), z = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->dropout(r->k, &key, &x, 1, &y);
    r->k->dropout(r->k, &none, &x, 0, &z);
    kt_record(r, &y);
    kt_record(r, &z);
}

static void run_sum(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0);
    kt_number(r, r->k->sum(r->k, &x));
}

static void run_sum_sq(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0);
    kt_number(r, r->k->sum_sq(r->k, &x));
}

static void run_dot(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), b = kt_random(r, r->s.m, r->s.n, 0);
    kt_number(r, r->k->dot(r->k, &a, &b));
}

static void run_sq_dist(krun *r)
{
    sl_tensor a = kt_random(r, r->s.m, r->s.n, 0), b = kt_random(r, r->s.m, r->s.n, 0);
    kt_number(r, r->k->sq_dist(r->k, &a, &b));
}

static void run_not_finite(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), bad = kt_nan(r, r->s.m, r->s.n, 0);
    kt_number(r, (double)r->k->not_finite(r->k, &x));
    kt_number(r, (double)r->k->not_finite(r->k, &bad));
    int64_t place = sl_numel(&x) * 2 / 3;
    size_t size = sl_dtype_size(x.dtype);
    memcpy((char *)x.data + (size_t)place * size, bad.data, size);
    kt_number(r, (double)r->k->not_finite(r->k, &x));
}

static void norm_case(krun *r, bool center, bool gained)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor x = kt_random(r, m, n, 0), g = kt_random(r, n, 0, 0), b = kt_random(r, n, 0, 0), y = kt_nan(r, m, n, 0), stat = kt_nan(r, m, 2, 0);
    if (center)
        r->k->layernorm(r->k, &x, &g, gained ? &b : NULL, 1e-2, &y, &stat);
    else
        r->k->rmsnorm(r->k, &x, gained ? &g : NULL, 1e-2, &y, &stat);
    kt_record(r, &y);
    kt_record(r, &stat);
}

static void run_layernorm(krun *r) { norm_case(r, true, true), norm_case(r, true, false); }
static void run_rmsnorm(krun *r) { norm_case(r, false, true), norm_case(r, false, false); }

static void norm_back_case(krun *r, bool center)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor x = kt_random(r, m, n, 0), g = kt_random(r, n, 0, 0), y = kt_nan(r, m, n, 0), stat = kt_nan(r, m, 2, 0), dy = kt_random(r, m, n, 0);
    sl_tensor dx = kt_random(r, m, n, 0), dg = kt_random(r, n, 0, 0), db = kt_random(r, n, 0, 0);
    if (center) {
        r->k->layernorm(r->k, &x, &g, NULL, 1e-2, &y, &stat);
        r->k->layernorm_back(r->k, &x, &g, &stat, &dy, &dx, &dg, &db);
        r->k->layernorm_back(r->k, &x, &g, &stat, &dy, NULL, NULL, &db);
    } else {
        r->k->rmsnorm(r->k, &x, &g, 1e-2, &y, &stat);
        r->k->rmsnorm_back(r->k, &x, &g, &stat, &dy, &dx, &dg);
        r->k->rmsnorm_back(r->k, &x, NULL, &stat, &dy, &dx, NULL);
    }
    kt_record(r, &dx);
    kt_record(r, &dg);
    kt_record(r, &db);
}

static void run_layernorm_back(krun *r) { norm_back_case(r, true); }
static void run_rmsnorm_back(krun *r) { norm_back_case(r, false); }

static void run_adam(krun *r)
{
    int64_t m = r->s.m, n = r->s.n;
    sl_tensor w = kt_random(r, m, n, 0), g = kt_random(r, m, n, 0), mean = kt_random(r, m, n, 0), sq = kt_random(r, m, n, 0);
    r->k->mul(r->k, &sq, &sq, 0, &sq); /* a second moment is not negative */
    sl_adam a = { .lr = 1e-2, .beta1 = .9, .beta2 = .95, .eps = 1e-8, .decay = .1, .grad_scale = .5, .step = 3 };
    r->k->adam(r->k, &a, &w, &g, &mean, &sq);
    kt_record(r, &mean);
    kt_record(r, &sq);
    a.decay = 0;
    a.step = 4;
    r->k->adam(r->k, &a, &w, &g, &mean, &sq);
    kt_record(r, &w);
}

static void run_row_norms(krun *r)
{
    sl_tensor w = kt_random(r, r->s.m, r->s.n, 0), norm = kt_nan(r, r->s.m, 0, 0);
    r->k->row_norms(r->k, &w, &norm);
    kt_record(r, &norm);
}

static void run_row_norms_back(krun *r)
{
    sl_tensor w = kt_random(r, r->s.m, r->s.n, 0), norm = kt_nan(r, r->s.m, 0, 0), dnorm = kt_random(r, r->s.m, 0, 0);
    sl_tensor dw = kt_random(r, r->s.m, r->s.n, 0);
    memset(w.data, 0, (size_t)r->s.n * sl_dtype_size(w.dtype));
    r->k->row_norms(r->k, &w, &norm);
    r->k->row_norms_back(r->k, &w, &norm, &dnorm, &dw);
    kt_record(r, &dw);
}

static void run_row_normalize(krun *r)
{
    sl_tensor w = kt_random(r, r->s.m, r->s.n, 0);
    memset(w.data, 0, (size_t)r->s.n * sl_dtype_size(w.dtype)); /* a zero row stays */
    r->k->row_normalize(r->k, &w);
    kt_record(r, &w);
}

static void run_row_project(krun *r)
{
    sl_tensor w = kt_random(r, r->s.m, r->s.n, 0), dw = kt_random(r, r->s.m, r->s.n, 0);
    memset(w.data, 0, (size_t)r->s.n * sl_dtype_size(w.dtype));
    r->k->row_project(r->k, &w, &dw);
    kt_record(r, &dw);
}

/* Tolerances: sums of n f32 products of numbers about 1 err by about sqrt(n) eps |terms|: 1e-5 covers n = 130. */
const kcase kcases_dense[] = {
    KCASE(gemm, run_gemm, 2e-5, 1e-5), /* relu^2 and gelu amplify by up to |2 pre| */
    KCASE(fill, run_fill, 0, 0),
    KCASE(copy, run_copy, 0, 0),
    KCASE(axpby, run_axpby, 1e-6, 1e-6),
    KCASE(add, run_add, 0, 0),
    KCASE(mul, run_mul, 1e-6, 1e-6),
    KCASE(add_row, run_add_row, 1e-6, 1e-6),
    KCASE(mul_row, run_mul_row, 1e-6, 1e-6),
    KCASE(col_sum, run_col_sum, 1e-5, 1e-6),
    KCASE(act, run_act, 1e-6, 2e-6),
    KCASE(act_back, run_act_back, 2e-6, 2e-6),
    KCASE(dropout, run_dropout, 1e-6, 1e-6),
    KCASE(sum, run_sum, 1e-3, 1e-5), /* 16,770 terms */
    KCASE(sum_sq, run_sum_sq, 1e-5, 1e-5),
    KCASE(dot, run_dot, 1e-3, 1e-5),
    KCASE(sq_dist, run_sq_dist, 1e-5, 1e-5),
    KCASE(not_finite, run_not_finite, 0, 0),
    KCASE(layernorm, run_layernorm, 1e-5, 1e-5),
    KCASE(layernorm_back, run_layernorm_back, 5e-5, 2e-5), /* 1/std up to 10 */
    KCASE(rmsnorm, run_rmsnorm, 1e-5, 1e-5),
    KCASE(rmsnorm_back, run_rmsnorm_back, 5e-5, 2e-5),
    KCASE(adam, run_adam, 1e-6, 2e-6),
    KCASE(row_norms, run_row_norms, 1e-6, 2e-6),
    KCASE(row_norms_back, run_row_norms_back, 2e-6, 2e-6),
    KCASE(row_normalize, run_row_normalize, 1e-6, 2e-6),
    KCASE(row_project, run_row_project, 1e-5, 1e-5),
    { NULL, 0, NULL, 0, 0 },
};
