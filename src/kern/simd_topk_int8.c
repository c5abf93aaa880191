/* TopK encoding: proposals by a product of small integers. A row v is held as v = s q + e, q integers of at most 63 or 127; then
 *
 *   |x.w - s_x s_w q_x.q_w| = |e_x . s_w q_w + x . e_w| <= |e_x| |s_w q_w| + |x| |e_w|      (Cauchy and Schwarz)
 *
 * so that w's bound from above costs three multiply-adds: s_x s_w q_x.q_w + |e_x| |s_w q_w| + |x| (|e_w| + gamma |w|) + b + 16 u |b|.
 * q_x.q_w is exact. Norms are rounded up; gamma is for the rounding of kern/dot.h (d / 32 additions a chain) and of the bound (Higham 2002,
 * section 3.1, as in simd_topk_f32.c). Norms outside 1e-10 .. 1e10 are left to the other ways, so nothing here over- or underflows.
 *
 * What rows share is taken out before (simd_topk_shared.c): then x is what is left, and the bound has two terms more.
 *
 * The bound's width depends on the data. What is too wide costs exact values; a block of rows that would take more of them than the
 * screening saves gives up and goes on in f32. */
#include "kern/scratch.h"
#include "kern/simd_topk.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    LEAST_ROWS = 64,  /* fewer rows do not pay for quantising W */
    EXACT_SHARE = 20, /* an exact value costs as much as the screening saves on about so many, */
    LIST_SHARE = 4    /* and when it lists more than one in so many the bounds are of no use */
};

static const double LOWEST = 1e-10, HIGHEST = 1e10;

static inline void put8(int8_t *p, vi q)
{
#ifdef __AVX512F__
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(q));
#else
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(h, h));
#endif
}

typedef struct quantised { float scale, len, err; } quantised; /* s, |s q|, |v - s q|: the norms rounded up */

/* v [d] -> q [padded] + zero, |q| <= most. */
static quantised quantise(const float *v, int64_t d, int64_t padded, int most, int zero, int8_t *q)
{
    /* d <= padded, and VW divides it */
    vf top = vf_set(0), err = vf_set(0), len = vf_set(0);
    for (int64_t i = 0; i < d; i += VW)
        top = vf_max(top, vf_abs(vf_get(v + i, d - i)));
    float lanes[VW], largest = 0;
    vf_store(lanes, top);
    for (int i = 0; i < VW; i++)
        largest = lanes[i] > largest ? lanes[i] : largest;
    float s = largest / (float)most, inv = largest > 0 ? (float)most / largest : 0;
    memset(q, zero, (size_t)padded);
    for (int64_t i = 0; i < d; i += VW) {
        vf x = vf_get(v + i, d - i), n = vf_round(x * vf_set(inv)), e = vf_nfma(n, vf_set(s), x);
        vi whole = vf_to_vi(n + vf_set((float)zero));
        err = vf_fma(e, e, err);
        len = vf_fma(n, n, len);
        put8(q + i, whole);
    }
    float length = SL_V(sl_topk_root)(vf_sum(len), d);
    return (quantised){ s, s * length * (1 + 1e-6f), SL_V(sl_topk_root)(vf_sum(err), d) };
}

/* ---- W ---- */

/* The candidates of one panel; false: one is out of range, or the product failed. wide: [cols, d8] */
static bool pack_panel(topk *j, int64_t panel, int8_t *wide, double *w_norm, double *b_max)
{
    const sl_int8 *g = j->int8;
    double gamma = 1.01 * (FLT_EPSILON / 2) * (double)(j->d / SL_DOT_LANES + 64);
    bool good = true;
    for (int64_t c = 0; c < g->cols; c++) {
        int64_t f = panel * g->cols + c;
        SL_V(sl_topk_shared_lead)(j, f);
        if (f >= j->n) {
            memset(wide + c * j->d8, 0, (size_t)j->d8);
            j->w_scale[f] = j->w_len[f] = j->w_err[f] = 0;
            j->top[f] = -INFINITY;
            continue;
        }
        float norm = SL_V(sl_topk_norm)(j->w + f * j->d, j->d), b = j->bias[f];
        quantised q = quantise(j->w + f * j->d, j->d, j->d8, g->w_max, 0, wide + c * j->d8);
        j->w_scale[f] = q.scale;
        j->w_len[f] = q.len;
        j->w_err[f] = (float)(((double)q.err + gamma * (double)norm) * (1 + 1e-6));
        j->top[f] = (float)((double)b + 16 * (FLT_EPSILON / 2) * fabs((double)b) + 1e-30);
        *w_norm = fmax(*w_norm, (double)norm);
        *b_max = fmax(*b_max, fabs((double)b));
        good = good && (q.scale == 0 || norm > LOWEST) && norm < HIGHEST && fabs((double)b) < HIGHEST;
    }
    return good && g->pack(g, wide, j->d8, (char *)j->w8 + (size_t)panel * j->panel_bytes);
}

static bool pack(topk *j, int team)
{
    bool bad = false;
    double w_norm = 0, b_max = 0;
    #pragma omp parallel for num_threads(team) schedule(static) reduction(|| : bad) reduction(max : w_norm, b_max)
    for (int64_t p = 0; p < j->panels; p++)
        bad = !pack_panel(j, p, j->share8 + omp_get_thread_num() * j->n_share8, &w_norm, &b_max) || bad;
    j->w_norm = w_norm;
    j->b_max = b_max;
    return !bad;
}

/* ---- the call ---- */

static bool get_memory(topk *j, const sl_kern *k)
{
    size_t cols = (size_t)(j->panels * j->int8->cols), m = (size_t)sl_round_up(j->m, j->int8->rows) + (size_t)j->int8->rows;
    size_t blocks = (size_t)(j->m / j->mc + 1), panels = (size_t)j->panels * j->panel_bytes;
    int64_t tile = (j->int8->rows * j->int8->cols + sl_round_up(j->int8->rows, MR) * NR) * (int64_t)sizeof(int32_t), wide = j->int8->cols * j->d8;
    j->n_share8 = sl_round_up(tile > wide ? tile : wide, SL_INT8_ALIGN);
    j->w8 = sl_kern_scratch(k, SL_SIMD_W8, panels + (4 + (size_t)j->q) * cols * sizeof(float));
    j->x8 = sl_kern_scratch(k, SL_SIMD_X8, m * (size_t)j->d8 + (4 + (size_t)j->q) * m * sizeof(float) + blocks);
    j->share8 = sl_kern_scratch(k, SL_SIMD_ACC, (size_t)(k->n_threads * j->n_share8));
    if (!j->w8 || !j->x8 || !j->share8)
        return false;
    j->w_scale = (float *)(void *)((char *)j->w8 + panels);
    j->w_len = j->w_scale + cols;
    j->w_err = j->w_len + cols;
    j->top = j->w_err + cols;
    j->x_scale = (float *)(void *)(j->x8 + m * (size_t)j->d8);
    j->lead = j->top + cols;
    j->x_err = j->x_scale + m;
    j->rest = j->x_err + m;
    j->extra = j->rest + m;
    j->coef = j->extra + m;
    memset(j->coef, 0, m * (size_t)j->q * sizeof *j->coef); /* of rows beyond the last, which are multiplied too */
    j->dense = (uint8_t *)(j->coef + m * (size_t)j->q);
    return true;
}

bool SL_V(sl_topk_int8_begin)(topk *j, const sl_kern *k, int64_t B)
{
    const sl_int8 *g = sl_kern_int8(k);
    bool forced = sl_kern_impl_of(k)->screen != SL_SCREEN_AUTO;
    if (forced && g) /* tests: small dictionaries have several parts too */
        j->nc = sl_min64(j->nc, sl_round_up((j->n + 3) / 4, NR));
    if (!g || j->n <= j->nc || (!forced && (B < LEAST_ROWS || j->n < g->least_share * j->k || j->d < g->least_d || j->d > g->most_d)))
        return false;
    j->d8 = sl_round_up(j->d, SL_INT8_STEP);
    j->panel_bytes = g->prepare(g, k, j->d8);
    if (!j->panel_bytes)
        return false;
    j->int8 = g;
    j->panel_bytes = (size_t)sl_round_up((int64_t)j->panel_bytes, SL_INT8_ALIGN);
    j->panels = (j->n + g->cols - 1) / g->cols;
    j->nc = sl_round_up(j->nc, g->cols);
    j->mc = g->rows;
    while (j->mc > 4 * MR && (B + j->mc - 1) / j->mc < 8 * k->n_threads)
        j->mc = sl_round_up(j->mc / 2, MR);
    SL_V(sl_topk_shared_find)(j, k, B);
    if (get_memory(j, k) && pack(j, k->n_threads))
        return true;
    j->int8 = NULL;
    return false;
}

void SL_V(sl_topk_int8_rows)(topk *j, int team)
{
    const sl_int8 *g = j->int8;
    int64_t blocks = j->m / j->mc + 1;
    memset(j->dense, 0, (size_t)blocks);
    #pragma omp parallel for num_threads(team) schedule(static)
    for (int64_t r = 0; r < j->m; r++) {
        const float *x = j->x + (j->r0 + r) * j->d;
        float *y = (float *)(void *)(j->share8 + omp_get_thread_num() * j->n_share8);
        j->rest[r] = j->norm[r];
        j->extra[r] = 0;
        if (j->q)
            SL_V(sl_topk_shared_row)(j, r, y);
        quantised q = quantise(j->q ? y : x, j->d, j->d8, g->x_max, g->x_zero, j->x8 + r * j->d8);
        j->x_scale[r] = q.scale;
        j->x_err[r] = q.err;
        if (!((q.scale == 0 || j->norm[r] > LOWEST) && j->norm[r] < HIGHEST) || !isfinite(j->extra[r])) {
            j->count[r] = -1;
            j->limit[r] = INFINITY;
        }
    }
}

/* ---- screening ---- */

/* Rows i .. i + m against VW candidates p ..; c: their sums, cols apart; shared: what rows share, NR apart, or NULL. How many were proposed. */
static int64_t filter(topk *j, int64_t i, int64_t m, int64_t p, const int32_t *c, const float *shared)
{
    int64_t proposed = 0;
    vf scale = vf_load(j->w_scale + p), len = vf_load(j->w_len + p), err = vf_load(j->w_err + p), top = vf_load(j->top + p);
    for (int64_t r = i; r < i + m; r++, c += j->int8->cols) {
        vi sums;
        memcpy(&sums, c, sizeof sums);
        vf more = top;
        if (shared)
            more += vf_load(shared + (r - i) * NR) + vf_set(j->extra[r]);
        vf bound = vf_fma(vf_set(j->x_scale[r]) * scale, vf_of_vi(sums), more);
        bound = vf_fma(vf_set(j->rest[r]), err, vf_fma(vf_set(j->x_err[r]), len, bound));
        if (j->keep)
            topk_put_bytes(j, r, p, bound, j->n - p);
        uint32_t hits = vf_not_below(bound, vf_set(j->limit[r]));
        if (!hits)
            continue;
        float bounds[VW];
        vf_store(bounds, bound);
        SL_V(sl_topk_propose)(j, r, p, hits, bounds);
        proposed += __builtin_popcount(hits);
    }
    return proposed;
}

/* The same of a panel's candidates, p .. p + cols; c [rows, cols], shared: room for [rows, NR] */
static int64_t filter_panel(topk *j, int64_t i, int64_t m, int64_t p, const int32_t *c, float *shared)
{
    int64_t proposed = 0;
    for (int64_t q = 0; q < j->int8->cols && p + q < j->n; q += VW) {
        if (j->q && q % NR == 0)
            SL_V(sl_topk_shared_sums)(j, i, m, p + q, shared);
        proposed += filter(j, i, m, p + q, c + q, j->q ? shared + q % NR : NULL);
    }
    return proposed;
}

static void give_up(topk *j, int64_t i, int64_t m)
{
    j->dense[i / j->mc] = TOPK_GAVE_UP;
    for (int64_t r = i; r < i + m; r++)
        SL_V(sl_topk_forget)(j, r);
}

void SL_V(sl_topk_int8_screen)(topk *j, int64_t i, int64_t m, int thread)
{
    const sl_int8 *g = j->int8;
    int32_t *c = (int32_t *)(void *)(j->share8 + thread * j->n_share8);
    int64_t part = j->p1 - j->p0, proposed = 0, wanted = 0;
    for (int64_t p = j->p0; p < j->p1; p += g->cols) {
        const void *panel = (const char *)j->w8 + (size_t)(p / g->cols) * j->panel_bytes;
        if (!g->multiply(g, j->x8 + i * j->d8, m, j->d8, panel, c)) {
            j->dense[i / j->mc] = TOPK_FAILED;
            return;
        }
        proposed += filter_panel(j, i, m, p, c, (float *)(void *)(c + g->rows * g->cols));
        if (proposed > m * (part / LIST_SHARE + 2 * j->k)) {
            give_up(j, i, m);
            return;
        }
    }
    for (int64_t r = i; r < i + m; r++)
        wanted += SL_V(sl_topk_to_rescore)(j, r);
    if (wanted > m * (part / EXACT_SHARE + 2 * j->k)) {
        give_up(j, i, m);
        return;
    }
    for (int64_t r = i; r < i + m; r++)
        SL_V(sl_topk_rescore)(j, r);
}
