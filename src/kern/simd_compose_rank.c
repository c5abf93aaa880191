/* Attention over a table of few features: a logit belongs to a pair of features, not of tokens, so all of them are F^2 products a head, made
 * once, where rows would make n^2 each. The list of a token is then what comes first in its feature's ranking and is in the row. */
#include "kern/simd_compose.h"

#include <omp.h>

/* A row of n of F tokens finds `wanted` of them among the first wanted F / n on average: twice that, and some. */
static int64_t how_many(const sl_tokens *a, int64_t F)
{
    enum { SOME = 8 };
    int64_t rows = a->z->n_rows, used = n_tokens(a);
    return sl_min64(F - 1, SOME + 2 * a->keep * F * rows / used);
}

/* The R->n of largest logit with query f in lane `lane`; l: of key 0. */
static void rank_one(const float *l, int64_t f, const token_ranks *R, token_best *best)
{
    int64_t n = 0;
    for (int64_t g = 0; g < R->F; g++) {
        float v = l[g * NR];
        if (g == f || (n == R->n && !(v > best[n - 1].logit)))
            continue;
        int64_t at = n < R->n ? n++ : n - 1;
        for (; at > 0 && best[at - 1].logit < v; at--)
            best[at] = best[at - 1];
        best[at] = (token_best){ v, (int32_t)g };
    }
}

static void rank_block(const sl_tokens *a, const token_ranks *R, const token_desk *d, int64_t h, int64_t f, float *logit, token_best *best)
{
    int64_t w = a->d_c / a->n_head, n = sl_min64(NR, R->F - f);
    SL_V(sl_simd_pack)(d->q + f * a->d_c + h * w, a->d_c, true, w, n, d->panel);
    for (int64_t g = 0; g < R->F; g += MR)
        SL_V(sl_simd_micro)(w, d->key + g * a->d_c + h * w, a->d_c, 1, d->panel, logit + g * NR, NR);
    for (int64_t i = 0; i < n; i++)
        rank_one(logit + i, f + i, R, best + i * R->n);
}

/* Products of all pairs against those of the rows; a ranking costs several times as much again. Measured at F 256: 8 times as many in rows do not
 * pay (3.7 to 4.8 TopK steps), 62 do (4.8 to 3.9). */
static bool pays(const sl_tokens *a)
{
    enum { TIMES = 24 };
    int64_t F = a->z->n_cols, pairs = 0;
    for (int64_t r = 0; r < a->z->n_rows; r++) {
        token_row t = row_of_tokens(a, r);
        pairs += t.n * t.n;
    }
    return F > 1 && TIMES * F * F <= pairs;
}

bool SL_V(sl_tokens_rank)(const sl_kern *k, const sl_tokens *a, const float *qk, token_ranks *R)
{
    if (a->by_token || !pays(a))
        return false;
    int64_t F = a->z->n_cols, blocks = (F + NR - 1) / NR, block = sl_round_up(F, MR) * NR, per = token_desk_floats(a, F);
    sl_tokens all = *a;
    all.by_token = true; /* the table itself, as one row */
    *R = (token_ranks){ .F = F, .n = how_many(a, F) };
    float *logit = sl_kern_scratch(k, SL_SIMD_A, (size_t)(a->n_head * blocks * block) * sizeof *logit);
    float *room = sl_kern_scratch(k, SL_SIMD_B, (size_t)(k->n_threads * per) * sizeof *room);
    token_best *best = sl_kern_scratch(k, SL_SCRATCH_ENTRY, (size_t)(a->n_head * F * R->n) * sizeof *best);
    R->place = sl_kern_scratch(k, SL_SCRATCH_PTR, (size_t)(k->n_threads * F));
    if (!logit || !room || !best || !R->place)
        return false;
    memset(R->place, 0, (size_t)(k->n_threads * F));
    R->logit = logit;
    R->best = best;
    #pragma omp parallel num_threads(sl_team(k, a->n_head * F * F))
    {
        token_desk d = token_desk_at(&all, F, room + omp_get_thread_num() * per);
        token_desk_bring(&all, qk, (token_row){ 0, F }, &d);
        #pragma omp for collapse(2) schedule(static)
        for (int64_t h = 0; h < a->n_head; h++)
            for (int64_t b = 0; b < blocks; b++)
                rank_block(a, R, &d, h, b * NR, logit + (h * blocks + b) * block, best + (h * F + b * NR) * R->n);
    }
    return true;
}
