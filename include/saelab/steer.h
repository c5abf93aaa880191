/* A language model with an SAE at one of its hooks: what the SAE sees in a text, and the model with features clamped.
 * Clamping adds decode(z with z_j = value) - decode(z) to every row x at the hook, z = encode(x): what the SAE does not explain of x stays.
 *
 *   sl_steer *s;  sl_steer_new(ctx, lm, sae, "blocks.2.hook_resid_pre", &s, err);
 *   sl_steer_sample(s, &(sl_clamp){ 17, 8.0 }, 1, ids, n, &cfg, write, user, err);      feature 17 at 8 all the time; 0 ablates it */
#ifndef SAELAB_STEER_H
#define SAELAB_STEER_H

#include <saelab/eval.h>

typedef struct sl_clamp { int64_t feature; double value; /* >= 0 */ } sl_clamp;
enum { SL_STEER_CLAMPS = 16 };

typedef struct sl_steer sl_steer;
/* Borrows lm and sae, which nobody else uses meanwhile. SL_ARG: no such hook; SL_SHAPE: widths differ; SL_UNAVAILABLE: a transcoder, or an SAE that
 * normalises each row, whose codes alone say no x^; SL_MEM. */
sl_status sl_steer_new(sl_ctx *ctx, sl_lm *lm, sl_sae *sae, const char *hook, sl_steer **out, sl_err *err) SL_USE_RESULT;
void sl_steer_free(sl_steer *s); /* NULL is legal */

/* Logits [n, vocab_size] at every position of ids [n], n from 1 to block_size, with n_clamps clamps (0: the model as it is). SL_ARG: a feature
 * that is not there, a value that is negative or not finite, too many clamps, n; SL_DATA: an id outside of the vocabulary; SL_NUMERIC; SL_MEM. */
sl_status sl_steer_logits(sl_steer *s, const sl_clamp *clamps, int n_clamps, const int32_t *ids, int64_t n, float *logits, sl_err *err) SL_USE_RESULT;
/* sl_lm_sample with clamps. Errors of both. */
sl_status sl_steer_sample(sl_steer *s, const sl_clamp *clamps, int n_clamps, const int32_t *prompt, int64_t n_prompt, const sl_lm_sample_config *c, bool (*token)(void *, int32_t), void *user, sl_err *err) SL_USE_RESULT;

typedef struct sl_reading { /* of n tokens; borrowed until the next call */
    sl_codes z;             /* [n] rows */
    const float *x;         /* [n, d_in] at the hook */
    const float *loss, *loss_spliced; /* [n] nats, of token i given those before it, with the stream as it is and replaced by x^; [0] is NaN */
} sl_reading;
/* What the SAE sees in ids [n], n from 1 to block_size. Errors as sl_steer_logits. */
sl_status sl_steer_read(sl_steer *s, const int32_t *ids, int64_t n, sl_reading *out, sl_err *err) SL_USE_RESULT;
/* Of one feature at each row of the last reading: its pre-activation, and what that had to exceed to fire: a threshold of its own (JumpReLU, BatchTopK) or
 * the weakest that was chosen in the row (TopK), 0 for plain ReLU. pre, threshold [n]. SL_ARG: no such feature, or nothing was read; SL_UNAVAILABLE: the
 * variant has no such number (its encoder is not one affine map). */
sl_status sl_steer_why(const sl_steer *s, int64_t feature, float *pre, float *threshold, sl_err *err) SL_USE_RESULT;

#endif
