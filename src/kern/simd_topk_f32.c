/* TopK encoding: proposals by a product in f32, made in register tiles. A value that it gives differs from the one of kern/dot.h by at most
 *
 *   slack = gamma |x| max |w| + 16 u max |b| + underflow.
 *
 * A sum of n rounded products is off by at most n u sum |x_i w_i| (u = 2^-24; Higham 2002, "Accuracy and stability of numerical
 * algorithms", section 3.1), and sum |x_i w_i| <= |x| |w|. The product's chains are kc long and their sums are added, kern/dot.h's are
 * d / 32; 64 and 16 leave room for the bias and for the roundings of the bound itself. A row whose slack is not finite is made of exact
 * values alone. */
#include "kern/simd_topk.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    KC = 384,             /* longest chain of a product */
    MC = 96,              /* most rows of a block, */
    A_FLOATS = 1 << 16,   /* and most elements of x in it: it stays in the second-level cache */
    W_FLOATS = 1 << 20    /* of W in hand */
};

/* Cuts the work. No bit of the result depends on it. */
void SL_V(sl_topk_f32_cut)(topk *j, int64_t B, int team)
{
    int64_t passes = (j->d + KC - 1) / KC, parts;
    j->kc = passes ? (j->d + passes - 1) / passes : 1;
    j->gamma = 1.01 * (FLT_EPSILON / 2) * (double)(j->kc + passes + j->d / SL_DOT_LANES + 64);
    j->nc = sl_round_up(1 + W_FLOATS / (j->d + 1), NR);
    parts = (j->n + j->nc - 1) / j->nc;
    j->nc = parts ? sl_round_up((j->n + parts - 1) / parts, NR) : NR;
    j->mc = A_FLOATS / (j->d + 1) / MR * MR;
    j->mc = j->mc > MC ? MC : j->mc < MR ? MR : j->mc;
    while (j->mc > 4 * MR && (B + j->mc - 1) / j->mc < 8 * team)
        j->mc = sl_round_up(j->mc / 2, MR);
    j->fc = j->mc;
}

/* A panel: column c is candidate p + c; past the last one, that again, and its results are not looked at. */
static void pack_panel(const topk *j, int64_t p, float *out, double *w_norm, double *b_max)
{
    int64_t d = j->d;
    for (int64_t c = 0; c < NR; c += 8) {
        const float *row[8];
        for (int64_t i = 0; i < 8; i++) {
            int32_t f = j->feature[sl_min64(p + c + i, j->n - 1)];
            row[i] = j->w + f * d;
            double norm = SL_V(sl_topk_norm)(row[i], d), b = fabs((double)j->bias[f]);
            *w_norm = isfinite(norm) ? fmax(*w_norm, norm) : INFINITY;
            *b_max = isfinite(b) ? fmax(*b_max, b) : INFINITY;
        }
        for (int64_t k = 0; k < d; k++)
            for (int64_t i = 0; i < 8; i++)
                out[k * NR + c + i] = row[i][k];
    }
}

void SL_V(sl_topk_f32_pack)(topk *j, int team)
{
    double w_norm = j->w_norm, b_max = j->b_max;
    #pragma omp parallel for num_threads(team) schedule(static) reduction(max : w_norm, b_max)
    for (int64_t p = j->p0; p < j->p1; p += NR)
        pack_panel(j, p, j->packed + (p - j->p0) * j->d, &w_norm, &b_max);
    j->w_norm = w_norm;
    j->b_max = b_max;
}

/* sums [m, NR] of one panel: passes of kc, each a chain of its own. x: row r of the block at x + r d; its last whole tile's rows are in
 * `pad` when x ends before them. */
static void sum_panel(const topk *j, const float *x, int64_t m, const float *pad, const float *panel, float *sums)
{
    _Alignas(64) float tile[MR * NR];
    for (int64_t k0 = 0; k0 < j->d; k0 += j->kc)
        for (int64_t r = 0; r < m; r += MR) {
            const float *a = pad && m - r < MR ? pad + k0 : x + r * j->d + k0;
            int64_t kc = sl_min64(j->kc, j->d - k0);
            if (k0 == 0) {
                SL_V(sl_simd_micro)(kc, a, j->d, 1, panel, sums + r * NR, NR);
                continue;
            }
            SL_V(sl_simd_micro)(kc, a, j->d, 1, panel + k0 * NR, tile, NR);
            for (int64_t e = 0; e < MR * NR; e += VW)
                vf_store(sums + r * NR + e, vf_load(sums + r * NR + e) + vf_load(tile + e));
        }
}

/* The slack of a row; a row without one needs exact values. */
static float slack_of(topk *j, int64_t r)
{
    double slack = j->gamma * (double)j->norm[r] * j->w_norm + 16 * (FLT_EPSILON / 2) * j->b_max + (double)(j->d + 1) * FLT_MIN;
    float s = (float)(slack * (1 + 1e-6));
    if (!isfinite(s)) {
        j->count[r] = -1;
        j->limit[r] = INFINITY;
    }
    return s;
}

/* Rows i .. i + m of those in hand; sums [m, NR] of candidates p .. */
static void filter(topk *j, int64_t i, int64_t m, int64_t p, const float *slack, float *sums)
{
    _Alignas(64) float bias[NR];
    uint32_t valid = (uint32_t)(((uint64_t)1 << sl_min64(NR, j->n - p)) - 1);
    for (int64_t c = 0; c < NR; c++)
        bias[c] = j->bias[j->feature[sl_min64(p + c, j->n - 1)]];
    vf b0 = vf_load(bias), b1 = vf_load(bias + VW);
    for (int64_t r = i; r < i + m; r++, sums += NR) {
        vf s = vf_set(slack[r - i]), v0 = (vf_load(sums) + b0) + s, v1 = (vf_load(sums + VW) + b1) + s, limit = vf_set(j->limit[r]);
        if (j->keep) {
            topk_put_bytes(j, r, p, v0, j->n - p);
            topk_put_bytes(j, r, p + VW, v1, j->n - p - VW);
        }
        uint32_t hits = (vf_not_below(v0, limit) | vf_not_below(v1, limit) << VW) & valid;
        if (!hits)
            continue;
        vf_store(sums, v0);
        vf_store(sums + VW, v1);
        SL_V(sl_topk_propose)(j, r, p, hits, sums);
    }
}

static void screen(topk *j, int64_t i, int64_t m, float *pad)
{
    _Alignas(64) float sums[(MC + MR) * NR];
    float slack[MC];
    const float *x = j->x + (j->r0 + i) * j->d;
    int64_t part = m % MR;
    memset(pad, 0, (size_t)(MR * j->d) * sizeof *pad);
    memcpy(pad, x + (m - part) * j->d, (size_t)(part * j->d) * sizeof *pad);
    for (int64_t r = 0; r < m; r++)
        slack[r] = j->slack[i + r] = slack_of(j, i + r);
    for (int64_t p = j->p0; p < j->p1; p += NR) {
        sum_panel(j, x, m, part ? pad : NULL, j->packed + (p - j->p0) * j->d, sums);
        filter(j, i, m, p, slack, sums);
    }
}

void SL_V(sl_topk_f32_screen)(topk *j, int64_t i, int64_t m, float *pad)
{
    for (int64_t end = i + m; i < end; i += j->fc)
        screen(j, i, sl_min64(j->fc, end - i), pad);
}
