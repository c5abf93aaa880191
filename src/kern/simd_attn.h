/* Causal attention of one head, shared by its forward and backward file. All products go through the register tile. */
#ifndef SL_SIMD_ATTN_H
#define SL_SIMD_ATTN_H

#include "kern/simd.h"
#include "kern/simd_math.h"
#include "kern/simd_philox.h"

#include <string.h>

enum { QB = 48 }; /* query rows whose weights the backward pass holds at once: a multiple of MR */

typedef struct head {
    const float *q, *k, *v;  /* row t at + t * ld */
    int64_t ld, T, C, hd;
    int64_t row0;            /* index of the first weight row: (b * H + h) * T */
    int64_t tp, dp;          /* T and hd in whole panels */
    float scale, keep;       /* 1 / sqrt(hd), 1 / (1 - p) */
    const sl_mask_key *drop; /* NULL: no dropout */
    uint16_t *lane;          /* room of head_lane_floats */
} head;

static inline head head_at(const sl_attn *a, const float *qkv, int64_t bh)
{
    int64_t hd = a->C / a->n_head, b = bh / a->n_head, h = bh % a->n_head;
    const float *q = qkv + b * a->T * 3 * a->C + h * hd;
    return (head){ .q = q, .k = q + a->C, .v = q + 2 * a->C, .ld = 3 * a->C, .T = a->T, .C = a->C, .hd = hd, .row0 = bh * a->T,
                   .tp = sl_round_up(a->T, NR), .dp = sl_round_up(hd, NR), .scale = (float)(1 / sqrt((double)hd)),
                   .keep = (float)(1 / (1 - a->drop.p)), .drop = philox_limit(&a->drop) ? &a->drop : NULL };
}

static inline int64_t head_lane_floats(int64_t T) { return sl_round_up(T + 2 * SL_LANES, 32) / 2; }

/* Where the tile finds rows i .. i + m of x [T, hd]: in place, or copied and padded when they are fewer than MR. */
static inline const float *head_rows(const head *h, const float *x, int64_t ld, int64_t i, int64_t m, float *pad, int64_t *rs)
{
    if (m == MR) {
        *rs = ld;
        return x + i * ld;
    }
    memset(pad, 0, (size_t)(MR * h->hd) * sizeof *pad);
    for (int64_t r = 0; r < m; r++)
        memcpy(pad + r * h->hd, x + (i + r) * ld, (size_t)h->hd * sizeof *pad);
    *rs = h->hd;
    return pad;
}

/* s [MR, ..], rows lds apart: rows i .. i + m of x times y^T, y packed in panels of NR keys; only panels that the mask leaves. */
static inline void head_scores(const head *h, const float *x, int64_t ld, const float *y, int64_t i, int64_t m, float *pad, float *s, int64_t lds)
{
    int64_t rs;
    const float *a = head_rows(h, x, ld, i, m, pad, &rs);
    for (int64_t j = 0; j < i + m; j += NR)
        SL_V(sl_simd_micro)(h->hd, a, rs, 1, y + j * h->hd, s + j, lds);
}

/* The factors of row i's weights: 0 or 1 / (1 - p). NULL without dropout. */
static inline const uint16_t *head_mask(const head *h, int64_t i)
{
    return h->drop ? philox_row(h->drop, (uint64_t)(h->row0 + i) * (uint64_t)h->T, i + 1, h->lane) : NULL;
}

#endif
