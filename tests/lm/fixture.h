/* Tiny models and texts for the tests of lm. */
#ifndef SL_TEST_LM_FIXTURE_H
#define SL_TEST_LM_FIXTURE_H

#include "lm/gpt.h"
#include "support.h"

/* 2 blocks, 2 heads, width 16, context 8, 11 tokens; dropout 0; rotary_etc: the fast variants of every choice. */
sl_lm_config tiny_config(bool bias, bool fast);
sl_lm *tiny_model(sl_ctx *ctx, const sl_lm_config *c, sl_dtype dtype, uint64_t seed);
/* n ids of a sequence with structure (each token depends on the one before), documents of `doc` tokens, .9 / .1 split. */
sl_corpus tiny_corpus(sl_ctx *ctx, int64_t n, int32_t vocab, int64_t doc);
void tiny_corpus_free(sl_ctx *ctx, sl_corpus *c);
/* batch 6 (three passes of 2 windows), evaluations every 5 iterations */
sl_lm_train_config tiny_training(int64_t iters);
/* Moves every weight away from its start, so that gains, biases and attention matter. */
void shake(sl_lm *m, uint64_t seed, double size);
/* Logits [B, T, V] of ids, copied out; sl_free. */
float *logits_of(sl_lm *m, const int32_t *ids, int64_t B, int64_t T, const sl_gpt_hook *hook);
void assert_same_weights(sl_lm *a, sl_lm *b);

#endif
