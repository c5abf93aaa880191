/* What can be said of a row in words: the predicates that explanations are made of (science.md E2). */
#ifndef SL_EVAL_PREDICATES_H
#define SL_EVAL_PREDICATES_H

#include "eval/measured.h"

/* Predicates of n picked rows: row i has id[ptr[i]] .. id[ptr[i+1]-1], all different. Those that hold in fewer than LEAST rows are left out. From text:
 * token, previous and next token, token bigram and trigram, class of the first character, the last 1 to 4 bytes up to the token's end, the first 1 to 4
 * letters of its word, position in the document, bracket depth, quotes. From true codes: every feature that is on. */
typedef struct sl_predicates { int64_t n, n_ids, *ptr; int32_t *id; } sl_predicates;
sl_status sl_predicates_new(sl_ctx *ctx, const sl_eval_data *d, const int32_t *rows, int64_t n, sl_predicates *out, sl_err *err) SL_USE_RESULT;
void sl_predicates_release(sl_ctx *ctx, sl_predicates *p);

#endif
