/* ref: AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, in the form of torch.optim.AdamW) and constraints on rows. */
#include "kern/ref_common_tmpl.h"

/* w *= 1 - lr decay;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps) */
static void adam(const sl_kern *k, const sl_adam *a, sl_tensor *w, const sl_tensor *g, sl_tensor *m, sl_tensor *v)
{
    REAL *pw = real(w), *pm = real(m), *pv = real(v);
    const REAL *pg = real(g);
    int64_t n = sl_numel(w);
    assert(sl_numel(g) == n && sl_numel(m) == n && sl_numel(v) == n && a->step >= 1);
    REAL decay = (REAL)(1 - a->lr * a->decay), b1 = (REAL)a->beta1, b2 = (REAL)a->beta2, c1 = (REAL)(1 - a->beta1), c2 = (REAL)(1 - a->beta2);
    REAL rate = (REAL)(a->lr / (1 - pow(a->beta1, (double)a->step))), root = (REAL)sqrt(1 - pow(a->beta2, (double)a->step));
    REAL eps = (REAL)a->eps, scale = (REAL)a->grad_scale;
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        REAL grad = pg[i] * scale;
        pm[i] = b1 * pm[i] + c1 * grad;
        pv[i] = b2 * pv[i] + c2 * grad * grad;
        pw[i] = pw[i] * decay - rate * pm[i] / ((REAL)sqrt((double)pv[i]) / root + eps);
    }
}

static double norm_of(const REAL *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    return sqrt(s);
}

static void row_norms(const sl_kern *k, const sl_tensor *W, sl_tensor *norms)
{
    const REAL *w = real(W);
    REAL *o = real(norms);
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(norms) == rows);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        o[i] = (REAL)norm_of(w + i * d, d);
}

static void row_norms_back(const sl_kern *k, const sl_tensor *W, const sl_tensor *norms, const sl_tensor *dnorm, sl_tensor *dW)
{
    const REAL *w = real(W), *length = real(norms), *g = real(dnorm);
    REAL *o = real(dW);
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(norms) == rows && sl_numel(dnorm) == rows && sl_numel(dW) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = i * d; length[i] > 0 && j < (i + 1) * d; j++)
            o[j] += g[i] * w[j] / length[i];
}

static void row_normalize(const sl_kern *k, sl_tensor *W)
{
    REAL *w = real(W);
    int64_t rows = sl_rows(W), d = sl_cols(W);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        double length = norm_of(w + i * d, d);
        for (int64_t j = 0; length > 0 && j < d; j++)
            w[i * d + j] = (REAL)((double)w[i * d + j] / length);
    }
}

static void row_project(const sl_kern *k, const sl_tensor *W, sl_tensor *dW)
{
    const REAL *w = real(W);
    REAL *g = real(dW);
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(dW) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++) {
        double along = 0, sq = 0;
        for (int64_t j = i * d; j < (i + 1) * d; j++) {
            along += (double)g[j] * (double)w[j];
            sq += (double)w[j] * (double)w[j];
        }
        for (int64_t j = i * d; sq > 0 && j < (i + 1) * d; j++)
            g[j] -= (REAL)(along / sq * (double)w[j]);
    }
}
