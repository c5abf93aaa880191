/* Inside the simd layer: tokens, see sl_tokens in kern.h. Heads of 16 columns are what variants have by default: loops over columns are
 * inlined with that width. */
#ifndef SL_SIMD_COMPOSE_H
#define SL_SIMD_COMPOSE_H

#include "kern/simd.h"
#include "kern/tokens.h"

#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
enum { USUAL_HEAD = 16 };

static inline int64_t most_tokens(const sl_tokens *a)
{
    int64_t most = 1;
    for (int64_t r = 0; r < a->z->n_rows; r++)
        most = row_of_tokens(a, r).n > most ? row_of_tokens(a, r).n : most;
    return most;
}

/* ---- attention ---- */

/* What a thread needs: queries [n, d_c] times 1 / sqrt(w), keys [n in whole MR, d_c], queries of one head in panels, logits [n in whole MR, NR]:
 * row j has those of key j. */
typedef struct token_desk { float *q, *key, *panel, *logit; } token_desk;

static inline int64_t token_desk_floats(const sl_tokens *a, int64_t most)
{
    int64_t keys = sl_round_up(most, MR), w = a->d_c / a->n_head;
    return sl_round_up((keys + most) * a->d_c + sl_round_up(most, NR) * w + keys * NR, 16);
}

static inline token_desk token_desk_at(const sl_tokens *a, int64_t most, float *room)
{
    token_desk d = { .q = room };
    d.key = d.q + most * a->d_c;
    d.panel = d.key + sl_round_up(most, MR) * a->d_c;
    d.logit = d.panel + sl_round_up(most, NR) * (a->d_c / a->n_head);
    return d;
}

static inline void token_desk_bring(const sl_tokens *a, const float *qk, token_row t, const token_desk *d)
{
    float scale = (float)(1 / sqrt((double)a->d_c / a->n_head));
    for (int64_t i = 0; i < t.n; i++) {
        const float *row = qk + table_row(a, t.e0 + i) * 2 * a->d_c;
        for (int64_t c = 0; c < a->d_c; c++)
            d->q[i * a->d_c + c] = scale * row[c];
        memcpy(d->key + i * a->d_c, row + a->d_c, (size_t)a->d_c * sizeof *row);
    }
    memset(d->key + t.n * a->d_c, 0, (size_t)((sl_round_up(t.n, MR) - t.n) * a->d_c) * sizeof *d->key);
}

/* Of tables of few features (simd_compose_rank.c): the logits of all pairs, and of every feature the n others of largest logit, falling, the
 * lower feature first where equal. */
typedef struct token_best { float logit; int32_t feature; } token_best;
typedef struct token_ranks {
    int64_t F, n;
    const float *logit;     /* [n_head][blocks of NR features][F in whole MR][NR]: query block, key, query */
    const token_best *best; /* [n_head][F][n] */
    uint8_t *place;         /* [n_threads][F], zeros */
} token_ranks;

static inline float ranked_logit(const token_ranks *R, int64_t h, int64_t query, int64_t key)
{
    int64_t blocks = (R->F + NR - 1) / NR;
    return R->logit[((h * blocks + query / NR) * sl_round_up(R->F, MR) + key) * NR + query % NR];
}

/* False where it would cost more than the logits of the rows, or memory is short. */
bool SL_V(sl_tokens_rank)(const sl_kern *k, const sl_tokens *a, const float *qk, token_ranks *R);

/* ---- slots ---- */

void SL_V(sl_simd_tokens_attend)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, bool chosen, sl_tensor *P, sl_tensor *at);
void SL_V(sl_simd_tokens_attend_back)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, const sl_tensor *P, const sl_tensor *at,
                                      const sl_tensor *dP, sl_tensor *dQK);
void SL_V(sl_simd_tokens_mix)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, sl_tensor *y);
void SL_V(sl_simd_tokens_mix_back)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, const sl_tensor *dy, const sl_tokens_grad *g);

#endif
