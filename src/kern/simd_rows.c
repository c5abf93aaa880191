/* Reductions to one number, and constraints on the rows of a dictionary. All are bound by memory, so sums are kept in double:
 * vectors of VD, four partial sums, then a fixed tree. */
#include "kern/simd_sparse.h"

#include <assert.h>
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

static double vd_sum(vd a)
{
    double s[VD];
    vd_store(s, a);
    for (int half = VD / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}

/* ---- reductions: chunks of a size that depends on n alone, then the chunks in order ---- */

typedef double (*term_fn)(const float *a, const float *b, int64_t n);

#define TERMS(name, vector, scalar)                                          \
    static double name(const float *a, const float *b, int64_t n)            \
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

TERMS(terms_sum, vd_of(p), (double)a[i])
TERMS(terms_dot, vd_of(p) * vd_of(q), (double)a[i] * (double)b[i])
TERMS(terms_sq_dist, (vd_of(p) - vd_of(q)) * (vd_of(p) - vd_of(q)), ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]))

static double reduce(const sl_kern *k, term_fn terms, const sl_tensor *x, const sl_tensor *y)
{
    const float *a = x->data, *b = y->data;
    double *partial = sl_kern_impl_of(k)->partial, s = 0;
    int64_t n = sl_numel(x), chunk = sl_chunk_of(n, 4096), chunks = (n + chunk - 1) / chunk;
    assert(sl_numel(y) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t c = 0; c < chunks; c++)
        partial[c] = terms(a + c * chunk, b + c * chunk, sl_min64(chunk, n - c * chunk));
    for (int64_t c = 0; c < chunks; c++)
        s += partial[c];
    return s;
}

double SL_V(sl_simd_sum)(const sl_kern *k, const sl_tensor *x) { return reduce(k, terms_sum, x, x); }
double SL_V(sl_simd_sum_sq)(const sl_kern *k, const sl_tensor *x) { return reduce(k, terms_dot, x, x); }
double SL_V(sl_simd_dot)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b) { return reduce(k, terms_dot, a, b); }
double SL_V(sl_simd_sq_dist)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b) { return reduce(k, terms_sq_dist, a, b); }

/* First element that is not finite, or n: whole vectors are looked at, then the one that has it. */
static int64_t find_not_finite(const float *x, int64_t n)
{
    const vf limit = vf_set(INFINITY);
    int64_t i = 0;
    while (i + VW <= n && !vf_not_below(vf_abs(vf_load(x + i)), limit))
        i += VW;
    while (i < n && isfinite(x[i]))
        i++;
    return i;
}

int64_t SL_V(sl_simd_not_finite)(const sl_kern *k, const sl_tensor *x)
{
    const float *a = x->data;
    int64_t n = sl_numel(x), first = n, chunk = sl_chunk_of(n, 4096);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static) reduction(min : first)
    for (int64_t c = 0; c < n; c += chunk) {
        int64_t m = sl_min64(chunk, n - c), at = find_not_finite(a + c, m);
        if (at < m)
            first = sl_min64(first, c + at);
    }
    return first < n ? first : -1;
}

/* ---- rows ---- */

static double length_of(const float *row, int64_t d) { return sqrt(terms_dot(row, row, d)); }

void SL_V(sl_simd_row_norms)(const sl_kern *k, const sl_tensor *W, sl_tensor *norms)
{
    const float *w = W->data;
    float *out = norms->data;
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(norms) == rows);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        out[i] = (float)length_of(w + i * d, d);
}

void SL_V(sl_simd_row_norms_back)(const sl_kern *k, const sl_tensor *W, const sl_tensor *norms, const sl_tensor *dnorm, sl_tensor *dW)
{
    const float *w = W->data, *length = norms->data, *g = dnorm->data;
    float *out = dW->data;
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(norms) == rows && sl_numel(dnorm) == rows && sl_numel(dW) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        if (!(length[r] > 0))
            continue;
        vf s = vf_set(g[r] / length[r]);
        for (int64_t i = r * d; i < (r + 1) * d; i += VW) {
            int64_t n = (r + 1) * d - i;
            vf_put(out + i, vf_fma(s, vf_get(w + i, n), vf_get(out + i, n)), n);
        }
    }
}

void SL_V(sl_simd_row_normalize)(const sl_kern *k, sl_tensor *W)
{
    float *w = W->data;
    int64_t rows = sl_rows(W), d = sl_cols(W);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float *row = w + r * d;
        double length = length_of(row, d);
        int64_t i = 0;
        if (!(length > 0))
            continue;
        for (; i + VD <= d; i += VD)
            vd_put(row + i, vd_of(row + i) / vd_set(length));
        for (; i < d; i++)
            row[i] = (float)((double)row[i] / length);
    }
}

void SL_V(sl_simd_row_project)(const sl_kern *k, const sl_tensor *W, sl_tensor *dW)
{
    const float *w = W->data;
    float *g = dW->data;
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(dW) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        const float *wr = w + r * d;
        float *gr = g + r * d;
        double sq = terms_dot(wr, wr, d), share = sq > 0 ? terms_dot(gr, wr, d) / sq : 0;
        int64_t i = 0;
        if (share == 0)
            continue;
        for (; i + VD <= d; i += VD)
            vd_put(gr + i, vd_of(gr + i) - vd_set(share) * vd_of(wr + i));
        for (; i < d; i++)
            gr[i] = (float)((double)gr[i] - share * (double)wr[i]);
    }
}
