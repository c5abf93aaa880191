/* Sums in double over vectors of f32, for what is bound by memory anyway: vectors of VD, four partial sums, then a fixed tree. And
 * what is done to one row of a dictionary. */
#ifndef SL_SIMD_DOUBLE_H
#define SL_SIMD_DOUBLE_H

#include "kern/simd_vec.h"

#include <math.h>

#ifdef __AVX512F__
enum { VD = 8 };
typedef __m512d vd;
static inline vd vd_of(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
static inline vd vd_set(double a) { return _mm512_set1_pd(a); }
static inline void vd_store(double *p, vd a) { _mm512_storeu_pd(p, a); }
static inline void vd_put(float *p, vd a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }
#else
enum { VD = 4 };
typedef __m256d vd;
static inline vd vd_of(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
static inline vd vd_set(double a) { return _mm256_set1_pd(a); }
static inline void vd_store(double *p, vd a) { _mm256_storeu_pd(p, a); }
static inline void vd_put(float *p, vd a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a)); }
#endif

static inline double vd_sum(vd a)
{
    double s[VD];
    vd_store(s, a);
    for (int half = VD / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}

#define TERMS(name, vector, scalar)                                          \
    static inline double name(const float *a, const float *b, int64_t n)            \
    {                                                                        \
        vd s[4] = { vd_set(0), vd_set(0), vd_set(0), vd_set(0) };            \
        double rest = 0;                                                     \
        int64_t i = 0;                                                       \
        (void)b;                                                             \
        for (; i + 4 * VD <= n; i += 4 * VD)                                 \
            for (int j = 0; j < 4; j++) {                                    \
                const float *p = a + i + j * VD, *q = b + i + j * VD;        \
                (void)q;                                                     \
                s[j] += vector;                                              \
            }                                                                \
        for (; i < n; i++)                                                   \
            rest += scalar;                                                  \
        return vd_sum((s[0] + s[1]) + (s[2] + s[3])) + rest;                 \
    }

TERMS(vd_dot, vd_of(p) * vd_of(q), (double)a[i] * (double)b[i])

static inline double vd_length(const float *row, int64_t d) { return sqrt(vd_dot(row, row, d)); }

/* Norm 1; a zero row stays. */
static inline void vd_normalize(float *row, int64_t d)
{
    double length = vd_length(row, d);
    int64_t i = 0;
    if (!(length > 0))
        return;
    for (; i + VD <= d; i += VD)
        vd_put(row + i, vd_of(row + i) / vd_set(length));
    for (; i < d; i++)
        row[i] = (float)((double)row[i] / length);
}

/* g loses its part along w. */
static inline void vd_project(const float *w, float *g, int64_t d)
{
    double sq = vd_dot(w, w, d), share = sq > 0 ? vd_dot(g, w, d) / sq : 0;
    int64_t i = 0;
    if (share == 0)
        return;
    for (; i + VD <= d; i += VD)
        vd_put(g + i, vd_of(g + i) - vd_set(share) * vd_of(w + i));
    for (; i < d; i++)
        g[i] = (float)((double)g[i] - share * (double)w[i]);
}

#endif
