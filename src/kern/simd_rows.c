/* Reductions to one number, and constraints on the rows of a dictionary. All are bound by memory, so sums are kept in double:
 * vectors of VD, four partial sums, then a fixed tree. */
#include "kern/simd_double.h"
#include "kern/simd_sparse.h"

#include <assert.h>
#include <math.h>

/* ---- reductions: chunks of a size that depends on n alone, then the chunks in order ---- */

typedef double (*term_fn)(const float *a, const float *b, int64_t n);

TERMS(terms_sum, vd_of(p), (double)a[i])
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
double SL_V(sl_simd_sum_sq)(const sl_kern *k, const sl_tensor *x) { return reduce(k, vd_dot, x, x); }
double SL_V(sl_simd_dot)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b) { return reduce(k, vd_dot, a, b); }
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

void SL_V(sl_simd_row_norms)(const sl_kern *k, const sl_tensor *W, sl_tensor *norms)
{
    const float *w = W->data;
    float *out = norms->data;
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(norms) == rows);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        out[i] = (float)vd_length(w + i * d, d);
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
    for (int64_t r = 0; r < rows; r++)
        vd_normalize(w + r * d, d);
}

void SL_V(sl_simd_row_project)(const sl_kern *k, const sl_tensor *W, sl_tensor *dW)
{
    const float *w = W->data;
    float *g = dW->data;
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(dW) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        vd_project(w + r * d, g + r * d, d);
}
