/* Explanations of latents by predicates. */
#ifndef SL_EVAL_EXPLAIN_H
#define SL_EVAL_EXPLAIN_H

#include "eval/predicates.h"

enum { SL_TERMS = 3, SL_LITERALS = 2 };
/* (a and b) or (c) or ...: one literal where the second is -1 */
typedef struct sl_explanation { int n; int32_t literal[SL_TERMS][SL_LITERALS]; double precision[SL_TERMS], f1; } sl_explanation;

/* Greedy search over the rows with use[i] (science.md E2): terms of one or two predicates are added, at most SL_TERMS, while F1 of "some term
 * holds" against on [n] minus .01 a literal rises. f1: of the whole, without the penalty. SL_MEM. */
sl_status sl_explain(sl_ctx *ctx, const sl_predicates *p, const uint8_t *use, const uint8_t *on, sl_explanation *out, sl_err *err) SL_USE_RESULT;
/* The first term that holds in row i, or -1. */
int sl_explained(const sl_predicates *p, const sl_explanation *e, int64_t i);
/* How well row i fits: the greatest over the terms of (share of its literals that hold) x its precision in the search. */
double sl_fit(const sl_predicates *p, const sl_explanation *e, int64_t i);

/* In intruder.c: accuracy of finding the one of five contexts in which the latent is silent, by naive Bayes over n-grams of the other four (chance
 * .2); and purities of tokens. on [n] for rows [n] of d. NaN where there are too few. */
typedef struct sl_token_scores { double intruder, purity, purity_rest; } sl_token_scores;
sl_status sl_token_scores_of(sl_ctx *ctx, const sl_eval_data *d, const int32_t *rows, const uint8_t *on, int64_t n, uint64_t latent, sl_token_scores *out, sl_err *err) SL_USE_RESULT;

#endif
