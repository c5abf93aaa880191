/* Functions of vectors. Polynomials are least-maximum-error fits made for these ranges; bounds were measured against libm in
 * double over the whole range (tests/kern/test_fast_math.c repeats that). */
#ifndef SL_SIMD_MATH_H
#define SL_SIMD_MATH_H

#include "kern/kern.h"
#include "kern/simd_vec.h"

/* e^x within 2 ulp; 0 below -87.3 (where the result would be subnormal), inf above 88.8, NaN stays.
 * x = n ln 2 + r with |r| <= ln 2 / 2, e^r = 1 + r + r^2 p(r). */
static inline vf vf_exp(vf x)
{
    vf c = vf_max(vf_set(-88.0f), vf_min(vf_set(89.0f), x)); /* NaN: both keep x, their second operand */
    vf n = vf_round(c * vf_set(1.44269504f));
    vf r = vf_nfma(n, vf_set(0.693359375f), c);
    r = vf_nfma(n, vf_set(-2.12194440e-4f), r);
    vf p = vf_fma(r, vf_set(0.00138144647f), vf_set(0.00836878062f));
    p = vf_fma(p, r, vf_set(0.0416683943f));
    p = vf_fma(p, r, vf_set(0.166665201f));
    p = vf_fma(p, r, vf_set(0.499999934f));
    p = vf_fma(p * r, r, r) + vf_set(1.0f);
    vf m = vf_round(n * vf_set(0.5f)); /* 2^n in two factors: n reaches 128, which no f32 power holds */
    vf y = p * vf_pow2(vf_to_vi(m)) * vf_pow2(vf_to_vi(n - m));
    return vf_lt(x, vf_set(-87.3f), vf_set(0.0f), y);
}

/* The distribution function of N(0, 1), P(x) = (1 + erf(x / sqrt 2)) / 2, relative error < 5e-6 for x > -6 (where
 * 1 + erf would cancel) and < 2e-7 for x > -1; absolute error < 1e-7. With t = |x| / sqrt 2: erf(t) = t (1 + s(t^2)) below .95, else erfc(t) = e^(-t q(t)). */
static inline vf vf_cdf(vf x)
{
    vf t = vf_abs(x) * vf_set(0.707106781f), u = t * t;
    vf s = vf_fma(u, vf_set(7.8538577e-05f), vf_set(-0.000801019252f));
    s = vf_fma(s, u, vf_set(0.00518832756f));
    s = vf_fma(s, u, vf_set(-0.0268538119f));
    s = vf_fma(s, u, vf_set(0.112835851f));
    s = vf_fma(s, u, vf_set(-0.376126258f));
    s = vf_fma(s, u, vf_set(0.128379166f));
    vf near0 = vf_set(0.5f) + vf_sign(vf_set(0.5f) * vf_fma(s, t, t), x);
    vf v = vf_min(vf_set(9.0f), t);
    vf q = vf_fma(v, vf_set(-1.19076721e-06f), vf_set(3.69247933e-05f));
    q = vf_fma(q, v, vf_set(-0.000517344054f));
    q = vf_fma(q, v, vf_set(0.00437662675f));
    q = vf_fma(q, v, vf_set(-0.0253057763f));
    q = vf_fma(q, v, vf_set(0.108075193f));
    q = vf_fma(q, v, vf_set(0.633993195f));
    q = vf_fma(q, v, vf_set(1.12894782f));
    vf tail = vf_set(0.5f) * vf_exp(-v * q);
    vf far = vf_lt(x, vf_set(0.0f), tail, vf_set(1.0f) - tail);
    return vf_lt(t, vf_set(0.95f), near0, far);
}

static inline vf vf_gelu(vf x) { return x * vf_cdf(x); }

/* d gelu / dx = P(x) + x e^(-x^2 / 2) / sqrt(2 pi) */
static inline vf vf_gelu_grad(vf x)
{
    return vf_fma(x * vf_set(0.398942280f), vf_exp(vf_set(-0.5f) * x * x), vf_cdf(x));
}

static inline vf vf_relu(vf x) { return vf_lt(x, vf_set(0.0f), vf_set(0.0f), x); } /* NaN stays */

static inline vf vf_act(sl_act act, vf x)
{
    switch (act) {
    case SL_ACT_RELU: return vf_relu(x);
    case SL_ACT_GELU: return vf_gelu(x);
    case SL_ACT_RELU2: return vf_relu(x) * vf_relu(x);
    case SL_ACT_EXP: return vf_exp(x);
    default: return x;
    }
}

#endif
