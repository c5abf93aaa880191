/* Causal attention, forward. A thread owns a head; MR rows of weights exist at a time, and nothing right of the diagonal's tile
 * is computed. */
#include "kern/simd_attn.h"

#include <assert.h>
#include <omp.h>

static float row_max(const float *s, int64_t n)
{
    vf top = vf_load(s);
    for (int64_t j = VW; j < n; j += VW)
        top = vf_max(vf_load(s + j), top);
    float lanes[VW];
    vf_store(lanes, top);
    for (int j = 1; j < VW; j++)
        lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    return lanes[0];
}

/* Scores s[0..i] of row i become weights with dropout, zeros follow up to `end`. Returns log sum exp. */
static float row_weights(const head *h, int64_t i, float *s, int64_t end)
{
    int64_t n = sl_round_up(i + 1, VW);
    for (int64_t j = i + 1; j < n; j++)
        s[j] = -INFINITY;
    float top = row_max(s, n) * h->scale;
    vf sum = vf_set(0), scale = vf_set(h->scale), shift = vf_set(top);
    for (int64_t j = 0; j < n; j += VW) {
        vf e = vf_exp(scale * vf_load(s + j) - shift);
        sum += e;
        vf_store(s + j, e);
    }
    float total = vf_sum(sum);
    const uint16_t *lane = head_mask(h, i);
    vf inv = vf_set((lane ? h->keep : 1) / total);
    vi limit = vi_set(lane ? philox_limit(h->drop) : 0);
    for (int64_t j = 0; j < n; j += VW)
        vf_store(s + j, vf_load(s + j) * (lane ? vf_keep(lane + j, limit, inv) : inv));
    for (int64_t j = n; j < end; j++)
        s[j] = 0;
    return top + logf(total);
}

typedef struct work { float *kt, *v, *s, *pad; } work; /* K^T and V in panels, weights [MR, tp], padded rows */

static void attention_head(const head *h, const work *w, float *y, float *lse)
{
    _Alignas(64) float tile[MR * NR];
    SL_V(sl_simd_pack)(h->k, h->ld, true, h->hd, h->T, w->kt);
    SL_V(sl_simd_pack)(h->v, h->ld, false, h->T, h->hd, w->v);
    for (int64_t i = 0; i < h->T; i += MR) {
        int64_t m = sl_min64(MR, h->T - i);
        head_scores(h, h->q, h->ld, w->kt, i, m, w->pad, w->s, h->tp);
        for (int64_t r = 0; r < m; r++)
            lse[i + r] = row_weights(h, i + r, w->s + r * h->tp, i + m);
        for (int64_t c = 0; c < h->hd; c += NR) {
            SL_V(sl_simd_micro)(i + m, w->s, h->tp, 1, w->v + c * h->T, tile, NR);
            for (int64_t r = 0; r < m; r++)
                memcpy(y + (i + r) * h->C + c, tile + r * NR, (size_t)sl_min64(NR, h->hd - c) * sizeof *y);
        }
    }
}

void SL_V(sl_simd_attention)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y, sl_tensor *lse)
{
    int64_t hd = a->C / a->n_head, heads = a->B * a->n_head, tp = sl_round_up(a->T, NR), dp = sl_round_up(hd, NR);
    int64_t share = sl_round_up(tp * hd + a->T * dp + MR * tp + MR * hd + head_lane_floats(a->T), 16);
    assert(hd * a->n_head == a->C && sl_numel(qkv) == a->B * a->T * 3 * a->C && sl_numel(y) == a->B * a->T * a->C);
    float *scratch = sl_kern_scratch(k, SL_SIMD_ATTN, (size_t)(k->n_threads * share) * sizeof *scratch);
    if (!scratch)
        return;
    #pragma omp parallel for num_threads(sl_team(k, heads * a->T * a->T * hd / 16)) schedule(dynamic)
    for (int64_t bh = 0; bh < heads; bh++) {
        head h = head_at(a, qkv->data, bh);
        work w = { .kt = scratch + omp_get_thread_num() * share };
        w.v = w.kt + tp * hd;
        w.s = w.v + a->T * dp;
        w.pad = w.s + MR * tp;
        h.lane = (uint16_t *)(void *)(w.pad + MR * hd);
        float *out = (float *)y->data + bh / a->n_head * a->T * a->C + bh % a->n_head * hd;
        attention_head(&h, &w, out, (float *)lse->data + bh * a->T);
    }
}
