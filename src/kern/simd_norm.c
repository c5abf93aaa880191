/* layernorm, rmsnorm and column sums. Sums of a row run in VW lanes in a fixed order. Sums over rows are made per chunk of rows,
 * whose number depends on the shape alone, then over the chunks in order. */
#include "kern/simd.h"
#include "kern/simd_math.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { MAX_CHUNKS = 64 };

/* ---- forward ---- */

static void norm_row(bool center, const float *x, const float *gain, const float *bias, double eps, int64_t d, float *y, float *stat)
{
    vf s = vf_set(0), sq = vf_set(0);
    for (int64_t j = 0; center && j < d; j += VW)
        s += vf_get(x + j, d - j);
    float mean = vf_sum(s) / (float)d;
    int64_t whole = d / VW * VW;
    for (int64_t j = 0; j < whole; j += VW) {
        vf c = vf_load(x + j) - vf_set(mean);
        sq = vf_fma(c, c, sq);
    }
    float rest = 0;
    for (int64_t j = whole; j < d; j++)
        rest += (x[j] - mean) * (x[j] - mean);
    float r = (float)(1 / sqrt(((double)vf_sum(sq) + (double)rest) / (double)d + eps));
    for (int64_t j = 0; j < d; j += VW) {
        vf h = (vf_get(x + j, d - j) - vf_set(mean)) * vf_set(r);
        if (gain)
            h *= vf_get(gain + j, d - j);
        if (bias)
            h += vf_get(bias + j, d - j);
        vf_put(y + j, h, d - j);
    }
    stat[0] = mean;
    stat[1] = r;
}

static void norm(const sl_kern *k, bool center, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *bias, double eps,
                 sl_tensor *y, sl_tensor *stat)
{
    const float *in = x->data, *g = gain ? gain->data : NULL, *b = bias ? bias->data : NULL;
    float *out = y->data, *st = stat->data;
    int64_t rows = sl_rows(x), d = sl_cols(x);
    assert(sl_numel(y) == rows * d && sl_numel(stat) == 2 * rows && (!gain || sl_numel(gain) == d) && (!bias || sl_numel(bias) == d));
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        norm_row(center, in + i * d, g, b, eps, d, out + i * d, st + 2 * i);
}

void SL_V(sl_simd_layernorm)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *bias, double eps,
                             sl_tensor *y, sl_tensor *stat)
{
    norm(k, true, x, gain, bias, eps, y, stat);
}

void SL_V(sl_simd_rmsnorm)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, double eps, sl_tensor *y, sl_tensor *stat)
{
    norm(k, false, x, gain, NULL, eps, y, stat);
}

/* ---- backward ---- */

typedef struct back {
    bool center;
    const float *x, *gain, *stat, *dy;
    float *dx, *part; /* part: per chunk dgain [d], then dbias [d] */
    int64_t rows, d, chunk;
} back;

/* dx += r (q - mean(q) - h mean(q h)), q = dy gain; rmsnorm has no mean(q). The row's share of dgain and dbias is added to part. */
static void back_row(const back *b, int64_t i, float *dgain, float *dbias)
{
    const float *x = b->x + i * b->d, *dy = b->dy + i * b->d;
    int64_t d = b->d;
    vf mean = vf_set(b->stat[2 * i]), r = vf_set(b->stat[2 * i + 1]), sum_q = vf_set(0), sum_qh = vf_set(0);
    for (int64_t j = 0; j < d; j += VW) {
        vf g = vf_get(dy + j, d - j), h = (vf_get(x + j, d - j) - mean) * r, q = g;
        if (b->gain)
            q *= vf_get(b->gain + j, d - j);
        sum_q += q; /* past the end q is 0 */
        sum_qh = vf_fma(q, h, sum_qh);
        if (dgain)
            vf_put(dgain + j, vf_fma(g, h, vf_get(dgain + j, d - j)), d - j);
        if (dbias)
            vf_put(dbias + j, g + vf_get(dbias + j, d - j), d - j);
    }
    if (!b->dx)
        return;
    vf mean_q = vf_set(b->center ? vf_sum(sum_q) / (float)d : 0), mean_qh = vf_set(vf_sum(sum_qh) / (float)d);
    float *dx = b->dx + i * d;
    for (int64_t j = 0; j < d; j += VW) {
        vf g = vf_get(dy + j, d - j), h = (vf_get(x + j, d - j) - mean) * r, q = g;
        if (b->gain)
            q *= vf_get(b->gain + j, d - j);
        vf_put(dx + j, vf_get(dx + j, d - j) + r * (q - mean_q - h * mean_qh), d - j);
    }
}

/* y += s times the sum over chunks of part[c ld + j] */
static void add_parts(const float *part, int64_t chunks, int64_t ld, int64_t d, double s, float *y)
{
    for (int64_t j = 0; j < d; j++) {
        double sum = 0;
        for (int64_t c = 0; c < chunks; c++)
            sum += (double)part[c * ld + j];
        y[j] += (float)(s * sum);
    }
}

static void norm_back(const sl_kern *k, bool center, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat,
                      const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain, sl_tensor *dbias)
{
    back b = { .center = center, .x = x->data, .gain = gain ? gain->data : NULL, .stat = stat->data, .dy = dy->data,
               .dx = dx ? dx->data : NULL, .rows = sl_rows(x), .d = sl_cols(x) };
    assert(sl_numel(dy) == b.rows * b.d && sl_numel(stat) == 2 * b.rows);
    b.chunk = (b.rows + MAX_CHUNKS - 1) / MAX_CHUNKS;
    int64_t chunks = b.chunk ? (b.rows + b.chunk - 1) / b.chunk : 0, ld = 2 * b.d;
    b.part = sl_kern_scratch(k, SL_SIMD_PART, (size_t)(chunks * ld + 1) * sizeof *b.part);
    if (!b.part)
        return;
    #pragma omp parallel for num_threads(sl_team(k, b.rows * b.d)) schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        float *part = b.part + c * ld;
        memset(part, 0, (size_t)ld * sizeof *part);
        for (int64_t i = c * b.chunk; i < sl_min64(b.rows, (c + 1) * b.chunk); i++)
            back_row(&b, i, dgain ? part : NULL, dbias ? part + b.d : NULL);
    }
    if (dgain)
        add_parts(b.part, chunks, ld, b.d, 1, dgain->data);
    if (dbias)
        add_parts(b.part + b.d, chunks, ld, b.d, 1, dbias->data);
}

void SL_V(sl_simd_layernorm_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat,
                                  const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain, sl_tensor *dbias)
{
    norm_back(k, true, x, gain, stat, dy, dx, dgain, dbias);
}

void SL_V(sl_simd_rmsnorm_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat,
                                const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain)
{
    norm_back(k, false, x, gain, stat, dy, dx, dgain, NULL);
}

void SL_V(sl_simd_col_sum)(const sl_kern *k, double s, const sl_tensor *x, sl_tensor *y)
{
    const float *in = x->data;
    int64_t rows = sl_rows(x), d = sl_cols(x), chunk = (rows + MAX_CHUNKS - 1) / MAX_CHUNKS, chunks = chunk ? (rows + chunk - 1) / chunk : 0;
    float *part = sl_kern_scratch(k, SL_SIMD_PART, (size_t)(chunks * d + 1) * sizeof *part);
    assert(sl_numel(y) == d);
    if (!part)
        return;
    #pragma omp parallel for num_threads(sl_team(k, rows * d)) schedule(static)
    for (int64_t c = 0; c < chunks; c++) {
        float *p = part + c * d;
        memset(p, 0, (size_t)d * sizeof *p);
        for (int64_t i = c * chunk; i < sl_min64(rows, (c + 1) * chunk); i++)
            for (int64_t j = 0; j < d; j += VW)
                vf_put(p + j, vf_get(p + j, d - j) + vf_get(in + i * d + j, d - j), d - j);
    }
    add_parts(part, chunks, d, d, s, y->data);
}
