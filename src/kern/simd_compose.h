/* Inside the simd layer: tokens, see sl_tokens in kern.h. Heads of 16 columns are what variants have by default: loops over columns are
 * inlined with that width. */
#ifndef SL_SIMD_COMPOSE_H
#define SL_SIMD_COMPOSE_H

#include "kern/simd.h"
#include "kern/tokens.h"

#define ALWAYS static inline __attribute__((always_inline))
enum { USUAL_HEAD = 16 };

static inline int64_t most_tokens(const sl_tokens *a)
{
    int64_t most = 1;
    for (int64_t r = 0; r < a->z->n_rows; r++)
        most = row_of_tokens(a, r).n > most ? row_of_tokens(a, r).n : most;
    return most;
}

void SL_V(sl_simd_tokens_attend)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, bool chosen, sl_tensor *P, sl_tensor *at);
void SL_V(sl_simd_tokens_attend_back)(const sl_kern *k, const sl_tokens *a, const sl_tensor *QK, const sl_tensor *P, const sl_tensor *at,
                                      const sl_tensor *dP, sl_tensor *dQK);
void SL_V(sl_simd_tokens_mix)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, sl_tensor *y);
void SL_V(sl_simd_tokens_mix_back)(const sl_kern *k, const sl_tokens *a, const sl_tokens_value *v, const sl_tensor *dy, const sl_tokens_grad *g);

#endif
