/* Causal attention, backward. With weights p_ij = e^(scale q_i k_j - lse_i), factors keep_ij of dropout and w = p keep:
 *   dv_j += w_ij dy_i     ds_ij = scale p_ij (keep_ij dy_i v_j - dy_i y_i)     dq_i += ds_ij k_j     dk_j += ds_ij q_i
 * A thread owns a head; it holds w and ds of QB query rows, and sums dk and dv over the blocks of rows in order. */
#include "kern/simd_attn.h"

#include <assert.h>
#include <omp.h>

typedef struct work {
    float *kt, *vt;          /* K^T and V^T in panels of NR keys */
    float *kn, *qn, *gn;     /* K, and the block's rows of Q and dy, in panels of NR columns of the head */
    float *w, *ds;           /* [QB, ld] */
    float *dk, *dv;          /* [tp + MR, dp] */
    float *pad;
    int64_t ld;
} work;

static int64_t carve(const sl_attn *a, float *base, work *w, head *h)
{
    int64_t hd = a->C / a->n_head, tp = sl_round_up(a->T, NR), dp = sl_round_up(hd, NR);
    w->ld = tp + NR; /* room for the last tile of MR keys, and no power of two */
    const int64_t part[] = { tp * hd, tp * hd, a->T * dp, QB * dp, QB * dp, QB * w->ld, QB * w->ld, (tp + MR) * dp, (tp + MR) * dp,
                             MR * hd, head_lane_floats(a->T) };
    float *at[11];
    int64_t n = 0;
    for (int i = 0; i < 11; i++) {
        at[i] = base ? base + n : NULL;
        n += sl_round_up(part[i], 16);
    }
    w->kt = at[0], w->vt = at[1], w->kn = at[2], w->qn = at[3], w->gn = at[4], w->w = at[5], w->ds = at[6], w->dk = at[7], w->dv = at[8];
    w->pad = at[9];
    h->lane = (uint16_t *)(void *)at[10];
    return n;
}

static float row_dot(const float *a, const float *b, int64_t n)
{
    vf s = vf_set(0);
    for (int64_t j = 0; j < n; j += VW)
        s = vf_fma(vf_get(a + j, n - j), vf_get(b + j, n - j), s);
    return vf_sum(s);
}

/* Row i: s holds q_i k_j and becomes w; g holds dy_i v_j and becomes ds; zeros follow up to `end`. */
static void row_back(const head *h, int64_t i, float lse, float mean, float *s, float *g, int64_t end)
{
    const uint16_t *lane = head_mask(h, i);
    vf scale = vf_set(h->scale), shift = vf_set(lse), delta = vf_set(mean), keep = vf_set(1);
    vi limit = vi_set(lane ? philox_limit(h->drop) : 0);
    int64_t n = sl_round_up(i + 1, VW);
    for (int64_t j = 0; j < n; j += VW) {
        vf p = vf_exp(scale * vf_load(s + j) - shift);
        if (lane)
            keep = vf_keep(lane + j, limit, vf_set(h->keep));
        vf_store(s + j, p * keep);
        vf_store(g + j, scale * p * (keep * vf_load(g + j) - delta));
    }
    for (int64_t j = i + 1; j < end; j++)
        s[j] = g[j] = 0;
}

/* sum [key, dp] += a^T b over the n rows of the block, for MR keys from key0. Rows above the diagonal are zero and left out. */
static void add_keys(const head *h, const work *w, const float *a, const float *b, int64_t i0, int64_t n, int64_t key0, float *sum)
{
    _Alignas(64) float tile[MR * NR];
    int64_t from = key0 > i0 ? key0 - i0 : 0;
    for (int64_t c = 0; c < h->dp; c += NR) {
        SL_V(sl_simd_micro)(n - from, a + from * w->ld + key0, 1, w->ld, b + c * n + from * NR, tile, NR);
        for (int64_t r = 0; r < MR; r++) {
            float *to = sum + (key0 + r) * h->dp + c;
            vf_store(to, vf_load(to) + vf_load(tile + r * NR));
            vf_store(to + VW, vf_load(to + VW) + vf_load(tile + r * NR + VW));
        }
    }
}

typedef struct grads { const float *y, *dy, *lse; float *dq; } grads; /* the head's columns: y, dy rows C apart, dq rows ld apart */

/* Query rows i .. i + m, which are rows r .. of the block that ends before row `end`. */
static void back_rows(const head *h, const work *w, const grads *g, int64_t i, int64_t m, int64_t r, int64_t end)
{
    _Alignas(64) float tile[MR * NR];
    float *s = w->w + r * w->ld, *ds = w->ds + r * w->ld;
    head_scores(h, h->q, h->ld, w->kt, i, m, w->pad, s, w->ld);
    head_scores(h, g->dy, h->C, w->vt, i, m, w->pad, ds, w->ld);
    for (int64_t q = 0; q < m; q++) {
        int64_t at = (i + q) * h->C;
        row_back(h, i + q, g->lse[i + q], row_dot(g->dy + at, g->y + at, h->hd), s + q * w->ld, ds + q * w->ld, sl_round_up(end, MR));
    }
    for (int64_t c = 0; c < h->hd; c += NR) {
        SL_V(sl_simd_micro)(i + m, ds, w->ld, 1, w->kn + c * h->T, tile, NR);
        for (int64_t q = 0; q < m; q++)
            for (int64_t j = 0; j < sl_min64(NR, h->hd - c); j++)
                g->dq[(i + q) * h->ld + c + j] += tile[q * NR + j];
    }
}

static void back_head(const head *h, const work *w, const grads *g)
{
    SL_V(sl_simd_pack)(h->k, h->ld, true, h->hd, h->T, w->kt);
    SL_V(sl_simd_pack)(h->v, h->ld, true, h->hd, h->T, w->vt);
    SL_V(sl_simd_pack)(h->k, h->ld, false, h->T, h->hd, w->kn);
    memset(w->dk, 0, (size_t)((h->tp + MR) * h->dp) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)((h->tp + MR) * h->dp) * sizeof *w->dv);
    for (int64_t i0 = 0; i0 < h->T; i0 += QB) {
        int64_t n = sl_min64(QB, h->T - i0), end = i0 + n;
        for (int64_t r = 0; r < n; r += MR)
            back_rows(h, w, g, i0 + r, sl_min64(MR, n - r), r, end);
        SL_V(sl_simd_pack)(h->q + i0 * h->ld, h->ld, false, n, h->hd, w->qn);
        SL_V(sl_simd_pack)(g->dy + i0 * h->C, h->C, false, n, h->hd, w->gn);
        for (int64_t key0 = 0; key0 < end; key0 += MR) {
            add_keys(h, w, w->ds, w->qn, i0, n, key0, w->dk);
            add_keys(h, w, w->w, w->gn, i0, n, key0, w->dv);
        }
    }
    for (int64_t t = 0; t < h->T; t++)
        for (int64_t j = 0; j < h->hd; j++) {
            g->dq[t * h->ld + h->C + j] += w->dk[t * h->dp + j];
            g->dq[t * h->ld + 2 * h->C + j] += w->dv[t * h->dp + j];
        }
}

void SL_V(sl_simd_attention_back)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, const sl_tensor *y, const sl_tensor *lse,
                                  const sl_tensor *dy, sl_tensor *dqkv)
{
    int64_t hd = a->C / a->n_head, heads = a->B * a->n_head;
    head any;
    work sizes;
    int64_t share = carve(a, NULL, &sizes, &any);
    assert(hd * a->n_head == a->C && sl_numel(qkv) == a->B * a->T * 3 * a->C && sl_numel(dqkv) == sl_numel(qkv));
    float *scratch = sl_kern_scratch(k, SL_SIMD_ATTN, (size_t)(k->n_threads * share) * sizeof *scratch);
    if (!scratch)
        return;
    #pragma omp parallel for num_threads(sl_team(k, heads * a->T * a->T * hd / 16)) schedule(dynamic)
    for (int64_t bh = 0; bh < heads; bh++) {
        head h = head_at(a, qkv->data, bh);
        work w;
        carve(a, scratch + omp_get_thread_num() * share, &w, &h);
        int64_t b = bh / a->n_head, col = bh % a->n_head * hd;
        grads g = { .y = (const float *)y->data + b * a->T * a->C + col, .dy = (const float *)dy->data + b * a->T * a->C + col,
                    .lse = (const float *)lse->data + bh * a->T, .dq = (float *)dqkv->data + b * a->T * 3 * a->C + col };
        back_head(&h, &w, &g);
    }
}
