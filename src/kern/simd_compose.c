/* Attention of tokens over each other. A thread owns rows. Logits are products of the register tile, of MR tokens and all of the row's keys;
 * then each token chooses its list and takes the softmax of it. */
#include "kern/simd_compose.h"
#include "kern/simd_math.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* What a thread needs: queries [n in whole MR, d_c] times 1 / sqrt(w), keys [n, d_c], keys of one head in panels, logits [MR, np]. */
typedef struct desk { float *q, *key, *panel, *logit; int64_t np; } desk;

static int64_t desk_floats(const sl_tokens *a, int64_t most)
{
    int64_t np = sl_round_up(most, NR), w = a->d_c / a->n_head;
    return sl_round_up((sl_round_up(most, MR) + most) * a->d_c + np * w + MR * np, 16);
}

static desk desk_at(const sl_tokens *a, int64_t most, float *room)
{
    desk d = { .np = sl_round_up(most, NR), .q = room };
    d.key = d.q + sl_round_up(most, MR) * a->d_c;
    d.panel = d.key + most * a->d_c;
    d.logit = d.panel + d.np * (a->d_c / a->n_head);
    return d;
}

static void bring_row(const sl_tokens *a, const float *qk, token_row t, const desk *d)
{
    float scale = (float)(1 / sqrt((double)a->d_c / a->n_head));
    for (int64_t i = 0; i < t.n; i++) {
        const float *row = qk + table_row(a, t.e0 + i) * 2 * a->d_c;
        for (int64_t c = 0; c < a->d_c; c++)
            d->q[i * a->d_c + c] = scale * row[c];
        memcpy(d->key + i * a->d_c, row + a->d_c, (size_t)a->d_c * sizeof *row);
    }
    memset(d->q + t.n * a->d_c, 0, (size_t)((sl_round_up(t.n, MR) - t.n) * a->d_c) * sizeof *d->q);
}

/* ---- lists ---- */

static float top_of(const float *l, int64_t n)
{
    vf top = vf_load(l);
    for (int64_t j = VW; j < n; j += VW)
        top = vf_max(vf_load(l + j), top);
    return vf_top(top);
}

/* The first place of the largest of l, whose last vector ends with -inf; below n whatever l holds. */
static int64_t first_largest(const float *l, int64_t n)
{
    vf top = vf_set(top_of(l, n));
    for (int64_t j = 0; j < n; j += VW) {
        uint32_t hit = vf_not_below(vf_load(l + j), top);
        if (hit && j + __builtin_ctz(hit) < n)
            return j + __builtin_ctz(hit);
    }
    return 0;
}

/* Token i, then the m - 1 others of largest l, or all in their order. l is spoiled; chosen gets the values. */
static void make_list(float *l, int64_t i, int64_t n, int64_t m, uint8_t *at, float *chosen)
{
    for (int64_t j = n; j < sl_round_up(n, VW); j++)
        l[j] = -INFINITY;
    for (int64_t q = 0; q < m; q++) {
        int64_t j = q == 0 ? i : m == n ? q - (q <= i) : first_largest(l, n);
        at[q] = (uint8_t)j;
        chosen[q] = l[j];
        l[j] = m == n ? l[j] : -INFINITY;
    }
}

/* P [m] = softmax of l, which has room for whole vectors. */
static void list_softmax(float *l, int64_t m, float *P)
{
    for (int64_t q = m; q < sl_round_up(m, VW); q++)
        l[q] = -INFINITY;
    vf sum = vf_set(0), top = vf_set(top_of(l, m));
    for (int64_t q = 0; q < m; q += VW) {
        vf e = vf_exp(vf_load(l + q) - top);
        sum += e;
        vf_store(l + q, e);
    }
    vf inv = vf_set(1 / vf_sum(sum));
    for (int64_t q = 0; q < m; q += VW)
        vf_put(P + q, vf_load(l + q) * inv, m - q);
}

static void attend_token(float *l, int64_t i, int64_t n, int64_t m, int64_t keep, bool chosen, float *P, uint8_t *at)
{
    float some[SL_TOKENS_MAX] = { 0 };
    if (chosen)
        for (int64_t q = 0; q < m; q++)
            some[q] = l[at[q]];
    else
        make_list(l, i, n, m, at, some);
    list_softmax(some, m, P);
    for (int64_t x = m; x < keep; x++) {
        P[x] = 0;
        at[x] = 0;
    }
}

static void attend_row(const sl_tokens *a, const float *qk, token_row t, bool chosen, const desk *d, float *P, uint8_t *at)
{
    int64_t w = a->d_c / a->n_head, m = n_listed(a, t.n), width = a->n_head * a->keep;
    if (qk)
        bring_row(a, qk, t, d);
    for (int64_t h = 0; h < a->n_head; h++) {
        if (qk)
            SL_V(sl_simd_pack)(d->key + h * w, a->d_c, true, w, t.n, d->panel);
        for (int64_t i = 0; i < t.n; i++) {
            float *l = d->logit + i % MR * d->np;
            for (int64_t j = 0; qk && i % MR == 0 && j < t.n; j += NR)
                SL_V(sl_simd_micro)(w, d->q + i * a->d_c + h * w, a->d_c, 1, d->panel + j * w, l + j, d->np);
            if (!qk)
                memset(l, 0, (size_t)t.n * sizeof *l);
            attend_token(l, i, t.n, m, a->keep, chosen, P + i * width + h * a->keep, at + i * width + h * a->keep);
        }
    }
}

void SL_V(sl_simd_tokens_attend)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, bool chosen, sl_tensor *P, sl_tensor *at)
{
    float *p = P->data;
    uint8_t *place = places_of(at);
    int64_t width = a->n_head * a->keep, used = n_tokens(a), most = most_tokens(a), size = desk_floats(a, most);
    assert(sl_numel(P) == a->z->capacity * width && sl_numel(at) == sl_numel(P));
    float *room = sl_kern_scratch(k, SL_SIMD_ATTN, (size_t)(k->n_threads * size) * sizeof *room);
    #pragma omp parallel for num_threads(sl_team(k, used * width)) schedule(static)
    for (int64_t r = 0; r < (room ? a->z->n_rows : 0); r++) {
        token_row t = row_of_tokens(a, r);
        desk d = desk_at(a, most, room + omp_get_thread_num() * size);
        attend_row(a, QK ? QK->data : NULL, t, chosen, &d, p + t.e0 * width, place + t.e0 * width);
    }
    memset(p + used * width, 0, (size_t)(sl_numel(P) - used * width) * sizeof *p);
    memset(place + used * width, 0, (size_t)(sl_numel(P) - used * width));
}

/* ---- backward ---- */

static float weighed(const float *P, const float *dP, int64_t m)
{
    vf sum = vf_set(0);
    for (int64_t q = 0; q < m; q += VW)
        sum = vf_fma(vf_get(P + q, m - q), vf_get(dP + q, m - q), sum);
    return vf_sum(sum);
}

/* One head of one token: dl = P (dP - sum P dP) / sqrt(w); dq += dl k_j, dk_j += dl q. key[j] and dk + j row: token j's head. */
ALWAYS void head_back(const float *q, float *dq, const float *const *key, float *dk, int64_t row, int64_t off, const float *P, const float *dP,
                      const uint8_t *at, int64_t m, int64_t w)
{
    float sum = weighed(P, dP, m), scale = (float)(1 / sqrt((double)w));
    for (int64_t x = 0; x < m; x++) {
        const float *kj = key[at[x]] + off;
        float *dkj = dk + at[x] * row + off;
        vf dl = vf_set(P[x] * (dP[x] - sum) * scale);
        #pragma GCC unroll 2
        for (int64_t c = 0; c < w; c += VW) {
            vf_put(dq + c, vf_fma(dl, vf_get(kj + c, w - c), vf_get(dq + c, w - c)), w - c);
            vf_put(dkj + c, vf_fma(dl, vf_get(q + c, w - c), vf_get(dkj + c, w - c)), w - c);
        }
    }
}

/* d [n, 2 d_c]: the gradient of the row's queries and keys. */
static void row_back(const sl_tokens *a, const float *qk, token_row t, const float *P, const float *dP, const uint8_t *at, float *d)
{
    int64_t w = a->d_c / a->n_head, m = n_listed(a, t.n), row = 2 * a->d_c;
    const float *key[SL_TOKENS_MAX];
    memset(d, 0, (size_t)(t.n * row) * sizeof *d);
    for (int64_t i = 0; i < t.n; i++)
        key[i] = qk + table_row(a, t.e0 + i) * row + a->d_c;
    for (int64_t i = 0; i < t.n; i++)
        for (int64_t h = 0; h < a->n_head; h++, P += a->keep, dP += a->keep, at += a->keep) {
            const float *q = key[i] - a->d_c + h * w;
            if (w == USUAL_HEAD)
                head_back(q, d + i * row + h * w, key, d + a->d_c, row, h * w, P, dP, at, m, USUAL_HEAD);
            else
                head_back(q, d + i * row + h * w, key, d + a->d_c, row, h * w, P, dP, at, m, w);
        }
}

void SL_V(sl_simd_tokens_attend_back)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, const sl_tensor *P, const sl_tensor *at,
                                      const sl_tensor *dP, sl_tensor *dQK)
{
    int64_t width = a->n_head * a->keep;
    const float *p = P->data, *dp = dP->data;
    const uint8_t *place = places_of(at);
    float *out = dQK->data;
    #pragma omp parallel for num_threads(sl_team(k, n_tokens(a) * width)) schedule(static)
    for (int64_t r = 0; r < a->z->n_rows; r++) {
        token_row t = row_of_tokens(a, r);
        row_back(a, QK->data, t, p + t.e0 * width, dp + t.e0 * width, place + t.e0 * width, out + t.e0 * 2 * a->d_c);
    }
}
