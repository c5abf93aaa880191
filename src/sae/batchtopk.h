/* What BatchTopK and Matryoshka share: selection over the batch while training, a threshold afterwards. */
#ifndef SL_SAE_BATCHTOPK_H
#define SL_SAE_BATCHTOPK_H

#include "sae/variant.h"

/* The scalar state of both: first entry of ops->state. The threshold is -1 until a step has set it. */
#define SL_BATCHTOPK_STATE { "threshold", -1 }

sl_status sl_batchtopk_check(int64_t k, int64_t d_sae, sl_err *err) SL_USE_RESULT; /* SL_ARG: k > d_sae */
/* Training: the B k largest positive pre-activations of the batch. Else: those above the threshold. */
sl_latents sl_batchtopk_encode(sl_tape *t, const sl_sae *s, sl_var x, int64_t k, const sl_sae_batch *b);
/* threshold = keep threshold + (1 - keep) (smallest value of the step); keep and the start are the recipe's. */
void sl_batchtopk_after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen);
double sl_batchtopk_threshold(const sl_sae *s);

#endif
