/* ref: AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, in the form of torch.optim.AdamW) and constraints on rows. */
#include "kern/ref_common_tmpl.h"

/* w *= 1 - lr decay;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps) */
typedef struct adam_numbers { REAL decay, b1, b2, c1, c2, rate, root, eps, scale; } adam_numbers;

static adam_numbers adam_of(const sl_adam *a)
{
    assert(a->step >= 1);
    return (adam_numbers){ (REAL)(1 - a->lr * a->decay), (REAL)a->beta1, (REAL)a->beta2, (REAL)(1 - a->beta1), (REAL)(1 - a->beta2),
                           (REAL)(a->lr / (1 - pow(a->beta1, (double)a->step))), (REAL)sqrt(1 - pow(a->beta2, (double)a->step)),
                           (REAL)a->eps, (REAL)a->grad_scale };
}

static void adam_one(const adam_numbers *a, REAL g, REAL *w, REAL *m, REAL *v)
{
    REAL grad = g * a->scale;
    *m = a->b1 * *m + a->c1 * grad;
    *v = a->b2 * *v + a->c2 * grad * grad;
    *w = *w * a->decay - a->rate * *m / ((REAL)sqrt((double)*v) / a->root + a->eps);
}

static void adam(const sl_kern *k, const sl_adam *a, sl_tensor *w, const sl_tensor *g, sl_tensor *m, sl_tensor *v)
{
    REAL *pw = real(w), *pm = real(m), *pv = real(v);
    const REAL *pg = real(g);
    int64_t n = sl_numel(w);
    adam_numbers numbers = adam_of(a);
    assert(sl_numel(g) == n && sl_numel(m) == n && sl_numel(v) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t i = 0; i < n; i++)
        adam_one(&numbers, pg[i], pw + i, pm + i, pv + i);
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

static void normalize_one(REAL *w, int64_t d)
{
    double length = norm_of(w, d);
    for (int64_t j = 0; length > 0 && j < d; j++)
        w[j] = (REAL)((double)w[j] / length);
}

static void row_normalize(const sl_kern *k, sl_tensor *W)
{
    REAL *w = real(W);
    int64_t rows = sl_rows(W), d = sl_cols(W);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        normalize_one(w + i * d, d);
}

static void project_one(const REAL *w, REAL *g, int64_t d)
{
    double along = 0, sq = 0;
    for (int64_t j = 0; j < d; j++) {
        along += (double)g[j] * (double)w[j];
        sq += (double)w[j] * (double)w[j];
    }
    for (int64_t j = 0; sq > 0 && j < d; j++)
        g[j] -= (REAL)(along / sq * (double)w[j]);
}

static void row_project(const sl_kern *k, const sl_tensor *W, sl_tensor *dW)
{
    const REAL *w = real(W);
    REAL *g = real(dW);
    int64_t rows = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(dW) == rows * d);
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        project_one(w + i * d, g + i * d, d);
}

/* ---- the sweep over a dictionary ---- */

/* Row f of the gradient, projected where asked for. */
static void sweep_row(const sl_sweep *s, int64_t f, int64_t d, REAL *g)
{
    for (int64_t j = 0; j < d; j++)
        g[j] = s->grad ? real(s->grad)[f * d + j] : 0;
    for (int i = 0; i < s->n_terms; i++)
        dict_grad_row(s->term[i].at, f, real(&s->term[i].coef), real(&s->term[i].rows), d, g);
    if (s->project)
        project_one(real(s->W) + f * d, g, d);
}

static double sweep_sq(const sl_kern *k, const sl_sweep *s)
{
    double *partial = sl_kern_impl_of(k)->partial, sum = 0;
    int64_t F = sl_rows(s->W), d = sl_cols(s->W), chunk = sl_chunk_of(F, 1), chunks = (F + chunk - 1) / chunk;
    REAL *rows = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(k->n_threads * d) * sizeof *rows);
    if (!rows)
        return 0;
    #pragma omp parallel for num_threads(sl_team(k, F * d)) schedule(dynamic, 4)
    for (int64_t c = 0; c < chunks; c++) {
        REAL *g = rows + omp_get_thread_num() * d;
        partial[c] = 0;
        for (int64_t f = c * chunk; f < at_most(F, (c + 1) * chunk); f++) {
            sweep_row(s, f, d, g);
            for (int64_t j = 0; j < d; j++)
                partial[c] += (double)g[j] * (double)g[j];
        }
    }
    for (int64_t c = 0; c < chunks; c++)
        sum += partial[c];
    return sum;
}

static void sweep_adam(const sl_kern *k, const sl_sweep *s, const sl_adam *a)
{
    int64_t F = sl_rows(s->W), d = sl_cols(s->W);
    REAL *w = real(s->W), *m = real(s->m), *v = real(s->v);
    REAL *rows = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(k->n_threads * d) * sizeof *rows);
    adam_numbers numbers = adam_of(a);
    if (!rows)
        return;
    #pragma omp parallel for num_threads(sl_team(k, F * d)) schedule(dynamic, 16)
    for (int64_t f = 0; f < F; f++) {
        REAL *g = rows + omp_get_thread_num() * d;
        sweep_row(s, f, d, g);
        for (int64_t j = 0; j < d; j++)
            adam_one(&numbers, g[j], w + f * d + j, m + f * d + j, v + f * d + j);
        if (s->normalize)
            normalize_one(w + f * d, d);
    }
}
