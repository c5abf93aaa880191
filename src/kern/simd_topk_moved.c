/* TopK encoding of rows x2 beside rows x that were encoded: x2_r = x_r + sum_i c_i u_i + e_r with few directions u. Then
 *
 *   x2.w = x.w + sum_i c_i (u_i.w) + e.w,     |e.w| <= |e| |w| (Cauchy and Schwarz)
 *
 * so what the encoder of x kept (a bound from above of every x.w + b) and the directions' products with W give a bound of every x2.w + b without
 * a product of the batch. e is measured: the rounding of x2, or anything else that the directions leave out. A row's slack is that, and the
 * rounding of kern/dot.h for x and x2 (chains of d / 32), of the directions' products (chains of d at most) and of the bound itself
 * (Higham 2002, section 3.1, as in simd_topk_f32.c). The row's limit starts from the features of its clean code, whose values are known
 * to the slack. Proposals and decision are those of simd_topk.h, so codes are encode_topk's bit for bit. */
#include "kern/simd_topk.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    BLOCK = 8 * MR,      /* rows of a task */
    PART = 1 << 14,      /* floats of the directions' products at once: they stay in the first-level cache or close to it */
    PROPOSALS = 1 << 22  /* held at once */
};

typedef struct moved {
    topk j;
    const sl_moved *m;
    const float *old, *dirs, *lead, *coef;
    const int32_t *at, *latent;
    int64_t n_dirs, q;
    float *panels;       /* lead in panels of NR features, [n_dirs, NR] each */
    float *dir_norm;     /* [n_dirs] |u| rounded up */
    float *slack;        /* [m] */
} moved;

static int64_t dir_of(const moved *v, int64_t row, int64_t i) { return v->at ? v->at[row * v->q + i] : i; }

/* ---- what a row's bounds start from ---- */

/* |e| of a row; *along = sum |c_i| |u_i|. e: [d] */
static float left_out(const moved *v, int64_t row, float *e, double *along)
{
    int64_t d = v->j.d;
    const float *x2 = v->j.x + row * d, *x = v->old + row * d;
    *along = 0;
    for (int64_t i = 0; i < d; i++)
        e[i] = x2[i] - x[i];
    for (int64_t i = 0; i < v->q && dir_of(v, row, i) >= 0; i++) {
        float c = v->coef[row * v->q + i];
        const float *u = v->dirs + dir_of(v, row, i) * d;
        *along += fabs((double)c) * (double)v->dir_norm[dir_of(v, row, i)];
        for (int64_t t = 0; t < d; t += VW)
            vf_put(e + t, vf_nfma(vf_set(c), vf_get(u + t, d - t), vf_get(e + t, d - t)), d - t);
    }
    return SL_V(sl_topk_norm)(e, d);
}

static double slack_of(const moved *v, int64_t r, float *e)
{
    const sl_bounds *b = v->m->bounds;
    int64_t row = v->j.r0 + r, d = v->j.d;
    double along, x = SL_V(sl_topk_norm)(v->old + row * d, d), rest = left_out(v, row, e, &along), u = 1.01 * (FLT_EPSILON / 2);
    double product = u * ((double)(d / SL_DOT_LANES + 64) * (x + (double)v->j.norm[r]) + (double)(d + 4 * v->q + 64) * along) + 2 * u * x;
    return ((rest + product) * b->w_norm + 64 * u * b->b_max + (double)(d + 1) * FLT_MIN) * (1 + 1e-6);
}

static float moved_by(const moved *v, int64_t row, int32_t f)
{
    float sum = 0;
    for (int64_t i = 0; i < v->q && dir_of(v, row, i) >= 0; i++)
        sum += v->coef[row * v->q + i] * v->lead[f * v->n_dirs + dir_of(v, row, i)];
    return sum;
}

/* At most the k-th largest value: of the features of the clean code and, where these are too few, those that the row was moved along. sort: [cap] */
static float limit_of(const moved *v, int64_t r, double slack, float *sort)
{
    const sl_csr *z = v->m->z;
    const float *val = z->val;
    int64_t row = v->j.r0 + r, n = 0, room = v->j.cap;
    for (int64_t e = z->row_ptr[row]; e < z->row_ptr[row + 1] && n < room; e++)
        sort[n++] = (float)(((double)val[e] + (double)moved_by(v, row, z->idx[e])) * (1 - 1e-6) - slack);
    for (int64_t i = 0; n < v->j.k && v->latent && i < v->q && dir_of(v, row, i) >= 0 && n < room; i++)
        sort[n++] = SL_V(sl_topk_exact)(&v->j, r, v->latent[dir_of(v, row, i)]);
    for (int64_t i = 0; i < n; i++)
        if (isnan(sort[i]))
            return 0;
    return n < v->j.k ? 0 : fmaxf(0, SL_V(sl_topk_kth)(sort, n, v->j.k));
}

static void begin_rows(moved *v, int team)
{
    topk *j = &v->j;
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t r = 0; r < j->m; r++) {
        int thread = omp_get_thread_num();
        j->norm[r] = SL_V(sl_topk_norm)(j->x + (j->r0 + r) * j->d, j->d);
        j->count[r] = 0;
        double slack = slack_of(v, r, topk_pad(j, thread));
        v->slack[r] = (float)slack;
        j->limit[r] = limit_of(v, r, slack, topk_sort(j, thread));
        if (!isfinite(v->slack[r]) || !isfinite(j->limit[r])) {
            j->count[r] = -1;
            j->limit[r] = INFINITY;
        }
    }
}

/* ---- bounds ---- */

/* Row r against VW candidates p .., of which n exist: their bytes, and how far the directions move them. */
static void filter(moved *v, int64_t r, int64_t p, int64_t n, vf by)
{
    topk *j = &v->j;
    const uint8_t *byte = v->m->bounds->top + (j->r0 + r) * j->n + p;
    uint8_t some[VW] = { 0 };
    for (int64_t i = 0; n < VW && i < n; i++)
        some[i] = byte[i];
    vf bytes = vf_of_bytes(n >= VW ? byte : some);
    vf bound = vf_fma(bytes, vf_set(v->m->bounds->unit[j->r0 + r] * (1 + 1e-6f)), by + vf_set(v->slack[r]));
    bound = vf_lt(bytes, vf_set(255), bound, vf_set(INFINITY));
    uint32_t hits = vf_not_below(bound, vf_set(j->limit[r]));
    if (n < VW)
        hits &= (1u << n) - 1;
    if (!hits)
        return;
    float bounds[VW];
    vf_store(bounds, bound);
    SL_V(sl_topk_propose)(j, r, p, hits, bounds);
}

/* Rows i .. i + m against candidates from .. to, every direction in turn. Rows beyond the block's last whole tile are in pad [MR, q]. */
static void screen_all(moved *v, int64_t i, int64_t m, int64_t from, int64_t to, const float *pad)
{
    _Alignas(64) float tile[MR * NR];
    for (int64_t t = 0; t < m; t += MR)
        for (int64_t p = from; p < to; p += NR) {
            const float *c = m - t < MR ? pad : v->coef + (v->j.r0 + i + t) * v->q;
            SL_V(sl_simd_micro)(v->q, c, v->q, 1, v->panels + p * v->q, tile, NR);
            for (int64_t r = 0; r < MR && t + r < m; r++) {
                filter(v, i + t + r, p, sl_min64(VW, v->j.n - p), vf_load(tile + r * NR));
                if (p + VW < v->j.n)
                    filter(v, i + t + r, p + VW, sl_min64(VW, v->j.n - p - VW), vf_load(tile + r * NR + VW));
            }
        }
}

/* The same for rows with directions of their own: a panel of all directions serves the whole block. */
static void screen_few(moved *v, int64_t i, int64_t m)
{
    int64_t n = v->j.n;
    for (int64_t p = 0; p < n; p += NR)
        for (int64_t r = i; r < i + m; r++) {
            int64_t row = v->j.r0 + r;
            vf by0 = vf_set(0), by1 = vf_set(0);
            for (int64_t t = row * v->q; t < (row + 1) * v->q && v->at[t] >= 0; t++) {
                const float *lead = v->panels + p * v->n_dirs + v->at[t] * NR;
                by0 = vf_fma(vf_set(v->coef[t]), vf_load(lead), by0);
                by1 = vf_fma(vf_set(v->coef[t]), vf_load(lead + VW), by1);
            }
            filter(v, r, p, sl_min64(VW, n - p), by0);
            if (p + VW < n)
                filter(v, r, p + VW, sl_min64(VW, n - p - VW), by1);
        }
}

static void screen_block(moved *v, int64_t i)
{
    int64_t m = sl_min64(BLOCK, v->j.m - i), part = m % MR, step;
    float *pad = topk_pad(&v->j, omp_get_thread_num());
    if (v->at) {
        screen_few(v, i, m);
        return;
    }
    memset(pad, 0, (size_t)(MR * v->q) * sizeof *pad);
    memcpy(pad, v->coef + (v->j.r0 + i + m - part) * v->q, (size_t)(part * v->q) * sizeof *pad);
    step = sl_round_up(PART / v->q + 1, NR);
    for (int64_t p = 0; p < v->j.n; p += step)
        screen_all(v, i, m, p, sl_min64(p + step, v->j.n), pad);
}

/* ---- the call ---- */

static bool begin(moved *v, const sl_kern *k, int team)
{
    topk *j = &v->j;
    int64_t panels = (j->n + NR - 1) / NR * NR, floats = panels * v->n_dirs;
    if (!SL_V(sl_topk_memory)(j, k, floats + v->n_dirs + j->m))
        return false;
    v->panels = j->packed;
    v->dir_norm = j->packed + floats;
    v->slack = v->dir_norm + v->n_dirs;
    for (int64_t i = 0; i < v->n_dirs; i++)
        v->dir_norm[i] = SL_V(sl_topk_norm)(v->dirs + i * j->d, j->d);
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t p = 0; p < j->n; p += NR)
        SL_V(sl_simd_pack)(v->lead + p * v->n_dirs, v->n_dirs, true, v->n_dirs, sl_min64(NR, j->n - p), v->panels + p * v->n_dirs);
    return true;
}

static void run(moved *v, int64_t B, int team)
{
    topk *j = &v->j;
    for (int64_t at_once = j->m; j->r0 < B; j->r0 += j->m) {
        j->m = sl_min64(at_once, B - j->r0);
        begin_rows(v, team);
        #pragma omp parallel for num_threads(team) schedule(dynamic)
        for (int64_t i = 0; i < j->m; i += BLOCK)
            screen_block(v, i);
        SL_V(sl_topk_decide)(j, team);
    }
}

void SL_V(sl_simd_encode_moved)(const sl_kern *k, const sl_moved *m, const sl_tensor *x2, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_csr *z)
{
    int64_t B = sl_rows(x2), F = sl_rows(W), d = sl_cols(W);
    if (!m->dirs || !m->bounds || sl_cols(m->coef) > d) { /* more directions than dimensions save nothing */
        SL_V(sl_topk_encode_near)(k, x2, W, b, n_active, m->z, z);
        return;
    }
    moved v = { .j = { .x = x2->data, .w = W->data, .bias = b->data, .d = d, .n = F, .k = sl_min64(n_active, F), .z = z }, .m = m, .old = m->x->data,
                .dirs = m->dirs->data, .lead = m->lead->data, .coef = m->coef->data, .at = m->at ? m->at->data : NULL,
                .latent = m->latent ? m->latent->data : NULL, .n_dirs = sl_rows(m->dirs), .q = sl_cols(m->coef) };
    assert(sl_rows(m->x) == B && sl_rows(m->lead) == F && sl_cols(m->lead) == sl_rows(m->dirs) && sl_rows(m->coef) == B && z->n_rows == B && z->n_cols == F && z->capacity >= B * v.j.k);
    assert(m->at || v.q == v.n_dirs);
    int32_t *feature = sl_kern_scratch(k, SL_SCRATCH_PTR, (size_t)F * sizeof *feature);
    memset(z->row_ptr, 0, (size_t)(B + 1) * sizeof *z->row_ptr);
    if (!feature || v.j.k == 0)
        return;
    for (int64_t f = 0; f < F; f++)
        feature[f] = (int32_t)f;
    v.j.feature = feature;
    v.j.p1 = F;
    v.j.cap = v.j.most = sl_round_up(sl_min64(F, 8 * v.j.k + 256) + 2 * NR, NR);
    v.j.m = sl_min64(B, PROPOSALS / v.j.cap + 1);
    int team = sl_team(k, B * F);
    if (!begin(&v, k, team))
        return;
    run(&v, B, team);
    SL_V(sl_topk_compact)(z, 0, B, v.j.k);
}
