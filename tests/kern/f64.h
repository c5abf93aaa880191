/* The f64 table and small tensors over arrays, for values worked out by hand. test_layers ties every other table to it. */
#ifndef SL_TEST_KERN_F64_H
#define SL_TEST_KERN_F64_H

#include "support.h"

#include "kern/kern.h"

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof *(a)))

static inline sl_tensor t1(double *p, int64_t a) { return sl_tensor_of(SL_F64, p, 1, a); }
static inline sl_tensor t2(double *p, int64_t a, int64_t b) { return sl_tensor_of(SL_F64, p, 2, a, b); }
static inline sl_tensor t3(double *p, int64_t a, int64_t b, int64_t c) { return sl_tensor_of(SL_F64, p, 3, a, b, c); }

/* a group's *state is its table */
static inline int f64_setup(void **state)
{
    const sl_kern *k = NULL;
    sl_err err;
    if (sl_kern_get(sl_test_ctx(2), SL_F64, &k, &err) != SL_OK)
        return 1;
    *state = (void *)(uintptr_t)k;
    return 0;
}

static inline int f64_teardown(void **state)
{
    const sl_kern *k = *state;
    sl_ctx_free(k->ctx);
    return 0;
}

static inline void f64_random(double *p, int64_t n, uint64_t seed)
{
    sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < n; i++)
        p[i] = sl_rng_normal(&r);
}

/* Central differences of a scalar function of x [n] against an analytic gradient. */
typedef double (*f64_scalar)(const sl_kern *k, const void *user);
static inline void f64_check_grad(const char *what, const sl_kern *k, f64_scalar f, const void *user, double *x, const double *grad, int64_t n)
{
    double numeric[512];
    assert_true(n <= COUNT(numeric));
    for (int64_t i = 0; i < n; i++) {
        double keep = x[i], h = 1e-5;
        x[i] = keep + h;
        double above = f(k, user);
        x[i] = keep - h;
        double below = f(k, user);
        x[i] = keep;
        numeric[i] = (above - below) / (2 * h);
    }
    sl_assert_close_f64(what, grad, numeric, n, 1e-8, 1e-7);
}

#endif
