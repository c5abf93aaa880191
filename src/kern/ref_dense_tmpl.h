/* ref: element-wise slots, slots over rows and columns, reductions to one number. */
#include "kern/ref_common_tmpl.h"

static void fill(const sl_kern *k, double v, sl_tensor *y)
{
    REAL *o = real(y);
    int64_t n = sl_numel(y);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = (REAL)v;
}

static void copy(const sl_kern *k, const sl_tensor *x, sl_tensor *y)
{
    const REAL *a = real(x);
    REAL *o = real(y);
    int64_t n = sl_numel(y);
    assert(sl_numel(x) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = a[i];
}

static void axpby(const sl_kern *k, double a, const sl_tensor *x, double b, sl_tensor *y)
{
    const REAL *in = real(x);
    REAL *o = real(y), s = (REAL)a;
    int64_t n = sl_numel(y);
    assert(sl_numel(x) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = plus(s * in[i], b, o + i);
}

static void add(const sl_kern *k, const sl_tensor *a, const sl_tensor *b, sl_tensor *y)
{
    const REAL *p = real(a), *q = real(b);
    REAL *o = real(y);
    int64_t n = sl_numel(y);
    assert(sl_numel(a) == n && sl_numel(b) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = p[i] + q[i];
}

static void mul(const sl_kern *k, const sl_tensor *a, const sl_tensor *b, double beta, sl_tensor *y)
{
    const REAL *p = real(a), *q = real(b);
    REAL *o = real(y);
    int64_t n = sl_numel(y);
    assert(sl_numel(a) == n && sl_numel(b) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = plus(p[i] * q[i], beta, o + i);
}

static void add_row(const sl_kern *k, const sl_tensor *x, double s, const sl_tensor *r, sl_tensor *y)
{
    const REAL *a = real(x), *row = real(r);
    REAL *o = real(y);
    int64_t rows = sl_rows(x), d = sl_cols(x);
    assert(sl_numel(r) == d && sl_numel(y) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d; j++)
            o[i * d + j] = a[i * d + j] + (REAL)s * row[j];
}

static void mul_row(const sl_kern *k, const sl_tensor *x, const sl_tensor *r, double beta, sl_tensor *y)
{
    const REAL *a = real(x), *row = real(r);
    REAL *o = real(y);
    int64_t rows = sl_rows(x), d = sl_cols(x);
    assert(sl_numel(r) == d && sl_numel(y) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d; j++)
            o[i * d + j] = plus(a[i * d + j] * row[j], beta, o + i * d + j);
}

static void col_sum(const sl_kern *k, double s, const sl_tensor *x, sl_tensor *y)
{
    const REAL *a = real(x);
    REAL *o = real(y);
    int64_t rows = sl_rows(x), d = sl_cols(x), tiles = (d + TILE - 1) / TILE;
    assert(sl_numel(y) == d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t t = 0; t < tiles; t++) { /* one owner per column */
        double acc[TILE] = { 0 };
        int64_t j0 = t * TILE, n = at_most(TILE, d - j0);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++)
                acc[j] += (double)a[i * d + j0 + j];
        for (int64_t j = 0; j < n; j++)
            o[j0 + j] += (REAL)(s * acc[j]);
    }
}

static void act(const sl_kern *k, sl_act kind, const sl_tensor *x, sl_tensor *y)
{
    const REAL *a = real(x);
    REAL *o = real(y);
    int64_t n = sl_numel(y);
    assert(sl_numel(x) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = (REAL)act_value(kind, (double)a[i]);
}

static double act_slope(sl_act kind, double x)
{
    switch (kind) {
    case SL_ACT_RELU: return x > 0 ? 1 : 0;
    case SL_ACT_GELU: /* Phi(x) + x phi(x) */
        return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
    case SL_ACT_RELU2: return x > 0 ? 2 * x : 0;
    case SL_ACT_EXP: return exp(x);
    default: return 1;
    }
}

static void act_back(const sl_kern *k, sl_act kind, const sl_tensor *x, const sl_tensor *dy, double beta, sl_tensor *dx)
{
    const REAL *a = real(x), *g = real(dy);
    REAL *o = real(dx);
    int64_t n = sl_numel(dx);
    assert(sl_numel(x) == n && sl_numel(dy) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        o[i] = plus((REAL)(act_slope(kind, (double)a[i]) * (double)g[i]), beta, o + i);
}

static void dropout(const sl_kern *k, const sl_mask_key *key, const sl_tensor *x, double beta, sl_tensor *y)
{
    const REAL *a = real(x);
    REAL *o = real(y), scale = (REAL)(1 / (1 - key->p));
    int64_t n = sl_numel(y), blocks = (n + 7) / 8;
    uint32_t limit = mask_limit(key);
    assert(sl_numel(x) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        uint32_t lane[8];
        mask_lanes(key, (uint64_t)b, lane);
        for (int64_t i = b * 8; i < at_most(n, b * 8 + 8); i++)
            o[i] = plus(lane[i % 8] < limit ? 0 : a[i] * scale, beta, o + i);
    }
}

/* ---- reductions: chunks of a size that depends on n alone, each summed in order, then the chunks in order ---- */

typedef double (*term_fn)(const REAL *a, const REAL *b, int64_t n);

static double terms_sum(const REAL *a, const REAL *b, int64_t n)
{
    (void)b;
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)a[i];
    return s;
}

static double terms_dot(const REAL *a, const REAL *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

static double terms_sq_dist(const REAL *a, const REAL *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = (double)a[i] - (double)b[i];
        s += e * e;
    }
    return s;
}

static double reduce(const sl_kern *k, term_fn terms, const REAL *a, const REAL *b, int64_t n)
{
    double *partial = sl_kern_impl_of(k)->partial, s = 0;
    int64_t chunk = sl_chunk_of(n, 4096), chunks = (n + chunk - 1) / chunk;
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t c = 0; c < chunks; c++)
        partial[c] = terms(a + c * chunk, b + c * chunk, at_most(chunk, n - c * chunk));
    for (int64_t c = 0; c < chunks; c++)
        s += partial[c];
    return s;
}

static double sum(const sl_kern *k, const sl_tensor *x) { return reduce(k, terms_sum, real(x), real(x), sl_numel(x)); }
static double sum_sq(const sl_kern *k, const sl_tensor *x) { return reduce(k, terms_dot, real(x), real(x), sl_numel(x)); }

static double dot(const sl_kern *k, const sl_tensor *a, const sl_tensor *b)
{
    assert(sl_numel(a) == sl_numel(b));
    return reduce(k, terms_dot, real(a), real(b), sl_numel(a));
}

static double sq_dist(const sl_kern *k, const sl_tensor *a, const sl_tensor *b)
{
    assert(sl_numel(a) == sl_numel(b));
    return reduce(k, terms_sq_dist, real(a), real(b), sl_numel(a));
}

static int64_t not_finite(const sl_kern *k, const sl_tensor *x)
{
    const REAL *a = real(x);
    int64_t n = sl_numel(x), first = n;
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static) reduction(min : first)
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(a[i]) && i < first)
            first = i;
    return first < n ? first : -1;
}
