/* What variants with a penalty share: weights of the penalty by decoder norm, and the L0 autotuner. */
#ifndef SL_SAE_AUTOTUNE_H
#define SL_SAE_AUTOTUNE_H

#include "sae/variant.h"

/* |d_j| [d_sae] where the rows of W_dec are free; {0} where they are kept at norm 1. */
sl_var sl_sae_penalty_norms(sl_tape *t, const sl_sae *s);

/* The L0 autotuner: an integral controller on the logarithm of the penalty's weight (science.md B6).
 *   e = clip(l0 / target - 1, -1, 1)     ln factor += rate e (.01 where l0 already moves towards the target) while |e| >= .005
 * l0 is the mean of the recent batches. The weight is held until the warm-up of the penalty is over. Its state are the first numbers of
 * the variant's: SL_AUTOTUNE_STATE begins ops->state. */
#define SL_AUTOTUNE_STATE { "tune_log", 0 }, { "tune_l0", -1 }, { "tune_before", -1 }
enum { SL_TUNE_LOG, SL_TUNE_L0, SL_TUNE_BEFORE, SL_AUTOTUNE_N };

double sl_autotune_factor(const sl_sae *s); /* of the penalty's weight: 1 until the controller has moved */
/* From after_step. target 0: nothing happens. hold: share of the run before it starts. Reports once, after the last step: the l0 reached
 * and the weight's factor, as a warning when l0 is more than 5 % off or the factor at its limit. */
void sl_autotune_step(sl_sae *s, double target, double hold, const sl_sae_batch *b, const sl_sae_seen *seen);

#endif
