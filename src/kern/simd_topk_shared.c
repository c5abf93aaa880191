/* TopK encoding in int8: what rows share. Activations of a model lie mostly along few directions, and what quantising leaves out of a row grows
 * with the whole of it. So a row is taken apart,
 *
 *   x = sum_i c_i u_i + y,    x.w = sum_i c_i (u_i.w) + y.w,
 *
 * of which the first part is a small product in f32 and only y, which is short, goes by integers: bounds are closer by |y| / |x|. The directions
 * may be any; they span what is largest in a sample (power iteration: Halko, Martinsson & Tropp 2011, arXiv:0909.4061, algorithm 4.4), and where they
 * hold less than half of other rows' squares nothing is taken apart. Roundings, u = 2^-24 (Higham 2002, section 3.1): kern/dot.h of x
 * (d / 32 + 64) u |x| |w|; y, q products a coordinate, (q + 2) u (|x| + A) |w| with A = sum |c_i| |u_i|; u_i.w and their sum (d / 32 + q + 66) u A |w|;
 * the bound itself 9 u (|x| + A + |y|) |w|. All of it is less than (d / 32 + 4 q + 192) u (|x| + A + |y|) max |w|. */
#include "kern/simd_topk.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    MOST = 32,       /* directions, */
    DIMENSIONS = 24, /* and one in so many dimensions: their product costs as much less than that of x */
    SAMPLE = 256,    /* rows that they are found from */
    ROUNDS = 3
};

static const float LEAST_SHARE = .5f;
static const float LOWEST = 1e-10f; /* rows as short are left whole, so that nothing underflows */

/* Rows u [q, d], orthonormal but for rounding, 0 where there is nothing left. */
static void orthonormalise(float *u, int64_t q, int64_t d)
{
    enum { TWICE = 2 };
    for (int64_t i = 0; i < q; i++) {
        float *row = u + i * d;
        for (int64_t m = 0; m < TWICE * i; m++)
            vf_add_to(row, -vf_exact_dot(u + m % i * d, row, d), u + m % i * d, d);
        float norm = sqrtf(vf_exact_dot(row, row, d)), by = norm > FLT_MIN ? 1 / norm : 0;
        for (int64_t c = 0; c < d; c++)
            row[c] *= by;
    }
}

/* Of squares of rows first, first + step .. the share along u. */
static float share_of(const topk *j, const float *u, int64_t q, int64_t first, int64_t step, int64_t n)
{
    double along = 0, all = 0;
    for (int64_t s = 0; s < n; s++) {
        const float *x = j->x + (first + s * step) * j->d;
        all += (double)vf_exact_dot(x, x, j->d);
        for (int64_t i = 0; i < q; i++) {
            double c = (double)vf_exact_dot(x, u + i * j->d, j->d);
            along += c * c;
        }
    }
    return (float)(along / all);
}

/* z_i = sum_s (x_s.u_i) x_s */
static void power_round(const topk *j, const float *u, int64_t q, int64_t step, int64_t n, float *z)
{
    memset(z, 0, (size_t)(q * j->d) * sizeof *z);
    for (int64_t s = 0; s < n; s++) {
        const float *x = j->x + s * step * j->d;
        for (int64_t i = 0; i < q; i++)
            vf_add_to(z + i * j->d, vf_exact_dot(x, u + i * j->d, j->d), x, j->d);
    }
    orthonormalise(z, q, j->d);
}

void SL_V(sl_topk_shared_find)(topk *j, const sl_kern *k, int64_t B)
{
    int64_t n = sl_min64(SAMPLE, B / 2), step = n ? B / n : 0, q = sl_min64(sl_min64(MOST, j->d / DIMENSIONS), n / 4);
    j->q = 0;
    float *room = q < 1 ? NULL : sl_kern_scratch(k, SL_SIMD_PART, (size_t)(2 * q * j->d + q) * sizeof *room);
    if (!room)
        return;
    float *u = room, *z = room + q * j->d;
    for (int64_t i = 0; i < q; i++)
        memcpy(u + i * j->d, j->x + i * step * j->d, (size_t)j->d * sizeof *u);
    orthonormalise(u, q, j->d);
    for (int round = 0; round < ROUNDS; round++) {
        power_round(j, u, q, step, n, z);
        float *t = u;
        u = z;
        z = t;
    }
    if (!(share_of(j, u, q, step / 2, step, n) >= LEAST_SHARE)) /* or not a number */
        return;
    j->q = q;
    j->dirs = u;
    j->dir_norm = room + 2 * q * j->d;
    for (int64_t i = 0; i < q; i++)
        j->dir_norm[i] = SL_V(sl_topk_norm)(u + i * j->d, j->d);
}

void SL_V(sl_topk_shared_lead)(topk *j, int64_t f)
{
    float *to = j->lead + f / NR * j->q * NR + f % NR;
    for (int64_t i = 0; i < j->q; i++)
        to[i * NR] = f < j->n ? vf_exact_dot(j->w + f * j->d, j->dirs + i * j->d, j->d) : 0;
}

void SL_V(sl_topk_shared_row)(topk *j, int64_t r, float *y)
{
    const float *x = j->x + (j->r0 + r) * j->d;
    float *c = j->coef + r * j->q;
    double along = 0, u = 1.01 * (FLT_EPSILON / 2);
    memcpy(y, x, (size_t)j->d * sizeof *y);
    for (int64_t i = 0; i < j->q; i++) {
        c[i] = j->norm[r] > LOWEST ? vf_exact_dot(x, j->dirs + i * j->d, j->d) : 0;
        along += fabs((double)c[i]) * (double)j->dir_norm[i];
    }
    for (int64_t i = 0; i < j->q; i++)
        vf_add_to(y, -c[i], j->dirs + i * j->d, j->d);
    j->rest[r] = SL_V(sl_topk_norm)(y, j->d);
    j->extra[r] = (float)(u * (double)(j->d / SL_DOT_LANES + 4 * j->q + 192) * ((double)j->norm[r] + along + (double)j->rest[r]) * j->w_norm * (1 + 1e-6));
}

void SL_V(sl_topk_shared_sums)(const topk *j, int64_t i, int64_t m, int64_t p, float *sums)
{
    for (int64_t r = 0; r < m; r += MR)
        SL_V(sl_simd_micro)(j->q, j->coef + (i + r) * j->q, j->q, 1, j->lead + p * j->q, sums + r * NR, NR);
}
