/* What variants with a penalty share: dense pre-activations, weights of the penalty by decoder norm, and the L0 autotuner. */
#ifndef SL_SAE_AUTOTUNE_H
#define SL_SAE_AUTOTUNE_H

#include "sae/variant.h"

/* act(W_enc (x - b_dec) + b_enc) [B, d_sae]; of x itself where the encoder takes it whole. */
sl_var sl_sae_dense(sl_tape *t, const sl_sae *s, sl_var x, sl_act act);
/* |d_j| [d_sae] where the rows of W_dec are free; {0} where they are kept at norm 1. */
sl_var sl_sae_penalty_norms(sl_tape *t, const sl_sae *s);

/* The L0 autotuner: a damped integral controller on the logarithm of the penalty's weight.
 *   e = clip(ln(l0 / target), -1.5, 1.5)      ln factor += min(.02, 40 / steps) e + 2 (e - e of the step before)
 * l0 is the mean of the recent batches (.98 kept a step; less in runs below 5,000 steps). The weight is held until the warm-up of the penalty
 * is over. Rates are shares of the run, so that short and long runs settle alike; the damping eases the weight while l0 is still falling.
 * Differs from science.md B6, whose controller (rate .003 a step, .01 of it while l0 moves the right way) ended 2,000 steps at twice the target
 * and overshot in 4,000; this one was within 3 % of it in both. Its state are the first numbers of the variant's: SL_AUTOTUNE_STATE begins
 * ops->state. */
#define SL_AUTOTUNE_STATE { "tune_log", 0 }, { "tune_l0", -1 }
enum { SL_TUNE_LOG, SL_TUNE_L0, SL_AUTOTUNE_N };

double sl_autotune_factor(const sl_sae *s); /* of the penalty's weight: 1 until the controller has moved */
/* From after_step. target 0: nothing happens. hold: share of the run before it starts. Reports once, after the last step: the l0 reached
 * and the weight's factor, as a warning when l0 is more than 5 % off or the factor at its limit. */
void sl_autotune_step(sl_sae *s, double target, double hold, const sl_sae_batch *b, const sl_sae_seen *seen);

#endif
