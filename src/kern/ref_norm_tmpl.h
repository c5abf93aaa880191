/* ref: layernorm (Ba et al. 2016, arXiv 1607.06450) and rmsnorm (Zhang and Sennrich 2019, arXiv 1910.07467).
 * With c = x - mean (rmsnorm: x) and r = 1/std (1/rms): h = c r, y = h gain + bias. */
#include "kern/ref_common_tmpl.h"

/* One row: statistics and y. */
static void norm_row(bool center, const REAL *x, const REAL *gain, const REAL *bias, double eps, int64_t d, REAL *y, REAL *stat)
{
    double mean = 0, sq = 0;
    for (int64_t j = 0; center && j < d; j++)
        mean += (double)x[j] / (double)d;
    for (int64_t j = 0; j < d; j++) {
        double c = (double)x[j] - mean;
        sq += c * c;
    }
    double r = 1 / sqrt(sq / (double)d + eps);
    for (int64_t j = 0; j < d; j++) {
        double h = ((double)x[j] - mean) * r;
        y[j] = (REAL)(h * (gain ? (double)gain[j] : 1) + (bias ? (double)bias[j] : 0));
    }
    stat[0] = (REAL)mean;
    stat[1] = (REAL)r;
}

static void norm(const sl_kern *k, bool center, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *bias, double eps,
                 sl_tensor *y, sl_tensor *stat)
{
    const REAL *in = real(x), *g = gain ? real(gain) : NULL, *b = bias ? real(bias) : NULL;
    REAL *out = real(y), *st = real(stat);
    int64_t rows = sl_rows(x), d = sl_cols(x);
    assert(sl_numel(y) == rows * d && sl_numel(stat) == 2 * rows);
    assert((!gain || sl_numel(gain) == d) && (!bias || sl_numel(bias) == d));
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        norm_row(center, in + i * d, g, b, eps, d, out + i * d, st + 2 * i);
}

/* dx += r (q - mean(q) - h mean(q h)), q = dy gain; rmsnorm has no mean(q) */
static void norm_back_row(bool center, const REAL *x, const REAL *gain, const REAL *stat, const REAL *dy, int64_t d, REAL *dx)
{
    double mean = (double)stat[0], r = (double)stat[1], mean_q = 0, mean_qh = 0;
    for (int64_t j = 0; j < d; j++) {
        double q = (double)dy[j] * (gain ? (double)gain[j] : 1);
        mean_q += center ? q / (double)d : 0;
        mean_qh += q * ((double)x[j] - mean) * r / (double)d;
    }
    for (int64_t j = 0; j < d; j++) {
        double q = (double)dy[j] * (gain ? (double)gain[j] : 1), h = ((double)x[j] - mean) * r;
        dx[j] += (REAL)(r * (q - mean_q - h * mean_qh));
    }
}

/* Columns j0 .. j0 + n - 1: dgain += sum over rows of dy h, dbias += sum of dy. */
static void norm_back_cols(const REAL *x, const REAL *stat, const REAL *dy, int64_t rows, int64_t d, int64_t j0, int64_t n,
                           REAL *dgain, REAL *dbias)
{
    double sum_h[TILE] = { 0 }, sum_1[TILE] = { 0 };
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            double g = (double)dy[i * d + j0 + j];
            sum_h[j] += g * ((double)x[i * d + j0 + j] - (double)stat[2 * i]) * (double)stat[2 * i + 1];
            sum_1[j] += g;
        }
    for (int64_t j = 0; j < n; j++) {
        if (dgain)
            dgain[j0 + j] += (REAL)sum_h[j];
        if (dbias)
            dbias[j0 + j] += (REAL)sum_1[j];
    }
}

static void norm_back(const sl_kern *k, bool center, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat,
                      const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain, sl_tensor *dbias)
{
    const REAL *in = real(x), *g = gain ? real(gain) : NULL, *st = real(stat), *grad = real(dy);
    REAL *out = dx ? real(dx) : NULL, *og = dgain ? real(dgain) : NULL, *ob = dbias ? real(dbias) : NULL;
    int64_t rows = sl_rows(x), d = sl_cols(x), tiles = og || ob ? (d + TILE - 1) / TILE : 0;
    assert(sl_numel(dy) == rows * d && sl_numel(stat) == 2 * rows);
    #pragma omp parallel num_threads(sl_team(k, rows * d))
    {
        #pragma omp for schedule(static) nowait
        for (int64_t t = 0; t < tiles; t++)
            norm_back_cols(in, st, grad, rows, d, t * TILE, at_most(TILE, d - t * TILE), og, ob);
        #pragma omp for schedule(static)
        for (int64_t i = 0; i < (out ? rows : 0); i++)
            norm_back_row(center, in + i * d, g, st + 2 * i, grad + i * d, d, out + i * d);
    }
}

static void layernorm(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *bias, double eps, sl_tensor *y,
                      sl_tensor *stat)
{
    norm(k, true, x, gain, bias, eps, y, stat);
}

static void layernorm_back(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat, const sl_tensor *dy,
                           sl_tensor *dx, sl_tensor *dgain, sl_tensor *dbias)
{
    norm_back(k, true, x, gain, stat, dy, dx, dgain, dbias);
}

static void rmsnorm(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, double eps, sl_tensor *y, sl_tensor *stat)
{
    norm(k, false, x, gain, NULL, eps, y, stat);
}

static void rmsnorm_back(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat, const sl_tensor *dy,
                         sl_tensor *dx, sl_tensor *dgain)
{
    norm_back(k, false, x, gain, stat, dy, dx, dgain, NULL);
}
