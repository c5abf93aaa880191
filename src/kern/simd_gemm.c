/* Matrix products after Goto and van de Geijn ("Anatomy of high-performance matrix multiplication", 2008): B is packed once
 * for all threads into panels of NR columns that pass through the first-level cache; a thread owns blocks of C rows, whose part
 * of A stays in its second-level cache; the register tile does the rest and hands its sums to the epilogue.
 * K is cut into passes by K alone, so the bits depend neither on the tiles nor on the threads. */
#include "kern/gemm.h"
#include "kern/simd.h"
#include "kern/simd_math.h"

#include <assert.h>
#include <string.h>

enum {
    KC = 384,          /* longest pass: a panel of B is 24 KB */
    MC = 192,          /* rows of a block of C: its part of A is at most 295 KB */
    N_CHUNK = 2048,    /* columns of B packed at once, */
    M_CHUNK = 4096,    /* and of a transposed A, */
    FLOATS = 4 << 20   /* as many rows as fit here: threads meet at every chunk, so few large ones; 1/50 B a flop is read from it */
};

typedef struct job {
    const sl_gemm *g;
    sl_gemm_dims d;
    int64_t kc;          /* rows of a pass */
    int64_t i0, m;       /* rows of C in hand */
    int64_t j0, nc;      /* columns in hand */
    int64_t k0, k1;      /* rows of B in hand, a whole number of passes but for the last */
    int64_t mc, n_split; /* rows and column parts of an item of work */
    float *b, *a;        /* packed B; packed A when transposed, else the last rows of A */
    float *acc;          /* partial sums between passes [M, N]: C itself where possible */
} job;

/* ---- epilogue ---- */

/* One vector of a row: v = alpha t + partial sums, and after the last pass all that the slot promises. */
static inline vf finish(const job *w, vf t, vf partial, vf old, vf bias, bool first, bool last, vf *pre)
{
    const sl_gemm *g = w->g;
    vf v = vf_set((float)g->alpha) * t;
    if (!first)
        v += partial;
    bool own = w->acc == (float *)g->c->data; /* beta C entered with the first pass */
    if (!last)
        return first && own && g->beta != 0 ? vf_fma(vf_set((float)g->beta), old, v) : v;
    v += bias;
    *pre = v;
    v = vf_act(g->act, v);
    return g->beta != 0 && (first || !own) ? vf_fma(vf_set((float)g->beta), old, v) : v;
}

/* A row of a tile: n <= VW values at column j of row i. */
static inline void finish_row(const job *w, const float *t, int64_t i, int64_t j, int64_t n, bool first, bool last)
{
    const sl_gemm *g = w->g;
    int64_t at = i * w->d.N + j;
    float *c = (float *)g->c->data + at, *to = last ? c : w->acc + at;
    const float *bias_at = last && g->bias ? (const float *)g->bias->data + j : NULL;
    vf zero = vf_set(0), pre = zero, partial = zero, old = zero, bias = zero;
    bool whole = n == VW;
    if (!first)
        partial = whole ? vf_load(w->acc + at) : vf_load_n(w->acc + at, n);
    if (g->beta != 0)
        old = whole ? vf_load(c) : vf_load_n(c, n);
    if (bias_at)
        bias = whole ? vf_load(bias_at) : vf_load_n(bias_at, n);
    vf v = finish(w, vf_load(t), partial, old, bias, first, last, &pre);
    if (last && g->pre) {
        float *p = (float *)g->pre->data + at;
        if (whole)
            vf_store(p, pre);
        else
            vf_store_n(p, pre, n);
    }
    if (whole)
        vf_store(to, v);
    else
        vf_store_n(to, v, n);
}

/* The common case, whole rows of NR columns and nothing but partial sums and bias to add. */
static void finish_plain(const job *w, const float *tile, int64_t i0, int64_t j0, int64_t m, bool first, bool last)
{
    const float *bias = last && w->g->bias ? (const float *)w->g->bias->data + j0 : NULL;
    vf alpha = vf_set((float)w->g->alpha), b0 = bias ? vf_load(bias) : vf_set(0), b1 = bias ? vf_load(bias + VW) : vf_set(0);
    float *c = w->acc + i0 * w->d.N + j0;
    for (int64_t i = 0; i < m; i++, c += w->d.N, tile += NR) {
        vf v0 = alpha * vf_load(tile), v1 = alpha * vf_load(tile + VW);
        if (!first) {
            v0 += vf_load(c);
            v1 += vf_load(c + VW);
        }
        vf_store(c, v0 + b0);
        vf_store(c + VW, v1 + b1);
    }
}

static void finish_tile(const job *w, const float *tile, int64_t i0, int64_t j0, int64_t m, int64_t n, bool first, bool last)
{
    const sl_gemm *g = w->g;
    bool plain = !last || (g->act == SL_ACT_NONE && !g->pre);
    if (plain && g->beta == 0 && n == NR) {
        finish_plain(w, tile, i0, j0, m, first, last);
        return;
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j += VW)
            finish_row(w, tile + i * NR + j, i0 + i, j0 + j, sl_min64(VW, n - j), first, last);
}

/* C of the tile that comes next: its lines arrive while the sums are made. */
static inline void fetch_c(const job *w, int64_t i0, int64_t j0, int64_t m)
{
    const float *c = w->acc + i0 * w->d.N + j0;
    for (int64_t i = 0; i < m; i++, c += w->d.N) {
        __builtin_prefetch(c, 1);
        __builtin_prefetch(c + NR - 1, 1);
    }
}

/* ---- blocks ---- */

/* Row-major A is read in place, but for the last rows, which are copied to panels of MR rows (by one thread, for all passes in
 * hand). A transposed A is packed as B is. Panels of a pass follow each other. */
static void pack_last_rows(const job *w)
{
    int64_t whole = w->m / MR * MR, n = w->m - whole;
    const float *src = (const float *)w->g->a->data + (w->i0 + whole) * w->d.lda;
    memset(w->a, 0, (size_t)((w->k1 - w->k0) * MR) * sizeof *w->a);
    for (int64_t k = w->k0; k < w->k1; k++)
        for (int64_t r = 0; r < n; r++)
            w->a[(k - w->k0) * MR + r] = src[r * w->d.lda + k];
}

typedef struct rows { const float *p; int64_t rs, cs; } rows; /* element (r, k) is p[r rs + k cs] */

/* Rows i .. i + MR of those in hand, in the pass at k0. */
static inline rows rows_at(const job *w, int64_t i, int64_t k0, int64_t kc)
{
    if (w->g->ta)
        return (rows){ w->a + (k0 - w->k0) * sl_round_up(w->m, MR) + i * kc, 1, MR };
    if (w->m - i < MR)
        return (rows){ w->a + (k0 - w->k0) * MR, 1, MR };
    return (rows){ (const float *)w->g->a->data + (w->i0 + i) * w->d.lda + k0, w->d.lda, 1 };
}

/* Rows i0 .. i0 + m, columns jb .. je of those in hand, one pass. */
static void block(const job *w, int64_t i0, int64_t m, int64_t jb, int64_t je, int64_t k0)
{
    int64_t kc = sl_min64(w->kc, w->k1 - k0);
    bool first = k0 == 0, last = k0 + kc == w->d.K;
    const float *b = w->b + (k0 - w->k0) * sl_round_up(w->nc, NR);
    _Alignas(64) float tile[MR * NR];
    for (int64_t j = jb; j < je; j += NR)
        for (int64_t i = i0; i < i0 + m; i += MR) {
            int64_t n_rows = sl_min64(MR, i0 + m - i);
            rows a = rows_at(w, i, k0, kc);
            fetch_c(w, w->i0 + i, w->j0 + j, n_rows);
            SL_V(sl_simd_micro)(kc, a.p, a.rs, a.cs, b + j * kc, tile, NR);
            finish_tile(w, tile, w->i0 + i, w->j0 + j, n_rows, sl_min64(NR, je - j), first, last);
        }
}

/* B is packed by panels where its columns are rows in memory (tb), else by rows: memory is read in order either way. */
static void pack_b_panel(const job *w, int64_t pass, int64_t panel)
{
    int64_t k0 = w->k0 + pass * w->kc, kc = sl_min64(w->kc, w->k1 - k0), j = panel * NR;
    float *out = w->b + (k0 - w->k0) * sl_round_up(w->nc, NR) + j * kc;
    SL_V(sl_simd_pack)((const float *)w->g->b->data + (w->j0 + j) * w->d.ldb + k0, w->d.ldb, true, kc, sl_min64(NR, w->nc - j), out);
}

/* Row k, dealt out to panels of `width` numbers: the first of n comes from src[0]; zeros fill the last panel. */
static inline void deal_row(const job *w, const float *src, int64_t k, int64_t n, int64_t width, float *base)
{
    int64_t kp = w->k0 + (k - w->k0) / w->kc * w->kc, kc = sl_min64(w->kc, w->k1 - kp), whole = n / width * width;
    float *out = base + (kp - w->k0) * sl_round_up(n, width) + (k - kp) * width;
    for (int64_t r = 0; r < whole; r += width)
        memcpy(out + r * kc, src + r, (size_t)width * sizeof *out);
    for (int64_t r = whole; r < sl_round_up(n, width); r++)
        out[whole * kc + r - whole] = r < n ? src[r] : 0;
}

static void pack_b_row(const job *w, int64_t k)
{
    deal_row(w, (const float *)w->g->b->data + k * w->d.ldb + w->j0, k, w->nc, NR, w->b);
}

static void pack_a_row(const job *w, int64_t k)
{
    deal_row(w, (const float *)w->g->a->data + k * w->d.lda + w->i0, k, w->m, MR, w->a);
}

/* The rows in hand against the part of B in hand. Called by every thread of the team. */
static void chunk(const job *w)
{
    int64_t panels = (w->nc + NR - 1) / NR, passes = (w->k1 - w->k0 + w->kc - 1) / w->kc;
    if (w->g->ta) {
        #pragma omp for schedule(static) nowait
        for (int64_t k = w->k0; k < w->k1; k++)
            pack_a_row(w, k);
    } else if (w->m % MR) {
        #pragma omp single nowait
        pack_last_rows(w);
    }
    if (w->g->tb) {
        #pragma omp for schedule(static)
        for (int64_t p = 0; p < panels * passes; p++)
            pack_b_panel(w, p / panels, p % panels);
    } else {
        #pragma omp for schedule(static)
        for (int64_t k = w->k0; k < w->k1; k++)
            pack_b_row(w, k);
    }
    int64_t blocks = (w->m + w->mc - 1) / w->mc, width = sl_round_up((w->nc + w->n_split - 1) / w->n_split, NR);
    #pragma omp for schedule(dynamic) nowait
    for (int64_t item = 0; item < blocks * w->n_split; item++) {
        int64_t i0 = item / w->n_split * w->mc, jb = item % w->n_split * width, je = sl_min64(w->nc, jb + width);
        for (int64_t k0 = w->k0; k0 < w->k1; k0 += w->kc)
            block(w, i0, sl_min64(w->mc, w->m - i0), jb, je, k0);
    }
}

/* ---- the slot ---- */

/* Enough items of work for the team: smaller blocks of rows first, then parts of the columns. Bits do not depend on it. */
static void cut(job *w, int n_threads)
{
    w->mc = MC;
    w->n_split = 1;
    while (w->mc > MC / 8 && (w->m + w->mc - 1) / w->mc < 4 * n_threads)
        w->mc /= 2;
    while (w->nc / w->n_split >= 8 * NR && (w->m + w->mc - 1) / w->mc * w->n_split < 4 * n_threads)
        w->n_split *= 2;
}

static float *partial_sums(const sl_kern *k, const sl_gemm *g, const sl_gemm_dims *d)
{
    if (g->pre)
        return g->pre->data;
    if (g->beta == 0 || g->act == SL_ACT_NONE)
        return g->c->data;
    return sl_kern_scratch(k, SL_SIMD_ACC, (size_t)(d->M * d->N) * sizeof(float));
}

/* The rows and columns in hand over all of K. */
static void panel(job *w, int team)
{
    int64_t b_rows = FLOATS / sl_round_up(w->nc, NR), a_rows = w->g->ta ? FLOATS / sl_round_up(w->m, MR) : b_rows;
    int64_t step = sl_min64(a_rows, b_rows) / w->kc * w->kc;
    cut(w, team);
    for (w->k0 = 0; w->k0 < w->d.K; w->k0 = w->k1) {
        w->k1 = sl_min64(w->d.K, w->k0 + step);
        #pragma omp parallel num_threads(team)
        chunk(w);
    }
}

void SL_V(sl_simd_gemm)(const sl_kern *k, const sl_gemm *g)
{
    job w = { .g = g, .d = sl_gemm_dims_of(g) };
    assert(w.d.K > 0);
    w.kc = (w.d.K + (w.d.K + KC - 1) / KC - 1) / ((w.d.K + KC - 1) / KC);
    int team = sl_team(k, w.d.M * w.d.N * w.d.K / 8);
    w.b = sl_kern_scratch(k, SL_SIMD_B, (size_t)sl_min64(FLOATS, sl_round_up(w.d.N, NR) * w.d.K) * sizeof(float));
    w.a = sl_kern_scratch(k, SL_SIMD_A, (size_t)sl_min64(FLOATS, (g->ta ? sl_round_up(w.d.M, MR) : MR) * w.d.K) * sizeof(float));
    w.acc = partial_sums(k, g, &w.d);
    if (!w.a || !w.b || !w.acc)
        return;
    for (w.j0 = 0; w.j0 < w.d.N; w.j0 += w.nc) {
        w.nc = sl_min64(N_CHUNK, w.d.N - w.j0);
        for (w.i0 = 0; w.i0 < w.d.M; w.i0 += w.m) {
            w.m = g->ta ? sl_min64(M_CHUNK, w.d.M - w.i0) : w.d.M;
            panel(&w, team);
        }
    }
}
